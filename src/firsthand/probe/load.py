"""Bring programs and maps into the kernel, attach what this kernel offers, or take over what is attached already."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from firsthand import boottime, machine
from firsthand.errors import NotSupportedError, ProbeError, SchemaError, UsageError
from firsthand.probe import libbpf, pins, sweep, translation, uprobe
from firsthand.probe.hierarchy import Hierarchy, open_version2
from firsthand.probe.pins import Control, MapInfo
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, PLAIN_FUNCTIONS, SHARED, SWEEPS, SWEPT, Hook
from firsthand.schema import btf
from firsthand.schema.layout import Layout, objects

#: Records that one read of an iterator may send: 64 of at most 28 KiB fit into a quarter of the default ring.
PORTION = 64
#: Rings by number, and the maps that carry them (enum ring_number of kernel/include/maps.h).
RINGS = ("ring", "urgent")
_SETTINGS = ".rodata.settings"
#: An iterator over tasks begins in the pid namespace of who opens it (kernel/bpf/task_iter.c, init_seq_pidns).
_PIDS = "not in the machine's pid namespace: what ran before, outside of this one, is not seen; hostPID: true in a pod"
#: And what is translated on a machine is told in the machine's network namespace alone.
_NETWORK = "what services' addresses were translated to on the machine"
_APART = "this network namespace is a container's own; hostNetwork: true in a pod"
_SECRET = "fold_secret"
#: Descriptors in one message (SCM_MAX_FD of include/net/scm.h is 253) and its text.
_MOST_FDS, _MOST_TEXT = 250, 1 << 17


@dataclass(frozen=True)
class LoadOptions:
    """What the kernel side is told before it is loaded; sizes in bytes, powers of two, at least a page; `patience` and
    `flow_idle` in seconds; `translated`: network namespaces whose conntrack is heard beside the own one, None for none at all;
    `plain`: files of libssl whose plaintext is to be seen.

    `fold`: equal short processes fold, those that live for `fold_most_ms` at most, into a row each `fold_every_seconds`;
    `fold_connections`: so do equal short connections.
    """

    layout: Layout
    hierarchy: Hierarchy
    scopes: Sequence[int] = ()
    instance: str = "default"
    ring_bytes: int = 8 << 20
    urgent_bytes: int = 1 << 20
    patience: float = 600.0
    read_args: bool = True
    read_env: bool = True
    read_names: bool = True
    read_requests: bool = True
    flow_idle: int = 30
    translated: Sequence[str] | None = None
    plain: Sequence[str] = ()
    fold: bool = False
    fold_connections: bool = False
    fold_most_ms: int = 1000
    fold_every_seconds: int = 60

    @property
    def settings(self) -> dict[str, int]:
        """Values of the `const volatile` settings in kernel/include/maps.h."""
        return self._chosen | {"stamp": self.build & 0xFFFFFFFF | 1}

    @property
    def _chosen(self) -> dict[str, int]:
        return {
            "layout_number": self.layout.number,
            "container_hierarchy": self.hierarchy.number,
            "container_controller": self.hierarchy.code,
            "scoped": int(bool(self.scopes)),
            "read_args": int(self.read_args),
            "read_env": int(self.read_env),
            "read_names": int(self.read_names),
            "read_requests": int(self.read_requests),
            "read_plain": int(bool(self.plain)),
            "flow_idle": self.flow_idle,
            "fold": int(self.fold),
            "fold_most_ms": self.fold_most_ms,
            "fold_every_seconds": self.fold_every_seconds,
            "fold_connections": int(self.fold_connections),
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the rings by map."""
        return {"ring": self.ring_bytes, "urgent": self.urgent_bytes}

    @property
    def build(self) -> int:
        """Of programs and settings: what is pinned with the same one need not be loaded again."""
        return _build(json.dumps([self._chosen, sorted(self.scopes)]), tuple(objects()))


