"""Redaction before the first durable byte: secrets in arguments are replaced, whole columns at a time.

The rows of a batch are joined into one buffer, a newline before each row and a NUL between arguments; newlines inside
arguments show there as carriage returns. Expressions are compiled so that they never match a newline (RE2's never_nl), which
makes it the engine's law, not the pattern's, that a match stays in its row. One cheap scan finds the rows in question, the
exact patterns see only those. Python objects exist per match, never per row. RE2 runs in linear time over bytes (Latin-1).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import re2
from numpy.typing import NDArray

from firsthand.errors import RedactionError
from firsthand.wire import _drain, commands
from firsthand.wire.batch import Batch, Fixed, Lists, Text, rows_of
from firsthand.wire.patterns import DEFAULTS, Pattern
from firsthand.wire.programs import Program, table

__all__ = ["DROP", "HASH", "MASK", "Mode", "Pattern", "Redacted", "RedactedText", "Redactor", "compile_redactor"]

Mode = Literal["mask", "hash", "drop"]
#: Modes of single rows: replace secrets, keep a keyed hash of each argument, keep none.
MASK, HASH, DROP = 0, 1, 2
MODES: dict[str, int] = {"mask": MASK, "hash": HASH, "drop": DROP}
#: What stands in a secret's place.
MARK = b"[redacted]"
MAX_PATTERNS = 64
MAX_LENGTH = 512
#: Bytes of RE2's program and state cache, for each user pattern and for each of ours.
USER_MEMORY = 512 << 10
OWN_MEMORY = 8 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_EMPTY_PROBES = (b"", b"a", b"\na \x00-1\n")
_RESERVED = frozenset({"hashed", "dropped"} | {pattern.name for pattern in DEFAULTS})

Spans = NDArray[np.int64]


@dataclass
class Redacted:
    """Redacted lists; `redacted` is true where a row was changed, `patterns` (null elsewhere) names by what."""

    args: Lists
    redacted: NDArray[np.bool_]
    patterns: Text


@dataclass
class RedactedText:
    """A redacted column of strings or of blocks of NUL-separated arguments."""

    column: Text
    redacted: NDArray[np.bool_]
    patterns: Text


@dataclass
class _Change:
    """Replace bytes start to end of `items`' data, within one item, by `by`, because of `names`."""

    start: int
    end: int
    item: int
    by: bytes
    names: set[str]


def compile_redactor(
    user_patterns: Sequence[Pattern] = (),
    mode: Mode = "mask",
    key: bytes | None = None,
    programs: Sequence[Program] = (),
) -> Redactor:
    """A redactor with the default patterns and the user's, with the packaged programs and the user's.

    RedactionError, saying what to do, for more than 64 patterns, more than 512 characters, a name that cannot stand in a
    comma separated list, what RE2 does not have (back-references, look-around), and what could match nothing or leave its
    row. Without a key hashes get a random one: equal within this redactor's life only.
    """
    if mode not in MODES:
        raise RedactionError(f"redaction mode is one of mask, hash, drop; found {mode!r}")
    if len(user_patterns) > MAX_PATTERNS:
        raise RedactionError(f"at most {MAX_PATTERNS} redaction patterns; found {len(user_patterns)}: join some with |")
    seen: set[str] = set()
    for pattern in user_patterns:
        _check(pattern, seen)
    return Redactor([*DEFAULTS, *user_patterns], table(programs), MODES[mode], key)


def _check(pattern: Pattern, seen: set[str]) -> None:
    where = f"redaction pattern {pattern.name!r}"
    if not _NAME.fullmatch(pattern.name) or pattern.name in _RESERVED or pattern.name in seen:
        raise RedactionError(f"{where}: its name must be new, of a-z 0-9 _ . - and at most 64 characters: rename it")
    seen.add(pattern.name)
    if len(pattern.expression) > MAX_LENGTH:
        raise RedactionError(
            f"{where}: at most {MAX_LENGTH} characters, found {len(pattern.expression)}: split it in two"
        )
    if re.search(r"(?<!\\)(?:\\\\)*\\[CAz]", pattern.expression):
        raise RedactionError(f"{where}: \\A, \\z and \\C cannot be used on rows of a batch: write ^, $ and . instead")
    compiled = _compile(pattern, USER_MEMORY)
    if any(m.start() == m.end() for probe in _EMPTY_PROBES for m in compiled.finditer(probe)):
        raise RedactionError(f"{where}: it can match nothing at all: ask for at least one character, + in place of *")


