"""Which short connections fold, run alone (brief.h): what may, by which key, and what a row counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.identity.address import kind
from tests.kernel.functions.functions import Functions

_EVERY, _NOW = 60_000_000_000, 10**15
_LAYOUT = 0  # settings.layout_number where nobody set it


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    """The object, in the kernel once for all tests."""
    with Functions("brief") as made:
        yield made


def _sixteen(text: str) -> list[int]:
    address = ipaddress.ip_address(text)
    return list(address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed)


def _given(functions: Functions, peer: str = "10.0.0.7", **values: int) -> Any:
    """A connection of one process to a peer."""
    call = functions.given()
    row = call["row"]
    row["process"]["exec_tgid"] = 100
    row["ends"]["peer_address"], row["ends"]["local_address"] = _sixteen(peer), _sixteen("10.0.0.5")
    row["ends"]["peer_port"], row["ends"]["local_port"] = 443, 40000
    for name, value in values.items():
        row[name] = value
    call["now"] = _NOW
    return call


def test_only_flags_that_say_where_it_goes(functions: Functions) -> None:
    """Incoming, loopback and mapped ones may fold; every other flag keeps a connection's own rows."""
    flags = functions.constants("connection_flag")
    assert len(flags) > 10
    may = {name for name, bit in flags.items() if functions.run("run_brief", _given(functions, flags=bit))["may"]}
    assert may == {"CONNECTION_INCOMING", "CONNECTION_LOOPBACK", "CONNECTION_MAPPED"}


