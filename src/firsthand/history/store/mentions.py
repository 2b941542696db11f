"""Where a statement names the history's tables: with which columns, and under which conditions on them.

DuckDB's own parser says it (json_serialize_sql), so that a question opens only the files and columns that it needs. What is not
understood here costs time and never rows: then all columns are read, or no condition is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]
#: Comparisons by DuckDB's words, and by those with the sides exchanged.
_SIGNS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
}
_EXCHANGED = {"=": "=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_NUMBER = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True)
class Condition:
    """What must hold of a row. `sign`: `and`, `or` with `parts`; `=`, `prefix`, `holds` with any of `values`; `>`, `>=`, `<`, `<=`
    with one; `false`; `any` where it is not understood.

    `holds`: the column is a list that has one of the values.
    """

    sign: str
    column: str = ""
    values: tuple[Any, ...] = ()
    parts: tuple[Condition, ...] = ()


ANY = Condition("any")


def both(one: Condition, other: Condition | None) -> Condition:
    """What holds where two conditions do."""
    return one if other is None else Condition("and", parts=(one, other))


@dataclass(frozen=True)
class Mention:
    """One place where a table is named: bytes `begin` to `end` of the statement, with its alias there. `columns`: None is all of them."""

    table: str
    begin: int
    end: int
    alias: str
    columns: frozenset[str] | None
    condition: Condition


def either(*conditions: Condition) -> Condition:
    """What holds where one of the conditions does."""
    return Condition("or", parts=conditions)


def find(connection: Any, query: str, parameters: Any, tables: Mapping[str, Collection[str]]) -> list[Mention] | None:
    """Every mention of the `tables`, which are given with their columns, in the order of the statement; None: it is not understood."""
    if parameters is not None and not isinstance(parameters, list | tuple):
        return None
    ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
    said = json.loads(text)
    if said.get("error") or len(said.get("statements", ())) != 1:
        return None
    try:
        return _Statement(said, query, parameters or (), tables).mentions()
    except (
        KeyError,
        TypeError,
        IndexError,
        ValueError,
        AttributeError,
    ):  # another version of DuckDB says it in another way
        return None


class _Statement:
    """One parsed statement."""

    def __init__(
        self, said: Json, query: str, parameters: Sequence[Any], tables: Mapping[str, Collection[str]]
    ) -> None:
        self._text, self._parameters, self._tables = query.encode(), parameters, tables
        self._every, _ = _walked(said)

    def mentions(self) -> list[Mention] | None:
        every = self._every
        named = [one for one in every if one.get("type") == "BASE_TABLE" and one["table_name"].lower() in self._tables]
        if any(one["key"].lower() in self._tables for at in every if "cte_map" in at for one in at["cte_map"]["map"]):
            return None
        found = [one for at in every if at.get("type") == "SELECT_NODE" for one in self._of_select(at)]
        return sorted(found, key=lambda one: one.begin) if len(found) == len(named) else None

    def _of_select(self, node: Json) -> Iterator[Mention]:
        tree = node["from_table"]
        within = _Within(node)
        for table, regular in _base_tables(tree, regular=True):
            name = table["table_name"].lower()
            if name not in self._tables or table["schema_name"] or table["catalog_name"]:
                continue
            if table["sample"] or table["column_name_alias"] or table["at_clause"]:
                continue
            begin, length = table["query_location"], table["query_location_length"]
            spelled = self._text[begin : begin + length]
            if not re.match(rb'"?' + name.encode() + rb'"?(?!\w)', spelled, re.IGNORECASE):
                continue
            alias = table["alias"] or name
            alone = tree is table
            judged = regular and node["sample"] is None and node["where_clause"] is not None
            condition = self._condition(node["where_clause"], name, alias, alone=alone) if judged else ANY
            yield Mention(name, begin, begin + length, alias, self._columns(within, name, alias), condition)

    def _columns(self, within: _Within, name: str, alias: str) -> frozenset[str] | None:
        """The columns of a table that a SELECT can mean: those whose names stand anywhere in it. What is around it sees only what it
        lists."""
        if within.all or within.ends & ({alias.lower(), name} - set(self._tables[name])):  # the whole row as a value
            return None
        return frozenset(column for column in self._tables[name] if column in within.words)

    # ---- conditions ----

    def _condition(self, said: Any, table: str, alias: str, *, alone: bool) -> Condition:
        def inner(one: Any) -> Condition:
            return self._condition(one, table, alias, alone=alone)

        kind = said["type"]
        if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
            return Condition(kind[12:].lower(), parts=tuple(map(inner, said["children"])))
        if kind == "VALUE_CONSTANT" and said["literal"].get("kind") == "BOOLEAN":
            return (
                Condition("false")
                if str(said["literal"].get("value", said["literal"].get("text"))).lower() == "false"
                else ANY
            )
        found = self._leaf(said, kind)
        if found is None or not found.values or any(value is None for value in found.values):
            return ANY
        *qualifier, column = found.column.lower().split(".")
        mine = qualifier == [alias.lower()] or (alone and not qualifier)
        return Condition(found.sign, column, found.values) if mine and column in self._tables[table] else ANY

    def _leaf(self, said: Json, kind: str) -> Condition | None:
        """A condition on one column, whose name is as it was spelled."""
        if kind in _SIGNS:
            return self._compared(said["left"], said["right"], _SIGNS[kind])
        if kind == "COMPARE_IN":
            column, *values = said["children"]
            return self._among("=", column, [self._value(one) for one in values])
        if kind == "COMPARE_BETWEEN":
            low, high = self._value(said["lower"]), self._value(said["upper"])
            return self._among(">=", said["input"], [low]) if high is not None else None
        if kind == "SUBQUERY":
            return self._unnested(said)
        if kind == "FUNCTION" and not said["filter"]:
            return self._called(said["function_name"], [one["expression"] for one in said["arguments"]])
        return None

    def _compared(self, left: Json, right: Json, sign: str) -> Condition | None:
        if _is_column(left):
            return self._among(sign, left, [self._value(right)])
        return self._among(_EXCHANGED[sign], right, [self._value(left)]) if _is_column(right) else None

    def _called(self, name: str, given: list[Json]) -> Condition | None:
        if len(given) != 2:
            return None
        first, second = given
        if name == "starts_with":
            return self._begins(first, self._value(second))
        if name == "list_contains" and _is_column(first):
            return self._among("holds", first, [self._value(second)])
        if name == "list_contains":
            return self._among("=", second, self._list(first))
        return self._among("holds", first, self._list(second)) if name == "list_has_any" else None

    def _begins(self, said: Json, value: Any) -> Condition | None:
        """`starts_with(column, ?)`, also of a column that has a word where it is empty."""
        if said["type"] == "OPERATOR_COALESCE" and len(said["children"]) == 2:
            said, other = said["children"]
            word = self._value(other)
            if not isinstance(word, str) or not isinstance(value, str) or word.startswith(value):
                return None
        return self._among("prefix", said, [value])

    def _unnested(self, said: Json) -> Condition | None:
        """`column IN (SELECT unnest(CAST(? AS ...)))`."""
        node = said["subquery"]["node"]
        if (
            said["subquery_type"] != "ANY"
            or said["comparison_type"] != "COMPARE_EQUAL"
            or node["type"] != "SELECT_NODE"
        ):
            return None
        if node["from_table"]["type"] != "EMPTY" or len(node["select_list"]) != 1:
            return None
        (one,) = node["select_list"]
        if one["type"] != "FUNCTION" or one["function_name"] != "unnest":
            return None
        return self._among("=", said["child"], self._list(one["arguments"][0]["expression"]))

    def _among(self, sign: str, column: Json, values: Sequence[Any]) -> Condition | None:
        if not _is_column(column) or len(column["column_names"]) > 2:
            return None
        return Condition(sign, ".".join(column["column_names"]), tuple(values))

    def _list(self, said: Json) -> list[Any]:
        """The values of a parameter that is a list; none where it is not known."""
        said = said["child"] if said["type"] == "OPERATOR_CAST" else said
        found = self._value(said) if said["type"] == "VALUE_PARAMETER" else None
        return list(found) if isinstance(found, list | tuple) else []

    def _value(self, said: Json) -> Any:
        """A parameter's value or a constant; None where it is not known."""
        if said["type"] == "VALUE_PARAMETER":
            return self._parameters[int(said["identifier"]) - 1]
        if said["type"] == "OPERATOR_CAST" and said["type_expr"].get("type_name", "").upper() == "TIMESTAMP":
            return _moment(self._value(said["child"]))
        literal = said.get("literal", {})
        if literal.get("kind") == "STRING":
            return literal["text"]
        if literal.get("kind") == "INTEGER" and _NUMBER.fullmatch(literal["text"]):
            return int(literal["text"])
        return None


