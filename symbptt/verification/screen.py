"""A quick look at all gradients: each array along one random direction, in place of each of its elements.

An array whose directional derivative agrees far better than its tolerance asks is right; another one is compared
element by element. A direction is scaled by the gradient of each block, so that an error counts relative to its block,
however small that is relative to the others; each element has a share of at least a half, so that an error in one is seen.

For example a gradient (3, 0.001) of two blocks along d = (1.2/3, −0.7/0.001): an error of 10 % in the small block adds 0.07 to the
directional derivative, as much as one of 10 % in the large block would with the same random share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbptt.verification.finite_differences import along, slope_at
from symbptt.verification.oracle import STEP, Point, moved

Value = Callable[[Point], Any]
Group = tuple[str, str]
"""The place of an array: the group and the name."""


def errors(
    value: Value, point: Point, found: dict[Group, Any], floor: float, is_complex: bool, random: np.random.Generator
) -> dict[Group, float]:
    """Return the error of each array of gradients along a random direction, relative to its blocks; `floor` is the least
    that an error is relative to. Infinity asks for a closer look."""
    look = _complex if is_complex else _central
    return {place: look(value, point, place, np.asarray(given), floor, random) for place, given in found.items()}


def _blocks(place: Group, given: Any, floor: float) -> Any:
    """Return the number that errors are relative to, for each block of an array: an input has one a step, others are one."""
    axes = tuple(range(1, given.ndim)) if place[0] == "inputs" else None
    return np.maximum(np.max(np.abs(given), axes, initial=0.0, keepdims=True), floor)


def _direction(shape: tuple[int, ...], random: np.random.Generator) -> Any:
    return random.choice([-1.0, 1.0], shape) * random.uniform(0.5, 1.5, shape)


def _complex(value: Value, point: Point, place: Group, given: Any, floor: float, random: np.random.Generator) -> float:
    scale, direction = _blocks(place, given, floor), _direction(given.shape, random)
    if not np.all(np.isfinite(given)):
        return np.inf
    is_zero = np.broadcast_to(scale == 0, given.shape)
    # A block of zeros has no scale: it is tested by itself, where the derivative must be exactly zero.
    scaled = np.where(is_zero, 0.0, direction / np.where(scale == 0, 1.0, scale))
    if is_zero.any() and _derivative(value, point, place, np.where(is_zero, direction, 0.0)) != 0:
        return np.inf
    error = abs(_derivative(value, point, place, scaled) - np.sum(given * scaled)) if np.any(scaled) else 0.0
    return float(error) if np.isfinite(error) else np.inf


def _derivative(value: Value, point: Point, place: Group, direction: Any) -> Any:
    """The derivative along a direction by a complex step, whose square vanishes however long the direction is."""
    # f(x + i h d) = f(x) + i h f'(x) d − h² ...: at h = 1e-40 the rest is far below rounding, and nothing cancels.
    step = STEP / max(float(np.max(np.abs(direction), initial=0.0)), 1.0)
    return np.imag(value(moved(point, *place, 1j * step * direction))) / step


def _central(value: Value, point: Point, place: Group, given: Any, floor: float, random: np.random.Generator) -> float:
    """Differences reach as far as a direction: each block has one of its own, of the length of its elements."""
    scale, direction = _blocks(place, given, floor), _direction(given.shape, random)
    whole = np.zeros(given.shape)
    worst = 0.0
    for index in range(len(given)) if place[0] == "inputs" else (...,):
        part = whole.copy()
        part[index] = direction[index]
        error = abs(slope_at(along(value, point, *place, part)) - np.sum(given * part))
        size = float(np.max(scale[index] if place[0] == "inputs" else scale))
        worst = max(worst, float(error) / size if size else np.inf) if np.isfinite(error) else np.inf
    return worst
