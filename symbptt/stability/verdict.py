"""What becomes of gradients in a run: one word, how sure it is, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.stability.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from symbptt.stability.statistics import t_probability
from symbptt.stability.trajectory import Trajectory
from symbptt.stability.zeros import advice_of, silent

NATS = 40.0
"""A kick is followed until it would have grown by this much."""
SHORTEST, LONGEST = 200, 4000
"""Steps of that run."""
KICK = 0.1
"""Its size, relative to that of the state, or to 1."""


@dataclass(frozen=True)
class Verdict:
    """`kind` is "vanishing", "exploding", "marginal" or "chaotic".

    With λ₁ the largest exponent and δ = `resolution`, one over the measured steps: vanishing is λ₁ < −δ, marginal |λ₁| ≤ δ,
    where a gradient changes by less than a factor e over the run; else it explodes. It is chaotic where a state nearby
    stays in a bounded region and finds an exponent above zero there too.

    `confidence` is the probability of that range of λ₁ for its error (Student's t; the disagreement of the two halves of a
    run that has not settled counts as error); None where one block of steps leaves no error. `reason` says what was seen.
    """

    kind: str
    confidence: float | None
    exponent: float
    error: float
    resolution: float
    reason: str


def verdict(run: Trajectory, spectrum: LyapunovSpectrum, left: int | None) -> Verdict:
    """Return the verdict; `left` is the step after which the state left the range of its type, if it did."""
    exponent, resolution = float(spectrum.exponents[0]), 1 / spectrum.steps
    error = error_of(spectrum)
    below, above = _tails(spectrum, resolution)

    def found(kind: str, confidence: float | None, reason: str) -> Verdict:
        return Verdict(kind, confidence, exponent, error, resolution, reason)

    if left is not None:
        return found("exploding", 1.0, f"the state itself leaves the range of {run.of.dtype} after step {left}")
    if np.isneginf(exponent):
        cause = advice_of(silent(run.of.cell, run.of.params, run.inputs, run.of.by_name(run.start)))
        return found("vanishing", below, f"nothing of the state passes a step{cause and f'; {cause}'}")
    if exponent < -resolution:
        return found(
            "vanishing", below, f"every gradient shrinks, the slowest by {percent(-np.expm1(exponent))} a step"
        )
    if exponent <= resolution:
        between = None if below is None or above is None else max(0.0, 1 - below - above)
        return found(
            "marginal", between, f"over the {spectrum.steps} measured steps gradients keep their size within a factor e"
        )
    kind, sure, reason = kicked(run, exponent)
    return found(kind, None if above is None or sure is None else min(above, sure), reason)


def percent(part: float) -> str:
    """Return a part of one as text with two significant digits."""
    return f"{100 * part:.2g} %" if 100 * part < 99.5 else f"{100 * part:.4g} %"


def error_of(spectrum: LyapunovSpectrum) -> float:
    """Return the standard error of the largest exponent, or half the difference of the two halves of the run if that is more and
    they disagree."""
    error = float(spectrum.error[0])
    if spectrum.converged or len(spectrum.history) < 4 or not np.isfinite(spectrum.exponents[0]):
        return error
    half = len(spectrum.history) // 2 - 1
    steps = spectrum.history_steps
    first, whole = spectrum.history[half, 0] * steps[half], spectrum.exponents[0] * steps[-1]
    drift = abs(first / steps[half] - (whole - first) / (steps[-1] - steps[half])) / 2
    return float(np.fmax(error, drift))


def _tails(spectrum: LyapunovSpectrum, resolution: float) -> tuple[float | None, float | None]:
    """The probabilities that the largest exponent lies under −resolution, and over resolution."""
    exponent, error, freedom = float(spectrum.exponents[0]), error_of(spectrum), max(1, spectrum.blocks - 1)
    if np.isneginf(exponent):
        return 1.0, 0.0
    if not np.isfinite(error):
        return None, None
    low, high = (
        (edge - exponent) / error if error else np.inf * np.sign(edge - exponent or 1)
        for edge in (-resolution, resolution)
    )
    return t_probability(float(low), freedom), 1 - t_probability(float(high), freedom)


def kicked(run: Trajectory, exponent: float) -> tuple[str, float | None, str]:
    """Return "chaotic" or "exploding", how sure, and why: from a run on from the last state, displaced a little."""
    steps = int(np.clip(np.ceil(NATS / exponent), SHORTEST, LONGEST))
    whole = run.of.run(run.inputs, run.of.by_name(run.start), run.steps)
    last = whole[-1]
    size = max(1.0, float(np.sqrt(np.mean(np.square(last)))))
    start = (last + KICK * size * np.random.default_rng(0).standard_normal(last.shape)).astype(last.dtype)
    inputs = {k: np.resize(v, (steps, *v.shape[1:])) for k, v in run.inputs.items()}
    with np.errstate(all="ignore"):
        after = np.abs(run.of.run(inputs, run.of.by_name(start), steps)).max((1, 2))
    if not np.isfinite(after).all() or _growth(after) > exponent / 2:
        return "exploding", 1.0, "perturbations grow, and the state with them: nothing holds it"
    found = lyapunov_spectrum(run.of.cell, run.of.params, inputs, run.of.by_name(start), count=1,
                              steps=None if inputs else steps)  # fmt: skip
    there, sure = float(found.exponents[0]), _tails(found, 1 / found.steps)[1]
    if there > 1 / found.steps:
        return "chaotic", sure, (f"perturbations grow while the state stays within {after.max():.3g}: "
                                 f"a second run of {steps} steps, displaced a little, finds λ₁ = {there:.3g}")  # fmt: skip
    return "exploding", 1.0, (f"the run stays at an unstable place; displaced a little it ends elsewhere, "
                              f"where λ₁ = {there:.3g}")  # fmt: skip


def _growth(size: Any) -> float:
    """The growth of the largest element of the state over the second half of a run, nats per step."""
    half = len(size) // 2
    first, second = size[: half + 1].max(), size[half:].max()
    return float(np.log(second / first) / half) if first > 0 else 0.0
