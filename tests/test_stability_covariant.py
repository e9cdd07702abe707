"""Covariant vectors: carried into each other by Jacobians that the test computes by itself, known maps, lost directions."""

import math
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.errors import ArgumentError
from symbptt.stability.runs import trajectory
from symbptt.stability.spectra import covariant
from symbptt.zoo import gru, lstm, rnn
from tests.cells import odd
from tests.dynamics import henon, linear_map, random_products, relu_network, tanh_network, van_der_pol
from tests.oracle import draw

START = {"x": np.array(0.3), "y": np.array(0.1)}


def complex_step(cell: Any, params: Any, inputs: Any, states: Any) -> Any:
    """The Jacobians (T, N, N) of a cell of one state h along its run, by the user's own function."""
    found = []
    for t in range(len(states) - 1):
        columns = [
            np.imag(cell(*[v[t] for v in inputs], states[t] + 1e-30j * unit, *params)) / 1e-30
            for unit in np.eye(states.shape[1])
        ]
        found.append(np.stack(columns, -1))
    return np.array(found)


def henon_jacobians(steps: int) -> Any:
    x, y, found = 0.3, 0.1, []
    for _ in range(steps):
        found.append(np.array([[-2.8 * x, 1.0], [0.3, 0.0]]))
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
    return np.array(found)


def defect(jacobians: Any, found: Any) -> float:
    """The largest distance of J v_t from the line of v_{t+1}, relative to the size of J v_t or 1e-3 of J. Of one sample."""
    v = found.vectors[:, 0]
    carried = jacobians[found.times[:-1]] @ v[:-1]
    along = (carried * v[1:]).sum(-2, keepdims=True)
    scale = np.maximum(
        np.linalg.norm(carried, axis=-2), 1e-3 * np.linalg.norm(jacobians[found.times[:-1]], 2, (-2, -1))[:, None]
    )
    return float((np.linalg.norm(carried - along * v[1:], axis=-2) / scale).max())


# ---- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_henon_map_carries_its_vectors_and_has_the_published_exponents() -> None:
    found = sb.covariant_vectors(henon, {}, None, START, steps=20_000)
    assert defect(henon_jacobians(20_000), found) <= 1e-11
    assert found.exponents == pytest.approx([0.41922, -1.62319], abs=5 * 0.383 / math.sqrt(18_000))
    assert found.groups == ((0,), (1,)) and list(found.expanding) == list(found.contracting) == [1]
    v = found.vectors[:, 0]
    assert found.angles[:, 0] == pytest.approx(np.arccos(np.abs((v[..., 0] * v[..., 1]).sum(-1))), abs=1e-7)
    assert found.smallest_angle < 5e-3  # the Hénon map at these parameters has tangencies
    assert 0.5 < found.mean_angle < 1.3


def test_expanding_direction_is_that_of_a_long_past_and_contracting_that_of_a_long_future() -> None:
    jacobians, found = henon_jacobians(600), sb.covariant_vectors(henon, {}, None, START, steps=600)
    for t in (200, 300, 400):
        past, future = np.array([1.0, 0.4]), np.array([0.3, 1.0])
        for step in jacobians[:t]:
            past = step @ past / np.linalg.norm(step @ past)
        for step in jacobians[t:][::-1]:
            future = np.linalg.solve(step, future)
            future /= np.linalg.norm(future)
        v = found.vectors[t - found.times[0], 0]
        assert abs(v[:, 0] @ past) == pytest.approx(1, abs=1e-10) and abs(v[:, 1] @ future) == pytest.approx(
            1, abs=1e-10
        )


