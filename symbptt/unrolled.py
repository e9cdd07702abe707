"""Backpropagation through time in closed form: sums over steps of products of Jacobians, the latest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from symbptt.arguments import check_count
from symbptt.cell import Cell
from symbptt.derive.labels import Label
from symbptt.errors import ArgumentError
from symbptt.jacobians import StateJacobian
from symbptt.paths import Paths
from symbptt.render.notation import LATEX, TEXT
from symbptt.render.writing import write

LONGEST = 12
"""Steps at the most that are written out one by one."""


@dataclass(frozen=True)
class Unrolled:
    """The gradient of a loss L = Σ_t ℓ_t as a sum over the steps at which a parameter was used and those at which the loss
    was felt; with `T` the terms of so many steps one by one.

    `carries` are the routes of each state to itself that pass by no other value.
    """

    cell: Cell
    T: int | None
    jacobian: StateJacobian
    carries: tuple[Paths, ...]

    def text(self) -> str:
        """Return the closed form, and the Jacobian of a step in the cell's terms, as plain text."""
        name = self._state
        lines = list(
            _closed(_TEXT, name, bool(self.cell.step.outputs)) if self.T is None else _written_out(_TEXT, name, self.T)
        )
        lines += self._step()
        if self.T is None:
            lines += [
                f"the route {c[0].route} alone, over the steps k + 1 to t: the product of {write(c[0].definitions[0].right, TEXT)}, "
                "the latest step first"
                for c in self.carries
            ]
            lines.append(
                "for k = t the product is I; ∂⁺ is of the parameter at that step alone; sb.Window(w) keeps the terms with k > t - w"
            )
        return "\n".join(lines)

    def _step(self) -> list[str]:
        """The Jacobian of a step: of one state its line, of several the matrix of blocks."""
        matrix = self.jacobian.text()
        if self._state == "s":
            rows = len(self.jacobian.states)
            return [("J_t = " if i == 0 else " " * 6 * (i < rows)) + line for i, line in enumerate(matrix.splitlines())]
        lines = matrix.splitlines()
        return ["J_t = " + lines[0], *lines[1:]]

    @property
    def _state(self) -> str:
        names = self.jacobian.states
        return names[0] if len(names) == 1 else "s"

    def latex(self) -> str:
        """Return the closed form, and the Jacobian of a step, as LaTeX."""
        name = LATEX.symbol(Label(self._state, None)) if self._state != "s" else "s"
        lines = list(
            _closed(_LATEX, name, bool(self.cell.step.outputs))
            if self.T is None
            else _written_out(_LATEX, name, self.T)
        )
        inner = self.jacobian.latex().removeprefix("\\begin{gathered}\n").removesuffix("\n\\end{gathered}")
        return "\\begin{gathered}\n  " + " \\\\\n  ".join([*lines, "J_{t} = " + inner.strip()]) + "\n\\end{gathered}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class _Signs:
    """How the closed form is written."""

    step: str
    sum_all: str
    sum_before: str
    loss: str
    outputs: str
    used: str
    last: str
    first: str
    dots: str
    gradient: str
    initial: str

    def indexed(self, name: str, step: int | str) -> str:
        return self.step.format(name, step)


_TEXT = _Signs(
    "{0}_{1}",
    "Σ_t ",
    "Σ_{k ≤ t} ",
    "(∂ℓ_{1}/∂{0}_{1})",
    "y",
    "∂⁺{0}_{1}/∂θ",
    "J_t J_{t-1} ",
    "J_{k+1} ",
    "⋯ ",
    "∂L/∂θ",
    "∂L/∂{0}_0",
)
_LATEX = _Signs(
    "{0}_{{{1}}}", r"\sum_{t} ", r"\sum_{k \leq t} ", r"\frac{{\partial \ell_{{{1}}}}}{{\partial {0}_{{{1}}}}}", "y",
    r"\frac{{\partial^{{+}} {0}_{{{1}}}}}{{\partial \theta}}", "J_{t} J_{t-1} ", "J_{k+1} ", r"\cdots ",
    r"\frac{\partial L}{\partial \theta}", r"\frac{{\partial L}}{{\partial {0}_{{0}}}}",
)  # fmt: skip


def _closed(s: _Signs, name: str, outputs: bool) -> Iterator[str]:
    product = f"{s.last}{s.dots}{s.first}"
    yield f"{s.gradient} = {s.sum_all}{s.sum_before}{s.loss.format(name, 't')} {product}{s.used.format(name, 'k')}"
    first = "J_1" if s is _TEXT else "J_{1}"
    yield f"{s.initial.format(name)} = {s.sum_all}{s.loss.format(name, 't')} {s.last}{s.dots}{first}"
    if outputs and s is _TEXT:
        yield "a loss of an output y_t acts on s_{t-1} by (∂ℓ_t/∂y_t) (∂y_t/∂s_{t-1}), and on θ by (∂ℓ_t/∂y_t) (∂⁺y_t/∂θ)"


def _written_out(s: _Signs, name: str, T: int) -> Iterator[str]:
    """The terms of T steps: what each loss says of the states at its step, and these of the steps before."""
    if not T:
        yield f"{s.gradient} = 0"
        yield f"{s.initial.format(name)} = 0"
        return
    jacobian = [s.indexed("J", t) for t in range(T + 1)]
    for head, last in ((s.gradient, False), (s.initial.format(name), True)):
        for t in range(1, T + 1):
            terms = [" ".join([*jacobian[t:k:-1], s.used.format(name, k)]) for k in range(t, 0, -1)]
            inner = " ".join(jacobian[t:0:-1]) if last else " + ".join(terms)
            body = inner if last or len(terms) == 1 else f"({inner})" if s is _TEXT else rf"\left({inner}\right)"
            lead = f"{head} = " if t == 1 else (" " * len(head) + " + " if s is _TEXT else r"\quad {}+ ")
            yield f"{lead}{s.loss.format(name, t)} {body}"


def unrolled(cell: Cell, T: int | None, routes: Sequence[Paths]) -> Unrolled:
    """Return the closed form for a cell; `routes` are those of each state to itself."""
    if T is not None:
        check_count("T", T)
        if T > LONGEST:
            raise ArgumentError(
                f"at most {LONGEST} steps are written out, got T={T}\n  without T the closed form holds for all"
            )
    carries = tuple(p for p in routes if len(p) == 1 and len(p[0].names) == 2 and len(routes) > 1)
    return Unrolled(cell, T, StateJacobian(cell), carries)
