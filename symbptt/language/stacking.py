"""Cells on top of each other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from symbptt.checks import named
from symbptt.errors import ArgumentError
from symbptt.ir.shape import Shape, names_in, show, size_text
from symbptt.ir.step import Argument
from symbptt.language import functions
from symbptt.language.array import Array
from symbptt.language.cell import Cell
from symbptt.language.roles import Annotation, Param, parse_dims
from symbptt.syntax import NAME


def stack(*parts: Any, axis: int = 0) -> Any:
    """Return arrays joined along a new axis; of cells, the cell in which each is driven by the one before.

    A cell passes up its output where it has one, else its first state. The names of layer i get `_i`: states,
    parameters, outputs, and sizes other than those of the first layer's inputs; a layer's input has the size of what it
    is given.

    Raises: ArgumentError where a cell has several outputs, or a layer above the first not one input of a fitting shape.
    """
    listed = len(parts) == 1 and isinstance(parts[0], list | tuple) and any(isinstance(p, Cell) for p in parts[0])
    cells = tuple(parts[0]) if listed else parts
    if not parts:
        raise ArgumentError("stack takes cells, or a list of arrays; got nothing")
    if not any(isinstance(cell, Cell) for cell in cells):
        if not isinstance(parts[0], Sequence | np.ndarray | Array) or not len(parts[0]):
            raise ArgumentError(f"stack takes cells, or a list of arrays; got {type(parts[0]).__name__}")
        return functions.stack(list(parts[0]), axis=parts[1] if len(parts) > 1 else axis)
    if not all(isinstance(cell, Cell) for cell in cells):
        raise ArgumentError(
            f"stack takes cells or a list of arrays, got {', '.join(type(cell).__name__ for cell in cells)}"
        )
    return _stacked(cells)


def _stacked(cells: Sequence[Cell]) -> Cell:
    layers = []
    given: Shape | None = None
    for number, cell in enumerate(cells, start=1):
        rename = _sizes(cell, number, given)
        layers.append([(a, _renamed(a, number, rename, given is None, cell.begun.values())) for a in cell.arguments])
        given = _handed(cell, rename)
    parameters = [own for layer in layers for a, own in layer if own is not None]
    # Inputs, indices and states first, as in any cell; `sorted` is stable, so that layers keep their order.
    ordered = sorted(
        parameters,
        key=lambda p: ["input", "index", "state"].index(_role(p)) if _role(p) in ("input", "index", "state") else 3,
    )
    # Keyword-only parameters may follow ones with defaults in any order.
    signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in ordered])

    def stacked(**values: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        signal = None
        for number, (cell, layer) in enumerate(zip(cells, layers, strict=True), start=1):
            arguments = {
                a.name: signal if own is None else values.get(own.name, own.default)
                for a, own in layer
                if a.name not in cell.begun.values()
            }
            results = _by_name(cell, cell.called(arguments))
            signal = results[_top(cell)]
            result |= {f"{name}_{number}": value for name, value in results.items()}
        return result

    stacked.__name__ = stacked.__qualname__ = "_over_".join(cell.name for cell in cells[::-1])
    stacked.__doc__ = f"Layers from the input up: {', '.join(cell.name for cell in cells)}."
    stacked.__signature__ = signature  # type: ignore[attr-defined]
    return Cell(stacked)


def _role(parameter: inspect.Parameter) -> str:
    return str(parameter.annotation.role)


def _top(cell: Cell) -> str:
    """Return the name of the value that a cell passes up."""
    outputs = list(cell.looped.outputs)
    if len(outputs) > 1:
        raise ArgumentError(f"{cell.name} has the outputs {', '.join(outputs)}\n  a cell in a stack has one, or none")
    return outputs[0] if outputs else next(a.name for a in cell.arguments if a.role == "state")


def _handed(cell: Cell, rename: dict[str, str]) -> Shape:
    top = _top(cell)
    id = cell.looped.outputs.get(top) or cell.looped.next[top]
    return parse_dims(_dims(cell.looped.graph.shape(id), rename))


def _dims(shape: Shape, rename: dict[str, str]) -> str:
    """Return a shape as dimensions, its sizes by other names; what a size is renamed to may be a sum."""
    # Brackets, because a size such as 2*n may become 2*(m+1).
    return " ".join(re.sub(NAME, lambda m: f"({rename.get(m[0], m[0])})", size_text(item)) for item in shape)


def _sizes(cell: Cell, number: int, given: Shape | None) -> dict[str, str]:
    """Return new names of a cell's sizes: those of its input are the sizes of what it is given."""
    inputs = [a for a in cell.arguments if a.role in ("input", "index")]
    names = sorted({name for a in cell.arguments for name in names_in(a.shape)})
    if given is None:
        kept = {name for a in inputs for name in names_in((*a.shape, *(() if a.limit is None else (a.limit,))))}
        return {name: name if name in kept else f"{name}_{number}" for name in names}
    if len(inputs) != 1 or inputs[0].role != "input" or len(inputs[0].shape) != len(given):
        raise ArgumentError(
            f"{cell.name} cannot be layer {number}: it needs one input with {len(given)} axes, "
            f"as the layer below hands up {show(given)}"
        )
    bound = {}
    for own, above in zip(inputs[0].shape, given, strict=True):
        if isinstance(own, int) or not own.is_Symbol:
            if own != above:
                raise ArgumentError(
                    f"{cell.name} cannot be layer {number}: its input has the size {own}, "
                    f"the layer below hands up {above}"
                )
        else:
            bound[str(own)] = size_text(above)
    return {name: bound.get(name, f"{name}_{number}") for name in names}


def _renamed(
    a: Argument, number: int, rename: dict[str, str], first: bool, begun: Collection[str]
) -> inspect.Parameter | None:
    """Return a cell's argument as one of the stack, or None where the layer below gives it."""
    if a.role == "input" and not first:
        return None
    if a.name in begun:
        return None  # the state says so again
    dims, limit = _dims(a.shape, rename), size_text(a.limit) if a.role == "index" else ""
    name = a.name if a.role in ("input", "index") else f"{a.name}_{number}"
    given = Param if isinstance(a.start, str) else a.start if a.role == "state" else a.default
    default = inspect.Parameter.empty if given is None else given
    annotation = Annotation(a.role, dims, limit, complex=a.complex)
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def _by_name(cell: Cell, result: Any) -> dict[str, Any]:
    if isinstance(result, dict):
        found: dict[str, Any] = named(result)
        return found
    names = [a.name for a in cell.arguments if a.role == "state"]
    return dict(zip(names, result if isinstance(result, tuple | list) else [result], strict=True))
