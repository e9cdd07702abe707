"""The normal form of expressions: as a textbook writes them."""

from __future__ import annotations

from symbptt.render.algebra import Expr


def in_normal_form(e: Expr) -> Expr:
    """Return an expression of the same value as a textbook writes it."""
    return e
