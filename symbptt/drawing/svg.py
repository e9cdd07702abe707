"""Pictures as SVG: text that can be searched, a title on each node and arrow, the same bytes at each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from symbptt.drawing.colours import ARROWS, COLOURS, SAVED
from symbptt.drawing.curves import Point
from symbptt.drawing.names import Run
from symbptt.drawing.picture import MARK_ROW, Arrow, Box, Line, Picture, Style, Word

FONTS = "'Latin Modern Roman','STIX Two Text','Times New Roman','Liberation Serif','DejaVu Serif',serif"
METADATA = """<metadata><rdf:RDF xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:cc="http://creativecommons.org/ns#" \
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><cc:Work><dc:creator><cc:Agent><dc:title>symbptt</dc:title>\
</cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata>"""
DASHES = "3 2"
ROUND = 2.5
"""The radius of the corners of lines, in points."""


def svg_of(picture: Picture) -> str:
    """Return a picture as a whole SVG file."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg_element(picture, metadata=METADATA)}\n'


def svg_element(picture: Picture, metadata: str = "") -> str:
    """Return a picture as an element that can stand in a page."""
    w, h = _n(picture.width), _n(picture.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}pt" height="{h}pt" viewBox="0 0 {w} {h}" role="img" '
        f'class="unrolled" font-family="{FONTS}" fill="#111111">',
        f"<title>{escape(picture.name)}, unrolled</title>",
        metadata,
        *_background(picture),
        *(_line(line) for line in picture.lines),
        *(_arrow(arrow) for arrow in picture.arrows),
        *(_box(box, picture.style) for box in picture.boxes),
        *(_word(word) for word in picture.words),
        *_swatches(picture),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def _n(value: float) -> str:
    # A hundredth of a point is invisible, and short numbers keep files small and equal on all machines.
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _background(picture: Picture) -> Iterator[str]:
    for left, top, right, bottom in picture.bands:
        size = f'x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" height="{_n(bottom - top)}"'
        yield f'<rect class="band" {size} fill="#f4f5f6"/>'
    if picture.axis:
        a, b = picture.axis
        yield f'<path class="axis" d="M{_p(a)}L{_p(b)}" stroke="#b0b5ba" stroke-width="0.6" stroke-dasharray="6 4"/>'


def _head(tip: Point, before: Point, length: float, half: float) -> str:
    """Return a filled triangle at the end of an arrow."""
    dx, dy = tip[0] - before[0], tip[1] - before[1]
    size = (dx * dx + dy * dy) ** 0.5 or 1.0
    ux, uy = dx / size, dy / size
    base = (tip[0] - length * ux, tip[1] - length * uy)
    left, right = (base[0] - half * uy, base[1] + half * ux), (base[0] + half * uy, base[1] - half * ux)
    return f"M{_p(tip)}L{_p(left)}L{_p(right)}Z"


def _arrow(arrow: Arrow) -> str:
    a, control, b = arrow.points
    colour = ARROWS[arrow.kind]
    return (
        f'<g class="{arrow.kind}"><title>{escape(arrow.title)}</title>'
        f'<path d="M{_p(a)}Q{_p(control)} {_p(b)}" fill="none" stroke="{colour}" stroke-width="0.9"/>'
        f'<path d="{_head(b, control, 4.6, 1.9)}" fill="{colour}"/></g>'
    )


def _line(line: Line) -> str:
    ways = "".join(_rounded(piece) for piece in line.pieces)
    heads = "".join(_head(way[-1], way[-2], 3.4, 1.5) for _, way in line.ways)
    return (
        f'<g class="saved"><title>{escape(line.title)}</title>'
        f'<path d="{ways}" fill="none" stroke="{line.colour}" stroke-width="0.6" stroke-dasharray="{DASHES}"/>'
        f'<path d="{heads}" fill="{line.colour}"/></g>'
    )


