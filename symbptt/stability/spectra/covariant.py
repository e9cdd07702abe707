"""Covariant Lyapunov vectors: the directions of the state that every step carries into each other, each at its own rate.

For example R = [2 1; 0 1/2] at every step: the first direction e₁ doubles, and e₂ is turned towards e₁. A vector c with
c_t = R⁻¹ c_{t+1}, run backward from any end, turns to the one that grows most backward, (−2/3, 1) up to length: R maps it to
(−1/3, 1/2), half of itself. Forward in time the same recurrence would turn every vector to e₁.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.init import orthogonal
from symbptt.stability.runs.trajectory import Trajectory, linearised, trajectory
from symbptt.stability.spectra.block_means import BLOCKS, blocks_of, correlated_error
from symbptt.stability.spectra.graded_qr import carried_whole, log_of
from symbptt.stability.spectra.lyapunov import check_integers

Arrays = Mapping[str, Any]
SEPARATED = 7.0
"""Nats by which one direction must outgrow the next while it is aligned, for an error of e^−7, 1e-3, in its place."""
MOST = 2**30
"""Bytes of vectors at the most; computing them takes some five times as much."""
NEUTRAL = 2.0
"""A direction whose exponent is within so many of its errors of zero neither expands nor contracts."""


@dataclass(frozen=True)
class CovariantVectors:
    """Directions v_t of the state with J_t v_t = γ v_{t+1}: each of them is carried into itself along the run.

    `vectors` has them as columns of length 1, at the states before the steps `times`, which count from 0. `growth` is the
    logarithm of |γ| by step, its mean over steps and samples `exponents`, as `sb.lyapunov_spectrum` has them, in descending
    order. Where a step loses a direction, its exponent is -inf; these directions come last.

    `groups` are the indices of directions whose exponents are so near to each other that the run does not tell them apart:
    of a group only what it spans means something, as of a pair of complex eigenvalues, of equal exponents, and of all
    directions that are lost, for which the span is what the run forgets for good.

    `angles` is the smallest angle between any expanding and any contracting direction, in radians, at each time of each
    sample: between the space of all exponents that are certainly over zero and that of those certainly under it. It is nan
    where one of these spaces is empty. `expanding`, `contracting` are the numbers of directions in them, by sample.
    An angle near zero is a near tangency: a perturbation there may turn from shrinking into growing.

    `shares` says which states a direction lives in: by state the part of its squared length, mean over times and samples, of a
    group that of all that it spans; the parts of all states sum to 1.

    Shapes: vectors (K + 1, B, N, k), times (K + 1,), growth (K, B, k), exponents (k,), samples (B, k), angles (K + 1, B),
    expanding, contracting (B,), shares (k,) each.
    """

    vectors: Any = field(repr=False)
    times: Any = field(repr=False)
    growth: Any = field(repr=False)
    exponents: Any
    samples: Any = field(repr=False)
    groups: tuple[tuple[int, ...], ...]
    angles: Any = field(repr=False)
    expanding: Any
    contracting: Any
    shares: dict[str, Any]

    @property
    def smallest_angle(self) -> float:
        """The smallest of the angles, nan where there is none."""
        return float(np.nanmin(self.angles)) if np.isfinite(self.angles).any() else np.nan

    @property
    def mean_angle(self) -> float:
        """The mean of the angles, nan where there is none."""
        return float(np.nanmean(self.angles)) if np.isfinite(self.angles).any() else np.nan

    @property
    def lives_in(self) -> tuple[str, ...]:
        """The state with the largest share of each direction."""
        names = list(self.shares)
        return tuple(names[i] for i in np.argmax([self.shares[name] for name in names], 0))


@dataclass(frozen=True)
class _Frames:
    """Orthonormal frames before the recorded steps and after the last, and the triangles of J Q = Q' R from the first of them to the
    end of the run. Shapes: q (K + 1, B, N, k), r (T − first, B, k, k), aligned (B, k), what each has grown by before."""

    q: Any
    r: Any
    aligned: Any

    @property
    def steps(self) -> int:
        return len(self.q) - 1


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def covariant_vectors(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None, *, steps: int | None = None,
    transient: int | None = None, count: int | None = None, seed: int = 0,
) -> CovariantVectors:  # fmt: skip
    """Return the covariant Lyapunov vectors of the whole state along the trajectory that inputs and initial state give.

    `transient` steps at the start, and as many at the end, align them and are left out (by default 30 N, at least a tenth and
    at most a quarter of the run). `count` asks for those of the largest exponents only. `seed` draws the first frame.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...); a cell without inputs takes `steps`.

    Raises: ArgumentError for counts that contradict each other, a run too short to align anything, a trajectory that leaves the
    range, and as `kernel.forward` does.

    Source: Ginelli, Poggi, Turchi, Chaté, Livi, Politi 2007, "Characterizing dynamics with covariant Lyapunov vectors"; angles:
    Kuptsov, Parlitz 2012, "Theory and computation of covariant Lyapunov vectors".
    """
    run = trajectory(cell, params, inputs, state, steps)
    count, transient = _checked(run, count, transient)
    frames = _forward(run, count, transient, seed)
    vectors, growth = _backward(frames)
    samples, errors = _means(growth)
    order = np.argsort(-samples.mean(0), kind="stable")
    vectors, growth, samples, errors = vectors[..., order], growth[..., order], samples[:, order], errors[:, order]
    return _result(run, frames, transient, vectors, growth, samples, errors)


def _checked(run: Trajectory, count: int | None, transient: int | None) -> tuple[int, int]:
    size, steps, where = run.dimension, run.steps, f"in the covariant vectors of {run.of.cell.name}"
    check_integers({"count": count, "transient": transient}, where)
    count = size if count is None else int(count)
    if not 1 <= count <= size:
        raise ArgumentError(three_lines(f"count={count} of {size} directions", where, f"give 1 to {size}"))
    if transient is None:
        transient = min(max(30 * size, steps // 10), steps // 4)
        if size > 1 and transient < size:
            raise ArgumentError(three_lines(f"{steps} steps are too few to align {size} directions", where,
                                            f"give {4 * size} steps or more; {120 * size} align them well"))  # fmt: skip
    if not (transient >= 0 and 2 * transient < steps):
        raise ArgumentError(three_lines(f"transient={transient} at both ends of {steps} steps", where,
                                        "leave steps between them"))  # fmt: skip
    size_of_it = 8 * (steps - 2 * transient + 1) * run.batch * size * count
    if size_of_it > MOST:
        raise ArgumentError(three_lines(f"the vectors of {steps} steps take {size_of_it / 2**30:.1f} GiB", where,
                                        "give fewer steps or samples, or count="))  # fmt: skip
    return count, int(transient)


def _forward(run: Trajectory, count: int, transient: int, seed: int) -> _Frames:
    """Carry a frame through the run."""
    shape = (run.batch, run.dimension, run.dimension)
    frame = orthogonal(shape, np.random.default_rng(seed))[..., :count]
    last, q, r, aligned = run.steps - transient, [], [], np.zeros((run.batch, count))
    for first, jacobians in linearised(run):
        for t, jacobian in enumerate(jacobians, first):
            if transient <= t <= last:
                q.append(frame)
            frame, triangle = carried_whole(jacobian, frame)
            if t >= transient:
                r.append(triangle)
            else:
                aligned += log_of(np.abs(np.diagonal(triangle, axis1=-2, axis2=-1)))
    if transient == 0:
        q.append(frame)
    return _Frames(np.array(q), np.array(r), aligned)


def _backward(frames: _Frames) -> tuple[Any, Any]:
    """Return the vectors (K + 1, B, N, k) and the logarithms of their growth (K, B, k).

    Those that are never lost are Q C with C_t = R_t⁻¹ C_{t+1}, each column of length 1. The lost ones are a basis, of orthogonal
    columns, of what is carried into the same space without them.
    """
    alive = _alive(frames)
    return _with_lost(frames, alive, *_coefficients(frames, alive))


def _alive(frames: _Frames) -> Any:
    """Return a mask of the columns of the frame that no step loses, the first ones of each sample. Shapes: (B, k)."""
    kept = (np.diagonal(frames.r, axis1=-2, axis2=-1) != 0).all(0)
    # R is triangular: once a column is lost, later ones may come to lie where it was, and their own diagonal says
    # nothing.
    return np.logical_and.accumulate(kept, -1)


def _coefficients(frames: _Frames, alive: Any) -> tuple[Any, Any]:
    """The coordinates of the vectors in the frames, (K + 1, B, k, k), and their growth; of lost directions the unit vectors."""
    # Ones on the diagonal of lost directions keep the triangles invertible; their unit vectors are replaced
    # afterwards.
    r = _cut(frames.r, alive, alive) + _diagonal(~alive)
    now = np.broadcast_to(np.eye(r.shape[-1]), r.shape[1:])
    found, growth = [], []
    for t in reversed(range(len(r))):
        if t < frames.steps:
            found.append(now)
        now, size = _solved(r[t], now)
        if t < frames.steps:
            growth.append(-size)
    found.append(now)
    return np.array(found[::-1]), np.array(growth[::-1])


def _with_lost(frames: _Frames, alive: Any, coefficients: Any, growth: Any) -> tuple[Any, Any]:
    if alive.all():
        return frames.q @ coefficients, growth
    lost, eye = ~alive, np.eye(alive.shape[-1])
    columns = np.linalg.qr(eye[:, ::-1] * lost[:, None, ::-1] + _reversed(_graphs(frames, alive)))[0]
    basis = _reversed(columns) * lost[:, None, :]
    return frames.q @ (coefficients * alive[:, None, :] + basis), np.where(lost, -np.inf, growth)


def _reversed(x: Any) -> Any:
    """Columns in the opposite order, so that those of a tail come first."""
    return x[..., ::-1]


def _graphs(frames: _Frames, first: Any) -> Any:
    """Return W_t, (K + 1, B, k, k), with Q_t [W_t; 1] the space that complements the first columns and is carried into itself.

    With R = [A B; 0 D] at the split it solves A_t W_t + B_t = W_{t+1} D_t backward from W = 0; a graph over the last columns
    of the frame, it represents a space of nearly parallel directions as well as one of orthogonal ones.

    Shapes: first (B, k), which columns come before the split. W has rows before it and columns after it.
    """
    after = ~first
    a = _cut(frames.r, first, first) + _diagonal(after)
    b, d = _cut(frames.r, first, after), _cut(frames.r, after, after)
    now = np.zeros(a.shape[1:])
    found = []
    for t in reversed(range(len(a))):
        if t < frames.steps:
            found.append(now)
        now = np.linalg.solve(*_rows_scaled(a[t], now @ d[t] - b[t]))
    found.append(now)
    return np.array(found[::-1])


def _cut(r: Any, rows: Any, columns: Any) -> Any:
    """The part of triangles (T, B, k, k) in some rows and columns (B, k), zero elsewhere."""
    return r * (rows[:, :, None] & columns[:, None, :])


def _diagonal(kept: Any) -> Any:
    return kept[:, None, :] * np.eye(kept.shape[-1])


def _rows_scaled(r: Any, right: Any) -> tuple[Any, Any]:
    """Both sides of a triangular system with rows of r of one size: solving it then loses no digit for their sizes."""
    size = np.abs(r).max(-1, keepdims=True)
    return r / size, right / size


def _solved(r: Any, right: Any) -> tuple[Any, Any]:
    """The columns of r⁻¹ right at length 1, and the logarithms of their lengths. Shapes: r, right (B, k, k), the sizes (B, k)."""
    # Rows of R may differ by hundreds of orders of magnitude; dividing both sides by the size of each row, in
    # logarithms, keeps the solution within the range of floats.
    level = log_of(np.abs(right)) - log_of(np.abs(r).max(-1))[..., None]
    top = level.max(-2)
    scaled = np.sign(right) * np.exp(level - top[..., None, :])
    found = np.linalg.solve(r / np.abs(r).max(-1, keepdims=True), scaled)
    size = np.linalg.norm(found, axis=-2)
    return found / size[..., None, :], top + np.log(size)


def _means(growth: Any) -> tuple[Any, Any]:
    """The exponents of each sample and their standard errors, (B, k)."""
    each = blocks_of(growth, np.ones(len(growth), int), min(BLOCKS, len(growth)))
    # Neighbouring steps are correlated, so that the errors come from blocks and not from single steps.
    return growth.mean(0), correlated_error(each)


# ---- what they say ------------------------------------------------------------------------------------------------


def _result(
    run: Trajectory, frames: _Frames, transient: int, vectors: Any, growth: Any, samples: Any, errors: Any
) -> CovariantVectors:
    signs = np.where(
        np.abs(samples) <= np.maximum(NEUTRAL * np.nan_to_num(errors), 1 / len(growth)), 0, np.sign(samples)
    )
    groups = _groups(frames, samples)
    angles, expanding, contracting = _angles(frames, signs)
    return CovariantVectors(
        vectors, np.arange(transient, transient + len(vectors)), growth, samples.mean(0), samples, groups, angles,
        expanding, contracting, _shares(run.of.names, vectors, groups),
    )  # fmt: skip


def _groups(frames: _Frames, samples: Any) -> tuple[tuple[int, ...], ...]:
    """Neighbours that the alignment at the two ends of the run has not separated in every sample, and all that are lost.

    Samples are taken together; the order of the columns is nearly that of the exponents.
    """
    log = log_of(np.abs(np.diagonal(frames.r, axis1=-2, axis2=-1)))
    ends = (frames.aligned, log[frames.steps :].sum(0))
    with np.errstate(invalid="ignore"):
        gaps = np.min([np.min(-np.diff(end, axis=-1), 0) for end in ends], 0)
    # Lost directions have no rates that could be compared: they form one group among themselves.
    lost = np.isneginf(samples).any(0)
    apart = np.where(lost[1:], ~lost[:-1], gaps >= SEPARATED)
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), samples.shape[-1]]
    return tuple(tuple(range(a, b)) for a, b in pairwise(edges))


def _angles(frames: _Frames, signs: Any) -> tuple[Any, Any, Any]:
    """The smallest angle between what expands and what contracts at every time, and how many directions of each there are.

    What expands is spanned by the first columns of the frame, what contracts is a graph over the last ones: neither needs the
    vectors, which may be nearly parallel.
    """
    expanding, contracting = (signs > 0).sum(-1), (signs < 0).sum(-1)
    k = signs.shape[-1]
    place = np.arange(k)
    outer, inner = place < expanding[:, None], place < (k - contracting)[:, None]
    found = np.full(frames.q.shape[:2], np.nan)
    graphs = _graphs(frames, inner)
    for b in np.flatnonzero((expanding > 0) & (contracting > 0)):
        columns = (graphs[:, b] + np.eye(k))[..., ~inner[b]]
        basis = np.linalg.qr(columns)[0]
        cosine = np.linalg.norm(basis[:, outer[b]], 2, (-2, -1))
        rest = np.linalg.svd(basis[:, ~outer[b]], compute_uv=False)
        found[:, b] = np.arctan2(rest[..., -1], np.minimum(cosine, 1))
    return found, expanding, contracting


def _shares(names: Mapping[str, slice], vectors: Any, groups: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """By state the part of the squared length that lies in it, of the vectors of a group the mean over an orthonormal basis."""
    found = {name: np.empty(vectors.shape[-1]) for name in names}
    for group in groups:
        basis = np.linalg.qr(vectors[..., list(group)])[0]
        for name, part in names.items():
            found[name][list(group)] = np.square(basis[..., part, :]).sum((-2, -1)).mean() / len(group)
    return found