def test_growth_is_that_of_the_spectrum() -> None:
    J = 1.6 / math.sqrt(8) * np.random.default_rng(0).standard_normal((8, 8))
    start = {"h": np.random.default_rng(1).standard_normal((3, 8))}
    found = sb.covariant_vectors(tanh_network, {"J": J}, None, start, steps=2000)
    spectrum = sb.lyapunov_spectrum(tanh_network, {"J": J}, None, start, steps=2000)
    assert found.exponents == pytest.approx(spectrum.exponents, abs=6e-3)
    assert found.growth.mean((0, 1)) == pytest.approx(found.exponents, abs=1e-12)
    assert np.linalg.norm(found.vectors, axis=-2) == pytest.approx(np.ones((*found.vectors.shape[:2], 8)), abs=1e-12)
    assert sum(found.shares.values()) == pytest.approx(np.ones(8), abs=1e-12)


@pytest.mark.parametrize("memory", [trajectory.MEMORY, 1])
def test_vectors_of_a_network_are_carried(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory, "MEMORY", memory)
    params = rnn.init({"m": 2, "n": 4}, seed=1)
    x = np.random.default_rng(3).standard_normal((300, 2))
    states = np.concatenate([np.zeros((1, 4)), sb.compile(rnn).forward(params, {"x": x}).states["h"]])
    jacobians = complex_step(rnn, [params[k] for k in ("W", "U", "b")], [x], states)
    assert defect(jacobians, sb.covariant_vectors(rnn, params, {"x": x}, transient=60)) <= 1e-9


def test_single_precision_gives_vectors_in_double() -> None:
    params = {k: v.astype(np.float32) for k, v in rnn.init({"m": 2, "n": 3}).items()}
    found = sb.covariant_vectors(rnn, params, {"x": np.ones((80, 2), np.float32)})
    assert found.vectors.dtype == np.float64 and np.isfinite(found.vectors).all()


# ---- known maps ---------------------------------------------------------------------------------------------------


def test_of_a_constant_map_they_are_its_eigenvectors() -> None:
    V = np.array([[1.0, 1, 1], [0, 0.05, 1], [0, 0, 0.3]])
    V /= np.linalg.norm(V, axis=0)
    W = V @ np.diag([1.2, 0.8, -0.5]) @ np.linalg.inv(V)
    found = sb.covariant_vectors(linear_map, {"W": W}, steps=400)
    assert found.exponents == pytest.approx(np.log([1.2, 0.8, 0.5]), abs=1e-10)
    assert np.abs((found.vectors[::50, 0] * V).sum(-2)) == pytest.approx(1, abs=1e-12)
    contracting = np.linalg.qr(V[:, 1:])[0]
    expected = np.arcsin(abs(np.cross(*contracting.T) @ V[:, 0]))
    assert found.smallest_angle == pytest.approx(expected) and found.mean_angle == pytest.approx(expected)


def test_rotation_is_one_group_whose_span_alone_means_something() -> None:
    c, s = np.cos(0.7), np.sin(0.7)
    W = np.zeros((3, 3))
    W[:2, :2], W[2, 2], W[0, 2] = 1.1 * np.array([[c, -s], [s, c]]), 0.5, 2.0
    found = sb.covariant_vectors(linear_map, {"W": W}, steps=400)
    assert found.groups == ((0, 1), (2,))
    assert found.exponents == pytest.approx(np.log([1.1, 1.1, 0.5]), abs=1e-3)
    assert np.abs(found.vectors[..., 2, :2]).max() <= 1e-12
    last = np.linalg.svd(W - 0.5 * np.eye(3))[2][-1]
    assert found.angles[0, 0] == pytest.approx(np.arcsin(abs(last[2])), abs=1e-10)


def test_orthogonal_map_and_identity_are_one_group_of_neutral_directions() -> None:
    for W in (np.eye(4), np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]):
        found = sb.covariant_vectors(linear_map, {"W": W}, steps=200)
        assert found.groups == ((0, 1, 2, 3),) and np.abs(found.exponents).max() <= 1e-12
        assert found.expanding[0] == found.contracting[0] == 0 and np.isnan(found.smallest_angle)
        assert found.shares["h"] == pytest.approx(np.ones(4))


