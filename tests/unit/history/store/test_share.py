"""history/store/share.py: each row counts for one namespace and kind, and the footer says so."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.store import segment, share
from firsthand.history.store.share import Share
from tests import histories

AT = (Position(1, 0), Position(1, 9))
MICRO = 1_000_000


_WHOSE = histories.table(
    "process",
    [
        {"time": 1, "namespace": "shop", "container": "c"},
        {"time": 3, "namespace": "shop", "container": "c", "flags": 1 << 3},
        {"time": 4, "namespace": "shop", "container": "c", "flags": 1 << 0 | 1 << 3},
        {"time": 5},
        {"time": 6, "container": "d"},
        {"time": 7, "pod_uid": "u"},
    ],
)


def test_rows_count_once(tmp_path: Path) -> None:
    """Law: the host is a namespace of its own, so is what has no name; set-uid rows count apart; the footer keeps it."""
    (one,) = segment.write(tmp_path, "process", _WHOSE, "n", AT)
    wanted = (
        Share("(host)", "bulk", 1, 5, 5),
        Share("(none)", "bulk", 2, 6, 7),
        Share("shop", "bulk", 2, 1, 3),
        Share("shop", "protected", 1, 4, 4),
    )
    assert share.of_file(tmp_path / one.path, "process") == wanted
    pq.write_table(_WHOSE, tmp_path / "older.parquet")
    assert share.of_file(tmp_path / "older.parquet", "process") == wanted


def test_a_mask_takes_what_was_counted() -> None:
    """Law: a mask of a share takes as many rows as were counted for it."""
    for one in share.measure("process", _WHOSE):
        assert sum(share.mask("process", _WHOSE, [(one.namespace, one.kind)]).to_pylist()) == one.rows


def test_tables_have_their_kinds() -> None:
    """Law: names and the record of the record are kinds of their own; an unknown table is bulk."""
    kinds = {name: share.kind(name) for name in ("container", "pod", "loss", "finding", "process", "connection")}
    assert list(kinds.values()) == ["names", "names", "record", "protected", None, "bulk"]
    row = arrow.row("loss", {"time": MICRO, "node": "n", "namespace": "shop", "cause": "retention"})
    assert share.measure("loss", row) == (Share("shop", "record", 1, MICRO, MICRO),)
    assert share.measure("process", arrow.schema("process").empty_table()) == ()
