"""The drain, compiled once more for fuzzing: with AddressSanitizer, so that no read or write beside an array goes unseen, and with
coverage counters for libFuzzer. Both runtimes are those that atheris brings, preloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import Cython

from tests import caches

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/fuzz"
#: Names the sanitized extension to a process that fuzzes.
DRAIN = "FIRSTHAND_FUZZ_DRAIN"
_SOURCE = ROOT / "src/firsthand/wire/_drain.pyx"
#: Python and its libraries never free all; stacks of allocations and a long quarantine cost most of the time.
_ASAN = (
    "detect_leaks=0:allocator_may_return_null=1:alloc_dealloc_mismatch=0:malloc_context_size=2:quarantine_size_mb=16"
)
#: In the sanitized build Cython checks every index as well: what C would read past is an IndexError there.
_CHECKED = ("-X", "boundscheck=True", "-X", "initializedcheck=True")


def drain() -> Path:
    """The extension, built once for its source and what compiles it (tests/caches.py)."""
    clang = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    key = caches.key(sys.version, Cython.__version__, clang, files=[_SOURCE, Path(__file__)])
    return caches.folder("fuzz", key, _compile) / "_drain.so"


def _compile(folder: Path) -> None:
    source, compiled = folder / "_drain.c", folder / "_drain.o"
    subprocess.run([sys.executable, "-m", "cython", "-3", *_CHECKED, "-o", source, _SOURCE], check=True)
    include = f"-I{sysconfig.get_paths()['include']}"
    sanitize = ["-fsanitize=address,fuzzer-no-link", "-fno-omit-frame-pointer"]
    subprocess.run(["clang", "-c", "-fPIC", "-g", "-O1", *sanitize, include, source, "-o", compiled], check=True)
    subprocess.run(["clang", "-shared", compiled, "-o", folder / "_drain.so"], check=True)
    compiled.unlink()


def environment() -> dict[str, str]:
    """What a process needs that is to fuzz: the runtimes before everything else, and every allocation seen by them."""
    folder = Path(sysconfig.get_paths()["purelib"])
    return os.environ | {
        "LD_PRELOAD": str(folder / "asan_with_fuzzer.so"),
        "ASAN_OPTIONS": _ASAN,
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "PYTHONPATH": str(ROOT),
        DRAIN: str(drain()),
    }
