"""Digests of what a cell or a loss computes: of its traced step, not of the text in the user's file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy as sp

from symbptt.ir.node import Body, Node
from symbptt.ir.step import Argument, Step
from symbptt.language.cell import Cell
from symbptt.language.model import Loss


def digest_of_cell(cell: Cell | Loss) -> str:
    """Return 16 hexadecimal digits that change with the arguments, their defaults and the traced step of a cell or a loss.

    Names of local variables, comments and the file's place do not count; what helper functions and closures do counts.
    """
    return digest_of_text("\n".join(_lines(cell.looped if isinstance(cell, Cell) else cell.step)))


def digest_of_text(text: str) -> str:
    """Return the first 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def line_of_array(value: Any) -> str:
    """Return the type, the shape and a digest of the numbers of an array."""
    array = np.ascontiguousarray(value)
    # Little-endian bytes, so that machines of either byte order agree.
    array = array.astype(array.dtype.newbyteorder("<"))
    return f"{array.dtype.str} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def _lines(step: Step) -> Iterator[str]:
    g = step.graph
    kept = g.ancestors([*step.next.values(), *step.outputs.values(), *step.leaves.values()])
    # Ids depend on values that the step does not use; places among the used ones do not.
    number = {id: i for i, id in enumerate(kept)}
    yield from map(_of_argument, step.arguments)
    for id in kept:
        node = g[id]
        yield f"{node.family} {[number[arg] for arg in node.args]} {node.shape} {_of_attributes(node)}"
    for kind, found in (("leaf", step.leaves), ("next", step.next), ("output", step.outputs)):
        yield from (f"{kind} {name} {number[id]}" for name, id in found.items())


def _of_argument(a: Argument) -> str:
    default = "" if a.default is None else line_of_array(a.default)
    start = "" if a.start is None else f" {a.start if isinstance(a.start, str) else line_of_array(a.start)}"
    kind = " complex" if a.complex else ""
    return f"{a.role} {a.name} {a.shape} {a.limit} {default}{start}{kind}"


def _of_attributes(node: Node) -> str:
    if node.family == "leaf" and node.attrs.role in ("carried", "round"):
        return str(node.attrs.role)  # which one it is its place tells
    if not isinstance(node.attrs, Body):
        return repr(node.attrs)
    # srepr writes numbers in full; str would round floats.
    return " ".join([sp.srepr(node.attrs.expr), *_declared(node.attrs.expr)])


def _declared(expr: sp.Expr) -> list[str]:
    """Return the bodies and derivatives of the user's functions in an expression, which their names do not tell."""
    own = {f.func.__name__: f.func for f in expr.atoms(sp.Function) if hasattr(f.func, "expansion")}
    found = []
    for name in sorted(own):
        parts = own[name].expansion, *own[name].partials
        found += [f"{name} {[sp.srepr(part) for part in parts]}", *(line for part in parts for line in _declared(part))]
    return found
