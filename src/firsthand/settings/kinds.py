"""How values are written in the settings file, where their type does not say it: sizes, ranges, paths, sockets, powers of two."""

from __future__ import annotations

import ipaddress
import re
from fractions import Fraction
from typing import Any

from firsthand.settings.declare import Notation

_RUNTIMES = ("containerd", "cri", "docker", "podman")
_UNITS = {
    "": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_MOST = 1 << 63
_TEXTS = {"type": "array", "items": {"type": "string"}}


def size(value: object) -> int:
    """Bytes: a whole number, or one with a unit such as "20GB" or "1.5 GiB". ValueError for anything else, and from 2^63 on."""
    if type(value) is int and 0 <= value < _MOST:
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", value.strip()) if isinstance(value, str) else None
    if not found or found[2] not in _UNITS:
        raise ValueError
    size = int(Fraction(found[1]) * _UNITS[found[2]])
    if size >= _MOST:
        raise ValueError
    return size


def _size_text(value: int) -> int | str:
    unit = next((unit for unit in ("TB", "GB", "MB", "kB") if value and not value % _UNITS[unit]), "")
    return f"{value // _UNITS[unit]}{unit}" if unit else value


def _power(value: object) -> int:
    if type(value) is not int or value < 4096 or value & (value - 1):
        raise ValueError
    return value


def _power_or_zero(value: object) -> int:
    return 0 if type(value) is int and not value else _power(value)


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError
    return value


def _paths(value: object) -> tuple[str, ...]:
    found = tuple(_texts(value))
    if not all(one.startswith("/") for one in found):
        raise ValueError
    return found


def _path_or_none(value: object) -> str:
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise ValueError
    return value


def _ranges(value: object) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(one)) for one in _texts(value))


def _hosts(value: object) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(one, strict=False)) for one in _texts(value))


def socket(value: str) -> str:
    """A runtime's socket as it may be named. ValueError where it names no path."""
    kind, slash, rest = value.partition("/")
    if not slash or kind not in ("", *(f"{known}:" for known in _RUNTIMES)):
        raise ValueError(f"not {value!r}")
    return f"{kind}/{rest}"


def _sockets(value: object) -> tuple[str, ...]:
    return tuple(socket(one) for one in _texts(value))


def list_of(value: tuple[Any, ...]) -> list[Any]:
    """As the file has it."""
    return list(value)


SIZE = Notation(
    "bytes such as 20000000000, '20GB' or '1.5GiB'", size, {"type": ["integer", "string"], "minimum": 0}, _size_text
)
POWER = Notation("a power of two of at least 4096", _power, {"type": "integer", "minimum": 4096})
POWER_OR_ZERO = Notation("0, or a power of two of at least 4096", _power_or_zero, {"type": "integer", "minimum": 0})
PATH_OR_NONE = Notation('an absolute path or ""', _path_or_none, {"type": "string", "pattern": "^(/.*)?$"})
RANGES = Notation("a list of ranges such as 10.0.0.0/8 or fd00::/8", _ranges, _TEXTS, list_of)
HOSTS = Notation("a list of addresses or networks", _hosts, _TEXTS, list_of)
SOCKET = f'"/path" or "KIND:/path" with KIND one of {", ".join(_RUNTIMES)}'
SOCKETS = Notation(f"a list of sockets, {SOCKET}", _sockets, _TEXTS, list_of)


def paths(example: str) -> Notation:
    """Absolute paths, with one for messages."""
    items = {"type": "string", "pattern": "^/"}
    return Notation(f'a list of absolute paths such as "{example}"', _paths, {"type": "array", "items": items}, list_of)
