"""Synthetic batches for everybody's tests: process lives in containers and on the host, losses, an observer's rows.

Vectorised, so that a million rows take about a second. The same arguments give the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.probe.spec import EXISTING, HOOKS
from firsthand.schema.tables import TABLES
from firsthand.subjects.column import TYPES
from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector, text

NODE = "node-1"
BOOT = "1f2e3d4c-0000-4000-8000-123456789abc"
#: 2026-03-01 12:00:00 UTC in microseconds.
START = 1_772_366_400_000_000
#: Every hook as the observer says that it is there.
HOOKS_PRESENT = json.dumps({hook.name: "present" for hook in (*HOOKS, *EXISTING)})
#: ktime of START, nanoseconds.
KTIME = 5_000_000_000_000
#: Between two events, microseconds.
STEP = 1_000

EXES = ("/usr/bin/bash", "/usr/bin/curl", "/usr/bin/python3.11", "/usr/sbin/nginx", "/bin/busybox", "/usr/bin/env")
ARGS = (
    ("bash", "-c", "true"),
    ("curl", "-s", "https://example.org/"),
    ("python3", "/app/serve.py", "--port", "8080"),
    ("nginx", "-g", "daemon off;"),
    ("sh",),
    ("env", "LANG=C.UTF-8", "make", "-j2"),
)
ENVIRONMENT = (("PATH", "HOME", "LANG"), ("PATH", "KUBERNETES_SERVICE_HOST", "HOSTNAME"))
CONTAINERS = 16
ORDINARY = 0xA80425FB
ALL = 0x1FFFFFFFFFF
_STEPS = ("fork", "exec", "exit")


def container_id(number: int) -> str:
    """The id of the n-th container: 64 hexadecimal digits."""
    return f"{number + 1:064x}"


def process_lives(
    lives: int, *, start: int = START, node: str = NODE, boot: str = BOOT, first: int = 0, ring: int = 0
) -> Batch:
    """`lives` processes, each as fork, exec and exit: 3 rows per life, one after another, STEP apart.

    Life i has tgid 1000 + i; its parent is life i // 4 (the shell of its container where i < 4). Every fourth runs on
    the host; the others in one of 16 containers. `first` is the number of the first life: batches with first=0 and then
    first=lives go on with times, sequence numbers and ids.
    """
    life = np.repeat(np.arange(first, first + lives, dtype=np.int64), 3)
    step = np.tile(np.arange(3), lives)
    at = life * 3 + step
    columns = _moment(at, start, ring) | _identity(life, step) | _who(life)
    columns |= {"node": constant(node, len(at)), "boot": constant(boot, len(at))}
    columns |= _program(life, step) | _end(life, step)
    return Batch("process", len(at), {name: columns[name] for name in TABLES["process"].names if name in columns})


def _moment(at: NDArray[np.int64], start: int, ring: int) -> dict[str, Vector]:
    cpus = 4
    return {
        "time": Fixed(start + at * STEP),
        "ktime": Fixed(KTIME + at * STEP * 1000),
        "ring": fixed("int16", np.full(len(at), ring)),
        "cpu": fixed("int16", at % cpus),
        "seq": Fixed(at // cpus),
    }


def _identity(life: NDArray[np.int64], step: NDArray[np.int64]) -> dict[str, Vector]:
    parent = life // 4
    tgid = 1000 + life
    return {
        "event": coded(step, _STEPS),
        "exec_tgid": fixed("int32", tgid),
        "exec_start": Fixed(KTIME + life * 3 * STEP * 1000),
        "exec_number": Fixed(np.where(step == 0, 7, 8).astype(np.int64)),
        "parent_tgid": fixed("int32", 1000 + parent),
        "parent_start": Fixed(KTIME + parent * 3 * STEP * 1000),
        "parent_number": Fixed(np.full(len(life), 8)),
        "previous_number": Fixed(np.full(len(life), 7), step == 1),
        "pid": fixed("int32", tgid),
        "tid": fixed("int32", tgid),
        "namespace_pid": fixed("int32", 10 + life % 1000),
    }


def _who(life: NDArray[np.int64]) -> dict[str, Vector]:
    number = life % CONTAINERS
    inside = life % 4 != 0
    paths = [f"/kubepods/burstable/pod{n:032x}/{container_id(n)}" for n in range(CONTAINERS)]
    columns: dict[str, Vector] = {
        "container": coded(number, [container_id(n) for n in range(CONTAINERS)], inside),
        "pod": coded(number, [f"web-{n}" for n in range(CONTAINERS)], inside),
        "namespace": coded(number % 4, ["default", "shop", "kube-system", "jobs"], inside),
        "pod_uid": coded(number, [f"{n:032x}" for n in range(CONTAINERS)], inside),
        "runtime": coded(number * 0, ["containerd"], inside),
        "cgroup_path": coded(np.where(inside, number, CONTAINERS), [*paths, "/system.slice/cron.service"]),
        "cgroup_hierarchy": Fixed(np.zeros(len(life), dtype=np.int64)),
        "cgroup_id": Fixed(np.where(inside, 4000 + number, 300)),
        "host_namespaces": coded(inside * 1, ["mount uts ipc net pid cgroup time user", "time user"]),
    }
    for index, name in enumerate(("mount", "uts", "ipc", "net", "pid", "cgroup", "time", "user")):
        own = inside & (name not in ("time", "user"))
        columns[f"ns_{name}"] = Fixed(np.where(own, 4026532000 + number * 8 + index, 4026531830 + index))
    for name in ("uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid"):
        columns[name] = Fixed(np.where(inside, 1000 + number, 0))
    return columns | _rights(number, inside)


def _rights(number: NDArray[np.int64], inside: NDArray[np.bool_]) -> dict[str, Vector]:
    held = np.where(inside & (number != 5), ORDINARY, ALL)
    sets: dict[str, Vector] = {f"cap_{name}": Fixed(held) for name in ("permitted", "effective", "bounding")}
    nothing = np.zeros(len(number), dtype=np.int64)
    sets |= {f"cap_{name}": Fixed(nothing) for name in ("inheritable", "ambient")}
    return sets | {"login_uid": Fixed(nothing + 1000, ~inside), "login_session": Fixed(nothing + 3, ~inside)}


def _program(life: NDArray[np.int64], step: NDArray[np.int64]) -> dict[str, Vector]:
    kind = life % len(EXES)
    begun = step >= 1
    execed = step == 1
    names = [exe.rpartition("/")[2] for exe in EXES]
    known: dict[str, Vector] = {
        "exe": coded(np.where(begun, kind, 0), EXES),
        "comm": coded(np.where(begun, kind, 0), names),
        "parent_name": coded(life // 4 % len(EXES), names),
        "flags": Fixed(np.where(life % 10 == 0, 1, 0), begun),
        "flag_names": coded(life * 0, ["PRIVILEGED"], begun & (life % 10 == 0)),
        "redacted": Fixed(np.zeros(len(life), dtype=np.uint8), execed),
        "file_inode": Fixed(100_000 + kind, execed),
        "file_device": coded(life * 0, ["8:1"], execed),
        "file_mode": Fixed(np.full(len(life), 0o100755), execed),
        "file_links": Fixed(np.ones(len(life), dtype=np.int64), execed),
        "filename_raw": coded(kind, EXES, execed),
        "cwd": coded(life % 3, ["/", "/app", "/root"], execed),
        "args": lists(kind, ARGS, execed),
        "args_length": Fixed(np.array([sum(map(len, a)) + len(a) for a in ARGS])[kind], execed),
        "env_names": lists(life % 2, ENVIRONMENT, execed),
        "env_length": Fixed(np.array([120, 400])[life % 2], execed),
    }
    return known | {name: coded(life % 2, ["pipe", "null"], execed) for name in ("stdin", "stdout", "stderr")}


def _end(life: NDArray[np.int64], step: NDArray[np.int64]) -> dict[str, Vector]:
    ended = step == 2
    return {
        "exit_code": fixed("int32", life % 3, ended),
        "exit_signal": fixed("int32", np.where(life % 50 == 0, 9, 0), ended),
        "core_dumped": Fixed(np.zeros(len(life), dtype=np.uint8), ended),
        "user_time": Fixed(1_000_000 + life % 977 * 1000, ended),
        "system_time": Fixed(500_000 + life % 983 * 1000, ended),
        "duration": Fixed(np.full(len(life), 2 * STEP * 1000), ended),
        "peak_memory": Fixed(4096 * (500 + life % 800), ended),
    }


def loss(events: int = 3, *, at: int = START, cause: str = "sequence_gap", table: str | None = None) -> Batch:
    """One row of `loss`: `events` missing in the second before `at` (microseconds)."""
    row = {"time": at, "node": NODE, "boot": BOOT, "ring": 0, "cpu": 1, "table_name": table, "cause": cause}
    return Batch.from_rows("loss", [row | {"events": events, "since": at - 1_000_000, "until": at}])


def observed(
    since: int = START,
    until: int = START + 60_000_000,
    *,
    every: int = 10_000_000,
    last: str = "stop",
    scope: str | None = None,
    instance: str = "default",
    **more: str,
) -> Batch:
    """The `observer` rows of one run: start, ready, alive each `every` microseconds, and `last` at `until`; `more` columns of each."""
    moments = [("start", since), ("ready", since), *(("alive", t) for t in range(since + every, until, every))]
    given = {"instance": instance, "scope": scope} | more
    return Batch.from_rows("observer", [observer(event, at, **given) for event, at in [*moments, (last, until)]])


def observer(event: str, at: int | datetime, **more: Any) -> dict[str, Any]:
    """One row of `observer`: every hook is there, nothing was left out. `at`: microseconds or a time; `more`: other columns."""
    row: dict[str, Any] = {
        "node": NODE, "boot": BOOT, "instance": "default", "version": "0.1.0", "kernel": "6.1.0 x86_64",
        "hooks": HOOKS_PRESENT, "blind_spots": "[]", "settings": "{}", "recorded": 0, "lost": 0,
    }  # fmt: skip
    return row | {"event": event, "time": at} | more


def constant(word: str, rows: int) -> Text:
    """The same text in every row."""
    return coded(np.zeros(rows, dtype=np.int64), [word])


def coded(codes: NDArray[Any], words: Sequence[str], valid: NDArray[np.bool_] | None = None) -> Text:
    """words[code] of each row; null (and empty) where not `valid`."""
    raw = [word.encode() for word in words]
    lengths = np.array([len(word) for word in raw], dtype=np.int32)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    each = lengths[codes] if valid is None else np.where(valid, lengths[codes], 0)
    offsets = _offsets(each)
    picked = np.repeat(starts[codes] - offsets[:-1], each) + np.arange(offsets[-1])
    return Text(offsets, np.frombuffer(b"".join(raw), dtype=np.uint8)[picked], valid)


def lists(codes: NDArray[Any], rows: Sequence[Sequence[str]], valid: NDArray[np.bool_] | None = None) -> Lists:
    """rows[code] of each row as a list of texts; null (and empty) where not `valid`."""
    counts = np.array([len(row) for row in rows], dtype=np.int32)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    each = counts[codes] if valid is None else np.where(valid, counts[codes], 0)
    offsets = _offsets(each)
    words = np.repeat(starts[codes] - offsets[:-1], each) + np.arange(offsets[-1])
    return Lists(offsets, coded(words, [word for row in rows for word in row]), valid)


def fixed(kind: str, values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Fixed:
    """Numbers in the dtype of a column type."""
    return Fixed(values.astype(TYPES[kind][0]), valid)


def hostile() -> Batch:
    """Process rows of newlines, terminal escapes, quotes and what is not UTF-8 (in the *_bytes columns)."""
    texts = ["line\nfeed", "\x1b]0;owned\x07\x1b[2J", "'" * 4096, '"' * 4096, "\u202e\u0000\U0001f600", "-- ; DROP"]
    raw = [b"\xff\xfe", b"\x80" * 64, b"ok\xc3", bytes(range(256)), b"\0\0", b"\xed\xa0\x80"]
    rows = [
        {
            "time": START + i, "node": NODE, "boot": BOOT, "event": "exec", "exec_tgid": i, "exec_start": i,
            "exec_number": 1, "exe": word, "exe_bytes": blob, "comm": word[:15], "args": [word, "", word],
            "args_bytes": blob, "cwd": word, "cwd_bytes": blob,
        }
        for i, (word, blob) in enumerate(zip(texts, raw, strict=True))
    ]  # fmt: skip
    return Batch.from_rows("process", rows)


def text_rows(words: Sequence[str]) -> Text:
    """One text per row."""
    return text([word.encode() for word in words])


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
