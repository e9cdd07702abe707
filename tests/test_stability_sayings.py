"""What reports and theorems say of cells that jump, of surrogates, of all parameters, and of sizes that were tried."""

import math
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.stability.proofs import hypotheses
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.proofs.jumps import clocks, jumps, surrogates
from symbptt.stability.report import wording
from symbptt.zoo import CELLS, clockwork, gru, lif, lstm, min_gru

hard = sb.function("hard", lambda v: sp.Heaviside(v), lambda v: sp.exp(-(v**2)))


@sb.cell
def resets(x: Input["n"], h: State["n"], theta: Const = 1.0):
    v = 0.9 * h + x
    return np.where(np.abs(v) > theta, 0.0, v)


@sb.cell
def subtracts(x: Input["n"], h: State["n"], theta: Const = 1.0):
    v = 0.9 * h + x
    return v - theta * (v > theta)


@sb.cell
def squares(x: Input["n"], h: State["n"], theta: Const = 1.0):
    v = 0.9 * h + x
    return np.where(v**2 > theta, 0.5 * v, v)


@sb.cell
def signs(x: Input["n"], h: State["n"]):
    return 0.5 * h + np.sign(h) * x


@sb.cell
def wraps(x: Input["n"], h: State["n"]):
    return h - np.floor(h) + x


@sb.cell
def fires(x: Input["n"], h: State["n"]):
    return 0.5 * h + x * hard(h - 1)


@sb.cell
def kinks(x: Input["n"], h: State["n"]):
    return sb.leaky_relu(0.5 * h) + np.abs(h) + np.maximum(h, x) + np.clip(h, -1, 1) + sb.elu(h) + h * (h > 0)


@sb.cell
def meets(x: Input["n"], h: State["n"], theta: Const = 1.0):
    v = 0.9 * h + x
    return np.where(v > theta, v, theta)


@pytest.mark.parametrize("cell", [resets, subtracts, squares, signs, wraps, fires, lif, CELLS["alif"]])
def test_jumps_are_found(cell: Any) -> None:
    assert jumps(local_of(cell))


@pytest.mark.parametrize("cell", [kinks, meets, gru, lstm, clockwork, CELLS["gru_layer_norm"], CELLS["mlstm"]])
def test_kinks_and_clocks_are_no_jumps(cell: Any) -> None:
    assert not jumps(local_of(cell))


def test_clocks_are_states_that_nothing_else_enters() -> None:
    assert (
        clocks(local_of(clockwork)) == ("t",) and clocks(local_of(lstm)) == () and clocks(local_of(CELLS["rnn"])) == ()
    )


@pytest.mark.long
def test_growth_over_a_finite_time_is_that_of_two_plain_runs() -> None:
    """The largest distance of two runs of the user's function, a thousandth apart."""
    x = np.random.default_rng(0).standard_normal((100, 1, 3))
    found = sb.analyze(resets, {}, {"x": x})
    assert found.finite is not None and "The step jumps" in found.text()
    away = np.random.default_rng(0).standard_normal((1, 3))
    a, b = np.zeros((1, 3)), found.finite.apart * away / np.linalg.norm(away)
    apart = []
    for step in x:
        a, b = (np.where(np.abs(0.9 * h + step) > 1, 0, 0.9 * h + step) for h in (a, b))
        apart.append(np.linalg.norm(a - b) / found.finite.apart)
    assert found.finite.last == pytest.approx(apart[-1]) and found.finite.peak == pytest.approx(max(apart))
    assert found.finite.peak_lag == int(np.argmax(apart)) + 1
    assert found.numbers()["finite_growth"]["steps"] == 100
    assert sb.analyze(gru, gru.init({"m": 2, "n": 3}), steps=30).finite is None


@pytest.mark.long
def test_surrogates_are_named_in_report_and_theorem() -> None:
    assert surrogates(local_of(fires)) == {"hard": "exp(-v²)"} and surrogates(local_of(gru)) == {}
    theorem = sb.vanishing_condition(fires).text()
    assert "With the surrogate hard′(v) = exp(-v²), not the true derivative of hard" in theorem
    assert "surrogate" not in sb.vanishing_condition(gru).text()
    assert "hard counts with the surrogate" in " ".join(sb.analyze(fires, steps=30).text().split())
    assert "The step jumps" in sb.vanishing_condition(resets).text()
    assert r"\text{hard}" in sb.vanishing_condition(fires).latex()


