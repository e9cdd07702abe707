"""Bounds on sums and quotients by the way they are made: u − max(u, v) ≤ 0, |u| ≤ √(u² + v²). Intervals forget both.

A maximum, a distance or a sum of values that are not negative is at least each of them: these are its lower bounds. In a sum it
is replaced by one of them; in a quotient it cancels a value that it bounds.

For example u / √(u² + v²): the root is at least |u|, as u² + v² is at least u² and a root preserves order. The quotient is then
written as powers u^1 b^−1 of which u and b cancel, so that its size is at most 1. Intervals find |u| / 0, without a bound.
Likewise u − max(u, v): replacing max(u, v) by its lower bound u leaves 0, an upper bound of the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.range import Ranges
from symbptt.ir.scalar import as_sympy
from symbptt.stability.algebra.atoms import node_of, symbol
from symbptt.stability.algebra.interval import (
    Interval,
    absolute,
    add,
    between,
    common,
    constant,
    evaluate,
    everything,
    exactly,
    multiply,
)
from symbptt.stability.algebra.maximum_gap import axes_of_reduction

A, B = placeholder(0), placeholder(1)
X = sp.Symbol("X", positive=True)
TERMS, WAYS = 8, 64
"""Terms of a sum that is looked into, and ways of replacing them, at the most."""
TINIEST = 1e-300
ROUNDS = 12
"""Expansions of the values of a quotient into their own expressions, at the most."""
COMPARED = {ops.greater: 1, ops.greater_equal: 1, ops.less: -1, ops.less_equal: -1}
EXTREMES = {ops.maximum: 1, ops.minimum: -1}

Sum = dict[int | None, sp.Expr]
"""Coefficients by value; None for the constant term."""
Side = tuple[int, Sum]


@dataclass(frozen=True)
class Under:
    """A lower bound of a value: `factor` |u|^`power`, u the value `of`."""

    of: int
    power: sp.Expr
    factor: sp.Expr


@dataclass(frozen=True)
class Quotient:
    """A bound on an expression in size by `factor` times the rest of it: powers of values, symbols `v<id>`, and of others."""

    factor: sp.Expr
    rest: tuple[tuple[sp.Expr, sp.Expr], ...]


@dataclass(frozen=True, eq=False)
class Order:
    """The values of a step with the lower bounds of each."""

    graph: Graph
    _ranges: Ranges
    _sums: dict[int, Sum] = field(default_factory=dict)
    _sides: dict[int, tuple[Side, ...]] = field(default_factory=dict)
    _under: dict[int, tuple[Under, ...]] = field(default_factory=dict)
    _shorter: dict[int, tuple[Side, ...]] = field(default_factory=dict)
    _written: dict[int, sp.Expr] = field(default_factory=dict)
    _quotients: dict[sp.Expr, Quotient | None] = field(default_factory=dict)

    def of_node(self, node: Node, nodes: Mapping[int, Interval], ranges: Mapping[sp.Expr, Interval]) -> Interval:
        """Return bounds on an elementwise value from the ranges of those before it, by node and by symbol `v<id>`."""
        # What the graph alone says is found once: steps are enclosed many times, over one box after another.
        if node.id not in self._written:
            self._written[node.id] = _over_nodes(self.graph, node)
        found = common(_of_sum(self, node.id, nodes), self.of_expression(self._written[node.id], ranges))
        return common(found, between(0.0, np.inf)) if self.is_positive(node.id) else found

    def of_expression(self, expr: sp.Expr, ranges: Mapping[sp.Expr, Interval]) -> Interval:
        """Return bounds on an expression over values, from the ranges of its symbols."""
        quotient = self.quotient(expr)
        return everything() if quotient is None else _sized(quotient, ranges)

    def quotient(self, expr: sp.Expr) -> Quotient | None:
        """Return what divisors leave of a product of powers of values; None where they are over nothing in it."""
        if expr not in self._quotients:
            self._quotients[expr] = _quotient(self, expr)
        return self._quotients[expr]

    def sum_of(self, id: int) -> Sum:
        """Return a value as a sum of multiples of values that are no sums themselves."""
        return _found(self, id, self._sums, _sum)

    def sides(self, id: int) -> tuple[Side, ...]:
        """Return sums that a value is never under, with 1, and never over, with −1."""
        return _found(self, id, self._sides, _sides)

    def shorter(self, id: int) -> tuple[Side, ...]:
        """Return the sides of a sum, in which values are replaced by theirs, that have fewer terms than it has."""
        if id not in self._shorter:
            self._shorter[id] = tuple(_shorter(self, id))
        return self._shorter[id]

    def under(self, id: int) -> tuple[Under, ...]:
        """Return powers of values that a value is never under."""
        return _found(self, id, self._under, _under)

    def is_positive(self, id: int) -> bool:
        """Return whether a value is never negative, whatever all others are."""
        return self._ranges.bounds(id)[0] >= 0

    def may_vanish(self, id: int) -> bool:
        """Return whether a value may be zero, or arbitrarily near to it."""
        return self._ranges.bounds(id)[0] <= TINIEST


def order_of(graph: Graph) -> Order:
    """Return the order of the values of a graph."""
    return Order(graph, Ranges(graph))


def _body(g: Graph, node: Node) -> sp.Expr:
    """The expression of an elementwise value over its placeholders, with numbers where it reads numbers."""
    numbers = {
        placeholder(i): as_sympy(g[arg].attrs.value)
        for i, arg in enumerate(node.args)
        if g[arg].family == "number" and not g[arg].shape
    }
    return node.attrs.expr.xreplace(numbers)


def _found(order: Order, id: int, known: dict[int, Any], rule: Callable[[Order, Node], Any]) -> Any:
    """Return the rule's answer for a value, after those for all that it is computed from."""
    # A stack of its own instead of recursion: a step of many rounds is deeper than Python's limit.
    open_ = [id]
    while open_:
        missing = [arg for arg in order.graph[open_[-1]].args if arg not in known]
        if not missing:
            node = order.graph[open_.pop()]
            known[node.id] = rule(order, node) if node.id not in known else known[node.id]
        open_ += missing
    return known[id]


