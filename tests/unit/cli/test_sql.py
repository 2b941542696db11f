"""cli/sql.py: the answer of any statement in every form of output, whatever DuckDB's type of a column is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from firsthand.cli.options import FORMATS
from firsthand.cli.sql import command
from tests import histories, samples

#: A value of each type, and as JSON has it. The types are those of duckdb_types(), composed ones beside them.
VALUES: dict[str, tuple[str, Any]] = {
    "BOOLEAN": ("true", True),
    "TINYINT": ("-1::TINYINT", -1),
    "SMALLINT": ("-1::SMALLINT", -1),
    "INTEGER": ("-1::INTEGER", -1),
    "BIGINT": ("-9223372036854775808", "-9223372036854775808"),
    "HUGEINT": ("sum(10000000000)", 10000000000),
    "HUGEINT of 39 digits": (
        "'-170141183460469231731687303715884105728'::HUGEINT",
        "-170141183460469231731687303715884105728",
    ),
    "UTINYINT": ("255::UTINYINT", 255),
    "USMALLINT": ("65535::USMALLINT", 65535),
    "UINTEGER": ("4294967295::UINTEGER", 4294967295),
    "UBIGINT": ("18446744073709551615::UBIGINT", "18446744073709551615"),
    "UHUGEINT": ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
    "BIGNUM": ("1234567890123456789012345678901234567890::BIGNUM", "1234567890123456789012345678901234567890"),
    "FLOAT": ("0.5::FLOAT", 0.5),
    "DOUBLE": ("0.1::DOUBLE", 0.1),
    "DOUBLE, no number": ("'nan'::DOUBLE", "nan"),
    "DOUBLE, no end": ("'-inf'::DOUBLE", "-inf"),
    "DECIMAL": ("3649.50::DECIMAL(9, 2)", 3649.5),
    "DECIMAL of 38 digits": (
        "'0.12345678901234567890123456789012345678'::DECIMAL(38, 38)",
        "0.12345678901234567890123456789012345678",
    ),
    "VARCHAR": ("'a' || chr(27)", "a\x1b"),
    "BLOB": (r"'\xff'::BLOB", "\\xff"),
    "BIT": ("'101'::BIT", "101"),
    "UUID": ("'00000000-0000-0000-0000-000000000001'::UUID", "00000000-0000-0000-0000-000000000001"),
    "ENUM": ("'a'::ENUM('a', 'b')", "a"),
    "DATE": ("DATE '2026-05-01'", "2026-05-01"),
    "TIME": ("TIME '01:02:03'", "01:02:03"),
    "TIME WITH TIME ZONE": ("'01:02:03+02'::TIMETZ", "01:02:03+02:00"),
    "TIMESTAMP": ("TIMESTAMP '2026-05-01 12:00:00'", "2026-05-01T12:00:00.000000Z"),
    "TIME_NS": ("'01:02:03.000004'::TIME_NS", "01:02:03.000004"),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMPTZ '2026-05-01 12:00:00+00'", "2026-05-01T12:00:00.000000+00:00"),
    "TIMESTAMP_S": ("'2026-05-01 12:00:00'::TIMESTAMP_S", "2026-05-01T12:00:00.000000Z"),
    "TIMESTAMP_MS": ("'2026-05-01 12:00:00'::TIMESTAMP_MS", "2026-05-01T12:00:00.000000Z"),
    "TIMESTAMP_NS": ("'2026-05-01 12:00:00'::TIMESTAMP_NS", "2026-05-01T12:00:00.000000Z"),
    "INTERVAL": ("INTERVAL '1 day 2 seconds'", 86402.0),
    "LIST": ("[1, NULL]", [1, None]),
    "ARRAY": ("[1, 2]::INTEGER[2]", [1, 2]),
    "STRUCT": ("{'a': 1::HUGEINT, 'b': [DATE '2026-05-01']}", {"a": 1, "b": ["2026-05-01"]}),
    "TUPLE": ("row(1, NULL)", [1, None]),
    "MAP": ("MAP {'a': 1}", {"a": 1}),
    "MAP by number": ("MAP {7: 1.5::DECIMAL(3, 1)}", {"7": 1.5}),
    "UNION": ("union_value(k := INTERVAL '1 second')", 1.0),
    "JSON": ("""'{"a": 1}'::JSON""", '{"a": 1}'),
    "NULL": ("NULL", None),
}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one."""
    directory = tmp_path_factory.mktemp("history")
    histories.write(directory, samples.process_lives(1))
    return directory


def _asked(history: Path, text: str, form: str) -> bytes:
    done = CliRunner().invoke(command, [text, "--history", str(history), "-o", form], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout_bytes


@pytest.mark.parametrize("kind", VALUES)
def test_every_type_in_every_form(history: Path, kind: str) -> None:
    """Law: each form shows the value; JSON has it without loss, integers beyond 2^53 and long decimals as text."""
    sql, expected = VALUES[kind]
    text = f"SELECT {sql} AS x, NULL AS y"
    for form in ("json", "jsonl"):
        found = json.loads(_asked(history, text, form), parse_constant=pytest.fail)
        assert (found if form == "jsonl" else found[0]) == {"x": expected, "y": None}
    heads, values = csv.reader(io.StringIO(_asked(history, text, "csv").decode()))
    assert heads == ["x", "y"] and values[1] == "" and bool(values[0]) == (expected is not None)
    for form in ("table", "wide"):
        lines = _asked(history, text, form).decode().splitlines()
        assert len(lines) == 2 and "\x1b" not in lines[1]
    stored = pq.read_table(io.BytesIO(_asked(history, text, "parquet"))).to_pylist()
    assert len(stored) == 1 and (stored[0]["x"] is None) == (expected is None)


def test_no_type_is_left_out() -> None:
    """Law: the list above has every type that DuckDB has, but those that need an extension or have no literal."""
    rows = (
        duckdb.connect().sql("SELECT DISTINCT logical_type FROM duckdb_types() WHERE schema_name = 'main'").fetchall()
    )
    without = {"TIMESTAMPTZ_NS", "GEOMETRY", "VARIANT", "TYPE"}
    assert {name for (name,) in rows} - without <= VALUES.keys()


def test_forms_are_those_of_the_option() -> None:
    """Law: the test above walks all of them."""
    assert set(FORMATS) == {"json", "jsonl", "csv", "table", "wide", "parquet"}


def test_what_a_column_means_can_be_asked(history: Path) -> None:
    """Law: comments are there for whoever looks into the catalog, and DESCRIBE knows every table."""
    text = "SELECT comment FROM duckdb_columns() WHERE table_name = 'connection' AND column_name = 'peer_kind'"
    assert b"who held the peer's address" in _asked(history, text, "json")
    assert b"peer_kind" in _asked(history, "DESCRIBE connection", "csv")


def test_evidence_stands_on_standard_error(history: Path) -> None:
    """Law: rows on standard output are a program's; whether they are all is said beside them, in every form."""
    for form in FORMATS:
        done = CliRunner().invoke(command, ["SELECT count(*) FROM process", "--history", str(history), "-o", form])
        assert done.exit_code == 0 and b"evidence" not in done.stdout_bytes
        assert done.stderr.startswith("firsthand: evidence INCOMPLETE: process from ")
