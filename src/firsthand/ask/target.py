"""What `connected` looks for: a name, the names below one, an address or a range."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from firsthand.errors import UsageError
from firsthand.identity import address
from firsthand.identity.address import Network

Condition = tuple[str, list[Any]]


@dataclass
class Target:
    """What is looked for: a name, the names below one, addresses or a range."""

    text: str
    name: str | None = None
    below: bool = False
    addresses: list[str] = field(default_factory=list)
    network: Network | None = None

    def named(self, column: str) -> Condition:
        """SQL for a column that holds a name."""
        if self.name is None:
            return "false", []
        return (f"ends_with({column}, ?)", ["." + self.name]) if self.below else (f"{column} = ?", [self.name])


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
        return Target(text, name if name.isascii() else name.encode("idna").decode(), below)
    except UnicodeError as error:
        raise UsageError(f"{text!r} is no name that DNS could hold ({error})") from error
