"""Fuzzing one target (`python -m tests.fuzz.harness TARGET CORPUS [libFuzzer's options]`, in the environment of build.py).

A target is a module of this folder with `seeds()`, inputs made from real records, and `one(data)`. An error that is none of
FirsthandError's, a read beside an array, and an input that takes longer than `-timeout` end the process with a report.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

from tests.fuzz import build

#: What is fuzzed, and the packages whose branches count as new ground.
TARGETS = {
    "wire": ("firsthand.wire",),
    "log": ("firsthand.history",),
    "manifest": ("firsthand.history",),
    "bundle": ("firsthand.evidence",),
}


def sanitized() -> None:
    """Take the sanitized drain for the installed one."""
    spec = importlib.util.spec_from_file_location("firsthand.wire._drain", os.environ[build.DRAIN])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def expected(one: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, in which an error of ours is no failure."""
    from firsthand.errors import FirsthandError

    def guarded(data: bytes) -> None:
        try:
            one(data)
        except FirsthandError:
            return

    return guarded


def main(target: str, corpus: Path, *options: str) -> None:
    """Fuzz until libFuzzer's options say to end; it ends the process."""
    sanitized()
    with atheris.instrument_imports(include=list(TARGETS[target])):
        module = importlib.import_module(f"tests.fuzz.{target}")
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in module.seeds().items():
        (corpus / f"seed-{name}").write_bytes(data)
    atheris.Setup([sys.argv[0], *options, str(corpus)], expected(module.one))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
