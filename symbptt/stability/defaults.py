"""Sizes for an analysis that is given none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.shape import Size, named_size, names_in
from symbptt.ir.step import Argument

Arrays = Mapping[str, Any]
SIZE = 32
"""Of each dimension that nothing says."""
MOST = 256
LARGEST = 100_000


def sizes_for(arguments: Sequence[Argument], given: Arrays, known: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return all sizes by name: those known, those that arrays say, their axes for steps and samples in front, and for the
    rest 32, or half of it and so on until the state has 256 elements at most."""
    found: dict[str, int] = dict(known or {})
    for a in arguments:
        shape = np.shape(given.get(a.name, ()))
        for item, value in zip(reversed(a.shape), reversed(shape), strict=False):
            free = [name for name in names_in((item,)) if name not in found]
            if len(free) == 1:
                found |= _solved(item, value, free[0], found)
    shapes = [a.shape for a in arguments] + [(a.limit,) for a in arguments if a.limit is not None]
    names, size = [name for shape in shapes for name in names_in(shape)], SIZE
    while size > 1 and elements(arguments, {name: found.get(name, size) for name in names}) > MOST:
        size //= 2
    return {name: found.get(name, size) for name in names}


def elements(arguments: Sequence[Argument], sizes: Mapping[str, int]) -> int:
    """Return the number of elements of the whole state; 0 where sizes do not go together."""
    numbers = {named_size(name): value for name, value in sizes.items()}
    shapes = [[int(sp.sympify(item).xreplace(numbers)) for item in a.shape] for a in arguments if a.role == "state"]
    return sum(math.prod(shape) for shape in shapes)


def _solved(item: Size, value: int, name: str, found: Mapping[str, int]) -> dict[str, int]:
    """The size that makes a dimension `value`; nothing where none does."""
    known = {named_size(k): v for k, v in found.items()}
    symbol = named_size(name)
    rest = sp.sympify(item).xreplace(known)
    slope = rest.diff(symbol)
    start = (value - rest.xreplace({symbol: 0})) / slope if slope.is_number and slope else None
    return {name: int(start)} if start is not None and start.is_Integer and 0 < start <= LARGEST else {}


def check_mapping(kind: str, value: Any, where: str) -> None:
    """Raises: ArgumentError for what is neither a dict by name nor None."""
    if value is not None and not isinstance(value, Mapping):
        raise ArgumentError(three_lines(f"{kind}: a dict by name is expected, got {type(value).__name__}", where,
                                        f'write {{"{kind[0]}": array}}'))  # fmt: skip
