"""Values of every type that DuckDB gives, as MessagePack takes them and back, unchanged.

MessagePack has numbers of 64 bits, text, bytes, lists and maps; the others are its extension types, numbered by `_TYPES`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec

_PLAIN = (str, float, bool, type(None), bytes)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
#: The integers that MessagePack has.
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


def packed(value: Any) -> Any:
    """Returns a value in the form for MessagePack. Raises TypeError for a type that DuckDB does not have."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if _LEAST <= value <= _MOST else _extension(_INTEGER, str(value))
    if kind is list:
        return [packed(one) for one in value]
    if kind is dict:
        if all(type(key) is str for key in value):
            return {key: packed(one) for key, one in value.items()}
        return _extension(_PAIRS, [[packed(key), packed(one)] for key, one in value.items()])
    if kind is datetime and value.tzinfo is None:
        return _extension(_MOMENT, (value - _EPOCH) // _MICROSECOND)
    return _rarer(kind, value)


def _rarer(kind: type, value: Any) -> Any:
    for code, (known, pack, _) in _TYPES.items():
        if kind is known:
            return _extension(code, pack(value))
    raise TypeError(f"{kind.__module__}.{kind.__name__}")


def _extension(code: int, value: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, msgspec.msgpack.encode(value))


def unpacked(code: int, data: memoryview) -> Any:
    """Returns the value of an extension type. Raises ValueError for an unknown type or wrong content."""
    try:
        _, _, unpack = _TYPES[code]
        return unpack(msgspec.msgpack.decode(data, ext_hook=unpacked))
    except (KeyError, TypeError, OverflowError, ArithmeticError) as error:
        raise ValueError(f"a value of type {code} that is none") from error


def _numbers(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


_Pack = Callable[[Any], Any]
_INTEGER, _PAIRS, _MOMENT = 1, 2, 3
_TYPES: dict[int, tuple[type | None, _Pack, _Pack]] = {
    _INTEGER: (None, str, int),
    _PAIRS: (None, list, dict),
    _MOMENT: (None, int, lambda number: _EPOCH + number * _MICROSECOND),
    4: (datetime, datetime.isoformat, datetime.fromisoformat),
    5: (date, date.isoformat, date.fromisoformat),
    6: (time, time.isoformat, time.fromisoformat),
    7: (timedelta, _numbers, lambda numbers: timedelta(*numbers)),
    8: (Decimal, str, Decimal),
    9: (uuid.UUID, str, uuid.UUID),
    10: (tuple, lambda value: [packed(one) for one in value], tuple),
}
