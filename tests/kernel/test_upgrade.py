"""Upgrade and roll-back under load: two versions' layouts share the rings, and nothing is lost, doubled or misread."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from firsthand.confine.roles import OWNERS
from firsthand.probe import libbpf, pins
from tests import require
from tests.apart import Apart
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed
from tests.kernel.test_torture import Truth, agree

pytestmark = [
    pytest.mark.counts_losses,
    pytest.mark.landing("another build runs under load, is taken over and rolled back, twice"),
]

_HERE = Path(__file__).parents[2]
_BEFORE = _HERE / "src"
_SUBJECT = Path(__file__).with_name("subject")
#: What differs in the newer version, besides one more subject: a column of the exits' records, and a role before all others.
_CHANGES = {
    "kernel/subjects/process.h": (
        '\t__u8 core_dumped DOC("a core was dumped")',
        '\t__u64 minor_faults DOC("page faults without a read");\n',
    ),
    "kernel/subjects/exit.bpf.c": ("\texit->peak_memory =", "\texit->minor_faults = 4242;\n"),
    "src/firsthand/confine/roles.py": (
        '    "loader": Role(',
        '    "judge": Role("firsthand.roles.judge", FIRST_NUMBER + 9),\n',
    ),
}
#: Processes of the load in each part of the test, at least.
_SOME = 100
#: One table's rows that only the newer version writes, and every number that was given, by whoever wrote it.
_ONLY_NEWER = "SELECT ktime FROM rename WHERE new_name = 'exe' ORDER BY ktime"
_NUMBERS = """SELECT count(*) AS rows, count(DISTINCT (ring, cpu, seq)) AS numbers
    FROM (SELECT ring, cpu, seq FROM process UNION ALL SELECT ring, cpu, seq FROM rename)"""
_EXITS = "SELECT count(*) FILTER (minor_faults = 4242) AS new, count(*) FILTER (minor_faults IS NULL) AS old FROM process WHERE event = 'exit'"


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This version with one more column, one more subject with its hooks, and one more role, in a place of its own: its `src`."""
    require.bpf()
    place = tmp_path_factory.mktemp("newer")
    for name in ("src", "kernel"):
        shutil.copytree(_HERE / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.bpf.o"))
    for name, (mark, more) in _CHANGES.items():
        text = (place / name).read_text()
        assert mark in text, f"{name}: {mark}"
        (place / name).write_text(text.replace(mark, more + mark, 1))
    shutil.copy(_SUBJECT / "rename.py", place / "src/firsthand/subjects")
    for name in ("rename.h", "rename.bpf.c"):
        shutil.copy(_SUBJECT / name, place / "kernel/subjects")
    objects = place / "src/firsthand/probe/objects"
    subprocess.run([sys.executable, place / "kernel/build.py", objects], check=True)
    _run(place / "src", "firsthand.schema.lock")
    return place / "src"


@pytest.fixture
def apart() -> Iterator[Apart]:
    """For the time of the test."""
    require.bpf()
    with Apart() as made:
        yield made


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


def _run(source: Path, module: str, *arguments: str, within: tuple[str, ...] = ()) -> str:
    command = [*within, sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=_environment(source), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def _asked(source: Path, history: Path, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        _run(source, "firsthand", "sql", query, "--output", "json", "--history", str(history))
    )
    return found


def _observing(apart: Apart, history: Path, cgroup: TestCgroup) -> Observed:
    """An observer in the test's own mount namespace."""
    made = Observed(history, [cgroup.path])
    made.command = [*apart.within, *made.command]
    return made


def _hand_over(observed: Observed) -> None:
    """End it as `make install` ends the running version: its kernel side records on."""
    observed.process.send_signal(signal.SIGUSR2)
    assert observed.process.stderr is not None
    observed.errors += observed.process.stderr.readlines()
    assert observed.process.wait() == 0, "".join(observed.errors)


def _links(apart: Apart, observed: Observed) -> dict[str, int]:
    """What an instance has attached, by the names of its pins: the kernel's numbers of the links, which no other link ever gets."""
    found = {}
    for path in (apart.bpffs / f"firsthand-{observed.instance}").glob("link_*"):
        fd = pins.open_pin(path)
        assert fd is not None
        raw, size = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
        libbpf.call("bpf_obj_get_info_by_fd", fd, raw, ctypes.byref(size))
        found[path.name.removeprefix("link_")] = struct.unpack_from("<II", raw.raw)[1]  # struct bpf_link_info: type, id
        os.close(fd)
    return found


def _is_attached(number: int) -> bool:
    """Whether the kernel still has a link of that number."""
    fd = libbpf.library().bpf_link_get_fd_by_id(number)
    if fd >= 0:
        os.close(fd)
        return True
    assert -fd == errno.ENOENT, os.strerror(-fd)
    return False


def _until(met: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 30
    while not met():
        assert time.monotonic() < until, what
        os.sched_yield()


def _owners(history: Path) -> dict[str, tuple[int, int]]:
    """User and group of a history, of its folders, and of the logs in them."""
    paths = [history, *(history / name for name in OWNERS), *history.glob("log/*.log")]
    stats = {path: path.stat() for path in paths if path.exists()}
    return {"*.log" if path.suffix == ".log" else path.name: (told.st_uid, told.st_gid) for path, told in stats.items()}


def test_two_upgrades_and_a_roll_back_under_load(
    apart: Apart, cgroup: TestCgroup, history: Path, tmp_path: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old, new, old, new: each takes over what the one before left attached. Every process of the load stands there once, hooks that both
    have stay attached all the time, columns and tables of the new version have rows of its time alone, and owners stay.

    The ring has room for what comes while nobody reads. At the end `firsthand uninstall` removes what both versions left attached.
    """
    configured(tmp_path, monkeypatch, f"ring_bytes = {128 << 20}\n")
    observed = _observing(apart, history, cgroup)
    observed.start(env=_environment(_BEFORE))
    work = Truth(cgroup, tmp_path, "1000")
    links, owners = _links(apart, observed), _owners(history)
    assert owners.keys() > {"log", "names", "generations", "*.log"}
    for version in (newer, _BEFORE, newer):
        work.past(work.counted()[0] + _SOME)
        _hand_over(observed)
        work.past(work.counted()[0] + _SOME)
        observed.start(env=_environment(version))
        found = _links(apart, observed)
        assert {name: number for name, number in found.items() if "rename" not in name} == links
        assert bool(found.keys() - links.keys()) is (version == newer), found.keys() - links.keys()
        assert _owners(history) == owners
    work.past(work.counted()[0] + _SOME)
    truth = work.end()
    _hand_over(observed)
    _nothing_of_the_load_is_missing(observed, truth)
    _each_version_has_its_rows(observed, newer)
    _uninstalled(apart, cgroup, observed, tmp_path)


def _nothing_of_the_load_is_missing(observed: Observed, truth: tuple[int, int, int]) -> None:
    """All processes once, and no time that was not observed. The older version cannot keep the newer table's rows that waited for it: they are
    a loss of that table, with their number, and of no other."""
    (lost,) = observed.rows("SELECT table_name, cause, events, detail FROM loss WHERE cause <> 'helper_failed'")
    assert (lost["table_name"], lost["cause"]) == ("rename", "malformed") and lost["events"] >= _SOME
    assert "a table of another version" in lost["detail"]
    agree(observed, truth, "rename")
    (began,) = observed.rows("SELECT min(time) AS first, max(time) AS last FROM process")
    first, last = (began[name].replace(tzinfo=UTC) for name in ("first", "last"))
    assert observed.judged(first, last) == []


def _each_version_has_its_rows(observed: Observed, newer: Path) -> None:
    """Spans and layouts of both versions; what only the newer one records, once each and in its time alone."""
    history = observed.history
    spans = observed.rows("SELECT event, ktime FROM observer WHERE event <> 'alive' ORDER BY ktime")
    assert [row["event"] for row in spans] == ["start", "ready", *("resume", "ready") * 3]
    assert len(list((history / "schema").glob("*.json"))) == 2
    told = json.loads(_run(newer, "firsthand", "ask", "renamed", "--json", "--history", str(history)))["completeness"]
    assert "a version observed that had no hooks for rename" in told["reasons"]
    (exits,) = _asked(newer, history, _EXITS)
    assert exits["new"] >= 2 * _SOME and exits["old"] >= 3 * _SOME, exits
    (numbers,) = _asked(newer, history, _NUMBERS)
    assert numbers["rows"] == numbers["numbers"], "a record stands there twice"
    renames = [row["ktime"] for row in _asked(newer, history, _ONLY_NEWER)]
    execs = [
        row["ktime"] for row in observed.rows("SELECT ktime FROM process WHERE event = 'exec' AND args = ['counted']")
    ]
    rolled_back = spans[5]["ktime"]  # `ready` of the third one: what only the newer one has is detached by then
    for part in ([at for at in renames if at < rolled_back], [at for at in renames if at > rolled_back]):
        assert len(part) >= _SOME
        assert len([at for at in execs if part[0] < at < part[-1]]) == len(part) - 1, (
            "each exec renames its process once"
        )


def _uninstalled(apart: Apart, cgroup: TestCgroup, upgraded: Observed, tmp_path: Path) -> None:
    """One instance of each version is still attached: `firsthand uninstall` of this version removes the pins of both, and detaches all."""
    older = _observing(apart, tmp_path / "older", cgroup)
    older.start(env=_environment(_BEFORE))
    _hand_over(older)
    numbers = [number for one in (upgraded, older) for number in _links(apart, one).values()]
    assert len(numbers) > 20 and all(map(_is_attached, numbers))
    folders = {f"/sys/fs/bpf/firsthand-{one.instance}" for one in (upgraded, older)}
    assert {path.name for path in apart.bpffs.iterdir()} >= {Path(folder).name for folder in folders}
    words = ("uninstall", "--prefix", str(tmp_path / "nowhere"))
    planned = _run(_BEFORE, "firsthand", *words, "--dry-run", within=tuple(apart.within))
    assert planned.splitlines() == [f"would remove {folder}, what is attached by it" for folder in sorted(folders)]
    _run(_BEFORE, "firsthand", *words, within=tuple(apart.within))
    assert not list(apart.bpffs.glob("firsthand-*"))
    _until(lambda: not any(map(_is_attached, numbers)), "something is still attached")
