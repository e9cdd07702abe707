"""The symbols that stand for the values of nodes in expressions."""

from __future__ import annotations

import sympy as sp


def symbol(id: int) -> sp.Symbol:
    """Return the atom that a node's own value is."""
    return sp.Symbol(f"v{id}", real=True)


def node_of(expr: sp.Expr) -> int | None:
    """Return the node whose value an expression is; None for other atoms, and for all that is no atom."""
    return int(expr.name[1:]) if expr.is_Symbol and expr.name.startswith("v") else None
