"""Rigorous ranges of functions of one value: by intervals over the whole line, in pieces that are halved where it matters.

For example the slope σ(x)(1 − σ(x)) by intervals over [−1, 1] is [0.07, 0.53], as the two factors count as unrelated. Over
pieces of width 0.0125 the mean value form f(m) + f′(piece)(x − m) is off by about the square of the width, and halving the
pieces that may contain the maximum narrows it to 1/4 + 5e-13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.stability.algebra import interval
from symbptt.stability.algebra.interval import Interval, add, common, exactly, multiply
from symbptt.stability.algebra.scalar_functions import X

FARTHEST = 1e60
"""The last piece begins here."""
NOTHING = 1e-20
"""Largest bound far away that counts as no more than what numbers leave when they underflow."""
HALVES = np.concatenate([np.geomspace(1e-30, 1e-2, 29), np.linspace(0.0125, 10, 800), np.geomspace(10, 1e4, 201),
                         np.geomspace(1e4, FARTHEST, 320), [np.inf]])  # fmt: skip
EDGES = np.unique(np.concatenate([-HALVES, [0.0], HALVES]))
"""The edges of the pieces of the line."""
TOLERANCE = 5e-13
"""An extremum is found to this, relative to it or to 1."""
HALVINGS, MOST = 60, 20_000
MOST_DECISIONS = 4
"""Differences whose signs are distinguished, at the most."""


@dataclass(frozen=True)
class _Ranges:
    """The ranges of a function over pieces of the line, in levels: the k-th of 2^k pieces in a row."""

    lo: tuple[Any, ...]
    hi: tuple[Any, ...]


def reach(expr: sp.Expr, x: Interval) -> Interval:
    """Return intervals that contain all values of an expression in X over intervals of X, elementwise.

    They are sharp to 5e-13 over all numbers, and to about the square of 0.01 over less. A function that oscillates, or whose
    terms cancel, beyond 1e60 is taken not to grow there where intervals do not see it grow from 1e20 to 1e60.

    Source: Moore, Kearfott, Cloud 2009, "Introduction to interval analysis", chapter 6 (the mean value form, refinement).
    """
    here = interval.evaluate(expr, {X: x})
    known = _ranges(expr)
    first = np.clip(np.searchsorted(EDGES, x.lo, "right") - 1, 0, len(EDGES) - 2)
    last = np.clip(np.searchsorted(EDGES, x.hi, "left") - 1, first, len(EDGES) - 2)
    # A sparse table: the extremes over any row of pieces are those of two overlapping rows of 2^level pieces, so that
    # each query takes two look-ups.
    level = np.log2(last - first + 1).astype(int)
    lows, highs = np.stack(known.lo), np.stack(known.hi)
    second = last - 2**level + 1
    lo = np.minimum(lows[level, first], lows[level, second])
    hi = np.maximum(highs[level, first], highs[level, second])
    return common(here, Interval(lo, hi))


@cache
def whole(expr: sp.Expr) -> tuple[float, float]:
    """Return bounds on all values of an expression in X, infinite where it has none."""
    found = reach(expr, interval.everything())
    return float(found.lo), float(found.hi)


@cache
def _ranges(expr: sp.Expr) -> _Ranges:
    body = plain(expr)
    of = _pieces_of(body)
    x = Interval(EDGES[:-1], EDGES[1:])
    found = _settled_far(of(x))
    most, least = _greatest(of, x, found, 1), -_greatest(of, x, found, -1)
    lo, hi = [np.maximum(found.lo, least)], [np.minimum(found.hi, most)]
    while 2 ** len(lo) <= len(lo[0]):
        k = 2 ** (len(lo) - 1)
        lo.append(_paired(np.minimum, lo[-1], k, -np.inf))
        hi.append(_paired(np.maximum, hi[-1], k, np.inf))
    return _Ranges(tuple(lo), tuple(hi))


def _paired(best: Any, level: Any, k: int, pad: float) -> Any:
    """The extremes of twice as many pieces in a row; rows that would pass the end are not asked for."""
    return np.concatenate([best(level[:-k], level[k:]), np.full(k, pad)])


def _pieces_of(body: sp.Expr) -> Callable[[Interval], Interval]:
    """The range of a function over pieces: the hull of those of its branches that a piece reaches."""
    branches = [(signs, _smooth(branch)) for signs, branch in _branches(body)]

    def ranges(x: Interval) -> Interval:
        shape = np.shape(x.lo)
        lo, hi = np.full(shape, np.inf), np.full(shape, -np.inf)
        for signs, branch in branches:
            taken = np.ones(shape, bool)
            for difference, sign in signs:
                at = _evaluate(difference, x, shape)
                taken &= {-1: at.lo < 0, 0: (at.lo <= 0) & (at.hi >= 0), 1: at.hi > 0}[sign]
            here = branch(x)
            lo, hi = np.where(taken, np.minimum(lo, here.lo), lo), np.where(taken, np.maximum(hi, here.hi), hi)
        return Interval(lo, hi)

    return ranges


Signs = tuple[tuple[sp.Expr, int], ...]


def _branches(body: sp.Expr) -> list[tuple[Signs, sp.Expr]]:
    """Return the function for each combination of signs of the differences in its conditions: greater excludes less."""
    decided = {f: _decision(f) for f in body.atoms(sp.Function) if f.func in DECISIONS}
    differences = list(dict.fromkeys(difference for difference, _ in decided.values()))
    if not differences or len(differences) > MOST_DECISIONS:
        return [((), body)]
    found = []
    for signs in product((-1, 0, 1), repeat=len(differences)):
        at = dict(zip(differences, signs, strict=True))
        values = {f: sp.Integer(value(at[difference])) for f, (difference, value) in decided.items()}
        found.append((tuple(at.items()), body.xreplace(values)))
    return found


DECISIONS: dict[Any, Callable[[int], int]] = {
    ops.greater: lambda s: s > 0, ops.greater_equal: lambda s: s >= 0, ops.less: lambda s: s < 0, ops.less_equal: lambda s: s <= 0,
    ops.equal: lambda s: s == 0, ops.not_equal: lambda s: s != 0, ops.sign: lambda s: s,
}  # fmt: skip
"""The value of each decision by the sign of the difference of its arguments."""


def _decision(f: sp.Expr) -> tuple[sp.Expr, Callable[[int], int]]:
    """Return the difference whose sign a function tests, normalised so that opposite ones are equal, and the value by that sign."""
    value = DECISIONS[f.func]
    difference = sp.expand(f.args[0] - (f.args[1] if len(f.args) == 2 else 0))
    # x > 0 and −x < 0 are one decision; two would give combinations of signs that never occur.
    if difference.could_extract_minus_sign():
        return -difference, lambda s: int(value(-s))
    return difference, lambda s: int(value(s))


def _smooth(body: sp.Expr) -> Callable[[Interval], Interval]:
    """The range of a function over pieces: by intervals, and where it is continuous by the mean value form as well."""
    slope = plain(sp.diff(body, X))
    jumps = _jumps(body)

    def ranges(x: Interval) -> Interval:
        shape = np.shape(x.lo)
        here = _evaluate(body, x, shape)
        smooth = np.isfinite(x.lo) & np.isfinite(x.hi)
        with np.errstate(all="ignore"):
            # lo + (hi − lo) / 2 does not overflow where (lo + hi) / 2 would.
            middle = np.where(smooth, x.lo + (x.hi - x.lo) / 2, 0.0)
            from_middle = add(x, exactly(-middle))
            mean = add(_evaluate(body, exactly(middle), shape), multiply(_evaluate(slope, x, shape), from_middle))
        # The mean value theorem needs a function that is continuous on the piece: a condition may not change inside
        # it.
        for jump, is_choice in jumps:
            at = _evaluate(jump, x, shape)
            smooth = smooth & (((at.lo > 0) | (at.hi < 0) | (at.lo == at.hi)) if is_choice else at.lo == at.hi)
        mean = Interval(np.where(smooth, mean.lo, -np.inf), np.where(smooth, mean.hi, np.inf))
        return common(here, mean)

    return ranges


def _evaluate(expr: sp.Expr, x: Interval, shape: tuple[int, ...]) -> Interval:
    return interval.evaluate(expr, {X: x}).each(lambda end: np.broadcast_to(np.asarray(end, np.float64), shape))


def _jumps(body: sp.Expr) -> list[tuple[sp.Expr, bool]]:
    """Return what may jump inside an expression, and whether it is a condition, of which only its being zero counts."""
    flat = [(f, False) for f in body.atoms(sp.Function) if getattr(f.func, "flat", False)]
    return flat + [(f.args[0], True) for f in body.atoms(sp.Function) if f.func is ops.where]


def _settled_far(found: Interval) -> Interval:
    """Ranges with those beyond 1e60 that intervals do not bound taken from before, where the function does not grow there."""
    lo, hi = np.array(found.lo), np.array(found.hi)
    size = np.maximum(np.abs(lo), np.abs(hi))
    middle = (EDGES[:-1] + EDGES[1:]) / 2
    # Both unbounded pieces have one finite edge, so that their middles are infinite and take no part in the masks
    # below.
    for end, sign in ((0, -1), (-1, 1)):
        near, far = ((sign * middle > a) & (sign * middle < b) for a, b in ((1e20, 1e40), (1e40, FARTHEST)))
        if not np.isfinite(size[end]) and size[far].max() <= max(size[near].max() * (1 + 1e-12), NOTHING) < np.inf:
            lo[end], hi[end] = lo[far].min(), hi[far].max()
    return Interval(lo, hi)


def _greatest(of: Callable[[Interval], Interval], x: Interval, found: Interval, sign: int) -> float:
    """A bound on the greatest value of sign · f: pieces that may contain it are halved until it is found to the tolerance."""
    top = found.hi if sign == 1 else -found.lo
    kept, settled = top, -np.inf
    for _ in range(HALVINGS):
        if not len(kept):
            break
        with np.errstate(all="ignore"):
            middle = x.lo + (x.hi - x.lo) / 2
            at = of(exactly(np.where(np.isfinite(middle), middle, 0.0)))
        least = float(np.max(at.lo if sign == 1 else -at.hi, initial=-np.inf))
        settled = max(settled, least)
        # A piece without a float strictly inside, or without end, cannot be halved; its bound is final.
        ends = ~np.isfinite(middle) | (middle <= x.lo) | (middle >= x.hi)
        if np.isinf(kept[ends]).any():
            return np.inf
        settled = max(settled, float(kept[ends].max(initial=-np.inf)))
        open_ = ~ends & (kept > settled + TOLERANCE * max(1.0, abs(settled)))
        if not open_.any() or open_.sum() > MOST:
            return max(settled + TOLERANCE * max(1.0, abs(settled)), float(kept[open_].max(initial=-np.inf)))
        lo, hi, middle = x.lo[open_], x.hi[open_], middle[open_]
        x = Interval(np.concatenate([lo, middle]), np.concatenate([middle, hi]))
        halves = of(x)
        parent = np.tile(kept[open_], 2)
        # A half is never worse than its parent, even where the mean value form of the half loses by rounding.
        kept = np.minimum(parent, halves.hi if sign == 1 else -halves.lo)
    return max(settled + TOLERANCE * max(1.0, abs(settled)), float(kept.max(initial=-np.inf)))


def at_positive(expr: sp.Expr) -> sp.Expr:
    """Return an expression in X for X > 0, with the conditions on the sign of X decided."""
    decided = {f: _decision(f) for f in expr.atoms(sp.Function) if f.func in DECISIONS}
    multiples = {
        f: difference.as_coeff_Mul()[0] for f, (difference, _) in decided.items() if difference.as_coeff_Mul()[1] == X
    }
    return expr.xreplace({f: sp.Integer(decided[f][1](int(sp.sign(c)))) for f, c in multiples.items()})


def plain(expr: sp.Expr) -> sp.Expr:
    """Return the same function, of which no part has a declared derivative, and whose differences from 1 keep their digits."""
    while written := {f: _written_out(f) for f in expr.atoms(sp.Function) if _is_declared(f)}:
        expr = expr.xreplace(written)
    return _complemented(expr)


def _is_declared(f: sp.Expr) -> bool:
    return ops.is_held(f.func) or hasattr(f.func, "expansion")


def _written_out(f: sp.Expr) -> sp.Expr:
    if ops.is_held(f.func):
        return f.args[0]
    return f.func.expansion.xreplace({sp.Symbol(f"_{i}", real=True): arg for i, arg in enumerate(f.args)})


def _complemented(expr: sp.Expr) -> sp.Expr:
    """1 − σ(u) as σ(−u), 1 ± tanh(u) as 2 σ(±2u): an interval of a difference knows no number smaller than its rounding."""
    if not expr.args:
        return expr
    expr = expr.func(*[_complemented(part) for part in expr.args])
    t = sp.Symbol("t", real=True)
    for function in expr.atoms(ops.sigmoid, sp.tanh) if expr.is_Add else ():
        inside = expr.xreplace({function: t})
        if inside.free_symbols == {t} and inside.is_polynomial(t):
            return _of_rests(inside, t, function) or expr
    return expr


def _of_rests(inside: sp.Expr, t: sp.Symbol, function: sp.Expr) -> sp.Expr | None:
    """A polynomial in t = σ(u) or tanh(u) as a product, where a factor of it is what t leaves of one."""
    # factor_list over floats returns approximate factors, which no test for t − 1 recognises.
    exact = inside.xreplace({number: sp.Rational(number) for number in inside.atoms(sp.Float)})
    found, factors = sp.factor_list(exact, t)
    rests = [_rest(factor, t, function) for factor, _ in factors]
    if all(rest is None for rest in rests):
        return None
    for rest, (factor, power) in zip(rests, factors, strict=True):
        found *= (factor.xreplace({t: function}) if rest is None else rest) ** power
    return found


def _rest(factor: sp.Expr, t: sp.Symbol, function: sp.Expr) -> sp.Expr | None:
    u, slope = function.args[0], factor.coeff(t, 1)
    if sp.expand(factor - slope * (t - 1)) == 0:
        return -slope * (ops.sigmoid(-u) if function.func is ops.sigmoid else 2 * ops.sigmoid(-2 * u))
    if function.func is sp.tanh and sp.expand(factor - slope * (t + 1)) == 0:
        return slope * 2 * ops.sigmoid(2 * u)
    return None
