"""`timeline`: everything in the order in which it happened."""

from __future__ import annotations

import re
from typing import Any

from firsthand.ask import phrase, subject
from firsthand.ask.answer import Asked, Found, plural
from firsthand.ask.question import Question
from firsthand.ask.questions.processes import identify

NEEDS = ("process", "connection", "name", "request", "packet", "container", "pod")
_COLUMNS = ["time", "table", "event", "pod", "container_name", "container", "exec_id", "what", "detail"]
_TOLD = [*_COLUMNS, "claimed"]
_PROCESS = """SELECT time, ktime, 'process' AS "table", event, pod, container_name, container, claimed, exec_id, exe AS what,
    CASE WHEN event = 'exit' THEN coalesce('code ' || exit_code, 'signal ' || exit_signal)
         WHEN event = 'left' THEN 'left the scope'
         WHEN event = 'folded' THEN concat('x ', folded_count, strftime(folded_until, ' until %H:%M:%S.%g'), ', each code ', exit_code, ': ',
             array_to_string(args, ' '))
         ELSE coalesce(array_to_string(args, ' '), '') END AS detail FROM process WHERE """
_CONTAINER = """SELECT time, ktime, 'container' AS "table", event, pod, container_name, container, NULL AS claimed, exec_id,
    coalesce(cgroup_path, image) AS what, concat_ws(' ', runtime, kind, state) AS detail FROM container WHERE """
_POD = """SELECT time, ktime, 'pod' AS "table", event, pod, NULL AS container_name, container, NULL AS claimed, NULL AS exec_id,
    array_to_string(addresses, ' ') AS what, concat_ws(' ', runtime, state, workload) AS detail FROM pod WHERE """
_LOSS = """SELECT time, ktime, 'loss' AS "table", cause AS event, pod, NULL AS container_name, container, NULL AS claimed, NULL AS exec_id,
    detail AS what, events || if(cause = 'retention', ' no longer held', ' lost') AS detail FROM loss WHERE """
_OBSERVER = """SELECT time, ktime, 'observer' AS "table", event, pod, NULL AS container_name, container, NULL AS claimed, NULL AS exec_id,
    coalesce(kernel, settings) AS what, coalesce(scope, 'the whole machine') AS detail FROM observer WHERE """
_FROM = re.compile(r"\bFROM (?=\w+ WHERE )")
#: Tables of the network, with the columns of which `phrase` makes a line.
_NETWORK = {
    "connection": (
        *(
            "event",
            "transport",
            "flag_names",
            "local_address",
            "local_port",
            "peer_address",
            "peer_port",
            "path",
            "outcome",
        ),
        *("nat_address", "nat_port", "peer_kind", "peer_pod", "peer_namespace", "peer_workload", "peer_name", "names"),
        *("bytes_sent", "bytes_received", "folded_count", "folded_until"),
    ),
    "name": ("event", "query_id", "name", "type", "rcode", "addresses", "marks"),
    "request": ("event", "transport", "protocol", "method", "sni", "host", "url_path", "ja4", "marks"),
}


def _of_network(table: str) -> str:
    told = ", ".join(f"{name} := {name}" for name in _NETWORK[table])
    return f"""SELECT time, ktime, '{table}' AS "table", event, pod, container_name, container, claimed, exec_id, exe AS what,
        struct_pack({told}) AS of_{table} FROM {table} WHERE """  # noqa: S608 (a table of _NETWORK)


def timeline(asked: Asked) -> Found:
    """All rows of a container, a process, or of the window."""
    narrow, parameters = _narrowed(asked)
    where, bounds = asked.where(*narrow)
    ran, ran_bounds = asked.ran(*narrow)
    plain, plain_bounds = asked.where(("event <> 'alive'", []))
    parts = [_PROCESS + ran, _CONTAINER + where, _of_network("connection") + ran]
    parts += [_of_network(table) + where for table in _NETWORK if table != "connection"]
    values = [*ran_bounds, *bounds, *ran_bounds, *bounds * (len(_NETWORK) - 1)]
    if not parameters.startswith(" of process"):
        parts.append(_POD + where.replace("container_name = ?", "? IS NULL"))
        values += bounds
    if not narrow and not asked.filters.conditions:
        loss, loss_bounds = asked.where()
        parts += [_LOSS + loss, _OBSERVER + plain]
        values += [*loss_bounds, *plain_bounds]
    union = " UNION ALL BY NAME ".join(parts)
    counts = " UNION ALL ".join(f"SELECT count(*) AS n FROM {_FROM.split(part, maxsplit=1)[1]}" for part in parts)  # noqa: S608
    total = asked.number(f"SELECT sum(n) FROM ({counts})", values)  # noqa: S608
    names = ", ".join(f'"{column}"' for column in (*_TOLD, *(f"of_{table}" for table in _NETWORK)))
    query = f"SELECT {names} FROM ({union}) ORDER BY time, ktime LIMIT ?"  # noqa: S608
    rows = [_worded(row) for row in asked.rows(query, [*values, asked.limit])]
    return Found(f"{plural(total, 'event')}{parameters}", rows, total, _COLUMNS)


def _worded(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the network in the words of all other questions."""
    for table in _NETWORK:
        told = row.pop(f"of_{table}")
        if told is not None:
            row["detail"] = phrase.of(told)
    return row


def _narrowed(asked: Asked) -> tuple[list[tuple[str, list[Any]]], str]:
    if not asked.arguments:
        return [], ""
    text = asked.arguments[0]
    if ":" in text or text.isdigit():
        key = identify(asked, text)
        boot, tgid, start, _ = key.split(":")
        condition = "starts_with(boot, ?) AND exec_tgid = ? AND exec_start = ?"
        return [(condition, [boot, int(tgid), int(start)])], f" of process {key}"
    return [subject.condition(text)], f" of {text}"


QUESTIONS = {
    "timeline": Question(
        "everything in the order in which it happened",
        "[POD|CONTAINER|EXEC_ID|PID]",
        timeline,
        NEEDS,
        takes=(0, 1),
        subject=True,
        rank=80,
    ),
}
