"""The rings of a real run (tests/data/rings.zip) as the kernel side of a reader: the same pages, in files instead of maps.

The reader maps the files as it maps rings: consumer page, producer page, the data twice (kernel/bpf/ringbuf.c). Counters that a reader
asks the kernel for are as they were when the rings were recorded. tests/data/record.py says what ran.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firsthand.probe import stats
from firsthand.probe.loaded import RINGS, Loaded
from firsthand.probe.pins import Control
from firsthand.schema import layout as _layout
from firsthand.schema.layout import Layout
from firsthand.wire.decode import Decoder

#: The file, and the bytes of each ring's data.
TARGET, SIZE = Path(__file__).with_name("data") / "rings.zip", 1 << 16
#: The programs in them: /bin/true recorded-N.
PROGRAMS = 10
#: Of the machine that they were recorded on.
CPUS = 2
_PAGE = mmap.PAGESIZE
_HEAD = struct.Struct("<II")
#: Bits of a record's length in its ring (include/uapi/linux/bpf.h).
BUSY, DISCARDED = 1 << 31, 1 << 30


class Recorded(Loaded):
    """What a loader would hand over. Positions and data may be changed by a test as the kernel changes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(Path("/nowhere"), -1)
        with zipfile.ZipFile(TARGET) as kept:
            self.told: dict[str, Any] = json.loads(kept.read("rings.json"))
            self.layout: Layout = _layout.parse(kept.read("layout.json").decode())
            for name, told in zip(RINGS, self.told["rings"], strict=True):
                self.maps[name] = _file(name, told, kept.read(f"{name}.bin"))
        self.maps |= {name: os.memfd_create(name) for name in ("produced", "failures", "control")}
        for number, told in enumerate(self.told["rings"]):
            self.count("produced", number, told["produced"])
        self._control = _Kept(self.state["incarnation"], 0, 0, 0)
        monkeypatch.setattr(stats, "per_cpu", _per_cpu)

    def count(self, counter: str, index: int, values: Sequence[int]) -> None:
        """Set one element of a counter, a value for each CPU."""
        os.pwrite(self.maps[counter], struct.pack(f"<{CPUS}Q", *values), 8 * CPUS * index)

    @property
    def state(self) -> dict[str, Any]:
        """What the reader before knew."""
        found: dict[str, Any] = self.told["state"]
        return found

    @property
    def control(self) -> Control:
        """Of the recorded kernel side."""
        return self._control

    def size(self, ring: str) -> int:
        """Of any."""
        return SIZE

    @property
    def decoders(self) -> dict[int, Decoder]:
        """By the layout that the records have."""
        return {self.layout.number: Decoder(self.layout, ())}

    def consumed(self, ring: int) -> int:
        """The position up to which the kernel may write anew."""
        return int(struct.unpack("<Q", os.pread(self.maps[RINGS[ring]], 8, 0))[0])

    def offsets(self, ring: int) -> list[int]:
        """Positions of the records that wait in a ring."""
        at, end = (self.told["rings"][ring][name] for name in ("consumer", "producer"))
        found = []
        while at < end:
            found.append(at)
            at += (_HEAD.size + (self._head(ring, at) & ~(BUSY | DISCARDED)) + 7) & ~7
        return found

    def _head(self, ring: int, at: int) -> int:
        return int(_HEAD.unpack(os.pread(self.maps[RINGS[ring]], _HEAD.size, 2 * _PAGE + at % SIZE))[0])

    def flag(self, ring: int, at: int, bits: int) -> None:
        """Set these bits of the head at a position, and no others: as a program that still writes, or took it back, leaves it."""
        self.write(ring, at, struct.pack("<I", self._head(ring, at) & ~(BUSY | DISCARDED) | bits))

    def write(self, ring: int, at: int, data: bytes) -> None:
        """Bytes at a position, in both of its places."""
        for place in ((at + n) % SIZE for n in range(len(data))):
            byte = data[:1]
            data = data[1:]
            for start in (0, SIZE):
                os.pwrite(self.maps[RINGS[ring]], byte, 2 * _PAGE + start + place)

    def produce(self, ring: int, end: int) -> None:
        """Set the producer position."""
        os.pwrite(self.maps[RINGS[ring]], struct.pack("<Q", end), _PAGE)


def _per_cpu(fd: int, index: int) -> list[int]:
    """As stats.per_cpu of a map: one that was never counted is 0."""
    return list(struct.unpack(f"<{CPUS}Q", os.pread(fd, 8 * CPUS, 8 * CPUS * index).ljust(8 * CPUS, b"\0")))


class _Kept(Control):
    """The recorded control, in memory."""

    def write(self, fd: int) -> None:
        pass


def _file(name: str, told: dict[str, Any], data: bytes) -> int:
    """A ring's pages in a file without a name."""
    pages = np.zeros(2 * _PAGE + 2 * SIZE, dtype=np.uint8)
    pages[:8].view(np.uint64)[0] = told["consumer"]
    pages[_PAGE : _PAGE + 8].view(np.uint64)[0] = told["producer"]
    for start in (0, SIZE):
        pages[2 * _PAGE + start : 2 * _PAGE + start + SIZE] = np.frombuffer(data, dtype=np.uint8)
    made = os.memfd_create(name)
    os.write(made, pages.tobytes())
    return made
