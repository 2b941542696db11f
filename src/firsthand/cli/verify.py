"""`firsthand verify`: whether a history is what its chain says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from firsthand.cli import options

if TYPE_CHECKING:
    from firsthand.history.verify import Verdict


@click.command()
@options.history_option
@click.option("--head", help="A published head, SEQUENCE:HASH: everything up to it is proven by it.")
@click.option(
    "--heads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of published heads, as setting integrity.heads names one: each must be in the chain.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(history: Path | None, head: str | None, heads: Path | None, as_json: bool) -> int:
    """Find what was changed, removed, re-ordered or cut: the chain, each segment, each record layout, the log.

    Exit codes: 0 whole, 1 damaged. Without a head from outside, whoever could write the history could have made it anew.
    """
    from firsthand.history import chain
    from firsthand.history.verify import verify

    known = [chain.Head.parse(head)] if head else []
    known += chain.heads(heads) if heads else []
    found = verify(options.place(history), known)
    if as_json:
        click.echo(json.dumps({**asdict(found), "head": str(found.head or ""), "whole": found.whole}, indent=1))
    else:
        _print(found)
    return 0 if found.whole else 1


def _print(found: Verdict) -> None:
    from firsthand.ask.show import printable

    for damage in found.damage:
        click.echo(f"DAMAGED  {printable(damage)}")
    state = "whole" if found.whole else f"NOT WHOLE: {len(found.damage):,} findings"
    click.echo(
        f"{state}: {found.entries:,} entries, {found.segments:,} segments with {found.rows:,} rows, {found.chunks:,} chunks of the log"
    )
    click.echo(f"head     {found.head}" if found.head else "head     none")
    if found.proven and found.head and found.proven == found.head.sequence:
        click.echo("proven   up to the head; what the log still holds is proven by checksums alone")
    elif found.proven:
        click.echo(f"proven   up to entry {found.proven:,}; the tail behind it is unproven")
    else:
        click.echo(
            "unproven no head from outside was given (--head, --heads): the tail is unproven, and so is all before it"
        )
