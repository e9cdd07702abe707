"""Derivatives of functions of matrices, in matrix form: adjoints from values to arguments, tangents the other way.

Source: Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation", section 2;
Murray 2016, "Differentiation of the Cholesky decomposition", equations 10 and 12; Van Loan 1978.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from symbptt.ir import build
from symbptt.ir.algebra import added, algebra, corner, inverse, product, scaled, turned
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Product, placeholder

Adjoint = Callable[[Graph, Node, int, Collection[int]], list[tuple[int, int]]]
Tangent = Callable[[Graph, Node, Sequence[int | None]], int | None]


def adjoints(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
    """Return what the adjoint `bar` of a function of matrices adds to its arguments, by these."""
    return ADJOINTS[node.attrs.name](g, node, bar, wanted)


def tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    """Return the change of a function of matrices for those of its arguments, which may have more leading axes than these, all of
    them the same; None is none, and None is returned where nothing changes."""
    return TANGENTS[node.attrs.name](g, node, changes)


def _solve_adjoint(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
    # X = A⁻¹ B: dB = A⁻ᵀ dX and dA = -dB Xᵀ. The same solve serves both.
    a, b = node.args
    given = algebra(g, "solve", turned(g, a), bar)
    found = [(b, given)] if b in wanted else []
    if a in wanted:
        outer = product(g, given, turned(g, node.id))
        found.append((a, build.map_(g, -placeholder(0), (outer,))))
    return found


def _cholesky_adjoint(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
    # S = L⁻ᵀ Φ(Lᵀ dL) L⁻¹, Φ the lower triangle with half its diagonal; NumPy reads that of A alone, so that dA = Φ(S + Sᵀ).
    back = turned(g, node.id)
    inner = algebra(g, "halved", product(g, back, algebra(g, "tril", bar)))
    left = algebra(g, "solve", back, inner)
    whole = turned(g, algebra(g, "solve", back, turned(g, left)))
    both = build.map_(g, placeholder(0) + placeholder(1), (whole, turned(g, whole)))
    return [(node.args[0], algebra(g, "halved", both))]


def _expm_adjoint(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
    # The adjoint of E -> L(A, E) is the same derivative at Aᵀ.
    return [(node.args[0], corner(g, turned(g, node.args[0]), bar))]


def _det_adjoint(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
    (a,) = node.args
    weight = build.map_(g, placeholder(0) * placeholder(1), (bar, node.id))
    return [(a, scaled(g, weight, turned(g, inverse(g, a))))]


def _logdet_adjoint(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
    (a,) = node.args
    return [(a, scaled(g, bar, turned(g, inverse(g, a))))]


def _linear_adjoint(name: str) -> Adjoint:
    def rule(g: Graph, node: Node, bar: int, wanted: Collection[int]) -> list[tuple[int, int]]:
        return [(node.args[0], algebra(g, name, bar))]

    return rule


ADJOINTS: dict[str, Adjoint] = {
    "solve": _solve_adjoint,
    "cholesky": _cholesky_adjoint,
    "expm": _expm_adjoint,
    "det": _det_adjoint,
    "logdet": _logdet_adjoint,
    "detsign": lambda g, node, bar, wanted: [],
    "tril": _linear_adjoint("tril"),
    "halved": _linear_adjoint("halved"),
    "diag": _linear_adjoint("diagonal"),
    "diagonal": _linear_adjoint("diag"),
}


def _like(g: Graph, value: int, change: int, own: int = 2) -> int:
    """Return a value repeated along the leading axes that a change of it, or of a value beside it, has more; `own` are the axes of
    the change that are no leading ones."""
    shape = g.shape(value)
    lead = g.shape(change)[: len(g.shape(change)) - own]
    return build.expand(g, value, (*lead, *shape[len(shape) - 2 :]))


def _solve_tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    # dX = A⁻¹ (dB - dA X).
    of_a, of_b = changes
    parts = [] if of_b is None else [of_b]
    if of_a is not None:
        through = product(g, of_a, _like(g, node.id, of_a))
        parts.append(build.map_(g, -placeholder(0), (through,)))
    if not parts:
        return None
    right = added(g, parts)
    return algebra(g, "solve", _like(g, node.args[0], right), right)


def _cholesky_tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    # dL = L Φ(L⁻¹ dA L⁻ᵀ), with the symmetric dA whose lower triangle is the one that NumPy reads.
    (change,) = changes
    if change is None:
        return None
    half = algebra(g, "halved", change)
    whole = build.map_(g, placeholder(0) + placeholder(1), (half, turned(g, half)))
    factor = _like(g, node.id, change)
    left = algebra(g, "solve", factor, whole)
    inner = algebra(g, "solve", factor, turned(g, left))
    return product(g, factor, algebra(g, "halved", turned(g, inner)))


def _expm_tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    (change,) = changes
    return None if change is None else corner(g, _like(g, node.args[0], change), change)


def _logdet_tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    # d log|det A| = tr(A⁻¹ dA).
    (change,) = changes
    if change is None:
        return None
    lead = tuple(range(len(g.shape(change)) - 2))
    i, j = len(lead), len(lead) + 1
    back = _like(g, inverse(g, node.args[0]), change)
    return build.contract(g, back, change, Product((*lead, j, i), (*lead, i, j), lead))


def _det_tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    inner = _logdet_tangent(g, node, changes)
    return None if inner is None else build.map_(g, placeholder(0) * placeholder(1), (node.id, inner))


def _linear_tangent(g: Graph, node: Node, changes: Sequence[int | None]) -> int | None:
    (change,) = changes
    return None if change is None else algebra(g, node.attrs.name, change)


TANGENTS: dict[str, Tangent] = {
    "solve": _solve_tangent,
    "cholesky": _cholesky_tangent,
    "expm": _expm_tangent,
    "det": _det_tangent,
    "logdet": _logdet_tangent,
    "detsign": lambda g, node, changes: None,
    **dict.fromkeys(("tril", "halved", "diag", "diagonal"), _linear_tangent),
}
