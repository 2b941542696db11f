"""history/store/verify.py: what was changed, removed, re-ordered or cut is found, whoever did it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.errors import UsageError
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import schema_store
from firsthand.history.log.log import LogWriter, files, path_of
from firsthand.history.store import chain, manifest, observing, summary
from firsthand.history.store.chain import Head
from firsthand.history.store.verify import verify
from tests import histories
from tests.samples import observed, process_lives

_ROWS = 40


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Two hand-overs, a merge, and a tail in the log."""
    directory = tmp_path / "history"
    with LogWriter(directory, "node", "boot") as log:
        schema_store.save_layout(directory, _hash("{}"), "{}")
        keeper = Keeper(directory, many=2)
        for _ in range(2):
            log.append([process_lives(_ROWS)], [])
            keeper.pass_once(last=True)
        keeper.tidy()
        keeper.close()
        log.append([process_lives(_ROWS)], [])
    return directory


def _hash(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _head(directory: Path) -> Head:
    last = manifest.chained(directory)[0][-1]
    return Head(last.sequence, last.hash)


def _segment(directory: Path) -> Path:
    return next((directory / "current").resolve().rglob("*.parquet"))


def _sql(directory: Path, statement: str) -> None:
    with sqlite3.connect(directory / "manifest.db") as db:
        db.execute(statement)
    db.close()


def _flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at if at >= 0 else len(data) // 2] ^= 0x10
    path.chmod(0o640)
    path.write_bytes(data)


def test_a_whole_history_is_whole(history: Path) -> None:
    """Every entry kind replays; rows and chunks are counted; only a head proves."""
    found = verify(history)
    assert found.whole, found.damage
    kinds = [entry.kind for entry in manifest.chained(history)[0]]
    assert kinds == ["genesis", "hand_over", "hand_over", "merge"]
    assert (found.rows, found.proven) == (6 * _ROWS, 0)
    assert found.chunks == 1
    proven = verify(history, [_head(history)])
    assert (proven.whole, proven.proven) == (True, 4)


_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of a segment": (lambda h: _flip(_segment(h)), "it was changed"),
    "a segment cut": (lambda h: _segment(h).write_bytes(_segment(h).read_bytes()[:-9]), "it was changed"),
    "a segment removed": (lambda h: _segment(h).unlink(), "cannot be read"),
    "a foreign file": (lambda h: (_segment(h).parent / "x.parquet").write_bytes(b"x"), "does not know"),
    "a bit of a layout": (lambda h: _flip(h / "schema" / f"{_hash('{}')}.json"), "schema/"),
    "a bit of the log": (
        lambda h: _flip(path_of(h, files(h)[-1]), path_of(h, files(h)[-1]).stat().st_size - 20),
        "no whole chunk",
    ),
    "the log cut away": (lambda h: path_of(h, files(h)[-1]).unlink(), "missing"),
    "an entry changed": (
        lambda h: _sql(h, "UPDATE chain SET body = replace(body, 'a', 'b') WHERE sequence = 2"),
        "changed",
    ),
    "an entry removed": (lambda h: _sql(h, "DELETE FROM chain WHERE sequence = 2"), "missing or out of order"),
    "entries swapped": (
        lambda h: _sql(
            h,
            "UPDATE chain SET sequence = CASE sequence WHEN 2 THEN -3 WHEN 3 THEN 2 ELSE sequence END WHERE sequence IN (2, 3)",
        ),
        "out of order",
    ),
    "the chain removed": (lambda h: _sql(h, "DELETE FROM chain"), "has no chain"),
    "a row of segments removed": (lambda h: _sql(h, "DELETE FROM segments"), "without a tombstone"),
    "a hash rewritten": (lambda h: _sql(h, "UPDATE segments SET sha256 = 'x'"), "differs from the chain's"),
    "the manifest overwritten": (lambda h: (h / "manifest.db").write_bytes(b"no database" * 1000), "cannot be read"),
}


@pytest.mark.parametrize("what", _DAMAGE)
def test_what_was_done_is_found(history: Path, what: str) -> None:
    """Each is one finding at least, in words, and the rest is looked at all the same."""
    act, words = _DAMAGE[what]
    act(history)
    found = verify(history)
    assert not found.whole
    assert any(words in damage for damage in found.damage), found.damage


