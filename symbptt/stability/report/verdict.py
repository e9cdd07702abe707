"""The verdict on the gradients of a run: one word, how sure it is, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.stability.algebra.linearity import is_affine
from symbptt.stability.gradients.silent_parameters import advice_of, silent
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.runs.trajectory import Trajectory
from symbptt.stability.spectra.block_means import t_probability
from symbptt.stability.spectra.lyapunov import LyapunovSpectrum, spectrum_of

NATS = 40.0
"""A kick is followed until it would have grown by this much."""
SHORTEST, LONGEST = 200, 4000
"""Steps of that run."""
KICKS = 0.1, 1e-3, 1e-6, 1e-9
"""Their sizes, relative to that of the state, or to 1: a smaller one is tried where a larger leaves the region that bounds the state."""
DECIDED, UNSETTLED = 0.9, 0.98
"""The least probability of a verdict: in a run that has converged, and in another."""
FEWEST = 16
"""Points of a history from which a power of time is told from an exponential."""
EARLIEST, PLACES, CLOSE = 30, 64, 0.02
"""The earliest part of the run, the number of times, and the mean squares of residuals that count as alike, for the fit of a power."""
PIECES, NEAR, FAR = 192, 6, 24
"""Number of pieces of time, and the two numbers of pieces over which the wandering of the residual of a power is measured."""
TINY = 1e-18
FLAT = 0.25
"""The least power that counts as one."""


@dataclass(frozen=True)
class SampleVerdict:
    """The verdict on the gradients of one sample: "vanishing", "marginal" or "growing", by its own exponent and error."""

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
    run that has not converged counts as error); of a power of time the probability that nothing exponential is added to it,
    from how far the rest wanders. It is None where one block of steps leaves no error. Below 90 % the verdict is undecided,
    below 98 % where the run has not converged.
    `reason` says what was seen.
    """

    kind: str
    confidence: float | None
    exponent: float
    error: float
    resolution: float
    reason: str
    samples: tuple[SampleVerdict, ...] = ()

    @property
    def ended(self) -> tuple[int, ...]:
        """The samples whose gradients end at exactly zero."""
        return tuple(i for i, sample in enumerate(self.samples) if np.isneginf(sample.exponent))

    @property
    def slowest(self) -> int | None:
        """The sample with the largest exponent where the gradients of some others end at exactly zero, so that means over the
        samples say nothing; else None."""
        if len(self.ended) in (0, len(self.samples)):
            return None
        return max(range(len(self.samples)), key=lambda i: self.samples[i].exponent)


def verdict(run: Trajectory, spectrum: LyapunovSpectrum, left: int | None) -> Verdict:
    """Return the verdict; `left` is the step after which the state left the range of its type, if it did."""
    exponent, resolution = float(spectrum.exponents[0]), 1 / spectrum.steps  # of the mean over samples
    error, each = error_of(spectrum), _samples(spectrum, run.dimension)

    def found(kind: str, confidence: float | None, reason: str) -> Verdict:
        return Verdict(kind, confidence, exponent, error, resolution, reason, each)

    if left is not None:
        return found("exploding", 1.0, f"the state itself leaves the range of {run.of.dtype} after step {left}")
    # Samples differ certainly only where the verdict of each is sure by itself.
    certain = [s for s in each if s.confidence is not None and s.confidence >= _sure(spectrum, len(each))]
    if len({s.kind for s in certain}) > 1:
        return found("mixed", min(s.confidence or 0.0 for s in certain), _mixture(each, certain))
    alive = [s for s in each if not np.isneginf(s.exponent)]
    if np.isneginf(exponent) and alive:
        # The mean over samples is −∞ where one sample is; gradients last as long as those of the slowest.
        slowest = max(alive, key=lambda s: s.exponent)
        exponent, error = slowest.exponent, slowest.error
    below, above = _tails(exponent, error, spectrum.blocks, resolution)
    if not alive:
        cause = advice_of(silent(run.of.cell, run.of.params, run.inputs, run.of.by_name(run.start)))
        reason = (
            f"nothing of the state passes a step; {cause}"
            if cause
            else "every gradient is exactly zero after some steps"
        )
        return found("vanishing", below, reason)
    if exponent < -resolution:
        reason = f"every gradient shrinks, the slowest by {percent(-np.expm1(exponent))} a step"
        shrinking = found("vanishing", below, reason)
        if shrinking.ended:
            ends = f"; λ₁ is that of the slowest sample, for those of {which(shrinking.ended)} end at exactly zero"
            shrinking = replace(shrinking, reason=reason + ends)
        return _decided(shrinking, spectrum)
    if exponent <= resolution:
        between = None if below is None or above is None else max(0.0, 1 - below - above)
        over = "step" if spectrum.steps == 1 else f"{spectrum.steps} measured steps"
        reason = f"over the {over} gradients keep their size within a factor e"
        steady = _decided(found("marginal", between, reason), spectrum)
        if steady.kind == "marginal":
            return steady
    power = _power(spectrum, run.dimension)
    if power is not None:
        like_a_power = _decided(found("marginal", power.confidence, _powers(power.exponent)), spectrum)
        if like_a_power.kind == "marginal":
            return like_a_power
    if exponent <= resolution:
        return steady
    kind, sure, reason = kicked(run, exponent)
    return _decided(found(kind, None if above is None or sure is None else min(above, sure), reason), spectrum)


