"""Fixed points in the unrolled computation: what their equations read, and their implicit derivatives.

Of z = f(z, c) the graph has one node for z, which reads what f reads beside z, and one for λ = dz + (∂f/∂z)ᵀ λ, the adjoint that comes
to the equation. What stands between z and itself in the equation has no way into these two, or the graph would have a circle: of
a = U z + x, z = tanh(a), λ = dz + Uᵀ da, da = λ ⊙ (1 - z²)

    z reads U and x,    a reads U, z and x,    λ reads dz, U and z,    da reads λ and z.

The derivative of z by x is (I - ∂f/∂z)⁻¹ ∂f/∂x, that of λ by dz is (I - (∂f/∂z)ᵀ)⁻¹, by the implicit function theorem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from symbptt.autodiff.bptt import Recursion
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.rounds import loops_of, next_values


@dataclass(frozen=True)
class Equation:
    """The equations that some values solve together: of each value its node, the leaf that stands for it inside of them, the leaf of
    the fixed point that it is, or whose adjoint it is, and what is added up in its own. `turned` where they are those of adjoints."""

    values: tuple[int, ...]
    leaves: tuple[int, ...]
    points: tuple[int, ...]
    sides: tuple[tuple[int, ...], ...]
    inside: frozenset[int]
    turned: bool

    def reached(self, g: Graph, i: int) -> list[int]:
        """Return which values a value depends on by way of the equations, itself first."""
        found = [i]
        for k in found:
            read = {*g.ancestors(self.sides[k])}
            found += [n for n, leaf in enumerate(self.leaves) if leaf in read and n not in found]
        return found


def equations_of_points(r: Recursion) -> dict[int, Equation]:
    """Return the equations of the fixed points of a recursion and of their adjoints, by each of the values that solve them."""
    found: dict[int, Equation] = {}
    for node in loops_of(r.graph, "point"):
        for equation in _equations(r, node):
            found |= dict.fromkeys(equation.values, equation)
    return found


def _equations(r: Recursion, node: Node) -> Iterator[Equation]:
    g, pairs = r.graph, list(next_values(node))
    points = {n.attrs.out: n.id for n in g if n.family == "point" and n.args == node.args}
    leaves = [leaf for leaf, _ in pairs]
    # A value that nothing reads has no node: inside of the equations it is its leaf.
    yield _closed(
        g, [points.get(i, leaf) for i, leaf in enumerate(leaves)], leaves, leaves, [[new] for _, new in pairs]
    )
    bars = [(i, r.adjoint[new]) for i, (_, new) in enumerate(pairs) if new in r.adjoint]
    sides = [[r.adjoint[id] for id in (points.get(i), leaves[i]) if id in r.adjoint] for i, _ in bars]
    if bars:
        own = [bar for _, bar in bars]
        yield replace(_closed(g, own, own, [leaves[i] for i, _ in bars], sides), turned=True)


def _closed(
    g: Graph, values: Sequence[int], leaves: Sequence[int], points: Sequence[int], sides: Sequence[Sequence[int]]
) -> Equation:
    read = g.ancestors([id for side in sides for id in side])
    inside = g.descendants(leaves) & {*read} - {*leaves}
    return Equation(tuple(values), tuple(leaves), tuple(points), tuple(map(tuple, sides)), frozenset(inside), False)


def implicit(row: str, points: Sequence[str], changes: Sequence[str], *, turned: bool, is_number: bool) -> str:
    """Return the derivative of the first of some values that settle together, or with `turned` of its adjoint, as text: the inverse of
    I - ∂f/∂z times how the right sides change. `row` is the symbol of that value, `points` are those of the fixed points."""
    of = points[0] if len(points) == 1 else f"({'; '.join(points)})"
    slope = f"(∂f/∂{of})ᵀ" if turned else f"∂f/∂{of}"
    inverse = f"({'1' if is_number else 'I'} - {slope})⁻¹"
    if len(points) == 1:
        return f"{inverse} ({changes[0]})"
    return f"row {row} of {inverse} ({'; '.join(changes)})"
