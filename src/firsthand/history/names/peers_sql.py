"""The rule of `peers.py` as SQL: for rows that are still in the log, and for holders that were told later."""

from __future__ import annotations

from firsthand.history.names.telling import BELIEVED, FOREVER, HELD, KUBERNETES, MACHINE, PEERS, TELLING
from firsthand.identity import address

_TELLING = ", ".join(f"'{word}'" for word in TELLING)
_HELD = ", ".join(f"'{word}'" for word in HELD)
#: The order of what each of the following gives.
_LAST = "arg_max({0}, time) AS {0}"
_SPAN = f"""CASE WHEN began IS NULL THEN since ELSE began END AS begins, began IS NOT NULL AS sure,
    least(told + {BELIEVED}, coalesce(until, {FOREVER})) AS ends"""
_UNTIL = "nullif(arg_max(coalesce(epoch_us({0}), -1), time), -1)"
_OF_PODS = f"""SELECT node, boot, coalesce(container, pod_uid) AS id, {_LAST.format("socket")}, bool_or(host_network) AS host,
    'pod' AS kind, any_value(coalesce(pod_uid, pod)) AS identity, {", ".join(_LAST.format(n) for n in ("pod", "namespace", "workload"))},
    NULL AS name, arg_max(addresses, time) FILTER (addresses <> []) AS addresses, arg_max(epoch_us(addresses_since), time) AS began,
    min(epoch_us(coalesce(since, time))) AS since, {_UNTIL.format("until")} AS until, epoch_us(max(time)) AS told
    FROM {{_pod}} WHERE event IN ({_TELLING}) GROUP BY node, boot, coalesce(container, pod_uid)"""  # noqa: S608
_OF_CONTAINERS = f"""SELECT node, boot, container AS id, {_LAST.format("socket")}, false AS host, 'container' AS kind,
    container AS identity, NULL AS pod, {_LAST.format("namespace")}, {_LAST.format("workload")},
    arg_max(container_name, time) AS name, arg_max(addresses, time) AS addresses, epoch_us(started) AS began,
    min(epoch_us(coalesce(since, time))) AS since,
    {_UNTIL.format("CASE WHEN finished >= coalesce(started, finished) THEN finished ELSE until END")} AS until,
    epoch_us(max(time)) AS told FROM {{_container}} WHERE event IN ({_TELLING}) AND pod_uid IS NULL AND addresses <> []
    AND NOT coalesce(host_network, false) GROUP BY node, boot, container, started"""  # noqa: S608
_OF_ADDRESSES = f"""SELECT node, boot, NULL AS id, any_value(source) AS socket, false AS host, kind,
    CASE kind WHEN 'service' THEN namespace || '/Service/' || name ELSE name END AS identity, NULL AS pod, namespace,
    CASE kind WHEN 'service' THEN identity END AS workload, CASE kind WHEN 'service' THEN NULL ELSE name END AS name,
    [address] AS addresses, epoch_us(since) AS began, min(epoch_us(coalesce(since, time))) AS since,
    {_UNTIL.format("until")} AS until, epoch_us(max(time)) AS told FROM {{_address}} GROUP BY node, boot, kind, namespace, name, address,
    since"""  # noqa: S608
_NODE = ("'node'", "NULL", "NULL", "NULL", "node", "node")
_WORDS = ("kind", "pod", "namespace", "workload", "name", "identity")
_AS_NODE = ", ".join(f"CASE WHEN host THEN {a} ELSE {b} END AS {b}" for a, b in zip(_NODE, _WORDS, strict=True))

