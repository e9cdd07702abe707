"""Textbook spellings that overflow: their values and gradients are finite far out and equal those of the stable functions;
what only looks like them keeps its own."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import special

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.language import stable_forms as idioms
from symbptt.verification import checks as verification
from tests import oracle

pytestmark = pytest.mark.filterwarnings("ignore:.*never used")
Spelling = Callable[[Any], Any]


def by_variable(v: Any) -> Any:
    e = np.exp(v)
    return e / np.sum(e)


def log_by_variable(v: Any) -> Any:
    e = np.exp(v)
    total = e.sum()
    return np.log(e / total)


def tanh_by_variables(v: Any) -> Any:
    up, down = np.exp(v), np.exp(-v)
    return (up - down) / (up + down)


def shifted_by_hand(v: Any) -> Any:
    e = np.exp(v - np.max(v))
    return e / e.sum()


SIGMOID: dict[str, Spelling] = {
    "1 / (1 + exp(-v))": lambda v: 1 / (1 + np.exp(-v)),
    "1.0 / (exp(-v) + 1.0)": lambda v: 1.0 / (np.exp(-v) + 1.0),
    "exp(v) / (1 + exp(v))": lambda v: np.exp(v) / (1 + np.exp(v)),
    "exp(v) / (exp(v) + 1)": lambda v: np.exp(v) / (np.exp(v) + 1),
    "(1 + exp(-v)) ** -1": lambda v: (1 + np.exp(-v)) ** -1,
    "(1 + exp(-v)) ** -1.0": lambda v: (1 + np.exp(-v)) ** -1.0,
    "power(1 + exp(-v), -1)": lambda v: np.power(1 + np.exp(-v), -1.0),
    "reciprocal(1 + exp(-v))": lambda v: np.reciprocal(1 + np.exp(-v)),
    "divide(1, add(1, exp(negative(v))))": lambda v: np.divide(1, np.add(1, np.exp(np.negative(v)))),
    "1 / (1 + 1 / exp(v))": lambda v: 1 / (1 + 1 / np.exp(v)),
    "1 - 1 / (1 + exp(v))": lambda v: 1 - 1 / (1 + np.exp(v)),
    "1 / (1 + exp(-1 * v))": lambda v: 1 / (1 + np.exp(-1 * v)),
    "1 / (1 + exp(-1.0 * v))": lambda v: 1 / (1 + np.exp(-1.0 * v)),
    "1 / (1 + exp(0 - v))": lambda v: 1 / (1 + np.exp(0 - v)),
    "1 / (1 + e ** -v)": lambda v: 1 / (1 + np.e**-v),
    "sb.exp": lambda v: 1 / (1 + sb.exp(-v)),
    "half a tanh": lambda v: 0.5 * (1 + np.tanh(v / 2)),
    "sb.sigmoid": sb.sigmoid,
}
SCALED: dict[str, Spelling] = {
    "1 / (1 + exp(-3 v))": lambda v: 1 / (1 + np.exp(-3 * v)),
    "1 / (1 + exp(-v / (1 / 3)))": lambda v: 1 / (1 + np.exp(-v / (1 / 3))),
    "1 / (1 + exp(-(3 v)))": lambda v: 1 / (1 + np.exp(-(3 * v))),
    "exp(3 v) / (1 + exp(3 v))": lambda v: np.exp(3 * v) / (1 + np.exp(3 * v)),
}
SILU: dict[str, Spelling] = {
    "v / (1 + exp(-v))": lambda v: v / (1 + np.exp(-v)),
    "v * (1 / (1 + exp(-v)))": lambda v: v * (1 / (1 + np.exp(-v))),
    "1 / (1 + exp(-v)) * v": lambda v: 1 / (1 + np.exp(-v)) * v,
    "v * exp(v) / (1 + exp(v))": lambda v: v * np.exp(v) / (1 + np.exp(v)),
    "v * (exp(v) / (1 + exp(v)))": lambda v: v * (np.exp(v) / (1 + np.exp(v))),
    "sb.silu": sb.silu,
}
SOFTPLUS: dict[str, Spelling] = {
    "log(1 + exp(v))": lambda v: np.log(1 + np.exp(v)),
    "log(exp(v) + 1)": lambda v: np.log(np.exp(v) + 1.0),
    "log1p(exp(v))": lambda v: np.log1p(np.exp(v)),
    "logaddexp(0, v)": lambda v: np.logaddexp(0, v),
    "logaddexp(v, 0)": lambda v: np.logaddexp(v, 0.0),
    "-log(sigmoid(-v))": lambda v: -np.log(1 / (1 + np.exp(v))),
    "sb.softplus": sb.softplus,
}
LOGISTIC: dict[str, Spelling] = {
    "exp(-v) / (1 + exp(-v)) ** 2": lambda v: np.exp(-v) / (1 + np.exp(-v)) ** 2,
    "exp(v) / (1 + exp(v)) ** 2": lambda v: np.exp(v) / (1 + np.exp(v)) ** 2,
    "exp(v) / square(1 + exp(v))": lambda v: np.exp(v) / np.square(1 + np.exp(v)),
    "2 exp(v) / 2 / ((1 + exp(v)) (1 + exp(v)))": lambda v: 2 * np.exp(v) / 2 / ((1 + np.exp(v)) * (1 + np.exp(v))),
    "exp(v) / (1 + exp(v)) / (1 + exp(v))": lambda v: np.exp(v) / (1 + np.exp(v)) / (1 + np.exp(v)),
    "sigmoid(v) * sigmoid(-v)": lambda v: sb.sigmoid(v) * sb.sigmoid(-v),
}
SIGMOID_POWERS: dict[str, Spelling] = {
    "1 / (1 + exp(-v)) ** 3": lambda v: 1 / (1 + np.exp(-v)) ** 3,
    "exp(v) ** 3 by factors": lambda v: np.exp(v) / (1 + np.exp(v)) * (1 / (1 + np.exp(-v)) ** 2),
}
ABS: dict[str, Spelling] = {
    "sqrt(v * v)": lambda v: np.sqrt(v * v),
    "sqrt(v ** 2)": lambda v: np.sqrt(v**2),
    "sqrt(square(v))": lambda v: np.sqrt(np.square(v)),
    "(v * v) ** 0.5": lambda v: (v * v) ** 0.5,
}
TANH: dict[str, Spelling] = {
    "(exp(v) - exp(-v)) / (exp(v) + exp(-v))": lambda v: (np.exp(v) - np.exp(-v)) / (np.exp(v) + np.exp(-v)),
    "by variables": tanh_by_variables,
    "(exp(2v) - 1) / (exp(2v) + 1)": lambda v: (np.exp(2 * v) - 1) / (np.exp(2 * v) + 1),
    "(exp(2v) - 1) / (1 + exp(2v))": lambda v: (np.exp(2 * v) - 1) / (1 + np.exp(2 * v)),
    "(1 - exp(-2v)) / (1 + exp(-2v))": lambda v: (1 - np.exp(-2 * v)) / (1 + np.exp(-2 * v)),
    "2 / (1 + exp(-2v)) - 1": lambda v: 2 / (1 + np.exp(-2 * v)) - 1,
    "1 - 2 / (1 + exp(2v))": lambda v: 1 - 2 / (1 + np.exp(2 * v)),
    "sinh(v) / cosh(v)": lambda v: np.sinh(v) / np.cosh(v),
    "expm1(2v) / (expm1(2v) + 2)": lambda v: np.expm1(2 * v) / (np.expm1(2 * v) + 2),
}
SOFTMAX: dict[str, Spelling] = {
    "exp(v) / sum(exp(v))": lambda v: np.exp(v) / np.sum(np.exp(v)),
    "by variable": by_variable,
    "exp(v) / exp(v).sum()": lambda v: np.exp(v) / np.exp(v).sum(),
    "exp(v) / sum(exp(v), axis=-1, keepdims=True)": lambda v: np.exp(v) / np.sum(np.exp(v), axis=-1, keepdims=True),
    "exp(v) / sum(exp(v), axis=0)": lambda v: np.exp(v) / np.sum(np.exp(v), axis=0),
    "exp(v) * (1 / sum(exp(v)))": lambda v: np.exp(v) * (1 / np.exp(v).sum()),
    "shifted by hand": shifted_by_hand,
    "sb.softmax": sb.softmax,
}
LOGSUMEXP: dict[str, Spelling] = {
    "log(sum(exp(v)))": lambda v: np.log(np.sum(np.exp(v))),
    "log(exp(v).sum())": lambda v: np.log(np.exp(v).sum()),
    "log(sum(exp(v), axis=-1, keepdims=True))[0]": lambda v: np.log(np.sum(np.exp(v), axis=-1, keepdims=True))[0],
    "shifted by hand": lambda v: np.max(v) + np.log(np.exp(v - np.max(v)).sum()),
    "sb.logsumexp": sb.logsumexp,
}
LOG_SOFTMAX: dict[str, Spelling] = {
    "v - log(sum(exp(v)))": lambda v: v - np.log(np.sum(np.exp(v))),
    "log(exp(v) / sum(exp(v)))": lambda v: np.log(np.exp(v) / np.sum(np.exp(v))),
    "by variable": log_by_variable,
    "log(exp(v) / sum(exp(v), keepdims=True))": lambda v: np.log(np.exp(v) / np.sum(np.exp(v), axis=0, keepdims=True)),
    "log(sb.softmax(v))": lambda v: np.log(sb.softmax(v)),
    "log of a softmax shifted by hand": lambda v: np.log(shifted_by_hand(v)),
    "sb.log_softmax": sb.log_softmax,
}


def sigmoid_slope(v: Any) -> Any:
    return special.expit(v) * special.expit(-v)


def softmax_slope(v: Any, bar: Any) -> Any:
    s = special.softmax(v)
    return s * (bar - np.sum(s * bar))


def log_softmax_slope(v: Any, bar: Any) -> Any:
    return bar - special.softmax(v) * np.sum(bar)


TRUE: dict[str, tuple[dict[str, Spelling], Spelling, Callable[[Any, Any], Any]]] = {
    "sigmoid": (SIGMOID, special.expit, lambda v, bar: bar * sigmoid_slope(v)),
    "scaled sigmoid": (SCALED, lambda v: special.expit(3 * v), lambda v, bar: 3 * bar * sigmoid_slope(3 * v)),
    "silu": (SILU, lambda v: v * special.expit(v), lambda v, bar: bar * (special.expit(v) + v * sigmoid_slope(v))),
    "logistic": (LOGISTIC, sigmoid_slope, lambda v, bar: bar * sigmoid_slope(v) * (1 - 2 * special.expit(v))),
    "cube of sigmoid": (
        SIGMOID_POWERS,
        lambda v: special.expit(v) ** 3,
        lambda v, bar: 3 * bar * special.expit(v) ** 2 * sigmoid_slope(v),
    ),
    "abs": (ABS, np.abs, lambda v, bar: bar * np.sign(v)),
    "softplus": (SOFTPLUS, lambda v: np.logaddexp(v, 0), lambda v, bar: bar * special.expit(v)),
    "tanh": (TANH, np.tanh, lambda v, bar: bar * 4 * sigmoid_slope(2 * v)),
    "softmax": (SOFTMAX, special.softmax, softmax_slope),
    "logsumexp": (LOGSUMEXP, special.logsumexp, lambda v, bar: bar * special.softmax(v)),
    "log_softmax": (LOG_SOFTMAX, special.log_softmax, log_softmax_slope),
}
"""Each function: its spellings, its value, and its pullback, by SciPy's stable functions."""

