"""Uprobes on functions of libraries that a user names (patterns of files; a container's files below its root)."""

from __future__ import annotations

import ctypes
import glob
import os
from collections.abc import Sequence

from firsthand.probe import libbpf

#: Libraries that are attached to at most, each by two functions.
MOST = 256
_EVERY_PROCESS = -1


class _UprobeOptions(ctypes.Structure):
    """struct bpf_uprobe_opts of libbpf.h, 1.1."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("ref_ctr_offset", ctypes.c_size_t),
        ("bpf_cookie", ctypes.c_uint64),
        ("retprobe", ctypes.c_bool),
        ("func_name", ctypes.c_char_p),
    )


def attach(program: int, patterns: Sequence[str], functions: Sequence[str]) -> tuple[list[int], list[str]]:
    """Descriptors of links, one for each file and function; and what could not be attached to, with the reason."""
    found: list[int] = []
    refused: list[str] = []
    for pattern in patterns:
        files = sorted({os.path.realpath(file) for file in glob.glob(pattern)})  # noqa: PTH207 - an absolute pattern
        if not files:
            refused.append(f"network.plaintext: no file matches {pattern}")
        for file in files[: MOST - len(found) // len(functions)]:
            for function in functions:
                try:
                    found.append(_link(program, file, function))
                except OSError as error:
                    refused.append(f"network.plaintext: {file}: {function}: {error.strerror}")
    return found, refused


def _link(program: int, file: str, function: str) -> int:
    options = _UprobeOptions(ctypes.sizeof(_UprobeOptions), 0, 0, False, function.encode())
    link = libbpf.pointer(
        "bpf_program__attach_uprobe_opts", program, _EVERY_PROCESS, file.encode(), 0, ctypes.byref(options)
    )
    try:
        return os.dup(libbpf.call("bpf_link__fd", link))
    finally:
        libbpf.library().bpf_link__destroy(link)
