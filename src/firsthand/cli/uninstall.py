"""`firsthand uninstall`: remove what `make install` made, and what a run left in the kernel."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from firsthand.errors import FirsthandError, UsageError


@dataclass(frozen=True)
class Step:
    """One thing to remove: what is said of it, and how."""

    text: str
    act: Callable[[], None]


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and touch nothing.")
@click.option("--purge", is_flag=True, help="Remove the history as well.")
@click.option("--force", is_flag=True, help="Also detach an observer that runs, without its drain.")
@click.option(
    "--prefix",
    type=click.Path(path_type=Path),
    default=Path("/opt/firsthand"),
    show_default=True,
    help="Where it was installed.",
)
def command(dry_run: bool, purge: bool, force: bool, prefix: Path) -> int:
    """Remove unit, pins, users, programs and settings; the history stays, unless --purge. Settings that were changed stay.

    Exit code 1 where an observer runs without a unit (stop it first, or --force).
    """
    if os.geteuid() != 0 and not dry_run:
        raise UsageError("uninstalling needs root; --dry-run does not")
    steps = [*_unit(prefix), *_pins(force=force), *_installed(prefix, purge=purge)]
    for step in steps:
        click.echo(f"{'would remove' if dry_run else 'removing'} {step.text}")
        if not dry_run:
            try:
                step.act()
            except (OSError, subprocess.CalledProcessError) as error:
                raise FirsthandError(
                    f"{step.text}: {error}; what was not yet removed is still there: run it again"
                ) from error
    if not steps:
        click.echo("nothing of Firsthand is installed here")
    return 0


def _lines(prefix: Path) -> list[list[str]]:
    with contextlib.suppress(FileNotFoundError):
        return [line.split() for line in (prefix / "installed").read_text().splitlines() if line.strip()]
    return []


def _unit(prefix: Path) -> list[Step]:
    """The unit first: it drains and detaches."""
    steps = []
    for kind, *rest in _lines(prefix):
        if kind == "unit" and Path(rest[0]).exists():
            if Path("/run/systemd/system").is_dir():
                name = Path(rest[0]).name
                steps.append(Step(f"the running unit {name}", lambda name=name: _systemctl("disable", "--now", name)))  # type: ignore[misc]
            steps.append(Step(rest[0], Path(rest[0]).unlink))
    return steps


def _systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True, stdout=sys.stderr)


def _pins(*, force: bool) -> list[Step]:
    """Instances in the kernel. One that somebody reads is refused, unless forced or stopped by the unit before."""
    from firsthand.probe import pins

    steps = []
    for folder in sorted(pins.bpffs().glob("firsthand-*")) if os.geteuid() == 0 else []:
        instance = folder.name.removeprefix("firsthand-")
        steps.append(Step(f"{folder}, what is attached by it", lambda instance=instance: _unpin(instance, force=force)))  # type: ignore[misc]
    return steps


def _unpin(instance: str, *, force: bool) -> None:
    from firsthand.errors import BusyError
    from firsthand.probe import pins

    try:
        _, lock = pins.claim(instance)
        os.close(lock)
    except BusyError:
        if not force:
            raise FirsthandError(
                f"instance {instance!r} is being read: stop its `firsthand run` first, or use --force"
            ) from None
    pins.remove(instance)


def _installed(prefix: Path, *, purge: bool) -> list[Step]:
    steps: list[Step] = []
    for kind, name, *rest in sorted(_lines(prefix), key=lambda line: _ORDER.index(line[0])):
        path = Path(name)
        if kind == "config" and path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() == rest[0]:
                steps += [Step(name, path.unlink), *_empty(path.parent)]
            else:
                click.echo(f"keeping {name}: it was changed since")
        elif kind == "history" and purge and path.exists():
            steps.append(Step(name, lambda path=path: shutil.rmtree(path)))  # type: ignore[misc]
        elif kind == "history" and path.is_dir() and not any(path.iterdir()):  # nothing was ever recorded there
            steps.append(Step(name, path.rmdir))
        elif kind == "user":
            steps.append(Step(f"user {name}", lambda name=name: _account("userdel", name)))  # type: ignore[misc]
        elif kind == "group":
            steps.append(Step(f"group {name}", lambda name=name: _account("groupdel", name)))  # type: ignore[misc]
        elif kind == "path" and (path.exists() or path.is_symlink()):
            steps.append(Step(name, lambda path=path: _remove(path)))  # type: ignore[misc]
    return steps


#: The list itself lies below the prefix, the first path that was noted: it goes last.
_ORDER = ("unit", "config", "history", "user", "group", "path")


def _empty(folder: Path) -> list[Step]:
    if any(one.name != "config.toml" for one in folder.iterdir()):
        return []
    return [Step(str(folder), folder.rmdir)]


def _account(program: str, name: str) -> None:
    subprocess.run([program, name], check=True, capture_output=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
