"""Words to the service manager, by a real datagram socket."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest

from firsthand.run.readiness import notify


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager's socket of an abstract name."""
    name = f"firsthand-test-{uuid.uuid4().hex}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0{name}")
        yield made


def test_a_word_arrives(manager: socket.socket) -> None:
    """The manager reads what was sent."""
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_a_manager_that_does_not_read_blocks_nobody(manager: socket.socket) -> None:
    """Words beyond what the manager's queue takes are dropped: the call returns, and the first ones are still there."""
    for number in range(2000):
        notify(f"WATCHDOG={number}")
    assert manager.recv(100) == b"WATCHDOG=0"


def test_without_a_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, one that is no address, and an address that nobody has."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    for address in ("", "elsewhere", f"@firsthand-test-{uuid.uuid4().hex}"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")
