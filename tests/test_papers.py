"""The equations of papers beside our pages: the same ones, in no more lines."""

import re
from pathlib import Path

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from tests.readback import as_latex, as_latex_textbook, assert_read, sizes_of
from tests.test_mathml import as_mathml_textbook


@sb.cell
def greff(
    x: Input["m"], y: State["n"], c: State["n"], W_z: Param["n m"], W_i: Param["n m"], W_f: Param["n m"], W_o: Param["n m"],
    R_z: Param["n n"], R_i: Param["n n"], R_f: Param["n n"], R_o: Param["n n"], p_i: Param["n"], p_f: Param["n"], p_o: Param["n"],
    b_z: Param["n"], b_i: Param["n"], b_f: Param["n"], b_o: Param["n"],
):  # fmt: skip
    """Source: Greff et al. 2017, "LSTM: A search space odyssey", section 2, in its letters."""
    z_bar = W_z @ x + R_z @ y + b_z
    z = np.tanh(z_bar)
    i_bar = W_i @ x + R_i @ y + p_i * c + b_i
    i = sb.sigmoid(i_bar)
    f_bar = W_f @ x + R_f @ y + p_f * c + b_f
    f = sb.sigmoid(f_bar)
    c_new = z * i + c * f
    o_bar = W_o @ x + R_o @ y + p_o * c_new + b_o
    o = sb.sigmoid(o_bar)
    return np.tanh(c_new) * o, c_new


@sb.cell
def cho(
    x: Input["m"], h: State["n"], W_r: Param["n m"], U_r: Param["n n"], W_z: Param["n m"], U_z: Param["n n"], W: Param["n m"],
    U: Param["n n"],
):  # fmt: skip
    """Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", section 2.3."""
    r, z = sb.sigmoid(W_r @ x + U_r @ h), sb.sigmoid(W_z @ x + U_z @ h)
    h_tilde = np.tanh(W @ x + U @ (r * h))
    return z * h + (1 - z) * h_tilde


@sb.cell
def pascanu(u: Input["m"], x: State["n"], W_rec: Param["n n"], W_in: Param["n m"], b: Param["n"]):
    """Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", equation 2."""
    return W_rec @ np.tanh(x) + W_in @ u + b


@sb.cell
def schlag(
    x: Input["m"], W: State["v d"], W_k: Param["d m"], W_v: Param["v m"], W_q: Param["d m"], W_beta: Param["1 m"]
):
    """Source: Schlag, Irie, Schmidhuber 2021, "Linear transformers are secretly fast weight programmers", equations 20 to 24."""
    k, v, q = sb.softmax(W_k @ x), W_v @ x, sb.softmax(W_q @ x)
    beta = sb.sigmoid(W_beta @ x)[0]
    v_bar = W @ k
    W_new = W + beta * np.outer(v - v_bar, k)
    return {"W": W_new, "y": W_new @ q}


@sb.cell
def accents(x: Input["n"], h: State["n"], a_hat: Param["n"], b_hat: Param["n"], gate_hat: Param["n"], V_a: Param["n n"],
            V_b: Param["n n"], V_gate: Param["n n"], k_tilde: Param["n"]):  # fmt: skip
    return np.tanh(V_a @ (a_hat * h) + V_b @ (b_hat * h) + V_gate @ (gate_hat * h) + x * k_tilde)


PAPERS = Path(__file__).parents[1] / "docs" / "papers.md"
CELLS = {cell.name: cell for cell in (greff, cho, pascanu, schlag, accents)}
FORMS = {"text": None, "latex loop": as_latex, "latex": as_latex_textbook, "mathml": as_mathml_textbook}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(5)
def test_pages_of_papers_read_back(name: str, form: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]), printed=FORMS[form])


LINES = {"greff": (9, 6, 5, 1), "cho": (6, 4, 4, 1), "pascanu": (1, 1, 3, 1), "schlag": (9, 7, 3, 1)}
"""Lines forward, backward, of the parameters and of the inputs. Greff et al. have 10, 6, 6 and 1."""


@pytest.mark.parametrize("name", LINES)
def test_pages_have_no_more_lines_than_the_papers(name: str) -> None:
    sections = sb.derive(CELLS[name]).page().sections
    assert tuple(len(section.lines) for section in sections[:4]) == LINES[name]


def beside(title: str) -> list[str]:
    """The lines that docs/papers.md has beside a paper's."""
    section = PAPERS.read_text("utf-8").partition(f"## {title}")[2].partition("\n## ")[0]
    return re.findall(r"^\|.*\| `(.*)` \|$", section, re.MULTILINE)


def printed(text: str, sections: int) -> list[str]:
    """The lines of the first sections of a page, each with single blanks."""
    return [" ".join(line.split()) for part in text.split("\n\n")[:sections] for line in part.splitlines()[1:]]


def test_pages_stand_beside_the_papers() -> None:
    assert sorted(beside("Greff")) == sorted(printed(sb.derive(greff).text(), 4))
    assert beside("Cho") == printed(sb.derive(cho).text(style="loop"), 1)
    d = sb.derive(pascanu)
    unrolled = str(d.unrolled()).splitlines()
    step, whole, factor = beside("Pascanu")
    assert [step] == printed(d.text(), 1) and {whole, factor} <= {*unrolled} and len(unrolled) == 4
    assert [len(beside(title)) for title in ("Greff", "Cho", "Pascanu")] == [21, 4, 3]


def test_values_that_differ_in_the_letter_below_an_accent_are_a_family() -> None:
    d = sb.derive(greff)
    text, latex = d.text(), d.latex()
    for line in (
        "k̄_t = W_k x_t + R_k y_{t-1} + p_k ⊙ c_{t-1} + b_k,  k ∈ {i, f}",
        "dy_t = dL/dy_t + Σ_j R_jᵀ dj̄_{t+1}",
        "dW_j = Σ_t dj̄_t x_tᵀ,  j ∈ {z, i, f, o}",
        "dp_k = Σ_t dk̄_t ⊙ c_{t-1},  k ∈ {i, f}",
        "dx_t = Σ_j W_jᵀ dj̄_t",
    ):
        assert line in text, line
    assert r"\mathrm{d}W_{j} &= \sum_{t} \mathrm{d}\bar{j}_{t} x_{t}^{\top},\quad j \in \{z, i, f, o\}" in latex
    assert "dW_j = sum_t dj_bar_t x_t^T" in d.text(ascii=True)


def test_the_letter_of_a_family_with_accents_is_no_letter_of_the_page() -> None:
    assert "k̂" not in sb.derive(accents).text() and "j ∈ {a, b, gate}" in sb.derive(accents).text()


def test_what_read_badly_in_the_papers_pages() -> None:
    """Numbers before Σ, an inner product with an outer product as uᵀ A v, sums over rows as one, a difference turned whole."""
    assert "((v_t - v̄_t)ᵀ dW_t k_t) β_t (1 - β_t)" in sb.derive(schlag).text()
    assert "(v_t - S_{t-1} k_t)ᵀ dS_t k_t" in sb.derive(zoo.delta_rule).text()
    text = sb.derive(zoo.s4d).text()
    assert "dC_re  = 2 Σ_t diag(dy_t) re_t" in text and "dC_im  = -2 Σ_t diag(dy_t) im_t" in text
    assert "dx_t = (dre_t ⊙ g_re + dim_t ⊙ g_im) 1_n + dy_t ⊙ D" in text
    assert "dM = Σ_t (β da_t (h_{t-1} + W x_t)ᵀ + p_t dh_tᵀ)" in sb.derive(zoo.hopfield).text()
