"""What is the cluster's own and what is elsewhere, by the settings, as conditions on rows of `connection`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from firsthand.errors import UsageError
from firsthand.identity import address
from firsthand.identity.address import PRIVATE, Ranges

if TYPE_CHECKING:
    from firsthand.ask.answer import Asked

#: Who holds these is known to be of the cluster, or the address reaches no further.
OWN_KINDS = ("pod", "container", "service", "node", "loopback", "multicast")
#: The end that counts: after translation.
PEER = "coalesce(nat_address, peer_address)"


@dataclass(frozen=True)
class Reach:
    """The cluster's own ranges, and the names, addresses and ranges elsewhere to which regular traffic is expected."""

    cluster: tuple[str, ...] = PRIVATE
    expected: tuple[str, ...] = ()

    @cached_property
    def ranges(self) -> Ranges:
        """The cluster's ranges."""
        return Ranges.of(self.cluster, "network.cluster")

    @cached_property
    def _expected(self) -> tuple[Ranges, list[str]]:
        numbers, names = [], []
        for one in self.expected:
            try:
                numbers.append(address.network(one, "network.expected"))
            except UsageError:
                names.append(one.lower().rstrip("."))
        return Ranges(numbers), names

    def expects(self, peer: str, names: Iterable[str]) -> bool:
        """Whether traffic to an address, by one of these names, is expected."""
        ranges, known = self._expected
        return ranges.holds(peer) or any(_matches(name, one) for name in names for one in known)

    def elsewhere(self, asked: Asked) -> tuple[str, list[Any]]:
        """SQL for rows whose peer is not the cluster's own: by who holds it, and by its address."""
        kinds = ", ".join(f"'{kind}'" for kind in OWN_KINDS)
        condition = f"peer_address IS NOT NULL AND coalesce(peer_kind, '') NOT IN ({kinds})"
        if set(self.cluster) == set(PRIVATE):  # then the class of the address says it
            return f"{condition} AND peer_kind = '{address.EXTERNAL}'", []
        where, parameters = asked.existing((condition, []))
        query = f"SELECT DISTINCT {PEER} AS peer FROM connection WHERE {where}"  # noqa: S608
        found = [row["peer"] for row in asked.rows(query, parameters)]
        outside = [one for one in found if address.kind(one) is not None and not self.ranges.holds(one)]
        return f"{condition} AND {PEER} IN (SELECT unnest(CAST(? AS VARCHAR[])))", [outside]


def _matches(name: str, wanted: str) -> bool:
    return name.endswith(wanted[1:]) if wanted.startswith("*.") else name == wanted
