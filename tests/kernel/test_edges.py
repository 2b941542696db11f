"""The edges of the network record, live: what a program does to be seen by no row, or by a wrong one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import packets, require
from tests.kernel.agent import Agent, connected, listening
from tests.kernel.live import Live, configured_live, flags
from tests.packets import prefixed, question

pytestmark = pytest.mark.xdist_group("pool of edges")

IDLE = 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One observer for the module: flows end after two idle seconds, and the far end is the resolver."""
    require.bpf()
    settings = f"[network]\nflow_idle_seconds = {IDLE}\nresolvers = ['10.9.1.2', 'fd09:1::2']\n"
    with configured_live(tmp_path_factory.mktemp("live"), settings) as made:
        yield made


@pytest.fixture
def live(shared: Live) -> Iterator[Live]:
    """The module's observer; the processes that a test starts in it end with the test."""
    yield shared
    shared.part()


def _serving(live: Live, family: str = "AF_INET6") -> tuple[Agent, int]:
    """A far agent with a datagram socket `u` on every address, and its port."""
    server = live.agent(live.far)
    port: int = server.do(f"u = socket.socket(socket.{family}, socket.SOCK_DGRAM); u.bind(('', 0)); u.getsockname()[1]")
    return server, port


def _asked(live: Live, cookie: int, least: int = 1) -> list[dict[str, Any]]:
    return live.observed.wait(f"SELECT * FROM name WHERE cookie = {cookie} ORDER BY ktime, name", least)


def _heads(live: Live, cookie: int) -> list[dict[str, Any]]:
    return live.observed.wait(f"SELECT * FROM request WHERE cookie = {cookie}")


def _sent(client: Agent, live: Live, port: int, pieces: list[bytes]) -> int:
    """The cookie of a new connection on which these are sent, each by a segment of its own, and which is closed."""
    cookie = connected(client, live.there, port)
    client.do("s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)")
    for piece in pieces:
        client.do(f"s.sendall(bytes.fromhex('{piece.hex()}'))")
    client.do("s.close()")
    return cookie


def _sink(live: Live, port: int = 0) -> int:
    """A far listener whose connections a thread reads to their end; its port."""
    server = live.agent(live.far)
    return int(
        server.do(
            f"""
            import threading
            l = socket.create_server(('', {port}), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
            def drain(c):
                while c.recv(1 << 16): pass
                c.close()
            def serve():
                while True: threading.Thread(target=drain, args=(l.accept()[0],), daemon=True).start()
            threading.Thread(target=serve, daemon=True).start()
            l.getsockname()[1]
            """
        )
    )


# ---- 14: a connected datagram socket that sends elsewhere ----


@pytest.mark.parametrize(
    ("family", "to", "elsewhere", "shown"),
    [
        ("AF_INET", "10.9.1.77", "10.9.1.2", ("10.9.1.2", "10.9.1.77")),
        ("AF_INET6", "fd09:1::77", "fd09:1::2", ("fd09:1::2", "fd09:1::77")),
        ("AF_INET6", "::ffff:10.9.1.77", "::ffff:10.9.1.2", ("10.9.1.2", "10.9.1.77")),
    ],
    ids=["IPv4", "IPv6", "mapped"],
)
@pytest.mark.parametrize("by", ["sendto", "sendmsg", "MSG_MORE"])
def test_a_connected_socket_that_sends_elsewhere(
    live: Live, family: str, to: str, elsewhere: str, shown: tuple[str, str], by: str
) -> None:
    """The row names whom the datagram went to, with whom the socket is connected to beside it; what goes there has a flow of its own."""
    _, port = _serving(live)
    client = live.agent()
    sends = {
        "sendto": f"u.sendto(b'12345', ('{elsewhere}', {port}))",
        "sendmsg": f"u.sendmsg([b'12', b'345'], [], 0, ('{elsewhere}', {port}))",
        "MSG_MORE": f"u.sendto(b'12', socket.MSG_MORE, ('{elsewhere}', {port})); u.send(b'345')",
    }
    cookie = client.do(
        f"""
        u = socket.socket(socket.{family}, socket.SOCK_DGRAM); u.connect(('{to}', 9))
        u.send(b'to whom it is connected')
        {sends[by]}
        cookie(u)
        """
    )
    client.do("u.close()")
    rows = {row["peer_port"]: row for row in live.rows({cookie: 2})[cookie]}
    there, named = rows[port], rows[9]
    assert (there["peer_address"], there["bytes_sent"]) == (shown[0], 5)
    assert (there["connected_address"], there["connected_port"]) == (shown[1], 9)
    assert (named["peer_address"], named["connected_address"], named["connected_port"]) == (shown[1], None, None)


