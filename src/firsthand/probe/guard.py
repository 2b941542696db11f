"""The maps by which the kernel side is steered, compared each second with what was written to them.

They are pinned, and root may write them: with `incarnation` zeroed or a key of `scopes` deleted, programs record nothing and nobody
is told. What differs is written anew and reported. A change that is taken back between two looks is not seen.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from firsthand.host import boottime
from firsthand.probe import libbpf, pins, shared
from firsthand.probe.loaded import Loaded

_ZERO = struct.pack("<I", 0)
_ASKED = struct.pack("<I", 1)


@dataclass(frozen=True)
class Changed:
    """Something that this observer did not write: a cause of `loss` and its detail."""

    cause: str
    detail: str


class Guard:
    """What `control`, `scopes` and `host` are to hold. `places` are the scopes' folders, in the order in which the loader wrote their keys."""

    def __init__(self, loaded: Loaded, places: Sequence[Path] = ()) -> None:
        self._maps = loaded.maps
        self._loaded = loaded
        self.control = loaded.written or loaded.control
        self._scopes = dict(zip(places, loaded.scopes, strict=False))
        self._host: bytes | None = None

    def settle(self) -> None:
        """Take the host's namespaces as they are now: an iterator has just written them."""
        if "host" in self._maps:
            self._host = self._read_host()

    def beat(self) -> list[Changed]:
        """Compare, write anew what differs, and tell the kernel side that somebody reads."""
        found = [*self._compared_control(), *self._remade(), *self._compared_scopes(), *self._compared_host()]
        self.control.heartbeat = boottime.now_ns()
        self.control.write(self._maps["control"])
        return found

    def _compared_control(self) -> list[Changed]:
        found = self._loaded.control
        pairs = zip(fields(self.control), astuple(self.control), astuple(found), strict=True)
        names = [f"{one.name} was {is_}" for one, wanted, is_ in pairs if wanted != is_]
        return [Changed("control_changed", f"map control: {', '.join(names)}")] if names else []

    def _remade(self) -> list[Changed]:
        """Scopes whose folder is another cgroup than before: from now on the new one is recorded."""
        changed = []
        for place, key in self._scopes.items():
            now = _key(place)
            if now is not None and now != key:
                shared.update(self._maps["scopes"], struct.pack("<Q", now), _ASKED)
                shared.delete(self._maps["scopes"], struct.pack("<Q", key))
                self._scopes[place] = now
                changed.append(
                    Changed("scope_remade", f"{place} is another cgroup than before; it is recorded from now on")
                )
        return changed

    def _compared_scopes(self) -> list[Changed]:
        if not self._scopes:
            return []
        fd = self._maps["scopes"]
        wanted = {struct.pack("<Q", key): place for place, key in self._scopes.items()}
        found = set(shared.keys(fd, 8))
        for key in wanted.keys() - found:
            shared.update(fd, key, _ASKED)
        for key in found - wanted.keys():
            shared.delete(fd, key)
        deleted = [
            Changed("control_changed", f"map scopes: {wanted[key]} was deleted") for key in wanted.keys() - found
        ]
        added = [f"map scopes: {struct.unpack('<Q', key)[0]} was added" for key in found - wanted.keys()]
        return deleted + [Changed("control_changed", detail) for detail in added]

    def _compared_host(self) -> list[Changed]:
        if self._host is None or self._read_host() == self._host:
            return []
        shared.update(self._maps["host"], _ZERO, self._host)
        return [Changed("control_changed", "map host: the host's namespaces were others")]

    def _read_host(self) -> bytes:
        value = ctypes.create_string_buffer(pins.info(self._maps["host"]).value_size)
        libbpf.call("bpf_map_lookup_elem", self._maps["host"], _ZERO, value)
        return value.raw


def _key(place: Path) -> int | None:
    """The cgroup that is there now; None: there is none, or it may not be looked at."""
    try:
        return place.stat().st_ino
    except OSError:
        return None
