"""Functions of single numbers of 50 digits, with their slopes: none of these loses digits, whatever the argument is."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import mpmath

from symbptt.verification.rounding.exact import (
    DIGITS,
    ELEMENTWISE,
    ONE,
    ZERO,
    Exact,
    chosen,
    exact,
    made,
    power,
    units_lost,
)

SMALL = Decimal("1e-10")
"""The argument under which six terms of a series have 50 digits, where a difference of two numbers near one has not."""
HALF = ONE / 2


def _series(x: Decimal, divisors: tuple[int, ...], step: int = 1) -> Decimal:
    """Return x + x**(1 + step) / divisors[0] + ..., of a small x."""
    total, term = x, x
    for divisor in divisors:
        term = term * x**step
        total = total + term / divisor
    return total


def _expm1(x: Decimal) -> Decimal:
    # exp(x) - 1 loses as many digits as x is small: of 50 none would be left at 1e-50.
    return _series(x, (2, 6, 24, 120, 720)) if abs(x) < SMALL else x.exp() - 1


def _log1p(x: Decimal) -> Decimal:
    return _series(x, (-2, 3, -4, 5, -6)) if abs(x) < SMALL else (1 + x).ln()


def _sinh(x: Decimal) -> Decimal:
    # Odd terms alone: two exponentials near one would cancel all but |x| of their digits.
    return _series(x, (6, 120, 5040), 2) if abs(x) < SMALL else (x.exp() - (-x).exp()) / 2


def _cosh(x: Decimal) -> Decimal:
    return (x.exp() + (-x).exp()) / 2


def _tanh(x: Decimal) -> tuple[Decimal, Decimal]:
    """Return tanh and what its square leaves of one, by one exponential, which costs as much as all else."""
    # The exponential of a negative number is at most one, so that nothing overflows whatever x is. 1 - tanh² = 4e /
    # (1 + e)² is a quotient of positive numbers: it has all digits where 1 - tanh² by subtraction has none.
    e = (-2 * abs(x)).exp()
    less = 1 - e if abs(x) > SMALL else -_expm1(-2 * abs(x))
    return (less / (1 + e)).copy_sign(x), 4 * e / (1 + e) ** 2


def _sigmoid(x: Decimal) -> tuple[Decimal, Decimal]:
    """Return σ and what it leaves of one."""
    e = (-abs(x)).exp()
    # 1 - σ(x) = σ(-x) is a quotient of its own, not a difference, for the same reason.
    greater, less = ONE / (1 + e), e / (1 + e)
    return (greater, less) if x > 0 else (less, greater)


def _by_mpmath(function: Callable[..., Any]) -> Callable[..., Decimal]:
    def call(*args: Decimal) -> Decimal:
        with mpmath.workdps(DIGITS + 5):
            # Decimal has no trigonometric functions. A text carries the digits over, for a float would keep 16 of
            # them.
            return Decimal(mpmath.nstr(function(*(mpmath.mpf(str(x)) for x in args)), DIGITS + 3))

    return call


_sin, _cos, _tan, _atan, _erf, _atan2 = map(
    _by_mpmath, (mpmath.sin, mpmath.cos, mpmath.tan, mpmath.atan, mpmath.erf, mpmath.atan2)
)


def _erf_slope(x: Decimal) -> Decimal:
    with mpmath.workdps(DIGITS + 5):
        return 2 * (-x * x).exp() / Decimal(mpmath.nstr(mpmath.sqrt(mpmath.pi), DIGITS + 3))


SMOOTH: dict[str, tuple[Callable[[Decimal], Decimal], Callable[[Decimal, Decimal], Decimal]]] = {
    "exp": (Decimal.exp, lambda x, y: y),
    "log": (Decimal.ln, lambda x, y: ONE / x),
    "sqrt": (Decimal.sqrt, lambda x, y: ONE / (2 * y)),
    "expm1": (_expm1, lambda x, y: x.exp()),
    "log1p": (_log1p, lambda x, y: ONE / (1 + x)),
    "log2": (lambda x: x.ln() / Decimal(2).ln(), lambda x, y: ONE / (x * Decimal(2).ln())),
    "log10": (Decimal.log10, lambda x, y: ONE / (x * Decimal(10).ln())),
    "sinh": (_sinh, lambda x, y: _cosh(x)),
    "cosh": (_cosh, lambda x, y: _sinh(x)),
    "sin": (_sin, lambda x, y: _cos(x)),
    "cos": (_cos, lambda x, y: -_sin(x)),
    "tan": (_tan, lambda x, y: 1 + y * y),
    "arctan": (_atan, lambda x, y: ONE / (1 + x * x)),
    "erf": (_erf, lambda x, y: _erf_slope(x)),
}
"""Functions of one number: their values, and their slopes by argument and value."""


def _smooth(name: str, x: Any) -> Exact:
    a = exact(x)
    value_of, slope_of = SMOOTH[name]
    value = value_of(a.value)
    return Exact(value) if a.tape is None else a.tape.noted(value, [(a, slope_of(a.value, value))])


def tanh(x: Any) -> Exact:
    """Return tanh; on a tape that rounds its slope loses what a module's loses that takes it from the value."""
    a = exact(x)
    value, rest = _tanh(a.value)
    if a.tape is None:
        return Exact(value)
    return a.tape.noted(value, [(a, rest)], units_lost(a.tape, rest))


