"""Arrays of intervals: arithmetic rounded outwards, and SymPy expressions over them.

For example x + y over [0.1, 0.1] and [0.2, 0.2]: the float sum 0.30000000000000004 is not the exact one, so TwoSum reports a
remainder and both ends move to the next float, outwards. Over [0.5, 0.5] and [0.25, 0.25] the remainder is 0 and the ends
stay. Products with 0 and ±1 are not widened either, so that a product of gates in [0, 1] stays in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache, partial, reduce
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.ir.scalar import NAME_OF

ULPS = 8
"""A function of NumPy is taken to be right to so many units in the last place."""


@dataclass(frozen=True)
class Interval:
    """All numbers from `lo` to `hi`, elementwise; ends may be infinite. Shapes: both alike."""

    lo: Any
    hi: Any

    @property
    def size(self) -> Any:
        """The largest absolute value, elementwise."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    @property
    def is_exact(self) -> bool:
        return self.lo is self.hi or bool(np.array_equal(self.lo, self.hi))

    def each(self, function: Callable[[Any], Any]) -> Interval:
        """Return both ends mapped by a monotone function, such as index arithmetic."""
        lo = function(self.lo)
        return Interval(lo, lo if self.lo is self.hi else function(self.hi))


def exactly(value: Any) -> Interval:
    """Return the interval that contains a value alone."""
    value = np.asarray(value, np.float64)
    return Interval(value, value)


def between(lo: Any, hi: Any, shape: tuple[int, ...] = ()) -> Interval:
    """Return an interval from its ends, repeated to a shape."""
    ends = [np.asarray(end, np.float64) for end in (lo, hi)]
    return Interval(*(end if end.shape == shape else np.broadcast_to(end, shape) for end in ends))


def everything(shape: tuple[int, ...] = ()) -> Interval:
    """Return all numbers."""
    return between(-np.inf, np.inf, shape)


def hull(a: Interval, b: Interval) -> Interval:
    """Return the least interval that contains both."""
    return Interval(np.minimum(a.lo, b.lo), np.maximum(a.hi, b.hi))


def common(a: Interval, b: Interval) -> Interval:
    """Return what lies in both of two enclosures of the same value."""
    lo, hi = np.maximum(a.lo, b.lo), np.minimum(a.hi, b.hi)
    # Two enclosures of one value always meet; where rounding leaves them a gap of some units, the gap itself is the
    # answer, not an interval with its ends exchanged.
    return Interval(np.minimum(lo, hi), np.maximum(lo, hi))


def holds(outer: Interval, inner: Interval) -> bool:
    """Answer whether one interval lies inside another, everywhere."""
    return bool(np.all(outer.lo <= inner.lo) and np.all(inner.hi <= outer.hi))


def outwards(lo: Any, hi: Any, slack: Any = 0.0) -> Interval:
    """Return an interval widened by `slack`; NaN becomes an infinite end."""
    with np.errstate(invalid="ignore", over="ignore"):
        lo, hi = np.asarray(lo) - slack, np.asarray(hi) + slack
    # ∞ − ∞ arises where an end is unbounded: a NaN would compare false with everything and hide the missing bound.
    return Interval(np.where(np.isnan(lo), -np.inf, lo), np.where(np.isnan(hi), np.inf, hi))


def _below(x: Any, exact: Any) -> Any:
    return np.where(exact, x, np.nextafter(x, -np.inf))


def _above(x: Any, exact: Any) -> Any:
    return np.where(exact, x, np.nextafter(x, np.inf))


def _plus(x: Any, y: Any) -> tuple[Any, Any]:
    """A sum and whether it was rounded not at all (Knuth's TwoSum)."""
    total = x + y
    # The remainder is exact in IEEE arithmetic as long as nothing overflows; an infinite sum leaves NaN, which counts
    # as rounded.
    part = total - x
    return total, (x - (total - part)) + (y - part) == 0