def _decided(found: Verdict, spectrum: LyapunovSpectrum) -> Verdict:
    """Return a verdict, or "undecided" where its range of λ₁ is not probable enough for the error, of which a run that has not
    converged tells less."""
    if found.confidence is None or found.confidence >= _sure(spectrum):
        return found
    reason = (
        f"λ₁ = {found.exponent:.3g} with an error of {found.error:.2g} may be {found.kind} "
        f"({100 * found.confidence:.0f} % probable) or not: the run is too short to tell"
    )
    return replace(found, kind="undecided", reason=reason)


def _sure(spectrum: LyapunovSpectrum, samples: int = 1) -> float:
    """The probability from which on a verdict counts; of many samples each must be surer, that none of them is wrong."""
    # Bonferroni: the chance of one wrong verdict is split between the samples.
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
        elif exponent <= resolution:
            found.append(SampleVerdict("marginal", exponent, error, between))
        elif (power := _power_of(spectrum, b, size)) is not None:
            found.append(SampleVerdict("marginal", exponent, error, power.confidence))
        else:
            found.append(SampleVerdict("growing", exponent, error, above))
    return tuple(found)


def _mixture(each: tuple[SampleVerdict, ...], certain: Sequence[SampleVerdict]) -> str:
    """Tell which samples are certainly of which kind, and the largest exponent of all."""
    kinds = {
        kind: [i for i, s in enumerate(each) if s in certain and s.kind == kind]
        for kind in ("growing", "marginal", "vanishing")
    }
    kinds["undecided"] = [i for i, s in enumerate(each) if s not in certain]
    verbs = {
        "growing": "grow",
        "marginal": "keep their size",
        "vanishing": "vanish",
        "undecided": "may do either",
    }
    parts = [f"those of {which(found)} {verbs[kind]}" for kind, found in kinds.items() if found]
    top = max(range(len(each)), key=lambda i: each[i].exponent)
    return f"gradients differ between samples: {', '.join(parts)}; the largest λ₁ is {each[top].exponent:.3g}, of sample {top}"


def which(samples: Sequence[int]) -> str:
    """Return samples by their numbers, six at the most."""
    shown = ", ".join(map(str, samples[:6]))
    return f"sample{'s' * (len(samples) > 1)} {shown}{f' and {len(samples) - 6} more' * (len(samples) > 6)}"


def _powers(power: float) -> str:
    if power < FLAT:
        return "gradients keep their size, but for what comes and goes: no exponential growth is left"
    return f"gradients grow like a power of time, about t^{power:.2g}, not exponentially"


@dataclass(frozen=True)
class _Power:
    """A power of time, and the probability that no exponential is added to it."""

    exponent: float
    confidence: float


def _power(spectrum: LyapunovSpectrum, size: int) -> _Power | None:
    """The largest power of time that the gradients of samples grow like; None where those of one do not. How sure that is, is
    told by their mean, as λ₁ is that of the samples' mean."""
    found = [_power_of(spectrum, b, size) for b in range(spectrum.growth.shape[1])]
    known = [p for p in found if p is not None]
    if not known or len(known) < len(found):
        return None
    exponents = np.array([p.exponent for p in known])
    return _Power(
        float(exponents.max()), _is_still(_beside(spectrum, spectrum.growth.mean(1), float(exponents.mean())))
    )


