"""Siblings of what the stability side computes, against hand values and brute force on the user's functions alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State

RANDOM = np.random.default_rng


def jacobian_of(step: Callable[[Any], Any], s: Any) -> Any:
    """∂step/∂s by complex steps of a plain function. Shapes: s (N,), the result (N, N)."""
    return np.array([step(s + 1e-30j * e).imag / 1e-30 for e in np.eye(len(s))]).T


# ---- mean field at a kink -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("relu", (1, 0)),
        ("leaky_relu", (1, 0.01)),
        ("abs", (1, -1)),
        ("selu", (1.0507009873554805, 1.7580993408473766)),
        ("hard_tanh", (1, 1)),
        ("elu", (1, 1)),
    ],
)
@pytest.mark.parametrize("sigma_w", [0.5, 0.6])
def test_slopes_on_both_sides_of_a_kink_count_at_no_variance(name: str, slopes: Any, sigma_w: float) -> None:
    found = sb.mean_field(name, sigma_w=sigma_w)
    assert found.chi == pytest.approx(sigma_w**2 * (slopes[0] ** 2 + slopes[1] ** 2) / 2, rel=1e-9)


def test_critical_line_of_rectifiers() -> None:
    assert sb.critical_line("relu", sigma_b=[0.0])[0] == pytest.approx(np.sqrt(2), rel=1e-6)
    assert sb.critical_line("leaky_relu", sigma_b=[0.0])[0] == pytest.approx(np.sqrt(2 / 1.0001), rel=1e-6)


# ---- horizons --------------------------------------------------------------------------------------------------------


@sb.cell
def leak(x: Input["n"], h: State["n"], b: Param["n"], U: Param["n n"]):
    f = sb.sigmoid(b)
    return f * h + (1 - f) * np.tanh(U @ h + x)


@sb.cell
def decay(x: Input["n"], h: State["n"], r: Param["n"]):
    return np.exp(-np.exp(r)) * h + x


@sb.cell
def written(x: Input["n"], h: State["n"], W: Param["n n"], b: Param["n"]):
    w = sb.sigmoid(W @ x + b)
    return h - w * h + w * x


@sb.cell
def deep(x: Input["n"], h: State["n"], U: Param["n n"], V: Param["n n"]):
    return np.tanh(V @ np.tanh(U @ h + x))


@sb.cell
def two_paths(x: Input["n"], h: State["n"], c: State["n"], U: Param["n n"], b: Param["n"]):
    f = sb.sigmoid(U @ h + b)
    c_new = f * c + (1 - f) * x
    return np.tanh(c_new), c_new


@sb.cell
def softened(x: Input["n"], h: State["n"], U: Param["n n"]):
    return sb.softplus(U @ h + x) - np.log(2.0)


def largest(cell: Any, params: Any, steps: int = 1500, n: int = 4) -> float:
    """λ₁ of the plain function, from complex steps and the growth of one direction."""
    names = [a.name for a in cell.arguments if a.role == "state"]
    random, v = RANDOM(99), RANDOM(3).standard_normal(n * len(names))
    s, grown = np.zeros(n * len(names)), []
    for t in range(steps):
        x = random.standard_normal(n)

        def step(s: Any, x: Any = x) -> Any:
            found = cell(x=x, **dict(zip(names, np.split(s, len(names)), strict=True)), **params)
            return np.concatenate(found) if len(names) > 1 else found

        v = jacobian_of(step, s) @ v
        s = step(s)
        if t >= 200:
            grown.append(np.log(np.linalg.norm(v)))
        v /= np.linalg.norm(v)
    return float(np.mean(grown))


@pytest.mark.parametrize(
    ("cell", "horizon"),
    [(decay, 15.0), (leak, 12.0), *(pytest.param(*c, marks=pytest.mark.long) for c in
     [(written, 20.0), (deep, 3.0), (two_paths, 25.0), (softened, 6.0)])],
)  # fmt: skip
@pytest.mark.thinned(11, 5)
def test_horizon_asked_for_is_that_of_the_plain_function(cell: Any, horizon: float) -> None:
    params = cell.init({"n": 4}, seed=0)
    found = sb.init_for_horizon(cell, horizon, params, {"x": RANDOM(5).standard_normal((600, 8, 4))})
    assert found.reached
    assert -1 / largest(cell, found.params) == pytest.approx(horizon, rel=0.2)


# ---- growth before decay -----------------------------------------------------------------------------------------------


def test_transient_growth_is_the_largest_over_all_starts() -> None:
    random, x = RANDOM(0), RANDOM(1).standard_normal((30, 1, 3))
    params = {"U": random.standard_normal((3, 3)), "V": random.standard_normal((3, 3))}
    found = sb.transient_growth(deep, params, {"x": x}, None, [1, 2, 5, 12, 30])
    s, steps = np.zeros(3), []
    for t in range(30):
        steps.append(jacobian_of(lambda s, t=t: deep(x=x[t, 0], h=s, **params), s))
        s = deep(x=x[t, 0], h=s, **params)
    for lag, seen in zip(found.lags, found.log_growth, strict=True):
        products = [np.linalg.multi_dot([*steps[t : t + lag][::-1], np.eye(3)]) for t in range(30 - lag + 1)]
        assert seen == pytest.approx(np.log(max(np.linalg.norm(p, 2) for p in products)), abs=1e-9)


# ---- directions --------------------------------------------------------------------------------------------------------


@sb.cell
def driven(A: Input["n n"], h: State["n"]):
    return A @ h


def test_covariant_vectors_of_alternating_maps_are_eigenvectors_of_their_products() -> None:
    """Before a step by A they are those of B A, before one by B those of A B; the angle between is known at either time."""
    A, B = np.array([[2.0, 1.0], [0.0, 0.4]]), np.array([[1.5, 0.0], [1.0, 0.5]])
    inputs = np.array([A, B] * 150)[:, None]
    found = sb.covariant_vectors(driven, {}, {"A": inputs}, {"h": np.zeros((1, 2))})
    values = np.sort(np.log(np.abs(np.linalg.eigvals(B @ A))))[::-1] / 2
    np.testing.assert_allclose(found.exponents, values, atol=1e-6)
    expected = []
    for product in (B @ A, A @ B):
        _, v = np.linalg.eig(product)
        expected.append(np.arccos(abs(v[:, 0] @ v[:, 1])))
    seen = np.unique(np.round(np.ravel(found.angles)[5:-5], 6))
    np.testing.assert_allclose(seen, np.sort(expected), atol=1e-5)


# ---- gradients of exponents ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [leak, two_paths, deep])
def test_gradients_of_exponents_are_differences(cell: Any) -> None:
    params = {
        k: 0.5 * RANDOM(i).standard_normal(v.shape) for i, (k, v) in enumerate(cell.init({"n": 3}, seed=0).items())
    }
    x = {"x": RANDOM(7).standard_normal((25, 2, 3))}
    found = sb.exponent_gradient(cell, params, x, count=2, transient=0)

    def total(p: Any) -> float:
        return float(sb.lyapunov_spectrum(cell, p, x, count=2, transient=0).exponents.sum())

    for name, value in params.items():
        away = RANDOM(11).standard_normal(value.shape)
        ends = [total({**params, name: value + h * away}) for h in (1e-5, -1e-5)]
        assert np.sum(found.params[name] * away) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9)


# ---- branches ----------------------------------------------------------------------------------------------------------


@sb.cell
def quadratic(x: State, c: Param):
    """x² + c: a fold at 1/4, a flip at −3/4, and one of the cycle of two at −5/4."""
    return x * x + c


@sb.cell
def henon(x: State, y: State, a: Param, b: Param):
    return 1 - a * x * x + y, b * x


@sb.cell
def delayed(x: State, y: State, w: Param):
    """A neuron that inhibits itself after two steps: the eigenvalues at 0 are ±i √w."""
    return np.tanh(-w * y), x


@sb.cell
def turning(x: State, y: State, m: Param):
    """(1 + m) e^(0.7 i) z − z |z|²."""
    c, s, r = np.cos(0.7), np.sin(0.7), x * x + y * y
    return (1 + m) * (c * x - s * y) - x * r, (1 + m) * (s * x + c * y) - y * r


def points(found: Any, kind: str) -> list[float]:
    return sorted(p.value for p in found.points if p.kind == kind)


@pytest.mark.long
def test_folds_flips_and_turns_are_where_they_are_by_hand() -> None:
    found = sb.sweep(quadratic, {"c": np.array(0.0)}, "c", np.linspace(-1, 0.4, 29))
    assert points(found, "fold") == pytest.approx([0.25], abs=1e-8) and points(found, "flip") == pytest.approx(
        [-0.75], abs=1e-8
    )
    twice = sb.sweep(
        quadratic, {"c": np.array(-1.0)}, "c", np.linspace(-1.3, -0.9, 17), states={"x": np.array([0.0])}, period=2
    )
    assert points(twice, "flip") == pytest.approx([-1.25], abs=1e-7) and len(twice.points[-1].cycle) == 2
    b = 0.3
    found = sb.sweep(henon, {"a": np.array(0.2), "b": np.array(b)}, "a", np.linspace(-0.3, 0.6, 31))
    assert points(found, "fold") == pytest.approx([-((1 - b) ** 2) / 4], abs=1e-8)
    assert points(found, "flip") == pytest.approx([0.75 * (1 - b) ** 2], abs=1e-8)


@pytest.mark.long
def test_closed_curves_are_born_where_a_pair_leaves_the_circle() -> None:
    found = sb.sweep(delayed, {"w": np.array(0.5)}, "w", np.linspace(0.5, 1.5, 21))
    assert points(found, "Neimark–Sacker") == pytest.approx([1.0], abs=1e-7)
    found = sb.sweep(turning, {"m": np.array(-0.1)}, "m", np.linspace(-0.2, 0.1, 13))
    assert points(found, "Neimark–Sacker") == pytest.approx([0.0], abs=1e-7)
