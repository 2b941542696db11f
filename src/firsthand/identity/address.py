"""What an address is by itself, and ranges of addresses.

Addresses are text as the wire gives them: RFC 5952, IPv4 where an IPv6 one is mapped. The classes are regular expressions that
Python, Arrow and DuckDB read alike (RE2), so each is described once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from firsthand.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Classes by their expression, the first that matches counts; what matches none is external. Sources: RFC 1122 3.2.1.3 (127/8),
#: RFC 1918, RFC 3927 (169.254/16), RFC 6598 (100.64/10), RFC 4193 (fc00::/7), RFC 4291 (::1, fe80::/10, ff00::/8), RFC 5771.
CLASSES = {
    "loopback": r"^(127\.|::1$)",
    "multicast": r"^(2(2[4-9]|3[0-9])\.|255\.255\.255\.255$|ff[0-9a-f]{2}:)",
    "private": r"^(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|169\.254\.|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\."
    r"|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)",
}
EXTERNAL = "external"
#: Not an address of anybody.
NOBODY = ("0.0.0.0", "::")
#: The ranges of the class `private`.
PRIVATE = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
    *("fc00::/7", "fe80::/10"),
)
_COMPILED = {name: re.compile(expression) for name, expression in CLASSES.items()}


def kind(address: str) -> str | None:
    """The class of an address; None for nobody's."""
    if address in NOBODY:
        return None
    return next((name for name, found in _COMPILED.items() if found.match(address)), EXTERNAL)


def kind_sql(column: str) -> str:
    """The same of a column, as SQL. Most addresses are of no class, which one look tells."""
    nobody = ", ".join(f"'{word}'" for word in NOBODY)
    any_class = "|".join(CLASSES.values())
    cases = " ".join(f"WHEN regexp_matches({column}, '{found}') THEN '{name}'" for name, found in CLASSES.items())
    return f"""CASE WHEN {column} IS NULL OR {column} IN ({nobody}) THEN NULL
    WHEN NOT regexp_matches({column}, '{any_class}') THEN '{EXTERNAL}' {cases} END"""


def parse(text: str) -> str | None:
    """An address in the form in which rows have it; None where the text is none."""
    try:
        found = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return str(
            found.ipv4_mapped or ipaddress.IPv6Address(int(found))
        )  # without a zone (RFC 4007), which rows do not have
    return str(found)


def network(text: str, where: str) -> Network:
    """A range as CIDR, or one address. UsageError where it is none."""
    try:
        found = ipaddress.ip_network(text, strict=False)
        mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
        return (
            found
            if mapped is None or found.prefixlen < 96
            else ipaddress.ip_network(f"{mapped}/{found.prefixlen - 96}")
        )
    except ValueError as error:
        raise UsageError(
            f"{where}: expected a range such as 10.0.0.0/8 or fd00::/8, found {text!r} ({error})"
        ) from error


@dataclass(frozen=True)
class Ranges:
    """Some ranges of addresses, to be asked about many addresses."""

    networks: Sequence[Network]

    @classmethod
    def of(cls, texts: Iterable[str], where: str) -> Ranges:
        """From CIDRs. UsageError names `where` the wrong one stands."""
        return cls([network(text, where) for text in texts])

    @cached_property
    def _bounds(self) -> dict[int, list[tuple[int, int]]]:
        """First and last address as numbers, by version."""
        found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for one in self.networks:
            found[one.version].append((int(one.network_address), int(one.broadcast_address)))
        return found

    def holds(self, address: str) -> bool:
        """Whether an address lies in one of them; what is no address does not."""
        if not self.networks:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        number = int(found)
        return any(first <= number <= last for first, last in self._bounds[found.version])
