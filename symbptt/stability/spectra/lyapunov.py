"""Lyapunov exponents of a cell on its data: how fast a perturbation of the whole state grows or shrinks, per step.

For example J = diag(2, 1/2) at every step: a frame Q = R(45°) turns towards e₁, and after a few steps J Q = Q' R has the
diagonal (2, 1/2). Its logarithms, summed over steps and divided by their number, are the exponents ln 2 and −ln 2. Without the
QR of every step both columns would turn to e₁, and the second exponent would be lost in rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.init import orthogonal
from symbptt.stability.runs.trajectory import Trajectory, linearised, trajectory
from symbptt.stability.spectra.block_means import (
    BLOCKS,
    block_edges,
    blocks_of,
    correlated_error,
    is_settled,
    is_slow,
    pooled_correlation,
    t_quantile,
)
from symbptt.stability.spectra.graded_qr import carried, is_lost, is_plain, log_of

Arrays = Mapping[str, Any]
POINTS = 1000
"""Points of the history at the most."""
NINE_TENTHS = 0.9
"""The part of the local exponents that lies within their band."""
VALUES = 64
"""Values of an index whose frequencies are followed, at the most."""
ROUNDED = 25.0
"""A Jacobian that shrinks a direction this many nats more than its largest entry has a determinant of rounding errors."""


@dataclass(frozen=True)
class LocalExponents:
    """Finite-time exponents: the mean growth of each direction over each of W windows of steps, nats per step.

    The windows are consecutive, 20 at the most and of nearly equal length, `edges` their first steps and the end, counted from the first
    step of the run. `low` and `high` enclose nine tenths of the values, over windows and samples, `spread` is their
    standard deviation (nan where a window loses the direction): what a sequence as long as a window may find, while the error
    of the exponents is that of the mean over all. Directions are those of the frame, in the order of the exponents.

    Shapes: exponents (W, B, N), edges (W + 1,), spread, low, high (N,).
    """

    exponents: Any = field(repr=False)
    edges: Any = field(repr=False)
    spread: Any
    low: Any
    high: Any

    @property
    def length(self) -> int:
        """The steps of a window, of the shortest where they differ."""
        return int(np.diff(self.edges).min())


@dataclass(frozen=True)
class LyapunovSpectrum:
    """The exponents in nats per step, in descending order; -inf where a step loses a direction within rounding.

    `error` is the standard error within the run: the spread of the means over 20 consecutive blocks of steps, divided by
    √20 (samples averaged first) and widened by the correlation of neighbouring blocks, of the growth or of the inputs that
    the Jacobian depends on, whichever is larger. `between` is the standard deviation between the samples of a batch, None for one
    sample. `converged` says that the two halves of the run agree at 1 %, all exponents together, and that the run is not `slow`: that
    neither the growth of the largest nor those inputs vary as slowly as the run is long. `sum_rule_defect` is
    |Σ exponents − ⟨ln|det J|⟩| over the steps whose determinant is not rounding, the largest over samples, in nats per step;
    nan where only some exponents were asked for.
    `kaplan_yorke` is the dimension of the attractor, `entropy` the sum of the positive exponents, in nats per step; nan where
    only some exponents were asked for and these do not decide them.
    `history` has the running estimates after `history_steps` measured steps; `transient` steps came before. `samples` are
    the exponents of each sample in the order of the means, `sample_errors` their standard errors, `growth` the logarithm of what a
    perturbation has grown to after `history_steps`. `local` has the exponents by windows of time.

    Shapes: exponents, error, between (N,); history (K, N), history_steps (K,); samples, sample_errors (B, N); growth (K, B).
    """

    exponents: Any
    error: Any
    between: Any
    converged: bool
    slow: bool
    sum_rule_defect: float
    kaplan_yorke: float
    entropy: float
    history: Any = field(repr=False)
    history_steps: Any = field(repr=False)
    steps: int
    transient: int
    blocks: int
    samples: Any = field(repr=False)
    sample_errors: Any = field(repr=False)
    growth: Any = field(repr=False)
    local: LocalExponents = field(repr=False)

    @property
    def half_width(self) -> Any:
        """The half width of a 95 % interval around each exponent: `error` times the quantile of Student's t."""
        return self.error * t_quantile(0.975, max(1, self.blocks - 1))


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def lyapunov_spectrum(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None, *, steps: int | None = None,
    transient: int | None = None, count: int | None = None, seed: int = 0,
) -> LyapunovSpectrum:  # fmt: skip
    """Return the Lyapunov exponents of the whole state along the trajectory that inputs and initial state give.

    The first `transient` steps (by default 30 N, at least a tenth and at most a quarter of the run) align the frame and bring
    the trajectory to its attractor; they are not counted. `count` asks for the largest exponents only. `seed` draws the frame.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...); a cell without inputs takes `steps`.

    Raises: ArgumentError for counts that contradict each other, a trajectory that leaves the range, and as `kernel.forward` does.

    Source: Benettin, Galgani, Giorgilli, Strelcyn 1980, "Lyapunov characteristic exponents for smooth dynamical systems",
    part 2; for recurrent networks: Engelken, Wolf, Abbott 2023, "Lyapunov spectra of chaotic recurrent neural networks";
    Vogt, Puelma Touzel, Shlizerman, Lajoie 2022, "On Lyapunov exponents for RNNs".
    """
    return spectrum_of(trajectory(cell, params, inputs, state, steps), transient, count, seed)


