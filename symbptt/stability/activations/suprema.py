"""The supremum of the slope of an activation: the γ of conditions for vanishing gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.stability.algebra.scalar_functions import X, body_of, derivative_of, kinks_of, on_arrays

GRID = np.unique(np.concatenate([np.linspace(-20, 20, 40001), *(s * np.geomspace(20, 1e8, 4001) for s in (-1, 1))]))
"""Points 1e-3 apart where activations bend, further apart where they level off."""
UNBOUNDED = 1e7


@dataclass(frozen=True)
class Supremum:
    """The supremum of |f|, where it is taken on or, infinite, approached, and its exact form where that is known."""

    value: float
    at: float
    exact: sp.Expr | None


def sup_derivative(name: str) -> float:
    """Return sup |f'(x)| over all x where a function of the table has a derivative, to 1e-7; inf where there is no bound.

    Raises: ArgumentError for a name that is not in the table, or a function of several arguments.
    """
    return slope_bound(name).value


@cache
def slope_bound(name: str) -> Supremum:
    """Return the supremum of |f'| of a function of the table."""
    return supremum(derivative_of(body_of(name)), kinks_of(name))


@cache
def supremum(expr: sp.Expr, kinks: tuple[float, ...] = ()) -> Supremum:
    """Return the supremum of |expr| over all real X away from `kinks`, to 1e-7.

    From a grid of 48,000 points and limits at infinity and at the kinks, refined by Newton's method at the largest. It is
    exact where it is a small fraction, or lies at 0, 1 or √2. A function with a peak narrower than 1e-3, or
    that comes within 1e-7 of its bound only beyond 1e8, would deceive it; those of the table do not.
    """
    values = on_arrays(expr)
    # A kink has no derivative of its own: its two sides stand for it.
    points = np.concatenate([GRID, *(np.array([k - 1e-9, k + 1e-9]) for k in kinks)])
    size = np.abs(values(points))
    size = np.where(np.isnan(size), -np.inf, size)
    if size.max() > UNBOUNDED:
        return Supremum(np.inf, float(points[np.argmax(size)]), sp.oo)
    best = int(np.argmax(size))
    at, value = _refined(expr, float(points[best]), float(size[best]))
    return _named(expr, value) or Supremum(value, at, _fraction(value))


def _named(expr: sp.Expr, value: float) -> Supremum | None:
    """The supremum where it is |expr| at 0, 1 or √2."""
    for place in (sp.S.Zero, sp.S.One, sp.sqrt(2)):
        found = sp.Abs(_known(expr.xreplace({X: place})))
        if all(_is_sympys(f) for f in found.atoms(sp.Function)) and abs(float(found) - value) <= 1e-12:
            return Supremum(float(found), float(place), sp.simplify(found))
    return None


def _fraction(value: float) -> sp.Expr | None:
    found = sp.Rational(value).limit_denominator(12)
    return found if abs(float(found) - value) <= 1e-12 else None


def _is_sympys(function: sp.Expr) -> bool:
    return str(function.func.__module__).startswith("sympy.")


def _known(expr: sp.Expr) -> sp.Expr:
    """An expression without X, its sigmoids worked out at 0."""
    return expr.replace(lambda e: e.func is ops.sigmoid and e.args[0] == 0, lambda e: sp.Rational(1, 2))


def _refined(expr: sp.Expr, at: float, value: float) -> tuple[float, float]:
    """The maximum near a grid point: of all stationary points that Newton's method finds there, and the point itself."""
    f, slope, bend = (on_arrays(derivative_of(expr, order)) for order in range(3))
    x = at
    for _ in range(20):
        step = float(slope(x)) / float(bend(x)) if float(bend(x)) else 0.0
        if not np.isfinite(step) or abs(x - step - at) > 1e-2:
            break
        x -= step
    refined = float(np.abs(f(x)))
    # Newton's method may lead to a minimum, or away; the grid point is then the better bound.
    return (x, refined) if refined >= value else (at, value)


@cache
def slope_range(name: str) -> tuple[float, float]:
    """Return the infimum and the supremum of f' of a function of the table; infinite where `sup_derivative` is."""
    size = sup_derivative(name)
    if not np.isfinite(size):
        return -np.inf, np.inf
    slope, kinks = derivative_of(body_of(name)), kinks_of(name)
    # With |f'| ≤ S both S − f' and S + f' are not negative, so that their suprema S − inf f' and S + sup f' need no
    # sign.
    least, most = size - supremum(size - slope, kinks).value, supremum(size + slope, kinks).value - size
    margin = 0.0 if slope_bound(name).exact is not None else 1e-9
    return max(least, -size) - margin, min(most, size) + margin
