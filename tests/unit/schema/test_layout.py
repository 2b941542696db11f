"""Layouts that were made are asked for their hash with each row of `observer` and each setting that is written."""

from __future__ import annotations

import hashlib

import pytest

from firsthand.schema import layout


def test_a_layout_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its number is asked for; a layout that is parsed from its text has the same."""
    found = layout.read(layout.objects())
    hashed: list[bytes] = []
    real = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data: (hashed.append(data), real(data))[1])
    assert len({(found.hash, found.number) for _ in range(71)}) == 1
    assert hashed == [found.text.encode()]
    assert layout.parse(found.text).hash == found.hash