def test_jordan_block_keeps_its_space_though_its_vectors_grow_parallel() -> None:
    W = np.zeros((3, 3))
    W[:2, :2], W[2, 2], W[0, 2] = [[0.6, 1.0], [0.0, 0.6]], 1.5, 1.0
    found = sb.covariant_vectors(linear_map, {"W": W}, steps=400)
    top = np.linalg.svd(W - 1.5 * np.eye(3))[2][-1]
    assert found.groups == ((0,), (1, 2)) and found.contracting[0] == 2
    assert found.angles[:, 0] == pytest.approx(np.full(len(found.times), np.arcsin(abs(top[2]))), abs=1e-10)


@pytest.mark.long
def test_limit_cycle_is_neutral_along_its_flow() -> None:
    found = sb.covariant_vectors(van_der_pol, {}, None, {"s": np.array([2.0, 0.0])}, steps=6000)
    assert found.exponents[0] == pytest.approx(0, abs=2e-3) and found.expanding[0] == 0 and found.contracting[0] == 1
    s, states = np.array([2.0, 0.0]), []
    for _ in range(6000):
        states.append(s)
        s = van_der_pol(s, 0.05)
    for t in (2000, 3001, 4500):
        x, y = states[t]
        flow = np.array([y, 2 * (1 - x * x) * y - x])
        assert abs(found.vectors[t - found.times[0], 0, :, 0] @ flow) / np.linalg.norm(flow) == pytest.approx(
            1, abs=1e-4
        )


# ---- lost directions, batches, sizes ------------------------------------------------------------------------------


