"""Elementwise functions as random elements of the field: the same for the same argument, else anything.

A function is known by what a proof may use of it: its values are drawn when they are first asked for, and remembered.
What is true of the function as a formula is true of the values: exp(a + b) = exp(a) exp(b), log(exp(x)) = x, log(a b) =
log(a) + log(b), log(1 + exp(x)) = x + log(1 + exp(-x)), sin² + cos² = 1, sqrt(x)² = x; tanh, sigmoid, softplus and others are made of exp.
Both sides of a comparison ask the same memory.

A square root exists for every second element. While arguments are drawn, `strict`, one that has none raises an error; otherwise
such a root r of x is any square, drawn for x, and r² = x is not known of it. What is the same on both sides for any r is so for the root;
what needs r² = x differs, and is compared at arguments that are looked for, at which all roots exist.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from math import inf, isfinite
from typing import Any

import numpy as np

from symbptt.verification.proof.constants import EULER, LOGARITHMS, ROOT_OF_PI, Numbers
from symbptt.verification.proof.field import P, character, inverse, reduced, root, sum_of, times

ONE_HALF = (P + 1) // 2
SIX = 3
"""Whole numbers that two exponents of one base may differ by."""
MARKS = 2**17
"""Remainders by which it is told that a number is no key: so many that a few of a hundred look-ups are in vain."""
MULTIPLES = ((2, pow(2, -1, (P - 1) // 2)), (3, pow(3, -1, (P - 1) // 2)), (pow(3, -1, P), 3))
"""Factors of an exponent, and the powers that undo them on squares, of which there are (P - 1) / 2: neither 2 nor 3 divides that."""


class NoRootError(ArithmeticError):
    """An argument of a square root, `value`, is no square; `count` of those that were asked for with it are none."""

    def __init__(self, value: int, count: int = 1) -> None:
        super().__init__(f"{value} is no square modulo {P}")
        self.value, self.count = value, count


class Keys:
    """The keys of a table as an array beside it, so that one with a known partner is found by a few operations on all of them."""

    def __init__(self, table: dict[int, int]) -> None:
        self.table, self.count = table, 0
        self.keys = np.empty(64, np.int64)
        # Of each remainder whether a key may have it: what a bit says of a key that is forgotten is only asked again.
        self.marks = np.zeros(MARKS, bool)

    def _grow(self) -> None:
        """Take in what came to the table since."""
        fresh = [*islice(reversed(self.table), len(self.table) - self.count)][::-1]
        if self.count + len(fresh) > len(self.keys):
            self.keys = np.concatenate([self.keys, np.empty(len(self.keys) + len(fresh), np.int64)])
        self.keys[self.count : self.count + len(fresh)] = fresh
        self.marks[self.keys[self.count : self.count + len(fresh)] % MARKS] = True
        self.count += len(fresh)

    def shorten(self) -> None:
        """Leave out what the table has forgotten."""
        self.count = min(self.count, len(self.table))

    def one(self, partner: Callable[[Any], Any]) -> int | None:
        """Return the first partner of a key that is a key itself."""
        self._grow()
        partners = partner(self.keys[: self.count]) % P
        return next((a for a in partners[self.marks[partners % MARKS]].tolist() if a in self.table), None)


class Atoms:
    """The memory of the values that were drawn for one case."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.strict = False
        self.numbers, self.generates = Numbers(), False
        self.exponentials: dict[int, int] = {0: 1, 1: EULER, P - 1: pow(EULER, -1, P)}
        self.logarithms: dict[int, int] = {1: 0, EULER: 1, pow(EULER, -1, P): P - 1}
        self.exponents, self.arguments = Keys(self.exponentials), Keys(self.logarithms)
        self.memory: dict[tuple[Any, ...], int] = {}
        self.powers: dict[int, list[tuple[int, int]]] = {}
        self.calls: dict[Any, Any] = {}
        """What users' functions made of these values, by their arguments."""
        for n, of in LOGARITHMS.items():
            self._remember(of, n)

    def element(self, value: float) -> float:
        """Return the element of a float of the user's function, or of what is generated where that is run."""
        return self.numbers.made(value) if self.generates else self.numbers.note(value)

    def lengths(self) -> tuple[int, int, int, int]:
        """Return how much is remembered."""
        return len(self.exponentials), len(self.logarithms), len(self.memory), len(self.powers)

    def forget(self, lengths: tuple[int, int, int, int]) -> None:
        """Forget what was remembered since: what was drawn for arguments that are not used."""
        self.calls.clear()
        tables: tuple[dict[Any, Any], ...] = (self.exponentials, self.logarithms, self.memory, self.powers)
        for table, count in zip(tables, lengths, strict=True):
            while len(table) > count:
                table.popitem()
        self.exponents.shorten()
        self.arguments.shorten()

    def _anything(self) -> int:
        return self.random.randrange(1, P)

    def settled(self, x: int) -> int:
        """Return the entry of a fixed point that is drawn for x."""
        key = ("settled", x)
        if key not in self.memory:
            self.memory[key] = self._anything()
        return self.memory[key]

    def _remember(self, x: int, y: int) -> None:
        """Note that y = exp(x), and x = log(y), and the same of -x and 1 / y."""
        for a, b in ((x, y), (-x % P, pow(y, -1, P))):
            self.exponentials.setdefault(a, b)
            self.logarithms.setdefault(b, a)

    def exp(self, x: int) -> int:
        """Return exp(x): a square, as a positive number is one."""
        found = self.exponentials.get(x)
        if found is None:
            self._remember(x, self._from_known(x) or pow(self._anything(), 2, P))
            found = self.exponentials[x]
        return found

    def _from_known(self, x: int) -> int | None:
        """Return exp(x) by those of two numbers of which x is the sum, or of 2 x, 3 x or x / 3, where these are known."""
        a = self.exponents.one(lambda keys: x - keys)
        if a is not None:
            return self.exponentials[a] * self.exponentials[(x - a) % P] % P
        for of, exponent in MULTIPLES:
            found = self.exponentials.get(of * x % P)
            if found is not None and pow(found, (P - 1) // 2, P) == 1:
                return pow(found, exponent, P)
        return None

    def log(self, y: int) -> int:
        """Return log(y); of zero, which no program that is right asks for, anything."""
        if y == 0:
            return self.of(("log 0",))
        found = self.logarithms.get(y)
        if found is None:
            found = self._softplus(y)
            found = self._of_product(y) if found is None else found
            self._remember(self._anything() if found is None else found, y)
            found = self.logarithms[y]
        return found

    def _softplus(self, y: int) -> int | None:
        """Return log(1 + exp(u)), where y is one more than an exponential that is known."""
        u = self.logarithms.get((y - 1) % P)
        if u is None or u == 0:
            return None
        other = self.logarithms.get((1 + pow(y - 1, -1, P)) % P)
        return None if other is None else (u + other) % P

    def _of_product(self, y: int) -> int | None:
        """Return log(y), where y is the product of two numbers whose logarithms are known."""
        # 1 / b is known with every b.
        a = self.arguments.one(lambda keys: y * keys)
        return None if a is None else (self.logarithms[a] - self.logarithms[pow(y, -1, P) * a % P]) % P

    def sqrt(self, x: int) -> int:
        """Return the root of x that is a square itself."""
        if pow(x, (P - 1) // 2, P) in (0, 1):
            return root(x)
        if self.strict:
            raise NoRootError(x)
        return pow(self.of(("sqrt", x)), 2, P)

    def power(self, x: int, exponent: int) -> int:
        """Return exp(exponent log(x)), so that whole differences of exponents are powers of x."""
        if x == 0:
            return 0
        known = self.powers.setdefault(x, [(0, 1)])
        for other, value in known:
            for sign, at in ((1, value), (-1, pow(value, -1, P))):
                step = (exponent - sign * other + SIX) % P - SIX
                if -SIX <= step <= SIX:
                    return at * pow(x, step, P) % P
        known.append((exponent, self.exp(exponent * self.log(x) % P)))
        return known[-1][1]

    def of(self, key: tuple[Any, ...]) -> int:
        """Return the value of a function of which nothing is known."""
        found = self.memory.get(key)
        if found is None:
            found = self.memory[key] = self._anything()
        return found

    def odd(self, name: str, x: int) -> int:
        """Return the value of a function with f(-x) = -f(x)."""
        if x == 0:
            return 0
        return self.of((name, x)) if x < P - x else -self.of((name, P - x)) % P


def mapped(call: Callable[..., int], *arrays: Any) -> Any:
    """Return a function of single elements on arrays; of what is no element a NaN."""
    arrays = np.broadcast_arrays(*arrays) if len(arrays) > 1 else tuple(map(np.asarray, arrays))
    rows = zip(*(array.ravel().tolist() for array in arrays), strict=True)
    found = [call(*map(int, row)) if all(map(isfinite, row)) else np.nan for row in rows]
    return np.array(found, float).reshape(arrays[0].shape)


Value = Callable[..., Any]


def _exp(m: Atoms, x: Any) -> Any:
    return np.where(np.asarray(x) == -inf, 0.0, mapped(m.exp, x))


def _over(a: Any, b: Any) -> Any:
    return times(a, inverse(b))


def _tanh(m: Atoms, x: Any) -> Any:
    e = _exp(m, x)
    square = times(e, e)
    return _over(reduced(square - 1), reduced(square + 1))


def _sigmoid(m: Atoms, x: Any) -> Any:
    return inverse(reduced(1 + _exp(m, reduced(-x))))


def _circle(m: Atoms, x: Any) -> Any:
    """Return an element t by which sin(x) = 2 t / (1 + t²) and cos(x) = (1 - t²) / (1 + t²)."""
    return mapped(lambda z: m.odd("circle", z), x)


def _sin(m: Atoms, x: Any) -> Any:
    t = _circle(m, x)
    return _over(reduced(2 * t), reduced(1 + times(t, t)))


def _cos(m: Atoms, x: Any) -> Any:
    t = _circle(m, x)
    square = times(t, t)
    return _over(reduced(1 - square), reduced(1 + square))


def _hyperbolic(sign: int) -> Value:
    def function(m: Atoms, x: Any) -> Any:
        e = _exp(m, x)
        return times(reduced(e + sign * inverse(e)), ONE_HALF)

    return function


def _softplus(m: Atoms, x: Any) -> Any:
    return mapped(m.log, reduced(1 + _exp(m, x)))


def chosen(a: Any, b: Any, sign: int) -> Any:
    """Return the greater of two elements, or with -1 the less."""
    return np.where(sign * character(sum_of(a, -b)) > 0, a, b)


def _logaddexp(m: Atoms, a: Any, b: Any) -> Any:
    # The same whichever of both is taken out: log(1 + exp(u)) = u + log(1 + exp(-u)).
    return reduced(b + _softplus(m, reduced(a - b)))


def _roots(m: Atoms, x: Any) -> Any:
    """Return square roots; where one is missed, an error says how many are."""
    x = np.asarray(x)
    missed = x[character(x) < 0] if m.strict else []
    if len(missed):
        raise NoRootError(int(missed[0]), len(np.unique(missed)))
    return mapped(m.sqrt, x)


def _hypot(m: Atoms, a: Any, b: Any) -> Any:
    return _roots(m, reduced(times(a, a) + times(b, b)))


def _arctan2(m: Atoms, a: Any, b: Any) -> Any:
    _hypot(m, a, b)  # its slope is written with the distance, which must exist
    return mapped(lambda y, x: m.of(("arctan2", y, x)), a, b)


def _floor_divide(m: Atoms, a: Any, b: Any) -> Any:
    return mapped(lambda z: m.of(("floor", z)), _over(a, b))


def _remaining(m: Atoms, a: Any, b: Any) -> Any:
    return reduced(a - times(b, _floor_divide(m, a, b)))


VALUES: dict[str, Value] = {
    "exp": _exp,
    "expm1": lambda m, x: reduced(_exp(m, x) - 1),
    "exp2": lambda m, x: _exp(m, times(x, LOGARITHMS[2])),
    "log": lambda m, x: mapped(m.log, x),
    "log1p": lambda m, x: mapped(m.log, reduced(1 + x)),
    "log2": lambda m, x: _over(mapped(m.log, x), LOGARITHMS[2]),
    "log10": lambda m, x: _over(mapped(m.log, x), LOGARITHMS[10]),
    "sqrt": _roots,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "sinh": _hyperbolic(-1),
    "cosh": _hyperbolic(1),
    "sin": _sin,
    "cos": _cos,
    "tan": lambda m, x: _over(_sin(m, x), _cos(m, x)),
    "arctan": lambda m, x: mapped(lambda z: m.odd("arctan", z), x),
    "erf": lambda m, x: mapped(lambda z: m.odd("erf", z), x),
    "floor": lambda m, x: mapped(lambda z: m.of(("floor", z)), x),
    "sign": lambda m, x: reduced(character(x)),
    "absolute": lambda m, x: times(x, reduced(character(x))),
    "maximum": lambda m, a, b: chosen(a, b, 1),
    "minimum": lambda m, a, b: chosen(a, b, -1),
    "logaddexp": _logaddexp,
    "hypot": _hypot,
    "arctan2": _arctan2,
    "floor_divide": _floor_divide,
    "remainder": _remaining,
    "fmod": _remaining,
}
"""The elementwise functions by NumPy's names, of a memory and arrays."""


def _two_over_root_of_pi() -> int:
    return 2 * pow(ROOT_OF_PI, -1, P) % P


def _circle_slope(a: Any, b: Any) -> Any:
    return inverse(reduced(times(a, a) + times(b, b)))


SLOPES: dict[str, tuple[Value, ...]] = {
    "exp": (lambda m, x, y: y,),
    "expm1": (lambda m, x, y: reduced(y + 1),),
    "exp2": (lambda m, x, y: times(y, LOGARITHMS[2]),),
    "log": (lambda m, x, y: inverse(x),),
    "log1p": (lambda m, x, y: inverse(reduced(1 + x)),),
    "log2": (lambda m, x, y: inverse(times(x, LOGARITHMS[2])),),
    "log10": (lambda m, x, y: inverse(times(x, LOGARITHMS[10])),),
    "sqrt": (lambda m, x, y: inverse(reduced(2 * y)),),
    "tanh": (lambda m, x, y: reduced(1 - times(y, y)),),
    "sigmoid": (lambda m, x, y: times(y, reduced(1 - y)),),
    "softplus": (lambda m, x, y: _sigmoid(m, x),),
    "sinh": (lambda m, x, y: VALUES["cosh"](m, x),),
    "cosh": (lambda m, x, y: VALUES["sinh"](m, x),),
    "sin": (lambda m, x, y: _cos(m, x),),
    "cos": (lambda m, x, y: reduced(-_sin(m, x)),),
    "tan": (lambda m, x, y: reduced(1 + times(y, y)),),
    "arctan": (lambda m, x, y: inverse(reduced(1 + times(x, x))),),
    "erf": (lambda m, x, y: times(_two_over_root_of_pi(), _exp(m, reduced(-times(x, x)))),),
    "floor": (lambda m, x, y: 0 * y,),
    "sign": (lambda m, x, y: 0 * y,),
    "absolute": (lambda m, x, y: reduced(character(x)),),
    "maximum": (lambda m, a, b, y: _share(a, b), lambda m, a, b, y: _share(b, a)),
    "minimum": (lambda m, a, b, y: _share(b, a), lambda m, a, b, y: _share(a, b)),
    "logaddexp": (
        lambda m, a, b, y: _logaddexp_slope(m, a, b),
        lambda m, a, b, y: reduced(1 - _logaddexp_slope(m, a, b)),
    ),
    "hypot": (lambda m, a, b, y: _over(a, y), lambda m, a, b, y: _over(b, y)),
    "arctan2": (
        lambda m, a, b, y: times(b, _circle_slope(a, b)),
        lambda m, a, b, y: reduced(-times(a, _circle_slope(a, b))),
    ),
    "floor_divide": (lambda m, a, b, y: 0 * y, lambda m, a, b, y: 0 * y),
    "remainder": (lambda m, a, b, y: 0 * y + 1, lambda m, a, b, y: reduced(-_floor_divide(m, a, b))),
    "fmod": (lambda m, a, b, y: 0 * y + 1, lambda m, a, b, y: reduced(-_floor_divide(m, a, b))),
}
"""Their partial derivatives, as a textbook has them, of the arguments and the value: written here once more, so that nothing is
taken from the table that is proved."""


def _share(ahead: Any, other: Any) -> Any:
    """Return the slope of the greater of two elements by the first: one half where both are equal, as the language has it."""
    sign = character(sum_of(ahead, -other))
    return np.where(sign > 0, 1.0, np.where(sign == 0, float(ONE_HALF), 0.0))


def _logaddexp_slope(m: Atoms, a: Any, b: Any) -> Any:
    """Return the slope of log(exp(a) + exp(b)) by the first: σ(a - b)."""
    return _sigmoid(m, reduced(a - b))
