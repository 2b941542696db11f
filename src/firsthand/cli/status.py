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
@click.option("--check", is_flag=True, help="Exit with 1 where something is wrong.")
@click.option("--observing", is_flag=True, help="Exit with 1 where nothing is observed, whatever else is wrong.")
def command(history: Path | None, as_json: bool, check: bool, observing: bool) -> int:
    """Show what is observed and followed now, by what the history says of it, and whether all is well."""
    from firsthand.health import status
    from firsthand.history.store.connection import History
    from firsthand.reader.look import look

    place = options.place(history)
    with History(place).connection() as connection:
        found: dict[str, Any] = {"history": str(place), **status.status(connection, datetime.now(UTC), place)}
    found["reader"] = look(place)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        for line in _lines(found):
            click.echo(line)
    idle = not any(one["observing"] for one in found["observers"])
    return 1 if (check and not found["healthy"]) or (observing and idle) else 0


def _lines(found: dict[str, Any]) -> list[str]:
    from firsthand.ask.show import printable

    lines = [f"history     {printable(found['history'])}", f"health      {'good' if found['healthy'] else 'BAD'}"]
    lines += [printable(f"            {reason}") for reason in found["reasons"]]
    resting = [f"{found['rests']} rests"] if found["rests"] else []
    if found["processes"]:
        lines.append(
            "processes   " + ", ".join([*(f"{one['role']} {one['pid']}" for one in found["processes"]), *resting])
        )
    for one in found["observers"]:
        state = (
            f"observing since {one['since']}"
            if one["observing"]
            else f"not observing; last from {one['since']} to {one['until']}"
        )
        scope = f", in {', '.join(one['scope'])} alone" if one["scope"] else ""
        lines.append(printable(f"observer    {one['node']}: {state}{scope}"))
        lines.append(f"            {one['recorded'] or 0:,} events recorded, {one['lost'] or 0:,} lost")
        lines += _measured(one["measures"]) if one["observing"] else []
        lines += [printable(f"            blind spot: hook {name} is missing") for name in one["missing"]]
    disk = found["disk"]
    parts = ", ".join(f"{name} {disk[name] / 1e6:,.1f} MB" for name in ("segments", "log", "names", "manifest"))
    lines.append(f"disk        {parts}; {disk['free'] / 1e9:,.1f} of {disk['total'] / 1e9:,.1f} GB free")
    lines += _scrubbed(found["scrub"])
    lines += [f"lost        {one['events']:,} by {one['cause']}, last at {one['last']}" for one in found["losses"]]
    for one in found["runtimes"]:
        what = one.get("version") or one.get("why", "")
        lines.append(printable(f"runtime     {one['socket']}: {one['state']} since {one['since']} ({what})"))
    if not found["runtimes"]:
        lines.append("runtime     none was followed: containers are known by their ids alone")
    lines += _reader(found["reader"])
    lines += [
        f"content     {one['checked']:,} files checked, {one['differing']:,} differ, {one['unchecked']:,} unchecked on {one['node']}"
        for one in found["content"]
    ]
    counted = found["containers"]
    lines.append(f"containers  {counted['named']:,} with a name, {counted['unnamed']:,} without in the last day")
    if counted["unnamed"]:
        lines.append("            firsthand ask unknown lists them")
    return lines


def _reader(reader: dict[str, Any] | None) -> list[str]:
    """Who answers questions beside those who ask; nothing where nobody does."""
    from firsthand.ask.show import printable

    if reader is None:
        return []
    who = f" (process {reader['pid']})" if reader["pid"] else ""
    why = f": {reader['why']}" if reader["why"] else ""
    return [printable(f"reader      {reader['state']}{who}{why}")]


def _scrubbed(scrub: dict[str, Any] | None) -> list[str]:
    """How much of the history was read again."""
    if scrub is None:
        return []
    if scrub["finished"] and scrub["finished"] >= scrub["began"]:
        part = f"all was read again from {scrub['began']} to {scrub['finished']}"
    else:
        read = f"{scrub['done_bytes'] / 1e6:,.1f} of {scrub['bytes'] / 1e6:,.1f} MB"
        part = f"{read} read again since {scrub['began']}, all until {scrub['due']}"
    return [f"scrub       {part}; {scrub['damaged']:,} damaged"]


def _measured(measures: dict[str, float]) -> list[str]:
    """The observer's own measures that a person asks for first."""
    if not measures:
        return []
    fill = 100 * measures.get("ring_waiting_bytes", 0) / measures.get("ring_waiting_bytes_limit", 1)
    line = f"            {measures.get('events_per_second', 0):,.0f} events a second, ring {fill:.0f}% full"
    covers = f", which holds {measures['ring_seconds']:,.0f} s at this rate" if "ring_seconds" in measures else ""
    return [f"{line}{covers}, {measures.get('lag_seconds', 0):g} s behind"]
