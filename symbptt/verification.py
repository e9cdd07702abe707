"""`sb.verify` and `sb.check_backward`: gradients against the user's own function."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from symbptt.arguments import check_function, check_seed
from symbptt.cell import Cell
from symbptt.codegen.loading import Kernel
from symbptt.codegen.loading import compile as compile_cell
from symbptt.errors import ArgumentError
from symbptt.model import Model
from symbptt.verify import oracle
from symbptt.verify.check import Gradients, Report, Row, gradient_rows, value_rows
from symbptt.verify.difference import has_complex_version
from symbptt.verify.oracle import Arrays, Point
from symbptt.verify.regimes import LONG, REGIMES, Regime, Size, sizes_of
from symbptt.verify.regimes import point as draw


class Verification(Report):
    """What a verification found, as a table under `str`."""

    def __str__(self) -> str:
        return _table(self)


def verify(target: Cell | Model | Kernel, *, seed: int = 0) -> Verification:
    """Return the comparison of the generated module with the user's function, in seven regimes, on several sizes.

    Values are compared with the function itself, gradients with its complex step (central differences where a function
    has no complex version); errors are relative to each block: each parameter, each input at each step, each initial
    state.

    One regime is a padded batch with resets, compared with samples that run on their own. Of a model, its loss and the gradients of that.

    Raises: ArgumentError where the target is none of the three, or a kernel that truncates or clips.
    """
    check_seed(seed)
    if not isinstance(target, Cell | Model | Kernel):
        raise ArgumentError(
            f"verify takes a cell, a model or a kernel, got {type(target).__name__}\n  decorate the function with @sb.cell"
        )
    kernel = target if isinstance(target, Kernel) else compile_cell(target)
    if kernel.truncation is not None or kernel.clip_adjoint is not None:
        raise ArgumentError(
            "the gradients of a truncated or clipped kernel are not those of the function\n"
            "  verify the cell or the model itself"
        )
    return Verification(kernel.target.name, tuple(rows(kernel, seed)))


def rows(kernel: Kernel, seed: int) -> Iterator[Row]:
    """Yield the comparisons of a kernel with its target, one after the other."""
    target = kernel.target
    is_complex = has_complex_version(target, seed)
    if isinstance(target, Model):
        for number, regime in enumerate(REGIMES):
            for size in sizes_of(regime):
                if size != LONG and not size.last:
                    yield from _model_rows(kernel, target, regime, size, seed + number, is_complex)
        return
    for regime, size, point, cotangents in _cases(target, seed):
        yield from value_rows(lambda near: _values(kernel, near), regime, size, point)
        yield from gradient_rows(target, regime, size, point, cotangents, _of_kernel(kernel), is_complex)


def _model_rows(kernel: Kernel, model: Model, regime: Regime, size: Size, seed: int, is_complex: bool) -> list[Row]:
    point = draw(model, regime, size, seed)

    def gradients(point: Point, cotangents: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        _, found = _loss_and_gradients(kernel, point)
        return found.params, found.inputs, found.state

    def values(point: Point) -> dict[str, tuple[Any, Any]]:
        given, _ = _loss_and_gradients(kernel, point)
        return {"loss": (np.asarray(oracle.loss_of(model)(point)), np.asarray(given))}

    return [
        *value_rows(values, regime, size, point),
        *gradient_rows(model, regime, size, point, {}, gradients, is_complex),
    ]


def _loss_and_gradients(kernel: Kernel, point: Point) -> Any:
    groups = (point.params, point.inputs, point.targets, point.state)
    return kernel.value_and_grad(*groups, steps=point.steps, **point.masks)


def check_backward(cell: Cell, backward: Callable[..., Any], *, seed: int = 0) -> Verification:
    """Return the comparison of a backward pass of yours with the derivative of the cell.

    `backward(params, inputs, state, cotangents)` returns one flat dict of gradients by name, of parameters, inputs and
    initial states. Shapes: inputs (T, B, ...), state (B, ...), cotangents of states and outputs (T, B, ...).

    Raises: ArgumentError where the target is no cell, or where what `backward` returns is no dict with every name.
    """
    if not isinstance(cell, Cell):
        raise ArgumentError(f"check_backward takes a cell, got {type(cell).__name__}")
    check_function("check_backward", backward, "def backward(params, inputs, state, cotangents):", 4)
    check_seed(seed)
    is_complex = has_complex_version(cell, seed)
    rows = [
        row
        for regime, size, point, cotangents in _cases(cell, seed)
        if not regime.padded
        for row in gradient_rows(cell, regime, size, point, cotangents, _of_function(cell, backward), is_complex)
    ]
    return Verification(cell.name, tuple(rows))


def _cases(cell: Cell, seed: int) -> Iterable[tuple[Regime, Size, Point, Arrays]]:
    for number, regime in enumerate(REGIMES):
        for size in sizes_of(regime):
            point = draw(cell, regime, size, seed + number)
            yield regime, size, point, oracle.cotangents(cell, point, seed + 1000, size.last)


def _of_kernel(kernel: Kernel) -> Gradients:
    def gradients(point: Point, cotangents: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        run = _forward(kernel, point)
        found = kernel.backward(run, cotangents)
        return found.params, found.inputs, found.state

    return gradients


def _forward(kernel: Kernel, point: Point) -> Any:
    return kernel.forward(point.params, point.inputs, point.state, steps=point.steps, **point.masks)


def _of_function(cell: Cell, backward: Callable[..., Any]) -> Gradients:
    def gradients(point: Point, cotangents: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        found = backward(point.params, point.inputs, point.state, cotangents)
        wanted = [a.name for a in cell.arguments if a.role in ("param", "input", "state")]
        if not isinstance(found, Mapping):
            raise ArgumentError(
                f"the backward pass returned {type(found).__name__}\n  return one dict with {', '.join(wanted)}"
            )
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ArgumentError(
                f"the backward pass returned no gradient of {', '.join(missing)}\n"
                f"  return one dict with {', '.join(wanted)}"
            )
        flat = dict(found)
        return flat, flat, flat

    return gradients


def _values(kernel: Kernel, point: Point) -> dict[str, tuple[Any, Any]]:
    """Each state and output by the user's function, and by the kernel."""
    states, outputs = oracle.run(kernel.cell, point)
    run = _forward(kernel, point)
    return {name: (reference, (run.states | run.outputs)[name]) for name, reference in (states | outputs).items()}