@cache
def _build(told: str, paths: tuple[Path, ...]) -> int:
    digest = hashlib.sha256(told.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")


@dataclass
class Program:
    """One attached program: its hook, name, the descriptor of what is attached, and its link's."""

    hook: Hook
    name: str
    fd: int
    link: int


@dataclass
class Loaded:
    """What is in the kernel now. `missing` maps hooks to the reason why this kernel refused them.

    `taken_over`: the rings were there before, with what they hold; `interrupted` names the hooks that were not attached to them
    meanwhile. `previous` is what had to be replaced, detached: its rings are to be emptied. `folding`: equal short processes
    or connections fold, by `sweeps`; `refused` says why they do not, where that was asked for. `unswept`: the sweeps are to be run until all is
    written that a reader before withheld. `unheard`: why the machine's translations are not heard, where they are wanted.
    """

    folder: Path
    lock: int
    maps: dict[str, int] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)
    sweeps: list[Program] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    taken_over: bool = False
    interrupted: list[str] = field(default_factory=list)
    unattended: bool = False
    folding: bool = False
    refused: str = ""
    unswept: bool = False
    previous: Loaded | None = None
    translations: list[int] = field(default_factory=list)
    unheard: str = ""

    @property
    def sweeper(self) -> sweep.Sweeper:
        """What runs the sweeps."""
        return sweep.Sweeper(self.maps, [(program.name, program.link) for program in self.sweeps])

    @property
    def control(self) -> Control:
        """As it is in the kernel now."""
        return Control.read(self.maps["control"])

    def size(self, ring: str) -> int:
        """Bytes of a ring's data."""
        return pins.info(self.maps[ring]).max_entries

    def hooks(self) -> dict[str, str]:
        """Each hook and `present` (with the program, where there was a choice) or `missing: why`."""
        present = {p.hook.name: f"present: {p.name}" if len(p.hook.programs) > 1 else "present" for p in self.programs}
        if self.folding:
            present |= {program.hook.name: "present" for program in self.sweeps}
        return present | {name: f"missing: {why}" for name, why in self.missing.items()}

    def blind_spots(self, dumb: Collection[str] = ()) -> list[str]:
        """What the missing hooks, and those that do not answer, would have seen."""
        hooks = (*HOOKS, *EXISTING, PLAIN)
        found = [hook.blind_spot for hook in hooks if hook.name in self.missing or hook.name in dumb]
        return [*found, _NETWORK] if self.unheard else found

    def detach(self) -> None:
        """Detach every program; the rings keep what they hold. Who may not unpin has this done by who may, before."""
        with contextlib.suppress(PermissionError, FileNotFoundError):
            pins.unpin(self.folder, "link_")
        self._let_go()

    def _let_go(self) -> None:
        for program in self.programs:
            if program.link >= 0:
                os.close(program.link)
                program.link = -1

    def forget(self) -> None:
        """Close the descriptors; what is pinned goes on. May be called twice."""
        self._let_go()
        sweeps = (program.link for program in self.sweeps)
        programs = (program.fd for program in self.programs)
        for fd in (*self.maps.values(), *programs, *sweeps, self.lock, *self.translations):
            if fd >= 0:
                os.close(fd)
        self.maps, self.programs, self.sweeps, self.lock, self.translations = {}, [], [], -1, []

    def close(self) -> None:
        """Detach, unpin and forget everything. May be called twice."""
        if self.lock < 0:
            return
        self.detach()
        with contextlib.suppress(PermissionError, FileNotFoundError):
            pins.unpin(self.folder)
            self.folder.rmdir()
        self.forget()


