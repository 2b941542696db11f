"""From ring bytes to Arrow columns, strings included, and on to the log: rows a second and core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firsthand.history.log.log import LogWriter, RingSpan
from firsthand.schema.layout import installed
from firsthand.wire import _drain
from firsthand.wire.decode import Decoder
from firsthand.wire.redact import compile_redactor
from tests.records import record, ring

pytestmark = pytest.mark.bench
LIVES = 6000
SIZE = 8 << 20
_ENVIRONMENT = b"".join(b"VARIABLE_%d=some value of it\0" % i for i in range(12))
_CONTEXT = {"cap_permitted": 0xA80425FB, "uid": 1000, "ns_mount": 4026532000, "cgroup_id": 77, "comm": b"worker"}


def _lives() -> list[bytes]:
    records = []
    for i in range(LIVES):
        context = {**_CONTEXT, "exec_tgid": i, "exec_start": i * 1000, "seq": 3 * i}
        records.append(record("fork", context))
        texts = {
            "exe": b"/usr/local/bin/worker",
            "cwd": b"/srv",
            "args": b"worker\0--job\0%d\0" % i,
            "env": _ENVIRONMENT,
        }
        records.append(record("exec", {**context, **texts, "filename_raw": b"/usr/local/bin/worker", "exec_number": 1}))
        records.append(record("exit", {**context, "exit_signal": -1}))
    return records


def _rate(work: Callable[[], int], runs: int = 9) -> tuple[float, float, float]:
    """Rows a second of processor time: lowest, median and highest of the runs."""
    rates = []
    for _ in range(runs):
        began = time.process_time()
        rows = work()
        rates.append(rows / (time.process_time() - began))
    return min(rates), statistics.median(rates), max(rates)


def _show(what: str, rates: tuple[float, float, float]) -> None:
    low, median, high = (rate / 1e6 for rate in rates)
    print(f"\n{what}: {median:.2f} M rows/s/core ({low:.2f} to {high:.2f})")


def test_ring_to_columns() -> None:
    """Scan and decode of a third each of forks, execs and exits."""
    data, end = ring(_lives(), SIZE)
    decoder = Decoder(installed())

    def work() -> int:
        _, offsets, kinds, _ = _drain.scan(data, 0, end, SIZE, 32768, decoder.sizes)
        return sum(decoder.decode(table, rows).length for table, rows in decoder.split(data, offsets, kinds).items())

    _show("ring to columns", _rate(work))


def test_ring_to_log(tmp_path: Path) -> None:
    """The same, redacted and written durably."""
    data, end = ring(_lives(), SIZE)
    decoder, redactor = Decoder(installed()), compile_redactor()
    with LogWriter(tmp_path, "node", "boot") as log:

        def work() -> int:
            _, offsets, kinds, _ = _drain.scan(data, 0, end, SIZE, 32768, decoder.sizes)
            (rows,) = decoder.split(data, offsets, kinds).values()
            batch = decoder.decode("process", rows)
            batch.columns["args"] = redactor.apply(batch.columns["args"]).args  # type: ignore[arg-type]
            log.append([batch], [RingSpan(0, 1, 0, end)])
            return batch.length

        _show("ring to log", _rate(work))


def test_scan_alone() -> None:
    """Finding the records."""
    data, end = ring(_lives(), SIZE)
    sizes = Decoder(installed()).sizes
    _show("scan", _rate(lambda: len(_drain.scan(data, 0, end, SIZE, 32768, sizes)[1]), 21))
    assert np.all(sizes[:1] == 0)
