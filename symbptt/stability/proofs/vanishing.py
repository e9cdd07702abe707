"""The automatic theorem: when the gradients of a cell vanish, from its symbolic Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.checks import named
from symbptt.errors import ArgumentError, instead_of_cell, three_lines
from symbptt.language.cell import Cell, nearest
from symbptt.language.each_step import with_inputs
from symbptt.stability.algebra.atoms import node_of
from symbptt.stability.algebra.interval import between, everything
from symbptt.stability.algebra.polynomials import Local
from symbptt.stability.proofs.bounds import Sup, Tree, bound, worth
from symbptt.stability.proofs.enclosure import Enclosure, corners, enclose
from symbptt.stability.proofs.hypotheses import PROVEN, TRIED, always_bounded, bounded, nodes_read, sizes_in
from symbptt.stability.proofs.invariant_box import interval_of, local_of, pair_of, shape_of
from symbptt.stability.proofs.parameter_intervals import constants, sizes_of
from symbptt.stability.proofs.statement import latex, text

Arrays = Mapping[str, Any]
NORMS = ("2", "max")


@dataclass(frozen=True)
class VanishingCondition:
    """A theorem: ‖∂s_t/∂s_k‖ ≤ η^(t−k) for the whole state s and all t ≥ k, in the norm `norm`, "2" or "max".

    `bounded` names the states that must start in [−1, 1], a hypothesis of the theorem: then they stay there. `entries` are the
    bounds whose norm η is: in the max-norm one for each state's row, in the 2-norm one for each pair of states.
    """

    cell: Cell
    norm: str
    bounded: tuple[str, ...]
    entries: dict[tuple[str, str], Tree] = field(repr=False)

    def rate(self, params: Arrays, bounds: Arrays | None = None) -> float:
        """Return η for given parameters; infinite where the theorem needs a bound that it was not given.

        Gates and slopes have the ranges that the parameters leave them, so that it may be less than the formula says.

        `bounds` gives an interval (lo, hi) that inputs, states or named values of the cell keep at all steps, a
        hypothesis that the caller answers for: {"z": (0, 0.9)}.

        Raises: ArgumentError for missing and unknown names, and for shapes that do not fit.
        """
        return self._norm(self.matrix(params, bounds))

    def _norm(self, found: Any) -> float:
        return float(np.linalg.norm(found, 2 if self.norm == "2" else np.inf)) if np.isfinite(found).all() else np.inf

    @np.errstate(all="ignore")  # what leaves the range of floats has no bound in the result
    def matrix(self, params: Arrays, bounds: Arrays | None = None) -> Any:
        """Return what η is the norm of: in the 2-norm bounds on the norms of the blocks ∂s'_i/∂s_j, in the max-norm one
        column, the bounds of each state's rows.

        Raises: ArgumentError as `rate` does.
        """
        found = [self._matrix(within) for within in _enclosures(self, params, bounds or {})]
        # Without arrays for a size the bound is evaluated at two; only if it is the same at both does it not depend
        # on the size.
        if any(not np.array_equal(found[0], other) for other in found):
            raise ArgumentError(three_lines("η depends on a size that no parameter has", f"in the rate of {self.cell.name}",
                                            "give bounds of the states as arrays, infinite ones where there are none"))  # fmt: skip
        return found[0]

    def _matrix(self, within: Enclosure) -> Any:
        names = list(self.cell.closed.next)
        columns = names if self.norm == "2" else [""]
        of = local_of(self.cell)
        return np.array(
            [[worth(self.entries[i, j], of, self.norm, within) for j in columns] for i in names], np.float64
        )

    def text(self) -> str:
        """Return the theorem as plain text."""
        return text(self)

    def latex(self) -> str:
        """Return the theorem as LaTeX, for display mathematics."""
        return latex(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


def vanishing_condition(cell: Cell, *, norm: str | None = None) -> VanishingCondition:
    """Return the theorem on the gradients of a cell: a sufficient condition for vanishing, a necessary one for exploding.

    `norm` is "2" or "max". Without it: the 2-norm for one state, unless its Jacobian is a mixture by gates, z and 1 − z,
    which the max-norm bounds better; the max-norm for several states.

    Raises: ArgumentError where `cell` is no cell, or `norm` is neither.

    Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", section 2.1,
    which is the case of the vanilla cell.
    """
    if not isinstance(cell, Cell):
        raise ArgumentError(three_lines(f"vanishing_condition takes a cell, got {type(cell).__name__}", "",
                                        instead_of_cell(cell)))  # fmt: skip
    if norm not in (None, *NORMS):
        raise ArgumentError(three_lines(f"the norm is {norm!r}", f"in vanishing_condition of {cell.name}",
                                        'write norm="2" or norm="max"'))  # fmt: skip
    cell = with_inputs(cell)
    of = local_of(cell)
    norm = norm or _fitting(of)
    names = list(of.step.next)
    columns = names if norm == "2" else [""]
    # A row in the max-norm goes over all states at once; in the 2-norm each block has a norm of its own.
    entries = {(i, j): bound(of, norm, i, j or None) for i in names for j in columns}
    read = {id for tree in entries.values() for id in nodes_read(of, tree)}
    needed = tuple(name for name in always_bounded(of) if of.step.leaves[name] in read)
    return VanishingCondition(cell, norm, needed, entries)


def _fitting(of: Local) -> str:
    names = list(of.step.next)
    return "max" if len(names) > 1 or _mixes(of, bound(of, "max", names[0])) else "2"


def _mixes(of: Local, tree: Tree) -> bool:
    """Answer whether a gate, not a parameter, is shared by several terms of the outermost sum."""
    if not isinstance(tree, Sup):
        return False
    shared = corners(tuple(p for p, _ in tree.parts))
    return any((id := node_of(s)) is not None and id not in of.fixed for s in shared)


def _enclosures(theorem: VanishingCondition, params: Arrays, bounds: Arrays) -> list[Enclosure]:
    """Intervals of all values under the hypotheses; at two sizes where parameters and bounds do not tell one."""
    cell, of = theorem.cell, local_of(theorem.cell)
    values, bounds = constants(cell, params), named(bounds)
    ids = {name: id for id, name in of.graph.names.items()} | of.step.leaves
    for name in bounds:
        if name not in ids or name in values:
            known = [n for n in ids if n not in values]
            raise ArgumentError(f"{cell.name} has no input, state or named value {name!r}" + nearest(name, known))
    ends = {ids[name]: (name, *pair_of(cell, name, pair)) for name, pair in bounds.items()}
    arrays = {name: lo for id, (name, lo, _) in ends.items() if lo.ndim or not of.graph.shape(id)}
    sizes = sizes_of(cell, {name: v.lo for name, v in values.items()} | arrays)
    lacks = any(name not in sizes for name in sizes_in(of, 1))
    return [_enclosure(theorem, values, ends, sizes_in(of, size) | sizes) for size in (TRIED if lacks else TRIED[:1])]


def _enclosure(theorem: VanishingCondition, values: Any, ends: Any, sizes: dict[str, int]) -> Enclosure:
    cell, of = theorem.cell, local_of(theorem.cell)
    leaves = {
        a.name: everything(shape_of(cell, a.name, a.shape, sizes)) for a in of.step.of_role("input", "state")
    } | values
    leaves |= {k: between(-PROVEN, PROVEN, leaves[k].lo.shape) for k in theorem.bounded if k in bounded(of, sizes)}
    known = {
        id: interval_of(cell, name, lo, hi, shape_of(cell, name, of.graph.shape(id), sizes))
        for id, (name, lo, hi) in ends.items()
    }
    given = {name: known.pop(id) for name, id in of.step.leaves.items() if id in known}
    return enclose(of, leaves | given, sizes, known)
