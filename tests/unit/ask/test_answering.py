"""ask/answering.py: "no", "0" and "complete" are said where they are proven; else the reason is said."""

from __future__ import annotations

import pwd
from typing import Any

import duckdb
import pytest

from firsthand.ask.answering import Request, from_connection
from firsthand.ask.registry import QUESTIONS
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from firsthand.host import machine
from tests.scenes import Scene

SCENE = Scene()
NOW = SCENE.at(10_000)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A web pod's programs that ended in each way, one that runs, one that another replaced, a fork that became an exec; an old pod."""
    scene = Scene()
    scene.observed(-1, 600)
    web = scene.pod("web-6d4f8c-x2abc", "10.244.0.1", 0, workload="shop/Deployment/web")
    old = scene.pod("old-1", "10.244.0.2", 0, until=50.0)
    common = {"user_time": 10**6, "system_time": 10**6, "peak_memory": 40 << 20, "core_dumped": False}
    for exe, code, killed in (("/bin/a", 77, None), ("/bin/b", 0, None), ("/bin/c", None, 9)):
        process = scene.process(web, exe, ["x"], 100.0)
        end = {"exit_code": code, "exit_signal": killed, "duration": 6 * 10**9} | common
        scene.add("process", 106.0, event="exit", **process.row, **end)
    scene.process(web, "/bin/runs", ["y"], 100.0)
    first = scene.process(None, "/bin/sh", ["-c", "exec true"], 100.0)
    second = (
        first.row
        | {"uid": 1000, "euid": 1000}
        | {"exec_number": 9, "previous_number": 8, "exe": "/bin/true", "args": ["true"]}
    )
    scene.add("process", 101.0, event="exec", **second)
    scene.add("process", 102.0, event="exit", **second, exit_code=1, duration=2 * 10**9, **common)
    child = first.row | {"uid": 1000, "euid": 1000} | {"exec_tgid": 77, "exec_start": 77, "exec_number": 1}
    scene.add("process", 103.0, event="fork", **child)
    scene.add("process", 104.0, event="exit", **child, exit_code=5, duration=10**9, **common)
    scene.process(old, "/bin/old", ["z"], 10.0)
    with History(scene.write(tmp_path_factory.mktemp("history"))).connection() as found:
        yield found


def _ask(connection: duckdb.DuckDBPyConnection, question: str, *arguments: str, **more: Any) -> Any:
    return from_connection(connection, Request(question, arguments, **more), NOW)


@pytest.mark.parametrize(
    ("condition", "exes", "said"),
    [
        ("code=77", ["/bin/a"], "Yes: 1 of 8 program images match"),
        ("code=5", ["/bin/sh"], "Yes: 1 of 8"),
        (
            "code!=0",
            ["/bin/a", "/bin/c", "/bin/true", "/bin/sh"],
            "code is not known of 3 more: 2 still run, 1 was replaced by an exec",
        ),
        ("duration>5s", ["/bin/a", "/bin/b", "/bin/c"], "Yes: 3 of 8"),
        ("exit_signal=SIGKILL", ["/bin/c"], "Yes: 1 of 8"),
        ("exit_signal=9", ["/bin/c"], "Yes: 1 of 8"),
        ("core_dumped", [], "No: 0 of 8"),
        ("peak_memory>39MiB", ["/bin/a", "/bin/b", "/bin/c", "/bin/true", "/bin/sh"], "Yes: 5 of 8"),
        ("state=running", ["/bin/old", "/bin/runs"], "Yes: 2 of 8"),
    ],
)
def test_an_image_has_its_end(
    connection: duckdb.DuckDBPyConnection, condition: str, exes: list[str], said: str
) -> None:
    """Law: begin and end are one row; what still runs has no code, which matches nothing and is counted; all this is complete."""
    found = _ask(connection, "processes", condition)
    assert [row["exe"] for row in found.found.rows] == exes
    assert said in found.sentence and found.completeness.complete


def test_a_row_has_both(connection: duckdb.DuckDBPyConnection) -> None:
    """Law: the row of the begin with the columns of the end."""
    (row,) = _ask(connection, "processes", "code=77").found.rows
    assert (row["event"], row["args"], row["exit_code"], row["duration"], row["state"]) == (
        "exec",
        ["a", "x"],
        77,
        6 * 10**9,
        "exited",
    )
    assert row["ended"] == SCENE.at(106).replace(tzinfo=None)


def test_what_ended_in_the_window_began_before_it(connection: duckdb.DuckDBPyConnection) -> None:
    """Law: an image is in the window in which it ended too, with its begin, though that lies before."""
    found = _ask(connection, "processes", "code=77", "args~a x", since=SCENE.at(105), until=SCENE.at(200))
    assert [row["exe"] for row in found.found.rows] == ["/bin/a"] and "of 3 executed programs" in found.sentence


