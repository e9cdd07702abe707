"""Options never break a right cell: plans and budgets of every function, types of constants, the least budget."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Output, Param, State, Target, ops, zoo
from tests import brute, oracle, unseen
from tests.kernels import own_kernel_of

ELEMENTWISE = [op for op in ops.OPS if op.name not in ("where",)]


def cell_of(op: Any) -> sb.Cell:
    """A cell that calls a function of the table on a state, an input and a parameter."""
    function = getattr(sb, op.name, None) or getattr(np, op.numpy[0] if op.numpy else op.name)
    more = {2: (0.5,), 3: (-0.9, 0.9)}.get(op.arity, ())

    def step(x: Input["n"], h: State["n"], U: Param["n n"], s: Param):  # type: ignore[no-untyped-def]
        inside = (1.2 + 0.3 * np.tanh(U @ h + x)) * s
        return 0.1 * h + 1.0 * function(inside, *more) if op.name != "logical_not" else h * function(inside > 1)

    step.__name__ = f"with_{op.name}"
    return sb.cell(step)


@pytest.mark.filterwarnings("ignore:.*gradient")
@pytest.mark.parametrize(
    "op",
    [
        pytest.param(op, id=op.name, marks=[] if op.code or op.name == "gelu" else pytest.mark.long)
        for op in ELEMENTWISE
    ],
)
@pytest.mark.thinned(41, 23)
def test_plan_and_budgets_take_every_function_of_the_table(op: Any) -> None:
    cell = cell_of(op)
    data, results = brute.data_of(cell, 5, 2, {"n": 2}, 1), []
    data.params["s"] = np.array(0.7)
    for memory in ("all", "sqrt", 10**6):
        kernel = own_kernel_of(cell, memory=memory)
        assert str(kernel.plan) and kernel.plan.peak(5, 2, n=2) > 0 and kernel.plan.table(5, 2, n=2)
        run = kernel.forward(data.params, data.inputs, data.state)
        results.append(kernel.backward(run, {"h": np.ones((5, 2, 2))}))
    for found in results[1:]:
        brute.assert_same(brute.by_group(found), brute.by_group(results[0]))
    with pytest.raises(sb.ArgumentError, match="at the least"):
        own_kernel_of(cell, memory=1).forward(data.params, data.inputs, data.state)


@sb.cell
def three(x: Input["a"], y: Input["b"], z: Input["c"], h: State["a"], k: State["b"], l: State["c"], u: Param["a"], v: Param["b"],
          w: Param["c"]):  # fmt: skip
    """Three affine states of unlike sizes."""
    return u * h + x, v * k + y, w * l + z


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (1, 1), (2, 0), (2, 1), (5, 2), (20, 2)])
@pytest.mark.thinned(5)
def test_affine_states_of_unlike_sizes_keep_to_a_budget(steps: int, batch: int) -> None:
    data = brute.data_of(three, steps, batch, {"a": 1, "b": 2, "c": 3}, 1)
    given = (data.params, data.inputs, data.state)
    wanted = None
    for memory in ("all", 10**6, 40_000):
        kernel = sb.compile(three, memory=memory)
        run = kernel.forward(*given)
        grads = kernel.backward(run, {k: np.ones(v.shape) for k, v in run.states.items()})
        wanted = wanted or grads
        brute.assert_same(brute.by_group(grads), brute.by_group(wanted))


@sb.cell
def constants(x: Input["n"], h: State["n"], c: State, b: Param["n"]):
    """Outputs and states that are constants, of every kind."""
    outputs = {"one": 1.0, "integer": 3, "truth": True, "size": h.shape[0], "mean": 0.5**2, "array": np.array([1.0, 2.5]),
               "whole": np.array([1, 2]), "eye": np.eye(2), "zeros": np.zeros(3), "parameter": 2 * b, "test": b > 0, "value": x > 0}  # fmt: skip
    return {"h": np.tanh(h + x + b), "c": 0.25, **outputs}


@sb.loss
def constant_loss(h: State["n"], y: Target["n"]):
    """A loss that no value has a part in, but for zero times one."""
    return 2.5


@sb.loss
def linear_loss(one: Output[""], h: State["n"], y: Target["n"]):
    """A loss whose derivative with respect to a state is a constant."""
    return 3 * sb.sum(h) + one - sb.sum(y)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"memory": "sqrt"},
    {"memory": 10**6},
    {"truncation": sb.Window(2)},
    {"truncation": sb.Chunked(2, 3)},
]


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.thinned(3)
def test_constants_have_the_type_of_the_data(dtype: Any, options: dict[str, Any], steps: int) -> None:
    kernel = own_kernel_of(constants, **options)
    x, h, b = np.full((steps, 3, 2), 0.3), np.full((3, 2), 0.1), np.array([0.5, -0.5])
    run = kernel.forward(
        {"b": b.astype(dtype)}, {"x": x.astype(dtype)}, {"h": h.astype(dtype), "c": np.zeros(3, dtype)}
    )
    wanted = {"one": 1, "integer": 3, "truth": 1, "size": 2, "mean": 0.25, "array": [1, 2.5], "whole": [1, 2], "eye": np.eye(2),
              "zeros": np.zeros(3), "parameter": 2 * b, "test": [1, 0], "value": [1, 1]}  # fmt: skip
    for name, value in wanted.items():
        assert run.outputs[name].dtype == dtype, name
        np.testing.assert_array_equal(run.outputs[name], np.broadcast_to(value, (steps, 3, *np.shape(value))))
    assert run.states["c"].dtype == dtype and (run.states["c"] == 0.25).all()
    cotangents = {k: np.ones(v.shape, dtype) for k, v in {**run.states, **run.outputs}.items()}
    grads = kernel.backward(run, cotangents)
    assert {v.dtype for group in (grads.params, grads.inputs, grads.state) for v in group.values()} == {np.dtype(dtype)}


@pytest.mark.filterwarnings("ignore:.*never used")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("loss", [constant_loss, linear_loss], ids=lambda loss: loss.name)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(13, 2)
def test_constant_losses_have_the_type_of_the_data(dtype: Any, options: dict[str, Any], loss: Any, at: str) -> None:
    kernel = own_kernel_of(sb.model(constants, loss, at=at), **options)
    x, h, b = np.full((4, 3, 2), 0.3, dtype), np.full((3, 2), 0.1, dtype), np.array([0.5, -0.5], dtype)
    y = np.zeros((4, 3, 2) if at == "every" else (3, 2), dtype)
    value, grads = kernel.value_and_grad({"b": b}, {"x": x}, {"y": y}, {"h": h, "c": np.zeros(3, dtype)})
    assert value.dtype == dtype and {v.dtype for v in grads.params.values()} == {np.dtype(dtype)}
    if loss is constant_loss:
        assert value == 2.5 * 3 * (4 if at == "every" else 1) and not np.any(grads.params["b"])


def named(message: str) -> list[int]:
    """The numbers of bytes that a refusal says suffice: of the call itself, and of other calls."""
    found = re.findall(r"take ([\d,]+) bytes at the least|(?:takes|back take|backward take) ([\d,]+)$", message, re.M)
    return [int((a or b).replace(",", "")) for a, b in found]


STEPS, BATCH = 60, 8
BUDGETED = {"gru": zoo.gru, "lstm": zoo.lstm, "gated_delta": unseen.gated_delta, "three": three}


@pytest.mark.parametrize("name", BUDGETED)
@pytest.mark.parametrize("masks", ["whole", "lengths", "reset", "both"])
@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.long), np.float64])
@pytest.mark.thinned(17, 11)
def test_the_least_budget_is_kept_by_the_run_and_by_its_way_back(name: str, masks: str, dtype: Any) -> None:
    cell, sizes = BUDGETED[name], {"m": 8, "n": 32, "k": 6, "v": 8, "a": 30, "b": 20, "c": 10}
    params, inputs, state = (
        {k: v.astype(dtype) for k, v in group.items()} for group in oracle.draw(cell, STEPS, BATCH, sizes, 1)
    )
    options: dict[str, Any] = {}
    if masks in ("lengths", "both"):
        options["lengths"] = np.full(BATCH, STEPS // 4)
    if masks in ("reset", "both"):
        options["reset"] = np.zeros((STEPS, BATCH), bool)
    with pytest.raises(sb.ArgumentError) as caught:
        own_kernel_of(cell, memory=1).forward(params, inputs, state, **options)
    (least,) = named(str(caught.value))
    kernel = own_kernel_of(cell, memory=least)
    held = [held_by_both(kernel, (params, inputs, state), options) for _ in range(2)][1]
    assert held <= least + 16_000
    with pytest.raises(sb.ArgumentError, match="at the least"):
        own_kernel_of(cell, memory=least - 1).forward(params, inputs, state, **options)


def held_by_both(kernel: sb.Kernel, groups: Any, options: dict[str, Any]) -> int:
    """The bytes that a run and its way back hold at the most, what the caller sends back apart."""
    assert kernel.module
    tracemalloc.start()
    run = kernel.forward(*groups, **options)
    forward = tracemalloc.get_traced_memory()[1]
    cotangents = {k: np.ones(v.shape, v.dtype) for k, v in {**run.states, **run.outputs}.items()}
    tracemalloc.reset_peak()
    kernel.backward(run, cotangents)
    back = tracemalloc.get_traced_memory()[1] - sum(v.nbytes for v in cotangents.values())
    tracemalloc.stop()
    return max(forward, back)


@sb.loss
def squared(h: State["n"], y: Target["n"]):
    """Squares."""
    return sb.sum((h - y) ** 2)


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(2)
def test_a_refusal_of_a_model_names_what_each_call_takes(at: str) -> None:
    model = sb.model(zoo.gru, squared, at=at)
    data = brute.data_of(model, STEPS, 3, {"m": 2, "n": 4}, 1)
    refused = own_kernel_of(model, memory=1)
    with pytest.raises(sb.ArgumentError) as caught:
        brute.value_and_grad(refused, data)
    training, running = named(str(caught.value))
    with pytest.raises(sb.ArgumentError) as caught:
        refused.forward(data.params, data.inputs, data.state)
    assert named(str(caught.value)) == [running, training]
    brute.value_and_grad(own_kernel_of(model, memory=training), data)
    kernel = own_kernel_of(model, memory=running)
    run = kernel.forward(data.params, data.inputs, data.state)
    kernel.backward(run, {"h": np.ones(run.states["h"].shape)})
    brute.value_and_grad(own_kernel_of(model, memory=max(training, running)), data)


def test_choice_by_a_constant_between_a_state_and_itself_has_a_budget() -> None:
    @sb.cell
    def cell(x: Input["n"], h: State["n"], U: Param["n n"], dt: Const = 0.3):
        return np.tanh(U @ np.where(dt > 0.1, h, h) + x)

    params, x, dh = {"U": np.eye(2) / 2}, {"x": np.ones((9, 1, 2))}, {"h": np.ones((1, 2))}
    plain, budget = own_kernel_of(cell), own_kernel_of(cell, memory=10**6)
    wanted, found = (k.backward(k.forward(params, x), dh).params["U"] for k in (plain, budget))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
