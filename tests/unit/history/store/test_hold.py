"""history/store/hold.py: a hold is durable, never doubled, and takes the rows that its words name."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.errors import HistoryError, UsageError
from firsthand.history.store import hold
from firsthand.history.store.hold import Hold
from tests import histories


def test_a_hold_is_kept_until_it_is_removed(tmp_path: Path) -> None:
    """Law: what was added is there, with who, when and why; an id is never used again; removing needs one that is there."""
    one = hold.add(tmp_path, "case 7", 5, since=1, until=9, namespace="shop")
    two = hold.add(tmp_path, "case 8", 6, pod="web-1")
    assert hold.load(tmp_path) == (one, two)
    assert (one.id, one.reason, one.at, bool(one.by)) == (1, "case 7", 5, True)
    assert hold.remove(tmp_path, 2) == two and hold.load(tmp_path) == (one,)
    assert hold.add(tmp_path, "case 9", 7).id == 3
    with pytest.raises(UsageError, match="no hold 2; there are: 1, 3"):
        hold.remove(tmp_path, 2)


def test_those_who_come_at_once_are_all_there(tmp_path: Path) -> None:
    """Law: holds made at the same time by several are all kept, each with its own id."""
    threads = [threading.Thread(target=hold.add, args=(tmp_path, f"case {i}", i)) for i in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(one.id for one in hold.load(tmp_path)) == list(range(1, 9))
    assert {one.reason for one in hold.load(tmp_path)} == {f"case {i}" for i in range(8)}


@pytest.mark.parametrize("text", ["{", "[]", '{"next": 1, "holds": [{"who": 1}]}'])
def test_what_cannot_be_read_is_no_empty_list(tmp_path: Path, text: str) -> None:
    """Law: a damaged file is an error, never `no holds`; and it is not overwritten."""
    (tmp_path / hold.FILE).write_text(text)
    with pytest.raises(HistoryError, match="retention lets nothing go"):
        hold.load(tmp_path)
    with pytest.raises(HistoryError):
        hold.add(tmp_path, "case", 1)
    assert (tmp_path / hold.FILE).read_text() == text


def test_there_is_a_bound(tmp_path: Path) -> None:
    """Law: more than MOST holds are refused with a message."""
    one = {"id": 1, "reason": "r", "by": "me", "at": 1}
    (tmp_path / hold.FILE).write_text(json.dumps({"next": 2, "holds": [one] * hold.MOST}))
    with pytest.raises(UsageError, match="no more may be"):
        hold.add(tmp_path, "case", 1)


def test_a_history_that_may_not_be_written(tmp_path: Path) -> None:
    """Law: where there is no folder to write, it says so."""
    with pytest.raises(HistoryError, match=r"holds\.lock"):
        hold.add(tmp_path / "none", "case", 1)


_WHOSE = [
    {"time": 1, "container": "c", "namespace": "a", "pod": "x"},
    {"time": 5, "container": "c", "namespace": "a", "pod": "y"},
    {"time": 9, "container": "c", "namespace": "b", "pod": "x"},
    {"time": 6},
]


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ({}, [True, True, True, True]),
        ({"since": 5}, [False, True, True, True]),
        ({"until": 5}, [True, True, False, False]),
        ({"namespace": "a"}, [True, True, False, False]),
        ({"namespace": "(host)"}, [False, False, False, True]),
        ({"pod": "x"}, [True, False, True, False]),
        ({"pod": "x", "since": 2}, [False, False, True, False]),
    ],
)
def test_rows_of_a_hold(words: dict[str, object], taken: list[bool]) -> None:
    """Law: a row is held where all the words of one hold name it; `meets` and `covers` never say less or more."""
    one = replace(Hold(1, "r", "me", 0), **words)  # type: ignore[arg-type]
    assert hold.mask(histories.table("process", _WHOSE), [one]).to_pylist() == taken
    assert hold.mask(histories.table("process", _WHOSE), []).to_pylist() == [False] * 4
    for (namespace, time), held in zip((("a", 1), ("a", 5), ("b", 9), ("(host)", 6)), taken, strict=True):
        assert one.meets(namespace, time, time) or not held
        assert held or not one.covers(namespace, time, time)
