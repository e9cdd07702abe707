"""Lyapunov spectra: values of the literature, laws that hold for every cell, honest errors."""

import math
from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

from symbptt.errors import ArgumentError
from symbptt.stability.runs import trajectory
from symbptt.stability.spectra import lyapunov
from symbptt.stability.spectra.block_means import t_quantile
from symbptt.stability.spectra.graded_qr import carried
from symbptt.stability.spectra.lyapunov import kaplan_yorke, lyapunov_spectrum, march
from symbptt.zoo import CELLS, lstm, rnn
from tests.cells import odd
from tests.dynamics import (
    cat_map,
    henon,
    linear_map,
    logistic,
    lorenz,
    lorenz_euler,
    random_products,
    relu_network,
    tanh_network,
    van_der_pol,
)
from tests.oracle import draw
from tests.test_zoo import sizes_of

RANDOM = np.random.default_rng(0)
LN_SIGMOID_1 = -math.log1p(math.exp(-1))


def within(value: float, expected: float, spectrum: Any, i: int, errors: float = 4.0, scale: float = 1.0) -> bool:
    return bool(abs(value - expected) <= errors * spectrum.error[i] * scale)


# ---- values of the literature -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps, tolerance", [(20_000, 5e-3), pytest.param(200_000, 1e-3, marks=pytest.mark.long)])
def test_logistic_map_has_exponent_ln_2(steps: int, tolerance: float) -> None:
    found = lyapunov_spectrum(logistic, {}, None, {"x": np.array(0.3)}, steps=steps)
    assert abs(found.exponents[0] - math.log(2)) <= tolerance


def test_henon_map_matches_the_published_spectrum() -> None:
    found = lyapunov_spectrum(henon, {}, None, {"x": np.array(0.3), "y": np.array(0.1)}, steps=20_000)
    tolerance = 5 * 0.383 / math.sqrt(found.steps)
    assert np.abs(found.exponents - [0.41922, -1.62319]).max() <= tolerance
    assert abs(found.exponents.sum() - math.log(0.3)) <= 1e-10
    assert abs(found.kaplan_yorke - 1.25827) <= tolerance
    assert found.entropy == found.exponents[0]
    assert found.converged


def test_cat_map_has_the_logarithm_of_its_eigenvalues() -> None:
    found = lyapunov_spectrum(
        cat_map, {"A": np.array([[2.0, 1], [1, 1]])}, None, {"s": np.array([0.3, 0.1])}, steps=1000
    )
    assert np.abs(found.exponents - [0.9624236501, -0.9624236501]).max() <= 1e-9


@pytest.mark.parametrize("steps", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("cell, largest, least", [(lorenz, 0.9056, -14.5722), (lorenz_euler, 1.0406, -14.9906)])
@pytest.mark.thinned(3, 3)
def test_lorenz_system_matches_the_spectrum_of_its_own_map(cell: Any, largest: float, least: float, steps: int) -> None:
    found = lyapunov_spectrum(cell, {}, None, {"s": np.array([1.0, 1, 20])}, steps=steps)
    for i, expected in enumerate((largest, 0.0, least)):
        assert within(found.exponents[i] / 0.01, expected, found, i, scale=100)
    if cell is lorenz:
        assert abs(found.exponents.sum() / 0.01 + 41 / 3) <= 1e-3


@pytest.mark.parametrize("steps", [20_000])
def test_linear_map_has_the_moduli_of_its_eigenvalues(steps: int) -> None:
    W = np.random.default_rng(0).standard_normal((6, 6)) / math.sqrt(6)
    found = lyapunov_spectrum(linear_map, {"W": W}, None, {"h": np.zeros(6)}, steps=steps)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(W))))[::-1]
    assert np.abs(found.exponents - expected).max() <= 1e-4


def test_orthogonal_map_has_exponents_zero() -> None:
    W = np.linalg.qr(RANDOM.standard_normal((12, 12)))[0]
    found = lyapunov_spectrum(linear_map, {"W": W}, None, {"h": RANDOM.standard_normal(12)}, steps=600)
    assert np.abs(found.exponents).max() <= 1e-12
    assert found.converged and found.kaplan_yorke == 12


@pytest.mark.parametrize("size, steps", [(100, 500), pytest.param(400, 1500, marks=pytest.mark.long)])
def test_chaotic_network_matches_mean_field(size: int, steps: int) -> None:
    random = np.random.default_rng(1)
    J = 3 / math.sqrt(size) * random.standard_normal((size, size))
    found = lyapunov_spectrum(tanh_network, {"J": J}, None, {"h": random.standard_normal(size)}, steps=steps, count=3)
    assert abs(found.exponents[0] - 0.310249) <= 1.2 * 3 / size + 3 * found.error[0]