def _rounded(points: Sequence[Point]) -> str:
    """Return a line through corners, each of them rounded off."""
    text = f"M{_p(points[0])}"
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        text += f"L{_p(_toward(at, before))}Q{_p(at)} {_p(_toward(at, after))}"
    return f"{text}L{_p(points[-1])}"


def _toward(a: Point, b: Point) -> Point:
    dx, dy = b[0] - a[0], b[1] - a[1]
    size = (dx * dx + dy * dy) ** 0.5 or 1.0
    # At most half of a segment, since both of its ends may be rounded.
    part = min(ROUND, size / 2) / size
    return a[0] + part * dx, a[1] + part * dy


def _box(box: Box, style: Style) -> str:
    left, top, right, bottom = box.bounds
    fill, edge = COLOURS[box.role]
    x, _ = box.middle
    name, t = box.node
    frame = "" if box.role == "cotangent" else (
        f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" height="{_n(bottom - top)}" rx="5" '
        f'fill="{fill}" stroke="{edge}" stroke-width="{1.5 if box.heavy else 0.8}"/>'
    )  # fmt: skip
    lowest = bottom - len(box.marks) * style.mark * MARK_ROW
    tall = lowest - top - (style.small * 1.2 if box.small else 0.0)
    # SVG places text by its base line: about 0.3 of the type size below the middle of small letters.
    base = top + tall / 2 + style.type * 0.3
    size = style.low if box.role == "cotangent" else style.type
    texts = _runs(box.name, x, base, size, style.low)
    if box.small:
        texts += _runs(box.small, x, lowest - style.small * 0.6, style.small, style.small_low)
    for i, row in enumerate(box.marks, 1):
        at = lowest + (i - 0.3) * style.mark * MARK_ROW
        place = f'x="{_n(x)}" y="{_n(at)}" font-size="{_n(style.mark)}" text-anchor="middle"'
        texts += f'<text class="mark" fill="{SAVED[0]}" {place}>{row}</text>'
    data = f"data-name={quoteattr(name)}" + ("" if t is None else f' data-step="{t}"')
    return f'<g class="node {box.role}" {data}><title>{escape(box.title)}</title>{frame}{texts}</g>'


def _runs(runs: tuple[Run, ...], x: float, y: float, size: float, low: float) -> str:
    """Return runs of letters around a middle; what is lowered is shifted down, and what follows it back."""
    text, shift = "", 0.0
    for run in runs:
        # SVG's dy accumulates over tspans: each shift is relative to where the text before has ended.
        wanted = -run.level * size * 0.24
        attributes = f' dy="{_n(wanted - shift)}"' if wanted != shift else ""
        attributes += f' font-size="{_n(low)}"' if run.level else ""
        attributes += ' font-style="italic"' if run.slanted else ""
        text += f"<tspan{attributes}>{escape(run.text)}</tspan>" if attributes else escape(run.text)
        shift = wanted
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="middle" xml:space="preserve">{text}</text>'
    )


def _word(word: Word) -> str:
    anchor = ' text-anchor="middle"' if word.middle else ""
    return f'<text class="word" x="{_n(word.at[0])}" y="{_n(word.at[1])}" font-size="{_n(word.size)}"{anchor}>{escape(word.text)}</text>'


def _swatches(picture: Picture) -> Iterator[str]:
    for role, (left, top, right, bottom) in picture.swatches:
        middle = (top + bottom) / 2
        if role in ARROWS:
            dashes = f' stroke-dasharray="{DASHES}"' if role == "saved" else ""
            yield (
                f'<path class="{role}" d="M{_n(left)} {_n(middle)}L{_n(right)} {_n(middle)}" stroke="{ARROWS[role]}" '
                f'stroke-width="0.9"{dashes}/>'
            )
            continue
        fill, edge = COLOURS[role]
        size = f'x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" height="{_n(bottom - top)}"'
        yield f'<g class="node {role}"><rect {size} rx="2" fill="{fill}" stroke="{edge}" stroke-width="0.8"/></g>'
