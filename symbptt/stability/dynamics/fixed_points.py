"""Fixed points of a cell under constant inputs, from seeds on its trajectories, and slow points apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.ir.shape import show
from symbptt.language.cell import Cell, nearest
from symbptt.language.each_step import with_inputs
from symbptt.stability.runs.linear import Linear, linear

Arrays = Mapping[str, Any]
SEEDS = 256
"""Seeds at the most, each with a noisy copy."""
WORK = 2**28
"""Seeds times N³ at the most, where the number of seeds is not given."""
ITERATIONS = 200
FIXED = 1e-10
"""A point moves less than this, relative to 1 + its size, in a step: it is fixed."""
SAME = 1e-6
"""Points nearer than this, relative to 1 + their size, are one."""
FLAT = 1e-5
"""The gradient of the speed, relative to its bound, under which a point that is not fixed is a local minimum of it."""
SLOW = 0.1
"""A local minimum of the speed counts as a slow point where it is under this part of the largest speed of the seeds."""
MARGINAL = 1e-6
FAR = 3.0
"""Points this many times further from the mean of the seeds than any of them have run away: gates that saturate there preserve
any state, but no trajectory comes near."""


@dataclass(frozen=True)
class Points:
    """Points in the whole state, the slowest first, with the eigenvalues of the Jacobian there, the largest first.

    `residual` is max |F(s) − s|; `unstable` counts the eigenvalues outside the unit circle. `stability` is "stable",
    "unstable" or, within 1e-6 of the circle, "marginal".

    Shapes: states (P, N), residual (P,), eigenvalues (P, N) complex, unstable (P,).
    """

    states: Any
    residual: Any
    eigenvalues: Any = field(repr=False)
    unstable: Any
    names: dict[str, slice] = field(repr=False)

    def __len__(self) -> int:
        return len(self.states)

    @property
    def stability(self) -> tuple[str, ...]:
        return tuple(_verdict(float(size)) for size in np.abs(self.eigenvalues[:, 0]))


@dataclass(frozen=True)
class FixedPoints:
    """Fixed points; slow points: local minima of the speed ‖F(s) − s‖ that are not fixed, ghosts of fixed points among
    them; how many seeds were tried, and how many of them ended at neither, or far outside all seeds."""

    points: Points
    slow: Points
    seeds: int
    lost: int


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def fixed_points(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, states: Arrays | None = None, *, seed: int = 0,
    noise: float = 0.1, seeds: int | None = None,
) -> FixedPoints:  # fmt: skip
    """Return the fixed points that a damped Newton method on F(s) − s reaches from states on trajectories.

    `states` are those of runs, `run.states`; without them, runs of 100 steps from random states. Each seed is tried as it
    is and with Gaussian noise of `noise` standard deviations of the seeds; of many, `seeds` are drawn (by default 256, fewer
    for N over 100). A fixed point that no seed leads to is not found.

    Shapes: inputs as annotated, the same at every step; states with any leading axes, as (T, B, ...).

    Raises: ArgumentError for missing and unknown names, and for shapes that do not fit.

    Source: Sussillo, Barak 2013, "Opening the black box: low-dimensional dynamics in high-dimensional recurrent neural
    networks"; the damping: Marquardt 1963, "An algorithm for least-squares estimation of nonlinear parameters".
    """
    random = np.random.default_rng(seed)
    at = ConstantStep.of(cell, params, {} if inputs is None else inputs, states)
    if noise < 0 or (seeds is not None and seeds < 1):
        raise ArgumentError(three_lines(f"noise={noise}, seeds={seeds}", f"in the fixed points of {cell.name}",
                                        "the noise is 0 or more, seeds are 1 or more"))  # fmt: skip
    # Each Newton step solves an N × N system for each seed.
    limit = max(8, min(SEEDS, WORK // at.linear.dimension**3)) if seeds is None else seeds
    start = _seeds(at, _seen(at, states, random), limit, random, noise)
    found = newton(at, start)
    residual, slope = _residual(at, found)
    centre = start.mean(0)
    near = np.abs(found - centre).max(-1) <= FAR * np.abs(start - centre).max() + FIXED
    fixed = near & (residual <= FIXED * (1 + np.abs(found).max(-1)))
    slow = near & ~fixed & (slope <= FLAT) & (residual <= SLOW * _residual(at, start)[0].max())
    return FixedPoints(_points(at, found[fixed]), _points(at, found[slow]), len(start), int((~fixed & ~slow).sum()))


def under_constant_inputs(cell: Cell, params: Arrays, inputs: Arrays, states: Arrays | None) -> tuple[Linear, Arrays]:
    """Return a cell in float64, and the inputs of one step with axes for steps and samples.

    Raises: ArgumentError as `fixed_points` does.
    """
    found = ConstantStep.of(cell, params, inputs, states)
    check_named(found.linear, states)
    return found.linear, found.inputs


@dataclass(frozen=True)
class ConstantStep:
    """One step under constant inputs, in float64."""

    linear: Linear
    inputs: dict[str, Any]

    @staticmethod
    def of(cell: Cell, params: Arrays, inputs: Arrays, states: Arrays | None) -> ConstantStep:
        """Return the step of a cell with its constant inputs."""
        _check_kinds(cell, params, inputs, states)
        cell = with_inputs(cell)  # all are the same at every step
        params = {k: _double(v) for k, v in params.items()}
        given = {k: _double(v)[None, None] for k, v in inputs.items()}
        known = [a.name for a in cell.arguments if a.role == "state"]
        for name in states or {}:
            if name not in known:
                raise ArgumentError(f"{cell.name} has no state {name!r}" + nearest(name, known))
        return ConstantStep(linear(cell, params, given, _single(cell, states)), given)

    def __call__(self, states: Any) -> Any:
        return self.linear.run(self._repeated(len(states)), self.linear.by_name(states), 1)[0]

    def jacobian(self, states: Any) -> Any:
        return self.linear.jacobians(states[None], self._repeated(len(states)))[0]

    def _repeated(self, count: int) -> dict[str, Any]:
        return {k: np.broadcast_to(v, (1, count, *v.shape[2:])) for k, v in self.inputs.items()}


def _check_kinds(cell: Any, params: Any, inputs: Any, states: Any) -> None:
    """Raises: ArgumentError for what is no cell, no dict by name, or an input with an axis for steps or samples."""
    if not isinstance(cell, Cell):
        raise ArgumentError(three_lines(f"fixed_points takes a cell, got {type(cell).__name__}",
                                        cure=instead_of_cell(cell)))  # fmt: skip
    cell.check_real()
    for kind, value in (("params", params), ("inputs", inputs), ("states", states)):
        if not isinstance(value, Mapping) and not (kind == "states" and value is None):
            raise ArgumentError(three_lines(f"{kind}: a dict by name is expected, got {type(value).__name__}",
                                            f"in the fixed points of {cell.name}"))  # fmt: skip
    for a in cell.arguments:
        shape = np.shape(inputs.get(a.name, np.zeros((1,) * len(a.shape)))) if a.role in ("input", "index") else a.shape
        if len(shape) != len(a.shape):
            raise ArgumentError(three_lines(f"{a.name}: {show(a.shape) if a.shape else 'a scalar'} is expected, got shape {shape}",
                                            f"in the fixed points of {cell.name}",
                                            "give the inputs of one step: a fixed point has the same ones at every step"))  # fmt: skip


def _double(value: Any) -> Any:
    array = np.asarray(value)
    return array if array.dtype.kind in "iu" else array.astype(np.float64)


def _single(cell: Cell, states: Arrays | None) -> dict[str, Any] | None:
    """One seed by name with a batch axis, from which sizes are read."""
    if states is None:
        return None
    ranks = {a.name: len(a.shape) for a in cell.arguments if a.role == "state"}
    arrays = {k: _double(v) for k, v in states.items()}
    return {k: v.reshape(-1, *v.shape[v.ndim - ranks[k] :])[:1] for k, v in arrays.items()}


def check_named(of: Linear, states: Arrays | None) -> None:
    """Raises: ArgumentError where one of the states is missing."""
    missing = [name for name in of.names if states is not None and name not in states]
    if missing:
        raise ArgumentError(three_lines(f"the state {missing[0]!r} is missing", f"in the points of {of.cell.name}",
                                        "give all states, as those of run.states"))  # fmt: skip


def _seen(at: ConstantStep, states: Arrays | None, random: np.random.Generator) -> Any:
    """Whole states (K, N) of trajectories: those given, or of 100 steps from random states."""
    check_named(at.linear, states)
    if states is None:
        start = at.linear.by_name(random.standard_normal((16, at.linear.dimension)))
        long = {k: np.broadcast_to(v, (100, 16, *v.shape[2:])) for k, v in at.inputs.items()}
        whole = at.linear.run(long, start, 100)
    else:
        whole = at.linear.flat({k: _double(v) for k, v in states.items()})
    flat = whole.reshape(-1, whole.shape[-1])
    return flat[np.isfinite(flat).all(-1)]


def _seeds(at: ConstantStep, seen: Any, limit: int, random: np.random.Generator, noise: float) -> Any:
    """At most `limit` of the states seen, and the same with noise."""
    if not len(seen):
        raise ArgumentError(three_lines("no state to start from is finite", f"in the seeds of {at.linear.cell.name}",
                                        "give states of a run that stays in range"))  # fmt: skip
    if len(seen) > limit:
        seen = seen[np.sort(random.choice(len(seen), limit, replace=False))]
    return np.concatenate([seen, seen + noise * (seen.std(0) + 1e-3) * random.standard_normal(seen.shape)])


@np.errstate(all="ignore")  # a step that leaves the range is taken back
def newton(at: Any, s: Any) -> Any:
    """Return where damped Newton steps lead from seeds (K, N) of a map `at` that has a `jacobian`.

    Each seed has its own damping μ: (A'A + μ) d = −A'r with r = F(s) − s, A = J − 1.

    A step that does not slow the point down is taken back and μ grown; the last steps are undamped.
    """
    s, r, mu = s.copy(), at(s) - s, np.full(len(s), 1e-3)
    live = np.ones(len(s), bool)
    for _ in range(ITERATIONS):
        if not live.any():
            break
        i = np.flatnonzero(live)
        step, small = _step(at, s[i], r[i], mu[i])
        trial = s[i] + step
        trial = np.where(np.isfinite(trial), trial, s[i])  # a step out of the float range is none
        moved = at(trial) - trial
        # A NaN compares as false, so that a step out of range is taken back like any other that does not help.
        better = np.sum(moved**2, -1) < np.sum(r[i] ** 2, -1)
        s[i[better]], r[i[better]] = trial[better], moved[better]
        mu[i] = np.where(better, np.maximum(mu[i] / 10, 1e-16), mu[i] * 10)
        live[i] = ~small & (mu[i] < 1e12) & (np.abs(r[i]).max(-1) > 0)
    return s


def _step(at: Any, s: Any, r: Any, mu: Any) -> tuple[Any, Any]:
    """The damped step, and whether it is too small to matter."""
    eye = np.eye(s.shape[-1])
    a = at.jacobian(s) - eye
    normal = np.swapaxes(a, -1, -2) @ a
    size, trace = s.shape[-1], np.trace(normal, axis1=-2, axis2=-1)
    # The damping is relative to the size of A'A, so that one μ means the same for all cells; its floor keeps a
    # singular A'A solvable.
    scale = np.maximum(mu * np.maximum(trace / size, 1e-12), size * np.finfo(float).eps * trace)  # A may be singular
    pull = np.einsum("bij,bi->bj", a, r)
    step = -np.linalg.solve(normal + scale[:, None, None] * eye, pull[..., None])[..., 0]
    return step, np.abs(step).max(-1) <= 1e-15 * (1 + np.abs(s).max(-1))


def _residual(at: ConstantStep, s: Any) -> tuple[Any, Any]:
    """max |F(s) − s|, and the gradient of the speed relative to its bound ‖A‖."""
    r, a = at(s) - s, at.jacobian(s) - np.eye(s.shape[-1])
    speed = np.maximum(np.linalg.norm(r, axis=-1), 1e-300)
    slope = np.linalg.norm(np.einsum("bij,bi->bj", a, r), axis=-1)
    # The gradient of ‖r‖²/2 is A'r, at most ‖A‖ ‖r‖: relative to that it is small at a minimum of the speed, whatever
    # the speed is.
    bound = speed * np.maximum(np.linalg.norm(a, axis=(-2, -1)), 1.0)
    return np.abs(r).max(-1), slope / bound


def _points(at: ConstantStep, s: Any) -> Points:
    """The distinct ones among the points, of each set of duplicates the one with the smallest residual."""
    residual = np.abs(at(s) - s).max(-1) if len(s) else np.zeros(0)
    s, residual = s[np.argsort(residual, kind="stable")], np.sort(residual)
    kept: list[int] = []
    for i, point in enumerate(s):
        if not kept or np.abs(s[kept] - point).max(-1).min() > SAME * (1 + np.abs(point).max()):
            kept.append(i)
    s, residual = s[kept], residual[kept]
    values = np.linalg.eigvals(at.jacobian(s)).astype(complex) if len(s) else np.zeros((0, s.shape[-1]), complex)
    values = np.take_along_axis(values, np.argsort(-np.abs(values), -1, kind="stable"), -1)
    return Points(s, residual, values, (np.abs(values) > 1 + MARGINAL).sum(-1), at.linear.names)


def _verdict(largest: float) -> str:
    return "stable" if largest < 1 - MARGINAL else "marginal" if largest <= 1 + MARGINAL else "unstable"
