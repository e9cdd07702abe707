"""Sizes that are sums: whatever stands beside them, values and gradients are those of the plain function."""

from functools import cache
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.codegen.targets.numpy import index
from symbptt.codegen.targets.python.text import ATOM, POWER, PRODUCT, SUM, size_text, tightness
from symbptt.ir.shape import named_size
from tests import brute, oracle, sums
from tests.kernels import own_kernel_of

EVERY = pytest.mark.parametrize("cell", sums.CELLS, ids=lambda cell: cell.name)
ONES = {"m": 3, "n": 2, "v": 1}
"""Sizes at which the differences among those of the cells are 1."""


@cache
def kernel_of(target: Any, memory: Any = "all") -> sb.Kernel:
    return own_kernel_of(target, memory=memory)


def assert_right(
    cell: sb.Cell, steps: int, batch: int, memory: Any = "all", sizes: dict[str, int] = sums.SIZES, kernel: Any = None
) -> None:
    kernel = kernel or kernel_of(cell, memory)
    data = brute.data_of(cell, steps, batch, sizes, seed=steps + batch)
    run = kernel.forward(data.params, data.inputs, data.state, steps=None if data.inputs else steps)
    found = {**run.states, **run.outputs}
    if steps:
        oracle.assert_blocks_close(found, oracle.run(cell, data.params, data.inputs, data.state, steps), 1e-11)
    random = np.random.default_rng(5)
    cotangents = {name: random.standard_normal(v.shape) for name, v in found.items()}
    grads = brute.by_group(kernel.backward(run, cotangents))
    wanted = brute.gradients(cell, brute.cotangent_score(cotangents), data)
    brute.assert_same(grads, wanted)


@EVERY
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (1, 1), (2, 3), (5, 2)])
@pytest.mark.thinned(13, 7)
def test_gradients_are_those_of_the_plain_function(cell: Any, steps: int, batch: int) -> None:
    assert_right(cell, steps, batch)


@EVERY
@pytest.mark.thinned(3)
def test_differences_may_be_one(cell: Any) -> None:
    assert_right(cell, 3, 2, sizes=ONES)


@EVERY
@pytest.mark.parametrize("memory", ["sqrt", 10**6])
@pytest.mark.thinned(19, 5)
def test_memory_changes_nothing(cell: Any, memory: Any) -> None:
    assert_right(cell, 4, 2, memory)


@EVERY
@pytest.mark.parametrize("truncation", [sb.Window(9), sb.Chunked(9, 9)])
@pytest.mark.thinned(19, 3)
def test_windows_longer_than_the_run_change_nothing(cell: Any, truncation: Any) -> None:
    assert_right(cell, 4, 2, kernel=sb.compile(cell, truncation=truncation))


def test_a_scan_of_states_of_unlike_sizes_gives_the_same() -> None:
    assert "_scan(" in kernel_of(sums.affine).source
    assert_right(sums.affine, 21, 2)


def test_a_sum_that_no_gradient_crosses_stays_a_sum() -> None:
    @sb.cell
    def held(x: Input["n"], h: State["n"], s: Param):  # type: ignore[no-untyped-def]
        return np.tanh(s * sb.stop_gradient(s + 2) * h) + sb.stop_gradient(x + s) * h + h / sb.stop_gradient(3 + s)

    x, s = np.full((1, 1, 1), 0.3), 0.5
    for truncation in (None, sb.Window(3)):
        kernel = sb.compile(held, truncation=truncation)
        run = kernel.forward({"s": np.array(s)}, {"x": x}, {"h": np.ones((1, 1))})
        np.testing.assert_allclose(run.states["h"], np.tanh(s * (s + 2)) + (0.3 + s) + 1 / (3 + s))
        grads = kernel.backward(run, {"h": np.ones((1, 1, 1))})
        slope = 1 - np.tanh(s * (s + 2)) ** 2
        np.testing.assert_allclose(grads.params["s"], slope * (s + 2))
        np.testing.assert_allclose(grads.state["h"], [[slope * s * (s + 2) + (0.3 + s) + 1 / (3 + s)]])


@EVERY
@pytest.mark.thinned(7, 2)
def test_blocks_of_two_steps_give_the_same(cell: Any) -> None:
    kernel = sb.compile(cell)
    kernel.module._steps = lambda T, B, size, rows=0: 2
    assert_right(cell, 5, 2, kernel=kernel)


@EVERY
@pytest.mark.thinned(3)
def test_float32_agrees_with_float64(cell: Any) -> None:
    data = brute.data_of(cell, 4, 2, sums.SIZES, seed=3)
    groups = [data.params, data.inputs, data.state]
    narrow = [{k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in group.items()} for group in groups]
    steps = None if data.inputs else 4
    wide, run = (kernel_of(cell).forward(*given, steps=steps) for given in (groups, narrow))
    random = np.random.default_rng(1)
    cotangents = {k: random.standard_normal(v.shape) for k, v in wide.states.items()}
    wanted = kernel_of(cell).backward(wide, cotangents)
    found = kernel_of(cell).backward(run, {k: v.astype(np.float32) for k, v in cotangents.items()})
    for group in ("params", "inputs", "state"):
        for name, value in getattr(wanted, group).items():
            assert getattr(found, group)[name].dtype == np.float32
            np.testing.assert_allclose(
                getattr(found, group)[name], value, rtol=3e-4, atol=3e-5 * np.max(np.abs(value), initial=1)
            )


