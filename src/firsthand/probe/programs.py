"""Programs of the objects on their way into the kernel: many in one load, and one by one where the kernel refuses that.

Each load reads the kernel's types anew (5.5 MB), and its symbols where a program asks for one: that costs more than verifying most
programs. So those of an object that are wanted first are loaded together, and objects side by side. A group that is refused gives
no reason: its programs are loaded singly when their hooks ask for them, and the reason is that program's own.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from firsthand.errors import SchemaError
from firsthand.probe import libbpf, shared
from firsthand.probe.loaded import Loaded
from firsthand.probe.options import LoadOptions
from firsthand.probe.spec import Hook
from firsthand.probe.spec import shared as shared_maps
from firsthand.schema import btf
from firsthand.schema.layout import objects

#: Objects that are loaded at once, at most: each has the kernel's types in memory meanwhile, some 10 MB.
MOST_AT_ONCE = 4
#: Beginnings of sections whose programs some kernels refuse altogether: they share no load with others.
_REFUSABLE = ("fentry", "fexit", "fmod_ret", "lsm", "kprobe")
_SETTINGS = ".rodata."
_SPINE, _ENTRY = "spine_", "entry_"
#: Between a program's name and a further place of it (kernel/include/word.h, ALSO_AT).
_AT = "_at_"

Wanted = tuple[Hook, str]


class RefusedError(OSError):
    """The kernel refused a load. `lines`: what libbpf said, a refused program's verifier log among it."""

    def __init__(self, error: OSError, lines: Sequence[str]) -> None:
        super().__init__(error.errno, error.strerror)
        self.lines = list(lines)

    @property
    def verdict(self) -> str:
        """Why the verifier refused a program; empty where it was not asked."""
        return libbpf.verdict(self.lines)


@dataclass
class ObjectPrograms:
    """Programs of one object that one load brings in. `prefix` stands before their names; `handle`: struct bpf_object *."""

    path: Path
    wanted: Sequence[Wanted]
    prefix: str = ""
    handle: int = 0
    refused: RefusedError | None = None

    def load(self) -> None:
        """Into the kernel; `refused` where it does not take all of them. May run in a thread of its own."""
        libbpf.messages.lines = []
        try:
            libbpf.call("bpf_object__load", self.handle)
        except OSError as error:
            self.refused = RefusedError(error, libbpf.messages.lines)

    def program(self, name: str) -> int:
        """One of them (struct bpf_program *)."""
        return libbpf.pointer("bpf_object__find_program_by_name", self.handle, f"{self.prefix}{name}".encode())

    def places(self, name: str) -> list[str]:
        """The further places at which one of them is attached, of the spine's object."""
        words = (
            libbpf.library().bpf_program__name(one).decode()
            for one in libbpf.each("bpf_object__next_program", self.handle)
        )
        begin = f"{self.prefix}{name}{_AT}"
        return [word.removeprefix(begin) for word in words if word.startswith(begin)]

    @property
    def sure(self) -> list[Wanted]:
        """Those whose hook has no other way: a kernel that lacks one of the others may take these together."""
        return [(hook, name) for hook, name in self.wanted if len(hook.programs) == 1]


@dataclass
class Programs:
    """What is loaded for one kernel side, until the block ends: what is neither attached nor pinned by then is gone."""

    loaded: Loaded
    options: LoadOptions
    _handles: list[int] = field(default_factory=list)
    _ready: dict[str, ObjectPrograms] = field(default_factory=dict)
    _refused: dict[str, RefusedError] = field(default_factory=dict)

    def __enter__(self) -> Programs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            libbpf.library().bpf_object__close(self._handles.pop())

    def prepare(self, wanted: Iterable[Wanted]) -> None:
        """Load these together, as far as the kernel takes them so. The first object to carry a shared map goes before the others."""
        waiting = []
        for group in _grouped(wanted):
            self._open(group)
            if _carried(group.handle) <= set(self.loaded.maps):
                waiting.append(group)
            else:
                self._load(group)
        side_by_side([group.load for group in waiting])
        for group in waiting:
            self._finish(group)

    def prepare_spines(self, wanted: Sequence[Wanted]) -> None:
        """Load together what is to be attached for these."""
        if wanted:
            self._together(ObjectPrograms(_object("spine"), wanted, _SPINE))

    def load(self, hook: Hook, name: str) -> int:
        """A program that is in the kernel (struct bpf_program *). RefusedError where it does not take it."""
        return self._alone(ObjectPrograms(_object(hook.object_of(name)), [(hook, name)])).program(name)

    def spine(self, hook: Hook, name: str) -> tuple[int, int]:
        """What is to be attached for a program (struct bpf_program *), and the descriptor of its array. RefusedError as above."""
        group = self._alone(ObjectPrograms(_object("spine"), [(hook, name)], _SPINE))
        entry = libbpf.pointer("bpf_object__find_map_by_name", group.handle, f"{_ENTRY}{name}".encode())
        return group.program(name), libbpf.call("bpf_map__fd", entry)

    def further(self, name: str) -> list[int]:
        """What is to be attached for a program at further places (struct bpf_program *), loaded with the first one's."""
        group = self._ready[f"{_SPINE}{name}"]
        return [group.program(f"{name}{_AT}{place}") for place in group.places(name)]

    @property
    def fds(self) -> dict[str, int]:
        """Descriptors of the programs that are in the kernel, by name."""
        found = {word: group.program(word.removeprefix(group.prefix)) for word, group in self._ready.items()}
        return {word: libbpf.call("bpf_program__fd", program) for word, program in found.items()}

    def has(self, name: str) -> bool:
        """Whether a program is in the kernel already."""
        return name in self._ready

    def _alone(self, group: ObjectPrograms) -> ObjectPrograms:
        """What was loaded with others, or else is loaded now."""
        word = group.prefix + group.wanted[0][1]
        if word not in self._ready and word not in self._refused:
            self._together(group)
        if word in self._refused:
            raise self._refused[word]
        return self._ready[word]

    def _together(self, group: ObjectPrograms) -> None:
        self._open(group)
        self._load(group)

    def _load(self, group: ObjectPrograms) -> None:
        group.load()
        self._finish(group)

    def _finish(self, group: ObjectPrograms) -> None:
        """Keep what a load brought in. Where it was refused, those that other kernels take too are tried once more together."""
        words = [group.prefix + name for _, name in group.wanted]
        if group.refused is None:
            shared.share(self.loaded, group.handle)
            self._ready |= dict.fromkeys(words, group)
        elif len(words) == 1:
            self._refused[words[0]] = group.refused
        elif 1 < len(group.sure) < len(words):
            self._together(ObjectPrograms(group.path, group.sure, group.prefix))

    def _open(self, group: ObjectPrograms) -> None:
        group.handle = libbpf.pointer("bpf_object__open_file", str(group.path).encode(), None)
        self._handles.append(group.handle)
        words = {f"{group.prefix}{name}": (hook, name) for hook, name in group.wanted}
        for program in libbpf.each("bpf_object__next_program", group.handle):
            word = libbpf.library().bpf_program__name(program).decode()
            further = bool(group.prefix) and word.partition(_AT)[0] in words
            libbpf.library().bpf_program__set_autoload(program, word in words or further)
            if word in words:
                _set_type(*words[word], program)
        for found in libbpf.each("bpf_object__next_map", group.handle):
            self._prepare_map(group, found)

    def _prepare_map(self, group: ObjectPrograms, found: int) -> None:
        word = libbpf.library().bpf_map__name(found).decode()
        if group.prefix:
            wanted = {f"{_ENTRY}{name}" for _, name in group.wanted}
            libbpf.call("bpf_map__set_autocreate", found, word in wanted)
        elif word in self.loaded.maps:
            libbpf.call("bpf_map__reuse_fd", found, self.loaded.maps[word])
        elif word in self.options.sizes:
            libbpf.call("bpf_map__set_max_entries", found, self.options.sizes[word])
        elif word.startswith(_SETTINGS):
            name = word.removeprefix(_SETTINGS)
            _write_settings(found, group.path, name, self.options.settings.get(name, {}))


