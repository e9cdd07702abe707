"""Verdicts of maps whose growth is known: powers of time, exponentials, chaos with published exponents."""

import math
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.stability.gradients.flow import gradient_flow
from symbptt.stability.report import verdict
from symbptt.stability.runs.trajectory import trajectory


@sb.cell
def linear(h: State["n"], W: Param["n n"]):
    return W @ h


@sb.cell
def triple(x: Input["n"], a: State["n"], v: State["n"], q: State["n"], dt: Const = 0.1):
    a = a + dt * x
    v = v + dt * a
    return a, v, q + dt * v


@sb.cell
def free_particle(q: State, p: State, dt: Const = 0.1):
    return q + dt * p, p


@sb.cell
def pendulum(q: State, p: State, dt: Const = 0.1):
    p = p - dt / 2 * np.sin(q)
    q = q + dt * p
    return q, p - dt / 2 * np.sin(q)


@sb.cell
def rotation(angle: State, q: State, w: Const = 0.618):
    return angle + w, q + angle


@sb.cell
def skew(p: State, q: State, r: State):
    return p, q + 0.5 * np.sin(p), r + np.sin(q)


@sb.cell
def standard_map(p: State, q: State, k: Param):
    p = p + k * np.sin(q)
    return p, q + p


@sb.cell
def henon(x: State, y: State, a: Const = 1.4, b: Const = 0.3):
    return 1 - a * x**2 + y, b * x


@sb.cell
def logistic(x: State):
    return 4 * x * (1 - x)


@sb.cell
def lorenz(x: State, y: State, z: State, dt: Const = 0.01):
    def slope(x: Any, y: Any, z: Any) -> Any:
        return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z

    a = slope(x, y, z)
    b = slope(x + dt / 2 * a[0], y + dt / 2 * a[1], z + dt / 2 * a[2])
    c = slope(x + dt / 2 * b[0], y + dt / 2 * b[1], z + dt / 2 * b[2])
    d = slope(x + dt * c[0], y + dt * c[1], z + dt * c[2])
    return tuple(s + dt / 6 * (i + 2 * j + 2 * k + m) for s, i, j, k, m in zip((x, y, z), a, b, c, d, strict=True))


def block(size: int, value: float = 1.0) -> Any:
    return value * (np.eye(size) + np.diag(np.ones(size - 1), 1))


