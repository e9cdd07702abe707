"""Cells made ready for a comparison: their inputs from the data, their sizes, their digests, and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from symbptt.comparison.digest import digest_of_arrays
from symbptt.comparison.grid import STEPS, Grid
from symbptt.comparison.row import Row, key_of
from symbptt.data.csv_table import Table, bind, bind_size, hidden_sizes, read_table
from symbptt.errors import ArgumentError, SymbpttError, instead_of_cell, one_line, three_lines
from symbptt.language.cell import Cell
from symbptt.language.digest import digest_of_cell, digest_of_text
from symbptt.stability.runs.gain import recurrent_weights
from symbptt.version import VERSION

Data = str | Path | Table | Mapping[str, Any] | None


@dataclass(frozen=True)
class Source:
    """The source of inputs: the columns of a table, arrays by name, or (None) random numbers for `steps` steps."""

    given: Table | Mapping[str, Any] | None = field(repr=False)
    steps: int
    digest: str


@dataclass(frozen=True)
class Design:
    """A cell under a label of its own; `inputs` is None where they are drawn; `failure` says why it cannot be measured."""

    label: str
    cell: Cell
    digest: str
    inputs: Mapping[str, Any] | None = field(repr=False, default=None)
    dims: Mapping[str, int] = field(default_factory=dict)
    scaled: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True)
class Task:
    """A row to be measured; `cell` is the cell, or its bytes where another process measures."""

    row: Row
    cell: Any = field(repr=False)
    inputs: Mapping[str, Any] | None = field(repr=False)
    dims: dict[str, int]
    steps: int


def source_of(data: Data, steps: int | None) -> Source:
    """Return the data of a comparison.

    Raises: TargetError for a file that cannot be read; ArgumentError for data that are no such thing, steps beside data, or
    arrays that are no numbers or differ in length.
    """
    if data is not None and steps is not None:
        raise ArgumentError(
            three_lines(f"steps={steps} beside data", "in a comparison", "leave steps away: the data have them")
        )
    if data is None:
        length = STEPS if steps is None else steps
        return Source(None, length, digest_of_arrays({}, length))
    if isinstance(data, str | Path | Table):
        table = data if isinstance(data, Table) else read_table(data)
        return Source(table, table.rows, digest_of_arrays(table.columns, table.rows))
    if not isinstance(data, Mapping) or not data:
        raise ArgumentError(three_lines(f"data: a CSV file or a dict of inputs by name, got {type(data).__name__}",
                                        "in a comparison", 'write {"x": x} with x of shape (T, m) or (T, B, m)'))  # fmt: skip
    arrays = {name: np.asarray(data[name]) for name in sorted(data, key=str)}
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if any(array.dtype.kind not in "iuf" for array in arrays.values()) or len(set(lengths.values())) > 1:
        raise ArgumentError(
            three_lines(f"data: arrays of numbers with the same steps, got {_shown(arrays)}", "in a comparison")
        )
    length = next(iter(lengths.values()))
    return Source(arrays, length, digest_of_arrays(arrays, length))


def _shown(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())


def labelled(cells: Cell | Iterable[Cell] | Mapping[str, Cell]) -> dict[str, Cell]:
    """Return cells by label: the keys of a dict, or their names.

    Raises: ArgumentError for what is no cell, for no cells, and for two of one name.
    """
    given = [cells] if isinstance(cells, Cell) else cells
    if not isinstance(given, Iterable):
        raise ArgumentError(
            three_lines(f"cells: a list of cells is expected, got {type(cells).__name__}", "in a comparison")
        )
    pairs = [*given.items()] if isinstance(given, Mapping) else [(getattr(cell, "name", ""), cell) for cell in given]
    for label, cell in pairs:
        if not isinstance(cell, Cell):
            raise ArgumentError(three_lines(f"{label or cell!r} is no cell but a {type(cell).__name__}", "in a comparison",
                                            instead_of_cell(cell)))  # fmt: skip
    names = [str(label) for label, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice or not names:
        raise ArgumentError(three_lines(f"two cells are called {twice!r}" if twice else "no cells are given", "in a comparison",
                                        "give a dict of cells, with a label for each: {'mine': cell}"))  # fmt: skip
    return {str(label): cell for label, cell in pairs}


def design_of(label: str, cell: Cell, source: Source) -> Design:
    """Return a cell with its inputs; an error in either is kept, so that it does not lose the other cells."""
    digest = ""
    try:
        digest = digest_of_cell(cell)
        inputs, dims = _bound(cell, source)
        return Design(label, cell, digest, inputs, dims, recurrent_weights(cell))
    except SymbpttError as error:
        # A cell that cannot be traced has no graph to take a digest of: its error stands for it.
        return Design(label, cell, digest or digest_of_text(str(error)), failure=one_line(error))


def _bound(cell: Cell, source: Source) -> tuple[Mapping[str, Any] | None, dict[str, int]]:
    """Return the inputs of a cell and the sizes that they say."""
    if source.given is None:
        return None, {}
    if isinstance(source.given, Table):
        bound = bind(cell, source.given)
        return bound.inputs, bound.dims
    names = [a.name for a in cell.arguments if a.role in ("input", "index")]
    lacking = [name for name in names if name not in source.given]
    if lacking or not names:
        what = f"the data have no input {lacking[0]!r}" if lacking else "it has no input that data could fill"
        raise ArgumentError(
            three_lines(what, f"in a comparison with {cell.name}", f"the data have {', '.join(source.given)}")
        )
    inputs = {name: source.given[name] for name in names}
    return inputs, _sizes(cell, inputs)


def _sizes(cell: Cell, inputs: Mapping[str, Any]) -> dict[str, int]:
    dims: dict[str, int] = {}
    for a in cell.arguments:
        if a.name not in inputs:
            continue
        array, rank = inputs[a.name], len(a.shape)
        if array.ndim - rank not in (1, 2):
            raise ArgumentError(three_lines(f"the input {a.name!r} has shape {array.shape}", f"in a comparison with {cell.name}",
                                            f"give it {rank} axes after those of steps and samples"))  # fmt: skip
        for size, count in zip(a.shape, array.shape[array.ndim - rank :], strict=True):
            bind_size(cell, a, size, count, dims)
        if a.limit is not None:
            # The data need at least so many values of the index; sizes that another array states go before.
            dims |= {name: int(array.max(initial=0)) + 1 for name in hidden_limit(a.limit) if name not in dims}
    return dims


def hidden_limit(limit: Any) -> tuple[str, ...]:
    """Return the names in the limit of an index."""
    return () if isinstance(limit, int) else tuple(sorted(map(str, limit.free_symbols)))


def tasks_of(design: Design, grid: Grid, source: Source) -> Iterator[Task]:
    """Yield a task for each variant of a design; a design that cannot be measured has one row for each, with its failure."""
    digests = design.digest, source.digest, VERSION
    sized = len(hidden_sizes(design.cell, dict(design.dims), 1)) > len(design.dims)
    for size, gain, seed in grid.points(sized, bool(design.scaled or design.failure)):
        key = key_of(design.label, size, gain, seed, digests)
        row = Row(key, design.label, size, gain, seed, " ".join(design.scaled), failure=design.failure,
                  cell_digest=digests[0], data_digest=digests[1], version=digests[2])  # fmt: skip
        dims = hidden_sizes(design.cell, dict(design.dims), size or 1)
        yield Task(row, design.cell, design.inputs, dims, source.steps)


def unused_inputs(source: Source, cells: Sequence[Cell]) -> list[str]:
    """Return the names among data that no cell reads."""
    if not isinstance(source.given, Mapping):
        return []
    read = {a.name for cell in cells for a in cell.arguments if a.role in ("input", "index")}
    return [name for name in source.given if name not in read]
