"""The language of cells: what a body says to NumPy arrays, it says to symbolic ones."""

import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.ir import laws
from symbptt.ir.shape import show
from tests import oracle

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")

HEAD = """
def step(x: Input["m"], s: Input, h: State["n"], W: Param["n m"], M: Param["n n"], A: Param["2 n"], K: Param["2 n m"],
         a: Param, d: Const = 0.25):
    y = {}
    return {{"h": h, "y": y}}
"""

EXPRESSIONS = """
x + 1
1 - x
2.5 * x - x * 2
x / 3 + 2 / (x * x + 1)
(x * x + 1) ** 0.5
x ** 2 + x ** 3 - x ** 1 + x ** 0
(x * x + 1) ** -1
2.0 ** x
(x * x + 1) ** x
-x + +x * 2
abs(x)
x * a + s * d
a * s
W @ x
x @ W.T
h @ W
h @ (W @ x)
x @ x
W.T @ W
W.mT @ h
K @ x
h @ K
M @ K
K @ W.T
(K @ x) @ h
np.matmul(W, x)
np.dot(W, x)
np.dot(x, x)
np.dot(2.0, x)
np.dot(K, x)
W.dot(x)
np.inner(x, W)
np.vdot(x, x)
np.outer(h, x)
sb.outer(h, x)
np.outer(W, x)
np.tensordot(K, W, axes=([1, 2], [0, 1]))
np.tensordot(W, x, axes=1)
np.einsum("ij,j->i", W, x)
np.einsum("ij,j", W, x)
np.einsum("i,j->ji", h, x)
np.einsum("...j,j->...", K, x)
np.einsum("kij,j,i->k", K, x, h)
np.einsum("ij->j", W)
np.einsum("ij->ji", W)
np.einsum("i,i->i", x, x)
W * x
W * h[:, None]
h[:, None] * x[None, :]
h[:, np.newaxis] + x
A[:, :, None] * K
K + x
K * W
a * K
np.sum(W)
np.sum(W, axis=0)
sb.sum(K, axis=(0, 2))
W.sum(axis=1, keepdims=True)
W.sum(-1)
np.mean(W, axis=-1)
W.mean()
sb.mean(K, axis=1, keepdims=True)
np.max(W, axis=0)
W.max()
np.amax(x)
np.min(W, axis=1)
W.min(axis=0, keepdims=True)
np.var(W, axis=0)
np.std(W)
np.concatenate([x, h])
np.concatenate([W, M], axis=1)
np.concatenate((W, W), axis=-1)
np.hstack([x, h, x])
np.stack([h, h * h])
np.stack([h, h * h], axis=1)
sb.stack([a, s, a * s])
np.split(A, 2)[1]
sb.split(np.concatenate([x, h]), [x.shape[0]])[1]
sb.split(np.concatenate([h, h]), 2)[0]
A.reshape(-1)
np.reshape(A, (h.shape[0], 2))
A.reshape(2 * h.shape[0])
np.ravel(W)
W.flatten()
np.transpose(K, (2, 0, 1))
K.transpose(1, 2, 0)
K.transpose(0, -1, 1)
K.T
np.swapaxes(K, 0, 2)
np.moveaxis(K, 0, -1)
np.expand_dims(x, 0)
np.expand_dims(W, (0, 3))
np.squeeze(x[None], 0)
np.broadcast_to(x, (3, x.shape[0]))
np.zeros_like(x) + 1
np.ones_like(W) * x
np.full_like(x, 0.5) * x
np.flip(x)
np.flip(W, 1)
x[::-1]
np.roll(x, 1)
np.cumsum(x)
np.cumsum(W)
np.cumsum(W, axis=0)
sb.cumsum(W)
x[0] * x[-1]
W[0]
W[:, 0]
W[0, 0]
W[-1, -1]
x[1:]
x[:-1]
W[1:, :-1]
A[1, 1:]
K[..., 0]
K[1, ..., None]
K[:, None]
A[::-1]
A[-1][None]
np.concatenate([x, h])[: x.shape[0]]
np.concatenate([x, h])[x.shape[0] :]
np.clip(x, -0.5, 0.5)
x.clip(-0.5, 0.5)
np.where(x > 0, x, 0.1 * x)
sb.where(h > a, h, a)
np.maximum(x, 0)
np.minimum(W, x)
(x > 0) * x
(x > 0) & (x < 1)
(x < -1) | ~(x <= 1)
(x == x) * x
(x != 0) * x
(x >= 0) * 1.0
np.logical_and(x > 0, x < 1) * x
np.sign(x)
np.square(x) + np.sqrt(x * x + 1) + np.reciprocal(x * x + 1)
np.exp(x) + np.expm1(x) + np.log(x * x + 1) + np.log1p(x * x)
np.log2(x * x + 1) + np.log10(x * x + 2)
np.sin(x) + np.cos(x) + np.tan(0.1 * x) + np.arctan(x)
np.tanh(x) + np.sinh(x) + np.cosh(x)
np.logaddexp(x, 0.3)
np.power(x * x + 1, 1.5)
np.add(x, np.subtract(1, np.multiply(x, np.divide(x, 2))))
np.negative(np.positive(x))
np.linalg.norm(x)
sb.norm(W, axis=1)
sb.sigmoid(x) + sb.softplus(x) + sb.silu(x) + sb.mish(x) + sb.gelu(x) + sb.erf(x)
sb.relu(x) + sb.leaky_relu(x) + sb.elu(x) + sb.selu(x)
sb.hard_sigmoid(x) + sb.hard_tanh(x) + sb.softsign(x)
sb.softmax(x)
sb.softmax(W, axis=0)
sb.log_softmax(W)
sb.logsumexp(W)
sb.logsumexp(W, axis=0, keepdims=True)
sb.logsumexp(x, axis=0)
sb.layer_norm(h)
sb.layer_norm(W, x, 0.5)
sb.stop_gradient(x) * x
sb.dot(x, x) * sb.matmul(W, x)
sb.transpose(W) @ h
sb.reshape(W, (-1,))
sb.concatenate([x, x])
x * x.shape[0]
x / x.shape[0]
x / np.sqrt(W.shape[1])
(W.shape[0] + W.shape[1]) * x
W.shape[0] ** 0.5 * x
W.size * a
K.ndim * a
len(A) * a
np.array([1.0, -2.0]) @ A
np.arange(2) @ A
np.eye(2) @ A
np.array([True, False]) @ A
A * np.array([[1.0], [3.0]])
[1.0, 2.0] @ A
sum(row * (i + 1) for i, row in enumerate(A))
sum([x, x, x])
np.concatenate([row for row in A])
np.float64(2) * x + np.float32(0.5) * x
np.pi * x
True * x - np.True_
x.conj() + x.copy()
"""
EVERY_EXPRESSION = pytest.mark.parametrize("text", EXPRESSIONS.strip().splitlines())
NOT_ANALYTIC = ("abs(", "np.sign", "norm", "np.var", "np.std", "np.real", "np.vdot", "logaddexp", ".conj", "np.float32")
"""NumPy's own functions of these names conjugate, or drop the imaginary part."""


