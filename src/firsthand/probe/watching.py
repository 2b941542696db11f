"""The list of watched files in the kernel's tables: changed while programs read them, so that what stays is watched all the time."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping

from firsthand.probe import libbpf, pins, shared
from firsthand.probe.loaded import Loaded
from firsthand.settings.watchlist import MOST_GLOBS, Tables, Watchlist, pattern_of

_ZERO = struct.pack("<I", 0)


def write(loaded: Loaded, watched: Watchlist) -> None:
    """Have this list in force, where this kernel takes the programs that ask for it."""
    if watched and "watch_filter" in loaded.maps:
        tables = watched.tables([pattern_of(glob) for glob in _globs(loaded)])
        _add(loaded, tables)
        _take_away(loaded, tables)


def _globs(loaded: Loaded) -> list[bytes]:
    return [_value(loaded, "watch_globs", struct.pack("<I", place)) for place in range(MOST_GLOBS)]


def _value(loaded: Loaded, table: str, key: bytes) -> bytes:
    value = ctypes.create_string_buffer(pins.info(loaded.maps[table]).value_size)
    libbpf.call("bpf_map_lookup_elem", loaded.maps[table], key, value)
    return value.raw


def _add(loaded: Loaded, tables: Tables) -> None:
    """What is new beside what is there: in the order in which programs look last, so that what they find first leads on."""
    for place, glob in tables.globs.items():
        shared.update(loaded.maps["watch_globs"], struct.pack("<I", place), glob)
    _update(loaded, "watch_paths", tables.paths)
    _update(
        loaded, "watch_names", {key: _both(loaded, "watch_names", key, value) for key, value in tables.names.items()}
    )
    shared.update(loaded.maps["watch_filter"], _ZERO, _both(loaded, "watch_filter", _ZERO, tables.filter))


def _take_away(loaded: Loaded, tables: Tables) -> None:
    """What the list has no more, in the other order."""
    shared.update(loaded.maps["watch_filter"], _ZERO, tables.filter)
    for table, wanted in (("watch_names", tables.names), ("watch_paths", tables.paths)):
        fd = loaded.maps[table]
        for key in shared.keys(fd, pins.info(fd).key_size):
            if key not in wanted:
                shared.delete(fd, key)
    _update(loaded, "watch_names", tables.names)
    for place in set(range(MOST_GLOBS)) - set(tables.globs):
        shared.update(loaded.maps["watch_globs"], struct.pack("<I", place), bytes(256))


def _update(loaded: Loaded, table: str, entries: Mapping[bytes, bytes]) -> None:
    for key, value in entries.items():
        shared.update(loaded.maps[table], key, value)


def _both(loaded: Loaded, table: str, key: bytes, value: bytes) -> bytes:
    """The bits of a value and of what is there."""
    try:
        before = _value(loaded, table, key)
    except FileNotFoundError:
        return value
    return bytes(one | other for one, other in zip(before, value, strict=True))
