"""Brute force that shares no code with the library: models and truncations by explicit unrolling of the plain functions.

Every loss has a past of its own, in which states are held constant where a truncation says so; derivatives are complex
steps. Shapes: inputs (T, B, ...), states (B, ...), targets (T, B, ...) or (B, ...).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.ir.shape import named_size
from symbptt.language.init import concrete
from tests.oracle import STEP, Arrays, draw, names_of, one_step
from tests.stepped import stepped

Score = Callable[[Arrays, Arrays, int, int], Any]
"""(parameters, results of the step by name, step, sample) -> what the step adds to the objective."""


@dataclass(frozen=True)
class Data:
    """Arguments of a kernel, batched."""

    params: Arrays
    inputs: Arrays
    state: Arrays
    steps: int
    batch: int
    targets: Arrays = field(default_factory=dict)
    lengths: Any = None
    reset: Any = None

    def length(self, b: int) -> int:
        return self.steps if self.lengths is None else int(self.lengths[b])

    @property
    def masks(self) -> dict[str, Any]:
        return {"lengths": self.lengths, "reset": self.reset}


def data_of(
    target: sb.Cell | sb.Model, steps: int, batch: int, sizes: dict[str, int], seed: int = 0, **masks: Any
) -> Data:
    """Random arguments of a cell or a model."""
    cell = target if isinstance(target, sb.Cell) else target.cell
    params, inputs, state = draw(cell, steps, batch, sizes, seed)
    if isinstance(target, sb.Cell):
        return Data(params, inputs, state, steps, batch, {}, **masks)
    random, known = np.random.default_rng(seed + 1), {named_size(k): v for k, v in sizes.items()}
    for a in target.loss.arguments:
        if a.role == "param" and a.name not in params:
            params[a.name] = 0.7 * random.standard_normal(concrete(a.shape, known))
    lead = (steps, batch) if target.at == "every" else (batch,)
    targets = {}
    for a in target.targets:
        shape = (*lead, *concrete(a.shape, known))
        limit = None if a.limit is None else concrete((a.limit,), known)[0]
        targets[a.name] = random.standard_normal(shape) if limit is None else random.integers(0, limit, shape)
    return Data(params, inputs, state, steps, batch, targets, **masks)


def spans(truncation: Any, steps: int) -> Iterator[tuple[int, int, range]]:
    """(first, end, counted): the losses of the steps `counted` flow back to step `first` of those up to `end`, and the
    state that enters step `first` is held constant unless it is the initial one."""
    if truncation is None:
        yield 0, steps, range(steps)
    elif isinstance(truncation, sb.Window):
        yield from ((max(t + 1 - truncation.k, 0), t + 1, range(t, t + 1)) for t in range(steps))
    else:
        since = 0
        for end in [*range(truncation.k1, steps, truncation.k1), steps]:
            first = max(end - truncation.k2, 0)
            yield first, end, range(max(since, first), end)
            since = end


def loss_score(model: sb.Model, data: Data) -> Score:
    """The loss of a model at one step and sample, weighted, zero where it does not count."""
    ends = [data.length(b) for b in range(data.batch)]
    count = sum(ends) if model.at == "every" else sum(end > 0 for end in ends)
    weight = 1 / max(count, 1) if model.reduction == "mean" else 1.0

    def score(params: Arrays, found: Arrays, t: int, b: int) -> Any:
        if model.at == "last" and t != ends[b] - 1:
            return 0.0
        place = (t, b) if model.at == "every" else (b,)
        values = {**params, **found, **{k: v[place] for k, v in data.targets.items()}}
        defaults = {a.name: a.default for a in model.loss.arguments if a.role == "const" and a.default is not None}
        return weight * model.loss(**{a.name: {**defaults, **values}[a.name] for a in model.loss.arguments})

    return score


def cotangent_score(cotangents: Arrays) -> Score:
    """The sum of cotangent times value at one step and sample."""
    return lambda params, found, t, b: sum(
        (np.sum(v[t, b] * found[k]) for k, v in cotangents.items() if k in found), 0.0
    )


def trajectory(cell: sb.Cell, data: Data, b: int) -> list[Arrays]:
    """The state that enters each step of one sample, and the last one."""
    initial = {k: v[b] for k, v in data.state.items()}
    entering = [initial]
    for t in range(data.length(b)):
        entering.append({k: v for k, v in advance(cell, data, b, t, entering[-1], initial).items() if k in initial})
    return entering


def advance(cell: sb.Cell, data: Data, b: int, t: int, now: Arrays, initial: Arrays) -> Arrays:
    """The results of step t by name, from the state that enters it."""
    before = initial if data.reset is not None and data.reset[t, b] else now
    return one_step(cell, {**_own(cell, data.params), **{k: v[t, b] for k, v in data.inputs.items()}, **before})


def _own(cell: sb.Cell, params: Arrays) -> Arrays:
    wanted = names_of(cell, "param", "const")
    return {k: v for k, v in params.items() if k in wanted}


def sample(
    cell: sb.Cell,
    score: Score,
    data: Data,
    moved: Data,
    b: int,
    truncation: Any,
    held: list[Arrays],
    behind: bool = False,
) -> Any:
    """The objective of one sample at `moved`, with the states `held` where a truncation holds them; `behind`: with what
    the states say that a run has behind the end of the sample, which are those of its last step."""
    total, initial = 0.0, {k: v[b] for k, v in moved.state.items()}

    def repeated(now: Arrays) -> Any:
        return sum((score(moved.params, now, t, b) for t in range(data.length(b), data.steps)), 0.0)

    if behind and not data.length(b):
        return repeated(initial)
    for first, end, counted in spans(truncation, data.steps):
        if first >= data.length(b):
            continue
        now = initial if first == 0 else held[first]
        for t in range(first, min(end, data.length(b))):
            found = advance(cell, moved, b, t, now, initial)
            now = {k: found[k] for k in initial}
            if t in counted:
                total = total + score(moved.params, found, t, b)
                if behind and t == data.length(b) - 1:
                    total = total + repeated(now)
    return total


def value(model: sb.Model, data: Data) -> float:
    """The loss of a model."""
    score = loss_score(model, data)
    return float(sum(sample(model.cell, score, data, data, b, None, []) for b in range(data.batch)))


def gradients(
    cell: sb.Cell, score: Score, data: Data, truncation: Any = None, behind: bool = True
) -> dict[str, Arrays]:
    """Truncated derivatives by group and name, by a complex step an element."""
    held = [trajectory(cell, data, b) for b in range(data.batch)]
    wanted = {*names_of(cell, "input", "state"), *(k for k in data.params if k not in names_of(cell, "const"))}

    def slope(group: str, name: str, position: tuple[int, ...]) -> float:
        array = stepped(getattr(data, group)[name])
        array[position] += 1j * STEP
        moved = replace(data, **{group: getattr(data, group) | {name: array}})
        axis = {"inputs": 1, "state": 0}.get(group)
        samples = range(data.batch) if axis is None else (position[axis],)
        total = sum(sample(cell, score, data, moved, b, truncation, held[b], behind) for b in samples)
        return float(np.imag(total) / STEP)

    found: dict[str, Arrays] = {}
    for group in ("params", "inputs", "state"):
        names = [name for name in getattr(data, group) if name in wanted]
        found[group] = {name: np.zeros(np.shape(getattr(data, group)[name])) for name in names}
        for name, result in found[group].items():
            for position in np.ndindex(*result.shape):
                result[position] = slope(group, name, position)
    return found


def model_gradients(model: sb.Model, data: Data, truncation: Any = None) -> dict[str, Arrays]:
    """Derivatives of a model's loss; constants have none."""
    found = gradients(model.cell, loss_score(model, data), data, truncation, behind=False)
    constants = [a.name for a in model.loss.arguments if a.role == "const"]
    return found | {"params": {k: v for k, v in found["params"].items() if k not in constants}}