class _Within:
    """What stands in a SELECT: `words`, every text; `ends`, how columns are named, without what stands before the last dot; `all`: every
    column of its tables is meant."""

    def __init__(self, node: Json) -> None:
        every, words = _walked(node)
        self.words = {word.lower() for word in words}
        self.ends = {one["column_names"][-1].lower() for one in every if _is_column(one)}
        starred = any(one.get("class") == "STAR" for one in _walked(node["select_list"])[0])
        self.all = starred or _natural(node["from_table"])


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is None else None


def _is_column(said: Json) -> bool:
    return bool(said.get("type") == "COLUMN_REF")


def _natural(tree: Json) -> bool:
    return any(one.get("ref_type") == "NATURAL" for one in _walked(tree)[0])


def _base_tables(tree: Json, *, regular: bool) -> Iterator[tuple[Json, bool]]:
    """The tables of a FROM, each with whether a row that a WHERE refuses may be left out before: not where another row then takes its
    place in a join."""
    if tree["type"] == "BASE_TABLE":
        yield tree, regular
    elif tree["type"] == "JOIN":
        plain = regular and tree["ref_type"] in ("REGULAR", "CROSS") and tree["join_type"] in ("INNER", "LEFT")
        for side in ("left", "right"):
            yield from _base_tables(tree[side], regular=plain)


def _walked(said: Any) -> tuple[list[Json], set[str]]:
    """Every object within, and every text that is a value of one, in no order."""
    found, texts, rest = list[Json](), set[str](), [said]
    while rest:
        one = rest.pop()
        if type(one) is str:
            texts.add(one)
        elif type(one) is list:
            rest += one
        elif type(one) is dict:
            found.append(one)
            rest += one.values()
    return found, texts
