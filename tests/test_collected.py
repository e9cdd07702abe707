"""What terms share stands once on a page, numbers cancel, and a sum over steps stands in front of what it is over."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target
from symbptt.equations.page import textbook
from symbptt.zoo import hopfield
from tests.jacobian_page import assert_jacobians_read
from tests.readback import as_latex_textbook, assert_model_read, assert_read, sizes_of


@sb.cell
def coupled(x: Input["m"], h: State["n"], Wt: Param["n m"], Wc: Param["n m"], Ut: Param["n n"], Uc: Param["n n"],
            bt: Param["n"], bc: Param["n"]):  # fmt: skip
    t = sb.sigmoid(Wt @ x + Ut @ h + bt)
    c = sb.sigmoid(Wc @ x + Uc @ h + bc)
    return t * np.tanh(Wt @ x) + (1 - c) * h * (1 - t)


@sb.cell
def interpolated(x: Input["m"], w: State["5"], M: Param["5 m"], wg: Param["m"]):
    gate = sb.sigmoid(wg @ x)
    content = sb.softmax(M @ x)
    return gate * content + (1 - gate) * (w * w + 0.1)


@sb.cell
def outer_rule(x: Input["n"], A: State["n n"], W: Param["n n"], eta: Param, lam: Param):
    k = np.tanh(W @ x)
    return lam * A + eta * np.outer(x - A @ k, k)


@sb.cell
def kernel_of_three(x: Input["n"], h: State["n"], W: Param["n n"], k: Param["3"]):
    return np.tanh(k[0] * np.roll(h, 1) + k[1] * h * h * h - k[2] * np.roll(h, -1) + W @ x)


@sb.cell
def doubly(x: Input["n"], L: State["n n"], A: Param["n n"], q: Param["n"]):
    P = A @ L @ L.T @ A.T
    g = np.tanh(q)
    return 0.5 * L + np.outer(g * x, g * (P @ x)) * 0.1


@sb.loss
def halved(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return e @ e / 2 + 0.01 * np.sum(V * V)


CELLS = [coupled, interpolated, outer_rule, kernel_of_three, doubly]


@pytest.mark.parametrize("form", [None, as_latex_textbook], ids=["text", "latex"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(17, 2)
def test_pages_with_collected_terms_read_back(cell: sb.Cell, form: Any) -> None:
    assert_read(cell, sizes_of(cell), **({} if form is None else {"printed": form}))
    assert_jacobians_read(cell, sizes_of(cell), ("state", "input"))


def lines_of(target: sb.Cell | sb.Model) -> dict[str, str]:
    text = sb.derive(target).text()
    return dict(" ".join(line.split()).split(" = ", 1) for line in text.split("\n") if " = " in line)  # type: ignore[misc]


def test_what_all_terms_of_a_sum_share_stands_once() -> None:
    lines = lines_of(interpolated)
    assert lines["w_t"] == "gate_t content_t + (1 - gate_t) (w_{t-1}² + 0.1)"
    assert lines["da_{gate,t}"] == "(dw_tᵀ (content_t - 0.1 - w_{t-1}²)) gate_t (1 - gate_t)"
    assert lines["da_{content,t}"] == "gate_t content_t ⊙ (dw_t - content_tᵀ dw_t)"


def test_what_is_printed_three_times_has_a_name_also_where_it_is_short() -> None:
    @sb.cell
    def ratio(x: Input["n"], h: State["n"], w: Param["n"], tau: Param["n"]):
        f = sb.sigmoid(w * h + x)
        return (h + f * x) / (1 + f + 1 / tau)

    lines = lines_of(ratio)
    assert lines["u_t"] == "1 + f_t + 1 / τ" and lines["h_t"] == "(h_{t-1} + f_t ⊙ x_t) / u_t"
    assert lines["da_t"] == "dh_t ⊙ (x_t - h_t) ⊙ f_t ⊙ (1 - f_t) / u_t"
    assert_read(ratio, sizes_of(ratio))


def test_an_inner_product_with_an_outer_one_is_a_quadratic_form() -> None:
    assert lines_of(outer_rule)["dη"] == "Σ_t (x_t - A_{t-1} k_t)ᵀ dA_t k_t"


def test_sums_over_steps_side_by_side_are_one() -> None:
    line = lines_of(kernel_of_three)["dk"]
    assert line.startswith("Σ_t [") and line.count("Σ") == 1 and "h_{t-1}³" in line


def test_numbers_above_and_below_cancel_also_behind_other_factors() -> None:
    model = sb.model(coupled, halved, at="every", reduction="mean")
    assert lines_of(model)["de_t"] == "e_t / N"
    assert_model_read(model, sizes_of(model))


def test_the_argument_of_a_gate_called_t_is_in_no_family() -> None:
    lines = lines_of(coupled)
    assert lines["t_t"] == "σ(a_t)" and lines["dUt"] == "Σ_t da_t h_{t-1}ᵀ" and lines["dUc"] == "Σ_t da_{c,t} h_{t-1}ᵀ"


def test_terms_of_other_shapes_share_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(hopfield)["da_t"] == "p_t ⊙ (M dh_t - p_tᵀ M dh_t)"

    def planted(e: Any) -> Any:
        chains = [term.factors for _, term in e.terms]
        if len({chain[-1] for chain in chains}) > 1:
            return e
        pairs = zip(e.terms, chains, strict=True)
        return textbook.matmul(
            [textbook.plus([(sign, textbook.matmul(c[:-1])) for (sign, _), c in pairs]), chains[0][-1]]
        )

    monkeypatch.setattr(textbook, "_with_shared_matrix", planted)
    with pytest.raises((AssertionError, ValueError)):
        assert_read(hopfield, sizes_of(hopfield))


@sb.cell
def leaky(x: Input["m"], h: State["n"], W: Param["n m"], tau: Param["n"], rate: Param["n"]):
    f = sb.sigmoid(W @ x)
    return (h + f * rate) / (1 / tau + f * f + 2)


@sb.cell
def weighed(x: Input["m"], S: State["n d"], W: Param["d m"], a: Param["n"]):
    row, column = (S * (W @ x)).sum(axis=1), (S * a[:, None]).sum(axis=0)
    return 0.5 * S * np.tanh(row)[:, None] + np.outer(a, np.tanh(column))


@sb.cell
def shares(x: Input["n"], h: State["n"], v: Param["n"]):
    return np.tanh(h - 3 * (v @ h) * v / (v @ v) + x)


@sb.cell
def faded(x: Input["m"], h: State["n"], W: Param["n m"], p: Param["n"], q: Param["n"], r: Param["n"]):
    f = sb.sigmoid(W @ x)
    return {"h": h * (p * f + q * r - p) + W @ x, "y": f * (p * f + q * r - p)}


LATER = [(leaky, ["dh_{t+1} / u_{t+1}", "dh_1 / u_1"], [r"f_1²"]),
         (faded, ["dh_{t+1} ⊙ u_{t+1}", "dh_1 ⊙ u_1"], [r"f_\{t\+1\}", r"f_1"]),
         (weighed, ["= S_{t-1} W x_t", "= S_{t-1}ᵀ a"], [r"diag\([^)]*\)ᵀ? 1_"]), (shares, ["3 (2 (Σ_t"], [r"Σ_t [236] "])]  # fmt: skip


@pytest.mark.parametrize(("cell", "shown", "hidden"), LATER, ids=[cell.name for cell, *_ in LATER])
@pytest.mark.parametrize("form", [None, as_latex_textbook], ids=["text", "latex"])
@pytest.mark.thinned(7)
def test_what_has_a_name_or_a_shorter_form_is_not_written_out(cell, shown, hidden, form):
    text = sb.derive(cell).text()
    assert all(part in text for part in shown), text
    assert not any(re.search(part, text) for part in hidden), text
    assert_read(cell, sizes_of(cell), printed=form)


@sb.cell
def stacked_gates(x: Input["m"], h: State["n"], W: Param["3 n m"], V: Param["2 2 n m"]):
    z, r = sb.sigmoid(W[0] @ x), sb.sigmoid(W[1] @ x + h)
    a = V[0] @ x
    return z * h - r * np.tanh(W[2] @ x) + a[0] * a[1] + np.sin(V[1] @ x)[1]


def test_one_sum_over_steps_of_parts_of_an_array() -> None:
    text = sb.derive(stacked_gates).text()
    assert re.search(r"dW_\{ijk\} += Σ_t \{[^Σ]* if i = 0; [^Σ]* if i = 1; -?[^Σ]* otherwise\}", text), text
    for form in (None, as_latex_textbook):
        assert_read(stacked_gates, sizes_of(stacked_gates), printed=form)


@sb.cell
def sized(x: Input["a"], h: State["a"], w: Param["a"]):
    return np.tanh(w * h + x)


def test_no_argument_of_a_function_has_the_name_of_a_size() -> None:
    text = sb.derive(sized).as_spelt("textbook")
    assert "u_t = w ⊙ h_{t-1} + x_t" in text and "a_t" not in text
