"""Factorisations of matrices whose rows differ by hundreds of orders of magnitude, each row to full relative accuracy.

For example J = diag(1, 1e-30) times a frame Q: the second row of J Q is 1e-30 of the first. Householder's QR of the rows in the
order of their size leaves each with errors relative to itself, so that R₂₂ has full relative accuracy. In the opposite order the
reflection mixes rounding of the large row, 1e-16, into the small one, and R₂₂ is noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SWEEPS = 40
GRADED = 1e-3
"""Rows, or columns, that differ by more than this are factored in the order of their size."""
WINDOW = 8.0
"""Rows whose sizes lie within this many nats are decomposed together, at a loss of at most 4 of 16 digits."""
ORTHOGONAL = 1e-12
"""The cosine between two rows under which they count as orthogonal."""


def carried(jacobian: Any, frame: Any) -> tuple[Any, Any]:
    """Return q, r with jacobian @ frame = q r, q orthonormal, and rows of r zero where a direction is lost in rounding.

    A saturated unit makes a row or a column of the Jacobian 1e-30 of the others; plain QR would drown it in the rounding of
    the largest. Large columns are therefore split off first, with a QR of their scales times the frame, and rows are
    factored from the largest to the smallest: r has full relative accuracy for any scales of rows and columns.

    Shapes: jacobian (..., N, N), frame (..., N, k), q (..., N, k), r (..., k, k), upper triangular.

    Source: Cox, Higham 1998, "Stability of Householder QR factorization for weighted least squares problems" (row sorting).
    """
    return _carried(jacobian, frame, _without_rows)


def carried_whole(jacobian: Any, frame: Any) -> tuple[Any, Any]:
    """Return what `carried` does, with r zero on the diagonal alone where a direction is lost.

    Without the rest of a lost row, r is that of a projection: no singular value of a product is then too large. Here J Q = Q R
    stays true, that a later direction may come to lie where the lost one was.
    """
    return _carried(jacobian, frame, _without_rounding)


def _carried(jacobian: Any, frame: Any, cleaned: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    size = np.abs(jacobian)
    columns, rows, inner = size.max(-2), size.max(-1), None
    # J Q = (J D⁻¹)(D Q) with D the sizes of the columns: D Q is factored by rows, and J D⁻¹ has columns of one size.
    if _is_graded(columns).any():
        frame, inner = _qr_by_rows(columns[..., None] * frame, columns, cleaned)
        jacobian = jacobian / np.where(columns == 0, 1, columns)[..., None, :]
        rows = np.abs(jacobian).max(-1)
    frame, r = _qr_by_rows(jacobian @ frame, rows, cleaned)
    return frame, r if inner is None else r @ inner


def is_plain(jacobians: Any) -> Any:
    """Return where a plain QR does: rows and columns are of one size. Shapes: (T, B, N, N), the result (T,)."""
    size = np.abs(jacobians)
    return ~(_is_graded(size.max(-1)) | _is_graded(size.max(-2))).any(-1)


def is_lost(diagonal: Any, scale: Any) -> Any:
    """Return where a diagonal entry of r is no more than rounding, of the QR and of the Jacobian itself, in rows of size `scale`."""
    return np.abs(diagonal) <= 64 * np.sqrt(np.shape(diagonal)[-1]) * np.finfo(np.float64).eps * scale


def _is_graded(scales: Any) -> Any:
    return scales.min(-1) < GRADED * scales.max(-1)


def _qr_by_rows(z: Any, scales: Any, cleaned: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    order = np.argsort(-scales, axis=-1, kind="stable")
    q, r = np.linalg.qr(np.take_along_axis(z, order[..., None], -2))
    q = np.take_along_axis(q, np.argsort(order, -1)[..., None], -2)
    return q, cleaned(r, np.take_along_axis(scales, order, -1)[..., : r.shape[-1]])


def _without_rows(r: Any, scales: Any) -> Any:
    """r with rows of zeros where the diagonal is rounding."""
    lost = is_lost(np.diagonal(r, axis1=-2, axis2=-1), scales)
    return np.where(lost[..., None], 0.0, r) if lost.any() else r


def _without_rounding(r: Any, scales: Any) -> Any:
    """Return r without rounding in the rows whose diagonal is rounding: entries of later columns that are larger stay."""
    lost = is_lost(np.diagonal(r, axis1=-2, axis2=-1), scales)
    return np.where(lost[..., None] & is_lost(r, scales[..., None]), 0.0, r) if lost.any() else r


def log_singular_values(s: Any, u: Any) -> Any:
    """Return the logarithms of the singular values of diag(exp(s)) u, in descending order; -inf for zero.

    Every value has a relative accuracy of about 1e-11, whatever the range of s, where the rows of u are well conditioned.
    A QR step makes rows orthogonal that differ much in size, singular value decompositions of the rows in each window of
    sizes those that do not; both together until all are: a one-sided Jacobi method by blocks.

    Shapes: s (N,), u (N, N), the result (N,).

    Source: Demmel, Veselić 1992, "Jacobi's method is more accurate than QR" (one-sided Jacobi on graded rows); Drmač,
    Veselić 2008, "New fast and accurate Jacobi SVD algorithm" (the QR step before it).
    """
    # Sizes are logarithms throughout: exp(s) itself leaves the range of floats after a few hundred steps.
    s, u = normalised(np.array(s, np.float64), np.array(u, np.float64))
    for _ in range(SWEEPS):
        s, u = _diagonalised(*_sorted(s, u))
        if _largest_cosine(u) <= ORTHOGONAL:
            break
        s, u = normalised(*_qr_step(*_sorted(s, u)))
    return -np.sort(-s)


def normalised(s: Any, u: Any) -> tuple[Any, Any]:
    """Return diag(exp(s)) u with rows of u of length one, or zero where s is then -inf. Shapes: s (..., N), u (..., N, N)."""
    size = np.sqrt(np.sum(u * u, -1))
    zero = (size == 0) | np.isneginf(s)
    size = np.where(zero, 1, size)
    return np.where(zero, -np.inf, s + np.log(size)), np.where(zero[..., None], 0, u / size[..., None])


def _sorted(s: Any, u: Any) -> tuple[Any, Any]:
    order = np.argsort(-s, kind="stable")
    return s[order], u[order]


def _qr_step(s: Any, u: Any) -> tuple[Any, Any]:
    """diag(exp(s)) u = (r diag(exp(s)))' q': r diag(exp(s)) has the same singular values and is nearer to diagonal."""
    r = np.linalg.qr(u.T, mode="r")
    finite = np.where(np.isneginf(s), 0, s)
    # r is upper triangular and s descends, so that every factor used is at most 1; the minimum keeps those under the
    # diagonal, which multiply zeros, from overflowing.
    return s, r * np.exp(np.minimum(finite - finite[:, None], 0))


def _largest_cosine(u: Any) -> float:
    cosines = u @ u.T
    np.fill_diagonal(cosines, 0)
    return float(np.abs(cosines).max(initial=0))


def _diagonalised(s: Any, u: Any) -> tuple[Any, Any]:
    """The rows made orthogonal to each other within windows of sizes, each of which overlaps with half of the next.

    The singular value decomposition X Σ Y of such rows rotates them, by X', into Σ Y.
    """
    s, u, top = s.copy(), u.copy(), s[0]
    while np.isfinite(top):
        rows = np.flatnonzero((s <= top) & (s > top - WINDOW))
        if len(rows) > 1:
            _, sizes, u[rows] = np.linalg.svd(np.exp(s[rows] - top)[:, None] * u[rows], full_matrices=False)
            s[rows] = top + log_of(sizes)
        # Windows overlap by half, so that two rows of like size are in some window together.
        top = s[s <= top - WINDOW / 2].max(initial=-np.inf)
    return s, u


def log_of(x: Any) -> Any:
    """Return logarithms, −∞ of zero without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(x)
