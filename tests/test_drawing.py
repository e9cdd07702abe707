"""Drawings of unrolled graphs: nothing leaves its box or the frame, nothing lies on another, whatever the cell."""

import sys
import xml.etree.ElementTree as ET
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target, zoo
from symbptt.autodiff.unroll import FORWARD
from symbptt.drawing import graph_layout as grid
from symbptt.drawing import picture as pictures
from symbptt.drawing import wires
from symbptt.drawing.curves import points_of
from symbptt.drawing.names import Run, plain_name, runs_of
from symbptt.drawing.picture import COLUMN_WIDTH, picture_of
from symbptt.drawing.svg import svg_of
from symbptt.drawing.unrolled import unroll
from tests import test_fixed_point, unseen
from tests.test_unroll import gated

matplotlib = pytest.importorskip("matplotlib")
from matplotlib import font_manager, ft2font, get_data_path  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from symbptt.drawing.graph import draw_unrolled  # noqa: E402
from symbptt.drawing.painting import paint  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


@sb.loss
def squared(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return sb.sum(e * e) / 2


@sb.cell
def long_names(x: Input["m"], attention_memory: State["n"], W_of_the_gate: Param["n m"], U_of_the_gate: Param["n n"]):
    the_gate_of_attention = sb.sigmoid(W_of_the_gate @ x + U_of_the_gate @ attention_memory)
    return the_gate_of_attention * attention_memory


@sb.cell
def many_readers(x: Input["n"], h: State["n"], p: State["n"], q: State["n"]):
    a, b, c, d, e = np.tanh(x * h), np.tanh(x * p), np.tanh(x + q), np.tanh(h * p), np.tanh(p * q)
    return a * b * c * d * e, a * b + c, {"y": d * e}["y"]


CELLS = {
    **zoo.CELLS,
    **unseen.CELLS,
    "long_names": long_names,
    "many_readers": many_readers,
    "gated": gated,
    **test_fixed_point.CELLS,
    **{f"model_{at}": sb.model(zoo.gru, squared, at=at) for at in ("every", "last")},
}
FEW = ["lstm", "gru", "zoneout", "delta_rule", "many_readers", "long_names", "model_every", "model_last", "gated"]


@cache
def picture(name, steps, **options):
    return picture_of(unroll(CELLS[name], steps, backward=True), **options)


def assert_boxes_apart(p):
    b = np.array([box.bounds for box in p.boxes])
    apart = (
        (b[:, None, 0] >= b[:, 2])
        | (b[:, None, 2] <= b[:, 0])
        | (b[:, None, 1] >= b[:, 3])
        | (b[:, None, 3] <= b[:, 1])
    )
    wrong = np.argwhere(~apart & ~np.eye(len(b), dtype=bool))
    assert not len(wrong), [(p.boxes[i].node, p.boxes[j].node) for i, j in wrong[:3]]


def assert_within(points, p, what):
    points = np.asarray(points)
    assert (points >= 0).all() and (points <= [p.width, p.height]).all(), what


def assert_lines_free(p):
    """No line of a saved value lies under a box, and none on that of another value."""
    bounds = np.array([box.bounds for box in p.boxes])
    number = {box.node: i for i, box in enumerate(p.boxes)}
    level = {0: {}, 1: {}}
    for line in p.lines:
        for reader, way in line.ways:
            assert_within(way, p, line.title)
            for a, b in pairwise(way):
                low, high = np.minimum(a, b), np.maximum(a, b)
                hit = (low[0] < bounds[:, 2]) & (bounds[:, 0] < high[0]) | (low[0] == high[0]) & (
                    bounds[:, 0] < low[0]
                ) & (low[0] < bounds[:, 2])
                tall = (low[1] < bounds[:, 3]) & (bounds[:, 1] < high[1]) | (low[1] == high[1]) & (
                    bounds[:, 1] < low[1]
                ) & (low[1] < bounds[:, 3])
                under = hit & tall
                under[[number[line.source], number[reader]]] = False
                assert not under.any(), (line.title, p.boxes[int(np.argmax(under))].node)
                axis = 0 if abs(a[0] - b[0]) < 1e-6 else 1
                assert abs(a[axis] - b[axis]) < 1e-6, "lines are level or upright"
                level[axis].setdefault(round(a[axis] / 0.4), []).append(
                    (line.source, a[axis], low[1 - axis], high[1 - axis])
                )
    for found in level.values():
        for bucket, here in found.items():
            near = here + found.get(bucket + 1, [])
            for i, (source, at, low, high) in enumerate(here):
                for other, there, start, end in near[i + 1 :]:
                    on = other != source and abs(at - there) < 0.4 and min(high, end) - max(low, start) > 0.5
                    assert not on, (source, other, at, there)


def assert_sound(p):
    assert_boxes_apart(p)
    at = {box.node: box for box in p.boxes}
    for box in p.boxes:
        assert_within(np.reshape(box.bounds, (2, 2)), p, box.node)
    for arrow in p.arrows:
        points = points_of(*arrow.points)
        assert_within(points, p, arrow.edge)
        for node, end in zip(arrow.edge, (points[0], points[-1]), strict=True):
            left, top, right, bottom = at[node].bounds
            away = max(left - end[0], end[0] - right, top - end[1], end[1] - bottom)
            assert abs(away) < 1.6, (arrow.edge, away)
    assert_lines_free(p)
    for word in p.words:
        wide = width_of([Run(word.text)], word.size, word.size)
        left = word.at[0] - wide / 2 * word.middle
        assert 0 <= left and left + wide <= p.width and 0 < word.at[1] < p.height, word


@cache
def font(slanted):
    name = "DejaVuSerif-Italic.ttf" if slanted else "DejaVuSerif.ttf"
    found = ft2font.FT2Font(str(Path(get_data_path(), "fonts", "ttf", name)))
    found.set_size(100, 72)
    return found


def width_of(runs, size, low):
    """The width of runs as a wide serif font sets them."""
    total = 0.0
    for run in runs:
        face = font(run.slanted)
        face.set_text(run.text)
        total += face.get_width_height()[0] / 64 / 100 * (low if run.level else size)
    return total


def assert_text_within(p):
    for box in p.boxes:
        wide = box.bounds[2] - box.bounds[0]
        size = p.style.low if box.role == "cotangent" else p.style.type
        assert width_of(box.name, size, p.style.low) <= wide, box.node
        assert width_of(box.small, p.style.small, p.style.small_low) <= wide, (box.node, box.small)
        assert all(width_of([Run(row)], p.style.mark, 0) <= wide for row in box.marks), (box.node, box.marks)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("name", FEW)
@pytest.mark.thinned(7)
def test_nothing_leaves_its_box_or_the_frame(name, steps):
    assert_sound(picture(name, steps))
    assert_text_within(picture(name, steps))


@pytest.mark.long
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.thinned(1, 29)
def test_nothing_of_any_cell_leaves_its_box_or_the_frame(name, steps):
    p = picture(name, steps)
    assert_sound(p)
    assert_text_within(p)
    if steps == 2:
        assert_sound(picture(name, steps, saved=False))
        assert_sound(picture_of(unroll(CELLS[name], steps)))


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


def svg_runs(text):
    """The runs of a text of an SVG, as a browser would set them."""
    yield text.text or "", text
    for span in text:
        yield span.text or "", span
        yield span.tail or "", text


def assert_svg_text_within(svg):
    """Each text of a node, measured in a wide serif font, lies within the node's rectangle, and all within the frame."""
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    seen = 0
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        for text in group.findall(f"{SVG}text"):
            size = float(text.get("font-size"))
            wide, y, low, high = 0.0, float(text.get("y")), np.inf, -np.inf
            for letters, element in svg_runs(text):
                y += float(element.get("dy", 0)) if element is not text else 0
                own = float(element.get("font-size", size))
                if letters:
                    wide += width_of([Run(letters, element.get("font-style") == "italic")], own, own)
                    low, high = min(low, y - 0.72 * own), max(high, y + 0.22 * own)
            x = float(text.get("x"))
            left, top, w, h = (0, 0, width, height) if rect is None else numbers(rect, "x", "y", "width", "height")
            assert left <= x - wide / 2 and x + wide / 2 <= left + w, ET.tostring(text, "unicode")
            assert top <= low and high <= top + h, ET.tostring(text, "unicode")
            seen += 1
    assert seen


@pytest.mark.parametrize("width", ["double", "single"])
@pytest.mark.parametrize("name", ["lstm", "gru", "delay_rnn", "lif"])
def test_text_of_the_svg_lies_within_its_box(name, width):
    graph = unroll(CELLS[name], 1, backward=True)
    assert_svg_text_within(svg_of(picture_of(graph, width=width, saved=width == "double")))


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.thinned(1, 11)
def test_text_of_the_svg_of_any_cell_lies_within_its_box(name):
    for steps in (1, 3):
        assert_svg_text_within(svg_of(picture(name, steps)))


def know_own_fonts():
    """Let matplotlib know the fonts that it brings, whatever list of fonts this machine keeps."""
    for path in sorted((Path(get_data_path()) / "fonts" / "ttf").glob("*.ttf")):
        font_manager.fontManager.addfont(path)


def assert_painted_text_within(p):
    """Each text that matplotlib sets lies within the box of its node, as rendered."""
    know_own_fonts()
    figure = Figure(figsize=(p.width / 72, p.height / 72), dpi=144)
    axes = figure.add_axes((0, 0, 1, 1))
    paint(p, axes)
    figure.canvas.draw()
    at = {str(box.node): box.bounds for box in p.boxes}
    seen = 0
    for text in axes.texts:
        extent = text.get_window_extent().transformed(axes.transData.inverted())
        x0, x1 = sorted((extent.x0, extent.x1))
        y0, y1 = sorted((extent.y0, extent.y1))
        if text.get_gid() is None:
            assert 0 <= x0 and x1 <= p.width and 0 <= y0 and y1 <= p.height, text.get_text()
            continue
        left, top, right, bottom = at[text.get_gid().partition(" ")[2]]
        assert left <= x0 and x1 <= right and top - 0.5 <= y0 and y1 <= bottom + 0.5, (text.get_text(), text.get_gid())
        seen += 1
    assert seen >= len(p.boxes)


@pytest.mark.parametrize("name", ["lstm"])
def test_text_that_matplotlib_sets_lies_within_its_box(name):
    assert_painted_text_within(picture(name, 1))


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CELLS))
@pytest.mark.thinned(1, 37)
def test_text_of_any_cell_that_matplotlib_sets_lies_within_its_box(name):
    assert_painted_text_within(picture(name, 2))


