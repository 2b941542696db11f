"""Ring bytes become columns: every field, every kind, hostile strings, and never a row too many."""

from __future__ import annotations

import struct
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.schema.layout import installed
from firsthand.schema.tables import TABLES
from firsthand.wire import _drain
from firsthand.wire.batch import Batch, Fixed, Lists, Text
from firsthand.wire.decode import Decoder
from tests.records import record, record_of, ring

SIZE = 1 << 16


def _scan(records: list[bytes], start: int = 0, busy: int | None = None) -> tuple[Any, int, Any, Any, int]:
    data, end = ring(records, SIZE, start, busy)
    return (data, *_drain.scan(data, start, end, SIZE, 4096, Decoder(installed()).sizes))


def _decode(records: list[bytes], start: int = 0, decoder: Decoder | None = None) -> dict[str, Batch]:
    data, _, offsets, kinds, _ = _scan(records, start)
    used = decoder or Decoder(installed())
    return {table: used.decode(table, rows) for table, rows in used.split(data, offsets, kinds).items()}


def _text(batch: Batch, name: str, row: int) -> bytes | None:
    column = cast("Text", batch.columns[name])
    return None if column.valid is not None and not column.valid[row] else column.row(row)


def _number(batch: Batch, name: str, row: int) -> int | None:
    column = cast("Fixed", batch.columns[name])
    return None if column.valid is not None and not column.valid[row] else int(column.values[row])


def test_every_number_of_every_kind_arrives() -> None:
    """A distinct value in each numeric field of each kind comes out in its column and row, and nowhere else."""
    for kind in installed().records.values():
        plain = [f for f in kind.fields if f.kind in ("uint", "int") and f.name not in ("length", "kind", "layout")]
        values = {f.name: 1 if f.size == 1 else 2 + place for place, f in enumerate(plain)}
        raw = record(kind.event, values, kind.table)
        batch = _decode([raw])[kind.table]
        for field in plain:
            if field.role.partition(":")[0] in ("", "bool", "flags"):
                assert _number(batch, field.name, 0) == values[field.name], field.name


def test_rows_stay_in_ring_order_and_lacking_fields_are_null() -> None:
    """Kinds are mixed in one batch; a column that a kind lacks is null in its rows."""
    records = [
        record("fork", {"exec_tgid": 5}),
        record("exec", {"exec_tgid": 5, "exe": b"/bin/a", "file_links": 1}),
        record("exit", {"exec_tgid": 5, "exit_code": 3, "exit_signal": -1}),
    ]
    batch = _decode(records)["process"]
    assert [_text(batch, "event", i) for i in range(3)] == [b"fork", b"exec", b"exit"]
    assert [_text(batch, "exe", i) for i in range(3)] == [None, b"/bin/a", None]
    assert [_number(batch, "exit_code", i) for i in range(3)] == [None, None, 3]
    assert _number(batch, "exit_signal", 2) is None and _number(batch, "file_links", 1) == 1


def test_tables_are_told_apart() -> None:
    """Records of one ring go to the tables that their structs name."""
    found = _decode([record("create", {"cgroup_id": 7, "cgroup_path": b"/x"}, "container"), record("fork", {})])
    assert set(found) == {"container", "process"} and _text(found["container"], "cgroup_path", 0) == b"/x"


def test_columns_have_the_tables_types() -> None:
    """Every decoded column is one of its table's, with the dtype of its type."""
    batch = _decode([record("exec", {"args": b"a\0"})])["process"]
    for name, column in batch.columns.items():
        kind = TABLES["process"].column(name).type
        assert isinstance(column, Lists if kind == "list" else Text if kind in ("text", "bytes") else Fixed), name
        if isinstance(column, Fixed):
            assert column.values.dtype.name == {"bool": "uint8"}.get(kind, kind), name


@pytest.mark.parametrize(
    ("block", "items"),
    [(b"", []), (b"a\0", [b"a"]), (b"a\0\0b\0", [b"a", b"", b"b"]), (b"a\0cut", [b"a", b"cut"]), (b"\0", [b""])],
)
def test_arguments_are_split_at_nul(block: bytes, items: list[bytes]) -> None:
    """Empty arguments count; the last may lack its NUL where it was cut."""
    column = cast("Lists", _decode([record("exec", {"args": block})])["process"].columns["args"])
    assert column.row(0) == items


def test_only_names_of_the_environment_come_out() -> None:
    """Values are dropped, but for allow-listed names."""
    block = b"PATH=/bin\0TOKEN=abc=def\0EMPTY=\0odd\0"
    batch = _decode([record("exec", {"env": block})])["process"]
    assert cast("Lists", batch.columns["env_names"]).row(0) == [b"PATH", b"TOKEN", b"EMPTY", b"odd"]
    assert "env_values" not in batch.columns
    batch = _decode([record("exec", {"env": block})], decoder=Decoder(installed(), (b"PATH", b"EMPT")))["process"]
    assert cast("Lists", batch.columns["env_values"]).row(0) == [b"PATH=/bin"]


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\0", b"")), max_size=6), st.binary(max_size=60))
def test_bytes_survive_whatever_they_are(arguments: list[bytes], exe: bytes) -> None:
    """What is UTF-8 is in the text column as it is; what is not is in the bytes column as it is."""
    batch = _decode([record("exec", {"args": b"".join(a + b"\0" for a in arguments), "exe": exe})])["process"]
    joined = b"\0".join(arguments)
    if _is_utf8(joined):
        assert cast("Lists", batch.columns["args"]).row(0) == arguments and "args_bytes" not in batch.columns
    else:
        assert _text(batch, "args_bytes", 0) == joined
    assert _text(batch, "exe" if _is_utf8(exe) else "exe_bytes", 0) == (exe or None)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.binary(max_size=30))
