"""Law 2 on the real kernel: each way in which a record or a value can be lost is caused, and becomes a row with its cause."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firsthand.errors import UsageError
from firsthand.probe import attach, libbpf, load, pins, shared
from firsthand.probe.loaded import AttachedProgram
from firsthand.probe.spec import Hook
from kernel import build
from tests.cgroups import TestCgroup
from tests.kernel.inside import ObserverInside

_ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.counts_losses


@pytest.fixture
def inside(cgroup: TestCgroup, history: Path) -> Iterator[ObserverInside]:
    made = ObserverInside(cgroup, history)
    yield made
    made.close()


@pytest.fixture
def tight(cgroup: TestCgroup, history: Path) -> Iterator[ObserverInside]:
    """With the smallest rings there are."""
    made = ObserverInside(cgroup, history, ring_bytes=4096, urgent_bytes=4096)
    yield made
    made.close()


class Refuse:
    """tests/kernel/programs/refuse.bpf.c in the kernel, with the observer's ring."""

    def __init__(self, inside: ObserverInside, folder: Path) -> None:
        target = build.compile_object(_ROOT / "tests/kernel/programs/refuse.bpf.c", folder)
        self.handle = libbpf.pointer("bpf_object__open_file", str(target).encode(), None)
        for found in libbpf.each("bpf_object__next_map", self.handle):
            name = libbpf.library().bpf_map__name(found).decode()
            if name in inside.loaded.maps:
                libbpf.call("bpf_map__reuse_fd", found, inside.loaded.maps[name])
        libbpf.call("bpf_object__load", self.handle)

    def program(self, name: str) -> int:
        """By its name."""
        return libbpf.pointer("bpf_object__find_program_by_name", self.handle, name.encode())

    def run(self, name: str) -> None:
        """Once, here (BPF_PROG_TEST_RUN)."""
        options = ctypes.create_string_buffer(struct.pack("<Q", 88).ljust(88, b"\0"))
        found = libbpf.library().bpf_prog_test_run_opts(libbpf.call("bpf_program__fd", self.program(name)), options)
        assert found == 0, os.strerror(-found)

    def close(self) -> None:
        """Out of the kernel."""
        libbpf.library().bpf_object__close(self.handle)


@pytest.fixture
def refuse(inside: ObserverInside, tmp_path: Path) -> Iterator[Refuse]:
    made = Refuse(inside, tmp_path)
    yield made
    made.close()


def _loss(inside: ObserverInside, cause: str) -> dict[str, Any]:
    """The first row of a cause, waited for; it was before now and after the beginning."""
    row = inside.until_rows(f"SELECT * FROM loss WHERE cause = '{cause}' ORDER BY time")[0]
    ready = inside.rows("SELECT min(time) AS time FROM observer")[0]["time"]
    assert ready <= row["until"] <= row["time"]
    assert row["since"] < row["until"]
    return row


def _flood(inside: ObserverInside, cpu: int, lives: int = 40) -> None:
    """Lives on one CPU while nobody reads."""
    script = f"i=0; while [ $i -lt {lives} ]; do /bin/true; i=$((i+1)); done"
    inside.cgroup.run(["taskset", "-c", str(cpu), "/bin/sh", "-c", script]).wait()


def test_a_sequence_gap(tight: ObserverInside) -> None:
    """Records that the full ring did not take, with later ones of the same CPU behind them."""
    _flood(tight, 0)
    tight.observer.commit()
    _flood(tight, 0, 1)
    row = _loss(tight, "sequence_gap")
    assert (row["cpu"], row["ring"]) == (0, 0)
    details = " ".join(row["detail"] for row in tight.rows("SELECT detail FROM loss"))
    assert f'in "{tight.cgroup.where}"' in details and "held back in a flood" in details, details
    (lost,) = tight.rows("SELECT sum(events) AS n FROM loss WHERE cause IN ('sequence_gap', 'open_tail')")
    assert lost["n"] > 60  # in one row, or in two where a second passed meanwhile


def test_an_open_tail(tight: ObserverInside) -> None:
    """Nothing of that CPU comes any more: the kernel's own counter tells, each second and not only at the end."""
    _flood(tight, 0)
    row = _loss(tight, "open_tail")
    assert row["cpu"] == 0
    produced = sum(map(sum, tight.observer.source.produced()))
    recorded = sum(stream.sequences.recorded for stream in tight.observer.source.streams)
    lost = tight.rows("SELECT sum(events) AS n FROM loss WHERE cause IN ('open_tail', 'sequence_gap')")[0]["n"]
    assert produced == recorded + lost


def test_a_refused_record_with_room_in_the_ring(tight: ObserverInside) -> None:
    """Longer than the whole ring, which is empty: told apart from a ring that was full."""
    tight.observer.commit()
    tight.cgroup.run(["/bin/true", "x" * 3500]).wait()
    tight.cgroup.run(["/bin/true"]).wait()
    row = _loss(tight, "sequence_gap")
    assert row["detail"] == "reserve_room failed 1 times"
    assert row["events"] == 1