def test_adjoints_mirror_their_values_and_arrows_follow_time():
    for name in ("gru", "lstm", "attention"):
        p, graph = picture(name, 2), unroll(CELLS[name], 2, backward=True)
        at = {box.node: box for box in p.boxes}
        sums = set()
        for (n, t), box in at.items():
            twin = (graph.nodes[n, t].get("of"), t)
            if box.role == "adjoint" and twin in at:
                assert box.middle[0] == pytest.approx(at[twin].middle[0])
                sums.add(round(box.middle[1] + at[twin].middle[1], 6))
        assert len(sums) == 1
        for arrow in p.arrows:
            a, b = (at[node].middle[0] for node in arrow.edge)
            roles = [graph.nodes[node]["role"] for node in arrow.edge]
            if "cotangent" not in roles:
                assert a < b if roles[1] in FORWARD else a > b


def test_every_node_edge_and_saved_value_is_drawn_with_a_title():
    graph = unroll(zoo.lstm, 2, backward=True)
    p = picture_of(graph)
    assert {box.node for box in p.boxes} == {node for node in graph if node[1] is not None} | {("L", None)}
    drawn = {arrow.edge for arrow in p.arrows} | {(line.source, reader) for line in p.lines for reader, _ in line.ways}
    shown = {box.node for box in p.boxes}
    assert drawn == {(a, b) for a, b in graph.edges if {a, b} <= shown and not (b[1] is None and a[1] == 1)}
    text = svg_of(p)
    assert "<title>f_1 = σ(Wf x_1 + Uf h_0 + bf) (value (n,); sigmoid, gated.py:21)</title>" in text
    assert "<title>∂c_2/∂c_1: f_2 ⊙</title>" in text and "<title>∂dh_1/∂da_{o,2}: Uoᵀ</title>" in text
    assert (
        "<title>g_1 is kept for da_{g,1}, di_1</title>" in text
        or "<title>g_1 is kept for di_1, da_{g,1}</title>" in text
    )


