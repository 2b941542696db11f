"""Secrets leave the arguments before anything reaches the disk.

Linear time throughout: RE2 only. One scan of the whole batch for literal keywords finds the rows worth a look; each of
these is handled alone, its arguments joined with NUL. A batch without a hit comes back as the very same object.
A user's patterns have no known keywords: with them every row is searched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import re2
from numpy.typing import NDArray

from firsthand.errors import RedactionError
from firsthand.wire.batch import Lists, Mask, Text, text
from firsthand.wire.patterns import RULES, Pattern, Rule

__all__ = ["Pattern", "Redacted", "RedactedText", "Redactor", "compile_redactor"]

Mode = Literal["mask", "hash", "drop"]
Span = tuple[int, int]

MAX_PATTERNS = 64
MAX_EXPRESSION = 512
MASKED = b"[redacted]"
_MEMORY = 8 << 20
_USER_MEMORY = 1 << 20


@dataclass
class Redacted:
    """A column of arguments without secrets; which rows changed; and by which patterns (null: none)."""

    args: Lists
    redacted: NDArray[np.bool_]
    patterns: Text


@dataclass
class RedactedText:
    """A column of NUL separated arguments without secrets, as `Redacted`."""

    column: Text
    redacted: NDArray[np.bool_]
    patterns: Text


@dataclass(frozen=True)
class _Matcher:
    """A compiled rule."""

    name: str
    regexp: Any
    group: str | int
    keywords: tuple[bytes, ...] = ()
    unless: Any = None
    program: Any = None
    again: bool = False

    def concerns(self, row: bytes, lower: bytes) -> bool:
        """Whether the row may match: a cheap look before the expression."""
        if self.keywords and not any(word in lower for word in self.keywords):
            return False
        return self.program is None or self.program.search(row) is not None

    def spans(self, row: bytes) -> Iterator[Span]:
        """Where this rule's secrets stand in the row."""
        group = self.regexp.groupindex[self.group.encode()] if isinstance(self.group, str) else self.group
        position = 0
        while (match := self.regexp.search(row, position)) is not None:
            start, end = match.span(group)
            position = max(match.end(), position + 1)
            if self.unless is not None and self.unless.search(match.group()) is not None:
                if start > match.start():
                    position = max(match.start() + 1, start - 1)
                continue
            if end > start:
                yield start, end
            if self.again and row[start : start + 1] == b"-":
                position = start - 1
            if position >= len(row):
                return