def spectrum_of(
    run: Trajectory, transient: int | None = None, count: int | None = None, seed: int = 0
) -> LyapunovSpectrum:
    """Return the Lyapunov exponents along a run."""
    count, transient = checked_counts(run, count, transient)
    measured = run.steps - transient
    edges = np.arange(min(measured, POINTS) + 1) * measured // min(measured, POINTS)
    sums, defects = _binned(run, count, transient, edges, seed)
    defect, blocks = float(np.abs(defects).max() / measured), min(BLOCKS, len(edges) - 1)
    driven = _driven(run, transient + block_edges(edges, blocks))
    return _spectrum(sums, defect, edges, transient, run.dimension, driven)


def _driven(run: Trajectory, edges: Any) -> float:
    """The correlation of neighbouring blocks of the inputs that the Jacobian depends on; of an index, of the times of each value."""
    found = [np.zeros((len(edges) - 1, 0))]
    for name in run.of.drivers:
        x = run.inputs[name].reshape(run.steps, -1)
        # An index has no mean that says anything; the frequency of each of its values has.
        if x.dtype.kind in "iub":
            x = (x[..., None] == np.unique(x)[:VALUES]).reshape(run.steps, -1)
        sums = np.add.reduceat(x[: edges[-1]], edges[:-1], axis=0, dtype=np.float64)
        found.append(sums / np.diff(edges)[:, None])
    return pooled_correlation(np.concatenate(found, 1))


