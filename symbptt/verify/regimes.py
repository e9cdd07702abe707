"""Where a cell is checked: regimes of weights and inputs, and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.cell import Cell
from symbptt.init import concrete
from symbptt.ir.shape import named_size, names_in
from symbptt.ir.sizes import axes_of, completed
from symbptt.ir.step import Argument
from symbptt.model import Model
from symbptt.verify.oracle import Arrays, Point


@dataclass(frozen=True)
class Regime:
    """Factors on matrices, on vectors, on inputs and on the initial state.

    An error is compared with the largest entry of its own block; where activations saturate, and differences such as
    h - tanh(a) keep few digits or none, with at least `floor` times the largest of all blocks and cotangents. `long`: also on many steps;
    `padded`: on samples of different lengths, one empty, that begin anew at some steps.
    """

    name: str
    matrices: float = 1.0
    vectors: float = 0.5
    inputs: float = 1.0
    state: float = 0.5
    floor: float = 0.0
    long: bool = False
    padded: bool = False


REGIMES = (
    Regime("healthy", long=True),
    Regime("contractive", matrices=0.3, vectors=0.1, long=True),
    Regime("expansive", matrices=2.0),
    Regime("padded", padded=True),
    Regime("saturated", matrices=1.5, vectors=3.0, inputs=1.5, floor=1e-8),
    Regime("zero state", state=0.0),
    Regime("extreme inputs", inputs=100.0, floor=1.0),
)


@dataclass(frozen=True)
class Size:
    """How many steps and samples, whether every named size is 1 or they all differ, and whether the adjoints of states
    come after the last step alone."""

    steps: int
    batch: int
    ones: bool = False
    last: bool = False

    @property
    def label(self) -> str:
        return f"T={self.steps} B={self.batch}" + (" sizes 1" if self.ones else "") + (" last" if self.last else "")


SIZES = (Size(3, 2), Size(1, 1), Size(2, 1, ones=True), Size(0, 2))
LONG = Size(25, 1)
"""Long enough to see where a backward pass stops going back."""
PADDED = (Size(5, 4), Size(5, 4, last=True))
LENGTHS = np.array([5, 3, 1, 0])
RESET = np.array([[0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]], bool)
"""At first steps, inside, at a last step, and behind a sample's end, where none is."""


def sizes_of(regime: Regime) -> tuple[Size, ...]:
    """Return on which sizes a cell is checked in a regime."""
    return PADDED if regime.padded else (*SIZES, *([LONG] if regime.long else []))


def point(cell: Cell | Model, regime: Regime, size: Size, seed: int) -> Point:
    """Return random arguments of a cell."""
    random = np.random.default_rng(seed)
    sizes = _sizes(cell, size.ones)
    numbers = {named_size(name): value for name, value in sizes.items()}

    def draw(a: Argument, lead: tuple[int, ...], factor: float) -> Any:
        return factor * random.standard_normal(lead + concrete(a.shape, numbers))

    params = {a.name: _weight(a, regime, draw) for a in _of(cell, "param")}
    params |= {a.name: _weight(a, regime, draw) for a in _of(cell, "const") if a.default is None}
    inputs: Arrays = {a.name: draw(a, (size.steps, size.batch), regime.inputs) for a in _of(cell, "input")}

    def choose(a: Argument, lead: tuple[int, ...]) -> Any:
        return random.integers(0, a.limit if isinstance(a.limit, int) else int(a.limit.subs(numbers)), lead)

    inputs |= {a.name: choose(a, (size.steps, size.batch)) for a in _of(cell, "index")}
    state = {a.name: draw(a, (size.batch,), regime.state) for a in _of(cell, "state")}
    lead = (size.steps, size.batch) if getattr(cell, "at", "every") == "every" else (size.batch,)
    targets = {a.name: choose(a, lead) if a.limit is not None else draw(a, lead, 1.0) for a in _of(cell, "target")}
    masks = (LENGTHS, RESET) if regime.padded else (None, None)
    return Point(params, inputs, state, size.steps, size.batch, targets, *masks)


def _of(cell: Cell | Model, role: str) -> list[Argument]:
    return [a for a in cell.arguments if a.role == role]


def _weight(a: Argument, regime: Regime, draw: Callable[[Argument, tuple[int, ...], float], Any]) -> Any:
    """A default of the user's says where a parameter lives: values are drawn around it."""
    if a.default is not None:
        default = np.asarray(a.default, float)
        return default + 0.1 * np.where(default == 0, 1.0, default) * draw(a, (), 1.0)
    if len(a.shape) < 2:
        return draw(a, (), regime.vectors)
    value = draw(a, (), regime.matrices)
    return value / np.sqrt(value.shape[-1])


def _sizes(cell: Cell | Model, ones: bool) -> Mapping[str, int]:
    names = sorted({n for a in cell.arguments for n in names_in((*a.shape, *(() if a.limit is None else (a.limit,))))})
    wishes = {name: 1 if ones else 2 + i for i, name in enumerate(names)}
    return completed(axes_of(cell.arguments), names, wishes)
