"""Kernels: forward and backward as the contract has them, for every legal argument, and names for every other."""

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target, zoo
from symbptt.codegen.kernel import Shared, compiled
from symbptt.codegen.load import load
from symbptt.codegen.runtime import workspace as runtime_workspace
from symbptt.ir.shape import names_in
from symbptt.zoo import gru, lstm, rnn
from tests import oracle
from tests.cells import odd, vanilla
from tests.kernels import kernel_of

SIZES = {"m": 2, "n": 3, "v": 4}


@sb.cell
def driven_by_itself(h: State["n"], c: State, U: Param["n n"], a: Param):
    return np.tanh(U @ h) * c, a * np.sin(c) + sb.mean(h)


@sb.cell
def reader(x: Index["v"], u: Input, h: State["n"], E: Param["v n"], F: Param["n v"], w: Param["n"]):
    """Reads rows and columns; puts out what no later step needs."""
    h_new = np.tanh(E[x] + F[:, x] * h + u * w)
    return {"h": h_new, "y": w @ h_new, "z": 2 * u}


CELLS = [rnn, lstm, gru, odd, reader, driven_by_itself]
EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def forward(cell: sb.Cell, groups: Any, steps: int, **kwargs: Any) -> Any:
    return kernel_of(cell).forward(*groups, steps=None if groups[1] else steps, **kwargs)


def assert_gradients(
    cell: sb.Cell, groups: Any, cotangents: Any, steps: int, tolerance: float = 1e-10, **masks: Any
) -> None:
    run = forward(cell, groups, steps, **masks)
    got = oracle.flat(kernel_of(cell).backward(run, cotangents))
    oracle.assert_blocks_close(got, oracle.gradients(cell, *groups, cotangents, steps, **masks), tolerance)


@EVERY_CELL
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.thinned(11)
def test_states_and_gradients_are_those_of_the_plain_function(cell: sb.Cell, steps: int, batch: int) -> None:
    groups = oracle.draw(cell, steps, batch, SIZES)
    run = forward(cell, groups, steps)
    wanted = oracle.run(cell, *groups, steps)
    for name, value in {**run.states, **run.outputs}.items():
        assert value.shape[:2] == (steps, batch)
        assert value.shape == wanted.get(name, value).shape
    if steps:
        oracle.assert_blocks_close({**run.states, **run.outputs}, wanted, 1e-12)
    cotangents = {
        k: np.random.default_rng(1).standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()
    }
    assert_gradients(cell, groups, cotangents, steps)


@EVERY_CELL
def test_gradients_are_right_with_sizes_of_one(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, {"m": 1, "n": 1, "v": 1})
    assert_gradients(cell, groups, oracle.cotangents_of(cell, groups, 3), 3)


@EVERY_CELL
def test_gradients_are_shaped_like_what_they_belong_to(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 2, 3, SIZES)
    grads = kernel_of(cell).backward(forward(cell, groups, 2), oracle.cotangents_of(cell, groups, 2))
    for role, given, got in zip(
        ("param", "input", "state"), groups, (grads.params, grads.inputs, grads.state), strict=True
    ):
        assert {k: v.shape for k, v in got.items()} == {k: np.shape(given[k]) for k in oracle.names_of(cell, role)}
    assert grads.flow is None


@EVERY_CELL
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_one_sample_without_a_batch_axis_gives_the_same(cell: sb.Cell, steps: int) -> None:
    params, inputs, state = oracle.draw(cell, steps, 1, SIZES)
    alone = (params, {k: v[:, 0] for k, v in inputs.items()}, {k: v[0] for k, v in state.items()})
    batched, single = forward(cell, (params, inputs, state), steps), forward(cell, alone, steps)
    cotangents = {
        k: np.random.default_rng(2).standard_normal(v.shape) for k, v in {**batched.states, **batched.outputs}.items()
    }
    for k, v in {**single.states, **single.outputs}.items():
        np.testing.assert_array_equal(v, {**batched.states, **batched.outputs}[k][:, 0])
    wanted = kernel_of(cell).backward(batched, cotangents, monitor=True)
    got = kernel_of(cell).backward(single, {k: v[:, 0] for k, v in cotangents.items()}, monitor=True)
    for k in wanted.params:
        np.testing.assert_array_equal(got.params[k], wanted.params[k])
    for k in wanted.inputs:
        np.testing.assert_array_equal(got.inputs[k], wanted.inputs[k][:, 0])
    for k in wanted.state:
        np.testing.assert_array_equal(got.state[k], wanted.state[k][0])
        np.testing.assert_array_equal(got.flow[k], wanted.flow[k])


@EVERY_CELL
def test_omitted_initial_state_is_zero(cell: sb.Cell) -> None:
    params, inputs, state = oracle.draw(cell, 3, 1, SIZES)
    zeros = {k: np.zeros_like(v) for k, v in state.items()}
    given, omitted = forward(cell, (params, inputs, zeros), 3), forward(cell, (params, inputs, None), 3)
    for k in given.states:
        np.testing.assert_array_equal(np.reshape(omitted.states[k], given.states[k].shape), given.states[k])
    cotangents = {k: np.ones_like(v) for k, v in omitted.states.items()}
    for k, v in kernel_of(cell).backward(omitted, cotangents).state.items():
        assert np.size(v) == np.size(state[k])


def test_one_of_two_initial_states_may_be_omitted() -> None:
    params, inputs, state = oracle.draw(lstm, 3, 2, SIZES)
    wanted = forward(lstm, (params, inputs, state | {"c": np.zeros((2, 3))}), 3)
    got = forward(lstm, (params, inputs, {"h": state["h"]}), 3)
    np.testing.assert_array_equal(got.states["c"], wanted.states["c"])


# Types.


def cast(groups: Any, dtype: Any) -> Any:
    return tuple({k: v.astype(dtype) if np.asarray(v).dtype.kind == "f" else v for k, v in g.items()} for g in groups)


