"""Sockets that go from one process to another: who has a connection is who uses it, and who had it before stays known."""

from __future__ import annotations

import pytest

from tests.kernel.agent import Agent, connected, listening
from tests.kernel.live import Live, flags
from tests.networks import Namespace

pytestmark = pytest.mark.xdist_group("pool")


def _served(live: Live) -> tuple[Agent, int]:
    """A far server whose `c` is the other end of what connects next, and its port."""
    server = live.agent(live.far)
    return server, listening(server)[0]


def _user(row: dict[str, object]) -> tuple[object, ...]:
    return row["event"], row["pid"], row["opener_tgid"]


def test_handed_over_to_another_process(live: Live) -> None:
    """By SCM_RIGHTS: `taken` names the receiver at its first use, the opener is who had it; the end is the receiver's."""
    server, port = _served(live)
    giver, taker = live.agent(), live.agent()
    taker.do("u = socket.socket(socket.AF_UNIX); u.bind(chr(0) + f'firsthand-test-{os.getpid()}'); u.listen()")
    cookie = connected(giver, live.there, port)
    giver.do("s.sendall(b'mine')")
    giver.do(f"u = socket.socket(socket.AF_UNIX); u.connect(chr(0) + 'firsthand-test-{taker.pid}')")
    giver.do("socket.send_fds(u, [b'.'], [s.fileno()]); s.close()")
    taker.do("s = socket.socket(fileno=socket.recv_fds(u.accept()[0], 1, 1)[1][0])")
    server.do("c = l.accept()[0]; assert c.recv(9) == b'mine'; c.sendall(b'yours')")
    taker.do("assert s.recv(9) == b'yours'; s.close()")
    server.do("assert c.recv(9) == b''; c.close()")
    rows = live.life(cookie, "connect", "taken", "close")
    assert [_user(row) for row in rows] == [
        ("connect", giver.pid, None),
        ("taken", taker.pid, giver.pid),
        ("close", taker.pid, giver.pid),
    ]
    assert rows[1]["bytes_sent"] == 4 and (rows[2]["bytes_sent"], rows[2]["bytes_received"]) == (4, 5)
    assert not any(flags(row) for row in rows)


def test_inherited_by_a_fork(live: Live) -> None:
    """A child that goes on with its parent's connection has taken it."""
    server, port = _served(live)
    client = live.agent()
    cookie = connected(client, live.there, port)
    child = client.do(
        """
        child = os.fork()
        if not child:
            s.recv(1)
            os._exit(0)
        s.close()
        child
        """
    )
    server.do("c = l.accept()[0]; c.sendall(b'.'); c.close()")
    client.do("os.waitpid(child, 0)")
    rows = live.life(cookie, "connect", "taken", "close")
    assert [_user(row) for row in rows] == [
        ("connect", client.pid, None),
        ("taken", child, client.pid),
        ("close", child, client.pid),
    ]


def test_a_shell_whose_streams_are_a_socket(live: Live) -> None:
    """A reverse shell: the image that connected is not the one that uses it, which is the shell."""
    server, port = _served(live)
    client = live.agent()
    cookie = connected(client, live.there, port)
    client.begin("[os.dup2(s.fileno(), n) for n in (0, 1, 2)]; os.execv('/bin/sh', ['sh', '-i'])")
    server.do("c = l.accept()[0]; c.sendall(b'echo $((6 * 7)); exit\\n'); f = c.makefile('rb')")
    assert "42" in server.do("f.read().decode()")
    server.do("f.close(); c.close()")
    begun, taken, closed = live.life(cookie, "connect", "taken", "close")
    assert [_user(row) for row in (begun, taken, closed)] == [
        ("connect", client.pid, None),
        ("taken", client.pid, client.pid),
        ("close", client.pid, client.pid),
    ]
    assert taken["exe"] == closed["exe"] == "/usr/bin/dash" != begun["exe"]
    assert (taken["opener_start"], taken["opener_number"]) == (begun["exec_start"], begun["exec_number"])
    assert taken["exec_number"] == begun["exec_number"] + 1
    (shell,) = live.observed.rows(
        f"SELECT * FROM process WHERE event = 'exec' AND exec_id = '{taken['exec_id']}'",
    )
    assert (shell["args"], shell["stdin"], shell["stdout"]) == (["sh", "-i"], "socket", "socket")


def test_used_by_many(live: Live) -> None:
    """The fifth that takes it is not told by a row of its own: the end says SHARED and names the last one told."""
    server, port = _served(live)
    client = live.agent()
    cookie = connected(client, live.there, port)
    server.do("c = l.accept()[0]")
    children = []
    for _ in range(6):
        children.append(
            client.do(
                """
                child = os.fork()
                if not child:
                    s.recv(1)
                    os._exit(0)
                child
                """
            )
        )
        server.do("c.sendall(b'.')")
        client.do("os.waitpid(child, 0)")
    client.do("s.close()")
    server.do("c.close()")
    rows = live.life(cookie, "connect", "taken", "taken", "taken", "taken", "close")
    assert [row["pid"] for row in rows] == [client.pid, *children[:4], children[3]]
    assert flags(rows[-1]) == {"SHARED"} and not any(flags(row) for row in rows[:-1])
    assert rows[-1]["bytes_received"] == 6


def _forked(live: Live, where: Namespace, serves: str) -> tuple[Agent, int, int]:
    """A master that listens, and one worker of it that accepts and serves; its port and the worker's pid."""
    master = live.agent(where)
    port, _ = listening(master)
    worker = master.do(
        f"""
        worker = os.fork()
        if not worker:
            c = l.accept()[0]
            {serves}
            c.close()
            os._exit(0)
        worker
        """
    )
    return master, port, worker


def test_a_worker_accepts_for_its_master(live: Live) -> None:
    """Prefork: the acceptance is the worker's, read first or written first; the opener is the master, which listens."""
    for serves in ("c.recv(9)", "c.sendall(b'welcome'); c.recv(9)"):
        master, port, worker = _forked(live, live.far, serves)
        client = live.agent()
        connected(client, live.there, port)
        local = client.do("s.sendall(b'.'); s.getsockname()[1]")
        master.do("os.waitpid(worker, 0)")
        client.do("s.close()")
        rows = live.observed.wait(f"SELECT * FROM connection WHERE peer_port = {local} ORDER BY ktime", 2)
        assert [_user(row) for row in rows] == [("accept", worker, master.pid), ("close", worker, master.pid)]
        assert [flags(row) for row in rows] == [{"INCOMING"}] * 2


def test_accepted_by_one_served_by_another(live: Live) -> None:
    """A master that accepts and forks for each connection: who serves it is named, whichever way this kernel tells."""
    master, client = live.agent(live.far), live.agent()
    port, _ = listening(master)
    connected(client, live.there, port)
    local = client.do("s.sendall(b'.'); s.getsockname()[1]")
    worker = master.do(
        """
        c = l.accept()[0]
        worker = os.fork()
        if not worker:
            c.recv(9)
            os._exit(0)
        c.close()
        os.waitpid(worker, 0)
        worker
        """
    )
    client.do("s.close()")
    rows = live.observed.wait(
        f"SELECT * FROM connection WHERE peer_port = {local} AND event IN ('accept', 'taken', 'close') ORDER BY ktime",
        2,
    )
    assert rows[-1]["event"] == "close" and rows[-1]["pid"] == rows[-2]["pid"] == worker, (
        master.pid,
        worker,
        [(r["event"], r["pid"], r["ktime"]) for r in rows],
    )
    assert {row["opener_tgid"] for row in rows} == {master.pid}
