"""The gradient of one loss against the lag: how much of it reaches a state k steps before, and each parameter there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.clipping import joint_norm
from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.codegen.kernel import compile as compile_target
from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.language.cell import Cell
from symbptt.language.each_step import given_each_step
from symbptt.language.model import Model
from symbptt.stability.runs.linear import check_finite

Arrays = Mapping[str, Any]
THRESHOLDS = (1 / math.e, 1e-3)


@dataclass(frozen=True)
class GradientFlow:
    """Norms of the gradient of ℓ_T, the loss at the last step, over all samples together.

    `norms[k]` is that of ∂ℓ_T/∂s_{T−k} for the whole state, `states` the same by state; `parameters[name][k]` is that of what
    step T − k alone adds to ∂ℓ_T/∂θ, and `growth[name][k]` that of the sum over the last k + 1 steps: the gradient of BPTT
    truncated there. A cell can forget its state and still have a growth of a thousand.

    Shapes: lags, norms, states[name] (T + 1,); parameters[name], growth[name] (T,).
    """

    lags: Any
    norms: Any = field(repr=False)
    states: dict[str, Any] = field(repr=False)
    parameters: dict[str, Any] = field(repr=False)
    growth: dict[str, Any] = field(repr=False)

    def horizon(self, threshold: float = 1 / math.e) -> int | None:
        """Return the lag from which on the norm stays under `threshold` times that at lag 0; None where it never does."""
        over = np.flatnonzero(~(self.norms < threshold * self.norms[0]))
        lag = int(over[-1]) + 1 if len(over) else 0
        return lag if lag < len(self.norms) else None

    @property
    def horizons(self) -> dict[float, int | None]:
        """The memory horizons at 1/e and 1e-3, in steps."""
        return {threshold: self.horizon(threshold) for threshold in THRESHOLDS}


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def gradient_flow(
    target: Cell | Model, params: Arrays, inputs: Arrays | None = None, targets: Arrays | None = None,
    state: Arrays | None = None, *, steps: int | None = None, seed: int = 0,
) -> GradientFlow:  # fmt: skip
    """Return the gradient of the last step's loss against the lag; of a cell, that of a random linear loss of its last state.

    Shapes: as `kernel.value_and_grad`; a model with a loss at every step takes the targets of all and uses the last.

    Raises: ArgumentError where the target is neither a cell nor a model, for no steps, and as `kernel.forward` does.
    """
    if not isinstance(target, Cell | Model):
        raise ArgumentError(three_lines(f"gradient_flow takes a cell or a model, got {type(target).__name__}",
                                        cure=instead_of_cell(target)))  # fmt: skip
    target, inputs, steps = given_each_step(target, inputs, state, steps)
    cell = target if isinstance(target, Cell) else target.cell
    cell.check_real()
    if isinstance(target, Cell) and targets is not None:
        raise ArgumentError(three_lines("targets are given, and the cell has no loss", f"in the gradient flow of {cell.name}",
                                        "give sb.model(cell, loss), or leave the targets away"))  # fmt: skip
    before, length = _before(target, cell, params, inputs, state, steps)
    names = [a.name for a in cell.arguments if a.role == "state"]
    if isinstance(target, Cell):
        sent, last = _random(before.run, names, seed), None
    else:
        sent, last = {}, _last_loss(target, params, targets or {}, before, length - 1)
    return _collected(_steps_back(before, length, sent, last))


def _before(
    target: Cell | Model, cell: Cell, params: Arrays, inputs: Arrays | None, state: Arrays | None, steps: int | None
) -> tuple[_Before, int]:
    """The run, and its length."""
    kernel, known = kernel_of(cell), {a.name for a in cell.arguments}
    if isinstance(params, Mapping) and isinstance(target, Model):
        params = {k: v for k, v in params.items() if k in known}
    with np.errstate(all="ignore"):
        run = kernel.forward(params, inputs, state, steps=steps)
    check_finite(cell, {k: np.asarray(v) for k, v in params.items()})
    length, batch = (*next(iter(run.states.values())).shape, 1)[:2]
    if not length or not batch:
        raise ArgumentError(three_lines("a run of no steps" if not length else "a run of no samples",
                                        f"in the gradient flow of {target.name}", "give at least one"))  # fmt: skip
    return _Before(kernel, params, inputs or {}, run, state or {}), length


@dataclass(frozen=True)
class _Before:
    """The arrays from which any single step can be run again."""

    kernel: Kernel
    params: Arrays
    inputs: Arrays
    run: Any
    state: Arrays

    def at(self, t: int) -> tuple[Arrays, Arrays]:
        """The inputs of step t, with a time axis of one, and the states before it."""
        states = {k: v[t - 1] for k, v in self.run.states.items()} if t else self.state
        return {k: np.asarray(v)[t : t + 1] for k, v in self.inputs.items()}, states


def _random(run: Any, names: list[str], seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {k: random.standard_normal(run.states[k][-1].shape).astype(run.states[k].dtype) for k in names}


def _last_loss(model: Model, params: Arrays, targets: Arrays, before: _Before, t: int) -> Any:
    """The gradients of the loss of step t through that step."""
    kernel = compile_target(Model(model.cell, model.loss, "last", model.reduction))
    wanted = {k: np.asarray(v)[-1] if model.at == "every" else v for k, v in targets.items()}
    inputs, states = before.at(t)
    return kernel.value_and_grad(params, inputs, wanted, states, steps=1, monitor=True)[1]


def _steps_back(
    before: _Before, length: int, sent: Arrays, grads: Any
) -> Iterator[tuple[dict[str, float], Arrays | None]]:
    """Yield, from the last step back, the norms of the adjoints of the states and the gradients that the step adds; at the
    end the norms of the adjoint of the initial state. All are infinite from where one has left the range."""
    names: list[str] = []
    for t in reversed(range(length)):
        # Once a cotangent is infinite, all earlier ones are; further products would give NaN instead.
        if grads is None and not all(np.isfinite(v).all() for v in sent.values()):
            yield dict.fromkeys(sent, np.inf), dict.fromkeys(names, np.inf)
            continue
        if grads is None:
            inputs, states = before.at(t)
            with np.errstate(all="ignore"):
                run = before.kernel.forward(before.params, inputs, states, steps=1)
                grads = before.kernel.backward(run, sent, monitor=True)
        yield {k: float(v[-1]) for k, v in grads.flow.items()}, grads.params
        sent, names, grads = grads.state, list(grads.params), None
    yield {k: _norm(v) for k, v in sent.items()}, None


def _norm(values: Any) -> float:
    """The Euclidean norm, infinite where an element has left the range."""
    return joint_norm([values]) if np.isfinite(values).all() else np.inf


def _collected(steps: Iterable[tuple[dict[str, float], Arrays | None]]) -> GradientFlow:
    states: dict[str, list[float]] = {}
    parameters: dict[str, list[float]] = {}
    growth: dict[str, list[float]] = {}
    totals: dict[str, Any] = {}
    for norms, grads in steps:
        for name, norm in norms.items():
            states.setdefault(name, []).append(norm)
        if grads is None:
            break
        with np.errstate(over="ignore", invalid="ignore"):
            totals = {k: totals.get(k, 0) + grads.get(k, 0) for k in {**totals, **grads}}
        for name, total in totals.items():
            parameters.setdefault(name, []).append(_norm(grads.get(name, 0)))
            growth.setdefault(name, []).append(_norm(total))
    found = [{k: np.array(v) for k, v in group.items()} for group in (states, parameters, growth)]
    with np.errstate(over="ignore"):
        # hypot scales its arguments, so that squares of large norms do not overflow.
        norms = np.hypot.reduce(list(found[0].values()))
    return GradientFlow(np.arange(len(norms)), norms, *found)