# ---- sums ---------------------------------------------------------------------------------------------------------


def _sum(order: Order, node: Node) -> Sum:
    if node.family == "number" and not node.shape:
        return {None: as_sympy(node.attrs.value)}
    if node.family != "map":
        return {node.id: sp.S.One}
    found: Sum = {}
    for term in sp.Add.make_args(_body(order.graph, node)):
        number, rest = term.as_coeff_Mul()
        if rest == 1:
            part: Sum = {None: sp.S.One}
        elif rest.is_Symbol:
            part = order._sums[node.args[int(rest.name[1:])]]
        else:
            return {node.id: sp.S.One}
        found = _added(found, part, number)
    return found if 0 < len(found) <= TERMS else {node.id: sp.S.One}


def _added(a: Sum, b: Sum, factor: sp.Expr = sp.S.One) -> Sum:
    total = {k: a.get(k, sp.S.Zero) + factor * b.get(k, sp.S.Zero) for k in {**a, **b}}
    return {k: v for k, v in total.items() if v != 0}


def _sides(order: Order, node: Node) -> tuple[Side, ...]:
    """Return lower and upper bounds of a value as sums: the arguments of a maximum and of a minimum, ±u of |u|, and so on."""
    expr = _body(order.graph, node) if node.family == "map" else None
    if node.family == "reduce" and _is_leading(node):
        return _extreme(order, node)
    if node.family == "view" and (inner := _reduced(order.graph, node)) and _is_beside(order.graph, inner, node):
        return _extreme(order, inner)
    if expr is None:
        return ()
    parts = {placeholder(i): order.sum_of(arg) for i, arg in enumerate(node.args)}
    chosen = _chosen(order.graph, node)
    if chosen is not None:
        return tuple((chosen[1], order.sum_of(id)) for id in chosen[0])
    if expr.func in EXTREMES and all(arg in parts or arg.is_number for arg in expr.args):
        return tuple((EXTREMES[expr.func], parts.get(arg) or _number(arg)) for arg in expr.args)
    # Both are at least their argument and at least 0; the empty sum is 0.
    if expr in (ops.softplus(A), ops.relu(A)):
        return (1, parts[A]), (1, {})
    return tuple((1, _added({}, order.sum_of(u), sp.Integer(sign))) for u in _rooted(order, node) for sign in (1, -1))


