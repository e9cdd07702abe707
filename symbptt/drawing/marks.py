"""Numbers of saved values, where their lines have no room: each stands in the box of the value and in the boxes of all that
read it backward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import networkx as nx

from symbptt.autodiff.unroll import Key
from symbptt.drawing.graph_layout import Grid
from symbptt.drawing.metrics import text_width

GAP = " "
"""What stands between two numbers of a row."""


def numbers_of(graph: nx.DiGraph, grid: Grid) -> dict[Key, tuple[int, ...]]:
    """Return the numbers in each box: its own where the value is kept, those of what it reads where it is an adjoint. They
    grow from the left to the right, and in a column from the top down."""
    places = grid.places
    read = [(a, b) for a, b, saved in graph.edges(data="saved") if saved and a in places and b in places]
    sources = sorted({a for a, _ in read}, key=lambda a: (places[a].step, places[a].column, -places[a].level))
    number = {a: i for i, a in enumerate(sources, 1)}
    found: dict[Key, tuple[int, ...]] = {a: (i,) for a, i in number.items()}
    for a, b in read:
        found[b] = tuple(sorted({*found.get(b, ()), number[a]}))
    return found


def rows_of(numbers: Sequence[int], room: float, size: float) -> tuple[str, ...]:
    """Return numbers as rows of text that take at most `room` points in type of `size`, each at least one number."""
    rows: list[str] = []
    for text in map(str, numbers):
        longer = f"{rows[-1]}{GAP}{text}" if rows else text
        if rows and text_width(longer, size) <= room:
            rows[-1] = longer
        else:
            rows.append(text)
    return tuple(rows)


def widest(numbers: Iterable[int], size: float) -> float:
    """Return the width of the widest number, for which each box has room."""
    return max((text_width(str(i), size) for i in numbers), default=0.0)
