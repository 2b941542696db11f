"""Rows as aligned columns within the width of a terminal: a long value continues on the next line, and nothing is cut.

Where even that does not fit, each row is a block of lines, one for each value, as psql's expanded display has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.cells import cell_len, chop_cells

_GAP = "  "
#: A column is not made narrower than this many cells (a terminal's), where its values are longer.
_LEAST = 12


def width_of(to: TextIO) -> int | None:
    """Cells in a line of a terminal (COLUMNS overrides it); None where `to` is no terminal: lines may have any length. COLUMNS alone proves
    nothing: GNU readline sets it in the environment of every child."""
    if not to.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    try:
        return int(told) if told.isdecimal() and int(told) else os.get_terminal_size(to.fileno()).columns or None
    except OSError:
        return None


def lines(names: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """A line of heads and the rows. `rows` are harmless texts; in a bounded width columns without any value are left out."""
    if width is not None:
        used = [i for i in range(len(names)) if any(row[i] for row in rows)] or [*range(len(names))]
        names, rows = [names[i] for i in used], [[row[i] for i in used] for row in rows]
    wanted = [max([_cells(name), *(_cells(row[i]) for row in rows)]) for i, name in enumerate(names)]
    room = sum(wanted) if width is None else width - len(_GAP) * (len(wanted) - 1)
    least = [min(most, max(_cells(name), _LEAST)) for name, most in zip(names, wanted, strict=True)]
    if sum(least) > room:
        yield from _blocks(names, rows, width or room)
        return
    widths = _shared(least, wanted, room)
    for row in [names, *rows]:
        yield from _row(row, widths)


def _shared(least: Sequence[int], wanted: Sequence[int], room: int) -> list[int]:
    """Widths: the spare room is shared equally among the columns that need more."""
    widths = list(least)
    spare = room - sum(widths)
    while spare > 0 and (short := [i for i, width in enumerate(widths) if width < wanted[i]]):
        for i in short[:spare]:
            widths[i] += 1
        spare -= min(spare, len(short))
    return widths


def _row(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """One row, in as many lines as its longest value needs."""
    folded = [_folded(text, width) for text, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, folded))):
        parts = [one[number] if number < len(one) else "" for one in folded]
        padded = (part + " " * (width - _cells(part)) for part, width in zip(parts, widths, strict=True))
        yield _GAP.join(padded).rstrip()


def _blocks(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Each row with the name of a value before it, only what has one; an empty line between two rows."""
    head = max(map(_cells, names))
    room = max(width - head - len(_GAP), _LEAST)
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, text in zip(names, row, strict=True):
            if text:
                yield from named(name, text, head, room)


def paragraph(text: str, width: int | None, indent: str = "") -> str:
    """A text between whose words lines break, those after the first behind an indent."""
    if width is None or _cells(text) <= width:
        return text
    lead = text[: len(text) - len(text.lstrip(" "))]
    first, *rest = _folded(text.lstrip(" "), max(width - max(len(lead), len(indent)), 1))
    return f"\n{indent}".join([lead + first, *rest])


def named(name: str, text: str, head: int, room: int | None) -> Iterator[str]:
    """A value behind its name, which gets `head` cells: in lines of at most `room` cells more."""
    for number, part in enumerate([text] if room is None else _folded(text, room)):
        yield f"{'' if number else name:<{head}}{_GAP}{part}"


def _folded(text: str, width: int) -> list[str]:
    """In lines of at most so many cells: between words, and within one only where it is longer than a line."""
    if _cells(text) <= width:
        return [text]
    found, line = [], ""
    for word in text.split(" "):
        if line and _cells(line) + 1 + _cells(word) > width:
            found.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
        if _cells(line) > width:
            *whole, line = chop_cells(line, width)
            found += whole
    return [*found, line]


def _cells(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)