@pytest.mark.parametrize(
    "name, line",
    [
        ("lstm", "the elementwise path of c never grows: 0 ≤ f_t ≤ 1."),
        ("gru", "the elementwise path of h never grows: 0 ≤ z_t ≤ 1."),
        ("lru", "no gradient grows, ‖∂s_t/∂s_j‖₂ ≤ 1."),
        ("min_gru", "no gradient grows, η ≤ 1."), ("selective_ssm", "no gradient grows, η ≤ 1."),
        ("delta_rule", "the elementwise path of S never grows: its factor is 1."), ("indrnn", ""), ("rnn", ""),
    ],
)  # fmt: skip
def test_what_holds_for_all_parameters_is_said(name: str, line: str) -> None:
    said = [
        text
        for text in sb.vanishing_condition(CELLS[name]).text().splitlines()
        if text.startswith("For all parameters")
    ]
    assert (f"For all parameters: {line}" in said) if line else not said


def test_what_holds_for_all_parameters_holds_for_large_ones() -> None:
    """Random parameters a hundred times too large: no factor of the plain function exceeds 1."""
    params = {k: 100 * v for k, v in min_gru.init({"m": 2, "n": 4}, seed=0).items()}
    random = np.random.default_rng(0)
    for _ in range(50):
        x, h = random.standard_normal(2), random.standard_normal(4)
        slopes = [min_gru(x=x, h=h + 1e-20j * e, **params).imag / 1e-20 for e in np.eye(4)]
        assert np.abs(slopes).sum(0).max() <= 1 + 1e-12


@sb.cell
def few(x: Input["n"], h: State["n"]):
    """Its state stays in [−1, 1] for up to 8 elements and not for 9."""
    return sb.sum(np.tanh(x)) / 8 + 0 * h


@sb.cell
def mean(x: Input["n"], h: State["n"]):
    return sb.sum(np.tanh(h + x)) / 3 * np.ones_like(h) / 3 + 0.1 * h


@sb.cell
def tied(x: Input["n"], h: State["n"], g: State["n"]):
    """The derivative of h' reads h, which a sum of eighths bounds."""
    return sb.sum(np.tanh(x)) / 8 + 0 * h, g * h


@pytest.mark.long
def test_bounds_that_rest_on_sizes_say_which_were_tried() -> None:
    theorem = sb.vanishing_condition(tied)
    assert "h" in theorem.bounded
    assert "|h_t| ≤ 1 for all t (found for sizes of 3 and of 8, not proven for others)." in theorem.text()
    x = np.full((3, 1, 9), 10.0)
    assert (
        np.abs(sb.compile(tied).forward({}, {"x": x}, {"h": np.zeros((1, 9)), "g": np.ones((1, 9))}).states["h"]).max()
        > 1
    )
    for name in ("gru", "cifg", "mgu", "ugrnn"):
        assert (
            "tried" not in sb.vanishing_condition(CELLS[name]).text()
            and "sizes of" not in sb.vanishing_condition(CELLS[name]).text()
        )


def test_planted_trust_in_tried_sizes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypotheses, "_reads_sizes", lambda node: False)
    with pytest.raises(AssertionError):
        test_bounds_that_rest_on_sizes_say_which_were_tried()


def test_sentences_begin_as_sentences() -> None:
    assert wording.sentence("λ₁ = 0.1") == "λ₁ = 0.1" and wording.sentence("every gradient") == "Every gradient"


def test_eta_of_one_within_rounding_is_no_growth() -> None:
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]

    @sb.cell
    def turning(x: Input["n"], h: State["n"], Q: Param["n n"]):
        return Q @ h + x

    text = " ".join(
        sb.analyze(turning, {"Q": Q}, {"x": np.random.default_rng(1).standard_normal((60, 2, 6))}).text().split()
    )
    assert "no gradient grows (η = 1 in the 2-norm)" in text and math.isclose(np.linalg.norm(Q, 2), 1)


@pytest.mark.long
def test_gradients_that_end_at_zero_are_told_by_what_was_measured() -> None:
    """Rectified units are off now and then: the product is exactly zero in the end, and no step alone loses everything."""
    found = sb.analyze(CELLS["indrnn"])
    text = " ".join(found.text().split())
    assert np.isneginf(found.verdict.exponent) and "every gradient is exactly zero after some steps" in text.lower()
    assert found.advice[0].value == found.flow.horizon() and found.advice[0].value > 1
    assert found.windows.asymptotic is None and "from lag 1 on" not in text


@pytest.mark.long
@pytest.mark.parametrize("steps", [40, pytest.param(None, marks=pytest.mark.long)])
def test_a_factor_of_one_is_not_said_to_be_one(steps: int | None) -> None:
    assert "1 is 1" not in sb.analyze(CELLS["linear_attention"], steps=steps).text()
