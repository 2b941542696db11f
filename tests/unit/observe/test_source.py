"""The source, fed by the rings of a real run."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from firsthand.observe.source import Source, Taken, failure_names
from firsthand.probe.loaded import AttachedProgram
from firsthand.subjects.declare import Hook
from firsthand.wire.batch import Batch
from tests.recorded import BUSY, DISCARDED, PROGRAMS, SIZE, Recorded


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The kernel side."""
    return Recorded(monkeypatch)


def _source(recorded: Recorded, state: Mapping[str, Any] | None = None) -> Source:
    """A reader that goes on from what the one before knew."""
    return Source(recorded, recorded.decoders, {}, recorded.state if state is None else state)


def _events(*taken: Taken) -> Counter[tuple[str, bytes]]:
    found: Counter[tuple[str, bytes]] = Counter()
    for batch in (batch for one in taken for batch in one.batches):
        found.update((batch.table, _word(batch, row)) for row in range(batch.length))
    return found


def _word(batch: Batch, row: int) -> bytes:
    columns: dict[str, Any] = batch.columns
    return bytes(columns["event"].row(row))


def _words(*taken: Taken) -> list[bytes]:
    """The argument of each program that was executed."""
    found = []
    for batch in (batch for one in taken for batch in one.batches if batch.table == "process"):
        columns: dict[str, Any] = batch.columns
        found += [columns["args"].row(row) for row in range(batch.length) if _word(batch, row) == b"exec"]
    return [bytes(one).rstrip(b"\0").rpartition(b"\0")[2] if isinstance(one, bytes) else one[-1] for one in found]


def test_all_that_waits_is_taken_and_nothing_released(recorded: Recorded) -> None:
    """Each program once, in its order, over the end of the ring's memory; the kernel may write over it only after `release`."""
    source = _source(recorded)
    before = [recorded.consumed(ring) for ring in (0, 1)]
    assert before[0] % SIZE > recorded.told["rings"][0]["producer"] % SIZE, "the recording goes over the end"
    taken = source.take()
    found = _events(taken)
    assert (found["process", b"exec"], found["process", b"exit"]) == (PROGRAMS, PROGRAMS)
    assert (found["container", b"create"], found["container", b"remove"]) == (1, 1)
    assert sum(found.values()) == len(recorded.offsets(0)) + len(recorded.offsets(1))
    assert [recorded.consumed(ring) for ring in (0, 1)] == before
    source.release(taken.spans)
    assert [recorded.consumed(ring) for ring in (0, 1)] == [told["producer"] for told in recorded.told["rings"]]
    assert not source.take().spans and source.missing(source.produced(), final=True) == []


def test_each_program_stands_there_with_its_own_arguments(recorded: Recorded) -> None:
    """Texts lie behind each record's fixed part, also where the ring's memory ends within one."""
    words = [word.decode() if isinstance(word, bytes) else word for word in _words(_source(recorded).take())]
    assert words == [f"recorded-{number}" for number in range(PROGRAMS)]


