"""What the subject `mount` and its programs must agree in."""

from __future__ import annotations

import re
from pathlib import Path

from firsthand.schema.layout import installed
from firsthand.subjects import mount

_KERNEL = Path(__file__).parents[3] / "kernel"


def test_the_canary_is_the_one_that_the_programs_know() -> None:
    """Its argument, and the call's number on each machine."""
    text = (_KERNEL / "include/mounting.h").read_text()
    assert int(re.findall(r"CANARY_WORD = (0x[0-9a-f]+)", text)[0], 16) == mount._CANARY_WORD
    assert {int(one) for one in re.findall(r"NUMBER_GETPRIORITY = (\d+)", text)} == set(mount._GETPRIORITY.values())


def test_each_call_has_a_tracepoint_and_a_function() -> None:
    """The same calls by both ways, but open_tree_attr, which not every kernel has a function for."""
    names = {word.removeprefix("syscalls/sys_exit_") for word in mount.SUBJECT.hooks[0].at_tracepoints["mount_called"]}
    words = {name.lower() for name in installed().enums["mountcall"]}
    assert names == words - {"canary"}
    functions = set(re.findall(r"\bCALL\((\w+)\)", (_KERNEL / "subjects/mount.bpf.c").read_text()))
    assert functions - {"name", "getpriority"} == names - {"open_tree_attr"}
