"""The settings in which a cell is checked: regimes of weights and inputs, sizes, and blocks of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import chain, permutations
from typing import Any

import numpy as np
import sympy as sp

from symbptt.errors import counted
from symbptt.ir.shape import named_size, names_in
from symbptt.ir.sizes import completed, fits, solved
from symbptt.ir.step import Argument, Step
from symbptt.language.cell import Cell
from symbptt.language.init import concrete
from symbptt.language.model import Model
from symbptt.settling import UnsettledError, settling_well
from symbptt.verification import oracle
from symbptt.verification.domains import at_border, holds, into, shown
from symbptt.verification.gates import gate_biases, saturating, saturating_biases
from symbptt.verification.objective import loss_of
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.requests import NOTHING, Asked


@dataclass(frozen=True)
class Regime:
    """Factors on matrices, on vectors, on inputs and on the initial state.

    An error is compared with the largest entry of its own block; where activations saturate, and differences such as
    h - tanh(a) keep few digits or none, with at least `floor` times the largest of all blocks and cotangents. `long`: also
    on many steps; `padded`: on samples of different lengths, one empty, that begin anew at some steps; `exact`: many
    numbers are exactly zero, one or minus one.
    """

    name: str
    matrices: float = 1.0
    vectors: float = 0.5
    inputs: float = 1.0
    state: float = 0.5
    floor: float = 0.0
    long: bool = False
    padded: bool = False
    exact: bool = False


REGIMES = (
    Regime("healthy", long=True),
    Regime("contractive", matrices=0.3, vectors=0.1, long=True),
    Regime("expansive", matrices=2.0),
    Regime("padded", padded=True),
    Regime("exact", exact=True),
    Regime("saturated", matrices=1.5, vectors=3.0, inputs=1.5, floor=1e-8),
    Regime("zero state", state=0.0),
    Regime("extreme inputs", inputs=100.0, floor=1.0),
)


@dataclass(frozen=True)
class Blocks:
    """Number of steps that a module takes in a block, and in a window of a scan, in place of what fits into the cache. `trusting`:
    the module takes all numbers for finite, so that it does not leave a wrong window to the plain loop."""

    steps: int
    window: int
    trusting: bool = False


@dataclass(frozen=True)
class Size:
    """Number of steps and samples, whether every named size is 1 or they all differ, whether the adjoints of states come
    after the last step alone, in which blocks of steps a module takes them, whether named sizes are others, and whether
    vectors are near 18, where gates keep no digits of what they leave of one, at which number the biases of gates are, whether all
    numbers are 0, 1 or -1, so that arguments of functions tie at their kinks, and some inputs are zero throughout; `whole` and
    `running`: of samples that end and begin anew, that none ends, or that none begins anew; `only`: cotangents of "states" or of
    "outputs" alone are given, where there are both; `small`: every named size is 2 where they fit; `mixed`: biases of gates are at the
    number and at its negative in turn."""

    steps: int
    batch: int
    ones: bool = False
    last: bool = False
    blocks: Blocks | None = None
    other: bool = False
    shut: bool = False
    gates: float | None = None
    ties: bool = False
    whole: bool = False
    running: bool = False
    only: str = ""
    small: bool = False
    mixed: bool = False

    @property
    def label(self) -> str:
        words = " sizes 1" * self.ones + " sizes 2" * self.small + " last" * self.last + " shut" * self.shut
        words += " no lengths" * self.whole + " no resets" * self.running + " ties" * self.ties
        words += f" gates {self.gates:g}" if self.gates is not None else ""
        words += " in turn" * self.mixed
        return f"T={self.steps} B={self.batch}{words}" + (f" blocks of {self.blocks.steps}" if self.blocks else "")


SIZES = (Size(3, 2), Size(1, 1), Size(2, 1, ones=True), Size(0, 2))
LONG = Size(25, 1, other=True)
"""Long enough to see where a backward pass stops going back; and the only one in one block with no axis of two entries, whose order
backward is that from one entry to the next."""
THREE = Size(5, 2, blocks=Blocks(2, 2), other=True)
"""Two whole blocks and the rest of one, and in each a window of a scan or less."""
TWO = Size(7, 1, last=True, blocks=Blocks(4, 2), only="states")
"""Two blocks, one not whole, of two windows each."""
WINDOWS = Size(13, 2, blocks=Blocks(11, 2, trusting=True))
"""Two blocks, one of more windows than there are roundings of a fixed coefficient, and the rest of a window."""
SHUT = Size(1, 1, shut=True)
FAR = 18.0
"""A bias at which float64 has one digit of 1 - tanh² and eight of 1 - σ, where both matter despite the floor."""
OTHERS_OPEN = (Size(1, 1, shut=True, gates=-FAR), Size(1, 1, gates=FAR, mixed=True), Size(1, 1, gates=-FAR, mixed=True))
"""The same with gates at the other end, for 1 - z of a gate that is shut lets through what a candidate beside it has; and gates alone,
every other one at its other end, for a gate inside of a candidate is seen where that is open and not at its end."""
GATES = (Size(3, 2, gates=-12.0), Size(3, 2, gates=-40.0))
"""Biases at which gates are shut, and nearly nothing flows through them."""
TIES = (Size(3, 2, ties=True),)
"""A sample whose first step is blank, and one of which all are."""
GIVEN = Regime("given")
"""The regime of inputs that are given, all steps and samples of them, as they are."""
LAST_DIGITS = 1e-14
"""The change at which the rounds of fixed points end while a cell is checked."""
SOON = 100
"""The rounds within which they settle: where a body hardly contracts, gradients have few digits."""
DRAWS = 100
"""How often numbers of which many are zero and one are drawn until no matrix is singular."""
HALVINGS = 12
"""How often parameters are halved for the rounds of fixed points to settle."""
MOST = 4096
"""Steps times samples of given inputs that are run as they are; of more, the first steps."""
PADDED = (
    Size(5, 4, whole=True, only="outputs"),
    Size(5, 4, last=True, running=True),
    Size(5, 4, running=True),
    Size(5, 6, blocks=Blocks(2, 2), other=True),
)
BORDERS = {
    "healthy": (THREE, TWO, WINDOWS),
    "expansive": (THREE,),
    "saturated": (THREE, SHUT, *OTHERS_OPEN, *GATES, PADDED[-1]),
    "exact": TIES,
}
"""By regime, on which other sizes: those of several blocks of steps, those whose gates are shut, those of ties, and those of
samples that end."""
LENGTHS = {4: np.array([3, 5, 1, 0]), 6: np.array([2, 4, 5, 3, 1, 0])}
"""By number of samples; at each border of blocks of two steps, which begin at steps 0, 2, 4 forward and 0, 1, 3 backward. One behind
another in rows of five steps, samples go on in another row, and the last row is full or not."""
RESET = np.array([[0, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]], bool)
"""At first steps, inside, at a last step, and behind a sample's end, where none is."""
RESETS = {
    4: RESET[:, [1, 0, 2, 3]],
    6: np.concatenate([RESET, [[0, 0], [0, 1], [0, 0], [0, 1], [0, 0]]], 1).astype(bool),
}


