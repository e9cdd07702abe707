"""A loss at every step is computed in blocks of steps: what is as wide as the classes of a softmax is never there of all steps at once."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Output, Param, State
from tests.kernels import kernel_of, own_kernel_of

Arrays = dict[str, Any]


@sb.cell
def reads(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    h = np.tanh(W @ x + U @ h)
    return {"h": h, "r": h * h}


@sb.loss
def softmax_loss(h: State["n"], r: Output["n"], y: Index["k"], V: Param["k n"], U: Param["n n"]):
    z = V @ (h + r)
    return {"loss": sb.logsumexp(z) - z[y] + sb.sum(U * U) / 100, "z": z}


MODEL = sb.model(reads, softmax_loss, reduction="mean")


def _data(sizes: dict[str, int], T: int, B: int) -> tuple[Arrays, Arrays, Arrays]:
    random = np.random.default_rng(0)
    params = {k: random.standard_normal(v.shape) / 4 for k, v in MODEL.init(sizes).items()}
    return params, {"x": random.standard_normal((T, B, sizes["m"]))}, {"y": random.integers(0, sizes["k"], (T, B))}


@pytest.mark.parametrize("T", [0, 1, 2, 5])
@pytest.mark.parametrize("masks", [{}, {"lengths": np.array([5, 0, 3])}], ids=["whole", "lengths"])
def test_blocks_of_a_loss_are_the_whole_loss(T: int, masks: Arrays) -> None:
    params, inputs, targets = _data({"m": 2, "n": 3, "k": 4}, T, 3)
    masks = {k: np.minimum(v, T) for k, v in masks.items()}
    counts = np.random.default_rng(1).random((T, 3)) < 0.7
    whole, blocks = kernel_of(MODEL), own_kernel_of(MODEL)
    vars(blocks.module)["_loss_steps"] = lambda T, B, size: max(min(T, 2), 1)
    (loss, grads), (other, found) = (
        k.value_and_grad(params, inputs, targets, mask=counts, **masks) for k in (whole, blocks)
    )
    assert other == pytest.approx(loss, rel=1e-14)
    assert blocks.value(params, inputs, targets, mask=counts, **masks) == pytest.approx(loss, rel=1e-14)
    for group in ("params", "inputs", "state", "final"):
        for name, value in getattr(grads, group).items():
            np.testing.assert_allclose(getattr(found, group)[name], value, rtol=1e-12, atol=1e-14)


def test_logits_of_all_steps_are_never_there_and_the_plan_says_so() -> None:
    sizes, T, B = {"m": 4, "n": 8, "k": 3000}, 200, 8
    params, inputs, targets = _data(sizes, T, B)
    kernel = own_kernel_of(MODEL)
    assert kernel.module is not None  # loaded before memory is counted
    logits = T * B * sizes["k"] * 8
    tracemalloc.start()
    kernel.value_and_grad(params, inputs, targets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    kernel.value(params, inputs, targets)
    alone = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(peak, alone) < logits
    assert kernel.plan.peak(T, B, **sizes) == pytest.approx(peak, rel=0.05)


def test_few_steps_have_one_block() -> None:
    steps = kernel_of(MODEL).module._loss_steps
    assert steps(100, 16, 128) == 100
    assert steps(200, 16, 10_000) == 16
    assert steps(0, 4, 8) == 1


@pytest.mark.long
def test_a_block_in_the_wrong_place_is_caught() -> None:
    kernel = own_kernel_of(MODEL)
    text = kernel.source.replace("full[k][lo:hi] = v", "full[k][:hi - lo] = v")
    assert text != kernel.source
    assert "dW" in sb.verify(sb.Kernel(MODEL, kernel.program, text)).wrong
