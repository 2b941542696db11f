"""Bits flipped in, and pieces cut off, each kind of file of a history; foreign files in each folder.

Laws: nobody crashes; what a reader gets was written, and once; where it gets less it says so; where `verify` finds nothing, nothing is
missing; and those who write begin again or say why not.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firsthand.errors import FirsthandError
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import schema_store
from firsthand.history.log.log import LogReader, LogWriter, files, path_of
from firsthand.history.store import chain, hold
from firsthand.history.store.connection import History
from firsthand.history.store.verify import verify
from firsthand.schema import layout
from firsthand.wire.batch import Batch
from tests import profile, samples

LIVES = 20
_KEY = "exec_tgid, event, exe, args, pod, duration, log"
_SEED = 4


def _names() -> Batch:
    row = {"time": samples.START, "node": samples.NODE, "boot": samples.BOOT, "event": "named", "since": samples.START}
    row |= {"container": samples.container_id(1), "container_name": "app", "pod": "web-1", "namespace": "default"}
    return Batch.from_rows("container", [row])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history with every kind of file: two generations, both logs with a tail, a layout, a hold, published heads."""
    directory = tmp_path_factory.mktemp("whole") / "history"
    heads = directory.parent / "heads.jsonl"
    keeper = Keeper(directory, linger=0, many=2, heads=heads)
    installed = layout.installed()
    schema_store.save_layout(directory, installed.hash, installed.text)
    hold.add(directory, "of a test", samples.START, namespace="shop")
    for number in range(4):
        with LogWriter(directory, samples.NODE, samples.BOOT, folder=place.NAMES) as names:
            names.append([_names()], [])
        with LogWriter(directory, samples.NODE, samples.BOOT) as log:
            for half in range(2):
                first = (2 * number + half) * LIVES
                log.append([samples.process_lives(LIVES, first=first), samples.loss()], [])
            if number < 2:
                keeper.pass_once(last=True)
            if number == 1:
                keeper.tidy()
    keeper.close()
    return directory


def _readable(directory: Path) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Every process row as a reader gets it, and what it says of damage."""
    history = History(directory)
    columns = _KEY.replace(", log", "")
    with history.connection() as connection:
        rows = connection.execute(f"SELECT {columns} FROM process ORDER BY ALL").fetchall()
        told = connection.execute(
            "SELECT detail FROM loss WHERE cause IN ('log_damaged', 'segment_damaged')"
        ).fetchall()
        connection.execute("SELECT * FROM container").fetchall()
    return [tuple(map(str, row)) for row in rows], [*history.damage, *(row[0] for row in told)]


@pytest.fixture(scope="module")
def written(whole: Path) -> list[tuple[Any, ...]]:
    """What was written."""
    rows, damage = _readable(whole)
    assert (len(rows), damage) == (8 * LIVES * 3, [])
    assert verify(whole).whole
    return rows


@pytest.fixture
def history(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, hard links as they are."""
    import subprocess

    subprocess.run(["cp", "-a", str(whole), str(tmp_path / "history")], check=True)
    return tmp_path / "history"


def _segment(directory: Path) -> Path:
    return max((directory / "current/process").rglob("*.parquet"), key=lambda path: path.stat().st_size)


#: Each kind of file, and where one of it is.
KINDS: dict[str, Callable[[Path], Path]] = {
    "the log's last file": lambda h: path_of(h, files(h)[-1]),
    "an older file of the log": lambda h: path_of(h, files(h)[-2]),
    "the log of names": lambda h: path_of(h, files(h, place.NAMES)[-1], place.NAMES),
    "a segment": _segment,
    "a segment of names": lambda h: next((h / "current/container").rglob("*.parquet")),
    "the manifest": lambda h: h / place.MANIFEST,
    "a layout": lambda h: next((h / place.SCHEMA).glob("*.json")),
    "the holds": lambda h: h / hold.FILE,
    "a lock": lambda h: h / "keeper.lock",
    "the lock of the log": lambda h: h / "log/lock",
}


def _held(directory: Path, written: list[tuple[Any, ...]], more: int = 0, said: str = "") -> None:
    """The laws of reading; `said` is what was told before."""
    found, damage = [], [said] if said else []
    try:
        found, more_damage = _readable(directory)
        damage += more_damage
    except FirsthandError as error:
        damage.append(str(error))
    mine = [row for row in found if int(row[0]) < 1000 + 8 * LIVES]
    assert len(set(mine)) == len(mine), "a row stands there twice"
    assert set(mine) <= set(written), "a row was changed"
    if len(found) < len(written) + more:
        assert damage, f"{len(written) + more - len(found)} rows are missing and nothing is said"


