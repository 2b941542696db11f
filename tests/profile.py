"""How much of what is exhaustive runs: FIRSTHAND_PROFILE=quick, ci (where nothing is said) or all.

`all` runs every case and many random examples (`make test-all`, each night). The others run a part that is spread evenly over the
cases and is the same each time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

QUICK, CI, ALL = "quick", "ci", "all"
#: Random examples of each property.
EXAMPLES = {QUICK: 10, CI: 40, ALL: 300}
Case = TypeVar("Case")


def name() -> str:
    """The profile in force. ValueError for a word that is none."""
    found = os.environ.get("FIRSTHAND_PROFILE", "") or CI
    if found not in EXAMPLES:
        raise ValueError(f"FIRSTHAND_PROFILE is one of {', '.join(EXAMPLES)}, not {found!r}")
    return found


def load() -> None:
    """Hypothesis's settings: no deadline, since a machine may be busy."""
    for word, examples in EXAMPLES.items():
        settings.register_profile(word, deadline=None, max_examples=examples)
    settings.load_profile(name())


def some(cases: Sequence[Case], ci: int, quick: int = 1) -> list[Case]:
    """So many of the cases, in their order, the first and the last among them; every one where the profile is `all`."""
    wanted = min({QUICK: quick, CI: ci, ALL: len(cases)}[name()], len(cases))
    if wanted == len(cases):
        return list(cases)
    if wanted == 1:
        return [cases[0]]
    return [cases[place * (len(cases) - 1) // (wanted - 1)] for place in range(wanted)]
