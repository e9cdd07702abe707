"""Sizes in symbols that compute like integers: a module is read with them before its sizes are known."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy as sp

MANY = 10**9
"""The value of a size where a module asks which of two is greater."""


@dataclass(frozen=True)
class Blocks:
    """For each variable of a loop over blocks the length that the loop gives a block, and the symbol of the length that
    a block has, which may be less at the end of all steps."""

    lengths: dict[sp.Symbol, tuple[sp.Expr, sp.Symbol]] = field(default_factory=dict)

    def border(self, expr: sp.Expr, step: sp.Expr) -> sp.Expr:
        """Return the distance from an expression to a border of its block: a step of a whole block is the length of
        this block."""
        for variable, (length, symbol) in self.lengths.items():
            if expr.has(variable) and step == length:
                return symbol
        return step


class Length(int):
    """A number of steps, or a border between some, by which loops over steps are recognized."""

    def __add__(self, other: int) -> Length:
        return Length(int(self) + other)

    def __sub__(self, other: int) -> Length:
        return Length(int(self) - other)

    __radd__ = __add__


class Extent:
    """An expression of sizes, some of them borders of blocks."""

    def __init__(self, expr: sp.Expr, blocks: Blocks) -> None:
        self.expr, self.blocks = expr, blocks

    def number(self) -> Any:
        """Return the number that comparisons use: all sizes are large."""
        return _number(self.expr)

    def __repr__(self) -> str:
        return str(self.expr)

    def __hash__(self) -> int:
        return hash(self.expr)

    def __eq__(self, other: object) -> bool:
        return _compared(self, other, operator.eq)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return _compared(self, other, operator.lt)

    def __le__(self, other: Any) -> bool:
        return _compared(self, other, operator.le)

    def __gt__(self, other: Any) -> bool:
        return _compared(self, other, operator.gt)

    def __ge__(self, other: Any) -> bool:
        return _compared(self, other, operator.ge)

    def __bool__(self) -> bool:
        return bool(self.number() != 0)

    def __int__(self) -> int:
        return int(self.number())

    def __float__(self) -> float:
        return float(self.number())

    def __neg__(self) -> Any:
        return _extent(-self.expr, self.blocks)


@lru_cache(2**14)
def _number(expr: sp.Expr) -> Any:
    return value_of(expr, dict.fromkeys(expr.free_symbols, MANY))


def expression(value: Any) -> sp.Expr:
    """Return a size as a SymPy expression."""
    return (
        value.expr if isinstance(value, Extent) else sp.Integer(value) if isinstance(value, int) else sp.sympify(value)
    )


def value_of(expr: sp.Expr, values: Mapping[sp.Symbol, int]) -> Any:
    """Return the value of an expression of sizes; SymPy itself would decide bounds of floors before it knows all sizes."""
    if expr.is_Symbol:
        return values[expr]
    if expr.is_Rational:
        return int(expr) if expr.is_Integer else Fraction(int(expr.p), int(expr.q))
    parts = [value_of(part, values) for part in expr.args]
    return float(expr) if expr.is_Float else EVALUATED[expr.func](parts)


EVALUATED: dict[type[sp.Basic], Callable[[list[Any]], Any]] = {
    sp.Add: sum,
    sp.Mul: math.prod,
    # A fraction is exact: the floor of a rounded quotient could be another number.
    sp.Pow: lambda parts: Fraction(1) / parts[0] ** -parts[1] if parts[1] == -1 else parts[0] ** parts[1],
    sp.Max: max,
    sp.Min: min,
    sp.floor: lambda parts: math.floor(parts[0]),
    sp.ceiling: lambda parts: math.ceil(parts[0]),
}


def is_whole(value: Any) -> bool:
    """Answer whether a size is a number."""
    return isinstance(value, int | sp.Integer)


def is_count(value: Any) -> bool:
    """Answer whether a value is a size, known or not."""
    return isinstance(value, int | Extent)


def largest(*values: Any) -> Any:
    """Return the largest of some sizes."""
    return _joined(values, max, sp.Max)


def smallest(*values: Any) -> Any:
    """Return the smallest of some sizes."""
    return _joined(values, min, sp.Min)


def _joined(values: tuple[Any, ...], plain: Callable[..., Any], symbolic: Callable[..., Any]) -> Any:
    values = tuple(values[0]) if len(values) == 1 else values
    found = [v for v in values if isinstance(v, Extent)]
    if not found:
        return plain(values)
    blocks = found[0].blocks
    inside = [v for v in found if v.expr.has(*blocks.lengths)] if blocks.lengths else []
    if inside:
        return inside[0]  # a border of a block, which lies between those of all steps
    return _extent(_one_of(tuple(dict.fromkeys(map(expression, values))), symbolic), blocks)


def _one_of(values: tuple[sp.Expr, ...], symbolic: Callable[..., Any]) -> sp.Expr:
    """Return the largest or the smallest of some expressions: one of them where that holds for all sizes."""
    for a in values:
        gaps = [a - b if symbolic is sp.Max else b - a for b in values]
        if all(gap.is_nonnegative for gap in gaps):
            return a
    return symbolic(*values, evaluate=False)


def _extent(expr: sp.Expr, blocks: Blocks) -> Any:
    return int(expr) if expr.is_Integer else Extent(expr, blocks)


def _compared(a: Extent, b: Any, how: Callable[[Any, Any], Any]) -> bool:
    if not isinstance(b, int | float | Extent):
        return NotImplemented
    # Equal expressions are equal whatever their sizes are.
    if expression(a) == expression(b):
        return bool(how(0, 0))
    return bool(how(a.number(), b.number() if isinstance(b, Extent) else b))


def _operation(how: Callable[[Any, Any], Any], turned: bool) -> Callable[[Extent, Any], Any]:
    def apply(self: Extent, other: Any) -> Any:
        if not isinstance(other, int | float | Extent):
            return NotImplemented
        a, b = (expression(other), self.expr) if turned else (self.expr, expression(other))
        if how in (operator.add, operator.sub):
            a, b = self.blocks.border(b, a), self.blocks.border(a, b)
        return _extent(_computed(how, a, b), self.blocks)

    return apply


@lru_cache(2**14)
def _computed(how: Callable[[Any, Any], Any], a: sp.Expr, b: sp.Expr) -> sp.Expr:
    if how is operator.floordiv:  # SymPy leaves the floor of (n + 1)² / (n + 1) as it is
        return sp.expand(sp.floor(sp.cancel(a / b)))
    # Expanded, equal polynomials are equal expressions.
    return sp.expand(how(a, b))


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _turned in (False, True):
        setattr(Extent, f"__{'r' * _turned}{_name}__", _operation(getattr(operator, _name), _turned))
