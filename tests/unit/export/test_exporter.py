"""export/exporter.py: each row once in a file, over restarts, kills, hand-overs and compactions."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import select
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from firsthand.errors import ExportError, HistoryError
from firsthand.export import jsonl
from firsthand.export.choice import Choice
from firsthand.export.cursor import Cursor
from firsthand.export.exporter import LONGEST, Exporter, ExportPlan
from firsthand.export.file import Appended
from firsthand.export.output import OpenOutput
from firsthand.export.rotation import Rotation
from firsthand.history import place
from firsthand.history.log import arrow
from firsthand.history.log.log import LogWriter
from firsthand.wire.batch import Batch
from tests import histories, profile, samples
from tests.unit.export import feed
from tests.unit.export.feed import Feed

KILLS = len(profile.some(range(50), ci=15, quick=10))
ROTATION = Rotation(bytes=400_000, codec="zstd")


def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Law: run after run, the rows come in the order of the log, each once."""
    grown = Feed(tmp_path / "history")
    for _ in range(3):
        grown.write(2)
        feed.export(grown.history, tmp_path / "out")
    found = feed.keys(tmp_path / "out")
    assert sorted(found) == grown.expected()
    lives = [one[0] for one in found if one[1] == "fork"]
    assert lives == sorted(lives)


def test_from_now_on(tmp_path: Path) -> None:
    """Law: a fresh cursor that begins with now leaves out what was there; the next run goes on from it."""
    grown = Feed(tmp_path / "history")
    grown.write(2)
    feed.export(grown.history, tmp_path / "out", begin="now")
    assert feed.keys(tmp_path / "out") == []
    grown.write(1)
    feed.export(grown.history, tmp_path / "out", begin="now")
    assert len(feed.keys(tmp_path / "out")) == 3 * feed.LIVES + 1


def test_damage_in_the_log_is_told(tmp_path: Path) -> None:
    """Law: a chunk that fails its checksum is a gap in the stream, and the rows around it go out."""
    grown = Feed(tmp_path / "history")
    grown.write(1)
    path = grown.history / "log" / f"{1:016d}.log"
    bad = path.stat().st_size + 4_000
    grown.write(2)
    with path.open("r+b") as file:
        file.seek(bad)
        byte = file.read(1)
        file.seek(bad)
        file.write(bytes([byte[0] ^ 1]))
    feed.export(grown.history, tmp_path / "out")
    found = Counter(feed.keys(tmp_path / "out"))
    assert found[("gap",)] == 1
    assert sum(found.values()) == 1 + 2 * (3 * feed.LIVES + 1)


def test_a_history_begun_anew(tmp_path: Path) -> None:
    """Law: a cursor that is ahead of its history's log is an error, not an export that waits for ever."""
    grown = Feed(tmp_path / "history")
    grown.write(1)
    cursor = feed.export(grown.history, tmp_path / "out")
    text = (tmp_path / "out.cursor").read_text()
    assert cursor.state.positions[place.LOG].file == 1
    (tmp_path / "out.cursor").write_text(text.replace('"log": [\n   1', '"log": [\n   9'))
    with pytest.raises(ExportError, match="begun anew"):
        feed.export(grown.history, tmp_path / "out")


def test_two_exporters_of_one_cursor(tmp_path: Path) -> None:
    """Law: a cursor has one exporter at a time."""
    first = Cursor(tmp_path / "cursor", tmp_path)
    with pytest.raises(HistoryError, match="another exporter"):
        Cursor(tmp_path / "cursor", tmp_path)
    first.close()
    Cursor(tmp_path / "cursor", tmp_path).close()


