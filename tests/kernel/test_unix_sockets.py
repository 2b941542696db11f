"""Connects to unix sockets, live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernel.agent import Agent, RefusedCall
from tests.kernel.live import Live, flags

pytestmark = pytest.mark.xdist_group("pool")


def _serving(agent: Agent, name: str, kind: str = "SOCK_STREAM") -> None:
    agent.do(f"l = socket.socket(socket.AF_UNIX, socket.{kind}); l.bind({name!r})")
    if kind != "SOCK_DGRAM":
        agent.do("l.listen()")


def _connected(agent: Agent, name: str, kind: str = "SOCK_STREAM") -> int:
    cookie: int = agent.do(f"s = socket.socket(socket.AF_UNIX, socket.{kind}); s.connect({name!r}); cookie(s)")
    return cookie


def _told(live: Live, cookie: int, client: Agent) -> dict[str, Any]:
    """The one row of a connect: whose, and that it tells of no addresses."""
    (row,) = live.life(cookie, "connect")
    assert (row["transport"], row["pid"], row["exec_tgid"]) == ("unix", client.pid, client.pid)
    assert (row["local_address"], row["peer_address"], row["peer_port"]) == (None, None, None)
    assert row["ns_net"] == live.near.inode
    return row


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_SEQPACKET", "SOCK_DGRAM"])
def test_a_path(live: Live, tmp_path: Path, kind: str) -> None:
    """The path of the listening end; where the kernel side only has the caller's word for it, that is said."""
    server, client = live.agent(), live.agent()
    _serving(server, str(tmp_path / "door"), kind)
    row = _told(live, _connected(client, str(tmp_path / "door"), kind), client)
    assert row["path"] == str(tmp_path / "door")
    assert flags(row) == {"PATH_RAW"} or (flags(row) == set() and row["peer_tgid"] == server.pid)


def test_a_relative_path(live: Live, tmp_path: Path) -> None:
    """Resolved where the kernel side can, else as the caller gave it, and marked."""
    server, client = live.agent(), live.agent()
    _serving(server, str(tmp_path / "door"))
    client.do(f"os.chdir({str(tmp_path)!r})")
    row = _told(live, _connected(client, "../" + tmp_path.name + "/door"), client)
    raw = (f"../{tmp_path.name}/door", {"PATH_RAW"})
    assert (row["path"], flags(row)) in (raw, (str(tmp_path / "door"), set()))


def test_an_abstract_name(live: Live) -> None:
    """Without its leading NUL, and with any that come later."""
    server, client = live.agent(), live.agent()
    name = f"firsthand-test-{server.pid}\0x"
    _serving(server, f"\0{name}")
    row = _told(live, _connected(client, f"\0{name}"), client)
    assert (row["path"], flags(row) - {"PATH_RAW"}) == (name, {"ABSTRACT"})


def test_longest_names(live: Live) -> None:
    """All that an address can hold of an abstract name."""
    server, client = live.agent(), live.agent()
    _serving(server, "\0" + "n" * 107)
    row = _told(live, _connected(client, "\0" + "n" * 107), client)
    assert row["path"] == "n" * 107 and flags(row) - {"PATH_RAW"} == {"ABSTRACT"}


@pytest.mark.parametrize("length", [1, 20, 108])
def test_a_path_without_an_end(live: Live, tmp_path: Path, length: int) -> None:
    """An address need not end with a NUL, only with its length (unix(7)): nothing is read behind it."""
    server, client = live.agent(), live.agent()
    for agent in (server, client):
        agent.do(f"import ctypes; os.chdir({str(tmp_path)!r}); libc = ctypes.CDLL(None, use_errno=True)")
        agent.do(f"address = struct.pack('H', socket.AF_UNIX) + b'p' * {length}")
        agent.do("s = socket.socket(socket.AF_UNIX)")
    server.do("assert libc.bind(s.fileno(), address, len(address)) == 0; s.listen()")
    client.do("assert libc.connect(s.fileno(), address, len(address)) == 0")
    row = _told(live, client.do("cookie(s)"), client)
    assert row["path"] in ("p" * length, str(tmp_path / ("p" * length)))


def test_from_another_mount_namespace(live: Live, tmp_path: Path) -> None:
    """As a container has it: the path is what the caller's view calls it, or what its own mounts make of it."""
    server, client = live.agent(), live.agent()
    (tmp_path / "host").mkdir()
    (tmp_path / "inside").mkdir()
    _serving(server, str(tmp_path / "host/door"))
    client.do(
        f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x20000) == 0
        assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
        assert libc.mount({str(tmp_path / "host")!r}.encode(), {str(tmp_path / "inside")!r}.encode(), None, 0x1000, None) == 0
        """
    )
    row = _told(live, _connected(client, str(tmp_path / "inside/door")), client)
    raw, resolved = (str(tmp_path / "inside/door"), {"PATH_RAW"}), (str(tmp_path / "host/door"), set())
    assert (row["path"], flags(row)) in (raw, resolved)


def test_nobody_listens(live: Live, tmp_path: Path) -> None:
    """Where only the caller's word is known an attempt is told whether or not it succeeds; else only one that does."""
    client = live.agent()
    cookie = client.do("s = socket.socket(socket.AF_UNIX); cookie(s)")
    with pytest.raises(RefusedCall, match="FileNotFoundError"):
        client.do(f"s.connect({str(tmp_path / 'nobody')!r})")
    _serving(client, str(tmp_path / "door"))
    client.do(f"s.connect({str(tmp_path / 'door')!r})")
    rows = live.observed.wait(f"SELECT * FROM connection WHERE cookie = {cookie} AND path LIKE '%/door'")
    tried = live.observed.rows(f"SELECT * FROM connection WHERE cookie = {cookie} AND path LIKE '%/nobody'")
    assert len(rows) == 1 and [row["outcome"] for row in tried] == [None] * ("PATH_RAW" in flags(rows[0]))
