"""An oracle that shares no code with the library: a cell's plain function, sample by sample and step by step, and its
derivative by complex step.

Shapes everywhere: parameters as annotated, inputs (T, B, ...), states (B, ...), cotangents (T, B, ...) or (B, ...).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.ir.shape import named_size
from symbptt.language.init import concrete

Arrays = dict[str, Any]
STEP = 1e-30


def one_step(cell: sb.Cell, values: Mapping[str, Any]) -> Arrays:
    """The results of the plain function by name: next states and outputs."""
    consts = {a.name: a.default for a in cell.arguments if a.role == "const" and a.default is not None}
    result = cell(**{**consts, **values})
    if isinstance(result, dict):
        return result
    names = names_of(cell, "state")
    single = len(names) == 1 and not (isinstance(result, tuple | list) and len(result) == 1)
    return dict(zip(names, [result] if single else result, strict=True))


def names_of(cell: sb.Cell, *roles: str) -> list[str]:
    return [a.name for a in cell.arguments if a.role in roles]


def run(cell: sb.Cell, params: Arrays, inputs: Arrays, state: Arrays, steps: int, lengths: Any = None,
        reset: Any = None) -> Arrays:  # fmt: skip
    """States and outputs after every step, (T, B, ...); a sample that stopped keeps its state and puts out zeros."""
    collected: dict[str, list[Any]] = {}
    for b in range(len(next(iter(state.values())))):
        rows: dict[str, list[Any]] = {}
        now = initial = {name: value[b] for name, value in state.items()}
        like: Arrays = {}
        for t in range(steps):
            before = initial if reset is not None and reset[t, b] else now
            if lengths is None or t < lengths[b] or not like:
                like = found = one_step(cell, {**params, **{k: v[t, b] for k, v in inputs.items()}, **before})
            if lengths is not None and t >= lengths[b]:
                found = {name: now[name] if name in now else np.zeros_like(v) for name, v in like.items()}
            now = {name: found[name] for name in initial}
            for name, value in found.items():
                rows.setdefault(name, []).append(value)
        for name, row in rows.items():
            collected.setdefault(name, []).append(np.array(row))
    return {name: np.stack(samples, 1) for name, samples in collected.items()}


def objective(cell: sb.Cell, groups: tuple[Arrays, Arrays, Arrays], cotangents: Arrays, steps: int,
              lengths: Any = None, reset: Any = None) -> Any:  # fmt: skip
    """The sum of cotangent times value over all steps and samples, or over the last step. Behind the end of a sample its
    states are those of its last step, and its outputs are zero."""
    if not steps:  # what is after no step is the initial state, and the last step is none
        return sum(
            (np.sum(v * groups[2][k]) for k, v in cotangents.items() if np.shape(v) == np.shape(groups[2].get(k))), 0.0
        )
    values = run(cell, *groups, steps, lengths, reset)
    ends = {k: v[-1] if np.ndim(cotangents[k]) < np.ndim(v) else v for k, v in values.items() if k in cotangents}
    return sum((np.sum(cotangents[k] * v) for k, v in ends.items()), 0.0)


def gradients(cell: sb.Cell, params: Arrays, inputs: Arrays, state: Arrays, cotangents: Arrays, steps: int,
              lengths: Any = None, reset: Any = None) -> Arrays:  # fmt: skip
    """The derivative with respect to every parameter, input and initial state, by a complex step an element."""
    groups = (params, inputs, state)
    wanted = names_of(cell, "param", "input", "state")

    def slope(group: int, name: str, position: tuple[int, ...]) -> Any:
        moved = np.array(groups[group][name], complex)
        moved[position] += 1j * STEP
        changed = tuple(g | {name: moved} if i == group else g for i, g in enumerate(groups))
        return np.imag(objective(cell, changed, cotangents, steps, lengths, reset)) / STEP  # type: ignore[arg-type]

    found = {}
    for group, arrays in enumerate(groups):
        for name in (name for name in arrays if name in wanted):
            result = np.zeros(np.shape(arrays[name]))
            for position in np.ndindex(*result.shape):
                result[position] = slope(group, name, position)
            found[name] = result
    return found


def flat(grads: Any) -> Arrays:
    """All gradients of a kernel in one dict."""
    return {**grads.params, **grads.inputs, **grads.state}


def assert_blocks_close(got: Arrays, wanted: Arrays, tolerance: float = 1e-9) -> None:
    """Each block to `tolerance` of its own largest entry."""
    assert set(got) == set(wanted)
    for name, reference in wanted.items():
        assert np.shape(got[name]) == np.shape(reference), name
        scale = max(np.max(np.abs(reference), initial=0.0), 1e-200)
        error = np.max(np.abs(got[name] - reference), initial=0.0) / scale
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


def draw(cell: sb.Cell, steps: int, batch: int, sizes: Mapping[str, int], seed: int = 0,
         scale: float = 0.7) -> tuple[Arrays, Arrays, Arrays]:  # fmt: skip
    """Random parameters, inputs (T, B, ...) and states (B, ...)."""
    random, named = np.random.default_rng(seed), {a.name: a for a in cell.arguments}
    known = {named_size(name): size for name, size in sizes.items()}

    def shape(a: Any) -> tuple[int, ...]:
        return concrete(a.shape, known)

    params = {k: scale * random.standard_normal(shape(named[k])) for k in names_of(cell, "param", "const")
              if named[k].role == "param" or named[k].default is None}  # fmt: skip
    inputs: Arrays = {k: random.standard_normal((steps, batch, *shape(named[k]))) for k in names_of(cell, "input")}
    for k in names_of(cell, "index"):
        inputs[k] = random.integers(0, concrete((named[k].limit,), known)[0], (steps, batch, *shape(named[k])))
    state = {k: scale * random.standard_normal((batch, *shape(named[k]))) for k in names_of(cell, "state")}
    return params, inputs, state


def cotangents_of(cell: sb.Cell, groups: tuple[Arrays, Arrays, Arrays], steps: int, seed: int = 1) -> Arrays:
    """Random cotangents of all states and outputs at every step."""
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(value.shape) for name, value in run(cell, *groups, steps).items()}
