"""ask/known.py: names in a question that no row could ever have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.ask import known, predicate
from firsthand.ask.answer import Asked, Filters, Window
from firsthand.ask.known import FilterName
from firsthand.errors import UsageError
from firsthand.history.names.owner import HOST
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch
from tests import histories

_NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
_ID = "ab" * 32


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """One container in one pod of a namespace, an hour ago."""
    row = {"time": _NOW - timedelta(hours=1), "ktime": 1, "node": "worker-1", "boot": "b", "event": "runs"}
    row |= {"container": _ID, "container_name": "nginx", "pod": "web-1", "pod_uid": "uid-1", "namespace": "shop"}
    return histories.write(tmp_path, Batch.from_rows("container", [row | {"labels": ["app=web", "tier=front"]}]))


def _asked(connection: object, **filters: object) -> Asked:
    return Asked(connection, Window(_NOW - timedelta(minutes=5), _NOW), [], Filters(**filters))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("web-1", ("pod",)),
        ("uid-1", ("pod",)),
        ("shop/web-1", ("pod",)),
        ("nginx", ("pod", "container")),
        (_ID[:12], ("container",)),
        ("shop", ("namespace",)),
        ("worker-1", ("node",)),
    ],
)
def test_what_the_history_has_seen(history: Path, text: str, kinds: tuple[str, ...]) -> None:
    """By name, by uid, with its namespace, by the beginning of its id."""
    with History(history).connection() as connection:
        known.check(_asked(connection), [FilterName(text, kinds)])


@pytest.mark.parametrize(
    ("text", "kinds", "said"),
    [
        ("web-2", ("pod",), "no pod named web-2 is in this history; did you mean web-1?"),
        ("shop/web-9", ("pod",), "no pod named shop/web-9 is in this history; did you mean"),
        ("web", ("pod", "container"), "no pod, container or process named web is in this history"),
        ("other", ("namespace",), "it knows shop"),
        ("redis:7", ("image",), "it knows no image by name"),
    ],
)
def test_what_it_has_never_seen(history: Path, text: str, kinds: tuple[str, ...], said: str) -> None:
    """It is refused, with what was perhaps meant, or with what there is."""
    with History(history).connection() as connection, pytest.raises(UsageError) as refused:
        known.check(_asked(connection), [FilterName(text, kinds)])
    assert said.split("; did")[0] in str(refused.value)


def test_names_that_are_known_but_never_of_one_row(history: Path) -> None:
    """Each is in the history, and nothing was ever of both."""
    with History(history).connection() as connection:
        known.check_together(_asked(connection, namespace="shop", node="worker-1"))
        with pytest.raises(UsageError, match="--namespace and --node"):
            known.check_together(_asked(connection, namespace="shop", node="elsewhere"))
        known.check_together(_asked(connection, node="elsewhere"))


def test_rows_that_are_held_outside_the_window(history: Path) -> None:
    """It says from when to when; nothing is said of tables that do not matter."""
    with History(history).connection() as connection:
        asked, wanted = _asked(connection), [FilterName("web-1", ("pod",))]
        (said,) = known.outside(asked, wanted, ["container"])
        assert (
            said
            == "nothing of pod web-1 is in the window; it is held from 2026-05-01T11:00:00.000Z to 2026-05-01T11:00:00.000Z"
        )
        assert (
            known.outside(asked, wanted, ["process"])
            == known.outside(asked, [FilterName("x", ("pod",))], ["container"])
            == []
        )
        inside = Asked(connection, Window(_NOW - timedelta(hours=2), _NOW), [])
        assert known.outside(inside, wanted, ["container"]) == []


@pytest.mark.parametrize(
    ("selector", "wrong"),
    [
        ("app=web", ""),
        ("app", ""),
        ("!nothing", ""),
        ("app=wbe", "app=wbe"),
        ("ap=web", "ap"),
        ("app in (web, other)", ""),
    ],
)
def test_labels_that_nothing_ever_had(history: Path, selector: str, wrong: str) -> None:
    """By key or by value; what must not be there need not be known."""
    with History(history).connection() as connection:
        if not wrong:
            known.check_labels(_asked(connection), selector)
            return
        with pytest.raises(UsageError, match=f"no label {wrong} is in this history; did you mean app"):
            known.check_labels(_asked(connection), selector)


def test_which_words_of_a_question_are_names() -> None:
    """The filters', and a subject that is no process; what stands for the host is no name of a namespace."""
    asked = Asked(None, Window(_NOW, _NOW), ["web-1"], Filters(namespace="shop", node="n"))  # type: ignore[arg-type]
    assert [(one.text, one.kinds) for one in known.names(asked, subject=True)] == [
        ("shop", ("namespace",)), ("n", ("node",)), ("web-1", ("pod", "container")),
    ]  # fmt: skip
    asked.arguments, asked.filters = ["4711"], Filters(namespace=HOST)
    assert known.names(asked, subject=True) == []
    assert [known.process(text) for text in ("4711", "b:1:2:3", "web-1", "12x")] == [True, True, False, False]


def test_which_conditions_name_a_thing() -> None:
    """`=` on a column of names; not `host`, of which every history has processes."""
    every = predicate.of_processes()
    tests = [
        predicate.parse(text, every, _NOW)
        for text in ("pod=web-1", "pod!=web-2", "exe=/bin/sh", "container=host", "image=redis")
    ]
    assert [(one.text, one.kinds, one.option) for one in known.named(tests)] == [
        ("web-1", ("pod",), "pod"), ("redis", ("image",), "image"),
    ]  # fmt: skip
