"""Measure what rounding costs a module: its runs in floats against its own text in numbers of 50 digits.

Both start from the same data, which are float32 numbers. What is off in floats is rounding alone. How much of that is due: the user's
own function is differentiated at 50 digits once as it is, and a few times with each result and each slope off by one unit.
How far that moves a block is what one unit of rounding anywhere does to it, whatever formulas a module has. A module that is backward
stable errs by a small multiple of it: more is a formula that loses digits.

Example: of h = tanh(a), a = 20, a module that computes 1 - h² in floats has 0 where the slope is 1.7e-17. One unit of rounding moves
that slope by one unit of it, so that an error of 10¹⁶ units is not explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.errors import one_line
from symbptt.language.model import Model
from symbptt.language.user_frames import is_of_code
from symbptt.verification import oracle
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.pairs import PairedKernel
from symbptt.verification.regimes import BORDERS, PADDED, REGIMES, Regime, Size, point
from symbptt.verification.requests import NOTHING, Asked
from symbptt.verification.rounding.accurate import FORMULA, ROUNDING, driven
from symbptt.verification.rounding.arrays import top, values_of
from symbptt.verification.rounding.exact import Tape, fifty_digits
from symbptt.verification.rounding.gradients import Group, exact_arrays, exact_point, gradients_of
from symbptt.verification.rounding.results import Block, Line, Rounding
from symbptt.verification.rounding.runs import TYPES, Type, gradients_by, in_type, narrow, single
from symbptt.verification.rounding.text import of_fifty_digits

SATURATED = next(regime for regime in REGIMES if regime.name == "saturated")
FORMS = "accurate forms"
"""What the report calls the regime in which each accurate form of a module decides."""
STEPS = 20
"""Steps of a run, so many that an LSTM takes two seconds in all regimes."""
OPERATIONS = 6_000
"""Operations of a run with its gradients beyond which named sizes are 2, and where these are too many, steps are fewer: an LSTM has 4,500.
Which axis is which the other levels tell."""
FEWEST = 4
"""Steps of a run at least."""
SAMPLES = (1, 2, 8)
"""Runs with each operation off by a unit, by which is seen how far that moves a block: more of them where an error is not explained by
the first ones, for by chance a few runs may move a block of one number hardly at all."""
SLACK = 10.0
"""The multiple of that movement which rounding may explain: a module has a few times as many operations as the user's function."""
LEAST = 2.0
"""Units by which a block counts as moved at least: what moves by less is rounded by the sums of a module."""
SHARE = Decimal("1e-25")
"""The part of the largest gradient under which 50 digits say nothing of a block."""


UNDECIDED = "rounding alone decides: a kink, or no digit is left"
NO_NUMBER = "no number at 50 digits"
OUT_OF_RANGE = "beyond the range of the type"
ITS_RANGE = "the user's function itself is wrong in this type, beyond its range"


def rounding_of(
    kernel: Kernel, seed: int = 0, asked: Asked = NOTHING, steps: int = STEPS, regimes: tuple[Regime, ...] = REGIMES
) -> Rounding:
    """Return the errors of a kernel in every regime, in both types, and where one saturates at each accurate form."""
    longest = _affordable(kernel, steps, seed, asked)
    lines = [
        line
        for number, regime in enumerate(regimes)
        for size in _sizes(regime, longest)
        for line in _lines(kernel, regime, size, seed + number, asked)
    ]
    if SATURATED not in regimes or isinstance(kernel, PairedKernel):
        return Rounding(tuple(lines))
    known: Known = {}
    with np.errstate(all="ignore"):
        found, idle = driven(kernel, seed, asked, partial(_judged, seed=seed, known=known))
    for one in found:
        lines += _measured(kernel, one.near, partial(dict, one.sent), (FORMS, one.moved), seed, known=known)
    return Rounding(tuple(lines), tuple(name for one in found for name in one.names), idle)