def checked_counts(run: Trajectory, count: int | None, transient: int | None) -> tuple[int, int]:
    """Return how many exponents are asked for, and after how many steps they are measured.

    Raises: ArgumentError for what is no integer, and for counts that contradict each other.
    """
    size, steps, where = run.dimension, run.steps, f"in the spectrum of {run.of.cell.name}"
    check_integers({"count": count, "transient": transient}, where)
    count = size if count is None else count
    if not 1 <= count <= size:
        raise ArgumentError(three_lines(f"count={count} of {size} exponents", where, f"give 1 to {size}"))
    if transient is None:
        transient = min(max(30 * size, steps // 10), steps // 4)
    if not 0 <= transient < steps:
        raise ArgumentError(three_lines(f"transient={transient} of {steps} steps", where, "leave steps to measure"))
    return count, transient


def check_integers(options: Mapping[str, Any], where: str) -> None:
    """Raises: ArgumentError for an option that is neither an integer nor None."""
    for name, value in options.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
            raise ArgumentError(
                three_lines(f"{name}: an integer is expected, got {value!r}", where, f"write {name}=10")
            )


def _binned(run: Trajectory, count: int, transient: int, edges: Any, seed: int) -> tuple[Any, Any]:
    """Sums over bins of steps of ln|R_ii| (K, B, count), and the sum of their differences from ln|det J| (B,)."""
    sums, defects = np.zeros((len(edges) - 1, run.batch, count)), np.zeros(run.batch)
    frame = first_frame(run, count, seed)
    for first, jacobians in linearised(run):
        frame, grown = march(jacobians, frame)
        start = max(transient - first, 0)
        at = np.searchsorted(edges, np.arange(first + start, first + len(grown)) - transient, side="right") - 1
        np.add.at(sums, at, grown[start:])
        if count == run.dimension:
            defects += _defects(jacobians[start:], grown[start:])
    return sums, defects if count == run.dimension else np.full(run.batch, np.nan)


def first_frame(run: Trajectory, count: int, seed: int) -> Any:
    """Return random orthonormal directions, the same for any count as far as they go. Shapes: (B, N, count)."""
    random = np.random.default_rng(seed)
    return orthogonal((run.batch, run.dimension, run.dimension), random)[..., :count]


def march(jacobians: Any, frame: Any) -> tuple[Any, Any]:
    """Carry an orthonormal frame through Jacobians forward in time; return the last frame and the logarithms of growth.

    At each step J Q = Q' R, and direction i has grown by |R_ii|; where that is rounding, the growth is -inf.

    Shapes: jacobians (T, B, N, N), frame (B, N, k), growth (T, B, k).
    """
    if jacobians.shape[-1] == 1:
        return frame, log_of(np.abs(jacobians[..., 0]))
    grown, plain = np.empty((*jacobians.shape[:2], frame.shape[-1])), is_plain(jacobians)
    for t, step in enumerate(jacobians):
        frame, r = np.linalg.qr(step @ frame) if plain[t] else carried(step, frame)
        grown[t] = r.diagonal(0, -2, -1)
    # `carried` has zeros for lost directions already; a plain QR leaves rounding there.
    lost = is_lost(grown, np.abs(jacobians).max((-2, -1))[..., None]) & plain[:, None, None]
    return frame, log_of(np.where(lost, 0, np.abs(grown)))


def _spectrum(sums: Any, defect: float, edges: Any, transient: int, size: int, driven: float) -> LyapunovSpectrum:
    counts, steps = np.diff(edges), int(edges[-1])
    samples = sums.sum(0) / steps
    order = np.argsort(-samples.mean(0), kind="stable")
    exponents = samples.mean(0)[order]
    each = blocks_of(sums[:, :, order], counts, min(BLOCKS, len(counts)))
    groups = each.mean(1)
    history = np.cumsum(sums.mean(1)[:, order], 0) / edges[1:, None]
    slow = is_slow(each[..., 0], driven)
    return LyapunovSpectrum(
        exponents, correlated_error(groups, driven), _between(samples[:, order]), is_settled(groups) and not slow, slow, defect,
        kaplan_yorke(exponents, size), _entropy(exponents, size), history, edges[1:], steps, transient,
        len(groups), samples[:, order], correlated_error(each, driven), np.cumsum(sums[..., 0], 0),
        _local(each, transient + block_edges(edges, len(each))),
    )  # fmt: skip


def _local(each: Any, edges: Any) -> LocalExponents:
    values = np.sort(each.reshape(-1, each.shape[-1]), 0)
    outside = int((1 - NINE_TENTHS) / 2 * len(values))
    with np.errstate(invalid="ignore"):
        spread = np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full(each.shape[-1], np.nan)
    return LocalExponents(each, edges, spread, values[outside], values[-1 - outside])


def _entropy(exponents: Any, size: int) -> float:
    """The sum of the positive exponents; nan where only some were asked for, and more may be positive."""
    # Ruelle: the entropy is at most this sum, and by Pesin equal to it for a smooth invariant measure.
    positive = exponents[exponents > 0]
    return np.nan if len(positive) == len(exponents) < size else float(np.sum(positive))


def _between(samples: Any) -> Any:
    """The standard deviation between samples; zero where all of them lose the direction."""
    if len(samples) < 2:
        return None
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(samples).all(0), 0, np.std(samples, axis=0, ddof=1))


def _defects(jacobians: Any, grown: Any) -> Any:
    """The sum over steps of Σ ln|R_ii| − ln|det J|, without the steps whose determinant is rounding. Shapes: (B,)."""
    # ln|det J| = Σ ln|R_ii| in exact arithmetic: a check of the whole recurrence that costs one more factorisation.
    sound = grown.min(-1) > log_of(np.abs(jacobians).max((-2, -1))) - ROUNDED
    with np.errstate(invalid="ignore"):
        return np.sum(np.where(sound, grown.sum(-1) - np.linalg.slogdet(jacobians)[1], 0), 0)


def kaplan_yorke(exponents: Any, size: int | None = None) -> float:
    """Return the Kaplan–Yorke dimension; nan where a partial spectrum does not decide it.

    Source: Kaplan, Yorke 1979, "Chaotic behavior of multidimensional difference equations".
    """
    sums = np.concatenate([[0.0], np.cumsum(exponents)])
    # The dimension is j plus the part of exponent j + 1 that brings the sum to zero, by linear interpolation.
    below = np.flatnonzero(sums < -1e-12)
    if not len(below):
        return float(len(exponents)) if size in (None, len(exponents)) else np.nan
    j = int(below[0]) - 1
    return j + float(sums[j] / -exponents[j])