def test_a_loss_gives_arrows_where_it_says_something():
    @sb.loss
    def miss(h: State["n"], y: Target["n"]):
        return sb.sum((h - y) ** 2)

    graph = {at: unroll(sb.model(zoo.lstm, miss, at=at), 2, backward=True) for at in ("every", "last")}
    given = {at: {box.node for box in picture_of(g).boxes if box.role == "cotangent"} for at, g in graph.items()}
    assert given == {"every": {("dL/dh", 1), ("dL/dh", 2)}, "last": {("dL/dh", 2)}}  # none of c, which it does not read
    said = {at: svg_of(picture_of(g)) for at, g in graph.items()}
    assert "L is made of the losses of all steps" in said["every"] and "of all steps" not in said["last"]
    assert "may read every step" in svg_of(picture_of(unroll(zoo.lstm, 2)))


def test_form_without_saved_values_has_none():
    graph = unroll(zoo.lstm, 1, backward=True)
    assert 'class="saved"' in graph.svg() and 'dasharray="3 2"' not in graph.svg(saved=False)


@pytest.mark.parametrize(
    "name", ["rnn", "lstm", "gru", "ugrnn", "min_gru", "lif", "cifg", "lstm_peephole", "lem", "retnet"]
)
def test_one_step_of_a_gated_cell_fits_into_a_column_in_legible_type(name):
    graph = unroll(CELLS[name], 1, backward=True)
    p = picture_of(graph, width="single")
    assert p.width <= COLUMN_WIDTH
    root = ET.fromstring(svg_of(p))
    assert float(root.get("width").removesuffix("pt")) <= 252
    sizes = [float(element.get("font-size")) for element in root.iter() if element.get("font-size")]
    assert min(sizes) >= 7
    assert_sound(p)


