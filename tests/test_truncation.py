"""Window and Chunked against explicit unrolling: the plain function run with detached states, loss by loss."""

import tracemalloc
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Index, Input, Output, Param, State, Target, Window
from symbptt.codegen.kernel import Kernel
from symbptt.zoo import gru, lstm
from tests import brute, oracle
from tests.kernels import own_kernel_of

SIZES = {"m": 1, "n": 2, "k": 2, "v": 3}


@sb.cell
def mixed(x: Input["m"], i: Index["v"], h: State["n"], M: State["n n"], c: State, W: Param["n m"], U: Param["n n"],
          E: Param["v n"], a: Param):  # fmt: skip
    """States of every rank, an index, an output that reads an input of its own step."""
    M = 0.6 * a * M + np.outer(h, np.tanh(W @ x + E[i]))
    h = np.tanh(U @ h + M @ h + W @ x) + 0.2 * c
    c = 0.5 * np.sin(c) + h @ h
    return {"h": h, "M": M, "c": c, "y": (1 + a) * h * x[0] + M[0]}


@sb.loss
def reads_all(h: State["n"], M: State["n n"], y: Output["n"], goal: Target["n"], V: Param["n n"]):
    e = V @ h - goal + y
    return e @ e / 2 + np.sum(np.sin(y) * M[0])


@sb.loss
def labelled(h: State["n"], label: Index["k"], V: Param["k n"]):
    return -sb.log_softmax(V @ h)[label]


TRUNCATIONS = [
    Window(1), Window(2), Window(3), Window(5), Window(6), Window(9),
    Chunked(1, 1), Chunked(1, 3), Chunked(2, 2), Chunked(2, 5), Chunked(3, 1), Chunked(3, 2), Chunked(4, 3), Chunked(6, 2),
    Chunked(9, 4), Chunked(5, 9), Chunked(2, 6), Chunked(9, 9),
]  # fmt: skip
EVERY_TRUNCATION = pytest.mark.parametrize("truncation", TRUNCATIONS, ids=repr)
STEPS = 6
kernel_of = cache(lambda target, truncation: own_kernel_of(target, truncation=truncation))
MODELS = {(loss.name, at): sb.model(mixed, loss, at=at) for loss in (reads_all, labelled) for at in ("every", "last")}
MASKS: dict[str, dict[str, Any]] = {
    "whole": {},
    "lengths": {"lengths": np.array([6, 3])},
    "resets": {"reset": np.array([[0, 0], [1, 0], [0, 0], [0, 1], [0, 1], [1, 0]], bool)},
    "both": {"lengths": np.array([4, 0]), "reset": np.array([[1, 1], [0, 0], [0, 0], [1, 0], [0, 0], [1, 1]], bool)},
}


def assert_brute(model: sb.Model, truncation: Any, data: brute.Data) -> None:
    value, grads = brute.value_and_grad(kernel_of(model, truncation), data)
    np.testing.assert_allclose(value, brute.value(model, data), rtol=1e-11, atol=1e-13)
    brute.assert_same(brute.by_group(grads), brute.model_gradients(model, data, truncation))


@pytest.mark.parametrize("at", ["every", "last"])
@EVERY_TRUNCATION
@pytest.mark.thinned(19, 3)
def test_gradients_are_those_of_explicit_unrolling(truncation: Any, at: str) -> None:
    model = MODELS["reads_all", at]
    assert_brute(model, truncation, brute.data_of(model, STEPS, 1, SIZES))


@pytest.mark.parametrize("masks", ["lengths", "resets", "both"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("truncation", [Window(1), Window(3), Chunked(2, 3), Chunked(3, 2), Chunked(4, 9)], ids=repr)
@pytest.mark.thinned(13, 2)
def test_gradients_with_lengths_and_resets_are_those_of_explicit_unrolling(
    truncation: Any, at: str, masks: str
) -> None:
    model = MODELS["reads_all", at]
    assert_brute(model, truncation, brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks]))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.thinned(7, 2)
def test_short_sequences_are_no_exception(steps: int, truncation: Any, at: str) -> None:
    model = MODELS["reads_all", at]
    assert_brute(model, truncation, brute.data_of(model, steps, 2, SIZES))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3), Chunked(3, 1)], ids=repr)
