"""settings/sections/content.py, and what of it the checker is given."""

from __future__ import annotations

import pytest

from firsthand.cli.run import _checking
from firsthand.settings import Settings
from firsthand.settings.sections.content import Content


@pytest.mark.parametrize(
    ("changes", "scoped", "default"),
    [({}, False, True), ({}, True, None), ({"files": ("/x",)}, True, False), ({"enabled": False}, False, None)],
)
def test_what_is_checked(changes: dict[str, object], scoped: bool, default: bool | None) -> None:
    """Law: without a scope the default list; within one only the named files; nothing where it is switched off."""
    found = _checking(Settings().having(Content, **changes), scoped)
    assert (found.default if found else None) is default
    if found:
        assert (found.every, found.files) == (60, changes.get("files", ()))
