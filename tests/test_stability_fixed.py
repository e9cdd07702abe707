"""Fixed points: closed forms, bifurcations, saddles, and points that must not be reported."""

import math
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt.errors import ArgumentError
from symbptt.stability.algebra import softmax
from symbptt.stability.dynamics import curvature
from symbptt.stability.dynamics.curvature import Curvature
from symbptt.stability.dynamics.fixed_points import fixed_points
from symbptt.stability.dynamics.kantorovich import kantorovich
from symbptt.zoo import gru, lem, lstm, mgu, second_order
from tests.dynamics import sigmoid_unit, tanh_network, tanh_unit
from tests.oracle import one_step

SEEDS = {"x": np.linspace(-4, 4, 40)}
HENON = [[(-0.7 + s * math.sqrt(0.49 + 5.6)) / 2.8, 0.3 * (-0.7 + s * math.sqrt(0.49 + 5.6)) / 2.8] for s in (1, -1)]
"""x = 1 − a x² + b x for a = 1.4, b = 0.3, and y = b x."""
spike = sb.function("kantorovich_spike", lambda v: sp.Piecewise((1, v > 0), (0, True)), lambda v: 1 / (1 + v**2))


@sb.cell
def logistic(x: sb.State, r: sb.Param):
    return r * x * (1 - x)


@sb.cell
def henon(x: sb.State, y: sb.State, a: sb.Param, b: sb.Param):
    return 1 - a * x**2 + y, b * x


@sb.cell
def pieces(h: sb.State):
    return np.where(h > 1, 2 * h - 1, 0.5 * h)


@sb.cell
def rings(x: sb.State):
    """Its fixed points are the multiples of π/2."""
    return x + 0.3 * np.sin(2 * x)


@sb.cell
def surrogate_unit(x: sb.State):
    return 0.5 * x + 0.1 * spike(x - 2)


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


# The other zero of each is known by hand: a certificate that reaches it is false.
NEIGHBOURS = [
    (tanh_unit, {}, [0.9575040240772687], [[0.0]]),
    (logistic, {"r": np.array(4.0)}, [0.75], [[0.0]]),
    (logistic, {"r": np.array(4.0)}, [0.0], [[0.75]]),
    (henon, {"a": np.array(1.4), "b": np.array(0.3)}, HENON[0], [HENON[1]]),
    (henon, {"a": np.array(1.4), "b": np.array(0.3)}, HENON[1], [HENON[0]]),
    (pieces, {}, [0.0], [[1.0]]),
    (rings, {}, [0.0], [[math.pi / 2], [-math.pi / 2]]),
]


@pytest.mark.parametrize("cell, params, point, others", NEIGHBOURS)
def test_uniqueness_ends_before_the_next_fixed_point(cell: Any, params: Any, point: Any, others: Any) -> None:
    found = kantorovich(cell, params, None, np.array(point))
    assert found.holds and found.source == "derived" and found.existence < 1e-12
    nearest = min(np.linalg.norm(np.subtract(other, point)) for other in others)
    assert 0.3 * nearest < found.uniqueness <= nearest


def test_logistic_certificate_is_sharp() -> None:
    """J = 4 − 8 x and K = 8: with β = 1/3 no other fixed point within 2/(β K) = 3/4, where 0 is one."""
    found = kantorovich(logistic, {"r": np.array(4.0)}, None, {"x": np.array(0.75)})
    assert found.lipschitz == pytest.approx(8) and found.beta == pytest.approx(1 / 3) and np.isinf(found.radius)
    assert found.uniqueness == pytest.approx(0.75)
    a, b = 1.4, 0.3
    assert kantorovich(henon, {"a": np.array(a), "b": np.array(b)}, None, np.zeros(2)).lipschitz == pytest.approx(2 * a)


@pytest.mark.parametrize("radius", [0.05, 0.5, np.inf])
@pytest.mark.thinned(2)
def test_derived_constant_holds_where_the_jacobian_is_measured(radius: float) -> None:
    """Pairs in the ball, the Jacobian of the plain function by complex steps: none changes faster than K."""
    random, params = np.random.default_rng(0), gru.init({"m": 2, "n": 4}, seed=1)
    x, point = np.array([0.5, -1.0]), random.uniform(-1, 1, 4)
    K = kantorovich(gru, params, {"x": x}, point, radius=min(radius, 3.0)).lipschitz

    def jacobian(h: Any) -> Any:
        steps = [gru(x=x, h=h + 1e-20j * e, **params).imag / 1e-20 for e in np.eye(4)]
        return np.stack(steps, -1)

    for _ in range(200):
        ends = [point + min(radius, 3.0) * random.uniform(-0.5, 0.5, 4) for _ in range(2)]
        assert np.linalg.norm(jacobian(ends[0]) - jacobian(ends[1]), 2) <= K * np.linalg.norm(ends[0] - ends[1])


