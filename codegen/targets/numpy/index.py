"""Views as NumPy text: an index into an array, then a reshape, a transposition, new axes for those that repeat.

A view is written in two parts: its *base*, which is what the index takes of the buffer, axes in the order of the buffer, and
the *arrangement* of the base's axes. Of a view that moves with a loop the base may keep the whole axis along which it moves,
so that one array serves all rounds: of `gates[t, 0]` it is `gates[:, 0]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, cmp_to_key
from itertools import pairwise

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Axis, View
from symbptt.codegen.loop_ir.order import rank
from symbptt.codegen.loop_ir.views import stride
from symbptt.codegen.lower.frame import COUNT, LO
from symbptt.codegen.targets.numpy.grouping import kind
from symbptt.codegen.targets.python.text import ATOM, PRODUCT, SUM, Written, bracket, listed, tightness
from symbptt.ir.shape import Shape, Size, exact_quotient, named_size, prod, sign_of, size
from symbptt.ir.shape import size_text as plain_text

HI = sp.Symbol("hi", integer=True, nonnegative=True)
"""The step behind a block."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Shown:
    """A view as a call reads it; with `groups` each group of its axes is one, and one of size 1 where a group is empty.

    Without groups axes that repeat are left to broadcasting.
    """

    view: View
    groups: Groups | None = None


@dataclass(frozen=True)
class Names:
    """The variables of named sizes whose name is taken."""

    renamed: tuple[tuple[str, str], ...] = ()

    @cached_property
    def instead(self) -> dict[sp.Symbol, sp.Symbol]:
        return {COUNT: sp.Symbol("K")} | {named_size(old): sp.Symbol(new) for old, new in self.renamed}

    def size(self, value: Size, least: int = SUM) -> str:
        """Return a size as Python text, in brackets where it binds less tightly than `least`."""
        return bracket(_written(value, self), least)

    def written(self, value: Size) -> Written:
        """Return a size as Python text, and how tightly it binds."""
        return _written(value, self)

    def shape(self, shape: Shape) -> str:
        return f"({listed(map(self.size, shape))})"


@cache
def _written(value: Size, names: Names) -> Written:
    if isinstance(value, int):
        return str(value), ATOM if value >= 0 else SUM
    if {LO, COUNT} <= value.free_symbols:
        value = sp.expand(value.xreplace({COUNT: HI - LO}))
    text = plain_text(value.xreplace(names.instead))
    return text, tightness(text)


def names_of(renamed: Mapping[str, str]) -> Names:
    return Names(tuple(sorted(renamed.items())))


def merges(view: View, axes: Sequence[int]) -> bool:
    """Answer whether axes of a view are one axis in memory, in this order."""
    there = [i for i in axes if view.axes[i].length != 1]
    return all(
        stride(view, view.axes[i]) == size(view.axes[j].length * stride(view, view.axes[j])) for i, j in pairwise(there)
    )


@dataclass(frozen=True)
class Base:
    """What an index takes of a buffer: the text of the index for each axis of the buffer, the lengths of the axes where
    one axis of the buffer is several, the order in which the view's axes come (None for one that repeats), and the place
    of the axis that moves, which is as long as `whole`. `shape` is the one in which the buffer is seen before the index, where that is
    another."""

    index: tuple[str, ...]
    split: tuple[Size, ...] | None
    order: tuple[int | None, ...]
    moving: int | None
    diagonal: str = ""
    shape: tuple[Size, ...] | None = None
    whole: Size = 1


@cache
def base_of(view: View, names: Names, moving: int | None = None) -> Base:
    """Return the base of a view; the axis `moving` of the buffer is kept whole."""
    # An index of integers and slices alone gives a view; a list of numbers would give a copy, into which nothing
    # could be written. All views of the loop IR are affine, so that slices suffice.
    index, lengths, order, seen = list[str](), list[Size](), dict[int, int](), list[Size]()
    place, is_split, is_nested = None, False, False
    for i, whole in enumerate(view.buffer.shape):
        own = sorted((k for k, axis in enumerate(view.axes) if i in axis.of), key=lambda k: (-rank(view.axes[k]), k))
        if i == moving:
            index.append(":")
            place = len(lengths)
            lengths.append(whole)
            seen.append(whole)
            for k in own:
                order[k] = place
            continue
        own = _by_step(view, [k for k in own if view.axes[k].length != 1]) if len(own) > 1 else own
        axes = [view.axes[k] for k in own]
        if _are_in_line(axes):
            index.append(_part(view, i, axes, names))
            seen.append(whole)
            is_split |= len(own) > 1
        else:
            is_nested = True
            levels, parts = _nested(view, i, axes, names)
            seen += levels
            index += parts
        for k in own:
            order.setdefault(k, len(lengths))
            lengths.append(view.axes[k].length)
    found = tuple(order.get(k) for k in range(len(view.axes)))
    shape = tuple(seen) if is_nested else None
    split, length = tuple(lengths) if is_split else None, 1 if moving is None else view.buffer.shape[moving]
    return Base(_short(index), split, found, place, _diagonal(view), shape, length)


