"""Merge adjacent slices of one value, and products of a transpose, which other passes took apart and left as they are.

Example: [W[:n]; W[n:2n]] becomes W[:2n], a view, and (Wᵀ) x becomes the product of W and x that sums over the first axis of W.
"""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.codegen.program.program import Program, rebuild
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Product
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import size


def tidy(p: Program) -> Program:
    """Return the program with adjacent slices of one value as one slice, and products of transposes as products."""
    # Passes that take products apart leave W[:n] and W[n:2n] next to each other where no block was used by itself.
    # Put together they are one view again, so that a spelling which gains nothing costs nothing.
    varying = p.varying

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        if node.id in p.joined:
            return copy_node(g, node, args)
        if node.family == "view" and node.attrs.kind == "concatenate":
            return _side_by_side(g, args, node.attrs.data[0])
        if node.family == "contract" and not any(arg in varying and len(g.shape(arg)) > 1 for arg in args):
            return _of_transposes(g, node, args)
        return copy_node(g, node, args)

    return rebuild(p, rewrite)


def _side_by_side(g: Graph, parts: Sequence[int], axis: int) -> int:
    found = [parts[0]]
    for part in parts[1:]:
        both = _adjacent(g, g[found[-1]], g[part], axis)
        if both is None:
            found.append(part)
        else:
            found[-1] = both
    return build.concatenate(g, found, axis)


def _adjacent(g: Graph, a: Node, b: Node, axis: int) -> int | None:
    """Return two slices of one value as one where the second begins at the end of the first, else None."""
    if any(node.family != "view" or node.attrs.kind != "slice" for node in (a, b)) or a.args != b.args:
        return None
    (start, length, step), (next_start, next_length, next_step) = a.attrs.data[axis], b.attrs.data[axis]
    others = [spans[:axis] + spans[axis + 1 :] for spans in (a.attrs.data, b.attrs.data)]
    if (step, next_step) != (1, 1) or next_start != size(start + length) or others[0] != others[1]:
        return None
    both = (start, size(length + next_length), 1)
    return build.cut(g, a.args[0], [*a.attrs.data[:axis], both, *a.attrs.data[axis + 1 :]])


def _of_transposes(g: Graph, node: Node, args: tuple[int, ...]) -> int:
    ids, labels = list(args), [node.attrs.a, node.attrs.b]
    for i, arg in enumerate(args):
        inner = g[arg]
        if inner.family == "view" and inner.attrs.kind == "transpose":
            order = inner.attrs.data
            ids[i] = inner.args[0]
            # A product of a transpose is the product of the original with its labels in another order.
            labels[i] = tuple(labels[i][order.index(axis)] for axis in range(len(order)))
    return build.contract(g, ids[0], ids[1], Product(labels[0], labels[1], node.attrs.out))
