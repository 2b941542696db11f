"""`pods`, `containers` and `images`: what existed in the window, as the runtimes told it."""

from __future__ import annotations

from typing import Any

from firsthand.ask import claims, subject
from firsthand.ask.answer import Asked, Found, cut, plural
from firsthand.ask.question import Question

NEEDS = ("container", "pod", "process")
#: The end of a span as the newest row tells it: null where that says that it goes on.
_UNTIL = "nullif(arg_max(coalesce(until, TIMESTAMP 'infinity'), time), TIMESTAMP 'infinity')"
_TELLING = ("event IN ('named', 'gone')", list[Any]())
_PODS = ["namespace", "pod", "workload", "state", "since", "until", "addresses", "containers", "host"]
_PODS_WIDE = ["node", "runtime", "workload_source", "labels", "pod_uid"]
_CONTAINERS = [
    "namespace",
    "pod",
    "container_name",
    "kind",
    "state",
    "started",
    "finished",
    "exit_code",
    "image",
    "container",
]
_CONTAINERS_WIDE = [
    "node",
    "runtime",
    "workload",
    "image_digest",
    "privileged",
    "addresses",
    "mounts",
    "since",
    "until",
]
_IMAGES = ["image", "image_digest", "containers", "pods", "workloads", "since", "until"]


#: What `containers` tells of each, the newest of every column.
_TOLD = (
    *("pod", "namespace", "workload", "workload_source", "pod_uid", "container_name", "kind", "kind_source", "runtime"),
    *(
        "state",
        "image",
        "image_digest",
        "image_id",
        "started",
        "finished",
        "exit_code",
        "reason",
        "attempt",
        "privileged",
    ),
    *(
        "cap_declared",
        "declared_uid",
        "seccomp",
        "host_pid",
        "host_network",
        "host_ipc",
        "mounts",
        "addresses",
        "labels",
    ),
)


def last(*names: str) -> str:
    """The newest value of each column that is not null, in a GROUP BY."""
    return ", ".join(f"arg_max({name}, time) AS {name}" for name in names)


def pods(asked: Asked) -> Found:
    """One row for each pod; its span is that of its sandboxes."""
    where, parameters = asked.existing(_TELLING)
    words = (
        "pod",
        "namespace",
        "workload",
        "workload_source",
        "runtime",
        "state",
        "addresses",
        "addresses_since",
        "labels",
    )
    hosts = ("host_pid", "host_network", "host_ipc")
    query = f"""WITH sandboxes AS (SELECT node, pod_uid, container, max(time) AS time, min(since) AS since, {_UNTIL} AS until,
            {last(*words, *hosts)} FROM pod WHERE {where} GROUP BY node, pod_uid, container),
        inside AS (SELECT node, pod_uid, list_sort(list(DISTINCT container_name)) AS containers FROM container
            WHERE {where} AND container_name IS NOT NULL GROUP BY node, pod_uid)
        SELECT s.node, s.pod_uid, {last(*words, *hosts)}, min(since) AS since,
            CASE WHEN count(*) = count(until) THEN max(until) END AS until, any_value(i.containers) AS containers
        FROM sandboxes s LEFT JOIN inside i ON s.node = i.node AND s.pod_uid = i.pod_uid
        GROUP BY s.node, s.pod_uid HAVING coalesce(max(until), TIMESTAMP 'infinity') >= ? OR count(*) > count(until)
        ORDER BY namespace, pod, since"""  # noqa: S608
    rows = asked.rows(query, [*parameters, *parameters, asked.since])
    for row in rows:
        row["host"] = [name.removeprefix("host_") for name in hosts if row[name]]
    alive = sum(row["until"] is None for row in rows)
    sentence = (
        f"{plural(len(rows), 'pod')}, {alive:,} of them there at the window's end{claims.beside(asked, 'pod_uid')}"
    )
    return Found(sentence, cut(rows, asked.limit), len(rows), _PODS, wide=_PODS_WIDE)


def containers(asked: Asked) -> Found:
    """One row for each container, sandboxes apart; with an argument those of one pod or of that name.

    One that its runtime forgot before it told the exit code has the kernel's: that of process 1 of its pid namespace.
    """
    narrow = [subject.condition(asked.arguments[0])] if asked.arguments else []
    where, parameters = asked.existing(_TELLING, *narrow)
    ended, bounds = asked.where(("event = 'exit' AND namespace_pid = 1", []))
    query = f"""WITH told AS (SELECT node, container, {last(*_TOLD)}, min(since) AS since, {_UNTIL} AS until
            FROM container WHERE {where} GROUP BY node, container HAVING arg_max(kind, time) IS DISTINCT FROM 'sandbox'),
        ends AS (SELECT node, container, arg_max(coalesce(exit_code, 128 + exit_signal), time) AS code
            FROM process WHERE {ended} GROUP BY node, container)
        SELECT t.* REPLACE (CASE WHEN until IS NOT NULL THEN coalesce(t.exit_code, e.code) END AS exit_code)
        FROM told t LEFT JOIN ends e ON t.node = e.node AND t.container = e.container
        WHERE coalesce(until, TIMESTAMP 'infinity') >= ? ORDER BY namespace, pod, since, t.container"""  # noqa: S608
    rows = asked.rows(query, [*parameters, *bounds, asked.since])
    running = sum(row["state"] == "running" for row in rows)
    beside = "" if asked.arguments else claims.beside(asked, "container")
    sentence = f"{plural(len(rows), 'container')}, {running:,} of them running when last told{beside}"
    return Found(sentence, cut(rows, asked.limit), len(rows), _CONTAINERS, wide=_CONTAINERS_WIDE)


def images(asked: Asked) -> Found:
    """One row for each image and digest that a container ran from."""
    where, parameters = asked.existing(_TELLING, ("kind IS DISTINCT FROM 'sandbox'", []))
    query = f"""WITH one AS (SELECT node, container, {last("image", "image_digest", "pod_uid", "workload")},
            min(since) AS since, {_UNTIL} AS until FROM container WHERE {where} GROUP BY node, container
            HAVING coalesce({_UNTIL}, TIMESTAMP 'infinity') >= ?)
        SELECT image, image_digest, count(*) AS containers, count(DISTINCT pod_uid) AS pods, count(DISTINCT node) AS nodes,
            list_sort(list(DISTINCT workload) FILTER (workload IS NOT NULL)) AS workloads, min(since) AS since,
            CASE WHEN count(*) = count(until) THEN max(until) END AS until
        FROM one GROUP BY image, image_digest ORDER BY image, image_digest"""  # noqa: S608
    rows = asked.rows(query, [*parameters, asked.since])
    total = sum(row["containers"] for row in rows)
    return Found(
        f"{plural(len(rows), 'image')} in {plural(total, 'container')}{claims.beside(asked, 'container')}",
        cut(rows, asked.limit),
        len(rows),
        _IMAGES,
        wide=["nodes"],
    )


QUESTIONS = {
    "pods": Question("pods over time, with their addresses", "", pods, NEEDS, names_matter=True, running=True, rank=40),
    "containers": Question(
        "containers over time, with image and digest",
        "[POD]",
        containers,
        NEEDS,
        names_matter=True,
        running=True,
        takes=(0, 1),
        subject=True,
        rank=50,
    ),
    "images": Question("images that ran, and where", "", images, NEEDS, names_matter=True, running=True, rank=60),
}
