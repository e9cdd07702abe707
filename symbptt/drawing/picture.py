"""A drawing of an unrolled graph as data: boxes, arrows, lines of saved values and a legend, in points, y downward."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np

from symbptt.autodiff.unroll import FORWARD, Key
from symbptt.drawing.colours import COLOURS, SAVED
from symbptt.drawing.curves import Bounds, Point, bend_of, clipped, control_of, points_of
from symbptt.drawing.graph_layout import BEFORE, Grid, grid_of
from symbptt.drawing.marks import numbers_of, rows_of, widest
from symbptt.drawing.metrics import runs_width, text_width
from symbptt.drawing.names import Run, runs_of
from symbptt.drawing.wires import Wiring, wiring_of
from symbptt.errors import ArgumentError

MOST_STEPS = 12
MARK_ROW = 1.25
"""The height of a row of numbers, in units of their type."""
COLUMN_WIDTH = 252.0
"""The width of one of two columns of a journal's page, in points."""


@dataclass(frozen=True)
class Style:
    """Sizes in points: of type, of lowered type, of the small line (0: none) and its lowered type, of the legend; room within
    a box, the least width of one, the gutter between columns, between lanes, between rows, between steps, and the margin."""

    type: float = 11.0
    low: float = 8.0
    small: float = 8.0
    small_low: float = 7.0
    legend: float = 9.0
    pad: float = 4.5
    least: float = 24.0
    gutter: float = 17.0
    lane: float = 3.4
    row: float = 10.0
    step: float = 10.0
    margin: float = 8.0
    mark: float = 5.0
    """The type of the numbers that stand for lines of saved values where these have no room."""


WIDE = Style()
NARROW = Style(9.0, 7.0, 0.0, 0.0, 7.5, 2.2, 13.5, 7.0, 2.0, 8.0, 4.0, 2.0)
TIGHT = Style(8.0, 7.0, 0.0, 0.0, 7.0, 1.4, 11.0, 4.5, 1.4, 8.0, 3.0, 1.5)
SMALL = Style(7.0, 6.0, 0.0, 0.0, 6.5, 1.2, 9.5, 4.0, 1.2, 7.0, 2.5, 1.5)
FINE = Style(6.0, 5.0, 0.0, 0.0, 6.0, 1.0, 8.0, 3.0, 1.0, 6.0, 2.0, 1.0)
LEAST = Style(5.5, 5.0, 0.0, 0.0, 6.0, 0.7, 7.0, 2.5, 0.8, 6.0, 2.0, 1.0)
# Type under 5 points is not legible in print: what is too wide in the last style is refused.
UNWIRED = Wiring((), {}, 0, 0)
"""The wiring of a drawing without lines of saved values."""
STYLES = {"double": (WIDE,), "single": (NARROW, TIGHT, SMALL, FINE, LEAST)}
"""The styles of a width, the roomiest first; one column takes the first in which the drawing fits."""


@dataclass(frozen=True)
class Box:
    """A node: where it stands, its name in runs and in LaTeX, the small line under it, what it is."""

    node: Key
    bounds: Bounds
    role: str
    name: tuple[Run, ...]
    latex: str
    small: tuple[Run, ...]
    small_latex: str
    heavy: bool
    title: str
    marks: tuple[str, ...] = ()
    """Rows of the numbers of saved values, under all else in the box."""

    @property
    def middle(self) -> Point:
        left, top, right, bottom = self.bounds
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class Arrow:
    """A curved arrow from edge to edge of two boxes: the three points of a quadratic Bézier curve."""

    edge: tuple[Key, Key]
    points: tuple[Point, Point, Point]
    kind: str
    title: str


