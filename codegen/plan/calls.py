"""The calls of NumPy that the statements of a function are, counted by a walk of the loop IR.

Inside of loops a statement is one call, or the few that are told here. Outside of loops it is what its form says, which the
printer reads too: an expression with a call for each of its operators, a join of copies, a call.

Example: of `loop t in 0:T: contract s = U · h[t]; map h[t+1] = tanh(s)` the walk finds T calls of matmul with T B n²
multiply-adds, and T calls of tanh with T B n elements. In a block of `count` steps operations are linear in count: the
lengths of all blocks add up to T, so that the last, shorter one needs no case of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from symbptt.codegen.loop_ir.joins import is_opposite, source_of
from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
    Algebra,
    Buffer,
    Contract,
    Cumulate,
    Function,
    Gather,
    If,
    Loop,
    Map,
    Reduce,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    View,
    elements,
    reads,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.operators import AS_NUMBER, Op, Operator, operators
from symbptt.codegen.loop_ir.order import is_turned, ordered
from symbptt.codegen.lower.frame import T
from symbptt.codegen.lower.pull import SEND
from symbptt.codegen.memory import forms
from symbptt.codegen.memory.forms import Form
from symbptt.codegen.targets.numpy.calls import ufunc_of
from symbptt.codegen.targets.numpy.forms import PLAIN, Forms
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.ir.algebra import RECORDS
from symbptt.ir.scalar import Call, Num, Ref, Tree
from symbptt.ir.shape import Size, prod, size

BEFORE, BLOCKS, EACH = "outside the loop", "each block of steps", "each step"
"""The places of a statement: outside of loops, in the loop over blocks, in the loop over steps."""
ERF = 152
"""The number of calls that the error function is."""


@dataclass(frozen=True)
class Called:
    """Calls of one function from one statement: its name, its place, how often it is called in all, its operations in all
    (multiply-adds of a product, else elements), the value of the program that the statement computes, and how often it is
    called each time that its region runs, in a loop `inside` of a step."""

    name: str
    where: str
    times: sp.Expr
    operations: sp.Expr
    origin: int | None = None
    inside: Size = 1

    @property
    def is_product(self) -> bool:
        """True if it is a product of matrices, or a function of them that takes as much."""
        return self.name in ("matmul", "einsum") or (self.name in RECORDS and RECORDS[self.name].cube > 0)


@dataclass(frozen=True)
class Given:
    """What decides on calls of the runtime, by the places of states: those whose cotangents are given, and those whose
    adjoints come from behind the last step; the flags that are true; and the buffers that are Python's own numbers."""

    states: frozenset[int] = frozenset()
    behind: frozenset[int] = frozenset()
    flags: frozenset[str] = frozenset()
    numbers: frozenset[Buffer] = frozenset()


@dataclass(frozen=True)
class Place:
    """The loops around a statement: over blocks, with the number of its rounds and the symbol of their steps, over the
    steps of all blocks, and `inside` of a step, of so many rounds."""

    where: str = BEFORE
    count: sp.Symbol | None = None
    rounds: sp.Expr = sp.S.One
    inside: Size | None = None

    def all_of(self, once: Size) -> sp.Expr:
        """Return a count of one execution, in all rounds."""
        once = sp.sympify(once) * (1 if self.inside is None else self.inside)
        if self.where == EACH:
            return sp.expand(once * STEPS)
        if self.where == BEFORE:
            return sp.expand(once)
        assert self.count is not None
        # A count of operations is a times the steps of a block plus b. Over all blocks their steps add up to T,
        # whatever the last one has, and b counts once for each block.
        parts = sp.Poly(once, self.count)
        assert parts.degree() < 2, f"{once} grows with the square of a block"
        return sp.expand(parts.coeff_monomial(self.count) * STEPS + parts.coeff_monomial(1) * self.rounds)


def called(f: Function, given: Given, letter: sp.Expr = BLOCK) -> tuple[Called, ...]:
    """Return the calls of a function; `letter` stands for the steps of a block."""
    return tuple(_Walk(f, given, letter).body(f.body, Place(), {port.view.buffer for port in f.arguments}))


