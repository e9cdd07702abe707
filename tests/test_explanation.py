"""What follows from a derivation in words and in other forms: linearity, explanation, closed form, SymPy, comparison."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from html import escape
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Index, Input, Param, State, Target, zoo
from symbptt.autodiff import rules
from symbptt.autodiff.whole import ADJOINTS
from symbptt.derivations import sympy_form
from symbptt.zoo import gru, lif, lru, lstm, lstm_peephole, rnn
from tests import brute
from tests.jacobian_page import page_of
from tests.kernels import kernel_of
from tests.oracle import one_step
from tests.test_fixed_point import coupled, equilibrium, once
from tests.test_jacobians import leaky, several, small
from tests.test_page import summed
from tests.test_paths import data_of

STRAIGHT = sb.function("straight", lambda v: sp.Piecewise((1, v > 0), (0, True)), lambda v: sp.Integer(1))


@sb.cell
def mixed(x: Input["n"], k: Index["v"], h: State["n"], c: State["n"], U: Param["n n"], E: Param["v n"], b: Param["n"]):
    """Linear, affine, constant and neither, each in something."""
    kept = U @ h
    past = np.concatenate([h[1:], np.zeros(1)])
    return {
        "h": kept + past,
        "c": kept * c + b,
        "y": E[k] * c,
        "s": STRAIGHT(h),
        "r": kept / c,
        "q": np.cumsum(c)[::-1] - c.mean(),
    }


KINDS = {
    "h": {"h": "linear", "c": "constant", "U": "affine", "x": "constant"},
    "c": {"h": "affine", "c": "affine", "b": "affine", "U": "affine"},
    "y": {"c": "linear", "E": "linear", "h": "constant"},
    "s": {"h": "not shown"},
    "r": {"h": "linear", "U": "linear", "c": "not shown"},
    "q": {"c": "linear", "h": "constant"},
}


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("to", KINDS)
def test_linearity_is_that_of_the_function(to: str) -> None:
    found = sb.derive(mixed).linearity(to)
    assert {name: found[name].kind for name in KINDS[to]} == KINDS[to]
    for name, kind in KINDS[to].items():  # on numbers: f(a + b) - f(a) - f(b) + f(0), and f(0)
        assert _kind_on_numbers(mixed, to, name) == {"affine": "affine", "linear": "linear"}.get(kind, kind)


def _kind_on_numbers(cell: sb.Cell, to: str, of: str) -> str:
    random = np.random.default_rng(0)
    given: dict[str, Any] = {
        a.name: random.standard_normal([{"n": 4, "v": 3}[str(s)] for s in a.shape]) for a in cell.arguments
    }
    if "k" in given:
        given["k"] = 1
    shape = np.shape(given[of])
    zero, a, b = np.zeros(shape), random.standard_normal(shape), random.standard_normal(shape)
    with np.errstate(all="ignore"):
        at_zero, at_a, at_b, at_both = (one_step(cell, {**given, of: v})[to] for v in (zero, a, b, a + b))
    if np.allclose(at_a, at_zero) and np.allclose(at_b, at_zero):
        return "constant"
    if not np.allclose(at_both - at_a - at_b + at_zero, 0):
        return "not shown"
    return "linear" if np.allclose(at_zero, 0) else "affine"


@pytest.mark.filterwarnings("ignore:.*is never used")
def test_linearity_says_through_what_a_value_is_not_affine() -> None:
    found = sb.derive(lstm).linearity("c")
    assert found["c"].kind == "affine" and not found["c"].through
    assert [(x.function, x.value) for x in found["h"].through] == [("σ", "i"), ("σ", "f"), ("tanh", "g")]
    assert all(re.fullmatch(r"gated\.py:\d+", x.place) for x in found["h"].through)
    assert found.together is not None and found.together.kind == "not shown"
    assert str(sb.derive(lru).linearity("re").together) == "affine"
    text = sb.derive(lstm).linearity("c").text()
    assert "in c " in text and "in Wo, Uo, bo" in text
    assert [x.function for x in sb.derive(mixed).linearity("r")["c"].through] == ["a quotient"]
    softmax = sb.derive(zoo.hopfield).linearity("h")["h"]
    assert [x.function for x in softmax.through] in (["exp"], ["softmax"])  # not the maximum inside


@sb.cell
def cancelling(x: Input["n"], h: State["n"], c: State["n"], W: Param["n n"], V: Param["n n"]):
    """Polynomials whose higher terms cancel, some that do not, and a function that has no name of its own."""
    g = W @ h + x
    return {
        "h": V @ (V @ (np.tanh(g) * sb.sigmoid(x))),
        "c": (h + 1) ** 2 - h**2,
        "p": (W @ h + 1) ** 2 - (W @ h) ** 2,
        "q": np.exp(x) * (h + 2) * (h - 2) - np.exp(x) * h * h,
        "r": c * (h + c) - c * c,
        "u": (h + 1) ** 2 - 2 * h**2,
        "v": V @ ((h + 1) ** 2 - h**2),
        "w": h * h / h,
    }


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize(
    ("to", "of", "kind"),
    [("c", "h", "affine"), ("p", "h", "affine"), ("p", "W", "affine"), ("q", "h", "constant"), ("r", "c", "linear"),
     ("r", "h", "linear"), ("u", "h", "not shown"), ("v", "h", "affine"), ("h", "h", "not shown")],
)  # fmt: skip
def test_polynomials_are_expanded_before_they_are_judged(to: str, of: str, kind: str) -> None:
    assert sb.derive(cancelling).linearity(to)[of].kind == kind == _kind_on_numbers(cancelling, to, of)


@pytest.mark.filterwarnings("ignore:.*is never used")
def test_what_is_not_shown_is_said_with_the_value_that_it_goes_into() -> None:
    found = sb.derive(cancelling)
    assert [(x.function, x.value) for x in found.linearity("h")["h"].through] == [("tanh", "h")]  # and not g
    assert str(found.linearity("u")["h"]).startswith("not shown: through a power in u (test_explanation.py:")
    assert found.linearity("w")["h"].kind == "not shown"  # at h = 0 it is no number
    assert found.linearity("r").together is not None and found.linearity("r").together.kind == "not shown"
    assert " no:" not in found.linearity("h").text()


@pytest.mark.parametrize(
    "call", [lambda d: d.linearity("q"), lambda d: d.linearity(1), lambda d: d.linearity("h")["q"]]
)
def test_linearity_of_what_is_not_there_is_told(call: Any) -> None:
    with pytest.raises(sb.ArgumentError):
        call(sb.derive(lstm))


# Explanation.


def test_explanation_goes_from_the_last_line_to_the_first() -> None:
    found = sb.derive(lstm).explain()
    assert [r.number for r in found.reasons] == [1, 2, 3, 4, 5, 6]
    assert found.reasons[0].source == "return o * np.tanh(c_new), c_new" and found.reasons[0].place.startswith(
        "gated.py:"
    )
    places = [int(r.place.rpartition(":")[2]) for r in found.reasons]
    assert places == sorted(places, reverse=True)
    assert found.reasons[1].complete == (("dc_t", (1,)),)
    assert [str(x) for x in found.reasons[0].given] == [
        "do_t = dh_t ⊙ tanh(c_t)",
        "dc_t gains dh_t ⊙ o_t ⊙ (1 - tanh(c_t)²)",
    ]
    assert found.reasons[0].given[1].rule == "tanh' = 1 - tanh²"
    text = str(found)
    assert "the same at every step" in text and "dh_{t-1}, dc_{t-1}: what the step before is given" in text
    assert found.latex().isascii() and found._repr_latex_().startswith("$")


@pytest.mark.parametrize("cell", [leaky, several, summed, gru, lif], ids=lambda cell: cell.name)
def test_what_is_given_adds_up_to_the_gradients(cell: sb.Cell) -> None:
    """Each adjoint of a parameter is the sum of what the steps of the explanation give it, read from the page."""
    explanation = sb.derive(cell).explain()
    given: dict[str, list[str]] = {}
    for reason in explanation.reasons:
        for x in reason.given:
            given.setdefault(x.target, []).append(x.formula)
    assert {f"d{name}" for name in sb.derive(cell).recursion.params} <= set(given)
    equations = {e.lhs: e.rhs for e in sb.derive(cell).gradients}
    for name, parts in given.items():
        if name in equations and len(parts) == 1 and equations[name].startswith("Σ_t "):
            assert equations[name].removeprefix("Σ_t ").strip("()") == parts[0].strip("()")


@pytest.mark.parametrize("cell", [equilibrium, coupled, once], ids=lambda cell: cell.name)
def test_a_fixed_point_is_explained_by_the_equation_of_its_adjoint(cell: sb.Cell) -> None:
    """The lines of λ are those of the page; all that a parameter is given adds up to its gradient there."""
    d = sb.derive(cell)
    given = [x for reason in d.explain().reasons for x in reason.given]
    page = {e.lhs: e.rhs for e in (*d.backward, *d.gradients)}
    solved = [x for x in given if x.rule.startswith("implicit function theorem")]
    assert solved and {x.target: x.formula for x in solved} == {k: v for k, v in page.items() if k.startswith("λ")}
    assert not [x for x in given if "solved" in x.formula or "point" in x.rule]
    for name in d.recursion.params:
        parts = [x.formula for x in given if x.target == f"d{name}"]
        assert parts and all(part.removeprefix("Σ_t ") in page[f"d{name}"] for part in parts)
    assert "fixed point" in str(d.explain()).splitlines()[-1] and d.explain().text(ascii=True).isascii()


@pytest.mark.parametrize(
    "name", ["rnn", "mlstm", "attention", *(pytest.param(x, marks=pytest.mark.long) for x in zoo.CELLS)]
)
def test_every_cell_is_explained(name: str) -> None:
    found = sb.derive(zoo.CELLS[name]).explain()
    assert found.reasons and all(r.given and r.source and re.fullmatch(r"\w+\.py:\d+", r.place) for r in found.reasons)
    assert not [x for r in found.reasons for x in r.given if "None" in str(x) or "einsum" in str(x)]


def test_names_stand_for_what_the_page_says() -> None:
    """v and v - h, n and 1 + n have one adjoint each, under the name of the first; the second has no name."""

    @sb.cell
    def damped(x: Input["n"], h: State["n"], W: Param["n n"], U: Param["n n"]):
        v = W @ x
        n = sb.norm(h)
        return sb.tanh(U @ ((v - h) * h)) / (1 + n)

    d = sb.derive(damped)
    page = {equation.lhs: equation.rhs for equation in d.forward}
    assert {"v_t", "n_t"} <= page.keys()
    named = [x for reason in d.explain().reasons for x in reason.named]
    assert named and not [str(x) for x in named if page.get(x.name, x.formula) != x.formula]


def test_a_notebook_shows_lines_formulas_and_rules() -> None:
    found = sb.derive(lstm).explain()
    html, text = found._repr_html_(), found.text()
    assert re.findall(r"<code>(.*?)</code>", html) == [r.source for r in found.reasons]
    assert html.count("<math>") == sum(len(r.given) + len(r.complete) + len(r.named) for r in found.reasons) + len(
        found.carried + found.shared
    )
    root = ElementTree.fromstring(html.replace("colspan=2", 'colspan="2"'))
    assert [row[0].text for row in root if row[0].text] == re.findall(r"^ *(\d+)  ", text, re.M)
    assert all(escape(x.rule) in html for reason in found.reasons for x in reason.given)


def test_rules_say_what_they_are_of() -> None:
    @sb.cell
    def chosen(i: Index["v"], several: Index["v", "k"], h: State["n"], E: Param["v n"], K: Param["n v"], w: Param["n"]):
        y = np.mean(E[several], axis=0) + K[:, i]
        return h / np.sqrt(np.sum(h * h) + 0.5) + y @ ((1 - w[:, None]) * K @ K.T)

    found = [x.rule for reason in sb.derive(chosen).explain().reasons for x in reason.given]
    assert any(x.startswith("a column of a table") for x in found)
    assert any(x.startswith("rows of a table chosen by integers") for x in found)
    assert any(x.startswith("y = √(‖a‖² + ε)") for x in found)
    assert any(x.startswith("a repetition") for x in found) and not any("another shape" in x for x in found)
    assert sb.derive(chosen).linearity("h")["h"].through[0].function == "√(‖·‖² + ε)"
    assert set(rules.WHOLES) == set(ADJOINTS)  # each function that a page shows whole has its rule in words


def test_explanation_is_in_whole_words() -> None:
    text = str(sb.derive(lstm).explain())
    assert "dc_t is complete here: what the loss gives, what step t + 1 brings and what line 1 gave" in text
    text = str(sb.derive(zoo.selective_ssm).explain())
    assert (
        "⊙ Σ_t diag(Δt_t) da_{decay,t}" in text
        and "over t of what is given; where a line has Σ_t, it is that sum" in text
    )
    assert "Σ_t" not in str(sb.derive(rnn).explain())
    assert "a repetition: what is repeated is given the sum over its copies" in text


def test_reasons_stand_apart_from_formulas_of_any_length() -> None:
    @sb.cell
    def long(x: Input["n"], h: State["n"], scale: Param["n"], offset: Param["n"]):
        return (h * scale + x * scale + offset) * (h * offset + x * offset + scale) * (h + offset * scale + x)

    found = sb.derive(long).explain()
    lines = str(found).splitlines()
    assert any(len(str(x)) > 72 for r in found.reasons for x in r.given)
    for x in (x for r in found.reasons for x in r.given):
        line = next(line for line in lines if line.strip().startswith(str(x)))
        assert line.strip().removeprefix(str(x)) == "" or line.strip().removeprefix(str(x)).startswith("    ")


# The closed form.


@pytest.mark.parametrize("cell", [rnn, leaky, pytest.param(lstm, marks=pytest.mark.long)], ids=lambda cell: cell.name)
def test_terms_that_are_written_out_are_the_gradients(cell: sb.Cell) -> None:
    """The lines of `unrolled(3)` on numbers: J and the derivatives by parameters of each step, in the printed order."""
    T = 3
    params, inputs, state = data_of(cell, T)
    d, kernel = sb.derive(cell), kernel_of(cell)
    run = kernel.forward(params, inputs, state)
    random = np.random.default_rng(1)
    sent = {k: random.standard_normal(v.shape) for k, v in run.states.items()}
    grads = kernel.backward(run, {k: v[:, None] if v.ndim < run.states[k].ndim else v for k, v in sent.items()})
    states = list(cell.step.next)
    before = [{k: state[k] if t == 0 else run.states[k][t - 1] for k in states} for t in range(T)]
    before = [{k: np.reshape(v, np.shape(state[k])) for k, v in row.items()} for row in before]
    at = [({k: v[t] for k, v in inputs.items()}, before[t]) for t in range(T)]
    values = {f"J_{t + 1}": d.jacobian().evaluate(params, *at[t]) for t in range(T)}
    for t in range(T):
        values[f"ℓ_{t + 1}"] = np.concatenate([np.ravel(sent[k][t]) for k in states])
    text = d.unrolled(T).text()
    for name in d.recursion.params:
        used = {}
        for t in range(T):
            blocks = [d.jacobian(k, name).evaluate(params, *at[t]) for k in states]
            used[t + 1] = np.concatenate(
                [b.reshape(int(np.size(state[k])), -1) for b, k in zip(blocks, states, strict=True)]
            )
        found = _sum_of_lines(text, "∂L/∂θ", values, used)
        np.testing.assert_allclose(found, np.ravel(grads.params[name]), rtol=1e-9, atol=1e-12)
    initial = _sum_of_lines(text, "∂L/∂" + ("s" if len(states) > 1 else states[0]) + "_0", values, {})
    np.testing.assert_allclose(
        initial, np.concatenate([np.ravel(grads.state[k]) for k in states]), rtol=1e-9, atol=1e-12
    )


def _sum_of_lines(text: str, head: str, values: dict[str, Any], used: dict[int, Any]) -> Any:
    """Evaluates the printed lines of one sum: a row, times products of J, times what a step does with the parameter."""
    lines, total = text.splitlines(), 0.0
    at = next(i for i, line in enumerate(lines) if line.startswith(f"{head} ="))
    body = [lines[at].partition(" = ")[2]]
    while lines[at + 1].startswith(" ") and lines[at + 1].strip().startswith("+ "):
        at += 1
        body.append(lines[at].strip().removeprefix("+ "))
    for line in body:
        match = re.match(r"\(∂ℓ_(\d)/∂\w+_\1\) (.*)", line)
        assert match is not None, line
        for term in match[2].removeprefix("(").removesuffix(")").split(" + ") if "∂⁺" in line else [match[2]]:
            row = values[f"ℓ_{match[1]}"]
            for factor in term.split(" "):
                step = re.fullmatch(r"∂⁺\w+_(\d)/∂θ", factor)
                row = row @ (used[int(step[1])] if step else values[factor])
            total = total + row
    return total


@pytest.mark.parametrize("at, reduction, said", [
    ("every", "sum", "ℓ_t = loss_t"),
    ("every", "mean", "ℓ_t = loss_t / N"),
    ("last", "sum", "ℓ_T = loss_T, and ℓ_t = 0 for t < T"),
])  # fmt: skip
def test_closed_form_of_a_model_says_what_its_losses_are(at: str, reduction: str, said: str) -> None:
    """The terms are the gradients of the model with ℓ_t as it is said there."""
    model, T = sb.model(rnn, squared, at=at, reduction=reduction), 3
    d, data = sb.derive(model), brute.data_of(model, T, 1, {"m": 2, "n": 3})
    assert said in d.unrolled().text().splitlines() and said in d.unrolled(T).text().splitlines()
    _, grads = kernel_of(model).value_and_grad(data.params, data.inputs, data.targets, data.state)
    run = kernel_of(rnn).forward(data.params, data.inputs, data.state)
    before = [data.state["h"][0], *run.states["h"][:, 0]]
    given = [({"x": data.inputs["x"][t, 0]}, {"h": before[t]}) for t in range(T)]
    values = {f"J_{t + 1}": d.jacobian("h", "h").evaluate(data.params, *given[t]) for t in range(T)}
    for t in range(T) if at == "every" else [T - 1]:
        target = data.targets["y"][t, 0] if at == "every" else data.targets["y"][0]
        values[f"ℓ_{t + 1}"] = (before[t + 1] - target) / (T if reduction == "mean" else 1)
    used = {t + 1: d.jacobian("h", "U").evaluate(data.params, *given[t]).reshape(3, -1) for t in range(T)}
    for head, wanted in (("∂L/∂θ", grads.params["U"]), ("∂L/∂h_0", grads.state["h"])):
        found = _sum_of_lines(d.unrolled(T).text(), head, values, used)
        np.testing.assert_allclose(found, np.ravel(wanted), rtol=1e-9, atol=1e-12)


@sb.loss
def squared(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2) / 2


@sb.cell
def ell_of(x: Input["n"], ell: State["n"]):
    return sb.tanh(ell + x)


def test_closed_form_calls_a_loss_otherwise_where_a_value_is_called_so() -> None:
    assert sb.derive(ell_of).unrolled().text().splitlines()[0].startswith("∂L/∂θ = Σ_t Σ_{k ≤ t} (∂cost_t/∂ℓ_t) J_t")


def test_closed_form_has_the_latest_factor_first() -> None:
    text = sb.derive(lstm).unrolled().text()
    assert "Σ_t Σ_{k ≤ t} (∂ℓ_t/∂s_t) J_t J_{t-1} ⋯ J_{k+1} ∂⁺s_k/∂θ" in text and "s = (h; c)" in text
    assert "the route c → c alone" in text and "diag(f_t)" in text and "sb.Window(w)" in text
    assert "J_t = ∂h_t/∂h_{t-1} = diag(1 - h_t²) U" in sb.derive(rnn).unrolled().text()
    assert "J_3 J_2 ∂⁺h_1/∂θ" in str(sb.derive(rnn).unrolled(3)) and "J_2 J_3" not in str(sb.derive(rnn).unrolled(3))
    assert sb.derive(rnn).unrolled(0).text().startswith("∂L/∂θ = 0\n∂L/∂h_0 = 0")
    assert sb.derive(rnn).unrolled(1).text().startswith("∂L/∂θ = (∂ℓ_1/∂h_1) ∂⁺h_1/∂θ\n")
    assert sb.derive(lstm).unrolled().latex().isascii() and sb.derive(lstm).unrolled(2).latex().isascii()


@sb.cell
def lettered(x: Input["T"], s: State["T"], h: State["T"], J: Param["T T"], I: Param["T T"], theta: Param["T"]):
    """Its names are those of the closed form."""
    k = np.tanh(J @ s + x)
    L = np.tanh(I @ h + k) + theta
    return {"s": k * h, "h": L * s * k, "out": L * h}


@sb.cell
def single(x: Input["n"], J: State["n"], k: Param["n n"], w: Param["n"]):
    """A state by the name of the Jacobian."""
    return {"J": np.tanh(k @ J + x * w), "out": J * J, "more": J + w}


def test_a_long_route_of_a_closed_form_stands_by_its_name() -> None:
    @sb.cell
    def rounds(x: Input["n"], h: State["n"], v: State["n"], W: Param["n n"]):
        for _ in range(3):
            h = h + 0.3 * (np.tanh(W @ h + x) - h) + 0.1 * v
        return h, 0.9 * v

    text = sb.derive(rounds).unrolled().text()
    assert "the product of ∂h_t/∂h_{t-1}, the latest step first" in text and "the product of 0.9 I, the" in text
    assert "u_{" not in text  # what such a product would be written in has no line here


def test_closed_form_has_letters_that_the_cell_does_not_have() -> None:
    text = sb.derive(lettered).unrolled().text()
    first = "∂ℒ/∂φ = Σ_t Σ_{j ≤ t} (∂ℓ_t/∂z_t) M_t M_{t-1} ⋯ M_{j+1} ∂⁺z_j/∂φ"
    assert text.splitlines()[0] == first
    assert "z = (s; h)" in text and "M_t = ∂z_t/∂z_{t-1}" in text and "the product is the identity" in text
    assert "an output out_t acts on z_{t-1} by (∂ℓ_t/∂out_t) (∂out_t/∂z_{t-1}), and on φ by" in text
    assert "∂^{+} z_{j}" in sb.derive(lettered).unrolled().latex().replace(r"\partial^{+}", "∂^{+}")
    text = sb.derive(single).unrolled().text()
    assert text.splitlines()[1] == "∂L/∂J_0 = Σ_t (∂ℓ_t/∂J_t) M_t M_{t-1} ⋯ M_1"
    assert "M_t = ∂J_t/∂J_{t-1} = diag(1 - J_t²) k" in text and "sb.Window(b) keeps the terms with j > t - b" in text
    assert "an output out_t acts on J_{t-1}" in text and "an output more_t acts on J_{t-1}" in text
    assert "M_2 ∂⁺J_1/∂θ" in sb.derive(single).unrolled(2).text()


@pytest.mark.parametrize("T", [-1, 1.5, True, 13, "3"])
def test_numbers_of_steps_that_do_not_fit_are_told(T: Any) -> None:
    with pytest.raises(sb.ArgumentError):
        sb.derive(rnn).unrolled(T)


# SymPy.

WITHOUT_FORM = {"clockwork", "conv_lstm", "retnet", "second_order", "slot_attention"}


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "lru", "ctrnn", "linear_attention", "lif", "mgu2"])
def test_sympy_lines_are_what_the_function_does(name: str) -> None:
    assert_sympy(zoo.CELLS[name])


@pytest.mark.parametrize("cell", [leaky, several, summed], ids=lambda cell: cell.name)
def test_sympy_lines_of_small_cells(cell: sb.Cell) -> None:
    assert_sympy(cell)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(zoo.CELLS) - WITHOUT_FORM))
@pytest.mark.thinned(1, 3)
def test_sympy_lines_of_the_zoo(name: str) -> None:
    assert_sympy(zoo.CELLS[name])


def assert_sympy(cell: sb.Cell) -> None:
    derivation = sb.derive(cell)
    lines, written = derivation.to_sympy(), derivation.all_names.ascii
    sizes = small(cell)
    page, data = page_of(cell, sizes)
    values = {written[k] + "_prev" * (k in cell.step.next): v for k, v in _arrays(data).items()}
    values |= {
        written[a.name]: np.asarray(a.default) for a in cell.arguments if a.role == "const" and a.default is not None
    }
    given = {**data.params, **{k: v[0, 0] for k, v in data.inputs.items()}, **{k: v[0] for k, v in data.state.items()}}
    wanted = one_step(cell, given)
    for name, line in lines.items():
        values[name] = _numbers(line, values, sizes)
    for name, value in wanted.items():
        np.testing.assert_allclose(np.squeeze(values[written[name]]), np.squeeze(value), rtol=1e-10, atol=1e-12)
    assert page is not None


def _arrays(data: Any) -> dict[str, Any]:
    return {**data.params, **{k: v[0, 0] for k, v in data.inputs.items()}, **{k: v[0] for k, v in data.state.items()}}


def _numbers(line: sp.Basic, values: dict[str, Any], sizes: dict[str, int]) -> Any:
    """A line with matrices of numbers in the place of its symbols, evaluated by SymPy."""
    plain = line.subs({sp.Symbol(name, integer=True, positive=True): size for name, size in sizes.items()})
    matrices = {}
    for s in plain.atoms(sp.MatrixSymbol):
        matrices[s] = sp.ImmutableMatrix(np.reshape(values[s.name], [int(n) for n in s.shape]).tolist())
    numbers = {
        s: sp.Float(float(values[s.name]), 17)
        for s in plain.free_symbols
        if isinstance(s, sp.Symbol) and s.name in values
    }
    found = plain.subs(matrices | numbers).doit()
    found = found.as_explicit() if isinstance(found, sp.MatMul) else found  # a root of a size before a matrix
    assert isinstance(found, sp.MatrixBase) or not isinstance(found, sp.MatrixExpr), f"{type(found)} is not evaluated"
    return np.array(found.tolist() if isinstance(found, sp.MatrixBase) else found, dtype=float)


def test_sympy_lines_are_not_put_into_one_another() -> None:
    lines = sb.derive(lstm).to_sympy()
    assert list(lines) == ["i", "f", "g", "o", "c", "h"]
    n = sp.Symbol("n", integer=True, positive=True)
    f, c = sp.MatrixSymbol("f", n, 1), sp.MatrixSymbol("c_prev", n, 1)
    assert sp.HadamardProduct(f, c) in lines["c"].args and lines["h"].has(sp.MatrixSymbol("o", n, 1))


WRITTEN_OUT = {
    "elu": sb.elu,
    "softplus": sb.softplus,
    "gelu": sb.gelu,
    "selu": sb.selu,
    "clip": lambda v: np.clip(v, -0.5, 0.5),
    "where": lambda v: np.where(v > 0, v, 0.1 * v),
    "maximum": lambda v: np.maximum(v, 0.2),
    "softmax": lambda v: sb.softmax(v, axis=0),
    "rms_norm": lambda v: v / np.sqrt(np.mean(v * v) + 1e-5),
    "mean": lambda v: v - np.mean(v),
    "var": lambda v: v * np.var(v),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_functions_that_a_page_shows_whole_have_sympy_forms(name: str) -> None:
    function = WRITTEN_OUT[name]

    @sb.cell
    def shown(x: Input["n"], h: State["n"], U: Param["n n"]):
        return function(U @ h + x)

    assert_sympy(shown)


@sb.cell
def normed(x: Input["m"], h: State["n"], stack: State["k n"], U: Param["n m+n"], g: Param["m+n"], table: Param["v n"]):
    both = np.concatenate([x, h])
    read = g * sb.layer_norm(both) + both / np.linalg.norm(both) + np.mean(both) - np.var(both)
    rows = np.concatenate([stack[1:], np.zeros_like(h)[None]])
    a = U @ read + stack[0] / np.sqrt(x.shape[0] + h.shape[0]) + table[1]
    return sb.softmax(a) * np.sum(a * h) + (1 - np.sum(a)) * a, rows + np.tanh(a)


@sb.cell
def ranked(x: Input["n"], h: State["n"], U: Param["n n"], g: Param["2*n"]):
    a = np.concatenate([U @ h, x])
    b = sb.softmax(g * sb.layer_norm(a) / np.sqrt(1 + np.mean(a * a)))
    return b[: h.shape[0]] - b[h.shape[0] :] + a[: h.shape[0]] ** 2


@pytest.mark.long
@pytest.mark.parametrize("cell", [pytest.param(normed, marks=pytest.mark.long), ranked], ids=lambda cell: cell.name)
def test_nested_numbers_of_arrays_are_evaluated_by_sympy(cell: sb.Cell) -> None:
    assert_sympy(cell)


@pytest.mark.long
def test_what_sympy_leaves_unevaluated_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sympy_form, "Ones", sp.OneMatrix)
    with pytest.raises((AssertionError, TypeError)):
        assert_sympy(ranked)


@pytest.mark.parametrize("name", ["second_order", "clockwork", "retnet"])
def test_what_has_no_form_in_sympy_is_told_with_its_line(name: str) -> None:
    with pytest.raises(sb.ArgumentError, match=r"no form among SymPy's matrices.*\n  at \w+\.py:\d+"):
        sb.derive(zoo.CELLS[name]).to_sympy()


def test_refusals_name_the_line() -> None:
    @sb.cell
    def running(x: Input["n"], h: State["n"]):
        return np.cumsum(h) + x

    with pytest.raises(sb.ArgumentError, match=r"a running sum.*\n  at test_explanation\.py:\d+"):
        sb.derive(running).to_sympy()


# Two cells.


compared = functools.cache(sb.compare)


def test_comparison_says_what_changes() -> None:
    found = compared(lstm, lstm_peephole)
    assert [str(x) for x in found.forward] == ["i_t: + pi ⊙ c_{t-1}  (inside σ)", "f_t: + pf ⊙ c_{t-1}  (inside σ)",
                                               "o_t: + po ⊙ c_t  (inside σ)"]  # fmt: skip
    assert "dc_t: + da_{o,t} ⊙ po" in map(str, found.backward)
    assert {x.of for x in found.gradients} == {"dpi", "dpf", "dpo"}
    assert ("c to c", ("+ c → f → c", "+ c → i → c")) in [(x.of, x.new) for x in found.paths]
    assert any(str(x).startswith("∂c_t/∂c_{t-1}: diag(f_t) → diag(") for x in found.jacobians)
    assert "(+3 n)" in str(found.cost[0])
    assert found.text().startswith("lstm → lstm_peephole\nforward\n")
    # Long right sides stand under each other.
    assert any(re.match(r"∂h_t/∂h_\{t-1\}: diag\(tanh.*\n    → diag\(tanh", str(x)) for x in found.jacobians)
    assert max(map(len, found.text().splitlines())) <= 200


@pytest.mark.parametrize("cells", [(lstm, gru), (rnn, lstm), (lstm, lstm_peephole), (several, leaky)])
@pytest.mark.thinned(3)
def test_comparison_defines_the_derivatives_that_its_lines_read(cells: tuple[sb.Cell, sb.Cell]) -> None:
    found = compared(*cells)
    for change in found.jacobians:
        defined = {line.partition(" = ")[0] for line in change.beside}
        read = set(
            re.findall(r"∂\w+(?:_\{[^}]*\})?/∂\w+_(?:\{[^}]*\}|t)|\bJ_\d\b", " ".join((*change.gone, *change.new)))
        )
        assert read <= defined, change
    if cells == (lstm, gru):
        assert "\n    with\n      ∂c_t/∂h_{t-1} = " in found.text() and "  (in lstm)" in found.text()


def test_comparison_the_other_way_round_takes_away() -> None:
    found = sb.compare(lstm_peephole, lstm)
    assert str(found.forward[0]) == "i_t: without pi ⊙ c_{t-1}  (inside σ)"
    assert "(-3 n)" in str(found.cost[0])


def test_a_cell_does_not_differ_from_itself() -> None:
    assert sb.compare(rnn, rnn).text() == "rnn → rnn\n  nothing changes"


@sb.cell
def layered(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    z = sb.repeat(lambda z: 0.5 * z + 0.5 * np.tanh(U @ z + W @ x), h, 4)
    return 0.5 * z


@sb.cell
def settled(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    u = W @ x + 0.1 * h
    z = sb.fixed_point(lambda z: np.tanh(0.3 * U @ z + u), h)
    return 0.5 * z


def test_comparison_of_loops_counts_rounds_and_writes_none_out() -> None:
    found = sb.compare(layered, settled)
    told = found.text()
    assert "  z̃_{t,k+1}: without 0.5 (z̃_{t,k} + tanh(U z̃_{t,k} + W x_t))\n" in told
    assert "h to h: without h → z → h, + h → u → z → h\n" in told
    cost = {change.of: (change.gone, change.new) for change in found.cost}
    gone, new = cost["multiplications of products, a step"]
    assert gone == ("m n + 4 n²",) and new[0].startswith("m n + n² rounds  (")
    gone, new = cost["functions, a step"]
    assert gone == ("4 n",) and new[0].startswith("n rounds  (")


def test_comparison_takes_cells_alone() -> None:
    with pytest.raises(sb.ArgumentError, match="compare takes two cells"):
        sb.compare(lstm, "gru")  # type: ignore[arg-type]


Body = Callable[[Any, Any, Any], Any]
"""A body of nested loops, of U, z and q."""


@pytest.mark.parametrize(
    ("inner", "outer", "products", "functions"),
    [
        (lambda U, z, q: np.tanh(U @ q), 4, "8 n²", "8 n"),  # no product reads what the outer loop carries
        (lambda U, z, q: np.tanh(U @ q + z), 4, "8 n²", "8 n"),
        (lambda U, z, q: np.tanh(U @ q), None, "2 n³", "2 n²"),
    ],
)
def test_costs_of_an_inner_loop_count_the_rounds_of_the_loops_around_it(
    inner: Body, outer: int | None, products: str, functions: str
) -> None:
    @sb.cell
    def plain(x: Input["n"], h: State["n"], U: Param["n n"]):
        return np.tanh(U @ h + x)

    @sb.cell
    def nest(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.repeat(lambda z: sb.repeat(lambda q: inner(U, z, q), z, 2), x + h, outer or h.shape[0])

    costs = {change.of: change.new[0].split("  ")[0] for change in sb.compare(plain, nest).cost}
    assert costs["multiplications of products, a step"] == products
    assert costs["functions, a step"] == functions


@pytest.mark.long
def test_command_line_compares_two_cells() -> None:
    run = [sys.executable, "-m", "symbptt", "derive", "lstm", "lstm_peephole"]
    found = subprocess.run(run, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("lstm → lstm_peephole\n")
    wrong = subprocess.run([*run, "--latex"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "leave out --latex" in wrong.stderr
