"""history/names/peers.py and peers_sql.py: each address is its own holder's at each moment, nobody's where that is not certain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow
from firsthand.history.names import peers
from firsthand.history.names.peers import AddressHolder, Peers
from firsthand.history.store.connection import History
from tests import histories, profile
from tests.scenes import Scene

COLUMNS = "peer_kind, peer_pod, peer_namespace, peer_workload, peer_name"
SHARED = "10.244.0.9"


def seen(
    directory: Path, columns: str = "peer_kind, peer_pod", where: str = "event = 'connect'"
) -> list[tuple[Any, ...]]:
    """What the view says, in the order of the rows' times."""
    with History(directory).connection() as connection:
        return connection.execute(f"SELECT {columns} FROM connection WHERE {where} ORDER BY time, cookie").fetchall()


def kept(
    directory: Path, columns: str = "peer_kind, peer_pod", where: str = "event = 'connect'"
) -> list[tuple[Any, ...]]:
    """What stands in the segments, without our views."""
    import duckdb

    source = f"read_parquet('{directory}/current/connection/**/*.parquet', union_by_name = true)"
    return duckdb.sql(f"SELECT {columns} FROM {source} WHERE {where} ORDER BY time, cookie").fetchall()


def both(
    scene: Scene, directory: Path, columns: str = "peer_kind, peer_pod", *, each_day: bool = True
) -> list[tuple[Any, ...]]:
    """What is seen of rows in the log, which must be what is frozen into segments, and what is seen of these."""
    scene.write(directory, each_day=each_day)
    live = seen(directory, columns)
    histories.keep(directory)
    assert kept(directory, columns) == live == seen(directory, columns)
    return live


def test_an_address_that_is_taken_over(tmp_path: Path) -> None:
    """Law: each connection names the pod that had the address at its moment, though the next had it within a second."""
    scene = Scene()
    scene.pod("old", SHARED, 0, 10.0, workload="shop/Deployment/old", removed=10.0)
    scene.pod("new", SHARED, 10.4, workload="shop/Deployment/new")
    client = scene.process(None, "/usr/bin/curl")
    for at in (5.0, 9.9, 10.2, 10.5, 20.0):
        scene.connect(client, SHARED, 80, at)
    scene.connect(client, "10.244.0.10", 80, 21.0)
    words = [("pod", "old"), ("pod", "old"), ("private", None), ("pod", "new"), ("pod", "new"), ("private", None)]
    assert both(scene, tmp_path) == words


def test_a_connection_that_outlives_its_peer(tmp_path: Path) -> None:
    """Law: a close names who had the address when the connection began, not who has it now."""
    scene = Scene()
    scene.pod("old", SHARED, 0, 10.0)
    scene.pod("new", SHARED, 10.4)
    scene.connect(scene.process(None, "/usr/bin/curl"), SHARED, 80, 5.0, lasts=30.0)
    scene.write(tmp_path, kept=True)
    assert seen(tmp_path, where="event = 'close'") == kept(tmp_path, where="event = 'close'") == [("pod", "old")]


def test_an_end_that_nobody_told(tmp_path: Path) -> None:
    """Law: the later holder takes the address over, though its runtime has not told the end of the one before."""
    scene = Scene()
    scene.pod("old", SHARED, 0)
    scene.pod("new", SHARED, 10.0)
    client = scene.process(None, "/usr/bin/curl")
    for at in (9.0, 11.0):
        scene.connect(client, SHARED, 80, at)
    assert both(scene, tmp_path) == [("pod", "old"), ("pod", "new")]


def test_the_kernels_word_on_an_end(tmp_path: Path) -> None:
    """Law: a pod whose cgroup is gone holds nothing, while its runtime does not answer."""
    scene = Scene()
    scene.pod("old", SHARED, 0, removed=10.0)
    client = scene.process(None, "/usr/bin/curl")
    for at in (9.0, 11.0):
        scene.connect(client, SHARED, 80, at)
    assert both(scene, tmp_path) == [("pod", "old"), ("private", None)]


def test_two_that_may_be_meant(tmp_path: Path) -> None:
    """Law: an address of two runtimes' networks, or whose beginning is not known, is nobody's while both may have it."""
    scene = Scene()
    scene.pod("one", SHARED, 0, 20.0)
    scene.pod("other", SHARED, 5.0, namespace=None)  # type: ignore[arg-type]
    scene.pod("first", "10.244.0.8", 0, 10.0)
    scene.pod("second", "10.244.0.8", 5.0, sure=False)
    client = scene.process(None, "/usr/bin/curl")
    for at in (4.0, 6.0, 21.0):
        scene.connect(client, SHARED, 80, at)
        scene.connect(client, "10.244.0.8", 80, at)
    assert both(scene, tmp_path) == [
        *(("pod", "one"), ("pod", "first")),
        *(("private", None), ("private", None)),
        *(("pod", "other"), ("pod", "second")),
    ]