CASES = [(name, text) for name, (spellings, _, _) in TRUE.items() for text in spellings]
POINTS = {
    "far out": [1000.0, -1000.0, 3.0, 1000.0, -1000.0, 0.5],
    "all high": [1000.0, 990.0, 1000.0, 999.0, 0.1, 995.0],
    "all low": [-1000.0, -990.0, -1000.0, -999.0, -996.0, -995.0],
    "moderate": [0.3, -2.0, 1.0, 4.0, -0.7, 0.01],
}


@cache
def kernel_of(name: str, text: str) -> sb.Kernel:
    spelling = TRUE[name][0][text]

    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return {"h": 0.0 * h, "y": spelling(x)}

    return sb.compile(step)


def value_and_pullback(name: str, text: str, v: Any) -> tuple[Any, Any, Any]:
    """The value at v, its gradient for a cotangent, and the cotangent; one step, one sample."""
    kernel = kernel_of(name, text)
    run = kernel.forward({}, {"x": v[None]})
    y = run.outputs["y"][0]
    bar = np.linspace(-1, 1.5, y.size, dtype=v.dtype).reshape(y.shape)
    return y, kernel.backward(run, {"y": bar[None]}).inputs["x"][0], bar


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "text"), CASES)
@pytest.mark.thinned(11, 2)
def test_spelling_is_the_stable_function_in_value_and_gradient(name: str, text: str) -> None:
    for dtype, (at, numbers) in itertools.product((np.float32, np.float64), POINTS.items()):
        v = np.array(numbers, dtype)
        y, slope, bar = value_and_pullback(name, text, v)
        assert y.dtype == slope.dtype == dtype
        _, value, pullback = TRUE[name]
        wide, eps = v.astype(float), float(np.finfo(dtype).eps)
        for got, wanted in ((y, value(wide)), (slope, pullback(wide, bar.astype(float)))):
            assert np.isfinite(got).all(), (at, dtype)
            close = 30 * eps * max(1.0, np.max(np.abs(wanted)))
            np.testing.assert_allclose(got, wanted, rtol=0, atol=close, err_msg=f"{at}, {dtype}")