@dataclass(frozen=True)
class _Walk:
    """A function, what decides on calls of the runtime, and the letter for the steps of a block."""

    function: Function
    given: Given
    letter: sp.Expr

    @cached_property
    def numbers(self) -> frozenset[Buffer]:
        """The buffers that are numbers of Python."""
        return self.given.numbers | numbers_of(self.function)

    @cached_property
    def forms(self) -> Forms:
        """The forms in which the statements are printed."""
        return Forms(self.function)

    def body(self, body: Sequence[Statement], place: Place, begun: set[Buffer]) -> Iterator[Called]:
        """Yield the calls of statements; the buffers that have a name by now are `begun`."""
        for i, form in self.forms.of(body, begun, place.where == BEFORE and place.inside is None):
            match s := body[i]:
                case Loop() if s.count is None and s.index != T:
                    rounds = size((1 if place.inside is None else place.inside) * s.stop)
                    yield from self.body(s.body, replace(place, inside=rounds), begun)
                case Loop() if s.count is not None:
                    # A block has K steps, and the last one the rest.
                    rounds = sp.ceiling(STEPS / self.letter)
                    yield from self.body(s.body, Place(BLOCKS, s.count, rounds), begun)
                case Loop():
                    yield from self.body(s.body, replace(place, where=EACH), begun)
                case Scan():
                    yield from self.body(s.body, place, begun)  # as if it were done step by step
                case If():
                    chosen = s.body if s.flag.buffer.name in self.given.flags else s.orelse
                    yield from self.body(chosen, place, begun)
                    if any(isinstance(x, Runtime) and x.name == SEND for x in chosen):
                        return  # one step back for all steps ends here where no sums are asked for
                case _:
                    origin = _origin(body, i)
                    for name, count in self.formed(s, form):
                        yield Called(
                            name,
                            place.where,
                            place.all_of(1),
                            place.all_of(count),
                            origin,
                            1 if place.inside is None else place.inside,
                        )
            if isinstance(s, Loop | If | Runtime):
                begun.update(view.buffer for x in walk([s]) for view in writes(x))

    def formed(self, s: Statement, form: Form) -> Iterable[tuple[str, Size]]:
        """Return the calls of a statement in its form."""
        match form.kind:
            case forms.JOIN:
                return _stacked(form.parts, is_copied=any(map(is_turned, map(source_of, map(ordered, form.parts)))))
            case forms.SCATTER:
                assert isinstance(s, Scatter)
                return [*_collected(s), *[("copyto", _rows(s))] * (not form.is_new)]
            case forms.SCALAR | forms.ZEROS:
                return []
            case forms.DEFINE | forms.FOLD if isinstance(s, Map):
                found, axes = _expression(s, self.numbers)
                is_copied = form.kind == forms.DEFINE and self.forms.copied(s) != PLAIN and axes is not None
                return [*found, *[("array", elements(s.out))] * is_copied]
            case forms.CALL if isinstance(s, Algebra):
                return [*_of_matrices(s), ("copyto", elements(s.out))]
            case forms.ASSIGN:
                assert isinstance(s, Map)
                return [*_expression(s, self.numbers)[0], ("assign", elements(s.out))]
        return self.calls(s)

    def calls(self, s: Statement) -> Iterable[tuple[str, Size]]:
        """Return the functions that a statement calls, with the operations of each call."""
        if isinstance(s, Runtime):
            return self._runtime(s)
        if isinstance(s, Settle):
            names = ("subtract", "max", "min", "max", "min", "copyto")
            return [(name, elements(view)) for view in s.out for name in names]
        if isinstance(s, Sharpen):
            return [("minimum", elements(s.out))]  # where no element is tiny
        match s:
            case Map():
                return self.map(s)
            case Contract():
                return [_product(s)]
            case Reduce():
                return [("add" if s.kind == "sum" else "maximum", elements(s.x))]
            case Gather():
                return [("take", elements(s.out))]
            case Cumulate():
                return [("cumsum", elements(s.out))]
            case Algebra():
                return _of_matrices(s)
            case Scatter():
                return [*_collected(s), ("add", _rows(s))]
        raise AssertionError(s)

    def map(self, s: Map) -> Iterable[tuple[str, Size]]:
        """Return the calls of a map of one operation that writes into its result."""
        count, found = elements(s.out), ufunc_of(s)
        match s.body:
            case Call("where", (_, a, b)):
                if _is_out(s, a):
                    return [("invert", _condition(s)), ("copyto", count)]
                return [("copyto", count)] * (1 if _is_out(s, b) else 2)
        return [(found.name, count)] if found else [*_expression(s, self.numbers)[0], ("copyto", count)]

    def _runtime(self, s: Runtime) -> Iterable[tuple[str, Size]]:
        states = [prod(view.shape) for view in s.out]
        match s.name:
            case "begin":
                return [("assign", elements(view)) for view in s.args if isinstance(view, View)]
            case "start":
                return [("copy", n) for i, n in enumerate(states) if i in self.given.behind]
            case "arrive":
                return [("add", n) for i, n in enumerate(states) if i in self.given.states]
            case "clip":
                return _clipped(states)
        return []


def _of_matrices(s: Algebra) -> list[tuple[str, Size]]:
    """Return the calls of a function of matrices; an exponential counts as one, though it is many."""
    record, count = RECORDS[s.name], elements(s.out)
    if not record.cube:
        n = s.args[0].shape[-1]
        row, whole = elements(s.args[0]), size(prod(s.args[0].shape[:-2]) * n)
        return {
            "diag": [("assign", row)],
            "diagonal": [("take", count)],
            "tril": [("tril", count)],
            "halved": [("tril", count), ("take", whole), ("divide", whole), ("assign", whole), ("subtract", count)],
        }[s.name]
    *lead, n, _ = s.args[0].shape
    stack = prod(s.out.shape[:-2]) if s.name == "solve" else prod(lead)
    cube = sp.Rational(record.cube).limit_denominator(100) * n**3
    if s.name != "solve":
        return [(s.name, stack * cube)]
    columns = s.out.shape[-1] * n**2
    if lead or len(s.out.shape) == 2:
        return [("solve", stack * (cube + columns))]
    return [("solve", cube + stack * columns), ("copy", count)]


