"""A graph of who talks to whom: plain data, to be drawn by `draw`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Edge:
    """From who began it to who was reached; `label` says by which ports, `weight` how much (bytes)."""

    start: str
    end: str
    label: str = ""
    weight: int = 0
    failed: bool = False


@dataclass
class Graph:
    """Nodes by name with their kind (pod, workload, host, external, ...), and the edges between them."""

    nodes: dict[str, str] = field(default_factory=dict)
    edges: Sequence[Edge] = ()
