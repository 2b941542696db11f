"""history/place.py and schema_store.py: where a history is and who may read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.log import schema_store


def test_the_default_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: FIRSTHAND_HISTORY, else /var/lib/firsthand for root, else the user's state directory."""
    monkeypatch.setenv("FIRSTHAND_HISTORY", "/somewhere")
    assert place.default_directory() == Path("/somewhere")
    monkeypatch.delenv("FIRSTHAND_HISTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert place.default_directory() == Path("/state/firsthand")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place.default_directory() == Path("/var/lib/firsthand")


def test_permissions(tmp_path: Path) -> None:
    """Law: whatever the umask, a new history is 0750; one that is there stays as it is."""
    before = os.umask(0)
    try:
        place.create(tmp_path / "a/b")
    finally:
        os.umask(before)
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o750
    (tmp_path / "a/b").chmod(0o700)
    place.create(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    """Law: a history that cannot be created is an error that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match="file"):
        place.create(tmp_path / "file/history")


def test_a_layout_is_kept(tmp_path: Path) -> None:
    """Law: a layout is saved once under its hash and read back the same; nothing but hashes name one; a damaged one is put right."""
    name = schema_store.hash_of("{}")
    for _ in range(2):
        schema_store.save_layout(tmp_path, name, "{}")
    assert schema_store.load_layout(tmp_path, name) == "{}"
    (path,) = (tmp_path / "schema").iterdir()
    assert path.name == f"{name}.json"
    for wrong in (schema_store.hash_of("other"), "../ab12", "ab12"):
        with pytest.raises(HistoryError):
            schema_store.load_layout(tmp_path, wrong)
    path.write_bytes(b"{\xff")
    with pytest.raises(HistoryError, match="cannot be read"):
        schema_store.load_layout(tmp_path, name)
    assert schema_store.saved(tmp_path) == {}
    assert len(schema_store.damage(tmp_path)) == 1
    schema_store.save_layout(tmp_path, name, "{}")
    assert (schema_store.saved(tmp_path), schema_store.damage(tmp_path)) == ({name: "{}"}, [])