@pytest.mark.parametrize("name, saved", [
    ("attention", True), ("mlstm", True), ("mlstm", False),
    *(pytest.param(name, True, marks=pytest.mark.long)
      for name in ("gru_layer_norm", "selective_ssm", "stack_rnn", "zoneout", "ltc", "delta_rule", "quaternion")),
])  # fmt: skip
@pytest.mark.thinned(3)
def test_one_step_of_a_wide_cell_fits_into_a_column_in_type_of_five_points_or_more(name, saved):
    graph = unroll(CELLS[name], 1, backward=True)
    p = picture_of(graph, width="single", saved=saved)
    root = ET.fromstring(svg_of(p))
    sizes = [float(element.get("font-size")) for element in root.iter() if element.get("font-size")]
    assert p.width <= COLUMN_WIDTH and min(sizes) >= 5
    assert_sound(p)
    assert_text_within(p)
    assert_svg_text_within(svg_of(p))
    if saved:
        assert_saved_values_shown(p, graph)


def assert_saved_values_shown(p, graph):
    """Each saved value has a line to each that reads it, or a number that stands in the boxes of both and of no others."""
    boxes = {box.node for box in p.boxes}
    wanted = {(a, b) for a, b, saved in graph.edges(data="saved") if saved and {a, b} <= boxes}
    drawn = {(line.source, reader) for line in p.lines for reader, _ in line.ways}
    numbers = {box.node: set(" ".join(box.marks).split()) for box in p.boxes}
    own = {node: found for node, found in numbers.items() if node in {a for a, _ in wanted} and found}
    assert all(len(found) == 1 for found in own.values()) and len(set(map(tuple, own.values()))) == len(own)
    told = {(a, b) for a, found in own.items() for b in boxes - own.keys() if found <= numbers[b]}
    assert wanted == drawn | told and not (drawn and told)
    assert bool(told) == any("A number in a box" in word.text for word in p.words)


def test_a_reader_without_the_number_of_what_it_reads_is_seen(monkeypatch):
    graph = unroll(zoo.mlstm, 1, backward=True)
    true = pictures.numbers_of

    def forgetful(graph, grid):
        found = true(graph, grid)
        return found | {("dC", 1): found["dC", 1][1:]}

    monkeypatch.setattr(pictures, "numbers_of", forgetful)
    with pytest.raises(AssertionError):
        assert_saved_values_shown(picture_of(graph, width="single"), graph)


def test_no_style_of_a_column_has_type_under_five_points():
    for style in pictures.STYLES["single"]:
        assert min(style.type, style.low, style.legend, style.mark) >= 5