def cell_of(source: str) -> sb.Cell:
    scope: dict[str, Any] = {
        "np": np,
        "sb": sb,
        **{name: getattr(sb, name) for name in ("Input", "State", "Param", "Const")},
    }
    exec(compile(source, "cells.py", "exec"), scope)
    return sb.cell(scope["step"])


@EVERY_EXPRESSION
@pytest.mark.thinned(19, 11)
def test_expression_means_what_it_means_to_numpy(text: str) -> None:
    cell = cell_of(HEAD.format(text))
    laws.check(cell.step.graph)
    kernel = sb.compile(cell)
    for sizes in ({"m": 3, "n": 4}, {"m": 1, "n": 1}):
        groups = oracle.draw(cell, 2, 2, sizes, seed=4)
        wanted = oracle.run(cell, *groups, 2)
        run = kernel.forward(*groups)
        oracle.assert_blocks_close({**run.states, **run.outputs}, wanted, 1e-13)
        cotangents = oracle.cotangents_of(cell, groups, 2)
        got = oracle.flat(kernel.backward(run, cotangents))
        if not any(name in text for name in NOT_ANALYTIC):
            oracle.assert_blocks_close(got, oracle.gradients(cell, *groups, cotangents, 2), 1e-11)


def test_annotated_shape_is_what_shape_says() -> None:
    seen = []

    @sb.cell
    def step(h: State["2*n+1"], W: Param["n 3"], a: Param):
        seen.append((h.shape, W.shape, a.shape, W.ndim, W.T.shape, W.size))
        return h * a * sb.sum(W)

    assert step.step and [show(shape) for shape in seen[0][:3]] == ["(2*n+1,)", "(n, 3)", "()"]
    assert seen[0][1][1] == 3 and isinstance(seen[0][1][1], int)
    assert seen[0][0][0] == 2 * seen[0][1][0] + 1
    assert seen[0][3] == 2 and seen[0][4] == (3, seen[0][1][0]) and seen[0][5] == 3 * seen[0][1][0]


def test_plain_call_computes_with_numpy_and_never_traces() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"]):
        assert isinstance(x, np.ndarray)
        return np.tanh(W @ x + h)

    x, h, W = np.ones(2), np.zeros(3), np.full((3, 2), 0.5)
    np.testing.assert_array_equal(step(x, h, W), np.tanh(W @ x))
    assert step(x, h, W + 0j).dtype == complex


