"""Backpropagation through time in closed form: sums over steps of products of Jacobians, the latest first.

Example, T = 2: ∂L/∂θ = (∂ℓ_1/∂h_1) ∂⁺h_1/∂θ + (∂ℓ_2/∂h_2) (∂⁺h_2/∂θ + J_2 ∂⁺h_1/∂θ), where J_2 = ∂h_2/∂h_1 and ∂⁺h_k/∂θ is the
derivative by the parameter as step k uses it, with h_{k-1} held fixed. With sb.Window(1) the term with J_2 is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from symbptt.autodiff.labels import LAST, Label
from symbptt.checks import check_count
from symbptt.derivations.jacobians import StateJacobian
from symbptt.derivations.paths import Paths
from symbptt.derivations.tables import gathered, said, said_in_latex, ungathered
from symbptt.derivations.under_setting import end_of_chunk
from symbptt.equations.algebra.expressions import Expr, Over, Symbol, Word
from symbptt.equations.notation.pen import Pen
from symbptt.equations.page.equations import Equations
from symbptt.equations.page.legend import mean_of
from symbptt.equations.page.lines import Loss, Note
from symbptt.equations.page.masks import Setting
from symbptt.errors import ArgumentError
from symbptt.ir.naming import free_letters
from symbptt.language.cell import Cell
from symbptt.language.truncation import Chunked, Window

LONGEST = 12
"""Steps at the most that are written out one by one."""


@dataclass(frozen=True)
class Unrolled:
    """The gradient of a loss L = Σ_t ℓ_t as a sum over the steps at which a parameter was used and those at which the loss
    was felt; with `T` the terms of so many steps one by one.

    `carries` are the routes of each state to itself that pass by no other value.
    """

    cell: Cell
    page: Equations = field(repr=False, compare=False)
    T: int | None
    jacobian: StateJacobian
    carries: tuple[Paths, ...]

    def text(self, *, ascii: bool = False) -> str:
        """Return the closed form, and the Jacobian of a step in the cell's terms, as plain text; with `ascii` in ASCII alone."""
        pen = self.page.pen(ascii)
        name, s = self._state(pen), _Signs(self._letters, True)
        lines = [*map(pen.words, self._sums(s, name)), *self._step(ascii)]
        if self.T is None:
            k, w, part = self._letters.step, self._letters.window, s.part
            loss = self.page.loss
            read = [y for y in self.cell.closed.outputs if loss is None or y in loss.recursion.step.leaves]
            ys = [pen.symbol(Label(y, 0)) for y in read]
            outputs = [f"a loss of an output {y} acts on {s.at(name, 't-1')} by (∂{part}_t/∂{y}) (∂{y}/∂{s.at(name, 't-1')}), and on "
                       f"{self._letters.parameter} by (∂{part}_t/∂{y}) (∂⁺{y}/∂{self._letters.parameter})"
                       for y in ys]  # fmt: skip
            lines[2:2] = map(pen.words, outputs)
            lines += [
                f"the route {c[0].along(pen)} alone, over the steps {k} + 1 to t: the product "
                f"of {_alone(c, pen)}, the latest step first"
                for c in self.carries
            ]
            kept = "" if self.page.setting.truncation else f"; sb.Window({w}) keeps the terms with {k} > t - {w}"
            lines.append(
                pen.words(f"for {k} = t the product is the identity; ∂⁺ is of the parameter at that step alone{kept}")
            )
        lines += said(self._notes(), pen)
        return "\n".join(lines)

    def _notes(self) -> Iterator[Note]:
        """Yield notes on the loss of a model, on a truncation in chunks, and on the steps of a sample with an end; the Jacobian has
        the others."""
        if self.page.loss is not None:
            yield from _said_of(self.page.loss, self._letters.part)
        if self.T is not None:
            return
        if isinstance(self.page.setting.truncation, Chunked):
            yield end_of_chunk(self.page)
        if self.page.setting.lengths:
            yield (
                "t is a step of the sample itself, at most T; what a loss gives to states behind the end is given to step T",
            )

    def _sums(self, s: _Signs, name: str) -> Iterator[str]:
        setting = self.page.setting
        if self.T is None:
            return _closed(s, name, setting)
        last = self.page.loss is not None and self.page.loss.at == "last"
        return _written_out(s, name, self.T, setting, last)

    def _step(self, ascii: bool) -> list[str]:
        """Return the Jacobian of a step: of one state its line, of several the matrix of blocks."""
        head, lines = f"{self._letters.jacobian}_t = ", self.jacobian.text(ascii=ascii).splitlines()
        # Rows of the matrix are indented under its head; the lines below it are not.
        rows = len(self.jacobian.states) if len(self.jacobian.states) > 1 else 0
        return [(head if i == 0 else " " * len(head) * (i < rows)) + line for i, line in enumerate(lines)]

    def _state(self, pen: Pen) -> str:
        """Return the name of the state, of several together a letter."""
        names = self.jacobian.states
        return pen.name(names[0]) if len(names) == 1 else self.jacobian.letter

    @cached_property
    def _letters(self) -> _Letters:
        """Letters that nothing on the page has, and that begin no name there either."""
        lines = [line for to in self.jacobian.states for of in self.jacobian.states
                 for line in self.jacobian[to, of].definitions]  # fmt: skip
        lines += [*self.jacobian.definitions, *(x for c in self.carries for x in c[0].definitions)]
        names = self.jacobian.taken | {x.name for line in lines for e in (line.left, line.right) for x in e.labels}
        names |= {self._state(self.page.pen())}
        # J_t next to a value called J_x would look like one of a family: letters that begin a name are avoided too.
        begun = names | {name.partition("_")[0] for name in names}
        begun |= {letter for letter, spelt in GREEK.items() if spelt in begun}
        own = [next(free_letters(choice, begun)) for choice in CHOICES]
        own.append(next(letter for letter in PARTS if letter not in begun))
        setting = self.page.setting
        return _Letters(*own, *(() if setting.is_plain else (self.page.letters.reset, self.page.letters.window)))

    def latex(self) -> str:
        """Return the closed form, and the Jacobian of a step, as LaTeX."""
        lines = self._sums(_Signs(self._letters, False), self._state(self.page.latex_pen))
        first, *rest = ungathered(self.jacobian.latex())
        notes = said_in_latex(self._notes(), self.page.latex_pen)
        return gathered([*lines, f"{self._letters.jacobian}_{{t}} = {first}", *rest, *notes])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text()


