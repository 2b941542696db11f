"""What a history holds is counted once, by whomever it is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from firsthand.health import usage
from firsthand.history.log.log import LogWriter
from firsthand.history.store import hold, manifest
from firsthand.settings.sections.retention import Limit, Limits
from tests import histories, samples

LIMITS = Limits(days=30, bytes=1_000_000, free=0, protected_days=365)
NOW = datetime.fromtimestamp(samples.START / 1e6, UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two thousand lives of two days, a loss, and one row that is still in the log."""
    place = tmp_path_factory.mktemp("history")
    with LogWriter(place, "n", "b") as writer:
        writer.append([samples.process_lives(1_000, start=samples.START - 86_400_000_000), samples.loss()], [])
        writer.append([samples.process_lives(1_000)], [])
        histories.keep(place, last=False)
        writer.append([samples.loss()], [])
    return place


def _usage(history: Path, by: str, limits: Limits = LIMITS) -> dict[str, Any]:
    return usage.usage(history, limits, NOW, by)


@pytest.mark.parametrize("by", usage.BY)
def test_every_row_and_byte_is_somebodys(history: Path, by: str) -> None:
    """Law: rows add up to those of the segments, bytes to theirs but for rounding."""
    segments = manifest.load(history).segments
    found = _usage(history, by)
    assert sum(row["rows"] for row in found["rows"]) == sum(one.rows for one in segments) == 6_001
    whole = sum(one.bytes for one in segments)
    assert abs(sum(row["bytes"] for row in found["rows"]) - whole) < 100 and found["bytes"]["segments"] == whole
    assert [row["bytes"] for row in found["rows"]] == sorted((row["bytes"] for row in found["rows"]), reverse=True)


def test_whose_it_is(history: Path) -> None:
    """Law: keys are the namespaces with the host, the tables, workloads or binaries; each with its ends."""
    names = {by: {row[by] for row in _usage(history, by)["rows"]} for by in usage.BY}
    assert names["namespace"] == {"(host)", "shop", "kube-system", "jobs"}
    assert names["table"] == {"process", "loss"} and "/usr/bin/curl" in names["binary"]
    host = next(row for row in _usage(history, "namespace")["rows"] if row["namespace"] == "(host)")
    assert host["rows"] == 1_501 and (host["since"], host["until"][:10]) == ("2026-02-28T12:00:00.000Z", "2026-03-01")


def test_how_long_it_lasts(history: Path) -> None:
    """Law: the rate is of the days that are held; the days that fit are no more than are wanted."""
    found = _usage(history, "table")
    whole = found["bytes"]["segments"]
    assert found["bytes_a_day"] == pytest.approx(whole / (25 / 24), rel=0.001)
    assert found["days_at_this_rate"] == round(LIMITS.bytes / found["bytes_a_day"], 1) < 30
    assert _usage(history, "table", replace(LIMITS, bytes=10**12))["days_at_this_rate"] == 30
    assert found["bytes"]["log"] > 0 and found["bytes"]["free"] > 0 and found["bytes_allowed_now"] == LIMITS.bytes


def test_shares(history: Path) -> None:
    """Law: a namespace has its fixed bytes, the others equal parts of the rest."""
    rows = _usage(history, "namespace", replace(LIMITS, namespaces={"shop": Limit(bytes=100_000)}))["rows"]
    assert {row["namespace"]: row["share"] for row in rows} == {
        "shop": 100_000,
        **dict.fromkeys(("(host)", "kube-system", "jobs"), 300_000),
    }
    rows = _usage(history, "namespace", replace(LIMITS, namespaces={"shop": Limit(bytes=700_000)}))["rows"]
    assert {row["share"] for row in rows} == {700_000, 100_000}


def test_what_holds_cost(history: Path) -> None:
    """Law: rows and bytes of holds are told, in all and by namespace."""
    assert _usage(history, "table")["holds"] == {"number": 0, "rows": 0, "bytes": 0}
    one = hold.add(history, "case", samples.START, since=samples.START, namespace="shop")
    found = _usage(history, "namespace")
    held = {row["namespace"]: row["held_bytes"] for row in found["rows"]}
    assert found["holds"]["rows"] > 100 and found["holds"]["bytes"] == held["shop"] > 0 == held["jobs"]
    hold.remove(history, one.id)


def test_nothing_yet(tmp_path: Path) -> None:
    """Law: a history without segments is shown as empty, in every way."""
    LogWriter(tmp_path, "n", "b").close()
    for by in usage.BY:
        found = _usage(tmp_path, by)
        assert (found["since"], found["rows"], found["bytes_a_day"], found["days_at_this_rate"]) == (None, [], 0, 30)
