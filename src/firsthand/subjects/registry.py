"""All subjects, in the order of their ranks: those of each module of this package that exports `SUBJECT`; and what is derived of them."""

from __future__ import annotations

import importlib
import pkgutil

from firsthand import subjects
from firsthand.errors import SchemaError
from firsthand.subjects.declare import ROLES, CanaryEvent, Subject, SubjectTable


def _all() -> tuple[Subject, ...]:
    """All subjects. Raises SchemaError if two declare the same thing, or one declares a role that there is not."""
    names = (module.name for module in pkgutil.iter_modules(subjects.__path__, f"{subjects.__name__}."))
    modules = (importlib.import_module(name) for name in names)
    found = sorted(
        (module.SUBJECT for module in modules if hasattr(module, "SUBJECT")), key=lambda one: (one.rank, one.name)
    )
    check(found)
    return tuple(found)


def check(found: list[Subject]) -> None:
    """Raises SchemaError if two of these declare the same thing, or one declares a role that there is not."""
    declared = [("subject", one.name) for one in found]
    for one in found:
        declared += [("table", table.name) for table in one.tables]
        declared += [("hook", hook.name) for hook in (*one.hooks, *one.existing, *one.sweeps.values())]
        declared += [("question", question.name) for question in one.questions]
        declared += [
            ("answer", f"{a.table} {a.event} {a.transport}") for a in (one.canary.answers if one.canary else ())
        ]
        for table in one.tables:
            if strange := sorted(set(table.roles.values()) - set(ROLES)):
                raise SchemaError(f"table {table.name}: no role {strange[0]!r}; there are {', '.join(ROLES)}")
    if twice := sorted({thing for thing in declared if declared.count(thing) > 1}):
        raise SchemaError(f"{' '.join(twice[0])} is declared twice: in src/firsthand/subjects each has one module")


SUBJECTS: tuple[Subject, ...] = _all()
#: All tables by name.
TABLES: dict[str, SubjectTable] = {table.name: table for one in SUBJECTS for table in one.tables}
#: Tables of the kernel side's events, whose rows say which container they are of.
OWNED: tuple[str, ...] = tuple(name for name, table in TABLES.items() if table.owned)


def having(role: str) -> tuple[str, ...]:
    """The tables that have a column with a role."""
    return tuple(name for name, table in TABLES.items() if table.having(role))


def answers() -> tuple[CanaryEvent, ...]:
    """What a round of the canary causes, of all subjects."""
    return tuple(answer for one in SUBJECTS if one.canary is not None for answer in one.canary.answers)
