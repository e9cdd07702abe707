"""The entries of a step's Jacobian as intervals, over an enclosure of its values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp

from symbptt.ir.node import Node
from symbptt.stability.algebra.factors import factors_of
from symbptt.stability.algebra.interval import Interval, add, between, common, exactly, multiply, outwards
from symbptt.stability.algebra.polynomials import Local, Normed, Softmax, terms
from symbptt.stability.proofs.enclosure import EPS, Enclosure, einsum_of, extent, is_unbounded, product_of, rearranged

COLUMN = 25
"""The label of the axis of states in a product."""


@dataclass(frozen=True)
class Part:
    """diag(factors) matrix: one term of the Jacobian, of which the factors vary within an interval.

    Shapes: factors (N,), matrix (N, N), zero outside the rows of one state.
    """

    factors: Interval
    matrix: Interval


def parts_of_jacobian(of: Local, within: Enclosure) -> tuple[Part, ...]:
    """Return the terms whose sum is the step's Jacobian over the whole state, in the order of the states.

    What multiplies the rows at the end of a step, as the slope of a tanh does, stays a separate factor: its structure makes bounds sharp.
    """
    g, shapes = of.graph, {name: within.shape(of.graph.shape(id)) for name, id in of.step.next.items()}
    offsets = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())])
    total = int(offsets[-1])
    columns = dict(zip(shapes, offsets, strict=False))
    found: dict[int, Interval] = {}
    for id in g.ancestors(of.step.next.values()):
        if id in of.recurrent:
            node = g[id]
            if node.family == "leaf":
                found[id] = _identity(within.shape(node.shape), int(columns[node.attrs.name]), total)
            else:
                found[id] = _node(of, within, node, found, total)
    parts = []
    for name, id in of.step.next.items():
        rows, shape = slice(columns[name], columns[name] + int(np.prod(shapes[name]))), shapes[name]
        for p, matrix in _terms(of, within, id, found) if id in of.recurrent else ():
            factors, own = np.zeros((2, total)), np.zeros((2, total, total))
            factors[:, rows] = np.reshape([np.broadcast_to(end, shape) for end in (p.lo, p.hi)], (2, -1))
            own[:, rows] = np.reshape(
                [np.broadcast_to(end, (*shape, total)) for end in (matrix.lo, matrix.hi)], (2, -1, total)
            )
            parts.append(Part(Interval(*factors), Interval(*own)))
    return tuple(parts)


def _identity(shape: tuple[int, ...], first: int, total: int) -> Interval:
    count = int(np.prod(shape))
    return exactly(np.eye(total)[first : first + count].reshape(*shape, total))


def _terms(of: Local, within: Enclosure, id: int, found: dict[int, Interval]) -> list[tuple[Interval, Interval]]:
    """The factors of the bases of a value, with the derivatives of these; a factor that all have in common is taken out."""
    if of.graph[id].family == "leaf" or id in of.softmaxes:
        return [(exactly(1.0), found[id])]
    return [(exactly(1.0), found[id])] if id in of.scaled else _factored(of, within, id, found, terms(of, id))


def _factored(
    of: Local, within: Enclosure, id: int, found: dict[int, Interval], parts: dict[int, sp.Expr]
) -> list[tuple[Interval, Interval]]:
    rank = len(of.graph.shape(id))
    bases = [found[base].each(lambda end: end.reshape(*(1,) * (rank + 1 - end.ndim), *end.shape)) for base in parts]
    polynomials = list(parts.values())
    # z a + z b is z (a + b): as one factor z is taken once, as two intervals it would count as two unrelated numbers.
    common, rests = _taken_out(polynomials)
    if len(bases) < 2 or common == 1:
        return [(extent(p, within.atoms), base) for p, base in zip(polynomials, bases, strict=True)]
    inner = [_scaled(extent(p, within.atoms), base) for p, base in zip(rests, bases, strict=True)]
    return [(extent(common, within.atoms), reduce(add, inner))]


def _taken_out(polynomials: list[sp.Expr]) -> tuple[sp.Expr, list[sp.Expr]]:
    """The factors that polynomials have in common, and the polynomials divided by them."""
    factors = [list(factors_of(p)) for p in polynomials]
    common = (
        [f for f in dict.fromkeys(factors[0]) if f.free_symbols and all(f in others for others in factors)]
        if factors
        else []
    )
    for f in common:
        for others in factors:
            others.remove(f)
    return sp.Mul(*common), [sp.Mul(*others) for others in factors]


def _scaled(p: Interval, matrix: Interval) -> Interval:
    return multiply(p.each(lambda end: np.asarray(end)[..., None]), matrix)


def _node(of: Local, within: Enclosure, node: Node, found: dict[int, Interval], total: int) -> Interval:
    shape = within.shape(node.shape)
    match node.family:
        case "map" if node.id in of.softmaxes:
            return _softmax(of.softmaxes[node.id], within.nodes[node.id], found)
        case "map":
            normed = of.scaled.get(node.id)
            factors = terms(of, node.id) if normed is None else normed.parts
            products = [_scaled(p, m) for p, m in _factored(of, within, node.id, found, factors)]
            whole = reduce(add, products, exactly(np.zeros((*shape, total))))
            whole = whole.each(lambda end: np.broadcast_to(end, (*shape, total)))
            return whole if normed is None else common(whole, _normed(within, normed, found))
        case "contract":
            return _product(of, within, node, found)
        case "gather" if node.attrs.kind == "scatter":
            # Any row may be written, by several indices at once, and all others are zero.
            axes, row = tuple(range(len(of.graph.shape(node.args[1])))), found[node.args[0]]
            wider = 1 + EPS * (math.prod(row.lo.shape[: len(axes)]) - 1)
            ends = np.minimum(row.lo, 0).sum(axes) * wider, np.maximum(row.hi, 0).sum(axes) * wider
            return Interval(*(np.broadcast_to(np.expand_dims(end, node.attrs.axis), (*shape, total)) for end in ends))
        case "gather":
            row = _hull(found[node.args[0]], node.attrs.axis)
            return row.each(lambda end: np.broadcast_to(end, (*shape, total)))
        case "reduce" if node.attrs.kind != "sum":
            return _hull(found[node.args[0]], node.attrs.axes)
    if is_unbounded(node):
        return between(-np.inf, np.inf, (*shape, total))
    parts = [found.get(arg, exactly(np.zeros((*within.nodes[arg].lo.shape, total)))) for arg in node.args]
    if node.family in ("reduce", "cumulate"):
        if getattr(node.attrs, "kind", "sum") != "sum":
            return between(-np.inf, np.inf, (*shape, total))
        # NumPy's sums round at every addition, in an order that is not specified: n ε Σ|x| bounds the error of any
        # order.
        slack = EPS * parts[0].lo.size * _rearranged(node, [parts[0].size], total, within)
        lo, hi = (_rearranged(node, [end], total, within) for end in (parts[0].lo, parts[0].hi))
        return outwards(lo, hi, slack)
    return Interval(
        *(_rearranged(node, ends, total, within) for ends in ([p.lo for p in parts], [p.hi for p in parts]))
    )


def _hull(of: Interval, axes: Any) -> Interval:
    """Return an interval that contains each of the rows, and any mean of them."""
    return Interval(of.lo.min(axes), of.hi.max(axes))


def _rearranged(node: Node, parts: list[Any], total: int, within: Enclosure) -> Any:
    return np.stack([rearranged(node, [part[..., j] for part in parts], within.sizes) for j in range(total)], -1)


def _product(of: Local, within: Enclosure, node: Node, found: dict[int, Interval]) -> Interval:
    p, (a, b) = node.attrs, node.args
    sides = ((a, b, p.a, p.b), (b, a, p.b, p.a))
    return reduce(add, [
        product_of(einsum_of((*mine, COLUMN), theirs, (*p.out, COLUMN)), found[arg], within.nodes[other])
        for arg, other, mine, theirs in sides if arg in of.recurrent
    ])  # fmt: skip


def _normed(within: Enclosure, of: Normed, found: dict[int, Interval]) -> Interval:
    """G (∂x − ρ â (âᵀ ∂x)), of which the second part is no larger than ρ times the length of the column; taking off means makes
    no column longer."""
    inner = found[of.known.x]
    length = np.sqrt(np.sum(inner.size**2, of.known.axes, keepdims=True)) * (1 + 1e-12)
    slope = within.atoms[of.slope].each(lambda end: np.asarray(end)[..., None])
    own = of.known.slopes
    if of.known.is_centred:
        length = length * own.largest
        return multiply(slope, Interval(-length + 0 * inner.lo, length + 0 * inner.hi))
    turned = of.known.turns * own.largest * length * (1 + 1e-12)
    return multiply(slope, add(multiply(between(own.least, own.most), inner), Interval(-turned, turned)))


def _softmax(known: Softmax, y: Interval, found: dict[int, Interval]) -> Interval:
    """y ⊙ (∂x − Σ y ∂x)."""
    inner, own = found[known.x], y.each(lambda end: end[..., None])
    weighted = multiply(own, inner)
    slack = EPS * weighted.lo.size * np.sum(weighted.size, known.axes, keepdims=True)
    lo, hi = (np.sum(end, known.axes, keepdims=True) for end in (weighted.lo, weighted.hi))
    mean = outwards(lo, hi, slack)
    return multiply(own, add(inner, Interval(-mean.hi, -mean.lo)))
