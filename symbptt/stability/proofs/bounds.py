"""Bounds on the norm of a step's Jacobian as formulas: trees of norms of parameters and suprema of elementwise factors.

For example h' = tanh(W h + b) has the bound Sup(((φ', Factor(W)),)), which is sup |φ'| ‖W‖ in either norm. A gated step
h' = z h + (1 − z) a(h) has Sup(((z, One), (1 − z, bound of a))): in the max-norm the supremum is over z for both parts
together, max(1, bound of a) for z in [0, 1], in the 2-norm over each part by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import sympy as sp

from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.shape import Size, broadcast_axes, prod, sign_of, size
from symbptt.stability.algebra.interval import Interval
from symbptt.stability.algebra.polynomials import Local, Normed, Softmax, terms
from symbptt.stability.proofs.enclosure import Enclosure, is_unbounded, largest


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
    """A number of elements to a power: the norm of a sum or a repetition."""

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
    """The greatest of bounds: concatenated rows, in the max-norm."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Root:
    """The square root of the sum of squares of bounds: concatenated rows, in the 2-norm."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Sup:
    """The supremum of Σ |p| bound over the atoms of the polynomials p."""

    parts: tuple[tuple[sp.Expr, Tree], ...]


@dataclass(frozen=True)
class Shared:
    """The bound of a value on ‖∂value/∂s‖, by name: a long one, that values after it read instead of repeating it."""

    node: int
    of_state: str | None
    tree: Tree = field(compare=False, repr=False)


Tree = One | Factor | Count | Times | Plus | Greatest | Root | Sup | Shared
ZERO = Plus(())
ONE = One()
LONGEST, SHORT = 100, 10
"""A bound of more than LONGEST parts, which inner rounds would double from round to round, shares those that are not SHORT."""


def bound(of: Local, norm: str, to: str, of_state: str | None = None) -> Tree:
    """Return a bound on ‖∂s'_to/∂s‖ for one state s, or for the whole state."""
    # Sharing repeated bounds costs a reader a name, so that it is tried only if the plain formula is too long.
    whole = _bound(of, norm, to, of_state, LONGEST)
    return whole if _is_short(whole) else _bound(of, norm, to, of_state, SHORT)


def _is_short(tree: Tree) -> bool:
    return length(tree) <= LONGEST and not shared_in([tree])


def _bound(of: Local, norm: str, to: str, of_state: str | None, most: int) -> Tree:
    found: dict[int, Tree] = {}
    last = of.step.next[to]
    for id in of.graph.ancestors([last]):
        node = of.graph[id]
        if id not in of.recurrent:
            found[id] = ZERO
        elif node.family == "leaf":
            found[id] = ONE if of_state in (None, node.attrs.name) else ZERO
        else:
            tree = _tree(of, norm, node, found)
            found[id] = Shared(id, of_state, tree) if id != last and length(tree) > most else tree
    whole = found[last]
    return whole.tree if isinstance(whole, Shared) else whole


def parts_of(tree: Tree) -> tuple[Tree, ...]:
    """Return the bounds that a bound is made of; of a shared one, that which its name stands for."""
    match tree:
        case Times(parts) | Plus(parts) | Greatest(parts) | Root(parts):
            return parts
        case Sup(parts):
            return tuple(part for _, part in parts)
        case Shared():
            return (tree.tree,)
    return ()


def length(tree: Tree) -> int:
    """Return how many parts a bound has as it is written, a shared one being one."""
    count, open_ = 0, [tree]
    while open_:
        part = open_.pop()
        count += len(part.parts) if isinstance(part, Sup) else 1
        open_ += () if isinstance(part, Shared) else parts_of(part)
    return count


def shared_in(trees: Iterable[Tree]) -> tuple[Shared, ...]:
    """Return the shared bounds in some bounds, each behind those that it reads."""
    found: set[Shared] = set()
    open_ = list(trees)
    while open_:
        tree = open_.pop()
        if not isinstance(tree, Shared) or tree not in found:
            found |= {tree} if isinstance(tree, Shared) else set()
            open_ += parts_of(tree)
    return tuple(sorted(found, key=lambda shared: (shared.node, shared.of_state or "")))


T = TypeVar("T")


