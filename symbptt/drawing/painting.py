"""Pictures of unrolled graphs on matplotlib axes, for PNG, PDF and figures of the user's."""

from __future__ import annotations

from typing import Any

from symbptt.drawing.colours import ARROWS, COLOURS, SAVED
from symbptt.drawing.figures import need_matplotlib
from symbptt.drawing.picture import MARK_ROW, Arrow, Box, Line, Picture

DASHES = (0, (3, 2))
TYPE = {"family": ["cmr10", "DejaVu Serif"], "math_fontfamily": "cm"}
"""Names and words in the same typeface; what Computer Modern lacks, from another."""


def paint(picture: Picture, axes: Any) -> None:
    """Draw a picture on axes, as large as fits into them."""
    axes.set_xlim(0, picture.width)
    # Reversed limits: y grows downward, as in SVG, so that both writers share one picture.
    axes.set_ylim(picture.height, 0)
    axes.set_aspect("equal")
    axes.axis("off")
    scale = _scale(picture, axes)
    patches = need_matplotlib().patches
    for left, top, right, bottom in picture.bands:
        axes.add_patch(
            patches.Rectangle((left, top), right - left, bottom - top, facecolor="#f4f5f6", edgecolor="none", zorder=0)
        )
    if picture.axis:
        (x0, y0), (x1, y1) = picture.axis
        axes.plot([x0, x1], [y0, y1], color="#b0b5ba", linewidth=0.6 * scale, linestyle=(0, (6, 4)), zorder=1)
    for line in picture.lines:
        _paint_line(line, axes, scale)
    for arrow in picture.arrows:
        _paint_arrow(arrow, axes, scale)
    for box in picture.boxes:
        _paint_box(box, picture, axes, scale)
    _paint_words(picture, axes, scale)


def _scale(picture: Picture, axes: Any) -> float:
    """Return the ratio of the size of a picture on axes to its own size."""
    room = axes.get_window_extent()
    dots = axes.get_figure().dpi / 72
    # Line widths and type are in points whatever the data's scale is, and must be scaled by hand.
    return float(min(room.width / picture.width, room.height / picture.height) / dots)


def _path(codes: str, points: Any) -> Any:
    path = need_matplotlib().path.Path
    known = {"M": path.MOVETO, "L": path.LINETO, "Q": path.CURVE3}
    return path(list(points), [known[code] for code in codes])


def _paint_arrow(arrow: Arrow, axes: Any, scale: float) -> None:
    patches, colour = need_matplotlib().patches, ARROWS[arrow.kind]
    style = f"-|>,head_length={4.6 / 9},head_width={1.9 / 9}"
    axes.add_patch(
        patches.FancyArrowPatch(
            path=_path("MQQ", arrow.points), arrowstyle=style, mutation_scale=9 * scale, color=colour,
            linewidth=0.9 * scale, zorder=3, capstyle="butt", joinstyle="miter",
        )
    )  # fmt: skip


def _paint_line(line: Line, axes: Any, scale: float) -> None:
    patches = need_matplotlib().patches
    for piece in line.pieces:
        axes.add_patch(
            patches.PathPatch(
                _path("M" + "L" * (len(piece) - 1), piece), facecolor="none", edgecolor=line.colour, linewidth=0.6 * scale,
                linestyle=DASHES, zorder=2,
            )
        )  # fmt: skip
    for _, way in line.ways:
        (x, y), tip = way[-1], 3.4
        corners = [(x, y), (x - 1.5, y - tip), (x + 1.5, y - tip)]
        axes.add_patch(patches.Polygon(corners, facecolor=line.colour, edgecolor="none", zorder=2))


def _paint_box(box: Box, picture: Picture, axes: Any, scale: float) -> None:
    left, top, right, bottom = box.bounds
    style, patches = picture.style, need_matplotlib().patches
    x, _ = box.middle
    if box.role != "cotangent":
        fill, edge = COLOURS[box.role]
        shape = patches.FancyBboxPatch(
            (left, top), right - left, bottom - top, boxstyle="round,pad=0,rounding_size=4.5", facecolor=fill,
            edgecolor=edge, linewidth=(1.5 if box.heavy else 0.8) * scale, zorder=4,
        )  # fmt: skip
        axes.add_patch(shape)
    size = style.low if box.role == "cotangent" else style.type
    # The name moves up to leave the lower part of the box to the small line and to numbers.
    lowest = bottom - len(box.marks) * style.mark * MARK_ROW
    middle = (top + lowest) / 2 - (style.small * 0.55 if box.small else 0.0)
    common = {"ha": "center", "va": "center", "zorder": 5, **TYPE}
    axes.text(
        x, middle, mathtext(box.latex, box.role == "cotangent"), fontsize=size * scale, gid=f"name {box.node}", **common
    )
    if box.small:
        at = lowest - style.small * 0.85
        axes.text(
            x,
            at,
            mathtext(box.small_latex),
            fontsize=style.small * scale,
            color="#333333",
            gid=f"small {box.node}",
            **common,
        )
    for i, row in enumerate(box.marks):
        at = lowest + (i + 0.45) * style.mark * MARK_ROW
        axes.text(x, at, row, fontsize=style.mark * scale, color=SAVED[0], gid=f"mark {i} {box.node}", **common)


def mathtext(latex: str, flat: bool = False) -> str:
    """Return a name in LaTeX as matplotlib reads it: no gap behind a comma; with `flat`, a fraction with a slash."""
    if flat and latex.startswith(r"\frac{"):
        above, _, below = latex.removeprefix(r"\frac{").partition("}{")
        latex = f"{above}/{below.removesuffix('}')}"
    # In TeX a comma is punctuation and gets a gap; braces make it an ordinary sign.
    return f"${latex.replace(',', '{,}')}$"


def _paint_words(picture: Picture, axes: Any, scale: float) -> None:
    patches = need_matplotlib().patches
    for word in picture.words:
        place = "center" if word.middle else "left"
        axes.text(
            *word.at, word.text, ha=place, va="baseline", fontsize=word.size * scale, color="#222222", zorder=5, **TYPE
        )
    for role, (left, top, right, bottom) in picture.swatches:
        middle = (top + bottom) / 2
        if role in ARROWS:
            dashes = DASHES if role == "saved" else "-"
            axes.plot(
                [left, right], [middle] * 2, color=ARROWS[role], linewidth=0.9 * scale, linestyle=dashes, zorder=5
            )
            continue
        fill, edge = COLOURS[role]
        axes.add_patch(
            patches.Rectangle(
                (left, top), right - left, bottom - top, facecolor=fill, edgecolor=edge, linewidth=0.8 * scale, zorder=5
            )
        )
