"""Functions of whole matrices on a page: by their names, and entry by entry."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from symbptt.equations.algebra.expressions import Along, Call, Expr, Index, Number, Over
from symbptt.ir.shape import Shape

TWO = Number(sp.Integer(2))
NAMES = {"cholesky": "chol", "halved": "low"}
"""The names of functions on a page, where they differ from those in code."""


def function_of(name: str, x: Expr, shape: Shape) -> Expr:
    """Return a function of a matrix by its name."""
    match name:
        case "logdet":
            return Call("log", (Call("abs", (Call("det", (x,), ()),), ()),), ())
        case "detsign":
            return Call("sign", (Call("det", (x,), ()),), ())
    return Call(NAMES.get(name, name), (x,), shape)


def of_one(name: str, x: Expr, others: Sequence[Expr]) -> Expr:
    """Return a function of a matrix that has one entry."""
    match name:
        case "solve":
            return Over(others[0], x)
        case "cholesky":
            return Call("sqrt", (x,))
        case "expm":
            return Call("exp", (x,))
        case "logdet":
            return Call("log", (Call("abs", (x,)),))
        case "detsign":
            return Call("sign", (x,))
        case "halved":
            return Over(x, TWO)
    return x


def entry_of_function(name: str, indices: tuple[Index, ...], x: Expr, at: tuple[Expr, ...]) -> Expr:
    """Return an entry of a function of the matrix that `x` gives as two indices run, or its number where it has no entries."""
    match name:
        case "logdet":
            return Call("log", (Call("abs", (Along("det", indices, (x,)),)),))
        case "detsign":
            return Call("sign", (Along("det", indices, (x,)),))
    return Along(NAMES.get(name, name), indices, (x,), at)