def _number(value: sp.Expr) -> Sum:
    return {None: value} if value != 0 else {}


def _extreme(order: Order, node: Node) -> tuple[Side, ...]:
    kinds = {"max": 1, "min": -1}
    return ((kinds[node.attrs.kind], order.sum_of(node.args[0])),) if node.attrs.kind in kinds else ()


def _rooted(order: Order, node: Node) -> list[int]:
    """The values whose size a value is never under."""
    return [u.of for u in order.under(node.id) if u.power == 1 and u.factor >= 1 and u.of != node.id]


def _chosen(graph: Graph, node: Node) -> tuple[tuple[int, int], int] | None:
    """The two values of which a node is the greater (1) or the smaller one (−1), written as a choice."""
    expr = node.attrs.expr
    if expr.func is not ops.where or not all(arg.is_Symbol for arg in expr.args):
        return None
    test, yes, no = (node.args[int(arg.name[1:])] for arg in expr.args)
    made = graph[test]
    if made.family != "map" or made.attrs.expr.func not in COMPARED or set(made.attrs.expr.args) != {A, B}:
        return None
    first, second = (made.args[int(arg.name[1:])] for arg in made.attrs.expr.args)
    sign = COMPARED[made.attrs.expr.func]
    return ((yes, no), sign if yes == first else -sign) if {yes, no} == {first, second} else None


def _of_sum(order: Order, id: int, nodes: Mapping[int, Interval]) -> Interval:
    """The range of a sum in which values are replaced by their lower or upper bounds."""
    found = everything()
    for sign, total in order.shorter(id):
        here = _worth(total, nodes)
        lo, hi = (here.lo, np.inf) if sign > 0 else (-np.inf, here.hi)
        found = Interval(np.maximum(found.lo, lo), np.minimum(found.hi, hi))
    return found


def _shorter(order: Order, id: int) -> Iterator[Side]:
    whole = order.sum_of(id)
    sides = {k: known for k in whole if k is not None and k != id and (known := order.sides(k))}
    if not sides or len(whole) < 2:
        return
    ways = [[None, *((k, *side) for side in known)] for k, known in sides.items()]
    for way in islice(product(*ways), WAYS):
        replaced = [(k, int(direction * sp.sign(whole[k])), total) for k, direction, total in filter(None, way)]
        left: Sum = {k: v for k, v in whole.items() if k not in {k for k, *_ in replaced}}
        for k, _, total in replaced:
            left = _added(left, total, whole[k])
        # Replacing a term with a positive factor by its lower bound, or one with a negative factor by its upper
        # bound, bounds the sum from below; mixed replacements bound nothing. A sum that does not get shorter tells
        # nothing that intervals do not.
        if len({sign for _, sign, _ in replaced}) == 1 and len(left) < len(whole):
            yield replaced[0][1], left


def _worth(total: Sum, nodes: Mapping[int, Interval]) -> Interval:
    found = exactly(0.0)
    for k, number in total.items():
        part = constant(number) if k is None else multiply(constant(number), nodes[k])
        found = add(found, part)
    return found


# ---- quotients ----------------------------------------------------------------------------------------------------


def _under(order: Order, node: Node) -> tuple[Under, ...]:
    if not order.is_positive(node.id):
        return ()
    own = Under(node.id, sp.S.One, sp.S.One)
    return tuple(dict.fromkeys([own, *_parts_under(order, node)]))


def _parts_under(order: Order, node: Node) -> Iterable[Under]:
    """Return lower bounds of a value that is not negative, entry by entry as broadcasting aligns them."""
    g, args = order.graph, node.args
    match node.family:
        case "contract" if args[0] == args[1] and node.attrs.a == node.attrs.b and _is_aligned(node):
            return [Under(args[0], sp.Integer(2), sp.S.One)]
        case "reduce" if _is_leading(node):
            return _reduced_under(order, node)
        case "view" if (inner := _reduced(g, node)) and _is_beside(g, inner, node):
            return _reduced_under(order, inner)
        case "map":
            return _map_under(order, node)
    return []