def test_lstm_without_recurrent_weights_forgets_at_the_rate_of_its_gate() -> None:
    params = lstm.init({"m": 2, "n": 5}, bf=1.0)
    params = {name: 0 * value if name.startswith("U") else value for name, value in params.items()}
    found = lyapunov_spectrum(lstm, params | {"Wf": 0 * params["Wf"]}, {"x": RANDOM.standard_normal((300, 2))})
    assert np.abs(found.exponents[:5] - LN_SIGMOID_1).max() <= 1e-3  # what h reads of c at the two ends of the run
    assert np.isneginf(found.exponents[5:]).all()
    assert found.converged and found.sum_rule_defect == 0


@pytest.mark.parametrize("bias, horizon", [(0.0, 1.4427), (1.0, 3.1922), (3.0, 20.5815)])
def test_forget_bias_sets_the_horizon(bias: float, horizon: float) -> None:
    params = lstm.init({"m": 1, "n": 2}, bf=bias)
    params = {name: 0 * value if name[0] in "UW" else value for name, value in params.items()}
    found = lyapunov_spectrum(lstm, params, {"x": np.zeros((100, 1))})
    assert abs(-1 / found.exponents[0] - horizon) <= 1e-4


# ---- laws ---------------------------------------------------------------------------------------------------------


def test_limit_cycle_keeps_its_zero_exponent() -> None:
    found = lyapunov_spectrum(van_der_pol, {}, None, {"s": np.array([2.0, 0])}, steps=12_000)
    assert abs(found.exponents[0]) <= 1e-3
    assert found.exponents[1] < -0.05


