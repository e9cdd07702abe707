"""Spectral norms of the blocks of a step's Jacobian, bounded over an enclosure.

Structure is exploited: over all |d| ≤ d_max the norm of diag(d) W is that of diag(d_max) W, one matrix and no interval.

For example tanh'(a) ⊙ (W h): diag(d) W with d in [0, 1] has at most the norm of W, since ‖diag(d)‖ ≤ 1. An interval matrix
with entries [0, w_ij] would be bounded by the norm of |W|, up to √n times larger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.ir.node import Node
from symbptt.ir.shape import broadcast_axes, with_ones
from symbptt.stability.algebra.polynomials import Local, Normed, Softmax, terms
from symbptt.stability.proofs.enclosure import MONOTONE, Enclosure, largest_within, spans

DEEPEST = 4
"""Beyond so many products in a chain each value has one norm, found once."""
WIDEST = 500
"""Chains of values with weights of their own, at the most: inner rounds have as many as they have ways through them."""


@dataclass(frozen=True)
class _Chains:
    of: Local
    within: Enclosure
    state: int
    closed: dict[int, float] = field(default_factory=dict)
    walked: list[int] = field(default_factory=list)

    def shape(self, id: int) -> tuple[int, ...]:
        return self.within.shape(self.of.graph.shape(id))

    def reaches(self, id: int) -> bool:
        return id in self.reached

    @cached_property
    def reached(self) -> frozenset[int]:
        """The nodes that the state enters."""
        return frozenset(self.of.graph.descendants([self.state]))


def block_norms(of: Local, within: Enclosure) -> Any:
    """Return N with N[i, j] ≥ ‖∂s'_i/∂s_j‖₂ for the states i, j, in their order; its own norm bounds that of the whole."""
    names = list(of.step.next)
    found = np.zeros((len(names), len(names)))
    for j, state in enumerate(names):
        chains = _Chains(of, within, of.step.leaves[state])
        for i, to in enumerate(names):
            id = of.step.next[to]
            found[i, j] = _norm(chains, id, np.ones(chains.shape(id)), 0)
    return found


def _norm(c: _Chains, id: int, left: Any, depth: int) -> float:
    """A bound on ‖diag(left) ∂value/∂state‖₂."""
    if id == c.state:
        return float(np.max(left, initial=0.0))
    if not c.reaches(id) or not left.any():
        return 0.0
    # Weights make a bound sharp, but a value is then visited once for each path to it: beyond a depth its own norm,
    # found once, is multiplied instead.
    if depth > DEEPEST or len(c.walked) >= WIDEST:
        return float(_times(left.max(), _alone(c, id)))
    c.walked.append(id)
    return _rule(c, c.of.graph[id], left, depth)


def _alone(c: _Chains, id: int) -> float:
    """A bound on ‖∂value/∂state‖₂; of the values before it first, so that long chains are no deep calls."""
    for inner in c.of.graph.ancestors([id]) if id not in c.closed else ():
        if inner not in c.closed and inner != c.state and c.reaches(inner):
            c.closed[inner] = _rule(c, c.of.graph[inner], np.ones(c.shape(inner)), DEEPEST)
    return c.closed[id]


