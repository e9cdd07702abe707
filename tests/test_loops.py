"""Loops over time allocate nothing: their calls write into arrays that were made before them."""

import ast
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.zoo import CELLS, gru, lstm
from tests import oracle
from tests.kernels import kernel_of


def loops(source: str) -> Iterator[ast.For]:
    """The loops over time of both sweeps, the innermost ones."""
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name in ("_forward", "_backward"):
            for node in ast.walk(function):
                if is_over_time(node) and not any(is_over_time(n) for part in node.body for n in ast.walk(part)):
                    yield node


def is_over_time(node: ast.AST) -> bool:
    """A loop, but for that over the adjoints to which the loss adds."""
    return isinstance(node, ast.For) and "range" in ast.unparse(node.iter)


def strays(source: str) -> list[str]:
    """What a loop does, but for branches of masks and of the flow, that is no call with `out=`, nor a copy."""
    inside = [line for loop in loops(source) for line in loop.body if not isinstance(line, ast.If)]
    lines = [part for line in inside for part in (line.body if isinstance(line, ast.For) else [line])]
    return [ast.unparse(line) for line in lines if not (is_copy(line) or is_written(line))]


def is_copy(line: ast.stmt) -> bool:
    """An adjoint that is kept for all steps: `dh_all[t] = dh`."""
    return isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == f"{ast.unparse(line.value)}_all[t]"


OF_MATRICES = ("_solved(", "_factored(", "expm(", "np.linalg.", "np.tril(", "_halved(", "_spread(", "_diagonal(")
"""The calls of functions of whole matrices."""


def is_written(line: ast.stmt) -> bool:
    """A call that writes into an array, of arrays and numbers that are there (sizes may be multiplied)."""
    if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Call)):
        return False
    call = line.value
    parts = [part for arg in call.args for part in ast.walk(arg)]
    made = [part for part in parts if isinstance(part, ast.Call | ast.Subscript | ast.Attribute)]
    made = [part for part in made if ast.unparse(part) != "given[t]"]
    if made and ast.unparse(call.func) == "np.copyto" and ast.unparse(call.args[1]).startswith(OF_MATRICES):
        made = made[1:]  # LAPACK's functions in NumPy have no `out`
    added = [side for part in parts if isinstance(part, ast.BinOp) for side in (part.left, part.right)]
    arrays = [side for side in added if isinstance(side, ast.Name) and len(side.id) > 1]
    writes = any(keyword.arg == "out" for keyword in call.keywords) or ast.unparse(call.func) == "np.copyto"
    return writes and not made and not arrays


@pytest.mark.parametrize("cell", list(CELLS.values()), ids=lambda cell: cell.__name__)
@pytest.mark.thinned(13, 7)
def test_loop_only_calls_with_out(cell: sb.Cell) -> None:
    source = kernel_of(cell).source
    assert len(list(loops(source))) >= 2 and strays(source) == []


def test_planted_allocation_is_caught() -> None:
    source = sb.compile(lstm).source
    line = next(line for line in source.splitlines() if line.lstrip().startswith("np.tanh(c_t, out="))
    wrong = source.replace(line, line.replace("np.tanh(c_t, out=tanh_c_t)", "tanh_c_t[...] = np.tanh(c_t)"))
    assert strays(wrong) != []


def peak(cell: sb.Cell, T: int) -> int:
    """The most bytes that a run takes beside its tape."""
    kernel = sb.compile(cell)
    groups = oracle.draw(cell, T, 2, {"m": 2, "n": 8}, scale=0.3)
    first = kernel.forward(*groups)  # makes the module; while it is held, the next run takes no room of its
    tracemalloc.start()
    kernel.forward(*groups)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first.states
    return found - kernel.plan.bytes(T, 2, n=8)


@pytest.mark.parametrize("cell", [lstm, gru], ids=["lstm", "gru"])
@pytest.mark.thinned(2)
def test_memory_does_not_grow_with_time_beyond_the_tape(cell: sb.Cell) -> None:
    assert abs(peak(cell, 4000) - peak(cell, 500)) < 64 * 1024


@pytest.mark.parametrize("rounds", [16, 3, 40])
@pytest.mark.thinned(11)
def test_rounds_that_stay_affine_in_a_state_are_compiled_in_time(rounds: int) -> None:
    """Coefficients of h - w h + x after many rounds double with each where they are written out."""

    @sb.cell
    def relaxing(x: Input["n"], membrane_potential: State["n"], w: Param["n"]):
        v = membrane_potential
        for _ in range(rounds):
            v = v - 0.1 * v * w + 0.01 * x
        return v

    kernel = sb.compile(relaxing)
    assert len(kernel.source) < 100_000 + 3_000 * rounds  # the runtime, and some lines a round
    rng = np.random.default_rng(0)
    x, w, h0 = rng.standard_normal((7, 2, 3)), rng.standard_normal(3), rng.standard_normal((2, 3))
    run = kernel.forward({"w": w}, {"x": x}, {"membrane_potential": h0})
    grads = kernel.backward(run, {"membrane_potential": np.ones((2, 3))})
    wanted, last = np.zeros(3), h0
    factor = (1 - 0.1 * w) ** rounds
    for step in x:
        last = factor * last + 0.01 * step * sum((1 - 0.1 * w) ** i for i in range(rounds))
    np.testing.assert_allclose(run.states["membrane_potential"][-1], last, rtol=1e-12)
    np.testing.assert_allclose(grads.state["membrane_potential"], np.broadcast_to(factor**7, (2, 3)), rtol=1e-12)
    for i in range(3):
        moved = w.astype(complex)
        moved[i] += 1e-40j
        h: Any = h0.astype(complex)
        for step in x:
            for _ in range(rounds):
                h = h - 0.1 * h * moved + 0.01 * step
        wanted[i] = h.sum().imag / 1e-40
    np.testing.assert_allclose(grads.params["w"], wanted, rtol=1e-11)
