"""Sums of the absolute values in each row of a step's Jacobian, bounded over an enclosure: the max-norm.

For example h' = z h + (1 − z) a(h) with |∂a/∂h| rows of at most q: Σ |∂h'/∂h| = z + (1 − z) q is affine in z, so that only
z = 0 and z = 1 are evaluated, and the bound is max(q, 1). Sums of the largest terms would give 1 + q, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbptt.ir.node import Node
from symbptt.stability.algebra.polynomials import Local, Normed, terms
from symbptt.stability.proofs.enclosure import Enclosure, einsum_of, is_unbounded, largest_within, rearranged


def row_sums(of: Local, within: Enclosure, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return for each next state bounds on Σ_j |∂s'_i/∂s_j| weight_j, over all states, of its shape.

    Gates that several terms share are taken together: z + (1 − z) a is at most max(1, a).
    """
    rows: dict[int, Any] = {}
    for id in of.graph.ancestors(of.step.next.values()):
        node = of.graph[id]
        if id in of.recurrent and node.family == "leaf":
            rows[id] = np.broadcast_to(weights[node.attrs.name], within.shape(node.shape))
        elif id in of.recurrent:
            rows[id] = _rows(of, within, node, rows)
    zero = {name: np.zeros(within.shape(of.graph.shape(id))) for name, id in of.step.next.items()}
    return {name: rows.get(id, zero[name]) for name, id in of.step.next.items()}


def _rows(of: Local, within: Enclosure, node: Node, rows: dict[int, Any]) -> Any:
    shape = within.shape(node.shape)
    match node.family:
        case "map" if node.id in of.softmaxes:
            known = of.softmaxes[node.id]
            inner = np.broadcast_to(rows[known.x], shape)
            # Row i of a softmax's Jacobian is y_i (1 − y_i) on the diagonal and −y_i y_j elsewhere; both parts sum to
            # y_i (1 − y_i) in size.
            return within.atoms[known.slope].size * (inner + inner.max(known.axes, keepdims=True, initial=0.0))
        case "map":
            normed = of.scaled.get(node.id)
            parts = terms(of, node.id) if normed is None else normed.parts
            found = largest_within(tuple(parts.values()), [rows[base] for base in parts], within) if parts else 0.0
            return np.broadcast_to(found if normed is None else np.minimum(found, _normed(within, normed, rows)), shape)
        case "contract":
            return _contract(of, within, node, rows)
        case "gather":
            # The index is not known here, so that any row of the table may be read, or written, all indices may be one.
            rank = len(of.graph.shape(node.args[1]))
            if node.attrs.kind == "scatter":
                once = rows[node.args[0]].sum(tuple(range(rank)))
                return np.broadcast_to(np.expand_dims(once, node.attrs.axis), shape)
            return np.broadcast_to(rows[node.args[0]].max(node.attrs.axis), shape)
    if is_unbounded(node):
        return np.full(shape, np.inf)
    own = [rows.get(arg, np.zeros(within.nodes[arg].lo.shape)) for arg in node.args]
    return rearranged(node, own, within.sizes)


def _normed(within: Enclosure, of: Normed, rows: dict[int, Any]) -> Any:
    """Return bounds on the row sums of |G (I − ρ â âᵀ)|, with one number for all entries that share a length."""
    known, slope = of.known, within.atoms[of.slope].size
    root = np.sqrt(float(within.shape((known.count,))[0])) * (1 + 1e-12)
    # A row i of I − â âᵀ sums to at most 1 − a² + a √(n − 1) √(1 − a²) with a = |â_i|, whose largest value over a is
    # (1 + √n)/2.
    turned = (1 + root) / 2 if known.is_projection else 1 + known.turns * root / 2
    # Slopes of an elementwise function that are not its quotients e(a)/a stand beside these.
    turned = known.slopes.largest * (turned if known.slopes.is_straight else 1 + known.turns * (1 + root) / 2)
    whole = rows[known.x].max(known.axes, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):
        # An unbounded slope times rows of zeros would be NaN; it is set to zero below.
        found = slope * turned * whole
    return np.where(whole == 0, 0.0, found)


def _contract(of: Local, within: Enclosure, node: Node, rows: dict[int, Any]) -> Any:
    p, (a, b), found = node.attrs, node.args, 0.0
    for arg, other, mine, theirs in ((a, b, p.a, p.b), (b, a, p.b, p.a)):
        if arg in of.recurrent:
            found = found + _product(einsum_of(theirs, mine, p.out), within.nodes[other].size, rows[arg])
    return found


def _product(spec: str, a: Any, b: Any) -> Any:
    """A product of sizes, without bound where an infinite one meets one that is not zero."""
    # einsum would turn 0 · ∞ into NaN, though an entry that is zero makes no path; infinities are counted apart.
    finite_a, finite_b = np.where(np.isinf(a), 0.0, a), np.where(np.isinf(b), 0.0, b)
    found = np.einsum(spec, finite_a, finite_b, optimize=True)
    if np.isinf(a).any() or np.isinf(b).any():
        lost = np.einsum(spec, np.isinf(a) * 1.0, (b > 0) * 1.0) + np.einsum(spec, (a > 0) * 1.0, np.isinf(b) * 1.0)
        return np.where(lost > 0, np.inf, found)
    return found
