"""The lowest layer: Python and the libraries that it needs, from the packages of this machine's own Debian, and no program more.

`mmdebstrap` resolves, fetches and verifies the packages (apt's signatures); this module lists the files of each
that the image gets. No shell, no package manager, nothing that compiles. The packages are described below /var/lib/dpkg/status.d, where
scanners look for them.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from deploy.image.files import compile_below, write

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
#: `true` of coreutils is what a canary executes; ca-certificates is for `firsthand export` to a URL; libstdc++ is the wheels'.
PACKAGES = (f"{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "libstdc++6", "ca-certificates", "coreutils")
#: Sources of packages that are only dependencies of left-out tools, or of unused modules of Python (dbm, nis).
_WITHOUT = [
    "acl",
    "attr",
    "cdebconf",
    "db5.3",
    "debconf",
    "dpkg",
    "e2fsprogs",
    "gmp",
    "keyutils",
    "krb5",
    "libcap2",
    "libmd",
    "libnsl",
    "libselinux",
    "libtirpc",
    "libxcrypt",
    "libzstd",
    "media-types",
    "pcre2",
    "perl",
    "tar",
]
_LIBRARIES = sysconfig.get_config_var("MULTIARCH")
_TAKEN = (
    f"usr/bin/{PYTHON}",
    f"usr/lib/{PYTHON}/*",
    "bin/true",
    "usr/bin/true",
    f"lib/{_LIBRARIES}/*",
    f"usr/lib/{_LIBRARIES}/*",
    "lib64/*",
    "usr/lib64/*",
    "lib/ld-linux-*",
    "usr/lib/ld-linux-*",
    "etc/ssl/openssl.cnf",
    "usr/lib/ssl/*",
    "usr/share/ca-certificates/*",
    "usr/share/doc/*/copyright",
)
#: Of those: tables of character sets, and parts of Python for who writes programs.
_NOT_TAKEN = (
    "*/gconv/*",
    f"usr/lib/{PYTHON}/lib2to3/*",
    f"usr/lib/{PYTHON}/pydoc_data/*",
    f"usr/lib/{PYTHON}/sitecustomize.py",
)


def fill(root: Path) -> None:
    """Put the layer's files below a folder. CalledProcessError where the packages cannot be had."""
    with tempfile.TemporaryDirectory(prefix="firsthand-image-") as folder:
        packages = Path(folder) / "packages"
        packages.mkdir()
        _fetch(packages)
        for package in sorted(packages.glob("*.deb")):
            _unpack(package, root)
    _make(root)


def _fetch(to: Path) -> None:
    """The packages with what they depend on. What mmdebstrap unpacks itself is thrown away."""
    suite = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if suite is None:
        raise SystemExit(
            "image: /etc/os-release names no release: the image is made of this machine's own Debian or Ubuntu"
        )
    hook = f'--extract-hook=cp "$1"/var/cache/apt/archives/*.deb {to}'
    words = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        f"--include={','.join(PACKAGES)}",
        hook,
        suite[1],
        f"{to.parent}/unused",
    ]
    subprocess.run(words, check=True)


def _unpack(package: Path, root: Path) -> None:
    """Write the chosen files of a package and its description below `root`."""
    told = subprocess.run(["dpkg-deb", "-f", str(package)], check=True, capture_output=True, text=True).stdout
    name = re.search(r"^Package: (\S+)", told, re.MULTILINE)
    source = re.search(r"^Source: (\S+)", told, re.MULTILINE) or name
    assert name is not None and source is not None
    if source[1] not in _WITHOUT and any(not one.endswith("/copyright") for one in _take(package, root)):
        write(root / "var/lib/dpkg/status.d" / name[1], told.encode())


def _take(package: Path, root: Path) -> list[str]:
    """Unpack what is wanted; the names. CalledProcessError where the package is damaged."""
    taken = []
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    held = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(held)) as tar:
        for entry in tar:
            if not entry.isdir() and _wanted(entry.name.removeprefix("./")):
                tar.extract(entry, root)
                taken.append(entry.name)
    return taken


def _wanted(name: str) -> bool:
    return any(fnmatchcase(name, one) for one in _TAKEN) and not any(fnmatchcase(name, one) for one in _NOT_TAKEN)


def _make(root: Path) -> None:
    """What the packages' own scripts would make, or packages that are not taken."""
    authorities = root / "usr/share/ca-certificates"
    write(
        root / "etc/ssl/certs/ca-certificates.crt",
        b"".join(one.read_bytes() for one in sorted(authorities.rglob("*.crt"))),
    )
    shutil.rmtree(authorities)
    write(root / "etc/os-release", Path("/etc/os-release").read_bytes())
    write(root / "etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    compile_below(root)
