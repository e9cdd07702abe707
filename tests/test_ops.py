"""The primitive table: what each function computes, its derivative, its conventions at kinks and far out."""

import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
import sympy as sp

import symbptt as sb
from symbptt import Input, State, ops, special
from symbptt.ir.node import placeholder
from symbptt.language.functions import ELEMENTWISE

EVERY_OP = pytest.mark.parametrize("op", ops.OPS, ids=[op.name for op in ops.OPS])
UNARY = [op for op in ops.OPS if op.arity == 1]
EVERY_UNARY = pytest.mark.parametrize("op", UNARY, ids=[op.name for op in UNARY])
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FAR = np.array([-1000.0, -100.0, 100.0, 1000.0])

MEANING: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "expm1": mpmath.expm1,
    "log1p": lambda x: mpmath.log(1 + x),
    "relu": lambda x: x if x > 0 else mpmath.mpf(0),
    "absolute": lambda x: x if x >= 0 else -x,
    "sign": lambda x: (x > 0) - (x < 0),
    "floor": mpmath.floor,
    "hypot": mpmath.hypot,
    "arctan2": mpmath.atan2,
    "mod": lambda a, b: a - b * mpmath.floor(a / b),
    "fmod": lambda a, b: a - b * (mpmath.floor(a / b) if a / b > 0 else mpmath.ceil(a / b)),
    "floor_divide": lambda a, b: mpmath.floor(a / b),
    "maximum": lambda a, b: a if a > b else b,
    "minimum": lambda a, b: a if a < b else b,
    "where": lambda c, a, b: a if c else b,
    "greater": lambda a, b: int(a > b),
    "greater_equal": lambda a, b: int(a >= b),
    "less": lambda a, b: int(a < b),
    "less_equal": lambda a, b: int(a <= b),
    "equal": lambda a, b: int(a == b),
    "not_equal": lambda a, b: int(a != b),
    "logical_and": lambda a, b: int(bool(a) and bool(b)),
    "logical_or": lambda a, b: int(bool(a) or bool(b)),
    "logical_not": lambda a: int(not a),
    "stop_gradient": lambda a: a,
}
"""The library's own SymPy functions, spelled a second time."""


def placeholders(op: ops.Op) -> list[sp.Symbol]:
    return [placeholder(i) for i in range(op.arity)]


def exact(expr: sp.Expr, symbols: list[sp.Symbol], point: tuple[float, ...]) -> float:
    """A SymPy expression at a point in 40 digits."""
    with mpmath.workdps(40):
        return float(sp.lambdify(symbols, expr, [MEANING, "mpmath"])(*map(mpmath.mpf, point)))


def points(op: ops.Op) -> list[tuple[float, ...]]:
    """Points of the domain, away from kinks and ties."""
    low, high = op.domain
    count = 15 if op.arity == 1 else 4
    grid = [low + (high - low) * (i + 0.37) / count for i in range(count)]
    axes = [[v + 0.011 * axis for v in grid] for axis in range(op.arity)]
    return [p for p in itertools.product(*axes) if all(abs(v - kink) > 0.02 for v in p for kink in op.kinks)]


def one_op_cell(function: Callable[..., Any]) -> sb.Cell:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return function(x) + 0 * h

    return step


def slope(function: Callable[..., Any], at: Any, dtype: Any = np.float64) -> Any:
    """The derivative of an elementwise function, as generated code computes it."""
    kernel = sb.compile(one_op_cell(function))
    x = np.atleast_1d(np.asarray(at, dtype))
    run = kernel.forward({}, {"x": x[None]})
    return kernel.backward(run, {"h": np.ones((1, len(x)), dtype)}).inputs["x"][0]


@EVERY_OP
@pytest.mark.thinned(7)
def test_numpy_function_is_the_sympy_body(op: ops.Op) -> None:
    symbols = placeholders(op)
    for point in points(op):
        got = op.evaluate(*(np.array([v]) for v in point))
        np.testing.assert_allclose(got, [exact(op.body(*symbols), symbols, point)], rtol=1e-12, atol=1e-15)


@EVERY_OP
@pytest.mark.thinned(7)
def test_complex_step_is_the_sympy_derivative(op: ops.Op) -> None:
    symbols = placeholders(op)
    body = op.body(*symbols)
    for i in range(op.arity):
        derivative = sp.diff(body, symbols[i])
        for point in points(op):
            moved = [np.array([v + 1e-30j]) if j == i else np.array([v]) for j, v in enumerate(point)]
            got = np.imag(op.evaluate(*moved)) / 1e-30
            np.testing.assert_allclose(got, [exact(derivative, symbols, point)], rtol=1e-11, atol=1e-14)


