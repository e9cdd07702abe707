"""Functions of arrays on a page: written by their names, a norm between bars, over all of an array or along its axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy as sp

from symbptt.equations.algebra.expressions import (
    Along,
    Call,
    Entries,
    Entry,
    Expr,
    Index,
    Number,
    Over,
    Power,
    normal,
    plus,
)
from symbptt.ir.node import Convolution, Node
from symbptt.ir.shape import Shape

NAMES = {"log_softmax": "logsoftmax", "logsumexp": "lse", "layer_norm": "LN", "rms_norm": "RN"}
"""The names of functions on a page, where they differ from those in code."""
ALONG = {(0,): "columns", (1,): "rows"}
"""The range of a function of a matrix, by the axis that it goes along."""

CONVOLUTIONS = {"z": "∗", "x": "∗ᵀ", "w": "⋆"}
"""The signs of the three functions of a sum over windows; the second and every further convolution of a page has its number behind
its sign."""

Named = Callable[[str, Expr, Sequence[Expr], bool], Expr]
"""(name, array, numbers, whether the axes stay) -> the function of the array."""


def in_matrices(node: Node, x: Expr, numbers: Sequence[Expr], shape: Shape) -> Expr:
    """Return a function of a number, a vector or a matrix; `shape` is that of the array."""
    axes = node.attrs.axes
    over = "" if all(i in axes or size == 1 for i, size in enumerate(shape)) else f"_{ALONG[axes]}"

    def named(name: str, of: Expr, values: Sequence[Expr], stays: bool) -> Expr:
        return Call(name + over, (of, *values), normal(shape if stays else node.shape))

    return _formula(node, x, numbers, named, bool(over))


def by_entries(node: Node, x: Expr, numbers: Sequence[Expr], indices: tuple[Index, ...], at: tuple[Expr, ...]) -> Expr:
    """Return an entry of a function along named indices of `x`; where the axes stay, it is the one `at` others."""

    def named(name: str, of: Expr, values: Sequence[Expr], stays: bool) -> Expr:
        return Along(name, indices, (of, *values), at if stays else ())

    return _formula(node, x, numbers, named, True)


def convolved(node: Node, a: Expr, b: Expr) -> Expr:
    """Return one of the three functions of a sum over windows, of two arrays."""
    return Call(sign_of_convolution(node.attrs), (_array(a), _array(b)), normal(node.shape))


def _array(e: Expr) -> Expr:
    """Return the array with the entries of an array as that array."""
    if not isinstance(e, Entries) or not isinstance(e.inner, Entry) or e.inner.indices != e.indices:
        return e
    return e.inner.array if e.inner.array.shape == e.of else e


def sign_of_convolution(of: Convolution) -> str:
    """Return the sign by which a page shows one of the three functions of a sum over windows."""
    return CONVOLUTIONS[of.result] + (str(of.number) if of.number > 1 else "")


def _formula(node: Node, x: Expr, numbers: Sequence[Expr], named: Named, is_part: bool) -> Expr:
    """Return a function by its name; what is the root of another with a number added, as that."""
    name = NAMES.get(node.attrs.name, node.attrs.name)
    square = Number(sp.Integer(2))
    match name:
        case "smooth_norm":
            # √(‖x‖² + ε), √(var x + ε), √(mean x² + ε): each is written by the function that a reader knows.
            return _root(Power(named("norm", x, (), False), square), numbers)
        case "deviation":
            return _root(named("var", x, (), False), numbers)
        case "rms":
            return _root(named("mean", Power(x, square), (), False), numbers)
        case "unit" if not is_part:
            return Over(x, named("norm", x, (), False))
    return named(name, x, numbers, node.attrs.stays)


def _root(inside: Expr, numbers: Sequence[Expr]) -> Expr:
    return Call("sqrt", (plus([(1, inside), *((1, number) for number in numbers)]),))
