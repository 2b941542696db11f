"""Which boots a run makes: FIRSTHAND_BOOTS=one, landing, or all (where nothing is said).

`landing`: two, which between them have both kernels and both cgroup versions, where all eight passed before with the same
content of what they prove; else all eight. That they passed is remembered outside the clone (tests/caches.py).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests import caches
from tests.vm import kernels

ROOT = Path(__file__).parents[2]
MODES = ("v2", "v1", "hybrid")
EVENTS, CLOCK = "events", "clock"
_KIND = "boots-passed"
#: What the boots prove, and how.
_PROVEN = ("kernel", "src/firsthand/probe", "src/firsthand/subjects", "tests/vm")


class ChosenBoots(NamedTuple):
    """One boot: kernel series, cgroups that are mounted, and the guest's work."""

    series: str
    mode: str
    work: str


ALL = (
    *(ChosenBoots(series, mode, EVENTS) for series in kernels.SERIES for mode in MODES),
    *(ChosenBoots(series, "v2", CLOCK) for series in kernels.SERIES),
)
LANDING = (ChosenBoots("6.1", "v1", EVENTS), ChosenBoots("6.12", "v2", EVENTS))
ONE = (ChosenBoots("6.12", "v2", EVENTS),)


def boots() -> tuple[ChosenBoots, ...]:
    """Those of this run. ValueError for a word that is none."""
    wanted = os.environ.get("FIRSTHAND_BOOTS", "") or "all"
    if wanted not in ("one", "landing", "all"):
        raise ValueError(f"FIRSTHAND_BOOTS is one, landing or all, not {wanted!r}")
    if wanted == "landing":
        return LANDING if caches.holds(_KIND, content()) else ALL
    return ONE if wanted == "one" else ALL


def content(root: Path = ROOT) -> str:
    """The key of what the boots prove: the files of these folders, by name and content, and which kernels are booted."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *_PROVEN]
    told = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout
    names = sorted(name for name in told.split("\0") if name and (root / name).is_file())
    packages = [kernels.package(series) or "none" for series in kernels.SERIES]
    return caches.key(*names, *packages, files=[root / name for name in names])


def passed() -> None:
    """Remember that all eight passed."""
    caches.folder(_KIND, content(), lambda to: None)