def test_labels_and_means_are_no_exception(truncation: Any, at: str) -> None:
    model = sb.model(mixed, labelled, at=at, reduction="mean")
    assert_brute(model, truncation, brute.data_of(model, 5, 2, SIZES, lengths=np.array([5, 3])))


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.thinned(7)
def test_reset_at_every_position(truncation: Any, position: int) -> None:
    reset = np.zeros((5, 1), bool)
    reset[position] = True
    model = MODELS["reads_all", "every"]
    assert_brute(model, truncation, brute.data_of(model, 5, 1, SIZES, reset=reset))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
@pytest.mark.thinned(1, 5)
def test_random_truncations_lengths_and_resets_are_those_of_explicit_unrolling(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps, batch = int(random.integers(1, 9)), int(random.integers(1, 4))
    k1, k2 = random.integers(1, steps + 3, 2).tolist()
    truncation = Window(k1) if seed % 3 == 0 else Chunked(k1, k2)
    masks = {"lengths": random.integers(0, steps + 1, batch), "reset": random.random((steps, batch)) < 0.25}
    model = MODELS["reads_all" if seed % 2 else "labelled", "every" if seed % 4 < 2 else "last"]
    assert_brute(model, truncation, brute.data_of(model, steps, batch, SIZES, seed, **masks))


# Streams: the states at the end begin the next part.


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("truncation", [None, Window(2), Chunked(2, 3), Chunked(9, 9)], ids=repr)
@pytest.mark.thinned(11, 3)
def test_final_states_are_those_after_the_last_step_of_each_sample(truncation: Any, at: str, masks: str) -> None:
    model = MODELS["reads_all", at]
    data = brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks])
    _, grads = brute.value_and_grad(kernel_of(model, truncation), data)
    for b in range(2):
        for k, v in brute.trajectory(mixed, data, b)[-1].items():
            np.testing.assert_allclose(grads.final[k][b], v, rtol=1e-12, atol=1e-13)
    alone = replace(data, inputs={k: v[:, 0] for k, v in data.inputs.items()}, state={}, lengths=None, reset=None,
                    targets={k: v[:, 0] if at == "every" else v[0] for k, v in data.targets.items()})  # fmt: skip
    _, one = brute.value_and_grad(kernel_of(model, truncation), alone)
    assert {k: v.shape for k, v in one.final.items()} == {k: v.shape[1:] for k, v in data.state.items()}


def test_stream_in_parts_is_the_whole_sequence_truncated_at_their_borders() -> None:
    model, cut = MODELS["reads_all", "every"], 3
    data = brute.data_of(model, STEPS, 2, SIZES)
    whole = brute.value_and_grad(kernel_of(model, Chunked(cut, cut)), data)
    values, sums, state = 0.0, dict.fromkeys(data.params, 0.0), data.state
    for lo in range(0, STEPS, cut):
        part = replace(data, inputs={k: v[lo : lo + cut] for k, v in data.inputs.items()}, state=state,
                       targets={k: v[lo : lo + cut] for k, v in data.targets.items()})  # fmt: skip
        value, grads = brute.value_and_grad(kernel_of(model, None), part)
        values, state = values + value, grads.final
        sums = {k: v + grads.params[k] for k, v in sums.items()}
    np.testing.assert_allclose(values, whole[0], rtol=1e-13)
    oracle.assert_blocks_close(whole[1].params, sums, 1e-12)


def test_no_steps_end_where_they_begin_and_final_states_are_no_view_of_the_caller() -> None:
    model = MODELS["reads_all", "every"]
    data = brute.data_of(model, 0, 2, SIZES)
    for truncation in (None, Window(2), Chunked(2, 3)):
        _, grads = brute.value_and_grad(kernel_of(model, truncation), data)
        for k, v in data.state.items():
            np.testing.assert_array_equal(grads.final[k], v)
            assert not np.shares_memory(grads.final[k], v)


# A step that must not be taken once more than the sample is long.


