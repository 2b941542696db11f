"""Bring programs and maps into the kernel, attach what this kernel offers, pin the maps, and take it all out again."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firsthand.errors import BusyError, NotSupportedError, ProbeError, SchemaError
from firsthand.probe import libbpf
from firsthand.probe.hierarchy import Hierarchy
from firsthand.probe.spec import EXISTING, HOOKS, SHARED, Hook
from firsthand.schema import btf
from firsthand.schema.layout import Layout, objects

#: Records that one read of an iterator may send: 64 of at most 28 KiB fit into a quarter of the default ring.
PORTION = 64
BPFFS = Path("/sys/fs/bpf")
_SETTINGS = ".rodata.settings"
_BPFFS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h


@dataclass(frozen=True)
class LoadOptions:
    """What the kernel side is told before it is loaded; `ring_bytes` a power of two, at least a page."""

    layout: Layout
    hierarchy: Hierarchy
    scopes: Sequence[int] = ()
    instance: str = "default"
    ring_bytes: int = 8 << 20
    read_args: bool = True
    read_env: bool = True

    @property
    def settings(self) -> dict[str, int]:
        """Values of the `const volatile` settings in kernel/include/maps.h."""
        return {
            "layout_number": self.layout.number,
            "container_hierarchy": self.hierarchy.number,
            "container_controller": self.hierarchy.code,
            "scoped": int(bool(self.scopes)),
            "read_args": int(self.read_args),
            "read_env": int(self.read_env),
        }


@dataclass
class Program:
    """One attached program: its hook, name, descriptor and link (0 for an iterator)."""

    hook: Hook
    name: str
    fd: int
    link: int


@dataclass
class Loaded:
    """What is in the kernel now. `missing` maps hooks to the reason why this kernel refused them."""

    folder: Path
    lock: int
    maps: dict[str, int] = field(default_factory=dict)
    handles: list[int] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def hooks(self) -> dict[str, str]:
        """Each hook and `present` (with the program, where there was a choice) or `missing: why`."""
        present = {p.hook.name: f"present: {p.name}" if len(p.hook.programs) > 1 else "present" for p in self.programs}
        return present | {name: f"missing: {why}" for name, why in self.missing.items()}

    def blind_spots(self) -> list[str]:
        """What the missing hooks would have seen."""
        return [hook.blind_spot for hook in (*HOOKS, *EXISTING) if hook.name in self.missing]

    def detach(self) -> None:
        """Detach every program; the rings keep what they hold."""
        for program in self.programs:
            if program.link:
                libbpf.library().bpf_link__destroy(program.link)
                program.link = 0

    def close(self) -> None:
        """Detach, unpin and forget everything. May be called twice."""
        self.detach()
        for handle in self.handles:
            libbpf.library().bpf_object__close(handle)
        self.handles, self.programs = [], []
        if self.lock >= 0:
            _unpin(self.folder)
            self.folder.rmdir()
            os.close(self.lock)
            self.lock = -1


def bring_in(options: LoadOptions) -> Loaded:
    """Load and attach every hook that this kernel takes.

    NotSupportedError without root or BTF, BusyError where another observer holds the instance, ProbeError where not even
    one hook could be attached.
    """
    check_machine()
    notes = mount_bpffs()
    folder, lock = _claim(options.instance)
    loaded = Loaded(folder, lock, notes=notes)
    try:
        for hook in (*HOOKS, *EXISTING):
            _bring_hook(loaded, hook, options)
        _require(loaded)
    except BaseException:
        loaded.close()
        raise
    return loaded


def check_machine() -> None:
    """NotSupportedError, saying what to do, where observing cannot work here."""
    if os.geteuid() != 0:
        raise NotSupportedError("observing needs root: it loads programs into the kernel; run it with sudo")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise NotSupportedError("no /sys/kernel/btf/vmlinux: this kernel was built without CONFIG_DEBUG_INFO_BTF")
    if tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) < (5, 17):
        raise NotSupportedError(f"kernel {os.uname().release}: 5.17 or later is needed (bpf_loop)")


def mount_bpffs() -> list[str]:
    """Mount the BPF filesystem where it is not; says so in the list that it returns."""
    if _filesystem(BPFFS) == _BPFFS_MAGIC:
        return []
    try:
        subprocess.run(["mount", "-t", "bpf", "bpf", str(BPFFS)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", b"") or str(error).encode()
        raise NotSupportedError(f"cannot mount bpffs on {BPFFS}: {detail.decode().strip()}") from error
    return [f"mounted the BPF filesystem on {BPFFS}"]


def _filesystem(path: Path) -> int:
    """f_type of statfs(2): os.statvfs lacks it, so it is taken from `stat -f`."""
    result = subprocess.run(["stat", "-f", "-c", "%t", str(path)], capture_output=True, text=True, check=False)
    return int(result.stdout or "0", 16)


def _claim(instance: str) -> tuple[Path, int]:
    """The instance's pin folder, locked. Pins that a dead observer left are removed."""
    folder = BPFFS / f"firsthand-{instance}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise BusyError(
            f"another observer runs as instance {instance!r} ({folder} is locked); stop it, or choose another --instance"
        ) from error
    _unpin(folder)
    return folder, lock