@given(
    peer=st.ip_addresses().map(str)
    | st.sampled_from(("10.9.9.9", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"))
)
def test_only_what_stays_inside(functions: Functions, peer: str) -> None:
    """Its peer is private or loopback, or the socket's own address."""
    assert bool(functions.run("run_brief", _given(functions, peer))["may"]) is (kind(peer) in ("private", "loopback"))
    own = _given(functions, peer, flags=functions.constants("connection_flag")["CONNECTION_LOOPBACK"])
    assert functions.run("run_brief", own)["may"]


def test_a_failure_and_nobodys_connection_never_fold(functions: Functions) -> None:
    """An errno, or no process that is known."""
    assert functions.run("run_brief", _given(functions))["may"]
    assert not functions.run("run_brief", _given(functions, error=104))["may"]
    nobody = _given(functions)
    nobody["row"]["process"]["exec_tgid"] = 0
    assert not functions.run("run_brief", nobody)["may"]


def _key(functions: Functions, call: Any) -> bytes:
    found: bytes = functions.run("run_brief", call)["key"].tobytes()
    return found


@pytest.mark.parametrize("incoming", [False, True])
def test_the_port_that_its_kernel_chose_is_not_in_the_key(functions: Functions, incoming: bool) -> None:
    """The one that is served is: the peer's, or of what comes in the socket's own."""
    flags = functions.constants("connection_flag")["CONNECTION_INCOMING"] if incoming else 0
    first = _key(functions, _given(functions, flags=flags))
    chosen, served = ("peer_port", "local_port") if incoming else ("local_port", "peer_port")
    for port, same in ((chosen, True), (served, False)):
        other = _given(functions, flags=flags)
        other["row"]["ends"][port] += 1
        assert (_key(functions, other) == first) is same, port


def test_everything_else_that_makes_two_unlike(functions: Functions) -> None:
    """The process with its rights and cgroup, who had it before, both addresses; not its own numbers and times."""
    first = _key(functions, _given(functions))
    process = functions.dtype("socket_process").names
    assert process is not None and "cap_effective" in process
    for name in process:
        other = _given(functions)
        if other["row"]["process"][name].shape:
            continue  # padding
        other["row"]["process"][name] += 1
        assert _key(functions, other) != first, name
    for name in ("opener_start", "opener_number", "opener_tgid"):
        assert _key(functions, _given(functions, **{name: 1})) != first, name
    for end in ("local_address", "peer_address"):
        other = _given(functions)
        other["row"]["ends"][end][15] += 1
        assert _key(functions, other) != first, end
    for name in ("duration", "bytes_sent", "segments_received", "rtt"):
        assert _key(functions, _given(functions, **{name: 9})) == first, name


_ENDED = st.lists(
    st.fixed_dictionaries(
        {
            "after": st.sampled_from((1, 10**9, _EVERY, 2 * _EVERY, 10 * _EVERY, 10 * _EVERY + 1)),
            "duration": st.integers(0, 10**9),
            "bytes_sent": st.integers(0, 2**40),
            "segments_sent": st.integers(0, 1000),
            "retransmits": st.integers(0, 3),
        }
    ),
    max_size=12,
)


@given(ended=_ENDED)
def test_a_row_counts_the_connections_that_it_took(functions: Functions, ended: list[dict[str, int]]) -> None:
    """While the last one is not long ago and the row not too old: sums of all, the longest, first and last beginning."""
    call, now, seen = _given(functions), _NOW, _NOW
    call["fold"]["seen"] = _NOW
    taken: list[dict[str, int]] = []
    for one in ended:
        now += one["after"]
        for name in ("duration", "bytes_sent", "segments_sent", "retransmits"):
            call["row"][name] = one[name]
        call["now"], call["made"] = now, now - one["duration"]
        first = min((before["made"] for before in taken), default=None)
        wanted = now - seen <= 10 * _EVERY and (first is None or now - first <= 2 * _EVERY)
        call = functions.run("run_brief", call).copy()
        assert bool(call["counted"]) is wanted
        if wanted:
            taken.append(one | {"made": now - one["duration"]})
            seen = now
        row = call["fold"]["row"]
        assert (row["folded_count"], call["fold"]["seen"], call["fold"]["busy"]) == (len(taken), seen, 0)
        if taken:
            _counts(row, taken)


def _counts(row: Any, taken: list[dict[str, int]]) -> None:
    event = row["event"]
    for name in ("bytes_sent", "segments_sent", "retransmits"):
        assert event[name] == sum(one[name] for one in taken), name
    assert event["duration"] == max(one["duration"] for one in taken)
    assert event["header"]["ktime"] == min(one["made"] for one in taken)
    assert row["folded_last"] == max(one["made"] for one in taken)


@pytest.mark.parametrize(("age", "counted"), [(2 * _EVERY, True), (2 * _EVERY + 1, False)])
def test_a_row_stands_for_twice_the_time_between_rows(functions: Functions, age: int, counted: bool) -> None:
    """Also where nobody sweeps."""
    call = _given(functions)
    call["fold"]["seen"], call["fold"]["row"]["folded_count"], call["made"] = _NOW, 1, _NOW
    call["fold"]["row"]["event"]["header"]["ktime"] = _NOW - age
    assert bool(functions.run("run_brief", call)["counted"]) is counted


def test_a_fold_of_another_layout_takes_no_more(functions: Functions) -> None:
    """A row that a version before began is not added to: its members may lie elsewhere."""
    for layout, counted in ((_LAYOUT, 1), (_LAYOUT + 1, 0)):
        call = _given(functions)
        call["made"] = _NOW
        call["fold"]["seen"] = call["fold"]["row"]["event"]["header"]["ktime"] = _NOW
        call["fold"]["row"]["folded_count"] = 5
        call["fold"]["row"]["event"]["header"]["layout"] = layout
        found = functions.run("run_brief", call)
        assert (found["counted"], found["fold"]["row"]["folded_count"]) == (counted, 5 + counted)


def test_who_comes_second_goes_another_way(functions: Functions) -> None:
    """While another processor writes the fold, a connection keeps its own rows, and nothing is changed."""
    call = _given(functions)
    call["fold"]["seen"], call["fold"]["busy"] = _NOW, 1
    found = functions.run("run_brief", call)
    assert not found["counted"] and np.array_equal(found["fold"], call["fold"])