def _options(memory: int) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.never_nl = True
    options.log_errors = False
    options.max_mem = memory
    return options


def _compile(pattern: Pattern, memory: int) -> Any:
    expression = re.sub(r"(?<!\\)((?:\\\\)*)\\n", r"\1\\r", pattern.expression)
    try:
        return re2.compile(b"(?m)" + expression.encode(), _options(memory))
    except re2.error as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise RedactionError(
            f"redaction pattern {pattern.name!r}: not in RE2's syntax (no back-references, no look-around, bounded size): {reason}"
        ) from None


def _hint(patterns: Sequence[Pattern]) -> Any:
    hints = dict.fromkeys(p.hint or re.sub(r"\(\?P?<[^>]*>", "(?:", p.expression) for p in patterns)
    return _compile(Pattern("all together", "|".join(f"(?:{hint})" for hint in hints)), OWN_MEMORY * 2)


class Redactor:
    """Compiled patterns and a mode. Holds nothing of the rows that it saw; one thread at a time."""

    def __init__(self, patterns: Sequence[Pattern], programs: Sequence[Program], mode: int, key: bytes | None) -> None:
        self.mode = mode
        self._key = hashlib.blake2b(key or secrets.token_bytes(32)).digest()
        self._patterns = [
            (p.name, *_groups(_compile(p, OWN_MEMORY if p in DEFAULTS else USER_MEMORY))) for p in patterns
        ]
        self._order = {name: place for place, (name, _, _) in enumerate(self._patterns)}
        self._programs = commands.ProgramTable(programs, lambda one: _compile(Pattern("programs", one), OWN_MEMORY))
        self._hint = _hint(patterns)

    def apply(self, args: Lists, modes: NDArray[np.int8] | None = None) -> Redacted:
        """Lists of arguments, redacted; `modes` (n, of MASK, HASH, DROP) overrides the mode row by row.

        In HASH rows every argument but the first becomes `hash:` and 16 hex digits (keyed BLAKE2b); DROP rows become empty.
        Offsets may begin anywhere; the result's begin at zero.
        """
        args = _packed(args)
        if not len(args.items):
            return Redacted(args, np.zeros(len(args), dtype=bool), _names(len(args), {}))
        chosen = self._modes(len(args), modes)
        first = args.offsets[:-1]
        changes = self._masks(args.items, args.offsets)
        if chosen.any():
            changes = self._moded(args, changes, chosen, _tails(args.items, first))
        items, rows = _spliced(args.items, changes), _by_row(changes, args.offsets)
        lists = Lists(args.offsets, items, args.valid)
        if (chosen == DROP).any():
            lists = _dropped(lists, chosen == DROP, rows)
        return Redacted(lists, _flags(len(args), rows), _names(len(args), self._sorted(rows)))

    def apply_text(self, column: Text, modes: NDArray[np.int8] | None = None) -> RedactedText:
        """Strings, or blocks of NUL-separated arguments, by the same rules: a whole string counts as the first argument.

        DROP rows become null. For columns that are no arguments pass modes of MASK.
        """
        args = _packed(Lists(np.arange(len(column) + 1, dtype=np.int32), column))
        chosen = self._modes(len(column), modes)
        changes = self._masks(args.items, args.offsets)
        if chosen.any():
            changes = self._moded(args, changes, chosen, _block_tails(args.items))
        rows = _by_row(changes, args.offsets)
        found = _spliced(args.items, changes)
        found.valid = column.valid
        if (chosen == DROP).any():
            found = _emptied(found, chosen == DROP, rows)
        return RedactedText(found, _flags(len(column), rows), _names(len(column), self._sorted(rows)))

    def _modes(self, rows: int, modes: NDArray[np.int8] | None) -> NDArray[np.int8]:
        chosen = np.full(rows, self.mode, dtype=np.int8) if modes is None else modes
        if len(chosen) != rows:
            raise RedactionError(f"a mode for each row: expected {rows}, found {len(chosen)}")
        return chosen

    def _masks(self, items: Text, offsets: NDArray[np.int32]) -> list[_Change]:
        """What is to be masked. The same command line comes again and again: of equal rows one is looked at."""
        first = _drain.repeats(offsets, items.offsets, items.data)
        rows = np.flatnonzero(first == np.arange(len(first)))
        begins = items.offsets[offsets]
        if 2 * int((begins[rows + 1] - begins[rows]).sum()) > int(begins[-1]):
            return self._masked(items, offsets)
        some = rows_of(Lists(offsets, items), rows)
        assert isinstance(some, Lists)
        return _repeated(
            self._masked(some.items, some.offsets), some, Lists(offsets, items), np.searchsorted(rows, first)
        )

    def _masked(self, items: Text, offsets: NDArray[np.int32]) -> list[_Change]:
        buffer = _joined(items, offsets)
        spans = [*self._in_text(buffer), *self._programs.spans(buffer)]
        found = [
            (low, high, names) for start, end, names in _merged(spans) for low, high in _without_nul(buffer, start, end)
        ]
        if not found:
            return []
        bounds = items.offsets.astype(np.int64) + np.arange(len(items) + 1)
        of = (np.searchsorted(bounds, [low for low, _, _ in found], side="right") - 1).tolist()
        return [
            _Change(low - i - 1, high - i - 1, i, MARK, names) for (low, high, names), i in zip(found, of, strict=True)
        ]

    def _in_text(self, buffer: bytes) -> Iterator[tuple[int, int, str]]:
        piece, starts, shifts = _pieces(buffer, self._hint)
        for start, end, name in self._spans(piece) if piece else ():
            shift = shifts[bisect_right(starts, start) - 1]
            yield start + shift, end + shift, name

    def _spans(self, piece: bytes) -> Iterator[tuple[int, int, str]]:
        for name, compiled, groups in self._patterns:
            for match in compiled.finditer(piece):
                for group in groups:
                    start, end = match.span(group)
                    if end > start:
                        yield start, end, name

    def _moded(self, args: Lists, masks: list[_Change], modes: NDArray[np.int8], tails: Spans) -> list[_Change]:
        """Masks of MASK rows and of first arguments, and a hash for each other argument of HASH rows; DROP rows need none."""
        rows = np.searchsorted(args.offsets, [change.item for change in masks], side="right") - 1
        kept = [c for c, row in zip(masks, rows, strict=True) if modes[row] == MASK]
        hashed = tails[modes[np.searchsorted(args.offsets, tails[:, 2], side="right") - 1] == HASH]
        first = {int(start) for start in hashed[:, 0]}
        for change, row in zip(masks, rows, strict=True):
            if modes[row] == HASH and not _within(change, tails):
                kept.append(change)
        data = args.items.data
        for start, end, item in hashed.tolist():
            kept.append(_Change(start, end, item, self._hashed(data[start:end].tobytes()), {"hashed"}))
        return sorted(kept, key=lambda change: (change.start, change.item, change.end)) if first or kept else []

    def _hashed(self, argument: bytes) -> bytes:
        return b"hash:" + hashlib.blake2b(argument, key=self._key, digest_size=8).hexdigest().encode()

    def _sorted(self, rows: dict[int, set[str]]) -> dict[int, bytes]:
        order = self._order
        return {
            row: ",".join(sorted(names, key=lambda n: (order.get(n, -1), n))).encode() for row, names in rows.items()
        }


