"""The stability of a cell or a model in one report: spectra, verdict, responsible paths, advice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.notebook import preformatted
from symbptt.stability.algebra.letters import Letters, letters_of
from symbptt.stability.design.initialisation import Initialisation, init_for_horizon
from symbptt.stability.design.knobs import knobs
from symbptt.stability.dynamics.parallel import Parallel, parallel
from symbptt.stability.gradients.flow import GradientFlow, gradient_flow
from symbptt.stability.gradients.norms import gradient_norms
from symbptt.stability.proofs.invariant_box import local_of
from symbptt.stability.proofs.jumps import FiniteGrowth, clocks, finite_growth, jumps, surrogates
from symbptt.stability.proofs.theorem import Theorem, theorems
from symbptt.stability.report.advice import Clip, FloatRange, Windows, clip, float_range, growth, windows
from symbptt.stability.report.figure import draw_report
from symbptt.stability.report.guard import check_theorems
from symbptt.stability.report.verdict import SampleVerdict, Verdict, verdict
from symbptt.stability.report.wording import Advice, advice, numbers, report_text
from symbptt.stability.runs.gates import Gate, carries, gates, mixing, moved
from symbptt.stability.runs.setting import Setting, setting
from symbptt.stability.runs.trajectory import Trajectory
from symbptt.stability.spectra.lyapunov import LyapunovSpectrum, spectrum_of
from symbptt.stability.spectra.path_shares import Share, factors_along, shares
from symbptt.stability.spectra.products import ProductSpectrum, products_of
from symbptt.stability.spectra.transient import TransientGrowth, growth_of_tail

Arrays = Mapping[str, Any]
LAGS = 12


@dataclass(frozen=True)
class StabilityReport:
    """The stability of a cell on a run, and what to do about it.

    `spectrum`, `products` and `flow` are those of `sb.lyapunov_spectrum`, `sb.product_spectrum` and `sb.gradient_flow`;
    `gates` are the elementwise factors of the states, `shares` the part of λ₁ that each path carries. `growth` says by
    parameter how much larger its gradient over the run is than that of one step, `transient` how far gradients grow before they
    decay, over the end of the run, `parallel` whether its steps could be computed all at once. `surrogates` are the functions with a
    declared derivative by name, with its text; `clocks` are the states that follow from themselves and constants alone;
    `mixing` says in words how the elements of a state enter each other; `tunable`
    says whether `sb.init_for_horizon` has a bias or a gain to solve for; `finite` says, where the step jumps, the distance of two runs,
    None elsewhere. `clip` is None where the gradients are not
    finite. `design` is the initialisation for the horizon asked for, None without. `letters` are those of its theorem.
    """

    name: str
    cell_name: str
    of_loss: bool
    words: str
    steps: int
    batch: int
    states: dict[str, tuple[int, ...]]
    verdict: Verdict
    spectrum: LyapunovSpectrum = field(repr=False)
    products: ProductSpectrum = field(repr=False)
    flow: GradientFlow = field(repr=False)
    gates: tuple[Gate, ...]
    shares: tuple[Share, ...]
    theorem: Theorem
    windows: Windows
    clip: Clip | None
    float_range: FloatRange
    growth: dict[str, float]
    transient: TransientGrowth = field(repr=False)
    parallel: Parallel
    surrogates: dict[str, str] = field(default_factory=dict)
    clocks: tuple[str, ...] = ()
    mixing: dict[str, str] = field(default_factory=dict)
    tunable: bool = True
    finite: FiniteGrowth | None = None
    design: Initialisation | None = None
    letters: Letters = field(default_factory=Letters)

    @property
    def dimension(self) -> int:
        """The number N of elements of the whole state."""
        return self.products.log_singular_values.shape[1]

    @property
    def samples(self) -> tuple[SampleVerdict, ...]:
        """The verdict of each sample of the batch."""
        return self.verdict.samples

    @property
    def horizon(self) -> float | None:
        """The steps in which a gradient falls to 1/e, −1/λ₁; None where it does not vanish."""
        return -1 / self.verdict.exponent if self.verdict.kind == "vanishing" else None

    @property
    def advice(self) -> tuple[Advice, ...]:
        """Each with its number and its reason."""
        return advice(self)

    def text(self) -> str:
        """Return the report in words."""
        return report_text(self)

    __str__ = text

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of the report as JSON can represent them."""
        return numbers(self)

    def plot(self, figure: Any = None) -> Any:
        """Return a figure of the exponents, the fan of singular values, the gradient against lag, and the gradient norms."""
        return draw_report(self, figure)


