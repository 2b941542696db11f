"""Whether a network namespace is a container's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import require

_ASK = [sys.executable, "-c", "from firsthand.host import machine; print(machine.apart())"]


@pytest.mark.parametrize(
    ("within", "told"),
    [((), "False"), (("--uts",), "False"), (("--net",), "False"), (("--uts", "--net"), "True")],
)
def test_a_container_with_a_network_of_its_own(within: tuple[str, ...], told: str) -> None:
    """Law: it has a name of its own and another network than the machine's first process; a namespace that somebody entered is none."""
    require.root()
    done = subprocess.run(["unshare", *within, *_ASK], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == told
