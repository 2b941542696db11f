"""`credentials`: which workloads hold credentials, read them, and used them.

`used`: a connection to a service that takes them, by the name that was asked for, in the ClientHello or the HTTP head. `read`: a file that
holds them was opened, or a host that hands them out was reached. `held`: a program was started with variables that hold them, by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firsthand.ask import credentials, nameless, talk, watched
from firsthand.ask.answer import COUNT, Asked, Found, cut, plural
from firsthand.ask.completeness import spans
from firsthand.ask.conversations import ASKER, OPEN
from firsthand.ask.credentials import Kind, expression
from firsthand.ask.nearest import meant
from firsthand.ask.question import Question
from firsthand.ask.questions.pods import last
from firsthand.ask.reliance import PEERS
from firsthand.ask.target import ALIAS, OWNER
from firsthand.errors import UsageError
from firsthand.history.names.telling import TELLING
from firsthand.settings.watchlist import READ

NEEDS = ("process", "connection", "request", "name", "packet", "container", "pod", "file")
#: From the weakest to the strongest.
GRADES = ("held", "read", "used")
_COLUMNS = ["grade", "credential", "who", "pods", "binaries", "evidence", "times", "first", "last"]
_WIDE = ["namespace", "images", "containers", "node"]
#: Bytes of an environment of which names are kept (TEXT_BYTES of kernel/include/maps.h).
ENVIRONMENT = 4096
#: Whose a row is.
_WHOSE = ("pod", "namespace", "workload", "container", "container_name", "claimed", "exe")
#: How many of each list a row shows.
_MOST = 8
_UNTIL = "nullif(arg_max(coalesce(until, TIMESTAMP 'infinity'), time), TIMESTAMP 'infinity')"


@dataclass
class _Container:
    """What a container's runtime said of it."""

    workload: str | None
    by_label: bool
    image: str | None
    digest: str | None


@dataclass
class _Use:
    """One row of the answer while it is gathered."""

    grade: str = "held"
    times: int = 0
    first: datetime | None = None
    last: datetime | None = None
    evidence: dict[str, None] = field(default_factory=dict)
    values: dict[str, dict[str, None]] = field(default_factory=dict)
    node: str | None = None
    namespace: str | None = None

    def add(self, grade: str, row: dict[str, Any], evidence: str, known: _Container | None) -> None:
        """One more thing that shows it. `row`: with the columns that say whose it is."""
        if GRADES.index(grade) > GRADES.index(self.grade):
            self.grade = grade
        self.evidence[evidence] = None
        self.times += int(row.get("times") or 0)
        begins = [one for one in (self.first, row.get("first")) if one is not None]
        ends = [one for one in (self.last, row.get("last")) if one is not None]
        self.first, self.last = min(begins, default=None), max(ends, default=None)
        self.node, self.namespace = row["node"], row["namespace"]
        shown = {
            "pods": row["pod"],
            "binaries": row.get("exe"),
            "containers": row["container_name"] or row["container"],
        }
        for name, value in {**shown, "images": known.image if known else None}.items():
            if value is not None:
                self.values.setdefault(name, {})[value] = None


def used(asked: Asked) -> Found:
    """One row for each workload and kind of credentials, the strongest grade first."""
    kinds = credentials.chosen(asked.arguments[0] if asked.arguments else None)
    containers = _containers(asked)
    without = _Without(asked.without, containers)
    uses: dict[tuple[str, str], _Use] = {}
    for kind, grade, row, evidence in _shown(asked, kinds):
        known = containers.get((row["node"], row["container"]))
        if not without.covers(kind, row, known):
            uses.setdefault((kind.name, _who(row)), _Use()).add(grade, row, evidence, known)
    rows = [_row(kind, who, use) for (kind, who), use in uses.items()]
    rows.sort(key=lambda row: (-GRADES.index(row["grade"]), row["credential"], row["who"]))
    stronger = [row for row in rows if row["grade"] != "held"]
    reasons = without.reasons() if not stronger else []
    reasons += _unread(asked, kinds) + _renamed(asked, kinds)
    if any(kind.services for kind in kinds) and not any(row["grade"] == "used" for row in rows):
        what = "hosts that take such credentials"
        reasons += nameless.reasons(asked, what) + nameless.unread(asked, what)
    unwatched = _unwatched(asked, kinds)
    if not stronger and any(kind.name in unwatched and not kind.services for kind in kinds):
        reasons.append(
            f"not all files of {', '.join(unwatched)} credentials were watched (section files of the settings)"
        )
    return Found(
        _sentence(asked, rows, without, unwatched),
        cut(rows, asked.limit),
        len(rows),
        _COLUMNS,
        wide=_WIDE,
        reasons=reasons,
    )


