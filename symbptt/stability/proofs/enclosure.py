"""Intervals that contain every value of a step, for known parameters and boxes of inputs and states.

For example |z| w + |1 − z| v for z in [0.2, 0.9]: both parts read z and are affine in it, so that the sum is convex in z and
is largest at an end. `corners` finds z, and `largest` evaluates at 0.2 and 0.9: max(0.2 w + 0.8 v, 0.9 w + 0.1 v), where the
parts by themselves would give 0.9 w + 0.8 v.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np
import sympy as sp

from symbptt.dense import of_matrices
from symbptt.ir.node import Node, placeholder
from symbptt.ir.shape import Shape, named_size
from symbptt.language.init import concrete
from symbptt.stability.activations.suprema import slope_range
from symbptt.stability.algebra import interval
from symbptt.stability.algebra.atoms import symbol
from symbptt.stability.algebra.factors import factors_of, is_bent
from symbptt.stability.algebra.interval import Interval, between, common, everything, exactly
from symbptt.stability.algebra.maximum_gap import D, Gap
from symbptt.stability.algebra.polynomials import Atom, Local, value
from symbptt.stability.algebra.ranges import reach
from symbptt.stability.algebra.unit_vectors import Scaled

EPS = float(np.finfo(np.float64).eps)
TINIEST, UNDERFLOWS = 5e-324, 1e-280
"""The smallest float; rounding of a product below the other is not relative to it."""
CORNERS = 5
"""Atoms whose ends are tried in all combinations, at the most."""


@dataclass(frozen=True)
class Enclosure:
    """An interval for each node of a step and for each atom of its elementwise parts."""

    nodes: dict[int, Interval]
    atoms: dict[sp.Symbol, Interval]
    sizes: dict[sp.Symbol, int]
    found: dict[tuple[sp.Expr, ...], list[list[Any]]] = field(default_factory=dict)

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """Return a shape in numbers."""
        return _concrete(shape, tuple(self.sizes.items()))


@cache
def _concrete(shape: Shape, sizes: tuple[tuple[sp.Symbol, int], ...]) -> tuple[int, ...]:
    return concrete(shape, dict(sizes))


def enclose(
    of: Local, leaves: Mapping[str, Interval], sizes: Mapping[str, int], known: Mapping[int, Interval] | None = None,
    *, slopes: bool = True,
) -> Enclosure:  # fmt: skip
    """Return intervals for all values of a step from those of its leaves, by name; `known` ones are intersected with the given ones.

    Without `slopes` only the atoms that values are made of have theirs.
    """
    named = {named_size(name): size for name, size in sizes.items()}
    found = Enclosure({}, {}, named)
    pending = iter([(s, atom) for s, atom in of.atoms.items() if slopes or s in of.in_values])
    waiting = next(pending, None)
    for node in of.graph:
        here = _node(of, found, node, leaves)
        if known and node.id in known:
            here = common(here, known[node.id])
        found.nodes[node.id] = found.atoms[symbol(node.id)] = here
        # Atoms come in the order in which they were made: each is evaluated as soon as all that it reads is known,
        # for later nodes read it.
        while waiting is not None and waiting[1].expr.free_symbols <= found.atoms.keys():
            found.atoms[waiting[0]] = _atom(of, found, waiting[1])
            waiting = next(pending, None)
    return found


def _atom(of: Local, found: Enclosure, atom: Atom) -> Interval:
    here = common(interval.evaluate(atom.expr, found.atoms), of.order.of_expression(atom.expr, found.atoms))
    if atom.slope is not None:
        (root,) = atom.expr.free_symbols
        return common(here, reach(atom.slope, found.atoms[root]))
    if not atom.slope_of:
        return here
    # The slope of a function of the table has a known range over all numbers, sharper than intervals of its formula
    # far out.
    least, most = slope_range(atom.slope_of)
    return Interval(np.maximum(here.lo, least), np.minimum(here.hi, most))


def _node(of: Local, found: Enclosure, node: Node, leaves: Mapping[str, Interval]) -> Interval:
    shape = found.shape(node.shape)
    match node.family:
        case "leaf" if node.attrs.role == "size":
            return exactly(float(sp.sympify(_size(node, found))))
        case "leaf" if node.attrs.role == "eye":
            return exactly(np.eye(shape[0]))
        case "leaf":
            return leaves.get(node.attrs.name, everything(shape))
        case "number":
            return exactly(np.reshape(np.asarray(node.attrs.value, np.float64), shape))
        case "map":
            return _map(of, found, node)
        case "contract":
            return _contract(node, *(found.nodes[arg] for arg in node.args))
        case "gather":
            table, rank = found.nodes[node.args[0]], len(of.graph.shape(node.args[1]))
            if node.attrs.kind == "scatter":  # zeros but for one row, of which several indices may be one
                axes, wider = tuple(range(rank)), 1 + EPS * (math.prod(table.lo.shape[:rank]) - 1)
                both = (end.sum(axes) * wider for end in (np.minimum(table.lo, 0), np.maximum(table.hi, 0)))
                return Interval(*(np.broadcast_to(np.expand_dims(end, node.attrs.axis), shape) for end in both))
            ends = table.lo.min(node.attrs.axis), table.hi.max(node.attrs.axis)
            return Interval(*(np.broadcast_to(end, shape) for end in ends))
    if is_unbounded(node):
        return everything(shape)
    parts = [found.nodes[arg] for arg in node.args]
    lo = rearranged(node, [part.lo for part in parts], found.sizes)
    hi = rearranged(node, [part.hi for part in parts], found.sizes)
    if node.family in ("reduce", "cumulate") and getattr(node.attrs, "kind", "sum") == "sum":
        sizes = [rearranged(node, [np.abs(end)], found.sizes) for end in (parts[0].lo, parts[0].hi)]
        slack = [EPS * parts[0].lo.size * size for size in sizes]  # each end has its own: one may be infinite
        return common(interval.outwards(lo - slack[0], hi + slack[1]), _least_sum(of, node, parts[0]))
    return Interval(lo, hi)


def _least_sum(of: Local, node: Node, terms: Interval) -> Interval:
    """Return a lower bound of a sum of terms that are not negative, one of which lies where x − max x is 0."""
    gap = of.gaps.get(node.args[0])
    if gap is None or node.family != "reduce" or not set(gap.axes) <= set(node.attrs.axes) or (terms.lo < 0).any():
        return everything()
    return between(interval.evaluate(gap.expr, {D: exactly(0.0)}).lo, np.inf)


def _size(node: Node, found: Enclosure) -> Any:
    """The number that a size such as 2*n is; its text is symbptt's own."""
    expr = sp.sympify(0)
    for term in node.attrs.name.replace("-", "+-").split("+"):
        factors = [f for f in term.removeprefix("-").split("*") if f]
        if factors:
            part = sp.prod([int(f) if f.isdecimal() else found.sizes[named_size(f)] for f in factors])
            expr += -part if term.startswith("-") else part
    return expr


