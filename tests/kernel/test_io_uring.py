"""What is done through io_uring leaves the rows that system calls leave."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import require
from tests.kernel.live import Live, flags
from tests.kernel.observed import compiled

pytestmark = pytest.mark.xdist_group("pool")

#: Columns that must not differ; `whose` and `opener` stand for process ids.
_SAME = (
    "event",
    "transport",
    "outcome",
    "error",
    "bytes_sent",
    "bytes_received",
    "exe",
    "peer_address",
    "cap_permitted",
    "cap_effective",
    "uid",
    "cgroup_path",
    "ns_net",
)
_SOCKETS = {"connected": 2, "accepted": 2, "refused": 1, "sent": 1, "datagrams": 1, "unix": 1}


def _conversation(live: Live, folder: Path, how: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of the program's sockets, by what each is: what must not differ, and who of its two processes did it."""
    program = compiled("uring", folder)
    command = [*live.near.within, str(program), how, str(folder)]
    run = live.cgroup.run(command, stdout=subprocess.PIPE)
    assert run.stdout is not None
    lines = [line.split() for line in run.stdout.read().decode().splitlines()]
    assert run.wait() == 0
    cookies = {what: int(cookie) for _, what, cookie in lines}
    owners = {int(pid): "client" if int(pid) == run.pid else "server" for pid, _, _ in lines}
    assert cookies.keys() == _SOCKETS.keys() and sorted(owners.values()) == ["client", "server"]
    rows = live.rows({cookies[what]: number for what, number in _SOCKETS.items()})
    return {what: [_portrait(row, owners) for row in rows[cookie]] for what, cookie in cookies.items()}


def _portrait(row: dict[str, Any], owners: dict[int, str]) -> dict[str, Any]:
    same = {name: row[name] for name in _SAME}
    return same | {"whose": owners[row["pid"]], "opener": owners.get(row["opener_tgid"]), "flags": flags(row)}


@pytest.mark.parametrize("how", ["ring", "worker", "poll"])
def test_the_same_rows_as_by_system_calls(live: Live, tmp_path: Path, how: str) -> None:
    """Connect, accept, send, receive and close, whichever of the process's threads in the kernel does them."""
    require.io_uring()
    plain = _conversation(live, tmp_path, "plain")
    told = {
        what: [(row["event"], row["whose"], row["bytes_sent"], row["bytes_received"]) for row in rows]
        for what, rows in plain.items()
    }
    assert told["connected"] == [("connect", "client", 0, 0), ("close", "client", 1_000_000, 3)]
    assert told["accepted"] == [("accept", "server", 0, 0), ("close", "server", 3, 1_000_000)]
    assert (told["sent"], told["unix"]) == ([("close", "client", 1200, 0)], [("connect", "client", 0, 0)])
    assert told["datagrams"][0][2:] == (0, 1200) and plain["refused"][0]["outcome"] == "refused"
    assert _conversation(live, tmp_path, how) == plain