def _said_of(loss: Loss, part: str) -> Iterator[Note]:
    """Yield what the `part` ℓ_t of a step is in L = Σ_t ℓ_t, and that it is zero before the last step where the loss of that alone
    counts."""
    time = 0 if loss.at == "every" else LAST
    whole: Expr = Symbol(Label("loss", time))
    right = whole if loss.reduction == "sum" else Over(whole, Word(loss.count))
    zero: Note = () if time == 0 else (", and ", Symbol(Label(part, 0)), " = 0 for t < T")
    yield (Symbol(Label(part, time)), " = ", right, *zero)
    yield from mean_of(loss)


def _alone(route: Paths, pen: Pen) -> str:
    """Return the derivative along the only route of a state to itself; where it is long, its name, under which the Jacobian
    has it: there is no other route."""
    first, *rest = route[0].definitions
    written = pen.expression(first.right)
    return pen.expression(first.left) if rest or len(written) > SHORT else written


SHORT = 40
"""Characters of a derivative that is written out a second time."""
CHOICES = (
    "JMGQK",
    "kjirpmn",
    "Lℒ",
    "θφψω",
    "wbW",
)
"""Names for the Jacobian of a step, the step at which a parameter is used, the whole loss, the parameter and the length
of a window are called: the first of each that is free. Python reads ℓ and ℒ in a name as l and L, so that no value has these."""
PARTS = ("ell", "cost", "e", "q")
"""What the loss of a step is called: ℓ, unless something on the page is."""
GREEK = {"θ": "theta", "φ": "phi", "ψ": "psi", "ω": "omega"}


@dataclass(frozen=True)
class _Letters:
    """The names of the closed form's own values."""

    jacobian: str
    step: str
    loss: str
    parameter: str
    window: str
    part: str
    reset: str = ""
    end: str = ""


@dataclass(frozen=True)
class _Signs:
    """The writing of the closed form."""

    letters: _Letters
    is_text: bool

    def at(self, name: str, step: int | str) -> str:
        """Return a name at a step, which joins the subscripts of the name."""
        # The step joins the subscripts of a name: c_a at step t is c_{a,t}.
        head, found, below = name.partition("_")
        if found and head:
            return f"{head}_{{{below.removeprefix('{').removesuffix('}')},{step}}}"
        return f"{name}_{step}" if self.is_text and len(str(step)) <= len(str(LONGEST)) else f"{name}_{{{step}}}"

    def quotient(self, above: str, below: str, mark: str = "") -> str:
        if self.is_text:
            return f"∂{mark and '⁺'}{above}/∂{below}"
        return rf"\frac{{\partial{mark and '^{+}'} {above}}}{{\partial {below}}}"

    def sum(self, under: str) -> str:
        if self.is_text:
            return f"Σ_{under} "
        inner = under.removeprefix("{").removesuffix("}").replace("≤", r"\leq")
        return rf"\sum_{{{inner.replace(':', chr(92) + 'colon')}}} "

    @property
    def parameter(self) -> str:
        own = self.letters.parameter
        if self.is_text:
            return own
        return f"\\{GREEK[own]}" if own in GREEK else rf"\mathrm{{{own}}}"

    @property
    def whole_loss(self) -> str:
        return r"\mathcal{L}" if self.letters.loss == "ℒ" and not self.is_text else self.letters.loss

    @property
    def gradient(self) -> str:
        return self.quotient(self.whole_loss, self.parameter)

    def initial(self, name: str) -> str:
        return self.quotient(self.whole_loss, self.at(name, 0))

    def loss(self, name: str, step: int | str) -> str:
        """Return the derivative of a step's loss by the state of the step."""
        return self._bracketed(self.quotient(self.at(self.part, step), self.at(name, step)))

    @property
    def part(self) -> str:
        own = self.letters.part
        if self.is_text:
            return "ℓ" if own == "ell" else own
        return r"\ell" if own == "ell" else own if len(own) == 1 else rf"\mathrm{{{own}}}"

    def entered(self, name: str, step: int | str) -> str:
        """Return the derivative of the state of a step in the state that enters it where states may be reset."""
        before = step - 1 if isinstance(step, int) else f"{step}-1"
        raised = f"{self.at(name, before)}^{{({self.letters.reset})}}"
        return self._bracketed(self.quotient(self.at(name, step), raised))

    def flag(self, step: int | str) -> str:
        return self.at(self.letters.reset, step)

    def _bracketed(self, quotient: str) -> str:
        return f"({quotient})" if self.is_text else quotient

    def used(self, name: str, step: int | str) -> str:
        """Return the derivative of a step's state by the parameter as this step uses it."""
        return self.quotient(self.at(name, step), self.parameter, "+")


