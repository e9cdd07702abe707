"""Positions of the nodes of an unrolled graph: columns in the order of computation, states on lanes of their own.

Rows are found as in layered graph drawing: lines that pass a column get a placeholder there, then sweeps to the right and to
the left move each name to the mean of its neighbours, at least one row from the next. Example: z reads a and b, in rows 1 and
-1, and moves to row 0; a line from a to c that passes z's column has a placeholder near row 1, so that z does not cover it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from symbptt.autodiff.unroll import FORWARD, Key

BEFORE = -1
"""The column of the states before the first step."""


@dataclass(frozen=True)
class Place:
    """A step, a column in it, and a level: forward over 0, from 1 up; backward under 0."""

    step: int
    column: int
    level: float


@dataclass(frozen=True)
class Grid:
    """The places of the nodes of each step; how many columns a step has."""

    places: dict[Key, Place]
    columns: int


def grid_of(graph: nx.DiGraph) -> Grid:
    """Return the places of all nodes that belong to a step: an adjoint stands in the mirror image of its value, and what the
    loss gives to it beside it, toward the middle where the adjoint stands next to that."""
    of = mirrored(graph)
    order = step_graph(graph)
    # A generation holds names that do not read each other: they share a column.
    columns = [list(names) for names in nx.topological_generations(order)]
    rows = _rows(graph, order, columns)
    column = {name: i for i, names in enumerate(columns) for name in names}
    lowest = min(rows.values(), default=0.0)
    level = {name: row - lowest + 1 for name, row in rows.items()}
    given = [
        level[name]
        for _, data in graph.nodes(data=True)
        if data["role"] == "cotangent" and (name := data["of"]) in level
    ]
    # Room for ∂L/∂h between the middle line and the lowest adjoint.
    down = 1 if given and min(given) < 2 else 0
    places: dict[Key, Place] = {}
    for (name, t), attributes in graph.nodes(data=True):
        base = of.get(name, name)
        if t is not None and base in column and attributes["role"] != "cotangent":
            # The mirror image: an adjoint lies as deep as its value lies high.
            height = level[base] if attributes["role"] in FORWARD else -level[base] - down
            places[name, t] = Place(max(t, 1), column[base] if t else BEFORE, height)
    return Grid(places | _cotangents(graph, places), len(columns))


def _cotangents(graph: nx.DiGraph, places: dict[Key, Place]) -> dict[Key, Place]:
    found: dict[Key, Place] = {}
    for node, role in graph.nodes(data="role"):
        if role == "cotangent":
            at = places[next(graph.successors(node))]
            taken = [p.level for p in (*places.values(), *found.values()) if (p.step, p.column) == (at.step, at.column)]
            signs = (1, -1) if at.level > -3 else (-1, 1)
            tries = (at.level + sign * shift for shift in range(1, len(taken) + 3) for sign in signs)
            free = (y for y in tries if y <= -1 and all(abs(y - other) >= 1 for other in taken))
            found[node] = Place(at.step, at.column, next(free))
    return found


def mirrored(graph: nx.DiGraph) -> dict[str, str]:
    """Return the value that each adjoint is the mirror image of: its own, but for a second adjoint of one, as the λ of a fixed point,
    which has a place of its own name."""
    found, taken = dict[str, str](), set[str]()
    for (name, t), data in graph.nodes(data=True):
        if t is not None and data["role"] not in FORWARD and name not in found:
            # What the loss gives to an adjoint stands beside it.
            is_second = data["role"] != "cotangent" and data["of"] in taken
            found[name] = name if is_second else data["of"]
            taken |= {data["of"]} if data["role"] != "cotangent" else set()
    return found


def step_graph(graph: nx.DiGraph) -> nx.DiGraph:
    """Return the names of one step, each before all that is computed from it.

    A value that has an adjoint but no node of its own, as the argument of an activation, has a place here as well.
    """
    order, of = nx.DiGraph(), mirrored(graph)
    roles = graph.nodes(data="role")
    order.add_nodes_from(dict.fromkeys(name for name, t in graph if t and roles[name, t] in FORWARD))
    turned = dict[tuple[str, str], None]()
    for source, target in graph.edges:
        if not source[1] or source[1] != target[1] or roles[source] == "cotangent":
            continue
        if roles[target] in FORWARD:
            order.add_edge(source[0], target[0])
        elif roles[source] not in FORWARD and of[target[0]] != of[source[0]]:
            # Adjoints run against the order of their values: the edge is turned.
            turned[of[target[0]], of[source[0]]] = None
    for before, after in turned:
        # A value inside the equation of a fixed point reads it, and its adjoint reads that of the point.
        if before not in order or after not in order or not nx.has_path(order, after, before):
            order.add_edge(before, after)
    return order


def _rows(graph: nx.DiGraph, order: nx.DiGraph, columns: list[list[str]]) -> dict[str, float]:
    """Return heights of names: a state on a lane of its own, the first of several below all else and others above;
    inputs on the other side from the first state; values in between, near what they read and what reads them."""
    shown = {name for name, t in graph if t}
    states = [name for name, t in graph if t == 0 and graph.nodes[name, t]["role"] == "state"]
    levels = [found for names in columns if (found := [name for name in names if name in shown])]
    threads, levels = _threaded(graph, order, levels, states)
    reach = max(map(len, levels), default=0) / 2
    # A single state runs above all values; of several the first runs below, so that states frame what lies between.
    side = -1.0 if len(states) > 1 else 1.0
    fixed = {name: reach + i for i, name in enumerate(states[1:])} | dict.fromkeys(states[:1], side * reach)
    fixed |= {f"{name} before": row for name, row in fixed.items()}
    rows = _swept(threads, levels, fixed, {name: -side * reach for name in order if _is_input(graph, name)})
    rows = {name: row for name, row in rows.items() if name in order}
    low, high = min(rows.values(), default=0.0), max(rows.values(), default=0.0)
    rows |= {name: high + 1 + i for i, name in enumerate(states[1:])}
    rows |= dict.fromkeys(states[:1], low - 1 if side < 0 else high + 1)
    return rows | _beside(order, columns, rows)


def _beside(order: nx.DiGraph, columns: list[list[str]], rows: dict[str, float]) -> dict[str, float]:
    """Return heights of what has an adjoint only: beside what is computed from it, or as near to that as there is
    room."""
    found: dict[str, float] = {}
    for names in columns[::-1]:
        taken = [rows[name] for name in names if name in rows]
        for name in names:
            if name not in rows:
                wish = _mean([(rows | found)[n] for n in order.successors(name)], 0.0)
                found[name] = _free(round(2 * wish) / 2, taken)
                taken.append(found[name])
    return found


def _free(wish: float, taken: Sequence[float]) -> float:
    """Return the height nearest to a wish, in steps of a half, that is at least one from all that are taken."""
    # Each taken row blocks fewer than four half steps, so that the range always holds a free one.
    tries = (wish + sign * shift / 2 for shift in range(4 * len(taken) + 2) for sign in (1, -1))
    return next(y for y in tries if all(abs(y - other) >= 1 for other in taken))


def _is_input(graph: nx.DiGraph, name: str) -> bool:
    return graph.nodes.get((name, graph.graph["steps"]), {}).get("role") in ("input", "index", "target")


def _threaded(
    graph: nx.DiGraph, order: nx.DiGraph, levels: list[list[str]], states: list[str]
) -> tuple[nx.Graph, list[list[str]]]:
    """Return the lines of one step, with a name for each column that a line passes, so that lines take room as
    values do."""
    level = {name: i for i, names in enumerate(levels) for name in names}
    level |= {f"{name} before": -1 for name in states}
    lines = [(a, b) for a, b in order.edges if a in level and b in level]
    lines += [(f"{a} before", b) for (a, s), (b, t) in graph.edges if (s, t) == (0, 1) and b in level and a != b]
    threads, wider = nx.Graph(), [[name for name in names if name not in states] for names in levels]
    for a, b in lines:
        stations = [f"{a} to {b} in {i}" for i in range(level[a] + 1, level[b])]
        for i, station in enumerate(stations, level[a] + 1):
            wider[i].append(station)
        nx.add_path(threads, [a, *stations, b])
    threads.add_nodes_from(name for names in wider for name in names)
    return threads, wider


def _swept(
    threads: nx.Graph, levels: list[list[str]], fixed: dict[str, float], wish: dict[str, float]
) -> dict[str, float]:
    """Return heights after sweeps to and fro, each name moving to the mean of its neighbours, at least one from the
    next."""
    # The start: names of a column in the order of computation, centred on row 0.
    rows = {name: (len(names) - 1) / 2 - i for names in levels for i, name in enumerate(names)}
    # Sweeps alternate in direction, so that neighbours on both sides have a say; a few of them settle a graph of this size.
    for sweep in range(12):
        for names in levels if sweep % 2 else levels[::-1]:
            known = rows | fixed
            means = [_mean([known[n] for n in threads.neighbors(name)], rows[name]) for name in names]
            rows |= zip(
                names, _spread([wish.get(name, row) for name, row in zip(names, means, strict=True)]), strict=True
            )
    return {name: row for names in levels for name, row in zip(names, _snapped([rows[n] for n in names]), strict=True)}


def _snapped(rows: list[float]) -> list[float]:
    """Return heights moved to halves, in the same order and at least one apart."""
    placed: dict[int, float] = {}
    for i in sorted(range(len(rows)), key=lambda i: -rows[i]):
        # From the top down: rounding to halves may bring two rows together, and the lower one then gives way.
        placed[i] = min(round(2 * rows[i]) / 2, min(placed.values(), default=np.inf) - 1)
    return [placed[i] for i in range(len(rows))]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(wanted: list[float]) -> list[float]:
    """Return places at least one apart, in the order of those wanted (of equal ones the first highest), near them."""
    ranks = sorted(range(len(wanted)), key=lambda i: (-wanted[i], i))
    placed: dict[int, float] = {}
    for i in ranks:
        placed[i] = min(wanted[i], min(placed.values(), default=np.inf) - 1)
    # Placing from the top pushes all rows down; the mean of the displacements brings the group back to its wishes.
    shift = _mean([wanted[i] - placed[i] for i in ranks], 0.0)
    return [placed[i] + shift for i in range(len(wanted))]
