"""Folding of equal short processes, as far as user space drives it: kernel/include/fold.h says how it goes.

Two iterators are run each second: over lives that are withheld for longer than a probe lasts, and over folds whose row is due.
Both write into the ordinary ring, and answer with a letter for each element.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from firsthand.probe import libbpf
from firsthand.probe.spec import SWEPT

#: How often all that is withheld is asked for at the end, at most.
ROUNDS = 64
_FORCED = struct.pack("<I", 1)  # enum fold_word of kernel/include/maps.h
#: membarrier(2), by machine, and MEMBARRIER_CMD_GLOBAL.
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_GLOBAL = 1


class _MapInfo(ctypes.Structure):
    """union bpf_iter_link_info of linux/bpf.h; the member `cgroup` is its longest."""

    _fields_ = (("map_fd", ctypes.c_uint32), ("rest", ctypes.c_uint32 * 3))


class _IterOptions(ctypes.Structure):
    """struct bpf_iter_attach_opts of libbpf's bpf.h."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("link_info", ctypes.POINTER(_MapInfo)),
        ("link_info_length", ctypes.c_uint32),
    )


def attach(program: int, over: int) -> int:
    """A link of an iterator program over the map with the descriptor `over`; OSError where the kernel has no such iterator."""
    told = _MapInfo(over)
    options = _IterOptions(ctypes.sizeof(_IterOptions), ctypes.pointer(told), ctypes.sizeof(told))
    link = libbpf.pointer("bpf_program__attach_iter", program, ctypes.byref(options))
    try:
        return os.dup(libbpf.call("bpf_link__fd", link))
    finally:
        libbpf.library().bpf_link__destroy(link)


def settle() -> None:
    """Return when every program that had begun has ended: an RCU grace period, by membarrier(2)."""
    number = _MEMBARRIER.get(platform.machine())
    if number is None or ctypes.CDLL(None).syscall(number, _GLOBAL, 0, 0):
        time.sleep(0.1)  # refused where a processor runs without ticks


@dataclass
class Answers:
    """What the elements of one map answered: held for now, done, or waiting for room in the ring."""

    held: int = 0
    done: int = 0
    waiting: int = 0


@dataclass
class Sweeper:
    """The sweeps of one kernel side: `links` are descriptors of their links, by name, `maps` the shared maps'."""

    maps: Mapping[str, int]
    links: Sequence[tuple[str, int]]
    answers: dict[str, Answers] = field(default_factory=dict)

    def run(self) -> None:
        """One run of each. OSError where the kernel refuses."""
        self.answers = {}
        for name, link in self.links:
            with contextlib.closing(os.fdopen(libbpf.call("bpf_iter_create", link), "rb")) as stream:
                letters = stream.read()
            told = self.answers.setdefault(name, Answers())
            told.held += letters.count(b"h")
            told.done += letters.count(b"d")
            told.waiting += letters.count(b"w")

    def force(self, on: bool) -> None:
        """Whether a run is to tell all, and not only what is due."""
        libbpf.call("bpf_map_update_elem", self.maps["fold_words"], _FORCED, struct.pack("<Q", on), 0)

    def flush(self, make_room: Callable[[], object]) -> int:
        """Have all written that is withheld, when no program withholds any more; how many could not be."""
        if not self.links:
            return 0
        settle()
        self.force(True)
        left = 1
        for _ in range(ROUNDS):
            self.run()
            left = sum(one.waiting for one in self.answers.values())
            make_room()
            if not left:
                break
        self.force(False)
        return left

    @property
    def held(self) -> dict[str, int]:
        """Elements that stayed at the last run, by map."""
        return {SWEPT[name]: one.held + one.waiting for name, one in self.answers.items()}
