"""evidence/selection.py: the rows that `ask` would answer from, with whose children they are, and no others."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.ask import selector
from firsthand.evidence import lineage, record, selection, sessions
from firsthand.evidence.question import BundleQuestion
from firsthand.evidence.sessions import Row
from firsthand.evidence.sources import of_view
from firsthand.history.store.connection import History
from tests.unit.evidence import scene

_KEY = "time, exec_tgid, exec_number, event"


@pytest.fixture(scope="module", params=[True, False], ids=["tail", "segments"])
def history(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return scene.write(tmp_path_factory.mktemp("scene") / "history", tail=request.param)


def _question(history: Path, since: float = 0, until: float = 60, **words: Any) -> BundleQuestion:
    found = BundleQuestion(scene.micro(since), scene.micro(until), **words)
    if found.selector is None:
        return found
    with History(history).connection() as connection:
        chosen = selector.choose(connection, found.selector)
    return replace(found, pods=tuple(chosen.pods), containers=tuple(chosen.containers))


def _selected(history: Path, question: BundleQuestion, table: str = "process") -> pa.Table:
    sources = of_view(History(history).view())
    found = selection.select(sources, question)
    return pa.concat_tables([found.rows(table, source) for source in sources])


def _keys(rows: pa.Table, why: str) -> list[tuple[Any, ...]]:
    chosen = [row for row in rows.to_pylist() if row["why"] == why]
    return sorted((row["time"], row["exec_tgid"], row["exec_number"], row["event"]) for row in chosen)


def test_many_that_folded_are_of_the_window_if_any_is(tmp_path: Path) -> None:
    """A row that began before the window and stands for processes within it is in the bundle, as it is in `ask`'s count."""
    probe = scene.process((-50, "folded", 700, 2, 300, 4, scene.WEB, "/bin/probe"))
    for name, tail in (("tail", True), ("segments", False)):
        history = scene.write(tmp_path / name, tail=tail)
        with closing(scene.EvidenceScene(history)) as made:
            made.append("process", probe | {"folded_count": 9, "folded_until": scene.micro(10)})
            if not tail:
                made.keeper.pass_once(last=True)
        assert (700, "folded") in [key[1::2] for key in _keys(_selected(history, _question(history, 0)), "window")]
        assert (700, "folded") not in [key[1::2] for key in _keys(_selected(history, _question(history, 11)), "window")]


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"namespace": "shop"},
        {"pod": "web"},
        {"pod": scene.DB_UID},
        {"selector": "app=web"},
        {"selector": "app!=web"},
        {"node": scene.NODE},
        {"node": "other"},
        {"namespace": "shop", "pod": "db"},
        {"pod": "late"},
    ],
    ids=str,
)
def test_the_window_has_what_ask_sees(history: Path, words: dict[str, Any]) -> None:
    """Law: the rows of the window are those of the history's views under the same conditions, names that came late included."""
    question = _question(history, **words)
    with History(history).connection() as connection:
        conditions = question.filters.conditions
        where = " AND ".join(["time >= ? AND time <= ?", *(text for text, _ in conditions)])
        window = question.window
        values = [window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)]
        values += [value for _, some in conditions for value in some]  # type: ignore[misc]
        seen = connection.execute(f"SELECT {_KEY} FROM process WHERE {where}", values).fetchall()
        names = connection.execute(
            f"SELECT exec_tgid, pod, namespace, image FROM process WHERE {where}", values
        ).fetchall()
    rows = _selected(history, question)
    assert _keys(rows, "window") == sorted(seen)
    inside = [row for row in rows.to_pylist() if row["why"] == "window"]
    assert sorted((r["exec_tgid"], r["pod"], r["namespace"], r["image"]) for r in inside) == sorted(names)


def test_the_lineage_is_whole(history: Path) -> None:
    """Law: each image's parent and the image before it are there, to the first that the history knows; others' are not."""
    rows = _selected(history, _question(history, pod="web")).to_pylist()
    found = {(row["exec_tgid"], row["exec_number"]) for row in rows}
    assert {row["exe"] for row in rows if row["why"] == "lineage"} == {
        "/sbin/init", "/usr/bin/containerd", "/usr/bin/shim", "/app/web",
    }  # fmt: skip
    assert found == {
        (1, 1),
        (100, 1),
        (100, 2),
        (200, 2),
        (200, 3),
        (300, 3),
        (300, 4),
        (301, 4),
        (301, 5),
        (302, 5),
        (302, 6),
    }