TURN = np.array([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]])
POWERS = {
    "block of 2": (linear, {"W": block(2)}, None, 1), "block of 4": (linear, {"W": block(4)}, None, 3),
    "flipping block of 3": (linear, {"W": block(3, -1)}, None, 2),
    "turning block": (linear, {"W": np.kron(np.eye(2), TURN) + np.kron(np.diag([1.0], 1), np.eye(2))}, None, 1),
    "steep shear": (linear, {"W": np.array([[1.0, 100.0], [0.0, 1.0]])}, None, 1),
    "triple integrator": (triple, {}, {"x": np.random.default_rng(0).standard_normal((300, 2, 3))}, 2),
    "free particle": (free_particle, {}, None, 1), "rotation": (rotation, {}, None, 1),
    "standard map without kicks": (standard_map, {"k": np.array(0.0)}, None, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", POWERS)
@pytest.mark.thinned(17, 2)
def test_powers_of_time_are_marginal(name: str) -> None:
    cell, params, inputs, power = POWERS[name]
    found = sb.analyze(cell, params, inputs, steps=None if inputs else 300).verdict
    assert found.kind == "marginal" and float(found.reason.split("t^")[1].split(",")[0]) == pytest.approx(
        power, rel=0.2
    )


@pytest.mark.parametrize(
    "cell, state, steps",
    [
        (pendulum, {"q": np.zeros(1), "p": np.zeros(1)}, 300),
        (pendulum, {"q": np.ones(1), "p": np.zeros(1)}, 1000),
        (skew, None, 1000),
    ],
)
@pytest.mark.thinned(5, 3)
def test_motion_on_tori_is_marginal(cell: Any, state: Any, steps: int) -> None:
    assert sb.analyze(cell, {}, None, state, steps=steps).verdict.kind == "marginal"


def test_pendulum_on_its_head_is_exploding() -> None:
    found = sb.analyze(pendulum, {}, None, {"q": np.full(1, math.pi), "p": np.zeros(1)}, steps=300).verdict
    assert found.kind == "exploding" and found.exponent == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("W", [block(3, 1.0) * 1.05, 1.02 * np.eye(3), 1.1 * TURN])
@pytest.mark.thinned(5)
def test_linear_growth_is_exploding_never_chaotic(W: Any) -> None:
    assert sb.analyze(linear, {"W": W}, steps=400).verdict.kind == "exploding"


@pytest.mark.parametrize(
    "cell, state, steps, expected, tolerance",
    [
        (logistic, {"x": np.array([0.3, 0.2])}, 4000, math.log(2), 0.01),
        (henon, {"x": np.array([0.1]), "y": np.array([0.1])}, 6000, 0.41922, 0.015),
        pytest.param(
            lorenz,
            {"x": np.ones(1), "y": np.ones(1), "z": np.full(1, 20.0)},
            20_000,
            0.009056,
            1e-3,
            marks=pytest.mark.long,
        ),
    ],
)
@pytest.mark.thinned(2, 3)
def test_chaos_stays_chaos_with_its_published_exponent(
    cell: Any, state: Any, steps: int, expected: float, tolerance: float
) -> None:
    found = sb.analyze(cell, {}, None, state, steps=steps)
    assert found.verdict.kind == "chaotic" and found.verdict.exponent == pytest.approx(expected, abs=tolerance)
    assert "no threshold helps" in found.text() and "no finite window" in found.text()


@pytest.mark.long
def test_gradients_that_leave_the_range_are_infinite_and_reported() -> None:
    """At k = 6 about 1.1 nats a step: over 1000 steps a gradient is beyond 1e308."""
    state = {"p": np.zeros(2), "q": np.array([0.3, 1.0])}
    found = gradient_flow(standard_map, {"k": np.array(6.0)}, None, None, state, steps=1000)
    assert np.isfinite(found.norms[:300]).all() and np.isinf(found.norms[-1]) and not np.isnan(found.norms).any()
    assert found.growth["k"].shape == (1000,) and not np.isnan(found.growth["k"]).any()
    assert sb.analyze(standard_map, {"k": np.array(6.0)}, None, state, steps=1500).verdict.kind == "chaotic"


@sb.cell
def wandering(x: Input["n"], h: State["n"]):
    """The logarithm of each element is a random walk."""
    return np.exp(x) * h


def walked(seed: int, steps: int = 300) -> Any:
    random = np.random.default_rng(seed)
    inputs = {"x": 0.3 * random.standard_normal((steps, 1, 6))}
    run = trajectory(wandering, {}, inputs, {"h": random.standard_normal((1, 6))}, None)
    return verdict.verdict(run, sb.lyapunov_spectrum(wandering, {}, inputs, {"h": run.start}), None)


def test_random_walks_are_no_powers_of_time() -> None:
    """Their largest element grows for a while; that may look like a power, and is not told from an exponential."""
    found = [walked(seed) for seed in range(24)]
    assert sum(v.kind == "marginal" for v in found) <= 1 and all(v.confidence is not None for v in found)


@pytest.mark.long
def test_powers_have_a_confidence() -> None:
    for name in ("block of 4", "triple integrator"):
        cell, params, inputs, _ = POWERS[name]
        found = sb.analyze(cell, params, inputs, steps=None if inputs else 300)
        assert found.verdict.confidence is not None and found.verdict.confidence > 0.99
        assert "confidence over 99" in found.text()


def test_states_near_the_end_of_the_range_are_exploding(recwarn: Any) -> None:
    """At 1e300 squares overflow, and what is displaced leaves the range: a verdict all the same."""
    inputs = {"x": np.full((120, 1, 2), 5.75)}
    found = sb.analyze(wandering, {}, inputs, {"h": np.ones((1, 2))})
    assert found.verdict.kind == "exploding" and not [w for w in recwarn if w.category is RuntimeWarning]


def test_planted_walk_that_counts_as_still_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_is_still", lambda rest: 1.0)
    with pytest.raises(AssertionError):
        test_random_walks_are_no_powers_of_time()


def test_planted_power_of_any_growth_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_power", lambda *_: verdict._Power(1.0, 1.0))
    with pytest.raises(AssertionError):
        test_linear_growth_is_exploding_never_chaotic(1.02 * np.eye(3))
