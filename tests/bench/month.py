"""A history of 30 days on one node, for what questions cost: written by the product's own writer, keeper and compaction, once for each size.

Of the rows six in ten are of processes, three of connections, one of names and requests. Each day has 343 pods of its own, in which
something runs by Zipf's law, and as many places on the host. A day's segments are merged at its end. Beside that an observer says that it
is alive each 10 seconds, and container runtimes name each pod before anything runs in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import summary
from firsthand.wire.batch import Batch, Fixed, Vector
from tests import caches, samples
from tests.samples import coded, fixed, lists

DAYS, PODS, PASSES = 30, 343, 24
DAY = 86_400_000_000
#: The month begins on a UTC day.
BEGIN = samples.START // DAY * DAY
END = BEGIN + DAYS * DAY
BINARIES, PEERS, DOMAINS = 300, 4_000, 3_000
#: What questions look for: a name that three pods asked for, a pod, and what it is.
RARE = "rare.example.net"
POD = "app-14-0007"
_ALIVE = 10_000_000
_WHICH = (BINARIES, PEERS, DOMAINS, PODS, DAYS, PASSES)

Numbers = NDArray[np.int64]


def history(rows: int) -> Path:
    """The history of so many rows, and of what is said beside them; made where it is not held yet."""
    kept = (summary.COLUMNS, summary.FACTS)
    key = caches.key("month", str(rows), str(_WHICH), str(kept), files=[Path(__file__)])
    return caches.folder("months", key, lambda directory: _make(directory, rows))


def _make(directory: Path, rows: int) -> None:
    now = [0.0]
    keeper = Keeper(directory, linger=0, grace=0, many=2, now=lambda: now[0])
    with (
        LogWriter(directory, samples.NODE, samples.BOOT) as log,
        LogWriter(directory, samples.NODE, samples.BOOT, folder=place.NAMES) as names,
    ):
        for day in range(DAYS):
            names.append(list(_named(day)), [])
            for until, batches in _parts(day, rows):
                log.append(batches, [])
                now[0] = until / 1e6
                keeper.pass_once(last=True)
            keeper.tidy()
    keeper.close()


def exec_id(day: int = DAYS // 2) -> str:
    """A process of that day that is held in each size."""
    return f"{samples.BOOT[:8]}:{_tgid(day, 0)}:{_start(day, 0)}:3"


def _tgid(day: int, life: int) -> int:
    return 2_000 + (day * 40_009 + life) % 4_000_000


def _start(day: int, life: int) -> int:
    return _ktime(BEGIN + day * DAY + 1_000_000) + life * 7


def _ktime(time: Any) -> Any:
    return samples.KTIME + (time - BEGIN) * 1000


def _parts(day: int, rows: int) -> Iterator[tuple[int, list[Batch]]]:
    """A day's rows in PASSES parts: until when, and what was recorded."""
    random = np.random.default_rng(day + 1)
    each = rows // DAYS
    tables = [_processes(day, each * 6 // 10, random), *_connections(day, each * 3 // 10, random)]
    tables += [_lookups(day, each * 8 // 100, random), _requests(day, each * 2 // 100, random), _observer(day)]
    times = [np.asarray(batch.columns["time"].values) for batch in tables]  # type: ignore[union-attr]
    for part in range(PASSES):
        begin = BEGIN + day * DAY + part * (DAY // PASSES)
        until = begin + DAY // PASSES
        chosen = [
            batch.chosen(np.flatnonzero((at >= begin) & (at < until))) for batch, at in zip(tables, times, strict=True)
        ]
        yield until, [batch for batch in chosen if batch.length]


def _common(table: str, day: int, ktime: Numbers, pod: Numbers, columns: dict[str, Vector]) -> Batch:
    """Rows in the order of their times, with what all tables have."""
    number = len(ktime)
    columns = {
        "time": Fixed(BEGIN + (ktime - samples.KTIME) // 1000),
        "ktime": Fixed(ktime),
        "ring": fixed("int16", np.zeros(number)),
        "cpu": fixed("int16", np.arange(number) % 4),
        "seq": Fixed(day * 10**9 + np.arange(number) // 4),
        "node": samples.constant(samples.NODE, number),
        "boot": samples.constant(samples.BOOT, number),
        **_who(day, pod),
        **columns,
    }
    return Batch(table, number, columns).chosen(np.argsort(ktime, kind="stable"))


def _who(day: int, pod: Numbers) -> dict[str, Vector]:
    """Pod 0 is the host."""
    inside = pod > 0
    every = range(PODS)
    return {
        "container": coded(pod, [_container(day, i) for i in every], inside),
        "pod": coded(pod, [_pod(day, i) for i in every], inside),
        "namespace": coded(pod % 12, [f"team-{i}" for i in range(12)], inside),
        "workload": coded(pod % 25, [f"team-{i % 12}/Deployment/app-{i}" for i in range(25)], inside),
        "image": coded(pod % 25, [f"registry.example/team/app-{i}:1.{i}.0" for i in range(25)], inside),
        "container_name": coded(pod % 25, [f"app-{i}" for i in range(25)], inside),
        "pod_uid": coded(pod, [_uid(day, i) for i in every], inside),
        "runtime": coded(pod * 0, ["containerd"], inside),
        "cgroup_path": coded(
            pod,
            [f"/kubepods/pod{_uid(day, i)}/{_container(day, i)}" if i else "/system.slice/cron.service" for i in every],
        ),
        "cgroup_hierarchy": Fixed(pod * 0),
        "cgroup_id": Fixed(4_000 + day * PODS + pod),
    }


def _pod(day: int, number: int) -> str:
    return f"app-{day}-{number:04}"


def _container(day: int, number: int) -> str:
    return hashlib.sha256(f"{day} {number}".encode()).hexdigest()


def _uid(day: int, number: int) -> str:
    return f"{day:08x}-1111-4222-8333-{number * 7919:012x}"


def _named(day: int) -> Iterator[Batch]:
    """What runtimes tell of a day's pods."""
    for table in ("pod", "container"):
        rows = []
        for i in range(1, PODS):
            row: dict[str, object] = {
                "time": BEGIN + day * DAY,
                "node": samples.NODE,
                "boot": samples.BOOT,
                "event": "named",
            }
            row |= {"container": _container(day, i), "pod": _pod(day, i), "namespace": f"team-{i % 12}"}
            row |= {
                "workload": f"team-{i % 12}/Deployment/app-{i % 25}",
                "pod_uid": _uid(day, i),
                "runtime": "containerd",
            }
            row |= {
                "image": f"registry.example/team/app-{i % 25}:1.{i % 25}.0",
                "since": BEGIN + day * DAY,
                "state": "running",
            }
            row |= {"addresses": [_address(day, i)], "labels": [f"app=app-{i % 25}"]}
            row |= {"container_name": f"app-{i % 25}", "kind": "container"} if table == "container" else {}
            rows.append(row)
        yield Batch.from_rows(table, rows)


def _address(day: int, pod: int) -> str:
    return f"10.{64 + day}.{pod // 250}.{pod % 250 + 1}"


def _zipf(random: np.random.Generator, most: int, number: int) -> Numbers:
    weights = 1 / np.arange(1, most + 1)
    return random.choice(most, number, p=weights / weights.sum())


class _MonthLives(NamedTuple):
    """Processes of a day: by process when it began and ended and whether it executed; by row its process, step (fork, exec, exit), time."""

    start: Numbers
    end: Numbers
    execs: Numbers
    of: Numbers
    step: Numbers
    ktime: Numbers


def _lives(day: int, rows: int, random: np.random.Generator) -> _MonthLives:
    lives = max(rows * 4 // 11, 8)
    every = np.arange(lives)
    start = _start(day, 0) + np.sort(random.integers(0, DAY * 900, lives)) + every
    start[0] = _start(day, 0)
    execs = random.random(lives) < 0.75
    execs[0] = True
    end = np.minimum(
        start + 1_000_000 + random.lognormal(16.5, 1.5, lives).astype(np.int64), _ktime(BEGIN + (day + 1) * DAY) - 1
    )
    of = np.concatenate([every, every[execs], every])
    step = np.concatenate([np.zeros(lives, int), np.ones(int(execs.sum()), int), np.full(lives, 2)])
    ktime = np.choose(step, [start[of], np.minimum(start[of] + 400_000, end[of]), end[of]])
    return _MonthLives(start, end, execs, of, step, ktime)


def _processes(day: int, rows: int, random: np.random.Generator) -> Batch:
    made = _lives(day, rows, random)
    of, step = made.of, made.step
    pod = _zipf(random, PODS, len(made.start))[of]
    columns = _identity(day, made) | _program(made, pod, _zipf(random, BINARIES, len(made.start))[of], random)
    ended = step == 2
    more = {
        "flags": Fixed(step * 0),
        **{name: Fixed(np.where(pod > 0, 1000 + pod % 9, 0)) for name in ("uid", "gid", "euid", "egid")},
        **{
            f"cap_{name}": Fixed(np.where(pod % 9 > 0, 0xA80425FB, 0x1FFFFFFFFFF))
            for name in ("permitted", "effective", "bounding")
        },
        "exit_code": fixed("int32", of % 11 % 3, ended),
        "user_time": Fixed(1_000_000 + of % 977 * 1000, ended),
        "system_time": Fixed(500_000 + of % 983 * 1000, ended),
        "duration": Fixed((made.end - made.start)[of], ended),
        "peak_memory": Fixed(4096 * (500 + of % 800), ended),
    }
    return _common("process", day, made.ktime, pod, columns | more)


def _identity(day: int, made: _MonthLives) -> dict[str, Vector]:
    """Who each row is of, and its parent."""
    of, every = made.of, np.arange(len(made.start))
    parent = (every // 7)[of]
    tgid = 2_000 + (day * 40_009 + every) % 4_000_000
    return {
        "event": coded(made.step, ("fork", "exec", "exit")),
        **{name: fixed("int32", tgid[of]) for name in ("exec_tgid", "pid", "tid")},
        "namespace_pid": fixed("int32", of % 30_000 + 7),
        "exec_start": Fixed(made.start[of]),
        "exec_number": Fixed(2 + (made.step > 0) * made.execs[of]),
        "parent_tgid": fixed("int32", tgid[parent]),
        "parent_start": Fixed(np.where(of > 0, made.start[parent], 1)),
        "parent_number": Fixed(2 + made.execs[parent]),
        "previous_number": Fixed(made.step * 0 + 2, made.step == 1),
    }


def _program(made: _MonthLives, pod: Numbers, binary: Numbers, random: np.random.Generator) -> dict[str, Vector]:
    """What runs, and with which arguments."""
    paths = [f"/usr/{'local/' if i % 3 else ''}bin/tool-{i:x}" for i in range(BINARIES)]
    names = [path.rpartition("/")[2] for path in paths]
    tokens = random.integers(0, 1 << 40, 997)
    words = [[paths[i % BINARIES], "--job", f"{tokens[i]:x}", "/etc/app/config.yaml"] for i in range(997)]
    execed = made.step == 1
    return {
        "exe": coded(np.where(made.step == 0, pod % BINARIES, binary), paths),
        "comm": coded(binary, names),
        "parent_name": coded(pod % BINARIES, names),
        "args": lists((binary * 7 + made.of) % 997, words, execed),
        "cwd": coded(pod % 20, [f"/srv/app-{i}" for i in range(20)], execed),
        "redacted": Fixed(np.zeros(len(made.of), np.uint8), execed),
        **_namespaces(pod, binary, made.step != 2),
    }


def _namespaces(pod: Numbers, binary: Numbers, told: NDArray[np.bool_]) -> dict[str, Vector]:
    """Pods have their own; on the host one program of twenty is of a unit with a mount namespace."""
    hardened = (pod == 0) & (binary % 20 == 0)
    kinds = ("mount uts ipc net pid cgroup time user", "uts ipc net pid cgroup time user", "time user")
    return {
        "ns_pid": Fixed(np.where(pod > 0, 4_026_532_000 + pod, 4_026_531_836), told),
        "host_namespaces": coded(np.where(pod > 0, 2, hardened), kinds, told),
        "file_device": coded((pod > 0) * (1 + pod % 50), ["8:1", *(f"0:{50 + i}" for i in range(50))], told),
    }


def _asking(day: int, number: int, random: np.random.Generator) -> tuple[Numbers, Numbers, dict[str, Vector]]:
    """Pods, moments and the processes of what talks."""
    pod = _zipf(random, PODS, number)
    at = _ktime(BEGIN + day * DAY + 2_000_000) + np.sort(random.integers(0, DAY * 990, number))
    life = random.integers(0, 50, number)
    columns: dict[str, Vector] = {
        "exec_tgid": fixed("int32", 2_000 + (day * 40_009 + life) % 4_000_000),
        "exec_start": Fixed(_start(day, 0) + life * 7),
        "exec_number": Fixed(life * 0 + 3),
        "parent_tgid": fixed("int32", 2_000 + (day * 40_009 + life * 0) % 4_000_000),
        "parent_start": Fixed(_start(day, 0) + life * 0),
        "parent_number": Fixed(life * 0 + 3),
        "pid": fixed("int32", 2_000 + (day * 40_009 + life) % 4_000_000),
        "exe": coded(pod % BINARIES, [f"/usr/bin/tool-{i:x}" for i in range(BINARIES)]),
        "uid": Fixed(1000 + pod % 9),
        "euid": Fixed(1000 + pod % 9),
        "cap_permitted": Fixed(pod * 0 + 0xA80425FB),
        "cap_effective": Fixed(pod * 0 + 0xA80425FB),
        "ns_net": Fixed(4026531840 + day * PODS + pod),
    }
    return pod, at, columns


def _connections(day: int, rows: int, random: np.random.Generator) -> Iterator[Batch]:
    number = max(rows // 2, 4)
    pod, at, who = _asking(day, number, random)
    peer = _zipf(random, PEERS, number)
    regular = pod % 50 == 7  # pods that report to one peer, as often as they are chosen, evenly
    peer[regular] = PEERS - 1
    at[regular] = _ktime(BEGIN + day * DAY + 3_000_000) + np.arange(int(regular.sum())) * (
        DAY * 900 // max(int(regular.sum()), 1)
    )
    addresses = [f"203.{i // 250}.113.{i % 250 + 1}" for i in range(PEERS)]
    cookie = day * 10**9 + np.arange(number)
    took = random.lognormal(18, 1, number).astype(np.int64)
    took = np.minimum(took, _ktime(BEGIN + (day + 1) * DAY) - 1 - at)
    named = [[_domain(i)] for i in range(PEERS)]
    for ended in (False, True):
        yes = np.full(number, ended)
        more: dict[str, Vector] = {
            "event": samples.constant("close" if ended else "connect", number),
            "transport": samples.constant("tcp", number),
            "family": samples.constant("ipv4", number),
            "outcome": samples.constant("established", number),
            "cookie": Fixed(cookie),
            "local_address": coded(pod, [_address(day, i) for i in range(PODS)]),
            "local_port": fixed("int32", 32_768 + cookie % 28_000),
            "peer_address": coded(peer, addresses),
            "peer_port": fixed("int32", 443 + cookie * 0),
            "names": lists(peer, named, peer % 3 == 0),
            "duration": Fixed(took, yes),
            "bytes_sent": Fixed(200 + cookie % 1_000, yes),
            "bytes_received": Fixed(2_000 + cookie % 20_000, yes),
        }
        yield _common("connection", day, at + took * ended, pod, {**who, **more})


def _domain(number: int) -> str:
    return f"host-{number:x}.example.org"


def _lookups(day: int, rows: int, random: np.random.Generator) -> Batch:
    number = max(rows, 4)
    pod, at, who = _asking(day, number, random)
    asked = _zipf(random, DOMAINS, number)
    answer = np.arange(number) % 2 == 1
    asked[answer] = asked[np.flatnonzero(answer) - 1]
    if day in (3, 14, 25):
        asked[:2] = DOMAINS
    names = [*(_domain(i) for i in range(DOMAINS)), RARE]
    given = [[f"203.{i // 250}.113.{i % 250 + 1}"] for i in range(DOMAINS)]
    more: dict[str, Vector] = {
        "event": coded(answer * 1, ("question", "answer")),
        "transport": samples.constant("udp", number),
        "direction": coded(answer * 1, ("out", "in")),
        "peer_address": samples.constant("10.96.0.10", number),
        "peer_port": Fixed(at * 0 + 53),
        "cookie": Fixed(day * 10**9 + 5 * 10**8 + np.arange(number) // 2),
        "query_id": fixed("int32", np.arange(number) // 2 % 65_536),
        "name": coded(asked, names),
        "type": samples.constant("A", number),
        "rcode": coded(asked * 0, ["NOERROR"], answer),
        "addresses": lists(asked, [*given, ["198.51.100.7"]], answer),
        "records": lists(asked, [[f"{one} 60 A 203.0.113.1"] for one in names], answer),
        "ttl": fixed("int32", asked * 0 + 60, answer),
    }
    return _common("name", day, at, pod, {**who, **more})


def _requests(day: int, rows: int, random: np.random.Generator) -> Batch:
    number = max(rows, 2)
    pod, at, who = _asking(day, number, random)
    peer = _zipf(random, PEERS, number)
    more: dict[str, Vector] = {
        "event": samples.constant("hello", number),
        "transport": samples.constant("tcp", number),
        "direction": samples.constant("out", number),
        "protocol": samples.constant("tls", number),
        "cookie": Fixed(day * 10**9 + np.arange(number)),
        "peer_address": coded(peer, [f"203.{i // 250}.113.{i % 250 + 1}" for i in range(PEERS)]),
        "peer_port": Fixed(at * 0 + 443),
        "sni": coded(peer, [_domain(i) for i in range(PEERS)]),
        "ja4": coded(peer % 40, [f"t13d1516h2_{i:012x}_{i * 7:012x}" for i in range(40)]),
    }
    return _common("request", day, at, pod, {**who, **more})


def _observer(day: int) -> Batch:
    """An observer that is alive, and whose canaries come back each minute."""
    times = np.arange(BEGIN + day * DAY, BEGIN + (day + 1) * DAY, _ALIVE)
    number = len(times)
    kinds = np.full(number, 2)
    if not day:
        kinds[:2] = (0, 1)
    if day == DAYS - 1:
        kinds[-1] = 3
    ktime = _ktime(times)
    said = [
        json.dumps({"monotonic": at / 1e9, "proven_monotonic": at // 60_000_000_000 * 60.0, "canary_seconds": 60.0})
        for at in ktime.tolist()
    ]
    columns: dict[str, Vector] = {
        "time": Fixed(times),
        "ktime": Fixed(ktime),
        "node": samples.constant(samples.NODE, number),
        "boot": samples.constant(samples.BOOT, number),
        "instance": samples.constant("default", number),
        "version": samples.constant("0.1.0", number),
        "event": coded(kinds, ("start", "ready", "alive", "stop")),
        "hooks": samples.constant(samples.HOOKS_PRESENT, number),
        "blind_spots": samples.constant("[]", number),
        "settings": samples.constant("{}", number),
        "recorded": Fixed(np.arange(number)),
        "lost": Fixed(np.zeros(number, np.int64)),
        "measures": samples.text_rows(said),
    }
    return Batch("observer", number, columns)
