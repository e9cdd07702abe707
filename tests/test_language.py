"""The whole language: every function and every spelling in a cell of its own, verified, and float32 where float32 goes in."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.verification import checks as verification
from tests import brute, oracle

ROLES: dict[str, Any] = {
    "x": Input["n"], "u": Input, "X": Input["2 n"], "i": Index["v"], "j": Index["n"],
    "h": State["n"], "c": State, "H": State["n n"], "S": State["2 n n"], "Q": State["2 3 n 2"],
    "a": Param, "w": Param["n"], "W": Param["n n"], "V": Param["n m"], "E": Param["v n"], "F": Param["n v"],
    "P": Param["2 n n"], "D": Param["2 n m"], "G": Param["4*n n"], "z": Param["2*n"], "k": Const["n n"], "d": Const,
}  # fmt: skip
"""What a name means as an argument of the functions below."""
STATES = ("h", "c", "H", "S", "Q")


def cell_of(expression: Callable[..., Any]) -> sb.Cell:
    """The cell in which an expression of named arguments is an output that every later step depends on."""
    read = tuple(inspect.signature(expression).parameters)
    names = [name for name in ROLES if name in read or name == "h"]
    states = [name for name in names if name in STATES]

    def step(**values: Any) -> dict[str, Any]:
        y = expression(**{name: values[name] for name in read})
        drive = 0.1 * sb.sum(y)
        return {"y": y, **{name: 0.5 * np.sin(values[name] + drive) for name in states}}

    parameters = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=ROLES[n]) for n in names]
    step.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return sb.cell(step)


def positive(v: Any) -> Any:
    return v * v + 0.5


def of_sum(function: Callable[..., Any], inner: Callable[[Any], Any] = lambda v: v) -> Callable[..., Any]:
    return lambda h, x: function(inner(h + x))


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: of_sum(getattr(sb, name)) for name in (
        "tanh", "sigmoid", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign",
        "hard_sigmoid", "hard_tanh", "exp", "expm1", "square", "abs", "sin", "cos", "tan", "arctan", "erf")},
    **{name: of_sum(getattr(sb, name), positive) for name in ("log", "log1p", "sqrt")},
    "sign": lambda h, x: sb.sign(h) * x,
    "hypot": lambda h, x, w: np.hypot(h, x) + np.hypot(w, 0.5),
    "arctan2": lambda h, x: np.arctan2(h, x) + np.arctan2(x, -1.5),
    "mod by %": lambda h, x: h % 0.7 * x + x % positive(h) - h % -0.9,
    "mod of a number": lambda h: np.mod(2.0, positive(h)) + 3 % positive(h),
    "fmod": lambda h, x: np.fmod(h, 0.4) + np.fmod(x, positive(h)) * h,
    "floor_divide": lambda h, x: (h // 0.3) * x + np.floor_divide(x, positive(h)) * h + 2 // positive(x),
    "maximum": lambda h, x: sb.maximum(h, x),
    "maximum of a number": lambda h, x: sb.maximum(h + x, 0.2),
    "minimum": lambda h, w: sb.minimum(h, w),
    "clip": lambda h, x: sb.clip(h + x, -0.5, 0.25),
    "clip by values": lambda h, x, w: sb.clip(x, h - 0.3, h + w * w),
    "clip of NumPy": lambda h, x: np.clip(h + x, -0.5, 0.25),
    "where": lambda h, x, w: sb.where(h + x > w, h * x, w),
    "where of NumPy with a scalar": lambda h, u: np.where(u > 0, h, 0.3 * u),
    "where of a matrix and a vector": lambda H, x: np.where(H < x, H * x, x),
    "comparisons as numbers": lambda h, x, w: (h > x) * w + (h <= 0.2) * x - (h >= w) * 0.5 + (x < w) * h,
    "equal and not equal": lambda h, x: np.where(h == x, x, h) + (h != x) * x,
    "and, or, not": lambda h, x, w: np.where((h > 0) & (x > 0) | ~(w > 0), h * w, x),
    "powers": lambda h, x: h**2 + h**3 * x + positive(h) ** 0.5 + positive(x) ** -1.5 + 2.0**h,
    "power of an array": lambda h, w: positive(h) ** w,
    "division": lambda h, x, a: h / positive(x) + a / (1 + h * h) + 1 / positive(h),
    "unary minus and plus": lambda h, x: -h + +x * -2,
    "stop_gradient": lambda h, x: sb.stop_gradient(h * x) * x + sb.stop_gradient(2.0 * h),
}  # fmt: skip

SHAPES: dict[str, Callable[..., Any]] = {
    "a slice": lambda H: H[1:] * 2,
    "negative bounds": lambda H, x: H[-1] * x + H[:-1].sum() + H[:, -1],
    "bounds from .shape": lambda h, x, z: z[: h.shape[0]] * h + z[h.shape[0] :] * x,
    "bounds computed from .shape": lambda h, G: (G @ h)[h.shape[0] : 2 * h.shape[0]] + (G @ h)[-h.shape[0] :],
    "a packed product in four": lambda h, G: np.tanh(G @ h)[: 2 * h.shape[0]] * (G @ h)[2 * h.shape[0] : 4 * h.shape[0]],
    "a step": lambda S, Q: Q[:, ::2].sum(1) + Q[:, 1::2].sum(1) * S[0, 0, 0],
    "a reversed axis": lambda h, x: h[::-1] * x,
    "a reversed step": lambda Q: Q[:, ::-2] * Q[:, 0:2],
    "two reversed axes": lambda H: H[::-1, ::-1] * H,
    "new axes": lambda h, x, w: h[:, None] * x[None, :] + w[None],
    "new axes in the middle": lambda S, X: S[:, None] * X[:, :, None, None],
    "an ellipsis": lambda S: S[..., 0] + S[0, ...][..., -1],
    "an ellipsis and a new axis": lambda Q, w: Q[..., None, 0] * w[:, None],
    "an integer and a slice": lambda S: S[1, :, 0] * S[0, 0, :],
    "a scalar out of a vector": lambda h, x: h[0] * x[-1] * x,
    "reshape": lambda P, h: P.reshape(2 * h.shape[0], h.shape[0]) @ h,
    "reshape with -1": lambda P, h: np.reshape(P, (-1, h.shape[0])) @ h,
    "reshape to a vector": lambda H, h: np.reshape(H, -1)[: h.shape[0]] * h,
    "reshape of NumPy with the function": lambda z, h: sb.reshape(z, (2, -1)) * h,
    "transpose": lambda H, h: H.T @ h + np.transpose(H) @ (h * h),
    "transpose of three axes": lambda S, w: np.transpose(S, (2, 0, 1)) @ w + sb.transpose(S, (1, 0, 2)) @ w,
    "swapaxes and moveaxis": lambda S, w: np.swapaxes(S, 0, 2).sum(1) @ np.ones(2) + np.moveaxis(S, 0, -1).sum(2) @ w,
    "concatenate": lambda h, x, G: np.concatenate([h, x, h, x]) @ G,
    "concatenate by the last axis": lambda H, V: sb.concatenate([H, V], axis=-1) ** 2,
    "concatenate with constants": lambda h: np.concatenate([h, np.ones(2), h[:1]]),
    "stack": lambda h, x: np.stack([h, x, h * x]) ** 2,
    "stack by the last axis": lambda h, x: sb.stack([h, x], axis=-1) @ np.array([1.0, -2.0]),
    "stack of scalars": lambda c, u, a: sb.stack([c, u * a, 1.0]),
    "split by number": lambda z, h: np.split(z, 2)[0] * h - sb.split(z, 2)[1],
    "split by bounds": lambda z, h: np.split(z, [h.shape[0]])[1] * h,
    "split of columns": lambda Q: Q.shape[1] * sum(part * (i + 1) for i, part in enumerate(sb.split(Q, 3, axis=1))),
    "broadcasting of unequal ranks": lambda S, H, h, c: S * H + h - c,
    "unpacking": lambda X, h: (lambda first, second: first * h + second)(*X),
}  # fmt: skip

PRODUCTS: dict[str, Callable[..., Any]] = {
    "matrix and vector": lambda W, h, x: W @ h + x @ W,
    "vector and vector": lambda h, x: h @ x,
    "matrix and matrix": lambda W, H: W @ H + H @ W.T,
    "stacked matrices and a vector": lambda P, h: P @ h,
    "a vector and stacked matrices": lambda P, h: h @ P,
    "stacked matrices and a matrix": lambda P, H: P @ H,
    "a matrix and stacked matrices": lambda P, H: H @ P,
    "stacked matrices on both sides": lambda P, S: P @ S,
    "stacked rows": lambda P, X: (P @ X[:, :, None])[..., 0],
    "matmul": lambda V, h: sb.matmul(h, V),
    "matmul of four axes": lambda Q, W: np.matmul(W, Q),
    "dot": lambda W, h, x: sb.dot(W, h) + np.dot(h, x),
    "outer": lambda h, x: sb.outer(h, x) + np.outer(x, h),
    "einsum of one operand": lambda S: np.einsum("aij->ja", S),
    "einsum of one operand, summed": lambda S: sb.einsum("aij->i", S),
    "einsum of two": lambda P, h: sb.einsum("aij,j->ai", P, h),
    "einsum of two, elementwise": lambda H, x: np.einsum("ij,i->ij", H, x),
    "einsum of three": lambda P, h, x: np.einsum("aij,i,j->a", P, h, x),
    "einsum of four": lambda D, V, h, X: np.einsum("aim,jm,j,ai->a", D, V, h, X),
    "einsum with an ellipsis": lambda S, h: np.einsum("...ij,j->...i", S, h),
    "einsum with two ellipses": lambda S, P: np.einsum("...ij,...kj->...ik", S, P),
    "einsum with an implicit result": lambda H, x: np.einsum("ij,j", H, x),
    "einsum with an implicit result, sorted": lambda W, H: np.einsum("ki,kj", W, H),
    "einsum of a number": lambda h, x: np.einsum("i,i", h, x) * np.einsum("i,j->", h, x),
    "an outer product by einsum": lambda h, x, w: np.einsum("i,j,k->kij", h, x, w),
}  # fmt: skip

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": lambda H: H.sum(0) + np.sum(H, axis=1) * sb.sum(H),
    "sum of several axes": lambda S, x: sb.sum(S, axis=(0, 2)) * x + S.sum((1, 2))[0],
    "mean": lambda H: sb.mean(H, axis=0) * np.mean(H) + H.mean(-1, keepdims=True),
    "max": lambda H, W: sb.max(H + W, axis=0) + (H - W).max() + np.max(H * W + W, axis=1, keepdims=True),
    "min": lambda H, W: sb.min(H + W, axis=1) * (H - W).min() - np.min(H * W + W, 0, keepdims=True),
    "keepdims": lambda S: S / (1 + sb.sum(S * S, axis=(1, 2), keepdims=True)),
    "cumsum": lambda h, x: np.cumsum(h) * sb.cumsum(x),
    "cumsum by axis": lambda H: sb.cumsum(H) + np.cumsum(H, axis=0) * np.cumsum(H, axis=-2),
    "cumsum from the end": lambda h, x: np.cumsum((h * x)[::-1])[::-1],
    "softmax": lambda h, x: sb.softmax(h + 2 * x),
    "softmax by axis": lambda H, S: sb.softmax(H, axis=0) @ sb.softmax(H) + sb.softmax(S, axis=0)[1],
    "log_softmax": lambda h, x: sb.log_softmax(3 * h * x),
    "log_softmax by axis": lambda H: sb.log_softmax(H, axis=0) * sb.log_softmax(H, axis=1),
    "logsumexp": lambda h, x: sb.logsumexp(h + x) * h,
    "logsumexp by axis": lambda H, S: sb.logsumexp(H, axis=0) + sb.logsumexp(H, 1, keepdims=True) + sb.logsumexp(S)[0],
    "norm": lambda h, x: sb.norm(h + x) * h,
    "norm by axis": lambda H, x: H / (0.5 + sb.norm(H, axis=1, keepdims=True)) + sb.norm(H, axis=0) * x,
    "layer_norm": lambda h, x: sb.layer_norm(2 * h + x),
    "layer_norm with gain and bias": lambda h, x, w: sb.layer_norm(h - x, w, x),
    "layer_norm by axis": lambda H: sb.layer_norm(H, axis=0) + sb.layer_norm(H),
}  # fmt: skip

ARGUMENTS: dict[str, Callable[..., Any]] = {
    "a row of a table": lambda E, i, h: E[i] * h,
    "a column of a table": lambda F, i, h: F[:, i] * h,
    "two indices": lambda E, F, i, j, h: E[i] * F[:, i] + E[i, j] * h[j],
    "an entry of a state": lambda h, H, j: h[j] * H[j] + H[:, j],
    "a state of rank 0": lambda c, u: np.tanh(c * u),
    "a state of rank 2": lambda H, x: np.tanh(H) @ x,
    "a state of rank 3": lambda S, x: np.tanh(S) @ x,
    "a state of rank 4": lambda Q, w: (np.sin(Q) * w[:, None]).sum((1, 3)),
    "states of every rank": lambda c, h, H, S, a: c * a + h + H + S,
    "constants without defaults": lambda h, k, d: d * (k @ h),
    "a size as a number": lambda h, x: h @ x / np.sqrt(h.shape[0]),
}  # fmt: skip

LANGUAGE = {**ELEMENTWISE, **SHAPES, **PRODUCTS, **REDUCTIONS, **ARGUMENTS}
EVERY = pytest.mark.parametrize("name", LANGUAGE)
SIZES = {"n": 3, "m": 2, "v": 4}
kernel_of = cache(lambda name: sb.compile(cell_of(LANGUAGE[name])))


def test_language_has_every_function_of_the_contract() -> None:
    names = """tanh sigmoid relu leaky_relu elu selu gelu silu mish softplus softsign hard_sigmoid hard_tanh exp expm1 log
        log1p sqrt square abs sign sin cos tan arctan erf maximum minimum clip where sum mean max min dot outer einsum
        matmul concatenate stack split reshape transpose cumsum softmax log_softmax logsumexp norm layer_norm
        stop_gradient""".split()
    text = Path(__file__).read_text("utf-8")
    assert [name for name in names if f"sb.{name}(" not in text and name not in ELEMENTWISE] == []
    assert all(name in {*sb.__all__, *sb.APART} and callable(getattr(sb, name)) for name in names)


@EVERY
@pytest.mark.thinned(197, 29)
def test_cell_is_verified(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy, *_, zero, _ = verification.REGIMES
    monkeypatch.setattr(verification, "REGIMES", (replace(healthy, long=False), zero))
    report = sb.verify(kernel_of(name))
    assert report.passed, str(report)


@pytest.mark.long
@EVERY
@pytest.mark.thinned(1, 29)
def test_cell_is_verified_in_every_regime(name: str) -> None:
    report = sb.verify(kernel_of(name))
    assert report.passed, str(report)


@EVERY
@pytest.mark.thinned(13, 7)
def test_float32_stays_float32_throughout(name: str) -> None:
    kernel = kernel_of(name)
    wide = oracle.draw(kernel.cell, 3, 2, SIZES)
    narrow = tuple(
        {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in g.items()} for g in map(_arrays, wide)
    )
    steps = None if wide[1] else 3
    runs = [kernel.forward(*groups, steps=steps) for groups in (wide, narrow)]
    random = np.random.default_rng(1)
    cotangents = {k: random.standard_normal(v.shape) for k, v in {**runs[0].states, **runs[0].outputs}.items()}
    grads = [kernel.backward(run, {k: v.astype(run.dtype) for k, v in cotangents.items()}) for run in runs]
    found = [{**run.states, **run.outputs, **oracle.flat(g)} for run, g in zip(runs, grads, strict=True)]
    assert {k: v.dtype for k, v in found[1].items()} == dict.fromkeys(found[0], np.dtype(np.float32))
    assert all(a.dtype != np.float64 for a in _deep(runs[1].tape))
    for k, v in found[0].items():
        np.testing.assert_allclose(
            found[1][k], v, rtol=0, atol=2e-4 * max(1.0, np.max(np.abs(v), initial=0)), err_msg=k
        )


def _arrays(group: dict[str, Any]) -> dict[str, Any]:
    return {k: np.asarray(v) for k, v in group.items()}


def _deep(value: Any) -> list[Any]:
    if isinstance(value, dict | tuple | list):
        return [a for part in (value.values() if isinstance(value, dict) else value) for a in _deep(part)]
    return [value] if isinstance(value, np.ndarray) else []


@pytest.mark.long
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("truncation", [None, sb.Window(2), sb.Chunked(2, 3)], ids=repr)
@EVERY
@pytest.mark.thinned(1, 37)
def test_padded_reset_and_truncated_it_agrees_with_explicit_unrolling(name: str, truncation: Any) -> None:
    cell = kernel_of(name).cell
    kernel = sb.compile(cell, truncation=truncation)
    masks = {"lengths": np.array([3, 2]), "reset": np.array([[0, 1], [1, 0], [0, 0]], bool)}
    data = brute.data_of(cell, 3, 2, SIZES, **masks)
    run = kernel.forward(data.params, data.inputs, data.state, steps=None if data.inputs else 3, **masks)
    random = np.random.default_rng(0)
    cotangents = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
    wanted = brute.gradients(cell, brute.cotangent_score(cotangents), data, truncation)
    brute.assert_same(brute.by_group(kernel.backward(run, cotangents)), wanted)


# What the functions that are made of others mean, spelled by NumPy and SciPy.

DEFINITIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "softmax": (sb.softmax, special.softmax),
    "log_softmax": (sb.log_softmax, special.log_softmax),
    "logsumexp": (sb.logsumexp, special.logsumexp),
    "norm": (sb.norm, np.linalg.norm),
    "cumsum": (sb.cumsum, np.cumsum),
    "max": (sb.max, np.max),
    "min": (sb.min, np.min),
    "mean": (sb.mean, np.mean),
    "layer_norm": (sb.layer_norm, lambda v, axis: (v - v.mean(axis, keepdims=True)) / np.sqrt(v.var(axis, keepdims=True) + 1e-5)),
}  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_function_along_an_axis_is_its_definition(name: str, axis: int, scale: float) -> None:
    ours, theirs = DEFINITIONS[name]
    v = scale * np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_allclose(ours(v, axis=axis), theirs(v, axis=axis), rtol=1e-12, atol=1e-300)


def test_last_axis_is_meant_unless_told() -> None:
    v = np.random.default_rng(0).standard_normal((2, 3, 4))
    for function in (sb.softmax, sb.log_softmax, sb.logsumexp, sb.cumsum, sb.layer_norm):
        np.testing.assert_array_equal(function(v), function(v, axis=-1))


# Ties and zeros, where a function has no derivative: the documented choice.


def slopes_at(function: Callable[..., Any], v: Any) -> Any:
    """The gradient of the sum of function(h) at h = v, by the kernel."""

    @sb.cell
    def step(h: State["n"]):
        return {"h": h, "y": sb.sum(function(h))}

    kernel = sb.compile(step)
    run = kernel.forward({}, {}, {"h": np.array(v)}, steps=1)
    return kernel.backward(run, {"y": np.ones(1)}).state["h"]


@pytest.mark.parametrize(("function", "at", "wanted"), [
    (sb.max, [1.0, 3.0, 3.0, 2.0], [0, 0.5, 0.5, 0]),
    (sb.max, [2.0, 2.0, 2.0, 2.0], [0.25] * 4),
    (sb.min, [1.0, 3.0, 1.0, 1.0], [1 / 3, 0, 1 / 3, 1 / 3]),
    (sb.norm, [0.0, 0.0], [0, 0]),
    (sb.norm, [3.0, 4.0], [0.6, 0.8]),
    (lambda h: sb.norm(h[None], axis=0), [0.0, -2.0], [0, -1]),
    (lambda h: sb.maximum(h, h[::-1]), [1.0, 1.0], [1, 1]),
    (lambda h: sb.minimum(h, 0.0), [-1.0, 0.0, 1.0], [1, 0, 0]),
    (lambda h: sb.maximum(h, 0.0), [-1.0, 0.0, 1.0], [0, 0, 1]),
    (lambda h: np.minimum(0.5, h), [0.0, 0.5, 1.0], [1, 0, 0]),
    (sb.elu, [-1e-9, 0.0, 1.0], [1 - 1e-9, 1, 1]),
    (sb.hard_tanh, [-1.0, 0.0, 1.0], [0, 1, 0]),
    (sb.hard_sigmoid, [-3.0, 0.0, 3.0], [0, 1 / 6, 0]),
    (lambda h: np.logaddexp(h, h[::-1]), [0.0, 0.0], [1, 1]),
    (lambda h: np.logaddexp(h, 0.0), [0.0, 50.0], [0.5, 1]),
    (lambda h: np.logaddexp(0.3, h), [0.3, -1e30], [0.5, 0]),
    (sb.relu, [-1.0, 0.0, 1.0], [0, 0, 1]),
    (sb.abs, [-1.0, 0.0, 1.0], [-1, 0, 1]),
    (lambda h: sb.where(h > 0, h, 3 * h), [-1.0, 0.0, 1.0], [3, 3, 1]),
    (lambda h: sb.clip(h, -1.0, 1.0), [-2.0, -1.0, 0.0, 1.0, 2.0], [0, 0, 1, 0, 0]),
    (lambda h: sb.clip(h, -h, h), [0.0], [0.5]),
    (sb.stop_gradient, [1.0, 2.0], [0, 0]),
    (lambda h: sb.sign(h) + (h > 0), [1.0, 0.0], [0, 0]),
])  # fmt: skip
def test_slope_at_ties_and_zeros_is_the_documented_one(function: Any, at: list[float], wanted: list[float]) -> None:
    np.testing.assert_allclose(slopes_at(function, at), wanted, atol=1e-15)


def test_norm_and_its_gradient_are_finite_at_zero_over_time() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return w * h + x * sb.norm(h)

    kernel = sb.compile(step)
    run = kernel.forward({"w": np.ones(2)}, {"x": np.zeros((3, 1, 2))})
    grads = oracle.flat(kernel.backward(run, {"h": np.ones((3, 1, 2))}))
    assert all(np.isfinite(v).all() for v in grads.values())


# Tables and indices.


def test_gradient_of_a_table_is_scattered_into_the_rows_that_were_read() -> None:
    @sb.cell
    def step(i: Index["v"], h: State["n"], E: Param["v n"], F: Param["n v"]):
        return h + E[i] * F[:, i]

    kernel = sb.compile(step)
    params = {"E": np.ones((4, 2)), "F": np.full((2, 4), 3.0)}
    run = kernel.forward(params, {"i": np.array([[2], [0], [2]])})
    grads = kernel.backward(run, {"h": np.ones((1, 2))}).params
    np.testing.assert_array_equal(grads["E"], [[3, 3], [0, 0], [6, 6], [0, 0]])
    np.testing.assert_array_equal(grads["F"], [[1, 0, 2, 0], [1, 0, 2, 0]])


def test_stack_of_products_is_a_product_each() -> None:
    @sb.cell
    def together(h: State["d"], A: Param["a d d"], w: Param["a"]):
        return np.tanh(w @ (A @ h))

    @sb.cell
    def apart(h: State["d"], A: Param["3 d d"], w: Param["3"]):
        return np.tanh(sum(w[i] * (A[i] @ h) for i in range(3)))

    groups = oracle.draw(apart, 4, 2, {"d": 2})
    found = []
    for cell in (together, apart):
        kernel = sb.compile(cell)
        run = kernel.forward(*groups, steps=4)
        grads = kernel.backward(run, {"h": np.ones((4, 2, 2))})
        found.append({"h_t": run.states["h"], **oracle.flat(grads)})
    oracle.assert_blocks_close(found[0], found[1], 1e-12)
