"""Initialisation for a requested memory: the gain or the gate biases at which a gradient falls to 1/e in so many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.cell import Cell
from symbptt.codegen.loading import compile as compile_cell
from symbptt.errors import ArgumentError, three_lines
from symbptt.stability.defaults import random_inputs, random_state, sizes_for
from symbptt.stability.field import root
from symbptt.stability.knobs import Knob, knobs
from symbptt.stability.lyapunov import LyapunovSpectrum, lyapunov_spectrum

Arrays = Mapping[str, Any]
SAMPLES = 4
COARSE = 300
"""Steps of a run of the search for the first crossing."""
HORIZONS = 20
"""A run that measures a horizon is so many of them long, within the limits of the next line."""
SHORTEST, LONGEST = 400, 4000


@dataclass(frozen=True)
class Initialisation:
    """Parameters with the horizon asked for, and what was changed to reach it.

    `kind` is "bias" (`value` was added to the biases of the gates) or "gain" (the recurrent weights were multiplied by `value`);
    `changed` are the names. `achieved` is −1/λ₁ of a run with other inputs and states than those solved with, None where it
    does not vanish there; `low` and `high` are its 95 % interval, high being infinite where zero is inside that of λ₁.
    """

    params: dict[str, Any] = field(repr=False)
    kind: str
    changed: tuple[str, ...]
    value: float
    horizon: float
    achieved: float | None
    low: float
    high: float

    def text(self) -> str:
        """Return in words what was changed and what it gives."""
        names = ", ".join(self.changed)
        what = f"add {self.value:+.3g} to {names}" if self.kind == "bias" else f"multiply {names} by {self.value:.4g}"
        got = f"{self.achieved:.3g} steps ({self.low:.3g} to {self.high:.3g})" if self.achieved else "no finite horizon"
        return f"{what}: a run with fresh data measures {got} for the {self.horizon:g} asked for"

    __str__ = text


def init_for_horizon(
    cell: Cell, horizon: float, params: Arrays | None = None, inputs: Arrays | None = None, *,
    sizes: Mapping[str, int] | None = None, seed: int = 0,
) -> Initialisation:  # fmt: skip
    """Return parameters with which a gradient falls to 1/e in `horizon` steps, λ₁ = −1/horizon, along a run.

    Gate biases are moved where the cell has gates: parameters that reach an elementwise factor of a state without a product.
    Else, or where no bias gives that horizon, the recurrent weights are scaled: the parameters that multiply what depends on
    the state. Both are found from the graph. The least memory comes first, and the search stops at the first value with the
    horizon: the first loss of stability, as λ₁ need not grow with the gain. The network is simulated as it is, its weights
    the same at every step.

    `params` defaults to `init` with `sizes` (32 where nothing says), `inputs` to standard normal numbers; data that are given
    are repeated as long as it takes.

    Shapes: inputs (T, B, ...) or (T, ...).

    Raises: ArgumentError for a horizon under 1, or one that no value of bias or gain gives; as `kernel.forward` does.

    Source: Tallec, Ollivier 2018, "Can recurrent neural networks warp time?" (biases for a horizon); here λ₁ is solved for.
    """
    where = f"in init_for_horizon of {getattr(cell, 'name', cell)}"
    if not isinstance(cell, Cell):
        raise ArgumentError(three_lines(f"init_for_horizon takes a cell, got {type(cell).__name__}", cure="give model.cell"))
    if not (isinstance(horizon, int | float | np.number) and 1 <= horizon < np.inf):
        raise ArgumentError(three_lines(f"horizon={horizon!r}", where, "give a number of steps from 1"))
    dims = sizes_for(cell.arguments, {**(params or {}), **(inputs or {})}) | dict(sizes or {})
    params = cell.init(dims, seed=seed) if params is None else dict(params)
    runs = _Runs(cell, inputs, dims, seed)
    seen = []
    for knob in knobs(cell, params, runs.data(1, seed)[0]):
        value, top = _solve(knob, runs, float(horizon))
        if value is not None:
            return _measured(knob, runs, value, float(horizon))
        seen.append(f"{knob.kind} of {', '.join(knob.names)}: {top}")
    raise ArgumentError(three_lines(f"no initialisation has a horizon of {horizon:g} steps", where,
                                    "; ".join(seen) or "no parameter scales its recurrence or biases a gate"))  # fmt: skip


@dataclass(frozen=True)
class _Runs:
    """Data of any length, and λ₁ along them."""

    cell: Cell
    inputs: Arrays | None
    dims: Mapping[str, int]
    seed: int

    def data(self, steps: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs and states: drawn, or those given from a step of the seed's on, repeated."""
        needed = [a for a in self.cell.arguments if a.role in ("input", "index")]
        state = random_state(self.cell.arguments, self.dims, (SAMPLES,), seed)
        if not needed or not self.inputs:
            return random_inputs(needed, self.dims, (steps, SAMPLES), seed), state
        given = {k: np.asarray(v) for k, v in self.inputs.items()}
        rank = {a.name: len(a.shape) for a in needed}
        given = {k: v[:, None] if v.ndim == rank.get(k, 0) + 1 else v for k, v in given.items()}
        first = int(np.random.default_rng([seed, 3]).integers(len(next(iter(given.values())))))
        inputs = {k: np.resize(np.roll(v, -first, 0), (steps, *v.shape[1:])) for k, v in given.items()}
        batch = next(iter(inputs.values())).shape[1]
        return inputs, random_state(self.cell.arguments, self.dims, (batch,), seed)

    def spectrum(self, params: Arrays, steps: int, seed: int) -> LyapunovSpectrum | None:
        """λ₁; None where the state leaves the range."""
        inputs, state = self.data(steps, seed)
        dtype = next((np.asarray(v).dtype for v in params.values() if np.asarray(v).dtype.kind == "f"), np.dtype(float))
        inputs, state = ({k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in x.items()} for x in (inputs, state))
        with np.errstate(all="ignore"):
            after = self.cell_run(params, inputs, state, steps)
        if not after:
            return None
        return lyapunov_spectrum(self.cell, params, inputs, state, count=1, steps=steps)

    def cell_run(self, params: Arrays, inputs: Arrays, state: Arrays, steps: int) -> bool:
        """Whether the state stays in range."""
        run = compile_cell(self.cell).forward(params, inputs, state, steps=steps)
        limit = np.sqrt(np.finfo(next(iter(run.states.values())).dtype).max)
        return all(bool((np.abs(v) < limit).all()) for v in run.states.values())


