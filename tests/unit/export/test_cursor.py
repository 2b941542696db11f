"""export/cursor.py: all of a state or the one before, and no other history's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firsthand.errors import ExportError
from firsthand.export.cursor import Cursor
from firsthand.history.log.chunk import Position


def test_what_is_saved_is_there_again(tmp_path: Path) -> None:
    """Law: a state comes back as it was, with the same identity."""
    first = Cursor(tmp_path / "deep/cursor", tmp_path)
    assert first.fresh
    first.state.positions["log"] = Position(3, 99)
    first.state.sequence, first.state.output["length"] = 7, 8
    first.save()
    first.close()
    second = Cursor(tmp_path / "deep/cursor", tmp_path)
    assert not second.fresh
    assert second.state == first.state
    second.close()


def test_without_a_path_nothing_is_kept(tmp_path: Path) -> None:
    """Law: a run without a cursor writes no file."""
    cursor = Cursor(None, tmp_path)
    cursor.save()
    cursor.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 9}', '{"version": 1, "positions": {"log": 3}}'])
def test_what_is_no_cursor(tmp_path: Path, text: str) -> None:
    """Law: a file that is no cursor is refused, and not overwritten; it can be named again once it is put right."""
    (tmp_path / "cursor").write_text(text)
    with pytest.raises(ExportError, match="no cursor of an export"):
        Cursor(tmp_path / "cursor", tmp_path)
    assert (tmp_path / "cursor").read_text() == text


def test_another_historys_cursor(tmp_path: Path) -> None:
    """Law: positions of one history are never used for another."""
    first = Cursor(tmp_path / "cursor", tmp_path / "one")
    first.save()
    first.close()
    assert json.loads((tmp_path / "cursor").read_text())["history"] == str(tmp_path / "one")
    with pytest.raises(ExportError, match="of the history"):
        Cursor(tmp_path / "cursor", tmp_path / "two")


def test_a_place_without_room(tmp_path: Path) -> None:
    """Law: a cursor that cannot be kept is an error: exporting on would repeat."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be used"):
        Cursor(tmp_path / "file/cursor", tmp_path)
    cursor = Cursor(tmp_path / "cursor", tmp_path)
    (tmp_path / "cursor.new").mkdir()
    with pytest.raises(ExportError, match="cannot be written"):
        cursor.save()
    cursor.close()
