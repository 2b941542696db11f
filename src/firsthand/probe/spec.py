"""What is to be brought into the kernel, as the subjects declare it: their hooks best first, with the blind spot that a missing one leaves."""

from __future__ import annotations

from collections.abc import Iterable

from firsthand.schema import layout
from firsthand.settings import Settings
from firsthand.subjects import request
from firsthand.subjects.declare import KNOWN as KNOWN
from firsthand.subjects.declare import AtCgroup as AtCgroup
from firsthand.subjects.declare import Hook as Hook
from firsthand.subjects.registry import SUBJECTS

HOOKS: tuple[Hook, ...] = tuple(hook for one in SUBJECTS for hook in one.hooks)
#: What no hook meets, on any kernel.
STANDING: tuple[str, ...] = tuple(words for one in SUBJECTS for words in one.standing)
#: Without these an answer is complete and a machine healthy.
UNNEEDED = frozenset(hook.name for hook in HOOKS if not hook.needed)
#: Hooks that nothing but the root of cgroup v2 can carry.
AT_ROOT = tuple(hook for hook in HOOKS if set(hook.at_cgroup) == set(hook.programs))

#: Iterators, run once at the start in this order.
EXISTING: tuple[Hook, ...] = tuple(hook for one in SUBJECTS for hook in one.existing)
#: Iterators over one map each, begun again each second where short processes or connections fold: without all, none does.
SWEEPS: tuple[Hook, ...] = tuple(hook for one in SUBJECTS for hook in one.sweeps.values())
#: The maps that they go over.
SWEPT = {hook.name: map_ for one in SUBJECTS for map_, hook in one.sweeps.items()}
#: Uprobes on libssl, attached in each library that a user names.
PLAIN, PLAIN_FUNCTIONS = request.PLAIN, request.PLAIN_FUNCTIONS


def wanted(hooks: Iterable[Hook], settings: Settings) -> list[Hook]:
    """Those of hooks and iterators that are brought in by these settings."""
    idle = [one for one in SUBJECTS if one.wanted is not None and not one.wanted(settings)]
    unwanted = {hook.name for one in idle for hook in (*one.hooks, *one.existing)}
    return [hook for hook in hooks if hook.name not in unwanted]


def shared() -> tuple[str, ...]:
    """Maps that all objects share, by the names under which they are pinned: every map but the spine's."""
    return tuple(layout.installed().maps)


def needed() -> dict[str, str]:
    """The table of each hook without which an answer from that table is not complete."""
    return {hook.name: hook.table for hook in (*HOOKS, *EXISTING) if hook.needed}
