"""A fixed point inside a step, lowered: rounds of its body in two places, that of the value and that of what a round makes of it.

Example of z = fixed_point(lambda z: tanh(U z + x), h):

    map z[:, :] = h[:, :]
    loop k in 0:1000:
      contract s[:, :] = U[:, :] · z[:, :]
      map new[:, :] = tanh(s[:, :] + x[:, :])
      settle z[:, :] = new[:, :], to a change of 1e-12
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from symbptt.codegen.loop_ir.nodes import BATCH, Extent, Loop, Settle, Statement, View, index_symbol
from symbptt.codegen.lower.families import Lowering, operand, room, subject
from symbptt.codegen.lower.frame import COUNT, LO, Frame, Stored, T
from symbptt.codegen.lower.rounds import nameless, static_in, varying_in, write_body
from symbptt.ir.node import Node
from symbptt.ir.rounds import graph_of
from symbptt.ir.shape import Size


def write_point(s: Lowering, values: Sequence[tuple[Node, View]]) -> None:
    """Write the values of one fixed point, each where it is stored."""
    first, point = values[0][0], values[0][0].attrs
    lead, own = s.lead(first.id), graph_of(point.inner)
    # Errors name a matrix as the step around does; a body calls what it reads by numbers.
    own.names |= {i: own.names.get(i, subject(s.graph, arg)) for i, arg in enumerate(first.args) if i >= point.carried}
    kept = {node.attrs.out: view for node, view in values}
    origin = tuple(node.id for node, _ in values)
    for i in range(point.carried):
        if i not in kept:
            kept[i] = room(s, "s", lead, own.shape(i))
        s.builder.copy(kept[i], operand(s, first.args[i]), origin)
    new = [room(s, "new", lead, own.shape(i)) for i in range(point.carried)]
    leaves = [kept[i] if i < point.carried else operand(s, arg) for i, arg in enumerate(first.args)]
    inside = replace(
        s,
        graph=own,
        varying=varying_in(s.varying, own, first),
        timed=varying_in(s.timed, own, first),
        static=static_in(own),
        frame=Frame(lead, lambda stored: stored.view),
        stored={i: Stored(view, "none") for i, view in enumerate(leaves)},
        known={},
        parts=frozenset(),
        front=frozenset(),
        by_round=frozenset(),
    )
    body: list[Statement] = []
    places: dict[int, list[View]] = {}
    for view, id in zip(new, point.inner.following, strict=True):
        places.setdefault(id, []).append(view)
    with s.builder.inside(body):
        write_body(inside, places, len(lead))
    number = index_symbol(s.builder.name("k"))
    name = s.graph.names.get(first.id) or dict(point.inner.names).get(0, "z")
    told = f"the adjoint of the fixed point {name.removeprefix('d')}" if point.adjoint else f"the fixed point {name}"
    step: Size = (
        -1 if first.id not in s.timed or not s.tells_steps else T if lead == (BATCH,) else LO if COUNT in lead else 0
    )
    out = tuple(kept[i] for i in range(point.carried))
    end = Settle(
        out, tuple(new), point.tolerance, Extent(number), point.most, told, len(lead), Extent(step), point.adjoint
    )
    s.builder.add(Loop(number, 0, point.most, (*nameless(body), end), origin=origin))
