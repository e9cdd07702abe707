"""The Jacobian of one step, block by block, with the structure that follows from the graph.

Example: c_next = f ⊙ c + i ⊙ g and h_next = o ⊙ tanh(c_next), where f = sigmoid(U h + x):

    (c_next, c)   diagonal: f                  no product with a matrix lies on the way
    (c_next, h)   dense:    diag(c f (1 - f)) U + ...
    (h_next, c)   diagonal: o (1 - tanh²) f    diagonal times diagonal stays diagonal
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symbptt import ops
from symbptt.autodiff import algebra
from symbptt.autodiff.block import IDENTITY, KINDS, ZERO, Block
from symbptt.autodiff.guard import Guard, Guards, chosen, merged
from symbptt.autodiff.inner_blocks import of_point, of_rounds, of_row
from symbptt.autodiff.partials import VALUE, partials
from symbptt.autodiff.subexpressions import formula, values
from symbptt.autodiff.vjp import known_functions
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.algebra import added
from symbptt.ir.algebra import algebra as function_of_matrices
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Product, placeholder
from symbptt.ir.shape import Shape
from symbptt.ir.step import Step

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Jacobian:
    """Blocks by (value, argument), all in the graph of one step; `kept` are the values that formulas are written in."""

    step: Step
    blocks: dict[tuple[str, str], Block]
    kept: frozenset[int]


def jacobian(step: Step, pairs: Sequence[tuple[str, str]], held: Sequence[str] = ()) -> Jacobian:
    """Return the derivatives of next states or outputs with respect to arguments, at one step.

    Nodes of the families `held` count as constants: without products and sums, the elementwise part is left.
    """
    g = step.graph.copy()
    g.locate = lambda: ""
    step = replace(step, graph=g)
    targets = step.next | step.outputs
    roots = [targets[to] for to, _ in pairs]
    forward = g.ancestors(roots)
    kept = values(g, roots)
    found: dict[str, dict[int, Block]] = {}
    # Forward mode: one sweep for each source gives its blocks for all targets.
    for of in dict.fromkeys(of for _, of in pairs):
        source = step.leaves[of]
        sweep = _Sweep(g, g.shape(source), kept, frozenset(held), {source: IDENTITY})
        sweep.run(forward)
        found[of] = sweep.blocks
    blocks = {(to, of): found[of].get(targets[to], ZERO) for to, of in pairs}
    return Jacobian(step, blocks, frozenset(kept))


def direct(step: Step, values_: Sequence[int]) -> tuple[Step, dict[tuple[int, int], int]]:
    """Return the derivatives of some values of a step with respect to each other along what lies between them alone: as
    arrays, by the value and what it is derived by, in the graph of the step that is returned. Zero ones are absent."""
    g = step.graph.copy()
    g.locate = lambda: ""
    forward, chosen_ = g.ancestors(values_), frozenset(values_)
    kept = values(g, values_)
    found: dict[tuple[int, int], int] = {}
    # One forward sweep for each source; chosen values between count as zero, so that only direct paths contribute.
    for source in sorted(chosen_):
        sweep = _Sweep(g, g.shape(source), kept, frozenset(), {source: IDENTITY})
        for id in forward:
            if id in kept and id > source:
                block = _block(sweep, g[id])
                # A zero in the sweep stops the paths that go on from this value; its own block is recorded below.
                sweep.blocks[id] = ZERO if id in chosen_ else block
                if id in chosen_ and block.kind != "zero":
                    found[id, source] = dense(sweep, id, block)
    return replace(step, graph=g), found


class _Sweep:
    """The blocks found so far in a source of the shape `own`, that of the source itself among them; values of the families `held`
    have none."""

    def __init__(self, g: Graph, own: Shape, kept: set[int], held: frozenset[str], blocks: Mapping[int, Block]) -> None:
        self.g, self.own, self.kept, self.held = g, own, kept, held
        self.blocks = dict(blocks)
        self.guards = Guards(g, forward=True)

    def run(self, ids: Iterable[int]) -> None:
        """Find the blocks of values, arguments first."""
        for id in ids:
            if id in self.kept and id not in self.blocks and self.g[id].family not in self.held:
                self.blocks[id] = _block(self, self.g[id])

    def whole(self, id: int) -> int:
        return dense(self, id, self.blocks.get(id, ZERO))

    def within(self, g: Graph, own: Shape, blocks: Mapping[int, Block], following: Sequence[int]) -> _Sweep:
        found = _Sweep(g, own, values(g, following) | {*blocks}, self.held, blocks)
        found.run(_behind(g, following, blocks))
        return found


def _behind(g: Graph, ids: Iterable[int], known: Iterable[int]) -> list[int]:
    """Return the values that some values are computed from, arguments first, as far as those that are known."""
    open_, seen = [*ids], {*known}
    found = set[int]()
    while open_:
        id = open_.pop()
        if id not in seen:
            seen.add(id)
            found.add(id)
            open_ += g[id].args
    return sorted(found)


def _block(s: _Sweep, node: Node) -> Block:
    read = formula(s.g, node.id, s.kept).args if node.family == "map" else node.args
    if all(s.blocks.get(arg, ZERO).kind == "zero" for arg in read):
        return ZERO
    block = RULES[node.family](s, node)
    if node.family == "map" or block.kind == "zero":
        return block
    flows = [s.blocks[arg].flow for arg in node.args if s.blocks.get(arg, ZERO).kind != "zero"]
    # Products, sums and views change the shape, so that conditions of the arguments no longer fit.
    flow = merged(flows).elsewhere()
    return replace(block, flow=replace(flow, wild=flow.wild | s.guards.ranges.hazards(node.id)))


def dense(s: _Sweep, id: int, block: Block) -> int:
    """Return a block of a value as an array of shape value.shape + source.shape."""
    g, shape = s.g, s.g.shape(id)
    if block.kind == "dense":
        return block.id
    if block.kind == "zero":
        return build.expand(g, build.number(g, 0), (*shape, *s.own))
    eye = _eye(g, s.own)
    if block.kind == "identity":
        return eye
    weight = block.id if block.kind == "scalar" else _beside(g, block.id, len(s.own))
    return build.map_(g, placeholder(0) * placeholder(1), (weight, eye))


def _eye(g: Graph, shape: Shape) -> int:
    """Return the identity as an array of shape + shape."""
    if not shape:
        return build.number(g, 1)
    size = shapes.prod(shape)
    return build.reshape(g, build.leaf(g, "eye", shapes.size_text(size), (size, size)), (*shape, *shape))


def _beside(g: Graph, x: int, count: int) -> int:
    """Return x with `count` axes of size 1 behind its own."""
    return build.reshape(g, x, (*g.shape(x), *(1,) * count))


def _added(s: _Sweep, id: int, parts: Sequence[Block]) -> Block:
    """Return the sum of blocks of one value, as structured as its least structured part."""
    parts = [part for part in parts if part.kind != "zero"]
    if len(parts) <= 1:
        return parts[0] if parts else ZERO
    # KINDS ascends from structured to dense: a sum is as dense as its densest part.
    kind = max((part.kind for part in parts), key=KINDS.index)
    g = s.g
    if kind == "dense":
        ids = [dense(s, id, part) for part in parts]
    else:
        ids = [build.number(g, 1) if part.kind == "identity" else part.id for part in parts]
        # Two identities add up to the scalar 2.
        kind = "scalar" if kind == "identity" else kind
    total = sp.Add(*(placeholder(i) for i in range(len(ids))))
    return Block(kind, build.map_(g, total, ids), merged([part.flow for part in parts]))


def _map(s: _Sweep, node: Node) -> Block:
    g = s.g
    f = formula(g, node.id, s.kept)
    parts = []
    for arg, partial in zip(f.args, partials(f.expr, len(f.args)), strict=True):
        block = s.blocks.get(arg, ZERO)
        if block.kind != "zero" and partial != 0:
            guard, flow = s.guards.factor(node, f, arg, partial, block.flow)
            scaled = _scaled(s, node, arg, block, _weight(g, partial, f.args, node.id))
            parts.append(replace(_guarded(s, node, arg, guard, scaled), flow=flow))
    return _added(s, node.id, parts)


def _weight(g: Graph, partial: sp.Expr, args: tuple[int, ...], value: int) -> int:
    """Return a partial derivative as a node."""
    partial, found = known_functions(g, partial, args)
    candidates = [(placeholder(i), arg) for i, arg in enumerate(args)] + found + [(VALUE, value)]
    read = [(symbol, id) for symbol, id in candidates if symbol in partial.free_symbols]
    if not read:
        return build.number(g, int(partial) if partial.is_Integer else float(partial))
    ids = list(dict.fromkeys(id for _, id in read))
    return build.map_(g, partial.xreplace({symbol: placeholder(ids.index(id)) for symbol, id in read}), ids)


def _times(g: Graph, a: int, b: int) -> int:
    for one, other in ((a, b), (b, a)):
        if g[one].family == "number" and g[one].attrs.value == 1:
            return other
    return build.map_(g, placeholder(0) * placeholder(1), (a, b))


def _scaled(s: _Sweep, node: Node, arg: int, block: Block, weight: int) -> Block:
    """Return weight ⊙ block, where the weight has the node's shape or broadcasts to it."""
    g = s.g
    same = g.shape(arg) == node.shape
    if same and block.kind != "dense":
        # A weight without axes keeps the block a multiple of the identity; any other is a diagonal of the value's full shape.
        weight = build.expand(g, weight, node.shape) if g.shape(weight) else weight
        if block.kind == "identity":
            one = g[weight].family == "number" and g[weight].attrs.value == 1
            return IDENTITY if one else Block("diagonal" if g.shape(weight) else "scalar", weight)
        product = _times(g, weight, block.id)
        return Block("diagonal" if g.shape(product) else "scalar", product)
    # Axes of the source stand behind those of the value: a weight gets trailing axes of size 1 to broadcast over them.
    count = len(s.own)
    lead = (1,) * (len(node.shape) - len(g.shape(arg)))
    whole = build.reshape(g, dense(s, arg, block), (*lead, *g.shape(arg), *s.own))
    weighted = _times(g, _beside(g, weight, count) if g.shape(weight) else weight, whole)
    return Block("dense", build.expand(g, weighted, (*node.shape, *s.own)))