def _exponent(knob: Knob, runs: _Runs, steps: int) -> Callable[[float], float]:
    """λ₁ against the knob, with the same data for all values; infinite where the state leaves the range."""

    def exponent(value: float) -> float:
        found = runs.spectrum(knob.set(value), steps, runs.seed)
        return np.inf if found is None else float(found.exponents[0])

    return exponent


def _solve(knob: Knob, runs: _Runs, horizon: float) -> tuple[float | None, str]:
    """The first value on the knob's scale with λ₁ = −1/horizon; None, and what was seen, where there is none."""
    target, coarse = -1 / horizon, _exponent(knob, runs, COARSE)
    fine = _exponent(knob, runs, int(np.clip(HORIZONS * horizon, SHORTEST, LONGEST)))
    low, values = None, []
    for value in knob.scale:
        found = coarse(value)
        values.append(found)
        if found >= target:
            break
        low = value
    seen = [-1 / v if v < 0 else np.inf for v in values]
    if low is None or values[-1] < target:
        return None, f"horizons from {min(seen):.3g} to {max(seen):.3g} steps"
    low, high = _bracketed(fine, target, low, value, knob)
    if low is None:
        return None, f"horizons from {min(seen):.3g} to {max(seen):.3g} steps"
    return root(lambda v: max(fine(v), -1e3) - target if np.isfinite(fine(v)) else 1.0, low, high, 1e-3), ""


def _bracketed(
    fine: Callable[[float], float], target: float, low: float, high: float, knob: Knob
) -> tuple[float | None, float]:
    """The same interval, moved along the scale until long runs have the target in it too."""
    scale = list(knob.scale)
    i, j = scale.index(low), scale.index(high)
    while i >= 0 and fine(scale[i]) >= target:
        i, j = i - 1, i
    while i >= 0 and j < len(scale) and fine(scale[j]) < target:
        i, j = j, j + 1
    return (None, high) if i < 0 or j >= len(scale) else (scale[i], scale[j])


def _measured(knob: Knob, runs: _Runs, value: float, horizon: float) -> Initialisation:
    params = knob.set(value)
    found = runs.spectrum(params, int(np.clip(2 * HORIZONS * horizon, SHORTEST, 2 * LONGEST)), runs.seed + 1)
    if found is None:
        return Initialisation(params, knob.kind, knob.names, value, horizon, None, np.nan, np.inf)
    exponent, half = float(found.exponents[0]), float(np.nan_to_num(found.half_width[0], nan=np.inf))
    low, high = -1 / (exponent - half), -1 / (exponent + half) if exponent + half < 0 else np.inf
    return Initialisation(params, knob.kind, knob.names, value, horizon, -1 / exponent if exponent < 0 else None, low, high)
