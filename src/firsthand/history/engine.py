"""DuckDB without its Python layer: half of what `import duckdb` costs, for which no question needs to wait.

The package `duckdb` is a layer over the extension module `_duckdb`, which has the connection, its errors and its types; what reads Arrow
objects is set by the layer. Here stands the least that the tail of the log needs: an object with an Arrow C stream. Whoever imports
`duckdb` later has all of it on the same connections. Where a version has another seam, the package stands here itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb as duckdb
else:
    try:
        import _duckdb as duckdb
    except ImportError:
        import duckdb

__all__ = ["duckdb"]


class _Stream:
    """A source as the scan asks for it (duckdb._sources.arrow.ArrowScanSource): every column, no filter."""

    one_shot = False
    schema_is_stable = True
    pull_under_gil = False

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def rows(self) -> int | None:
        return None

    def accepts(self, predicate: object) -> bool:
        return False

    def stream(self, columns: Sequence[int] | None, filters: Sequence[object]) -> tuple[object, bool]:
        return self.obj.__arrow_c_stream__(), False


class _Nodes:
    """In the place of duckdb._sources.nodes: predicates, which no source here looks at."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: None


class _Sources:
    """In the place of duckdb._sources."""

    nodes = _Nodes()

    @staticmethod
    def adapt(obj: Any) -> Any:
        if type(obj).__module__.startswith("firsthand."):
            return _Stream(obj)
        import duckdb._sources as whole

        return whole.adapt(obj)


if "duckdb" not in sys.modules:
    try:
        duckdb._set_arrow_sources(_Sources)  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        import duckdb as _whole  # noqa: F401 - which sets its own
