"""The calls of NumPy that the statements of a function are, counted by a walk of the loop IR.

Inside of loops a statement is one call, or the few that are told here. Outside of loops a statement is an expression, with
a call for each of its operators; copies that fill a buffer part by part are one call that joins them.

Example: of `loop t in 0:T: contract s = U · h[t]; map h[t+1] = tanh(s)` the walk finds T calls of matmul with T B n²
multiply-adds, and T calls of tanh with T B n elements. In a block of `count` steps operations are linear in count: the
lengths of all blocks add up to T, so that the last, shorter one needs no case of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile

import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.folding import foldable
from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
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
    Sharpen,
    Statement,
    View,
    body_of,
    elements,
    reads,
    writes,
)
from symbptt.codegen.loop_ir.operators import AS_NUMBER, Op, Operator, operators
from symbptt.codegen.loop_ir.work import tree_operations
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree
from symbptt.ir.shape import Size, prod, size

BEFORE, BLOCKS, EACH = "outside the loop", "each block of steps", "each step"
"""The places of a statement: outside of loops, in the loop over blocks, in the loop over steps."""
CONDITIONS = frozenset(op.name for op in ops.OPS if getattr(op.body, "boolean", False))
"""Functions whose values are truths."""
ERF = 152
"""The number of calls that the error function is."""


@dataclass(frozen=True)
class Called:
    """Calls of one function from one statement: its name, its place, how often it is called in all, its operations in all
    (multiply-adds of a product, else elements), and the value of the program that the statement computes."""

    name: str
    where: str
    times: sp.Expr
    operations: sp.Expr
    origin: int | None = None

    @property
    def is_product(self) -> bool:
        """True if it is a product of matrices."""
        return self.name in ("matmul", "einsum")


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
    """The loops around a statement: over blocks, with the number of its rounds and the symbol of their steps, and over the
    steps of all blocks."""

    where: str = BEFORE
    count: sp.Symbol | None = None
    rounds: sp.Expr = sp.S.One

    def all_of(self, once: Size) -> sp.Expr:
        """Return a count of one execution, in all rounds."""
        once = sp.sympify(once)
        if self.where == EACH:
            return sp.expand(once * STEPS)
        if self.where == BEFORE:
            return sp.expand(once)
        assert self.count is not None
        parts = sp.Poly(once, self.count)
        assert parts.degree() < 2, f"{once} grows with the square of a block"
        return sp.expand(parts.coeff_monomial(self.count) * STEPS + parts.coeff_monomial(1) * self.rounds)


def called(f: Function, given: Given, letter: sp.Expr = BLOCK) -> tuple[Called, ...]:
    """Return the calls of a function; `letter` stands for the steps of a block."""
    return tuple(_Walk(f, given, letter).body(f.body, Place()))


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
    def folded(self) -> frozenset[Buffer]:
        """The temporaries whose expression stands where they are read."""
        return foldable(self.function)

    def body(self, body: Sequence[Statement], place: Place) -> Iterator[Called]:
        for i, s in enumerate(body):
            match s:
                case Loop() if s.count is not None:
                    # A block has K steps, and the last one the rest.
                    rounds = sp.ceiling(STEPS / self.letter)
                    yield from self.body(s.body, Place(BLOCKS, s.count, rounds))
                case Loop():
                    yield from self.body(s.body, replace(place, where=EACH))
                case Scan():
                    yield from self.body(s.body, place)  # as if it were done step by step
                case If():
                    chosen = s.body if s.flag.buffer.name in self.given.flags else s.orelse
                    yield from self.body(chosen, place)
                    if any(isinstance(x, Runtime) and x.name == "send" for x in chosen):
                        return  # one step back for all steps ends here where no sums are asked for
                case _:
                    origin = _origin(body, i)
                    for name, count in self.outside(body, i) if place.where == BEFORE else self.calls(s):
                        yield Called(name, place.where, place.all_of(1), place.all_of(count), origin)

    def outside(self, body: Sequence[Statement], i: int) -> Iterable[tuple[str, Size]]:
        """Return the calls of a statement outside of loops."""
        s = body[i]
        if isinstance(s, Runtime | Sharpen):
            return self.calls(s)
        out = writes(s)[0]
        first = next(j for j, x in enumerate(body) if any(view.buffer == out.buffer for view in _written(x)))
        group = joined(body[first:])
        if i < first + len(group):
            return [] if i > first else _stacked(group)
        filled = i > 0 and _is_filled(body[i - 1], s)
        # NumPy's own numbers cannot be written into again.
        again = sum(view.buffer == out.buffer for x in self.function.body for view in _written(x)) > 1
        is_new = i == first and (bool(out.buffer.shape) or not again)
        if i + 1 < len(body) and _is_filled(s, body[i + 1]):
            return []
        match s:
            case Scatter():
                is_one = any(not axis.of for axis in s.out.axes)
                add = [("add" if is_one else "put_along_axis", elements(s.x))]
                return (
                    add
                    if filled and first == i - 1
                    else [*add, ("add", prod(axis.length for axis in s.out.axes if axis.of))]
                )
            case Map() if out.buffer.space == "scalar" or (i == first and _covers(out) and not s.args):
                return []
            case Map() if is_new and _covers(out) and _moves_along_all(s):
                found, axes = _expression(s, self.numbers)
                if axes is None:
                    return []
                is_folded = out.buffer in self.folded
                turned = any(_is_turned(arg, s.out) for arg in s.args if isinstance(arg, View))
                copied = s.body == Ref(0) or turned
                return [*found, *[("array", elements(s.out))] * (copied and not is_folded)]
            case Map() if not _is_call(s, self.numbers):
                return [*_expression(s, self.numbers)[0], ("assign", elements(s.out))]
        return self.calls(s)

    def calls(self, s: Statement) -> Iterable[tuple[str, Size]]:
        """Return the functions that a statement calls, with the operations of each call."""
        if isinstance(s, Runtime):
            return self._runtime(s)
        if isinstance(s, Sharpen):
            return [("minimum", elements(s.out))]  # where no element is tiny
        match s:
            case Map():
                return _map(s)
            case Contract():
                return [_product(s)]
            case Reduce():
                return [("add" if s.kind == "sum" else "maximum", elements(s.x))]
            case Gather():
                return [("take", elements(s.out))]
            case Cumulate():
                return [("cumsum", elements(s.out))]
            case Scatter():
                return [("put_along_axis", elements(s.x)), ("add", elements(s.out))]
        raise AssertionError(s)

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


def joined(body: Sequence[Statement]) -> list[Map]:
    """Return the copies with which a body begins that fill one buffer part by part, if there are several."""
    first = body[0]
    if not _is_copy(first):
        return []
    alike = takewhile(lambda s: _is_copy(s) and writes(s)[0].buffer == writes(first)[0].buffer, body)
    maps = [s for s in alike if isinstance(s, Map)]
    starts = {i for s in maps for i, start in enumerate(s.out.start) if start != maps[0].out.start[i]}
    return maps if len(maps) > 1 and len(starts) == 1 else []


def _is_copy(s: Statement) -> bool:
    return isinstance(s, Map) and s.body == Ref(0) and isinstance(s.args[0], View)


def _stacked(group: Sequence[Map]) -> list[tuple[str, Size]]:
    """Return the call that joins the parts of a buffer, and the copy of one that would lie transposed."""
    whole = prod(group[0].out.buffer.shape)
    turned = any(_is_turned(arg, s.out) for s in group for arg in s.args if isinstance(arg, View))
    return [("concatenate", whole), *[("ascontiguousarray", whole)] * turned]


def _is_turned(view: View, out: View) -> bool:
    """Answer whether the axes of a view lie in memory in another order than those of a result."""
    axes = [
        axis.of for axis, _ in sorted(zip(view.axes, out.axes, strict=True), key=lambda pair: pair[1].of) if axis.of
    ]
    return axes != sorted(axes)


def _written(s: Statement) -> Iterator[View]:
    """Yield what a statement and those inside it write; the argument of a Sharpen is an expression, which writes nothing."""
    yield from writes(s)
    for inner in () if isinstance(s, Sharpen) else body_of(s):
        yield from _written(inner)


def _is_filled(s: Statement, then: Statement) -> bool:
    """Answer whether a statement fills with zeros what the next one scatters into."""
    is_zero = isinstance(s, Map) and s.body == Num(sp.S.Zero)
    return is_zero and isinstance(then, Scatter) and writes(s)[0].buffer == then.out.buffer


def _covers(view: View) -> bool:
    """Answer whether a view is all of its buffer."""
    return size(prod(view.shape) - prod(view.buffer.shape)) == 0 and all(axis.of for axis in view.axes)


def _moves_along_all(s: Map) -> bool:
    """Answer whether the operands of a map move along all of its axes together; else its result is written into a buffer."""
    moving = {i for arg in s.args if isinstance(arg, View) for i, axis in enumerate(arg.axes) if axis.of}
    return isinstance(s.body, Num) or moving == {*range(len(s.out.axes))}


def _is_call(s: Map, numbers: frozenset[Buffer]) -> bool:
    """Answer whether a map outside of loops is one operation that is written as a call."""
    is_choice = isinstance(s.body, Call) and (s.body.name == "where" or s.body.name in CONDITIONS)
    plain = all(not isinstance(arg, View) or arg.buffer in numbers for arg in s.args)
    return tree_operations(s.body) == 1 and bool(s.out.axes) and not is_choice and not plain


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


def _map(s: Map) -> list[tuple[str, Size]]:
    """Return the calls of a map of one operation."""
    count = elements(s.out)
    match s.body:
        case Num() | Ref():
            return [("copyto", count)]
        case Sum(terms):
            return [("negative" if len(terms) == 1 else "add", count)]
        case Prod(_, divisors):
            return [("divide" if divisors else "multiply", count)]
        case Power(_, exponent):
            return [("square" if exponent == Num(sp.Integer(2)) else "power", count)]
        case Call("where", (_, a, b)):
            if _is_out(s, a):
                return [("invert", _condition(s)), ("copyto", count)]
            return [("copyto", count)] * (1 if _is_out(s, b) else 2)
        case Call("erf"):
            return [("multiply", count)] * ERF + [("copyto", count)]
        case Call("stop_gradient"):
            return [("copyto", count)]
        case Call(name):
            code = ops.BY_NAME[name].code if name in ops.BY_NAME else ""
            return [(code[3:].partition("(")[0] if code.startswith("np.") else name, count)]
    raise AssertionError(s)


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
