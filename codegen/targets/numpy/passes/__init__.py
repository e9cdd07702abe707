"""Passes from function to function of the loop IR, in the order in which they run: behind them each statement of a loop is
one call of NumPy."""

from symbptt.codegen.loop_ir.in_place import in_place
from symbptt.codegen.loop_ir.nodes import Function
from symbptt.codegen.memory.workspace import shared
from symbptt.codegen.targets.numpy.passes.inner_products import inner_products
from symbptt.codegen.targets.numpy.passes.own_bases import own_bases
from symbptt.codegen.targets.numpy.passes.own_parts import own_parts
from symbptt.codegen.targets.numpy.passes.straight import straight
from symbptt.codegen.targets.numpy.passes.temporaries import numbered
from symbptt.codegen.targets.numpy.passes.three_address import three_address
from symbptt.codegen.targets.numpy.passes.unmarked import unmarked

PASSES = (
    unmarked,
    inner_products,  # before maps are merged or split: it looks for a product that nothing but a sum reads
    in_place,  # before maps are split, so that a product is written where its map writes
    three_address,
    in_place,  # again: parts of a map are computed where the map writes
    straight,  # when products have their places: operands that no matrix product could read are copied
    own_parts,
    shared,  # it only gives temporaries one buffer
    numbered,  # last: those that are left are counted anew
)


def ready(f: Function) -> Function:
    """Return a function as it is printed."""
    for step in PASSES:
        f = step(f)
    return f


def as_expressions(f: Function) -> Function:
    """Return a function without loops as it is printed where it shall have few lines: a value is an expression of those that one
    other reads, not written in place of it."""
    for step in (own_bases, *(step for step in PASSES if step is not in_place)):
        f = step(f)
    return f
