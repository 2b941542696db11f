"""ask/predicate.py: what can be asked of a column, and how it is read. tests/unit/ask/test_proof.py has what the answers prove."""

from __future__ import annotations

import grp
import pwd
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from firsthand.ask import predicate
from firsthand.ask.predicate import OPERATORS, of_processes, parse
from firsthand.errors import UsageError
from firsthand.host import machine
from firsthand.schema.tables import TABLES

_NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _parse(text: str) -> predicate.Test:
    return parse(text, of_processes(), _NOW)


def test_every_column_can_be_asked() -> None:
    """All of `process` but `flags`, for which `marks` stands, each with operators of its type."""
    assert {*TABLES["process"].names} - {"flags"} <= of_processes().keys()
    assert all(one.operators == OPERATORS[one.type] and one.events for one in of_processes().values())


@pytest.mark.parametrize(
    ("text", "column", "sign", "value"),
    [
        ("pid=7", "pid", "=", 7),
        ("pid!=-7", "pid", "!=", -7),
        ("duration>=1500ms", "duration", ">=", 1_500_000_000),
        ("duration<2h", "duration", "<", 7_200_000_000_000),
        ("peak_memory>1GiB", "peak_memory", ">", 1 << 30),
        ("peak_memory>1GB", "peak_memory", ">", 10**9),
        ("exit_signal=KILL", "exit_signal", "=", 9),
        ("exit_signal=sigkill", "exit_signal", "=", 9),
        ("exit_signal=9", "exit_signal", "=", 9),
        ("cap_effective~SYS_ADMIN", "cap_effective", "~", 1 << 21),
        ("cap_effective~cap_chown", "cap_effective", "~", 1),
        ("cap_effective=5", "cap_effective", "=", 5),
        ("core_dumped", "core_dumped", "=", True),
        ("core_dumped=No", "core_dumped", "=", False),
        ("code=1", "exit_code", "=", 1),
        ("binary~a=b", "exe", "~", "a=b"),
        ("args=", "args", "=", ""),
        ("args~x\ny", "args", "~", "x\ny"),
        ("event=EXEC", "event", "=", "exec"),
        ("event~fol", "event", "~", "fol"),
        ("state!=Running", "state", "!=", "running"),
        ("flags=fileless", "marks", "=", "FILELESS"),
        ("args_bytes=a\\xff\\\\", "args_bytes", "=", b"a\xff\\"),
        ("args_bytes=\\xZZ", "args_bytes", "=", b"\\xZZ"),
        ("time>2026-05-01T14:00+02:00", "time", ">", datetime(2026, 5, 1, 12)),
        ("time>2h", "time", ">", datetime(2026, 5, 1, 10)),
    ],
)
def test_how_a_condition_is_read(text: str, column: str, sign: str, value: Any) -> None:
    """Its column (by a short word too), sign, and value with its unit."""
    found = _parse(text)
    assert (found.predicate.name, found.sign, found.value) == (column, sign, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pid", "write COLUMN=VALUE"),
        ("exe", "write COLUMN=VALUE"),
        ("pidd=7", "did you mean pid"),
        ("pid~7", "pid takes = != > < >= <="),
        ("core_dumped>1", "core_dumped takes = !="),
        ("core_dumped=maybe", "is yes or no"),
        ("pid=7s", "is a number; found '7s'"),
        ("duration=7parsecs", "also with ns us ms s m h d"),
        ("pid=9223372036854775808", "is a number"),
        ("duration=999999999d", "is a number"),
        ("pid=1.5", "is a number"),
        ("exit_signal=NOSUCH", "is a number"),
        ("cap_effective~sys_admi", "did you mean sys_admin"),
        ("event=execc", "did you mean exec"),
        ("state=gone", "there are running"),
        ("flags=nonsense", "no row can have 'nonsense'"),
        ("time>yesterday", "write 2h"),
        ("time>1000000d", "write 2h"),
        ("time>99999999999999999999d", "write 2h"),
        ("time>0001-01-01T00:00+14:00", "write 2h"),
        ("egid=no-such-group-here", "no group 'no-such-group-here'"),
    ],
)
def test_what_cannot_be_asked(text: str, said: str) -> None:
    """It is refused with what can be written: an answer to it would be a "No" about nothing."""
    with pytest.raises(UsageError, match=said):
        _parse(text)


#: An image as images.py has it, of which a condition is asked: one process of this machine that has ended, whole.
_IMAGE: dict[str, Any] = {
    "many": 1, "has_end": True, "begun": True, "is_named": True, "on_host": True, "own_users": None, "node": machine.node(),
    "v_flag_names": None, "v_redacted": False, "v_container_name": None,
}  # fmt: skip
_TYPES = {
    "many": "BIGINT",
    "own_users": "VARCHAR[]",
    "node": "VARCHAR",
    "v_flag_names": "VARCHAR",
    "v_container_name": "VARCHAR",
}


