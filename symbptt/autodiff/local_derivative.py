"""The local derivative of one value by another: what a change of the one, written as a dot, makes of the other.

Values with a name are constants here but for the one that changes, so that the derivatives along the edges of an unrolled
graph multiply to those along its paths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import sympy as sp

from symbptt import ops
from symbptt.autodiff import algebra
from symbptt.autodiff.partials import VALUE, partials
from symbptt.autodiff.whole import tangent_of_value
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.shape import with_ones

KINDS = ("none", "identity", "elementwise", "matrix", "linear")
"""The kinds of a local derivative: zero; 1; an elementwise factor; a product with an array; another linear map, such
as a sum or a part."""


@dataclass(frozen=True)
class Tangent:
    """The tangent of one value for a change of another, as a value of the graph, and one of KINDS."""

    id: int
    kind: str


NONE = Tangent(-1, "none")
Given = dict[int, Tangent]


def tangent(g: Graph, target: int, sources: Collection[int], dot: int, named: Collection[int]) -> Tangent:
    """Return the change of `target` where that of each of the `sources` is `dot`; all that is `named` is held."""
    found: Given = dict.fromkeys(sources, Tangent(dot, "identity"))
    # Forward mode: tangents go from arguments to values, and every named value but the sources has tangent zero.
    for id in _between(g, target, named):
        if id in found and id != target:
            continue
        node = g[id]
        if any(found.get(arg, NONE) is not NONE for arg in node.args):
            found[id] = RULES[node.family](g, node, found)
    return found.get(target, NONE)


def _between(g: Graph, target: int, named: Collection[int]) -> list[int]:
    """Return a value and all without a name that it is computed from, arguments first."""
    seen, open_ = {target}, [target]
    while open_:
        for arg in g[open_.pop()].args:
            if arg not in named and arg not in seen:
                seen.add(arg)
                open_.append(arg)
    return sorted(seen)


def _worst(kinds: Collection[str]) -> str:
    return max(kinds, key=KINDS.index)


def _sum(g: Graph, parts: list[Tangent]) -> Tangent:
    """Return the sum of changes; each comes with its own kind, and two of them are no identity."""
    parts = [part for part in parts if part is not NONE]
    if len(parts) < 2:
        return parts[0] if parts else NONE
    # 1 + 1 = 2: a sum of identities is at least an elementwise factor.
    kind = _worst([*(part.kind for part in parts), "elementwise"])
    ids = list(dict.fromkeys(part.id for part in parts))
    total = sp.Add(*(placeholder(ids.index(part.id)) for part in parts))
    return Tangent(build.map_(g, total, ids), kind)


def _map(g: Graph, node: Node, found: Given) -> Tangent:
    slopes = partials(node.attrs.expr, len(node.args))
    parts = []
    for arg, slope in zip(node.args, slopes, strict=True):
        given = found.get(arg, NONE)
        if given is not NONE and slope != 0:
            parts.append(_scaled(g, node, arg, slope, given))
    return _sum(g, parts)


def _scaled(g: Graph, node: Node, arg: int, slope: sp.Expr, given: Tangent) -> Tangent:
    """Return the slope times what changes, the slope first; a change that is repeated along an axis is no
    elementwise one."""
    kind = given.kind if g.shape(arg) == node.shape else _worst([given.kind, "linear"])
    if slope == 1:
        return Tangent(build.expand(g, given.id, node.shape), kind)
    candidates = [*((placeholder(i), other) for i, other in enumerate(node.args)), (VALUE, node.id)]
    read = [(symbol, id) for symbol, id in candidates if symbol in slope.free_symbols]
    ids = list(dict.fromkeys([*(id for _, id in read), given.id]))
    weight = slope.xreplace({symbol: placeholder(ids.index(id)) for symbol, id in read})
    return Tangent(
        build.expand(g, build.map_(g, weight * placeholder(ids.index(given.id)), ids), node.shape),
        _worst([kind, "elementwise"]),
    )


def _contract(g: Graph, node: Node, found: Given) -> Tangent:
    a, b = node.args
    changes = [found.get(arg, NONE) for arg in node.args]
    parts = []
    if changes[0] is not NONE:
        parts.append(Tangent(build.contract(g, changes[0].id, b, node.attrs), "matrix"))
    if changes[1] is not NONE:
        parts.append(Tangent(build.contract(g, a, changes[1].id, node.attrs), "matrix"))
    return _sum(g, [Tangent(part.id, _worst([part.kind, *(c.kind for c in changes)])) for part in parts])


def _reduce(g: Graph, node: Node, found: Given) -> Tangent:
    x, axes = node.args[0], node.attrs.axes
    change = found[x].id
    if node.attrs.kind == "max":
        kept = build.reshape(g, node.id, with_ones(g.shape(x), axes))
        top = build.map_(g, ops.equal(placeholder(0), placeholder(1)), (x, kept))
        count = build.reshape(g, build.reduce(g, "sum", top, axes), g.shape(kept))
        # Equal largest entries share the derivative, as in the adjoint rule.
        change = build.map_(g, placeholder(0) / placeholder(1) * placeholder(2), (top, count, change))
    return Tangent(build.reduce(g, "sum", change, axes), "linear")


def _same(g: Graph, node: Node, found: Given) -> Tangent:
    """Return the tangent of an operation that is linear in its first argument: the same operation on the tangent."""
    args = (found[node.args[0]].id, *node.args[1:])
    return Tangent(g.add(node.family, args, node.shape, node.attrs), _worst([found[node.args[0]].kind, "linear"]))


def _view(g: Graph, node: Node, found: Given) -> Tangent:
    if node.attrs.kind != "concatenate":
        return _same(g, node, found)
    zero = build.number(g, 0)
    changes = [found.get(arg, NONE) for arg in node.args]
    args = tuple(
        build.expand(g, zero, g.shape(arg)) if change is NONE else change.id
        for arg, change in zip(node.args, changes, strict=True)
    )
    return Tangent(build.concatenate(g, args, node.attrs.data[0]), _worst([*(c.kind for c in changes), "linear"]))


def _gather(g: Graph, node: Node, found: Given) -> Tangent:
    return _same(g, node, found) if node.args[0] in found else NONE


def _algebra(g: Graph, node: Node, found: Given) -> Tangent:
    changes = [None if found.get(arg, NONE) is NONE else found[arg].id for arg in node.args]
    change = algebra.tangent(g, node, changes)
    kinds = [found[arg].kind for arg in node.args if found.get(arg, NONE) is not NONE]
    return NONE if change is None else Tangent(change, _worst([*kinds, "linear"]))


def _convolution(g: Graph, node: Node, found: Given) -> Tangent:
    parts = [
        Tangent(
            build.convolution(
                g, [found[arg].id if i == k else other for k, other in enumerate(node.args)], node.shape, node.attrs
            ),
            _worst(["matrix", found[arg].kind]),
        )
        for i, arg in enumerate(node.args)
        if found.get(arg, NONE) is not NONE
    ]
    return _sum(g, parts)


def _total(g: Graph, node: Node, found: Given) -> Tangent:
    """Return the tangent of a sum over steps: what one step adds."""
    return found[node.args[0]]


def _whole(g: Graph, node: Node, found: Given) -> Tangent:
    change = found[node.args[0]]
    if node.attrs.name in ("is_max", "is_min"):
        return NONE  # where the largest entry is does not move with small changes
    return Tangent(tangent_of_value(g, node, change.id), _worst([change.kind, "linear"]))


RULES: dict[str, Callable[[Graph, Node, Given], Tangent]] = {
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _same,
    "algebra": _algebra,
    "total": _total,
    "whole": _whole,
    "convolution": _convolution,
}