@pytest.mark.parametrize("name, steps, options, fits", [
    ("lstm", 3, {}, ["1 step (--steps 1)"]),
    ("attention", 2, {}, ["1 step (--steps 1)"]),
    pytest.param("mlstm", 2, {"saved": False}, ["1 step (--steps 1)"], marks=pytest.mark.long),
    pytest.param("quaternion", 3, {}, ["1 step (--steps 1)"], marks=pytest.mark.long),
    ("gru_d", 1, {}, ["backward=False (without --backward)"]),
])  # fmt: skip
@pytest.mark.thinned(5, 2)
def test_column_that_is_too_narrow_says_what_fits(name, steps, options, fits):
    with pytest.raises(sb.ArgumentError) as caught:
        unroll(CELLS[name], steps, backward=True).svg(width="single", **options)
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"{name} over {steps} step") and first.endswith("a column has 252")
    assert second == "  take " + " or ".join([*fits, 'width="double" (--width double)'])


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in FEW else pytest.mark.long) for x in sorted(CELLS)])
@pytest.mark.thinned(7, 37)
def test_what_an_error_says_fits_into_a_column_does(name):
    for steps in (1, 3):
        try:
            unroll(CELLS[name], steps, backward=True).svg(width="single")
        except sb.ArgumentError as error:
            for option in str(error).split("take ")[1].split(" or ")[:-1]:
                backward, saved = (
                    "backward=False" not in option,
                    "backward=False" not in option and "saved" not in option,
                )
                unroll(CELLS[name], 1 if "1 step" in option else steps, backward=backward).svg(
                    width="single", saved=saved
                )


def test_width_of_a_drawing_is_one_of_two():
    with pytest.raises(sb.ArgumentError, match="width is 'double' or 'single', got 'wide'"):
        unroll(zoo.lstm, 1).svg(width="wide")


def test_notebook_shows_the_picture_of_a_whole_graph():
    graph = unroll(zoo.rnn, 2, backward=True)
    assert graph._repr_svg_() == graph.svg()
    assert ET.fromstring(graph._repr_svg_()).tag == f"{SVG}svg"
    assert unroll(zoo.rnn, 0)._repr_svg_() is None and unroll(zoo.rnn, 13)._repr_svg_() is None
    assert graph.subgraph([("h", 1), ("h", 2)])._repr_svg_() is None


def test_svg_needs_no_matplotlib_and_is_the_same_at_each_run(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("a.svg", "b.svg"):
        draw_unrolled(unroll(zoo.gru, 2, backward=True), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("latex, runs, plain", [
    (r"W_{i}", [Run("W", True), Run("i", True, -1)], "W_i"),
    (r"\mathrm{d}a_{o,12}", [Run("d"), Run("a", True), Run("o", True, -1), Run(",12", False, -1)], "da_{o,12}"),
    (r"\lambda", [Run("λ", True)], "λ"), (r"\Gamma_{\mathrm{in}}", [Run("Γ"), Run("in", False, -1)], "Γ_{in}"),
    (r"\hat{h}_{3}", [Run("ĥ", True), Run("3", False, -1)], "ĥ_3"), (r"\bar{\beta}'", [Run("β̄", True), Run("'")], "β̄'"),
    (r"\frac{\partial L}{\partial h_{2}}", [Run("∂"), Run("L", True), Run("/∂"), Run("h", True), Run("2", False, -1)], "∂L/∂h_2"),
    (r"\mathrm{a\_b}_{t}", [Run("a_b"), Run("t", True, -1)], "a_b_t"), (r"x_t^2", [Run("x", True), Run("t", True, -1), Run("2", False, 1)], "x_t2"),
    (r"\unknown", [Run("unknown")], "unknown"), ("", [], ""),
])  # fmt: skip
def test_names_in_latex_are_read_as_runs(latex, runs, plain):
    assert list(runs_of(latex)) == runs
    assert plain_name(latex) == plain


@pytest.mark.parametrize("fault", ["tracks", "widths", "free", "lanes"])
def test_planted_faults_of_a_drawing_are_caught(fault, monkeypatch):
    """A picture in which lines share a track or a lane, text is measured as narrower than it is, or adjoints stand on values'."""
    if fault == "tracks":
        monkeypatch.setattr(wires, "_tracks", lambda spans: dict.fromkeys(spans, 0))
    if fault == "lanes":
        lanes = wires._lanes
        monkeypatch.setattr(wires, "_lanes", lambda *a: tuple(dict.fromkeys(found, 0) for found in lanes(*a)))
    if fault == "widths":
        monkeypatch.setattr(pictures, "runs_width", lambda runs, size, low: 0.4 * size)
    if fault == "free":
        monkeypatch.setattr(grid, "_free", lambda wish, taken: wish)
    with pytest.raises(AssertionError):
        for name in ("delta_rule", "lstm"):
            p = picture_of(unroll(CELLS[name], 2, backward=True))
            assert_sound(p)
            assert_text_within(p)
