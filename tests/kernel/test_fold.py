"""Equal short processes fold into rows that count them: each life is its own rows or one of a count, and none is both."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed, compiled
from tests.kernel.pool import ObserverKind, Watch
from tests.kernel.test_disk import SupervisorLines
from tests.kernel.test_torture import SEED, Truth

pytestmark = pytest.mark.xdist_group("pool of folded processes")

KINDS = ("equal", "unlike", "coded", "killed", "forking", "twice", "bare", "renamed", "lowered", "long")
#: Ends with one code or another: it folds while the code stays.
MAY_FOLD = {"equal", "coded"}
FOLDING = "[folding]\nprocesses = true\nmost_ms = 100\nevery_seconds = 1\n"
_EVENTS = """SELECT count(*) FILTER (event = 'fork') AS forks, count(*) FILTER (event = 'exec' AND args[1] = 'lives') AS execs,
    count(*) FILTER (event = 'exit') AS exits, coalesce(sum(folded_count), 0)::BIGINT AS folded,
    count(DISTINCT (ring, cpu, seq)) AS numbers, count(*) AS rows FROM process"""
_KINDS = """SELECT regexp_replace(args[2], '-.*', '') AS kind, count(*) FILTER (event = 'exec') AS own,
    coalesce(sum(folded_count), 0)::BIGINT AS folded FROM process WHERE args[1] = 'lives' GROUP BY kind"""
#: Lives that have some of their rows and not all.
_TORN = """SELECT exec_tgid, list(event) AS events FROM process WHERE event IN ('fork', 'exec', 'exit') AND exec_tgid <> ?
    GROUP BY exec_tgid, exec_start HAVING count(*) FILTER (event = 'fork') <> 1 OR count(*) FILTER (event = 'exit') <> 1"""


@pytest.fixture(scope="module", autouse=True)
def folds() -> None:
    """Where the kernel folds."""
    require.folding()


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """A shared observer that folds."""
    return ObserverKind(FOLDING)


class FoldedLives(Truth):
    """The workload of lives.c, with its own count by event and by kind."""

    def __init__(self, cgroup: TestCgroup, folder: Path, *options: str) -> None:
        self.path = folder / "truth"
        program = str(compiled("lives", folder))
        self.process = cgroup.run([program, str(self.path), *options], stdin=subprocess.PIPE)

    def numbers(self) -> tuple[int, ...]:
        """Forks, execs, exits, and lives of each kind so far."""
        found = self.path.read_bytes() if self.path.exists() else b""
        wanted = 3 + len(KINDS)
        return struct.unpack(f"{wanted}l", found) if len(found) == 8 * wanted else (0,) * wanted

    def counted(self) -> tuple[int, int, int]:
        """Forks, execs and exits so far."""
        return self.numbers()[0], self.numbers()[1], self.numbers()[2]

    @property
    def kinds(self) -> dict[str, int]:
        """Execs by what they name: the second image of `twice` is one of `equal`."""
        found = dict(zip(KINDS, self.numbers()[3:], strict=True))
        found["equal"] += found["twice"]
        del found["bare"]
        return found


def _agree(observed: Observed, work: FoldedLives, lost: int = 0) -> dict[str, Any]:
    """produced = recorded + folded + lost, by event and by kind, and no life is told in part. The numbers of the record."""
    forks, execs, exits = work.counted()
    found = observed.rows(_EVENTS)[0]
    assert found["numbers"] == found["rows"], "a record stands there twice"
    told = found["forks"] + found["execs"] + found["exits"] + 3 * found["folded"]
    assert told + lost == forks + execs + exits + 1, (found, work.numbers())
    if not lost:
        assert not observed.rows("SELECT * FROM loss WHERE cause <> 'helper_failed'")
        kinds = {row["kind"]: row["own"] + row["folded"] for row in observed.rows(_KINDS)}
        assert kinds == work.kinds
        assert not observed.rows(_TORN.replace("?", str(work.process.pid)))
    assert {row["kind"] for row in observed.rows(_KINDS) if row["folded"]} <= MAY_FOLD
    return found


def test_each_life_is_told_once(cgroup: TestCgroup, history: Path, tmp_path: Path, config: Path) -> None:
    """Equal short ones among others: many fold, all others have their rows, and the sums are the workload's own."""
    with Observed(history, [cgroup.path]) as observed:
        work = FoldedLives(cgroup, tmp_path)
        work.past(600)
        work.end()
    found = _agree(observed, work)
    assert found["folded"] > work.kinds["equal"] / 2, found
    rows = observed.rows("SELECT * FROM process WHERE event = 'folded'")
    assert len(rows) > 1, "a row each second"
    for row in rows:
        assert row["folded_until"] >= row["time"] and row["folded_last"] >= row["ktime"]
        assert row["exe"].endswith("/lives") and row["parent_name"] == "lives" and row["flag_names"] is None
        assert 0 < row["duration"] <= 100_000_000
        assert (row["exit_code"], row["exit_signal"], row["uid"]) in ((0, None, 0), (1, None, 0))
    assert sum(row["user_time"] + row["system_time"] for row in rows) > 0