def folded(tree: Tree, visit: Callable[[Tree, Mapping[Shared, T]], T]) -> T:
    """Return the result of `visit` on a bound, from its results on the shared ones, each of which is visited once."""
    known: dict[Shared, T] = {}
    for shared in shared_in([tree]):
        known[shared] = visit(shared.tree, known)
    return visit(tree, known)


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
            # Several indices may be one: rows that are read so often are a repetition, rows written so often a sum.
            count = prod(g.shape(args[1]))
            is_repeated = node.attrs.kind == "gather" and norm == "max"
            return found[args[0]] if is_repeated else times(found[args[0]], _count(count, norm, sp.S.One))
        case "cumulate":
            # The lower triangle of ones has the max-norm n and a 2-norm of about 2n/π: n bounds both.
            return times(found[args[0]], Count(node.shape[node.attrs.axis], sp.S.One))
        case "algebra" | "rounds" | "settled":
            return Count(2, sp.oo) if is_unbounded(node) else found[args[0]]
        case "reduce" if node.attrs.kind == "sum":
            count = prod(g.shape(args[0])[axis] for axis in node.attrs.axes)
            return times(found[args[0]], _count(count, norm, sp.S.One))
        case "reduce":
            return found[args[0]]
    if node.attrs.kind == "concatenate":
        return greatest(found[arg] for arg in args) if norm == "max" else root(_rows(g, args, found))
    if node.attrs.kind == "expand":
        return times(found[args[0]], _repeated(of, norm, args[0], node.shape))
    return found[args[0]]


def _map(of: Local, norm: str, node: Node, found: dict[int, Tree]) -> Tree:
    if node.id in of.softmaxes:
        return _softmax(of.softmaxes[node.id], found)
    if node.id in of.scaled:
        return _scaled(of.scaled[node.id], norm, found)
    parts = [
        (p, times(found[base], _repeated(of, norm, base, node.shape)))
        for base, p in terms(of, node.id).items()
        if found[base] != ZERO
    ]
    if not parts:
        return ZERO
    return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else Sup(tuple(parts))


def _softmax(known: Softmax, found: dict[int, Tree]) -> Tree:
    """Bound a softmax's Jacobian by its row sums, 2 y (1 − y): it is symmetric, so that they bound its 2-norm as well."""
    inner = found[known.x]
    if inner == ZERO:
        return ZERO
    parts = inner.parts if isinstance(inner, Sup) else ((sp.S.One, inner),)
    return Sup(tuple((2 * known.slope * p, tree) for p, tree in parts))


def _scaled(of: Normed, norm: str, found: dict[int, Tree]) -> Tree:
    """G (I − ρ â âᵀ), ρ in [0, 2]: |G| in the 2-norm. A row of a projection of n numbers sums to (1 + √n)/2 at the most, of others
    to 1 + ρ √n/2. Slopes of an elementwise function, which differ from its quotients, add ρ (1 + √n)/2 to 1."""
    known, inner = of.known, found[of.known.x]
    if inner == ZERO or norm == "2":
        return ZERO if inner == ZERO else _weighted(_number(known.stretch) * of.slope, inner)
    length, slope = Count(known.count, sp.Rational(1, 2)), _number(known.slopes.largest) * of.slope
    half = sp.Float(known.turns) / 2
    if not known.slopes.is_straight:
        return plus([_weighted(slope, inner), _weighted(slope * half, times(inner, Plus((ONE, length))))])
    if known.is_projection:
        return _weighted(slope / 2, times(inner, Plus((ONE, length))))
    return plus([_weighted(slope, inner), _weighted(slope * half, times(inner, length))])


def _number(value: float) -> sp.Expr:
    return sp.Integer(int(value)) if value == round(value) else sp.Float(value)


def _weighted(p: sp.Expr, inner: Tree) -> Tree:
    parts = inner.parts if isinstance(inner, Sup) else ((sp.S.One, inner),)
    return Sup(tuple((p * q, tree) for q, tree in parts))


def _repeated(of: Local, norm: str, id: int, shape: Any) -> Tree:
    """Return the factor for repeating a value to a shape: nothing in the max-norm."""
    axes = broadcast_axes(of.graph.shape(id), shape)
    return ONE if norm == "max" else _count(prod(shape[axis] for axis in axes), norm, sp.S.One)


def _count(size: Size, norm: str, power: sp.Expr) -> Tree:
    # A row of n ones has the max-norm n and the 2-norm √n.
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


def greatest(parts: Iterable[Tree]) -> Tree:
    """Return the greatest of bounds, each once."""
    kept = tuple(dict.fromkeys(part for part in parts if part != ZERO))
    return ZERO if not kept else kept[0] if len(kept) == 1 else Greatest(kept)


def root(parts: Iterable[Tree]) -> Tree:
    """Return the square root of the sum of squares of bounds; k equal ones are √k times one."""
    counts = Counter(part for part in parts if part != ZERO)
    kept = tuple(times(_count(k, "2", sp.S.One), part) for part, k in counts.items())
    return ZERO if not kept else kept[0] if len(kept) == 1 else Root(kept)


