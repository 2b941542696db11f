"""A subject of the tests: tasks that change their name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from firsthand.settings.declare import Section, section, setting
from firsthand.subjects.column import Column
from firsthand.subjects.columns import OUTSIDE, OWNED, WHO
from firsthand.subjects.declare import (
    OWNER,
    SECRET,
    Canary,
    CanaryEvent,
    Hook,
    Listing,
    Subject,
    SubjectTable,
    Switch,
    TimelineRow,
)

_TABLE = SubjectTable(
    "rename",
    "Tasks that change their name",
    (
        Column("event", "text", "rename"),
        *OWNED,
        Column("redacted", "bool", "something in the new name was replaced before it reached the disk"),
        Column("redaction", "text", "names of the redaction patterns that matched, comma separated"),
    ),
    roles={"exe": OWNER, "new_name": SECRET},
    summary=(*WHO, "new_name"),
    facts=OUTSIDE,
    line=TimelineRow("exe", "concat(old_name, ' is called ', new_name)"),
)


def _cause(token: str) -> None:
    """The round's child takes its name; the program that it executes is renamed by the kernel."""
    Path("/proc/self/comm").write_text(token[:15])


@section("rename", role="observer")
class Rename(Section, frozen=True):
    """Also the kernel side's `struct rename_settings`."""

    threads: Annotated[bool, setting("Whether renames of threads are recorded.", kernel=True)] = True


SUBJECT = Subject(
    "rename",
    (_TABLE,),
    hooks=(
        Hook("rename", "rename", ("rename_fentry", "rename_told"), "rename", "tasks that change their name"),
        Hook("rename_dreamt", "rename", ("rename_dreamt",), "rename", "names that were only dreamt", needed=False),
    ),
    canary=Canary((CanaryEvent("rename", "rename", ("rename",), times=2),), _cause),
    section=Rename,
    switches=(Switch(("rename", "threads"), "rename", "renames of threads were not recorded", "rename.threads"),),
    questions=(
        Listing("renamed", "tasks that changed their name", "rename", "rename", ("old_name", "new_name", "times")),
    ),
)
