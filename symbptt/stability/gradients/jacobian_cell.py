"""A cell whose outputs are the blocks of its own Jacobian, so that backpropagation through time differentiates these too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from symbptt.autodiff.block import Block
from symbptt.autodiff.jacobian import jacobian
from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.ir.step import Step
from symbptt.language.cell import Cell

Pair = tuple[str, str]


class TangentCell(Cell):
    """A cell with the outputs of another one replaced by the blocks of the Jacobian of its states."""

    def __init__(self, of: Cell) -> None:
        super().__init__(of.function, of.consts)
        self.of = of

    def __reduce__(self) -> Any:
        return TangentCell, (self.of,)

    @cached_property
    def blocks(self) -> dict[Pair, Block]:
        """The structure of each block, by (next state, state)."""
        return self._jacobian.blocks

    @cached_property
    def outputs(self) -> dict[Pair, str]:
        """The output that each block is which is neither zero nor the identity."""
        varying = [pair for pair, block in self.blocks.items() if block.id >= 0]
        taken = {a.name for a in self.arguments}
        prefix = "J"
        while any(name.startswith(prefix) for name in taken):
            prefix += "_J"
        return {pair: f"{prefix}{i}" for i, pair in enumerate(varying)}

    @cached_property
    def looped(self) -> Step:
        """The step of the other cell with these outputs."""
        return replace(self._jacobian.step, outputs={name: self.blocks[pair].id for pair, name in self.outputs.items()})

    @cached_property
    def _jacobian(self) -> Any:
        names = [a.name for a in self.of.closed.of_role("state")]
        return jacobian(self.of.closed, [(to, of) for to in names for of in names])


@dataclass(frozen=True)
class Tangent:
    """The kernel of a cell that computes its Jacobians together with its states."""

    cell: TangentCell
    kernel: Kernel = field(repr=False)

    def cotangents(self, bar: Any, names: Mapping[str, slice], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return the cotangents of the kernel's outputs from those of whole Jacobians. Shapes: bar (T, B, N, N)."""
        found = {}
        for (to, of), name in self.cell.outputs.items():
            part, kind = bar[..., names[to], names[of]], self.cell.blocks[to, of].kind
            if kind == "dense":
                found[name] = part.reshape(*bar.shape[:2], *shapes[to], *shapes[of])
            else:
                diagonal = np.diagonal(part, axis1=-2, axis2=-1)
                # In c I one number stands in every diagonal entry, so that its cotangent is their sum. Entries off
                # the diagonal are zero whatever it is, and count nothing.
                found[name] = diagonal.sum(-1) if kind == "scalar" else diagonal.reshape(*bar.shape[:2], *shapes[of])
        return found


@lru_cache(16)
def tangent(cell: Cell) -> Tangent:
    """Return the kernel of a cell and its Jacobians; loops that train ask for the same one again and again."""
    found = TangentCell(cell)
    return Tangent(found, compile_cell(found))
