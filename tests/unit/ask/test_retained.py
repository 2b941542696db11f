"""What retention let go is said to whom it concerns, and to nobody else; never as `none`, never as lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask import completeness
from firsthand.ask.answer import Chosen, Filters, Window
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch
from tests import histories, samples

START = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def _gone(namespace: str, day: int, table: str = "process", node: str = "n") -> dict[str, Any]:
    row = {"cause": "retention", "events": 5, "table_name": table, "detail": "older than 30 days", "node": node}
    return row | {
        "time": START + 40 * DAY,
        "namespace": namespace,
        "since": START + day * DAY,
        "until": START + (day + 1) * DAY,
    }


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Observed for forty days; rows of `shop` and of the host's first days are gone, and names of `jobs`."""
    place = tmp_path_factory.mktemp("history")
    whose = {"node": "n", "boot": "b", "instance": "i", "hooks": "{}"}
    moments = [("start", 0), ("ready", 0), ("stop", 40)]
    with LogWriter(place, "n", "b") as log:
        log.append(
            [Batch.from_rows("observer", [samples.observer(e, START + d * DAY, **whose) for e, d in moments])], []
        )
        rows = [
            _gone("shop", 1),
            _gone("shop", 2),
            _gone("(host)", 1),
            _gone("jobs", 1, "container"),
            _gone("shop", 5, node="m"),
        ]
        log.append([Batch.from_rows("loss", rows)], [])
        pods = [
            {"event": "named", "pod": f"{n}-1", "pod_uid": n, "namespace": n, "node": "n"} for n in ("shop", "jobs")
        ]
        log.append([Batch.from_rows("pod", [row | {"time": START} for row in pods])], [])
    return place


def _reasons(history: Path, since: int, filters: Filters | None = None, **more: Any) -> list[str]:
    with History(history).connection() as connection:
        spans = completeness.spans(connection, START + 50 * DAY)
        window = Window(START + since * DAY, START + 39 * DAY)
        judged = completeness.judge(connection, spans, window, ("process",), {}, filters=filters, **more)
    assert judged.events_lost == 0 and judged.complete == (not judged.reasons)
    return judged.reasons


def test_it_is_said_with_its_ends(history: Path) -> None:
    """Law: the sentence names whose rows, how many, from when to when, of which table and why."""
    said = _reasons(history, 0, Filters(node="n"))
    assert said == [
        "no longer held: retention removed 10 rows of namespace shop from 2026-05-02T00:00:00.000Z to 2026-05-04T00:00:00.000Z "
        "(process: older than 30 days)",
        "no longer held: retention removed 5 rows of the host from 2026-05-02T00:00:00.000Z to 2026-05-03T00:00:00.000Z "
        "(process: older than 30 days)",
    ]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (Filters(), ["shop", "host"]),
        (Filters(namespace="shop"), ["shop"]),
        (Filters(namespace="jobs"), []),
        (Filters(pod="shop-1"), ["shop"]),
        (Filters(pod="jobs"), []),
        (Filters(pod="never-seen"), ["shop", "host"]),
        (Filters(selector=Chosen(["jobs"], [])), []),
        (Filters(selector=Chosen(["shop"], [])), ["shop"]),
        (Filters(namespace="shop", node="m"), ["shop"]),
        (Filters(namespace="(host)", node="m"), []),
    ],
)
def test_only_whom_it_concerns(history: Path, filters: Filters, names: list[str]) -> None:
    """Law: a question narrowed to other namespaces, machines or tables is complete all the same; who may be concerned is told."""
    said = _reasons(history, 0, filters)
    assert len(said) == len(names) and all(name in text for name, text in zip(names, said, strict=True))


def test_only_when_it_concerns(history: Path) -> None:
    """Law: a window after what went is complete, but not for what asks who still ran."""
    assert _reasons(history, 7) == []
    assert len(_reasons(history, 7, reaches=START)) == 2


def test_many_are_summed_up(tmp_path: Path) -> None:
    """Law: an answer is not buried: the rest is one sentence."""
    histories.write(tmp_path, Batch.from_rows("loss", [_gone(f"n{i}", 1) for i in range(20)]))
    said = [text for text in _reasons(tmp_path, 0) if "no longer held" in text]
    assert len(said) == 9 and "60 rows of 12 more namespaces until 2026-05-03" in said[-1]


@pytest.mark.parametrize(("table", "concerned"), [("pod", True), ("container", True), ("connection", False)])
def test_a_pod_of_that_name_may_have_been_where_names_are_gone_too(tmp_path: Path, table: str, concerned: bool) -> None:
    """Law: the same name in two namespaces; of one nothing says any more that it had such a pod."""
    whose = {"node": "n", "boot": "b", "instance": "i", "hooks": "{}"}
    with LogWriter(tmp_path, "n", "b") as log:
        told = [samples.observer(e, START + d * DAY, **whose) for e, d in (("start", 0), ("ready", 0), ("stop", 40))]
        log.append([Batch.from_rows("observer", told)], [])
        log.append([Batch.from_rows("loss", [_gone("other", 1), _gone("other", 1, table)])], [])
        pod = {"event": "named", "pod": "web", "pod_uid": "u", "namespace": "shop", "node": "n", "time": START}
        log.append([Batch.from_rows("pod", [pod])], [])
    said = _reasons(tmp_path, 0, Filters(pod="web"))
    assert any("namespace other" in text for text in said) is concerned
