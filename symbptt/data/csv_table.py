"""A time series read from a CSV file, and the inputs of a cell that its columns are."""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, TargetError
from symbptt.ir.shape import Size, named_size, names_in, prod, show
from symbptt.ir.step import Argument
from symbptt.language.cell import Cell

STEPS_WITHOUT_DATA = 100
INDEX_NAMES = ("year", "time", "t", "date", "index")


@dataclass(frozen=True)
class Table:
    """Columns of numbers by name, and the column that only counts the rows, where there is one."""

    path: Path
    columns: dict[str, np.ndarray]
    index_name: str = ""
    index: tuple[Any, ...] = ()

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Bound:
    """Inputs (T, ...) by name, the sizes that follow from them, and in words which columns went where."""

    inputs: dict[str, np.ndarray]
    dims: dict[str, int]
    words: tuple[str, ...]


def read_table(path: str | Path) -> Table:
    """Return the columns of a CSV file, whose first line holds their names.

    A first column called year, time, t, date or index that increases strictly counts the rows; it is no input.

    Raises: TargetError where there is no such file, or with the line where a cell is no finite number.
    """
    path = Path(path)
    lines = _lines(path)
    header = [name.strip() for name in lines[0][1]]
    _check_header(path, header)
    body = lines[1:]
    for number, cells in body:
        if len(cells) != len(header):
            raise _wrong(path, number, f"{len(cells)} cells, the header has {len(header)}")
    index = _index([cells[0].strip() for _, cells in body]) if header[0].casefold() in INDEX_NAMES else None
    first = 0 if index is None else 1
    columns = {
        name: _numbers(path, name, [(number, cells[i]) for number, cells in body])
        for i, name in list(enumerate(header))[first:]
    }
    if not columns:
        raise TargetError(f"{path} has the index {header[0]!r} alone\n  a column for the input is needed")
    return Table(path, columns, header[0] if first else "", tuple(index or ()))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a file that are not blank, numbered, as cells."""
    try:
        # Spreadsheets write a mark of byte order in front, which would be a part of the first name.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TargetError(f"{path} is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror or error}") from None
    # Of commas, semicolons and tabs the one that the header has most of; those inside of quotes do not count.
    top = re.sub('"[^"]*"', "", text.partition("\n")[0])
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=top.count))
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise _wrong(path, reader.line_num, str(error)) from None
    if len(lines) < 2:
        raise TargetError(f"{path} has no rows\n  the first line holds the names of the columns, the next ones numbers")
    return lines


def _check_header(path: Path, header: list[str]) -> None:
    # A file without a header would lose its first row as names.
    if all(_number(name) is not None for name in header):
        raise _wrong(path, 1, "numbers where the names of the columns are due")
    for i, name in enumerate(header):
        if not name or name in header[:i]:
            raise _wrong(path, 1, f"column {i + 1} has no name" if not name else f"two columns are called {name!r}")


def _wrong(path: Path, line: int, what: str) -> TargetError:
    return TargetError(f"{path}, line {line}: {what}")


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _numbers(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> np.ndarray:
    values = np.empty(len(cells))
    for i, (line, cell) in enumerate(cells):
        value = _number(cell)
        if not cell.strip():
            raise _wrong(path, line, f"the cell of {name!r} is empty")
        # "nan" and "inf" are floats to Python, and would spread through a whole run.
        if value is None or not np.isfinite(value):
            raise _wrong(path, line, f"{cell.strip()!r} in {name!r} is no finite number"[:200])
        values[i] = value
    return values


def _index(cells: list[str]) -> list[Any] | None:
    """The cells as integers, numbers or dates, where they increase strictly."""
    kinds: tuple[Callable[[str], Any], ...] = (int, float, datetime.datetime.fromisoformat)
    for kind in kinds:
        try:
            values = [kind(cell) for cell in cells]
            return values if all(a < b for a, b in pairwise(values)) else None
        except (ValueError, TypeError):
            continue
    return None


def bind(cell: Cell, table: Table) -> Bound:
    """Return the inputs of a cell from the columns of a table, standardised, and the sizes that follow.

    One input takes all columns. Of several, each takes the column of its name and those that begin with its name and an
    underscore; one that has none takes the rest.

    Raises: ArgumentError where columns and inputs do not go together.
    """
    arguments = [a for a in cell.arguments if a.role in ("input", "index")]
    if not arguments:
        raise ArgumentError(f"{cell.name} has no input that data could fill\n  leave the data away")
    inputs, words, dims = {}, [], dict[str, int]()
    for a, names in zip(arguments, _shares(cell, arguments, list(table.columns)), strict=True):
        inputs[a.name] = _filled(cell, a, [table.columns[name] for name in names], names, dims)
        words.append(f"{a.name} = {', '.join(names)}" + (" (integers)" if a.role == "index" else ""))
    return Bound(inputs, dims, tuple(words))


def _shares(cell: Cell, arguments: list[Argument], columns: list[str]) -> list[list[str]]:
    if len(arguments) == 1:
        return [columns]
    shares = [[c for c in columns if c == a.name or c.startswith(f"{a.name}_")] for a in arguments]
    # Columns that no input claims go to the one that has none; with two such, nobody could tell.
    rest = [c for c in columns if not any(c in share for share in shares)]
    empty = [i for i, share in enumerate(shares) if not share]
    names = ", ".join(a.name for a in arguments)
    if len(empty) > 1 or (rest and not empty) or (empty and not rest):
        raise ArgumentError(
            f"{cell.name} has the inputs {names}; it is not clear which columns they are\n"
            f"  name the columns after the inputs: {names}; of several columns {arguments[0].name}_1, {arguments[0].name}_2, ..."
        )
    if empty:
        shares[empty[0]] = rest
    return shares


def _filled(cell: Cell, a: Argument, columns: list[np.ndarray], names: list[str], dims: dict[str, int]) -> np.ndarray:
    if a.role == "index":
        return _indices(cell, a, columns, names, dims)
    if not a.shape and len(columns) != 1:
        raise ArgumentError(f"the input {a.name} of {cell.name} is a scalar, the data have {len(columns)} columns")
    if a.shape:
        bind_size(cell, a, prod(a.shape), len(columns), dims)
    values = np.stack([standardised(column) for column in columns], axis=1)
    sizes = [_value(size, dims) for size in a.shape]
    return values.reshape(len(values), *sizes)


def _value(size: Size, dims: dict[str, int]) -> int:
    return size if isinstance(size, int) else int(size.subs({named_size(name): value for name, value in dims.items()}))


def bind_size(cell: Cell, a: Argument, size: Size, count: int, dims: dict[str, int]) -> None:
    """Add to `dims` the size that makes `size` the number of columns.

    Raises: ArgumentError where none does, or several could.
    """
    free = [name for name in names_in((size,)) if name not in dims]
    if len(free) > 1:
        raise ArgumentError(
            f"the input {a.name} of {cell.name} has shape {show(a.shape)}: {count} columns do not say "
            f"what {' and '.join(free)} are"
        )
    # A size may stand in a product or a sum (2 n + 1): small numbers are tried, for a dimension is one.
    fits = [n for n in range(1, count + 1) if _value(size, dims | {free[0]: n}) == count] if free else []
    if not fits and (free or _value(size, dims) != count):
        raise ArgumentError(
            f"the input {a.name} of {cell.name} has shape {show(a.shape)}, the data have {count} columns for it"
        )
    dims |= {free[0]: fits[0]} if free else {}


def _indices(cell: Cell, a: Argument, columns: list[np.ndarray], names: list[str], dims: dict[str, int]) -> np.ndarray:
    if not a.shape and len(columns) != 1:
        raise ArgumentError(f"the index {a.name} of {cell.name} takes one column, the data have {', '.join(names)}")
    if a.shape:
        bind_size(cell, a, prod(a.shape), len(columns), dims)
    for name, column in zip(names, columns, strict=True):
        if np.any(column != np.floor(column)) or np.any(column < 0):
            raise ArgumentError(f"the index {a.name} of {cell.name} takes integers from 0, {name!r} has others")
    values = np.stack(columns, axis=1)
    # A table needs a row for each integer that occurs.
    top = int(values.max()) + 1
    for name in names_in((a.limit,)):
        dims.setdefault(name, top)
    if _value(a.limit, dims) < top:
        raise ArgumentError(
            f"the index {a.name} of {cell.name} goes to {_value(a.limit, dims) - 1}, {' and '.join(map(repr, names))} to {top - 1}"
        )
    return values.astype(np.int64).reshape(len(values), *(_value(size, dims) for size in a.shape))


def standardised(column: np.ndarray) -> np.ndarray:
    """Return a column with mean 0 and standard deviation 1; a constant one becomes zero."""
    centred = column - column.mean()
    spread = centred.std()
    # Rounding leaves some spread of a constant column; divided by that it would be noise.
    return centred / spread if spread > 1e-12 * max(1.0, float(np.abs(column).max())) else np.zeros_like(centred)


def hidden_sizes(cell: Cell, known: dict[str, int], hidden: int) -> dict[str, int]:
    """Return all sizes of a cell: those known, and `hidden` for each other name."""
    shapes = [a.shape for a in cell.arguments] + [(a.limit,) for a in cell.arguments if a.limit is not None]
    return {name: known.get(name, hidden) for shape in shapes for name in names_in(shape)}
