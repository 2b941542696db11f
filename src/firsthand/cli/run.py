"""`firsthand run`: observe in the foreground, and show it."""

from __future__ import annotations

import contextlib
import math
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
from firsthand.run.readiness import notify

if TYPE_CHECKING:
    from firsthand.cli.live import LiveView
    from firsthand.content.checker import CheckerOptions
    from firsthand.history.log.growth import Growth
    from firsthand.observe.options import FollowerOptions
    from firsthand.run.session import Plan, Session
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
@click.option(
    "--reader", is_flag=True, help="Have the reader started when somebody asks; the same as the setting reader.enabled."
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
    reader: bool,
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
    from firsthand.run.session import Session
    from firsthand.settings.sections.reader import ReaderSettings

    for scope in scopes:
        if not scope.exists():
            raise click.UsageError(f"--scope {scope}: no such folder; name a cgroup's folder below /sys/fs/cgroup")
    until = None if duration is None else options.seconds(duration)
    place = options.place(history).absolute()

    def planned(found: Settings) -> Plan:
        wanted = found.having(ReaderSettings, enabled=True) if reader else found
        return _planned(wanted, place, scopes, instance, sockets)

    found = settings.load()
    live = None if quiet else _live(place, found, output, (words, container, flags, namespace, pod))
    session = Session(planned(found), keep_attached=keep_attached)
    _observe(session, live, until, place, Reload(session, planned))


def _live(
    place: Path,
    found: Settings,
    output: str,
    chosen: tuple[tuple[str, ...], str | None, str | None, str | None, str | None],
) -> LiveView:
    """What shows lines: imported where something is to be shown, for it takes DuckDB and PyArrow. `chosen`: words, container, flags,
    namespace and pod."""
    from firsthand.cli.live import LineChoice, LiveView
    from firsthand.schema import flags
    from firsthand.settings.sections.top import Top

    words, container, wanted, namespace, pod = chosen
    choice = LineChoice(words, container, flags.checked(wanted or ""), namespace, pod)
    return LiveView(place, choice, output, found[Top].fold, found[Top].ordinary_capabilities)


def _planned(
    found: Settings, place: Path, scopes: tuple[Path, ...], instance: str | None, sockets: tuple[str, ...]
) -> Plan:
    """What settings and the command line tell the processes."""
    from firsthand.host import resolvers
    from firsthand.observe.options import ObserverOptions
    from firsthand.run.session import Plan
    from firsthand.settings.sections.network import Network
    from firsthand.settings.sections.redaction import Redaction
    from firsthand.settings.sections.top import Top
    from firsthand.wire.programs import compile_programs

    told = found.of("observer")
    told = told.having(Top, instance=instance or found[Top].instance)
    told = told.having(Network, resolvers=found[Network].resolvers or resolvers.found())
    told = told.having(Redaction, programs={})
    programs = compile_programs(found[Redaction].programs)
    named = tuple(str(scope) for scope in scopes)
    checking = _checking(found, bool(scopes))
    chosen = ObserverOptions(
        history=str(place), scopes=named, settings=told, programs=programs, checks=checking is not None
    )
    following = _following(found, place, sockets, bool(scopes))
    return Plan(chosen, following, found, checking)


def _checking(found: Settings, scoped: bool) -> CheckerOptions | None:
    """The options of the checker; None if it checks nothing. With a scope it checks only the files that the settings name."""
    from firsthand.content.checker import CheckerOptions
    from firsthand.settings.sections.content import Content

    section = found[Content]
    if not section.enabled or (scoped and not section.files):
        return None
    return CheckerOptions(section.every_seconds, section.roots, section.files, not scoped)


#: Seconds for which the settings file must have stayed as it is before it is applied: who writes it may empty it first.
SETTLED = 1.0


class Reload:
    """The settings file: a change is applied once the file has stayed unchanged for SETTLED; a wrong file prints a message and changes
    nothing. `wakes` are descriptors that become readable at a change; without them the next turn sees it."""

    def __init__(self, session: Session, planned: Callable[[Settings], Plan]) -> None:
        self._session, self._planned = session, planned
        self._seen = self._newest = self._look()
        self._since = 0.0
        self._growth: Growth | None = None

    @property
    def wakes(self) -> list[int]:
        """What is readable when something has changed in its folder."""
        from firsthand.history.log.growth import Growth

        if self._growth is None and self._seen is not None:
            self._growth = Growth(Path(self._seen[0]).parent)
        if self._growth is None:
            return []
        self._growth.watch()
        return [one for one in (self._growth.fileno(),) if one >= 0]

    @property
    def wait(self) -> float:
        """Seconds after which the next turn is due, whatever happens: a change waits to be applied."""
        return math.inf if self._newest == self._seen else SETTLED

    def turn(self) -> None:
        """Look, and apply what is new."""
        if self._growth is not None and self._growth.fileno() >= 0:
            self._growth.seen()
        newest, now = self._look(), time.monotonic()
        if newest != self._newest:
            self._newest, self._since = newest, now
        if newest != self._seen and now - self._since >= SETTLED:
            self._seen = newest
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
    from firsthand.observe.options import FollowerOptions
    from firsthand.settings.sections.runtimes import Runtimes

    section = found[Runtimes]
    chosen = tuple(_socket(name) for name in sockets if name != "none") if sockets else section.sockets
    return FollowerOptions(str(place), chosen, section.annotations, scoped) if chosen else None


def _socket(name: str) -> str:
    from firsthand.errors import UsageError
    from firsthand.settings import kinds

    try:
        return kinds.socket(name)
    except ValueError as error:
        raise UsageError(f"--runtime: a runtime's socket: expected {kinds.SOCKET}, found {name!r}") from error


def _observe(session: Session, live: LiveView | None, until: float | None, place: Path, reload: Reload) -> None:
    from firsthand.history.log import alive

    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda received, _: stopped.append(received))
    woken = _woken()
    try:
        session.start()
        if why := session.wait_ready():
            raise FirsthandError(f"the observer did not get ready ({why}); look at its messages above")
        _say_ready(session, place)
        notify("READY=1")
        end = None if until is None else time.monotonic() + until
        while not stopped and (end is None or time.monotonic() < end):
            if live is None:
                wait = min(reload.wait, alive.EVERY if end is None else max(0.0, end - time.monotonic()))
                session.rest(wait, [woken, *reload.wakes])
                _quiet(woken)
            else:
                _show(live, end)
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


def _woken() -> int:
    """A descriptor that is readable when a signal has come, the death of a child among them (signal(7))."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _quiet(woken: int) -> None:
    """Empty the pipe that signals write to, before their causes are handled."""
    with contextlib.suppress(BlockingIOError):
        os.read(woken, 4096)


def _show(live: LiveView, end: float | None) -> None:
    """Show what came, or wait a little."""
    wait = 0.25 if end is None else max(0.0, min(0.25, end - time.monotonic()))
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