def test_a_column_that_nothing_fills_proves_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """Law: values of the environment are not recorded by default: never a "No", and not complete."""
    found = _ask(connection, "processes", "env_values~PASSWORD")
    assert found.sentence.startswith("Not known: no row") and not found.completeness.complete


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tree", "web"), "no pod, container or process named web is in this history; did you mean web-6d4f8c-x2abc"),
        (("timeline", "wbe-6d4f8c-x2abc"), "did you mean web-6d4f8c-x2abc"),
        (("containers", "nothing-like-it"), "it knows app, "),
        (("tree", "4711"), "no process 4711 is in this history"),
        (("process", "1f2e3d4c:1:2:3"), "no process 1f2e3d4c:1:2:3 is in this history"),
        (("treee",), "did you mean tree"),
        (("processes", "exit_kode=1"), "did you mean exit_code"),
        (("processes", "flags~NOSUCH"), "no row can have 'NOSUCH'"),
        (("processes", "flag_names=FILELESS"), "`flags` has the derived ones too"),
        (("processes", "event=ended"), "there are fork, exec"),
        (("processes", "pid=5s"), "pid is a number"),
        (("processes", "args>x"), "args takes = != ~"),
        (("privileged", "web"), "takes no argument"),
    ],
)
def test_what_can_never_be_found_is_refused(
    connection: duckdb.DuckDBPyConnection, words: tuple[str, ...], said: str
) -> None:
    """Law: a word that no row can have is wrong usage, with what was perhaps meant."""
    with pytest.raises(UsageError, match=said):
        _ask(connection, words[0], *words[1:])


_LEAST = {
    "process": ["web-6d4f8c-x2abc"],
    "connected": ["example.com"],
    "address": ["10.0.0.1"],
    "touched": ["/etc/shadow"],
}


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "process"])
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("pod", "web", "did you mean web-6d4f8c-x2abc"),
        ("namespace", "shp", "did you mean shop"),
        ("node", "node-2", "did you mean node-1"),
        ("selector", "app=web", "no label app is in this history"),
    ],
)
def test_every_question_knows_its_names(
    connection: duckdb.DuckDBPyConnection, question: str, option: str, value: str, said: str
) -> None:
    """Law: a filter by a name that the history has never seen is refused by every question, or the filter itself is."""
    if option not in QUESTIONS[question].filters:
        said = "narrows nothing"
    more: dict[str, Any] = {option: value}
    with pytest.raises(UsageError, match=said):
        _ask(connection, question, *_LEAST.get(question, ()), **more)


def test_a_name_that_is_held_for_another_time(connection: duckdb.DuckDBPyConnection) -> None:
    """Law: a pod of which the window has nothing, and the history has, is not "no": it is said from when to when."""
    found = _ask(connection, "processes", pod="old-1", since=SCENE.at(90), until=SCENE.at(200))
    assert "nothing of pod old-1 is in the window; it is held from 2026-03-01T12:00:10.000Z to" in found.sentence
    there = _ask(connection, "processes", pod="old-1")
    assert there.sentence.startswith("Yes: 1 of 1")


@pytest.mark.parametrize(
    ("option", "question"),
    [("could", "processes"), ("everything", "tree"), ("tree", "talkers"), ("threshold", "pods"), ("at", "tree")],
)
def test_an_option_that_says_nothing_is_refused(
    connection: duckdb.DuckDBPyConnection, option: str, question: str
) -> None:
    """Law: no word is passed over; the questions that have the option are named."""
    more: dict[str, Any] = {option: {"threshold": 0.5, "at": NOW}.get(option, True)}
    with pytest.raises(UsageError, match=r"is not for `ask .*but for `ask"):
        _ask(connection, question, **more)


def test_a_users_name_is_this_machines(connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a name holds for this machine's own processes; of a container's it is not known, which is said, and the number can be given."""
    monkeypatch.setenv(machine.NODE, "node-1")
    uid = next(one for one in pwd.getpwall() if one.pw_uid == 0).pw_name
    found = _ask(connection, "processes", f"user={uid}")
    assert found.sentence.startswith("No: 0 of 8") and "user is not known of 5 more" in found.sentence
    assert found.completeness.reasons == [
        "user is not known of 5 program images: its container did not say its users' names, or it ran on another machine: give the number"
    ]
    assert _ask(connection, "processes", "user=1000").sentence.startswith("Yes: 8 of 8")
    monkeypatch.setenv(machine.NODE, "another")
    assert "user is not known of 8 more" in _ask(connection, "processes", f"user={uid}").sentence
    with pytest.raises(UsageError, match="no user 'rot' on this machine; did you mean root"):
        _ask(connection, "processes", "user=rot")