def _shown(asked: Asked, kinds: list[Kind]) -> Iterator[tuple[Kind, str, dict[str, Any], str]]:
    """Kind, grade, row and evidence of all that shows one."""
    for row in (*_talks(asked, kinds), *_heads(asked, kinds)):
        for kind in kinds:
            yield from _of_talk(kind, row)
    for row in _reads(asked, kinds):
        for kind in kinds:
            for path in _files(kind, row):
                yield kind, "read", row, f"opened {path}"
    for row in _environments(asked, kinds):
        for kind in kinds:
            for name in _fitting(kind.variables, row["variables"]):
                yield kind, "held", row, f"variable {name}"


def _files(kind: Kind, row: dict[str, Any]) -> list[str]:
    """The names of a row's file by which it is of a kind: the path, else the one in its own file system, of which a mount shows a part."""
    fits = re.compile(credentials.of_files(kind.files))
    return [path for path in (row["path"], row["source_path"]) if path and fits.match(path)][:1]


def _of_talk(kind: Kind, row: dict[str, Any]) -> Iterator[tuple[Kind, str, dict[str, Any], str]]:
    names, addresses = kind.handing
    for name in _fitting(kind.services, row["reached"]):
        if not _fitting(names, [name]):
            yield kind, "used", row, f"connected to {name}"
    for name in _fitting(names, row["reached"]):
        yield kind, "read", row, f"asked {name} for a token"
    for address in (row["peer_address"], row["nat_address"]):
        if address in addresses:
            yield kind, "read", row, f"reached {address}, which hands them out"


def _fitting(patterns: Iterable[str], words: Iterable[str]) -> list[str]:
    fits = re.compile(expression(patterns))
    return [word for word in words if fits.match(word)]


def _who(row: dict[str, Any]) -> str:
    """The workload, else the pod, else the container, else the program on the host; with a mark behind what only a cgroup's path says."""
    pod = row["pod"] and "/".join(filter(None, (row["namespace"], row["pod"])))
    inside = row["workload"] or pod or row["container_name"] or (row["container"] and row["container"][:12])
    who = inside or f"host {row.get('exe') or '?'}"
    return f"{who}?" if row.get("claimed") else str(who)


def _row(kind: str, who: str, use: _Use) -> dict[str, Any]:
    lists = {name: list(use.values.get(name, ()))[:_MOST] for name in ("pods", "binaries", "images", "containers")}
    shown = {"grade": use.grade, "credential": kind, "who": who, "evidence": list(use.evidence)[:_MOST]}
    times = {"times": use.times, "first": use.first, "last": use.last}
    return {**shown, **lists, **times, "namespace": use.namespace, "node": use.node}


def _sentence(asked: Asked, rows: list[dict[str, Any]], without: _Without, unwatched: list[str]) -> str:
    what = f"{asked.arguments[0]} credentials" if asked.arguments else "credentials"
    many = {grade: sum(row["grade"] == grade for row in rows) for grade in GRADES}
    yes = "Yes" if many["used"] or many["read"] else "No"
    counted = (
        f"{plural(many['used'], 'workload')} used {what}, {many['read']:,} read them, {many['held']:,} only hold them"
    )
    beside = ["who opened their files is known of watched ones alone"] if unwatched else []
    return "; ".join([f"{yes}: {counted}", *beside, *without.words()])


# ---- what is left out ----


