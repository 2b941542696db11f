"""The log's checksum is zlib's."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.history._crc import crc32

_NUMBERS = st.integers(0, (1 << 32) - 1)


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=80), st.integers(0, 80), st.integers(0, 70), _NUMBERS)
def test_it_is_that_of_zlib(seed: bytes, repeated: int, begin: int, before: int) -> None:
    """Of any length, from any address on, behind any other bytes."""
    data = memoryview(seed * repeated)[begin:]
    assert crc32(data, before) == zlib.crc32(data, before)
    assert crc32(data) == zlib.crc32(data)


def test_each_length_and_each_bit() -> None:
    """Whole blocks and what is left of them; one bit that differs is seen wherever it stands."""
    data = bytearray(range(256)) * 2
    for length in range(len(data)):
        assert crc32(memoryview(data)[:length], 7) == zlib.crc32(memoryview(data)[:length], 7)
    whole = crc32(bytes(data))
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        assert crc32(bytes(data)) != whole
        data[place] ^= 1 << place % 8