def rounded_up(value: float, digits: int = 6) -> float:
    """Return a number of some digits that is not less, for print."""
    if value == 0 or not np.isfinite(value):
        return value
    # In decimals, as the unit of the last digit of a number near the smallest float is less than any float. The 1e-9 keeps
    # a number of few digits, which no float is exactly, from rising by one unit.
    exact = Decimal(float(value))
    last = exact.adjusted() - digits + 1
    return float((exact.scaleb(-last) - Decimal("1e-9")).to_integral_value(ROUND_CEILING).scaleb(last))


def add(a: Interval, b: Interval) -> Interval:
    """Return the sums."""
    with np.errstate(all="ignore"):
        lo, low_exact = _plus(a.lo, b.lo)
        hi, high_exact = _plus(a.hi, b.hi)
        return outwards(_below(lo, low_exact), _above(hi, high_exact))


def multiply(a: Interval, b: Interval) -> Interval:
    """Return the products; zero times infinity is zero, as an infinite end stands for numbers without a bound."""
    for one, other in ((a, b), (b, a)):
        if one.lo is one.hi and one.lo.ndim == 0 and abs(one.lo) == 1:
            return other if one.lo == 1 else Interval(-other.hi, -other.lo)
    with np.errstate(all="ignore"):
        products = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    if any(np.isnan(value).any() for value in products):
        # Only 0 · ∞ can be NaN here. An infinite end means "arbitrarily large", and zero times any number is zero.
        products = [np.where(np.isnan(value), 0.0, value) for value in products]
    lo, hi = reduce(np.minimum, products), reduce(np.maximum, products)
    exact = _are_units(a) | _are_units(b)
    with np.errstate(over="ignore"):
        wide = Interval(_below(lo, exact), _above(hi, exact))
    # Only what was widened at zero may have left the side of it on which the product lies.
    if not (((lo == 0) | (hi == 0)) & ~exact).any():
        return wide
    rises = ((a.lo >= 0) & (b.lo >= 0)) | ((a.hi <= 0) & (b.hi <= 0))
    falls = ((a.lo >= 0) & (b.hi <= 0)) | ((a.hi <= 0) & (b.lo >= 0))
    return _signed(wide, rises, falls)


def _signed(x: Interval, positive: Any, negative: Any) -> Interval:
    """An interval that widening took beyond zero, cut where the signs of its values are known."""
    return Interval(np.where(positive & (x.lo < 0), 0.0, x.lo), np.where(negative & (x.hi > 0), 0.0, x.hi))


def _are_units(x: Interval) -> Any:
    """Return a mask of the intervals with both ends 0 or ±1, so that products with them are not rounded."""
    low, high = np.abs(x.lo), np.abs(x.hi)
    return ((low == 0) | (low == 1)) & ((high == 0) | (high == 1))


NO_NUMBERS = (sp.zoo, sp.nan, sp.oo, -sp.oo)


def constant(value: sp.Expr) -> Interval:
    """Return a SymPy number; all numbers for an expression without a real value, such as a quotient by zero in a branch."""
    if value.has(*NO_NUMBERS) or value.is_real is False:
        return everything()
    # A Float is a number of the user's as it stands; a rational or a symbolic constant, such as 1/3 or π, lies within
    # one unit of its nearest float.
    near = float(value)
    if value.is_Float or sp.Rational(near) == value:
        return exactly(near)
    return Interval(np.nextafter(near, -np.inf), np.nextafter(near, np.inf))


Ranges = Mapping[sp.Expr, Interval]


def evaluate(expr: sp.Expr, ranges: Ranges) -> Interval:
    """Return an interval that contains all values of an expression over its symbols' ranges."""
    return evaluate_each((expr,), [ranges])[0][0]


