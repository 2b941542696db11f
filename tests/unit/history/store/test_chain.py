"""history/store/chain.py: links, heads and where heads are published. test_verify.py has the chain of a real manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.errors import UsageError
from firsthand.history.store import chain
from firsthand.history.store.chain import NOTHING, Entry, Head, Publisher, canonical, digest, following, heads_in

_HASH = "ab" * 32
_HISTORY = "1" * 32
#: Heads one after another: number, seconds since the one before, whether at once. 1, 2 and 5 are published.
_PUBLISHED = ((1, 0.0, False), (1, 100.0, True), (2, 0.0, False), (3, 59.0, False), (4, 0.5, False), (5, 0.0, True))


def test_a_link_is_the_hash_of_all_of_it_and_of_the_one_before() -> None:
    """As the module says it, computed here by hand: anybody can."""
    first = following(None, "genesis", 5, {"b": "grün", "a": [1]})
    text = f'[1,"genesis",5,{json.dumps(first.body, ensure_ascii=False)},"{NOTHING}"]'
    assert first.body == '{"a":[1],"b":"grün"}' and first.hash == hashlib.sha256(text.encode()).hexdigest()
    second = following(first, "merge", 6, {})
    assert (second.sequence, second.previous) == (2, first.hash) and second.content == {}


@pytest.mark.parametrize(
    "change", [{"sequence": 3}, {"kind": "retire"}, {"time": 7}, {"body": "{ }"}, {"previous": _HASH}]
)
def test_nothing_of_a_link_can_be_changed(change: dict[str, object]) -> None:
    """Not even a blank in its body."""
    one = following(following(None, "genesis", 5, {}), "merge", 6, {})
    other: Entry = replace(one, **change)  # type: ignore[arg-type]
    assert digest(other.sequence, other.kind, other.time, other.body, other.previous) != one.hash


@given(body=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=5))
def test_one_content_is_one_text(body: dict[str, object]) -> None:
    """Whatever the order of its members."""
    assert canonical(body) == canonical(dict(reversed(body.items()))) and json.loads(canonical(body)) == body


def test_a_head_is_read_as_it_is_written() -> None:
    """With blanks around it, as from a file."""
    assert Head.parse(f" {Head(12, _HASH)}\n") == Head(12, _HASH)


@pytest.mark.parametrize(
    "text",
    ["", ":", "12", f"12:{_HASH[:-1]}", f"12:{_HASH}0", f"-1:{_HASH}", f"x:{_HASH}", f"12:{_HASH.upper()}", f"\u00b2:{_HASH}",
     f"1:2:{_HASH}", f"{'9' * 5000}:{_HASH}"],
)  # fmt: skip
def test_what_is_no_head(text: str) -> None:
    """It is refused with what was expected, whatever was typed."""
    with pytest.raises(UsageError, match="is no head"):
        Head.parse(text)


def _line(head: object, **more: object) -> str:
    return json.dumps({"time": 1, "node": "n", "head": head} | more)


def test_the_heads_of_a_file() -> None:
    """In their order; of one history those that name it or none, which a version before wrote."""
    lines = [
        _line(f"1:{_HASH}"), _line(f"2:{_HASH}", history=_HISTORY), _line(f"3:{_HASH}", history="2" * 32), "", "nonsense", "[1]", "5",
        _line(5), _line(None), _line(f"4:{_HASH[:-1]}"), '{"head": "4:' + _HASH, "[" * 100_000, _line(f"6:{_HASH}", history=None),
    ]  # fmt: skip
    assert [one.sequence for one in heads_in("\n".join(lines))] == [1, 2, 3, 6]
    assert [one.sequence for one in heads_in("\n".join(lines), _HISTORY)] == [1, 2, 6]


def test_two_histories_share_no_file() -> None:
    """Each has its own beside the one that the setting names."""
    path = Path("/var/log/firsthand/heads.jsonl")
    assert chain.file_of(path, _HISTORY) == Path(f"/var/log/firsthand/heads-{_HISTORY}.jsonl")
    assert chain.file_of(path, None) == path


@pytest.fixture
def no_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine's journal hears nothing of the tests."""
    monkeypatch.setattr(chain, "_JOURNAL", str(tmp_path / "none"))


def test_a_head_is_published_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_journal: None) -> None:
    """A new one; the same never again; at once where that is asked for. Its line is read back."""
    now = 1000.0
    monkeypatch.setattr(chain.time, "monotonic", lambda: now)
    publisher = Publisher(tmp_path / "heads", "n", _HISTORY)
    publisher.publish(None, now=True)
    for sequence, passed, at_once in _PUBLISHED:
        now += passed
        publisher.publish(Head(sequence, _HASH), now=at_once)
    assert [one.sequence for one in chain.heads(tmp_path / "heads", _HISTORY)] == [1, 2, 5]
    assert (tmp_path / "heads").stat().st_mode & 0o137 == 0


def test_where_it_cannot_be_published_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_journal: None
) -> None:
    """And the keeper goes on."""
    publisher = Publisher(tmp_path / "none/heads", "n")
    for sequence in (1, 2):
        publisher.publish(Head(sequence, _HASH), now=True)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"keeper: the chain's head cannot be published to {tmp_path}/none/heads")
