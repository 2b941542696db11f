"""deploy/image/requirements.txt: what the image installs is what the project needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_dependency_is_pinned_for_the_image() -> None:
    """One that is missing there would be missing in the pod: `make pins` writes them anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=!~;\[ ]", one)[0].lower() for one in project["dependencies"]}
    pinned = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "deploy/image/requirements.txt").read_text(), re.M))
    assert needed <= {name.lower() for name in pinned}
