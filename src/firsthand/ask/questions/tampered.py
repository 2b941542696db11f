"""`tampered`: files of which the page cache held something else than the disk, though nothing was written (docs/content.md).

"No" is said of the files that were compared and of the rounds in which they were: what was not compared, and when none was, is a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from firsthand.ask import completeness, watched
from firsthand.ask.answer import Asked, Found, cut, iso, plural
from firsthand.ask.question import Question
from firsthand.errors import UsageError

#: `process` for who executed what differs.
NEEDS = ("content", "process")
_COLUMNS = ["path", "found", "same_before", "until", "bytes_differ", "first_offset", "executed", "by", "cached_sha256"]
_WIDE = ["disk_sha256", "kind", "size", "changed", "file_device", "file_inode", "filesystem", "node"]
#: Rows of what goes on are written again each day; what stood at the window's begin is in the day before.
_BEFORE = timedelta(hours=26)
#: How much later than it is due a round may begin: files that are being written are tried again within a round.
_LATE = timedelta(seconds=60)
#: Names of those that executed a file, and paths that are suggested.
_NAMED = 5


#: States of a file that is not compared, for it is not on the list, or not there.
_AWAY = ("off", "absent")


@dataclass
class _Checked:
    """What the rows of `listed` tell of a file in the window: it was compared; why it was not, where that was so once; since when it is
    not on the list (None: it is), and the spans of the window in which it was not."""

    compared: bool = False
    reason: str | None = None
    away: datetime | None = None
    missed: list[tuple[datetime, datetime]] = field(default_factory=list)

    def gone(self, since: datetime) -> None:
        """It is no longer on the list."""
        self.away = since if self.away is None else self.away

    def there(self, moment: datetime) -> None:
        """It is on the list."""
        if self.away is not None and moment > self.away + _LATE:
            self.missed.append((self.away, moment))
        self.away = None


@dataclass
class _Searched:
    """What the window's rounds and lists tell. `nodes`: with the rounds of each. `gaps`: reasons."""

    files: dict[tuple[str, str], _Checked] = field(default_factory=dict)
    nodes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rounds: int = 0
    gaps: list[str] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Files that were compared whenever a round was made."""
        return sum(one.compared and one.reason is None for one in self.files.values())

    @property
    def left(self) -> Counter[str]:
        """Files that were not, by the reason."""
        return Counter(one.reason for one in self.files.values() if one.reason is not None)


def tampered(asked: Asked) -> Found:
    """One row for each file and content that differed within the window, the newest first."""
    path = _path(asked)
    rows = _differing(asked, path)
    searched = _searched(asked, path)
    for row in rows[: asked.limit]:
        row |= _executed(asked, row)
    reasons = list(searched.gaps)
    if searched.left:
        reasons.append(_left(searched.left))
    if path is not None:
        reasons += _unlisted(asked, path, searched)
    return Found(
        _sentence(rows, searched, path), cut(rows, asked.limit), len(rows), _COLUMNS, wide=_WIDE, reasons=reasons
    )


def _path(asked: Asked) -> str | None:
    path = asked.arguments[0] if asked.arguments else None
    if path is not None and not path.startswith("/"):
        raise UsageError(f"`ask tampered` takes a file's absolute path, such as /usr/bin/su; found {path!r}")
    return path


def _sentence(rows: list[dict[str, Any]], searched: _Searched, path: str | None) -> str:
    files = len({(row["node"], row["path"]) for row in rows})
    left = f"; {_left(searched.left)}" if searched.left else ""
    if rows:
        now = len({(row["node"], row["path"]) for row in rows if row["until"] is None})
        return (
            f"Yes: {plural(files, 'file')} differed from the disk in the page cache, {now:,} of them to the end{left}"
        )
    if not searched.compared or not searched.rounds:
        return f"Not checked: {path or 'no file'} was {'not ' if path else ''}compared with the disk{left}"
    if path:
        return (
            f"No: {path} was the same in the page cache and on the disk in each of {plural(searched.rounds, 'round')}"
        )
    return f"No: 0 of {plural(searched.compared, 'checked file')} differed when they were compared, in {plural(searched.rounds, 'round')}{left}"


def _left(reasons: Counter[str]) -> str:
    told = ", ".join(f"{number:,} because {reason}" for reason, number in sorted(reasons.items()))
    return f"{plural(reasons.total(), 'file')} could not be checked all the time: {told}"


def _narrowed(asked: Asked, path: str | None, events: str) -> tuple[str, list[Any]]:
    """Rows of the window and of the day before."""
    conditions: list[tuple[str, list[Any]]] = [("time >= ? AND time <= ?", [asked.since - _BEFORE, asked.until])]
    conditions += asked.filters.conditions
    conditions += [("path = ?", [path])] if path is not None else []
    where = " AND ".join([f"event IN ({events})", *(text for text, _ in conditions)])
    return where, [value for _, values in conditions for value in values]


def _differing(asked: Asked, path: str | None) -> list[dict[str, Any]]:
    """What differed, and until when: another content ends it, `same`, and where a checker that began later found it so."""
    where, values = _narrowed(asked, path, "'differs', 'same', 'listed'")
    where += " AND coalesce(state, '') NOT IN ('differs', 'unchecked', 'off')"
    query = f"""SELECT event, node, path, kind, coalesce("until", time) AS found, since AS same_before, bytes_differ, first_offset, cached_sha256,
        disk_sha256, size, changed, file_device, file_inode, filesystem FROM content WHERE {where} ORDER BY time, ktime"""  # noqa: S608
    going: dict[tuple[str, str], dict[str, Any]] = {}
    ended: list[dict[str, Any]] = []
    for row in asked.rows(query, values):
        place, event = (row["node"], row["path"]), row.pop("event")
        before = going.get(place)
        if event == "differs" and before is not None and _same(before, row):
            continue  # told again, by a checker that began anew or on another day
        if before is not None:
            ended.append(going.pop(place) | {"until": row["found"]})
        if event == "differs":
            going[place] = row
    found = [*ended, *(row | {"until": None} for row in going.values())]
    inside = [row for row in found if row["until"] is None or row["until"] >= asked.since]
    return sorted(inside, key=lambda row: row["found"], reverse=True)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in ("cached_sha256", "disk_sha256", "file_inode", "file_device"))


def _executed(asked: Asked, row: dict[str, Any]) -> dict[str, Any]:
    """How often it was executed since it was the same for the last time, and by whom."""
    since = row["same_before"] or row["found"]
    query = """SELECT sum(coalesce(folded_count, 1))::BIGINT AS executed,
            list_sort(list(DISTINCT coalesce(namespace || '/' || pod, container_name, left(container, 12), 'host'))) AS "by"
        FROM process WHERE event IN ('exec', 'folded') AND node = ? AND file_device = ? AND file_inode = ? AND time >= ? AND time <= ?"""
    values = [row["node"], row["file_device"], row["file_inode"], since, row["until"] or asked.until]
    found = asked.rows(query, values)[0]
    return {"executed": found["executed"] or 0, "by": (found["by"] or [])[:_NAMED]}


def _searched(asked: Asked, path: str | None) -> _Searched:
    found = _Searched()
    where, values = _narrowed(asked, path, "'listed'")
    query = f"SELECT time, node, path, state, reason FROM content WHERE {where} ORDER BY time, ktime"  # noqa: S608
    for row in asked.rows(query, values):
        _listed(found, row, asked.since)
    for one in found.files.values():
        one.there(asked.until)
    found.files = {place: one for place, one in found.files.items() if one.compared or one.reason is not None}
    where, values = _narrowed(asked, None, "'round'")
    query = f"""SELECT node, since, "until", every FROM content WHERE {where} ORDER BY since"""  # noqa: S608
    for row in asked.rows(query, values):
        found.nodes.setdefault(row["node"], []).append(row)
    found.rounds = sum(row["until"] >= asked.since for some in found.nodes.values() for row in some)
    if not found.rounds:
        found.gaps.append("no round of checks ended in this window: the checker did not run, or had just begun")
    for node in dict.fromkeys((*found.nodes, *_checking(asked))):
        found.gaps += _gaps(asked, node, found.nodes.setdefault(node, [])) if found.rounds else []
    return found


def _checking(asked: Asked) -> list[str]:
    """The nodes that were observed in the window and on which the settings did not leave the checks out."""
    spans = watched.inside(asked, completeness.spans(asked.connection, asked.window.until))
    return list(dict.fromkeys(span.node for span in spans if span.settings.get("content") is not False))


def _listed(found: _Searched, row: dict[str, Any], since: datetime) -> None:
    """What was so at the window's begin, and all that was within. A file without an earlier row was not on the list before it."""
    place, inside = (row["node"], row["path"]), row["time"] >= since
    one = found.files.get(place)
    if one is None or not inside:
        one = found.files[place] = _Checked(away=since if inside else None)
    if row["state"] in _AWAY:
        one.gone(max(row["time"], since))
        return
    one.there(row["time"])
    one.compared |= row["state"] in ("checked", "differs")
    if row["state"] == "unchecked":
        one.reason = row["reason"] or "unknown"


