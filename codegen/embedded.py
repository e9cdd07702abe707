"""The entrance of embedded C: a cell or a model at one set of sizes, as one C source with its header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sympy as sp

from symbptt.checks import check_mapping, named
from symbptt.codegen.csource import Written, check_for_c
from symbptt.codegen.kernel import equations_text, head_of, passed
from symbptt.codegen.loop_ir.nodes import Function
from symbptt.codegen.lower.cell import lower
from symbptt.codegen.lower.loss import lower_told
from symbptt.codegen.lower.sent import lower_forward, lower_sent, lower_total, with_added
from symbptt.codegen.options import check_absent, check_flag
from symbptt.codegen.passes import PLAIN
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.targets.c99.embedded import Fixed, Subject, fixed
from symbptt.codegen.told_value import told_value
from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.ir.needs import unmet
from symbptt.ir.shape import names_in
from symbptt.ir.sizes import axes_of, misfit, solved
from symbptt.language.cell import Cell, nearest
from symbptt.language.model import Model
from symbptt.ops import shift
from symbptt.version import VERSION

REALS = {"float32": 4, "float64": 8}
"""The types of numbers, each with its bytes."""


@dataclass(frozen=True, repr=False)
class EmbeddedSource(Written):
    """A cell or a model at one set of sizes as C99, without allocation: all arrays but the parameters lie in one static arena."""

    parts: Fixed

    @property
    def arena(self) -> dict[str, int]:
        """The bytes of the arena, by the type of numbers; those of the parameters, which the caller has, are not among them."""
        return {name: self.parts.arena.bytes(real) for name, real in REALS.items()}

    @property
    def parameters(self) -> dict[str, int]:
        """The bytes of the parameters, by the type of numbers."""
        return {name: self.parts.params.bytes(real) for name, real in REALS.items()}


def embedded_source(
    cell: Cell | Model,
    *,
    sizes: Mapping[str, int],
    steps: int,
    backward: bool = True,
    consts: Mapping[str, Any] | None = None,
    truncation: None = None,
    clip_adjoint: None = None,
    memory: Literal["all"] = "all",
) -> EmbeddedSource:
    """Return a cell or a model as C99 for one set of sizes: no allocation, no library but math.h, and all arrays but the parameters
    in one static arena, whose bytes `.arena` tells.

    `sizes` are those of the cell, and B, the number of samples, 1 where it is left out. Without `backward` the file has the forward
    pass alone, and keeps no tape. Masks, truncation and checkpoints it does not have: these options of `compile` are taken to be
    refused by their names.

    Example::

        c = sb.embedded_source(lstm, sizes={"m": 3, "n": 16}, steps=50)
        c.save("lstm.c")  # and lstm.h, which has the arrays and the functions
        c.arena["float32"]  # bytes

    Raises: ArgumentError where `cell` is no cell and no model, and for sizes and steps that lack, are not known or no positive integers;
    CellError for what C does not have, by its name.
    """
    if not isinstance(cell, Cell | Model):
        raise ArgumentError(
            f"embedded_source takes a cell or a model, got {type(cell).__name__}\n  {instead_of_cell(cell)}"
        )
    check_flag("backward", backward)
    check_absent("C", cell.name, truncation, clip_adjoint, memory)
    cell = cell if consts is None else cell.with_consts(consts)
    own = cell if isinstance(cell, Cell) else cell.cell
    check_for_c(own)
    dims, B = _dims(cell, sizes)
    T = _positive("steps", steps, "steps=50")
    head = head_of(cell) if isinstance(cell, Model) else None
    p = passed(own, None, PLAIN)
    functions, shared = functions_of(p, head, T, B, backward)
    reason = _declared([p, *([head.program] if head else [])])
    subject = Subject(cell.name, p, head, functions, dims, T, B, equations_text(cell), shared, reason)
    return EmbeddedSource(cell.name, fixed(subject, VERSION, told_value))


def _declared(programs: Sequence[Program]) -> str:
    """Return why differences of values tell nothing of gradients: functions whose derivatives are declared; nothing where there is none."""
    found = {f.func for p in programs for n in p.graph if n.family == "map" for f in n.attrs.expr.atoms(sp.Function)}
    names = sorted({f.__name__ for f in found if f is not shift and getattr(f, "declared", False)})
    return f"the derivative of {', '.join(names)} is declared, differences tell another" if names else ""


def _positive(name: str, value: Any, example: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name} must be a positive integer, got {value!r}\n  write {example}")
    return int(value)


def _dims(cell: Cell | Model, sizes: Any) -> tuple[dict[str, int], int]:
    """Return the sizes of a cell and the number of samples.

    Raises: ArgumentError where one lacks, is not known or is no positive integer, and where they do not go together.
    """
    arguments = cell.arguments
    known = names_in(tuple(n for a in arguments for n in (*a.shape, *(() if a.limit is None else (a.limit,)))))
    example = (
        "sizes={"
        + ", ".join(f'"{name}": {value}' for name, value in zip(("B", *known), (1, 3, *[16] * 99), strict=False))
        + "}"
    )
    if "B" in known:
        raise ArgumentError(
            f"B is a size of {cell.name}, and in a file for one set of sizes the number of samples\n"
            "  give the size of the cell another name"
        )
    check_mapping("sizes", sizes, example)
    given = {name: _positive(f"the size {name!r}", value, example) for name, value in named(sizes).items()}
    for name in given:
        if name not in ("B", *known):
            raise ArgumentError(
                f"sizes: {cell.name} has no size {name!r}{nearest(name, ('B', *known))}\n  write {example}"
            )
    B = given.pop("B", 1)
    axes = axes_of(arguments)
    dims = solved(axes, given)
    lacking = [name for name in known if name not in dims]
    if lacking:
        raise ArgumentError(
            f"sizes: {cell.name} has {', '.join(lacking)} too, got {', '.join(sizes) or 'none'}\n  write {example}"
        )
    wrong, lack = misfit(axes, dims), unmet(cell.needs, dims)
    if wrong is not None:
        raise ArgumentError(
            f"sizes: the default of {wrong.argument!r} has {wrong.length} along axis {wrong.number}, which is {wrong.size}\n"
            f"  write {example}"
        )
    if lack is not None:
        raise ArgumentError(three_lines(*lack.parts(dims)))
    return {name: dims[name] for name in known}, B


def functions_of(
    p: Program, head: Head | None, T: int, B: int, backward: bool
) -> tuple[dict[str, Function], frozenset[str]]:
    """Return the functions of a file by their keys, and the parameters that cell and loss share."""
    if head is None:
        if not backward:
            return {"forward": lower_forward(p)}, frozenset()
        sweeps = lower(p)
        return {"forward": sweeps.forward, "backward": sweeps.backward}, frozenset()
    counted = B if head.at == "last" else T * B
    weight = 1 / counted if head.reduction == "mean" else 1
    found = {"value": lower_total(head, weight, False)}
    if head.predicted is not None:
        found["predicted"] = lower_told(head.predicted, head.predicted.outputs, head.at == "every")
    if not backward:
        return {"forward": lower_forward(p), **found}, frozenset()
    shared = frozenset(head.program.params) & frozenset(a.name for a in p.of_role("param"))
    states = [a.name for a in p.of_role("state") if a.name in head.program.inputs]
    sweeps = lower_sent(p, states, head.at == "last")
    loss = lower_total(head, weight, True)
    return {"forward": sweeps.forward, **found, "loss": loss, "backward": with_added(sweeps.backward, shared)}, shared
