"""Fifty thousand connections in a burst: each row of them is recorded or counted as lost."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed, compiled
from tests.networks import Namespace, TestNetworks

pytestmark = [pytest.mark.counts_losses, pytest.mark.landing("bursts of 50,000")]


NUMBER = 50_000
#: Of the listener's socket: `listen` and `close`.
_LISTENER = 2
_WHOSE = "SELECT DISTINCT coalesce(flag_names, '') LIKE '%INCOMING%' AS server, pid, opener_tgid, exe FROM connection"
#: `ip` executed and then the program, which forked; both of its processes exited.
_PROCESS = {"exec": 2, "fork": 1, "exit": 2}
FOLDING = "[folding]\nconnections = true\nmost_ms = 5000\nevery_seconds = 1\n"


def _burst(cgroup: TestCgroup, folder: Path) -> tuple[int, ...]:
    """Run it in a network namespace of its own, until the last of its sockets has ended; what it counted."""
    program, truth = compiled("burst", folder), folder / "truth"
    with TestNetworks() as networks:
        alone = networks.add("alone")
        assert cgroup.run([*alone.within, str(program), str(truth), str(NUMBER)]).wait() == 0
        while _alive(alone):
            os.sched_yield()
    return struct.unpack("6l", truth.read_bytes())


def _alive(namespace: Namespace) -> str:
    """Its TCP sockets that wait for more than the time to pass."""
    return namespace.run("ss", "-Htan", "exclude", "time-wait")


def _observed(
    history: Path, cgroup: TestCgroup, ring_bytes: int, patch: pytest.MonkeyPatch, folding: str = ""
) -> Observed:
    """Without canaries, which the truth does not count."""
    configured(history.parent, patch, f"ring_bytes = {ring_bytes}\ncanary_seconds = 0\n{folding}")
    return Observed(history, [cgroup.path])


def _sizes(observed: Observed) -> dict[tuple[str, bool], int]:
    """Rows of connections by event and whether the server's side."""
    query = "SELECT event, flag_names LIKE '%INCOMING%' AS server, count(*) AS n FROM connection GROUP BY ALL"
    return {(row["event"], bool(row["server"])): row["n"] for row in observed.rows(query)}


def _processes(observed: Observed) -> list[tuple[int, int]]:
    """Of each fork the parent and the child."""
    return [(row["parent_tgid"], row["pid"]) for row in observed.rows("SELECT * FROM process WHERE event = 'fork'")]


def test_a_ring_that_is_large_enough_loses_none(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four rows for each connection, each of its own socket, with both processes and every byte; nothing is lost."""
    with _observed(history, cgroup, 128 << 20, monkeypatch) as observed:
        truth = _burst(cgroup, tmp_path)
    assert truth == (NUMBER, NUMBER, NUMBER, NUMBER, 8 * NUMBER, 8 * NUMBER)
    assert observed.lost() == 0
    assert _sizes(observed) == {
        ("listen", False): 1,
        ("connect", False): NUMBER,
        ("close", False): NUMBER + 1,
        ("accept", True): NUMBER,
        ("close", True): NUMBER,
    }
    (told,) = observed.rows(
        """SELECT count(DISTINCT cookie) AS sockets, count(DISTINCT (cookie, event)) AS events, sum(bytes_sent) AS sent,
        sum(bytes_received) AS received, count(DISTINCT (local_address, local_port, peer_port)) AS ends FROM connection"""
    )
    assert (told["sockets"], told["events"]) == (2 * NUMBER + 1, 4 * NUMBER + _LISTENER)
    assert (told["sent"], told["received"]) == (16 * NUMBER, 16 * NUMBER) and told["ends"] > NUMBER
    ((parent, child),) = _processes(observed)
    program = str(tmp_path / "burst")
    assert {tuple(row.values()) for row in observed.rows(_WHOSE)} == {
        (False, parent, None, program),
        (True, child, parent, program),
    }


def test_a_ring_that_is_too_small_loses_none_uncounted(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """produced = recorded + counted lost, exactly, where far more comes than the ring holds between two looks."""
    with _observed(history, cgroup, 65536, monkeypatch) as observed:
        truth = _burst(cgroup, tmp_path)
    produced = sum(truth[:4]) + _LISTENER
    (found,) = observed.rows(
        """SELECT (SELECT count(*) FROM connection) AS connections, (SELECT count(*) FROM process) AS processes,
        (SELECT coalesce(sum(events), 0) FROM loss WHERE cause IN ('sequence_gap', 'open_tail', 'recursion_miss')) AS lost,
        (SELECT count(DISTINCT (ring, cpu, seq)) FROM connection) AS numbers"""
    )
    assert produced == 4 * NUMBER + _LISTENER and found["lost"] > 0, "the ring was never full"
    assert found["numbers"] == found["connections"], "a record stands there twice"
    assert found["connections"] + found["processes"] + found["lost"] == produced + sum(_PROCESS.values())


@pytest.mark.parametrize("ring_bytes", [128 << 20, 65536], ids=("large", "small"))
def test_where_they_fold_none_is_lost_uncounted(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ring_bytes: int
) -> None:
    """produced = recorded + folded + counted lost, exactly, though both processors count the same kinds at once; every byte is there."""
    require.folding()
    with _observed(history, cgroup, ring_bytes, monkeypatch, FOLDING) as observed:
        assert _burst(cgroup, tmp_path)[:4] == (NUMBER, NUMBER, NUMBER, NUMBER)
    (found,) = observed.rows(
        """SELECT count(*) FILTER (event <> 'folded') AS own, coalesce(sum(folded_count), 0)::BIGINT AS folded, count(*) AS rows,
        count(DISTINCT (ring, cpu, seq)) AS numbers, coalesce(sum(bytes_sent), 0)::BIGINT AS sent,
        coalesce(sum(bytes_received), 0)::BIGINT AS received,
        (SELECT count(*) FROM process) AS processes, (SELECT coalesce(sum(events), 0)::BIGINT FROM loss
            WHERE cause IN ('sequence_gap', 'open_tail', 'recursion_miss')) AS lost FROM connection"""
    )
    assert found["own"] + 2 * found["folded"] + found["processes"] + found["lost"] == (
        4 * NUMBER + _LISTENER + sum(_PROCESS.values())
    ), found
    assert found["numbers"] == found["rows"] and found["folded"] > NUMBER
    if not found["lost"]:
        assert (found["sent"], found["received"]) == (16 * NUMBER, 16 * NUMBER)
    assert not (found["lost"] and ring_bytes > 65536)