def _map(of: Local, found: Enclosure, node: Node) -> Interval:
    parts = {placeholder(i): found.nodes[arg] for i, arg in enumerate(node.args)}
    same = {placeholder(i): placeholder(node.args.index(arg)) for i, arg in enumerate(node.args)}  # x x is a square
    here = interval.evaluate(node.attrs.expr.xreplace(same), parts)
    here = common(here, of.order.of_node(node, found.nodes, found.atoms))
    if node.id in of.gaps:
        here = common(here, _below_maximum(found, of.gaps[node.id]))
    polynomial = value(of, node.id)
    if polynomial != symbol(node.id) and polynomial.free_symbols and polynomial.free_symbols <= found.atoms.keys():
        here = common(here, extent(polynomial, found.atoms))
    if node.id in of.softmaxes:
        here = common(here, between(0.0, 1.0))
    if node.id in of.scaled:
        here = common(here, _of_length(found, of.scaled[node.id].known))
    if node.id in of.composed:
        root, function = of.composed[node.id]
        here = common(here, reach(function, found.nodes[root]))
    shape = found.shape(node.shape)
    return here.each(lambda end: np.broadcast_to(end, shape))


def _of_length(found: Enclosure, known: Scaled) -> Interval:
    """The range of a value that is scaled by its own length: no element is larger than that."""
    count = found.shape((known.count,))[0] if known.is_mean else 1
    size = known.reach if count == 1 else known.reach * np.sqrt(count) * (1 + EPS)
    return between(-size, size)