def _origin(body: Sequence[Statement], i: int) -> int | None:
    """Return the value that a statement computes, or that the one does which reads its result next."""
    s = body[i]
    if s.origin or not isinstance(s, Contract):
        return s.origin[0] if s.origin else None
    reader = next((x for x in body[i + 1 :] if any(view.buffer == s.out.buffer for view in reads(x))), None)
    return reader.origin[0] if reader is not None and reader.origin else None


def numbers_of(f: Function) -> frozenset[Buffer]:
    """Return the buffers of a function that are numbers of Python: constants without axes, and what follows from them."""
    found = {b for b in f.declared if not b.shape and b.space in ("scalar", "constant")}
    for s in f.body:
        if not (isinstance(s, Map) and not s.out.buffer.shape and s.args):
            continue
        if all(not isinstance(arg, View) or arg.buffer in found for arg in s.args):
            found.add(s.out.buffer)
    return frozenset(found)


def _stacked(parts: Sequence[Map], is_copied: bool) -> list[tuple[str, Size]]:
    """Return the call that joins the parts of a buffer, those that make opposites, and the copy of one that would lie transposed."""
    whole = prod(parts[0].out.buffer.shape)
    opposites = [("negative", elements(s.out)) for s in parts if is_opposite(s)]
    return [*opposites, ("concatenate", whole), *[("ascontiguousarray", whole)] * is_copied]


def _collected(s: Scatter) -> list[tuple[str, Size]]:
    """Return the call that adds elements at indices; where all samples add to one table, rows are added up."""
    return [("add" if any(not axis.of for axis in s.out.axes) else "put_along_axis", elements(s.x))]


def _rows(s: Scatter) -> Size:
    """Return the elements of a table without axes along which it repeats."""
    return prod(axis.length for axis in s.out.axes if axis.of)


Counts = list[tuple[str, Size]]
Axes = frozenset[int] | None
"""The axes along which a value moves; None of a number of Python, with which NumPy has nothing to do."""


def _expression(s: Map, numbers: frozenset[Buffer]) -> tuple[Counts, Axes]:
    """Return the calls of an expression, and the axes along which its value moves; None of one of Python's numbers."""

    def of(x: Operator) -> tuple[Counts, Axes]:
        match x:
            case Num():
                return [], None
            case Ref(index):
                arg = s.args[index]
                if not isinstance(arg, View) or arg.buffer in numbers:
                    return [], None
                return [], frozenset(i for i, axis in enumerate(arg.axes) if axis.of)
            case Op(name, args):
                inner = [of(arg) for arg in args]
                axes = _both(*(own for _, own in inner))
                calls = [call for found, _ in inner for call in found]
                count = {AS_NUMBER: 0, "erf": ERF}.get(name, 1)
                return [*calls, *_once(name, s, axes) * count], axes
        raise AssertionError(x)

    return of(operators(s.body))


def _both(*parts: Axes) -> Axes:
    there = [part for part in parts if part is not None]
    return frozenset[int]().union(*there) if there else None


def _once(name: str, s: Map, axes: Axes) -> Counts:
    """Return one call whose result moves along some axes."""
    return [] if axes is None else [(name, prod(n for i, n in enumerate(s.out.shape) if i in axes))]


def _is_out(s: Map, tree: Tree) -> bool:
    return isinstance(tree, Ref) and s.args[tree.index] == s.out


def _condition(s: Map) -> Size:
    """Return the elements of the condition of a choice, without axes along which it repeats."""
    assert isinstance(s.body, Call) and isinstance(s.body.args[0], Ref)
    condition = s.args[s.body.args[0].index]
    assert isinstance(condition, View)
    return prod(axis.length for axis in condition.axes if axis.of)


def _product(s: Contract) -> tuple[str, Size]:
    lengths = dict(zip(s.labels.a + s.labels.b, s.a.shape + s.b.shape, strict=True))
    return call_of(s).function, prod(lengths.values())


def _clipped(states: Sequence[Size]) -> list[tuple[str, Size]]:
    """Return the calls of `_clip` of norms.py."""
    names = (
        "subtract", "ldexp", "sqrt", "ldexp", "greater", "maximum", "divide", "where", "astype", "where", "subtract",
        "floor_divide", "subtract", "ldexp", "ldexp",
    )  # fmt: skip
    once: list[tuple[str, Size]] = [(name, BATCH) for name in names] + [("frexp", 2 * BATCH)] * 2
    for n in states:
        once += [("absolute", n), ("max", n), ("maximum", BATCH), ("divide", n), ("multiply", n), ("add", n)]
        once += [("add", BATCH), ("multiply", n), ("multiply", n)]
    return once