class _Without:
    """What --except leaves out: workloads by name, images by digest."""

    def __init__(self, given: Iterable[str], containers: dict[tuple[str, str], _Container]) -> None:
        """Raises UsageError for what the history does not know."""
        self._digests = {one.rpartition("@")[2] for one in given if "sha256:" in one}
        self._workloads = {one.lower(): one for one in given if "sha256:" not in one}
        self.left_out, self.by_label = set[tuple[str, str]](), set[str]()
        known = {one.workload for one in containers.values() if one.workload}
        digests = {one.digest for one in containers.values() if one.digest}
        for one in self._workloads:
            if one not in {name.lower() for name in known}:
                raise UsageError(
                    f"--except {self._workloads[one]}: no such workload is in this history{meant(self._workloads[one], known)}; "
                    "give NAMESPACE/KIND/NAME, or IMAGE@sha256:DIGEST"
                )
        for one in sorted(self._digests - digests):
            raise UsageError(f"--except {one}: no container of this history has an image of this digest (`ask images`)")

    def covers(self, kind: Kind, row: dict[str, Any], known: _Container | None) -> bool:
        """Whether a row is left out. A container that only a cgroup's path names never is."""
        if row.get("claimed") or known is None:
            return False
        if known.digest not in self._digests and (known.workload or "").lower() not in self._workloads:
            return False
        if known.digest not in self._digests and known.by_label:
            self.by_label.add(str(known.workload))
        self.left_out.add((kind.name, _who(row)))
        return True

    def words(self) -> list[str]:
        """For the sentence."""
        return [f"{plural(len(self.left_out), 'row')} left out (--except)"] if self.left_out else []

    def reasons(self) -> list[str]:
        """Why "none other" is not proven."""
        return [
            f"{name} is known by labels alone, which whoever makes pods there can set: leave it out by IMAGE@sha256:DIGEST"
            for name in sorted(self.by_label)
        ]


# ---- what is read ----


def _containers(asked: Asked) -> dict[tuple[str, str], _Container]:
    """Those that existed in the window, by node and id."""
    told = f"event IN ({', '.join(repr(word) for word in TELLING)})"
    where, parameters = asked.existing((told, []), ("kind IS DISTINCT FROM 'sandbox'", []))
    words = ("workload", "workload_source", "image", "image_digest")
    query = f"""SELECT node, container, {last(*words)}, min(since) AS since, {_UNTIL} AS until FROM container
        WHERE {where} GROUP BY node, container HAVING coalesce({_UNTIL}, TIMESTAMP 'infinity') >= ?"""  # noqa: S608
    return {
        (row["node"], row["container"]): _Container(
            row["workload"], row["workload_source"] is not None, row["image"], row["image_digest"]
        )
        for row in asked.rows(query, [*parameters, asked.since])
    }