@sb.cell
def countdown(x: Input["m"], h: State["n"], left: State, W: Param["n m"]):
    """Divides by the number of steps that are left, and by the largest entry of its new state."""
    h = np.tanh(W @ x + h) / left
    return {"h": h, "left": left - 1, "p": np.exp(h * h / np.max(h * h) + np.log(left))}


@sb.loss
def surprise(p: Output["n"], h: State["n"], goal: Target["n"], w: Param["n"]):
    return -np.sum(w * goal * np.log(p)) + np.max(h)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("masks", ["ended", "reset"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("truncation", [None, Window(2), Chunked(2, 3), Chunked(3, 2)], ids=repr)
@pytest.mark.thinned(7, 2)
def test_nothing_is_computed_behind_the_end_of_a_sample(truncation: Any, at: str, masks: str) -> None:
    model, lengths = sb.model(countdown, surprise, at=at), np.array([2, 5, 0, 1])
    reset = np.zeros((6, 4), bool)
    reset[[0, 1, 3, 5], [1, 1, 0, 2]] = masks == "reset"
    data = brute.data_of(model, 6, 4, SIZES, lengths=lengths, reset=reset if masks == "reset" else None)
    data.state["left"] = lengths.astype(float)
    assert_brute(model, truncation, data)
    run = kernel_of(model, truncation).forward(data.params, data.inputs, data.state, **data.masks)
    np.testing.assert_array_equal(run.states["h"][-1, 2], data.state["h"][2])
    assert np.isfinite(run.states["h"]).all() and not run.outputs["p"][1:, 3].any()


# A cell without a loss: the same windows on the cotangents of states and outputs.


@pytest.mark.parametrize("masks", ["whole", "both"])
@pytest.mark.parametrize("truncation", [Window(1), Window(2), Window(4), Chunked(1, 2), Chunked(2, 3), Chunked(3, 2), Chunked(4, 1)],
                         ids=repr)  # fmt: skip
@pytest.mark.thinned(7, 2)
def test_backward_of_a_cell_is_that_of_explicit_unrolling(truncation: Any, masks: str) -> None:
    data = brute.data_of(mixed, STEPS, 2, SIZES, **MASKS[masks])
    kernel = kernel_of(mixed, truncation)
    run = kernel.forward(data.params, data.inputs, data.state, **data.masks)
    random = np.random.default_rng(3)
    cotangents = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
    wanted = brute.gradients(mixed, brute.cotangent_score(cotangents), data, truncation)
    brute.assert_same(brute.by_group(kernel.backward(run, cotangents)), wanted)


@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3), Chunked(4, 2)], ids=repr)
def test_cotangents_of_the_last_step_are_those_of_every_step_with_zeros(truncation: Any) -> None:
    data = brute.data_of(mixed, 5, 2, SIZES)
    kernel = kernel_of(mixed, truncation)
    run = kernel.forward(data.params, data.inputs, data.state)
    full = {k: np.zeros_like(v) for k, v in {**run.states, **run.outputs}.items()}
    for k, v in full.items():
        v[-1] = np.random.default_rng(len(k)).standard_normal(v[-1].shape)
    wanted, got = kernel.backward(run, full), kernel.backward(run, {k: v[-1] for k, v in full.items()})
    oracle.assert_blocks_close(oracle.flat(got), oracle.flat(wanted), 1e-13)


@pytest.mark.parametrize("truncation", [Window(1), Window(3), Chunked(2, 3), Chunked(3, 1), Chunked(4, 4)], ids=repr)
@pytest.mark.parametrize("masks", ["whole", "both"])
@pytest.mark.thinned(7, 2)
def test_streamed_training_is_forward_and_backward_with_the_same_cotangents(masks: str, truncation: Any) -> None:
    """value_and_grad forgets what it no longer needs; forward and backward keep all. The loss counts no step behind the end
    of a sample, where the run has the last state still."""

    @sb.loss
    def linear(h: State["n"], M: State["n n"], c: State, y: Output["n"], dh: Target["n"], dM: Target["n n"], dc: Target,
               dy: Target["n"]):  # fmt: skip
        return dh @ h + np.sum(dM * M) + dc * c + dy @ y

    model = sb.model(mixed, linear)
    data = brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks])
    value, streamed = brute.value_and_grad(kernel_of(model, truncation), data, monitor=True)
    kernel = kernel_of(mixed, truncation)
    run = kernel.forward(data.params, data.inputs, data.state, **data.masks)
    sent = {k[1:]: v.copy() for k, v in data.targets.items()}
    for v in sent.values():
        for b in range(data.batch):
            v[data.length(b) :, b] = 0
    whole = kernel.backward(run, sent, monitor=True)
    oracle.assert_blocks_close(oracle.flat(streamed), oracle.flat(whole), 1e-12)
    oracle.assert_blocks_close(streamed.flow, whole.flow, 1e-12)
    assert np.isfinite(value)


