"""Values made harmless for a terminal: nothing that a process chose can move the cursor, hide or forge a line."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any

from firsthand.schema import capability

#: Unicode general categories that are escaped: controls, formats (bidirectional overrides), surrogates, private,
#: unassigned, line and paragraph separators.
_HARMFUL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
SAFE_INTEGER = 1 << 53


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


def cell(value: Any) -> str:
    """Any value as one harmless piece of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, list):
        return " ".join(cell(item) for item in value)
    return printable(str(value))


def place(row: dict[str, Any]) -> str:
    """Where a row happened: pod/container by name, a container's name, the beginning of its id, or host. Harmless."""
    if not row["container"]:
        return "host"
    name = row.get("container_name")
    if row.get("pod"):
        return printable(f"{row['pod']}/{name}" if name else str(row["pod"]))
    return printable(str(name)) if name else str(row["container"])[:12]


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
    """A value as JSON takes it: times ISO with Z, bytes escaped, integers beyond 2^53 as text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return str(value)
    return value