def _judged(kernel: Kernel, near: Point, sent: Arrays, types: Sequence[str], seed: int, known: Known) -> str:
    """Return what a kernel is wrong by at some arguments in some types, its formulas or rounding; nothing where it is right."""
    for kind in [kind for kind in TYPES if kind.name in types]:  # one type is enough, and mostly it is the first
        (line,) = _measured(kernel, near, partial(dict, sent), ("", ""), seed, (kind,), known)
        if line.wrong:
            return FORMULA if any(b.formula > b.allowed for b in line.blocks if not b.passed) else ROUNDING
    return ""


def _affordable(kernel: Kernel, steps: int, seed: int, asked: Asked) -> Size:
    """Return a run of one sample and as many steps as asked for, with smaller sizes or fewer steps where it has too many operations."""
    usual = Size(steps, 1)
    if steps * _operations(kernel, usual, seed, asked) <= OPERATIONS:
        return usual
    small = replace(usual, small=True)
    fitting = OPERATIONS // max(_operations(kernel, small, seed, asked), 1)
    return replace(small, steps=min(max(fitting, FEWEST), steps))


def _operations(kernel: Kernel, size: Size, seed: int, asked: Asked) -> int:
    """Return the operations of one step of the user's function, up to the first that has no numbers of 50 digits."""
    drawn = point(kernel.target, REGIMES[0], replace(size, steps=1), seed, asked)
    if drawn is None:
        return 0
    tape = Tape()
    near = exact_point(single(drawn, asked), tape)
    with np.errstate(all="ignore"), fifty_digits():
        try:
            oracle.run(kernel.cell, near)
        except Exception as error:  # what numbers of 50 digits have not, each line of the measure says
            if not is_of_code(error):
                raise
    return len(tape.parents)


def _sizes(regime: Regime, longest: Size) -> list[Size]:
    """Return a run of many steps, and those whose gates are shut or whose arguments tie."""
    if regime.padded:
        return [replace(PADDED[0], small=longest.small)]
    others = [size for size in BORDERS.get(regime.name, ()) if size.gates is not None or size.ties]
    return [longest, *(replace(size, steps=longest.steps, batch=1, small=longest.small) for size in others)]


def _lines(kernel: Kernel, regime: Regime, size: Size, seed: int, asked: Asked) -> list[Line]:
    drawn = point(kernel.target, regime, size, seed, asked)
    if drawn is None:
        return []
    near, target = single(drawn, asked), kernel.target

    def sent() -> Arrays:
        return {} if isinstance(target, Model) else oracle.cotangents(target, near, seed + 1000, size.last)

    return _measured(kernel, near, sent, (regime.name, size.label), seed)


def _measured(
    kernel: Kernel,
    near: Point,
    draw: Callable[[], Arrays],
    label: tuple[str, str],
    seed: int,
    kinds: tuple[Type, ...] = TYPES,
    known: Known | None = None,
) -> list[Line]:
    """Return the errors at arguments of single precision, with the cotangents that are drawn, in some types; what numbers of 50 digits
    say there is computed once for all kernels that share what is `known`."""
    regime, size = label
    known = {} if known is None else known
    # No generator: the 50 digits would go on while it waits.
    with np.errstate(all="ignore"), fifty_digits():
        try:
            sent = narrow(draw(), np.float32)
            sides = _sides(kernel, near, sent, known)
            blocks = [_blocks(kernel, near, sent, sides, kind, seed) for kind in kinds]
        except Exception as error:
            # What numbers of 50 digits have not; of a module that fails in floats the other levels tell. An error of ours is none.
            if not is_of_code(error):
                raise
            note = f"not measured: {type(error).__name__}: {one_line(error)[:120]}"
            return [Line(regime, kind.name, size, note=note) for kind in kinds]
    return [Line(regime, kind.name, size, found) for kind, found in zip(kinds, blocks, strict=True)]


@dataclass(frozen=True)
class _Sides:
    """Gradients at 50 digits at a point by the text of a module, and by the user's function: as it is, and by the name of a type
    those of runs in which each operation is off by a unit. A module of complex numbers, which has no version of 50 digits, is compared
    with the user's function in the place of its text."""

    near: Point
    text: dict[Group, Any]
    wanted: dict[Group, Any]
    moved: dict[str, list[dict[Group, Any]]] = field(default_factory=dict)


Known = dict[Any, _Sides]
"""What is known at some arguments, by their point, its cotangents and the text of a module."""


