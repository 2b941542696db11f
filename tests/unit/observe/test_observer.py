"""The observer's way from rings to log, fed by the rings of a real run: what is durable, what is released, and what waits."""

from __future__ import annotations

import json
import resource
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from firsthand.errors import HistoryError
from firsthand.history.log import alive, asked
from firsthand.history.log.log import LogWriter
from firsthand.host import boottime, machine
from firsthand.observe.observer import Observer
from firsthand.observe.options import ObserverOptions
from firsthand.schema import layout
from firsthand.settings import Settings
from firsthand.settings.sections.top import Top
from tests import histories
from tests.recorded import BUSY, PROGRAMS, SIZE, Recorded


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The kernel side, whose layout is the installed one."""
    found = Recorded(monkeypatch)
    monkeypatch.setattr(layout, "installed", lambda: found.layout)
    return found


@pytest.fixture(autouse=True)
def said(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """What is told to the supervisor, kept in memory: a file could not grow in `_full`."""
    return capsys


@contextmanager
def _full() -> Iterator[None]:
    """A disk that takes nothing: no file of this process may grow (RLIMIT_FSIZE), and a write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def observer(recorded: Recorded, tmp_path: Path) -> Iterator[Observer]:
    """Opened on a history whose last writer had read up to where the recording begins; nothing is taken yet."""
    made = _opened(recorded, tmp_path)
    yield made
    made.forget()


def _opened(recorded: Recorded, folder: Path) -> Observer:
    if not (folder / "history").exists():
        with LogWriter(folder / "history", machine.node(), machine.boot()) as log:
            log.append([], [], recorded.state)  # the last chunk of the reader before
    made = Observer(ObserverOptions(history=str(folder / "history"), settings=Settings(Top(canary_seconds=0))))
    made.open(recorded)
    return made


_WORDS = "SELECT args[2] FROM process WHERE event = 'exec' ORDER BY ktime"
_ALL = [(f"recorded-{number}",) for number in range(PROGRAMS)]


def _consumed(recorded: Recorded) -> list[int]:
    return [recorded.consumed(ring) for ring in (0, 1)]


def _produced(recorded: Recorded) -> list[int]:
    return [told["producer"] for told in recorded.told["rings"]]


def _told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_was_committed_is_durable_and_released(observer: Observer, recorded: Recorded, tmp_path: Path) -> None:
    """Every program with its end and its cgroup, once; then the kernel may write over it."""
    observer.commit()
    assert histories.rows(tmp_path / "history", _WORDS) == _ALL
    assert histories.rows(tmp_path / "history", "SELECT count(*) FROM process WHERE event = 'exit'") == [(PROGRAMS,)]
    assert histories.rows(
        tmp_path / "history", "SELECT event FROM container WHERE event IN ('create', 'remove') ORDER BY ktime"
    ) == [
        ("create",),
        ("remove",),
    ]
    assert _consumed(recorded) == _produced(recorded)
    observer.commit()
    assert histories.rows(tmp_path / "history", "SELECT count(*) = count(DISTINCT (ring, cpu, seq)) FROM process") == [
        (True,)
    ]


def _due_after(observer: Observer, seconds: float) -> bool:
    return observer._due(observer.marks.committed + seconds)


