"""`firsthand evidence`: rows of the history, with what proves them, in one file that verifies elsewhere."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firsthand.cli import options

if TYPE_CHECKING:
    from firsthand.evidence.making import Made, Wish
    from firsthand.evidence.verdict import BundleVerdict

_NO_FINDINGS = (
    "{!r} names no finding: this version judges nothing, so there are none yet. Say which rows are wanted with --since, --until, "
    "--pod, -n or -l"
)


@click.command()
@click.argument("finding", required=False, metavar="[FINDING-ID]")
@options.history_option
@click.option("--since", help="From then on: 30d, 2h (ago) or an ISO time. It must be given.")
@click.option("--until", help="Until then, as --since; now by default.")
@click.option("--pod", help="Only this pod, by name or uid.")
@click.option("-n", "--namespace", help="Only this Kubernetes namespace.")
@click.option("-l", "--selector", help="Only pods with these labels, as kubectl takes them: app=web,tier!=test.")
@click.option("--node", help="Only this machine.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; it must not be there yet.")
@click.option("--rows-only", is_flag=True, help="Leave the segments out: small, holds no rows of others, proves less.")
@click.option(
    "--whole-days", is_flag=True, help="Take all segments of these days in: proves that nothing was left out."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(finding: str | None, history: Path | None, output: Path | None, as_json: bool, **given: Any) -> int:
    """Write the rows of a time and pod, with segments, hash chain and completeness, to one FILE; `firsthand verify FILE` checks it.

    Exit codes: 0 written, 1 failed, 2 wrong usage. The last line is the bundle's digest: keep it apart from the file.
    """
    from firsthand import settings
    from firsthand.errors import UsageError
    from firsthand.evidence import checking, making
    from firsthand.settings.sections.integrity import Integrity

    if finding is not None:
        raise UsageError(_NO_FINDINGS.format(finding))
    if output is None:
        raise UsageError("name the file to write with -o FILE")
    if not output.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {output.parent}")
    heads = _heads(settings.load()[Integrity].heads, options.place(history))
    now = datetime.now(UTC)
    made = making.make(options.place(history), _wish(given, now), output, now, heads)
    _warn(made)
    found = checking.check(output, digest=made.digest)
    if as_json:
        click.echo(json.dumps(_plain(made, found), indent=1))
    else:
        _print(made, found)
    return 0 if found.whole else 1


def _heads(named: str, history: Path) -> Path | None:
    """The file of this history's published heads; that of a version before, which histories shared, where it has none of its own."""
    from firsthand.history import place
    from firsthand.history.store import chain

    if not named:
        return None
    own = chain.file_of(Path(named), place.identity(history))
    return own if own.exists() else Path(named)


def _wish(given: dict[str, Any], now: datetime) -> Wish:
    from firsthand.ask.answer import Window
    from firsthand.errors import UsageError
    from firsthand.evidence.making import Wish

    if not given["since"]:
        raise UsageError("say from when on with --since, such as --since 2h or --since 2026-05-01T12:00Z")
    if given["rows_only"] and given["whole_days"]:
        raise UsageError("--rows-only leaves all segments out and --whole-days takes more in: give one of them")
    since = options.moment(given["since"], now)
    until = options.moment(given["until"], now) if given["until"] else now
    if since > until:
        raise UsageError(f"the window ends before it begins: --since {since.isoformat()}, --until {until.isoformat()}")
    names = ("namespace", "pod", "node", "selector")
    typed = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if isinstance(value, str)]
    return Wish(
        Window(since, until),
        **{name: given[name] for name in names},
        arguments=tuple(sorted(typed)),
        segments=not given["rows_only"],
        days=given["whole_days"],
    )


def _warn(made: Made) -> None:
    """What the user must know before the file is handed on."""
    asked = sum(made.about.rows.values())
    if made.about.segments and made.held > asked:
        print(
            f"firsthand: {made.path} holds whole segments with {made.held:,} rows, {made.held - asked:,} of them not asked for: rows of "
            "other pods and of the host are among them. --rows-only leaves them out, and proves less (docs/evidence.md)",
            file=sys.stderr,
        )


def _print(made: Made, found: BundleVerdict) -> None:
    from firsthand.cli import verify
    from firsthand.evidence.documents import counted

    rows = ", ".join(f"{table} {count:,}" for table, count in made.about.rows.items() if count)
    click.echo(f"{sum(made.about.rows.values()):,} rows ({rows or 'of no table'}) from {counted(made.origins)}")
    verify.print_bundle(found)


def _plain(made: Made, found: BundleVerdict) -> dict[str, Any]:
    from firsthand.cli import verify

    return {"file": str(made.path), "rows_of_sources": made.held, **verify.plain_bundle(found)}