@pytest.mark.parametrize("text", [
    "log(1 + exp(v))", "log1p(exp(v))", "sb.softplus",
    "logaddexp(0, v)", "logaddexp(v, 0)",
])  # fmt: skip
def test_softplus_has_slope_one_half_at_zero(text: str) -> None:
    _, slope, bar = value_and_pullback("softplus", text, np.zeros(2))
    np.testing.assert_array_equal(slope, bar / 2)


# Over time, where a gradient that is not finite spreads to every parameter.


@pytest.mark.parametrize(("name", "text"), CASES)
@pytest.mark.thinned(11, 3)
def test_gradients_over_time_are_finite_far_out(name: str, text: str) -> None:
    spelling = TRUE[name][0][text]

    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
        v = W @ x + U @ h
        return 0.001 * spelling(v) + 0.5 * np.tanh(h)

    kernel = sb.compile(step)
    for dtype in (np.float32, np.float64):
        params = {"W": np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype), "U": np.eye(4, dtype=dtype)}
        x = np.array([[[1000.0, 0.0]], [[-1000.0, 1000.0]], [[0.0, -1000.0]], [[1000.0, 1000.0]]], dtype)
        run = kernel.forward(params, {"x": x})
        assert np.isfinite(run.states["h"]).all()
        for array in oracle.flat(kernel.backward(run, {"h": np.ones((4, 1, 4), dtype)})).values():
            assert array.dtype == dtype and np.isfinite(array).all()


