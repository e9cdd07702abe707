"""Numbers that programs contain as elements of the field.

A float stands for the number that its author meant: 0.1 for 1/10, 0.30000000000000004 for 3/10, 0.7071067811865476 for the
root of 1/2. So constants that were multiplied before, each with its rounding, are still what they are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import numpy as np

from symbptt.verification.proof.field import P, root

LARGEST = 10**5
"""The largest denominator of a fraction that a float stands for; a decimal with few digits stands for itself."""
CLOSE = 1e-15
FEW_BITS = 32
"""Bits of a number that was made in single precision, which has 24, or of one less it; of others one in two million has so few."""
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
ROOT_OF_PI = 1234567891
"""An element that stands for the root of π, of which a program knows no more than that its square is π."""
EULER = pow(1234577, 2, P)
"""The element that stands for exp(1)."""
LOGARITHMS = {2: 987654321, 10: 192837465}
"""Elements that stand for logarithms."""


def fraction(value: Fraction) -> int:
    """Return the element of a fraction."""
    return value.numerator * pow(value.denominator, -1, P) % P


def meant(value: float) -> Fraction:
    """Return the fraction that a float stands for, of an irrational number the decimal that stands in the file."""
    found = _near(value, LARGEST) if value else Fraction(0)
    return found or Fraction(repr(value))


@lru_cache(4096)
def element(value: float) -> float:
    """Return the element that a float stands for; what is not finite stays what it is."""
    if not math.isfinite(value):
        return value
    told = _told(value)
    # repr gives the shortest decimal, which is what stands in the user's file.
    return float(fraction(Fraction(repr(value)))) if told is None else told


def _told(value: float) -> float | None:
    """Return the element of a float of which it can be told what was meant; of another one None."""
    if value == int(value):
        return float(int(value) % P)
    near = _near(value, LARGEST) or _of_few_bits(value)
    if near is not None:
        return float(fraction(near))
    square = _root_of(value)
    if square is not None:
        return float(square if value > 0 else P - square)
    for number, of in _known():
        rest = _near(value / number, 2 * LARGEST)
        if rest is not None:
            return float(fraction(rest) * of % P)
    return None


class Numbers:
    """The floats that the user's function brings with it, and what a program makes of them before it runs: sums of products.

    A program has 0.37 + 1.91 as one number, rounded once more than the terms are. It is the sum of their elements, and which numbers are
    its terms is found by their values: an element that is off the float by its rounding is as good as any.

    Example: of d h + g h with 0.3678794411714423 for d and 0.6931471805599453 for g the factor of h is 1.0610266217313876.
    """

    def __init__(self) -> None:
        self.seen: dict[float, None] = {}
        self.found: dict[tuple[float, int], float] = {}
        self.pairs = _pairs_of([])

    def note(self, value: float) -> float:
        """Return the element of a float of the user's."""
        if math.isfinite(value) and value != int(value):
            self.seen.setdefault(abs(value))
        return element(value)

    def made(self, value: float) -> float:
        """Return the element of a float of a program."""
        if not math.isfinite(value) or abs(value) in self.seen or not self.seen or _told(value) is not None:
            return element(value)
        key = (value, len(self.seen))
        if key not in self.found:
            multiple = self._multiple(value)
            self.found[key] = self._summed(value) if multiple is None else multiple
        return self.found[key]

    def _multiple(self, value: float) -> float | None:
        """Return the element of a float as a simple fraction of a number that is known."""
        for one in islice(self.seen, MULTIPLES):
            of = _near(value / one, SIMPLE)
            if of is not None:
                return float(fraction(of) * int(element(one)) % P)
        return None

    def _summed(self, value: float) -> float:
        """Return the element of a float as a sum of up to four numbers and products that are known; else as its decimal."""
        if self.pairs.count != len(self.seen):
            self.pairs = _pairs_of([*self.seen])
        sums = self.pairs.sums
        # The numbers that are missing to the value, each as near as rounding in a sorted list.
        rest, slack = value - sums, CLOSE * (np.abs(value) + np.abs(sums))
        at = np.minimum(np.searchsorted(sums, rest - slack), len(sums) - 1)
        hits = np.flatnonzero(np.abs(sums[at] - rest) <= slack)
        if not hits.size:
            return element(value)
        # Of several sums the shortest: numbers that the user made of others are elements of their own.
        i = hits[np.argmin(self.pairs.terms[hits] + self.pairs.terms[at[hits]])]
        return float((self.pairs.elements[i] + self.pairs.elements[at[i]]) % P)


