"""The list of hooks agrees with the compiled objects."""

from __future__ import annotations

import pytest

from firsthand.probe.spec import EXISTING, HOOKS, SWEEPS, SWEPT, needed, shared
from firsthand.schema import btf, layout
from firsthand.schema.layout import enumerators, objects
from firsthand.schema.tables import TABLES
from kernel import build


def _functions(name: str) -> set[str]:
    path = next(path for path in objects() if path.name == f"{name}.bpf.o")
    return {kind.name for kind in btf.read_object(path).types if kind.kind == btf.FUNC}


def test_every_program_of_the_spec_is_in_its_object() -> None:
    """And every hook says which table it fills and what is not seen without it."""
    for hook in (*HOOKS, *EXISTING, *SWEEPS):
        assert all(program in _functions(hook.object_of(program)) for program in hook.programs)
        assert hook.table in TABLES and hook.blind_spot


def test_the_spine_has_a_line_for_each_program_that_is_attached() -> None:
    """And for no other: it is written from the sections of the objects' programs."""
    folder = objects()[0].parent
    lines = build.spine([path for path in objects() if path.name != layout.SPINE]).splitlines()
    named = {line.partition("(")[2].partition(",")[0] for line in lines if line.startswith("SPINE")}
    assert named == {program for hook in HOOKS for program in hook.programs}
    attached = {name for name, _ in build.programs(folder / layout.SPINE)}
    assert {name.partition("_at_")[0] for name in attached} == {f"spine_{name}" for name in named}
    several = {name.partition("_at_")[0].removeprefix("spine_") for name in attached if "_at_" in name}
    assert several == {name for hook in HOOKS for name in hook.at_functions}


def test_what_completeness_needs() -> None:
    """Every hook, but those whose rows no question counts: they are a blind spot that is said."""
    assert {hook.name for hook in (*HOOKS, *EXISTING)} - set(needed()) == {
        *("sniff_open", "sniff_close", "tunnel_open", "mount_compat"),
    }
    assert needed()["process_exec"] == "process"


def test_every_map_is_shared() -> None:
    """All maps of the objects but the spine's are pinned by name, those that sweeps go over among them."""
    found = {"ring", "urgent", "control", "produced", "failures", "processes", "sockets", "sweepers", "plains"}
    assert found | set(SWEPT.values()) <= set(shared()) and len(set(shared())) == len(shared())
    assert not any(name.startswith("entry_") for name in shared())
    assert set(SWEPT) == {hook.name for hook in SWEEPS}


def test_failures_have_names() -> None:
    """User space names the kernel's counters from the object's own enum."""
    assert {"RESERVE", "SCRATCH", "COUNT"} <= set(enumerators("failure"))


def test_an_objects_types_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The observer asks for the names of failures each second, and a process's objects do not change."""
    assert enumerators("failure")
    monkeypatch.setattr(btf, "read_object", lambda path: pytest.fail(f"{path} is read again"))
    assert "RESERVE" in enumerators("failure")
