"""Pages have the forms that papers have: signs and numbers in front, σ (1 - σ), ‖h - y‖², parts by their place, and what is printed twice
by a name, at whatever step it is read."""

import re
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target
from symbptt.equations.algebra import normal
from symbptt.equations.algebra.expressions import Symbol
from symbptt.equations.notation.measure import width
from symbptt.equations.page import textbook
from tests.readback import as_latex_textbook, assert_model_read, assert_read, read_latex, sizes_of


@sb.cell
def bounded(x: Input["m"], S: State["d e"], Wi: Param["d m"], Wf: Param["d m"], Wo: Param["e m"], gamma: Param["d"]):
    """After HGRN2: gates above a learned bound, a key that is what the gate leaves."""
    lower = sb.softmax(gamma)
    f = lower + (1 - lower) * sb.sigmoid(Wf @ x)
    o = sb.sigmoid(Wo @ x)
    S_next = f[:, None] * S + (1 - f)[:, None] * o
    return {"S": S_next, "y": (Wi @ x) @ S_next}


@sb.cell
def griffin(x: Input["n"], h: State["n"], Wa: Param["n n"], Wx: Param["n n"], Lambda: Param["n"]):
    r, i = sb.sigmoid(Wa @ x), sb.sigmoid(Wx @ x)
    a = np.exp(-8 * sb.softplus(Lambda) * r)
    return a * h + np.sqrt(1 - a**2) * (i * x)


@sb.cell
def adaptive(x: Input["n"], v: State["n"], b: State["n"], rho: Const = 0.9, beta: Const = 1.7):
    b_new = rho * b + (1 - rho) * np.tanh(v)
    B = 1 + beta * b_new
    v_new = np.tanh(v + x - B * v) - B
    return {"v": v_new, "b": b_new}


@sb.cell
def decaying(x: Input["n"], h: State["n"], tau: Param["n"], A: Param["n"]):
    f = sb.sigmoid(x + h)
    return h + 0.1 * (-(1 / tau + f) * h + f * A)


@sb.cell
def nagumo(x: Input, u: State, v: State, a: Param, b: Param, c: Param, d: Param):
    return u + 0.1 * (u - u**3 / 3 - v + x), v + 0.1 * (a * u + b - c * v) * d


@sb.cell
def filtered(x: Input["w"], h: State["w"], K: Param["2 3"], W: Param["2 2 w w"]):
    def along(k: Any, u: Any) -> Any:
        zero = np.zeros_like(u[:1])
        return k[0] * np.concatenate([zero, u[:-1]]) + k[1] * u + k[2] * np.concatenate([u[1:], zero])

    return np.tanh(along(K[0], x) + along(K[1], h) + W[0][1] @ h)


@sb.cell
def decayed(x: Input["n"], h: State["n"], w: Param["n"]):
    d = np.exp(-np.cumsum(sb.softplus(w)))
    return d * h + np.cumsum((1 - d) * x)[::-1]


@sb.cell
def addressed(x: Input["m"], M: State["s d"], Wk: Param["d m"], Wa: Param["d m"]):
    key = Wk @ x
    w = sb.softmax((M @ key) / (np.sqrt(np.sum(M**2, axis=1)) * np.linalg.norm(key) + 1e-8))
    return M + np.outer(w, np.tanh(Wa @ x))


@sb.cell
def ordered(x: Input["m"], c: State["n"], Wf: Param["n m"], Wi: Param["n m"], Wg: Param["n m"]):
    f, i = np.cumsum(sb.softmax(Wf @ x)), 1 - np.cumsum(sb.softmax(Wi @ x))
    return f * c + (i - f * i / 2) * np.tanh(Wg @ x)


@sb.cell
def dated(x: Input["m"], h_prev: State["n"], W: Param["n m"], U: Param["n n"], beta: Const = 1.0):
    s = W @ x + U @ h_prev
    return sb.sigmoid(s) * h_prev + (1 - sb.sigmoid(s - beta)) * np.tanh(W @ x)


