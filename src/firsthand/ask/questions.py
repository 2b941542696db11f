"""The named questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firsthand.ask import privileged, processes, timeline, tree
from firsthand.ask.answer import Asked, Found


@dataclass(frozen=True)
class Question:
    """A question's words, what its argument is, the tables it needs, and whether it looks at arguments."""

    doc: str
    usage: str
    answer: Callable[[Asked], Found]
    needs: tuple[str, ...]
    arguments_matter: bool = False


QUESTIONS: dict[str, Question] = {
    "processes": Question(
        "programs that ran, by conditions on any column",
        "[COLUMN=VALUE]...",
        processes.processes,
        processes.NEEDS,
    ),
    "process": Question("everything about one process", "EXEC_ID|PID", processes.process, processes.NEEDS),
    "tree": Question("who started whom, with times, flags and ends", "[CONTAINER|EXEC_ID|PID]", tree.tree, tree.NEEDS),
    "privileged": Question(
        "containers that hold more capabilities than an ordinary one",
        "",
        privileged.privileged,
        privileged.NEEDS,
    ),
    "timeline": Question(
        "everything in the order in which it happened", "[CONTAINER|EXEC_ID|PID]", timeline.timeline, timeline.NEEDS
    ),
}