def evaluate_each(parts: tuple[sp.Expr, ...], cases: Sequence[Ranges]) -> list[list[Interval]]:
    """Return intervals for some expressions over each of some ranges of their symbols, the first of which differ from the others in
    the symbols alone whose intervals are other objects: what reads none of these is evaluated once.
    """
    plan, results, found = plan_of(parts), [], list[Interval]()
    for ranges in cases:
        stale = {s for s in plan.symbols if found and ranges[s] is not cases[0][s]}
        values = list[Interval]()
        for i, (function, args, reads) in enumerate(plan.lines):
            if found and reads.isdisjoint(stale):
                values.append(found[i])
            else:
                values.append(ranges[args] if function is None else function(*(values[j] for j in args)))
        found = found or values
        results.append([values[root] for root in plan.roots])
    return results


Line = tuple[Callable[..., Interval] | None, Any, frozenset[sp.Symbol]]
"""A function with the lines that it reads, or a symbol; and the symbols that all of it reads."""


@dataclass(frozen=True)
class Plan:
    """Expressions as lines, each of which reads lines before it; equal parts are one line."""

    lines: tuple[Line, ...]
    roots: tuple[int, ...]
    symbols: frozenset[sp.Symbol]


@lru_cache(4096)
def plan_of(parts: tuple[sp.Expr, ...]) -> Plan:
    """Return how expressions are evaluated: what SymPy is asked for is asked once, not at every evaluation."""
    lines: list[Line] = []
    known: dict[sp.Expr, int] = {}
    roots = tuple(_planned(part, lines, known) for part in parts)
    return Plan(tuple(lines), roots, frozenset(s for part in parts for s in part.free_symbols))


def _planned(expr: sp.Expr, lines: list[Line], known: dict[sp.Expr, int]) -> int:
    """The line of an expression, written with those that it reads where it is new."""
    if expr in known:
        return known[expr]
    function, inner = _function(expr)
    if function is None:
        line: Line = (None, expr, frozenset([expr]))
    else:
        args = tuple(_planned(part, lines, known) for part in inner)
        line = (function, args, frozenset().union(*(lines[i][2] for i in args)))
    lines.append(line)
    known[expr] = len(lines) - 1
    return known[expr]


def _function(expr: sp.Expr) -> tuple[Callable[..., Interval] | None, tuple[sp.Expr, ...]]:
    """Return the interval function of an expression and the parts that it reads; None for a symbol."""
    if expr.is_Symbol:
        return None, ()
    # An expression that contains an infinity or a NaN in one of its parts is walked part by part: a branch that is
    # never taken must not spoil the one that is.
    if not expr.free_symbols and not (expr.args and expr.has(*NO_NUMBERS)):
        number = constant(expr)
        return lambda: number, ()
    if expr.is_Pow:
        base, exponent = expr.args
        if exponent.is_number:
            return partial(_power, exponent), (base,)
        return lambda x, n: _rising("exp", multiply(n, _rising("log", x))), (base, exponent)
    if expr.is_Add or expr.is_Mul:
        return partial(_reduced, add if expr.is_Add else multiply), expr.args
    if hasattr(expr.func, "expansion"):
        return partial(_expanded, expr.func.expansion), expr.args
    name = NAME_OF.get(expr.func, "")
    # A monotone function takes its extremes at the ends, so that two evaluations are enough.
    if name in RISING:
        return partial(_rising, name), expr.args[:1]
    return FUNCTIONS.get(name, lambda *parts: everything()), expr.args


def _reduced(function: Callable[[Interval, Interval], Interval], *parts: Interval) -> Interval:
    return reduce(function, parts)


def _expanded(expansion: sp.Expr, *parts: Interval) -> Interval:
    """A function that stands for an expression over _0, _1, ..."""
    return evaluate(expansion, {sp.Symbol(f"_{i}", real=True): part for i, part in enumerate(parts)})


def _near(lo: Any, hi: Any, least: Any = -np.inf, most: Any = np.inf) -> Interval:
    """The values of a NumPy function, widened by its rounding and cut to the range of the function."""
    with np.errstate(all="ignore"):
        found = outwards(lo - ULPS * np.spacing(np.abs(lo)), hi + ULPS * np.spacing(np.abs(hi)))
    return Interval(np.maximum(found.lo, least), np.minimum(found.hi, most))


