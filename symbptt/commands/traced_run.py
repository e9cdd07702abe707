"""A trace for the command line: of a cell on a table of data, or on random inputs."""

from __future__ import annotations

import numpy as np

from symbptt.codegen.kernel import compile as compile_cell
from symbptt.data.csv_table import STEPS_WITHOUT_DATA, Table, bind, hidden_sizes
from symbptt.data.random_data import random_inputs
from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.verification.gradient_trace import GradientTrace, trace_gradient


def traced_run(
    cell: Cell, table: Table | None, hidden: int, steps: int | None, seed: int, below: float, above: float
) -> GradientTrace:
    """Return the trace of a cell with the parameters of `init`, for a cotangent of ones of all states after the last step.

    Raises: ArgumentError where data and cell do not go together.
    """
    if table is not None and steps is not None:
        raise ArgumentError(three_lines(f"steps={steps} beside data", f"in a trace of {cell.name}", "give one of them"))
    if table is not None:
        bound = bind(cell, table)
        inputs, sizes, T = bound.inputs, hidden_sizes(cell, bound.dims, hidden), table.rows
    else:
        T = STEPS_WITHOUT_DATA if steps is None else steps
        sizes = hidden_sizes(cell, {}, hidden)
        inputs = random_inputs(cell.arguments, sizes, (T,), seed)
    kernel = compile_cell(cell)
    with np.errstate(all="ignore"):
        run = kernel.forward(cell.init(sizes, seed=seed), inputs or None, steps=None if inputs else T)
        shapes = {name: np.shape(value)[1:] for name, value in run.states.items()}
        return trace_gradient(
            kernel, run, {name: np.ones(shape) for name, shape in shapes.items()}, below=below, above=above
        )