def bring_in(options: LoadOptions) -> Loaded:
    """Load and attach every hook that this kernel takes, or take over what a reader before left attached.

    NotSupportedError without root or BTF, BusyError where another observer holds the instance, ProbeError where not even
    one hook in the kernel's code could be attached.
    """
    check_machine()
    notes = pins.mount_bpffs()
    folder, lock = pins.claim(options.instance)
    goes_on = (folder / "control").exists()
    loaded = Loaded(folder, lock, notes=notes)
    try:
        _adopt_maps(loaded, options)
        same = loaded.taken_over and loaded.control.build == options.build
        former = [] if same else _pinned_sweeps(loaded.folder)
        wanted = options.fold or options.fold_connections
        loaded.folding = wanted and _bring_sweeps(loaded, options, anew=not same)
        refused = wanted and not loaded.folding
        chosen = replace(options, fold=False, fold_connections=False) if refused else options
        for hook in (*HOOKS, *EXISTING):
            _bring_hook(loaded, hook, chosen, anew=not same)
        _require(loaded)
        _bring_plain(loaded, options)
        if not machine.first("pid"):
            loaded.missing |= dict.fromkeys(("existing_processes", "existing_sockets"), _PIDS)
        _scope(loaded, options)
        _end_sweeps(loaded, former)
        _take_control(loaded, options)
        if options.translated is not None:
            _hear_translations(loaded, options.translated)
    except BaseException:
        loaded.forget() if goes_on else loaded.close()  # what a reader before left records on, for the next try
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


def _adopt_maps(loaded: Loaded, options: LoadOptions) -> None:
    """Take over the pinned maps, where there are all and of the same shape; else what is there becomes `previous`."""
    found = {word: fd for word in SHARED if (fd := pins.open_pin(loaded.folder / word)) is not None}
    if not found:
        pins.unpin(loaded.folder)  # an interrupted beginning or end
        return
    loaded.maps = found
    wanted = _shapes(options)
    if set(found) == set(SHARED) and all(pins.info(found[word]) == wanted[word] for word in SHARED):
        control = loaded.control
        loaded.taken_over = bool(control.incarnation)
        loaded.unattended = boottime.now_ns() - control.heartbeat > control.patience
    else:
        _replace(loaded, found)


def _replace(loaded: Loaded, found: dict[str, int]) -> None:
    """Another version's maps: detach its programs and keep its rings open until they are read."""
    old = Loaded(loaded.folder, -1, found)
    pins.unpin(loaded.folder, "link_")
    for hook in HOOKS:
        for name in hook.programs:
            fd = pins.open_pin(loaded.folder / f"spine_{name}")
            if fd is not None:
                old.programs.append(Program(hook, name, fd, -1))
    old.sweeps = _pinned_sweeps(loaded.folder)
    pins.unpin(loaded.folder)
    loaded.maps = {}
    if {"ring", "produced", "failures", "control"} <= set(found):
        loaded.previous = old
        loaded.notes.append("the rings of another version were replaced: what they held is taken in first")
    else:
        old.forget()


def _shapes(options: LoadOptions) -> dict[str, MapInfo]:
    """What this version's shared maps are, from the objects."""
    found: dict[str, MapInfo] = {}
    for path in objects():
        handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
        for one in libbpf.each("bpf_object__next_map", handle):
            lib = libbpf.library()
            word = lib.bpf_map__name(one).decode()
            most = options.sizes.get(word, lib.bpf_map__max_entries(one))
            sizes = (lib.bpf_map__key_size(one), lib.bpf_map__value_size(one))
            found[word] = MapInfo(lib.bpf_map__type(one), *sizes, most)
        libbpf.library().bpf_object__close(handle)
    return found


def _take_control(loaded: Loaded, options: LoadOptions) -> None:
    """Say who reads from now on; the programs count for nobody but write."""
    now = boottime.now_ns()
    incarnation = loaded.control.incarnation or now
    Control(incarnation, now, round(options.patience * 1_000_000_000), options.build).write(loaded.maps["control"])


def _require(loaded: Loaded) -> None:
    """At least one hook in the kernel's code: what stands at a cgroup alone tells the ends of what nobody saw begin."""
    if any(program.hook in HOOKS and program.name not in program.hook.at_cgroup for program in loaded.programs):
        return
    reasons = "; ".join(sorted(set(loaded.missing.values())))
    raise ProbeError(
        f"no hook could be attached: {reasons}. Is the kernel locked down, or CAP_BPF or CAP_PERFMON missing?"
    )


