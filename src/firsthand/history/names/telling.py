"""Which rows tell names and holders of addresses, and for how long: the words of one rule, which the keeper applies to rows that it
freezes (names.py, peers.py) and readers as SQL (connection.py, peers_sql.py)."""

from __future__ import annotations

#: What a name is made of, and the columns that are frozen.
NAMES = ("pod", "namespace", "workload", "workload_source", "image", "container_name")
#: The columns that say who the peer of a connection was, and what a holder has for them.
PEERS = ("peer_kind", "peer_pod", "peer_namespace", "peer_workload", "peer_name")
#: Tables that tell names and holders.
TABLES = ("pod", "container", "address")
#: Rows of `container` and `pod` that tell a name. `gone` tells it as well: for what lived shorter than a look.
TELLING = ("named", "gone")
#: Rows of `container` that tell whether a cgroup is the container that its path names (identity/claims.py).
CONFIRMED, CONTRADICTED = "confirmed", "contradicted"
#: Kinds that say who held it, and are not asked for again.
HELD = ("pod", "container", "service", "node")
#: Networks of their own names; the others are sockets of runtimes.
KUBERNETES, MACHINE = "kubernetes", "machine"
#: Microseconds for which a span without an end is believed after its last row: a day, and what the follower may be late.
BELIEVED = 25 * 3_600_000_000
FOREVER = 1 << 62