def test_a_history_made_anew_is_unproven_and_a_head_tells(tmp_path: Path, history: Path) -> None:
    """A chain that was rewritten whole is whole in itself: only a published head shows it; a cut tail as well."""
    published = _head(history)
    other = tmp_path / "other"
    with LogWriter(other, "node", "boot") as log:
        log.append([process_lives(_ROWS)], [])
        histories.keep(other)
    assert verify(other).whole
    assert any("cut" in damage for damage in verify(other, [published]).damage)
    assert any("rewritten" in damage for damage in verify(other, [Head(2, published.hash)]).damage)


def test_retention_leaves_a_tombstone(history: Path) -> None:
    """What was let go is told with its hashes, and the history stays whole."""
    book = manifest.Manifest(history)
    held = book.snapshot().segments
    book.retire(2, [one.path for one in held], "retention", 5)
    book.close()
    last = manifest.chained(history)[0][-1]
    assert (last.kind, last.time) == ("retire", 5)
    assert [row[1] for row in last.content["gone"]] == [one.sha256 for one in held]
    assert not any("tombstone" in damage for damage in verify(history).damage)


def test_a_manifest_of_before_begins_its_chain(history: Path) -> None:
    """What it held then is its genesis; from there on it is proven."""
    _sql(history, "DROP TABLE chain")
    Keeper(history).close()
    entries = manifest.chained(history)[0]
    assert [entry.kind for entry in entries] == ["genesis"]
    assert entries[0].content["segments"] == chain.rows_of(manifest.load(history).segments)
    assert verify(history).whole


@pytest.fixture
def bounded(tmp_path: Path) -> tuple[Path, list[Head]]:
    """Twenty hand-overs and a merge where a checkpoint comes after five entries, and the head behind each."""
    directory, heads = tmp_path / "bounded", []
    with LogWriter(directory, "node", "boot") as log:
        keeper = Keeper(directory, many=12, kept=5)
        for _ in range(20):
            log.append([process_lives(_ROWS)], [])
            keeper.pass_once(last=True)
            keeper.tidy()
            heads.append(_head(directory))
        keeper.close()
    return directory, heads


def test_the_chain_is_bounded(bounded: tuple[Path, list[Head]]) -> None:
    """It begins with a checkpoint, is never longer than two and one entry, and proves all that is held."""
    directory, heads = bounded
    entries = manifest.chained(directory)[0]
    assert entries[-1].sequence > 20 and entries[0].kind == "checkpoint"
    assert len(entries) == manifest.chain_length(directory) <= 2 * 5 + 1
    assert "merge" in {entry.kind for entry in entries} or entries[0].sequence > 12
    found = verify(directory, heads)
    assert (found.whole, found.proven, found.entries) == (True, heads[-1].sequence, len(entries)), found.damage


def test_heads_of_before_the_chain_prove_nothing(bounded: tuple[Path, list[Head]]) -> None:
    """Whoever makes a chain anew could let it begin behind all of them; and a newer one is enough."""
    directory, heads = bounded
    old = [head for head in heads if head.sequence < manifest.chained(directory)[0][0].sequence]
    assert old
    found = verify(directory, old)
    assert not found.whole and any("no given head is in the chain" in damage for damage in found.damage)


def _signed_anew(directory: Path, change: Callable[[chain.Entry], str]) -> None:
    """Change bodies and make all hashes fit, as somebody could who may write the history."""
    previous: str | None = None
    with sqlite3.connect(directory / "manifest.db") as db:
        for entry in manifest.chained(directory)[0]:
            before, body = previous or entry.previous, change(entry)
            previous = chain.digest(entry.sequence, entry.kind, entry.time, body, before)
            values = (body, before, previous, entry.sequence)
            db.execute("UPDATE chain SET body = ?, previous = ?, hash = ? WHERE sequence = ?", values)
    db.close()


def test_a_checkpoint_that_lists_other_segments_is_found(bounded: tuple[Path, list[Head]]) -> None:
    """With hashes that all fit: it is not what the entries before it say."""
    directory, heads = bounded
    newest = [entry for entry in manifest.chained(directory)[0] if entry.kind == "checkpoint"][-1]

    def less(entry: chain.Entry) -> str:
        return chain.canonical(entry.content | {"segments": []}) if entry == newest else entry.body

    _signed_anew(directory, less)
    found = verify(directory)
    assert any("does not list what the chain held" in damage for damage in found.damage), found.damage
    assert any("rewritten" in damage for damage in verify(directory, heads).damage)


