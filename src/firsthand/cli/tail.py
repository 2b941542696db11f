"""`firsthand tail`: follow the history from any number of terminals."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from firsthand.cli import options


@click.command()
@options.history_option
@click.option("-n", "--namespace", help="Only this Kubernetes namespace.")
@click.option("--pod", help="Only this pod.")
@click.option("--container", help="Only this container: the beginning of its id, or `host`.")
@click.option("--table", default="process", help="The table to follow; process by default.")
@click.option("--from-start", is_flag=True, help="Begin with what the log still holds, not with now.")
@options.output_option("compact", "jsonl")
def command(
    history: Path | None,
    namespace: str | None,
    pod: str | None,
    container: str | None,
    table: str,
    from_start: bool,
    output: str,
) -> None:
    """Follow what is being recorded, by reading the history: at no cost to the observer. Ctrl-C ends it."""
    from firsthand import settings
    from firsthand.cli.live import LineChoice, LiveNames
    from firsthand.errors import UsageError
    from firsthand.history import place as _place
    from firsthand.history.log.follow import LogFollower
    from firsthand.schema import capability
    from firsthand.schema.tables import KEPT
    from firsthand.settings.sections.top import Top

    if table not in KEPT:
        raise UsageError(f"no table {table!r}; there are {', '.join(KEPT)}")
    choice = LineChoice(container=container, namespace=namespace, pod=pod)
    ordinary = capability.bits(settings.load()[Top].ordinary_capabilities)
    _say_what_is_awaited(options.place(history))
    known = LiveNames(options.place(history), past=True)
    folders = [getattr(_place, name) for name in _FOLDERS.get(table, ("LOG",))]
    with ExitStack() as stack:
        opened = [LogFollower(options.place(history), (table,), from_now=not from_start, folder=one) for one in folders]
        for rows in _follow([stack.enter_context(one) for one in opened]):
            known.look()
            for part in rows:
                _print(known.named(part), choice, ordinary, output)


def _say_what_is_awaited(place: Path) -> None:
    """On standard error, where there is nothing to follow yet."""
    from firsthand.history.store.connection import History

    if not History(place).exists:
        print(
            f"tail: {place}: no history is here yet; waiting for `firsthand run` to begin one (Ctrl-C ends it)",
            file=sys.stderr,
            flush=True,
        )


#: The logs in which a table's rows come, the last one the busiest.
_FOLDERS = {
    "container": ("NAMES", "LOG"),
    "observer": ("NAMES", "LOG"),
    "loss": ("NAMES", "LOG"),
    "pod": ("NAMES",),
}


def _follow(followers: Sequence[Any]) -> Iterator[list[Any]]:
    """The new rows of all, whenever there are some or a second has passed; that rows were missed is said."""
    *others, last = followers
    missed = 0
    while True:
        found = last.poll(0.25 if others else 1.0)
        yield [rows for _, rows in found + [one for other in others for one in other.poll(0)]]
        if last.missed > missed:
            missed = last.missed
            print(
                f"tail: too slow: {missed} log files went to segments unread; `ask timeline` has them",
                file=sys.stderr,
            )


def _print(rows: Any, choice: Any, ordinary: int, output: str) -> None:
    """A table's rows, written at once: what is seen last of them is as late as all."""
    lines = _objects(rows, choice) if output == "jsonl" else _words(rows, choice, ordinary)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _objects(rows: Any, choice: Any) -> Iterator[str]:
    """Lines of JSON, with every character that a terminal could take for more than itself escaped."""
    import orjson

    from firsthand.export import jsonl

    for values in jsonl.objects(rows):
        raw = orjson.dumps(values)
        line = raw.decode() if raw.isascii() else json.dumps(values)
        if choice.everything or choice.takes(_NOTHING | values, line):
            yield line


def _words(rows: Any, choice: Any, ordinary: int) -> Iterator[str]:
    """Lines for a reader; columns that no line shows do not become Python's."""
    from firsthand.cli import live

    asked = {*live.COLUMNS, *_TELLING, *_NOTHING, "transport"}
    for row in rows.select([name for name in rows.column_names if name in asked]).to_pylist():
        line = _line(row, ordinary)
        if choice.takes(row, line):
            yield line


def _line(row: dict[str, Any], ordinary: int) -> str:
    from firsthand.ask import show
    from firsthand.cli import live

    row.setdefault("shown_flags", [])
    row.setdefault("marks", [])
    if row.get("event") in ("exec", "folded") and "transport" not in row:
        return live.describe(row, ordinary)
    where = show.place(row)
    rest = {k: v for k, v in row.items() if v is not None and k in _TELLING}
    words = " ".join(f"{key}={show.cell(value)}" for key, value in rest.items())
    return f"{row['time']:%H:%M:%S.%f}"[:12] + f" {where:<12} {words}"


#: What a choice of rows looks at, where a row has none of it.
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("container", "container_name", "namespace", "pod", "pod_uid")),
    "shown_flags": (),
    "marks": (),
}
_TELLING = (
    "event",
    "kind",
    "state",
    "addresses",
    "workload",
    "image",
    "settings",
    "exe",
    "pid",
    "exit_code",
    "exit_signal",
    "cgroup_path",
    "cause",
    "events",
    "detail",
    "scope",
    "recorded",
    "lost",
    "realtime",
)
