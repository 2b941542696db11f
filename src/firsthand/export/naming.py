"""Names and labels that are known by now, put into rows on their way out as the keeper freezes them into segments."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from firsthand.history import place
from firsthand.history.log import arrow
from firsthand.history.log.follow import LogFollower
from firsthand.history.names.names import MOST, TABLES, TELLING, Names
from firsthand.history.store import manifest, segment

_LABELLED = ("container", "pod")


class Naming:
    """What the follower told: of the last two days from segments, and on from its log. HistoryError where it is unreadable."""

    def __init__(self, history: Path) -> None:
        self.names = Names()
        self._labels: OrderedDict[str, Mapping[str, str]] = OrderedDict()
        self._follower = LogFollower(history, TABLES, folder=place.NAMES, from_now=False)
        self._recall(history)

    def _recall(self, history: Path) -> None:
        now = manifest.load(history)
        since = segment.date_of(int(time.time() // 86400) - 1)
        for one in now.segments:
            if one.log == place.NAMES and one.date >= since and one.table in TABLES:
                path = segment.generation(history, now.generation) / one.path
                self._learn(one.table, arrow.conform(one.table, pq.read_table(path, partitioning=None)))

    def look(self) -> None:
        """Learn what was told since the last look."""
        while found := self._follower.poll(0):
            for table, rows in found:
                self._learn(table, rows)

    def _learn(self, table: str, rows: pa.Table) -> None:
        self.names.learn(table, rows)
        if table not in _LABELLED:
            return
        for row in rows.select(["event", "container", "pod_uid", "labels"]).to_pylist():
            key = row["pod_uid"] or row["container"]
            if row["event"] in TELLING and key and (table == "pod" or not row["pod_uid"]):
                self._labels[key] = dict(label.partition("=")[::2] for label in row["labels"] or ())
                self._labels.move_to_end(key)
        while len(self._labels) > MOST:
            self._labels.popitem(last=False)

    def hear(self, tables: list[tuple[str, pa.Table]]) -> None:
        """What rows on their way out say themselves: the kernel tells which containers are gone, and hold no address."""
        for table, rows in tables:
            self.names.peers.learn(table, rows)

    def named(self, rows: pa.Table) -> pa.Table:
        """Rows with the names in them, and the peers of connections."""
        return self.names.freeze(rows)

    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Labels by pod uid, and by container id for what is in no pod."""
        return self._labels

    def close(self) -> None:
        """Let go of the log."""
        self._follower.close()
