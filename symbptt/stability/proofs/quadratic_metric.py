"""Quadratic metrics: P with JᵀPJ ≤ η²P for all Jacobians of a box, found by numbers, then proven by intervals.

For example J = [0.5 10; 0 0.5] has a 2-norm of about 10, but eigenvalues 0.5. With T = diag(1, 1000) the matrix T J T⁻¹ is
[0.5 0.01; 0 0.5], whose norm is below 0.51: gradients vanish at the rate 0.51, up to the constant ‖T‖ ‖T⁻¹‖ = 1000. T is found
in floats and need not be optimal; only ‖T J T⁻¹‖ is proven, with T⁻¹ replaced by an approximate inverse S and the
defect ‖T S − I‖ in the denominator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import networkx as nx
import numpy as np

from symbptt.stability.algebra.interval import Interval, add, exactly, multiply
from symbptt.stability.proofs.enclosure import EPS, product_of
from symbptt.stability.proofs.jacobian_entries import Part

SAMPLES = 8
"""Jacobians that a metric is fitted to, where they vary."""
WORST = 1e5
"""The condition of a metric's factor, at the most."""
SLACK = 1e-12
"""A metric replaces a simpler one where its rate is smaller by more than this, relative."""


@dataclass(frozen=True)
class Metric:
    """‖T J T⁻¹‖₂ ≤ `rate` for all J, so that JᵀPJ ≤ rate² P with P = TᵀT; `constant` ≥ ‖T‖₂ ‖T⁻¹‖₂."""

    rate: float
    factor: Any
    constant: float


def best_metric(parts: Sequence[Part], count: int) -> Metric:
    """Return a proven metric for the Jacobians of a box, with a small rate; states that do not meet have each their own.

    Candidates are the plain norm, weights from Perron vectors, eigenvectors, solutions of Lyapunov's equation, and
    means over sampled Jacobians. Each is proven by products of intervals, rounded outwards.

    Source: Boyd, El Ghaoui, Feron, Balakrishnan 1994, "Linear matrix inequalities in system and control theory", section 5.1
    (quadratic stability); the bound on the norm by an approximate inverse and eigenvectors: Rump 2011, "Verified bounds for
    singular values, in particular for the spectral norm of a matrix and its inverse".
    """
    if not all(
        np.isfinite(p.matrix.size[p.factors.size > 0]).all() and np.isfinite(p.factors.size).all() for p in parts
    ):
        return Metric(np.inf, np.eye(count), 1.0)
    sizes = reduce(np.add, [p.factors.size[:, None] * (p.matrix.size > 0) for p in parts], np.zeros((count, count)))
    # Groups of elements that never meet make J block diagonal: each block may have a metric of its own.
    groups = [sorted(group) for group in nx.connected_components(nx.from_numpy_array((sizes + sizes.T) > 0))]
    ways = [_ways([_within(part, np.array(group)) for part in parts], len(group)) for group in groups]
    rate = max((min(way.rate for way in found) for found in ways), default=0.0)
    factor, chosen = np.zeros((count, count)), []
    for group, found in zip(groups, ways, strict=True):
        # A group need not be better than the worst of the others: of the ways that are good enough, the one with
        # the smallest constant.
        best = min(
            (way for way in found if way.rate <= rate * (1 + SLACK)), key=lambda way: round(way.most / way.least, 9)
        )
        factor[np.ix_(group, group)] = best.factor
        chosen.append(best)
    least, most = min((way.least for way in chosen), default=1.0), max((way.most for way in chosen), default=1.0)
    return Metric(max((way.rate for way in chosen), default=0.0), factor, _up(most / least))


@dataclass(frozen=True)
class _Way:
    """A factor with the rate that is proven in its metric, and bounds on its singular values."""

    rate: float
    factor: Any
    least: float
    most: float


def _within(part: Part, group: Any) -> Part:
    return Part(part.factors.each(lambda end: end[group]), part.matrix.each(lambda end: end[np.ix_(group, group)]))


def _ways(parts: Sequence[Part], count: int) -> list[_Way]:
    """Return the rate that is proven in each metric that is tried, of factors with norms about one."""
    parts = [part for part in parts if part.factors.size.any() and part.matrix.size.any()]
    if not parts:
        return [_Way(0.0, np.eye(count), 1.0, 1.0)]
    whole = _sum(parts)
    if count == 1:
        return [_Way(float(whole.size[0, 0]), np.eye(1), 1.0, 1.0)]
    found = []
    for factor in _candidates(parts, whole, count):
        scaled = factor / np.linalg.norm(factor, 2)
        found.append(_Way(_proven(scaled, parts, whole), scaled, *_ends(scaled)))
    return found


