"""The words in which a subject is declared: its hooks and their blind spots, canary, tables and questions.

A subject is one family of events. Its three files are kernel/subjects/NAME.h (records, with their columns), kernel/subjects/NAME.bpf.c
(programs and maps), and a module of this package, which exports `SUBJECT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from firsthand.settings.declare import Section, Settings
from firsthand.subjects.column import Column

# ---- what is attached ----


@dataclass(frozen=True)
class AtCgroup:
    """enum bpf_prog_type and bpf_attach_type of include/uapi/linux/bpf.h, for sections whose names this libbpf does not know."""

    program: int = 0
    attach: int = 0


KNOWN = AtCgroup()


@dataclass(frozen=True)
class Hook:
    """One thing to observe. `programs` are ways to do it, best first; the first that loads and attaches is taken."""

    name: str
    object: str
    programs: tuple[str, ...]
    table: str
    blind_spot: str
    #: Those of `programs` that are attached at the root of cgroup v2 and not at a place in the kernel's code, by their type.
    at_cgroup: Mapping[str, AtCgroup] = field(default_factory=dict)
    #: Those of `programs` that are in another object.
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    #: Whether an answer from `table` is not complete without it; else what it does not see is only said.
    needed: bool = True
    #: Those of `programs` that are attached at static tracepoints (CATEGORY/NAME), all of them that a kernel has.
    at_tracepoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Those of `programs` that are attached at further functions too, as their object says (kernel/include/word.h, ALSO_AT).
    at_functions: tuple[str, ...] = ()
    #: What it does not see though it is attached, of what its table has rows of: a reason in each answer from that.
    doubt: str = ""

    def object_of(self, program: str) -> str:
        """The object, made of NAME.bpf.c below kernel/, that has this one of `programs`."""
        return self.elsewhere.get(program, self.object)


# ---- how a hook is proven ----


@dataclass(frozen=True)
class CanaryEvent:
    """An event that each round of the canary causes `times` times: a row with this `event` of `table`, and with this `transport` where the
    table has that column. It proves `hooks`.

    `named`: only rows that name the round in their arguments are meant. `unless`: hooks that it proves too, if the row does not have
    the flag (column `flags`) of this enum and word.
    """

    table: str
    event: str
    hooks: tuple[str, ...] = ()
    transport: str = ""
    times: int = 1
    named: bool = False
    unless: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Canary:
    """The events of a round for one subject, and the rows that must come back. `cause` runs in the child of the round, in its cgroup, with the
    name of the round as argument. If it raises OSError, the round goes on, and the row is missing. It must not import NumPy: the supervisor
    forks it."""

    answers: tuple[CanaryEvent, ...]
    cause: Callable[[str], None] | None = None


# ---- what is stored ----

#: Roles of columns, by which rows are completed on their way to the log (observe/enrich.py).
#: `exe` of the rows by which the images of processes are followed: forks and exits get their process's.
IMAGE = "image"
#: `exe` of rows that name a process (exec_tgid, exec_start, exec_number) and do not carry its binary: it is looked up.
OWNER = "owner"
#: An address that conntrack may have translated: nat_address and nat_port are filled.
TRANSLATED = "translated"
#: An address by which `names` and `names_cut` are filled: the names that gave it to this pod.
NAMED = "named"
#: Addresses that answer a name: what NAMED columns are filled by.
ANSWERS = "answers"
#: May hold secrets: it is redacted, and `redacted` and `redaction` are filled. Texts, or one list (of arguments).
SECRET = "secret"
#: ktime of the last one that a row stands for (`folded_count` says how many): `folded_until` is filled.
FOLD = "fold"
ROLES = (IMAGE, OWNER, TRANSLATED, NAMED, ANSWERS, SECRET, FOLD)

#: How long rows are held (history/store/share.py): as bulk, longer than bulk, as names, or as the record's own; or by each row's flags.
BULK, PROTECTED, NAMES, RECORD, BY_FLAGS = "bulk", "protected", "names", "record", "by flags"


@dataclass(frozen=True)
class TimelineRow:
    """How `ask timeline` shows a table's rows: SQL for its columns `event`, `what` and `detail`, or the columns of which ask/phrase.py
    makes the detail. `where`: which rows. `always`: also where it is narrowed to a pod or process."""

    what: str = "exe"
    detail: str = "NULL"
    event: str = "event"
    phrase: tuple[str, ...] = ()
    where: str = ""
    always: bool = True


@dataclass(frozen=True)
class SubjectTable:
    """A table of a subject. The columns that the kernel sends stand in its records (kernel/), those of every table in columns.py; here are
    those that user space adds behind them.

    `roles`: of columns, by name. `kinds`: the words of `event`, where the kernel has no records of them; `fills`: the kinds that fill a
    column, where not all do. `kept` False: rows only pass through to other tables. `chosen`: it has what the settings choose;
    `timeline` and bundles of evidence judge whether that is complete only if it was on at some time of the window.

    `summary`: columns by whose values segments are chosen; `facts`: columns of which history/store/summary.py makes what no single column has.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    fills: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept: bool = True
    chosen: bool = False
    retention: str = BULK
    summary: tuple[str, ...] = ()
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    line: TimelineRow | None = None

    @property
    def owned(self) -> bool:
        """Whether its rows, recorded by the kernel side, say which container they are of."""
        return self.kept and any(column.name == "claimed" for column in self.columns)

    def having(self, role: str) -> tuple[str, ...]:
        """Its columns with a role."""
        return tuple(name for name, found in self.roles.items() if found == role)


# ---- what a user chooses and asks ----


@dataclass(frozen=True)
class Switch:
    """A setting that leaves rows out where it is off: where it stands in the observer's column `settings`, the table, and what is said of
    answers from it then. `setting`: its name for users."""

    at: tuple[str, ...]
    table: str
    words: str
    setting: str


@dataclass(frozen=True)
class Listing:
    """A question that lists rows of a table in their order. `noun` is one row's (`many` its plural, where that is not noun + s); `columns`
    are shown. Questions that do more are modules of ask/questions/."""

    name: str
    doc: str
    table: str
    noun: str
    columns: tuple[str, ...]
    many: str | None = None
    events: tuple[str, ...] = ()
    rank: int = 1_000


@dataclass(frozen=True)
class Subject:
    """All that is declared of a subject.

    `existing`: iterators that tell what is there already, run once at the start. `sweeps`: iterators over the maps of these names, run
    each second where rows fold. `standing`: what no hook meets, on any kernel, told on the `page`. `section`: its settings, whose values
    stand by the subject's name in the observer's column `settings`. `wanted`: whether its hooks are brought in, by all settings. `rank`: the
    place of its hooks among all.
    """

    name: str
    tables: tuple[SubjectTable, ...]
    hooks: tuple[Hook, ...] = ()
    existing: tuple[Hook, ...] = ()
    sweeps: Mapping[str, Hook] = field(default_factory=dict)
    standing: tuple[str, ...] = ()
    page: str = ""
    canary: Canary | None = None
    section: type[Section] | None = None
    switches: tuple[Switch, ...] = ()
    questions: tuple[Listing, ...] = ()
    wanted: Callable[[Settings], bool] | None = None
    rank: int = 1_000
