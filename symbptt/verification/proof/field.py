"""Arithmetic of the field of residues modulo a prime, on plain arrays of floats that hold whole numbers from 0 to P - 1.

Floats hold such numbers exactly, their products do not fit: these are formed of 64-bit integers, or of halves. A NaN is an
element that nobody has written; it stays one through every operation. An infinity is no element: sums and comparisons keep it,
and exp(-inf) is 0, which is all that a mask by -inf before a softmax asks of it; all else that meets one is a NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

P = 2017348511
"""A prime under 2**31 modulo which -1 is no square and all primes up to 73 are squares: so small numbers count as positive."""
HALF = 2.0**16
DEPTH = 32
"""Terms of a matrix product at once: 32 products of a number under 2**16 and one under 2**31 add up exactly."""
FEW = 8
"""The number of elements up to which Python's powers of single numbers are faster than arrays."""
MANY = 400
"""The number up to which a product of all, its inverse and the way back are faster than powers of an array."""


def reduced(x: Any) -> Any:
    """Return whole numbers under 2**53 modulo P."""
    return np.mod(x, P)


def sum_of(a: Any, b: Any) -> Any:
    """Return a + b modulo P, where one may be infinite."""
    found = np.asarray(a + b)
    infinite = np.isinf(found)
    return np.where(infinite, found, reduced(np.where(infinite, 0.0, found))) if infinite.any() else reduced(found)


def times(a: Any, b: Any) -> Any:
    """Return the product, elementwise."""
    a, b = np.asarray(a), np.asarray(b)
    # A sum of elements is finite where both are.
    with np.errstate(invalid="ignore"):
        known = np.isfinite(a + b)
    if known.all():
        return _times(a.astype(np.int64), b.astype(np.int64)).astype(float)
    with np.errstate(invalid="ignore"):
        return np.where(known, _times(a.astype(np.int64), b.astype(np.int64)).astype(float), np.nan)


def _times(a: Any, b: Any) -> Any:
    """Return the product of integers."""
    return np.remainder(a * b, P)


def product(a: Any, b: Any, call: Any = np.matmul) -> Any:
    """Return a matrix product, by NumPy's function for floats on halves of the first factor."""
    a, b = np.asarray(a), np.asarray(b)
    inner = a.shape[-1]
    if inner > DEPTH and call is np.matmul and b.ndim > 1:
        spans = [slice(lo, lo + DEPTH) for lo in range(0, inner, DEPTH)]
        return reduced(sum(product(a[..., span], b[..., span, :]) for span in spans))
    if inner > DEPTH:
        return reduced(np.sum(times(a, b[..., None, :] if b.ndim > 1 else b), -1))
    high = np.floor(a / HALF)
    # The first product is under 2**15 2**31 DEPTH = 2**51; reduced and shifted by 2**16 it is under 2**47.
    return reduced(reduced(call(high, b)) * HALF + call(a - high * HALF, b))


def power(a: Any, exponent: int) -> Any:
    """Return a power with a whole exponent, elementwise; of zero with a negative one, 0."""
    exponent %= P - 1
    a = np.asarray(a, float)
    if a.size <= FEW:
        values = [pow(int(x), exponent, P) if math.isfinite(x) else np.nan for x in a.ravel().tolist()]
        return np.array(values, float).reshape(a.shape)
    unknown = ~np.isfinite(a)
    base = np.where(unknown, 0, a).astype(np.int64)
    found = np.ones(a.shape, np.int64)
    for digit in bin(exponent)[2:]:
        found = _times(found, found)
        found = _times(found, base) if digit == "1" else found
    return np.where(unknown, np.nan, found.astype(float))


def inverse(a: Any) -> Any:
    """Return 1 / a, elementwise; of zero, 0: nothing that counts is divided by it.

    Source: Montgomery 1987, "Speeding the Pollard and elliptic curve methods of factorization", section 10.3.1.
    """
    a = np.asarray(a, float)
    if a.size > MANY:
        return power(a, P - 2)
    there = [int(x) for x in a.ravel().tolist() if math.isfinite(x) and x]
    product, before = 1, []
    for x in there:
        before.append(product)
        product = product * x % P
    rest, found = pow(product, -1, P), []
    for x, others in zip(reversed(there), reversed(before), strict=True):
        found.append(rest * others % P)
        rest = rest * x % P
    inverses = reversed(found)
    values = (0.0 if not x else next(inverses) if math.isfinite(x) else np.nan for x in a.ravel().tolist())
    return np.array([*values], float).reshape(a.shape)


def character(a: Any) -> Any:
    """Return 1 where a is a square other than zero, -1 where it is none, 0 where it is zero: the sign of an element.

    As with signs of real numbers that of a product is the product of the signs, -a has the other sign, a square is
    positive; small whole numbers are. It is no order: a sum of positive elements may have either sign.
    """
    if np.isinf(a).any():
        return np.where(np.isinf(a), np.sign(a), character(np.where(np.isinf(a), 0.0, a)))
    found = power(a, (P - 1) // 2)
    return np.where(found == P - 1, -1.0, found)


def root(a: int) -> int:
    """Return the positive square root of a positive element."""
    return pow(a, (P + 1) // 4, P)
