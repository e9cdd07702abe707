"""Arithmetics for the interpreter: floats, complex numbers, fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.interpret import Arithmetic, tree_value
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import as_python, expanded, tree_of

LEAST = {"float": 3e-5, "double": 8e-6}
"""The limit under which a remainder is computed again, by the precision of the first computation: above it, that errs by less
than 0.2 %, or 2e-11."""


def floats(dtype: Any = np.float64) -> Arithmetic:
    """Return the arithmetic of float32, float64, complex64 or complex128.

    Complex functions propagate a tangent in the imaginary part, as the complex-step derivative needs.
    """
    # A complex number x + i h with a tiny h carries h times the derivative in its imaginary part, without the
    # cancellation of a difference of two values. So the functions are those of NumPy on complex numbers, and
    # comparisons look at real parts alone.
    kind = np.dtype(dtype)
    single = kind in (np.dtype(np.float32), np.dtype(np.complex64))
    functions = {name: op.evaluate for name, op in ops.BY_NAME.items()}
    plain = Arithmetic(kind, lambda value: kind.type(as_python(value)), functions)
    again = {name: _alone(rest, plain) for name, rest in ops.REMAINING.items()}
    return Arithmetic(
        kind, plain.number, functions, LEAST["float" if single else "double"], again, {"norm": _norm, "clip": _clip}
    )


def _norm(out: list[Any], args: list[Any]) -> None:
    """Write the norm of all elements of an array."""
    out[0][...] = np.sqrt(np.sum(np.square(args[0])))


def _clip(out: list[Any], args: list[Any]) -> None:
    """Write arrays scaled so that their joint norm is at most the last argument for each sample."""
    *arrays, limit = args
    squares = sum(np.square(a).reshape(len(a), -1).sum(1) for a in arrays)
    # The factor is exactly 1 where the norm is under the limit, which is positive, so that the divisor is never zero.
    factor = limit / np.maximum(np.sqrt(squares), limit)
    for to, a in zip(out, arrays, strict=True):
        to[...] = a * factor.reshape(-1, *[1] * (a.ndim - 1))


def _alone(rest: ops.Remainder, arithmetic: Arithmetic) -> Callable[[Any], Any]:
    """Return the remainder of a function as a function of its argument."""
    tree = tree_of(expanded(rest.alone(placeholder(0))))
    return lambda a: tree_value(tree, [a], arithmetic)


def exact(number: Callable[[sp.Expr], Any], functions: Any = None) -> Arithmetic:
    """Return the arithmetic of elements that NumPy does not know, made by `number`.

    `functions`, by name, of one element each, extend those of an ordered field: comparisons, maximum, minimum, abs,
    sign, where, relu.
    """
    table = {name: np.frompyfunc(f, f.__code__.co_argcount, 1) for name, f in ORDERED.items()}
    table |= {name: np.frompyfunc(f, ops.BY_NAME[name].arity, 1) for name, f in (functions or {}).items()}
    return Arithmetic(object, number, table)


def fractions() -> Arithmetic:
    """Return the arithmetic of `fractions.Fraction`; a literal with a point counts as the decimal fraction that it is."""
    # The text 0.1 is the fraction 1/10; the float is another number.
    return exact(lambda value: Fraction(str(value)) if value.is_Float else Fraction(int(value.p), int(value.q)))


ORDERED: dict[str, Callable[..., Any]] = {
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_or": lambda a, b: bool(a) or bool(b),
    "logical_not": lambda a: not a,
    "maximum": lambda a, b: max(a, b),
    "minimum": lambda a, b: min(a, b),
    # 0 * a is the zero of the kind of a.
    "relu": lambda a: max(a, 0 * a),
    "abs": lambda a: abs(a),
    # The sum is of the kind of a, not an int.
    "sign": lambda a: 0 * a + (a > 0) - (a < 0),
    "where": lambda c, a, b: a if c else b,
    "stop_gradient": lambda a: a,
}