def test_plain_call_takes_complex_and_object_arrays() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return x * h + x

    half = np.array([Fraction(1, 2)], object)
    assert step(half, half)[0] == Fraction(3, 4)
    assert step(1j * np.ones(1), np.ones(1))[0] == 2j


def assert_like_numpy(cell: sb.Cell, sizes: dict[str, int] | None = None, steps: int = 3) -> None:
    """States, outputs and every gradient against the plain function."""
    laws.check(cell.step.graph)
    groups = oracle.draw(cell, steps, 2, sizes or {"m": 2, "n": 3, "k": 2, "v": 4})
    kernel = sb.compile(cell)
    run = kernel.forward(*groups, steps=None if groups[1] else steps)
    oracle.assert_blocks_close({**run.states, **run.outputs}, oracle.run(cell, *groups, steps), 1e-12)
    cotangents = oracle.cotangents_of(cell, groups, steps)
    wanted = oracle.gradients(cell, *groups, cotangents, steps)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents)), wanted, 1e-10)


CANCELLING = """
h - h
x - x + h
(h + x) - (h + x)
h * h - h * h
h / h + x
h ** 0 + x * h - h * x
x + x + h + h + x - h
M @ x - M @ x + M @ h - M @ h
b + h + x - b
x - x + 0 * h
b - b + h + b + x - b - x
""".strip().splitlines()


@pytest.mark.parametrize("text", CANCELLING)
def test_terms_that_cancel_are_right(text: str) -> None:
    head = 'def step(x: Input["n"], h: State["n"], M: Param["n n"], b: Param["n"]):'
    assert_like_numpy(cell_of(f"{head}\n    return np.tanh({text})"))


def relax(v: Any, U: Any, times: int) -> Any:
    for _ in range(times):
        v = v + 0.5 * (np.tanh(U @ v) - v)
    return v


def affine(W: Any, v: Any, b: Any) -> Any:
    return W @ v + b


def test_helper_functions_and_loops_are_traced() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
        return relax(affine(W, x, b) + h, U, times=3)

    assert_like_numpy(step)


def test_other_cells_are_called_inside() -> None:
    @sb.cell
    def inner(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
        return np.tanh(W @ x + U @ h)

    @sb.cell
    def outer(x: Input["m"], h: State["n"], k: State["n"], W: Param["n m"], U: Param["n n"], V: Param["n n"]):
        first = inner(x, h, W, U)
        return first, inner(first, k, V, U) + k

    assert_like_numpy(outer)


def test_loop_over_rows_and_list_comprehension_are_traced() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["3 n"], W: Param["3 n m"]):
        rows = [np.tanh(w @ x + row) for w, row in zip(W, h, strict=True)]
        return np.stack(rows[::-1])

    assert_like_numpy(step)


@pytest.mark.parametrize("gates", [1, 2, 3])
@pytest.mark.thinned(2)
def test_closure_and_const_steer_the_control_flow(gates: int) -> None:
    scales = [0.5, -1.0, 2.0]

    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"], depth: Const = 2, leaky: Const = True):
        value = x
        for i in range(gates):
            value = np.sin(scales[i] * value + w * h)
        for _ in range(depth):
            value = np.tanh(value)
        if leaky:
            value = 0.5 * h + value
        if depth > 1 and not depth == 3:
            value = value + 1
        return value

    assert_like_numpy(step)
    assert_like_numpy(step.with_consts({"depth": 0, "leaky": False}))


def test_const_is_a_number_for_python() -> None:
    @sb.cell
    def step(h: State["n"], k: Const = 3, half: Const = 0.5):
        assert int(k) == 3 and float(half) == 0.5 and list(range(k)) == [0, 1, 2]
        return h * [0.1, 0.2, 0.3][k - 1] + half**k

    assert_like_numpy(step)