QUARTER = float(np.nextafter(np.pi / 2, np.inf))
"""A float over π/2: the nearest one is less."""
RISING: dict[str, tuple[float, float]] = {
    "exp": (0, np.inf), "expm1": (-1, np.inf), "log": (-np.inf, np.inf), "log1p": (-np.inf, np.inf),
    "sinh": (-np.inf, np.inf), "arctan": (-QUARTER, QUARTER), "tanh": (-1, 1), "erf": (-1, 1), "sigmoid": (0, 1),
    "softplus": (0, np.inf), "relu": (0, np.inf), "sign": (-1, 1), "floor": (-np.inf, np.inf),
}  # fmt: skip
"""Functions that never fall, with the least and the greatest value."""
EXACT = ("relu", "sign", "floor")
FROM_ZERO = ("expm1", "log1p", "sinh", "arctan", "tanh", "erf")
"""Those whose value has the sign of its argument."""


def _rising(name: str, x: Interval) -> Interval:
    function = ops.BY_NAME[name].evaluate
    with np.errstate(all="ignore"):
        ends = [np.asarray(function(end), np.float64) for end in (x.lo, x.hi)]
    least, most = RISING[name]
    # At an infinite end the limit of the function stands in, as NumPy may return NaN there.
    lo, hi = np.where(x.lo == -np.inf, least, ends[0]), np.where(x.hi == np.inf, most, ends[1])
    # exp of a number that is not positive is at most 1, whatever its rounding adds.
    highest = np.where(x.hi <= 0, 1.0, most) if name == "exp" else most
    if name in EXACT:
        return Interval(lo, hi)
    near = _near(lo, hi, least, highest)
    return _signed(near, x.lo >= 0, x.hi <= 0) if name in FROM_ZERO else near


def absolute(x: Interval) -> Interval:
    """Return the absolute values."""
    return Interval(np.where((x.lo <= 0) & (x.hi >= 0), 0.0, np.minimum(np.abs(x.lo), np.abs(x.hi))), x.size)


def _power(exponent: sp.Expr, x: Interval) -> Interval:
    if exponent.is_Integer:
        positive = _whole_power(x, abs(int(exponent)))
    else:
        inside = Interval(np.maximum(x.lo, 0.0), np.maximum(x.hi, 0.0))  # elsewhere the power is not a real number
        with np.errstate(all="ignore"):
            positive = _near(inside.lo ** float(abs(exponent)), inside.hi ** float(abs(exponent)), 0.0)
    return reciprocal(positive) if exponent.is_negative else positive


def _whole_power(x: Interval, n: int) -> Interval:
    # An even power of [−1, 2] is [0, 4]; as a product of equal factors it would be [−2, 4].
    x = absolute(x) if n % 2 == 0 else x
    with np.errstate(all="ignore"):
        lo, hi = x.lo**n, x.hi**n
    # Powers of 0 and ±1 are not rounded; one that underflows to 0 is.
    exact = _are_units(x) | (n == 1)
    wide = _near(lo, hi, 0.0 if n % 2 == 0 else -np.inf)
    found = Interval(np.where(exact, lo, wide.lo), np.where(exact, hi, wide.hi))
    return _signed(found, x.lo >= 0, x.hi <= 0)


def reciprocal(x: Interval) -> Interval:
    """Return 1 / x; without a bound where x may come to zero."""
    with np.errstate(all="ignore"):
        # An end at zero itself leaves one side bounded: 1 / [0, 2] is [1/2, ∞). A zero inside leaves both sides open.
        zero = (x.lo <= 0) & (x.hi >= 0)
        low, high = 1 / np.where(x.hi == 0, np.inf, x.hi), 1 / np.where(x.lo == 0, np.inf, x.lo)
        low = np.where(zero & (x.lo < 0), -np.inf, low)
        high = np.where(zero & (x.hi > 0), np.inf, np.where(x.hi == 0, 0.0, high))
        both_zero = (x.lo == 0) & (x.hi == 0)
        return _near(np.where(both_zero, -np.inf, low), np.where(both_zero, np.inf, high))


