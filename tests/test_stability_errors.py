"""Error bars under inputs that vary slowly: covered up to a tenth of the run, and beyond it neither settled nor decided."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.stability.report import verdict
from symbptt.stability.spectra import block_means as statistics
from symbptt.stability.spectra import lyapunov
from symbptt.stability.spectra.block_means import correlated_error, is_slow
from tests.error_bars import STEPS, autoregressive, cases, judged, measured

CASES = {case.name: case for case in cases()}
RUNS = 60


@pytest.mark.parametrize("name", ["factor", "factor, 4 samples"])
@pytest.mark.parametrize("part", [1 / STEPS, pytest.param(0.03, marks=pytest.mark.long), 0.1])
@pytest.mark.thinned(11, 2)
def test_two_errors_cover_the_exponent_up_to_a_tenth_of_the_run(name: str, part: float) -> None:
    cover, _, wrong, _ = measured(CASES[name], part * STEPS, RUNS).mean(0)
    assert cover >= 0.85 and wrong <= 0.1


@pytest.mark.parametrize("name", ["factor", "factor, 4 samples"])
@pytest.mark.parametrize("part", [0.2, 0.5])
@pytest.mark.thinned(7, 3)
def test_beyond_that_a_run_is_neither_settled_nor_decided(name: str, part: float) -> None:
    _, undecided, _, settled = measured(CASES[name], part * STEPS, RUNS).mean(0)
    assert undecided >= 0.9 and settled <= 0.1


@pytest.mark.long
@pytest.mark.parametrize("name", ["gate", "gated, N = 4", "network, N = 4", "driven, N = 12", "chaos, N = 12"])
@pytest.mark.thinned(1, 7)
def test_gates_networks_and_chaos_are_covered_too(name: str) -> None:
    for part in (0.01, 0.1):
        cover, _, wrong, _ = measured(CASES[name], part * STEPS, 2 * RUNS).mean(0)
        assert cover >= 0.85 and wrong == 0
    for part in (0.2, 0.5):
        _, undecided, wrong, settled = measured(CASES[name], part * STEPS, RUNS).mean(0)
        assert wrong == 0 and settled <= 0.1 and undecided >= 0.9


def decided(name: str, tau: float, runs: int = 8) -> int:
    """How many runs have a verdict or count as converged, and none of them a wrong one."""
    found = [judged(CASES[name], tau, seed) for seed in range(runs)]
    assert {said.kind for _, said in found} <= {"chaotic" if name[:5] == "chaos" else "vanishing", "undecided"}
    return sum(said.kind != "undecided" or spectrum.converged for spectrum, said in found)


@pytest.mark.parametrize("name", ["gated, N = 4", pytest.param("chaos, N = 12", marks=pytest.mark.long)])
def test_slow_inputs_tell_what_noise_hides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The growth of gates and of chaos is mostly fast noise, so that its blocks look independent; those of the inputs do not."""
    assert decided(name, 0.2 * STEPS) == 0 and decided(name, 1) >= 6
    monkeypatch.setattr(lyapunov, "pooled_correlation", lambda blocks: 0.0)
    assert decided(name, 0.2 * STEPS) > 0


@sb.cell
def turned(x: Input["n"], h: State["n"], a: Param["n"]):
    """Inputs are added, and its Jacobian is constant."""
    return np.roll(a * h, 1) + x


@sb.cell
def routed(x: Input["n"], y: Input["n"], h: State["n"], g: State["n"], a: Param["n"]):
    """Only y drives the Jacobian, through g."""
    return sb.sigmoid(a + g) * h + x, 0.5 * g + y


@sb.cell
def looked_up(v: Index["k"], h: State["n"], A: Param["k n"]):
    return A[v] * h


def test_inputs_that_drive_no_jacobian_are_not_asked() -> None:
    slow = {"x": autoregressive(1000, (1, 3), 300.0, 0)}
    found = sb.lyapunov_spectrum(turned, {"a": np.array([0.5, 0.8, 0.9])}, slow)
    assert not found.slow and found.exponents[0] == pytest.approx(np.log(0.36) / 3, abs=5e-3)
    a, fast = np.array([0.5, 0.8, 0.9]), autoregressive(1000, (1, 3), 1.0, 1)
    for x, y, is_slow_run in ((slow["x"], fast, False), (fast, slow["x"], True)):
        assert sb.lyapunov_spectrum(routed, {"a": a}, {"x": x, "y": y}).slow == is_slow_run


def test_index_that_rarely_changes_is_slow() -> None:
    """A chain that keeps its value for 300 of 1000 steps on average, and one that draws it anew each time."""
    A = {"A": np.random.default_rng(0).uniform(0.5, 1.5, (5, 3))}
    random = np.random.default_rng(1)
    chain = np.repeat(random.integers(0, 5, (4, 2)), [300, 250, 200, 250], axis=0)
    assert sb.lyapunov_spectrum(looked_up, A, {"v": chain}).slow
    assert not sb.lyapunov_spectrum(looked_up, A, {"v": random.integers(0, 5, (1000, 2))}).slow