def _gaps(asked: Asked, node: str, rounds: Iterable[dict[str, Any]]) -> list[str]:
    """When a round was due on a node, and none was made."""
    reasons, at = [], asked.since
    for row in rounds:
        if row["since"] > at + _LATE:
            reasons.append(_gap(max(at, asked.since), row["since"], node))
        at = max(at, row["until"], row["since"] + timedelta(seconds=row["every"]))
    if asked.until > at + _LATE:
        reasons.append(_gap(at, asked.until, node))
    return reasons


def _gap(since: datetime, until: datetime, node: str) -> str:
    return f"no file was compared {_between(since, until)} on {node}: the checker did not run, or did not get on"


def _between(since: datetime, until: datetime) -> str:
    return f"from {iso(since.replace(tzinfo=UTC))} to {iso(until.replace(tzinfo=UTC))}"


def _unlisted(asked: Asked, path: str, searched: _Searched) -> list[str]:
    """When and on which nodes a path was on no list of files to be compared."""
    if not searched.files:
        return [_nowhere(asked, path)]
    there = {node: one for (node, _), one in searched.files.items()}
    found = [f"{path} was on no list of files to be compared on {node}" for node in searched.nodes if node not in there]
    for node, one in there.items():
        found += [f"{path} was on no list of files to be compared {_between(*span)} on {node}" for span in one.missed]
    return found


def _nowhere(asked: Asked, path: str) -> str:
    """A path that is on no list; and what it may have been meant to be."""
    name = path.rpartition("/")[2]
    query = "SELECT DISTINCT path FROM content WHERE event = 'listed' AND ends_with(path, ?) ORDER BY path LIMIT ?"
    others = [row["path"] for row in asked.rows(query, [f"/{name}", _NAMED])]
    meant = f"; there is {', '.join(others)}" if others else "; name it in the setting content.files"
    return f"{path} was on no list of files to be compared{meant}"


QUESTIONS = {
    "tampered": Question(
        "files whose cached pages differ from the disk, though nothing was written",
        "[PATH]",
        tampered,
        NEEDS,
        takes=(0, 1),
        filters=("node",),
        rank=75,
    ),
}
