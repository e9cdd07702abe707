"""The measurements and the output of `symbptt bench`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from symbptt.bench.case import case_of
from symbptt.bench.compare import peers_of
from symbptt.bench.measure import Row, measure
from symbptt.bench.rows import csv_text, ratio_figure
from symbptt.bench.sizes import sizes_of
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.drawing.figures import need_matplotlib, save
from symbptt.errors import ArgumentError, TargetError
from symbptt.files import check_own, write_text
from symbptt.language.cell import Cell

ENDINGS = (".csv", ".pdf", ".png", ".svg")


def check_files(files: Sequence[Path], force: bool = False) -> tuple[Path, ...]:
    """Return the files to write, refused before anything is measured.

    Raises: ArgumentError for another ending; TargetError for a folder that is not there, and for a file of another origin unless
    `force` replaces it; SymbpttError where a drawing is asked for without matplotlib.
    """
    for path in files:
        if path.suffix.lower() not in ENDINGS:
            raise ArgumentError(f"no results can be written as {path.name!r}\n  endings: {', '.join(ENDINGS)}")
        if path.is_dir() or not path.parent.is_dir():
            raise TargetError(f"cannot write {path}\n  its folder must be there, and it must be no folder itself")
        # Fails now rather than after the measurement.
        if path.suffix.lower() != ".csv":
            need_matplotlib()
    check_own(files, force)
    return tuple(files)


def rows_of(
    cell: Cell, sizes: str, dtype: str, seconds: float, wall: bool, tell: Callable[[str], None] = lambda stage: None
) -> list[Row]:
    """Return a row for each of the sizes.

    Raises: ArgumentError for sizes that the cell does not have.
    """
    listed = sizes_of(sizes, cell)
    tell("generating the module")
    kernel = compile_cell(cell)
    found = []
    for number, each in enumerate(listed, 1):
        tell(f"{each.text} ({number} of {len(listed)})")
        case = case_of(cell, each.T, each.B, each.dims, dtype)
        found.append(measure(kernel, case, each.text, peers=peers_of, seconds=seconds, wall=wall))
    return found


def write(rows: Sequence[Row], files: Sequence[Path]) -> None:
    """Write the rows into each file, as its ending asks.

    Raises: TargetError where that fails.
    """
    for path in files:
        if path.suffix.lower() == ".csv":
            write_text(path, csv_text(rows))
        else:
            save(ratio_figure(rows, f"{rows[0].cell}, {rows[0].dtype}"), path)