def test_the_lineage_begins_no_later_than_the_window_ends(history: Path) -> None:
    """Law: nothing after the window is taken, and an end is no beginning: only what was before."""
    rows = _selected(history, _question(history, pod="web", since=9, until=9)).to_pylist()
    assert [(row["event"], row["why"]) for row in rows if row["exec_tgid"] == 302] == [
        ("fork", "lineage"), ("exec", "lineage"), ("exit", "window"),
    ]  # fmt: skip
    assert max(row["time"] for row in rows) == scene.window(9, 9).until.replace(tzinfo=None)


def test_the_lineage_has_a_bound(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: so many steps from a chosen process and no more (law 8)."""
    monkeypatch.setattr(lineage, "DEPTH", 1)
    rows = _selected(history, _question(history, pod="web", since=9, until=9)).to_pylist()
    # depth 0: the image, its parent, the one before it; depth 1: what these came from
    found = sorted({(row["exec_tgid"], row["exec_number"]) for row in rows})
    assert found == [(300, 4), (301, 4), (301, 5), (302, 5), (302, 6)]


def test_names_are_those_of_the_chosen(history: Path) -> None:
    """Law: what runtimes told of the chosen pods and containers is there; of others nothing."""
    rows = _selected(history, _question(history, pod="web"), "container").to_pylist()
    assert {row["container"] for row in rows} == {scene.WEB}
    assert [row["pod_uid"] for row in _selected(history, _question(history, pod="web"), "pod").to_pylist()] == [
        scene.WEB_UID
    ]


def test_loss_and_clock_are_those_of_the_window(history: Path) -> None:
    """Law: a loss counts where its time touches the window; samples of the clocks reach two minutes around it."""
    assert _selected(history, _question(history), "loss").num_rows == 0
    assert _selected(history, _question(history, since=-500.5), "loss").num_rows == 1
    assert len(_selected(history, _question(history), "clock")) == 4


@pytest.mark.parametrize(
    "words", [{}, {"namespace": "shop"}, {"pod": "db"}, {"selector": "app"}, {"pod": "late"}], ids=str
)
def test_the_sources_alone_choose_the_same(history: Path, words: dict[str, Any]) -> None:
    """Law: asked of the files that its rows are from alone, a question has the same rows: so a bundle can be asked again."""
    question = _question(history, **words)
    sources = of_view(History(history).view())
    whole = selection.select(sources, question)
    used = [source for source in sources if source.name in whole.sources]
    again = selection.select(used, question)
    assert len(used) <= len(sources)
    for table in whole.tables:
        for source in used:
            assert whole.rows(table, source).equals(again.rows(table, source)), (table, source.name)


#: A session: its beginning, whether it became ready, what it said, whether it stopped; by whom.
_SESSION = st.tuples(
    st.integers(0, 200),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["alive", "alive", "resume", "ready"]), st.integers(1, 30)), max_size=8),
    st.booleans(),
    st.sampled_from(["n", "m"]),
    st.sampled_from(["b1", "b2"]),
    st.booleans(),
)


def _told(number: int, session: tuple[Any, ...]) -> list[dict[str, Any]]:
    at, ready, said, stopped, node, boot, scoped = session
    events = [("start", 0), *([("ready", 1)] if ready else []), *said, *([("stop", 1)] if stopped else [])]
    rows, at = [], at + number / 1000
    for event, later in events:
        at += later
        scope = "/x" if scoped else None
        rows.append(scene.observer(event, at, node=node, boot=boot, recorded=len(rows), scope=scope))
    return rows


@pytest.mark.landing("every selection")
@given(st.lists(_SESSION, max_size=5), st.integers(0, 300), st.integers(0, 100), st.sampled_from([None, "n"]))
def test_the_chosen_observer_rows_say_the_same(
    told: list[tuple[Any, ...]], since: int, seconds: int, node: str | None
) -> None:
    """Law: what is judged by the chosen rows of `observer` is what all of them say, whatever sessions there were."""
    rows = [row for number, session in enumerate(told) for row in _told(number, session)]
    question = BundleQuestion(scene.micro(since), scene.micro(since + seconds), node=node)
    whole, empty = _rows_of(rows), selection.schema("loss").empty_table()
    keys = [tuple(row[name] for name in ("node", "boot", "instance")) for row in rows]
    named = [Row(row["time"], row["recorded"], "x", at, row["event"], keys[at]) for at, row in enumerate(rows)]
    part = whole.take(pa.array(sorted(row.number for row in sessions.chosen(named, question)), pa.int64()))
    for made in (scene.window(0, 1000).until, question.window.until):
        by_part = record.read({"observer": part, "loss": empty}, question, made)
        assert by_part == record.read({"observer": whole, "loss": empty}, question, made)


def _rows_of(rows: list[dict[str, Any]]) -> pa.Table:
    from firsthand.history.log import arrow

    return pa.concat_tables([arrow.schema("observer").empty_table(), *(arrow.row("observer", row) for row in rows)])
