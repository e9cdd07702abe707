"""The report of a stability analysis in words, and its numbers for JSON."""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from symbptt.stability.algebra.interval import rounded_up
from symbptt.stability.report.advice import BAND, TOLERANCE, edge_of
from symbptt.stability.report.verdict import Verdict, percent, which
from symbptt.stability.runs.gates import UNNAMED
from symbptt.stability.spectra.block_means import t_quantile
from symbptt.stability.spectra.products import ALIVE

WIDTH = 100
LONGEST = 40
"""Characters of a factor within a sentence, at the most."""
SURE = 0.999
ALIKE = 0.05
"""A speed that differs from another by less, relative, is about the same."""
USELESS = 100.0
"""A bound of a step that is this many times the largest that a run saw says nothing."""
TINY = 1e-12
"""Exponents, and their errors, below this are rounding."""
ROUNDING = 1e-6
"""A rate this near to 1 differs from it by rounding."""
FIRST_GROWTH = 1.5
"""Growth before decay is reported from this factor on."""
EPS = float(np.finfo(np.float64).eps)
"""Rounding of a gradient of norm 1: what is less may be nothing but that."""
DECAYED = 1.0
"""Nats by which the largest growth over the longest lag is smaller where gradients decay."""
GROWING = ("chaotic", "exploding")
"""Verdicts of runs in which gradients grow on and on."""
WIDE = 1e3
"""Norms that differ by more than this cannot be clipped at one value and keep their use."""


GROWS = "λ₁ is not below zero."
SHORT = "Within the run a gradient changes by less than a factor e, so that λ₁ is not told from zero."
NO_HORIZON = {
    "chaotic": GROWS, "exploding": GROWS,
    "marginal": SHORT,
    "mixed": "Some samples forget and others do not; the horizon of each follows from its own exponent.",
    "undecided": "Whether λ₁ is below zero is not decided.",
}  # fmt: skip
BIASED = {
    "chaotic": "gradients grow with the lag", "exploding": "gradients grow with the lag",
    "marginal": "gradients do not decay within the run", "mixed": "the gradients of some samples do not decay",
    "undecided": "whether gradients decay is not decided",
}  # fmt: skip

SEEN = "the run is too short to see the tail"


@dataclass(frozen=True)
class Advice:
    """One piece of advice: its subject `about`, the `value` to use (None where there is none), the sentence, and its reason."""

    about: str
    value: float | None
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.text} {self.reason}"


def report_text(r: Any) -> str:
    """Return a report as paragraphs of at most 100 columns."""
    parts = [
        _heading(r),
        _verdict(r.verdict, r.spectrum, _is_proven_to_vanish(r)),
        _jumps(r),
        _responsible(r),
        _proven(r),
        _directions(r),
        r.parallel.text(),
    ]
    items = [_item(f"{i}. {a.about}: {a}") for i, a in enumerate(r.advice, 1)]
    return "\n\n".join([*(_wrapped(part) for part in parts if part), "\n".join(["Advice", *items])]) + "\n"


def _wrapped(text: str) -> str:
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for line in text.splitlines()
    )


def _item(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="     ", break_on_hyphens=False)


def _heading(r: Any) -> str:
    states = ", ".join(f"{name}{_shape(shape)}" for name, shape in r.states.items())
    samples = f"{r.batch} samples" if r.batch > 1 else "one sample"
    numbers = "number" if r.dimension == 1 else "numbers"
    return f"{r.name}: N = {r.dimension} {numbers} of state, {states}; {_steps(r.steps)} of {samples}; {r.words}."


def _shape(shape: tuple[int, ...]) -> str:
    """A shape behind a name, nothing for one number."""
    return f" ({', '.join(map(str, shape))})" if shape else ""


def _is_proven_to_vanish(r: Any) -> bool:
    return r.theorem.rate is not None and r.theorem.rate < 1 - ROUNDING


