"""A cell linearised along a trajectory: the Jacobian of the whole state at every step, from generated batched code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from symbptt.autodiff.block import Block
from symbptt.autodiff.jacobian import Jacobian, jacobian
from symbptt.checks import named
from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.codegen.targets.numpy.pointwise import evaluator
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.graph import Graph
from symbptt.ir.shape import named_size
from symbptt.language.cell import Cell
from symbptt.language.each_step import given_each_step
from symbptt.language.init import concrete

Arrays = Mapping[str, Any]
MEMORY = 2**22
"""Bytes of the largest value at the most, over the steps at which Jacobians are evaluated at once."""


@dataclass(frozen=True)
class Linearization:
    """A trajectory and its Jacobians.

    Shapes: states (T + 1, B, N), the whole state flattened, states in argument order; jacobians (T, B, N, N) with
    J[t, b, i, j] = ∂s_{t+1, i} / ∂s_{t, j}. `names` has the slice of each state.
    """

    states: Any = field(repr=False)
    jacobians: Any = field(repr=False)
    names: dict[str, slice]

    @property
    def dtype(self) -> Any:
        return self.states.dtype


@dataclass(frozen=True)
class Linear:
    """A cell with fixed parameters, ready to be stepped and linearised anywhere; `sizes` are those of the parameters."""

    cell: Cell
    kernel: Kernel = field(repr=False)
    params: dict[str, Any]
    sizes: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    dtype: Any

    @property
    def blocks(self) -> dict[tuple[str, str], Block]:
        """The structure of each block of the state's Jacobian."""
        return _jacobian(self.cell).blocks

    @cached_property
    def drivers(self) -> tuple[str, ...]:
        """The inputs that the state's Jacobian depends on, by itself or through the states that it depends on."""
        found = _jacobian(self.cell)
        read = _leaves(found.step.graph, [block.id for block in found.blocks.values() if block.id >= 0])
        step = self.cell.closed
        while True:
            # A fixed point: an input drives the Jacobian also through a state that is itself driven by it.
            wider = read | _leaves(step.graph, [step.next[name] for name in sorted(read & step.next.keys())])
            if wider == read:
                return tuple(a.name for a in self.cell.arguments if a.role in ("input", "index") and a.name in read)
            read = wider

    @cached_property
    def names(self) -> dict[str, slice]:
        """The slice of each state in the flattened whole state."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            found[name] = slice(start, start + int(np.prod(shape)))
            start = found[name].stop
        return found

    @property
    def dimension(self) -> int:
        """The number N of elements of the whole state."""
        return max((part.stop for part in self.names.values()), default=0)

    def with_params(self, params: Arrays) -> Linear:
        """Return the same cell with other parameters of the same shapes."""
        return replace(self, params=dict(params))

    def flat(self, states: Arrays) -> Any:
        """Return states by name, (..., *shape), as whole states (..., N)."""
        parts = [np.asarray(states[name]) for name in self.names]
        lead = [part.shape[: part.ndim - len(shape)] for part, shape in zip(parts, self.shapes.values(), strict=True)]
        return np.concatenate([part.reshape(*n, -1) for part, n in zip(parts, lead, strict=True)], -1)

    def by_name(self, states: Any) -> dict[str, Any]:
        """Return whole states (..., N) as states by name, (..., *shape)."""
        return {
            name: states[..., part].reshape((*states.shape[:-1], *self.shapes[name]))
            for name, part in self.names.items()
        }

    def run(self, inputs: Arrays, state: Arrays, steps: int | None = None) -> Any:
        """Return the whole state after each step. Shapes: inputs (T, B, ...), state (B, ...); the result (T, B, N)."""
        with np.errstate(all="ignore"):  # a state that leaves the range is told in words, not by NumPy
            return self.flat(self.kernel.forward(self.params, inputs, state, steps=steps).states)

    def jacobians(self, states: Any, inputs: Arrays) -> Any:
        """Return the Jacobians at given states. Shapes: states (T, B, N), before each step; the result (T, B, N, N)."""
        T, B = states.shape[:2]
        # Blocks that are zero, and what is beside a diagonal, are never written.
        result = np.zeros((T, B, self.dimension, self.dimension), self.dtype)
        # Elementwise code over all steps at once would move every intermediate value through main memory; blocks of
        # steps stay in cache.
        length = max(1, MEMORY // (self.dtype.itemsize * max(1, B * self._largest)))
        for first in range(0, T, length):
            part = slice(first, first + length)
            self._write(result[part], states[part], {k: v[part] for k, v in inputs.items()})
        return result

    @cached_property
    def _largest(self) -> int:
        """The elements of the largest value on the way to the Jacobian of one sample at one step."""
        step, sizes = _jacobian(self.cell).step, {named_size(name): size for name, size in self.sizes.items()}
        return max(int(np.prod(concrete(node.shape, sizes))) for node in step.graph)

    def _write(self, result: Any, states: Any, inputs: Arrays) -> None:
        """Write the Jacobians of a few steps, so few that all values on the way stay in cache."""
        T, B = states.shape[:2]
        arguments = {**self.params, **inputs, **self.by_name(states)}
        with np.errstate(all="ignore"):  # what is not finite is an error with its step and its state
            found = _evaluator(self.cell)(arguments, self.sizes, T, B, self.dtype)
        for (to, of), block in self.blocks.items():
            ranks = len(self.shapes[to]) + len(self.shapes[of]), len(self.shapes[of])
            _fill(result[..., self.names[to], self.names[of]], block, found.get(f"{to} {of}"), *ranks)


def _leaves(graph: Graph, roots: Iterable[int]) -> frozenset[str]:
    """The names of the arguments that values are computed from."""
    nodes = (graph[id] for id in graph.ancestors(roots))
    return frozenset(node.attrs.name for node in nodes if node.family == "leaf")


def _fill(target: Any, block: Block, value: Any, rank: int, own: int) -> None:
    """Write one block, its sample axes first where it has them; all but a dense one write their diagonal only."""
    diagonal = np.arange(target.shape[-1])
    match block.kind:
        case "dense":
            target[...] = np.reshape(value, (*np.shape(value)[: np.ndim(value) - rank], *target.shape[-2:]))
        case "diagonal":
            target[..., diagonal, diagonal] = np.reshape(value, (*np.shape(value)[: np.ndim(value) - own], -1))
        case "scalar":
            target[..., diagonal, diagonal] = np.asarray(value)[..., None]
        case "identity":
            target[..., diagonal, diagonal] = 1


@lru_cache(16)
def _jacobian(cell: Cell) -> Jacobian:
    names = [a.name for a in cell.arguments if a.role == "state"]
    return jacobian(cell.closed, [(to, of) for to in names for of in names])


@lru_cache(16)
def _evaluator(cell: Cell) -> Callable[..., dict[str, Any]]:
    """The generated function of the blocks that vary."""
    j = _jacobian(cell)
    return evaluator(j.step, {f"{to} {of}": block.id for (to, of), block in j.blocks.items() if block.id >= 0})


def linear(cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None) -> Linear:
    """Return a cell with its parameters, ready to be linearised; sizes are read from all arguments.

    Raises: ArgumentError for parameters that are not finite, and as `kernel.forward` does.
    """
    cell.check_real()
    kernel, params = kernel_of(cell), named(params)
    # Without inputs nothing tells the number of steps, which sizes do not need.
    arrays, sizes, _, _, dtype, _ = kernel.read(params, inputs, state, 0 if is_empty(inputs) else None)
    check_finite(cell, {name: arrays[name] for name in params})
    shapes = kernel.module._shapes(**sizes)
    own = {a.name: shapes[a.name] for a in cell.arguments if a.role == "state"}
    return Linear(cell, kernel, {name: arrays[name] for name in params}, sizes, own, dtype)


def is_empty(inputs: Any) -> bool:
    """Return whether no inputs are given."""
    return inputs is None or (isinstance(inputs, Mapping) and not inputs)


def check_finite(cell: Cell, params: Arrays) -> None:
    """Raises: ArgumentError, with its name and place, for the first parameter that is not finite."""
    for name, value in params.items():
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            where = f" at index {tuple(map(int, bad[0]))}" if len(bad[0]) else ""
            raise ArgumentError(three_lines(f"the parameter {name!r} is {value[tuple(bad[0])]}{where}",
                                            f"in the stability of {cell.name}", "give finite numbers"))  # fmt: skip


def linearize(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, state: Arrays | None = None, *, steps: int | None = None
) -> Linearization:
    """Return the trajectory of a cell and the Jacobian of its whole state at every step.

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...), zero where omitted. A cell without inputs takes `steps`.

    Raises: ArgumentError as `kernel.forward` does.
    """
    cell, inputs, steps = given_each_step(cell, inputs, state, steps)
    of = linear(cell, params, inputs, state)
    arrays, _, T, _, _, _ = of.kernel.read(params, inputs, state, steps)
    given = {a.name: arrays[a.name] for a in cell.arguments if a.role in ("input", "index")}
    start = {name: arrays[name] for name in of.names}
    states = np.concatenate([of.flat(start)[None], of.run(given, start, T)])
    return Linearization(states, of.jacobians(states[:-1], given), of.names)
