"""The dissector: messages a second of its own processor time, what the observer spends on each, and memory."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import packets, require
from tests.bench.machine import machine
from tests.kernel.test_dissector import Real

pytestmark = pytest.mark.bench
ROUNDS, BATCH = 20, 512
_HEAD = {"transport": "tcp", "packet_kind": "head", "peer_port": 443}


def _ticks(pid: int) -> float:
    """Processor time of a process in seconds, from the scheduler (Documentation/scheduler/sched-stats.rst)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _questions(number: int) -> list[dict[str, Any]]:
    return [
        packets.row(packets.question(f"service-{number % 50}.shop.svc.cluster.local.", number=number), cookie=number)
    ]


def _lookups(number: int) -> list[dict[str, Any]]:
    """A question and its answer: an alias and four addresses."""
    asked = packets.question("www.example.org.", number=number)
    sets = (
        ("www.example.org.", 300, "CNAME", ["e.cdn.example."]),
        ("e.cdn.example.", 20, "A", [f"192.0.2.{i}" for i in range(4)]),
    )
    answer = packets.answer(asked, *sets)
    return [packets.row(asked, cookie=number), packets.row(answer, cookie=number, direction="in")]


def _hellos(number: int, wire: bytes = packets.hello()) -> list[dict[str, Any]]:
    return [packets.row(wire, cookie=number, **_HEAD)]


def _split(number: int, wire: bytes = packets.hello()) -> list[dict[str, Any]]:
    return [
        packets.row(wire[:300], cookie=number, **_HEAD),
        packets.row(wire[300:], cookie=number, stream_offset=300, **_HEAD),
    ]


def _gets(number: int) -> list[dict[str, Any]]:
    wire = f"GET /api/v1/items/{number} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n".encode()
    return [packets.row(wire, cookie=number, **_HEAD)]


@pytest.mark.parametrize(
    "kind", [_questions, _lookups, _hellos, _split, _gets], ids=lambda made: made.__name__.strip("_")
)
def test_messages_a_second(kind: Any, tmp_path: Path) -> None:
    """Packets a second of a core's time, each in exchanges of 512, and of the observer's own time for them."""
    require.root()
    with Real(tmp_path) as real:
        theirs, ours, number = [], [], 0
        for _ in range(ROUNDS):
            rows: list[dict[str, Any]] = []
            while len(rows) < BATCH:
                rows += kind(number)
                number += 1
            batch = packets.batch(rows[:BATCH])
            real.packets._credit = 2.0
            before, began = _ticks(real.process.pid), time.process_time()
            found = real.packets.read(batch)
            ours.append(BATCH / (time.process_time() - began))
            theirs.append(BATCH / (_ticks(real.process.pid) - before))
            assert found and not real.packets.losses()
        _show(f"{kind.__name__.strip('_')}: dissector", theirs[1:], real.status()["VmRSS"])
        _show(f"{kind.__name__.strip('_')}: observer", ours[1:], "")


def _show(what: str, rates: Sequence[float], more: str) -> None:
    median = statistics.median(rates)
    print(
        f"\n{what}: {median:,.0f} packets/s/core ({min(rates):,.0f} to {max(rates):,.0f}), {1e6 / median:.0f} us each {more}"
    )


def test_memory_when_every_table_is_full(tmp_path: Path) -> None:
    """Questions nobody answered, heads that never end, connections with names: resident memory at each bound."""
    require.root()
    print(f"\n{machine()}, {os.cpu_count()} processors")
    with Real(tmp_path) as real:
        real.packets.read(packets.batch(_questions(0)))
        print(f"at first: {real.status()['VmRSS']}")
        half = b"GET /" + b"a" * 4000
        for begin in range(0, 17_000, BATCH):
            rows = [row for n in range(begin, begin + BATCH) for row in (*_questions(n), *_gets(100_000 + n))]
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            rows += [packets.row(half, cookie=200_000 + n, ktime=now, **_HEAD) for n in range(begin, begin + BATCH)]
            real.packets._credit = 2.0
            real.packets.read(packets.batch(rows))
        print(f"full: {real.status()['VmRSS']}, {real.packets.measures(time.monotonic())}")
