"""Initialisation for a requested memory: the gain or the gate biases at which a gradient falls to 1/e in so many steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.arguments import check_mapping
from symbptt.cell import Cell
from symbptt.codegen.loading import Kernel
from symbptt.codegen.loading import compile as compile_cell
from symbptt.draws import random_inputs, random_state
from symbptt.errors import ArgumentError, three_lines
from symbptt.stability.defaults import sizes_for
from symbptt.stability.field import root
from symbptt.stability.knobs import Knob, knobs
from symbptt.stability.lyapunov import lyapunov_spectrum
from symbptt.stability.zeros import STEPS, advice_of, silent

Arrays = Mapping[str, Any]
SEARCH, HORIZONS, LIMITS = 10, 80, (500, 10_000)
"""Runs are so many horizons long, those of the search and those that solve, within limits."""
AGREE = 2.0
"""A solution counts where the horizon measured with fresh data is within this factor of that asked for."""


@dataclass(frozen=True)
class Initialisation:
    """Parameters with the horizon asked for, and what was changed to reach it.

    `kind` is "bias" (the biases of the gates were moved) or "gain" (the recurrent weights were multiplied by `value`); `changed`
    are the names, `shifts` what was added to each bias, None where some of its elements moved up and others down by |`value`|.
    `value` is the shift where all have the same. `achieved` is −1/λ₁ of a run with other inputs and states than those solved
    with, None where it does not vanish there; `low` and `high` are its 95 % interval, high being infinite where zero is inside
    that of λ₁.
    """

    params: dict[str, Any] = field(repr=False)
    kind: str
    changed: tuple[str, ...]
    value: float
    horizon: float
    achieved: float | None
    low: float
    high: float
    shifts: dict[str, float | None] = field(default_factory=dict)

    def text(self) -> str:
        """Return in words what was changed and what it gives."""
        what = self._shifted() if self.kind == "bias" else f"multiply {', '.join(self.changed)} by {self.value:.4g}"
        got = f"{self.achieved:.3g} steps ({self.low:.3g} to {self.high:.3g})" if self.achieved else "no finite horizon"
        return f"{what}: a run with fresh data measures {got} for the {self.horizon:g} asked for"

    __str__ = text

    def _shifted(self) -> str:
        """What is added to which biases, those with the same shift together."""
        groups: dict[float | None, list[str]] = {}
        for name, shift in self.shifts.items():
            groups.setdefault(shift, []).append(name)
        return " and ".join(
            f"move each element of {', '.join(names)} by {abs(self.value):.3g} in the direction that opens its gate"
            if shift is None
            else f"add {shift:+.3g} to {', '.join(names)}"
            for shift, names in groups.items()
        )


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
    _check(cell, horizon, where)
    for what, given, example in (("params", params, "cell.init(sizes)"), ("inputs", inputs, '{"x": x}'),
                                 ("sizes", sizes, 'sizes={"n": 32}')):  # fmt: skip
        if given is not None:
            check_mapping(what, given, example)
    _check_inputs(cell, inputs, where)
    dims = sizes_for(cell.arguments, {**(params or {}), **(inputs or {})}) | dict(sizes or {})
    params = cell.init(dims, seed=seed) if params is None else dict(params)
    dtype = next((np.asarray(v).dtype for v in params.values() if np.asarray(v).dtype.kind == "f"), np.dtype(float))
    runs = _Runs(cell, inputs, dims, dtype, seed)
    if cause := advice_of(silent(cell, params, *runs.data(STEPS, seed))):
        raise ArgumentError(three_lines("nothing of the state passes a step", where, cause))
    return _first(knobs(cell, params, runs.data(1, seed)[0]), runs, float(horizon), where)


def _check(cell: Any, horizon: Any, where: str) -> None:
    if not isinstance(cell, Cell):
        raise ArgumentError(
            three_lines(f"init_for_horizon takes a cell, got {type(cell).__name__}", cure="give model.cell")
        )
    if not (isinstance(horizon, int | float | np.number) and 1 <= horizon < np.inf):
        raise ArgumentError(three_lines(f"horizon={horizon!r}", where, "give a number of steps from 1"))


def _check_inputs(cell: Cell, inputs: Arrays | None, where: str) -> None:
    for a in [a for a in cell.arguments if inputs and a.role in ("input", "index")]:
        shape = np.shape((inputs or {}).get(a.name, ()))
        if len(shape) - len(a.shape) not in (1, 2) or not shape[0]:
            raise ArgumentError(three_lines(f"{a.name}: an array of at least one step is expected, got shape {shape}", where,
                                            "give (T, B, ...) or (T, ...)"))  # fmt: skip


def _first(candidates: Iterable[Knob], runs: _Runs, horizon: float, where: str) -> Initialisation:
    """The first knob's initialisation with which fresh data measure the horizon."""
    seen = []
    for knob in candidates:
        value, top = _solve(knob, runs, horizon)
        found = None if value is None else _measured(knob, runs, value, horizon)
        if found is not None and found.achieved is not None and horizon / AGREE <= found.achieved <= AGREE * horizon:
            return found
        seen.append(
            f"{knob.kind} of {', '.join(knob.names)}: {top if found is None else 'fresh data give another one'}"
        )
    raise ArgumentError(three_lines(f"no initialisation has a horizon of {horizon:g} steps", where,
                                    "; ".join(seen) or "no parameter scales its recurrence or biases a gate"))  # fmt: skip