def _verdict(v: Verdict, spectrum: Any, proven: bool = False) -> str:
    """The verdict of the run, beside a proof that gradients vanish where it is less sure than that."""
    sure = "" if v.confidence is None or v.kind == "undecided" else f", confidence {confidence(v.confidence)}"
    more = ", but that gradients vanish is proven" if proven and v.kind == "undecided" else ""
    lines = [f"Verdict: {v.kind}{sure}. {sentence(v.reason)}{more}."]
    if np.isneginf(v.exponent):
        return f"{lines[0]} λ₁ = −∞{'' if v.slowest is None else f' for {which(v.ended)}'}."
    half = v.error * float(t_quantile(0.975, max(1, spectrum.blocks - 1)))
    lines.append(
        f"λ₁ = {_exact(v.exponent, 4)}{_bar(v, half)}{_spread(spectrum)}) nats per step, {spectrum.steps} measured; "
        f"within ±{v.resolution:.2g} it counts as zero."
    )
    if spectrum.slow:
        lines.append("Growth or inputs vary as slowly as the run is long: a longer run may change these numbers.")
    elif not spectrum.converged:
        lines.append(
            "The two halves of the run disagree or are too short to compare: a longer run may change these numbers."
        )
    return " ".join(lines)


def _bar(v: Verdict, half: float) -> str:
    if not np.isfinite(v.error):
        return " (no error: too few steps"
    return " (no error but rounding" if half < TINY else f" ± {half:.2g} (95 % interval within the run"


def _spread(spectrum: Any) -> str:
    spread = np.nan if spectrum.between is None else float(spectrum.between[0])
    if np.isnan(spread):
        return ""
    return "; all samples alike" if spread < TINY else f"; samples spread by {spread:.2g}"


def _exact(value: float, digits: int) -> str:
    """A number, 0 where it is rounding."""
    return "0" if abs(value) < TINY else f"{value:.{digits}g}"


def sentence(text: str) -> str:
    """Return a text as the beginning of a sentence; λ₁ stays as it is."""
    return text if text.startswith("λ") else f"{text[0].upper()}{text[1:]}"


def _jumps(r: Any) -> str:
    """Tell whose derivative the exponents use, and how two runs separate where there is none."""
    parts = [
        f"{name} counts with the surrogate {name}′(v) = {formula}, not with a derivative of its own: exponents, products and "
        "theorems are those of the gradients that training computes." for name, formula in r.surrogates.items()
    ]  # fmt: skip
    if r.finite is not None:
        f = r.finite
        what = "" if r.surrogates else ": exponents and theorems are those of the pieces between"
        parts.append(
            f"The step jumps where a state crosses a threshold, and a jump has no derivative{what}. Of two runs that start "
            f"{f.apart:.2g} apart, the distance is {f.last:.3g} times that after {_steps(f.steps)}, and at most {f.peak:.3g} times, "
            f"after {_steps(f.peak_lag)} (medians over samples)."
        )
    return " ".join(parts)


def confidence(p: float) -> str:
    """Return a probability as text; never 100 %."""
    return f"over {100 * SURE:g} %" if p > SURE else f"{100 * p:.1f} %" if p > 0.99 else f"{100 * p:.0f} %"


def _responsible(r: Any) -> str:
    """Name the paths that carry λ₁, and describe the gates on them."""
    if not r.shares and not np.isneginf(r.verdict.exponent):
        return "Which path carries λ₁ is not known: within the run every direction is lost at some step."
    if not r.shares:
        return "No path carries a gradient from one end of the run to the other: every direction is lost on the way."
    shown = [s for s in r.shares if abs(s.part) >= 0.05][:4] or list(r.shares[:1])
    gate = {g.state: g for g in r.gates}
    paths = [f"{_part(s.part)} {_path(s, gate, r.mixing)}" for s in shown]
    text = f"Responsible: of λ₁, {_listed(paths)} (the change of λ₁ with the logarithm of a factor on that path)."
    read = [gate[s.of] for s in shown if s.elementwise and gate[s.of].formula != "1"]
    # The keys of a dict stay in order, and equal sentences are said once.
    facts = {_fact(g, [other.state for other in read if _alike(g, other)]): None for g in read}
    return " ".join([text, *facts, *_of_clocks(r, shown)])


def _part(part: float) -> str:
    """A part of λ₁ with two digits: those of paths that cancel are negative, or over 100 %."""
    return f"{100 * part:.0f} %" if abs(part) >= 0.1 else percent(part)


