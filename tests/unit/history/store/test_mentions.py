"""What is understood of a statement: which tables it names, with which columns, under which conditions; and what is not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import duckdb
import pytest

from firsthand.history.store.mentions import ANY, Condition, Mention, find

TABLES = {"process": ("time", "exe", "pod", "exec_start", "args", "container"), "name": ("time", "addresses")}
AT = datetime(2026, 3, 1)


def _found(query: str, *parameters: Any) -> list[Mention]:
    with duckdb.connect() as connection:
        found = find(connection, query, list(parameters), TABLES)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "parameters", "expected"),
    [
        ("time >= ?", [AT], Condition(">=", "time", (AT,))),
        ("? < time", [AT], Condition(">", "time", (AT,))),
        ("time >= TIMESTAMP '2026-03-01'", [], Condition(">=", "time", (AT,))),
        ("exe = 'x'", [], Condition("=", "exe", ("x",))),
        ("p.EXE = ?", ["é"], Condition("=", "exe", ("é",))),
        ("exec_start IN (1, 2)", [], Condition("=", "exec_start", (1, 2))),
        ("exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))", [[3, 4]], Condition("=", "exec_start", (3, 4))),
        ("starts_with(container, ?)", ["ab"], Condition("prefix", "container", ("ab",))),
        ("starts_with(coalesce(container, 'host'), ?)", ["ab"], Condition("prefix", "container", ("ab",))),
        ("list_contains(?, pod)", [["a"]], Condition("=", "pod", ("a",))),
        ("list_contains(args, ?)", ["a"], Condition("holds", "args", ("a",))),
        ("list_has_any(args, CAST(? AS VARCHAR[]))", [["a", "b"]], Condition("holds", "args", ("a", "b"))),
        ("false", [], Condition("false")),
    ],
)
def test_conditions_that_are_understood(words: str, parameters: list[Any], expected: Condition) -> None:
    """Law: a comparison of a column with what is given is known with its values."""
    (one,) = _found(f"SELECT exe FROM process p WHERE {words}", *parameters)
    assert one.condition == expected


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        ("NOT exe = 'x'", []),
        ("exe <> 'x'", []),
        ("exe NOT IN ('x')", []),
        ("lower(exe) = 'x'", []),
        ("exe = pod", []),
        ("exe IS NULL", []),
        ("exe = ?", [None]),
        ("exec_start IN (1, ?)", [None]),
        ("starts_with(coalesce(container, 'host'), ?)", ["ho"]),
        ("coalesce(exe = 'x', true)", []),
        ("exec_start NOT IN (SELECT unnest(CAST(? AS BIGINT[])))", [[3, 4]]),
        ("time >= now()", []),
        ("true", []),
    ],
)
def test_conditions_that_are_not_understood_hold_of_any_row(words: str, parameters: list[Any]) -> None:
    """Law: what is not known to leave rows out leaves none out."""
    (one,) = _found(f"SELECT exe FROM process p WHERE {words}", *parameters)
    assert one.condition == ANY


def test_each_mention_has_its_own_conditions_and_parameters() -> None:
    """Law: parameters belong to the conditions in which they stand, in the order of the text; other mentions have none of them."""
    query = """WITH a AS (SELECT exe FROM process WHERE exe = ? OR pod = ?), b AS (SELECT exe FROM process p WHERE p.exe = ?)
        SELECT * FROM a, b, (SELECT exe FROM process) WHERE a.exe = ?"""
    first, second, third = _found(query, "1", "2", "3", "4")
    either = (Condition("=", "exe", ("1",)), Condition("=", "pod", ("2",)))
    assert first.condition == Condition("or", parts=either)
    assert second.condition == Condition("=", "exe", ("3",))
    assert third.condition == ANY


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM process WHERE EXISTS (SELECT 1 FROM process p WHERE process.exe = 'x')",
        "SELECT p.exe FROM name n ASOF JOIN process p ON n.time >= p.time WHERE p.exe = 'x'",
        "SELECT p.exe FROM name n FULL JOIN process p ON n.time = p.time WHERE p.exe = 'x'",
        "SELECT exe FROM process p JOIN name n USING (time) WHERE exe = 'x'",
        "SELECT exe FROM process p WHERE exe = 'x' USING SAMPLE 10",
    ],
)
def test_where_a_row_that_is_left_out_would_change_others(query: str) -> None:
    """Law: the condition of another mention, of a join that chooses another row, of a sample and of an unqualified column in a join
    leaves nothing out."""
    mentions = [one for one in _found(query) if one.table == "process"]
    assert mentions[-1].condition == ANY


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM process",
        "FROM process",
        "SELECT p FROM process p",
        "SELECT p.* FROM process p",
        "SELECT COLUMNS('e.*') FROM process",
        "SELECT n.time FROM name n NATURAL JOIN process",
        "SELECT count(process) FROM process",
    ],
)
def test_all_columns_where_they_cannot_be_told(query: str) -> None:
    """Law: a star, a whole row and a natural join mean every column."""
    assert [one.columns for one in _found(query) if one.table == "process"] == [None]


def test_columns_are_those_whose_names_stand_in_the_statement() -> None:
    """Law: also those of other parts of the statement, by any spelling."""
    query = (
        'SELECT EXE, count(*) FROM process JOIN (SELECT "time" FROM name) USING (time) GROUP BY exe ORDER BY max(pod)'
    )
    assert [one.columns for one in _found(query)] == [frozenset({"exe", "pod", "time"}), frozenset({"time"})]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT pod FROM (SELECT exe AS pod FROM process)", {"exe", "pod"}),
        ("SELECT pod, time FROM (SELECT exe FROM process) a, b", {"exe"}),
        ("WITH a AS (SELECT exe FROM process) SELECT pod FROM a", {"exe"}),
        ("SELECT exe FROM process p WHERE EXISTS (SELECT 1 FROM b WHERE b.x = p.pod)", {"exe", "pod"}),
        ("SELECT exe FROM process p, LATERAL (SELECT p.pod)", {"exe", "pod"}),
        ("SELECT exe FROM process UNION ALL SELECT pod FROM b ORDER BY time", {"exe"}),
    ],
)
def test_columns_are_those_of_the_select_that_names_the_table(query: str, expected: set[str]) -> None:
    """Law: what is around a SELECT sees what it lists; what is inside it may mean its tables."""
    assert [one.columns for one in _found(query)] == [frozenset(expected)]


def test_a_column_with_its_tables_name_is_no_whole_row() -> None:
    """Law: DuckDB takes a name that is both for the column."""
    with duckdb.connect() as connection:
        (one,) = find(connection, "SELECT name FROM name", [], {"name": ("time", "name")}) or ()
    assert one.columns == {"name"}


@pytest.mark.parametrize(
    "query",
    ["WITH process AS (SELECT 1 AS exe) SELECT exe FROM process", "SELECT 1; SELECT 2", "SELEC", "EXPLAIN SELECT 1"],
)
def test_what_is_not_taken_apart(query: str) -> None:
    """Law: a table of the statement's own that has our name, several statements, and what is no SELECT are not understood."""
    with duckdb.connect() as connection:
        assert not find(connection, query, [], TABLES)


def test_places_are_bytes() -> None:
    """Law: a mention's place is that of the statement's bytes, whatever stands before it."""
    query = "SELECT 'é€😀', exe FROM process AS p WHERE exe = 'ü'"
    (one,) = _found(query)
    assert query.encode()[one.begin : one.end] in (b"process AS p", b"process p")
    assert one.alias == "p"
