"""The gradient of the last loss against the lag: equal to the kernel's, and to closed forms."""

import math
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Param, State, Target
from symbptt.errors import ArgumentError
from symbptt.stability.gradients.flow import gradient_flow
from symbptt.zoo import lstm
from tests.cells import odd
from tests.dynamics import independent
from tests.oracle import draw


@sb.loss
def squared_error(h: State["n"], y: Target["k"], V: Param["k n"]):
    e = V @ h - y
    return sb.sum(e * e) / 2


@sb.loss
def half_square(h: State["n"]):
    return sb.sum(h * h) / 2


def data(seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    return random.standard_normal((12, 4, 2)), random.standard_normal((12, 4, 3))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(2)
def test_flow_is_what_the_kernel_of_the_last_loss_monitors(at: str) -> None:
    model, (x, y) = sb.model(lstm, squared_error, at=at), data()
    params = model.init({"m": 2, "n": 5, "k": 3}, seed=1)
    found = gradient_flow(model, params, {"x": x}, {"y": y if at == "every" else y[-1]})
    kernel = sb.compile(sb.model(lstm, squared_error, at="last"))
    _, grads = kernel.value_and_grad(params, {"x": x}, {"y": y[-1]}, monitor=True)
    for name in ("h", "c"):
        np.testing.assert_allclose(found.states[name][:-1][::-1], grads.flow[name], rtol=1e-10)
        assert found.states[name][-1] == pytest.approx(np.linalg.norm(grads.state[name]), rel=1e-10)
    for name in params:
        assert found.growth[name][-1] == pytest.approx(np.linalg.norm(grads.params[name]), rel=1e-10)
    np.testing.assert_allclose(found.norms, np.hypot(found.states["h"], found.states["c"]))


def test_flow_of_a_cell_needs_no_loss_and_no_batch() -> None:
    params, inputs, state = draw(odd, 9, 2, {"m": 2, "n": 3, "v": 4})
    found = gradient_flow(odd, params, inputs, state=state)
    assert len(found.lags) == len(found.norms) == 10 and set(found.states) == {"h", "S", "c"}
    assert set(found.parameters) == {"W", "E", "P", "g", "b"}
    one = gradient_flow(odd, params, {k: v[:, 0] for k, v in inputs.items()}, state={k: v[0] for k, v in state.items()})
    assert one.norms.shape == (10,)


def test_horizon_of_a_linear_cell_is_that_of_its_factor() -> None:
    found = gradient_flow(independent, {"a": np.full(3, 0.9)}, {"x": np.zeros((100, 3))})
    np.testing.assert_allclose(found.norms / found.norms[0], 0.9 ** np.arange(101), rtol=1e-12)
    assert found.horizons == {1 / math.e: 10, 1e-3: 66}
    assert found.horizon(1e-6) is None


def test_horizon_counts_from_the_last_return() -> None:
    """A gradient that dips under the threshold and comes back has not been forgotten."""
    growing = gradient_flow(independent, {"a": np.array([1.1])}, {"x": np.zeros((50, 1))})
    assert growing.horizon() is None


@pytest.mark.parametrize("a", [0.5, 0.8])
def test_parameter_gradient_of_a_stable_cell_grows_as_in_closed_form(a: float) -> None:
    """E(dh/da)² = (1 + a²) / (1 − a²)³ for white input: a short memory, and yet a large gradient."""
    units = 20_000
    x = np.random.default_rng(0).standard_normal((100, units))
    found = gradient_flow(independent, {"a": np.full(units, a)}, {"x": x})
    assert found.growth["a"][-1] ** 2 / units == pytest.approx((1 + a * a) / (1 - a * a) ** 3, rel=0.05)


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.thinned(11)
def test_truncated_gradient_is_biased_by_the_power_of_its_window(window: int) -> None:
    """x' = a x + u, L = x²/2: the K-step gradient is short by a^(2K) of the whole, in the mean.

    Source: Aicher, Foti, Fox 2019, "Adaptively truncating backpropagation through time to control gradient bias".
    """
    a, units, steps = 0.8, 100_000, 60
    model = sb.model(independent, half_square, at="last")
    x = {"x": np.random.default_rng(0).standard_normal((steps, units))}
    params = {"a": np.full(units, a)}
    whole, cut = (
        sb.compile(model, truncation=truncation).value_and_grad(params, x, {})[1].params["a"].mean()
        for truncation in (None, sb.Window(window))
    )
    assert 1 - cut / whole == pytest.approx(a ** (2 * window), abs=1e-2)


@pytest.mark.parametrize("target, message", [("lstm", "takes a cell or a model, got str")])
def test_other_targets_are_refused(target: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        gradient_flow(target, {})


def test_run_of_no_steps_is_refused() -> None:
    with pytest.raises(ArgumentError, match="a run of no steps"):
        gradient_flow(independent, {"a": np.ones(2)}, {"x": np.zeros((0, 2))})
