"""Rows that go to files keep the answer: one line on standard error, and a Parquet file's own metadata."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.scenes import Scene


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two programs, and a loss."""
    scene = Scene()
    scene.observed(-1, 60)
    for number in range(2):
        scene.process(None, f"/bin/{number}", at=1.0 + number)
    scene.add("loss", 5.0, cause="sequence_gap", events=3, since=scene.at(4), until=scene.at(5))
    return scene.write(tmp_path_factory.mktemp("history"))


def _ask(history: Path, form: str) -> subprocess.CompletedProcess[bytes]:
    words = ["ask", "processes", "--limit", "1", "-o", form, "--history", str(history)]
    return subprocess.run([sys.executable, "-m", "firsthand", *words], capture_output=True, check=True)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_answer_stands_on_standard_error(history: Path, form: str, tmp_path: Path) -> None:
    """Law: the sentence, that rows were left out, and why it is not complete, on one line; rows alone on standard output."""
    done = _ask(history, form)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(
        "firsthand: Yes: 2 of 2 program images match (1 of 2 rows: raise --limit); evidence INCOMPLETE: 3 events"
    )
    if form != "parquet":
        assert len(done.stdout.splitlines()) == {"csv": 2, "jsonl": 1}[form]
        return
    path = tmp_path / "rows.parquet"
    path.write_bytes(done.stdout)
    told = json.loads(pq.read_schema(path).metadata[b"firsthand"])
    assert (
        told["completeness"]["complete"] is False
        and told["truncated"]
        and told["question"] == "processes"
        and "rows" not in told
    )
