"""Partial derivatives of scalar bodies: SymPy's, once a body, written in the value where that is possible.

Example: the partial of tanh(_0) is 1 - tanh(_0)**2, returned as 1 - _y**2: the backward pass reads the primal value instead
of evaluating the function again.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cache

import sympy as sp

from symbptt import ops
from symbptt.ir.node import placeholder

VALUE = sp.Symbol("_y", real=True)
"""Stands for the value of the body itself."""


@cache
def partials(expr: sp.Expr, count: int) -> tuple[sp.Expr, ...]:
    """Return the derivatives of a body with respect to its `count` placeholders, in its `VALUE` where that occurs."""
    return tuple(
        _in_value(in_decimals(_partial(expr, placeholder(i)), expr.atoms(sp.Float)), expr) for i in range(count)
    )


SHORT = 12
"""The digits of a decimal number that roundings of products and sums leave in sight: a float has 15 that are certain."""


def in_decimals(e: sp.Expr, given: Collection[sp.Expr] = ()) -> sp.Expr:
    """Return an expression whose numbers that are beside a short decimal number by a rounding, as 0.7 · 0.1 =
    0.06999999999999999, are that number; those that are `given` stay."""
    made = [x for x in e.atoms(sp.Float) if x not in given]
    return e.xreplace({x: sp.Float(near) for x in made if (near := _decimal(float(x))) is not None})


def _decimal(value: float) -> float | None:
    """Return the short decimal number that differs from a number by no more than two roundings; None where there is none."""
    near = float(f"{value:.{SHORT}g}")
    return near if near != value and abs(near - value) <= 2 * math.ulp(value) else None


def _partial(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """Return SymPy's derivative; but that of x**p is p x**(p - 1), where SymPy divides by x, which may be zero."""
    if expr.is_Pow and expr.base == symbol and not expr.exp.is_number and symbol not in expr.exp.free_symbols:
        return expr.exp * symbol ** (expr.exp - 1)
    return sp.diff(expr, symbol)


def _in_value(derivative: sp.Expr, expr: sp.Expr) -> sp.Expr:
    if expr.is_Function:
        return derivative.xreplace({expr: VALUE})
    if expr.is_Pow and not expr.exp.is_Integer:
        # The derivative of √u holds 1 / √u, which SymPy keeps as the power u**(-1/2), not as a quotient: both forms are replaced.
        return derivative.xreplace({expr: VALUE, 1 / expr: 1 / VALUE})
    return derivative


def times(bar: sp.Expr, partial: sp.Expr) -> sp.Expr:
    """Return bar * partial, choosing instead of multiplying by a choice of 0 and 1."""
    # bar * 0 is nan where bar is infinite; a choice leaves the branch that is not taken out altogether.
    if partial.func is ops.where and partial.args[1].is_number and partial.args[2].is_number:
        condition, a, b = partial.args
        return ops.where(condition, bar * a, bar * b)
    return bar * partial