@pytest.mark.counts_losses
@pytest.mark.landing("kills and take-overs")
def test_none_is_lost_or_doubled_by_kills(cgroup: TestCgroup, history: Path, tmp_path: Path, config: Path) -> None:
    """What is withheld and what is counted outlives the observer: pinned, and taken over by the next one."""
    chance = random.Random(SEED)
    print(f"FIRSTHAND_SEED={SEED}")
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    work = FoldedLives(cgroup, tmp_path)
    for _ in range(12):
        work.past(work.counted()[0] + chance.randrange(60))
        pid = roles.pids(observed.process.pid).get("observer")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
    work.past(work.counted()[0] + 50)
    work.end()
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 0
    heard.join()
    assert _agree(observed, work)["folded"] > 0


@pytest.mark.landing("a flood")
@pytest.mark.counts_losses
def test_a_ring_too_small_loses_nothing_uncounted(
    cgroup: TestCgroup, history: Path, tmp_path: Path, config: Path
) -> None:
    """produced = recorded + folded + lost, where the ring overflows meanwhile and the rows of folds have to wait."""
    config.write_text("ring_bytes = 65536\ncanary_seconds = 0\n" + FOLDING)
    observed = Observed(history, [cgroup.path])
    observed.start()
    work = FoldedLives(cgroup, tmp_path)
    for _ in range(3):
        pid = roles.pids(observed.process.pid)["observer"]
        os.kill(pid, signal.SIGSTOP)
        work.past(work.counted()[0] + 300)
        os.kill(pid, signal.SIGCONT)
        work.past(work.counted()[0] + 20)
    work.end()
    assert observed.stop() == 0
    causes = "('sequence_gap', 'open_tail', 'recursion_miss')"
    lost = observed.rows(f"SELECT coalesce(sum(events), 0)::BIGINT AS n FROM loss WHERE cause IN {causes}")[0]["n"]
    assert lost > 0, "the ring was never full"
    others = observed.rows(
        "SELECT (SELECT count(*) FROM process WHERE event = 'exec' AND args[1] <> 'lives')"
        " + (SELECT count(*) FROM container WHERE event = 'seen') AS n"
    )[0]["n"]
    _agree(observed, work, lost - (2 - others))  # besides: the workload's own exec, and the first telling of its cgroup


@pytest.mark.landing("take-overs under load")
def test_the_setting_can_be_changed_under_load(cgroup: TestCgroup, history: Path, tmp_path: Path, config: Path) -> None:
    """Off, on again, other times: what was withheld then is told, and the observer's rows say what was in force."""
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    work = FoldedLives(cgroup, tmp_path)
    work.past(150)
    for text in ("", FOLDING, FOLDING.replace("100", "90")):
        new = config.with_suffix(".new")
        new.write_text("restart_most_seconds = 1\n" + text)
        new.replace(config)
        heard.wait("the settings have changed: the observer started anew")
        heard.lines.clear()
        work.past(work.counted()[0] + 100)
    work.end()
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 0
    heard.join()
    assert _agree(observed, work)["folded"] > 0
    rows = observed.rows("SELECT settings FROM observer WHERE event IN ('start', 'resume') ORDER BY ktime")
    folding = [json.loads(row["settings"]).get("folding") for row in rows]
    common = {"processes": True, "connections": False, "every_seconds": 1}
    assert folding == [common | {"most_ms": 100}, None, common | {"most_ms": 100}, common | {"most_ms": 90}]


@pytest.mark.landing("a flood")
def test_nobody_reads_for_a_while(cgroup: TestCgroup, history: Path, tmp_path: Path, config: Path) -> None:
    """Between two runs a row stands for no more than twice its time; then lives have their own rows, and all are counted."""
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    work = FoldedLives(cgroup, tmp_path)
    work.past(100)
    assert observed.stop() == 0
    work.past(work.counted()[0] + 400)
    observed.command.remove("--keep-attached")
    observed.start()
    work.end()
    assert observed.stop() == 0
    _agree(observed, work)
    most = observed.rows("SELECT max(folded_last - ktime) AS most FROM process")[0]["most"]
    assert 0 < most <= 2_100_000_000


