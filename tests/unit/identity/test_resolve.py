"""Which binary a process runs, from what the whole stream tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firsthand.identity.resolve import Cgroups, Resolver
from firsthand.wire.batch import Batch, Text


def _row(
    event: str, tgid: int, number: int, parent: tuple[int, int] = (1, 1), exe: str | None = None, ktime: int = 0
) -> dict[str, Any]:
    ids = {"exec_tgid": tgid, "exec_start": tgid, "exec_number": number}
    return {
        "event": event,
        "ktime": ktime,
        **ids,
        "parent_tgid": parent[0],
        "parent_start": parent[0],
        "parent_number": parent[1],
        "exe": exe,
    }


def _exes(resolver: Resolver, *rows: dict[str, Any]) -> list[str]:
    return _taken(resolver, rows)[0]


def _taken(resolver: Resolver, *rings: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The binaries of what was taken from several rings at once."""
    batches = [Batch.from_rows("process", rows) for rows in rings]
    resolver.binaries(batches)
    found = [batch.columns["exe"] for batch in batches]
    return [[exe.row(i).decode() for i in range(len(exe))] for exe in found if isinstance(exe, Text)]


def test_forks_and_exits_get_the_image_of_their_process() -> None:
    """A fork runs its parent's binary until it executes one of its own."""
    rows = [
        _row("exec", 5, 2, exe="/bin/sh"),
        _row("fork", 6, 2, (5, 2)),
        _row("exec", 6, 3, exe="/bin/a"),
        _row("exit", 6, 3),
    ]
    assert _exes(Resolver(), *rows) == ["/bin/sh", "/bin/sh", "/bin/a", "/bin/a"]


def test_rings_are_followed_in_the_order_of_time() -> None:
    """An exec of the urgent ring names what its process did afterwards, which the ordinary one tells; nothing stays behind."""
    ordinary = [
        _row("exec", 5, 2, exe="/bin/sh", ktime=10),
        _row("fork", 6, 2, (5, 2), ktime=20),
        _row("fork", 7, 3, (6, 3), ktime=40),
        _row("fork", 9, 2, (5, 2), ktime=15),
        _row("exit", 7, 3, ktime=50),
        _row("exit", 6, 3, ktime=60),
    ]
    resolver = Resolver()
    assert _taken(resolver, ordinary, [_row("exec", 6, 3, exe="/bin/su", ktime=30)]) == [
        ["/bin/sh", "/bin/sh", "/bin/su", "/bin/sh", "/bin/su", "/bin/su"],
        ["/bin/su"],
    ]
    assert len(resolver.images) == 2
    assert _taken(resolver) == []


def test_a_folded_row_leaves_nothing_behind() -> None:
    """Of the processes that it stands for nothing more comes: its image is not kept, nor is one of its ids taken for ended."""
    resolver = Resolver()
    assert _exes(resolver, _row("exec", 5, 2, exe="/bin/sh"), _row("folded", 6, 3, exe="/bin/probe")) == [
        "/bin/sh",
        "/bin/probe",
    ]
    assert len(resolver.images) == 1
    assert _exes(resolver, _row("folded", 5, 2, exe="/bin/probe"), _row("exit", 5, 2)) == ["/bin/probe", "/bin/sh"]


def test_a_late_fork_finds_its_parents_image() -> None:
    """What was withheld may come when the parent has ended or executed another program."""
    rows = [_row("exec", 5, 2, exe="/bin/sh"), _row("exit", 5, 2), _row("fork", 6, 2, (5, 2))]
    assert _exes(Resolver(late=1), *rows)[-1] == "/bin/sh"
    assert _exes(Resolver(late=0), *rows)[-1] == ""
    resolver = Resolver(late=2)
    for tgid in range(10, 20):
        _exes(resolver, _row("exec", tgid, 2, exe="/bin/sh"), _row("exit", tgid, 2))
    assert len(resolver.images) == 0
    ids = [np.arange(10, 20, dtype=kind) for kind in (np.int32, np.int64)]
    numbers = np.full(10, 2, dtype=np.int64)
    assert [int(code) >= 0 for code in resolver.images.find(*ids, numbers)] == [False] * 8 + [True] * 2


def _cgroups(*rows: tuple[str, int]) -> Batch:
    return Batch.from_rows(
        "container", [{"event": event, "cgroup_id": key, "cgroup_path": f"/app/{key}"} for event, key in rows]
    )


def test_removed_cgroups_leave_the_table() -> None:
    """Law: only the last removed ones are still known, for rows that come late; those that are there stay, however old."""
    cgroups = Cgroups(most=100, late=4)
    cgroups.learn(_cgroups(("create", 1)))
    for first in range(10, 1_000, 10):
        numbers = range(first, first + 10)
        cgroups.learn(
            _cgroups(*(("create", number) for number in numbers), *(("remove", number) for number in numbers))
        )
    assert (len(cgroups), cgroups.forgotten) == (5, 0)
    assert [cgroups.words(key)[1] for key in (1, 995, 996, 999)] == [b"/app/1", b"", b"/app/996", b"/app/999"]