class Redactor:
    """Takes secrets out of whole columns. Make one with `compile_redactor`; safe to use again and again."""

    def __init__(self, user: Sequence[_Matcher], mode: Mode, key: bytes) -> None:
        self.mode = mode
        self._key = key if 0 < len(key) <= 64 else blake2b(key).digest()
        self._matchers = [*(_matcher(rule) for rule in RULES), *user]
        self._every_row = bool(user)
        words = sorted({word for rule in RULES for word in rule.keywords})
        self._keywords = _compile("|".join(re2.escape(word) for word in words), _MEMORY)

    def apply(self, args: Lists) -> Redacted:
        """The column without secrets; the same object where there are none."""
        valid = _valid(args.valid, len(args))
        if self.mode == "drop":
            return Redacted(_emptied(args), valid, _labels(valid, b"dropped"))
        if self.mode == "hash":
            items = _splice(args.items, self._hashed_items(args, valid))
            return Redacted(Lists(args.offsets, items, args.valid), valid, _labels(valid, b"hashed"))
        changed: dict[int, bytes] = {}
        names: dict[int, bytes] = {}
        for row in self._suspects(args.items, args.items.offsets[args.offsets], valid):
            items_before = args.row(row)
            items_after, found = self._row(items_before)
            if found:
                names[row] = found
                first = int(args.offsets[row])
                changed.update((first + i, item) for i, item in enumerate(items_after) if item != items_before[i])
        redacted, patterns = _found(len(args), names)
        if not names:
            return Redacted(args, redacted, patterns)
        return Redacted(Lists(args.offsets, _splice(args.items, changed), args.valid), redacted, patterns)

    def apply_text(self, column: Text) -> RedactedText:
        """The same for rows that hold their arguments as one block, separated by NUL."""
        valid = _valid(column.valid, len(column))
        if self.mode == "drop":
            emptied = Text(np.zeros_like(column.offsets), np.zeros(0, dtype=np.uint8), column.valid)
            return RedactedText(emptied, valid, _labels(valid, b"dropped"))
        if self.mode == "hash":
            hashed = {int(row): self._hashed_block(column.row(int(row))) for row in np.flatnonzero(valid)}
            return RedactedText(_splice(column, hashed), valid, _labels(valid, b"hashed"))
        changed: dict[int, bytes] = {}
        names: dict[int, bytes] = {}
        for row in self._suspects(column, column.offsets, valid):
            items, found = self._row(column.row(row).split(b"\0"))
            if found:
                names[row], changed[row] = found, b"\0".join(items)
        redacted, patterns = _found(len(column), names)
        return RedactedText(_splice(column, changed) if changed else column, redacted, patterns)

    def _suspects(self, content: Text, bounds: NDArray[np.int32], valid: NDArray[np.bool_]) -> list[int]:
        """Rows with a keyword; row i is content.data[bounds[i]:bounds[i + 1]]."""
        if self._every_row:
            return [int(row) for row in np.flatnonzero(valid)]
        rows: list[int] = []
        data, ends = content.data.tobytes(), bounds[1:]
        position, stop = int(bounds[0]), int(bounds[-1])
        while position < stop and (match := self._keywords.search(data, position, stop)) is not None:
            # A hit across two rows may have swallowed the second row's own: both are looked at.
            first, last = (int(row) for row in ends.searchsorted((match.start(), match.end() - 1), side="right"))
            rows.extend(row for row in range(first, last + 1) if valid[row])
            position = int(ends[last])
        return rows

    def _row(self, items: list[bytes]) -> tuple[list[bytes], bytes]:
        """One row's items without secrets, and the names of the patterns that matched, b"" for none."""
        row = b"\0".join(items)
        lower = row.lower()
        spans: list[Span] = []
        names: dict[str, None] = {}
        for matcher in self._matchers:
            if matcher.concerns(row, lower) and (found := list(matcher.spans(row))):
                spans += found
                names[matcher.name] = None
        return (_masked(items, _merged(spans)) if spans else items), ",".join(names).encode()

    def _hashed_items(self, args: Lists, valid: NDArray[np.bool_]) -> dict[int, bytes]:
        rows = np.flatnonzero(valid)
        each = (range(int(args.offsets[row]) + 1, int(args.offsets[row + 1])) for row in rows)
        return {index: self._hash(args.items.row(index)) for indexes in each for index in indexes}

    def _hashed_block(self, block: bytes) -> bytes:
        end = b"\0" if block.endswith(b"\0") else b""
        first, *others = block.removesuffix(b"\0").split(b"\0")
        return b"\0".join([first, *map(self._hash, others)]) + end

    def _hash(self, item: bytes) -> bytes:
        return b"hash:" + blake2b(item, key=self._key, digest_size=8).hexdigest().encode()


def compile_redactor(patterns: Sequence[Pattern] = (), mode: Mode = "mask", key: bytes | None = None) -> Redactor:
    """A redactor with the default patterns and the user's.

    `key` is for mode hash; without one a random key is made, and hashes compare within this redactor only.
    RedactionError for a pattern that cannot be used.
    """
    if mode not in ("mask", "hash", "drop"):
        raise RedactionError(f"redaction mode must be mask, hash or drop, found {mode!r}; correct the setting")
    if len(patterns) > MAX_PATTERNS:
        raise RedactionError(
            f"at most {MAX_PATTERNS} redaction patterns, found {len(patterns)}; join some with | or leave some out"
        )
    return Redactor([_user_matcher(pattern) for pattern in patterns], mode, key or os.urandom(32))


