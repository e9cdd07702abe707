"""Newton's method over all steps of a run at once, in NumPy: what predictions of its iterations are measured against.

    python -m tests.newton

prints the table of docs/stability.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import symbptt as sb
from symbptt import zoo
from symbptt.stability.dynamics.parallel import TOLERANCE
from symbptt.stability.runs.trajectory import Trajectory, trajectory

CELLS = ("rnn", "gru", "lstm", "cifg", "ugrnn", "minimal_rnn", "indrnn")
GAINS = (0.4, 1.0, 1.6, 2.5, 4.0)


def iterations(run: Trajectory, diagonal: bool) -> int:
    """Return the iterations until all states are right to 1e-8 of the largest: s = F(s) linearised at the last s, solved for all
    steps at once, from states of zero. What overflows starts again at zero."""
    steps, batch, size = run.steps, run.batch, run.dimension
    right = run.of.run(run.inputs, run.of.by_name(run.start), steps)
    found, scale = np.zeros_like(right), max(float(np.abs(right).max()), 1e-300)
    flat = {k: v.reshape(1, steps * batch, *v.shape[2:]) for k, v in run.inputs.items()}
    for i in range(1, steps + 1):
        before = np.concatenate([run.start[None], found[:-1]])
        with np.errstate(all="ignore"):
            jacobians = run.of.jacobians(before, run.inputs) * (np.eye(size) if diagonal else 1.0)
            after = run.of.run(flat, run.of.by_name(before.reshape(-1, size)), 1)[0].reshape(right.shape)
            now = run.start
            for t in range(steps):
                now = after[t] + np.einsum("bij,bj->bi", jacobians[t], now - before[t])
                found[t] = now
        found[~np.isfinite(found)] = 0
        if np.abs(found - right).max() <= TOLERANCE * scale:
            return i
    return steps


def setting(name: str, gain: float, steps: int, seed: int, n: int = 16) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return a cell of the zoo with its recurrent weights at a gain, and standard normal inputs of one sample."""
    cell = getattr(zoo, name)
    params = cell.init({"m": 3, "n": n}, seed=seed)
    inputs = {"x": np.random.default_rng(seed).standard_normal((steps, 1, 3))}
    return cell, sb.with_gain(cell, params, gain), inputs


def rows(
    steps: int, seeds: tuple[int, ...], cells: tuple[str, ...] = CELLS
) -> Iterator[tuple[str, float, float, int, int, int, int]]:
    """Yield cell, gain, λ₁, and the iterations predicted and measured, with the whole Jacobian and with its diagonal."""
    for name in cells:
        for gain in GAINS:
            for seed in seeds:
                cell, params, inputs = setting(name, gain, steps, seed)
                report = sb.analyze(cell, params, inputs)
                run = trajectory(cell, params, inputs, None, None)
                yield (name, gain, report.verdict.exponent, report.parallel.newton, iterations(run, False),
                       report.parallel.quasi, iterations(run, True))  # fmt: skip


def main() -> None:
    """Print how the prediction does, by ranges of λ₁."""
    found = [row for steps in (100, 300) for row in rows(steps, (11,))]
    print(
        "| λ₁ | runs | DEER measured | predicted / measured | within 2 | quasi measured | predicted / measured | within 2 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for low, high in ((-np.inf, -0.15), (-0.15, -0.03), (-0.03, 0.03), (0.03, np.inf)):
        part = [row for row in found if low <= row[2] < high]
        if not part:
            continue
        cells = [f"{low:g} to {high:g}", str(len(part))]
        for predicted, measured in ((3, 4), (5, 6)):
            ratio = np.array([row[predicted] / row[measured] for row in part])
            counts = [row[measured] for row in part]
            cells += [f"{min(counts)} to {max(counts)}", f"{ratio.min():.2g} to {ratio.max():.2g}, median {np.median(ratio):.2g}",
                      f"{np.mean((ratio <= 2) & (ratio >= 0.5)):.0%}"]  # fmt: skip
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
