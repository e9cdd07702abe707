"""Drawings, with matplotlib: an unrolled cell with its adjoints, and the norm of the adjoint against time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from symbptt.derive.unroll import Key
from symbptt.errors import ArgumentError, SymbpttError

Point = tuple[float, float]

MOST_STEPS = 12
ROW = 0.92
"""Distance of rows, in distances of columns."""
LEFT = -1.9
"""Where a drawing begins; step 1 begins at -0.5."""
INCH = 0.8
"""Distance of columns, in inches."""

FORWARD = ("input", "index", "state", "value", "output")
COLOURS = {
    "input": ("#cdebdd", "#009e73"),
    "index": ("#cdebdd", "#009e73"),
    "state": ("#cce3f1", "#0072b2"),
    "value": ("#f2f9fd", "#56b4e9"),
    "output": ("#f5ddea", "#cc79a7"),
    "adjoint": ("#fbe3d3", "#d55e00"),
    "gradient": ("#fff3d2", "#e69f00"),
}
"""Fill and edge of a node by its role. Source: Okabe, Ito 2008, "Color universal design", which colour-blind people can
tell apart."""

ARROWS = {"forward": "#40586b", "backward": "#d55e00", "saved": "#9aa5ad"}
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKS = ("-", "--", "-.", ":")


def draw_unrolled(graph: nx.DiGraph, where: Any) -> None:
    """Draw a graph of `sb.unroll` on matplotlib axes, or into a file where `where` is a path.

    Time runs to the right; values stand above, and the adjoint of each in its mirror image below. Parameters stand in
    small type under the values that read them, their gradients under the adjoints that they sum.

    Raises: ArgumentError where the graph has no steps, or more than fit on a page.
    """
    steps = graph.graph["steps"]
    if not 1 <= steps <= MOST_STEPS:
        raise ArgumentError(f"a drawing shows 1 to {MOST_STEPS} steps, the graph has {steps}")
    layout = lay_out(graph)
    if not isinstance(where, str | Path):
        _draw(graph, layout, where)
        return
    figure = _figure(layout.width * INCH, (layout.top - layout.bottom) * INCH)
    _draw(graph, layout, figure.add_axes((0, 0, 1, 1)))
    save(figure, where)


def plot_adjoint_norm(flow: Mapping[str, Any], axes: Any, times: Sequence[Any] | None = None, label: str = "step t") -> None:
    """Draw the norm of the adjoint of each state against time on a logarithmic axis.

    Shapes: each value of `flow` is (T,), the norm at steps 1 to T; `times` are T numbers to stand for the steps.
    """
    for i, (name, norms) in enumerate(flow.items()):
        norms = np.asarray(norms, dtype=float)
        shown = np.where(norms > 0, norms, np.nan)  # a logarithmic axis has no zero
        at = np.arange(1, len(norms) + 1) if times is None else times
        style = {"color": LINES[i % len(LINES)], "linestyle": MARKS[i // len(LINES) % len(MARKS)], "linewidth": 1.6}
        axes.plot(at, shown, label=rf"$\Vert \partial L / \partial {name}_t \Vert_2$" if name.isalpha() else name, **style)
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("norm of the adjoint")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def norm_figure(flow: Mapping[str, Any], title: str, times: Sequence[Any] | None, label: str) -> Any:
    """Return a figure of `plot_adjoint_norm` with a title."""
    figure = _figure(7.5, 4.2)
    axes = figure.add_subplot()
    plot_adjoint_norm(flow, axes, times, label)
    axes.set_title(title, fontsize=10, loc="left")
    figure.set_layout_engine("constrained")
    return figure


def save(figure: Any, path: str | Path) -> None:
    """Write a figure into a file of the type that its name ends with; an SVG is the same bytes at each run."""
    matplotlib = _matplotlib()
    kind = Path(path).suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise ArgumentError(f"no drawing can be written as {Path(path).name!r}\n  endings: {', '.join(sorted(known))}")
    metadata = {"svg": {"Date": None, "Creator": "symbptt"}, "pdf": {"CreationDate": None}}.get(kind)
    with matplotlib.rc_context({"svg.hashsalt": "symbptt"}):
        figure.savefig(path, format=kind, metadata=metadata, dpi=150, bbox_inches="tight", pad_inches=0.12)


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.lines
        import matplotlib.patches
    except ImportError as error:
        raise SymbpttError("drawings need matplotlib, which is not installed\n  pip install 'symbptt[plot]'") from error
    return matplotlib


def _figure(width: float, height: float) -> Any:
    return _matplotlib().figure.Figure(figsize=(width, height))


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
    steps = graph.graph["steps"]
    order = step_graph(graph)
    columns = [list(names) for names in nx.topological_generations(order)]
    rows = _rows(order, columns, graph)
    column = {name: i for i, names in enumerate(columns) for name in names}
    lowest, stride = min(rows.values()), len(columns) + 0.45
    height = {name: (row - lowest + 1.15) * ROW for name, row in rows.items()}
    at: dict[Key, Point] = {}
    for (name, t), attributes in graph.nodes(data=True):
        base = attributes.get("of", name)
        if t is None or base not in column or attributes["role"] == "cotangent":
            continue
        x = (t - 1) * stride + column[base] if t else -0.95
        at[name, t] = (x, height[base] if attributes["role"] in FORWARD else -height[base])
    _place_cotangents(graph, at)
    bands = tuple((t * stride - 0.5, t * stride + len(columns) - 0.5) for t in range(steps))
    reach = [y for _, y in at.values()]
    return Layout(at, bands, max(reach) + 1.0, min(reach) - 0.8)


def _place_cotangents(graph: nx.DiGraph, at: dict[Key, Point]) -> None:
    for node, attributes in graph.nodes(data=True):
        if attributes["role"] == "cotangent":
            (x, y) = at[next(graph.successors(node))]
            at[node] = (x + 0.02, y - ROW)


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


def _rows(order: nx.DiGraph, columns: list[list[str]], graph: nx.DiGraph) -> dict[str, float]:
    """Heights of names, at least one apart in a column and near those of the names beside them.

    A state has a lane of its own: the first of several below all else, the others above; the inputs stand on the other side
    from the first state, so that what comes from both to a value comes from two sides.
    """
    states = [name for name in order if (name, 0) in graph]
    reach = max(len([name for name in names if name not in states]) for names in columns) / 2
    side = -1.0 if len(states) > 1 else 1.0
    lanes = {name: reach + i for i, name in enumerate(states[1:])} | {states[0]: side * reach}
    inputs = {name: -side * reach for name in order if graph.nodes.get((name, 1), {}).get("role") in ("input", "index")}
    rows = {name: float(-i) for names in columns for i, name in enumerate(n for n in names if n not in states)}
    for sweep in range(8):
        for names in columns if sweep % 2 else columns[::-1]:
            inside = [name for name in names if name in rows]
            known = rows | lanes
            wanted = [_mean([known[n] for n in nx.all_neighbors(order, name)], rows[name]) for name in inside]
            wanted = [inputs.get(name, row) for name, row in zip(inside, wanted, strict=True)]
            rows |= zip(inside, _spread(wanted), strict=True)
    low, high = min(rows.values(), default=0.0), max(rows.values(), default=0.0)
    first = low - 1 if side < 0 else high + 1
    return rows | {name: high + 1 + i for i, name in enumerate(states[1:])} | {states[0]: first}


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


def _draw(graph: nx.DiGraph, layout: Layout, axes: Any) -> None:
    axes.set_xlim(LEFT, LEFT + layout.width)
    axes.set_ylim(layout.bottom, layout.top)
    axes.set_aspect("equal")
    axes.axis("off")
    backward = any(role == "adjoint" for _, role in graph.nodes(data="role"))
    _draw_background(layout, axes, backward)
    patches = {node: _draw_node(graph, node, point, axes) for node, point in layout.at.items()}
    for source, target in graph.edges:
        if source in patches and target in patches:
            _draw_edge(graph, layout, (source, target), patches, axes)
    _draw_legend(graph, layout, axes, backward)


def _draw_background(layout: Layout, axes: Any, backward: bool) -> None:
    patches = _matplotlib().patches
    for t, (left, right) in enumerate(layout.bands, 1):
        size = (right - left, layout.top - layout.bottom)
        axes.add_patch(patches.Rectangle((left, layout.bottom), *size, facecolor="#f4f5f6", edgecolor="none", zorder=0))
        middle = (left + right) / 2
        axes.text(middle, layout.top - 0.28, f"step {t}", ha="center", va="center", fontsize=12, color="#444444")
    axes.text(LEFT, 0.3, "forward →", color=ARROWS["forward"], fontsize=11, va="center")
    if backward:
        axes.axhline(0, color="#b0b5ba", linewidth=0.8, linestyle=(0, (6, 4)), zorder=1)
        axes.text(LEFT, -0.3, "← backward", color=ARROWS["backward"], fontsize=11, va="center")


def _draw_node(graph: nx.DiGraph, node: Key, point: Point, axes: Any) -> Any:
    attributes, (x, y) = graph.nodes[node], point
    text, patches = f"${attributes['latex']}$", _matplotlib().patches
    if attributes["role"] == "cotangent":
        axes.text(x, y, text, ha="center", va="center", fontsize=13, zorder=5, math_fontfamily="cm")
        return axes.add_patch(patches.Rectangle((x - 0.3, y - 0.26), 0.6, 0.52, facecolor="none", edgecolor="none"))
    fill, edge = COLOURS[attributes["role"]]
    heavy = attributes["role"] == "state" or (attributes.get("of"), 0) in graph
    small = _small(graph, node)
    axes.text(x, y + (0.09 if small else 0), text, ha="center", va="center", fontsize=14, zorder=5, math_fontfamily="cm")
    axes.text(x, y - 0.185, small, ha="center", va="center", fontsize=8.5, color="#333333", zorder=5,
              math_fontfamily="cm")  # fmt: skip
    return axes.add_patch(patches.FancyBboxPatch(
        (x - 0.3, y - 0.18), 0.6, 0.36, boxstyle="round,pad=0.12,rounding_size=0.17",
        facecolor=fill, edgecolor=edge, linewidth=2.0 if heavy else 1.1, zorder=4,
    ))  # fmt: skip


def _small(graph: nx.DiGraph, node: Key) -> str:
    """What all steps share: the parameters that a value reads, the gradients that sum an adjoint."""
    forward = graph.nodes[node]["role"] in FORWARD
    near = [n for n in (graph.predecessors(node) if forward else graph.successors(node)) if n[1] is None]
    names = [graph.nodes[n]["latex"] for n in near]
    shown = names if len(names) < 5 else [*names[:3], r"\ldots"]
    return "$" + r"\,".join(shown) + "$" if shown else ""


def _draw_edge(graph: nx.DiGraph, layout: Layout, edge: tuple[Key, Key], patches: dict[Key, Any], axes: Any) -> None:
    kinds = [graph.nodes[node]["role"] in FORWARD for node in edge]
    kind = "forward" if all(kinds) else "saved" if any(kinds) else "backward"
    style = {"saved": {"linewidth": 0.7, "linestyle": (0, (2, 2.5)), "zorder": 2}}.get(kind, {"linewidth": 1.15, "zorder": 3})
    source, target = (layout.at[node] for node in edge)
    others = [point for node, point in layout.at.items() if node not in edge]
    bend = _bend(source, target, others)
    axes.add_patch(_matplotlib().patches.FancyArrowPatch(
        source, target, patchA=patches[edge[0]], patchB=patches[edge[1]], connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>,head_length=0.35,head_width=0.16", mutation_scale=11, shrinkA=0, shrinkB=1.5, color=ARROWS[kind], **style,
    ))  # fmt: skip


def _bend(source: Point, target: Point, others: Iterable[Point]) -> float:
    """The least bend of an arrow with which it passes the fewest nodes."""
    points = np.array([*others, (np.inf, np.inf)])
    return min((0.0, 0.12, -0.12, 0.25, -0.25, 0.4, -0.4), key=lambda bend: (_passed(source, target, points, bend), abs(bend)))


def _passed(source: Point, target: Point, points: Any, bend: float) -> int:
    (x0, y0), (x1, y1) = source, target
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    s = np.linspace(0, 1, 40)[:, None]
    curve = (1 - s) ** 2 * np.array(source) + 2 * s * (1 - s) * np.array(control) + s**2 * np.array(target)
    distance = np.abs(points[:, None, :] - curve[None, :, :]) / (0.43, 0.3)
    return int((distance.max(axis=2).min(axis=1) < 1).sum())


def _draw_legend(graph: nx.DiGraph, layout: Layout, axes: Any, backward: bool) -> None:
    matplotlib = _matplotlib()
    texts = {"input": "input", "index": "index", "state": "state", "value": "value", "output": "output", "adjoint": "adjoint",
             "gradient": "gradient of an input"}  # fmt: skip
    found = {role for (_, t), role in graph.nodes(data="role") if t is not None}
    handles = [matplotlib.patches.Patch(facecolor=COLOURS[role][0], edgecolor=COLOURS[role][1], label=text)
               for role, text in texts.items() if role in found]  # fmt: skip
    if backward:
        line = {"color": ARROWS["saved"], "linestyle": (0, (2, 2)), "linewidth": 1.0}
        handles.append(matplotlib.lines.Line2D([], [], label="saved value read backward", **line))
    legend = axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0), frameon=False, fontsize=10,
                         ncols=max(1, min(len(handles), int(layout.width / 1.5))), borderaxespad=0.2)  # fmt: skip
    legend.set_in_layout(True)
    axes.annotate(_caption(graph, backward), (0, 0), (0.1, -0.3), xycoords=legend, textcoords=("axes fraction", legend), fontsize=10)


def _caption(graph: nx.DiGraph, backward: bool) -> str:
    """What the small type means, and what is computed once for all steps."""
    lines = ["In small type: the parameters that a value reads" + (", the gradients that sum an adjoint over the steps." if backward else ".")]
    once = {key[0]: data for key, data in graph.nodes(data=True) if key[1] is None and data["role"] in ("value", "adjoint")}
    lines += [f"Once: {name} = {data['expression']}" for name, data in once.items()]
    return "\n".join(lines)
