"""The heartbeat: a record at steady times, so that silence pages someone, and an observer's silence is told."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.ask.completeness import ALIVE_WITHIN
from firsthand.history import place
from firsthand.history.log.log import files, path_of


@dataclass
class HeartbeatSpan:
    """What one stretch between two heartbeats saw. `node` is learnt from the rows."""

    history: Path
    node: str
    records: int = 0
    losses: int = 0
    stopped: bool = False

    def see(self, table: str, rows: pa.Table) -> None:
        """Take note of rows as they come from the log, also of those that do not go out."""
        if table == "loss":
            self.losses += int(pc.sum(rows["events"]).as_py() or 0)
        elif table == "observer":
            for row in rows.select(["event", "node"]).to_pylist():
                if row["event"] != "runtime":
                    self.stopped, self.node = row["event"] == "stop", row["node"] or self.node

    def record(self, now: datetime, sequence: int, positions: dict[str, Any], written: int) -> dict[str, Any]:
        """The heartbeat, and the counts begin anew.

        `sequence`: number of the last record before it; `written`: when the newest row that is out became durable (us).
        """
        state, last = self._observer(now)
        found = {
            "table": "heartbeat",
            "time": now,
            "node": self.node,
            "sequence": sequence,
            "records": self.records,
            "losses": self.losses,
            "observer": state,
            "last_written": last,
            "exported_until": _moment(written) if written else None,
            "positions": positions,
        }
        self.records = self.losses = 0
        return {key: value for key, value in found.items() if value is not None}

    def _observer(self, now: datetime) -> tuple[str, datetime | None]:
        """By the log itself, whose newest file grows at least each ten seconds while the observer lives."""
        numbers = files(self.history, place.LOG)
        with contextlib.suppress(FileNotFoundError):
            last = datetime.fromtimestamp(path_of(self.history, numbers[-1]).stat().st_mtime, UTC) if numbers else None
            if last is not None and abs(now - last) <= ALIVE_WITHIN and not self.stopped:
                return "alive", last
            return ("stopped" if self.stopped else "silent" if last else "never", last)
        return "alive", now  # its file was handed over in this moment: a newer one is there


def _moment(micro: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micro)
