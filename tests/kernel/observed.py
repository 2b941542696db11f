"""Running the real observer on a cgroup of the test's own, and reading what it recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from firsthand.ask import completeness
from firsthand.ask.answer import Window
from firsthand.history.store.connection import History
from firsthand.probe.spec import needed
from tests.growth import until_grown

READY_WITHIN = 60


class Observed:
    """`firsthand run` on `scopes`, from `ready` until the block ends; then `rows` reads the history."""

    #: Starts the command, as subprocess.Popen does. tests/pods/inside.py puts its own in this place, which starts it in a pod.
    popen: Any = subprocess.Popen

    def __init__(self, history: Path, scopes: Sequence[Path], *options: str) -> None:
        self.history = history
        command = [sys.executable, "-m", "firsthand", "run", "--quiet", "--history", str(history)]
        self.instance = f"test-{uuid.uuid4().hex[:12]}"
        command += ["--instance", self.instance]
        for scope in scopes:
            command += ["--scope", str(scope)]
        asked = [] if "--runtime" in options else ["--runtime", "none"]  # the machine's own runtimes are not the test's
        self.command = [*command, *asked, *options]
        self.errors: list[str] = []

    def __enter__(self) -> Observed:
        self.start()
        return self

    def start(self, **options: Any) -> None:
        """Begin, with options as subprocess.Popen's, and wait until it is ready."""
        self.process = self.popen(self.command, stderr=subprocess.PIPE, text=True, **options)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until the line `ready`; what came before it, and the exit code, are in the message if it never comes."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            if line.strip() == "ready":
                return
        raise AssertionError(f"never ready, exit code {self.process.wait()}: {''.join(self.errors)}")

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit code."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stderr is not None
        self.errors += self.process.stderr.readlines()
        return self.process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop()
        if error is None:
            assert code == 0, "".join(self.errors)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query on the history's views."""
        with History(self.history).connection() as connection:
            result = connection.execute(query)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def everything(self, query: str) -> list[dict[str, Any]]:
        """The same: a shared observer's watch has rows besides those of its own cgroup."""
        return self.rows(query)

    def judged(self, since: datetime, until: datetime, tables: tuple[str, ...] = ("process",)) -> list[str]:
        """Why an answer from these tables over that time is not complete; empty: it is."""
        with History(self.history).connection() as connection:
            spans = completeness.spans(connection, datetime.now(UTC))
            return completeness.judge(connection, spans, Window(since, until), tables, needed()).reasons

    def wait(self, query: str, least: int = 1) -> list[dict[str, Any]]:
        """The rows of a query as soon as there are so many, while it observes."""
        return self.until(query, lambda found: len(found) >= least)

    def until(
        self, query: str, met: Callable[[list[dict[str, Any]]], Any], seconds: float = READY_WITHIN
    ) -> list[dict[str, Any]]:
        """The rows of a query as soon as they are as wanted, within so many seconds; asked again only when the log has grown."""
        return until_grown(self.history, lambda: self.rows(query), met, seconds, self._alive, query)

    def _alive(self) -> None:
        assert self.process.poll() is None, "the observer ended"

    def lost(self) -> int:
        """Everything counted as lost."""
        return int(self.rows("SELECT coalesce(sum(events), 0) AS n FROM loss")[0]["n"])


def compiled(source: str, folder: Path, *options: str) -> Path:
    """A program of tests/kernel/programs, compiled for the test; options as gcc's behind the source."""
    target = folder / source
    here = Path(__file__).with_name("programs")
    subprocess.run(["gcc", "-O1", "-pthread", "-o", str(target), str(here / f"{source}.c"), *options], check=True)
    return target


def boot_id() -> str:
    """This boot's id."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def outside_of(pid: int) -> bool:
    """Whether a process of ours still runs."""
    return os.path.exists(f"/proc/{pid}")
