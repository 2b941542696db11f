"""history/names/names.py: names are frozen into segments, join later ones through the view, and reach kept rows at compaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow
from firsthand.history.log.log import LogWriter
from firsthand.history.names import names
from firsthand.history.names.names import Names
from firsthand.history.store.connection import History
from firsthand.history.store.manifest import load
from firsthand.wire.batch import Batch

FIRST, SECOND, POD = "a" * 64, "b" * 64, "11111111-2222-3333-4444-555555555555"
HOUR = 3_600_000_000
NOW = 1_780_000_000_000_000


def process(container: str | None, time: int = NOW, **more: Any) -> dict[str, Any]:
    """A row of `process` as the observer writes it: without names."""
    return {"time": time, "node": "n", "event": "exec", "container": container, "exe": "/bin/x", **more}


def named(
    container: str, pod: str, name: str | None = "app", since: int = NOW - HOUR, told: int = NOW, **more: Any
) -> dict[str, Any]:
    """A row of `container` as the follower writes it."""
    words = {"pod": pod, "namespace": "shop", "container_name": name, "image": "img"}
    return {"time": told, "node": "n", "event": "named", "container": container, "since": since, **words, **more}


class Written:
    """A history with both logs open, and a keeper."""

    def __init__(self, directory: Path, grace: float = 0.0) -> None:
        self.directory = directory
        self.log = LogWriter(directory, "n", "b")
        self.names = LogWriter(directory, "n", "b", folder=place.NAMES)
        self.keeper = Keeper(directory, grace=grace)

    def append(self, *rows: dict[str, Any]) -> None:
        """Rows of `process`, durable."""
        self.log.append([Batch.from_rows("process", list(rows))], [])

    def tell(self, *rows: dict[str, Any], table: str = "container") -> None:
        """Rows of the follower, durable."""
        self.names.append([Batch.from_rows(table, list(rows))], [])

    def kept(self) -> list[tuple[Any, ...]]:
        """container and pod of the segments' rows, without our views."""
        source = f"read_parquet('{self.directory}/current/process/**/*.parquet', union_by_name = true)"
        return sorted(duckdb.sql(f"SELECT container, pod FROM {source}").fetchall(), key=str)

    def seen(self, columns: str = "container, pod") -> list[tuple[Any, ...]]:
        """The same through the view, the tail included."""
        with History(self.directory).connection() as connection:
            return sorted(connection.execute(f"SELECT {columns} FROM process").fetchall(), key=str)

    def close(self) -> None:
        """Let go."""
        self.keeper.close()
        self.log.close()
        self.names.close()


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Closed at the end."""
    made = Written(tmp_path / "history")
    yield made
    made.close()


def test_frozen_when_the_log_becomes_a_segment(written: Written) -> None:
    """Names that are known then stand in the file; rows of the host and of unknown containers stay as they are, and are counted."""
    written.append(process(FIRST), process(SECOND), process(None))
    written.tell(named(FIRST, "web"))
    written.keeper.pass_once()
    assert written.kept() == [(FIRST, "web"), (SECOND, None), (None, None)]
    (segment,) = [one for one in load(written.directory).segments if one.table == "process"]
    assert segment.unnamed == 1


def test_a_later_name_through_the_view(written: Written) -> None:
    """At once for whoever reads by us, in the tail and in segments; the files are not edited."""
    written.append(process(FIRST))
    assert written.seen() == [(FIRST, None)]
    written.keeper.pass_once()
    before = written.kept()
    written.append(process(FIRST, NOW + 1))
    written.tell(named(FIRST, "web"))
    assert (
        written.seen("container, pod, namespace, image, container_name") == [(FIRST, "web", "shop", "img", "app")] * 2
    )
    assert written.kept() == before == [(FIRST, None)]


def test_a_later_name_at_compaction(written: Written) -> None:
    """The segment that lacked it is written again, and no row is doubled or gone."""
    written.append(process(FIRST), process(SECOND))
    written.keeper.pass_once()
    written.tell(named(FIRST, "web"))
    written.keeper.pass_once()
    before = load(written.directory).head
    written.keeper.tidy()
    after = load(written.directory).head
    assert after != before
    assert written.kept() == written.seen() == [(FIRST, "web"), (SECOND, None)]
    written.keeper.tidy()
    assert load(written.directory).head == after, "nothing is due any more"


def test_the_grace(tmp_path: Path) -> None:
    """Rows wait for their names; a reader has them meanwhile; the last pass takes everything."""
    written = Written(tmp_path / "history", grace=3600.0)
    written.append(process(FIRST))
    assert written.keeper.pass_once() == 0 and written.seen() == [(FIRST, None)]
    written.tell(named(FIRST, "web"))
    written.keeper.pass_once()
    assert written.seen() == [(FIRST, "web")]
    written.keeper.pass_once(last=True)
    assert written.kept() == [(FIRST, "web")]
    written.close()


def test_names_after_a_restart(tmp_path: Path) -> None:
    """A keeper that begins again knows what was told before."""
    import time

    now = time.time_ns() // 1000
    written = Written(tmp_path / "history")
    written.tell(named(FIRST, "web", told=now))
    written.keeper.pass_once()
    written.keeper.close()
    written.keeper = Keeper(written.directory)
    written.append(process(FIRST, now))
    written.keeper.pass_once()
    assert written.kept() == [(FIRST, "web")]
    written.close()


def test_an_id_that_is_used_again(written: Written) -> None:
    """The row's own time decides, in the file as in the view; before the first name there is none better than it."""
    written.tell(named(FIRST, "old", since=NOW - 2 * HOUR), named(FIRST, "new", since=NOW))
    rows = [
        process(FIRST, NOW - 3 * HOUR),
        process(FIRST, NOW - HOUR),
        process(FIRST, NOW - 1),
        process(FIRST, NOW),
        process(FIRST, NOW + 1),
    ]
    written.append(*rows)
    expected = [(FIRST, "new")] * 2 + [(FIRST, "old")] * 3
    assert written.seen() == expected
    written.keeper.pass_once()
    assert written.kept() == written.seen() == expected


