"""The adjoints of functions of an array that a page shows by their names, each in its closed form.

`y` is the value, `dy` its adjoint, `x` what it is a function of; products without a sign are elementwise, and sums and
means go over the axes of the function. Source of the rules for softmax and layer norm: Bishop and Bishop 2024, "Deep
learning", section 8.1; Ba, Kiros, Hinton 2016, "Layer normalization"; the others follow from the quotient rule.
"""

from __future__ import annotations

from collections.abc import Callable

from symbptt import ops
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Product, placeholder

A, B, C, D = map(placeholder, range(4))


def adjoint_of_argument(g: Graph, node: Node, bar: int) -> int:
    """Return what the adjoint of a whole function adds to that of its argument."""
    return ADJOINTS[node.attrs.name](g, node, bar)


def _along(g: Graph, node: Node, kind: str, x: int) -> int:
    """Return a reduction of an array of the argument's shape over the axes of a function, so that it lies beside
    the array; over all axes where the others have one entry."""
    shape = g.shape(x)
    rest = [i for i in range(len(shape)) if i not in node.attrs.axes]
    axes = range(len(shape)) if all(shape[i] == 1 for i in rest) else node.attrs.axes
    return beside(g, build.reduce(g, kind, x, axes), node)


def beside(g: Graph, x: int, node: Node) -> int:
    """Return a value without the axes of a function as it lies beside the function's argument."""
    shape = g.shape(node.args[0])
    if len(node.attrs.axes) == len(shape):
        return build.reshape(g, x, ())
    return build.reshape(g, x, shapes.with_ones(shape, node.attrs.axes))


def _inner(g: Graph, node: Node, a: int, b: int) -> int:
    """Return the sum of products over the axes of a function; of vectors it is their inner product."""
    if len(g.shape(a)) == 1:
        return build.contract(g, a, b, Product((0,), (0,), ()))
    return _along(g, node, "sum", build.map_(g, A * B, (a, b)))


def _count(g: Graph, node: Node) -> int:
    return build.size_of(g, shapes.prod(g.shape(node.args[0])[i] for i in node.attrs.axes))


def _mean(g: Graph, node: Node, x: int) -> int:
    if len(node.attrs.axes) == len(g.shape(x)):
        return build.whole(g, "mean", (x,), node.attrs.axes, stays=False)
    return build.map_(g, A / B, (_along(g, node, "sum", x), _count(g, node)))


def _softmax(g: Graph, node: Node, bar: int) -> int:
    """dx = y (dy - sum(y dy))."""
    return build.map_(g, A * (B - C), (node.id, bar, _inner(g, node, node.id, bar)))


def _log_softmax(g: Graph, node: Node, bar: int) -> int:
    """dx = dy - sum(dy) softmax(x); where dy is d at a label alone, d (the unit vector of the label - softmax(x))."""
    p = build.whole(g, "softmax", node.args, node.attrs.axes)
    only = g[bar]
    # Cross-entropy of one label: dy is d at the label and zero elsewhere, hence sum(dy) = d.
    if only.family == "gather" and only.attrs.kind == "scatter" and len(only.shape) == 1 and not g.shape(only.args[1]):
        at = build.scatter(g, build.number(g, 1), only.args[1], 0, only.shape)
        return build.map_(g, A * (B - C), (only.args[0], at, p))
    return build.map_(g, A - B * C, (bar, _along(g, node, "sum", bar), p))


def _logsumexp(g: Graph, node: Node, bar: int) -> int:
    """dx = dy softmax(x)."""
    p = build.whole(g, "softmax", node.args, node.attrs.axes)
    return build.map_(g, A * B, (beside(g, bar, node), p))


def _of_mean(g: Graph, node: Node, bar: int) -> int:
    """dx = dy / n, everywhere."""
    given = build.map_(g, A / B, (beside(g, bar, node), _count(g, node)))
    return build.expand(g, given, g.shape(node.args[0]))


def _centred(g: Graph, node: Node) -> int:
    x = node.args[0]
    return build.map_(g, A - B, (x, _mean(g, node, x)))


def _var(g: Graph, node: Node, bar: int) -> int:
    """dx = 2 dy (x - mean(x)) / n."""
    return build.map_(g, 2 * A * B / C, (beside(g, bar, node), _centred(g, node), _count(g, node)))


def _std(g: Graph, node: Node, bar: int) -> int:
    """dx = dy (x - mean(x)) / (n y), and zero where y is."""
    # `ops.over` gives 0 for 0 / 0: all x are equal where y = 0, and the cone has its tip there.
    slope = ops.over(A * B, C * D)
    return build.map_(g, slope, (beside(g, bar, node), _centred(g, node), _count(g, node), beside(g, node.id, node)))


