"""Numbers that programs contain as elements of the field.

A float stands for the number that its author meant: 0.1 for 1/10, 0.30000000000000004 for 3/10, 0.7071067811865476 for the
root of 1/2. So constants that were multiplied before, each with its rounding, are still what they are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cache, lru_cache

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
    """Return the element that a float stands for; of what is not finite, a NaN."""
    if not math.isfinite(value):
        return math.nan
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
    # repr gives the shortest decimal, which is what stands in the user's file.
    return float(fraction(Fraction(repr(value))))


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
