"""Watched files as a subject: the settings, and what of them is brought into the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.errors import UsageError
from firsthand.probe.spec import EXISTING, HOOKS, wanted
from firsthand.settings import Settings
from firsthand.settings.check import checked
from firsthand.settings.watchlist import READ, WRITE
from firsthand.subjects.file import WatchedFiles


def test_hooks_for_files_are_brought_in_where_files_are_watched() -> None:
    """Without the setting nothing of them costs anything."""
    for enabled in (False, True):
        found = {hook.table for hook in wanted((*HOOKS, *EXISTING), Settings(WatchedFiles(enabled=enabled)))}
        assert ("file" in found) is enabled and {"process", "connection"} <= found


def test_the_default_lists_fit_and_are_empty_while_off() -> None:
    """Reading is watched of secrets, writing of all."""
    WatchedFiles().check()
    assert not WatchedFiles().watched
    found = WatchedFiles(enabled=True).watched
    assert found.covers("/etc/shadow", READ) and found.covers("/root/.ssh/id_rsa", READ)
    assert found.covers("/etc/passwd", WRITE) and not found.covers("/etc/passwd", READ)
    assert not found.covers("/etc/hostname", WRITE)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("read", ["shadow"], "files.read: expected .*found .*shadow"),
        ("write", "/etc/", "files.write: expected a list"),
        ("write", ["/etc/../x"], "resolved paths never have"),
        ("read", [f"/etc/{number}" for number in range(300)], "the kernel side takes 256"),
    ],
)
def test_lists_that_cannot_be(key: str, value: object, why: str) -> None:
    """They are refused with the setting's name and the reason."""
    with pytest.raises(UsageError, match=why):
        checked({"files": {key: value}}, Path("config.toml"))
