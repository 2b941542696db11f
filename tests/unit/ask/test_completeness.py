"""An answer is complete only where the whole window was observed and nothing that it needs was lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask import completeness
from firsthand.ask.answer import Window
from firsthand.health import status
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.probe.spec import needed
from firsthand.wire.batch import Batch
from tests import histories, samples
from tests.asking import ask

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOOKS_NEEDED = needed()
HOOKS = {"process_exec": "process", "cgroup_move": "container"}


def _observer(event: str, seconds: float, **more: Any) -> dict[str, Any]:
    hooks = json.dumps({"process_exec": "present", "cgroup_move": "present"})
    given = {"node": "n", "boot": "b", "recorded": int(seconds), "hooks": hooks} | more
    return samples.observer(event, START + timedelta(seconds=seconds), **given)


def _judge(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    loss: list[dict[str, Any]],
    since: float,
    until: float,
    tables: tuple[str, ...] = ("process",),
) -> completeness.Completeness:
    with LogWriter(tmp_path, "n", "b") as log:
        log.append([Batch.from_rows("observer", rows)], [])
        if loss:
            log.append([Batch.from_rows("loss", loss)], [])
    window = Window(START + timedelta(seconds=since), START + timedelta(seconds=until))
    with History(tmp_path).connection() as connection:
        spans = completeness.spans(connection, START + timedelta(days=1))
        return completeness.judge(connection, spans, window, tables, HOOKS)


SESSION = [_observer("start", 0), _observer("ready", 1), _observer("alive", 11), _observer("stop", 20)]


def test_a_window_inside_a_session_is_complete(tmp_path: Path) -> None:
    """From start to stop everything was observed."""
    judged = _judge(tmp_path, SESSION, [], 2, 19)
    assert judged.complete and judged.reasons == [] and judged.events_lost == 0
    assert judged.history_begins == START


def test_before_the_beginning_nothing_is_known(tmp_path: Path) -> None:
    """A window that begins before the history does is incomplete, with that reason."""
    judged = _judge(tmp_path, SESSION, [], -100, 19)
    assert not judged.complete and "the history begins at" in judged.reasons[0]


def test_the_time_between_two_sessions_is_not_recorded(tmp_path: Path) -> None:
    """A gap is named with its ends."""
    second = [_observer("start", 50), _observer("ready", 51), _observer("stop", 60)]
    judged = _judge(tmp_path, [*SESSION, *second], [], 2, 59)
    assert judged.reasons == ["not recorded from 2026-05-01T12:00:20.000Z to 2026-05-01T12:00:50.000Z on n"]
    assert len(judged.observed) == 2


def test_an_observer_that_vanished_counts_to_its_last_sign(tmp_path: Path) -> None:
    """Without a stop row the session ends with the last row of it."""
    judged = _judge(tmp_path, SESSION[:3], [], 2, 15)
    assert judged.reasons == ["not recorded from 2026-05-01T12:00:11.000Z to 2026-05-01T12:00:15.000Z on n"]


def test_a_session_that_resumed_was_observed_throughout(tmp_path: Path) -> None:
    """The kernel side goes on while an observer is replaced: the time before it, and between, counts as observed."""
    again = [_observer("resume", 15), _observer("ready", 16), _observer("stop", 20)]
    judged = _judge(tmp_path, [*SESSION[:3], *again], [], 2, 19)
    assert judged.complete, judged.reasons
    assert judged.history_begins == START


def test_ready_proves_what_was_attached_at_the_start(tmp_path: Path) -> None:
    """Nothing is attached between the two: what is recorded meanwhile is observed, by the hooks that answered."""
    hooks = json.dumps({"process_exec": "missing: its canary does not answer"})
    rows = [_observer("start", 0), _observer("ready", 5, hooks=hooks), _observer("stop", 20)]
    assert _judge(tmp_path / "a", SESSION, [], 0, 19).complete
    assert _judge(tmp_path / "b", rows, [], 0, 19).reasons == [
        "hook process_exec was missing: its canary does not answer"
    ]


def test_losses_count_where_the_question_needs_them(tmp_path: Path) -> None:
    """A loss of the needed table, or of any, in the window makes it incomplete; one elsewhere does not."""
    at = {"since": START + timedelta(seconds=5), "until": START + timedelta(seconds=6), "node": "n", "boot": "b"}
    loss = [
        {"time": START, "cause": "sequence_gap", "events": 7, **at},
        {"time": START, "cause": "helper_failed", "events": 2, "table_name": "container", **at},
    ]
    judged = _judge(tmp_path, SESSION, loss, 2, 19)
    assert (judged.complete, judged.events_lost) == (False, 7) and "sequence_gap" in judged.reasons[0]


def test_losses_outside_the_window_do_not_count(tmp_path: Path) -> None:
    """The window ends before the loss."""
    at = {"since": START + timedelta(seconds=15), "until": START + timedelta(seconds=16)}
    loss = [{"time": START, "cause": "sequence_gap", "events": 7, "node": "n", "boot": "b", **at}]
    assert _judge(tmp_path, SESSION, loss, 2, 10).complete


def test_a_missing_hook_of_a_needed_table_counts(tmp_path: Path) -> None:
    """A hook that the kernel refused makes questions on its table incomplete, and no others."""
    hooks = json.dumps({"process_exec": "present", "cgroup_move": "missing: refused"})
    rows = [_observer(e, s, hooks=hooks) for e, s in (("start", 0), ("ready", 1), ("stop", 20))]
    assert _judge(tmp_path / "a", rows, [], 2, 19).complete
    judged = _judge(tmp_path / "b", rows, [], 2, 19, ("container",))
    assert judged.reasons == ["hook cgroup_move was missing: refused"]


def test_a_scope_is_named_and_a_changed_one_counts(tmp_path: Path) -> None:
    """One scope is said; two within a window make it incomplete."""
    rows = [_observer(e, s, scope="/a") for e, s in (("start", 0), ("ready", 1), ("stop", 20))]
    judged = _judge(tmp_path / "a", rows, [], 2, 19)
    assert judged.complete and judged.scope == ["/a"] and "outside the cgroup /a" in judged.blind_spots[0]
    more = [_observer(e, s, scope="/b") for e, s in (("start", 20), ("ready", 20), ("stop", 30))]
    judged = _judge(tmp_path / "b", rows + more, [], 2, 29)
    assert any("scope changed" in reason for reason in judged.reasons)


def test_nothing_observed_is_not_none(tmp_path: Path) -> None:
    """Where no observer ran, the reason says so."""
    judged = _judge(tmp_path, [_observer("stop", 0)], [], 100, 200)
    assert not judged.complete and judged.observed == []


#: A run from 0 to 3,600 s, then the clock is set back by 3,000 s, and it ends 100 s later; ktime goes on.
SET_BACK = [
    _observer("start", 0, ktime=1),
    _observer("ready", 1, ktime=2),
    _observer("alive", 3600, ktime=3),
    _observer("alive", 600, ktime=4),
    _observer("stop", 700, ktime=5),
]


def test_a_clock_that_was_set_back_ends_a_span(tmp_path: Path) -> None:
    """Rows are in the order of the kernel's clock: what was observed is what the wall clock showed before, and after."""
    judged = _judge(tmp_path, SET_BACK, [], 10, 3000)
    assert judged.complete
    assert judged.observed == [(START + timedelta(seconds=10), START + timedelta(seconds=3000))]
    with History(tmp_path).connection() as connection:
        spans = completeness.spans(connection, START + timedelta(seconds=650))
    seconds = [((span.begin - START).total_seconds(), (span.end - START).total_seconds(), span.open) for span in spans]
    assert seconds == [(0, 3600, False), (600, 700, False)]


