"""How names are written on pages: as mathematics has them, and no two alike."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.equations.notation.names import Used, in_ascii, latex_of_spelling, names_of_page, spelling, text_of_name


def latex(name: str, *siblings: str) -> str:
    letter, below, prime = latex_of_spelling(spelling(name, siblings))
    return letter + (f"_{{{','.join(below)}}}" if below else "") + prime


@pytest.mark.parametrize(
    "name, written, text",
    [
        ("W", "W", "W"),
        ("Wf", "W_{f}", "Wf"),
        ("Wout", r"W_{\mathrm{out}}", "Wout"),
        ("Whh", r"W_{\mathrm{hh}}", "Whh"),
        ("W12", "W_{12}", "W12"),
        ("b1", "b_{1}", "b1"),
        ("bf", "b_{f}", "bf"),
        ("Gate", r"\mathrm{Gate}", "Gate"),
        ("Key", r"\mathrm{Key}", "Key"),
        ("Values", r"\mathrm{Values}", "Values"),
        ("re", r"\mathrm{re}", "re"),
        ("im", r"\mathrm{im}", "im"),
        ("B_re", r"B_{\mathrm{re}}", "B_re"),
        ("gate2", r"\mathrm{gate}_{2}", "gate2"),
        ("log_f", r"\mathrm{log\_f}", "logf"),
        ("max_pool", r"\mathrm{max\_pool}", "maxpool"),
        ("dt", r"\Delta t", "Δt"),
        ("Δt", r"\Delta t", "Δt"),
        ("h_hat", r"\hat{h}", "ĥ"),
        ("htilde", r"\tilde{h}", "h̃"),
        ("ĉ", r"\hat{c}", "ĉ"),
        ("h_bar_f", r"\bar{h}_{f}", "h̄_f"),
        ("theta_hat", r"\hat{\theta}", "θ̂"),
        ("gate_hat", r"\widehat{\mathrm{gate}}", "gate_hat"),
        ("h_prime", "h'", "h′"),
        ("a_c_tilde", r"a_{\tilde{c}}", "a_c̃"),
        ("lambda_", r"\lambda", "λ"),
        ("theta_1", r"\theta_{1}", "θ_1"),
        ("beta2", r"\beta_{2}", "β_2"),
        ("Gamma", r"\Gamma", "Γ"),
        ("Sigma", r"\Sigma", "Σ"),
        ("Omega", r"\Omega", "Ω"),
        ("Delta", r"\Delta", "Δ"),
        ("Phi_1", r"\Phi_{1}", "Φ_1"),
        ("varepsilon", r"\varepsilon", "ε"),
        ("ell", r"\ell", "ℓ"),
        ("hbar", r"\hbar", "ℏ"),
        ("tau_m", r"\tau_{m}", "τ_m"),
        ("W_σ", r"W_{\sigma}", "W_σ"),
        ("Wα", r"W_{\alpha}", "W_α"),
        ("ж", r"\mathrm{zhe}", "zhe"),
        ("__", r"\mathsf{\_\_}", "__"),
    ],
)
def test_a_name_alone(name: str, written: str, text: str) -> None:
    assert latex(name) == written
    assert text_of_name(name) == text
    assert written.isascii() and in_ascii(name).isascii()


def test_two_letters_are_what_their_siblings_are() -> None:
    assert latex("pi") == r"\pi" and latex("pi", "pi", "p_f", "p_o") == "p_{i}"
    assert latex("hi") == r"\mathrm{hi}" and latex("hi", "hf") == "h_{i}"
    assert latex("mu", "m_t") == r"\mu"


NAMES = [
    {"Wf": "once", "W_f": "once"},
    {"b1": "once", "b_1": "once"},
    {"h0": "once", "h": "state"},
    {"x1": "once", "x_1": "once", "x": "input"},
    {"h_f_0": "once", "h_f": "state"},
    {"α": "once", "alpha": "once"},
    {"Γ": "once", "Gamma": "once"},
    {"W_t": "once", "W": "once", "Wt": "once"},
    {"L": "once", "L_": "once"},
    {"T": "once"},
    {"t": "once"},
    {"N": "once"},
    {"n": "once"},
    {"n_hat": "once", "nhat": "once", "n̂": "once"},
    {"sigma": "once"},
    {"ж": "value", "zhe": "value", "Zhe": "value"},
    {"h_prev": "state", "h_old": "state"},
    {"h_t": "state", "h": "value"},
    {"f_t": "value", "f_t_1": "value", "f_new": "value"},
    {"_h": "once", "h": "once", "h_": "once"},
    {"_": "once", "__": "once"},
]


@pytest.mark.parametrize("roles", NAMES, ids=lambda roles: " ".join(roles))
def test_no_two_names_are_alike_and_none_is_a_sign_of_the_page(roles: dict[str, str]) -> None:
    names = names_of_page([Used(name, role) for name, role in roles.items()], ["n", "m", "σ"])
    for written in (names.text, names.ascii, {k: latex_of_spelling(s) for k, s in names.spelling.items()}):
        assert len({repr(w) for w in written.values()}) == len(roles)
    assert all(w.isascii() for w in names.ascii.values())
    for name, role in roles.items():
        if role == "once":
            assert names.text[name] not in {"t", "T", "L", "N", "n", "m", "σ", "Σ", "W_t", "x_1", "h_0"}
            assert names.spelling[name].head not in {"t", "T", "L", "N", "n", "m", "σ"} or (
                names.spelling[name].plain or names.spelling[name].subscripts or "\u0302" in names.spelling[name].head
            )


def test_time_is_no_part_of_a_name() -> None:
    roles = {
        "x_t": "input",
        "h_prev": "state",
        "c_tm1": "state",
        "m_old": "state",
        "f_t": "value",
        "c_new": "value",
        "h_next": "value",
    }
    names = names_of_page([Used(name, role) for name, role in roles.items()])
    assert names.text == {
        "x_t": "x",
        "h_prev": "h_prev",
        "h_next": "h_next",
        "c_tm1": "c_tm1",
        "c_new": "c_new",
        "m_old": "m",
        "f_t": "f",
    }


@sb.cell
def as_people_write(
    x_t: Input["m"], h_prev: State["n"], c_prev: State["n"], Wf: Param["n m"], U_f: Param["n n"], Ω: Param["n n"], pi: Param["n"],
    p_f: Param["n"], h0: Param["n"], Gamma: Param["n"], L: Param["n"], dt: Const = 0.1,
):  # fmt: skip
    f_t = sb.sigmoid(Wf @ x_t + U_f @ h_prev + p_f * c_prev)
    c_tilde = np.tanh(Ω @ h_prev + pi * c_prev + h0)
    c_t = f_t * c_prev + dt * (1 - f_t) * c_tilde
    h_t = Gamma * np.tanh(c_t) + L
    return h_t, c_t


def test_a_cell_as_people_write_it() -> None:
    d = sb.derive(as_people_write)
    text, written = d.text("loop"), d.latex("loop")
    assert "f_t = σ(Wf x_t + U_f h_{t-1} + p_f ⊙ c_{t-1})" in text
    assert "c̃_t = tanh(Ω h_{t-1} + pi ⊙ c_{t-1} + h0)" in text
    assert "h_t = Γ ⊙ tanh(c_t) + L_" in text and "Δt" in text
    assert "prev" not in text + written and "t,t" not in text + written
    for sign in (r"\tilde{c}_{t}", "p_{i}", r"\Omega h_{t-1}", r"\mathsf{h0}", r"\mathsf{L}", r"\Gamma", r"\Delta t"):
        assert sign in written, sign


def test_an_argument_of_a_function_has_a_letter_that_is_free() -> None:
    @sb.cell
    def adaptive(x: Input["n"], a: State["n"], W: Param["n n"]):
        return np.tanh(W @ a + x)

    assert "du_t     = da_t" in sb.derive(adaptive).text("loop")


def test_a_name_that_would_be_an_adjoint_s_makes_the_mark_another_one() -> None:
    @sb.cell
    def differing(x: Input["n"], h: State["n"], W: Param["n n"]):
        dh_t = np.tanh(W @ h + x)
        return h + np.sin(dh_t)

    assert "δh_{t-1}" in sb.derive(differing).text("loop")