def _is_aligned(node: Node) -> bool:
    """Answer whether the axes of a product's result are the last ones of its operand."""
    return bool(node.attrs.a[len(node.attrs.a) - len(node.attrs.out) :] == node.attrs.out)


def _is_leading(node: Node) -> bool:
    """Answer whether a reduction goes over the first axes, so that broadcasting aligns it with the entries that it reduces."""
    return bool(node.attrs.axes == tuple(range(len(node.attrs.axes))))


def _is_beside(g: Graph, inner: Node, view: Node) -> bool:
    """Answer whether broadcasting aligns a view of a reduction with the entries that it reduces."""
    return bool(axes_of_reduction(g, inner.args[0], view.id, inner.attrs.kind))


def _reduced_under(order: Order, node: Node) -> tuple[Under, ...]:
    """The maximum of values and the sum of values that are not negative are at least each of them."""
    return order.under(node.args[0]) if node.attrs.kind in ("sum", "max") else ()


def _reduced(g: Graph, node: Node) -> Node | None:
    """The reduction that views repeat or turn."""
    while node.family == "view" and node.attrs.kind in ("reshape", "expand"):
        node = g[node.args[0]]
    return node if node.family == "reduce" else None


def _map_under(order: Order, node: Node) -> Iterable[Under]:
    expr, args = _body(order.graph, node), node.args
    known = {placeholder(i): order.under(arg) for i, arg in enumerate(args)}
    if expr in (ops.absolute(A), sp.Abs(A)):
        return [Under(args[0], sp.S.One, sp.S.One)]
    if expr.func is ops.hypot and set(expr.args) == {A, B}:
        return [Under(arg, sp.S.One, sp.S.One) for arg in args]
    if expr.is_Pow and expr.base in known and expr.exp.is_number:
        return _powered(order, args[int(expr.base.name[1:])], expr.exp)
    if expr == A * B and args[0] == args[1]:
        return [Under(args[0], sp.Integer(2), sp.S.One)]
    if expr.func is ops.maximum:
        return [u for arg in expr.args for u in known.get(arg, ())]
    if expr.func is ops.where:
        return _guarded(order, node)
    # A sum is at least each of its terms only if none of them is negative.
    if expr.is_Add and all(_is_positive(order, node, term) for term in expr.args):
        return [u for term in expr.args for u in _scaled(known, term)]
    return _scaled(known, expr)


def _powered(order: Order, arg: int, power: sp.Expr) -> list[Under]:
    if power <= 0:
        return []
    # u^p = |u|^p for an even p, whatever the sign of u; other powers need a bound on a base that is not negative.
    even = [Under(arg, power, sp.S.One)] if power.is_Integer and power % 2 == 0 else []
    return even + [Under(u.of, u.power * power, u.factor**power) for u in order.under(arg)]


def _scaled(known: Mapping[sp.Expr, tuple[Under, ...]], term: sp.Expr) -> list[Under]:
    """Return lower bounds of a positive multiple of a value."""
    number, rest = term.as_coeff_Mul()
    return [Under(u.of, u.power, number * u.factor) for u in known.get(rest, ())] if number > 0 else []


def _is_positive(order: Order, node: Node, term: sp.Expr) -> bool:
    number, rest = term.as_coeff_Mul()
    if rest == 1:
        return bool(number >= 0)
    return bool(number > 0 and rest.is_Symbol and order.is_positive(node.args[int(rest.name[1:])]))


def _guarded(order: Order, node: Node) -> list[Under]:
    """Of a root that is taken where s > 0 alone: where s is 0, so is all that s is never under."""
    if not all(arg.is_Symbol for arg in node.attrs.expr.args):
        return []
    test, yes, _ = (node.args[int(arg.name[1:])] for arg in node.attrs.expr.args)
    made = order.graph[test]
    if made.family != "map" or made.attrs.expr != ops.greater(A, B) or not _is_zero(order.graph[made.args[1]]):
        return []
    zero = {u.of for u in order.under(made.args[0])}
    return [u for u in order.under(yes) if u.of in zero]


def _is_zero(node: Node) -> bool:
    return node.family == "number" and not node.shape and float(node.attrs.value) == 0


def _over_nodes(g: Graph, node: Node) -> sp.Expr:
    return _body(g, node).xreplace({placeholder(i): symbol(arg) for i, arg in enumerate(node.args)})


