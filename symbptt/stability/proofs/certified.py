"""A certified bound on the growth of gradients: over a box of states that no step leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.stability.algebra.interval import exactly, multiply, reciprocal, rounded_up
from symbptt.stability.algebra.letters import letters_of
from symbptt.stability.algebra.polynomials import Local
from symbptt.stability.proofs.enclosure import Enclosure
from symbptt.stability.proofs.gram import Turns, turns
from symbptt.stability.proofs.invariant_box import Box, invariant, problem
from symbptt.stability.proofs.jacobian_entries import parts_of_jacobian
from symbptt.stability.proofs.jumps import declared_text
from symbptt.stability.proofs.quadratic_metric import SLACK, Metric, best_metric, norm_of, perron_weights
from symbptt.stability.proofs.row_sums import row_sums
from symbptt.stability.proofs.spectral_norms import block_norms

Arrays = Mapping[str, Any]
MARGIN = 1e-9
"""Rounding of norms, relative: a bound exceeds the computed number by this much."""
ROUNDS = 20
"""Steps towards the best weights of the states, and halvings of a bisection."""
WIDEST = 2.0**20


@dataclass(frozen=True)
class CertifiedRate:
    """η with ‖∂s_t/∂s_k‖ ≤ η^(t−k) for all t ≥ k and all trajectories in `box`, which no step leaves.

    `norm` is "2" or "max", each state divided by its `scaling`; without that division the bound is
    `constant` · η^(t−k). Of the norm "quadratic", √(sᵀPs), `matrix` is P over the whole state, in the order of its parts: JᵀPJ ≤ η²P
    for every step's Jacobian J; the bound in the 2-norm is `constant` · η^(t−k). `box` holds intervals (lo, hi) of inputs and
    states by name, infinite where none was found.
    `largest_gain` is nan for a cell without recurrent weights.
    """

    rate: float
    norm: str
    scaling: dict[str, float]
    box: dict[str, tuple[Any, Any]] = field(repr=False)
    _problem: Box = field(repr=False)
    _turns: bool = field(repr=False, default=False)
    _metric: Metric | None = field(repr=False, default=None)

    @property
    def matrix(self) -> Any:
        """P of the norm √(sᵀPs), of all elements of all states in their order; None in other norms."""
        return None if self._metric is None else self._metric.factor.T @ self._metric.factor

    @property
    def contracts(self) -> bool:
        """Answer whether all gradients vanish: η < 1."""
        return self.rate < 1

    @property
    def constant(self) -> float:
        """The largest of the states' scales over the least, or of the square roots of the eigenvalues of P."""
        if self._metric is not None:
            return self._metric.constant
        return max(self.scaling.values()) / min(self.scaling.values())

    @property
    def _kind(self) -> str:
        return "diagonal" if self._metric is None else "quadratic"

    @cached_property
    def largest_box(self) -> float:
        """The largest factor on the widths of the given box with which the cell contracts, to half a percent; 0 for none."""
        return _largest(lambda factor: self._problem.widened(factor), self._kind, self._turns)

    @cached_property
    def largest_gain(self) -> float:
        """The largest factor on the parameters that states are multiplied by with which the cell contracts; nan where
        there are none."""
        return _largest(self._problem.with_gain, self._kind, self._turns) if self._problem.gains else np.nan

    def text(self) -> str:
        """Return the result as plain text."""
        letters = letters_of(self._problem.local.step)
        s, t, k = letters.whole, letters.time, letters.start
        meaning = f"{letters.meaning} and " if letters.meaning else ""
        product = f"‖∂{s}_{t}/∂{s}_{k}‖"
        verdict = "all gradients vanish" if self.contracts else "no proof that gradients vanish"
        if not np.isfinite(rounded_up(self.rate)):
            # That none was found does not prove that there is none.
            what = f"no finite bound on {product} was found: {verdict}"
        else:
            power = f"{_constant(self)}{rounded_up(self.rate):.6g}^({t}−{k})"
            what = f"{product} ≤ {power} for {meaning}all {t} ≥ {k}, in the {_norm_text(self)}: {verdict}"
        lines = [*declared_text(self._problem.local), what]
        # Where nothing is bounded, P proves nothing.
        if self._metric and np.isfinite(rounded_up(self.rate)):
            lines.append("proven as JᵀPJ ≤ η²P for every Jacobian J of the step, with P in .matrix")
        lines += ["for inputs and states in"]
        lines += [f"  {name}: {_range_text(*ends)}" for name, ends in self.box.items()]
        return "\n".join(lines)