def _rows(g: Graph, args: Sequence[int], found: dict[int, Tree]) -> list[Tree]:
    """The bounds of concatenated values; slices of one value that share no entry are a choice of its rows, whose norm is at
    most that of the value, and count once."""
    bases: dict[int, list[Spans]] = {}
    for arg in args:
        base, spans = slice_of(g, arg)
        bases.setdefault(base, []).append(spans)
    return [
        found[base]
        for base, pieces in bases.items()
        for _ in range(1 if all(apart(a, b) for a, b in combinations(pieces, 2)) else len(pieces))
    ]


Spans = tuple[tuple[Size, Size, int], ...]
"""Start, length and step along each axis."""


def slice_of(g: Graph, id: int) -> tuple[int, Spans]:
    """Return the value that a value is a slice of, and where; transposing and reshaping a slice moves its entries alone."""
    node = g[id]
    while node.family == "view" and node.attrs.kind in ("transpose", "reshape"):
        node = g[node.args[0]]
    if node.family == "view" and node.attrs.kind == "slice":
        return node.args[0], node.attrs.data
    return node.id, tuple((0, size, 1) for size in node.shape)


def apart(a: Spans, b: Spans) -> bool:
    """Return whether two slices of one array are certain to share no entry: along some axis one ends before the other
    begins, or their steps pass each other."""
    return any(
        _ends_before(one, two) or _ends_before(two, one) or _pass(one, two) for one, two in zip(a, b, strict=True)
    )


def _ends_before(one: tuple[Size, Size, int], two: tuple[Size, Size, int]) -> bool:
    first, second = (_range(*span) for span in (one, two))
    return sign_of(size(second[0] - first[1] - 1)) in (0, 1)


def _range(start: Size, length: Size, step: int) -> tuple[Size, Size]:
    """The first and the last index of a slice."""
    end = size(start + (length - 1) * step)
    return (start, end) if step > 0 else (end, start)


def _pass(one: tuple[Size, Size, int], two: tuple[Size, Size, int]) -> bool:
    """Answer whether two slices have one step and differ by no multiple of it."""
    between = size(one[0] - two[0])
    # Slices with a step of 2 from 0 and from 1 alternate and never meet, however long they are.
    return abs(one[2]) == abs(two[2]) and isinstance(between, int) and between % abs(one[2]) != 0


def worth(tree: Tree, of: Local, norm: str, within: Enclosure) -> float:
    """Return the number that a bound is, for the parameters and ranges of an enclosure."""
    return folded(tree, lambda part, known: _worth(part, norm, within, known))


def _worth(tree: Tree, norm: str, within: Enclosure, known: Mapping[Shared, float]) -> float:
    match tree:
        case One():
            return 1.0
        case Shared():
            return known[tree]
        case Factor():
            return factor_norm(tree, norm, within.nodes[tree.node])
        case Count(size, power):
            return float(within.shape((size,))[0] ** float(power))
        case Times(parts):
            values = [_worth(part, norm, within, known) for part in parts]
            # A factor of zero makes the path vanish, even where another factor has no bound: 0 · ∞ would be NaN.
            return 0.0 if 0.0 in values else float(np.prod(values))
        case Plus(parts):
            return float(sum(_worth(part, norm, within, known) for part in parts))
        case Greatest(parts):
            return max(_worth(part, norm, within, known) for part in parts)
        case Root(parts):
            return float(np.linalg.norm([_worth(part, norm, within, known) for part in parts]))
    ranges = scalar_ranges(tree, within)
    values = [_worth(part, norm, within, known) for _, part in tree.parts]
    if norm == "max":
        return float(largest(tuple(p for p, _ in tree.parts), values, ranges))
    # In the 2-norm the norms of diag(p) add up by the triangle inequality; in the max-norm one row has the same z in
    # all its terms.
    return float(sum(largest((p,), [v], ranges) for (p, _), v in zip(tree.parts, values, strict=True)))


def scalar_ranges(tree: Sup, within: Enclosure) -> dict[sp.Symbol, Interval]:
    """Return for each atom of a supremum the range over all of its elements."""
    used = {s for p, _ in tree.parts for s in p.free_symbols}
    return {s: Interval(within.atoms[s].lo.min(), within.atoms[s].hi.max()) for s in used}


def factor_norm(factor: Factor, norm: str, value: Interval) -> float:
    """Return the norm of a product with a fixed operand, or the largest over an interval of operands."""
    # A matrix of sizes has norms no smaller than any matrix in the interval.
    matrix = value.lo if value.is_exact else value.size
    if not np.isfinite(matrix).all():
        return np.inf
    # Axes that both operands and the result share make the operator block diagonal: its norm is the largest of the
    # blocks'.
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
