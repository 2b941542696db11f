"""ask/images.py: what joins a program image's begin and end."""

from __future__ import annotations

from pathlib import Path

from firsthand.ask.answering import Request, from_connection
from firsthand.history.store.connection import History
from tests.scenes import Scene


def test_an_image_that_was_moved_into_a_pod_is_the_pods(tmp_path: Path) -> None:
    """A runtime forks outside the pod and moves the child in: the end has the pod, the begin has none, and the joined row has the pod."""
    scene = Scene()
    scene.observed(-1, 600)
    web = scene.pod("web", "10.244.0.1", 0, workload="shop/Deployment/web")
    within = scene.process(web, "/bin/runc", ["init"], 100.0).row | {
        "exec_tgid": 77,
        "exec_start": 77,
        "exec_number": 1,
    }
    names = ("container", "pod_uid", "pod", "namespace", "workload", "workload_source", "image", "container_name")
    outside = within | dict.fromkeys((name for name in names if name in within), None)
    scene.add("process", 101.0, event="fork", **outside)
    scene.add("process", 102.0, event="exit", **within, exit_code=0, duration=10**9)
    with History(scene.write(tmp_path)).connection() as connection:
        found = from_connection(connection, Request("processes", ("code=0",), pod="web"), scene.at(10_000))
    (row,) = found.found.rows
    assert (row["event"], row["exit_code"], row["pod"], row["container"]) == ("fork", 0, "web", within["container"])