def arrays_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [array for part in value for array in arrays_in(part)]
    return [value] if isinstance(value, np.ndarray) else []


@EVERY_CELL
def test_float32_is_float32_everywhere(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 4, 3, SIZES)
    wide, narrow = forward(cell, groups, 4), forward(cell, cast(groups, np.float32), 4)
    for run, dtype in ((wide, np.float64), (narrow, np.float32)):
        kept = [a for a in arrays_in(run.tape) + arrays_in(run.states) + arrays_in(run.outputs) if a.dtype.kind == "f"]
        assert kept and {a.dtype for a in kept} == {np.dtype(dtype)}
    cotangents = oracle.cotangents_of(cell, groups, 4)
    backward = kernel_of(cell).backward
    wanted, got = backward(wide, cotangents), backward(narrow, cast((cotangents,), np.float32)[0], monitor=True)
    assert {a.dtype for a in arrays_in([oracle.flat(got), got.flow])} == {np.dtype(np.float32)}
    oracle.assert_blocks_close({k: v.astype(float) for k, v in oracle.flat(got).items()}, oracle.flat(wanted), 2e-5)


@EVERY_CELL
def test_float32_stays_float32_in_every_region(cell: sb.Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """No float64 array is made on the way: np.exp, np.tanh and the like never see one."""
    module = kernel_of(cell).module
    seen: list[Any] = []

    class Function:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            result = getattr(np, self.name)(*args, **kwargs)
            if isinstance(result, np.ndarray):
                seen.append((self.name, result.dtype))
            return result

        def __getattr__(self, method: str) -> Any:
            return getattr(getattr(np, self.name), method)

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return Function(name) if isinstance(getattr(np, name), np.ufunc) else getattr(np, name)

    monkeypatch.setattr(module, "np", Watched())
    groups = cast(oracle.draw(cell, 2, 3, SIZES), np.float32)
    run = forward(cell, groups, 2)
    kernel_of(cell).backward(run, {k: np.ones_like(v) for k, v in run.states.items()})
    assert {dtype for _, dtype in seen} <= {np.dtype(np.float32), np.dtype(bool)}, seen


def test_python_numbers_are_of_the_type_of_the_arrays() -> None:
    params, inputs, state = cast(oracle.draw(driven_by_itself, 2, 2, SIZES), np.float32)
    run = kernel_of(driven_by_itself).forward(params | {"a": 0.5}, inputs, state, steps=2)
    assert run.states["c"].dtype == np.float32
    assert (
        kernel_of(driven_by_itself).backward(run, {"h": np.ones((2, 2, 3), np.float32)}).params["a"].dtype == np.float32
    )


# Cotangents.


@EVERY_CELL
def test_cotangents_may_be_of_every_step_of_the_last_or_absent(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    full = oracle.cotangents_of(cell, groups, 3)
    for name in full:
        assert_gradients(cell, groups, {name: full[name]}, 3)
        assert_gradients(cell, groups, {name: full[name][-1]}, 3)
    mixed = {name: value[-1] if i % 2 else value for i, (name, value) in enumerate(full.items())}
    assert_gradients(cell, groups, mixed, 3)


def test_no_cotangent_gives_zero_gradients() -> None:
    groups = oracle.draw(lstm, 3, 2, SIZES)
    grads = kernel_of(lstm).backward(forward(lstm, groups, 3), {})
    assert all(not v.any() for v in oracle.flat(grads).values())
    assert {k: v.shape for k, v in grads.params.items()} == {k: v.shape for k, v in groups[0].items()}


def test_cotangent_of_the_last_state_of_no_steps_is_the_gradient_of_the_initial_one() -> None:
    groups = oracle.draw(vanilla, 0, 2, SIZES)
    grads = kernel_of(vanilla).backward(forward(vanilla, groups, 0), {"h": np.full((2, 3), 2.0)})
    np.testing.assert_array_equal(grads.state["h"], np.full((2, 3), 2.0))
    assert not grads.params["W"].any() and grads.inputs["x"].shape == (0, 2, 2)


def test_gradient_is_linear_in_the_cotangent() -> None:
    groups = oracle.draw(gru, 4, 2, SIZES)
    run, backward = forward(gru, groups, 4), kernel_of(gru).backward
    one, two = (oracle.cotangents_of(gru, groups, 4, seed) for seed in (1, 2))
    both = oracle.flat(backward(run, {"h": one["h"] - 3 * two["h"]}))
    apart = (oracle.flat(backward(run, one)), oracle.flat(backward(run, two)))
    oracle.assert_blocks_close(both, {k: apart[0][k] - 3 * apart[1][k] for k in both}, 1e-12)


# What a call leaves alone.


@EVERY_CELL
def test_backward_twice_gives_the_same_bytes(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    run, cotangents = forward(cell, groups, 3), oracle.cotangents_of(cell, groups, 3)
    before = {k: v.tobytes() for k, v in {**run.states, **run.outputs}.items()}
    first = oracle.flat(kernel_of(cell).backward(run, cotangents))
    second = oracle.flat(kernel_of(cell).backward(run, cotangents, monitor=True))
    for name in first:
        assert first[name].tobytes() == second[name].tobytes()
    assert before == {k: v.tobytes() for k, v in {**run.states, **run.outputs}.items()}
    again = forward(cell, groups, 3)
    assert before == {k: v.tobytes() for k, v in {**again.states, **again.outputs}.items()}


@EVERY_CELL
def test_arrays_of_the_caller_are_unchanged_and_may_be_read_only(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    every = [*arrays_in(list(groups)), *arrays_in(cotangents)]
    before = [a.tobytes() for a in every]
    for a in every:
        a.flags.writeable = False
    masks = {"lengths": np.array([2, 3]), "reset": np.eye(3, 2, dtype=bool)}
    for kwargs in ({}, masks):
        kernel_of(cell).backward(forward(cell, groups, 3, **kwargs), cotangents, monitor=True)
    assert before == [a.tobytes() for a in every]


@EVERY_CELL
def test_no_two_gradients_share_memory_with_anything(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    run = forward(cell, groups, 3)
    grads = arrays_in(oracle.flat(kernel_of(cell).backward(run, cotangents)))
    others = [*arrays_in(list(groups)), *arrays_in(cotangents), *arrays_in(run.states), *arrays_in(run.tape)]
    for i, a in enumerate(grads):
        assert a.flags.writeable or a.ndim == 0
        assert not any(np.shares_memory(a, b) for b in [*grads[:i], *others])


def test_states_of_a_run_are_read_only() -> None:
    run = forward(lstm, oracle.draw(lstm, 2, 2, SIZES), 2)
    with pytest.raises(ValueError, match="read-only"):
        run.states["h"][0] = 0


VIEWS: dict[str, Callable[[Any], Any]] = {
    "Fortran order": lambda a: a.copy(order="F"),
    "every second of more": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a,
    "broadcast of itself": lambda a: np.broadcast_to(a, (2, *a.shape))[1],
    "nested lists": lambda a: a.tolist() if a.ndim else a,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("cell", [lstm, odd, reader], ids=lambda cell: cell.name)
@pytest.mark.thinned(5)
def test_layout_of_arguments_does_not_matter(cell: sb.Cell, view: str) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    wanted = oracle.flat(kernel_of(cell).backward(forward(cell, groups, 3), cotangents))
    other = tuple({k: VIEWS[view](v) for k, v in group.items()} for group in groups)
    run = forward(cell, other, 3)
    got = oracle.flat(kernel_of(cell).backward(run, {k: VIEWS[view](v) for k, v in cotangents.items()}))
    assert all(v.dtype == np.dtype(float) and v.dtype.isnative for v in got.values())
    oracle.assert_blocks_close(got, wanted, 1e-13)


# Lengths and resets, against loops over samples.


@EVERY_CELL
@pytest.mark.parametrize("lengths", [[3, 3, 3], [1, 3, 2], [0, 2, 0], [0, 0, 0]])
def test_sample_stops_at_its_length(cell: sb.Cell, lengths: list[int]) -> None:
    groups = oracle.draw(cell, 3, 3, SIZES)
    run = forward(cell, groups, 3, lengths=lengths)
    for b, length in enumerate(lengths):
        alone = oracle.run(cell, groups[0], {k: v[:length, b : b + 1] for k, v in groups[1].items()},
                           {k: v[b : b + 1] for k, v in groups[2].items()}, length)  # fmt: skip
        for name, value in run.states.items():
            if length:
                np.testing.assert_allclose(value[:length, b], alone[name][:, 0], rtol=1e-12)
            frozen = value[length - 1, b] if length else groups[2][name][b]
            np.testing.assert_array_equal(value[length:, b], np.broadcast_to(frozen, value[length:, b].shape))
        for value in run.outputs.values():
            assert not value[length:, b].any()
    cotangents = {
        k: np.random.default_rng(3).standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()
    }
    wanted = oracle.gradients(cell, *groups, cotangents, 3, lengths)
    oracle.assert_blocks_close(oracle.flat(kernel_of(cell).backward(run, cotangents)), wanted, 1e-10)


@EVERY_CELL
def test_cotangent_of_the_last_step_reaches_the_state_where_a_sample_stopped(cell: sb.Cell) -> None:
    groups, lengths = oracle.draw(cell, 3, 3, SIZES), [1, 3, 2]
    last = {k: oracle.cotangents_of(cell, groups, 3)[k][-1] for k in oracle.names_of(cell, "state")}
    assert_gradients(cell, groups, last, 3, lengths=lengths)


def test_inputs_after_the_end_do_not_matter_even_if_not_finite() -> None:
    params, inputs, state = oracle.draw(lstm, 3, 2, SIZES)
    padded = inputs["x"].copy()
    padded[2:, 0] = np.nan
    cotangents = oracle.cotangents_of(lstm, (params, inputs, state), 3)
    found = []
    for x in (inputs["x"], padded):
        run = forward(lstm, (params, {"x": x}, state), 3, lengths=[2, 3])
        found.append(oracle.flat(kernel_of(lstm).backward(run, cotangents)))
    oracle.assert_blocks_close(found[1], found[0], 0)
    assert not found[0]["x"][2, 0].any()


@EVERY_CELL
def test_reset_at_every_position_returns_to_the_initial_state(cell: sb.Cell) -> None:
    groups = oracle.draw(cell, 3, 2, SIZES)
    cotangents = oracle.cotangents_of(cell, groups, 3)
    for position in range(6):
        reset = np.zeros((3, 2), bool)
        reset.flat[position] = True
        run = forward(cell, groups, 3, reset=reset)
        oracle.assert_blocks_close({**run.states, **run.outputs}, oracle.run(cell, *groups, 3, reset=reset), 1e-12)
        assert_gradients(cell, groups, cotangents, 3, reset=reset)


def test_no_gradient_crosses_a_reset() -> None:
    groups = oracle.draw(vanilla, 4, 1, SIZES)
    reset = np.array([[False], [False], [True], [False]])
    grads = kernel_of(vanilla).backward(forward(vanilla, groups, 4, reset=reset), {"h": np.ones((1, 3))})
    assert not grads.inputs["x"][:2].any() and grads.inputs["x"][2:].all() and grads.state["h"].all()


@pytest.mark.parametrize("cell", [lstm, odd], ids=lambda cell: cell.name)
def test_lengths_and_resets_go_together(cell: sb.Cell) -> None:
    groups, lengths = oracle.draw(cell, 4, 3, SIZES), np.array([2, 4, 3])
    reset = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 1], [0, 1, 0]], bool)
    run = forward(cell, groups, 4, lengths=lengths, reset=reset)
    wanted = oracle.run(cell, *groups, 4, lengths, reset)
    oracle.assert_blocks_close({**run.states, **run.outputs}, wanted, 1e-12)
    assert_gradients(cell, groups, oracle.cotangents_of(cell, groups, 4), 4, lengths=lengths, reset=reset)


def test_stopped_sample_is_not_reset() -> None:
    groups, reset = oracle.draw(vanilla, 3, 1, SIZES), np.array([[False], [False], [True]])
    run = forward(vanilla, groups, 3, lengths=[2], reset=reset)
    np.testing.assert_array_equal(run.states["h"][2], run.states["h"][1])


def test_masks_of_one_sample_need_no_batch_axis() -> None:
    params, inputs, state = oracle.draw(vanilla, 3, 1, SIZES)
    reset = np.array([False, True, False])
    wanted = forward(vanilla, (params, inputs, state), 3, reset=reset[:, None])
    got = forward(vanilla, (params, {"x": inputs["x"][:, 0]}, {"h": state["h"][0]}), 3, reset=reset)
    np.testing.assert_array_equal(got.states["h"], wanted.states["h"][:, 0])


# The flow of the adjoint.


@sb.cell
def ungated(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"]):
    """The adjoint of h is read by that of c alone, which must not be written over it."""
    c2 = 0.5 * c + np.tanh(W @ x + U @ h)
    return {"h": np.tanh(c2), "c": c2}


@pytest.mark.parametrize("cell", [rnn, lstm, gru, driven_by_itself, ungated], ids=lambda cell: cell.name)
def test_flow_is_the_norm_of_the_whole_adjoint_at_every_step(cell: sb.Cell) -> None:
    """What reaches the state after step t is the gradient of the initial state of a run that begins there."""
    steps = 4
    params, inputs, state = groups = oracle.draw(cell, steps, 2, SIZES)
    run, cotangents = forward(cell, groups, steps), oracle.cotangents_of(cell, groups, steps)
    flow = kernel_of(cell).backward(run, cotangents, monitor=True).flow
    assert set(flow) == set(state) and all(v.shape == (steps,) for v in flow.values())
    for t in range(steps):
        rest = (params, {k: v[t + 1 :] for k, v in inputs.items()}, {k: run.states[k][t] for k in state})
        later = kernel_of(cell).backward(
            forward(cell, rest, steps - t - 1), {k: v[t + 1 :] for k, v in cotangents.items()}
        )
        whole = {k: v + cotangents[k][t] for k, v in later.state.items()}
        if cell in (lstm, ungated):  # h_t = o_t tanh(c_t): the adjoint of c_t has the part that comes through h_t
            h, c = run.states["h"][t], run.states["c"][t]
            whole["c"] = whole["c"] + whole["h"] * h / np.tanh(c) * (1 - np.tanh(c) ** 2)
        for name in state:
            np.testing.assert_allclose(flow[name][t], np.linalg.norm(whole[name]), rtol=1e-10)


# Constants, indices, no inputs.


@sb.cell
def leaky(
    x: Input["n"], h: State["n"], w: Param["n"], k: Const["n"], dt: Const = 0.25, tau: Const["2"] = np.array([1.0, 2.0])
):
    return h + dt * (np.tanh(w * x) * k - h / tau[1]) / tau[0]


def test_constants_are_given_defaulted_or_replaced() -> None:
    groups = oracle.draw(leaky, 3, 2, SIZES)
    assert set(groups[0]) == {"w", "k"}
    cotangents = oracle.cotangents_of(leaky, groups, 3)
    assert_gradients(leaky, groups, cotangents, 3)
    changed = {"dt": 0.5, "tau": [3.0, 1.5]}
    kernel, other = sb.compile(leaky, consts=changed), leaky.with_consts(changed)
    run = kernel.forward(*groups)
    oracle.assert_blocks_close(run.states, oracle.run(other, *groups, 3), 1e-12)
    grads = kernel.backward(run, cotangents)
    assert "k" not in grads.params and "dt" not in grads.params
    oracle.assert_blocks_close(oracle.flat(grads), oracle.gradients(other, *groups, cotangents, 3), 1e-10)


def test_constant_without_a_default_may_be_fixed() -> None:
    kernel = sb.compile(leaky, consts={"k": 0.5})
    params, inputs, state = oracle.draw(leaky, 3, 2, SIZES)
    wanted = oracle.run(leaky, params | {"k": np.full(3, 0.5)}, inputs, state, 3)
    oracle.assert_blocks_close(kernel.forward({"w": params["w"]}, inputs, state).states, wanted, 1e-12)


@pytest.mark.parametrize(("indices", "words"), [
    ([[0, 4]], "from 0 to 3"), ([[-1, 0]], "from 0 to 3"), ([[0.0, 1.0]], r"integers are expected, got float64; write \.astype\(int\)"),
    ([[0.5, 1.0]], r"integers are expected, got float64\n"),
    ([[True, False]], "integers are expected, got bool"), ([["a", "b"]], "integers are expected"),
])  # fmt: skip
def test_wrong_index_is_refused_by_name(indices: Any, words: str) -> None:
    groups = oracle.draw(reader, 1, 2, SIZES)
    with pytest.raises(sb.ArgumentError, match=f"^x: (.|\n)*{words}"):
        forward(reader, (groups[0], groups[1] | {"x": np.array(indices)}, groups[2]), 1)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u8", ">i4"])
def test_index_may_be_any_integer(dtype: str) -> None:
    params, inputs, state = groups = oracle.draw(reader, 3, 2, SIZES)
    wanted = forward(reader, groups, 3).states["h"]
    np.testing.assert_array_equal(
        forward(reader, (params, inputs | {"x": inputs["x"].astype(dtype)}, state), 3).states["h"], wanted
    )


def test_rows_read_twice_sum_their_gradients() -> None:
    groups = oracle.draw(reader, 4, 3, SIZES)
    groups[1]["x"][:] = 2
    assert_gradients(reader, groups, oracle.cotangents_of(reader, groups, 4), 4)


def test_cell_without_inputs_takes_steps() -> None:
    params, inputs, state = oracle.draw(driven_by_itself, 3, 2, SIZES)
    kernel = kernel_of(driven_by_itself)
    assert kernel.forward(params, steps=2).states["h"].shape == (2, 1, 3)
    assert kernel.forward(params, {}, state, steps=0).states["h"].shape == (0, 2, 3)
    single = {k: v[0] for k, v in state.items()}
    assert kernel.forward(params, None, single, steps=2).states["h"].shape == (2, 3)
    with pytest.raises(sb.ArgumentError, match="steps="):
        kernel.forward(params, inputs, state)


@pytest.mark.parametrize("steps", [-1, 2.0, "3"])
def test_wrong_number_of_steps_is_refused(steps: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="steps"):
        kernel_of(driven_by_itself).forward(oracle.draw(driven_by_itself, 3, 2, SIZES)[0], steps=steps)


def test_number_of_steps_must_be_that_of_the_inputs() -> None:
    with pytest.raises(sb.ArgumentError, match="steps"):
        kernel_of(vanilla).forward(*oracle.draw(vanilla, 3, 2, SIZES), steps=7)


# Arguments that are not what the cell takes.

P, X, S = oracle.draw(vanilla, 3, 2, SIZES)
x = X["x"]
REFUSED: dict[str, tuple[Any, Any, Any, str]] = {
    "a missing parameter": ({"W": P["W"], "U": P["U"]}, X, S, r"parameter 'b' is missing; pass params=\{'b': ...\}, \(n\)"),
    "an extra parameter": (P | {"V": P["W"]}, X, S, "parameter 'V' is not known; expected W, U, b"),
    "no inputs": (P, None, S, r"input 'x' is missing; pass inputs=\{'x': ...\}, \(T, B, m\)"),
    "an extra input": (P, X | {"y": x}, S, "input 'y' is not known; expected x"),
    "an extra state": (P, X, S | {"c": S["h"]}, "state 'c' is not known; expected h"),
    "a vector of another length": (P | {"b": np.ones(4)}, X, S, r"b: \(n\) = \(3,\) is expected, got \(4,\)"),
    "a column for a vector": (P | {"b": np.ones((3, 1))}, X, S, r"b: \(n\) is expected, got shape \(3, 1\)"),
    "a scalar for a vector": (P | {"b": 1.0}, X, S, r"b: .*is expected, got"),
    "other features": (P, {"x": np.ones((3, 2, 5))}, S, r"x: \(T, B, m\) = \(3, 2, 2\) is expected, got \(3, 2, 5\)"),
    "one step without a batch": (P, {"x": np.ones(2)}, S, r"x: \(T, B, m\) is expected, got shape \(2,\)"),
    "another batch of h0": (P, X, {"h": np.ones((3, 3))}, r"h: \(B, n\) = \(2, 3\) is expected, got \(3, 3\)"),
    "a batch axis on x alone": (P, X, {"h": np.ones(3)}, r"h: .* a batch axis is on one only.*is the same for all samples write np.stack\(\[h\] \* 2, axis=0\)"),
    "a batch axis on h alone": (P, {"x": x[:, 0]}, S, "h: .* a batch axis is on one only"),
    "h0 with a time axis": (P, X, {"h": np.ones((3, 2, 3))}, r"h: \(B, n\) is expected, got shape \(3, 2, 3\)"),
    "float32 inputs": (P, {"x": x.astype(np.float32)}, S, "x: float32 among arrays of float64"),
    "a float32 state": (P, X, {"h": S["h"].astype(np.float32)}, "h: float32 among arrays of float64"),
    "one float32 parameter": (P | {"U": P["U"].astype(np.float32)}, X, S, "U: float32 among arrays of float64"),
    "integers": (P, {"x": np.ones((3, 2, 2), int)}, S, r"x: .* got int64; write \.astype"),
    "bools": (P, {"x": np.ones((3, 2, 2), bool)}, S, "x: .* got bool"),
    "half precision": (P, {"x": x.astype(np.float16)}, S, "x: .* got float16"),
    "long doubles": (P, {"x": x.astype(np.longdouble)}, S, "x: .* got (float128|longdouble)"),
    "complex numbers": (P | {"W": P["W"] + 0j}, X, S, "W: .* got complex128"),
    "objects": (P, {"x": x.astype(object)}, S, "x: .* got object"),
    "text": (P, {"x": "abc"}, S, "x: .* got str"),
    "None": (P, {"x": None}, S, "x: .* got NoneType"),
    "a masked array": (P, {"x": np.ma.masked_array(x, x > 0)}, S, "x: a plain array is expected, got MaskedArray"),
    "a matrix": (P | {"W": P["W"].view(np.matrix)}, X, S, "W: a plain array is expected, got matrix"),
    "lengths of another batch": (P, X, S, r"lengths: \(2,\) integers from 0 to 3"),
}  # fmt: skip


def test_ragged_list_is_refused_by_name() -> None:
    with pytest.raises(sb.ArgumentError, match="x: not an array of numbers"):
        kernel_of(vanilla).forward(P, {"x": [[1.0, 2.0], [1.0]]}, S)


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_argument_is_refused_by_name(name: str) -> None:
    params, inputs, state, words = REFUSED[name]
    kwargs: Any = {"lengths": [1, 2, 3]} if "lengths" in name else {}
    with pytest.raises(sb.ArgumentError, match=f"(?s){words}.*in a call of the kernel of vanilla"):
        kernel_of(vanilla).forward(params, inputs, state, **kwargs)


@pytest.mark.parametrize("group", [0, 1, 2])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v]], ids=["an array", "a list"])
def test_array_where_a_dict_is_due_is_refused(group: int, wrap: Callable[[Any], Any]) -> None:
    groups: list[Any] = [P, X, S]
    groups[group] = wrap(next(iter(groups[group].values())))
    with pytest.raises(sb.ArgumentError, match="params|inputs|state"):
        kernel_of(vanilla).forward(*groups)


@pytest.mark.parametrize("lengths", [[1.0, 2.0], [4, 1], [-1, 1], 3, [[1, 2]], "ab", [True, False]])
def test_wrong_lengths_are_refused(lengths: Any) -> None:
    cure = r".*\[1.0, 2.0\]; write \.astype\(int\)" if lengths == [1.0, 2.0] else ""
    with pytest.raises(sb.ArgumentError, match=r"lengths: \(2,\) integers from 0 to 3" + cure):
        kernel_of(vanilla).forward(P, X, S, lengths=lengths)


@pytest.mark.parametrize(
    "reset", [np.zeros((3, 2)), np.zeros((3, 2), int), np.zeros((2, 3), bool), np.zeros(3, bool), True]
)
def test_wrong_resets_are_refused(reset: Any) -> None:
    cure = r".*; write \.astype\(bool\)" if np.shape(reset) == (3, 2) else ""
    with pytest.raises(sb.ArgumentError, match=r"reset: a bool array of shape \(3, 2\)" + cure):
        kernel_of(vanilla).forward(P, X, S, reset=reset)


@pytest.mark.parametrize("given", [
    ({"x": np.ones((2, 5, 2))}, {"h": np.ones((2, 3))}), ({"x": np.ones((2, 5, 2))}, None),
])  # fmt: skip
def test_batch_before_time_is_told_where_the_sizes_tell(given: Any) -> None:
    """(B, T, m) with an initial state (B, n), or with lengths (B,)."""
    kwargs: Any = {} if given[1] else {"lengths": [5, 5]}
    with pytest.raises(sb.ArgumentError, match=r"time comes first"):
        kernel_of(vanilla).forward(P, *given, **kwargs)


def test_two_inputs_that_disagree_in_time_are_told() -> None:
    params, inputs, state = oracle.draw(reader, 3, 2, SIZES)
    with pytest.raises(sb.ArgumentError, match=r"u: .*time comes first"):
        forward(reader, (params, inputs | {"u": inputs["u"].T}, state), 3)


def run_of_vanilla() -> Any:
    return kernel_of(vanilla).forward(P, X, S)


D = np.ones((3, 2, 3))


@pytest.mark.parametrize(("cotangents", "words"), [
    ({"hh": D}, "'hh' is not known; expected h"),
    ({"h": D[:, 0]}, r"h: shape \(3, 2, 3\), or \(2, 3\) for the last step, is expected, got \(3, 3\)"),
    ({"h": D[0, 0]}, "h: shape"),
    ({"h": 1.0}, "h: shape"),
    ({"h": D.astype(np.float32)}, "h: a cotangent of float64 is expected, got float32"),
    ({"h": D.astype(int)}, "h: a cotangent of float64 is expected, got int64"),
    ({"h": D + 0j}, "h: a cotangent of float64 is expected, got complex128"),
    ({"h": None}, "h: a cotangent of float64"),
    ({"h": np.ma.masked_array(D, D > 0)}, "h: .*MaskedArray"),
    ({"h": [[1.0, 2.0], [1.0]]}, "h: not an array"),
    (D, "cotangents"),
])  # fmt: skip
def test_wrong_cotangent_is_refused_by_name(cotangents: Any, words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        kernel_of(vanilla).backward(run_of_vanilla(), cotangents)


def test_no_steps_and_no_samples_are_fine() -> None:
    kernel, m, n = kernel_of(vanilla), 2, 3
    for T, B in [(0, 2), (3, 0), (0, 0)]:
        params = {"W": np.ones((n, m)), "U": np.eye(n), "b": np.zeros(n)}
        run = kernel.forward(params, {"x": np.ones((T, B, m))}, lengths=np.full(B, T), reset=np.ones((T, B), bool))
        assert run.states["h"].shape == (T, B, n)
        run = kernel.forward(params, {"x": np.ones((T, B, m))})
        grads = kernel.backward(run, {"h": np.ones((T, B, n))}, monitor=True)
        assert run.states["h"].shape == (T, B, n) and grads.inputs["x"].shape == (T, B, m)
        assert grads.params["W"].shape == (n, m) and np.isfinite(grads.params["U"]).all()


@pytest.mark.parametrize(("m", "n"), [(0, 3), (2, 0)])
def test_size_of_zero_is_refused(m: int, n: int) -> None:
    params = {"W": np.ones((n, m)), "U": np.ones((n, n)), "b": np.zeros(n)}
    with pytest.raises(sb.ArgumentError, match="sizes are positive"):
        kernel_of(vanilla).forward(params, {"x": np.ones((3, 2, m))})


@sb.cell
def singular(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.tanh(h + w * np.log(x) / x)


@pytest.mark.filterwarnings("error")
def test_cell_that_is_not_finite_at_zero_may_stop_early() -> None:
    params, inputs, state = oracle.draw(singular, 3, 2, SIZES)
    groups = (params, {"x": 1 + np.abs(inputs["x"])}, state)
    assert_gradients(singular, groups, oracle.cotangents_of(singular, groups, 3), 3, lengths=[1, 3])


@pytest.mark.parametrize("batch", [(), (2,)], ids=["unbatched", "batched"])
@pytest.mark.parametrize(("name", "state", "size", "shape"), [
    ("delay_rnn", "past", "k", "k, n"), ("attention", "past", "k", "k, n"), ("stack_rnn", "s", "k", "k, d"),
])  # fmt: skip
def test_size_that_only_an_omitted_state_tells_is_named_with_what_to_pass(
    name: str, state: str, size: str, shape: str, batch: tuple[int, ...]
) -> None:
    cell = zoo.CELLS[name]
    params, x = (
        cell.init(dict.fromkeys((k for k in "mnkda" if any(k in names_in(b.shape) for b in cell.arguments)), 2)),
        np.ones((3, *batch, 2)),
    )
    lead = "B, " if batch else ""
    words = rf"{state}: nothing that is given tells the size '{size}'; pass .*'{state}': np\.zeros\(\({lead}{shape}\)\)"
    with pytest.raises(sb.ArgumentError, match=words + rf"(.|\n)*kernel of {name}"):
        kernel_of(cell).forward(params, {"x": x})
    run = kernel_of(cell).forward(params, {"x": x}, {state: np.zeros((*batch, 2, 2))})
    assert run.states["h"].shape == (3, *batch, 2)


def test_size_that_only_a_target_tells_is_not_needed_in_forward() -> None:
    @sb.cell
    def moved(h: State["n"], M: State["k"]):
        return np.sin(h), np.cos(M)

    @sb.loss
    def loss(h: State["n"], M: State["k"], y: Target["k"], z: Target["2*l"]):
        return np.sum(h) + np.sum((M - y) ** 2) + np.sum(z)

    kernel, h = sb.compile(sb.model(moved, loss)), np.ones((2, 3))
    assert kernel.forward({}, {}, {"h": h, "M": np.ones((2, 4))}, steps=2).states["M"].shape == (2, 2, 4)
    value, grads = kernel.value_and_grad({}, {}, {"y": np.ones((2, 2, 4)), "z": np.zeros((2, 2, 6))}, {"h": h}, steps=2)
    assert np.isfinite(value) and grads.state["M"].shape == (2, 4)
    with pytest.raises(sb.ArgumentError, match="M: nothing that is given tells the size 'k'"):
        kernel.forward({}, {}, {"h": h}, steps=2)


# Rooms that are used again.


@EVERY_CELL
def test_results_stay_as_they_are_when_rooms_are_used_again(cell: sb.Cell) -> None:
    kernel = sb.compile(cell)
    groups = oracle.draw(cell, 4, 2, SIZES)
    others = oracle.draw(cell, 4, 2, SIZES, seed=1)

    def everything(groups: Any) -> dict[str, np.ndarray]:
        run = kernel.forward(*groups, steps=4)
        grads = kernel.backward(run, oracle.cotangents_of(cell, groups, 4))
        return {**run.states, **{f"{k}_out": v for k, v in run.outputs.items()}, **oracle.flat(grads)}

    first = everything(groups)
    kept = {k: v.copy() for k, v in first.items()}
    for _ in range(3):
        everything(others)
    oracle.assert_blocks_close(first, kept, 0)
    oracle.assert_blocks_close(everything(groups), kept, 0)


def test_run_that_is_still_held_keeps_its_tape() -> None:
    kernel = sb.compile(rnn)
    groups, others = (oracle.draw(rnn, 4, 2, SIZES, seed=seed) for seed in (0, 1))
    run = kernel.forward(*groups)
    cotangents = oracle.cotangents_of(rnn, groups, 4)
    wanted = oracle.flat(kernel.backward(run, cotangents))
    for _ in range(3):
        kernel.backward(kernel.forward(*others), cotangents)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents)), wanted, 0)


