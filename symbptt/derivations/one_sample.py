"""The arguments of one sample, at one step or at several, for derivatives that are evaluated on data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.checks import check_mapping, named
from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.errors import ArgumentError
from symbptt.ir.shape import size_text
from symbptt.language.cell import Cell


@dataclass(frozen=True)
class Sample:
    """The arguments of one sample as generated code takes them: `arrays` by name, inputs (T, 1, ...) and states (1, ...),
    of one type; the named sizes; whether inputs came with an axis of steps."""

    kernel: Kernel
    arrays: dict[str, Any]
    sizes: Mapping[str, int]
    steps: int
    dtype: Any
    timed: bool

    def run(self) -> Any:
        """Return the run of these arguments; its states have axes for steps and samples."""
        params, inputs, state = (
            {k: self.arrays[k] for k in names}
            for names in (self.kernel.module.PARAMS, self.kernel.module.INPUTS, self.kernel.module.STATES)
        )
        return self.kernel.forward(params, inputs, state, steps=None if inputs else self.steps)


def one_sample(
    cell: Cell, params: Any, inputs: Any, state: Any, example: str, steps: int = 1, timed: bool | None = False
) -> Sample:
    """Return the arguments of one sample, states that are not given as zeros. With `timed` inputs have a first axis of steps,
    else none, and None leaves that to them; a cell without inputs is taken for `steps` steps.

    Raises: ArgumentError for what lacks, is not known, is out of range or not finite, has another shape or a mixed type.
    """
    for what, group in (("params", params), ("inputs", inputs), ("state", state)):
        if group is not None:
            check_mapping(what, group, example)
    kernel = kernel_of(cell)
    params, inputs, state = named(params), named(inputs or {}), named(state or {})
    shapes = {a.name: a.shape for a in cell.arguments}
    plain = {k: _said(kernel, kernel.module._plain, k, v) for k, v in [*inputs.items(), *state.items()]}
    known = {k: v for k, v in plain.items() if k in shapes}
    timed = any(v.ndim > len(shapes[k]) for k, v in known.items() if k in inputs) if timed is None else timed
    for name, array in known.items():
        _check_axes(cell, name, array, len(shapes[name]), timed and name in inputs)
    first = {k: plain[k] if timed else plain[k][None] for k in inputs}
    given = params, first, {k: plain[k] for k in state}
    _check_there(kernel, params, inputs, timed)
    _check_sizes(kernel, *given)
    arrays, sizes, T, _, dtype, _ = _said(kernel, kernel.module._arguments, *given, None if inputs else steps)
    _check_values(kernel, arrays, sizes, timed)
    return Sample(kernel, arrays, sizes, T, dtype, timed)


def _said(kernel: Kernel, function: Callable[..., Any], *given: Any) -> Any:
    """Return what a function of the module does; what it refuses is an error of `evaluate`."""
    try:
        return function(*given)
    except kernel.module.ArgumentError as error:
        raise ArgumentError(f"{error}\n  in evaluate, for one sample of {kernel.target.name}") from None


def _check_axes(cell: Cell, name: str, array: Any, rank: int, timed: bool) -> None:
    """Raises: ArgumentError where an input or a state has other axes than those of one sample."""
    if array.ndim == rank + timed:
        return
    what = "at its steps" if timed else "at one step"
    wanted = _axes(cell, name, timed)
    cut = ", ".join([*":" * timed, *"0" * (array.ndim - rank - timed)])
    cure = f"\n  write {name}[{cut}] for the first of them" if array.ndim > rank + timed else ""
    raise ArgumentError(
        f"{name}: one sample {what} is expected, {wanted}, got shape {array.shape}\n"
        f"  in evaluate, for one sample of {cell.name}{cure}"
    )


def _axes(cell: Cell, name: str, timed: bool) -> str:
    shape = next(a.shape for a in cell.arguments if a.name == name)
    axes = [*["T"] * timed, *map(size_text, shape)]
    return f"({', '.join(axes)}{',' * (len(axes) == 1)})" if axes else "a number"


def _check_there(kernel: Kernel, params: Mapping[str, Any], inputs: Mapping[str, Any], timed: bool) -> None:
    m = kernel.module
    for what, group, names, given in (("parameter", "params", m.PARAMS, params), ("input", "inputs", m.INPUTS, inputs)):
        for name in names:
            if name not in given:
                axes = _axes(kernel.cell, name, timed and group == "inputs")
                raise ArgumentError(
                    f"{what} {name!r} is missing; pass {group}={{{name!r}: ...}}, {axes}\n"
                    f"  in evaluate, for one sample of {kernel.target.name}"
                )


def _check_sizes(kernel: Kernel, params: Any, inputs: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Raises: ArgumentError where an argument has another shape than the others say, in the axes of one sample."""
    m = kernel.module
    own = {
        k: _said(kernel, m._array, k, v, len(m.SHAPES[k].split()), 0)
        for k, v in (params or {}).items()
        if k in m.SHAPES
    }
    arrays = own | {k: v[:, None] for k, v in inputs.items()} | {k: v[None] for k, v in state.items()}
    if any(k not in arrays for k in (*m.PARAMS, *m.INPUTS)) or any(k not in m.SHAPES for k in arrays):
        return  # what lacks or is not known is told by its name
    sizes = _said(kernel, m._sizes, lambda name, axis: m._length(arrays, name, axis))
    if any(size != size for size in sizes.values()):
        return  # what tells no size is told by its name
    for name, wanted in m._shapes(**sizes).items():
        came = arrays[name].shape[m.LEAD.get(name, 0) :] if name in arrays else wanted
        if came != wanted:
            raise ArgumentError(
                f"{name}: {_axes(kernel.cell, name, False)} = {wanted} is expected, got {came}\n"
                f"  in evaluate, for one sample of {kernel.target.name}"
            )


def _check_values(kernel: Kernel, arrays: Mapping[str, Any], sizes: Mapping[str, int], timed: bool) -> None:
    """Raises: ArgumentError where an integer is no index, or a number not finite."""
    m = kernel.module
    for name, array in arrays.items():
        lead = m.LEAD.get(name, 0)
        own = array[:, 0] if lead == 2 and timed else array[(0,) * lead]
        if name not in m.INDICES:
            wrong, wanted = ~np.isfinite(own), "finite numbers"
        else:
            size = m.INDICES[name]
            limit = m._shapes(**sizes)[size][0] if size else np.inf
            wrong, wanted = (own < 0) | (own >= limit), f"integers from 0 to {limit - 1}"
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ArgumentError(
                f"{name}: {wanted} are expected, got {own[where]}{f' at index {where}' if where else ''}\n"
                f"  in evaluate, for one sample of {kernel.target.name}"
            )
