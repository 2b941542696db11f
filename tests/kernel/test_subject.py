"""Law 13: a subject is three files. One of the tests' own (tests/kernel/subject) is added to a copy, built, observed, asked and taken over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from firsthand.probe import pins
from firsthand.schema.lock import PATH
from kernel import build
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed

pytestmark = pytest.mark.budget(
    60, "one object is built, five observers follow each other, and each question is a process of the copy's"
)

_HERE = Path(__file__).parents[2]
_SUBJECT = Path(__file__).with_name("subject")
#: Renames its thread that leads, or a second one, to a name that is asked for.
_RENAME = """import sys, threading; from pathlib import Path
def rename(): Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(sys.argv[2])
one = threading.Thread(target=rename) if sys.argv[1] == "thread" else None
(one.start(), one.join()) if one else rename()"""


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This version with one more subject, built in a place of its own: its `src`. What was built of the others is copied."""
    require.bpf()
    place = tmp_path_factory.mktemp("larger")
    for name in ("src", "kernel"):
        shutil.copytree(_HERE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_SUBJECT / "rename.py", place / "src/firsthand/subjects")
    for name in ("rename.h", "rename.bpf.c"):
        shutil.copy(_SUBJECT / name, place / "kernel/subjects")
    objects = place / "src/firsthand/probe/objects"
    build.compile_object(place / "kernel/subjects/rename.bpf.c", objects)
    build.make_spine([path for path in sorted(objects.glob("*.o")) if path.name != "spine.bpf.o"], objects)
    _run(place / "src", "firsthand.schema.lock")
    return place / "src"


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


def _run(source: Path, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=_environment(source), cwd=source, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def _asked(source: Path, history: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(source, "firsthand", "ask", *words, "--json", "--history", str(history)))
    return found


def _rename(cgroup: TestCgroup, which: str, name: str) -> None:
    """One name for a task of a new process, which the kernel has named before, as it executed its program."""
    assert cgroup.run([sys.executable, "-c", _RENAME, which, name]).wait() == 0


@pytest.fixture
def observed(cgroup: TestCgroup, history: Path) -> Iterator[Observed]:
    """It leaves its kernel side for the next one to take over; at the end nothing of it is left, whatever a test came to."""
    made = Observed(history, [cgroup.path], "--keep-attached")
    yield made
    pins.remove(made.instance)


@contextmanager
def _observing(observed: Observed, source: Path) -> Iterator[None]:
    """By the version with these sources, from `ready` until the block ends."""
    observed.start(env=_environment(source))
    yield
    assert observed.stop() == 0, "".join(observed.errors)


def _renamed(source: Path, history: Path) -> dict[str, Any]:
    """The answer of the subject's own question, with the kernel's own renames, at each exec, left out of its rows."""
    found = _asked(source, history, "renamed")
    found["rows"] = [row for row in found["rows"] if row["times"] > 1]
    return found


def test_three_files_add_a_table_and_nothing_else(larger: Path) -> None:
    """The lock of the copy has the new table and all others as they were; its own columns stand among those that the kernel sends."""
    before, after = (json.loads(path.read_text())["tables"] for path in (PATH, larger / "firsthand/schema/lock.json"))
    added = after.pop("rename")
    assert after == before
    names = [column["name"] for column in added["columns"]]
    assert {"redacted", "claimed", "container_name", "times", "new_name", "flag_names"} <= set(names)


def test_a_subject_of_three_files_is_observed_asked_and_taken_over(
    cgroup: TestCgroup, observed: Observed, tmp_path: Path, larger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its canary answers before `ready`, its rows are completed and redacted, its question is answered and its blind spot named, its
    setting reaches the kernel. Who takes over loses nothing and goes on with its own map; a version without it detaches it."""
    history = observed.history
    with _observing(observed, larger):
        _rename(cgroup, "leader", "PASSWORD=hunter")
    (ready,) = observed.rows("SELECT hooks FROM observer WHERE event = 'ready'")
    assert json.loads(ready["hooks"])["rename"].startswith("present: rename_")
    first = _renamed(larger, history)
    assert first["answer"].startswith("Yes: 2 renames"), first  # one at the exec, and none of the canary's
    (row,) = first["rows"]
    assert "hunter" not in row["new_name"] and row["exe"] == os.path.realpath(sys.executable), row
    assert "names that were only dreamt" in first["completeness"]["blind_spots"]
    assert first["completeness"]["complete"], first["completeness"]["reasons"]

    _rename(cgroup, "thread", "while-alone")
    with _observing(observed, larger):
        _rename(cgroup, "thread", "taken-over")
        _rename(cgroup, "leader", "!shouted")  # a failure that is counted: the next observer tells it
    then = _renamed(larger, history)
    assert [row["new_name"] for row in then["rows"][1:]] == ["while-alone", "taken-over"]
    assert then["completeness"]["complete"], then["completeness"]["reasons"]
    told = _asked(larger, history, "timeline")["rows"]
    assert [row["detail"] for row in told if row["table"] == "rename" and row["detail"].endswith("taken-over")] != []

    (tmp_path / "config.toml").write_text("[rename]\nthreads = false\n")
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(tmp_path / "config.toml"))
    with _observing(observed, larger):
        _rename(cgroup, "thread", "switched-off")
        _rename(cgroup, "leader", "switched-on")
    off = _renamed(larger, history)
    assert [row["new_name"] for row in off["rows"][3:]] == ["switched-on"]
    switched, failed = sorted(off["completeness"]["reasons"])[::-1]
    assert switched == "renames of threads were not recorded (setting rename.threads)"
    assert "1 events or values lost" in failed and "helper_failed: rename_shouted" in failed, failed
    assert _asked(larger, history, "processes")["completeness"]["complete"]
    monkeypatch.delenv("FIRSTHAND_CONFIG")

    with _observing(observed, _HERE / "src"):
        assert not list(pins.folder_of(observed.instance).glob("*rename*"))
        _rename(cgroup, "leader", "unseen")
    observed.command.remove("--keep-attached")
    with _observing(observed, larger):
        _rename(cgroup, "leader", "seen-again")
    last = _renamed(larger, history)
    assert [row["new_name"] for row in last["rows"][4:]] == ["seen-again"]
    assert "a version observed that had no hooks for rename" in last["completeness"]["reasons"]
    query = ("SELECT cause, table_name FROM loss", "--output", "json", "--history", str(history))
    lost = json.loads(_run(larger, "firsthand", "sql", *query))
    assert [(row["cause"], row["table_name"]) for row in lost] == [("helper_failed", "rename")], lost
    without = _asked(_HERE / "src", history, "processes")
    assert without["rows"] == _asked(larger, history, "processes")["rows"] != []
