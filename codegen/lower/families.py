"""Lowering, one rule for each family: how a value of a program becomes statements.

Two functions call each other. `operand` tells where a value can be read, and writes it into a new temporary only where
it is stored nowhere; `emit` writes a value into a given view. Pure index arithmetic becomes a view and no statement.

Example: of `da = dh * (1 - h * h)` the map has the body `_0 * (1 - _1**2)` over the values dh and h, which are stored,
so that one statement `Map(da, body, (dh, h))` writes it. Were the inner square stored, because two values read it, the
body would refer to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.builder import Builder
from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    Algebra,
    Axis,
    Contract,
    Cumulate,
    Extent,
    Gather,
    Map,
    Operand,
    Reduce,
    Scatter,
    Sharpen,
    Statement,
    View,
)
from symbptt.codegen.loop_ir.views import permuted, repeated, reshaped, span, split, whole, with_new
from symbptt.codegen.lower.bodies import ONE, ZERO, body_of, number, replaced, uses
from symbptt.codegen.lower.frame import COUNT, LO, Frame, Stored, T
from symbptt.codegen.lower.storage import arranged
from symbptt.codegen.program.remainders import is_remainder
from symbptt.ir.graph import Graph
from symbptt.ir.node import WITHOUT_COPY, Node, Product, placeholder
from symbptt.ir.scalar import Ref, Tree
from symbptt.ir.shape import Shape, Size, prod, size
from symbptt.language.roles import parse_dims

LEAD_LABEL = 1000
"""The first label of axes of steps and samples in products, above all labels of a value's own axes."""


@dataclass
class Lowering:
    """A sweep during lowering.

    `stored` are the views of values that have a place of their own; `static` values are numbers in formulas; `varying`
    ones differ between samples or steps, `timed` ones between steps. `frame` is where statements stand now, and `known`
    are the views there of values that have no place of their own. `parts` are values that are computed in place in another
    one; those in `front` have a gate-major layout, those in `by_round` one round by round. An error of the forward sweep
    tells its step: others go over pieces, and do not know theirs.
    """

    graph: Graph
    varying: frozenset[int]
    timed: frozenset[int]
    static: frozenset[int]
    symbols: Mapping[str, sp.Symbol]
    builder: Builder
    frame: Frame
    stored: dict[int, Stored] = field(default_factory=dict)
    known: dict[int, View] = field(default_factory=dict)
    parts: frozenset[int] = frozenset()
    front: frozenset[int] = frozenset()
    tells_steps: bool = False
    by_round: frozenset[int] = frozenset()

    @contextmanager
    def at(self, frame: Frame, body: list[Statement]) -> Iterator[None]:
        """Add statements to `body` in the meantime, in a frame of its own."""
        outer, known = self.frame, self.known
        # What is known outside has the axes of the outer frame, so that nothing is known here to begin with.
        self.frame, self.known = frame, {}
        try:
            with self.builder.inside(body):
                yield
        finally:
            self.frame, self.known = outer, known

    def lead(self, id: int) -> Shape:
        """Return the axes that a value has before its own in this frame: what is the same at all steps has that of samples alone."""
        return self.frame.lead if id in self.timed else self.frame.lead[-1:] if id in self.varying else ()

    def lead_labels(self, lead: Shape) -> tuple[int, ...]:
        """Return the labels of axes of steps and samples in products."""
        number = len(self.frame.lead)
        return tuple(range(LEAD_LABEL + number - len(lead), LEAD_LABEL + number))

    def type_of(self, id: int) -> str:
        """Return the type of the numbers of a value."""
        return "complex" if self.graph.is_complex(id) else "float"

    def shape(self, id: int) -> Shape:
        """Return the shape that a value has in this frame."""
        return (*self.lead(id), *self.graph.shape(id))


def operand(s: Lowering, id: int) -> View:
    """Return where a value can be read: the axes of steps and samples come first, where it differs between these."""
    if id in s.stored:
        return s.frame.part(s.stored[id])
    if id not in s.known:
        s.known[id] = _looked_at(s, id) or _temporary(s, id)
    return s.known[id]


