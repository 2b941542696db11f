"""How it is shown that the history is whole."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting
from firsthand.settings.kinds import PATH_OR_NONE


@section("integrity", role="keeper")
class Integrity(Section, frozen=True):
    """The chain's heads outside of the history, and the scrub."""

    heads: Annotated[
        str,
        setting(
            'A file outside the history to which the head of its hash chain is appended each minute, beside the journal; "" for none.',
            kind=PATH_OR_NONE,
        ),
    ] = "/var/log/firsthand/heads.jsonl"
    scrub_days: Annotated[
        int,
        setting(
            "Days in which the keeper reads all of the history again and compares it with its checksums, at most 0.5% of a processor.",
            "days",
            least=1,
        ),
    ] = 7
