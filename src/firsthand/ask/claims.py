"""Where an answer stands on what cgroups' paths say of containers, and no runtime confirmed.

Anybody who may make a cgroup may give it a container's name. A row whose container no runtime confirmed in that cgroup is `claimed`; without
a runtime that is every container, and they have no names either (`unknown` lists them).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from firsthand.ask.answer import Asked, Connection, Window, fetched, plural
from firsthand.history.names.telling import CONTRADICTED
from firsthand.history.store import summary
from firsthand.history.store.mentions import Condition
from firsthand.subjects.registry import OWNED

_UNKNOWN = "(`firsthand ask unknown` lists them)"
#: Segments of which no row is of a container without a name, or of a claimed one, are left out.
_SUCH = Condition("=", summary.UNSURE, ("yes",))


def reasons(connection: Connection, window: Window, tables: Collection[str] = ()) -> list[str]:
    """Why an answer that goes by containers and their names is not complete: containers without a name, cgroups that no runtime confirmed,
    and cgroups that one contradicts. Rows of processes are looked at, and of those `tables` that the question reads: a process may have
    begun before the window."""
    owned = with_owners(tables)
    unnamed, named, claimed = _numbers(
        connection,
        owned,
        window,
        f"count(DISTINCT container) FILTER ({_NAMELESS})",
        "count(DISTINCT (node, container, cgroup_path)) FILTER (claimed AND (pod IS NOT NULL OR container_name IS NOT NULL))",
        "count(*) FILTER (claimed)",
    )
    against = f"JOIN ({CONTRADICTIONS}) c USING (node, container) WHERE claimed AND ({_WITHIN})"
    cgroups = "count(DISTINCT (node, cgroup_path))"
    elsewhere = _numbers(connection, owned, window, cgroups, joined=against)[0] if claimed else 0
    found = []
    if unnamed:
        have = "has an id and no name" if unnamed == 1 else "have an id and no name"
        found.append(f"{plural(unnamed, 'container')} {have} {_UNKNOWN}")
    if named:
        cgroups = plural(named, "cgroup")
        found.append(
            f"{cgroups} {'is' if named == 1 else 'are'} named by the path alone: no runtime confirmed it {_UNKNOWN}"
        )
    if elsewhere:
        found.append(
            f"{plural(elsewhere, 'cgroup')} claimed to be a container that its runtime has elsewhere {_UNKNOWN}"
        )
    return found


def on_host(connection: Connection, window: Window, tables: Collection[str] = ()) -> list[str]:
    """Why an answer about the host is not complete: what only claims to be in a container may be the host's."""
    counted = "count(DISTINCT (node, coalesce(container, pod_uid))) FILTER (claimed)"
    (number,) = _numbers(connection, with_owners(tables), window, counted)
    whose = "it" if number == 1 else "them"
    return (
        [f"no runtime confirmed {plural(number, 'container')}: what ran in {whose} may be the host's {_UNKNOWN}"]
        if number
        else []
    )


def beside(asked: Asked, column: str) -> str:
    """The end of a sentence that counts what runtimes told: how many more are claimed. `column`: container or pod_uid."""
    where, parameters = asked.where(("claimed", []))
    query = f"""SELECT count(DISTINCT (node, {column})) AS number FROM process WHERE {where} AND {column} IS NOT NULL
        AND pod IS NULL AND container_name IS NULL"""  # noqa: S608
    number = int(asked.rows(query, parameters, {"process": _SUCH})[0]["number"])
    return f"; {number:,} more {'is' if number == 1 else 'are'} claimed by a cgroup's path alone" if number else ""


def with_owners(tables: Collection[str]) -> list[str]:
    """`process`, and those of `tables` whose rows say which container they are of."""
    return [name for name in OWNED if name == "process" or name in tables]


def _numbers(
    connection: Connection, tables: Sequence[str], window: Window, *counted: str, joined: str = ""
) -> list[int]:
    """Aggregates over the rows of the tables whose container has no name, or that no runtime confirmed."""
    rows = " UNION ALL ".join(
        f"""SELECT node, container, pod, container_name, cgroup_path, pod_uid, claimed FROM {name}
        WHERE time >= ? AND time <= ? AND (claimed OR ({_NAMELESS}))"""  # noqa: S608
        for name in tables
    )
    times = [window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)] * len(tables)
    named = ", ".join(f"{text} AS number_{i}" for i, text in enumerate(counted))
    query = f"SELECT {named} FROM ({rows}) p {joined}"  # noqa: S608
    (found,) = fetched(connection, query, times, dict.fromkeys(tables, _SUCH))
    return [int(number or 0) for number in found.values()]


_NAMELESS = "container IS NOT NULL AND pod IS NULL AND container_name IS NULL"
_WITHIN = "rtrim(cgroup_path, '/') = c.path OR starts_with(cgroup_path, c.path || '/')"
#: Cgroups that a runtime's word stands against: node, container, path and `reason`, where it has it.
CONTRADICTIONS = f"""SELECT DISTINCT node, container, rtrim(cgroup_path, '/') AS path, reason FROM container
    WHERE event = '{CONTRADICTED}'"""  # noqa: S608
