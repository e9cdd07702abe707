"""The routes by which a state before some steps acts on a value after them, each with its derivative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.autodiff.chain import Chain, Stop, along, chain, moving
from symbptt.autodiff.entrywise import Calculus
from symbptt.autodiff.jacobian import direct
from symbptt.autodiff.labels import Label
from symbptt.autodiff.routes import Routes, network
from symbptt.autodiff.term import Terms
from symbptt.checks import check_count
from symbptt.derivations.tables import equation, gathered, lines_by_name, said, said_in_latex, said_of_constants, table
from symbptt.derivations.under_setting import along_a_route, said_of_routes
from symbptt.equations.algebra.expressions import Derivative, Expr, Symbol, matmul, normal
from symbptt.equations.algebra.traversal import every
from symbptt.equations.notation.pen import Pen
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.derivative_lines import WIDEST, letter_of, lines, read_again, widest
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
from symbptt.errors import ArgumentError
from symbptt.ir.shape import named_size
from symbptt.ir.step import Step
from symbptt.language.cell import Cell, nearest
from symbptt.language.each_step import given_each_step, with_inputs
from symbptt.language.init import concrete

MOST = 500
"""Routes at the most that are made one by one."""
TERMS = 12
"""Terms of the derivative along one route at the most; beyond, it is told by the derivatives that it is a product of."""


@dataclass(frozen=True)
class Path:
    """One route: the names of its values from the first to the last, and its derivative as lines of a page.

    `keys` tell each value by what it is ("of" a state before a step, "to" after it, else "at") and its name, and how many
    steps before the last it is; `page` has the names that it is written in.
    """

    page: Equations = field(repr=False, compare=False)
    names: tuple[str, ...]
    keys: tuple[tuple[str, int], ...]
    definitions: tuple[Definition, ...]

    @property
    def route(self) -> str:
        """The names, as the page has them, with arrows between them."""
        return self.along(self.page.pen())

    def along(self, pen: Pen) -> str:
        """Return the route in the names of a pen."""
        return pen.words(" → ").join(map(pen.name, self.names))

    def text(self, *, ascii: bool = False) -> str:
        """Return the derivative along the route as plain text, with `ascii` in ASCII alone."""
        pen = self.page.pen(ascii)
        first, *rest = _along(self, pen)
        notes = said(said_of_equations(self.definitions), pen)
        return "\n".join([first, *(["with"] if rest else []), *rest, *notes])

    def latex(self) -> str:
        """Return the derivative along the route as LaTeX."""
        pen = self.page.latex_pen
        return gathered([*_along(self, pen), *said_in_latex(said_of_equations(self.definitions), pen)])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return f"{self.route}: {self.text()}"


@dataclass(frozen=True)
class Measured:
    """The derivatives along routes on data, and all together.

    Shapes: `values` and `total` (N, *to, *of), `norms` (N, paths) and `whole` (N,), the 2-norms of the derivatives as
    matrices; N windows of as many steps as the routes have. Without axes for time in the data, there is no N.
    """

    paths: Paths
    values: tuple[Any, ...]
    total: Any
    norms: Any
    whole: Any

    def text(self, *, ascii: bool = False) -> str:
        """Return the table of routes with the mean norm of each over the windows; with `ascii` in ASCII alone."""
        norms = np.mean(self.norms, 0) if np.ndim(self.norms) == 2 else self.norms
        whole = float(np.mean(self.whole))
        return self.paths._table(self.paths.page.pen(ascii), [f"{x:.2g}" for x in norms], f"{whole:.2g}")

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class Paths(Sequence[Path]):
    """All routes from `of`, as it enters the first of some steps, to `to` after the last; their derivatives add up to
    that of `to` with respect to `of`."""

    cell: Cell
    page: Equations = field(repr=False, compare=False)
    to: str
    of: str
    steps: int
    paths: tuple[Path, ...]
    through: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        return self.paths[index]

    def text(self, *, ascii: bool = False) -> str:
        """Return a table: a route and its derivative in each row; with `ascii` in ASCII alone."""
        return self._table(self.page.pen(ascii), None, "")

    def _table(self, pen: Pen, norms: Sequence[str] | None, whole: str) -> str:
        if not self.paths:
            over, under = Symbol(Label(self.to, 0)), Symbol(_first(self.cell, self.of, self.steps))
            head = pen.expression(Derivative(over, under))
            return f"{head} = 0: no route leads from {pen.name(self.of)} to {pen.name(self.to)}"
        head = pen.expression(self.paths[0].definitions[0].left)
        rows = [(p.along(pen), self._derivative(p, pen), n)
                for p, n in zip(self.paths, norms or [""] * len(self), strict=True)]  # fmt: skip
        if norms is not None and len(self) > 1:
            rows.append(("all together", "", whole))
        shared = list(dict.fromkeys(equation(x, pen) for p in self.paths for x in p.definitions[1:]))
        notes = said(self._notes(), pen)
        return "\n".join([table(head, rows, pen.words("‖·‖₂") if norms is not None else "", shared), *notes])

    def _notes(self) -> Iterator[Note]:
        yield from said_of_routes(self.page, self.of, self.steps)
        together: dict[frozenset[object], Note] = {}
        for note in (note for path in self.paths for note in said_of_equations(path.definitions)):
            # Routes name the same derivatives in the order in which they read them: what is said of them is said once.
            together.setdefault(frozenset(note), note)
        yield from together.values()
        if any(len(e.over.shape) > 1 for path in self.paths for e in every(path.definitions[0].right, Derivative)):
            yield ("a product of derivatives sums over all indices of the value between",)
        yield from said_of_constants([x for path in self.paths for x in path.definitions], self.page)

    def latex(self) -> str:
        """Return the routes and their derivatives as rows of a LaTeX array, and behind them the lines that these read."""
        pen = self.page.latex_pen
        arrow = r" \to "
        rows = [f"{arrow.join(map(pen.name, p.names))} && {self._derivative(p, pen)}" for p in self.paths]
        shared = dict.fromkeys(equation(x, pen) for p in self.paths for x in p.definitions[1:])
        notes = [f"\\rlap{{{note}}}" for note in said_in_latex(self._notes(), pen)]
        rows = [*(rows or ["0"]), *(f"&& {line}" for line in shared), *notes]
        return "\\begin{aligned}\n  " + " \\\\\n  ".join(rows) + "\n\\end{aligned}"

    def _derivative(self, path: Path, pen: Pen) -> str:
        """Return the derivative along a route; its whole line where it is told by another derivative."""
        line, head = path.definitions[0], self.paths[0].definitions[0].left
        return pen.expression(line.right) if line.left == head else equation(line, pen)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text()

    def evaluate(self, params: Mapping[str, Any], inputs: Mapping[str, Any] | None = None,
                 state: Mapping[str, Any] | None = None) -> Measured:  # fmt: skip
        """Return the derivative along each route as an array, and its 2-norm.

        Shapes: params and state as annotated, state before the first step, zero where omitted; inputs as annotated for
        one step, or (T, ...) with T at least the number of steps: then for all windows of so many steps, one after another.
        They are those of one sample.

        Raises: ArgumentError for what lacks, is not known, is no index or not finite, or has another shape or a mixed type;
        and for too few steps.
        """
        with np.errstate(all="ignore"):
            return _measured(self, params, inputs, state)


def _along(of: Path, pen: Pen) -> list[str]:
    """Return the derivative along a route, and behind it the lines that it needs."""
    first, *rest = of.definitions
    return [pen.expression(first.right), *(equation(line, pen) for line in rest)]


def _first(cell: Cell, of: str, steps: int) -> Label:
    role = next(a.role for a in cell.arguments if a.name == of)
    return Label(of, {"state": -steps, "input": 1 - steps}.get(role))


def paths(cell: Cell, page: Equations, to: str, of: str, steps: int, through: Sequence[str] | None, most: int) -> Paths:
    """Return the routes of a cell, as `Derivation.paths` says."""
    check_count("steps", steps, 1)
    check_count("most", most, 1)
    step = page.recursion.step
    _check_names(cell, to, of)
    names = _names(cell, step.graph, through)
    roots = tuple(dict.fromkeys((step.next | step.outputs).values()))
    labels, calculus = calculus_of(step, page.labels_in_textbook)
    net = network(calculus, step, set(names))
    routes = Routes(net, frozenset(step.next), to, of, steps)
    # Counted first: the number of routes may grow exponentially with the steps, while counting stays linear.
    count = routes.counts[routes.last]
    if count > most:
        others = "fewer steps, or " if steps > 1 else ""
        raise ArgumentError(
            f"{count:,} routes lead from {of} to {to} in {steps} step{'s' * (steps > 1)}, and {most} are made at the most\n"
            f"  ask for {others}routes through few values: through=[{', '.join(map(repr, list(step.next)[:2]))}]; or most={count}"
        )
    stops = frozenset(net.reads) | frozenset(step.leaves.values())
    telling = _Telling(page, calculus, step, stops, labels, _called(step, names), to, _first(cell, of, steps), steps)
    found = [telling.path(route) for route in routes]
    # A long value that several routes read has one name in all of them, and that of a later one in the routes before.
    count = 0
    telling.name_what_is_read_again(roots)
    while count != len(telling.made):
        count = len(telling.made)
        found = [telling.path(route) for route in routes]
    return Paths(cell, page, to, of, steps, tuple(found), None if through is None else tuple(through))


def _check_names(cell: Cell, to: str, of: str) -> None:
    results = [*cell.closed.next, *cell.closed.outputs]
    sources = [a.name for a in cell.closed.of_role("state", "input", "context", "param", "const")]
    for name, known, what in ((to, results, "next state or output"), (of, sources, "argument")):
        if not isinstance(name, str) or name not in known:
            raise ArgumentError(f"{cell.name} has no {what} by the name {name!r}" + nearest(str(name), known))


def _names(cell: Cell, graph: Any, through: Sequence[str] | None) -> dict[int, str]:
    """Return the values that routes are told by."""
    known = {name: id for id, name in graph.names.items() if name in cell.closed.graph.names.values()}
    if through is None:
        return {id: name for name, id in known.items()}
    if isinstance(through, str):
        raise ArgumentError(f'through: a list of names is expected, got {through!r}\n  write through=["{through}"]')
    results = [*cell.closed.next, *cell.closed.outputs]
    for name in through:
        if name not in known and name not in results:
            raise ArgumentError(
                f"{cell.name} has no value by the name {name!r}" + nearest(str(name), [*known, *results])
            )
    return {known[name]: name for name in through if name in known}


def _called(step: Step, names: Mapping[int, str]) -> dict[int, str]:
    """Return the names of the values of routes: a state has its own name, whatever the user calls its next value."""
    leaves = {id: name for name, id in step.leaves.items()}
    ends = {id: name for name, id in reversed((step.next | step.outputs).items())}
    return {**names, **leaves, **{id: name for id, name in ends.items() if id not in leaves}}


@dataclass(frozen=True)
class _Telling:
    """The maker of a cell's paths: the names of values on pages, what routes call them, and names made for long values."""

    page: Equations
    calculus: Calculus
    step: Step
    stops: frozenset[int]
    labels: Mapping[int, Label]
    called: Mapping[int, str]
    to: str
    source: Label
    steps: int
    made: dict[int, Label] = field(default_factory=dict)
    between: dict[tuple[int, int], Terms | None] = field(default_factory=dict)
    moved: dict[int, frozenset[int]] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)

    @cached_property
    def notes(self) -> RoundNotes:
        return RoundNotes.of(self.calculus.graph, self.labels)

    def name_what_is_read_again(self, roots: Sequence[int]) -> None:
        labels = {**self.labels, **self.made}
        for id in read_again(self.chains, labels, self.calculus.graph.ancestors(roots)):
            self.made[id] = letter_of(self.chains[0], {**labels, **self.made}, id)

    def path(self, route: tuple[Stop, ...]) -> Path:
        shown = [self.called[id] for i, (id, _) in enumerate(route) if i == 0 or not _is_read_again(route, i)]
        names = (*shown[:-1], self.to) if len(shown) > 1 else (self.source.name, self.to)
        keys = tuple((self._key(id), back) for id, back in route)
        if any(self._told(before, after) for before, after in _edges_of(route)):
            return self._path(names, keys, self._by_parts(route), True)
        # None for too many terms: then the route is told as a product of short derivatives.
        terms = along(self.calculus, route, self.stops, TERMS, self.between)
        first, last = route[0][0], route[-1][0]
        if terms is None:
            return self._path(names, keys, self._by_parts(route), True)
        chain_ = Chain(self.calculus, first, {last: terms})
        self.chains.append(chain_)
        found = lines(chain_, self.labels, self.source, {last: Label(self.to, 0)}, self.made)
        if widest(found[:1]) > WIDEST:
            return self._path(names, keys, self._by_parts(route), True)
        return self._path(names, keys, found, False)

    def _path(
        self, names: tuple[str, ...], keys: tuple[tuple[str, int], ...], found: tuple[Definition, ...], by_parts: bool
    ) -> Path:
        told = along_a_route(found, self.page, self.source.name, self.steps, by_parts)
        return Path(self.page, names, keys, lines_by_name(told, self.page))

    def _key(self, id: int) -> str:
        if id in self.step.leaves.values():
            return f"of {self.called[id]}"
        kind = "to" if id in (self.step.next | self.step.outputs).values() else "at"
        return f"{kind} {self.called[id]}"

    def _by_parts(self, route: Sequence[Stop]) -> tuple[Definition, ...]:
        """Return a long derivative as a product of those between neighbours, each with a line that holds at every
        step."""
        factors: list[Expr] = []
        found: dict[tuple[int, int], tuple[Definition, ...]] = {}
        for (before, now), (after, _) in _edges_with_steps(route):
            over, under = self._label(after), self._label(before)
            # The latest step first, as the chain rule multiplies Jacobians.
            factors.insert(0, Derivative(self._symbol(after, over, now), self._symbol(before, under, now)))
            # Derivatives are equal at all steps up to the time of their values: one line for each pair of neighbours.
            if (before, after) not in found:
                found[before, after] = self._edge(before, after, over, under)
        shapes = [normal(self.calculus.graph.shape(route[i][0])) for i in (-1, 0)]
        whole = Derivative(Symbol(Label(self.to, 0), shapes[0]), Symbol(self.source, shapes[1]))
        parts = tuple(dict.fromkeys(x for part in found.values() for x in part))
        # The derivative along a single edge is that edge's.
        is_edge = factors == [whole] and [*parts[0].left.labels] == [*whole.labels]
        return parts if is_edge else (Definition(whole, matmul(factors)), *parts)

    def _edge(self, before: int, after: int, over: Label, under: Label) -> tuple[Definition, ...]:
        """Return the lines of the derivative between neighbours; of one that goes through the rounds of a loop or is that of a
        fixed point, the lines that tell it."""
        g = self.calculus.graph
        target = line_of(g, after, self.labels)
        stops = self.stops - {before}
        ends = of_rounds(g, self._told(before, after), self.labels, {target}, stops)
        edge = chain(self.calculus, before, [target, *ends], stops)
        found = lines(edge, self.labels, under, {target: over} | ends, self.made)
        return tuple(self.notes.told(solved(line)) for line in found)

    def _told(self, before: int, after: int) -> frozenset[int]:
        """Return the leaves of loops and fixed points between neighbours on a route."""
        g = self.calculus.graph
        if before not in self.moved:
            self.moved[before] = moving(g, before, self.stops - {before})
        told = self.moved[before]
        return told & {*g.ancestors([after], self.stops - {after})} if told else told

    def _label(self, id: int) -> Label:
        times = {a.name: a.time for a in self.step.arguments}
        name = self.called[id]
        return Label(name, times[name] if id in self.step.leaves.values() else 0)

    def _symbol(self, id: int, label: Label, back: int) -> Symbol:
        time = None if label.time is None else label.time - back
        return Symbol(label.at(time), normal(self.calculus.graph.shape(id)))


