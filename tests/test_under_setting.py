"""Jacobians, routes, the closed form and the chain rule of truncated runs, of samples with ends, and of states that are reset."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target, zoo
from symbptt.equations.page.masks import Setting
from tests.oracle import STEP, one_step

T = 6
SETTINGS: list[dict[str, Any]] = [
    {},
    {"truncation": sb.Window(1)},
    {"truncation": sb.Window(3)},
    {"truncation": sb.Window(9)},
    {"truncation": sb.Chunked(2, 3)},
    {"truncation": sb.Chunked(4, 2)},
    {"truncation": sb.Chunked(1, 4)},
    {"reset": True},
    {"reset": True, "truncation": sb.Window(2)},
    {"reset": True, "truncation": sb.Chunked(3, 5)},
]
RESETS = np.array([0, 0, 1, 0, 1, 0], bool)


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.loss
def weighed(h: State["n"], y: Target["n"]):
    return sb.sum(y * h)


def evaluated(text: str, values: dict[str, Any], name: str) -> Any:
    """A sum of products of the closed form, written out; `values` are its factors as arrays."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(name))
    found = [lines[start].removeprefix(name)]
    for line in lines[start + 1 :]:
        if not line.startswith(" " * 4):
            break
        found.append(line.strip().removeprefix("+ "))
    total: Any = 0.0
    for line in found:
        if line == "0":
            continue
        loss, _, rest = line.partition(") ")
        for term in (rest[1:-1] if " + " in rest else rest).split(" + "):
            product = values[loss + ")"]
            for factor in term.split():
                value = values[factor]
                product = product * value if np.ndim(value) == 0 else np.tensordot(product, value, 1)
            total = total + product
    return total


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_closed_form_is_the_gradient_of_the_kernel(setting: dict[str, Any]) -> None:
    """Its printed terms, with factors by complex step of the user's function, are what the module computes."""
    random, m, n = np.random.default_rng(0), 2, 3
    params = {"W": random.standard_normal((n, m)), "U": random.standard_normal((n, n))}
    x, y, h0 = random.standard_normal((T, 1, m)), random.standard_normal((T, 1, n)), random.standard_normal((1, n))
    flags = RESETS if setting.get("reset") else np.zeros(T, bool)
    kernel = sb.compile(sb.model(plain, weighed), truncation=setting.get("truncation"))
    _, found = kernel.value_and_grad(
        params, {"x": x}, {"y": y}, {"h": h0}, reset=flags[:, None] if flags.any() else None
    )
    h, values = h0[0], dict[str, Any]()
    for t in range(1, T + 1):
        h = h0[0] if flags[t - 1] else h
        given = {**params, "x": x[t - 1, 0], "h": h}
        by_state, by_param = _slopes(given, "h"), _slopes(given, "U")
        values |= {
            f"J_{t}": by_state * (not flags[t - 1]),
            f"(∂h_{t}/∂h_{t - 1}^{{(r)}})": by_state,
            f"∂⁺h_{t}/∂θ": by_param,
            f"(∂ℓ_{t}/∂h_{t})": y[t - 1, 0],
            f"r_{t}": float(flags[t - 1]),
        }
        h = one_step(plain, given)["h"]
    text = sb.derive(plain, **setting).unrolled(T).text()
    for name, wanted in (("∂L/∂θ = ", found.params["U"]), ("∂L/∂h_0 = ", found.state["h"][0])):
        np.testing.assert_allclose(evaluated(text, values, name) + 0 * wanted, wanted, rtol=1e-10, atol=1e-12)


def _slopes(given: dict[str, Any], of: str) -> Any:
    value = np.zeros((3, *np.shape(given[of])))
    for place in np.ndindex(*np.shape(given[of])):
        moved = np.array(given[of], complex)
        moved[place] += 1j * STEP
        value[(slice(None), *place)] = np.imag(one_step(plain, given | {of: moved})["h"]) / STEP
    return value


def test_a_wrong_reach_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    acts = Setting.acts
    monkeypatch.setattr(Setting, "acts", lambda self, t, k, T: acts(self, t, k - 1, T) and k <= t)
    with pytest.raises(AssertionError):
        test_the_closed_form_is_the_gradient_of_the_kernel({"truncation": sb.Window(3)})


def test_what_the_closed_form_says() -> None:
    def said(**setting: Any) -> str:
        return sb.derive(plain, **setting).unrolled().text()

    assert "∂L/∂θ = Σ_t Σ_{t - 4 < k ≤ t} (∂ℓ_t/∂h_t) J_t" in said(truncation=sb.Window(4))
    assert "∂L/∂h_0 = Σ_{t ≤ 4} (∂ℓ_t/∂h_t) J_t" in said(truncation=sb.Window(4))
    assert "keeps the terms" not in said(truncation=sb.Window(4)) and "keeps the terms" in said()
    chunked = said(truncation=sb.Chunked(3, 5))
    assert "Σ_{e_t - 5 < k ≤ t}" in chunked and "Σ_{t: e_t ≤ 5}" in chunked
    assert "e_t = min(3 ⌊(t + 2) / 3⌋, T)" in chunked.splitlines()
    assert "e_t = min(3 ⌊(t + 2) / 3⌋, T')" in said(truncation=sb.Chunked(3, 5), lengths=True)
    assert "Σ_{k ≤ t} r_k (∂ℓ_t/∂h_t) J_t J_{t-1} ⋯ J_{k+1} (∂h_k/∂h_{k-1}^{(r)})" in said(reset=True)
    assert "the sample itself" in said(lengths=True)
    latex = sb.derive(plain, truncation=sb.Chunked(3, 5), reset=True).unrolled().latex()
    assert r"\sum_{e_{t} - 5 < k \leq t} r_{k}" in latex and latex.isascii()
    assert sb.derive(plain, truncation=sb.Window(2), reset=True).unrolled(3).text(ascii=True).isascii()