def _constant(r: CertifiedRate) -> str:
    return "" if r.constant == 1 else f"{rounded_up(r.constant, 3):.3g} · "


def _norm_text(r: CertifiedRate) -> str:
    return "max-norm" if r.norm == "max" else "2-norm"


def _range_text(lo: Any, hi: Any) -> str:
    lo, hi = float(np.min(lo, initial=np.inf)), float(np.max(hi, initial=-np.inf))
    ends = 0.0 - rounded_up(-lo, 4), 0.0 + rounded_up(hi, 4)  # the sum with 0 takes the sign from −0
    return f"{ends[0]:.4g} to {ends[1]:.4g}" if np.isfinite(ends).all() else "no bound found"


def certified_rate(cell: Cell, params: Arrays, box: Arrays, *, metric: str = "diagonal") -> CertifiedRate:
    """Return a bound on the growth of all gradients of a cell, for all inputs in a box and all states that follow.

    `box` gives an interval (lo, hi) for inputs and initial states by name; an initial state that lacks is zero, an input
    that lacks may be anything. The box of the states is widened until a step cannot leave it, by interval
    arithmetic rounded outwards; over it the Jacobian is bounded with its structure kept, in the 2-norm and the max-norm with
    weights of the states, and the better taken.

    With `metric="quadratic"` the norm is √(sᵀPs) with a matrix P over all elements of the whole state, found for the cell and proven by
    interval arithmetic: sharp where the Jacobian is far from normal or turns its states, as that of a complex diagonal
    recurrence. Its cost grows as the cube of the number of elements, of which there may be 512.

    Shapes: lo and hi scalars or as annotated. `rate` is per step, infinite where an entry of the Jacobian has no bound.

    Raises: ArgumentError for missing and unknown names, for shapes that do not fit, where lo > hi, for an unknown metric, and
    for a state that is too large for a quadratic one.

    Source: Moore, Kearfott, Cloud 2009, "Introduction to interval analysis", chapter 5; the spectral norm from norms of
    blocks: Ostrowski 1961, "On some metrical properties of operator matrices and matrices partitioned into blocks".
    """
    if metric not in METRICS:
        raise ArgumentError(three_lines(f"the metric is {metric!r}", f"in certified_rate of {getattr(cell, 'name', cell)}",
                                        'write metric="diagonal" or metric="quadratic"'))  # fmt: skip
    given = problem(cell, params, box)
    count = sum(start.lo.size for start in given.start.values())
    if metric == "quadratic" and count > MOST:
        raise ArgumentError(three_lines(f"a quadratic metric is for states of at most {MOST} elements, these have {count}",
                                        f"in certified_rate of {cell.name}", 'write metric="diagonal", or take smaller sizes'))  # fmt: skip
    return _certify(given, metric)


METRICS = ("diagonal", "quadratic")
MOST = 512
"""Elements of a whole state with a quadratic metric, at the most."""


@np.errstate(all="ignore")  # what leaves the range of floats has no bound in the result
def certificates(cell: Cell, params: Arrays, box: Arrays, most: int) -> tuple[CertifiedRate, ...]:
    """Return what `certified_rate` does in each metric; in a quadratic one for at most `most` elements of state."""
    given = problem(cell, params, box)
    count = sum(start.lo.size for start in given.start.values())
    within = invariant(given)
    known = turns(given.local, within)
    return tuple(_certified(given, within, known, kind) for kind in METRICS if kind != "quadratic" or count <= most)


@np.errstate(all="ignore")
def _certify(given: Box, kind: str, turning: bool = True) -> CertifiedRate:
    """Certify a cell over a box; without `turning` exact algebra is known to find no rotations."""
    within = invariant(given)
    return _certified(given, within, turns(given.local, within) if turning else None, kind)


def _certified(given: Box, within: Enclosure, known: Turns | None, kind: str) -> CertifiedRate:
    names = [*given.inputs, *given.start]
    boxes = {name: within.nodes[given.local.step.leaves[name]] for name in names}
    box = {name: (interval.lo, interval.hi) for name, interval in boxes.items()}
    if kind == "quadratic":
        best = _best_quadratic(given.local, within, known)
        plain = dict.fromkeys(given.start, 1.0)
        return CertifiedRate(best.rate, "quadratic", plain, box, given, known is not None, best)
    bounds = [_best_max(given.local, within), _best_two(given.local, within)]
    found = [(rate * (1 + MARGIN), norm, scaling) for rate, norm, scaling in bounds]
    if known is not None:
        # The norm of the matrix of block norms bounds that of the whole.
        found.append((norm_of(exactly(known.norms)), "2", dict.fromkeys(given.start, 1.0)))
    return CertifiedRate(*min(found, key=lambda item: item[0]), box, given, known is not None)