def _edges_with_steps(route: Sequence[Stop]) -> Iterator[tuple[Stop, Stop]]:
    """Yield the neighbours on a route between which a derivative stands: a state that the next step reads is the same value."""
    yield from ((before, after) for before, after in pairwise(route) if before[1] == after[1])


def _edges_of(route: Sequence[Stop]) -> Iterator[tuple[int, int]]:
    yield from ((before, after) for (before, _), (after, _) in _edges_with_steps(route))


def _is_read_again(route: Sequence[Stop], i: int) -> bool:
    """Answer whether a value of a route is the state that the value before it is, read by the next step."""
    return route[i][1] != route[i - 1][1]


def _measured(of: Paths, params: Any, inputs: Any, state: Any) -> Measured:
    from symbptt.derivations.one_sample import one_sample  # generates code, which equations need not pay for

    steps = of.steps
    cell, inputs, _ = given_each_step(of.cell, inputs, state, steps)
    read = one_sample(cell, params, inputs, state, 'paths.evaluate(params, {"x": x}, {"h": h})', steps, timed=None)
    if steps > 1 and inputs and not read.timed:
        raise ArgumentError(
            f"inputs of {steps} steps are expected, got one step without an axis of time\n"
            f"  give arrays of shape (T, ...), T at least {steps}"
        )
    arrays, sizes, T, dtype = read.arrays, read.sizes, read.steps, read.dtype
    if steps > T:
        raise ArgumentError(f"at least {steps} steps are expected, got {T}")
    run = read.run()
    edges = _edges(of, arrays, sizes, T, dtype, run)
    count, shape = T - steps + 1, _shapes(of, sizes)
    found = [_product(p.keys, edges, steps, count, int(np.prod(shape[len(shape) - _own_rank(of) :]))) for p in of.paths]
    values = [x.reshape(count, *shape) for x in found]
    # Routes are disjoint by their named values, so that the chain rule sums them.
    total = sum(values, np.zeros((count, *shape), dtype))
    norms = np.stack([_norm(x) for x in found], -1) if found else np.zeros((count, 0))
    flat = total.reshape(count, int(np.prod(shape[: len(shape) - _own_rank(of)])), -1)
    whole = _norm(flat)
    if read.timed:
        return Measured(of, tuple(values), total, norms, whole)
    return Measured(of, tuple(x[0] for x in values), total[0], norms[0], whole[0])


