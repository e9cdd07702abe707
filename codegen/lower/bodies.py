"""Composition of elementwise bodies: a formula inside another becomes part of its tree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cache

import sympy as sp

from symbptt.ir.scalar import Num, Ref, Sum, Tree, as_sympy, expanded, indices, parts_of, tree_of, with_parts

ZERO, ONE = Num(sp.S.Zero), Num(sp.S.One)
PLUS = Sum(((1, Ref(0)), (1, Ref(1))))
"""The body of a map that adds its two arguments."""


def number(value: complex) -> Tree:
    """Return a number as a tree, whose numbers have no signs: -0.0 is minus 0.0."""
    tree = tree_of(as_sympy(value))
    return Sum(((-1, tree),)) if value == 0 and math.copysign(1, value.real) < 0 else tree


def replaced(tree: Tree, part: Callable[[int], Tree]) -> Tree:
    """Return a tree with `part(i)` in place of each reference i."""
    if isinstance(tree, Ref):
        return part(tree.index)
    return with_parts(tree, (replaced(x, part) for x in parts_of(tree)))


@cache
def body_of(expr: sp.Expr) -> Tree:
    """Return the body of a map as a tree, in which functions declared by the user are expanded."""
    return tree_of(expanded(expr))


@cache
def uses(tree: Tree) -> Counter[int]:
    """Return how often a tree reads each of its arguments."""
    return Counter(indices(tree))
