"""A bundle of evidence from a stranger: the tar by itself, and each of its documents replaced in a tar that is good.

Input: which file is replaced (1 byte, 0: the input is the tar), then content. Rows are compared in tests/unit/evidence: that takes too long here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from firsthand.errors import FirsthandError
from firsthand.evidence import documents
from firsthand.evidence.archive import Archive
from firsthand.history.store.chain import heads_in
from firsthand.history.store.verify import replay
from tests.unit.evidence import forged, scene

_FOLDER = Path(tempfile.mkdtemp(prefix="firsthand-fuzz-", dir="/dev/shm"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def make(folder: Path) -> None:
    """A real bundle: rows, a chunk of the log and the segments of one pod's moment."""
    scene.bundle(scene.write(folder / "history"), folder / "good.tar", since=9, until=9, pod="web")


def _good() -> Path:
    """Made by a process that is not slowed by the sanitizer."""
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([sys.executable, "-m", "tests.fuzz.bundle", _FOLDER], env=plain, check=True)
    return _FOLDER / "good.tar"


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    sys.exit()
_GOOD = _good()
_MEMBERS = forged.unpack(_GOOD)
_NAMES = sorted(name for name in _MEMBERS if ".json" in name or name == "SHA256SUMS")


def seeds() -> dict[str, bytes]:
    """The beginning of the real tar, and each of its documents."""
    found = {name.replace("/", "-"): bytes([1 + number]) + _MEMBERS[name] for number, name in enumerate(_NAMES)}
    return found | {"tar": b"\0" + _GOOD.read_bytes()[:8192]}


def one(data: bytes) -> None:
    """Read all that `verify` reads before any row."""
    if not data:
        return
    path, number, content = _FOLDER / "fuzzed.tar", data[0] % (1 + len(_NAMES)), data[1:]
    if number:
        forged.pack(path, _MEMBERS | {_NAMES[number - 1]: content}, sums=False)
    else:
        path.write_bytes(content)
    with contextlib.suppress(FirsthandError), Archive(path) as bundle:
        for read in (documents.read_sums, documents.read_about, documents.read_origins):
            with contextlib.suppress(FirsthandError):
                read(bundle)
        damage: list[str] = []
        heads_in(bundle.read("heads.jsonl").decode("utf-8", "replace"))
        replay(documents.read_chain(bundle), damage)
        documents.read_json(bundle, "completeness.json")
