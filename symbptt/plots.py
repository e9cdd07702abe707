"""Drawings, with matplotlib: an unrolled cell with its adjoints, and the norm of the adjoint against time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from symbptt.codegen.loading import write_text
from symbptt.derive.labels import Label
from symbptt.derive.unroll import FORWARD, Key
from symbptt.drawing.exchange import WRITERS
from symbptt.errors import ArgumentError
from symbptt.figures import LINES, MARKS, need_matplotlib, new_figure, save
from symbptt.layout import LEFT, Layout, Point, bend_of, lay_out
from symbptt.render.notation import LATEX

MOST_STEPS = 12
INCH = 0.75
"""The unit of length, in inches."""

COLOURS = {
    "input": ("#cdebdd", "#009e73"),
    "index": ("#dcdfe2", "#000000"),
    "state": ("#cce3f1", "#0072b2"),
    "value": ("#f2f9fd", "#56b4e9"),
    "output": ("#f5ddea", "#cc79a7"),
    "adjoint": ("#fbe3d3", "#d55e00"),
    "gradient": ("#fff3d2", "#e69f00"),
}
"""Fill and edge of a node by its role. Source: Okabe, Ito 2008, "Color universal design", which colour-blind people can
tell apart."""

ARROWS = {"forward": "#40586b", "backward": "#d55e00", "saved": "#9aa5ad"}


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
    figure = new_figure(layout.width * INCH, (layout.top - layout.bottom) * INCH)
    _draw(graph, layout, figure.add_axes((0, 0, 1, 1)))
    save(figure, where)


def write_unrolled(graph: nx.DiGraph, path: str | Path) -> None:
    """Write a graph of `sb.unroll` into a file, as the drawing or the text that its name's ending says.

    Raises: ArgumentError for another ending; TargetError where the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in WRITERS:
        write_text(path, WRITERS[ending](graph))
    else:
        draw_unrolled(graph, path)


def plot_adjoint_norm(
    flow: Mapping[str, Any], axes: Any, times: Sequence[Any] | None = None, label: str = "step t"
) -> None:
    """Draw the norm of the adjoint of each state against time on a logarithmic axis.

    Shapes: each value of `flow` is (T,), the norm at steps 1 to T; `times` are T numbers or dates to stand for them.
    """
    for i, (name, norms) in enumerate(flow.items()):
        norms = np.asarray(norms, dtype=float)
        shown = np.where((norms > 0) & (norms < np.inf), norms, np.nan)  # a logarithmic axis has no zero
        at = np.arange(1, len(norms) + 1) if times is None else times
        style = {
            "color": LINES[i % len(LINES)],
            "linestyle": MARKS[i % len(MARKS)],
            "linewidth": 2.2 if i == 0 else 1.6,
        }
        symbol = LATEX.symbol(Label(name, 0, adjoint=True))
        axes.plot(at, shown, label=rf"$\Vert {symbol} \Vert_2$", marker="." if len(norms) < 30 else "", **style)
    if any(np.any(np.asarray(norms) > 0) for norms in flow.values()):
        axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("norm of the adjoint")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(frameon=False, fontsize=11).get_texts():
        text.set_math_fontfamily("cm")


def norm_figure(flow: Mapping[str, Any], title: str, times: Sequence[Any] | None, label: str) -> Any:
    """Return a figure of `plot_adjoint_norm` with a title."""
    figure = new_figure(7.5, 4.2)
    axes = figure.add_subplot()
    plot_adjoint_norm(flow, axes, times, label)
    axes.set_title(title, fontsize=10, loc="left")
    return figure


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
    patches = need_matplotlib().patches
    for t, (left, right) in enumerate(layout.bands, 1):
        size = (right - left, layout.top - layout.bottom)
        axes.add_patch(patches.Rectangle((left, layout.bottom), *size, facecolor="#f4f5f6", edgecolor="none", zorder=0))
        middle = (left + right) / 2
        axes.text(middle, layout.top - 0.28, f"step {t}", ha="center", va="center", fontsize=12, color="#444444")
    style = {
        "fontsize": 11,
        "va": "center",
        "zorder": 3.5,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    }
    axes.text(LEFT, 0.3, "forward →", color=ARROWS["forward"], **style)
    if backward:
        axes.axhline(0, color="#b0b5ba", linewidth=0.8, linestyle=(0, (6, 4)), zorder=1)
        axes.text(LEFT, -0.3, "← backward", color=ARROWS["backward"], **style)


