"""`firsthand usage`: what the history holds, by whom, and how long it will last."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from firsthand.ask.show import size
from firsthand.cli import options

_BY = ("namespace", "table", "workload", "binary")
_SIZES = ("bytes", "protected_bytes", "held_bytes", "share")


@click.command()
@options.history_option
@click.option("--by", type=click.Choice(_BY), default="namespace", show_default=True, help="What rows are counted by.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(history: Path | None, by: str, as_json: bool) -> None:
    """Show rows and bytes of the history by namespace, table, workload or binary, and how they stand to the limits."""
    from firsthand import settings
    from firsthand.errors import HistoryError
    from firsthand.health import usage
    from firsthand.settings.sections.retention import Limits

    place = options.place(history)
    if not place.is_dir():
        raise HistoryError(f"{place}: there is no history here; record one with `firsthand run`, or name another")
    found = usage.usage(place, settings.load()[Limits], datetime.now(UTC), by)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for line in _lines(found):
        click.echo(line)
    _table(found)


def _lines(found: dict[str, Any]) -> list[str]:
    from firsthand.ask.show import printable

    sizes, limits, holds = found["bytes"], found["limits"], found["holds"]
    less = found["bytes_allowed_now"]
    lines = [
        f"history  {printable(found['history'])}",
        f"held     {found['since']} to {found['until']}" if found["since"] else "held     nothing in segments yet",
        f"bytes    {size(sizes['segments'])} of {size(limits['bytes'])} in segments, {size(sizes['log'])} in the log, "
        f"{size(sizes['leaving'])} leaving, {size(sizes['free'])} free on the disk",
        f"rate     {size(found['bytes_a_day'])} a day: {found['days_at_this_rate']:g} of {limits['days']} days fit",
    ]
    if less < limits["bytes"]:
        lines.append(f"         {size(less)} are allowed now: the disk has less than {size(limits['free'])} free")
    if holds["number"]:
        lines.append(f"holds    {holds['number']:,} have {holds['rows']:,} rows, {size(holds['bytes'])}")
    return lines


def _table(found: dict[str, Any]) -> None:
    from firsthand.cli import output

    rows = [{key: size(value) if key in _SIZES else value for key, value in row.items()} for row in found["rows"]]
    if not rows:
        return
    click.echo("")
    output.table(list(rows[0]), [list(row.values()) for row in rows], sys.stdout)
    if found["by"] in ("workload", "binary"):
        click.echo("bytes are an estimate: those of a segment, divided among its rows")
