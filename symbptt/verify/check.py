"""Compares gradients block by block with derivatives of the user's function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symbptt.cell import Cell
from symbptt.model import Model
from symbptt.verify import oracle
from symbptt.verify.difference import central, is_declared, slopes
from symbptt.verify.oracle import Arrays, Block, Point
from symbptt.verify.regimes import Regime, Size

TOLERANCE = {"complex step": 1e-10, "central differences": 1e-6, "forward": 1e-11}
FLOOR = 1e-280
"""Below this a complex step underflows."""

STEADY = 1e-6
"""Where rounding moves a block by more than this part of its scale, nothing follows from what it is."""
SLACK = 30.0
"""How many times the noise that was seen rounding may explain."""
PLAIN = 1e3
"""How many times more than that an error is if no further look at the noise would explain it."""
EPS = 1e-16
"""What rounding leaves of one where an adjoint of one cancels, as 1 - tanh² does where it saturates."""
COMPLEX = "complex step", oracle.complex_step
CENTRAL = "central differences", central
NO_VALUE = "the user's function is not finite here"
NO_SLOPE = "the derivative of the user's function is not finite here"
KINK = "rounding alone decides the result here: a kink, a jump, or chaos"

Opinion = Callable[[Block, Any], tuple[Any, Any]]
"""(block, which of its elements) -> derivatives by differences, and how far each may be off."""
Gradients = Callable[[Point, Arrays], tuple[Arrays, Arrays, Arrays]]
"""(point, cotangents) -> gradients of parameters, inputs and initial state, by name."""


@dataclass(frozen=True)
class Row:
    """One comparison: the largest error in a block over what it is relative to; `note` where it could not be made, `shapes`
    where the block has another shape than it should."""

    regime: str
    size: str
    block: str
    error: float
    tolerance: float
    method: str
    note: str = ""
    shapes: str = ""

    @property
    def passed(self) -> bool:
        return bool(self.note) or self.error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """What a verification found."""

    name: str
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every comparison is within its tolerance, and there was one."""
        made = [row for row in self.rows if not row.note and not row.size.startswith("T=0")]
        return all(row.passed for row in self.rows) and any(row.method != "forward" for row in made)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The names of the blocks with an error, without the step."""
        return tuple(dict.fromkeys(row.block.split("[")[0] for row in self.rows if not row.passed))

    @property
    def worst(self) -> Row | None:
        """The comparison nearest to its tolerance, or farthest over it."""
        made = [row for row in self.rows if not row.note]
        return max(made, key=lambda row: row.error / row.tolerance if row.error == row.error else np.inf, default=None)


@dataclass(frozen=True)
class Pair:
    """A block by the oracle and as it was given; `scale` is what an error is relative to, `noise` what both move by,
    `unsteady` what the oracle alone moves by, where the arguments move by a few units of rounding."""

    wanted: Any
    given: Any
    scale: float
    noise: float = 0.0
    unsteady: float = 0.0

    @property
    def shapes(self) -> str:
        """What is said of shapes that differ."""
        given, wanted = np.shape(self.given), np.shape(self.wanted)
        return "" if given == wanted else f"shape {wanted} is expected, got {given}"

    @property
    def difference(self) -> float:
        return _top(self.given - self.wanted) if np.shape(self.given) == np.shape(self.wanted) else float("inf")

    @property
    def error(self) -> float:
        return self.difference / max(self.scale, FLOOR)


@dataclass(frozen=True)
class Verdict:
    """The error of a block, by which method, and why it was not compared, if so."""

    error: float
    method: str
    note: str = ""


def gradient_rows(
    target: Cell | Model,
    regime: Regime,
    size: Size,
    point: Point,
    cotangents: Arrays,
    gradients: Gradients,
    has_complex_version: bool,
) -> list[Row]:
    """Return a row for each block of gradients at one point; of a model, those of its loss."""
    value = oracle.value_of(target, cotangents)
    blocks = oracle.blocks(point, oracle.differentiable(target))
    method, derivative = COMPLEX if has_complex_version else CENTRAL

    def both(near: Point, sent: Arrays) -> dict[str, tuple[Any, Any]]:
        found = dict(zip(("params", "inputs", "state"), gradients(near, sent), strict=True))
        near_value = oracle.value_of(target, sent)
        return {k: (derivative(near_value, near, b), _part(found[b[0]][b[1]], b[2])) for k, b in blocks.items()}

    with np.errstate(all="ignore"):
        if not np.isfinite(value(point)):
            return [Row(regime.name, size.label, "all", np.nan, np.nan, "", NO_VALUE)]
        sides = both(point, cotangents)
        sent = [_top(v) for v in cotangents.values()] or [1.0]  # the adjoint of a loss is one
        largest = max([*(_finite_top(wanted) for wanted, _ in sides.values()), *sent])
        scales = {k: max(_finite_top(wanted), regime.floor * largest) for k, (wanted, _) in sides.items()}
        pairs = with_noise(sides, scales, method, lambda seed: both_moved(both, point, cotangents, seed), EPS * largest)
        opinion = None if is_declared(target) else lambda block, chosen: slopes(value, point, block, chosen)
        verdicts = {k: _verdict(pair, method, opinion, blocks[k]) for k, pair in pairs.items()}
    return [
        Row(regime.name, size.label, k, v.error, TOLERANCE[v.method], v.method, v.note, pairs[k].shapes)
        for k, v in verdicts.items()
    ]


def with_noise(
    sides: dict[str, tuple[Any, Any]],
    scales: dict[str, float],
    method: str,
    moved: Callable[[int], list[Any]],
    least: float = 0.0,
) -> dict[str, Pair]:
    """Return the pairs, with their noise, at least `least`, where some are not within their tolerance.

    One move, there and back, is enough where no more of them could explain what is off.
    """
    pairs = {k: Pair(*sides[k], scales[k]) for k in sides}
    off = [k for k, pair in pairs.items() if not pair.error <= TOLERANCE[method]]
    if not off:
        return pairs
    others = moved(0)
    seen = noisy(pairs, others, least)
    if all(np.inf > seen[k].difference > PLAIN * SLACK * seen[k].noise for k in off):
        return seen
    return noisy(pairs, others + [other for seed in (1, 2, 3) for other in moved(seed)], least)


def noisy(pairs: dict[str, Pair], others: list[Any], least: float) -> dict[str, Pair]:
    """Return the pairs with how far they move in `others`."""
    return {
        k: replace(
            pair,
            unsteady=max(_jump(pair.wanted, other[k][0], np.inf) for other in others),
            noise=max(
                least,
                *(_jump(pair.wanted, other[k][0], 0.0) + _jump(pair.given, other[k][1], 0.0) for other in others),
            ),
        )
        for k, pair in pairs.items()
    }


def _jump(here: Any, there: Any, otherwise: float) -> float:
    """The largest change, or `otherwise` where what was finite is so no more."""
    if np.shape(here) != np.shape(there) or not np.all(np.isfinite(here)):
        return 0.0
    change = _top(here - there)
    return change if np.isfinite(change) else otherwise


def both_moved(both: Callable[[Point, Arrays], Any], point: Point, cotangents: Arrays, seed: int) -> list[Any]:
    """Return both sides where every argument and cotangent has moved by a few units of rounding, there and back."""
    return [both(*_moved(point, cotangents, np.random.default_rng(seed), sign)) for sign in (1, -1)]


def _verdict(pair: Pair, method: str, opinion: Opinion | None, block: Block) -> Verdict:
    """Errors count unless rounding explains them, the point is a kink, or the complex step itself is refuted."""
    if pair.error <= TOLERANCE[method] or np.shape(pair.given) != np.shape(pair.wanted):
        return Verdict(pair.error, method)
    if pair.difference <= SLACK * pair.noise or (
        not np.isfinite(pair.difference) and pair.unsteady > STEADY * pair.scale
    ):
        return Verdict(0.0, method, "" if pair.noise <= STEADY * pair.scale else KINK)
    if opinion is None:
        return Verdict(pair.error, method, "" if np.all(np.isfinite(pair.wanted)) else NO_SLOPE)
    return _by_differences(pair, method, opinion, block)


def _by_differences(pair: Pair, method: str, opinion: Opinion, block: Block) -> Verdict:
    """What differences say of the elements that are off, where they can tell."""
    off = ~(np.abs(pair.given - pair.wanted) <= TOLERANCE[method] * pair.scale)
    finite = method == "complex step" and bool(np.all(np.isfinite(pair.wanted)))
    if finite and not _is_refuted(pair, opinion, block, off & (np.cumsum(off).reshape(off.shape) == 1)):
        return Verdict(pair.error, method)
    if finite:
        refuted = _is_refuted(pair, opinion, block, off)
        return Verdict(0.0, "central differences") if refuted else Verdict(pair.error, method)
    slopes, doubts = opinion(block, off)
    steady = doubts <= 1e-3 * max(pair.scale, FLOOR)
    given = np.asarray(pair.given)[off][steady]
    slack = np.maximum(TOLERANCE["central differences"] * pair.scale, 10 * doubts[steady])
    slopes = slopes[steady]
    if not steady.any():
        return Verdict(pair.error, method, KINK if method == "central differences" else NO_SLOPE)
    excess = np.where(np.abs(given - slopes) <= slack, 0.0, np.abs(given - slopes))
    return Verdict(_top(excess) / max(pair.scale, FLOOR), "central differences")


def _is_refuted(pair: Pair, opinion: Opinion, block: Block, off: Any) -> bool:
    """Answer whether differences side with what was given, against the complex step, in every element that is off."""
    slopes, doubts = opinion(block, off)
    slack = np.maximum(TOLERANCE["central differences"] * pair.scale, 10 * doubts)
    given, wanted = np.asarray(pair.given)[off], np.asarray(pair.wanted)[off]
    steady = np.all(doubts <= 1e-3 * max(pair.scale, FLOOR))
    return bool(steady and np.all(np.abs(given - slopes) <= slack) and np.any(np.abs(wanted - slopes) > slack))


def _part(array: Any, index: Any) -> Any:
    given = np.asarray(array, dtype=float)
    return given[index] if given.ndim else given


def _top(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def _finite_top(array: Any) -> float:
    array = np.abs(array)
    return float(np.max(array, initial=0.0, where=np.isfinite(array)))


def _moved(point: Point, cotangents: Arrays, random: np.random.Generator, sign: int) -> tuple[Point, Arrays]:
    """Zeros move too: rounding moves what is computed from them."""

    def moved(array: Any) -> Any:
        array = np.asarray(array)
        step = sign * 3e-15 * random.standard_normal(array.shape)
        return array if array.dtype.kind in "iu" else array + step * np.where(array == 0, 1.0, array)

    groups = (point.params, point.inputs, point.state, point.targets, cotangents)
    params, inputs, state, targets, sent = ({k: moved(v) for k, v in arrays.items()} for arrays in groups)
    return replace(point, params=params, inputs=inputs, state=state, targets=targets), sent


def value_rows(
    values: Callable[[Point], dict[str, tuple[Any, Any]]], regime: Regime, size: Size, point: Point
) -> list[Row]:
    """Return a row for each state and output, or for the loss: by the user's function, and as computed."""
    with np.errstate(all="ignore"):
        sides = values(point)
        scales = {k: _finite_top(wanted) for k, (wanted, _) in sides.items()}
        pairs = with_noise(
            sides, scales, "forward", lambda seed: both_moved(lambda near, _: values(near), point, {}, seed)
        )
        rows = []
        for name, pair in pairs.items():
            note = "" if np.all(np.isfinite(pair.wanted)) else NO_VALUE
            verdict = Verdict(pair.error, "forward", note) if note else _verdict(pair, "forward", None, ("", name, ...))
            rows.append(
                Row(regime.name, size.label, name, verdict.error, TOLERANCE["forward"], "forward", verdict.note)
            )
    return rows
