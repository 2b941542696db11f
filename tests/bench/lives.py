"""Process rows as a busy machine makes them, for figures of size: what varies there varies here, from one seed.

Pods start programs at random moments by Zipf's law, of some hundred binaries; a quarter of the lives are forks without an exec
(subshells); two fifths of the command lines hold something that never comes again (a path, an id, a time). Times have the
kernel's nanoseconds, process ids rise machine-wide with gaps, parents are the pod's few long-lived processes or the life before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector, text
from tests.samples import KTIME, START, coded, fixed, lists

PODS = 60
NAMESPACES = 12
BINARIES = 300
TEMPLATES = 2_000
CPUS = 8
#: Lives a second.
RATE = 50
BATCH = 5_000
_WORDS = (
    *("run", "check", "sync", "--config", "--output", "json", "/etc/app/config.yaml", "-c", "set", "-e", "exec"),
    *("get", "put", "status", "health", "-q", "-n", "--timeout", "30", "true"),
)
_VARIABLES = (
    *("PATH", "HOME", "HOSTNAME", "LANG", "PWD", "SHLVL", "TERM", "LC_ALL"),
    *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_PORT"),
)

Numbers = NDArray[np.int64]


def lives(number: int, seed: int = 7) -> Iterator[Batch]:
    """The rows of `number` lives in the order in which they happened: fork, mostly exec, exit; in batches of BATCH."""
    random = np.random.default_rng(seed)
    life = _Lives(number, random)
    step = np.concatenate([np.zeros(number, int), np.ones(int(life.execs.sum()), int), np.full(number, 2)])
    every = np.arange(number)
    of = np.concatenate([every, every[life.execs], every])
    ktime = np.choose(step, [life.start[of] + 9_000, life.execed[of], life.end[of]])
    order = np.argsort(ktime, kind="stable")
    for first in range(0, len(order), BATCH):
        part = order[first : first + BATCH]
        yield life.batch(of[part], step[part], ktime[part], random)


class _Lives:
    """Columns of each life."""

    def __init__(self, number: int, random: np.random.Generator) -> None:
        self.start = KTIME + np.cumsum(random.exponential(1e9 / RATE, number)).astype(np.int64)
        self.execs = random.random(number) < 0.75
        self.execed = self.start + random.exponential(600_000, number).astype(np.int64) + 150_000
        self.end = self.execed + random.lognormal(16.5, 1.5, number).astype(np.int64)
        self.tgid = 2_000 + np.cumsum(random.geometric(0.6, number))
        self.pod = _zipf(random, PODS, number)
        self.binary = (_zipf(random, BINARIES, number) + self.pod * 7) % BINARIES
        self.parent = np.where(random.random(number) < 0.3, np.maximum(np.arange(number) - 1, 0), self.pod * 3)
        self.numbers = random.integers(2, 9, PODS)[self.pod]
        self.cpu_time = random.lognormal(14, 1.5, (2, number)).astype(np.int64) // 1000 * 1000
        self.memory = random.lognormal(15.5, 0.8, number).astype(np.int64) // 4096 * 4096
        self.seq = np.zeros(CPUS, np.int64)
        self.code = random.choice([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 127], number)

    def batch(self, of: Numbers, step: Numbers, ktime: Numbers, random: np.random.Generator) -> Batch:
        """All columns of the rows `of` lives."""
        cpu = random.integers(0, CPUS, len(of))
        seq = np.zeros(len(of), np.int64)
        for one in range(CPUS):
            seq[cpu == one] = self.seq[one] + np.arange((cpu == one).sum())
            self.seq[one] += (cpu == one).sum()
        columns: dict[str, Vector] = {
            "time": Fixed(START + (ktime - KTIME) // 1000),
            "ktime": Fixed(ktime),
            "ring": fixed("int16", np.zeros(len(of))),
            "cpu": fixed("int16", cpu),
            "seq": Fixed(seq),
            "node": coded(of * 0, ["node-1.example.internal"]),
            "boot": coded(of * 0, ["1f2e3d4c-0000-4000-8000-123456789abc"]),
        }
        columns |= (
            self._identity(of, step) | _who(self.pod[of]) | self._program(of, step, random) | self._ended(of, step)
        )
        return Batch("process", len(of), columns)

    def _identity(self, of: Numbers, step: Numbers) -> dict[str, Vector]:
        parent = self.parent[of]
        return {
            "event": coded(step, ("fork", "exec", "exit")),
            "exec_tgid": fixed("int32", self.tgid[of]),
            "pid": fixed("int32", self.tgid[of]),
            "tid": fixed("int32", self.tgid[of]),
            "namespace_pid": fixed("int32", np.where(self.pod[of] == 0, self.tgid[of], of // 16 % 30_000 + 7)),
            "exec_start": Fixed(self.start[of]),
            "exec_number": Fixed(self.numbers[of] + (step > 0) * self.execs[of]),
            "parent_tgid": fixed("int32", self.tgid[parent]),
            "parent_start": Fixed(self.start[parent]),
            "parent_number": Fixed(self.numbers[of]),
            "previous_number": Fixed(self.numbers[of], step == 1),
        }

    def _program(self, of: Numbers, step: Numbers, random: np.random.Generator) -> dict[str, Vector]:
        execed = step == 1
        kind = np.where((step == 0) | ~self.execs[of], self.pod[of], self.binary[of])
        paths = [f"/usr/{'local/' if i % 3 else ''}bin/{name}" for i, name in enumerate(_names(BINARIES))]
        names = [path.rpartition("/")[2][:15] for path in paths]
        flags = np.where(self.binary[of] % 97 == 0, 1, 0)
        known: dict[str, Vector] = {
            "exe": coded(kind, paths),
            "comm": coded(kind, names),
            "parent_name": coded(self.pod[of], names),
            "flags": Fixed(flags),
            "flag_names": coded(flags * 0, ["SETUID"], flags > 0),
            "redacted": Fixed(np.zeros(len(of), np.uint8), execed),
            "file_inode": Fixed(100_000 + self.binary[of] * 13, execed),
            "file_device": coded(self.pod[of], [f"0:{60 + i}" for i in range(PODS)], execed),
            "file_mode": Fixed(np.full(len(of), 0o100755), execed),
            "file_links": Fixed(np.ones(len(of), np.int64), execed),
            "filename_raw": coded(kind, paths, execed),
            "cwd": coded(self.pod[of] % 20, [f"/srv/app-{i}" if i else "/" for i in range(20)], execed),
            "env_names": lists(self.pod[of], [_variables(i) for i in range(PODS)], execed),
            "env_length": Fixed(900 + self.pod[of] * 31, execed),
        }
        known |= {
            name: coded(self.pod[of] % 3, ["pipe", "null", "socket"], execed) for name in ("stdin", "stdout", "stderr")
        }
        return known | _arguments(self.binary[of], execed, random)

    def _ended(self, of: Numbers, step: Numbers) -> dict[str, Vector]:
        ended = step == 2
        return {
            "exit_code": fixed("int32", self.code[of], ended),
            "core_dumped": Fixed(np.zeros(len(of), np.uint8), ended),
            "user_time": Fixed(self.cpu_time[0][of], ended),
            "system_time": Fixed(self.cpu_time[1][of], ended),
            "duration": Fixed((self.end - self.start)[of], ended),
            "peak_memory": Fixed(self.memory[of], ended),
        }


def _zipf(random: np.random.Generator, most: int, number: int) -> Numbers:
    weights = 1 / np.arange(1, most + 1)
    return random.choice(most, number, p=weights / weights.sum())


def _names(number: int) -> list[str]:
    return [f"{_WORDS[i % 3]}-{i:x}{'-tool' if i % 4 else ''}" for i in range(number)]


def _variables(pod: int) -> list[str]:
    """A pod's environment: those of everybody, and of ten services each six variables."""
    services = [
        f"SERVICE_{(pod + i) % 40}_{word}"
        for i in range(10)
        for word in ("HOST", "PORT", "ADDR", "PROTO", "TCP", "URL")
    ]
    return [*_VARIABLES, *services][: 11 + pod % 50]