def _own_rank(of: Paths) -> int:
    return len(next(a.shape for a in of.cell.arguments if a.name == of.of))


def _norm(x: Any) -> Any:
    """Return the 2-norm of each matrix; inf where an entry has left the range, of which no singular values are
    computed."""
    if not x.size:
        return np.zeros(x.shape[0])
    # LAPACK's SVD raises LinAlgError for matrices with nan or inf: they are replaced by zero first.
    finite = np.isfinite(x).all((-2, -1))
    return np.where(finite, np.linalg.norm(np.where(finite[:, None, None], x, 0), 2, axis=(-2, -1)), np.inf)


def _shapes(of: Paths, sizes: Mapping[str, int]) -> tuple[int, ...]:
    step = of.cell.closed
    known = {named_size(name): value for name, value in sizes.items()}
    to, source = (step.next | step.outputs)[of.to], step.leaves[of.of]
    return (*concrete(step.graph.shape(to), known), *concrete(step.graph.shape(source), known))


def _edges(of: Paths, arrays: Any, sizes: Any, T: int, dtype: Any, run: Any) -> dict[tuple[str, str], Any]:
    """Return the derivatives between neighbours on routes at all steps, as matrices (T, rows, columns)."""
    from symbptt.codegen.targets.numpy.pointwise import evaluator  # generates code, which equations need not pay for

    step = with_inputs(of.cell).closed
    nodes = {key: _node(step, key) for p in of.paths for key, _ in p.keys}
    with_blocks, found = direct(step, sorted(set(nodes.values())))
    before = {a.name for a in of.cell.arguments if a.role == "state"}
    given = {name: _states(value, run.states[name], T) if name in before else value for name, value in arrays.items()}
    # All steps at once: with the states of the forward pass given, no step waits for another.
    values = evaluator(with_blocks, {f"{v} {w}": id for (v, w), id in found.items()})(given, sizes, T, 1, dtype)
    known = {named_size(name): value for name, value in sizes.items()}
    g = with_blocks.graph
    result = {}
    for (v, w), id in found.items():
        rows, columns = (int(np.prod(concrete(g.shape(x), known))) for x in (v, w))
        array = np.asarray(values[f"{v} {w}"], dtype)
        rank = len(g.shape(id))
        array = array.reshape(array.shape[0], -1) if array.ndim > rank else array.reshape(1, -1)
        # A derivative that is the same at all steps comes without an axis of time, and is repeated.
        result[v, w] = np.broadcast_to(array, (T, rows * columns)).reshape(T, rows, columns)
    return {(a, b): result[v, w] for a, v in nodes.items() for b, w in nodes.items() if (v, w) in result}


def _states(first: Any, after: Any, T: int) -> Any:
    """Return the states before each step."""
    return np.concatenate([first.reshape(1, 1, *first.shape[1:]), after.reshape(T, 1, *first.shape[1:])[:-1]])


def _node(step: Step, key: str) -> int:
    """Return a value of a route in the step that is computed: functions that a page shows whole are composed of
    others there."""
    kind, _, name = key.partition(" ")
    if kind == "of":
        return step.leaves[name]
    if kind == "to":
        return (step.next | step.outputs)[name]
    return next(id for id, other in step.graph.names.items() if other == name)


def _product(
    keys: Sequence[tuple[str, int]], edges: Mapping[tuple[str, str], Any], steps: int, count: int, size: int
) -> Any:
    """Return the product of the derivatives along a route, the latest first, for each window of steps."""
    found: Any = None
    for (before, a), (after, b) in pairwise(keys):
        # A state read by the next step is the same value: no factor.
        if a != b:
            continue
        at = steps - 1 - b
        # Window w covers the steps w to w + steps - 1, so that the factor of its step `at` is a slice of all steps.
        factor = edges[after, before][at : at + count]
        found = factor if found is None else factor @ found
    return np.broadcast_to(np.eye(size), (count, size, size)) if found is None else found
