from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES: frozenset[int]
Bytes = memoryview | bytes | NDArray[np.uint8]

_Rows = NDArray[np.uint32]
_Kinds = NDArray[np.uint8]
_Fields = NDArray[np.int32]
ListParts = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_], int]

def position(page: Bytes) -> int: ...
def release(page: Bytes, to: int) -> None: ...
def scan(
    data: Bytes, start: int, end: int, size: int, most: int, sizes: NDArray[np.uint32]
) -> tuple[int, _Rows, _Kinds, int]: ...
def numbers(
    data: Bytes,
    rows: _Rows,
    kinds: _Kinds,
    fields: _Fields,
    same: NDArray[np.int32],
    codes: NDArray[np.int32],
    outs: NDArray[np.uint64],
) -> None: ...
def texts(
    data: Bytes, rows: _Rows, kinds: _Kinds, fields: _Fields, sizes: NDArray[np.int32]
) -> tuple[NDArray[np.int32], list[NDArray[np.uint8]], NDArray[np.bool_], NDArray[np.bool_], int]: ...
def lists(data: Bytes, rows: _Rows, kinds: _Kinds, fields: _Fields) -> ListParts: ...
def environments(data: Bytes, rows: _Rows, kinds: _Kinds, fields: _Fields) -> ListParts: ...
def allowed_environments(
    data: Bytes, rows: _Rows, kinds: _Kinds, fields: _Fields, allowed: Collection[bytes]
) -> ListParts: ...
def distinct(values: NDArray[Any]) -> tuple[NDArray[np.int32], list[int]] | None: ...
def spread(
    codes: NDArray[np.int32], words: NDArray[np.uint8], lengths: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]: ...
def repeats(offsets: NDArray[np.int32], items: NDArray[np.int32], data: Bytes) -> NDArray[np.int32]: ...
