"""A cell on its data, linearised a block of steps at a time, so that long runs need little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.each_step import given_each_step
from symbptt.stability.runs.linear import Linear, linear

Arrays = Mapping[str, Any]
MEMORY = 2**22
"""Bytes of Jacobians that are in memory at a time: few enough to stay in cache."""
KEPT = 2**28
"""Bytes of Jacobians that a run which is read several times stores; those beyond are evaluated at every reading."""


@dataclass(frozen=True)
class Trajectory:
    """A linearised cell with its inputs (T, B, ...) and its initial whole states (B, N).

    `kept` has, by first step, the last states and the Jacobians of the blocks of steps that were read; None stores nothing.
    """

    of: Linear
    inputs: dict[str, Any] = field(repr=False)
    start: Any = field(repr=False)
    steps: int
    kept: dict[int, tuple[Any, Any]] | None = field(default=None, repr=False, compare=False)

    @property
    def batch(self) -> int:
        return int(self.start.shape[0])

    @property
    def dimension(self) -> int:
        return int(self.start.shape[1])


def trajectory(
    cell: Cell, params: Arrays, inputs: Arrays | None, state: Arrays | None, steps: int | None
) -> Trajectory:
    """Return a cell on its data.

    Raises: ArgumentError for a run of no steps or no samples, and as `kernel.forward` does.
    """
    cell, inputs, steps = given_each_step(cell, inputs, state, steps)
    of = linear(cell, params, inputs, state)
    arrays, _, length, batch, _, _ = of.kernel.read(params, inputs, state, steps)
    given = {a.name: arrays[a.name] for a in cell.arguments if a.role in ("input", "index")}
    if length < 1 or batch < 1:
        raise ArgumentError(three_lines(f"a run of {length} steps and {batch} samples", f"in the stability of {cell.name}",
                                        "give at least one step and one sample"))  # fmt: skip
    return Trajectory(of, given, of.flat({k: arrays[k] for k in of.names}), length)


def linearised(run: Trajectory) -> Iterator[tuple[int, Any]]:
    """Yield the Jacobians (L, B, N, N) of blocks of steps in order, in float64, each with its first step.

    Raises: ArgumentError at the first step that is not finite.
    """
    now = run.start
    for block in _blocks(run):
        now, jacobians = _block(run, block, now)
        yield block.start, jacobians


def linearised_backward(run: Trajectory) -> Iterator[tuple[int, Any]]:
    """Yield what `linearised` does, the last block first."""
    blocks, starts, now = list(_blocks(run)), [], run.start
    for block in blocks:
        starts.append(now)
        known = (run.kept or {}).get(block.start)
        # Only the states between blocks are stored on the way forward; a block's own states are computed again when
        # its turn comes.
        now = known[0] if known else _after(run, block, now)[-1]
    for block, now in zip(reversed(blocks), reversed(starts), strict=True):
        yield block.start, _block(run, block, now)[1]


def keeping(run: Trajectory) -> Trajectory:
    """Return a run that stores the Jacobians that were read of it, as far as memory allows."""
    return replace(run, kept={})


def jacobians_at(run: Trajectory, chosen: Sequence[int]) -> Any:
    """Return the Jacobians at some steps in ascending order, in float64. Shapes: (len(chosen), B, N, N)."""
    wanted, found, now = np.asarray(chosen, int), [], run.start
    for block in _blocks(run):
        own = wanted[(block.start <= wanted) & (wanted < block.stop)] - block.start
        known = (run.kept or {}).get(block.start)
        if known:
            now, jacobians = known[0], known[1][own]
        else:
            after = _after(run, block, now)
            # All steps are run, as states depend on those before, but the chosen ones alone are linearised.
            inputs = {k: v[own] for k, v in _inputs(run, block).items()}
            before = np.concatenate([now[None], after[:-1]])[own]
            jacobians = run.of.jacobians(before, inputs)
            _check_finite(run, block.start + own, after[own], jacobians)
            now = after[-1]
        found.extend(jacobians)
    return np.asarray(found, np.float64).reshape(len(wanted), run.batch, run.dimension, run.dimension)


def pieces(run: Trajectory) -> Iterator[Trajectory]:
    """Yield a run in parts of as many steps as are linearised at a time, each with the states that it starts from."""
    now = run.start
    for block in _blocks(run):
        yield Trajectory(run.of, _inputs(run, block), now, block.stop - block.start)
        now = _after(run, block, now)[-1]


def _blocks(run: Trajectory) -> Iterator[slice]:
    # The Jacobians of one step of all samples have B N · N entries of 8 bytes.
    length = max(1, MEMORY // (8 * max(1, run.start.size * run.dimension)))
    for first in range(0, run.steps, length):
        yield slice(first, min(first + length, run.steps))


def _inputs(run: Trajectory, block: slice) -> dict[str, Any]:
    return {k: v[block] for k, v in run.inputs.items()}


def _after(run: Trajectory, block: slice, now: Any) -> Any:
    """The whole states after each step of a block that starts from states `now`."""
    return run.of.run(_inputs(run, block), run.of.by_name(now), block.stop - block.start)


def _block(run: Trajectory, block: slice, now: Any) -> tuple[Any, Any]:
    """The states after a block of steps and its Jacobians, stored where memory allows."""
    if run.kept is not None and block.start in run.kept:
        return run.kept[block.start]
    after = _after(run, block, now)
    found = after[-1], _jacobians(run, block, now, after)
    if run.kept is not None and sum(j.nbytes for _, j in run.kept.values()) + found[1].nbytes <= KEPT:
        # Several readers share the array: one that writes into it must fail at once.
        found[1].setflags(write=False)
        run.kept[block.start] = found
    return found


def _jacobians(run: Trajectory, block: slice, now: Any, after: Any) -> Any:
    jacobians = run.of.jacobians(np.concatenate([now[None], after[:-1]]), _inputs(run, block))
    _check_finite(run, np.arange(block.start, block.stop), after, jacobians)
    return np.asarray(jacobians, np.float64)


def _check_finite(run: Trajectory, steps: Any, after: Any, jacobians: Any) -> None:
    if np.isfinite(jacobians).all() and np.isfinite(after).all():
        return
    bad = ~np.isfinite(after).all(1)
    rows = bad | ~np.isfinite(jacobians).all((1, 3))
    step = int(np.argmax(rows.any(-1)))
    name = next(name for name, part in run.of.names.items() if rows[step, part].any())
    what = "is not finite" if bad[step, run.of.names[name]].any() else "has a derivative that is not finite"
    raise ArgumentError(three_lines(f"the state {name!r} {what} after step {steps[step] + 1}",
                                    f"in a run of {run.of.cell.name}", "scale the parameters or the inputs down"))  # fmt: skip