def _talks(asked: Asked, kinds: list[Kind]) -> list[dict[str, Any]]:
    """Connections that were made from here to hosts of these kinds, by whom and with which names: those that were asked for, those that
    they stood for (CNAME), those of all heads."""
    names = _hosts(kinds)
    addresses = sorted({one for kind in kinds for one in kind.handing[1]})
    aliases = _aliases(asked, names)
    heads, values = asked.reaching(("regexp_matches(coalesce(sni, host, ''), ?)", [names]))
    where, parameters = asked.reaching((f"({talk.TOLD} OR event IN ('seen', 'taken'))", []))
    among = "IN (SELECT unnest(CAST(? AS VARCHAR[])))"
    query = f"""WITH heads AS (SELECT node, boot, cookie, list_sort(list(DISTINCT coalesce(sni, host))) AS heads FROM request WHERE {heads}
            GROUP BY node, boot, cookie),
        told AS (SELECT c.* EXCLUDE (names), heads, list_filter(coalesce(names, []), lambda n: regexp_matches(n, ?)
                OR list_contains(CAST(? AS VARCHAR[]), asker || ' ' || n)) AS names, {talk.DIRECTION} AS way, {talk.BEGAN} AS began
            FROM (SELECT *, {ASKER} AS asker FROM connection WHERE {where}) c LEFT JOIN heads h
                ON c.node = h.node AND c.boot = h.boot AND c.cookie = h.cookie),
        talks AS (SELECT node, boot, cookie, peer_address, {", ".join(f"any_value({name}) AS {name}" for name in (*_WHOSE, "asker"))},
                any_value(nat_address) AS nat_address, any_value(heads) AS heads, list_distinct(flatten(list(names))) AS names,
                min(began) AS first, max({talk.LAST}) AS last, coalesce(max(folded_count), 1) AS many
            FROM told AS ways WHERE (len(names) > 0 OR heads IS NOT NULL OR peer_address {among} OR nat_address {among})
                AND way IS DISTINCT FROM 'in'
            GROUP BY node, boot, cookie, peer_address, peer_port
            HAVING (bool_or(ways.time >= ? OR coalesce(ways.folded_until >= ?, false)) OR ({OPEN}))
                AND bool_or({talk.FLOW} OR event IN ('close', 'folded', 'seen', 'taken') OR outcome = 'established'))
        SELECT node, {", ".join(_WHOSE)}, asker, peer_address, nat_address, heads, names, min(first) AS first, max(last) AS last,
            sum(many)::BIGINT AS times FROM talks GROUP BY ALL ORDER BY first"""  # noqa: S608
    given = [*values, names, sorted(aliases), *parameters, addresses, addresses, asked.since, asked.since]
    rows = asked.rows(query, given)
    for row in rows:
        stands = {one for name in row["names"] or () for one in aliases.get(f"{row['asker']} {name}", ())}
        row["reached"] = [*dict.fromkeys((*(row["names"] or ()), *sorted(stands), *(row["heads"] or ())))]
    return rows


def _hosts(kinds: list[Kind]) -> str:
    """An expression for the hosts of these kinds: services, and those that hand out tokens."""
    return expression([one for kind in kinds for one in (*kind.services, *kind.handing[0])])


def _heads(asked: Asked, kinds: list[Kind]) -> list[dict[str, Any]]:
    """Heads of TLS and HTTP that were sent to hosts of these kinds on connections of which no row is held."""
    where, parameters = asked.where(
        ("regexp_matches(coalesce(sni, host, ''), ?) AND direction IS DISTINCT FROM 'in'", [_hosts(kinds)])
    )
    query = f"""WITH heads AS MATERIALIZED (SELECT * FROM request WHERE {where})
        SELECT node, {", ".join(_WHOSE)}, peer_address, NULL AS nat_address, [coalesce(sni, host)] AS reached,
            min(time) AS first, max(time) AS last, count(*) AS times
        FROM heads ANTI JOIN connection USING (cookie, boot, node) GROUP BY ALL ORDER BY first"""  # noqa: S608
    return asked.rows(query, parameters)


def _aliases(asked: Asked, names: str) -> dict[str, set[str]]:
    """What names that somebody asked for stood for (CNAME), where that fits the expression; whoever asked may use it for longer than the
    answer's time to live. By asker and name."""
    named = f"list_transform(records, lambda r: [{OWNER}, {ALIAS}])"
    fitting = (
        f"list_filter(list_distinct(flatten({named})), lambda n: coalesce(n <> name AND regexp_matches(n, ?), false))"
    )
    where, parameters = asked.existing(("event = 'answer'", []))
    query = f"""SELECT asker || ' ' || name AS asked, list_distinct(flatten(list(fitting))) AS fitting
        FROM (SELECT {ASKER} AS asker, name, {fitting} AS fitting FROM name WHERE {where}) WHERE len(fitting) > 0 GROUP BY ALL"""  # noqa: S608
    return {row["asked"]: set(row["fitting"]) for row in asked.rows(query, [names, *parameters])}


