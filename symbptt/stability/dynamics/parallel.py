"""A prediction of whether all steps of a recurrence can be computed at once, by Newton's method over time, and in how many iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from symbptt.stability.algebra.linearity import is_affine
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.runs.linear import Linear
from symbptt.stability.runs.trajectory import Trajectory, jacobians_at

TOLERANCE = 1e-8
"""The error of the states, relative to the largest, at which iterations are counted."""
LEAST, PART, FALL = 3.0, 0.6, 30.0
"""Of the law for Newton's method, 3 + log₂(1 + horizon) + steps · min(1, 0.6 e^(30 λ₁)): fitted to four cells, see docs/stability.md."""
FAST, USELESS = 0.1, 0.5
"""Iterations per step under which there is much to gain, and over which there is little."""
RADII = (1.0, 0.97, 0.9, 0.75, 0.5, 0.25)
ANGLES = 5
"""The radii and the angles in half a turn at which the symbol of the iteration with the diagonal alone is measured."""
SAMPLES, WORK = 6, 2**22
"""Steps at which it is, at the most, and their number times N³."""
FIRST, GROWS = 64, 0.05
"""The steps at which Jacobians at states of zero are multiplied, at the most, and the exponent over which they count as growing."""
SQUARINGS = 5
"""A spectral radius is taken as ‖M³²‖ to the power 1/32."""
ELEMENTWISE = ("zero", "identity", "scalar", "diagonal")


@dataclass(frozen=True)
class Parallel:
    """Newton's method over all steps of a run at once, as predicted; nothing of it is run.

    `structure` of the step's Jacobian is proven from its formula: "diagonal", "block" (of `size` numbers of state at the most that
    no other numbers enter) or "dense"; `affine` says that the step is affine in its states, so that the first iteration is exact.
    `newton` are the iterations with the whole Jacobian (DEER), `quasi` those with its diagonal alone (quasi-DEER), to 1e-8 from
    states of zero; neither ever needs more than the steps. `overflows` says that products of Jacobians over the run leave the
    range of its type. `guess` is the exponent of the Jacobians at states of zero, where iterations begin; where it is positive and
    that of the run is not (`grows_at_first`), they may take several times the number predicted.

    Source: Lim, Zhu, Selfridge, Kasim 2024, "Parallelizing non-linear sequential models over the sequence length" (DEER);
    Gonzalez, Warrington, Smith, Linderman 2024, "Towards scalable and stable parallelization of nonlinear RNNs" (quasi-DEER);
    Gonzalez et al. 2025, "Predictability enables parallelization of nonlinear state space models" (λ₁ decides).
    """

    structure: str
    size: int
    affine: bool
    steps: int
    newton: int
    quasi: int
    overflows: bool
    guess: float
    grows_at_first: bool

    @property
    def kind(self) -> str:
        """Return "exact": one iteration; "fast": at most a tenth of the steps; "slow"; "none": more than half of the steps, or overflow."""
        if self.overflows:
            return "none"
        if self.affine or self.steps == 1:
            return "exact"
        if self.newton > USELESS * self.steps:
            return "none"
        return "fast" if self.newton <= max(LEAST, FAST * self.steps) else "slow"

    def text(self) -> str:
        """Return the prediction in two sentences."""
        shape = {"diagonal": "diagonal", "block": f"of blocks of {self.size}", "dense": "dense"}[self.structure]
        head = f"Parallel in time: the step's Jacobian is {shape}"
        if self.overflows:
            return f"{head}; products over {_steps(self.steps)} overflow, so that Newton's method over time (DEER) would not converge."
        if self.affine:
            more = "" if self.quasi == 1 else f"; with its diagonal alone (quasi-DEER) about {_count(self.quasi)}"
            return (
                f"{head} and the step affine: a scan, one Newton iteration over time, gives {_all(self.steps)}{more}."
            )
        if self.kind == "none":
            return (f"{head}; Newton's method over time (DEER) may take up to about {_count(self.newton)} for {_steps(self.steps)}: "
                    "count on no gain.")  # fmt: skip
        other = "" if self.structure == "diagonal" else f", with its diagonal alone (quasi-DEER) about {self.quasi}"
        told = f"at states of zero, its first guess, Jacobians grow (exponent {self.guess:+.2g}), and those of the run shrink"
        more = f", or several times as many: {told}" if self.grows_at_first else ""
        return f"{head}; Newton's method over {_all(self.steps)} (DEER) would take about {_count(self.newton)}{other}{more}."


def parallel(run: Trajectory, exponent: float) -> Parallel:
    """Return the prediction for a run whose largest Lyapunov exponent is known."""
    structure, size = structure_of(run.of)
    affine, steps = is_affine(local_of(run.of.cell)), run.steps
    newton = 1 if affine else newton_iterations(exponent, steps)
    quasi = newton if structure == "diagonal" else max(newton, quasi_iterations(_some(run), steps))
    # The scan multiplies Jacobians over the whole run, which grow like e^(λ₁ T).
    overflows = exponent * steps > math.log(float(np.finfo(run.of.dtype).max))
    guess = exponent_at_zero(run)
    grows = not affine and exponent < 0 and guess > GROWS
    return Parallel(structure, size, affine, steps, newton, quasi, bool(overflows), guess, grows)


