"""Guards that keep branches that are not taken out of derivatives: a factor that is exactly zero, times a derivative that
is infinite at the same place, counts as zero, where IEEE arithmetic gives 0 * inf = nan.

A derivative is a product of factors along a path. What flows along the path (an adjoint, or a block of a Jacobian) may
be zero for a reason: a branch was not chosen, or a function is saturated. Such zeros are followed through the graph, and
where a later factor may be infinite the whole product is put under the condition. The other way round, what flows may be
infinite first, and then meet a branch that was not chosen. Cells in which neither happens get no condition at all.

Example: y = where(x > 0, log(x), 0), at x = 0, with the cotangent dy = 1:

    l = log(x) = -inf                         the value is not chosen
    dl = where(x > 0, dy, 0) = 0              `Zeros(CHOSEN, ((x > 0, True),))`
    dx = dl / x                               1 / x is infinite (a LOGARITHM hazard): 0 * inf = nan
    dx = where(x > 0, dy / x, 0)              guarded: the condition that explains the zero moves outside the product
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sympy as sp

from symbptt import ops
from symbptt.autodiff.partials import VALUE
from symbptt.autodiff.subexpressions import Formula
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.range import LOGARITHM, NONE, OVERFLOW, POLE, SCALE, Hazards, Ranges

CHOSEN, FLAT, TAIL = "chosen", "flat", "tail"
"""Why nothing flows: a branch is not chosen; a function approaches a number as fast as an exponential does; or slower."""
# A sum of zeros is only as reliable as its weakest: `merged` takes the minimum.
STRENGTH = {TAIL: 0, FLAT: 1, CHOSEN: 2}
STRONGER_THAN = {CHOSEN: {POLE, LOGARITHM, OVERFLOW, SCALE}, FLAT: {POLE, OVERFLOW}, TAIL: {OVERFLOW}}
"""The hazards that each zero outweighs in the limit: 1 / (1 / a + 1 / b) has the slope 1 at a = 0, and so has
sigmoid(log(u)) at u = 0, but exp(-1 / u) and 1 / (1 + exp(u)) are flat far out."""

# Their slopes fall off exponentially in at least one direction.
_FLAT = (sp.tanh, ops.sigmoid, sp.erf, sp.exp, ops.expm1, ops.softplus, ops.SHOWN["softplus"])
_MASKS = (ops.relu, ops.maximum, ops.minimum, ops.where, ops.SHOWN["maximum"], ops.SHOWN["minimum"])

Condition = tuple[int, bool]
"""A value, and whether it must hold or must not."""


@dataclass(frozen=True)
class Zeros:
    """The places of zeros: one of the conditions is not met, or, without conditions, the cotangent itself is zero."""

    why: str
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Flow:
    """Facts about an adjoint or a block: the reasons why it may be zero, and why it may be infinite."""

    zeros: tuple[Zeros, ...] = ()
    wild: Hazards = NONE

    def elsewhere(self) -> Flow:
        """Return the same of a value of another shape: conditions do not fit it, but its zeros are seen in it.

        What saturates in a sum need not do so for the reason of each of its parts.
        """
        strongest = max((z.why for z in self.zeros), key=STRENGTH.__getitem__, default=None)
        # CHOSEN zeros are exact and survive sums over an axis; saturation is a limit, and a sum may mix several limits.
        return Flow((Zeros(CHOSEN if strongest == CHOSEN else TAIL),) if strongest else (), self.wild)

    def read_in_part(self) -> Flow:
        """Return what is known of the adjoint of a value of which only some entries are read."""
        return Flow((Zeros(CHOSEN),), self.wild)


FREE = Flow()
"""Of what comes from outside: any finite number."""


def merged(flows: Sequence[Flow]) -> Flow:
    """Return what is known of a sum: it is zero for a reason where all its parts are."""
    # Equal flows keep their conditions, which fit since all parts have the same shape and the same reason.
    if len(set(flows)) == 1:
        return flows[0]
    wild = NONE.union(*(flow.wild for flow in flows))
    if not all(flow.zeros for flow in flows):
        return Flow((), wild)
    weakest = min((flow.elsewhere().zeros[0].why for flow in flows), key=STRENGTH.__getitem__)
    return Flow((Zeros(weakest),), wild)


@dataclass(frozen=True)
class Guard:
    """The conditions under which a product of what flows with a partial derivative stands; `seen`: it stands where what
    flows is not zero."""

    conditions: tuple[Condition, ...] = ()
    seen: bool = False


OPEN = Guard()


@dataclass(frozen=True)
class Guards:
    """The finder of guards in one graph; `forward` where the values of functions come before what reads them, as in a Jacobian:
    there a function may yet be found to be not chosen, whose value is no finite number."""

    graph: Graph
    forward: bool = False
    ranges: Ranges = field(init=False)
    _known: dict[tuple[int, int, Flow], tuple[Guard, Flow]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranges", Ranges(self.graph))

    def factor(self, node: Node, f: Formula, arg: int, partial: sp.Expr, flow: Flow) -> tuple[Guard, Flow]:
        """Return the guard of flow ⊙ partial, and what is known of that product."""
        key = (node.id, arg, flow)
        if key not in self._known:
            self._known[key] = self._factor(node, f, arg, partial, flow)
        return self._known[key]

    def _factor(self, node: Node, f: Formula, arg: int, partial: sp.Expr, flow: Flow) -> tuple[Guard, Flow]:
        read = {placeholder(i): id for i, id in enumerate(f.args)} | {VALUE: node.id}
        # d√u = du / (2√u): at u = 0, its least value, the slope is infinite, but u itself has slope 0 there, and the product counts as 0.
        root = self._is_root(node, f)
        hazards = self._hazards(node, partial, read)
        # In a forward sweep the value may still turn out not to be chosen, so that only powers with finite values are guarded.
        finite = _is_finite(f.expr)
        zeros = [z for z in flow.zeros if STRONGER_THAN[z.why] & hazards and (finite or not self.forward)]
        conditions = [c for z in zeros for c in z.conditions]
        own = self._choices(partial, read) if _may_be_zero(partial, self._masks(read)) else ()
        saturates = _saturates(f, arg, partial)
        # d(x**p)/dp = x**p log(x), where log(0) = -inf meets the factor 0.
        if f.expr.is_Pow and f.expr.exp == placeholder(f.args.index(arg)):  # 0 ** p is 0 for all p above 0
            conditions.append((build.map_(self.graph, ops.not_equal(placeholder(0), 0), (node.id,)), True))
        if root:
            conditions.append((build.map_(self.graph, ops.greater(placeholder(0), 0), (node.id,)), True))
        if flow.wild and own and (self.forward or not _is_choice(partial)):
            conditions += own
        # The flow may be infinite before a saturated slope of exactly 0.0 multiplies it: inf * 0 = nan without the test.
        elif saturates and flow.wild & STRONGER_THAN[saturates]:
            conditions.append((self._node(ops.not_equal(partial, 0), read), True))
        guard = Guard(tuple(dict.fromkeys(conditions)), any(not z.conditions for z in zeros))
        found = hazards if not root and (finite or self.forward) else NONE
        return guard, _passed(flow, own, saturates, flow.wild | found, same=self.graph.shape(arg) == node.shape)

    def has_open_branch(self, ids: Iterable[int]) -> bool:
        """Answer whether a choice is among values, of what may be infinite or no number where it is not chosen."""
        choices = (self.graph[id] for id in ids if getattr(self.graph[id].attrs, "expr", sp.S.Zero).func is ops.where)
        return any(self.ranges.hazards(arg) for node in choices for arg in node.args)

    def may_meet(self, flow: Flow, value: int) -> bool:
        """Answer whether a value may be infinite or no number where what flows is zero because it was not chosen."""
        return any(z.why == CHOSEN for z in flow.zeros) and bool(self.ranges.hazards(value))

    def _hazards(self, node: Node, partial: sp.Expr, read: dict[sp.Expr, int]) -> frozenset[str]:
        found = self.ranges.of_expression(partial, read)[1]
        if node.attrs.expr.func in (sp.log, ops.log1p):
            # Saturation does not outweigh the slope of a logarithm: sigmoid(log(u)) = u / (1 + u) has the slope 1 at u = 0.
            return frozenset(LOGARITHM if hazard in (POLE, SCALE) else hazard for hazard in found)
        return found

    def _is_root(self, node: Node, f: Formula) -> bool:
        """Answer whether a function is a root of what is never negative but may be zero: it is least there, and counts as flat."""
        if not (f.expr.is_Pow and f.expr.exp.is_number and 0 < f.expr.exp < 1):
            return False
        low, _ = self.ranges.of_expression(f.expr.base, {placeholder(i): id for i, id in enumerate(f.args)})[0]
        return bool(low == 0)

    def _masks(self, read: dict[sp.Expr, int]) -> set[sp.Expr]:
        """Return the symbols of values that are made to be zero: conditions, and what a choice gives."""
        return {symbol for symbol, id in read.items() if symbol != VALUE and self._is_mask(self.graph[id])}

    def _is_mask(self, node: Node) -> bool:
        return node.family == "map" and (_is_condition(node.attrs.expr) or node.attrs.expr.func in _MASKS)

    def _choices(self, partial: sp.Expr, read: dict[sp.Expr, int]) -> tuple[Condition, ...]:
        masks = self._masks(read)
        return tuple(self._condition(part, read) for part in sp.Mul.make_args(partial) if _may_be_zero(part, masks))

    def _condition(self, choice: sp.Expr, read: dict[sp.Expr, int]) -> Condition:
        if choice.func is ops.where and 0 in choice.args[1:]:
            return self._node(choice.args[0], read), choice.args[2] == 0
        if choice.is_Symbol or _is_condition(choice):
            return self._node(choice, read), True
        return self._node(ops.not_equal(choice, 0), read), True

    def _node(self, expr: sp.Expr, read: dict[sp.Expr, int]) -> int:
        if expr in read:
            return read[expr]
        ids = {symbol: id for symbol, id in read.items() if symbol in expr.free_symbols}
        order = list(dict.fromkeys(ids.values()))
        return build.map_(self.graph, expr.xreplace({s: placeholder(order.index(id)) for s, id in ids.items()}), order)


def guarded(g: Graph, guard: Guard, flowing: int, product: int) -> int:
    """Return a product under its guard: zero where nothing flows, whatever the product is there."""
    for condition, holds in guard.conditions:
        product = chosen(g, condition, holds, product)
    if guard.seen:
        product = chosen(g, build.map_(g, ops.not_equal(placeholder(0), 0), (flowing,)), True, product)
    return product


def within(g: Graph, guard: Guard, x: int) -> int:
    """Return what x is where the conditions of a guard are met: x without its own choices by these conditions."""
    node = g[x]
    # where(c, where(c, x, 0) * s, 0) equals where(c, x * s, 0): the inner choice would only repeat the outer one.
    while node.family == "map" and node.attrs.expr.func is ops.where:
        args = dict(zip((placeholder(i) for i in range(len(node.args))), node.args, strict=True))
        condition, first, second = node.attrs.expr.args
        holds = second == 0
        inner = first if holds else second
        if 0 not in (first, second) or inner not in args or (args.get(condition), holds) not in guard.conditions:
            break
        node = g[args[inner]]
    return node.id


def chosen(g: Graph, condition: int, holds: bool, x: int) -> int:
    """Return x where a condition holds, or does not, and zero elsewhere."""
    c, value = placeholder(0), placeholder(1)
    return build.map_(g, ops.where(c, value, 0) if holds else ops.where(c, 0, value), (condition, x))


def _passed(flow: Flow, own: tuple[Condition, ...], saturates: str, wild: Hazards, same: bool) -> Flow:
    chosen = [z for z in flow.zeros if z.why == CHOSEN]
    rest = [z for z in flow.zeros if z.why != CHOSEN]
    if own and all(z.conditions for z in chosen):
        chosen = [Zeros(CHOSEN, tuple(dict.fromkeys([*(c for z in chosen for c in z.conditions), *own])))]
    elif own:
        chosen = [Zeros(CHOSEN)]
    if saturates:
        rest.append(Zeros(saturates))
    # Conditions are masks of the node's shape; they fit the argument only if nothing is broadcast between the two.
    found = Flow((*chosen, *dict.fromkeys(rest)), wild)
    return found if same else found.elsewhere()


def _is_finite(power: sp.Expr) -> bool:
    """Answer whether an expression is a power that may be finite where its derivative is not."""
    return bool(power.is_Pow and not power.exp.is_Integer and not power.exp.is_negative)


def _is_condition(expr: sp.Expr) -> bool:
    return bool(getattr(expr.func, "boolean", False))


def _is_choice(partial: sp.Expr) -> bool:
    """Answer whether a factor of 0 and 1 is written as a choice already."""
    return bool(partial.func is ops.where and partial.args[1].is_number and partial.args[2].is_number)


def _may_be_zero(partial: sp.Expr, masks: set[sp.Expr]) -> bool:
    """Answer whether a factor of a partial derivative is made of choices alone, and so may be exactly zero."""
    return any(not part.is_number and _of_choices(part, masks) for part in sp.Mul.make_args(partial))


def _of_choices(expr: sp.Expr, masks: set[sp.Expr]) -> bool:
    if expr.is_number or expr in masks or _is_condition(expr) or expr.func is ops.sign or _is_choice(expr):
        return True
    return bool(expr.is_Add or expr.is_Mul or expr.is_Pow) and all(_of_choices(arg, masks) for arg in expr.args)


def _saturates(f: Formula, arg: int, partial: sp.Expr) -> str:
    """Return how a function saturates far out: FLAT, TAIL, or "" where it does not."""
    if f.expr.func in _FLAT:
        return FLAT
    if f.expr.func in (sp.log, ops.log1p):
        return ""
    own = placeholder(f.args.index(arg))
    below = (p for p in partial.atoms(sp.Pow) if p.exp.is_negative)
    return TAIL if f.expr.func is sp.atan or any(own in p.base.free_symbols for p in below) else ""