def test_after_translation(tmp_path: Path) -> None:
    """Law: who is behind a service is who has the address after translation, and never who has the service's."""
    scene = Scene()
    scene.pod("api", "10.244.0.7", 0, workload="shop/Deployment/api")
    scene.connect(scene.process(None, "/usr/bin/curl"), "10.96.0.20", 80, 1.0, nat=("10.244.0.7", 8080))
    scene.connect(scene.process(None, "/usr/bin/curl"), "10.96.0.20", 80, 2.0)
    assert both(scene, tmp_path, COLUMNS) == [
        ("pod", "api", "shop", "shop/Deployment/api", None),
        ("private", None, None, None, None),
    ]


def test_the_hosts_address_is_no_pods(tmp_path: Path) -> None:
    """Law: pods in the host's network share the node's address, and are not meant by it; told by either it is the node's."""
    scene = Scene()
    scene.node_address("192.168.7.2")
    scene.pod("proxy", "192.168.7.2", 0, host_network=True)
    scene.pod("exporter", "192.168.7.3", 0, host_network=True)
    client = scene.process(None, "/usr/bin/curl")
    for peer in ("192.168.7.2", "192.168.7.3"):
        scene.connect(client, peer, 10250, 1.0)
    assert both(scene, tmp_path, COLUMNS) == [("node", None, None, None, scene.node)] * 2


def test_a_container_in_no_pod(tmp_path: Path) -> None:
    """Law: it holds its address from its start to its end, each time it runs."""
    scene = Scene()
    words = {
        "event": "named",
        "container": "c" * 64,
        "container_name": "db",
        "socket": "/run/docker.sock",
        "workload": "shop/db",
    }
    words |= {"since": scene.at(0), "addresses": ["172.17.0.2"]}
    scene.add("container", 1.1, started=scene.at(1), **words)
    scene.add("container", 10.1, started=scene.at(1), finished=scene.at(10), **words)
    scene.add("container", 20.1, started=scene.at(20), **words)
    client = scene.process(None, "/usr/bin/psql")
    for at in (5.0, 15.0, 25.0):
        scene.connect(client, "172.17.0.2", 5432, at)
    held = ("container", None, None, "shop/db", "db")
    assert both(scene, tmp_path, COLUMNS) == [held, ("private", None, None, None, None), held]


def test_services_of_an_api(tmp_path: Path) -> None:
    """Law: rows that a cluster's API will tell name services and other nodes."""
    scene = Scene()
    told = {"event": "held", "source": "api", "since": scene.at(-5)}
    scene.add("address", 0, kind="service", address="10.96.0.20", name="api", namespace="shop", **told)
    scene.add("address", 0, kind="node", address="192.168.7.9", name="node-9", **told)
    client = scene.process(None, "/usr/bin/curl")
    for peer in ("10.96.0.20", "192.168.7.9"):
        scene.connect(client, peer, 80, 1.0)
    assert both(scene, tmp_path, COLUMNS) == [
        ("service", None, "shop", "shop/Service/api", None),
        ("node", None, None, None, "node-9"),
    ]


@pytest.mark.parametrize(
    ("peer", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("93.184.216.34", "external"),
        ("fd00::5", "private"),
        ("0.0.0.0", None),
    ],
)
def test_what_an_address_is_by_itself(tmp_path: Path, peer: str, kind: str | None) -> None:
    """Law: where nobody is known, the address's own class is told."""
    scene = Scene()
    scene.connect(scene.process(None, "/usr/bin/curl"), peer, 80, 1.0)
    assert both(scene, tmp_path) == [(kind, None)]


def test_another_boot(tmp_path: Path) -> None:
    """Law: what was told in one boot says nothing of another, though no end was told."""
    scene = Scene()
    scene.pod("old", SHARED, 0)
    client = scene.process(None, "/usr/bin/curl")
    scene.boot = "22222222-0000-4000-8000-123456789abc"
    scene.connect(client, SHARED, 80, 50.0)
    scene.rows["connection"] = [row | {"boot": scene.boot} for row in scene.rows["connection"]]
    assert both(scene, tmp_path) == [("private", None)]


def test_nothing_is_believed_for_ever(tmp_path: Path) -> None:
    """Law: a span without an end counts for a day after it was last told, as each day tells all that live."""
    scene = Scene()
    scene.pod("quiet", SHARED, 0)
    quiet = list(scene.rows["pod"])
    scene.pod("told", "10.244.0.8", 0)
    client = scene.process(None, "/usr/bin/curl")
    for hours in (24.5, 26.0):
        scene.connect(client, SHARED, 80, hours * 3600)
        scene.connect(client, "10.244.0.8", 80, hours * 3600)
    scene.each_day()
    scene.rows["pod"] = [row for row in scene.rows["pod"] if row["pod"] != "quiet" or row in quiet]
    words = [("pod", "quiet"), ("pod", "told"), ("private", None), ("pod", "told")]
    assert both(scene, tmp_path, each_day=False) == words


