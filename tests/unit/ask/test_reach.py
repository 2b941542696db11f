"""ask/reach.py: what is the cluster's own, and to where traffic is expected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.ask.answer import Asked, Window
from firsthand.ask.reach import Reach
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch
from tests import histories

_NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("peer", "names", "expected"),
    [
        ("192.0.2.1", [], True),
        ("192.0.2.2", [], False),
        ("203.0.113.9", [], True),
        ("198.51.100.1", ["api.example"], True),
        ("198.51.100.1", ["www.api.example"], False),
        ("198.51.100.1", ["badapi.example"], False),
        ("198.51.100.1", ["a.b.cdn.example"], True),
        ("198.51.100.1", ["cdn.example"], False),
        ("198.51.100.1", ["other", "api.example"], True),
    ],
)
def test_where_traffic_is_expected(peer: str, names: list[str], expected: bool) -> None:
    """By address, range, name, or any name below one; in either case and with the root's dot."""
    reach = Reach(expected=("192.0.2.1", "203.0.113.0/24", "API.example.", "*.cdn.example"))
    assert reach.expects(peer, names) is expected


def test_nothing_is_expected_where_nothing_is_set() -> None:
    """And a range that is none is the setting's error."""
    assert not Reach().expects("192.0.2.1", ["a.example"])
    with pytest.raises(UsageError, match=r"network\.cluster"):
        _ = Reach(cluster=("10.0.0.0/99",)).ranges


#: Peer, its translation, and who holds the address.
_PEERS = (
    ("10.0.0.7", None, "private"), ("192.0.2.1", None, "external"), ("203.0.113.5", None, "external"), ("10.96.0.1", "192.0.2.9", "external"),
    ("198.51.100.1", None, "pod"), ("127.0.0.1", None, "loopback"), ("224.0.0.1", None, "multicast"), (None, None, None),
)  # fmt: skip


@pytest.mark.parametrize(
    ("cluster", "elsewhere"),
    [
        (Reach().cluster, {"192.0.2.1", "203.0.113.5", "10.96.0.1"}),
        (("203.0.113.0/24",), {"10.0.0.7", "192.0.2.1", "10.96.0.1"}),
        (("0.0.0.0/0",), set()),
        ((), {"10.0.0.7", "192.0.2.1", "203.0.113.5", "10.96.0.1"}),
    ],
)
def test_which_connections_go_elsewhere(tmp_path: Path, cluster: tuple[str, ...], elsewhere: set[str]) -> None:
    """By where they end after translation; what a pod, a service or a node holds is the cluster's, whatever its address."""
    row = {
        "time": _NOW,
        "ktime": 1,
        "node": "n",
        "boot": "b",
        "event": "connect",
        "transport": "tcp",
        "exec_tgid": 1,
        "exec_start": 1,
    }
    rows = [
        row | {"cookie": number, "peer_address": peer, "nat_address": nat, "peer_kind": kind}
        for number, (peer, nat, kind) in enumerate(_PEERS)
    ]
    histories.keep(histories.write(tmp_path, Batch.from_rows("connection", rows)))
    with History(tmp_path).connection() as connection:
        asked = Asked(connection, Window(_NOW - timedelta(hours=1), _NOW + timedelta(hours=1)), [])
        condition, values = Reach(cluster).elsewhere(asked)
        found = asked.rows(f"SELECT peer_address AS peer FROM connection WHERE {condition}", values)
    assert {one["peer"] for one in found} == elsewhere
