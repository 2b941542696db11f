"""Bytes of a ring: scan, split and decode, then as an Arrow stream that must be valid to its last offset.

Input: size of the ring, position, records at once, whether environment values are allowed (8 bytes), then the ring's content.
"""

from __future__ import annotations

import struct

import numpy as np

from firsthand.history.log import arrow, ipc
from firsthand.schema.layout import installed
from firsthand.wire import _drain
from firsthand.wire.decode import Decoder
from tests.records import record, ring

_HEAD = struct.Struct("<BBHI")
_TEXTS = (b"/usr/bin/python3.11", b"", b"\xff\xfe", "/tmp/\u202e\U0001f600".encode(), b"x" * 300)
#: Without and with values of the environment.
_DECODERS = (Decoder(installed()), Decoder(installed(), (b"LANG", b"")))
_LISTS = (b"a\0b\0", b"cat\0/etc/hostname\0--password\0", b"\0\0\0", b"LANG=C\0PATH=/bin\0=\0X", b"\xed\xa0\x80\0")


def seeds() -> dict[str, bytes]:
    """Each kind of record alone with texts of each sort, all together, one being written, and one that wraps."""
    found, whole = {}, []
    for number, kind in enumerate(installed().records.values()):
        for place in range(len(_TEXTS)):
            values: dict[str, object] = {}
            for at, field in enumerate(kind.fields):
                role = field.role.partition(":")[0]
                words = _LISTS if role in ("list", "environment") else _TEXTS
                if field.kind in ("text", "char"):
                    values[field.name] = words[(at + place) % len(words)]
                elif field.name not in ("length", "kind", "layout"):
                    values[field.name] = at + place
            raw = record(kind.event, values, kind.table)
            whole.append(raw)
            if place == number % len(_TEXTS):
                found[f"{kind.table}-{kind.event}"] = _input([raw])
    found["all"] = _input(whole[:: len(_TEXTS)], power=4)
    found["busy"] = _input(whole[:3], busy=2)
    found["wrapped"] = _input(whole[:3], start=4096 - 64)
    return found


def _input(records: list[bytes], *, power: int = 2, start: int = 0, busy: int | None = None) -> bytes:
    data, end = ring(records, 1 << (12 + power), start, busy)
    content = data[start : start + (end - start)].tobytes()
    return _HEAD.pack(power, 1, 64, start) + content


def one(data: bytes) -> None:
    """Everything that a reader of the ring does with it."""
    if len(data) < _HEAD.size:
        return
    power, allowed, most, start = _HEAD.unpack_from(data)
    size = 1 << (12 + power % 5)
    content = np.frombuffer(data[_HEAD.size : _HEAD.size + size], dtype=np.uint8)
    mapped, at = np.zeros(2 * size, dtype=np.uint8), start & ~7
    places = (at + np.arange(len(content))) % size
    mapped[places] = mapped[places + size] = content
    end = at + (len(content) + 7 & ~7)
    decoder = _DECODERS[allowed & 1]
    while at < end:
        reached, offsets, kinds, _ = _drain.scan(mapped, at, end, size, 1 + most % 512, decoder.sizes)
        assert at <= reached <= end and len(offsets) == len(kinds) <= 1 + most % 512
        if reached == at:
            return  # it is being written
        at = reached
        _decoded(decoder, mapped, offsets, kinds)


def _decoded(decoder: Decoder, mapped: np.ndarray, offsets: np.ndarray, kinds: np.ndarray) -> None:  # type: ignore[type-arg]
    for table, rows in decoder.split(mapped, offsets, kinds).items():
        batch = decoder.decode(table, rows)
        found = arrow.read(ipc.to_bytes(batch))
        found.validate(full=True)
        assert found.num_rows == len(rows)