# Matrices: along one axis, with the axis kept or not.

AXES: dict[str, tuple[Spelling, Spelling]] = {
    "rows, kept": (lambda M: np.exp(M) / np.sum(np.exp(M), axis=1, keepdims=True), lambda M: special.softmax(M, 1)),
    "rows, put back": (lambda M: np.exp(M) / np.sum(np.exp(M), axis=1)[:, None], lambda M: special.softmax(M, 1)),
    "columns": (lambda M: np.exp(M) / np.exp(M).sum(axis=0), lambda M: special.softmax(M, 0)),
    "columns, kept": (lambda M: np.exp(M) / np.exp(M).sum(0, keepdims=True), lambda M: special.softmax(M, 0)),
    "all of it": (lambda M: np.exp(M) / np.exp(M).sum(), lambda M: special.softmax(M)),
    "logsumexp of rows": (lambda M: np.log(np.sum(np.exp(M), axis=-1)), lambda M: special.logsumexp(M, 1)),
    "logsumexp of columns": (lambda M: np.log(np.exp(M).sum(axis=0)), lambda M: special.logsumexp(M, 0)),
    "logsumexp of rows, kept": (
        lambda M: np.log(np.exp(M).sum(1, keepdims=True)), lambda M: special.logsumexp(M, 1, keepdims=True)),
    "logsumexp of all": (lambda M: np.log(np.sum(np.exp(M))), special.logsumexp),
    "log-softmax of rows": (
        lambda M: np.log(np.exp(M) / np.exp(M).sum(1, keepdims=True)), lambda M: special.log_softmax(M, 1)),
    "log-softmax by difference": (
        lambda M: M - np.log(np.exp(M).sum(0, keepdims=True)), lambda M: special.log_softmax(M, 0)),
}  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("name", AXES)
@pytest.mark.thinned(3)
def test_spelling_along_an_axis_is_the_stable_function(name: str, scale: float) -> None:
    spelling, wanted = AXES[name]

    @sb.cell
    def step(X: Input["n n"], h: State["n"]):
        return {"h": h, "y": spelling(X)}

    kernel, X = sb.compile(step), scale * np.random.default_rng(0).standard_normal((1, 3, 3))
    run = kernel.forward({}, {"X": X})
    np.testing.assert_allclose(run.outputs["y"][0], wanted(X[0]), rtol=1e-12, atol=1e-300)
    cotangents = {"y": np.random.default_rng(1).standard_normal(run.outputs["y"].shape)}
    grads = kernel.backward(run, cotangents)
    assert np.isfinite(grads.inputs["X"]).all()
    if scale == 1:
        groups, cotangents = ({}, {"X": X[:, None]}, {"h": np.zeros((1, 3))}), {"y": cotangents["y"][:, None]}
        oracle.assert_blocks_close({"X": grads.inputs["X"][:, None], "h": grads.state["h"][None]},
                                   oracle.gradients(step, *groups, cotangents, 1), 1e-10)  # fmt: skip


