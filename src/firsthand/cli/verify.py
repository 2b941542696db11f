"""`firsthand verify`: whether a history, or a bundle of evidence, is what its chain says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firsthand.cli import options

if TYPE_CHECKING:
    from firsthand.evidence import verdict
    from firsthand.history.store.chain import Head
    from firsthand.history.store.verify import Verdict


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@options.history_option
@click.option("--head", help="A published head, SEQUENCE:HASH: everything up to it is proven by it.")
@click.option(
    "--heads",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of published heads, as setting integrity.heads names one: each of this history's must be in the chain.",
)
@click.option("--digest", help="Of a BUNDLE: the digest that was printed when it was made.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    bundle: Path | None, history: Path | None, head: str | None, heads: Path | None, digest: str | None, as_json: bool
) -> int:
    """Find what was changed, removed, re-ordered or cut: the chain, each segment, each record layout, the log.

    With a BUNDLE that `firsthand evidence` wrote: the same of it, and each of its rows, without the history.

    Exit codes: 0 whole, 1 damaged. Without a head from outside, whoever could write the history could have made it anew.
    """
    from firsthand.errors import UsageError
    from firsthand.history.store import chain

    known = [chain.Head.parse(head)] if head else []
    if heads is not None:
        known += _published(heads, None if bundle is not None else options.place(history))
    if bundle is not None:
        if history is not None:
            raise UsageError("a bundle is verified without the history: give BUNDLE or --history")
        return _bundle(bundle, known, digest, as_json)
    if digest is not None:
        raise UsageError("--digest is a bundle's: name the file as well")
    return _history(options.place(history), known, as_json)


def _published(path: Path, directory: Path | None) -> list[Head]:
    """The heads in a file: this history's own where one is verified. Those of others prove nothing of it, and are no contradiction.

    UsageError where there are only others': the history has another id than it had, as one that was made anew has.
    """
    from firsthand.errors import UsageError
    from firsthand.history import place
    from firsthand.history.store import chain

    own = place.identity(directory) if directory is not None else None
    named = chain.file_of(path, own)
    chosen = path if path.exists() else named
    try:
        every, mine = chain.heads(chosen), chain.heads(chosen, own)
    except OSError as error:
        raise UsageError(
            f"--heads {path}: it cannot be read ({error.strerror}); the file of this history is {named.name}"
        ) from error
    if every and not mine:
        raise UsageError(
            f"--heads {chosen}: none of its {len(every):,} heads is of this history (id {own or 'none'}): it is another one's file, and "
            f"this one's would be {named.name}; or the history was made anew, or its id was changed"
        )
    return mine


def _history(place: Path, known: list[Head], as_json: bool) -> int:
    from firsthand.history.store.verify import verify

    found = verify(place, known)
    if as_json:
        click.echo(json.dumps({**asdict(found), "head": str(found.head or ""), "whole": found.whole}, indent=1))
    else:
        _print(found)
    return 0 if found.whole else 1


def _bundle(path: Path, known: list[Head], digest: str | None, as_json: bool) -> int:
    from firsthand.evidence.bounded import check

    found = check(path, known, digest)
    if as_json:
        click.echo(json.dumps(plain_bundle(found), indent=1))
    else:
        rows = ", ".join(f"{table} {count:,}" for table, count in found.rows.items() if count)
        click.echo(f"{sum(found.rows.values()):,} rows ({rows or 'of no table'})")
        print_bundle(found)
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


def print_bundle(found: verdict.BundleVerdict) -> None:
    """What verifying a bundle found, for people."""
    from firsthand.ask.show import printable

    for damage in found.damage:
        click.echo(f"DAMAGED  {printable(damage)}")
    state = "whole" if found.whole else f"NOT WHOLE: {len(found.damage):,} findings"
    click.echo(f"{state}: {found.files:,} files, {found.segments:,} segments, {found.chunks:,} chunks of the log")
    if found.head:
        click.echo(f"chain    entries {found.first:,} to {found.head.sequence:,}")
    click.echo(f"head     {found.head or 'none'}")
    if found.proven:
        click.echo(f"proven   up to entry {found.proven:,}")
    for what in found.unproven:
        click.echo(f"unproven {printable(what)}")
    click.echo(f"evidence {'complete' if found.complete else 'INCOMPLETE'}")
    for reason in found.reasons:
        click.echo(f"  - {printable(reason)}")
    click.echo(f"digest   {found.digest}")


def plain_bundle(found: verdict.BundleVerdict) -> dict[str, Any]:
    """The same for programs."""
    return {**asdict(found), "head": str(found.head or ""), "whole": found.whole}