def _verified(directory: Path, written: list[tuple[Any, ...]]) -> bool:
    """Whether it verifies; then nothing may be missing."""
    if not verify(directory).whole:
        return False
    assert _readable(directory)[0] == written
    return True


def _go_on(directory: Path) -> tuple[int, str]:
    """Observer, follower and keeper begin again, and write; how many rows were acknowledged, and what the observer said."""
    more, said = 0, ""
    try:
        with LogWriter(directory, samples.NODE, samples.BOOT) as log:
            schema_store.saved(directory)
            log.append([samples.process_lives(LIVES, first=1000)], [])
            more, said = LIVES * 3, str(log.cut or "")
    except FirsthandError as error:
        said = str(error)
    for act in (_follow, _keep):
        try:
            act(directory)
        except FirsthandError as error:
            assert str(error)
    return more, said


def _follow(directory: Path) -> None:
    with LogWriter(directory, samples.NODE, samples.BOOT, folder=place.NAMES) as names:
        names.append([_names()], [])


def _keep(directory: Path) -> None:
    keeper = Keeper(directory, linger=0, many=2)
    try:
        keeper.pass_once(last=True)
        keeper.tidy()
    finally:
        keeper.close()


def _laws(directory: Path, written: list[tuple[Any, ...]]) -> None:
    _held(directory, written)
    _verified(directory, written)
    _held(directory, written, *_go_on(directory))


def _places(size: int, number: int) -> list[int]:
    """Some bytes of a file, the same at each run: its head, its foot and others."""
    chance = random.Random(_SEED)
    return sorted({0, size - 1, *(chance.randrange(size) for _ in range(number))}) if size else []


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_flipped(whole: Path, written: list[tuple[Any, ...]], tmp_path: Path, kind: str) -> None:
    """At places all over each kind of file."""
    size = KINDS[kind](whole).stat().st_size
    found = 0
    places = _places(size, 24 if kind == "the manifest" else 8)
    for number, at in profile.some(list(enumerate(places)), ci=4 if kind == "the manifest" else 2):
        directory = tmp_path / str(number) / "history"
        directory.parent.mkdir()
        _copy(whole, directory)
        data = bytearray(KINDS[kind](directory).read_bytes())
        data[at] ^= 1 << (number % 8)
        _replace(KINDS[kind](directory), bytes(data))
        found += not verify(directory).whole
        _laws(directory, written)
        shutil.rmtree(directory.parent)
    if kind.startswith(("a segment", "the log", "an older", "a layout")) and "lock" not in kind:
        assert found, "verify never saw it"


@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_cut_off(whole: Path, written: list[tuple[Any, ...]], tmp_path: Path, kind: str) -> None:
    """To nothing, to half, by one byte. An emptied file of the log is as one whose writer died before its first chunk: none of it is told."""
    size = KINDS[kind](whole).stat().st_size
    lengths = {size // 2, max(size - 1, 0)} | (set() if "file of the log" in kind or "log's" in kind else {0})
    for number, length in profile.some(list(enumerate(sorted(lengths))), ci=2):
        directory = tmp_path / str(number) / "history"
        directory.parent.mkdir()
        _copy(whole, directory)
        _replace(KINDS[kind](directory), KINDS[kind](directory).read_bytes()[:length])
        _laws(directory, written)


@pytest.mark.parametrize("lost", [False, True], ids=["emptied", "lost"])
def test_segments_without_their_manifest_are_kept(history: Path, written: list[tuple[Any, ...]], lost: bool) -> None:
    """A new keeper would take them for a generation out of use: it puts them aside, and a row says so."""
    before = sorted(path.name for path in (history / place.GENERATIONS).rglob("*.parquet"))
    for path in history.glob(f"{place.MANIFEST}*"):
        path.unlink()
    if not lost:
        (history / place.MANIFEST).touch()
    _keep(history)
    assert (
        sorted(path.name for path in (history / place.DAMAGED / f"{place.GENERATIONS}-1").rglob("*.parquet")) == before
    )
    with History(history).connection() as connection:
        told = connection.execute("SELECT detail FROM loss WHERE cause = 'log_damaged'").fetchall()
    assert any("kept in damaged/generations-1" in detail for (detail,) in told)
    _keep(history)
    assert not (history / place.DAMAGED / f"{place.GENERATIONS}-2").exists()


def _copy(whole: Path, to: Path) -> None:
    shutil.copytree(whole, to, symlinks=True)


def _replace(path: Path, data: bytes) -> None:
    path.chmod(0o640)
    path.write_bytes(data)


#: Files that are not of a history, by folder; `verify` knows those of the second list.
FOREIGN = {
    "": ("notes.txt", ".DS_Store", "current~", "core.123"),
    "log": ("notes.txt", "1.log", "0000000000000001.log.gz", "lost+found/x"),
    "names": ("notes.txt", "x.log"),
    "schema": ("notes.txt", "x.json", "a-b.json", ".hidden.json", "0123.json/x"),
    "generations": ("notes.txt", "old/x", "2.bak/x"),
    "current": ("notes.txt", "other/x.parquet"),
    "current/process": ("x.parquet", "date=2020-01-01/x.parquet", "_SUCCESS"),
    "damaged": ("notes.txt",),
}


@pytest.mark.parametrize(
    ("folder", "name"),
    profile.some([(folder, name) for folder, names in FOREIGN.items() for name in names], ci=8, quick=2),
)
def test_a_foreign_file(history: Path, written: list[tuple[Any, ...]], folder: str, name: str) -> None:
    """Nobody reads it, nobody removes it, nobody stumbles over it."""
    path = history / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"of somebody else" * 10)
    assert _readable(history) == (written, [])
    if folder == "schema" or (folder.startswith("current") and path.suffix == ".parquet"):
        assert any(name.partition("/")[0] in damage or name in damage for damage in verify(history).damage)
    assert _go_on(history) == (LIVES * 3, "")
    _held(history, written, LIVES * 3)
    if not folder.startswith("current"):
        assert path.read_bytes() == b"of somebody else" * 10


