"""The lines of saved values: down beside a column, along the middle, and down beside another, never under a box.

A value has one line, which branches to all that read it backward. Each line has a lane of its own in the gutter at the right
of a column and a track of its own in the middle, between the forward and the backward half.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from symbptt.autodiff.unroll import Key
from symbptt.drawing.graph_layout import Grid, Place

Gutter = tuple[int, int]
"""A step, and the column at whose right the gutter is."""


@dataclass(frozen=True)
class Wire:
    """The line of a saved value: its track, the lane beside its own column, and for each reader the lane beside that one's
    column and the number of its entry, from the right."""

    source: Key
    track: int
    lane: int
    readers: tuple[tuple[Key, int, int], ...]


@dataclass(frozen=True)
class Wiring:
    """All lines; how many lanes each gutter has, how many tracks there are, and the most entries of one box."""

    wires: tuple[Wire, ...]
    lanes: dict[Gutter, int]
    tracks: int
    entries: int


def wiring_of(graph: nx.DiGraph, grid: Grid) -> Wiring:
    """Return the lines of the saved values of a graph between the boxes of a grid."""
    places = grid.places
    read: dict[Key, list[Key]] = {}
    for a, b, saved in graph.edges(data="saved"):
        if saved and a in places and b in places:
            read.setdefault(a, []).append(b)
    above, below = _lanes(read, places)
    entries = _entries(read, places, below)
    tracks = _tracks({a: [_gutter(places[n]) for n in (a, *targets)] for a, targets in read.items()})
    wires = tuple(
        Wire(a, tracks[a], above[a], tuple((b, below[a, _gutter(places[b])], entries[a, b]) for b in targets))
        for a, targets in read.items()
    )
    lanes: dict[Gutter, int] = {}
    for gutter, lane in [(_gutter(places[a]), lane) for a, lane in above.items()] + [
        (gutter, lane) for (_, gutter), lane in below.items()
    ]:
        lanes[gutter] = max(lanes.get(gutter, 0), lane + 1)
    return Wiring(wires, lanes, max(tracks.values(), default=-1) + 1, max(entries.values(), default=-1) + 1)


def _gutter(place: Place) -> Gutter:
    return place.step, place.column


def _lanes(
    read: dict[Key, list[Key]], places: dict[Key, Place]
) -> tuple[dict[Key, int], dict[tuple[Key, Gutter], int]]:
    """Lanes of values in the gutters beside their columns, and in those beside their readers: nearest to the column what
    stands nearest to the middle, so that lines do not cross on their way to the boxes."""
    forward: dict[Gutter, list[tuple[float, Key]]] = {}
    backward: dict[Gutter, dict[Key, float]] = {}
    for a, targets in read.items():
        forward.setdefault(_gutter(places[a]), []).append((places[a].level, a))
        for b in targets:
            depths = backward.setdefault(_gutter(places[b]), {})
            depths[a] = max(depths.get(a, 0.0), -places[b].level)
    above = {
        a: lane for found in forward.values() for lane, (_, a) in enumerate(sorted(found, key=lambda item: item[0]))
    }
    below = {
        (a, gutter): lane
        for gutter, depths in backward.items()
        for lane, a in enumerate(sorted(depths, key=lambda key: depths[key]))
    }
    return above, below


def _entries(
    read: dict[Key, list[Key]], places: dict[Key, Place], below: dict[tuple[Key, Gutter], int]
) -> dict[tuple[Key, Key], int]:
    """Return the numbers of the entries of each box, from the right, in the order of the lanes."""
    entering: dict[Key, list[Key]] = {}
    for a, targets in read.items():
        for b in targets:
            entering.setdefault(b, []).append(a)
    return {
        (a, b): i
        for b, sources in entering.items()
        for i, a in enumerate(sorted(sources, key=lambda a: below[a, _gutter(places[b])]))
    }


def _tracks(spans: dict[Key, list[Gutter]]) -> dict[Key, int]:
    """Tracks such that no two lines on the same one touch; a line that stays in one gutter needs none but its own."""
    tracks: dict[Key, int] = {}
    ends: list[Gutter] = []
    # Interval partitioning: in the order of their beginnings, taking the first free track uses the fewest tracks.
    for key in sorted(spans, key=lambda key: (min(spans[key]), max(spans[key]))):
        first, last = min(spans[key]), max(spans[key])
        free = [i for i, end in enumerate(ends) if end < first]
        track = free[0] if free else len(ends)
        if free:
            ends[track] = last
        else:
            ends.append(last)
        tracks[key] = track
    return tracks
