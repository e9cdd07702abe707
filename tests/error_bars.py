"""How often the exponent lies within ± two of its stated errors, under inputs that vary slowly: the table of docs/stability.md.

    python -m tests.error_bars [RUNS]

Inputs are first-order autoregressive, with a correlation that falls to 1/e in τ steps. The exponent is known: by hand where
it is the mean of the logarithm of a gate, else from a run of many samples with other inputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.stability.report.verdict import verdict
from symbptt.stability.runs.trajectory import trajectory

STEPS = 1000
PARTS = (1 / STEPS, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
"""τ as parts of the run."""
SAMPLES, LEAST, LENGTHS = 200, 4000, 20
"""Of a run that stands for the exact exponent: samples, and steps, at least so many and so many τ."""


def autoregressive(steps: int, lead: tuple[int, ...], tau: float, seed: int) -> Any:
    """Return a stationary series of variance one. Shapes: (steps, *lead)."""
    keep, random = np.exp(-1 / tau), np.random.default_rng(seed)
    now, rows = random.standard_normal(lead), []
    for _ in range(steps):
        now = keep * now + np.sqrt(1 - keep**2) * random.standard_normal(lead)
        rows.append(now)
    return np.array(rows)


@sb.cell
def factor(x: Input, h: State, a: Param):
    """λ₁ = ln a + ⟨x⟩."""
    return a * np.exp(x) * h


@sb.cell
def gate(x: Input, h: State, b: Param):
    """λ₁ = ⟨ln σ(b + x)⟩: a skewed distribution."""
    return sb.sigmoid(b + x) * h


@sb.cell
def gates(x: Input["n"], h: State["n"], b: Param["n"], U: Param["n n"]):
    f = sb.sigmoid(b + 2 * x)
    return f * h + (1 - f) * np.tanh(U @ h + x)


@sb.cell
def network(x: Input["n"], h: State["n"], U: Param["n n"]):
    return np.tanh(U @ h + x)


@dataclass(frozen=True)
class Case:
    """A cell, its parameters, the samples of a run, and the size of its inputs."""

    name: str
    cell: Any
    params: dict[str, Any]
    batch: int
    shape: tuple[int, ...]
    size: float

    def inputs(self, steps: int, batch: int, tau: float, seed: int) -> dict[str, Any]:
        return {"x": self.size * autoregressive(steps, (batch, *self.shape), tau, seed)}


def cases() -> Iterator[Case]:
    """Yield one factor, four samples of it, a saturating gate, gated and plain cells of several states, a network in
    chaos."""
    yield Case("factor", factor, {"a": np.array(0.98)}, 1, (), 0.3)
    yield Case("factor, 4 samples", factor, {"a": np.array(0.98)}, 4, (), 0.3)
    yield Case("gate", gate, {"b": np.array(1.0)}, 1, (), 2.0)
    random = np.random.default_rng(0)
    U = random.standard_normal((4, 4)) / 2
    yield Case("gated, N = 4", gates, {"b": np.ones(4), "U": U}, 1, (4,), 1.0)
    yield Case("network, N = 4", network, {"U": 1.5 * U}, 1, (4,), 1.0)
    yield Case("driven, N = 12", network, {"U": 2 * random.standard_normal((12, 12)) / np.sqrt(12)}, 1, (12,), 0.3)
    wild = 3 * np.random.default_rng(4).standard_normal((12, 12)) / np.sqrt(12)
    yield Case("chaos, N = 12", network, {"U": wild}, 1, (12,), 0.3)


@cache
def exponent(name: str, tau: float) -> float:
    """Return the exponent of a case for inputs of that τ."""
    case = next(c for c in cases() if c.name == name)
    if case.cell is factor:
        return float(np.log(case.params["a"]))
    if case.cell is gate:
        z, w = np.polynomial.hermite_e.hermegauss(80)
        return float(-(w * np.logaddexp(0, -(case.params["b"] + case.size * z))).sum() / w.sum())
    inputs = case.inputs(int(max(LEAST, LENGTHS * tau)), SAMPLES, tau, 10**6)
    return float(sb.lyapunov_spectrum(case.cell, case.params, inputs, count=1).exponents[0])


def judged(case: Case, tau: float, seed: int, steps: int = STEPS) -> tuple[Any, Any]:
    """Return the spectrum of a run and its verdict."""
    inputs = case.inputs(steps, case.batch, tau, seed)
    found = sb.lyapunov_spectrum(case.cell, case.params, inputs, seed=seed)
    return found, verdict(trajectory(case.cell, case.params, inputs, None, None), found, None)


def measured(case: Case, tau: float, runs: int, steps: int = STEPS) -> Any:
    """Return of each run whether ±2σ covers the exponent, whether the verdict is undecided, wrong, and whether it converged.

    Shapes: the result (runs, 4).
    """
    truth, rows = exponent(case.name, tau), []
    for seed in range(runs):
        found, said = judged(case, tau, seed, steps)
        right = "vanishing" if truth < 0 else "chaotic"
        wrong = said.kind not in (right, "undecided")
        rows.append(
            (abs(found.exponents[0] - truth) <= 2 * found.error[0], said.kind == "undecided", wrong, found.converged)
        )
    return np.array(rows, float)


def main(runs: int) -> None:
    """Print the table."""
    print("| | τ / T | within ±2σ | undecided | wrong verdict | converged |\n|---|---|---|---|---|---|")
    for case in cases():
        for part in PARTS:
            cover, undecided, wrong, settled = 100 * measured(case, part * STEPS, runs).mean(0)
            print(
                f"| {case.name} | {part:g} | {cover:.0f} % | {undecided:.0f} % | {wrong:.0f} % | {settled:.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
