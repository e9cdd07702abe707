"""Initialisation for a requested memory: the gain or the gate biases at which a gradient falls to 1/e in so many steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from symbptt.checks import check_mapping, named
from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.language.each_step import given_each_step
from symbptt.stability.activations.mean_field import root
from symbptt.stability.design.horizon import Runs
from symbptt.stability.design.knobs import Knob, knobs
from symbptt.stability.gradients.silent_parameters import STEPS, advice_of, silent
from symbptt.stability.runs.default_sizes import sizes_for

Arrays = Mapping[str, Any]
WITHIN = 0.1
"""A horizon that is reached is measured with fresh data to differ from that asked for by this part at most."""
AGREE = 2.0
"""One that is not is given where it is within this factor, and said not to be reached."""
ROUNDS = 4
"""Solutions with more and more data at the most."""
KINDS = ("exponent", "gradient")
TIGHT = 1e-4
"""Relative distance of the ends between which a solution lies."""


@dataclass(frozen=True)
class Initialisation:
    """Parameters with the horizon asked for, and the changes that reach it.

    `kind` is "bias" (the biases of the gates were moved) or "gain" (the recurrent weights were multiplied by `value`); `changed`
    are the names, `shifts` what was added to each bias, None where some of its elements moved up and others down by |`value`|.
    `value` is the shift where all have the same. `achieved` is the horizon of a run with other inputs and states than those
    solved with, None where gradients do not fall there; `low` and `high` are its 95 % interval, high being infinite where that
    is not known. `what` says of what: "exponent", −1/λ₁, the direction that lasts longest, or "gradient", the lag from which on
    the norm of a gradient stays under 1/e. `alive` of `dimension` directions last so long: their own horizons, by the singular
    values of the product over the horizon, are within 10 % of it or longer; where the one measured is, one direction does.
    """

    params: dict[str, Any] = field(repr=False)
    kind: str
    changed: tuple[str, ...]
    value: float
    horizon: float
    achieved: float | None
    low: float
    high: float
    shifts: dict[str, float | None] = field(default_factory=dict)
    what: str = "exponent"
    alive: int = 0
    dimension: int = 0

    @property
    def reached(self) -> bool:
        """Answer whether the horizon measured is within 10 % of the one asked for."""
        return self.achieved is not None and abs(self.achieved / self.horizon - 1) <= WITHIN

    def text(self) -> str:
        """Return the changes and their effect in words."""
        what = self._shifted() if self.kind == "bias" else f"multiply {', '.join(self.changed)} by {self.value:.4g}"
        got = f"{self.achieved:.3g} steps ({self.low:.3g} to {self.high:.3g})" if self.achieved else "no finite horizon"
        of = "" if self.what == "exponent" else " of the norm of a gradient"
        missed = "" if self.reached else ", the nearest that was found; it is not reached"
        return (
            f"{what}: a run with fresh data measures a horizon{of} of {got} for the {self.horizon:g} asked for{missed}; "
            f"{self.alive} of {self.dimension} directions last so long"
        )

    __str__ = text

    def _shifted(self) -> str:
        """Name the shifts of the biases, those with the same shift together."""
        groups: dict[float | None, list[str]] = {}
        for name, shift in self.shifts.items():
            groups.setdefault(shift, []).append(name)
        return " and ".join(
            f"move each element of {', '.join(names)} by {abs(self.value):.3g} in the direction that opens its gate"
            if shift is None
            else f"add {shift:+.3g} to {', '.join(names)}"
            for shift, names in groups.items()
        )


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def init_for_horizon(
    cell: Cell, horizon: float, params: Arrays | None = None, inputs: Arrays | None = None, *,
    sizes: Mapping[str, int] | None = None, what: str = "exponent", seed: int = 0,
) -> Initialisation:  # fmt: skip
    """Return parameters with which a gradient falls to 1/e in `horizon` steps along a run.

    By `what="exponent"` it is the gradient that lasts longest: λ₁ = −1/horizon. Most directions of a cell fall earlier, and
    with them the norm of a gradient in no particular direction; `what="gradient"` asks that norm to fall to 1/e, for good, in
    `horizon` steps. `alive` of the result says how many directions last so long.

    Gate biases are moved where the cell has gates: parameters that reach an elementwise factor of a state without a product.
    Else, or where no bias gives that horizon, the recurrent weights are scaled: the parameters that multiply what depends on
    the state. Both are found from the graph. The least memory comes first, and the search stops at the first value with the
    horizon: the first loss of stability, as λ₁ need not grow with the gain. The network is simulated as it is, its weights
    the same at every step.

    `params` defaults to `init` with `sizes` (32 where nothing says), `inputs` to standard normal numbers; data that are given
    are repeated as long as it takes. A solution is measured with fresh data, and solved again with those too until the
    horizon is within 10 % of the one asked for; `reached` and the text say where that was not so.

    Shapes: inputs (T, B, ...) or (T, ...).

    Raises: ArgumentError for a horizon under 1, or one that no value of bias or gain gives within a factor of 2; as
    `kernel.forward` does.

    Source: Tallec, Ollivier 2018, "Can recurrent neural networks warp time?" (biases for a horizon); here λ₁ is solved for.
    """
    where = f"in init_for_horizon of {getattr(cell, 'name', cell)}"
    _check(cell, horizon, what, where)
    cell.check_real()
    for role, given, example in (("params", params, "cell.init(sizes)"), ("inputs", inputs, '{"x": x}'),
                                 ("sizes", sizes, 'sizes={"n": 32}')):  # fmt: skip
        if given is not None:
            check_mapping(role, given, example)
    params, inputs, sizes = named(params), named(inputs), named(sizes)
    if inputs is None:
        cell.check_contexts()  # data that are drawn are so at each step
    cell, inputs, _ = given_each_step(cell, inputs)
    _check_inputs(cell, inputs, where)
    dims = sizes_for(cell, {**(params or {}), **(inputs or {})}) | dict(sizes or {})
    params = cell.init(dims, seed=seed) if params is None else dict(params)
    dtype = next((np.asarray(v).dtype for v in params.values() if np.asarray(v).dtype.kind == "f"), np.dtype(float))
    runs = Runs(cell, inputs, dims, dtype, (seed,), what)
    if cause := advice_of(silent(cell, params, *runs.data(STEPS, seed))):
        raise ArgumentError(three_lines("nothing of the state passes a step", where, cause))
    return _best(knobs(cell, params, *runs.data(1, seed)), runs, float(horizon), where)


def _check(cell: Any, horizon: Any, what: Any, where: str) -> None:
    if not isinstance(cell, Cell):
        raise ArgumentError(
            three_lines(f"init_for_horizon takes a cell, got {type(cell).__name__}", cure="give model.cell")
        )
    if not (isinstance(horizon, int | float | np.number) and 1 <= horizon < np.inf):
        raise ArgumentError(three_lines(f"horizon={horizon!r}", where, "give a number of steps from 1"))
    if what not in KINDS:
        raise ArgumentError(three_lines(f"what={what!r}", where, 'write what="exponent" or what="gradient"'))


def _check_inputs(cell: Cell, inputs: Arrays | None, where: str) -> None:
    for a in [a for a in cell.arguments if inputs and a.role in ("input", "index")]:
        shape = np.shape((inputs or {}).get(a.name, ()))
        if len(shape) - len(a.shape) not in (1, 2) or not shape[0]:
            raise ArgumentError(three_lines(f"{a.name}: an array of at least one step is expected, got shape {shape}", where,
                                            "give (T, B, ...) or (T, ...)"))  # fmt: skip


def _best(candidates: Iterable[Knob], runs: Runs, horizon: float, where: str) -> Initialisation:
    """The first knob's initialisation that reaches the horizon, else the nearest of all."""
    seen, near = [], []
    for knob in candidates:
        value, why = _solve(knob, runs, horizon)
        found = None if value is None else _refined(knob, runs, value, horizon)
        if found is not None and found.reached:
            return found
        if found is not None and found.achieved and horizon / AGREE <= found.achieved <= AGREE * horizon:
            near.append(found)
        seen.append(f"{knob.kind} of {', '.join(knob.names)}: {why if found is None else _missed(found)}")
    if near:
        return min(near, key=_distance)
    raise ArgumentError(three_lines(f"no initialisation with a horizon of {horizon:g} steps was found", where,
                                    "; ".join(seen) or "no bias of a gate and no gain of its recurrence was found"))  # fmt: skip


