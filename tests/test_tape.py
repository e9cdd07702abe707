"""The tape against complex steps, and against central differences at functions that are not analytic."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from tests.tape import Tape, elementwise, gradients

RANDOM = np.random.default_rng(0)
V, W = RANDOM.standard_normal(4), RANDOM.standard_normal(4)
M, N, P = RANDOM.standard_normal((3, 4)), RANDOM.standard_normal((4, 3)), RANDOM.uniform(0.3, 0.9, 4)
S, Q = RANDOM.standard_normal((2, 3, 4)), RANDOM.standard_normal((2, 4, 5))

ANALYTIC: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "arithmetic": (lambda a, b: a * b - a / (2 + np.sin(b)) + 3 - a + (-b) / 7 + 2 / (3 + a * a), (V, W)),
    "broadcasting": (lambda a, b: a * b + a[0] - b[:, None, :1], (M, S)),
    "powers": (lambda p, q: p**2 + p**-1 + p**0.5 + p**q + 2**p + p**0 + np.reciprocal(p), (P, W)),
    "logarithms": (lambda p: np.log(p) + np.log1p(p) + np.log2(p) + np.log10(p) + np.sqrt(p) + np.square(p), (P,)),
    "exponentials": (lambda a: np.exp(a) + np.expm1(a) + np.sinh(a) + np.cosh(a), (V,)),
    "angles": (lambda a: np.sin(a) + np.cos(a) + np.tan(a) + np.arctan(a), (P,)),
    "gates": (lambda a: sb.sigmoid(a) + sb.silu(a) + sb.softplus(a) + sb.mish(a) + sb.gelu(a) + sb.erf(a), (V,)),
    "vectors": (lambda a, b: a @ b + np.dot(a, b) + np.inner(a, b), (V, W)),
    "matrix and vector": (lambda m, v: m @ v + np.dot(m, v) + v @ m.T + np.tensordot(m, v, 1), (M, V)),
    "matrices": (lambda m, n: m @ n + np.dot(m, n) + (n.T @ m.T).T + np.inner(m, n.T), (M, N)),
    "stacks": (lambda s, q: s @ q + np.einsum("...ij,...jk->...ik", s, q), (S, Q)),
    "stack and one": (lambda s, n: (s @ n).sum(0) + n.mT @ s[0].T, (S, N)),
    "stack and vector": (lambda s, v: s @ v + np.tensordot(s, v, axes=((2,), (0,))), (S, V)),
    "einsum": (lambda m, n, v: np.einsum("ij,jk,j->k", m, n, v) + np.einsum("ij,jk->k", m, n), (M, N, V)),
    "einsum without a result": (lambda m, v: np.einsum("ij,j", m, v) + np.einsum("ij->i", m), (M, V)),
    "outer": (lambda a, b: np.outer(a, b) + a[:, None] * b[None], (V, W)),
    "sums": (lambda m: np.sum(m) + m.sum(0) + m.mean(1, keepdims=True) + np.mean(m, axis=(0, 1)) + m.sum((-1,))[0], (M,)),
    "running sums": (lambda m: np.cumsum(m, 1) + sb.cumsum(m, 0) + np.cumsum(m)[-1] + np.cumsum(m[0]), (M,)),
    "softmax": (lambda m: sb.softmax(m) + sb.log_softmax(m, axis=0) + sb.logsumexp(m, keepdims=True), (M,)),
    "norms": (lambda m: sb.layer_norm(m) + sb.norm(m), (M,)),
    "joining": (lambda a, b: np.concatenate([a, b[1:]])[:5] * np.stack([a[0], b[0], 2 * a[1], 0.3, b[1]]), (V, W)),
    "parts": (lambda m: np.split(m, 2, axis=1)[1] * m[:, :2] + m[1, 1] - m[::-1, ::2] + m[-1][None, 1:3], (M,)),
    "moving": (lambda s: np.moveaxis(s, 0, 2) + np.swapaxes(s, 0, 1).transpose(0, 2, 1) + s.reshape(3, 4, 2), (S,)),
    "more moving": (lambda m: np.roll(m, 1, axis=1) + np.flip(m, 0) + m.ravel()[:4] + np.take(m, 1, axis=0), (M,)),
    "widening": (lambda v: np.broadcast_to(v, (2, 4)) * np.expand_dims(v, 0) + np.squeeze(v[None]) + v.copy(), (V,)),
    "choosing": (lambda a, b: np.where(np.real(a) > 0, a * b, b) + np.where(np.real(b) > 0, 2.0, a), (V, W)),
    "literals": (lambda a: np.eye(4) @ a + np.ones(4) * a + np.concatenate([np.zeros(1), a])[:4], (V,)),
    "stopped": (lambda a: a * sb.stop_gradient(a), (V,)),
}  # fmt: skip
KINKED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "kinks": (lambda a: np.abs(a) + sb.relu(a) + sb.elu(a) + sb.selu(a) + sb.leaky_relu(a) + sb.softsign(a), (V,)),
    "hard": (lambda a: sb.hard_tanh(a) + sb.hard_sigmoid(a) + np.clip(a, -0.5, 0.6) + a.clip(-0.1, 0.1), (V,)),
    "larger": (lambda a, b: np.maximum(a, b) + np.minimum(a, b) * a + np.maximum(0.1, a) + np.minimum(b, 0.2), (V, W)),
    "largest": (lambda m: m.max() + np.max(m, axis=0) + np.min(m, 1, keepdims=True) + sb.max(m) - sb.min(m, 0), (M,)),
    "of reals": (lambda m: np.var(m, 1) + np.std(m, 1) + m.var() + np.linalg.norm(m, axis=1) + np.vdot(m[0], m[1]), (M,)),
    "flat": (lambda a: np.sign(a) * a + np.floor(a) * a + (a > 0) * a, (V,)),
    "two logarithms": (lambda a, b: np.logaddexp(a, b), (V, W)),
}  # fmt: skip


def by_tape(function: Callable[..., Any], arrays: tuple[Any, ...], weight: Any) -> list[Any]:
    leaves = [Tape(a) for a in arrays]
    return gradients(np.sum(weight * function(*leaves)), leaves)


def by_steps(function: Callable[..., Any], arrays: tuple[Any, ...], weight: Any, step: Any) -> list[Any]:
    """A complex step, or for a real one a central difference."""

    def total(i: int, where: Any, by: Any) -> Any:
        moved = [np.array(a, complex if isinstance(by, complex) else float) for a in arrays]
        moved[i][where] += by
        return np.sum(weight * function(*moved))

    def slope(i: int, where: Any) -> float:
        if isinstance(step, complex):
            return float(np.imag(total(i, where, step)) / abs(step))
        return float((total(i, where, step) - total(i, where, -step)) / (2 * step))

    found = [np.zeros(a.shape) for a in arrays]
    for i, result in enumerate(found):
        for where in np.ndindex(*result.shape):
            result[where] = slope(i, where)
    return found


def assert_matches(function: Callable[..., Any], arrays: tuple[Any, ...], step: Any, tolerance: float) -> None:
    value = function(*arrays)
    weight = np.random.default_rng(1).standard_normal(np.shape(value))
    np.testing.assert_allclose(function(*map(Tape, arrays)).value, value, rtol=1e-14, atol=1e-15)
    wanted = by_steps(function, arrays, weight, step)
    for got, reference in zip(by_tape(function, arrays, weight), wanted, strict=True):
        np.testing.assert_allclose(got, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ANALYTIC)
def test_tape_matches_complex_step(name: str) -> None:
    assert_matches(*ANALYTIC[name], step=1e-30j, tolerance=1e-11)


@pytest.mark.parametrize("name", KINKED)
def test_tape_matches_central_differences_away_from_kinks(name: str) -> None:
    assert_matches(*KINKED[name], step=1e-6, tolerance=1e-8)


def test_conventions_at_kinks() -> None:
    zero = np.zeros(2)
    for function, slope in (
        (np.abs, 0), (sb.relu, 0), (lambda a: np.maximum(a, 0), 0), (lambda a: np.max(a), 0.5),
        (lambda a: sb.norm(a), 0), (lambda a: np.maximum(a, a * 1.0), 1),
    ):  # fmt: skip
        np.testing.assert_array_equal(by_tape(function, (zero,), 1.0)[0], slope)


def test_function_with_slopes_of_its_own() -> None:
    spike = elementwise(lambda v: v > 0, lambda v: np.exp(-v * v))
    np.testing.assert_allclose(by_tape(lambda v: 3 * spike(v), (V,), W)[0], 3 * W * np.exp(-V * V))


def test_what_the_tape_does_not_know_raises() -> None:
    for wrong in (np.asarray, np.linalg.inv, np.arcsinh, np.sort, lambda a: np.add.reduce(a), lambda a: float(a[0])):
        with pytest.raises(TypeError):
            wrong(Tape(V))


def test_planted_wrong_rule_is_caught() -> None:
    wrong = elementwise(np.tanh, lambda a: 1 - np.tanh(a))
    with pytest.raises(AssertionError):
        assert_matches(lambda a: wrong(a) if isinstance(a, Tape) else np.tanh(a), (V,), 1e-30j, 1e-11)
