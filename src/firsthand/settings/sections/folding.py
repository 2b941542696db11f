"""Whether equal short processes and connections become one row."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting


@section("folding", role="observer")
class Folding(Section, frozen=True):
    """Also the kernel side's `struct folding_settings` (kernel/include/maps.h)."""

    processes: Annotated[
        bool,
        setting(
            "true: repeated equal short processes (probes) become one row with their number, the first and the last. Only those whose "
            "rows would differ in nothing but time and id: docs/folding.md.",
            kernel=True,
        ),
    ] = False
    connections: Annotated[
        bool,
        setting(
            "true: so do equal short connections of one process with one peer in the cluster; connections elsewhere have a row each.",
            kernel=True,
        ),
    ] = False
    most_ms: Annotated[
        int,
        setting(
            "Milliseconds from fork to exit, or from connect to close, beyond which it is no probe, at most 10000. Rows of what may be "
            "one come so much later.",
            "milliseconds",
            least=1,
            most=10_000,
            kernel=True,
        ),
    ] = 1000
    every_seconds: Annotated[
        int, setting("Seconds that a row covers, at most 3600.", "seconds", least=1, most=3600, kernel=True)
    ] = 60

    @property
    def wanted(self) -> bool:
        """Whether anything folds."""
        return self.processes or self.connections