@dataclass(frozen=True)
class Line:
    """The dashed lines of a saved value: for each reader the corners from the box of the value to that of the reader."""

    source: Key
    ways: tuple[tuple[Key, tuple[Point, ...]], ...]
    colour: str
    title: str

    @property
    def pieces(self) -> tuple[tuple[Point, ...], ...]:
        """The lines without what two of them share: the farthest reader on either side in full, the others as branches."""
        sides: dict[bool, list[tuple[Point, ...]]] = {}
        for _, way in sorted(self.ways, key=lambda item: -abs(item[1][4][0] - item[1][3][0])):
            sides.setdefault(way[4][0] > way[3][0], []).append(way)
        first = [way[0 if i == 0 else 3 :] for i, (way, *_) in enumerate(sides.values())]
        return (*first, *(way[4:] for _, *rest in sides.values() for way in rest))


@dataclass(frozen=True)
class Word:
    """A word of the legend or a heading, at the left end of its base line or in its middle."""

    text: str
    at: Point
    size: float
    middle: bool = False


@dataclass(frozen=True)
class Picture:
    """All that is drawn; the frame is (0, 0, width, height)."""

    name: str
    width: float
    height: float
    style: Style
    bands: tuple[Bounds, ...]
    axis: tuple[Point, Point] | None
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    lines: tuple[Line, ...]
    words: tuple[Word, ...]
    swatches: tuple[tuple[str, Bounds], ...] = field(default=())
    """Roles, or kinds of arrows, and where the legend shows them."""


def picture_of(graph: nx.DiGraph, *, saved: bool = True, width: str = "double") -> Picture:
    """Return the drawing of a graph of `sb.unroll`: values stand above, the adjoint of each in its mirror image below.

    `saved=False` leaves out the lines of saved values; width="single" is for one column of a page, 252 points wide, in type
    of 9 points, or less where that is too wide, but none under 5. Where lines of saved values have no room there, each value and
    what reads it have a number.

    Raises: ArgumentError where the graph has no steps or too many, an option is misspelt, or a column is too narrow.
    """
    steps = graph.graph["steps"]
    if not 1 <= steps <= MOST_STEPS:
        raise ArgumentError(f"a drawing shows 1 to {MOST_STEPS} steps, the graph has {steps}")
    if width not in STYLES:
        raise ArgumentError(f"width is 'double' or 'single', got {width!r}")
    picture = _drawn(graph, saved, width)
    if width == "single" and picture.width > COLUMN_WIDTH:
        tries = " or ".join([*_that_fit(graph, saved), 'width="double" (--width double)'])
        raise ArgumentError(
            f"{graph.graph['name']} over {steps} step{'s' * (steps > 1)} is {picture.width:.0f} points wide in type of "
            f"{LEAST.type} points, a column has {COLUMN_WIDTH:.0f}\n  take {tries}"
        )
    return picture


def _drawn(graph: nx.DiGraph, saved: bool, width: str) -> Picture:
    """Return the drawing in the first style in which it fits, or else in the last; where the lines of saved values fit in none,
    each value and what reads it have a number instead."""
    # What a loss does not say is no arrow: it stands at the last step alone, or does not read a state.
    graph = graph.subgraph(x for x, d in graph.nodes(data=True) if (d["role"], d["expression"]) != ("cotangent", "0"))
    grid = grid_of(graph)
    wiring, marks = (wiring_of(graph, grid), numbers_of(graph, grid)) if saved else (UNWIRED, {})
    tries: list[tuple[Wiring, Mapping[Key, tuple[int, ...]], Style]] = [(wiring, {}, style) for style in STYLES[width]]
    tries += [(UNWIRED, marks, style) for style in STYLES[width] if marks and width == "single"]
    # From the roomiest style down; the last is taken even if too wide, and the caller then refuses.
    for wires, numbers, style in tries:
        picture = _composed(graph, grid, wires, style, numbers)
        if picture.width <= COLUMN_WIDTH:
            break
    return picture


