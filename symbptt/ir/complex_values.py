"""Which values of a graph are complex numbers: one rule for each family, from the values that a node reads."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import sympy as sp

from symbptt import ops
from symbptt.ir.node import Body, Node, placeholder


def is_complex_node(node: Node, known: Collection[int]) -> bool:
    """Answer whether the entries of a value are complex numbers; `known` are the values before it that are."""
    match node.family:
        case "leaf":
            return bool(node.attrs.complex)
        case "number":
            value = node.attrs.value
            return any(isinstance(item, complex) for item in (value if isinstance(value, tuple) else (value,)))
        case "map" if isinstance(node.attrs, Body):
            return is_complex_body(node.attrs.expr, frozenset(i for i, arg in enumerate(node.args) if arg in known))
        case "rounds":
            return is_complex_inside(node, known)
    return any(arg in known for arg in node.args)


def is_complex_inside(node: Node, known: Collection[int]) -> bool:
    """Answer whether what a body of a loop makes in each round is a complex number."""
    inside: set[int] = set()
    for own in node.attrs.inner.nodes:
        if is_complex_node(own, inside):
            inside.add(own.id)
    return node.attrs.out in inside


@cache
def is_complex_body(expr: sp.Expr, of: frozenset[int]) -> bool:
    """Answer whether a body is a complex number where the arguments of these indices are."""
    if not of and not expr.has(sp.I, ops.as_complex):
        return False
    if expr.is_Symbol:
        return any(expr == placeholder(i) for i in of)
    if expr.func in ops.REAL_VALUED or getattr(expr.func, "boolean", False):
        return False
    if expr.func in (ops.conj, ops.as_complex):
        return True
    parts = expr.args[expr.func is ops.where :]
    return any(is_complex_body(part, of) for part in parts) if parts else expr is sp.I