def test_a_question_that_goes_elsewhere(live: Live) -> None:
    """Connected to no resolver and no port of DNS: its row names the server that it went to."""
    client = live.agent()
    cookie = client.do(
        f"""
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(("10.9.1.77", 9))
        u.sendto(bytes.fromhex('{question("elsewhere.example.").hex()}'), ('{live.there}', 53))
        cookie(u)
        """
    )
    (row,) = [row for row in _asked(live, cookie) if row["event"] == "question"]
    assert (row["name"], row["peer_address"], row["peer_port"], row["marks"]) == (
        "elsewhere.example",
        live.there,
        53,
        None,
    )


def test_a_send_that_failed_is_not_believed(live: Live) -> None:
    """An address that a send named in vain says nothing of the next one."""
    client = live.agent()
    cookie = client.do(
        f"""
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', 9))
        try: u.sendto(b'.', ('192.0.2.1', 99))
        except OSError: pass
        u.send(b'.'); n = cookie(u); u.close(); n
        """
    )
    (row,) = live.life(cookie, "close")
    assert (row["peer_address"], row["peer_port"], row["connected_address"]) == (live.there, 9, None)


# ---- 16: DNS over TCP, however long ----


def test_names_on_a_long_connection(live: Live) -> None:
    """Questions behind 64 KiB, and behind many more, of one connection, each a row: small ones, and many in one write."""
    port = _sink(live, 53)
    client = live.agent()
    cookie = connected(client, live.there, port)
    many = prefixed(
        *(question(f"n{number}.{'x' * 60}.{'y' * 60}.{'z' * 60}.example.", number=number) for number in range(1, 401))
    )
    assert len(many) > 1 << 16
    client.do(f"s.sendall(bytes.fromhex('{many.hex()}'))")
    for number in (1, 2):
        client.do(f"s.sendall(bytes.fromhex('{prefixed(question(f'late{number}.example.', number=number)).hex()}'))")
    client.do("s.close()")
    found = live.observed.wait(
        f"SELECT name, marks FROM name WHERE cookie = {cookie} AND event = 'question' AND direction = 'out'", 402
    )
    assert {row["name"] for row in found} >= {"late1.example", "late2.example"} and len(found) == 402
    assert {row["marks"] for row in found} <= {None, "TUNNEL"}


# ---- 17: a ClientHello in any cuts ----


def _records(wire: bytes, size: int) -> list[bytes]:
    """A ClientHello's record as several, of at most `size` bytes of the handshake each."""
    message = wire[5:]
    return [
        wire[:3] + len(message[at : at + size]).to_bytes(2, "big") + message[at : at + size]
        for at in range(0, len(message), size)
    ]


def _hellos() -> dict[str, list[bytes]]:
    wire, long = packets.hello(sni="split.example"), _long_hello()
    return {
        "records apart": _records(wire, 50),
        "records of one byte": [b"".join(_records(wire, 1))],
        "the first record of one byte, apart": [_records(wire, 1)[0], b"".join(_records(wire[:5] + wire[6:], 4000))],
        "one write of many records": [b"".join(_records(wire, 90))],
        "bytes apart": [wire[:1], wire[1:4], wire[4:7], wire[7:]],
        "long in one write": [long],
        "long in records apart": _records(long, 3000),
        "behind an empty record": [wire[:3] + bytes(2), wire],
        "behind an alert": [b"\x15\x03\x01\0\x02\x01\x5a" + wire],
    }


def _long_hello() -> bytes:
    """One of over 4,095 bytes, its server name behind these (an extension for padding before it, RFC 7685)."""
    wire = packets.hello(sni="split.example")
    at = 5 + 4 + 2 + 32
    at += 1 + wire[at]
    at += 2 + int.from_bytes(wire[at : at + 2], "big")
    at += 1 + wire[at]
    padding = b"\0\x15" + (6000).to_bytes(2, "big") + bytes(6000)
    extensions = padding + wire[at + 2 :]
    body = wire[9:at] + len(extensions).to_bytes(2, "big") + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return wire[:3] + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize("how", list(_hellos()))
