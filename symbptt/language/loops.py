"""Loops inside a step: one body that is repeated a fixed number of times, or until its value stays the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symbptt import ops
from symbptt.errors import ShapeError, counted
from symbptt.ir import build
from symbptt.ir import shape as shapes
from symbptt.ir.graph import Graph
from symbptt.ir.node import Repeat, Settling, placeholder
from symbptt.ir.rounds import GRADIENT_CURE, NO_GRADIENT
from symbptt.language.array import Array, Recording, as_array, body_of, graph_of
from symbptt.language.number_kinds import TRUTH, kind_of
from symbptt.language.sizes import Dim
from symbptt.language.user_frames import cell_error
from symbptt.settling import settled_plainly

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
    if graph is None and _are_symbolic_pairs(z):
        return _of_pairs(step, z, times, takes_number)
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


def _are_symbolic_pairs(z: Any) -> bool:
    parts = z if isinstance(z, tuple) else (z,)
    return any(hasattr(x, "elementwise_of_pairs") and graph_of(x.re) is not None for x in parts)


def _of_pairs(step: Callable[..., Any], z: Any, times: Any, takes_number: bool) -> Any:
    """Return the rounds of complex numbers that are pairs of symbolic arrays, as rounds of these arrays."""
    several = isinstance(z, tuple)
    starts = z if several else (z,)
    pair = type(next(x for x in starts if hasattr(x, "elementwise_of_pairs")))

    def once(parts: Sequence[Any], k: Any) -> list[Any]:
        given = tuple(parts) if several else parts[0]
        new = step(given, k) if takes_number else step(given)
        return [x if isinstance(x, pair) else pair(x) for x in (new if several else (new,))]

    # What begins as a real number may become a complex one in the first round, and stays one.
    are_complex = [
        getattr(x, "im", None) is not None or y.im is not None for x, y in zip(starts, once(starts, 0), strict=True)
    ]

    def flat(parts: Sequence[Any]) -> tuple[Any, ...]:
        found = []
        for x, is_complex in zip(parts, are_complex, strict=True):
            re, im = (x.re, x.im) if isinstance(x, pair) else (x, None)
            found += [re, np.zeros_like(re) * 1.0 if im is None else im] if is_complex else [re]
        return tuple(found)

    def whole(given: Sequence[Any]) -> list[Any]:
        left = iter(given)
        return [pair(next(left), next(left)) if is_complex else pair(next(left)) for is_complex in are_complex]

    def flat_step(given: Any, k: Any) -> Any:
        return flat(once(whole(given), k))

    found = whole(repeat(flat_step, flat(starts), times))
    return tuple(found) if several else found[0]


FIXED = "write sb.fixed_point(lambda z: np.tanh(U @ z + x), h, tolerance=1e-10, most=500)"


def fixed_point(step: Callable[..., Any], z: Any, tolerance: float = 1e-12, most: int = 1000) -> Any:
    """Return the fixed point of a step, z = step(z): z after so many rounds of z = step(z) that no entry changes by more than `tolerance`.

    Shapes: z, where the rounds begin, is an array of any shape, or a tuple of arrays of any shapes; a step returns the same, and so
    does `fixed_point`. The body may read all that is around it.

    Its gradient is that of the equation z = step(z), by the implicit function theorem, not that of the rounds: λ = dz + (∂step/∂z)ᵀ λ
    is found by rounds of its own, `most` at most, to a change of `tolerance` times its largest entry, for λ has the scale of the loss.
    What the step reads is given what one round from z on gives of λ. So nothing is kept of the rounds, and where they begin has no
    gradient.

    In modules all samples go through the rounds together, until the last one has settled. So a sample may depend on the others of its
    batch as far as `tolerance` goes. What rounding alone changes, 32 units in the last place of the largest entry, counts as no
    change, so that float32 settles too. On plain arrays rounds go on until the digits stay the same, complex ones also.

    Raises: ArgumentError when it runs, where the rounds do not settle within `most`, with the step, the sample and the last change;
    CellError where the body returns something else than it takes, and for a `tolerance` or a number of rounds that is none.

    Source: Bai, Kolter, Koltun 2019, "Deep equilibrium models", theorem 1; Pineda 1987, "Generalization of back-propagation to recurrent
    neural networks".

    Example: `fixed_point(lambda z: np.tanh(U @ z + W @ x + b), h)` is a layer of infinite depth.
    """
    if not callable(step):
        raise cell_error(f"the first argument of fixed_point is the body, got {type(step).__name__}", FIXED)
    limit, count = _tolerance(tolerance), _most(most)
    if _takes_number(step, "fixed_point"):
        raise cell_error("the body of fixed_point takes z alone: its rounds have no number that it may read", FIXED)
    several = isinstance(z, tuple)
    graph = graph_of(z)
    if graph is None:
        # Plain numbers may meet values of a cell in the body: one round tells.
        graph = graph_of(step(z))
        if graph is None:
            return settled_plainly(step, z, limit, count)
    if isinstance(graph, Recording):
        raise cell_error(NO_GRADIENT, GRADIENT_CURE)
    found = _Body(step, False, several, graph, count, limit).traced(tuple(z) if several else (z,))
    return found if several else found[0]


def _tolerance(tolerance: Any) -> float:
    """Return the change that counts as none."""
    value = tolerance.value if isinstance(tolerance, Array) else tolerance
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not 0 <= value < np.inf:
        raise cell_error(f"the tolerance of fixed_point is a number of 0 or more, got {tolerance!r}"[:200], FIXED)
    return float(value)


def _most(most: Any) -> int:
    """Return the greatest number of rounds."""
    count = _times(most)
    if not isinstance(count, int) or count < 1:
        raise cell_error(
            f"the greatest number of rounds of fixed_point is an integer of 1 or more, got {most!r}"[:200], FIXED
        )
    return count


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


def _takes_number(step: Callable[..., Any], name: str = "repeat") -> bool:
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
            f"the body of {name} takes z, or z and the number of the round, and has {counted(len(needed), 'argument')}",
            "hand several values on as one tuple: def body(z): u, v = z; ...; return u, v",
        )
    return len(needed) == 2


class _Body:
    """The body of a repetition while it is traced."""

    def __init__(
        self,
        step: Callable[..., Any],
        takes_number: bool,
        several: bool,
        graph: Graph,
        count: shapes.Size,
        tolerance: float | None = None,
    ) -> None:
        self.step, self.takes_number, self.several = step, takes_number, several
        self.graph, self.count, self.tolerance = graph, count, tolerance
        self.name = "repeat" if tolerance is None else "fixed_point"

    def traced(self, z: Sequence[Any]) -> tuple[Array, ...]:
        """Return the values after the last round."""
        starts = [as_array(self.graph, part).id for part in z]
        leaves, number, following = self._once(starts)
        wider = [self._wider(start, new) for start, new in zip(starts, following, strict=True)]
        if wider != starts:
            # A start that NumPy would broadcast, such as 0.0, has the shape of what the body makes of it, and its kind.
            starts = wider
            leaves, number, following = self._once(starts)
        for i, (leaf, new) in enumerate(zip(leaves, following, strict=True)):
            self._check(i, leaf, new)
        args = (*starts, *leaves, number, *following)
        return tuple(
            Array(self.graph, self.graph.add("repeat", args, self.graph.shape(leaf), self._of(len(leaves), i)))
            for i, leaf in enumerate(leaves)
        )

    def _of(self, carried: int, out: int) -> Repeat:
        if self.tolerance is None:
            return Repeat(self.count, carried, out)
        return Settling(self.count, carried, out, self.tolerance)

    def _once(self, starts: Sequence[int]) -> tuple[list[int], int, list[int]]:
        """Return the leaves of what is carried, that of the round, and what the body makes of them."""
        g = self.graph
        # The number of nodes made so far is a name that no other repetition has, and the same in another trace.
        label = len(g)
        name = next(iter(_parameters(self.step)), "z")
        names = [f"{name}{i}" for i in range(len(starts))] if self.several else [name]
        leaves = [
            build.leaf(g, "carried", f"{label}.{i}.{names[i]}", g.shape(start), g.is_complex(start))
            for i, start in enumerate(starts)
        ]
        number = build.leaf(g, "round", f"{label}", ())
        before = len(g)
        with body_of(f"sb.{self.name}"):
            given = tuple(Array(g, leaf) for leaf in leaves)
            z = given if self.several else given[0]
            result = self.step(z, Array(g, number)) if self.takes_number else self.step(z)
        self._check_tables(number, before)
        self._check_inner(leaves)
        return leaves, number, [as_array(g, part).id for part in self._parts(result, len(leaves))]

    def _parts(self, result: Any, wanted: int) -> Sequence[Any]:
        if result is None:
            raise cell_error(f"the body of {self.name} returns None", "does it end with return?")
        if self.several != isinstance(result, tuple):
            came = "a tuple" if isinstance(result, tuple) else "one value"
            raise cell_error(
                f"the body of {self.name} returns {came} for {'a tuple' if self.several else 'one value'}",
                "it returns what it takes: one array, or a tuple of as many arrays",
            )
        parts = result if self.several else (result,)
        if len(parts) != wanted:
            raise cell_error(
                f"the body of {self.name} returns {counted(len(parts), 'value')} for {wanted}",
                "it returns what it takes: a tuple of as many arrays",
            )
        return parts

    def _wider(self, start: int, new: int) -> int:
        mine, other = self.graph.shape(start), self.graph.shape(new)
        if self.graph.is_complex(new) and not self.graph.is_complex(start):
            start = build.map_(self.graph, ops.as_complex(placeholder(0)), (start,))
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
                f"the body of {self.name} makes {shapes.show(g.shape(new))} of {which}, of shape {shapes.show(g.shape(leaf))}",
                "what goes from round to round keeps its shape",
                ShapeError,
            )
        if g.is_complex(leaf) and not g.is_complex(new):
            raise cell_error(
                f"the body of {self.name} makes real numbers of {which}, which is complex",
                "what goes from round to round is of one kind: return it + 0j, or begin with real numbers",
            )
        if kind_of(g, new) == TRUTH:
            raise cell_error(
                f"the body of {self.name} makes truth values of {which}",
                "write sb.where(condition, 1.0, 0.0) for a number",
            )

    def _check_inner(self, leaves: Sequence[int]) -> None:
        """Raises: CellError where a body that settles has another one inside, which changes with it."""
        inside = (self.graph[id] for id in self.graph.descendants(leaves))
        if self.tolerance is not None and any(isinstance(node.attrs, Settling) for node in inside):
            raise cell_error(
                "the body of fixed_point has a fixed point inside that changes with it",
                "let both settle together: sb.fixed_point(step, (u, v)), where the step returns both",
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