def _cosine(x: Interval) -> Interval:
    return _wave(np.cos, x, 0.0)


def _sine(x: Interval) -> Interval:
    return _wave(np.sin, x, np.pi / 2)


def _wave(function: Any, x: Interval, top: float) -> Interval:
    """A sine or cosine, which is 1 at `top` and −1 half a turn on."""
    with np.errstate(all="ignore"):
        # Up to 1e8 the reduction to one turn errs by some 1e-8, far less than `slack`; beyond, all values count as possible.
        whole = ~(np.isfinite(x.lo) & np.isfinite(x.hi)) | (x.hi - x.lo >= 2 * np.pi) | (x.size > 1e8)
        lo, hi = np.where(whole, 0.0, x.lo), np.where(whole, 0.0, x.hi)
        near = _near(np.minimum(function(lo), function(hi)), np.maximum(function(lo), function(hi)), -1, 1)
        peak = _passes(lo, hi, top) | whole
        trough = _passes(lo, hi, top + np.pi) | whole
    return Interval(np.where(trough, -1.0, near.lo), np.where(peak, 1.0, near.hi))


def _passes(lo: Any, hi: Any, at: float) -> Any:
    """Return where intervals contain `at` plus a multiple of 2π, or come near it."""
    # The slack errs to the safe side: a turn that is only nearly reached widens the interval to ±1.
    slack = 1e-6
    return np.floor((hi - at + slack) / (2 * np.pi)) >= np.ceil((lo - at - slack) / (2 * np.pi))


def _tangent(x: Interval) -> Interval:
    with np.errstate(all="ignore"):
        # The tangent rises between its poles, so that both ends must lie between the same two.
        branch = np.floor(x.lo / np.pi + 0.5) == np.floor(x.hi / np.pi + 0.5)
        near = _near(np.tan(x.lo), np.tan(x.hi))
    branch &= np.isfinite(x.lo) & np.isfinite(x.hi)
    return Interval(np.where(branch, near.lo, -np.inf), np.where(branch, near.hi, np.inf))


def _truth(certain: Any, possible: Any) -> Interval:
    return Interval(np.where(certain, 1.0, 0.0), np.where(possible, 1.0, 0.0))


def _not(a: Interval) -> Interval:
    return Interval(1.0 - (a.hi != 0), 1.0 - ((a.lo > 0) | (a.hi < 0)))


def _equal(a: Interval, b: Interval) -> Interval:
    # Both comparisons hold only if all four ends are one number, since lo ≤ hi.
    return _truth((a.lo == b.hi) & (a.hi == b.lo), (a.lo <= b.hi) & (b.lo <= a.hi))


def _where(c: Interval, a: Interval, b: Interval) -> Interval:
    yes, no = (c.lo > 0) | (c.hi < 0), (c.lo == 0) & (c.hi == 0)
    either = hull(a, b)
    return Interval(
        np.where(yes, a.lo, np.where(no, b.lo, either.lo)), np.where(yes, a.hi, np.where(no, b.hi, either.hi))
    )


def _cosh(x: Interval) -> Interval:
    size = absolute(x)
    with np.errstate(all="ignore"):
        return _near(np.cosh(size.lo), np.cosh(size.hi), 1.0)


def _hypot(a: Interval, b: Interval) -> Interval:
    first, second = absolute(a), absolute(b)
    with np.errstate(all="ignore"):
        return _near(np.hypot(first.lo, second.lo), np.hypot(first.hi, second.hi), 0.0)


