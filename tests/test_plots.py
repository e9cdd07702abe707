"""Drawings: what stands where, and that they are the same at each run."""

import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.drawing.colours import COLOURS
from symbptt.drawing.figures import save
from symbptt.drawing.graph import draw_unrolled, norm_figure, plot_adjoint_norm
from symbptt.drawing.painting import mathtext
from symbptt.drawing.unrolled import unroll
from symbptt.errors import SymbpttError, TargetError
from symbptt.zoo import rnn

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


@sb.cell
def shared(x: Input["m"], h: State["n"], p: State["n"], W: Param["n m"], U: Param["n n"]):
    V = U @ U
    c = np.tanh(W @ x + V @ h)
    return {"h": c * p, "p": h, "y": sb.sum(c)}


def test_svg_is_well_formed_and_the_same_at_each_run(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_unrolled(unroll(shared, steps=2, backward=True), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_every_node_is_drawn_on_given_axes():
    graph = unroll(rnn, steps=2, backward=True)
    axes = Figure().add_subplot()
    draw_unrolled(graph, axes)
    texts = {text.get_text() for text in axes.texts}
    for node, attributes in graph.nodes(data=True):
        if node[1] is not None:
            assert mathtext(attributes["latex"], attributes["role"] == "cotangent") in texts
    shared_names = {r"$W\;U\;b$", r"$\mathrm{d}W\;\mathrm{d}U\;\mathrm{d}b$"}
    assert shared_names <= texts


def test_roles_are_told_apart_by_their_colours():
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_forward_alone_has_no_backward_part():
    axes = Figure().add_subplot()
    draw_unrolled(unroll(rnn, steps=3), axes)
    assert not any("backward" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("steps", [0, 13])
def test_number_of_steps_that_fits_no_page_is_refused(steps, tmp_path):
    with pytest.raises(sb.ArgumentError, match="1 to 12 steps"):
        draw_unrolled(unroll(rnn, steps=steps), tmp_path / "a.svg")


def test_unknown_ending_and_missing_folder_are_refused(tmp_path):
    graph = unroll(rnn, steps=1)
    with pytest.raises(sb.ArgumentError, match="endings"):
        draw_unrolled(graph, tmp_path / "a.xyz")
    for name in ("a.svg", "a.png"):
        with pytest.raises(TargetError, match="cannot write"):
            draw_unrolled(graph, tmp_path / "none" / name)


def test_missing_matplotlib_names_the_extra(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SymbpttError, match=r"pip install matplotlib, or in the checkout .* -e '\.\[plot\]'"):
        draw_unrolled(unroll(rnn, steps=1), tmp_path / "a.png")


def test_adjoint_norm_has_a_labelled_line_for_each_state_on_a_logarithmic_axis():
    axes = Figure().add_subplot()
    plot_adjoint_norm({"h": [1e-3, 1e-2, 1.0], "c": [0.0, np.inf, 1.0]}, axes, [1700, 1701, 1702], "year")
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "year"
    assert [list(np.asarray(line.get_xdata())) for line in axes.lines] == [[1700, 1701, 1702]] * 2
    assert np.isnan(np.asarray(axes.lines[1].get_ydata())[:2]).all()  # neither zero nor infinity has a place
    assert axes.get_legend_handles_labels()[1] == [
        r"$\Vert \mathrm{d}h_{t} \Vert_2$",
        r"$\Vert \mathrm{d}c_{t} \Vert_2$",
    ]


@pytest.mark.parametrize("norms", [[0.0, 0.0], [np.nan, np.nan], [2.0], []])
def test_adjoint_norm_is_drawn_whatever_the_numbers(norms, tmp_path):
    save(norm_figure({"h": norms}, "title", None, "step t"), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 0