@sb.loss
def end(h: State["n"]):
    return sb.sum(h * h)


def test_caller_may_pass_a_workspace() -> None:
    kernel = sb.compile(rnn)
    module = load(kernel.source, "saved")
    groups = oracle.draw(rnn, 6, 2, SIZES)
    cotangents = oracle.cotangents_of(rnn, groups, 6)
    wanted = oracle.flat(kernel.backward(kernel.forward(*groups), cotangents))
    mine, other = module.Workspace(), module.Workspace(limit=0)
    for _ in range(3):
        run = module.forward(*groups, workspace=mine)
        oracle.assert_blocks_close(oracle.flat(module.backward(run, cotangents)), wanted, 0)
        del run
        held = mine.nbytes
    assert held > 0 and mine.nbytes == held and repr(mine).startswith(f"<workspace: {held:,} of ")
    run = module.forward(*groups, workspace=other)
    oracle.assert_blocks_close(oracle.flat(module.backward(run, cotangents, workspace=mine)), wanted, 0)
    del run
    assert other.nbytes == 0 and mine.nbytes == held and not module.WORKSPACE.rooms
    copy = pickle.loads(pickle.dumps(kernel)).workspace
    assert copy.nbytes == 0 and copy.limit == kernel.workspace.limit


def test_arrays_of_a_workspace_are_used_again() -> None:
    module = sb.compile(rnn).module
    groups, mine = oracle.draw(rnn, 6, 2, SIZES), module.Workspace()
    made, take = list[int](), mine.room

    def heard(*how: Any) -> Any:
        made.append(sum(map(len, mine.rooms.values())))
        return take(*how)

    mine.room = heard
    for _ in range(2):
        module.backward(module.forward(*groups, workspace=mine), {})
    first, second = made[: len(made) // 2], made[len(made) // 2 :]
    assert len(first) == len(second) > 0 and first[0] == 0 and second[0] > 0


def test_a_workspace_serves_batches_of_varying_shapes() -> None:
    """Arrays of one call are of one size each; those of earlier calls serve what needs somewhat less, and go when nobody asks for
    their size any more."""
    mine, random = runtime_workspace.Workspace(), np.random.default_rng(0)
    made = list[int]()

    def call(steps: int, kind: Any) -> None:
        held = {id(x) for free in mine.rooms.values() for x in free}
        rooms = [mine.room((steps + i, 3, 4), kind) for i in range(3)]
        assert all(
            x.shape == (steps + i, 3, 4) and x.dtype == kind and x.flags.c_contiguous for i, x in enumerate(rooms)
        )
        assert not any(np.shares_memory(a, b) for a in rooms for b in rooms if a is not b)
        made.append(sum(x.base is None for x in rooms))
        assert all(id(x.base) in held for x in rooms if x.base is not None)
        mine.give(rooms)

    for steps in random.integers(50, 101, 300).tolist():
        call(steps, np.float32)
    assert made[:2] == [3, 3] and sum(made[250:]) <= 5
    assert mine.nbytes == sum(x.nbytes for free in mine.rooms.values() for x in free) < 10 * 3 * 101 * 12 * 4
    for _ in range(runtime_workspace.LATELY + 1):
        call(20, np.complex128)
    held, whole = sorted(mine.rooms), [steps * 12 * 16 for steps in (20, 21, 22)]
    assert all(need <= size <= runtime_workspace.ROOMY * need for size, need in zip(held, whole, strict=True))
    mine.limit = held[2]
    mine.give(())
    assert len(mine.rooms) == 1 and mine.nbytes <= held[2]


def test_a_call_with_a_new_workspace_makes_an_array_for_each_size() -> None:
    """So that the plan counts them: a call by itself writes into no part of a larger one."""
    mine = runtime_workspace.Workspace()
    mine.give([mine.room((10,), float)])
    assert mine.room((9,), float).base is None
    x = mine.room((5, 2), np.float64)
    assert x.base is not None
    mine.give([x])
    for _ in range(runtime_workspace.OLD):
        mine.give(())
    assert mine.room((7,), float).base is None and mine.room((9,), float).base is not None


@pytest.mark.parametrize(
    "wrong", [3, "mine", {}, object, runtime_workspace.Workspace, SimpleNamespace(room=1, give=2)], ids=repr
)
def test_workspace_of_another_kind_is_refused(wrong: Any) -> None:
    module = sb.compile(rnn).module
    groups = oracle.draw(rnn, 2, 2, SIZES)
    came = f"the class {wrong.__name__}" if isinstance(wrong, type) else type(wrong).__name__
    message = f"workspace: a Workspace of this module is expected, got {came}"
    with pytest.raises(module.ArgumentError, match=message):
        module.forward(*groups, workspace=wrong)
    with pytest.raises(module.ArgumentError, match=message):
        module.backward(module.forward(*groups), {}, workspace=wrong)


@pytest.mark.parametrize("limit", ["1 GB", -1, np.nan, -np.inf, None, True, [1], 1j], ids=repr)
def test_limit_of_a_workspace_is_a_number_of_bytes(limit: Any) -> None:
    module = sb.compile(rnn).module
    with pytest.raises(module.ArgumentError, match="limit: a number of bytes is expected, got"):
        module.Workspace(limit)
    for right in (0, 1e9, np.int64(3), np.inf):
        assert module.Workspace(right).limit == right


@pytest.mark.parametrize("monitor", ["no", 0, 1, None, [], np.array(True)], ids=repr)
@pytest.mark.parametrize(
    "options",
    [{}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 2)}],
    ids=str,
)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(13, 17)
def test_modules_refuse_a_monitor_that_is_no_bool(monitor: Any, options: Any, at: str) -> None:
    module = sb.compile(sb.model(rnn, end, at=at), **options).module
    groups = oracle.draw(rnn, 2, 2, SIZES)
    words = "monitor is True or False, got"
    with pytest.raises(module.ArgumentError, match=words):
        module.backward(module.forward(*groups), {}, monitor=monitor)
    params, inputs, state = groups
    with pytest.raises(module.ArgumentError, match=words):
        module.value_and_grad(params, inputs, {}, state, monitor=monitor)
    assert module.value_and_grad(params, inputs, {}, state, monitor=np.bool_(True))[1].flow is not None


