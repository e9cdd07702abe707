"""The numbers of a report agree with each other where the gradients of some samples of a batch end at exactly zero."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.stability.report import advice, wording

UNDER, OVER = 103.28, 88.72
"""−ln of the smallest and ln of the largest float32."""


@sb.cell
def scaled(x: Input["n"], h: State["n"]):
    """λ₁ is the largest mean of ln |x|; a step with x = 0 ends all gradients."""
    return x * h


@sb.cell
def place(x: Index["v"], r: State["n"], E: Param["v n"], U: Param["n n"], g: Param["n"] = 1.0):
    u = E[x] + U @ r
    return g * sb.relu(u) / (1 + np.linalg.norm(u))


def run(*rates: float, steps: int = 300, ends: tuple[int, ...] = ()) -> Any:
    noise = 0.1 * np.random.default_rng(0).standard_normal((steps, len(rates), 2))
    x = np.exp(np.where(np.array(rates) != 0, 1.0, 0.0)[:, None] * (np.array(rates)[:, None] + noise))
    x[steps // 2, list(ends)] = 0.0
    return sb.analyze(scaled, {}, {"x": x}, {"h": np.ones((len(rates), 2))})


def said(report: Any, about: str) -> str:
    return next(f"{a.text} {a.reason}" for a in report.advice if a.about == about)


def lags_agree(found: Any) -> None:
    """The lag from which float32 has zeros is the one that λ₁, as the page prints it, gives."""
    steps, rate = found.float_range.steps, found.verdict.exponent
    assert rate < 0 and steps == pytest.approx(UNDER / -rate, abs=1)
    assert found.float_range.steps > 10 * found.horizon  # 1/e is met long before the smallest float
    assert f"λ₁ = {rate:.3g}" in said(found, "float range") and f"beyond {steps} steps" in said(found, "float range")


@pytest.mark.parametrize(("rates", "ends"), [
    ((-0.5, -0.2, -0.4), (2,)), ((-1.0, -1.2, -0.9), (0, 1)), ((-0.3, -0.5), (0,)), ((-0.5, -0.2, -0.4), ()), ((-0.7,), ()),
    ((-0.3, -0.35), ()),
])  # fmt: skip
@pytest.mark.thinned(5)
def test_lags_follow_the_exponent_of_the_slowest_sample(rates: Any, ends: Any) -> None:
    found = run(*rates, ends=ends)
    lags_agree(found)
    alive = [i for i in range(len(rates)) if i not in ends]
    slowest = max(alive, key=lambda i: rates[i])
    assert found.verdict.ended == ends and found.verdict.slowest == (slowest if ends else None)
    text = said(found, "float range")
    assert ("end at exactly zero in any float" in text) == bool(ends)
    # The product of that sample says how many directions are lost, not a mean that is −∞.
    whole = rates[slowest] if ends else np.mean(rates)
    assert found.float_range.lost == (2 if 300 * whole < -UNDER else 0) and (f"Of sample {slowest}" in text) == bool(
        ends
    )


def test_samples_whose_gradients_last_are_not_said_to_be_zero() -> None:
    found = run(-0.5, -0.02, steps=200, ends=(0,))
    text = said(found, "float range")
    assert found.float_range.lost == 0 and text.startswith("float32 holds") and "Of sample 1, none of the 2" in text
    whole = " ".join(found.text().split())
    assert "Directions of sample 1: all of the 2 directions are alive" in whole


def test_samples_that_last_beside_one_that_ends_are_marginal() -> None:
    found = run(0.0, 0.0, ends=(1,))
    assert found.verdict.kind in ("marginal", "mixed") and "of sample 1 end at exactly zero" in said(
        found, "float range"
    )


def test_batch_that_ends_has_zeros_in_any_float() -> None:
    found = run(-0.5, -0.2, ends=(0, 1))
    assert said(found, "float range").startswith("expect exact zeros in any float.") and found.verdict.slowest is None


def test_cell_of_a_user_says_one_thing() -> None:
    """Rectified units that are all off at some step of samples 0 and 3."""
    p = place.init({"v": 5, "n": 3}, seed=0)
    random = np.random.default_rng(0)
    random.standard_normal((20, 4, 2))
    found = sb.analyze(place, p, {"x": random.integers(0, 5, (20, 4))})
    lags_agree(found)
    assert "lag 1 on" not in found.text() and said(found, "float range").startswith("float32 holds the gradients")


@pytest.mark.parametrize(("rates", "ends", "begins"), [
    ((-0.5, 0.4), (), "use shorter sequences"), ((-0.5, 0.0), (), "expect exact zeros in float32 from lag 2"),
    ((-0.5, 0.4, -0.1), (2,), "use shorter sequences"), ((-0.1, 0.1), (), "float32 holds the gradients"),
])  # fmt: skip
@pytest.mark.thinned(3)
def test_samples_that_differ_have_lags_of_their_own(rates: Any, ends: Any, begins: str) -> None:
    found = run(*rates, ends=ends)
    text = said(found, "float range")
    assert found.verdict.kind == "mixed" and text.startswith(begins)
    assert ("end at exactly zero in any float" in text) == bool(ends) and "λ₁ = −∞." not in found.text()
    for lag, sample in re.findall(r"those of sample (\d+) [a-z ]+ float32 beyond (\d+)", text):
        rate = found.samples[int(lag)].exponent
        assert int(sample) == pytest.approx((UNDER if rate < 0 else OVER) / abs(rate), abs=1)


def test_watch_shows_the_exponent_of_its_verdict() -> None:
    x = np.exp(np.full((300, 2, 2), -0.2))
    x[150, 0] = 0.0
    watch = sb.Watch(scaled, {"x": x}, {"h": np.ones((2, 2))}, every=1)
    watch({})
    assert "-0.2 ±" in watch.text() and "inf" not in watch.text()


def test_planted_mean_over_samples_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "edge_of", lambda rate, resolution: (1, "underflow"))
    monkeypatch.setattr(wording, "edge_of", advice.edge_of)
    with pytest.raises(AssertionError):
        test_cell_of_a_user_says_one_thing()
