"""Elementwise functions of one argument and their derivatives as functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.node import placeholder
from symbptt.language.custom_function import evaluate

X = placeholder(0)


@cache
def body_of(name: str) -> sp.Expr:
    """Return the SymPy expression of a function of the table, in the placeholder X.

    Raises: ArgumentError for a name that is not in the table, or a function of several arguments.
    """
    known = sorted(op.name for op in ops.OPS if op.arity == 1)
    if name not in known:
        raise ArgumentError(three_lines(f"{name!r} is no activation of one argument", "in the table of ops",
                                        f"known: {', '.join(known)}"))  # fmt: skip
    return ops.BY_NAME[name].body(X)


@cache
def derivative_of(expr: sp.Expr, order: int = 1) -> sp.Expr:
    """Return a derivative of an expression in X."""
    return sp.diff(expr, X, order) if order else expr


def on_arrays(expr: sp.Expr) -> Callable[[Any], Any]:
    """Return an expression in X as a function on float arrays; silent, as limits are taken with it."""

    def function(x: Any) -> Any:
        x = np.asarray(x, np.float64)
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(evaluate(expr, [x]), np.float64), x.shape)

    return function


def kinks_of(name: str) -> tuple[float, ...]:
    """Return where a function of the table is not smooth."""
    return ops.BY_NAME[name].kinks
