"""What becomes of gradients in a run: one word, how sure it is, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.stability.box import local_of
from symbptt.stability.linearity import is_affine
from symbptt.stability.lyapunov import LyapunovSpectrum, spectrum_of
from symbptt.stability.statistics import t_probability
from symbptt.stability.trajectory import Trajectory
from symbptt.stability.zeros import advice_of, silent

NATS = 40.0
"""A kick is followed until it would have grown by this much."""
SHORTEST, LONGEST = 200, 4000
"""Steps of that run."""
KICK = 0.1
"""Its size, relative to that of the state, or to 1."""
DECIDED, UNSETTLED = 0.9, 0.99
"""A verdict that is less probable than this is none: in a run that has settled, and in another."""
FEWEST = 16
"""Points of a history from which a power of time is told from an exponential."""


@dataclass(frozen=True)
class SampleVerdict:
    """What becomes of the gradients of one sample: "vanishing", "marginal" or "growing", by its own exponent and error."""

    kind: str
    exponent: float
    error: float
    confidence: float | None


@dataclass(frozen=True)
class Verdict:
    """`kind` is "vanishing", "exploding", "marginal", "chaotic", "mixed" or "undecided".

    With λ₁ the largest exponent and δ = `resolution`, one over the measured steps: vanishing is λ₁ < −δ, marginal |λ₁| ≤ δ,
    where a gradient changes by less than a factor e over the run, or grows like a power of time; else it explodes. It is
    chaotic where a state nearby stays in a bounded region and finds an exponent above zero there too, and the step is not affine
    in its states. Mixed are batches whose samples certainly differ: `samples` holds the verdict of each.

    `confidence` is the probability of that range of λ₁ for its error (Student's t; the disagreement of the two halves of a
    run that has not settled counts as error); None where one block of steps leaves no error. Below 90 % the verdict is
    undecided, below 99 % where the run has not settled.
    `reason` says what was seen.
    """

    kind: str
    confidence: float | None
    exponent: float
    error: float
    resolution: float
    reason: str
    samples: tuple[SampleVerdict, ...] = ()


def verdict(run: Trajectory, spectrum: LyapunovSpectrum, left: int | None) -> Verdict:
    """Return the verdict; `left` is the step after which the state left the range of its type, if it did."""
    exponent, resolution = float(spectrum.exponents[0]), 1 / spectrum.steps
    error, each = error_of(spectrum), _samples(spectrum, run.dimension)

    def found(kind: str, confidence: float | None, reason: str) -> Verdict:
        return Verdict(kind, confidence, exponent, error, resolution, reason, each)

    if left is not None:
        return found("exploding", 1.0, f"the state itself leaves the range of {run.of.dtype} after step {left}")
    certain = [s for s in each if s.confidence is not None and s.confidence >= _sure(spectrum, len(each))]
    if len({s.kind for s in certain}) > 1:
        return found("mixed", min(s.confidence or 0.0 for s in certain), _mixture(each))
    below, above = _tails(exponent, error, spectrum.blocks, resolution)
    if np.isneginf(exponent):
        cause = advice_of(silent(run.of.cell, run.of.params, run.inputs, run.of.by_name(run.start)))
        return found("vanishing", below, f"nothing of the state passes a step{cause and f'; {cause}'}")
    if exponent < -resolution:
        reason = f"every gradient shrinks, the slowest by {percent(-np.expm1(exponent))} a step"
        return _decided(found("vanishing", below, reason), spectrum)
    if exponent <= resolution:
        between = None if below is None or above is None else max(0.0, 1 - below - above)
        reason = f"over the {spectrum.steps} measured steps gradients keep their size within a factor e"
        return _decided(found("marginal", between, reason), spectrum)
    power = _power(spectrum, run.dimension)
    if power is not None:
        return found("marginal", None, f"gradients grow like a power of time, about t^{power:.2g}, not exponentially")
    kind, sure, reason = kicked(run, exponent)
    return _decided(found(kind, None if above is None or sure is None else min(above, sure), reason), spectrum)


def _decided(found: Verdict, spectrum: LyapunovSpectrum) -> Verdict:
    """A verdict, or that there is none: its range of λ₁ is not probable enough for the error, which a run that has not settled
    knows less well."""
    if found.confidence is None or found.confidence >= _sure(spectrum):
        return found
    reason = (
        f"λ₁ = {found.exponent:.3g} with an error of {found.error:.2g} may be {found.kind} "
        f"({100 * found.confidence:.0f} % probable) or not: the run is too short for how slowly it varies"
    )
    return replace(found, kind="undecided", reason=reason)


def _sure(spectrum: LyapunovSpectrum, samples: int = 1) -> float:
    """The probability from which on a verdict counts; of many samples each must be surer, that none of them is wrong."""
    return 1 - (1 - (DECIDED if spectrum.converged else UNSETTLED)) / samples


def _samples(spectrum: LyapunovSpectrum, size: int) -> tuple[SampleVerdict, ...]:
    """The verdict of each sample by its own largest exponent."""
    found, resolution = [], 1 / spectrum.steps
    for b, exponents in enumerate(spectrum.samples):
        i = int(np.argmax(exponents))
        exponent, error = float(exponents[i]), float(spectrum.sample_errors[b, i])
        below, above = _tails(exponent, error, spectrum.blocks, resolution)
        between = None if below is None or above is None else max(0.0, 1 - below - above)
        if exponent < -resolution:
            found.append(SampleVerdict("vanishing", exponent, error, below))
        elif exponent <= resolution or _power_of(spectrum, b, size) is not None:
            found.append(SampleVerdict("marginal", exponent, error, between))
        else:
            found.append(SampleVerdict("growing", exponent, error, above))
    return tuple(found)


def _mixture(each: tuple[SampleVerdict, ...]) -> str:
    """How many samples are of which kind, and the largest exponent of all."""
    kinds = {kind: [i for i, s in enumerate(each) if s.kind == kind] for kind in ("growing", "marginal", "vanishing")}
    verbs = {"growing": "grow", "marginal": "keep their size", "vanishing": "vanish"}
    parts = [f"those of {_which(found)} {verbs[kind]}" for kind, found in kinds.items() if found]
    top = max(range(len(each)), key=lambda i: each[i].exponent)
    return f"gradients differ between samples: {', '.join(parts)}; the largest λ₁ is {each[top].exponent:.3g}, of sample {top}"


def _which(samples: list[int]) -> str:
    shown = ", ".join(map(str, samples[:6]))
    return f"sample{'s' * (len(samples) > 1)} {shown}{f' and {len(samples) - 6} more' * (len(samples) > 6)}"


def _power(spectrum: LyapunovSpectrum, size: int) -> float | None:
    """The power of time that the gradients of all samples grow like; None where that of one does not."""
    found = [_power_of(spectrum, b, size) for b in range(spectrum.growth.shape[1])]
    return None if any(p is None for p in found) else float(np.max([p for p in found if p is not None]))


def _power_of(spectrum: LyapunovSpectrum, sample: int, size: int) -> float | None:
    """The power of time that a perturbation of a sample grows like.

    Its logarithm grows by p ln 2 over every doubling of time, where that of an exponential grows twice as much over each as
    over the one before; a Jordan block of all N states reaches the power N − 1, N being `size`. Time counts from where the
    perturbation started.
    """
    before, times = spectrum.transient, np.append(0, spectrum.history_steps)
    end = before + int(times[-1])
    start = max(end / 4, before, 1.0)
    middle = np.sqrt(start * end)
    grown = np.interp(
        [start - before, middle - before, end - before], times, np.append(0.0, spectrum.growth[:, sample])
    )
    first, second = np.diff(grown)
    power = float(second / np.log(end / middle))
    limit = (end / start) ** (1 / 3)  # between 1, of a power, and √(end / start), of an exponential
    is_power = 0 < second <= limit * first and power <= size - 0.5
    return power if is_power and len(times) > FEWEST else None


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


def _tails(exponent: float, error: float, blocks: int, resolution: float) -> tuple[float | None, float | None]:
    """The probabilities that an exponent lies under −resolution, and over resolution."""
    freedom = max(1, blocks - 1)
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
    if is_affine(local_of(run.of.cell)):
        return "exploding", 1.0, "perturbations grow, and the step is affine in its states: nothing holds them"
    found = spectrum_of(Trajectory(run.of, inputs, start, steps), count=1)
    there = float(found.exponents[0])
    sure = _tails(there, error_of(found), found.blocks, 1 / found.steps)[1]
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
