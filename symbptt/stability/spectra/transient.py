"""Growth before decay: the largest factor by which a gradient may grow over a lag, wherever in the run it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.stability.runs.trajectory import Trajectory, jacobians_at, trajectory
from symbptt.stability.spectra.products import checked_lags

Arrays = Mapping[str, Any]
ANGLES = 32
"""Directions in half a turn in which the numerical range is measured; its radius is low by 1 − cos(π/64), 0.12 %, at the most."""
SPREAD = 2**21
"""Steps times N³ at which the Henrici number and the numerical radius are measured, spread over the run."""
TOGETHER = 16
"""Products whose largest singular values are computed by one call, those first that may be largest."""
ROUNDING = 1e-12
"""Growth of less than this a step is rounding."""
NEAR = 8
"""Lags that are tried between the neighbours of the best of a report."""
WORK = 2**32
"""Multiplications of the products of a report, at the most: of a long run the last steps are taken."""


@dataclass(frozen=True)
class TransientGrowth:
    """The largest singular value of J_{t+k−1} … J_t over all start times t and samples, by lag k, as a logarithm.

    `start` is the time, and `sample` the sample, where it is largest. `henrici` is the departure of the step's Jacobian from
    normality, √(‖J‖² − Σ|λ|²)/‖J‖ in the Frobenius norm, 0 for a normal matrix and at most 1; `numerical_radius` is max |x* J x| over
    unit vectors; both are means over samples and steps, of a long run over steps spread evenly. A normal Jacobian that is the
    same at all steps grows from the first step or never; a numerical radius over 1 says that some gradient grows at first.

    Shapes: each array (lags,).
    """

    lags: Any
    log_growth: Any
    start: Any = field(repr=False)
    sample: Any = field(repr=False)
    henrici: float
    numerical_radius: float

    @property
    def peak(self) -> float:
        """The largest growth at any of the lags, 1 where gradients only shrink; infinite beyond the range of numbers."""
        with np.errstate(over="ignore"):
            return float(np.exp(max(0.0, float(self.log_growth.max()))))

    @property
    def peak_lag(self) -> int:
        """The lag of the largest growth; 0 where gradients only shrink, or keep their size within rounding."""
        best = int(np.argmax(self.log_growth))
        return int(self.lags[best]) if self.log_growth[best] > ROUNDING * self.lags[best] else 0


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def transient_growth(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None, lags: Iterable[int] | None = None,
    *, steps: int | None = None,
) -> TransientGrowth:  # fmt: skip
    """Return how much a gradient may grow before it decays, along a run. Lags default to about 24 from 1 to the length of the run.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...); a cell without inputs takes `steps`.

    Raises: ArgumentError for lags outside 1 to T, a trajectory that leaves the range, and as `kernel.forward` does.

    Source: Trefethen, Embree 2005, "Spectra and pseudospectra", chapters 14 to 17 (transient growth, numerical range); Henrici 1962,
    "Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices".
    """
    run = trajectory(cell, params, inputs, state, steps)
    return growth_of(run, checked_lags(run, lags))


def growth_of_tail(run: Trajectory, lags: Iterable[int]) -> TransientGrowth:
    """Return the growth over the last steps of a run, as many as can be multiplied in a moment, at some lags and at more of
    them around the best."""
    most = max(1, WORK // (2 * max(1, run.batch) * max(1, run.dimension) ** 3 * max(1, run.steps.bit_length())))
    wanted = [k for k in lags if k <= most] or [1]
    first = max(0, run.steps - most)
    jacobians = jacobians_at(run, range(first, run.steps))
    best = int(np.argmax(_grown(jacobians, wanted)[0]))
    low, high = ([0, *wanted, wanted[-1]][i] for i in (best, best + 2))
    near = np.linspace(low + 1, high, min(NEAR, max(1, high - low))).round().astype(int)
    return _growth(jacobians, sorted({*wanted, *near.tolist()}), first)


def growth_of(run: Trajectory, lags: list[int]) -> TransientGrowth:
    """Return the growth over lags in ascending order."""
    return _growth(jacobians_at(run, range(run.steps)), lags, 0)


def _growth(jacobians: Any, lags: list[int], first: int) -> TransientGrowth:
    """The growth over lags, and how far the Jacobians, of the steps from `first` on, are from normal."""
    logs, starts, samples = _grown(jacobians, lags)
    some = _spread(jacobians)
    return TransientGrowth(np.array(lags), logs, first + starts, samples, _henrici(some), _radius(some))


def _grown(jacobians: Any, lags: list[int]) -> tuple[Any, Any, Any]:
    """The logarithm of the largest growth at each lag, its first step and its sample."""
    powers, logs, starts, samples = [_scaled(jacobians)], [], [], []
    # Products over 1, 2, 4, ... steps for every start: any lag is then a product of those of its binary digits.
    while 2 * _length(powers) <= lags[-1]:
        powers.append(_times(powers[-1], powers[-1], _length(powers)))
    for lag in lags:
        log, t, b = _largest(*_product(powers, lag))
        logs.append(log)
        starts.append(t)
        samples.append(b)
    return np.array(logs), np.array(starts), np.array(samples)


def _scaled(jacobians: Any) -> tuple[Any, Any]:
    """Jacobians with the largest entry between 1 and 2, whose squares do not overflow, and the logarithms of the powers of 2 taken out."""
    size = np.abs(jacobians).max((-2, -1), initial=0.0)
    whole = np.exp2(np.floor(np.log2(np.where(size == 0, 1.0, size))))
    # Dividing by a power of 2 is exact.
    return jacobians / whole[..., None, None], np.log(whole)


def _spread(jacobians: Any) -> Any:
    """As many steps, spread evenly, as can be analysed in detail."""
    steps, batch, size = jacobians.shape[:3]
    count = min(steps, max(1, SPREAD // (batch * size**3)))
    return jacobians[np.linspace(0, steps - 1, count).round().astype(int)]


def _length(powers: list[Any]) -> int:
    return int(2 ** (len(powers) - 1))


def _product(powers: list[tuple[Any, Any]], lag: int) -> tuple[Any, Any]:
    """The products over a lag from those over powers of two, for every start."""
    found, length = None, 0
    for i, power in enumerate(powers):
        if lag >> i & 1:
            found, length = power if found is None else _times(found, power, length), length + 2**i
    assert found is not None
    return found


def _times(early: tuple[Any, Any], late: tuple[Any, Any], lag: int) -> tuple[Any, Any]:
    """late[t + lag] early[t] at a scale exp(level) of its own, for every t at which both are there."""
    count = min(len(early[0]), len(late[0]) - lag)
    product = late[0][lag : lag + count] @ early[0][:count]
    size = np.abs(product).max((-2, -1), initial=0.0)
    size = np.where(size == 0, 1.0, size)
    return product / size[..., None, None], early[1][:count] + late[1][lag : lag + count] + np.log(size)


def _largest(products: Any, level: Any) -> tuple[float, int, int]:
    """The logarithm of the largest singular value of all products, and where it is.

    ‖(PᵀP)²‖_F^¼, which no singular value of P exceeds, costs two products in the place of a decomposition: most are ruled out.
    """
    squares = np.swapaxes(products, -1, -2) @ products
    with np.errstate(divide="ignore"):
        bound = np.log(np.linalg.norm(squares @ squares, axis=(-2, -1))) / 4 + level
    best: tuple[float, int, int] = (-np.inf, 0, 0)
    # In the order of the bounds the search ends as soon as the next bound is below the best value found.
    order = np.argsort(-bound, axis=None)
    order = order[~np.isneginf(bound.ravel()[order])]
    for first in range(0, len(order), TOGETHER):
        if bound.ravel()[order[first]] + 1e-9 < best[0]:
            break
        t, b = np.unravel_index(order[first : first + TOGETHER], bound.shape)
        found = np.log(np.linalg.svd(products[t, b], compute_uv=False)[:, 0]) + level[t, b]
        i = int(np.argmax(np.where(np.isnan(found), -np.inf, found)))
        best = max(best, (float(found[i]), int(t[i]), int(b[i])), key=lambda item: item[0])
    return best


def _henrici(jacobians: Any) -> float:
    jacobians, _ = _scaled(jacobians)
    total = (np.abs(jacobians) ** 2).sum((-2, -1))
    # Schur: ‖J‖² = Σ|λ|² + the squares of the part over the diagonal, which vanishes for a normal matrix alone.
    normal = (np.abs(np.linalg.eigvals(jacobians)) ** 2).sum(-1)
    alive = total > 0
    return float(np.mean(np.sqrt(np.clip(1 - normal[alive] / total[alive], 0, 1)))) if alive.any() else 0.0


def _radius(jacobians: Any) -> float:
    """The largest eigenvalue of the Hermitian part of e^(iθ) J over angles θ; a real matrix needs half a turn."""
    best = np.zeros(jacobians.shape[:2])
    for angle in np.pi * np.arange(ANGLES + 1) / ANGLES:
        turned = np.exp(1j * angle) * jacobians
        hermitian = (turned + np.conj(np.swapaxes(turned, -1, -2))) / 2
        best = np.maximum(best, np.linalg.eigvalsh(hermitian)[..., -1])
    return float(best.mean())
