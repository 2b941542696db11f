"""Metrics for Prometheus, by what the history says of itself: read anew at each scrape, never faster than each second.

Names follow prometheus.io/docs/practices/naming: base units, `_total` for what only rises. docs/metrics.md lists them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from firsthand import __version__
from firsthand.errors import FirsthandError
from firsthand.health import status
from firsthand.history.store.connection import History

#: Every metric: its help text, kind and labels.
METRICS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "firsthand_up": ("1 where the history could be read", "gauge", ()),
    "firsthand_healthy": ("1 where `firsthand status` finds nothing wrong", "gauge", ()),
    "firsthand_build_info": ("Version of the reader", "gauge", ("version",)),
    "firsthand_observing": ("1 while the node's observer gives signs of life", "gauge", ("node",)),
    "firsthand_uptime_seconds": ("Since observing began", "gauge", ("node",)),
    "firsthand_events_recorded_total": ("Records read from the rings since observing began", "counter", ("node",)),
    "firsthand_events_lost_total": ("Records lost since observing began", "counter", ("node",)),
    "firsthand_losses_day": ("Events or values lost in the last day, by cause", "gauge", ("cause",)),
    "firsthand_hook_missing": ("1 for each hook that is missing or does not answer", "gauge", ("node", "hook")),
    "firsthand_events_per_second": ("Records a second since the last sign of life", "gauge", ("node",)),
    "firsthand_ring_seconds": ("How long the ordinary ring holds what comes at this rate", "gauge", ("node",)),
    "firsthand_lag_seconds": ("How late rows become durable", "gauge", ("node",)),
    "firsthand_commit_seconds_max": ("The slowest commit since the last sign of life", "gauge", ("node",)),
    "firsthand_bound_used": ("What of a bound is in use", "gauge", ("node", "bound")),
    "firsthand_bound_limit": ("The bound", "gauge", ("node", "bound")),
    "firsthand_process_up": ("1 for each process that holds the history", "gauge", ("role",)),
    "firsthand_runtime_up": ("1 for each container runtime that is followed, 0 where it is gone", "gauge", ("socket",)),
    "firsthand_disk_bytes": ("What the history takes", "gauge", ("part",)),
    "firsthand_disk_free_bytes": ("What its filesystem has left", "gauge", ()),
    "firsthand_chain_entries": ("Entries of the manifest's hash chain", "gauge", ()),
    "firsthand_chain_entries_limit": ("The most that are held", "gauge", ()),
    "firsthand_scrub_read_bytes": (
        "Of the history, read again in this round and held against its checksums",
        "gauge",
        (),
    ),
    "firsthand_scrub_bytes": ("Bytes that a round reads", "gauge", ()),
    "firsthand_scrub_damaged": ("Segments that this round set aside as damaged", "gauge", ()),
    "firsthand_containers": ("Containers seen in the last day, with a name or without", "gauge", ("named",)),
}
#: Measures of the observer that are metrics of their own; pairs NAME and NAME_limit are bounds.
_MEASURES = {
    "events_per_second": "firsthand_events_per_second",
    "ring_seconds": "firsthand_ring_seconds",
    "lag_seconds": "firsthand_lag_seconds",
    "commit_seconds_max": "firsthand_commit_seconds_max",
}
_AGAIN = 1.0

Sample = tuple[str, tuple[str, ...], float]


class Metrics(Collector):
    """The collector of one history."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held: list[Sample] = []
        self._until = 0.0

    def collect(self) -> Iterator[Any]:
        """Every metric with what is known now."""
        if time.monotonic() >= self._until:
            self._held = list(self._read())
            self._until = time.monotonic() + _AGAIN
        for name, (text, kind, labels) in METRICS.items():
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, text, labels=labels)
            for found, values, number in self._held:
                if found == name:
                    family.add_metric(values, number)
            yield family

    def healthy(self) -> bool:
        """As the last scrape found it, or one made now."""
        return any(name == "firsthand_healthy" and number for _ in self.collect() for name, _, number in self._held)

    def _read(self) -> Iterator[Sample]:
        yield "firsthand_build_info", (__version__,), 1
        try:
            with History(self.directory).connection() as connection:
                found = status.status(connection, datetime.now(UTC), self.directory)
        except FirsthandError:
            yield "firsthand_up", (), 0
            yield "firsthand_healthy", (), 0
            return
        yield "firsthand_up", (), 1
        yield "firsthand_healthy", (), float(found["healthy"])
        yield from _observers(found["observers"])
        yield from _rest(found)


def _observers(found: list[dict[str, Any]]) -> Iterator[Sample]:
    for one in found:
        node = (one["node"],)
        yield "firsthand_observing", node, float(one["observing"])
        yield "firsthand_uptime_seconds", node, one["uptime"]
        yield "firsthand_events_recorded_total", node, one["recorded"] or 0
        yield "firsthand_events_lost_total", node, one["lost"] or 0
        for hook in one["missing"]:
            yield "firsthand_hook_missing", (*node, hook), 1
        measures = one["measures"]
        for name, number in measures.items():
            if name in _MEASURES:
                yield _MEASURES[name], node, number
            elif f"{name}_limit" in measures:
                yield "firsthand_bound_used", (*node, name), number
                yield "firsthand_bound_limit", (*node, name), measures[f"{name}_limit"]


def _rest(found: dict[str, Any]) -> Iterator[Sample]:
    for one in found["losses"]:
        yield "firsthand_losses_day", (one["cause"],), one["events"]
    for one in found["processes"]:
        yield "firsthand_process_up", (one["role"],), 1
    for one in found["runtimes"]:
        yield "firsthand_runtime_up", (one["socket"],), float(one["state"] == "followed")
    for part in ("log", "names", "segments", "manifest"):
        yield "firsthand_disk_bytes", (part,), found["disk"][part]
    yield "firsthand_disk_free_bytes", (), found["disk"]["free"]
    yield "firsthand_chain_entries", (), found["chain"]["entries"]
    yield "firsthand_chain_entries_limit", (), found["chain"]["limit"]
    if (scrub := found["scrub"]) is not None:
        yield "firsthand_scrub_read_bytes", (), scrub["done_bytes"]
        yield "firsthand_scrub_bytes", (), scrub["bytes"]
        yield "firsthand_scrub_damaged", (), scrub["damaged"]
    yield "firsthand_containers", ("yes",), found["containers"]["named"]
    yield "firsthand_containers", ("no",), found["containers"]["unnamed"]
