"""rights.py: capabilities given up are gone for good."""

from __future__ import annotations

import subprocess
import sys

from tests import require

_GIVE_UP = """
import os, sys
from pathlib import Path
from firsthand.confine import rights
rights.keep(sys.argv[1:])
words = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
print(*(int(words[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")), words["NoNewPrivs"])
try:
    os.setuid(65534)
    print("could")
except PermissionError:
    print("could not")
"""


def _after(*kept: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _GIVE_UP, *kept], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_nothing_is_kept() -> None:
    """Every set is empty, no exec can gain, and the kernel refuses what needed one."""
    require.root()
    assert _after() == ["0 0 0 0 0 1", "could not"]


def test_what_is_named_is_kept() -> None:
    """In the permitted, effective and bounding set alone."""
    require.root()
    assert _after("chown") == ["0 1 1 1 0 1", "could not"]
    assert _after("setuid")[1] == "could"