def test_recursion_and_conditions_on_shapes_are_traced() -> None:
    def tree(parts: list[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        half = len(parts) // 2
        return np.tanh(tree(parts[:half]) + tree(parts[half:]))

    @sb.cell
    def step(x: Input["4"], h: State["4"], W: Param["4 4"]):
        if W.shape[0] == x.shape[0] and x.ndim == 1:
            return tree(list(W)) * x + h
        raise AssertionError

    assert_like_numpy(step)


def test_several_states_scalars_and_outputs() -> None:
    @sb.cell
    def step(x: Input["m"], u: Input, h: State["n"], c: State, S: State["n m"], W: Param["n m"], a: Param):
        S_new = a * S + np.outer(np.tanh(h), x)
        c_new = np.sin(c + u * a) + S_new.sum() * 0.1
        return {"S": S_new, "h": np.tanh(W @ x + S_new @ x) * c, "c": c_new, "y": c_new * x, "z": a * u}

    assert_like_numpy(step)
    assert_like_numpy(step, {"m": 1, "n": 1})


def test_index_reads_rows_and_columns() -> None:
    @sb.cell
    def step(i: Index["v"], j: Index["n"], h: State["n"], E: Param["v n"], F: Param["n v"]):
        return np.tanh(E[i] + F[:, i] + h[j] * E[i, j])

    assert_like_numpy(step)


def test_constant_array_of_the_closure_is_a_literal() -> None:
    mask = np.triu(np.ones((3, 3)))
    periods = np.array([1, 2, 4])

    @sb.cell
    def step(x: Input["3"], h: State["3"], U: Param["3 3"], shift: Const["3"] = np.array([0.1, 0.2, 0.3])):
        return np.tanh((mask * U) @ h + x / periods + shift)

    assert_like_numpy(step)


def test_const_without_a_default_is_given_and_has_no_gradient() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], U: Const["n n"], leak: Const, w: Param["n"]):
        return (1 - leak) * h + leak * np.tanh(U @ h + w * x)

    assert_like_numpy(step)


def test_local_names_are_kept() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
        update_gate = sb.sigmoid(W @ x)
        candidate = np.tanh(U @ (update_gate * h))
        return (1 - update_gate) * h + update_gate * candidate

    names = set(step.step.graph.names.values())
    assert {"update_gate", "candidate"} <= names
    text = sb.derive(step).text(style="loop")
    assert "update_{gate,t} = σ(W x_t)" in text and "candidate_t" in text and "dcandidate_t" in text
    source = sb.compile(step).source
    assert "update_gate, candidate = " in source and "out=candidate_t)" in source


def test_last_value_of_a_variable_keeps_the_plain_name() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], U: Param["n n"]):
        q = U @ h
        q = q / np.linalg.norm(q)
        q_1 = x * q  # a name of the user's, which no value of q may take
        q = np.tanh(q + q_1)
        return q * h

    text = sb.derive(step).text(style="loop")
    assert "q_{2,t} = U h_{t-1}" in text and "q_{3,t} = q_{2,t} / ‖q_{2,t}‖" in text
    assert "q_{1,t} = x_t ⊙ q_{3,t}" in text and "q_t     = tanh(q_{3,t} + q_{1,t})" in text
    assert "h_t     = q_t ⊙ h_{t-1}" in text and "dq_t     = dh_t ⊙ h_{t-1}" in text
    assert "q = " in sb.compile(step).source and sb.verify(step, proof=False).passed


def test_values_that_nothing_reads_and_results_leave_the_plain_name_to_others() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        q = np.tanh(x + h)
        r = np.exp(h)
        r = r * q
        q = q * h
        r_unread = r
        r = r + 1
        return q + r_unread

    @sb.cell
    def returned(x: Input["n"], h: State["n"]):
        q = np.tanh(x + h)
        q = q * h
        return q

    text = sb.derive(step).text(style="loop")
    assert "r_{1,t} = exp(h_{t-1})" in text and "r_t     = r_{1,t} ⊙ q̃_t" in text and "q_t     = q̃_t ⊙ h_{t-1}" in text
    assert "q_t = tanh(x_t + h_{t-1})" in sb.derive(returned).text(style="loop")


def test_values_of_several_calls_have_numbers_in_their_order() -> None:
    def gate(a: Any) -> Any:
        s = np.exp(a)
        s = s / (1 + s)
        return s

    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return gate(x) * h + gate(h) * x

    names = [name for name in step.step.graph.names.values() if name.startswith("s")]
    assert sorted(names) == ["s", "s_1", "s_2", "s_3"]


def test_name_of_the_outermost_frame_wins() -> None:
    def helper(inside: Any) -> Any:
        result = np.tanh(inside)
        return result

    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        gate = helper(x + h)
        other = helper(gate * h)
        return gate + other

    names = set(step.step.graph.names.values())
    assert {"gate", "other"} <= names and "result" not in names


def test_reassigned_name_is_numbered() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        v = np.tanh(x + h)
        v = np.sin(v * w)
        v = v * v
        return v

    names = set(step.step.graph.names.values())
    assert {"v", "v_1"} <= names
    assert_like_numpy(step)


def test_tracing_puts_back_the_trace_function() -> None:
    before = sys.gettrace()

    @sb.cell
    def step(h: State["n"]):
        return np.tanh(h)

    assert step.step is not None
    assert sys.gettrace() is before

    @sb.cell
    def broken(h: State["n"]):
        raise ValueError("no")

    with pytest.raises(sb.CellError):
        assert broken.step
    assert sys.gettrace() is before