# What only looks like one of them. x, y in (-1, 1); M square.

NEAR: dict[str, Callable[[Any, Any, Any], Any]] = {
    "1 / (2 + exp(-x))": lambda x, y, M: 1 / (2 + np.exp(-x)),
    "2 / (1 + exp(-x))": lambda x, y, M: 2 / (1 + np.exp(-x)),
    "1 / (1 - exp(-x))": lambda x, y, M: 1 / (1 - np.exp(-2 - x)),
    "1 / (1 + exp(-x) ** 2)": lambda x, y, M: 1 / (1 + np.exp(-x) ** 2),
    "1 / (1 + 2 exp(-x))": lambda x, y, M: 1 / (1 + 2 * np.exp(-x)),
    "1 / (1 + exp(-x) + exp(-y))": lambda x, y, M: 1 / (1 + np.exp(-x) + np.exp(-y)),
    "-1 / (1 + exp(-x))": lambda x, y, M: -1 / (1 + np.exp(-x)),
    "1 / -(1 + exp(-x))": lambda x, y, M: 1 / -(1 + np.exp(-x)),
    "1 / (1 + exp(-x)) ** 2": lambda x, y, M: 1 / (1 + np.exp(-x)) ** 2,
    "(1 + exp(-x)) ** -2": lambda x, y, M: (1 + np.exp(-x)) ** -2,
    "1 / (1 + sinh(x))": lambda x, y, M: 1 / (3 + np.sinh(x)),
    "exp(x) / (1 + exp(y))": lambda x, y, M: np.exp(x) / (1 + np.exp(y)),
    "exp(-x) / (1 + exp(x))": lambda x, y, M: np.exp(-x) / (1 + np.exp(x)),
    "exp(x) / (1 + exp(-x))": lambda x, y, M: np.exp(x) / (1 + np.exp(-x)),
    "exp(x) / (exp(x) + exp(y))": lambda x, y, M: np.exp(x) / (np.exp(x) + np.exp(y)),
    "y / (1 + exp(-x))": lambda x, y, M: y / (1 + np.exp(-x)),
    "x / (1 + exp(x))": lambda x, y, M: x / (1 + np.exp(x)),
    "1 / (x + exp(-x))": lambda x, y, M: 1 / (3 + x + np.exp(-x)),
    "ones / (1 + exp(-M))": lambda x, y, M: np.ones(3) / (1 + np.exp(-M)),
    "array / (1 + exp(-x))": lambda x, y, M: np.array([1.0, 2.0, 3.0]) / (np.array([1.0, 1.0, 2.0]) + np.exp(-x)),
    "log(1 - exp(x))": lambda x, y, M: np.log(1 - np.exp(x - 2)),
    "log(2 + exp(x))": lambda x, y, M: np.log(2 + np.exp(x)),
    "log(1 + exp(x) + exp(y))": lambda x, y, M: np.log(1 + np.exp(x) + np.exp(y)),
    "log(1 + x)": lambda x, y, M: np.log(1 + x / 2),
    "log(1 + exp(x) ** 2)": lambda x, y, M: np.log(1 + np.exp(x) ** 2),
    "log1p(exp(x) + 1)": lambda x, y, M: np.log1p(np.exp(x) + 1),
    "log1p(-exp(x))": lambda x, y, M: np.log1p(-np.exp(x - 2)),
    "log2(1 + exp(x))": lambda x, y, M: np.log2(1 + np.exp(x)),
    "(exp(x) - exp(-y)) / (exp(x) + exp(-x))": lambda x, y, M: (np.exp(x) - np.exp(-y)) / (np.exp(x) + np.exp(-x)),
    "(exp(x) - exp(y)) / (exp(x) + exp(y))": lambda x, y, M: (np.exp(x) - np.exp(y)) / (np.exp(x) + np.exp(y)),
    "(exp(-x) - exp(x)) / (exp(x) + exp(-x))": lambda x, y, M: (np.exp(-x) - np.exp(x)) / (np.exp(x) + np.exp(-x)),
    "(exp(x) + exp(-x)) / (exp(x) - exp(-x))": lambda x, y, M: (np.exp(3 + x) + np.exp(-3 - x)) / (np.exp(3 + x) - np.exp(-3 - x)),
    "(exp(x) + exp(-x)) / (exp(x) + exp(-x))": lambda x, y, M: (np.exp(x) + np.exp(-x)) / (np.exp(y) + np.exp(-x)),
    "(1 - exp(x)) / (1 + exp(-x))": lambda x, y, M: (1 - np.exp(x)) / (1 + np.exp(-x)),
    "(1 - exp(x)) / (1 + exp(x))": lambda x, y, M: (1 - np.exp(x)) / (1 + np.exp(x)),
    "(exp(x) - 2) / (exp(x) + 2)": lambda x, y, M: (np.exp(x) - 2) / (np.exp(x) + 2),
    "(exp(x) - 1) / (exp(x) + 2)": lambda x, y, M: (np.exp(x) - 1) / (np.exp(x) + 2),
    "exp(x) / (1 + exp(y)) ** 2": lambda x, y, M: np.exp(x) / (1 + np.exp(y)) ** 2,
    "exp(-x) / (1 + exp(x)) ** 2": lambda x, y, M: np.exp(-x) / (1 + np.exp(x)) ** 2,
    "exp(x) / ((1 + exp(x)) (1 + exp(y)))": lambda x, y, M: np.exp(x) / ((1 + np.exp(x)) * (1 + np.exp(y))),
    "y * exp(x) / (1 + exp(x)) ** 3": lambda x, y, M: y * np.exp(x) / (1 + np.exp(x)) ** 3,
    "exp(x) ** 2 / (1 + exp(x)) ** 2": lambda x, y, M: np.exp(x) ** 2 / (1 + np.exp(x)) ** 2,
    "sqrt(x * y)": lambda x, y, M: np.sqrt((2 + x) * (2 + y)),
    "cosh(x) / sinh(x)": lambda x, y, M: np.cosh(3 + x) / np.sinh(3 + x),
    "sinh(x) / cosh(y)": lambda x, y, M: np.sinh(x) / np.cosh(y),
    "exp(x) / sum(exp(y))": lambda x, y, M: np.exp(x) / np.sum(np.exp(y)),
    "exp(x) / sum(exp(-x))": lambda x, y, M: np.exp(x) / np.sum(np.exp(-x)),
    "exp(x) / (1 + sum(exp(x)))": lambda x, y, M: np.exp(x) / (1 + np.sum(np.exp(x))),
    "exp(x) / mean(exp(x))": lambda x, y, M: np.exp(x) / np.mean(np.exp(x)),
    "exp(x) / max(exp(x))": lambda x, y, M: np.exp(x) / np.max(np.exp(x)),
    "exp(x) / sum(x * exp(x))": lambda x, y, M: np.exp(x) / (5 + np.sum(x * np.exp(x))),
    "exp(x) / sum(exp(x)[1:])": lambda x, y, M: np.exp(x) / np.sum(np.exp(x)[1:]),
    "y * exp(x) / sum(exp(x))": lambda x, y, M: y * np.exp(x) / np.sum(np.exp(x)),
    "y * exp(x) / sum(y * exp(x))": lambda x, y, M: (2 + y) * np.exp(x) / np.sum((2 + y) * np.exp(x)),
    "exp(x) / cumsum(exp(x))": lambda x, y, M: np.exp(x) / np.cumsum(np.exp(x)),
    "exp(M) / sum over the other axis": lambda x, y, M: np.exp(M) / np.exp(M).sum(axis=1),
    "exp(M) / sum of columns as a column": lambda x, y, M: np.exp(M) / np.exp(M).sum(axis=0)[:, None],
    "exp(M) / sum of the transpose": lambda x, y, M: np.exp(M) / np.exp(M.T).sum(axis=0),
    "exp(M).T / sum": lambda x, y, M: np.exp(M).T / np.exp(M).sum(axis=0),
    "exp(M)[0] / sum of rows": lambda x, y, M: np.exp(M)[0] / np.exp(M).sum(axis=0),
    "log(sum(exp(x)) + 2)": lambda x, y, M: np.log(np.sum(np.exp(x)) + 2),
    "log(mean(exp(x)))": lambda x, y, M: np.log(np.mean(np.exp(x))),
    "log(sum(y * exp(x)))": lambda x, y, M: np.log(np.sum((2 + y) * np.exp(x))),
    "log(sum(exp(x) ** 2))": lambda x, y, M: np.log(np.sum(np.exp(x) ** 2)),
    "log(sum(x))": lambda x, y, M: np.log(5 + np.sum(x)),
    "x - log(sum(exp(y)))": lambda x, y, M: x - np.log(np.sum(np.exp(y))),
    "log(exp(x) / sum(exp(y)))": lambda x, y, M: np.log(np.exp(x) / np.sum(np.exp(y))),
    "log(sum(exp(x - max(y))))": lambda x, y, M: np.log(np.sum(np.exp(x - np.max(y)))),
}  # fmt: skip