def _deviation(g: Graph, node: Node, bar: int) -> int:
    """dx = dy (x - mean(x)) / (n y), of the root of variance and ε, which is not zero."""
    read = (beside(g, bar, node), _centred(g, node), _count(g, node), beside(g, node.id, node))
    return build.map_(g, A * B / (C * D), read)


def _rms(g: Graph, node: Node, bar: int) -> int:
    """dx = dy x / (n y), of the root of the mean square and ε, which is not zero."""
    read = (beside(g, bar, node), node.args[0], _count(g, node), beside(g, node.id, node))
    return build.map_(g, A * B / (C * D), read)


def _norm(g: Graph, node: Node, bar: int) -> int:
    """dx = dy x / y, and zero where y is."""
    return build.map_(g, ops.over(A * B, C), (beside(g, bar, node), node.args[0], beside(g, node.id, node)))


def _smooth_norm(g: Graph, node: Node, bar: int) -> int:
    """dx = dy x / y, of the root of a sum of squares with a number added, which is not zero."""
    return build.map_(g, A * B / C, (beside(g, bar, node), node.args[0], beside(g, node.id, node)))


def _unit(g: Graph, node: Node, bar: int) -> int:
    """dx = (dy - y sum(y dy)) / the norm of x."""
    size = beside(g, build.whole(g, "norm", node.args, node.attrs.axes, stays=False), node)
    return build.map_(g, (A - B * C) / D, (bar, node.id, _inner(g, node, node.id, bar), size))


def _layer_norm(g: Graph, node: Node, bar: int) -> int:
    """dx = (dy - mean(dy) - y mean(y dy)) / the root of variance and ε."""
    own, flat = _mean(g, node, build.map_(g, A * B, (node.id, bar))), _mean(g, node, bar)
    size = beside(g, build.whole(g, "deviation", node.args, node.attrs.axes, stays=False), node)
    body = (placeholder(0) - placeholder(1) - placeholder(2) * placeholder(3)) / placeholder(4)
    return build.map_(g, body, (bar, flat, node.id, own, size))


def _rms_norm(g: Graph, node: Node, bar: int) -> int:
    """dx = (dy - y mean(y dy)) / the root of the mean square and ε."""
    own = _mean(g, node, build.map_(g, A * B, (node.id, bar)))
    size = beside(g, build.whole(g, "rms", node.args, node.attrs.axes, stays=False), node)
    return build.map_(g, (A - B * C) / D, (bar, node.id, own, size))


def _extreme(name: str) -> Callable[[Graph, Node, int], int]:
    """dx = dy where x is the extreme value; equal ones share it."""

    def rule(g: Graph, node: Node, bar: int) -> int:
        chosen = build.whole(g, name, node.args, node.attrs.axes)
        return build.map_(g, A * B, (beside(g, bar, node), chosen))

    return rule


ADJOINTS: dict[str, Callable[[Graph, Node, int], int]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "mean": _of_mean,
    "var": _var,
    "std": _std,
    "norm": _norm,
    "smooth_norm": _smooth_norm,
    "deviation": _deviation,
    "rms": _rms,
    "unit": _unit,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "max": _extreme("is_max"),
    "min": _extreme("is_min"),
}


def tangent_of_value(g: Graph, node: Node, dot: int) -> int:
    """Return what a change of the argument makes of the value of a whole function."""
    name, x = node.attrs.name, node.args[0]
    if name == "log_softmax":
        p = build.whole(g, "softmax", node.args, node.attrs.axes)
        return build.map_(g, A - B, (dot, _inner(g, node, p, dot)))
    if node.attrs.stays:
        # J = Jᵀ makes JVP and VJP one formula; log_softmax, handled above, is the only shape-keeping function with J ≠ Jᵀ.
        return adjoint_of_argument(g, node, dot)  # the matrix of its derivatives is symmetric
    value = beside(g, node.id, node)
    match name:
        case "mean":
            found = _mean(g, node, dot)
        case "logsumexp":
            found = _inner(g, node, build.whole(g, "softmax", node.args, node.attrs.axes), dot)
        case "max" | "min":
            found = _inner(g, node, build.whole(g, f"is_{name}", node.args, node.attrs.axes), dot)
        case "var":
            found = build.map_(g, 2 * A / B, (_inner(g, node, _centred(g, node), dot), _count(g, node)))
        case "std":
            read = (_inner(g, node, _centred(g, node), dot), _count(g, node), value)
            found = build.map_(g, ops.over(A, B * C), read)
        case "deviation":
            read = (_inner(g, node, _centred(g, node), dot), _count(g, node), value)
            found = build.map_(g, A / (B * C), read)
        case "rms":
            found = build.map_(g, A / (B * C), (_inner(g, node, x, dot), _count(g, node), value))
        case "norm":
            found = build.map_(g, ops.over(A, B), (_inner(g, node, x, dot), value))
        case _:
            found = build.map_(g, A / B, (_inner(g, node, x, dot), value))
    return build.reshape(g, found, node.shape)
