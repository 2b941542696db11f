"""The documents of a bundle: what it is, what its rows are from, the chain's entries; written and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, TypeVar

from firsthand.errors import DamagedError
from firsthand.evidence import archive
from firsthand.evidence.archive import Archive
from firsthand.evidence.question import BundleQuestion
from firsthand.history.store.chain import Entry

FORMAT = "firsthand-evidence"
#: Another number: other files, or other rows for the same question (selection.py).
VERSION = 1
_Found = TypeVar("_Found")
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Origin:
    """One source, as sources.json names it. `rows` of all its tables; `entry`: the number of the chain's entry that brings it.

    A segment has its `path` in the history; a chunk its log, file's number and offset, and `checksum` (CRC-32), and no entry.
    """

    name: str
    kind: str
    rows: int
    bytes: int
    sha256: str
    table: str | None = None
    path: str | None = None
    entry: int | None = None
    log: str | None = None
    file: int | None = None
    offset: int | None = None
    checksum: int | None = None


_TYPES = {"name": str, "kind": str, "rows": int, "bytes": int, "sha256": str}


@dataclass(frozen=True)
class About:
    """bundle.json. `made` in microseconds; `head` as text; `rows` by table; `segments`: whole ones are inside."""

    made: int
    made_by: dict[str, str]
    question: BundleQuestion
    head: str | None
    rows: dict[str, int]
    segments: bool
    days: bool
    nodes: list[dict[str, Any]] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"format": FORMAT, "version": VERSION, **asdict(self), "question": self.question.plain()}


def counted(origins: Sequence[Origin]) -> str:
    """How many segments and chunks of the log."""
    chunks = sum(one.kind == "chunk" for one in origins)
    return f"{len(origins) - chunks:,} segments and {chunks:,} chunks of the log"


def rendered(content: Any) -> bytes:
    """A JSON document, for people as well."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def lines(entries: Sequence[Entry]) -> bytes:
    """The chain's entries, one JSON object a line."""
    texts = [json.dumps(asdict(entry), separators=(",", ":"), ensure_ascii=False) for entry in entries]
    return "".join(f"{text}\n" for text in texts).encode()


def sums(hashes: dict[str, str]) -> bytes:
    """SHA256SUMS as sha256sum writes and checks it."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items())).encode()


def read_sums(bundle: Archive) -> dict[str, str]:
    """The hash of each file that SHA256SUMS names."""
    return _read(archive.SUMS, lambda: {line[66:]: line[:64] for line in _text(bundle, archive.SUMS).splitlines()})


def read_about(bundle: Archive) -> About:
    """DamagedError where it is no bundle's, or one of a format that this version does not know."""
    return _read(archive.ABOUT, lambda: _about(json.loads(_text(bundle, archive.ABOUT))))


def _about(raw: dict[str, Any]) -> About:
    if raw["format"] != FORMAT or raw["version"] != VERSION:
        known = f"{FORMAT} of version {VERSION}"
        raise DamagedError(
            f"bundle.json: expected {known}, found {raw['format']!r} of version {raw['version']!r}: use that version's verify"
        )
    return About(
        _of(raw["made"], int),
        _of(raw["made_by"], dict),
        BundleQuestion.parse(raw["question"]),
        None if raw["head"] is None else _of(raw["head"], str),
        {_of(table, str): _of(rows, int) for table, rows in raw["rows"].items()},
        _of(raw["segments"], bool),
        _of(raw["days"], bool),
        [_of(node, dict) for node in raw["nodes"]],
    )


def read_origins(bundle: Archive) -> list[Origin]:
    """The sources. DamagedError where one is none."""
    return _read(archive.SOURCES, lambda: [_origin(raw) for raw in json.loads(_text(bundle, archive.SOURCES))])


def _origin(raw: dict[str, Any]) -> Origin:
    found = Origin(**raw)
    for name, kind in _TYPES.items():
        _of(getattr(found, name), kind)
    wanted = {"segment": ("table", "path"), "chunk": ("log", "file", "offset", "checksum")}[found.kind]
    for name in wanted:
        _of(getattr(found, name), str if name in ("table", "path", "log") else int)
    return found


def read_chain(bundle: Archive) -> list[Entry]:
    """The entries, in the order in which they stand."""
    return _read(
        archive.CHAIN, lambda: [_entry(json.loads(line)) for line in _text(bundle, archive.CHAIN).splitlines()]
    )


def _entry(raw: dict[str, Any]) -> Entry:
    found = Entry(**raw)
    for value, kind in zip(astuple(found), (int, str, int, str, str, str), strict=True):
        _of(value, kind)
        str(value).encode()
    return found


def read_json(bundle: Archive, name: str) -> dict[str, Any]:
    """A document that is one JSON object."""
    return _read(name, lambda: _object(json.loads(_text(bundle, name))))


def _object(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = _of(value, dict)
    return found


def _text(bundle: Archive, name: str) -> str:
    return bundle.read(name).decode()


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {value!r:.40}")
    return value


def _read(name: str, read: Callable[[], _Found]) -> _Found:
    try:
        return read()
    except _UNREADABLE as error:
        raise DamagedError(f"{name}: it is unreadable: {error!r:.200}") from error
