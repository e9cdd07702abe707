"""Compares gradients block by block with derivatives of the user's function.

For example a slope 1 − tanh² of 1e-8: rounding of the tanh, 1e-16, moves it by 1e-8 of itself, which is more than the tolerance
of 1e-10. Arguments that move by a few units of rounding show that noise: an error of up to 30 times it is explained by
rounding, a larger one counts. Of a slope of 1e-12 the noise is 1e-4 of it, and nothing follows from what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, CellError, one_line
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle, screen
from symbptt.verification.complex_step import other_rounding
from symbptt.verification.domains import kept_in
from symbptt.verification.finite_differences import central, is_declared, slopes
from symbptt.verification.objective import Truncation, slopes_of_samples, value_of
from symbptt.verification.oracle import Arrays, Block, Point
from symbptt.verification.regimes import Regime, Size
from symbptt.verification.report import Row
from symbptt.verification.rounding.oracle import KINK, Told, judgements, of_gradients, of_values, overflows

TOLERANCE = {"complex step": 1e-10, "central differences": 1e-6, "forward": 1e-11, "50 digits": 1e-10}
FLOOR = 1e-280
"""Below this a complex step underflows."""

STEADY = 1e-6
"""The largest part of its scale by which rounding may move a block; beyond, its value proves nothing."""
SLACK = 30.0
"""The multiple of the noise that was seen up to which rounding may explain an error."""
PLAIN = 1e3
"""The further multiple beyond which no second look at the noise would explain an error."""
EPS = 1e-16
"""The rounding that is left of one where an adjoint of one cancels, as 1 - tanh² does where it saturates."""
NEARLY = 1e-11
"""The error that a module's 1 - tanh² and 1 - σ may have where they are taken from the value, relative to a block."""
PLAINLY = 1e-2
"""The part of its tolerance within which the error along one direction makes a look at single elements unnecessary."""
FAIR = 0.25
"""The part of its tolerance within which the errors along `FURTHER` more directions do the same: an element has a share of at least
a half in each, and a fault spread over many passes four directions less often than one within `PLAINLY`."""
FURTHER = 3
SAME = 1e-12
"""The difference that a second call with the same arguments may have, relative to the block: sums may take another order."""
FEW = 36
"""Elements of a block of which differences are taken where a complex step gives no number, times the steps of each run."""
COMPLEX, CENTRAL, DIGITS = "complex step", "central differences", "50 digits"
NO_VALUE = "the user's function is not finite here"
NO_SLOPE = "the derivative of the user's function is not finite here"
OVERFLOW = "the user's function overflows here, and has no version of 50 digits"


class Refusal(ArgumentError):
    """An error for results of a caller's backward pass that cannot be compared at all."""


Opinion = Callable[[Block, Any], tuple[Any, Any]]
"""(block, which of its elements) -> derivatives by differences, and how far each may be off."""
Gradients = Callable[[Point, Arrays], tuple[Arrays, Arrays, Arrays]]
"""(point, cotangents) -> gradients of parameters, inputs and initial state, by name."""


@dataclass(frozen=True)
class Pair:
    """A block by the oracle and as it was given; an error is relative to `scale`; where the arguments move by a few units of
    rounding, both move by `noise`, the oracle alone by `unsteady`."""

    wanted: Any
    given: Any
    scale: float
    noise: float = 0.0
    unsteady: float = 0.0

    @property
    def difference(self) -> float:
        return _top(self.given - self.wanted) if np.shape(self.given) == np.shape(self.wanted) else float("inf")

    @property
    def error(self) -> float:
        return self.difference / max(self.scale, FLOOR)


@dataclass(frozen=True)
class Verdict:
    """The error of a block, the method, the reason why it was not compared, if any, and faults other than of numbers."""

    error: float
    method: str
    note: str = ""
    said: str = ""


