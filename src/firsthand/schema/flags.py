"""The flags of a process: those that the kernel side stores in `flag_names`, and those that are derived from other columns.

This is the one list: the live view, `--flags`, `ask`, the SQL view's column `marks` and docs/flags.md are made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firsthand.errors import UsageError

#: Derived flags, and what each means.
DERIVED = {
    "PRIVILEGED": "a container's process holds capabilities beyond an ordinary container's (setting ordinary_capabilities)",
    "FILELESS": "the binary is in memory or was deleted, or an interpreter without a script reads its program from a pipe",
    "REDACTED": "something in the arguments was replaced before it reached the disk",
}
#: Those that the live view shows, in its order.
SHOWN = (
    "PRIVILEGED",
    "SETUID",
    "SETGID",
    "FILECAPS",
    "MEMFD",
    "DELETED",
    "DRIFT",
    "ENTERED",
    "DETACHED",
    "RUNTIME",
    "ARGS_TRUNCATED",
    "FILELESS",
    "REDACTED",
)
_INTERPRETERS = ("python", "perl", "ruby", "node", "php", "sh", "bash", "dash", "ash", "zsh", "busybox")
#: The last part of a path that begins with an interpreter's name.
_INTERPRETER = f"(^|/)({'|'.join(_INTERPRETERS)})[^/]*$"
#: Columns from which flags are derived.
COLUMNS = ("flag_names", "container", "cap_permitted", "stdin", "args", "exe", "redacted")


def stored() -> tuple[str, ...]:
    """The words of `flag_names` (enum process_flag of kernel/subjects/process.h)."""
    from firsthand.schema import layout  # BTF, which few questions need

    return tuple(layout.installed().enums["process_flag"])


def known() -> tuple[str, ...]:
    """Every word of `marks`."""
    return (*stored(), *DERIVED)


def checked(words: str) -> frozenset[str]:
    """Flags by commas, as typed. UsageError for one that no row can have."""
    found = frozenset(word.strip().upper() for word in words.split(",") if word.strip())
    if strange := sorted(found - set(known())):
        raise UsageError(f"no flag {strange[0]!r}; there are {', '.join(known())}")
    return found


def sql(ordinary: int) -> str:
    """The column `marks`: SQL over a row of `process`. `ordinary` is an ordinary container's capability set."""
    tests = {"PRIVILEGED": _privileged(ordinary), "FILELESS": _FILELESS, "REDACTED": "redacted"}
    derived = ", ".join(f"CASE WHEN {tests[name]} THEN '{name}' END" for name in DERIVED)
    return f"nullif(concat_ws(',', nullif(flag_names, ''), {derived}), '')"


def _privileged(ordinary: int) -> str:
    beyond = f"cap_permitted & ~({ordinary})::BIGINT <> 0"
    return f"container IS NOT NULL AND {beyond} AND NOT contains(',' || coalesce(flag_names, '') || ',', ',RUNTIME,')"


_UNLINKED = " OR ".join(
    f"contains(',' || coalesce(flag_names, '') || ',', ',{name},')" for name in ("MEMFD", "DELETED")
)
_FILELESS = (
    f"({_UNLINKED} OR (stdin = 'pipe' AND len(args) <= 1 AND regexp_matches(coalesce(exe, ''), '{_INTERPRETER}')))"
)


def of(row: Mapping[str, Any], ordinary: int) -> list[str]:
    """The same for one row that has COLUMNS, in Python: the live view's rows are not in a database yet."""
    found = [name for name in (row["flag_names"] or "").split(",") if name]
    beyond = row["container"] and (row["cap_permitted"] or 0) & ~ordinary and "RUNTIME" not in found
    fileless = {"MEMFD", "DELETED"} & set(found) or _piped(row)
    derived = zip(DERIVED, (beyond, fileless, row["redacted"]), strict=True)
    return found + [name for name, there in derived if there]


def _piped(row: Mapping[str, Any]) -> bool:
    """An interpreter that was given no script, and a pipe to read one from."""
    few = row["args"] is not None and len(row["args"]) <= 1
    return row["stdin"] == "pipe" and few and re.search(_INTERPRETER, row["exe"] or "") is not None