def _hear_translations(loaded: Loaded, namespaces: Sequence[str]) -> None:
    loaded.translations, notes, loaded.unheard = translation.listen(namespaces)
    if machine.apart() and not namespaces:
        loaded.unheard = _APART
    if loaded.unheard:
        notes.append(f"blind spot: {_NETWORK} ({loaded.unheard})")
    loaded.notes += notes


def _pinned_sweeps(folder: Path) -> list[Program]:
    """The sweeps that a reader before left: they know what its programs withheld."""
    found = ((hook, pins.open_pin(folder / f"iterator_{hook.name}")) for hook in SWEEPS)
    return [Program(hook, hook.name, -1, link) for hook, link in found if link is not None]


def _bring_sweeps(loaded: Loaded, options: LoadOptions, *, anew: bool) -> bool:
    """Whether this kernel takes all sweeps: without them nothing may be withheld, and that is said."""
    try:
        for hook in SWEEPS:
            loaded.sweeps.append(_bring_program(loaded, hook, hook.name, options, anew=anew))
    except OSError as error:
        loaded.refused = f"this kernel refuses {hook.name}: {libbpf.messages.verdict() or error.strerror}"
        loaded.notes.append(f"{hook.blind_spot}: {loaded.refused}")
        for program in loaded.sweeps:
            os.close(program.link)
        loaded.sweeps = []
        return False
    return True


def _end_sweeps(loaded: Loaded, former: list[Program]) -> None:
    """Have all written that the programs before withheld, in their way; where the ring is full, the reader goes on with it."""
    if not former:
        return
    sweeper = sweep.Sweeper(loaded.maps, [(program.name, program.link) for program in former])
    if sweeper.flush(lambda: None):
        loaded.unswept = True
        loaded.sweeps = [*former, *loaded.sweeps]
        return
    for program in former:
        os.close(program.link)
        if not loaded.folding:
            (loaded.folder / f"iterator_{program.name}").unlink(missing_ok=True)


def _bring_hook(loaded: Loaded, hook: Hook, options: LoadOptions, *, anew: bool) -> None:
    reasons = []
    for name in hook.programs:
        libbpf.messages.lines.clear()
        try:
            loaded.programs.append(_bring_program(loaded, hook, name, options, anew=anew))
            return
        except OSError as error:
            verdict = libbpf.messages.verdict()
            needed = "; CAP_NET_ADMIN is needed" if error.errno == errno.EPERM and name in hook.at_cgroup else ""
            reasons.append(f"{name}: {error.strerror}{needed}" + (f" ({verdict})" if verdict else ""))
    loaded.missing[hook.name] = "; ".join(reasons)


def _bring_program(loaded: Loaded, hook: Hook, name: str, options: LoadOptions, *, anew: bool) -> Program:
    attached = _attached(loaded, hook, name)
    if attached is not None and not anew:
        return attached
    path = next(path for path in objects() if path.name == f"{hook.object_of(name)}.bpf.o")
    handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
    try:
        _prepare(loaded, handle, path, name, options)
        _set_type(hook, name, libbpf.pointer("bpf_object__find_program_by_name", handle, name.encode()))
        libbpf.call("bpf_object__load", handle)
        program = libbpf.pointer("bpf_object__find_program_by_name", handle, name.encode())
        _share_maps(loaded, handle)
        if hook in (*EXISTING, *SWEEPS):
            link = sweep.attach(program, loaded.maps[SWEPT[name]]) if hook in SWEEPS else _begin(program)
            pins.pin(link, loaded.folder / f"iterator_{name}")
            return Program(hook, name, -1, link)
        if attached is not None:
            _enter(loaded, name, program)
            return attached
        if loaded.taken_over:
            loaded.interrupted.append(hook.name)
        return _spine(loaded, hook, name, program)
    finally:
        libbpf.library().bpf_object__close(handle)


