"""Tasks done: in this process, in others through joblib, or on a Dask cluster; the same rows wherever and in any order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from symbptt.comparison.designs import Task
from symbptt.comparison.measure import measures
from symbptt.comparison.pickling import received, sent
from symbptt.comparison.row import Row
from symbptt.data.random_data import random_inputs, random_state
from symbptt.errors import SymbpttError, TargetError, one_line, three_lines
from symbptt.extras import need
from symbptt.stability.runs.gain import with_gain
from symbptt.version import VERSION

CONNECT = 10
"""Seconds in which a scheduler must answer."""
INPUTS, STATE = 1, 2
"""Beside the seed of a row, what is drawn: parameters have the seed alone."""


def rows_of(tasks: Sequence[Task], jobs: int, scheduler: str | None) -> Iterator[Row]:
    """Yield the row of each task as soon as it is there, in no certain order.

    Raises: SymbpttError where a package or the scheduler is not there, a cell cannot be sent, or a worker dies.
    """
    joblib = need("joblib", "sweep")
    if jobs == 1 and scheduler is None:
        # BLAS splits sums by threads, which changes their rounding: one thread gives the same bits everywhere.
        with need("threadpoolctl", "sweep").threadpool_limits(1):
            yield from map(row_of, tasks)
        return
    with _backend(joblib, scheduler):
        parallel = joblib.Parallel(
            n_jobs=jobs if scheduler is None else -1, return_as="generator_unordered", batch_size=1
        )
        found = parallel(joblib.delayed(row_of)(task) for task in _sendable(tasks))
        try:
            yield from found
        except BrokenExecutor as error:
            raise SymbpttError(
                three_lines(
                    "a worker process died, perhaps for lack of memory",
                    cure="give fewer jobs; with an output, the same call goes on from the rows that are there",
                )
            ) from error
        finally:
            found.close()


@contextlib.contextmanager
def _backend(joblib: Any, scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        with joblib.parallel_config(backend="loky"):
            yield
        return
    distributed = need("distributed", "dask")
    try:
        client = distributed.Client(scheduler, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise TargetError(three_lines(f"no Dask scheduler answers at {scheduler}", one_line(error),
                                      "give the address that `dask scheduler` prints, as tcp://host:8786")) from None  # fmt: skip
    with client, joblib.parallel_config(backend="dask", client=client):
        yield


def row_of(task: Task) -> Row:
    """Return the row of a task: what was measured, or what failed."""
    need("threadpoolctl", "sweep").threadpool_limits(1)  # the same sums in the same order on every machine's cores
    if task.row.version != VERSION:
        raise TargetError(f"a worker has symbptt {VERSION}, this is {task.row.version}\n  install the same on both")
    if task.row.failure:
        return task.row
    try:
        return replace(task.row, **_measured(task))
    except SymbpttError as error:
        return replace(task.row, failure=one_line(error))
    # One bad row must not end a sweep of hours: its error is its result.
    except (ArithmeticError, LookupError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        return replace(task.row, failure=f"{type(error).__name__}: {one_line(error)}")


def _measured(task: Task) -> dict[str, Any]:
    cell, seed = received(task.cell), task.row.seed
    params = cell.init(task.dims, seed=seed)
    params = params if task.row.gain is None else with_gain(cell, params, task.row.gain)
    inputs = task.inputs
    if inputs is None:
        inputs = random_inputs(cell.arguments, task.dims, (task.steps,), [seed, INPUTS])
    # Parameters, inputs and states are drawn from different streams of one seed.
    # zero is a fixed point of most cells without inputs
    state = None if inputs else random_state(cell.arguments, task.dims, (), seed, stream=STATE)
    trained = [a.name for a in cell.arguments if a.role == "param"]
    count = sum(int(np.size(params[name])) for name in trained)
    with np.errstate(all="ignore"):  # what leaves the range is told in words
        return {"parameters": count, **measures(cell, params, inputs, state, task.steps)}


def _sendable(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks with their cells as bytes, each cell made so once."""
    cells = {id(task.cell): task.cell for task in tasks}
    content = {number: sent(cell) for number, cell in cells.items()}
    return [replace(task, cell=content[id(task.cell)]) for task in tasks]