def by_group(grads: Any) -> dict[str, Arrays]:
    """A kernel's gradients in the same form."""
    return {"params": grads.params, "inputs": grads.inputs, "state": grads.state}


def assert_same(got: dict[str, Arrays], wanted: dict[str, Arrays], tolerance: float = 1e-9) -> None:
    """Each block to `tolerance` of its own largest entry; of the inputs, each step is a block. A block whose reference is
    zero is zero up to rounding of the whole."""
    largest = max((np.max(np.abs(v), initial=0.0) for group in wanted.values() for v in group.values()), default=0.0)
    for group, arrays in wanted.items():
        assert set(got[group]) == set(arrays), group
        for name, reference in arrays.items():
            assert np.shape(got[group][name]) == np.shape(reference), name
            parts = (
                zip(got[group][name], reference, strict=True) if group == "inputs" else [(got[group][name], reference)]
            )
            for t, (given, block) in enumerate(parts):
                scale = max(np.max(np.abs(block), initial=0.0), 1e-6 * largest, 1e-200)
                error = np.max(np.abs(given - block), initial=0.0) / scale
                assert error <= tolerance, f"{name}{f'[{t}]' if group == 'inputs' else ''}: relative error {error:.1e}"


def value_and_grad(kernel: sb.Kernel, data: Data, **options: Any) -> Any:
    steps = None if data.inputs else data.steps
    return kernel.value_and_grad(
        data.params, data.inputs, data.targets, data.state, steps=steps, **data.masks, **options
    )