@pytest.mark.parametrize("text", NEAR)
@pytest.mark.thinned(11, 3)
def test_what_only_looks_like_an_idiom_keeps_its_value_and_gradient(text: str) -> None:
    expression = NEAR[text]

    @sb.cell
    def step(x: Input["3"], y: Input["3"], h: State["3"], M: Param["3 3"]):
        return {"h": 0.5 * h + sb.sum(M), "z": expression(x + h, y, M)}

    groups = oracle.draw(step, 2, 2, {}, scale=0.05)
    groups[1]["x"], groups[1]["y"] = np.tanh(groups[1]["x"]), np.tanh(groups[1]["y"])
    kernel = sb.compile(step)
    run = kernel.forward(*groups)
    oracle.assert_blocks_close({**run.states, **run.outputs}, oracle.run(step, *groups, 2), 1e-13)
    cotangents = oracle.cotangents_of(step, groups, 2)
    wanted = oracle.gradients(step, *groups, cotangents, 2)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents)), wanted, 1e-11)


FAR_FROM_ANOTHER_MAXIMUM: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "softmax": (lambda x, y: np.exp(x - np.max(y)) / np.sum(np.exp(x - np.max(y))), lambda x, y: special.softmax(x)),
    "softmax of differences": (lambda x, y: np.exp(x - np.max(y) * y) / np.exp(x - np.max(y) * y).sum(),
                               lambda x, y: special.softmax(x - np.max(y) * y)),
    "logsumexp": (lambda x, y: np.log(np.sum(np.exp(x - np.max(y)))), lambda x, y: special.logsumexp(x - np.max(y))),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("name", FAR_FROM_ANOTHER_MAXIMUM)
