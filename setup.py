"""The two compiled parts: the BPF objects (clang, for the kernel) and the drain (Cython), and libbpf beside them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from Cython.Build import cythonize
from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))  # setuptools runs this file without its folder (PEP 517)

from kernel.build import build  # noqa: E402

LIBRARIES = ("libz.so.1", "libelf.so.1", "libbpf.so.1", "libseccomp.so.2")


class Build(build_ext):
    """Compile the BPF objects and gather libbpf before the extension, into the package that is being built."""

    def run(self) -> None:
        package = ROOT / "src/firsthand" if self.inplace else Path(self.build_lib) / "firsthand"
        build(package / "probe/objects")
        copy_libraries(package / "probe/lib")
        super().run()


class Libraries(Command):
    """Gather libbpf and what it needs alone: for a checkout that is built, but whose libraries are gone."""

    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """There are none."""

    def finalize_options(self) -> None:
        """There are none."""

    def run(self) -> None:
        copy_libraries(ROOT / "src/firsthand/probe/lib")


def copy_libraries(to: Path) -> None:
    """Copy this machine's shared libraries to a folder; SystemExit with the packages to install where one is missing."""
    to.mkdir(parents=True, exist_ok=True)
    listing = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    for name in LIBRARIES:
        lines = [line for line in listing.splitlines() if line.split()[:1] == [name] and "x32" not in line]
        if not lines:
            raise SystemExit(f"{name} not found: install libbpf-dev, libelf-dev, zlib1g-dev and libseccomp2")
        shutil.copyfile(lines[0].rpartition(" => ")[2], to / name)


extensions = [
    Extension("firsthand.wire._drain", ["src/firsthand/wire/_drain.pyx"], extra_compile_args=["-O3"]),
    Extension("firsthand.history._crc", ["src/firsthand/history/_crc.pyx"], extra_compile_args=["-O2"]),
    Extension("firsthand.wire._called", ["src/firsthand/wire/_called.pyx"], extra_compile_args=["-O2"]),
    Extension(
        "firsthand.identity._images", ["src/firsthand/identity/_images.pyx"], extra_compile_args=["-O2"], language="c++"
    ),
]
setup(
    ext_modules=cythonize(extensions, build_dir="build/cython"), cmdclass={"build_ext": Build, "libraries": Libraries}
)
