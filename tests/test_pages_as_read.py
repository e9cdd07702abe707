"""What a reader met on pages of cells that he wrote himself: names, brackets and conditions that say less than they could."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State, Target, zoo
from symbptt.equations.notation.names import Used, names_of_page
from symbptt.equations.page.layout import _of_one_size
from symbptt.language import folding
from symbptt.language.triangles import triangle
from tests.readback import as_latex_textbook, assert_read, sizes_of
from tests.test_mathml import as_mathml_textbook


@sb.cell
def rounded(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    """Weights are rounded, and gradients go straight through."""
    Uq = U + sb.stop_gradient(np.round(U / 0.1) * 0.1 - U)
    return np.tanh(W @ x + Uq @ h)


@sb.cell
def corrected(x: Input["m"], S: State["d d"], W: Param["d m"], k: Param["d"], a: Param["d"]):
    """A matrix state that is assigned twice, from which what a key reads is taken."""
    S = S * sb.sigmoid(W @ x)
    S = S - (S @ k)[:, None] * (k * a)[None, :]
    return S


@sb.cell
def scaled(x_t: Input["m"], h_prev: State["n"], W_ta: Param["n n+m"], W_tb: Param["n n"]):
    y_t = 0.5 * np.tanh(0.1 * (W_ta @ np.concatenate([x_t, h_prev])))
    return {"h_prev": W_tb @ y_t, "y": y_t.sum() * y_t}


@sb.cell
def strided(x: Input["2*n+1"], h: State["7"], w: Param["4"], V: Param["n"]):
    return np.concatenate([h[::2] * w, h[1::3], x[:1]]) * (x[1::2] @ V) + h[0]


@sb.cell
def rows_of_rounds(x: Input["m"], h: State["n"], U: Param["s n n"], b: Param["s n"], W: Param["n m"]):
    return sb.repeat(lambda z, k: np.tanh(U[k] @ z + b[k]) + U[k].T @ z, W @ x + h, U.shape[0])


@sb.cell
def triangular(x: Input["n"], h: State["n"], A: Param["n n"], B: Param["n n"]):
    skew = np.triu(A, 1) - np.triu(A, 1).T
    return np.tanh(skew @ h + np.tril(B) @ x + np.triu(B, 2) @ h)


@sb.cell
def of_four(x: Input["4"], h: State["4"], A: Param["4 4"]):
    return np.tanh(np.tril(A, -1) @ h + np.triu(A) @ x + np.tril(A, 1) @ h)


@sb.cell
def descending(x: Input["n"], h: State["n"], M: Param["k n"], W: Param["n n"]):
    def loss(z: Any) -> Any:
        return sb.logsumexp(M @ z) + sb.sum(sb.gelu(W @ z)) - x @ z

    return h - 0.1 * sb.grad(loss)(h)


@sb.cell
def summed(x: Input["m"], h: State["n"], A: Param["n m"], b: Param["n"], P: Param["n n"]):
    rows, columns = np.cumsum(A * b[:, None], axis=1), np.cumsum(np.tanh(A), axis=0)
    return np.tanh(rows @ x + columns @ x) + np.eye(h.shape[0]) @ P @ h


@sb.loss
def mixture(h: State["n"], y: Target["q"], Wp: Param["k n"], Wm: Param["k q n"], Ws: Param["k n"]):
    logits, mu, log_s = Wp @ h, Wm @ h, Ws @ h
    d2 = ((y - mu) ** 2).sum(axis=1)
    return -sb.logsumexp(sb.log_softmax(logits) - 0.5 * d2 * np.exp(-2 * log_s) - log_s * y.shape[0])


@sb.loss
def bernoulli(h: State["n"], y: Target["n"], rate: Const = 0.1):
    p = np.clip(h, 1e-3, 1 - 1e-3)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean() + (h.mean() - rate) ** 2


CELLS = {
    c.name: c for c in (rounded, corrected, scaled, strided, rows_of_rounds, triangular, of_four, descending, summed)
}
FORMS = {"text": None, "latex": as_latex_textbook, "mathml": as_mathml_textbook}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(7)
def test_pages_read_back(name: str, form: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]), printed=FORMS[form])


def test_arguments_shorter_than_a_name_have_none() -> None:
    text = sb.derive(sb.model(zoo.rnn, bernoulli)).text()
    assert "log(1 - p_t)" in text and " = 1 - p_t" not in text
    assert "spike'(v_t - threshold)" in sb.derive(zoo.lif).text()
    text = sb.derive(rounded).text()  # the line of one had another one put into it, and was lost (ValueError)
    assert "sg(" in text and "Uqᵀ da_{h,t+1}" in text


def test_a_value_that_is_assigned_again_has_a_tilde() -> None:
    """S_{1,t} would be read as an entry of a matrix."""
    text = sb.derive(corrected).text()
    assert "S_t = S̃_t - S̃_t k (k ⊙ a)ᵀ" in text and "S_{1,t}" not in text
    assert "dS̃_t = dS_t - dS_t (k ⊙ a) kᵀ" in text  # diag(k ⊙ a) 1 stood there behind the sign
    assert "dk = -Σ_t (S̃_tᵀ dS_t (k ⊙ a) + a ⊙ (dS_tᵀ S̃_t k))" in text  # there were two sums


def test_a_name_with_its_time_and_one_without_it_are_told_apart() -> None:
    def text(**roles: str) -> dict[str, str]:
        return dict(names_of_page([Used(name, role) for name, role in roles.items()]).text)

    assert text(x_t="input", x="value") == {"x_t": "x", "x": "x̃"}
    assert text(y_t="value", y="value") == {"y_t": "ỹ", "y": "y"}
    assert text(f_t="value", f_new="value") == {"f_t": "f", "f_new": "f_new"}
    d = sb.derive(scaled)
    assert "y_t = sum(ỹ_t) ỹ_t" in d.text().replace("  ", "") and ",t,t}" not in d.text()
    # W_{t,a} would be W at step t.
    assert r"W_{\mathrm{ta}}" in d.latex() and "W_{t,a}" not in d.latex()


def test_numbers_leave_slices() -> None:
    text = sb.derive(scaled).text()
    assert "(W_taᵀ da_t)[0:m]" in text and "(0.1 W_taᵀ" not in text


def test_every_nth_entry_needs_no_condition() -> None:
    text = sb.derive(strided).text()
    assert "mod(" not in text and "⊙ w, 0_4])[0:7] + [sum(dh_{t+1}); vec([" in text


def test_rows_that_rounds_read_have_a_gradient_a_round() -> None:
    text = sb.derive(rows_of_rounds).text()
    assert "dU_k = Σ_t (" in text and "db_k = Σ_t da_{t,k} for k < s" in text and "[i = k]" not in text


def test_triangles_are_functions_of_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.derive(triangular).text()
    assert (
        "skew = A - u - (A - u)ᵀ" in text and "tril(B)" in text and "tril(M): M with zeros above its diagonal" in text
    )
    text = sb.derive(of_four).text()  # of sizes that are numbers the identity is an array of these
    assert "tril(A)" not in text.partition("Legend")[0] or "tril(Aᵀ)" in text
    assert "Σ_{k ≤" not in text and "M = [" not in text

    def without_diagonal(g: Any, id: int) -> Any:
        found = triangle(g, id)
        return found and replace(found, is_strict=not found.is_strict)

    monkeypatch.setattr(folding, "triangle", without_diagonal)
    with pytest.raises(AssertionError):
        assert_read(sb.cell(triangular.function), sizes_of(triangular))


def test_functions_of_inner_losses_are_whole_and_defined() -> None:
    text = sb.derive(descending).text()
    assert "loss(z; M, W, x) = lse(M z) + sum(gelu(W z)) - xᵀ z" in text
    assert "lse(a) " in text.partition("Functions")[2]


def test_running_sums_of_rows_are_functions_and_an_identity_is_no_factor() -> None:
    text = sb.derive(summed).text()
    assert "rows_t" not in text and "cumsum_rows(diag(b) A)" in text and "reverse_cumsum_columns(d" in text
    assert "I P" not in text and "Pᵀ dh_{t+1}" in text


def test_parts_of_functions_that_a_page_has_whole_have_no_names() -> None:
    text = sb.derive(sb.model(zoo.rnn, mixture)).text()
    assert "loss_t     = -lse(" in text and "_{2,t}" not in text and text.count("exp(-2 logs_t)") == 1


def test_an_index_behind_brackets_over_several_rows_stays_one() -> None:
    assert _of_one_size(r"\right)\left[n\right]") == r"\bigr)\left[n\right]"
    assert _of_one_size(r"\tanh\left(") == r"\tanh\bigl(" and _of_one_size(r"\right]") == r"\bigr]"
    assert _of_one_size(r"\left[1 - \tanh\left(") == r"[1 - \tanh\bigl("


def test_the_mark_of_resets_is_not_the_value_of_the_legend() -> None:
    @sb.cell
    def lettered(x: Input["n"], r: State["n"], q: State["n"], p: State["n"], z: Param["n"]):
        return np.tanh(r * z + x), r + q, p * q

    text = sb.derive(lettered, reset=True).text()
    assert "v^{(w)}: the state that enters a step" in text