# Where nothing is cut.


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(
    "truncation", [Window(6), Window(100), Chunked(6, 6), Chunked(100, 6), Chunked(6, 100)], ids=repr
)
@pytest.mark.thinned(11, 5)
def test_windows_as_long_as_the_sequence_are_full_backpropagation(truncation: Any, masks: str, at: str) -> None:
    model = MODELS["reads_all", at]
    data = brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks])
    (loss, wanted), (value, got) = (brute.value_and_grad(kernel_of(model, t), data) for t in (None, truncation))
    np.testing.assert_allclose(value, loss, rtol=1e-14)
    oracle.assert_blocks_close(oracle.flat(got), oracle.flat(wanted), 1e-12)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("truncation", [Window(6), Chunked(6, 6), Chunked(100, 100)], ids=repr)
@pytest.mark.thinned(7, 5)
def test_backward_and_flow_of_such_windows_are_full_too(truncation: Any, masks: str) -> None:
    data = brute.data_of(mixed, STEPS, 2, SIZES, **MASKS[masks])
    found = []
    for t in (None, truncation):
        run = kernel_of(mixed, t).forward(data.params, data.inputs, data.state, **data.masks)
        random = np.random.default_rng(3)
        cotangents = {k: random.standard_normal(v.shape) for k, v in {**run.states, **run.outputs}.items()}
        found.append(kernel_of(mixed, t).backward(run, cotangents, monitor=True))
    oracle.assert_blocks_close(oracle.flat(found[1]), oracle.flat(found[0]), 1e-12)
    oracle.assert_blocks_close(found[1].flow, found[0].flow, 1e-12)


# Norms of adjoints.


@sb.cell
def pushed(x: Input["n"], e: Input, h: State["n"], s: State, U: Param["n n"]):
    """Each input is added to a state, so that its gradient is the adjoint of that state."""
    return np.tanh(U @ h) * s + x, np.sin(s) * sb.sum(h) + e


@pytest.mark.parametrize("steps, batch", [(7, 4), (2, 1), (1, 1), (0, 2)])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(
    "truncation",
    [None, Window(1), Window(2), Window(3), Chunked(2, 3), Chunked(3, 2), Chunked(1, 5), Chunked(2, 2)],
    ids=repr,
)
@pytest.mark.thinned(67, 11)
def test_norms_are_of_the_adjoints_of_all_losses_that_reach_a_step(
    truncation: Any, masks: str, steps: int, batch: int
) -> None:
    some = {
        "lengths": np.array([7, 3, 0, 5])[:batch].clip(max=steps),
        "reset": np.eye(7, 4, -1, dtype=bool)[:steps, :batch],
    }
    kinds = {k: v for k, v in some.items() if k in MASKS[masks]}
    for target in (pushed, sb.model(pushed, pushed_loss, at="every"), sb.model(pushed, pushed_loss, at="last")):
        kernel, data = kernel_of(target, truncation), brute.data_of(target, steps, batch, SIZES, **kinds)
        if target is pushed:
            run = kernel.forward(data.params, data.inputs, data.state, steps=steps, **data.masks)
            random = np.random.default_rng(4)
            sent = {k: random.standard_normal(v.shape) for k, v in run.states.items()}
            found = kernel.backward(run, sent, monitor=True)
        else:
            _, found = brute.value_and_grad(kernel, data, monitor=True)
        wanted = {"h": np.sqrt((found.inputs["x"] ** 2).sum((1, 2))), "s": np.sqrt((found.inputs["e"] ** 2).sum(1))}
        for k, norms in wanted.items():
            np.testing.assert_allclose(found.flow[k], norms, rtol=1e-12, atol=1e-14)


