"""Scalar bodies as ordered trees: SymPy forgets the order of terms, so that every printer reads these instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, reduce
from operator import attrgetter
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.errors import CellError


@dataclass(frozen=True)
class Num:
    """A number without a sign."""

    value: sp.Expr


@dataclass(frozen=True)
class Ref:
    """The argument of this index."""

    index: int


@dataclass(frozen=True)
class Sum:
    """Terms, each with its sign (1 or -1)."""

    terms: tuple[tuple[int, Tree], ...]


@dataclass(frozen=True)
class Prod:
    """Factors over divisors."""

    factors: tuple[Tree, ...]
    divisors: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Power:
    """A base and its exponent."""

    base: Tree
    exponent: Tree


@dataclass(frozen=True)
class Call:
    """A primitive function, by name, of arguments."""

    name: str
    args: tuple[Tree, ...]


Tree = Num | Ref | Sum | Prod | Power | Call

NAME_OF = {cls: op.name for cls, op in ops.PRIMITIVES.items()} | {sp.sign: "sign", sp.Abs: "abs"}


@cache
def tree_of(expr: sp.Expr) -> Tree:
    """Return a body as a tree: factors and terms in the order of the arguments, numbers and positive terms first."""
    if expr.is_Symbol:
        return Ref(int(expr.name[1:]))
    if not expr.free_symbols:
        return _number(expr)
    if expr.is_Add:
        return _sum(expr)
    # SymPy has no quotient: a / b is a * b**-1, and 1 / b is a bare power.
    if expr.is_Mul or (expr.is_Pow and expr.exp.could_extract_minus_sign()):
        return _product(expr)
    if expr.is_Pow:
        return _power(expr)
    return Call(NAME_OF.get(expr.func) or expr.func.__name__, tuple(map(tree_of, expr.args)))


def expanded(expr: sp.Expr) -> sp.Expr:
    """Return a body with the user's declared functions written out, as code needs them."""
    args = [expanded(arg) for arg in expr.args]
    if hasattr(expr.func, "expansion"):
        symbols = {sp.Symbol(f"_{i}", real=True): arg for i, arg in enumerate(args)}
        return expr.func.expansion.xreplace(symbols)
    return expr.func(*args) if args and args != list(expr.args) else expr


def _number(expr: sp.Expr) -> Tree:
    return Sum(((-1, Num(-expr)),)) if expr.is_negative else Num(expr)


def _power(expr: sp.Expr) -> Tree:
    if expr.exp == sp.Rational(1, 2):
        return Call("sqrt", (tree_of(expr.base),))
    return Power(tree_of(expr.base), tree_of(expr.exp))


def _sum(expr: sp.Expr) -> Tree:
    signed = [(-1, -term) if term.as_coeff_Mul()[0].is_negative else (1, term) for term in expr.args]
    terms = [(sign, tree_of(term)) for sign, term in signed]
    # Positive terms first: a - b needs no unary minus, -b + a does.
    return Sum(tuple(sorted(terms, key=lambda item: (item[0] < 0, _order(item[1])))))


def _product(expr: sp.Expr) -> Tree:
    coefficient, rest = expr.as_coeff_Mul()
    if coefficient.is_negative:
        # The sign goes outside the product, so that a sum around it can print a minus.
        return Sum(((-1, tree_of(-expr)),))
    factors: list[Tree] = []
    divisors: list[Tree] = []
    if coefficient.is_Rational:
        factors += [Num(sp.Integer(coefficient.p))] * (coefficient.p != 1)
        divisors += [Num(sp.Integer(coefficient.q))] * (coefficient.q != 1)
    else:
        factors.append(Num(coefficient))
    for factor in sp.Mul.make_args(rest):
        below = factor.is_Pow and factor.exp.could_extract_minus_sign()
        (divisors if below else factors).append(tree_of(1 / factor if below else factor))
    if len(factors) == 1 and not divisors:
        return factors[0]
    return Prod(tuple(sorted(factors, key=_order)) or (Num(sp.S.One),), tuple(sorted(divisors, key=_order)))


def whole_power(tree: Tree) -> int:
    """Return the exponent of a power that a few multiplications are, from 2 to 16, or 0."""
    if isinstance(tree, Power) and isinstance(tree.exponent, Num) and tree.exponent.value.is_number:
        value = float(tree.exponent.value)
        return int(value) if value in range(2, 17) else 0
    return 0


@cache
def functions_in(expr: sp.Expr) -> tuple[tuple[Any, int], ...]:
    """Return the functions in a body, each with the number of its arguments."""
    calls = sorted(expr.atoms(sp.Function), key=sp.default_sort_key)
    return tuple((call.func, len(call.args)) for call in calls)


_PARTS: dict[type, Callable[[Any], tuple[Tree, ...]]] = {
    Sum: lambda tree: tuple([term for _, term in tree.terms]), Prod: lambda tree: tree.factors + tree.divisors,
    Power: lambda tree: (tree.base, tree.exponent), Call: attrgetter("args"), Num: lambda tree: (), Ref: lambda tree: (),
}  # fmt: skip


