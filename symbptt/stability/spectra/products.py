"""Singular values of products of step Jacobians against the lag: how gradients of every direction pass through k steps.

For example 1,000 steps with J = diag(2, 1/2): the product has 2^1000 and 2^−1000, beyond what one float matrix
resolves. It is stored as Q diag(exp(s)) U instead, with s = (693, −693) and rows of U of length one; each step multiplies
Q alone, takes a QR of the result, and merges R into s and U row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.init import orthogonal
from symbptt.stability.runs.trajectory import Trajectory, linearised_backward, trajectory
from symbptt.stability.spectra.graded_qr import carried, is_lost, is_plain, log_singular_values, normalised

Arrays = Mapping[str, Any]
ALIVE = 1e-3
"""A direction is alive while its singular value is more than this."""
KNOWN = float(np.log(1e-6))
"""A row that errors reach up to this part of it is not resolved."""
ROUNDED = float(np.log(64 * np.finfo(np.float64).eps))


@dataclass(frozen=True)
class Paths:
    """Logarithms of the spectral norms of parts of the products, by lag; averaged over samples.

    `blocks[to, of]` is ∂to_t/∂of_{t−k}. For a state s, `direct[s]` is the product of its own blocks ∂s/∂s alone, the paths
    that never leave s (the cell state of an LSTM: its forget gates); `through[s]` is the rest of blocks[s, s], the paths
    that pass through other states.

    Shapes: each (lags,).
    """

    blocks: dict[tuple[str, str], Any]
    direct: dict[str, Any]
    through: dict[str, Any]


@dataclass(frozen=True)
class ProductSpectrum:
    """The spectrum of J_t … J_{t−k+1} for each lag k, where t is the last step; means over the samples of a batch.

    `between` is the standard deviation between samples, None for one sample. `isometry_defect` is the largest
    |ln singular value|, zero where every direction keeps its length. `alive` counts the singular values over 1e-3.

    `samples` are the logarithms of each sample. `floor` is, by lag, the logarithm under which singular values are not resolved: where a
    step annihilates a direction, the others are known to rounding of the largest, and what that leaves in the lost direction
    may grow over them before. Values under it, zeros among them, have no digit that is known. It is the largest over samples, -inf
    where no direction was lost.

    Shapes: lags, isometry_defect, alive, floor (lags,); log_singular_values, between (lags, N), in descending order, -inf for zero;
    samples (lags, B, N).
    """

    lags: Any
    log_singular_values: Any = field(repr=False)
    between: Any = field(repr=False)
    isometry_defect: Any
    alive: Any
    paths: Paths = field(repr=False)
    samples: Any = field(repr=False)
    floor: Any = field(repr=False)

    @property
    def rates(self) -> Any:
        """The finite-time exponents, log_singular_values / lag, in nats per step."""
        return self.log_singular_values / self.lags[:, None]


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def product_spectrum(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None, lags: Iterable[int] | None = None,
    *, steps: int | None = None,
) -> ProductSpectrum:  # fmt: skip
    """Return the singular values of the Jacobian of the last state with respect to the state k steps before, for lags k.

    Every value over the `floor` has full relative accuracy at any lag. Lags default to about 24 from 1 to the length of the run.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...); a cell without inputs takes `steps`.

    Raises: ArgumentError for lags outside 1 to T, a trajectory that leaves the range, and as `kernel.forward` does.

    Source: Pennington, Schoenholz, Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical isometry";
    the algorithm: Stewart 1997, "On graded QR decompositions of products of matrices", here with a one-sided Jacobi method
    at each lag.
    """
    run = trajectory(cell, params, inputs, state, steps)
    return products_of(run, checked_lags(run, lags))


def products_of(run: Trajectory, wanted: list[int]) -> ProductSpectrum:
    """Return the singular values of the products along a run, for lags in ascending order."""
    random = np.random.default_rng(0)
    graded, blocks = _start(run, random), _Blocks.start(run)
    spectra, norms, floors, ghost = [], [], [], np.full(graded[1].shape, -np.inf)
    for k, jacobian, plain in _backward(run, wanted[-1]):
        graded, ghost = _longer(*graded, ghost, jacobian, plain)
        blocks = blocks.longer(jacobian)
        if k in wanted:
            spectra.append([log_singular_values(s, u) for s, u in zip(graded[1], graded[2], strict=True)])
            norms.append(blocks.norms())
            floors.append(np.where(ghost > graded[1] + KNOWN, ghost, -np.inf).max())
    return _spectrum(np.array(wanted), np.array(spectra), _paths(norms, run), np.array(floors))


def checked_lags(run: Trajectory, lags: Iterable[int] | None) -> list[int]:
    """Return the lags in ascending order, about 24 from 1 to the length of the run where none are given.

    Raises: ArgumentError for what is no integer, and for lags outside 1 to T.
    """
    if lags is None:
        lags = np.geomspace(1, run.steps, 24).round().astype(int)
    given = np.ravel(np.array(lags if isinstance(lags, int | np.ndarray) else list(lags)))
    if len(given) and given.dtype.kind not in "iu":
        raise ArgumentError(three_lines(f"lags: integers are expected, got {given[0]!r}",
                                        f"in the products of {run.of.cell.name}", "write lags=[1, 10, 100]"))  # fmt: skip
    wanted = sorted({int(k) for k in given})
    if not wanted or wanted[0] < 1 or wanted[-1] > run.steps:
        raise ArgumentError(three_lines(f"lags from {min(wanted, default=0)} to {max(wanted, default=0)} of {run.steps} steps",
                                        f"in the products of {run.of.cell.name}", f"give lags from 1 to {run.steps}"))  # fmt: skip
    return wanted


def _backward(run: Trajectory, longest: int) -> Iterator[tuple[int, Any, Any]]:
    """The Jacobians (B, N, N) from the last step back, each with its lag and with whether a plain QR of it does."""
    for first, jacobians in linearised_backward(run):
        plain = is_plain(jacobians)
        for i in reversed(range(len(jacobians))):
            if run.steps - first - i > longest:
                return
            yield run.steps - first - i, jacobians[i], plain[i]


def _start(run: Trajectory, random: np.random.Generator) -> tuple[Any, Any, Any]:
    """The identity as Q diag(exp(s)) U with a random Q: aligned with no direction in particular."""
    q = orthogonal((run.batch, run.dimension, run.dimension), random)
    return q, np.zeros(q.shape[:-1]), np.swapaxes(q, -1, -2)


def _longer(q: Any, s: Any, u: Any, ghost: Any, jacobian: Any, plain: Any) -> tuple[tuple[Any, Any, Any], Any]:
    """J' Q diag(exp(s)) U in the same form: J' Q = Q' R, then the rows of R diag(exp(s)) U at their own scales.

    `ghost` is the logarithm of the error in each row: of a lost direction the rounding of the largest row, which from then on
    grows as that direction does.

    Shapes: q, u, jacobian (B, N, N), s, ghost (B, N). The transpose: a longer lag multiplies the product from the right.
    """
    # The singular values of a product are those of its transpose, and J' on the left of the transpose is a further
    # step on the right of the product.
    back = np.swapaxes(jacobian, -1, -2)
    q, r = _plain(back, q) if plain else carried(back, q)
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(r))
        largest = s.max(-1, keepdims=True) + np.log(np.abs(jacobian).max((-2, -1)))[..., None]
    ghost = np.where(
        r.any(-1), (logs + ghost[..., None, :]).max(-1), np.maximum(largest + ROUNDED, ghost.max(-1, keepdims=True))
    )
    level = logs + s[..., None, :]
    top = level.max(-1)
    # A row of zeros has no scale; 0 stands in, as −∞ − (−∞) is NaN.
    top = np.where(np.isneginf(top), 0, top)
    weights = np.sign(r) * np.exp(level - top[..., None])
    return (q, *normalised(top, weights @ u)), ghost


def _plain(jacobian: Any, q: Any) -> tuple[Any, Any]:
    scale = np.abs(jacobian).max((-2, -1))[..., None]
    q, r = np.linalg.qr(jacobian @ q)
    return q, np.where(is_lost(r.diagonal(0, -2, -1), scale)[..., None], 0, r)


@dataclass(frozen=True)
class _Blocks:
    """The product itself and the products of each state's own block, each at a scale exp(level) of its own."""

    names: dict[str, slice]
    total: tuple[Any, Any]
    own: dict[str, tuple[Any, Any]]

    @staticmethod
    def start(run: Trajectory) -> _Blocks:
        def eye(n: int) -> tuple[Any, Any]:
            return np.broadcast_to(np.eye(n), (run.batch, n, n)), np.zeros(run.batch)

        names = run.of.names
        return _Blocks(names, eye(run.dimension), {k: eye(v.stop - v.start) for k, v in names.items()})

    def longer(self, jacobian: Any) -> _Blocks:
        own = {k: _scaled(x @ jacobian[:, self.names[k], self.names[k]], a) for k, (x, a) in self.own.items()}
        return _Blocks(self.names, _scaled(self.total[0] @ jacobian, self.total[1]), own)

    def norms(self) -> dict[Any, Any]:
        """Logarithms of spectral norms (B,), by (to, of), by (name,) for direct paths and by name for those through others."""
        total, level = self.total
        found: dict[Any, Any] = {(to, of): _log_norm(total[:, i, j], level) for to, i in self.names.items()
                                 for of, j in self.names.items()}  # fmt: skip
        for name, part in self.names.items():
            own, low = self.own[name]
            top = np.maximum(level, low)
            rest = _difference(total[:, part, part] * _exp(level - top), own * _exp(low - top))
            # The paths through other states are the difference from those that never leave the state; both are first
            # put on one scale.
            found[name,], found[name] = _log_norm(own, low), _log_norm(rest, top)
        return found