@EVERY_OP
def test_composed_functions_have_no_code_and_are_made_of_those_that_have(op: ops.Op) -> None:
    body = op.body(*placeholders(op))
    inside = {f.func for f in body.atoms(sp.Function)}
    assert inside <= set(ops.PRIMITIVES)
    is_itself = (body.func is op.body and set(body.args) == set(placeholders(op))) or op.name == "sqrt"
    assert bool(op.code) == is_itself


def test_names_are_unique() -> None:
    assert len(ops.BY_NAME) == len(ops.OPS + ops.COMPLEX_OPS)
    numpy_names = [name for op in ops.OPS for name in op.numpy]
    assert len(set(numpy_names)) == len(numpy_names)


@EVERY_OP
def test_numpy_names_mean_the_function(op: ops.Op) -> None:
    for name in op.numpy:
        function = getattr(np, name)
        for point in points(op):
            arguments = [np.array([v]) for v in point]
            if name in ("bitwise_and", "bitwise_or", "invert"):
                arguments = [a > 0 for a in arguments]
            np.testing.assert_allclose(op.evaluate(*arguments), function(*arguments), rtol=1e-14, atol=1e-15)


@EVERY_UNARY
@FLOATS
def test_evaluation_keeps_the_float_type(op: ops.Op, dtype: Any) -> None:
    got = op.evaluate(np.array([p[0] for p in points(op)], dtype))
    assert got.dtype in (dtype, bool)


BOUNDED_GROWTH = [op for op in UNARY if op.name not in ("exp", "expm1", "sinh", "cosh", "tan") and op.domain[0] < -1]


@pytest.mark.parametrize("op", BOUNDED_GROWTH, ids=[op.name for op in BOUNDED_GROWTH])
@FLOATS
@pytest.mark.filterwarnings("error")
@pytest.mark.thinned(7, 2)
def test_value_and_slope_are_finite_far_out(op: ops.Op, dtype: Any) -> None:
    """Where the function itself does not overflow, neither do its value nor its gradient, in either float type."""
    with np.errstate(over="ignore", under="ignore"):
        assert np.isfinite(op.evaluate(FAR.astype(dtype))).all()
        if op.name in ("logical_not",):
            return
        kernel = sb.compile(one_op_cell(ELEMENTWISE[op.name]))
        run = kernel.forward({}, {"x": FAR.astype(dtype)[None]})
        grads = kernel.backward(run, {"h": np.ones((1, 4), dtype)})
    assert np.isfinite(run.states["h"]).all()
    assert grads.inputs["x"].dtype == dtype
    assert np.isfinite(grads.inputs["x"]).all()


@pytest.mark.parametrize(("name", "left", "right"), [
    ("tanh", 0, 0), ("sigmoid", 0, 0), ("relu", 0, 1), ("leaky_relu", 0.01, 1), ("elu", 0, 1), ("gelu", 0, 1),
    ("silu", 0, 1), ("mish", 0, 1), ("softplus", 0, 1), ("hard_sigmoid", 0, 0), ("hard_tanh", 0, 0), ("erf", 0, 0),
    ("selu", 0, 1.0507009873554805), ("abs", -1, 1),
])  # fmt: skip
def test_slope_far_out_is_the_limit(name: str, left: float, right: float) -> None:
    np.testing.assert_allclose(slope(getattr(sb, name), FAR), [left, left, right, right], atol=1e-40, rtol=1e-15)


@pytest.mark.parametrize(("function", "at", "expected"), [
    (sb.relu, 0.0, 0.0),
    (lambda x: np.maximum(x, 0), 0.0, 0.0),
    (lambda x: np.maximum(0.0, x), 0.0, 0.0),
    (sb.abs, 0.0, 0.0),
    (sb.sign, 0.0, 0.0),
    (sb.leaky_relu, 0.0, 0.01),
    (sb.elu, 0.0, 1.0),
    (lambda x: sb.minimum(x, 1.0), 1.0, 0.0),
    (lambda x: sb.maximum(x, -1.0), -1.0, 0.0),
    (lambda x: sb.clip(x, -1.0, 2.0), [-1.0, 2.0, 0.0, -3.0, 3.0], [0.0, 0.0, 1.0, 0.0, 0.0]),
    (sb.hard_tanh, [-1.0, 1.0], [0.0, 0.0]),
    (lambda x: np.maximum(x, sb.stop_gradient(x)), 0.7, 0.5),
    (lambda x: np.minimum(x, sb.stop_gradient(x)), 0.7, 0.5),
    (lambda x: np.maximum(x, x), 0.7, 1.0),
])  # fmt: skip
def test_slope_at_a_tie_is_the_documented_one(function: Callable[..., Any], at: Any, expected: Any) -> None:
    np.testing.assert_array_equal(slope(function, at), np.atleast_1d(expected))