def exponent_at_zero(run: Trajectory) -> float:
    """Return the mean logarithm by which the Jacobians at states of zero, under the first inputs of the run, stretch a vector a
    step; the first half of the steps turns it into the direction that grows most."""
    count = max(1, min(run.steps, FIRST, WORK // run.dimension**2))
    inputs = {k: v[:count, :1] for k, v in run.inputs.items()}
    with np.errstate(all="ignore"):
        jacobians = run.of.jacobians(np.zeros((count, 1, run.dimension), run.of.dtype), inputs)[:, 0].astype(float)
        vector, logs = np.random.default_rng(0).standard_normal(run.dimension), list[float]()
        for jacobian in jacobians:
            vector = jacobian @ (vector / np.linalg.norm(vector))
            logs.append(float(np.log(np.linalg.norm(vector))))
    mean = float(np.mean(logs[count // 2 :]))
    return -math.inf if math.isnan(mean) else mean  # a vector that has become zero stays zero


def newton_iterations(exponent: float, steps: int) -> int:
    """Return the iterations of Newton's method with the whole Jacobian, by an empirical law of λ₁ and the number of steps.

    Where gradients vanish the error is squared at every iteration, from an amplification by the horizon; where λ₁ nears zero the
    states that are right spread along the run, a part of it at each iteration.
    """
    horizon = steps if exponent >= 0 else min(steps, -1 / exponent)
    spreading = steps * min(1.0, PART * math.exp(min(FALL * exponent, 1.0)))
    return max(1, min(steps, round(LEAST + math.log2(1 + horizon) + spreading)))


def quasi_iterations(jacobians: Any, steps: int) -> int:
    """Return the iterations with the diagonal D of the Jacobian J alone, for small errors: that of an iteration is M times the last.

    At a frequency z, M(z) = z (1 − z D)⁻¹ (J − D), and a lag k of Mⁱ is at most r⁻ᵏ max |M(z)|ⁱ over |z| = r, for every r ≤ 1. The
    least i for which this is under the tolerance at all lags of the run counts. Jacobians (S, N, N) are held as they are at each
    of some steps, and the median is taken.
    """
    diagonal = np.diagonal(jacobians, 0, -2, -1)
    others = jacobians - diagonal[..., None] * np.eye(jacobians.shape[-1])
    least = float(steps)
    for radius in RADII:
        with np.errstate(all="ignore"):
            rate = _rate(diagonal, others, radius)
        # Where the symbol is nilpotent, the iteration ends after at most N rounds.
        if rate == 0:
            return 1 if not others.any() else min(steps, jacobians.shape[-1])
        if rate < 1 and np.isfinite(rate):
            least = min(least, (-steps * math.log(radius) - math.log(TOLERANCE)) / -math.log(rate))
    return max(1, min(steps, math.ceil(least)))


def _rate(diagonal: Any, others: Any, radius: float) -> float:
    """The median over steps of the largest spectral radius of M on a circle."""
    largest = np.zeros(len(diagonal))
    for angle in np.linspace(0, np.pi, ANGLES):
        z = radius * np.exp(-1j * angle)
        symbol = z * others / (1 - z * diagonal)[..., None]
        largest = np.maximum(largest, _radius(symbol))
    return float(np.median(largest))


def _radius(matrices: Any) -> Any:
    """Spectral radii, from above, by repeated squares at a scale of their own."""
    logs = np.zeros(len(matrices))
    for i in range(SQUARINGS + 1):
        size = np.linalg.norm(matrices, axis=(-2, -1))
        # Gelfand: ρ(M) ≤ ‖M^k‖^(1/k), with k = 32 by five squarings, each at a scale of its own so that none
        # overflows.
        logs += np.log(np.where(size == 0, 1, size)) / 2**i
        matrices = matrices / np.where(size == 0, 1, size)[:, None, None]
        if i < SQUARINGS:
            matrices = _squared(matrices)
    return np.where(np.linalg.norm(matrices, axis=(-2, -1)) == 0, 0.0, np.exp(logs))


def _squared(matrices: Any) -> Any:
    """The squares of complex matrices by real products, which are small enough to need no threads."""
    real, imaginary = np.ascontiguousarray(matrices.real), np.ascontiguousarray(matrices.imag)
    return real @ real - imaginary @ imaginary + 1j * (real @ imaginary + imaginary @ real)


def structure_of(of: Linear) -> tuple[str, int]:
    """Return the structure of the Jacobian of the whole state, and the size of its largest block, from the formulas of its blocks."""
    network = nx.Graph()
    network.add_nodes_from(of.names)
    network.add_edges_from(pair for pair, block in of.blocks.items() if block.kind != "zero")
    size = max((_size(of, part) for part in nx.connected_components(network)), default=1)
    if size == 1:
        return "diagonal", 1
    return ("block" if size < of.dimension else "dense"), size


def _size(of: Linear, part: Any) -> int:
    """The numbers of state that are coupled among some states: one of each where all their blocks are elementwise."""
    kinds = {of.blocks[to, by].kind for to in part for by in part}
    # Where all blocks are elementwise, element i of a state meets element i of the others alone.
    if kinds <= set(ELEMENTWISE):
        return len(part)
    return sum(of.names[name].stop - of.names[name].start for name in part)


def _some(run: Trajectory) -> Any:
    """The Jacobians (S, N, N) at steps spread over the run, of the first sample."""
    count = min(run.steps, max(1, min(SAMPLES, WORK // run.dimension**3)))
    chosen = ((np.arange(count) + 0.5) * run.steps / count).astype(int)
    return jacobians_at(run, chosen.tolist())[:, 0]


def _steps(count: int) -> str:
    return f"{count} step" + ("s" if count != 1 else "")


def _all(count: int) -> str:
    return "the one step" if count == 1 else f"all {count} steps"


def _count(iterations: int) -> str:
    return f"{iterations} iteration" + ("s" if iterations != 1 else "")
