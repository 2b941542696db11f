"""Law 11: over every column, operator, question and filter the answer, its count and its completeness are those of a naive reference.

330 generated predicates, 10,000 with FIRSTHAND_PROFILE=all. `pytest -s` shows the coverage.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firsthand.ask import predicate
from firsthand.ask.answering import Request, from_connection
from firsthand.ask.registry import QUESTIONS
from firsthand.errors import UsageError
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.schema import flags
from firsthand.wire.batch import Batch
from tests import profile, samples, truth
from tests.samples import BOOT, NODE
from tests.truth import World

KNOWN = predicate.of_processes()
SEED = 20260301
PREDICATES = 10_000 if profile.name() == profile.ALL else 330
PARTS = PREDICATES // 30
START, END = truth.START, truth.START + timedelta(seconds=700)
#: The last part of the history has a loss.
LOST = truth.START + timedelta(seconds=590)
FOLDING = '{"folding": {"most_ms": 1000, "every_seconds": 20}}'

Condition = tuple[str, str]


def _wanted(chance: random.Random, world: World, name: str, sign: str) -> str:
    """A value as one types it: one that rows have, more often than one that none has."""
    one = KNOWN[name]
    if one.type == "capabilities" and sign == "~":
        return chance.choice(("chown", "sys_admin", "net_raw"))
    if name in ("event", "state"):
        return chance.choice(
            ("exec", "exit", "fork", "folded", "seen", "left") if name == "event" else predicate.STATES
        )
    if one.type == "words":
        return chance.choice(flags.known() if name == "marks" else flags.stored())
    seen = [shown for life in world.lives if (shown := truth._shown(life, name, START, END)) is not None]
    found = chance.choice(seen) if seen and chance.random() < 0.8 else truth.value(chance, name, _plain(one.type))
    if isinstance(found, bytes):
        return "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in found)
    if isinstance(found, list):
        found = chance.choice([" ".join(found), *found])
    if isinstance(found, str) and sign == "~" and found:
        begin = chance.randrange(len(found))
        found = found[begin : begin + chance.randrange(1, 6)].swapcase()
    return found.isoformat() if isinstance(found, datetime) else str(found)


def _plain(kind: str) -> str:
    return {"signal": "int32", "capabilities": "int64", "place": "text"}.get(kind, kind)


def _plan(world: World) -> list[list[str]]:
    """The predicates, each of some conditions: every declared column with every operator first, then by chance."""
    chance = random.Random(SEED)
    pairs = [(name, sign) for name, one in KNOWN.items() for sign in one.operators]
    chance.shuffle(pairs)
    plan: list[list[str]] = []
    while len(plan) < PREDICATES:
        few = [pairs.pop() for _ in range(min(len(pairs), 2))] if pairs else []
        few = few or [
            (name, chance.choice(KNOWN[name].operators))
            for name in chance.sample(list(KNOWN), chance.choice((1, 1, 2)))
        ]
        plan.append([f"{name}{sign}{_wanted(chance, world, name, sign)}" for name, sign in few])
    return plan


WORLD = World(SEED)
PLAN = _plan(WORLD)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The history of the world's rows, observed throughout, with a loss near its end."""
    place = tmp_path_factory.mktemp("history")
    observed = [
        samples.observer(event, at, ktime=i, settings=FOLDING, recorded=i)
        for i, (event, at) in enumerate((("start", START - timedelta(seconds=60)), ("ready", START), ("stop", END)))
    ]
    loss = {"time": LOST, "node": NODE, "boot": BOOT, "table_name": "process", "cause": "sequence_gap", "events": 3}
    loss |= {"since": LOST - timedelta(seconds=5), "until": LOST}
    with LogWriter(place, NODE, BOOT) as log:
        log.append(
            [
                Batch.from_rows("process", WORLD.rows),
                Batch.from_rows("observer", observed),
                Batch.from_rows("loss", [loss]),
            ],
            [],
        )
    with History(place).connection(materialised=("process", "observer", "loss")) as found:
        yield found


#: All of it; without the loss; what began before it and ended in it; the middle.
WINDOWS = ((0, 699), (0, 570), (250, 560), (100, 300))


@pytest.mark.parametrize("part", range(PARTS))
def test_processes_are_what_the_naive_reference_says(connection: Any, part: int) -> None:
    """Law: the count, the rows, what is not known, and whether that is complete, for each generated predicate."""
    for number in range(part, len(PLAN), PARTS):
        since, until = (START + timedelta(seconds=one) for one in WINDOWS[number % len(WINDOWS)])
        _check(connection, PLAN[number], since, until)


