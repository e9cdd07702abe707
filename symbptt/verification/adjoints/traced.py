"""The cotangents of a run at every step, with samples that end, states that are reset, and truncation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.language.truncation import Chunked, Window
from symbptt.verification.adjoints.sweep import Found, pulled
from symbptt.verification.adjoints.tape import Tape
from symbptt.verification.objective import spans

Arrays = dict[str, Any]
Truncation = Window | Chunked | None


@dataclass(frozen=True)
class Masks:
    """Steps that count, and those before which a state returns to the initial one, (T, B) bool each."""

    active: Any
    reset: Any


@dataclass(frozen=True)
class Traced:
    """The cotangents of a run. Shapes: `found` as of a sweep; by state (T, B, ...): `handing` what a step has that it hands to the step
    before, `handed` that which arrives there, `restarted` that which a reset sends to the initial state instead."""

    found: Found
    handing: Arrays
    handed: Arrays
    restarted: Arrays


def traced(tape: Tape, cotangents: Mapping[str, Any], masks: Masks, truncation: Truncation = None) -> Traced:
    """Return the cotangents at every step of a run.

    Shapes: cotangents (T, B, ...) by state and output; those of a state behind the end of a sample are of its last step.
    """
    return _Sweep(tape, masks).of(cotangents, truncation)


class _Sweep:
    """The sums of one or several sweeps over the same run."""

    def __init__(self, tape: Tape, masks: Masks) -> None:
        self.tape, self.masks = tape, masks
        step, T = tape.recursion.step, tape.steps
        self.shapes = {name: (T, tape.batch, *tape.shape(id)) for name, id in step.next.items()}
        self.leaves: dict[int, Any] = {}
        self.entered, self.handing, self.handed, self.restarted = (
            {k: np.zeros(v) for k, v in self.shapes.items()} for _ in range(4)
        )
        self.start = {k: np.zeros(v[1:]) for k, v in self.shapes.items()}

    def of(self, cotangents: Mapping[str, Any], truncation: Truncation) -> Traced:
        sent = self._placed(cotangents)
        if isinstance(truncation, Window):
            self._window(sent, truncation.k)
        else:
            for span in spans(truncation, self.tape.steps):
                self._span(sent, span.lo, span.hi, span.first)
        found = Found(self.leaves, self.start, self.entered)
        return Traced(found, self.handing, self.handed, self.restarted)

    def _placed(self, cotangents: Mapping[str, Any]) -> Arrays:
        """Return cotangents at the steps to which they belong; of samples without a step they are those of the initial state."""
        active, found = self.masks.active, dict[str, Any]()
        ends = active.sum(0)
        for name, value in cotangents.items():
            full = self._of_every_step(name, np.asarray(value, float))
            found[name] = np.where(_like(active, full), full, 0.0)
            rest = np.where(_like(active, full), 0.0, full).sum(0)
            for b, end in enumerate(ends) if name in self.shapes else ():
                # Indexed twice, for the entry of a scalar state is no view that could be added to.
                if end:
                    found[name][end - 1, b] += rest[b]
                else:
                    self.start[name][b] += rest[b]
        return found

    def _of_every_step(self, name: str, value: Any) -> Any:
        """Return a cotangent of every step; one of the last step alone is that of the initial state where there is none."""
        shape = self._shape(name)
        if value.ndim == len(shape):
            return np.array(value)
        full = np.zeros(shape)
        if len(full):
            full[-1] = value
        else:
            self.start[name] += value
        return full

    def _shape(self, name: str) -> tuple[int, ...]:
        step = self.tape.recursion.step
        return (self.tape.steps, self.tape.batch, *self.tape.shape((step.next | step.outputs)[name]))

    def _span(self, sent: Arrays, lo: int, hi: int, first: int) -> None:
        """Let the losses of some steps flow back to the step `first`."""
        carry = {k: np.zeros((1, *v[1:])) for k, v in self.shapes.items()}
        for t in reversed(range(first, hi)):
            at = slice(t, t + 1)
            bars = {k: v + sent[k][at] if k in sent and t >= lo else v for k, v in carry.items()}
            outputs = {k: v[at] for k, v in sent.items() if k not in bars} if t >= lo else {}
            carry = self._back(at, bars, outputs, t > first or not first)
        if not first:
            for name, value in carry.items():
                self.start[name] += value[0]

    def _window(self, sent: Arrays, k: int) -> None:
        """Let the loss of each step flow back through k steps, all of them at once."""
        T = self.tape.steps
        bars = {name: sent.get(name, np.zeros(shape)) for name, shape in self.shapes.items()}
        outputs = {name: v for name, v in sent.items() if name not in bars}
        for d in range(min(k, T)):
            carry = self._back(slice(0, T - d), bars, outputs, d < k - 1)
            for name, value in carry.items():
                # The first of these steps is the first of all, which the initial state enters.
                self.start[name] += value[0]
            if d == k - 1 and T - d > 0:
                # Only the first step hands what it has to the initial state, which no window leaves out.
                self._hand(slice(0, 1), {n: v[:1] for n, v in bars.items()}, {n: v[:1] for n, v in carry.items()})
            bars, outputs = {name: value[1:] for name, value in carry.items()}, {}

    def _back(self, at: slice, bars: Arrays, outputs: Arrays, hands_on: bool) -> Arrays:
        """Go back through the steps `at`, all at once, and return what they hand to the steps before."""
        tape, step = self.tape, self.tape.recursion.step
        active, reset = self.masks.active[at], self.masks.reset[at]
        roots: dict[int, Any] = {}
        for name, id in [*step.next.items(), *step.outputs.items()]:
            bar = bars.get(name, outputs.get(name))
            if bar is not None:
                roots[id] = bar if id not in roots else roots[id] + bar
        for name, bar in bars.items():
            self.entered[name][at] += bar
        found: dict[int, Any] = {}
        for id, value in pulled(tape, at, roots).items():
            array = np.broadcast_to(value, (len(active), tape.batch, *value.shape[2:]))
            found[id] = np.where(_like(active, array), array, 0.0)
            if id not in self.leaves:
                self.leaves[id] = np.zeros((tape.steps, *array.shape[1:]))
            self.leaves[id][at] += found[id]
        before: Arrays = {}
        for name, bar in bars.items():
            whole = found.get(step.leaves[name], np.zeros_like(bar))
            gone = np.where(_like(reset, whole), whole, 0.0)
            self.start[name] += gone.sum(0)
            self.restarted[name][at] += gone
            before[name] = np.where(_like(reset, whole), 0.0, whole)
        if hands_on:
            self._hand(at, bars, before)
        return before

    def _hand(self, at: slice, bars: Arrays, before: Arrays) -> None:
        for name, bar in bars.items():
            self.handing[name][at] += bar
            self.handed[name][at] += before[name]


def _like(mask: Any, array: Any) -> Any:
    return mask.reshape(mask.shape + (1,) * (array.ndim - 2))