@dataclass(frozen=True)
class Case:
    """One point at which a cell or a model is checked, and the cotangents of its states and outputs there."""

    target: Cell | Model
    regime: Regime
    size: Size
    point: Point
    cotangents: Arrays
    truncation: Truncation = None
    sharp: bool = False
    """A flag for derivatives that must keep the digits which 1 - tanh² and 1 - σ lose where they saturate."""
    domain: Mapping[str, Any] = field(default_factory=dict)
    """Where arguments lie, also those that move by a few units of rounding."""

    def value(self, near: Point, sent: Arrays) -> Callable[[Point], Any]:
        """The function point -> scalar whose gradients at the point `near` are checked."""
        return value_of(self.target, sent, near, self.truncation)

    def derivative(self, near: Point, sent: Arrays, method: str) -> Callable[[Block], Any]:
        """The derivatives with respect to blocks at the point `near`: by a complex step of all samples at once, where these have numbers
        of their own."""
        value = self.value(near, sent)
        if method == CENTRAL:
            return lambda block: central(value, near, block)
        slopes = slopes_of_samples(self.target, sent, near, self.truncation)

        def stepped(block: Block) -> Any:
            is_shared = block[0] == "params"
            return (
                oracle.complex_step(value, near, block) if is_shared else oracle.steps_of_samples(slopes, near, block)
            )

        return stepped

    def row(self, block: str, verdict: Verdict) -> Row:
        """The row of a block."""
        tolerance = TOLERANCE.get(verdict.method, np.nan)
        parts = (verdict.error, tolerance, verdict.method, verdict.note, verdict.said)
        return Row(self.regime.name, self.size.label, block, *parts)


