"""What `connected` looks for: a name, the names below one, an address or a range."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from firsthand.errors import UsageError
from firsthand.identity import address
from firsthand.identity.address import Network

Condition = tuple[str, list[Any]]
#: The name that a record of an answer (NAME TTL TYPE DATA) is of, and the one that it stands for (CNAME), which is as its sender spelled it.
OWNER, ALIAS = (
    "split_part(r, ' ', 1)",
    "CASE WHEN contains(r, ' CNAME ') THEN lower(rtrim(split_part(r, ' ', 4), '.')) END",
)


@dataclass
class Target:
    """What is looked for: a name, the names below one, addresses or a range. `names`: the name in each spelling that rows may have."""

    text: str
    names: tuple[str, ...] = ()
    below: bool = False
    addresses: list[str] = field(default_factory=list)
    network: Network | None = None

    @property
    def name(self) -> str | None:
        """As DNS has it."""
        return self.names[0] if self.names else None

    def named(self, column: str) -> Condition:
        """SQL for a column that holds a name."""
        if not self.names:
            return "false", []
        one = f"ends_with({column}, ?)" if self.below else f"{column} = ?"
        values = ["." + name if self.below else name for name in self.names]
        return (f"({' OR '.join([one] * len(values))})" if len(values) > 1 else one), list[Any](values)


def parse(text: str) -> Target:
    """NAME, *.NAME, ADDRESS or CIDR. UsageError where it is none."""
    if found := address.parse(text):
        return Target(text, addresses=[found])
    if "/" in text:
        return Target(text, network=address.network(text, "ask connected"))
    below = text.startswith("*.")
    name = text.removeprefix("*.").lower().rstrip(".")
    if re.fullmatch(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", name):  # RFC 1123 2.1: the last label of a name is no number
        raise UsageError(f"{text!r} is no address, and no name ends in a number: give one as 192.0.2.1 or 2001:db8::1")
    if not name or any(letter in name for letter in "* /:") or any(not part for part in name.split(".")):
        raise UsageError(
            f"{text!r}: give a name (example.com), all below one (*.example.com), an address or a range (10.0.0.0/8)"
        )
    try:
        return Target(text, spellings(name), below)
    except UnicodeError as error:
        raise UsageError(f"{text!r} is no name that DNS could hold ({error})") from error


def spellings(name: str) -> tuple[str, ...]:
    """How a name can stand in rows, as DNS has it first: programs spell letters beyond ASCII by IDNA 2003 (RFC 3490, which maps some: ß to
    ss), by IDNA 2008 (RFC 5891, which keeps them), or send them as they are, which are text in HTTP, \\xNN in TLS and \\DDD in DNS.
    UnicodeError where DNS could not hold it."""
    plain = ".".join(_decoded(label) for label in name.split("."))
    if plain.isascii():
        return (name,)
    kept = ".".join(_kept(label) for label in unicodedata.normalize("NFC", plain).split("."))
    mapped = name if name.isascii() else name.encode("idna").decode()
    escaped = ("".join(_escaped(letter, way) for letter in plain) for way in ("\\x%02x", "\\%03d"))
    return tuple(dict.fromkeys((mapped, kept, plain, *escaped)))


def _decoded(label: str) -> str:
    """A label of IDNA as the letters that it stands for; any other as it is."""
    try:
        return label[4:].encode().decode("punycode") if label.startswith("xn--") else label
    except UnicodeError:
        return label


def _kept(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def _escaped(letter: str, way: str) -> str:
    return letter if letter.isascii() else "".join(way % byte for byte in letter.encode())