def _check(connection: Any, conditions: list[str], since: datetime, until: datetime) -> None:
    if any(_of_nobody(predicate.parse(text, KNOWN, END.replace(tzinfo=UTC))) for text in conditions):
        with pytest.raises(UsageError, match="is in this history"):
            from_connection(connection, Request("processes", tuple(conditions)), END.replace(tzinfo=UTC))
        return
    request = Request("processes", tuple(conditions), since.replace(tzinfo=UTC), until.replace(tzinfo=UTC), limit=1000)
    found = from_connection(connection, request, END.replace(tzinfo=UTC))
    tests = [predicate.parse(text, KNOWN, END.replace(tzinfo=UTC)) for text in conditions]
    executed = any(not one.predicate.ends and set(one.predicate.events) == {"exec", "seen", "folded"} for one in tests)
    forks = any(one.predicate.name == "event" for one in tests)
    lives = truth.within(WORLD.lives, since, until, forks, executed)
    of = sum(life.many for life in lives)
    said = (conditions, (since - START).seconds, (until - START).seconds, found.sentence, found.completeness.reasons)
    if any(_unfilled(lives, one, since, until) for one in tests):
        assert found.sentence.startswith("Not known: no row") and not found.completeness.complete, said
        return
    rows, number, unknown, hidden = 0, 0, 0, False
    for life in lives:
        verdicts = [truth.judged(life, one, since, until) for one in tests]
        if all(true for true, _ in verdicts):
            whole = all(predicate.holds_for_each(one) for one in tests)
            rows, number = rows + 1, number + (life.many if whole else 1)
        elif not any(true is False for true, _ in verdicts):
            unknown += life.many
            hidden |= any(
                true is None and not _open(life, one, until) for (true, _), one in zip(verdicts, tests, strict=True)
            )
    assert found.sentence.startswith(f"{'Yes' if number else 'No'}: {number:,} of {of:,} "), (number, of, *said)
    assert found.found.total == rows == len(found.found.rows), said
    assert ("is not known of" in found.sentence) == bool(unknown), (unknown, *said)
    unsure = any(one.predicate.name in truth.WHOSE for one in tests) and truth.nameless(WORLD.lives, since, until)
    assert found.completeness.complete == (not hidden and not unsure and until < LOST - timedelta(seconds=5)), (
        hidden,
        *said,
    )


def _of_nobody(test: predicate.Test) -> bool:
    """Whether a condition names a pod, a container, or what else names one, that no row has."""
    columns = {"pod": ("pod", "pod_uid"), "pod_uid": ("pod", "pod_uid"), "container": ("container_name",)}
    named = columns.get(test.name, (test.name,))
    if test.sign != "=" or test.name not in {*columns, "container_name", "namespace", "workload", "image", "node"}:
        return False
    begins = test.name in ("container", "container_name")
    if test.name == "container" and "host".startswith(str(test.value)):
        return False
    return not any(
        any(row.get(name) == test.value for name in named)
        or (begins and (row.get("container") or "").startswith(test.value))
        for row in WORLD.rows
        if not begins or row.get("container") or row.get("container_name") == test.value
    )


def _open(life: truth.Life, test: predicate.Test, until: datetime) -> bool:
    return test.predicate.ends and truth.state(life, until) != "exited"


def _unfilled(lives: list[truth.Life], test: predicate.Test, since: datetime, until: datetime) -> bool:
    """Whether none of the searched rows has a value, and such an emptiness means nothing."""
    one = test.predicate
    if one.null == predicate.NONE or not lives:
        return False
    ended = [life for life in lives if truth.state(life, until) == "exited"]
    if one.ends and not ended:
        return False
    return all(truth._shown(life, one.name, since, until) is None for life in (ended if one.ends else lives))


def test_the_coverage_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Law: the plan asks of every declared column by every operator."""
    declared = {
        ("processes", name, sign) for name, one in QUESTIONS["processes"].predicates().items() for sign in one.operators
    }
    tests = [predicate.parse(text, KNOWN, END.replace(tzinfo=UTC)) for conditions in PLAN for text in conditions]
    asked = {("processes", one.predicate.name, one.sign) for one in tests}
    with capsys.disabled():
        print(
            f"\n{len(PLAN):,} predicates, {len(tests):,} conditions: {len(asked & declared):,} of {len(declared):,} (question, column, operator)"
        )
    assert declared - asked == set() and len(PLAN) >= 300
