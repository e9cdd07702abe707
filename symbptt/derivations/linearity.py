"""In which arguments a value of a cell is linear or affine, and through what it is not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from symbptt.autodiff.labels import Label
from symbptt.autodiff.linearity import NONE, degree
from symbptt.equations.notation.signs import columns, padded
from symbptt.equations.page.equations import Equations
from symbptt.errors import ArgumentError
from symbptt.ir.graph import Graph
from symbptt.ir.step import Step
from symbptt.language.cell import Cell, nearest
from symbptt.language.folding import folded

SIGNS = {"sigmoid": "σ", "abs": "|·|", "greater": "[· > ·]", "less": "[· < ·]", "where": "a choice", "maximum": "max", "minimum": "min",
         "greater_equal": "[· ≥ ·]", "less_equal": "[· ≤ ·]", "equal": "[· = ·]", "floor": "⌊·⌋", "norm": "‖·‖",
         "smooth_norm": "√(‖·‖² + ε)", "deviation": "√(var(·) + ε)", "rms": "√(mean(·²) + ε)", "unit": "· / ‖·‖",
         "is_max": "the place of a maximum", "is_min": "the place of a minimum"}  # fmt: skip


@dataclass(frozen=True)
class Break:
    """A value that is not affine in what it reads: what makes it so, the value it goes into, and the user's line."""

    function: str
    value: str
    place: str

    def __str__(self) -> str:
        return self.said(str)

    def said(self, written: Callable[[str], str]) -> str:
        """Return what is not affine, with the names of values as they are written."""
        return f"{self.function} in {written(self.value)}" + (f" ({self.place})" if self.place else "")


@dataclass(frozen=True)
class Dependence:
    """The dependence of a value on some arguments together, all others given: "constant", "linear", "affine" or "not shown"
    to be any of these; then `through` are the first values that are not affine in what they read."""

    of: tuple[str, ...]
    kind: str
    through: tuple[Break, ...] = ()

    def __str__(self) -> str:
        return self.said(str)

    def said(self, written: Callable[[str], str]) -> str:
        """Return the kind, and what it is not affine through, with the names of values as they are written."""
        if self.kind == NONE:
            return f"{NONE}: through {', '.join(dict.fromkeys(x.said(written) for x in self.through))}"
        return self.kind


@dataclass(frozen=True)
class Linearity:
    """In which arguments a next state or an output is linear or affine, by argument; `together` for all states at once.
    `page` has the names that it is written in."""

    page: Equations = field(repr=False, compare=False)
    to: str
    by: tuple[Dependence, ...]
    together: Dependence | None = None

    def __getitem__(self, name: str) -> Dependence:
        for x in self.by:
            if x.of == (name,):
                return x
        raise ArgumentError(f"no argument is called {name!r}" + nearest(str(name), [x.of[0] for x in self.by]))

    def text(self, *, ascii: bool = False) -> str:
        """Return a line for each way to depend on arguments, all others given; with `ascii` in ASCII alone."""
        pen = self.page.pen(ascii)
        groups: dict[str, list[str]] = {}
        for x in self.by:
            groups.setdefault(pen.words(x.said(pen.name)), []).append(pen.name(x.of[0]))
        names = {", ".join(group): said for said, group in groups.items()}
        if self.together is not None:
            names[f"{', '.join(map(pen.name, self.together.of))} together"] = pen.words(self.together.said(pen.name))
        width = min(max(map(columns, names), default=0), 24)
        lines = [f"  in {padded(name, width)}  {said}" for name, said in names.items()]
        return "\n".join([f"{pen.symbol(Label(self.to, 0))}, all else given, is linear or affine", *lines])

    def __str__(self) -> str:
        return self.text()


def linearity(cell: Cell, page: Equations, to: str) -> Linearity:
    """Return how a next state or an output depends on each argument and on all states together."""
    # Loops with bodies of their own are proved round by round.
    is_page = cell.has_numbers_of_rounds
    step, labels = (page.recursion.step, page.labels) if is_page else (folded(cell.closed), {})
    results = step.next | step.outputs
    if not isinstance(to, str) or to not in results:
        raise ArgumentError(f"{cell.name} has no next state or output by the name {to!r}" + nearest(str(to), results))
    wanted = [a.name for a in step.of_role("state", "input", "param")]
    found = [_dependence(step, labels, results[to], (name,)) for name in wanted]
    states = tuple(step.next)
    # A product of two states is linear in each and not in both together.
    together = _dependence(step, labels, results[to], states) if len(states) > 1 else None
    return Linearity(page, to, tuple(found), together)


def _dependence(step: Step, labels: Mapping[int, Label], id: int, names: tuple[str, ...]) -> Dependence:
    g = step.graph
    found = degree(g, id, {step.leaves[name] for name in names})
    # Reversed, so that of two results that are one node the first in the user's order gives the name.
    ends = {end: name for name, end in reversed((step.next | step.outputs).items())}
    read = set(g.ancestors([id]))
    given = {x: label.name for x, label in labels.items() if label.given and not label.adjoint}
    called = {x: name for x, name in {**g.names, **given, **ends}.items() if x in read}
    breaks = [Break(SIGNS.get(why, why), _goes_into(g, at, called, read), g[at].place) for at, why in found.through]
    return Dependence(names, found.kind, tuple(breaks))


def _goes_into(g: Graph, id: int, called: Mapping[int, str], read: Collection[int]) -> str:
    """Return the name of the first value with a name that a value goes into, on the way to what is asked for: among
    `read`."""
    # Breadth first: the nearest named value is met before farther ones.
    open_ = [id]
    while open_:
        at = open_.pop(0)
        if at in called and g[at].family != "leaf":
            return called[at]
        open_ += sorted(x for x in g.readers(at) if x in read)
    return ""
