"""`unknown`: containers that the kernel showed and that no runtime named."""

from __future__ import annotations

from firsthand.ask.answer import COUNT, Asked, Found, cut

NEEDS = ("process", "container")
_COLUMNS = ["container", "runtime", "pod_uid", "first", "last", "programs", "binaries", "cgroup_path"]


def unknown(asked: Asked) -> Found:
    """One row for each container id without a name, with what ran in it."""
    where, parameters = asked.ran(("container IS NOT NULL", []), ("event IN ('exec', 'seen', 'fork', 'folded')", []))
    query = f"""SELECT node, container, any_value(runtime) AS runtime, any_value(pod_uid) AS pod_uid, min(time) AS first,
        max(coalesce(folded_until, time)) AS last, sum({COUNT}) FILTER (event <> 'fork') AS programs, list_sort(list(DISTINCT exe)) AS binaries,
        any_value(cgroup_path) AS cgroup_path, bool_or(pod IS NOT NULL OR container_name IS NOT NULL) AS named
        FROM process WHERE {where} GROUP BY node, container ORDER BY first, container"""  # noqa: S608
    every = asked.rows(query, parameters)
    rows = [{name: value for name, value in row.items() if name != "named"} for row in every if not row["named"]]
    sentence = f"{len(rows):,} of {len(every):,} containers have an id and no name"
    return Found(sentence, cut(rows, asked.limit), len(rows), _COLUMNS)
