"""Vectors that are scaled by a function of their own length, as x / (‖x‖ + ε), x / √(Σx² + ε), layer norm: y = a G(Σa²).

The Jacobian is G (I − ρ â âᵀ), â = a/‖a‖, ρ = −2X G′/G at X = Σa²: where 0 ≤ ρ ≤ 2 its 2-norm is at most |G|. Bounds of parts
forget that a and 1/b² go together. Where a is x less its mean, the projection that removes
the mean leaves a unchanged.

The same of an elementwise function, y = e(a) G(Σa²) with e(0) = 0: with c = e(a)/a, which lies between the least and the
largest slope of e, the Jacobian is G (diag(e′) − ρ diag(c) â âᵀ) = G (diag(e′ − c) + diag(c) (I − ρ â âᵀ)). Of a rectifier,
e′ = c, so that relu(a) / (1 + ‖a‖) is as steep as a / (1 + ‖a‖); of others its 2-norm is at most |G| (L + min(ρ L, d)), L the
largest |slope| and d the difference of the largest slope and the least.

For example RMS norm, y = x / √(Σx² + ε), has a = x and G(X) = (X + ε)^(−1/2). Then G′/G = −1 / (2 (X + ε)), so that
ρ = X / (X + ε) lies between 0 and 1 and ‖∂y/∂x‖ ≤ G ≤ ε^(−1/2). Norms of the quotient's two terms, G I and G ρ â âᵀ,
would add up to twice that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.shape import Size, prod, with_ones
from symbptt.stability.algebra.interval import between, evaluate, exactly
from symbptt.stability.algebra.maximum_gap import without_ones
from symbptt.stability.algebra.ranges import at_positive, reach
from symbptt.stability.algebra.ranges import whole as whole_range
from symbptt.stability.algebra.scalar_functions import X

A, B = placeholder(0), placeholder(1)
PAIRS = {A / B: ((0, 1),), B / A: ((1, 0),), A * B: ((0, 1), (1, 0))}
"""The places of the vector and of its factor, or divisor, among the arguments of a node."""
ROUNDING = 1e-9
"""Of ρ, which is found to 5e-13."""


@dataclass(frozen=True)
class Slopes:
    """The slopes of an elementwise function that is 0 at 0, of which `is_straight` says that it is a line on either side of it."""

    least: float
    most: float
    is_straight: bool

    @property
    def largest(self) -> float:
        """The largest slope in size."""
        return max(-self.least, self.most)


LINE = Slopes(1.0, 1.0, True)


@dataclass(frozen=True)
class Scaled:
    """A value e(a) G(X), X being Σa² or its mean along `axes`: `x` is a itself, or the value of which a is the rest without its
    mean. G is the node `by`, or one over it (`divides`); `turns` is the largest ρ, `reach` the largest √X |G| times the slope,
    `count` the number of elements that share one X, `slopes` those of e.
    """

    x: int
    by: int
    divides: bool
    axes: tuple[int, ...]
    count: Size
    turns: float
    reach: float
    is_mean: bool
    is_centred: bool
    slopes: Slopes = LINE

    @property
    def stretch(self) -> float:
        """The 2-norm of the Jacobian over |G|, at the most."""
        s = self.slopes
        return s.largest if s.is_straight else _up(s.largest + min(self.turns * s.largest, s.most - s.least))

    @property
    def is_projection(self) -> bool:
        """Answer whether ρ is at most 1, so that the Jacobian is G times a mean of projections."""
        return self.turns <= 1


def scaled_of(graph: Graph, node: Node, alone: dict[int, dict[int, sp.Expr]]) -> Scaled | None:
    """Return the value that a node scales by its own length; `alone` has the values that are functions, in X, of one other."""
    if node.family != "map" or node.attrs.expr not in PAIRS:
        return None
    divides = bool(node.attrs.expr != A * B)
    pairs = [(node.args[i], node.args[j]) for i, j in PAIRS[node.attrs.expr]]
    found = (
        _scaled(graph, a, b, divides, square, expr, u, own)
        for a, b in pairs
        if graph.shape(a) == node.shape
        for square, expr in alone.get(b, {b: X}).items()
        for u, own in alone.get(a, {a: X}).items()
    )
    return next((known for known in found if known is not None), None)


def _scaled(
    graph: Graph, a: int, b: int, divides: bool, square: int, expr: sp.Expr, u: int, own: sp.Expr
) -> Scaled | None:
    """The value a, a function `own` in X of the value u, scaled by b or by one over it, where b is a function of the length of u:
    `expr` in X, of the node `square`."""
    length = _length(graph, u, square)
    if length is None or graph.shape(u) != graph.shape(a) or not _stands(graph, u, b, length[0]):
        return None
    factor = at_positive(1 / expr if divides else expr)
    extremes = extremes_of(factor) if factor.has(X) else None
    slopes = slopes_of(own)
    if extremes is None or slopes is None:
        return None
    axes, is_mean = length
    whole, count = _centred(graph, u, axes), prod(graph.shape(u)[axis] for axis in axes)
    if whole is not None and not slopes.is_straight:
        return None
    turns, reached = extremes
    reached = reached if slopes.largest == 1 else _up(reached * slopes.largest)
    return Scaled(
        u if whole is None else whole, b, divides, axes, count, turns, reached, is_mean, whole is not None, slopes
    )


def may_scale(
    graph: Graph, node: Node, u: int, square: int, own: sp.Expr, factor: sp.Expr, by: list[tuple[int, int]]
) -> bool:
    """Return whether a function `own` in X of the value u, times a factor in X of the node `square`, made of the values `by`, is a
    vector scaled by its own length, of the shape of a node."""
    length = _length(graph, u, square) if graph.shape(u) == node.shape else None
    if length is None or not factor.has(X) or not all(_stands(graph, u, b, length[0]) for b, _ in by):
        return False
    return slopes_of(own) is not None and extremes_of(at_positive(factor)) is not None


@cache
def slopes_of(expr: sp.Expr) -> Slopes | None:
    """Return the slopes of a function in X that is 0 at 0; None where it has none that are bounded, or may jump."""
    if expr == X:
        return LINE
    expr = _exact(expr)
    sides = [at_positive(sp.diff(expr, X).xreplace({X: sign * X})) for sign in (1, -1)]
    if not any(side.free_symbols for side in sides):
        right, left = (_at(side, 0) for side in sides)
        # A slope that is one number on a side is that of a line; its value at ±1 tells whether that line begins at 0.
        if all(_at(expr, at) == value for at, value in ((0, 0.0), (1, right), (-1, -left))):
            return Slopes(min(left, right), max(left, right), True)
    if any(getattr(f.func, "flat", False) or f.func is ops.where for f in expr.atoms(sp.Function)) or _at(expr, 0) != 0:
        return None
    least, most = whole_range(sp.diff(expr, X))
    return Slopes(least, most, False) if math.isfinite(least) and math.isfinite(most) else None


def _at(expr: sp.Expr, x: float) -> float:
    """The value of an expression at one number, nan where it is not known exactly."""
    exact = expr.xreplace({X: sp.Integer(int(x))})
    if exact.is_Rational:
        return float(exact)
    found = evaluate(expr, {X: exactly(x)})
    return float(found.lo) if found.is_exact else math.nan


def extremes_of(factor: sp.Expr) -> tuple[float, float] | None:
    """Return the largest ρ and the largest √X |G|; None where ρ may be negative or over 2, or values have no bound."""
    turns, reached = _most(-2 * X * sp.diff(factor, X) / factor), _most(X * factor**2)
    return None if turns is None or reached is None or turns > 2 else (turns, _up(reached**0.5))


def _most(expr: sp.Expr) -> float | None:
    """A bound on an expression in X that is not negative for X > 0; None where none is found, or where it may be negative.

    With numbers that are not negative, (p₀ + p₁ z + …) / (q₀ + q₁ z + …) is at most the largest pᵢ / qᵢ, here for z = √X.
    """
    # With z = √X half powers become whole ones, and a positive z lets SymPy simplify √(z²) to z. Floats are made
    # exact first: cancel would not recognise common factors in rounded coefficients.
    z = sp.Symbol("z", positive=True)
    exact = _exact(expr).xreplace({X: z**2})
    above, below = sp.fraction(sp.cancel(sp.together(sp.powdenest(exact, force=True))))
    if above.is_polynomial(z) and below.is_polynomial(z):
        p, q = (dict(sp.Poly(part, z).terms()) for part in (above, below))
        sign = -1 if any(n.is_negative for n in q.values()) else 1
        # Every power above must have its divisor below, or the quotient of coefficients says nothing of that term.
        if all(sign * n >= 0 for n in (*p.values(), *q.values())) and p.keys() <= q.keys():
            return max((_up(float(n / q[k])) for k, n in p.items()), default=0.0)
    found = reach(sp.simplify(expr), between(5e-324, math.inf))
    return float(found.hi) if float(found.lo) >= -ROUNDING and float(found.hi) < math.inf else None


def _exact(expr: sp.Expr) -> sp.Expr:
    """An expression with its floats as the rational numbers that they are."""
    return expr.xreplace({number: sp.Rational(number) for number in expr.atoms(sp.Float)})


def _up(value: float) -> float:
    """A number as it is where it is whole, else the next one above."""
    return value if value == round(value) else math.nextafter(value, math.inf)


def _length(graph: Graph, a: int, square: int) -> tuple[tuple[int, ...], bool] | None:
    """The axes along which a value is Σa² or its mean, and whether it is the mean."""
    inner, is_mean = _reduction(graph, square)
    if inner is None:
        return None
    if inner.family == "contract":
        # A product of a value with itself that leaves no axis is Σa² only if both sides are read in the same order.
        is_length = inner.args == (a, a) and not inner.attrs.out and inner.attrs.a == inner.attrs.b
        return (tuple(range(len(graph.shape(a)))), is_mean) if is_length else None
    own, axes = graph[inner.args[0]], inner.attrs.axes
    is_square = own.family == "map" and len(set(own.args)) == 1 and own.attrs.expr in (A**2, A * B)
    return (axes, is_mean) if is_square and _is_same(graph, a, own.args[0], axes) else None


def _is_same(graph: Graph, a: int, other: int, axes: tuple[int, ...]) -> bool:
    """Answer whether two values are one, or the same value without its mean."""
    centred = _centred(graph, a, axes)
    return a == other or (centred is not None and centred == _centred(graph, other, axes))


def _reduction(graph: Graph, id: int) -> tuple[Node | None, bool]:
    """The sum that a value is, a reduction or a product, as views of it and its mean are; whether it is divided by a size."""
    is_mean = False
    while graph[id].family == "view" or _undivided(graph, id) != id:
        is_mean |= _undivided(graph, id) != id
        if graph[id].family == "view" and graph[id].attrs.kind not in ("reshape", "expand"):
            return None, is_mean
        id = graph[id].args[0]
    node = graph[id]
    is_sum = node.family == "contract" or (node.family == "reduce" and node.attrs.kind == "sum")
    return (node if is_sum else None), is_mean


def _undivided(graph: Graph, id: int) -> int:
    """Return the numerator of a division by a size of the cell, or the value itself."""
    node = graph[id]
    is_mean = node.family == "map" and node.attrs.expr == A / B and _is_size(graph[node.args[1]])
    return node.args[0] if is_mean else id


def _is_size(node: Node) -> bool:
    return node.family == "leaf" and node.attrs.role == "size"


def _stands(graph: Graph, a: int, b: int, axes: tuple[int, ...]) -> bool:
    """Answer whether a value without the axes of a broadcasts against the entries that it reduces."""
    return without_ones(graph.shape(b)) == without_ones(with_ones(graph.shape(a), axes))


def _centred(graph: Graph, a: int, axes: tuple[int, ...]) -> int | None:
    """Return x where a value is x less its mean along some axes."""
    node = graph[a]
    if node.family != "map" or node.attrs.expr != A - B:
        return None
    x, mean = node.args
    inner, is_mean = _reduction(graph, mean)
    known = (
        inner is not None and is_mean and inner.family == "reduce" and inner.args[0] == x and inner.attrs.axes == axes
    )
    return x if known and graph.shape(x) == node.shape and _stands(graph, x, mean, axes) else None
