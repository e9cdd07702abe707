"""The independent oracle: the user's function, sample by sample and step by step, its derivatives by small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sympy as sp

from symbptt.checks import named
from symbptt.errors import CellError
from symbptt.language.cell import Cell, place_of
from symbptt.language.init import concrete
from symbptt.language.model import Loss, Model
from symbptt.language.namespaces import held_names
from symbptt.verification.complex_step import Kept, analytic, as_like, whole

Arrays = dict[str, Any]
STEP = 1e-40
"""The complex step; its square vanishes when added to any number that is not tiny itself."""


@dataclass(frozen=True)
class Point:
    """The arguments at which a check is made.

    Shapes: params as annotated, inputs (T, B, ...), state (B, ...); lengths (B,) and reset (T, B), or None. `sizes` are
    the numbers that stand for the named sizes; `initial` is the state to which a reset returns, where another one enters.
    """

    params: Arrays
    inputs: Arrays
    state: Arrays
    steps: int
    batch: int
    targets: Arrays = field(default_factory=dict)
    lengths: Any = None
    reset: Any = None
    sizes: Mapping[sp.Symbol, int] = field(default_factory=dict)
    initial: Arrays | None = None

    @property
    def active(self) -> Any:
        """Answer whether a step is before the end of its sample, (T, B)."""
        lengths = np.full(self.batch, self.steps) if self.lengths is None else self.lengths
        return np.arange(self.steps)[:, None] < lengths

    @property
    def masks(self) -> Arrays:
        """The options of a kernel by which samples end and begin anew; empty without them."""
        return {k: v for k, v in (("lengths", self.lengths), ("reset", self.reset)) if v is not None}


class SingularError(CellError):
    """A function of a matrix that it does not have, as of one that is singular."""


Block = tuple[str, str, Any]
"""The place of a block: the group, the name and the index."""


def run(cell: Cell, point: Point) -> tuple[Arrays, Arrays]:
    """Return states and outputs after every step, (T, B, ...), by the user's function alone.

    Each sample runs for its own length, and from its initial state again at each reset; behind its end its states stay
    and its outputs are zero.
    """
    names = [a.name for a in cell.arguments if a.role == "state"]
    given = constants(cell, point) | point.params  # a check may give constants of its own kind
    groups = (given, point.inputs, point.state, point.state if point.initial is None else point.initial)
    params, inputs, start, initial = (prepared(group, point) for group in groups)
    active = point.active
    found: dict[str, dict[tuple[int, int], Any]] = {}
    with holding(cell.function, arrays_of(point)):
        for b in range(point.batch):
            first, state = ({name: group[name][b] for name in names} for group in (initial, start))
            for t in range(active[:, b].sum()):
                if point.reset is not None and point.reset[t, b]:
                    state = first
                given = {**params, **{k: v[t, b] for k, v in inputs.items()}, **state}
                results = _by_name(names, called(cell, given, t, b))
                state = {name: analytic(results[name]) for name in names}
                for name, value in results.items():
                    # A copy: the function may return an argument itself, or write into its result at the next step.
                    found.setdefault(name, {})[t, b] = as_like(np.array(value), value)
    arrays = {k: _padded(v, active, start.get(k)) for k, v in found.items()} if found else _no_steps(cell, point)
    return {k: arrays[k] for k in names if k in arrays}, {k: v for k, v in arrays.items() if k not in names}


def arrays_of(point: Point) -> list[Any]:
    """Return the parameters, inputs and initial states of a point."""
    return [*arrays_by_name(point).values()]


def arrays_by_name(point: Point) -> Arrays:
    """Return the parameters, inputs and initial states of a point by name."""
    return {**point.params, **point.inputs, **point.state}


def holding(function: Callable[..., Any], arrays: Sequence[Any]) -> AbstractContextManager[None]:
    """Let arrays that a user's function allocates hold what its arguments hold in place of floats, if these do."""
    is_complex = any(map(np.iscomplexobj, arrays))
    kind = next((type(v) for v in arrays if isinstance(v, Kept)), None)
    are_objects = any(np.asarray(v).dtype == object for v in arrays)
    if kind is None and not is_complex and not are_objects:
        return nullcontext()

    def made(array: Any) -> Any:
        if array.dtype.kind not in "fcO":
            return array
        if kind is None and are_objects:
            return array.astype(object)
        numbers = array if kind is None else kind.of_numbers(array)
        return analytic(numbers.astype(complex) if is_complex else numbers)

    return held_names(function, made)


