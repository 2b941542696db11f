"""Static tracepoints by their names."""

from __future__ import annotations

import os

import pytest

from firsthand.probe import tracepoint
from tests import require


def test_a_kernel_without_any_of_them_is_said() -> None:
    """The error names those that were looked for; no descriptor is left open."""
    require.bpf()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError, match="no/such, nor/this"):
        tracepoint.attach(-1, ("no/such", "nor/this"))
    assert os.listdir("/proc/self/fd") == before


def test_numbers_are_those_of_tracefs() -> None:
    """Each tracepoint has one of its own."""
    require.bpf()
    folder = tracepoint._tracefs()
    found = [tracepoint._id(folder, f"syscalls/sys_exit_{name}") for name in ("mount", "umount", "no_such_call")]
    os.close(folder)
    assert found[2] is None and found[0] != found[1] and all(number is not None for number in found[:2])
