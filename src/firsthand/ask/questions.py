"""The named questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firsthand.ask import pods, privileged, processes, timeline, tree, unknown
from firsthand.ask.answer import Asked, Found


@dataclass(frozen=True)
class Question:
    """A question's words, what its argument is, the tables it needs, and whether it looks at arguments.

    `running`: it needs what ran at the window's begin, however long before that it was told.
    """

    doc: str
    usage: str
    answer: Callable[[Asked], Found]
    needs: tuple[str, ...]
    arguments_matter: bool = False
    names_matter: bool = False
    running: bool = False


QUESTIONS: dict[str, Question] = {
    "processes": Question(
        "programs that ran, by conditions on any column",
        "[COLUMN=VALUE]...",
        processes.processes,
        processes.NEEDS,
    ),
    "process": Question("everything about one process", "EXEC_ID|PID", processes.process, processes.NEEDS),
    "tree": Question(
        "who started whom, with times, flags and ends", "[POD|CONTAINER|EXEC_ID|PID]", tree.tree, tree.NEEDS
    ),
    "privileged": Question(
        "pods that hold more capabilities than an ordinary one's",
        "",
        privileged.privileged,
        privileged.NEEDS,
        names_matter=True,
        running=True,
    ),
    "pods": Question("pods over time, with their addresses", "", pods.pods, pods.NEEDS, names_matter=True),
    "containers": Question(
        "containers over time, with image and digest", "[POD]", pods.containers, pods.NEEDS, names_matter=True
    ),
    "images": Question("images that ran, and where", "", pods.images, pods.NEEDS, names_matter=True),
    "unknown": Question("containers with an id and no name", "", unknown.unknown, unknown.NEEDS),
    "timeline": Question(
        "everything in the order in which it happened", "[POD|CONTAINER|EXEC_ID|PID]", timeline.timeline, timeline.NEEDS
    ),
}