def test_records_that_come_fast_are_committed_less_often(
    observer: Observer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An eighth of the ring less a byte, and no urgent record: each 80 ms where it came slowly, each 200 ms where it came fast."""
    for ring in (0, 1):
        recorded.produce(ring, _consumed(recorded)[ring] + (ring == 0) * (SIZE // 8 - 1))
    assert not _due_after(observer, 0.079) and _due_after(observer, 0.081)
    monkeypatch.setattr("firsthand.observe.observer.FAST", 16_384)
    assert not _due_after(observer, 0.081) and not _due_after(observer, 0.199) and _due_after(observer, 0.201)
    assert _due_after(observer, 1.0), "what came in so long a time came slowly"


def test_an_eighth_of_the_ring_does_not_wait(
    observer: Observer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an urgent record, nor what waits for a disk."""
    monkeypatch.setattr("firsthand.observe.observer.FAST", 16_384)
    begin = _consumed(recorded)
    recorded.produce(1, begin[1])
    recorded.produce(0, begin[0] + SIZE // 8)
    assert not _due_after(observer, 0.079) and _due_after(observer, 0.081)
    recorded.produce(0, begin[0] + SIZE // 8 - 1)
    recorded.produce(1, begin[1] + 8)
    assert not _due_after(observer, 0.019) and _due_after(observer, 0.021)


def test_each_chunk_names_the_positions_that_it_came_from(observer: Observer, recorded: Recorded) -> None:
    """The log's next writer finds them, and what the source knew with them."""
    observer.commit()
    incarnation = recorded.state["incarnation"]
    wanted = {(ring, incarnation): end for ring, end in enumerate(_produced(recorded))}
    assert observer.log.last_spans() == wanted
    assert observer.log.state["incarnation"] == incarnation
    numbers = observer.log.state["numbers"]
    assert numbers == observer.source.state()["numbers"] and numbers.keys() == {"0", "1"}


def test_what_cannot_be_appended_waits_and_is_not_released(
    observer: Observer, recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that takes nothing: said once, however often it is tried; nothing is released, taken further or written."""
    before = _consumed(recorded)
    with _full():
        for _ in range(3):
            observer.commit()
            observer.tick()
    assert _consumed(recorded) == before and observer.waiting is not None
    assert [line["event"] for line in _told(capsys)] == ["blocked"]
    assert histories.rows(tmp_path / "history", _WORDS) == []
    observer.commit()
    assert observer.waiting is None and _consumed(recorded) == _produced(recorded)
    assert histories.rows(tmp_path / "history", _WORDS) == _ALL
    assert [line["event"] for line in _told(capsys)] == ["unblocked"]


def test_rows_of_its_own_wait_with_the_rest(observer: Observer, recorded: Recorded, tmp_path: Path) -> None:
    """What the observer says of itself meanwhile comes with the append that waits, in one chunk, and once."""
    with _full():
        observer.commit()
        observer._say("alive")
        observer._say("alive")
    observer.commit()
    assert histories.rows(tmp_path / "history", "SELECT event FROM observer ORDER BY ktime") == [
        ("resume",),
        ("alive",),
        ("alive",),
    ]
    assert histories.rows(tmp_path / "history", _WORDS) == _ALL


def test_a_loss_while_the_disk_took_nothing_says_so(observer: Observer, recorded: Recorded, tmp_path: Path) -> None:
    """Numbers that were taken for records that found no room are told from before the disk failed on, with that as the reason."""
    with _full():
        observer.commit()
    first, second = recorded.told["rings"][0]["produced"]
    recorded.count("produced", 0, [first + 7, second])
    observer.commit()
    observer._write_losses(observer._missing(observer.source.produced(), final=True))
    ((cause, events, detail),) = histories.rows(tmp_path / "history", "SELECT cause, events, detail FROM loss")
    assert (cause, events) == ("open_tail", 7) and "the history could not be written" in detail


def test_an_end_that_cannot_be_written_is_an_error_and_keeps_all(observer: Observer, recorded: Recorded) -> None:
    """What the rings hold waits there: nothing was released."""
    before = _consumed(recorded)
    with _full(), pytest.raises(HistoryError, match="the last rows could not be written"):
        observer.close("keep")
    assert _consumed(recorded) == before


def test_the_next_observer_goes_on(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one dies between the append and the release: the second one finds the positions in the log, and writes nothing twice."""
    first = _opened(recorded, tmp_path)
    monkeypatch.setattr(first.source, "release", lambda spans: None)
    first.commit()
    first.log.close()
    assert _consumed(recorded) != _produced(recorded)
    second = _opened(recorded, tmp_path)
    assert _consumed(recorded) == _produced(recorded), "what is durable is released at the beginning"
    second.commit()
    assert histories.rows(tmp_path / "history", _WORDS) == _ALL
    assert second.source.missing(second.source.produced(), final=True) == []
    assert histories.rows(tmp_path / "history", "SELECT event FROM observer ORDER BY ktime")[-1] == ("resume",)
    second.forget()


def _through(folder: Path) -> int:
    """The moment until which the observer says that the record is whole, by the kernel's clock."""
    told = alive.read(folder / "history/log/lock")
    assert told is not None
    return int(told["through"][0])


def _asked(observer: Observer, folder: Path) -> None:
    """Somebody asks, and the observer hears it."""
    asked._ask(folder / "history")
    assert select.select([observer.bell], [], [], 0)[0]
    observer.bell.heard()
    observer.asked, observer.marks.looked = True, 0.0
    observer.tick()


def test_who_asks_has_all_until_then(observer: Observer, tmp_path: Path) -> None:
    """What the rings hold is durable before the observer says so, whenever the next commit and the next sign of life are due."""
    observer.tick()
    first = _through(tmp_path)
    given = observer.options.settings.having(Top, commit_ms=3_600_000)
    observer.options = structs.replace(observer.options, settings=given)
    now = boottime.now_ns()
    _asked(observer, tmp_path)
    assert first < now <= _through(tmp_path) and not observer.asked
    assert histories.rows(tmp_path / "history", _WORDS) == _ALL


def test_numbers_that_are_awaited_are_not_answered_for(
    observer: Observer, recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number was taken and its record did not come: the record is whole until the look before, and from the row of the loss on again."""
    observer.tick()
    known, before = _through(tmp_path), boottime.now_ns()
    first, second = recorded.told["rings"][0]["produced"]
    recorded.count("produced", 0, [first + 7, second])
    _asked(observer, tmp_path)
    assert _through(tmp_path) <= before, "the seven may be of any time since the look before"
    passed = time.monotonic() + 2
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: passed)
        _asked(observer, tmp_path)
    assert histories.rows(tmp_path / "history", "SELECT sum(events) FROM loss WHERE cause = 'open_tail'") == [(7,)]
    assert _through(tmp_path) > before > known


def test_a_record_that_is_still_written_is_not_answered_for(
    observer: Observer, recorded: Recorded, tmp_path: Path
) -> None:
    """Its program has taken a number; what stands behind it in the ring is not read before it."""
    offset = recorded.offsets(0)[4]
    recorded.flag(0, offset, BUSY)
    observer.tick()
    before = boottime.now_ns()
    _asked(observer, tmp_path)
    assert _through(tmp_path) <= before
    recorded.flag(0, offset, 0)
    _asked(observer, tmp_path)
    assert _through(tmp_path) > before and histories.rows(tmp_path / "history", _WORDS) == _ALL


def test_a_disk_that_takes_nothing_answers_nothing(observer: Observer, recorded: Recorded, tmp_path: Path) -> None:
    """Who asked meanwhile has the answer once what waits is durable."""
    recorded.produce(0, recorded.offsets(0)[4])
    observer.tick()
    before = boottime.now_ns()
    recorded.produce(0, _produced(recorded)[0])
    with _full():
        _asked(observer, tmp_path)
        assert observer.asked and observer._pause() > 0
    assert _through(tmp_path) <= before
    observer.commit()
    observer.marks.looked = 0.0
    observer.tick()
    assert _through(tmp_path) > before and histories.rows(tmp_path / "history", _WORDS) == _ALL


def test_without_a_watch_each_look_is_an_answer(observer: Observer, tmp_path: Path) -> None:
    """Where the kernel gives no watch (fs.inotify.max_user_instances), readers wait for the next second."""
    observer.tick()
    observer.bell.close()
    before = boottime.now_ns()
    observer.tick()
    assert _through(tmp_path) < before, "the second is not over"
    observer.marks.looked -= 1.0
    observer.tick()
    assert _through(tmp_path) > before