def _below_maximum(found: Enclosure, gap: Gap) -> Interval:
    """The range of a function of x − max x, which is at most 0."""
    x, top = found.nodes[gap.x], found.nodes[gap.top]
    apart = interval.add(x, Interval(-top.hi, -top.lo))
    return interval.evaluate(gap.expr, {D: common(apart, between(-np.inf, 0.0))})


def _contract(node: Node, a: Interval, b: Interval) -> Interval:
    p = node.attrs
    wide = product_of(einsum_of(p.a, p.b, p.out), a, b)
    squares = node.args[0] == node.args[1] and p.a == p.b
    positive = squares or ((a.lo >= 0).all() and (b.lo >= 0).all())
    return common(wide, between(0.0, np.inf)) if positive else wide


def product_of(spec: str, a: Interval, b: Interval) -> Interval:
    """Return a product, as einsum, by midpoints and radii, with a bound on its rounding; an infinite factor bounds nothing."""
    (ma, ra, ia), (mb, rb, ib) = _middle(a), _middle(b)
    count = _length(spec, a.lo.shape, b.lo.shape) + 2
    with np.errstate(all="ignore"):
        sizes = np.einsum(spec, np.abs(ma), np.abs(mb))
        # (ma ± ra)(mb ± rb) differs from ma mb by at most |ma| rb + ra |mb| + ra rb; the slack is for n additions and
        # products in floats.
        radius = np.einsum(spec, np.abs(ma) + ra, rb) + np.einsum(spec, ra, np.abs(mb))
        slack = radius * (1 + 8 * EPS * count) + 4 * EPS * count * sizes
        centre = np.einsum(spec, ma, mb)
        if _least(ma, ra) * _least(mb, rb) < UNDERFLOWS:
            # What underflows errs by the smallest float, relative to nothing; products with 0 stay exact.
            counts = np.einsum(spec, (np.abs(ma) + ra > 0) * 1.0, (np.abs(mb) + rb > 0) * 1.0)
            slack = slack + 8 * counts * TINIEST
        lo, hi = centre - slack, centre + slack
    # Where products overflow nothing is known of their sum: ∞ − ∞ would be NaN.
    lost = ~(np.isfinite(centre) & np.isfinite(slack))
    if ia.any() or ib.any():
        # An infinite factor bounds nothing, unless the other one is exactly zero.
        lost |= (np.einsum(spec, ia * 1.0, (b.size > 0) * 1.0) + np.einsum(spec, (a.size > 0) * 1.0, ib * 1.0)) > 0
    return Interval(np.where(lost, -np.inf, lo), np.where(lost, np.inf, hi))


def _least(middle: Any, radius: Any) -> float:
    """The least size of a factor that is not 0."""
    size = np.abs(middle) + radius
    return float(np.min(size, where=size > 0, initial=np.inf))


def _length(spec: str, *shapes: tuple[int, ...]) -> int:
    """Count the products that each entry of an einsum adds up."""
    operands, out = spec.split("->")
    sizes = {
        x: n
        for labels, shape in zip(operands.split(","), shapes, strict=True)
        for x, n in zip(labels, shape, strict=True)
    }
    return int(np.prod([n for x, n in sizes.items() if x not in out]))


