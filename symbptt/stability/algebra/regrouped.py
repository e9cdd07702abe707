"""Products and quotients regrouped, so that a vector and the functions of its own length that scale it stand next to each other.

For example g ⊙ relu(u) / (1 + ‖u‖), which is written as (g ⊙ relu(u)) / (1 + ‖u‖): neither g ⊙ relu(u) nor g is a function of
u alone. As g ⊙ (relu(u) / (1 + ‖u‖)) the second factor is one, a vector scaled by its own length, whose Jacobian is known to be
small. Likewise u ‖u‖ / (1 + ‖u‖²) is u (‖u‖ / (1 + ‖u‖²)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node
from symbptt.ir.step import Step
from symbptt.stability.algebra.scalar_functions import X
from symbptt.stability.algebra.unit_vectors import may_scale

A, B = placeholder(0), placeholder(1)
POWERS = {A * B: (1, 1), A / B: (1, -1), B / A: (-1, 1)}
MOST = 12
"""Factors of a product that is looked into, at the most."""

Factors = list[tuple[int, int]]
"""Values with the powers 1 and −1 that a product has of them."""
Alone = Mapping[int, Mapping[int, sp.Expr]]
"""The values that are functions, in X, of one other, by that."""


@dataclass(frozen=True)
class Group:
    """A product as the vector that `of` multiply to, the functions `by` of its length, the `rest`, and a number."""

    of: Factors
    by: Factors
    rest: Factors
    number: sp.Expr


def regrouped(step: Step, alone: Alone) -> Step:
    """Return the same step with regrouped products; the step itself where there is nothing to regroup."""
    groups = {node.id: group for node in step.graph if (group := _group(step.graph, node, alone))}
    if not groups:
        return step
    graph, new = Graph(), dict[int, int]()
    wanted = [*step.leaves.values(), *step.next.values(), *step.outputs.values(), *step.graph.names]
    for id in _needed(step.graph, wanted, groups):
        node = step.graph[id]
        if id in groups:
            new[id] = _written(graph, groups[id], lambda arg: new[arg])
        else:
            new[id] = copy_node(graph, node, tuple(new[arg] for arg in node.args))
    for id, name in step.graph.names.items():
        graph.names.setdefault(new[id], name)
    ids = [{name: new[id] for name, id in part.items()} for part in (step.leaves, step.next, step.outputs)]
    return replace(step, graph=graph, leaves=ids[0], next=ids[1], outputs=ids[2])


def _needed(graph: Graph, wanted: list[int], groups: Mapping[int, Group]) -> list[int]:
    """The nodes that some are computed from once products are regrouped, arguments first."""
    seen, open_ = set[int](), list(wanted)
    while open_:
        id = open_.pop()
        if id not in seen:
            seen.add(id)
            open_ += _read(groups[id]) if id in groups else graph[id].args
    return sorted(seen)


def _read(group: Group) -> list[int]:
    return [id for id, _ in group.of + group.by + group.rest]


def _group(graph: Graph, node: Node, alone: Alone) -> Group | None:
    """A product regrouped; None where it has no vector with functions of its length, or stands by itself already."""
    factors, number = _factors(graph, node)
    if not 2 <= len(factors) <= MOST or (len(factors) == 2 and number == 1 and node.attrs.expr in POWERS):
        return None
    for root, square in _lengths(graph, node, factors, alone):
        by = [(f, power) for f, power in factors if square in alone.get(f, {f: X})]
        vector = [(f, power) for f, power in factors if (f, power) not in by and root in alone.get(f, {f: X})]
        # What is not 0 at 0 by itself, such as a sigmoid, may still be a factor of the vector, as in u σ(u).
        for of in [vector, *([factor] for factor in vector)]:
            if (
                of
                and by
                and may_scale(graph, node, root, square, _product(of, root, alone), _product(by, square, alone), by)
            ):
                return Group(of, by, [factor for factor in factors if factor not in of + by], number)
    return None


def _product(factors: Factors, root: int, alone: Alone) -> sp.Expr:
    """A product of functions of one value as a function of it, in X."""
    return sp.Mul(*(alone.get(f, {f: X})[root] ** power for f, power in factors))


def _lengths(graph: Graph, node: Node, factors: Factors, alone: Alone) -> Iterator[tuple[int, int]]:
    """The values of the shape of a product that some factors are functions of, each with those that others are functions of."""
    roots = [set(alone.get(f, {f: X})) for f, _ in factors]
    every = sorted(set().union(*roots))
    return ((u, square) for u in every if graph.shape(u) == node.shape for square in every if square != u)


def _factors(graph: Graph, node: Node) -> tuple[Factors, sp.Expr]:
    """The factors of a node that is a product or a quotient, and its number; products of products are written out."""
    found, number, open_ = Factors(), sp.S.One, [(node.id, 1)]
    while open_ and len(found) + len(open_) <= MOST:
        id, power = open_.pop()
        own = graph[id]
        expr = own.attrs.expr if own.family == "map" else None
        if expr in POWERS and own.args[0] != own.args[1]:
            open_ += [(arg, power * each) for arg, each in zip(own.args, POWERS[expr], strict=True)]
        elif expr is not None and expr.is_Mul and expr.as_coeff_Mul()[1] == A:
            open_.append((own.args[0], power))
            number *= expr.as_coeff_Mul()[0] ** power
        else:
            found.append((id, power))
    return found + open_, number


def _written(graph: Graph, group: Group, new: Callable[[int], int]) -> int:
    """The product, its vector next to what scales it."""
    scaled = build.map_(graph, *_times(group.by, new))
    whole = build.map_(graph, A * B, [build.map_(graph, *_times(group.of, new)), scaled])
    for id, power in group.rest:
        whole = build.map_(graph, A * B if power == 1 else B / A, [new(id), whole])
    return whole if group.number == 1 else build.map_(graph, group.number * A, [whole])


def _times(by: Factors, new: Callable[[int], int]) -> tuple[sp.Expr, list[int]]:
    args = list(dict.fromkeys(new(id) for id, _ in by))
    return sp.Mul(*(placeholder(args.index(new(id))) ** power for id, power in by)), args
