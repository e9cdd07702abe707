"""A stability report for the command line: of a target on a table of data, written into files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from symbptt.data.csv_table import Table, bind
from symbptt.drawing.figures import save
from symbptt.errors import ArgumentError, TargetError, three_lines
from symbptt.files import check_own, write_text
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.stability.report.analysis import StabilityReport, report_of
from symbptt.stability.runs.default_sizes import sizes_for
from symbptt.stability.runs.setting import setting

FILES = ("stability.txt", "stability.json", "stability.svg")


def analysed(
    target: Cell | Model, table: Table | None, hidden: int | None, steps: int | None, horizon: float | None, seed: int,
    tell: Callable[[str], None],
) -> StabilityReport:  # fmt: skip
    """Return the report of a target with the parameters of `init`, on the columns of a table or on random inputs.

    Raises: ArgumentError where data and cell do not go together.
    """
    cell = target if isinstance(target, Cell) else target.cell
    if table is not None and steps is not None:
        raise ArgumentError(
            three_lines(f"steps={steps} beside data", f"in the analysis of {cell.name}", "give one of them")
        )
    bound = bind(cell, table) if table is not None else None
    dims = bound.dims if bound else {}
    # Sizes that the data say go before `hidden`.
    sizes = dims if hidden is None else dict.fromkeys(sizes_for(target, {}), hidden) | dims
    found = setting(target, None, bound.inputs if bound else None, None, None, steps, seed, sizes)
    return report_of(found, horizon, seed, tell)


def check_files(folder: Path | None, figure: Path | None, force: bool) -> None:
    """Raises: TargetError where a report would replace a file of another origin, unless `force` is given."""
    names = [folder / name for name in FILES] if folder is not None else []
    check_own([*names, *([figure] if figure is not None else [])], force)


def write_report(report: StabilityReport, folder: Path | None, figure: Path | None) -> list[Path]:
    """Write the text, the numbers and the figure into a folder, and the figure into a file; return what was written.

    Raises: TargetError where that fails.
    """
    written = []
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetError(f"cannot write into {folder}: {error.strerror or error}") from None
        text, numbers, drawing = (folder / name for name in FILES)
        write_text(text, text_of(report))
        write_text(numbers, json_of(report))
        save(report.plot(), drawing)
        written += [text, numbers, drawing]
    if figure is not None:
        save(report.plot(), figure)
        written.append(figure)
    return written


def text_of(report: StabilityReport) -> str:
    """Return the text of a report under a line that says who wrote it."""
    return f"symbptt: stability of {report.name}\n\n{report.text()}"


def json_of(report: StabilityReport) -> str:
    """Return the numbers of a report as JSON."""
    return json.dumps({"written_by": "symbptt", **report.numbers()}, ensure_ascii=False, indent=1) + "\n"
