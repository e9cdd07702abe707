"""The measurements of a watch in a training: as arrays, in words, as rows and as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from symbptt.stability.report.wording import plain

VERBS = {
    "vanishing": "vanish", "exploding": "explode", "marginal": "keep their size", "chaotic": "grow in chaos",
    "mixed": "differ between samples",
}  # fmt: skip
SHOWN = 3
"""Lags in the text, at the most."""


@dataclass(frozen=True)
class Measurement:
    """The measurement at one call.

    `exponents` are the first finite-time Lyapunov exponents of the run in nats per step, `errors` their standard errors;
    `gradients` the norms of ∂ℓ_T/∂s_{T−k} at the lags k of the watch, nan beyond the end of a run that left its range. `verdict`,
    `confidence`, `reason`, `exponent` and its `error` are those of the verdict of `sb.analyze`, whose exponent is that of the slowest
    sample where the gradients of others end at exactly zero.

    Shapes: exponents, errors (k,); gradients (lags,).
    """

    call: int
    exponents: Any
    errors: Any
    gradients: Any = field(repr=False)
    verdict: str
    confidence: float | None
    reason: str
    exponent: float
    error: float


@dataclass(frozen=True)
class History:
    """All measurements of a watch as arrays; a confidence that is None is nan here.

    Shapes: calls, confidences (R,), exponents, errors (R, k), gradients (R, lags), lags (lags,); verdicts and reasons have R texts.
    """

    calls: Any
    exponents: Any = field(repr=False)
    errors: Any = field(repr=False)
    gradients: Any = field(repr=False)
    lags: Any = field(repr=False)
    verdicts: tuple[str, ...]
    confidences: Any = field(repr=False)
    reasons: tuple[str, ...] = field(repr=False)


def history_of(records: Iterable[Measurement], lags: Any) -> History:
    """Return measurements as arrays."""
    r = tuple(records)
    size = len(r[0].exponents) if r else 0
    confidences = [np.nan if m.confidence is None else m.confidence for m in r]
    rows = len(r), size
    return History(
        np.array([m.call for m in r], int), np.reshape([m.exponents for m in r], rows),
        np.reshape([m.errors for m in r], rows), np.reshape([m.gradients for m in r], (len(r), len(lags))),
        lags.copy(), tuple(m.verdict for m in r), np.array(confidences, float), tuple(m.reason for m in r),
    )  # fmt: skip


def last_decided(records: Iterable[Measurement]) -> Measurement | None:
    """Return the last measurement with a verdict other than "undecided"."""
    found = [m for m in records if m.verdict != "undecided"]
    return found[-1] if found else None


def changes_of(name: str, records: Iterable[Measurement]) -> list[str]:
    """Return each change of the verdict in words."""
    decided = [m for m in records if m.verdict != "undecided"]
    return [change(name, one, two) for one, two in pairwise(decided) if one.verdict != two.verdict]


def change(name: str, before: Measurement, now: Measurement) -> str:
    """Return a change of the verdict in words."""
    return (
        f"the gradients of {name} now {VERBS[now.verdict]} (call {now.call}, λ₁ = {now.exponent:.3g}); "
        f"at call {before.call} the verdict was {before.verdict} (λ₁ = {before.exponent:.3g}): {now.reason}"
    )


def lines_of(records: Iterable[Measurement], lags: Any) -> list[str]:
    """Return a table with a line for each measurement, gradients at some lags relative to that at the loss."""
    shown = np.unique(np.linspace(min(1, len(lags) - 1), len(lags) - 1, SHOWN).round().astype(int))
    columns = "".join(f"{f'lag {lags[i]}':>11}" for i in shown)
    lines = [f"{'call':>8}  {'λ₁ (nats per step)':>20}{columns}  verdict"]
    for m in records:
        norms = "".join(f"{_ratio(m.gradients[i], m.gradients[0]):>11.3g}" for i in shown)
        exponent = f"{m.exponent:.4g} ± {m.error:.2g}"
        lines.append(f"{m.call:>8}  {exponent:>20}{norms}  {m.verdict}")
    return lines


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def numbers_of(h: History) -> dict[str, Any]:
    """Return a history as lists, numbers and texts; None for numbers that are not finite."""
    found: dict[str, Any] = plain(
        {
            "calls": h.calls, "verdicts": h.verdicts, "confidences": h.confidences, "reasons": h.reasons,
            "exponents": h.exponents, "errors": h.errors, "lags": h.lags, "gradients": h.gradients,
        }
    )  # fmt: skip
    return found


def csv_of(h: History) -> str:
    """Return a history as a table with a row for each measurement; a confidence that is not known is empty."""
    pairs = [name for i in range(1, max(1, h.exponents.shape[1]) + 1) for name in (f"lyapunov_{i}", f"error_{i}")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["call", "verdict", "confidence", *pairs, *(f"gradient_{lag}" for lag in h.lags)])
    for i, call in enumerate(h.calls.tolist()):
        both = np.stack([h.exponents[i], h.errors[i]], 1).ravel().tolist()
        confidence = "" if np.isnan(h.confidences[i]) else float(h.confidences[i])
        writer.writerow([call, h.verdicts[i], confidence, *both, *h.gradients[i].tolist()])
    return text.getvalue()