def test_it_sleeps_until_a_log_grows(tmp_path: Path) -> None:
    """Law: while following and with nothing to wait for, no look is made by the clock: it is woken by the row, by the next heartbeat, or
    by its end, and misses nothing that came just before."""
    out, woken = tmp_path / "out", []
    with LogWriter(tmp_path / "history", "n", "b") as writer:
        writer.append([samples.loss()], [])
        stop, stopping = os.pipe()

        def idle(seconds: float, others: Sequence[int]) -> bool:
            woken.append(seconds)
            if len(woken) < 4:
                writer.append([samples.loss()], [])
            else:
                os.write(stopping, b".")
            found = select.select([stop, *others], [], [], seconds)[0]
            assert found, "nobody woke it"
            return stop in found

        def wait(seconds: float) -> bool:
            assert seconds == 0, "a look by the clock"
            return False

        place.folder(tmp_path / "history" / place.NAMES)
        cursor = Cursor(tmp_path / "cursor", tmp_path / "history")
        plan = ExportPlan(follow=True, grace=0, heartbeat=3600)
        exporter = Exporter(tmp_path / "history", cursor, Appended(out, Rotation()), jsonl, Choice(), plan)
        exporter.run(wait, idle)
        exporter.close()
    assert len(out.read_text().splitlines()) == 4 + 1  # and the heartbeat
    assert len(woken) == 4 and max(woken) <= LONGEST


def test_names_that_come_within_the_grace(tmp_path: Path) -> None:
    """Law: while following, a row waits for its grace, and a name that is told meanwhile is in it."""
    container = "c" * 64
    row = {"time": samples.START, "node": "n", "boot": "b", "container": container, "event": "exec", "exe": "/bin/sh"}
    named = row | {
        "event": "named",
        "container_name": "app",
        "pod": "web-0",
        "namespace": "shop",
        "since": samples.START,
    }
    histories.write(tmp_path / "history", Batch.from_rows("process", [row]))
    seen: list[Path] = []

    def wait(seconds: float) -> bool:
        if seconds and not seen:  # nothing was old enough: now the name comes
            assert out.read_bytes() == b""
            with LogWriter(tmp_path / "history", "n", "b", folder=place.NAMES) as names:
                names.append([Batch.from_rows("container", [named])], [])
            seen.append(out)
        return b"exec" in out.read_bytes()

    out = tmp_path / "out"
    cursor = Cursor(tmp_path / "cursor", tmp_path / "history")
    plan = ExportPlan(follow=True, grace=0.5, heartbeat=0)
    exporter = Exporter(tmp_path / "history", cursor, Appended(out, Rotation()), jsonl, Choice(), plan)
    exporter.run(wait)
    exporter.close()
    (told,) = [json.loads(line) for line in out.read_text().splitlines() if '"exec"' in line]
    assert (told["pod"], told["namespace"], told["container_name"]) == ("web-0", "shop", "app")


def test_the_heartbeat_counts_what_came_before_it(tmp_path: Path) -> None:
    """Law: the first heartbeat comes at once, and says how many records are before it and what was lost."""
    grown = Feed(tmp_path / "history")
    grown.write(2)
    out = tmp_path / "out"
    cursor = Cursor(tmp_path / "cursor", grown.history)
    plan = ExportPlan(follow=True, heartbeat=3600, node="here")
    exporter = Exporter(grown.history, cursor, Appended(out, Rotation()), jsonl, Choice(), plan)
    exporter.run(lambda seconds: seconds > 0)
    exporter.close()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    (beat,) = [(place, one) for place, one in enumerate(records) if one["table"] == "heartbeat"]
    assert beat[0] == beat[1]["sequence"] == beat[1]["records"]
    assert (beat[1]["observer"], beat[1]["node"], beat[1]["losses"]) == ("alive", "here", 1 + feed.LIVES + 1)


def test_standard_output_has_the_same_lines(tmp_path: Path) -> None:
    """Law: without a cursor each run begins with the first row."""
    grown = Feed(tmp_path / "history")
    grown.write(1)
    for _ in range(2):
        with (tmp_path / "out").open("wb") as to:
            cursor = Cursor(None, grown.history)
            exporter = Exporter(grown.history, cursor, OpenOutput(to), jsonl, Choice(), ExportPlan())
            exporter.run(lambda _: False)
            exporter.close()
        assert sorted(feed.keys(tmp_path / "out")) == grown.expected()


