"""`firsthand status`: whether observing goes on, which runtimes are followed, and how many containers have no name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from firsthand.cli import options


@click.command()
@options.history_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(history: Path | None, as_json: bool) -> None:
    """Show what is observed and followed now, by what the history says of it."""
    from firsthand.ask import status
    from firsthand.history.connection import History

    place = options.place(history)
    with History(place).connection() as connection:
        found: dict[str, Any] = {"history": str(place), **status.status(connection, datetime.now(UTC))}
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: dict[str, Any]) -> list[str]:
    from firsthand.ask.show import printable

    lines = [f"history     {printable(found['history'])}"]
    for one in found["observers"]:
        state = (
            f"observing since {one['since']}"
            if one["observing"]
            else f"not observing; last from {one['since']} to {one['until']}"
        )
        scope = f", in {', '.join(one['scope'])} alone" if one["scope"] else ""
        lines.append(printable(f"observer    {one['node']}: {state}{scope}"))
        lines.append(f"            {one['recorded'] or 0:,} events recorded, {one['lost'] or 0:,} lost")
        lines += [printable(f"            blind spot: hook {name} is missing") for name in one["missing"]]
    for one in found["runtimes"]:
        what = one.get("version") or one.get("why", "")
        lines.append(printable(f"runtime     {one['socket']}: {one['state']} since {one['since']} ({what})"))
    if not found["runtimes"]:
        lines.append("runtime     none was followed: containers are known by their ids alone")
    counted = found["containers"]
    lines.append(f"containers  {counted['named']:,} with a name, {counted['unnamed']:,} without in the last day")
    if counted["unnamed"]:
        lines.append("            firsthand ask unknown lists them")
    return lines
