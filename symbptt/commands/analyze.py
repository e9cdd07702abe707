"""The command `analyze`: the stability of one target in full, or of several as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from symbptt.commands.load_target import load, load_target
from symbptt.commands.terminal import FAILED, Force, console, say, stage
from symbptt.errors import ArgumentError
from symbptt.files import check_own


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, show_default=False, help=text, **more)


Targets = Annotated[
    list[str],
    typer.Argument(show_default=False, metavar="TARGET...", help="Cells, as for build; several are compared."),
]
Data = Annotated[Path | None, _option(text="CSV whose columns are the inputs; random ones without.")]
Hidden = Annotated[int | None, _option(text="Each size that the data do not say: 32, or as fits.", min=1)]
Seed = Annotated[int, typer.Option(min=0, help="One cell: of all that is drawn.")]
Horizon = Annotated[float | None, _option(text="One cell: an initialisation for so many steps.", min=1)]
Sizes = Annotated[str | None, _option(text="Of each dimension that the data do not say, with commas: 32.")]
Gains = Annotated[str | None, _option(text="Factors on the recurrent weights, with commas: 1.")]
Seeds = Annotated[int | None, _option(text="How many draws of the parameters: 3.", min=1)]
Steps = Annotated[int | None, _option(text="Of runs without data: 200 for one cell, else 1000.", min=1)]
Output = Annotated[
    Path | None, _option("-o", "--output", text="One cell: folder to write into; several: .csv or .parquet.")
]
Figure = Annotated[Path | None, _option(text="File of the figure: .svg, .png, .pdf.")]
Jobs = Annotated[int, typer.Option(help="Processes at work at once; -1 for one on each core.")]
Scheduler = Annotated[str | None, _option(text="Of a Dask cluster that does the work.", metavar="ADDRESS")]


def analyze(
    targets: Targets, data: Data = None, hidden: Hidden = None, seed: Seed = 0, horizon: Horizon = None,
    sizes: Sizes = None, gains: Gains = None, seeds: Seeds = None, steps: Steps = None, output: Output = None,
    figure: Figure = None, jobs: Jobs = 1, scheduler: Scheduler = None, force: Force = False,
) -> int:  # fmt: skip
    """Report the stability of a cell or a model; compare it for several cells, or over sizes, gains and seeds.

    One target: verdict, reasons, advice; with -o written as stability.txt, .json and .svg. Several, or with --sizes, --gains
    or --seeds: a table; exit code 1 where a row failed. Rows that its file has already are not measured again.
    """
    several = len(targets) > 1 or any(option is not None for option in (sizes, gains, seeds, scheduler)) or jobs != 1
    # An output with an ending is a file of rows, hence a comparison, even of one target.
    if not several and (output is None or not output.suffix):
        return _report(targets[0], data, hidden, seed, horizon, steps, output, figure, force)
    _check_unused({"--horizon": horizon is not None}, "a comparison; give one cell")
    _check_unused({"--seed": seed != 0}, "a comparison; --seeds says how many draws it makes")
    found_sizes = _numbers("--sizes", str(hidden or 32) if sizes is None else sizes, int)
    found_gains = _numbers("--gains", "1" if gains is None else gains, float)
    grid = load("comparison.grid").Grid(found_sizes, found_gains, seeds or 3, steps)
    check_own([figure] if figure else [], force)
    return _compare(targets, data, grid, output, figure, jobs, scheduler)


def _report(
    name: str, data: Path | None, hidden: int | None, seed: int, horizon: float | None, steps: int | None, output: Path | None,
    figure: Path | None, force: bool,
) -> int:  # fmt: skip
    """Print the stability report of one target, and write it where that is asked for."""
    target, written = load_target(name, models=True), load("commands.stability_files")
    written.check_files(output, figure, force)
    with stage() as tell:
        table = load("data.csv_table").read_table(data) if data is not None else None
        found = written.analysed(target, table, hidden, steps, horizon, seed, tell)
        for path in written.write_report(found, output, figure):
            say(f"wrote {path}")
    print(found.text(), end="")
    return 0


def _compare(
    targets: list[str], data: Path | None, grid: Any, output: Path | None, figure: Path | None, jobs: int, scheduler: str | None
) -> int:  # fmt: skip
    """Print the comparison of several cells, and write it where that is asked for."""
    cells = {label: load_target(target) for label, target in _labels(targets).items()}
    compare = load("comparison.comparison").compare_designs
    try:
        found = compare(cells, data, grid, output=output, jobs=jobs, scheduler=scheduler)
    except KeyboardInterrupt as interrupt:
        say(str(interrupt))
        raise
    wide, table = console(), load("comparison.table")
    wide.width = max(wide.width, table.WIDTH)  # on a narrower terminal its lines are broken, not its numbers
    wide.print(table.comparison_table(found.rows))
    if figure is not None:
        load("drawing.figures").save(found.plot(), figure)
    return FAILED if found.failed else 0


def _check_unused(given: dict[str, bool], where: str) -> None:
    """Refuse options that would be ignored. Raises: ArgumentError."""
    for option, there in given.items():
        if there:
            raise ArgumentError(f"{option} is not an option for {where}")


def _numbers(option: str, text: str, kind: type) -> list[Any]:
    """Return the numbers of an option that takes several."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option}: numbers with commas between them, got {text!r}") from None


def _labels(targets: list[str]) -> dict[str, str]:
    """Return targets by what they are called: their names, or in full where two have the same.

    Raises: ArgumentError for a target that is given twice.
    """
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice:
        raise ArgumentError(f"{twice} is given twice; each target is compared once")
    names = [target.rpartition(":")[2] for target in targets]
    return {name if names.count(name) == 1 else target: target for name, target in zip(names, targets, strict=True)}
