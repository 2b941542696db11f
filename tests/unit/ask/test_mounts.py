"""`ask mounts`: the rows of the table `mount`, with what the answer relies on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask import answering
from firsthand.ask.answer import Answer, Request
from firsthand.history.store.connection import History
from tests.scenes import HOOKS_PRESENT, Process, Scene


def _mount(scene: Scene, process: Process, at: float, **values: Any) -> None:
    names = ("exec_tgid", "exec_start", "exec_number", "pid", "container", "pod", "namespace", "cgroup_path", "exe")
    row = {name: value for name, value in process.row.items() if name in names}
    scene.add("mount", at, **row, call="mount", tier="tracepoint", **values)


def _history(folder: Path, hooks: str = HOOKS_PRESENT) -> Path:
    """A pod that binds the machine's root, and one whose try is refused."""
    scene = Scene()
    scene.observed(-1, 60, hooks)
    for name, address, error in (("escaping", "10.244.0.1", None), ("refused", "10.244.0.2", 1)):
        process = scene.process(scene.pod(name, address, 0), "/bin/busybox", ["mount", "-o", "bind", "/", "/x"], 10.0)
        words = {"source": "/", "target": "/x", "options": "bind", "flag_names": "SOURCE_RAW,SENSITIVE"}
        _mount(scene, process, 11.0, event="bind", error=error, **words)
    return scene.write(folder, kept=True)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an observer that had all hooks."""
    return _history(tmp_path_factory.mktemp("history"))


def _ask(history: Path, question: str, *arguments: str) -> Answer:
    with History(history).connection() as connection:
        return answering.from_connection(connection, Request(question, arguments, limit=100), datetime.now(UTC))


def test_it_lists_what_was_done_and_what_was_refused(history: Path) -> None:
    """With the errno, of all or of one pod."""
    answer = _ask(history, "mounts")
    assert answer.sentence == "Yes: 2 changes of mount trees"
    assert [(row["pod"], row["error"], row["target"]) for row in answer.found.rows] == [
        ("escaping", None, "/x"),
        ("refused", 1, "/x"),
    ]
    assert _ask(history, "mounts", "refused").sentence == "Yes: 1 change of a mount tree of refused"


def test_the_timeline_shows_them(history: Path) -> None:
    """In a line of what was mounted where, with how, and why it was refused."""
    rows = [row for row in _ask(history, "timeline", "refused").found.rows if row["table"] == "mount"]
    assert [(row["event"], row["what"]) for row in rows] == [("bind", "/bin/busybox")]
    assert rows[0]["detail"] == "/ → /x bind errno 1 SOURCE_RAW,SENSITIVE"


def test_an_observer_without_the_hook_denies_nothing(tmp_path: Path) -> None:
    """Law 11: where nothing could be recorded, `No` is not complete."""
    without = _history(
        tmp_path / "history", HOOKS_PRESENT.replace('"mount_change": "present"', '"mount_change": "missing: x"')
    )
    answer = _ask(without, "mounts", "escaping")
    assert not answer.completeness.complete and _ask(_history(tmp_path / "whole"), "mounts").completeness.complete


@pytest.mark.parametrize(("state", "complete"), [("present", True), ("missing: fexit is refused", False)])
def test_none_is_not_proven_where_some_calls_are_not_seen(tmp_path: Path, state: str, complete: bool) -> None:
    """Law: "no" is incomplete where 32-bit calls are not recorded; rows that are there are no less so."""
    scene = Scene()
    hooks = json.loads(HOOKS_PRESENT) | {"mount_compat": state}
    scene.observed(-1, 60, json.dumps(hooks))
    found = _ask(scene.write(tmp_path / "h"), "mounts")
    assert found.sentence.startswith("No: 0") and found.completeness.complete == complete
    words = ["not recorded: changes of the mount tree by 32-bit system calls (int 0x80)"]
    assert found.completeness.reasons == ([] if complete else words)
