"""The reader beside everything that may befall it: nobody gets another answer, an older one, or none, because of it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firsthand.errors import FirsthandError, HistoryError
from firsthand.history import place as of_history
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.host import ending
from firsthand.reader import asker, frames, messages, place, worker
from firsthand.reader.asker import NoReader
from firsthand.reader.look import look
from tests import histories, readers, samples
from tests.readers import Serving

#: Runs for hours, in little memory.
ENDLESS = "SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE (i * j) % 7 = 3"
_LIVES = 20
_COUNT = "SELECT count(*) FROM process"


def _ended(pid: int) -> bool:
    """Wait for the end of a process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60.0)[0])
    finally:
        os.close(descriptor)


def _sleeping(reader: Serving, history: Path) -> tuple[threading.Thread, list[BaseException]]:
    """Ask what takes hours, in a thread; what that ends with."""
    found: list[BaseException] = []

    def ask() -> None:
        try:
            asker.sql(history, ENDLESS, "json")
        except (NoReader, FirsthandError) as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, found


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A history of a test's own with some lives in its log."""
    history = tmp_path / "history"
    histories.write(history, samples.observed(), samples.process_lives(_LIVES))
    return history


@pytest.fixture
def own(made: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Its reader, which is asked."""
    path = short / f"{made.parent.name}.sock"
    monkeypatch.setenv(place.VARIABLE, str(path))
    with readers.serving(made, path, more={"TMPDIR": str(made.parent)}) as found:
        yield found


# ---- one that does not answer ----


@pytest.mark.impatient
def test_a_stopped_one_is_bypassed(own: Serving, made: Path) -> None:
    """After 0.2 s, and the answer is there all the same."""
    assert asker.GREETS == 0.2
    own.process.send_signal(signal.SIGSTOP)
    os.waitpid(own.process.pid, os.WUNTRACED)
    with pytest.raises(NoReader, match="no answer in time"):
        asker.sql(made, _COUNT, "json")
    done = _command(made, "sql", _COUNT, "-o", "csv", "--verbose")
    assert done.stdout.split() == ["count_star()", str(3 * _LIVES)]
    assert "without the reader: no answer in time" in done.stderr
    told = look(made)
    assert told and told["state"] == "stopped" and told["pid"] == own.process.pid


def _command(history: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firsthand", *words, "--history", str(history)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_a_stopped_worker_is_bypassed(own: Serving, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says each second that it goes on; who hears nothing for long reads for himself."""
    assert asker.SILENT > 5 * worker.ALIVE
    thread, found = _sleeping(own, made)
    (pid,) = own.wait_for_workers(1)
    while (
        len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    ):  # it greets; then a thread of its own says that it goes on
        os.sched_yield()
    monkeypatch.setattr(asker, "SILENT", 3 * worker.ALIVE)  # of the next word that is waited for
    os.kill(pid, signal.SIGSTOP)
    thread.join()
    assert isinstance(found[0], NoReader)
    assert _ended(pid)


def test_another_version_is_bypassed(own: Serving, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers could be others."""
    monkeypatch.setattr(place, "build", lambda: "9.9 1:2:3")
    with pytest.raises(NoReader, match="another version"):
        asker.sql(made, _COUNT, "json")


def test_another_history_is_bypassed(own: Serving, made: Path) -> None:
    """A copy is another one, though it has the same identity."""
    copy = made.with_name("copy")
    shutil.copytree(made, copy)
    with pytest.raises(NoReader, match="another history"):
        asker.sql(copy, _COUNT, "json")


def test_something_else_behind_the_socket_is_bypassed(short: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that closes, one that answers at random, one that announces more than anybody has."""
    path = short / "else.sock"
    monkeypatch.setenv(place.VARIABLE, str(path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        for answer in (
            b"",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\0\0\0\x03\x81\xa4",
            b"\xff\xff\xff\xff" + bytes(100),
        ):
            thread = threading.Thread(target=_answer, args=(listening, answer))
            thread.start()
            with pytest.raises(NoReader):
                asker.sql(made, _COUNT, "json")
            thread.join()


def _answer(listening: socket.socket, answer: bytes) -> None:
    with listening.accept()[0] as peer:
        peer.sendall(answer)


def test_it_ends_when_nobody_asks(made: Path, short: Path) -> None:
    """With the code of one that rests; who asks then finds nobody."""
    path = short / "idle.sock"
    with readers.serving(made, path, idle=0.5) as found:
        assert found.process.wait(60.0) == ending.RESTS


def test_those_of_another_version_do_not_keep_it(made: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade the old one ends, however often it is asked, and one of the new version takes its place."""
    path = short / "old.sock"
    with readers.serving(made, path, idle=0.5) as found:
        monkeypatch.setattr(place, "build", lambda: "9.9 1:2:3")
        monkeypatch.setattr(asker, "GREETS", 1.0)
        while found.process.poll() is None:
            with pytest.raises(NoReader):
                asker.probe(path, made)
        assert found.process.returncode == ending.RESTS


# ---- hostile askers ----


_HELLO = msgspec.msgpack.encode(messages.Hello("x", 1, 2))


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff" + bytes(1000),
        struct.pack(">I", frames.MOST_ASKED + 1),
        struct.pack(">I", 5) + b"\xc1\xc1\xc1\xc1\xc1",
        struct.pack(">I", len(_HELLO)) + _HELLO,
        struct.pack(">I", 2000) + b"\x91" * 2000,
        b"\0",
        b"",
    ],
    ids=["text", "endless", "huge", "garbage", "another build", "nested", "one byte", "nothing"],
)
def test_a_hostile_asker_is_left_alone(said: bytes, own: Serving, made: Path) -> None:
    """His worker ends, at the latest a second later, and the next one is answered."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(own.path))
        with contextlib.suppress(ConnectionError):  # what it left unread resets the connection
            peer.sendall(said)
            while peer.recv(65536):
                pass
    assert asker.sql(made, _COUNT, "json").rows == [(3 * _LIVES,)]


def test_those_that_say_nothing_keep_nobody_waiting(own: Serving, made: Path) -> None:
    """Who comes when all places are taken is told so at once; later there is room again."""
    peers = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for peer in peers:
        peer.connect(str(own.path))
    try:
        with pytest.raises(NoReader, match="too much to do"):
            while True:
                asker.probe(own.path, made)
        for peer in peers:
            assert not peer.recv(1)
    finally:
        for peer in peers:
            peer.close()
    assert asker.sql(made, _COUNT, "json").rows == [(3 * _LIVES,)]


# ---- many, and those that break ----


def test_many_at_once(own: Serving, made: Path) -> None:
    """Each has its own answer."""
    found: dict[int, object] = {}

    def ask(number: int) -> None:
        found[number] = asker.sql(made, f"SELECT {number}, count(*) FROM process", "json").rows

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [(number, 3 * _LIVES)] for number in range(6)}


def test_a_worker_that_dies_harms_nobody_else(own: Serving, made: Path) -> None:
    """Who asked it reads for himself."""
    thread, found = _sleeping(own, made)
    (pid,) = own.wait_for_workers(1)
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert isinstance(found[0], NoReader)
    assert asker.sql(made, _COUNT, "json").rows == [(3 * _LIVES,)]


def test_a_statement_has_its_time(own: Serving, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the one of `sql`: the worker stops it and says so."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        from firsthand.history.store import connection

        history = History(made)
        try:
            with history.sql(ENDLESS, seconds=0.2) as result:
                list(result.rows())
        except HistoryError as error:
            os.write(1, str(error).encode())
        assert connection.SECONDS == 60.0
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 4096).startswith(b"stopped after 0.2 s")


def test_a_worker_has_its_memory() -> None:
    """Beyond that of DuckDB, what Python takes is bounded too."""
    told = f"""
from firsthand.reader import worker
worker.bound()
held = bytearray({worker.MEMORY // 2})
try:
    bytearray({worker.MEMORY})
except MemoryError:
    print("bounded")
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "bounded\n"


# ---- given up ----


def _spilled(made: Path) -> list[Path]:
    return list(made.parent.glob("firsthand-spill-*"))


def test_who_closes_his_socket_ends_his_question(own: Serving, made: Path) -> None:
    """With its worker, and what it spilled."""
    with asker._found(made) as (line, pid):
        line.send(messages.Statement(asker._caller(made), ENDLESS, "json"))
        assert pid in own.workers()
    assert _ended(pid)
    own.wait_for_workers(0)
    asker.probe(own.path, made)  # by then the reader has tidied up
    assert not _spilled(made)


def test_ctrl_c_ends_it(own: Serving, made: Path) -> None:
    """Of the command: its code is the one without the reader."""
    command = [sys.executable, "-m", "firsthand", "sql", ENDLESS, "--history", str(made)]
    told = "import sys; from firsthand.reader import asker; asker.GREETS = 60.0; from firsthand.cli.main import main; main()"
    with subprocess.Popen([sys.executable, "-c", told, *command[3:]]) as asking:
        pids = own.wait_for_workers(1)
        asking.send_signal(signal.SIGINT)
        assert asking.wait(60.0) == 1
    assert all(_ended(pid) for pid in pids)


def test_its_end_ends_the_workers(own: Serving, made: Path) -> None:
    """Nothing goes on without it, also where it is killed."""
    thread, found = _sleeping(own, made)
    (pid,) = own.wait_for_workers(1)
    own.process.kill()
    assert _ended(pid)
    thread.join()
    assert isinstance(found[0], NoReader)


# ---- the history changes ----


def _count(history: Path) -> int:
    """By the reader, and as many as without it."""
    ((number,),) = asker.sql(history, _COUNT, "json").rows
    with History(history).sql(_COUNT) as result:
        assert list(result.rows()) == [(number,)]
    return int(number)


def test_each_commit_is_seen_at_once(own: Serving, made: Path) -> None:
    """Of the log, of its hand-over, of a merge, of another generation: never an older answer."""
    now = [samples.START / 1e6 + 3600]
    keeper = Keeper(made, linger=0, grace=0, many=2, now=lambda: now[0])
    assert _count(made) == 3 * _LIVES
    for turn in range(1, 4):
        with LogWriter(made, samples.NODE, samples.BOOT) as log:
            log.append([samples.process_lives(_LIVES, first=turn * _LIVES)], [])
            assert _count(made) == 3 * _LIVES * (turn + 1)
        keeper.pass_once(last=True)
        assert _count(made) == 3 * _LIVES * (turn + 1)
        keeper.tidy()
        assert _count(made) == 3 * _LIVES * (turn + 1)
    keeper.close()


def test_a_history_that_is_replaced(own: Serving, made: Path) -> None:
    """What lies in its place is read without the reader, which ends."""
    made.rename(made.with_name("before"))
    histories.write(made, samples.process_lives(1))
    with pytest.raises(NoReader):
        asker.sql(made, _COUNT, "json")
    assert own.process.wait(60.0) == ending.RESTS
    assert _command(made, "sql", _COUNT, "-o", "csv").stdout.split() == ["count_star()", "3"]


def test_damage_is_told(own: Serving, made: Path) -> None:
    """As without the reader, with the same words."""
    (log,) = sorted((made / of_history.LOG).glob("*.log"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 0xFF
    log.write_bytes(data)
    told = asker.sql(made, _COUNT, "json")
    history = History(made)
    with history.sql(_COUNT) as result:
        assert list(result.rows()) == told.rows
    assert told.damage == history.damage != []


# ---- what it is ----


def test_it_has_one_thread_and_may_do_little(own: Serving) -> None:
    """A fork is then a whole process; and its worker is closed in as it is."""
    tasks = list(Path(f"/proc/{own.process.pid}/task").iterdir())
    assert len(tasks) == 1
    status = dict(line.split(":\t") for line in (tasks[0] / "status").read_text().splitlines() if ":\t" in line)
    assert [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")][:2] == [0, 0]
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_how_it_is_can_be_seen(own: Serving, made: Path) -> None:
    """Without starting one."""
    assert look(made) == {"socket": str(own.path), "state": "answers", "pid": own.process.pid, "why": None}
    assert own.process.stdin is not None
    own.process.stdin.close()
    own.process.wait(60.0)
    assert look(made) is None
