"""Summaries of segments: never a "no" for what is held; damage and what is another segment's say nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.history.log import arrow
from firsthand.history.store import summary
from firsthand.history.store.mentions import Condition, both, either

SHA = "a" * 64
AT = datetime(2026, 3, 1)
_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NUMBERS = st.integers(-(2**63), 2**63 - 1)


def _table(table: str, **columns: list[Any]) -> pa.Table:
    """Rows with these columns; the others are empty."""
    length = len(next(iter(columns.values())))
    schema = arrow.schema(table)
    return pa.table(
        [pa.array(columns.get(name) or [None] * length, schema.field(name).type) for name in schema.names], schema
    )


def _may(parts: dict[str, bytes], condition: Condition, table: str = "process", sha: str = SHA) -> bool:
    head = summary.head(parts.get(summary.HEAD), sha, table)
    values = {name: summary.opened(parts.get(name), sha, name) for name in summary.columns(condition)}
    return head is None or summary.may(condition, head, values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | _WORDS, min_size=1, max_size=200), st.lists(st.none() | _NUMBERS, min_size=1, max_size=200))
def test_what_is_held_is_never_denied(words: list[str | None], numbers: list[int | None]) -> None:
    """Law: every value of a column, and each beginning of a container's, may be in the segment, few or many values."""
    rows = max(len(words), len(numbers))
    words, numbers = (words * rows)[:rows], (numbers * rows)[:rows]
    parts = summary.make("process", _table("process", exe=words, container=words, exec_start=numbers), SHA, whole=True)
    for word in filter(None, words):
        assert _may(parts, Condition("=", "exe", (word,)))
        for length in range(len(word) + 1):
            assert _may(parts, Condition("prefix", "container", (word[:length],)))
    for number in numbers:
        assert number is None or _may(parts, Condition("=", "exec_start", (number,)))


def test_most_of_what_is_not_held_is_denied() -> None:
    """Law: of 10,000 others at most 2 in 100 are taken for values of a segment of 5,000, by numbers, texts, items of lists, beginnings."""
    ids = [f"{i * 2654435761 % 2**32:08x}{i:056x}" for i in range(10_000)]
    held: dict[str, list[Any]] = {"exec_start": list(range(0, 50_000, 10)), "container": ids[:5_000]}
    parts = summary.make("process", _table("process", **held), SHA, whole=True)
    names = [[f"host-{i}.example.org"] for i in range(5_000)]
    more = summary.make("connection", _table("connection", names=names), SHA, whole=True)
    tests = [
        [_may(parts, Condition("=", "exec_start", (number,))) for number in range(1, 100_000, 10)],
        [_may(parts, Condition("=", "container", (one,))) for one in ids[5_000:]],
        [_may(more, Condition("holds", "names", (f"other-{i}.example.org",)), "connection") for i in range(10_000)],
        [_may(parts, Condition("prefix", "container", (f"zz{i:010x}",))) for i in range(10_000)],
    ]
    assert all(sum(taken) <= len(taken) * 0.02 for taken in tests), [sum(taken) for taken in tests]


def test_values_of_another_kind_are_never_denied() -> None:
    """DuckDB casts where a number is compared with a text; a filter of the one knows nothing of the other."""
    numbers = list(range(1_000, 2_000))
    parts = summary.make(
        "process", _table("process", exec_start=numbers, exe=[f"/{one}" for one in numbers]), SHA, whole=True
    )
    for value in ("1500", " 1500 ", "15e2", 1500.0, True):
        assert _may(parts, Condition("=", "exec_start", (value,)))
    for value in (1500, 1500.0, b"/1500"):
        assert _may(parts, Condition("=", "exe", (value,)))
    assert not _may(parts, Condition("=", "exec_start", (7,))) and not _may(parts, Condition("=", "exe", ("/7",)))


def test_times() -> None:
    """Law: a segment is left out where all its rows are before or after what is asked, and only there."""
    parts = summary.make("process", _table("process", time=[AT, AT + timedelta(hours=1), None]), SHA, whole=True)
    hour = timedelta(hours=1)
    expected = {
        (">=", 1): True,
        (">", 1.5): False,
        ("<=", 0): True,
        ("<", -0.5): False,
        ("=", 0.5): True,
        ("=", 2): False,
    }
    for (sign, hours), wanted in expected.items():
        assert _may(parts, Condition(sign, "time", (AT + hours * hour,))) == wanted, (sign, hours)
    head = summary.head(parts[summary.HEAD], SHA, "process")
    assert head is not None and not head.within(AT, AT + hour)  # one row has no time


