"""Bounds on the norm of a step's Jacobian as formulas: trees of norms of parameters and suprema of elementwise factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt.ir.node import Node
from symbptt.ir.shape import Size, broadcast_axes, prod
from symbptt.stability.enclosure import Enclosure, largest
from symbptt.stability.interval import Interval
from symbptt.stability.local import Local, terms


@dataclass(frozen=True)
class One:
    """The identity, or a choice of entries: 1 in either norm."""


@dataclass(frozen=True)
class Factor:
    """The norm of a product with a fixed operand, a node, as an operator on the other; labels as in the product."""

    node: int
    mine: tuple[int, ...]
    theirs: tuple[int, ...]
    out: tuple[int, ...]


@dataclass(frozen=True)
class Count:
    """A number of elements to a power: what a sum or a repetition costs."""

    size: Size
    power: sp.Expr


@dataclass(frozen=True)
class Times:
    """A product of bounds."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Plus:
    """A sum of bounds."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Greatest:
    """The greatest of bounds: rows beside rows, in the max-norm."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Sup:
    """The supremum of Σ |p| bound over the atoms of the polynomials p."""

    parts: tuple[tuple[sp.Expr, Tree], ...]


Tree = One | Factor | Count | Times | Plus | Greatest | Sup
ZERO = Plus(())
ONE = One()


def bound(of: Local, norm: str, to: str, of_state: str | None = None) -> Tree:
    """Return a bound on ‖∂s'_to/∂s‖ for one state s, or for the whole state."""
    found: dict[int, Tree] = {}
    for id in of.graph.ancestors([of.step.next[to]]):
        node = of.graph[id]
        if id not in of.recurrent:
            found[id] = ZERO
        elif node.family == "leaf":
            found[id] = ONE if of_state in (None, node.attrs.name) else ZERO
        else:
            found[id] = _tree(of, norm, node, found)
    return found[of.step.next[to]]


def _tree(of: Local, norm: str, node: Node, found: dict[int, Tree]) -> Tree:
    g, args = of.graph, node.args
    match node.family:
        case "map":
            return _map(of, norm, node, found)
        case "contract":
            p, (a, b) = node.attrs, args
            sides = ((a, b, p.a, p.b), (b, a, p.b, p.a))
            return plus([times(found[x], Factor(y, mine, theirs, p.out)) for x, y, mine, theirs in sides])
        case "gather":
            return found[args[0]]
        case "cumulate":
            return times(found[args[0]], Count(node.shape[node.attrs.axis], sp.S.One))
        case "reduce" if node.attrs.kind == "sum":
            count = prod(g.shape(args[0])[axis] for axis in node.attrs.axes)
            return times(found[args[0]], _count(count, norm, sp.S.One))
        case "reduce":
            return found[args[0]]
    if node.attrs.kind == "concatenate":
        parts = tuple(dict.fromkeys(found[arg] for arg in args if found[arg] != ZERO))
        return parts[0] if len(parts) == 1 and norm == "max" else (Greatest(parts) if norm == "max" else plus(parts))
    if node.attrs.kind == "expand":
        return times(found[args[0]], _repeated(of, norm, args[0], node.shape))
    return found[args[0]]


def _map(of: Local, norm: str, node: Node, found: dict[int, Tree]) -> Tree:
    parts = [
        (p, times(found[base], _repeated(of, norm, base, node.shape)))
        for base, p in terms(of, node.id).items()
        if found[base] != ZERO
    ]
    if not parts:
        return ZERO
    return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else Sup(tuple(parts))


def _repeated(of: Local, norm: str, id: int, shape: Any) -> Tree:
    """What it costs to repeat a value to a shape: nothing in the max-norm."""
    axes = broadcast_axes(of.graph.shape(id), shape)
    return ONE if norm == "max" else _count(prod(shape[axis] for axis in axes), norm, sp.S.One)


def _count(size: Size, norm: str, power: sp.Expr) -> Tree:
    return ONE if size == 1 else Count(size, power / 2 if norm == "2" else power)


def times(*parts: Tree) -> Tree:
    """Return a product of bounds, flat."""
    if ZERO in parts:
        return ZERO
    flat = [q for p in parts for q in (p.parts if isinstance(p, Times) else (p,)) if q != ONE]
    return ONE if not flat else flat[0] if len(flat) == 1 else Times(tuple(flat))


def plus(parts: Any) -> Tree:
    """Return a sum of bounds, flat."""
    flat = [q for p in parts for q in (p.parts if isinstance(p, Plus) else (p,))]
    return flat[0] if len(flat) == 1 else Plus(tuple(flat))


def worth(tree: Tree, of: Local, norm: str, within: Enclosure) -> float:
    """Return the number that a bound is, for the parameters and ranges of an enclosure."""
    match tree:
        case One():
            return 1.0
        case Factor():
            return factor_norm(tree, norm, within.nodes[tree.node])
        case Count(size, power):
            return float(within.shape((size,))[0] ** float(power))
        case Times(parts):
            values = [worth(part, of, norm, within) for part in parts]
            return 0.0 if 0.0 in values else float(np.prod(values))
        case Plus(parts):
            return float(sum(worth(part, of, norm, within) for part in parts))
        case Greatest(parts):
            return max(worth(part, of, norm, within) for part in parts)
    ranges = scalar_ranges(tree, within)
    values = [worth(part, of, norm, within) for _, part in tree.parts]
    if norm == "max":
        return float(largest(tuple(p for p, _ in tree.parts), values, ranges))
    return float(sum(largest((p,), [v], ranges) for (p, _), v in zip(tree.parts, values, strict=True)))


def scalar_ranges(tree: Sup, within: Enclosure) -> dict[sp.Symbol, Interval]:
    """Return for each atom of a supremum the range over all of its elements."""
    used = {s for p, _ in tree.parts for s in p.free_symbols}
    return {s: Interval(within.atoms[s].lo.min(), within.atoms[s].hi.max()) for s in used}


def factor_norm(factor: Factor, norm: str, value: Interval) -> float:
    """Return the norm of a product with a fixed operand, or the largest over an interval of operands."""
    matrix = value.lo if value.is_exact else value.size
    if not np.isfinite(matrix).all():
        return np.inf
    batch = [x for x in factor.theirs if x in factor.mine and x in factor.out]
    rows = [x for x in factor.theirs if x not in factor.mine]
    columns = [x for x in factor.theirs if x in factor.mine and x not in factor.out]
    turned = np.transpose(matrix, [factor.theirs.index(x) for x in (*batch, *rows, *columns)])
    first, second = len(batch), len(batch) + len(rows)
    flat = turned.reshape(
        *(int(np.prod(s)) for s in (turned.shape[:first], turned.shape[first:second], turned.shape[second:]))
    )
    if norm == "max":
        return float(np.abs(flat).sum(-1).max(initial=0.0))
    return float(np.linalg.norm(flat, 2, axis=(1, 2)).max(initial=0.0))
