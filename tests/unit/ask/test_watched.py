"""Which files a question is about, and whether they were watched in each span: tests/unit/ask/questions/test_touched.py asks with both."""

from __future__ import annotations

import duckdb
import pytest

from firsthand.ask.watched import FileTarget

_PATHS = ("/a", "/a/b", "/a/b/c", "/ab", "/x/a/b", "/a/b\nc", "/a.b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/a", {"/a"}),
        ("/a/", {"/a", "/a/b", "/a/b/c", "/a/b\nc"}),
        ("/a/*", {"/a/b", "/a/b\nc"}),
        ("/a/**", {"/a/b", "/a/b/c", "/a/b\nc"}),
        ("/a?b", {"/a.b"}),
        ("**/a/b", {"/a/b", "/x/a/b"}),
        ("**/a/", {"/a", "/a/b", "/a/b/c", "/a/b\nc", "/x/a/b"}),
    ],
)
def test_a_target_as_sql(text: str, found: set[str]) -> None:
    """By any of the names that a row has, as the kernel side compares: a slash is no letter of `*` and `?`."""
    condition, values = FileTarget(text).condition
    with duckdb.connect() as connection:
        for column in ("path", "target", "source_path"):
            shown = ", ".join(
                f"{name if name == column else 'NULL'} AS {name}" for name in ("path", "target", "source_path")
            )
            shown += ", 'open' AS event"
            query = f"SELECT {column} FROM (SELECT {shown} FROM (SELECT unnest(?) AS {column})) WHERE {condition}"
            rows = connection.execute(query, [list(_PATHS), *values]).fetchall()
            assert {row[0] for row in rows} == found
