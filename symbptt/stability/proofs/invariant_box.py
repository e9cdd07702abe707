"""Boxes of inputs and states, and the box of states that no step leaves.

For example s' = s/2 + x with x in [−1, 1], from s = 0: the image of [0, 0] is [−1, 1], of that [−1.5, 1.5], and so on to
[−2, 2], which no finite number of steps reaches. Growths of 1 and 1/2 tell the factor 1/2, so that `_ahead` adds the rest of
the geometric series, 1/2 · r/(1 − r), and a little more; the box found is then confirmed by one image inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from symbptt.checks import check_mapping, named
from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.ir.shape import Shape, named_size, show
from symbptt.language.cell import Cell, nearest
from symbptt.language.each_step import with_inputs
from symbptt.language.init import concrete
from symbptt.stability.algebra.interval import Interval, between, common, everything, exactly, holds, hull
from symbptt.stability.algebra.polynomials import Local, local
from symbptt.stability.algebra.regrouped import regrouped
from symbptt.stability.proofs.enclosure import Enclosure, enclose
from symbptt.stability.proofs.parameter_intervals import constants, sizes_of

Arrays = Mapping[str, Any]
ROUNDS = 60
"""Steps in the search for a box at the most."""
LARGEST = 1e9
"""A state whose box grows beyond this has none."""


@dataclass(frozen=True)
class Box:
    """A cell with parameters, with intervals of its inputs and of its initial states."""

    local: Local
    params: dict[str, Interval]
    inputs: dict[str, Interval]
    start: dict[str, Interval]
    sizes: dict[str, int]
    gains: tuple[str, ...] = field(repr=False, default=())

    def widened(self, factor: float) -> Box:
        """Return the problem with the widths of its box times a factor, about their middles."""
        return replace(self, inputs=_widened(self.inputs, factor), start=_widened(self.start, factor))

    def with_gain(self, factor: float) -> Box:
        """Return the problem with the parameters that states are multiplied by times a factor; infinite is very large."""
        # An infinite factor would make NaN of weights that are zero.
        scaled = {k: exactly(v.lo * min(factor, 1e12)) if k in self.gains else v for k, v in self.params.items()}
        return replace(self, params=scaled)

    def enclosure(self, states: Mapping[str, Interval]) -> Enclosure:
        """Return intervals of all values of a step from states in a box."""
        return enclose(self.local, {**self.params, **self.inputs, **states}, self.sizes)


def _widened(box: Mapping[str, Interval], factor: float) -> dict[str, Interval]:
    found = {}
    for name, old in box.items():
        with np.errstate(all="ignore"):
            middle, half = (old.lo + old.hi) / 2, (old.hi - old.lo) / 2
            grown = np.where(half > 0, half * factor, 0.0)
        # An interval without an end has no middle about which it could be widened.
        whole = ~np.isfinite(old.lo) | ~np.isfinite(old.hi)
        found[name] = Interval(np.where(whole, old.lo, middle - grown), np.where(whole, old.hi, middle + grown))
    return found


@lru_cache(maxsize=64)
def local_of(cell: Cell) -> Local:
    """Return the elementwise parts of a cell, found once, of its step with regrouped products."""
    found = local(cell.closed)
    step = regrouped(found.step, found.alone)
    return found if step is found.step else local(step)


def problem(cell: Cell, params: Arrays, box: Arrays) -> Box:
    """Return a cell with its parameters and its box, all checked.

    Raises: ArgumentError for missing and unknown names, for shapes that do not fit, and where lo > hi.
    """
    if not isinstance(cell, Cell):
        raise ArgumentError(f"a box is one of a cell, got {type(cell).__name__}\n  {instead_of_cell(cell)}")
    check_mapping("params", params, f"{cell.name}.init(...)")
    check_mapping("box", box, '{"x": (-1, 1)}, or {}')
    cell, params, box = with_inputs(cell), named(params), named(box)
    of = local_of(cell)
    known = {a.name: a for a in cell.arguments if a.role in ("input", "index", "state")}
    for name in box:
        if name not in known:
            raise ArgumentError(f"{cell.name} has no input and no state {name!r}" + nearest(name, known))
    ends = {name: pair_of(cell, name, value) for name, value in box.items()}
    values = constants(cell, params)
    arrays = {name: lo for name, (lo, _) in ends.items() if lo.ndim == len(known[name].shape)}
    sizes = sizes_of(cell, {name: v.lo for name, v in values.items()} | arrays)
    shapes = {name: shape_of(cell, a.name, a.shape, sizes) for name, a in known.items()}
    intervals = {name: interval_of(cell, name, *pair, shapes[name]) for name, pair in ends.items()}
    inputs = {a.name: intervals.get(a.name, everything(shapes[a.name])) for a in known.values() if a.role != "state"}
    start = {a.name: intervals.get(a.name, between(0, 0, shapes[a.name])) for a in known.values() if a.role == "state"}
    return Box(of, values, inputs, start, sizes, _multiplied(of))


def pair_of(cell: Cell, name: str, value: Any) -> tuple[Any, Any]:
    """Return the ends of an interval that a user gave."""
    if not (isinstance(value, tuple | list) and len(value) == 2):
        raise ArgumentError(three_lines(f"the box of {name!r} must be a pair (lo, hi)", f"in a box for {cell.name}",
                                        f'write for example {{"{name}": (-1, 1)}}'))  # fmt: skip
    lo, hi = (_end(cell, name, end) for end in value)
    if np.isnan(lo).any() or np.isnan(hi).any() or not (lo <= hi).all():
        raise ArgumentError(three_lines(f"the box of {name!r} needs lo ≤ hi", f"in a box for {cell.name}",
                                        "give the lower end first"))  # fmt: skip
    return lo, hi


def _end(cell: Cell, name: str, end: Any) -> Any:
    try:
        return np.asarray(end, np.float64)
    except (TypeError, ValueError):  # NumPy alone knows what it takes for numbers
        what = f"the box of {name!r}: numbers or arrays of numbers are expected, got {end!r}"
        raise ArgumentError(three_lines(what, f"in a box for {cell.name}", f'write {{"{name}": (-1, 1)}}')) from None


def interval_of(cell: Cell, name: str, lo: Any, hi: Any, shape: tuple[int, ...]) -> Interval:
    """Return a user's interval in its shape."""
    for end in (lo, hi):
        if end.shape not in ((), shape):
            raise ArgumentError(three_lines(f"the box of {name!r} has shape {show(end.shape)}, {show(shape)} is due",
                                            f"in a box for {cell.name}", "give scalars, or arrays of that shape"))  # fmt: skip
    return between(lo, hi, shape)


