"""Spectra of products of Jacobians against an independent computation of 400 digits, and by path."""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, State
from symbptt.errors import ArgumentError
from symbptt.stability.runs import trajectory
from symbptt.stability.runs.linear import linearize
from symbptt.stability.spectra import products as product
from symbptt.stability.spectra.graded_qr import log_singular_values
from symbptt.stability.spectra.products import product_spectrum
from symbptt.zoo import gru, lstm, rnn
from tests.dynamics import linear_map, random_products, relu_network


def log_svd(matrix: Any) -> Any:
    """Logarithms of singular values, descending, by mpmath at 400 digits."""
    values = sorted(mpmath.svd_r(matrix, compute_uv=False), reverse=True)
    return np.array([float(mpmath.log(value)) if value else -math.inf for value in values])


def reference(jacobians: Any, lag: int) -> Any:
    with mpmath.workdps(400):
        result = mpmath.eye(jacobians.shape[-1])
        for step in jacobians[::-1][:lag]:
            result = result * mpmath.matrix(step.tolist())
        return log_svd(result)


CASES = {
    "lstm": (lstm, lstm.init({"m": 2, "n": 4}, seed=1)),
    "strong lstm": (lstm, {k: 4 * v for k, v in lstm.init({"m": 2, "n": 4}, seed=2).items()}),
    "gru": (gru, {k: 2 * v for k, v in gru.init({"m": 2, "n": 6}, seed=3).items()}),
    "chaotic rnn": (rnn, {k: 2 * v for k, v in rnn.init({"m": 2, "n": 6}, seed=4).items()}),
}


@pytest.mark.parametrize("case", CASES)
def test_spectrum_agrees_with_400_digits_at_lag_120(case: str) -> None:
    cell, params = CASES[case]
    x = np.random.default_rng(0).standard_normal((150, 2))
    found = product_spectrum(cell, params, {"x": x}, lags=[1, 7, 120])
    jacobians = linearize(cell, params, {"x": x}).jacobians[:, 0]
    for i, lag in enumerate(found.lags):
        np.testing.assert_allclose(found.log_singular_values[i], reference(jacobians, int(lag)), atol=1e-8, rtol=0)
    spread = np.ptp(found.log_singular_values[-1])
    assert 100 < spread < 800, "a naive product could do it, or 400 digits cannot"


@pytest.mark.parametrize("axis", [-1, -2])
def test_saturated_units_keep_their_digits(axis: int) -> None:
    """Rows or columns of every Jacobian that differ by 40 nats."""
    random = np.random.default_rng(0)
    scales = np.expand_dims(np.exp(random.uniform(-40, 0, (30, 5))), axis)
    A = scales * random.standard_normal((30, 5, 5))
    found = product_spectrum(random_products, {}, {"A": A}, lags=[30])
    np.testing.assert_allclose(found.log_singular_values[0], reference(A, 30), atol=1e-8, rtol=0)


