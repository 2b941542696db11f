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
    from firsthand.cli.live import Choice, Known
    from firsthand.errors import UsageError
    from firsthand.history import place as _place
    from firsthand.history.follow import Follower
    from firsthand.schema import capability
    from firsthand.schema.tables import KEPT

    if table not in KEPT:
        raise UsageError(f"no table {table!r}; there are {', '.join(KEPT)}")
    choice = Choice(container=container, namespace=namespace, pod=pod)
    ordinary = capability.bits(settings.load().ordinary_capabilities)
    known = Known(options.place(history), past=True)
    folders = [getattr(_place, name) for name in _FOLDERS.get(table, ("LOG",))]
    with ExitStack() as stack:
        opened = [Follower(options.place(history), (table,), from_now=not from_start, folder=one) for one in folders]
        for rows in _follow([stack.enter_context(one) for one in opened]):
            known.look()
            for part in rows:
                _print(known.named(part).to_pylist(), choice, ordinary, output)


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


def _print(rows: list[dict[str, Any]], choice: Any, ordinary: int, output: str) -> None:
    for row in rows:
        line = _line(row, ordinary, output)
        if choice.takes(row, line):
            print(line)
    sys.stdout.flush()


def _line(row: dict[str, Any], ordinary: int, output: str) -> str:
    from firsthand.ask import show
    from firsthand.cli import live

    row.setdefault("shown_flags", [])
    if output == "jsonl":
        return json.dumps(show.plain({key: value for key, value in row.items() if value is not None}))
    if row.get("event") in ("exec", "folded") and "transport" not in row:
        return live.describe(row, ordinary)
    where = show.place(row)
    rest = {k: v for k, v in row.items() if v is not None and k in _TELLING}
    words = " ".join(f"{key}={show.cell(value)}" for key, value in rest.items())
    return f"{row['time']:%H:%M:%S.%f}"[:12] + f" {where:<12} {words}"


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