def _guarded(s: _Sweep, node: Node, arg: int, guard: Guard, scaled: Block) -> Block:
    """Return a block times a partial derivative, zero where its guard says that nothing flows."""
    g, before = s.g, s.blocks[arg]
    is_dense = scaled.kind == "dense"
    tests = [(_beside(g, id, len(s.own)) if is_dense and g.shape(id) else id, holds) for id, holds in guard.conditions]
    if guard.seen and before.kind != "identity":
        flowing = before.id
        if is_dense:
            lead = (1,) * (len(node.shape) - len(g.shape(arg)))
            flowing = build.reshape(g, dense(s, arg, before), (*lead, *g.shape(arg), *s.own))
        tests.append((build.map_(g, ops.not_equal(placeholder(0), 0), (flowing,)), True))
    if not tests:
        return scaled
    id = build.number(g, 1) if scaled.kind == "identity" else scaled.id
    for test, holds in tests:
        id = chosen(g, test, holds, id)
    return Block("dense" if is_dense else "diagonal" if g.shape(id) else "scalar", id)


def _contract(s: _Sweep, node: Node) -> Block:
    (a, b), p = node.args, node.attrs
    parts = []
    for arg, other, mine, theirs in ((a, b, p.a, p.b), (b, a, p.b, p.a)):
        block = s.blocks.get(arg, ZERO)
        if block.kind != "zero":
            parts.append(_through(s, block, arg, other, mine, theirs, p.out))
    return _added(s, node.id, parts)