def _that_fit(graph: nx.DiGraph, saved: bool) -> Iterator[str]:
    """Yield reductions of a graph that fit into one column: the parts left out, in words."""
    short, forward = _shorter(graph)
    one = [] if short is graph else ["1 step (--steps 1)"]
    no_lines, no_adjoints = ["saved=False (--no-saved)"], ["backward=False (without --backward)"]
    less = [
        (graph, False, no_lines),
        (short, saved, one),
        (short, False, one + no_lines),
        (forward, False, one + no_adjoints),
    ]
    fitting = [
        words for part, lines, words in less
        if words and not (words == no_lines and not saved) and _drawn(part, lines, "single").width <= COLUMN_WIDTH
    ]  # fmt: skip
    fitting = [words for i, words in enumerate(fitting) if words not in fitting[:i]]
    for words in fitting:
        # Leaving out less is better: a remedy that contains a smaller one is not offered.
        if not any(set(other) < set(words) for other in fitting):
            yield " with ".join(words)


def _shorter(graph: nx.DiGraph) -> tuple[nx.DiGraph, nx.DiGraph]:
    """Return one step of a graph, and that without its backward pass."""
    of_steps = getattr(graph, "_of_steps", None)
    if of_steps is not None:  # the first of many steps is not as wide as a step that is the last too
        return graph if graph.graph["steps"] == 1 else of_steps(1, _has_adjoints(graph)), of_steps(1, False)
    short = graph if graph.graph["steps"] == 1 else _first_step(graph)
    roles = (*FORWARD, "param", "const", "loss")
    return short, short.subgraph(node for node, role in short.nodes(data="role") if role in roles)


def _has_adjoints(graph: nx.DiGraph) -> bool:
    return any(role == "adjoint" for _, role in graph.nodes(data="role"))


def _first_step(graph: nx.DiGraph) -> nx.DiGraph:
    """Return the part of a graph that belongs to the first step, and what all steps share."""
    part = nx.DiGraph(graph.subgraph(node for node in graph if node[1] in (None, 0, 1)))
    part.graph["steps"] = 1
    return part


@dataclass(frozen=True)
class _Frame:
    """Coordinates: the middle of each column, the left end of each gutter, and heights by level."""

    style: Style
    columns: dict[tuple[int, int], float]
    gutters: dict[tuple[int, int], float]
    bands: tuple[tuple[float, float], ...]
    right: float
    pitch: float
    tall: float
    middle: float
    half: float
    entries: int
    more: Mapping[tuple[bool, int], float]
    """The room that rows of numbers take, above the middle or below it, in each half of a row."""

    def y(self, level: float) -> float:
        """Return the middle of a row."""
        more = sum(x for (above, half), x in self.more.items() if above == (level > 0) and half < 2 * abs(level))
        away = self.half + (abs(level) - 1) * self.pitch + self.tall / 2 + more
        return self.middle - away if level > 0 else self.middle + away + (self.pitch - self.tall)

    def track(self, number: int) -> float:
        return self.middle - self.half + self.style.row * 0.65 + self.style.lane * (number + 0.5)

    def lane(self, gutter: tuple[int, int], number: int, below: bool) -> float:
        return self.gutters[gutter] + self.style.lane * (number + (0.5 if below else 0.0))


def _composed(
    graph: nx.DiGraph, grid: Grid, wiring: Wiring, style: Style, numbers: Mapping[Key, tuple[int, ...]]
) -> Picture:
    backward = _has_adjoints(graph)
    names = {node: runs_of(data["latex"]) for node, data in graph.nodes(data=True)}
    small = {node: _small(graph, node) if style.small else ((), "") for node in grid.places}
    wide = {node: _room(graph.nodes[node]["role"], names[node], small[node][0], style) for node in grid.places}
    marks = _marks(grid, numbers, wide, style)
    wide |= {node: max([wide[node], *(text_width(row, style.mark) + 2 * style.pad for row in rows)])
             for node, rows in marks.items()}  # fmt: skip
    frame = _frame(grid, wiring, wide, style, any(runs for runs, _ in small.values()), _more(grid, marks, style))
    boxes = {
        node: _box(
            graph, node, (frame.columns[p.step, p.column], frame.y(p.level)), wide[node], small[node], names, frame,
            marks.get(node, ()),
        )
        for node, p in grid.places.items()
    }  # fmt: skip
    boxes |= _loss_box(graph, names, frame, backward)
    arrows = tuple(_arrows(graph, grid, boxes))
    lines = tuple(_lines(graph, grid, wiring, boxes, frame))
    return _framed(graph, frame, boxes, arrows, lines, backward, bool(marks))