def _alike(one: Any, other: Any) -> bool:
    """Answer whether two states have one factor."""
    return replace(one, state="") == replace(other, state="")


def _fact(g: Any, states: list[str]) -> str:
    name = f"The factor of {_listed(states)}" if _is_long(g) else _short(g)
    if name == _range(g):
        # A factor that is a number is not said to be that number.
        return f"{name} alone would give {_nats(g.rate)} a step{_horizon(g.rate)}."
    if np.isneginf(g.rate):
        return f"{name} is {_range(g)}, and exactly zero at some steps."
    return f"{name} is {_range(g)}; alone it would give {_nats(g.rate)} a step{_horizon(g.rate)}."


def _horizon(rate: float) -> str:
    return f", a horizon of {_count(-1 / rate)}" if -np.inf < rate < 0 else ""


def _count(steps: float) -> str:
    return "1 step" if f"{steps:.3g}" == "1" else f"{steps:.3g} steps"


def _of_clocks(r: Any, shown: list[Any]) -> list[str]:
    """That an exponent of a counter says nothing of learning."""
    first = shown[0]
    if first.of not in r.clocks or first.to != first.of:
        return []
    return [f"{first.of} is a clock, which follows from itself and constants alone: its exponent is λ₁ here and says nothing of the "
            "gradients of the other states, whose exponents are those after it."]  # fmt: skip


def _range(gate: Any) -> str:
    low, high = f"{gate.low:.3g}", f"{gate.high:.3g}"
    return f"{gate.mean:.3g}" if low == high else f"{gate.mean:.3g} on average (5 % to 95 %: {low} to {high})"


def _path(share: Any, gate: Any, mixing: dict[str, str]) -> str:
    if share.elementwise:
        g = gate[share.of]
        return f"goes {share.of} → {share.to} elementwise" + (
            "" if _is_long(g) else f", through the factor {_short(g)}"
        )
    how = f" {mixing[share.of]}" if share.of == share.to and share.of in mixing else ""
    return f"goes {share.of} → {share.to}{how}"


def _short(gate: Any) -> str:
    name, sign, _ = gate.formula.partition(" = ")
    return name if sign else gate.formula


def _is_long(gate: Any) -> bool:
    """Answer whether a factor has no formula that can stand in a sentence."""
    return len(_short(gate)) > LONGEST or gate.formula == UNNAMED


def _nats(rate: float) -> str:
    return f"{'−∞' if np.isneginf(rate) else f'{rate:.3g}'} nats"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _proven(r: Any) -> str:
    rate, v = r.theorem.rate, r.verdict
    if rate is None:
        return "Proven: nothing; no finite bound of the step Jacobian was found for these parameters (sb.vanishing_condition)."
    head = f"Proven, for {r.theorem.hypothesis}: "
    if not np.isfinite(rounded_up(rate, 4)):
        return f"{head}nothing that helps; the bound of the step Jacobian is beyond any number."
    if abs(rate - 1) <= ROUNDING:
        more = "" if r.theorem.constant == 1 else f" more than {rounded_up(r.theorem.constant, 3):.3g} times"
        return f"{head}no gradient grows{more} (η = 1 in the {_norm(r)}{_scales(r)})."
    with np.errstate(over="ignore"):
        largest = float(np.exp(max(0.0, float(r.transient.log_growth[0]))))
    if rate > USELESS * largest:
        return (
            f"{head}no useful bound; the Jacobian of a step is known to have a {_norm(r)} of at most {_rate(rate)}, "
            f"that of the run at most {largest:.3g}. Narrower ranges of values (sb.vanishing_condition(cell).rate) may make it smaller."
        )
    if rate > 1:
        more = "; as nothing under 1 is proven, explosion is not excluded" if v.kind == "vanishing" else ""
        return f"{head}gradients grow at most as {_bound(r)}{more}."
    # ln η and λ₁ are both nats a step: their quotient is the part of the speed of the run that is proven.
    loose = math.log(rate) / v.exponent if np.isfinite(v.exponent) and v.exponent < 0 and rate > 0 else None
    times = 1 / loose if loose else 1.0
    return f"{head}gradients vanish, {_bound(r)}{_seen(times) if loose else ''}."