def _unpin(folder: Path) -> None:
    for pin in folder.iterdir():
        pin.unlink()


def _require(loaded: Loaded) -> None:
    attached = [program for program in loaded.programs if program.link]
    if attached:
        return
    reasons = "; ".join(sorted(set(loaded.missing.values())))
    raise ProbeError(f"no hook could be attached: {reasons}. Is the kernel locked down, or a capability missing?")


def _bring_hook(loaded: Loaded, hook: Hook, options: LoadOptions) -> None:
    reasons = []
    for name in hook.programs:
        libbpf.messages.lines.clear()
        try:
            _bring_program(loaded, hook, name, options)
            return
        except OSError as error:
            verdict = libbpf.messages.verdict()
            reasons.append(f"{name}: {error.strerror}" + (f" ({verdict})" if verdict else ""))
    loaded.missing[hook.name] = "; ".join(reasons)


def _bring_program(loaded: Loaded, hook: Hook, name: str, options: LoadOptions) -> None:
    path = next(path for path in objects() if path.name == f"{hook.object}.bpf.o")
    handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
    try:
        _prepare(loaded, handle, path, name, options)
        libbpf.call("bpf_object__load", handle)
        program = libbpf.pointer("bpf_object__find_program_by_name", handle, name.encode())
        _share_maps(loaded, handle, options)
        link = libbpf.pointer("bpf_program__attach", program)
    except BaseException:
        libbpf.library().bpf_object__close(handle)
        raise
    loaded.handles.append(handle)
    loaded.programs.append(Program(hook, name, libbpf.call("bpf_program__fd", program), link))


def _prepare(loaded: Loaded, handle: int, path: Path, name: str, options: LoadOptions) -> None:
    lib = libbpf.library()
    for program in libbpf.each("bpf_object__next_program", handle):
        lib.bpf_program__set_autoload(program, lib.bpf_program__name(program) == name.encode())
    for found in libbpf.each("bpf_object__next_map", handle):
        word = lib.bpf_map__name(found).decode()
        if word in loaded.maps:
            libbpf.call("bpf_map__reuse_fd", found, loaded.maps[word])
        elif word == "ring":
            libbpf.call("bpf_map__set_max_entries", found, options.ring_bytes)
        elif word == _SETTINGS:
            _write_settings(found, path, options.settings)


def _write_settings(found: int, path: Path, settings: Mapping[str, int]) -> None:
    """Every member of `struct settings` (kernel/include/maps.h) gets its value; SchemaError where one has none."""
    size = ctypes.c_size_t()
    start = libbpf.pointer("bpf_map__initial_value", found, ctypes.byref(size))
    types = btf.read_object(path)
    holder = types.named(btf.STRUCT, "settings")
    members = types.members(holder) if holder else []
    if {name for name, _, _ in members} != set(settings):
        raise SchemaError(f"{path}: struct settings and the loader differ; run `make setup` to build both anew")
    for name, _, offset in members:
        ctypes.memmove(start + offset, struct.pack("<I", settings[name]), 4)


def enumerators(name: str) -> dict[str, int]:
    """An enum of the kernel side (kernel/include/maps.h), without its name's prefix."""
    found = btf.read_object(objects()[0]).enumerators(name)
    return {key.removeprefix(f"{name.upper()}_"): value for key, value in found.items()}


def _share_maps(loaded: Loaded, handle: int, options: LoadOptions) -> None:
    """The first object to carry a shared map makes it; it is kept by a descriptor of our own and pinned."""
    for found in libbpf.each("bpf_object__next_map", handle):
        word = libbpf.library().bpf_map__name(found).decode()
        if word not in SHARED or word in loaded.maps:
            continue
        loaded.maps[word] = os.dup(libbpf.call("bpf_map__fd", found))
        libbpf.call("bpf_obj_pin", loaded.maps[word], str(loaded.folder / word).encode())
        if word == "scopes":
            for scope in options.scopes:
                update(loaded.maps[word], struct.pack("<Q", scope), struct.pack("<I", 1))


def update(fd: int, key: bytes, value: bytes) -> None:
    """bpf(BPF_MAP_UPDATE_ELEM); OSError where the kernel refuses."""
    libbpf.call("bpf_map_update_elem", fd, key, value, 0)


def read_existing(loaded: Loaded) -> Iterator[None]:
    """Run the iterators: the host's namespaces, then one record for each process that runs already.

    Yields after at most PORTION records, so that the caller can make room in the ring, which holds more than that.
    """
    for program in loaded.programs:
        if program.hook in EXISTING:
            iterator = libbpf.call("bpf_iter_create", libbpf.library().bpf_link__fd(program.link))
            with os.fdopen(iterator, "rb", buffering=0) as stream:
                while stream.read(PORTION):
                    yield
