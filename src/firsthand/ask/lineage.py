"""The processes behind a process: for many at once, level by level, since rows hold ids and the table `process` holds the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from firsthand.ask import show
from firsthand.ask.answer import Asked

#: Levels and images at which a look ends.
DEEPEST, MOST = 64, 20_000
#: Up to this many rows of `process`, one statement that follows their ids costs less than one for each level.
FEW = 10_000
_COLUMNS = "exec_id, parent_exec_id, previous_exec_id, event, time, exe, args, pid, uid, container, pod, container_name, claimed, boot"

Image = dict[str, Any]


def images(asked: Asked, keys: Iterable[str]) -> dict[str, Image]:
    """The images of these ids and of all that stand behind them, by id, as far as the history holds them."""
    found: dict[str, Image] = {}
    wanted = {key for key in keys if key}
    known = _at_once(asked, wanted)
    for _ in range(DEEPEST):
        wanted -= found.keys()
        if not wanted or len(found) > MOST:
            break
        new = _read(asked, wanted) if known is None else {key: known[key] for key in wanted & known.keys()}
        found |= new
        wanted = {row[name] for row in new.values() for name in ("parent_exec_id", "previous_exec_id") if row[name]}
    return found


#: The starts of processes and of all behind them, by the columns that link them alone.
_STARTS = """WITH RECURSIVE links AS MATERIALIZED (SELECT DISTINCT exec_start, parent_start FROM process WHERE event IN ('fork', 'exec', 'seen')),
    behind AS (SELECT unnest(CAST(? AS BIGINT[])) AS start UNION SELECT parent_start FROM behind JOIN links ON exec_start = start)
    SELECT start FROM behind WHERE start IS NOT NULL"""


def _at_once(asked: Asked, keys: Collection[str]) -> dict[str, Image] | None:
    """All that can stand behind some images, where the history is small; None: it is not."""
    from firsthand.history.store.connection import LazyConnection

    if not keys or not isinstance(asked.connection, LazyConnection) or asked.connection.length("process") > FEW:
        return None
    return _of_starts(asked, [row["start"] for row in asked.rows(_STARTS, [list(_starts(keys))])])


def _read(asked: Asked, keys: Collection[str]) -> dict[str, Image]:
    """One level."""
    return {key: image for key, image in _of_starts(asked, _starts(keys)).items() if key in keys}


def _starts(keys: Iterable[str]) -> set[int]:
    return {int(key.split(":")[2]) for key in keys}


def _of_starts(asked: Asked, numbers: Iterable[int]) -> dict[str, Image]:
    """The images of processes by when these started. An exec or seen row tells more than a fork's."""
    starts = ", ".join(map(str, sorted(numbers)))
    query = f"""SELECT {_COLUMNS} FROM process WHERE event IN ('fork', 'exec', 'seen') AND exec_start IN ({starts})
        ORDER BY event = 'fork' DESC, ktime"""  # noqa: S608 - numbers
    return {row["exec_id"]: row for row in asked.rows(query, [])}


def above(image: Image, known: Mapping[str, Image]) -> str | None:
    """The id behind an image: the program that it replaced, else its parent's, as `ask tree` has it."""
    before = known.get(image["previous_exec_id"] or "")
    if image["event"] == "exec" and before is not None and before["event"] != "fork":
        return str(before["exec_id"])
    parent: str | None = image["parent_exec_id"]
    return parent if parent != image["exec_id"] else None


def chain(key: str | None, known: Mapping[str, Image]) -> list[Image]:
    """An image and those behind it, the nearest first. A bare fork of the same program as its parent is passed over."""
    found: list[Image] = []
    while key and key in known and len(found) < DEEPEST:
        image = known[key]
        key = above(image, known)
        parent = known.get(key or "")
        if image["event"] != "fork" or parent is None or parent["exe"] != image["exe"] or not found:
            found.append(image)
    return found


def arguments(key: str | None, known: Mapping[str, Image]) -> list[str] | None:
    """The arguments of an image; a fork's are those of the program that it is a copy of."""
    for image in chain(key, known):
        if image["args"] is not None:
            return list(image["args"])
        if image["event"] != "fork":
            return None
    return None


def words(found: Sequence[Image]) -> list[str]:
    """Those behind an image in a word each: PROGRAM[PID]."""
    return [f"{image['exe'] or '?'}[{image['pid']}]" for image in found[1:]]


def lines(leaves: Mapping[str, Sequence[str]], known: Mapping[str, Image]) -> list[str]:
    """A tree of all images behind those of `leaves`, with the lines of these below them."""
    children: dict[str | None, list[str]] = {}
    for key in leaves:
        last = None
        for image in reversed(chain(key, known)):
            if image["exec_id"] not in children.setdefault(last, []):
                children[last].append(image["exec_id"])
            last = image["exec_id"]
    shown: list[str] = []
    stack = [(key, "") for key in reversed(children.get(None, []))]
    while stack:
        key, prefix = stack.pop()
        shown.append(prefix + _line(known[key], known))
        inner = prefix.replace("├─ ", "│  ").replace("└─ ", "   ")
        below = children.get(key, [])
        shown += [f"{inner}{'│  ' if below else '   '}{leaf}" for leaf in leaves.get(key, ())]
        marks = ["└─ " if i == len(below) - 1 else "├─ " for i in range(len(below))]
        stack += [(child, inner + mark) for child, mark in reversed(list(zip(below, marks, strict=True)))]
    return shown


def _line(image: Image, known: Mapping[str, Image]) -> str:
    line = show.program(image["exe"], arguments(image["exec_id"], known))
    words = [f"{image['time']:%H:%M:%S.%f}"[:12], line, f"[{image['pid']}]"]
    return " ".join(word for word in [*words, show.place(image)] if word)
