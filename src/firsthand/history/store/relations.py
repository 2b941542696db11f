"""The history's tables as SQL: segments and the log's tail, every row once, with the names and peers that are known by now.

A table as a whole is a view. A statement that DuckDB's parser can take apart gets, where it names a table, only the columns that it
means and only the segments that can hold rows of its conditions (mentions.py, summary.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from firsthand import settings
from firsthand.history.engine import duckdb
from firsthand.history.log import tail
from firsthand.history.names import peers_sql, telling
from firsthand.history.names.telling import PEERS
from firsthand.history.store import manifest, snapshot, summary
from firsthand.history.store.manifest import Segment
from firsthand.history.store.mentions import ANY, Condition, Mention
from firsthand.schema import capability, flags
from firsthand.schema.tables import KEPT
from firsthand.settings.sections.top import Top
from firsthand.subjects import registry
from firsthand.subjects.column import Table

_EPOCH = datetime(1970, 1, 1)

#: Computed columns at the end of each view: name -> (SQL, doc). The text form of law 4's identity.
_ID = "substr(boot, 1, 8) || ':' || {0} || ':' || {1} || ':' || {2}"
EXEC_ID = (
    _ID.format("exec_tgid", "exec_start", "exec_number"),
    "the process (program image) as text: BOOT8:TGID:START:NUMBER",
)
PARENT = (_ID.format("parent_tgid", "parent_start", "parent_number"), "the parent's exec_id at the fork, as text")
CREATOR = (
    _ID.format("creator_tgid", "creator_start", "creator_number"),
    "exec_id of the process that made it, where that is not the parent, as text",
)
OPENER = (_ID.format("opener_tgid", "opener_start", "opener_number"), "the opener's exec_id, as text")
PREVIOUS = (_ID.format("exec_tgid", "exec_start", "previous_number"), "the exec_id that this exec replaced, as text")

#: A pod's own cgroup has a pod's uid and no container: these words are known of it.
_OF_PODS = telling.NAMES[:4]
#: The newest names: of a container's id from its `since` to the next one's, and of a pod's uid.
_LATEST = [f"arg_max({name}, time) AS {name}" for name in telling.NAMES]
_TELLING = ", ".join(f"'{word}'" for word in telling.TELLING)
_ELSEWHERE = "place IS NOT NULL AND NOT regexp_matches(place, '[0-9a-f]{64}')"
_CONTAINERS = f"""SELECT *, CASE WHEN row_number() OVER w = 1 THEN TIMESTAMP '-infinity' ELSE since END AS begins,
    lead(since, 1, TIMESTAMP 'infinity') OVER w AS ends FROM (SELECT node, container, since, {", ".join(_LATEST)},
    arg_max(cgroup_path, time) AS place FROM {{_container}}
    WHERE event IN ({_TELLING}) AND container IS NOT NULL GROUP BY node, container, since)
    WINDOW w AS (PARTITION BY node, container ORDER BY since)"""  # noqa: S608
_PODS = f"""SELECT node, pod_uid, {", ".join(_LATEST[: len(_OF_PODS)])} FROM {{_pod}}
    WHERE event IN ({_TELLING}) AND pod_uid IS NOT NULL GROUP BY node, pod_uid"""  # noqa: S608
#: Containers whose id their cgroup's path does not have, by each path that the kernel told in theirs: the innermost one's.
_PLACED = """SELECT k.node, k.path, arg_max(n.container, length(n.place)) AS container FROM (SELECT DISTINCT node,
    rtrim(cgroup_path, '/') AS path FROM {_container} WHERE cgroup_path IS NOT NULL) k
    JOIN (SELECT DISTINCT node, container, place FROM _names WHERE {_elsewhere}) n
    ON k.node = n.node AND (k.path = n.place OR starts_with(k.path, n.place || '/')) GROUP BY k.node, k.path"""
_LOCATED = """SELECT r.* REPLACE (coalesce(r.container, w.container) AS container{claimed}) FROM ({rest}) r
    LEFT JOIN _placed w ON r.container IS NULL AND r.node = w.node AND rtrim(r.cgroup_path, '/') = w.path"""
_NAMED = """SELECT r.* REPLACE ({later}) FROM ({rest}) r{against}
    LEFT JOIN _names n ON r.node = n.node AND r.container = n.container AND r.time >= n.begins AND r.time < n.ends{unless}
    LEFT JOIN _pods p ON r.container IS NULL AND r.node = p.node AND r.pod_uid = p.pod_uid{judged}"""
#: A path up to the container, or the pod, that it names; the rules of identity/claims.py.
_OWN = "regexp_extract({}, '^.*[0-9a-f]{{64}}[^/]*')"
_OWN_POD = "regexp_extract({}, '^.*pod[0-9a-f][0-9a-f_-]{{31,35}}[^/]*')"
#: The same in a text whose tables are still to be put in.
_OWN_LATER = "regexp_extract(cgroup_path, '^.*[0-9a-f]{{64}}[^/]*')"
#: Where runtimes have containers, and with them pods: `id` is a container's or a pod's uid.
_WHERE = f"""SELECT DISTINCT node, container AS id, {_OWN_LATER} AS place FROM {{_container}} WHERE event IN ({_TELLING},
    '{telling.CONFIRMED}') AND container IS NOT NULL AND cgroup_path IS NOT NULL UNION SELECT DISTINCT node, pod_uid,
    regexp_replace({_OWN_LATER}, '/[^/]*$', '') FROM {{_container}} WHERE event IN ({_TELLING},
    '{telling.CONFIRMED}') AND pod_uid IS NOT NULL AND cgroup_path IS NOT NULL"""  # noqa: S608
#: Cgroups that name a container which its runtime has elsewhere, by the newest word.
_AGAINST = f"""SELECT node, path FROM (SELECT node, rtrim(cgroup_path, '/') AS path, arg_max(event, ktime) AS word FROM {{_container}}
    WHERE event IN ('{telling.CONFIRMED}', '{telling.CONTRADICTED}') GROUP BY ALL) WHERE word = '{telling.CONTRADICTED}'"""  # noqa: S608
_AGAINST_JOIN = f"\n    LEFT JOIN _against a ON r.node = a.node AND {_OWN.format('r.cgroup_path')} = a.path"
_JUDGED_JOIN = f"""
    LEFT JOIN _where w ON r.claimed AND r.node = w.node AND w.id = coalesce(r.container, r.pod_uid)
    AND w.place = CASE WHEN r.container IS NULL THEN {_OWN_POD.format("r.cgroup_path")} ELSE {_OWN.format("r.cgroup_path")} END"""

MARKS = (
    "what is remarkable: flag_names with the derived PRIVILEGED, FILELESS and REDACTED, comma separated; null: nothing"
)


def _marks() -> str:
    return flags.sql(capability.bits(settings.usable()[Top].ordinary_capabilities))


def computed(table: str) -> dict[str, tuple[str, str]]:
    """The columns that a view has behind those of its table: SQL and doc by name."""
    names = set(KEPT[table].names)
    ids = {"previous_exec_id": PREVIOUS, "creator_exec_id": CREATOR, "opener_exec_id": OPENER}
    more = {name: one for name, one in ids.items() if name.replace("exec_id", "number") in names}
    if set(flags.COLUMNS) <= names:
        more["marks"] = (_marks(), MARKS)
    return {"exec_id": EXEC_ID, "parent_exec_id": PARENT, **more}


@cache
def known_columns() -> dict[str, tuple[str, ...]]:
    """The columns that each table has for readers, those that are computed included."""
    return {name: (*table.names, *computed(name)) for name, table in KEPT.items()}


class Relations:
    """SQL for the tables of one view. What it holds beside (the tail, names, holders of addresses) it defines in DuckDB when it is first
    needed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, view: snapshot.View) -> None:
        self._duckdb = connection
        self._view = view
        self._told: dict[str, bool] = {}
        self._placed: bool | None = None
        self._peers_late: dict[str, bool] = {}
        self._tails: dict[str, list[tuple[str, Collection[str]]]] = {}
        self._kept: dict[str, dict[str, dict[str, bytes]]] = {}
        self._heads: dict[str, dict[str, summary.SegmentHead]] = {}
        self._computed: dict[str, dict[str, tuple[str, str]]] = {}

    def view(self, table: Table) -> str:
        """A query of a whole table."""
        return self._query(table, known_columns()[table.name], list(self._view.segments(table.name)))

    def mentioned(self, mention: Mention) -> str:
        """What stands for a mention of a table in a statement: the rows that can matter there, with the columns that it means."""
        every = known_columns()[mention.table]
        wanted = [name for name in every if mention.columns is None or name in mention.columns] or [every[0]]
        query = self._query(KEPT[mention.table], wanted, self.chosen(mention.table, mention.condition))
        alias = mention.alias.replace('"', '""')
        return f'({query}) AS "{alias}"'

    # ---- which segments ----

    def chosen(self, table: str, condition: Condition, without: Collection[str] = ()) -> list[Segment]:
        """The segments of a table that can hold rows of a condition; not those whose paths are in `without`."""
        condition = _by_numbers(condition)
        every = self._view.listed(table)
        kept = {*summary.COLUMNS.get(table, ()), *summary.FACTS.get(table, ())}
        names = summary.columns(condition) & kept if every else ()
        parts = self._parts(table, [summary.HEAD, *names]) if condition.sign != "any" and every else {}
        heads = self.heads(table) if parts else {}
        moved = bool(_LATER & set(names)) and self._elsewhere(KEPT[table])
        found = []
        for one in every:
            head = heads.get(one.path)
            if one.path in without:
                continue
            if head is not None:
                values = {name: summary.opened(parts[name].get(one.path), one.sha256, name) for name in names}
                values[summary.UNSURE] = summary.NOTHING if one.unnamed == 0 else None
                if not summary.may(condition, head, _certain(values) if one.unnamed != 0 or moved else values):
                    continue
            found.append(one)
        return self._view.whole(table, found)

    def heads(self, table: str) -> dict[str, summary.SegmentHead]:
        """What is known of a table's segments, by path."""
        if table not in self._heads:
            parts = self._parts(table, [summary.HEAD])[summary.HEAD]
            known = (
                (one.path, summary.head(parts.get(one.path), one.sha256, table)) for one in self._view.listed(table)
            )
            self._heads[table] = {path: head for path, head in known if head is not None}
        return self._heads[table]

    def _parts(self, table: str, names: Collection[str]) -> dict[str, dict[str, bytes]]:
        kept = self._kept.setdefault(table, {})
        if missing := [name for name in names if name not in kept]:
            kept |= manifest.summaries(self._view.directory, table, missing)
        return kept

    # ---- rows ----

    def _query(self, table: Table, wanted: Sequence[str], segments: list[Segment]) -> str:
        more = self._more(table.name)
        words = {name for one in wanted if one in more for name in _words(more[one][0])}
        names = {name for name in table.names if name in wanted or name in words}
        peers = names & set(PEERS)
        source = self._with_peers(table, names, segments) if peers else self._source(table, names, segments)
        columns = [f"{more[name][0]} AS {name}" if name in more else f'"{name}"' for name in wanted]
        return f"SELECT {', '.join(columns)} FROM ({source})"  # noqa: S608 - names of KEPT

    def _more(self, table: str) -> dict[str, tuple[str, str]]:
        """The computed columns of a table, which settings decide: read once."""
        if table not in self._computed:
            self._computed[table] = computed(table)
        return self._computed[table]

    def _with_peers(self, table: Table, names: set[str], segments: list[Segment]) -> str:
        """Connections with their peers: as they were written, but where somebody may have held an address who was not known then."""
        late = self._late(table, segments)
        held = (bool(late) or self._late_tail(table)) and self._tell("_holders", peers_sql.HOLDERS)
        source = self._source(table, names | _OF_PEERS, segments if not held else late)
        if not held or len(late) == len(segments):
            return peers_sql.joined(source, "_holders" if held else None)
        rest = self._source(table, names | _BY_THEMSELVES, [one for one in segments if one not in late], tail=False)
        return f"{peers_sql.joined(source, '_holders')} UNION ALL BY NAME {peers_sql.joined(rest, None)}"

    def _late(self, table: Table, segments: list[Segment]) -> list[Segment]:
        """Segments with a peer whose address had no known holder when they were written, and has one in the record now."""
        heads = self.heads(table.name)
        unknown = [one for one in segments if one.path not in self._peers_late]
        self._peers_late |= {one.path: not (one.path in heads and heads[one.path].whole) for one in unknown}
        asked = [one for one in unknown if not self._peers_late[one.path]]
        if asked and self._tell("_addresses", peers_sql.ADDRESSES):
            files = _files(self._paths(asked), ", filename = true")
            found = self._duckdb.execute(peers_sql.late("DISTINCT filename", files)).fetchall()
            paths = {Path(path) for (path,) in found}
            self._peers_late |= {one.path: (self._view.root / one.path).absolute() in paths for one in asked}
        return [one for one in segments if self._peers_late[one.path]]

    def _late_tail(self, table: Table) -> bool:
        """The same of the log's rows."""
        if not self._view.tail_of(table.name) or not self._tell("_addresses", peers_sql.ADDRESSES):
            return False
        rows = self.rows(table, [], ("peer_kind", "peer_address", "nat_address"))
        return bool(self._duckdb.execute(f"{peers_sql.late('1', f'({rows})')} LIMIT 1").fetchall())

    def _source(self, table: Table, names: set[str], segments: list[Segment], *, tail: bool = True) -> str:
        """Segments whose rows have their names as they are; the others, and the tail, with the names that came later."""
        later = [name for name in telling.NAMES if name in names and name in table.names]
        told = later or (names & {"container", "claimed"} and "cgroup_path" in table.names)
        named = table.name != "pod" and "pod_uid" in table.names and "pod" in table.names and told
        moved = bool(named) and self._elsewhere(table)
        unnamed = [one for one in segments if one.unnamed != 0 or moved]
        if not named or not self._without_names(table, unnamed, tail=tail):
            return self.rows(table, segments, names, tail=tail)
        needed = names | (_OF_NAMES & set(table.names))
        joined = self._named(table, self.rows(table, unnamed, needed, tail=tail), later)
        known = [] if moved else [one for one in segments if one.unnamed == 0]
        return joined if not known else f"{joined} UNION ALL BY NAME {self._of_segments(table, known, needed)}"

    def _named(self, table: Table, rest: str, later: Sequence[str]) -> str:
        """Rows with the names that came later, and what is known by now of where their containers are (identity/claims.py)."""
        claims = "claimed" in table.names
        if self._elsewhere(table) and self._tell("_placed", _PLACED):
            told = "CASE WHEN r.container IS NULL AND w.container IS NOT NULL THEN false ELSE r.claimed END"
            rest = _LOCATED.format(rest=rest, claimed=f", {told} AS claimed" if claims else "")
        against = claims and self._tell("_against", _AGAINST)
        judged = claims and self._tell("_where", _WHERE)
        unless = " AND a.path IS NULL" if against else ""
        words = [f"coalesce(r.{name}, n.{name}{f', p.{name}' if name in _OF_PODS else ''}) AS {name}" for name in later]
        if judged:
            words.append(f"CASE WHEN w.place IS NOT NULL{unless} THEN false ELSE r.claimed END AS claimed")
        if not words:
            return rest
        joins = {
            "against": _AGAINST_JOIN if against else "",
            "unless": unless,
            "judged": _JUDGED_JOIN if judged else "",
        }
        return _NAMED.format(later=", ".join(words), rest=rest, **joins)

    def _without_names(self, table: Table, unnamed: list[Segment], *, tail: bool) -> bool:
        """Whether a table has rows that lack names which are known by now."""
        if not unnamed and not (tail and self._view.tail_of(table.name)):
            return False
        told = [self._tell("_names", _CONTAINERS), self._tell("_pods", _PODS)]
        return any(told)

    def _elsewhere(self, table: Table) -> bool:
        """Whether runtimes know containers whose id their cgroup's path does not have: any row of a table may be of one, also a row that
        was written as the host's before its runtime named the container."""
        if not {"cgroup_path", "pod_uid", "pod"} <= set(table.names) or not self._some_placed():
            return False
        if not self._tell("_names", _CONTAINERS):
            return False
        ((number,),) = self._duckdb.execute(f"SELECT count(*) FROM _names WHERE {_ELSEWHERE}").fetchall()  # noqa: S608
        return bool(number)

    def _some_placed(self) -> bool:
        """Whether any word of a runtime puts a container where its id is not: seldom, and found without putting all words together."""
        if self._placed is None:
            rows = self.rows(KEPT["container"], self._view.segments("container"), ("event", "cgroup_path"))
            places = f"SELECT cgroup_path AS place FROM ({rows}) WHERE event IN ({_TELLING})"  # noqa: S608
            found = self._duckdb.execute(f"SELECT 1 FROM ({places}) WHERE {_ELSEWHERE} LIMIT 1").fetchall()  # noqa: S608
            self._placed = bool(found)
        return self._placed

    def _tell(self, name: str, query: str) -> bool:
        """Hold what a query of told rows finds as a table, once; whether it found any."""
        if name not in self._told:
            raw = {
                f"_{one}": f"({self.rows(KEPT[one], self._view.segments(one), _words(query) & set(KEPT[one].names))})"
                for one in telling.TABLES
                if f"{{_{one}}}" in query
            }
            ((number,),) = self._duckdb.execute(
                f"CREATE TABLE {name} AS {query.format(**raw, _elsewhere=_ELSEWHERE)}"
            ).fetchall()
            self._told[name] = number > 0
        return self._told[name]

    def rows(self, table: Table, segments: Sequence[Segment], names: Collection[str] = (), *, tail: bool = True) -> str:
        """A query of the log's rows of a table (`tail`) and of those of segments, whether there are any or not. `names`: these columns,
        none: all."""
        columns = [column for column in table.columns if not names or column.name in names]
        table = replace(table, columns=tuple(columns))
        log = self._tail(table) if tail else ()
        queries = [f'SELECT {_columns(table, known)} FROM "{name}"' for name, known in log]  # noqa: S608
        if segments:
            queries.append(self._of_segments(table, segments, table.names))
        if not queries:
            queries = [f"SELECT {_columns(table, ())} WHERE false"]
        return " UNION ALL BY NAME ".join(queries)

    def _of_segments(self, table: Table, segments: Sequence[Segment], names: Collection[str]) -> str:
        """Rows of segments. Those of this version are opened when they are read; of the others, which lack columns, each one before."""
        heads = self.heads(table.name)
        alike = [one for one in segments if one.path in heads and heads[one.path].whole]
        others = [one for one in segments if one.path not in heads or not heads[one.path].whole]
        listed = ", ".join(f'"{name}"' for name in KEPT[table.name].names if name in names)
        queries = []
        if alike:
            queries.append(f"SELECT {listed} FROM {_files(self._paths(alike))}")  # noqa: S608 - quoted
        if others:
            files = _files(self._paths(others), ", union_by_name = true")
            empty = f"SELECT {_columns(KEPT[table.name], ())} WHERE false"
            queries.append(f"SELECT {listed} FROM ({empty} UNION ALL BY NAME SELECT * FROM {files})")  # noqa: S608 - quoted
        return " UNION ALL BY NAME ".join(queries)

    def _paths(self, segments: Sequence[Segment]) -> list[Path]:
        return [self._view.root / one.path for one in segments]

    def _tail(self, table: Table) -> list[tuple[str, Collection[str]]]:
        """The log's rows of a table as DuckDB knows them: by name, with the columns that are there."""
        if table.name not in self._tails:
            found: list[tuple[str, Collection[str]]] = []
            for number, (source, known) in enumerate(tail.sources(self._view.tail_of(table.name))):
                self._duckdb.register(f"_{table.name}_tail_{number}", source)
                found.append((f"_{table.name}_tail_{number}", known))
            self._tails[table.name] = found
        return self._tails[table.name]

    # ---- times ----

    def between(self, table: Table, since: datetime, until: datetime) -> tuple[int, str | None]:
        """The rows of segments that lie between two moments as a whole, and a query of the times of all other rows there; None: there are
        none."""
        span = Condition("and", parts=(Condition(">=", "time", (since,)), Condition("<=", "time", (until,))))
        heads = self.heads(table.name)
        inside = [
            one for one in self._view.sized(table.name) if one.path in heads and heads[one.path].within(since, until)
        ]
        paths = {one.path for one in inside}
        rest = self.chosen(table.name, span, without=paths)
        there = rest or self._view.length(table.name)
        return sum(one.rows for one in inside), self.rows(table, rest, ("time",)) if there else None

    def bounds(self, table: Table) -> Iterator[tuple[datetime, datetime]]:
        """The first and the last moment of the log's rows, and of the segments'; `seen` apart."""
        self._duckdb.abort()
        if self._view.length(table.name):
            query = (
                f"SELECT min(time), max(time) FROM ({self.rows(table, [], ('time', 'event'))}) WHERE event <> 'seen'"  # noqa: S608
            )
            for first, last in self._duckdb.execute(query).fetchall():
                if first is not None:
                    yield first, last
        segments = [one for one in self._view.sized(table.name) if one.time_min is not None]
        if segments:
            last = _moment(max(one.time_max or 0 for one in segments))
            yield self._first(table, segments) or last, last

    def _first(self, table: Table, segments: Collection[Segment]) -> datetime | None:
        """When the first row of some segments happened, which need not be in the one that begins first: rows of `seen` do not count.
        A segment whose summary knows of none is not read."""
        first: datetime | None = None
        summarised = "event" in summary.COLUMNS.get(table.name, ())
        kinds = self._parts(table.name, ["event"])["event"] if summarised else {}
        never = "seen" not in (
            registry.TABLES[table.name].kinds or ("seen",)
        )  # what the kernel records can be there before
        seen = Condition("=", "event", ("seen",))
        for one in sorted(segments, key=lambda one: one.time_min or 0):
            if first is not None and _moment(one.time_min or 0) >= first:
                break
            head = self.heads(table.name).get(one.path)
            known = summary.opened(kinds.get(one.path), one.sha256, "event")
            if never or (head is not None and known is not None and not summary.may(seen, head, {"event": known})):
                found: datetime | None = _moment(one.time_min or 0)
            elif one in self._view.whole(table.name, [one]):
                query = f"SELECT min(time) FROM {_files(self._paths([one]))} WHERE event <> 'seen'"  # noqa: S608
                ((found,),) = self._duckdb.execute(query).fetchall()
            else:
                continue
            first = min(first or found, found) if found is not None else first
        return first


