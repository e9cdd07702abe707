"""Numbers of a symbolic proof: polynomials with whole fractions as coefficients, with a tangent, whose functions are opaque.

The value of a function is a new letter for each new argument; all that is known of it is its derivative, a polynomial in
that letter: tanh' = 1 - tanh². A quotient is a product with the letter of a reciprocal. Two polynomials are equal if and only if
they are the same, so that a difference that is zero is a proof for all numbers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement, PolyRing

from symbptt.dense import of_objects
from symbptt.verification.proof.constants import meant

SLOTS = 40
"""Letters for values of functions with which an attempt begins."""
PACE = 1e-5
"""The seconds that a product of two terms takes, at the most."""


class OutOfTimeError(ArithmeticError):
    """A symbolic proof takes longer than it may."""


class OutOfLettersError(ArithmeticError):
    """A proof needs more letters for values of functions than its ring has."""


class UndefinedError(ArithmeticError):
    """A function that has no opaque version."""


class Letters:
    """A ring of polynomials, and the letters that stand for values of functions."""

    def __init__(self, count: int, slots: int, seed: int, end: float) -> None:
        names = [f"x{i}" for i in range(count)] + [f"f{i}" for i in range(slots)]
        # All letters are there from the start: a ring that grows would have to convert every polynomial made before.
        self.ring = PolyRing(names, QQ, "lex")
        self.free = list(self.ring.gens[:count])[::-1]
        self.slots = list(self.ring.gens[count:])[::-1]
        self.known: dict[tuple[Any, ...], PolyElement] = {}
        self.signs: dict[PolyElement, int] = {}
        self.softplus: dict[PolyElement, PolyElement] = {}
        self.random, self.end = random.Random(seed), end

    def letter(self) -> PolyElement:
        """Return a letter that stands for an argument."""
        return self.free.pop()

    def value(self, name: str, *args: PolyElement) -> PolyElement:
        """Return the letter of a function's value."""
        # The same argument has the same value: two letters for one number would make a true identity look false.
        key = (name, *args)
        if key not in self.known:
            if not self.slots:
                raise OutOfLettersError
            self.known[key] = self.slots.pop()
        return self.known[key]

    def reciprocal(self, p: PolyElement) -> PolyElement:
        """Return 1 / p: of a product the product of those of its factors, as far as these are known; of zero, 0."""
        if p.is_ground:
            return self.ring(1 / p.LC) if p else p
        # 1/(p q) and 1/p · 1/q must be one polynomial, else x / (p q) and (x / p) / q would differ.
        for q in [key[1] for key in self.known if key[0] == "1/"]:
            self.check(len(p) * len(p))
            (quotient,), rest = p.div([q])
            if not rest:
                return self.known["1/", q] * self.reciprocal(quotient)
        # That of a multiple is a multiple of one letter.
        return self.value("1/", p.monic()) / p.LC

    def constant(self, value: Any) -> PolyElement:
        """Return a number as a polynomial; a float is the decimal fraction that stands in the file."""
        exact = value if isinstance(value, int | Fraction) else meant(float(value))
        return self.ring(QQ(exact.numerator, exact.denominator))

    def sign(self, p: PolyElement) -> int:
        """Return the sign of a polynomial: that of a number, else one drawn at random, with that of -p opposite."""
        if not p:
            return 0
        if p.is_ground:
            return 1 if p.LC > 0 else -1
        # Multiples of one polynomial by a positive number have one sign.
        monic = p.monic()
        return self.signs.setdefault(monic, self.random.choice((1, -1))) * (1 if p.LC > 0 else -1)

    def product(self, p: PolyElement, q: PolyElement) -> PolyElement:
        """Return p q, or stop where the time is over."""
        self.check(len(p) * len(q))
        return p * q

    def check(self, terms: int) -> None:
        """Stop where the time is over, or so many products of terms take longer than what is left."""
        # Asked before a product and not after it: one product can take longer than all that is left.
        if time.process_time() + terms * PACE > self.end:
            raise OutOfTimeError


