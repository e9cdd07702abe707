"""Pack the products of a loop that share an operand, and the sums that follow them, into one of each.

Packed gates have a gate-major layout, (g, B, n) and not (B, g n): each gate, and each run of gates, is one row in memory.
Gates of one function share one call. The sigmoid stays 1 / (1 + exp(-a)), which is exact in relative terms where (1 +
tanh(a / 2)) / 2, which would let one tanh serve all gates, is not: a gate of 1e-20 would become zero.

Example of three gates, of which two are sigmoids; x_i, x_f, x_g were hoisted before the loop:

    g = tanh(W_g h + x_g);  i = sigmoid(W_i h + x_i);  f = sigmoid(W_f h + x_f)

becomes

    W = [W_iᵀ; W_fᵀ; W_gᵀ], once, of shape (3, n, n);  X = [x_i; x_f; x_g], gate-major
    P = h W  (one product, of shape (3, B, n));  S = P + X
    G = sigmoid(S[:2]);  i, f, g = G[0], G[1], tanh(S[2])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from symbptt.autodiff.labels import Label
from symbptt.codegen.passes.hoist import signs_of
from symbptt.codegen.program.program import Program, joint_name, renewed, traced
from symbptt.codegen.program.regions import LOOP, place
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import PLAIN, Node, Product, placeholder
from symbptt.ir.rewrite import copy_node

TIMES = placeholder(0) * placeholder(1)


@dataclass(frozen=True)
class Lane:
    """One gate: a product of a loop, the sum of which it is a term (or itself), and the function of the sum, if there
    is one."""

    product: int
    sum: int
    gate: int | None
    function: str

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(id for id in (self.product, self.sum, self.gate) if id is not None))


@dataclass(frozen=True)
class Pack:
    """Gates that are computed together, those of one function next to each other."""

    lanes: tuple[Lane, ...]


def pack(p: Program) -> Program:
    """Return the program in which products of the forward loop that share an operand are computed together."""
    packs = _packs(p)
    while packs:
        order = _order(p, packs)
        if not isinstance(order, Pack):
            return _packed(p, packs, order)
        # This pack would need its own result; without it the others may still be ordered.
        packs.remove(order)
    return p


def _packs(p: Program) -> list[Pack]:
    """Return groups of products of equal shape with one operand, whose sums are alike."""
    g, places, varying = p.graph, place(p).places, p.varying
    ids = [id for id, where in places.items() if where == f"forward {LOOP}"]
    readers = g.consumers(places)
    # Products are packed where they read one and the same vector: [W_i; W_f] h is one call in place of two. Products
    # of different vectors would need a concatenation in each step first.
    families: dict[object, list[Lane]] = {}
    for id in ids:
        node = g[id]
        if node.family == "contract" and _weight(node, varying) is not None:
            lane = _lane(p, id, readers, set(ids))
            key = (node.args[1], node.attrs, node.shape, _kind(g, lane, places))
            families.setdefault(key, []).append(lane)
    found = [part for lanes in families.values() for part in _apart(g, lanes)]
    return [_ordered(lanes) for lanes in found if len(lanes) > 1]


def _apart(g: Graph, lanes: Sequence[Lane]) -> list[list[Lane]]:
    """Return gates that need no other gate of the list, then those that do, in packs of their own."""
    # A gate that is computed from another one, as the candidate of a GRU from its reset gate, cannot be computed at
    # once with it. What is left may still be packed among itself.
    late = [lane for lane in lanes if any(_needs(g, lane, other) for other in lanes if other is not lane)]
    return [[lane for lane in lanes if lane not in late], *(_apart(g, late) if 1 < len(late) < len(lanes) else [])]


def _needs(g: Graph, lane: Lane, other: Lane) -> bool:
    """Answer whether a gate is computed from another one."""
    return not set(other.ids).isdisjoint(g.ancestors([lane.ids[-1]]))


def _weight(node: Node, varying: set[int]) -> int | None:
    """Return the weight of a product of a matrix and a vector, the matrix first; None of another product."""
    a, b = node.args
    return a if node.attrs == PLAIN and a not in varying and b in varying else None


def _lane(p: Program, id: int, readers: dict[int, list[int]], loop: set[int]) -> Lane:
    g = p.graph
    total = id
    if len(readers[id]) == 1 and readers[id][0] in loop and signs_of(g[readers[id][0]]) is not None:
        reader = g[readers[id][0]]
        # Only a product that is added, not subtracted: the packed sum begins with the packed product and a plus sign.
        total = reader.id if reader.shape == g.shape(id) and signs_of(reader)[reader.args.index(id)] > 0 else id  # type: ignore[index]
    gates = [r for r in readers[total] if r in loop and _function(g[r])]
    gate = gates[0] if len(readers[total]) == 1 and gates else None
    return Lane(id, total, gate, _function(g[gate]) if gate is not None else "")


def _function(node: Node) -> str:
    """Return the name of the function that a map of one argument is, else an empty string."""
    simple = node.family == "map" and len(node.args) == 1 and node.attrs.expr.is_Function
    return type(node.attrs.expr).__name__ if simple and node.attrs.expr.args == (placeholder(0),) else ""


def _kind(g: Graph, lane: Lane, places: dict[int, str]) -> object:
    """Return the signs, shapes and places of the other terms of a sum, which the gates of one pack must have in common."""
    if lane.sum == lane.product:
        return ()
    return tuple((sign, g.shape(arg), places.get(arg)) for sign, arg in _others(g, lane))


def _others(g: Graph, lane: Lane) -> list[tuple[int, int]]:
    """Return the other terms of the sum of a gate, with their signs, in an order that does not depend on its spelling."""
    if lane.sum == lane.product:
        return []
    node = g[lane.sum]
    terms = [(sign, arg) for sign, arg in zip(signs_of(node) or (), node.args, strict=True) if arg != lane.product]
    return sorted(terms, key=lambda term: (term[0], g[term[1]].family, str(g.shape(term[1]))))


def _ordered(lanes: Sequence[Lane]) -> Pack:
    """Return a pack of gates, the sigmoids first, then tanh, then other functions in the order in which they occur."""
    # Gates of one function lie next to each other, so that one call computes all of them; a fixed order gives equal
    # modules for cells that list their gates in another order.
    order = [name for name in ("sigmoid", "tanh") if any(lane.function == name for lane in lanes)]
    rank = {name: i for i, name in enumerate([*order, *dict.fromkeys(lane.function for lane in lanes)][::-1])}
    return Pack(tuple(sorted(lanes, key=lambda lane: -rank[lane.function])))


def _order(p: Program, packs: Sequence[Pack]) -> list[int] | Pack:
    """Return the values in an order in which each pack can be computed at once, or a pack for which there is no order.

    It is a depth-first search over the graph in which all values of pack i are one vertex, -1 - i.
    """
    owner = {id: i for i, found in enumerate(packs) for lane in found.lanes for id in lane.ids}
    needs = [
        sorted(
            {arg for lane in found.lanes for id in lane.ids for arg in p.graph[id].args}
            - {id for id in owner if owner[id] == i}
        )
        for i, found in enumerate(packs)
    ]
    done: set[int] = set()
    begun: dict[int, None] = {}
    order: list[int] = []
    stack = [(id, False) for id in reversed(p.graph.ancestors(p.needed))]
    while stack:
        id, ready = stack.pop()
        key = -1 - owner[id] if id in owner else id
        if key in done:
            continue
        if ready:
            done.add(key)
            order.append(key)
            continue
        if key in begun:
            # A vertex that is begun and not done is an ancestor of itself. Ids grow along the arguments, so that the
            # cycle runs through a pack: the innermost one that is begun goes.
            return packs[-1 - next(k for k in reversed(begun) if k < 0 and k not in done)]
        begun[key] = None
        stack.append((id, True))
        stack += [
            (arg, False)
            for arg in reversed(needs[owner[id]] if id in owner else p.graph[id].args)
            if (-1 - owner[arg] if arg in owner else arg) not in done
        ]
    return order


@dataclass
class _Packing:
    """A program while the pass rebuilds it: the new graph, new ids by old ones, and labels and origins of the new
    values."""

    old: Program
    varying: set[int]
    graph: Graph
    new: dict[int, int]
    front: set[int]
    origin: dict[int, tuple[int, ...]]
    labels: dict[int, Label]


def _packed(p: Program, packs: Sequence[Pack], order: Sequence[int]) -> Program:
    made = _Packing(p, p.varying, Graph(), {}, set(), {}, {})
    for key in order:
        if key < 0:
            _make(made, packs[-1 - key])
        else:
            node = p.graph[key]
            made.new[key] = copy_node(made.graph, node, tuple(made.new[arg] for arg in node.args))
    for id, name in p.graph.names.items():
        if id in made.new:
            made.graph.names.setdefault(made.new[id], name)
    origin = {new: (old,) for old, new in made.new.items()} | made.origin
    q = renewed(p, made.graph, made.new)
    labels = made.labels | q.labels
    return replace(
        q,
        front=frozenset(made.front),
        written=p.written or p,
        origin=traced(p, origin),
        labels=labels,
    )


def _make(made: _Packing, found: Pack) -> None:
    """Write the values of a pack, and each gate as a slice of them."""
    g, lanes = made.graph, found.lanes
    products = _stacked_products(made, [lane.product for lane in lanes])
    sums = _sums(made, lanes, products)
    _name(made, products, [lane.product for lane in lanes])
    _name(made, sums, [lane.sum for lane in lanes])
    for i, lane in enumerate(lanes):
        made.new.setdefault(lane.product, _pick(g, products, i))
        made.new.setdefault(lane.sum, _pick(g, sums, i))
    _gates(made, lanes, sums)


def _runs(lanes: Sequence[Lane]) -> list[tuple[int, int]]:
    """Return the ranges of gates with one function."""
    starts = [i for i, lane in enumerate(lanes) if i == 0 or lane.function != lanes[i - 1].function]
    return list(zip(starts, [*starts[1:], len(lanes)], strict=True))


def _gates(made: _Packing, lanes: Sequence[Lane], sums: int) -> None:
    g = made.graph
    # The layout is gate-major, so that a run of gates is one contiguous part of the sums: (g, B, n)[lo:hi] has no
    # gaps, where (B, g n)[:, lo*n:hi*n] has one behind each sample.
    for lo, hi in _runs(lanes):
        if lanes[lo].gate is None:
            continue
        body = made.old.graph[lanes[lo].gate].attrs.expr  # type: ignore[index]
        if hi - lo == 1:
            made.new[lanes[lo].gate] = build.map_(g, body, [_pick(g, sums, lo)])  # type: ignore[index]
            continue
        gates = build.map_(g, body, [_cut(g, sums, lo, hi)])
        _name(made, gates, [lane.gate for lane in lanes[lo:hi]])  # type: ignore[misc]
        for i in range(lo, hi):
            made.new[lanes[i].gate] = _pick(g, gates, i - lo)  # type: ignore[index]


def _name(made: _Packing, id: int, lanes: Sequence[int]) -> None:
    """Record that a value stands for those of all gates, and has a gate-major layout."""
    made.front.add(id)
    _note(made, id, lanes)


def _note(made: _Packing, id: int, lanes: Sequence[int], end: str = "") -> None:
    """Record for which old values a new one stands, and derive its label from theirs."""
    names = [made.old.labels[lane].full if lane in made.old.labels else "" for lane in lanes]
    varies = any(lane in made.varying for lane in lanes)
    made.origin.setdefault(id, tuple(lanes))
    made.labels.setdefault(id, Label(joint_name(names, "gates") + end, 0 if varies else None, given=False))


def _pick(g: Graph, x: int, i: int) -> int:
    return build.reshape(g, _cut(g, x, i, i + 1), g.shape(x)[1:])


def _cut(g: Graph, x: int, lo: int, hi: int) -> int:
    return build.cut(g, x, [(lo, hi - lo, 1), *((0, item, 1) for item in g.shape(x)[1:])])


def _stacked_products(made: _Packing, ids: Sequence[int]) -> int:
    """Return the product of stacked weights with the operand that they share."""
    g, old = made.graph, made.old.graph
    # The label 0 counts gates, 1 is summed over: (g, in, out) times (in,) is (g, out). Transposed once, before the
    # loop, each gate's weight is read row by row.
    weights = [build.transpose(g, made.new[old[id].args[0]], (1, 0)) for id in ids]
    stack = _stack(g, weights)
    _note(made, stack, [old[id].args[0] for id in ids])
    product = build.contract(g, stack, made.new[old[ids[0]].args[1]], Product((0, 1, 2), (1,), (0, 2)))
    made.origin.setdefault(product, tuple(ids))
    return product


def _stack(g: Graph, ids: Sequence[int]) -> int:
    """Return values stacked along a new first axis."""
    return build.concatenate(g, [build.reshape(g, id, (1, *g.shape(id))) for id in ids], 0)


def _sums(made: _Packing, lanes: Sequence[Lane], products: int) -> int:
    """Return the packed sum of the products of all gates with their other terms."""
    g, old = made.graph, made.old.graph
    # The terms of all gates are added in one order, sorted by kind: a user may write W x + b in one gate and b + W x
    # in the next. Sums of floats are commutative, though not associative.
    total = products
    for terms in zip(*(_others(old, lane) for lane in lanes), strict=True):
        sign = terms[0][0]
        term = _together(made, [arg for _, arg in terms])
        if term not in made.new.values():
            _note(made, term, [arg for _, arg in terms], "_in")
        total = build.map_(g, placeholder(0) + sign * placeholder(1), [total, term])
        made.front.add(total)
    return total


def _together(made: _Packing, ids: Sequence[int]) -> int:
    """Return the values of all gates along a new first axis: one operation where they are computed alike, else stacked
    copies."""
    g, old = made.graph, made.old.graph
    nodes = [old[id] for id in ids]
    if not any(id in made.varying for id in ids):
        stack = _stack(g, [made.new[id] for id in ids])
        _note(made, stack, ids)
        return stack
    # One value that all gates read broadcasts along the axis of gates.
    if len(set(ids)) == 1:
        return made.new[ids[0]]
    # Where the other terms are computed alike, as W_i x and W_f x are, they are packed too, and no copy puts them
    # together. Else they are copied next to each other.
    alike = len({(node.family, node.attrs, len(node.args)) for node in nodes}) == 1
    first = nodes[0]
    if alike and signs_of(first) is not None and len({old.shape(a) for node in nodes for a in node.args}) == 1:
        columns = zip(*(_alike(old, node) for node in nodes), strict=True)
        return _in_front(made, build.map_(g, first.attrs.expr, [_together(made, column) for column in columns]))
    weights = [_weight(node, made.varying) if node.family == "contract" else None for node in nodes]
    if alike and None not in weights and len({node.args[1] for node in nodes}) == 1:
        return _in_front(made, _stacked_products(made, ids))
    if alike and first.family == "map" and first.attrs.expr == TIMES:
        return _in_front(
            made, build.map_(g, TIMES, [_together(made, [node.args[i] for node in nodes]) for i in (0, 1)])
        )
    return _stack(g, [made.new[id] for id in ids])


def _in_front(made: _Packing, id: int) -> int:
    """Record that a value has a gate-major layout, and return it."""
    made.front.add(id)
    return id


def _alike(g: Graph, node: Node) -> Sequence[int]:
    """Return the terms of a sum in an order that does not depend on its spelling, where all are added."""
    kinds = {arg: (g[arg].family, str(g[arg].attrs)) for arg in node.args if g[arg].family != "leaf"}
    plus = min(signs_of(node) or (0,)) > 0
    return sorted(node.args, key=lambda arg: kinds.get(arg, ("leaf", ""))) if plus else node.args
