"""observe/follower.py: what the follower tells without any runtime."""

from __future__ import annotations

import select
from pathlib import Path
from typing import Any

import pytest

from firsthand.history import place
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.identity import machine
from firsthand.identity.asker import Asker, NoAnswer, RuntimeAnswer
from firsthand.identity.runtimes.facts import ContainerFacts, Happened, Inspected
from firsthand.observe.follower import GATHER, Follower, FollowerOptions
from firsthand.wire.batch import Batch


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


def test_what_a_runtime_says_wakes_the_follower(tmp_path: Path) -> None:
    """Nothing is looked at by the clock: the bell rings with each message, and is quiet after the turn that takes it."""
    place.create(tmp_path)
    follower = Follower(FollowerOptions(str(tmp_path), ()))
    follower.open()
    follower.turn()
    bell = follower.out.bell
    assert not select.select([bell], [], [], 0)[0]
    for name in ("one", "two"):
        follower.out.put(NoAnswer(name, "it ended"))
    assert select.select([bell], [], [], 0)[0]
    follower.turn()
    assert not select.select([bell], [], [], 0)[0]
    assert "observer" in follower.rows.tables and follower._rest() <= GATHER
    follower.write()
    assert not follower.rows.tables and follower._rest() > GATHER
    follower.close()


def _log(tmp_path: Path, *rows: tuple[str, str]) -> LogWriter:
    """The observer's log with cgroups: event and path."""
    log = LogWriter(tmp_path, "n", "b")
    _cgroup(log, *rows)
    return log


def _cgroup(log: LogWriter, *rows: tuple[str, str]) -> None:
    common = {"time": 1_780_000_000_000_000, "node": "n", "boot": "b"}
    told = [common | {"event": event, "cgroup_path": path} for event, path in rows]
    log.append([Batch.from_rows("container", told)], [])


def _names(history: Path) -> list[tuple[Any, ...]]:
    with History(history).connection() as connection:
        query = "SELECT event, container, state, cgroup_path FROM container WHERE container IS NOT NULL AND event IN ('named', 'gone') ORDER BY ktime"
        return connection.execute(query).fetchall()


PLACE = "/default/my-ctr-1"


def _word() -> RuntimeAnswer:
    return RuntimeAnswer(
        "/s", "containerd", "my-ctr-1", Inspected(ContainerFacts("my-ctr-1", state="running", cgroup_path=PLACE))
    )


@pytest.mark.parametrize("first", ["cgroup", "runtime"])
def test_a_scope_has_containers_whose_id_is_a_word(tmp_path: Path, first: str) -> None:
    """Within a scope it is named as soon as both its cgroup and its runtime told of it, and another's never; its end is told."""
    log = _log(tmp_path, *([("create", PLACE)] if first == "cgroup" else []))
    follower = Follower(FollowerOptions(str(tmp_path), (), (), True))
    follower.askers["/s"] = Asker("/s", follower.out)
    follower.open()
    follower.turn()
    elsewhere = ContainerFacts("other", state="running", cgroup_path="/default/other")
    for told in (_word(), RuntimeAnswer("/s", "containerd", "other", Inspected(elsewhere))):
        follower.out.put(told)
    follower.turn()
    if first == "runtime":
        _cgroup(log, ("create", PLACE))
        follower.turn()
    follower.write()
    _cgroup(log, ("remove", f"{PLACE}/inner"))
    follower.turn()
    follower.write()
    assert {row[1:] for row in _names(tmp_path)} == {("my-ctr-1", "running", PLACE)}
    _cgroup(log, ("remove", PLACE))
    follower.turn()
    follower.write()
    follower.out.put(
        RuntimeAnswer("/s", "containerd", "my-ctr-1", happened=Happened("my-ctr-1", "removed", 1_780_000_001_000_000))
    )
    follower.turn()
    follower.write()
    assert [row[:3] for row in _names(tmp_path)][-2:] == [
        ("named", "my-ctr-1", "exited"),
        ("gone", "my-ctr-1", "exited"),
    ]
    follower.close()
    log.close()