def _marks(
    grid: Grid, numbers: Mapping[Key, tuple[int, ...]], wide: Mapping[Key, float], style: Style
) -> dict[Key, tuple[str, ...]]:
    """Return the rows of numbers in boxes, as long as the widest box of a column has room for."""
    room: dict[int, float] = {}
    for node, place in grid.places.items():
        least = widest(numbers.get(node, ()), style.mark) + 2 * style.pad
        room[place.column] = max(room.get(place.column, 0.0), wide[node], least)
    return {
        node: rows_of(own, room[grid.places[node].column] - 2 * style.pad, style.mark) for node, own in numbers.items()
    }


def _room(role: str, name: tuple[Run, ...], small: tuple[Run, ...], style: Style) -> float:
    """Return the width of a box; what the loss gives has none, and stands in lower type."""
    if role == "cotangent":
        return runs_width(name, style.low, style.low)
    inner = max(runs_width(name, style.type, style.low), runs_width(small, style.small, style.small_low))
    return max(style.least, inner + 2 * style.pad)


def _small(graph: nx.DiGraph, node: Key) -> tuple[tuple[Run, ...], str]:
    """Return the small line of a box: the parameters that a value reads, or the gradients that sum an adjoint."""
    forward = graph.nodes[node]["role"] in FORWARD
    near = graph.predecessors(node) if forward else graph.successors(node)
    names = [graph.nodes[n]["latex"] for n in near if n[1] is None and graph.nodes[n]["role"] != "loss"]
    names = names if len(names) < 5 else [*names[:3], r"\ldots"]
    runs = [run for i, name in enumerate(names) for run in ((Run(" "), *runs_of(name)) if i else runs_of(name))]
    return tuple(runs), r"\;".join(names)


def _more(grid: Grid, marks: Mapping[Key, tuple[str, ...]], style: Style) -> dict[tuple[bool, int], float]:
    """Return the room that rows of numbers take in each half of a row; a box lies in two halves, the levels being whole or half."""
    found: dict[tuple[bool, int], float] = {}
    for node, rows in marks.items():
        level = grid.places[node].level
        for half in (round(2 * abs(level)) - 1, round(2 * abs(level))):
            key = level > 0, half
            found[key] = max(found.get(key, 0.0), len(rows) * style.mark * MARK_ROW / 2)
    return found


def _frame(grid: Grid, wiring: Wiring, wide: dict[Key, float], style: Style, has_small: bool,
           more: Mapping[tuple[bool, int], float]) -> _Frame:  # fmt: skip
    widths: dict[int, float] = {}
    for node, place in grid.places.items():
        widths[place.column] = max(widths.get(place.column, 0.0), wide[node])
    x, columns, gutters, bands = style.margin, {}, {}, []
    for step in sorted({place.step for place in grid.places.values()}):
        if step > 1:
            x += style.step
        start = x
        for column in range(BEFORE if step == 1 else 0, grid.columns):
            if column == 0:
                start = x
                x += style.gutter / 2
            if column not in widths:
                continue
            columns[step, column] = x + widths[column] / 2
            x += widths[column]
            gutters[step, column] = x + style.gutter * 0.3
            x += style.gutter + style.lane * wiring.lanes.get((step, column), 0)
        bands.append((start, x - style.gutter / 2))
        x -= style.gutter / 2
    tall = style.type * 1.55 + (style.small * 1.2 if has_small else 0.0)
    levels = [place.level for place in grid.places.values()]
    pitch = tall + style.row + style.lane * 0.75 * max(0, wiring.entries)
    half = (style.lane * wiring.tracks + style.row * 1.3) / 2
    top = style.margin + style.legend * 2 + (max(levels) - 1) * pitch + tall
    return _Frame(style, columns, gutters, tuple(bands), x, pitch, tall, top + half, half, wiring.entries, more)


