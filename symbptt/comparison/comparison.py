"""`sb.compare_designs`: several cells over sizes, gains and draws of their parameters, as one table and one figure."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from symbptt.comparison.designs import Data, Task, design_of, labelled, source_of, tasks_of, unused_inputs
from symbptt.comparison.figure import comparison_figure
from symbptt.comparison.grid import Grid
from symbptt.comparison.row import Row, order
from symbptt.comparison.storage import check_same, merge_rows, read_rows
from symbptt.comparison.table import WIDTH, comparison_table
from symbptt.comparison.workers import rows_of
from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell

PAUSE = 1.0
"""Seconds between two writes of the file of results, at the least."""


@dataclass(frozen=True)
class Comparison:
    """The rows of a comparison, sorted by cell, size, gain and seed; what each holds says `symbptt.comparison.row.Row`."""

    rows: tuple[Row, ...]

    @property
    def failed(self) -> tuple[Row, ...]:
        """The rows that could not be measured."""
        return tuple(row for row in self.rows if row.failure)

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return the table: a line for each cell, size and gain, over all seeds."""
        file = io.StringIO()
        Console(file=file, width=WIDTH).print(comparison_table(self.rows))
        return file.getvalue().rstrip()

    def plot(self) -> Any:
        """Return the figure: λ₁ against the gain, or against the size or the cell where there is one gain.

        Raises: SymbpttError without matplotlib; ArgumentError where no row was measured.
        """
        return comparison_figure(self.rows)


def compare_designs(
    cells: Cell | Iterable[Cell] | Mapping[str, Cell], data: Data = None, grid: Grid | None = None, *,
    output: str | Path | None = None, jobs: int = 1, scheduler: str | None = None,
) -> Comparison:  # fmt: skip
    """Return what `sb.analyze` finds of several cells, each with every size, gain and seed of the grid.

    Inputs come from `data`: a CSV file, whose columns are bound to each cell as `symbptt build` does, or arrays by name;
    without data they are standard normal numbers drawn by the seed. A cell without inputs starts from random states.
    With `output`, a .csv or .parquet file, finished rows are written as they come, and a call that finds rows there measures
    only the others. `jobs` processes work at once, -1 for one on each core; or the workers of the Dask cluster whose
    `scheduler` is given. The rows, to the last bit, depend on neither. Needs the extra `sweep`; `dask`; `parquet`.

    Shapes: arrays (T, ...) or (T, B, ...).

    Raises: ArgumentError for cells, data or jobs that are none; TargetError for a file that cannot be used, or holds rows of
    other data or other cells; SymbpttError where an extra is not installed or a worker dies. What goes wrong in one row
    stands in its `failure`.
    """
    found, grid = labelled(cells), Grid() if grid is None else grid
    if not isinstance(grid, Grid):
        raise ArgumentError(three_lines(f"grid: a sb.Grid is expected, got {type(grid).__name__}", "in a comparison",
                                        "write sb.Grid(sizes=(16, 32), seeds=3)"))  # fmt: skip
    _check_jobs(jobs, scheduler)
    source = source_of(data, grid.steps)
    # A misspelt name of an input would otherwise be ignored in silence.
    spare = unused_inputs(source, list(found.values()))
    if spare:
        raise ArgumentError(
            three_lines(f"no cell has an input {spare[0]!r}", "in a comparison", "leave it out of the data")
        )
    designs = [design_of(label, cell, source) for label, cell in found.items()]
    tasks = {task.row.key: task for design in designs for task in tasks_of(design, grid, source)}
    known = {} if output is None else _known(Path(output), tasks)
    # A key is a digest of all that determines a row, so that a row that is known need not be measured again.
    new = _measured([task for key, task in tasks.items() if key not in known], len(known), output, jobs, scheduler)
    # Workers finish in any order; sorted rows make the result the same for any number of jobs.
    return Comparison(tuple(sorted([*known.values(), *new], key=order)))


def _check_jobs(jobs: Any, scheduler: Any) -> None:
    if isinstance(jobs, bool) or not isinstance(jobs, int | np.integer) or not (jobs >= 1 or jobs == -1):
        raise ArgumentError(
            three_lines(f"jobs: a number of processes, or -1 for all cores, got {jobs!r}", "in a comparison")
        )
    if scheduler is not None and not (isinstance(scheduler, str) and scheduler):
        raise ArgumentError(three_lines(f"scheduler: an address is expected, got {scheduler!r}", "in a comparison",
                                        "write tcp://host:8786"))  # fmt: skip
    if scheduler is not None and jobs != 1:
        raise ArgumentError(
            three_lines(f"jobs={jobs} beside a scheduler", "in a comparison", "leave jobs away: the cluster has them")
        )


def _known(path: Path, tasks: Mapping[str, Task]) -> dict[str, Row]:
    """Return the rows that a file has of these tasks; the file is made where there is none, so that it is known to
    be writable."""
    stubs = [task.row for task in tasks.values()]
    check_same(path, read_rows(path), stubs)
    return {row.key: row for row in merge_rows(path, ()) if row.key in tasks}


def _measured(
    tasks: Sequence[Task], known: int, output: str | Path | None, jobs: int, scheduler: str | None
) -> list[Row]:
    """Return the rows of tasks, in the file too as far as there is one, whatever interrupts."""
    rows: list[Row] = []
    if not tasks:
        return rows
    written, due = 0, time.monotonic() + PAUSE
    try:
        for row in _shown(rows_of(tasks, jobs, scheduler), known, len(tasks)):
            rows.append(row)
            start = time.monotonic()
            if output is not None and start > due:
                merge_rows(output, rows[written:])
                written, now = len(rows), time.monotonic()
                due = now + max(PAUSE, 20 * (now - start))  # writing a large file takes 5 % of the time at the most
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_left(known + len(rows), known + len(tasks), output)) from None
    # Whatever stops the loop, an interrupt or an error: finished rows are on disk.
    finally:
        if output is not None:
            merge_rows(output, rows[written:])
    return rows


def _left(done: int, count: int, output: str | Path | None) -> str:
    """Return the part of a comparison that was finished before an interrupt."""
    if output is None:
        return (
            f"{done} of {count} rows were measured and are lost; with an output file the next run would go on from them"
        )
    return f"{done} of {count} rows are in {output}; the same command goes on from them"


def _shown(rows: Iterator[Row], known: int, count: int) -> Iterator[Row]:
    """Yield the same rows, with a bar on the terminal."""
    columns = (
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=known + count, completed=known)
        for row in rows:
            progress.update(bar, advance=1, description=row.cell)
            yield row
