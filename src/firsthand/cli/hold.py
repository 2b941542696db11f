"""`firsthand hold`: spans of the history that retention must leave."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firsthand.cli import options

if TYPE_CHECKING:
    from firsthand.history.store.hold import Hold


@click.group()
def command() -> None:
    """Keep spans of the history from retention, for as long as they are needed."""


@command.command()
@options.history_option
@click.option("--since", help="30d, 2h (ago) or an ISO time; the history's beginning by default.")
@click.option("--until", help="As --since; now by default. `never`: without end.")
@click.option("-n", "--namespace", help="Only this Kubernetes namespace; `(host)` is the host.")
@click.option("--pod", help="Only this pod, by name or uid.")
@click.argument("reason")
def add(
    history: Path | None, since: str | None, until: str | None, namespace: str | None, pod: str | None, reason: str
) -> None:
    """Hold a span, and say of what in it the history no longer has."""
    from firsthand.errors import UsageError
    from firsthand.history.store import hold

    place, now = _place(history), datetime.now(UTC)
    begin = None if since is None else _micro(options.moment(since, now))
    end = None if until == "never" else _micro(options.moment(until or "now", now))
    if not reason.strip():
        raise UsageError("a hold needs a REASON: say what it is kept for")
    if begin is not None and end is not None and begin > end:
        raise UsageError(f"the span ends before it begins: --since {since}, --until {until or 'now'}")
    made = hold.add(place, reason, _micro(now), since=begin, until=end, namespace=namespace, pod=pod)
    rows, gone = _found(place, made)
    click.echo(f"hold {made.id}: {rows:,} process rows are held")
    for line in gone:
        click.echo(f"  - {line}")


@command.command("list")
@options.history_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def listed(history: Path | None, as_json: bool) -> None:
    """Show the holds, with who made them, when and why."""
    from firsthand.cli import output
    from firsthand.history.store import hold

    rows = [_row(one) for one in hold.load(_place(history))]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif rows:
        output.table(list(rows[0]), [list(row.values()) for row in rows], sys.stdout, wide=True)
    else:
        click.echo("no holds")


@command.command()
@options.history_option
@click.argument("identity", metavar="ID", type=int)
def remove(history: Path | None, identity: int) -> None:
    """End a hold: what it held goes when its time is over."""
    from firsthand.ask.show import printable
    from firsthand.history.store import hold

    gone = hold.remove(_place(history), identity)
    click.echo(printable(f"hold {gone.id} ended: {gone.reason}"))


def _place(history: Path | None) -> Path:
    from firsthand.errors import HistoryError

    place = options.place(history)
    if not place.is_dir():
        raise HistoryError(f"{place}: there is no history here; record one with `firsthand run`, or name another")
    return place


def _micro(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _found(place: Path, made: Hold) -> tuple[int, list[str]]:
    """How many process rows the span has, and what of it is known to be gone, or was never recorded."""
    from firsthand.ask import completeness
    from firsthand.ask.answer import Asked, Filters, Window
    from firsthand.history.store.connection import History

    with History(place).connection() as connection:
        spans = completeness.spans(connection, datetime.now(UTC))
        whole = completeness.extent(spans, datetime.now(UTC))
        window = Window(_moment(made.since) or whole.since, _moment(made.until) or datetime.now(UTC))
        host = made.namespace == "(host)"
        filters = Filters(made.namespace, made.pod)
        asked = Asked(connection, window, [], Filters(None, made.pod) if host else filters)
        where, values = asked.where(*([("container IS NULL AND namespace IS NULL", [])] if host else []))
        rows = asked.number(f"SELECT count(*) FROM process WHERE {where}", values)  # noqa: S608 - made of conditions
        judged = completeness.judge(connection, spans, window, ("process",), {}, filters=filters)
    return rows, judged.reasons


def _moment(micro: int | None) -> datetime | None:
    return None if micro is None else datetime.fromtimestamp(micro / 1_000_000, UTC)


def _row(one: Hold) -> dict[str, Any]:
    """A hold in words: times ISO, empty where nothing was named."""
    from firsthand.ask.answer import iso

    times = {
        key: iso(at) if (at := _moment(value)) else None for key, value in (("since", one.since), ("until", one.until))
    }
    made = _moment(one.at)
    words = {"id": one.id, **times, "namespace": one.namespace, "pod": one.pod, "finding": one.finding}
    return words | {"by": one.by, "at": iso(made) if made else None, "reason": one.reason}
