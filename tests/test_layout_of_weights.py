"""Weights that products of a loop read lie in order: BLAS reads rows of a panel twice as fast as columns."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.codegen.targets.numpy import forms
from symbptt.ir.shape import names_in
from tests import brute, oracle, unseen

STEPS, BATCH = 6, 2


class Watched:
    """NumPy that notes what products read."""

    def __init__(self) -> None:
        self.read: dict[int, list[tuple[Any, Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def matmul(self, a: Any, b: Any, **kinds: Any) -> Any:
        for v in (a, b):
            self.read.setdefault(id(v), []).append((v, v.copy()))
        return np.matmul(a, b, **kinds)


def weights_of_loops(cell: sb.Cell, sizes: dict[str, int], kernel: sb.Kernel) -> list[Any]:
    """What products of each step read in both sweeps that is the same array, with the same numbers, at every step."""
    found, groups = [], oracle.draw(cell, STEPS, BATCH, sizes, 1)
    kernel.module.np = watched = Watched()
    run = kernel.forward(*groups, **({} if groups[1] else {"steps": STEPS}))
    for sweep in (lambda: None, lambda: kernel.backward(run, {k: np.ones(v.shape) for k, v in run.states.items()})):
        sweep()
        often = [reads for reads in watched.read.values() if len(reads) >= STEPS and reads[0][0].ndim > 1]
        found += [reads[0][0] for reads in often if all(np.array_equal(reads[0][1], now) for _, now in reads)]
        watched.read.clear()
    return found


def reads_rows(v: Any) -> bool:
    """Whether the entries of the last axis that has several lie side by side."""
    squeezed = v.squeeze()
    return squeezed.ndim < 2 or squeezed.strides[-1] == v.itemsize


def sizes_of(cell: sb.Cell) -> dict[str, int]:
    return {name: 3 + i for i, name in enumerate(sorted({name for a in cell.arguments for name in names_in(a.shape)}))}


@pytest.mark.parametrize("name", zoo.CELLS)
@pytest.mark.thinned(79, 7)
def test_weights_of_the_zoo_lie_in_order(name: str) -> None:
    cell = zoo.CELLS[name]
    assert all(v.flags.c_contiguous for v in weights_of_loops(cell, sizes_of(cell), sb.compile(cell)))


def test_packed_weights_are_among_those_that_are_asserted() -> None:
    found = weights_of_loops(zoo.lstm, {"m": 5, "n": 3}, sb.compile(zoo.lstm))
    assert (4, 3, 3) in {v.shape for v in found}


TURNED = pytest.mark.xfail(
    strict=True, reason="the copy of a scaled stack of matrices lies turned, and BLAS is told so"
)


@pytest.mark.parametrize("name", [pytest.param(x, marks=[TURNED] * (x == "delay_line")) for x in unseen.CELLS])
@pytest.mark.thinned(29, 5)
def test_products_of_other_cells_read_rows(name: str) -> None:
    cell = unseen.CELLS[name]
    assert all(map(reads_rows, weights_of_loops(cell, unseen.SIZES, sb.compile(cell))))


def test_a_planted_stack_of_transposes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "is_turned", lambda view: False)
    found = weights_of_loops(zoo.gru, {"m": 5, "n": 3}, sb.compile(zoo.gru))
    assert not all(v.flags.c_contiguous for v in found)


@sb.cell
def turned(
    x: Input["m"], h: State["n"], A: Param["n n"], B: Param["n m"], C: Param["2 n n"], D: Param["n n"], b: Param["n"]
):
    """Transposes joined by the user along either axis, of slices, of stacks."""
    joined = np.concatenate([A.T, C[0].T, D], 1)
    below = np.concatenate([A.T, C[1].T])
    z = np.tanh(np.concatenate([h, h, x @ B.T]) @ joined.T + b)
    return np.tanh(below @ h)[: h.shape[0]] * z + np.stack([A.T, C[1].T])[1] @ h


@pytest.mark.parametrize("memory", ["all", "sqrt"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.thinned(7)
def test_joined_transposes_lie_in_order_and_give_the_same(memory: Any, dtype: Any) -> None:
    kernel = sb.compile(turned, memory=memory)
    data = brute.data_of(turned, 4, 2, {"m": 3, "n": 2}, 1)
    given = [{k: v.astype(dtype) for k, v in group.items()} for group in (data.params, data.inputs, data.state)]
    run = kernel.forward(*given)
    cotangents = {"h": np.random.default_rng(1).standard_normal((4, 2, 2))}
    grads = kernel.backward(run, {k: v.astype(dtype) for k, v in cotangents.items()})
    wanted = brute.gradients(turned, brute.cotangent_score(cotangents), data)
    brute.assert_same(brute.by_group(grads), wanted, 1e-9 if dtype == np.float64 else 1e-4)
    assert all(map(reads_rows, weights_of_loops(turned, {"m": 3, "n": 2}, sb.compile(turned))))
