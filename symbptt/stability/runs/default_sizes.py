"""Sizes for an analysis that is given none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.shape import named_size, names_in
from symbptt.ir.sizes import Axis, axes_of, axes_of_needs, completed
from symbptt.ir.step import Argument
from symbptt.language.cell import Cell
from symbptt.language.model import Model

Arrays = Mapping[str, Any]
SIZE = 32
"""Of each dimension that nothing says."""
MOST = 96


def sizes_for(target: Cell | Model, given: Arrays, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return all sizes by name: those known, those that arrays say, behind their axes for steps and samples, and for the
    rest 32, or half of it and so on until the state has 96 elements at most."""
    arguments = target.arguments
    axes = axes_of(arguments, {name: _shape(array) for name, array in given.items()})
    axes += [Axis(name, 0, named_size(name), value) for name, value in (known or {}).items()]
    axes += axes_of_needs(target.needs)
    shapes = [a.shape for a in arguments] + [(a.limit,) for a in arguments if a.limit is not None]
    names, size = list(dict.fromkeys(name for shape in shapes for name in names_in(shape))), SIZE
    while True:
        found = completed(axes, names, dict.fromkeys(names, size))
        if size == 1 or elements(arguments, found) <= MOST:
            return found
        # Spectra cost N³ a step: sizes shrink until the whole state is small.
        size //= 2


def _shape(array: Any) -> tuple[int, ...]:
    """The shape of a value that need not be an array yet; the kernel reports any fault of it."""
    return tuple(array.shape) if hasattr(array, "shape") else np.shape(array)


def elements(arguments: Sequence[Argument], sizes: Mapping[str, int]) -> int:
    """Return the number of elements of the whole state; 0 where sizes contradict each other."""
    numbers = {named_size(name): value for name, value in sizes.items()}
    shapes = [[int(sp.sympify(item).xreplace(numbers)) for item in a.shape] for a in arguments if a.role == "state"]
    return sum(math.prod(shape) for shape in shapes)


def check_mapping(kind: str, value: Any, where: str) -> None:
    """Raises: ArgumentError for a value that is neither a dict by name nor None, and for items that are no arrays."""
    if value is not None and not isinstance(value, Mapping):
        raise ArgumentError(three_lines(f"{kind}: a dict by name is expected, got {type(value).__name__}", where,
                                        f'write {kind}={{"NAME": array}}'))  # fmt: skip
    for name, array in (value or {}).items():
        try:
            np.asarray(array)
        except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, and tensors that have a gradient
            came = f"{name}: not an array of numbers ({error})"
            cure = "give a plain array, of a tensor .detach().cpu().numpy()"
            raise ArgumentError(three_lines(came, where, cure)) from None
