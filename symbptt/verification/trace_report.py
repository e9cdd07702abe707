"""The trace of a gradient as data: events, norms and paths, as text and for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.errors import counted
from symbptt.notebook import preformatted

LINES, COLUMNS = 16, 6
"""Steps and paths of a table at the most; others between them are left out."""


@dataclass(frozen=True)
class Event:
    """The first step, going back, and the variable whose cotangent goes wrong there: `kind` is "NaN", "infinite", "below" or "above" (a
    threshold), or "forward" where the run itself is not finite. `step` counts from 1, as on pages."""

    kind: str
    step: int
    variable: str
    text: str
    place: str = ""

    def __str__(self) -> str:
        return self.text + (f"\n    {self.place}" if self.place else "")


@dataclass(frozen=True)
class PathShare:
    """A path by which a step hands its cotangents to a state of the step before.

    Shapes: `norms` (T,) of what it hands on, over all samples; `shares` (T,) the part of all that is handed on, which add up to 1
    over the paths; NaN where nothing is handed on.
    """

    state: str
    route: str
    norms: Any
    shares: Any

    @property
    def summary(self) -> str:
        """The mean share over the steps and the largest norm, in words."""
        return (
            f"mean share {_percent(_mean(self.shares))}, largest norm {_short(float(np.max(self.norms, initial=0.0)))}"
        )


@dataclass(frozen=True)
class GradientTrace:
    """The cotangents of a run, step by step.

    Shapes: `norms` by value (T,), the norm of the cotangent over all samples at each step, of states after it; `unit` is the largest norm
    of a cotangent given at one step, by which the thresholds count. `difference` is the largest relative difference of the gradients that
    the paths add up to from those of the kernel.
    """

    name: str
    steps: int
    norms: Mapping[str, Any] = field(repr=False)
    paths: tuple[PathShare, ...] = field(repr=False)
    events: tuple[Event, ...]
    difference: float
    below: float
    above: float
    unit: float
    shown: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def first(self) -> Event | None:
        """The first event that is not finite, else the first, going back, that leaves a threshold; none where nothing goes wrong."""
        return self.events[0] if self.events else None

    def text(self) -> str:
        """Return what goes wrong first, a table by step, and the shares of the paths."""
        head = [f"{self.name}: the gradient through {counted(self.steps, 'step')}, from the last to the first"]
        head += [str(event) for event in self.events] or [
            "nothing goes wrong: all cotangents are finite and within the thresholds"
        ]
        head += [
            f"thresholds: {self.below:.0e} and {self.above:.0e} of {self.unit:.3g}, the largest norm of a cotangent given"
        ]
        return "\n".join([*head, *self._table(), *self._agreement()])

    def _agreement(self) -> Iterator[str]:
        if self.difference <= 1e-10:
            yield f"the paths add up to the gradients of the kernel, to {self.difference:.0e}"
        elif np.isfinite(self.difference):
            yield f"the paths add up to the gradients of the kernel but for {self.difference:.1e}: rounding is that large here"
        else:
            yield "the gradients are not finite, so that the sums of the paths are not compared with those of the kernel"

    def _table(self) -> list[str]:
        """Return the norms of the states' cotangents and the shares of the largest paths, step by step."""
        if not self.steps:
            return []
        states = [name for name in self.shown if name in self.norms]
        # Of many paths the largest have columns, and all are listed below.
        ranked = sorted(self.paths, key=lambda path: -_size(float(np.max(path.norms, initial=0.0))))
        columns = [path for path in self.paths if path in ranked[:COLUMNS]]
        head = [
            "step",
            *(f"‖{self.shown[name]}‖" for name in states),
            *(f"p{self.paths.index(path) + 1}" for path in columns),
        ]
        rows = [
            [
                str(t + 1),
                *(_short(self.norms[name][t]) for name in states),
                *(_percent(path.shares[t]) for path in columns),
            ]
            for t in _some(self.steps)
        ]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        told = [f"p{i}  {path.route}: {path.summary}" for i, path in enumerate(self.paths, 1)]
        return [*lines, "paths to the state before, with their shares of all that is handed to it", *told]

    def numbers(self) -> dict[str, Any]:
        """Return all of it as data for JSON: not a number and infinity as texts."""
        return {
            "name": self.name,
            "steps": self.steps,
            "events": [
                {"kind": e.kind, "step": e.step, "variable": e.variable, "text": e.text, "place": e.place}
                for e in self.events
            ],
            "norms": {name: _plain(v) for name, v in self.norms.items()},
            "paths": [
                {"state": p.state, "route": p.route, "norms": _plain(p.norms), "shares": _plain(p.shares)}
                for p in self.paths
            ],
            "difference": _plain([self.difference])[0],
            "thresholds": {"below": self.below, "above": self.above, "unit": self.unit},
        }

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return preformatted(str(self))


def _some(T: int) -> list[int]:
    """Return steps from the last to the first, at most some of them, the first and the last always."""
    return sorted({int(t) for t in np.linspace(0, T - 1, min(T, LINES)).round()}, reverse=True)


def _size(x: float) -> float:
    return float(x) if np.isfinite(x) else np.inf


def _short(x: float) -> str:
    return f"{x:.2e}"


def _percent(x: float) -> str:
    # Adding zero makes a zero of -0.
    return f"{round(100 * float(x)) + 0} %" if np.isfinite(x) else "-"


def _mean(shares: Any) -> float:
    known = shares[np.isfinite(shares)]
    return float(known.mean()) if len(known) else np.nan


def _plain(values: Any) -> list[Any]:
    return [float(x) if np.isfinite(x) else str(float(x)) for x in values]
