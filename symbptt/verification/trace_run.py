"""The numbers of a trace: cotangents of all values of a run, their norms, and the shares of the paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.verification.adjoints.routes import Routed, routed
from symbptt.verification.adjoints.sweep import pulled
from symbptt.verification.adjoints.tape import Edge, Tape
from symbptt.verification.adjoints.traced import Masks, Traced
from symbptt.verification.mistakes.words import Words
from symbptt.verification.trace_report import PathShare


@dataclass(frozen=True)
class Look:
    """A trace while it is made: what it is written with, the values of the run, its cotangents."""

    words: Words
    tape: Tape
    masks: Masks
    found: Traced
    sent: Mapping[str, Any]

    def norm_of(self, array: Any) -> Any:
        """Return the norm of an array over samples at each step."""
        flat = np.asarray(array, float).reshape(len(array), int(np.prod(np.shape(array)[1:])))
        # The largest number is divided out, so that no square overflows or vanishes.
        top = np.max(np.abs(flat), 1, initial=0.0)
        scale = np.where(np.isfinite(top) & (top > 0), top, 1.0)
        return scale * np.sqrt(np.sum((flat / scale[:, None]) ** 2, 1))

    def largest(self, name: str, sent: Any) -> float:
        """Return the largest norm at one step of a cotangent that is given, of every step or of the last alone."""
        step = self.tape.recursion.step
        whole = sent.ndim == 2 + len(self.tape.shape((step.next | step.outputs)[name]))
        return float(np.max(self.norm_of(sent if whole else sent[None]), initial=0.0))

    def roots(self) -> dict[int, Any]:
        """Return what enters each step, by result."""
        step, found = self.tape.recursion.step, dict[int, Any]()
        outputs = self._outputs()
        for name, id in [*step.next.items(), *step.outputs.items()]:
            bar = self.found.found.entered[name] if name in step.next else outputs.get(name)
            if bar is not None:
                found[id] = bar if id not in found else found[id] + bar
        return found

    def _outputs(self) -> dict[str, Any]:
        """Return the cotangents of outputs at every step."""
        found, step = {}, self.tape.recursion.step
        for name, value in self.sent.items():
            if name in step.outputs:
                whole = np.zeros((self.tape.steps, self.tape.batch, *self.tape.shape(step.outputs[name])))
                whole[-1 if value.ndim < whole.ndim else slice(None)] = value
                found[name] = self.masked(whole)
        return found

    def masked(self, value: Any) -> Any:
        """Return a value with zeros behind the ends of samples."""
        active = self.masks.active
        return np.where(active.reshape(active.shape + (1,) * (value.ndim - 2)), value, 0.0)

    def bars(self) -> dict[int, Any]:
        """Return the cotangent of each value at all steps, (T, B, ...), in the order in which a step computes them."""
        found: dict[int, Any] = {}

        def look(edge: Edge, bar: Any, given: Any) -> None:
            found.setdefault(
                edge.value, self.masked(np.broadcast_to(bar, (self.tape.steps, self.tape.batch, *bar.shape[2:])))
            )

        for id, value in pulled(self.tape, slice(0, self.tape.steps), self.roots(), record=look).items():
            if id in self.tape.varying:
                found.setdefault(
                    id, self.masked(np.broadcast_to(value, (self.tape.steps, self.tape.batch, *value.shape[2:])))
                )
        return found

    def norms(self) -> dict[str, Any]:
        """Return the norms of the cotangents of states after each step, then of values with a name and of inputs, by name."""
        step, graph = self.tape.recursion.step, self.tape.recursion.graph
        leaves = {id: name for name, id in step.leaves.items()}
        states = {a.name for a in step.of_role("state")}
        found = {name: self.norm_of(self.found.found.entered[name]) for name in step.next}
        for id, bar in self.bars().items():
            name = leaves.get(id) or graph.names.get(id) or next((k for k, v in step.outputs.items() if v == id), "")
            if name and name not in found and name not in states:
                found[name] = self.norm_of(bar)
        return found

    def paths(self) -> Iterator[PathShare]:
        """Yield the paths of one step, with their shares."""
        step, T = self.tape.recursion.step, self.tape.steps
        if not T:
            return
        outputs = self._outputs()
        routes = routed(self.tape, self.found.handing | outputs, self._is_named())
        for state in [a.name for a in step.of_role("state")]:
            own = [r for r in routes if r.state == state]
            parts = [self._kept(r) for r in own]
            total = sum(parts, np.zeros_like(self.found.handed[state]))
            square = np.sum((total * total).reshape(T, -1), 1)
            for route, part in zip(own, parts, strict=True):
                share = np.sum((part * total).reshape(T, -1), 1) / np.where(square > 0, square, np.nan)
                yield PathShare(state, self._route(route), self.norm_of(part), share)

    def _kept(self, route: Routed) -> Any:
        """Return what a path hands on, without what a reset sends to the initial state, and what has ended."""
        stays = self.masks.active & ~self.masks.reset
        return np.where(stays.reshape(stays.shape + (1,) * (route.given.ndim - 2)), route.given, 0.0)

    def _is_named(self) -> frozenset[int]:
        graph, step = self.tape.recursion.graph, self.tape.recursion.step
        known = {id for id in graph.names if id in self.tape.recursion.forward_ids}
        return frozenset(known | set(step.leaves.values()) | set(step.next.values()) | set(step.outputs.values()))

    def _route(self, route: Routed) -> str:
        names = [self.words.value(id) for id in route.ids[1:-1]]
        return " → ".join([self.words.result(route.result), *names, self.words.argument(route.state)])
