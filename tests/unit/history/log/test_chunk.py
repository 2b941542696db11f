"""history/log/chunk.py: one chunk as bytes, and what is found behind damage. test_log.py has the log around it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.errors import DamagedError
from firsthand.history._crc import crc32
from firsthand.history.log import chunk
from firsthand.history.log.chunk import FIXED, ChunkFile, Damage, Header, Position, RingSpan, latest, pack, unpack

_SALT = 0x1122334455667788
_HEADER = Header("n", "b", 5, (RingSpan(0, 7, 0, 64),), {(0, 7): 64}, (("loss", 1, 4), ("process", 2, 3)), {"a": [1]})


def _chunk(payload: bytes = b"lossabc", offset: int = 0, salt: int = _SALT, header: Header = _HEADER) -> bytes:
    start, length = pack(header, [payload[:4], memoryview(payload)[4:]], salt, offset)
    assert length == len(start) + len(payload)
    return start + payload


def _sealed(fixed: bytes) -> bytes:
    """A fixed header with a checksum of its own that holds."""
    return fixed[:-4] + struct.pack("<I", crc32(fixed[:-4]))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[bytes], ChunkFile]]:
    """A file with these bytes, open for reading."""
    descriptors = []

    def made(data: bytes) -> ChunkFile:
        path = tmp_path / f"{len(descriptors)}.log"
        path.write_bytes(data)
        descriptors.append(os.open(path, os.O_RDONLY))
        return ChunkFile(descriptors[-1], 3)

    yield made
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_chunk_comes_back() -> None:
    """Header, place, tables in their order; its bytes are the file's."""
    raw = _chunk(offset=100)
    found = unpack(raw, Position(3, 100))
    assert found.header == _HEADER and found.raw == raw and found.rows == 3
    assert (found.position, found.next) == (Position(3, 100), Position(3, 100 + len(raw)))
    assert [(name, bytes(stream)) for name, stream in found.streams()] == [("loss", b"loss"), ("process", b"abc")]
    assert len(found.before) % 8 == 0, "the payload is aligned"


@given(place=st.integers(0, len(_chunk()) - 1), bit=st.integers(0, 7))
def test_any_bit_that_turns_is_found(place: int, bit: int) -> None:
    """Of the fixed header, the text and the payload."""
    raw = bytearray(_chunk())
    raw[place] ^= 1 << bit
    with pytest.raises(DamagedError):
        unpack(bytes(raw), Position(1, 0))


@given(length=st.integers(0, len(_chunk()) - 1))
def test_any_length_that_is_cut_is_found(length: int) -> None:
    """Too little of it is no chunk."""
    with pytest.raises(DamagedError):
        unpack(_chunk()[:length], Position(1, 0))


def test_a_chunk_of_another_place_is_none() -> None:
    """Its offset is its own: a copy elsewhere is never taken for one."""
    with pytest.raises(DamagedError, match="no chunk begins there"):
        unpack(_chunk(offset=8), Position(1, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"node": 5}, {"written": -1}, {"written": 1 << 64}, {"written": True}, {"spans": [[0, 7, 0]]}, {"spans": [[0, 7, 0, -1]]},
        {"durable": [[0, 7]]}, {"tables": [["../x", 1, 7]]}, {"tables": [["LOSS", 1, 7]]}, {"tables": [["loss", 1, 8]]},
        {"tables": [["loss", 1.0, 7]]}, {"state": []}, {"boot": None},
    ],
)  # fmt: skip
def test_a_header_that_is_none_though_its_checksum_holds(change: dict[str, Any]) -> None:
    """Whoever wrote it: types, counts, names of tables, and lengths that are not the payload's."""
    start, payload = _chunk()[: FIXED.size], b"lossabc"
    text = _chunk()[FIXED.size : -len(payload)]
    text = json.dumps(json.loads(text) | change).encode()
    fields = list(FIXED.unpack(start))
    fields[4], fields[6] = len(text), crc32(payload, crc32(text))
    raw = _sealed(FIXED.pack(*fields)) + text + payload
    with pytest.raises(DamagedError, match="its header is unreadable"):
        unpack(raw, Position(1, 0))


def test_lengths_are_bounded_before_anything_is_read() -> None:
    """A chunk that says it is longer than any is refused by its fixed header."""
    for field, value in ((3, chunk.LIMIT + 1), (4, (1 << 20) + 1)):
        fields = list(FIXED.unpack(_chunk()[: FIXED.size]))
        fields[field] = value
        with pytest.raises(DamagedError, match="its lengths"):
            unpack(_sealed(FIXED.pack(*fields)) + bytes(64), Position(1, 0))


def test_a_file_has_one_salt(opened: Callable[[bytes], ChunkFile]) -> None:
    """A chunk's image with another salt, as a row's text may have, is none of the file."""
    first = _chunk()
    file = opened(first + _chunk(offset=len(first), salt=_SALT + 1) + _chunk(offset=2 * len(first)))
    assert file.read(0) is not None
    with pytest.raises(DamagedError, match="salt"):
        file.read(len(first))
    assert file.resume(len(first)) == 2 * len(first)


def test_what_is_still_being_written_is_no_damage(opened: Callable[[bytes], ChunkFile]) -> None:
    """Where the file ends within a chunk there is none yet; it was not whole once."""
    raw = _chunk()
    for length in (0, FIXED.size - 1, FIXED.size, len(raw) - 1):
        file = opened(raw[:length])
        assert file.read(0) is None and file.skip(0) is None and not file.was_whole(0)
    assert opened(raw).skip(0) == len(raw) and opened(raw).was_whole(0)
    assert opened(b"x" * 100).was_whole(0), "its fixed header is bad: that is written first"


def test_a_walk_goes_on_behind_damage(opened: Callable[[bytes], ChunkFile]) -> None:
    """From good chunk to good chunk, with what lies between; damage up to the end has nothing behind it."""
    size = len(_chunk())
    parts = [_chunk(offset=place * size) for place in range(4)]
    parts[1] = parts[1][:-1] + b"?"
    file = opened(b"".join(parts) + b"rest")
    found = [one if isinstance(one, Damage) else one.position.offset for one in file.walk()]
    assert found == [0, Damage(size, 2 * size), 2 * size, 3 * size, Damage(4 * size, None)]
    with pytest.raises(DamagedError, match=rf"0000000000000003.log is damaged at offset {size}: its checksum"):
        file.read(size)
    assert bytes(file.pieces(size)[1]) == b"lossab?"


def test_the_last_ends_of_rings() -> None:
    """What moved last stands last; the oldest go."""
    found = latest([RingSpan(0, 1, 0, 10), RingSpan(1, 1, 0, 5), RingSpan(0, 1, 10, 30)], {(0, 1): 1, (0, 0): 99})
    assert list(found.items()) == [((0, 0), 99), ((1, 1), 5), ((0, 1), 30)]
    many = latest([RingSpan(0, number, 0, 1) for number in range(100)], {}, keep=3)
    assert list(many) == [(0, 97), (0, 98), (0, 99)]


def test_positions_are_ordered() -> None:
    """By file, then by offset."""
    assert sorted([Position(2, 0), Position(1, 900), Position(1, 8)]) == [
        Position(1, 8),
        Position(1, 900),
        Position(2, 0),
    ]
    assert replace(_HEADER, state={}) != _HEADER
