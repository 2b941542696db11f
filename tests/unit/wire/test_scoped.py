"""The longest cgroup path that holds a row decides how its arguments are kept."""

from __future__ import annotations

import numpy as np
import pytest

from firsthand.errors import RedactionError
from firsthand.wire.redact import DROP, HASH, MASK
from firsthand.wire.scoped import ScopedModes

_SCOPES = {"/kubepods": "hash", "/kubepods/burstable/": "drop", "/kubepods/burstable/open": "mask"}


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (b"/", MASK),
        (b"/system.slice/x", MASK),
        (b"/kubepods", HASH),
        (b"/kubepods-other", MASK),
        (b"/kubepods/besteffort/a", HASH),
        (b"/kubepods/burstable/a/b", DROP),
        (b"/kubepods/burstable/open/b", MASK),
        (b"/kubepods/burstable/opened", DROP),
        (b"/kubepods/\xff", HASH),
        (b"", DROP),
    ],
)
def test_the_longest_path_decides(path: bytes, mode: int) -> None:
    """Whole components only; an unknown path is kept by the strictest mode."""
    assert ScopedModes(_SCOPES, "mask").of(path) == mode


def test_each_cgroup_is_asked_once() -> None:
    """However many rows it has."""
    asked = []

    def path(key: int) -> bytes:
        asked.append(key)
        return b"/kubepods" if key == 7 else b"/"

    found = ScopedModes(_SCOPES, "mask").rows(np.array([7, 3, 7, 7, 3]), path)
    assert found.tolist() == [HASH, MASK, HASH, HASH, MASK] and sorted(asked) == [3, 7]


def test_without_scopes_it_is_false() -> None:
    """So that the usual way costs nothing."""
    assert not ScopedModes({}, "hash") and ScopedModes({}, "hash").of(b"/x") == HASH


@pytest.mark.parametrize(
    ("scopes", "message"),
    [
        ({"kubepods": "hash"}, "begins with /"),
        ({"/a": "hide"}, "mask, hash, drop"),
        ({f"/{i}": "hash" for i in range(1025)}, "1024"),
    ],
)
def test_bad_scopes_are_refused(scopes: dict[str, str], message: str) -> None:
    """With what to do."""
    with pytest.raises(RedactionError, match=message):
        ScopedModes(scopes, "mask")