def _by_step(view: View, own: list[int]) -> list[int]:
    """Return axes along one axis of a buffer, those with longer steps first."""

    def is_longer(a: int, b: int) -> int:
        gap = size(_stride(view.axes[b]) - _stride(view.axes[a]))
        return sign_of(gap) or 0

    return sorted(own, key=cmp_to_key(is_longer))


def _are_in_line(axes: Sequence[Axis]) -> bool:
    """Answer whether axes along one axis of a buffer see it without gaps, row behind row."""
    return all(a.step == size(b.length * b.step) for a, b in pairwise(axes))


def _nested(view: View, i: int, axes: Sequence[Axis], names: Names) -> tuple[list[Size], list[str]]:
    """Return the lengths of the axes as which one axis of a buffer is seen, and the index into each: of 4 rows of 5
    elements the first two columns are `[:, :2]` of the axis as (4, 5)."""
    levels, parts, rest, whole = list[Size](), list[str](), view.start[i], view.buffer.shape[i]
    for axis in axes:
        stride = _stride(axis)
        levels.append(exact_quotient(whole, stride))
        at, rest = _divided(rest, stride)
        parts.append(_span(at, axis.length, 1 if stride == axis.step else -1, levels[-1], names))
        whole = stride
    if whole != 1:
        levels.append(whole)
        parts.append(names.size(rest))
    return levels, parts


def _stride(axis: Axis) -> Size:
    """Return by how many elements the places along an axis lie apart, whether it rises or falls."""
    return size(-axis.step) if sign_of(axis.step) == -1 else axis.step


def _span(start: Size, length: Size, step: Size, whole: Size, names: Names) -> str:
    """Return the slice of so many elements from one on, `step` apart, of an axis of `whole` elements.

    Example: of 6 elements every other one but the last, 2 from 0 on, is `:3:2`.
    """
    last, beyond = size(start + (length - 1) * step), size(start + length * step)
    if isinstance(step, int) and step < 0:
        first = "" if size(start + 1) == whole else names.size(start)
        return f"{first}:{_lower(last, beyond, whole, names)}:{step}"
    end, first = size(last + 1), "" if start == 0 else names.size(start)
    # Of no element the last would lie before the first, and its successor might be negative, which counts from the end.
    stop = "" if end == whole else names.size(end if sign_of(end) in (0, 1) else beyond)
    return f"{first}:{stop}" + (f":{names.size(step)}" if step != 1 else "")


def _lower(last: Size, beyond: Size, whole: Size, names: Names) -> str:
    """Return the stop of a slice that falls. Down to element 0 it is left out, for -1 would mean the last element; where that depends
    on sizes it counts from the end, where what lies before element 0 is known as such."""
    if last == 0:
        return ""
    return names.size(size(last - 1) if sign_of(size(last - 1)) in (0, 1) else size(beyond - whole))


def _divided(value: Size, by: Size) -> tuple[Size, Size]:
    """Return the quotient and the remainder of a place in a row, the remainder not negative."""
    if isinstance(value, int) and isinstance(by, int):
        return divmod(value, by)
    if isinstance(by, int):
        constant = int(sp.Poly(value).as_expr().as_coeff_Add()[0])
        rest: Size = constant % by
    else:
        rest = size(sp.reduced(sp.sympify(value), [by])[1]) if sp.sympify(value).free_symbols else value
        rest = size(rest + by) if sign_of(rest) == -1 else rest
    return exact_quotient(size(value - rest), by), rest


def _diagonal(view: View) -> str:
    """Return the subscripts by which `einsum` looks at a diagonal, where one axis moves along several of the buffer."""
    if all(len(axis.of) < 2 for axis in view.axes):
        return ""
    letters = {i: LETTERS[k] for k, axis in enumerate(view.axes) for i in axis.of}
    return "".join(letters[i] for i in sorted(letters)) + "->" + LETTERS[: len(view.axes)]


def _short(index: list[str]) -> tuple[str, ...]:
    """Return an index without what stands for whole axes at its end, or with dots for those at its begin, where it goes to
    the last axis."""
    rank = len(index)
    if index and not any(":" in part for part in index):
        return (*index, "...")  # an array without axes, which can be written into
    while index and index[-1] == ":":
        index.pop()
    first = next((i for i, part in enumerate(index) if part != ":"), 0)
    return ("...", *index[first:]) if first > 1 and first + 1 == len(index) == rank else tuple(index)