def redact_texts(batch: Batch, names: Sequence[str], redactor: Redactor, modes: NDArray[np.int8] | None) -> None:
    """Columns of text, each by itself as if it were a second argument, and what was done in `redacted` and `redaction`."""
    changed, words = np.zeros(batch.length, dtype=bool), [set[bytes]() for _ in range(batch.length)]
    for name in names:
        column = batch.columns[name]
        assert isinstance(column, Text)
        done = redactor.apply(_second(column), modes)
        batch.columns[name] = _of_second(done.args, column)
        mine = done.redacted & (np.diff(column.offsets) > 0)
        changed |= mine
        for row in np.flatnonzero(mine).tolist():
            words[row] |= {done.patterns.row(row)} - {b""}
    batch.columns["redacted"] = Fixed(changed.astype(np.uint8))
    lines = {row: b",".join(sorted(found)) for row, found in enumerate(words) if found}
    batch.columns["redaction"] = _names(batch.length, lines)


def _second(column: Text) -> Lists:
    """Each string behind an empty one."""
    lengths = np.zeros(2 * len(column), dtype=np.int32)
    lengths[1::2] = np.diff(column.offsets)
    return Lists(np.arange(0, 2 * len(column) + 1, 2, dtype=np.int32), Text(_offsets(lengths), column.data))


