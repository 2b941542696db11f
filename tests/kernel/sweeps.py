"""Whether this kernel takes programs that walk a map's elements (iter/bpf_map_elem): without those nothing folds."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import firsthand.probe

#: enum bpf_prog_type and bpf_attach_type (include/uapi/linux/bpf.h), and two instructions: r0 = 0; exit.
_TRACING, _ITERATOR = 26, 28
_NOTHING = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))


class _SweepOptions(ctypes.Structure):
    """The beginning of struct bpf_prog_load_opts (libbpf 1.0, tools/lib/bpf/bpf.h)."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        *((name, ctypes.c_uint32) for name in ("prog_btf_fd", "prog_flags", "prog_ifindex", "kern_version")),
        ("attach_btf_id", ctypes.c_uint32),
    )


@cache
def refusal() -> str:
    """Why the kernel refuses such a program; empty where it takes one. For root."""
    library = ctypes.CDLL(str(Path(firsthand.probe.__path__[0]) / "lib/libbpf.so.1"))
    number = library.libbpf_find_vmlinux_btf_id(b"bpf_map_elem", _ITERATOR)
    if number <= 0:
        return f"no iterator bpf_map_elem in the kernel's BTF: {os.strerror(-number)}"
    options = _SweepOptions(ctypes.sizeof(_SweepOptions), 0, _ITERATOR, attach_btf_id=number)
    found = library.bpf_prog_load(
        _TRACING, b"nothing", b"GPL", _NOTHING, ctypes.c_size_t(len(_NOTHING) // 8), ctypes.byref(options)
    )
    if found < 0:
        return f"this kernel refuses iter/bpf_map_elem: {os.strerror(-found)}"
    os.close(found)
    return ""