def test_a_hello_has_its_name(live: Live, how: str) -> None:
    """Whatever its records and writes: the server's name, and nothing that says something is missing."""
    cookie = _sent(live.agent(), live, _sink(live), _hellos()[how])
    (row,) = _heads(live, cookie)
    assert (row["event"], row["sni"], row["marks"], row["reason"]) == ("tls", "split.example", None, None)


# ---- 18: what servers accept before and in a request line ----


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\r\nGET /edge HTTP/1.1\r\nHost: edge.example\r\n\r\n"],
        [b"\r\n\n\n", b"GET /edge HTTP/1.1\r\nHost: edge.example\r\n\r\n"],
        [b"\n" * 9000 + b"GET /edge HTTP/1.1\r\nHost: edge.example\r\n\r\n"],
        [b"get /edge HTTP/1.1\r\nHost: edge.example\r\n\r\n"],
        [b"g", b"et /edge HTTP/1.1\r\nHost: edge.example\r\n\r\n"],
        [b"M-SEARCH   /edge HTTP/1.9\r\nHost: edge.example\r\n\r\n"],
        [b"GET http://edge.example/edge\r\n"],
        [b"GET /edge HTTP/1.1\r\nCookie: " + b"c" * 6000 + b"\r\nHost: edge.example\r\n\r\nbody"],
    ],
    ids=[
        "CRLF",
        "CRLF apart",
        "9,000 lines",
        "lower case",
        "one letter",
        "another method",
        "HTTP/0.9",
        "a long header",
    ],
)
def test_a_request_is_a_row(live: Live, pieces: list[bytes]) -> None:
    """Host and path of what nginx, Apache, Node or Go's server would serve."""
    cookie = _sent(live.agent(), live, _sink(live), pieces)
    (row,) = _heads(live, cookie)
    assert (row["event"], row["host"], row["url_path"], row["marks"]) == ("http", "edge.example", "/edge", None)


# ---- 19: many datagrams in one send ----

_UDP_SEGMENT = 103


def test_segmented_datagrams(live: Live) -> None:
    """UDP_SEGMENT: each question of one send has its row, at both ends, and each datagram counts."""
    server = live.agent(live.far)
    theirs = server.do("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 53)); cookie(u)")
    asked = [question(f"segment{number}.example.", number=number) for number in range(1, 5)]
    assert len({len(one) for one in asked}) == 1
    client = live.agent()
    cookie = client.do(
        f"""
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', 53))
        u.setsockopt(socket.IPPROTO_UDP, {_UDP_SEGMENT}, {len(asked[0])})
        u.send(bytes.fromhex('{b"".join(asked).hex()}')); cookie(u)
        """
    )
    server.do("[u.recv(1 << 16) for _ in range(4)]")
    client.do("u.close()")
    server.do("u.close()")
    wanted = [f"segment{number}.example" for number in range(1, 5)]
    for one in (cookie, theirs):
        rows = [row for row in _asked(live, one, 4) if row["event"] == "question"]
        assert [row["name"] for row in rows] == wanted and not any(row["marks"] for row in rows)
    rows = live.rows({cookie: 1, theirs: 1})
    assert rows[cookie][0]["segments_sent"] == rows[theirs][0]["segments_received"] == 4
    assert rows[cookie][0]["bytes_sent"] == rows[theirs][0]["bytes_received"] == 4 * len(asked[0])


# ---- 20: headers before the transport's ----

