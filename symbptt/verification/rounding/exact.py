"""Numbers of 50 digits, and a tape of the operations on them by which their derivatives go back, one number at a time.

A tape may round as floats do: with a unit of rounding each result that floats have not, each slope and each sum of cotangents is off by
one unit up or down, at random. The derivative of a function that is off so in every operation shows how far rounding may move it,
whatever formulas a module has.

Source: Parker 1997, "Monte Carlo Arithmetic", section 3.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from typing import Any

import numpy as np

DIGITS = 50
ONE, ZERO = Decimal(1), Decimal(0)
PLAIN = (ZERO, ONE, -ONE)
"""Slopes by which a cotangent is passed on without rounding."""
Pair = tuple[Any, Decimal]
"""An argument of an operation and the slope by it."""


@contextmanager
def fifty_digits() -> Iterator[None]:
    """Let numbers have 50 digits, and let what is undefined be NaN or infinite, as in floats."""
    # No traps: 0/0 is NaN and 1/0 infinite, as in the floats that a module runs on, and regimes at the edge have
    # both.
    with localcontext(Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])):
        yield


class Tape:
    """The operations in their order, each with its arguments and slopes; `unit` is what each is off by, `least` the limit under which a
    module takes what tanh and σ leave of one from their argument; what is below `smallest` may become zero."""

    def __init__(self, unit: float = 0.0, seed: int = 0, least: float = 0.0, smallest: float = 0.0) -> None:
        self.parents: list[tuple[tuple[int, Decimal], ...]] = []
        self.unit, self.least, self.smallest = Decimal(unit), Decimal(least), Decimal(smallest)
        self.bits = 1 - math.frexp(unit)[1] + 1 if unit else 0
        self.random = random.Random(seed)

    def leaf(self, value: Decimal) -> Exact:
        """Return a number whose derivative is asked for."""
        return self.noted(value, ())

    def noted(self, value: Decimal, pairs: Sequence[Pair], lost: Decimal = ONE) -> Exact:
        """Return the result of an operation; its slopes are off by `lost` units."""
        if self.unit:
            # Off by one unit up or down with equal chance, and not by a random part of one: the worst case of each
            # operation is what the bound of a rounding is made of.
            value = value if self._is_exact(value) else self._off(value, ONE)
            pairs = [(x, slope if slope in PLAIN else self._off(slope, lost)) for x, slope in pairs if x.tape is self]
        return self.passed(value, pairs)

    def passed(self, value: Decimal, pairs: Sequence[Pair]) -> Exact:
        """Return the result of an operation that does not round."""
        # Only arguments on this tape get a cotangent: constants have none.
        self.parents.append(tuple((x.node, slope) for x, slope in pairs if x.tape is self))
        return Exact(value, self, len(self.parents) - 1)

    def _is_exact(self, value: Decimal) -> bool:
        """Answer whether floats of this unit have a number as it is: such results they do not round, so that ties stay ties."""
        # The significand, scaled to as many bits as the type has, is whole where nothing was rounded.
        near = float(value)
        return value == near and math.ldexp(math.frexp(near)[0], self.bits).is_integer()

    def _off(self, value: Decimal, lost: Decimal) -> Decimal:
        # What is subnormal may be flushed to zero, so that all of it can be lost.
        step = value if abs(value) < self.smallest else self.unit * lost * value
        return value + step if self.random.random() < 0.5 else value - step

    def pulled(self, root: Exact) -> list[Decimal]:
        """Return the derivative of a number by every number of the tape."""
        found = [ZERO] * len(self.parents)
        if root.tape is self:
            found[root.node] = ONE
        # Operations are noted in the order in which they ran, so that every reader of a number stands behind it.
        for node in range(len(found) - 1, -1, -1):
            bar = found[node]
            if bar:
                for parent, slope in self.parents[node]:
                    # A slope of zero hands nothing on, also where the cotangent is infinite: a branch that is not taken.
                    if slope:
                        before, found[parent] = found[parent], found[parent] + bar * slope
                        # What cancels in such a sum leaves the rounding of what was there before.
                        if self.unit and before:
                            found[parent] = self._off(found[parent], ONE)
        return found


def _operator(call: Callable[[Exact, Exact], Exact]) -> tuple[Any, Any]:
    def forward(self: Exact, other: Any) -> Any:
        # An array takes over: it applies the operator to each of its elements.
        return NotImplemented if isinstance(other, np.ndarray) and other.ndim else call(self, exact(other))

    def backward(self: Exact, other: Any) -> Any:
        return NotImplemented if isinstance(other, np.ndarray) and other.ndim else call(exact(other), self)

    return forward, backward


def _comparison(call: Callable[[Decimal, Decimal], Any]) -> Any:
    return lambda self, other: call(self.value, exact(other).value)


class Exact:
    """A number of 50 digits; `node` is its place on a tape, if it is on one; `written` is one of an array that the body has made."""

    __slots__ = ("node", "tape", "value", "written")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Decimal, tape: Tape | None = None, node: int = -1, written: bool = False) -> None:
        self.value, self.tape, self.node, self.written = value, tape, node, written

    def __repr__(self) -> str:
        return f"Exact({self.value})"

    def __float__(self) -> float:
        # A silent conversion would end the 50 digits, and nothing would tell.
        raise TypeError("an array of floats cannot hold a number of 50 digits")

    def __bool__(self) -> bool:
        return bool(self.value)

    def __neg__(self) -> Exact:
        return Exact(-self.value) if self.tape is None else self.tape.passed(-self.value, [(self, -ONE)])

    def __pos__(self) -> Exact:
        return self

    def __abs__(self) -> Exact:
        # At 0 the slope is 0, the convention of the language: x * 0 stays on the tape with that slope.
        return -self if self.value < 0 else self if self.value else self * 0

    __add__, __radd__ = _operator(lambda a, b: made(a.value + b.value, [(a, ONE), (b, ONE)]))
    __sub__, __rsub__ = _operator(lambda a, b: made(a.value - b.value, [(a, ONE), (b, -ONE)]))
    __mul__, __rmul__ = _operator(lambda a, b: made(a.value * b.value, [(a, b.value), (b, a.value)]))
    __truediv__, __rtruediv__ = _operator(lambda a, b: _divided(a, b))
    __pow__, __rpow__ = _operator(lambda a, b: power(a, b))
    __lt__, __le__, __gt__, __ge__, __eq__, __ne__ = map(
        _comparison, (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
    )

    def conjugate(self) -> Exact:
        """Return the number, which is real."""
        return self

    def elementwise(self, name: str, *args: Any) -> Any:
        """Return a function of the language."""
        return ELEMENTWISE[name](*args)


ELEMENTWISE: dict[str, Callable[..., Any]] = {}
"""The functions of the language on single numbers, by name."""


def exact(value: Any) -> Exact:
    """Return a number as one of 50 digits: a float is the number that it stands for."""
    if type(value) is Exact:
        return value
    if isinstance(value, np.ndarray | np.generic):
        found = value.item()  # one of more digits than Python's floats stays; a module has it as a float
        return exact(float(found) if isinstance(found, np.longdouble) else found)
    return Exact(Decimal(value))


def made(value: Decimal, pairs: Sequence[Pair], lost: Decimal = ONE) -> Exact:
    """Return the result of an operation, on the tape that its arguments are on, if any is."""
    for x, _ in pairs:
        if x.tape is not None:
            return x.tape.noted(value, pairs, lost)
    return Exact(value)


def chosen(values: Sequence[Any]) -> Exact:
    """Return one of equal values: a number of the body, which has no 50 digits yet, wins; others have equal shares of the derivative."""
    numbers, value = [x for x in values if type(x) is not Exact], exact(values[0]).value
    tape = next((x.tape for x in values if type(x) is Exact and x.tape is not None), None)
    if numbers or tape is None:
        return Exact(value, written=all(type(x) is Exact and x.written for x in values))
    return tape.passed(value, [(x, ONE / len(values)) for x in values])


def _divided(a: Exact, b: Exact) -> Exact:
    value = a.value / b.value
    slope = ONE / b.value
    # 1 / (1 + exp(-x)) is a gate too: where it is near one its value has few digits of what it leaves of one.
    return made(value, [(a, slope), (b, -value * slope)], lost(a, b, value))


def lost(a: Exact, b: Exact, value: Decimal) -> Decimal:
    """Return the units that a slope may have lost where it is taken from a value near one."""
    tape = a.tape or b.tape
    return ONE if tape is None or not tape.unit else units_lost(tape, ONE - abs(value))


def units_lost(tape: Tape, rest: Decimal) -> Decimal:
    """Return the units of rounding that what a value leaves of one may be off by, if it is taken from the value."""
    return ONE / rest if tape.least <= rest < ONE and rest > 0 else ONE


def power(a: Exact, b: Exact) -> Exact:
    """Return a power."""
    x, n = a.value, b.value
    # x⁰ is one everywhere, also at x = 0 where 0 · x^(-1) would be NaN.
    if n == 0:
        return made(ONE, [(a, ZERO), (b, x.ln() if x > 0 else ZERO)])
    value = x**n if x or n > 0 else Decimal("Infinity")
    # At a base of 0 each exponent has its own limit: 1 for n = 1, 0 above it, infinite below it.
    slope = n * x ** (n - 1) if x or n > 1 else ONE if n == 1 else ZERO if n > 1 else Decimal("Infinity")
    # A plain exponent has no slope; its logarithm of a negative base is never asked for.
    pairs = [(a, slope)]
    return made(value, pairs if b.tape is None else [*pairs, (b, value * x.ln() if x > 0 else ZERO)])