def _sum(parts: Sequence[Part]) -> Interval:
    return reduce(add, [multiply(p.factors.each(lambda end: end[:, None]), p.matrix) for p in parts])


# Candidates.


def _candidates(parts: Sequence[Part], whole: Interval, count: int) -> Iterator[Any]:
    # Candidates need no proof: a bad one gives a large bound, never a wrong one.
    yield np.eye(count)
    if not np.isfinite(2 * whole.size).all():
        return  # no metric makes a bound of what is beyond the range
    middle = (whole.lo + whole.hi) / 2
    yield np.diag(1 / perron_weights(whole.size))
    found = [*_by_eigenvectors(middle), *_by_lyapunov(middle[None], np.abs(np.linalg.eigvals(middle)).max())]
    if not whole.is_exact:
        found += _by_lyapunov(samples := _sampled(parts), _growth(samples))
    for p in found:
        if (factor := _root(p)) is not None:
            yield factor


def perron_weights(norms: Any) -> Any:
    """Return √(right / left Perron vector): the diagonal D that makes ‖D⁻¹ N D‖₂ the spectral radius of N."""
    # Perron vectors are positive only for an irreducible matrix; a small positive number in every entry makes it one.
    raised = norms + 1e-3 * (norms.max(initial=0.0) or 1.0)
    right, left = (_perron(m) for m in (raised, raised.T))
    return np.sqrt(right / left)


def _perron(matrix: Any) -> Any:
    values, vectors = np.linalg.eig(matrix)
    return np.abs(np.real(vectors[:, np.argmax(np.real(values))]))


def _by_eigenvectors(matrix: Any) -> list[Any]:
    """The metric in which a matrix is normal: its norm there is the largest modulus of its eigenvalues."""
    _, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) > WORST:
        return []
    inverse = np.linalg.inv(vectors)
    return [np.real(inverse.conj().T @ inverse)]


def _by_lyapunov(jacobians: Any, radius: float) -> list[Any]:
    """P = I + mean JᵀPJ / ρ², for some ρ above the growth of the mean square: then mean JᵀPJ = ρ² (P − I) ≤ ρ² P."""
    return [
        p for above in (1.001, 1.02, 1.1, 1.3) if (p := _solution(jacobians / (max(radius, 1e-12) * above))) is not None
    ]


def _solution(jacobians: Any) -> Any:
    p = np.eye(jacobians.shape[-1])
    for _ in range(400):
        following = np.eye(len(p)) + np.mean(np.swapaxes(jacobians, 1, 2) @ p @ jacobians, 0)
        if np.abs(following - p).max() <= 1e-9 * np.abs(following).max() or np.abs(following).max() > WORST**2:
            return following
        p = following
    return p


def _growth(jacobians: Any) -> float:
    """The growth of the mean square of a product, from a power iteration."""
    p, size = np.eye(jacobians.shape[-1]), 1.0
    for _ in range(60):
        p = np.mean(np.swapaxes(jacobians, 1, 2) @ p @ jacobians, 0)
        size = float(np.abs(p).max())
        if not 0 < size < np.inf:
            return 1.0
        p = p / size
    return float(np.sqrt(size))


