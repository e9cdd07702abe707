"""A loop inside a step, lowered: its body as statements of one round, over views of the rows of what it keeps.

Example of z = repeat(lambda z: tanh(U z + x), h, 4), of which all rounds are kept as the rows of z:

    map z[0, :, :] = h[:, :]
    loop k in 0:4:
      contract s[:, :] = U[:, :] · z[k, :, :]
      map z[k+1, :, :] = tanh(s[:, :] + x[:, :])
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Loop, Sharpen, Statement, View, index_symbol
from symbptt.codegen.loop_ir.views import point
from symbptt.codegen.lower.families import Lowering, emit, operand, room, subject
from symbptt.codegen.lower.frame import Frame, Stored
from symbptt.ir.graph import Graph
from symbptt.ir.node import WITHOUT_COPY, Node, Rounds
from symbptt.ir.rounds import graph_of
from symbptt.ir.shape import size


def write_loop(s: Lowering, values: Sequence[tuple[Node, View]]) -> None:
    """Write the values of one loop, each where it is stored."""
    first, loop = values[0][0], values[0][0].attrs
    lead = s.lead(first.id)
    own = graph_of(loop.inner)
    # Errors name a matrix as the step around the loop does; a body calls what it reads by numbers.
    own.names |= {i: own.names.get(i, subject(s.graph, arg)) for i, arg in enumerate(first.args) if i >= loop.carried}
    number = index_symbol(s.builder.name("k"))
    kept = {node.attrs.out: view for node, view in values}
    for i in range(loop.carried):
        if i not in kept:
            # Nothing outside reads it, but the rounds do.
            rows = (size(loop.count + 1), *own.shape(i))
            kind = "complex" if own.is_complex(i) else "float"
            kept[i] = room(s, "s", lead, rows, by_round=True, dtype=kind)
    start = loop.count if loop.reverse else 0
    for i in range(loop.carried):
        s.builder.copy(point(kept[i], len(lead), start), operand(s, first.args[i]), tuple(n.id for n, _ in values))
    inside = replace(
        s,
        graph=own,
        varying=varying_in(s.varying, own, first),
        timed=varying_in(s.timed, own, first),
        static=static_in(own),
        frame=Frame(lead, lambda stored: stored.view),
        stored=_leaves(s, first, kept, number),
        known={},
        parts=frozenset(),
        front=frozenset(),
        by_round=frozenset(),
    )
    body: list[Statement] = []
    with s.builder.inside(body):
        _write_round(inside, loop, kept, number)
    origin = tuple(node.id for node, _ in values)
    s.builder.add(Loop(number, 0, loop.count, tuple(nameless(body)), loop.reverse, origin=origin))


def varying_in(varying: Container[int], own: Graph, node: Node) -> frozenset[int]:
    """Return the values of a body that differ between samples or steps as those around do: what is carried does where anything does."""
    found = {i for i, arg in enumerate(node.args) if arg in varying}
    found |= set(range(node.attrs.carried)) if node.id in varying else set()
    for inner in own:
        if any(arg in found for arg in inner.args):
            found.add(inner.id)
    return frozenset(found)


def static_in(own: Graph) -> frozenset[int]:
    """Return the values of a body that are numbers known before any array."""
    found = set[int]()
    for node in own:
        literal = (node.family == "number" and not node.shape) or (node.family == "leaf" and node.attrs.role == "size")
        if literal or (node.family == "map" and not node.shape and all(arg in found for arg in node.args)):
            found.add(node.id)
    return frozenset(found)


def _leaves(s: Lowering, node: Node, kept: dict[int, View], number: sp.Symbol) -> dict[int, Stored]:
    """Return where the leaves of a body lie in a round."""
    loop, lead = node.attrs, len(s.lead(node.id))
    found = {}
    for i, arg in enumerate(node.args):
        if i < loop.carried:
            view = point(kept[i], lead, size(number + 1) if loop.reverse else number)
        else:
            view = operand(s, arg)
            if i < loop.carried + loop.each:
                view = point(view, len(s.lead(arg)), number)
        found[i] = Stored(view, "none")
    return found


def _write_round(s: Lowering, loop: Rounds, kept: dict[int, View], number: sp.Symbol) -> None:
    """Write the statements of one round."""
    lead = len(s.frame.lead) if any(i in s.varying for i in range(loop.carried)) else 0
    behind = number if loop.reverse else size(number + 1)
    places: dict[int, list[View]] = {}
    for i, id in enumerate(loop.inner.following):
        places.setdefault(id, []).append(point(kept[i], lead, behind))
    for id, view in kept.items():
        if id >= loop.carried:
            places.setdefault(id, []).append(point(view, lead, number))
    write_body(s, places, lead)


def write_body(s: Lowering, places: Mapping[int, Sequence[View]], lead: int) -> None:
    """Write the values of a body that have places outside of it, and what these are made of; `lead` is how many axes of steps and
    samples they have there."""
    needed = s.graph.ancestors(places)
    readers = s.graph.consumers(needed)
    for id in needed:
        node = s.graph[id]
        if node.family == "leaf" and id in s.stored:
            continue
        if (id in places and id in s.varying) or (id in places and not lead):
            emit(s, id, places[id][0])
            s.stored[id] = Stored(places[id][0], "none")
        elif _has_place(s, node, len(readers[id])):
            out = room(s, s.graph.names.get(id, "s"), s.lead(id), node.shape, dtype=s.type_of(id))
            emit(s, id, out)
            s.stored[id] = Stored(out, "none")
    for id, views in places.items():
        for view in views:
            if id not in s.stored or s.stored[id].view != view:
                emit(s, id, view)


def _has_place(s: Lowering, node: Node, readers: int) -> bool:
    """Answer whether a value of a body has a place of its own: what is named, or read more than once."""
    if node.id in s.static or node.family in ("leaf", "number"):
        return False
    is_view = node.family == "view" and node.attrs.kind in WITHOUT_COPY
    return not is_view and (readers > 1 or node.id in s.graph.names)


def nameless(statements: Iterable[Statement]) -> Iterable[Statement]:
    """Return statements that stand for no value of the program around the loop, for their values are those of a body."""
    for s in statements:
        s = replace(s, origin=())
        yield replace(s, body=tuple(nameless(s.body))) if isinstance(s, Sharpen) else s
