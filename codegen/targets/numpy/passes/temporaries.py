"""New temporaries of a function that a pass rewrites."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from symbptt.codegen.loop_ir.nodes import BLOCK, Axis, Buffer, Function, Sharpen, View, indices, walk, writes
from symbptt.codegen.loop_ir.rewrite import with_buffers
from symbptt.codegen.lower.frame import COUNT
from symbptt.ir.naming import unique
from symbptt.ir.shape import Shape, Size


@dataclass
class Temporaries:
    """The buffers of a function, to which a pass adds temporaries."""

    function: Function
    new: list[Buffer] = field(default_factory=list)
    taken: set[str] = field(init=False)

    def __post_init__(self) -> None:
        f = self.function
        self.taken = {b.name for b in f.declared} | {str(x) for x in f.sizes} | indices(f.body)

    @property
    def all(self) -> tuple[Buffer, ...]:
        return (*self.function.buffers, *self.new)

    def buffer(self, shape: Shape, dtype: str = "float") -> Buffer:
        """Return a new temporary, long enough for the longest block where it has the steps of one."""
        name = unique("is_s" if dtype == "bool" else "s", self.taken)
        self.taken.add(name)
        self.new.append(Buffer(name, tuple(map(_longest, shape)), "temporary", dtype))
        return self.new[-1]

    def like(self, out: View, moving: Collection[int] | None = None, dtype: str = "float") -> View:
        """Return a temporary that lies in memory as `out` does and repeats along the axes that are not `moving`."""
        # In the same order in memory as what it becomes a part of: NumPy then runs through both in one row, and need
        # not step through one of them across its rows.
        order = sorted(range(len(out.axes)), key=lambda i: (out.axes[i].of[:1], i))
        order = [i for i in order if moving is None or i in moving]
        buffer = self.buffer(tuple(out.axes[i].length for i in order), dtype)
        axes = tuple(
            Axis(axis.length, (order.index(i),)) if i in order else Axis(axis.length) for i, axis in enumerate(out.axes)
        )
        return View(buffer, (0,) * len(order), axes)


def _longest(length: Size) -> Size:
    return BLOCK if length == COUNT else length


def numbered(f: Function) -> Function:
    """Return a function whose temporaries without a name of their own are counted without gaps."""
    # Those of expressions that are evaluated only if they are needed have no line of their own, and come last.
    late = {view.buffer for s in walk(f.body) if isinstance(s, Sharpen) for x in walk(s.body) for view in writes(x)}
    named = [b for b in f.buffers if b.space == "temporary" and _stem(b)]
    of = {b: _stem(b) for b in sorted(named, key=late.__contains__)}
    taken = {b.name for b in f.declared if b not in of} | {str(x) for x in f.sizes} | indices(f.body)
    new: dict[Buffer, Buffer] = {}
    for b, stem in of.items():
        name = unique(stem, taken)
        taken.add(name)
        new[b] = replace(b, name=name)
    return with_buffers(f, new)


def _stem(b: Buffer) -> str:
    """Return "s" or "is_s" for a buffer that is called so, or so with a number."""
    stem, _, number = b.name.rpartition("_")
    stem = stem if number.isdecimal() else b.name
    return stem if stem in ("s", "is_s") else ""
