"""One adjoint rule for each family of nodes: what the adjoint of a value adds to the adjoints of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt import ops
from symbptt.autodiff import algebra
from symbptt.autodiff.conjugate import adjoint_of_part, conjugate, conjugated, like
from symbptt.autodiff.guard import FREE, OPEN, Flow, Guards, chosen, guarded, within
from symbptt.autodiff.partials import VALUE, partials, times
from symbptt.autodiff.subexpressions import formula
from symbptt.autodiff.whole import adjoint_of_argument
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import READS, Node, Product, placeholder

Contributions = list[tuple[int, int]]
"""Pairs (argument, what it is given)."""


@dataclass(frozen=True)
class Context:
    """The context of a rule: the graph, the values that stand for themselves, the nodes that need an adjoint; and what
    is known of the adjoints so far, and the nodes that stood under a guard."""

    graph: Graph
    kept: set[int]
    wanted: set[int]
    guards: Guards
    flows: dict[int, Flow] = field(default_factory=dict)
    guarded: set[int] = field(default_factory=set)


def contributions(context: Context, node: Node, bar: int) -> Contributions:
    """Return what the adjoint `bar` of a node adds to the adjoints of the values that it reads."""
    return RULES[node.family](context, node, bar)


def passed_on(context: Context, node: Node, arg: int) -> Flow:
    """Return what is known of that which a node adds to the adjoint of one of its arguments."""
    flow = context.flows.get(node.id, FREE)
    if node.family != "map":
        return flow.read_in_part() if _is_choice(node) else flow.elsewhere()
    f = formula(context.graph, node.id, context.kept)
    partial = partials(f.expr, len(f.args))[f.args.index(arg)]
    return context.guards.factor(node, f, arg, partial, flow)[1]


def _is_choice(node: Node) -> bool:
    """Answer whether a node reads some entries of its argument and leaves others: a part, a row, the largest."""
    largest = node.family == "whole" and node.attrs.name in ("max", "min")
    return largest or node.family == "gather" or getattr(node.attrs, "kind", "") in ("slice", "max")


def total(g: Graph, parts: Sequence[int]) -> int:
    """Return the sum of contributions to one adjoint."""
    if len(parts) == 1:
        return parts[0]
    joined = _joined(g, parts)
    if joined is not None:
        return joined
    # Equal contributions are counted: x * x gives 2 dv x, not dv x + dv x.
    different = tuple(dict.fromkeys(parts))
    return build.map_(g, sp.Add(*(parts.count(part) * placeholder(i) for i, part in enumerate(different))), different)


def _joined(g: Graph, parts: Sequence[int]) -> int | None:
    """Return the adjoints of slices that tile an axis as one concatenation instead of a sum of padded arrays, else None."""
    nodes = [g[part] for part in parts]
    if any(node.family != "view" or node.attrs.kind != "pad" for node in nodes):
        return None
    full = [[span != (0, size, 1) for span, size in zip(node.attrs.data, node.shape, strict=True)] for node in nodes]
    axes = {tuple(flags) for flags in full}
    if len(axes) != 1 or sum(next(iter(axes))) != 1:
        return None
    axis = next(iter(axes)).index(True)
    pieces = {node.attrs.data[axis][0]: node for node in nodes if node.attrs.data[axis][2] == 1}
    order: list[Node] = []
    at: shapes.Size = 0
    # Slices tile the axis if each begins where the one before ends; a gap or an overlap leaves the sum of padded arrays.
    while at in pieces and len(order) < len(nodes):
        order.append(pieces[at])
        at = shapes.size(at + pieces[at].attrs.data[axis][1])
    if len(order) != len(nodes) or at != nodes[0].shape[axis]:
        return None
    return build.concatenate(g, [node.args[0] for node in order], axis)


def unbroadcast(g: Graph, x: int, shape: shapes.Shape) -> int:
    """Return x summed over the axes along which `shape` was repeated."""
    # The adjoint of broadcasting is the sum over the copies.
    axes = shapes.broadcast_axes(shape, g.shape(x))
    return build.reshape(g, build.reduce(g, "sum", x, axes), shape) if axes else x


def _map(context: Context, node: Node, bar: int) -> Contributions:
    g = context.graph
    part = adjoint_of_part(g, node, bar)
    if part is not None:
        return [(node.args[0], unbroadcast(g, part, g.shape(node.args[0])))]
    f = formula(g, node.id, context.kept)
    found = []
    for arg, partial in zip(f.args, partials(f.expr, len(f.args)), strict=True):
        if arg in context.wanted and partial != 0:
            guard, _ = context.guards.factor(node, f, arg, partial, context.flows.get(node.id, FREE))
            given = like(g, weighted(g, within(g, guard, bar), partial, f.args, node.id), arg)
            if guard != OPEN:
                given = guarded(g, guard, bar, given)
                context.guarded.add(node.id)
            found.append((arg, unbroadcast(g, given, g.shape(arg))))
    return found


def weighted(g: Graph, bar: int, partial: sp.Expr, args: tuple[int, ...], value: int) -> int:
    """Return bar ⊙ partial as one map: the adjoint first, then what the derivative reads, in the user's order."""
    partial, found = known_functions(g, partial, args)
    candidates = [(placeholder(i), arg) for i, arg in enumerate(args)] + found + [(VALUE, value)]
    read = [(symbol, id) for symbol, id in candidates if symbol in partial.free_symbols]
    if g.is_complex(value):
        partial, read = _conjugated(g, partial, read)
    ids = list(dict.fromkeys([bar, *(id for _, id in read)]))
    renamed = partial.xreplace({symbol: placeholder(ids.index(id)) for symbol, id in read})
    return build.map_(g, times(placeholder(0), renamed), ids)


