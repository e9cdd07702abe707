"""Stack the adjoints that meet in one sum of products into one array, so that the sum becomes one product.

Example of three gates of one state:

    dh = W_iᵀ di + W_fᵀ df + W_gᵀ dg;  dW_i = Σ di hᵀ;  dW_f = Σ df hᵀ;  dW_g = Σ dg hᵀ

becomes

    D = [di; df; dg], whose parts are computed in place;  W = [W_i; W_f; W_g], once
    dh = Wᵀ D;  dW = Σ D hᵀ;  dW_i, dW_f, dW_g = dW[:n], dW[n : 2 n], dW[2 n :]

Where two sums share some adjoints, such as {z, r} and {r, n}, the order z, r, n makes both sets contiguous.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.codegen.program.program import Program, joint_name, renewed, traced
from symbptt.codegen.program.regions import LOOP, place
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import BACK, OUTER, Node, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import Size, size


@dataclass(frozen=True)
class Sum:
    """A sum whose terms are, among others, products of weights with adjoints: the ids of these products by adjoint."""

    id: int
    products: Mapping[int, int]


def join(p: Program) -> Program:
    """Return the program in which the adjoints of the backward loop that meet in one sum are concatenated in one array."""
    # W_iᵀ di + W_fᵀ df = [W_i; W_f]ᵀ [di; df]: one product in place of two, and one that sums in BLAS in place of an
    # addition. Each part of the array is written where it lies, so that nothing is copied.
    sums = _sums(p)
    lanes = _order(sums)
    while lanes:
        found = _joined(p, sums, lanes)
        if found is not None:
            return found
        # One of the adjoints is computed from a sum of others; without the last one a shorter array may still do.
        lanes = lanes[:-1] if len(lanes) > 2 else []
    return p


def _sums(p: Program) -> list[Sum]:
    """Return the sums with two such products or more, those of the loop first."""
    g, places, varying = p.graph, place(p).places, p.varying
    readers = g.consumers(places)
    found = []
    for id, where in sorted(places.items(), key=lambda item: (not item[1].endswith(LOOP), item[0])):
        if not where.startswith("backward"):
            continue
        products = {
            g[arg].args[1]: arg
            for arg in _terms(g[id])
            # A product that something else reads too must be computed anyway.
            if readers[arg] == [id] and _is_back(g[arg], varying) and g.shape(arg) == g.shape(id)
            if places.get(g[arg].args[1]) == f"backward {LOOP}" and g[g[arg].args[1]].family == "map"
        }
        if len(products) > 1:
            found.append(Sum(id, products))
    return found


def _terms(node: Node) -> list[int]:
    """Return the arguments that a map adds as they are, with coefficient one."""
    if node.family != "map":
        return []
    terms = sp.Add.make_args(node.attrs.expr)
    readers = Counter(symbol for term in terms for symbol in term.free_symbols)
    alone = {term for term in terms if term.is_Symbol and readers[term] == 1}
    return [node.args[i] for i in range(len(node.args)) if placeholder(i) in alone]


def _is_back(node: Node, varying: set[int]) -> bool:
    return node.family == "contract" and node.attrs == BACK and node.args[0] not in varying


def _order(sums: Sequence[Sum]) -> list[int]:
    """Return the adjoints of the first two sums that share some, in an order in which those of each sum are contiguous."""
    if not sums:
        return []
    first = list(sums[0].products)
    # Two sets can always be laid so that both are contiguous: those of the second alone, the shared ones, those of
    # the first alone. For three sets there need be no such order, so that only two are looked at.
    second = next((list(s.products) for s in sums[1:] if set(s.products) & set(first)), [])
    shared = [id for id in first if id in second]
    return [*(id for id in second if id not in shared), *shared, *(id for id in first if id not in shared)]


@dataclass
class _Joining:
    """A program while the pass rebuilds it, and the order of the adjoints in the stacked array."""

    old: Program
    lanes: list[int]
    sums: dict[int, list[int]]
    outer: dict[int, tuple[int, list[int]]]
    graph: Graph = field(default_factory=Graph)
    new: dict[int, int] = field(default_factory=dict)
    joined: int = -1
    labels: dict[int, Label] = field(default_factory=dict)
    origin: dict[int, tuple[int, ...]] = field(default_factory=dict)


def _run(lanes: list[int], members: Sequence[int]) -> list[int]:
    """Return the members in the order of the stacked array where they are contiguous there, else an empty list."""
    at = sorted(lanes.index(id) for id in members if id in lanes)
    whole = len(at) > 1 and at[-1] - at[0] + 1 == len(at)
    return [lanes[i] for i in at] if whole else []


def _joined(p: Program, sums: Sequence[Sum], lanes: list[int]) -> Program | None:
    """Return the program with these adjoints stacked, or None where one is computed from a sum of others."""
    # A sum in which only some of the adjoints occur uses the part of the array that has these, if they are contiguous
    # there; else it stays as it is.
    made = _Joining(p, lanes, {s.id: _run(lanes, list(s.products)) for s in sums}, _outer(p, lanes))
    made.sums = {id: run for id, run in made.sums.items() if run}
    products = {s.id: s.products for s in sums}
    order = _topological(p, made, products)
    if order is None:
        return None
    for id in order:
        if id < 0:
            made.joined = build.concatenate(made.graph, [made.new[lane] for lane in lanes], 0)
            made.labels[made.joined] = Label("gates", 0, True, given=False)
        elif id in made.sums:
            made.new[id] = _sum(made, p.graph[id], made.sums[id], products[id])
        elif id in made.outer:
            made.new[id] = _total(made, p.graph[id], *made.outer[id])
        elif not _is_gone(made, products, id):
            node = p.graph[id]
            made.new[id] = copy_node(made.graph, node, tuple(made.new[arg] for arg in node.args))
    for id, name in p.graph.names.items():
        if id in made.new:
            made.graph.names.setdefault(made.new[id], name)
    q = renewed(p, made.graph, made.new)
    origin = traced(p, {new: (old,) for old, new in made.new.items()} | made.origin)
    return replace(
        q, joined=q.joined | {made.joined}, labels=made.labels | q.labels, origin=origin, written=p.written or p
    )


def _is_gone(made: _Joining, products: Mapping[int, Mapping[int, int]], id: int) -> bool:
    """Answer whether a value was a term of a sum that is one product now, or a product whose total is a slice of
    another."""
    inside = {products[s][lane] for s, run in made.sums.items() for lane in run}
    totals = {made.old.graph[total].args[0] for total in made.outer} - set(made.lanes)
    return id in inside or id in totals


def _outer(p: Program, lanes: list[int]) -> dict[int, tuple[int, list[int]]]:
    """Return the totals that are computed at once for contiguous adjoints, each with the value that multiplies the
    adjoints (-1 where there is none) and with the adjoints."""
    g = p.graph
    readers = g.consumers(g.ancestors(p.needed))
    groups: dict[int, dict[int, int]] = {}
    for node in g:
        if node.family != "total" or node.attrs.over != "all" or node.id not in readers:
            continue
        inner = g[node.args[0]]
        if inner.id in lanes:
            groups.setdefault(-1, {})[inner.id] = node.id
        elif inner.attrs == OUTER and inner.args[0] in lanes and readers[inner.id] == [node.id]:
            groups.setdefault(inner.args[1], {})[inner.args[0]] = node.id
    return {
        total: (value, run)
        for value, found in groups.items()
        for run in [_run(lanes, list(found))]
        if run
        for lane, total in found.items()
        if lane in run
    }


def _topological(p: Program, made: _Joining, terms: Mapping[int, Mapping[int, int]]) -> list[int] | None:
    """Return the values in an order in which they can be computed, -1 being the stacked array; None where there is
    none."""
    g = p.graph
    products = {terms[id][lane] for id, run in made.sums.items() for lane in run}

    def needs(id: int) -> list[int]:
        if id < 0:
            return made.lanes
        if id in made.sums:
            rest = [arg for arg in g[id].args if arg not in products]
            return [*rest, *(g[arg].args[0] for arg in g[id].args if arg in products), -1]
        if id in made.outer:
            value, _ = made.outer[id]
            return [-1] if value < 0 else [value, -1]
        return list(g[id].args)

    order, state = list[int](), dict[int, int]()
    stack = [(id, False) for id in reversed(g.ancestors(p.needed)) if id in set(p.needed)]
    while stack:
        id, ready = stack.pop()
        if ready:
            state[id] = 2
            order.append(id)
        elif id not in state:
            state[id] = 1
            stack.append((id, True))
            for arg in reversed(needs(id)):
                # An argument that is begun and not finished closes a cycle: an adjoint would need the array in which it
                # lies.
                if state.get(arg) == 1:
                    return None
                stack.append((arg, False))
    return order


def _rows(made: _Joining, run: Sequence[int]) -> int:
    """Return the part of the stacked array that contiguous adjoints take."""
    g = made.old.graph
    start: Size = size(sum(g.shape(id)[0] for id in made.lanes[: made.lanes.index(run[0])]))
    length = size(sum(g.shape(id)[0] for id in run))
    return build.cut(made.graph, made.joined, [(start, length, 1)])


def _sum(made: _Joining, node: Node, run: Sequence[int], products: Mapping[int, int]) -> int:
    """Return a sum in which one product of stacked weights replaces several products."""
    g, old = made.graph, made.old.graph
    inside = {products[lane] for lane in run}
    # The weights are put together once, before the loops: that is a copy of as many numbers as they have, in place of
    # one call in each step.
    weights = [made.new[old[products[lane]].args[0]] for lane in run]
    stack = build.concatenate(g, weights, 0)
    made.origin[stack] = tuple(old[products[lane]].args[0] for lane in run)
    names = [made.old.labels[id].full if id in made.old.labels else "" for id in made.origin[stack]]
    made.labels.setdefault(stack, Label(joint_name(names, "rows"), None, given=False))
    product = build.contract(g, stack, _rows(made, run), BACK)
    made.origin[product] = tuple(products[lane] for lane in run)
    left = [i for i, arg in enumerate(node.args) if arg not in inside]
    new = {placeholder(i): placeholder(left.index(i) + 1) if i in left else sp.S.Zero for i in range(len(node.args))}
    body = placeholder(0) + node.attrs.expr.xreplace(new)
    return build.map_(g, body, [product, *(made.new[node.args[i]] for i in left)])


def _total(made: _Joining, node: Node, value: int, run: list[int]) -> int:
    """Return the part of a stacked total that belongs to one adjoint."""
    g, old = made.graph, made.old.graph
    rows = _rows(made, run)
    whole = build.total(g, rows if value < 0 else build.contract(g, rows, made.new[value], OUTER))
    inner = old[node.args[0]]
    lane = inner.id if value < 0 else inner.args[0]
    start = size(sum(old.shape(id)[0] for id in run[: run.index(lane)]))
    spans = [(start, old.shape(lane)[0], 1), *((0, item, 1) for item in g.shape(whole)[1:])]
    # The graph has each node once, so that all adjoints of a run slice one and the same total.
    others = [id for id, (v, r) in made.outer.items() if v == value and r == run]
    made.origin.setdefault(whole, tuple(others))
    names = {id: name for name, id in made.old.params.items()}
    label = Label(joint_name([names.get(id, "") for id in others], "gates"), None, True, given=False)
    made.labels.setdefault(whole, label)
    return build.cut(g, whole, spans)
