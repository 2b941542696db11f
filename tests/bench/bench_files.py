"""What watching files costs what is not watched: system calls by their least time, and nginx with files by processor time.

Both sides are observed, so that the difference is that of the hooks for files, with the default lists.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.bench.bench_network import NGINX, _free_port, _output, _server, _spent
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed

pytestmark = pytest.mark.bench
ROUNDS, PAIRS, SECONDS = 4, 6, 2
#: The most that each may take, as a ratio (docs/files.md).
WORKLOADS = {"call": 1.30, "open": 1.40, "missing": 1.40, "write": 1.30, "pipe": 1.45}
NGINX_MOST = 1.15


@pytest.fixture
def cgroup() -> Iterator[TestCgroup]:
    require.bpf()
    require.programs("bench", "nginx", "wrk", "gcc")
    with TestCgroup() as made:
        yield made


def _observed(cgroup: TestCgroup, folder: Path, patch: pytest.MonkeyPatch, *, files: bool) -> Observed:
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(f"[files]\nenabled = {str(files).lower()}\n")
    patch.setenv("FIRSTHAND_CONFIG", str(config))
    return Observed(folder / "history", [cgroup.path])


def test_system_calls(cgroup: TestCgroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nothing hooks, an open, a write: of a file five folders deep that nobody watches."""
    program = tmp_path / "files"
    source = Path(__file__).with_name("programs") / "files.c"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)
    deep = tmp_path / "one/two"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    paths = {what: str(deep / ("none" if what == "missing" else "file")) for what in WORKLOADS}
    least: dict[bool, dict[str, float]] = {}
    for files in (False, True):
        with _observed(cgroup, tmp_path / str(files), monkeypatch, files=files):
            least[files] = {
                what: min(float(_output(cgroup, str(program), what, paths[what])) for _ in range(ROUNDS))
                for what in WORKLOADS
            }
    print(f"\n{machine()}")
    for what, most in WORKLOADS.items():
        ratio = least[True][what] / least[False][what]
        print(f"{what}: {least[False][what]:.0f} ns, with files {least[True][what]:.0f} ns: {ratio:.2f}x")
        assert ratio <= most, what


def test_nginx_with_files(cgroup: TestCgroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 4 KiB for each request, opened each time, on 8 connections that stay."""
    port, config = _free_port(), tmp_path / "nginx.conf"
    (tmp_path / "page").write_bytes(b"x" * 4096)
    config.write_text(
        "user root;\n"  # others may not enter the test's folder
        + NGINX.format(folder=tmp_path, port=port).replace('return 200 "hello";', f"root {tmp_path}; sendfile on;")
    )
    ratios = []
    with _server(cgroup, port, "nginx", "-p", str(tmp_path), "-c", str(config)):
        for number in range(PAIRS):
            spent: dict[bool, float] = {}
            for files in (False, True) if number % 2 else (True, False):
                with _observed(cgroup, tmp_path / f"{number}-{files}", monkeypatch, files=files):
                    spent[files] = _request(cgroup, port)
            ratios.append(spent[True] / spent[False])
    print(
        f"\n{machine()}\nnginx with files: {statistics.median(ratios):.3f}x ({', '.join(f'{one:.3f}' for one in ratios)})"
    )
    assert statistics.median(ratios) <= NGINX_MOST


def _request(cgroup: TestCgroup, port: int) -> float:
    """Processor time of server and client for one request, ns."""
    before = _spent(cgroup)
    told = _output(cgroup, "wrk", "-t1", "-c8", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/page")
    requests = next(int(line.split()[0]) for line in told.splitlines() if " requests in " in line)
    assert "Non-2xx" not in told, told
    return (_spent(cgroup) - before) / requests
