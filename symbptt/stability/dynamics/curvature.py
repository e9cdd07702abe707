"""A bound on the change of a step's Jacobian within a ball: the second derivative, symbolic, bounded by intervals.

For example F(s) = tanh(w s): F'' = −2 w² t (1 − t²) with t = tanh(w s). Over the ball |s| ≤ r the interval of t is
[−tanh(w r), tanh(w r)], and K is the largest |F''| there. It tends to 0 with r, while the bound over all s is 0.77 w².
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.autodiff.block import Block
from symbptt.autodiff.jacobian import jacobian
from symbptt.ir.node import Node, placeholder
from symbptt.ir.step import Step
from symbptt.language.cell import Cell
from symbptt.language.folding import folded
from symbptt.stability.algebra import interval
from symbptt.stability.algebra.interval import Interval, between, exactly
from symbptt.stability.algebra.polynomials import Local, local
from symbptt.stability.algebra.softmax import with_held_maxima
from symbptt.stability.proofs.enclosure import Enclosure, enclose

Arrays = Mapping[str, Any]
LARGEST = 2**22
"""Entries of the second derivative at the most."""
ROUNDING = 1e-12
"""Of the norms of nonnegative matrices, relative."""


@dataclass(frozen=True)
class Curvature:
    """The first and the second derivative of a step under constant inputs, ready to be enclosed over boxes of states.

    `first` and `second` are the blocks by (to, of) and (to, of, by), nodes of one graph; `shapes` those of the states.
    """

    local: Local
    first: dict[tuple[str, str], Block] = field(repr=False)
    second: dict[tuple[str, str, str], Block] = field(repr=False)
    leaves: dict[str, Interval] = field(repr=False)
    sizes: dict[str, int]
    shapes: dict[str, tuple[int, ...]]

    @property
    def dimension(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def enclosure(self, point: Any, radius: float) -> Enclosure:
        """Return intervals of all values over the box around the ball. Shapes: point (N,)."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            part = np.asarray(point[start : start + int(np.prod(shape))], np.float64).reshape(shape)
            start += part.size
            low, high = (
                (np.nextafter(part - radius, -np.inf), np.nextafter(part + radius, np.inf)) if radius else (part, part)
            )
            found[name] = between(low, high, shape)
        with np.errstate(all="ignore"):
            return enclose(self.local, {**self.leaves, **found}, self.sizes)

    def lipschitz(self, point: Any, radius: float) -> float:
        """Return K with ‖J(x) − J(y)‖₂ ≤ K ‖x − y‖ for all x, y within `radius` of a point; infinite where none is known.

        With T ≥ |D²F| entry by entry, K is the smaller of the spectral norms of T as a matrix (i, jk) and (ij, k).
        """
        within = self.enclosure(point, radius)
        if not is_smooth(self.local, within):
            return np.inf
        size = self.dimension
        whole = np.zeros((size, size, size))
        spans = _spans(self.shapes)
        for (to, of, by), block in self.second.items():
            whole[spans[to], spans[of], spans[by]] = self._entries(self.first[to, of], block, within, (to, of, by))
        if not np.isfinite(whole).all():
            return np.inf
        # ‖D²F[u]‖ ≤ ‖T‖ ‖u‖ for either unfolding of T into a matrix; which is smaller depends on the cell.
        norms = [np.linalg.norm(m, 2) for m in (whole.reshape(size, -1), whole.reshape(-1, size))]
        return float(min(norms) * (1 + ROUNDING * size))

    def _entries(self, first: Block, second: Block, within: Enclosure, names: tuple[str, str, str]) -> Any:
        """Bounds on |∂²to/∂of ∂by| as an array (to, of, by) of flat states."""
        to, of, by = (int(np.prod(self.shapes[name])) for name in names)
        if second.kind == "zero":
            return np.zeros((to, of, by))
        count = {"scalar": 1, "diagonal": of, "dense": to * of}[first.kind]
        rows = _dense(second, within, (count, by))
        if first.kind == "dense":
            return rows.reshape(to, of, by)
        found = np.zeros((to, of, by))
        # The block of the Jacobian is diagonal, so that only entries (i, i, k) of the second derivative are not zero.
        found[np.arange(to), np.arange(to)] = rows
        return found

    def jacobian(self, point: Any) -> tuple[Any, Any]:
        """Return the Jacobian at a point as midpoints and radii (N, N): all rounding is within."""
        within, spans = self.enclosure(point, 0.0), _spans(self.shapes)
        low, high = np.zeros((2, self.dimension, self.dimension))
        for (to, of), block in self.first.items():
            shape = low[spans[to], spans[of]].shape
            low[spans[to], spans[of]], high[spans[to], spans[of]] = _ends(block, within, shape)
        # The midpoint is rounded, so that the larger of its distances to both ends is the radius.
        middle = low / 2 + high / 2
        return middle, np.where(low == high, 0.0, np.nextafter(np.maximum(high - middle, middle - low), np.inf))

    def residual(self, point: Any) -> float:
        """Return a bound on ‖F(s) − s‖₂ at a point s: all rounding is within."""
        within, spans, size = self.enclosure(point, 0.0), _spans(self.shapes), self.dimension
        low, high = np.zeros((2, size))
        for name, shape in self.shapes.items():
            here = within.nodes[self.local.step.next[name]]
            for ends, end in ((low, here.lo), (high, here.hi)):
                ends[spans[name]] = np.broadcast_to(end, shape).ravel()
        apart = interval.add(Interval(low, high), exactly(-np.asarray(point, np.float64)))
        return float(np.linalg.norm(apart.size) * (1 + ROUNDING))


