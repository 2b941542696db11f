"""`firsthand config`: the settings in force and where each comes from, and whether a file is right."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click


@click.group()
def command() -> None:
    """Show the settings in force, or check a settings file."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(as_json: bool) -> None:
    """Each setting, its value, and what it comes from: the defaults or the file in force."""
    from firsthand import settings
    from firsthand.settings import page
    from firsthand.settings.declare import declared

    path = settings.where(os.environ)
    settings.load()  # a wrong file is told before anything is shown
    given = settings.flat(settings.read(path)) if path else {}
    values = {one.name: page.written(one) for one in declared() if not one.absent} | given
    rows = [
        {
            "setting": name,
            "value": "***" if name == "redaction.key" and value else value,
            "from": str(path) if name in given else "default",
        }
        for name, value in sorted(values.items())
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"file in force: {path or 'none: the defaults alone'}")
    for row in rows:
        click.echo(f"{row['setting']:<28} {_shown(row['value'])}{'' if row['from'] == 'default' else '   (file)'}")


@command.command()
def schema() -> None:
    """JSON schema of the settings file, for editors that check TOML by one."""
    from firsthand.settings import page

    click.echo(json.dumps(page.schema(), indent=1))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 90 else f"{text[:87]}..."


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Whether FILE, or the one in force, could be used; exit code 2 with the key, what was expected and found where not."""
    from firsthand import settings
    from firsthand.errors import FirsthandError, UsageError
    from firsthand.settings.sections.redaction import Redaction
    from firsthand.wire.programs import compile_programs
    from firsthand.wire.redact import Pattern, compile_redactor

    environment = {**os.environ, "FIRSTHAND_CONFIG": str(file)} if file else dict(os.environ)
    path = settings.where(environment)
    found = settings.load(environment)
    where = "redaction.programs"
    try:
        programs = compile_programs(found[Redaction].programs, where)
        where = "redaction.patterns"
        compile_redactor([Pattern(name, one) for name, one in found[Redaction].patterns.items()], programs=programs)
    except FirsthandError as error:
        raise UsageError(f"{path}: {error if where == 'redaction.programs' else f'{where}: {error}'}") from error
    click.echo(f"{path or 'the defaults'}: good")