def called(target: Cell | Loss, given: Arrays, t: int, b: int) -> Any:
    """Return what the user's function returns at a step of a sample.

    Raises: SingularError where it takes a function of a matrix that has none.
    """
    known, values = _KNOWN.get(), own(target, given)
    key = None if known is None else _key(target, values)
    if known is not None and key in known:
        return known[key][1]
    try:
        found = target.called(values)
    except np.linalg.LinAlgError as error:
        raise SingularError(
            f"{target.name} has no value at step {t} of sample {b} of random data: {str(error).lower()}{place_of(target.function)}\n"
            "  inputs=, params= and domain= say where it is defined; or add a small multiple of the identity to the matrix"
        ) from None
    if known is not None:
        # Together with what the key names by its number, which must live as long as that tells it from others.
        known[key] = (target, values), found
    return found


Calls = dict[Any, tuple[Any, Any]]
"""Results of users' functions by their arguments."""
_KNOWN: ContextVar[Calls | None] = ContextVar("known", default=None)


@contextmanager
def remembering(known: Calls) -> Iterator[None]:
    """Let a call of a user's function with arguments that it was given before have the result of that call: in exact arithmetic both
    are the same, and steps that begin a run once more, for another truncation or another loss, are those of the first."""
    token = _KNOWN.set(known)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _key(target: Cell | Loss, values: Arrays) -> Any:
    """Return what tells a call from others; what is no array of numbers is told by its number, or a plain value by itself."""

    def told(v: Any) -> Any:
        if isinstance(v, np.ndarray) and v.dtype.kind in "biufc":
            return type(v), v.dtype.str, v.shape, v.tobytes()
        return (type(v), v) if isinstance(v, int | float | str) else id(v)

    return id(target), *((name, told(v)) for name, v in values.items())


def constants(cell: Cell, point: Point) -> Arrays:
    """Return constants with a default, by name; one number for an array fills the shape of its annotation."""
    known = {a.name: a for a in cell.arguments if a.role == "const" and a.default is not None}
    one = {name for name, a in known.items() if a.shape and not np.ndim(a.default)}
    return {k: np.full(concrete(a.shape, point.sizes), a.default) if k in one else a.default for k, a in known.items()}


def with_constants(point: Point, target: Cell | Model) -> Point:
    """Return the point with the constants that have a default, those of a loss too, among the parameters."""
    if isinstance(target, Cell):
        return replace(point, params=constants(target, point) | point.params)
    of_loss = {a.name: a.default for a in target.loss.arguments if a.role == "const" and a.default is not None}
    return replace(point, params=constants(target.cell, point) | of_loss | point.params)


def _no_steps(cell: Cell, point: Point) -> Arrays:
    """States and outputs where no sample has a step, which are those that samples begin with, and zeros."""
    lead = (point.steps, point.batch)
    states = {k: np.array(np.broadcast_to(v, (point.steps, *np.shape(v)))) for k, v in point.state.items()}
    shapes = {k: concrete(cell.looped.graph.shape(id), point.sizes) for k, id in cell.looped.outputs.items()}
    return states | {k: np.zeros(lead + shape) for k, shape in shapes.items()}


def _padded(found: dict[tuple[int, int], Any], active: Any, start: Any) -> Any:
    """Values by step and sample as one array; behind a sample's end the last of a state, and of an output zero."""
    steps, batch = active.shape
    ends = active.sum(0)
    zero = np.zeros_like(next(iter(found.values())))

    def at(t: int, b: int) -> Any:
        if t < ends[b]:
            return found[t, b]
        if start is None:
            return zero
        # A sample without any step has its initial state throughout.
        return found[ends[b] - 1, b] if ends[b] else start[b]

    return as_like(np.array([[at(t, b) for b in range(batch)] for t in range(steps)]), zero)


def prepared(arrays: Arrays, point: Point) -> Arrays:
    """All floats are complex where one is, so that none is in the way of an assignment in place, and a constant is a value as others
    are, which shares a slope at a tie: a number that stands in the body wins there."""
    groups = (point.params, point.inputs, point.state, point.initial or {})
    if not any(np.iscomplexobj(array) for group in groups for array in group.values()):
        return arrays
    return as_complex(arrays)


