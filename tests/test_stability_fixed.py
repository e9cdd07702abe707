"""Fixed points: closed forms, bifurcations, saddles, and points that must not be reported."""

import math
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.errors import ArgumentError
from symbptt.stability.fixed import fixed_points, kantorovich
from symbptt.zoo import gru, lstm, second_order
from tests.dynamics import sigmoid_unit, tanh_network, tanh_unit
from tests.oracle import one_step

SEEDS = {"x": np.linspace(-4, 4, 40)}


def test_bistable_unit_has_its_published_points() -> None:
    found = fixed_points(tanh_unit, {}).points
    order = np.argsort(found.states[:, 0])
    np.testing.assert_allclose(found.states[order, 0], [-0.9575040241, 0, 0.9575040241], atol=1e-9)
    np.testing.assert_allclose(found.eigenvalues[order, 0], [0.1663720878, 2, 0.1663720878], atol=1e-9)
    assert [found.stability[i] for i in order] == ["stable", "unstable", "stable"]
    assert list(found.unstable[order]) == [0, 1, 0]
    assert found.residual.max() <= 1e-12


@pytest.mark.parametrize("bias, inside", [(-2.655610, 1), (-2.344390, -1)])
def test_saddle_nodes_lie_where_they_should(bias: float, inside: int) -> None:
    """Three fixed points on one side of the bifurcation, one and a ghost on the other."""
    with_pair = fixed_points(sigmoid_unit, {"b": np.array(bias + inside * 1e-5)}, None, SEEDS)
    without = fixed_points(sigmoid_unit, {"b": np.array(bias - inside * 1e-5)}, None, SEEDS)
    assert len(with_pair.points) == 3 and len(with_pair.slow) == 0
    assert len(without.points) == 1 and len(without.slow) == 1
    assert without.slow.residual[0] < 2e-5
    assert abs(abs(without.slow.states[0, 0]) - math.log((3 + math.sqrt(5)) / 2)) < 1e-3


def test_saddles_of_a_network_are_found_from_its_trajectories() -> None:
    J = 1.8 / math.sqrt(24) * np.random.default_rng(0).standard_normal((24, 24))
    found = fixed_points(tanh_network, {"J": J})
    assert len(found.points) >= 3 and np.abs(found.points.states).max(-1).min() < 1e-6
    for state in found.points.states:
        assert any(np.abs(other + state).max() < 1e-5 for other in found.points.states), "points come in pairs ±s"
    assert {"stable", "unstable"} == set(found.points.stability)
    assert (np.diff(found.points.residual) >= 0).all()


@pytest.mark.parametrize("cell", [lstm, gru])
def test_points_are_fixed_for_the_plain_function(cell: Any) -> None:
    params = {k: 2 * v for k, v in cell.init({"m": 2, "n": 4}, seed=3).items()}
    x = np.array([0.5, -1.0])
    run = sb.compile(cell).forward(
        params, {"x": np.tile(x, (60, 3, 1))}, {"h": np.random.default_rng(0).standard_normal((3, 4))}
    )
    found = fixed_points(cell, params, {"x": x}, run.states).points
    assert len(found) >= 1 and found.stability[0] == "stable"
    for whole in found.states:
        state = {name: whole[part] for name, part in found.names.items()}
        after = one_step(cell, {**params, "x": x, **state})
        for name, value in state.items():
            np.testing.assert_allclose(after[name], value, atol=1e-10)


def test_saturation_far_away_is_not_a_fixed_point() -> None:
    """Far from all trajectories a gate of a GRU is closed to 1e-10, and holds any state."""
    params = {k: 3 * v for k, v in gru.init({"m": 2, "n": 6}).items()}
    run = sb.compile(gru).forward(params, {"x": np.random.default_rng(0).standard_normal((50, 3, 2))})
    found = fixed_points(gru, params, {"x": np.zeros(2)}, run.states)
    assert 1 <= len(found.points) <= 10
    assert np.abs(found.points.states).max() <= 1
    assert found.lost > 0


def test_cells_of_symbols_take_a_symbol() -> None:
    params = {k: 0.5 * v for k, v in second_order.init({"v": 3, "n": 4}).items()}
    found = fixed_points(second_order, params, {"x": np.array(2)}).points
    assert len(found) == 1 and found.stability == ("stable",)


def test_same_seed_gives_the_same_points() -> None:
    J = 1.5 / 4 * np.random.default_rng(0).standard_normal((16, 16))
    first, second = (fixed_points(tanh_network, {"J": J}, seed=4).points.states for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_single_precision_is_solved_in_double() -> None:
    J = (0.5 / 4 * np.random.default_rng(0).standard_normal((16, 16))).astype(np.float32)
    found = fixed_points(tanh_network, {"J": J}).points
    assert found.states.dtype == np.float64 and len(found) == 1 and found.residual[0] <= 1e-12


# ---- certificates -------------------------------------------------------------------------------------------------


def test_certificate_encloses_the_point() -> None:
    """|tanh''| ≤ 4 / (3√3), so that g² 4 / (3√3) is a Lipschitz constant of the derivative of tanh(g x)."""
    bound = 4 * 4 / (3 * math.sqrt(3))
    near = kantorovich(tanh_unit, {}, None, np.array([0.95]), lipschitz=bound)
    assert near.holds and near.proven
    assert abs(0.95 - 0.9575040241) <= near.existence <= 0.02 < near.uniqueness
    assert abs(0.95 - 0.0) > near.uniqueness
    assert not kantorovich(tanh_unit, {}, None, np.array([0.5]), lipschitz=bound).holds


def test_measured_certificate_says_that_it_is_no_proof() -> None:
    found = kantorovich(tanh_unit, {}, None, np.array([0.9575040241]))
    assert found.holds and not found.proven


def test_certificate_says_nothing_beyond_where_its_constant_is_known() -> None:
    """A piecewise linear cell has a measured constant of 0 within its piece, and another fixed point beyond it."""

    @sb.cell
    def pieces(h: sb.State["n"]):
        return np.where(h > 1, 2 * h - 1, 0.5 * h)

    found = kantorovich(pieces, {}, None, {"h": np.zeros(1)})
    assert found.holds and found.lipschitz == 0 and found.uniqueness == found.radius == 0.1
    assert not kantorovich(pieces, {}, None, {"h": np.full(1, 0.4)}).holds  # its fixed point is 0.4 away
    bound = 4 * 4 / (3 * math.sqrt(3))
    whole = kantorovich(tanh_unit, {}, None, {"x": np.array(0.95)}, lipschitz=bound)
    assert whole == kantorovich(tanh_unit, {}, None, np.array([0.95]), lipschitz=bound) and np.isinf(whole.radius)
    assert not kantorovich(tanh_unit, {}, None, np.array([0.95]), lipschitz=bound, radius=1e-3).holds


# ---- bad input ----------------------------------------------------------------------------------------------------


def test_unknown_and_missing_states_are_refused() -> None:
    params = lstm.init({"m": 2, "n": 3})
    with pytest.raises(ArgumentError, match="lstm has no state 'hh'"):
        fixed_points(lstm, params, {"x": np.zeros(2)}, {"hh": np.zeros((4, 3))})
    with pytest.raises(ArgumentError, match="the state 'c' is missing"):
        fixed_points(lstm, params, {"x": np.zeros(2)}, {"h": np.zeros((4, 3))})


def test_missing_inputs_are_refused() -> None:
    with pytest.raises(ArgumentError, match="'x' is missing"):
        fixed_points(lstm, lstm.init({"m": 2, "n": 3}))