@pytest.mark.long
@pytest.mark.parametrize("cell", [lstm, gru, lem, mgu])
@pytest.mark.thinned(1, 3)
def test_no_second_zero_is_found_in_a_ball_of_uniqueness(cell: Any) -> None:
    params, x = {k: 1.5 * v for k, v in cell.init({"m": 2, "n": 4}, seed=0).items()}, {"x": np.array([1.0, -0.5])}
    points, random = fixed_points(cell, params, x).points.states, np.random.default_rng(1)
    found = [kantorovich(cell, params, x, point) for point in points]
    assert any(f.holds for f in found)
    for f, point in zip(found, points, strict=True):
        if not f.holds:
            continue
        away = random.standard_normal((200, len(point)))
        near = point + f.uniqueness * away / np.linalg.norm(away, axis=1, keepdims=True) * random.random((200, 1))
        names = fixed_points(cell, params, x).points.names
        states = {k: near[:, part] for k, part in names.items()}
        for other in fixed_points(cell, params, x, states, noise=0).points.states:
            distance = np.linalg.norm(other - point)
            assert distance <= f.existence + 1e-9 or distance >= f.uniqueness


def test_planted_smaller_constant_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    derived = Curvature.lipschitz
    monkeypatch.setattr(Curvature, "lipschitz", lambda self, point, radius: 0.9 * derived(self, point, radius))
    with pytest.raises(AssertionError):
        test_uniqueness_ends_before_the_next_fixed_point(logistic, {"r": np.array(4.0)}, [0.75], [[0.0]])


def test_planted_blindness_to_kinks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curvature, "is_smooth", lambda of, within: True)
    with pytest.raises(AssertionError):
        test_uniqueness_ends_before_the_next_fixed_point(pieces, {}, [0.0], [[1.0]])


@sb.cell
def shifted(h: sb.State["n"], W: sb.Param["n n"]):
    e = np.exp(h - h.max())
    return W @ (e / e.sum())


@sb.cell
def plain_softmax(h: sb.State["n"], W: sb.Param["n n"]):
    e = np.exp(h)
    return W @ (e / np.sum(e))


@sb.cell
def by_logsumexp(h: sb.State["n"], W: sb.Param["n n"]):
    return W @ np.exp(h - sb.logsumexp(h)) + 0.1 * sb.logsumexp(W @ h)


@sb.cell
def by_logarithm(h: sb.State["n"], W: sb.Param["n n"]):
    return 0.3 * h + 0.1 * sb.log_softmax(W @ h)


@sb.cell
def memory(h: sb.State["n"], W: sb.Param["n n"]):
    return W.T @ sb.softmax(2.0 * (W @ h))


@sb.cell
def in_rows(h: sb.State["n n"], W: sb.Param["n n"]):
    return sb.softmax(W @ h, axis=1)


WHOLE = [shifted, plain_softmax, by_logsumexp, by_logarithm, memory, in_rows]


def settled(cell: Any, W: Any) -> Any:
    h = 0.3 * np.random.default_rng(5).standard_normal((len(W),) * len(cell.arguments[0].shape))
    for _ in range(400):
        h = cell(h, W)
    return h


@pytest.mark.parametrize("cell", WHOLE, ids=lambda cell: cell.name)
@pytest.mark.thinned(11, 5)
def test_constants_of_whole_functions_are_derived(cell: Any) -> None:
    """K is above all changes of the Jacobian, by differences of the plain function, that are seen within the radius."""
    W, random = 0.4 * np.random.default_rng(4).standard_normal((3, 3)), np.random.default_rng(6)
    point = settled(cell, W)
    found = kantorovich(cell, {"W": W}, None, {"h": point})
    assert found.source == "derived" and found.proven and found.holds and found.uniqueness > 0.05

    def jacobian(h: Any) -> Any:
        moved = 1e-5 * np.eye(h.size).reshape(-1, *h.shape)
        return np.stack([(cell(h + e, W) - cell(h - e, W)).ravel() / 2e-5 for e in moved], -1)

    size = {"n": len(W)}
    own = curvature.curvature(cell, {"W": W}, {}, size, {"h": point.shape})
    assert own is not None and own.jacobian(point.ravel())[0] == pytest.approx(jacobian(point), abs=1e-8)
    radius = min(found.radius, 2.0)
    for _ in range(100):
        ends = [point + radius * v / np.linalg.norm(v) for v in random.standard_normal((2, *point.shape))]
        apart = np.linalg.norm(ends[0] - ends[1])
        assert np.linalg.norm(jacobian(ends[0]) - jacobian(ends[1]), 2) <= found.lipschitz * apart + 1e-8


