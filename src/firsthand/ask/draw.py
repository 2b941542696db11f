"""A graph as DOT, for Graphviz where somebody has it, and as SVG by a layout of our own, for clusters that are cut off.

The layout is Sugiyama's in its simplest form: nodes in layers by the longest way to them, cycles left out of account; a layer is
ordered by where its neighbours stand. That is enough for the some hundred ends that a person can look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from firsthand.ask.graph import Edge, Graph
from firsthand.ask.show import printable, size

#: Colours by kind; what is not the cluster's own stands out.
_FILLS = {
    "external": "#f7d7d0",
    "host": "#dde6f0",
    "node": "#dde6f0",
    "pod": "#dcefdc",
    "service": "#e6dff0",
    "container": "#dcefdc",
}
_OTHER = "#eeeeee"
_SWEEPS = 8
#: Pixels: of a letter, a box's height, between boxes of a layer, between layers, and around.
_LETTER, _BOX, _GAP, _BETWEEN, _MARGIN = 7, 26, 14, 150, 20
_LONGEST = 44


def dot(graph: Graph) -> str:
    """The graph in Graphviz's language."""
    lines = [
        "digraph firsthand {",
        '  rankdir="LR"; node [shape=box, style=filled, fontname="sans-serif", fontsize=11];',
    ]
    lines += [
        f"  {_quoted(name)} [fillcolor={_quoted(_FILLS.get(kind, _OTHER))}];" for name, kind in graph.nodes.items()
    ]
    for edge in graph.edges:
        style = ', style="dashed", color="#b03020"' if edge.failed else ""
        lines.append(f"  {_quoted(edge.start)} -> {_quoted(edge.end)} [label={_quoted(_label(edge))}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label(edge: Edge) -> str:
    return " ".join(word for word in (edge.label, size(edge.weight) if edge.weight else "") if word)


def layers(graph: Graph) -> list[list[str]]:
    """The nodes by layer, each layer in its order."""
    depth = _depths(graph)
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in graph.nodes:
        found[depth[name]].append(name)
    return _ordered(found, graph.edges)


def _depths(graph: Graph) -> dict[str, int]:
    """The longest way to each node, without the edges that close a cycle."""
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for edge in graph.edges:
        if edge.end not in after[edge.start] and edge.end != edge.start:
            after[edge.start].append(edge.end)
    order, back = _finished(after)
    depth = dict.fromkeys(graph.nodes, 0)
    for name in reversed(order):
        for other in after[name]:
            if (name, other) not in back:
                depth[other] = max(depth[other], depth[name] + 1)
    return depth


def _finished(after: Mapping[str, Sequence[str]]) -> tuple[list[str], set[tuple[str, str]]]:
    """Nodes in the order in which a depth-first walk leaves them, and the edges back to where it stood."""
    order: list[str] = []
    back: set[tuple[str, str]] = set()
    state: dict[str, int] = {}
    for root in after:
        stack = [(root, iter(after[root]))] if root not in state else []
        state.setdefault(root, 1)
        while stack:
            name, rest = stack[-1]
            other = next(rest, None)
            if other is None:
                state[name] = 2
                order.append(name)
                stack.pop()
            elif state.get(other) == 1:
                back.add((name, other))
            elif other not in state:
                state[other] = 1
                stack.append((other, iter(after[other])))
    return order, back


def _ordered(found: list[list[str]], edges: Sequence[Edge]) -> list[list[str]]:
    """Each layer by the mean place of its neighbours, to and fro."""
    near: dict[str, list[str]] = {}
    for edge in edges:
        near.setdefault(edge.start, []).append(edge.end)
        near.setdefault(edge.end, []).append(edge.start)
    for _ in range(_SWEEPS):
        place = {name: index / max(len(layer), 1) for layer in found for index, name in enumerate(layer)}
        for layer in found:
            layer.sort(key=lambda name: _mean([place[one] for one in near.get(name, ())], place[name]))
            place |= {name: index / max(len(layer), 1) for index, name in enumerate(layer)}
    return found


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def svg(graph: Graph) -> str:
    """The graph as one SVG document, without scripts and references."""
    found = layers(graph)
    boxes, width = _boxes(found)
    height = max((y + _BOX for _, y, _ in boxes.values()), default=0) + 50 + _MARGIN  # below: edges back
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    parts += [_line(edge, boxes) for edge in graph.edges]
    parts += [_box(name, kind, boxes[name]) for name, kind in graph.nodes.items()]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _boxes(found: list[list[str]]) -> tuple[dict[str, tuple[int, int, int]], int]:
    """Left, top and width of each node's box, and the width of all."""
    boxes: dict[str, tuple[int, int, int]] = {}
    left, tallest = _MARGIN, max((len(layer) for layer in found), default=0)
    for layer in found:
        wide = max(len(_shown(name)) for name in layer) * _LETTER + 16
        top = _MARGIN + (tallest - len(layer)) * (_BOX + _GAP) // 2
        for index, name in enumerate(layer):
            boxes[name] = (left, top + index * (_BOX + _GAP), wide)
        left += wide + _BETWEEN
    return boxes, max(left - _BETWEEN, 0) + _MARGIN


def _shown(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _box(name: str, kind: str, box: tuple[int, int, int]) -> str:
    left, top, wide = box
    fill = _FILLS.get(kind, _OTHER)
    text = f'<text x="{left + 8}" y="{top + 17}">{escape(_shown(name))}</text>'
    frame = f'<rect x="{left}" y="{top}" width="{wide}" height="{_BOX}" rx="4" fill="{fill}" stroke="#777"/>'
    return f"<g><title>{escape(printable(name))} ({escape(kind)})</title>{frame}{text}</g>"


def _line(edge: Edge, boxes: Mapping[str, tuple[int, int, int]]) -> str:
    """A curve from the right of one box to the left of the other; back to an earlier layer below the boxes."""
    (left, top, wide), (to_left, to_top, to_wide) = boxes[edge.start], boxes[edge.end]
    x, y, to_x, to_y = left + wide, top + _BOX // 2, to_left, to_top + _BOX // 2
    bend = max((to_x - x) // 2, 40)
    path = f"M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
    if to_left <= left:
        x, y, to_x, to_y = left + wide // 2, top + _BOX, to_left + to_wide // 2, to_top + _BOX
        low = max(y, to_y) + 40
        path = f"M{x} {y}C{x} {low} {to_x} {low} {to_x} {to_y}"
    colour, dash = ("#b03020", ' stroke-dasharray="4 3"') if edge.failed else ("#555", "")
    label = escape(printable(_label(edge)))
    where = f'<text x="{(x + to_x) // 2}" y="{(y + to_y) // 2 - 4}" text-anchor="middle" fill="#333">{label}</text>'
    line = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{_thick(edge.weight)}"{dash} marker-end="url(#tip)"/>'
    return f"<g><title>{escape(printable(edge.start))} → {escape(printable(edge.end))} {label}</title>{line}{where}</g>"


def _thick(weight: int) -> float:
    """A line's width by the digits of its bytes."""
    return round(0.8 + 0.3 * max(len(str(weight)) - 3, 0), 1)
