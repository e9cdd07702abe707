"""What stability functions refuse: in three lines, with the place and the cure."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.errors import ArgumentError
from symbptt.zoo import lstm
from tests.dynamics import tanh_network

PARAMS = lstm.init({"m": 2, "n": 3})
X = np.random.default_rng(0).standard_normal((30, 2))
J = {"J": np.eye(4)}
ALONG = [sb.lyapunov_spectrum, sb.product_spectrum, sb.gradient_flow]


def refused(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("function", ALONG)
@pytest.mark.parametrize(
    "params, inputs, message",
    [
        (PARAMS, X, "inputs: a dict by name is expected, got ndarray"),
        (None, {"x": X}, "params: a dict by name is expected, got NoneType"),
        (PARAMS, None, "input 'x' is missing"),
        (PARAMS | {"bf": np.array([0.0, np.nan, 0])}, {"x": X}, "bf.*nan"),
        (PARAMS, {"x": np.where(X == X[3, 1], np.nan, X)}, "x: nan at step 3"),
        (PARAMS, {"x": X[:0]}, "a run of (0|no) steps"),
        (PARAMS, {"x": np.zeros((5, 0, 2))}, "(0|no) samples"),
    ],
)
def test_bad_data_are_refused(function: Any, params: Any, inputs: Any, message: str) -> None:
    refused(lambda: function(lstm, params, inputs), message)


@pytest.mark.parametrize("function", ALONG)
def test_a_cell_without_inputs_needs_steps(function: Any) -> None:
    refused(lambda: function(tanh_network, J), "say how many steps, steps=")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sb.lyapunov_spectrum(tanh_network, J, steps=30, transient=3.5), "transient: an integer is expected"),
        (lambda: sb.lyapunov_spectrum(tanh_network, J, steps=30, count="a"), "count: an integer is expected"),
        (lambda: sb.product_spectrum(tanh_network, J, steps=9, lags=np.array([1.5])), "lags: integers are expected"),
        (lambda: sb.product_spectrum(tanh_network, J, steps=9, lags=[10]), "lags from 10 to 10 of 9 steps"),
        (lambda: sb.gradient_flow(lstm, PARAMS, {"x": X}, {"y": X}), "the cell has no loss"),
        (lambda: sb.fixed_points(lstm, PARAMS, {"x": X}), r"x: \(m,\) is expected"),
        (lambda: sb.fixed_points(lstm, PARAMS, X), "inputs: a dict by name"),
        (lambda: sb.fixed_points("lstm", PARAMS), "takes a cell, got str"),
        (lambda: sb.fixed_points(tanh_network, J, seeds=0), "seeds are 1 or more"),
        (lambda: sb.kantorovich(tanh_network, J, None, np.zeros(5)), r"the point has shape \(5,\)"),
        (lambda: sb.mean_field("tan", sigma_w=1.0), "has no mean square"),
        (lambda: sb.mean_field("log", sigma_w=1.0), "has no mean square"),
        (lambda: sb.mean_field("tanhh", sigma_w=1.0), "is no activation"),
        (lambda: sb.mean_field("tanh", sigma_w="1"), "a number from 0, got '1'"),
        (lambda: sb.critical_line("tanh", sigma_b="a"), "a number from 0"),
    ],
)
def test_bad_options_are_refused(call: Any, message: str) -> None:
    refused(call, message)


def test_one_lag_needs_no_list() -> None:
    assert sb.product_spectrum(tanh_network, J, None, {"h": np.ones(4)}, 3, steps=9).lags.tolist() == [3]