def _seen(times: float) -> str:
    """Compare the speed of the run with the proven one; a run is slower only as long as the constant of the bound lets it."""
    if abs(times - 1) < ALIKE:
        return "; by λ₁ the run's shrink about as fast"
    if times < 1:
        return "; by λ₁ the run's shrink more slowly, which the bound allows for a while only"
    return f"; by λ₁ the run's shrink {times:.3g} times as fast"


def _bound(r: Any) -> str:
    """The bound as it is proven: no digit is rounded down."""
    # Bounds are rounded up, so that what is printed is proven as well.
    constant = "" if r.theorem.constant == 1 else f"{rounded_up(r.theorem.constant, 3):.3g} · "
    s, t, k = r.letters.whole, r.letters.time, r.letters.start
    meaning = f", {r.letters.meaning}" if r.letters.meaning else ""
    return f"‖∂{s}_{t}/∂{s}_{k}‖ ≤ {constant}{_rate(r.theorem.rate)}^({t}−{k}) in the {_norm(r)}{_scales(r)}{meaning}"


def _rate(rate: float) -> str:
    """A rate, rounded up; one that would print as 1 by its difference from 1."""
    shown = f"{rounded_up(rate, 4):.4g}"
    if shown != "1" or rate == 1:
        return shown
    # Rates such as 0.99999999 would print as 1, which says something else: that no gradient need vanish.
    return f"(1 − {-rounded_up(rate - 1, 2):.2g})"


def _scales(r: Any) -> str:
    """Name the divisors of the states in the norm in which a step alone has the rate."""
    if r.theorem.constant == 1:
        return ""
    if r.theorem.scaling is None:
        s = r.letters.state
        return f' (without the constant in the norm √({s}ᵀP{s}) of a matrix P, of sb.certified_rate with metric="quadratic")'
    scales = ", ".join(f"{name} by {scale:.3g}" for name, scale in r.theorem.scaling.items())
    return f" (without the constant where the norm divides {scales})"


def _norm(r: Any) -> str:
    return "2-norm" if r.theorem.norm == "2" else "max-norm"


def _directions(r: Any) -> str:
    p, lags, slowest = r.products, r.products.lags, r.verdict.slowest
    i = len(lags) // 2
    # Where gradients of some samples end, means over the samples are those of none.
    of = (
        f" of sample {slowest}"
        if slowest is not None
        else ", by means over samples"
        if r.verdict.kind == "mixed"
        else ""
    )
    counts = p.alive if slowest is None else (p.samples[:, slowest] > np.log(ALIVE)).sum(-1)
    alive = f"{_some(counts[i], r.dimension, 'directions', 'alive')} (singular value over 1e-3) after {_steps(lags[i])}"
    alive += f", {counts[-1]} after {lags[-1]}"
    # What the verdict counts as zero, or as growth like a power of time, is not positive here either.
    is_told = r.verdict.kind not in ("marginal", "undecided")
    positive = int((r.spectrum.exponents > r.verdict.resolution).sum()) if is_told else 0
    exponents = "exponent is" if positive == 1 else "exponents are"
    more = (
        f"; {positive} {exponents} positive, Kaplan–Yorke dimension {r.spectrum.kaplan_yorke:.3g}" if positive else ""
    )
    return f"Directions{of}: {alive}{more}.{_transient(r.transient, r.verdict.kind)}"


def _some(count: int, of: int, what: str, how: str) -> str:
    """Tell how many of some things are something."""
    if of == 1:
        return f"the one {what.removesuffix('s')} is {'' if count else 'not '}{how}"
    if count in (0, of):
        return f"{'none' if count == 0 else 'all'} of the {of} {what} are {how}"
    return f"{count} of {of} {what} {'is' if count == 1 else 'are'} {how}"


def _transient(found: Any, kind: str) -> str:
    """Tell how far gradients grow before they decay, where they do both."""
    # Of long lags few starts are left, so that the largest of them may be smaller without any decay.
    decays = found.log_growth[-1] <= found.log_growth.max() - DECAYED and 2 * found.peak_lag <= found.lags[-1]
    if found.peak <= FIRST_GROWTH or kind in GROWING or not (decays or kind == "vanishing"):
        return ""
    if found.peak_lag == found.lags[-1]:
        return ""
    return f" Gradients first grow up to {found.peak:.3g} times, until lag {found.peak_lag} (Henrici number {found.henrici:.2g})."


