"""A cell on its data, linearised a block of steps at a time, so that long runs need little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.cell import Cell
from symbptt.errors import ArgumentError, three_lines
from symbptt.stability.linear import Linear, linear

Arrays = Mapping[str, Any]
MEMORY = 2**25
"""Bytes of Jacobians that are held at a time."""


@dataclass(frozen=True)
class Trajectory:
    """A linearised cell with its inputs (T, B, ...), its initial whole states (B, N), and whether they had a batch axis."""

    of: Linear
    inputs: dict[str, Any] = field(repr=False)
    start: Any = field(repr=False)
    steps: int
    batched: bool

    @property
    def batch(self) -> int:
        return int(self.start.shape[0])

    @property
    def dimension(self) -> int:
        return int(self.start.shape[1])


def trajectory(cell: Cell, params: Arrays, inputs: Arrays | None, state: Arrays | None, steps: int | None) -> Trajectory:
    """Return a cell on its data; with inputs, `steps` keeps the first ones of them.

    Raises: ArgumentError for no steps, for more steps than inputs, for a batch of none, and as `kernel.forward` does.
    """
    of = linear(cell, params, inputs, state)
    arrays, _, length, batch, _, batched = of.kernel.read(params, inputs, state, steps)
    given = {a.name: arrays[a.name] for a in cell.arguments if a.role in ("input", "index")}
    steps = length if steps is None else steps
    if not 1 <= steps <= length or batch < 1:
        raise ArgumentError(three_lines(f"steps={steps} with inputs of {length} steps and {batch} samples",
                                        f"in the stability of {cell.name}", "give at least one step and one sample"))  # fmt: skip
    return Trajectory(of, {k: v[:steps] for k, v in given.items()}, of.flat({k: arrays[k] for k in of.names}), steps, batched)


def linearised(run: Trajectory, memory: int = MEMORY) -> Iterator[tuple[int, Any, Any]]:
    """Yield blocks of steps in order: the first step, the states before each step, and the Jacobians, in float64.

    Shapes: states (L, B, N), Jacobians (L, B, N, N). Raises: ArgumentError at the first step that is not finite.
    """
    now = run.start
    length = max(1, min(run.steps, memory // (8 * max(1, now.size * now.shape[-1]))))
    for first in range(0, run.steps, length):
        count = min(length, run.steps - first)
        inputs = {k: v[first : first + count] for k, v in run.inputs.items()}
        after = run.of.run(inputs, run.of.by_name(now), count)
        states = np.concatenate([now[None], after[:-1]])
        jacobians = run.of.jacobians(states, inputs)
        _check_finite(run, first, after, jacobians)
        yield first, states, np.asarray(jacobians, np.float64)
        now = after[-1]


def _check_finite(run: Trajectory, first: int, after: Any, jacobians: Any) -> None:
    if np.isfinite(jacobians).all() and np.isfinite(after).all():
        return
    bad = ~np.isfinite(after).all(1)
    rows = bad | ~np.isfinite(jacobians).all((1, 3))
    step = int(np.argmax(rows.any(-1)))
    name = next(name for name, part in run.of.names.items() if rows[step, part].any())
    what = "is not finite" if bad[step, run.of.names[name]].any() else "has a derivative that is not finite"
    raise ArgumentError(three_lines(f"the state {name!r} {what} after step {first + step + 1}",
                                    f"in a run of {run.of.cell.name}", "scale the parameters or the inputs down"))  # fmt: skip