@pytest.mark.long
def test_patterns_of_a_memory_are_apart() -> None:
    """Each pattern of a memory has a fixed point of its own: no certificate reaches that of another."""
    W = 2.0 * np.eye(3)
    points = fixed_points(memory, {"W": W}).points.states
    assert len(points) >= 3
    for i, point in enumerate(points):
        found = kantorovich(memory, {"W": W}, None, {"h": point})
        nearest = min(np.linalg.norm(other - point) for j, other in enumerate(points) if j != i)
        assert found.holds and found.proven and found.uniqueness <= nearest


def test_a_gradient_that_the_user_stops_is_not_derived() -> None:
    @sb.cell
    def stopped(h: sb.State["n"]):
        return 0.5 * np.tanh(h) + 0.1 * sb.softmax(sb.stop_gradient(h))

    assert kantorovich(stopped, {}, None, {"h": np.zeros(3)}).source == "measured"


def test_planted_sum_that_is_held_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held as the maximum is, the sum of a softmax loses its own derivative."""
    hold = sb.stop_gradient

    def wrong(x: Any, axes: Any) -> Any:
        e, _ = softmax._held(x, axes)
        return e / hold(sb.sum(e, axes, keepdims=True))

    monkeypatch.setitem(softmax.HELD, "softmax", wrong)
    curvature._derivatives.cache_clear()
    with pytest.raises(AssertionError):
        test_constants_of_whole_functions_are_derived(memory)
    curvature._derivatives.cache_clear()


def test_measured_certificate_says_that_it_is_no_proof() -> None:
    """A surrogate is not the derivative of the step, so that no constant follows from it."""
    found = kantorovich(surrogate_unit, {}, None, np.array([0.0]))
    assert found.source == "measured" and not found.proven and found.radius == 0.1 and found.uniqueness <= 0.1
    assert "no proof" in found.text() and "proven" in kantorovich(tanh_unit, {}, None, np.zeros(1)).text()


def test_certificate_says_nothing_beyond_where_its_constant_is_known() -> None:
    """A piecewise linear cell has a constant of 0 within its piece, and another fixed point where that ends."""
    found = kantorovich(pieces, {}, None, {"h": np.array(0.0)})
    assert found.holds and found.lipschitz == 0 and 0.9 < found.uniqueness == found.radius < 1
    assert not kantorovich(pieces, {}, None, {"h": np.array(0.9)}).holds  # its fixed point is 0.9 away, the kink 0.1
    at_kink = kantorovich(pieces, {}, None, {"h": np.array(1.0)})
    assert at_kink.source == "measured" and at_kink.uniqueness <= 0.1
    bound = 4 * 4 / (3 * math.sqrt(3))
    whole = kantorovich(tanh_unit, {}, None, {"x": np.array(0.95)}, lipschitz=bound)
    assert whole == kantorovich(tanh_unit, {}, None, np.array([0.95]), lipschitz=bound) and np.isinf(whole.radius)
    assert not kantorovich(tanh_unit, {}, None, np.array([0.95]), lipschitz=bound, radius=1e-3).holds


def test_affine_step_has_one_fixed_point_or_no_certificate() -> None:
    @sb.cell
    def affine(h: sb.State["n"], W: sb.Param["n n"]):
        return W @ h + 1

    assert np.isinf(kantorovich(affine, {"W": 0.5 * np.eye(2)}, None, np.full(2, 2.0)).uniqueness)
    assert not kantorovich(affine, {"W": np.eye(2)}, None, np.zeros(2)).holds


@pytest.mark.parametrize(
    "point, options, message",
    [
        (np.zeros(2), {}, "finite numbers"), (np.full(1, np.nan), {}, "finite numbers"), (None, {}, "finite numbers"),
        (np.zeros(1), {"radius": -1}, "radius=-1"), (np.zeros(1), {"lipschitz": "2"}, "lipschitz='2'"),
    ],
)  # fmt: skip
def test_bad_points_are_refused(point: Any, options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        kantorovich(tanh_unit, {}, None, point, **options)


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