#: Who held which address when; spans do not overlap. To be given the rows of `pod`, `container` and `address` as they were told.
HOLDERS = (
    # Everybody of whom was told, one row for each address.
    f"""WITH _held AS (SELECT node, boot, id, unnest(addresses) AS address, {_AS_NODE}, {_SPAN},
    CASE WHEN host OR kind = 'node' THEN '{MACHINE}' WHEN kind = 'pod' AND namespace IS NOT NULL THEN '{KUBERNETES}'
    ELSE coalesce(socket, '') END AS network
    FROM ({_OF_PODS} UNION ALL BY NAME {_OF_CONTAINERS} UNION ALL BY NAME {_OF_ADDRESSES})), """  # noqa: S608
    # Containers whose own cgroup the kernel saw going.
    """_removed AS (SELECT node, boot, container AS id, epoch_us(time) AS moment FROM {_container}
    WHERE event = 'remove' AND container IS NOT NULL
    AND contains(regexp_extract(rtrim(cgroup_path, '/'), '[^/]*$'), container)), """
    # Each one ends where the next one of its network surely begins.
    """_taken_over AS (SELECT * REPLACE (least(ends, min(CASE WHEN sure THEN begins END) OVER
    (PARTITION BY node, boot, address, network ORDER BY begins RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)) AS ends)
    FROM (SELECT h.* REPLACE (least(h.ends, r.moment) AS ends) FROM _held h ASOF LEFT JOIN _removed r
        ON h.node = r.node AND h.boot = r.boot AND h.id = r.id AND h.begins <= r.moment)), """
    # Spans that do not overlap, with the one who is meant.
    """edges AS
        (SELECT DISTINCT node, boot, address, unnest([begins, ends]) AS edge FROM _taken_over WHERE begins < ends),
    spans AS (SELECT *, lead(edge) OVER (PARTITION BY node, boot, address ORDER BY edge) AS next FROM edges),
    there AS (SELECT s.node, s.boot, s.address, s.edge, s.next, h.kind, h.identity, h.pod, h.namespace, h.workload, h.name,
        bool_or(h.kind = 'node') OVER (PARTITION BY s.node, s.boot, s.address, s.edge) AS a_node
        FROM spans s JOIN _taken_over h ON s.node = h.node AND s.boot = h.boot AND s.address = h.address
        AND h.begins <= s.edge AND h.ends >= s.next)
    SELECT node, boot, address, edge AS begins, next AS ends, any_value(kind) AS kind, any_value(pod) AS pod,
        any_value(namespace) AS namespace, any_value(workload) AS workload, any_value(name) AS name
    FROM there WHERE kind = 'node' OR NOT a_node
    GROUP BY node, boot, address, edge, next HAVING count(DISTINCT kind || ' ' || identity) = 1"""
)
#: The addresses that anybody was ever told to hold. To be given the same rows.
ADDRESSES = """SELECT DISTINCT address FROM (SELECT unnest(addresses) AS address FROM {_pod} UNION ALL
    SELECT unnest(addresses) FROM {_container} UNION ALL SELECT address FROM {_address}) WHERE address IS NOT NULL"""


def late(what: str, rows: str) -> str:
    """Of rows of `connection`, those whose peer is nobody's by what was known when they were written, and whose address stands in the table
    `_addresses`. `what`: the columns; `rows`: a table."""
    nobody = f"(peer_kind IS NULL OR peer_kind NOT IN ({_HELD}))"
    return " UNION ".join(
        f"SELECT {what} FROM {rows} SEMI JOIN _addresses ON {name} = address WHERE {nobody}"  # noqa: S608
        for name in ("peer_address", "nat_address")
    )


_ADDRESS = "coalesce(c.nat_address, c.peer_address)"
_FOUND = dict(zip(PEERS, ("kind", "pod", "namespace", "workload", "name"), strict=True))


def joined(source: str, holders: str | None) -> str:
    """Rows of `connection` with their peers as they are known now. `source` is a query, `holders` a table of HOLDERS; None: there are
    none."""
    by_itself = f"coalesce(c.peer_kind, {address.kind_sql(_ADDRESS)})"  # segments have it already
    if holders is None:
        return f"SELECT c.* REPLACE ({by_itself} AS peer_kind) FROM ({source}) c"  # noqa: S608
    values = {
        name: f"CASE WHEN c.peer_kind IN ({_HELD}) THEN c.{name} ELSE h.{found} END" for name, found in _FOUND.items()
    }
    values["peer_kind"] = f"CASE WHEN c.peer_kind IN ({_HELD}) THEN c.peer_kind ELSE coalesce(h.kind, {by_itself}) END"
    filled = ", ".join(f"{value} AS {name}" for name, value in values.items())
    return f"""SELECT c.* REPLACE ({filled}) FROM ({source}) c LEFT JOIN {holders} h
    ON h.address = {_ADDRESS} AND c.node = h.node AND c.boot = h.boot AND {_MOMENT} >= h.begins AND {_MOMENT} < h.ends"""  # noqa: S608


_MOMENT = "epoch_us(c.time) - CASE WHEN c.event = 'close' THEN coalesce(c.duration, 0) // 1000 ELSE 0 END"
