"""ask/draw.py: a graph in layers, as DOT and as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.ask.draw import dot, layers, svg
from firsthand.ask.graph import Edge, Graph

_SVG = "{http://www.w3.org/2000/svg}"


def _graph(*edges: tuple[str, str], alone: tuple[str, ...] = ()) -> Graph:
    names = dict.fromkeys([*alone, *(name for edge in edges for name in edge)], "pod")
    return Graph(names, [Edge(*edge) for edge in edges])


def test_a_node_stands_behind_the_longest_way_to_it() -> None:
    """Not behind the shortest: every edge goes to the right."""
    assert layers(_graph(("a", "b"), ("b", "c"), ("a", "c"))) == [["a"], ["b"], ["c"]]
    assert layers(_graph(alone=("x", "y"))) == [["x", "y"]]
    assert layers(Graph()) == []


def test_a_layer_is_ordered_by_its_neighbours() -> None:
    """Lines that need not cross do not."""
    found = layers(_graph(("a", "y"), ("b", "x"), alone=("a", "b", "x", "y")))
    assert [found[0].index(one) for one in "ab"] == [found[1].index(one) for one in "yx"]


_EDGES = st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), max_size=20)


@given(edges=_EDGES)
def test_any_graph_has_layers(edges: list[tuple[str, str]]) -> None:
    """Cycles and loops too: each node once, no layer empty, and where there is no cycle each edge goes to a later layer."""
    graph = _graph(*edges)
    found = layers(graph)
    assert sorted(name for layer in found for name in layer) == sorted(graph.nodes) and all(found)
    place = {name: number for number, layer in enumerate(found) for name in layer}
    acyclic = [edge for edge in edges if edge[0] < edge[1]]
    if len(acyclic) == len(edges):
        assert all(place[one] < place[other] for one, other in edges)
    boxes = list(ElementTree.fromstring(svg(graph)).iter(f"{_SVG}rect"))
    assert len(boxes) == 1 + len(graph.nodes)


def test_dot_of_a_few_edges() -> None:
    """Labels, bytes, what failed; kinds by their colour."""
    graph = Graph({"web": "pod", "db": "external"}, [Edge("web", "db", "5432", 1500), Edge("db", "web", failed=True)])
    text = dot(graph)
    assert text.startswith("digraph firsthand {") and text.endswith("}\n")
    assert '"web" -> "db" [label="5432 1.5 kB"];' in text
    assert '"db" -> "web" [label="", style="dashed", color="#b03020"];' in text
    assert '"db" [fillcolor="#f7d7d0"];' in text


_HOSTILE = 'a"]; evil -> x [label="\\', "<script>alert(1)</script>&", "\x1b[2J\u202e"


@pytest.mark.parametrize("name", _HOSTILE)
def test_names_of_strangers_stay_names(name: str) -> None:
    """Neither language is left by a quote, a bracket or a control character."""
    graph = Graph({name: "pod", "x": "<kind>"}, [Edge(name, "x", name, 5)])
    assert dot(graph).count(" -> ") - dot(graph).count("evil -> ") == 1
    assert "\x1b" not in dot(graph)
    root = ElementTree.fromstring(svg(graph))
    assert not list(root.iter(f"{_SVG}script")) and "\u202e" not in svg(graph)
    titles = [one.text for one in root.iter(f"{_SVG}title")]
    assert any(title and title.endswith("(<kind>)") for title in titles)


def test_a_long_name_is_cut_and_whole_in_its_title() -> None:
    """A box has 44 letters at most."""
    name = "n" * 100
    root = ElementTree.fromstring(svg(Graph({name: "pod"})))
    assert [one.text for one in root.iter(f"{_SVG}text")] == ["n" * 43 + "…"]
    assert [one.text for one in root.iter(f"{_SVG}title")] == [f"{name} (pod)"]


def test_a_line_is_thicker_the_more_went_over_it() -> None:
    """By the digits of its bytes."""
    widths = [float(svg(Graph({"a": "pod", "b": "pod"}, [Edge("a", "b", "", weight)])).partition('stroke-width="')[2].partition('"')[0])
              for weight in (0, 999, 1000, 10**9)]  # fmt: skip
    assert widths[0] == widths[1] < widths[2] < widths[3]
