"""The layout of a cell's weights in a framework, as data, and the conversions in both directions.

Example: torch.nn.LSTM has bias_ih and bias_hh, each with the blocks i, f, g, o, and adds the two. Reading sums them into the
zoo's bi, bf, bg, bo; writing puts bi, bf, bg, bo into bias_ih and zeros into bias_hh. Reading what was written gives the same
parameters; writing what was read gives the same function, not the same arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError
from symbptt.ir.shape import Shape, named_size, show
from symbptt.language.cell import Cell
from symbptt.language.init import concrete
from symbptt.zoo import CELLS

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Slot:
    """One array of a framework: the zoo's parameters in it, as equal blocks along its axis of outputs.

    `transposed` where its axes are (inputs, outputs); `rows` where a bias stands in several; `optional` where it may be
    absent, which means zeros.
    """

    name: str
    params: tuple[str, ...]
    transposed: bool = False
    rows: int = 1
    optional: bool = False


@dataclass(frozen=True)
class Layout:
    """The arrays of one module of a framework, for a cell of the zoo.

    A parameter that stands in several places is their sum; it is written to the first, zeros to the others. `lacks`
    says why the module has no place for a parameter, which is read as zeros and must be zero where it is written.
    """

    module: str
    cell: str
    slots: tuple[Slot, ...]
    lacks: Mapping[str, str] = field(default_factory=dict)


def weight(name: str, params: str, *, transposed: bool = False) -> Slot:
    """Return the slot of a matrix; `params` are names separated by spaces."""
    return Slot(name, tuple(params.split()), transposed)


def bias(name: str, params: str, *, rows: int = 1) -> Slot:
    """Return the slot of a bias, which may be absent."""
    return Slot(name, tuple(params.split()), rows=rows, optional=True)


def layout_of(layouts: Sequence[Layout], framework: str, cell: str | Cell) -> Layout:
    """Return the layout of a cell.

    Raises: ArgumentError where the framework has no module with the cell's equations.
    """
    name = cell.name if isinstance(cell, Cell) else cell
    for layout in layouts:
        if layout.cell == name:
            return layout
    raise ArgumentError(
        f"{framework} does not compute {name!r}{HINTS.get(name, '')}\n"
        f"  it computes {', '.join(layout.cell for layout in layouts)}"
    )


HINTS = {"lstm_peephole": ": its LSTM has no peepholes; where pi, pf and po are zero, leave them out"}
"""Advice for cells that a framework lacks."""


def layout_for(layouts: Sequence[Layout], framework: str, params: Arrays) -> Layout:
    """Return the layout of the cell that has just these parameters.

    Raises: ArgumentError where the framework has no such cell.
    """
    for layout in layouts:
        if set(params) == set(_shapes(layout.cell)):
            return layout
    # The parameters are those of a cell that the framework lacks: the error then names the cell, of several with the same names
    # the one whose arrays have as many axes.
    alike = [name for name in CELLS if set(params) == set(_shapes(name))]
    if alike:
        return layout_of(layouts, framework, next((name for name in alike if _fits(name, params)), alike[0]))
    raise ArgumentError(
        f"no cell has just the parameters {', '.join(map(str, params)) or '(none)'}\n"
        + "\n".join(f"  {layout.cell} has {', '.join(_shapes(layout.cell))}" for layout in layouts)
    )


def _fits(name: str, params: Arrays) -> bool:
    return all(np.ndim(params[k]) == len(shape) for k, shape in _shapes(name).items())


def read(layout: Layout, arrays: Arrays) -> dict[str, Any]:
    """Return the zoo's parameters that a framework's arrays hold, as copies.

    Raises: ArgumentError for arrays that lack, that are unknown, or whose shapes or types do not fit.
    """
    known = {slot.name for slot in layout.slots}
    for name in arrays:
        if name not in known:
            raise ArgumentError(f"{layout.module} has no array {name!r}\n  it has {', '.join(sorted(known))}")
    found: dict[str, Any] = {}
    for slot in layout.slots:
        for name, block in _blocks(layout, slot, arrays):
            # Places of one parameter are summands in the framework's equations.
            found[name] = found[name] + block if name in found else block
    sizes = {named_size(name): size for name, size in sizes_of(layout, found).items()}
    dtype = next(iter(found.values())).dtype
    shapes = {name: concrete(shape, sizes) for name, shape in _shapes(layout.cell).items()}
    return {name: found[name] if name in found else np.zeros(shape, dtype) for name, shape in shapes.items()}


def write(layout: Layout, params: Arrays) -> dict[str, Any]:
    """Return a framework's arrays that hold the zoo's parameters.

    Raises: ArgumentError for parameters whose shapes or types do not fit, and for those that the module cannot hold.
    """
    values = {name: _array(name, value) for name, value in params.items()}
    sizes_of(layout, values)
    for name, reason in layout.lacks.items():
        if np.any(values[name]):
            raise ArgumentError(f"{layout.module} cannot hold {name!r}: {reason}\n  the conversion would lose it")
    arrays = {}
    for slot in layout.slots:
        blocks = []
        for name in slot.params:
            blocks.append(values[name])
            values[name] = np.zeros_like(values[name])  # what a second place of the same parameter gets
        arrays[slot.name] = _joined(slot, blocks)
    return arrays


def _joined(slot: Slot, blocks: list[Any]) -> Any:
    whole = np.concatenate(blocks)
    if slot.rows > 1:
        return whole.reshape(slot.rows, -1)
    return np.ascontiguousarray(whole.T) if slot.transposed else whole


def _blocks(layout: Layout, slot: Slot, arrays: Arrays) -> list[tuple[str, Any]]:
    """Return the parameters in one array; none where it may be absent and is."""
    if slot.name not in arrays:
        if slot.optional:
            return []
        raise ArgumentError(f"{layout.module} needs the array {slot.name!r}\n  got {', '.join(arrays) or 'none'}")
    whole, count = _array(slot.name, arrays[slot.name]), len(slot.params)
    rank = len(_shapes(layout.cell)[slot.params[0]]) + (slot.rows > 1)
    if whole.ndim != rank or (slot.rows > 1 and len(whole) != slot.rows):
        rows = f" of {slot.rows} rows" if slot.rows > 1 else ""
        raise ArgumentError(f"{slot.name!r} of {layout.module} has {rank} axes{rows}, got shape {whole.shape}")
    whole = whole.T if slot.transposed else whole.reshape(-1) if slot.rows > 1 else whole
    if len(whole) % count:
        raise ArgumentError(
            f"{slot.name!r} of {layout.module} holds {count} equal blocks, got a size of {len(whole)}\n"
            "  are these the weights of another module?"
        )
    # np.split returns views: without a copy, changes would reach the framework's own memory.
    return [(name, block.copy()) for name, block in zip(slot.params, np.split(whole, count), strict=True)]


def _array(name: str, value: Any) -> Any:
    """Return an array of floats in the machine's byte order, as a copy; a tensor that requires gradients is
    detached."""
    try:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"{name!r} cannot be read as a NumPy array: {error}\n  convert it to float32") from None
    if array.dtype.kind != "f":
        raise ArgumentError(f"{name!r} must be an array of floats, got {array.dtype}\n  convert it to float32")
    return array.astype(array.dtype.newbyteorder("="))


def _shapes(cell: str) -> dict[str, Shape]:
    return {a.name: a.shape for a in CELLS[cell].arguments if a.role == "param"}


def sizes_of(layout: Layout, params: Arrays) -> dict[str, int]:
    """Return the sizes of a cell's parameters, n and m.

    Raises: ArgumentError where they, or the types, do not agree.
    """
    sizes: dict[str, int] = {}
    dtypes: dict[Any, str] = {}
    for name, shape in _shapes(layout.cell).items():
        if name not in params:
            continue
        given, wanted = np.shape(params[name]), [str(size) for size in shape]
        if len(given) != len(wanted) or any(sizes.setdefault(s, g) != g for s, g in zip(wanted, given, strict=True)):
            found = ", ".join(f"{size} = {number}" for size, number in sizes.items())
            raise ArgumentError(
                f"{name!r} of {layout.cell} has shape {show(shape)} ({found}), got {given}\n"
                f"  are these the weights of {layout.module}?"
            )
        dtypes.setdefault(np.asarray(params[name]).dtype, name)
    if len(dtypes) > 1:
        mixed = " and ".join(f"{name!r} is {dtype}" for dtype, name in dtypes.items())
        raise ArgumentError(f"the parameters of {layout.cell} are of several types: {mixed}\n  convert them to one")
    return sizes