def _rule(c: _Chains, node: Node, left: Any, depth: int) -> float:
    match node.family:
        case "map" if node.id in c.of.softmaxes:
            return _softmax(c, c.of.softmaxes[node.id], left, depth)
        case "map" if node.id in c.of.scaled:
            return _normed(c, c.of.scaled[node.id], left, depth)
        case "map":
            return float(sum(_norm(c, base, w, depth + 1) for base, w in _parts(c, node.id, left)))
        case "contract":
            return _contract(c, node, left, depth)
        case "gather" if node.attrs.kind == "scatter":
            # Indices that are all the same add up their rows: as many ones in a row have the norm √ of their number.
            row = left.max(node.attrs.axis)
            whole = np.broadcast_to(row, c.shape(node.args[0]))
            return float(np.sqrt(_read_at_once(c, node))) * _norm(c, node.args[0], whole, depth + 1)
        case "gather":
            rank = len(c.of.graph.shape(node.args[1]))
            row = left.max(tuple(range(rank)), initial=0.0) if rank else np.expand_dims(left, node.attrs.axis)
            whole = np.broadcast_to(row, c.shape(node.args[0]))
            return float(np.sqrt(_read_at_once(c, node))) * _norm(c, node.args[0], whole, depth + 1)
        case "cumulate":
            n = c.shape(node.id)[node.attrs.axis]
            # A running sum is a product with a lower triangular matrix of ones along the axis.
            ones = np.linalg.norm(np.tri(n), 2) * left.max()
            return float(_times(ones, _norm(c, node.args[0], np.ones_like(left), depth + 1)))
        case "algebra" if node.attrs.name in MONOTONE:
            return float(
                _times(left.max(initial=0.0), _norm(c, node.args[0], np.ones(c.shape(node.args[0])), depth + 1))
            )
        case "algebra" | "rounds" | "settled":
            return np.inf
        case "reduce":
            kept = with_ones(c.shape(node.args[0]), node.attrs.axes)
            whole = np.broadcast_to(left.reshape(kept), c.shape(node.args[0]))
            count = whole.size / max(left.size, 1) if node.attrs.kind == "sum" else 1.0
            # The sum over n entries is a row of n ones, whose norm is √n; a maximum picks one entry and has the norm
            # 1.
            return float(np.sqrt(count)) * _norm(c, node.args[0], whole, depth + 1)
    return float(
        np.sqrt(
            sum(np.square(_norm(c, base, np.sqrt(w), depth + 1)) for base, w in _gathered(c, node, left**2).items())
        )
    )


def _read_at_once(c: _Chains, node: Node) -> int:
    """Return how many rows of a table are read or written at once."""
    return int(np.prod(c.within.shape(c.of.graph.shape(node.args[1]))))


def _softmax(c: _Chains, known: Softmax, left: Any, depth: int) -> float:
    """Bound the path through a softmax: its Jacobian is symmetric, so that its norm is at most its largest row sum, and commutes
    with one weight for all entries."""
    slope = np.broadcast_to(c.within.atoms[known.slope].size, left.shape)
    weight = 2 * slope.max(known.axes, keepdims=True, initial=0.0) * left.max(known.axes, keepdims=True, initial=0.0)
    return _norm(c, known.x, np.broadcast_to(weight, left.shape), depth + 1)


def _normed(c: _Chains, of: Normed, left: Any, depth: int) -> float:
    """A value that is scaled by its own length: G (I − ρ â âᵀ), which has the norm |G|, with one number for each length; of an
    elementwise function of it, |G| times its stretch."""
    known = of.known
    slope = known.stretch * np.broadcast_to(c.within.atoms[of.slope].size, left.shape)
    weight = _times(slope.max(known.axes, keepdims=True, initial=0.0), left.max(known.axes, keepdims=True, initial=0.0))
    return _norm(c, known.x, np.broadcast_to(weight, left.shape), depth + 1)


def _gathered(c: _Chains, node: Node, squares: Any) -> dict[int, Any]:
    """The squared weights of the values that a view, or views of views, put together, by value.

    ‖diag(d) S A‖ for a matrix S of choices and repetitions is ‖diag(w) A‖ with w² = Sᵀ d², so that what stands at several
    places of one view is weighed once.
    """
    found: dict[int, Any] = {}
    for arg, own in _view(c, node, squares):
        inner = c.of.graph[arg]
        parts = _gathered(c, inner, own) if inner.family == "view" and c.reaches(arg) else {arg: own}
        for base, w in parts.items():
            found[base] = found.get(base, 0.0) + w
    return found


def _parts(c: _Chains, id: int, left: Any) -> list[tuple[int, Any]]:
    """The bases of an elementwise value with the weights that each is multiplied by at the most."""
    found = []
    for base, p in terms(c.of, id).items():
        if base == c.state or c.reaches(base):
            weight = largest_within((p,), [left], c.within)
            found.append((base, _folded(np.broadcast_to(weight, left.shape), c.shape(base))))
    return found


def _folded(left: Any, shape: tuple[int, ...]) -> Any:
    """The weights of a value that was repeated: repetition is a matrix with orthogonal columns."""
    axes = broadcast_axes(shape, left.shape)
    return np.sqrt((left**2).sum(axes)).reshape(shape) if axes else left


