"""Differences between one cell and another: equations, routes, Jacobians and cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sympy as sp

from symbptt.autodiff.subexpressions import is_function
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.derivations.derivation import Derivation
from symbptt.derivations.paths import MOST
from symbptt.derivations.tables import equation
from symbptt.equations.algebra.expressions import Call, Expr, Sum
from symbptt.equations.notation.ascii import in_ascii
from symbptt.equations.notation.pen import Pen
from symbptt.equations.page.lines import Line, Lines
from symbptt.errors import ArgumentError
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Settling
from symbptt.ir.rounds import changing, leaves_of
from symbptt.ir.shape import prod
from symbptt.ir.shape import size as sized
from symbptt.language.cell import Cell
from symbptt.notebook import preformatted

ROUNDS = sp.Symbol("rounds", integer=True, positive=True)
"""The number of rounds to a fixed point, as costs have it."""
LONGEST = 120
"""Characters of two right sides that stand in one line."""


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
        where = f"  (inside {self.inside})" if self.inside else ""
        # A route has arrows of its own.
        if len(self.gone) == len(self.new) == 1 and "→" not in self.gone[0]:
            old, new = (x[0].removeprefix("+ ") for x in (self.gone, self.new))
            apart = "\n    " if len(self.of) + len(old) + len(new) > LONGEST else " "
            return f"{self.of}: {old}{apart}→ {new}{where}"
        parts = [*(_signed(x, turned=True) for x in self.gone), *(_signed(x) for x in self.new)]
        return f"{self.of}: {', '.join(parts)}{where}"


def _signed(term: str, turned: bool = False) -> str:
    """Return a term that comes, or with `turned` one that goes."""
    return f"without {term.removeprefix('+ ')}" if turned else term


@dataclass(frozen=True)
class CellComparison:
    """The differences of a cell from another one, part by part; equal parts are left out."""

    cells: tuple[Cell, Cell] = field(repr=False)
    forward: tuple[Change, ...]
    backward: tuple[Change, ...]
    gradients: tuple[Change, ...]
    paths: tuple[Change, ...]
    jacobians: tuple[Change, ...]
    cost: tuple[Change, ...]

    @property
    def first(self) -> str:
        """The name of the first cell."""
        return self.cells[0].name

    @property
    def second(self) -> str:
        """The name of the second cell."""
        return self.cells[1].name

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

    def text(self, *, ascii: bool = False) -> str:
        """Return what changes, a line for each change; with `ascii` in ASCII alone."""
        if ascii:
            a, b = map(Derivation, self.cells)
            return in_ascii(_compared(a, b, a.pen(ascii), b.pen(ascii)).text())
        head = f"{self.first} → {self.second}"
        blocks = [f"{name}\n" + "\n".join(f"  {x}" for x in found) for name, found in self.sections.items() if found]
        return "\n".join([head, *(blocks or ["  nothing changes"])])

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return preformatted(str(self))


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
    return _compared(a, b, *(d.pen() for d in (a, b)))


def _compared(a: Derivation, b: Derivation, one: Pen, other: Pen) -> CellComparison:
    """Return the comparison, each cell in the names of its own page."""
    # Lines are those of the page, with one body for all rounds of a loop.
    pages = [(d.looped, d.looped.pen()) if d.looped else (d, pen) for d, pen in ((a, one), (b, other))]
    lines = [(Lines(page.recursion, page.labels, page.mark), pen) for page, pen in pages]
    return CellComparison(
        (a.cell, b.cell),
        tuple(_lines(*([_Told(x, pen) for x in found.forward()] for found, pen in lines))),
        tuple(_lines(*([_Told(x, pen) for x in found.backward()] for found, pen in lines))),
        tuple(
            _lines(*([_Told(x, pen) for x in (*found.gradients(), *found.input_gradients())] for found, pen in lines))
        ),
        tuple(_routes(a, b, one, other)),
        tuple(_jacobians(a, b, one, other)),
        tuple(_cost(a.cell, b.cell)),
    )


@dataclass(frozen=True)
class _Told:
    """A line, and what writes it."""

    line: Line
    pen: Pen

    @property
    def left(self) -> str:
        return self.pen.expression(self.line.left)

    @property
    def right(self) -> str:
        return self.pen.expression(self.line.right)


def _lines(first: Sequence[_Told], second: Sequence[_Told]) -> Iterator[Change]:
    old, new = ({x.left: x for x in lines} for lines in (first, second))
    # The order of the first cell, then what the second one adds.
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            yield Change(name, (old[name].right,), ())
        elif name not in old:
            yield Change(name, (), (f"= {new[name].right}",))
        elif old[name].right != new[name].right:
            one, other = old[name], new[name]
            yield _changed(name, (one.line.right, one.pen), (other.line.right, other.pen))


def _changed(name: str, old: tuple[Expr, Pen], new: tuple[Expr, Pen], inside: str = "") -> Change:
    """Return the terms that differ; those inside a function that both have, by its name."""
    (a, one), (b, other) = old, new
    # Both lines apply the same function: the difference lies in its argument, and is told there.
    if isinstance(a, Call) and isinstance(b, Call) and a.name == b.name and len(a.args) == len(b.args) == 1:
        within = one.words("σ") if a.name == "sigmoid" else a.name
        return _changed(name, (a.args[0], one), (b.args[0], other), within)
    before, after = list(_terms(*old)), list(_terms(*new))
    gone, come = _less(before, after), _less(after, before)
    # Nothing is shared: the whole right sides say more than a list of terms.
    if len(gone) == len(before) and len(before) > 1:
        gone, come = [one.expression(a)], [other.expression(b)]
    return Change(name, tuple(gone), tuple(come), inside)


def _terms(e: Expr, pen: Pen) -> Iterator[str]:
    for sign, term in e.terms if isinstance(e, Sum) else ((1, e),):
        yield ("+ " if sign > 0 else "- ") + pen.expression(term)


def _less(terms: Iterable[str], gone: Sequence[str]) -> list[str]:
    left = list(gone)
    found = []
    for term in terms:
        if term in left:
            # Removed, not only found: terms count as often as they occur.
            left.remove(term)
        else:
            found.append(term)
    return found


def _routes(a: Derivation, b: Derivation, one: Pen, other: Pen) -> Iterator[Change]:
    for (to, of), (same_to, same_of) in _common(a, b, one, other):
        found = [_told(a, to, of, one), _told(b, same_to, same_of, other)]
        gone, new = _less(found[0], found[1]), _less(found[1], found[0])
        if gone or new:
            yield Change(f"{one.name(of)} to {one.name(to)}", tuple(gone), tuple(f"+ {x}" for x in new))


def _told(d: Derivation, to: str, of: str, pen: Pen) -> list[str]:
    """Return the routes in one step; where there are too many, how many."""
    try:
        return [path.along(pen) for path in d.paths(to, of)]
    except ArgumentError:
        return [f"more than {MOST} routes"]


Pair = tuple[str, str]


def _common(a: Derivation, b: Derivation, one: Pen, other: Pen) -> Iterator[tuple[Pair, Pair]]:
    """Yield the pairs of states that both cells have, by the names of their pages: h_prev of one is h of the other."""
    second = {other.name(name): name for name in b.cell.closed.next}
    states = [(name, second[shown]) for name in a.cell.closed.next if (shown := one.name(name)) in second]
    yield from (((to, of), (same_to, same_of)) for to, same_to in states for of, same_of in states)


def _jacobians(a: Derivation, b: Derivation, one: Pen, other: Pen) -> Iterator[Change]:
    pairs = list(_common(a, b, one, other))
    heads = {one.expression(a.jacobian(*pair).definitions[0].left) for pair, _ in pairs}
    for pair, same in pairs:
        old, new = (
            [_Derivative(pen.expression(x.left), pen.expression(x.right), equation(x, pen))
             for x in d.jacobian(*names).written_out]  # by name, other numbers would look alike
            for d, names, pen in ((a, pair, one), (b, same, other))
        )  # fmt: skip
        rest = [[x.shown for x in lines[1:]] for lines in (old, new)]
        changed = [x for x in (*old[1:], *new[1:]) if (x.shown in rest[0]) != (x.shown in rest[1])]
        # The block itself reads alike: what has changed inside is reported at its own block.
        if old[0].right == new[0].right and all(x.left in heads for x in changed):
            continue  # a derivative that stands in it has changed, and has its own line here
        both = [x for x in rest[0] if x in rest[1]]
        alone = [
            f"{x}  (in {d.cell.name})" for d, lines in ((a, rest[0]), (b, rest[1])) for x in lines if x not in both
        ]
        yield Change(new[0].left, (old[0].right,), (new[0].right,), beside=(*both, *alone))


@dataclass(frozen=True)
class _Derivative:
    """The line of a derivative: its sides, and the whole."""

    left: str
    right: str
    shown: str


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
    # The rounds of a loop are counted, not written out: its body stands once in the step as the user wrote it.
    step, g = cell.looped, cell.looped.graph
    read = g.ancestors([*step.next.values(), *step.outputs.values()])
    times = _times(g, read)
    count = sum((prod(a.shape) for a in step.of_role("param")), sp.S.Zero)
    functions = sum((times[id] * prod(g.shape(id)) for id in read if is_function(g[id])), sp.S.Zero)
    return {
        "parameters": sp.sympify(count),
        "multiplications of products, a step": sp.sympify(
            sum((times[id] * _products(g, id) for id in read), sp.S.Zero)
        ),
        "functions, a step": sp.sympify(functions),
        "values kept, a step": sp.sympify(compile_cell(cell).plan.elements),
    }


def _times(g: Graph, ids: Sequence[int]) -> dict[int, sp.Expr]:
    """Return how often each value is computed in a step: in the body of a loop as often as it has rounds, of a fixed point `rounds`,
    which only a run knows."""
    depends = changing(g, ids)
    loops: dict[int, int] = {}
    for id in ids:
        if g[id].family == "repeat":
            # The results of one loop are several nodes, which share its leaves: the first stands for all.
            for leaf in leaves_of(g[id]):
                loops.setdefault(leaf, id)
    return {id: sp.Mul(*(_count(g[loop]) for loop in _around(loops, depends, found))) for id, found in depends.items()}


def _around(loops: Mapping[int, int], depends: Mapping[int, frozenset[int]], leaves: Iterable[int]) -> list[int]:
    """Return the loops in whose bodies a value stands that depends on these leaves: those of the leaves, and those around them."""
    found: set[int] = set()
    coming = {loops[leaf] for leaf in leaves}
    while coming:
        loop = coming.pop()
        found.add(loop)
        # An inner loop stands in the body of an outer one that it reads, though a value inside may not read that itself.
        coming |= {loops[leaf] for leaf in depends[loop]} - found
    return sorted(found)


def _count(loop: Node) -> sp.Expr:
    return ROUNDS if isinstance(loop.attrs, Settling) else sp.sympify(sized(loop.attrs.count))


def _products(g: Graph, id: int) -> sp.Expr:
    node = g[id]
    if node.family != "contract":
        return sp.S.Zero
    p = node.attrs
    # One multiplication for each combination of all labels, summed ones included.
    sizes: Mapping[int, object] = dict(zip((*p.a, *p.b), (*g.shape(node.args[0]), *g.shape(node.args[1])), strict=True))
    return sp.sympify(sized(sp.Mul(*map(sp.sympify, sizes.values()))))