def _reach(s: _Signs, setting: Setting) -> str:
    """Return the last step that is out of reach of a loss of step t; nothing where it acts on all steps before."""
    cut = setting.truncation
    if cut is None:
        return ""
    if isinstance(cut, Window):
        return f"t - {cut.k}"
    return f"{s.at(s.letters.end, 't')} - {cut.k2}"


def _to_the_start(s: _Signs, setting: Setting) -> str:
    """Return the steps whose losses act on the first step."""
    cut = setting.truncation
    if cut is None:
        return "t"
    if isinstance(cut, Window):
        return f"{{t ≤ {cut.k}}}"
    return f"{{t: {s.at(s.letters.end, 't')} ≤ {cut.k2}}}"


def _closed(s: _Signs, name: str, setting: Setting) -> Iterator[str]:
    J, k, reach = s.letters.jacobian, s.letters.step, _reach(s, setting)
    dots = "⋯" if s.is_text else r"\cdots"
    last = f"{s.loss(name, 't')} {s.at(J, 't')} {s.at(J, 't-1')} {dots}"
    # k is the step at which the parameter was used, t that of the loss; between them stand the Jacobians k + 1 to t.
    over = s.sum("t") + s.sum(f"{{{reach} < {k} ≤ t}}" if reach else f"{{{k} ≤ t}}")
    yield f"{s.gradient} = {over}{last} {s.at(J, f'{k}+1')} {s.used(name, k)}"
    if setting.reset:
        yield f"{s.initial(name)} = {over}{s.flag(k)} {last} {s.at(J, f'{k}+1')} {s.entered(name, k)}"
    else:
        yield f"{s.initial(name)} = {s.sum(_to_the_start(s, setting))}{last} {s.at(J, 1)}"


def _written_out(s: _Signs, name: str, T: int, setting: Setting, last: bool) -> Iterator[str]:
    """Yield the terms of T steps: what each loss, or the `last` alone, says of the states at its step, and these of the steps before."""
    jacobian = [s.at(s.letters.jacobian, t) for t in range(T + 1)]

    def used(t: int) -> list[str]:
        return [" ".join([*jacobian[t:k:-1], s.used(name, k)]) for k in range(t, 0, -1) if setting.acts(t, k, T)]

    def start(t: int) -> list[str]:
        if not setting.reset:
            return [" ".join(jacobian[t:0:-1])] if setting.acts(t, 1, T) else []
        return [" ".join([*([s.flag(k)] if k > 1 else []), *jacobian[t:k:-1], s.entered(name, k)])
                for k in range(t, 0, -1) if setting.acts(t, k, T)]  # fmt: skip

    for head, parts in ((s.gradient, used), (s.initial(name), start)):
        found = [(t, terms) for t in range(T if last else 1, T + 1) if t and (terms := parts(t))]
        if not found:
            yield f"{head} = 0"
        # One line for each loss, with its derivative in front of all that it acts on.
        for i, (t, terms) in enumerate(found):
            inner = " + ".join(terms)
            body = inner if len(terms) == 1 else f"({inner})" if s.is_text else rf"\left({inner}\right)"
            lead = f"{head} = " if i == 0 else (" " * len(head) + " + " if s.is_text else r"\quad {}+ ")
            yield f"{lead}{s.loss(name, t)} {body}"


def unrolled(cell: Cell, page: Equations, T: int | None, routes: Sequence[Paths]) -> Unrolled:
    """Return the closed form for a cell; `routes` are those of each state to itself."""
    if T is not None:
        check_count("T", T)
        if T > LONGEST:
            raise ArgumentError(
                f"at most {LONGEST} steps are written out, got T={T}\n  without T the closed form holds for all"
            )
    # A single route from a state to itself through nothing else, as f ⊙ c of an LSTM: its product is what carries gradients far.
    carries = tuple(p for p in routes if len(p) == 1 and len(p[0].names) == 2 and len(routes) > 1)
    return Unrolled(cell, page, T, StateJacobian(cell, page), carries)
