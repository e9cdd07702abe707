"""Calls that users make of a kernel, on data that `sb.verify` does not draw, and whether two modules give the same results.

A mutant counts where it changes a number in the results of one of these calls by more than rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.errors import ArgumentError
from symbptt.language.model import Model
from symbptt.verification import oracle
from symbptt.verification.blocks import in_blocks
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.regimes import REGIMES, Blocks, Regime, Size
from symbptt.verification.regimes import point as draw

Results = dict[str, Any]
SEED = 4321
ROUNDING = 1e-9
"""The part of the largest number of an array by which rounding may change it."""
FINE = 1e-12
"""The same where gates are shut, whose derivatives are to keep all digits."""
LARGE = 300, 24
"""Steps and samples of a call that has several blocks of steps as the module chooses them."""
BY_NAME = {regime.name: regime for regime in REGIMES}


@dataclass(frozen=True)
class Call:
    """One call: the numbers, the cotangents, and how they are given."""

    words: str
    regime: Regime
    point: Point
    sent: Arrays
    blocks: Blocks | None = None
    single: bool = False
    """A flag for one sample without a batch axis."""
    stateless: bool = False
    monitor: bool = False
    dtype: Any = np.float64
    twice: bool = False
    shut: bool = False

    def of(self, kernel: Kernel) -> Results:
        """Return all results of the call by name."""
        kernel = in_blocks(kernel, self.blocks)
        with np.errstate(all="ignore"):
            found = self._made(kernel)
            return self._made(kernel) if self.twice else found

    def _made(self, kernel: Kernel) -> Results:
        point = self.point
        params = self._cast({k: v for k, v in point.params.items() if k in kernel.module.SHAPES})
        inputs, state = (self._cast(v) for v in (point.inputs, point.state))
        targets, sent, masks = (
            self._cast(point.targets),
            self._cast(self.sent),
            {k: np.array(v) for k, v in point.masks.items()},
        )
        if self.single:
            inputs, sent = ({k: v[:, 0] for k, v in arrays.items()} for arrays in (inputs, sent))
            state = {k: v[0] for k, v in state.items()}
            targets = {k: v[:, 0] if point.steps and len(v) == point.steps and getattr(kernel.target, "at", "") == "every" else v[0]
                       for k, v in targets.items()}  # fmt: skip
        start = None if self.stateless else state
        if isinstance(kernel.target, Model):
            loss, found = kernel.value_and_grad(
                params, inputs, targets, start, steps=point.steps, monitor=self.monitor, **masks
            )
            values: Results = {"loss": loss, **{f"final {k}": v for k, v in (found.final or {}).items()}}
        else:
            run = kernel.forward(params, inputs, start, steps=point.steps, **masks)
            values = {**run.states, **run.outputs}
            found = kernel.backward(run, sent, monitor=self.monitor)
        flow = {f"flow of {k}": v for k, v in (found.flow or {}).items()}
        grads = {f"d{k}": v for k, v in (found.params | found.inputs).items()} | {
            f"d{k}_0": v for k, v in found.state.items()
        }
        return {k: np.array(v) for k, v in (values | flow | grads).items()}

    def _cast(self, arrays: Any) -> Arrays:
        # Copies: what a mutant writes into its arguments must not reach the calls behind.
        return {k: np.array(v, self.dtype if np.asarray(v).dtype.kind == "f" else None) for k, v in arrays.items()}


class Battery:
    """The calls of one kernel, with the results of the module without an edit."""

    def __init__(self, kernel: Kernel, regimes: tuple[str, ...]) -> None:
        self.kernel, self.regimes = kernel, regimes

    @cached_property
    def known(self) -> list[tuple[Call, Results, Results]]:
        """The calls with their results, and where numbers are moved by a few units of rounding: what these change is no sign of an edit."""
        found = []
        for call in calls_of(self.kernel, self.regimes):
            near = replace(call, point=_near(call.point))
            try:
                found.append((call, call.of(self.kernel), near.of(self.kernel)))
            except ArgumentError:
                # Without a state nothing tells the sizes of some cells, which say so.
                assert call.stateless, call.words
        return found

    def changed_by(self, kernel: Kernel) -> str:
        """Return the first call whose results are others with another kernel, or an empty text; "raises" where one fails."""
        for call, wanted, near in self.known:
            try:
                given = call.of(kernel)
            except Exception as error:  # whatever an edit leads to
                return f"raises {type(error).__name__}"
            slack = 1e-4 if call.dtype is np.float32 else FINE if call.shut else ROUNDING
            for name, value in wanted.items():
                if not _same(value, near[name], given.get(name), slack):
                    return f"{call.words}: {name}"
        return ""


def _near(point: Point) -> Point:
    """The point with its numbers moved by a few units of rounding."""
    random = np.random.default_rng(5)

    def moved(arrays: Any) -> Arrays:
        return {
            k: v if np.asarray(v).dtype.kind in "iu" else v * (1 + 1e-15 * random.standard_normal(np.shape(v)))
            for k, v in arrays.items()
        }

    return replace(point, params=moved(point.params), inputs=moved(point.inputs), state=moved(point.state))


def _same(wanted: Any, near: Any, given: Any, slack: float) -> bool:
    if given is None or np.shape(given) != np.shape(wanted) or given.dtype != wanted.dtype:
        return False
    top = np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted))
    with np.errstate(all="ignore"):
        allowed = slack * top + 100 * np.abs(near - wanted)
        close = (np.abs(given - wanted) <= allowed) | (given == wanted) | (np.isnan(given) & np.isnan(wanted))
    return bool(np.all(close | ~np.isfinite(near)))


def calls_of(kernel: Kernel, regimes: tuple[str, ...]) -> Iterator[Call]:
    """Yield the calls, those that differ most first."""
    target = kernel.target
    cell = kernel.cell
    for name in regimes:
        regime = BY_NAME[name]

        def at(T: int, B: int, other: bool = False, regime: Regime = regime, **masks: Any) -> Point:
            found = draw(target, regime, Size(T, B, other=other), SEED + T)
            assert found is not None
            return replace(found, lengths=masks.get("lengths"), reset=masks.get("reset"))

        def sent(point: Point, last: bool = False, only: str = "") -> Arrays:
            return {} if isinstance(target, Model) else oracle.cotangents(cell, point, SEED, last, only)

        def call(
            words: str, point: Point, last: bool = False, only: str = "", regime: Regime = regime, **rest: Any
        ) -> Call:
            return Call(f"{words} ({regime.name})", regime, point, sent(point, last, only), **rest)

        random = np.random.default_rng(7)
        shut = draw(target, regime, Size(3, 2, shut=True), SEED)
        assert shut is not None
        lengths, reset = np.array([3, 6, 1, 0, 5]), random.random((6, 5)) < 0.3
        yield call("three steps", at(3, 3), monitor=True)
        yield call("four blocks", at(10, 2, True), blocks=Blocks(3, 2))
        yield call("lengths and resets", at(6, 5, lengths=lengths, reset=reset), blocks=Blocks(4, 4), monitor=True)
        yield call("resets", at(6, 5, reset=reset), last=True)
        yield call("lengths, cotangents of outputs", at(6, 5, lengths=lengths), only="outputs", blocks=Blocks(2, 2))
        yield call("cotangents of states at the last step", at(9, 2), last=True, only="states", blocks=Blocks(5, 4))
        yield call("a long window", at(21, 1), blocks=Blocks(20, 8))
        yield call("one sample without a batch axis", at(4, 1), single=True, monitor=True)
        yield call("without an initial state", at(4, 2), stateless=True, twice=True)
        yield call("one step", at(1, 2))
        yield call("no step", at(0, 2))
        yield call("blocks as they are", at(*LARGE), twice=True)
        if regime.name == "saturated":
            yield call("shut gates", shut, shut=True)
        yield call("single precision", at(7, 2), dtype=np.float32)
        yield call(
            "lengths and resets of one sample without a batch axis",
            at(5, 1, lengths=np.array([4]), reset=np.array([[0], [1], [0], [0], [1]], bool)),
            single=True,
        )
