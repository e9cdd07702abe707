"""Growth of gradients for fresh weights at every step, the assumption of mean-field theory, and for the real, tied network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.each_step import given_each_step
from symbptt.stability.spectra.block_means import BLOCKS, blocks_of, standard_error

Arrays = Mapping[str, Any]
Draw = Callable[[np.random.Generator], dict[str, Any]]


@dataclass(frozen=True)
class Growth:
    """The mean growth of the norm of a gradient in nats per step, λ₁, with its standard error over blocks of steps."""

    exponent: float
    error: float

    def __str__(self) -> str:
        return f"{self.exponent:.4f} ± {self.error:.4f}"


@dataclass(frozen=True)
class Population:
    """λ₁ of a population: `untied`, with weights drawn afresh at every step, as mean-field theory assumes, and `tied`, with
    weights drawn once, as the network has them. For gated cells the two can differ much, and the tied one is true."""

    untied: Growth
    tied: Growth
    steps: int
    transient: int

    def __str__(self) -> str:
        return f"untied theory (fresh weights at every step): {self.untied}\ntied simulation (the real network): {self.tied}"


def gaussian_weights(cell: Cell, dims: Mapping[str, int], *, sigma_w: float = 1.0, **fixed: Any) -> Draw:
    """Return a function that draws parameters: matrices of variance σ_w² / fan-in, others as `cell.init` has them, or `fixed`.

    Raises: ArgumentError as `cell.init` does.
    """
    first = cell.init(dims, **fixed)

    def draw(random: np.random.Generator) -> dict[str, Any]:
        return {
            k: v if k in fixed or v.ndim < 2 else sigma_w / np.sqrt(v.shape[-1]) * random.standard_normal(v.shape)
            for k, v in first.items()
        }

    return draw


def population(
    cell: Cell, draw: Draw, inputs: Arrays | None = None, state: Arrays | None = None, *, steps: int | None = None,
    seed: int = 0,
) -> Population:  # fmt: skip
    """Return the growth of gradients for the untied and for the tied population that `draw` describes.

    A fifth of the run at either end is not counted: forward it brings the state to its attractor, backward it turns the
    gradient into the direction that grows most. Errors fall with the width; several hundred units are a good one.

    Shapes: inputs (T, B, ...), with a batch axis; state (B, ...).

    Raises: ArgumentError for fewer than 20 steps, and as `kernel.forward` does.

    Source: Chen, Pennington, Schoenholz 2018, "Dynamical isometry and a mean field theory of RNNs: gating enables signal
    propagation in recurrent neural networks", which assumes untied weights.
    """
    cell, inputs, steps = given_each_step(cell, inputs, state, steps)
    kernel = kernel_of(cell)
    arrays, _, length, _, _, _ = kernel.read(draw(np.random.default_rng(seed)), inputs, state, steps)
    if length < BLOCKS:
        raise ArgumentError(
            three_lines(f"{length} steps", f"in the population of {cell.name}", f"give at least {BLOCKS}")
        )
    given = {a.name: arrays[a.name] for a in cell.arguments if a.role in ("input", "index")}
    start = {a.name: arrays[a.name] for a in cell.arguments if a.role == "state"}

    def untied(t: int) -> dict[str, Any]:
        return draw(np.random.default_rng([seed, t]))

    once = untied(0)
    cut = length // 5
    fresh, same = (_growth(kernel, at, given, start, length, cut, seed) for at in (untied, lambda t: once))
    return Population(fresh, same, length, cut)


def _growth(
    kernel: Kernel, params: Callable[[int], Arrays], inputs: Arrays, start: Arrays, length: int, cut: int, seed: int
) -> Growth:
    """Run forward, then send a random gradient back, scaled to length one at every step."""
    before = [start]
    for t in range(length - 1):
        before.append({k: v[-1] for k, v in _one(kernel, params(t), inputs, before[-1], t).states.items()})
    random = np.random.default_rng(seed)
    sent: Arrays = {k: random.standard_normal(np.shape(v)) for k, v in start.items()}
    grown = np.zeros((length, len(next(iter(start.values())))))
    for t in reversed(range(length)):
        run = _one(kernel, params(t), inputs, before[t], t)
        found = kernel.backward(run, sent).state
        size = np.sqrt(sum(np.square(v).reshape(len(v), -1).sum(1) for v in found.values()))
        # A gradient that has vanished exactly adds no growth; ln 0 would make the whole mean −∞.
        grown[t] = np.log(np.where(size > 0, size, 1))
        sent = {k: v / np.where(size > 0, size, 1).reshape(-1, *(1,) * (v.ndim - 1)) for k, v in found.items()}
    counted = grown[cut : length - cut].mean(1)
    groups = blocks_of(counted, np.ones(len(counted)), min(BLOCKS, len(counted)))
    return Growth(float(counted.mean()), float(standard_error(groups)))


def _one(kernel: Kernel, params: Arrays, inputs: Arrays, state: Arrays, t: int) -> Any:
    return kernel.forward(params, {k: v[t : t + 1] for k, v in inputs.items()}, state, steps=1)