def test_transposed_jacobians_forward_in_time_lose_the_zero_exponent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake of a published package: it must not pass the test of the limit cycle."""

    def transposed(run: Any) -> Iterator[Any]:
        for first, jacobians in trajectory.linearised(run):
            yield first, np.swapaxes(jacobians, -1, -2)

    monkeypatch.setattr(lyapunov, "linearised", transposed)
    found = lyapunov_spectrum(van_der_pol, {}, None, {"s": np.array([2.0, 0])}, steps=12_000)
    assert abs(found.exponents[0]) > 1e-2


def test_sum_of_exponents_is_the_mean_log_determinant() -> None:
    params, inputs, state = draw(odd, 60, 2, {"m": 2, "n": 3, "v": 4})
    found = lyapunov_spectrum(odd, params, inputs, state)
    assert found.sum_rule_defect <= 1e-10


def test_saturated_units_keep_the_sum_rule() -> None:
    """Rows of 1e-40: plain QR would lose hundreds of nats; columns of 1e-40 likewise."""
    random = np.random.default_rng(0)
    scales = np.exp(random.uniform(-90, 0, (40, 1, 12)))
    weights, frame = random.standard_normal((40, 1, 12, 12)), np.linalg.qr(random.standard_normal((1, 12, 12)))[0]
    for graded in (scales[..., None] * weights, scales[:, :, None] * weights):
        expected = np.linalg.slogdet(weights)[1] + np.log(scales).sum(-1)
        assert np.abs(march(graded, frame)[1].sum(-1) - expected).max() <= 1e-10
        plain = np.linalg.qr(graded @ frame)[1].diagonal(0, -2, -1)
        assert np.abs(np.log(np.abs(plain)).sum(-1) - expected).max() >= 1


def test_dead_units_lose_their_directions() -> None:
    random = np.random.default_rng(2)
    params = {"J": 0.5 * random.standard_normal((8, 8)), "b": np.array([1.0, 1, 1, 1, 1, -50, -50, -50])}
    found = lyapunov_spectrum(relu_network, params, None, {"h": random.standard_normal(8) ** 2}, steps=200)
    assert np.isneginf(found.exponents[-3:]).all()
    assert found.sum_rule_defect == 0 and found.kaplan_yorke <= 5


def test_block_of_steps_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    params, inputs, state = draw(odd, 50, 3, {"m": 2, "n": 2, "v": 4})
    whole = lyapunov_spectrum(odd, params, inputs, state)
    monkeypatch.setattr(trajectory, "MEMORY", 1)
    found = lyapunov_spectrum(odd, params, inputs, state)
    np.testing.assert_allclose(found.exponents, whole.exponents, atol=1e-12)
    np.testing.assert_allclose(found.history, whole.history, atol=1e-12)


def test_largest_exponents_are_those_of_the_whole_spectrum() -> None:
    J = 1.5 / math.sqrt(20) * np.random.default_rng(0).standard_normal((20, 20))
    state = {"h": np.random.default_rng(1).standard_normal((2, 20))}
    whole = lyapunov_spectrum(tanh_network, {"J": J}, None, state, steps=400)
    found = lyapunov_spectrum(tanh_network, {"J": J}, None, state, steps=400, count=4)
    np.testing.assert_allclose(found.exponents, whole.exponents[:4], atol=1e-2)
    assert math.isnan(found.sum_rule_defect)


def test_batch_is_the_mean_of_its_samples() -> None:
    params = rnn.init({"m": 2, "n": 4}, seed=1)
    x = np.random.default_rng(3).standard_normal((300, 3, 2))
    together = lyapunov_spectrum(rnn, params, {"x": x})
    alone = np.array([lyapunov_spectrum(rnn, params, {"x": x[:, b]}).exponents for b in range(3)])
    np.testing.assert_allclose(together.exponents, alone.mean(0), atol=5e-3)
    np.testing.assert_allclose(together.between, alone.std(0, ddof=1), atol=5e-3)
    assert together.between.shape == (4,) and lyapunov_spectrum(rnn, params, {"x": x[:, 0]}).between is None


def test_single_precision_agrees_with_double() -> None:
    params = rnn.init({"m": 2, "n": 4})
    x = np.random.default_rng(3).standard_normal((200, 2))
    single = lyapunov_spectrum(rnn, {k: v.astype(np.float32) for k, v in params.items()}, {"x": x.astype(np.float32)})
    np.testing.assert_allclose(single.exponents, lyapunov_spectrum(rnn, params, {"x": x}).exponents, atol=1e-4)


def test_history_ends_at_the_exponents() -> None:
    found = lyapunov_spectrum(henon, {}, None, {"x": np.array(0.3), "y": np.array(0.1)}, steps=5000)
    assert len(found.history) == 1000 and found.history_steps[-1] == found.steps == 5000 - found.transient
    np.testing.assert_allclose(found.history[-1], found.exponents, atol=1e-12)


# ---- windows of time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps, batch", [(1, 1), (2, 1), (3, 2), (50, 2), (333, 3)])
def test_local_exponents_average_to_the_exponents(steps: int, batch: int) -> None:
    x = np.random.default_rng(0).standard_normal((steps, batch, 2))
    found = lyapunov_spectrum(lstm, lstm.init({"m": 2, "n": 3}), {"x": x})
    local, lengths = found.local, np.diff(found.local.edges)
    assert local.exponents.shape == (len(lengths), batch, 6) and len(lengths) == min(20, found.steps)
    assert (local.edges[0], local.edges[-1], local.length) == (found.transient, steps, lengths.min())
    weighted = (local.exponents * lengths[:, None, None]).sum(0) / lengths.sum()
    np.testing.assert_allclose(weighted, found.samples, rtol=1e-12)
    assert (local.low <= local.high).all() and np.isnan(local.spread).all() == (len(lengths) * batch < 2)


def test_local_exponents_are_those_of_the_steps_of_their_window() -> None:
    """Of a diagonal map that grows and shrinks in turn, each window of 10 steps has its own exponents."""
    rates = np.repeat(np.resize([0.5, -0.5], 20), 10)
    A = np.exp(rates)[:, None, None, None] * np.eye(2)
    found = lyapunov_spectrum(random_products, {}, {"A": A}, {"h": np.zeros((1, 2))}, transient=0)
    np.testing.assert_allclose(found.local.exponents[:, 0, 0], np.resize([0.5, -0.5], 20), atol=1e-12)
    assert found.exponents == pytest.approx([0, 0], abs=1e-12)
    assert found.local.spread == pytest.approx(np.std(np.resize([0.5, -0.5], 20), ddof=1) * np.ones(2))
    assert (found.local.low, found.local.high) == (pytest.approx([-0.5, -0.5]), pytest.approx([0.5, 0.5]))


def test_band_of_local_exponents_holds_nine_tenths() -> None:
    A = np.exp(0.3 * np.random.default_rng(0).standard_normal((4000, 5, 1, 1)))
    local = lyapunov_spectrum(random_products, {}, {"A": A}, {"h": np.zeros((5, 1))}).local
    inside = (local.exponents >= local.low) & (local.exponents <= local.high)
    assert inside.mean() == pytest.approx(0.9, abs=0.03)
    assert local.spread[0] == pytest.approx(0.3 / math.sqrt(local.length), rel=0.2)


def test_direction_that_is_lost_in_one_window_is_lost_there_alone() -> None:
    A = np.broadcast_to(np.diag([0.9, 0.5]), (40, 1, 2, 2)).copy()
    A[25] = np.diag([0.9, 0.0])
    local = lyapunov_spectrum(random_products, {}, {"A": A}, {"h": np.zeros((1, 2))}, transient=0).local
    assert np.isneginf(local.exponents[:, 0, 1]).sum() == 1 and np.isfinite(local.high).all()
    assert np.isnan(local.spread[1]) and np.isfinite(local.spread[0])


# ---- errors -------------------------------------------------------------------------------------------------------


def gaussian_exponents(size: int) -> Any:
    """Exponents of products of matrices of independent standard normals.

    Source: Newman 1986, "The distribution of Lyapunov exponents: exact results for random matrices", equation 1.
    """
    return np.array([(math.log(2) + float(mpmath.digamma((size - i) / 2))) / 2 for i in range(size)])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.thinned(2)
def test_errors_are_calibrated_on_gaussian_products(batch: int) -> None:
    """Errors in units of the stated one: a Student variable of 19 degrees has an rms of 1.06, under errors that are a little
    wide, for series that are correlated or skewed, less."""
    size, deviations, covered = 3, [], []
    for seed in range(60):
        A = np.random.default_rng(seed).standard_normal((240, batch, size, size))
        found = lyapunov_spectrum(
            random_products, {}, {"A": A}, {"h": np.zeros((batch, size))}, transient=40, seed=seed
        )
        deviations.append((found.exponents - gaussian_exponents(size)) / found.error)
        covered.append(np.abs(found.exponents - gaussian_exponents(size)) <= found.half_width)
    assert 0.8 <= np.sqrt(np.mean(np.square(deviations))) <= 1.2
    assert 0.90 <= np.mean(covered) <= 0.99


def test_drift_is_not_called_converged() -> None:
    growth = np.linspace(0.5, 1.5, 400)[:, None, None] * np.eye(2)
    noise = 0.01 * np.random.default_rng(0).standard_normal((400, 2, 2))
    assert not lyapunov_spectrum(random_products, {}, {"A": growth + noise}, {"h": np.zeros(2)}).converged
    assert lyapunov_spectrum(random_products, {}, {"A": np.eye(2) + noise}, {"h": np.zeros(2)}).converged


@pytest.mark.parametrize("p, freedom, expected", [(0.975, 9, 2.26216), (0.975, 19, 2.09302), (0.995, 19, 2.86093)])
def test_quantiles_of_student(p: float, freedom: int, expected: float) -> None:
    assert abs(t_quantile(p, freedom) - expected) <= 2e-3


def test_kaplan_yorke_dimension_counts_what_keeps_volume() -> None:
    assert kaplan_yorke(np.array([0.9056, 0.0, -14.5723])) == pytest.approx(2.06215, abs=1e-5)
    assert kaplan_yorke(np.array([-0.1, -1.0])) == 0
    assert kaplan_yorke(np.array([0.5, -0.1])) == 2
    assert math.isnan(kaplan_yorke(np.array([0.5, -0.1]), size=4))
    assert kaplan_yorke(np.array([0.5, -np.inf])) == 1


def test_carried_frame_is_orthonormal_and_exact() -> None:
    random = np.random.default_rng(0)
    jacobian = random.standard_normal((2, 5, 5)) * np.exp(random.uniform(-20, 0, (2, 5, 1)))
    frame = np.linalg.qr(random.standard_normal((2, 5, 5)))[0]
    q, r = carried(jacobian, frame)
    np.testing.assert_allclose(np.swapaxes(q, -1, -2) @ q, np.broadcast_to(np.eye(5), (2, 5, 5)), atol=1e-14)
    np.testing.assert_allclose(q @ r, jacobian @ frame, atol=1e-14)
    np.testing.assert_array_equal(np.tril(r, -1), 0)


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "0 steps"),
        ({"steps": 10, "count": 3}, "count=3 of 2"),
        ({"steps": 10, "transient": 10}, "transient=10 of 10"),
    ],
)
def test_impossible_counts_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        lyapunov_spectrum(henon, {}, **options)
    assert len(str(caught.value).splitlines()) <= 3


def test_more_steps_than_inputs_are_refused() -> None:
    with pytest.raises(ArgumentError, match="9 is given, the inputs have T = 5"):
        lyapunov_spectrum(rnn, rnn.init({"m": 1, "n": 2}), {"x": np.zeros((5, 1))}, steps=9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_state_that_leaves_the_range_is_named_with_its_step() -> None:
    with pytest.raises(ArgumentError, match="the state 'x' is not finite after step"):
        lyapunov_spectrum(henon, {}, None, {"x": np.array(3.0), "y": np.array(0.0)}, steps=50)


@pytest.mark.parametrize("cell", CELLS.values(), ids=list(CELLS))
@pytest.mark.thinned(13, 7)
def test_every_cell_of_the_zoo_keeps_the_sum_rule(cell: Any) -> None:
    sizes = sizes_of(cell)
    _, inputs, state = draw(cell, 30, 2, sizes, scale=0.5)
    found = lyapunov_spectrum(cell, cell.init(sizes), inputs, state)
    assert found.sum_rule_defect <= 1e-10
    assert (np.diff(found.exponents[np.isfinite(found.exponents)]) <= 0).all()
