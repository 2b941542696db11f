"""Objects are loaded side by side."""

from __future__ import annotations

import threading

import pytest

from firsthand.probe import programs
from firsthand.probe.programs import ObjectPrograms
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, SWEEPS


def test_all_tasks_are_done_and_some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, as many at once as there are processors: two meet here, or neither would go on."""
    monkeypatch.setattr(programs.os, "sched_getaffinity", lambda _: {0, 1})
    met, done = threading.Barrier(2), list[int]()
    tasks = [met.wait, met.wait, *(lambda number=number: done.append(number) for number in range(20))]  # type: ignore[misc]
    programs.side_by_side(tasks)
    assert sorted(done) == list(range(20))


def test_an_exception_of_one_is_raised_when_all_are_done() -> None:
    """None is left running behind it."""
    done: list[int] = []

    def fail() -> None:
        raise ValueError("of a test")

    with pytest.raises(ValueError, match="of a test"):
        programs.side_by_side([fail, lambda: done.append(1), lambda: done.append(2)])
    assert sorted(done) == [1, 2]


def test_groups() -> None:
    """First ways of all hooks: each once, of one object each; what a kernel may refuse for what it is stands apart."""
    wanted = [(hook, hook.programs[0]) for hook in (*HOOKS, *EXISTING, *SWEEPS, PLAIN)]
    groups = programs._grouped(wanted)
    assert sorted(name for group in groups for _, name in group.wanted) == sorted(name for _, name in wanted)
    for group in groups:
        assert {f"{hook.object_of(name)}.bpf.o" for hook, name in group.wanted} == {group.path.name}
    together = {frozenset(name for _, name in group.wanted) for group in groups}
    assert frozenset({"process_fork", "process_prepare", "process_exec"}) in together
    assert (
        frozenset({"connection_accept"}) in together
        and frozenset({"sniff_open", "sniff_close", "tunnel_open"}) in together
    )


def test_what_is_tried_again_together() -> None:
    """Where a group is refused: those whose hook has no other way, which every kernel takes."""
    hooks = [hook for hook in HOOKS if hook.object == "process"]
    group = ObjectPrograms(programs._object("process"), [(hook, hook.programs[0]) for hook in hooks])
    assert [name for _, name in group.sure] == ["process_fork", "process_exec"]
