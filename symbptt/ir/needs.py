"""Conditions on sizes under which the slices of a step lie inside their axes, where NumPy clips a slice and a derivation does not, and
under which the greatest of a slice is a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sympy as sp

from symbptt.ir.graph import Graph
from symbptt.ir.shape import Shape, Size, divisors, named_size, names_in, sign_of, size, size_text


@dataclass(frozen=True)
class Need:
    """`spare`, which must not be negative: how many entries an axis has beyond, or in front of, those that are read; with `by`,
    what must be divisible by it. Where that is not so `reads` says what is read at which line, and `cure` what to write."""

    spare: Size
    reads: str
    cure: str
    by: int = 0

    @property
    def axis(self) -> Size:
        """A size that is positive and whole where the condition holds."""
        return size(self.spare / sp.Integer(self.by)) if self.by else size(self.spare + 1)

    @property
    def broken(self) -> str:
        """The test of its contrary in Python."""
        text = size_text(self.spare)
        if self.by:
            return f"{text if text.isidentifier() else f'({text})'} % {self.by}"
        return f"{text} < 0"

    @property
    def names(self) -> tuple[str, ...]:
        """The sizes that it is about."""
        return names_in((self.spare,))

    @property
    def sides(self) -> tuple[Size, str, Size]:
        """The condition as a size, ">=" or "<=", and a size: the bound of one size, or what is at least something else."""
        # factor * n + constant >= 0 is solved for n, rounded to the next integer that satisfies it.
        if len(self.names) == 1 and sp.degree(self.spare, named_size(self.names[0])) == 1:
            symbol = named_size(self.names[0])
            factor, constant = sp.Poly(self.spare, symbol).all_coeffs()
            if factor > 0:
                return symbol, ">=", int(sp.ceiling(-constant / factor))
            return symbol, "<=", int(sp.floor(-constant / factor))
        terms = sp.Add.make_args(sp.expand(self.spare))
        less = [term for term in terms if term.could_extract_minus_sign()]
        return size(sp.Add(*(t for t in terms if t not in less))), ">=", size(-sp.Add(*less))

    @property
    def wanted(self) -> str:
        """The condition in words."""
        if self.by:
            return f"{size_text(self.spare)} divisible by {self.by}"
        left, sign, right = self.sides
        return f"{size_text(left)} {sign} {size_text(right)}"

    def is_met(self, sizes: Mapping[str, int]) -> bool:
        """Answer whether it holds, or is about sizes that are not known."""
        numbers = {named_size(name): value for name, value in sizes.items()}
        spare = sp.sympify(sp.sympify(self.spare).xreplace(numbers))
        # An expression with a size left in it is no Integer: it cannot be refuted yet.
        return not spare.is_Integer or bool(spare % self.by == 0 if self.by else spare >= 0)

    def parts(self, sizes: Mapping[str, int | str]) -> tuple[str, str, str]:
        """Return what was expected and what came, where, and what to write instead."""
        came = ", ".join(f"{name} = {sizes[name]}" for name in self.names)
        return f"sizes: {self.wanted} is expected, got {came}", self.reads, self.cure


def needs_of(g: Graph, axes: Iterable[Size]) -> tuple[Need, ...]:
    """Return what the slices of a graph need that is not certain where all `axes`, those of arguments, have an entry; of
    needs that follow from each other the strongest."""
    certain = [item for item in axes if not isinstance(item, int)]
    found: dict[Size, Need] = {}
    halves = _divisible(g)
    for node in g:
        if node.family == "view" and node.attrs.kind == "slice":
            whole = g.shape(node.args[0])
            for axis, (span, length) in enumerate(zip(node.attrs.data, whole, strict=True)):
                for spare in _spares(span, length):
                    if not _is_certain(spare, certain):
                        name = g.names.get(node.args[0], "an array")
                        found.setdefault(spare, _need(spare, span, axis, name, whole, node.place))
        if node.family == "reduce" and node.attrs.kind in ("max", "min"):
            # A sum of nothing is zero; the greatest of nothing is no number.
            for spare in (size(g.shape(node.args[0])[axis] - 1) for axis in node.attrs.axes):
                if not _is_certain(spare, certain):
                    reads = f"the {node.attrs.kind} of at least one entry is taken{f' in {node.place}' if node.place else ''}"
                    found.setdefault(spare, Need(spare, reads, "give larger arrays, or the axis a number as its size"))
    return halves + strongest(found.values())


def _divisible(g: Graph) -> tuple[Need, ...]:
    """Return what sizes need for their parts to be whole, each condition once, with the first line that it is of."""
    found: dict[tuple[Size, int], Need] = {}
    sizes = [(item, place) for item, place in g.parts]
    sizes += [(item, node.place) for node in g for item in node.shape]
    for item, place in sizes:
        for whole, by in divisors(item):
            reads = f"{size_text(item)} stands for a size{f' in {place}' if place else ''}"
            cure = f"give sizes that are divisible by {by}, or write the dimensions as multiples of a smaller size"
            found.setdefault((whole, by), Need(whole, reads, cure, by))
    return tuple(found.values())


def strongest(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Return needs without those that follow from others, each condition once."""
    found = list({need.spare: need for need in needs}.values())
    return tuple(need for need in found if not any(_follows(need, other) for other in found))


def _follows(need: Need, other: Need) -> bool:
    """Answer whether a need holds wherever another one does."""
    if need.by or other.by:
        return False
    return need is not other and sign_of(size(need.spare - other.spare)) in (0, 1)


def _spares(span: tuple[Size, Size, int], whole: Size) -> Iterator[Size]:
    """Return how many entries of an axis are read, how many there are in front of the first one, and how many behind the last; a
    part without entries lies anywhere."""
    start, length, step = span
    if length == 0:
        return
    # The length of h[2:] is n - 2, which no axis of one entry has.
    yield length
    last = size(start + (length - 1) * step)
    first, end = (start, last) if step > 0 else (last, start)
    # Indices start at 0: first >= 0 and end <= whole - 1 are the two conditions.
    yield from (size(first), size(whole - 1 - end))


def _is_certain(spare: Size, axes: Iterable[Size]) -> bool:
    # An axis with an entry has size >= 1: spare >= axis - 1 >= 0 then holds too.
    return any(sign_of(item) in (0, 1) for item in (spare, *(size(spare - (axis - 1)) for axis in axes)))


def _need(spare: Size, span: tuple[Size, Size, int], axis: int, name: str, whole: Shape, place: str) -> Need:
    start, length, step = span
    last = size(start + (length - 1) * step)
    what = f"entry {start}" if length == 1 else f"entries {start} to {last}"
    along = f" along axis {axis}" if len(whole) > 1 else ""
    where = f" in {place}" if place else ""
    cut = ", ".join([*[":"] * axis, f"{start}:" if start else ":"])
    is_open = (
        isinstance(length, int) and length != 1 and step == 1 and start in (0, 1)
    )  # of other starts it is not certain that they lie in the axis
    ends = f"where the slice is to end with the axis write [{cut}], else " if is_open else ""
    cure = f"{ends}give larger arrays, or the axis a number as its size"
    return Need(spare, f"{what} of {name} {'is' if length == 1 else 'are'} read{along}{where}", cure)


def unmet(needs: Iterable[Need], sizes: Mapping[str, int]) -> Need | None:
    """Return the first that does not hold."""
    return next((need for need in needs if not need.is_met(sizes)), None)
