"""The watch over what steers the kernel side: what somebody else writes to the pinned maps is a loss, is put right, and is seen at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.health.status import status
from firsthand.history.store.connection import History
from firsthand.probe import hierarchy, libbpf, load, pins, shared
from tests.cgroups import TestCgroup
from tests.kernel.inside import ObserverInside

pytestmark = pytest.mark.counts_losses


@pytest.fixture
def inside(cgroup: TestCgroup, history: Path) -> Iterator[ObserverInside]:
    made = ObserverInside(cgroup, history)
    made.observer._say("alive")
    yield made
    made.close()


def _pinned(inside: ObserverInside, name: str) -> int:
    """The map as anybody with root's rights opens it."""
    fd = pins.open_pin(pins.folder_of(inside.observer.options.top.instance) / name)
    assert fd is not None
    return fd


def _zero_incarnation(inside: ObserverInside) -> None:
    replace(inside.loaded.control, incarnation=0).write(_pinned(inside, "control"))


def _age_heartbeat(inside: ObserverInside) -> None:
    """With patience of a nanosecond nothing is recorded, and each record is counted."""
    replace(inside.loaded.control, heartbeat=1, patience=1).write(_pinned(inside, "control"))


def _delete_scope(inside: ObserverInside) -> None:
    libbpf.call("bpf_map_delete_elem", _pinned(inside, "scopes"), struct.pack("<Q", hierarchy.key(inside.cgroup.path)))


@pytest.mark.parametrize(
    ("attack", "word"),
    [(_zero_incarnation, "incarnation was 0"), (_age_heartbeat, "patience was 1"), (_delete_scope, "was deleted")],
)
def test_who_silences_the_kernel_side_is_seen(
    inside: ObserverInside, attack: Callable[[ObserverInside], None], word: str
) -> None:
    """A row with the time since the last look; answers over it are not complete, status is red, and recording goes on."""
    inside.run("before")
    before = datetime.now(UTC)
    attack(inside)
    inside.cgroup.run(["/bin/true", "unseen"]).wait()
    unseen = datetime.now(UTC)
    (row,) = inside.until_rows("SELECT * FROM loss WHERE cause = 'control_changed'")
    assert word in row["detail"] and row["events"] is None
    assert row["since"].replace(tzinfo=UTC) <= before < unseen <= row["until"].replace(tzinfo=UTC)
    with History(inside.history).connection() as connection:
        reasons = status(connection, datetime.now(UTC), inside.history)["reasons"]
    assert any(reason.startswith("what steers the kernel side was changed") for reason in reasons)
    inside.run("after")
    words = [row["w"] for row in inside.rows("SELECT args[2] AS w FROM process WHERE event = 'exec' ORDER BY ktime")]
    assert words == ["before", "after"]


def test_namespaces_that_are_not_the_hosts(inside: ObserverInside) -> None:
    """The map by which rows say whether a namespace is the host's is put right too."""
    shared.update(_pinned(inside, "host"), struct.pack("<I", 0), bytes(32))
    (row,) = inside.until_rows("SELECT * FROM loss WHERE cause = 'control_changed'")
    assert "map host" in row["detail"]
    inside.run("after")
    assert inside.rows("SELECT host_namespaces AS h FROM process WHERE event = 'exec'")[0]["h"]


def test_a_scope_that_was_added_is_taken_out_again(inside: ObserverInside) -> None:
    """What nobody asked to be recorded is not; it is said all the same."""
    shared.update(_pinned(inside, "scopes"), struct.pack("<Q", 1), struct.pack("<I", 1))
    (row,) = inside.until_rows("SELECT * FROM loss WHERE cause = 'control_changed'")
    assert row["detail"] == "map scopes: 1 was added"
    assert shared.keys(inside.loaded.maps["scopes"], 8) == [struct.pack("<Q", hierarchy.key(inside.cgroup.path))]


def test_a_scope_that_is_made_anew_is_recorded_again(inside: ObserverInside) -> None:
    """Removed and made under the same path: another cgroup to the kernel. What ran in it before that was seen is told as missing."""
    key = hierarchy.key(inside.cgroup.path)
    inside.run("before")
    inside.cgroup.path.rmdir()
    inside.cgroup.path.mkdir()
    assert hierarchy.key(inside.cgroup.path) != key
    inside.cgroup.run(["/bin/true", "unseen"]).wait()
    unseen = datetime.now(UTC)
    (row,) = inside.until_rows("SELECT * FROM loss WHERE cause = 'scope_remade'")
    assert str(inside.cgroup.path) in row["detail"] and unseen <= row["until"].replace(tzinfo=UTC)
    inside.run("after")
    words = [row["w"] for row in inside.rows("SELECT args[2] AS w FROM process WHERE event = 'exec' ORDER BY ktime")]
    assert words == ["before", "after"]
    assert not inside.rows("SELECT 1 FROM loss WHERE cause = 'control_changed'"), "that was no stranger"


def test_a_scope_that_was_deleted_while_nobody_read(inside: ObserverInside) -> None:
    """The next loader puts it back, and the time between is not observed."""
    options = inside.observer.options.load_options()
    inside.observer.forget()
    _delete_scope(inside)
    again = load.bring_in(options)
    assert (again.taken_over, again.interrupted) == (True, ["scopes"])
    again.close()