def _through(s: _Sweep, block: Block, arg: int, other: int, mine: Labels, theirs: Labels, out: Labels) -> Block:
    """Return a product with a fixed operand; where it sums over all axes of the other, the identity leaves the
    fixed one."""
    g = s.g
    # All axes of the argument are summed, as in W h: then ∂(W h)/∂h is W itself, and the product with an eye can be saved.
    if block.kind != "dense" and not set(mine) & set(out):
        if block.kind == "diagonal":
            return Block("dense", build.contract(g, other, block.id, Product(theirs, mine, (*out, *mine))))
        plain = build.transpose(g, other, [theirs.index(x) for x in (*out, *mine)])
        return Block("dense", plain if block.kind == "identity" else _times(g, block.id, plain))
    # Labels of the source must differ from those of the product; `build.contract` renumbers them.
    fresh = tuple(range(100, 100 + len(s.own)))
    whole = dense(s, arg, block)
    return Block("dense", build.contract(g, other, whole, Product(theirs, (*mine, *fresh), (*out, *fresh))))


def _reduce(s: _Sweep, node: Node) -> Block:
    g, x = s.g, node.args[0]
    block = s.blocks[x]
    shape, axes = g.shape(x), node.attrs.axes
    if node.attrs.kind == "max":
        kept = build.reshape(g, node.id, shapes.with_ones(shape, axes))
        top = build.map_(g, ops.equal(placeholder(0), placeholder(1)), (x, kept))
        count = build.reshape(g, build.reduce(g, "sum", top, axes), g.shape(kept))
        weighted = _scaled(s, g[x], x, block, build.map_(g, placeholder(0) / placeholder(1), (top, count)))
        # Entries below the maximum have weight 0, which would turn an infinite derivative into nan.
        block = _guarded(s, g[x], x, Guard(((top, True),)), weighted) if block.flow.wild else weighted
    # The sum of all entries against a diagonal: Σ_i d_i δ_ij = d_j, without the dense matrix.
    if len(axes) == len(shape) and block.kind != "dense":
        weight = build.number(g, 1) if block.kind == "identity" else block.id
        return Block("dense", build.expand(g, weight, s.own))
    return Block("dense", build.reduce(g, "sum", dense(s, x, block), axes))