def test_maximum_of_something_else_is_no_shift(name: str) -> None:
    expression, wanted = FAR_FROM_ANOTHER_MAXIMUM[name]

    @sb.cell
    def step(x: Input["n"], y: Input["n"], h: State["n"]):
        return {"h": h, "z": expression(x, y)}

    kernel, x, y = sb.compile(step), np.array([[1000.0, 999.0, -1000.0]]), np.array([[0.5, 0.25, -1.0]])
    run = kernel.forward({}, {"x": x, "y": y})
    np.testing.assert_allclose(run.outputs["z"][0], wanted(x[0], y[0]), rtol=1e-12)
    grads = kernel.backward(run, {"z": np.ones_like(run.outputs["z"])})
    assert np.isfinite(grads.inputs["x"]).all() and np.isfinite(grads.inputs["y"]).all()


# The graph after recognition.


@pytest.mark.parametrize(("name", "text"), [("sigmoid", "1 / (1 + exp(-v))"), ("sigmoid", "exp(v) / (1 + exp(v))"),
                                            ("silu", "v / (1 + exp(-v))")])  # fmt: skip
def test_recognised_sigmoid_reads_as_one_in_the_equations(name: str, text: str) -> None:
    assert "σ(x_t)" in sb.derive(kernel_of(name, text).cell).text()


