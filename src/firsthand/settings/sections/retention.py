"""How long and how much the history keeps."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from firsthand.settings.declare import Notation, Section, section, setting
from firsthand.settings.kinds import SIZE, size

_EVER = 1_000_000


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one namespace may hold, where that is fixed: whole days, bytes; None: as all others."""

    days: Annotated[int, msgspec.Meta(ge=1)] | None = None
    bytes: int | None = None


def _namespaces(value: object) -> Any:
    found = msgspec.convert(value, dict[str, dict[str, Any]])
    return {name: msgspec.convert(_limit(one), Limit) for name, one in sorted(found.items())}


def _limit(raw: dict[str, Any]) -> dict[str, Any]:
    try:
        return raw | ({"bytes": size(raw["bytes"])} if "bytes" in raw else {})
    except ValueError as error:
        raise ValueError(f"bytes: expected {SIZE.expected}, found {raw['bytes']!r}") from error


_LIMITS = Notation(
    "NAMESPACE = {days = .., bytes = ..}",
    _namespaces,
    {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1}, "bytes": SIZE.schema},
            "additionalProperties": False,
        },
    },
)


@section("retention", role="keeper")
class Limits(Section, frozen=True):
    """What the history may hold: whole days, bytes of segments, free bytes of its file system."""

    days: Annotated[int, setting("How long rows are kept, in whole days.", "days", least=1)] = 30
    bytes: Annotated[
        int,
        setting(
            'The largest size of all segments together, in bytes: 20000000000, "20GB" or "20GiB". Over that, namespaces that hold more than their '
            'fair share lose their oldest rows first; the host is a namespace of its own, "(host)".',
            "bytes",
            kind=SIZE,
        ),
    ] = 20 * 10**9
    free: Annotated[
        int,
        setting(
            "The file system of the history keeps this free, though a quarter of `bytes` is kept whatever others fill the disk with.",
            "bytes",
            kind=SIZE,
        ),
    ] = 10**9
    protected_days: Annotated[
        int,
        setting(
            "Processes that gained privilege are kept this long, in a quarter of the bytes at most.", "days", least=1
        ),
    ] = 365
    namespaces: Annotated[
        dict[str, Limit],
        setting(
            'Some namespaces by numbers of their own: "kube-system" = { days = 90, bytes = "2GB" }.',
            kind=_LIMITS,
        ),
    ] = msgspec.field(default_factory=dict)

    def check(self) -> None:
        """What namespaces are given together must be there to be given."""
        given = sum(limit.bytes or 0 for limit in self.namespaces.values())
        if given > self.bytes:
            raise ValueError(f"namespaces: {given:,} bytes are given in all, and bytes is {self.bytes:,}; raise bytes")

    @property
    def ageless(self) -> Limits:
        """The same in bytes, and no row is ever too old."""
        change = msgspec.structs.replace
        named = {name: change(one, days=_EVER) if one.days else one for name, one in self.namespaces.items()}
        return change(self, days=_EVER, protected_days=_EVER, namespaces=named)