def as_complex(arrays: Arrays) -> Arrays:
    """Return arrays of which all floats are complex."""
    return {
        k: analytic(as_like(np.asarray(v, complex), v)) if np.asarray(v).dtype.kind in "fc" else v
        for k, v in arrays.items()
    }


def own(target: Cell | Loss, values: Arrays) -> Arrays:
    """A call's arguments by name, copied: changes that a function makes in place do not reach the caller.

    An index is a value at a tie, and so is a whole number that is a constant, which may be the number of rounds of a loop.
    """
    wanted = {a.name: values[a.name] for a in target.arguments}
    copied = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in wanted.items()}
    return {k: whole(np.asarray(v) if isinstance(v, int) else v) for k, v in copied.items()}


def _by_name(names: list[str], result: Any) -> Arrays:
    if isinstance(result, dict):
        found: Arrays = named(result)
        return found
    given = list(result) if isinstance(result, tuple | list) else [result]
    return dict(zip(names, given, strict=True))


def cotangents(cell: Cell, point: Point, seed: int, last: bool = False, only: str = "") -> Arrays:
    """Return random cotangents of all states, but held ones, and outputs at every step; with `last` of states after the last alone, with
    `only` of "states" or "outputs", where there are both."""
    random = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        states, outputs = run(cell, point)
    sent = {
        k: random.standard_normal(v.shape[1:] if last and k in states else v.shape)
        for k, v in (states | outputs).items()
    }
    chosen = {"states": states, "outputs": outputs}.get(only) or sent
    # What is sent to a state that stays goes to its first value as it is: that is no derivative to compare.
    return {k: v for k, v in sent.items() if k in chosen and k not in cell.held}


def differentiable(target: Cell | Model) -> set[str]:
    """Return the names of the arguments that have a gradient."""
    return {a.name for a in target.arguments if a.role in ("param", "state", "input")}


def blocks(point: Point, wanted: set[str]) -> dict[str, Block]:
    """Return every block of gradients by its label: each parameter, each input at each step, each initial state."""
    found: dict[str, Block] = {f"d{name}": ("params", name, ...) for name in point.params}
    found |= {f"d{name}_0": ("state", name, ...) for name in point.state}
    found |= {f"d{name}[t={t}]": ("inputs", name, t) for name in point.inputs for t in range(point.steps)}
    return {label: block for label, block in found.items() if block[1] in wanted}


def moved(point: Point, group: str, name: str, change: Any) -> Point:
    """Return the point with `change` added to one array."""
    arrays = getattr(point, group)
    changed: dict[str, Any] = {group: {**arrays, name: arrays[name] + change}}
    return replace(point, **changed)


def complex_step(value: Callable[[Point], Any], point: Point, block: Block) -> Any:
    """Return the derivative with respect to one block, by a complex step an element.

    Source: Squire and Trapp 1998, "Using complex variables to estimate derivatives of real functions", equation 6.
    """
    group, name, index = block
    # No difference is formed, so that the step may be as small as the range allows: the result has full precision.
    found = [np.imag(value(moved(point, group, name, 1j * STEP * unit))) / STEP for unit in units(point, block)]
    return np.reshape(np.array(found, float), np.shape(getattr(point, group)[name][index]))


def steps_of_samples(slopes: Callable[[Point], Any], point: Point, block: Block) -> Any:
    """Return the derivative with respect to one block of inputs or initial states, (B, ...), by a complex step an element of one sample:
    all samples are moved at once, each has its own slope."""
    group, name, index = block
    array = getattr(point, group)[name]
    found = np.zeros(np.shape(array[index]))
    for position in np.ndindex(*found.shape[1:]):
        unit = np.zeros(np.shape(array))
        unit[index][:, *position] = 1.0
        found[:, *position] = slopes(moved(point, group, name, 1j * STEP * unit)) / STEP
    return found


def units(point: Point, block: Block) -> Iterator[Any]:
    """Yield the direction of each element of a block, shaped like the array in which it stands."""
    group, name, index = block
    array = getattr(point, group)[name]
    for position in np.ndindex(*np.shape(array[index])):
        unit = np.zeros(np.shape(array))
        unit[index][position] = 1.0
        yield unit
