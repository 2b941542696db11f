"""ask/queried.py: whether the rows that a statement of `sql` read are all that there were."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.ask import queried
from firsthand.history.store.connection import History
from firsthand.subjects.registry import OWNED
from tests.samples import BOOT, NODE
from tests.scenes import Scene

DAY = 86_400.0


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Observed for a day, which has ended; ten processes were lost in its first minute."""
    scene = Scene()
    scene.observed(-1, DAY)
    scene.connect(scene.process(None, "/bin/sh", [], 5000), "203.0.113.9", 443, 5001)
    lost = {
        "cause": "sequence_gap",
        "events": 10,
        "since": scene.at(59),
        "until": scene.at(60),
        "table_name": "process",
    }
    scene.add("loss", 60, node=NODE, boot=BOOT, **lost)
    directory = tmp_path_factory.mktemp("queried") / "h"
    scene.write(directory)
    return directory


def _evidence(history: Path, text: str) -> str | None:
    scene = Scene()
    with History(history).sql(text.replace("HOUR", f"{scene.at(3600):%Y-%m-%d %H:%M:%S}")) as result:
        list(result.rows())
        return queried.evidence(
            result.connection, text.replace("HOUR", f"{scene.at(3600):%Y-%m-%d %H:%M:%S}"), now=scene.at(DAY)
        )


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("SELECT count(*) FROM process", "INCOMPLETE: process"),
        ("SELECT count(*) FROM connection", "complete: connection"),
        ("SELECT 1 FROM process p JOIN connection c USING (exec_id)", "INCOMPLETE: process, connection"),
        ("SELECT * FROM process WHERE time >= TIMESTAMP 'HOUR'", "complete: process"),
        ("SELECT * FROM process WHERE TIMESTAMP 'HOUR' < time AND exe = '/bin/sh'", "complete: process"),
        ("SELECT * FROM process WHERE time < TIMESTAMP 'HOUR'", "INCOMPLETE: process"),
        ("SELECT * FROM process WHERE time >= TIMESTAMP 'HOUR' OR exe = '/bin/sh'", "INCOMPLETE: process"),
        (
            "SELECT (SELECT count(*) FROM process), (SELECT count(*) FROM process WHERE time > TIMESTAMP 'HOUR')",
            "INCOMPLETE: process",
        ),
        ("SELECT * FROM process WHERE time >= now() - INTERVAL 1 HOUR", "INCOMPLETE: process"),
        ("WITH process AS (SELECT 1) SELECT * FROM process", "INCOMPLETE: process"),
        ("SELECT * FROM query_table('pro' || 'cess')", f"INCOMPLETE: {', '.join(OWNED)}"),
    ],
)
def test_a_statement_is_judged_by_what_it_reads(history: Path, text: str, state: str) -> None:
    """Law: the tables that it names, in the time that constants leave of it; what is not understood may read everything."""
    found = _evidence(history, text.replace("1 HOUR", "1 hour"))
    assert found is not None and found.startswith(f"evidence {state} from ")
    assert ("10 events or values lost" in found) == ("INCOMPLETE" in state)


@pytest.mark.parametrize(
    "text", ["SELECT 1", "SELECT * FROM loss", "EXPLAIN SELECT * FROM process", "DESCRIBE process"]
)
def test_a_statement_without_events_has_no_evidence(history: Path, text: str) -> None:
    """Law: nothing is claimed of what no row of an event was read for."""
    assert _evidence(history, text) is None


def test_a_window_without_a_record_is_no_evidence(history: Path) -> None:
    """Law: no row of a time in which nothing was recorded is not "none"."""
    found = _evidence(history, "SELECT * FROM process WHERE time > TIMESTAMP '2099-01-01 00:00:00'")
    assert found == "evidence INCOMPLETE: process: nothing was recorded in the window of this statement"


def test_damage_is_a_reason(history: Path) -> None:
    """Law: what could not be read may have had the rows."""
    with History(history).sql("SELECT 1 FROM connection") as result:
        found = queried.evidence(result.connection, "SELECT 1 FROM connection", ["x.parquet"], Scene().at(DAY))
    assert found is not None and "INCOMPLETE" in found and found.endswith("damaged: x.parquet")
