"""Sweeps in blocks of steps: wherever the borders lie, values and gradients are those of the plain function."""

import re
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.codegen.load import load
from symbptt.zoo import gru, lstm, min_gru, rnn
from tests import oracle, unseen
from tests.cells import odd
from tests.kernels import kernel_of

T, B = 7, 2
SIZES = {"m": 2, "n": 3, "v": 4}
MASKS = {
    "whole": {},
    "lengths": {"lengths": np.array([3, 7])},
    "resets": {"reset": np.random.default_rng(5).random((T, B)) < 0.3},
    "both": {"lengths": np.array([6, 5]), "reset": np.random.default_rng(6).random((T, B)) < 0.3},
}


@sb.cell
def passing(x: Input["n"], h: State["n"], U: Param["n n"]):
    """What the step after brings is the gradient of its input; its output needs a sum over the state."""
    now = U @ np.tanh(h) + x
    return {"h": now, "y": now / (1 + sb.sum(now * now))}


FEW = [rnn, lstm, gru, min_gru, odd, passing]


def in_blocks(kernel: Any, length: int, source: str = "") -> Any:
    """The module of a kernel with blocks of so many steps, and no scan in the place of its loop."""
    module = load(source or kernel.source, f"<{kernel.target.name} in blocks of {length}>")
    module._steps = lambda T, B, size, rows=0: length
    if hasattr(module, "_window"):
        module._window = lambda *arguments: 0
    return module


def assert_gradients_in_blocks(cell: sb.Cell, length: int, masks: dict[str, Any], source: str = "") -> None:
    kernel = kernel_of(cell)
    groups = oracle.draw(cell, T, B, SIZES | unseen.SIZES, scale=0.5)
    steps = None if groups[1] else T
    wanted = oracle.run(cell, *groups, T, **masks)
    cotangents = oracle.cotangents_of(cell, groups, T)
    module = in_blocks(kernel, length, source)
    run = module.forward(*groups, steps=steps, **masks)
    oracle.assert_blocks_close({**run.states, **run.outputs}, wanted, 1e-10)
    whole = kernel.backward(kernel.forward(*groups, steps=steps, **masks), cotangents, monitor=True)
    got = module.backward(run, cotangents, monitor=True)
    oracle.assert_blocks_close({**oracle.flat(got), **got.flow}, {**oracle.flat(whole), **whole.flow}, 1e-9)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("cell", FEW, ids=lambda cell: cell.name)
@pytest.mark.thinned(23, 2)
def test_blocks_of_any_length_give_the_same(cell: sb.Cell, length: int, masks: str) -> None:
    assert_gradients_in_blocks(cell, length, MASKS[masks])


@pytest.mark.long
@pytest.mark.parametrize("masks", ["whole", "both"])
@pytest.mark.parametrize("name", [*zoo.CELLS, *unseen.CELLS])
@pytest.mark.thinned(1, 23)
def test_blocks_of_two_steps_give_the_same_in_every_cell(name: str, masks: str) -> None:
    assert_gradients_in_blocks(zoo.CELLS.get(name) or unseen.CELLS[name], 2, MASKS[masks])


def test_gradients_in_blocks_are_those_of_complex_steps() -> None:
    for cell in FEW:
        groups = oracle.draw(cell, 5, B, SIZES, scale=0.5)
        cotangents = oracle.cotangents_of(cell, groups, 5)
        module = in_blocks(kernel_of(cell), 2)
        got = oracle.flat(module.backward(module.forward(*groups), cotangents))
        oracle.assert_blocks_close(got, oracle.gradients(cell, *groups, cotangents, 5), 1e-9)


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.thinned(2)
def test_losses_are_the_same_in_blocks(length: int) -> None:
    @sb.loss
    def distance(h: State["n"], y: sb.Target["k"], V: Param["k n"]):
        return sb.sum((V @ h - y) ** 2)

    kernel = sb.compile(sb.model(lstm, distance))
    random = np.random.default_rng(0)
    params, inputs, _ = oracle.draw(lstm, T, B, SIZES)
    params["V"], targets = random.standard_normal((4, 3)), {"y": random.standard_normal((T, B, 4))}
    value, grads = kernel.value_and_grad(params, inputs, targets)
    got, found = in_blocks(kernel, length).value_and_grad(params, inputs, targets)
    np.testing.assert_allclose(got, value, rtol=1e-12)
    oracle.assert_blocks_close(oracle.flat(found), oracle.flat(grads), 1e-10)


PLANTED = {
    "a short last block": (r"hi = min\(lo \+ K, T\)", "hi = lo + K"),
    "a carry that is lost between blocks": (r"(\n +)lo = max\(hi - K, 0\)", r"\1lo = max(hi - K, 0)\1dh[...] = 0"),
    "a sum that forgets the blocks before": (r"np\.add\(dW_gates, (\w+), out=dW_gates\)", r"np.copyto(dW_gates, \1)"),
    "coefficients of a neighbouring block": (
        r"= \(v\[lo:hi\] for v in \(f, g, h_prev,",
        "= (v[: hi - lo] for v in (f, g, h_prev,",
    ),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake_between_blocks_is_caught(mistake: str) -> None:
    wrong, count = re.subn(*PLANTED[mistake], kernel_of(lstm).source)
    assert count >= 1
    with pytest.raises((AssertionError, ValueError, IndexError)):
        assert_gradients_in_blocks(lstm, 3, {}, wrong)
