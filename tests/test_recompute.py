"""What the backward sweep computes again: which values, that they are the same, and what that spares."""

import re
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import zoo
from symbptt.autodiff.bptt import derive
from symbptt.codegen.load import load
from symbptt.codegen.passes import PASSES, SPARING, place, recompute_cheap, recompute_free
from symbptt.codegen.passes.rematerialize import CALLS, CHEAP, FREE, computed_again, operations
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import is_near
from symbptt.codegen.targets.numpy.module import source
from symbptt.ir.node import placeholder
from symbptt.ir.scalar import tree_of
from tests import brute, unseen
from tests.evaluate import roots
from tests.kernels import saturating
from tests.properties.cells import cell_of
from tests.test_memory import assert_run_is_the_same, assert_same, error, kernel_of, peak_of
from tests.test_passes import UNUSUAL, assert_kept, assert_legal
from tests.test_truncation import MASKS, SIZES

pass_module = sys.modules[recompute_free.__module__]

AGAIN = ("lstm", "lem", "alif", "mlstm", "delay_rnn", "on_lstm", "slstm", "gate_loop", "scalar_kalman", "rotations")
"""Cells that have values to compute again."""


def cell_named(name: str) -> sb.Cell:
    return zoo.CELLS.get(name) or unseen.CELLS[name]


@cache
def bare(cell: sb.Cell) -> Program:
    """A program that keeps all that the backward sweep reads."""
    p = program_of(derive(cell.step))
    for step in PASSES:
        p = p if step in (recompute_free, place) else step(p)
    return p


@cache
def keeping(cell: sb.Cell, truncation: Any = None) -> Any:
    """The module of such a program."""
    return load(source(place(bare(cell)), "0", "", truncation=truncation), f"<{cell.name} that keeps all>")


def names(plan: Any) -> list[str]:
    return [item.name or item.formula for item in plan.again]


# Which values.


@pytest.mark.parametrize(
    ("name", "free", "spared"),
    [
        ("lstm", [], ["tanh_c"]),
        ("gru", [], []),
        ("rnn", [], []),
        ("mgu", ["f_t ⊙ h_{t-1}"], ["f_t ⊙ h_{t-1}"]),
        ("lem", ["d1", "d2"], ["d1", "d2"]),
        ("lif", ["a"], ["a"]),
        ("slstm", ["u_m"], ["u_m", "f", "i"]),
    ],
)
@pytest.mark.thinned(7)
def test_cheap_values_of_what_is_kept_are_computed_again(name: str, free: list[str], spared: list[str]) -> None:
    cell = cell_named(name)
    assert names(kernel_of(cell, "all").plan) == free
    assert names(kernel_of(cell, "sqrt").plan) == names(kernel_of(cell, 10**6).plan) == spared


def test_plan_tells_what_is_spared() -> None:
    whole, less = (kernel_of(zoo.lstm, memory).plan for memory in ("all", "sqrt"))
    n = sp.Symbol("n", integer=True, positive=True)
    assert whole.elements - less.elements == n
    assert re.search(
        r"Computed again in the backward sweep, not kept.*\n.*\n  tanh_c +\(n,\) +n  tanh\(c_t\)", str(less)
    )
    assert "again" not in str(whole)


@pytest.mark.parametrize("name", [*zoo.CELLS, *unseen.CELLS])
@pytest.mark.thinned(13, 2)
def test_nothing_but_maps_and_views_is_computed_again_and_takes_no_array_of_all_steps(name: str) -> None:
    p = place(recompute_cheap(bare(cell_named(name))))
    for id in computed_again(p):
        assert p.graph[id].family in ("map", "view") and p.places[id].startswith("backward")
        assert p.graph[id].family == "view" or is_near(p.places, "backward", id)


def test_order_of_passes_and_limits() -> None:
    assert PASSES.index(recompute_free) == SPARING.index(recompute_cheap) == len(PASSES) - 2 and FREE < CHEAP
    p = bare(zoo.lstm)
    assert recompute_free(p) is p
    again = recompute_cheap(recompute_cheap(p))
    assert len(again.graph) == len(recompute_cheap(p).graph)


