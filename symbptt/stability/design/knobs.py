"""The parameters that set the memory of a cell, found from its graph: the biases of its gates, the gain of its recurrent weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.ir.shape import named_size
from symbptt.language.cell import Cell
from symbptt.language.init import concrete
from symbptt.stability.runs.gain import recurrent_weights, with_gain
from symbptt.stability.runs.gates import Carries, carries
from symbptt.stability.runs.linear import Linear, linear

Arrays = Mapping[str, Any]
BIASES = (
    *(float(b) for b in np.arange(-8.0, -1, 1)),
    *(float(b) for b in np.arange(-1.0, 3, 0.25)),
    *map(float, range(3, 17)),
)
GAINS = tuple(float(g) for g in 1.25 ** np.arange(-12, 16))
CHOICES = 3
"""Biases of a state that are tried, those that open its gate most first."""
"""Values that are tried, from the least memory to the most."""
STEP = 1e-2
"""The shift of a bias by which its effect is measured."""
MOST = 4096
"""Elements of a bias that are moved one by one."""


@dataclass(frozen=True)
class Knob:
    """Parameters `names` that change together with one number; `scale` are its values from little memory to much. `signs` says
    in which direction that number moves each, 0 where its elements move in both."""

    kind: str
    names: tuple[str, ...]
    signs: tuple[int, ...]
    scale: tuple[float, ...]
    set: Callable[[float], dict[str, Any]] = field(repr=False)


def knobs(cell: Cell, params: Arrays, inputs: Arrays, state: Arrays) -> list[Knob]:
    """Return the knobs of a cell: the biases of gates, those first that open them most, then the gain.

    Shapes: inputs (1, B, ...), a step at which is seen which elements of a bias open the gate; state (B, ...), which tells sizes.
    """
    ranked = _ranked(cell, params, inputs, state)
    found = [_biases(params, [ways[i] for ways in ranked if i < len(ways)]) for i in range(CHOICES)]
    return [knob for knob in (*found, _gain(cell, params)) if knob]


def _gain(cell: Cell, params: Arrays) -> Knob | None:
    """The gain of the recurrent weights that are parameters given."""
    names = tuple(name for name in recurrent_weights(cell) if name in params)
    return Knob("gain", names, (1,) * len(names), GAINS, lambda x: with_gain(cell, params, x)) if names else None


def _ranked(cell: Cell, params: Arrays, inputs: Arrays, state: Arrays) -> list[list[tuple[str, Any]]]:
    """For each state with a gate the parameters that move it, with the direction of each element that opens it."""
    found, of = carries(cell), linear(cell, params, inputs, state)
    inputs = _all_rows(cell, of, inputs)
    states = np.random.default_rng(0).standard_normal((1, _batch(inputs), of.dimension)).astype(of.dtype)
    ranked = []
    for carried, block in found.blocks.items():
        names = [name for name in _reaching(found, block.id) if name in params]
        effects = {name: _effects(found, of, states, inputs, carried, name) for name in names}
        order = sorted((n for n in names if np.any(effects[n])), key=lambda name: -float(np.abs(effects[name]).sum()))
        ranked.append([(name, np.sign(effects[name])) for name in order])
    return ranked


def _biases(params: Arrays, ways: list[tuple[str, Any]]) -> Knob | None:
    """The knob that moves parameters together, each element in its direction."""
    directions = dict(reversed(ways))
    if not directions:
        return None

    def moved(x: float) -> dict[str, Any]:
        return {**params, **{k: (params[k] + x * d).astype(np.asarray(params[k]).dtype) for k, d in directions.items()}}

    return Knob("bias", tuple(directions), tuple(map(_sign, directions.values())), BIASES, moved)


def _sign(direction: Any) -> int:
    """The one sign of the elements that move; 0 where there are both."""
    found = set(np.unique(direction[direction != 0]))
    return int(found.pop()) if len(found) == 1 else 0


def _batch(inputs: Arrays) -> int:
    return next((np.shape(v)[1] for v in inputs.values()), 1)


def _reaching(found: Carries, id: int) -> list[str]:
    """The parameters that a factor depends on without a product or a sum, as they are or by the rows that an index reads."""
    g, names, seen, stack = found.jacobian.step.graph, list[str](), set[int](), [id] if id >= 0 else []
    while stack:
        node = g[stack.pop()]
        if node.id in seen:
            continue
        seen.add(node.id)
        if node.family == "leaf" and node.attrs.role == "param":
            names.append(node.attrs.name)
        # Products and sums end the search: a parameter behind one is a weight, not a bias.
        if node.family in ("map", "view"):
            stack.extend(node.args)
        if node.family == "gather":
            stack.append(node.args[0])
    return sorted(names)


def _all_rows(cell: Cell, of: Linear, inputs: Arrays) -> dict[str, Any]:
    """Inputs (1, B, ...) with as many samples that every index reads every row of its table."""
    sizes = {named_size(name): size for name, size in of.sizes.items()}
    limits = {a.name: concrete((a.limit,), sizes)[0] for a in cell.arguments if a.role == "index"}
    count = max([_batch(inputs), *limits.values()])
    found = {k: np.resize(np.swapaxes(v, 0, 1), (1, count, *np.shape(v)[2:])) for k, v in inputs.items()}
    for name, limit in limits.items():
        rows = np.arange(count).reshape(1, count, *(1,) * (np.ndim(found[name]) - 2))
        found[name] = np.broadcast_to(rows % limit, found[name].shape).astype(found[name].dtype)
    return found


def _effects(found: Carries, of: Linear, states: Any, inputs: Arrays, state: str, name: str) -> Any:
    """The change of the mean factor with each element of a parameter, by central differences."""
    value = np.asarray(of.params[name], np.float64)
    if value.size > MOST:
        return np.zeros(value.shape)

    def rate(moved: Any) -> float:
        return float(found.at(of, states, inputs, {name: moved.astype(of.dtype)})[state].mean())

    result = np.zeros(value.size)
    for i in range(value.size):
        step = np.zeros(value.size)
        step[i] = STEP
        with np.errstate(all="ignore"):
            # Central differences of the mean factor: only their signs and order are used, so that a coarse step is
            # enough.
            change = rate(value + step.reshape(value.shape)) - rate(value - step.reshape(value.shape))
        result[i] = change if np.isfinite(change) else 0.0
    return np.where(np.abs(result) > 1e-9, result, 0.0).reshape(value.shape)
