"""Reports of cells whose step is a solver: what carries a state, what is evaluated once, what has no warnings."""

import warnings

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.stability.runs import trajectory as trajectories
from symbptt.stability.runs.gates import formula_of
from symbptt.stability.runs.setting import setting
from symbptt.stability.runs.trajectory import jacobians_at, linearised, linearised_backward


def lorenz(substeps):
    """The Lorenz system, a step of which is `substeps` steps of the classical Runge–Kutta method."""

    def slope(x, y, z, sigma, rho, beta):
        return sigma * (y - x), x * (rho - z) - y, x * y - beta * z

    @sb.cell
    def flow(x: State, y: State, z: State, sigma: Param, rho: Param, beta: Param):
        dt, s = 0.01 / substeps, (x, y, z)
        for _ in range(substeps):
            k1 = slope(*s, sigma, rho, beta)
            k2 = slope(*(v + dt / 2 * k for v, k in zip(s, k1, strict=True)), sigma, rho, beta)
            k3 = slope(*(v + dt / 2 * k for v, k in zip(s, k2, strict=True)), sigma, rho, beta)
            k4 = slope(*(v + dt * k for v, k in zip(s, k3, strict=True)), sigma, rho, beta)
            s = tuple(v + dt / 6 * (a + 2 * b + 2 * c + d) for v, a, b, c, d in zip(s, k1, k2, k3, k4, strict=True))
        return s

    return flow


PARAMS = {"sigma": np.array(10.0), "rho": np.array(28.0), "beta": np.array(8 / 3)}
STATE = {"x": np.array([1.0]), "y": np.array([1.0]), "z": np.array([20.0])}


def is_balanced(text):
    depth = [text[: i + 1].count("(") - text[: i + 1].count(")") for i in range(len(text))]
    return min(depth) >= 0 and depth[-1] == 0


@pytest.mark.long
@pytest.mark.parametrize("substeps", [1, 2, 5])
@pytest.mark.thinned(1, 2)
def test_reports_of_runge_kutta_have_whole_formulas_and_true_factors(substeps):
    cell = lorenz(substeps)
    report = sb.analyze(cell, PARAMS, None, STATE, steps=40)
    assert all(is_balanced(gate.formula) and "\n" not in gate.formula for gate in report.gates)
    assert report.text()
    s = {k: v[0] for k, v in STATE.items()}
    seen = {k: [] for k in s}
    for _ in range(40):
        for i, name in enumerate(s):
            bumped = {**s, name: s[name] + 1e-30j}
            seen[name].append(cell(*bumped.values(), *PARAMS.values())[i].imag / 1e-30)
        s = dict(zip(s, cell(*s.values(), *PARAMS.values()), strict=True))
    for gate in report.gates:
        assert gate.mean == pytest.approx(np.mean(seen[gate.state]), rel=1e-9)


@sb.cell
def euler(x: State, y: State, z: State, sigma: Param, rho: Param, beta: Param):
    """The Lorenz system by steps of Euler's method, whose factors are short."""
    return x + 0.01 * sigma * (y - x), y + 0.01 * (x * (rho - z) - y), z + 0.01 * (x * y - beta * z)


def test_factor_that_takes_more_than_a_line_has_no_formula():
    assert formula_of(lorenz(1), "x") == formula_of(lorenz(2), "x") == "an elementwise factor"
    assert formula_of(euler, "x") == "1 - 0.01 σ"


@sb.cell
def plain(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"], b: Param["n"]):
    return np.tanh(U @ h + W @ x + b)


def test_jacobians_of_an_analysis_are_evaluated_once(monkeypatch):
    counted, whole = [], trajectories._jacobians
    params = plain.init({"m": 2, "n": 5}, seed=0)

    def counting(run, block, *of):
        counted.append(block)
        return whole(run, block, *of)

    monkeypatch.setattr(trajectories, "_jacobians", counting)
    sb.analyze(plain, params, steps=60)
    assert [b.start for b in counted] == sorted({b.start for b in counted})
    counted.clear()
    monkeypatch.setattr(trajectories, "KEPT", 0)
    sb.analyze(plain, params, steps=60)
    assert len(counted) > 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kept", [0, 3 * 8 * 2 * 25, 10**9])
def test_kept_jacobians_are_those_evaluated_again(dtype, kept, monkeypatch):
    monkeypatch.setattr(trajectories, "MEMORY", 3 * 8 * 2 * 25)  # three steps a block
    params = plain.init({"m": 2, "n": 5}, seed=1, dtype=dtype)
    x = np.random.default_rng(0).standard_normal((10, 2, 2)).astype(dtype)
    run = setting(plain, params, {"x": x}, None, None, None, 0).run
    first = np.concatenate([block for _, block in linearised(run)])
    monkeypatch.setattr(trajectories, "KEPT", kept)
    for _ in range(2):
        again = np.concatenate([block for _, block in reversed(list(linearised_backward(run)))])
        assert np.array_equal(first, again)
        for chosen in ([0], [9], [0, 4, 5, 9], []):
            assert np.allclose(jacobians_at(run, chosen), first[chosen], rtol=1e-6)


def doubling(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"]):
    return U @ h + W @ x


def squaring(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"]):
    return (U @ h) ** 2 + W @ x


def saturating(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"]):
    return np.tanh(1e6 * (U @ h + W @ x))


def rooted(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"]):
    return np.sqrt(U @ h + W @ x + 3)


def raised(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"]):
    return np.exp(U @ h + W @ x)


def spelled(x: Input["m"], h: State["n"], U: Param["n n"], W: Param["n m"]):
    return 1 / (1 + np.exp(-300 * (U @ h + W @ x)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("body", [doubling, squaring, saturating, rooted, raised, spelled])
@pytest.mark.thinned(7, 2)
def test_cells_that_leave_the_range_leak_no_warnings(body, dtype):
    cell = sb.cell(body)
    params = {k: (3 * v).astype(dtype) for k, v in cell.init({"m": 2, "n": 3}, seed=0).items()}
    x = np.random.default_rng(0).standard_normal((120, 2, 2)).astype(dtype)
    h = {"h": np.ones((2, 3), dtype)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for work in (
            lambda: sb.analyze(cell, params, {"x": x}, h).text(),
            lambda: sb.transient_growth(cell, params, {"x": x}, h),
            lambda: sb.lyapunov_spectrum(cell, params, {"x": x}, h),
            lambda: sb.product_spectrum(cell, params, {"x": x}, h),
            lambda: sb.gradient_flow(cell, params, {"x": x}, None, h),
        ):
            try:
                work()
            except sb.ArgumentError as error:  # says in words at which step the range is left
                assert "finite" in str(error) or "range" in str(error)
