"""One measured case: a cell, its sizes and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.kernel import Kernel
from symbptt.ir.shape import named_size
from symbptt.language.cell import Cell

Arrays = dict[str, np.ndarray]
NOISE = 0.05
"""Added to first parameters: zeros would hide wrong gradients, and stand on the kinks of functions that have one at 0."""


@dataclass(frozen=True)
class Case:
    """T steps of B samples of a cell: parameters, inputs (T, B, ...), first states and cotangents of all states.

    The cotangents (T, B, ...) are those of `sum(cotangent * state)` over all steps: every gradient is asked for.
    """

    cell: Cell
    T: int
    B: int
    sizes: dict[str, int]
    params: Arrays
    inputs: Arrays
    state: Arrays
    cotangents: Arrays

    @property
    def constants(self) -> frozenset[str]:
        """The names among `params` that are not trained."""
        return frozenset(a.name for a in self.cell.step.of_role("const")) & self.params.keys()


def case_of(cell: Cell, T: int, B: int, sizes: Mapping[str, int], dtype: Any, seen: tuple[str, ...] = ()) -> Case:
    """Return a case with random data of a fixed seed; the loss reads the states of `seen`, all where it is empty."""
    rng = np.random.default_rng(0)
    shapes = {a.name: _numbers(a.shape, sizes) for a in cell.arguments}
    first = {k: np.asarray(v) for k, v in cell.init(dict(sizes), seed=0).items()}
    params = {k: np.asarray(v + _noise(rng, v.shape), dtype) for k, v in first.items()}
    inputs = {
        a.name: _input(rng, a, (T, B, *shapes[a.name]), sizes, dtype) for a in cell.step.of_role("input", "index")
    }
    names = [a.name for a in cell.step.of_role("state")]
    state = {k: (rng.standard_normal((B, *shapes[k])) / 2).astype(dtype) for k in names}
    cotangents = {k: rng.standard_normal((T, B, *shapes[k])).astype(dtype) for k in seen or names}
    return Case(cell, T, B, dict(sizes), params, inputs, state, cotangents)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return noise that is also small in norm beside what it is added to, so that no stable recurrence becomes chaotic."""
    # A Gaussian n x n matrix with entries of variance 1 / n has a spectral norm near 2, whatever n is.
    return np.asarray(NOISE * rng.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) > 1 else 1))


def _numbers(shape: Any, sizes: Mapping[str, int]) -> tuple[int, ...]:
    values = {named_size(name): value for name, value in sizes.items()}
    return tuple(int(sp.sympify(size).subs(values)) for size in shape)


def _input(rng: Any, argument: Any, shape: tuple[int, ...], sizes: Mapping[str, int], dtype: Any) -> np.ndarray:
    if argument.role == "index":
        return rng.integers(0, _numbers((argument.limit,), sizes)[0], shape)
    return rng.standard_normal(shape).astype(dtype)


def gradients(kernel: Kernel, case: Case) -> Arrays:
    """Return the last states and all gradients of a case, in one flat dict."""
    run = kernel.forward(case.params, case.inputs, case.state, steps=case.T)
    found = kernel.backward(run, case.cotangents)
    last = {f"last {k}": v[-1] for k, v in run.states.items()}
    return (
        last
        | {f"d{k}": v for k, v in (found.params | found.inputs).items()}
        | {f"d{k}_0": v for k, v in found.state.items()}
    )