def sigmoid(x: Any) -> Exact:
    """Return σ; on a tape that rounds its slope loses what a module's loses that takes 1 - σ from the value."""
    a = exact(x)
    value, rest = _sigmoid(a.value)
    return Exact(value) if a.tape is None else a.tape.noted(value, [(a, value * rest)], units_lost(a.tape, rest))


def maximum(x: Any, y: Any) -> Exact:
    """Return the greater number; of a NaN a NaN."""
    a, b = exact(x), exact(y)
    if a.value == b.value:
        return chosen((x, y))
    return a if a.value > b.value or a.value.is_nan() else b


def minimum(x: Any, y: Any) -> Exact:
    """Return the smaller number; of a NaN a NaN."""
    # Negation is exact, so that ties and shares of the derivative are those of the maximum.
    return -maximum(-x, -y)


def absolute(x: Any) -> Exact:
    """Return |x|, whose slope at 0 is 0."""
    return abs(exact(x))


def sign(x: Any) -> Exact:
    """Return the sign, which is flat."""
    value = exact(x).value
    return Exact(Decimal((value > 0) - (value < 0)))


def floor(x: Any) -> Exact:
    """Return the whole number below, which is flat."""
    value = exact(x).value
    # Decimal divides towards zero, and a floor goes down: below zero one is taken off unless the number is whole.
    return Exact(value // 1 - (value % 1 < 0))


def _floor_divided(x: Any, y: Any) -> Exact:
    return floor(Exact(exact(x).value / exact(y).value))


def _mod(x: Any, y: Any) -> Exact:
    a, b = exact(x), exact(y)
    count = _floor_divided(a, b).value
    return made(a.value - count * b.value, [(a, ONE), (b, -count)])


def _fmod(x: Any, y: Any) -> Exact:
    a, b = exact(x), exact(y)
    count = a.value // b.value
    return made(a.value - count * b.value, [(a, ONE), (b, -count)])


def hypot(x: Any, y: Any) -> Exact:
    """Return the root of the sum of two squares, whose slopes at 0 are 0."""
    a, b = exact(x), exact(y)
    # Squares neither overflow nor vanish here: the exponents of decimals have no bound that data reaches.
    size = (a.value * a.value + b.value * b.value).sqrt()
    return made(size, [(a, a.value / size if size else ZERO), (b, b.value / size if size else ZERO)])


def arctan2(x: Any, y: Any) -> Exact:
    """Return the angle, whose slopes at 0 are 0."""
    a, b = exact(x), exact(y)
    square = a.value * a.value + b.value * b.value
    slopes = (b.value / square, -a.value / square) if square else (ZERO, ZERO)
    return made(_atan2(a.value, b.value), [(a, slopes[0]), (b, slopes[1])])


def logaddexp(x: Any, y: Any) -> Exact:
    """Return log(exp(x) + exp(y))."""
    a, b = exact(x), exact(y)
    # ∞ - ∞ below would be NaN, where the limit of the function is the greater of both.
    if a.value.is_infinite() or b.value.is_infinite():
        return maximum(a, b)
    # The greater one stands outside, so that the exponential is at most one: log(e^a + e^b) = a + log(1 + e^(b-a)).
    value = max(a.value, b.value) + _log1p((-abs(a.value - b.value)).exp())
    # The slopes are a softmax of two, σ(a - b) and what it leaves of one.
    slope, rest = _sigmoid(a.value - b.value)
    return made(value, [(a, slope), (b, rest)])


def stop_gradient(x: Any) -> Exact:
    """Return a number without its derivative."""
    return Exact(exact(x).value)


def square(x: Any) -> Exact:
    """Return x²."""
    a = exact(x)
    return a * a


OF_NUMPY: dict[str, tuple[int, Callable[..., Any]]] = {
    **{name: (1, partial(_smooth, name)) for name in SMOOTH},
    "tanh": (1, tanh),
    "absolute": (1, absolute),
    "fabs": (1, absolute),
    "sign": (1, sign),
    "floor": (1, floor),
    "square": (1, square),
    "reciprocal": (1, lambda x: 1 / exact(x)),
    "conjugate": (1, exact),
    "divide": (2, lambda x, y: exact(x) / exact(y)),
    "power": (2, lambda x, y: power(exact(x), exact(y))),
    "float_power": (2, lambda x, y: power(exact(x), exact(y))),
    "maximum": (2, maximum),
    "fmax": (2, maximum),
    "minimum": (2, minimum),
    "fmin": (2, minimum),
    "clip": (3, lambda x, low, high: minimum(maximum(x, low), high)),
    "remainder": (2, _mod),
    "fmod": (2, _fmod),
    "floor_divide": (2, _floor_divided),
    "hypot": (2, hypot),
    "arctan2": (2, arctan2),
    "logaddexp": (2, logaddexp),
    "isfinite": (1, lambda x: exact(x).value.is_finite()),
    "isnan": (1, lambda x: exact(x).value.is_nan()),
    "isinf": (1, lambda x: exact(x).value.is_infinite()),
}
"""NumPy's functions of single numbers, by name, with the number of their arguments."""
TRUTHS = ("isfinite", "isnan", "isinf")
OWN: dict[str, Callable[..., Any]] = {
    "sigmoid": sigmoid,
    "stop_gradient": stop_gradient,
    "erf": partial(_smooth, "erf"),
}
"""Functions of the language that NumPy has not, and that are not made of others."""
ELEMENTWISE.update(OWN)
