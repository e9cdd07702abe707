"""What `sb.derive` returns: equations, and the Jacobian of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.arguments import check_mapping
from symbptt.cell import Cell
from symbptt.codegen.loading import compile as compile_cell
from symbptt.codegen.loading import equations_of
from symbptt.codegen.pointwise import evaluator
from symbptt.derive.jacobian import jacobian
from symbptt.derive.labels import Label
from symbptt.errors import ArgumentError
from symbptt.init import concrete
from symbptt.ir.naming import unique
from symbptt.ir.nesting import Nesting
from symbptt.ir.shape import named_size
from symbptt.model import Model
from symbptt.render.equations import Equation, Equations
from symbptt.render.expression import Writer
from symbptt.render.notation import LATEX, TEXT, Notation

__all__ = ["Derivation", "Equation", "StepJacobian", "derive"]

LONGEST, DEEPEST = 2_000, 150
"""The operations and the depth of a Jacobian that is still written as one formula; beyond, long parts have names."""


class Derivation(Equations):
    """The equations of a cell or a model, forward and backward in time."""

    def __init__(self, target: Cell | Model) -> None:
        equations = equations_of(target)
        super().__init__(equations.recursion, equations.loss)
        self.cell, self.target = target.cell if isinstance(target, Model) else target, target

    def __reduce__(self) -> Any:
        return Derivation, (self.target,)

    def jacobian(self, to: str, of: str) -> StepJacobian:
        """Return the derivative of the next state or output `to` with respect to the state, input or parameter `of`.

        Raises: ArgumentError for a name that the cell does not have, or that has no derivative.
        """
        step = self.cell.step
        results = [*step.next, *step.outputs]
        sources = [a.name for a in step.of_role("state", "input", "param", "const")]
        for name, known in ((to, results), (of, sources)):
            if not isinstance(name, str) or name not in known:
                raise ArgumentError(
                    f"{self.cell.name} has no derivative by the name {name!r}\n  known: {', '.join(known)}"
                )
        return StepJacobian(self.cell, to, of)


class StepJacobian:
    """The derivative of a value after a step with respect to what entered it."""

    def __init__(self, cell: Cell, to: str, of: str, held: Sequence[str] = ()) -> None:
        self.cell, self.to, self.of, self.held = cell, to, of, tuple(held)
        self._jacobian = jacobian(cell.step, [(to, of)], held)
        self._block = self._jacobian.blocks[to, of]

    def __reduce__(self) -> Any:
        return StepJacobian, (self.cell, self.to, self.of, self.held)

    @property
    def structure(self) -> str:
        """One of "zero", "identity", "scalar", "diagonal", "dense", proven from the graph.

        "diagonal" means that each entry depends on its own entry only, "scalar" that all do alike.
        """
        return self._block.kind

    def __repr__(self) -> str:
        return f"<Jacobian of {self.to} with respect to {self.of}: {self.structure}>"

    def text(self) -> str:
        """Return the equation as plain text; vectors are columns, diag(v) is the diagonal matrix of v.

        A long one, as of a step with inner rounds, has a line for each of its parts, in the order in which they are computed.
        """
        first, *rest = self._lines(TEXT)
        return "\n".join([f"{self._lhs(TEXT, '∂{0}/∂{1}')} = {first}", *(["with"] if rest else []), *rest])

    def latex(self) -> str:
        """Return the equation as LaTeX; a long one in lines, as `text` has it."""
        first, *rest = self._lines(LATEX)
        whole = f"{self._lhs(LATEX, r'{partial}')} = {first}"
        return "\\begin{gathered}\n  " + " \\\\\n  ".join([whole, *rest]) + "\n\\end{gathered}" if rest else whole

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _lhs(self, notation: Notation, template: str) -> str:
        a = next(a for a in self.cell.arguments if a.name == self.of)
        time = {"state": -1, "input": 0}.get(a.role)
        over, under = notation.symbol(Label(self.to, 0)), notation.symbol(Label(self.of, time))
        if notation is TEXT:
            return template.format(over, under)
        return rf"\frac{{\partial {over}}}{{\partial {under}}}"

    def _lines(self, notation: Notation) -> list[str]:
        """The right side, and a line for each part of a long one."""
        if self.structure in ("zero", "identity"):
            return ["0" if self.structure == "zero" else "I"]
        writer = self._writer(notation)
        size, depth = Nesting(writer.graph, writer.labels).of(self._block.id)
        parts = _parts(writer, self._block.id) if size > LONGEST or depth > DEEPEST else {}
        writer = replace(writer, labels={**writer.labels, **parts})
        lines = [f"{notation.symbol(label)} = {writer.rhs(id)}" for id, label in parts.items()]
        return [self._of_structure(notation, writer.rhs(self._block.id)), *lines]

    def _of_structure(self, notation: Notation, written: str) -> str:
        if self.structure == "diagonal":
            return notation.call("diag", [written])
        return f"{notation.brackets(written)}{notation.scalar}I" if self.structure == "scalar" else written

    def _writer(self, notation: Notation) -> Writer:
        step, g = self._jacobian.step, self._jacobian.step.graph
        roles = {a.name: a.role for a in step.arguments}
        times = {"state": -1, "input": 0, "index": 0}
        labels = {id: Label(name, times.get(roles[name])) for name, id in step.leaves.items()}
        labels |= {id: Label(name, 0) for name, id in (step.next | step.outputs).items() if id not in labels}
        known = {label.name for label in labels.values()}
        labels |= {
            id: Label(n, 0)
            for id, n in g.names.items()
            if id in self._jacobian.kept and id not in labels and n not in known
        }
        return Writer(g, labels, notation)

    @cached_property
    def _evaluate(self) -> Any:
        return evaluator(self._jacobian.step, {"value": self._block.id})

    def evaluate(self, params: Mapping[str, Any], inputs: Mapping[str, Any] | None = None,
                 state: Mapping[str, Any] | None = None) -> Any:  # fmt: skip
        """Return the derivative as an array, for one sample and one step.

        Shapes: params, inputs and state as annotated, without axes for time and batch; the result has the shape of `to`
        followed by that of `of`.

        Raises: ArgumentError for what lacks, is not known, or has another shape or a mixed type.
        """
        if inputs is not None:
            check_mapping("inputs", inputs, 'J.evaluate(params, {"x": x}, {"h": h})')
        kernel = compile_cell(self.cell)
        steps = {k: np.asarray(v)[None] for k, v in (inputs or {}).items()}
        arrays, sizes, _, _, dtype, _ = kernel.read(params, steps, state, None if steps else 1)
        numbers = {named_size(name): value for name, value in sizes.items()}
        shape = concrete(self._jacobian.shape(self.to, self.of), numbers)
        inner = concrete(self._jacobian.step.graph.shape(self._jacobian.step.leaves[self.of]), numbers)
        if self.structure == "zero":
            return np.zeros(shape, dtype)
        value = 1.0 if self.structure == "identity" else self._at(arrays, sizes, dtype)
        if self.structure == "dense":
            return np.broadcast_to(np.asarray(value, dtype), (1, 1, *shape))[0, 0].copy()
        eye = np.eye(int(np.prod(inner)), dtype=dtype).reshape((*inner, *inner))
        weight = np.asarray(value, dtype).reshape(
            np.shape(value)[2:] if np.ndim(value) > len(inner) else np.shape(value)
        )
        return weight.reshape((*weight.shape, *(1,) * len(inner))) * eye if weight.ndim else weight * eye

    def _at(self, arrays: Any, sizes: Any, dtype: Any) -> Any:
        lead = {a.name: (1, 1) for a in self.cell.arguments if a.role == "state"}
        given = {k: v.reshape(*lead[k], *v.shape[1:]) if k in lead else v for k, v in arrays.items()}
        return self._evaluate(given, sizes, 1, 1, dtype)["value"]


def _parts(writer: Writer, root: int) -> dict[int, Label]:
    """Names for the parts of a formula that are long or deep, and for those of them that it does not have by name already."""
    named, used = dict(writer.labels), {label.name for label in writer.labels.values()}
    read = set(writer.graph.ancestors([root]))
    found: dict[int, Label] = {}
    for id in Nesting(writer.graph, named).too_long():
        if id in read and id != root and writer.graph[id].family not in ("leaf", "number"):
            name = unique(f"J_{len(found) + 1}", used)
            used.add(name)
            found[id] = named[id] = Label(name, None, given=False)
    return found


def derive(target: Cell | Model) -> Derivation:
    """Return the derived equations of a cell or a model.

    Raises: ArgumentError where the target is neither.
    """
    if not isinstance(target, Cell | Model):
        raise ArgumentError(
            f"derive takes a cell or a model, got {type(target).__name__}\n  decorate the function with @sb.cell"
        )
    return Derivation(target)
