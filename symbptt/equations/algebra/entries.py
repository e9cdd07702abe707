"""Values of a graph entry by entry, with named indices that begin at 0: the form that every value has, of any number of axes.

Example: s = einsum("ijk,k->ij", A, v) has three axes in A and no form in matrices. `entries` gives the two axes of s the
indices i and j, `_contract` takes a fresh k for the summed label, and the line reads s_ij = Σ_k A_ijk v_k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sympy as sp

from symbptt.autodiff.labels import TIMES, Label, letter_of_rounds, without_time
from symbptt.equations.algebra import expressions as algebra
from symbptt.equations.algebra.expressions import (
    ZERO,
    Along,
    Array,
    Cases,
    Count,
    Ellipsis,
    Entries,
    Entry,
    Expr,
    Index,
    Number,
    Over,
    SumOver,
    Symbol,
    Total,
    called,
    normal,
    number,
    number_of,
    plus,
    times,
)  # fmt: skip
from symbptt.equations.algebra.matrices import entry_of_function, of_one
from symbptt.equations.algebra.numbers import fingerprint
from symbptt.equations.algebra.trees import may_be_infinite, multiplied, with_conditions
from symbptt.equations.algebra.wholes import by_entries, convolved
from symbptt.ir.algebra import is_eye, is_unit_matrix
from symbptt.ir.graph import Graph
from symbptt.ir.naming import free_letters
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rounds import has_rounds
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, tree_of
from symbptt.ir.shape import Shape, Size, named_size, names_in, size_text
from symbptt.ir.shape import size as sized

MOST = 1_000
"""Numbers of a constant array that are shown whole."""
FIRST = 4
"""Numbers that are shown of a longer one."""
LETTERS = "ijklpqruvwabcdefghmnosxyz"
"""Names of indices, in the order in which they are taken."""


def array_of(values: Sequence[complex], shape: Shape, most: int = MOST) -> Array:
    """Return an array of numbers, row by row; of more than `most` the first few, and what tells them from others."""
    if len(values) <= most:
        return Array(tuple(map(number, values)), shape)
    return Array(tuple(map(number, values[:FIRST])), shape, fingerprint(values))


def entries(g: Graph, labels: Mapping[int, Label], id: int) -> Expr:
    """Return the formula of a value by its entries; of a number it is the formula itself."""
    shape = g.shape(id)
    names = free_names(g, labels)
    indices = [Index(next(names), size) if size != 1 else ZERO for size in shape]
    found = EntryMaker(g, labels, names).formula(id, indices)
    own = tuple(i for i in indices if normal(shape) == shape or isinstance(i, Index))
    return Entries(own, found, normal(shape)) if normal(shape) else found


def free_names(g: Graph, labels: Mapping[int, Label]) -> Iterator[str]:
    """Yield names of indices that nothing else on the page has, without end."""
    return free_letters(LETTERS, taken_names(g, labels))


def taken_names(g: Graph, labels: Mapping[int, Label]) -> set[str]:
    """Return the names that no index may have."""
    taken = {label.full for label in labels.values()} | {"t", "T", "e"}
    # A state h_prev stands as h on the page, so that h must not be an index there.
    taken |= {without_time(label.name, role) for label in labels.values() for role in TIMES}
    taken |= {name for node in g.leaves() for name in names_in(node.shape)}
    taken |= {name for node in g if node.family == "leaf" for name in names_in(node.shape)}
    taken |= {"i"} if any(g.is_complex(node.id) for node in g) else set()
    return taken | ({letter_of_rounds(g)} if has_rounds(g) else set())


@dataclass(frozen=True)
class EntryMaker:
    """A maker of expressions of entries; each named index is taken once a formula."""

    graph: Graph
    labels: Mapping[int, Label]
    names: Iterator[str]
    known: dict[int, Expr] = field(default_factory=dict)
    matrix: Callable[[int], Expr | None] = lambda id: None

    def value(self, id: int, at: Sequence[Expr]) -> Expr:
        """Return an entry of a value that stands inside a formula."""
        node = self.graph[id]
        if id in self.labels:
            shape = normal(node.shape)
            # A matrix of one column has lost its second axis on the page, and with it the second index.
            own = at if shape == node.shape else at[:1] if shape else ()
            symbol = Symbol(self.labels[id], shape)
            return Entry(symbol, tuple(own)) if shape else symbol
        whole = self.matrix(id)
        if whole is not None and not whole.shape:
            return whole  # as the norm of a vector, which no index reads
        if whole is not None:
            return Entry(whole, tuple(i for i in at if i != ZERO) if len(whole.shape) < len(at) else tuple(at))
        return self.formula(id, at)

    def formula(self, id: int, at: Sequence[Expr]) -> Expr:
        """Return an entry of a value by its formula."""
        node = self.graph[id]
        return getattr(self, f"_{node.family}")(node, at)

    def _fresh(self, size: Size) -> Expr:
        return ZERO if size == 1 else Index(next(self.names), size)

    def _leaf(self, node: Node, at: Sequence[Expr]) -> Expr:
        if node.attrs.role == "eye":
            # The identity entry by entry is [i = j].
            return algebra.Call("equal", tuple(at))
        if node.attrs.role == "round":
            return algebra.Word(letter_of_rounds(self.graph))
        name = node.attrs.name
        if node.attrs.role == "size" and name.isidentifier():
            return Count(named_size(name))
        # A leaf without a label is a size, which may be a formula such as 2*n.
        symbol = algebra.Word(name, is_formula=not name.isidentifier())
        return Entry(symbol, tuple(at)) if normal(node.shape) else symbol

    def _number(self, node: Node, at: Sequence[Expr]) -> Expr:
        if not node.shape:
            return number(node.attrs.value)
        return Entry(array_of(node.attrs.value, node.shape), tuple(at))

    def _map(self, node: Node, at: Sequence[Expr]) -> Expr:
        if is_counter(self.graph, node):
            return at[0]
        args = [self.value(arg, _aligned(self.graph.shape(arg), at)) for arg in node.args]
        return of_tree(with_conditions(self.graph, node, tree_of(node.attrs.expr)), args)

    def _contract(self, node: Node, at: Sequence[Expr]) -> Expr:
        p, (a, b) = node.attrs, multiplied(self.graph, node)
        place = dict(zip(p.out, at, strict=True))
        sizes = dict(zip((*p.a, *p.b), (*self.graph.shape(a), *self.graph.shape(b)), strict=True))
        place |= {label: self._fresh(size) for label, size in sizes.items() if label not in place}
        # Labels of the result have their index given; all others are summed over, each with a fresh name.
        inner = times((self.value(a, [place[x] for x in p.a]), self.value(b, [place[x] for x in p.b])))
        return _summed([place[x] for x in sizes if x not in p.out], inner)

    def _reduce(self, node: Node, at: Sequence[Expr]) -> Expr:
        x, axes = node.args[0], node.attrs.axes
        rest, shape = iter(at), self.graph.shape(x)
        inner = [self._fresh(size) if i in axes else next(rest) for i, size in enumerate(shape)]
        return _summed([inner[i] for i in axes], self.value(x, inner), node.attrs.kind)

    def _view(self, node: Node, at: Sequence[Expr]) -> Expr:
        x, data = node.args[0], node.attrs.data
        shape = self.graph.shape(x)
        match node.attrs.kind:
            case "transpose":
                return self.value(x, [at[data.index(i)] for i in range(len(data))])
            case "expand":
                return self.value(x, _aligned(shape, at))
            case "slice":
                # Entry i of x[start::step] is entry start + step i of x.
                return self.value(x, [affine(step, i, start) for (start, _, step), i in zip(data, at, strict=True)])
            case "pad":
                return self._pad(x, data, shape, at, node.shape)
            case "roll":
                axis, shift = data
                inner = [
                    ZERO
                    if shape[axis] == 1
                    else algebra.Call("mod", (affine(1, at[axis], sized(-shift)), count(shape[axis])))
                ]
                return self.value(x, [*at[:axis], *inner, *at[axis + 1 :]])
            case "concatenate":
                return self._concatenate(node, at)
        return self.value(x, _unravelled(shape, _ravelled(node.shape, at), at, node.shape))

    def _pad(
        self, x: int, data: Sequence[tuple[Size, Size, int]], shape: Shape, at: Sequence[Expr], whole: Shape
    ) -> Expr:
        """Return zeros but at the places that a slice has read."""
        places, conditions = [], []
        for (start, length, step), i, size in zip(data, at, whole, strict=True):
            if (start, length, step) == (0, size, 1):
                places.append(i)
                continue
            # The inverse of i = start + step j; a division by |step| follows where it is not 1, under the condition that it is exact.
            inner = affine(1, i, sized(-start)) if step > 0 else affine(-1, i, start)
            step = abs(step)
            if length == 1:
                conditions.append(algebra.Call("equal", (i, count(start))))
                places.append(ZERO)
                continue
            first, last = (start, sized(start + (length - 1) * step))
            if data[len(places)][2] < 0:
                first, last = sized(start - (length - 1) * step), start
            # A bound that is the end of the axis always holds, and is not written.
            if first != 0:
                conditions.append(algebra.Call("greater_equal", (i, count(first))))
            if sized(last + 1) != size:
                conditions.append(algebra.Call("less_equal", (i, count(last))))
            if step > 1:
                conditions.append(algebra.Call("equal", (algebra.Call("mod", (inner, count(step))), ZERO)))
                inner = Over(inner, count(step))
            places.append(inner)
        return times([*conditions, self.value(x, places)])

    def _concatenate(self, node: Node, at: Sequence[Expr]) -> Expr:
        """Return the part in which an index lies; of windows, the entry that the index inside the window moves on."""
        moving = windows_of(self.graph, node)
        if moving is not None:
            return self.value(moving.whole, moving.places(at))
        axis, start, found = node.attrs.data[0], sized(0), []
        for arg in node.args:
            length = self.graph.shape(arg)[axis]
            here = [affine(1, i, sized(-start)) if k == axis else i for k, i in enumerate(at)]
            here = [ZERO if k == axis and length == 1 else i for k, i in enumerate(here)]
            found.append((sized(start + length), length, start, self.value(arg, here)))
            start = sized(start + length)
        # The last part needs no test: an index that is in no other lies there.
        result, infinite = found[-1][3], any(may_be_infinite(self.graph, Ref(arg)) for arg in node.args)
        # From the last part on: each test stands in front of the ones after it, so that only upper bounds are needed.
        for stop, length, start, part in reversed(found[:-1]):
            test = ("equal", start) if length == 1 else ("less", stop)
            result = Cases(algebra.Call(test[0], (at[axis], count(test[1]))), part, result, infinite)
        return result

    def _gather(self, node: Node, at: Sequence[Expr]) -> Expr:
        x, index = node.args
        axis = node.attrs.axis
        if rank := len(self.graph.shape(index)):
            return self._at_several(node, at, rank)
        row = self.value(index, ())
        if node.attrs.kind == "scatter":
            inner = [i for k, i in enumerate(at) if k != axis]
            # A scatter is zero except in its row: [i = row] x.
            return times((algebra.Call("equal", (at[axis], row)), self.value(x, inner)))
        return self.value(x, [*at[:axis], row, *at[axis:]])

    def _at_several(self, node: Node, at: Sequence[Expr], rank: int) -> Expr:
        """Return an entry of rows of a table at several integers; of what is added up there, a sum over those that are its row."""
        x, index = node.args
        if node.attrs.kind == "gather":
            return self.value(x, [self.value(index, at[:rank]), *at[rank:]])
        places = [ZERO if size == 1 else Index(next(self.names), size) for size in self.graph.shape(index)]
        test = algebra.Call("equal", (self.value(index, places), at[0]))
        over = tuple(i for i in places if isinstance(i, Index))
        value = self.value(x, [*places, *at[1:]])
        return SumOver(over, value, "sum", (test,)) if over else times((test, value))

    def _over(self, node: Node, at: Sequence[Expr]) -> Expr:
        return over_rounds(self.graph, node, self.value(node.args[0], at))

    def _repeat(self, node: Node, at: Sequence[Expr]) -> Expr:
        label = self.labels[node.args[node.attrs.out]]._replace(round=size_text(node.attrs.count))
        return Entry(Symbol(label, normal(node.shape)), tuple(at))

    def _rounds(self, node: Node, at: Sequence[Expr]) -> Expr:
        # The values of a loop have no formula by their entries: each row follows from the one before.
        return Ellipsis()

    def _point(self, node: Node, at: Sequence[Expr]) -> Expr:
        return self.value(node.attrs.parts(node.args)[2][node.attrs.out], at)

    def _cumulate(self, node: Node, at: Sequence[Expr]) -> Expr:
        axis, x = node.attrs.axis, self.graph[node.args[0]]
        i = at[axis]
        # A running sum of ones counts, and one over the identity is a triangle: neither needs a sum.
        if is_ones(self.graph, x) and not node.attrs.reverse:
            return affine(1, i, 1)
        if is_unit_matrix(self.graph, x.id) and x.id not in self.labels:
            return algebra.Call("greater_equal" if not node.attrs.reverse else "less_equal", (i, at[1 - axis]))
        j = Index(next(self.names), node.shape[axis])
        # y_i = Σ_{j ≤ i} x_j, from the back Σ_{j ≥ i} x_j.
        test = algebra.Call("greater_equal" if node.attrs.reverse else "less_equal", (j, i))
        return SumOver(
            (j,), self.value(node.args[0], [j if k == axis else i for k, i in enumerate(at)]), "sum", (test,)
        )

    def _algebra(self, node: Node, at: Sequence[Expr]) -> Expr:
        name, x = node.attrs.name, node.args[0]
        shape = self.graph.shape(x)
        if name == "diag":
            return times((algebra.Call("equal", (at[-2], at[-1])), self.value(x, at[:-1])))
        if name == "diagonal":
            return self.value(x, [*at, at[-1]])
        lead = [*at[: len(shape) - 2]]
        own = tuple(self._fresh(size) for size in shape[-2:])
        inner = self.value(x, [*lead, *own])
        if name == "tril":
            test = algebra.Call("less_equal", (at[-1], at[-2]))
            return times((test, self.value(x, at))) if shape[-1] != 1 else self.value(x, at)
        along = tuple(i for i in own if isinstance(i, Index))
        if name != "solve":
            place = tuple(at[len(shape) - 2 :])
            return entry_of_function(name, along, inner, place) if along else of_one(name, inner, ())
        if not along:
            return Over(self.value(node.args[1], at), inner)
        if is_eye(self.graph, node.args[1]):
            return Along("inv", along, (inner,), (at[-2], at[-1]))
        j = self._fresh(shape[-1])
        back = Along("inv", along, (inner,), (at[-2], j))
        return _summed([j], times((back, self.value(node.args[1], [*lead, j, at[-1]]))))

    def _convolution(self, node: Node, at: Sequence[Expr]) -> Expr:
        a, b = map(self._array, node.args)
        found = convolved(node, a, b)
        return Entry(found, tuple(at[: len(found.shape)])) if found.shape else found

    def _array(self, id: int) -> Expr:
        """Return a value as an array: by its name, or as the array with its entries."""
        shape = normal(self.graph.shape(id))
        if id in self.labels or not shape:
            return self.value(id, ()) if not shape else Symbol(self.labels[id], shape)
        if self.graph[id].family == "convolution":
            return convolved(self.graph[id], *map(self._array, self.graph[id].args))
        own = [self._fresh(size) for size in self.graph.shape(id)]
        return Entries(tuple(own[: len(shape)]), self.formula(id, own), shape)

    def _whole(self, node: Node, at: Sequence[Expr]) -> Expr:
        x, *numbers = node.args
        axes, shape = node.attrs.axes, self.graph.shape(x)
        rest = iter([i for axis, i in enumerate(at) if axis not in axes] if node.attrs.stays else at)
        inner = [self._fresh(size) if axis in axes else next(rest) for axis, size in enumerate(shape)]
        along = tuple(i for axis in axes if isinstance(i := inner[axis], Index))
        own = tuple(at[axis] for axis in axes if isinstance(inner[axis], Index)) if node.attrs.stays else ()
        return by_entries(node, self.value(x, inner), [self.value(number, ()) for number in numbers], along, own)

    def _total(self, node: Node, at: Sequence[Expr]) -> Expr:
        inner = self.value(node.args[0], at)
        return inner if node.attrs.over == "samples" else Total(inner)  # pages are of one sample


@dataclass(frozen=True)
class Windows:
    """Slices of one array, each `by` entries further along one axis than the one before, side by side along the last axis."""

    whole: int
    spans: tuple[tuple[Size, Size, int], ...]
    axis: int
    by: Size

    def places(self, at: Sequence[Expr]) -> list[Expr]:
        """Return the indices in the whole array of an entry: k + p of window k and place p in it."""
        found = [affine(step, i, start) for (start, _, step), i in zip(self.spans, at, strict=False)]
        start, length, step = self.spans[self.axis]
        outer = affine(step, at[self.axis] if length != 1 else ZERO, 0)
        inner = affine(1, at[-1] if self.by == 1 else times((count(self.by), at[-1])), start)
        found[self.axis] = inner if outer == ZERO else plus([(1, outer), (1, inner)])
        return found


def windows_of(g: Graph, node: Node) -> Windows | None:
    """Return what a concatenation along a new last axis shows of one array in windows, or None."""
    axis, last = node.attrs.data[0], len(node.shape) - 1
    parts = [_slice_of(g, arg) for arg in node.args]
    first, second = parts[0], parts[1]
    if axis != last or len(parts) < 3 or first is None or second is None:
        return None
    whole, spans = first
    moved = [k for k, (one, other) in enumerate(zip(spans, second[1], strict=False)) if one != other]
    if len(moved) != 1:
        return None
    (along,) = moved
    by = sized(second[1][along][0] - spans[along][0])
    for k, part in enumerate(parts):
        start, length, step = spans[along]
        there = (sized(start + k * by), length, step)
        if part != (whole, tuple(there if i == along else span for i, span in enumerate(spans))):
            return None
    return Windows(whole, spans, along, by) if isinstance(by, int) and by > 0 else None


def _slice_of(g: Graph, id: int) -> tuple[int, tuple[tuple[Size, Size, int], ...]] | None:
    """Return the array and the spans of a slice with a new last axis."""
    node = g[id]
    if node.family != "view" or node.attrs.kind != "reshape":
        return None
    inner = g[node.args[0]]
    if inner.family != "view" or inner.attrs.kind != "slice" or (*inner.shape, 1) != node.shape:
        return None
    return inner.args[0], tuple(inner.attrs.data)


def over_rounds(g: Graph, node: Node, inner: Expr) -> Expr:
    """Return a sum over the rounds of a loop inside a step; their number is a letter in subscripts, and no index."""
    count = node.attrs.count
    most = number(count) if isinstance(count, int) else algebra.Count(count)
    return SumOver((), inner, "sum", (algebra.Call("less", (algebra.Word(letter_of_rounds(g)), most)),))


def of_tree(tree: Tree, args: Sequence[Expr]) -> Expr:
    """Return a formula over numbers."""
    match tree:
        case Ref(i):
            return args[i]
        case Num(value):
            return number_of(value)
        case Sum(terms):
            return plus((sign, of_tree(term, args)) for sign, term in terms)
        case Prod(factors, divisors):
            above = times(of_tree(f, args) for f in factors)
            return Over(above, times(of_tree(d, args) for d in divisors)) if divisors else above
        case Power(base, exponent):
            return algebra.Power(of_tree(base, args), of_tree(exponent, args))
        case Call(name, parts):
            return called(name, [of_tree(arg, args) for arg in parts])
    raise AssertionError(tree)


def count(size: Size) -> Expr:
    """Return a size as an expression."""
    if isinstance(size, int):
        return plus([(-1, Number(sp.Integer(-size)))]) if size < 0 else Number(sp.Integer(size))
    return Count(size)


def is_ones(g: Graph, node: Node) -> bool:
    """Answer whether a value is an array of ones."""
    x = g[node.args[0]] if node.family == "view" and node.attrs.kind == "expand" else node
    return x.family == "number" and not x.shape and x.attrs.value == 1


def is_counter(g: Graph, node: Node) -> bool:
    """Answer whether a value is 0, 1, 2, ...: a running sum of ones, less one."""
    if node.family != "map" or len(node.args) not in (1, 2) or g[node.args[0]].family != "cumulate":
        return False
    one = placeholder(1) if len(node.args) == 2 else 1
    is_less = node.attrs.expr == placeholder(0) - one and (len(node.args) == 1 or is_ones(g, g[node.args[1]]))
    counted = g[node.args[0]]
    return is_less and len(node.shape) == 1 and not counted.attrs.reverse and is_ones(g, g[counted.args[0]])


def affine(step: int, i: Expr, start: Size) -> Expr:
    """Return step · i + start."""
    if i == ZERO:
        return count(start)
    whole = i if abs(step) == 1 else times((count(abs(step)), i))
    # A falling index reads better with its start in front: n - 1 - i.
    terms = [(1 if step > 0 else -1, whole)]
    if start != 0:
        negative = (isinstance(start, int) and start < 0) or (
            not isinstance(start, int) and start.could_extract_minus_sign()
        )
        offset = (-1 if negative else 1, count(sized(-start) if negative else start))
        terms = [offset, *terms] if step < 0 and not negative else [*terms, offset]
    return plus(terms)


def _aligned(shape: Shape, at: Sequence[Expr]) -> list[Expr]:
    """Return the indices of an array that is repeated to more or longer axes."""
    # NumPy aligns shapes at their last axis; along an axis of size 1 the only place is 0.
    own = list(at[len(at) - len(shape) :]) if shape else []
    return [ZERO if size == 1 else i for size, i in zip(shape, own, strict=True)]


def _summed(over: Sequence[Expr], inner: Expr, kind: str = "sum") -> Expr:
    indices = tuple(i for i in over if isinstance(i, Index))
    # A sum over axes of size 1 has one term.
    if not indices:
        return inner
    if kind == "sum" and isinstance(inner, SumOver) and inner.kind == "sum" and not inner.condition:
        return SumOver((*indices, *inner.indices), inner.inner)
    return SumOver(indices, inner, kind)


def _ravelled(shape: Shape, at: Sequence[Expr]) -> Expr:
    """Return the place of an entry among all, row by row."""
    found: Expr = ZERO
    stride: Size = 1
    for size, i in reversed([*zip(shape, at, strict=True)]):
        term = i if stride == 1 else times((count(stride), i))
        found = found if i == ZERO else term if found == ZERO else plus([(1, term), (1, found)])
        stride = sized(stride * size)
    return found


def _unravelled(shape: Shape, place: Expr, at: Sequence[Expr], whole: Shape) -> list[Expr]:
    """Return the indices of an entry by its place; axes that both shapes have side by side keep their index."""
    wide, given = [s for s in shape if s != 1], [(s, i) for s, i in zip(whole, at, strict=True) if s != 1]
    # Only axes of size 1 come or go: every index keeps its meaning.
    if wide == [s for s, _ in given]:
        rest = iter(i for _, i in given)
        return [ZERO if s == 1 else next(rest) for s in shape]
    found: list[Expr] = []
    stride: Size = 1
    first = next(i for i, s in enumerate(shape) if s != 1)
    for axis, size in reversed([*enumerate(shape)]):
        if size == 1:
            found.append(ZERO)
            continue
        # Row-major order: index = ⌊place / stride⌋ mod size; the first axis needs no mod, as the place is within the array.
        above = place if stride == 1 else algebra.Call("floor", (Over(place, count(stride)),))
        found.append(above if axis == first else algebra.Call("mod", (above, count(size))))
        stride = sized(stride * size)
    return found[::-1]
