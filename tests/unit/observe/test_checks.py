"""observe/checks.py: the observer takes reports of the checker, and nothing else."""

from __future__ import annotations

import socket

import pytest

from firsthand.observe.checks import MOST, Checks


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"event": "start"}',
        b'{"event": "same", "path": "/x", "kind": "named", "until": 1, "node": "other"}',
        b'{"event": "same", "path": 5, "kind": "named", "until": 1}',
        b'{"event": "same", "path": "/x", "kind": "named", "until": 1e30}',
        b'{"event": "listed", "path": "/x", "kind": "named", "state": "well", "reason": null}',
    ],
)
def test_what_is_no_report_is_no_row(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """Law: the observer takes no column, type or word but those of the table; what is none prints a message."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    checks = Checks(ours)
    its.send(data or b"\0")
    its.send(b'{"event": "same", "path": "/x", "kind": "named", "until": 1}')
    assert checks.rows() == [{"event": "same", "path": "/x", "kind": "named", "until": 1}]
    assert "what is no report" in capfd.readouterr().err
    its.close()
    assert checks.rows() == [] and checks.rows() == []


def test_one_look_takes_so_many() -> None:
    """Law: however much comes, a look takes at most MOST; the rest waits, in its order."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    checks = Checks(ours)
    with its:
        for number in range(MOST):
            its.send(b'{"event": "same", "path": "/x", "kind": "named", "until": %d}' % number, socket.MSG_DONTWAIT)
        its.send(b'{"event": "beat"}', socket.MSG_DONTWAIT)
        assert [row["until"] for row in checks.rows()] == [*range(MOST)]
        assert checks.rows() == [] and checks.heard
    assert Checks(None).rows() == [] and not Checks(None).heard
