"""ask/questions/tampered.py: "No" of the files and rounds that were compared, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answer import iso
from firsthand.errors import UsageError
from tests.asking import ask
from tests.scenes import Scene

SU, PASSWD, MEMORY = "/usr/bin/su", "/etc/passwd", "/dev/shm/file"
_GOOD, _EVIL = "a" * 64, "e" * 64


def _scene(until: float = 300, *, rounds: range = range(0, 300, 60), checks: bool = True) -> Scene:
    """An observer's run, with rounds of a second each minute over two files."""
    scene = Scene()
    settings = "{}" if checks else '{"content": false}'
    scene.observed(-1, until, settings=settings)
    if checks:
        for path in (SU, PASSWD):
            _listed(scene, path, "checked", 0.5)
        _rounds(scene, rounds)
    return scene


def _rounds(scene: Scene, rounds: range) -> None:
    for at in rounds:
        told = {"since": scene.at(at), "until": scene.at(at + 1), "every": 60, "reasons": "{}"}
        scene.add("content", at + 1, event="round", checked=2, differing=0, unchecked=0, **told)


def _listed(scene: Scene, path: str, state: str, at: float, reason: str | None = None) -> None:
    scene.add("content", at, event="listed", path=path, kind="setuid", state=state, reason=reason)


def _differs(scene: Scene, path: str, at: float, *, since: float | None, cached: str = _EVIL) -> None:
    """`cached` is what readers get."""
    told: dict[str, Any] = {"until": scene.at(at), "since": None if since is None else scene.at(since)}
    told |= {"cached_sha256": cached, "disk_sha256": _GOOD, "file_device": "8:1", "file_inode": 77}
    scene.add("content", at, event="differs", path=path, kind="setuid", bytes_differ=4, first_offset=9, size=99, **told)


def _same(scene: Scene, path: str, at: float) -> None:
    scene.add("content", at, event="same", path=path, kind="setuid", until=scene.at(at))


def _asked(scene: Scene, folder: Path, *words: str) -> dict[str, Any]:
    return ask(scene.write(folder, kept=True), "tampered", *words)


def test_no_is_of_what_was_compared(tmp_path: Path) -> None:
    """Law: the number of files and of rounds; complete where each round was made when it was due."""
    found = _asked(_scene(), tmp_path)
    assert found["answer"] == "No: 0 of 2 checked files differed when they were compared, in 5 rounds"
    assert found["completeness"]["complete"], found["completeness"]["reasons"]


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        (range(0, 100, 60), "from 2026-03-01T12:02:00.000Z to 2026-03-01T12:05:00.000Z"),
        (range(180, 300, 60), "from 2026-03-01T11:59:59.000Z to 2026-03-01T12:03:00.000Z"),
    ],
)
def test_a_round_that_was_not_made_is_a_reason(tmp_path: Path, rounds: range, words: str) -> None:
    """Law: a checker that was dead, off or starved at the begin or at the end of the window: that time is not answered."""
    found = _asked(_scene(rounds=rounds), tmp_path)
    assert found["answer"].startswith("No: 0 of 2") and not found["completeness"]["complete"]
    assert any(words in one for one in found["completeness"]["reasons"]), found["completeness"]["reasons"]


def test_a_hole_between_rounds_is_a_reason(tmp_path: Path) -> None:
    """Law: also in the middle."""
    scene = _scene(rounds=range(0, 60, 60))
    _rounds(scene, range(240, 300, 60))
    (reason,) = _asked(scene, tmp_path)["completeness"]["reasons"]
    assert "no file was compared from 2026-03-01T12:01:00.000Z to 2026-03-01T12:04:00.000Z on node-1" in reason


@pytest.mark.parametrize("checks", [True, False])
def test_without_a_round_nothing_is_denied(tmp_path: Path, checks: bool) -> None:
    """Law: never "No" where nothing was compared; the setting is the reason where it was that."""
    found = _asked(_scene(rounds=range(0), checks=checks), tmp_path)
    assert found["answer"] == "Not checked: no file was compared with the disk"
    told = " ".join(found["completeness"]["reasons"])
    assert ("content.enabled" in told) is not checks and "no round of checks ended" in told