def test_an_observer_whose_clock_was_set_back_is_observing(tmp_path: Path) -> None:
    """By its newest sign of life, and not by the one with the latest time."""
    histories.write(tmp_path, Batch.from_rows("observer", SET_BACK[:-1]))
    now = START + timedelta(seconds=605)
    with History(tmp_path).connection() as connection:
        assert [span.observing(now) for span in completeness.spans(connection, now)] == [False, True]
        (one,) = status.status(connection, now, tmp_path)["observers"]
    assert (one["observing"], one["recorded"]) == (True, 600)


@pytest.mark.parametrize(
    ("table", "settings", "said"),
    [
        ("name", {"names": False}, ["DNS questions and answers were not recorded (setting network.names)"]),
        ("request", {"requests": False}, ["heads of TLS and HTTP were not recorded (setting network.requests)"]),
        ("request", {"names": False, "requests": True}, []),
    ],
)
def test_what_a_setting_leaves_out_is_said(
    tmp_path: Path, table: str, settings: dict[str, Any], said: list[str]
) -> None:
    """Of the tables that the question needs, whichever observer of the window had it."""
    rows = [row | {"settings": json.dumps(settings)} for row in SESSION]
    assert _judge(tmp_path, rows, [], 2, 19, (table,)).reasons == said