def _box(
    graph: nx.DiGraph, node: Key, at: Point, wide: float, small: tuple[tuple[Run, ...], str],
    names: dict[Key, tuple[Run, ...]], frame: _Frame, marks: tuple[str, ...] = (),
) -> Box:  # fmt: skip
    data, (x, y) = graph.nodes[node], at
    tall = frame.tall + len(marks) * frame.style.mark * MARK_ROW
    # Only states and their adjoints have a node before the first step: (name, 0).
    heavy = data["role"] == "state" or (data["role"] == "adjoint" and (node[0], 0) in graph)
    kept = (
        f"; {'reads' if data['role'] == 'adjoint' else 'kept as'} {', '.join(' '.join(marks).split())}" if marks else ""
    )
    bounds = (x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2)
    return Box(node, bounds, data["role"], names[node], data["latex"], *small, heavy, _title(data) + kept, marks)


def _title(data: dict[str, str]) -> str:
    line = f", {data['line']}" if data.get("line") else ""
    is_given = data["role"] == "cotangent" or data["expression"] in (data["symbol"], "")
    given = "" if is_given else f" = {data['expression']}"
    return f"{data['symbol']}{given} ({data['role']} {data['shape']}; {data['rule']}{line})"


def _loss_box(graph: nx.DiGraph, names: dict[Key, tuple[Run, ...]], frame: _Frame, backward: bool) -> dict[Key, Box]:
    """Return the box of the loss, at the right end of the middle line."""
    node = next(node for node, role in graph.nodes(data="role") if role == "loss" and node[1] is None)
    style = frame.style
    x = frame.right + style.gutter * 0.7 + style.least / 2
    return {node: _box(graph, node, (x, frame.middle), style.least, ((), ""), names, frame)}


def _arrows(graph: nx.DiGraph, grid: Grid, boxes: dict[Key, Box]) -> Iterator[Arrow]:
    """Yield the arrows but for saved values; into the loss, those of the last step."""
    bends: dict[tuple[str, str, int, bool], float] = {}
    nodes = list(boxes)
    bounds = np.array([boxes[node].bounds for node in nodes])
    number = {node: i for i, node in enumerate(nodes)}
    last = graph.graph["steps"]
    for a, b, data in graph.edges(data=True):
        # Saved values have lines of their own; parameters and gradients stand in small type and have no box.
        if a not in boxes or b not in boxes or data["saved"] or (b[1] is None and a[1] != last):
            continue
        source, target = boxes[a], boxes[b]
        # Steps repeat: an arrow between the same two names bends alike at all steps, and its bend is computed once.
        key = (a[0], b[0], (b[1] if b[1] is not None else 99) - (a[1] or 0), 0 in (a[1], b[1]))
        if key not in bends:
            left, right = sorted((source.middle[0], target.middle[0]))
            reach = 90.0
            near = (bounds[:, 2] > left - reach) & (bounds[:, 0] < right + reach)
            # An arrow always touches the boxes at its own ends.
            near[[number[a], number[b]]] = False
            bends[key] = bend_of(source.middle, target.middle, bounds[near])
        control = control_of(source.middle, target.middle, bends[key])
        points = clipped(source.middle, control, target.middle, source.bounds, target.bounds, 1.0)
        forward = graph.nodes[b]["role"] in FORWARD
        yield Arrow((a, b), points, "forward" if forward else "backward", _edge_title(graph, a, b))