def curvature(
    cell: Cell, params: Arrays, inputs: Arrays, sizes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> Curvature | None:
    """Return the second derivative of a cell under constant inputs; None where it is too large, or where a function's derivative
    is declared and not its own, so that the Jacobian is none of the step. Shapes: inputs as annotated."""
    size = sum(int(np.prod(shape)) for shape in shapes.values())
    if size**3 > LARGEST or _is_declared(folded(cell.closed)):
        return None
    of, first, second = _derivatives(cell)
    known = {a.name: a.default for a in cell.arguments if a.role == "const" and a.default is not None}
    given = {**known, **params, **inputs}
    leaves = {
        a.name: exactly(given[a.name]) for a in cell.arguments if a.name in given and a.role not in ("state", "index")
    }
    return Curvature(of, first, second, leaves, dict(sizes), dict(shapes))


@lru_cache(maxsize=16)
def _derivatives(cell: Cell) -> tuple[Local, dict[tuple[str, str], Block], dict[tuple[str, str, str], Block]]:
    names = list(cell.closed.next)
    once = jacobian(with_held_maxima(cell.closed), [(to, of) for to in names for of in names])
    nodes = {f"{to} {of}": block.id for (to, of), block in once.blocks.items() if block.id >= 0}
    twice = jacobian(replace(once.step, outputs=nodes), [(value, by) for value in nodes for by in names])
    second = {(*_pair(value), by): block for (value, by), block in twice.blocks.items()}
    return local(twice.step), once.blocks, second


def _pair(value: str) -> tuple[str, str]:
    to, of = value.split(" ")
    return to, of


def _is_declared(step: Step) -> bool:
    """Answer whether a state passes a function with a declared derivative; functions that are whole do not change with their constants."""
    carried = step.graph.descendants(leaf.id for leaf in step.graph.leaves("state"))
    read = step.graph.ancestors(step.next.values())
    nodes = [step.graph[id] for id in set(carried) & set(read)]
    return any(
        getattr(part.func, "declared", False) or getattr(part.func, "replaced", False)
        for node in nodes
        if node.family == "map"
        for part in _functions(node.attrs.expr)
    )


def is_smooth(of: Local, within: Enclosure) -> bool:
    """Return whether no condition, sign or choice that states enter changes over a box, in the step and in its Jacobian: then
    each is differentiable there, and their derivatives are the symbolic ones."""
    wanted = set(of.graph.ancestors([*of.step.next.values(), *of.step.outputs.values()])) & of.recurrent
    return all(_is_certain(part, ranges) for id in wanted for part, ranges in _choices(of.graph[id], within))


def _choices(node: Node, within: Enclosure) -> Iterator[tuple[sp.Expr, dict[sp.Symbol, Interval]]]:
    if node.family == "map":
        ranges = {placeholder(i): within.nodes[arg] for i, arg in enumerate(node.args)}
        for part in _functions(node.attrs.expr):
            if getattr(part.func, "flat", False) and not ops.is_held(part.func):  # of maxima that change nothing
                yield part, ranges
            elif part.func.__name__ == "where":
                yield part.args[0], ranges


def _functions(expr: sp.Expr) -> Iterator[sp.Expr]:
    return (part for part in sp.preorder_traversal(expr) if part.is_Function)


def _is_certain(part: sp.Expr, ranges: Mapping[sp.Symbol, Interval]) -> bool:
    """Answer whether a value is one number over the box, or, a condition, never zero."""
    found = interval.evaluate(part, ranges)
    return (
        bool(np.all((found.lo == found.hi) | (found.lo > 0) | (found.hi < 0)))
        if part.func.__name__ not in JUMPS
        else found.is_exact
    )


JUMPS = ("sign", "floor")


def _spans(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, slice]:
    found, start = {}, 0
    for name, shape in shapes.items():
        found[name] = slice(start, start + int(np.prod(shape)))
        start = found[name].stop
    return found


def _dense(block: Block, within: Enclosure, shape: tuple[int, int]) -> Any:
    """Bounds on the absolute entries of a block as a matrix."""
    low, high = _ends(block, within, shape)
    return np.maximum(np.abs(low), np.abs(high))


def _ends(block: Block, within: Enclosure, shape: tuple[int, int]) -> tuple[Any, Any]:
    """The ends of the entries of a block as matrices."""
    if block.kind == "zero":
        return np.zeros(shape), np.zeros(shape)
    if block.kind == "identity":
        return np.eye(*shape), np.eye(*shape)
    here = within.nodes[block.id]
    if block.kind == "dense":
        return np.reshape(here.lo, shape), np.reshape(here.hi, shape)
    low, high = (np.where(np.eye(*shape) > 0, np.reshape(end, (-1, 1)), 0.0) for end in (here.lo, here.hi))
    return low, high