def test_a_table_that_a_version_did_not_know_was_not_observed(tmp_path: Path) -> None:
    """No row of it is no answer."""
    rows = [row | {"hooks": json.dumps({"process_exec": "present"})} for row in SESSION]
    judged = _judge(tmp_path, rows, [], 2, 19, ("process", "container"))
    assert judged.reasons == ["a version observed that had no hooks for container"]


def _spans(directory: Path, now: datetime) -> list[tuple[Any, ...]]:
    with History(directory).connection() as connection:
        found = completeness.spans(connection, now)
    return [(one.node, one.started, one.begin, one.end, one.open, one.settings, one.recorded) for one in found]


def test_spans_are_the_same_from_the_log_and_from_segments(tmp_path: Path) -> None:
    """By whatever cut the keeper came: rows of one session in several segments and in the log are one span."""
    rows = [_observer("start", 0, ktime=0), _observer("ready", 1, ktime=1)]
    rows += [_observer("alive", 10 * n, ktime=10 * n) for n in range(1, 40)]
    rows += [_observer("resume", 395, ktime=395), _observer("ready", 396, ktime=396), _observer("stop", 400, ktime=400)]
    now = START + timedelta(days=1)
    histories.write(tmp_path / "log", Batch.from_rows("observer", rows))
    expected = _spans(tmp_path / "log", now)
    assert [(one[2], one[3]) for one in expected] == [(START, START + timedelta(seconds=400))]
    for cut in (1, 2, 20, 41, 43):
        place = tmp_path / str(cut)
        keeper = Keeper(place)
        with LogWriter(place, "n", "b") as log:
            log.append([Batch.from_rows("observer", rows[:cut])], [])
            keeper.pass_once(last=True)
            log.append([Batch.from_rows("observer", rows[cut:])], [])
        assert _spans(place, now) == expected, cut
        keeper.pass_once(last=True)
        keeper.close()
        assert _spans(place, now) == expected, cut


def test_settings_that_changed_within_a_session_count_for_their_time(tmp_path: Path) -> None:
    """Names were not recorded until the observer resumed with another setting: a window of before is told so, one of after is not,
    and nothing between is missing."""
    off = json.dumps({"names": False})
    rows = [_observer(event, at, settings=off) for event, at in (("start", 0), ("ready", 1), ("alive", 10))]
    rows += [_observer("resume", 15), _observer("ready", 16), _observer("alive", 20), _observer("stop", 30)]
    said = ["DNS questions and answers were not recorded (setting network.names)"]
    assert _judge(tmp_path / "before", rows, [], 2, 9, ("name",)).reasons == said
    assert _judge(tmp_path / "both", rows, [], 2, 29, ("name",)).reasons == said
    assert _judge(tmp_path / "after", rows, [], 17, 29, ("name",)).reasons == []


def test_a_hook_that_was_missing_for_a_time_counts(tmp_path: Path) -> None:
    """Also where it was there again when the session ended."""
    gone = json.dumps({"process_exec": "missing: its canary does not answer"})
    rows = [*SESSION[:3], _observer("alive", 12, hooks=gone), _observer("alive", 14), SESSION[3]]
    assert _judge(tmp_path / "with", rows, [], 2, 19).reasons == [
        "hook process_exec was missing: its canary does not answer"
    ]
    assert _judge(tmp_path / "after", rows, [], 15, 19).complete


