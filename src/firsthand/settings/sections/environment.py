"""What is recorded of processes' environments."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting


@section("environment", role="observer")
class Environment(Section, frozen=True):
    """Names of variables."""

    allow: Annotated[
        tuple[str, ...],
        setting("Names of environment variables whose values are recorded. Names alone are always recorded."),
    ] = ()