def _conjugated(
    g: Graph, partial: sp.Expr, read: Sequence[tuple[sp.Expr, int]]
) -> tuple[sp.Expr, list[tuple[sp.Expr, int]]]:
    """Return the conjugate of a partial, in which symbols stand for the conjugates of complex values; with these values."""
    of = {symbol for symbol, id in read if g.is_complex(id)}
    # A symbol for each conjugate, which is a value of its own: that of a parameter is computed once, before the loop.
    barred = {ops.conj(symbol): sp.Symbol(f"{symbol.name}_bar", real=True) for symbol in of}
    return conjugated(partial, of).xreplace(barred), [
        (barred.get(ops.conj(symbol), symbol), conjugate(g, id)) for symbol, id in read
    ]


def known_functions(g: Graph, partial: sp.Expr, args: tuple[int, ...]) -> tuple[sp.Expr, list[tuple[sp.Expr, int]]]:
    """Return a partial with functions that the forward sweep has computed as symbols, and the values of these."""
    found: list[tuple[sp.Expr, int]] = []
    for part in sorted(partial.atoms(sp.Function), key=sp.default_sort_key):
        # For d sin(a) = cos(a): if the forward pass already has a node cos(a), it is read instead of computed again.
        if len(part.args) != 1 or part.args[0] not in [placeholder(i) for i in range(len(args))]:
            continue
        arg = args[int(part.args[0].name[1:])]
        body = part.func(placeholder(0))
        for reader in sorted(g.readers(arg)):
            if g[reader].family == "map" and g[reader].attrs.expr == body:
                symbol = sp.Symbol(f"_known{len(found)}", real=True)
                partial = partial.xreplace({part: symbol})
                found.append((symbol, reader))
                break
    return partial, found


def _contract(context: Context, node: Node, bar: int) -> Contributions:
    (a, b), labels = node.args, node.attrs
    found = []
    if a in context.wanted:
        read = conjugate(context.graph, _where_read(context, node, bar, b, labels.b))
        # A product is bilinear: exchanging the labels of one operand and of the result gives its adjoint, whatever the ranks are.
        found.append(
            (
                a,
                like(
                    context.graph, build.contract(context.graph, bar, read, Product(labels.out, labels.b, labels.a)), a
                ),
            )
        )
    if b in context.wanted:
        read = conjugate(context.graph, _where_read(context, node, bar, a, labels.a))
        found.append(
            (
                b,
                like(
                    context.graph, build.contract(context.graph, read, bar, Product(labels.a, labels.out, labels.b)), b
                ),
            )
        )
    return found


def _where_read(context: Context, node: Node, bar: int, operand: int, labels: tuple[int, ...]) -> int:
    """Return an operand of a product, zero where no result of the product that it is part of was chosen."""
    g = context.graph
    if not context.guards.may_meet(context.flows.get(node.id, FREE), operand):
        return operand
    context.guarded.add(node.id)
    # An operand entry is masked only if all cotangents that multiply it are zero: their largest absolute value is then 0.
    size = build.map_(g, (ops.modulus if g.is_complex(bar) else ops.absolute)(placeholder(0)), (bar,))
    own = node.attrs.out
    largest = build.reduce(g, "max", size, [i for i, label in enumerate(own) if label not in labels])
    left = [label for label in own if label in labels]
    ordered = build.transpose(g, largest, [left.index(label) for label in labels if label in left])
    shape = tuple(item if label in left else 1 for label, item in zip(labels, g.shape(operand), strict=True))
    return chosen(g, build.reshape(g, ordered, shape), True, operand)