def _sides(kernel: Kernel, near: Point, sent: Arrays, known: Known) -> _Sides:
    # The point itself is held by what is known of it, so that its number stays its own.
    key = (id(near), tuple((k, v.tobytes()) for k, v in sent.items()), kernel.source)
    if key not in known:
        wanted = gradients_of(kernel.target, near, sent, kernel.truncation, Tape())
        known[key] = _Sides(near, _text(kernel, near, sent, wanted), wanted)
    return known[key]


def _text(kernel: Kernel, near: Point, sent: Arrays, wanted: dict[Group, Any]) -> dict[Group, Any]:
    if isinstance(kernel, PairedKernel):
        return wanted
    found = gradients_by(of_fifty_digits(kernel), exact_point(near), exact_arrays(sent))
    return {place: values_of(found[place]) for place in wanted}


def _blocks(kernel: Kernel, near: Point, sent: Arrays, sides: _Sides, kind: Type, seed: int) -> tuple[Block, ...]:
    """Return the error of each block in a type."""
    floats = np.dtype(kind.name)
    given = gradients_by(kernel, in_type(near, floats), narrow(sent, floats))
    tops = [top(v) for v in sides.wanted.values()] + [top(values_of(v)) for v in sent.values()]
    largest = max((size for size in tops if size.is_finite()), default=Decimal(0))
    places = oracle.blocks(near, oracle.differentiable(kernel.target))
    moved = sides.moved.setdefault(kind.name, [])

    def judged(number: int) -> list[Block]:
        for one in range(len(moved), number):
            tape = Tape(kind.unit, seed + one, kind.least, kind.smallest)
            moved.append(gradients_of(kernel.target, near, sent, kernel.truncation, tape))
        found = []
        for label, (group, name, index) in places.items():
            place = (group, name)
            arrays = (sides.wanted[place], sides.text[place], np.asarray(given[place]), *(one[place] for one in moved))
            wanted, text, came, *others = (np.asarray(array[index]) for array in arrays)
            found.append(_block(label, wanted, text, came, others, largest, kind))
        return found

    found: list[Block] = []
    for number in SAMPLES:
        found = judged(number)
        if all(block.passed for block in found):
            break
    if not all(block.passed for block in found) and _leaves_range(kernel, near, kind):
        found = [block if block.passed else replace(block, note=ITS_RANGE) for block in found]
    return tuple(found)


def _leaves_range(kernel: Kernel, near: Point, kind: Type) -> bool:
    """Answer whether the values of the user's own function are wrong in a type: what overflows in the middle is no matter of gradients."""
    wanted, given = (
        {k: v for group in oracle.run(kernel.cell, point) for k, v in group.items()}
        for point in (exact_point(near), in_type(near, np.dtype(kind.name)))
    )

    def is_off(name: str) -> bool:
        exact_ones, floats = values_of(wanted[name]), np.asarray(given[name])
        scale = max(top(exact_ones), Decimal(kind.tiny))
        return (
            not np.all(np.isfinite(floats)) or not top(values_of(floats) - exact_ones) <= Decimal(kind.steady) * scale
        )

    return any(map(is_off, wanted))


def _block(label: str, wanted: Any, text: Any, given: Any, moved: list[Any], largest: Decimal, kind: Type) -> Block:
    scale = max(top(wanted), SHARE * largest, Decimal(kind.tiny))
    noise = max(top(other - wanted) for other in moved)
    if not (scale.is_finite() and noise.is_finite() and top(text).is_finite()):
        return Block(label, note=NO_NUMBER)
    if not np.all(np.isfinite(given)):
        # A gradient that the type has, and that the module has not; where the user's values leave the range too, that is told.
        has_range = scale <= Decimal(float(np.finfo(kind.name).max))
        return Block(label, np.inf, SLACK * LEAST) if has_range else Block(label, note=OUT_OF_RANGE)
    if noise > Decimal(kind.steady) * scale:
        return Block(label, note=UNDECIDED)
    unit = Decimal(kind.unit) * scale
    allowed = SLACK * max(float(noise / unit), LEAST)
    return Block(label, float(top(values_of(given) - text) / unit), allowed, float(top(text - wanted) / unit))