@dataclass(frozen=True)
class _Pairs:
    """The sums of at most two terms of `count` numbers, in order, with their elements and how many factors they have."""

    count: int
    sums: Any
    elements: Any
    terms: Any


MULTIPLES, SIMPLE = 256, 100
"""Numbers of which a multiple is looked for, and the largest denominator of the factor."""
TERMS = 40
"""Numbers and products of which sums are formed: of n terms 2 n² pairs."""


def _pairs_of(seen: list[float]) -> _Pairs:
    singles = [(x, int(element(x)), 1) for x in [1.0, *seen[: TERMS - 1]]]
    products = [(a * b, x * y % P, 2) for i, (a, x, _) in enumerate(singles[1:]) for b, y, _ in singles[1 : i + 2]]
    terms = [*singles, *products][:TERMS]
    signed = [(0.0, 0, 0), *terms, *((-x, -of % P, n) for x, of, n in terms)]
    table = [(a + b, (x + y) % P, n + k) for a, x, n in signed for b, y, k in signed]
    sums, elements, counts = (np.array(column) for column in zip(*table, strict=True))
    order = np.argsort(sums, kind="stable")
    return _Pairs(len(seen), sums[order], elements[order], counts[order])


def _near(value: float, largest: int, roundings: int = 1) -> Fraction | None:
    """Return a fraction with a small numerator or denominator that is as near as rounding of a few operations, or None."""
    for found in (Fraction(value).limit_denominator(largest), _turned(value, largest)):
        if found and abs(float(found) - value) <= roundings * CLOSE * abs(value):
            return found
    return None


def _of_few_bits(value: float) -> Fraction | None:
    """Return what a number of single precision is, or that less a small one, or the inverse of one: none of these is a decimal."""
    found = Fraction(value)
    if found.numerator.bit_length() <= FEW_BITS:
        return found
    inverse = struct.unpack("f", struct.pack("f", 1 / value))[0] if 1e-30 < abs(value) < 1e30 else 0.0
    # As near as the rounding of a quotient: of other numbers one in 10⁸ has an inverse there.
    return 1 / Fraction(inverse) if inverse and abs(1 / inverse - value) <= CLOSE * abs(value) else None


def _turned(value: float, largest: int) -> Fraction | None:
    """Small numbers are fractions with a small numerator."""
    found = Fraction(1 / value).limit_denominator(largest) if abs(value) > 1e-300 else Fraction(0)
    return 1 / found if found else None


@cache
def _known() -> tuple[tuple[float, int], ...]:
    """Return irrational numbers that formulas have, with their elements."""
    return tuple(_products())


def _root_of(value: float) -> int | None:
    """Return the element of the root of a small fraction, or of that times a power of π; of another number None."""
    for k in (0, 1, -1, 2, -2):
        rest = _near(value * value / math.pi**k, 1000, 4)
        if rest is not None:
            square = fraction(rest)
            if pow(square, (P - 1) // 2, P) == 1:
                return root(square) * pow(ROOT_OF_PI, k, P) % P
    return None


def _products() -> Iterator[tuple[float, int]]:
    for square, k in ((2, 0), (3, 0), (1, 1), (2, 1), (Fraction(1, 2), 1), (1, 2), (2, -1), (1, -1)):
        of = root(fraction(Fraction(square))) * pow(ROOT_OF_PI, k, P) % P
        yield math.sqrt(square * math.pi**k), of
    scale, alpha = (fraction(Fraction(repr(value))) for value in (SELU_SCALE, SELU_ALPHA))
    yield from ((SELU_SCALE, scale), (SELU_ALPHA, alpha), (SELU_SCALE * SELU_ALPHA, scale * alpha % P))
    for number, of in [(math.log(n), of) for n, of in LOGARITHMS.items()] + [
        (math.e, EULER),
        (math.e**2, EULER**2 % P),
    ]:
        yield from ((number, of), (1 / number, pow(of, -1, P)))