def _reduce(context: Context, node: Node, bar: int) -> Contributions:
    g, x = context.graph, node.args[0]
    shape = g.shape(x)
    kept = build.reshape(g, bar, shapes.with_ones(shape, node.attrs.axes))
    if node.attrs.kind == "sum":
        return [(x, build.expand(g, kept, shape))]
    top = build.map_(g, ops.equal(placeholder(0), placeholder(1)), (x, build.reshape(g, node.id, g.shape(kept))))
    # At ties the maximum has no derivative; equal shares give a subgradient that does not depend on the order of entries.
    count = build.reshape(g, build.reduce(g, "sum", top, node.attrs.axes), g.shape(kept))
    given = build.map_(g, placeholder(0) * placeholder(1) / placeholder(2), (kept, top, count))
    if context.guards.may_meet(context.flows.get(node.id, FREE), x):
        context.guarded.add(node.id)
        given = chosen(g, kept, True, given)  # no entry is equal to a maximum that is no number
    return [(x, given)]


def _view(context: Context, node: Node, bar: int) -> Contributions:
    g, data = context.graph, node.attrs.data
    match node.attrs.kind:
        case "transpose":
            # `data.index` inverts the permutation.
            return [(node.args[0], build.transpose(g, bar, [data.index(i) for i in range(len(data))]))]
        case "reshape":
            return [(node.args[0], build.reshape(g, bar, g.shape(node.args[0])))]
        case "expand":
            return [(node.args[0], unbroadcast(g, bar, g.shape(node.args[0])))]
        case "slice":
            return [(node.args[0], build.pad(g, bar, data, g.shape(node.args[0])))]
        case "pad":
            return [(node.args[0], build.cut(g, bar, data))]
        case "roll":
            axis, shift = data
            return [(node.args[0], build.roll(g, bar, axis, -shift))]
        case "concatenate":
            return _pieces(context, node, bar)
    raise AssertionError(f"no adjoint rule for {node}")


def _pieces(context: Context, node: Node, bar: int) -> Contributions:
    g, (axis,) = context.graph, node.attrs.data
    found, start = [], 0
    for arg in node.args:
        length = g.shape(arg)[axis]
        spans = [(start, length, 1) if i == axis else (0, item, 1) for i, item in enumerate(node.shape)]
        if arg in context.wanted:
            found.append((arg, like(g, build.cut(g, bar, spans), arg)))
        start = shapes.size(start + length)
    return found


def _gather(context: Context, node: Node, bar: int) -> Contributions:
    table, index = node.args
    if node.attrs.kind == "scatter":
        return [(table, build.gather(context.graph, bar, index, node.attrs.axis))]
    return [(table, build.scatter(context.graph, bar, index, node.attrs.axis, context.graph.shape(table)))]


def _cumulate(context: Context, node: Node, bar: int) -> Contributions:
    # y_i = Σ_{j ≤ i} x_j, so that dx_j = Σ_{i ≥ j} dy_i: the running sum from the other end.
    return [(node.args[0], build.cumulate(context.graph, bar, node.attrs.axis, not node.attrs.reverse))]


def _algebra(context: Context, node: Node, bar: int) -> Contributions:
    return algebra.adjoints(context.graph, node, bar, context.wanted)


def _whole(context: Context, node: Node, bar: int) -> Contributions:
    if node.attrs.name in ("is_max", "is_min"):  # which entry is the largest: its slope is zero wherever it has one
        return []
    return [(node.args[0], adjoint_of_argument(context.graph, node, bar))]


def _convolution(context: Context, node: Node, bar: int) -> Contributions:
    # The sum over windows is linear in each of w, x and z: each of the three derivatives has the two others as its own.
    g, found = context.graph, dict(zip(node.attrs.reads, node.args, strict=True)) | {node.attrs.result: bar}
    return [
        (
            arg,
            build.convolution(g, [found[read] for read in READS[name]], g.shape(arg), replace(node.attrs, result=name)),
        )
        for name, arg in zip(node.attrs.reads, node.args, strict=True)
        if arg in context.wanted
    ]


RULES: dict[str, Callable[[Context, Node, int], Contributions]] = {
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
    "whole": _whole,
    "convolution": _convolution,
}
