"""What the kernel side is given before it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from firsthand.probe.hierarchy import Hierarchy
from firsthand.schema.layout import Layout, objects
from firsthand.settings import Settings
from firsthand.settings.declare import Section, fields, sections
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.redaction import Redaction
from firsthand.settings.sections.top import Top
from firsthand.subjects.file import WatchedFiles


@dataclass(frozen=True)
class LoadOptions:
    """What the kernel side is given before it is loaded. `told`: the observer's settings. `scopes`: keys of cgroups; none: all.

    `canary`: that of `scopes` which is the canaries', made anew by each session; 0: none.
    """

    layout: Layout
    hierarchy: Hierarchy
    scopes: Sequence[int] = ()
    told: Settings = field(default_factory=Settings)
    canary: int = 0

    @property
    def instance(self) -> str:
        """Name of the pin folder."""
        return self.told[Top].instance

    @property
    def settings(self) -> dict[str, dict[str, int]]:
        """Values of the `const volatile` structs in kernel/include, by the name behind `.rodata.`, and by member."""
        return self._chosen | {"settings": self._chosen["settings"] | {"stamp": self.build & 0xFFFFFFFF | 1}}

    @property
    def _chosen(self) -> dict[str, dict[str, int]]:
        own = {
            "layout_number": self.layout.number,
            "container_hierarchy": self.hierarchy.number,
            "container_controller": self.hierarchy.code,
            "scoped": int(bool(self.scopes)),
            "read_args": int(self.told[Redaction].read_args),
            "read_env": 1,
        }
        given = {name: _values(self.told[kind]) for name, kind in sections().items()}
        return {"settings": own, **{name: values for name, values in given.items() if values}}

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the rings by map."""
        return self.told[Top].rings

    @property
    def unfolded(self) -> LoadOptions:
        """The same where nothing folds."""
        return replace(self, told=self.told.having(Folding, processes=False, connections=False))

    @property
    def build(self) -> int:
        """Of programs and settings: what is pinned with the same one need not be loaded again."""
        return _build(
            json.dumps([self._chosen, sorted(self.scopes), self.told[WatchedFiles].watched.entries]), tuple(objects())
        )


def _values(section: Section) -> dict[str, int]:
    """A section's settings as the kernel side has them: numbers, and whether anything is in a list."""
    found = {key: getattr(section, key) for key, one in fields(type(section)).items() if one.kernel}
    return {key: int(value) if isinstance(value, int) else int(bool(value)) for key, value in found.items()}


@cache
def _build(told: str, paths: tuple[Path, ...]) -> int:
    digest = hashlib.sha256(told.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")
