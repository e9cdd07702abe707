"""Unrolled graphs in the languages of other programs: JSON, DOT, GraphML and GML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import networkx as nx

from symbptt.autodiff.unroll import Key
from symbptt.drawing.colours import ARROWS, COLOURS

MARK = "symbptt"
"""The word by which `origin` knows the files that symbptt wrote."""


def graph_json(graph: nx.DiGraph) -> str:
    """Return an unrolled graph as JSON that `networkx.node_link_graph(data, edges="edges")` reads."""
    # JSON has no tuples; networkx turns lists of ids back into tuples.
    nodes = [{"id": list(node), **attributes} for node, attributes in graph.nodes(data=True)]
    edges = [{"source": list(a), "target": list(b), **attributes} for a, b, attributes in graph.edges(data=True)]
    data = {"written_by": MARK, "directed": True, "multigraph": False, "graph": dict(graph.graph)}
    return json.dumps({**data, "nodes": nodes, "edges": edges}, ensure_ascii=False, indent=1) + "\n"


def graph_graphml(graph: nx.DiGraph) -> str:
    """Return an unrolled graph as GraphML, as Gephi, yEd and Cytoscape read it."""
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<!-- written by {MARK} -->'
    return "\n".join([head, *nx.generate_graphml(graph)]) + "\n"


def graph_gml(graph: nx.DiGraph) -> str:
    """Return an unrolled graph as GML."""
    return "\n".join([f'Creator "{MARK}"', *nx.generate_gml(graph)]) + "\n"


def graph_dot(graph: nx.DiGraph) -> str:
    """Return an unrolled graph in Graphviz's language: a box for each step, colours by role, saved values dashed."""
    number = {node: f"n{i}" for i, node in enumerate(graph)}
    lines = [
        f"// written by {MARK}",
        f"digraph {_quoted(graph.graph['name'])} {{",
        '  rankdir=LR; newrank=true; node [shape=box, style="rounded,filled", fontname="Times"]; edge [arrowsize=0.7];',
    ]
    for t in sorted({t for _, t in graph if t is not None}):
        lines += [
            f"  subgraph cluster_{t} {{",
            f'    label="{f"step {t}" if t else "before"}"; color="#c8cdd1"; fontname="Times";',
            *(f"    {_node(graph, node, number)}" for node in graph if node[1] == t),
            "  }",
        ]
    lines += [f"  {_node(graph, node, number)}" for node in graph if node[1] is None]
    lines += [f"  {_edge(a, b, attributes, graph, number)}" for a, b, attributes in graph.edges(data=True)]
    return "\n".join([*lines, "}"]) + "\n"


def _node(graph: nx.DiGraph, node: Key, number: dict[Key, str]) -> str:
    attributes = graph.nodes[node]
    fill, line = COLOURS[attributes["role"]]
    parts = {
        "label": attributes["symbol"],
        "tooltip": attributes["expression"],
        "class": attributes["role"],
        "fillcolor": fill,
        "color": line,
    }
    return f"{number[node]} [{', '.join(f'{key}={_quoted(value)}' for key, value in parts.items())}];"


def _edge(a: Key, b: Key, attributes: dict[str, str], graph: nx.DiGraph, number: dict[Key, str]) -> str:
    backward = graph.nodes[b]["role"] in ("adjoint", "gradient", "cotangent")
    kind = "saved" if attributes["saved"] else "backward" if backward else "forward"
    parts = {"color": ARROWS[kind], "tooltip": attributes["local"]}
    if attributes["saved"]:
        # With constraints, Graphviz would rank the backward pass behind the whole forward pass.
        parts |= {"style": "dashed", "constraint": "false"}
    elif backward:
        parts |= {"constraint": "false"}
    return f"{number[a]} -> {number[b]} [{', '.join(f'{key}={_quoted(value)}' for key, value in parts.items())}];"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


WRITERS: dict[str, Callable[[nx.DiGraph], str]] = {
    ".json": graph_json,
    ".dot": graph_dot,
    ".graphml": graph_graphml,
    ".gml": graph_gml,
}
"""The texts that a graph is written as, by the ending of the file."""


def sorted_nodes(graph: nx.DiGraph) -> Iterable[Key]:
    """Return the nodes by step: what all steps share first, then each step, forward before backward."""
    order = {node: i for i, node in enumerate(graph)}
    return sorted(graph, key=lambda node: (-1 if node[1] is None else node[1], order[node]))
