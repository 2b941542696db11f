"""The maps that every object shares, by name: the first object makes them, they are pinned, and the next reader takes them over."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

from firsthand.errors import UsageError
from firsthand.host import boottime
from firsthand.probe import libbpf, pins
from firsthand.probe.loaded import AttachedProgram, Loaded
from firsthand.probe.options import LoadOptions
from firsthand.probe.pins import Control, MapInfo
from firsthand.probe.spec import EXISTING, HOOKS, SWEEPS
from firsthand.probe.spec import shared as shared_maps
from firsthand.schema import layout
from firsthand.schema.layout import objects
from firsthand.settings.sections.top import Top

_SECRET = "fold_secret"
#: Without these nothing can be taken over.
_CORE = ("ring", "urgent", "produced", "failures", "control")


def adopt(loaded: Loaded, options: LoadOptions) -> None:
    """Take over the pinned maps, where they are of the same shape; else what is there becomes `previous`.

    Maps that a version before did not have are made by the objects that carry them (`share`). Where the programs are the same none may be
    missing that one of them uses, for what is attached goes on with the one that was there.
    """
    found = {word: fd for word in shared_maps() if (fd := pins.open_pin(loaded.folder / word)) is not None}
    if not found:
        pins.unpin(loaded.folder)  # an interrupted beginning or end
        return
    loaded.maps = found
    wanted = _shapes(options)
    usable = set(_CORE) <= set(found) and all(pins.info(found[word]) == wanted[word] for word in found)
    if usable and (loaded.control.build != options.build or not _missed(loaded)):
        control = loaded.control
        loaded.taken_over = bool(control.incarnation)
        loaded.unattended = boottime.now_ns() - control.heartbeat > control.patience
    else:
        _replace(loaded, found)


def _missed(loaded: Loaded) -> set[str]:
    """Shared maps that are not pinned, though a program whose object has them is."""
    pinned = {path.name.partition("_")[2] for path in loaded.folder.iterdir()}
    objects = {
        hook.object_of(name) for hook in (*HOOKS, *EXISTING, *SWEEPS) for name in hook.programs if name in pinned
    }
    return {name for name, having in layout.installed().maps.items() if name not in loaded.maps and having & objects}


def _replace(loaded: Loaded, found: dict[str, int]) -> None:
    """Another version's maps: detach its programs and keep its rings open until they are read."""
    old = Loaded(loaded.folder, -1, found)
    pins.unpin(loaded.folder, "link_")
    for hook in HOOKS:
        for name in hook.programs:
            fd = pins.open_pin(loaded.folder / f"spine_{name}")
            if fd is not None:
                old.programs.append(AttachedProgram(hook, name, fd, -1))
    old.sweeps = pinned_sweeps(loaded.folder)
    pins.unpin(loaded.folder)
    loaded.maps = {}
    if set(_CORE) - {"urgent"} <= set(found):
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


def take_control(loaded: Loaded, options: LoadOptions) -> None:
    """Say who reads from now on; the programs count for nobody but write."""
    now = boottime.now_ns()
    incarnation = loaded.control.incarnation or now
    loaded.written = Control(incarnation, now, round(options.told[Top].patience_seconds * 1_000_000_000), options.build)
    loaded.written.write(loaded.maps["control"])


def share(loaded: Loaded, handle: int) -> None:
    """The first object to carry a shared map makes it; it is kept by a descriptor of our own and pinned."""
    for found in libbpf.each("bpf_object__next_map", handle):
        word = libbpf.library().bpf_map__name(found).decode()
        if word not in shared_maps() or word in loaded.maps:
            continue
        loaded.maps[word] = os.dup(libbpf.call("bpf_map__fd", found))
        if word == _SECRET:
            update(loaded.maps[word], struct.pack("<I", 0), os.urandom(pins.info(loaded.maps[word]).value_size))
        pins.pin(loaded.maps[word], loaded.folder / word)


def scope(loaded: Loaded, options: LoadOptions) -> None:
    """The map `scopes` holds what is asked for now, and nothing of a reader before. A key that was not there was not recorded meanwhile."""
    fd = loaded.maps["scopes"]
    loaded.scopes = list(options.scopes)
    found = set(keys(fd, 8))
    wanted = {struct.pack("<Q", scope) for scope in options.scopes}
    most = pins.info(fd).max_entries
    if len(wanted) > most:
        raise UsageError(
            f"{len(wanted):,} scopes were given, and the kernel side takes {most:,}: name folders above them"
        )
    if loaded.taken_over and wanted - found - {struct.pack("<Q", options.canary)}:
        loaded.interrupted.append("scopes")
    for key in wanted:
        update(fd, key, struct.pack("<I", 1))
    for key in found - wanted:
        delete(fd, key)


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


def delete(fd: int, key: bytes) -> None:
    """bpf(BPF_MAP_DELETE_ELEM); one that is gone already is no error."""
    with contextlib.suppress(FileNotFoundError):
        libbpf.call("bpf_map_delete_elem", fd, key)


def pinned_sweeps(folder: Path) -> list[AttachedProgram]:
    """The sweeps that a reader before left: they know what its programs withheld."""
    found = ((hook, pins.open_pin(folder / f"iterator_{hook.name}")) for hook in SWEEPS)
    return [AttachedProgram(hook, hook.name, -1, link) for hook, link in found if link is not None]
