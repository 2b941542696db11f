"""The list of watched files: its entries, what the kernel's tables have of them, and which paths they cover.

An entry is an absolute path: one file; with / at the end all below it. `*` stands for any letters but /, `?` for one, `**` for any. It is
watched for reading (every open, and changes) or for writing (opens for writing, and changes) alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

#: Bits of enum file_access (kernel/include/file.h).
READ, WRITE, ABOVE = 1, 2, 4
#: Entries without *, whose paths and names fill no table of kernel/include/watch.h; and bounds there: letters of an entry, patterns,
#: bytes of one, words of the filter.
MOST_LITERAL, LETTERS, MOST_GLOBS, GLOB_BYTES, WORDS = 256, 200, 63, 252, 1024
#: Names and paths that those tables take, of entries and of the folders above them.
MOST_NAMES, MOST_PATHS = 4096, 8192
_LITERAL = 1
_HASH = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True)
class Watchlist:
    """Entries as the settings have them. `read`: watched for reading and writing; `write`: for writing. Both empty: nothing is watched."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.read or self.write)

    @property
    def entries(self) -> list[tuple[str, int]]:
        """Each entry with its bits of access."""
        both = [(entry, READ | WRITE) for entry in self.read]
        return both + [(entry, WRITE) for entry in self.write if entry not in self.read]

    @cached_property
    def patterns(self) -> dict[str, int]:
        """Patterns of the kernel side with their access: of an entry for a folder one for itself and one for all below; and of the folders
        above an entry, whose renaming moves it, those that have a * in their names or before."""
        found: dict[str, int] = {}
        for entry, access in self.entries:
            wild = dict.fromkeys(_patterns(entry), access) if _wild(entry) else {}
            for pattern, bits in [*wild.items(), *((folder, ABOVE) for folder in above(entry) if _wild(folder))]:
                found[pattern] = found.get(pattern, 0) | bits
        return found

    def tables(self, places: Sequence[str] = ()) -> Tables:
        """What the kernel side has of it. `places`: patterns that have a place there already, "" for a free one."""
        return _tables(self.entries, self.patterns, _placed(self.patterns, places))

    def check(self) -> None:
        """ValueError where the kernel's tables cannot hold it."""
        literal = [entry for entry, _ in self.entries if not _wild(entry)]
        for number, most, what in (
            (len(literal), MOST_LITERAL, "entries without *"),
            (len(self.patterns), MOST_GLOBS, "patterns (a folder is two, and a named folder above one more)"),
        ):
            _bound(number, most, what)
        made = _making(self.entries, self.patterns, _placed(self.patterns, ()))
        _bound(len(made.names), MOST_NAMES, "names of entries and of folders above them")
        _bound(len(made.paths), MOST_PATHS, "paths of entries and of folders above them")

    def covers(self, path: str, access: int) -> bool:
        """Whether every file of this name is watched for this access; `path` may be an entry itself: a folder or a pattern."""
        return any(bits & access and _covers(entry, path) for entry, bits in self.entries)


def _bound(number: int, most: int, what: str) -> None:
    if number > most:
        raise ValueError(f"{number:,} {what}, and the kernel side takes {most:,}: name folders above them")


