"""Loops inside a step: one body that is repeated a fixed number of times."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbptt.errors import ShapeError, counted
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Repeat
from symbptt.language.array import Array, Recording, as_array, graph_of
from symbptt.language.number_kinds import TRUTH, kind_of
from symbptt.language.sizes import Dim
from symbptt.language.user_frames import cell_error

WRITE = "write sb.repeat(lambda z: np.tanh(U @ z + x), h, 4)"


def repeat(step: Callable[..., Any], z: Any, times: Any) -> Any:
    """Return z after so many rounds of z = step(z), or of z = step(z, k) with k the number of the round, from 0 on.

    Shapes: z is an array of any shape, or a tuple of arrays of any shapes; a step returns the same, and so does `repeat`.
    `times` is an integer, a constant that is one, or a size from `.shape`. The body may read all that is around it, as any
    function. It is one body in the equations and in modules: a loop of Python writes each round out.

    Raises: CellError where `times` is no such number, where the body returns something else than it takes, or where it
    branches on k or on z; ShapeError where it returns other shapes.

    Example: the fourth-order Runge-Kutta method with 4 substeps is `repeat(lambda h: h + dt / 4 * rk4(h), h, 4)`.
    """
    if not callable(step):
        raise cell_error(f"the first argument of repeat is the body, got {type(step).__name__}", WRITE)
    count, takes_number = _times(times), _takes_number(step)
    several = isinstance(z, tuple)
    graph = graph_of(z)
    if count == 0:
        return z
    if graph is None:
        # Plain numbers may meet values of a cell in the body: one round tells.
        first = step(z, 0) if takes_number else step(z)
        graph = graph_of(first)
        if graph is None:
            return _plainly(step, first, count, takes_number)
    if isinstance(graph, Recording):
        # A function of which a gradient is taken on numbers: all it reads is there, arrays to be read at the number of the round also.
        return _plainly(step, step(z, 0) if takes_number else step(z), count, takes_number)
    found = _Body(step, takes_number, several, graph, count).traced(tuple(z) if several else (z,))
    return found if several else found[0]


def _plainly(step: Callable[..., Any], z: Any, count: Any, takes_number: bool) -> Any:
    """Return what rounds from the second on make of z, computed with plain numbers."""
    for k in range(1, int(count)):
        z = step(z, k) if takes_number else step(z)
    return z


def _times(times: Any) -> shapes.Size:
    """Return the number of rounds."""
    value = times.value if isinstance(times, Array) else times
    if isinstance(value, Dim):
        return value.expr
    if isinstance(times, Array) and value is None:
        raise cell_error(
            "the number of rounds is a value that is known only when the cell runs",
            "give times= an integer, a Const with a default, or a size from .shape",
        )
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    if isinstance(value, float) and value.is_integer() and isinstance(times, Array):
        value = int(value)
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise cell_error(f"the number of rounds must be an integer, got {times!r}"[:200], WRITE)
    if value < 0:
        raise cell_error(f"the number of rounds is 0 or more, got {value}", WRITE)
    return int(value)


def _parameters(step: Callable[..., Any]) -> list[str]:
    """Return the names of a body's arguments; functions of NumPy written in C tell none."""
    try:
        return list(inspect.signature(step).parameters)
    except ValueError:
        return []


def _takes_number(step: Callable[..., Any]) -> bool:
    """Answer whether a body takes the number of the round beside z: it has two arguments without defaults."""
    try:
        parameters = inspect.signature(step).parameters.values()
    except ValueError:  # functions of NumPy written in C tell nothing: they are functions of z
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(needed) > 2 or (not needed and not starred and not any(p.kind in kinds for p in parameters)):
        raise cell_error(
            f"the body of repeat takes z, or z and the number of the round, and has {counted(len(needed), 'argument')}",
            "hand several values on as one tuple: def body(z): u, v = z; ...; return u, v",
        )
    return len(needed) == 2


