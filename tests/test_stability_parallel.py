"""Newton's method over time: what is predicted, against a solver in NumPy, and what is proven of the Jacobian."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.stability.dynamics import parallel as module
from symbptt.stability.dynamics.parallel import newton_iterations, parallel, quasi_iterations, structure_of
from symbptt.stability.runs.linear import linear
from symbptt.stability.runs.trajectory import trajectory
from symbptt.zoo import gru, indrnn, lstm, min_gru, rnn
from tests.newton import iterations, setting


@sb.cell
def linear_rnn(x: Input["n"], h: State["n"], W: Param["n n"]):
    return W @ h + x


@sb.cell
def pair(x: Input["n"], h: State["n"], c: State["n"], a: Param["n"], b: Param["n"]):
    return np.tanh(a * c + x), b * h + 0.5 * c


@sb.cell
def two_layers_apart(x: Input["n"], h: State["n"], g: State["n"], U: Param["n n"]):
    return np.tanh(U @ h + x), np.tanh(0.5 * g + x)


def of(cell: Any, params: Any, steps: int, n: int, batch: int = 1) -> Any:
    x = np.random.default_rng(1).standard_normal((steps, batch, n))
    return trajectory(cell, params, {"x": x}, None, None)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("gain", [0.4, 1.0])
@pytest.mark.thinned(7, 5)
def test_prediction_is_near_where_gradients_vanish(name: str, gain: float) -> None:
    cell, params, inputs = setting(name, gain, 80, 3, n=8)
    report = sb.analyze(cell, params, inputs)
    run = trajectory(cell, params, inputs, None, None)
    full, diagonal = iterations(run, False), iterations(run, True)
    assert report.verdict.exponent < -0.15 and report.parallel.kind == "fast"
    assert 1 / 2 <= report.parallel.newton / full <= 2 and 1 / 2 <= report.parallel.quasi / diagonal <= 2.5
    assert full < diagonal


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.thinned(2)
def test_in_chaos_iterations_are_a_large_part_of_the_steps(seed: int) -> None:
    cell, params, inputs = setting("rnn", 4.0, 100, seed, n=16)
    report = sb.analyze(cell, params, inputs)
    assert report.verdict.exponent > 0.1 and report.parallel.kind == "none" and report.parallel.newton == 100
    assert iterations(trajectory(cell, params, inputs, None, None), False) >= 50
    assert "count on no gain" in " ".join(report.text().split())


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize("n", [1, 5])
def test_affine_recurrence_takes_one_iteration(steps: int, n: int) -> None:
    run = of(linear_rnn, {"W": 0.9 * np.eye(n) + 0.05}, steps, n, batch=2)
    found = parallel(run, -0.05)
    assert found.affine and found.newton == 1 == iterations(run, False) and found.kind == "exact"
    assert (found.structure, found.size) == (("dense", n) if n > 1 else ("diagonal", 1))
    params = min_gru.init({"m": n, "n": 4}, seed=0)
    gated = of(min_gru, params, steps, n)
    found = parallel(gated, -0.5)
    assert (found.structure, found.affine, found.newton, found.quasi) == ("diagonal", True, 1, 1)
    assert iterations(gated, False) == iterations(gated, True) == 1


def test_diagonal_iteration_of_a_linear_step_is_predicted_by_its_symbol() -> None:
    """W = a 1 + b P of a cyclic shift P, whose symbol has the radius b / |1 − a z|: b / (1 − a) on the circle."""
    a, b, n, steps = 0.5, 0.2, 6, 400
    W = a * np.eye(n) + b * np.roll(np.eye(n), 1, 0)
    run = of(linear_rnn, {"W": W}, steps, n)
    predicted = quasi_iterations(W[None], steps)
    assert predicted == pytest.approx(np.log(1e-8) / np.log(b / (1 - a)), abs=1.5)
    assert iterations(run, True) == pytest.approx(predicted, rel=0.25)


def test_iteration_that_does_not_shrink_needs_a_part_of_the_steps() -> None:
    a, b, n, steps = 0.2, 0.85, 4, 150
    W = a * np.eye(n) - b * np.roll(np.eye(n), 1, 0)
    measured = iterations(of(linear_rnn, {"W": W}, steps, n), True)
    assert 0.4 * steps < measured <= quasi_iterations(W[None], steps) <= steps


def test_structure_is_proven_from_formulas() -> None:
    def structure(cell: Any, params: Any, m: int) -> tuple[str, int]:
        return structure_of(linear(cell, params, {"x": np.zeros((1, 1, m))}))

    sizes = {"m": 3, "n": 4}
    assert structure(indrnn, indrnn.init(sizes), 3) == ("diagonal", 1)
    assert structure(rnn, rnn.init(sizes), 3) == ("dense", 4)
    assert structure(lstm, lstm.init(sizes), 3) == ("dense", 8)
    assert structure(pair, {"a": np.ones(4), "b": np.ones(4)}, 4) == ("block", 2)
    assert structure(two_layers_apart, {"U": np.ones((4, 4))}, 4) == ("block", 4)
    assert structure(pair, {"a": np.ones(1), "b": np.ones(1)}, 1) == ("dense", 2)
    assert structure(rnn, rnn.init({"m": 1, "n": 1}), 1) == ("diagonal", 1)


def test_diagonal_step_needs_the_same_with_and_without_its_diagonal_alone() -> None:
    cell, params, inputs = setting("indrnn", 0.9, 60, 0, n=5)
    run = trajectory(cell, params, inputs, None, None)
    assert iterations(run, False) == iterations(run, True)
    found = sb.analyze(cell, params, inputs).parallel
    assert found.newton == found.quasi and "quasi" not in found.text()


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("exponent", [-np.inf, -1.0, 0.0, 0.5, 50.0])
def test_no_more_iterations_than_steps(steps: int, exponent: float) -> None:
    assert 1 <= newton_iterations(exponent, steps) <= steps
    run = of(gru, gru.init({"m": 2, "n": 3}, seed=0), steps, 2)
    found = parallel(run, exponent)
    assert 1 <= found.newton <= steps and found.newton <= found.quasi <= steps
    assert iterations(run, False) <= steps


def test_products_that_overflow_are_said_to() -> None:
    single = trajectory(
        linear_rnn, {"W": (3 * np.eye(2)).astype(np.float32)}, {"x": np.zeros((150, 1, 2), np.float32)}, None, None
    )
    assert parallel(single, float(np.log(3))).overflows and parallel(single, float(np.log(3))).kind == "none"
    assert "overflow" in parallel(single, float(np.log(3))).text()
    double = trajectory(linear_rnn, {"W": 3 * np.eye(2)}, {"x": np.zeros((150, 1, 2))}, None, None)
    assert not parallel(double, float(np.log(3))).overflows


def test_report_tells_it_in_text_and_numbers() -> None:
    report = sb.analyze(gru, gru.init({"m": 2, "n": 4}, seed=0), steps=60)
    numbers = report.numbers()["parallel"]
    assert numbers["newton"] == report.parallel.newton and numbers["kind"] == report.parallel.kind
    assert report.parallel.text() in " ".join(report.text().split())


@sb.cell
def normalised(x: Input["n"], h: State["n"], W: Param["n n"]):
    v = W @ h + 0.1 * x
    return v / np.sqrt(1e-2 + np.mean(v * v))


def test_a_first_guess_whose_jacobians_grow_is_told() -> None:
    """At zero v is small and divided by a small norm; along the run states have length one. A Jacobian at zero is
    (I/s - v vᵀ/(n s³)) W with s² = 0.01 + mean(v²), v = 0.1 x, multiplied here by hand."""
    W = 0.9 * np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    run = of(normalised, {"W": W}, 60, 6)
    logs, u = [], np.ones(6)
    for x in run.inputs["x"][:60, 0]:
        v = 0.1 * x
        s = np.sqrt(1e-2 + np.mean(v * v))
        u = (np.eye(6) / s - np.outer(v, v) / (6 * s**3)) @ W @ (u / np.linalg.norm(u))
        logs.append(np.log(np.linalg.norm(u)))
    found = parallel(run, -0.3)
    assert found.guess == pytest.approx(np.mean(logs[30:]), abs=0.15) and found.guess > 1
    assert found.grows_at_first and "several times as many" in found.text()
    assert not parallel(run, 0.1).grows_at_first
    still = of(rnn, setting("rnn", 0.4, 60, 3, n=6)[1], 60, 3)
    assert not parallel(still, -0.9).grows_at_first and "several times" not in parallel(still, -0.9).text()


def test_a_vector_that_vanishes_has_no_growth() -> None:
    run = of(linear_rnn, {"W": np.zeros((2, 2))}, 5, 2)
    assert module.exponent_at_zero(run) == -np.inf


def test_planted_mistakes_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole Jacobian in the place of its part off the diagonal, and a law that forgets λ₁."""
    with monkeypatch.context() as m:
        right = module._rate
        m.setattr(
            module, "_rate", lambda d, others, radius: right(d, others + d[..., None] * np.eye(d.shape[-1]), radius)
        )
        with pytest.raises(AssertionError):
            test_diagonal_iteration_of_a_linear_step_is_predicted_by_its_symbol()
    with monkeypatch.context() as m:
        m.setattr(module, "newton_iterations", lambda exponent, steps: 5)
        with pytest.raises(AssertionError):
            test_in_chaos_iterations_are_a_large_part_of_the_steps(0)