def _environments(asked: Asked, kinds: list[Kind]) -> list[dict[str, Any]]:
    """Programs that ran in the window with variables of these kinds, by whose they were."""
    names = expression(one for kind in kinds for one in kind.variables)
    fits = "list_filter(coalesce(env_names, []), lambda n: regexp_matches(n, ?))"
    where, parameters = asked.running(("event IN ('exec', 'seen', 'folded')", []))
    whose = ("pod", "namespace", "workload", "container", "container_name", "claimed", "exe")
    query = f"""WITH found AS (SELECT *, {fits} AS variables FROM (SELECT * FROM process p WHERE {where}))
        SELECT node, {", ".join(whose)}, list_distinct(flatten(list(variables))) AS variables, min(time) AS first, max(time) AS last,
            sum({COUNT})::BIGINT AS times FROM found WHERE len(variables) > 0 GROUP BY ALL ORDER BY first"""  # noqa: S608
    return asked.rows(query, [names, *parameters])


def _reads(asked: Asked, kinds: list[Kind]) -> list[dict[str, Any]]:
    """Watched files of these kinds that were opened, by whom; a refused try read nothing."""
    fits, values = _by_path(credentials.of_files(one for kind in kinds for one in kind.files), "path", "source_path")
    where, parameters = asked.where(("event = 'open' AND error IS NULL", []), (fits, values))
    query = f"""SELECT node, {", ".join(_WHOSE)}, path, source_path, min(time) AS first, max(time) AS last, count(*) AS times FROM file
        WHERE {where} GROUP BY ALL ORDER BY first"""  # noqa: S608
    return asked.rows(query, parameters)


def _by_path(names: str, *columns: str) -> tuple[str, list[Any]]:
    """SQL for rows of `file` of which one of the columns fits a regular expression."""
    words = " OR ".join(f"coalesce(regexp_matches({column}, ?), false)" for column in columns)
    return f"({words})", [names] * len(columns)


def _renamed(asked: Asked, kinds: list[Kind]) -> list[str]:
    """Why a file of these kinds may have been read by a name that is not watched: it, or a folder above it, got another one."""
    entries = [one for kind in kinds for one in kind.files]
    before, values = _by_path(credentials.of_folders(entries), "path", "source_path")
    after, more = _by_path(credentials.of_files(entries), "target")
    other = f"event IN ('rename', 'link') AND error IS NULL AND {before} AND NOT {after}"
    where, parameters = asked.existing((other, [*values, *more]))
    number = asked.number(f"SELECT count(*) FROM file WHERE {where}", parameters)  # noqa: S608
    once = (
        "a file that holds such credentials, or a folder of one, got"
        if number == 1
        else "files that hold such credentials, or their folders, got"
    )
    times = "another name" if number == 1 else f"another name {number:,} times"
    return [f"{once} {times}: who opened it by that is not known"] if number else []


def _unwatched(asked: Asked, kinds: list[Kind]) -> list[str]:
    """Of which kinds not all files were watched throughout the window."""
    lists = [watched.of_span(span) for span in watched.inside(asked, spans(asked.connection, asked.window.until))]
    return [kind.name for kind in kinds if not all(some.covers(entry, READ) for some in lists for entry in kind.files)]


def _unread(asked: Asked, kinds: list[Kind]) -> list[str]:
    """Why a variable may not have been seen: environments that are longer than what is read of them, or could not be read."""
    if not any(kind.variables for kind in kinds):
        return []
    long, unread = f"coalesce(env_length > {ENVIRONMENT}, false)", "contains(coalesce(flag_names, ''), 'ENV_UNREAD')"
    where, parameters = asked.running((f"event IN ('exec', 'seen', 'folded') AND ({long} OR {unread})", []))
    query = (
        f"SELECT count(*) FILTER ({long}) AS long, count(*) FILTER ({unread}) AS unread FROM process p WHERE {where}"  # noqa: S608
    )
    (row,) = asked.rows(query, parameters)
    found = []
    if row["long"]:
        several = plural(row["long"], "environment")
        found.append(f"the names of variables behind the first {ENVIRONMENT:,} bytes of {several} were not read")
    if row["unread"]:
        found.append(f"{plural(row['unread'], 'environment')} could not be read")
    return found


QUESTIONS = {
    "credentials": Question(
        "which workloads hold, read and used credentials",
        "[KIND]",
        used,
        NEEDS,
        names_matter=True,
        lasting=True,
        whole=True,
        takes=(0, 1),
        options=frozenset({"without"}),
        relies=PEERS,
        rank=95,
    ),
}
