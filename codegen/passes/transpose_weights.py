"""Transpose weights once, before the loop, where a product in the loop would read them by columns.

Example: U h of a step is, for the rows h of all samples, h Uᵀ. With UT = Uᵀ, computed once, it becomes UTᵀ h, which for all
samples is h UT, so that UT is read row by row.
"""

from __future__ import annotations

from symbptt.codegen.program.program import Program, rebuild
from symbptt.codegen.program.regions import LOOP, place
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, Product
from symbptt.ir.rewrite import copy_node


def turn(p: Program) -> Program:
    """Return the program in which each matrix-vector product in a loop that sums over the last axis of a weight reads
    the transposed weight."""
    # In a loop a weight is read once in each step. To transpose it before costs one copy of n² numbers in all, which
    # a product that runs once does not earn back: so only those of loops are looked at.
    places, varying = place(p).places, p.varying

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        if node.family != "contract" or not places.get(node.id, "").endswith(LOOP):
            return copy_node(g, node, args)
        (a, b), labels = args, node.attrs
        # Samples are the rows of x, so that W x is x Wᵀ for all of them.
        fixed = [arg not in varying and len(p.graph.shape(arg)) == 2 for arg in node.args]
        if fixed[0] and labels.a[1] in labels.b and labels.a[1] not in labels.out and not fixed[1]:
            return build.contract(g, build.transpose(g, a, (1, 0)), b, Product(labels.a[::-1], labels.b, labels.out))
        if fixed[1] and labels.b[1] in labels.a and labels.b[1] not in labels.out and not fixed[0]:
            return build.contract(g, a, build.transpose(g, b, (1, 0)), Product(labels.a, labels.b[::-1], labels.out))
        return copy_node(g, node, args)

    return rebuild(p, rewrite)