# ---- advice -------------------------------------------------------------------------------------------------------


def advice(r: Any) -> tuple[Advice, ...]:
    """Return the advice of a report, in the order of its use."""
    found = [_memory(r), _truncation(r), _clipping(r), _growth(r), _floats(r), _initial(r)]
    return tuple(a for a in found if a)


def _memory(r: Any) -> Advice:
    flow = r.flow.horizons
    seen = [
        f"to {name} at lag {lag}" for name, lag in zip(("1/e", "1e-3"), flow.values(), strict=True) if lag is not None
    ]
    measured = f"The measured gradient of the last state falls {' and '.join(seen)}." if seen else (
        f"The measured gradient is not under 1/e of its first norm for good within {_steps(len(r.flow.lags) - 1)}.")  # fmt: skip
    if r.horizon is None and r.theorem.rate and r.theorem.rate < 1:
        most = rounded_up(-1 / math.log(r.theorem.rate), 3)
        return Advice("memory horizon", most, f"expect to learn dependencies of at most about {_steps(most)}.",
                      f"λ₁ ≤ ln η is proven, and −1/ln η = {most:.3g}. {measured}")  # fmt: skip
    if r.horizon is None:
        return Advice("memory horizon", None, "count on no finite one.", f"{measured} {_no_horizon(r.verdict)}")
    if np.isneginf(r.verdict.exponent):
        lag = r.flow.horizon()
        return Advice("memory horizon", lag, f"expect to learn dependencies of up to about {_steps(lag or len(r.flow.lags) - 1)}.",
                      f"Gradients end at exactly zero, so that λ₁ is −∞ and says no more. {measured}")  # fmt: skip
    return Advice("memory horizon", r.horizon, f"expect to learn dependencies of up to about {_steps(r.horizon)}.",
                  f"−1/λ₁ = {r.horizon:.3g}. {measured}")  # fmt: skip


def _no_horizon(v: Verdict) -> str:
    return GROWS if v.kind == "marginal" and v.exponent > v.resolution else NO_HORIZON[v.kind]


def _steps(count: float) -> str:
    shown = max(1, round(count))
    return f"{shown} step" if shown == 1 else f"{shown} steps"


def _truncation(r: Any) -> Advice:
    w, parts = r.windows, []
    parts += [f"{w.empirical} by the measured norms"] if w.empirical is not None else []
    parts += [f"{w.asymptotic} by λ₁"] if w.asymptotic is not None else []
    parts += [f"{w.certified} by proof"] if w.certified is not None else []
    seen = [v for v in (w.empirical, w.asymptotic) if v is not None]
    if not (seen or w.certified):
        shrinks = r.verdict.kind == "marginal" and r.verdict.exponent < -TINY
        why = SEEN if shrinks else BIASED.get(r.verdict.kind, SEEN)
        is_known = "may be" if shrinks or r.verdict.kind == "undecided" else "is"
        return Advice(
            "truncation window", None, "no finite window is safe.", f"Every truncation {is_known} biased: {why}."
        )
    # A proven window is for the worst case and may be far too long: it counts where nothing was measured.
    use = max(seen, default=w.certified)
    reason = (
        f"What is left out is then at most {percent(TOLERANCE)} of the sum of the gradient's norms: {_listed(parts)}."
    )
    if w.certified is None:
        reason += " No window is certified: no rate under 1 is proven."
    return Advice("truncation window", use, f"truncate at {_steps(use)} or more.", reason)