def test_rooms_are_given_back_and_bounded() -> None:
    kernel = sb.compile(rnn)
    groups = oracle.draw(rnn, 4, 2, SIZES)
    for _ in range(5):
        kernel.backward(kernel.forward(*groups), {})
    held = sum(len(free) for free in kernel.workspace.rooms.values())
    for _ in range(5):
        kernel.backward(kernel.forward(*groups), {})
    assert sum(len(free) for free in kernel.workspace.rooms.values()) == held > 0
    kernel.workspace.limit = 0
    kernel.backward(kernel.forward(*groups), {})
    assert not kernel.workspace.rooms


@pytest.mark.long
def test_cells_are_compiled_in_several_threads_at_once() -> None:
    """CPython's parser counts depth for all threads together: two that parse at once raised SystemError."""
    cells = [zoo.CELLS[name] for name in ("lstm", "gru", "rnn", "mgu", "lstm", "gru", "rnn", "mgu")]
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda cell: sb.compile(cell).source, cells))
    assert texts == [sb.compile(cell).source for cell in cells]


@sb.loss
def _squares(h: State["n"]):  # type: ignore[no-untyped-def]
    return sb.sum(h * h)


def test_modules_with_shared_parts_are_those_that_are_compiled_alone() -> None:
    shared = Shared()
    for target in (rnn, sb.model(rnn, _squares, at="last", reduction="mean")):
        for options in ({}, {"memory": "sqrt"}, {"truncation": sb.Window(2)}, {"clip_adjoint": 2.0}):
            given: Any = {"truncation": None, "clip_adjoint": None, "memory": "all", **options}
            assert compiled(target, shared, None, **given).source == sb.compile(target, **given).source


@sb.cell
def number(x: Input, h: State, g: State = Param, w: Param = 0.5):
    return {"h": np.tanh(w * h + x * g), "g": 0.9 * g, "y": h * w}


@sb.loss
def squared_number(h: State, y: Target, c: Param):
    return {"loss": (c * h - y) ** 2, "told": c * h}


@pytest.mark.parametrize("T", [0, 3])
@pytest.mark.parametrize("at", ["every", "last"])
def test_results_of_numbers_are_arrays(at: str, T: int) -> None:
    params, x = {"w": np.float64(0.5), "g0": np.float64(0.1), "c": np.float64(2)}, np.ones(T)
    kernel = kernel_of(sb.model(number, squared_number, at=at))
    _, grads = kernel.value_and_grad(params, {"x": x}, {"y": x if at == "every" else np.float64(1)})
    stepped = kernel.stepper(params)({"x": np.float64(1)})
    groups = [grads.params, grads.state, grads.inputs, grads.final, kernel.predict(params, {"x": x}), *stepped]
    assert all(type(v) is np.ndarray for group in groups for v in group.values())
