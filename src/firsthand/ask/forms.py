"""Forms of an answer that take more than its rows: a graph that is drawn, and a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from firsthand.ask import show
from firsthand.errors import UsageError

if TYPE_CHECKING:
    from firsthand.ask.answer import Answer, Found, Request
    from firsthand.history.store.connection import History

#: Forms of a graph, and the one that is bytes.
DRAWN, PARQUET = ("dot", "svg"), "parquet"


def answer(history: History, request: Request, form: str) -> Answer:
    """The answer to a question, to be given in a form. UsageError, before anything is read, for a graph that the question has not."""
    from firsthand.ask import answering

    question = answering.checked(request)
    if form in DRAWN and not question.draws:
        raise UsageError(f"-o {form} draws a graph, which `ask {request.question}` has not; `ask map` has")
    return answering.answer(history, request)


def columns(found: Found) -> list[str]:
    """The columns of whole rows."""
    return list(found.rows[0] if found.rows else [name for name in found.columns if name != show.WHERE])


def about(answer: Answer) -> dict[str, str]:
    """What goes into a file beside the rows: the answer without them, as JSON."""
    plain = answer.plain()
    return {"firsthand": json.dumps({name: value for name, value in plain.items() if name != "rows"})}


def parquet_of(answer: Answer) -> bytes:
    """An answer as a Parquet file."""
    names = columns(answer.found)
    return parquet(names, [[row.get(name) for name in names] for row in answer.found.rows], about(answer))


def parquet(names: Sequence[str], rows: Sequence[Sequence[Any]], about: Mapping[str, str] | None = None) -> bytes:
    """Rows as a Parquet file; `about` is its key-value metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [_stored([row[i] for row in rows]) for i in range(len(names))]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, list(names)).replace_schema_metadata(dict(about or {})), sink)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _stored(values: list[Any]) -> Any:
    """A column of Parquet; of values that it has no type for (durations of months, numbers of 39 digits), their text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pa.array(values)
        pq.write_table(pa.table([found], ["column"]), pa.BufferOutputStream())
    except (pa.ArrowException, OverflowError, TypeError):
        return pa.array([None if value is None else show.cell(value) for value in values])
    return found
