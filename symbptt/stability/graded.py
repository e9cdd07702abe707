"""Factorisations of matrices whose rows differ by hundreds of orders of magnitude, each row to full relative accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

SWEEPS = 40
GRADED = 1e-2
"""Rows, or columns, that differ by more than this are factored in the order of their size."""
ORTHOGONAL = 1e-13
"""The cosine between two rows under which they count as orthogonal."""


def carried(jacobian: Any, frame: Any) -> tuple[Any, Any]:
    """Return q, r with jacobian @ frame = q r, q orthonormal, and rows of r zero where a direction is lost in rounding.

    A saturated unit makes a row or a column of the Jacobian 1e-30 of the others; plain QR would drown it in the rounding of
    the largest. Large columns are therefore split off first, with a QR of their scales times the frame, and rows are
    factored from the largest to the smallest: r has full relative accuracy for any scales of rows and columns.

    Shapes: jacobian (..., N, N), frame (..., N, k), q (..., N, k), r (..., k, k), upper triangular.

    Source: Cox, Higham 1998, "Stability of Householder QR factorization for weighted least squares problems" (row sorting).
    """
    columns = np.abs(jacobian).max(-2)
    inner = None
    if _is_graded(columns).any():
        frame, inner = _qr_by_rows(columns[..., None] * frame, columns)
        jacobian = jacobian / np.where(columns == 0, 1, columns)[..., None, :]
    frame, r = _qr_by_rows(jacobian @ frame, np.abs(jacobian).max(-1))
    return frame, r if inner is None else r @ inner


def is_plain(jacobians: Any) -> Any:
    """Return where a plain QR does: rows and columns are of one size. Shapes: (T, B, N, N), the result (T,)."""
    size = np.abs(jacobians)
    return ~(_is_graded(size.max(-1)) | _is_graded(size.max(-2))).any(-1)


def is_lost(diagonal: Any, scale: Any) -> Any:
    """Return where a diagonal entry of r is no more than the rounding of rows of size `scale`."""
    return np.abs(diagonal) <= 8 * np.sqrt(np.shape(diagonal)[-1]) * np.finfo(np.float64).eps * scale


def _is_graded(scales: Any) -> Any:
    return scales.min(-1) < GRADED * scales.max(-1)


def _qr_by_rows(z: Any, scales: Any) -> tuple[Any, Any]:
    order = np.argsort(-scales, axis=-1, kind="stable")
    q, r = np.linalg.qr(np.take_along_axis(z, order[..., None], -2))
    unsorted = np.empty_like(q)
    np.put_along_axis(unsorted, order[..., None], q, -2)
    lost = is_lost(np.diagonal(r, axis1=-2, axis2=-1), np.take_along_axis(scales, order, -1)[..., : r.shape[-1]])
    return unsorted, np.where(lost[..., None], 0.0, r)


def log_singular_values(s: Any, u: Any) -> Any:
    """Return the logarithms of the singular values of diag(exp(s)) u, in descending order; -inf for zero.

    Every value has full relative accuracy, whatever the range of s, where the rows of u are well conditioned.

    Shapes: s (N,), u (N, N), the result (N,).

    Source: Demmel, Veselić 1992, "Jacobi's method is more accurate than QR" (one-sided Jacobi on graded rows); the QR steps
    before it: Drmač, Veselić 2008, "New fast and accurate Jacobi SVD algorithm".
    """
    s, u = _normalised(np.array(s, np.float64), np.array(u, np.float64))
    last = np.inf
    for _ in range(SWEEPS):
        s, u = _normalised(*_qr_step(*_sorted(s, u)))
        now = _largest_cosine(u)
        if now <= ORTHOGONAL or now > last / 2:
            break
        last = now
    for _ in range(SWEEPS):
        if _largest_cosine(u) <= ORTHOGONAL:
            break
        _sweep(s, u)
    return -np.sort(-s)


def _normalised(s: Any, u: Any) -> tuple[Any, Any]:
    """The same matrix with rows of u of length one, or zero."""
    size = np.sqrt(np.sum(u * u, -1))
    zero = (size == 0) | np.isneginf(s)
    size = np.where(zero, 1, size)
    return np.where(zero, -np.inf, s + np.log(size)), np.where(zero[:, None], 0, u / size[:, None])


def _sorted(s: Any, u: Any) -> tuple[Any, Any]:
    order = np.argsort(-s, kind="stable")
    return s[order], u[order]


def _qr_step(s: Any, u: Any) -> tuple[Any, Any]:
    """diag(exp(s)) u = (r diag(exp(s)))' q': r diag(exp(s)) has the same singular values and is nearer to diagonal."""
    r = np.linalg.qr(u.T, mode="r")
    finite = np.where(np.isneginf(s), 0, s)
    return s, r * np.exp(np.minimum(finite - finite[:, None], 0))


def _largest_cosine(u: Any) -> float:
    cosines = u @ u.T
    np.fill_diagonal(cosines, 0)
    return float(np.abs(cosines).max(initial=0))


def _sweep(s: Any, u: Any) -> None:
    """Make every pair of rows orthogonal once, in place; half of the rows against the other half at a time."""
    count = len(s)
    ring = np.arange(count + count % 2)
    for _ in range(len(ring) - 1):
        p, q = ring[: len(ring) // 2], ring[::-1][: len(ring) // 2]
        real = (p < count) & (q < count)
        _rotate(s, u, p[real], q[real])
        ring = np.concatenate([ring[:1], ring[-1:], ring[1:-1]])


def _rotate(s: Any, u: Any, p: Any, q: Any) -> None:
    """Make rows p orthogonal to rows q in place.

    With the larger row a v, the smaller b w, ρ = b / a and c = v·w, they become a (v + ρ² τ w) and b (w − τ v) up to the
    cosine of the rotation, where τ = 2 c / (1 − ρ² + √((1 − ρ²)² + 4 ρ² c²)): neither a, b nor 1 / ρ is ever formed.
    """
    cosine = np.einsum("ij,ij->i", u[p], u[q])
    due = np.abs(cosine) > ORTHOGONAL / 10
    p, q, cosine = p[due], q[due], cosine[due]
    high, low = np.where(s[q] > s[p], q, p), np.where(s[q] > s[p], p, q)
    drop = 2 * (s[low] - s[high])
    square, rest = np.exp(drop), -np.expm1(drop)
    tau = 2 * cosine / (rest + np.sqrt(rest * rest + 4 * square * cosine * cosine))
    v, w = u[high], u[low]
    for at, rows in ((high, v + (square * tau)[:, None] * w), (low, w - tau[:, None] * v)):
        size = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        u[at] = rows / size[:, None]
        s[at] += np.log(size) - 0.5 * np.log1p(square * tau * tau)
