"""An answer on names is not whole while packets wait for a dissector, and not proven while none answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.ask import dissected
from firsthand.ask.answer import Window
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch

_WAITS, _SILENT = {"packets_waiting": 3}, {"packets_waiting": 0, "dissector_silent_seconds": 40.0}
_WELL = {"packets_waiting": 0, "dissector_silent_seconds": 9.9}


@pytest.mark.parametrize(
    ("measures", "ago", "wanted"),
    [
        ([_WELL, _WAITS], 0, "3 packets on n wait for a dissector"),
        ([_WAITS, _WELL], 0, ""),
        ([_WELL, _SILENT], 0, "no dissector answered on n since"),
        ([_WELL, _WAITS], 3600, ""),
        ([{}], 0, ""),
    ],
)
def test_the_newest_row_tells(tmp_path: Path, measures: list[dict[str, float]], ago: int, wanted: str) -> None:
    """By what the observer said last; of a window that ended long ago `loss` tells; a row of a version before tells nothing; and
    another table's answer does not need it."""
    now = datetime.now(UTC)
    with LogWriter(tmp_path, "n", "b") as log:
        for number, one in enumerate(measures):
            row = {"event": "alive", "instance": "default", "node": "n", "boot": "b", "measures": json.dumps(one)}
            row |= {"time": now - timedelta(seconds=2 - number)}
            log.append([Batch.from_rows("observer", [row])], [])
    window = Window(now - timedelta(seconds=ago + 60), now - timedelta(seconds=ago))
    with History(tmp_path).connection() as connection:
        found = dissected.reasons(connection, window, ("name", "connection"))
        assert not dissected.reasons(connection, window, ("process",))
        assert not dissected.reasons(connection, window, ("name",), node="other")
    assert "".join(found).startswith(wanted) and len(found) == bool(wanted)