def test_plain_call_computes_what_the_user_wrote() -> None:
    """The oracle stays the user's: only kernels are made stable."""
    cell = kernel_of("softmax", "exp(v) / sum(exp(v))").cell
    with np.errstate(all="ignore"):
        assert np.isnan(cell(np.array([1000.0, 0.0]), np.zeros(2))["y"][0])


@pytest.mark.parametrize("name", TRUE)
@pytest.mark.thinned(17, 2)
def test_spelling_is_verified(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy, *_, saturated, _, extreme = verification.REGIMES
    monkeypatch.setattr(verification, "REGIMES", (replace(healthy, long=False), saturated, extreme))
    spellings, _, _ = TRUE[name]
    first = next(iter(spellings.values()))

    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + first(w * h + x)

    report = sb.verify(step)
    assert report.passed, str(report)


ROOTS: dict[str, Spelling] = {
    "power": lambda k: k * np.sum(k * k) ** -0.5,
    "power of a product": lambda k: k * (k @ k) ** -0.5,
    "power of a mean": lambda k: k * np.power(np.mean(np.square(k)), -0.5),
    "power of einsum": lambda k: k * np.einsum("i,i", k, k) ** (-1 / 2),
    "power of a variance": lambda k: (k - k.mean()) * np.var(k) ** -0.5,
    "one over a root": lambda k: k * (1 / np.sqrt(np.sum(k**2))),
    "power of a maximum": lambda k: k * np.maximum(np.sum(k * k), 1e-30) ** -0.5,
}


def of_scale(body: Spelling, scale: float) -> Any:
    """The gradient of a norm in single precision, that does not depend on the scale of its argument but for 1 / scale."""

    @sb.cell
    def normed(x: Input["n"], h: State["n"]):
        return 0.5 * h + body(x)

    kernel = sb.compile(normed)
    run = kernel.forward({}, {"x": np.float32(scale) * np.array([[[1, 2, -3]]], np.float32)})
    found = kernel.backward(run, {"h": np.array([[1, -2, 4]], np.float32)}).inputs["x"]
    return scale * found.astype(float).ravel()


@pytest.mark.parametrize("scale", [1e-12, 1e10, 1e15, 1e18])
@pytest.mark.parametrize("body", ROOTS.values(), ids=ROOTS)
@pytest.mark.thinned(7, 2)
def test_gradient_of_a_norm_keeps_its_digits_at_any_scale(body: Spelling, scale: float) -> None:
    x = np.array([1.0, 2, -3])
    by_step = [np.imag(np.array([1, -2, 4]) @ body(x + 1e-30j * e)) / 1e-30 for e in np.eye(3)]
    if body is ROOTS["power of a variance"] or body is ROOTS["power of a maximum"]:  # NumPy's take no complex numbers
        by_step = [np.array([1, -2, 4]) @ (body(x + 1e-6 * e) - body(x - 1e-6 * e)) / 2e-6 for e in np.eye(3)]
    np.testing.assert_allclose(of_scale(body, scale), by_step, rtol=1e-5, atol=1e-6)


def test_norm_without_its_rule_loses_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tuple(rule for rule in idioms.RULES if rule is not idioms._one_over_root)
    monkeypatch.setattr(idioms, "RULES", rules)
    assert not np.allclose(of_scale(ROOTS["power"], 1e15), of_scale(ROOTS["power"], 1.0), rtol=1e-2)