@pytest.mark.parametrize("target", [None, "nowhere", "generations/99", "/etc", "log"])
def test_the_link_to_the_generation_in_force(history: Path, written: list[tuple[Any, ...]], target: str | None) -> None:
    """Our readers go by the manifest; the keeper's start puts it right for the others."""
    link = history / place.CURRENT
    link.unlink()
    if target is not None:
        link.symlink_to(target)
    assert _readable(history) == (written, [])
    _keep(history)
    assert str(link.readlink()).startswith("generations/")
    assert _readable(history) == (written, [])


def test_heads_with_a_bit_flipped(whole: Path) -> None:
    """Lines that are none are passed over, a changed one proves nothing; the others prove what they did."""
    path = whole.parent / "heads.jsonl"
    before = verify(whole, chain.heads(path))
    assert before.whole and before.proven
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    other = path.with_name("changed.jsonl")
    other.write_bytes(bytes(data) + b"\xff\xfe no line\n" + b'{"head": 5}\n')
    assert len(chain.heads(other)) <= len(chain.heads(path))
    verify(whole, chain.heads(other))


def test_no_log_is_read_as_another(history: Path) -> None:
    """A copy of a log file under a later number is not taken for rows of its own where it is behind the end: it is said."""
    numbers = files(history)
    shutil.copy(path_of(history, numbers[-1]), path_of(history, numbers[-1] + 5))
    assert any("missing between" in damage for damage in verify(history).damage)
    assert sum(chunk.rows for chunk in LogReader(history)) >= 0
    assert json.loads((history / hold.FILE).read_text())["holds"]


@pytest.mark.parametrize("passes", [1, 2], ids=["in one group", "a group of its own"])
def test_what_a_damaged_chunk_held_is_missing_in_its_time(tmp_path: Path, passes: int) -> None:
    """Law: after the keeper has taken the log over, an answer about the time of the lost rows is incomplete, and says how many they are;
    wherever the keeper's group began. `verify` says the same."""
    import time

    from tests.asking import ask

    now = time.time_ns() // 1000
    keeper = Keeper(tmp_path, linger=0)
    with LogWriter(tmp_path, samples.NODE, samples.BOOT) as log:
        log.append([samples.observed(now - 60_000_000, now, last="alive")], [])
        if passes == 2:
            keeper.pass_once(last=True)
        begin = log.append([samples.process_lives(1, start=now - 2_000_000)], [])
        end = log.append([samples.process_lives(14, start=now - 1_000_000, first=1)], [])
        log.append([samples.process_lives(1, start=now - 500_000, first=20)], [])
    path = path_of(tmp_path, end.file)
    raw = bytearray(path.read_bytes())
    raw[(begin.offset + end.offset) // 2] ^= 1
    path.write_bytes(raw)
    keeper.pass_once(last=True)
    keeper.close()
    found = ask(tmp_path, "processes", "--since", "30s")["completeness"]
    assert any(reason.startswith("42 events or values lost between") for reason in found["reasons"]), found
    assert not found["complete"] and found["events_lost"] == 42
    assert [line.partition(" from ")[0] for line in verify(tmp_path).damage] == ["lost before: 42 rows of process"]