def _sampled(parts: Sequence[Part]) -> Any:
    """Jacobians of the box with their factors at ends."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(SAMPLES):
        chosen = [np.where(random.random(p.factors.lo.shape) < 0.5, p.factors.lo, p.factors.hi) for p in parts]
        middles = [(p.matrix.lo + p.matrix.hi) / 2 for p in parts]
        found.append(sum(f[:, None] * m for f, m in zip(chosen, middles, strict=True)))
    return np.array(found)


def _root(p: Any) -> Any:
    """T with TᵀT = P, in double numbers; None where the metric is too far from the plain one, or has left the range."""
    if not np.isfinite(p).all():
        return None
    # P is symmetric up to rounding; its square root needs it to be so exactly.
    values, vectors = np.linalg.eigh((p + p.T) / 2)
    if not np.isfinite(values).all() or values[0] <= values[-1] / WORST**2:
        return None
    return np.sqrt(values)[:, None] * vectors.T


# Proofs.


def _proven(factor: Any, parts: Sequence[Part], whole: Interval) -> float:
    """A bound on ‖T J T⁻¹‖₂, the least of several ways to bound what varies."""
    inverse = np.linalg.inv(factor)
    off = _defect(factor, inverse)
    # T S = I + E with ‖E‖ ≤ off, so that T⁻¹ = S (I + E)⁻¹ and ‖T J T⁻¹‖ ≤ ‖T J S‖ / (1 − off).
    if off >= 1:
        return np.inf
    t, s = exactly(factor), exactly(inverse)
    bounds = [norm_of(_times(_times(t, whole), s)), _by_parts(factor, parts, s)]
    diagonal = np.count_nonzero(factor - np.diag(np.diag(factor))) == 0
    if diagonal and (largest := _at_largest(parts)) is not None:
        bounds.append(norm_of(_times(_times(t, largest), s)))
    return _up(min(bounds) / (1 - off))


def _by_parts(factor: Any, parts: Sequence[Part], s: Interval) -> float:
    """‖T Σ diag(c) A S‖ of the middles c of the factors, and ‖T diag(√r)‖ ‖diag(√r) A S‖ for the radii r of each part."""
    middles, found = [], 0.0
    for part in parts:
        c = part.factors.lo / 2 + part.factors.hi / 2
        r = np.maximum(part.factors.hi - c, c - part.factors.lo) * (1 + 4 * EPS)
        r = np.where(part.factors.lo == part.factors.hi, 0.0, r)
        middles.append(multiply(exactly(c[:, None]), part.matrix))
        if r.any():
            # A factor within c ± r is c + √r e √r with |e| ≤ 1, so that the radius is shared between both sides of
            # the metric.
            root = np.sqrt(r) * (1 + 4 * EPS)
            inner = _times(multiply(exactly(root[:, None]), part.matrix), s)
            found += norm_of(multiply(exactly(factor), exactly(root))) * norm_of(inner)
    return _up(found + norm_of(_times(_times(exactly(factor), reduce(add, middles)), s)))


def _at_largest(parts: Sequence[Part]) -> Interval | None:
    """The Jacobian with the factors of each row at their largest, where a row has one part alone that varies or is by itself:
    diag(d) with |d| ≤ 1 commutes with a diagonal factor."""
    rows = sum((part.factors.size > 0).astype(int) for part in parts)
    if np.max(rows, initial=0) > 1:
        return None
    return reduce(add, [multiply(exactly(p.factors.size[:, None]), p.matrix) for p in parts])


def _times(a: Interval, b: Interval) -> Interval:
    return product_of("ab,bc->ac", a, b)


def norm_of(m: Interval) -> float:
    """Return a bound on the 2-norms of all matrices in an interval."""
    if not np.isfinite(m.size).all():
        return np.inf
    middle = m.lo / 2 + m.hi / 2
    radius = np.where(m.lo == m.hi, 0.0, np.maximum(m.hi - middle, middle - m.lo) * (1 + 4 * EPS))
    # ‖M‖ ≤ ‖middle‖ + ‖radius‖, and ‖M‖ ≤ ‖|M|‖; either may be the smaller one.
    bounds = [_norm_of(middle) + (_norm_of(radius) if radius.any() else 0.0)]
    if radius.any():
        bounds.append(_norm_of(m.size))
    return _up(min(bounds))


def _norm_of(a: Any) -> float:
    """A bound on a 2-norm: with near-orthogonal Q, ‖A‖² = ‖AᵀA‖ ≤ ‖Qᵀ AᵀA Q‖∞ / (1 − ‖QᵀQ − I‖∞)."""
    size = float(np.abs(a).max(initial=0.0))
    if not 0 < size < np.inf:
        return size
    # Division by a power of two is exact, and AᵀA of entries about 1 neither overflows nor underflows.
    scale = float(np.ldexp(1.0, np.frexp(size)[1] - 1))
    a = a / scale
    gram = _times(exactly(a.T), exactly(a))
    _, q = np.linalg.eigh((gram.lo + gram.hi) / 2)
    inside = _times(_times(exactly(q.T), gram), exactly(q))
    off = _defect(q.T, q)
    return _up(float(np.sqrt(_row_sum(inside) / (1 - off)))) * scale if off < 1 else np.inf


def _defect(a: Any, b: Any) -> float:
    """A bound on ‖A B − I‖₂: the larger of its greatest sums over rows and over columns."""
    off = add(_times(exactly(a), exactly(b)), exactly(-np.eye(len(a))))
    return max(_row_sum(off), _row_sum(off.each(np.transpose)))


def _row_sum(m: Interval) -> float:
    return _up(float(m.size.sum(1).max(initial=0.0)) * (1 + 2 * EPS * len(m.lo)))


def _ends(factor: Any) -> tuple[float, float]:
    """Bounds on the least and the greatest singular value of a factor."""
    inverse = np.linalg.inv(factor)
    off = _defect(factor, inverse)
    # σ_min(T) = 1 / ‖T⁻¹‖, and ‖T⁻¹‖ ≤ ‖S‖ / (1 − off).
    return (1 - off) / (_norm_of(inverse) * (1 + 4 * EPS)), _norm_of(factor)


def _up(value: float) -> float:
    return float(value * (1 + 4 * EPS))
