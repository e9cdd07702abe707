"""What was objected to where printed pages were looked at, each in a cell of its own: breaks, spaces, letters with indices."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.equations.algebra import between_zeros, normal
from symbptt.equations.algebra.expressions import ONE, Symbol
from symbptt.equations.page import quotients
from tests.readback import as_latex_textbook, assert_read, sizes_of
from tests.test_mathml import as_mathml_textbook


@sb.cell
def joined(x: Input["m"], h: State["n"], c: State["n"], W: Param["4*n m+n"], b: Param["4*n"]):
    z = W @ np.concatenate([x, h]) + b
    i, f, g, o = np.split(z, 4)
    c_new = sb.sigmoid(f + 1) * c + sb.sigmoid(i) * np.tanh(g)
    return sb.sigmoid(o) * np.tanh(c_new), c_new


@sb.cell
def turning(x: Input["m"], p: State["n"], mix: Param["n m"], T: Param["n n n"], alpha: Param["n"]):
    u = mix @ x
    return alpha * p + (1 - alpha) * np.einsum("ijk,j,k->i", T, u, p)


@sb.cell
def graves(
    x: Input["m"], h: State["n"], c: State["n"], W_xi: Param["n m"], W_xf: Param["n m"], W_xc: Param["n m"],
    W_hi: Param["n n"], W_hf: Param["n n"], W_hc: Param["n n"],
):  # fmt: skip
    """Source: Graves 2013, "Generating sequences with recurrent neural networks", equations 7 to 9, in its letters."""
    i, f = sb.sigmoid(W_xi @ x + W_hi @ h), sb.sigmoid(W_xf @ x + W_hf @ h)
    c_new = f * c + i * np.tanh(W_xc @ x + W_hc @ h)
    return np.tanh(c_new), c_new


@sb.cell
def masked(x: Input["n"], h: State["n"], U: Param["n n"], M: Const["n n"], tau: Param, dt: Const = 0.1):
    return h + dt / tau * (np.tanh(np.maximum(U, 0) @ M @ h + x) - h)


@sb.cell
def rotary(x: Input["m"], h: State["2*n"], W: Param["2*n m"], theta: Param["n"]):
    a = np.tanh(W @ x + h)
    u, v = a[0::2], a[1::2]
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([c * u - s * v, s * u + c * v], axis=-1).reshape(-1)


@sb.cell
def split(x: Input["6"], h: State["6"], S: State["n 3"], w: Param["2"], b: Param["n"]):
    """Parts behind each other and every third entry, with places that nothing reads."""
    first, middle = np.tanh(S[:, :1]), S[:, 2:]
    turned = np.concatenate([middle, S[:, 1:2] * b[:, None], first], axis=1)
    return h * np.concatenate([h[0::3] * w, h[2::3], x[1::3]]), turned


@sb.cell
def addressing(x: Input["m"], h: State["n"], c: State["n"], M: State["s n"], W: Param["n m"], g: Param["n"]):
    w = sb.softmax(M @ h / (np.linalg.norm(M, axis=1) * np.linalg.norm(h)))
    centred = c + W @ x - c.mean()
    return M.T @ w, g * centred / np.sqrt((centred**2).mean() + 0.1), M + np.outer(w, h)


@sb.cell
def counting(x: Input["m"], h: State["n"], A: Param["n"], W: Param["n m"], c: Param, tau: Param["n"], dt: Const = 0.1):
    f = sb.sigmoid(W @ x + h + sb.sum(c * np.ones_like(h)))
    return (h + dt * f * A) / (1 + dt * (f + 1 / tau)) + sb.sum(h)


@pytest.mark.parametrize("printed", [None, as_latex_textbook, as_mathml_textbook])
@pytest.mark.parametrize(
    "cell", [joined, turning, graves, masked, rotary, split, addressing, counting], ids=lambda cell: cell.name
)
@pytest.mark.thinned(5)
def test_pages_read_back(cell: sb.Cell, printed) -> None:
    assert_read(cell, sizes_of(cell), printed=printed)


@sb.cell
def parted(x: Input["n"], h: State["3*n"]):
    a, b, c = np.split(h, 3)
    return np.concatenate(
        [a * b * c * np.tanh(x) + x * b, b * c * np.tanh(x) + x * c * a, c * a * np.tanh(x) + x * a * b]
    )


@sb.cell
def taken_apart(x: Input["m"], h: State["n"], c: State["n"], W: Param["3 n m"], U: Param["3 n n"], b: Param["3 n"]):
    i, f, g = W @ x + U @ h + b
    c = sb.sigmoid(f) * c + sb.sigmoid(i) * np.tanh(g)
    return np.tanh(c), c


def test_what_is_taken_apart_has_a_name_and_each_part_a_line() -> None:
    text = sb.derive(taken_apart).text()
    assert "da_t     = [di_tᵀ; df_tᵀ; dg_tᵀ]" in text and "dW_{jkl} = Σ_t (da_t)_{jk} (x_t)_l\n" in text
    assert "if k = 0" not in text and "  df_t " in text
    for form in (None, as_latex_textbook):
        assert_read(taken_apart, {"m": 3, "n": 5}, printed=form)


@sb.cell
def liquid(x: Input["n"], h: State["n"], A: Param["n"], tau: Param["n"], U: Param["n n"]):
    f = sb.sigmoid(U @ h + x)
    return (h + 0.1 * f * A) / (1 + 0.1 * (1 / tau + f))


@sb.cell
def normalised(x: Input["n"], h: State["n"], A: Param["n n"]):
    Q = A**2 / np.sum(A**2, axis=1, keepdims=True)
    return np.tanh(Q @ h + x)


@sb.cell
def before_and_after(x: Input["n"], s: State["n"]):
    """The same quotient of the state before a step, and of the new one, which is another value of the same step."""
    y = s / (1 + s @ s)
    new = np.tanh(y + x)
    return {"s": new, "z": x + new / (1 + new @ new)}


@sb.cell
def at_all_steps(x: Input["n"], h: State["n"], p: Param["n"], q: Param["n"]):
    """A next state that is the same at all steps, which has the name of one step."""
    return p * q / (2 + np.sin(p))


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize(("cell", "shown"), [
    (at_all_steps, "h_t = p ⊙ q / (2 + sin(p))"),
    (liquid, "da_t = 0.1 dh_t ⊙ (A - h_t) ⊙ f_t ⊙ (1 - f_t) / u_t"),
    (normalised, "dA = 2 (dQ - (dQ ⊙ Q) 1_n 1_nᵀ) ⊙ A / (A² 1_n 1_nᵀ)"),
    (before_and_after, "(dy_{t+1}ᵀ s_t) y_{t+1}"),
], ids=lambda x: getattr(x, "name", ""))  # fmt: skip
def test_adjoints_of_quotients_have_them_by_their_names(cell: sb.Cell, shown: str) -> None:
    assert shown in sb.derive(cell).text()
    for form in (None, as_latex_textbook):
        assert_read(cell, sizes_of(cell), printed=form)


@sb.cell
def cosine(x: Input["m"], h: State["n"], c: State["s n"], W: Param["n m"], q: Param["n"]):
    sim = c @ q / (np.linalg.norm(c, axis=1) * np.linalg.norm(q) + 1e-8)
    h = np.tanh(W @ x + c.T @ sim) + 0.1 * h
    return {"h": h, "c": np.concatenate([h[None, :], c[:-1]], axis=0)}


def test_what_a_step_makes_of_states_before_it_has_one_name_at_all_steps() -> None:
    text = sb.derive(cosine).text()
    assert text.count("norm_rows(c") == 1 and "dsim_{t+1} / u_{t+1}" in text
    for form in (None, as_latex_textbook):
        assert_read(cosine, sizes_of(cosine), printed=form)


def test_a_name_of_the_future_in_a_term_of_this_step_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotients, "is_of_the_next", lambda term: True)
    with pytest.raises((AssertionError, KeyError)):
        assert_read(sb.cell(before_and_after.function), {"n": 3})


@sb.cell
def energy(x: Input["n"], h: State["n"], M: Param["k n"], beta: Param, tau: Param["n"]):
    """A step down the energy of a modern Hopfield network."""

    def of(z: Any) -> Any:
        return 0.5 * z @ z - sb.logsumexp(beta * (M @ z)) / beta - x @ z

    return h - np.exp(-1 / np.exp(tau)) * sb.grad(of)(h)


def test_what_stands_above_and_below_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.strip() for line in sb.derive(energy).text().splitlines()]
    assert "= h_{t-1} - Mᵀ u_t - x_t" in lines and "dβ = Σ_t da_{g,t}ᵀ M h_{t-1}" in lines
    (slope,) = [line for line in lines if line.startswith("dτ = ")]
    assert slope.endswith(" / exp(τ)") and slope.count("exp(τ)") == 1
    for form in (None, as_latex_textbook):
        assert_read(energy, sizes_of(energy), printed=form)
    monkeypatch.setattr(normal, "_may_cancel", lambda e: isinstance(e, Symbol))
    monkeypatch.setattr(normal, "_less_one", lambda e: ONE)
    with pytest.raises(AssertionError):
        assert_read(sb.cell(energy.function), sizes_of(energy))


@sb.cell
def two_times(x: Input["n"], h_prev: State["n"], s_prev: State["n"], V: Param["n n"], p: Param["p"], Q: Param["n p"]):
    """An argument that the user calls a_t, one without a name, and a parameter with the name of a size."""
    a_t = x + (Q @ p) * s_prev
    h_t = np.tanh(a_t) + 0.1 * h_prev
    return h_t, 0.9 * s_prev + np.tanh(V @ h_t)


def test_an_argument_without_a_name_has_another_letter_than_the_users_at_a_time() -> None:
    text = sb.derive(two_times).text()
    assert "a_t = x_t" in text and "u_t = V h_t" in text and "a_{t,t}" not in text
    for form in (None, as_latex_textbook):
        assert_read(two_times, sizes_of(two_times), printed=form)


@sb.cell
def plastic(x: Input["n"], h: State["n"], A: State["n n"], eta: Param):
    new = np.tanh(A.T @ h + x)
    return new, A + eta * (np.outer(h, new) - A * new**2)


def test_a_number_inside_of_a_transpose_leads_the_product() -> None:
    assert "- 2 η ((dA_t ⊙ A_{t-1})ᵀ 1_n) ⊙ h_t" in sb.derive(plastic).text()
    assert_read(plastic, sizes_of(plastic))


def test_what_one_row_can_hold_is_not_broken_inside() -> None:
    """Parts of a joined vector begin rows where they do not fit behind the part before; greedily dh_t stood there alone."""
    latex = sb.derive(parted).latex(width="single")
    inside = latex[latex.index(r"  h_{t} &=") :].split(r"\\")[:3]
    assert [row.strip()[-1] for row in inside[:2]] == [";", ";"], inside
    assert r"&\quad {} \odot" not in latex


def test_a_word_and_a_letter_are_no_longer_word() -> None:
    latex = sb.derive(turning).latex()
    assert r"\mathrm{mix}\: x_{t}" in latex and r"\mathrm{mix} x" not in latex
    assert r"\mathrm{mix}^{\top} \mathrm{d}" in latex


def test_a_greek_letter_takes_an_index_as_a_latin_one_does() -> None:
    d = sb.derive(turning)
    assert "α_i" in d.text() and r"\alpha_{i}" in d.latex()
    assert "(α)_" not in d.text() and r"(\alpha)_" not in d.latex()


def test_two_letters_below_a_weight_are_what_a_gate_takes_from_where() -> None:
    d = sb.derive(graves)
    assert "ξ" not in d.text() and r"\xi" not in d.latex()
    assert "W_{x,k} x_{t}" in d.latex() and "$W_{x,i}$, $W_{x,f}$, $W_{x,c}$" in d.latex()


@sb.cell
def doubled(x: Input["m"], h: State["n"], ll: State["n"], W1: Param["n m"], W2: Param["n m"]):
    ff1, ff2 = np.tanh(W1 @ x), np.tanh(W2 @ x)
    return ff1 * h + (1 - ff1) * ff2, ll + ff2


def test_a_letter_that_stands_twice_is_a_word_and_its_number_an_index() -> None:
    latex = sb.derive(doubled).latex()
    assert (
        r"a_{\mathrm{ff},k,t} &= W_{k} x_{t}" in latex and r"\mathrm{ff}_{1,t} &= \tanh(a_{\mathrm{ff},1,t})" in latex
    )
    assert r"\mathrm{ll}_{t}" in latex and "f_{f" not in latex and "l_{l" not in latex
    assert_read(doubled, {"m": 3, "n": 5}, printed=as_latex_textbook)


@sb.cell
def by_columns(x: Input["m"], S: State["a k v"], w: Param["a m"], K: Param["a k"], V: Param["a v"]):
    beta = sb.sigmoid(w @ x)[:, None]
    return 0.5 * S + np.einsum("hk,hv->hkv", K, beta * (V - np.einsum("hkv,hk->hv", S, K)))


def test_a_column_has_the_name_of_the_vector_that_it_is() -> None:
    d = sb.derive(by_columns)
    lines = d.text().partition("Backward")[0].splitlines()
    assert [line.split(" = ")[1] for line in lines if line.split()[:1] == ["β_t"]] == ["σ(u_t)"]
    assert_read(by_columns, {"m": 3, "a": 4, "k": 5, "v": 6})
    unrolled = sb.unroll(by_columns, 1, backward=True)
    assert {name for name, t in unrolled if t == 1 and not unrolled.out_degree((name, t))} == {"dx"}


def test_a_sum_over_steps_stands_last_and_needs_no_brackets() -> None:
    """Numbers and arrays that are the same at all steps stand before it, matrices behind it inside."""
    text = sb.derive(masked).text()
    assert "dU = [U > 0] ⊙ Σ_t da_t h_{t-1}ᵀ Mᵀ\n" in text
    assert "dτ = -Δt Σ_t dh_tᵀ (tanh(a_t) - h_{t-1}) / τ²\n" in text


def test_sizes_lead_and_rows_are_divided_inside_of_a_diagonal() -> None:
    text = sb.derive(addressing).text()
    assert "_t n)" not in text and " (n " in text
    assert "M_0 /" not in text and "diag(" in text


def test_a_transposed_adjoint_has_its_marks_above_each_other() -> None:
    mathml = sb.derive(addressing).mathml()
    assert (
        '<mrow><mi mathvariant="normal">d</mi><msubsup><mi>c</mi><mrow><mi>t</mi></mrow><mrow><mo>⊤</mo></mrow></msubsup>'
        in mathml
    )
    assert "</mrow></msub></mrow></mrow><mrow><mo>⊤</mo>" not in mathml


def test_rows_of_a_jacobian_stand_under_each_other_at_their_relations() -> None:
    d = sb.derive(graves)
    for latex in (d.jacobian("h", "h").latex(), d.jacobian().latex(), d.unrolled().latex()):
        first, *rows, last = latex.split("\n")
        assert (first, last) == ("\\begin{aligned}", "\\end{aligned}")
        assert all(("&= " in row) != row.startswith(r"  &\text{") for row in rows), rows


def test_parts_of_an_array_give_one_adjoint() -> None:
    """[a; 0] + [0; b] is [a; b], and every n-th entry is a column of a matrix: there were conditions on the index, mod(i, 2) = 0."""
    text = sb.derive(rotary).text()
    assert "dz_t = vec([w_t[:, 0] ⊙ c + w_t[:, 1] ⊙ s, w_t[:, 1] ⊙ c - w_t[:, 0] ⊙ s]) ⊙ (1 - a_t²)" in text
    text = sb.derive(split).text()
    assert "vec([(dh_{t+1} ⊙ h_t)[0:2] ⊙ w, 0_2, (dh_{t+1} ⊙ h_t)[2:4]])" in text and "mod(" not in text
    assert "0_n" not in text and "dx_t = vec([0_2, (dh_t ⊙ h_{t-1})[4:6], 0_2])" in text


def test_reader_catches_parts_in_a_wrong_order(monkeypatch: pytest.MonkeyPatch) -> None:
    right = between_zeros._written

    def exchanged(a):
        return right(replace(a, parts=tuple(map(replace_value, a.parts, a.parts[::-1]))))

    def replace_value(part, other):
        return replace(part, value=other.value)

    monkeypatch.setattr(between_zeros, "_written", exchanged)
    with pytest.raises(AssertionError):
        assert_read(rotary, sizes_of(rotary))


def test_left_sides_stand_at_their_relations_in_a_browser() -> None:
    """Chromium moves boxes of mathematics for -webkit-right alone: left sides stood far from their relations."""
    cells = re.findall(r'<mtd style="([^"]*)"', sb.derive(graves).mathml())
    right = "text-align: right; text-align: -webkit-right"
    assert cells.count(right) == sum(len(section.lines) for section in sb.derive(graves).page().sections)


def test_sizes_are_numbers_that_leave_sums() -> None:
    text = sb.derive(counting).text()
    assert "sum(1_n)" not in text and "n c" in text and "dc = n Σ_t sum(da_t)\n" in text
    assert "dA = Δt Σ_t dh_t ⊙ f_t / " in text