def shape_of(cell: Cell, name: str, shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return a shape in numbers.

    Raises: ArgumentError where no parameter tells a size.
    """
    lacking = [str(s) for item in shape if not isinstance(item, int) for s in item.free_symbols if str(s) not in sizes]
    if lacking:
        raise ArgumentError(three_lines(f"the size {lacking[0]!r} of {name!r} is not known", f"in a box for {cell.name}",
                                        f"give the box of {name!r} as arrays"))  # fmt: skip
    return concrete(shape, {named_size(k): v for k, v in sizes.items()})


def _multiplied(of: Local) -> tuple[str, ...]:
    """The parameters that a product multiplies a state by."""
    g, found = of.graph, set()
    for node in g:
        if node.family == "contract" and node.id in of.recurrent:
            found |= {id for arg in node.args if arg in of.fixed for id in g.ancestors([arg])}
    return tuple(
        g[id].attrs.name for id in sorted(found) if g[id].family == "leaf" and g[id].attrs.role in ("param", "const")
    )


def invariant(given: Box) -> Enclosure:
    """Return the enclosure of a step over a box of states that contains the initial ones and that no step leaves.

    A state without a finite box has all numbers for its box, which no step leaves either.
    """
    free: tuple[str, ...] = ()
    while True:
        box, lost = _search(given, free)
        if not lost:
            return given.enclosure(_tightened(given, box))
        free += lost


States = dict[str, Interval]


def _image(given: Box, states: Mapping[str, Interval]) -> States:
    leaves = {**given.params, **given.inputs, **states}
    nodes = enclose(given.local, leaves, given.sizes, slopes=False).nodes
    return {name: nodes[id] for name, id in given.local.step.next.items()}


def _search(given: Box, free: tuple[str, ...]) -> tuple[States, tuple[str, ...]]:
    """A box that no step leaves, or the states whose box grows without end."""
    box = {name: everything(s.lo.shape) if name in free else s for name, s in given.start.items()}
    anywhere = _image(given, {name: everything(s.lo.shape) for name, s in given.start.items()})
    before: dict[str, tuple[Any, Any]] = {}
    for _ in range(ROUNDS):
        image = _image(given, box)
        # By induction: the start lies in the box, and a step maps the box into itself.
        if all(holds(box[name], image[name]) for name in box):
            return box, ()
        grown = {name: hull(box[name], image[name]) for name in box}
        growth = {
            name: (box[name].lo - grown[name].lo, grown[name].hi - box[name].hi) for name in box if name not in free
        }
        # A ratio needs two growths in a row; after an extrapolation the count begins anew.
        ready = len(before) > 0
        box = {n: _ahead(s, growth[n], before.get(n)) if n in growth else s for n, s in grown.items()}
        # No state but the first lies outside the image of all numbers, so that a saturated step bounds the box at
        # once.
        box = {n: common(s, hull(given.start[n], anywhere[n])) if n in growth else s for n, s in box.items()}
        before = {} if ready else growth
        lost = tuple(n for n in growth if not (box[n].size < LARGEST).all())
        if lost:
            return box, lost
    image = _image(given, box)
    return box, tuple(n for n in box if n not in free and not holds(box[n], image[n]))


def _ahead(box: Interval, growth: tuple[Any, Any], before: tuple[Any, Any] | None) -> Interval:
    """A box at the limit of its growth, where that shrinks by a constant factor, and a little beyond."""
    moved = [np.where(g > 0, 1e-9 + 1e-6 * g, 0.0) for g in growth]
    if before is not None:
        with np.errstate(all="ignore"):
            ratios = [np.nan_to_num(g / b, nan=1.0) for g, b in zip(growth, before, strict=True)]
        # A ratio near 1 is no geometric series: its limit would lie far away, or nowhere.
        steady = [np.where(r < 0.9995, r, 0.0) for r in ratios]
        with np.errstate(all="ignore"):
            ahead = [np.where(r != 0, g * r / (1 - r), 0.0) for g, r in zip(growth, steady, strict=True)]
        moved = [m + a for m, a in zip(moved, ahead, strict=True)]
    return Interval(box.lo - moved[0], box.hi + moved[1])


def _tightened(given: Box, box: States) -> States:
    """A smaller box that no step leaves: the initial states and the image of the larger box."""
    image = _image(given, box)
    for _ in range(ROUNDS):
        smaller = {n: hull(given.start[n], image[n]) for n in box}
        after = _image(given, smaller)
        # In exact arithmetic the smaller box is invariant as well; rounding may break that, and then the larger one
        # stands.
        if not all(holds(smaller[n], after[n]) for n in box):
            return box
        settled = all(_near(box[n], smaller[n]) for n in box)
        box, image = smaller, after
        if settled:
            return box
    return box


def _near(box: Interval, smaller: Interval) -> bool:
    """Answer whether a box has shrunk by no more than a hundredth."""
    with np.errstate(all="ignore"):
        before, after = box.hi - box.lo, smaller.hi - smaller.lo
    return bool(np.all((after >= 0.99 * before) | np.isinf(after)))