def attempt(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """Return the result of generated or given code and None, or None and the error in words.

    Errors about the call of the check itself are raised again, and those of the check: they say nothing of a module.
    """
    try:
        return call(), None
    except (CellError, Refusal):
        raise
    except Exception as error:
        if not is_of_code(error):
            raise
        return None, f"raised {type(error).__name__}: {one_line(error)}"


def failed(method: str, said: str) -> Verdict:
    """Return the verdict on a block of which nothing came; a budget of memory that is too small says nothing of it."""
    is_budget = "memory:" in said and "are allowed" in said
    return Verdict(np.inf, method, "the budget of memory is too small here" if is_budget else "", said)


def gradient_rows(case: Case, gradients: Gradients, is_complex: bool, known: frozenset[str] = frozenset()) -> list[Row]:
    """Return a row for each block of gradients at one point; of a model, those of its loss.

    Blocks whose names are `known` to be wrong are not looked at element by element once more.
    """
    point, blocks = case.point, oracle.blocks(case.point, oracle.differentiable(case.target))
    method = COMPLEX if is_complex else CENTRAL
    with np.errstate(all="ignore"):
        value = case.value(point, case.cotangents)
        if not np.isfinite(value(point)):
            return [case.row(k, Verdict(np.nan, "", NO_VALUE)) for k in blocks]
        found, failure = attempt(lambda: _arrays(gradients(point, case.cotangents)))
        if failure is not None:
            return [case.row(k, failed(method, failure)) for k in blocks]
        # A backward pass that stores or changes something between calls is wrong, even where its first result is
        # right.
        again, failure = attempt(lambda: _arrays(gradients(point, case.cotangents)))
        if failure is not None:
            return [case.row(k, failed(method, f"a second call {failure}")) for k in blocks]
        said = {place: _said(found.get(place), again.get(place), place, point) for place in _places(blocks)}
        verdicts = {k: Verdict(np.inf, method, "", said[block[:2]]) for k, block in blocks.items()}
        right = {place: found[place] for place, text in said.items() if not text}
        verdicts |= _compared(case, value, gradients, right, method, known)
    return [case.row(k, verdicts[k]) for k in blocks]


def _places(blocks: dict[str, Block]) -> list[screen.Group]:
    return list(dict.fromkeys(block[:2] for block in blocks.values()))


def _arrays(groups: tuple[Arrays, Arrays, Arrays]) -> dict[screen.Group, Any]:
    named = zip(("params", "inputs", "state"), groups, strict=True)
    return {(group, name): np.asarray(v, dtype=float) for group, arrays in named for name, v in arrays.items()}


def _said(given: Any, again: Any, place: screen.Group, point: Point) -> str:
    """Name the faults of an array of gradients other than of its numbers, in words; an empty text without any."""
    wanted = np.shape(getattr(point, place[0])[place[1]])
    if given is None:
        return "no gradient came"
    if given.shape != wanted:
        swapped = place[0] == "inputs" and given.shape == (wanted[1], wanted[0], *wanted[2:])
        return f"shape {wanted} is expected, got {given.shape}" + "; time comes first: (T, B, ...)" * swapped
    same = np.array_equal(given, again, equal_nan=True)
    if not same and not _top(given - again) <= SAME * _top(given):
        return "a second call with the same arguments returns another value"
    return ""


def _compared(
    case: Case,
    value: Any,
    gradients: Gradients,
    found: dict[screen.Group, Any],
    method: str,
    known: frozenset[str],
) -> dict[str, Verdict]:
    """Compare arrays along a direction each, and those that are not plainly right element by element; where the largest
    of all blocks counts, and one is wrong, all of them."""
    blocks = {k: b for k, b in oracle.blocks(case.point, oracle.differentiable(case.target)).items() if b[:2] in found}
    sent = [_top(v) for v in case.cotangents.values()] or [1.0]  # the adjoint of a loss is one
    floor = case.regime.floor * max([*(_finite_top(v) for v in found.values()), *sent])
    # The same direction at every run: a verdict must not depend on luck.
    random = np.random.default_rng(case.point.steps)
    enough = PLAINLY * TOLERANCE[method]
    errors = screen.errors(value, case.point, found, floor, method == COMPLEX, random, enough)
    near = {place for place, error in errors.items() if error <= enough}
    fair = {k: found[k] for k, error in errors.items() if enough < error <= FAIR * TOLERANCE[method]}
    if method == COMPLEX and screen.all_within(
        FAIR * TOLERANCE[method], value, case.point, fair, floor, random, FURTHER
    ):
        near |= fair.keys()
    verdicts = {k: Verdict(errors[b[:2]], method) for k, b in blocks.items()}
    rest = {k: b for k, b in blocks.items() if b[:2] not in near and k.split("[")[0] not in known}
    is_over = bool(rest) and overflows(lambda: value(case.point))
    if is_over or (rest and (method == CENTRAL or not all(np.isfinite(errors[b[:2]]) for b in rest.values()))):
        # What overflows is another function, whose derivative may be finite and steady.
        told = _at_fifty_digits(case, rest, found, is_over)
        verdicts |= told
        rest = {k: b for k, b in rest.items() if k not in told}
    if rest:
        largest = max([*(_top(found[place]) for place in near), *sent])
        closer = _by_elements(case, value, gradients, rest, largest, method)
        if near and floor and any(v.error > TOLERANCE[v.method] and not v.note for v in closer.values()):
            others = {k: b for k, b in blocks.items() if k in rest or b[:2] in near}
            closer = _by_elements(case, value, gradients, others, max(sent), method)
        verdicts |= closer
    return verdicts


def _by_elements(
    case: Case, value: Any, gradients: Gradients, blocks: dict[str, Block], largest: float, method: str
) -> dict[str, Verdict]:
    """Compare blocks element by element; `largest` is the largest number of others that count."""

    def both(names: Iterable[str], near: Point, sent: Arrays) -> dict[str, tuple[Any, Any]]:
        found, derivative = _arrays(gradients(near, sent)), case.derivative(near, sent, method)
        parts = {k: blocks[k] for k in names}
        return {k: (derivative(b), _part(found[b[:2]], b[2])) for k, b in parts.items()}

    sides = both(blocks, case.point, case.cotangents)
    largest = max([*(_finite_top(wanted) for wanted, _ in sides.values()), largest])
    # An error counts relative to its own block, so that a small block cannot hide beside a large one; the floor is
    # for regimes that saturate.
    scales = {k: max(_finite_top(wanted), case.regime.floor * largest) for k, (wanted, _) in sides.items()}

    def moves(names: list[str], seed: int) -> list[Any]:
        if is_sharp:
            return _rounded_otherwise(case, {k: blocks[k] for k in names}, sides, seed)
        return both_moved(partial(both, names), case, seed)

    is_sharp = case.sharp and method == COMPLEX
    # a gradient that cancels to zero has no digits to lose, and leaves the rounding of what cancels
    has_digits = {k: is_sharp and bool(np.any(wanted)) for k, (wanted, _) in sides.items()}
    least = {k: NEARLY * v if has_digits[k] else EPS * largest for k, v in scales.items()}
    pairs = with_noise(sides, scales, method, moves, least)
    # Differences of values cannot see a declared derivative.
    opinion = None if is_declared(case.target) or case.truncation else partial(slopes, value, case.point)
    few = max(1, FEW // max(1, case.point.steps))
    return {k: _verdict(pair, method, opinion, blocks[k], few) for k, pair in pairs.items()}


def _at_fifty_digits(
    case: Case, blocks: dict[str, Block], found: dict[screen.Group, Any], is_over: bool
) -> dict[str, Verdict]:
    """Return the verdicts of 50 digits on blocks; where floats of the user's function do not overflow, those that acquit alone."""
    all_blocks = oracle.blocks(case.point, oracle.differentiable(case.target))
    told = of_gradients(case.target, case.point, case.cotangents, case.truncation, all_blocks)
    sent = max([_top(v) for v in case.cotangents.values()], default=1.0)  # the adjoint of a loss is one
    given = {k: _part(found[b[:2]], b[2]) for k, b in blocks.items()}
    return _judged(told, given, case.regime.floor, sent, is_over)


def _judged(told: Told, given: Arrays, floor: float, sent: float, is_over: bool) -> dict[str, Verdict]:
    judged = judgements(told, given, floor, sent, TOLERANCE[DIGITS])
    if judged is None:
        return {k: Verdict(np.nan, DIGITS, OVERFLOW) for k in given} if is_over else {}
    # Without an overflow they acquit alone: what a backward pass loses by its own rounding is told by runs of it.
    fair = {k for k, one in judged.items() if not one.note and one.error <= TOLERANCE[DIGITS]}
    return {k: Verdict(one.error, DIGITS, one.note) for k, one in judged.items() if is_over or k in fair}


def with_noise(
    sides: dict[str, tuple[Any, Any]],
    scales: dict[str, float],
    method: str,
    moved: Callable[[list[str], int], list[Any]],
    least: dict[str, float],
) -> dict[str, Pair]:
    """Return the pairs; those that are not within their tolerance with their noise, at least `least`, for which `moved` is
    asked for them alone: a block costs two runs of the cell an element and a move.

    One move, there and back, is enough where it explains what is off, for more moves only add to the noise, and where no
    more of them could.
    """
    pairs = {k: Pair(*sides[k], scales[k]) for k in sides}
    # `not <=` and not `>`: an error that is NaN is off as well.
    off = [k for k, pair in pairs.items() if not pair.error <= TOLERANCE[method]]
    blind = {k: replace(pairs[k], noise=least[k]) for k in off if not np.all(np.isfinite(pairs[k].wanted))}
    pairs |= blind  # what is no number moves nowhere
    off = [k for k in off if k not in blind]
    if not off:
        return pairs
    doubtful, others = {k: pairs[k] for k in off}, moved(off, 0)
    seen = noisy(doubtful, others, least)
    if not all(_is_explained(pair) or np.inf > pair.difference > PLAIN * SLACK * pair.noise for pair in seen.values()):
        seen = noisy(doubtful, others + [other for seed in (1, 2, 3) for other in moved(off, seed)], least)
    return pairs | seen


def _is_explained(pair: Pair) -> bool:
    return pair.difference <= SLACK * pair.noise


def noisy(pairs: dict[str, Pair], others: list[Any], least: dict[str, float]) -> dict[str, Pair]:
    """Return the pairs with how far they move in `others`."""
    return {
        k: replace(
            pair,
            unsteady=max(_jump(pair.wanted, other[k][0], np.inf) for other in others),
            noise=max(
                least[k],
                *(_jump(pair.wanted, other[k][0], 0.0) + _jump(pair.given, other[k][1], 0.0) for other in others),
            ),
        )
        for k, pair in pairs.items()
    }


def _jump(here: Any, there: Any, otherwise: float) -> float:
    """The largest change, or `otherwise` where a finite number has become infinite or NaN."""
    if np.shape(here) != np.shape(there) or not np.all(np.isfinite(here)):
        return 0.0
    change = _top(here - there)
    return change if np.isfinite(change) else otherwise


def both_moved(both: Callable[[Point, Arrays], Any], case: Case, seed: int) -> list[Any]:
    """Return both sides where every argument and cotangent has moved by a few units of rounding, there and back."""
    return [both(*_moved(case, np.random.default_rng(seed), sign)) for sign in (1, -1)]


def _rounded_otherwise(case: Case, blocks: dict[str, Block], sides: dict[str, tuple[Any, Any]], seed: int) -> list[Any]:
    """Return both sides where the derivative of the user's function is taken at arguments that have moved by a few units
    of rounding, there and back, and where its operations round otherwise.

    What was given stays as it is: a module whose digits are lost explains nothing by that. Other rounding tells what a
    difference of two values near one leaves, which moved arguments do not where both values stay what they are.
    """

    def at(near: Point, sent: Arrays) -> dict[str, tuple[Any, Any]]:
        derivative = case.derivative(near, sent, COMPLEX)
        return {k: (derivative(b), sides[k][1]) for k, b in blocks.items()}

    found = [at(*_moved(case, np.random.default_rng(seed), sign)) for sign in (1, -1)]
    for rounding in (2 * seed, 2 * seed + 1):
        with other_rounding(rounding):
            found.append(at(case.point, case.cotangents))
    return found


def _verdict(pair: Pair, method: str, opinion: Opinion | None, block: Block, few: int = 1) -> Verdict:
    """Errors count unless rounding explains them, the point is a kink, or the complex step itself is refuted; where that
    gives no number, differences of a `few` elements are asked."""
    if pair.error <= TOLERANCE[method] or np.shape(pair.given) != np.shape(pair.wanted):
        return Verdict(pair.error, method)
    if not np.isfinite(pair.difference) and pair.unsteady > STEADY * pair.scale:
        missing = np.isfinite(pair.wanted) & ~np.isfinite(pair.given)
        if opinion is not None and np.any(missing) and _is_smooth(pair, opinion, block, missing):
            return Verdict(np.inf, method)
        return Verdict(0.0, method, KINK)
    if pair.difference <= SLACK * pair.noise:
        return Verdict(0.0, method, "" if pair.noise <= STEADY * pair.scale else KINK)
    if opinion is None:
        return Verdict(pair.error, method, "" if np.all(np.isfinite(pair.wanted)) else NO_SLOPE)
    return _by_differences(pair, method, opinion, block, few)


def _by_differences(pair: Pair, method: str, opinion: Opinion, block: Block, few: int) -> Verdict:
    """Judge the elements that are off by differences, where these can tell."""
    # A NaN compares false with everything, and so counts as off.
    off = ~(np.abs(pair.given - pair.wanted) <= TOLERANCE[method] * pair.scale)
    finite = method == "complex step" and bool(np.all(np.isfinite(pair.wanted)))
    # One element is asked first: differences cost dozens of runs each, and a wrong gradient is seldom right in the
    # first one that is off.
    if finite and not _is_refuted(pair, opinion, block, off & (np.cumsum(off).reshape(off.shape) == 1)):
        return Verdict(pair.error, method)
    if finite:
        refuted = _is_refuted(pair, opinion, block, off)
        return Verdict(0.0, "central differences") if refuted else Verdict(pair.error, method)
    off = some_of(off, few)
    slopes, doubts = opinion(block, off)
    given = np.asarray(pair.given)[off]
    scale = max(pair.scale, FLOOR, _finite_top(slopes))
    # where neither gives a number, as 1 / (1 + 1 / x) at 0, a difference counts where it is plain beside others alone
    steady = doubts <= 1e-3 * np.where(np.isfinite(given), scale, max(pair.scale, FLOOR))
    if not steady.any():
        return Verdict(pair.error, method, KINK if method == "central differences" else NO_SLOPE)
    errors = np.abs(given - slopes)[steady]
    slack = np.maximum(TOLERANCE["central differences"] * scale, 10 * doubts[steady])
    return Verdict(_top(np.where(errors <= slack, 0.0, errors)) / scale, "central differences")


def some_of(chosen: Any, few: int) -> Any:
    """Return at most a few of the chosen elements, spread over them."""
    places = np.flatnonzero(chosen)
    kept = np.zeros(np.size(chosen), bool)
    kept[places[np.unique(np.linspace(0, len(places) - 1, min(few, len(places))).astype(int))]] = True
    return kept.reshape(np.shape(chosen))


def _is_smooth(pair: Pair, opinion: Opinion, block: Block, chosen: Any) -> bool:
    """Answer whether the function has a derivative along one of the chosen elements, as differences tell."""
    slopes, doubts = opinion(block, chosen)
    return bool(np.any(np.isfinite(slopes) & (doubts <= 1e-3 * np.maximum(np.abs(slopes), max(pair.scale, FLOOR)))))


def _is_refuted(pair: Pair, opinion: Opinion, block: Block, off: Any) -> bool:
    """Answer whether differences agree with the given gradient, against the complex step, in every element that is off."""
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


def _moved(case: Case, random: np.random.Generator, sign: int) -> tuple[Point, Arrays]:
    """Zeros move too: rounding moves values that are computed from them. None leaves its domain."""

    def moved(name: str, array: Any) -> Any:
        array = np.asarray(array)
        # Some ten units in the last place: more than one operation rounds, less than any mistake moves.
        step = sign * 3e-15 * random.standard_normal(array.shape)
        there = array if array.dtype.kind in "iu" else array + step * np.where(array == 0, 1.0, array)
        return kept_in(case.domain.get(name), there, array)

    point = case.point
    groups = (point.params, point.inputs, point.state, point.targets)
    params, inputs, state, targets = ({k: moved(k, v) for k, v in arrays.items()} for arrays in groups)
    sent = {k: moved("", v) for k, v in case.cotangents.items()}
    return replace(point, params=params, inputs=inputs, state=state, targets=targets), sent


def value_rows(case: Case, values: Callable[[Point], dict[str, tuple[Any, Any]]], names: tuple[str, ...]) -> list[Row]:
    """Return a row for each state and output, or for the loss: by the user's function, and as computed."""
    with np.errstate(all="ignore"):
        sides, failure = attempt(lambda: values(case.point))
        if failure is not None:
            return [case.row(name, failed("forward", failure)) for name in names]
        scales = {k: _finite_top(wanted) for k, (wanted, _) in sides.items()}

        def moves(_: list[str], seed: int) -> list[Any]:
            return both_moved(lambda near, _: values(near), case, seed)

        pairs = with_noise(sides, scales, "forward", moves, dict.fromkeys(scales, 0.0))
        verdicts = {name: _of_value(name, pair) for name, pair in pairs.items()}
        off = {
            k: pairs[k].given for k, v in verdicts.items() if not (v.note or v.said or v.error <= TOLERANCE[v.method])
        }
        if off and overflows(lambda: value_of(case.target, case.cotangents, case.point)(case.point)):
            verdicts |= _judged(of_values(case.target, case.point), off, 0.0, 0.0, is_over=True)
        return [case.row(name, verdict) for name, verdict in verdicts.items()]


def type_rows(case: Case, arrays: Callable[[Point, Arrays], dict[str, Any]]) -> list[Row]:
    """Return a row for each block that comes in another type than float32 where all that is given is of it."""
    with np.errstate(all="ignore"):
        found, failure = attempt(lambda: arrays(case.point, case.cotangents))
        if failure is not None:
            verdict = failed("forward", failure)
            return [] if verdict.note else [case.row("float32", verdict)]
    others = {k: np.asarray(v).dtype for k, v in found.items() if np.asarray(v).dtype != np.float32}
    said = {k: f"float32 is expected where all arguments are of it, got {dtype}" for k, dtype in others.items()}
    return [case.row(k, Verdict(np.inf, "forward", "", text)) for k, text in said.items()]


def _of_value(name: str, pair: Pair) -> Verdict:
    if not np.all(np.isfinite(pair.wanted)):
        return Verdict(pair.error, "forward", NO_VALUE)
    wanted, given = np.shape(pair.wanted), np.shape(pair.given)
    said = "" if wanted == given else f"shape {wanted} is expected, got {given}"
    return replace(_verdict(pair, "forward", None, ("", name, ...)), said=said)
