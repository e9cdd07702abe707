"""The time that gradients last along runs of a cell: by the largest exponent, and by the norm of one gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.data.random_data import random_inputs, random_state
from symbptt.language.cell import Cell
from symbptt.stability.spectra.block_means import t_quantile
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.stability.spectra.products import product_spectrum

Arrays = Mapping[str, Any]
SEARCH, HORIZONS, LIMITS = 10, 80, (500, 10_000)
"""Runs for λ₁ are so many horizons long, those of the search and those that solve, within limits."""
WINDOW, BEFORE, SHORTEST = 8, 4, 24
"""A gradient is followed over so many horizons, after as many in which the states reach their attractor; lags at the least."""
APART, MORE = 1000, 1_000_000
"""Between the seeds of groups, and of samples: those of neighbouring runs differ by 1."""
EDGE = 1e-9
"""Rounding of the logarithm of a singular value."""
GROUPS, EACH, FEWER = 8, 4, 8
"""Groups of samples, which tell how well a horizon is known, samples of each, and samples of a search."""


@dataclass(frozen=True)
class Lasting:
    """A horizon in steps, None where gradients do not fall, and its 95 % interval; 0 where they end within a few steps."""

    horizon: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Runs:
    """Data of any length as one sample, and how fast gradients fall along them; `what` is "exponent" or "gradient".

    The same data for all parameters, so that a rate changes smoothly with them. `seeds` draw data whose rates are averaged.
    """

    cell: Cell
    inputs: Arrays | None
    dims: Mapping[str, int]
    dtype: Any
    seeds: tuple[int, ...]
    what: str

    @cached_property
    def kernel(self) -> Kernel:
        return kernel_of(self.cell)

    def data(self, steps: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs (T, 1, ...) and states (1, ...): drawn, or all samples given one after the other, from a step of the seed's on."""
        needed = [a for a in self.cell.arguments if a.role in ("input", "index")]
        state = random_state(self.cell.arguments, self.dims, (1,), seed)
        if not needed or not self.inputs:
            return self.cast(random_inputs(needed, self.dims, (steps, 1), seed)), self.cast(state)
        inputs = {a.name: _in_a_row(np.asarray(self.inputs[a.name]), len(a.shape)) for a in needed}
        first = int(np.random.default_rng([seed, 3]).integers(len(next(iter(inputs.values())))))
        repeated = {k: np.resize(np.roll(v, -first, 0), (steps, 1, *v.shape[1:])) for k, v in inputs.items()}
        return self.cast(repeated), self.cast(state)

    def cast(self, arrays: Arrays) -> dict[str, Any]:
        return {k: v.astype(self.dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}

    def rate(self, params: Arrays, horizon: float, *, search: bool = False) -> float:
        """The growth of gradients in nats per step, −1 over their horizon, the mean over the seeds; `search` asks for short runs."""
        # A mean over infinite rates says nothing: the one of the largest size stands for them.
        found = [self._rate(params, horizon, search, seed) for seed in (self.seeds[:1] if search else self.seeds)]
        return float(np.mean(found)) if np.isfinite(found).all() else max(found, key=abs)

    def _rate(self, params: Arrays, horizon: float, search: bool, seed: int) -> float:
        if self.what == "exponent":
            return self._exponent(params, _steps(SEARCH if search else HORIZONS, horizon), seed)
        found = _falls(self._squares(params, horizon, seed, FEWER if search else GROUPS * EACH))
        if found is None:
            return np.inf
        return -1 / found if found else -np.inf

    def measured(self, params: Arrays, horizon: float) -> Lasting:
        """Return the horizon with the data of the first seed: by `sb.lyapunov_spectrum`, or of the norm of gradients."""
        if self.what == "gradient":
            groups = [self._squares(params, horizon, self.seeds[0] + i * APART, EACH) for i in range(GROUPS)]
            return _spread(np.transpose(groups))
        steps = _steps(HORIZONS, horizon)
        if np.isposinf(self._exponent(params, steps, self.seeds[0])):
            return Lasting(None, np.nan, np.inf)
        found = lyapunov_spectrum(self.cell, params, *self.data(steps, self.seeds[0]), count=1, steps=steps)
        exponent, half = float(found.exponents[0]), float(np.nan_to_num(found.half_width[0], nan=np.inf))
        # −1/λ falls towards zero as λ falls, so that the ends of the interval keep their order; an upper end of λ at
        # zero or above has no finite horizon.
        low, high = -1 / (exponent - half), -1 / (exponent + half) if exponent + half < 0 else np.inf
        return Lasting(-1 / exponent if exponent < 0 else None, low, high)

    def alive(self, params: Arrays, horizon: float, within: float = 0.0) -> tuple[int, int]:
        """Return how many singular values of the product over the horizon last as long as it, but for the part `within` of it,
        and of how many: the horizon of σ is the lag over −ln σ."""
        lag = max(1, round(horizon))
        steps = BEFORE * lag + lag
        inputs, state = self.data(steps, self.seeds[0])
        found = product_spectrum(self.cell, params, inputs, state, [lag], steps=steps).log_singular_values[-1]
        least = -lag / (lag if not within else (1 - within) * horizon)
        return int((found >= least - EDGE).sum()), len(found)

    def _squares(self, params: Arrays, horizon: float, seed: int, samples: int) -> Any:
        """Squared norms (lags,) of random gradients of the last states, all samples together; nan where one leaves the range."""
        lags = max(SHORTEST, int(np.ceil(WINDOW * horizon)))
        steps = lags + int(np.ceil(BEFORE * horizon))
        parts = [self.data(steps, seed + (i + 1) * MORE) for i in range(samples)]
        inputs, state = _beside([part[0] for part in parts], 1), _beside([part[1] for part in parts], 0)
        return self._flow(params, inputs, state, steps, seed)[::-1][:lags] ** 2

    def _flow(self, params: Arrays, inputs: Arrays, state: Arrays, steps: int, seed: int) -> Any:
        """Norms (T,) of the adjoint of the whole state that a random one of the last state becomes; nan where the run or they
        leave the range."""
        random = np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            run = self.kernel.forward(params, inputs, state, steps=steps)
            sent = self.cast({k: random.standard_normal(v.shape) for k, v in state.items()})
            flow = self.kernel.backward(run, sent, monitor=True).flow
            norms = np.hypot.reduce([np.asarray(v, np.float64) for v in flow.values()])
        return norms if all(np.isfinite(v).all() for v in run.states.values()) else np.full(norms.shape, np.nan)

    def _exponent(self, params: Arrays, steps: int, seed: int) -> float:
        """λ₁ from the norms of one adjoint: their slope over the run but a tenth at either end; infinite where it leaves the
        range."""
        norms = self._flow(params, *self.data(steps, seed), steps, seed)
        if not np.isfinite(norms).all():
            return np.inf
        alive = np.flatnonzero(norms)
        # The first tenth of a backward pass turns the cotangent into the direction that lasts longest, the last is
        # where the state comes from its start.
        first, last = max(int(alive[0]) if len(alive) else steps, steps // 10), steps - 1 - steps // 10
        return (
            float(np.log(norms[first] / norms[last]) / (last - first)) if first < last and norms[last] > 0 else -np.inf
        )


def _steps(horizons: int, horizon: float) -> int:
    return int(np.clip(horizons * horizon, *LIMITS))


def _beside(parts: list[dict[str, Any]], axis: int) -> dict[str, Any]:
    return {name: np.concatenate([part[name] for part in parts], axis) for name in parts[0]}


def _spread(squares: Any) -> Lasting:
    """The horizon of all groups together, and its interval by their spread."""
    found = _falls(squares.sum(1))
    each = [_falls(group) for group in squares.T]
    known = [lag for lag in each if lag is not None and np.isfinite(lag)]
    if found is None or not np.isfinite(found) or len(known) < GROUPS:
        return Lasting(found if found is not None and np.isfinite(found) else None, 0.0, np.inf)
    half = float(np.std(known, ddof=1)) / np.sqrt(GROUPS) * t_quantile(0.975, GROUPS - 1)
    return Lasting(found, max(found - half, 0.0), found + half)


def _falls(squares: Any) -> float | None:
    """The lag, between two steps, from which on a norm stays under 1/e of its first; infinite where it does not fall within the
    lags, None where it leaves the range."""
    if not np.isfinite(squares).all():
        return None
    over = np.flatnonzero(squares >= squares[0] / np.e**2)
    last = int(over[-1])
    if last + 1 == len(squares):
        return np.inf
    if squares[last + 1] == 0:
        return float(last)
    # Between two steps the norm is taken to fall exponentially, a straight line of its logarithm, which meets −1
    # there.
    ends = np.log(squares[last : last + 2] / squares[0]) / 2
    return float(last + (ends[0] + 1) / (ends[0] - ends[1]))


def _in_a_row(array: Any, rank: int) -> Any:
    """Samples (T, B, ...) one after the other, (B T, ...)."""
    return np.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:]) if array.ndim == rank + 2 else array