def _asked(directory: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(directory, "processes", *words)
    return found


def _exec(seconds: float, tgid: int, event: str = "exec") -> dict[str, Any]:
    row = {
        "node": "n",
        "boot": "b",
        "event": event,
        "exec_tgid": tgid,
        "exec_start": tgid,
        "exec_number": 1,
        "pid": tgid,
    }
    return row | {"time": START + timedelta(seconds=seconds), "exe": "/bin/true", "flags": 0}


@pytest.mark.parametrize("kept", [False, True], ids=["in the log", "in segments"])
def test_the_window_is_what_is_held(tmp_path: Path, kept: bool) -> None:
    """After a kill without a restart rows stand behind the last sign of life, and before `start` others: all of them count, and what
    was not proven observed is said; so with every number in the answer."""
    rows = [_exec(at, number) for number, at in enumerate((-3, -2, 5, 12, 15, 18), 100)]
    hooks = json.dumps(dict.fromkeys(HOOKS_NEEDED, "present"))
    observer = [_observer(event, at, hooks=hooks) for event, at in (("start", -1), ("ready", 1), ("alive", 11))]
    histories.write(tmp_path, Batch.from_rows("process", rows), Batch.from_rows("observer", observer))
    if kept:
        histories.keep(tmp_path)
    found = _asked(tmp_path)
    assert found["answer"].startswith("Yes: 6 of 6 ") and len(found["rows"]) == 6
    assert found["completeness"]["events_held"] == 6
    assert (found["window"]["since"], found["window"]["until"]) == (
        "2026-05-01T11:59:57.000Z",
        "2026-05-01T12:00:18.000Z",
    )
    first, second = found["completeness"]["reasons"]
    assert first.startswith(
        "not proven observed from 2026-05-01T11:59:57.000Z to 2026-05-01T11:59:59.000Z: observing was not ready"
    )
    assert second.startswith(
        "not proven observed from 2026-05-01T12:00:11.000Z to 2026-05-01T12:00:18.000Z: n gave no sign of life"
    )
    inside = _asked(tmp_path, "--since", "2026-05-01T12:00:02Z", "--until", "2026-05-01T12:00:10Z")
    assert inside["answer"].startswith("Yes: 1 of 1 ") and inside["completeness"]["complete"]


def test_what_was_there_already_is_not_before_the_window(tmp_path: Path) -> None:
    """Rows of `seen` tell what ran when observing began: they are no event of a time that nobody observed."""
    hooks = json.dumps(dict.fromkeys(HOOKS_NEEDED, "present"))
    observer = [_observer(event, at, hooks=hooks) for event, at in (("start", 0), ("ready", 1), ("stop", 20))]
    with LogWriter(tmp_path, "n", "b") as log:
        log.append(
            [Batch.from_rows("process", [_exec(0.5, 7, "seen"), _exec(5, 8)]), Batch.from_rows("observer", observer)],
            [],
        )
    found = _asked(tmp_path)
    assert found["completeness"]["complete"] and found["window"]["since"] == "2026-05-01T12:00:00.000Z"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({}, "an unknown number of rows lost at an unknown moment (log_damaged: x)"),
        (
            {"until": START},
            "an unknown number of rows lost at an unknown moment before 2026-05-01T12:00:00.000Z (log_damaged: x)",
        ),
        ({"since": START}, "an unknown number of rows lost after 2026-05-01T12:00:00.000Z (log_damaged: x)"),
        ({"events": 3}, "3 events or values lost at an unknown moment (log_damaged: x)"),
    ],
)
def test_a_loss_that_lacks_its_number_or_moment(tmp_path: Path, loss: dict[str, Any], said: str) -> None:
    """It counts for each window that it may be of, and for no other."""
    row = {"time": START, "node": "n", "boot": "b", "cause": "log_damaged", "detail": "x"} | loss
    before, after = (-100, -50), (2, 19)
    for number, (since, until) in enumerate((before, after)):
        judged = _judge(tmp_path / str(number), SESSION, [row], since, until)
        away = ("until" in loss and since > 0) or ("since" in loss and until < 0)
        assert (said in judged.reasons) != away, judged.reasons
