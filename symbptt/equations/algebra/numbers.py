"""Numbers that are multiplied, as one: a page has 0.02 P for the slope 2 · 0.01 P."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256

import sympy as sp

DIGITS = 17
"""Digits of a float at the most: a decimal number that has more is no longer than its nearest float says."""
SMALL = 1000
"""Denominators up to which a number that is no decimal one is a fraction."""


def product(values: Sequence[sp.Expr]) -> list[sp.Expr]:
    """Return the factors of a product of numbers: the whole, decimal and rational ones as one number, the others as they are.

    A decimal number counts as what the page has it as: 3 · 0.1 is 0.3, not the float beside it that a computer makes of it.
    """
    # Infinities and symbols such as √π have no exact fraction.
    own = [x for x in values if x.is_Rational or (x.is_Float and math.isfinite(float(x)))]
    if len(own) < 2:
        return [*own, *(x for x in values if x not in own)]
    whole = math.prod(map(_exact, own), start=Fraction(1))
    one = _number(whole, own)
    if one is None:
        return list(values)
    return [*([one] if one != 1 else []), *(x for x in values if x not in own)]


def fingerprint(values: Sequence[complex]) -> str:
    """Return the beginning of the SHA-256 of numbers as 64-bit floats, which tells arrays apart that a page does not show whole."""
    parts = [part for x in values for part in ((x.real, x.imag) if isinstance(x, complex) else (x,))]
    return sha256(b"".join(struct.pack("<d", float(x)) for x in parts)).hexdigest()[:16]


def _exact(value: sp.Expr) -> Fraction:
    """Return the number that a page shows."""
    # `repr` gives the shortest decimal text that reads as the float: 0.1 counts as 1/10, not as 0.1000000000000000055...
    return Fraction(repr(float(value))) if value.is_Float else Fraction(int(value.p), int(value.q))


def _number(whole: Fraction, factors: Sequence[sp.Expr]) -> sp.Expr | None:
    """Return a product as a number: whole, the float that the factors have as their product, a short decimal
    number, a small fraction, or the nearest float; None where no float is near it."""
    if whole.denominator == 1 and abs(whole) < 10**DIGITS:
        return sp.Integer(whole.numerator)
    if all(x.is_Rational for x in factors):
        return sp.Rational(whole.numerator, whole.denominator)
    try:
        nearest = float(whole)
    except OverflowError:
        return None
    if not nearest:
        return None
    floats = [Fraction(float(x)) if x.is_Float else _exact(x) for x in factors]
    exact = math.prod(floats, start=Fraction(1))
    # Here the floats themselves have an exactly representable product, which then is the number that the user meant.
    if Fraction(float(exact)) == exact:  # as twice the float nearest to π
        return sp.Float(float(exact))
    if len(Decimal(repr(nearest)).normalize().as_tuple().digits) < DIGITS and Fraction(repr(nearest)) == whole:
        return sp.Float(nearest)
    return sp.Rational(whole.numerator, whole.denominator) if whole.denominator <= SMALL else sp.Float(nearest)
