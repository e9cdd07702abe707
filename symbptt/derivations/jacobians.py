"""The Jacobian of one step: its blocks and all of it, on a page and on numbers.

Example: for an LSTM with the states c and h, s = (c; h) and J = [[∂c_t/∂c_{t-1}, ∂c_t/∂h_{t-1}], [∂h_t/∂c_{t-1}, ∂h_t/∂h_{t-1}]].
The first column is diagonal in structure, and `evaluate` computes its weights as vectors before it makes matrices of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from symbptt.autodiff.block import Block
from symbptt.autodiff.chain import chain, moving
from symbptt.autodiff.jacobian import jacobian
from symbptt.autodiff.labels import Label
from symbptt.derivations.tables import (
    equation,
    gathered,
    lines_by_name,
    said,
    said_in_latex,
    said_of_constants,
    text_lines,
)
from symbptt.derivations.under_setting import entering, kept, of_a_step, said_of_a_step
from symbptt.equations.algebra.expressions import EYE, ONE, ZERO, Derivative, Expr, Raised, Symbol, Times, normal
from symbptt.equations.notation.pen import Pen
from symbptt.equations.notation.signs import columns, padded
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.derivative_lines import WIDEST, lines, widest
from symbptt.equations.page.derivatives_in_rounds import (
    RoundNotes,
    calculus_of,
    line_of,
    of_rounds,
    said_of_equations,
    solved,
)
from symbptt.equations.page.equations import Equations
from symbptt.equations.page.lines import Note
from symbptt.ir.naming import free_letters
from symbptt.ir.shape import named_size, names_in
from symbptt.language.cell import Cell
from symbptt.language.each_step import with_inputs
from symbptt.language.init import concrete

if TYPE_CHECKING:
    from symbptt.derivations.one_sample import Sample

TIMES = {"state": -1, "input": 0}
"""The times of arguments, by role; parameters have none."""
WHOLE = "szyqvw"
"""Names of the whole state, of which the first is taken that nothing in the cell has."""


class _Derivatives:
    """The derivatives of a cell's values, by what they are derived by, and the names that they are written in."""

    def __init__(self, page: Equations) -> None:
        self.step = page.recursion.step
        self.labels, self.calculus = calculus_of(self.step, page.labels_in_textbook)
        results = self.step.next | self.step.outputs
        self.targets = {name: line_of(self.calculus.graph, id, self.labels) for name, id in results.items()}

    def label(self, of: str) -> Label:
        """Return how an argument is named."""
        role = next(a.role for a in self.step.arguments if a.name == of)
        return Label(of, TIMES.get(role))

    def lines(
        self, of: str, to: tuple[str, ...], made: dict[int, Label], letters: list[Label]
    ) -> tuple[Definition, ...]:
        """Return the lines of some blocks of one column, and behind them those that they need."""
        leaf = self.step.leaves[of]
        own = [self._of_itself(name, of) for name in to if self.targets[name] == leaf]
        ids: dict[int, Label] = {}
        for name in to:
            if self.targets[name] != leaf:
                ids.setdefault(self.targets[name], Label(name, 0))
        twice = [self._same(name, of, ids[self.targets[name]]) for name in to
                 if self.targets[name] != leaf and ids[self.targets[name]].name != name]  # fmt: skip
        return (*own, *twice, *(self._told(of, to, ids, made, letters) if ids else ()))

    def _told(
        self, of: str, to: tuple[str, ...], ids: dict[int, Label], made: dict[int, Label], letters: list[Label]
    ) -> tuple[Definition, ...]:
        """Return the lines of the chain rule; where one is long, those in which derivatives of values with a name are not put in."""
        drafts, leaf = [], self.step.leaves[of]
        ends = of_rounds(self.calculus.graph, moving(self.calculus.graph, leaf), self.labels, ids.keys())
        for by_name in (False, True):
            chain_, own, own_letters = chain(self.calculus, leaf, [*ids, *ends], by_name=by_name), {**made}, [*letters]
            found = lines(chain_, self.labels, self.label(of), ids | ends, own, own_letters)
            drafts.append((widest(found), found, own, own_letters))
            if drafts[-1][0] <= WIDEST:
                break
        _, found, own, own_letters = min(drafts, key=lambda draft: draft[0])
        made.update(own)
        letters[:] = own_letters
        return tuple(self.notes.told(solved(line)) for line in found)

    @cached_property
    def notes(self) -> RoundNotes:
        return RoundNotes.of(self.calculus.graph, self.labels)

    def name(self, to: Label, of: str) -> Derivative:
        g, label = self.calculus.graph, self.label(of)
        over = Symbol(to, normal(g.shape(self.targets[to.name])))
        return Derivative(over, Symbol(label, normal(g.shape(self.step.leaves[of]))))

    def _of_itself(self, to: str, of: str) -> Definition:
        """Return a next state that is the state before, or that of another one."""
        eye = EYE if normal(self.calculus.graph.shape(self.step.leaves[of])) else ONE
        return Definition(self.name(Label(to, 0), of), eye)

    def _same(self, to: str, of: str, other: Label) -> Definition:
        """Return a state or an output that is another one under a second name."""
        return Definition(self.name(Label(to, 0), of), self.name(other, of))