#: What it takes to say who held a peer's address.
_OF_PEERS = {"node", "boot", "time", "event", "duration", "nat_address", "peer_address", *PEERS}
#: The same where nobody held it.
_BY_THEMSELVES = {"nat_address", "peer_address", *PEERS}
#: What it takes to say whose a row is.
_OF_NAMES = {"node", "container", "pod_uid", "time", "cgroup_path", "claimed"}
#: Columns with an exec_id as text, and the column whose number selects the segments.
_TEXTS = {"exec_id": "exec_start", "parent_exec_id": "parent_start", "opener_exec_id": "opener_start"}


def _by_numbers(condition: Condition) -> Condition:
    """A condition with exec_ids as numbers."""
    if condition.parts:
        return replace(condition, parts=tuple(map(_by_numbers, condition.parts)))
    if condition.column not in _TEXTS:
        return condition
    starts = [str(value).split(":")[2:3] for value in condition.values]
    if condition.sign != "=" or not all(one and one[0].isdigit() for one in starts):
        return ANY
    return Condition("=", _TEXTS[condition.column], tuple(int(one[0]) for one in starts))


#: Columns of a segment's rows in whose place what was reported later may stand.
_LATER = {*telling.NAMES, "container"}


def _certain(values: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """Without the names that later ones replace in rows of a segment."""
    return {name: value for name, value in values.items() if name not in _LATER}


@cache
def _words(sql: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", sql))


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _columns(table: Table, known: Collection[str]) -> str:
    """All columns of a table, of a source that has the `known` ones."""
    return ", ".join(f'"{c.name}"' if c.name in known else f'NULL::{c.sql_type} AS "{c.name}"' for c in table.columns)


def _files(paths: list[Path], more: str = "") -> str:
    listed = ", ".join(quoted(str(path.absolute())) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false{more})"


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
