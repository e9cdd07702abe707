"""From statements of the loop IR over views to loops over single elements, as C has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    Algebra,
    Buffer,
    Contract,
    Cumulate,
    Extent,
    Gather,
    If,
    Loop,
    Map,
    Operand,
    Reduce,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    View,
    index_symbol,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.views import symbols_of
from symbptt.codegen.targets.c99.products import OuterProducts, RowsTimesWeight, Run, product_of, run
from symbptt.errors import CellError
from symbptt.ir.algebra import RECORDS
from symbptt.ir.naming import unique
from symbptt.ir.scalar import Call, Num, Prod, Ref, Sum, Tree
from symbptt.ir.shape import Shape, Size, size, without

ZERO, PRODUCT = Num(sp.S.Zero), Prod((Ref(0), Ref(1)))
LEAST: Tree = Sum(((-1, Num(sp.oo)),))
"""The maximum over no elements."""
GREATER: Tree = Call("maximum", (Ref(0), Ref(1)))
CHOSEN = index_symbol("chosen")
"""Stands in the index of an element for what another buffer holds: `Element.chosen`."""
PANELS = "panels"
"""The space of buffers that hold packed matrices."""
MISSING = {If: "masks", Runtime: "functions of a runtime"}
"""The purposes of the statements that C does not have."""


@dataclass(frozen=True)
class Element:
    """One element of a buffer: an index for each of its axes, over the indices of the loops around it. Where it `is_there`, one of a
    buffer that may be absent is read without asking."""

    buffer: Buffer
    index: Shape
    chosen: Element | None = None
    is_there: bool = False


@dataclass(frozen=True)
class Assign:
    """out = body(args), or out += body(args)."""

    out: Element
    body: Tree
    args: tuple[Element | Extent, ...] = ()
    add: bool = False
    origin: tuple[int, ...] = ()


@dataclass(frozen=True)
class For:
    """`body` for index = start, start + 1, ... below stop; with `reverse` from the last to the first. One that is `in_time` carries
    values from step to step, so that it is never fused with another. With a `strip` it goes by so many steps, from 0 to `stop`, and
    `count` is how many these are: fewer in one round, at the end of the order."""

    index: sp.Symbol
    stop: Size
    body: tuple[Line, ...]
    reverse: bool = False
    in_time: bool = False
    start: Size = 0
    strip: Size = 1
    count: sp.Symbol | None = None


@dataclass(frozen=True)
class IfTiny:
    """`body` where an element, what a function leaves of one, is so small that it has lost its digits."""

    out: Element
    body: tuple[Line, ...]


@dataclass(frozen=True)
class Invoke:
    """A call of a function of sbrt.h with addresses of elements, sizes, and numbers as text; what it does to single elements is
    `accesses`, whose indices `inner` are its own. One that `ends` is the last of a loop, which ends there where it answers yes."""

    function: str
    args: tuple[Element | Size | str, ...]
    accesses: tuple[tuple[Element, bool], ...]
    inner: tuple[sp.Symbol, ...] = ()
    origin: tuple[int, ...] = ()
    ends: bool = False

    @property
    def panel(self) -> Buffer:
        """The buffer that a call of `pack` writes."""
        written = [x.buffer for x, is_written in self.accesses if is_written]
        return written[-1]


@dataclass(frozen=True)
class Where:
    """`body` where any of `count` elements, from the first one on, is so small that it has lost its digits; without a count
    where the array is there. It is a question for all of a body once, not one at each element, which keeps compilers from
    vectorising it."""

    first: Element
    count: Size | None
    body: tuple[Line, ...]


Line = Assign | For | IfTiny | Invoke | Where
LANES, DEPTH = 16, 128
"""The most numbers of a vector of sbrt.h, and the most rows that its gradient packs at a time."""


@dataclass
class Loops:
    """A source of new indices and numbers, as statements become loops; the weights that are packed, by their views and the
    orders of their axes, and the calls that pack those which the statement at hand needs. Panels of weights that are `lasting` outlive
    the function. Where all `is_plain`, nothing is a call; `told` has the lines of statements that may have no value, where somebody
    listens."""

    optional: Collection[Buffer]
    names: set[str]
    is_plain: bool = False
    numbers: Iterator[int] = field(default_factory=count)
    panels: dict[tuple[View, Run, Run], Buffer] = field(default_factory=dict)
    rooms: dict[Size, Buffer] = field(default_factory=dict)
    packs: list[Invoke] = field(default_factory=list)
    written: Collection[Buffer] = ()
    inside: set[sp.Symbol] = field(default_factory=set)
    lasting: Collection[Buffer] = ()
    told: Callable[[Any, Loops], Sequence[Line]] | None = None

    def index(self) -> sp.Symbol:
        return index_symbol(f"index_{next(self.numbers)}")

    def begin(self, s: Statement) -> None:
        """Go on to a statement outside of all loops; what it writes is packed anew after it."""
        self.written = {view.buffer for part in walk([s]) for view in writes(part)}
        self.panels = {key: panel for key, panel in self.panels.items() if key[0].buffer not in self.written}
        self.packs = []

    def is_pointer(self, *views: View) -> bool:
        """Answer whether a function can be given views: arrays of numbers, which are there."""
        return not any(
            x.buffer.dtype != "float" or x.buffer.space == "constant" or x.buffer in self.optional for x in views
        )

    def is_weight(self, view: View) -> bool:
        """Answer whether a view is the same throughout the statement outside of all loops."""
        return view.buffer not in self.written and not symbols_of(view) & self.inside

    def panel(self, name: str, rows: Size, columns: Size, space: str = PANELS) -> Buffer:
        """Return a new buffer for a matrix as panels, at an address that is a multiple of 64 bytes."""
        name = unique(name, self.names)
        self.names.add(name)
        return Buffer(name, (size(rows * (columns + LANES - 1) + LANES - 1),), space)


def loops(
    name: str,
    body: Sequence[Statement],
    optional: Collection[Buffer] = (),
    lasting: Collection[Buffer] = (),
    told: Callable[[Any, Loops], Sequence[Line]] | None = None,
    *,
    is_plain: bool = False,
) -> tuple[Line, ...]:
    """Return the statements of a function of the cell called `name` as loops, each statement a nest of its own; products of
    matrices are calls, and weights are packed before the statement outside of all loops that needs them, but where all
    `is_plain`: then these are loops too. Arrays that are `optional` may be absent; panels of weights that are `lasting` are
    residuals; `told` has the lines of statements that may have no value.

    Raises: CellError for a statement that C does not have.
    """
    names = {view.buffer.name for s in walk(body) for view in views(s)}
    made, found = Loops(optional, names, is_plain, lasting=lasting, told=told), list[Line]()
    for s in body:
        made.begin(s)
        lines = _statement(name, s, made)
        found += [*made.packs, *lines]
    return tuple(found)


def _lines(name: str, body: Sequence[Statement], made: Loops) -> tuple[Line, ...]:
    return tuple(line for s in body for line in _statement(name, s, made))


def _statement(name: str, s: Statement, made: Loops) -> Sequence[Line]:
    match s:
        case Loop():
            # A reverse loop turns the order, not the bounds.
            made.inside |= {s.index, *([] if s.count is None else [s.count])}
            body = _lines(name, s.body, made)
            return [For(s.index, s.stop, body, s.reverse, True, s.start, s.strip, s.count)]
        case Map() if (given := _given(s, made)) is not None:
            return given
        case Contract() if (calls := _call(s, made)) is not None:
            return calls
        case Contract(add=True) | Reduce(add=True):
            # An added sum has no first write: its axes may go in any order, also outside of those of the result.
            return _added(s, made)
        case Scatter():
            return nest(s.x.shape, lambda i: [_scatter(s, i)], made)
        case Cumulate():
            return _cumulate(s, made)
        case Sharpen():
            return _sharpen(name, s, made)
        case Scan():
            return _lines(name, s.body, made)
        case Algebra() | Settle() if made.told is not None:
            return made.told(s, made)
        case Algebra():
            raise CellError(
                f"{name} needs functions of whole matrices ({RECORDS[s.name].words}), which a file in C does not have yet\n"
                f'  use sb.compile({name}), in NumPy or with target="c"'
            )
        case Settle():
            raise CellError(
                f"{name} has a fixed point, which a file in C does not have yet\n"
                f'  use sb.compile({name}), in NumPy or with target="c"'
            )
        case If() | Runtime():
            raise CellError(
                f"{name} needs {MISSING[type(s)]}, which the C target does not have yet\n  write sb.compile with target='numpy'"
            )
    return nest(s.out.shape, lambda i: _inner(s, i, made), made)


def _given(s: Map, made: Loops) -> Sequence[Line] | None:
    """Return a term that is added in each step to what is there, of an array that may be absent, where it is present."""
    match s.body, s.args:
        case Sum(((1, Ref(0)), (1, Ref(1)))), (View() as to, View() as term):
            if made.inside and to == s.out and term.buffer in made.optional:
                lines = nest(s.out.shape, lambda i: [_always(s, term, i)], made)
                return [Where(first(term), None, tuple(lines))]
    return None


def _always(s: Map, term: View, at: Shape) -> Assign:
    """Return a term that is added at an index, whose array is there."""
    return Assign(element(s.out, at), Ref(0), (replace(element(term, at), is_there=True),), True, s.origin)


def _call(s: Contract, made: Loops) -> Sequence[Line] | None:
    """Return a contraction as a call where it is a product of matrices."""
    if made.is_plain or not made.is_pointer(s.a, s.b, s.out):
        return None
    p = product_of(s, made.is_weight)
    if isinstance(p, RowsTimesWeight):
        return [_times_weight(s, p, made)]
    return [_outer_products(s, p, made)] if p else None


def _times_weight(s: Contract, p: RowsTimesWeight, made: Loops) -> Invoke:
    key = (p.weight, p.depth, p.width)
    if key not in made.panels:
        space = "residual" if p.weight.buffer in made.lasting else PANELS
        made.panels[key] = made.panel(f"{p.weight.buffer.name}_panels", p.depth.count, p.width.count, space)
        made.packs.append(_pack(key, made))
    panel = Element(made.panels[key], (0,))
    args = (p.rows.count, p.width.count, p.depth.count, first(p.values), p.rows.steps[1], p.depth.steps[0], panel,
            int(s.add), first(s.out), p.rows.steps[0])  # fmt: skip
    inner, found = _elements(s, made)
    # The weight was read when it was packed.
    reads = [(panel, False) if x.buffer == p.weight.buffer else (x, written) for x, written in found]
    return Invoke("product", args, tuple(reads), inner, s.origin)


def _pack(key: tuple[View, Run, Run], made: Loops) -> Invoke:
    weight, depth, width = key
    panel = Element(made.panels[key], (0,))
    indices = tuple(made.index() for _ in weight.axes)
    found = ((element(weight, indices), False), (panel, True))
    return Invoke(
        "pack", (depth.count, width.count, first(weight), depth.steps[1], width.steps[1], panel), found, indices
    )


def _outer_products(s: Contract, p: OuterProducts, made: Loops) -> Invoke:
    if p.width.count not in made.rooms:
        made.rooms[p.width.count] = made.panel("room", DEPTH, p.width.count)
    room = Element(made.rooms[p.width.count], (0,))
    args = (p.height.count, p.width.count, p.rows.count, first(p.left), p.rows.steps[0], first(p.right), p.rows.steps[1],
            first(s.out), p.height.steps[0], room)  # fmt: skip
    inner, found = _elements(s, made)
    return Invoke("gradient", args, (*found, (room, True)), inner, s.origin)


def _elements(s: Contract, made: Loops) -> tuple[tuple[sp.Symbol, ...], list[tuple[Element, bool]]]:
    """Return what a contraction accesses, with indices of its own."""
    index = {label: made.index() for label in (*s.labels.a, *s.labels.b)}
    a, b, out = (
        element(view, tuple(index[x] for x in labels))
        for view, labels in ((s.a, s.labels.a), (s.b, s.labels.b), (s.out, s.labels.out))
    )
    return tuple(index.values()), [(a, False), (b, False), *([(out, False)] * s.add), (out, True)]


def first(view: View) -> Element:
    """Return the first element of a view."""
    return element(view, (0,) * len(view.axes))


def nest(shape: Shape, inner: Callable[[Shape], Sequence[Line]], made: Loops) -> Sequence[Line]:
    """Return loops over a shape around what `inner` gives at an index; an axis of one element needs none, and none stand where an
    axis is known to have no element."""
    if 0 in shape:
        return []
    # A loop of one round would only hide that the index is 0, which folds where it is added.
    indices: Shape = tuple(0 if n == 1 else made.index() for n in shape)
    body = tuple(inner(indices))
    # The last axis is the innermost loop: rows lie one behind the other, and C has no strides to choose.
    for index, stop in reversed([*zip(indices, shape, strict=True)]):
        if isinstance(index, sp.Symbol):
            body = (For(index, stop, body),)
    return body


def element(view: View, at: Shape) -> Element:
    """Return the element of a view at an index."""
    index = list(view.start)
    for axis, i in zip(view.axes, at, strict=True):
        for of in axis.of:
            index[of] = size(index[of] + i * axis.step)
    return Element(view.buffer, tuple(index))


def _operand(operand: Operand, at: Shape) -> Element | Extent:
    return operand if isinstance(operand, Extent) else element(operand, at)


def _inner(s: Statement, at: Shape, made: Loops) -> Sequence[Line]:
    """Return the lines that compute the element of `s.out` at an index."""
    match s:
        case Map():
            return [Assign(element(s.out, at), s.body, tuple(_operand(x, at) for x in s.args), False, s.origin)]
        case Gather():
            # The index of a row is known only when the loop runs, so that it is itself an element: `chosen`.
            table = element(s.table, (*at[: s.axis], CHOSEN, *at[s.axis :]))
            return [Assign(element(s.out, at), Ref(0), (replace(table, chosen=element(s.index, at)),), False, s.origin)]
        case Contract():
            out = element(s.out, at)
            known = dict(zip(s.labels.out, at, strict=True))
            return _sum(out, _summed(s), lambda i: _product(s, out, {**known, **i}), s.origin, made)
        case Reduce():
            out = element(s.out, at)
            lengths = {axis: s.x.shape[axis] for axis in s.axes}
            kept = dict(zip((i for i in range(len(s.x.axes)) if i not in s.axes), at, strict=True))
            if s.kind == "sum":
                return _sum(out, lengths, lambda i: _term(s, out, {**kept, **i}), s.origin, made)
            # -∞ is what a maximum over nothing is; the first element replaces it, whatever it is.
            return [Assign(out, LEAST, origin=s.origin), *nest(
                tuple(lengths.values()), lambda i: [_greater(s, out, {**kept, **dict(zip(lengths, i, strict=True))})], made
            )]  # fmt: skip
    raise AssertionError(s)


def _sum(
    out: Element,
    lengths: Mapping[int, Size],
    term: Callable[[Mapping[int, Size]], Assign],
    origin: tuple[int, ...],
    made: Loops,
) -> Sequence[Line]:
    """Return the lines that write `out` as the sum of terms over axes of some lengths."""

    def inner(i: Shape) -> list[Assign]:
        return [term(dict(zip(lengths, i, strict=True)))]

    if all(n == 1 for n in lengths.values()):
        # A sum of one term is the term: no zero is written before it, and no loop stands around it.
        return [replace(line, add=False) for line in inner((0,) * len(lengths))]
    return [Assign(out, ZERO, origin=origin), *nest(tuple(lengths.values()), inner, made)]


def _summed(s: Contract) -> dict[int, Size]:
    """Return the labels that a product sums over, with their lengths."""
    sizes = dict(zip((*s.labels.a, *s.labels.b), (*s.a.shape, *s.b.shape), strict=True))
    return {label: n for label, n in sizes.items() if label not in s.labels.out}


def _product(s: Contract, out: Element, at: Mapping[int, Size]) -> Assign:
    a, b = (element(x, tuple(at[i] for i in labels)) for x, labels in ((s.a, s.labels.a), (s.b, s.labels.b)))
    return Assign(out, PRODUCT, (a, b), True, s.origin)


def _term(s: Reduce, out: Element, at: Mapping[int, Size]) -> Assign:
    return Assign(out, Ref(0), (element(s.x, tuple(at[i] for i in range(len(s.x.axes)))),), True, s.origin)


def _greater(s: Reduce, out: Element, at: Mapping[int, Size]) -> Assign:
    return Assign(out, GREATER, (out, element(s.x, tuple(at[i] for i in range(len(s.x.axes))))), False, s.origin)


def _added(s: Contract | Reduce, made: Loops) -> Sequence[Line]:
    """A sum that is added to what is there: the axes that it sums over go outside, where other sums over them can join."""
    if isinstance(s, Contract):
        lengths = {**_summed(s), **dict(zip(s.labels.out, s.out.shape, strict=True))}
        kept: Sequence[int] = s.labels.out
    else:
        kept = [i for i in range(len(s.x.axes)) if i not in s.axes]
        lengths = {i: s.x.shape[i] for i in (*s.axes, *kept)}

    def inner(i: Shape) -> list[Assign]:
        at = dict(zip(lengths, i, strict=True))
        out = element(s.out, tuple(at[label] for label in kept))
        return [_product(s, out, at) if isinstance(s, Contract) else _term(s, out, at)]

    return nest(tuple(lengths.values()), inner, made)


def _scatter(s: Scatter, at: Shape) -> Assign:
    # Rows that are chosen more than once add up, so that this is never a plain assignment.
    out = element(s.out, (*at[: s.axis], CHOSEN, *at[s.axis :]))
    return Assign(replace(out, chosen=element(s.index, at)), Ref(0), (element(s.x, at),), True, s.origin)


def _cumulate(s: Cumulate, made: Loops) -> Sequence[Line]:
    length = s.x.shape[s.axis]

    def inner(at: Shape) -> Sequence[Line]:
        # One running sum stays in a register; reading the element before would wait for its store.
        total = Element(Buffer(f"sum_{next(made.numbers)}", (), "scalar"), ())

        def term(i: Shape) -> list[Line]:
            (k,) = i
            where = (*at[: s.axis], size(length - 1 - k) if s.reverse else k, *at[s.axis :])
            found = Assign(total, Ref(0), (element(s.x, where),), True)
            return [found, Assign(element(s.out, where), Ref(0), (total,), False, s.origin)]

        return [Assign(total, ZERO), *nest((length,), term, made)]

    return nest(without(s.out.shape, (s.axis,)), inner, made)


def _sharpen(name: str, s: Sharpen, made: Loops) -> Sequence[Line]:
    """The argument of the function is computed for those elements alone that need it, where each of its elements can be
    computed by itself; else before, for all."""

    def last(at: Shape) -> Assign:
        return Assign(element(s.out, at), Call(s.function, (Ref(0),)), (element(s.argument, at),), False, s.origin)

    def alone(at: Shape) -> Sequence[Line]:
        body = (*(line for part in s.body for line in _inner(part, at, made)), last(at))
        return [IfTiny(element(s.out, at), body)]

    # An element is tiny in few places. Where its argument can be had alone, the second computation costs nothing
    # elsewhere.
    if all(isinstance(x, Map | Contract | Reduce | Gather) and x.out.shape == s.out.shape for x in s.body):
        found = nest(s.out.shape, alone, made)
        if _is_by_element(found):
            line = run(range(len(s.out.axes)), (s.out, tuple(range(len(s.out.axes)))))
            is_array = line is not None and line.steps == (1,) and line.count != 1
            return [Where(first(s.out), line.count, tuple(found))] if line and is_array else found
    # Parts that look at other elements (a product, a sum over an axis) are computed for all of them first.
    lines = _lines(name, s.body, made)
    return [*lines, *nest(s.out.shape, lambda at: [IfTiny(element(s.out, at), (last(at),))], made)]


def _is_by_element(lines: Sequence[Line]) -> bool:
    """Answer whether each buffer that is written is accessed at one element alone."""
    found = elements_of(lines)
    return all(len(found[x.buffer]) == 1 for x, is_written in accesses(lines) if is_written)


def accesses(lines: Sequence[Line]) -> Iterator[tuple[Element, bool]]:
    """Return the elements that lines access, in their order, and whether each is written; one that is added to is both."""
    for line in lines:
        match line:
            case Assign(out, _, args, add):
                for x in (*args, *([out] if add else [])):
                    yield from _read(x)
                if out.chosen is not None:
                    yield from _read(out.chosen)
                yield out, True
            case For():
                yield from accesses(line.body)
            case IfTiny():
                yield line.out, False
                yield from accesses(line.body)
            case Invoke():
                yield from line.accesses
            case Where():
                yield from accesses(line.body)


def elements_of(lines: Sequence[Line]) -> dict[Buffer, set[Element]]:
    """Return the elements of each buffer that lines access."""
    found: dict[Buffer, set[Element]] = {}
    for x, _ in accesses(lines):
        found.setdefault(x.buffer, set()).add(x)
    return found


def _read(x: Element | Extent) -> Iterator[tuple[Element, bool]]:
    if isinstance(x, Element):
        yield x, False
        if x.chosen is not None:
            yield from _read(x.chosen)


def _replaced(n: Size, old: sp.Symbol, new: sp.Symbol) -> Size:
    return n if isinstance(n, int) else size(n.xreplace({old: new}))


def renamed(line: Line, old: sp.Symbol, new: sp.Symbol) -> Line:
    """Return a line with another symbol in the place of an index."""

    def of(x: Element | Extent) -> Element | Extent:
        return x if isinstance(x, Extent) else moved(x)

    def moved(x: Element) -> Element:
        index = tuple(_replaced(i, old, new) for i in x.index)
        return replace(x, index=index, chosen=None if x.chosen is None else moved(x.chosen))

    match line:
        case Assign():
            return replace(line, out=moved(line.out), args=tuple(of(x) for x in line.args))
        case IfTiny(out, body):
            return IfTiny(moved(out), tuple(renamed(x, old, new) for x in body))
        case Where(start, length, body):
            count = None if length is None else _replaced(length, old, new)
            return Where(moved(start), count, tuple(renamed(x, old, new) for x in body))
        case Invoke(args=args, accesses=found):
            new_args = tuple(
                moved(x) if isinstance(x, Element) else x if isinstance(x, str) else _replaced(x, old, new)
                for x in args
            )
            return replace(line, args=new_args, accesses=tuple((moved(x), written) for x, written in found))
    return replace(line, body=tuple(renamed(x, old, new) for x in line.body))