def _looked_at(s: Lowering, id: int) -> View | None:
    """Return a value that is a view of another one where index arithmetic alone makes it, else None."""
    node = s.graph[id]
    if node.family == "view" and node.attrs.kind in WITHOUT_COPY:
        return view_of(s.graph, id, operand(s, node.args[0]), len(s.lead(id)))
    return None


def view_of(g: Graph, id: int, of: View, lead: int) -> View | None:
    """Return a value that is a view of its argument, which lies in `of` behind `lead` axes; None where a reshape merges
    axes."""
    node = g[id]
    match node.attrs.kind:
        case "transpose":
            return permuted(of, [*range(lead), *(i + lead for i in node.attrs.data)])
        case "expand":
            return aligned(of, lead, node.shape)
        case "slice":
            for i, (start, length, step) in enumerate(node.attrs.data):
                of = span(of, i + lead, start, length, step)
            return of
    own = reshaped(replace(of, axes=of.axes[lead:]), node.shape)
    return None if own is None else replace(own, axes=(*of.axes[:lead], *own.axes))


def _temporary(s: Lowering, id: int) -> View:
    """Write a value into a new temporary and return it."""
    own = s.graph.shape(id)
    space = "scalar" if id in s.static and not own else "temporary"
    out = room(s, "s", s.lead(id), own, space, id in s.front, id in s.by_round, s.type_of(id))
    emit(s, id, out)
    return out


def room(
    s: Lowering,
    name: str,
    lead: Shape,
    own: Shape,
    space: str = "temporary",
    front: bool = False,
    by_round: bool = False,
    dtype: str = "float",
) -> View:
    """Return a new buffer for a value of this shape, long enough for the longest block where steps go by blocks."""
    # The buffer is allocated before the loop over blocks, where the number of steps of a round is not known.
    longest = tuple(BLOCK if n == COUNT else n for n in lead)
    out = arranged(s.builder.name(name), longest, own, front, space, by_round, dtype)
    s.builder.buffers.append(out.buffer)
    lengths = (*lead, *own)
    return replace(out, axes=tuple(replace(axis, length=n) for axis, n in zip(out.axes, lengths, strict=True)))


def emit(s: Lowering, id: int, out: View) -> None:
    """Write a value into `out`, which has its shape in this frame, or more axes of steps and samples, along which it
    repeats."""
    node = s.graph[id]
    # Only maps broadcast over axes that they lack: the other families would compute the same value for each step.
    if id in s.stored or id in s.known or (len(out.axes) > len(s.shape(id)) and node.family != "map"):
        s.builder.copy(out, operand(s, id), (id,))
        return
    FAMILIES[node.family](s, node, out)


def aligned(view: View, lead: int, shape: Shape) -> View:
    """Return a view, `lead` of whose axes are those of steps and samples, with its own axes broadcast to a shape."""
    for _ in range(len(shape) - len(view.axes) + lead):
        view = with_new(view, lead)
    own = repeated(replace(view, axes=view.axes[lead:]), shape)
    return replace(view, axes=(*view.axes[:lead], *own.axes))


# Elementwise values.


def _map(s: Lowering, node: Node, out: View) -> None:
    if is_remainder(node):
        _remainder(s, node, out)
        return
    body, args = formula(s, node, out)
    s.builder.add(Map(out, body, args, (node.id,)))


def formula(s: Lowering, node: Node, out: View) -> tuple[Tree, tuple[Operand, ...]]:
    """Return the body of a map over operands of the shape of `out`, with formulas that only it reads written into it."""
    args: list[Operand] = []
    body = _inner(s, node, node, out.shape, args)
    return body, tuple(args)


def _inner(s: Lowering, node: Node, of: Node, shape: Shape, args: list[Operand]) -> Tree:
    """Return the tree of a map inside the formula of another one, which has the shape of the result."""
    # A value without a place of its own is a formula inside of its reader's: one statement, and no array between
    # them.
    tree = body_of(node.attrs.expr)
    read = uses(tree)
    trees = {i: _argument(s, node.args[i], of, shape, args, read[i]) for i in sorted(read)}
    return replaced(tree, trees.__getitem__)


