"""The values of a step at all steps and samples of a run, and the edges along which its derivation goes back.

An edge leads from a value to one that it reads, and gives it a part of its cotangent: h = tanh(a) gives a the part dh ⊙ (1 − h²).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.bptt import Recursion, per_sample
from symbptt.autodiff.guard import Guards
from symbptt.autodiff.vjp import Context, contributions
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.shape import Shape
from symbptt.language.init import concrete
from symbptt.language.roles import parse_dims
from symbptt.verification.adjoints.values import LEAD, Compute, computation

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Edge:
    """An edge of a derivation: from `value` to `target`, which gets `given`; `nodes` are computed for it, arguments first, from
    the cotangent of the value, which is the node `bar`, and from values of the forward pass. `shown` is the same contribution in the
    graph of the recursion, from which it is written."""

    number: int
    value: int
    target: int
    bar: int
    given: int
    nodes: tuple[Node, ...]
    shown: int


def edges_of(recursion: Recursion) -> tuple[Graph, tuple[Edge, ...]]:
    """Return the edges of a derivation, from the last value to the first, and the graph with their nodes.

    The cotangent of each value is a leaf of its own: the graph of a recursion writes a reshaped cotangent that is reshaped back as the
    first one, past the values between, where a mistake could not be put.
    """
    # A copy, for the rules add nodes to it, and the recursion is shared with pages.
    g, forward, found = recursion.graph.copy(), recursion.forward_ids, list[Edge]()
    context = Context(g, set(recursion.kept), set(recursion.adjoint), Guards(g))
    bars: dict[int, int] = {}
    parts: dict[int, list[tuple[int, int]]] = {}
    for number, (value, target, shown) in enumerate(recursion.given):
        if value not in bars:
            bars[value] = build.leaf(g, "adjoint", f"_{value}", g.shape(value))
            parts[value] = contributions(context, g[value], bars[value])
        # The recursion lists what a value gives from its last argument to its first.
        arg, given = parts[value].pop()
        assert arg == target, f"{g[value]} gives to {g[target]}"
        found.append(Edge(number, value, target, bars[value], given, _between(g, given, bars[value], forward), shown))
    return g, tuple(found)


def _between(g: Graph, given: int, bar: int, forward: frozenset[int]) -> tuple[Node, ...]:
    """Return the nodes that a contribution is computed by, without the cotangent that it begins with."""
    # What the forward pass has computed is on the tape, and what lies behind the cotangent is another edge.
    open_, seen = [given], set[int]()
    while open_:
        id = open_.pop()
        if id not in seen and id != bar and id not in forward:
            seen.add(id)
            open_ += g[id].args
    return tuple(g[id] for id in sorted(seen))


@dataclass(frozen=True)
class Tape:
    """The values of the forward pass of a step by node, (T or 1, B or 1, ...), with its derivation.

    `sizes` are numbers for the named sizes. A leaf that is asked for and not there is a mistake of ours.
    """

    recursion: Recursion
    graph: Graph
    edges: tuple[Edge, ...]
    sizes: Mapping[sp.Symbol, int]
    steps: int
    batch: int
    primal: Mapping[int, Any]
    _made: dict[Node, Compute] = field(default_factory=dict, repr=False, compare=False)
    _shapes: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def varying(self) -> frozenset[int]:
        """The values of the forward pass that differ between steps or samples."""
        return frozenset(per_sample(self.graph, self.recursion.forward_ids))

    @cached_property
    def from_value(self) -> Mapping[int, tuple[Edge, ...]]:
        """The edges by the value that they begin at."""
        found: dict[int, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.value, []).append(edge)
        return {id: tuple(edges) for id, edges in found.items()}

    def shape(self, id: int) -> tuple[int, ...]:
        """Return the shape of a value in numbers."""
        # Sizes are put into shapes by SymPy, which takes longer than most computations here.
        if id not in self._shapes:
            self._shapes[id] = concrete(self.graph.shape(id), self.sizes)
        return self._shapes[id]

    def compute(self, node: Node, args: Sequence[Any]) -> Any:
        """Return the value of a node from those of its arguments."""
        if node not in self._made:
            shapes: list[Shape] = [self.graph.shape(arg) for arg in node.args]
            self._made[node] = computation(node, shapes, self.sizes)
        return self._made[node](args)

    def read(self, id: int, at: slice) -> Any:
        """Return a value of the forward pass at some steps."""
        array = self.primal[id] if id in self.primal else self._constant(id)
        # Of one step the length tells nothing: what is the same for all has one step as well.
        return array[at] if len(array) == self.steps and id in self.varying else array

    def _constant(self, id: int) -> Any:
        """Return a value that no argument is needed for: a number, or one made of sizes."""
        node = self.graph[id]
        if node.family == "leaf":
            return _leaf(node, self.sizes)
        return self.compute(node, [self._constant(arg) for arg in node.args])


def tape_of(recursion: Recursion, sizes: Mapping[sp.Symbol, int], steps: int, batch: int, given: Arrays) -> Tape:
    """Return the values of a step at all steps, from its arguments by name.

    Shapes: `given` of states before each step and of inputs (T, B, ...), of parameters and constants as annotated.
    """
    step = recursion.step
    arguments = {id: name for name, id in step.leaves.items()}
    primal: dict[int, Any] = {}
    tape = Tape(recursion, *edges_of(recursion), sizes, steps, batch, primal)
    # Leaves too that nothing computes with: a mistake may read one in the place of another.
    ids = sorted({*recursion.forward_ids, *step.leaves.values()})
    # Values at the edge are compared as they are; NumPy need not warn of them here.
    with np.errstate(all="ignore"):
        for id in ids:
            node = recursion.graph[id]
            if id in arguments:
                value = np.asarray(given[arguments[id]])
                value = value if node.attrs.role == "index" or value.dtype.kind in "iu" else value.astype(float)
                primal[id] = (
                    value
                    if id in tape.varying or _is_timed(node, value)
                    else np.broadcast_to(value, tape.shape(id))[None, None]
                )
            elif node.family == "leaf":
                primal[id] = _leaf(node, sizes)
            else:
                primal[id] = tape.compute(node, [primal[arg] for arg in node.args])
    return tape


def _is_timed(node: Node, value: Any) -> bool:
    return node.attrs.role in ("input", "index", "state", "output", "target") and value.ndim >= LEAD


def _leaf(node: Node, sizes: Mapping[sp.Symbol, int]) -> Any:
    if node.attrs.role == "eye":
        return np.eye(concrete(node.shape, sizes)[0])[None, None]
    (value,) = concrete(parse_dims(node.attrs.name), sizes)
    return np.full((1, 1), float(value))
