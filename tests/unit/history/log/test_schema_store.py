"""history/log/schema_store.py: layouts kept under their digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.log import schema_store
from firsthand.history.log.schema_store import damage, hash_of, load_layout, save_layout, saved

_TEXT = '{"layout": "grün"}'
_HASH = hash_of(_TEXT)


def _folder(history: Path) -> Path:
    return history / place.SCHEMA


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Under its digest; saving it again writes nothing."""
    save_layout(tmp_path, _HASH, _TEXT)
    before = (_folder(tmp_path) / f"{_HASH}.json").stat()
    save_layout(tmp_path, _HASH, _TEXT)
    assert (_folder(tmp_path) / f"{_HASH}.json").stat().st_ino == before.st_ino
    assert load_layout(tmp_path, _HASH) == _TEXT and saved(tmp_path) == {_HASH: _TEXT} and damage(tmp_path) == []
    assert [path.name for path in _folder(tmp_path).iterdir()] == [f"{_HASH}.json"], "no beginning is left"


@pytest.mark.parametrize("content", [b"{}", b"", b"\xff\xfe", _TEXT.encode() + b"\n"])
def test_one_that_was_changed_is_not_believed(tmp_path: Path, content: bytes) -> None:
    """It is named, and put right by whoever saves it next."""
    save_layout(tmp_path, _HASH, _TEXT)
    (_folder(tmp_path) / f"{_HASH}.json").write_bytes(content)
    with pytest.raises(HistoryError, match="restore it from a backup"):
        load_layout(tmp_path, _HASH)
    assert saved(tmp_path) == {}
    (said,) = damage(tmp_path)
    assert said.startswith(f"schema/{_HASH}.json: it was changed")
    save_layout(tmp_path, _HASH, _TEXT)
    assert load_layout(tmp_path, _HASH) == _TEXT


def test_files_of_others_are_named(tmp_path: Path) -> None:
    """But for beginnings that were never finished, which nobody misses."""
    save_layout(tmp_path, _HASH, _TEXT)
    for name in ("notes.txt", f"{_HASH.upper()}.json", f".{_HASH}.123"):
        (_folder(tmp_path) / name).write_text("x")
    assert [one.partition(":")[0] for one in damage(tmp_path)] == [f"schema/{_HASH.upper()}.json", "schema/notes.txt"]
    assert list(saved(tmp_path)) == [_HASH]


@pytest.mark.parametrize("hash_", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65])
def test_what_is_no_digest_names_no_file(tmp_path: Path, hash_: str) -> None:
    """Neither to read nor to write."""
    for act in (lambda: load_layout(tmp_path, hash_), lambda: save_layout(tmp_path, hash_, _TEXT)):
        with pytest.raises(HistoryError, match="not a layout's hash"):
            act()
    assert not _folder(tmp_path).exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The error says what to do; a history without layouts has none."""
    assert saved(tmp_path) == {} and damage(tmp_path) == []
    (tmp_path / place.SCHEMA).write_text("a file in its place")
    with pytest.raises(HistoryError, match="free space there or mount it writable"):
        save_layout(tmp_path, _HASH, _TEXT)
    assert schema_store.saved(tmp_path) == {}
