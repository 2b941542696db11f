"""Rows as events of the Open Cybersecurity Schema Framework (schema.ocsf.io), version 1.9.0.

Rows of `process` are Process Activity (1007); everything else is a Base Event (0), whose name stands in `metadata.log_name`.
What has no place in OCSF stands under `unmapped` by its column's name, so that nothing of a row is lost. Attributes that came
with 1.9 are not used: the events hold for 1.8 as well, whose published schema the tests validate by.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from firsthand import __version__
from firsthand.export import jsonl

VERSION = "1.9.0"
_PRODUCT = {"name": "Firsthand", "vendor_name": "Firsthand", "version": __version__}

#: activity_id of Process Activity by `event`; any other word is 99 (Other) with its name.
ACTIVITIES = {"fork": 1, "exec": 1, "exit": 2, "folded": 1}
_LAUNCH, _OTHER = 1, 99
_HEX = re.compile(r"[0-9a-fA-F]{32}")

#: Where a column of `process` goes: path in the event -> column. Text is made of ids, which OCSF has as strings.
PROCESS: dict[str, str] = {
    "device.hostname": "node",
    "device.boot_uid": "boot",
    "process.pid": "pid",
    "process.tid": "tid",
    "process.namespace_pid": "namespace_pid",
    "process.path": "exe",
    "process.file.path": "exe",
    "process.working_directory": "cwd",
    "process.user.uid": "euid",
    "process.parent_process.pid": "parent_tgid",
    "process.parent_process.name": "parent_name",
    "process.container.uid": "container",
    "process.container.name": "container_name",
    "process.container.image.uid": "image",
    "process.container.runtime": "runtime",
    "exit_code": "exit_code",
    "count": "folded_count",
}
#: Attributes that are made of several columns: path -> (columns, how).
MADE: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "process.uid": (("boot", "exec_tgid", "exec_start", "exec_number"), lambda *parts: identity(*parts)),
    "process.parent_process.uid": (
        ("boot", "parent_tgid", "parent_start", "parent_number"),
        lambda *parts: identity(*parts),
    ),
    "process.container.pod_uuid": (("pod_uid",), lambda uid: uuid_of(uid)),
    "process.name": (("exe",), lambda exe: base(exe)),
    "process.file.name": (("exe",), lambda exe: base(exe)),
    "process.cmd_line": (("args",), lambda args: shlex.join(args)),
    "end_time": (("folded_until",), lambda moment: int(datetime.fromisoformat(moment).timestamp() * 1000)),
    "metadata.uid": (("boot", "ring", "cpu", "seq"), lambda *parts: ":".join(map(str, parts))),
}
_TEXTS = ("process.user.uid",)
#: Columns that every event has in another form.
_WHOLE = {"time", "event"}


def identity(boot: str, tgid: int, start: int, number: int) -> str:
    """A process's id as text, as `exec_id` of `firsthand sql` has it: BOOT8:TGID:START:NUMBER."""
    return f"{boot[:8]}:{tgid}:{start}:{number}"


def uuid_of(uid: str) -> str | None:
    """A pod's uid in the form that OCSF demands; None where it is no UUID."""
    return (
        f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}"
        if _HEX.fullmatch(uid := uid.replace("-", ""))
        else None
    )


def base(path: str) -> str:
    """The last part of a path; OCSF wants a file's name even where the path has none."""
    return path.rpartition("/")[2] or path


def lines(table: str, rows: pa.Table) -> Iterator[bytes]:
    """Each row as one event, one line."""
    for event in events(table, rows):
        yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def line(record: dict[str, Any]) -> bytes:
    """One record that is no row (a heartbeat, a gap) as an event, one line."""
    plain = {key: jsonl.plain(value) for key, value in record.items()}
    moment = int(datetime.fromisoformat(str(plain.pop("time"))).timestamp() * 1000)
    return orjson.dumps(_other(str(plain.pop("table")), moment, plain), option=orjson.OPT_APPEND_NEWLINE)


def events(table: str, rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Each row as an event of plain values."""
    for moment, row in zip(_moments(rows), jsonl.objects(rows), strict=True):
        yield _process(moment, row) if table == "process" else _other(table, moment, row)


def _moments(rows: pa.Table) -> list[int]:
    """`time` in milliseconds since 1970 (timestamp_t); 0 where it is not known."""
    if "time" not in rows.column_names:
        return [0] * rows.num_rows
    found: list[int] = pc.fill_null(pc.divide(rows["time"].cast(pa.int64()), 1000), 0).to_pylist()
    return found


def _head(table: str, moment: int, category: int, kind: int, activity: int) -> dict[str, Any]:
    """What every event must have."""
    return {
        "category_uid": category,
        "class_uid": kind,
        "activity_id": activity,
        "type_uid": kind * 100 + activity,
        "severity_id": 1,
        "time": moment,
        "metadata": {"version": VERSION, "product": _PRODUCT, "log_name": table},
    }


def _other(table: str, moment: int, row: Mapping[str, Any]) -> dict[str, Any]:
    event = _head(table, moment, 0, 0, _OTHER)
    event |= {"activity_name": str(row.get("event") or table), "message": _message(table, row)}
    event["unmapped"] = {key: value for key, value in row.items() if key != "time"}
    if table in _SEVERE and _SEVERE[table](row):
        event["severity_id"] = 3
    return event


#: Records of medium severity (3): what is missing, and an observer that is silent.
_SEVERE: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "loss": lambda row: True,
    "gap": lambda row: True,
    "heartbeat": lambda row: row.get("observer") not in ("alive", "stopped"),
}


def _message(table: str, row: Mapping[str, Any]) -> str:
    words = (row.get(name) for name in ("event", "cause", "observer", "events", "detail"))
    return " ".join([table, *(str(word) for word in words if word is not None)])


def _process(moment: int, row: dict[str, Any]) -> dict[str, Any]:
    activity = ACTIVITIES.get(row.get("event", ""), _OTHER)
    event = _head("process", moment, 1, 1007, activity)
    event["device"] = {"type_id": 0}
    event["process"] = {}
    placed = _place(event, row)
    _complete(event, row, activity)
    if rest := {name: value for name, value in row.items() if name not in placed}:
        event["unmapped"] = rest
    return event


def _place(event: dict[str, Any], row: dict[str, Any]) -> set[str]:
    """Put what has a place there; the columns that are in it whole."""
    placed = set(_WHOLE)
    for path, column in PROCESS.items():
        if column in row:
            _set(event, path, str(row[column]) if path in _TEXTS else row[column])
            placed.add(column)
    for path, (columns, how) in MADE.items():
        if (
            all(column in row for column in columns)
            and (value := how(*(row[column] for column in columns))) is not None
        ):
            _set(event, path, value)
            placed.update(columns)
    return placed


def _set(event: dict[str, Any], path: str, value: Any) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        event = event.setdefault(folder, {})
    event[name] = value


def _complete(event: dict[str, Any], row: dict[str, Any], activity: int) -> None:
    """What depends on more than one attribute: the actor, the profiles, and what an object must have."""
    process = event["process"]
    if "file" in process:
        process["file"]["type_id"] = 1
    parent = process.get("parent_process")
    if activity == _LAUNCH and parent:
        event["actor"] = {"process": parent}
    else:
        event["actor"] = {"process": {key: process[key] for key in ("pid", "uid", "name") if key in process}}
    event["metadata"]["profiles"] = ["host", "container"] if "container" in process else ["host"]
    if activity == _OTHER:
        event["activity_name"] = str(row.get("event", "unknown"))
