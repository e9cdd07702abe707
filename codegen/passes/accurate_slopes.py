"""Let the backward sweep compute 1 - tanh² and 1 - σ from the argument of the function where its value has lost their
digits.

Near one a value y keeps few digits of 1 - y, and none from |a| = 19 (tanh) or a = 37 (σ) on in float64. So each such
remainder becomes a function of the value and of the argument, which is computed from the value and, where the result is
tiny, again from the argument. This stores nothing more: the argument is rematerialized from what the backward sweep has
anyway, and only where a block of steps has such elements. Remainders of parameters and contexts alone are computed once, and
from the argument only.

Example: of y = tanh(a), a = 20 the value rounds to 1, so that 1 - y² is 0 where the slope is 4 exp(-40) = 1.7e-17. The
coefficient dh * (1 - y²) becomes dh * remainder(y, a), where a = W h + x is computed again for the elements that need
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt import ops
from symbptt.autodiff.over_rounds import OverRounds
from symbptt.codegen.program.program import Program, renewed, traced
from symbptt.codegen.program.regions import NEAR, place
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.nesting import Nesting
from symbptt.ir.node import Node, View, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.rounds import graph_of, loop_of, made_in_rounds

REMAINING = frozenset(remaining for remaining, _ in ops.REMAINDERS.values())
"""The functions of a value and an argument that remainders are."""


@dataclass
class _Sharpening:
    """A program while the pass rebuilds it: new ids by old ones, and those of rematerialized values.

    `shown` is the program as equations show it; `timed` are the values that differ between steps, `there` those that the backward
    sweep has anyway, `plain` those that are no arrays, and `long` those that are stored because their formula would become long.
    """

    old: Program
    shown: Program
    there: set[int]
    plain: set[int]
    timed: set[int]
    long: set[int] = field(default_factory=set)
    graph: Graph = field(default_factory=Graph)
    new: dict[int, int] = field(default_factory=dict)
    again: dict[int, int] = field(default_factory=dict)
    origin: dict[int, tuple[int, ...]] = field(default_factory=dict)


def sharpen(p: Program) -> Program:
    """Return the program with each remainder of a saturating function as a function of the argument too."""
    g, places = p.graph, place(p).places
    # The forward sweep is left alone: a value that is read as a value has all its digits. What is lost is the
    # difference from one, and only derivatives read that.
    forward = set(g.ancestors(p.forward_roots))
    read = {arg for id in places if id not in forward for arg in g[id].args} & forward
    there, plain = read | _given(p), _numbers(p)
    made = _Sharpening(p, p.written or p, there, plain, p.timed)
    made.long |= _long(made)
    derivatives = _derivatives(g, p.needed) - forward
    for id in g.ancestors(p.needed):
        node = g[id]
        args = [made.new[arg] for arg in node.args]
        if id in derivatives and node.family == "map":
            near = places.get(id) in [f"backward {region}" for region in NEAR]
            made.new[id] = _sharpened(made, node, args, near)
        else:
            made.new[id] = copy_node(made.graph, node, tuple(args))
    for id, name in g.names.items():
        if id in made.new:
            made.graph.names.setdefault(made.new[id], name)
    q = renewed(p, made.graph, made.new)
    origin = traced(p, {new: (old,) for old, new in made.new.items()})
    return replace(q, written=made.shown, origin=origin | {id: olds for id, olds in made.origin.items() if olds})


def _derivatives(g: Graph, needed: Iterable[int]) -> set[int]:
    """Return the values that something else reads than an argument from which a remainder is computed: such an argument is one of
    the forward sweep, where a gradient inside the step may have 1 - tanh² as a value."""
    found, todo = set[int](), [*needed]
    while todo:
        node = g[todo.pop()]
        if node.id not in found:
            found.add(node.id)
            is_remainder = node.family == "map" and node.attrs.expr.func in REMAINING
            todo += node.args[:1] if is_remainder else node.args
    return found


def _given(p: Program) -> set[int]:
    """Return arguments and next states, which are stored whatever the backward sweep reads."""
    return {*p.leaves.values(), *p.next.values()}


def _long(made: _Sharpening) -> set[int]:
    """Return the values whose formulas over stored values, and over each other, are long.

    A value that is read twice stands twice in a formula, so that it would double with each round of a deep step.
    """
    g, found = made.old.graph, set[int]()
    # A formula is written into the line that reads it, and is evaluated only where a block has tiny elements; so its
    # length counts, not its time.
    held = made.plain | {id for id in made.there if not _is_arithmetic(made, g[id])}
    for id in Nesting(g, held).too_long():
        held.add(id)
        found.add(id)
    return found


def _numbers(p: Program) -> set[int]:
    """Return literals, sizes and constants and all that is computed from them, which are written as they are."""
    leaves = {p.leaves[a.name] for a in p.arguments if a.role == "const" and a.default is not None}
    found = set[int]()
    for node in p.graph:
        literal = node.family == "number" or (node.family == "leaf" and node.attrs.role in ("size", "eye"))
        if literal or node.id in leaves or (node.args and all(arg in found for arg in node.args)):
            found.add(node.id)
    return found


def _sharpened(made: _Sharpening, node: Node, args: list[int], near: bool) -> int:
    """Return a map with each remainder in it as a value of its own; that of what is the same at all steps is computed from the
    argument alone."""
    g = made.old.graph
    # The body is a formula over values by now: 1 - y² of y = tanh(a) may stand in it as a factor, or expanded and
    # with the terms of others.
    saturating = [i for i, arg in enumerate(node.args) if _saturates(made, arg, near)]
    names = {i: placeholder(len(args) + number) for number, i in enumerate(saturating)}
    bodies = {name: _remainder(g, node.args[i]).body(placeholder(i)) for i, name in names.items()}
    expr = taken_out(node.attrs.expr, bodies)
    if expr == node.attrs.expr:
        return copy_node(made.graph, node, tuple(args))
    at = {placeholder(i): arg for i, arg in enumerate(args)}
    at |= {name: _rest(made, node.args[i]) for i, name in names.items() if expr.has(name)}
    read = [symbol for symbol in at if symbol in expr.free_symbols]
    renamed = expr.xreplace({symbol: placeholder(number) for number, symbol in enumerate(read)})
    return build.map_(made.graph, renamed, [at[symbol] for symbol in read])


def _saturates(made: _Sharpening, id: int, near: bool) -> bool:
    """Answer whether a value is that of a function with a known remainder, at a place where the backward sweep may need
    it."""
    known = _function(made.old.graph, id) in ops.REMAINDERS and id not in made.plain
    return known and (near or id not in made.timed)


def _remainder(g: Graph, id: int) -> ops.Remainder:
    return ops.REMAINDERS[_function(g, id)][1]


def _rest(made: _Sharpening, id: int) -> int:
    """Return the remainder of a function, 1 minus its value or its square, as a value of its own."""
    remaining, remainder = ops.REMAINDERS[_function(made.old.graph, id)]
    argument = _argument(made, made.old.graph[id])
    if id in made.timed:
        # The remainder of what differs between steps takes the cheap way by the value, and the argument where digits are lost.
        found = build.map_(made.graph, remaining(placeholder(0), placeholder(1)), (made.new[id], argument))
    else:
        found = build.map_(made.graph, remainder.alone(placeholder(0)), (argument,))
    made.origin[found] = _shown(made.shown, made.old, id, remainder)
    return found


def taken_out(expr: sp.Expr, remainders: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    """Return an expression with remainders, 1 - y² or 1 - y, under their names, also where SymPy has expanded and added
    them: 0.3 - 0.3 y² is 0.3 times one, and 1.5 - y² - 0.5 z² is one and half of another.

    >>> a, y, z, r, s = sp.symbols("a y z r s")
    >>> taken_out(a * (0.3 - 0.3 * y**2) + y, {r: 1 - y**2})
    0.3*a*r + y
    >>> taken_out(1.5 - y**2 - 0.5 * z**2, {r: 1 - y**2, s: 1 - z**2})
    r + 0.5*s
    """
    lost = {name: 1 - remainder for name, remainder in remainders.items()}

    def renamed(part: sp.Expr) -> sp.Expr:
        factors = {name: -part.coeff(y) for name, y in lost.items()}
        factors = {name: factor for name, factor in factors.items() if factor.is_Number and factor != 0}
        # First all remainders at once, then each alone. The constant must equal the sum of the factors: only then does
        # the sum cancel where the values are near one.
        for some in (factors, *({name: factor} for name, factor in factors.items())):
            if some and _is_same(part.as_coeff_Add()[0], sum(some.values())):
                rest = part.as_coeff_Add()[1] + sum(factor * lost[name] for name, factor in some.items())
                return rest + sum(factor * name for name, factor in some.items())
        return part

    return expr.replace(lambda part: part.is_Add, renamed)


def _is_same(number: sp.Expr, other: sp.Expr) -> bool:
    """Answer whether two numbers differ by no more than the rounding of a few sums and products of floats."""
    return bool(abs(float(number - other)) <= 1e-14 * abs(float(other)))


def _shown(shown: Program, p: Program, id: int, remainder: ops.Remainder) -> tuple[int, ...]:
    """Return the remainder of the value of the function, among the values of the program as equations show it."""
    value = p.origin.get(id, ())[-1:] if p.written is not None else (id,)
    return tuple(build.map_(shown.graph, remainder.body(placeholder(0)), (old,)) for old in value)


def _function(g: Graph, id: int) -> object:
    """Return the function of one argument of which a value is the result, seen through views."""
    node = g[id]
    # Gates are often slices of one packed sum, whose function was taken of the whole: a view moves no element, so
    # that the argument may be viewed likewise.
    while node.family == "view" and node.attrs.kind in ("slice", "reshape", "transpose"):
        inner = g[node.args[0]]
        if inner.family == "rounds":
            return _function_in_rounds(inner, node)
        node = inner
    if node.family == "rounds":
        return _function_in_rounds(node, None)
    simple = node.family == "map" and len(node.args) == 1
    return node.attrs.expr.func if simple and node.attrs.expr.args == (placeholder(0),) else None


def _function_in_rounds(node: Node, view: Node | None) -> object:
    """Return the function of one argument of which a value of a loop inside a step is the result in all rounds; `view` are the
    rows that are read."""
    made = made_in_rounds(node, view)
    return None if made is None else _function(graph_of(node.attrs.inner), made)


def _argument(made: _Sharpening, node: Node) -> int:
    """Return the argument of a function once more, through the views in which its value is read."""
    source = made.old.graph[node.args[0]] if node.args else node
    if node.family == "rounds":
        return _argument_in_rounds(made, node, None)
    if node.family == "view" and source.family == "rounds":
        return _argument_in_rounds(made, source, node)
    if node.family != "view":
        return _again(made, node.args[0])
    inner = _argument(made, made.old.graph[node.args[0]])
    return copy_node(made.graph, node, (inner,))


def _argument_in_rounds(made: _Sharpening, node: Node, view: Node | None) -> int:
    """Return the argument of a function in the body of a loop, in all rounds at once."""
    id, own, loop = made_in_rounds(node, view), graph_of(node.attrs.inner), node.attrs
    assert id is not None and own[id].family == "map"
    args = [_again(made, arg) for arg in node.args]
    beside = (made.old.graph[other] for other in made.old.graph.readers(node.args[0]))
    kept = {n.attrs.out for n in beside if n.family == "rounds" and loop_of(n) == loop_of(node)}

    def values(out: int) -> int:
        return build.rounds(made.graph, [made.new[arg] for arg in node.args], replace(loop, out=out))

    def known(inner: int) -> tuple[int, bool] | None:
        if inner >= loop.carried and inner in kept:
            return values(inner), True
        if inner < loop.carried:
            return build.rows(made.graph, values(inner), 0, loop.count), True
        if inner < len(args):
            return args[inner], inner < loop.carried + loop.each
        return None

    return OverRounds(made.graph, own, loop.count, known).of(own[id].args[0])[0]


def _is_arithmetic(made: _Sharpening, node: Node) -> bool:
    """Answer whether a value is arithmetic of stored values, which is computed again rather than stored for a second
    reader."""
    if node.family != "map" or node.attrs.expr.atoms(sp.Function) or node.id in made.old.next.values():
        return False
    return all(arg in made.there or arg in made.plain for arg in node.args)


def _again(made: _Sharpening, id: int) -> int:
    """Return a value once more, computed from values that the backward sweep has anyway."""
    if id in made.plain:
        return made.new[id]
    if id not in made.again:
        node = made.old.graph[id]
        if id in made.long or (id in made.there and not _is_arithmetic(made, node)):
            # A reshape to its own shape moves no element; `again` keeps it apart from the value itself in the graph.
            shape = made.graph.shape(made.new[id])
            made.again[id] = made.graph.add("view", (made.new[id],), shape, View("reshape", again=True))
        else:
            made.again[id] = copy_node(made.graph, node, tuple(_again(made, arg) for arg in node.args))
    return made.again[id]