def sizes_of(regime: Regime) -> tuple[Size, ...]:
    """Return on which sizes a cell is checked in a regime."""
    return PADDED if regime.padded else (*SIZES, *BORDERS.get(regime.name, ()), *([LONG] if regime.long else []))


def size_given(asked: Asked) -> Size | None:
    """Return the steps and samples of the inputs that are given, or none where there are none."""
    for array in asked.inputs.values():
        steps, samples = array.shape[:2]
        return Size(min(steps, max(MOST // samples, 1)), min(samples, MOST))
    return None


def point(cell: Cell | Model, regime: Regime, size: Size, seed: int, asked: Asked = NOTHING) -> Point | None:
    """Return arguments of a cell, random ones where they are not given; none where its named sizes cannot all be 1, or it has no
    gate with a bias that may be moved. A matrix of zeros and ones is often singular: the numbers are drawn again where the cell has
    no value for that.

    Raises: SingularError where many draws have none.
    """
    draws = (_drawn(cell, regime, size, np.random.default_rng([seed, k] if k else seed), asked) for k in range(DRAWS))
    steps = [cell.cell.looped, cell.loss.step] if isinstance(cell, Model) else [cell.looped]
    if not (regime.exact and any(node.family == "algebra" for step in steps for node in step.graph)):
        return next(draws)
    for number, found in enumerate(draws):
        if found is None or _has_values(cell, found, is_last=number == DRAWS - 1):
            return found
    raise AssertionError


def _has_values(target: Cell | Model, drawn: Point, is_last: bool) -> bool:
    """Answer whether a cell and its loss have values at a point; at the last one tried, an error says where they have none."""
    try:
        with np.errstate(all="ignore"):
            loss_of(target, drawn) if isinstance(target, Model) else oracle.run(target, drawn)
    except oracle.SingularError:
        if is_last:
            raise
        return False
    return True


def _drawn(cell: Cell | Model, regime: Regime, size: Size, random: np.random.Generator, asked: Asked) -> Point | None:
    """Return arguments of a cell by one draw."""
    numbers = _sizes(cell, size, asked)
    shut = {} if size.gates is None else gates_to_move(cell, asked)
    far = saturating(_step(cell)) if size.shut else frozenset()
    if numbers is None or (size.gates is not None and not shut):
        return None

    def draw(a: Argument, lead: tuple[int, ...], factor: float) -> Any:
        return into(asked.domain.get(a.name), random.standard_normal(lead + concrete(a.shape, numbers)), factor)

    def weigh(a: Argument) -> Any:
        value = draw(a, (), regime.vectors) if a.name in asked.domain else _weight(a, regime, draw)
        is_bias = len(a.shape) == 1 or a.name in far
        is_far = size.shut and a.default is None and is_bias and a.name not in asked.domain
        if a.name in shut and size.gates is not None:
            turn = -1 if size.mixed and [*shut].index(a.name) % 2 else 1
            return turn * shut[a.name] * size.gates + value / 10
        return FAR + value / 10 if is_far else value

    params = {a.name: weigh(a) for a in _of(cell, "param")}
    params |= {a.name: weigh(a) for a in _of(cell, "const") if a.default is None}
    inputs: Arrays = {a.name: draw(a, (size.steps, size.batch), regime.inputs) for a in _of(cell, "input")}

    def choose(a: Argument, lead: tuple[int, ...]) -> Any:
        return random.integers(0, concrete((a.limit,), numbers)[0], (*lead, *concrete(a.shape, numbers)))

    inputs |= {a.name: choose(a, (size.steps, size.batch)) for a in _of(cell, "index")}
    state = {a.name: draw(a, (size.batch,), regime.state) for a in _of(cell, "state")}
    lead = (size.steps, size.batch) if getattr(cell, "at", "every") == "every" else (size.batch,)
    targets = {a.name: choose(a, lead) if a.limit is not None else draw(a, lead, 1.0) for a in _of(cell, "target")}
    if regime.exact:
        defaults = {
            a.name: a.default for a in _of(cell, "param") if a.default is not None and a.name not in asked.domain
        }
        params, inputs, state = (_exact(v, asked, random, size.ties, defaults) for v in (params, inputs, state))
        inputs = _partly_blank(inputs, asked) if size.ties else inputs
    inputs |= {k: _repeated(v, size) for k, v in asked.inputs.items()}
    is_padded = replace(size, small=False) in PADDED  # of whatever sizes the named ones are
    lengths = LENGTHS[size.batch] if is_padded and not size.whole else None
    reset = RESETS[size.batch] if is_padded and not size.running else None
    found = Point({**params, **asked.params}, inputs, state, size.steps, size.batch, targets, lengths, reset, numbers)
    return _contracting(_cell(cell), found, asked) if _cell(cell).tolerances else found


def _contracting(cell: Cell, drawn: Point, asked: Asked) -> Point:
    """Return a point at which the rounds of fixed points settle well within their number: parameters that nobody asks for are halved
    until they do, and once more.

    Raises: UnsettledError where they never do.
    """
    free = {k for k, v in drawn.params.items() if k not in asked.params and k not in asked.domain and np.size(v)}
    for halvings in range(HALVINGS + 1):
        try:
            with np.errstate(all="ignore"), settling_well(LAST_DIGITS, SOON):
                oracle.run(cell, _with_a_step(cell, drawn))
        except UnsettledError as error:
            if not free or halvings == HALVINGS:
                raise UnsettledError(
                    f"{cell.name} on random data: {error}\n  params= and inputs= say where its rounds settle"
                ) from None
        else:
            return drawn if not halvings else _halved(drawn, free)
        drawn = _halved(drawn, free)
    raise AssertionError


def _with_a_step(cell: Cell, drawn: Point) -> Point:
    """Return a point, or where it has no steps one with a step of zeros, in which the function is called at all."""
    if drawn.steps:
        return drawn
    inputs = {k: np.zeros((1, *np.shape(v)[1:]), np.asarray(v).dtype) for k, v in drawn.inputs.items()}
    return replace(drawn, inputs=inputs, steps=1)


def _halved(drawn: Point, free: Set[str]) -> Point:
    return replace(drawn, params={k: v / 2 if k in free else v for k, v in drawn.params.items()})


def gates_to_move(cell: Cell | Model, asked: Asked) -> dict[str, float]:
    """Return the biases of gates for which the caller has neither given values nor a domain."""
    found = saturating_biases(_step(cell))
    return {k: sign for k, sign in found.items() if k not in asked.domain and k not in asked.params}


def has_gates(cell: Cell | Model) -> bool:
    """Answer whether the biases that are moved are those of σ, of which a shut gate keeps all digits, not those of tanh."""
    return bool(gate_biases(_step(cell)))


def _step(cell: Cell | Model) -> Step:
    return _cell(cell).looped


def _cell(target: Cell | Model) -> Cell:
    return target.cell if isinstance(target, Model) else target


def settings_of(cell: Cell | Model, asked: Asked) -> tuple[str, ...]:
    """Return in words where a check draws: the domains and the values that are given, and which gates are shut."""
    found = [f"domains: {', '.join(f'{k} {shown(v)}' for k, v in asked.domain.items())}"] * bool(asked.domain)
    tolerances = ", ".join(f"{tolerance:g}" for tolerance in _cell(cell).tolerances)
    if tolerances:
        found.append(
            f"fixed points: parameters are halved until they settle, to a change of {LAST_DIGITS:g} or by rounding alone, where a call "
            f"of the module has the tolerance {tolerances}"
        )
    whole = size_given(asked)
    if whole is not None:
        first = "the first " * (whole.steps < len(next(iter(asked.inputs.values()))))
        size = f"{first}{counted(whole.steps, 'step')} of {counted(whole.batch, 'sample')}"
        rest = "in the others as many as a size has"
        found.append(f"given: {', '.join(asked.inputs)}; {size} as they are in the regime given, {rest}")
    found += [f"given: {', '.join(asked.params)}, as they are in all regimes"] * bool(asked.params)
    shut = gates_to_move(cell, asked)
    numbers = " and ".join(f"{size.gates:g}" for size in GATES)
    reason = "no parameter that may be moved is added to the argument of σ or tanh, and to nothing else"
    return (*found, f"biases of gates at {numbers}: {', '.join(shut) or f'none, {reason}'}")


def _exact(arrays: Arrays, asked: Asked, random: np.random.Generator, ties: bool, defaults: Arrays) -> Arrays:
    """Return arrays with many exact numbers, or with these alone; a parameter with a default has that exactly."""
    found: Arrays = {}
    for name, values in arrays.items():
        chance = random.random(np.shape(values))
        if np.asarray(values).dtype.kind in "iu":
            found[name] = values
        elif name in defaults:
            found[name] = np.where((chance < 0.6) | ties, np.asarray(defaults[name], float), values)
        else:
            found[name] = at_border(asked.domain.get(name), values, chance, ties)
    return found


def _partly_blank(arrays: Arrays, asked: Asked) -> Arrays:
    """Return inputs that are zero throughout, as padding is, a vector without a direction: at the first step of the first sample, and at
    all steps of the last of several. Those whose domain has no zero stay."""
    found: Arrays = {}
    for name, values in arrays.items():
        found[name] = np.array(values)
        is_number = np.asarray(values).dtype.kind == "f"
        if is_number and holds(asked.domain.get(name), np.zeros_like(values[:1, :1])):
            found[name][:1, :1] = 0
            found[name][:, max(values.shape[1] - 1, 1) :] = 0
    return found


def _repeated(array: Any, size: Size) -> Any:
    """The first steps and samples of a given array, which is repeated where it has too few."""
    steps, samples = (
        np.arange(wanted) % there for wanted, there in zip((size.steps, size.batch), array.shape, strict=False)
    )
    return array[steps[:, None], samples]


def _of(cell: Cell | Model, role: str) -> list[Argument]:
    return [a for a in cell.arguments if a.role == role]


def _weight(a: Argument, regime: Regime, draw: Callable[[Argument, tuple[int, ...], float], Any]) -> Any:
    """A default of the user's says where a parameter lives: values are drawn around it."""
    if a.default is not None:
        default = np.asarray(a.default, float)
        # Relative to the default, so that a time constant keeps its order of magnitude.
        return default + 0.1 * np.where(default == 0, 1.0, default) * draw(a, (), 1.0)
    if len(a.shape) < 2:
        return draw(a, (), regime.vectors)
    value = draw(a, (), regime.matrices)
    # Divided by the root of the fan-in, so that a regime means the same for all sizes.
    return value / np.sqrt(value.shape[-1])


def _sizes(cell: Cell | Model, size: Size, asked: Asked) -> Mapping[sp.Symbol, int] | None:
    """Numbers for the named sizes; those that are free all differ, in two ways, so that none can be mistaken for another."""
    axes = asked.axes(cell)
    shapes = [(*a.shape, *(() if a.limit is None else (a.limit,))) for a in cell.arguments]
    names = sorted({name for shape in shapes for name in names_in(shape)})
    told = solved(axes)
    free = [name for name in names if name not in told]
    # All orders are tried, as a cell may need one size to be larger than another, or a multiple of it.
    for numbers in _numbers(len(free), size):
        found = told | dict(zip(free, numbers, strict=True))
        if fits(axes, found):
            return {named_size(name): found[name] for name in names}
    if size.ones:
        return None
    least = max(completed(axes, names, dict.fromkeys(names, 1)).values(), default=1)
    large = range(least, least + len(free))
    found = told | dict(zip(free, large[::-1] if size.other else large, strict=True))
    if fits(axes, found):
        return {named_size(name): found[name] for name in names}
    found = completed(axes, names, {name: 2 + i for i, name in enumerate(names)})
    return {named_size(name): value for name, value in found.items()}


def _numbers(many: int, size: Size) -> Iterator[tuple[int, ...]]:
    if size.ones:
        return iter([(1,) * many])
    # Sizes that all differ catch an axis taken for another one; a second set, odd and in the opposite order, catches
    # a coincidence of the first.
    odd = range(3, 2 * many + 3, 2)
    differing = permutations(odd[::-1] if size.other else range(2, many + 2))
    return chain([(2,) * many], differing) if size.small else differing