def _table(report: Report) -> str:
    table = Table(title=f"{report.name}: {'passed' if report.passed else 'FAILED'}", title_justify="left")
    regimes = dict.fromkeys(row.regime for row in report.rows)
    for column in ("block", *regimes, "tolerance"):
        table.add_column(column, justify="left" if column == "block" else "right")
    for block in dict.fromkeys(row.block.split("[")[0] for row in report.rows if row.block != "all"):
        rows = [row for row in report.rows if row.block.split("[")[0] == block]
        table.add_row(
            block,
            *(_cell_text([r for r in rows if r.regime == regime]) for regime in regimes),
            f"{max(row.tolerance for row in rows):.0e}",
        )
    out = io.StringIO()
    Console(file=out, width=120, no_color=True).print(table)
    worst = report.worst
    lines = ["\n".join(line.rstrip() for line in out.getvalue().rstrip().split("\n"))]
    lines += (
        [
            f"Largest relative error of {len(report.rows)} comparisons; worst: {worst.block} at {worst.error:.1e} "
            f"({worst.regime}, {worst.size}, {worst.method})"
        ]
        if worst
        else []
    )
    shaped = {row.block: row.shapes for row in reversed(report.rows) if row.shapes}
    lines += [f"{block}: {shapes}" for block, shapes in shaped.items()]
    notes = sorted({f"{row.regime}: {row.note}" for row in report.rows if row.note})
    return "\n".join(
        lines + [f"not compared: {note}" for note in notes] + [f"wrong: {', '.join(report.wrong)}"] * bool(report.wrong)
    )


def _cell_text(rows: list[Row]) -> str:
    made = [row for row in rows if not row.note]
    if not made:
        return "-"
    worst = max(made, key=lambda row: row.error if row.error == row.error else np.inf)
    return f"{worst.error:.0e}" + ("" if all(row.passed for row in made) else " ✗")
