"""wire/commands.py: what a row of arguments costs is bounded, whoever wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from firsthand.wire.commands import ProgramTable
from firsthand.wire.patterns import Pattern
from firsthand.wire.programs import packaged
from firsthand.wire.redact import OWN_MEMORY, _compile


class _CountedCompiles:
    """An expression of RE2, and the bytes that all of them were asked to read."""

    read = 0

    def __init__(self, text: str) -> None:
        self._own = _compile(Pattern("counted", text), OWN_MEMORY)
        self.groups = self._own.groups

    def finditer(self, text: bytes) -> Any:
        _CountedCompiles.read += len(text)
        return self._own.finditer(text)

    def search(self, text: bytes, at: int) -> Any:
        return self._own.search(text, at)


_HOSTILE = {
    "names": [b"mysql"] * 600 + [b"-pfoo"],
    "calls": [b"sh", b"-c", b"mysql -pfoo " * 330],
    "logins": [b"sh", b"-c", b"curl -u a:b " * 330],
    "options": [b"redis-cli"] * 200 + [b"-a", b"x"] * 600,
    "texts": [b"mysql"] * 300 + [b"a 'b c' -pfoo"] * 150,
    "nested": [b"sh", b"-c", b"mysql 'mysql \"mysql -pfoo\" a' " * 130],
}


@pytest.mark.parametrize("kind", _HOSTILE)
def test_a_row_is_read_so_often_at_most(kind: str) -> None:
    """Law: a row of 4 KiB whose author repeats programs' names is read 64 times at most, and not once for each name, secret and
    argument: the observer that redacts it also empties the rings."""
    row = b"\n" + b"\0".join(_HOSTILE[kind])[:4096] + b"\n"
    programs = ProgramTable(packaged(), _CountedCompiles)
    _CountedCompiles.read = 0
    found = list(programs.spans(row))
    assert found
    assert _CountedCompiles.read <= 64 * len(row)


def test_behind_the_last_name_that_is_looked_at() -> None:
    """Law: a secret behind more names than are looked at is found by the first of them."""
    row = b"\n" + b"\0".join([*[b"mysql"] * 20, b"-psecret"]) + b"\n"
    (span,) = {(start, end) for start, end, _ in ProgramTable(packaged(), _CountedCompiles).spans(row)}
    assert row[slice(*span)] == b"secret"