def side_by_side(tasks: Sequence[Callable[[], None]]) -> None:
    """Run them in threads, as many at once as there are processors, MOST_AT_ONCE at most; the first exception of one is raised."""
    waiting, failed = list(tasks), list[BaseException]()

    def work() -> None:
        while waiting:
            try:
                waiting.pop(0)()
            except IndexError:  # another thread took the last one
                return
            except BaseException as error:
                failed.append(error)

    number = min(MOST_AT_ONCE, len(os.sched_getaffinity(0)), len(tasks))
    threads = [threading.Thread(target=work) for _ in range(number - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _grouped(wanted: Iterable[Wanted]) -> list[ObjectPrograms]:
    """By object, and those apart that a kernel may refuse for what they are."""
    found: dict[tuple[Path, bool], list[Wanted]] = {}
    for hook, name in wanted:
        path = _object(hook.object_of(name))
        found.setdefault((path, name in _refusable(path)), []).append((hook, name))
    return [ObjectPrograms(path, programs) for (path, _), programs in found.items()]


@cache
def _refusable(path: Path) -> frozenset[str]:
    """An object's programs that some kernels refuse for what they are, by their sections' names."""
    lib = libbpf.library()
    handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
    try:
        programs = libbpf.each("bpf_object__next_program", handle)
        sections = {
            lib.bpf_program__name(one).decode(): lib.bpf_program__section_name(one).decode() for one in programs
        }
    finally:
        lib.bpf_object__close(handle)
    return frozenset(name for name, section in sections.items() if section.startswith(_REFUSABLE))


def _carried(handle: int) -> set[str]:
    """The shared maps that an object has."""
    names = {libbpf.library().bpf_map__name(found).decode() for found in libbpf.each("bpf_object__next_map", handle)}
    return names & set(shared_maps())


def _object(name: str) -> Path:
    """The object of kernel/subjects/NAME.bpf.c."""
    return next(path for path in objects() if path.name == f"{name}.bpf.o")


def _set_type(hook: Hook, name: str, program: int) -> None:
    """Of a program whose section's name libbpf does not know."""
    kind = hook.at_cgroup.get(name)
    if kind is not None and kind.program:
        libbpf.call("bpf_program__set_type", program, kind.program)
        libbpf.call("bpf_program__set_expected_attach_type", program, kind.attach)


def _write_settings(found: int, path: Path, name: str, settings: Mapping[str, int]) -> None:
    """Every member of the struct in .rodata.NAME (kernel/include/maps.h) gets its value; SchemaError where one has none."""
    size = ctypes.c_size_t()
    start = libbpf.pointer("bpf_map__initial_value", found, ctypes.byref(size))
    offsets = _settings_of(path, name)
    if set(offsets) != set(settings):
        raise SchemaError(f"{path}: .rodata.{name} and the loader differ; run `make setup` to build both anew")
    for member, offset in offsets.items():
        ctypes.memmove(start + offset, struct.pack("<I", settings[member]), 4)


@cache
def _settings_of(path: Path, name: str) -> dict[str, int]:
    """Members of the struct in an object's .rodata.NAME, and their offsets in bytes; none for the compiler's own (strings).

    Read once: an object may be loaded often.
    """
    types = btf.read_object(path)
    holder = types.named(btf.STRUCT, "settings" if name == "settings" else f"{name}_settings")
    return {member: offset for member, _, offset in types.members(holder)} if holder else {}