def _view(c: _Chains, node: Node, squares: Any) -> list[tuple[int, Any]]:
    """The arguments of a view with the squared weights pulled back to them."""
    attrs, x = node.attrs, node.args[0]
    match attrs.kind:
        case "transpose":
            return [(x, np.transpose(squares, np.argsort(attrs.data)))]
        case "reshape":
            return [(x, squares.reshape(c.shape(x)))]
        case "expand":
            return [(x, squares.sum(broadcast_axes(c.shape(x), squares.shape)).reshape(c.shape(x)))]
        case "slice":
            whole = np.zeros(c.shape(x))
            whole[spans(attrs.data, c.within.sizes)] = squares
            return [(x, whole)]
    cuts = np.cumsum([c.shape(arg)[attrs.data[0]] for arg in node.args])[:-1]
    return list(zip(node.args, np.split(squares, cuts, attrs.data[0]), strict=True))


def _contract(c: _Chains, node: Node, left: Any, depth: int) -> float:
    p, (a, b), found = node.attrs, node.args, 0.0
    for arg, other, mine, theirs in ((a, b, p.a, p.b), (b, a, p.b, p.a)):
        if arg == c.state or c.reaches(arg):
            found += _through(c, arg, _Factor(c, other, mine, theirs, p.out, left), depth)
    return found


def _through(c: _Chains, arg: int, factor: _Factor, depth: int) -> float:
    """A bound on ‖diag(left) M ∂arg/∂state‖₂ for the fixed operand M."""
    if c.of.graph[arg].family != "map":
        own = np.ones(c.shape(arg))
        return float(_times(factor.norm(own), 1.0 if arg == c.state else _norm(c, arg, own, depth + 1)))
    found = 0.0
    for base, w in _parts(c, arg, np.ones(c.shape(arg))):
        if base == c.state and w.shape == c.shape(arg):
            # The weights of the state's own elements are columns of the operator and stay inside the norm; other
            # values have a norm of their own, and only their largest weight can be drawn in front.
            found += factor.norm(w)
        else:
            largest_weight = float(w.max(initial=0.0))
            # Relative to their largest the weights stay within [0, 1], and the largest multiplies the bound from
            # outside.
            share = w / largest_weight if 0 < largest_weight < np.inf else w
            size = factor.norm(np.ones(c.shape(arg)))
            found += float(_times(_times(size, largest_weight), _norm(c, base, share, depth + 1)))
    return found


@dataclass(frozen=True)
class _Factor:
    """The fixed operand of a product as an operator, with the weights of its result."""

    c: _Chains
    other: int
    mine: tuple[int, ...]
    theirs: tuple[int, ...]
    out: tuple[int, ...]
    left: Any

    def norm(self, right: Any) -> float:
        """‖diag(left) M diag(right)‖₂: the largest over the axes that all three share; sizes where M is no fixed number."""
        known = self.c.within.nodes[self.other]
        # |M| entry by entry bounds the 2-norm of every M in the interval, since a matrix of sizes has a norm that is
        # no smaller.
        m = known.lo if known.is_exact else known.size
        batch = [x for x in self.theirs if x in self.mine and x in self.out]
        rows = [x for x in self.theirs if x not in self.mine]
        columns = [x for x in self.theirs if x in self.mine and x not in self.out]
        m = np.transpose(m, [self.theirs.index(x) for x in (*batch, *rows, *columns)])
        left = _kept(self.left, self.out, [*batch, *rows])
        right = _kept(right, self.mine, [*batch, *columns])
        m = _times(m, left.reshape((*left.shape, *(1,) * len(columns))))
        lead = right.shape[: len(batch)]
        m = _times(m, right.reshape((*lead, *(1,) * len(rows), *right.shape[len(batch) :])))
        if not np.isfinite(m).all():
            return np.inf
        shape = m.shape[: len(batch)], m.shape[len(batch) : len(batch) + len(rows)], m.shape[len(batch) + len(rows) :]
        flat = m.reshape(*(int(np.prod(part)) for part in shape))
        return float(np.linalg.norm(flat, 2, axis=(1, 2)).max(initial=0.0)) if flat.size else 0.0


def _times(a: Any, b: Any) -> Any:
    """A product of bounds: a term of weight 0 adds nothing, even where it has no bound."""
    with np.errstate(all="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, a * b)


def _kept(weights: Any, labels: tuple[int, ...], wanted: list[int]) -> Any:
    """Weights over some of their axes, in this order; the largest over the others."""
    rest = tuple(i for i, x in enumerate(labels) if x not in wanted)
    kept = [x for x in labels if x in wanted]
    found = weights.max(rest) if rest else weights
    return np.transpose(found, [kept.index(x) for x in wanted])
