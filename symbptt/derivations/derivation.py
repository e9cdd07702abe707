"""The object that `sb.derive` returns: equations, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

from sympy import Basic

from symbptt.derivations.closed_form import Unrolled, unrolled
from symbptt.derivations.explanation import Explanation, explain
from symbptt.derivations.jacobians import StateJacobian, StepJacobian
from symbptt.derivations.linearity import Linearity, linearity
from symbptt.derivations.paths import MOST, Paths, paths
from symbptt.derivations.sympy_form import names_of, to_sympy
from symbptt.equations.derived import equations_of, looped_equations_of
from symbptt.equations.notation.names import Names
from symbptt.equations.page.equations import Equation, Equations
from symbptt.equations.page.lines import Page
from symbptt.equations.page.masks import PLAIN, Setting
from symbptt.errors import ArgumentError, instead_of_cell
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.tangent import tangent_of
from symbptt.language.truncation import Chunked, Window, check_truncation
from symbptt.syntax import as_read

__all__ = ["Derivation", "Equation", "StepJacobian", "derive"]


MANY_ROUNDS = 8
"""Rounds of a loop inside a step beyond which Jacobians have one line for all of them."""


class Derivation(Equations):
    """The equations of a cell or a model, forward and backward in time."""

    def __init__(self, target: Cell | Model, setting: Setting = PLAIN) -> None:
        # A loss at the last step alone lies in the last chunk, at its end: no truncation drops it.
        every = isinstance(target, Model) and target.at == "every"
        counted = setting.counted if every else None
        self.cell, self.target = target.cell if isinstance(target, Model) else target, target
        looped = looped_equations_of(target, counted)
        # Jacobians and routes are of the step with each round written out, the page has one body for all of them.
        whole = equations_of(target, counted) if looped is None or self.cell.has_numbers_of_rounds else looped
        super().__init__(whole.recursion, whole.loss, setting=setting)
        self.looped = None if looped is None else Equations(looped.recursion, looped.loss, setting=setting)

    def __reduce__(self) -> Any:
        return Derivation, (self.target, self.setting)

    @property
    def forward(self) -> tuple[Equation, ...]:
        """The equations of one step, t = 1 to T."""
        return super().forward if self.looped is None else self.looped.forward

    @property
    def backward(self) -> tuple[Equation, ...]:
        """The recursion of the adjoints, t = T to 1."""
        return super().backward if self.looped is None else self.looped.backward

    @property
    def gradients(self) -> tuple[Equation, ...]:
        """The gradients of the parameters, and of what is computed from parameters alone, as sums over time."""
        return super().gradients if self.looped is None else self.looped.gradients

    @property
    def input_gradients(self) -> tuple[Equation, ...]:
        """The gradients of the inputs at each step, for layers below."""
        return super().input_gradients if self.looped is None else self.looped.input_gradients

    def page(self, style: str = "textbook") -> Page:
        """Return the page as data: sections of lines, whose sides are expressions.

        Raises: ArgumentError for a style that is not known.
        """
        return super().page(style) if self.looped is None else self.looped.page(style)

    @cached_property
    def names(self) -> Names:
        """The written names of the page, those of the loss among them."""
        return super().names if self.looped is None else self.looped.names

    @overload
    def jacobian(self) -> StateJacobian: ...

    @overload
    def jacobian(self, to: str, of: str) -> StepJacobian: ...

    def jacobian(self, to: str | None = None, of: str | None = None) -> StepJacobian | StateJacobian:
        """Return the derivative of the next state or output `to` with respect to the state, input or parameter `of`; without
        names that of all states, as a matrix of blocks.

        Raises: ArgumentError for a name that the cell does not have, or that has no derivative; and for one name alone.
        """
        to, of = as_read(to), as_read(of)
        if to is None and of is None:
            return StateJacobian(self.cell, self._of_jacobians)
        if to is None or of is None:
            raise ArgumentError(
                f"two names are expected, or none, got {to or of!r} alone\n"
                '  write d.jacobian("h", "h"), or d.jacobian() for all states'
            )
        step = self.cell.closed
        results = [*step.next, *step.outputs]
        sources = [a.name for a in step.of_role("state", "input", "context", "param", "const")]
        for name, known in ((to, results), (of, sources)):
            if not isinstance(name, str) or name not in known:
                raise ArgumentError(
                    f"{self.cell.name} has no derivative by the name {name!r}\n  known: {', '.join(known)}"
                )
        return StepJacobian(self.cell, self._of_jacobians, to, of)

    @property
    def _of_jacobians(self) -> Equations:
        """The page in whose lines Jacobians are written: with one body for all rounds where there are many."""
        counts = [n.attrs.count for n in self.cell.looped.graph if n.family == "repeat"]
        is_short = all(isinstance(n, int) and n <= MANY_ROUNDS for n in counts)
        return self if self.looped is None or is_short else self.looped

    def forward_mode(self) -> Derivation:
        """Return the derivation of the tangents: the recursion of ḣ beside h, by forward mode, as `kernel.jvp` runs it. Its backward
        recursion has the Hessian of the loss times the tangents of the parameters as the gradients of these, which is `kernel.hvp`.

        Raises: ArgumentError for a model, whose page would have the tangent of the loss in the place of the loss; CellError for cells of
        complex numbers, with fixed points, or with a number of rounds that is a named size.
        """
        if isinstance(self.target, Model):
            raise ArgumentError(
                f"{self.target.name} is a model, and the recursion of tangents is that of its cell\n"
                f"  write sb.derive({self.cell.name}).forward_mode(), and kernel.jvp for the loss"
            )
        return Derivation(tangent_of(self.target), self.setting)

    def paths(
        self, to: str, of: str, steps: int = 1, *, through: Sequence[str] | None = None, most: int = MOST
    ) -> Paths:
        """Return the routes from the state `of`, before some steps, to the next state or output `to` after the last: which
        values lie on each, and its derivative. They add up to the derivative of `to` with respect to `of`.

        Routes are told by the values that the user gave names to; with `through`, by these values and the states alone.
        `of` may be an input or a parameter too: then its own use at the first of the steps counts.

        Raises: ArgumentError for a name that the cell does not have, for a number of steps that is no integer of at least
        1, and for more than `most` routes.
        """
        to, of = as_read(to), as_read(of)
        through = through if through is None or isinstance(through, str) else [as_read(name) for name in through]
        return paths(self.cell, self, to, of, steps, through, most)

    def linearity(self, to: str) -> Linearity:
        """Return in which arguments the next state or output `to` is linear or affine, and through what it is not.

        Raises: ArgumentError for a name that is no next state and no output.
        """
        self.cell.check_real()
        return linearity(self.cell, self, as_read(to))

    def unrolled(self, T: int | None = None) -> Unrolled:
        """Return the gradient in closed form, Σ_t Σ_{k ≤ t} with the product of the Jacobians between, the latest first; with
        `T` the terms of so many steps one by one.

        Raises: ArgumentError where T is no integer of at least 0, or too large to be written out.
        """
        # through=(): only states count as stops, so that a route of two names passes by no other state.
        # Routes are those of a step with each round of its loops written out.
        routes = self.cell.closed.next if self._of_jacobians is self else ()
        return unrolled(self.cell, self._of_jacobians, T, [self.paths(name, name, through=()) for name in routes])

    def to_sympy(self) -> dict[str, Basic]:
        """Return the forward lines as SymPy expressions by the names that `text(ascii=True)` has for them: values as matrix
        symbols, vectors as columns, a state before the step with `_prev`. No line is put into another one, and SymPy is
        asked for no derivative.

        Raises: ArgumentError for a line that SymPy's matrices have no form for, with its place.
        """
        self.cell.check_rounds()
        step, g = self.recursion.step, self.recursion.graph
        shown = {id: x for id, x in self.labels.items() if not x.adjoint}
        names = names_of(shown, step.leaves, self.all_names.ascii)
        read = set(g.ancestors(self.recursion.forward_roots))
        lines = {names[id]: id for id in sorted(shown) if id in read and g[id].family != "leaf"}
        ends = {self.all_names.ascii[name]: id for name, id in (step.next | step.outputs).items()}
        # A result that is another value under a second name has no line of its own.
        return to_sympy(g, lines | {k: v for k, v in ends.items() if k not in lines}, names)

    def explain(self) -> Explanation:
        """Return the chain rule of the cell in numbered steps, from its last line to its first: the user's line, what its
        values give to adjoints, and by which rule."""
        self.cell.check_real()
        return explain(self.cell, self if self.looped is None else self.looped)


def derive(
    target: Cell | Model, *, truncation: Window | Chunked | None = None, lengths: bool = False, reset: bool = False
) -> Derivation:
    """Return the derived equations of a cell or a model: those of one whole sequence, or those that a kernel computes which
    is compiled with `truncation`, or called with `lengths` or `reset`.

    The page is that of one sample. With lengths, T are its own steps, and T' those of the batch.

    Example: `print(sb.derive(lstm, truncation=sb.Window(4), reset=True).text())`.

    Raises: ArgumentError where the target is neither, and where an option is not what it takes.
    """
    if not isinstance(target, Cell | Model):
        raise ArgumentError(f"derive takes a cell or a model, got {type(target).__name__}\n  {instead_of_cell(target)}")
    check_truncation(truncation)
    for name, value in (("lengths", lengths), ("reset", reset)):
        if not isinstance(value, bool):
            raise ArgumentError(
                f"derive: {name} is True or False, got {type(value).__name__}\n"
                f"  the equations are those for any {name}; a kernel takes the numbers: kernel.forward(..., {name}={name})"
            )
    return Derivation(target, Setting(truncation, lengths, reset))
