"""Functions of whole matrices over the field: elimination is exact there, and an exponential is a polynomial.

All that a derivation uses of the exponential of a matrix is true of every polynomial p: p(Aᵀ) = p(A)ᵀ, and the upper right
block of p([[A, E], [0, A]]) is the derivative of p at A in the direction E. So it is proved for the sum of the first terms of
its series, which stands for any function of that kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symbptt.verification.proof.field import P, inverse, product, reduced, times

TERMS = 5
"""The terms of the series of exp that stand for it."""


def solved(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the solution of a x = b and the determinant of a, both elements; of a singular matrix anything.

    Shapes: a (..., n, n), b (..., n, k), the solution (..., n, k), the determinant (...).
    Source: Golub and Van Loan 2013, "Matrix Computations", section 3.4, with the first element that is not zero as pivot.
    """
    lead, n = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-1]
    count = int(np.prod(lead))
    wide = np.concatenate([np.broadcast_to(a, (*lead, n, n)), np.broadcast_to(b, (*lead, *b.shape[-2:]))], -1).reshape(
        count, n, n + b.shape[-1]
    )
    det, rows = np.ones(count), np.arange(count)
    for i in range(n):
        p = i + np.argmax(wide[:, i:, i] != 0, -1)
        top = wide[rows, p]
        wide[rows, p] = wide[:, i]
        det = times(det, np.where(p == i, top[:, i], reduced(-top[:, i])))
        top = times(top, inverse(top[:, i])[:, None])
        wide[:, i] = top
        factors = wide[:, :, i].copy()
        factors[:, i] = 0
        wide = reduced(wide - times(factors[:, :, None], top[:, None, :]))
    return wide[:, :, n:].reshape(*lead, n, b.shape[-1]), det.reshape(lead)


def solve(a: Any, b: Any) -> Any:
    """Return the solution of a x = b, of dual numbers where one of both is one; b is a vector where it has one axis."""
    if b.ndim == 1:
        return solve(a, b[:, None])[..., 0]
    found, _ = solved(a.real, b.real)
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return found
    right = np.broadcast_to(b.imag if np.iscomplexobj(b) else 0 * b, found.shape)
    if np.iscomplexobj(a):
        right = reduced(right - product(np.broadcast_to(a.imag, (*found.shape[:-1], a.shape[-1])), found))
    return _dual(found, solved(a.real, right)[0])


def inv(a: Any) -> Any:
    """Return the inverse."""
    return solve(a, np.broadcast_to(np.eye(a.shape[-1]), a.shape))


def det(a: Any) -> Any:
    """Return the determinant, with the tangent det(A) tr(A⁻¹ dA)."""
    back, value = solved(a.real, a.imag if np.iscomplexobj(a) else np.zeros(a.shape))
    if not np.iscomplexobj(a):
        return value
    i = np.arange(a.shape[-1])
    return _dual(value, times(value, reduced(back[..., i, i].sum(-1))))


def expm(a: Any) -> Any:
    """Return I + A + A² / 2 + ..., the sum of a few terms."""
    one = np.eye(a.shape[-1])
    found = np.broadcast_to(one, a.shape)
    for k in range(TERMS, 0, -1):  # by Horner's rule: I + A / k (I + ...)
        weight = pow(k, -1, P)
        found = _plus_one(_scaled(_product(a, found), weight), one)
    return found


def _product(a: Any, b: Any) -> Any:
    value = product(a.real, b.real)
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return value
    parts = [product(a.imag, b.real)] * np.iscomplexobj(a) + [product(a.real, b.imag)] * np.iscomplexobj(b)
    return _dual(value, reduced(sum(parts)))


def _scaled(a: Any, weight: int) -> Any:
    return _dual(times(a.real, weight), times(a.imag, weight)) if np.iscomplexobj(a) else times(a, weight)


def _plus_one(a: Any, one: Any) -> Any:
    return _dual(reduced(a.real + one), a.imag) if np.iscomplexobj(a) else reduced(a + one)


def _dual(a: Any, b: Any) -> Any:
    found = np.empty(a.shape, complex)
    found.real, found.imag = a, b
    return found
