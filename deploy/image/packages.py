"""The two upper layers: the Python packages that Firsthand needs, each pinned by its digest, and Firsthand itself with its accounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from deploy.image.debian import PYTHON
from deploy.image.files import compile_below, write
from firsthand.confine import wall
from firsthand.confine.roles import FIRST_NUMBER, ROLES

#: Every package with the digests of its files, written by `make pins`.
PINS = Path(__file__).with_name("requirements.txt")
#: In Debian's Python's path for what did not come by a package.
_SITE = f"usr/local/lib/{PYTHON}/dist-packages"
_SCRIPT = f"""#!/usr/bin/{PYTHON} -P
import sys

from firsthand.cli.main import main

sys.exit(main())
"""


def fill_dependencies(root: Path) -> None:
    """Put the pinned packages below a folder. CalledProcessError where one cannot be had, or is not what was pinned."""
    words = ["--require-hashes", "--only-binary", ":all:", "-r", str(PINS)]
    _install(root / _SITE, words)
    compile_below(root)


def fill_program(root: Path, wheel: Path) -> None:
    """Put Firsthand below a folder: its wheel, the command, and the users and the group that `confine/roles.py` has by number."""
    _install(root / _SITE, ["--no-index", str(wheel)])
    (described,) = (root / _SITE).glob("firsthand-*.dist-info")
    (described / "direct_url.json").unlink()  # where the wheel lay when it was installed
    write(root / "usr/local/bin/firsthand", _SCRIPT.encode(), 0o755)
    for name, content in _accounts().items():
        write(root / f"etc/{name}", content.encode())
    compile_below(root)


def _install(site: Path, words: list[str]) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
    ]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PIP_TARGET", "PIP_USER", "PYTHONPATH")
    }
    subprocess.run([*pip, "--target", str(site), *words], check=True, env=environment)
    shutil.rmtree(site / "bin", ignore_errors=True)  # commands of the dependencies


def _accounts() -> dict[str, str]:
    """passwd and group. Root is in the readers' group: in the pod it has no right to other users' files."""
    users, groups = ["root:x:0:0:root:/:/nonexistent"], ["root:x:0:", f"{wall.GROUP}:x:{FIRST_NUMBER}:root"]
    for role, row in ROLES.items():
        if (number := row.number) is not None:
            users.append(f"firsthand-{role}:x:{number}:{number}::/nonexistent:/nonexistent")
            groups.append(f"firsthand-{role}:x:{number}:")
    return {"passwd": "\n".join([*users, ""]), "group": "\n".join([*groups, ""])}


def version(wheel: Path) -> str:
    """The version in a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        told = archive.read(name).decode()
    return next(line.removeprefix("Version: ") for line in told.splitlines() if line.startswith("Version: "))
