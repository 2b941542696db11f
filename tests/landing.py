"""What a submission must pass (`python -m tests.landing`, run by .ci/run): the checks, all kinds of tests, second chances by cause.

Everything runs in one session, three side by side, so that no processor waits for the end of a part. Printed: each part's time and
processor seconds, what was unsteady, and at last pytest's closing line.
"""

from __future__ import annotations

import datetime
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import unsteady
from tests.kernel import sweeps

ROOT = Path(__file__).parents[1]
#: Rooms in the order in which they begin: what takes long and computes little first.
ROOMS = ("vm", "pods", "install", "kernel", "fuzz", "unit")
#: Side by side; tests of one group stay together, and groups begin in the rooms' order. A worker that dies is not replaced: with groups,
#: xdist 3.8 then waits for ever for one that came too late.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadgroup", "--no-loadscope-reorder", "--max-worker-restart", "0")
_CLOSING = re.compile(r"^=+ .*\d+ (passed|failed|error|skipped).* in [0-9.]+s.*=+$", re.M)


@dataclass
class Parts:
    """Times of the parts, in their order: name, seconds on the wall, processor seconds of what they waited for."""

    done: list[tuple[str, float, float]] = field(default_factory=list)

    def run(self, name: str, what: Callable[[], int]) -> int:
        """Do a part; its exit code."""
        print(f"ci: {name}", flush=True)
        began, before = time.monotonic(), _used()
        code = what()
        self.done.append((name, time.monotonic() - began, _used() - before))
        return code

    def table(self) -> str:
        """A line for each part, and their sum."""
        total = ("all", sum(one[1] for one in self.done), sum(one[2] for one in self.done))
        rows = [f"ci: {name:<14}{wall:8.0f} s {used:8.0f} CPU-s" for name, wall, used in [*self.done, total]]
        return "\n".join(rows)


def _used() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def required() -> str:
    """FIRSTHAND_REQUIRE for this machine: what it can run, no test may skip."""
    words = []
    if os.geteuid() == 0:
        btf = Path("/sys/kernel/btf/vmlinux").exists()
        words = ["root", *(["btf", "bpf"] if btf else [])]
        words += ["containerd"] * _there("containerd", "runc") + ["docker"] * _there("dockerd")
        words += ["podman"] * _there("podman")
    words += ["qemu"] * _there("qemu-system-x86_64")
    if len(words) == 7:
        words = ["all"] if not sweeps.refusal() else [*words, "image", "io_uring", "kernels"]
    return ",".join([*words, *(["fuzzing"] if os.uname().machine == "x86_64" else [])])


def _there(*programs: str) -> bool:
    return all(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for program in programs)


def _call(*command: str) -> int:
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _pytest(root: Path, log: Path, failures: Path, *options: str) -> int:
    """Its exit code; what it prints goes to a file too."""
    command = [sys.executable, "-m", "pytest", "--failures-to", str(failures), *options]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        with log.open("wb") as file:
            for line in process.stdout:
                file.write(line)
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
    return process.returncode


def again(failures: Sequence[unsteady.Failure], run: Callable[[list[str]], int]) -> int:
    """A second chance for all, or for none; the exit code. `run` runs the tests of these ids."""
    if told := unsteady.refusals(failures, unsteady.ledger()):
        print("ci: FAILED, without a second chance:", *told, sep="\n  ")
        return 1
    tests = sorted({one.test for one in failures})
    print("ci: once more, alone:", *(f"{one.test} ({one.cause})" for one in failures), sep="\n  ", flush=True)
    if not tests or run(tests):
        print("ci: FAILED again, or nothing ran")
        return 1
    today = datetime.datetime.now(datetime.UTC).date()
    entries = {one.test: unsteady.line(one, today) for one in failures}
    print(f"ci: UNSTEADY, passed when alone. Add to tests/{unsteady.LEDGER.name}, and say what was done:")
    print(*entries.values(), sep="\n", flush=True)
    return 0


def tests(parts: Parts, folder: Path, *options: str, root: Path = ROOT) -> tuple[int, str]:
    """What pytest runs with these options from the folder `root`, and again what may; the exit code and pytest's closing lines.

    `folder`: an empty place for what is printed.
    """
    logs = [folder / "tests", folder / "again"]
    failures = [folder / "failed.json", folder / "failed-again.json"]
    code = parts.run("tests", lambda: _pytest(root, logs[0], failures[0], *options))
    if code == 1 and failures[0].exists():
        found = unsteady.read(failures[0])
        code = parts.run("again", lambda: again(found, lambda ids: _pytest(root, logs[1], failures[1], *ids)))
    return code, "\n".join(_closing(log) for log in logs if log.exists())


def _closing(log: Path) -> str:
    found = list(_CLOSING.finditer(log.read_text(errors="replace")))
    return found[-1][0] if found else f"ci: pytest wrote no closing line; see {log}"


def main(options: Sequence[str]) -> int:
    """0 where all passed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without Ctrl-C
    os.environ["FIRSTHAND_REQUIRE"] = required()
    os.environ.setdefault("FIRSTHAND_BOOTS", "landing")
    print(f"ci: FIRSTHAND_REQUIRE={os.environ['FIRSTHAND_REQUIRE']}")
    parts = Parts()
    failed = parts.run("check", lambda: _call("make", "check"))
    with tempfile.TemporaryDirectory(prefix="firsthand-ci-") as folder:
        rooms = [f"tests/{room}" for room in ROOMS]
        code, closing = tests(parts, Path(folder), *rooms, *SIDE_BY_SIDE, *options)
    print(parts.table())
    print(f"ci: {'FAILED' if failed or code else 'passed'}{': make check' if failed else ''}")
    print(closing, flush=True)
    return 1 if failed or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
