"""The partition of nodes into values of their own and arithmetic inside the formula of another value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from symbptt.autodiff.partials import in_decimals, partials
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.range import OVERFLOW, Ranges
from symbptt.ir.scalar import as_sympy


@dataclass(frozen=True)
class Formula:
    """A map as one expression over the values that it reads: `expr` over placeholders, `args` the values."""

    expr: sp.Expr
    args: tuple[int, ...]


def is_function(node: Node) -> bool:
    """Answer whether a node applies a function, rather than arithmetic, to its arguments."""
    if node.family in ("whole", "convolution"):
        return True
    return node.family == "map" and bool(
        node.attrs.expr.is_Function or (node.attrs.expr.is_Pow and not node.attrs.expr.exp.is_Integer)
    )


def values(g: Graph, roots: Iterable[int]) -> set[int]:
    """Return the nodes that are values: named, read more than once, functions of others, all that is no arithmetic; and
    divisors that grow faster than exponentials which they are made of."""
    roots = list(roots)
    ids = g.ancestors(roots)
    consumers = g.consumers(ids)
    kept = {id for id in ids if id in roots or not _is_inside(g, id, consumers[id])}
    ranges = Ranges(g)
    return kept | {id for id in ids if id not in kept and _outgrows(g, id, consumers[id][0], kept, ranges)}


def _is_inside(g: Graph, id: int, consumers: list[int]) -> bool:
    node = g[id]
    if id in g.names or node.family != "map" or is_function(node) or len(consumers) != 1:
        return False
    reader = g[consumers[0]]
    # A reader of another shape broadcasts: inlining would compute the value once for each copy.
    return reader.family == "map" and not is_function(reader) and reader.shape == node.shape


def _outgrows(g: Graph, id: int, reader: int, kept: set[int], ranges: Ranges) -> bool:
    """Answer whether a divisor has a derivative that overflows as it does itself: that of 1 / (1 + e * e) is -2 e / (1 + e * e)²,
    infinite over infinite, where -1 / s² times 2 e, one after the other, has a zero first."""
    symbol = placeholder(g[reader].args.index(id))
    below = (p for p in g[reader].attrs.expr.atoms(sp.Pow) if p.exp.is_negative)
    if not any(symbol in p.base.free_symbols for p in below) or OVERFLOW not in ranges.hazards(id):
        return False
    f = formula(g, id, kept)
    if not f.expr.has(sp.Add):
        return False  # of a product SymPy cancels what is above with what is below
    read = {placeholder(i): arg for i, arg in enumerate(f.args)}
    return any(OVERFLOW in ranges.of_expression(part, read)[1] for part in partials(f.expr, len(f.args)))


def formula(g: Graph, id: int, kept: set[int]) -> Formula:
    """Return the formula of a map over values, its arguments in the user's order."""
    args: dict[int, int] = {}
    numbers: set[sp.Expr] = set()
    expr = _expression(g, id, kept, args, numbers, top=True)
    return Formula(in_decimals(expr, numbers), tuple(args))


def _expression(
    g: Graph, id: int, kept: set[int], args: dict[int, int], numbers: set[sp.Expr], top: bool = False
) -> sp.Expr:
    """Return a value over those that are `kept`, which become `args`; `numbers` are those that the user gave."""
    node = g[id]
    if node.family == "number" and not node.shape:
        number = as_sympy(node.attrs.value)
        numbers.add(number)
        return number
    if id in kept and not top:
        return placeholder(args.setdefault(id, len(args)))
    parts = {placeholder(i): _expression(g, arg, kept, args, numbers) for i, arg in enumerate(node.args)}
    return node.attrs.expr.xreplace(parts)
