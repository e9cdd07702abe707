"""Views of buffers and of views: index arithmetic that moves no element."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Axis, Buffer, View
from symbptt.ir.shape import Shape, Size, prod, size, symbols


def whole(buffer: Buffer) -> View:
    """Return a buffer as a view of all of it."""
    return View(buffer, (0,) * len(buffer.shape), tuple(Axis(n, (i,)) for i, n in enumerate(buffer.shape)))


def is_whole(view: View) -> bool:
    """Answer whether a view is all of its buffer, in its order."""
    return view == whole(view.buffer)


def point(view: View, axis: int, at: Size) -> View:
    """Return the part of a view at one index of an axis, which is dropped."""
    return View(view.buffer, _moved(view, axis, at), (*view.axes[:axis], *view.axes[axis + 1 :]))


def span(view: View, axis: int, start: Size, length: Size, step: int = 1) -> View:
    """Return a part of a view along an axis; with a negative step it runs backward from `start`."""
    old = view.axes[axis]
    new = Axis(length, old.of, size(old.step * step))
    return View(view.buffer, _moved(view, axis, start), (*view.axes[:axis], new, *view.axes[axis + 1 :]))


def permuted(view: View, order: Sequence[int]) -> View:
    """Return a view with its axes in another order."""
    return View(view.buffer, view.start, tuple(view.axes[i] for i in order))


def with_new(view: View, axis: int, length: Size = 1) -> View:
    """Return a view with one axis more, along which it repeats."""
    return View(view.buffer, view.start, (*view.axes[:axis], Axis(length), *view.axes[axis:]))


def repeated(view: View, shape: Shape) -> View:
    """Return a view broadcast to a larger shape: along axes that lack in front, and along those of size 1."""
    lead = len(shape) - len(view.axes)
    axes = [Axis(n) for n in shape[:lead]]
    # An axis that moves along no axis of the buffer repeats its element.
    axes += [a if a.length == n else Axis(n) for a, n in zip(view.axes, shape[lead:], strict=True)]
    return View(view.buffer, view.start, tuple(axes))


@cache
def stride(view: View, axis: Axis) -> Size:
    """Return by how many elements a step along an axis of a view moves in memory."""
    shape = view.buffer.shape
    return size(sum((axis.step * prod(shape[i + 1 :]) for i in axis.of), start=0))


def symbols_of(view: View) -> frozenset[sp.Symbol]:
    """Return the symbols of the places of a view; lengths of axes that repeat are left to broadcasting."""
    return symbols(*view.start, *(n for axis in view.axes if axis.of for n in (axis.length, axis.step)))


def split(axis: Axis, lengths: Sequence[Size]) -> tuple[Axis, ...]:
    """Return an axis as several, in row-major order."""
    axes, step = list[Axis](), axis.step
    # In row-major order the last of the new axes moves by the old step.
    for length in reversed(lengths):
        axes.append(Axis(1) if length == 1 else Axis(length, axis.of, step))  # an axis of one element never moves
        step = size(step * length)
    return tuple(reversed(axes))


def reshaped(view: View, shape: Shape) -> View | None:
    """Return a view in another shape where each of its axes becomes one or several; None where axes would have to be
    merged, for these need not lie in one line."""
    # From the left: row-major order keeps elements in place where each old axis is a product of new ones that follow
    # each other. Sizes are compared as polynomials, so that the answer holds for all values of them.
    left, axes = list(shape), list[Axis]()
    for i, axis in enumerate(view.axes):
        lengths, product = list[Size](), size(1)
        # The last axis also takes the trailing ones: an axis of size 1 changes no product.
        while product != axis.length or (i == len(view.axes) - 1 and left[:1] == [1]):
            if not left:
                return None
            lengths.append(left.pop(0))
            product = size(product * lengths[-1])
        axes += split(axis, lengths)
    axes += [Axis(1) for length in left if length == 1]
    return View(view.buffer, view.start, tuple(axes)) if len(axes) == len(shape) else None


def _moved(view: View, axis: int, by: Size) -> tuple[Size, ...]:
    """Return where the elements of a view at one index of an axis start."""
    old = view.axes[axis]
    # A diagonal axis moves along both axes of the buffer.
    return tuple(size(s + by * old.step) if i in old.of else s for i, s in enumerate(view.start))