def test_a_pods_own_cgroup(written: Written) -> None:
    """A row with a pod's uid and no container has the pod's name."""
    written.append(process(None, pod_uid=POD), process(None, pod_uid="other"))
    written.tell(
        {"time": NOW, "node": "n", "event": "named", "pod_uid": POD, "pod": "web", "container": SECOND}, table="pod"
    )
    assert sorted(written.seen("pod_uid, pod")) == [(POD, "web"), ("other", None)]
    written.keeper.pass_once()
    assert written.kept() == [(None, "web"), (None, None)]


def test_a_word_is_not_taken_back() -> None:
    """A later row that lacks a word leaves it; one told earlier and read later changes nothing."""
    found = Names()
    found.learn("container", _table(named(FIRST, "web", told=NOW)))
    found.learn("container", _table(named(FIRST, None, told=NOW + 5)))  # type: ignore[arg-type]
    found.learn("container", _table(named(FIRST, "wrong", told=NOW - 5)))
    assert found.of(FIRST) is not None and found.of(FIRST)[0] == "web"  # type: ignore[index]


def test_bounds() -> None:
    """The least recently told go first."""
    found = Names(most=2)
    for number in range(5):
        found.learn("container", _table(named(f"{number:064x}", f"pod-{number}")))
    assert len(found) == 2 and found.of(f"{0:064x}") is None and found.of(f"{4:064x}") is not None


def test_kernel_rows_tell_no_name() -> None:
    """A cgroup's creation says nothing of names; a table without containers has nobody unnamed."""
    found = Names()
    assert found.learn("container", _table({"time": NOW, "event": "create", "container": FIRST})) == set()
    assert len(found) == 0
    assert names.unnamed(arrow.schema("loss").empty_table()) == 0


def _table(row: dict[str, Any]) -> Any:
    from firsthand.history.log import ipc

    return arrow.conform("container", arrow.read(ipc.to_bytes(Batch.from_rows("container", [row]))))


def test_one_follower_writes(written: Written) -> None:
    """A second one is refused and told who holds the log."""
    with pytest.raises(HistoryError, match="held by another follower"):
        LogWriter(written.directory, "n", "b", folder=place.NAMES)


def test_a_manifest_of_before_there_were_names(tmp_path: Path) -> None:
    """One that lacks the columns and the table is read as it is, and brought up by the keeper; its segments join names."""
    written = Written(tmp_path / "history")
    written.append(process(FIRST))
    written.keeper.pass_once()
    written.tell(named(FIRST, "web"))
    written.keeper.close()
    with sqlite3.connect(written.directory / place.MANIFEST) as db:
        for statement in ("ALTER TABLE segments DROP COLUMN log", "ALTER TABLE segments DROP COLUMN unnamed"):
            db.execute(statement)
        db.execute("DROP TABLE names_handed_over")
    assert written.seen() == [(FIRST, "web")]
    written.keeper = Keeper(written.directory)
    written.append(process(FIRST, NOW + 1))
    written.keeper.pass_once()
    assert written.seen() == [(FIRST, "web")] * 2
    written.close()