def _of_elements(operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return an operator that leaves arrays to NumPy, which asks for element after element."""

    def method(self: Any, other: Any) -> Any:
        return NotImplemented if getattr(other, "ndim", 0) else operator(self, other)

    return method


class Opaque:
    """a + b ε with ε² = 0, of polynomials."""

    __slots__ = ("a", "b", "letters")

    def __init__(self, letters: Letters, a: PolyElement, b: PolyElement | None = None) -> None:
        self.letters, self.a, self.b = letters, a, b

    def _other(self, x: Any) -> Opaque:
        x = _plain(x)
        return x if isinstance(x, Opaque) else Opaque(self.letters, self.letters.constant(x))

    def _with(self, a: PolyElement, *terms: tuple[PolyElement, PolyElement | None]) -> Opaque:
        parts = [self.letters.product(slope, b) for slope, b in terms if b is not None]
        # A tangent that is zero throughout is None, which saves the product with it.
        return Opaque(self.letters, a, sum(parts[1:], parts[0]) if parts else None)

    @_of_elements
    def __add__(self, other: Any) -> Opaque:
        y, one = self._other(other), self.letters.ring.one
        return self._with(self.a + y.a, (one, self.b), (one, y.b))

    @_of_elements
    def __mul__(self, other: Any) -> Opaque:
        y = self._other(other)
        return self._with(self.letters.product(self.a, y.a), (y.a, self.b), (self.a, y.b))

    def __neg__(self) -> Opaque:
        return self * -1

    @_of_elements
    def __sub__(self, other: Any) -> Opaque:
        return self + -self._other(other)

    @_of_elements
    def __rsub__(self, other: Any) -> Opaque:
        return self._other(other) - self

    @_of_elements
    def __truediv__(self, other: Any) -> Opaque:
        return self * self._other(other).reciprocal()

    @_of_elements
    def __rtruediv__(self, other: Any) -> Opaque:
        return self._other(other) * self.reciprocal()

    def __pow__(self, exponent: Any) -> Opaque:
        number = _plain(exponent)
        if isinstance(number, Opaque):
            if not number.a.is_ground:
                raise UndefinedError("power of values")
            number = Fraction(int(number.a.LC.numerator), int(number.a.LC.denominator)) if number.a else 0
        # A square root has a letter of its own, and slopes that cancel with it; other fractions have no polynomial.
        if number == 0.5:
            return self.sqrt()
        if number != int(number):
            raise UndefinedError("power")
        base = self if number >= 0 else self.reciprocal()
        found = self._other(1)
        for _ in range(abs(int(number))):
            found = found * base
        return found

    __radd__, __rmul__ = __add__, __mul__

    def reciprocal(self) -> Opaque:
        """Return 1 / a, by a letter of its own."""
        value = self.letters.reciprocal(self.a)
        return self._with(value, (-self.letters.product(value, value), self.b))

    def __abs__(self) -> Opaque:
        return self * self.sign()

    @_of_elements
    def __gt__(self, other: Any) -> bool:
        return self.letters.sign(self.a - self._other(other).a) > 0

    @_of_elements
    def __lt__(self, other: Any) -> bool:
        return self.letters.sign(self.a - self._other(other).a) < 0

    @_of_elements
    def __ge__(self, other: Any) -> bool:
        return not self < other

    @_of_elements
    def __le__(self, other: Any) -> bool:
        return not self > other

    def __eq__(self, other: object) -> bool:
        return bool(self.a == self._other(other).a)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self.a)

    def sign(self) -> int:
        """Return the sign of the value."""
        return self.letters.sign(self.a)

    def _odd(self, name: str, slope: Callable[[PolyElement], PolyElement]) -> Opaque:
        """Return the value of a function with f(-x) = -f(x)."""
        if not self.a:
            return self._with(self.a, (slope(self.a), self.b))
        # tanh(-x) and -tanh(x) must be one polynomial: the leading coefficient decides which of x and -x has the
        # letter.
        sign = 1 if self.a.LC > 0 else -1
        value = sign * self.letters.value(name, sign * self.a)
        return self._with(value, (slope(value), self.b))

    def _square(self, p: PolyElement) -> PolyElement:
        return self.letters.product(p, p)

    def tanh(self) -> Opaque:
        """Return tanh, whose derivative is 1 - tanh²."""
        return self._odd("tanh", lambda y: 1 - self._square(y))

    def sigmoid(self) -> Opaque:
        """Return σ, whose derivative is σ (1 - σ), with σ(-x) = 1 - σ(x)."""
        # σ(0) is a number; a letter for it would equal nothing.
        half = self.letters.constant(Fraction(1, 2))
        if not self.a:
            return self._with(half, (half * half, self.b))
        value = self.letters.value("sigmoid", self.a) if self.a.LC > 0 else 1 - self.letters.value("sigmoid", -self.a)
        return self._with(value, (value - self._square(value), self.b))

    def exp(self) -> Opaque:
        """Return exp, which is its derivative."""
        # exp(-softplus(x)) = 1 - σ(x): gates in the domain of logarithms are written in both ways.
        if -self.a in self.letters.softplus:
            x = self.letters.softplus[-self.a]
            value = 1 - Opaque(self.letters, x).sigmoid().a
        else:
            value = self.letters.value("exp", self.a) if self.a else self.letters.ring.one
        return self._with(value, (value, self.b))

    def expm1(self) -> Opaque:
        """Return exp - 1."""
        return self.exp() - 1

    def log1p(self) -> Opaque:
        """Return the logarithm of 1 + a."""
        return (self + 1).log()

    def softplus(self) -> Opaque:
        """Return log(1 + exp(a)), whose derivative is σ, and of which exp(-y) = 1 - σ is known."""
        value = self.letters.value("softplus", self.a)
        # Kept for `exp`, which may meet the negative of this letter later.
        self.letters.softplus[value] = self.a
        return self._with(value, (Opaque(self.letters, self.a).sigmoid().a, self.b))

    def log(self) -> Opaque:
        """Return the logarithm, whose derivative is the reciprocal."""
        return self._with(self.letters.value("log", self.a), (self.letters.reciprocal(self.a), self.b))

    def sqrt(self) -> Opaque:
        """Return the root, whose derivative is the reciprocal of twice itself."""
        # The root of one is one, as in norms of unit vectors; a letter would hide it.
        if self.a == 1:
            return self
        value = self.letters.value("sqrt", self.a)
        return self._with(value, (self.letters.reciprocal(2 * value), self.b))

    def sin(self) -> Opaque:
        """Return the sine."""
        # Even: cos(-x) is the letter of cos(x), so that the slope of sin(-x) is that of sin(x).
        cosine = self._even_letter("cos")
        return self._odd("sin", lambda _: cosine)

    def cos(self) -> Opaque:
        """Return the cosine."""
        return self._with(self._even_letter("cos"), (-Opaque(self.letters, self.a).sin().a, self.b))

    def _even_letter(self, name: str) -> PolyElement:
        return self.letters.value(name, self.a if not self.a or self.a.LC > 0 else -self.a)

    def square(self) -> Opaque:
        """Return a²."""
        return self * self

    def relu(self) -> Opaque:
        """Return a where it is positive, else zero."""
        return self if self > 0 else self * 0

    def conjugate(self) -> Opaque:
        """Return a, which is real."""
        return self

    def elementwise(self, name: str, *args: Any) -> Any:
        """Return a function of the language."""
        if name not in FUNCTIONS:
            raise UndefinedError(name)
        return FUNCTIONS[name](*args)


def _plain(x: Any) -> Any:
    """Return a number of NumPy's as one of Python's."""
    return x.item() if hasattr(x, "item") else x


def _as_method(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(x, name)()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "negative": lambda a: -a,
    "positive": lambda a: a,
    "reciprocal": lambda a: 1 / a,
    **{
        name: _as_method(name)
        for name in (
            "tanh",
            "sigmoid",
            "exp",
            "log",
            "sqrt",
            "expm1",
            "log1p",
            "softplus",
            "sin",
            "cos",
            "square",
            "relu",
            "sign",
        )
    },
    "abs": abs,
    "maximum": lambda a, b: a if a > b else b,
    "minimum": lambda a, b: a if a < b else b,
    "clip": lambda x, low, high: low if x < low else high if x > high else x,
    "where": lambda c, a, b: a if c else b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "logical_and": lambda a, b: bool(a) and bool(b),
    "logical_or": lambda a, b: bool(a) or bool(b),
    "logical_not": lambda a: not a,
    "leaky_relu": lambda x: x if x > 0 else x * Fraction(1, 100),
    "elu": lambda x: x if x > 0 else x.expm1(),
    "hard_tanh": lambda x: -1 + 0 * x if x < -1 else 1 + 0 * x if x > 1 else x,
    "mish": lambda x: x * x.softplus().tanh(),
    "silu": lambda x: x * x.sigmoid(),
    "stop_gradient": lambda x: Opaque(x.letters, x.a) if isinstance(x, Opaque) else x,
}
"""The functions of the language, of single elements."""


class Opaques(np.ndarray):
    """Arrays of such numbers whose functions of whole matrices are those of arithmetic."""

    def expm(self) -> Any:
        """Raise an error: no letter stands for an exponential of a matrix."""
        raise UndefinedError("expm")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__module__ != "numpy.linalg" or func.__name__ not in ("solve", "inv", "det"):
            return super().__array_function__(func, types, args, kwargs)
        a, *others = [np.asarray(x, object) for x in args]
        if func.__name__ == "inv":
            others = [np.broadcast_to(np.eye(a.shape[-1], dtype=int).astype(object), a.shape)]
        is_vector = func.__name__ == "solve" and others[0].ndim == 1
        if is_vector:
            others = [others[0][:, None]]
        found = of_objects("det" if func.__name__ == "det" else "solve", a, *others)
        return (found[..., 0] if is_vector else found).view(Opaques)