def parts_of(tree: Tree) -> tuple[Tree, ...]:
    """Return the trees that a tree is made of, in its order."""
    return _PARTS[type(tree)](tree)


def with_parts(tree: Tree, new: Iterable[Tree]) -> Tree:
    """Return a tree made of other trees, as many as it had."""
    parts = tuple(new)
    match tree:
        case Sum(terms):
            return Sum(tuple((sign, part) for (sign, _), part in zip(terms, parts, strict=True)))
        case Prod(factors, _):
            return Prod(parts[: len(factors)], parts[len(factors) :])
        case Power():
            return Power(*parts)
        case Call(name, _):
            return Call(name, parts)
    return tree


def indices(tree: Tree) -> tuple[int, ...]:
    """Return the arguments that a tree reads, in its order."""
    open_, found = [tree], list[int]()
    while open_:
        part = open_.pop()
        if isinstance(part, Ref):
            found.append(part.index)
        else:
            open_ += _PARTS[type(part)](part)[::-1]
    return tuple(found)


def _order(tree: Tree) -> tuple[object, ...]:
    read = indices(tree)
    return (min(read, default=-1), len(read), read, str(tree))


def as_python(value: sp.Expr) -> complex:
    """Return a SymPy number as an int where it is one, else as the nearest float, or complex number."""
    if value.has(sp.I):
        return complex(value)
    return int(value) if value.is_Integer else float(value)


def as_sympy(value: complex | bool | np.number | np.bool_) -> sp.Expr:
    """Return a number of Python or NumPy as a SymPy number; True counts as 1."""
    if isinstance(value, complex | np.complexfloating):
        parts = (
            sp.Integer(int(part)) if float(part).is_integer() else sp.Float(part) for part in (value.real, value.imag)
        )
        return sp.Add(next(parts), next(parts) * sp.I)
    return sp.Float(float(value)) if isinstance(value, float | np.floating) else sp.Integer(int(value))


def canonical(expr: sp.Expr, where: str = "") -> sp.Expr:
    """Return a user's SymPy expression with SymPy's piecewise functions as ours.

    Raises: CellError where it has a function that the table of ops does not.
    """
    expr = sp.sympify(expr, strict=True)
    if not (expr.is_Atom or expr.is_Add or expr.is_Mul or expr.is_Pow or expr.is_Piecewise or _is_known(expr.func)):
        raise CellError(f"SymPy's function {expr.func.__name__} is not in the table of ops\n  {where}".rstrip())
    args = [canonical(arg, where) for arg in _parts(expr)]
    if isinstance(expr, sp.Piecewise):
        return _piecewise(args)
    if expr.func in _OURS:
        return _OURS[expr.func](args)
    return expr.func(*args) if args else expr


def _is_known(function: Any) -> bool:
    return function in _OURS or function in NAME_OF or getattr(function, "declared", False)


def _parts(expr: sp.Expr) -> list[sp.Expr]:
    if isinstance(expr, sp.Piecewise):
        return [part for pair in expr.args for part in pair.args]
    return list(expr.args)


def _fold(function: Any) -> Callable[[list[sp.Expr]], sp.Expr]:
    return lambda args: reduce(function, args)


def _piecewise(parts: list[sp.Expr]) -> sp.Expr:
    # SymPy gives nan where no condition holds.
    *pairs, (value, condition) = zip(parts[::2], parts[1::2], strict=True)
    result = value if condition == sp.true else ops.where(condition, value, sp.nan)
    for value, condition in reversed(pairs):
        result = ops.where(condition, value, result)
    return result


def _step_up(x: sp.Expr, at_zero: sp.Expr) -> sp.Expr:
    """Return Heaviside's function with the value at zero that it is given; without one it is zero there, as a unit that has not
    passed its threshold."""
    if at_zero == 1:
        return ops.where(ops.greater_equal(x, 0), 1, 0)
    below = sp.S.Zero if at_zero in (0, sp.Rational(1, 2)) else ops.where(ops.equal(x, 0), at_zero, 0)
    return ops.where(ops.greater(x, 0), 1, below)


_OURS: dict[Any, Callable[[list[sp.Expr]], sp.Expr]] = {
    sp.Max: _fold(ops.maximum), sp.Min: _fold(ops.minimum), sp.And: _fold(ops.logical_and),
    sp.Or: _fold(ops.logical_or), sp.Not: lambda a: ops.logical_not(*a), sp.Abs: lambda a: ops.absolute(*a),
    sp.sign: lambda a: ops.sign(*a), sp.floor: lambda a: ops.floor(*a),
    sp.Heaviside: lambda a: _step_up(*a),
    sp.StrictGreaterThan: lambda a: ops.greater(*a), sp.GreaterThan: lambda a: ops.greater_equal(*a),
    sp.StrictLessThan: lambda a: ops.less(*a), sp.LessThan: lambda a: ops.less_equal(*a),
    sp.Equality: lambda a: ops.equal(*a), sp.Unequality: lambda a: ops.not_equal(*a),
}  # fmt: skip