@pytest.mark.parametrize("op", [op for op in UNARY if op.kinks and op.name != "floor"], ids=lambda op: op.name)
def test_complex_step_at_a_kink_is_the_slope_of_generated_code(op: ops.Op) -> None:
    """So that a check by complex step agrees with the documented convention where a cell starts at zero."""
    kinks = np.array(op.kinks)
    got = np.imag(op.evaluate(kinks + 1e-30j)) / 1e-30
    np.testing.assert_array_equal(got, slope(ELEMENTWISE[op.name], kinks))


def test_equal_maxima_share_the_gradient() -> None:
    @sb.cell
    def step(x: Input["n"], h: State):
        return sb.max(x) + 0 * h

    kernel = sb.compile(step)
    run = kernel.forward({}, {"x": np.array([[1.0, 3.0, 3.0, 2.0]])})
    np.testing.assert_array_equal(kernel.backward(run, {"h": np.ones(1)}).inputs["x"], [[0, 0.5, 0.5, 0]])


def test_no_gradient_passes_stop_gradient() -> None:
    np.testing.assert_array_equal(slope(lambda x: x * sb.stop_gradient(x), 3.0), [3.0])


@pytest.mark.parametrize("name", ["relu", "maximum", "minimum", "sigmoid", "softplus", "abs", "clip"])
def test_not_a_number_stays_not_a_number(name: str) -> None:
    op = ops.BY_NAME[name]
    with np.errstate(invalid="ignore"):
        assert np.isnan(op.evaluate(np.array([np.nan]), *[0.0, 1.0][: op.arity - 1])).all()


GRID = np.concatenate(
    [np.linspace(-6.5, 6.5, 521), [0.0, 1e-300, 1e-20, -1e-8, 0.49999, 0.5, -0.50001, 29.9, 30.0, 300.0]]
)


def test_erf_is_exact_to_a_few_units_of_rounding() -> None:
    wanted = np.array([float(mpmath.erf(v)) for v in GRID])
    np.testing.assert_allclose(special.erf(GRID), wanted, rtol=4 * np.finfo(float).eps, atol=0)
    np.testing.assert_allclose(special.erf(GRID), scipy.special.erf(GRID), rtol=5 * np.finfo(float).eps, atol=0)


def test_erf_in_float32_is_float32() -> None:
    grid = GRID.astype(np.float32)
    got = special.erf(grid)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, scipy.special.erf(grid.astype(float)), rtol=4 * np.finfo(np.float32).eps, atol=1e-40
    )


def test_erf_has_its_derivative_in_the_complex_direction() -> None:
    got = np.imag(special.erf(GRID + 1e-30j)) / 1e-30
    np.testing.assert_allclose(got, 2 / np.sqrt(np.pi) * np.exp(-(GRID**2)), rtol=1e-12, atol=1e-300)


def test_erf_at_infinity_is_one() -> None:
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(special.erf(np.array([-np.inf, np.inf])), [-1.0, 1.0])


IDIOMS: dict[str, tuple[Callable[..., Any], list[float]]] = {
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), [0, 0]),
    "softplus": (lambda x: np.log(1 + np.exp(x)), [0, 1]),
    "softplus with log1p": (lambda x: np.log1p(np.exp(x)), [0, 1]),
    "logaddexp": (lambda x: np.logaddexp(x, 0.0), [0, 1]),
    "tanh by exp": (lambda x: 2 / (1 + np.exp(-2 * x)) - 1, [0, 0]),
}


@pytest.mark.parametrize("name", IDIOMS)
@FLOATS
def test_spelled_idiom_has_a_finite_slope_far_out(name: str, dtype: Any) -> None:
    function, limits = IDIOMS[name]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(slope(function, [-1000.0, 1000.0], dtype), limits, atol=1e-30)