def _distance(found: Initialisation) -> float:
    return abs(np.log(found.achieved / found.horizon)) if found.achieved else np.inf


def _missed(found: Initialisation) -> str:
    if found.achieved:
        return f"the nearest measures {found.achieved:.3g} steps"
    return "at the nearest gradients end at exactly zero, or do not fall"


def _refined(knob: Knob, runs: Runs, value: float, horizon: float) -> Initialisation:
    """The nearest of solutions with more and more data, each measured with data that it was not solved with."""
    found = [_measured(knob, runs, value, horizon)]
    while not found[-1].reached and len(found) < ROUNDS:
        # The data that showed the miss join those that are solved with, so that the next measurement needs fresh ones
        # again.
        runs = replace(runs, seeds=(*runs.seeds, runs.seeds[-1] + 1))
        again = _near(knob, runs, value, horizon)
        if again is None:
            break
        value = again
        found.append(_measured(knob, runs, value, horizon))
    return min(found, key=_distance)


def _near(knob: Knob, runs: Runs, value: float, horizon: float) -> float | None:
    """The solution near an earlier one, with all data; None where there is none."""
    step = 0.05 * max(abs(value), 0.1)
    for width in (step, 4 * step):
        low, high = (runs.rate(knob.set(v), horizon) + 1 / horizon for v in (value - width, value + width))
        if low < 0 <= high:
            return root(_gap(knob, runs, horizon), value - width, value + width, TIGHT)
    return None