Powers = dict[sp.Symbol, sp.Expr]


def _quotient(order: Order, expr: sp.Expr) -> Quotient | None:
    """Cancel powers of values, from the whole to its parts: a value over a divisor that bounds it is removed together with it."""
    number, powers = _powers_of(expr)
    taken = False
    for _ in range(ROUNDS):
        while (pair := _covered(order, powers)) is not None:
            (top, below, under), taken = pair, True
            # b ≥ f |u|^p gives |u|^(p k) b^(−k) ≤ f^(−k); k is as large as both powers allow.
            used = sp.Min(powers[top] / under.power, -powers[below])
            powers = _without_zeros({**powers, top: powers[top] - used * under.power, below: powers[below] + used})
            number /= under.factor**used
        made = _opened(order, powers)
        if made is None or not any(p.is_negative for p in powers.values()):
            break
        factor, powers = made
        number *= factor
    return Quotient(number, tuple(powers.items())) if taken else None


def _covered(order: Order, powers: Powers) -> tuple[sp.Symbol, sp.Symbol, Under] | None:
    """A value and a divisor that is never under a power of it; first of a divisor that may be zero, which needs it most."""
    divisors = [s for s, p in powers.items() if p.is_negative]
    for below in sorted(divisors, key=lambda s: not _may_vanish(order, s)):
        for under in _under_of(order, below):
            top = symbol(under.of)
            if top != below and powers.get(top, sp.S.Zero) > 0:
                return top, below, under
    return None


def _may_vanish(order: Order, base: sp.Expr) -> bool:
    id = node_of(base)
    return id is None or order.may_vanish(id)


def _under_of(order: Order, base: sp.Expr) -> tuple[Under, ...]:
    """Return lower bounds of a divisor, a value or an expression over values: a distance, also one that is replaced by 1 at zero."""
    id = node_of(base)
    if id is not None:
        return order.under(id)
    if base.func is ops.hypot:
        return tuple(Under(i, sp.S.One, sp.S.One) for s in base.args if (i := node_of(s)) is not None)
    if base.func is ops.where and base.args[0] == ops.equal(base.args[2], 0):
        return _under_of(order, base.args[2])
    return ()


def _opened(order: Order, powers: Powers) -> tuple[sp.Expr, Powers] | None:
    """Return the product with the last of its values expanded, and its numeric factor. None where no value is a product."""
    for s in sorted((s for s in powers if node_of(s) is not None), key=lambda s: -(node_of(s) or 0)):
        node = order.graph[node_of(s) or 0]
        inner = _over_nodes(order.graph, node) if node.family == "map" else s
        inner = inner.args[0] if inner.func in (ops.absolute, sp.Abs) else inner
        if inner == s or not (inner.is_Symbol or inner.is_Mul or (inner.is_Pow and inner.exp.is_number)):
            continue
        number, parts = _powers_of(inner)
        others = {k: p for k, p in powers.items() if k != s}
        joined = {k: others.get(k, sp.S.Zero) + parts.get(k, sp.S.Zero) * powers[s] for k in {**others, **parts}}
        return number ** powers[s], _without_zeros(joined)
    return None


def _powers_of(expr: sp.Expr) -> tuple[sp.Expr, Powers]:
    """The size of an expression as a number and a product of powers; any other part is a symbol."""
    number, powers = sp.S.One, Powers()
    for part in sp.Mul.make_args(expr):
        if part.is_number:
            number *= sp.Abs(part)
            continue
        base, power = part.as_base_exp()
        if not power.is_number:
            base, power = part, sp.S.One
        powers[base] = powers.get(base, sp.S.Zero) + power
    return number, _without_zeros(powers)


def _without_zeros(powers: Powers) -> Powers:
    return {s: p for s, p in powers.items() if p != 0}


def _sized(quotient: Quotient, ranges: Mapping[sp.Expr, Interval]) -> Interval:
    """All numbers up to the size of a quotient."""
    found = constant(quotient.factor)
    for base, power in quotient.rest:
        size = absolute(evaluate(base, ranges))
        found = multiply(found, evaluate(X**power, {X: size}))
    return Interval(-found.hi, found.hi)