@pytest.mark.parametrize("model", sums.MODELS, ids=lambda model: f"{model.name} {model.at}")
@pytest.mark.parametrize("memory", ["all", "sqrt", 10**6])
@pytest.mark.thinned(23, 3)
def test_losses_and_their_gradients_are_those_of_the_plain_functions(model: Any, memory: Any) -> None:
    for steps, batch in ((1, 1), (4, 2)):
        data = brute.data_of(model, steps, batch, sums.SIZES, seed=2)
        value, grads = brute.value_and_grad(kernel_of(model, memory), data)
        np.testing.assert_allclose(value, brute.value(model, data), rtol=1e-12)
        brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data))


@EVERY
@pytest.mark.thinned(17, 5)
def test_plans_budgets_and_checks_count_with_them(cell: Any) -> None:
    plan, sizes = kernel_of(cell).plan, sums.SIZES
    known = {name: size for name, size in sizes.items() if name in plan.written.names}
    assert str(plan) and plan.table(20, 2, **known) and plan.peak(20, 2, **known) > 0
    with pytest.raises(sb.ArgumentError, match="at the least"):
        kernel_of(cell, 1).plan.peak(20, 2, **known)


@EVERY
def test_a_wrong_shape_is_refused_by_name_and_size(cell: Any) -> None:
    data = brute.data_of(cell, 2, 2, sums.SIZES)
    state = {k: np.zeros((*v.shape[:-1], v.shape[-1] + 7)) for k, v in data.state.items()}
    with pytest.raises(sb.ArgumentError):
        kernel_of(cell).forward(data.params, data.inputs, state, steps=None if data.inputs else 2)


def test_the_parameter_of_the_report_has_its_gradient() -> None:
    @sb.cell
    def scaled(h: State["n"], s: Param, p: Param["m+n"], q: Param["m"]):  # type: ignore[no-untyped-def]
        return h * s * (np.mean(p) + s) + np.sum(q)

    params = {"s": np.array(0.5), "p": np.array([1.0, 2.0, 3.0]), "q": np.zeros(1)}
    kernel = sb.compile(scaled)
    run = kernel.forward(params, state={"h": np.ones((1, 2))}, steps=1)
    # h = s (2 + s) = s² + 2 s for each of two elements, of which the derivative is 2 s + 2
    np.testing.assert_allclose(kernel.backward(run, {"h": np.ones((1, 1, 2))}).params["s"], 2 * (2 * 0.5 + 2))


@pytest.mark.parametrize(("text", "wanted"), [
    ("n", ATOM), ("größe", ATOM), ("12", ATOM), ("f(n+1)", ATOM), ("2*n", PRODUCT), ("n//2", PRODUCT), ("n**2", POWER),
    ("n+1", SUM), ("n-1", SUM), ("-n", SUM), ("(n+1)*(m-1)", PRODUCT), ("2*n+1", SUM),
])  # fmt: skip
def test_tightness_is_that_of_the_grammar(text: str, wanted: int) -> None:
    assert tightness(text) == wanted


@pytest.mark.parametrize("least", [SUM, PRODUCT, POWER, ATOM])
def test_a_size_beside_an_operator_is_the_size(least: int) -> None:
    m, n = named_size("m"), named_size("n")
    place = {SUM: "[{0}][0]", PRODUCT: "5*{0}*3", POWER: "60/{0}", ATOM: "{0}**2"}[least]
    for size in (n, n + 1, m - n, 2 * n, m * n, n**2, m * n - 1, (m + n) * (m - n)):
        text = place.format(size_text(size, {"n": "n_"}, least))
        value = int(size.subs({m: 7, n: 3}))
        assert eval(text, {"m": 7, "n_": 3}) == eval(place.format(f"({value})")), text


def test_a_planted_number_without_brackets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "tightness", lambda text: ATOM)
    monkeypatch.setattr(index, "_written", cache(index._written.__wrapped__))  # what is known is right, and stays so
    with pytest.raises(AssertionError, match="relative error"):
        assert_right(sums.mean_beside_a_state, 3, 2, kernel=sb.compile(sums.mean_beside_a_state))


def test_parts_of_unlike_sizes_are_right() -> None:
    assert_right(sums.unlike_rows, 3, 2)


def test_cells_with_sums_are_stacked() -> None:
    @sb.cell
    def low(x: Input["m"], h: State["n+1"], W: Param["n+1 m"], q: Param["n"]):  # type: ignore[no-untyped-def]
        return {"h": np.tanh(W @ x + 0.1 * h), "y": W @ x + np.mean(q)}

    @sb.cell
    def high(x: Input["m"], h: State["n+2"], W: Param["n+2 m"]):  # type: ignore[no-untyped-def]
        return np.tanh(W @ x / x.shape[0] + 0.1 * h + np.mean(x) * h)

    cell = sb.stack(low, high, low)
    assert {a.name: str(a.shape) for a in cell.arguments}["W_2"] == "(n_2 + 2, n_1 + 1)"
    assert_right(cell, 3, 2, sizes={"m": 2, "n_1": 2, "n_2": 1, "n_3": 3})


def test_a_square_of_a_size_is_read_back() -> None:
    @sb.cell
    def squared(x: Input["n"], h: State["n"], A: Param["n n"]):  # type: ignore[no-untyped-def]
        return np.tanh(A @ h * np.mean(A) + x)

    assert "n*n" in {node.attrs.name for node in squared.step.graph if node.family == "leaf"}
    assert_right(squared, 3, 2)
