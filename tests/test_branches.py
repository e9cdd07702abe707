"""A branch that is not taken leaves no trace: where the value is finite and the derivative exists, the gradient is that.

At kinks it is the documented convention: relu, abs, a norm and a root of what is never negative have slope 0 at zero.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy

import symbptt as sb
import symbptt.zoo
from symbptt import Input, Param, State, Target
from symbptt.autodiff import bptt
from symbptt.autodiff import vjp as adjoint
from symbptt.autodiff.guard import FREE, Guards
from symbptt.language.cell import trace
from tests.kernels import kernel_of
from tests.oracle import assert_blocks_close, cotangents_of, draw, flat, gradients

Function = Callable[[Any], Any]
E, TANH = np.exp(1.0), np.tanh(1.0)
SECH = 1 / np.cosh(1.0)

KINDS: dict[str, tuple[Function, dict[float, float]]] = {
    "a logarithm": (lambda x: np.where(x > 0, np.log(x), 0.0), {0: 0, -1: 0, 2: 0.5, 1000: 1e-3}),
    "log1p": (lambda x: np.where(x > -1, np.log1p(x), 0.0), {-1: 0, 0: 1}),
    "a logarithm below a root": (lambda x: np.where(x > 1, np.sqrt(np.log(x)), 0.0), {0: 0, -3: 0, E: 0.5 / E}),
    "a root": (lambda x: np.where(x > 0, np.sqrt(x), 0.0), {0: 0, -1: 0, 4: 0.25}),
    "a root, the branches turned": (lambda x: np.where(x <= 0, 0.0, np.sqrt(x)), {0: 0, -1: 0, 4: 0.25}),
    "a root that is not taken at zero": (lambda x: np.where(x == 0, 0.0, np.sqrt(x)), {0: 0, 4: 0.25}),
    "a reciprocal": (lambda x: np.where(x != 0, 1 / x, 0.0), {0: 0, -1: -1, 4: -1 / 16}),
    "a quotient": (lambda x: np.where(x == 0, 1.0, np.sin(x) / x), {0: 0, np.pi: -1 / np.pi}),
    "a fractional power": (lambda x: np.where(x > 0, x**0.3, 0.0), {0: 0, -1: 0, 1: 0.3}),
    "a negative power": (lambda x: np.where(x > 0, x**-2, 0.0), {0: 0, -1: 0, 1: -2}),
    "a power of two values": (lambda x: np.where(x > 0, x ** (0.5 * x), 0.0), {0: 0, 1: 0.5}),
    "a product": (lambda x: np.where(x > 0, x * np.log(x), 0.0), {0: 0, -1: 0, 1: 1}),
    "artanh": (lambda x: np.where(sb.abs(x) < 1, 0.5 * np.log((1 + x) / (1 - x)), 0.0), {1: 0, -1: 0, 0.5: 4 / 3}),
    "ELU by hand": (lambda x: np.where(x > 0, x, np.exp(x) - 1), {0: 1, -1000: 0, 1000: 1, -1: 1 / E}),
    "ELU by two parts": (lambda x: np.maximum(x, 0) + np.minimum(0, np.exp(x) - 1), {1000: 1, 1: 1, -1: 1 / E}),
    "expm1": (lambda x: np.where(x < 0, np.expm1(x), x), {1000: 1, 1: 1, -1: 1 / E}),
    "a bump": (lambda x: np.where(x > 0, np.exp(-1 / x), 0.0), {0: 0, -1: 0, 1: 1 / E}),
    "nested choices": (lambda x: np.where(x > -5, np.where(x > 0, np.log(x) * 2, x), 0.0), {0: 1, 2: 1, -1: 1, -7: 0}),
    "the guarded double choice": (lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0), {0: 0, -1: 0, 2: 0.5}),
    "maximum with a root": (lambda x: np.maximum(np.sqrt(x * x), 1e-6), {0: 0, -2: -1, 1000: 1}),
    "maximum with a logarithm": (lambda x: np.maximum(np.log(x), -10.0), {0: 0, 2: 0.5}),
    "minimum with exp": (lambda x: np.minimum(np.exp(x), 6.0), {1000: 0, 0: 1}),
    "clip of a reciprocal": (lambda x: np.clip(1 / x, -5.0, 5.0), {0: 0, 2: -0.25}),
    "a mask": (lambda x: (x > 1) * np.sqrt(x) + (1 - (x > 1)) * x, {0: 1, 4: 0.25, 0.5: 1}),
    "a root of relu": (lambda x: np.sqrt(np.maximum(x, 0.0)), {-1: 0, 4: 0.25}),
    "a root of abs": (lambda x: np.sqrt(sb.abs(x)), {0: 0, 1: 0.5, -1: -0.5}),
    "a root of softplus": (lambda x: np.sqrt(sb.softplus(x)), {-1000: 0, 1000: 0.5 / 1000**0.5}),
    "a power of relu": (lambda x: np.maximum(x, 0.0) ** 1.5, {0: 0, -1: 0, 1: 1.5}),
    "abs by a product": (lambda x: np.sqrt(x * x), {0: 0, -1: -1, 1000: 1}),
    "abs by a square": (lambda x: (x**2) ** 0.5, {0: 0, -1: -1, 1000: 1}),
    "two squares": (lambda x: np.sqrt(x * x + 0.25 * x * x), {0: 0, 1: 1.25**0.5, -1: -(1.25**0.5)}),
    "Huber": (lambda x: np.where(sb.abs(x) < 1, 0.5 * x * x, np.sqrt(x * x) - 0.5), {0: 0, 3: 1, -3: -1}),
    "a square of exp below": (lambda x: 1 / (1 + np.exp(-x) ** 2), {0: 0.5, 1000: 0, -1000: 0}),
    "a cubic of exp below": (lambda x: 2 / (1 + np.exp(x) + np.exp(x) * np.exp(x)), {0: -2 / 3, 1000: 0, -1000: 0}),
    "a square of sinh below": (lambda x: 1 / (1 + np.sinh(x) ** 2), {0: 0, 1000: 0, 1: -2 * SECH**2 * TANH}),
    "sech": (lambda x: 1 / np.cosh(x), {0: 0, 1000: 0, -1000: 0, 1: -SECH * TANH}),
    "sech squared": (lambda x: 1 / np.cosh(x) ** 2, {0: 0, 1000: 0, -1000: 0, 1: -2 * SECH**2 * TANH}),
    "sech by exponentials": (lambda x: 2 / (np.exp(x) + np.exp(-x)), {1000: 0, -1000: 0, 1: -SECH * TANH}),
    "sech by tanh": (lambda x: np.sqrt(1 - np.tanh(x) ** 2), {1000: 0, 1: -SECH * TANH}),
    "Gumbel": (lambda x: np.exp(-np.exp(x)), {1000: 0, 0: -1 / E, -1000: 0}),
    "tanh of exp": (lambda x: np.tanh(np.exp(x)), {1000: 0, 0: SECH**2}),
    "sigmoid of exp": (lambda x: 1 / (1 + np.exp(np.exp(x))), {1000: 0, 0: -E / (1 + E) ** 2, -1000: 0}),
    "a Hill curve of exp": (lambda x: 1 / (2 + np.exp(x)), {1000: 0, 0: -1 / 9}),
    "the logistic density": (lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2, {1000: 0, -1000: 0, 0: 0, 1: -E * (E - 1) / (1 + E) ** 3}),
}  # fmt: skip


@cache
def cell_of(name: str, of_state: bool) -> sb.Cell:
    function = KINDS[name][0]

    def outside(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + function(w * x)

    def inside(x: Input["n"], h: State["n"], w: Param["n"]):
        return function(w * (x + 0 * h))

    return sb.cell(inside if of_state else outside)


def slopes(kernel: sb.Kernel, points: Any, dtype: Any) -> tuple[Any, Any]:
    """The gradients of the last state with respect to x at the last step and w."""
    x = np.broadcast_to(np.asarray(points, dtype), (3, 2, len(points))).copy()
    run = kernel.forward({"w": np.ones(len(points), dtype)}, {"x": x}, {"h": np.zeros_like(x[0])})
    assert np.isfinite(run.states["h"]).all()
    grads = kernel.backward(run, {"h": np.ones_like(x[0])})
    assert np.isfinite(grads.state["h"]).all()
    return grads.inputs["x"][-1, 0], grads.params["w"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("of_state", [False, True])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.thinned(19, 7)
def test_gradient_is_the_derivative_wherever_it_exists(name: str, of_state: bool, dtype: Any) -> None:
    points, wanted = list(KINDS[name][1]), list(KINDS[name][1].values())
    dx, dw = slopes(kernel_of(cell_of(name, of_state)), points, dtype)
    tolerance = 1e-9 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(dx, wanted, tolerance, 1e-7)
    factor = 2 * (1.0 if of_state else 1.75)  # two samples; three steps, each half of the next
    np.testing.assert_allclose(dw, factor * np.array(wanted) * points, 10 * tolerance, 1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.thinned(11, 2)
def test_jacobian_is_the_derivative_wherever_it_exists(name: str) -> None:
    function = KINDS[name][0]

    @sb.cell
    def plain(h: State["n"]):
        return function(h)

    points, wanted = np.array(list(KINDS[name][1]), float), list(KINDS[name][1].values())
    with np.errstate(over="ignore"):  # as NumPy has it where nothing is chosen
        found = sb.derive(plain).jacobian("h", "h").evaluate({}, {}, {"h": points})
    np.testing.assert_allclose(found, np.diag(wanted), 1e-9, 1e-7)


def logarithms_of_a_part(x: Input["3"], h: State["2"]):
    return 0.5 * h + np.log(x)[1:]


def logarithm_of_a_row(T: Param["v n"], i: sb.Index["v"], h: State["n"]):
    return 0.5 * h + np.log(T)[i]


def largest_logarithm(x: Input["3"], h: State[""]):
    return 0.5 * h + np.max(np.log(x))


def least_reciprocal(x: Input["3"], h: State[""]):
    return 0.5 * h + np.min(1 / x)


def larger_of_a_stack(x: Input["3"], h: State["3"]):
    return 0.5 * h + np.stack([np.sqrt(x), x + 1]).max(axis=0)


def trained_power(x: Input["3"], h: State["3"], p: Param["3"]):
    return 0.5 * h + x**p


def trained_power_of_relu(x: Input["3"], h: State["3"], p: Param[""]):
    return 0.5 * h + np.maximum(x - 1, 0) ** p


X = np.array([[[0.0, 1.0, 2.0]]])
PARTS: dict[Any, tuple[Any, Any, Any]] = {
    logarithms_of_a_part: ({}, {"x": X}, {"x": [[[0, 1, 0.5]]]}),
    logarithm_of_a_row: (
        {"T": np.array([[0.0, 0.0], [1.0, 2.0]])}, {"i": np.array([[1]])}, {"T": [[0, 0], [1, 0.5]]}),
    largest_logarithm: ({}, {"x": X}, {"x": [[[0, 0, 0.5]]]}),
    least_reciprocal: ({}, {"x": X}, {"x": [[[0, 0, -0.25]]]}),
    larger_of_a_stack: ({}, {"x": X}, {"x": [[[1, 1, 1]]]}),
    trained_power: (
        {"p": np.array([2.0, 1.5, 3.0])}, {"x": X}, {"x": [[[0, 1.5, 12]]], "p": [0, 0, 8 * np.log(2)]}),
    trained_power_of_relu: ({"p": np.array(1.5)}, {"x": X + X}, {"x": [[[0, 1.5, 1.5 * 3**0.5]]], "p": 3**1.5 * np.log(3)}),
}  # fmt: skip
"""Parameters and inputs of one step, and the gradients of the sum of the next state."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("function", PARTS, ids=lambda function: function.__name__)
@pytest.mark.thinned(3)
def test_what_is_not_read_has_gradient_zero(function: Any, dtype: Any) -> None:
    params, inputs, wanted = PARTS[function]
    params, inputs = ({k: v if k == "i" else v.astype(dtype) for k, v in group.items()} for group in (params, inputs))
    kernel = sb.compile(sb.cell(function))
    run = kernel.forward(params, inputs)
    found = flat(kernel.backward(run, {"h": np.ones_like(run.states["h"])}))
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, 1e-6 if dtype == np.float32 else 1e-12)