def test_reversed_order_of_products_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted mistake: the first steps of the run instead of the last."""

    def forward(run: Any) -> Iterator[Any]:
        for first, jacobians in trajectory.linearised_backward(run):
            yield first, jacobians[::-1]

    monkeypatch.setattr(product, "linearised_backward", forward)
    A = np.random.default_rng(0).standard_normal((20, 3, 3))
    found = product_spectrum(random_products, {}, {"A": A}, lags=[10])
    assert np.abs(found.log_singular_values[0] - reference(A, 10)).max() > 1e-2


def test_orthogonal_map_is_an_isometry_at_any_lag() -> None:
    W = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    found = product_spectrum(linear_map, {"W": W}, None, {"h": np.ones(16)}, steps=500)
    assert np.abs(np.exp(found.log_singular_values) - 1).max() <= 1e-12
    assert found.isometry_defect.max() <= 1e-12
    assert (found.alive == 16).all()


def test_dead_directions_are_minus_infinity() -> None:
    params = {"J": 0.1 * np.random.default_rng(2).standard_normal((6, 6)), "b": np.array([4.0, 4, 4, 4, -50, -50])}
    found = product_spectrum(relu_network, params, None, {"h": np.ones(6)}, steps=30)
    assert np.isneginf(found.log_singular_values[:, 4:]).all()
    assert np.isfinite(found.log_singular_values[0, :4]).all()
    assert (found.alive <= 4).all() and np.isinf(found.isometry_defect).all()


def test_finite_time_rates_approach_the_exponents() -> None:
    W = np.diag([0.9, 0.5, 0.1]) + np.triu(np.random.default_rng(0).standard_normal((3, 3)), 1)
    found = product_spectrum(linear_map, {"W": W}, None, {"h": np.zeros(3)}, steps=2000, lags=[2000])
    np.testing.assert_allclose(found.rates[0], np.log([0.9, 0.5, 0.1]), atol=5e-3)


def test_batch_is_the_mean_of_its_samples() -> None:
    cell, params = CASES["gru"]
    x = np.random.default_rng(0).standard_normal((40, 3, 2))
    together = product_spectrum(cell, params, {"x": x}, lags=[5, 40])
    alone = np.array(
        [product_spectrum(cell, params, {"x": x[:, b]}, lags=[5, 40]).log_singular_values for b in range(3)]
    )
    np.testing.assert_allclose(together.log_singular_values, alone.mean(0), atol=1e-9)
    np.testing.assert_allclose(together.between, alone.std(0, ddof=1), atol=1e-9)


# ---- by path ------------------------------------------------------------------------------------------------------


def test_paths_of_an_lstm_without_recurrent_weights_stay_in_the_cell_state() -> None:
    params = lstm.init({"m": 2, "n": 3}, bf=1.0)
    params = {name: 0 * value if name.startswith("U") else value for name, value in params.items()}
    found = product_spectrum(lstm, params, {"x": np.random.default_rng(0).standard_normal((50, 2))}, lags=[1, 10, 50])
    np.testing.assert_allclose(found.paths.direct["c"], found.paths.blocks["c", "c"], rtol=1e-12)
    assert np.isneginf(found.paths.through["c"]).all()
    assert np.isneginf(found.paths.blocks["h", "h"]).all()


def test_paths_are_norms_of_blocks_of_the_product() -> None:
    cell, params = CASES["lstm"]
    x = np.random.default_rng(0).standard_normal((12, 2))
    found = product_spectrum(cell, params, {"x": x}, lags=[4, 12])
    J, c = linearize(cell, params, {"x": x}).jacobians[:, 0], slice(4, 8)
    for i, lag in enumerate((4, 12)):
        whole = np.linalg.multi_dot(J[::-1][:lag])
        own = np.linalg.multi_dot([step[c, c] for step in J[::-1][:lag]])
        assert found.paths.blocks["h", "c"][i] == pytest.approx(np.log(np.linalg.norm(whole[:4, c], 2)), abs=1e-10)
        assert found.paths.direct["c"][i] == pytest.approx(np.log(np.linalg.norm(own, 2)), abs=1e-10)
        assert found.paths.through["c"][i] == pytest.approx(np.log(np.linalg.norm(whole[c, c] - own, 2)), abs=1e-10)


# ---- the decomposition itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, span", [(1, 0), (2, 0), (5, 3), (8, 40), (8, 700), (12, 16)])
def test_graded_singular_values_agree_with_400_digits(size: int, span: float) -> None:
    random = np.random.default_rng(size)
    s, u = random.uniform(-span, 0, size), random.standard_normal((size, size))
    with mpmath.workdps(400):
        rows = [
            [mpmath.exp(mpmath.mpf(float(a))) * mpmath.mpf(float(x)) for x in row] for a, row in zip(s, u, strict=True)
        ]
        expected = log_svd(mpmath.matrix(rows))
    np.testing.assert_allclose(log_singular_values(s, u), expected, atol=1e-10, rtol=0)


def test_near_isometries_do_not_stall() -> None:
    random = np.random.default_rng(0)
    u = np.linalg.qr(random.standard_normal((40, 40)))[0] + 1e-3 * random.standard_normal((40, 40))
    expected = np.log(np.linalg.svd(u, compute_uv=False))
    np.testing.assert_allclose(log_singular_values(np.zeros(40), u), expected, atol=1e-12)


def test_zero_rows_are_minus_infinity() -> None:
    u = np.random.default_rng(0).standard_normal((5, 5))
    u[2] = 0
    found = log_singular_values([0.0, -3, 1, -np.inf, 2], u)
    assert np.isfinite(found[:3]).all() and np.isneginf(found[3:]).all()
    assert np.isneginf(log_singular_values(np.zeros(3), np.zeros((3, 3)))).all()


@pytest.mark.parametrize("lags", [[0], [51], []])
def test_lags_outside_the_run_are_refused(lags: list[int]) -> None:
    with pytest.raises(ArgumentError, match="give lags from 1 to 50"):
        product_spectrum(linear_map, {"W": np.eye(2)}, None, {"h": np.zeros(2)}, lags=lags, steps=50)


@sb.cell
def switching(x: Input["n n"], h: State["n"]):
    return x @ h


def of_product(steps):
    """The logarithms of singular values of a product by 200 digits, and as measured, with their floor."""
    x = np.array(steps, np.float64)
    n = x.shape[-1]
    found = sb.product_spectrum(switching, {}, {"x": x[:, None]}, {"h": np.ones((1, n))}, [len(x)])
    with mpmath.workdps(200):
        whole = mpmath.eye(n)
        for step in x:
            whole = mpmath.matrix(step.tolist()) * whole
        exact = [
            float(mpmath.log(v)) if v > mpmath.mpf(10) ** -150 else -np.inf
            for v in mpmath.svd_r(whole, compute_uv=False)
        ]
    return np.array(exact), found.log_singular_values[0], float(found.floor[0])


PROJECTION, TINY = np.diag([0.0, 1.0, 1.0]), np.diag([1.0, 1e-20, 1e-30])


@pytest.mark.parametrize(
    "steps",
    [
        [TINY, PROJECTION],
        [TINY, np.array([[0, 1.0, 2], [0, 1.0, -1], [0, 2, 1.0]])],
        [np.diag([1.0, 1e-20, 1e-49]), np.array([[1.0, 1, 2], [2, 1, -1], [3, 2, 1]])],
        [PROJECTION, TINY],
        [TINY, np.array([[1.0, 1, 2], [2, 1, -1], [3, 2, 1]]), np.diag([0.0, 1, 1])],
    ],
)
def test_what_an_annihilated_direction_hides_is_under_the_floor(steps):
    exact, found, floor = of_product(steps)
    known = found > floor
    assert np.allclose(found[known], exact[known], rtol=0, atol=1e-6)
    assert (exact[~known] <= floor + 1).all() and np.isfinite(floor)


def test_no_floor_where_no_direction_is_lost():
    random = np.random.default_rng(0)
    exact, found, floor = of_product([random.standard_normal((3, 3)) @ TINY for _ in range(3)])
    assert floor == -np.inf and np.allclose(found, exact, rtol=0, atol=1e-9)


def test_planted_floor_without_ghosts_is_seen(monkeypatch):
    monkeypatch.setattr(product, "ROUNDED", -np.inf)
    exact, found, floor = of_product([TINY, PROJECTION])
    assert floor == -np.inf and not np.allclose(found[0], exact[0], atol=1)