def _bring_plain(loaded: Loaded, options: LoadOptions) -> None:
    """Uprobes in the libraries that a user names; attached anew each time, since libraries come and go."""
    pins.unpin(loaded.folder, f"link_{PLAIN.name}")
    if not options.plain:
        return
    path = next(path for path in objects() if path.name == f"{PLAIN.object}.bpf.o")
    handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
    try:
        _prepare(loaded, handle, path, PLAIN.name, options)
        libbpf.call("bpf_object__load", handle)
        program = libbpf.pointer("bpf_object__find_program_by_name", handle, PLAIN.name.encode())
        links, refused = uprobe.attach(program, options.plain, PLAIN_FUNCTIONS)
        for number, link in enumerate(links):
            pins.pin(link, loaded.folder / f"link_{PLAIN.name}_{number}")
            os.close(link)
        loaded.notes += refused
        if links:
            loaded.programs.append(Program(PLAIN, PLAIN.name, os.dup(libbpf.call("bpf_program__fd", program)), -1))
        else:
            loaded.missing[PLAIN.name] = "; ".join(refused)
    except OSError as error:
        loaded.missing[PLAIN.name] = f"{error.strerror} ({libbpf.messages.verdict()})"
    finally:
        libbpf.library().bpf_object__close(handle)


def _attached(loaded: Loaded, hook: Hook, name: str) -> Program | None:
    """What is attached for a program already, by its pins."""
    if hook in (*EXISTING, *SWEEPS):
        iterator = pins.open_pin(loaded.folder / f"iterator_{name}")
        return None if iterator is None else Program(hook, name, -1, iterator)
    link = pins.open_pin(loaded.folder / f"link_{name}")
    if link is None:
        return None
    fd = pins.open_pin(loaded.folder / f"spine_{name}")
    if fd is not None and (loaded.folder / f"entry_{name}").exists():
        return Program(hook, name, fd, link)
    os.close(link)
    return None


def _spine(loaded: Loaded, hook: Hook, name: str, program: int) -> Program:
    """Attach the program that calls this one, and pin it; its array is filled first, so that no event finds it empty."""
    path = next(path for path in objects() if path.name == "spine.bpf.o")
    handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
    try:
        lib = libbpf.library()
        for found in libbpf.each("bpf_object__next_program", handle):
            chosen = lib.bpf_program__name(found).decode() == f"spine_{name}"
            lib.bpf_program__set_autoload(found, chosen)
            if chosen:
                _set_type(hook, name, found)
        for found in libbpf.each("bpf_object__next_map", handle):
            libbpf.call("bpf_map__set_autocreate", found, lib.bpf_map__name(found).decode() == f"entry_{name}")
        libbpf.call("bpf_object__load", handle)
        entry = libbpf.pointer("bpf_object__find_map_by_name", handle, f"entry_{name}".encode())
        pins.pin(libbpf.call("bpf_map__fd", entry), loaded.folder / f"entry_{name}")
        _enter(loaded, name, program)
        found = libbpf.pointer("bpf_object__find_program_by_name", handle, f"spine_{name}".encode())
        fd, link = _attach(found, at_cgroup=name in hook.at_cgroup)
    finally:
        libbpf.library().bpf_object__close(handle)
    pins.pin(fd, loaded.folder / f"spine_{name}")
    pins.pin(link, loaded.folder / f"link_{name}")
    return Program(hook, name, fd, link)


def _enter(loaded: Loaded, name: str, program: int) -> None:
    """Put a program into the array that the attached one calls through, in the place of what is there."""
    entry = pins.open_pin(loaded.folder / f"entry_{name}")
    assert entry is not None
    try:
        update(entry, struct.pack("<I", 0), struct.pack("<I", libbpf.call("bpf_program__fd", program)))
    finally:
        os.close(entry)