def _power_of(spectrum: LyapunovSpectrum, sample: int, size: int) -> _Power | None:
    """The power p of time t that a perturbation of a sample grows like, 0 where it keeps its size; None where it does not.

    The logarithm of its growth is a + p ln t + λ t by least squares at times that are evenly spaced in ln t, and λ, what is left
    to an exponential, is at most the resolution; the power alone describes it as well as an exponential alone. A Jordan block
    of N states, N being `size`, reaches the power N − 1. Time counts from where the perturbation started.
    """
    before, times = spectrum.transient, np.append(0, spectrum.history_steps)
    if len(times) <= FEWEST:
        return None
    end = before + int(times[-1])
    # Evenly spaced in ln t, a power of time is a straight line whose points count alike.
    t = np.geomspace(max(before, end / EARLIEST, 1.0), end, PLACES)
    grown = np.interp(t - before, times, np.append(0.0, spectrum.growth[:, sample]))
    if not np.isfinite(grown).all():
        return None
    one, log, line = np.ones(PLACES), np.log(t), t / int(times[-1])
    (_, p, over), _ = _fit([one, log, line], grown)
    (_, alone), rest = _fit([one, log], grown)
    _, straight = _fit([one, line], grown)
    # A Jordan block of N states grows like t^(N − 1); half a power more is left to the error of the fit.
    limit = size - 0.5
    # `line` counts time in measured runs, so that `over` is what an exponential adds over the measured steps, in
    # nats; the resolution is 1.
    is_power = over <= 1 and -0.5 < alone <= limit and p <= 2 * limit and rest <= straight + CLOSE
    if not is_power:
        return None
    return _Power(max(alone, 0.0), _is_still(_beside(spectrum, spectrum.growth[:, sample], alone)))


def _beside(spectrum: LyapunovSpectrum, growth: Any, power: float) -> Any:
    """Return the residual of a power of time in the logarithm of growth, at even times behind the first quarter. Shapes: growth (K,)."""
    times = np.append(0, spectrum.history_steps)
    even = np.linspace(times[-1] / 4, times[-1], PIECES + 1)
    return np.interp(even, times, np.append(0.0, growth)) - power * np.log(spectrum.transient + even)


def _is_still(rest: Any) -> float:
    """The probability that the slope of a series at even times is at most one nat over all of it, from how far it wanders.

    Over m of its pieces it moves by √D(m). A random walk has D ~ m^H, H = 1, and a slope with an error of 1.1 √D over its length;
    what oscillates has H = 0 and a slope that is known better than that.

    Source: Mandelbrot, Van Ness 1968, "Fractional Brownian motions, fractional noises and applications", for H.
    """
    near, far = (float(np.mean((rest[m:] - rest[:-m]) ** 2)) for m in (NEAR, FAR))
    if far <= TINY:
        return 1.0
    rise = float(np.clip(np.log(far / max(near, TINY)) / np.log(FAR / NEAR), 0.0, 1.0))
    error = np.sqrt(far * (PIECES / FAR) ** rise) * (0.3 + 0.8 * rise)
    return max(0.0, 2 * t_probability(1 / error, PIECES // FAR) - 1)


def _fit(parts: Sequence[Any], grown: Any) -> tuple[list[float], float]:
    """The factors of some series in a fit by least squares, and the mean square of its residual."""
    columns = np.stack(parts, -1)
    factors = np.linalg.lstsq(columns, grown, rcond=None)[0]
    return factors.tolist(), float(np.mean((grown - columns @ factors) ** 2))


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
    # Running means times their steps are sums: their difference is the sum over the second half.
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
    # Long enough for the displacement to have grown by e^40 if nothing bounded it.
    steps = int(np.clip(np.ceil(NATS / exponent), SHORTEST, LONGEST))
    last = run.of.run(run.inputs, run.of.by_name(run.start), run.steps)[-1]
    inputs = {k: np.resize(v, (steps, *v.shape[1:])) for k, v in run.inputs.items()}
    for kick in KICKS:
        # In a bounded region the state stops growing while perturbations go on; where both grow alike nothing bounds
        # it.
        start, after = _displaced(run, last, inputs, kick, steps)
        if np.isfinite(after).all() and _growth(after) <= exponent / 2:
            break
    else:
        return "exploding", 1.0, "perturbations grow, and the state with them: no bound of it was met"
    # An affine step has one Jacobian whatever the state is: growth never meets a bound there.
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


def _displaced(run: Trajectory, last: Any, inputs: Any, kick: float, steps: int) -> tuple[Any, Any]:
    """States (B, N) a little away from the last ones, and the largest element after each step from there."""
    top = max(1.0, float(np.abs(last).max(initial=0.0)))
    size = max(1.0, top * float(np.sqrt(np.mean(np.square(last / top)))))  # squares of large states overflow
    start = (last + kick * size * np.random.default_rng(0).standard_normal(last.shape)).astype(last.dtype)
    if not np.isfinite(start).all():
        return start, np.array([np.inf])
    with np.errstate(all="ignore"):
        return start, np.abs(run.of.run(inputs, run.of.by_name(start), steps)).max((1, 2))


def _growth(size: Any) -> float:
    """The growth of the largest element of the state over the second half of a run, nats per step."""
    half = len(size) // 2
    first, second = size[: half + 1].max(), size[half:].max()
    return float(np.log(second / first) / half) if first > 0 else 0.0