def _edge_title(graph: nx.DiGraph, a: Key, b: Key) -> str:
    # What the loss gives is itself a derivative: without brackets it would read as ∂∂L.
    read, reader = (
        f"({text})" if "/" in text else text for text in (graph.nodes[a]["symbol"], graph.nodes[b]["symbol"])
    )
    local = graph.edges[a, b]["local"]
    return local if local.startswith("dL/d") else f"∂{reader}/∂{read}: {local}"


def _lines(graph: nx.DiGraph, grid: Grid, wiring: Wiring, boxes: dict[Key, Box], frame: _Frame) -> Iterator[Line]:
    colours = _colours(wiring, grid)
    for i, wire in enumerate(wiring.wires):
        place, style = grid.places[wire.source], frame.style
        _, _, right, bottom = boxes[wire.source].bounds
        out = frame.lane((place.step, place.column), wire.lane, below=False)
        leave = bottom + style.row * 0.3
        start = ((right - style.pad, bottom), (right - style.pad, leave), (out, leave), (out, frame.track(wire.track)))
        ways = []
        for reader, lane, entry in wire.readers:
            at = grid.places[reader]
            left, top, edge, _ = boxes[reader].bounds
            down = frame.lane((at.step, at.column), lane, below=True)
            room = (edge - left - 2 * style.pad) / (frame.entries + 1)
            x, y = edge - style.pad - room * entry, top - style.row * 0.6 - style.lane * 0.75 * entry
            ways.append((reader, (*start, (down, frame.track(wire.track)), (down, y), (x, y), (x, top - 0.5))))
        readers = ", ".join(graph.nodes[reader]["symbol"] for reader, _ in ways)
        title = f"{graph.nodes[wire.source]['symbol']} is kept for {readers}"
        yield Line(wire.source, tuple(ways), SAVED[colours[i]], title)


def _colours(wiring: Wiring, grid: Grid) -> list[int]:
    """Return a colour for each line, not one that another in the same gutters has, or else the one that the fewest
    have."""
    places = [
        {(grid.places[n].step, grid.places[n].column) for n in (w.source, *(r for r, _, _ in w.readers))}
        for w in wiring.wires
    ]
    found: list[int] = []
    for i, gutters in enumerate(places):
        # Greedy colouring in the order of the lines: optimal colourings are not needed with six colours.
        beside = [found[j] for j in range(i) if gutters & places[j]]
        found.append(min(range(len(SAVED)), key=lambda colour: (beside.count(colour), found.count(colour), colour)))
    return found


def _framed(
    graph: nx.DiGraph, frame: _Frame, boxes: dict[Key, Box], arrows: Sequence[Arrow], lines: Sequence[Line], backward: bool,
    numbered: bool,
) -> Picture:  # fmt: skip
    """Return the picture with headings and legend, its frame around all that is drawn."""
    style = frame.style
    extents = [*(box.bounds for box in boxes.values()), *(_extent(points_of(*arrow.points)) for arrow in arrows)]
    extents += [_extent(way) for line in lines for _, way in line.ways]
    left, top = (min(e[i] for e in extents) - style.margin for i in (0, 1))
    right, bottom = (max(e[i] for e in extents) + style.margin for i in (2, 3))
    head = style.legend * 1.9
    # The frame is known only after all is placed: then everything moves so that it begins at (0, 0).
    shift = (-left, head - top)
    tall = bottom - top + head
    words, swatches, foot = _legend(graph, backward, bool(lines), numbered, right - left, tall, style)
    bands = tuple((a - left, 0.0, b - left, tall) for a, b in frame.bands)
    headings = [
        Word(f"step {t}", ((a + c) / 2, style.legend * 1.35), style.legend, True)
        for t, (a, _, c, _) in enumerate(bands, 1)
    ]
    axis = ((0.0, frame.middle + shift[1]), (right - left, frame.middle + shift[1])) if backward else None
    return Picture(
        graph.graph["name"], right - left, foot, style, bands, axis,
        tuple(_moved_box(box, shift) for box in boxes.values()),
        tuple(Arrow(a.edge, (_moved(a.points[0], shift), _moved(a.points[1], shift), _moved(a.points[2], shift)), a.kind, a.title)
              for a in arrows),
        tuple(Line(x.source, tuple((r, tuple(_moved(p, shift) for p in way)) for r, way in x.ways), x.colour, x.title)
              for x in lines),
        (*headings, *words), swatches,
    )  # fmt: skip


