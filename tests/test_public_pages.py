"""The pages of public cells, in text, LaTeX and MathML, say what the kernel computes; and what they are to say where arrays are
joined, of which none tells alone how long it is or how far an index runs."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from tests import public_cells
from tests.readback import Printed, as_latex, as_latex_textbook, as_text, assert_read, sizes_of
from tests.test_mathml import as_mathml, as_mathml_textbook

FORMS: dict[str, tuple[Printed, ...]] = {
    "loop": (as_text("loop"), as_latex, as_mathml),
    "textbook": (as_text("textbook"), as_latex_textbook, as_mathml_textbook),
}
FEW = ("hgrn2", "line_lstm", "dnc_links", "non_saturating")
SLOW = ("tensor_product",)
pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [] if name in FEW else [pytest.mark.exhaustive if name in SLOW else pytest.mark.long]


def _style(name: str, turn: int) -> str:
    """One style of a cell; the other one is left to the exhaustive stage."""
    return [*FORMS][(list(public_cells.CELLS).index(name) + turn) % 2]


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in public_cells.CELLS])
@pytest.mark.thinned(1, 11)
def test_page_of_a_public_cell_reads_as_the_kernel_computes(name: str) -> None:
    cell = public_cells.CELLS[name]
    for form in FORMS[_style(name, 0)]:
        assert_read(cell, sizes_of(cell), printed=form)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", public_cells.CELLS)
def test_other_style_of_a_public_cell_reads_as_the_kernel_computes(name: str) -> None:
    cell = public_cells.CELLS[name]
    for form in FORMS[_style(name, 1)]:
        assert_read(cell, sizes_of(cell), printed=form)


@sb.cell
def bordered(x: Input["m k"], h: State["m k+2"], W: Param["k+2 k+2"]):
    nil, half = np.zeros_like(x[:, :1]), np.full_like(x[:, :1], 0.5)
    return np.tanh(h @ W + np.concatenate([nil, x, half], axis=1) * np.concatenate([half, x, nil], axis=1))


@sb.cell
def bordered_volume(x: Input["m k n"], h: State["m k+2 n"], W: Param["n n"]):
    nil = np.zeros_like(x[:, :1])
    return np.tanh(h @ W + np.concatenate([nil, x, nil], axis=1))


@sb.cell
def headed(x: Input["k"], h: State["n k"], W: Param["k k"], U: Param["n 2"]):
    nil = np.zeros_like(x)[None, :]
    return np.tanh(h @ W + U @ np.concatenate([nil, x[None, :]], axis=0) + np.concatenate([x[None, :], nil]).sum(0))


@sb.cell
def forgotten(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"]):
    return {"h": np.tanh(W @ x + c), "c": np.zeros_like(h)}


@sb.cell
def joined_twice(x: Input["m"], h: State["n"], W: Param["2 n n+m"], U: Param["2 n m+n"]):
    a, b = W @ np.concatenate([h, x]) + U @ np.concatenate([x, h])
    return np.tanh(a) * b


@sb.cell
def worded(
    x: Input["m"], h: State["n"], gain: Param["n n"], sigma: Param["n n"], w_in: Param["n m"], Phi: Param["n n"]
):
    return np.tanh(gain @ (h * h + 1) + w_in @ (x + 1) + sigma @ (h - 0.5) + Phi @ (h + 2))


SHOWN = {
    bordered: ["nil  = 0_m\n", "half = 0.5 1_m\n"],
    bordered_volume: ["(nil)_{i,0,j} = 0,  i < m,  j < n\n"],
    headed: ["nil = 0_kᵀ\n"],
    forgotten: ["c_t = 0_n\n"],
    joined_twice: ["Σ_{k<m+n} {(h_{t-1})_k if k < n; (x_t)_{k - n} otherwise} W_{ijk}"],
    worded: ["σ (h_{t-1} - 0.5)"],
}
"""What the page says of each cell, by hand."""


@pytest.mark.parametrize("cell", SHOWN, ids=lambda cell: cell.name)
@pytest.mark.thinned(5)
def test_page_says_how_long_and_how_far(cell: sb.Cell) -> None:
    text = sb.derive(cell).text()
    for shown in SHOWN[cell]:
        assert shown in text
    for form in (*FORMS["loop"], *FORMS["textbook"]):
        assert_read(cell, sizes_of(cell), printed=form)


def test_sum_from_an_index_on_says_how_far_it_goes() -> None:
    @sb.cell
    def stacked(x: Input["m"], h: State["n"], A: Param["3 n m"]):
        return np.tanh(np.cumsum(A, axis=0)[1] @ x + h)

    d = sb.derive(stacked)
    assert "Σ_{i ≤ l<3} [l = 1] Σ_t (da_t)_j" in d.text()
    assert r"\sum_{i \leq l<3} " in d.latex()


def test_word_before_a_bracket_is_no_function_of_what_is_in_it() -> None:
    latex = sb.derive(worded).latex()
    assert r"\mathrm{gain}\: (h" in latex and r"\sigma\: (h" in latex and r"\Phi\: (h" in latex
    assert r"\tanh(a" in latex


@pytest.mark.parametrize("cell, right, wrong", [(bordered, "0_m", "0"), (joined_twice, "<m+n", "<n")])
def test_reader_catches_a_page_that_is_too_short(monkeypatch, cell: sb.Cell, right: str, wrong: str) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style: text(self, style=style).replace(right, wrong))
    with pytest.raises((AssertionError, ValueError)):
        assert_read(cell, sizes_of(cell))
