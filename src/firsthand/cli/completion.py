"""`firsthand completion`: the script that makes a shell complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell: eval "$(firsthand completion bash)"."""
    from firsthand.cli.main import group

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(group, {}, "firsthand", "_FIRSTHAND_COMPLETE").source())