def _user_matcher(pattern: Pattern) -> _Matcher:
    """A user's pattern, or the reason against it."""
    name = f"redaction pattern {pattern.name!r}"
    if not pattern.name or "," in pattern.name:
        raise RedactionError(f"{name}: a name is needed, without commas; rename it")
    if len(pattern.expression) > MAX_EXPRESSION:
        found = len(pattern.expression)
        raise RedactionError(f"{name}: at most {MAX_EXPRESSION} characters, found {found}; shorten or divide it")
    try:
        regexp = _compile(pattern.expression, _USER_MEMORY)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise RedactionError(
            f"{name}: RE2 cannot compile it ({reason}); use RE2's syntax: no look-around, no back-references, "
            "repetitions of at most 1000"
        ) from error
    # \b and the like match nothing in an empty text, and the empty string in others.
    if any((match := regexp.search(probe)) is not None and not match.group() for probe in (b"", b"a", b"a b", b"-\n")):
        raise RedactionError(f"{name}: it matches the empty string; demand one character at least, as with + for *")
    return _Matcher(pattern.name, regexp, "secret" if b"secret" in regexp.groupindex else 0)


def _matcher(rule: Rule) -> _Matcher:
    return _Matcher(
        rule.name,
        _compile(rule.expression, _MEMORY),
        "secret",
        tuple(word.encode() for word in rule.keywords),
        _compile(rule.unless, _MEMORY) if rule.unless else None,
        _compile(rule.program, _MEMORY) if rule.program else None,
        rule.again,
    )


def _compile(expression: str, memory: int) -> Any:
    """RE2 over bytes. What Latin-1 lacks stands in the data as UTF-8, and so in the expression."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = memory
    return re2.compile(expression.encode(), options)


def _valid(mask: Mask, length: int) -> NDArray[np.bool_]:
    return np.ones(length, dtype=bool) if mask is None else mask.copy()


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that overlap made one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _masked(items: list[bytes], spans: list[Span]) -> list[bytes]:
    """The items with the spans of their NUL joined row replaced; a span over several items masks in each."""
    result: list[bytes] = []
    base = index = 0
    for item in items:
        end = base + len(item)
        pieces: list[bytes] = []
        position = base
        while index < len(spans) and spans[index][0] < end:
            start, stop = max(spans[index][0], base), min(spans[index][1], end)
            if stop > start:
                pieces += (item[position - base : start - base], MASKED)
                position = stop
            if spans[index][1] > end:
                break
            index += 1
        result.append(b"".join((*pieces, item[position - base :])))
        base = end + 1
    return result


def _splice(column: Text, changed: dict[int, bytes]) -> Text:
    """The column with some rows' bytes replaced."""
    data = memoryview(np.ascontiguousarray(column.data))
    lengths = np.diff(column.offsets)
    pieces: list[bytes | memoryview] = []
    position = int(column.offsets[0])
    for index, value in sorted(changed.items()):
        pieces += (data[position : int(column.offsets[index])], value)
        position = int(column.offsets[index + 1])
        lengths[index] = len(value)
    pieces.append(data[position : int(column.offsets[-1])])
    offsets = np.zeros_like(column.offsets)
    np.cumsum(lengths, out=offsets[1:])
    return Text(offsets, np.frombuffer(b"".join(pieces), dtype=np.uint8), column.valid)


def _emptied(args: Lists) -> Lists:
    return Lists(np.zeros_like(args.offsets), text([]), args.valid)


def _labels(valid: NDArray[np.bool_], label: bytes) -> Text:
    return text([label if there else b"" for there in valid], None if valid.all() else valid)


def _found(length: int, names: dict[int, bytes]) -> tuple[NDArray[np.bool_], Text]:
    """Which rows changed, and the names of what matched there."""
    redacted = np.zeros(length, dtype=bool)
    redacted[list(names)] = True
    offsets = np.zeros(length + 1, dtype=np.int32)
    for row, name in names.items():
        offsets[row + 1] = len(name)
    joined = b"".join(names[row] for row in sorted(names))
    np.cumsum(offsets, out=offsets)
    return redacted, Text(offsets, np.frombuffer(joined, dtype=np.uint8), None if redacted.all() else redacted)