def _draw_node(graph: nx.DiGraph, node: Key, point: Point, axes: Any) -> Any:
    attributes, (x, y) = graph.nodes[node], point
    text, patches = f"${attributes['latex']}$", need_matplotlib().patches
    if attributes["role"] == "cotangent":
        axes.text(x, y, text, ha="center", va="center", fontsize=13, zorder=5, math_fontfamily="cm")
        return axes.add_patch(patches.Rectangle((x - 0.3, y - 0.26), 0.6, 0.52, facecolor="none", edgecolor="none"))
    fill, edge = COLOURS[attributes["role"]]
    heavy = attributes["role"] == "state" or (attributes.get("of"), 0) in graph
    small = _small(graph, node)
    half = 0.3 + 0.05 * max(0, small.count(r"\;") + small.count("mathrm{d}") / 3 - 2)
    axes.text(
        x, y + (0.09 if small else 0), text, ha="center", va="center", fontsize=14, zorder=5, math_fontfamily="cm"
    )
    axes.text(
        x, y - 0.185, small, ha="center", va="center", fontsize=8.5, color="#333333", zorder=5, math_fontfamily="cm"
    )
    return axes.add_patch(
        patches.FancyBboxPatch(
            (x - half, y - 0.18),
            2 * half,
            0.36,
            boxstyle="round,pad=0.12,rounding_size=0.17",
            facecolor=fill,
            edgecolor=edge,
            linewidth=2.0 if heavy else 1.1,
            zorder=4,
        )
    )


def _small(graph: nx.DiGraph, node: Key) -> str:
    """What all steps share: the parameters that a value reads, the gradients that sum an adjoint."""
    forward = graph.nodes[node]["role"] in FORWARD
    near = [n for n in (graph.predecessors(node) if forward else graph.successors(node)) if n[1] is None]
    names = [graph.nodes[n]["latex"] for n in near]
    shown = names if len(names) < 5 else [*names[:3], r"\ldots"]
    return "$" + r"\;".join(shown) + "$" if shown else ""


def _draw_edge(graph: nx.DiGraph, layout: Layout, edge: tuple[Key, Key], patches: dict[Key, Any], axes: Any) -> None:
    kinds = [graph.nodes[node]["role"] in FORWARD for node in edge]
    kind = "forward" if all(kinds) else "saved" if any(kinds) else "backward"
    style = {"saved": {"linewidth": 0.7, "linestyle": (0, (2, 2.5)), "zorder": 2}}.get(
        kind, {"linewidth": 1.15, "zorder": 3}
    )
    source, target = (layout.at[node] for node in edge)
    others = [point for node, point in layout.at.items() if node not in edge]
    rad = bend_of(source, target, others, widest=0.4 if kind == "saved" else 1.0)  # thin lines may pass under nodes
    head = "-|>,head_length=0.35,head_width=0.16"
    arrow = need_matplotlib().patches.FancyArrowPatch(
        source,
        target,
        patchA=patches[edge[0]],
        patchB=patches[edge[1]],
        shrinkA=0,
        shrinkB=1.5,
        arrowstyle=head,
        connectionstyle=f"arc3,rad={rad}",
        mutation_scale=11,
        color=ARROWS[kind],
        **style,
    )
    axes.add_patch(arrow)


def _draw_legend(graph: nx.DiGraph, layout: Layout, axes: Any, backward: bool) -> None:
    matplotlib = need_matplotlib()
    texts = {role: role for role in COLOURS} | {"gradient": "gradient of an input"}
    found = {role for (_, t), role in graph.nodes(data="role") if t is not None}
    handles = [
        matplotlib.patches.Patch(facecolor=COLOURS[role][0], edgecolor=COLOURS[role][1], label=text)
        for role, text in texts.items()
        if role in found
    ]
    if backward:
        line = {"color": ARROWS["saved"], "linestyle": (0, (2, 2)), "linewidth": 1.0}
        handles.append(matplotlib.lines.Line2D([], [], label="saved value read backward", **line))
    room = layout.width * INCH
    legend = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        frameon=False,
        fontsize=10,
        ncols=max(2, min(len(handles), int(room / 1.7))),
        borderaxespad=0.2,
    )
    caption = "\n".join(textwrap.fill(line, int(room * 13)) for line in _caption(graph, backward))
    axes.annotate(
        caption, (0, 0), (0.01, -0.1), xycoords=legend, textcoords=("axes fraction", legend), va="top", fontsize=10
    )


def _caption(graph: nx.DiGraph, backward: bool) -> list[str]:
    """What the small type means, and what is computed once for all steps."""
    gradients = ", the gradients that sum an adjoint over the steps" if backward else ""
    once = [
        (key[0], data)
        for key, data in graph.nodes(data=True)
        if key[1] is None and data["role"] in ("value", "adjoint")
    ]
    lines = [f"In small type: the parameters that a value reads{gradients}."]
    return lines + [f"Once: {name} = {data['expression']}" for name, data in once]