def test_what_was_not_checked_is_named(tmp_path: Path) -> None:
    """Law: a file that was not compared once within the window is none of the checked, and its reason is in answer and evidence."""
    scene = _scene()
    _listed(scene, MEMORY, "unchecked", 0.5, "its file system is tmpfs")
    _listed(scene, PASSWD, "unchecked", 100, "it is being written")
    _listed(scene, PASSWD, "checked", 160)
    _listed(scene, "/etc/ld.so.preload", "absent", 0.5)
    history = scene.write(tmp_path, kept=True)
    found = ask(history, "tampered")
    said = (
        "2 files could not be checked all the time: 1 because it is being written, 1 because its file system is tmpfs"
    )
    assert found["answer"] == f"No: 0 of 1 checked file differed when they were compared, in 5 rounds; {said}"
    assert said in found["completeness"]["reasons"]
    later = ask(history, "tampered", "--since", iso(scene.at(170)))
    assert later["answer"].startswith(
        "No: 0 of 2 checked files differed when they were compared, in 2 rounds; 1 file could not"
    ), later
    alone = ask(history, "tampered", MEMORY)
    assert alone["answer"].startswith(f"Not checked: {MEMORY} was not compared with the disk; 1 file"), alone
    assert not alone["completeness"]["complete"]


def test_one_file(tmp_path: Path) -> None:
    """Law: a file is answered for itself; one that is on no list is not denied, and the one that may be meant is named."""
    history = _scene().write(tmp_path, kept=True)
    found = ask(history, "tampered", SU)
    assert found["answer"] == f"No: {SU} was the same in the page cache and on the disk in each of 5 rounds"
    assert found["completeness"]["complete"], found["completeness"]["reasons"]
    other = ask(history, "tampered", "/bin/su")
    assert other["answer"] == "Not checked: /bin/su was not compared with the disk"
    assert any(
        f"/bin/su was on no list of files to be compared; there is {SU}" in one
        for one in other["completeness"]["reasons"]
    )
    with pytest.raises(UsageError, match="absolute path"):
        ask(history, "tampered", "su")


def test_what_differed(tmp_path: Path) -> None:
    """Law: one row for each content; who executed it since it was the same; the end, where it ended; once, though it is reported again."""
    scene = _scene()
    _differs(scene, SU, 60.5, since=0.6)
    _differs(scene, SU, 120.5, since=None)  # by the next checker
    _differs(scene, SU, 180.5, since=0.6, cached="f" * 64)
    _same(scene, SU, 240.5)
    _differs(scene, PASSWD, 240.6, since=180.7)
    web = scene.pod("web", "10.0.0.5")
    for at, pod in ((0.2, web), (30, None), (70, web), (200, web)):
        row = scene.process(pod, SU, at=at)
        scene.rows["process"][-1] |= {"file_device": "8:1", "file_inode": 77}
        assert row.exe == SU
    history = scene.write(tmp_path, kept=True)
    found = ask(history, "tampered")
    assert found["answer"] == "Yes: 2 files differed from the disk in the page cache, 1 of them to the end"
    told = [(row["path"], row["found"], row["until"], row["executed"], row["by"]) for row in found["rows"]]
    moment = {at: iso(scene.at(at)).replace("00Z", "00000Z") for at in (60.5, 180.5, 240.5, 240.6)}
    assert told == [
        (PASSWD, moment[240.6], None, 1, ["shop/web"]),
        (SU, moment[180.5], moment[240.5], 3, ["host", "shop/web"]),
        (SU, moment[60.5], moment[180.5], 2, ["host", "shop/web"]),
    ]
    later = ask(history, "tampered", "--since", iso(scene.at(200)))
    assert [row["found"] for row in later["rows"]] == [moment[240.6], moment[180.5]], "what began before it and went on"
    assert ask(history, "tampered", SU, "--since", iso(scene.at(240.55)))["answer"].startswith(f"No: {SU}")


