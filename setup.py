"""The two compiled parts: the BPF objects (clang, for the kernel) and the drain (Cython), and libbpf beside them."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
LIBRARIES = ("libz.so.1", "libelf.so.1", "libbpf.so.1", "libseccomp.so.2")


class Build(build_ext):
    """Compile the BPF objects and gather libbpf before the extension, into the package that is being built."""

    def run(self) -> None:
        package = ROOT / "src/firsthand" if self.inplace else Path(self.build_lib) / "firsthand"
        self.compile_probes(package / "probe/objects")
        self.copy_libraries(package / "probe/lib")
        super().run()

    def compile_probes(self, to: Path) -> None:
        to.mkdir(parents=True, exist_ok=True)
        architecture = ARCHITECTURES[platform.machine()]
        for source in sorted((ROOT / "kernel/probes").glob("*.bpf.c")):
            target = to / f"{source.name.removesuffix('.c')}.o"
            command = ["clang", "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror"]
            command += ["-Wno-unused-function", f"-D__TARGET_ARCH_{architecture}", f"-I{ROOT / 'kernel/include'}"]
            subprocess.run([*command, "-c", str(source), "-o", str(target)], check=True)
            subprocess.run(["llvm-strip", "-g", str(target)], check=True)  # DWARF only: BTF stays

    def copy_libraries(self, to: Path) -> None:
        to.mkdir(parents=True, exist_ok=True)
        listing = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
        for name in LIBRARIES:
            lines = [line for line in listing.splitlines() if line.split()[:1] == [name] and "x32" not in line]
            if not lines:
                raise SystemExit(f"{name} not found: install libbpf-dev, libelf-dev and zlib1g-dev")
            shutil.copyfile(lines[0].rpartition(" => ")[2], to / name)


extensions = [
    Extension("firsthand.wire._drain", ["src/firsthand/wire/_drain.pyx"], extra_compile_args=["-O3"]),
    Extension(
        "firsthand.identity._images", ["src/firsthand/identity/_images.pyx"], extra_compile_args=["-O2"], language="c++"
    ),
]
setup(ext_modules=cythonize(extensions, build_dir="build/cython"), cmdclass={"build_ext": Build})
