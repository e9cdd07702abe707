"""A quick look at all gradients: along one random direction, in place of each element of each array.

First one direction goes through all arrays; where it does not agree, each array has one of its own. An array whose
directional derivative agrees far better than its tolerance asks is right; another one is compared element by element. A
direction is scaled by the gradient of each block, so that an error counts relative to its block, however small that is
relative to the others; each element has a share of at least a half, so that an error in one is seen.

For example a gradient (3, 0.001) of two blocks along d = (1.2/3, −0.7/0.001): an error of 10 % in the small block adds 0.07 to the
directional derivative, as much as one of 10 % in the large block would with the same random share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.verification.finite_differences import along, slope_at
from symbptt.verification.oracle import STEP, Point, moved

Value = Callable[[Point], Any]
Group = tuple[str, str]
"""The place of an array: the group and the name."""


def errors(
    value: Value, point: Point, found: dict[Group, Any], floor: float, is_complex: bool, random: np.random.Generator,
    enough: float = 0.0,
) -> dict[Group, float]:  # fmt: skip
    """Return the error of each array of gradients along a random direction, relative to its blocks; `floor` is the least
    that an error is relative to. Infinity asks for a closer look. An error of `enough` along a direction through all arrays
    is that of each: then one run of the user's function says it."""
    looks = [_look(place, np.asarray(given), floor, random) for place, given in found.items()]
    if not is_complex:
        return {look.place: _central(value, point, look) for look in looks}
    together = _complex(value, point, looks)
    # Errors of several arrays do not cancel: each array has random numbers of its own in the direction.
    if together <= enough:
        return {look.place: together for look in looks}
    return {look.place: _complex(value, point, [look]) for look in looks}


def all_within(
    limit: float, value: Value, point: Point, found: dict[Group, Any], floor: float, random: np.random.Generator, count: int
) -> bool:  # fmt: skip
    """Answer whether the error along each of some directions through all given arrays is within a limit, by a complex step each."""
    return all(
        _complex(value, point, [_look(place, np.asarray(given), floor, random) for place, given in found.items()])
        <= limit
        for _ in range(count if found else 0)
    )


@dataclass(frozen=True)
class _Look:
    """An array of gradients, the number that errors are relative to for each block of it, and its random direction."""

    place: Group
    given: Any
    scale: Any
    direction: Any

    @property
    def is_zero(self) -> Any:
        """Answer of each element whether its block has no scale: its derivative must be exactly zero."""
        return np.broadcast_to(self.scale == 0, self.given.shape)

    @property
    def scaled(self) -> Any:
        """The direction relative to the gradient, without blocks of zeros."""
        return np.where(self.is_zero, 0.0, self.direction / np.where(self.scale == 0, 1.0, self.scale))

    @property
    def in_zeros(self) -> Any:
        """The direction in blocks of zeros."""
        return np.where(self.is_zero, self.direction, 0.0)


def _look(place: Group, given: Any, floor: float, random: np.random.Generator) -> _Look:
    """Return a look at an array; an input has a block for each step, other arrays are one."""
    axes = tuple(range(1, given.ndim)) if place[0] == "inputs" else None
    scale = np.maximum(np.max(np.abs(given), axes, initial=0.0, keepdims=True), floor)
    return _Look(place, given, scale, _direction(given.shape, random))


def _direction(shape: tuple[int, ...], random: np.random.Generator) -> Any:
    return random.choice([-1.0, 1.0], shape) * random.uniform(0.5, 1.5, shape)


Directions = dict[Group, Any]


def _complex(value: Value, point: Point, looks: Sequence[_Look]) -> float:
    if not all(np.all(np.isfinite(look.given)) for look in looks):
        return np.inf
    # A block of zeros is tested by itself, without the long directions of others, beside which it would underflow.
    zeros = {look.place: look.in_zeros for look in looks if look.is_zero.any()}
    if zeros and _derivative(value, point, zeros) != 0:
        return np.inf
    scaled = {look.place: look.scaled for look in looks}
    scaled = {place: direction for place, direction in scaled.items() if np.any(direction)}
    if not scaled:
        return 0.0
    expected = sum(np.sum(look.given * scaled[look.place]) for look in looks if look.place in scaled)
    error = abs(_derivative(value, point, scaled) - expected)
    return float(error) if np.isfinite(error) else np.inf


def _derivative(value: Value, point: Point, directions: Directions) -> Any:
    """The derivative along a direction by a complex step, whose square vanishes however long the direction is."""
    # f(x + i h d) = f(x) + i h f'(x) d − h² ...: at h = 1e-40 the rest is far below rounding, and nothing cancels.
    longest = max(float(np.max(np.abs(d), initial=0.0)) for d in directions.values())
    step = STEP / max(longest, 1.0)
    for place, direction in directions.items():
        point = moved(point, *place, 1j * step * direction)
    return np.imag(value(point)) / step


def _central(value: Value, point: Point, look: _Look) -> float:
    """Differences reach as far as a direction: each block has one of its own, of the length of its elements."""
    place, given, scale, direction = look.place, look.given, look.scale, look.direction
    whole = np.zeros(given.shape)
    worst = 0.0
    for index in range(len(given)) if place[0] == "inputs" else (...,):
        part = whole.copy()
        part[index] = direction[index]
        error = abs(slope_at(along(value, point, *place, part)) - np.sum(given * part))
        size = float(np.max(scale[index] if place[0] == "inputs" else scale))
        worst = max(worst, float(error) / size if size else np.inf) if np.isfinite(error) else np.inf
    return worst
