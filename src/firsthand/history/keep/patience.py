"""Going on where the history cannot be written: it is said once, and tried again until it can or until it is time to end."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from firsthand.errors import FirsthandError, UnwritableError

_T = TypeVar("_T")
#: Seconds between two tries to begin.
AGAIN = 1.0


class Complaint:
    """What a role says on standard error of a thing that fails again and again: each message once, until it has gone well."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._said = ""

    def say(self, error: FirsthandError) -> None:
        """It failed."""
        if str(error) != self._said:
            self._said = str(error)
            print(f"{self._role}: {error}", file=sys.stderr, flush=True)

    def well(self) -> None:
        """It went well; said where it had failed before."""
        if self._said:
            print(f"{self._role}: the history is written again", file=sys.stderr, flush=True)
        self._said = ""


def begun(begin: Callable[[], _T], role: str, stops: Sequence[int]) -> _T | None:
    """What `begin` gives as soon as the history can be written; None where one of the descriptors became readable before.

    Every other error is the caller's.
    """
    complaint = Complaint(role)
    while True:
        try:
            found = begin()
        except UnwritableError as error:
            complaint.say(error)
        else:
            complaint.well()
            return found
        if select.select(stops, [], [], AGAIN)[0]:
            return None
