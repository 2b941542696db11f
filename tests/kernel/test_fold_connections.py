"""Equal short connections inside the cluster fold into rows that count them: each is its own rows or one of a count, and none is both."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import asking, require
from tests.kernel import roles
from tests.kernel.agent import Agent, RefusedCall, listening
from tests.kernel.live import Live, flags, living
from tests.kernel.observed import Observed
from tests.kernel.pool import ObserverKind, Watch

pytestmark = pytest.mark.xdist_group("pool of folded connections")

FOLDING = "[folding]\nconnections = true\nmost_ms = 1000\nevery_seconds = 1\n"
MANY = 60
#: What each end's rows tell, and what they count.
_SUMS = """SELECT contains(coalesce(flag_names, ''), 'INCOMING') AS incoming, count(*) FILTER (event IN ('connect', 'accept')) AS begun,
    count(*) FILTER (event = 'close') AS ended, coalesce(sum(folded_count), 0)::BIGINT AS folded,
    sum(bytes_sent) FILTER (event IN ('close', 'folded'))::BIGINT AS sent,
    sum(bytes_received) FILTER (event IN ('close', 'folded'))::BIGINT AS received, count(*) AS rows,
    count(DISTINCT (ring, cpu, seq)) AS numbers
    FROM connection WHERE coalesce(local_port, peer_port) IS NOT NULL AND NOT contains(coalesce(flag_names, ''), 'LISTENING')
    AND event <> 'listen' AND (local_port = {port} OR peer_port = {port}) GROUP BY incoming ORDER BY incoming"""


@pytest.fixture(scope="module", autouse=True)
def folds() -> None:
    """Where the kernel folds."""
    require.folding()


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """A shared observer that folds."""
    return ObserverKind(FOLDING)


def _talk(client: Agent, server: Agent, host: str, port: int, number: int) -> None:
    """So many connections one after another: five bytes there, three back."""
    server.begin(
        f"""
        for _ in range({number}):
            c = l.accept()[0]
            c.recv(9)
            c.sendall(b'abc')
            c.close()
        """
    )
    client.do(
        f"""
        for _ in range({number}):
            s = socket.create_connection(('{host}', {port}))
            s.sendall(b'hello')
            assert s.recv(9) == b'abc' and s.recv(9) == b''
            s.close()
        """
    )
    server.end()


def _agree(observed: Observed, port: int, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each connection is told once at each end, by rows of its own or in a count, with all its bytes. Client's and server's sums."""
    client, server = observed.rows(_SUMS.format(port=port))
    for end, sent, received in ((client, 5, 3), (server, 3, 5)):
        assert end["begun"] == end["ended"] and end["begun"] + end["folded"] == number, (client, server)
        assert (end["sent"], end["received"]) == (sent * number, received * number), (client, server)
        assert end["numbers"] == end["rows"], "a record stands there twice"
    return client, server


def test_each_connection_is_told_once(config: Path, history: Path) -> None:
    """Most fold, at both ends; the sums are the workload's own, and a row has all that one of its own would have."""
    with _pair(history) as (live, server, client, port):
        _talk(client, server, live.there, port, MANY)
        _settled(live.observed, port, MANY)
        _talk(client, server, live.there, port, MANY)
        pids = client.pid, server.pid
        live.part()
    observed = live.observed
    client_sums, server_sums = _agree(observed, port, 2 * MANY)
    assert client_sums["folded"] > MANY and server_sums["folded"] > MANY
    rows = observed.rows("SELECT * FROM connection WHERE event = 'folded'")
    assert len(rows) >= 4, "a row each second at each end"
    for row in rows:
        incoming = "INCOMING" in flags(row)
        assert row["folded_until"] >= row["time"] and row["folded_last"] >= row["ktime"]
        assert row["pid"] == pids[incoming] and row["exe"] and row["cgroup_path"] and row["outcome"] == "closed"
        assert (row["local_port"] if incoming else row["peer_port"]) == port
        assert row["peer_address"] == (live.here if incoming else live.there)
        assert 0 < row["duration"] <= 1_000_000_000 and row["segments_sent"] >= 3 * row["folded_count"]
    assert json.loads(observed.rows("SELECT settings FROM observer WHERE event = 'ready'")[0]["settings"])[
        "folding"
    ] == {
        "processes": False,
        "connections": True,
        "most_ms": 1000,
        "every_seconds": 1,
    }
    _answers_count(history, 2 * MANY)


def _answers_count(history: Path, number: int) -> None:
    """Questions count connections and not rows."""
    told = asking.apart(history, "talkers", "process")["rows"]
    assert sum(row["out"] for row in told) == sum(row["in"] for row in told) == number
    assert sum(row["bytes_sent"] for row in told) == 8 * number
    edges = asking.apart(history, "map", "--all")["rows"]
    assert {(edge["connections"], edge["bytes_sent"], edge["bytes_received"]) for edge in edges} == {
        (number, 5 * number, 3 * number)
    }
    assert asking.apart(history, "connected", "10.9.1.2")["answer"].startswith(
        f"Yes: {number} of {2 * number} connections match"
    )


