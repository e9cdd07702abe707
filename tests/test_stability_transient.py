"""Transient growth: against products made one by one, and matrices whose powers are known."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Param, State
from symbptt.errors import ArgumentError
from symbptt.stability.runs.linear import linearize
from symbptt.stability.spectra import transient
from symbptt.zoo import gru


@sb.cell
def step(h: State["n"], W: Param["n n"]):
    return W @ h


def test_powers_of_a_triangular_matrix_are_known() -> None:
    W = np.array([[0.5, 10.0], [0.0, 0.5]])
    lags = [1, 2, 3, 5, 8, 13, 20]
    found = sb.transient_growth(step, {"W": W}, lags=lags, steps=40)
    expected = [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in lags]
    assert np.exp(found.log_growth) == pytest.approx(expected, rel=1e-12)
    assert found.peak == pytest.approx(max(expected)) and found.peak_lag == lags[int(np.argmax(expected))]
    assert found.henrici == pytest.approx(np.sqrt(1 - 0.5 / (0.5 + 100)))
    assert found.numerical_radius == pytest.approx(0.5 + 5.0, rel=2e-3)


def test_normal_contraction_never_grows() -> None:
    angle = 0.3
    W = 0.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = sb.transient_growth(step, {"W": W}, steps=30)
    assert found.peak == 1 and found.peak_lag == 0 and found.henrici == pytest.approx(0, abs=1e-6)
    assert found.log_growth == pytest.approx(np.log(0.9) * found.lags)
    assert found.numerical_radius == pytest.approx(0.9, rel=2e-3)


def test_growth_is_the_largest_over_all_starts_and_samples() -> None:
    params, x = gru.init({"m": 2, "n": 3}, seed=1), np.random.default_rng(0).standard_normal((17, 3, 2))
    params = {k: 3 * v for k, v in params.items()}
    found = sb.transient_growth(gru, params, {"x": x}, lags=[1, 3, 6, 17])
    jacobians = linearize(gru, params, {"x": x}).jacobians
    for lag, log, t, b in zip(found.lags, found.log_growth, found.start, found.sample, strict=True):
        norms = np.array([[norm_of(jacobians[s : s + lag, i]) for i in range(3)] for s in range(17 - lag + 1)])
        assert log == pytest.approx(np.log(norms.max()), rel=1e-10) and norms[t, b] == pytest.approx(norms.max())


def norm_of(steps: np.ndarray) -> float:
    product = np.eye(steps.shape[-1])
    for one in steps:
        product = one @ product
    return float(np.linalg.norm(product, 2))


def test_long_growth_does_not_overflow() -> None:
    found = sb.transient_growth(step, {"W": 1e3 * np.eye(2)}, lags=[200], steps=100 * 2)
    assert found.log_growth == pytest.approx([200 * np.log(1e3)])
    assert np.isneginf(sb.transient_growth(step, {"W": np.diag([1.0], 1)}, lags=[2], steps=4).log_growth[0])


def test_report_says_how_far_gradients_first_grow() -> None:
    W = np.array([[0.5, 10.0], [0.0, 0.5]])
    report = sb.analyze(step, {"W": W}, steps=64)
    assert report.transient.peak > 9 and "Gradients first grow" in " ".join(report.text().split())
    assert report.numbers()["transient"]["peak"] == report.transient.peak
    assert "Gradients first grow" not in sb.analyze(step, {"W": 0.5 * np.eye(2)}, steps=64).text()


def test_planted_products_in_the_wrong_order_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = transient._times
    monkeypatch.setattr(
        transient, "_times", lambda early, late, lag: right((np.swapaxes(early[0], -1, -2), early[1]), late, lag)
    )
    with pytest.raises(AssertionError):
        test_growth_is_the_largest_over_all_starts_and_samples()


@pytest.mark.parametrize(
    "lags, message", [([0], "lags from 0"), ([99], "lags from 99"), ([1.5], "integers are expected")]
)
def test_bad_lags_are_refused(lags: list[float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sb.transient_growth(step, {"W": np.eye(2)}, lags=lags, steps=20)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_numerical_radius_and_departure_of_a_jordan_block_are_known(size: int) -> None:
    """w(J) = cos(π / (n + 1)) for the nilpotent block; Haagerup, de la Harpe 1992, "The numerical radius of a nilpotent operator"."""
    found = sb.transient_growth(step, {"W": np.diag(np.ones(size - 1), 1)}, steps=size + 2)
    assert found.numerical_radius == pytest.approx(np.cos(np.pi / (size + 1)), rel=1.3e-3)
    assert found.numerical_radius <= np.cos(np.pi / (size + 1)) + 1e-12
    assert found.henrici == pytest.approx(1)
    assert np.exp(found.log_growth) == pytest.approx(np.where(found.lags < size, 1.0, 0.0))
    assert found.peak == pytest.approx(1) and found.peak_lag == 0


def test_numerical_radius_is_the_largest_of_all_unit_vectors() -> None:
    random = np.random.default_rng(5)
    W = random.standard_normal((3, 3))
    vectors = random.standard_normal((200_000, 3)) + 1j * random.standard_normal((200_000, 3))
    tried = np.abs(np.einsum("vi,ij,vj->v", vectors.conj(), W, vectors)) / (np.abs(vectors) ** 2).sum(-1)
    found = sb.transient_growth(step, {"W": W}, steps=4).numerical_radius
    assert tried.max() * (1 - 1.3e-3) <= found <= tried.max() * 1.02


def test_growth_of_a_damped_shift_lies_between_the_bounds_of_kreiss() -> None:
    """K ≤ sup ‖Wᵏ‖ ≤ e n K, with K = sup (|z| − 1) ‖(z − W)⁻¹‖ over |z| > 1; Trefethen, Embree 2005, equation 18.2."""
    size = 6
    W = 0.7 * np.eye(size) + np.diag(np.ones(size - 1), 1)
    found = sb.transient_growth(step, {"W": W}, lags=range(1, 60), steps=60)
    powers = [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in range(1, 60)]
    assert found.log_growth == pytest.approx(np.log(powers), abs=1e-9)
    radii = 1 + np.geomspace(1e-3, 10, 400)
    kreiss = max((r - 1) / np.linalg.svd(r * np.eye(size) - W, compute_uv=False)[-1] for r in radii)
    assert kreiss <= found.peak <= np.e * size * kreiss


def test_report_finds_the_lag_of_the_peak_between_its_lags() -> None:
    W = 0.9 * np.eye(2) + np.array([[0.0, 3.0], [0.0, 0.0]])
    powers = [np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in range(1, 200)]
    report = sb.analyze(step, {"W": W}, steps=200)
    assert abs(report.transient.peak_lag - 1 - int(np.argmax(powers))) <= 1
    assert report.transient.peak == pytest.approx(max(powers), rel=5e-3)
    said = f"Gradients first grow up to {report.transient.peak:.3g} times, until lag {report.transient.peak_lag}"
    assert " ".join(report.text().split()).count(said) == 1


def test_isometry_has_no_peak() -> None:
    W = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    assert sb.transient_growth(step, {"W": W}, steps=200).peak_lag == 0


def test_growth_beyond_the_range_of_numbers_is_infinite_without_a_warning(recwarn: Any) -> None:
    """e^(1.16 · 720) is no number; the lags have its logarithm."""

    @sb.cell
    def unstable(h: State["n"], a: Param):
        return a * h * (1 - h)

    found = sb.analyze(unstable, {"a": np.array(3.2)}, None, {"h": np.zeros((1, 1))}, steps=800)
    assert np.isinf(found.transient.peak) and np.isfinite(found.transient.log_growth).all()
    assert found.text() and not [w for w in recwarn if w.category is RuntimeWarning]
