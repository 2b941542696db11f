"""following.py: what the follower tells without any runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthand.following import Follower, FollowerOptions
from firsthand.history import place
from firsthand.history.connection import History
from firsthand.identity import machine


def _told(history: Path) -> list[dict[str, Any]]:
    with History(history).connection() as connection:
        found = connection.execute(
            "SELECT event, kind, address, name, source, since, until FROM address ORDER BY time, address"
        )
        return [
            dict(zip(("event", "kind", "address", "name", "source", "since", "until"), row, strict=True))
            for row in found.fetchall()
        ]


def test_the_machines_own_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: those that are there are told from the boot on, one that comes from then on, one that goes with its end; each once."""
    place.create(tmp_path)
    now = {"192.168.7.2", "fd00::2"}
    monkeypatch.setattr(machine, "addresses", lambda _: set(now))
    follower = Follower(FollowerOptions(str(tmp_path), ()))
    follower.open()
    follower.turn()
    follower.turn()
    now.add("192.168.7.3")
    now.remove("fd00::2")
    follower._addresses_due = 0.1  # its time has come
    follower.turn()
    follower.close()
    told = _told(tmp_path)
    assert [(row["event"], row["address"]) for row in told] == [
        *(("held", "192.168.7.2"), ("held", "fd00::2")),
        *(("gone", "fd00::2"), ("held", "192.168.7.3")),
    ]
    assert {(row["kind"], row["name"], row["source"]) for row in told} == {("node", follower.node, "machine")}
    first, second, gone, new = told
    assert first["since"] == second["since"] == gone["since"] < gone["until"] and first["until"] is None
    assert new["since"] == gone["until"] and new["until"] is None
