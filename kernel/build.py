"""Compile the BPF objects: each kernel/subjects/NAME.bpf.c, and the spine, which is made of their programs (include/spine.h).

`python kernel/build.py FOLDER` writes the objects into a folder; setup.py does the same. `build_tests` compiles what only the tests run:
kernel/tests/NAME.bpf.c, which applies functions of include/NAME.h to what a test gives.
"""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

KERNEL = Path(__file__).resolve().parent
#: Beside the objects: what firsthand.schema.layout reads of them, so that a question need not parse their BTF.
LAYOUT = "layout.json"
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
#: Records are hashed and compared as words, and written as what they are: no strict aliasing.
FLAGS = ("-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror", "-fno-strict-aliasing", "-Wno-unused-function")
#: Beginnings of the sections of programs that are attached by the spine, to places in the kernel's code; and at cgroups, with what a
#: program there is given: struct NAME of include/uapi/linux/bpf.h.
PLACES = ("tp_btf/", "fentry/", "fexit/", "fmod_ret/", "lsm/", "raw_tp/", "tp/", "kprobe/", "kretprobe/")
#: The section of programs that are attached at several static tracepoints (Hook.at_tracepoints).
SEVERAL = "tracepoint"
AT_CGROUP = {
    "cgroup_skb/": "__sk_buff",
    "cgroup/sock_": "bpf_sock",
    "cgroup/sendmsg": "bpf_sock_addr",
    "cgroup/recvmsg": "bpf_sock_addr",
    "cgroup/connect": "bpf_sock_addr",
    "cgroup/bind": "bpf_sock_addr",
    "cgroup_connect_": "bpf_sock_addr",
}
#: Sources that are in no wheel.
TESTS = sorted((KERNEL / "tests").glob("*.bpf.c"))
_FUNCTION, _GLOBAL = 2, 1  # STT_FUNC and STB_GLOBAL of elf(5)


def build(to: Path) -> None:
    """All objects into a folder."""
    to.mkdir(parents=True, exist_ok=True)
    objects = [compile_object(source, to) for source in sorted((KERNEL / "subjects").glob("*.bpf.c"))]
    write_layout([*objects, make_spine(objects, to)], to)


def write_layout(objects: Sequence[Path], to: Path) -> None:
    """The layout of these objects, by the product's own reader, which needs no more than the standard library."""
    sys.path.insert(0, str(KERNEL.parent / "src"))
    from firsthand.schema import layout

    (to / LAYOUT).write_text(layout.read(sorted(objects)).kept)


def build_tests(to: Path) -> None:
    """The objects of the tests into a folder; nothing of them is attached anywhere."""
    for source in TESTS:
        compile_object(source, to)


def compile_object(source: Path, to: Path) -> Path:
    """One object, NAME.bpf.o, with its BTF and without DWARF. A layout that was kept of the objects before is removed."""
    (to / LAYOUT).unlink(missing_ok=True)
    target = to / f"{source.name.removesuffix('.c')}.o"
    includes = [f"-I{KERNEL / name}" for name in ("include", "subjects")]
    machine = f"-D__TARGET_ARCH_{ARCHITECTURES[platform.machine()]}"
    subprocess.run(["clang", *FLAGS, machine, *includes, "-c", str(source), "-o", str(target)], check=True)
    subprocess.run(["llvm-strip", "-g", str(target)], check=True)
    return target


def make_spine(objects: Sequence[Path], to: Path) -> Path:
    """The object of what is attached for the programs of these objects."""
    source = to / "spine.bpf.c"
    source.write_text(spine(objects))
    try:
        return compile_object(source, to)
    finally:
        source.unlink()


def spine(objects: Sequence[Path]) -> str:
    """Its source: a line for each program."""
    lines = [line for path in objects for name, section in programs(path) if (line := _line(name, section))]
    lines.sort(key=lambda line: line.startswith("SPINE_ALSO_AT("))  # behind the arrays that they use
    return "\n".join(["/* SPDX-License-Identifier: GPL-2.0 */", '#include "spine.h"', "", *lines, ""])


def _line(name: str, section: str) -> str | None:
    program, at, place = name.partition("_at_")
    if at:
        return f'SPINE_ALSO_AT({program}, {place}, "{section}")'
    if section.startswith(PLACES) or section == SEVERAL:
        return f'SPINE({name}, "{section}")'
    context = next((context for begin, context in AT_CGROUP.items() if section.startswith(begin)), None)
    return f'SPINE_AT_CGROUP({name}, "{section}", {context})' if context else None


def programs(path: Path) -> Iterator[tuple[str, str]]:
    """Each global function of an object, and the section that it is in: little-endian ELF-64, elf(5)."""
    elf = path.read_bytes()
    offset, size, count, names = *struct.unpack_from("<Q", elf, 40), *struct.unpack_from("<HHH", elf, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", elf, offset + i * size) for i in range(count)]
    table = next(head for head in heads if head[1] == 2)  # SHT_SYMTAB; its sh_link is where its names are
    for at in range(table[4], table[4] + table[5], 24):
        name, info, _, section, _, _ = struct.unpack_from("<IBBHQQ", elf, at)
        if info & 15 == _FUNCTION and info >> 4 == _GLOBAL:
            yield _string(elf, heads[table[6]][4] + name), _string(elf, heads[names][4] + heads[section][0])


def _string(elf: bytes, at: int) -> str:
    return elf[at : elf.index(b"\0", at)].decode()


if __name__ == "__main__":
    build(Path(sys.argv[1]))