def test_a_chain_that_begins_within_is_cut(bounded: tuple[Path, list[Head]]) -> None:
    """Only a checkpoint may stand first."""
    directory, _ = bounded
    first = manifest.chained(directory)[0][0].sequence
    _sql(directory, f"DELETE FROM chain WHERE sequence <= {first}")
    assert any("entries before it are missing" in damage for damage in verify(directory).damage)


def test_heads_are_published_outside(tmp_path: Path, history: Path) -> None:
    """At the end of a keeper's work its last head stands in the file, and verifies."""
    heads = tmp_path / "heads.jsonl"
    histories.keep(history, heads=heads)
    assert json.loads(heads.read_text().splitlines()[-1])["head"] == str(_head(history))
    assert verify(history, chain.heads(heads)).proven == _head(history).sequence


def test_a_place_for_heads_that_cannot_be_written_is_said_once(
    tmp_path: Path, history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It costs the proof, and not the record."""
    histories.keep(history, heads=tmp_path / "none" / "heads.jsonl")
    assert capsys.readouterr().err.count("cannot be published") == 1


@pytest.mark.parametrize("text", ["", "5", "5:abc", "x:" + "0" * 64, "5:" + "g" * 64])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(UsageError, match="SEQUENCE:HASH"):
        Head.parse(text)


def test_two_histories_share_no_file_of_heads(tmp_path: Path, history: Path) -> None:
    """Law: each history has an id and a file of its own; heads of another in the same file are no contradiction, and prove nothing."""
    named, other = tmp_path / "heads.jsonl", tmp_path / "other"
    histories.write(other, process_lives(5))
    ids = set()
    for directory in (history, other):
        own = place.identity(directory, make=True)
        ids.add(own)
        keeper = Keeper(directory, heads=named)  # as a version before did: both into one
        keeper.pass_once(last=True)
        keeper.close()
        assert place.identity(directory) == own
    assert len(ids) == 2 and None not in ids
    assert chain.file_of(named, place.identity(history)) != chain.file_of(named, place.identity(other))
    found = verify(history, chain.heads(named, place.identity(history)))
    assert found.whole and found.head is not None and found.proven == found.head.sequence, found.damage
    assert not verify(history, chain.heads(named, "0" * 32)).proven


def test_when_was_observed_is_what_the_rows_say(tmp_path: Path) -> None:
    """Law: answers are complete by the manifest's runs, so these are held against the rows, which alone the chain has."""
    histories.write(tmp_path, observed())
    histories.keep(tmp_path, linger=0)
    assert verify(tmp_path).whole
    ((told,),) = sqlite3.connect(tmp_path / "manifest.db").execute("SELECT runs FROM segments WHERE runs IS NOT NULL")
    runs = observing.decode(told)
    longer = observing.encode([*runs[:-1], replace(runs[-1], end=runs[-1].end + 3_600_000_000)])
    for changed in (longer, "[", observing.encode([])):
        with sqlite3.connect(tmp_path / "manifest.db") as db:
            db.execute("UPDATE segments SET runs = ? WHERE runs IS NOT NULL", (changed,))
        assert "otherwise than its rows when was observed" in "".join(verify(tmp_path).damage)


def test_what_a_segment_holds_is_what_its_rows_say(tmp_path: Path) -> None:
    """Law: questions leave segments out by the manifest's summaries, so these are held against the rows: one that is forged with its checksum
    would be a "no"."""
    histories.write(tmp_path, process_lives(30))
    histories.keep(tmp_path, linger=0)
    assert verify(tmp_path).whole
    (one,) = manifest.load(tmp_path).segments
    forged = summary.sealed(b'a["/bin/nothing"]', one.sha256, "exe")
    said: list[tuple[bytes, str]] = [(forged, "otherwise than its rows what it holds"), (forged[:-1], "")]
    for data, found in said:
        with sqlite3.connect(tmp_path / "manifest.db") as db:
            assert db.execute("UPDATE summaries SET data = ? WHERE name = 'exe'", (data,)).rowcount == 1
        assert found in (told := "".join(verify(tmp_path).damage)) and bool(found) == bool(told)