@sb.cell
def dale(x: Input["n"], h: State["n"], U: Param["n n"]):
    return 0.9 * h + 0.1 * sb.relu(x + np.abs(U) @ (1.0 * h))


@sb.cell
def phased(time: Input, h: State["n"], tau: Param["n"], s: Param["n"]):
    return h * np.mod(time - s, tau) / tau


@sb.cell
def split(x: Input["m"], h: State["n"], W: Param["4*n m"], U: Param["4*n n"]):
    n = h.shape[0]
    z = W @ x + U @ h
    i, f, o, g = sb.sigmoid(z[:n]), sb.sigmoid(z[n : 2 * n]), sb.sigmoid(z[2 * n : 3 * n]), np.tanh(z[3 * n :])
    return o * np.tanh(f * h + i * g)


@sb.cell
def by_heads(x: Input["m"], S: State["h d e"], z: State["h d"], Wk: Param["h d m"], Wv: Param["h e m"]):
    k = sb.softplus(Wk @ x)
    S_new, z_new = S + k[:, :, None] * (Wv @ x)[:, None, :], z + k
    return {"S": S_new, "z": z_new, "y": np.einsum("hd,hde->he", k, S_new) / np.einsum("hd,hd->h", k, z_new)[:, None]}


CELLS = [
    bounded, griffin, adaptive, decaying, nagumo, filtered, decayed, addressed, ordered, dated, dale, phased, split, by_heads,
]  # fmt: skip