def _best_quadratic(of: Local, within: Enclosure, known: Turns | None) -> Metric:
    """The best of a metric for the entries of the Jacobian, the weights of the states for its structure, and the weights of the
    groups of elements that rotate."""
    sizes = [within.nodes[of.step.leaves[name]].lo.size for name in of.step.next]
    found = best_metric(parts_of_jacobian(of, within), sum(sizes))
    rate, _, scaling = _best_two(of, within)
    ways = [found, _weighted(rate * (1 + MARGIN), np.repeat(list(scaling.values()), sizes))]
    if known is not None:
        _, weights = _weights_of(known.norms)
        each = np.ones(sum(sizes))
        for weight, group in zip(weights, known.groups, strict=True):
            each[list(group)] = weight
        # N_ij w_j / w_i by intervals: the quotients of floats are not exact.
        scaled = multiply(exactly(known.norms), exactly(weights))
        ways.append(_weighted(norm_of(multiply(scaled, reciprocal(exactly(weights[:, None])))), each))
    # Of rates that differ by rounding alone, the one with the smallest constant in front.
    least = min(way.rate for way in ways)
    return min((way for way in ways if way.rate <= least * (1 + SLACK)), key=lambda way: way.constant)


def _weighted(rate: float, weights: Any) -> Metric:
    """The metric of a rate with which each element is divided by its weight."""
    return Metric(rate, np.diag(1 / weights), float(weights.max() / weights.min()))


Scaled = tuple[float, str, dict[str, float]]


def _best_max(of: Local, within: Enclosure) -> Scaled:
    """The max-norm with the best weights of the states, from a power iteration: the least ratio of row sums and weights."""
    names = list(of.step.next)
    weights = dict.fromkeys(names, 1.0)
    best: Scaled = (np.inf, "max", weights)
    # A single state has nothing to be weighed against.
    for _ in range(ROUNDS if len(names) > 1 else 1):
        rows = {name: float(np.max(r, initial=0.0)) for name, r in row_sums(of, within, weights).items()}
        rate = max(rows[name] / weights[name] for name in names)
        if rate < best[0] * (1 - 1e-6):
            best = (rate, "max", weights)
        if not 0 < rate < np.inf:
            break
        # The weights are averaged with their image: a plain power iteration would alternate for states that only
        # enter each other.
        moved = {name: weights[name] + rows[name] / rate for name in names}
        top = max(moved.values())
        weights = {name: max(value / top, 1e-3) for name, value in moved.items()}
    return best


def _best_two(of: Local, within: Enclosure) -> Scaled:
    """The 2-norm of the matrix of block norms, with the weights that its Perron vectors give."""
    names = list(of.step.next)
    norms = block_norms(of, within)
    plain: Scaled = (np.inf, "2", dict.fromkeys(names, 1.0))
    if not np.isfinite(norms).all():
        return plain
    rate, weights = _weights_of(norms)
    return rate, "2", dict(zip(names, map(float, weights), strict=True))


def _weights_of(norms: Any) -> tuple[float, Any]:
    """The 2-norm of a matrix of block norms, and the weights in which it is small."""
    found = [(np.ones(len(norms)), norms), (weights := _balanced(norms), norms * weights / weights[:, None])]
    rates = [(float(np.linalg.norm(m, 2)), w) for w, m in found]
    # Weights enlarge the constant in front of the bound, so that they must win by more than rounding.
    return rates[0] if rates[0][0] <= rates[1][0] * (1 + 1e-6) else rates[1]


def _balanced(norms: Any) -> Any:
    weights = perron_weights(norms)
    return np.maximum(weights / weights.max(), 1e-3)


def _largest(at: Callable[[float], Box], kind: str, turning: bool) -> float:
    """The largest factor at which a cell is certified to contract, by bisection of its logarithm."""
    if _certify(at(np.inf), kind, turning).contracts:
        return np.inf
    low, high = 0.0, WIDEST
    middle = 1.0
    for _ in range(2 * ROUNDS):
        if _certify(at(middle), kind, turning).contracts:
            low = middle
        else:
            high = middle
        if (low and high <= low * 1.005) or high < 1 / WIDEST:
            break
        # The factor is searched for by its logarithm; until both ends are known it moves by 4.
        middle = float(np.sqrt(low * high)) if low and high < WIDEST else middle * 4 if low else middle / 4
    return low
