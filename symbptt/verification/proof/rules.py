"""The derivatives of the table of elementwise functions, which the field takes for granted: proved by SymPy and at 50 digits.

Each function is defined here once more, by exponentials and logarithms. The derivative that the table tells is compared with that of
the definition: as expressions, by SymPy, where the function has no kink; and in numbers of 50 digits, by differences of
mpmath, on both sides of a kink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath as mp
import sympy as sp

from symbptt import ops
from symbptt.ir.step import Step

DIGITS = 50
AGREED = 30
"""The digits to which a difference quotient of 50 digits has to agree."""
POINTS = ((0.3713, 0.6129, 0.9517), (0.1931, 0.4427, 0.7783), (0.5519, 0.2371, 0.8647))
"""Where in their domains the arguments are probed, as parts of the interval."""


def _half(x: Any) -> Any:
    return sp.exp(x) + sp.exp(-x), sp.exp(x) - sp.exp(-x)


SMOOTH: dict[str, Callable[..., sp.Expr]] = {
    "exp": sp.exp,
    "log": sp.log,
    "sqrt": lambda x: sp.exp(sp.log(x) / 2),
    "expm1": lambda x: sp.exp(x) - 1,
    "log1p": lambda x: sp.log(1 + x),
    "tanh": lambda x: _half(x)[1] / _half(x)[0],
    "sinh": lambda x: _half(x)[1] / 2,
    "cosh": lambda x: _half(x)[0] / 2,
    "sin": lambda x: (sp.exp(sp.I * x) - sp.exp(-sp.I * x)) / (2 * sp.I),
    "cos": lambda x: (sp.exp(sp.I * x) + sp.exp(-sp.I * x)) / 2,
    "tan": lambda x: (sp.exp(sp.I * x) - sp.exp(-sp.I * x)) / (sp.I * (sp.exp(sp.I * x) + sp.exp(-sp.I * x))),
    "arctan": lambda x: (sp.log(1 + sp.I * x) - sp.log(1 - sp.I * x)) / (2 * sp.I),
    "erf": sp.erf,
    "sigmoid": lambda x: 1 / (1 + sp.exp(-x)),
    "softplus": lambda x: sp.log(1 + sp.exp(x)),
    "hypot": lambda a, b: sp.sqrt(a**2 + b**2),
    "arctan2": lambda a, b: sp.atan(a / b),
}
"""Definitions of functions that are smooth, as SymPy has them, of positive arguments."""
NUMBERS: dict[str, Callable[..., Any]] = {
    "exp": mp.exp,
    "log": mp.log,
    "sqrt": mp.sqrt,
    "expm1": mp.expm1,
    "log1p": lambda x: mp.log(1 + x),
    "tanh": mp.tanh,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "arctan": mp.atan,
    "atan": mp.atan,
    "erf": mp.erf,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "hypot": lambda a, b: mp.sqrt(a * a + b * b),
    "arctan2": mp.atan2,
    "absolute": abs,
    "sign": mp.sign,
    "floor": mp.floor,
    "relu": lambda x: max(x, mp.mpf(0)),
    "maximum": max,
    "minimum": min,
    "mod": lambda a, b: a - b * mp.floor(a / b),
    "fmod": lambda a, b: a - b * mp.sign(a / b) * mp.floor(abs(a / b)),
    "floor_divide": lambda a, b: mp.floor(a / b),
    "where": lambda c, a, b: a if c else b,
    "greater": lambda a, b: mp.mpf(a > b),
    "greater_equal": lambda a, b: mp.mpf(a >= b),
    "less": lambda a, b: mp.mpf(a < b),
    "less_equal": lambda a, b: mp.mpf(a <= b),
    "equal": lambda a, b: mp.mpf(a == b),
    "not_equal": lambda a, b: mp.mpf(a != b),
    "logical_and": lambda a, b: mp.mpf(bool(a) and bool(b)),
    "logical_or": lambda a, b: mp.mpf(bool(a) or bool(b)),
    "logical_not": lambda a: mp.mpf(not a),
    "ahead": lambda a, b: mp.mpf(a > b),
    "normal_density": mp.npdf,
    "normal_share": mp.ncdf,
}
"""The functions in numbers of any precision, by the names of the table and of SymPy."""
ALONE = ("stop_gradient",)
"""Functions whose derivative is declared, not that of their values."""


@dataclass(frozen=True)
class Rule:
    """The derivative of a function by one of its arguments: whether SymPy proves it, None where it has a kink or a jump, and
    whether it agrees at 50 digits."""

    function: str
    argument: int
    by_sympy: bool | None
    by_digits: bool

    @property
    def holds(self) -> bool:
        """Answer whether nothing speaks against it."""
        return self.by_sympy is not False and self.by_digits


@cache
def rules_of(name: str) -> tuple[Rule, ...]:
    """Return the rules of a function of the table, one for each argument."""
    op = ops.BY_NAME[name]
    symbols = _symbols(op.arity)
    value = sp.sympify(op.body(*symbols))
    partials = [sp.diff(value, x) for x in symbols]
    shown = [sp.sympify(slope(*symbols, ops.SHOWN[name](*symbols))) for slope in op.slopes[: op.arity]]
    found = []
    for i, partial in enumerate(partials):
        told = [partial, *shown[i : i + 1]]
        by_sympy = _is_proved(name, i, partial) if name in SMOOTH else None
        found.append(Rule(name, i, by_sympy, all(_agrees(op, i, expr) for expr in told)))
    return tuple(found)


def _symbols(count: int) -> list[sp.Symbol]:
    return [sp.Symbol(f"x{i}", positive=True) for i in range(count)]


def _is_proved(name: str, argument: int, partial: sp.Expr) -> bool:
    """Answer whether the derivative of the definition minus the partial derivative of the table is zero, by SymPy."""
    symbols = _symbols(ops.BY_NAME[name].arity)
    difference = sp.diff(SMOOTH[name](*symbols), symbols[argument]) - _defined(partial)
    return bool(sp.simplify(difference.rewrite(sp.exp)) == 0)


def _defined(expr: sp.Expr) -> sp.Expr:
    """Return an expression in which the functions of the table are replaced by their definitions."""
    if not expr.args:
        return expr
    args = [_defined(arg) for arg in expr.args]
    name = ops.PRIMITIVES[expr.func].name if expr.func in ops.PRIMITIVES else ""
    if name in SMOOTH and name not in ("exp", "log", "erf"):
        return SMOOTH[name](*args)
    if expr.func in (ops.where, ops.equal):  # what is done where a divisor is zero: not here
        return args[2] if expr.func is ops.where else sp.S.Zero
    return expr.func(*args)


def _agrees(op: ops.Op, argument: int, partial: sp.Expr) -> bool:
    """Answer whether a partial derivative agrees with differences of the function, both in numbers of 50 digits."""
    symbols = _symbols(op.arity)
    known = NUMBERS | {op.name: _named(op)}
    value = sp.lambdify(symbols, sp.sympify(op.body(*symbols)), modules=[known, "mpmath"])
    slope = sp.lambdify(symbols, partial, modules=[known, "mpmath"])
    # A constant of 16 digits that is the product of two is no nearer than that to their product.
    least = mp.mpf(10) ** -(15 if partial.atoms(sp.Float) else AGREED)
    low, high = op.domain
    order = tuple(int(i == argument) for i in range(op.arity))
    with mp.workdps(DIGITS):
        for parts in POINTS:
            point = tuple(mp.mpf(low) + (mp.mpf(high) - low) * mp.mpf(part) for part in parts[: op.arity])
            if op.name == "where":
                point = (mp.mpf(parts[0] > 0.5), *point[1:])
            wanted = mp.mpf(0) if op.name == "where" and argument == 0 else mp.diff(value, point, order)
            if abs(wanted - slope(*point)) > least * (1 + abs(wanted)):
                return False
    return True


def _named(op: ops.Op) -> Callable[..., Any]:
    """Return the function itself in numbers, for slopes that are written with it."""
    if op.name in NUMBERS:
        return NUMBERS[op.name]
    is_told = op.body not in ops.PRIMITIVES or op.body.__name__ in NUMBERS
    assert is_told, f"{op.name} is a primitive, and its value at 50 digits is not among the NUMBERS"
    symbols = _symbols(op.arity)
    return sp.lambdify(symbols, sp.sympify(op.body(*symbols)), modules=[NUMBERS, "mpmath"])


def functions_in(steps: Iterable[Step]) -> set[str]:
    """Return the functions of the table that the graphs of steps have."""
    bodies = [node.attrs.expr for step in steps for node in step.graph if node.family == "map"]
    found = {
        ops.PRIMITIVES[f.func].name for body in bodies for f in body.atoms(sp.Function) if f.func in ops.PRIMITIVES
    }
    roots = any(power.exp == sp.S.Half or power.exp == -sp.S.Half for body in bodies for power in body.atoms(sp.Pow))
    return (found | ({"sqrt"} if roots else set())) - {*ALONE}


def wrong_rules(names: Iterable[str]) -> tuple[str, ...]:
    """Return the functions whose derivatives in the table are not those of the functions."""
    return tuple(sorted({rule.function for name in names for rule in rules_of(name) if not rule.holds}))


def line_of_rules(names: Iterable[str]) -> str:
    """Return in one line which rules of the table a proof takes for granted, and how they are proved."""
    rules = [rule for name in sorted(names) for rule in rules_of(name) if rule.holds]
    proved = sorted({rule.function for rule in rules if rule.by_sympy})
    others = sorted({rule.function for rule in rules} - {*proved})
    texts = [f"by SymPy and at 50 digits: {', '.join(proved)}"] * bool(proved)
    texts += [f"at 50 digits, on the sides of their kinks: {', '.join(others)}"] * bool(others)
    wrong = wrong_rules(names)
    return f"Scalar rules: {'; '.join(texts) or 'none'}" + (f"; WRONG: {', '.join(wrong)}" if wrong else "")
