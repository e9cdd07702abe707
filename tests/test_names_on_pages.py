"""How names are written on pages: as mathematics has them, and no two alike."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target, zoo
from symbptt.equations.notation.names import Used, in_ascii, latex_of_spelling, names_of_page, spelling, text_of_name
from symbptt.equations.notation.pen import Pen
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.page.equations import Equations
from tests.readback import as_latex, as_latex_textbook, assert_read


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
    assert latex("W_xi") == r"W_{\xi}" and latex("W_xi", "W_xi", "W_xf") == "W_{x,i}"
    assert latex("W_xf", "W_xf", "W_xi") == "W_{x,f}" and latex("W_xf", "W_hf") == r"W_{\mathrm{xf}}"
    of_gates = names_of_page([Used(name, "once") for name in ("alpha_xi", "alpha_xf", "pi", "pf", "nu")])
    assert {*of_gates.text.values()} == {"α_xi", "α_xf", "pi", "pf", "ν"}


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


def test_a_unit_vector_is_not_called_as_a_value_is() -> None:
    """Beside a value e the unit vector of step k_t would be e_{k_t}."""

    @sb.cell
    def embedded(k: Index["v"], h: State["n"], E: Param["v n"]):
        e = E[k]
        g = np.tanh(e * h)
        return {"h": g, "y": E @ g}

    d = sb.derive(embedded)
    assert "unit_{k_t} (" in d.text() and "unit_{i}: the unit vector that has its one at i" in d.text()
    assert "unit_{k_t} (" in d.text(ascii=True) and r"\mathbf{e}_{k_{t}}" in d.latex()
    assert_read(embedded, {"v": 4, "n": 3})


def test_a_name_that_would_be_an_adjoint_s_makes_the_mark_another_one() -> None:
    @sb.cell
    def differing(x: Input["n"], h: State["n"], W: Param["n n"]):
        dh_t = np.tanh(W @ h + x)
        return h + np.sin(dh_t)

    assert "δh_{t-1}" in sb.derive(differing).text("loop")


@sb.cell
def odd(
    x_t: Input["m"], h_prev: State["n"], ĉ: State["n"], W_σ: Param["n m"], Ω: Param["n n"], beta: Param["n"], pi: Param["n"],
    h0: Param["n"], lambda_: Const = 0.5,
):  # fmt: skip
    f_t = sb.sigmoid(W_σ @ x_t + Ω @ h_prev + beta)
    g_prime = np.tanh(pi * ĉ + h0)
    c_new = lambda_ * f_t * ĉ + (1 - f_t) * g_prime
    h_bar = f_t + c_new
    h_new = h_bar * np.tanh(c_new)
    return h_new, c_new


@sb.loss
def odd_loss(h_prev: State["n"], θ: Param["n"], target: Target["n"]):
    ε_t = θ * h_prev - target
    return sb.sum(ε_t * ε_t)


WRITTEN = {
    "x_t": ("x", "x", "x"),
    "h_prev": ("h", "h", "h"),
    "ĉ": ("ĉ", r"\hat{c}", "c_hat"),
    "W_σ": ("W_σ", r"W_{\sigma}", "W_sigma"),
    "Ω": ("Ω", r"\Omega", "Omega"),
    "beta": ("β", r"\beta", "beta"),
    "pi": ("pi", r"\mathsf{pi}", "pi"),
    "h0": ("h0", r"\mathsf{h0}", "h0"),
    "lambda_": ("λ", r"\lambda", "lambda"),
    "f_t": ("f", "f", "f"),
    "g_prime": ("g′", "g'", "g_prime"),
    "h_bar": ("h̄", r"\bar{h}", "h_bar"),
}
"""How the names of `odd` are written in text, in LaTeX, and as ASCII."""
SPELT = re.compile(r"prev|_new|(?<!,)t,t|lambda_|prime|h_bar|{bar|beta|W_\{sigma|[_{]hat|x_\{t,|f_\{t,|_t_t")
"""Parts of names as they are spelt, which no text of a page has."""
TIMED = re.compile(r"prev|_new|lambda_(?!\{)|(?<![a-z])t,t")
"""Parts that say the time, which no form of a page has."""


def printed(d: sb.Derivation) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """What each printing function says, as text, as LaTeX (where there is that), and as ASCII."""
    states = list(d.cell.step.next)
    parts: dict[str, Any] = {"page": d, "jacobian": d.jacobian(), "unrolled": d.unrolled(), "unrolled T": d.unrolled(2)}
    explained = d.explain()
    parts |= {f"paths {to} {of}": d.paths(to, of) for to in states for of in states}
    parts |= {f"long paths {to}": d.paths(to, to, steps=2) for to in states[:1]}
    parts |= {f"path {i}": path for i, path in enumerate(d.paths(states[0], states[-1]))}
    parts |= {f"jacobian {to} {a.name}": d.jacobian(to, a.name) for to in states
              for a in d.cell.step.of_role("state", "input", "param", "const")}  # fmt: skip
    for name, part in parts.items():
        yield name, (part.text(), part.latex(), part.text(ascii=True))
    of_formulas = [re.compile(r"^ {7}.*$", re.M).findall(explained.text(ascii=ascii)) for ascii in (False, True)]
    yield "explain", ("\n".join(of_formulas[0]), explained.latex(), "\n".join(of_formulas[1]))
    for to in states:
        yield f"linearity {to}", (d.linearity(to).text(), "", d.linearity(to).text(ascii=True))
    found = sb.compare(zoo.lstm, d.cell)
    yield "compare", (found.text(), "", found.text(ascii=True))


@pytest.mark.parametrize("target", [odd, sb.model(odd, odd_loss)], ids=["cell", "model"])
@pytest.mark.thinned(2)
def test_a_value_has_one_name_wherever_it_is_printed(target: Any) -> None:
    d = sb.derive(target)
    everything = {"text": "", "latex": "", "ascii": ""}
    for name, (text, latex_text, ascii_text) in printed(d):
        places = re.sub(r"test_names_on_pages.py:\d+", "", text)
        assert SPELT.search(places) is None, f"{name}: {SPELT.search(places)} in {text}"
        assert not set("_") & set(re.sub(r"_\{|\\_|_[A-Za-z0-9]", "", latex_text)), f"{name}: {latex_text}"
        assert TIMED.search(latex_text) is None and r"\mathrm{beta}" not in latex_text, f"{name}: {latex_text}"
        assert ascii_text.isascii(), f"{name}: {[x for x in ascii_text if not x.isascii()]}"
        assert TIMED.search(ascii_text) is None, f"{name}: {ascii_text}"
        for form, said in zip(everything, (text, latex_text, ascii_text), strict=True):
            everything[form] += said
    for name, forms in WRITTEN.items():
        for (form, said), written in zip(everything.items(), forms, strict=True):
            assert written in said, f"{name} as {written} in {form}"


@pytest.mark.parametrize("function", ["jacobian", "paths", "unrolled", "linearity", "explain", "compare", "to_sympy"])
def test_each_function_has_the_names_of_the_page(function: str) -> None:
    """Name by name: the symbols that stand in what a function prints are those of the page."""
    said = {
        "jacobian": lambda d: d.jacobian("h_prev", "h_prev").text() + d.jacobian("h_prev", "beta").text(),
        "paths": lambda d: d.paths("ĉ", "ĉ").text() + d.paths("h_prev", "h_prev").text(),
        "unrolled": lambda d: d.unrolled().text(),
        "linearity": lambda d: d.linearity("h_prev").text(),
        "explain": lambda d: d.explain().text(),
        "compare": lambda d: sb.compare(zoo.rnn, d.cell).text(),
        "to_sympy": lambda d: f"{list(d.to_sympy())} {d.to_sympy()}",
    }[function](sb.derive(odd))
    wanted = {
        "jacobian": ["∂h_t/∂h_{t-1} = ", "h̄_t", "Ω", "∂h_t/∂β", "λ ĉ_{t-1}"],
        "paths": ["∂ĉ_t/∂ĉ_{t-1}", "ĉ → g′ → ĉ", "h → f → h̄ → h", "pi"],
        "unrolled": ["s = (h; ĉ)", "∂ĉ_t/∂h_{t-1}", "the route ĉ → ĉ alone", "f_t"],
        "linearity": ["h_t, all else given", "in x, h, W_σ, Ω, β ", "σ in f (", "tanh in g′ ("],
        "explain": ["dh̄_t = dh_t ⊙ tanh(ĉ_t)", "dg′_t = dĉ_t ⊙ (1 - f_t)", "W_σ, Ω, β, pi, h0 are the same"],
        "compare": ["f_t: = σ(W_σ x_t + Ω h_{t-1} + β)", "dβ", "∂h_t/∂h_{t-1}: ", "+ h → f → h̄ → h"],
        "to_sympy": ["'f'", "'g_prime'", "'c_hat'", "h_prev", "c_hat_prev", "W_sigma", "Omega", "lambda*"],
    }[function]  # fmt: skip
    for part in wanted:
        assert part in said, f"{part!r} is not in\n{said}"


def test_made_names_are_not_those_of_the_user() -> None:
    """Letters of derivatives and of long values, of the whole state and of indices: none is written like a name of the cell."""

    @sb.cell
    def taken(x: Input["n"], s_t: State["n"], z: State["n"], J1: Param["n n"], u_1: Param["n n"], i_t: Param["n n n"]):
        j_new = np.tanh(J1 @ x + u_1 @ s_t + (i_t @ s_t) @ z)
        return j_new * s_t + np.tanh(j_new + z), z * j_new

    text = sb.derive(taken).jacobian().text()
    assert "y = (s; z)" in text
    block = sb.derive(taken).jacobian("s_t", "i_t").text()
    assert block.startswith("(∂s_t)_j/(∂i_t)") is False and "∂" in block


@sb.cell
def all_letters(
    x: Input["n"], h: State["n"], i: Param["n"], j: Param["n"], k: Param["n"], l: Param["n"], p: Param["n"], q: Param["n"],
    r: Param["n"], u: Param["n"], v: Param["n"], w: Param["n"], a: Param["n"], b: Param["n"], c: Param["n"], d: Param["n"],
    e: Param["n"], f: Param["n"], g: Param["n"], m: Param["n"], o: Param["n"], s: Param["n"], y: Param["n"], z: Param["n"],
    A: Param["n n n"],
):  # fmt: skip
    rest = i * j * k * l + p * q * r * u + v * w * a * b + c * d * e * f + g * m * o * s + y * z
    return np.tanh((A @ h) @ h + x) * rest


@pytest.mark.parametrize("form", [None, as_latex, as_latex_textbook], ids=["text", "latex loop", "latex"])
def test_indices_do_not_run_out(form: Any) -> None:
    assert "i_1" in sb.derive(all_letters).text()
    assert_read(all_letters, {"n": 3}, printed=form)


def test_a_name_as_it_is_spelt_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Equations, "pen", lambda self, ascii=False: Pen(TEXT))
    with pytest.raises(AssertionError, match="jacobian: "):
        test_a_value_has_one_name_wherever_it_is_printed(odd)