def _extent(points: Any) -> Bounds:
    """Return the box around points.

    Shapes: points (n, 2).
    """
    (left, top), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
    return float(left), float(top), float(right), float(bottom)


def _moved(p: Point, shift: Point) -> Point:
    return p[0] + shift[0], p[1] + shift[1]


def _moved_box(box: Box, shift: Point) -> Box:
    a, b, c, d = box.bounds
    return replace(box, bounds=(a + shift[0], b + shift[1], c + shift[0], d + shift[1]))


def _legend(
    graph: nx.DiGraph, backward: bool, saved: bool, numbered: bool, width: float, top: float, style: Style
) -> tuple[list[Word], tuple[tuple[str, Bounds], ...], float]:
    """Return the legend of colours and lines, in rows as wide as the picture, and the caption of the small type."""
    roles = {role for (_, t), role in graph.nodes(data="role") if t is not None} | {"loss"}
    named = {role: role for role in COLOURS if role in roles}
    named |= {"gradient": "gradient of an input"} if "gradient" in named else {}
    named |= {"cotangent": "given by the loss"} if "cotangent" in named else {}
    named |= {"forward": "read forward"} | ({"backward": "passed back"} if backward else {})
    named |= {"saved": "kept for the backward pass"} if saved else {}
    size, x, y = style.legend, style.margin, top + style.legend * 1.6
    words, swatches = [], []
    for role, text in named.items():
        step = size * 2 + text_width(text, size) + size
        if x + step - size > width - style.margin and x > style.margin:
            x, y = style.margin, y + size * 1.45
        swatches.append((role, (x, y - size * 0.75, x + size * 1.5, y + size * 0.05)))
        words.append(Word(text, (x + size * 2, y), size))
        x += step
    for line in _caption(graph, backward, numbered, style):
        for part in _wrapped(line, width - 2 * style.margin, size):
            y += size * 1.45
            words.append(Word(part, (style.margin, y), size))
    return words, tuple(swatches), y + size * 0.6


def _wrapped(text: str, width: float, size: float) -> Iterable[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, size) > width:
            yield line
            longer = word
        line = longer
    yield line


def _caption(graph: nx.DiGraph, backward: bool, numbered: bool, style: Style) -> list[str]:
    """Return the meaning of the small type, and the values that are computed once for all steps."""
    lines = []
    if style.small:
        gradients = ", the gradients that sum an adjoint over the steps" if backward else ""
        lines.append(f"In small type: the parameters that a value reads{gradients}.")
    if numbered:
        lines.append(
            "A number in a box: a value that is kept for the backward pass; in an adjoint, those that it reads."
        )
    if graph.graph["steps"] > 1:
        lines += _of_the_loss({t for (_, t), role in graph.nodes(data="role") if role == "loss" and t is not None})
    once = [d["symbol"] for (_, t), d in graph.nodes(data=True) if t is None and d["role"] in ("value", "adjoint")]
    return lines + ([f"Computed once for all steps: {', '.join(once)}."] if once else [])


def _of_the_loss(times: Collection[int]) -> Iterator[str]:
    """Yield what the arrows into L leave out; `times` are the steps at which a model has a loss."""
    if not times:
        yield "The loss may read every step; its arrows are those of the last."
    elif len(times) > 1:
        yield "L is made of the losses of all steps; the arrow into it is that of the last."
