"""Values made harmless for a terminal: nothing that a process chose can move the cursor, hide or forge a line."""

from __future__ import annotations

import math
import unicodedata
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from firsthand.schema import capability

#: Unicode general categories that are escaped: controls, formats (bidirectional overrides), surrogates, private,
#: unassigned, line and paragraph separators.
_HARMFUL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
SAFE_INTEGER = 1 << 53
#: The column of a table that `place` gives.
WHERE = "where"


def printable(text: str) -> str:
    """Control characters, terminal escapes, newlines, bidirectional marks as \\x1b, \\n, \\u202e; the rest as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) in _HARMFUL:
        return character.encode("unicode_escape").decode()
    return character


def arguments(values: list[str] | None) -> str:
    """A command line as a shell would take it, harmless."""
    import shlex

    return " ".join(printable(shlex.quote(value)) for value in values or [])


def escaped(value: bytes) -> str:
    """Bytes as text, reversibly: what is not UTF-8 as \\xNN, a backslash doubled."""
    return value.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def program(exe: str | None, args: list[str] | None) -> str:
    """A binary with its arguments, harmless; argv[0] in brackets where it is another word: `/bin/busybox (sleep) 600`."""
    called = (args or [""])[0]
    other = called.rpartition("/")[2].removeprefix("-") not in ("", (exe or "").rpartition("/")[2])
    words = [printable(exe or "?"), f"({printable(called)})" if other else "", arguments((args or [])[1:])]
    return " ".join(word for word in words if word)


def cell(value: Any) -> str:
    """Any value as one harmless piece of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, bytes):
        return printable(escaped(value))
    if isinstance(value, (list, tuple)):
        return " ".join(cell(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{cell(key)}={cell(item)}" for key, item in value.items())
    return printable(str(value))


#: Columns that name whose a row is.
_NAMES = ("pod", "container_name", "container")


def doubted(row: dict[str, Any], name: str) -> Any:
    """A value of a row for a table: `place` for WHERE, and a `?` behind a name that a cgroup's path says and no runtime confirmed."""
    if name == WHERE:
        return place(row)
    value = row.get(name)
    return f"{value}?" if value and name in _NAMES and row.get("claimed") else value


def place(row: dict[str, Any]) -> str:
    """Where a row happened: pod/container by name, a container's name, the beginning of its id, or host. Harmless.

    A `?` stands behind what a cgroup's path says and no runtime confirmed.
    """
    if not row["container"]:
        return "host"
    doubt = "?" if row.get("claimed") else ""
    name = row.get("container_name")
    if row.get("pod"):
        return printable(f"{row['pod']}/{name}" if name else str(row["pod"])) + doubt
    return (printable(str(name)) if name else str(row["container"])[:12]) + doubt


_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def size(number: int) -> str:
    """Bytes with a unit, three digits."""
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 999.5 * unit else f"{number / unit:.0f} {name}"
    return f"{number} B"


def end(address: str | None, port: int | None) -> str | None:
    """One end of a connection: ADDRESS:PORT, an IPv6 one in brackets; None where there is none."""
    if address is None:
        return None
    host = f"[{address}]" if ":" in address else address
    return host if port is None else f"{host}:{port}"


def beyond(bits: int | None, ordinary: int) -> str | None:
    """A set of capabilities in a word: all, none beyond the ordinary set, or what goes beyond; None where it is not known."""
    if bits is None:
        return None
    every = (1 << len(capability.NAMES)) - 1
    return "all" if bits & every == every else " ".join(capability.names(bits & ~ordinary)) or "none"


def plain(value: Any) -> Any:
    """A value of any of DuckDB's types as JSON takes it: times ISO with Z, durations in seconds, bytes escaped; as text what a number
    of JSON would not keep: integers beyond 2^53, decimals of more digits, what is no number; and whatever else there is."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (int, float, Decimal, timedelta)):
        return _number(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds") + ("Z" if value.tzinfo is None else "")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return escaped(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else cell(key): plain(item) for key, item in value.items()}
    return str(value)


def _number(value: float | Decimal | timedelta) -> int | float | str:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int):
        return value if abs(value) <= SAFE_INTEGER else str(value)
    if not math.isfinite(value):
        return str(value)
    return value if isinstance(value, float) else _decimal(value)


def _decimal(value: Decimal) -> int | float | str:
    """As a number where that has the same value."""
    near = float(value)
    if Decimal(repr(near)) != value:
        return str(value)
    return int(near) if near.is_integer() and abs(near) <= SAFE_INTEGER else near