def _clipping(r: Any) -> Advice:
    if r.verdict.kind == "chaotic":
        return Advice("clipping", None, "no threshold helps.", "In chaos a gradient points nowhere in particular, however "
                      "long it is: mend the recurrence, or truncate.")  # fmt: skip
    if not any(norms.any() for norms in r.flow.growth.values()):
        why = "The gradient of every parameter is zero in this run." if r.flow.growth else "There are no parameters."
        return Advice("clipping", None, "there is nothing to clip.", why)
    if r.clip is None:
        return Advice(
            "clipping", None, "none can be named.", "Gradients of the draws are not finite, or most are zero."
        )
    if not r.of_loss and r.clip.median < EPS and r.verdict.kind not in GROWING:
        return Advice("clipping", None, "there is nothing to clip.", f"The median norm of {len(r.clip.norms)} draws, "
                      f"{r.clip.median:.2g}, is less than the rounding of the gradient by the last state, of norm 1.")  # fmt: skip
    low, high = r.clip.band
    spread = np.quantile(r.clip.norms, [0.05, 0.95])
    if spread[0] * WIDE < spread[1]:
        return Advice("clipping", r.clip.threshold, f"first mend the recurrence; {r.clip.threshold:.3g} only cuts the largest.",
                      f"{len(r.clip.norms)} draws have norms from {spread[0]:.2g} to {spread[1]:.2g} (5 % to 95 %); "
                      "no threshold fits.")  # fmt: skip
    unit = "" if r.of_loss else ", for a loss whose gradient by the last state has norm 1"
    return Advice("clipping", r.clip.threshold, f"clip the joint gradient at norm {r.clip.threshold:.3g}{unit}.",
                  f"{len(r.clip.norms)} draws have a median norm of {r.clip.median:.3g} (5 % to 95 %: {spread[0]:.2g} to {spread[1]:.2g}); "
                  f"the usual band, {BAND[0]:g} to {BAND[1]:g} times that, is {low:.3g} to {high:.3g}. With a learning rate r a "
                  f"step moves the parameters by at most {r.clip.threshold:.3g} r.")  # fmt: skip


def _growth(r: Any) -> Advice | None:
    if not r.growth:
        return None
    name, value = next(iter(r.growth.items()))
    reason = f"Over {_steps(len(r.flow.lags) - 1)} the gradient of {name} is {value:.3g} times what the last step alone gives"
    if value < 10:
        return Advice(
            "parameter gradients",
            value,
            "no parameter needs a smaller step for the length of the sequence.",
            f"{reason}, the most of all.",
        )
    return Advice(
        "parameter gradients",
        value,
        f"expect the gradient of {name} to depend on the length of the sequence.",
        f"{reason}.",
    )


def _floats(r: Any) -> Advice:
    if r.verdict.kind == "mixed":
        return _floats_of_samples(r)
    f = r.float_range
    lost = _some(f.lost, f.directions, "singular values", "under the smallest float32") + (
        f" in the product over {_steps(f.lag)}"
    )
    if np.isneginf(r.verdict.exponent):
        return Advice(
            "float range", None, "expect exact zeros in any float.", f"Gradients end at exactly zero; {lost}."
        )
    if r.verdict.slowest is not None:
        lost = f"gradients of {which(r.verdict.ended)} end at exactly zero in any float. Of sample {r.verdict.slowest}, {lost}"
    if f.steps is None:
        why = "λ₁ is near zero" if abs(r.verdict.exponent) <= r.verdict.resolution else "No exponential growth is left"
        return Advice("float range", None, "float32 holds the products of Jacobians.", f"{why}; {lost}.")
    when = f"At λ₁ = {r.verdict.exponent:.3g} gradients {LEAVE[f.side]} float32 beyond {_steps(f.steps)}"
    if f.steps <= r.steps and f.side == "overflow":
        return Advice(
            "float range",
            f.steps,
            "use shorter sequences, clip, or use float64.",
            f"{when}, within the {r.steps} of the run.",
        )
    if f.steps <= r.steps:
        return Advice(
            "float range",
            f.steps,
            f"expect exact zeros in float32 from lag {f.steps} on.",
            f"{when}, within the {r.steps} of the run; {lost}.",
        )
    return Advice(
        "float range",
        f.steps,
        "float32 holds the gradients of this length.",
        f"{when}; the run has {r.steps}. {lost[0].upper()}{lost[1:]}.",
    )


LEAVE = {"underflow": "vanish from", "overflow": "overflow"}


