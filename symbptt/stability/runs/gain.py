"""The recurrent weights of a cell, found from its graph, and their gain: one factor on all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import networkx as nx
import numpy as np

from symbptt.checks import check_mapping, named
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.rounds import with_few_rounds
from symbptt.ir.step import Step
from symbptt.language.cell import Cell
from symbptt.language.custom_function import evaluate

PROBES = np.random.default_rng(0).standard_normal((8, 64))
"""Points at which elementwise functions are asked whether they are homogeneous: rows for arguments."""


def recurrent_weights(cell: Cell) -> tuple[str, ...]:
    """Return the names of the parameters that multiply a state on its way back to itself, in argument order.

    A weight counts where it stands linearly in a product, elementwise or over axes, whose other factor carries the state:
    the U of U h, of U (r ⊙ h), of (U − Uᵀ) h. Of several in a row, as in U (V h), the first alone, so that a factor on the
    weights is one factor on their product. Input weights, readouts, gate biases, time constants and weights from one layer
    of a stack to the next lie on no such way; a constant counts where it has no default, so that `init` draws it. Weights
    whose length has no influence, as those of Householder reflections, do not count; a weight of [x; h] counts whole.

    Raises: ArgumentError for what is no cell.
    """
    if not isinstance(cell, Cell):
        raise ArgumentError(f"recurrent weights are those of a cell, got {type(cell).__name__}\n  give model.cell")
    cell.check_real()
    # Two rounds: what one makes of the state enters the products of the next.
    step = cell.step if cell.has_numbers_of_rounds else with_few_rounds(cell.looped, 2)
    found = {name for names in _multipliers(step) for name in names}
    return tuple(a.name for a in cell.arguments if a.name in found and _has_length(step, a.name))


def with_gain(cell: Cell, params: Mapping[str, Any], gain: float) -> dict[str, Any]:
    """Return parameters with the recurrent weights multiplied by `gain`, in their own type; the others as they are.

    Raises: ArgumentError for a gain that is not a finite number, for a gain but 1 of a cell without recurrent weights, and where
    one of these is missing.
    """
    names = recurrent_weights(cell)
    check_mapping("params", params, f"sb.with_gain({cell.name}, {cell.name}.init(...), 1.5)")
    params = named(params)
    if not (isinstance(gain, int | float | np.number) and not isinstance(gain, bool) and np.isfinite(gain)):
        raise ArgumentError(three_lines(f"a gain is a finite number, got {gain!r}", f"in the gain of {cell.name}"))
    if gain != 1 and not names:
        raise ArgumentError(three_lines(f"no parameter of {cell.name} multiplies a state on its way back to itself",
                                        cure="leave the gain at 1"))  # fmt: skip
    lacking = [name for name in names if name not in params and gain != 1]
    if lacking:
        raise ArgumentError(three_lines(f"the recurrent weights {', '.join(lacking)} are missing", f"in the gain of {cell.name}",
                                        f"give all that {cell.name}.init gives"))  # fmt: skip
    return {name: _scaled(value, gain) if name in names else value for name, value in params.items()}


def _scaled(value: Any, gain: float) -> Any:
    array = np.asarray(value)
    return array * array.dtype.type(gain)


def _has_length(step: Step, name: str) -> bool:
    # Degree 0 in all next states: a factor on the weight changes nothing, as for one that is normalised.
    return any(degree(step.graph, id, frozenset([name])) != 0 for id in step.next.values())


def _multipliers(step: Step) -> Iterator[tuple[str, ...]]:
    """The weights of each product that a state reaches without another before it."""
    g, loop = step.graph, _loops(step)
    carries = {step.leaves[a.name] for a in step.of_role("state")}
    for id in sorted(loop):
        node = g[id]
        on = [arg for arg in node.args if arg in carries and loop.get(arg) == loop[id]]
        if not on:
            continue
        weights = _weights(step, node, {arg for arg in node.args if loop.get(arg) != loop[id]})
        if weights:
            yield weights
        else:
            # Without a weight here the value still depends on the state, so that the next product on the way counts.
            carries.add(id)


def _loops(step: Step) -> dict[int, int]:
    """The values on a cycle through time, each with the number of the strongly connected part that it belongs to."""
    read = step.graph.ancestors(step.next.values())
    network = nx.DiGraph((arg, id) for id in read for arg in step.graph[id].args)
    # The edge from a next state to the state closes the loop through time.
    network.add_edges_from((step.next[a.name], step.leaves[a.name]) for a in step.of_role("state"))
    parts = [part for part in nx.strongly_connected_components(network) if _is_cycle(network, part)]
    return {id: min(part) for part in parts for id in part}


def _is_cycle(network: nx.DiGraph, part: set[int]) -> bool:
    return len(part) > 1 or network.has_edge(*part, *part)


def _weights(step: Step, node: Node, off: set[int]) -> tuple[str, ...]:
    """The weights in which the other factor of the state is linear: all of its parameters, else the first that is one."""
    for position, arg in enumerate(node.args):
        if arg in off and _is_factor(node, position):
            names = _drawn(step, arg)
            for together in (names, *((name,) for name in names)):
                if names and degree(step.graph, arg, frozenset(together)) == 1:
                    return together
    return ()


def _is_factor(node: Node, position: int) -> bool:
    degrees = [float(i == position) for i in range(len(node.args))]
    return node.family == "contract" or (node.family == "map" and _homogeneity(node, degrees) == 1)


def _drawn(step: Step, id: int) -> tuple[str, ...]:
    read = set(step.graph.ancestors([id]))
    arguments = [a for a in step.arguments if a.role == "param" or (a.role == "const" and a.default is None)]
    return tuple(a.name for a in arguments if step.leaves[a.name] in read)


def degree(g: Graph, root: int, names: frozenset[str]) -> float | None:
    """Return d where a value grows by the factor c**d when the leaves of some names grow by c > 0; None without such a d."""
    found: dict[int, float | None] = {}
    for id in g.ancestors([root]):
        found[id] = _degree(g[id], [found[arg] for arg in g[id].args], names)
    return found[root]


def _degree(node: Node, given: list[float | None], names: frozenset[str]) -> float | None:
    degrees = [d for d in given if d is not None]
    if len(degrees) < len(given):
        return None
    match node.family:
        case "leaf" | "number":
            return float(node.family == "leaf" and node.attrs.name in names)
        case "contract":
            return sum(degrees)
        case "map":
            return _homogeneity(node, degrees)
        case "gather":
            return degrees[0]
        case "algebra":
            return _of_matrices(node.attrs.name, degrees)
    # Parts of different degrees that one view joins have no common power of c.
    return degrees[0] if len(set(degrees)) == 1 else None


def _of_matrices(name: str, degrees: list[float]) -> float | None:
    """Return the degree of a function of matrices: (c A)⁻¹ (d B) = d/c A⁻¹ B, and the factor of c A grows by √c; a determinant
    grows by a power that is the size of its matrix."""
    match name:
        case "solve":
            return degrees[1] - degrees[0]
        case "cholesky":
            return degrees[0] / 2
        case "det" | "logdet" | "expm":
            return None if degrees[0] else 0.0
    return 0.0 if name == "detsign" else degrees[0]


def _homogeneity(node: Node, degrees: list[float]) -> float | None:
    """The degree of a map whose arguments have these: its values where each argument is 2**degree times as large.

    A factor of two is exact in floating point.
    """
    if not any(degrees):
        return 0.0
    # f(c x) = c^d f(x) at 64 random points is evidence, not proof, that f is homogeneous; random numbers make a
    # coincidence improbable.
    points = [PROBES[i % len(PROBES)] for i in range(len(degrees))]
    with np.errstate(all="ignore"):
        before = np.asarray(evaluate(node.attrs.expr, points), float)
        after = np.asarray(evaluate(node.attrs.expr, [2.0**d * p for d, p in zip(degrees, points, strict=True)]), float)
        ratios = np.log2(after / before)
    ratios = np.atleast_1d(ratios[np.isfinite(before) & (before != 0)])
    same = len(ratios) > 0 and bool(np.all(np.abs(ratios - ratios[0]) < 1e-12))
    return round(float(ratios[0]), 9) if same else None