x, y, z = (placeholder(i) for i in range(3))


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (x, 0),
        (x * y, 1),
        (2 * x + y - z, 3),
        (-x, 1),
        (x**2, 1),
        (x / y, 2),
        (sp.tanh(x), CALLS["tanh"]),
        (x * sp.exp(y - z), CALLS["exp"] + 2),
        (x**y, 16),
        (sp.sin(x), 50),
    ],
)
def test_cost_of_a_body_is_that_of_its_operations(body: sp.Expr, cost: float) -> None:
    assert operations(tree_of(body)) == cost


# The same values.


@pytest.mark.parametrize("name", [*(name for name in AGAIN if name != "alif"), *UNUSUAL])  # spikes: not evaluated
@pytest.mark.parametrize("step", [recompute_free, recompute_cheap])
@pytest.mark.thinned(7)
def test_pass_keeps_values(step: Any, name: str) -> None:
    cell = cell_of(UNUSUAL[name]) if name in UNUSUAL else cell_named(name)
    p = bare(cell)
    known = {s.name for a in cell.arguments for item in a.shape for s in getattr(item, "free_symbols", ())}
    sizes = {k: unseen.SIZES.get(k, 3) for k in known}
    assert_kept(roots(p, sizes), step(p), sizes)
    assert_legal(place(step(p)))


def assert_as_kept(cell: sb.Cell, data: brute.Data, rtol: float = 1e-11, truncation: Any = None) -> None:
    """A run and its gradients are those of a module that keeps all."""
    wanted, kernel = keeping(cell, truncation), sb.compile(cell, truncation=truncation)
    args = (data.params, data.inputs, data.state)
    runs = [m.forward(*args, steps=data.steps, **data.masks) for m in (wanted, kernel)]
    full = {k: np.cos(np.arange(v.size)).reshape(v.shape).astype(v.dtype) for k, v in runs[0].states.items()}
    grads = [m.backward(run, full, monitor=True) for m, run in zip((wanted, kernel), runs, strict=True)]
    assert_same(grads[1], grads[0], rtol)


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize(("steps", "batch"), [(0, 1), (1, 1), (2, 1), (5, 2)])
@pytest.mark.thinned(47, 7)
def test_gradients_are_those_of_a_module_that_keeps_all(name: str, steps: int, batch: int) -> None:
    cell = cell_named(name)
    assert_as_kept(cell, brute.data_of(cell, steps, batch, unseen.SIZES))


@pytest.mark.parametrize("masks", [name for name in MASKS if name != "whole"])
@pytest.mark.parametrize("name", ["alif", "delay_rnn", "on_lstm"])
@pytest.mark.thinned(17)
def test_gradients_of_masked_runs_are_those_of_a_module_that_keeps_all(name: str, masks: str) -> None:
    cell = cell_named(name)
    steps = max(len(v) if k == "reset" else max(v) for k, v in MASKS[masks].items())
    assert_as_kept(cell, brute.data_of(cell, int(steps), 2, unseen.SIZES, **MASKS[masks]))


@pytest.mark.parametrize("truncation", [sb.Window(3), sb.Chunked(2, 4)])
@pytest.mark.parametrize("name", ["lem", "alif", "delay_rnn", "scalar_kalman"])
@pytest.mark.thinned(7)
def test_truncated_gradients_are_those_of_a_module_that_keeps_all(name: str, truncation: Any) -> None:
    cell = cell_named(name)
    assert_as_kept(cell, brute.data_of(cell, 7, 2, unseen.SIZES), truncation=truncation)


@pytest.mark.parametrize("name", ["lstm", "lem", pytest.param("mlstm", marks=pytest.mark.long), "delay_rnn"])
@pytest.mark.thinned(2)
def test_float32_is_computed_again_in_float32(name: str) -> None:
    cell = cell_named(name)
    data = brute.data_of(cell, 5, 2, unseen.SIZES)
    for group in (data.params, data.inputs, data.state):
        group.update({k: v.astype(np.float32) for k, v in group.items() if v.dtype == np.float64})
    assert_as_kept(cell, data, 1e-4)
    known = {k: v for k, v in unseen.SIZES.items() if k in kernel_of(cell, 1).plan.written.names}
    assert_run_is_the_same(cell, data, known, 1e-4)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", ["lstm", "lem", "slstm"])
@pytest.mark.thinned(23, 3)
def test_modes_agree(name: str, masks: str) -> None:
    cell = cell_named(name)
    data = brute.data_of(cell, 6, 2, unseen.SIZES, **MASKS[masks])
    known = {k: v for k, v in unseen.SIZES.items() if k in kernel_of(cell, 1).plan.written.names}
    assert_run_is_the_same(cell, data, known, 1e-10)