def _floats_of_samples(r: Any) -> Advice:
    """The same of samples that differ: the first lag at which gradients of any of them leave float32, on either side."""
    edges = [(*edge_of(s.exponent, r.verdict.resolution), i) for i, s in enumerate(r.verdict.samples)]
    first = {side: min(((n, i) for n, at, i in edges if at == side and n and i not in r.verdict.ended), default=None)
             for side in LEAVE}  # fmt: skip
    parts = [
        f"those of sample {at[1]} {LEAVE[side]} float32 beyond {_steps(at[0])}" for side, at in first.items() if at
    ]
    parts += [f"those of {which(r.verdict.ended)} end at exactly zero in any float"] if r.verdict.ended else []
    within = {side: at[0] for side, at in first.items() if at and at[0] <= r.steps}
    text = (
        "use shorter sequences, clip, or use float64."
        if "overflow" in within
        else f"expect exact zeros in float32 from lag {within['underflow']} on, in some samples."
        if within
        else "float32 holds the gradients of this length."
    )
    reason = f"Gradients differ between samples: {', '.join(parts)}" if parts else "No exponent is far from zero"
    return Advice("float range", min((at[0] for at in first.values() if at), default=None), text,
                  f"{reason}; the run has {_steps(r.steps)}.")  # fmt: skip


def _initial(r: Any) -> Advice:
    if r.design is not None:
        return Advice("initialisation", r.design.value, f"{r.design.text()}.", "Solved for λ₁ at its first crossing.")
    if not r.tunable:
        return Advice("initialisation", None, "no parameter was found that sets the memory.",
                      "sb.init_for_horizon solves for biases of gates or for a gain of the recurrence, and found neither.")  # fmt: skip
    return Advice("initialisation", None, f"for a memory of k steps call sb.init_for_horizon({r.cell_name}, k).",
                  "It solves the gate biases or the gain for it and measures what it gives.")  # fmt: skip


# ---- numbers ------------------------------------------------------------------------------------------------------


def numbers(r: Any) -> dict[str, Any]:
    """Return the numbers of a report as lists, numbers and texts; None for numbers that are not finite."""
    v = r.verdict
    return plain(
        {
            "name": r.name, "steps": r.steps, "samples": r.batch, "states": {k: list(s) for k, s in r.states.items()},
            "data": r.words,
            "verdict": {"kind": v.kind, "confidence": v.confidence, "exponent": v.exponent, "error": v.error, "reason": v.reason},
            "sample_verdicts": [asdict(sample) for sample in v.samples],
            "exponents": r.spectrum.exponents, "errors": r.spectrum.error, "converged": r.spectrum.converged,
            "kaplan_yorke": r.spectrum.kaplan_yorke, "entropy": r.spectrum.entropy,
            "shares": [asdict(share) for share in r.shares], "gates": [asdict(gate) for gate in r.gates],
            "proven": {"rate": r.theorem.rate, "constant": r.theorem.constant, "scaling": r.theorem.scaling, "norm": r.theorem.norm,
                       "hypothesis": r.theorem.hypothesis},
            "windows": {"tolerance": r.windows.tolerance, "certified": r.windows.certified, "asymptotic": r.windows.asymptotic,
                        "empirical": r.windows.empirical},
            "lags": r.products.lags, "alive": r.products.alive, "isometry_defect": r.products.isometry_defect,
            "gradient": {"norms": r.flow.norms, "growth": r.growth},
            "surrogates": r.surrogates, "finite_growth": None if r.finite is None else asdict(r.finite),
            "transient": {"lags": r.transient.lags, "log_growth": r.transient.log_growth, "peak": r.transient.peak,
                          "peak_lag": r.transient.peak_lag, "henrici": r.transient.henrici,
                          "numerical_radius": r.transient.numerical_radius},
            "parallel": {**asdict(r.parallel), "kind": r.parallel.kind},
            "design": None if r.design is None else {"kind": r.design.kind, "value": r.design.value, "horizon": r.design.horizon,
                       "achieved": r.design.achieved, "reached": r.design.reached, "low": r.design.low, "high": r.design.high},
            "advice": [{"about": a.about, "value": a.value, "text": a.text, "reason": a.reason} for a in r.advice],
        }
    )  # fmt: skip


def plain(value: Any) -> Any:
    """Return numbers, arrays and texts as JSON can represent them; None for numbers that are not finite."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