def _difference(a: Any, b: Any) -> Any:
    """a − b, zero where it is rounding."""
    return np.where(np.abs(a - b) <= 8 * np.finfo(np.float64).eps * np.abs(a), 0, a - b)


def _exp(x: Any) -> Any:
    return np.exp(x)[:, None, None]


def _scaled(x: Any, level: Any) -> tuple[Any, Any]:
    size = np.abs(x).max((-2, -1))
    size = np.where(size == 0, 1, size)
    return x / size[:, None, None], level + np.log(size)


def _log_norm(x: Any, level: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(np.linalg.norm(x, 2, (-2, -1))) + level


def _paths(norms: list[dict[Any, Any]], run: Trajectory) -> Paths:
    by_lag = {key: np.array([at[key].mean() for at in norms]) for key in norms[0]}
    names = list(run.of.names)
    blocks = {(to, of): by_lag[to, of] for to in names for of in names}
    return Paths(blocks, {name: by_lag[name,] for name in names}, {name: by_lag[name] for name in names})


def _spectrum(lags: Any, spectra: Any, paths: Paths, floor: Any) -> ProductSpectrum:
    with np.errstate(invalid="ignore"):
        mean, between = spectra.mean(1), np.std(spectra, axis=1, ddof=1) if spectra.shape[1] > 1 else None
    alive = (mean > np.log(ALIVE)).sum(-1)
    return ProductSpectrum(lags, mean, between, np.abs(mean).max(-1), alive, paths, spectra, floor)
