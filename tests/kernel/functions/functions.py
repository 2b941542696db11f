"""Functions of kernel/include, run alone: kernel/tests/NAME.bpf.c is loaded, and each call runs it by BPF_PROG_TEST_RUN.

A program finds what it is given in the map `calls`, and adds what it found. cgroup_skb programs are run on a packet from its
network header on; raw_tp programs in the process that asks, whose memory and folder they see (net/bpf/test_run.c, Linux 6.18).
Nothing is attached, and what another observer records is not touched.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from firsthand.probe import libbpf, pins, shared
from firsthand.probe.pins import Control
from firsthand.probe.ring import Ring
from firsthand.schema import btf
from kernel import build
from tests import caches, require

_ZERO = struct.pack("<I", 0)
#: struct ethhdr: what the kernel takes off before it runs a program of a cgroup. The type says of which family the packet is.
_ETHERNET = bytes(12)
_HEADER = 8
IPV4, IPV6 = 0x0800, 0x86DD


class TestRun(ctypes.Structure):
    """struct bpf_test_run_opts (libbpf 1.0, tools/lib/bpf/bpf.h)."""

    __test__ = False

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        *((name, ctypes.c_uint32) for name in ("duration", "flags", "cpu", "batch_size")),
    )


def _objects() -> Path:
    """The folder of the compiled objects: made once for these sources."""
    files = [*build.TESTS, *sorted(build.KERNEL.glob("include/*.h")), *sorted(build.KERNEL.glob("subjects/*.h"))]
    names = [path.name for path in files]
    key = caches.key(*names, *build.FLAGS, sys.version, files=[*files, Path(build.__file__)])
    return caches.folder("functions", key, build.build_tests)


class Functions:
    """One object in the kernel, until the block ends. `maps` are descriptors by name; `control` says that somebody reads."""

    def __init__(self, name: str) -> None:
        require.bpf()
        path = _objects() / f"{name}.bpf.o"
        self._types = btf.read_object(path)
        self._handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
        libbpf.messages.lines = []
        try:
            libbpf.call("bpf_object__load", self._handle)
        except OSError as error:
            raise AssertionError("\n".join(libbpf.messages.lines)) from error
        lib = libbpf.library()
        found = libbpf.each("bpf_object__next_map", self._handle)
        self.maps = {lib.bpf_map__name(one).decode(): int(lib.bpf_map__fd(one)) for one in found}
        self._processors = libbpf.call("libbpf_num_possible_cpus")
        Control(1, 0, 0, 0).write(self.maps["control"])
        self._call = self.dtype(f"{name}_call")

    def __enter__(self) -> Functions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        libbpf.library().bpf_object__close(self._handle)

    def given(self) -> Any:
        """A `struct NAME_call`, all zeroes, to be filled."""
        return np.zeros((), self._call)

    def dtype(self, name: str) -> np.dtype[Any]:
        """A struct of the object as NumPy has it: where its members lie is what the compiler said."""
        kind = self._types.named(btf.STRUCT, name)
        assert kind is not None, f"struct {name} is not in the object"
        return _dtype(self._types, kind.number)

    def constants(self, name: str) -> Mapping[str, int]:
        """Names and values of an enum."""
        return self._types.enumerators(name)

    def get(self, name: str, key: bytes = _ZERO) -> bytes:
        """A map's value; of a map by processor, of all of them behind each other."""
        size = pins.info(self.maps[name]).value_size
        value = ctypes.create_string_buffer((size + 7) // 8 * 8 * self._processors)
        libbpf.call("bpf_map_lookup_elem", self.maps[name], key, value)
        return value.raw

    def put(self, name: str, value: bytes, key: bytes = _ZERO) -> None:
        """A map's value."""
        shared.update(self.maps[name], key, value)

    def sum(self, name: str, index: int) -> int:
        """A counter by processor, of all of them together."""
        return int(np.frombuffer(self.get(name, struct.pack("<I", index)), np.uint64).sum())

    def run(self, program: str, given: Any, packet: bytes | None = None, family: int = IPV4) -> Any:
        """What a program makes of the struct that it is given, and of a packet from its network header on."""
        self.put("calls", given.tobytes())
        options = TestRun(ctypes.sizeof(TestRun))
        if packet is not None:
            data = _ETHERNET + family.to_bytes(2, "big") + packet
            options.data_in, options.data_size_in, options.repeat = data, len(data), 1
        result = _test_run()(self._program(program), ctypes.byref(options))
        assert result == 0, f"{program}: {os.strerror(-result)}"
        assert options.retval == 1, f"{program}: it gave up"
        return np.frombuffer(self.get("calls"), self._call, 1)[0]

    def records(self) -> list[bytes]:
        """What programs have written to the ring since it was asked last (kernel/bpf/ringbuf.c: a length before each)."""
        ring = Ring(self.maps["ring"], pins.info(self.maps["ring"]).max_entries)
        consumed, produced = (page[:8].view(np.uint64) for page in (ring.consumer_page, ring.producer_page))
        found = []
        while consumed[0] < produced[0]:
            at = int(consumed[0]) % ring.size
            length = int(ring.data[at : at + 4].view(np.uint32)[0])
            found.append(ring.data[at + _HEADER : at + _HEADER + length].tobytes())
            consumed[0] += (_HEADER + length + 7) // 8 * 8
        del consumed, produced
        ring.close()
        return found

    def _program(self, name: str) -> int:
        found = libbpf.pointer("bpf_object__find_program_by_name", self._handle, name.encode())
        return libbpf.call("bpf_program__fd", found)


@cache
def _test_run() -> Any:
    function = libbpf.library().bpf_prog_test_run_opts
    function.restype, function.argtypes = ctypes.c_int, [ctypes.c_int, ctypes.c_void_p]
    return function


def _dtype(types: btf.Btf, number: int) -> np.dtype[Any]:
    kind = types.resolve(number)
    if kind.kind == btf.STRUCT:
        members = types.members(kind)
        return np.dtype(
            {
                "names": [name for name, _, _ in members],
                "formats": [_dtype(types, number) for _, number, _ in members],
                "offsets": [offset for _, _, offset in members],
                "itemsize": kind.value,
            }
        )
    if kind.kind == btf.ARRAY:
        element, _, count = struct.unpack("<III", kind.extra)
        return np.dtype((_dtype(types, element), count))
    if kind.kind == btf.PTR:
        return np.dtype("<u8")
    signed = kind.kind == btf.INT and int.from_bytes(kind.extra, "little") >> 24 & 1
    return np.dtype(f"<{'i' if signed else 'u'}{kind.value}")
