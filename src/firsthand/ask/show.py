"""Values made harmless for a terminal: nothing that a process chose can move the cursor, hide or forge a line."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any

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