def _of_second(lists: Lists, before: Text) -> Text:
    """The second of each list, null where there is none any more; what was empty or null stays so."""
    there = np.diff(lists.offsets) == 2
    places = np.where(there, lists.offsets[:-1] + 1, 0).astype(np.intp)
    found = (
        rows_of(lists.items, places)
        if len(lists.items)
        else Text(np.zeros(len(before) + 1, np.int32), lists.items.data)
    )
    assert isinstance(found, Text)
    had = np.diff(before.offsets) > 0
    lengths = np.where(there & had, np.diff(found.offsets), 0)
    keep = np.repeat(there & had, np.diff(found.offsets))
    valid = there & (np.ones(len(before), dtype=bool) if before.valid is None else before.valid)
    return Text(_offsets(lengths), found.data[keep], None if valid.all() else valid)


def _groups(compiled: Any) -> tuple[Any, tuple[int, ...]]:
    """The expression and its secret groups; without any, the whole match."""
    groups = tuple(index for name, index in compiled.groupindex.items() if name.startswith(b"secret"))
    return compiled, groups or (0,)


def _packed(args: Lists) -> Lists:
    """The same lists with all offsets beginning at zero and no data besides."""
    first, last = int(args.offsets[0]), int(args.offsets[-1])
    begin, end = int(args.items.offsets[first]), int(args.items.offsets[last])
    if first == 0 and begin == 0 and last == len(args.items) and end == len(args.items.data):
        return args
    items = Text(args.items.offsets[first : last + 1] - np.int32(begin), args.items.data[begin:end])
    return Lists(args.offsets - np.int32(first), items, args.valid)


def _joined(items: Text, offsets: NDArray[np.int32]) -> bytes:
    """One byte before each item: a newline where a row begins, else NUL; and a newline at the end."""
    places = items.offsets[:-1].astype(np.int64) + np.arange(len(items))
    size = len(items.data) + len(items) + 1
    buffer = np.empty(size, dtype=np.uint8)
    inside = np.ones(size, dtype=bool)
    inside[places] = False
    inside[-1] = False
    data = items.data
    buffer[inside] = np.where(data == 10, np.uint8(13), data) if (data == 10).any() else data
    buffer[places] = 0
    buffer[places[offsets[:-1][offsets[:-1] < offsets[1:]]]] = 10
    buffer[-1] = 10
    return buffer.tobytes()


def _repeated(changes: list[_Change], some: Lists, args: Lists, of: NDArray[np.intp]) -> list[_Change]:
    """Changes of `some` rows made to all `args`; `of` says for each row which of them it equals."""
    by_row: dict[int, list[_Change]] = defaultdict(list)
    for change, row in zip(changes, _row_of_items(changes, some.offsets), strict=True):
        by_row[row].append(change)
    hit = np.zeros(len(some), dtype=bool)
    hit[list(by_row)] = True
    item_shifts = args.offsets[:-1] - some.offsets[of]
    shifts = args.items.offsets[args.offsets[:-1]] - some.items.offsets[some.offsets[of]]
    found = []
    for row in np.flatnonzero(hit[of]).tolist():
        shift, items = int(shifts[row]), int(item_shifts[row])
        for one in by_row[int(of[row])]:
            found.append(_Change(one.start + shift, one.end + shift, one.item + items, one.by, one.names))
    return found


def _row_of_items(changes: list[_Change], offsets: NDArray[np.int32]) -> list[int]:
    """The row of each change's item."""
    found: list[int] = (np.searchsorted(offsets, [change.item for change in changes], side="right") - 1).tolist()
    return found


def _pieces(buffer: bytes, hint: Any) -> tuple[bytes, list[int], list[int]]:
    """The rows that the hint names, joined; where each begins in that, and how far it was from there in the buffer."""
    parts, starts, shifts, size = [], [], [], 0
    for begin, end in _rows(buffer, hint):
        parts.append(buffer[begin:end])
        starts.append(size)
        shifts.append(begin - size)
        size += end - begin
    return (b"".join(parts) + b"\n" if parts else b""), starts, shifts


def _rows(buffer: bytes, hint: Any) -> Iterator[tuple[int, int]]:
    """Where the rows begin (the newline before) and end in which the hint matches."""
    match = hint.search(buffer)
    while match:
        begin = buffer.rfind(b"\n", 0, match.start() + 1)
        end = buffer.find(b"\n", match.start() + 1)
        yield begin, end
        match = hint.search(buffer, end)


