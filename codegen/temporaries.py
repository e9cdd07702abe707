"""What is held while a value of all steps is computed by an expression: NumPy's temporaries, counted as Python makes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import sympy as sp

from symbptt.codegen.elementwise import OPERATORS
from symbptt.codegen.passes.place import AFTER
from symbptt.codegen.variables import Module
from symbptt.ir.node import Node
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, expanded, indices, tree_of
from symbptt.ir.shape import Size, broadcast, prod, size

VIEWS = ("reshape", "expand", "slice", "transpose", "broadcast")
LARGE = 2**18
"""Bytes from which on NumPy writes the result of an operator into an operand that nothing else reads."""


@dataclass(frozen=True)
class Held:
    """Numbers for each step and sample: the most while something is computed, and what stays of it."""

    peak: Size
    kept: Size


def size_of(m: Module, id: int) -> Size:
    """Return the numbers of a value."""
    return prod(m.program.graph.shape(id))


def owns(m: Module, id: int, varying: bool = True) -> bool:
    """Answer whether a value has an array of its own."""
    node = m.program.graph[id]
    view = node.family == "view" and node.attrs.kind in VIEWS
    return (id in m.varying or not varying) and node.family != "leaf" and id not in m.aliases and not view


def written(m: Module, id: int, large: bool) -> Held:
    """Return what is held while a value is computed, itself among it; `large`: its arrays have at least LARGE bytes."""
    node = m.program.graph[id]
    if node.family == "map" and id in m.varying:
        return _body(m, node, tree_of(expanded(node.attrs.expr)), large)
    parts = _in_turn([written(m, arg, large) for arg in _inline(m, id)])
    if id not in m.varying:  # a sum over all steps
        return Held(most([parts.peak, parts.kept + _turned(m, id)]), 0)
    if not owns(m, id):
        return parts
    own = size_of(m, id)
    return Held(most([parts.peak, parts.kept + own]), own)


def _in_turn(parts: Iterable[Held]) -> Held:
    """Things computed one after the other, all of which stay."""
    return reduce(lambda a, b: Held(most([a.peak, a.kept + b.peak]), size(a.kept + b.kept)), parts, Held(0, 0))


def _body(m: Module, node: Node, tree: Tree, large: bool) -> Held:
    """A part of an elementwise formula."""
    of = lambda part: _body(m, node, part, large)  # noqa: E731
    own = _extent(m, node, tree)
    match tree:
        case Num():
            return Held(0, 0)
        case Ref(index):
            arg = node.args[index]
            return written(m, arg, large) if arg in _inline(m, node.id) else Held(0, 0)
        case Sum(terms):
            found = of(terms[0][1])
            found = found if terms[0][0] > 0 or not own else _operation([found], own, False)
            return _chain(m, node, found, [term for _, term in terms[1:]], terms[0][1], large)
        case Prod(factors, divisors):
            return _chain(m, node, of(factors[0]), [*factors[1:], *divisors], factors[0], large)
        case Power(base, exponent):
            return _operation([of(base), of(exponent)], own, large)
        case Call("sigmoid", args):
            negative = _operation([of(args[0])], own, False)
            return Held(most([negative.peak, 2 * own]), own)
        case Call(name, args):
            return _operation([of(arg) for arg in args], 0 if name in OPERATORS else own, False)
    raise AssertionError(tree)


def _chain(m: Module, node: Node, found: Held, rest: Iterable[Tree], first: Tree, large: bool) -> Held:
    """Operands that are taken one after the other, from left to right."""
    read = first
    for part in rest:
        read = Sum(((1, read), (1, part)))
        found = _operation([found, _body(m, node, part, large)], _extent(m, node, read), large)
    return found


def _operation(operands: list[Held], own: Size, in_place: bool) -> Held:
    """One operation on operands that it lets go of; it may write into one of them that is as large as its result."""
    parts = _in_turn(operands)
    if in_place and any(part.kept == own for part in operands):
        return Held(parts.peak, own)
    return Held(most([parts.peak, parts.kept + own]), own)


def _extent(m: Module, node: Node, tree: Tree) -> Size:
    """The numbers of a part of a formula; none where it does not differ between samples."""
    args = [node.args[i] for i in indices(tree) if node.args[i] in m.varying]
    return prod(broadcast(*(m.program.graph.shape(arg) for arg in args))) if args else 0


def _inline(m: Module, id: int) -> list[int]:
    """The values of all steps that are computed within the formula of a value; a sum of products is one product."""
    g = m.program.graph
    late = lambda arg: arg in m.varying or m.place(arg).endswith(AFTER)  # noqa: E731
    found = [arg for arg in g[id].args if arg not in m.variables and late(arg) and g[arg].family != "leaf"]
    if g[id].family == "total":
        fused = [arg for arg in found if g[arg].family == "contract" or _is_scatter(g[arg])]
        return [inner for arg in found for inner in (_inline(m, arg) if arg in fused else [arg])]
    return found


def _turned(m: Module, id: int) -> Size:
    """The numbers of copies that a product summed over all steps makes of operands whose axes lie in another order."""
    g = m.program.graph
    products = [g[arg] for arg in g[id].args if g[arg].family == "contract" and arg not in m.variables]
    found: Size = 0
    for node in products:
        for arg, labels in zip(node.args, (node.attrs.a, node.attrs.b), strict=True):
            stays = [label in node.attrs.out for label in labels]
            found += 0 if stays == sorted(stays) else size_of(m, arg)
    return size(found)


def _is_scatter(node: Node) -> bool:
    return node.family == "gather" and node.attrs.kind == "scatter"


def most(alternatives: Iterable[Size]) -> Size:
    """Return the greatest of some numbers, as if all named sizes were large and equal."""
    return max(alternatives, key=lambda x: sp.sympify(x).subs(dict.fromkeys(sp.sympify(x).free_symbols, 97)))