_HOP, _DESTINATION = 54, 59  # IPV6_HOPOPTS, IPV6_DSTOPTS
_OPTIONS = bytes([0, 0, 1, 4, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "options", [[_HOP], [_DESTINATION], [_HOP, _DESTINATION]], ids=["hop by hop", "destination", "both"]
)
def test_extension_headers(live: Live, options: list[int]) -> None:
    """IPv6: ports, names and heads are read behind them, at both ends."""
    server = live.agent(live.far)
    theirs = server.do("u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('', 53)); cookie(u)")
    port = _sink(live)
    client = live.agent()
    setting = "; ".join(f"u.setsockopt(socket.IPPROTO_IPV6, {one}, bytes({list(_OPTIONS)}))" for one in options)
    cookie = client.do(
        f"""
        u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); {setting}; u.connect(('{live.there6}', 53))
        u.send(bytes.fromhex('{question("extended.example.").hex()}')); cookie(u)
        """
    )
    local = client.do("u.getsockname()[1]")
    server.do("u.recv(512)")
    stream = client.do(
        f"""
        u.close(); u = socket.socket(socket.AF_INET6); {setting}; u.connect(('{live.there6}', {port}))
        u.sendall(b'GET /x HTTP/1.1\\r\\nHost: extended.example\\r\\n\\r\\n'); n = cookie(u); u.close(); n
        """
    )
    server.do("u.close()")
    (sent,), (received,) = (live.rows({cookie: 1, theirs: 1})[one] for one in (cookie, theirs))
    assert (sent["peer_address"], sent["peer_port"], sent["local_port"]) == (live.there6, 53, local)
    assert (received["peer_address"], received["peer_port"], received["local_port"]) == (live.here6, local, 53)
    assert not flags(sent) and flags(received) == {"INCOMING"}
    assert sent["bytes_sent"] == received["bytes_received"] == len(question("extended.example."))
    for one in (cookie, theirs):
        assert {row["name"] for row in _asked(live, one)} == {"extended.example"}
    assert [row["host"] for row in _heads(live, stream)] == ["extended.example"]


def test_options_of_ipv4(live: Live) -> None:
    """Before the ports: they are read behind them."""
    _, port = _serving(live)
    client = live.agent()
    cookie = client.do(
        f"""
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        u.setsockopt(socket.IPPROTO_IP, 4, bytes([1, 1, 1, 0]))
        u.connect(('{live.there}', {port})); u.send(b'12345'); n = cookie(u); u.close(); n
        """
    )
    (row,) = live.life(cookie, "close")
    assert (row["peer_port"], row["bytes_sent"], flags(row)) == (port, 5, set())


# ---- 21: an attempt that the network refuses while it is made ----


@pytest.mark.parametrize(
    ("rejected", "outcome", "error"),
    [
        ("icmp-port-unreachable", "refused", 111),
        ("icmp-host-unreachable", "unreachable", 113),
        ("icmp-net-unreachable", "unreachable", 101),
    ],
)
def test_a_connect_that_is_refused_at_once(live: Live, rejected: str, outcome: str, error: int) -> None:
    """Not blocking, by a rule of the own machine, as of a service without endpoints, and given up: it was refused, not aborted."""
    rule = ["OUTPUT", "-d", "192.0.2.9", "-p", "tcp", "-j", "REJECT", "--reject-with", rejected]
    live.near.ip("route", "replace", "192.0.2.9/32", "via", live.there)
    live.near.run("iptables", "-A", *rule)
    try:
        client = live.agent()
        cookie = client.do(
            "s = socket.socket(); s.setblocking(False); e = s.connect_ex(('192.0.2.9', 80)); n = cookie(s); s.close(); n"
        )
        (row,) = live.life(cookie, "connect")
    finally:
        live.near.run("iptables", "-D", *rule)
    assert (row["outcome"], row["error"], row["peer_port"]) == (outcome, error, 80)


def test_given_up_without_an_answer(live: Live) -> None:
    """Where nobody said anything it is aborted, and has no error."""
    rule = ["OUTPUT", "-d", "192.0.2.8", "-p", "tcp", "-j", "DROP"]
    live.near.ip("route", "replace", "192.0.2.8/32", "via", live.there)
    live.near.run("iptables", "-A", *rule)
    try:
        cookie = live.agent().do(
            "s = socket.socket(); s.setblocking(False); s.connect_ex(('192.0.2.8', 80)); n = cookie(s); s.close(); n"
        )
        (row,) = live.life(cookie, "connect")
    finally:
        live.near.run("iptables", "-D", *rule)
    assert (row["outcome"], row["error"]) == ("aborted", None)


def test_a_reset_after_the_peers_end(live: Live) -> None:
    """The peer closes, and refuses what is sent then: that is a reset as well (EPIPE)."""
    server, client = live.agent(live.far), live.agent()
    port, _ = listening(server)
    cookie = connected(client, live.there, port)
    server.do("c = l.accept()[0]; c.close()")
    client.do("assert s.recv(1) == b''; s.sendall(b'.')")
    client.do(
        """
        import select, errno
        p = select.poll(); p.register(s, select.POLLERR); p.poll(5000)
        s.close()
        """
    )
    *_, closed = live.life(cookie, "connect", "close")
    assert (closed["outcome"], closed["error"]) == ("reset", 32)


# ---- 15: who only writes ----


@pytest.mark.parametrize("how", ["inherited", "passed"])
def test_a_holder_that_only_writes(live: Live, how: str) -> None:
    """A connection goes to a process that reads nothing: `taken` names it at its first write, also long after the head."""
    port = _sink(live)
    client = live.agent()
    cookie = connected(client, live.there, port)
    client.do("s.sendall(b'GET / HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n'); s.sendall(b'mine')")
    if how == "inherited":
        taker = client.do(
            """
            child = os.fork()
            if not child:
                s.sendall(b'written by another'); os._exit(0)
            os.waitpid(child, 0)
            child
            """
        )
    else:
        other = live.agent()
        taker = other.pid
        other.do("u = socket.socket(socket.AF_UNIX); u.bind(chr(0) + f'firsthand-test-{os.getpid()}'); u.listen()")
        client.do(f"u = socket.socket(socket.AF_UNIX); u.connect(chr(0) + 'firsthand-test-{other.pid}')")
        client.do("socket.send_fds(u, [b'.'], [s.fileno()])")
        other.do(
            "t = socket.socket(fileno=socket.recv_fds(u.accept()[0], 1, 1)[1][0]); t.sendall(b'written by another')"
        )
        other.do("t.close()")
    client.do("s.close()")
    rows = live.observed.wait(f"SELECT * FROM connection WHERE cookie = {cookie} AND event = 'taken' ORDER BY ktime")
    assert (rows[0]["pid"], rows[0]["opener_tgid"]) == (taker, client.pid)


# ---- 22: flows end with their socket ----


def test_twenty_peers_end_with_their_socket(live: Live) -> None:
    """Each flow of a socket ends when it is closed, at the moment of its last datagram; nothing of it is idle."""
    _, port = _serving(live)
    client = live.agent()
    cookie = client.do(
        f"""
        import time; u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for number in range(20): u.sendto(b'.', ('10.9.1.2', {port} if not number else 10000 + number))
        sent = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        n = cookie(u); u.close(); n
        """
    )
    rows = live.rows({cookie: 20})[cookie]
    assert {row["event"] for row in rows} == {"close"} and not any(flags(row) for row in rows)
    assert len({row["peer_port"] for row in rows}) == 20
    began, sent = client.do("(began, sent)")
    for row in rows:
        assert began < row["ktime"] - row["duration"] < row["ktime"] < sent


def test_a_duration_without_the_time_that_was_idle(live: Live) -> None:
    """A flow that is told when nothing more came ends with its last datagram, and lasted until then."""
    _, port = _serving(live)
    client = live.agent()
    cookie = client.do(
        f"u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', {port})); u.send(b'.'); cookie(u)"
    )
    sent = client.do("import time; u.send(b'.'); time.clock_gettime_ns(time.CLOCK_BOOTTIME)")
    began, ended = live.life(cookie, "connect", "close")
    assert flags(ended) == {"IDLE", "BEGUN"} and ended["ktime"] < sent
    assert (
        0 < ended["duration"] < 1_000_000_000
        and ended["ktime"] - ended["duration"] == began["ktime"] - began["duration"]
    )


# ---- 24: questions without an answer ----


def test_nobody_answers(live: Live) -> None:
    """After five seconds a question has a row that says so, of its own moment and process; one that is answered has none."""
    server = live.agent(live.far)
    server.do("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 53))")
    client = live.agent()
    lost, found = question("lost.example.", number=7), question("found.example.", number=8)
    cookie = client.do(
        f"""
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', 53))
        u.send(bytes.fromhex('{lost.hex()}')); u.send(bytes.fromhex('{found.hex()}')); cookie(u)
        """
    )
    server.do(
        f"""
        u.recv(512); _, to = u.recvfrom(512)
        u.sendto(bytes.fromhex('{packets.answer(found, ("found.example.", 5, "A", ["192.0.2.1"])).hex()}'), to)
        """
    )
    client.do("u.recv(512)")
    (row,) = live.observed.wait(f"SELECT * FROM name WHERE cookie = {cookie} AND event = 'unanswered'")
    rows = _asked(live, cookie, 4)
    (asked,) = [one for one in rows if one["name"] == "lost.example" and one["event"] == "question"]
    assert (row["name"], row["type"], row["query_id"], row["pid"]) == ("lost.example", "A", 7, client.pid)
    assert (row["ktime"], row["peer_address"], row["rcode"]) == (asked["ktime"], live.there, None)
    assert [one["event"] for one in rows if one["name"] == "found.example"] == ["question", "answer"]