@contextmanager
def _pair(history: Path) -> Iterator[tuple[Live, Agent, Agent, int]]:
    """An observer, a server that listens, a client, and the port."""
    with living(history) as live:
        server, client = live.agent(live.far), live.agent()
        port, _ = listening(server)
        yield live, server, client, port
        live.part()


def _settled(observed: Observed | Watch, port: int, number: int) -> None:
    """Until all are told."""
    counted = f"SELECT coalesce(sum(coalesce(folded_count, 1)), 0) AS n FROM connection WHERE event IN ('close', 'folded') AND peer_port = {port}"
    observed.wait(f"SELECT 1 WHERE ({counted}) = {number}")


def test_what_goes_elsewhere_never_folds(live: Live) -> None:
    """A peer that is not in the cluster: each connection has its rows, for a beacon is a small one that comes again."""
    server, client = live.agent(live.far), live.agent()
    live.far.ip("addr", "add", "198.51.100.7/32", "dev", "lo")
    live.near.ip("route", "add", "198.51.100.7", "via", live.there)
    port, _ = listening(server)
    _talk(client, server, "198.51.100.7", port, MANY)
    _settled(live.observed, port, MANY)
    told = live.observed.rows(
        f"SELECT event, count(*) AS n FROM connection WHERE peer_port = {port} GROUP BY event ORDER BY event"
    )
    assert told == [{"event": "close", "n": MANY}, {"event": "connect", "n": MANY}]


def test_attempts_that_fail_never_fold(live: Live) -> None:
    """Refused ones have a row each."""
    client = live.agent()
    for _ in range(12):
        with pytest.raises(RefusedCall, match="ConnectionRefusedError"):
            client.do(f"socket.create_connection(('{live.there}', 9))")
    assert len(live.observed.wait("SELECT * FROM connection WHERE peer_port = 9 AND outcome = 'refused'", 12)) == 12


def test_one_that_stays_open_is_told_meanwhile(live: Live) -> None:
    """Equal to those that fold at its beginning, and not short: its beginning is in the record while it is open."""
    server, client = live.agent(live.far), live.agent()
    port, _ = listening(server)
    _talk(client, server, live.there, port, MANY)
    ours = client.do(f"s = socket.create_connection(('{live.there}', {port})); s.sendall(b'hello'); cookie(s)")
    theirs = server.do("c = l.accept()[0]; c.recv(9); cookie(c)")
    for cookie, event in ((ours, "connect"), (theirs, "accept")):
        live.life(cookie, event)
    client.do("s.close()")
    server.do("assert c.recv(9) == b''; c.close()")
    live.life(ours, "connect", "close")
    live.life(theirs, "accept", "close")


def test_one_that_another_process_uses_is_told(live: Live) -> None:
    """Withheld, and then a child writes to it: its beginning comes first, and it does not fold."""
    server, client = live.agent(live.far), live.agent()
    port, _ = listening(server)
    _talk(client, server, live.there, port, MANY)
    ours = client.do(
        f"""
        s = socket.create_connection(('{live.there}', {port}))
        if not os.fork():
            s.sendall(b'hello')
            s.recv(9)
            os._exit(0)
        cookie(s)
        """
    )
    server.do("c = l.accept()[0]; c.recv(9); c.sendall(b'abc')")
    client.do("os.wait()[1]")
    client.do("s.close()")
    server.do("assert c.recv(9) == b''; c.close()")
    query = f"SELECT event FROM connection WHERE cookie = {ours} ORDER BY ktime"
    live.observed.wait(f"{query.replace('ORDER', 'AND event = $$close$$ ORDER')}")
    events = [row["event"] for row in live.observed.rows(query)]
    assert events[:2] == ["connect", "taken"] and events[-1] == "close", events


@pytest.mark.landing("kills and take-overs")
@pytest.mark.counts_losses
def test_none_is_lost_or_doubled_by_kills(config: Path, history: Path) -> None:
    """What is withheld and what is counted outlives the observer: pinned, and taken over by the next one."""
    rounds = 6
    with _pair(history) as (live, server, client, port):
        for begun in range(1, rounds + 1):
            _talk(client, server, live.there, port, MANY)
            os.kill(roles.pids(live.observed.process.pid)["observer"], signal.SIGKILL)
            _talk(client, server, live.there, port, MANY)
            live.observed.wait(f"SELECT 1 WHERE (SELECT count(*) FROM observer WHERE event = 'ready') > {begun}")
    assert _agree(live.observed, port, 2 * rounds * MANY)[0]["folded"] > MANY