def _set_type(hook: Hook, name: str, program: int) -> None:
    """Of a program whose section's name libbpf does not know."""
    kind = hook.at_cgroup.get(name)
    if kind is not None and kind.program:
        libbpf.call("bpf_program__set_type", program, kind.program)
        libbpf.call("bpf_program__set_expected_attach_type", program, kind.attach)


def _attach(program: int, *, at_cgroup: bool = False) -> tuple[int, int]:
    """Descriptors of our own of a program and of its new link."""
    link = _link_at_cgroup(program) if at_cgroup else libbpf.pointer("bpf_program__attach", program)
    try:
        return os.dup(libbpf.call("bpf_program__fd", program)), os.dup(libbpf.call("bpf_link__fd", link))
    finally:
        libbpf.library().bpf_link__destroy(link)


def _link_at_cgroup(program: int) -> int:
    """At the root of cgroup v2, which every socket of the machine belongs to. OSError where that is not in sight."""
    folder = open_version2()
    try:
        return libbpf.pointer("bpf_program__attach_cgroup", program, folder)
    finally:
        os.close(folder)


def _begin(program: int) -> int:
    """The link of an iterator over tasks."""
    fd, link = _attach(program)
    os.close(fd)
    return link


def _prepare(loaded: Loaded, handle: int, path: Path, name: str, options: LoadOptions) -> None:
    lib = libbpf.library()
    for program in libbpf.each("bpf_object__next_program", handle):
        lib.bpf_program__set_autoload(program, lib.bpf_program__name(program) == name.encode())
    for found in libbpf.each("bpf_object__next_map", handle):
        word = lib.bpf_map__name(found).decode()
        if word in loaded.maps:
            libbpf.call("bpf_map__reuse_fd", found, loaded.maps[word])
        elif word in options.sizes:
            libbpf.call("bpf_map__set_max_entries", found, options.sizes[word])
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


def _share_maps(loaded: Loaded, handle: int) -> None:
    """The first object to carry a shared map makes it; it is kept by a descriptor of our own and pinned."""
    for found in libbpf.each("bpf_object__next_map", handle):
        word = libbpf.library().bpf_map__name(found).decode()
        if word not in SHARED or word in loaded.maps:
            continue
        loaded.maps[word] = os.dup(libbpf.call("bpf_map__fd", found))
        if word == _SECRET:
            update(loaded.maps[word], struct.pack("<I", 0), os.urandom(pins.info(loaded.maps[word]).value_size))
        pins.pin(loaded.maps[word], loaded.folder / word)


def _scope(loaded: Loaded, options: LoadOptions) -> None:
    """The map `scopes` holds what is asked for now, and nothing of a reader before."""
    fd = loaded.maps["scopes"]
    wanted = {struct.pack("<Q", scope) for scope in options.scopes}
    most = pins.info(fd).max_entries
    if len(wanted) > most:
        raise UsageError(
            f"{len(wanted):,} scopes were given, and the kernel side takes {most:,}: name folders above them"
        )
    for key in wanted:
        update(fd, key, struct.pack("<I", 1))
    for key in set(keys(fd, 8)) - wanted:
        libbpf.call("bpf_map_delete_elem", fd, key)


def keys(fd: int, size: int) -> list[bytes]:
    """Every key of a hash map; `size` in bytes."""
    found: list[bytes] = []
    following = ctypes.create_string_buffer(size)
    with contextlib.suppress(FileNotFoundError):
        while True:
            libbpf.call("bpf_map_get_next_key", fd, found[-1] if found else None, following)
            found.append(following.raw)
    return found


def update(fd: int, key: bytes, value: bytes) -> None:
    """bpf(BPF_MAP_UPDATE_ELEM); OSError where the kernel refuses."""
    libbpf.call("bpf_map_update_elem", fd, key, value, 0)