def test_lost_directions_span_what_is_forgotten() -> None:
    """Of a chain that is forgotten in two steps, no vector is carried into one: the space is."""
    W = np.array([[0.9, 1.0, 2.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    found = sb.covariant_vectors(linear_map, {"W": W}, steps=100)
    assert found.exponents[0] == pytest.approx(math.log(0.9)) and np.isneginf(found.exponents[1:]).all()
    assert found.groups == ((0,), (1, 2))
    assert np.abs(W @ W @ found.vectors[..., 1:]).max() <= 1e-14
    assert np.linalg.svd(found.vectors[..., 1:], compute_uv=False) == pytest.approx(1)
    assert np.abs(found.vectors[:, 0, :, 0]) == pytest.approx(np.array([1.0, 0, 0]) + np.zeros((len(found.times), 1)))


def test_dead_units_are_lost_and_the_rest_is_carried() -> None:
    random = np.random.default_rng(2)
    params = {"J": 0.5 * random.standard_normal((6, 6)), "b": np.array([1.0, 1, 1, 1, -50, -50])}
    found = sb.covariant_vectors(relu_network, params, None, {"h": random.standard_normal((2, 6)) ** 2}, steps=400)
    alive = np.array([False, True, True, True, False, False])  # unit 0 falls silent too
    assert list(np.isneginf(found.exponents)) == [False] * 3 + [True] * 3
    assert np.abs((params["J"] * alive[:, None]) @ found.vectors[..., 3:]).max() <= 1e-12
    assert np.abs(found.vectors[..., ~alive, :3]).max() <= 1e-14


def test_directions_live_in_the_states_that_hold_them() -> None:
    params = {k: 0 * v if k.startswith("U") or k == "Wf" else v for k, v in lstm.init({"m": 2, "n": 3}, bf=1.0).items()}
    found = sb.covariant_vectors(lstm, params, {"x": np.random.default_rng(0).standard_normal((400, 2))})
    assert found.lives_in == ("c", "c", "c", "h", "h", "h")
    assert found.shares["h"][3:] == pytest.approx(np.ones(3), abs=1e-12)  # what h holds is forgotten at once
    assert np.isneginf(found.exponents[3:]).all() and found.groups[-1] == (3, 4, 5)


def test_samples_of_a_batch_are_those_of_runs_alone() -> None:
    params = {k: 2 * v for k, v in gru.init({"m": 2, "n": 3}, seed=1).items()}
    x = np.random.default_rng(3).standard_normal((400, 2, 2))
    together = sb.covariant_vectors(gru, params, {"x": x})
    for b in range(2):
        alone = sb.covariant_vectors(gru, params, {"x": x[:, b]})
        middle = slice(80, 120)
        cosine = np.abs((together.vectors[middle, b] * alone.vectors[middle, 0]).sum(-2))
        for i, group in enumerate(alone.groups):
            if len(group) == 1 and together.groups == alone.groups:
                assert cosine[:, group[0]] == pytest.approx(np.ones(40), abs=1e-3), i
        assert together.samples[b] == pytest.approx(alone.exponents, abs=2e-2)


def test_largest_directions_are_those_of_all() -> None:
    A = np.random.default_rng(0).standard_normal((300, 1, 5, 5))
    whole = sb.covariant_vectors(random_products, {}, {"A": A}, {"h": np.zeros((1, 5))})
    some = sb.covariant_vectors(random_products, {}, {"A": A}, {"h": np.zeros((1, 5))}, count=2)
    assert some.vectors.shape[-1] == 2
    assert np.abs((some.vectors * whole.vectors[..., :2]).sum(-2)) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_one_number_of_state_is_its_own_direction(steps: int) -> None:
    found = sb.covariant_vectors(linear_map, {"W": np.array([[0.5]])}, steps=steps)
    assert np.abs(found.vectors) == pytest.approx(1) and found.exponents == pytest.approx([math.log(0.5)])
    assert found.vectors.shape == (len(found.times), 1, 1, 1) and len(found.growth) == len(found.times) - 1
    assert np.isneginf(sb.covariant_vectors(linear_map, {"W": np.zeros((1, 1))}, steps=steps).exponents).all()


def test_zero_map_forgets_all() -> None:
    found = sb.covariant_vectors(linear_map, {"W": np.zeros((3, 3))}, steps=40)
    assert np.isneginf(found.exponents).all() and found.groups == ((0, 1, 2),) and np.isfinite(found.vectors).all()


def test_odd_states_and_indices_are_followed() -> None:
    params, inputs, state = draw(odd, 120, 2, {"m": 2, "n": 2, "v": 4})
    found = sb.covariant_vectors(odd, params, inputs, state)
    assert np.isfinite(found.vectors).all() and sum(found.shares.values()) == pytest.approx(1)


# ---- bad input, planted mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 7}, "7 steps are too few to align 2 directions"),
        ({"steps": 40, "count": 3}, "count=3 of 2"),
        ({"steps": 40, "transient": 20}, "transient=20 at both ends of 40 steps"),
        ({"steps": 40, "transient": -1}, "transient=-1"),
        ({"steps": 40, "count": 1.5}, "an integer is expected"),
        ({"steps": 0}, "0 steps"),
    ],
)
def test_impossible_runs_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        sb.covariant_vectors(henon, {}, None, START, **options)
    assert len(str(caught.value).splitlines()) <= 3


def test_vectors_larger_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariant, "MOST", 1000)
    with pytest.raises(ArgumentError, match="fewer steps or samples"):
        sb.covariant_vectors(henon, {}, None, START, steps=200)


@pytest.mark.long
def test_planted_frame_in_the_place_of_the_vectors_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of the QR frame have the right exponents, but only the first is carried."""
    right = covariant._coefficients

    def planted(frames: Any, alive: Any) -> Any:
        coefficients, growth = right(frames, alive)
        return np.broadcast_to(np.eye(2), coefficients.shape), growth

    monkeypatch.setattr(covariant, "_coefficients", planted)
    with pytest.raises(AssertionError):
        test_henon_map_carries_its_vectors_and_has_the_published_exponents()
