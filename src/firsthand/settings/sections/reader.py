"""Whether a warm process answers questions."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting


@section("reader", role="reader")
class ReaderSettings(Section, frozen=True):
    """The process that `ask` and `sql` find through its socket."""

    enabled: Annotated[
        bool,
        setting(
            "true: `firsthand run` keeps a socket on which `ask` and `sql` find the reader, a process that has everything loaded. It is "
            "started by the first question and takes no memory before; every question is answered without it too."
        ),
    ] = False
    idle_seconds: Annotated[
        int,
        setting("Seconds without a question after which the reader ends, until the next one.", "seconds", least=1),
    ] = 300

    @property
    def idle(self) -> int:
        """Seconds without a question after which it ends; 0: there is none."""
        return self.idle_seconds if self.enabled else 0
