"""What subjects declare fits together: roles and tables, canaries and hooks; and one thing is declared once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firsthand.errors import SchemaError
from firsthand.probe.spec import EXISTING, HOOKS
from firsthand.schema import filled
from firsthand.schema.tables import KEPT, TABLES
from firsthand.subjects import registry
from firsthand.subjects.declare import FOLD, NAMED, OWNER, SECRET, TRANSLATED, SubjectTable
from firsthand.subjects.registry import SUBJECTS

#: The columns that are filled by a role.
_FILLED = {
    FOLD: ("folded_until", "folded_count"),
    NAMED: ("names", "names_cut"),
    OWNER: ("exec_tgid", "exec_start", "exec_number"),
    SECRET: ("redacted", "redaction"),
    TRANSLATED: ("nat_address", "nat_port"),
}
_DECLARED = list(registry.TABLES.values())


@pytest.mark.parametrize("table", _DECLARED, ids=lambda one: one.name)
def test_a_role_is_that_of_a_column_and_its_table_has_what_it_fills(table: SubjectTable) -> None:
    """Packets are never kept: what is filled in them goes to the rows that they become."""
    names = set(TABLES[table.name].names)
    assert set(table.roles) <= names and set(table.fills) <= names
    for role in table.roles.values():
        assert not table.kept or set(_FILLED.get(role, ())) <= names, role


@pytest.mark.parametrize("table", _DECLARED, ids=lambda one: one.name)
def test_secrets_are_texts_or_one_list(table: SubjectTable) -> None:
    """As observe/enrich.py redacts them."""
    kinds = [TABLES[table.name].column(name).type for name in table.having(SECRET)]
    assert kinds == ["list"] or set(kinds) <= {"text"}


@pytest.mark.parametrize("table", _DECLARED, ids=lambda one: one.name)
def test_segments_and_lines_go_by_columns_of_the_table(table: SubjectTable) -> None:
    """Those that summaries are made of, and those of which a line of the timeline is."""
    names = set(TABLES[table.name].names)
    assert set(table.summary) <= names and {one for needed in table.facts.values() for one in needed} <= names
    assert table.line is None or set(table.line.phrase) <= names


def test_every_table_is_declared_and_locked() -> None:
    """By one subject, and the history holds those that do not pass through."""
    assert set(registry.TABLES) == set(TABLES) and set(KEPT) == {one.name for one in _DECLARED if one.kept}
    assert set(registry.OWNED) >= {"process", "connection", "name", "request"} and "pod" not in registry.OWNED


def test_a_canary_causes_events_that_there_are_and_proves_hooks_that_there_are() -> None:
    """Each answer is a kind of row of its table, and proves hooks of its own subject or of one whose rows it makes."""
    hooks = {hook.name for hook in (*HOOKS, *EXISTING)}
    for one in registry.answers():
        assert one.event in filled.kinds(one.table)
        assert {*one.hooks, *one.unless} <= hooks
        assert not one.transport or "transport" in TABLES[one.table].names


def test_a_hook_fills_a_table_of_a_subject() -> None:
    """And every subject with hooks has a way to prove one of them."""
    assert all(hook.table in registry.TABLES for hook in (*HOOKS, *EXISTING))
    for one in SUBJECTS:
        proven = {name for answer in (one.canary.answers if one.canary else ()) for name in answer.hooks}
        assert not one.hooks or proven & {hook.name for hook in one.hooks}, one.name


def test_nothing_is_declared_twice() -> None:
    """A table, a hook or an answer of two subjects is an error that names it."""
    process = next(one for one in SUBJECTS if one.name == "process")
    for other, what in (
        (replace(process, name="other", tables=(), canary=None), "hook process_exit"),
        (replace(process, name="other", hooks=(), existing=(), sweeps={}, canary=None), "table process"),
        (replace(process, name="other", tables=(), hooks=(), existing=(), sweeps={}), "answer process exec"),
        (process, "subject process"),
    ):
        with pytest.raises(SchemaError, match="is declared twice") as error:
            registry.check([process, other])
        assert what.split()[0] in str(error.value)


def test_an_unknown_role_is_refused() -> None:
    """With those that there are."""
    process = next(one for one in SUBJECTS if one.name == "process")
    strange = replace(process.tables[0], roles={"exe": "ownr"})
    with pytest.raises(SchemaError, match=r"no role 'ownr'; there are .*owner"):
        registry.check([replace(process, tables=(strange,))])
