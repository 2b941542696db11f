"""What credentials are: kinds, with the files and variables that hold them, and the services that take them (credentials.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from firsthand.ask.nearest import meant
from firsthand.errors import UsageError
from firsthand.identity import address
from firsthand.settings import watchlist

_TABLE = Path(__file__).with_name("credentials.toml")


@dataclass(frozen=True)
class Kind:
    """One kind. `variables`: names of environment variables; `files`: paths; `services`: names of hosts that take such credentials;
    `tokens`: names and addresses of hosts that hand them out. All are patterns (see `expression`). `also`: kinds whose files, variables
    and tokens give this one too."""

    name: str
    doc: str
    variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    also: tuple[str, ...] = field(default=())

    @property
    def handing(self) -> tuple[list[str], list[str]]:
        """`tokens` as names and as addresses."""
        found = [(one, address.parse(one)) for one in self.tokens]
        return [name for name, known in found if known is None], [known for _, known in found if known is not None]


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name; each has what the kinds below `with` have too."""
    raw = tomllib.loads(_TABLE.read_text())
    return {name: _kind(name, raw) for name in raw}


def _kind(name: str, raw: dict[str, dict[str, list[str]]]) -> Kind:
    own = raw[name]
    also = tuple(own.get("with", ()))

    def every(key: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one for section in (name, *also) for one in raw[section].get(key, ())))

    return Kind(
        name, str(own["doc"]), every("variables"), every("files"), tuple(own["services"]), every("tokens"), also
    )


def chosen(name: str | None) -> list[Kind]:
    """The kind of that name, or all. UsageError if there is none."""
    if name is None:
        return list(kinds().values())
    if name not in kinds():
        raise UsageError(
            f"no kind of credentials is called {name!r}{meant(name, kinds())}; there are {', '.join(kinds())}"
        )
    return [kinds()[name]]


def expression(patterns: Iterable[str]) -> str:
    """A regular expression (RE2's and Python's) that a whole text matches if it fits one of the patterns, in which `*` stands for any letters;
    one that nothing matches if there are none.
    """
    parts = [".*".join(re.escape(text) for text in one.split("*")) for one in patterns]
    return _whole(parts)


def of_files(entries: Iterable[str]) -> str:
    """The same for paths, of entries as the setting `files.read` has them."""
    return _whole([watchlist.expression(one).pattern for entry in entries for one in _patterns(entry)])


def _whole(parts: Sequence[str]) -> str:
    """One of some expressions for a whole text, in which a line may end: a file's name may have any letter."""
    return f"(?s)^(?:{'|'.join(parts)})$" if parts else "^[^\\s\\S]$"


def of_folders(entries: Iterable[str]) -> str:
    """The same for the entries and the folders above them, whose renaming moves the files."""
    given = list(entries)
    return of_files([*given, *(folder for entry in given for folder in watchlist.above(entry))])


def _patterns(entry: str) -> list[str]:
    """A folder is itself, and all below it."""
    return [entry.rstrip("/"), f"{entry}**"] if entry.endswith("/") else [entry]