@pytest.mark.long
def test_planted_blocks_that_are_worth_their_number_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "SLOW", 2.0)
    with pytest.raises(AssertionError):
        test_beyond_that_a_run_is_neither_settled_nor_decided("factor", 0.2)
    monkeypatch.setattr(lyapunov, "correlated_error", lambda blocks, driven: statistics.standard_error(blocks))
    with pytest.raises(AssertionError):
        test_two_errors_cover_the_exponent_up_to_a_tenth_of_the_run("factor", 0.1)


@pytest.mark.long
def test_equal_samples_are_never_said_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of four samples may seem to grow or to vanish by chance, one in ten at 90 %: together they must be surer."""
    wrong = measured(CASES["factor, 4 samples"], 30, 80)[:, 2].mean()
    assert wrong <= 0.05
    monkeypatch.setattr(verdict, "_sure", lambda spectrum, samples=1: 0.9)
    assert measured(CASES["factor, 4 samples"], 30, 80)[:, 2].mean() > wrong


def doubled(series: Any) -> Any:
    """The standard error of the mean by blocking: neighbours are averaged until the estimate no longer grows; its largest over
    levels of 16 blocks and more. Shapes: (2^k, ...) to (...).

    Source: Flyvbjerg, Petersen 1989, "Error estimates on averages of correlated data".
    """
    found = []
    while len(series) >= 16:
        found.append(series.std(0, ddof=1) / np.sqrt(len(series)))
        series = (series[::2] + series[1::2]) / 2
    return np.max(found, 0)


@pytest.mark.parametrize("tau", [0.2, 5.0, 41.0, 120.0])
def test_blocking_by_doubling_finds_the_same_error(tau: float) -> None:
    """Of 4096 steps; the exact error is that of an autoregressive series. Ours is wider where fewer values are left, as Student's t
    asks for; at 4096/34 steps doubling runs out of blocks, ours does not."""
    steps, keep = 4096, np.exp(-1 / tau)
    series = autoregressive(steps, (300,), tau, 0)
    exact = np.sqrt((1 + keep) / (1 - keep) / steps)
    own = correlated_error(statistics.blocks_of(series, np.ones(steps, int)))
    assert np.median(doubled(series)) == pytest.approx(exact, rel=0.25 if tau < 100 else 0.4)
    assert 0.95 <= np.median(own / doubled(series)) <= (1.5 if tau < 100 else 2.5)
    assert np.median(own) >= 0.95 * exact
    covered = np.mean(np.abs(series.mean(0)) <= 2 * own)
    assert covered >= 0.93 and covered >= np.mean(np.abs(series.mean(0)) <= 2 * doubled(series)) - 0.02


def test_planted_error_without_correlation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "correlation", lambda blocks: np.zeros(np.shape(blocks)[1:]))
    with pytest.raises(AssertionError):
        test_blocking_by_doubling_finds_the_same_error(120.0)


def test_samples_spread_as_far_as_each_of_them_errs() -> None:
    """The standard deviation between 200 samples is the error of one, and √200 times that of their mean."""
    case = CASES["factor"]
    found = sb.lyapunov_spectrum(case.cell, case.params, case.inputs(800, 200, 3.0, 7), transient=0)
    keep = np.exp(-1 / 3.0)
    exact = case.size * np.sqrt((1 + keep) / (1 - keep) / 800)
    assert found.between[0] == pytest.approx(exact, rel=0.15)
    assert np.median(found.sample_errors[:, 0]) == pytest.approx(found.between[0], rel=0.25)
    assert found.error[0] * np.sqrt(200) == pytest.approx(exact, rel=0.5)
    assert found.between[0] == pytest.approx(np.std(found.samples[:, 0], ddof=1))
    one = sb.lyapunov_spectrum(case.cell, case.params, case.inputs(800, 1, 3.0, 7), transient=0)
    assert one.between is None


def test_error_of_independent_blocks_is_the_usual_one() -> None:
    blocks = np.random.default_rng(0).standard_normal((20, 4000))
    ratio = correlated_error(blocks) / statistics.standard_error(blocks)
    assert ratio.min() >= 1 and 1.05 <= np.median(ratio) <= 1.25


def test_error_of_skewed_blocks_is_wider() -> None:
    blocks = np.random.default_rng(0).exponential(size=(20, 500))
    gaussian = np.random.default_rng(0).standard_normal((20, 500))
    wider, usual = (np.median(correlated_error(b) / statistics.standard_error(b)) for b in (blocks, gaussian))
    assert wider > 1.1 * usual


@pytest.mark.parametrize("value", [0.0, 1.5, -np.inf])
def test_series_that_do_not_vary_are_not_slow(value: float) -> None:
    blocks = np.full((20, 2), value)
    assert not is_slow(blocks)
    assert not (np.nan_to_num(correlated_error(blocks)) > 1e-12).any()


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_few_blocks_have_an_error_or_none(count: int) -> None:
    blocks: Any = np.random.default_rng(0).standard_normal((count, 3))
    assert np.isnan(correlated_error(blocks)).all() == (count < 2) and not is_slow(blocks[:7])


def test_samples_together_show_what_each_hides() -> None:
    slow = autoregressive(20, (400, 4), 6.0, 0)
    together = np.mean([is_slow(slow[:, i]) for i in range(400)])
    alone = np.mean([is_slow(slow[:, i, :1]) for i in range(400)])
    assert together > alone and together > 0.9
