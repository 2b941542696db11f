"""The part of libbpf that the loader needs, through the shared library that the wheel carries.

Only the short-lived loading runs through here, so calling by ctypes costs nothing that matters. Names are libbpf's own.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from firsthand.errors import NotSupportedError

#: Bytes of one message, a verifier log among them; lines kept of all.
_LONGEST, _KEPT = 1 << 20, 400
LIBRARIES = ("libz.so.1", "libelf.so.1", "libbpf.so.1")
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "libbpf_set_print": (c_void_p, [_PRINT]),
    "libbpf_num_possible_cpus": (c_int, []),
    "bpf_object__open_file": (c_void_p, [c_char_p, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__find_program_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_program__section_name": (c_char_p, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, c_bool]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__attach": (c_void_p, [c_void_p]),
    "bpf_program__attach_cgroup": (c_void_p, [c_void_p, c_int]),
    "bpf_program__attach_uprobe_opts": (c_void_p, [c_void_p, c_int, c_char_p, c_size_t, c_void_p]),
    "bpf_program__set_type": (c_int, [c_void_p, c_int]),
    "bpf_program__set_expected_attach_type": (c_int, [c_void_p, c_int]),
    "bpf_program__attach_iter": (c_void_p, [c_void_p, c_void_p]),
    "bpf_program__set_log_buf": (c_int, [c_void_p, c_char_p, c_size_t]),
    "bpf_map__name": (c_char_p, [c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_map__set_autocreate": (c_int, [c_void_p, c_bool]),
    "bpf_map__type": (c_uint32, [c_void_p]),
    "bpf_map__key_size": (c_uint32, [c_void_p]),
    "bpf_map__value_size": (c_uint32, [c_void_p]),
    "bpf_map__max_entries": (c_uint32, [c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_map__initial_value": (c_void_p, [c_void_p, ctypes.POINTER(c_size_t)]),
    "bpf_link_create": (c_int, [c_int, c_int, c_int, c_void_p]),
    "bpf_link__fd": (c_int, [c_void_p]),
    "bpf_link__destroy": (c_int, [c_void_p]),
    "bpf_obj_pin": (c_int, [c_int, c_char_p]),
    "bpf_obj_get": (c_int, [c_char_p]),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, ctypes.POINTER(c_uint32)]),
    "bpf_iter_create": (c_int, [c_int]),
    "bpf_map_update_elem": (c_int, [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_lookup_batch": (
        c_int,
        [c_int, c_void_p, c_void_p, c_void_p, c_void_p, ctypes.POINTER(c_uint32), c_void_p],
    ),
    "bpf_map_delete_elem": (c_int, [c_int, c_void_p]),
    "bpf_map_get_next_key": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_enable_stats": (c_int, [c_int]),
}


class LibbpfMessages(threading.local):
    """libbpf's warnings, kept for error messages and not printed: of each thread its own, for objects are loaded side by side. A
    refused program's verifier log is among them."""

    lines: list[str] = []  # noqa: RUF012 - a new list takes its place, in the thread that it belongs to

    def take(self, level: int, pattern: bytes | None, arguments: int | None) -> int:
        """One message; libbpf calls this in the thread that called it."""
        if level == 0 and pattern:
            self.lines = [*self.lines, *_formatted(pattern, arguments).splitlines()][-_KEPT:]
        return 0


def verdict(lines: Sequence[str]) -> str:
    """Why the verifier refused a program: the last line of its log that is not a count; empty where it said nothing."""
    ends = [number for number, line in enumerate(lines) if line.startswith("-- END PROG LOAD LOG")]
    log = lines[: ends[-1]] if ends else []
    said = [
        line for line in log if line.strip() and not line.startswith(("processed ", "verification time", "stack depth"))
    ]
    return said[-1].strip() if said else ""


def _formatted(pattern: bytes, arguments: int | None) -> str:
    """vsnprintf(3): a va_list is handed on as the pointer that it is to a function, on x86-64 and arm64."""
    text = ctypes.create_string_buffer(_LONGEST)
    ctypes.CDLL(None).vsnprintf(text, c_size_t(_LONGEST), c_char_p(pattern), c_void_p(arguments))
    return text.value.decode(errors="replace").strip()


messages = LibbpfMessages()
_taking = _PRINT(messages.take)


@cache
def library() -> ctypes.CDLL:
    """The shared library, loaded with what it needs. NotSupportedError where the installation lacks it."""
    folder = Path(__file__).with_name("lib")
    try:
        loaded = [ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL, use_errno=True) for name in LIBRARIES]
    except OSError as error:
        raise NotSupportedError(f"{folder}: {error}; run `make setup` or install the wheel again") from error
    found = loaded[-1]
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    found.libbpf_set_print(_taking)
    return found


def call(name: str, *arguments: object) -> int:
    """A libbpf function that returns a file descriptor or 0; OSError with its errno where it fails."""
    result = int(getattr(library(), name)(*arguments))
    if result < 0:
        number = -result if result != -1 else ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def pointer(name: str, *arguments: object) -> int:
    """A libbpf function that returns a pointer; OSError where that is NULL."""
    result = getattr(library(), name)(*arguments)
    if not result:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def each(name: str, handle: int) -> list[int]:
    """All programs or maps of an object, by bpf_object__next_program or bpf_object__next_map."""
    step: Callable[[int, int | None], int | None] = getattr(library(), name)
    found: list[int] = []
    item = step(handle, None)
    while item:
        found.append(item)
        item = step(handle, item)
    return found
