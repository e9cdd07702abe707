"""Split products of concatenated or sliced operands into products of their blocks, so that all spellings give one
program.

A product with a concatenation such as W [h; x] becomes W_h h + W_x x, of which the second is computed before the loop;
a product that is read only in slices of equal length, such as four gates of one weight, becomes a product for each
slice; every product of a weight and a vector has the weight first. Products and cotangents of the backward sweep
follow.

Example, with h of n elements, x of m and W of shape (2 n, n + m):

    a = W [h; x];  i, f = sigmoid(a[:n]), sigmoid(a[n:])

becomes, with W_ih = W[:n, :n], W_ix = W[:n, n:] and so on,

    a_1 = W_ih h + W_ix x;  a_2 = W_fh h + W_fx x;  i, f = sigmoid(a_1), sigmoid(a_2)
    dh = W_ihᵀ da_1 + W_fhᵀ da_2;  dW = [[Σ da_1 hᵀ, Σ da_1 xᵀ], [Σ da_2 hᵀ, Σ da_2 xᵀ]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.codegen.passes.hoist import signs_of
from symbptt.codegen.program.program import Program, renewed
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import BACK, OUTER, PLAIN, Node, Product, placeholder
from symbptt.ir.rewrite import copy_node, rewritten
from symbptt.ir.shape import Size, size

Span = tuple[Size, Size, int]


@dataclass
class _Spreading:
    """A program while the pass rebuilds it.

    `tiles` are the lengths of the blocks of each product that is read in blocks, by its old id, and `lengths` the set
    of all these; `tiled` and `sums` are the new values that are concatenations of such blocks, and sums of products of
    blocks; `opened` are the concatenations that were the operand of a product, with the groups of their blocks, and
    `columns` the lengths of these groups by weight.
    """

    old: Program
    forward: set[int]
    varying: set[int]
    moving: set[int]
    tiles: Mapping[int, tuple[Size, ...]]
    alone: set[int]
    lengths: set[tuple[Size, ...]]
    tiled: dict[int, list[int]] = field(default_factory=dict)
    sums: set[int] = field(default_factory=set)
    opened: dict[int, list[int]] = field(default_factory=dict)
    columns: dict[int, tuple[Size, ...]] = field(default_factory=dict)


def spread(p: Program) -> Program:
    """Return the program with each product of a weight and a vector written as products of the blocks that are used."""
    g = p.graph
    # The backward sweep follows the forward one: a product that becomes two has two adjoints, and the gradient of its
    # weight becomes tiles. So the tiles are found in the forward sweep alone, by how it reads its products.
    forward = g.ancestors(p.forward_roots)
    readers = g.consumers(g.ancestors(p.needed))
    tiles = _tiles(p, forward)
    made = _Spreading(
        p,
        set(forward),
        p.varying,
        g.descendants([*p.carry.values(), *p.cotangent.values()]),
        tiles,
        {id for id, found in readers.items() if len(found) == 1},
        set(tiles.values()),
    )
    new_graph, new = rewritten(g, p.needed, lambda new, node, args: _rewrite(made, new, node, args))
    q = renewed(p, new_graph, new)
    return replace(q, labels=_part_labels(made, new) | q.labels)


def _part_labels(made: _Spreading, new: Mapping[int, int]) -> dict[int, Label]:
    """Return labels for the blocks of each cotangent, derived from the name of the whole."""
    found: dict[int, Label] = {}
    labels = {new[id]: label for id, label in made.old.labels.items() if id in new}
    for id, parts in made.tiled.items():
        if id in labels and labels[id].adjoint:
            for i, part in enumerate(parts):
                found.setdefault(part, labels[id]._replace(name=f"{labels[id].name}_{i + 1}", given=False))
    return found


def _tiles(p: Program, forward: Sequence[int]) -> dict[int, tuple[Size, ...]]:
    """Return the block lengths of those products and concatenations that are read in slices of equal length only."""
    g, readers = p.graph, p.graph.consumers(forward)
    roots, varying = set(p.forward_roots), p.varying
    # What is the same for all samples is computed once, before the loops, so that nothing is gained by its blocks.
    made = (id for id in forward if id in varying and len(g.shape(id)) == 1 and _is_made(g[id]))
    found = {id: _equal(_spans(g, id, readers, roots), g.shape(id)[0]) for id in made}
    return {id: tile for id, tile in found.items() if tile}


def _is_made(node: Node) -> bool:
    return node.family == "contract" or (node.family == "view" and node.attrs.kind == "concatenate")


def _spans(g: Graph, id: int, readers: Mapping[int, Sequence[int]], roots: set[int]) -> list[Span]:
    """Return the slices in which a vector, or an elementwise function of it, is read; none where it is read otherwise."""
    spans: list[Span] = []
    queue, seen = [id], {id}
    while queue:
        value = queue.pop()
        # A result is read as a whole by the caller, so that blocks would only have to be concatenated again.
        if value in roots:
            return []
        for reader in (g[r] for r in readers[value]):
            if reader.family == "view" and reader.attrs.kind == "slice":
                spans += _within(g, reader, readers, roots)
            elif reader.family != "map" or reader.shape != g.shape(id):
                return []
            elif reader.id not in seen:
                seen.add(reader.id)
                queue.append(reader.id)
    return spans


def _within(g: Graph, part: Node, readers: Mapping[int, Sequence[int]], roots: set[int]) -> list[Span]:
    """Return a slice, or the slices in which it is itself read, if these tile it."""
    ((start, _, step),) = part.attrs.data
    inner = _equal(_spans(g, part.id, readers, roots), part.shape[0]) if step == 1 else ()
    return [(size(start + s), n, 1) for s, n, _ in _spans_of(inner)] or list(part.attrs.data)


def _equal(spans: Sequence[Span], whole: Size) -> tuple[Size, ...]:
    """Return the lengths of the blocks where slices of one length tile an axis, else an empty tuple."""
    starts = {start: length for start, length, step in spans if step == 1}
    order: list[Size] = []
    at: Size = 0
    while at in starts and len(order) < len(starts):
        order.append(starts[at])
        at = size(at + starts[at])
    # Several readers of one start must agree on its length too, or a reader would see a part of a block.
    alike = len(set(order)) == 1 and len({(start, length) for start, length, _ in spans}) == len(order)
    return tuple(order) if alike and at == whole and len(order) > 1 else ()


def _rewrite(made: _Spreading, g: Graph, node: Node, args: tuple[int, ...]) -> int:
    match node.family:
        case "map":
            return _map(made, g, node, args)
        case "contract":
            return _product(made, g, node, args)
        case "total":
            return _total(g, args[0], node.attrs.over)
        case "view" if node.attrs.kind == "slice":
            return _marked(made, g, node, part_of(g, args[0], node.attrs.data))
        case "view" if node.attrs.kind in ("concatenate", "pad"):
            return _placed(made, g, node, args)
    return copy_node(g, node, args)


# Elementwise values.


def _map(made: _Spreading, g: Graph, node: Node, args: tuple[int, ...]) -> int:
    # The cotangent of a slice is the slice's cotangent between zeros. Four gates give four such vectors, whose sum
    # would be four additions of whole vectors; block by block three of the four terms are zero.
    pads = _sum_of_pads(made, g, node, args)
    if pads is not None:
        return pads
    # An elementwise function of blocks is the function of each block, whatever it is: no element reads another one.
    found = next((made.tiled[arg] for arg in args if arg in made.tiled and g.shape(arg) == node.shape), None)
    if found is None or any(g.shape(arg) not in (node.shape, ()) for arg in args):
        return _flat(made, g, node, args)
    spans = _spans_of([g.shape(part)[0] for part in found])
    columns = [[_piece(made, g, arg, i, spans) for i in range(len(spans))] for arg in args]
    parts = [_flat(made, g, node, part) for part in zip(*columns, strict=True)]
    return _tile(made, g, parts)


def _piece(made: _Spreading, g: Graph, arg: int, i: int, spans: Sequence[Span]) -> int:
    parts = made.tiled.get(arg, [])
    if len(parts) == len(spans) and g.shape(parts[i])[0] == spans[i][1]:
        return parts[i]
    return part_of(g, arg, [spans[i]]) if g.shape(arg) else arg


def _flat(made: _Spreading, g: Graph, node: Node, args: Sequence[int]) -> int:
    """Return a map in which each sum of products of blocks that is a term of it is written out."""
    expr, terms = node.attrs.expr, list(args)
    for i, (arg, old) in enumerate(zip(args, node.args, strict=True)):
        symbol = placeholder(i)
        # Only a term by itself, with coefficient one, and read by this map alone: inlining a shared sum would compute
        # it twice.
        whole = arg in made.sums and old in made.alone and g.shape(arg) == g[args[0]].shape
        if whole and symbol in sp.Add.make_args(expr) and not (expr - symbol).has(symbol):
            terms += g[arg].args
            start = len(terms) - len(g[arg].args)
            inner = g[arg].attrs.expr.xreplace(
                {placeholder(j): placeholder(start + j) for j in range(len(g[arg].args))}
            )
            expr = expr.xreplace({symbol: inner})
    return _compact(g, expr, terms)


def _compact(g: Graph, expr: sp.Expr, args: Sequence[int]) -> int:
    """Return a map that reads only the arguments that its expression names."""
    used = [i for i in range(len(args)) if expr.has(placeholder(i))]
    if len(used) == len(args):
        return build.map_(g, expr, args)
    order = {placeholder(i): placeholder(j) for j, i in enumerate(used)}
    return build.map_(g, expr.xreplace(order), [args[i] for i in used])


def _sum_of_pads(made: _Spreading, g: Graph, node: Node, args: tuple[int, ...]) -> int | None:
    """Return a sum of zero-padded cotangents as a sum for each block, or None where the terms are not tiled alike."""
    if signs_of(node) is None or min(signs_of(node) or (0,)) < 0 or len(node.shape) != 1:
        return None
    lengths = {tuple(g.shape(part)[0] for part in made.tiled.get(arg, [])) for arg in args}
    if len(lengths) != 1 or lengths == {()}:
        return None
    columns = list(zip(*(made.tiled[arg] for arg in args), strict=True))
    parts = [_added(g, column) for column in columns]
    made.sums |= {part for part in parts if g[part].family == "map"}
    return _tile(made, g, parts)


def _added(g: Graph, ids: Sequence[int]) -> int:
    # Padding left zeros in all blocks but one; dropping them is exact (x + 0 = x but for the sign of a zero). One zero
    # stays where there is nothing else.
    left = [id for id in ids if not _is_zero(g, id)] or [ids[0]]
    # A map has each argument once, so that a term that occurs n times becomes n times the term.
    count = {id: left.count(id) for id in left}
    return build.map_(g, sp.Add(*(n * placeholder(i) for i, n in enumerate(count.values()))), list(count))


# Arrays made of parts.


def _tile(made: _Spreading, g: Graph, parts: Sequence[int]) -> int:
    whole = build.concatenate(g, list(parts), 0)
    made.tiled[whole] = list(parts)
    return whole


def _placed(made: _Spreading, g: Graph, node: Node, args: tuple[int, ...]) -> int:
    """Return a concatenation, or a zero-padded cotangent, as a tiled vector where its blocks are those of a product."""
    if len(node.shape) == 1 and node.attrs.kind == "pad":
        ((start, length, step),) = node.attrs.data
        for lengths in sorted(made.lengths, key=str):
            spans = _spans_of(lengths)
            if size(sum(lengths)) == node.shape[0] and (start, length, step) in spans:
                zero = build.expand(g, build.number(g, 0), (length,))
                return _tile(made, g, [args[0] if span[0] == start else zero for span in spans])
    if node.attrs.kind == "pad" or len(node.shape) > 1:
        return copy_node(g, node, args)
    flat = [part for arg in args for part in made.tiled.get(arg, [arg])]
    return _marked(made, g, node, build.concatenate(g, flat, 0))


def _marked(made: _Spreading, g: Graph, node: Node, whole: int) -> int:
    """Return a vector, registered as tiled where its blocks are those of a product."""
    found = g[whole]
    if len(found.shape) == 1 and found.family == "view" and found.attrs.kind == "concatenate":
        tiles = tuple(g.shape(arg)[0] for arg in found.args) in made.lengths
        if node.id in made.tiles or (tiles and (node.id not in made.forward or node.attrs.kind == "slice")):
            made.tiled[whole] = list(found.args)
    return whole


def _is_zero(g: Graph, id: int) -> bool:
    node = g[id]
    number = g[node.args[0]] if node.family == "view" and node.attrs.kind == "expand" else node
    return number.family == "number" and number.attrs.value == 0


def _spans_of(lengths: Sequence[Size]) -> list[Span]:
    starts = [size(sum(lengths[:i])) for i in range(len(lengths))]
    return [(start, length, 1) for start, length in zip(starts, lengths, strict=True)]


def part_of(g: Graph, x: int, spans: Sequence[Span]) -> int:
    """Return a slice, taken from the array of which x is itself a view where its blocks allow it."""
    node, spans = g[x], tuple(spans)
    # Offsets add up only for slices of step one.
    if any(step != 1 for _, _, step in spans) or node.family != "view":
        return build.cut(g, x, spans)
    match node.attrs.kind:
        case "transpose":
            order = node.attrs.data
            inner = part_of(g, node.args[0], [spans[order.index(i)] for i in range(len(order))])
            return build.transpose(g, inner, order)
        case "slice" if all(step == 1 for _, _, step in node.attrs.data):
            moved = [(size(s + t), n, 1) for (s, n, _), (t, _, _) in zip(spans, node.attrs.data, strict=True)]
            return build.cut(g, node.args[0], moved)
        case "concatenate":
            return _part_of_parts(g, node, spans)
    return build.cut(g, x, spans)


def _part_of_parts(g: Graph, node: Node, spans: tuple[Span, ...]) -> int:
    (axis,) = node.attrs.data
    starts = [start for start, _, _ in _spans_of([g.shape(arg)[axis] for arg in node.args])] + [node.shape[axis]]
    lo, hi = spans[axis][0], size(spans[axis][0] + spans[axis][1])
    # A slice that cuts through a block cannot be taken from whole blocks.
    if lo not in starts or hi not in starts or starts.index(lo) >= starts.index(hi):
        return build.cut(g, node.id, spans)
    inside = node.args[starts.index(lo) : starts.index(hi)]
    whole = [[*spans[:axis], (0, g.shape(arg)[axis], 1), *spans[axis + 1 :]] for arg in inside]
    return build.concatenate(g, [part_of(g, arg, s) for arg, s in zip(inside, whole, strict=True)], axis)


# Products.


def _product(made: _Spreading, g: Graph, node: Node, args: tuple[int, ...]) -> int:
    labels = node.attrs
    for weight, vector, w, v in ((0, 1, labels.a, labels.b), (1, 0, labels.b, labels.a)):
        fixed = node.args[weight] not in made.varying and node.args[vector] in made.varying
        if fixed and len(w) == 2 and len(v) == 1 and v[0] in w and set(labels.out) == set(w) - set(v):
            first = w[1] == v[0]  # the weight is summed over its last axis
            return _of_weight(made, g, node, args[weight], args[vector], first, node.args[weight])
    moves = [arg in made.moving for arg in node.args]
    if len(labels.a) == len(labels.b) == 1 and len(labels.out) == 2 and sum(moves) == 1:
        return _outer_product(made, g, node, args, moves.index(True))
    return build.contract(g, args[0], args[1], labels)


def _of_weight(made: _Spreading, g: Graph, node: Node, weight: int, vector: int, last: bool, source: int) -> int:
    """Return a weight times a vector (forward sweep) or a transposed weight times a cotangent (backward sweep)."""
    labels = PLAIN if node.id in made.forward else BACK
    # PLAIN sums over the last axis of the weight and BACK over its first: the other spelling needs the transpose.
    turned = build.transpose(g, weight, (1, 0)) if last != (labels == PLAIN) else weight
    # The columns of a weight in the forward sweep are the rows of its product in the backward sweep.
    rows = made.tiles.get(node.id) if labels == PLAIN else made.columns.get(source)
    axis = labels.a.index(labels.out[0])
    # A weight that is read along its rows too has products whose result lies along the axis that was not cut.
    if not rows or size(sum(rows)) != g.shape(turned)[axis]:
        return _sum_of_products(made, g, turned, vector, labels, source)
    weights = [_part(g, turned, span, axis) for span in _spans_of(rows)]
    parts = [_sum_of_products(made, g, part, vector, labels, source) for part in weights]
    return _tile(made, g, parts)


def _part(g: Graph, x: int, span: Span, axis: int) -> int:
    return part_of(g, x, [span if i == axis else (0, item, 1) for i, item in enumerate(g.shape(x))])


def _sum_of_products(made: _Spreading, g: Graph, weight: int, vector: int, labels: Product, source: int) -> int:
    """Return a product with a vector that consists of blocks as the sum of the products with these blocks."""
    # W [h; x] = W_h h + W_x x holds exactly in real numbers; in floats the order of the sum changes, by as much as
    # BLAS itself changes it with the shape of a product.
    groups = _groups(made, g, vector)
    if not groups:
        return build.contract(g, weight, vector, labels)
    lengths = tuple(g.shape(group)[0] for group in groups)
    if labels == PLAIN:
        made.opened[vector] = groups
        made.columns[source] = lengths
    axis = labels.a.index(labels.b[0])
    terms = [
        build.contract(g, _part(g, weight, span, axis), group, labels)
        for group, span in zip(groups, _spans_of(lengths), strict=True)
        if not _is_zero(g, group)
    ]
    total = build.map_(g, sp.Add(*(placeholder(i) for i in range(len(terms)))), terms)
    if len(terms) > 1:
        made.sums.add(total)
    return total


def _groups(made: _Spreading, g: Graph, vector: int) -> list[int]:
    """Return the blocks of a vector that are multiplied separately: those of a tiled one, else runs that depend on
    states and runs that do not."""
    if vector in made.tiled:
        return made.tiled[vector]
    node = g[vector]
    if node.family != "view" or node.attrs.kind != "concatenate":
        return []
    bound = [any(g[id].family == "leaf" and g[id].attrs.role == "state" for id in g.ancestors([a])) for a in node.args]
    # Neighbours of one kind stay together: one larger product is faster than two, and only the split between values
    # that depend on states and others lets a product leave the loop.
    starts = [i for i in range(len(bound)) if i == 0 or bound[i] != bound[i - 1]]
    if len(starts) < 2:
        return []
    ends = [*starts[1:], len(bound)]
    return [build.concatenate(g, list(node.args[lo:hi]), 0) for lo, hi in zip(starts, ends, strict=True)]


def _outer_product(made: _Spreading, g: Graph, node: Node, args: Sequence[int], at: int) -> int:
    """Return the product of a cotangent and a value, the cotangent first; of blocks, the products of all pairs of
    blocks."""
    adjoint, value = args[at], args[1 - at]
    own = (node.attrs.a, node.attrs.b)[at][0]
    # The gradient of W in W [h; x] is a [h; x]ᵀ. It is taken apart where the forward product was, so that the part
    # with x, which no step waits for, leaves the loop as the forward product with x did.
    columns = made.opened.get(value, [value])
    if value in made.tiled:
        columns = made.tiled[value]
    whole = build.concatenate(g, [_rows(made, g, adjoint, column) for column in columns], 1)
    return whole if node.attrs.out[0] == own else build.transpose(g, whole, (1, 0))


def _rows(made: _Spreading, g: Graph, adjoint: int, value: int) -> int:
    rows = [build.contract(g, part, value, OUTER) for part in made.tiled.get(adjoint, [adjoint])]
    return build.concatenate(g, rows, 0)


def _total(g: Graph, x: int, over: str) -> int:
    """Return a sum over steps, samples or both, taken of each block."""
    node = g[x]
    # The sum over steps commutes with concatenation and transposition, which leaves each block a product of its own.
    if node.family == "view" and node.attrs.kind == "concatenate":
        return build.concatenate(g, [_total(g, arg, over) for arg in node.args], node.attrs.data[0])
    if node.family == "view" and node.attrs.kind == "transpose":
        return build.transpose(g, _total(g, node.args[0], over), node.attrs.data)
    return build.total(g, x, over)
