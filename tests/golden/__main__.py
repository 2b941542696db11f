"""`python -m tests.golden` writes what the commands say anew; with `history`, first the history too."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.golden import before, commands

if __name__ == "__main__":
    if sys.argv[1:] == ["history"]:
        before.write()
    with tempfile.TemporaryDirectory(prefix="firsthand-test-") as made:
        commands.write(before.unpack(Path(made)))