@sb.cell
def still(h: State["n"], p: Param["n"]):
    """The next state is the same at all steps, so that its whole cotangent is a sum over them."""
    return 1.5 * p


@sb.cell
def still_pushed(e: Input["n"], h: State["n"], p: Param["n"]):
    return 1.5 * p + e


@pytest.mark.filterwarnings("ignore:.*never used")
@pytest.mark.parametrize("truncation", [None, Window(2), Window(30), Chunked(2, 3), Chunked(3, 2)], ids=repr)
@pytest.mark.parametrize("masks", MASKS)
def test_norms_of_a_state_that_is_the_same_at_all_steps_are_those_of_its_steps(truncation: Any, masks: str) -> None:
    some = {"lengths": np.array([5, 3, 0]), "reset": np.eye(5, 3, -1, dtype=bool)}
    kinds: dict[str, Any] = {k: v for k, v in some.items() if k in MASKS[masks]}
    params, state = {"p": np.ones(2)}, {"h": np.zeros((3, 2))}
    sent = {"h": np.random.default_rng(0).standard_normal((5, 3, 2))}
    found = []
    for cell, inputs in ((still, {}), (still_pushed, {"e": np.zeros((5, 3, 2))})):
        kernel = kernel_of(cell, truncation)
        found.append(kernel.backward(kernel.forward(params, inputs, state, steps=5, **kinds), sent, monitor=True))
    wanted = np.sqrt((found[1].inputs["e"] ** 2).sum((1, 2)))
    for each in found:
        np.testing.assert_allclose(each.flow["h"], wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[0].params["p"], found[1].params["p"], rtol=1e-13)


@sb.loss
def pushed_loss(h: State["n"], s: State):
    return sb.sum(h**2) * s


def test_chunks_as_long_as_their_reach_are_chunks_trained_one_by_one() -> None:
    """Chunked(k, k): the plain way to train long sequences, each chunk from the detached end of the last."""
    model, k = MODELS["reads_all", "every"], 2
    data = brute.data_of(model, STEPS, 2, SIZES)
    value, grads = brute.value_and_grad(kernel_of(model, Chunked(k, k)), data)
    full, total = kernel_of(model, None), 0.0
    state, sums = data.state, dict.fromkeys(data.params, 0.0)
    for lo in range(0, STEPS, k):
        inputs = {name: v[lo : lo + k] for name, v in data.inputs.items()}
        part, found = full.value_and_grad(data.params, inputs, {"goal": data.targets["goal"][lo : lo + k]}, state)
        own = {name: v for name, v in data.params.items() if name != "V"}
        run = kernel_of(mixed, None).forward(own, inputs, state)
        state, total = {name: v[-1] for name, v in run.states.items()}, total + part
        sums = {name: sums[name] + found.params[name] for name in sums}
    np.testing.assert_allclose(value, total, rtol=1e-13)
    oracle.assert_blocks_close(grads.params, sums, 1e-12)


@pytest.mark.parametrize("cell", [lstm, gru], ids=lambda cell: cell.name)
@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.thinned(3)
def test_cells_of_the_zoo_are_truncated_as_all_others(cell: sb.Cell, truncation: Any) -> None:
    @sb.loss
    def loss(h: State["n"], goal: Target["n"]):
        return sb.sum((h - goal) ** 2)

    model = sb.model(cell, loss)
    assert_brute(model, truncation, brute.data_of(model, 5, 2, SIZES))


