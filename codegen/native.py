"""The entrance of the native targets: a cell as a module for torch or JAX, and as a net or a function inside of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbptt.autodiff.bptt import derive
from symbptt.codegen.passes import NATIVE
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.targets.functional.module import source
from symbptt.codegen.targets.functional.tables import TABLES
from symbptt.equations.derived import equations_of
from symbptt.errors import ArgumentError
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.version import VERSION


def torch_source(cell: Cell, *, consts: Mapping[str, Any] | None = None) -> str:
    """Return a module that runs a cell and its derived gradient in torch, and imports torch alone.

    Example::

        pathlib.Path("gru_torch.py").write_text(sb.torch_source(gru))

    Raises: ArgumentError where `cell` is none; CellError for what torch, or the target, does not have.
    """
    return _source("torch", cell, consts)


def jax_source(cell: Cell, *, consts: Mapping[str, Any] | None = None) -> str:
    """Return a module that runs a cell and its derived gradient in JAX, and imports jax alone.

    Raises: ArgumentError where `cell` is none; CellError for what JAX, or the target, does not have.
    """
    return _source("jax", cell, consts)


def _source(framework: str, cell: Cell, consts: Mapping[str, Any] | None) -> str:
    check_cell(f"{framework}_source", cell)
    cell = cell if consts is None else cell.with_consts(consts)
    return source(program(cell), TABLES[framework], VERSION, equations_of(cell).as_spelt())


def program(cell: Cell) -> Program:
    """Return the program of a cell behind the passes of native targets."""
    found = program_of(derive(cell.step))
    for step in NATIVE:
        found = step(found)
    return found


def check_cell(function: str, cell: Any) -> None:
    """Raises: ArgumentError where what should be a cell is none."""
    if isinstance(cell, Model):
        raise ArgumentError(
            f"{cell.name} is a model, {function} takes cells\n"
            f"  write the cell {cell.cell.name}, and the loss in the framework around it"
        )
    if not isinstance(cell, Cell):
        raise ArgumentError(
            f"{function} takes a cell, got {type(cell).__name__}\n  decorate the function with @sb.cell"
        )