def test_what_a_jacobian_says() -> None:
    d = sb.derive(plain, reset=True, lengths=True, truncation=sb.Window(3))
    lines = d.jacobian("h", "h").text().splitlines()
    assert lines[:3] == [
        "∂h_t/∂h_{t-1} = (1 - r_t) ∂h_t/∂h_{t-1}^{(r)}",
        "with",
        "  ∂h_t/∂h_{t-1}^{(r)} = diag(1 - h_t²) U",
    ]
    assert lines[3].startswith("r_t: 1 where the sample begins again")
    assert lines[4] == "behind the end of a sample, at t = T + 1, …, T': ∂h_t/∂h_{t-1} = I"
    assert lines[5].startswith("sb.Window(3) does not change the derivatives of a step")
    weights = d.jacobian("h", "U").text().splitlines()
    assert weights[0] == "∂(h_t)_i/∂U_{jk} = δ_{ij} (1 - (h_t)_i²) (h_{t-1}^{(r)})_k" and "∂h_t/∂U = 0" in weights[2]
    whole = sb.derive(zoo.lstm, reset=True).jacobian()
    assert whole.text().startswith(
        "∂s_t/∂s_{t-1} = (1 - r_t) ∂s_t/∂s_{t-1}^{(r)}\n∂s_t/∂s_{t-1}^{(r)} = [ ∂h_t/∂h_{t-1}^{(r)}"
    )
    assert r"\frac{\partial c_{t}}{\partial c_{t-1}^{(r)}} &= \mathrm{diag}(f_{t})" in whole.latex()


@pytest.mark.parametrize(
    "steps, of, said",
    [
        (1, "h", "lead to step t - 1 and are kept"),
        (2, "h", "lead to step t - 2 and are cut, but for those to the initial state"),
        (3, "h", "lead to step t - 3 and are cut"),
        (1, "U", "lead to step t and are kept"),
        (2, "U", "lead to step t - 1 and are kept"),
        (3, "U", "lead to step t - 2 and are cut, but for those to the initial state"),
    ],
)
def test_what_routes_say_of_a_window(steps: int, of: str, said: str) -> None:
    text = sb.derive(plain, truncation=sb.Window(2)).paths("h", of, steps).text()
    assert text.endswith(said) and "acts on the steps k > t - 2;" in text


def test_routes_cross_no_reset() -> None:
    d = sb.derive(plain, reset=True)
    assert "(1 - r_t) (1 - r_{t-1}) diag(1 - h_t²) U diag(1 - h_{t-1}²) U" in d.paths("h", "h", 2).text()
    assert "(1 - r_t) (1 - (h_t)_i²) U_{ij} (1 - (h_{t-1})_j²) (h_{t-2}^{(r)})_k" in d.paths("h", "U", 2).text()
    assert "h_{t-1}^{(r)}" in d.paths("h", "U").text() and "(1 - r_t)" not in d.paths("h", "U").text()


def test_the_chain_rule_says_what_is_reset_and_cut() -> None:
    text = sb.derive(plain, reset=True, truncation=sb.Chunked(3, 5), lengths=True).explain().text()
    assert "dU gains da_t (h_{t-1}^{(r)})ᵀ" in text
    assert (
        "given, with the factor 1 - r_t, to which its own loss is added; the initial state is given r_t times it"
        in text
    )
    assert (
        "sb.Chunked(3, 5): the adjoints are those of the losses of one chunk, which ends at a step e = 3, 6, … or T'"
        in text
    )
    assert "t = e, …, max(e - 4, 1)" in text and "  6  r_t: 1 where" in text
    assert "the loss of one step s alone, at t = s; gr" in sb.derive(plain, truncation=sb.Window(1)).explain().text()
    assert sb.derive(plain).explain().text().count("\n  3  ") == 1


@pytest.mark.parametrize("setting", SETTINGS[1:], ids=str)
def test_letters_of_a_setting_are_those_of_the_page(setting: dict[str, Any]) -> None:
    @sb.cell
    def taken(x: Input["n"], r: State["n"], e: State["n"], s: Param["n"]):
        return np.tanh(r + s * x), np.tanh(e * r)

    d = sb.derive(taken, **setting)
    page = d.text()
    reset = re.search(r"^  (\w)_t: 1 where", page, re.M)
    for text in (d.jacobian().text(), d.unrolled().text(), d.explain().text(), d.paths("r", "r", 2).text()):
        own = re.search(r"(\w)_t: 1 where", text)
        assert (own is None) == (reset is None) and (own is None or reset is None or own[1] == reset[1] not in "res")
