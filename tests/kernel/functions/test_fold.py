"""Which short processes fold, run alone (fold.h, withhold.h): the hash of an exec, and each decision at its bounds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernel.functions.functions import Functions

#: folding.most_ms and folding.every_seconds where nothing is set (maps.h), in ns.
_SHORT, _EVERY = 1_000_000_000, 60_000_000_000
_LONGEST, _STEP = 6144 - 64, 64
_NOW = 10**15


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    """The object, in the kernel once for all tests, with a key for its hash."""
    with Functions("fold") as made:
        made.put("fold_secret", random.Random(17).randbytes(2 * 6144))
        yield made


def _hashed(functions: Functions, record: bytes, behind: bytes = b"") -> Any:
    """What the hash of a record is, with these bytes behind it in the scratch."""
    call = functions.given()
    whole = (record + behind)[:6144]
    call["record"][: len(whole)] = list(whole)
    call["length"] = len(record)
    return functions.run("run_hash", call)


def _offset(functions: Functions, struct: str, member: str) -> int:
    fields = functions.dtype(struct).fields
    assert fields is not None
    return int(fields[member][1])


def _nh(functions: Functions, record: bytes) -> tuple[int, int]:
    """NH of RFC 4418, 5.2.2, over what equal execs have in common, by both halves of the key."""
    begin = _offset(functions, "process_context", "cap_inheritable")
    number = _offset(functions, "process_exec", "previous_number")
    equal = (record[:number] + bytes(8) + record[number + 8 :])[begin : len(record)]
    words = np.frombuffer(equal + bytes(-len(equal) % _STEP), np.uint32).tolist()
    keys = np.frombuffer(functions.get("fold_secret")[: 2 * 6144], np.uint32).reshape(2, -1).tolist()
    return tuple(
        sum((words[at] + key[at]) % 2**32 * ((words[at + 1] + key[at + 1]) % 2**32) for at in range(0, len(words), 2))
        % 2**64
        for key in keys
    )  # type: ignore[return-value]


def _least(functions: Functions) -> int:
    return functions.dtype("process_exec").itemsize


@given(data=st.data(), behind=st.binary(max_size=64))
def test_the_hash_is_nh_of_all_that_is_equal(functions: Functions, data: st.DataObject, behind: bytes) -> None:
    """Ids and times and the image before are left out, each other byte counts, and nothing that lies behind the record."""
    chance = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
    record = chance.randbytes(data.draw(st.integers(_least(functions), _LONGEST), label="length"))
    found = _hashed(functions, record, behind)
    assert found["hashed"] and found["key"]["length"] == len(record)
    assert (int(found["key"]["first"]), int(found["key"]["second"])) == _nh(functions, record)


@pytest.mark.parametrize(
    ("length", "fits"), [(_LONGEST - 1, True), (_LONGEST, True), (_LONGEST + 1, False), (6144, False)]
)
def test_a_record_that_is_too_long_has_no_hash(functions: Functions, length: int, fits: bool) -> None:
    """It is never withheld; the longest that is has its last byte in the hash."""
    assert bool(_hashed(functions, bytes(length))["hashed"]) is fits
    if fits:
        one, other = (_hashed(functions, bytes(length - 1) + last)["key"] for last in (b"\0", b"\1"))
        assert one != other


@pytest.mark.parametrize(
    ("changed", "short"),
    [
        ({}, True),
        ({"duration": _SHORT}, True),
        ({"duration": _SHORT + 1}, False),
        ({"exit_signal": 9}, False),
        ({"exit_signal": 0}, False),
        ({"exit_code": 1}, True),
        ({"core_dumped": 1}, False),
        ({"flags": 1}, False),
        ({"flags": 1 << 40}, False),
    ],
)
def test_what_a_short_life_is(functions: Functions, changed: dict[str, int], short: bool) -> None:
    """It ended by itself, within folding.most_ms, and nothing in it is flagged."""
    call = functions.given()
    call["exit"]["exit_signal"] = -1
    for name, value in changed.items():
        (call["exit"]["context"] if name == "flags" else call["exit"])[name] = value
    assert bool(functions.run("run_decisions", call)["is_short"]) is short


def test_rights_and_names_must_be_what_they_were(functions: Functions) -> None:
    """Each member of the context behind ids and times, one by one: rights, users, namespaces, cgroup, names."""
    kind = functions.dtype("process_context")
    begin = _offset(functions, "process_context", "cap_inheritable")
    assert kind.fields is not None and kind.names is not None
    equal = {name: int(kind.fields[name][1]) >= begin for name in kind.names}
    assert {"uid", "cap_effective", "ns_mount", "cgroup_id", "comm", "parent_name"} <= {
        n for n, one in equal.items() if one
    }
    assert {"header", "exec_start", "exec_tgid", "tid"} <= {n for n, one in equal.items() if not one}
    for name, counts in equal.items():
        call = functions.given()
        for side in ("exec", "exit"):
            call[side]["context"]["uid"] = 7
        at = kind.fields[name][1] + kind.fields[name][0].itemsize - 1  # the last byte: no member is compared in part
        raw = bytearray(call["exit"]["context"].tobytes())
        raw[at] ^= 1
        call["exit"]["context"] = np.frombuffer(bytes(raw), kind, 1)[0]
        assert bool(functions.run("run_decisions", call)["unchanged"]) is not counts, name


@pytest.mark.parametrize(
    ("seen", "recent"),
    [(_NOW, True), (_NOW - 10 * _EVERY, True), (_NOW - 10 * _EVERY - 1, False), (_NOW + 5000, True), (0, False)],
)
def test_how_long_an_equal_life_is_remembered(functions: Functions, seen: int, recent: bool) -> None:
    """Ten rows of a fold apart; a moment that another processor has seen may lie ahead."""
    call = functions.given()
    call["fold"]["seen"], call["now"] = seen, _NOW
    assert bool(functions.run("run_decisions", call)["recent"]) is recent


@dataclass
class EndedLife:
    """One life that ended. `after`: ns since the one before; its exec was `age` ns before its end."""

    after: int
    age: int
    exit_code: int
    user_time: int


@dataclass
class FoldTruth:
    """What a fold should be: the lives that it took, and by when the last one ended."""

    exit_code: int
    seen: int
    taken: list[EndedLife] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)

    def takes(self, life: EndedLife, now: int) -> bool:
        """An exit like the one that was recorded in full, not long ago, and a row that is not too old."""
        fresh = now - self.seen <= 10 * _EVERY and life.exit_code == self.exit_code
        return fresh and (not self.taken or now - min(self.moments) <= 2 * _EVERY)

    def take(self, life: EndedLife, now: int) -> None:
        self.taken.append(life)
        self.moments.append(now - life.age)
        self.seen = now


_LIVES = st.lists(
    st.builds(
        EndedLife,
        st.sampled_from((1, 10**9, _EVERY, 2 * _EVERY, 10 * _EVERY, 10 * _EVERY + 1)),
        st.integers(0, _SHORT),
        st.sampled_from((0, 0, 0, 1)),
        st.integers(0, 10**9),
    ),
    max_size=15,
)


@given(lives=_LIVES, exit_code=st.sampled_from((0, 0, 1)))
def test_a_row_counts_the_lives_that_it_took(functions: Functions, lives: list[EndedLife], exit_code: int) -> None:
    """Number, first and last exec, times of all and the longest; the ticket is the first one's."""
    truth, now = FoldTruth(exit_code, _NOW), _NOW
    call = functions.given()
    call["fold"]["seen"], call["fold"]["exit_code"] = _NOW, exit_code
    for ticket, life in enumerate(lives, 1):
        now += life.after
        call["exit"]["exit_code"], call["exit"]["user_time"] = life.exit_code, life.user_time
        call["exit"]["duration"], call["executed"] = life.age, now - life.age
        call["now"], call["ticket"] = now, ticket
        wanted = truth.takes(life, now)
        if wanted and not truth.taken:
            first = ticket
        call = functions.run("run_count", call).copy()
        assert bool(call["counted"]) is wanted
        if wanted:
            truth.take(life, now)
        fold = call["fold"]
        assert (fold["count"], fold["seen"], fold["busy"]) == (len(truth.taken), truth.seen, 0)
        if truth.taken:
            assert (fold["first"], fold["last"]) == (min(truth.moments), max(truth.moments))
            assert fold["user_time"] == sum(one.user_time for one in truth.taken)
            assert fold["longest"] == max(one.age for one in truth.taken)
            assert (fold["ticket"], fold["folded_code"]) == (first, exit_code)


@pytest.mark.parametrize(("age", "counted"), [(2 * _EVERY, True), (2 * _EVERY + 1, False)])
def test_a_row_stands_for_twice_the_time_between_rows(functions: Functions, age: int, counted: bool) -> None:
    """Also where nobody sweeps: what a folded row hides is not older."""
    call = functions.given()
    call["fold"]["seen"], call["fold"]["count"], call["fold"]["first"] = _NOW, 1, _NOW - age
    call["now"] = call["executed"] = _NOW
    assert bool(functions.run("run_count", call)["counted"]) is counted


def test_who_comes_second_goes_another_way(functions: Functions) -> None:
    """While another processor writes the fold, a life is not counted there, and nothing is changed."""
    call = functions.given()
    call["fold"]["seen"], call["fold"]["busy"], call["now"] = _NOW, 1, _NOW
    found = functions.run("run_count", call)
    assert not found["counted"] and found["fold"] == call["fold"]