def test_a_checker_that_began_later_ends_it(tmp_path: Path) -> None:
    """Law: pages that were dropped while no checker ran: the next one finds the file the same, and since then it is."""
    scene = _scene()
    _differs(scene, SU, 60.5, since=0.6)
    _listed(scene, SU, "differs", 60.5)
    _listed(scene, SU, "unchecked", 100, "it is being written")
    _listed(scene, SU, "checked", 120.5)
    (row,) = _asked(scene, tmp_path)["rows"]
    assert row["until"].startswith("2026-03-01T12:02:00.5")


# ---- what was on no list, and nodes on which nothing was compared ----


def _beside(folder: Path, *, settings: str = '{"content": true}', rounds: range, paths: tuple[str, ...]) -> None:
    """Another node's rows in the same history, with the first one's."""
    _scene().write(folder)
    other = Scene(node="node-2", boot="2f2e3d4c-0000-4000-8000-123456789abc")
    other.observed(-1, 300, settings=settings)
    for path in paths:
        _listed(other, path, "checked", 0.5)
    _rounds(other, rounds)
    other.write(folder)


@pytest.mark.parametrize(
    ("settings", "rounds", "paths", "why"),
    [
        (
            '{"content": true}',
            range(0),
            (),
            "no file was compared from 2026-03-01T11:59:59.000Z to 2026-03-01T12:05:00",
        ),
        ('{"content": true}', range(0, 300, 60), (PASSWD,), f"{SU} was on no list of files to be compared on node-2"),
        ('{"content": false}', range(0), (), "no file's content was checked (setting content.enabled)"),
        ('{"content": true}', range(0, 300, 60), (PASSWD, SU), None),
    ],
    ids=["its checker was dead", "it is not on its list", "it was off", "it was compared there too"],
)
def test_each_node_must_have_compared_it(
    tmp_path: Path, settings: str, rounds: range, paths: tuple[str, ...], why: str | None
) -> None:
    """Law: what one node compared proves nothing of another one that was observed."""
    _beside(tmp_path, settings=settings, rounds=rounds, paths=paths)
    found = ask(tmp_path, "tampered", SU)["completeness"]
    assert found["complete"] == (why is None), found["reasons"]
    assert why is None or any(one.startswith(why) for one in found["reasons"]), found["reasons"]
    assert ask(tmp_path, "tampered", SU, "--node", "node-1")["completeness"]["complete"]


@pytest.mark.parametrize(
    ("listed", "span"),
    [
        ([(250.0, "checked")], "11:59:59.000Z to 2026-03-01T12:04:10"),
        ([(0.5, "checked"), (70, "off")], "12:01:10.000Z to 2026-03-01T12:05:00"),
        ([(0.5, "absent"), (200, "checked")], "11:59:59.000Z to 2026-03-01T12:03:20"),
        ([(0.5, "checked"), (70, "absent"), (200, "checked")], "12:01:10.000Z to 2026-03-01T12:03:20"),
        ([(0.5, "checked"), (70, "off"), (75, "checked")], None),
    ],
    ids=[
        "it came late",
        "it was taken off",
        "it was not there",
        "it was away for a time",
        "it was away between two rounds",
    ],
)
def test_a_path_is_denied_for_the_time_on_the_list_alone(
    tmp_path: Path, listed: list[tuple[float, str]], span: str | None
) -> None:
    """Law: rounds of which it was no part prove nothing of it."""
    scene = _scene()
    for at, state in listed:
        _listed(scene, "/opt/late", state, at)
    found = _asked(scene, tmp_path, "/opt/late")["completeness"]["reasons"]
    assert found == (
        []
        if span is None
        else [f"/opt/late was on no list of files to be compared from 2026-03-01T{span}.000Z on node-1"]
    )