def _arctan2(a: Interval, b: Interval) -> Interval:
    """The angles to the corners of a box; of a box that the half line of the angle π meets, all angles."""
    with np.errstate(all="ignore"):
        angles = [np.arctan2(y, x) for y in (a.lo, a.hi) for x in (b.lo, b.hi)]
    near = _near(reduce(np.minimum, angles), reduce(np.maximum, angles), -2 * QUARTER, 2 * QUARTER)
    # arctan2 jumps from −π to π across the negative half line.
    cut = (b.lo <= 0) & (a.lo <= 0) & (a.hi >= 0)
    return Interval(np.where(cut, -2 * QUARTER, near.lo), np.where(cut, 2 * QUARTER, near.hi))


def _floor_divide(a: Interval, b: Interval) -> Interval:
    return _where_nonzero(b, _rising("floor", multiply(a, reciprocal(b))))


def _mod(a: Interval, b: Interval) -> Interval:
    """Between 0 and the divisor; where the whole quotient is one number, the first argument less so many divisors."""
    anywhere = Interval(np.minimum(b.lo, 0.0), np.maximum(b.hi, 0.0))
    return _where_nonzero(b, common(anywhere, _less_whole(a, b, _floor_divide(a, b))))


def _fmod(a: Interval, b: Interval) -> Interval:
    """Of the sign of the first argument, smaller than it and than the divisor."""
    most = np.minimum(a.size, b.size)
    anywhere = Interval(np.where(a.lo < 0, -most, 0.0), np.where(a.hi > 0, most, 0.0))
    quotient = multiply(a, reciprocal(b))
    low, high = (np.trunc(end) for end in (quotient.lo, quotient.hi))
    return _where_nonzero(b, common(anywhere, _less_whole(a, b, Interval(low, high))))


def _less_whole(a: Interval, b: Interval, whole: Interval) -> Interval:
    one = (whole.lo == whole.hi) & np.isfinite(whole.lo)
    count = Interval(*(np.where(one, end, 0.0) for end in (-whole.lo, -whole.hi)))
    found = add(a, multiply(count, b))
    return Interval(np.where(one, found.lo, -np.inf), np.where(one, found.hi, np.inf))


def _where_nonzero(b: Interval, found: Interval) -> Interval:
    """Nothing is known of a remainder or a quotient by what may be zero."""
    zero = (b.lo <= 0) & (b.hi >= 0)
    return Interval(np.where(zero, -np.inf, found.lo), np.where(zero, np.inf, found.hi))


FUNCTIONS: dict[str, Callable[..., Interval]] = {
    "abs": absolute, "sin": _sine, "cos": _cosine, "tan": _tangent, "cosh": _cosh,
    "hypot": _hypot, "arctan2": _arctan2, "mod": _mod, "fmod": _fmod, "floor_divide": _floor_divide,
    "maximum": lambda a, b: Interval(np.maximum(a.lo, b.lo), np.maximum(a.hi, b.hi)),
    "minimum": lambda a, b: Interval(np.minimum(a.lo, b.lo), np.minimum(a.hi, b.hi)),
    "greater": lambda a, b: _truth(a.lo > b.hi, a.hi > b.lo), "less": lambda a, b: _truth(a.hi < b.lo, a.lo < b.hi),
    "greater_equal": lambda a, b: _truth(a.lo >= b.hi, a.hi >= b.lo),
    "less_equal": lambda a, b: _truth(a.hi <= b.lo, a.lo <= b.hi),
    "equal": _equal, "not_equal": lambda a, b: _not(_equal(a, b)), "where": _where, "logical_not": _not,
    # De Morgan's law spares a second table of certain and possible.
    "logical_and": lambda a, b: _not(_either(_not(a), _not(b))), "logical_or": lambda a, b: _either(a, b),
    "stop_gradient": lambda a: a,
}  # fmt: skip


def _either(a: Interval, b: Interval) -> Interval:
    return _truth((_not(a).hi == 0) | (_not(b).hi == 0), (_not(a).lo == 0) | (_not(b).lo == 0))