@pytest.mark.long
@pytest.mark.parametrize(("name", "memory"), [("lstm", "sqrt"), ("slstm", 10**8)])
def test_what_is_computed_again_agrees_with_complex_steps(name: str, memory: Any) -> None:
    assert sb.verify(kernel_of(cell_named(name), memory)).passed


# One mistake.


def test_wrong_copy_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    p, right = bare(cell_named("lem")), pass_module.replace

    def wrong(what: Any, **parts: Any) -> Any:
        return right(what, **parts | ({"expr": 2 * what.expr} if hasattr(what, "expr") else {}))

    monkeypatch.setattr(pass_module, "replace", wrong)
    with pytest.raises(AssertionError):
        assert_kept(roots(p, unseen.SIZES), recompute_free(p), unseen.SIZES)


def test_wrong_line_is_seen() -> None:
    data = brute.data_of(zoo.lstm, 5, 2, unseen.SIZES)
    kernel, line = kernel_of(zoo.lstm, "sqrt"), "np.tanh(c_b, out=tanh_c_b)"
    assert line in kernel.source
    found = [kernel, load(kernel.source.replace(line, "np.copyto(tanh_c_b, c_b)"), "<planted>")]
    runs = [m.forward(data.params, data.inputs, data.state) for m in found]
    grads = [m.backward(run, {"h": np.ones((5, 2, unseen.SIZES["n"]))}) for m, run in zip(found, runs, strict=True)]
    with pytest.raises(AssertionError):
        assert_same(*grads)


# Bytes.


@pytest.mark.parametrize("kind", ["none", "lengths", "reset"])
@pytest.mark.parametrize(("name", "memory"), [("lstm", "all"), ("lstm", "sqrt"), ("rnn", "sqrt"), ("gru", 2_000_000)])
@pytest.mark.thinned(17, 2)
def test_peak_with_masks_is_as_predicted(name: str, memory: Any, kind: str) -> None:
    kernel, (T, B), sizes = kernel_of(sb.model(zoo.CELLS[name], error), memory), (200, 8), {"m": 8, "n": 32}
    masks: dict[str, Any] = {"lengths": np.array([T, *range(T - B + 1, T)])} if kind == "lengths" else {}
    masks |= {"reset": np.arange(T * B).reshape(T, B) % 17 == 0} if kind == "reset" else {}
    predicted = kernel.plan.peak(T, B, lengths=kind == "lengths", reset=kind == "reset", **sizes)
    assert isinstance(memory, str) or predicted <= memory
    found = peak_of(kernel, T, B, sizes, **masks)
    whole = peak_of(saturating(kernel, "np.inf"), T, B, sizes, **masks)  # what is predicted: every function saturates
    assert found <= predicted * 1.05 and abs(predicted / whole - 1) <= 0.05


def test_tape_is_less_by_what_is_computed_again() -> None:
    model, T, B, sizes = sb.model(zoo.lstm, error), 100, 4, {"m": 4, "n": 32}
    whole, less = (kernel_of(model, memory).plan for memory in ("all", 10**9))
    assert whole.bytes(T, B, **sizes) - less.bytes(T, B, **sizes) == T * B * sizes["n"] * 8
    assert less.recomputed(T, B, **sizes) == 0


@pytest.mark.parametrize("memory", ["sqrt", 10**6])
def test_steps_are_counted_from_the_first_where_data_is_checked_in_parts(memory: Any) -> None:
    model = sb.model(zoo.lstm, error)
    data = brute.data_of(model, 9, 3, SIZES | {"m": 2, "n": 3}, lengths=np.array([9, 6, 8]))
    args = (data.params, data.inputs, data.targets, data.state)
    data.inputs["x"][6:, 1] = np.nan  # behind the end: nothing reads it
    data.targets["y"][6:, 1] = np.nan
    value, grads = kernel_of(model, memory).value_and_grad(*args, lengths=data.lengths)
    assert np.isfinite(value) and all(np.isfinite(v).all() for v in grads.params.values())
    data.inputs["x"][7, 2, 1] = np.inf
    with pytest.raises(sb.ArgumentError, match=r"x: inf at step 7, sample 2 \(index \(7, 2, 1\)\)"):
        kernel_of(model, memory).value_and_grad(*args, lengths=data.lengths)