def _holds(text: str, value: Any, **image: Any) -> bool | None:
    """What SQL says of a condition on one image: None is not known."""
    test = _parse(text)
    condition, values = predicate.sql(test)
    kinds = {
        "list": "VARCHAR[]",
        "text": "VARCHAR",
        "words": "VARCHAR",
        "place": "VARCHAR",
        "bytes": "BLOB",
        "time": "TIMESTAMP",
        "bool": "BOOLEAN",
    }
    columns = {f"v_{test.predicate.name}": kinds.get(test.predicate.type, "BIGINT")}
    row = _IMAGE | {f"v_{test.predicate.name}": value} | image
    parts = [f"CAST(? AS {(_TYPES | columns).get(name, 'BOOLEAN')}) AS {name}" for name in row]
    query = f"SELECT {condition} FROM (SELECT {', '.join(parts)})"
    (found,) = duckdb.connect().execute(query, [*values, *row.values()]).fetchall()
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("exe=/bin/sh", "/bin/sh", True),
        ("exe=/bin/SH", "/bin/sh", False),
        ("exe~SH", "/bin/sh", True),
        ("exe!=/bin/sh", "/bin/bash", True),
        ("exe=/bin/sh", None, None),
        ("exe!=/bin/sh", None, None),
        ("args=sh -c x", ["sh", "-c", "x"], True),
        ("args=-c", ["sh", "-c", "x"], True),
        ("args=c", ["sh", "-c", "x"], False),
        ("args~H -C", ["sh", "-c"], True),
        ("args!=-c", ["sh", "-c"], False),
        ("exit_code=0", None, False),
        ("exit_code!=0", None, True),
        ("cap_effective~sys_admin", 1 << 21, True),
        ("cap_effective~sys_admin", 1, False),
        ("flags=FILELESS", "FILELESS,REDACTED", True),
        ("flags=FILELESS", "NOT_FILELESS", False),
        ("container=abcdef", "abcdef0123", True),
        ("container=abcde", "abcdef0123", False),
        ("container=bcdef0", "abcdef0123", False),
        ("container=abc", None, False),
        ("args_bytes=a\\xff", b"a\xff", True),
    ],
)
def test_what_is_true_false_and_not_known(text: str, value: Any, holds: bool | None) -> None:
    """An empty value proves "no" only in columns where it means that there is none."""
    assert _holds(text, value) is holds


@pytest.mark.parametrize(
    ("text", "value", "image", "holds"),
    [
        ("exe=/bin/sh", "/bin/sh", {"v_flag_names": "EXE_TRUNCATED"}, None),
        ("exe~sh", "/bin/sh", {"v_flag_names": "X,EXE_TRUNCATED"}, True),
        ("exe~bash", "/bin/sh", {"v_flag_names": "EXE_TRUNCATED"}, None),
        ("exe=/bin/sh", "/bin/sh", {"v_flag_names": "EXE_TRUNCATED_NOT"}, True),
        ("args~secret", ["***"], {"v_redacted": True}, None),
        ("exit_code=0", 0, {"has_end": False}, None),
        ("pod=web", None, {"is_named": False}, None),
        ("pod=web", None, {}, False),
        ("pod!=web", None, {}, True),
        ("script_raw=x", None, {}, False),
        ("script_raw=x", None, {"begun": False}, None),
        ("runtime=containerd", None, {"on_host": False}, None),
        ("pid=7", 7, {"many": 5}, True),
        ("pid=8", 7, {"many": 5}, None),
        ("duration>1s", 2_000_000_000, {"many": 5}, True),
        ("duration>3s", 2_000_000_000, {"many": 5}, False),
        ("duration<3s", 2_000_000_000, {"many": 5}, True),
        ("duration<1s", 2_000_000_000, {"many": 5}, None),
        ("user_time>1s", 2_000_000_000, {"many": 5}, None),
        ("user_time>3s", 2_000_000_000, {"many": 5}, False),
        ("user_time<3s", 2_000_000_000, {"many": 5}, True),
        ("user_time<1s", 2_000_000_000, {"many": 5}, None),
    ],
)
def test_what_a_value_that_is_not_whole_proves(
    text: str, value: Any, image: dict[str, Any], holds: bool | None
) -> None:
    """Cut, redacted, not there yet, not named, one of many: what it shows it has, and its absence is not known."""
    assert _holds(text, value, **image) is holds


def test_what_is_true_of_each_of_many() -> None:
    """A bound from above on the longest and on the sum is one on each; not from below."""
    held = {
        text: predicate.holds_for_each(_parse(text))
        for text in ("exe=x", "pid=1", "duration<1s", "duration>1s", "user_time<=1s")
    }
    assert list(held.values()) == [True, False, True, False, True]


def test_users_by_name_are_this_machines() -> None:
    """On another machine, or in a container, the number is another user's: there only what its files say of their users counts."""
    name, number = pwd.getpwuid(0).pw_name, 0
    found = _parse(f"user={name}")
    assert (found.value, found.named, found.predicate.name) == (number, True, "euid")
    assert _parse(f"egid={grp.getgrgid(0).gr_name}").value == 0
    assert _holds(f"user={name}", 0) is True and _holds(f"user={name}", 5) is False
    assert _holds(f"user={name}", 0, node="elsewhere") is None
    inside = {"on_host": False, "own_users": [f"0={name}", "101=nginx"]}
    assert _holds(f"user={name}", 0, **inside) is True
    assert _holds("user=nginx", 101, **inside) is True and _holds("user=nginx", 0, **inside) is False
    assert _holds("user!=nginx", 101, **inside) is False
    nobody = _parse("user=no-such-user-here")
    assert nobody.value == predicate.UNKNOWN_USER
    assert _holds("user=no-such-user-here", 0, node="elsewhere") is None


def test_a_moment_without_a_zone_is_utc() -> None:
    """As the history's times are."""
    assert _parse("time>2026-05-01T12:00").value == datetime(2026, 5, 1, 12)
    assert _parse("time<30s").value == _NOW.replace(tzinfo=None) - timedelta(seconds=30)
