"""Choose what the backward sweep reads of the forward sweep and what it rematerializes, for a block of steps at once.

The cost of a value is that of its operations, in passes of one multiplication over a block that lies in the cache; its
arguments must be there anyway: states, inputs, values without an axis of steps, residuals, or values that are
themselves rematerialized. Products, reductions and gathers are never computed again.

Example: of y = p * q with p = f * c and q = tanh(s) the backward sweep reads p, q, f and c. p costs one multiplication
from f and c, less than FREE, and is no residual. q costs 8 from s and is one, unless memory is spared: then it is
computed again too, for 8 is less than CHEAP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from symbptt.codegen.program.program import Program, renewed
from symbptt.codegen.program.regions import is_near, place
from symbptt.codegen.program.remainders import arguments_again
from symbptt.ir.graph import Graph
from symbptt.ir.node import WITHOUT_COPY, Node
from symbptt.ir.scalar import Call, Power, Prod, Sum, Tree, expanded, tree_of, whole_power

CALLS = {
    **dict.fromkeys(("abs", "maximum", "minimum", "relu", "sign", "floor", "stop_gradient"), 1.0),
    **dict.fromkeys(("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"), 1.0),
    **dict.fromkeys(("sqrt", "exp", "expm1", "log", "log1p", "tanh", "arctan", "hypot"), 8.0),
    "sigmoid": 12.0,
    "softplus": 20.0,
    "where": 16.0,
}
"""The cost of a call: the greater of the ratios measured in float32 and float64 (NumPy 2, one thread), rounded up."""
DIVISION, POWER, OTHER = 2.0, 16.0, 50.0

FREE = 3.0
"""The cost up to which a value is never a residual: writing a value into an array of all steps and reading it back
takes as long as four multiplications in the cache, measured in both types."""
CHEAP = 40.0
"""The cost up to which a value is rematerialized to spare memory: a few transcendental functions are less than a
product."""


@dataclass(frozen=True)
class _Choice:
    """The values that are rematerialized, with the cost of each, and those between them and the residuals."""

    costs: dict[int, float]
    inner: frozenset[int]


def recompute_free(p: Program) -> Program:
    """Return the program in which the backward sweep rematerializes what is computed as fast as it is stored and read."""
    return recomputed(p, FREE)


def recompute_cheap(p: Program) -> Program:
    """Return the program in which the backward sweep rematerializes all cheap elementwise values."""
    return recomputed(p, CHEAP)


def recomputed(p: Program, limit: float) -> Program:
    """Return the program in which values that cost up to `limit` multiplications each are rematerialized."""
    # To store a value costs a write in the forward sweep and a read in the backward one, both of an array of all
    # steps, which does not stay in the cache. Where it costs less to compute it again from what is there, it is no
    # residual.
    barred = _barred(p)
    while True:
        choice = _chosen(p, limit, barred)
        if not choice.costs:
            return p
        found, again = _with_copies(p, choice)
        wrong = _far(found, again)
        if not wrong:
            return found
        # A wrong copy may be one in between, which is no choice of its own: then all choices are given up, so that the
        # loop ends.
        barred |= wrong & choice.costs.keys() or choice.costs.keys()


def computed_again(p: Program) -> list[int]:
    """Return the values that the backward sweep rematerializes, without those between them and the residuals."""
    readers = p.graph.readers
    inline = arguments_again(p)
    copies = [node.id for node in p.graph if _is_copy(node) and node.id not in inline]
    return [id for id in copies if not all(_is_copy(p.graph[reader]) for reader in readers(id))]


def _is_copy(node: Node) -> bool:
    return bool(getattr(node.attrs, "again", False))


def _barred(p: Program) -> set[int]:
    """Return the values that are never rematerialized: results, and values whose memory is shared with others."""
    return {*p.needed, *p.front, *p.joined}


def _chosen(p: Program, limit: float, barred: set[int]) -> _Choice:
    """Return the values that the backward sweep reads and that cost no more than the limit, arguments first."""
    g, timed = p.graph, p.timed
    forward = g.ancestors(p.forward_roots)
    read = _read_back(p, forward)
    # States are results and inputs are the caller's, so that they are there whatever is chosen; parameters and contexts have
    # no axis of steps.
    there = {id for id in forward if id not in timed or g[id].family == "leaf" or id in p.next.values()}
    costs: dict[int, float] = {}
    inner: set[int] = set()
    for id in forward:
        if id not in read or id in there:
            continue
        cost, between = _cost(g, id, there)
        if cost <= limit and id not in barred:
            costs[id] = cost
            inner |= between
        there.add(id)  # a residual or rematerialized, and so there for later values
    return _Choice(costs, frozenset(inner))


def _read_back(p: Program, forward: Iterable[int]) -> set[int]:
    g, forward = p.graph, set(forward)
    return {arg for id in g.ancestors(p.backward_roots) if id not in forward for arg in g[id].args} & forward


def _cost(g: Graph, id: int, there: set[int]) -> tuple[float, set[int]]:
    """Return the cost of a value computed from those that are there, and the values between them and it."""
    node = g[id]
    is_view = node.family == "view" and node.attrs.kind in WITHOUT_COPY
    # A product costs as much as in the forward sweep, a reduction and a gather read more than they write.
    if node.family != "map" and not is_view:
        return float("inf"), set()
    cost = 0.0 if is_view else operations(tree_of(expanded(node.attrs.expr)))
    between: set[int] = set()
    # A value that two arguments share counts twice, so that this is an upper bound.
    for arg in set(node.args) - there:
        more, found = _cost(g, arg, there)
        cost, between = cost + more, between | found | {arg}
    return cost, between


def operations(tree: Tree) -> float:
    """Return the cost of an elementwise body, in multiplications."""
    match tree:
        case Sum(terms):
            # The sign of the first term is an operation; the others are those of subtractions.
            return len(terms) - 1 + (terms[0][0] < 0) + sum(operations(term) for _, term in terms)
        case Prod(factors, divisors):
            own = len(factors) - 1 + DIVISION * len(divisors)
            return own + sum(map(operations, factors + divisors))
        case Power(base) if count := whole_power(tree):
            # Square and multiply: one squaring for each bit but the first, one product for each further bit that is
            # set.
            return count.bit_length() + count.bit_count() - 2 + operations(base)
        case Power(base, exponent):
            return POWER + operations(base) + operations(exponent)
        case Call(name, args):
            return CALLS.get(name, OTHER) + sum(map(operations, args))
    return 0.0


def _with_copies(p: Program, choice: _Choice) -> tuple[Program, dict[int, int]]:
    """Return the program whose backward sweep reads copies, and the values of which they are copies."""
    forward = set(p.graph.ancestors(p.forward_roots))
    g, new, again = Graph(), dict[int, int](), dict[int, int]()
    for id in p.graph.ancestors(p.needed):
        node = p.graph[id]
        known = new if id in forward else new | again
        new[id] = g.add(node.family, tuple(known[arg] for arg in node.args), node.shape, node.attrs)
        if id in choice.costs or id in choice.inner:
            args = tuple(again.get(arg, new[arg]) for arg in node.args)
            # `again` in the attributes keeps the graph from returning the original, which has the same family and
            # arguments.
            again[id] = g.add(node.family, args, node.shape, replace(node.attrs, again=True))
    g.names.update({new[id]: name for id, name in p.graph.names.items() if id in new})
    q = renewed(p, g, new)
    labels = {copy: p.labels[id] for id, copy in again.items() if id in p.labels}
    origin = {copy: p.origin[id] for id, copy in again.items() if id in p.origin}
    return replace(q, labels=q.labels | labels, origin=q.origin | origin), {copy: id for id, copy in again.items()}


def _far(p: Program, again: dict[int, int]) -> set[int]:
    """Return the values whose copies would take an array of all steps; views take none, wherever they are."""
    places = place(p).places
    # A copy that is read outside of a block, as in a sum after the loop, needs an array of all steps as the residual
    # did, so that nothing is spared.
    maps = [copy for copy in again if p.graph[copy].family == "map"]
    return {again[copy] for copy in maps if not is_near(places, "backward", copy)}