def _middle(x: Interval) -> tuple[Any, Any, Any]:
    """Midpoint, radius, and where an end is infinite."""
    infinite = ~(np.isfinite(x.lo) & np.isfinite(x.hi))
    lo, hi = np.where(infinite, 0.0, x.lo), np.where(infinite, 0.0, x.hi)
    # Halves are added, as the sum of two large ends may overflow; half of the smallest float is 0.
    middle = np.where(lo == hi, lo, lo / 2 + hi / 2)
    with np.errstate(over="ignore"):
        radius = np.maximum(hi - middle, middle - lo) * (1 + 4 * EPS)
    return middle, np.where(lo == hi, 0.0, radius), infinite


@cache
def einsum_of(a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...]) -> str:
    """Return labels as NumPy's einsum reads them."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    first, second, result = ("".join(letters[i] for i in part) for part in (a, b, out))
    return f"{first},{second}->{result}"


MONOTONE = ("tril", "halved", "diag", "diagonal")
"""The functions of matrices that move elements, or halve them: the ends of intervals go through them as they are."""


def is_unbounded(node: Node) -> bool:
    """Answer whether no bound of a value, or of its derivatives, is known: of functions of whole matrices, and of what loops inside a
    step make in a number of rounds that is a size, or that nobody knows."""
    return node.family in ("rounds", "settled") or (node.family == "algebra" and node.attrs.name not in MONOTONE)


def rearranged(node: Node, parts: list[Any], sizes: Mapping[sp.Symbol, int]) -> Any:
    """Return a view, a reduction or a running sum of arrays."""
    x, attrs = parts[0], node.attrs
    if node.family == "reduce":
        return x.sum(attrs.axes) if attrs.kind == "sum" else x.max(attrs.axes)
    if node.family == "algebra":
        return of_matrices(node.attrs.name, x)
    if node.family == "cumulate":
        turned = np.flip(x, attrs.axis) if attrs.reverse else x
        found = np.cumsum(turned, attrs.axis)
        return np.flip(found, attrs.axis) if attrs.reverse else found
    match attrs.kind:
        case "transpose":
            return np.transpose(x, attrs.data)
        case "reshape":
            return np.reshape(x, _concrete(node.shape, tuple(sizes.items())))
        case "expand":
            return np.broadcast_to(x, _concrete(node.shape, tuple(sizes.items())))
        case "slice":
            return x[spans(attrs.data, sizes)]
        case "concatenate":
            return np.concatenate(parts, attrs.data[0])
    raise AssertionError(f"no rule for {node}")


def spans(data: Any, sizes: Mapping[sp.Symbol, int]) -> tuple[slice, ...]:
    """Return the slices of a view."""
    found = []
    for start, length, step in data:
        first, count = (item if isinstance(item, int) else int(item.xreplace(sizes)) for item in (start, length))
        stop = first + count * step
        found.append(slice(first, stop if stop >= 0 else None, step))
    return tuple(found)


@lru_cache(4096)
def corners(parts: tuple[sp.Expr, ...]) -> tuple[sp.Symbol, ...]:
    """Return the atoms that parts read in several ways, as z and 1 − z, and in which no part bends: the sum of |parts| is
    convex in each of them. A factor that parts have in common is not among them: it is largest for all at once."""
    symbols = sorted({s for p in parts for s in p.free_symbols}, key=lambda s: (s.name[0], int(s.name[1:])))
    ranks = {s: _ranked(i) for i, s in enumerate(symbols)}
    chosen = _corners(tuple(p.xreplace(ranks) for p in parts), len(symbols))
    return tuple(symbols[i] for i in chosen)


@cache
def _ranked(rank: int) -> sp.Symbol:
    return sp.Symbol(f"r{rank}", real=True)


@lru_cache(4096)
def _corners(parts: tuple[sp.Expr, ...], count: int) -> tuple[int, ...]:
    """The same by rank: inner rounds have the parts of the first round with other atoms, which are factored once."""
    several = [s for s in map(_ranked, range(count)) if sum(_times_read(p, s) for p in parts) > 1]
    if not several:
        return ()
    factors = [factors_of(p) for p in parts]
    apart = [s for s in several if _is_apart(s, factors)]
    return tuple(int(s.name[1:]) for s in apart if not any(is_bent(p, s) for p in parts if s in p.free_symbols))[
        :CORNERS
    ]


def _times_read(p: sp.Expr, s: sp.Symbol) -> int:
    return sum(leaf == s for leaf in sp.preorder_traversal(p))


def _is_apart(s: sp.Symbol, factors: list[tuple[sp.Expr, ...]]) -> bool:
    reading = [tuple(q for q in part if s in q.free_symbols) for part in factors]
    twice = any(_times_read(q, s) > 1 for part in reading for q in part)
    return twice or len({part for part in reading if part}) > 1


def extent(expr: sp.Expr, ranges: Mapping[sp.Symbol, Interval]) -> Interval:
    """Return the range of a polynomial: an affine dependence takes its extremes at the ends."""
    found = [own for (own,) in interval.evaluate_each((expr,), _corner_ranges((expr,), ranges))]
    lo, hi = np.minimum.reduce([f.lo for f in found]), np.maximum.reduce([f.hi for f in found])
    return Interval(lo, hi)


def largest(parts: tuple[sp.Expr, ...], weights: list[Any], ranges: Mapping[sp.Symbol, Interval]) -> Any:
    """Return the supremum of Σ weight |p| over the ranges of all atoms, elementwise; a weight of 0 takes out its part."""
    return _heaviest(sizes_at_corners(parts, ranges), weights)


def largest_within(parts: tuple[sp.Expr, ...], weights: list[Any], within: Enclosure) -> Any:
    """Return the same over an enclosure, which remembers the sizes of the parts."""
    if parts not in within.found:
        within.found[parts] = sizes_at_corners(parts, within.atoms)
    return _heaviest(within.found[parts], weights)


def sizes_at_corners(parts: tuple[sp.Expr, ...], ranges: Mapping[sp.Symbol, Interval]) -> list[list[Any]]:
    """Return the largest |p| of each part at each combination of ends of the atoms that they share."""
    found = interval.evaluate_each(parts, _corner_ranges(parts, ranges))
    return [[part.size for part in corner] for corner in found]


def _heaviest(corner_sizes: list[list[Any]], weights: list[Any]) -> Any:
    totals = []
    with np.errstate(all="ignore"):
        for sizes in corner_sizes:
            # A part with the weight 0 adds nothing, even where its factor has no bound.
            products = [np.where((w == 0) | (s == 0), 0.0, s * w) for s, w in zip(sizes, weights, strict=True)]
            totals.append(sum(products))
    found = np.maximum.reduce(np.broadcast_arrays(*totals))
    return np.where(np.isnan(found), np.inf, found)


def _corner_ranges(
    parts: tuple[sp.Expr, ...], ranges: Mapping[sp.Symbol, Interval]
) -> list[Mapping[sp.Symbol, Interval]]:
    """The ranges with the shared atoms at each combination of their ends; parts that do not share them see no difference."""
    chosen = [s for s in corners(parts) if np.isfinite(ranges[s].lo).all() and np.isfinite(ranges[s].hi).all()]
    chosen = [s for s in chosen if not ranges[s].is_exact]
    used = {s: ranges[s] for p in parts for s in p.free_symbols}
    ends = [[(s, exactly(ranges[s].lo)), (s, exactly(ranges[s].hi))] for s in chosen]
    return [{**used, **dict(corner)} for corner in product(*ends)]
