"""Parameters checked, and sizes read from the shapes of arrays, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.checks import named
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.needs import unmet
from symbptt.ir.shape import Size, show, size
from symbptt.ir.sizes import axes_of, misfit, solved
from symbptt.ir.step import Argument
from symbptt.language.cell import Cell, nearest
from symbptt.stability.algebra.interval import Interval, exactly

Arrays = Mapping[str, Any]


def constants(cell: Cell, params: Arrays) -> dict[str, Interval]:
    """Return parameters and constants by name as intervals of one value each, in double precision.

    Raises: ArgumentError for missing and unknown names, and for values that are no finite real numbers.
    """
    params = named(params)
    known = {a.name: a for a in cell.arguments if a.role in ("param", "const")}
    given = {name: a.default for name, a in known.items() if a.role == "const" and a.default is not None} | dict(params)
    for name in params:
        if name not in known:
            raise ArgumentError(f"{cell.name} has no parameter {name!r}" + nearest(name, known))
    for name in known:
        if name not in given:
            raise ArgumentError(three_lines(f"the parameter {name!r} is missing", f"in the parameters of {cell.name}",
                                            "cell.init gives first values of all"))  # fmt: skip
    return {name: exactly(_real(cell, name, given[name])) for name in known}


def _real(cell: Cell, name: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ArgumentError(three_lines(f"the parameter {name!r} has values that are no finite real numbers",
                                        f"in the parameters of {cell.name}", "give an array of floats"))  # fmt: skip
    return array.astype(np.float64)


def sizes_of(cell: Cell, arrays: Arrays) -> dict[str, int]:
    """Return the sizes of a cell by name, from the shapes of some of its arguments.

    Raises: ArgumentError where a shape is not as annotated, or a size has two values.
    """
    axes = axes_of(
        cell.arguments, {a.name: _shape(cell, a, arrays[a.name]) for a in cell.arguments if a.name in arrays}
    )
    found = solved(axes)
    wrong = misfit(axes, found)
    if wrong is not None:
        a, item = next(a for a in cell.arguments if a.name == wrong.argument), wrong.size
        raise ArgumentError(three_lines(f"{a.name!r} has shape {np.shape(arrays.get(a.name, a.default))}, {show(a.shape)} is due",
                                        f"in the arguments of {cell.name}: {item} is {_with(item, found)}", "give that shape"))  # fmt: skip
    lack = unmet(cell.needs, found)
    if lack is not None:
        raise ArgumentError(three_lines(*lack.parts(found)))
    return found


def _shape(cell: Cell, a: Argument, array: Any) -> tuple[int, ...]:
    """The shape of an argument; none of a constant that is one number for all entries."""
    shape = np.shape(array)
    if len(shape) != len(a.shape) and not (a.role == "const" and not shape):
        raise ArgumentError(three_lines(f"{a.name!r} has shape {shape}, {show(a.shape)} is due",
                                        f"in the arguments of {cell.name}", "give that shape"))  # fmt: skip
    return shape


def _with(item: Size, known: Mapping[str, int]) -> Size:
    if isinstance(item, int):
        return item
    return size(item.subs({s: known[s.name] for s in item.free_symbols if s.name in known}))