def test_missing_guard_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjoint, "guarded", lambda g, guard, flowing, product: product)

    @sb.cell
    def planted(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + KINDS["a root"][0](w * x)

    with np.errstate(all="ignore"):
        dx, _ = slopes(sb.compile(planted), [0.0, -1.0, 4.0], np.float64)
    assert not np.isfinite(dx[0])
    assert dx[2] == 0.25


@sb.cell
def several(x: Input["n"], keep: Input["n"], h: State["n"], w: Param["n"]):
    a = w * x
    b = np.log(a)
    c = b * np.sqrt(a) / a
    return 0.5 * h + np.where(keep > 0, c * b + np.exp(c), np.tanh(a))


@sb.cell
def product_in_branch(x: Input["n"], keep: Input[""], h: State["n"], W: Param["n n"], U: Param["n n"]):
    s = U @ np.log(W @ x)
    return np.where(keep > 0, np.tanh(s), 0.5 * h)


@sb.cell
def sum_in_branch(x: Input["n"], keep: Input[""], h: State["n"], W: Param["n n"], U: Param["n n"]):
    s = np.sum(U @ np.sqrt(W @ x)) / np.sum(W @ x)
    return np.where(keep > 0, np.max(np.log(W @ x)) + s * h, 0.5 * h)


@sb.cell
def norm_in_branch(x: Input["n"], keep: Input[""], h: State["n"], W: Param["n n"]):
    v = W @ x
    return 0.5 * h + np.where(keep > 0, np.sqrt(np.sum(v * v)), 0.0)


@sb.cell
def factor_of_the_state(x: Input["n"], keep: Input["n"], h: State["n"], w: Param["n"]):
    return np.where(keep > 0, 1 / (w * x), 0.3) * h + x


@sb.cell
def term_beside_the_state(x: Input["n"], keep: Input["n"], h: State["n"], w: Param["n"]):
    return 0.9 * h + np.where(keep > 0, np.sqrt(w * x), 0.3)


@sb.cell
def branch_of_the_state(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.where(h > 0.5, np.log(sb.abs(h)), w * h) + x


@sb.cell
def root_of_the_state(x: Input["n"], h: State["n"], w: Param["n"]):
    return w * np.sqrt(sb.abs(h)) + x


@sb.cell
def masks(x: Input["n"], keep: Input["n"], h: State["n"], w: Param["n"]):
    m = keep > 0
    return 0.5 * h + m * np.sqrt(w * x) + (1 - m) * x


CELLS = (several, product_in_branch, sum_in_branch, norm_in_branch, factor_of_the_state, term_beside_the_state,
         branch_of_the_state, root_of_the_state, masks)  # fmt: skip


def with_zeros(cell: sb.Cell, steps: int, batch: int, size: int = 3) -> Any:
    """Data with exact zeros in every second step, where no branch is taken, and in the initial state."""
    params, inputs, state = draw(cell, steps, batch, {"n": size}, seed=3)
    inputs = {k: np.abs(v) for k, v in inputs.items()}
    for name, value in inputs.items():
        value[::2] = -1.0 if name == "keep" else 0.0
    state["h"][:, ::2] = 0.0
    return {k: np.abs(v) for k, v in params.items()}, inputs, state


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}, {"truncation": sb.Window(9)}], ids=str)
@pytest.mark.parametrize(("steps", "batch", "size"), [(0, 1, 1), (1, 1, 1), (2, 1, 3), (5, 2, 3)])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.thinned(13, 5)
def test_branch_has_the_gradient_of_the_plain_function(
    cell: sb.Cell, steps: int, batch: int, size: int, options: Any
) -> None:
    params, inputs, state = with_zeros(cell, steps, batch, size)
    with np.errstate(all="ignore"):
        cotangents = cotangents_of(cell, (params, inputs, state), steps) if steps else {"h": np.zeros((0, batch, size))}
        wanted = gradients(cell, params, inputs, state, cotangents, steps)
    kernel = kernel_of(cell, **options)
    got = flat(kernel.backward(kernel.forward(params, inputs, state), cotangents))
    assert_blocks_close(got, wanted)
    single = [{k: v.astype(np.float32) for k, v in group.items()} for group in (params, inputs, state, cotangents)]
    got = flat(kernel.backward(kernel.forward(*single[:3]), single[3]))
    assert_blocks_close(got, wanted, 2e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conditions_that_are_multiplied_are_numbers(dtype: Any) -> None:
    @sb.cell
    def cell(x: Input["n"], h: State["n"]):
        length = np.sqrt(np.sum(h * h))
        return 0.5 * h * np.minimum(1, 1 / np.maximum(length, 1e-9)) + x

    x, dh = np.full((3, 1, 2), 2, dtype), np.ones((1, 2), dtype)
    run = (windowed := sb.compile(cell, truncation=sb.Window(3))).forward({}, {"x": x})
    plain = (whole := sb.compile(cell)).backward(whole.forward({}, {"x": x}), {"h": dh})
    found = windowed.backward(run, {"h": dh})
    assert found.inputs["x"].dtype == dtype
    np.testing.assert_allclose(found.inputs["x"], plain.inputs["x"], rtol=1e-5, atol=1e-6)


SECH_SLOPE = sb.function("sech_slope", lambda v: v, lambda v: 1 / sympy.cosh(v))
ELU_SLOPE = sb.function("elu_slope", lambda v: v, lambda v: sympy.Piecewise((1, v > 0), (sympy.exp(v), True)))
ABSORBED: dict[str, Function] = {
    "a quotient without a gradient": lambda x: sb.stop_gradient(1 / np.cosh(x)),
    "a quotient as a declared slope": SECH_SLOPE,
    "a choice as a declared slope": ELU_SLOPE,
    "a condition on exp": lambda x: np.where(np.exp(x) > 5, x, 0.0),
    "a condition on a reciprocal": lambda x: np.where(1 / (x - 2) > 0, x, 0.0),
    "a condition on a logarithm": lambda x: x * (np.log(sb.abs(x - 2)) > 0),
    "a sign": lambda x: x * sb.sign(np.exp(x) - 3),
    "an exponential of one": lambda x: x * np.exp(-np.exp(x)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ABSORBED)
@pytest.mark.thinned(3)
def test_value_that_is_finite_gives_no_warning(name: str, dtype: Any) -> None:
    @sb.cell
    def cell(x: Input["n"], h: State["n"]):
        return 0.5 * h + ABSORBED[name](x)

    kernel, x = sb.compile(cell), np.array([[[-1000.0, 2, 1000]]], dtype)
    with warnings.catch_warnings(action="error"):
        run = kernel.forward({}, {"x": x})
        grads = kernel.backward(run, {"h": np.ones_like(x)})
    assert np.isfinite(run.states["h"]).all()
    assert np.isfinite(grads.inputs["x"]).all()


def test_adjoint_in_a_condition_has_a_name() -> None:
    @sb.cell
    def cell(x: Input["n"], h: State["n"]):
        return 0.5 * h + 1 / (1 + np.sinh(x) ** 2)

    text = sb.derive(cell).text(style="loop")
    assert "du_{h,t} = -dh_t / u_{h,t}²" in text
    assert "a product with a factor of zero is zero" in text


def test_adjoint_that_nothing_reads_has_no_equation() -> None:
    @sb.cell
    def cell(x: Input["n"], h: State["n"]):
        a = 2 * x
        return 0.5 * h + np.where(a > 0, a, np.exp(a) - 1)

    assert [equation.lhs for equation in sb.derive(cell).backward] == ["da_t", "dh_{t-1}"]


def test_branches_in_many_blocks_of_steps() -> None:
    kernel = kernel_of(cell_of("a logarithm", False))
    random, T, B, n = np.random.default_rng(0), 700, 16, 64
    x = random.choice([0.0, -2.0, 0.5, 3.0], (T, B, n))
    w = random.uniform(0.5, 2.0, n)
    run = kernel.forward({"w": w}, {"x": x})
    grads = kernel.backward(run, {"h": np.ones_like(x)})
    adjoints = 2 - 0.5 ** np.arange(T)[::-1]  # of h after each step, one from the loss and half of the next
    wanted = adjoints[:, None, None] * np.where(x > 0, 1 / np.where(x > 0, x, 1), 0)
    np.testing.assert_allclose(grads.inputs["x"], wanted, 1e-12)
    np.testing.assert_allclose(grads.params["w"], np.sum(wanted * x, (0, 1)) / w, 1e-12)


NORMS: dict[str, Function] = {
    "sqrt of a sum of products": lambda k: np.sqrt(np.sum(k * k)),
    "sqrt of a sum of squares": lambda k: np.sqrt((k**2).sum()),
    "sqrt of k @ k": lambda k: np.sqrt(k @ k),
    "sqrt of dot": lambda k: np.sqrt(np.dot(k, k)),
    "sqrt of einsum": lambda k: np.sqrt(np.einsum("i,i->", k, k)),
    "a power": lambda k: np.sum(np.square(k)) ** 0.5,
    "an axis that is kept": lambda k: np.sqrt(np.sum(k * k, axis=-1, keepdims=True)),
    "of an outer product": lambda k: np.sqrt(np.sum(np.outer(k, k) ** 2)) ** 0.5,
    "np.linalg.norm": lambda k: np.linalg.norm(k),
    "sb.norm": sb.norm,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spelling", ["sum", "maximum"])
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.thinned(13, 2)
def test_norm_of_a_zero_key_has_gradient_zero(name: str, spelling: str, dtype: Any) -> None:
    norm, eps = NORMS[name], 1e-3

    @sb.cell
    def keyed(x: Input["n"], h: State["n"]):
        below = norm(x) + eps if spelling == "sum" else np.maximum(norm(x), eps)
        return 0.5 * h + x / below

    x = np.array([[[0.0, 0.0], [3.0, 4.0]]], dtype)
    bar = np.array([[[1.0, 2.0], [1.0, 2.0]]], dtype)
    kernel = kernel_of(keyed)
    found = kernel.backward(kernel.forward({}, {"x": x}), {"h": bar}).inputs["x"][0]
    below = 5 + (eps if spelling == "sum" else 0)
    far = bar[0, 1] / below - x[0, 1] * (bar[0, 1] @ x[0, 1]) / (5 * below**2)
    np.testing.assert_allclose(found, [bar[0, 0] / eps, far], 1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("root", [
    lambda a: np.sqrt(np.mean((a - np.mean(a)) ** 2)), lambda a: np.sqrt(a.var()), lambda a: a.std(),
    lambda a: ((a - a.mean()) * (a - a.mean())).mean() ** 0.5,
])  # fmt: skip
def test_layer_norm_by_hand_of_equal_entries(root: Function, dtype: Any) -> None:
    @sb.cell
    def normed(x: Input["n"], h: State["n"]):
        return 0.5 * h + (x - np.mean(x)) / (root(x) + 0.01)

    x, bar = np.full((1, 1, 4), 2.0, dtype), np.array([[[1.0, 2.0, 3.0, 6.0]]], dtype)
    kernel = sb.compile(normed)
    found = kernel.backward(kernel.forward({}, {"x": x}), {"h": bar}).inputs["x"]
    np.testing.assert_allclose(found[0, 0], (bar[0, 0] - 3) / 0.01, 1e-5)


@pytest.mark.filterwarnings("error")
def test_divergence_as_a_loss_with_classes_that_never_occur() -> None:
    @sb.cell
    def logits(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + w * x

    @sb.loss
    def divergence(h: State["n"], y: Target["n"]):
        return sb.sum(np.where(y > 0, y * (np.log(y) - sb.log_softmax(h)), 0.0))

    x = np.ones((2, 1, 3))
    y = np.tile([0.0, 0.25, 0.75], (2, 1, 1))
    loss, grads = kernel_of(sb.model(logits, divergence)).value_and_grad({"w": np.zeros(3)}, {"x": x}, {"y": y})
    gap = 1 / 3 - y[0, 0]
    np.testing.assert_allclose(loss, 2 * np.sum(y[0, 0, 1:] * np.log(3 * y[0, 0, 1:])), 1e-12)
    np.testing.assert_allclose(grads.params["w"], gap * 2.5, 1e-12)  # 1 + 1.5: the weight of x in both states


def test_value_that_is_no_number_has_no_gradient() -> None:
    @sb.cell
    def times_a_mask(x: Input["n"], h: State["n"]):
        return 0.5 * h + (x > 0) * np.log(x)

    kernel = sb.compile(times_a_mask)
    with np.errstate(all="ignore"):
        assert np.isnan(kernel.forward({}, {"x": np.zeros((1, 1, 1))}).states["h"]).all()


def test_slope_that_a_zero_hides_is_not_made_zero() -> None:
    @sb.cell
    def parallel(x: Input["n"], h: State["n"]):
        return 0.5 * h + 1 / (1 / x + 1 / 2)  # 2 x / (2 + x), with slope 1 at zero

    kernel = sb.compile(parallel)
    with np.errstate(all="ignore"):
        run = kernel.forward({}, {"x": np.zeros((1, 1, 1))})
        assert np.isnan(kernel.backward(run, {"h": np.ones((1, 1, 1))}).inputs["x"]).all()


@pytest.mark.parametrize("name", sorted(vars(symbptt.zoo)))
@pytest.mark.thinned(7, 2)
def test_cells_of_the_zoo_have_no_guards(name: str) -> None:
    cell = getattr(symbptt.zoo, name)
    if isinstance(cell, sb.Cell):
        assert not bptt.derive(trace(cell)).guarded


def test_adjoint_of_a_branch_stands_under_its_condition() -> None:
    @sb.cell
    def logarithm(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + np.where(x > 0, np.log(w * x), 0)

    text = sb.derive(logarithm).text(style="loop")
    assert "[x_t > 0] ⊙ dh_t" in text


@pytest.mark.long
def test_verify_passes_cells_with_branches() -> None:
    # A root of what is negative has no value, and what has no value cannot pass.
    assert not sb.verify(term_beside_the_state, proof=False).passed
    for cell, domain in ((term_beside_the_state, {"x": "positive", "w": "positive"}), (norm_in_branch, {})):
        report = sb.verify(cell, domain=domain)
        assert report.passed, str(report)


def test_bounds_hold_and_hazards_are_seen() -> None:
    @sb.cell
    def shapes(x: Input["n"], h: State["n"], w: Param["n"]):
        a = x * x
        b = 0.5 * x * x + a
        c = np.where(x > 0, x, 1.0)
        d = sb.softmax(w * x)
        e = 1 / (1 + a)
        f = np.log(x)
        return h + a + b + c + d + e + f

    step = trace(shapes)
    ranges = Guards(step.graph).ranges
    of = {name: id for id, name in step.graph.names.items()}
    assert [ranges.bounds(of[name])[0] for name in "ab"] == [0, 0]
    assert ranges.bounds(of["c"])[0] > 0
    assert [ranges.hazards(of[name]) for name in "abcde"] == [frozenset()] * 5
    assert ranges.hazards(of["f"]) == {"logarithm"}
    assert FREE.elsewhere() == FREE


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}], ids=str)
@pytest.mark.thinned(2)
def test_over_no_steps_a_gradient_is_zero_where_its_derivative_is_infinite(options: Any) -> None:
    """A sum over nothing is zero, also times 1 / 0."""

    @sb.cell
    def scaled(x: Input["n"], h: State["n"], p: Param["n"]):
        return h * np.log(p) + x / p

    @sb.loss
    def squares(h: State["n"], q: Param["n"]):
        return sb.sum(h * h / q)

    params, inputs = {"p": np.zeros(3), "q": np.zeros(3)}, {"x": np.ones((0, 2, 3))}
    kernel = sb.compile(scaled, **options)
    run = kernel.forward({"p": params["p"]}, inputs)
    grads = kernel.backward(run, {"h": np.ones((2, 3))})
    assert not grads.params["p"].any() and np.array_equal(grads.state["h"], np.ones((2, 3)))
    loss, grads = sb.compile(sb.model(scaled, squares), **options).value_and_grad(params, inputs, {})
    assert loss == 0 and not any(v.any() for v in grads.params.values())
    assert sb.verify(scaled, domain={"p": "positive"}).passed


def test_dense_jacobian_behind_a_guard_for_each_element() -> None:
    """A mutant of `autodiff/jacobian.py` that no other cell caught: the condition of a guard, beside the axes of the source."""

    @sb.cell
    def rooted(x: Input["n"], h: State["n"], U: Param["n n"]):
        return np.where(x > 0, np.sqrt(np.tanh(U @ h) + x), h)

    draw = np.random.default_rng(0)
    x, h, U = np.array([0.0, 3.0, 2.0, -1.0]), draw.standard_normal(4), draw.standard_normal((4, 4))
    h[0] = 0.5
    U[0] = 0.0  # sqrt'(0) is infinite where nothing flows
    found = sb.derive(rooted).jacobian("h", "h").evaluate({"U": U}, {"x": x}, {"h": h})
    y = np.sqrt(np.tanh(U @ h)[1:3] + x[1:3])
    wanted = np.eye(4)
    wanted[1:3] = ((1 - np.tanh(U @ h)[1:3] ** 2) / (2 * y))[:, None] * U[1:3]
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=0)