@np.errstate(all="ignore")  # what leaves the range is told in words or is infinite in the result
def analyze(
    target: Cell | Model, params: Arrays | None = None, inputs: Arrays | None = None, state: Arrays | None = None,
    targets: Arrays | None = None, *, steps: int | None = None, horizon: float | None = None, seed: int = 0,
) -> StabilityReport:  # fmt: skip
    """Return the stability of a cell or a model along a run: verdict, reasons, advice.

    Without `params`, those of `init`, dimensions that nothing says being 32; without `inputs`, 200 steps (or `steps`) of 4
    samples of standard normal numbers; a cell without inputs starts from random states. Everything drawn is drawn by `seed`.
    With `horizon`, the report has an initialisation for it (`sb.init_for_horizon`).

    Shapes: inputs (T, B, ...) or (T, ...), state (B, ...) or (...); targets as `kernel.value_and_grad`.

    Raises: ArgumentError as `kernel.forward` does, and where the state is not finite after the first step; TheoremError where
    the run contradicts a theorem on it, which is a fault of symbptt.
    """
    return report_of(setting(target, params, inputs, state, targets, steps, seed), horizon, seed)


def report_of(
    of: Setting, horizon: float | None, seed: int, tell: Callable[[str], None] = lambda stage: None
) -> StabilityReport:
    """Return the report; `tell` is called with each stage."""
    tell("Lyapunov exponents")
    spectrum = spectrum_of(of.run, seed=seed)
    found = verdict(of.run, spectrum, of.left)
    tell("products of Jacobians")
    lags = np.unique(np.geomspace(1, of.tail.steps, LAGS).round().astype(int))
    products = products_of(of.tail, lags.tolist())
    tell("gradients")
    flow, factors = _flow(of, seed), factors_along(of.tail, carries(of.cell))
    still = moved(of.cell)
    unmoved = None if still is None else factors_along(of.tail, still)
    parts, norms = shares(of.tail, factors), gradient_norms(of, seed)
    tell("conditions")
    proven = theorems(of.run)
    # A run that contradicts a theorem shows a fault of symbptt: an error is better than a wrong report.
    check_theorems(of.target.name, proven, spectrum, products, float(np.finfo(of.run.of.dtype).eps))
    if horizon is not None:
        tell("initialisation")
    design = None if horizon is None else init_for_horizon(of.cell, horizon, of.own, of.run.inputs, seed=seed)
    return StabilityReport(
        of.target.name, of.cell.name, isinstance(of.target, Model), of.words, of.run.steps, of.run.batch, dict(of.run.of.shapes),
        found, spectrum, products, flow,
        gates(carries(of.cell), factors, unmoved), parts, proven[0], windows(found, flow, proven), clip(norms),
        float_range(found, products), growth(flow), growth_of_tail(of.tail, products.lags.tolist()),
        parallel(of.run, found.exponent), surrogates(local_of(of.cell)), clocks(local_of(of.cell)),
        mixing(local_of(of.cell)),
        bool(knobs(of.cell, of.own, {k: v[:1] for k, v in of.run.inputs.items()}, of.run.of.by_name(of.run.start))),
        finite_growth(of.run) if jumps(local_of(of.cell)) else None, design, letters_of(of.cell.closed),
    )  # fmt: skip


def along(run: Trajectory) -> tuple[Arrays, Arrays]:
    """Return the inputs and the initial state of a run."""
    return run.inputs, run.of.by_name(run.start)


def _flow(of: Setting, seed: int) -> GradientFlow:
    """The gradient of the last step's loss, or of a random loss of the last state, over the tail of the run."""
    inputs, state = along(of.tail)
    if isinstance(of.target, Cell):
        return gradient_flow(of.target, of.own, inputs, None, state, steps=of.tail.steps, seed=seed)
    # The tail is the end of the run, so that its targets are the last ones.
    first = of.run.steps - of.tail.steps
    targets = {k: v[first:] if of.target.at == "every" else v for k, v in (of.targets or {}).items()}
    return gradient_flow(of.target, of.params, inputs, targets, state, steps=of.tail.steps)
