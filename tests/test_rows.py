"""Ragged batches lie in rows, one sample behind another: what comes out is that of each sample by itself, and rows are full."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.codegen.runtime.shared import _Rows
from tests.kernels import kernel_of


@sb.cell
def gated(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    """Two states, an output that no state reads, and a logarithm, which has no value at what padding may be."""
    z = sb.sigmoid(W @ x + U @ h + b)
    c = z * c + (1 - z) * np.log(x[0] * x[0] + 1)
    return {"h": np.tanh(c), "c": c, "y": z * h}


LENGTHS = {
    "all alike": [3, 3, 3, 3],
    "two in a row": [4, 1, 3],
    "one goes on in another row": [3, 4, 2, 5],
    "all go on": [4, 4, 4, 4, 5],
    "some without a step": [0, 5, 0, 1, 3, 0],
    "one sample": [2],
    "one step": [1, 0, 1],
    "one row for all": [1, 1, 2, 1],
    "as long as the data": [6, 2],
}
STEPS, SIZES = 6, {"m": 2, "n": 3}


def drawn(lengths: list[int], dtype: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Parameters, inputs whose padding is not finite, states and cotangents."""
    random, B = np.random.default_rng(sum(lengths)), len(lengths)
    params = {"W": (3, 2), "U": (3, 3), "b": (3,)}
    x = np.full((STEPS, B, 2), np.nan)
    for i, n in enumerate(lengths):
        x[:n, i] = random.standard_normal((n, 2))
    groups = (
        {k: random.standard_normal(shape) for k, shape in params.items()},
        {"x": x},
        {k: random.standard_normal((B, 3)) for k in "hc"},
        {k: random.standard_normal((STEPS, B, 3)) for k in "hcy"},
    )
    return tuple({k: v.astype(dtype) for k, v in group.items()} for group in groups)  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", LENGTHS)
def test_each_sample_has_what_it_has_by_itself(name: str, dtype: Any) -> None:
    check_alone(kernel_of(gated), LENGTHS[name], dtype)


def check_alone(kernel: sb.Kernel, lengths: list[int], dtype: Any) -> None:
    """A ragged batch of `gated` gives each sample, and all of them together, what they have by themselves."""
    params, inputs, state, sent = drawn(lengths, dtype)
    run = kernel.forward(params, inputs, state, lengths=lengths)
    found = kernel.backward(run, sent, monitor=True)
    ended = kernel.backward(run, {k: sent[k][-1] for k in "hc"})
    sums, of_last = ({k: np.zeros_like(v) for k, v in params.items()} for _ in range(2))
    flow = {k: np.zeros(STEPS) for k in "hc"}
    digits = {"rtol": 1e-10, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-4}
    close: Any = partial(np.testing.assert_allclose, **digits)
    for i, n in enumerate(lengths):
        alone = kernel.forward(params, {"x": inputs["x"][:n, i : i + 1]}, {k: v[i : i + 1] for k, v in state.items()})
        own = {k: v[:n, i : i + 1].copy() for k, v in sent.items()}
        for k in "hc":
            whole = alone.states[k][-1] if n else state[k][i : i + 1]
            close(run.states[k][:n, i], alone.states[k][:, 0])
            close(run.states[k][n:, i], np.broadcast_to(whole, (STEPS - n, 3)))
            if n:
                own[k][-1] += sent[k][n:, i : i + 1].sum(0)
        close(run.outputs["y"][:, i], np.concatenate([alone.outputs["y"][:, 0], np.zeros((STEPS - n, 3), dtype)]))
        grads = kernel.backward(alone, own, monitor=True)
        last = kernel.backward(alone, {k: sent[k][-1, i : i + 1] for k in "hc"})
        for k in params:
            sums[k] += grads.params[k]
            of_last[k] += last.params[k]
        close(found.inputs["x"][:n, i], grads.inputs["x"][:, 0])
        assert not found.inputs["x"][n:, i].any()
        for k in "hc":
            flow[k][:n] += np.square(grads.flow[k], dtype=float)
            close(found.state[k][i], grads.state[k][0] if n else sent[k][:, i].sum(0))
            close(ended.state[k][i], last.state[k][0] if n else sent[k][-1, i])
    for k in params:
        close(found.params[k], sums[k])
        close(ended.params[k], of_last[k])
    for k in "hc":
        close(found.flow[k], np.sqrt(flow[k]))


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("batch", [1, 2, 5, 33])
def test_rows_are_full_and_have_each_step_of_each_sample_once(batch: int, steps: int) -> None:
    random = np.random.default_rng(batch + steps)
    lengths = random.integers(0, steps + 1, batch)
    lengths[-1] = max(lengths[-1], 1)
    rows = _Rows(np.arange(steps)[:, None] < lengths)
    assert lengths.max() == rows.T and rows.rows == -(-lengths.sum() // rows.T)
    step, sample = np.divmod(rows.used, batch)
    slot, row = np.divmod(rows.places, rows.rows)
    assert len({*zip(slot, row, strict=True)}) == lengths.sum() == len({*zip(step, sample, strict=True)})
    assert np.array_equal(rows.sources[slot, row], rows.used)
    for b, n in enumerate(lengths):
        assert (np.diff(slot[sample == b]) > 0).all() and np.array_equal(step[sample == b], np.arange(n))


def test_a_sweep_runs_as_many_steps_as_a_ragged_batch_has() -> None:
    """Without masks: all ends alike are none, nor are resets that reset nobody."""
    module, ran = sb.compile(gated).module, list[tuple[int, int, bool]]()
    sweep = module._forward

    def noted(*args: Any) -> Any:
        ran.append((args[3], args[4], args[6] is None and args[7] is None))
        return sweep(*args)

    module._forward = noted
    params, inputs, state, _ = drawn([STEPS] * 4, np.float64)
    for lengths in ([6, 6, 6, 6], [3, 1, 6, 2], [2, 2, 1, 1], [0, 0, 0, 0]):
        module.forward(params, inputs, state, lengths=lengths, reset=np.zeros((STEPS, 4), bool))
    assert ran == [(6, 4, True), (6, 2, False), (2, 3, False), (6, 4, False)]


def test_pieces_of_steps_have_masks_only_where_samples_end_or_are_reset() -> None:
    module, masks = sb.compile(gated, memory="sqrt").module, list[tuple[bool, bool]]()
    sweep = module._forward

    def noted(*args: Any) -> Any:
        masks.append((args[6] is not None, args[7] is not None))
        return sweep(*args)

    module._forward, module._pieces = noted, lambda *_: (2, 1)
    params, inputs, state, _ = drawn([STEPS, 3], np.float64)
    reset = np.zeros((STEPS, 2), bool)
    reset[1, 1] = reset[5, 1] = True  # the second behind the end
    module.forward(params, inputs, state, lengths=[STEPS, 3], reset=reset)
    assert masks == [(False, True), (True, False), (True, False)]
