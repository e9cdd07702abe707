"""What changes from one cell to another: equations, routes, Jacobians and cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt.autodiff.subexpressions import is_function
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.derivations.derivation import Derivation
from symbptt.derivations.paths import MOST
from symbptt.derivations.tables import equation
from symbptt.equations.algebra.expressions import Call, Expr, Sum
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.equations.page.lines import Line, Lines
from symbptt.errors import ArgumentError
from symbptt.ir.graph import Graph
from symbptt.ir.shape import prod
from symbptt.ir.shape import size as sized
from symbptt.language.cell import Cell


@dataclass(frozen=True)
class Change:
    """A line that differs: what it is of, the terms that go and those that come, and the function they stand in, or the
    whole right sides where most of it differs. A line that one cell alone has is all gone or all new. `beside` are the lines
    that define what stands in these."""

    of: str
    gone: tuple[str, ...]
    new: tuple[str, ...]
    inside: str = ""
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([self._line(), *(["    with"] if self.beside else []), *(f"      {x}" for x in self.beside)])

    def _line(self) -> str:
        if self.gone and self.new and not self.inside and len(self.gone) == len(self.new) == 1:
            return f"{self.of}: {self.gone[0].removeprefix('+ ')} → {self.new[0].removeprefix('+ ')}"
        parts = [*(_signed(x, turned=True) for x in self.gone), *(_signed(x) for x in self.new)]
        where = f"  (inside {self.inside})" if self.inside else ""
        return f"{self.of}: {', '.join(parts)}{where}"


def _signed(term: str, turned: bool = False) -> str:
    """A term that comes, or with `turned` one that goes."""
    return f"without {term.removeprefix('+ ')}" if turned else term


@dataclass(frozen=True)
class CellComparison:
    """How a cell differs from another one, part by part; what is alike is left out."""

    first: str
    second: str
    forward: tuple[Change, ...]
    backward: tuple[Change, ...]
    gradients: tuple[Change, ...]
    paths: tuple[Change, ...]
    jacobians: tuple[Change, ...]
    cost: tuple[Change, ...]

    @property
    def sections(self) -> dict[str, tuple[Change, ...]]:
        """The changes by the name of their part."""
        return {
            "forward": self.forward,
            "backward": self.backward,
            "gradients": self.gradients,
            "routes": self.paths,
            "Jacobians": self.jacobians,
            "cost": self.cost,
        }

    def text(self) -> str:
        """Return what changes, a line for each change."""
        head = f"{self.first} → {self.second}"
        blocks = [f"{name}\n" + "\n".join(f"  {x}" for x in found) for name, found in self.sections.items() if found]
        return "\n".join([head, *(blocks or ["  nothing changes"])])

    def __str__(self) -> str:
        return self.text()


def compare(first: Cell, second: Cell) -> CellComparison:
    """Return what changes from a cell to another: its forward and backward equations, its gradients, the routes of each state
    to each in one step, its Jacobians, and what it costs. States, parameters and values are told apart by their names.

    Raises: ArgumentError where one of the two is no cell.
    """
    for cell in (first, second):
        if not isinstance(cell, Cell):
            raise ArgumentError(
                f"compare takes two cells, got {type(cell).__name__}\n  write sb.compare(lstm, gru); for training and stability "
                "sb.compare_designs"
            )
    a, b = Derivation(first), Derivation(second)
    lines = [Lines(d.recursion, d.labels, d.mark) for d in (a, b)]
    return CellComparison(
        first.name,
        second.name,
        tuple(_lines(*(x.forward() for x in lines))),
        tuple(_lines(*(x.backward() for x in lines))),
        tuple(_lines(*((*x.gradients(), *x.input_gradients()) for x in lines))),
        tuple(_routes(a, b)),
        tuple(_jacobians(a, b)),
        tuple(_cost(first, second)),
    )


def _lines(first: Sequence[Line], second: Sequence[Line]) -> Iterator[Change]:
    old, new = ({write(line.left, TEXT): line for line in lines} for lines in (first, second))
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield Change(name, (write(old[name].right, TEXT),), ())
        elif name not in old:
            yield Change(name, (), (f"= {write(new[name].right, TEXT)}",))
        elif write(old[name].right, TEXT) != write(new[name].right, TEXT):
            yield _changed(name, old[name].right, new[name].right)


def _changed(name: str, old: Expr, new: Expr, inside: str = "") -> Change:
    """The terms that differ; those inside a function that both have, by its name."""
    if isinstance(old, Call) and isinstance(new, Call) and old.name == new.name and len(old.args) == len(new.args) == 1:
        return _changed(name, old.args[0], new.args[0], "σ" if old.name == "sigmoid" else old.name)
    before, after = list(_terms(old)), list(_terms(new))
    gone, come = _less(before, after), _less(after, before)
    if len(gone) == len(before) and len(before) > 1:
        gone, come = [write(old, TEXT)], [write(new, TEXT)]
    return Change(name, tuple(gone), tuple(come), inside)


def _terms(e: Expr) -> Iterator[str]:
    for sign, term in e.terms if isinstance(e, Sum) else ((1, e),):
        yield ("+ " if sign > 0 else "- ") + write(term, TEXT)


def _less(terms: Iterable[str], gone: Sequence[str]) -> list[str]:
    left = list(gone)
    found = []
    for term in terms:
        if term in left:
            left.remove(term)
        else:
            found.append(term)
    return found


def _routes(a: Derivation, b: Derivation) -> Iterator[Change]:
    for to, of in _common(a, b):
        found = [_told(d, to, of) for d in (a, b)]
        gone, new = _less(found[0], found[1]), _less(found[1], found[0])
        if gone or new:
            yield Change(f"{of} to {to}", tuple(gone), tuple(f"+ {x}" for x in new))


def _told(d: Derivation, to: str, of: str) -> list[str]:
    """The routes in one step; where there are too many, how many."""
    try:
        return [path.route for path in d.paths(to, of)]
    except ArgumentError:
        return [f"more than {MOST} routes"]


def _common(a: Derivation, b: Derivation) -> Iterator[tuple[str, str]]:
    states = [name for name in a.cell.step.next if name in b.cell.step.next]
    yield from ((to, of) for to in states for of in states)


def _jacobians(a: Derivation, b: Derivation) -> Iterator[Change]:
    pairs = list(_common(a, b))
    heads = {write(a.jacobian(to, of).definitions[0].left, TEXT) for to, of in pairs}
    for to, of in pairs:
        old, new = (d.jacobian(to, of).definitions for d in (a, b))
        rest = [[equation(x, TEXT) for x in lines[1:]] for lines in (old, new)]
        sides = [write(x[0].right, TEXT) for x in (old, new)]
        changed = [x for x in (*old[1:], *new[1:]) if (equation(x, TEXT) in rest[0]) != (equation(x, TEXT) in rest[1])]
        if sides[0] == sides[1] and all(write(x.left, TEXT) in heads for x in changed):
            continue  # a derivative that stands in it has changed, and has its own line here
        both = [x for x in rest[0] if x in rest[1]]
        alone = [
            f"{x}  (in {d.cell.name})" for d, lines in ((a, rest[0]), (b, rest[1])) for x in lines if x not in both
        ]
        yield Change(write(new[0].left, TEXT), (sides[0],), (sides[1],), beside=(*both, *alone))


def _cost(first: Cell, second: Cell) -> Iterator[Change]:
    old, new = _costs(first), _costs(second)
    for name, value in old.items():
        if value != new[name]:
            difference = sp.expand(new[name] - value)
            sign = "" if str(difference).startswith("-") else "+"
            yield Change(name, (_size(value),), (f"{_size(new[name])}  ({sign}{_size(difference)})",))


def _size(value: sp.Expr) -> str:
    return str(value).replace("**2", "²").replace("**3", "³").replace("*", " ")


def _costs(cell: Cell) -> dict[str, sp.Expr]:
    step, g = cell.step, cell.step.graph
    read = g.ancestors([*step.next.values(), *step.outputs.values()])
    count = sum((prod(a.shape) for a in step.of_role("param")), sp.S.Zero)
    return {
        "parameters": sp.sympify(count),
        "multiplications of products, a step": sp.sympify(sum((_products(g, id) for id in read), sp.S.Zero)),
        "functions, a step": sp.sympify(sum((prod(g.shape(id)) for id in read if is_function(g[id])), sp.S.Zero)),
        "values kept, a step": sp.sympify(compile_cell(cell).plan.elements),
    }


def _products(g: Graph, id: int) -> sp.Expr:
    node = g[id]
    if node.family != "contract":
        return sp.S.Zero
    p = node.attrs
    sizes: Mapping[int, object] = dict(zip((*p.a, *p.b), (*g.shape(node.args[0]), *g.shape(node.args[1])), strict=True))
    return sp.sympify(sized(sp.Mul(*map(sp.sympify, sizes.values()))))
