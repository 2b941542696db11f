"""Figures of the export, in CPU time: rows of some 60 columns from the log, and from segments, to lines in a file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from firsthand.export import jsonl, ocsf
from firsthand.export.choice import Choice
from firsthand.export.cursor import Cursor
from firsthand.export.exporter import Exporter, ExportPlan, Form
from firsthand.export.file import Appended
from firsthand.export.rotation import Rotation
from firsthand.history.log import arrow
from firsthand.history.log.log import LogWriter
from firsthand.history.store import manifest
from tests import histories, samples

pytestmark = pytest.mark.bench
CHUNKS, LIVES = 60, 834
FIELDS = ("time", "event", "namespace", "pod", "exe", "args", "pid", "euid")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150,000 rows in one log."""
    found = tmp_path_factory.mktemp("bench") / "history"
    with LogWriter(found, samples.NODE, samples.BOOT) as writer:
        for number in range(CHUNKS):
            writer.append([samples.process_lives(LIVES, first=number * LIVES)], [])
    return found


def exported(history: Path, folder: Path, form: Form, choice: Choice) -> str:
    cursor = Cursor(folder / "cursor", history)
    exporter = Exporter(history, cursor, Appended(folder / "out", Rotation()), form, choice, ExportPlan())
    begun = time.process_time()
    exporter.run(lambda _: False)
    took = time.process_time() - begun
    exporter.close()
    rows = cursor.state.sequence
    assert rows == CHUNKS * LIVES * 3
    return f"{rows / took:,.0f} rows/s/core, {(folder / 'out').stat().st_size / rows:.0f} bytes a row"


@pytest.mark.parametrize("what", ["jsonl", "fields", "ocsf"])
def test_log_to_file(history: Path, tmp_path: Path, what: str) -> None:
    """From the log, all columns as lines of JSON; eight of them; and as OCSF events."""
    form: Form = ocsf if what == "ocsf" else jsonl
    print(f"\nexport {what}: {exported(history, tmp_path, form, Choice(fields=FIELDS if what == 'fields' else ()))}")


def test_segments_to_file(history: Path, tmp_path: Path) -> None:
    """The same rows from segments, whose log is gone; and what their place in the log costs there."""
    with LogWriter(history, samples.NODE, samples.BOOT) as writer:
        writer.append([samples.loss()], [])
        histories.keep(history, linger=0, last=False)
        found = manifest.load(history).segments
        choice = Choice(tables=frozenset(["process"]))
        print(f"\nexport from segments: {exported(history, tmp_path, jsonl, choice)}")
    rows = CHUNKS * LIVES * 3
    place = sum(map(_place_bytes, (history / "current").glob("process/**/*.parquet"))) / rows
    print(f"{place:.3f} bytes a row are log_position's, of {sum(one.bytes for one in found) / rows:.1f}")


def _place_bytes(path: Path) -> int:
    import pyarrow.parquet as pq

    found = pq.ParquetFile(path).metadata
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(one.total_compressed_size for one in columns if one.path_in_schema == "log_position")


def test_json(tmp_path: Path) -> None:
    """What orjson takes for the text alone, and the standard library's json."""
    batch = samples.process_lives(5_000)
    from firsthand.history.log import ipc

    rows = arrow.conform("process", arrow.read(b"".join(bytes(piece) for piece in ipc.encode(batch))))
    objects = list(jsonl.objects(rows))
    import orjson

    for name, dumps in (("orjson", orjson.dumps), ("json", json.dumps)):
        begun = time.process_time()
        for one in objects:
            dumps(one)
        print(f"\n{name}: {len(objects) / (time.process_time() - begun):,.0f} objects/s", end="")
