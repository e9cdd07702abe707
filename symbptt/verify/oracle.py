"""The independent oracle: the user's function, sample by sample and step by step, its derivatives by small steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symbptt import ops
from symbptt.cell import Cell
from symbptt.model import Model

Arrays = dict[str, Any]
STEP = 1e-40
"""The complex step; its square vanishes beside any number that is not tiny itself."""


@dataclass(frozen=True)
class Point:
    """Where a check is made. Shapes: params as annotated, inputs (T, B, ...), state (B, ...)."""

    params: Arrays
    inputs: Arrays
    state: Arrays
    steps: int
    batch: int
    targets: Arrays = field(default_factory=dict)


class Analytic(np.ndarray):
    """Complex arrays on which abs, sign, maximum and comparisons follow the real part, as a complex step needs it."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = tuple(x.view(np.ndarray) if isinstance(x, Analytic) else x for x in inputs)
        kwargs = {
            k: tuple(o.view(np.ndarray) if isinstance(o, Analytic) else o for o in v) if k == "out" else v
            for k, v in kwargs.items()
        }
        op = ops.BY_NUMPY.get(ufunc.__name__)
        direct = method == "__call__" and not kwargs and op is not None and any(np.iscomplexobj(x) for x in plain)
        result = op.evaluate(*plain) if direct and op is not None else getattr(ufunc, method)(*plain, **kwargs)
        return result.view(Analytic) if isinstance(result, np.ndarray) and result.dtype.kind == "c" else result


def _analytic(value: Any) -> Any:
    array = np.asarray(value)
    return array.view(Analytic) if array.dtype.kind == "c" else array


def run(cell: Cell, point: Point) -> tuple[Arrays, Arrays]:
    """Return states and outputs after every step, (T, B, ...), by the user's function alone."""
    names = [a.name for a in cell.arguments if a.role == "state"]
    consts = {a.name: a.default for a in cell.arguments if a.role == "const" and a.default is not None}
    params = {k: _analytic(v) for k, v in point.params.items()} | consts | cell.consts
    collected: dict[str, list[list[Any]]] = {}
    for b in range(point.batch):
        state = {name: _analytic(point.state[name][b]) for name in names}
        for t in range(point.steps):
            inputs = {k: _analytic(v[t, b]) for k, v in point.inputs.items()}
            result = cell.function(**_in_order(cell, {**params, **inputs, **state}))
            named = _by_name(names, result)
            state = {name: named[name] for name in names}
            for name, value in named.items():
                collected.setdefault(name, [[] for _ in range(point.batch)])[b].append(np.asarray(value))
    arrays = {k: np.moveaxis(np.array(v), 0, 1) for k, v in collected.items()}
    return {k: arrays[k] for k in names if k in arrays}, {k: v for k, v in arrays.items() if k not in names}


def _in_order(cell: Cell, values: Arrays) -> Arrays:
    return {a.name: values[a.name] for a in cell.arguments}


def loss_of(model: Model) -> Callable[[Point], Any]:
    """Return the function point -> loss of a model, by the user's functions alone."""

    def value(point: Point) -> Any:
        states, outputs = run(model.cell, point)
        consts = {a.name: a.default for a in model.loss.arguments if a.role == "const" and a.default is not None}
        shared = {k: _analytic(v) for k, v in point.params.items()} | consts
        steps = range(point.steps) if model.at == "every" else range(max(point.steps - 1, 0), point.steps)
        places = [(t, b) for t in steps for b in range(point.batch)]
        losses = [_loss_at(model, shared, states | outputs, point, t, b) for t, b in places]
        return sum(losses, start=0.0) / (max(len(losses), 1) if model.reduction == "mean" else 1)

    return value


def _loss_at(model: Model, shared: Arrays, values: Arrays, point: Point, t: int, b: int) -> Any:
    place = (t, b) if model.at == "every" else (b,)
    targets = {k: v[place] for k, v in point.targets.items()}
    read = {a.name: _analytic(values[a.name][t, b]) for a in model.loss.arguments if a.role in ("state", "output")}
    have = {**shared, **targets, **read}
    return model.loss.function(**{a.name: have[a.name] for a in model.loss.arguments})


def _by_name(names: list[str], result: Any) -> Arrays:
    if isinstance(result, dict):
        return result
    given = list(result) if isinstance(result, tuple | list) else [result]
    return dict(zip(names, given, strict=True))


def objective(cell: Cell, cotangents: Arrays) -> Callable[[Point], Any]:
    """Return the function point -> sum of cotangent * value over states and outputs."""

    def value(point: Point) -> Any:
        states, outputs = run(cell, point)
        found = states | outputs
        return sum((np.sum(cotangents[k] * found[k]) for k in cotangents if k in found), start=0.0)

    return value


def blocks(point: Point, differentiable: set[str]) -> dict[str, tuple[str, Any]]:
    """Return every block of gradients with the group and the index where it stands: each parameter, each input at each
    step, each initial state."""
    found: dict[str, tuple[str, Any]] = {f"d{name}": ("params", (name, ...)) for name in point.params}
    found |= {f"d{name}_0": ("state", (name, ...)) for name in point.state}
    found |= {f"d{name}[t={t}]": ("inputs", (name, t)) for name in point.inputs for t in range(point.steps)}
    return {k: v for k, v in found.items() if v[1][0] in differentiable}


def moved(point: Point, group: str, name: str, change: Any) -> Point:
    """Return the point with `change` added to one array."""
    arrays = getattr(point, group)
    changed: dict[str, Any] = {group: {**arrays, name: arrays[name] + change}}
    return replace(point, **changed)


def complex_step(value: Callable[[Point], Any], point: Point, group: str, name: str, index: Any) -> Any:
    """Return the derivative with respect to one block, by a complex step an element.

    Source: Squire and Trapp 1998, "Using complex variables to estimate derivatives of real functions", equation 6.
    """
    return _by_element(
        point, group, name, index, lambda unit: np.imag(value(moved(point, group, name, 1j * STEP * unit))) / STEP
    )


def central(value: Callable[[Point], Any], point: Point, group: str, name: str, index: Any) -> Any:
    """Return the derivative with respect to one block by central differences of the sixth order."""

    def slope(unit: Any) -> Any:
        h = 3e-3
        weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
        return (
            sum(
                w * (value(moved(point, group, name, k * h * unit)) - value(moved(point, group, name, -k * h * unit)))
                for k, w in weights.items()
            )
            / h
        )

    return _by_element(point, group, name, index, slope)


def _by_element(point: Point, group: str, name: str, index: Any, slope: Callable[[Any], Any]) -> Any:
    array = getattr(point, group)[name]
    part = array[index]
    result = np.empty(np.shape(part))
    for position in np.ndindex(*np.shape(part)):
        unit = np.zeros(np.shape(array))
        unit[index][position] = 1.0
        result[position] = np.real(slope(unit))
    return result