def _merged(spans: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, set[str]]]:
    """Overlapping spans as one, with the names of all."""
    spans.sort()
    start, end, names = -1, -1, set[str]()
    for low, high, name in spans:
        if low < end:
            end = max(end, high)
            names.add(name)
            continue
        if names:
            yield start, end, names
        start, end, names = low, high, {name}
    if names:
        yield start, end, names


def _without_nul(piece: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A span cut at the NULs between arguments: each keeps its place."""
    while start < end:
        stop = piece.find(b"\0", start, end)
        stop = end if stop < 0 else stop
        if stop > start:
            yield start, stop
        start = stop + 1


def _spliced(column: Text, changes: list[_Change]) -> Text:
    """The column with every change made; changes sorted and apart."""
    if not changes:
        return Text(column.offsets, column.data, column.valid)
    source, parts, done = column.data, list[Any](), 0
    grown = np.zeros(len(column) + 1, dtype=np.int64)
    for change in changes:
        parts += (source[done : change.start], change.by)
        done = change.end
        grown[change.item + 1] += len(change.by) - (change.end - change.start)
    parts.append(source[done:])
    offsets = (column.offsets + np.cumsum(grown)).astype(np.int32)
    return Text(offsets, np.frombuffer(b"".join(parts), dtype=np.uint8), column.valid)


def _tails(items: Text, first: NDArray[np.int32]) -> Spans:
    """(start, end, item) of every item that is not its row's first."""
    later = np.ones(len(items) + 1, dtype=bool)
    later[first] = False
    index = np.flatnonzero(later[:-1])
    return np.column_stack((items.offsets[index], items.offsets[index + 1], index)).astype(np.int64)


def _block_tails(column: Text) -> Spans:
    """(start, end, row) of what stands behind each NUL of a row, up to the next or the row's end."""
    nul = np.flatnonzero(column.data == 0).astype(np.int64)
    rows = np.searchsorted(column.offsets, nul, side="right") - 1
    following = np.append(nul[1:], len(column.data))
    return np.column_stack((nul + 1, np.minimum(following, column.offsets[rows + 1]), rows))


def _within(change: _Change, tails: Spans) -> bool:
    place = int(np.searchsorted(tails[:, 0], change.start, side="right")) - 1
    return place >= 0 and int(tails[place, 2]) == change.item and change.start < int(tails[place, 1])


def _by_row(changes: list[_Change], offsets: NDArray[np.int32]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for change, row in zip(changes, _row_of_items(changes, offsets), strict=True):
        found[row] |= change.names
    return found


def _dropped(lists: Lists, drop: NDArray[np.bool_], rows: dict[int, set[str]]) -> Lists:
    """The chosen rows as empty lists, marked in `rows` where they held anything."""
    counts = np.diff(lists.offsets)
    _mark(drop & (counts > 0), rows)
    keep = np.repeat(~drop, counts)
    lengths = np.diff(lists.items.offsets)
    data = lists.items.data[np.repeat(keep, lengths)]
    items = Text(_offsets(lengths[keep]), data)
    return Lists(_offsets(np.where(drop, 0, counts)), items, lists.valid)


def _emptied(column: Text, drop: NDArray[np.bool_], rows: dict[int, set[str]]) -> Text:
    """The chosen rows as null, marked in `rows` where they held anything."""
    lengths = np.diff(column.offsets)
    _mark(drop & (lengths > 0), rows)
    valid = ~drop if column.valid is None else column.valid & ~drop
    return Text(_offsets(np.where(drop, 0, lengths)), column.data[np.repeat(~drop, lengths)], valid)


def _mark(dropped: NDArray[np.bool_], rows: dict[int, set[str]]) -> None:
    for row in np.flatnonzero(dropped).tolist():
        rows[row] = {"dropped"}


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _flags(rows: int, changed: dict[int, set[str]]) -> NDArray[np.bool_]:
    flags = np.zeros(rows, dtype=bool)
    flags[list(changed)] = True
    return flags


def _names(rows: int, names: dict[int, bytes]) -> Text:
    """Names of each row's patterns; null where none hit."""
    lengths = np.zeros(rows, dtype=np.int32)
    valid = np.zeros(rows, dtype=bool)
    for row, name in names.items():
        lengths[row], valid[row] = len(name), True
    data = b"".join(names[row] for row in sorted(names))
    return Text(_offsets(lengths), np.frombuffer(data, dtype=np.uint8), valid)
