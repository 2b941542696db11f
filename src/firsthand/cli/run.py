"""`firsthand run`: observe in the foreground, and show it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from firsthand.cli import options
from firsthand.errors import FirsthandError
from firsthand.readiness import notify

if TYPE_CHECKING:
    from firsthand.cli.live import Live
    from firsthand.following import FollowerOptions
    from firsthand.session import Plan, Session
    from firsthand.settings import Settings

_QUERY = "SELECT exe, count(*) FROM process GROUP BY ALL ORDER BY 2 DESC LIMIT 9"


@click.command()
@options.history_option
@click.option("--for", "duration", help="Stop by itself after this long: 30s, 5m, 2h.")
@click.option("--quiet", is_flag=True, help="Show nothing of what happens.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Observe only this cgroup's folder (v1 or v2) and what is below it; may be repeated.",
)
@click.option(
    "--keep-attached",
    is_flag=True,
    help="At the end leave the kernel side recording into its rings: the next `run` takes over. For an upgrade.",
)
@click.option("--instance", help="Name of the pin folder; two observers need two names.")
@click.option(
    "--runtime",
    "sockets",
    multiple=True,
    help="Ask this container runtime's socket for names, PATH or KIND:PATH (containerd, cri, docker, podman); may be repeated. "
    "The usual ones by default; `none` asks nobody.",
)
@click.option("--filter", "words", multiple=True, help="Show only lines that hold this text; may be repeated.")
@click.option("-n", "--namespace", help="Show only this Kubernetes namespace.")
@click.option("--pod", help="Show only this pod, by name or uid.")
@click.option("--container", help="Show only this container: its name, the beginning of its id, or `host`.")
@click.option("--flags", help="Show only execs with one of these flags, comma separated: PRIVILEGED,DRIFT.")
@options.output_option("compact", "jsonl")
def command(
    history: Path | None,
    duration: str | None,
    quiet: bool,
    keep_attached: bool,
    scopes: tuple[Path, ...],
    instance: str | None,
    sockets: tuple[str, ...],
    words: tuple[str, ...],
    namespace: str | None,
    pod: str | None,
    container: str | None,
    flags: str | None,
    output: str,
) -> None:
    """Observe this machine, or the cgroups of --scope, until Ctrl-C or for --for.

    Prints `ready` on standard error when events are being recorded. Ctrl-C, SIGTERM and the end of --for drain,
    detach and unpin, and exit 0; SIGUSR2 ends it as with --keep-attached.
    """
    from firsthand import settings
    from firsthand.cli.live import Choice, Live
    from firsthand.session import Session

    for scope in scopes:
        if not scope.exists():
            raise click.UsageError(f"--scope {scope}: no such folder; name a cgroup's folder below /sys/fs/cgroup")
    until = None if duration is None else options.seconds(duration)
    place = options.place(history).absolute()

    def planned(found: Settings) -> Plan:
        return _planned(found, place, scopes, instance, sockets)

    found = settings.load()
    wanted = frozenset(flags.upper().split(",")) if flags else frozenset()
    choice = Choice(words, container, wanted, namespace, pod)
    live = None if quiet else Live(place, choice, output, found.fold, found.ordinary_capabilities)
    session = Session(planned(found), keep_attached=keep_attached)
    _observe(session, live, until, place, Reload(session, planned))


def _planned(
    found: Settings, place: Path, scopes: tuple[Path, ...], instance: str | None, sockets: tuple[str, ...]
) -> Plan:
    """What settings and the command line tell the processes."""
    from firsthand import resolvers
    from firsthand.options import ObserverOptions
    from firsthand.session import Plan

    chosen = ObserverOptions(
        history=str(place),
        scopes=tuple(str(scope) for scope in scopes),
        instance=instance or found.instance,
        hierarchy=found.hierarchy,
        ring_bytes=found.ring_bytes,
        urgent_bytes=found.urgent_bytes,
        patience=found.patience_seconds,
        canary_every=found.canary_seconds,
        poll=found.poll_ms,
        commit=found.commit_ms,
        fold=found.folding.processes,
        fold_connections=found.folding.connections,
        fold_most_ms=found.folding.most_ms,
        fold_every_seconds=found.folding.every_seconds,
        redaction=found.redaction_mode,
        redaction_key=found.redaction_key,
        redaction_scopes=found.redaction_scopes,
        patterns=found.redaction_patterns,
        environment=found.environment_allow,
        names=found.network.names,
        requests=found.network.requests,
        plain=found.network.plaintext,
        flow_idle=found.network.flow_idle_seconds,
        translated=found.network.translated_namespaces if found.network.translations else None,
        resolvers=found.network.resolvers or resolvers.found(),
        keep_query=found.network.keep_query,
    )
    following = _following(found, place, sockets, bool(scopes))
    return Plan(chosen, following, found.retention, found.heads, found.restart_most_seconds)


class Reload:
    """The settings file, looked at each second: what changed in it is applied, and a wrong one is said and left."""

    def __init__(self, session: Session, planned: Callable[[Settings], Plan]) -> None:
        self._session, self._planned = session, planned
        self._seen = self._look()
        self._due = 0.0

    def turn(self) -> None:
        """Look, where a second has passed."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + 1.0
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._apply()

    def _look(self) -> tuple[str, int, int] | None:
        from firsthand import settings

        try:
            path = settings.where(os.environ)
            found = path.stat() if path else None
        except (FirsthandError, OSError):
            return None
        return (str(path), found.st_mtime_ns, found.st_ino) if found else None

    def _apply(self) -> None:
        from firsthand import settings

        try:
            changed = self._session.apply(self._planned(settings.load()))
        except FirsthandError as error:
            print(f"firsthand: the settings in force are kept: {error}", file=sys.stderr, flush=True)
            return
        what = (
            f"the {' and the '.join(changed)} started anew with them" if changed else "nothing that runs is concerned"
        )
        print(f"firsthand: the settings have changed: {what}", file=sys.stderr, flush=True)


