"""How the arguments of each row are kept, by its cgroup: the mode of the longest cgroup path that holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.errors import RedactionError
from firsthand.wire.batch import distinct
from firsthand.wire.redact import MODES

MOST = 1024


class ScopedModes:
    """`scopes` maps cgroup paths below the hierarchy's root to mask, hash or drop; `default` is the mode outside of them.

    RedactionError for a path that does not begin with a slash, an unknown mode, or more than 1024 scopes.
    """

    def __init__(self, scopes: Mapping[str, str], default: str) -> None:
        if len(scopes) > MOST:
            raise RedactionError(f"at most {MOST} redaction scopes; found {len(scopes)}: name a cgroup above them")
        for path, mode in scopes.items():
            if not path.startswith("/"):
                raise RedactionError(f"redaction scope {path!r}: a cgroup's path below its hierarchy begins with /")
            if mode not in MODES:
                raise RedactionError(f"redaction scope {path!r}: its mode is one of mask, hash, drop; found {mode!r}")
        self._modes = {_parts(path): MODES[mode] for path, mode in scopes.items()}
        self._default = MODES[default]
        #: Where the path is not known the mode that keeps least is taken.
        self._unknown = max([self._default, *self._modes.values()])

    def __bool__(self) -> bool:
        return bool(self._modes)

    def of(self, path: bytes) -> int:
        """The mode of one cgroup path; of an unknown (empty) one the strictest of all."""
        if not path:
            return self._unknown
        parts = _parts(path.decode("utf-8", "surrogateescape"))
        for length in range(len(parts), -1, -1):
            if (mode := self._modes.get(parts[:length])) is not None:
                return mode
        return self._default

    def rows(self, cgroups: NDArray[Any], path: Callable[[int], bytes]) -> NDArray[np.int8]:
        """The mode of each row by its cgroup's number; `path` is asked once for each distinct number."""
        codes, found = distinct(cgroups)
        modes = np.array([self.of(path(key)) for key in found], dtype=np.int8)
        return np.asarray(modes[codes])


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)