class _Body:
    """The body of a repetition while it is traced."""

    def __init__(
        self, step: Callable[..., Any], takes_number: bool, several: bool, graph: Graph, count: shapes.Size
    ) -> None:
        self.step, self.takes_number, self.several = step, takes_number, several
        self.graph, self.count = graph, count

    def traced(self, z: Sequence[Any]) -> tuple[Array, ...]:
        """Return the values after the last round."""
        starts = [as_array(self.graph, part).id for part in z]
        leaves, number, following = self._once(starts)
        wider = [self._wider(start, new) for start, new in zip(starts, following, strict=True)]
        if wider != starts:
            # A start that NumPy would broadcast, such as 0.0, has the shape of what the body makes of it.
            starts = wider
            leaves, number, following = self._once(starts)
        for i, (leaf, new) in enumerate(zip(leaves, following, strict=True)):
            self._check(i, leaf, new)
        args = (*starts, *leaves, number, *following)
        return tuple(
            Array(
                self.graph, self.graph.add("repeat", args, self.graph.shape(leaf), Repeat(self.count, len(leaves), i))
            )
            for i, leaf in enumerate(leaves)
        )

    def _once(self, starts: Sequence[int]) -> tuple[list[int], int, list[int]]:
        """Return the leaves of what is carried, that of the round, and what the body makes of them."""
        g = self.graph
        # The number of nodes made so far is a name that no other repetition has, and the same in another trace.
        label = len(g)
        name = next(iter(_parameters(self.step)), "z")
        names = [f"{name}{i}" for i in range(len(starts))] if self.several else [name]
        leaves = [build.leaf(g, "carried", f"{label}.{i}.{names[i]}", g.shape(start)) for i, start in enumerate(starts)]
        number = build.leaf(g, "round", f"{label}", ())
        given = tuple(Array(g, leaf) for leaf in leaves)
        z = given if self.several else given[0]
        before = len(g)
        result = self.step(z, Array(g, number)) if self.takes_number else self.step(z)
        self._check_tables(number, before)
        return leaves, number, [as_array(g, part).id for part in self._parts(result, len(leaves))]

    def _parts(self, result: Any, wanted: int) -> Sequence[Any]:
        if result is None:
            raise cell_error("the body of repeat returns None", "does it end with return?")
        if self.several != isinstance(result, tuple):
            came = "a tuple" if isinstance(result, tuple) else "one value"
            raise cell_error(
                f"the body of repeat returns {came} for {'a tuple' if self.several else 'one value'}",
                "it returns what it takes: one array, or a tuple of as many arrays",
            )
        parts = result if self.several else (result,)
        if len(parts) != wanted:
            raise cell_error(
                f"the body of repeat returns {counted(len(parts), 'value')} for {wanted}",
                "it returns what it takes: a tuple of as many arrays",
            )
        return parts

    def _wider(self, start: int, new: int) -> int:
        mine, other = self.graph.shape(start), self.graph.shape(new)
        if mine == other:
            return start
        try:
            grown = shapes.broadcast(mine, other)
        except ShapeError:
            return start
        return build.expand(self.graph, start, other) if grown == other else start

    def _check(self, i: int, leaf: int, new: int) -> None:
        g = self.graph
        which = f"value {i} of the tuple" if self.several else "z"
        if g.shape(leaf) != g.shape(new):
            raise cell_error(
                f"the body of repeat makes {shapes.show(g.shape(new))} of {which}, of shape {shapes.show(g.shape(leaf))}",
                "what goes from round to round keeps its shape",
                ShapeError,
            )
        if kind_of(g, new) == TRUTH:
            raise cell_error(
                f"the body of repeat makes truth values of {which}", "write sb.where(condition, 1.0, 0.0) for a number"
            )

    def _check_tables(self, number: int, before: int) -> None:
        """Raises: ShapeError where an array that is read at the number of the round may have fewer entries than rounds."""
        for id in range(before, len(self.graph)):
            node = self.graph[id]
            if node.family == "gather" and node.args[1] == number:
                whole = node.shape if node.attrs.kind == "scatter" else self.graph.shape(node.args[0])
                length = whole[node.attrs.axis]
                if shapes.sign_of(shapes.size(length - self.count)) not in (0, 1):
                    raise cell_error(
                        f"an axis of size {shapes.size_text(length)} is read at the number of the round, which goes to "
                        f"{shapes.size_text(self.count)}",
                        "repeat as often as the axis has entries: times=W.shape[0]",
                        ShapeError,
                    )
