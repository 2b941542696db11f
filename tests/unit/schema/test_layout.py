"""Layouts that were made are asked for their hash with each row of `observer` and each setting that is written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from firsthand.schema import layout
from kernel import build


def test_a_layout_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its number is asked for; a layout that is parsed from its text has the same."""
    found = layout.read(layout.objects())
    hashed: list[bytes] = []
    real = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data: (hashed.append(data), real(data))[1])
    assert len({(found.hash, found.number) for _ in range(71)}) == 1
    assert hashed == [found.text.encode()]
    assert layout.parse(found.text).hash == found.hash


def test_what_the_build_kept_is_what_the_objects_have() -> None:
    """Records, enums, maps and failures, each in its order."""
    kept = layout.objects()[0].parent / layout.KEPT
    read = layout.read(layout.objects())
    assert kept.read_text() == read.kept
    assert layout.installed() == read
    assert layout.installed().kept == read.kept


@pytest.mark.parametrize(
    "held", [None, b"", b"\xff", b"{}", b'{"records": [{}], "enums": {}, "maps": {}, "failures": {}}']
)
def test_a_layout_that_was_not_kept_is_read_from_the_objects(
    held: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent, cut off, or of another version."""
    objects = [tmp_path / path.name for path in layout.objects()]
    for path in objects:
        path.symlink_to(layout.objects()[0].parent / path.name)
    if held is not None:
        (tmp_path / layout.KEPT).write_bytes(held)
    monkeypatch.setattr(layout, "objects", lambda: objects)
    assert layout.installed.__wrapped__() == layout.read(objects)


def test_objects_that_are_compiled_again_have_no_layout_of_before(tmp_path: Path) -> None:
    """Whoever compiles one object into a folder has none that is stale."""
    (tmp_path / build.LAYOUT).write_text("{}")
    build.compile_object(build.KERNEL / "subjects/mount.bpf.c", tmp_path)
    assert not (tmp_path / build.LAYOUT).exists()
    assert build.LAYOUT == layout.KEPT
