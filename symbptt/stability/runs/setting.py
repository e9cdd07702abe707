"""The object of an analysis: a cell or a model with parameters and data, those that are missing drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.checks import named
from symbptt.data.random_data import random_inputs, random_state
from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.language.cell import Cell
from symbptt.language.each_step import given_each_step
from symbptt.language.model import Model
from symbptt.stability.runs.default_sizes import check_mapping, sizes_for
from symbptt.stability.runs.trajectory import Trajectory, keeping, trajectory

Arrays = Mapping[str, Any]
STEPS, BATCH = 200, 4
"""Of a run without data."""
TAIL = 1000
"""Steps at the end of a long run on which gradients are followed one by one."""
MARGIN = 0.5
"""The state has left the range where it is beyond this power of the largest number: its square is still finite."""


@dataclass(frozen=True)
class Setting:
    """A cell on its data: the whole run, and its tail of 1000 steps at most.

    `params` are those of the target, `targets` those of a model's loss; `left` is the step after which the state left the
    range, None where it stays; `words` says what was drawn.
    """

    target: Cell | Model
    cell: Cell
    params: dict[str, Any] = field(repr=False)
    run: Trajectory = field(repr=False)
    tail: Trajectory = field(repr=False)
    targets: dict[str, Any] | None = field(repr=False)
    left: int | None
    words: str

    @property
    def own(self) -> dict[str, Any]:
        """The parameters of the cell."""
        return {name: value for name, value in self.params.items() if name in self.run.of.params}


def setting(
    target: Any, params: Arrays | None, inputs: Arrays | None, state: Arrays | None, targets: Arrays | None,
    steps: int | None, seed: int, known: Mapping[str, int] | None = None,
) -> Setting:  # fmt: skip
    """Return the setting of an analysis; `known` are sizes beside those that the arrays tell.

    Raises: ArgumentError for what is neither a cell nor a model, and as `kernel.forward` does.
    """
    if not isinstance(target, Cell | Model):
        raise ArgumentError(three_lines(f"analyze takes a cell or a model, got {type(target).__name__}",
                                        cure=instead_of_cell(target)))  # fmt: skip
    where = f"in the analysis of {target.name}"
    (target if isinstance(target, Cell) else target.cell).check_real()
    for kind, value in (("params", params), ("inputs", inputs), ("state", state), ("targets", targets)):
        check_mapping(kind, value, where)
    params, inputs, state, targets, known = map(named, (params, inputs, state, targets, known))
    sizes = sizes_for(target, {**(params or {}), **(inputs or {}), **(state or {}), **(targets or {})}, known) | dict(
        known or {}
    )
    whole = target
    target, inputs, steps = given_each_step(whole, inputs, state, STEPS if steps is None else steps)
    cell = target if isinstance(target, Cell) else target.cell
    words = []
    if params is None:
        params = target.init(sizes, seed=seed)
        words.append("parameters by init")
    inputs, state, drawn = _data(cell, whole, params, inputs, state, sizes, steps, seed)
    words += drawn
    names = {a.name for a in cell.arguments}
    own = {k: v for k, v in params.items() if isinstance(target, Cell) or k in names}
    run = trajectory(cell, own, inputs, state, None if inputs else steps or STEPS)
    run, left = _in_range(run)
    # Spectra, shares and products all read the Jacobians of the run, which are evaluated once.
    run = keeping(run)
    batched = {k: np.asarray(v) for k, v in _targets(target, targets, run, sizes, seed).items()}
    return Setting(target, cell, dict(params), run, _tail(run), batched or None, left, _joined(words, seed))


def _joined(words: list[str], seed: int) -> str:
    return f"{' and '.join(words)} (seed {seed})" if words else "the data given"


def _data(
    cell: Cell,
    whole: Cell | Model,
    params: Arrays,
    inputs: Arrays | None,
    state: Arrays | None,
    sizes: dict[str, int],
    steps: int | None,
    seed: int,
) -> tuple[Arrays | None, Arrays | None, list[str]]:
    """Inputs and state, drawn where they are missing, and the names of what was drawn: without inputs a zero state may never leave zero.
    What `whole` is given once is drawn once."""
    needed = [a for a in cell.arguments if a.role in ("input", "index")]
    begun = [a.name for a in cell.arguments if a.start is not None] if state is None else []
    told = [f"first states of the cell ({', '.join(begun)})"] if begun else []
    dtype = next(
        (np.asarray(v).dtype for v in params.values() if np.asarray(v).dtype.kind == "f"), np.dtype(np.float64)
    )

    def cast(arrays: Arrays) -> dict[str, Any]:
        return {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}

    if needed and inputs is None:
        batch = _batch(cell, state)
        given = [a for a in whole.arguments if a.role in ("input", "index", "context")]
        drawn = random_inputs(given, sizes, (_checked(steps), *batch), seed)
        inputs = cast(dict(given_each_step(whole, drawn, state, _checked(steps))[1] or {}))
        kinds = {a.role == "index" for a in needed}
        words = [text for of, text in ((False, "standard normal inputs"), (True, "random indices")) if of in kinds]
        return inputs, _first(cell, params, inputs, sizes) if state is None else state, words + told
    if not needed and state is None and not begun:
        return inputs, cast(random_state(cell.arguments, sizes, (BATCH,), seed)), ["standard normal first states"]
    return inputs, _first(cell, params, inputs or {}, sizes) if state is None else state, told


def _first(cell: Cell, params: Arrays, inputs: Arrays, sizes: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the states that a run begins with, as the cell says, of the type of the inputs, which tell sizes that nothing else
    does; None leaves that to the kernel."""
    a = next((a for a in cell.arguments if a.role in ("input", "index") and a.name in inputs), None)
    if a is None:
        return None
    lead = np.shape(inputs[a.name])[1 : np.ndim(inputs[a.name]) - len(a.shape)]
    floats = [np.asarray(v).dtype for v in inputs.values() if np.asarray(v).dtype.kind == "f"]
    drawn = random_state(cell.arguments, sizes, lead, 0)
    starts = {
        a.name: params[a.start] if isinstance(a.start, str) else a.start for a in cell.arguments if a.start is not None
    }
    return {k: np.zeros(v.shape, floats[0]) + starts.get(k, 0) for k, v in drawn.items()} if floats else None


