"""`tree`: who started whom, with times, flags and ends."""

from __future__ import annotations

from typing import Any

from firsthand.ask import known, show, subject
from firsthand.ask.answer import Asked, Found, cut, folded, plural, which
from firsthand.ask.question import Question
from firsthand.ask.questions.processes import identify

NEEDS = ("process",)
MOST = 200_000
_COLUMNS = [
    "depth",
    "exec_id",
    "parent_exec_id",
    "creator_exec_id",
    "time",
    "container",
    "pod",
    "container_name",
    "claimed",
    "exe",
    "args",
    "uid",
    "marks",
    "ended",
    "exit_code",
    "exit_signal",
    "folded_count",
    "folded_until",
]


_SELECT = """SELECT exec_id, parent_exec_id, creator_exec_id, previous_exec_id, time, event, container, pod, container_name, claimed,
    exe, args, uid, marks, exit_code, exit_signal, folded_count, folded_until, boot, exec_tgid, exec_start FROM process"""


def tree(asked: Asked) -> Found:
    """The process tree of a pod, of a container, of a process, or of everything in the window."""
    root = _root(asked)
    images, read = _images(asked)
    reasons = [f"only the first {MOST:,} rows were looked at: narrow the window"] if read >= MOST else []
    if root and root not in images and (before := _before(asked, root)):
        images[root] = before
    children, roots = _shape(images)
    start = [root] if root in images else [] if root else roots
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    stack = [(key, 0, "") for key in reversed(start)]
    while stack and len(rows) < asked.limit:
        key, depth, prefix = stack.pop()
        row = {**images[key], "depth": depth}
        rows.append(row)
        lines.append(prefix + _line(row))
        below = children.get(key, [])
        inner = prefix.replace("├─ ", "│  ").replace("└─ ", "   ")
        marks = ["└─ " if i == len(below) - 1 else "├─ " for i in range(len(below))]
        stack += [(child, depth + 1, inner + mark) for child, mark in reversed(list(zip(below, marks, strict=True)))]
    every = _below(start, children)
    shown = [{name: row.get(name) for name in _COLUMNS} for row in rows]
    short = sum(images[key]["folded_count"] or 0 for key in every)
    beside = f", {plural(short, 'equal short process', 'equal short processes')} beside" if short else ""
    own = sum(not images[key]["folded_count"] for key in every)
    said = f"{plural(own, 'program image')}{'' if root else which(asked)}{beside}, {len(start):,} at the root"
    if root and not start:
        said = f"Nothing of process {root} is in this window"
    return Found(said, cut(shown, asked.limit), len(every), _COLUMNS, lines, reasons=reasons)


def _root(asked: Asked) -> str | None:
    if not asked.arguments or not known.process(asked.arguments[0]):
        return None
    return identify(asked, asked.arguments[0])


def _before(asked: Asked, key: str) -> dict[str, Any] | None:
    """An image that began before the window and did not end before it."""
    own, numbers = subject.image(key)
    query = f"{_SELECT} WHERE {own} AND time < ? ORDER BY event IN ('exit', 'left') DESC, event = 'fork', ktime DESC LIMIT 1"
    rows = asked.rows(query, [*numbers, asked.since])
    return rows[0] if rows and rows[0]["event"] not in ("exit", "left") else None


def _below(keys: list[str], children: dict[str, list[str]]) -> list[str]:
    """These images and all below them."""
    found, at = list(keys), 0
    while at < len(found):
        found += children.get(found[at], ())
        at += 1
    return found


def _images(asked: Asked) -> tuple[dict[str, dict[str, Any]], int]:
    """One entry for each image: from its exec, seen or fork row, with its end; and how many rows there were. Read once, joined in memory."""
    more: list[tuple[str, list[Any]]] = []
    if asked.arguments and not known.process(asked.arguments[0]):
        more = [subject.condition(asked.arguments[0])]
    where, parameters = asked.ran(*more)
    query = f"{_SELECT} WHERE {where} ORDER BY ktime LIMIT ?"
    found: dict[str, dict[str, Any]] = {}
    rows = asked.rows(query, [*parameters, MOST])
    for row in rows:
        before = found.get(row["exec_id"])
        if row["event"] == "left":
            (before or found.setdefault(row["exec_id"], row))["left"] = row["time"]
        elif row["event"] == "exit":
            entry = before or found.setdefault(row["exec_id"], row)
            entry.update(ended=row["time"], exit_code=row["exit_code"], exit_signal=row["exit_signal"])
        elif before is None or before["event"] in ("exit", "left"):
            found[row["exec_id"]] = {**row, "ended": before.get("ended") if before else None}
    return found, len(rows)


def _shape(images: dict[str, dict[str, Any]]) -> tuple[dict[str, list[str]], list[str]]:
    """Children by image, and the roots. An exec hangs below the image that it replaced unless that was a bare fork."""
    parents = {row["parent_exec_id"] for row in images.values()}
    for key in [k for k, row in images.items() if row["event"] == "fork" and k not in parents and _replaced(k, images)]:
        images[key]["dropped"] = True
    children: dict[str, list[str]] = {}
    roots = []
    for key, row in list(images.items()):
        if row.get("dropped"):
            del images[key]
            continue
        above = row["previous_exec_id"] if row["event"] == "exec" and _stands(row["previous_exec_id"], images) else None
        above = above or row["parent_exec_id"]
        if above != key and _stands(above, images):
            children.setdefault(above, []).append(key)
        else:
            roots.append(key)
    return children, roots


def _stands(key: str | None, images: dict[str, dict[str, Any]]) -> bool:
    return key in images and not images[key].get("dropped")


def _replaced(key: str, images: dict[str, dict[str, Any]]) -> bool:
    """Whether an exec followed: the next image of the same process is there."""
    head, _, number = key.rpartition(":")
    return f"{head}:{int(number) + 1}" in images


def _line(row: dict[str, Any]) -> str:
    words = [f"{row['time']:%H:%M:%S.%f}"[:12], show.program(row["exe"], row["args"])]
    words.append(f"[{row['exec_tgid']}]")
    if row["container"]:
        words.append(show.place(row))
    if row["marks"]:
        words.append(row["marks"])
    if row["creator_exec_id"]:
        words.append(f"made by {row['creator_exec_id']}")
    if told := folded(row):
        words.append(f"{told} (each exit {row['exit_code']})")
    if row.get("left") and not row.get("ended"):
        words.append(f"(left the scope, {(row['left'] - row['time']).total_seconds():.3f} s)")
    if row.get("ended"):
        code = f"signal {row['exit_signal']}" if row["exit_signal"] is not None else f"exit {row['exit_code']}"
        words.append(f"({code}, {(row['ended'] - row['time']).total_seconds():.3f} s)")
    return " ".join(word for word in words if word)


QUESTIONS = {
    "tree": Question(
        "who started whom, with times, flags and ends",
        "[POD|CONTAINER|EXEC_ID|PID]",
        tree,
        NEEDS,
        takes=(0, 1),
        subject=True,
        rank=20,
    ),
}
