"""evidence/bounded.py and archive.py: a hostile bundle ends within stated limits: sparse, padded, or unpacking without end."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firsthand.errors import DamagedError
from firsthand.evidence import bounded
from firsthand.evidence.archive import Archive
from firsthand.evidence.verdict import BundleVerdict
from tests.unit.evidence import forged, scene


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    scene.bundle(scene.write(folder / "history"), folder / "case.tar")
    return folder / "case.tar"


def test_within_the_bounds_nothing_changes(bundle: Path) -> None:
    """Law: a bundle that is whole is found whole by the child, with its rows."""
    found = bounded.check(bundle)
    assert found.whole and sum(found.rows.values())


def test_a_sparse_file_is_refused_unread(bundle: Path, tmp_path: Path) -> None:
    """Law: a terabyte of nothing, behind the end or as a member, is refused by its holes."""
    path = tmp_path / "sparse.tar"
    path.write_bytes(bundle.read_bytes())
    os.truncate(path, 1 << 40)
    with pytest.raises(DamagedError, match="holes"):
        Archive(path)


def test_zeros_behind_the_end_are_refused_unread(bundle: Path, tmp_path: Path) -> None:
    """Law: a tar ends with its record; real zeros behind it are not read through."""
    path = tmp_path / "padded.tar"
    path.write_bytes(bundle.read_bytes() + bytes(1 << 22))
    with pytest.raises(DamagedError, match="behind the end of the tar"):
        Archive(path)


def test_what_unpacks_without_end_is_stopped(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: rows of 25 GB in a small file are stopped at the bound of memory or time, and said so."""
    monkeypatch.setattr(bounded, "SECONDS", 2)
    monkeypatch.setattr(bounded, "MEMORY", 1 << 30)
    members = forged.unpack(bundle)
    rows = pq.read_table(pa.BufferReader(members["rows/process.parquet"])).take([0] * 50_000)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows.num_rows, pa.int32()), pa.array(["x" * 500_000]))
    sink = pa.BufferOutputStream()
    pq.write_table(rows.set_column(rows.schema.get_field_index("cwd"), "cwd", long), sink, store_schema=False)
    members["rows/process.parquet"] = sink.getvalue().to_pybytes()
    path = forged.pack(tmp_path / "bomb.tar", members)
    assert path.stat().st_size < 8 << 20
    try:
        said = "; ".join(bounded.check(path).damage)
    except DamagedError as error:  # the child was stopped
        said = str(error)
    assert "refused: verifying it took more than" in said or "memory" in said.lower() or "malloc" in said, said


def test_what_takes_time_without_end_is_stopped(tmp_path: Path) -> None:
    """Law: processor time is bounded whatever the child does, and the message says by how much."""

    def forever() -> BundleVerdict:
        while True:
            pass

    with pytest.raises(DamagedError, match=r"took more than 1 s of processor time or 4 GiB of memory \(SIGXCPU\)"):
        bounded._within(tmp_path, 1, forever)