def _view(s: _Sweep, node: Node) -> Block:
    row = of_row(s, node) if node.attrs.kind == "reshape" else None
    if row is not None:
        return row
    g, data, x = s.g, node.attrs.data, node.args[0]
    own = len(s.own)
    if node.attrs.kind == "concatenate":
        parts = [dense(s, arg, s.blocks.get(arg, ZERO)) for arg in node.args]
        return Block("dense", build.concatenate(g, parts, data[0]))
    whole = dense(s, x, s.blocks[x])
    rank = len(g.shape(x))
    match node.attrs.kind:
        case "transpose":
            return Block("dense", build.transpose(g, whole, (*data, *range(rank, rank + own))))
        case "reshape":
            return Block("dense", build.reshape(g, whole, (*node.shape, *s.own)))
        case "expand":
            lead = (1,) * (len(node.shape) - rank)
            aligned = build.reshape(g, whole, (*lead, *g.shape(x), *s.own))
            return Block("dense", build.expand(g, aligned, (*node.shape, *s.own)))
        case "slice":
            return Block("dense", build.cut(g, whole, (*data, *((0, item, 1) for item in s.own))))
        case "pad":
            spans = (*data, *((0, item, 1) for item in s.own))
            return Block("dense", build.pad(g, whole, spans, (*node.shape, *s.own)))
    raise AssertionError(f"no Jacobian rule for {node}")


def _gather(s: _Sweep, node: Node) -> Block:
    table, index = node.args
    if node.attrs.kind == "scatter":
        whole = dense(s, table, s.blocks[table])
        return Block("dense", build.scatter(s.g, whole, index, node.attrs.axis, (*node.shape, *s.own)))
    return Block("dense", build.gather(s.g, dense(s, table, s.blocks[table]), index, node.attrs.axis))


def _cumulate(s: _Sweep, node: Node) -> Block:
    x = node.args[0]
    return Block("dense", build.cumulate(s.g, dense(s, x, s.blocks[x]), node.attrs.axis, node.attrs.reverse))


def _solve(s: _Sweep, node: Node) -> Block:
    """Return A⁻¹ (dB - dA X): one solve, in which the axes of the source are columns."""
    g, (a, b) = s.g, node.args
    *lead, n, k = node.shape
    rank, fresh = len(node.shape), tuple(range(100, 100 + len(s.own)))
    parts = []
    if s.blocks.get(b, ZERO).kind != "zero":
        parts.append(dense(s, b, s.blocks[b]))
    if s.blocks.get(a, ZERO).kind != "zero":
        front = tuple(range(rank - 2))
        i, inner, j = rank - 2, rank - 1, rank
        labels = Product((*front, i, inner, *fresh), (*front, inner, j), (*front, i, j, *fresh))
        through = build.contract(g, dense(s, a, s.blocks[a]), node.id, labels)
        parts.append(build.map_(g, -placeholder(0), (through,)))
    columns = build.reshape(g, added(g, parts), (*lead, n, shapes.prod((k, *s.own))))
    return Block("dense", build.reshape(g, function_of_matrices(g, "solve", a, columns), (*node.shape, *s.own)))


def _algebra(s: _Sweep, node: Node) -> Block:
    """Return the derivative of a function of matrices: axes of the source stand in front while it is computed, as stacked ones."""
    g, own = s.g, len(s.own)
    if node.attrs.name == "solve":
        return _solve(s, node)
    changes: list[int | None] = []
    for arg in node.args:
        block = s.blocks.get(arg, ZERO)
        whole, rank = (None if block.kind == "zero" else dense(s, arg, block)), len(g.shape(arg))
        front = (*range(rank, rank + own), *range(rank))
        changes.append(None if whole is None else build.transpose(g, whole, front))
    change = algebra.tangent(g, node, changes)
    if change is None:
        return ZERO
    rank = len(node.shape)
    return Block("dense", build.transpose(g, change, (*range(own, own + rank), *range(own))))


RULES: dict[str, Callable[[_Sweep, Node], Block]] = {
    "map": _map,
    "contract": _contract,
    "reduce": _reduce,
    "view": _view,
    "gather": _gather,
    "cumulate": _cumulate,
    "algebra": _algebra,
    "rounds": of_rounds,
    "settled": of_point,
}