def _arguments(binary: Numbers, execed: NDArray[np.bool_], random: np.random.Generator) -> dict[str, Vector]:
    """Command lines: of TEMPLATES, two fifths with a word of their own behind."""
    template = (binary * 7 + _zipf(random, TEMPLATES, len(binary))) % TEMPLATES
    unique = random.random(len(binary)) < 0.4
    tokens = random.integers(0, 1 << 62, len(binary))
    words: list[bytes] = []
    offsets = np.zeros(len(binary) + 1, np.int32)
    for row in np.flatnonzero(execed):
        found = _template(int(template[row]))
        found = [*found, f"/tmp/{tokens[row]:016x}"] if unique[row] else found
        words += [word.encode() for word in found]
        offsets[row + 1] = len(found)
    offsets = np.cumsum(offsets, dtype=np.int32)
    whole: Text = text(words)
    length = np.zeros(len(binary), np.int64) + 20 + template % 50
    return {"args": Lists(offsets, whole, execed), "args_length": Fixed(length, execed)}


def _template(number: int) -> list[str]:
    step = number % 5 + 1
    return [_WORDS[(number * step + i * step) % len(_WORDS)] for i in range(2 + number % 7)] + [f"v{number % 211}"]


def _who(pod: Numbers) -> dict[str, Vector]:
    """Pod 0 is the host."""
    inside = pod > 0
    numbers = range(PODS)
    ids = [hashlib.sha256(bytes([i])).hexdigest() for i in numbers]
    uids = [f"{i:08x}-1111-4222-8333-{i * 7919:012x}" for i in numbers]
    columns: dict[str, Vector] = {
        "container": coded(pod, ids, inside),
        "pod": coded(pod, [f"app-{i % 25}-{i * 7919:010x}-{i:05x}" for i in numbers], inside),
        "namespace": coded(pod % NAMESPACES, [f"team-{i}" for i in range(NAMESPACES)], inside),
        "workload": coded(pod % 25, [f"team-{i % NAMESPACES}/Deployment/app-{i}" for i in range(25)], inside),
        "workload_source": coded(pod * 0, ["label app.kubernetes.io/name"], inside),
        "image": coded(pod % 25, [f"registry.example/team/app-{i}:1.{i}.0" for i in range(25)], inside),
        "container_name": coded(pod % 25, [f"app-{i}" for i in range(25)], inside),
        "pod_uid": coded(pod, uids, inside),
        "runtime": coded(pod * 0, ["containerd"], inside),
        "cgroup_path": coded(
            pod,
            [f"/kubepods.slice/pod{uid}.slice/cri-containerd-{one}.scope" for uid, one in zip(uids, ids, strict=True)],
        ),
        "cgroup_hierarchy": Fixed(pod * 0),
        "cgroup_id": Fixed(4_000 + pod * 61),
        "host_namespaces": coded(inside * 1, ["mount uts ipc net pid cgroup time user", "time user"]),
    }
    for place, name in enumerate(("mount", "uts", "ipc", "net", "pid", "cgroup", "time", "user")):
        columns[f"ns_{name}"] = Fixed(np.where(inside & (place < 6), 4026532000 + pod * 8 + place, 4026531830 + place))
    for name in ("uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid"):
        columns[name] = Fixed(np.where(inside, 1000 + pod % 9, 0))
    for name in ("permitted", "effective", "bounding"):
        columns[f"cap_{name}"] = Fixed(np.where(inside & (pod % 9 > 0), 0xA80425FB, 0x1FFFFFFFFFF))
    return columns | {"cap_inheritable": Fixed(pod * 0), "cap_ambient": Fixed(pod * 0)}
