"""Which binary a process runs, from what the whole stream tells."""

from __future__ import annotations

from typing import Any

from firsthand.identity.resolve import Resolver
from firsthand.wire.batch import Batch, Text


def _row(
    event: str, tgid: int, number: int, parent: tuple[int, int] = (1, 1), exe: str | None = None
) -> dict[str, Any]:
    ids = {"exec_tgid": tgid, "exec_start": tgid, "exec_number": number}
    return {
        "event": event,
        **ids,
        "parent_tgid": parent[0],
        "parent_start": parent[0],
        "parent_number": parent[1],
        "exe": exe,
    }


def _exes(resolver: Resolver, *rows: dict[str, Any]) -> list[str]:
    batch = Batch.from_rows("process", rows)
    resolver.binaries(batch)
    exe = batch.columns["exe"]
    assert isinstance(exe, Text)
    return [exe.row(i).decode() for i in range(len(exe))]


def test_forks_and_exits_get_the_image_of_their_process() -> None:
    """A fork runs its parent's binary until it executes one of its own."""
    rows = [
        _row("exec", 5, 2, exe="/bin/sh"),
        _row("fork", 6, 2, (5, 2)),
        _row("exec", 6, 3, exe="/bin/a"),
        _row("exit", 6, 3),
    ]
    assert _exes(Resolver(), *rows) == ["/bin/sh", "/bin/sh", "/bin/a", "/bin/a"]


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
    assert len(resolver.images) == 2