def test_several_conditions() -> None:
    """Law: `and` needs each of its parts, `or` one of them; what is not understood leaves nothing out."""
    parts = summary.make("process", _table("process", exe=["a"], time=[AT]), SHA, whole=True)
    yes, no = Condition("=", "exe", ("a",)), Condition("=", "exe", ("b",))
    assert _may(parts, both(yes, yes)) and not _may(parts, both(yes, no))
    assert _may(parts, either(no, yes)) and not _may(parts, either(no, no))
    assert _may(parts, either(no, Condition("any"))) and not _may(parts, Condition("false"))
    assert _may(parts, Condition("=", "cwd", ("/",)))  # no summary of it


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_says_nothing(data: st.DataObject) -> None:
    """Law: a part that was changed, cut, exchanged, or is another segment's is as good as none: nothing is left out by it."""
    many = summary.make(
        "process", _table("process", exe=[f"/bin/{i}" for i in range(200)], time=[AT] * 200), SHA, whole=True
    )
    name = data.draw(st.sampled_from([summary.HEAD, "exe"]))
    part = bytearray(many[name])
    at = data.draw(st.integers(0, len(part) - 1))
    part[at] ^= data.draw(st.integers(1, 255))
    no = Condition("=", "exe", ("/bin/none",))
    late = Condition(">", "time", (AT + timedelta(days=1),))
    assert not _may(many, no) and not _may(many, late)
    for wrong in (bytes(part), bytes(many[name][:at]), many["pod"], b"", "text", None):
        assert _may({**many, name: wrong}, no if name else late)  # type: ignore[dict-item]
    assert _may(many, no, sha="b" * 64) and _may(many, late, sha="b" * 64)


def test_records_are_known_by_their_names() -> None:
    """Law: a DNS record is found by the name that it is of, and by the one that it leads to."""
    rows = _table("name", records=[["a.example.org 60 CNAME b.example.net", "b.example.net 60 A 203.0.113.9"]])
    parts = summary.make("name", rows, SHA, whole=True)
    for name, wanted in {"a.example.org": True, "b.example.net": True, "c.example.org": False}.items():
        assert _may(parts, Condition("holds", "records", (name,)), "name") == wanted


_ALL_HOSTS = "mount uts ipc net pid cgroup time user"
_INSIDE = {
    "container": None,
    "ns_pid": 7,
    "host_namespaces": "time user",
    "boot": "b",
    "file_device": "0:52",
    "cgroup_id": 5,
    "cgroup_path": "/x",
}
_HARDENED = _INSIDE | {"host_namespaces": _ALL_HOSTS.removeprefix("mount "), "file_device": "8:1"}
_HOST = _INSIDE | {"host_namespaces": _ALL_HOSTS, "file_device": "8:1"}


@pytest.mark.parametrize(
    ("table", "columns", "some"),
    [
        ("connection", {"names_cut": [False, None]}, False),
        ("connection", {"names_cut": [None, True]}, True),
        ("name", {"name": ["a", ""]}, False),
        ("name", {"name": ["a", None]}, True),
        ("request", {"sni": ["a", None, None], "host": [None, "b", None], "marks": ["x", "x", None]}, False),
        ("request", {"sni": ["a", None], "host": [None, None], "marks": [None, "x"]}, True),
    ],
)
def test_what_may_lack_a_name(table: str, columns: dict[str, list[Any]], some: bool) -> None:
    """Law: a segment is left out where no row can have a name that it does not show."""
    parts = summary.make(table, _table(table, **columns), SHA, whole=True)
    assert _may(parts, Condition("=", "unread", (summary.UNREAD,))) is some


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([_HOST], []),
        ([_HARDENED, _HOST], []),
        ([_HARDENED], [summary.APART]),
        ([_HARDENED, _HOST | {"boot": "other"}], [summary.APART]),
        ([_HARDENED | {"file_device": None}, _HOST], []),
        ([_INSIDE, _HOST], [summary.APART]),
        ([_INSIDE | {"container": "c"}, _HOST], []),
        ([_INSIDE | {"ns_pid": None, "host_namespaces": None}, _HOST], []),
        ([_HOST | {"cgroup_path": None}], [summary.UNPLACED]),
        ([_HOST | {"cgroup_path": None, "cgroup_id": None}], []),
        ([_INSIDE, _HOST | {"cgroup_path": None}], [summary.APART, summary.UNPLACED]),
    ],
)
def test_who_is_outside(rows: list[dict[str, Any]], words: list[str]) -> None:
    """Law: a segment is left out where none of its rows can be apart from the host, or in a cgroup whose path is not known."""
    columns = {name: [row[name] for row in rows] for name in _INSIDE}
    parts = summary.make("process", _table("process", **columns), SHA, whole=True)
    assert [one for one in (summary.APART, summary.UNPLACED) if _may(parts, Condition("=", "outside", (one,)))] == words
    hosts = {row["file_device"] for row in rows if row["host_namespaces"] == _ALL_HOSTS}
    assert [one for one in ("8:1", "0:52") if _may(parts, Condition("=", "host_device", (one,)))] == sorted(hosts)
