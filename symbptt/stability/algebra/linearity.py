"""Whether a step is affine in its states: then no perturbation ever meets a bound, and growth is no chaos."""

from __future__ import annotations

from symbptt.autodiff.partials import VALUE, partials
from symbptt.ir.node import Node, placeholder
from symbptt.stability.algebra.polynomials import Local


def is_affine(of: Local) -> bool:
    """Return whether every next state is affine in all states together, for given inputs and parameters, by its formula."""
    wanted = of.graph.ancestors(of.step.next.values())
    return all(_keeps(of, of.graph[id]) for id in wanted if id in of.recurrent)


def _keeps(of: Local, node: Node) -> bool:
    """Whether a value is affine in the values that it reads and states enter."""
    carried = [i for i, arg in enumerate(node.args) if arg in of.recurrent]
    match node.family:
        case "map":
            read = {placeholder(i) for i in carried} | {VALUE}
            found = partials(node.attrs.expr, len(node.args))
            return not any(found[i].free_symbols & read for i in carried) and not _chooses(of, node, carried)
        case "contract":
            return len(carried) == 1
        case "reduce":
            return bool(node.attrs.kind == "sum")
        case "gather":
            return carried == [0]
    return True


def _chooses(of: Local, node: Node, carried: list[int]) -> bool:
    """Whether a value jumps with a state: its derivative is zero there, but it is no constant."""
    found = partials(node.attrs.expr, len(node.args))
    return any(found[i] == 0 for i in carried)
