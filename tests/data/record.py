"""Record rings from a real run into tests/data/rings.zip: `python -m tests.data.record`, as root, where the kernel side's layout has changed
so much that the old ones prove nothing any more. Unit tests read them by tests/recorded.py.

What is in them: ten programs, a cgroup that comes and goes, and, the ordinary ring goes on at its beginning meanwhile.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from firsthand.observe.source import Source
from firsthand.probe import stats
from firsthand.probe.loaded import RINGS
from tests.cgroups import TestCgroup
from tests.kernel.inside import ObserverInside
from tests.recorded import PROGRAMS, SIZE, TARGET

#: Before how many bytes of a ring's end the programs begin.
ROOM = 2000


def record(target: Path = TARGET) -> None:
    """Write the file anew."""
    with TestCgroup() as cgroup, tempfile.TemporaryDirectory(prefix="firsthand-test-") as folder:
        inside = ObserverInside(cgroup, Path(folder) / "history", ring_bytes=SIZE, urgent_bytes=SIZE)
        try:
            while SIZE - inside.observer.source.streams[0].durable % SIZE > ROOM:
                inside.run("before")
            inside.observer.commit()
            state = inside.observer.source.state()
            inner = cgroup.below("inner")
            for number in range(PROGRAMS):
                cgroup.run(["/bin/true", f"recorded-{number}"], env={}, cwd="/").wait()
            inner.rmdir()
            _write(target, inside, state)
        finally:
            inside.close()


def _write(target: Path, inside: ObserverInside, state: dict[str, Any]) -> None:
    source = inside.observer.source
    told = {"state": state, "rings": [_told(source, number) for number in range(len(RINGS))]}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("layout.json", inside.observer.layout.text)
        made.writestr("rings.json", json.dumps(told, indent=1))
        for stream, name in zip(source.streams, RINGS, strict=True):
            made.writestr(f"{name}.bin", stream.ring.data[:SIZE].tobytes())


def _told(source: Source, number: int) -> dict[str, Any]:
    """Where a ring's reader and writer stood, and the numbers that were taken, by CPU."""
    stream = source.streams[number]
    return {"consumer": stream.durable, "producer": stream.end, "produced": stats.produced(source.loaded, number)}


if __name__ == "__main__":
    record()