def _following(found: Settings, place: Path, sockets: tuple[str, ...], scoped: bool) -> FollowerOptions | None:
    """What the follower is told; None where no runtime is to be asked."""
    from firsthand import settings
    from firsthand.following import FollowerOptions

    chosen = (
        tuple(settings.socket(name, "--runtime") for name in sockets if name != "none")
        if sockets
        else found.runtime_sockets
    )
    return FollowerOptions(str(place), chosen, found.runtime_annotations, scoped) if chosen else None


def _observe(session: Session, live: Live | None, until: float | None, place: Path, reload: Reload) -> None:
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda received, _: stopped.append(received))
    try:
        session.start()
        if not session.wait_ready():
            raise FirsthandError("the observer did not get ready within a minute; look at its messages above")
        _say_ready(session, place)
        notify("READY=1")
        end = None if until is None else time.monotonic() + until
        while not stopped and (end is None or time.monotonic() < end):
            _turn(live, end)
            session.turn()
            reload.turn()
            notify("WATCHDOG=1")
        notify("STOPPING=1")
        session.keep_attached |= signal.SIGUSR2 in stopped
    finally:
        summary = session.stop()
        if live is not None:
            live.close()
    print(_summary(summary.seconds, summary.recorded, summary.lost, place), file=sys.stderr)


def _turn(live: Live | None, end: float | None) -> None:
    """Show what came, or wait a little."""
    wait = 0.25 if end is None else max(0.0, min(0.25, end - time.monotonic()))
    if live is None:
        time.sleep(wait)
        return
    try:
        live.show(wait)
    except FirsthandError as error:  # what is shown must not end what is recorded
        print(f"firsthand: nothing can be shown: {error}", file=sys.stderr, flush=True)
        time.sleep(wait)


def _say_ready(session: Session, place: Path) -> None:
    for note in session.summary.notes:
        print(f"firsthand: {note}", file=sys.stderr)
    for hook, why in session.summary.missing.items():
        print(f"firsthand: blind spot: hook {hook} is missing here ({why})", file=sys.stderr)
    if sys.stderr.isatty():
        print(f"firsthand: recording into {place}; Ctrl-C ends it", file=sys.stderr)
    print("ready", file=sys.stderr, flush=True)


def _summary(seconds: float, recorded: int, lost: int, place: Path) -> str:
    named = "" if "FIRSTHAND_HISTORY" in os.environ else f" --history {place}"
    losses = "none lost" if not lost else f"{lost:,} LOST: answers over that time say so"
    return (
        f"\n{recorded:,} events in {seconds:.0f} s, {losses}. Ask next:\n"
        f"  firsthand ask{named}                 what can be asked\n"
        f"  firsthand ask privileged{named}\n"
        f"  firsthand ask tree{named}\n"
        f"  firsthand sql{named} '{_QUERY}'"
    )
