"""`touched` and `writes`: what is found by each form of a path, and that a path which was not watched is never denied (law 11)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Answer, Request, answer
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from tests.scenes import Scene

_LIST = {"read": ["/etc/shadow", "**/.ssh/"], "write": ["/etc/cron.d/"]}


def _observed(scene: Scene, since: float, until: float, instance: str = "default", **files: Any) -> None:
    told = {"file": {"enabled": True, **_LIST, **files}} if files.get("version") is None else {}
    scene.observed(since, until, settings=json.dumps(told), instance=instance)


@pytest.fixture
def scene() -> Scene:
    """Half an hour, watched; five rows of a shell and of what it started."""
    found = Scene()
    shell = found.process(None, "/bin/sh", [], 1)
    cat = found.process(None, "/bin/cat", [], 2, parent=shell)
    for at, who, event, path, more in (
        (10, cat, "open", "/etc/shadow", {"opened_for": "read"}),
        (11, shell, "open", "/etc/cron.d/job", {"opened_for": "write create"}),
        (12, cat, "write", "/etc/cron.d/job", {"bytes_written": 7, "opened_for": "write create"}),
        (13, shell, "rename", "/tmp/key", {"target": "/root/.ssh/id_rsa"}),
        (14, shell, "open", "/home/a/.ssh/id_rsa", {"opened_for": "read", "error": 13}),
    ):
        own = {name: value for name, value in who.row.items() if name != "ns_net"}
        found.add("file", at, event=event, path=path, **own, **more)
    return found


def _ask(scene: Scene, directory: Path, *words: str) -> Answer:
    if not directory.exists():
        scene.write(directory)
    return answer(History(directory), Request(words[0], words[1:]), scene.at(1800))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("touched", "/etc/shadow"), ["open"]),
        (("touched", "**/.ssh/"), ["rename", "open"]),
        (("touched", "/root/.ssh/id_rsa"), ["rename"]),
        (("touched", "**/.ssh/id_*"), ["rename", "open"]),
        (("writes",), ["open", "write", "rename"]),
        (("writes", "/etc/cron.d/"), ["open", "write"]),
        (("writes", "/etc/shadow"), []),
        (("touched", "/etc/shadow2"), []),
    ],
)
def test_each_form_of_a_path(scene: Scene, tmp_path: Path, words: tuple[str, ...], found: list[str]) -> None:
    """One file, a folder with all below it, a pattern; by either name of a rename."""
    _observed(scene, -1, 1800)
    given = _ask(scene, tmp_path / "h", *words)
    assert [row["event"] for row in given.found.rows] == found
    assert given.sentence.startswith("Yes: " if found else "No: " if words[1] == "/etc/shadow" else "Not watched: ")


def test_the_sentence_has_bytes_and_refusals(scene: Scene, tmp_path: Path) -> None:
    """Of writes, and of tries that were refused."""
    _observed(scene, -1, 1800)
    assert _ask(scene, tmp_path / "h", "writes", "/etc/cron.d/job").sentence == (
        "Yes: 2 events of 1 file by 2 processes, 7 bytes written"
    )
    assert _ask(scene, tmp_path / "h", "touched", "/home/a/.ssh/").sentence == (
        "Yes: 1 event of 1 file by 1 process; 1 of them was refused"
    )


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"enabled": False}, "no file was watched"),
        ({"version": "before"}, "no file was watched"),
        ({"read": ["/etc/shadow-"]}, "/etc/shadow was not watched"),
        ({"read": [], "write": ["/etc/shadow"]}, "/etc/shadow was not watched"),
    ],
)
def test_what_was_not_watched_for_a_part_is_not_denied(
    scene: Scene, tmp_path: Path, files: dict[str, Any], why: str
) -> None:
    """Where nothing is found the answer says so first; where something is, it is a reason. Reading is more than writing."""
    _observed(scene, -1, 5)
    _observed(scene, 5, 1800, "second", **files)
    found = _ask(scene, tmp_path / "h", "touched", "/etc/shadow")
    assert found.found.total == 1 and any(why in reason for reason in found.completeness.reasons)
    empty = Scene()
    _observed(empty, -1, 5)
    _observed(empty, 5, 1800, "second", **files)
    found = _ask(empty, tmp_path / "empty", "touched", "/etc/shadow")
    assert found.sentence.startswith(f"Not watched: {why}") and not found.completeness.complete


def test_an_entry_over_a_symbolic_link_watches_nothing(tmp_path: Path) -> None:
    """No resolved path begins so: the answer says where it leads, and never "No"."""
    scene = Scene()
    told = {
        "file": {"enabled": True, "read": ["/var/run/secrets/", "/etc/"], "write": []},
        "file_links": {"/var/run/secrets/": "/run/secrets/"},
    }
    scene.observed(-1, 1800, settings=json.dumps(told))
    said = _ask(scene, tmp_path / "h", "touched", "/var/run/secrets/token").sentence
    assert said.startswith("Not watched: ") and "/var/run/secrets/ leads to /run/secrets/" in said
    assert _ask(scene, tmp_path / "h", "touched", "/etc/shadow").sentence.startswith("No: ")


def test_hooks_at_system_calls_prove_no_absence(scene: Scene, tmp_path: Path) -> None:
    """They do not see all: no answer by them is "no" and complete."""
    _observed(scene, -1, 1800)
    found = _ask(scene, tmp_path / "h", "writes", "/etc/shadow")
    assert found.sentence == "No: /etc/shadow was not written or changed"
    assert any("io_uring" in reason for reason in found.completeness.reasons)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("touched", "/srv/a/b/file"), 1),
        (("touched", "/srv/a/b/"), 1),
        (("touched", "/srv/a/*/file"), 1),
        (("touched", "/srv/b/file"), 1),
        (("touched", "/srv/ab/file"), 0),
        (("touched", "/other/a/file"), 0),
    ],
)
def test_a_renamed_folder_above(scene: Scene, tmp_path: Path, words: tuple[str, ...], found: int) -> None:
    """It moves what lies in it: a row of each file there, by either name."""
    _observed(scene, -1, 1800, read=["/srv/a/b/file"])
    who = scene.process(None, "/bin/mv", [], 20)
    own = {name: value for name, value in who.row.items() if name != "ns_net"}
    scene.add("file", 21, event="rename", path="/srv/a", target="/srv/b", **own)
    assert len(_ask(scene, tmp_path / "h", *words).found.rows) == found


@pytest.mark.parametrize(
    ("event", "path", "target", "doubted"),
    [
        ("link", "/etc/shadow", "/tmp/x", True),
        ("rename", "/etc", "/e", True),
        ("rename", "/etc/shadow+", "/etc/shadow", False),
    ],
)
def test_another_name(scene: Scene, tmp_path: Path, event: str, path: str, target: str, doubted: bool) -> None:
    """By a link or rename to a name that is not watched: what is opened by that has no row, and the answer says so."""
    _observed(scene, -1, 1800)
    who = scene.process(None, "/bin/ln", [], 20)
    own = {name: value for name, value in who.row.items() if name != "ns_net"}
    scene.add("file", 21, event=event, path=path, target=target, **own)
    reasons = _ask(scene, tmp_path / "h", "touched", "/etc/shadow").completeness.reasons
    assert any(f"not watched: {target};" in reason for reason in reasons) is doubted


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"opened_for": "read truncate"}, 1),
        ({"opened_for": "read create", "flag_names": "CREATED"}, 1),
        ({"opened_for": "read create"}, 0),
    ],
)
def test_an_open_that_changes(scene: Scene, tmp_path: Path, more: dict[str, Any], found: int) -> None:
    """What empties or makes a file wrote to it, whatever it was opened for."""
    _observed(scene, -1, 1800)
    scene.rows["file"][0].update(more)
    assert len(_ask(scene, tmp_path / "h", "writes", "/etc/shadow").found.rows) == found


def test_what_open_files_were_given_last(scene: Scene, tmp_path: Path) -> None:
    """Has no row before a minute is over: a reason, also where observing has ended; not of a time before."""
    _observed(scene, -1, 1000)
    found = _ask(scene, tmp_path / "h", "writes", "/etc/shadow").completeness.reasons
    assert any("open at its end" in reason and "may not be recorded" in reason for reason in found)
    asked = Request("writes", ("/etc/shadow",), until=scene.at(900))
    assert not [
        one for one in answer(History(tmp_path / "h"), asked, scene.at(1800)).completeness.reasons if "may not" in one
    ]


@pytest.mark.parametrize("path", ["shadow", "/etc/../etc/shadow", "/", "/etc//shadow"])
def test_what_is_no_path_is_refused(scene: Scene, tmp_path: Path, path: str) -> None:
    """Resolved paths never look so: nothing could be found."""
    _observed(scene, -1, 1800)
    with pytest.raises(UsageError, match="give an absolute path"):
        _ask(scene, tmp_path / "h", "touched", path)


@pytest.mark.parametrize(("flag", "why"), [("PATH_TRUNCATED", "is cut"), ("MAPPED", "memory maps")])
def test_rows_that_do_not_have_all(scene: Scene, tmp_path: Path, flag: str, why: str) -> None:
    """Are a reason."""
    _observed(scene, -1, 1800)
    scene.rows["file"][0]["flag_names"] = flag
    assert any(why in reason for reason in _ask(scene, tmp_path / "h", "writes").completeness.reasons)
