"""export/ocsf.py: events that the published schema takes, with nothing of the rows left out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from firsthand.export import ocsf
from firsthand.history.log import arrow, ipc
from firsthand.schema.tables import TABLES
from firsthand.wire.batch import Batch
from tests import samples

#: The newest version whose compiled schema is published as a package; 1.9 only adds to it (its CHANGELOG).
PUBLISHED = "1.8.0"


def rows_of(batch: Any) -> pa.Table:
    return arrow.conform(batch.table, arrow.read(b"".join(bytes(piece) for piece in ipc.encode(batch))))


@pytest.fixture(scope="module")
def schemas() -> dict[int, Draft202012Validator]:
    """Validators by class_uid; both forbid attributes that the class does not have."""
    found = OcsfJsonSchemaEmbedded(get_ocsf_schema(PUBLISHED))
    profiles = {"process_activity": ["host", "container"], "base_event": []}
    made = {name: found.get_class_schema(name, wanted) for name, wanted in profiles.items()}
    return {1007: Draft202012Validator(made["process_activity"]), 0: Draft202012Validator(made["base_event"])}


def check(schemas: dict[int, Draft202012Validator], line: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(line)
    errors = [f"{list(error.path)}: {error.message}" for error in schemas[event["class_uid"]].iter_errors(event)]
    assert errors == []
    assert event["metadata"]["version"] == ocsf.VERSION
    return event


def test_processes_are_valid_events(schemas: dict[int, Draft202012Validator]) -> None:
    """Law: forks, execs and exits, of containers and of the host, are Process Activity as the schema wants it."""
    found = [check(schemas, line) for line in ocsf.lines("process", rows_of(samples.process_lives(8)))]
    assert [one["activity_id"] for one in found[:3]] == [1, 1, 2]
    assert {one["type_uid"] for one in found} == {100701, 100702}
    inside = next(one for one in found if "container" in one["process"])
    assert inside["process"]["container"]["pod_uuid"]
    assert "container" in inside["metadata"]["profiles"]
    gone = found[2]
    assert gone["exit_code"] == 0
    assert gone["actor"]["process"]["uid"] == gone["process"]["uid"]


def test_a_folded_row_is_a_launch_that_counts(schemas: dict[int, Draft202012Validator]) -> None:
    """Law: equal short processes in one row are one event with OCSF's own count and end."""
    row = {
        "event": "folded",
        "time": datetime(2026, 5, 1, tzinfo=UTC),
        "exe": "/bin/true",
        "args": ["true"],
        "exit_code": 0,
    }
    row |= {"folded_count": 240, "folded_until": datetime(2026, 5, 1, 0, 0, 59, tzinfo=UTC), "pid": 7, "euid": 0}
    row |= {"exec_tgid": 7, "exec_start": 1, "exec_number": 2, "boot": "b", "node": "n"}
    (event,) = [check(schemas, line) for line in ocsf.lines("process", rows_of(Batch.from_rows("process", [row])))]
    assert (event["activity_id"], event["count"], event["end_time"] - event["time"]) == (1, 240, 59_000)


@pytest.mark.parametrize("table", [name for name in TABLES if name != "process"])
def test_every_other_table(schemas: dict[int, Draft202012Validator], table: str) -> None:
    """Law: a row of any other table, with every column filled, is a Base Event that names its table."""
    (event,) = [check(schemas, line) for line in ocsf.lines(table, _full(table))]
    assert (event["class_uid"], event["metadata"]["log_name"]) == (0, table)


def test_an_image_that_ran_before(schemas: dict[int, Draft202012Validator]) -> None:
    """Law: what is neither launch nor end is Other, by its own name; a row with next to nothing in it is valid still."""
    values = {"time": samples.START, "node": "n", "event": "seen", "pid": 1}
    (event,) = [check(schemas, line) for line in ocsf.lines("process", arrow.row("process", values))]
    assert (event["activity_id"], event["activity_name"]) == (99, "seen")


def test_records_that_are_no_rows(schemas: dict[int, Draft202012Validator]) -> None:
    """Law: a gap is of medium severity, and so is the heartbeat of a silent observer, but not that of a living one."""
    now = datetime.now(UTC)
    gap = check(schemas, ocsf.line({"table": "gap", "time": now, "cause": "not_held", "from": [1, 0]}))
    alive = check(schemas, ocsf.line({"table": "heartbeat", "time": now, "observer": "alive"}))
    silent = check(schemas, ocsf.line({"table": "heartbeat", "time": now, "observer": "silent"}))
    assert [one["severity_id"] for one in (gap, alive, silent)] == [3, 1, 3]


def test_what_has_no_form_in_ocsf_stays(schemas: dict[int, Draft202012Validator]) -> None:
    """Law: a pod's uid that is no UUID, and parts of an id that is not whole, are under `unmapped`."""
    values = {"time": samples.START, "node": "n", "event": "exec", "pid": 1, "container": "c", "pod_uid": "static"}
    (line,) = ocsf.lines("process", arrow.row("process", values | {"exec_tgid": 1}))
    event = check(schemas, line)
    assert event["unmapped"] == {"pod_uid": "static", "exec_tgid": 1}


def test_nothing_of_a_row_is_left_out(schemas: dict[int, Draft202012Validator]) -> None:
    """Law: each column of `process` that holds something is in the event, in its place or under `unmapped`."""
    (event,) = [check(schemas, line) for line in ocsf.lines("process", _full("process"))]
    made = {column for columns, _ in ocsf.MADE.values() for column in columns} | {"time", "event"}
    for name in TABLES["process"].names:
        assert name in event["unmapped"] or name in ocsf.PROCESS.values() or name in made, name
    for path in (*ocsf.PROCESS, *ocsf.MADE):
        held: Any = event
        for part in path.split("."):
            held = held[part]
        assert held not in (None, ""), path


def _full(table: str) -> pa.Table:
    """One row with something in every column."""
    words: dict[str, Any] = {"text": "word", "bytes": b"\xff", "list": ["a=b"], "bool": True, "time": samples.START}
    values = {column.name: words.get(column.type, 7) for column in TABLES[table].columns}
    special = {"event": "exec", "pod_uid": "0f" * 16}
    return arrow.row(table, values | {name: word for name, word in special.items() if name in values})