def _argument(s: Lowering, id: int, of: Node, shape: Shape, args: list[Operand], count: int) -> Tree:
    """Return an argument as a tree: a number, a formula that is inlined, or a reference to an operand."""
    node = s.graph[id]
    if id not in s.stored and id not in s.known:
        if node.family == "number" and not node.shape:
            return number(node.attrs.value)
        if node.family == "leaf" and node.attrs.role == "size":
            return _refer(Extent(_size(s, node)), args)
        # A broadcast formula, or one that is read twice, would be computed again for every element or every reference.
        alike = node.shape == of.shape and s.lead(id) == s.lead(of.id) and count == 1
        if node.family == "map" and not is_remainder(node) and (alike or id in s.static):
            return _inner(s, node, of, shape, args)
    found = operand(s, id)
    return _refer(repeated(aligned(found, len(s.lead(id)), of.shape), shape), args)


def _refer(found: Operand, args: list[Operand]) -> Tree:
    if found not in args:
        args.append(found)
    return Ref(args.index(found))


def _size(s: Lowering, node: Node) -> sp.Expr:
    (found,) = parse_dims(node.attrs.name)
    return sp.sympify(found)


def _remainder(s: Lowering, node: Node, out: View) -> None:
    """Write the remainder of a function, by its value, and by its argument where the remainder is tiny."""
    y, a = node.args
    name = node.attrs.expr.func.__name__
    tree = body_of(ops.REMAINING[name].body(placeholder(0)))
    args: list[Operand] = []
    body = replaced(tree, lambda _: _argument(s, y, node, out.shape, args, 2))
    s.builder.add(Map(out, body, tuple(args), (node.id,)))
    inside: list[Statement] = []
    known = dict(s.known)
    with s.builder.inside(inside):
        argument = repeated(aligned(operand(s, a), len(s.lead(a)), node.shape), out.shape)
    s.known = known  # temporaries of the conditional body are not there outside
    s.builder.add(Sharpen(out, name, argument, tuple(inside), (node.id,)))


# Products, sums, places by index.


def _contract(s: Lowering, node: Node, out: View) -> None:
    _product(s, node, out, s.lead(node.id), (node.id,))


def _product(s: Lowering, node: Node, out: View, kept: Shape, origin: tuple[int, ...], add: bool = False) -> None:
    """Write a product; the axes of steps and samples that are `kept` stay, others are summed over."""
    # Axes of steps and samples become labels like all others: kept they are axes of the result, left out they are
    # summed over. One rule gives the product of a step, of a block, and the gradient summed over both.
    sides, labels = [], []
    for arg, part in zip(node.args, (node.attrs.a, node.attrs.b), strict=True):
        sides.append(operand(s, arg))
        labels.append((*s.lead_labels(s.lead(arg)), *part))
    lead = s.lead_labels(kept)
    # An axis of steps or samples that is summed over and that one side alone has is summed before: Σ_t a_t b = (Σ_t a_t) b, for the
    # law of Contract wants each summed label in both operands.
    for i, other in ((0, 1), (1, 0)):
        alone = [j for j, x in enumerate(labels[i]) if x >= LEAD_LABEL and x not in (*labels[other], *lead)]
        if alone:
            sides[i] = _summed(s, sides[i], tuple(alone), origin)
            labels[i] = tuple(x for j, x in enumerate(labels[i]) if j not in alone)
    result = (*lead, *node.attrs.out)
    # Labels are numbered anew, so that equal products have equal labels whatever their axes were called.
    order = {label: i for i, label in enumerate(dict.fromkeys((*result, *labels[0])))}
    product = Product(*(tuple(order[x] for x in part) for part in (labels[0], labels[1], result)))
    s.builder.add(Contract(out, sides[0], sides[1], product, add, origin))


def _summed(s: Lowering, x: View, axes: tuple[int, ...], origin: tuple[int, ...]) -> View:
    out = room(s, "s", (), tuple(n for i, n in enumerate(x.shape) if i not in axes), dtype=x.buffer.dtype)
    s.builder.add(Reduce(out, "sum", x, axes, False, origin))
    return out


