"""The named questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from firsthand.ask import (
    beacons,
    connected,
    edges,
    exfiltration,
    held,
    lateral,
    listening,
    pods,
    privileged,
    processes,
    talkers,
    timeline,
    tree,
    unknown,
)
from firsthand.ask.answer import Asked, Found


@dataclass(frozen=True)
class Question:
    """A question's words, what its argument is, the tables it needs, and whether it looks at arguments.

    `running`: it needs what ran at the window's begin, however long before that it was told. `recent`: without --since it is about so
    much of the time before the end, half of the history at most. `compares`: with all that is held from before the window. `moment`: it
    is about one moment (--at). `draws`: it has a graph.
    """

    doc: str
    usage: str
    answer: Callable[[Asked], Found]
    needs: tuple[str, ...]
    arguments_matter: bool = False
    names_matter: bool = False
    running: bool = False
    recent: timedelta | None = None
    compares: bool = False
    moment: bool = False
    draws: bool = False


_DAY = timedelta(days=1)
_BY = "[workload|pod|process]"
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
    "connected": Question(
        "who asked for a name, or reached it or an address",
        "NAME|*.NAME|ADDRESS|CIDR",
        connected.connected,
        connected.NEEDS,
        arguments_matter=True,
    ),
    "talkers": Question("who talks with whom, and how much", _BY, talkers.talkers, talkers.NEEDS),
    "map": Question("who talks with whom, as a graph", _BY, edges.network, edges.NEEDS, draws=True),
    "address": Question("who held an address at a moment", "ADDRESS", held.held, held.NEEDS, moment=True),
    "listening": Question("sockets that listened at the window's end", "", listening.listening, listening.NEEDS),
    "exposed": Question(
        "who accepted connections from outside the cluster",
        "",
        listening.exposed,
        listening.EXPOSED_NEEDS,
        names_matter=True,
    ),
    "lateral": Question(
        "edges from pods to pods or nodes that are new",
        "",
        lateral.lateral,
        lateral.NEEDS,
        names_matter=True,
        recent=_DAY,
        compares=True,
    ),
    "beacons": Question("small connections that come regularly", "", beacons.beacons, beacons.NEEDS),
    "exfiltration": Question(
        "more sent elsewhere than is usual",
        "",
        exfiltration.exfiltration,
        exfiltration.NEEDS,
        recent=_DAY,
        compares=True,
    ),
}
