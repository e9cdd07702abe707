"""Compute the arguments of logistic gates with their sign turned: 1 / (1 + exp(-a)) then needs no negation in the loop.

The signs of weights and biases are turned once, before the loop. Rounding knows no sign, so that -a has the digits of a:
every result stays as it is. Values are turned only where nothing but these gates and their sums reads them, and only where
that costs nothing in a block or in the loop.

Example: a = U h + x, x = W u + b, i = sigmoid(a[:2]), g = tanh(a[2]) becomes

    U = [-U_1; -U_2; U_3], W and b alike, once;  i = sigmoid(-a[:2]), which is 1 / (1 + exp(a[:2]))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from symbptt import ops
from symbptt.codegen.passes.hoist import signs_of
from symbptt.codegen.passes.pack_gates import TIMES
from symbptt.codegen.program.program import Program, renewed
from symbptt.codegen.program.regions import LOOP, place
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node, placeholder
from symbptt.ir.rewrite import copy_node, rewritten

ARGUMENT = placeholder(0)
LOGISTIC = ops.sigmoid(ARGUMENT)

Signs = tuple[bool, ...]
"""For each entry of the first axis whether its sign is turned; of a value that is turned as a whole one truth."""


@dataclass(frozen=True)
class _Turning:
    """The gates that read a turned value, the signs of it and of what it is computed from, and those of arguments that do not
    vary, by the value that reads them and their place there."""

    gates: frozenset[int]
    values: dict[int, Signs]
    fixed: dict[tuple[int, int], Signs]


def turn_signs(p: Program) -> Program:
    """Return the program whose logistic gates read arguments with their sign turned, where that is free."""
    places = place(p).places
    readers = p.graph.consumers(places)
    gates = [id for id, where in places.items() if where == f"forward {LOOP}" and _is_logistic(p.graph[id])]
    sums = dict.fromkeys(_whole(p.graph, p.graph[gate].args[0]) for gate in gates)
    found = [turning for id in sums for turning in _turnings(p, readers, id)]
    return _turned(p, found) if found else p


def _is_logistic(node: Node) -> bool:
    return node.family == "map" and node.attrs.expr == LOGISTIC


def _whole(g: Graph, id: int) -> int:
    """Return the value of which another one is a part."""
    while g[id].family == "view" and g[id].attrs.kind in ("slice", "reshape"):
        id = g[id].args[0]
    return id


def _turnings(p: Program, readers: dict[int, list[int]], id: int) -> Iterator[_Turning]:
    """Yield what is turned for the gates that read parts of a sum, unless something else reads these parts, or it costs
    something."""
    count = p.graph.shape(id)[0] if id in p.front else 1
    turned, gates, rest = set[int](), set[int](), set[int]()
    for reader in readers[id] if isinstance(count, int) else ():
        ends = {*_ends(p.graph, readers, reader)}
        of_gates = all(_is_logistic(p.graph[end]) for end in ends)
        gates |= ends if of_gates else set()
        (turned if of_gates else rest).update(_entries(p.graph[reader], count))
    if turned and not turned & rest:
        values: dict[int, Signs] = {}
        fixed: dict[tuple[int, int], Signs] = {}
        signs = tuple(i in turned for i in range(count))
        if _turn(p, readers, id, (True,) if all(signs) else signs, values, fixed):
            yield _Turning(frozenset(gates), values, fixed)


def _ends(g: Graph, readers: dict[int, list[int]], id: int) -> Iterator[int]:
    """Yield what reads a part of a value, or this very reader where it is no part."""
    if g[id].family != "view" or g[id].attrs.kind not in ("slice", "reshape"):
        yield id
        return
    for reader in readers[id]:
        yield from _ends(g, readers, reader)


def _entries(node: Node, count: int) -> range:
    """Return the entries of the first axis of a value that one of its readers reads."""
    if node.family == "view" and node.attrs.kind == "slice" and count > 1:
        start, length, step = node.attrs.data[0]
        if isinstance(start, int) and isinstance(length, int):
            return range(start, start + length * step, step)
    return range(count)


def _turn(
    p: Program,
    readers: dict[int, list[int]],
    id: int,
    signs: Signs,
    values: dict[int, Signs],
    fixed: dict[tuple[int, int], Signs],
) -> bool:
    """Note what is turned for a value, and answer whether that is free."""
    args = _args(p, id, signs) if id in p.varying and id not in p.needed else None
    if args is None or len(signs) not in (1, len(p.origin.get(id, signs))):
        return False
    values[id] = signs
    for i in args:
        arg = p.graph[id].args[i]
        if arg not in p.varying:
            # Of parts that are told together, as those of equal weights, no one has a sign of its own.
            if len(signs) not in (1, len(p.origin.get(arg, signs))):
                return False
            fixed[id, i] = signs
        elif readers[arg] != [id] or not _turn(p, readers, arg, signs, values, fixed):
            return False
    return True


def _args(p: Program, id: int, signs: Signs) -> list[int] | None:
    """Return the places of those arguments of a value that are turned with it; None where something varies that would be."""
    node, g = p.graph[id], p.graph
    fixed = [i for i, arg in enumerate(node.args) if arg not in p.varying]
    if node.family == "contract" and len(fixed) == 1:
        labels = (node.attrs.a, node.attrs.b)[fixed[0]]
        return fixed if len(signs) == 1 or labels[:1] == node.attrs.out[:1] else None
    # What repeats along the first axis has one sign for all of its entries.
    alike = all(len(g.shape(arg)) == len(node.shape) and g.shape(arg)[:1] == node.shape[:1] for arg in node.args)
    if len(signs) > 1 and not alike:
        return None
    if signs_of(node) is not None:
        return [*range(len(node.args))]
    return fixed[:1] if fixed and node.family == "map" and node.attrs.expr == TIMES else None


def _turned(p: Program, turnings: Iterable[_Turning]) -> Program:
    gates = {id for found in turnings for id in found.gates}
    values = {id: signs for found in turnings for id, signs in found.values.items()}
    fixed = {at: signs for found in turnings for at, signs in found.fixed.items()}
    made: dict[int, int] = {}

    def rewrite(g: Graph, node: Node, args: tuple[int, ...]) -> int:
        args = tuple(
            _opposite(g, arg, fixed[node.id, i]) if (node.id, i) in fixed else arg for i, arg in enumerate(args)
        )
        made.update({arg: node.args[i] for i, arg in enumerate(args) if (node.id, i) in fixed})
        if node.id in gates:
            return build.map_(g, LOGISTIC.xreplace({ARGUMENT: -ARGUMENT}), args)
        return copy_node(g, node, args)

    q = renewed(p, *(found := rewritten(p.graph, p.needed, rewrite)))
    turned = {found[1][id]: signs for id, signs in values.items()}
    turned |= {id: fixed[at] for at in fixed for id in made if made[id] == p.graph[at[0]].args[at[1]]}
    return replace(
        q,
        origin=q.origin | {id: p.origin[old] for id, old in made.items() if old in p.origin},
        labels=q.labels | {id: p.labels[old] for id, old in made.items() if old in p.labels},
        turned=turned,
    )


def _opposite(g: Graph, id: int, signs: Signs) -> int:
    """Return a value with the signs of some entries turned, as the parts of which it is joined where there is one for each."""
    node = g[id]
    if node.family == "view" and node.attrs.kind == "concatenate" and node.attrs.data[0] == 0:
        parts = node.args
        if len(signs) in (1, len(parts)):
            turned = signs * len(parts) if len(signs) == 1 else signs
            return build.concatenate(
                g, [_opposite_part(g, x) if s else x for x, s in zip(parts, turned, strict=True)], 0
            )
    if all(signs):
        return _opposite_part(g, id)
    runs, at = list[int](), 0
    for is_turned, run in groupby(signs):
        count = len([*run])
        part = build.cut(g, id, [(at, count, 1), *((0, item, 1) for item in node.shape[1:])])
        runs.append(_opposite_part(g, part) if is_turned else part)
        at += count
    return build.concatenate(g, runs, 0)


def _opposite_part(g: Graph, id: int) -> int:
    """Return the opposite of a value; of one row of a stack that of what the row is."""
    node = g[id]
    if node.family == "view" and node.attrs.kind == "reshape" and node.shape[1:] == g.shape(node.args[0]):
        return build.reshape(g, build.map_(g, -ARGUMENT, [node.args[0]]), node.shape)
    return build.map_(g, -ARGUMENT, [id])