def _part(view: View, i: int, own: Sequence[Axis], names: Names) -> str:
    start, whole = view.start[i], view.buffer.shape[i]
    if not own:
        return names.size(start)
    length, step = prod([axis.length for axis in own]), own[-1].step
    if (start, length, step) == (0, whole, 1):
        return ":"
    return _span(start, length, step, whole, names)


def based(name: str, base: Base, names: Names) -> str:
    """Return the text of a base."""
    if base.shape is not None:
        name = f"{name}.reshape({', '.join(names.size(n) for n in base.shape)})"
    text = f"{name}[{', '.join(base.index)}]" if base.index else name
    if base.split is not None:
        text += f".reshape({', '.join(names.size(n) for n in base.split)})"
    return f'np.einsum("{base.diagonal}", {text})' if base.diagonal else text


def arranged(text: str, view: View, base: Base, groups: Groups | None, names: Names, lead: bool = False) -> str:
    """Return the text of a view from that of its base; with `lead` the axis that moves stays, as the first one."""
    if base.diagonal:
        return text
    # First the axes change places, then new ones come, then groups of axes are joined by a reshape: only the last may
    # have to copy, and it does so where the grouped axes do not lie in one line.
    order = [i for i in base.order if i is not None]
    turned = _turned_matrix(view, order, groups)
    if turned is not None and not lead:
        # A matrix that is read the other way round is reshaped first, as it lies.
        rows, columns = (_joint(view, group, names) for group in turned)
        return f"{text}.reshape({rows}, {columns}).T"
    if lead:
        assert base.moving is not None
        order.insert(0, base.moving)
    text = _transposed(text, order)
    new = [i is None for i in base.order]
    if groups is None:
        return text + _new_axes(new, lead)
    shown = [i for i, is_new in enumerate(new) if not is_new]
    alone = view.buffer.space in ("constant", "scalar") and not view.buffer.shape and view.buffer.dtype != "bool"
    if alone and view.axes:
        # A number by itself has a type of its own, which an array of it would keep; one of Python's has no axes to add.
        text = f"np.asarray({text}, {kind(view.buffer)})"
    if any(axis.length != 1 for axis, is_new in zip(view.axes, new, strict=True) if is_new):
        whole = [base.whole] if lead else []
        text = f"np.broadcast_to({text}{_new_axes(new, lead)}, {names.shape((*whole, *view.shape))})"
        shown = list(range(len(view.axes)))
    if all(len(group) == 1 for group in groups) and len(shown) == len(view.axes):
        return text
    flat = tuple(tuple(i for i in group if i in shown) for group in groups)
    if all(len(group) < 2 for group in flat):
        return f"{text}[{', '.join([':'] * lead + [':' if group else 'None' for group in flat])}]"
    first = [names.size(base.whole)] if lead else []
    return f"{text}.reshape({', '.join([*first, *(_joint(view, group, names) for group in groups)])})"


def _turned_matrix(view: View, order: Sequence[int], groups: Groups | None) -> Groups | None:
    """Return the rows and the columns of a matrix as it lies, where it is read transposed and has groups of several axes."""
    if groups is None or len(groups) != 2 or max(map(len, groups)) < 2 or not all(axis.of for axis in view.axes):
        return None
    columns, rows = groups
    lying = [order[i] for i in (*rows, *columns)]
    return (rows, columns) if lying == sorted(order) and len(order) == len(view.axes) else None


def _transposed(text: str, order: Sequence[int]) -> str:
    there = sorted(order)
    if list(order) == there:
        return text
    if len(order) == 2:
        return f"{text}.T"
    places = [there.index(i) for i in order]
    moved = [i for i, place in enumerate(places) if i != place]
    if len(moved) == 2:
        a, b = moved
        return f"{text}.swapaxes({a}, {b})"
    return f"{text}.transpose({', '.join(map(str, places))})"


def _joint(view: View, group: Sequence[int], names: Names) -> str:
    if len(group) < 2:
        return names.size(view.axes[group[0]].length) if group else "1"
    return " * ".join(names.size(view.axes[i].length, PRODUCT) for i in group)


def _new_axes(new: Sequence[bool], lead: bool) -> str:
    """Return an index with a new axis for each that repeats, but for those in front."""
    first = next((i for i, is_new in enumerate(new) if not is_new), len(new))
    parts = ["None" if is_new else ":" for is_new in (new if lead else new[first:])]
    while parts and parts[-1] == ":":
        parts.pop()
    if not lead:
        return f"[{', '.join(parts)}]" if parts else ""
    return f"[{', '.join([':', *parts])}]" if any(new[first:]) else ""


def view_text(shown: Shown, names: Names, name: str | None = None) -> str:
    """Return the expression of a view, from the name of its buffer."""
    base = base_of(shown.view, names)
    text = based(shown.view.buffer.name if name is None else name, base, names)
    return arranged(text, shown.view, base, shown.groups, names)
