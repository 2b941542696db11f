"""export/heartbeat.py: an observer that lives, one that is silent, one that ended, and none at all are told apart."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from firsthand.export.heartbeat import HeartbeatSpan
from firsthand.history.log import arrow
from firsthand.history.log.log import path_of
from tests.unit.export.feed import Feed


def test_states_of_the_observer(tmp_path: Path) -> None:
    """Law: only one whose log grew in the last 15 s, and that did not end in order, is alive."""
    now = datetime.now(UTC)
    watch = HeartbeatSpan(tmp_path / "history", "n")
    assert watch.record(now, 0, {}, 0)["observer"] == "never"
    Feed(tmp_path / "history").write()
    assert watch.record(now, 0, {}, 0)["observer"] == "alive"
    late = now + timedelta(seconds=30)
    silent = watch.record(late, 0, {}, 0)
    assert silent["observer"] == "silent"
    assert silent["last_written"] == datetime.fromtimestamp(path_of(watch.history, 1).stat().st_mtime, UTC)
    watch.see("observer", arrow.row("observer", {"event": "stop", "node": "node-9"}))
    ended = watch.record(now, 0, {}, 0)
    assert (ended["observer"], ended["node"]) == ("stopped", "node-9")
    watch.see("observer", arrow.row("observer", {"event": "runtime", "node": "node-9"}))
    assert watch.record(now, 0, {}, 0)["observer"] == "stopped"
    watch.see("observer", arrow.row("observer", {"event": "start", "node": "node-9"}))
    assert watch.record(now, 0, {}, 0)["observer"] == "alive"


def test_counts_begin_anew(tmp_path: Path) -> None:
    """Law: losses and records are those since the heartbeat before."""
    Feed(tmp_path / "history").write()
    watch = HeartbeatSpan(tmp_path / "history", "n")
    watch.see("loss", arrow.row("loss", {"events": 5}))
    watch.see("loss", arrow.row("loss", {"events": None}))
    watch.records = 3
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    written = int(moment.timestamp() * 1_000_000)
    first, second = (watch.record(moment, 10, {"log": [1, 2]}, written) for _ in range(2))
    assert (first["losses"], first["records"], first["sequence"]) == (5, 3, 10)
    assert (second["losses"], second["records"]) == (0, 0)
    assert (first["exported_until"], first["positions"]) == (moment, {"log": [1, 2]})


def test_an_old_file_behind_a_new_one(tmp_path: Path) -> None:
    """Law: the newest file alone tells whether the observer lives."""
    grown = Feed(tmp_path / "history")
    grown.write()
    grown.rotate()
    os.utime(path_of(grown.history, 1), (0, 0))
    assert HeartbeatSpan(grown.history, "n").record(datetime.now(UTC), 0, {}, 0)["observer"] == "alive"
    os.utime(path_of(grown.history, 2), (0, 0))
    assert HeartbeatSpan(grown.history, "n").record(datetime.now(UTC), 0, {}, 0)["observer"] == "silent"