def test_utf8_is_judged_as_python_judges_it(raw: bytes) -> None:
    """The compiled check and Python's decoder agree on every string."""
    batch = _decode([record("exec", {"exe": b"x" + raw})])["process"]
    assert ("exe_bytes" in batch.columns) == (not _is_utf8(raw))


def test_flags_and_sets_have_names() -> None:
    """Bits are named from the object's own enumerations; none is null."""
    values = {"flags": 1 | 1 << 5, "host_namespaces": 0b11, "stdin": 2, "file_device": (8 << 20) | 17}
    batch = _decode([record("exec", values), record("fork", {})])["process"]
    assert _text(batch, "flag_names", 0) == b"SETUID,DELETED" and _text(batch, "flag_names", 1) is None
    assert _text(batch, "host_namespaces", 0) == b"mount uts"
    assert _text(batch, "stdin", 0) == b"pipe" and _text(batch, "stdin", 1) is None
    assert _text(batch, "file_device", 0) == b"8:17"


def test_an_unset_login_is_null() -> None:
    """4294967295 stands for none, in the kernel's words."""
    batch = _decode([record("fork", {"login_uid": 0xFFFFFFFF}), record("fork", {"login_uid": 1000})])["process"]
    assert [_number(batch, "login_uid", i) for i in range(2)] == [None, 1000]


def test_a_record_being_written_stops_the_reader() -> None:
    """Nothing at or behind the first busy record is read."""
    records = [record("fork", {"exec_tgid": i}) for i in range(4)]
    _, reached, offsets, _, _ = _scan(records, busy=2)
    assert len(offsets) == 2 and reached == 2 * (len(records[0]) + 8)


def test_a_record_over_the_end_of_the_ring_is_whole() -> None:
    """Positions wrap; the double mapping keeps each record in one piece."""
    batch = _decode([record("exec", {"exe": b"/bin/wrapped"})] * 3, start=SIZE - 400)["process"]
    assert [_text(batch, "exe", i) for i in range(3)] == [b"/bin/wrapped"] * 3


def test_malformed_records_are_counted_and_never_read_past() -> None:
    """Strings that point outside their record, lengths that do not fit and unknown kinds are no rows or null."""
    good = bytearray(record("exec", {"exe": b"/bin/x"}))
    place = next(f.offset for f in record_of("exec").fields if f.name == "exe")
    struct.pack_into("<HH", good, place, 60000, 5000)
    decoder = Decoder(installed())
    batch = _decode([bytes(good)], decoder=decoder)["process"]
    assert _text(batch, "exe", 0) is None and decoder.malformed == 1
    too_long = bytearray(record("fork", {}))
    struct.pack_into("<I", too_long, 0, 1 << 20)
    _, _, offsets, _, malformed = _scan([bytes(too_long), bytes(8)])
    assert len(offsets) == 0 and malformed == 2
    short = bytearray(record("fork", {})[:100])
    struct.pack_into("<I", short, 0, 100)
    assert _scan([bytes(short)])[4] == 1
    unknown = bytearray(record("fork", {}))
    struct.pack_into("<H", unknown, 4, 200)
    assert _decode([bytes(unknown)], decoder=decoder) == {} and decoder.malformed == 2


def test_no_record_reaches_beyond_the_producer() -> None:
    """A length of garbage ends the look at the producer's position; what its strings point to is never read."""
    size = 4096
    good, bad = record("exec", {"exe": b"/bin/x"}), bytearray(record("exec", {"exe": b"/bin/x"}))
    place = next(f.offset for f in record_of("exec").fields if f.name == "exe")
    struct.pack_into("<HH", bad, place, 60000, 5000)
    struct.pack_into("<I", bad, 0, 66000)
    data, end = ring([good, bytes(bad)], size, start=4000)
    head = (4000 + 8 + (len(good) + 7 & ~7)) % size
    for copy in (head, head + size):
        data[copy : copy + 4] = np.frombuffer(struct.pack("<I", 66000), dtype=np.uint8)
    reached, offsets, _, malformed = _drain.scan(data, 4000, end, size, 4096, Decoder(installed()).sizes)
    assert (reached, len(offsets), malformed) == (end, 1, 1)


@settings(max_examples=200)
@given(st.binary(min_size=0, max_size=700), st.sampled_from([1, 2, 3, 4, 16, 17, 18, 19, 200]))
def test_no_bytes_hurt(noise: bytes, kind: int) -> None:
    """Whatever stands behind a well-formed head, decoding ends and every row has every column's length."""
    sizes = {number: known.size for number, known in installed().records.items()}
    raw = bytearray(noise.ljust(max(sizes.get(kind, 32), 32), b"\xff"))
    struct.pack_into("<IH", raw, 0, len(raw), kind)
    for batch in _decode([bytes(raw)]).values():
        for column in batch.columns.values():
            assert (len(column.values) if isinstance(column, Fixed) else len(column)) == batch.length
