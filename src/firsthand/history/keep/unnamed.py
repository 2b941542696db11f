"""Which segments hold rows of containers whose names may still come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.history.names import names
from firsthand.history.store.manifest import Segment

#: Containers without a name of which it is known where their rows are.
MOST = 10_000


class UnnamedFound:
    """Containers without a name, of rows that pass by."""

    def __init__(self) -> None:
        self.containers: set[str] = set()

    @classmethod
    def of(cls, rows: pa.Table) -> UnnamedFound:
        """Of rows that are all there."""
        found = cls()
        found.add(rows)
        return found

    def add(self, rows: pa.Table) -> None:
        """Look at more rows."""
        mask = names.unknown(rows)
        if mask is not None and pc.any(mask).as_py():
            self.containers |= set(pc.unique(rows["container"].filter(mask)).to_pylist())


class Unnamed:
    """Paths of segments by container; `late` are those whose names have come since."""

    def __init__(self) -> None:
        self._paths: OrderedDict[str, set[str]] = OrderedDict()
        self._late: set[str] = set()

    def remember(self, found: UnnamedFound, made: Sequence[Segment]) -> None:
        """These segments hold them; the oldest are forgotten where there are too many."""
        paths = {one.path for one in made if one.unnamed}
        for container in found.containers if paths else ():
            self._paths.setdefault(container, set()).update(paths)
        while len(self._paths) > MOST:
            self._paths.popitem(last=False)

    def learned(self, containers: Iterable[str]) -> None:
        """Their names came: what was written without them is late."""
        for container in containers:
            self._late |= self._paths.pop(container, set())

    @property
    def settled(self) -> bool:
        """Whether no segment waits for a name, as far as this process knows."""
        return not self._paths and not self._late

    def late(self) -> set[str]:
        """What is late, once."""
        late, self._late = self._late, set()
        return late
