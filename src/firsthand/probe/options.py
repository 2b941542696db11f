"""What the kernel side is told before it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from firsthand.probe.hierarchy import Hierarchy
from firsthand.schema.layout import Layout, objects


@dataclass(frozen=True)
class LoadOptions:
    """What the kernel side is told before it is loaded; sizes in bytes, powers of two, at least a page; `patience` and
    `flow_idle` in seconds; `translated`: network namespaces whose conntrack is heard beside the own one, None for none at all;
    `plain`: files of libssl whose plaintext is to be seen.

    `fold`: equal short processes fold, those that live for `fold_most_ms` at most, into a row each `fold_every_seconds`;
    `fold_connections`: so do equal short connections. `canary`: that of `scopes` which is the canaries', made anew by each session; 0: none.
    """

    layout: Layout
    hierarchy: Hierarchy
    scopes: Sequence[int] = ()
    instance: str = "default"
    ring_bytes: int = 8 << 20
    urgent_bytes: int = 1 << 20
    patience: float = 600.0
    read_args: bool = True
    read_env: bool = True
    read_names: bool = True
    read_requests: bool = True
    flow_idle: int = 30
    translated: Sequence[str] | None = None
    plain: Sequence[str] = ()
    fold: bool = False
    fold_connections: bool = False
    fold_most_ms: int = 1000
    fold_every_seconds: int = 60
    canary: int = 0

    @property
    def settings(self) -> dict[str, int]:
        """Values of the `const volatile` settings in kernel/include/maps.h."""
        return self._chosen | {"stamp": self.build & 0xFFFFFFFF | 1}

    @property
    def _chosen(self) -> dict[str, int]:
        return {
            "layout_number": self.layout.number,
            "container_hierarchy": self.hierarchy.number,
            "container_controller": self.hierarchy.code,
            "scoped": int(bool(self.scopes)),
            "read_args": int(self.read_args),
            "read_env": int(self.read_env),
            "read_names": int(self.read_names),
            "read_requests": int(self.read_requests),
            "read_plain": int(bool(self.plain)),
            "flow_idle": self.flow_idle,
            "fold": int(self.fold),
            "fold_most_ms": self.fold_most_ms,
            "fold_every_seconds": self.fold_every_seconds,
            "fold_connections": int(self.fold_connections),
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the rings by map."""
        return {"ring": self.ring_bytes, "urgent": self.urgent_bytes}

    @property
    def build(self) -> int:
        """Of programs and settings: what is pinned with the same one need not be loaded again."""
        return _build(json.dumps([self._chosen, sorted(self.scopes)]), tuple(objects()))


@cache
def _build(told: str, paths: tuple[Path, ...]) -> int:
    digest = hashlib.sha256(told.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")
