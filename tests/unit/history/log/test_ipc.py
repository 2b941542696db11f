"""history/log/ipc.py: what nanoarrow's frame and our numbers make is what PyArrow reads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.errors import SchemaError
from firsthand.history.log import arrow, ipc
from firsthand.schema.tables import TABLES
from firsthand.wire.batch import Batch, Fixed
from tests import samples

VALUES = {
    "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "time": st.integers(-(2**53), 2**53),
    "text": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
    "list": st.lists(st.text(max_size=5), max_size=4),
}
PROCESS = TABLES["process"]


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, object]]:
    columns = draw(st.lists(st.sampled_from(PROCESS.columns), unique=True, min_size=1, max_size=8))
    one = st.fixed_dictionaries({c.name: st.none() | VALUES[c.type] for c in columns})
    return draw(st.lists(one, min_size=1, max_size=20))


@settings(max_examples=60, deadline=None)
@given(rows())
def test_every_value_of_every_type_comes_back(given_rows: list[dict[str, object]]) -> None:
    """Law: whatever rows a batch holds, nulls among them, its stream holds the same in the table's types."""
    batch = Batch.from_rows("process", given_rows)
    found = arrow.read(ipc.to_bytes(batch))
    found.validate(full=True)
    assert found.num_rows == len(given_rows)
    for name in found.column_names:
        assert found.schema.field(name).type == arrow.schema("process").field(name).type
        told = found.column(name)
        column = told.cast(pa.int64()) if pa.types.is_timestamp(told.type) else told
        assert column.to_pylist() == [row[name] for row in given_rows]


def test_only_the_batch_s_columns_in_the_table_s_order() -> None:
    """Law: a column that the batch lacks costs nothing in the stream; the order is the table's."""
    batch = Batch.from_rows("process", [{"args": ["a"], "exe": "/bin/a", "time": 1}])
    assert arrow.read(ipc.to_bytes(batch)).column_names == ["time", "exe", "args"]


def test_no_rows() -> None:
    """Law: a batch without rows is a stream without rows, with the batch's columns."""
    batch = samples.process_lives(0)
    found = arrow.read(ipc.to_bytes(batch))
    assert (found.num_rows, found.num_columns) == (0, len(batch.columns))


def test_many_rows() -> None:
    """Law: a batch of many rows, with nulls in most columns, passes PyArrow's full validation."""
    batch = samples.process_lives(5000)
    found = arrow.read(ipc.to_bytes(batch))
    found.validate(full=True)
    assert found.num_rows == 15_000
    assert found.column("exec_tgid").to_pylist() == batch.columns["exec_tgid"].values.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "batch",
    [
        Batch("process", 1, {"nobody": Fixed(np.zeros(1, dtype=np.int64))}),
        Batch("process", 2, {"ktime": Fixed(np.zeros(1, dtype=np.int64))}),
        Batch("process", 1, {}),
        Batch("process", 1, {"exe": Fixed(np.zeros(1, dtype=np.int64))}),
    ],
)
def test_what_does_not_fit_is_refused(batch: Batch) -> None:
    """Law: no column, an unknown one, a wrong length or a wrong kind of vector is an error."""
    with pytest.raises(SchemaError):
        ipc.encode(batch)


def test_the_observer_s_side_imports_no_pyarrow() -> None:
    """Law: writing the log needs neither PyArrow nor DuckDB, whose memory the observer cannot have."""
    code = "import sys, firsthand.history.log.log as _; print(*({'pyarrow', 'duckdb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
