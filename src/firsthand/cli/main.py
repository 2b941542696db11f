"""The command `firsthand`: its verbs, and errors as one line with an exit code."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys

try:
    import click

    from firsthand import __version__
    from firsthand.errors import FirsthandError
except KeyboardInterrupt:  # Ctrl-C before the command has begun
    sys.exit(130)

VERBS = {
    "run": "Observe in the foreground, until Ctrl-C or for --for.",
    "ask": "Answer a question from the history; without one, list the questions.",
    "tail": "Follow what is being recorded, from the history.",
    "export": "Stream the record out: to a file, an HTTP receiver or standard output.",
    "status": "Show what is observed and followed now.",
    "usage": "Show what the history holds, by whom, and how long it lasts.",
    "hold": "Keep spans of the history from retention.",
    "verify": "Find what was changed, removed, re-ordered or cut in the history, or in a bundle.",
    "evidence": "Write rows with what proves them to one file that verifies elsewhere.",
    "metrics": "Serve metrics for Prometheus, and health, on loopback.",
    "doctor": "Look at kernel, rights, disk, hooks and what was left behind.",
    "config": "Show the settings in force, or check a settings file.",
    "sql": "Query the history's tables, read-only; a shell without a query.",
    "uninstall": "Remove what `make install` made, and what a run left in the kernel.",
    "completion": "Print the completion script of a shell.",
}


class Verbs(click.Group):
    """Verbs in modules of their own, imported when they are used: `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"firsthand.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="firsthand")
def group() -> None:
    """Security observability for Kubernetes, from the kernel, at first hand.

    Exit codes: 0 answered, 1 failed, 2 wrong usage, 3 incomplete under --require-complete, 4 rows under --fail-on-rows.
    """


def _never_fail_on_letters() -> None:
    """Letters that the locale's encoding lacks are written as \\xNN and \\uNNNN instead of ending the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


#: Objects made before the collector looks for cycles: imports make tens of thousands, and hardly a cycle.
_COLLECTED = 20_000


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(_COLLECTED)
    _never_fail_on_letters()
    try:
        code = group.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        code = 2
    except click.exceptions.Abort:
        code = 1
    except FirsthandError as error:
        print(f"firsthand: {error}", file=sys.stderr)
        code = error.exit_code
    except PermissionError as error:
        print(
            f"firsthand: {error.filename or 'a file'}: you may not use it ({error.strerror}); be root or in the group firsthand",
            file=sys.stderr,
        )
        code = 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 0
    gc.freeze()  # at the end everything goes: looking for cycles before takes 0.02 s
    sys.exit(code if isinstance(code, int) else 0)
