"""Sentences of reports, certificates and initialisations that contradict each other, or the numbers beside them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Input, Param, State

spike = sb.function("spike", lambda v: sp.Heaviside(v, 0), derivative=lambda v: 1 / (1 + sp.Abs(3 * v)) ** 2)


@sb.cell
def linear(x: Input["n"], h: State["n"], A: Param["n n"]):
    return A @ h + x


@sb.cell
def bilinear(x: Input["m"], h: State["n"], A: Param["m n n"]):
    return np.tanh(np.einsum("m,mij,j->i", x, A, h))


@sb.cell
def spiking(x: Input["n"], v: State["n"], z: State["n"], U: Param["n n"]):
    v_new = 0.9 * v * (1 - z) + x + U @ z
    return v_new, spike(v_new - 1.0)


@sb.cell
def predator(a: State["n"], b: State["n"], dt: Const = 0.05):
    return a * np.exp(dt * (1 - b)), b * np.exp(dt * (a - 1))


@sb.cell
def halved(x: Input["n"], h: State["n"], U: Param["n n"]):
    return 0.5 * h + 0.1 * np.tanh(U @ h + x)


@sb.cell
def slots(x: Input["d"], M: State["s d"], Q: Param["d d"]):
    a = sb.softmax(M @ Q @ x)
    return M + a[:, None] * (np.tanh(x) - M)


@sb.cell
def pooled(x: Input["n"], h: State["n"], U: Param["n n"]):
    return np.maximum(0.8 * h, np.tanh(U @ h + x))


def draw(*shape: int, seed: int = 7, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal(shape)


def words(text: str) -> str:
    return " ".join(text.split())


FAR = {"A": np.array([[0.9, 5, 0], [0, 0.8, 3], [0, 0, 0.95]])}


def test_an_undecided_run_does_not_hide_a_proof() -> None:
    report = sb.analyze(linear, FAR, {"x": draw(120, 2, 3)})
    text = words(report.text())
    # The largest eigenvalue is 0.95; the run's own exponent lies above its logarithm as long as gradients still align.
    assert report.verdict.kind == "undecided"
    assert report.verdict.exponent > np.log(0.95)
    assert "but that gradients vanish is proven" in text
    assert "more slowly, which the bound allows for a while only" in text
    assert "times as fast" not in text


def test_a_run_that_is_surer_than_a_proof_says_how_fast_it_shrinks() -> None:
    U = {"A": np.diag([0.5, 0.3]) + np.array([[0, 0.1], [0, 0]])}
    text = words(sb.analyze(linear, U, {"x": draw(200, 2, 2)}).text())
    assert "Verdict: vanishing" in text
    assert "is proven" not in text.split("Responsible")[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.thinned(2)
def test_growth_without_decay_is_not_first(seed: int) -> None:
    x = draw(120, 3, 2)
    x[:3] *= 1e-3  # the one product over all lags holds these steps, and is less than that over all but them
    report = sb.analyze(bilinear, {"A": draw(2, 3, 3, scale=1.2, seed=seed)}, {"x": x})
    assert report.verdict.kind in ("exploding", "chaotic")
    assert "first grow" not in words(report.text())


def test_growth_before_decay_is_told_with_its_size() -> None:
    report = sb.analyze(linear, FAR, {"x": draw(400, 2, 3)})
    powers = [np.linalg.norm(np.linalg.matrix_power(FAR["A"], k), 2) for k in range(1, 100)]
    assert f"first grow up to {max(powers):.3g} times, until lag {1 + int(np.argmax(powers))} " in words(report.text())


@pytest.mark.parametrize("metric", ["diagonal", "quadratic"])
def test_a_certificate_of_nothing_claims_no_proof(metric: str) -> None:
    box = {"a": (np.full(2, 0.5), np.full(2, 1.5)), "b": (np.full(2, 0.5), np.full(2, 1.5))}
    text = sb.certified_rate(predator, {}, box, metric=metric).text()
    assert "no finite bound" in text
    assert "proven as" not in text


@pytest.mark.parametrize("metric", ["diagonal", "quadratic"])
@pytest.mark.thinned(5)
def test_a_certificate_names_the_surrogate_that_it_rests_on(metric: str) -> None:
    found = sb.certified_rate(spiking, {"U": 0.1 * np.eye(2)}, {"x": (-1, 1)}, metric=metric)
    assert "With the surrogate spike′(v) = " in found.text()
    assert ("proven as" in found.text()) == (metric == "quadratic")
    plain = sb.certified_rate(linear, FAR, {"x": (-1, 1)}, metric=metric)
    assert "surrogate" not in plain.text()


def clipping(report: sb.StabilityReport) -> str:
    (found,) = (str(a) for a in report.advice if a.about == "clipping")
    return found


@pytest.mark.long
def test_clipping_tells_zero_gradients_from_no_parameters_and_from_rounding() -> None:
    x = {"x": draw(60, 2, 2)}
    still = sb.analyze(bilinear, {"A": draw(2, 3, 3, scale=0.3)}, x)
    assert "The gradient of every parameter is zero in this run." in clipping(still)
    states = {"a": np.full((1, 2), 1.2), "b": np.full((1, 2), 0.9)}
    assert "There are no parameters." in clipping(sb.analyze(predator, {}, None, states, steps=40))
    # Slots that start alike stay alike: what their softmax sends back is a sum of terms that cancel.
    alike = sb.analyze(slots, {"Q": draw(2, 2)}, x, {"M": np.zeros((2, 4, 2))})
    assert alike.clip is None or "less than the rounding" in clipping(alike)
    apart = sb.analyze(linear, {"A": 0.5 * np.eye(2)}, x)
    assert "clip the joint gradient at norm" in clipping(apart)


def test_infinite_gradients_are_not_called_none() -> None:
    report = sb.analyze(linear, {"A": 3.0 * np.eye(2)}, {"x": draw(800, 1, 2, scale=1e-300)})
    assert "nothing to clip" not in clipping(report)


def test_a_factor_that_is_a_number_is_not_said_to_be_itself() -> None:
    text = words(sb.analyze(halved, {"U": draw(3, 3, scale=0.6)}, {"x": draw(60, 2, 3)}).text())
    assert "0.5 alone would give -0.693 nats a step" in text
    assert "0.5 is 0.5" not in text


def test_an_initialisation_within_a_factor_of_two_is_given_and_not_called_reached() -> None:
    params, x = {"U": draw(4, 4, seed=3, scale=0.6)}, {"x": draw(120, 3, 4)}
    found = sb.init_for_horizon(pooled, 10, params, x)
    assert 5 <= found.achieved <= 20
    assert found.reached == (abs(found.achieved / 10 - 1) <= 0.1)
    assert ("it is not reached" in found.text()) != found.reached
    measured = sb.lyapunov_spectrum(pooled, found.params, {"x": np.resize(x["x"], (3000, 1, 4))}, count=1)
    assert -1 / measured.exponents[0] == pytest.approx(found.achieved, rel=0.4)


@sb.cell
def chain(x: Input, a: State, b: State, c: State):
    return a + b, b + c, c + x


@sb.cell
def factor(x: Input["n"], h: State["n"]):
    return np.exp(x) * h


def test_growth_like_a_power_has_no_positive_exponent_and_leaves_no_range() -> None:
    report = sb.analyze(chain, {}, {"x": draw(400, 2)})
    text = words(report.text())
    assert "grow like a power of time" in text
    assert report.verdict.exponent > report.verdict.resolution
    # The largest entry of the product over t steps is t (t − 1)/2: 4e7 where e^(λ₁ t) would leave float32.
    assert "positive" not in text
    assert "overflow" not in text
    assert report.float_range.steps is None


def test_a_sample_that_is_not_sure_is_not_counted_among_those_that_vanish() -> None:
    x = draw(300, 3, 1, scale=0.3)
    x += np.array([0.5, -0.5, 0.0])[:, None] - x[30:].mean(0)
    report = sb.analyze(factor, {}, {"x": x}, {"h": np.ones((3, 1))})
    text = words(report.text())
    assert "those of sample 0 grow, those of sample 1 vanish, those of sample 2 may do either" in text
    assert "Directions, by means over samples:" in text
    assert sum("may do either" in words(sb.analyze(factor, {}, {"x": x[:, [i]]}).text()) for i in range(3)) == 0


def test_runs_that_come_in_slowly_are_not_said_to_settle_elsewhere() -> None:
    def quintic(x: State, m: Param):
        return x + 0.1 * (m * x + x**3 - x**5)

    # At m = 0 a run tends to 0 or to ±1, to 0 like the root of time; at −1/4 to ±√½ from one side like its inverse.
    found = sb.sweep(sb.cell(quintic), {"m": np.array(-0.1)}, "m", np.linspace(-0.5, 0.5, 21))
    assert "some have not settled on a short cycle" in found.text()
    assert "on no short cycle" not in found.text()