def checked(value: object) -> tuple[str, ...]:
    """Entries in their order, each once. ValueError, with the reason, for what cannot be one; a bare one where it is no list of texts."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise ValueError
    for entry in value:
        if why := _refusal(entry):
            raise ValueError(f"{entry!r} {why}")
    return tuple(dict.fromkeys(value))


def _refusal(entry: str) -> str:
    """Why it cannot be an entry; empty where it can."""
    if not entry.startswith(("/", "**/")) or "\0" in entry:
        return "is no absolute path and does not begin with **/"
    if "//" in entry or {".", ".."} & set(entry.split("/")):
        return "has //, /./ or /../, which resolved paths never have"
    if len(entry.encode()) > LETTERS:
        return f"is longer than {LETTERS} bytes: name a folder above it"
    if not _literals(entry):
        return "has no whole name between its slashes: every open would be compared"
    return ""


@dataclass
class Tables:
    """Contents of the maps of kernel/include/watch.h: keys and values as bytes; patterns by their places."""

    filter: bytes
    names: dict[bytes, bytes]
    paths: dict[bytes, bytes]
    globs: dict[int, bytes]


@dataclass
class _Making:
    """Tables in the making: names and paths with what is added to them one by one."""

    names: dict[tuple[int, int], int] = field(default_factory=dict)
    paths: dict[bytes, int] = field(default_factory=dict)
    filter: list[list[int]] = field(default_factory=lambda: [[0] * WORDS for _ in (READ, WRITE, ABOVE)])

    def know(self, name: str, mask: int, access: int) -> None:
        """A name that a path must have for an entry of `mask` to be its."""
        key = _name(name)
        self.names[key] = self.names.get(key, 0) | mask
        bit = _bit(key)
        for place, one in enumerate((READ, WRITE, ABOVE)):
            if access & one:
                self.filter[place][bit >> 6] |= 1 << (bit & 63)

    def add(self, letters: str, access: int) -> None:
        """A path, with its NUL, or the beginning of paths."""
        key = letters.encode()
        self.paths[key] = self.paths.get(key, 0) | access

    def literal(self, entry: str, access: int) -> None:
        """An entry without *."""
        self.know(_rarest(entry), _LITERAL, access)
        self.add(entry.rstrip("/") + "\0", access)
        if entry.endswith("/"):
            self.add(entry, access)

    def above(self, entry: str) -> None:
        """The folders above an entry: renaming one moves what is watched."""
        for folder in above(entry):
            if not _wild(folder):
                self.know(folder.rpartition("/")[2], _LITERAL, ABOVE)
                self.add(folder + "\0", ABOVE)


def _making(entries: Sequence[tuple[str, int]], patterns: Mapping[str, int], places: Mapping[str, int]) -> _Making:
    made = _Making()
    for entry, access in entries:
        if not _wild(entry):
            made.literal(entry, access)
        made.above(entry)
    for pattern, access in patterns.items():
        made.know(_rarest(pattern), 1 << places[pattern] + 1, access)
    return made


def _tables(entries: Sequence[tuple[str, int]], patterns: Mapping[str, int], places: Mapping[str, int]) -> Tables:
    made = _making(entries, patterns, places)
    return Tables(
        b"".join(struct.pack(f"<{WORDS}Q", *one) for one in made.filter),
        {struct.pack("<QII", *key, 0): struct.pack("<Q", mask) for key, mask in made.names.items()},
        {_path_key(one): struct.pack("<I", _inherited(one, made.paths)) for one in made.paths},
        {places[one]: _glob(one, access) for one, access in patterns.items()},
    )


def _placed(patterns: Iterable[str], before: Sequence[str]) -> dict[str, int]:
    """A place for each pattern: the one that it has, else a free one; one of a pattern that goes only where none is free."""
    kept = {one: before.index(one) for one in patterns if one in before}
    free = [place for place, one in enumerate(before) if not one] + list(range(len(before), MOST_GLOBS))
    free += [place for place, one in enumerate(before) if one and one not in kept]
    return kept | dict(zip((one for one in patterns if one not in kept), free, strict=False))


def _glob(pattern: str, access: int) -> bytes:
    """struct watch_glob."""
    letters = pattern.encode()
    return struct.pack("<HH", access, len(letters)) + letters.ljust(GLOB_BYTES, b"\0")


def pattern_of(glob: bytes) -> str:
    """The pattern of a struct watch_glob; "" where there is none."""
    return glob[4 : 4 + int.from_bytes(glob[2:4], "little")].decode()


def _inherited(letters: bytes, paths: dict[bytes, int]) -> int:
    """The access of an entry with that of those that begin it: only the longest one is found."""
    found = 0
    for one, access in paths.items():
        if one == letters or (one.endswith(b"/") and letters.startswith(one)):
            found |= access
    return found


def _path_key(letters: bytes) -> bytes:
    """struct watch_path."""
    return struct.pack("<I", len(letters) * 8) + letters.ljust(256, b"\0")


def _name(name: str) -> tuple[int, int]:
    """struct watch_name: the first letters, and the length."""
    letters = name.encode()
    return int.from_bytes(letters[:8].ljust(8, b"\0"), "little"), len(letters)


def _bit(key: tuple[int, int]) -> int:
    """filter_bit() of kernel/include/watch.h."""
    return ((key[0] ^ key[1]) * _HASH & _MASK) >> 48


def _wild(entry: str) -> bool:
    return bool(_WILD.search(entry))


def _literals(entry: str) -> list[str]:
    """The whole names in it."""
    return [part for part in entry.split("/") if part and not _wild(part)]


def _rarest(entry: str) -> str:
    """The name by which it is looked for first: the longest, as it is likely the rarest."""
    return max(_literals(entry), key=lambda name: (len(name), name))


def _patterns(entry: str) -> list[str]:
    """The patterns of the kernel side that an entry with * is: of a folder one for itself and one for all below."""
    return [entry.rstrip("/"), f"{entry}**"] if entry.endswith("/") else [entry]


def above(entry: str) -> list[str]:
    """The folders above an entry that have a whole name: /etc of /etc/cron.d/, **/.aws of **/.aws/credentials."""
    parts = entry.rstrip("/").split("/")[:-1]
    found = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    return [folder for folder in found if _literals(folder)]


def led(entries: Iterable[str]) -> dict[str, str]:
    """Entries that go over a symbolic link on this machine, with where they lead: resolved paths never begin so. What this process may not
    look at counts as no link."""
    found = {}
    for entry in entries:
        whole = "/".join(takewhile(lambda name: not _wild(name), entry.rstrip("/").split("/")))
        real = whole
        with contextlib.suppress(OSError):
            real = os.path.realpath(whole) if whole.startswith("/") else whole
        if real != whole:
            found[entry] = real + entry[len(whole) :]
    return found


def expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression for whole paths."""
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    text = "".join(words.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", pattern))
    return re.compile(text, re.DOTALL)


def _covers(entry: str, path: str) -> bool:
    """Whether all that `path` (a path, a folder with /, or a pattern) can be is watched by an entry; by the letters alone."""
    if entry == path:
        return True
    if path.endswith("/") or _wild(path):  # many files: only a folder or the same pattern has them all
        beginning = _WILD.split(path, maxsplit=1)[0]
        return entry.endswith("/") and not _wild(entry) and beginning.startswith(entry)
    return any(expression(one).fullmatch(path) for one in _regular(entry))


def _regular(entry: str) -> list[str]:
    return _patterns(entry) if _wild(entry) else [entry.rstrip("/"), f"{entry}**"] if entry.endswith("/") else [entry]