class StepJacobian:
    """The derivative of a value after a step with respect to what entered it; `page` has the names that it is written in."""

    def __init__(self, cell: Cell, page: Equations, to: str, of: str) -> None:
        self.cell, self.page, self.to, self.of = cell, page, to, of
        self._jacobian = jacobian(with_inputs(cell).closed, [(to, of)])
        self._block = self._jacobian.blocks[to, of]

    def __reduce__(self) -> Any:
        return StepJacobian, (self.cell, self.page, self.to, self.of)

    @property
    def structure(self) -> str:
        """One of "zero", "identity", "scalar", "diagonal", "dense", proven from the graph.

        "diagonal" means that each entry depends on its own entry only, "scalar" that all do alike.
        """
        return self._block.kind

    def __repr__(self) -> str:
        return f"<Jacobian of {self.to} with respect to {self.of}: {self.structure}>"

    def __str__(self) -> str:
        return self.text()

    @cached_property
    def written_out(self) -> tuple[Definition, ...]:
        """The lines with their constant arrays as numbers."""
        return of_a_step(_Derivatives(self.page).lines(self.of, (self.to,), {}, []), self.page, self.of)

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """The line of the derivative, and those of what stands in it under a name."""
        return lines_by_name(self.written_out, self.page)

    def _notes(self) -> Iterator[Note]:
        left = _Derivatives(self.page).name(Label(self.to, 0), self.of)
        yield from said_of_a_step(self.page, [(left, self.to, self.of)])
        yield from said_of_equations(self.definitions)
        yield from said_of_constants(self.definitions, self.page)

    def text(self, *, ascii: bool = False) -> str:
        """Return the equation as plain text, with `ascii` in ASCII alone; vectors are columns, diag(v) is the diagonal matrix
        of v, δ is one where its indices are equal.

        Arrays with more axes than a matrix have named indices, from 0. What is read more than once, or would make the line
        long, has a line of its own below "with".
        """
        pen = self.page.pen(ascii)
        return "\n".join([text_lines(self.definitions, pen), *said(self._notes(), pen)])

    def latex(self) -> str:
        """Return the equation as LaTeX, in lines as `text` has it."""
        pen = self.page.latex_pen
        return gathered([*(equation(line, pen) for line in self.definitions), *said_in_latex(self._notes(), pen)])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    @cached_property
    def _evaluate(self) -> Any:
        from symbptt.codegen.targets.numpy.pointwise import evaluator  # not before numbers come: equations need no code

        return evaluator(self._jacobian.step, {"value": self._block.id})

    def evaluate(self, params: Mapping[str, Any], inputs: Mapping[str, Any] | None = None,
                 state: Mapping[str, Any] | None = None) -> Any:  # fmt: skip
        """Return the derivative as an array, for one sample and one step.

        Shapes: params, inputs and state as annotated, without axes for time and batch, a state zero where omitted; the
        result has the shape of `to` followed by that of `of`.

        Raises: ArgumentError for what lacks, is not known, is no index or not finite, or has another shape or a mixed type.
        """
        read = _read(self.cell, params, inputs, state)
        value = None if self._block.id < 0 else self._evaluate(read.arrays, read.sizes, 1, 1, read.dtype)["value"]
        return _block(self, self._block, value, read)

    def shapes(self, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape of the value and that of what it is derived by, for named sizes."""
        known = {named_size(name): value for name, value in sizes.items()}
        step = self._jacobian.step
        of = step.graph.shape(step.leaves[self.of])
        return concrete(step.graph.shape((step.next | step.outputs)[self.to]), known), concrete(of, known)


def _read(cell: Cell, params: Any, inputs: Any, state: Any) -> Sample:
    """Return the arguments of one step; the evaluator takes states of all steps and samples, (T, B, ...)."""
    from symbptt.derivations.one_sample import one_sample  # compiles the cell, as above

    read = one_sample(with_inputs(cell), params, inputs, state, 'J.evaluate(params, {"x": x}, {"h": h})')
    states = {a.name for a in cell.arguments if a.role == "state"}
    return replace(read, arrays={k: v[None] if k in states else v for k, v in read.arrays.items()})


def _block(of: StepJacobian, block: Block, value: Any, read: Sample) -> Any:
    """Return a block as an array, from the weights that its structure leaves."""
    outer, inner = of.shapes(read.sizes)
    if block.kind == "zero":
        return np.zeros((*outer, *inner), read.dtype)
    # A value without batch or time may come without their axes; broadcasting adds them.
    if block.kind == "dense":
        return np.broadcast_to(np.asarray(value, read.dtype), (1, 1, *outer, *inner))[0, 0].copy()
    # Identity over all axes of the state: entry [i, j, i, j] is one for a state with two axes.
    eye = np.eye(int(np.prod(inner)), dtype=read.dtype).reshape((*inner, *inner))
    # The identity has no weight in the graph.
    weight = np.asarray(1.0 if value is None else value, read.dtype)
    weight = weight.reshape(weight.shape[2:] if weight.ndim > len(inner) else weight.shape)
    return np.asarray(weight.reshape((*weight.shape, *(1,) * (len(inner) * (weight.ndim > 0)))) * eye, read.dtype)


class StateJacobian:
    """The derivative of all states after a step with respect to all states before it: a matrix of blocks.

    The state s is made of the states in the user's order, each as a vector, row by row.
    """

    def __init__(self, cell: Cell, page: Equations) -> None:
        self.cell, self.page = cell, page
        self.states = tuple(cell.closed.next)
        pairs = [(to, of) for to in self.states for of in self.states]
        self._jacobian = jacobian(with_inputs(cell).closed, pairs)

    def __reduce__(self) -> Any:
        return StateJacobian, (self.cell, self.page)

    @property
    def structure(self) -> dict[tuple[str, str], str]:
        """The structure of each block (next state, state): "zero", "identity", "scalar", "diagonal" or "dense"."""
        return {pair: block.kind for pair, block in self._jacobian.blocks.items()}

    def __getitem__(self, pair: tuple[str, str]) -> StepJacobian:
        return StepJacobian(self.cell, self.page, *pair)

    def __repr__(self) -> str:
        count = sum(kind != "zero" for kind in self.structure.values())
        return f"<Jacobian of {', '.join(self.states)}: {count} of {len(self.structure)} blocks are not zero>"

    def __str__(self) -> str:
        return self.text()

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """The lines of the blocks that are neither zero nor the identity, and of what stands in them under a name."""
        of, made, letters = _Derivatives(self.page), dict[int, Label](), list[Label]()
        # `made` and `letters` are shared by all columns, so that one name means one value on the whole page.
        whole = [line for name in self.states for line in of.lines(name, self.states, made, letters)]
        if self.page.setting.reset:
            whole = [replace(x, left=entering(x.left, self.page), right=entering(x.right, self.page)) for x in whole]
        # Zero and identity blocks stand in the matrix itself.
        blocks = {of.name(Label(to, 0), name) for to in self.states for name in self.states}
        simple = (ZERO, EYE, ONE)
        return lines_by_name(
            dict.fromkeys(x for x in whole if x.right not in simple or x.left not in blocks), self.page
        )

    def _notes(self) -> Iterator[Note]:
        yield from said_of_a_step(self.page)
        yield from said_of_equations(self.definitions)
        yield from said_of_constants(self.definitions, self.page)

    @cached_property
    def taken(self) -> frozenset[str]:
        """The names that values, arguments and sizes of the cell have."""
        names = {*self.page.all_names.text, *self.page.all_names.text.values()}
        names |= set() if self.page.setting.is_plain else {self.page.letters.window, self.page.letters.reset}
        arguments = self.cell.arguments
        sizes = {name for a in arguments for name in names_in(a.shape)}
        return frozenset(names | {*self.states, *self.cell.closed.outputs} | {a.name for a in arguments} | sizes)

    @property
    def letter(self) -> str:
        """The name of the whole state: s, or the next letter of `WHOLE` that nothing in the cell has."""
        return next(free_letters(WHOLE, self.taken))

    def _rows(self, pen: Pen) -> list[list[str]]:
        """Return the matrix of blocks: each by its name, or as 0 or I."""
        of = _Derivatives(self.page)
        simple = {"zero": "0", "identity": "I"}
        return [
            [
                simple.get(self.structure[to, name]) or pen.expression(self._entering(of.name(Label(to, 0), name)))
                for name in self.states
            ]
            for to in self.states
        ]

    def _entering(self, e: Expr) -> Expr:
        return entering(e, self.page) if self.page.setting.reset else e

    def _heads(self, pen: Pen, own: Label) -> list[str]:
        """Return the left sides of the matrix: the derivative by the state before; with resets, by the entering state, and its relation."""
        whole = Derivative(Symbol(own.at(0)), Symbol(own.at(-1)))
        if not self.page.setting.reset:
            return [pen.expression(whole)]
        inner = Derivative(whole.over, Raised(whole.under, self.page.letters.reset))
        line = Definition(whole, Times((kept(self.page, 0), inner)))
        return [pen.expression(inner), equation(line, pen)]

    def text(self, *, ascii: bool = False) -> str:
        """Return the matrix of blocks, and a line for each block that is not zero and not the identity; of a single state its
        block alone. With `ascii` it is in ASCII alone."""
        if len(self.states) == 1:
            return self[self.states[0], self.states[0]].text(ascii=ascii)
        pen = self.page.pen(ascii)
        rows = self._rows(pen)
        widths = [max(columns(row[i]) for row in rows) for i in range(len(rows))]
        own = self.letter
        head, *before = self._heads(pen, Label(own, None))
        head += " = "
        lines = [f"[ {'  '.join(padded(x, w) for x, w in zip(row, widths, strict=True))} ]" for row in rows]
        lines[0] += f"    {own} = ({'; '.join(map(pen.name, self.states))})"
        matrix = [(head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines)]
        notes = said(self._notes(), pen)
        return "\n".join([*before, *matrix, *(equation(line, pen) for line in self.definitions), *notes])

    def latex(self) -> str:
        """Return the matrix of blocks and their lines as LaTeX."""
        if len(self.states) == 1:
            return self[self.states[0], self.states[0]].latex()
        pen = self.page.latex_pen
        rows = " \\\\ ".join(" & ".join(row) for row in self._rows(pen))
        state = "; ".join(map(pen.name, self.states))
        own = self.letter
        head, *before = self._heads(pen, Label(own, None))
        whole = rf"{head} = \begin{{bmatrix}} {rows} \end{{bmatrix}}, \quad {own} = ({state})"
        notes = said_in_latex(self._notes(), pen)
        return gathered([*before, whole, *(equation(line, pen) for line in self.definitions), *notes])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    @cached_property
    def _evaluate(self) -> Any:
        from symbptt.codegen.targets.numpy.pointwise import evaluator  # not before numbers come: equations need no code

        roots = {f"{to} {of}": block.id for (to, of), block in self._jacobian.blocks.items() if block.id >= 0}
        # Where all blocks are zero or identities there is nothing to evaluate.
        return evaluator(self._jacobian.step, roots) if roots else lambda *_: {}

    def evaluate(self, params: Mapping[str, Any], inputs: Mapping[str, Any] | None = None,
                 state: Mapping[str, Any] | None = None) -> Any:  # fmt: skip
        """Return the derivative as a square matrix, for one sample and one step.

        Shapes: params, inputs and state as annotated, without axes for time and batch, a state zero where omitted; the
        result (N, N), N the number of elements of all states.

        Raises: ArgumentError for what lacks, is not known, is no index or not finite, or has another shape or a mixed type.
        """
        read = _read(self.cell, params, inputs, state)
        values = self._evaluate(read.arrays, read.sizes, 1, 1, read.dtype)
        rows = []
        for to in self.states:
            blocks = [
                _block(self[to, of], self._jacobian.blocks[to, of], values.get(f"{to} {of}"), read)
                for of in self.states
            ]
            sizes = [int(np.prod(self[to, of].shapes(read.sizes)[1])) for of in self.states]
            height = int(np.prod(self[to, to].shapes(read.sizes)[0]))
            rows.append(np.concatenate([b.reshape(height, n) for b, n in zip(blocks, sizes, strict=True)], 1))
        return np.concatenate(rows)
