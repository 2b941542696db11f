"""What verifying a bundle found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firsthand.history.store.chain import Head


@dataclass
class BundleVerdict:
    """What verifying found. `damage` empty: whole. `unproven` says what it cannot show, though nothing speaks against it.

    `proven` is the entry up to which a head from outside proves the chain, 0 without one; `rows` by table. `complete` and
    `reasons` are the evidence's, as told.
    """

    digest: str = ""
    files: int = 0
    segments: int = 0
    chunks: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    first: int = 0
    head: Head | None = None
    proven: int = 0
    complete: bool = False
    reasons: list[str] = field(default_factory=list)
    question: dict[str, Any] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.damage