def test_a_holder_that_is_told_later(tmp_path: Path) -> None:
    """Law: a row frozen without its peer has it through the view at once, and in the file when segments are merged."""
    scene = Scene()
    scene.connect(scene.process(None, "/usr/bin/curl"), SHARED, 80, 5.0)
    scene.write(tmp_path, kept=True)
    assert kept(tmp_path) == seen(tmp_path) == [("private", None)]
    later = Scene()
    later.pod("late", SHARED, 1.0, told=60.0)
    later.connect(later.process(None, "/usr/bin/curl"), SHARED, 80, 6.0)
    later.write(tmp_path)
    assert seen(tmp_path) == [("pod", "late")] * 2
    keeper = Keeper(tmp_path, many=2)
    keeper.pass_once(last=True)
    assert kept(tmp_path) == [("private", None), ("pod", "late")]
    keeper.tidy()
    keeper.close()
    assert kept(tmp_path) == seen(tmp_path) == [("pod", "late")] * 2


def test_a_keeper_that_begins_again(tmp_path: Path) -> None:
    """Law: it knows holders, and the ends that the kernel told, of before."""
    from datetime import UTC, datetime, timedelta

    scene = Scene(start=datetime.now(UTC) - timedelta(minutes=1))
    scene.pod("web", SHARED, 0)
    scene.pod("gone", "10.244.0.8", 0, removed=5.0)
    scene.write(tmp_path, kept=True)
    client = scene.process(None, "/usr/bin/curl")
    scene.rows.clear()
    for peer in (SHARED, "10.244.0.8"):
        scene.connect(client, peer, 80, 6.0)
    scene.write(tmp_path, kept=True)
    assert kept(tmp_path) == [("pod", "web"), ("private", None)]


def test_a_seat_for_the_newest(tmp_path: Path) -> None:
    """Law: the least recently told holders go first, and nothing is left of them."""
    found = Peers(most=3)
    scene = Scene()
    for number in range(10):
        scene.pod(f"pod-{number}", f"10.244.1.{number}", number)
    found.learn("pod", _table("pod", scene.rows["pod"]))
    known = [number for number in range(10) if found.holders((scene.node, scene.boot, f"10.244.1.{number}"))]
    assert known == [7, 8, 9] and len(found._at) == len(found._lives) == 3


def _table(table: str, rows: list[dict[str, Any]]) -> Any:
    from firsthand.history.log import ipc
    from firsthand.wire.batch import Batch

    return arrow.conform(table, arrow.read(ipc.to_bytes(Batch.from_rows(table, rows))))


HOLDERS = st.lists(
    st.tuples(
        st.sampled_from(["web", "api", "db"]),
        st.sampled_from([None, "shop"]),
        st.integers(0, 20),
        st.one_of(st.none(), st.integers(0, 30)),
        st.booleans(),
        st.booleans(),
        st.one_of(st.none(), st.integers(0, 30)),
    ),
    max_size=5,
)


@settings(
    max_examples=len(profile.some(range(100), ci=10, quick=3)),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(HOLDERS, st.booleans())
def test_one_rule_in_two_words(tmp_path_factory: pytest.TempPathFactory, told: list[Any], a_node: bool) -> None:
    """Law: what the keeper freezes is what the view says, whatever was told."""
    scene = Scene()
    for name, namespace, since, lasts, sure, host, removed in told:
        until = None if lasts is None else since + lasts
        scene.pod(
            name, SHARED, since, until, namespace=namespace, sure=sure, host_network=host and a_node, removed=removed
        )
    client = scene.process(None, "/usr/bin/curl")
    for at in range(0, 40, 2):
        scene.connect(client, SHARED, 80, at + 0.5, lasts=3.1)
    both(scene, tmp_path_factory.mktemp("history"), COLUMNS)


SPANS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=6)


@given(SPANS, st.integers(0, 20))
def test_spans_say_what_each_moment_says(found: list[Any], moment: int) -> None:
    """Law: the spans by which rows are filled name at every moment the one who alone may be meant."""
    holders = [AddressHolder("n", f"pod {name}", ("pod", name), b, b + size, sure) for name, b, size, sure in found]
    begins, words = peers.spans(holders)
    from bisect import bisect_right

    place = bisect_right(begins, moment) - 1
    told = words[place] if place >= 0 else None
    there = {one.words for one in peers.meant(holders, moment)}
    assert told == (next(iter(there)) if len(there) == 1 else None)