@sb.cell
def driven_by_itself(h: State["n"], c: State, U: Param["n n"], a: Param):
    return np.tanh(U @ h) + 0.1 * c, a * np.sin(c) + h @ h


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("masks", ["whole", "both"])
@pytest.mark.parametrize("truncation", [None, Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.thinned(3)
def test_cells_without_inputs_are_no_exception(truncation: Any, masks: str, at: str) -> None:
    @sb.loss
    def loss(h: State["n"], c: State, goal: Target["n"], v: Param["n"]):
        return sb.sum(v * (h - goal) ** 2) + np.cos(c)

    model = sb.model(driven_by_itself, loss, at=at)
    assert_brute(model, truncation, brute.data_of(model, STEPS, 2, SIZES, **MASKS[masks]))


@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("truncation", [None, Window(2), Chunked(2, 3)], ids=repr)
def test_one_sample_with_masks_of_its_own_gives_the_same(truncation: Any, at: str) -> None:
    model, reset = MODELS["reads_all", at], np.array([0, 1, 0, 0, 1, 0], bool)
    kernel, data = kernel_of(model, truncation), brute.data_of(model, STEPS, 1, SIZES)
    masks = {"lengths": np.array([4]), "reset": reset[:, None]}
    wanted_loss, wanted = brute.value_and_grad(kernel, replace(data, **masks))
    targets = {k: v[:, 0] if at == "every" else v[0] for k, v in data.targets.items()}
    inputs, state = {k: v[:, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()}
    for lengths in (4, np.int64(4), [4]):
        value, got = kernel.value_and_grad(data.params, inputs, targets, state, lengths=lengths, reset=reset)
        np.testing.assert_allclose(value, wanted_loss, rtol=1e-14)
        oracle.assert_blocks_close(got.params, wanted.params, 1e-13)


# Types, shapes, memory.


@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.parametrize("at", ["every", "last"])
def test_float32_is_float32_everywhere(at: str, truncation: Any) -> None:
    model = MODELS["reads_all", at]
    data = brute.data_of(model, 5, 2, SIZES, **{"lengths": np.array([5, 2])})
    groups = {g: {k: v if v.dtype.kind == "i" else np.float32(v) for k, v in _arrays(getattr(data, g)).items()}
              for g in ("params", "inputs", "state", "targets")}  # fmt: skip
    kernel = kernel_of(model, truncation)
    _, wide = brute.value_and_grad(kernel, data)
    value, narrow = brute.value_and_grad(kernel, replace(data, **groups), monitor=True)
    found = {**oracle.flat(narrow), "loss": value, **{f"flow of {k}": v for k, v in narrow.flow.items()}}
    assert {k: v.dtype for k, v in found.items()} == dict.fromkeys(found, np.dtype(np.float32))
    oracle.assert_blocks_close(oracle.flat(narrow), oracle.flat(wide), 1e-4)
    cell = kernel_of(mixed, truncation)
    own = {k: v for k, v in groups["params"].items() if k != "V"}
    run = cell.forward(own, groups["inputs"], groups["state"], lengths=data.lengths)
    grads = oracle.flat(cell.backward(run, {k: np.ones_like(v) for k, v in run.states.items()}))
    assert {v.dtype for v in grads.values()} == {np.dtype(np.float32)}


def _arrays(group: dict[str, Any]) -> dict[str, Any]:
    return {k: np.asarray(v) for k, v in group.items()}


@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.parametrize("at", ["every", "last"])
def test_one_sample_without_a_batch_axis_gives_the_same(at: str, truncation: Any) -> None:
    model = MODELS["reads_all", at]
    kernel, data = kernel_of(model, truncation), brute.data_of(model, 5, 1, SIZES)
    wanted_loss, wanted = brute.value_and_grad(kernel, data, monitor=True)
    targets = {k: v[:, 0] if at == "every" else v[0] for k, v in data.targets.items()}
    inputs, state = {k: v[:, 0] for k, v in data.inputs.items()}, {k: v[0] for k, v in data.state.items()}
    got_loss, got = kernel.value_and_grad(data.params, inputs, targets, state, monitor=True)
    np.testing.assert_allclose(got_loss, wanted_loss, rtol=1e-14)
    oracle.assert_blocks_close({**got.params, **got.flow}, {**wanted.params, **wanted.flow}, 1e-13)
    oracle.assert_blocks_close(got.inputs, {k: v[:, 0] for k, v in wanted.inputs.items()}, 1e-13)
    oracle.assert_blocks_close(got.state, {k: v[0] for k, v in wanted.state.items()}, 1e-13)


@sb.cell
def plain(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.loss
def error(h: State["n"], y: Target):
    return (sb.sum(h) - y) ** 2


def peak_of(kernel: sb.Kernel, steps: int, n: int) -> int:
    """Bytes that a call takes at most, beside what was there."""
    random = np.random.default_rng(0)
    params = {"W": random.standard_normal((n, 1)), "U": random.standard_normal((n, n)) / n}
    x, y = random.standard_normal((steps, 2, 1)), random.standard_normal((steps, 2))
    kernel.value_and_grad(params, {"x": x[:3]}, {"y": y[:3]})
    tracemalloc.start()
    kernel.value_and_grad(params, {"x": x}, {"y": y})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("truncation", [
    Window(4), pytest.param(Chunked(5, 10), marks=pytest.mark.long), Chunked(20, 5),
], ids=repr)  # fmt: skip
@pytest.mark.thinned(5)
def test_truncated_training_holds_no_more_steps_than_its_plan_says(truncation: Any) -> None:
    kernel, n = kernel_of(sb.model(plain, error), truncation), 32
    step = 2 * n * 8  # bytes of one state of a step
    short, long = peak_of(kernel, 2000, n), peak_of(kernel, 4000, n)
    assert long - short < 2000 * step / 4, "what grows are inputs, targets, their gradients and weights, not states"
    held = kernel.plan.steps_held(4000)
    assert held < 40 and kernel.plan.steps_held(3) == 3
    assert short < 12 * held * step + 2000 * 2 * 8 * 12
    full = peak_of(kernel_of(sb.model(plain, error), None), 2000, n)
    assert full > 2000 * step


def test_plan_says_what_truncation_costs() -> None:
    window, chunked = (str(kernel_of(plain, t).plan) for t in (Window(4), Chunked(5, 10)))
    assert "each loss flows back through at most 4 steps" in window and "at most 7 steps" in window
    assert "every 5 steps, their losses flow back through the last 10" in chunked and "at most 15 steps" in chunked
    assert "No truncation" in str(kernel_of(plain, None).plan)
    sizes = {"m": 1, "n": 32}
    bytes_of = {t: kernel_of(plain, t).plan.bytes(1000, 2, **sizes) for t in (None, Window(4))}
    assert bytes_of[Window(4)] * 1000 == bytes_of[None] * 7


# What is refused.


@pytest.mark.parametrize("call", [
    lambda: Window(0), lambda: Window(-1), lambda: Window(2.0), lambda: Window(True), lambda: Window("3"),
    lambda: Chunked(0, 1), lambda: Chunked(1, 0), lambda: Chunked(2, 1.5), lambda: Chunked(None, 1),
])  # fmt: skip
def test_steps_are_positive_integers(call: Any) -> None:
    with pytest.raises(sb.ArgumentError, match=r"k[12]? counts steps: a positive integer is expected, got"):
        call()


@pytest.mark.parametrize("integer", [np.int64(3), np.uint8(3)])
def test_steps_may_be_integers_of_numpy(integer: Any) -> None:
    assert Window(integer).k == 3 and Chunked(integer, integer).k2 == 3
    assert "np.int64" not in sb.compile(plain, truncation=Window(integer)).source


@pytest.mark.parametrize("truncation", [3, "Window(3)", (2, 3), Window])
def test_what_is_no_truncation_is_refused(truncation: Any) -> None:
    with pytest.raises(sb.ArgumentError, match=r"truncation is sb.Window\(k\) or sb.Chunked\(k1, k2\), got"):
        sb.compile(plain, truncation=truncation)


@pytest.mark.long
def test_truncated_kernel_is_verified_against_its_definition() -> None:
    kernel = kernel_of(plain, Window(3))
    assert sb.verify(kernel).passed
    assert not sb.verify(Kernel(plain, kernel.program, kernel.source, Window(2))).passed


def test_truncation_is_equal_by_value_and_says_what_it_is() -> None:
    assert Window(3) == Window(3) != Window(4) and hash(Chunked(1, 2)) == hash(Chunked(1, 2))
    assert repr(Chunked(1, 2)) == "Chunked(k1=1, k2=2)"
