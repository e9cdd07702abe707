"""Where the nodes of an unrolled graph stand in a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from symbptt.derive.unroll import FORWARD, Key

Point = tuple[float, float]

COLUMN, ROW, GAP = 1.2, 0.92, 0.4
"""Distances of columns, of rows, and between two steps."""
BENDS = tuple(sign * size for size in (0.0, 0.12, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0) for sign in (1, -1))
"""How far arrows may leave the straight line, relative to its length."""
LEFT = -2.15
"""Where a drawing begins; the first column stands at 0."""


@dataclass(frozen=True)
class Layout:
    """Where nodes stand; the left and right ends of each step; the top and the bottom."""

    at: dict[Key, Point]
    bands: tuple[Point, ...]
    top: float
    bottom: float

    @property
    def width(self) -> float:
        return self.bands[-1][1] - LEFT


def lay_out(graph: nx.DiGraph) -> Layout:
    """Return positions: columns from left to right as values are computed, states on lanes of their own."""
    order = step_graph(graph)
    columns = [list(names) for names in nx.topological_generations(order)]
    rows = _rows(graph, order, columns)
    column = {name: i * COLUMN for i, names in enumerate(columns) for name in names}
    width, lowest = len(columns) * COLUMN, min(rows.values())
    height = {name: (row - lowest + 1.2) * ROW for name, row in rows.items()}
    at: dict[Key, Point] = {}
    for (name, t), attributes in graph.nodes(data=True):
        base = attributes.get("of", name)
        if t is not None and base in column and attributes["role"] != "cotangent":
            x = (t - 1) * (width + GAP) + column[base] if t else -COLUMN
            at[name, t] = (x, height[base] if attributes["role"] in FORWARD else -height[base])
    at |= _cotangents(graph, at)
    starts = [t * (width + GAP) - COLUMN / 2 for t in range(graph.graph["steps"])]
    reach = [y for _, y in at.values()]
    return Layout(at, tuple((start, start + width) for start in starts), max(reach) + 0.95, min(0.0, *reach) - 0.5)


def _cotangents(graph: nx.DiGraph, at: dict[Key, Point]) -> dict[Key, Point]:
    """What the loss gives stands below or above the adjoint that it is given to, where there is more room."""
    lines = [(at[a], at[b]) for a, b in graph.edges if a in at and b in at]
    found = {}
    for node, role in graph.nodes(data="role"):
        if role == "cotangent":
            x, y = at[next(graph.successors(node))]
            places = [(x, y - 0.95 * ROW), (x, y + 0.95 * ROW)]
            crossed = [sum(_passed(*line, np.array([place]), 0.0) for line in lines) for place in places]
            taken = [
                sum(abs(x - place[0]) < 0.8 and abs(y - place[1]) < 0.7 for x, y in at.values()) for place in places
            ]
            found[node] = min(zip(taken, crossed, places, strict=True), key=lambda item: item[:2])[2]
    return found


def step_graph(graph: nx.DiGraph) -> nx.DiGraph:
    """Return the names of one step, each before all that is computed from it.

    A value that has an adjoint but no node of its own, as the argument of an activation, has a place here as well.
    """
    order = nx.DiGraph()
    roles = graph.nodes(data="role")
    for name, t in graph:
        if t == 1 and roles[name, t] in FORWARD:
            order.add_node(name)
    for source, target in graph.edges:
        if source[1] != 1 or target[1] != 1 or roles[source] == "cotangent":
            continue
        if roles[target] in FORWARD:
            order.add_edge(source[0], target[0])
        elif roles[source] not in FORWARD:
            order.add_edge(graph.nodes[target]["of"], graph.nodes[source]["of"])
    return order


def _rows(graph: nx.DiGraph, order: nx.DiGraph, columns: list[list[str]]) -> dict[str, float]:
    """Heights of names: a state on a lane of its own, the first of several below all else and others above; inputs on
    the other side from the first state; values in between, near what they read and what reads them."""
    states = [name for name in order if (name, 0) in graph]
    levels = [found for names in columns if (found := [name for name in names if (name, 1) in graph])]
    threads, levels = _threaded(graph, order, levels, states)
    reach = max(map(len, levels)) / 2
    side = -1.0 if len(states) > 1 else 1.0
    fixed = {name: reach + i for i, name in enumerate(states[1:])} | {states[0]: side * reach}
    fixed |= {f"{name} before": row for name, row in fixed.items()}
    rows = _swept(threads, levels, fixed, {name: -side * reach for name in order if _is_input(graph, name)})
    rows = {name: row for name, row in rows.items() if name in order}
    low, high = min(rows.values(), default=0.0), max(rows.values(), default=0.0)
    rows |= {name: high + 1 + i for i, name in enumerate(states[1:])} | {states[0]: low - 1 if side < 0 else high + 1}
    for names in columns[::-1]:  # what has an adjoint only stands beside what is computed from it
        hidden = [name for name in names if name not in rows]
        rows |= zip(
            hidden, _spread([_mean([rows[n] for n in order.successors(name)], 0.0) for name in hidden]), strict=True
        )
    return rows


def _is_input(graph: nx.DiGraph, name: str) -> bool:
    return graph.nodes.get((name, 1), {}).get("role") in ("input", "index")


def _threaded(
    graph: nx.DiGraph, order: nx.DiGraph, levels: list[list[str]], states: list[str]
) -> tuple[nx.Graph, list[list[str]]]:
    """The lines of one step, with a name for each column that a line passes, so that lines take room as values do."""
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
    """Heights after sweeps to and fro, each name moving to the mean of its neighbours, at least one from the next."""
    rows = {name: (len(names) - 1) / 2 - i for names in levels for i, name in enumerate(names)}
    for sweep in range(12):
        for names in levels if sweep % 2 else levels[::-1]:
            known = rows | fixed
            means = [_mean([known[n] for n in threads.neighbors(name)], rows[name]) for name in names]
            rows |= zip(
                names, _spread([wish.get(name, row) for name, row in zip(names, means, strict=True)]), strict=True
            )
    return {name: row for names in levels for name, row in zip(names, _snapped([rows[n] for n in names]), strict=True)}


def _snapped(rows: list[float]) -> list[float]:
    """Heights moved to halves, in the same order and at least one apart."""
    placed: dict[int, float] = {}
    for i in sorted(range(len(rows)), key=lambda i: -rows[i]):
        placed[i] = min(round(2 * rows[i]) / 2, min(placed.values(), default=np.inf) - 1)
    return [placed[i] for i in range(len(rows))]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(wanted: list[float]) -> list[float]:
    """Places at least one apart, in the order of those wanted (of equal ones the first highest), near them."""
    ranks = sorted(range(len(wanted)), key=lambda i: (-wanted[i], i))
    placed: dict[int, float] = {}
    for i in ranks:
        placed[i] = min(wanted[i], min(placed.values(), default=np.inf) - 1)
    shift = _mean([wanted[i] - placed[i] for i in ranks], 0.0)
    return [placed[i] + shift for i in range(len(wanted))]


def bend_of(source: Point, target: Point, others: Iterable[Point], widest: float = 1.0) -> float:
    """The least bend of an arrow with which it passes the fewest nodes, none over `widest`."""
    points = np.array([*others, (np.inf, np.inf)])
    return min(
        (rad for rad in BENDS if abs(rad) <= widest), key=lambda rad: (_passed(source, target, points, rad), abs(rad))
    )


def _passed(source: Point, target: Point, points: Any, bend: float) -> int:
    (x0, y0), (x1, y1) = source, target
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    s = np.linspace(0, 1, 40)[:, None]
    curve = (1 - s) ** 2 * np.array(source) + 2 * s * (1 - s) * np.array(control) + s**2 * np.array(target)
    distance = np.abs(points[:, None, :] - curve[None, :, :]) / (0.45, 0.32)
    return int((distance.max(axis=2).min(axis=1) < 1).sum())
