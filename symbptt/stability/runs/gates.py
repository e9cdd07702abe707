"""The factors that carry a state from one step to the next without a product: gates, leaks and retained parts, found from the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from symbptt.autodiff.block import Block
from symbptt.autodiff.jacobian import Jacobian, jacobian
from symbptt.autodiff.labels import Label
from symbptt.codegen.targets.numpy.pointwise import evaluator
from symbptt.equations.notation.formula import Writer
from symbptt.equations.notation.signs import Notation, text_of, with_time
from symbptt.language.cell import Cell
from symbptt.stability.algebra.letters import letters_of, names_in_theorems
from symbptt.stability.algebra.polynomials import Local
from symbptt.stability.runs.linear import Linear

Arrays = Mapping[str, Any]
HELD = ("contract", "reduce", "gather", "cumulate")
"""The families that mix the elements of a state: with them constant, the derivative that is left is the elementwise one."""
MOVED = (*HELD, "view")
"""The families that mix or move elements."""
UNNAMED = "an elementwise factor"
"""The formula of a factor that is part of a larger array, or takes more than a line."""
LONGEST = 40
"""Operations of a factor that is written in a report, on one line."""


@dataclass(frozen=True)
class Gate:
    """The factor a_t in s_t = a_t ⊙ s_{t−1} + …, where all products of the step are constant: of an LSTM's c the forget gate.

    `formula` is its text, or "an elementwise factor" where that takes more than a line.
    `mean`, `low` and `high` are its mean and its 5 % and 95 % quantiles over steps, samples and
    elements; `rate` is the mean of ln |a|, nats per step: what a gradient loses that takes this path alone.
    """

    state: str
    formula: str
    mean: float
    low: float
    high: float
    rate: float


@dataclass(frozen=True)
class Carries:
    """The elementwise factors of a cell, symbolic, by state."""

    cell: Cell
    jacobian: Jacobian = field(repr=False)
    held: tuple[str, ...] = HELD

    @property
    def blocks(self) -> dict[str, Block]:
        """The factor of each state that has one."""
        return {to: block for (to, _), block in self.jacobian.blocks.items() if block.kind != "zero"}

    def at(self, of: Linear, states: Any, inputs: Arrays, params: Arrays | None = None) -> dict[str, Any]:
        """Return the factors by state. Shapes: states (T, B, N) before each step; each result (T, B, elements)."""
        T, B = states.shape[:2]
        arguments = {**of.params, **(params or {}), **inputs, **of.by_name(states)}
        found = _evaluator(self.cell, self.held)(arguments, of.sizes, T, B, of.dtype)
        return {name: _elements(block, found.get(name), of, name, (T, B)) for name, block in self.blocks.items()}


@cache
def carries(cell: Cell, held: tuple[str, ...] = HELD) -> Carries:
    """Return the elementwise factors of the states of a cell; families of nodes `held` are constants."""
    return Carries(cell, jacobian(cell.closed, [(a.name, a.name) for a in cell.closed.of_role("state")], held), held)


def moved(cell: Cell) -> Carries | None:
    """Return the factors with what moves elements constant as well, where one of a cell is part of a larger array."""
    is_part = any(block.kind == "dense" for block in carries(cell).blocks.values())
    return carries(cell, MOVED) if is_part else None


@cache
def _evaluator(cell: Cell, held: tuple[str, ...]) -> Any:
    found = carries(cell, held)
    return evaluator(found.jacobian.step, {name: block.id for name, block in found.blocks.items() if block.id >= 0})


def _elements(block: Block, value: Any, of: Linear, name: str, lead: tuple[int, int]) -> Any:
    """The diagonal of a block as (T, B, elements)."""
    shape = of.shapes[name]
    size = int(np.prod(shape))
    if block.kind == "identity":
        return np.ones((*lead, size))
    rank = {"scalar": 0, "diagonal": len(shape), "dense": 2 * len(shape)}[block.kind]
    value = np.asarray(value)
    # What does not vary with steps and samples comes without their axes.
    value = np.broadcast_to(value, (*lead, *value.shape[value.ndim - rank :])) if value.ndim <= rank + 2 else value
    if block.kind == "dense":
        return np.einsum("...ii->...i", value.reshape(*lead, size, size))
    return np.broadcast_to(value.reshape(*lead, -1), (*lead, size))


def gates(found: Carries, factors: Mapping[str, Any], unmoved: Mapping[str, Any] | None = None) -> tuple[Gate, ...]:
    """Return what the factors of a run are like; those that are the same in `unmoved`, where what moves elements is constant, have
    the formula that they have there. Shapes: factors and unmoved as of `Carries.at`."""
    alike = [k for k, a in (unmoved or {}).items() if k in factors and np.allclose(a, factors[k], rtol=1e-5, atol=0)]
    return tuple(
        _gate(formula_of(found.cell, name, MOVED if name in alike else found.held), name, np.asarray(a, np.float64))
        for name, a in factors.items() if np.any(a)
    )  # fmt: skip


def _gate(formula: str, name: str, a: Any) -> Gate:
    a = a[..., np.any(a, (0, 1))]  # elements that the factor never reaches are no part of it
    low, high = np.quantile(a, [0.05, 0.95])
    return Gate(name, formula, float(a.mean()), float(low), float(high), log_rate(a))


def log_rate(a: Any) -> float:
    """Return the mean of ln |a|, -inf where a factor is zero."""
    with np.errstate(divide="ignore"):
        return float(np.log(np.abs(a)).mean())


def formula_of(cell: Cell, name: str, held: tuple[str, ...] = HELD) -> str:
    """Return the text of a factor; "an elementwise factor" where it is part of a larger array, or long, as that of the inner steps
    of a solver."""
    found = carries(cell, held)
    block = found.blocks[name]
    if block.kind == "identity":
        return "1"
    if block.kind not in ("diagonal", "scalar"):
        return UNNAMED
    writer = Writer(found.jacobian.step.graph, _labels(found), _notation(found), LONGEST)
    return UNNAMED if writer.is_long(block.id) else _named(found, name) + writer.rhs(block.id)


def _notation(found: Carries) -> Notation:
    step = found.jacobian.step
    names = names_in_theorems(step, _labels(found).values())
    return with_time(text_of(names.text), letters_of(step).time)


def _labels(found: Carries) -> dict[int, Label]:
    """The names of the values that factors are written in."""
    step = found.jacobian.step
    times = {a.name: a.time for a in step.arguments}
    labels = {id: Label(name, times[name]) for name, id in step.leaves.items()}
    for name, id in (step.next | step.outputs).items():
        labels.setdefault(id, Label(name, 0))
    known = {label.name for label in labels.values()}
    named = step.graph.names.items()
    return labels | {
        id: Label(n, 0) for id, n in named if id in found.jacobian.kept and id not in labels and n not in known
    }


def _named(found: Carries, name: str) -> str:
    """The user's own name of the factor, where it has one: "f_t = "."""
    g, id = found.jacobian.step.graph, found.blocks[name].id
    if id not in g.names or g[id].family == "leaf":
        return ""
    moving = any(g[i].family == "leaf" and g[i].attrs.role in ("input", "index", "state") for i in g.ancestors([id]))
    return f"{_notation(found).symbol(Label(g.names[id], 0 if moving else None))} = "


def mixing(of: Local) -> dict[str, str]:
    """Return in words how the elements of each state enter each other; nothing for a state of which none does."""
    inner = {"rounds": "through the rounds of a loop", "settled": "through a fixed point"}
    g, found = of.graph, {}
    for name, id in of.step.next.items():
        way = {g[i].family for i in {*g.ancestors([id])} & {*g.descendants([of.step.leaves[name]])} & {*of.recurrent}}
        words = inner | {"contract": "through products", "reduce": "through sums", "cumulate": "through sums"}
        said = next((text for family, text in words.items() if family in way), None)
        if said or way & {"view", "gather"}:
            found[name] = said or "from element to element"
    return found