@pytest.mark.parametrize("form", [None, as_latex_textbook], ids=["text", "latex"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(3, 2)
def test_pages_in_the_forms_of_papers_read_back(cell: sb.Cell, form: Any) -> None:
    assert_read(cell, sizes_of(cell), **({} if form is None else {"printed": form}))


def lines_of(target: sb.Cell | sb.Model) -> dict[str, str]:
    text = sb.derive(target).text()
    return dict(" ".join(line.split()).split(" = ", 1) for line in text.split("\n") if " = " in line)  # type: ignore[misc]


def test_the_slope_of_a_sigmoid_keeps_its_form_behind_a_sign() -> None:
    assert lines_of(griffin)["du_{r,t}"] == "-8 du_{a,t} ⊙ softplus(Λ) ⊙ r_t ⊙ (1 - r_t)"


def test_a_sign_that_all_terms_have_stands_in_front() -> None:
    assert "- β (" in lines_of(adaptive)["db_t"] and "(-" not in sb.derive(adaptive).text()
    assert lines_of(decaying)["h_t"] == "h_{t-1} + 0.1 (f_t ⊙ A - (1 / τ + f_t) ⊙ h_{t-1})"
    assert lines_of(decaying)["dτ"].startswith("0.1 Σ_t")
    assert lines_of(phased)["dτ"].startswith("-Σ_t (") and "⌊a_t / τ⌋" in lines_of(phased)["dτ"]


def test_a_number_that_all_terms_have_stands_in_front() -> None:
    assert lines_of(nagumo)["dd"] == "0.1 Σ_t dv_t (a u_{t-1} + b - v_{t-1} c)"


def test_no_factor_of_one_is_written() -> None:
    assert lines_of(dale)["a_t"] == "x_t + |U| h_{t-1}"


def test_a_diagonal_matrix_times_ones_is_its_vector() -> None:
    lines = lines_of(bounded)
    assert lines["da_{o,t}"] == "(dS_tᵀ (1 - f_t)) ⊙ o_t ⊙ (1 - o_t)"
    assert lines["df_t"] == "(dS_t ⊙ S_{t-1}) 1_e - dS_t o_t"


def test_a_part_of_a_part_has_its_place_in_the_whole() -> None:
    text = sb.derive(filtered).text()
    assert "K[0, 1] x_t" in text and "K[1, 2] [" in text and "ᵀ)[" not in text


def test_signs_stand_before_running_sums_and_an_order_turned_round_is_explained() -> None:
    assert lines_of(decayed)["dw"].startswith("-reverse_cumsum(")
    assert "v[::-1]: the entries of v from the last to the first" in sb.derive(decayed).text()


def test_steps_of_parts_are_explained() -> None:
    @sb.cell
    def every_third(x: Input["2"], h: State["6"]):
        return np.concatenate([np.tanh(h[::3] + x), h[4::-3], x])

    text = sb.derive(every_third).text()
    assert "v[::k]: each k-th entry of v, from its end backwards where k is negative" in text
    assert_read(every_third, {})


def test_names_of_the_forward_pass_serve_at_the_next_step_and_at_the_first() -> None:
    lines = lines_of(addressed)
    name = next(left for left, right in lines.items() if right.endswith("+ 10⁻⁸"))[:1]
    assert f"/ {name}_1" in lines["dM_0"] and "norm" not in lines["dM_0"]
    # A divisor of step T + 1 stands in terms that are zero, as the heading says of all terms of that step.
    assert f"/ {name}_{{t+1}}" in lines["dM_t"]


def test_functions_of_whole_arrays_that_are_printed_twice_have_names() -> None:
    text = sb.derive(ordered).text()
    body = text.partition("Functions")[0]
    assert body.count("softmax(a_{f,t})") == 1 and body.count("reverse_cumsum(df_t)") == 1


def test_arguments_have_the_letter_of_what_they_lead_to_without_its_time() -> None:
    assert lines_of(dated)["a_{h,t}"] == "W x_t" and "σ(s_t - β)" in sb.derive(dated).text()
    assert "h_prev" not in sb.derive(dated).text() + sb.derive(dated).text(style="loop")


def test_sums_of_quotients_of_sums_are_one() -> None:
    line = sb.derive(by_heads).text().partition("(dz_t)_{ij}")[2].partition("\n")[0]
    assert line.count("Σ") == 2 and "- Σ_{lp} (k_t)_{ij} (dy_t)_{il}" in line


def test_values_that_are_computed_once_are_no_parameters() -> None:
    text = sb.derive(bounded).text()
    once = text.partition("Gradients of what is computed once\n")[2].partition("\n\n")[0]
    assert once.split(" = ")[0].strip() == "dlower" and "dγ" in text.partition("Gradients of the parameters")[2]
    assert "computed once" not in sb.derive(dated).text()


# Losses.


@sb.loss
def mean_square(h: State["n"], y: Target["k"], V: Param["k n"]):
    return ((V @ h - y) ** 2).mean()


@sb.loss
def weighed(h: State["n"], y: Target["n"], weight: Target):
    return weight * np.sum((h - y) ** 2) / 2


@sb.loss
def focal(h: State["n"], y: Index["k"], V: Param["k n"]):
    p = sb.softmax(V @ h)[y]
    return -((1 - p) ** 2) * np.log(p)


@sb.loss
def by_label(y: Output["e"], k: Index["e"]):
    return sb.logsumexp(y) - y[k]


MODELS = [
    sb.model(dale, mean_square, reduction="mean"), sb.model(griffin, weighed, reduction="mean"),
    sb.model(dale, focal, reduction="mean"), sb.model(bounded, by_label, at="last", reduction="mean"),
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.loss.name)
def test_models_in_the_forms_of_papers_read_back(model: sb.Model) -> None:
    assert_model_read(model, sizes_of(model))


def test_gradients_of_losses_are_those_of_textbooks() -> None:
    square, weighed_lines, focal_lines, label = map(lines_of, MODELS)
    assert "2 (V h_t - y_t) / (N k)" in square.values() or square["dL/dh_t"] == "2 Vᵀ (V h_t - y_t) / (N k)"
    assert weighed_lines["loss_t"] == "weight_t ‖h_t - y_t‖² / 2"
    assert weighed_lines["dL/dh_t"] == "weight_t (h_t - y_t) / N"
    assert label["dL/dy_T"] == "(softmax(y_T) - e_{k_T}) / N"
    assert "dloss_t" not in focal_lines and "ᵀ e_" not in sb.derive(MODELS[2]).text()


# Width, letters, constants.


@pytest.mark.parametrize("wide", ["single", "double"])
def test_rows_break_inside_arrays_of_parts(wide: str) -> None:
    latex = sb.derive(split).latex(width=wide)
    rows = [line.replace("&", "").removesuffix(r" \\") for line in latex.splitlines() if "&" in line]
    assert max(map(width, rows)) <= {"single": 252, "double": 345}[wide]
    assert any(row.endswith(";") for row in rows)


@sb.cell
def shaped(x: Input["m"], S: State["n m"], long_gain: Param["n*m"], other_gain: Param["n*m"], third_gain: Param["n*m"]):
    gain = np.reshape(long_gain * other_gain + third_gain * other_gain * long_gain + third_gain, S.shape)
    root = np.sqrt(1 + long_gain**2 * other_gain**2 + third_gain**2 * other_gain**2 + long_gain**2 * third_gain**2)
    return np.tanh(S + np.outer(S @ x, x) + gain + np.reshape(root // (2 + long_gain**2), S.shape))


def test_rows_break_only_inside_functions_that_are_written_with_brackets() -> None:
    latex = sb.derive(shaped).latex(width="single")
    assert r"\mathrm{mat}_{n \times m}\bigl(" in latex and not re.search(
        r"mathrm\{(mat|sqrt|floor_divide)\}\\?[a-z]*\(", latex
    )
    assert_read(shaped, {"m": 3, "n": 4}, printed=lambda d: read_latex(d, d.latex(width="single")))


STEP = sb.function("Θ", lambda v: sp.Heaviside(v, 1), derivative=lambda v: 1 / (1 + 25 * sp.Abs(v)) ** 2)


@sb.cell
def fires(x: Input["n"], h: State["n"]):
    return STEP(h + x)


def test_functions_of_the_users_have_greek_names_in_latex_and_in_ascii() -> None:
    d = sb.derive(fires)
    assert r"\Theta(a_{t})" in d.latex() and r"\Theta'" in d.latex() and d.latex().isascii()
    assert "Theta(a_t)" in d.text(ascii=True)
    assert_read(fires, {"n": 3})


@pytest.mark.parametrize("at_zero", [0, 1, sp.Rational(1, 4)])
def test_heavisides_function_has_the_value_at_zero_that_it_is_given(at_zero: Any) -> None:
    step = sb.function("step_at", lambda v: sp.Heaviside(v, at_zero), derivative=lambda v: 1 / (1 + v**2))

    @sb.cell
    def one(x: Input["n"], h: State["n"]):
        return step(h + x)

    x = np.array([[[-1.0, 0.0, 2.0]]])
    expected = [0, float(at_zero), 1]
    np.testing.assert_array_equal(sb.compile(one).forward({}, {"x": x}).states["h"][0, 0], expected)
    np.testing.assert_array_equal(step(x[0, 0]), expected)
    assert ("≥ 0" in sb.derive(one).text()) == (at_zero == 1)


LONG = np.zeros(1500)
LONGER = np.concatenate([LONG[1:], [5.0]])


@sb.cell
def two_constants(x: Input["1500"], h: State["1500"]):
    return LONG * h + LONGER * x


def test_long_constants_that_begin_alike_have_names_of_their_own() -> None:
    lines = lines_of(two_constants)
    assert lines["h_t"] == "M ⊙ h_{t-1} + K ⊙ x_t"
    assert lines["M"].startswith("[0; 0; 0; 0; …], shape (1500), row by row; SHA-256") and lines["M"] != lines["K"]


def scaled_by(values: Any, shape: str) -> sb.Cell:
    def scaled(x, h, a=values):  # type: ignore[no-untyped-def]
        return a * h + x

    scaled.__annotations__ = {"x": Input[shape], "h": State[shape], "a": Const[shape]}
    return sb.cell(scaled)


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("form", ["text", "latex", "mathml"])
def test_constants_of_other_values_give_other_pages(form: str, style: str) -> None:
    numbers = np.arange(30.0)
    for one, other, shape in ((0.1, 0.2, ""), (numbers, numbers[::-1].copy(), "30"), (numbers[:3], numbers[1:4], "3")):
        pages = [getattr(sb.derive(scaled_by(values, shape)), form)(style=style) for values in (one, other)]
        assert pages[0] != pages[1]


# Planted mistakes.


def test_a_number_that_is_lost_before_a_sum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    content = normal._content

    def without_number(e: Any) -> Any:
        number, rest = content(e)
        return (None, e) if number is None else (normal.Number(sp.S.One), rest)

    monkeypatch.setattr(normal, "_content", without_number)
    with pytest.raises(AssertionError):
        assert_read(fresh(nagumo), {})


def test_a_name_that_stands_for_a_value_of_another_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, first = textbook._moved, textbook.AT_FIRST
    monkeypatch.setattr(
        textbook, "_moved", lambda e, times: e if times is first and isinstance(e, Symbol) else moved(e, times)
    )
    with pytest.raises((AssertionError, KeyError)):
        assert_read(fresh(addressed), sizes_of(addressed))


def fresh(cell: sb.Cell) -> sb.Cell:
    """Return the same cell, of which nothing is known."""
    return sb.cell(cell.function)


@sb.cell
def roots(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], p: Param["n"]):
    a = W @ x
    f = sb.sigmoid(a) ** (1 / 16)
    g = np.exp(U @ h) ** 0.3 + np.sqrt(sb.sigmoid(h)) + np.log(1 + np.exp(p * h)) ** 0.75
    return f * h + 0.2 * np.tanh(g) + np.abs(h) ** 1.5 * 0.1


def test_slopes_of_roots_of_positive_values_are_those_values() -> None:
    lines, text = lines_of(roots), sb.derive(roots).text()
    assert lines["da_t"] == "0.0625 dh_t ⊙ h_{t-1} ⊙ f_t ⊙ (1 - σ(a_t))"
    body = text.partition("Functions")[0]
    assert "^0.9375" not in body and "^0.7 " not in body and "> 0]" not in body
    assert lines["du_{g,t}"] == "0.3 dw_{g,t} ⊙ z_{g,t}^0.3"
    for form in (None, as_latex_textbook):
        assert_read(roots, {"m": 2, "n": 3}, printed=form)
    assert_read(roots, {"m": 2, "n": 3}, style="loop")


def test_tests_of_what_may_be_zero_stay() -> None:
    @sb.cell
    def bounded(x: Input["n"], h: State["n"]):
        return 0.5 * np.maximum(h, 0) ** 0.5 + 0.1 * np.abs(x) ** 0.3 + 0.1 * np.sqrt(np.tanh(h) ** 2)

    assert "> 0]" in sb.derive(bounded).text()


def test_a_power_with_a_wrong_exponent_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normal, "in_decimals", lambda value: value / 2)
    with pytest.raises(AssertionError):
        assert_read(fresh(roots), {"m": 2, "n": 3})


@sb.cell
def oja(x: Input["m"], h: State["n"], W: Param["n m"], u: Param["n"], r: Param["n"]):
    k = W @ x
    a = -u * (r - (u @ h))
    b = -(k * (h - x.sum() * r)) / (1 + r * r)
    c = u - (r - h) * k
    d = (k - u) * (-2 * (h - r))
    return 0.1 * np.tanh(a) + 0.1 * b * c + 0.1 * (1 - h) * np.sin(d)


def test_a_minus_stands_before_the_difference_of_the_user() -> None:
    lines = lines_of(oja)
    assert lines["a_t"] == "-u ⊙ (r - uᵀ h_{t-1})"
    assert lines["b_t"] == "-k_t ⊙ w_t / (1 + r²)" and lines["w_t"] == "h_{t-1} - sum(x_t) r"
    assert lines["c_t"] == "u - (r - h_{t-1}) ⊙ k_t" and lines["d_t"] == "-2 (k_t - u) ⊙ (h_{t-1} - r)"
    for form in (None, as_latex_textbook):
        assert_read(oja, {"m": 2, "n": 3}, printed=form)


def test_a_difference_turned_round_without_its_minus_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with_difference = textbook._with_difference
    monkeypatch.setattr(textbook, "_with_difference", lambda e, own: normal.signed(with_difference(e, own))[1])
    with pytest.raises(AssertionError):
        assert_read(fresh(oja), {"m": 2, "n": 3})


# Cells of no repository, read line by line.


@sb.cell
def overwritten(x: Input["m"], h: State["n"], c: State["n"], W: Param["3*n m"], U: Param["3*n n"]):
    i, f, g = np.split(W @ x + U @ h, 3)
    i, f = sb.sigmoid(i), sb.sigmoid(f)
    c = f * c + i * np.tanh(g)
    return np.tanh(c), c


@sb.cell
def stacked_gates(x: Input["m"], h: State["n"], Wz: Param["n m"], Wr: Param["n m"], Uz: Param["n n"], U: Param["n n"]):
    z, r = sb.sigmoid(np.stack([Wz @ x + Uz @ h, Wr @ x + h]))
    return (1 - z) * h + z * np.tanh(U @ (r * h))


@sb.cell
def kalman(y: Input["k"], m: State["n"], P: State["n n"], A: Param["n n"], C: Param["k n"], R: Param["k k"]):
    S = A @ P @ A.T
    G = np.linalg.solve(C @ S @ C.T + R @ R.T, C @ S).T
    return m + G @ (y - C @ m), S - G @ C @ S


@sb.cell
def descending(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], eta: Param):
    return h - eta * sb.grad(lambda h: 0.5 * sb.sum(h**2) - sb.sum(sb.softplus(U @ h + W @ x)))(h)


@sb.cell
def erased(k: Input["d"], v: Input["d"], S: State["d d"], b: Param, a: Param):
    return a * S @ (np.eye(k.shape[0]) - b * np.outer(k, k)) + np.outer(v, k)


@sb.cell
def divided(x: Input["n"], h: State["n"], w: Param["n"]):
    d = 1 + w * w + x * x
    return (h + x) / d


READ = [
    (overwritten, ["i_t = σ(ĩ_t)", "da_t = [dĩ_t; df̃_t; dg_t]", "Uᵀ da_{t+1}"], ["_{1,t}"]),
    (stacked_gates, ["Uzᵀ u_{t+1}[0, :]ᵀ + u_{t+1}[1, :]ᵀ"], ["([dz_{t+1}ᵀ"]),
    (kalman, ["G_t = S_tᵀ Cᵀ u_t⁻ᵀ", "u_t = C S_t Cᵀ + R Rᵀ"], ["C S_tᵀ Cᵀ"]),
    (descending, ["= h_{t-1} - Uᵀ σ(a_t)", "0.5 hᵀ h - sum("], ["exp(-softplus"]),
    (erased, ["a dS_{t+1} (I - b k_{t+1} k_{t+1}ᵀ)"], ["ᵀ)ᵀ"]),
    (divided, ["terms of step T + 1 are zero", "dh_{t+1} / d_{t+1}"], []),
]


@pytest.mark.parametrize(("cell", "shown", "hidden"), READ, ids=[cell.name for cell, *_ in READ])
def test_pages_of_cells_of_no_repository_read_as_people_write(cell, shown, hidden):
    text = sb.derive(cell).text()
    assert all(part in text for part in shown), text
    assert not any(part in text for part in hidden), text
    assert_read(cell, sizes_of(cell))


@sb.cell
def normed(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    c = np.tanh(sb.layer_norm(U @ h))
    z = sb.sigmoid(sb.layer_norm(W @ x + U @ h))
    return (1 - z) * h + z * c


def test_what_a_closed_adjoint_reads_three_times_has_a_name() -> None:
    lines = lines_of(normed)
    name = next(left for left, right in lines.items() if right == "dz_t ⊙ z_t ⊙ (1 - z_t)")
    assert f"({name} - mean({name}) - mean(" in lines["da_{z,t}"] and lines["da_{z,t}"].count("⊙") == 1
