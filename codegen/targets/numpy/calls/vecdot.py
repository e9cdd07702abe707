"""The sum of an elementwise product over last axes as one call, without an array of the product."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from symbptt.codegen.targets.numpy.calls.sheet import Operand, Sheet
from symbptt.codegen.targets.numpy.calls.three_address import computed, put, shape_of
from symbptt.codegen.targets.numpy.text import size_text
from symbptt.ir.node import Node
from symbptt.ir.scalar import Num, Power, Prod, Tree, expanded, indices, tree_of
from symbptt.ir.shape import Shape, prod


def factors(node: Node, reduced: Node) -> tuple[Tree, Tree] | None:
    """Return the two factors whose product `node` is, where `reduced` is its sum over its last axes, else None."""
    count = len(reduced.attrs.axes)
    last = tuple(range(len(node.shape) - count, len(node.shape)))
    if reduced.attrs.kind != "sum" or node.family != "map" or tuple(sorted(reduced.attrs.axes)) != last:
        return None
    match tree_of(expanded(node.attrs.expr)):
        case Power(base, exponent) if exponent == Num(sp.Integer(2)):
            return base, base
        case Prod((first, second), ()):
            return first, second
        # Of three factors or more the first ones are multiplied before, so that the call has two.
        case Prod((*rest, final), ()) if rest:
            return Prod(tuple(rest), ()), final
    return None


def inner_product(
    sheet: Sheet, pair: tuple[Tree, Tree], parts: Sequence[Operand], shape: Shape, node: Node, out: Operand | None
) -> Operand | None:
    """Return the sum of the product of a pair over the last axes of `shape`, or None where one factor broadcasts over
    the other."""
    if any(shape_of(tree, parts) != shape or not any(parts[i].lead for i in indices(tree)) for tree in pair):
        return None
    # `vecdot` of truth values would be a truth value.
    if any(parts[i].kind != "dtype" for tree in pair for i in indices(tree)):
        return None
    count = len(node.attrs.axes)
    # A square has one factor, which is computed once.
    found, behind = computed(sheet, pair[:1] if pair[0] == pair[1] else pair, parts)
    rows = [_flat(sheet, o, shape, count) for o in found]
    target = out or sheet.room(node.shape)
    sheet.call(f"np.vecdot({rows[0].text}, {rows[-1].text}, out={target.text})")
    sheet.free([*rows, *behind])
    return target


def _flat(sheet: Sheet, o: Operand, shape: Shape, count: int) -> Operand:
    """Return an operand with its last axes merged into one."""
    if count == 1:
        return o
    if not (o.solid or o.settled):
        o = put(sheet, o, sheet.room(shape))
    own = (*shape[:-count], prod(shape[-count:]))
    text = ", ".join([*sheet.axes(o), *(size_text(item, sheet.module.sizes) for item in own)])
    return sheet.view(o, f"{o.whole}.reshape({text})", own, solid=True)