def _checked(steps: int | None) -> int:
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1):
        raise ArgumentError(three_lines(f"steps={steps!r}", "in an analysis", "give a number of steps from 1"))
    return STEPS if steps is None else int(steps)


def _batch(cell: Cell, state: Arrays | None) -> tuple[int, ...]:
    """The axis of samples that the state has, if it is given."""
    for a in cell.arguments:
        if a.role == "state" and a.name in (state or {}):
            return np.shape((state or {})[a.name])[: np.ndim((state or {})[a.name]) - len(a.shape)]
    return (BATCH,)


def _in_range(run: Trajectory) -> tuple[Trajectory, int | None]:
    """The run without the steps after which the state leaves the range of its type, and their first."""
    limit = float(np.finfo(run.of.dtype).max) ** MARGIN
    with np.errstate(all="ignore"):
        size = np.abs(run.of.run(run.inputs, run.of.by_name(run.start), run.steps)).max((1, 2), initial=0)
    # `not <` and not `>=`: a NaN is out of range as well.
    bad = np.flatnonzero(~(size < limit))
    if not len(bad) or bad[0] == 0:
        return run, None
    end = int(bad[0])
    return Trajectory(run.of, {k: v[:end] for k, v in run.inputs.items()}, run.start, end), end + 1


def _tail(run: Trajectory) -> Trajectory:
    if run.steps <= TAIL:
        return run
    first = run.steps - TAIL
    before = run.of.run({k: v[:first] for k, v in run.inputs.items()}, run.of.by_name(run.start), first)[-1]
    return keeping(Trajectory(run.of, {k: v[first:] for k, v in run.inputs.items()}, before, TAIL))


def _targets(target: Cell | Model, targets: Arrays | None, run: Trajectory, sizes: dict[str, int], seed: int) -> Arrays:
    """The targets of a model with an axis for samples, drawn where they are missing."""
    if isinstance(target, Cell):
        if targets is not None:
            raise ArgumentError(three_lines("targets are given, and the cell has no loss", f"in the analysis of {target.name}",
                                            "give sb.model(cell, loss), or leave the targets away"))  # fmt: skip
        return {}
    lead = (run.steps, run.batch) if target.at == "every" else (run.batch,)
    needed = [a for a in target.arguments if a.role == "target"]
    if targets is None:
        drawn = random_inputs(needed, sizes, lead, seed + 1)
        return {k: v.astype(run.of.dtype) if v.dtype.kind == "f" else v for k, v in drawn.items()}
    ranks = {a.name: len(a.shape) + len(lead) for a in needed}
    found = {k: np.asarray(v) for k, v in targets.items()}
    found = {k: np.expand_dims(v, len(lead) - 1) if v.ndim == ranks.get(k, 0) - 1 else v for k, v in found.items()}
    return {k: v[: run.steps] if target.at == "every" else v for k, v in found.items()}