def _all_told(observed: Watch, which: str, number: int) -> None:
    """Until so many execs are told, by rows of their own or in counts: what is withheld or counted is written up to a second later."""
    told = "SELECT (count(*) FILTER (event = 'exec') + coalesce(sum(folded_count), 0))::BIGINT AS n FROM process"
    observed.until(f"{told} WHERE {which}", lambda rows: rows[0]["n"] >= number)


def _again(cgroup: TestCgroup | Watch, command: list[str], times: int = 12, **options: Any) -> None:
    """Run it so often, one after another, from one shell in the cgroup, whose words are all equal each time."""
    words = " ".join(command)
    loop = f"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do {words} ; done"
    assert times == 12
    cgroup.run(["/bin/sh", "-c", loop], **options).wait()


def test_what_is_flagged_never_folds(watch: Watch, executable_dir: Path) -> None:
    """A script, a gain of privilege, an unlinked binary, one told by a pipe: each repetition has its rows; a plain one folds."""
    script, gain = executable_dir / "script", executable_dir / "gain"
    script.write_text("#!/bin/true\n")
    script.chmod(0o755)
    shutil.copy("/bin/true", gain)
    gain.chmod(0o4755)
    with watch as observed:
        _again(watch, [str(script)])
        _again(watch, [str(gain)], user=65534)
        _again(watch, ["/usr/bin/env"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        _again(watch, ["/bin/true", "plain"], stdin=subprocess.PIPE)
        _all_told(observed, "exe LIKE '%/true' AND script_raw IS NULL", 12)
    rows = observed.rows(
        "SELECT coalesce(script_raw, exe) AS what, count(*) FILTER (event = 'exec') AS own, "
        "coalesce(sum(folded_count), 0)::BIGINT AS folded FROM process WHERE event IN ('exec', 'folded') GROUP BY what"
    )
    found = {row["what"]: (row["own"], row["folded"]) for row in rows}
    assert found[str(script)] == found[str(gain)] == (12, 0)
    assert found[os.path.realpath("/usr/bin/env")] == (12, 0)
    own, folded = found[os.path.realpath("/bin/true")]
    assert own + folded == 12 and folded > 0


def test_one_that_connects_never_folds(watch: Watch) -> None:
    """A connection's row leads to its process's rows: each such life is told, whatever became of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = f"127.0.0.1:{server.getsockname()[1]}"
    with watch as observed:
        _again(watch, ["curl", "-s", refusing])
    lives = (
        "SELECT count(*) FILTER (event = 'exec') AS own, sum(folded_count) AS folded FROM process WHERE args[2] = '-s'"
    )
    assert observed.rows(lives) == [{"own": 12, "folded": None}]
    orphans = (
        "SELECT count(*) AS n FROM connection AS c ANTI JOIN process AS p ON p.event = 'exec' "
        "AND (p.exec_tgid, p.exec_start, p.exec_number) = (c.exec_tgid, c.exec_start, c.exec_number)"
    )
    assert observed.rows(orphans) == [{"n": 0}]
    assert observed.rows("SELECT count(*) AS n FROM connection WHERE outcome = 'refused'")[0]["n"] == 12


def test_equal_means_every_byte(watch: Watch) -> None:
    """Another variable's value, another user, another directory: none of them folds into the others."""
    with watch as observed:
        for options in ({"env": {"X": "1"}}, {"env": {"X": "2"}}, {"env": {"X": "1"}, "cwd": "/"}, {"user": 65534}):
            _again(watch, ["/bin/true", "bytes"], **options)
        _all_told(observed, "args[2] = 'bytes'", 48)
    rows = observed.rows(
        "SELECT count(*) FILTER (event = 'exec') AS own, coalesce(sum(folded_count), 0)::BIGINT AS folded, "
        "count(*) FILTER (event = 'folded') AS rows FROM process WHERE args[2] = 'bytes'"
    )
    assert rows[0]["own"] + rows[0]["folded"] == 48
    assert rows[0]["own"] >= 4 and rows[0]["rows"] >= 4


class Loop:
    """One shell that executes the same again and again, as long as `go` is there; what that does stands in a file of commands."""

    def __init__(self, cgroup: TestCgroup | Watch, folder: Path) -> None:
        self.cgroup, self.folder = cgroup, folder
        self.go, self.commands, self.count = (folder / name for name in ("go", "commands", "count"))
        self.go.touch()
        self.do("exit 0")
        life = f"/bin/sh -c '. \"$0\"' {self.commands}"
        self.shell = cgroup.run(["/bin/sh", "-c", f"while [ -e {self.go} ]; do {life}; done"])

    def do(self, what: str) -> None:
        """From the next life on, after each has left a mark."""
        new = self.folder / "new"
        new.write_text(f"printf . >> {self.count}; {what}\n")
        new.replace(self.commands)

    @property
    def lives(self) -> int:
        """How many there were."""
        return self.count.stat().st_size if self.count.exists() else 0

    def past(self, number: int) -> None:
        """Until there were so many."""
        while self.lives < number:
            assert self.shell.poll() is None
            os.sched_yield()

    def until_folded(self, observed: Observed | Watch) -> None:
        """Until a row stands for many."""
        observed.until("SELECT sum(folded_count) AS n FROM process", lambda rows: rows[0]["n"])

    def end(self) -> int:
        """Let the last life end; how many there were in all."""
        self.go.unlink()
        self.shell.wait()
        return self.lives


_OF_LOOP = """SELECT count(*) FILTER (event = 'exec') AS own, coalesce(sum(folded_count), 0)::BIGINT AS folded
    FROM process WHERE args[3] = '. "$0"'"""


@pytest.mark.parametrize(
    ("what", "seen"),
    {
        "exit 5": "event = 'exit' AND exit_code = 5",
        "kill -9 $$": "event = 'exit' AND exit_signal = 9",
        "/bin/true; exit 0": "event = 'fork' AND exe LIKE '%sh'",
        "exec /bin/true": "event = 'exec' AND exe LIKE '%/true'",
    }.items(),
    ids=("code", "signal", "fork", "exec"),
)
def test_one_that_does_else_has_its_rows(watch: Watch, tmp_path: Path, what: str, seen: str) -> None:
    """Withheld as those before it, and then it ends or acts unlike them: all of it is told, and each life once."""
    with watch as observed:
        loop = Loop(watch, tmp_path)
        loop.until_folded(observed)
        loop.do(what)
        loop.past(loop.lives + 30)
        loop.do("exit 0")
        loop.past(loop.lives + 30)
        lives = loop.end()
        _all_told(observed, "args[3] = '. \"$0\"'", lives)
    found = observed.rows(_OF_LOOP)[0]
    assert found["own"] + found["folded"] == lives
    assert observed.rows(f"SELECT count(*) AS n FROM process WHERE {seen}")[0]["n"] > 0
    torn = _TORN.replace("?", str(loop.shell.pid))
    assert not observed.rows(torn)
    assert not observed.rows("SELECT * FROM loss WHERE cause <> 'helper_failed'")


def test_one_that_lives_on_is_told_meanwhile(watch: Watch, tmp_path: Path) -> None:
    """An exec equal to those that fold, and not short: its fork and exec are in the record while it still runs."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with watch as observed:
        loop = Loop(watch, tmp_path)
        loop.until_folded(observed)
        loop.do(f"read line < {fifo}")
        with fifo.open("w"):  # somebody reads, and nothing comes
            (reader,) = set(watch.cgroup.pids()) - {loop.shell.pid}
            query = f"SELECT event FROM process WHERE exec_tgid = {reader} ORDER BY ktime"
            observed.until(query, lambda rows: [row["event"] for row in rows] == ["fork", "exec"])
            loop.go.unlink()
        loop.shell.wait()
    assert [row["event"] for row in observed.rows(query)] == ["fork", "exec", "exit"]


@pytest.mark.landing("waits for a sweep")
def test_one_that_is_moved_is_told(cgroup: TestCgroup, history: Path, tmp_path: Path, config: Path) -> None:
    """Moved by somebody else while it is withheld: what it did before the move comes with it, long before a sweep would tell."""
    config.write_text(FOLDING.replace("100", "10000"))
    inner, fifo = cgroup.below("inner"), tmp_path / "fifo"
    os.mkfifo(fifo)
    with Observed(history, [cgroup.path]) as observed:
        loop = Loop(cgroup, tmp_path)
        loop.until_folded(observed)
        loop.do(f"read line < {fifo}")
        with fifo.open("w"):
            (reader,) = set(cgroup.pids()) - {loop.shell.pid}
            (inner / "cgroup.procs").write_text(str(reader))
            query = f"SELECT event FROM process WHERE exec_tgid = {reader} ORDER BY ktime"
            observed.until(query, lambda rows: [row["event"] for row in rows] == ["fork", "exec"], 7)
            loop.go.unlink()
        loop.shell.wait()
    assert [row["event"] for row in observed.rows(query)] == ["fork", "exec", "exit"]
    assert (
        observed.rows(f"SELECT count(*) AS n FROM container WHERE event = 'move' AND exec_tgid = {reader}")[0]["n"] == 1
    )