@dataclass(frozen=True)
class _Runs:
    """Data of any length as one sample, and λ₁ along them."""

    cell: Cell
    inputs: Arrays | None
    dims: Mapping[str, int]
    dtype: Any
    seed: int

    @cached_property
    def kernel(self) -> Kernel:
        return compile_cell(self.cell)

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

    def exponent(self, params: Arrays, steps: int) -> float:
        """λ₁ from the norms of one adjoint: their slope over the run but a tenth at either end; infinite where it leaves the range.

        The same data for all parameters, so that λ₁ changes smoothly with them.
        """
        inputs, state = self.data(steps, self.seed)
        kernel, random = self.kernel, np.random.default_rng(self.seed)
        with np.errstate(all="ignore"):
            run = kernel.forward(params, inputs, state, steps=steps)
            sent = self.cast({k: random.standard_normal(v.shape) for k, v in state.items()})
            flow = kernel.backward(run, sent, monitor=True).flow
            norms = np.hypot.reduce([np.asarray(v, np.float64) for v in flow.values()])
        if not (np.isfinite(norms).all() and all(np.isfinite(v).all() for v in run.states.values())):
            return np.inf
        alive = np.flatnonzero(norms)
        first, last = max(int(alive[0]) if len(alive) else steps, steps // 10), steps - 1 - steps // 10
        return (
            float(np.log(norms[first] / norms[last]) / (last - first)) if first < last and norms[last] > 0 else -np.inf
        )


def _in_a_row(array: Any, rank: int) -> Any:
    """Samples (T, B, ...) one after the other, (B T, ...)."""
    return np.swapaxes(array, 0, 1).reshape(-1, *array.shape[2:]) if array.ndim == rank + 2 else array


def _solve(knob: Knob, runs: _Runs, horizon: float) -> tuple[float | None, str]:
    """The first value on the knob's scale where λ₁ comes up to −1/horizon; None, and what was seen, where there is none."""
    target, seen = -1 / horizon, [np.inf]
    short, long = (int(np.clip(n * horizon, *limits)) for n, limits in ((SEARCH, LIMITS), (HORIZONS, LIMITS)))

    def exponent(value: float, steps: int = long) -> float:
        found = runs.exponent(knob.set(value), steps)
        seen.append(-1 / found if found < 0 else np.inf)
        return float(np.clip(found, -1e3, 1e3)) - target

    high = _crossing(lambda i: exponent(knob.scale[i], short) < 0, len(knob.scale))
    while high is not None and 0 < high < len(knob.scale):  # a long run may put the crossing one place further
        low, top = exponent(knob.scale[high - 1]), exponent(knob.scale[high])
        if low < 0 <= top:
            return root(exponent, knob.scale[high - 1], knob.scale[high], 1e-3), ""
        high += 1 if top < 0 else -1
        if low >= 0 > top:
            break
    return None, f"horizons from {min(seen):.3g} to {max(seen[1:]):.3g} steps"


def _crossing(below: Callable[[int], bool], count: int) -> int | None:
    """The first place whose value is not below and that before it is."""
    was = False
    for i in range(count):
        now = below(i)
        if was and not now:
            return i
        was = now
    return None


def _measured(knob: Knob, runs: _Runs, value: float, horizon: float) -> Initialisation:
    """The horizon by the Lyapunov exponent of a run with other data; none where its state leaves the range."""
    params, steps = knob.set(value), int(np.clip(HORIZONS * horizon, *LIMITS))
    fresh = replace(runs, seed=runs.seed + 1)
    shifts = {n: value * sign if sign else None for n, sign in zip(knob.names, knob.signs, strict=True)}
    signed = value * (knob.signs[0] or 1) if len(set(knob.signs)) == 1 else value

    def result(achieved: float | None, low: float, high: float) -> Initialisation:
        return Initialisation(params, knob.kind, knob.names, signed, horizon, achieved, low, high, shifts)

    if np.isposinf(fresh.exponent(params, steps)):
        return result(None, np.nan, np.inf)
    found = lyapunov_spectrum(runs.cell, params, *fresh.data(steps, fresh.seed), count=1, steps=steps)
    exponent, half = float(found.exponents[0]), float(np.nan_to_num(found.half_width[0], nan=np.inf))
    low, high = -1 / (exponent - half), -1 / (exponent + half) if exponent + half < 0 else np.inf
    return result(-1 / exponent if exponent < 0 else None, low, high)
