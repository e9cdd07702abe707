"""The graph as text, one line a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.shape import show as show_shape


def dump(g: Graph, ids: Iterable[int] | None = None) -> str:
    """Return one line for each node: id, name, shape, family, what it keeps, arguments, the user's file and line."""
    chosen = range(len(g)) if ids is None else sorted(set(ids))
    return "\n".join(_line(g, g[id]) for id in chosen)


def _line(g: Graph, node: Node) -> str:
    args = " ".join(f"%{arg}" for arg in node.args)
    name = g.names.get(node.id, "")
    value = f"%{node.id:<4} {name:<12} {show_shape(node.shape):<12} {node.family:<9}"
    return f"{value} {_kept(node):<28} {args:<16} {node.place}".rstrip()


def _kept(node: Node) -> str:
    attrs = node.attrs
    fields = [getattr(attrs, f.name) for f in dataclasses.fields(attrs) if f.repr]
    fields += ["complex"] * (node.family == "leaf" and attrs.complex)
    return " ".join(str(field).replace(" ", "") for field in fields)
