"""Test for steps that are affine in their states: no perturbation ever meets a bound there, and growth is no chaos."""

from __future__ import annotations

from symbptt.autodiff.partials import VALUE, partials
from symbptt.ir.algebra import is_linear
from symbptt.ir.node import Node, placeholder
from symbptt.stability.algebra.polynomials import Local


def is_affine(of: Local) -> bool:
    """Return whether every next state is affine in all states together, for given inputs and parameters, by its formula."""
    wanted = of.graph.ancestors(of.step.next.values())
    return all(_keeps(of, of.graph[id]) for id in wanted if id in of.recurrent)


def _keeps(of: Local, node: Node) -> bool:
    """Answer whether a value is affine in those of its arguments that states enter."""
    carried = [i for i, arg in enumerate(node.args) if arg in of.recurrent]
    match node.family:
        case "map":
            read = {placeholder(i) for i in carried} | {VALUE}
            found = partials(node.attrs.expr, len(node.args))
            # The value is affine if no partial derivative reads the state, directly or through the function's own
            # value.
            return not any(found[i].free_symbols & read for i in carried) and not _chooses(of, node, carried)
        case "contract":
            # A product of two values that both depend on the state is quadratic in it, even if they are the same
            # value.
            return len(carried) == 1
        case "reduce":
            return bool(node.attrs.kind == "sum")
        case "algebra":
            return is_linear(node, carried)
        case "rounds" | "settled":
            return False
        case "gather":
            # The table may depend on the state, the index may not: a value read at another place is a jump.
            return carried == [0]
    return True


def _chooses(of: Local, node: Node, carried: list[int]) -> bool:
    """Answer whether a value jumps with a state: its derivative is zero there, but it is no constant."""
    found = partials(node.attrs.expr, len(node.args))
    return any(found[i] == 0 for i in carried)
