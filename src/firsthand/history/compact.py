"""Compaction: many small segments of a past day become one, in a new generation of hard links."""

from __future__ import annotations

from pathlib import Path

from firsthand.history.manifest import Manifest


def run(directory: Path, manifest: Manifest, generation: int) -> int:
    """Nothing yet: the generation in force."""
    return generation