@pytest.mark.parametrize("place", [0, 4, -1], ids=["first", "middle", "last"])
def test_a_record_that_is_still_being_written_is_waited_for(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Nothing behind it is taken before it, and nothing is lost or twice when it is done."""
    offsets = recorded.offsets(0)
    recorded.flag(0, offsets[place], BUSY)
    source = _source(recorded)
    first = source.take()
    assert sum(one.events for one in source.missing(source.produced())) == 0
    assert source.streams[0].read == offsets[place]
    recorded.flag(0, offsets[place], 0)
    second = source.take()
    assert _events(first, second) == _events(_source(Recorded(monkeypatch)).take())
    assert source.missing(source.produced(), final=True) == []


@pytest.mark.parametrize(("place", "cause"), [(3, "sequence_gap"), (-1, "open_tail")])
def test_a_record_that_never_came_is_one_loss(recorded: Recorded, place: int, cause: str) -> None:
    """Its program took it back after it had its number: a gap where another one of its CPU came behind it, else an open tail; told once."""
    recorded.flag(0, recorded.offsets(0)[place], DISCARDED)
    source = _source(recorded)
    assert sum(_events(source.take()).values()) == len(recorded.offsets(0)) + len(recorded.offsets(1)) - 1
    assert source.missing(source.produced()) == [], "it may still come"
    (lost,) = source.missing(source.produced(), final=True)
    assert (lost.cause, lost.events, lost.ring) == (cause, 1, 0) and lost.since < lost.until
    assert source.missing(source.produced(), final=True) == [] and source.lost == 1


def test_a_refused_record_has_its_reason(recorded: Recorded) -> None:
    """A number that was taken for a record that found no room: an open tail that says so."""
    first, second = recorded.told["rings"][0]["produced"]
    recorded.count("produced", 0, [first, second + 5])
    recorded.count("failures", failure_names()["RESERVE"], [2, 3])
    source = _source(recorded)
    source.take()
    (lost,) = source.missing(source.produced(), final=True)
    assert (lost.cause, lost.events, lost.cpu, lost.detail) == ("open_tail", 5, 1, "reserve failed 5 times")


def test_the_next_reader_goes_on_where_this_one_was_durable(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the state and the spans of the last chunk: nothing twice, nothing missing, though the first one had looked further."""
    first = _source(recorded)
    recorded.produce(0, recorded.offsets(0)[4])
    durable = first.take()
    state = json.loads(json.dumps(first.state()))
    first.release(durable.spans)
    recorded.produce(0, recorded.told["rings"][0]["producer"])
    first.take()  # looked at, and it died before that was durable
    second = _source(recorded, state)
    assert second.goes_on and second.recorded == first.recorded - len(recorded.offsets(0)) + 4
    rest = second.take()
    assert _events(durable, rest) == _events(_source(Recorded(monkeypatch)).take())
    assert second.missing(second.produced(), final=True) == []


def test_another_kernel_side_is_begun_anew(recorded: Recorded) -> None:
    """What was known of another incarnation's numbers says nothing of this one's: all that was produced before is its own loss."""
    source = _source(recorded, dict(recorded.state, incarnation=1))
    assert not source.goes_on and source.recorded == 0


@pytest.mark.parametrize(
    ("had", "interrupted", "goes_on"),
    [
        (("process_exec", "process_exit"), [], True),
        (("process_exec", "process_exit"), ["file_open"], True),
        (("process_exec", "process_exit"), ["file_open", "process_exit"], False),
        (("process_exec",), ["scopes"], False),
        (None, ["file_open"], False),
        (None, [], True),
    ],
)
def test_a_hook_that_nobody_had_before_cuts_nothing_off(
    recorded: Recorded, had: tuple[str, ...] | None, interrupted: list[str], goes_on: bool
) -> None:
    """The next version has one more, or a setting asks for it: what both had was recorded all the time. One that was there and is gone, or a
    reader before of which that is not known, is a gap."""
    state = dict(recorded.state)
    if had is not None:
        recorded.programs = [AttachedProgram(Hook(name, "x", (name,), "process", "x"), name, -1, -1) for name in had]
        state |= {"hooks": json.loads(json.dumps(_source(recorded).state()))["hooks"]}
    recorded.interrupted = interrupted
    assert _source(recorded, state).goes_on is goes_on


def test_bytes_that_are_no_record_are_counted(recorded: Recorded) -> None:
    """One record's kind is none: it is malformed, and told; its number is missing; the others are read."""
    offsets = recorded.offsets(0)
    recorded.write(0, offsets[2] + 8 + 4, b"\xee")
    source = _source(recorded)
    assert sum(_events(source.take()).values()) == len(offsets) + len(recorded.offsets(1)) - 1
    lost = {one.cause: one.events for one in source.missing(source.produced(), final=True)}
    assert lost == {"malformed": 1, "sequence_gap": 1}


def test_a_length_beyond_the_ring_hurts_nobody(recorded: Recorded) -> None:
    """What the kernel would never write: nothing behind it can be found, and all of that is counted."""
    offsets = recorded.offsets(0)
    recorded.write(0, offsets[2], struct.pack("<I", SIZE + 8))
    source = _source(recorded)
    taken = source.take()
    assert _events(taken)["process", b"exit"] == 2
    lost = source.missing(source.produced(), final=True)
    assert sum(one.events for one in lost if one.cause in ("sequence_gap", "open_tail")) == len(offsets) - 2