def _gap(knob: Knob, runs: Runs, horizon: float) -> Callable[[float], float]:
    """Return the distance of the rate from −1/horizon as a function of the knob's value, bounded for the search of its root."""
    return lambda value: float(np.clip(runs.rate(knob.set(value), horizon), -1e3, 1e3)) + 1 / horizon


def _solve(knob: Knob, runs: Runs, horizon: float) -> tuple[float | None, str]:
    """The first value on the knob's scale where the rate comes up to −1/horizon, else the one whose horizon is nearest to it; None,
    and what was seen, where none is within a factor of 2."""
    seen: dict[float, float] = {}
    gap = _gap(knob, runs, horizon)

    def below(i: int, search: bool) -> float:
        found = runs.rate(knob.set(knob.scale[i]), horizon, search=search)
        # A long run of a value takes the place of a short one.
        seen[knob.scale[i]] = -1 / found if found < 0 else np.inf
        return found + 1 / horizon

    # A scan with short runs finds the first crossing cheaply; long runs then confirm both of its ends.
    high = _crossing(lambda i: below(i, True) < 0, len(knob.scale))
    while high is not None and 0 < high < len(knob.scale):  # a long run may put the crossing one place further
        low, top = below(high - 1, False), below(high, False)
        if low < 0 <= top:
            return root(gap, knob.scale[high - 1], knob.scale[high], TIGHT), ""
        high += 1 if top < 0 else -1
        if low >= 0 > top:
            break
    near = min(seen, key=lambda value: abs(np.log(max(seen[value], np.finfo(float).tiny) / horizon)))
    if horizon / AGREE <= seen[near] <= AGREE * horizon:
        return near, ""
    return None, f"horizons from {min(seen.values()):.3g} to {max(seen.values()):.3g} steps"


def _crossing(below: Callable[[int], bool], count: int) -> int | None:
    """The first place whose value is not below and that before it is."""
    was = False
    for i in range(count):
        now = below(i)
        if was and not now:
            return i
        was = now
    return None


def _measured(knob: Knob, runs: Runs, value: float, horizon: float) -> Initialisation:
    """The horizon that data of the next seed measure."""
    params, fresh = knob.set(value), replace(runs, seeds=(runs.seeds[-1] + 1,))
    shifts = {n: value * sign if sign else None for n, sign in zip(knob.names, knob.signs, strict=True)}
    signed = value * (knob.signs[0] or 1) if len(set(knob.signs)) == 1 else value
    seen = fresh.measured(params, horizon)
    alive, of = fresh.alive(params, horizon, WITHIN) if seen.horizon else (0, 0)
    if seen.horizon and seen.horizon >= (1 - WITHIN) * horizon:
        alive = max(alive, 1)  # the direction that was measured, on other data
    return Initialisation(params, knob.kind, knob.names, signed, horizon, seen.horizon, seen.low, seen.high, shifts, runs.what,
                          alive, of)  # fmt: skip
