"""Theorems are held against the runs that they are about: no run exceeds a bound, and a false bound stops the report."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Param, State
from symbptt.errors import ArgumentError, TheoremError
from symbptt.stability.proofs import bounds, theorem
from symbptt.stability.proofs.theorem import Theorem, theorems
from symbptt.stability.report.guard import check_theorems
from symbptt.stability.runs.trajectory import trajectory
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.stability.spectra.products import product_spectrum
from symbptt.zoo import CELLS
from tests.properties.cells import cell_of, programs
from tests.test_stability_theorems import check_certificate, check_theorem, drawn, parameters, stencil

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used", "ignore:.*encountered in")
STEPS = 12


@sb.cell
def cascade(u: State["n"], v: State["n"], a: Param, k: Param):
    """A state that feeds another: gradients grow k times before they vanish."""
    return a * u, a * v + k * u


def hold(cell: Any, scale: float, size: float, seed: int) -> None:
    """Hold the theorems of a cell with random parameters against a run of two samples."""
    random, params = np.random.default_rng(seed), parameters(cell, scale, seed)
    inputs = drawn(cell, "input", size, random, (STEPS, 2))
    state = drawn(cell, "state", 1.0, random, (2,))
    steps = None if inputs else STEPS
    try:
        run = trajectory(cell, params, inputs, state, steps)
        spectrum = lyapunov_spectrum(cell, params, inputs, state, steps=steps, transient=2)
        products = product_spectrum(cell, params, inputs, state, [1, 2, 5, STEPS], steps=steps)
        proven = theorems(run)
    except ArgumentError:  # the state or its derivative is not finite, or η depends on a size that nothing tells
        return
    check_theorems(cell.name, proven, spectrum, products, 2.0**-52)


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 17)
def test_no_run_of_the_zoo_exceeds_a_theorem(name: str) -> None:
    for seed, (scale, size) in enumerate([(0.2, 1.0), (1.0, 3.0)]):
        hold(CELLS[name], scale, size, seed)


@pytest.mark.parametrize("name", ["rnn", "lstm", "delta_rule", "s4d"])
@pytest.mark.thinned(5, 3)
def test_no_run_of_some_of_the_zoo_exceeds_a_theorem(name: str) -> None:
    test_no_run_of_the_zoo_exceeds_a_theorem(name)


@pytest.mark.long
@given(programs(), st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([0.1, 1.0, 30.0]))
def test_no_run_of_a_random_cell_exceeds_a_theorem(program: Any, seed: int, scale: float, size: float) -> None:
    note(program.text)
    cell = cell_of(program.text)
    check_theorem(cell, scale, size, seed)
    check_certificate(cell, scale, size, seed)
    hold(cell, scale, size, seed)


def test_false_theorem_stops_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"K": np.full(3, 0.55)}
    state = {"h": np.ones((2, 4))}
    assert sb.analyze(stencil, params, None, state, steps=60).theorem.rate == pytest.approx(1.65)
    monkeypatch.setattr(bounds, "root", lambda parts: bounds.plus(dict.fromkeys(parts)))
    with pytest.raises(TheoremError, match="a theorem is contradicted by the run"):
        sb.analyze(stencil, params, None, state, steps=60)


def test_certificate_without_its_constant_stops_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    params, state = {"a": np.array(0.5), "k": np.array(3.0)}, {"u": np.ones(2), "v": np.ones(2)}
    found = sb.analyze(cascade, params, None, state, steps=60)
    assert found.theorem.rate < 1 and found.theorem.constant > 3
    monkeypatch.setattr(Theorem, "euclidean_constant", 1.0)
    with pytest.raises(TheoremError, match="please report the cell"):
        sb.analyze(cascade, params, None, state, steps=60)


def test_report_prints_the_constant_and_the_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theorem, "MOST", 0)  # without a quadratic metric, which has no scales
    found = sb.analyze(
        cascade, {"a": np.array(0.5), "k": np.array(3.0)}, None, {"u": np.ones(2), "v": np.ones(2)}, steps=60
    )
    proven = found.numbers()["proven"]
    assert (
        proven["constant"]
        == found.theorem.constant
        == pytest.approx(max(proven["scaling"].values()) / min(proven["scaling"].values()))
    )
    text = " ".join(found.text().split())
    assert re.search(
        r"‖∂s_t/∂s_j‖ ≤ [\d.]+ · 0\.[\d]+\^\(t−j\) in the (2|max)-norm \(without the constant where the norm divides u by",
        text,
    )


def test_certified_window_counts_the_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bound, as printed, leaves at the window is within the tolerance, and one step earlier it is not."""
    params, state = {"a": np.array(0.5), "k": np.array(3.0)}, {"u": np.ones(2), "v": np.ones(2)}
    best = sb.analyze(cascade, params, None, state, steps=60)
    monkeypatch.setattr(theorem, "MOST", 0)  # of one theorem alone
    found = sb.analyze(cascade, params, None, state, steps=60)
    assert best.windows.empirical <= best.windows.certified <= found.windows.certified
    at = found.theorem.log_bound(np.array([found.windows.certified - 1, found.windows.certified]))
    assert at[1] <= np.log(found.windows.tolerance) < at[0]
    assert found.windows.certified >= found.windows.empirical


def test_bound_in_the_max_norm_is_compared_in_the_two_norm() -> None:
    assert Theorem(0.5, "max", "", 2.0, None, 9).log_bound(3) == pytest.approx(np.log(2 * 3 * 0.125))
    assert np.isinf(Theorem(None, "2", "").log_bound(3))


def test_rate_of_one_says_that_no_gradient_grows() -> None:
    @sb.cell
    def turn(h: State["2"], W: Param["2 2"]):
        return W @ h

    W = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert "no gradient grows (η = 1 in the 2-norm)" in " ".join(sb.analyze(turn, {"W": W}).text().split())


@sb.cell
def squared(x: sb.Input["n"], h: sb.State["n"], g: sb.State, a: sb.Param["n"]):
    """A product of two numbers without axes, one of them a sum of products, as an energy e @ e times a rate is."""
    e = x - a * np.tanh(h)
    return 0.5 * np.tanh(a * h), 0.1 * np.tanh(np.einsum(",->", e @ e, g))


def test_products_of_numbers_without_axes_are_analysed() -> None:
    """Theorems hold in the run; a bound of the factor of such a product raised TypeError."""
    x = np.random.default_rng(0).standard_normal((12, 1, 2))
    assert sb.analyze(squared, squared.init({"n": 2}), {"x": x}).spectrum.exponents[0] < 0