def read_existing(loaded: Loaded) -> Iterator[None]:
    """Run the iterators: the host's namespaces, then one record for each process that runs already.

    Yields after at most PORTION records, so that the caller can make room in the ring, which holds more than that.
    """
    for program in loaded.programs:
        if program.hook in EXISTING:
            with os.fdopen(_iterator(program), "rb", buffering=0) as stream:
                while stream.read(PORTION):
                    yield


def _iterator(program: Program) -> int:
    """A run of an iterator; what a loader hands over is one already, and runs once."""
    try:
        return libbpf.call("bpf_iter_create", program.link)
    except OSError:
        return os.dup(program.link)


def hand_over(loaded: Loaded, to: socket.socket) -> None:
    """Send everything to the reader, which needs no capability for it: descriptors, and what they are."""
    fds: list[int] = []
    text = json.dumps(_described(loaded, fds)).encode()
    socket.send_fds(to, [text], fds)


def _described(loaded: Loaded, fds: list[int]) -> dict[str, object]:
    def place(fd: int) -> int:
        if fd < 0:
            return -1
        fds.append(fd)
        return len(fds) - 1

    programs = []
    for program in loaded.programs:
        if program.hook in EXISTING:  # only a loader may begin an iterator, anyone may read it
            programs.append((program.hook.name, program.name, -1, place(_iterator(program))))
        else:
            programs.append((program.hook.name, program.name, place(program.fd), place(program.link)))
    return {
        "folder": str(loaded.folder),
        "lock": place(loaded.lock),
        "maps": {word: place(fd) for word, fd in loaded.maps.items()},
        "programs": programs,
        "sweeps": [(program.name, place(program.link)) for program in loaded.sweeps],
        "missing": loaded.missing,
        "notes": loaded.notes,
        "taken_over": loaded.taken_over,
        "interrupted": loaded.interrupted,
        "unattended": loaded.unattended,
        "translations": [place(fd) for fd in loaded.translations],
        "folding": loaded.folding,
        "refused": loaded.refused,
        "unswept": loaded.unswept,
        "unheard": loaded.unheard,
        "previous": _described(loaded.previous, fds) if loaded.previous else None,
    }


def receive(source: socket.socket) -> Loaded:
    """What a loader handed over. ProbeError with its words where it failed."""
    text, fds, _, _ = socket.recv_fds(source, _MOST_TEXT, _MOST_FDS)
    if not text:
        raise ProbeError("the loader ended without handing anything over; see its message above")
    return _restored(json.loads(text), fds)


def _restored(raw: dict[str, object], fds: list[int]) -> Loaded:
    hooks = {hook.name: hook for hook in (*HOOKS, *EXISTING, *SWEEPS, PLAIN)}

    def at(number: int) -> int:
        return fds[number] if number >= 0 else -1

    found = Loaded(Path(str(raw["folder"])), at(raw["lock"]))  # type: ignore[arg-type]
    found.maps = {word: at(number) for word, number in raw["maps"].items()}  # type: ignore[attr-defined]
    found.programs = [Program(hooks[hook], name, at(fd), at(link)) for hook, name, fd, link in raw["programs"]]  # type: ignore[attr-defined]
    found.sweeps = [Program(hooks[name], name, -1, at(link)) for name, link in raw["sweeps"]]  # type: ignore[attr-defined]
    found.folding, found.refused, found.unswept = bool(raw["folding"]), str(raw["refused"]), bool(raw["unswept"])
    found.missing, found.notes = raw["missing"], raw["notes"]  # type: ignore[assignment]
    found.taken_over, found.unattended = bool(raw["taken_over"]), bool(raw["unattended"])
    found.translations = [at(number) for number in raw["translations"]]  # type: ignore[attr-defined]
    found.unheard = str(raw["unheard"])
    found.interrupted = raw["interrupted"]  # type: ignore[assignment]
    previous = raw["previous"]
    found.previous = _restored(previous, fds) if previous else None  # type: ignore[arg-type]
    return found
