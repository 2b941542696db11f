"""200 secrets go through the real observer; none of them is found anywhere afterwards, and near misses stay whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.history.store.connection import History
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed
from tests.unit.wire.secrets import NEAR_MISSES, Shape, cut, places, shaped

pytestmark = pytest.mark.landing("some hundred secrets by every way")

_LAST = "the last one"


class SecretsObserved:
    """What was stored, shown and answered while and after every shape ran once, in one cgroup."""

    def __init__(self, folder: Path, shapes: list[Shape], settings: str) -> None:
        (folder / "config.toml").write_text(settings)
        self.folder, self.history = folder, folder / "history"
        with TestCgroup() as cgroup, (folder / "shown").open("wb") as shown:
            observed = Observed(self.history, [cgroup.path])
            observed.command.remove("--quiet")
            observed.start(stdout=shown, env=self.environment)
            for arguments in [*(list(args) for args, _ in shapes), *map(list, NEAR_MISSES), [_LAST]]:
                cgroup.run(arguments, executable="/bin/true", env={}).wait()
            self._await_last()
            self.logged = _bytes_below(self.history)
            observed.stop()
            self.said = "".join(observed.errors).encode()
        self.shown = (folder / "shown").read_bytes()
        self.answered = self._run("ask", "processes", "--json", "--limit", "10000") + self._run(
            "ask", "timeline", "--json"
        )
        self.rows = observed.rows("SELECT * FROM process WHERE event = 'exec'")
        self.kept = _bytes_below(self.history) + _every_value(self.history)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "FIRSTHAND_CONFIG": str(self.folder / "config.toml")}

    def _await_last(self) -> None:
        """Follow the history until the last process is there: then all are in the log."""
        command = [
            sys.executable,
            "-m",
            "firsthand",
            "tail",
            "-o",
            "jsonl",
            "--history",
            str(self.history),
            "--from-start",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=self.environment) as tail:
            assert tail.stdout is not None
            self.tailed = b""
            for line in tail.stdout:
                self.tailed += line
                if _LAST.encode() in line:
                    break
            tail.terminate()  # SIGINT may be ignored where the tests run in the background

    def _run(self, *words: str) -> bytes:
        command = [sys.executable, "-m", "firsthand", *words, "--history", str(self.history)]
        return subprocess.run(command, check=True, capture_output=True, env=self.environment).stdout


def _bytes_below(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _every_value(history: Path) -> bytes:
    """Segments are compressed: every column of every table, as text."""
    with History(history).connection() as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        ]
        return "\n".join(str(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in tables).encode()


@pytest.fixture(scope="module")
def shapes() -> list[Shape]:
    return [*places(), *shaped(), *cut()]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, shapes: list[Shape]) -> Iterator[SecretsObserved]:
    """Played once."""
    require.bpf()
    yield SecretsObserved(tmp_path_factory.mktemp("secrets"), shapes, "fold = 1000000\n")


def test_no_secret_is_found_anywhere(told: SecretsObserved, shapes: list[Shape]) -> None:
    """Log, segments, the live view, tail, answers, messages."""
    assert len(shapes) >= 200
    places_searched = {
        "log": told.logged,
        "segments": told.kept,
        "live view": told.shown,
        "messages": told.said,
        "tail": told.tailed,
        "answers": told.answered,
    }
    for name, held in places_searched.items():
        found = sorted({secret for _, secrets in shapes for secret in secrets if secret.encode() in held})
        assert found == [], f"{len(found)} secrets in {name}"
    assert b"[redacted]" in told.logged and b"[redacted]" in told.shown and b"[redacted]" in told.tailed


def test_every_row_says_what_was_done(told: SecretsObserved, shapes: list[Shape]) -> None:
    """As many redacted rows as shapes, each naming its pattern."""
    redacted = [row for row in told.rows if row["redacted"]]
    assert len(redacted) == len(shapes) and all(row["redaction"] for row in redacted)


def test_near_misses_stay_whole(told: SecretsObserved) -> None:
    """Every one, argument by argument."""
    whole = {tuple(row["args"]) for row in told.rows if not row["redacted"]}
    assert set(NEAR_MISSES) - whole == set()


def test_modes_by_cgroup(tmp_path: Path) -> None:
    """One cgroup's arguments are hashed, another's dropped, the rest masked."""
    require.bpf()
    with TestCgroup() as cgroup:
        below = {name: cgroup.below(name) for name in ("open", "hashed", "dropped")}
        scopes = "\n".join(
            f'"/{cgroup.name}/{name}" = "{mode}"' for name, mode in (("hashed", "hash"), ("dropped", "drop"))
        )
        (tmp_path / "config.toml").write_text(f"[redaction.scopes]\n{scopes}\n")
        observed = Observed(tmp_path / "history", [cgroup.path])
        observed.start(env={**os.environ, "FIRSTHAND_CONFIG": str(tmp_path / "config.toml")})
        for name in below:
            script = "for place in $2; do echo 0 > $place/cgroup.procs; done; exec /bin/true --user $1 plain"
            places_of = " ".join(str(folder / name) for folder in cgroup.folders)
            cgroup.run(["/bin/sh", "-c", script, "sh", name, places_of]).wait()
        observed.stop()
    rows = observed.rows("SELECT cgroup_path, args FROM process WHERE event = 'exec' AND exe LIKE '%/true'")
    kept = {row["cgroup_path"].rpartition("/")[2]: row["args"] for row in rows}
    assert kept["open"] == ["/bin/true", "--user", "open", "plain"] and kept["dropped"] == []
    assert kept["hashed"][0] == "/bin/true" and all(word.startswith("hash:") for word in kept["hashed"][1:])