def _reduce(s: Lowering, node: Node, out: View) -> None:
    (x,) = node.args
    lead = len(s.lead(x))
    s.builder.add(
        Reduce(out, node.attrs.kind, operand(s, x), tuple(i + lead for i in node.attrs.axes), False, (node.id,))
    )


def _gather(s: Lowering, node: Node, out: View) -> None:
    """Write elements at indices, or, for the adjoint, zeros with elements added at indices."""
    first, at = node.args
    lead = len(out.axes) - len(node.shape)
    if node.attrs.kind == "gather":
        table, places = operand(s, first), s.graph.shape(at)
        if len(s.lead(first)) < lead:
            table = repeated(table, (*out.shape[:lead], *s.graph.shape(first)))
        # Each of several integers reads the same table: it repeats along their axes, which stand in front of its own.
        table = replace(table, axes=(*table.axes[:lead], *map(Axis, places), *table.axes[lead:]))
        index = repeated(_places(s, at, node.shape), out.shape)
        s.builder.add(Gather(out, table, index, node.attrs.axis + lead + len(places), (node.id,)))
        return
    s.builder.fill(out, ZERO, (node.id,))
    scatter(s, node, out, (node.id,))


def scatter(s: Lowering, node: Node, out: View, origin: tuple[int, ...]) -> None:
    """Add a value at its indices; `out` repeats along the axes of steps and samples where these are summed."""
    x, at = node.args
    lead, places = len(s.frame.lead), s.graph.shape(at)
    shape = (*s.frame.lead, *s.graph.shape(x))
    part = repeated(aligned(operand(s, x), len(s.lead(x)), s.graph.shape(x)), shape)
    index = repeated(_places(s, at, s.graph.shape(x)), shape)
    out = replace(out, axes=(*out.axes[:lead], *map(Axis, places), *out.axes[lead:]))
    s.builder.add(Scatter(out, part, index, node.attrs.axis + lead + len(places), origin))


def _places(s: Lowering, at: int, shape: Shape) -> View:
    """Return integers as a view that repeats along the axes of a value behind their own."""
    index = operand(s, at)
    return replace(index, axes=(*index.axes, *(Axis(1) for _ in shape[len(s.graph.shape(at)) :])))


def _cumulate(s: Lowering, node: Node, out: View) -> None:
    lead = len(s.lead(node.id))
    x = operand(s, node.args[0])
    s.builder.add(Cumulate(out, x, node.attrs.axis + lead, node.attrs.reverse, (node.id,)))


def _algebra(s: Lowering, node: Node, out: View) -> None:
    """Write a function of matrices, which names the first argument and the step where it has no value."""
    lead = s.lead(node.id)
    first: Size = (
        -1 if node.id not in s.timed or not s.tells_steps else T if lead == (BATCH,) else LO if COUNT in lead else 0
    )
    args = tuple(operand(s, arg) for arg in node.args)
    s.builder.add(Algebra(out, node.attrs.name, args, subject(s.graph, node.args[0]), Extent(first), (node.id,)))


def subject(g: Graph, id: int) -> str:
    """Return the user's name of a matrix, or of the one of which it is a view."""
    node = g[id]
    while id not in g.names and node.family == "view" and len(node.args) == 1:
        id = node.args[0]
        node = g[id]
    return g.names.get(id, node.attrs.name if node.family == "leaf" else "a matrix")


def _total(s: Lowering, node: Node, out: View) -> None:
    total(s, node, out, False)


