"""A cell under constant inputs as a map that depends on one number: the number, the map and its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell, nearest
from symbptt.stability.dynamics.fixed_points import under_constant_inputs
from symbptt.stability.runs.gain import recurrent_weights
from symbptt.stability.runs.linear import Linear

Arrays = Mapping[str, Any]
GAIN = "gain"
"""The knob that multiplies all recurrent weights, where no argument has this name."""
DIFFERENCE = float(np.finfo(np.float64).eps) ** (1 / 3)
"""The step of a central difference, relative to the number that is moved."""


@dataclass(frozen=True)
class Map:
    """The map of `period` steps under constant inputs. Shapes: states (B, N)."""

    linear: Linear
    inputs: dict[str, Any] = field(repr=False)
    period: int

    def __call__(self, states: Any) -> Any:
        return self.orbit(states, self.period)[-1]

    def orbit(self, states: Any, steps: int) -> Any:
        """Return the whole states after each single step, (steps, B, N); nan where they start out of range."""
        sound = np.isfinite(states).all(-1)
        start = np.where(sound[:, None], states, 0.0)
        found = self.linear.run(self._repeated(steps, len(states)), self.linear.by_name(start), steps)
        return np.where(sound[:, None], found, np.nan)

    def jacobian(self, states: Any) -> Any:
        """Return the derivative of the map, (B, N, N)."""
        along = states[None]
        if self.period > 1:
            along = np.concatenate([along, self.orbit(states, self.period - 1)])
        found = self.linear.jacobians(along, self._repeated(self.period, len(states)))
        product = found[0]
        for step in found[1:]:
            # The chain rule: later steps multiply from the left.
            product = step @ product
        return product

    def _repeated(self, steps: int, count: int) -> dict[str, Any]:
        return {k: np.broadcast_to(v, (steps, count, *v.shape[2:])) for k, v in self.inputs.items()}


@dataclass(frozen=True)
class Family:
    """A map for every value of a knob that is called `label`; `setting` returns parameters and inputs for a value."""

    linear: Linear
    setting: Callable[[float], tuple[Arrays, Arrays]] = field(repr=False)
    period: int
    label: str

    def __call__(self, value: float) -> Map:
        params, inputs = self.setting(float(value))
        return Map(self.linear.with_params(params), dict(inputs), self.period)

    def slope(self, state: Any, value: float, span: float) -> Any:
        """Return ∂F/∂value at one state (N,), by central differences."""
        # The error of a central difference, h² of truncation and ε/h of rounding, is least near h = ε^(1/3).
        step = DIFFERENCE * max(abs(value), 1e-3 * span)
        # The difference is divided by what was really stepped in floats, not by 2 · step.
        up, down = value + step, value - step
        return (self(up)(state[None])[0] - self(down)(state[None])[0]) / (up - down)


def family(
    cell: Cell, params: Arrays, inputs: Arrays, states: Arrays | None, knob: Any, at: float, period: int
) -> Family:
    """Return the maps of a cell for the values of a knob, which is tried at the value `at`.

    A knob is the name of a parameter or an input of one element, such a name with an index, `("U", 0, 1)`, "gain" for a factor on
    the recurrent weights, or a function of parameters and value that returns parameters.

    Raises: ArgumentError for a knob that is none of these, and for missing, unknown and unfitting arrays.
    """
    if callable(knob):
        label = getattr(knob, "__name__", "knob").strip("<>")
        first = _turned(cell, knob, params, at, None)
        of, given = under_constant_inputs(cell, first, inputs, states)
        shapes = {name: np.shape(value) for name, value in of.params.items()}
        return Family(of, lambda x: (_turned(cell, knob, params, x, shapes), given), period, label)
    of, given = under_constant_inputs(cell, params, inputs, states)
    names = {**of.params, **given}
    if knob == GAIN and GAIN not in names:
        return Family(of, _gain(cell, of.params, given), period, GAIN)
    name, *index = knob if isinstance(knob, tuple) and knob else (knob,)
    place = _checked(cell, names, name, tuple(index), {k: v.shape[2:] for k, v in given.items()})
    label = f"{name}[{', '.join(map(str, index))}]" if index else str(name)

    def setting(x: float) -> tuple[Arrays, Arrays]:
        if name in given:
            return of.params, {**given, name: _replaced(given[name], (0, 0, *place), x)}
        return {**of.params, name: _replaced(of.params[name], place, x)}, given

    return Family(of, setting, period, label)


def _gain(cell: Cell, params: Arrays, given: Arrays) -> Callable[[float], tuple[Arrays, Arrays]]:
    weights = [name for name in recurrent_weights(cell) if name in params]
    if not weights:
        raise ArgumentError(three_lines(f"no parameter of {cell.name} multiplies a state on its way back to itself",
                                        "in a sweep of the gain", "sweep a parameter, by its name"))  # fmt: skip
    return lambda x: ({**params, **{name: x * params[name] for name in weights}}, given)


def _replaced(array: Any, place: tuple[int, ...], value: float) -> Any:
    made = np.array(array, np.float64)
    made[place] = value
    return made


def _checked(cell: Cell, names: Arrays, name: Any, index: tuple[Any, ...], own: Mapping[str, Any]) -> tuple[int, ...]:
    """The place of the element that a knob is.

    Raises: ArgumentError for a name that is not known, an array of several elements without an index, and a bad index.
    """
    where = f"in the knob of a sweep of {cell.name}"
    constants = [a.name for a in cell.arguments if a.role == "const" and a.name not in names]
    if name in constants:
        raise ArgumentError(
            three_lines(f"{name} is a constant of {cell.name}", where, f"declare it as a Param: {name}: Param")
        )
    if not isinstance(name, str) or name not in names:
        hint = nearest(name, list(names)) if isinstance(name, str) else ""
        raise ArgumentError(three_lines(f"{name!r} is no parameter and no input of {cell.name}{hint}", where,
                                        'give a name, ("U", 0, 1), "gain", or a function of params and value'))  # fmt: skip
    if np.asarray(names[name]).dtype.kind in "iu":
        raise ArgumentError(three_lines(f"{name} is an integer", where, "sweep what may change by a little"))
    shape = own.get(name, np.shape(names[name]))
    if not index and int(np.prod(shape)) == 1:
        return (0,) * len(shape)
    fits = len(index) == len(shape) and all(
        isinstance(i, int | np.integer) and -n <= i < n for i, n in zip(index, shape, strict=True)
    )
    if not fits:
        came = f"index {index}" if index else "no index"
        example = ", ".join([repr(name), *("0" for _ in shape)])
        raise ArgumentError(three_lines(f"{name} has shape {shape}, and {came} is given", where,
                                        f"name one element: ({example})"))  # fmt: skip
    return tuple(int(i) for i in index)


def _turned(cell: Cell, knob: Callable[..., Any], params: Arrays, value: float, shapes: Any) -> Arrays:
    """The parameters that a function gives for a value, in float64.

    Raises: ArgumentError where they are no dict, or not those of another value in names and shapes.
    """
    found, where = knob(params, value), f"in the knob of a sweep of {cell.name}, at {value:.6g}"
    if not isinstance(found, Mapping):
        raise ArgumentError(three_lines(f"the function returns {type(found).__name__}, a dict of parameters is expected", where,
                                        'write lambda params, value: {**params, "b": value * np.ones(3)}'))  # fmt: skip
    if shapes is None:
        return found
    arrays = {name: np.asarray(array, np.float64) for name, array in found.items()}
    differing = {name for name in {*arrays, *shapes} if name not in arrays or shapes.get(name) != arrays[name].shape}
    if differing:
        raise ArgumentError(three_lines(f"the function changes the names or shapes of parameters: {', '.join(sorted(differing))}", where,
                                        "return all parameters, with the shapes that they have at all values"))  # fmt: skip
    return arrays
