"""What the checker uses: of a processor and of memory, with the machine's own list and with more than it can compare in its share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firsthand.content import watched
from firsthand.content.checker import BURST, SHARE, CheckerOptions
from tests import disks, require

_MANY, _SIZE = 300, 64 << 10
#: Seconds of the run that is bound by the share alone.
_LONG = 400.0


class _Role:
    """The checker as it really runs, behind the wall; `rounds` reads what it reports."""

    def __init__(self, place: Path, options: CheckerOptions) -> None:
        self._ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "firsthand.confine.wall", "checker", str(place), "firsthand.roles.checker"]
        with its:
            command += [options.encode(), str(its.fileno())]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[its.fileno()])

    def round(self) -> dict[str, int]:
        """The next one that is reported."""
        while True:
            told = json.loads(self._ours.recv(1 << 16))
            if told["event"] == "round":
                return dict(told)

    @property
    def used(self) -> float:
        """Seconds of a processor, from /proc/PID/schedstat (ns)."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    @property
    def pss(self) -> int:
        """Bytes."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) << 10


@contextmanager
def _role(place: Path, options: CheckerOptions) -> Iterator[_Role]:
    role = _Role(place, options)
    try:
        yield role
    finally:
        assert role.process.stdin is not None
        role.process.stdin.close()
        role.process.wait()


def _warm() -> int:
    """Have all pages of the default list cached; their bytes."""
    total = 0
    for one in watched.found(("/",), ()):
        if one is not None and os.path.exists(one.path):
            total += len(Path(one.path).read_bytes())
    return total


def test_the_machines_own_list(tmp_path: Path) -> None:
    """Processor time of a start with its first round, of a round, and memory; all pages of the list cached."""
    require.root()
    size = _warm()
    with _role(tmp_path, CheckerOptions(10, ("/",), ())) as role:
        first = role.round()
        began, start = role.used, time.monotonic()
        for _ in range(6):
            role.round()
        used, passed = role.used - began, time.monotonic() - start
        print(
            f"\ncontent: start and first round {began:.2f} s; {first['checked']} files, {size / 1e6:.1f} MB cached: a round"
            f" {used / 6 * 1e3:.1f} ms with its signs of life; each 10 s {used / passed:.3%} of a processor,"
            f" each minute {used / 6 / 60:.3%}; PSS {role.pss / 1e6:.1f} MB"
        )


def test_more_than_its_share(tmp_path: Path) -> None:
    """A list that would take more: the share holds, and rounds last longer."""
    require.loop_devices()
    with disks.disk(tmp_path) as disk:
        for number in range(_MANY):
            disk.file(f"file{number}", os.urandom(_SIZE)).read_bytes()
        with _role(tmp_path, CheckerOptions(10, (), (f"{disk.place}/*",), default=False)) as role:
            told = role.round()
            began, start = role.used, time.monotonic()
            while time.monotonic() - start < _LONG:
                told = role.round()
            used, passed = role.used - began, time.monotonic() - start
            lasted = (told["until"] - told["since"]) / 1e6
            print(
                f"\ncontent: {told['checked']} files of {_SIZE >> 10} KiB, all cached, a round asked for each 10 s: {used / passed:.3%}"
                f" of a processor over {passed:.0f} s, the last round lasted {lasted:.1f} s; PSS {role.pss / 1e6:.1f} MB"
            )
            assert used <= SHARE * passed + BURST + 0.05