def total(s: Lowering, node: Node, out: View, add: bool) -> None:
    """Write the sum of a value over the steps and samples of this frame, over one of these, or add it."""
    (x,) = node.args
    inner, origin, over = s.graph[x], (node.id,), node.attrs.over
    lead, kept = s.frame.lead[-1:] if over == "samples" else s.frame.lead, s.lead(node.id)
    free = x not in s.stored and x not in s.known and s.lead(x) == lead
    # Σ_t Σ_b da hᵀ is one product over all steps and samples; the products of single samples are never stored.
    if free and inner.family == "contract":
        _product(s, inner, out, kept, origin, add)
        return
    # The sum of scattered tables is one table: repeated axes of the output add what is scattered.
    if free and inner.family == "gather" and inner.attrs.kind == "scatter" and lead == s.frame.lead:
        if not add:
            s.builder.fill(out, ZERO, origin)
        scatter(s, inner, replace(out, axes=(*map(Axis, lead[: len(lead) - len(kept)]), *out.axes)), origin)
        return
    view = repeated(aligned(operand(s, x), len(s.lead(x)), inner.shape), (*lead, *inner.shape))
    s.builder.add(Reduce(out, "sum", view, tuple(range(len(lead) - len(kept))), add, origin))


# Numbers and views.


def _number(s: Lowering, node: Node, out: View) -> None:
    if not node.shape:
        s.builder.fill(out, number(node.attrs.value), (node.id,))
        return
    values = _nested(node.attrs.value, node.shape)
    s.builder.copy(out, whole(s.builder.constant("numbers", node.shape, values, s.type_of(node.id))), (node.id,))


def _nested(values: tuple[complex, ...], shape: Shape) -> object:
    """Return numbers as nested tuples of a shape."""
    if len(shape) <= 1:
        return tuple(values)
    inner = int(prod(shape[1:]))
    return tuple(_nested(values[i : i + inner], shape[1:]) for i in range(0, len(values), inner))


def _leaf(s: Lowering, node: Node, out: View) -> None:
    if node.attrs.role == "size":
        s.builder.add(Map(out, Ref(0), (Extent(_size(s, node)),), (node.id,)))
        return
    assert node.attrs.role == "eye", f"{node.attrs.role} {node.attrs.name} has no place"
    s.builder.fill(out, ZERO, (node.id,))
    # One axis that moves along both axes of the buffer is the diagonal.
    first, second = out.axes
    s.builder.fill(replace(out, axes=(Axis(first.length, (*first.of, *second.of)),)), ONE, (node.id,))


def _view(s: Lowering, node: Node, out: View) -> None:
    lead = len(s.lead(node.id))
    match node.attrs.kind:
        case "pad":
            s.builder.fill(out, ZERO, (node.id,))
            part = out
            for i, (start, length, step) in enumerate(node.attrs.data):
                part = span(part, i + lead, start, length, step)
            emit(s, node.args[0], part)
        case "concatenate":
            (axis,) = node.attrs.data
            at: Size = 0
            for arg in node.args:
                length = s.graph.shape(arg)[axis]
                if arg not in s.parts:
                    emit(s, arg, span(out, axis + lead, at, length))
                at = size(at + length)
        case "reshape":
            _reshape(s, node, out, lead)
        case _:
            found = _looked_at(s, node.id)
            assert found is not None
            s.builder.copy(out, found, (node.id,))


def _reshape(s: Lowering, node: Node, out: View, lead: int) -> None:
    """Write a value in another shape: through a reshaped output, from a reshaped operand, or by way of one flat
    temporary."""
    (x,) = node.args
    # Index arithmetic first: a view costs nothing, a flat temporary a pass over memory.
    own = reshaped(replace(out, axes=out.axes[lead:]), s.graph.shape(x))
    if own is not None:
        emit(s, x, replace(own, axes=(*out.axes[:lead], *own.axes)))
        return
    found = _looked_at(s, node.id)
    if found is not None:
        s.builder.copy(out, found, (node.id,))
        return
    row = room(s, "s", s.lead(node.id), (prod(node.shape),), dtype=s.type_of(node.id))
    to, back = (
        replace(row, axes=(*row.axes[:-1], *split(row.axes[-1], shape))) for shape in (s.graph.shape(x), node.shape)
    )
    emit(s, x, to)
    s.builder.copy(out, back, (node.id,))


FAMILIES: dict[str, Callable[[Lowering, Node, View], None]] = {
    "leaf": _leaf,
    "number": _number,
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
    "total": _total,
}
