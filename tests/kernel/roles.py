"""The processes of a `firsthand run` that a test started, by role."""

from __future__ import annotations

from pathlib import Path


def pids(run: int) -> dict[str, int]:
    """Role and pid of each living child of a supervisor, whose pid is `run`."""
    found: dict[str, int] = {}
    for task in Path(f"/proc/{run}/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"firsthand.confine.wall" in words:
                found[words[words.index(b"firsthand.confine.wall") + 1].decode()] = int(pid)
    return found
