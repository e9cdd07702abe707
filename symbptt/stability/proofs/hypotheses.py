"""Facts on states, gates and slopes that need no parameters, and the bounds that a theorem lacks to be finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import sympy as sp

from symbptt.ir.node import Node
from symbptt.ir.shape import named_size, names_in
from symbptt.ir.sizes import axes_of, axes_of_needs, completed
from symbptt.language.init import concrete
from symbptt.stability.algebra.atoms import node_of
from symbptt.stability.algebra.interval import Interval, between, everything, exactly
from symbptt.stability.algebra.polynomials import Local
from symbptt.stability.proofs.bounds import Factor, Shared, Sup, Tree, parts_of, shared_in
from symbptt.stability.proofs.enclosure import Enclosure, enclose

PROVEN = 1.0
"""States that stay in [−1, 1] once they are there have that for their hypothesis."""
TRIED = (3, 8)
"""Sizes at which a fact is looked for: one that is found at both counts for all sizes."""


def sizes_in(of: Local, size: int) -> dict[str, int]:
    """Return one number for all named sizes of a cell, but for those that arrays as constants, or a difference, rule out."""
    names = sorted({name for node in of.graph for name in names_in(node.shape)})
    axes = axes_of(of.step.arguments, fixed=("const",)) + axes_of_needs(of.step.needs)
    return completed(axes, names, dict.fromkeys(names, size))


@lru_cache(64)
def always_bounded(of: Local) -> tuple[str, ...]:
    """Return the states that stay in [−1, 1] if they start there, whatever parameters, inputs, other states and sizes are."""
    found = [bounded(of, sizes_in(of, size)) for size in TRIED]
    return tuple(name for name in found[0] if name in found[1])


def bounded(of: Local, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the states that stay in [−1, 1] if they start there, whatever parameters, inputs and other states are."""
    kept = tuple(of.step.next)
    while True:
        within = general(of, kept, sizes)
        # The greatest fixed point: a state that leaves [−1, 1] loses its hypothesis, which may cost others theirs;
        # the set shrinks, so this ends.
        left = tuple(k for k in kept if (within.nodes[of.step.next[k]].size <= PROVEN + 1e-12).all())
        if left == kept:
            return kept
        kept = left


def is_tried(of: Local, name: str) -> bool:
    """Return whether that a state stays in [−1, 1] rests on a sum or a size: then it is found for the sizes tried alone, and not
    from the graph for all. What passes a function with a bounded range is bounded whatever it is."""
    within = general(of, bounded(of, sizes_in(of, TRIED[0])), sizes_in(of, TRIED[0]))
    stack, seen = [of.step.next[name]], set[int]()
    while stack:
        node = of.graph[stack.pop()]
        if node.id in seen:
            continue
        seen.add(node.id)
        if _reads_sizes(node) and np.isfinite(within.nodes[node.id].size).any():
            return True
        # Behind a function with a bounded range the sizes of what it reads do not matter.
        stack.extend(() if node.family == "map" and _has_own_range(of, node.id) else node.args)
    return False


def _reads_sizes(node: Node) -> bool:
    """Answer whether a value is a sum over axes, or a size."""
    if node.family == "leaf":
        return bool(node.attrs.role == "size")
    return node.family in ("contract", "cumulate") or (node.family == "reduce" and node.attrs.kind == "sum")


def general(of: Local, kept: tuple[str, ...], sizes: Mapping[str, int], scale: float | None = None) -> Enclosure:
    """Return intervals of all values for any inputs and states, those of `kept` in [−1, 1], and for any parameters; with a
    `scale`, for some of one sign, of a quarter to half of it, which tells what has a bound and what has none."""
    numbers = {named_size(name): size for name, size in sizes.items()}
    leaves: dict[str, Interval] = {}
    random = np.random.default_rng(0)
    for a in of.step.arguments:
        shape = concrete(a.shape, numbers)
        if a.role == "const" and a.default is not None:
            leaves[a.name] = exactly(a.default)
        elif a.name in kept:
            leaves[a.name] = between(-PROVEN, PROVEN, shape)
        elif a.role in ("param", "const") and scale is not None:
            leaves[a.name] = exactly(scale * random.uniform(0.25, 0.5, shape))
        else:
            leaves[a.name] = everything(shape)
    return enclose(of, leaves, sizes)


def nodes_read(of: Local, tree: Tree) -> set[int]:
    """Return the nodes whose ranges a bound reads; gates and slopes have ranges of their own."""
    read = {id for part in every_part(tree) for id in _read(of, part)}
    return set(of.graph.ancestors(read)) if read else set()


def every_part(tree: Tree) -> Iterator[Tree]:
    """Yield a bound and all its parts, at any depth; those of a shared one once."""
    open_: list[Tree] = [tree, *(shared.tree for shared in shared_in([tree]))]
    while open_:
        part = open_.pop()
        yield part
        open_ += () if isinstance(part, Shared) else parts_of(part)


def _read(of: Local, part: Tree) -> set[int]:
    """The nodes whose values, with all that they are made of, a bound reads itself."""
    if isinstance(part, Factor):
        return set() if part.node in of.fixed else {part.node}
    symbols = {s for p, _ in part.parts for s in p.free_symbols} if isinstance(part, Sup) else set()
    return {id for s in symbols for id in _sources(of, s)}


def _sources(of: Local, s: sp.Symbol) -> set[int]:
    """The nodes that an atom without a range of its own is made of."""
    found, seen, open_ = set(), {s}, [s]
    while open_:
        s = open_.pop()
        id = node_of(s)
        if id is not None and not (of.graph[id].family == "map" and _has_own_range(of, id)):
            found.add(id)
        elif id is None and not of.atoms[s].slope_of:
            fresh = of.atoms[s].expr.free_symbols - seen
            seen |= fresh
            open_ += fresh
    return found


def _has_own_range(of: Local, id: int) -> bool:
    """Answer whether a value is a function with a bounded range, such as a gate."""
    return getattr(of.graph[id].attrs.expr.func, "__name__", "") in ("sigmoid", "tanh", "erf", "sin", "cos", "atan")
