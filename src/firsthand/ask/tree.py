"""`tree`: who started whom, with times, flags and ends."""

from __future__ import annotations

from typing import Any

from firsthand.ask import show, subject
from firsthand.ask.answer import Asked, Found, cut, folded
from firsthand.ask.processes import identify

NEEDS = ("process",)
_MOST = 200_000
_COLUMNS = [
    "depth",
    "exec_id",
    "parent_exec_id",
    "time",
    "container",
    "pod",
    "container_name",
    "exe",
    "args",
    "uid",
    "flag_names",
    "ended",
    "exit_code",
    "exit_signal",
    "folded_count",
    "folded_until",
]


def tree(asked: Asked) -> Found:
    """The process tree of a pod, of a container, of a process, or of everything in the window."""
    images = _images(asked)
    children, roots = _shape(images)
    root = _root(asked, images)
    start = [root] if root else roots
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
    total = len(rows) + len(stack)
    shown = [{name: row.get(name) for name in _COLUMNS} for row in rows]
    short = sum(row["folded_count"] or 0 for row in images.values())
    beside = f", {short:,} equal short processes beside" if short else ""
    own = sum(not row["folded_count"] for row in images.values())
    return Found(
        f"{own:,} program images{beside}, {len(start):,} at the root", cut(shown, asked.limit), total, _COLUMNS, lines
    )


def _root(asked: Asked, images: dict[str, dict[str, Any]]) -> str | None:
    if not asked.arguments or not (":" in asked.arguments[0] or asked.arguments[0].isdigit()):
        return None
    key = identify(asked, asked.arguments[0])
    return key if key in images else None


def _images(asked: Asked) -> dict[str, dict[str, Any]]:
    """One entry for each image: from its exec, seen or fork row, with its end. Read once, joined in memory."""
    more: list[tuple[str, list[Any]]] = []
    if asked.arguments and not (":" in asked.arguments[0] or asked.arguments[0].isdigit()):
        more = [subject.condition(asked.arguments[0])]
    where, parameters = asked.ran(*more)
    query = f"""SELECT exec_id, parent_exec_id, previous_exec_id, time, event, container, pod, container_name, exe, args, uid, flag_names,
                exit_code, exit_signal, folded_count, folded_until, boot, exec_tgid, exec_start FROM process WHERE {where} ORDER BY ktime LIMIT ?"""  # noqa: S608
    found: dict[str, dict[str, Any]] = {}
    for row in asked.rows(query, [*parameters, _MOST]):
        known = found.get(row["exec_id"])
        if row["event"] == "exit":
            entry = known or found.setdefault(row["exec_id"], row)
            entry.update(ended=row["time"], exit_code=row["exit_code"], exit_signal=row["exit_signal"])
        elif known is None or known["event"] == "exit":
            found[row["exec_id"]] = {**row, "ended": known["ended"] if known else None}
    return found


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
    words = [f"{row['time']:%H:%M:%S.%f}"[:12], show.printable(row["exe"] or "?")]
    words.append(show.arguments((row["args"] or [])[1:]))
    words.append(f"[{row['exec_tgid']}]")
    if row["container"]:
        words.append(show.place(row))
    if row["flag_names"]:
        words.append(row["flag_names"])
    if told := folded(row):
        words.append(f"{told} (each exit {row['exit_code']})")
    if row["ended"]:
        code = f"signal {row['exit_signal']}" if row["exit_signal"] is not None else f"exit {row['exit_code']}"
        words.append(f"({code}, {(row['ended'] - row['time']).total_seconds():.3f} s)")
    return " ".join(word for word in words if word)
