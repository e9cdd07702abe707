"""Norms of adjoints and gradients over the whole range of floats, against closed forms in logarithms."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Param, State, Target, Window
from symbptt.clipping import joint_norm
from tests.kernels import kernel_of

pytestmark = pytest.mark.filterwarnings("error")


@sb.cell
def power(x: Input["n"], h: State["n"], s: State, a: Param[""]):
    return a * h + x, a * s


@sb.loss
def total(h: State["n"], s: State, y: Target["n"]):
    return sb.sum(h * y) + 0.0 * s


TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LONG = {np.float32: 120, np.float64: 900}
"""Steps over which a power of two stays a float while its square does not."""


def run_of(kernel: Any, a: float, steps: int, dtype: Any) -> Any:
    return kernel.forward({"a": dtype(a)}, {"x": np.zeros((steps, 2, 3), dtype)}, {"s": np.zeros(2, dtype)})


@TYPES
@pytest.mark.parametrize("a", [2.0, 0.5])
@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"truncation": Window(1000)}, {"truncation": Chunked(1000, 1000)}],
                         ids=["all", "sqrt", "window", "chunked"])  # fmt: skip
@pytest.mark.thinned(3)
def test_flow_is_right_wherever_the_norm_is_a_float(dtype: Any, a: float, options: Any) -> None:
    steps = LONG[dtype] if dtype == np.float32 or "truncation" not in options else 600
    kernel = kernel_of(power, **options)
    sent = {"h": np.full((2, 3), 1.0, dtype), "s": np.full(2, 3.0, dtype)}
    flow = kernel.backward(run_of(kernel, a, steps, dtype), sent, monitor=True).flow
    exponents = np.arange(steps - 1, -1, -1) * np.log2(a)
    np.testing.assert_allclose(np.log2(flow["h"]), exponents + np.log2(6) / 2, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.log2(flow["s"]), exponents + np.log2(18) / 2, rtol=0, atol=1e-4)


@pytest.mark.long
def test_flow_of_a_training_step_is_right_wherever_the_norm_is_a_float() -> None:
    for at in ("every", "last"):
        kernel = kernel_of(sb.model(power, total, at=at))
        x = np.zeros((120, 2, 3), np.float32)
        y = np.zeros_like(x)
        y[-1] = 1
        state = {"s": np.zeros(2, np.float32)}
        _, grads = kernel.value_and_grad(
            {"a": np.float32(2)}, {"x": x}, {"y": y if at == "every" else y[-1]}, state, monitor=True
        )
        np.testing.assert_allclose(np.log2(grads.flow["h"]), np.arange(119, -1, -1) + np.log2(6) / 2, rtol=0, atol=1e-4)


@TYPES
@pytest.mark.parametrize("sent", [1e-2, 0.25, 0.6, 0.95])
@pytest.mark.parametrize("limit", [1e-6, 1e-3, 0.5, 0.94])
@pytest.mark.thinned(5)
def test_clipped_adjoint_has_its_limit_wherever_that_is_a_float(dtype: Any, sent: float, limit: float) -> None:
    """`sent` and `limit` are places on the logarithmic scale between the least and the greatest float."""
    info = np.finfo(dtype)
    value, bound = (2.0 ** (info.minexp + k * (info.maxexp - info.minexp)) for k in (sent, limit))
    kernel = kernel_of(power, clip_adjoint=bound)
    cotangents = {"h": np.full((2, 3), value, dtype), "s": np.full(2, value, dtype)}
    got = kernel.backward(run_of(kernel, 1.0, 3, dtype), cotangents).state
    wanted = min(value, bound / 2)  # four equal entries: their norm is twice each
    for k in ("h", "s"):
        np.testing.assert_allclose(
            np.log2(got[k]), np.log2(wanted), rtol=0, atol=1e-3 if wanted < 2 * info.tiny else 1e-5
        )


def test_clipping_keeps_the_directions_of_entries_far_apart() -> None:
    kernel = kernel_of(power, clip_adjoint=1e30)
    sent = {"h": np.full((2, 3), 1e-5, np.float32), "s": np.full(2, 1e36, np.float32)}
    got = kernel.backward(run_of(kernel, 1.0, 1, np.float32), sent).state
    np.testing.assert_allclose(got["s"], 1e30, rtol=1e-6)
    np.testing.assert_allclose(got["h"], 1e-11, rtol=1e-6)


def test_one_sample_beyond_the_squares_leaves_the_others_alone() -> None:
    kernel = kernel_of(power, clip_adjoint=2.0)
    sent = np.array([[1e25] * 3, [0.5] * 3], np.float32)
    got = kernel.backward(run_of(kernel, 1.0, 4, np.float32), {"h": sent}).state["h"]
    np.testing.assert_allclose(got, [[2 / 3**0.5] * 3, [0.5] * 3], rtol=1e-6)


def test_zero_and_infinite_adjoints_stay_so() -> None:
    kernel = kernel_of(power)
    with np.errstate(all="ignore"):
        run = run_of(kernel, 1e30, 20, np.float32)
        assert not kernel.backward(run, {}, monitor=True).flow["h"].any()
        flow = kernel.backward(run, {"h": np.ones((2, 3), np.float32)}, monitor=True).flow["h"]
    assert np.isinf(flow[0]) and flow[-1] == np.float32(6**0.5)


@TYPES
@pytest.mark.parametrize("exponent", [0.99, 0.6, 0.3, -0.3, -0.6, -0.99])
def test_gradients_are_clipped_to_the_limit_whatever_their_size(dtype: Any, exponent: float) -> None:
    value = float(2.0 ** int(exponent * np.finfo(dtype).maxexp))
    gradients = {"U": np.full((2, 2), value, dtype), "b": np.zeros(3, dtype)}
    assert joint_norm(gradients.values()) == 2 * value
    got = sb.clip_by_norm(gradients, value / 8)
    np.testing.assert_array_equal(got["U"], np.full((2, 2), value / 16, dtype))
    assert got["U"].dtype == dtype and not got["b"].any()
    assert sb.clip_by_norm(gradients, 4 * value)["U"] is gradients["U"]


def test_gradients_far_beyond_the_limit_keep_their_digits() -> None:
    got = sb.clip_by_norm({"U": np.full((2, 2), 1e38, np.float32)}, 1e-6)["U"]
    np.testing.assert_allclose(got, 5e-7, rtol=1e-6)
    np.testing.assert_allclose(sb.clip_by_norm({"U": np.full((2, 2), 1e308)}, 1.0)["U"], 0.5, rtol=1e-15)


def test_gradient_flow_in_float32_reaches_as_far_as_float32() -> None:
    flow = sb.gradient_flow(power, {"a": np.float32(2)}, {"x": np.zeros((120, 3), np.float32)})
    np.testing.assert_allclose(np.diff(np.log2(flow.norms)), 1, rtol=0, atol=1e-4)
