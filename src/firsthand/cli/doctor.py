"""`firsthand doctor`: what works here, what does not, and what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from firsthand.cli import options


@click.command()
@options.history_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write it all, redacted, into this .tar.gz, for a report.",
)
def command(history: Path | None, as_json: bool, bundle: Path | None) -> int:
    """Look at kernel, rights, disk, observer, hooks, runtimes, clock and what was left behind. Exit code 1 where something fails."""
    from firsthand import settings
    from firsthand.errors import FirsthandError
    from firsthand.health.doctor import Finding, examine
    from firsthand.settings.sections.runtimes import Runtimes

    place = options.place(history)
    try:
        found = settings.load()
        wrong: list[Finding] = []
    except FirsthandError as error:
        found, wrong = (
            settings.load({"HOME": "/nonexistent"}),
            [Finding("fail", "settings", str(error), "firsthand config check")],
        )
    findings = wrong + examine(place, found[Runtimes].sockets) + _reader(place)
    if bundle is not None:
        _bundle(bundle, place, [asdict(one) for one in findings])
    if as_json:
        click.echo(json.dumps([asdict(one) for one in findings], indent=1))
    else:
        _print(findings)
    return 1 if any(one.state == "fail" for one in findings) else 0


def _reader(place: Path) -> list[Any]:
    """The reader, where there is one: a question that it does not answer is answered without it, and costs more."""
    from firsthand.health.doctor import Finding
    from firsthand.reader.look import look

    found = look(place)
    if found is None:
        return []
    detail = f"{found['socket']}: {found['state']}" + (f": {found['why']}" if found["why"] else "")
    remedy = f"kill -CONT {found['pid']}" if found["state"] == "stopped" else "docs/reader.md, When it does not answer"
    return [Finding("ok" if found["state"] in ("answers", "rests") else "warn", "reader", detail, remedy)]


def _print(findings: list[Any]) -> None:
    from firsthand.ask.show import printable

    for one in findings:
        click.echo(printable(f"{one.state:<5} {one.what:<9} {one.detail}"))
        if one.state != "ok" and one.remedy:
            click.echo(printable(f"      {'':<9} -> {one.remedy}"))


def _bundle(path: Path, place: Path, findings: list[dict[str, Any]]) -> None:
    """Findings, version, settings without their secrets, the newest rows of observer and loss: nothing that a process said."""
    import io
    import os
    import tarfile

    from firsthand import __version__
    from firsthand.errors import FirsthandError
    from firsthand.history.store.connection import History

    parts: dict[str, Any] = {
        "findings": findings,
        "version": {"firsthand": __version__, "kernel": " ".join(os.uname()[2:])},
    }
    try:
        with History(place).connection() as connection:
            for table, columns in _ROWS.items():
                query = f"SELECT {columns} FROM {table} ORDER BY time DESC LIMIT 100"  # noqa: S608 - of this module
                found = connection.execute(query)
                names = [one[0] for one in found.description]
                parts[table] = [dict(zip(names, map(str, row), strict=True)) for row in found.fetchall()]
    except FirsthandError as error:
        parts["history"] = str(error)
    with tarfile.open(path, "w:gz") as archive:
        for name, part in parts.items():
            data = json.dumps(part, indent=1).encode()
            member = tarfile.TarInfo(f"firsthand/{name}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    click.echo(f"written: {path}", err=True)


_ROWS = {
    "observer": "time, event, version, kernel, hooks, blind_spots, recorded, lost, measures",
    "loss": "time, table_name, cause, events, since, until",
}
