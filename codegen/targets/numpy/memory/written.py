"""A generated module, and its arguments as arrays without elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked, size_names
from symbptt.codegen.targets.numpy.memory.bare import Bare
from symbptt.codegen.targets.numpy.memory.extent import Extent, Length, expression, is_whole
from symbptt.codegen.targets.numpy.memory.reader import Reader
from symbptt.ir.shape import Shape, named_size
from symbptt.ir.step import Argument
from symbptt.language.truncation import Chunked, Window

T, B = (sp.Symbol(name, integer=True, nonnegative=True) for name in "TB")
"""The steps and the samples."""


@dataclass(frozen=True)
class Written:
    """The text of a module, by which modules are compared, and the placed program and the options from which it was
    written."""

    text: str
    program: Program = field(compare=False)
    head: Head | None = field(compare=False, default=None)
    truncation: Window | Chunked | None = field(compare=False, default=None)
    clip: float | None = None
    pieces: bool = False

    @property
    def at_every(self) -> bool:
        """True if there is a loss that is taken at every step; a truncated one is."""
        return self.head is not None and (self.head.at == "every" or self.truncation is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The named sizes, including those of a loss."""
        programs = [self.program] if self.head is None else [self.program, self.head.program]
        return tuple(sorted({name for p in programs for name in size_names(p)}))


@dataclass(frozen=True)
class Reading:
    """A reader with the sizes that it is given: the named ones, steps and samples, all numbers or all symbols."""

    reader: Reader
    sizes: Mapping[str, Any]
    lead: tuple[Any, Any]

    def array(self, shape: Shape, lead: tuple[Any, ...], dtype: Any) -> Bare:
        """Return an array of a shape, behind some sample axes; without a type it is of floats."""
        values = {named_size(name): expression(size) for name, size in self.sizes.items()}
        found = [size if isinstance(size, int) else size.subs(values) for size in shape]
        own = [int(x) if is_whole(x) else Extent(x, self.reader.blocks) for x in found]
        return Bare(self.reader, [*lead, *own], dtype)


def in_symbols(w: Written, r: Reader) -> Reading:
    """Return symbols for all sizes."""
    sizes = {name: Extent(named_size(name), r.blocks) for name in w.names}
    return Reading(r, sizes, (Extent(T, r.blocks), Extent(B, r.blocks)))


def in_numbers(w: Written, r: Reader, sizes: Mapping[str, int], steps: int, batch: int) -> Reading:
    """Return the given sizes."""
    return Reading(r, {name: sizes[name] for name in w.names}, (Length(steps), batch))


def arguments_of(w: Written, given: Reading) -> dict[str, Bare]:
    """Return arrays for all arguments of a module."""
    arguments = (*w.program.arguments, *(w.head.added if w.head is not None else ()))
    return {x.name: _array(w, given, x) for x in arguments if not is_baked(x)}


def _array(w: Written, given: Reading, x: Argument) -> Bare:
    integers = x.role == "index" or x.limit is not None
    return given.array(x.shape, _axes(w, given, x.role), np.int64 if integers else None)


def _axes(w: Written, given: Reading, role: str) -> tuple[Any, ...]:
    """Return the sample axes of an argument."""
    if role in ("input", "index") or (role == "target" and w.at_every):
        return given.lead
    return given.lead[1:] if role in ("state", "target") else ()