@pytest.mark.landing("kills")
def test_killed_again_and_again(tmp_path: Path) -> None:
    """Law: killed at many moments (fifty in the longest profile) beside a writer, a keeper and compactions, with rotation, a file has
    each row once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["firsthand.export.exporter", "firsthand.export.file", "tests.unit.export.feed"])
    grown, out = Feed(tmp_path / "history"), tmp_path / "out"
    grown.write()
    random.seed(20261124)
    stop = threading.Event()
    writer = threading.Thread(target=_live, args=(grown, stop))
    writer.start()
    try:
        for _ in range(KILLS):
            child = context.Process(target=_follow, args=(grown.history, out))
            child.start()
            _grows(tmp_path, random.randrange(2, 16), child)
            child.kill()
            child.join()
            assert child.exitcode == -signal.SIGKILL
    finally:
        stop.set()
        writer.join()
    feed.export(grown.history, out, rotation=ROTATION)
    found = [feed.key(json.loads(line)) for line in _everything(out)]
    assert len(list(tmp_path.glob("out.0*"))) > 3
    assert sorted(found) == grown.expected()


def _live(grown: Feed, stop: threading.Event) -> None:
    while not stop.wait(0.03):
        grown.write()
        if grown.lives // feed.LIVES % 20 == 0:
            grown.rotate()
            grown.keep(merge=grown.lives // feed.LIVES % 5 == 1)


def _follow(history: Path, out: Path) -> None:
    """The child: follows until it is killed."""
    cursor = Cursor(Path(f"{out}.cursor"), history)
    exporter = Exporter(history, cursor, Appended(out, ROTATION), jsonl, Choice(), ExportPlan(follow=True, heartbeat=0))
    pause = threading.Event()
    exporter.run(lambda seconds: pause.wait(min(seconds, 0.01)))


def _grows(folder: Path, looks: int, child: multiprocessing.process.BaseProcess) -> None:
    """Until what stands in a folder was seen to change that often."""
    before, pause = None, threading.Event()
    while looks and child.is_alive() and not pause.wait(0.0005):
        now = [(path.name, _size(path)) for path in sorted(folder.glob("out*"))]
        looks -= now != before
        before = now


def _size(path: Path) -> int:
    """0 for one that was put aside meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _everything(out: Path) -> list[bytes]:
    """The lines of the files that were put aside, and of the last one."""
    found: list[bytes] = []
    for path in sorted(out.parent.glob(f"{out.name}.0*")):
        assert path.suffix == ".zst", path
        with pa.CompressedInputStream(str(path), "zstd") as file:
            found += file.read().splitlines()
    return [*found, *out.read_bytes().splitlines()]


def test_a_choice_narrows_rows_and_columns(tmp_path: Path) -> None:
    """Law: filters and fields narrow every table but `loss`, which tells everyone what is missing."""
    grown = Feed(tmp_path / "history")
    grown.write(1)
    choice = Choice(namespace="shop", fields=("exe", "pod"), where=(("event", "exec"),))
    feed.export(grown.history, tmp_path / "out", choice)
    records = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    rows = [one for one in records if one["table"] == "process"]
    assert rows
    assert {tuple(one) for one in rows} == {("table", "exe", "pod")}
    assert [one["events"] for one in records if one["table"] == "loss"] == [1]


def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    """Law: `since` and `until` count by the row's own time, both included."""
    grown = Feed(tmp_path / "history")
    grown.write(1)
    moment = datetime.fromtimestamp((samples.START + 10 * samples.STEP) / 1_000_000, UTC)
    late = datetime.fromtimestamp((samples.START + 12 * samples.STEP) / 1_000_000, UTC)
    choice = Choice(since=moment, until=late, tables=frozenset(["process"]))
    feed.export(grown.history, tmp_path / "out", choice)
    assert len(feed.keys(tmp_path / "out")) == 3


def test_every_schema_of_a_table_goes_out(tmp_path: Path) -> None:
    """Law: a column that this version does not know goes out too, as it is."""
    rows = arrow.row("clock", {"time": samples.START, "realtime": 1 << 60}).append_column("later", pa.array(["x"]))
    (told,) = [json.loads(line) for line in jsonl.lines("clock", rows)]
    assert told == {"table": "clock", "time": "2026-03-01T12:00:00.000000Z", "realtime": str(1 << 60), "later": "x"}