def test_no_scratch_slot_is_free(inside: ObserverInside) -> None:
    """As where four programs have interrupted one another on a CPU: the record is lost, its number is used up, and it is said."""
    fd = inside.loaded.maps["records"]
    info = pins.info(fd)
    size = info.value_size * libbpf.call("libbpf_num_possible_cpus")
    busy = b"".join(struct.pack("<Q", 1).ljust(info.value_size, b"\0") for _ in range(size // info.value_size))
    for slot in range(info.max_entries):
        shared.update(fd, struct.pack("<I", slot), busy)
    inside.cgroup.run(["/bin/true"]).wait()
    for slot in range(info.max_entries):
        shared.update(fd, struct.pack("<I", slot), bytes(size))
    row = inside.until_rows("SELECT sum(events) AS n, min(detail) AS why FROM loss HAVING n > 1")[0]
    assert "scratch failed" in row["why"]
    inside.run("after")
    assert [row["w"] for row in inside.rows("SELECT args[2] AS w FROM process WHERE event = 'exec'")] == ["after"]


def test_a_recursion_miss(inside: ObserverInside, refuse: Refuse) -> None:
    """A program that was skipped because it ran already: the kernel counts it, and nothing else would tell."""
    fd, link = attach.link_of(refuse.program("recurse"))
    inside.loaded.programs.append(
        AttachedProgram(Hook("recurse", "refuse", ("recurse",), "process", "nothing"), "recurse", fd, link)
    )
    inside.until(lambda: inside.observer.marks.second > 0)
    for _ in range(3):
        refuse.run("begin_recursion")
    row = _loss(inside, "recursion_miss")
    assert (row["events"], row["detail"]) == (3, "recurse")


def test_a_helper_that_failed(inside: ObserverInside, tmp_path: Path) -> None:
    """A path deeper than is walked: the row is there, cut and flagged, and the failure is a loss of one value."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(600):
            os.mkdir("d")
            os.chdir("d")
        shutil.copy("/bin/true", "x")
        inside.cgroup.run(["./x"]).wait()
    finally:
        os.fchdir(here)
        os.close(here)
    row = _loss(inside, "helper_failed")
    assert row["detail"] == "path_depth"
    assert row["events"] == 2, "the binary's path and the working directory's"
    names = inside.rows("SELECT flag_names FROM process WHERE event = 'exec'")[0]["flag_names"].split(",")
    assert {"EXE_TRUNCATED", "CWD_TRUNCATED"} <= set(names)


def test_bytes_that_are_no_record(inside: ObserverInside, refuse: Refuse) -> None:
    """What does not fit any layout is counted and stepped over; what comes behind it is recorded."""
    inside.observer.commit()
    refuse.run("write_rubbish")
    inside.cgroup.run(["/bin/true", "behind"]).wait()
    row = _loss(inside, "malformed")
    assert row["events"] == 1
    assert inside.rows("SELECT args[2] AS w FROM process WHERE event = 'exec'") == [{"w": "behind"}]


def _fill(fd: int) -> None:
    """A hash map up to its bound, by keys that no kernel object has."""
    info = pins.info(fd)
    number = 0
    while True:
        key = struct.pack("<q", -1 - number).rjust(info.key_size, b"\xff")
        number += 1
        try:
            libbpf.call("bpf_map_update_elem", fd, key, bytes(info.value_size), 1)
        except OSError as error:
            assert error.errno == 7, error  # E2BIG
            return


@pytest.mark.parametrize(("table", "word"), [("cgroups", "cgroup_map"), ("processes", "process_map")])
def test_a_table_of_the_kernel_that_is_full(inside: ObserverInside, table: str, word: str) -> None:
    """What does not fit is a loss of values, every event is recorded all the same, and the measure stands at the bound."""
    _fill(inside.loaded.maps[table])
    below = inside.cgroup.path / "below"
    below.mkdir()
    inside.cgroup.run(["/bin/sh", "-c", f"echo 0 > {below}/cgroup.procs; /bin/true in; exit 0"]).wait()
    row = _loss(inside, "helper_failed")
    assert row["detail"] == word
    assert len(inside.rows("SELECT 1 FROM process WHERE event = 'exec' AND args = ['/bin/true', 'in']")) == 1
    inside.observer.tables._due = 0.0
    inside.observer._say("alive")
    measures = json.loads(inside.rows("SELECT measures FROM observer ORDER BY ktime DESC LIMIT 1")[0]["measures"])
    assert measures[f"kernel_{table}"] == measures[f"kernel_{table}_limit"] > 60_000
    assert measures[f"failed_{word}"] == row["events"]


@pytest.mark.landing("1,025 scopes")
def test_more_scopes_than_there_is_room_for(cgroup: TestCgroup, history: Path) -> None:
    """Refused with the bound, before anything is observed."""
    made = ObserverInside(cgroup, history)
    made.observer.forget()
    options = replace(made.observer.options.load_options(), scopes=range(2000, 3100))
    with pytest.raises(UsageError, match="1,100 scopes were given, and the kernel side takes 1,024"):
        load.bring_in(options)
    pins.remove(made.observer.options.top.instance)
