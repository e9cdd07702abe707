"""Quadratic metrics: JᵀPJ ≤ η²P for every Jacobian of the box, and rates that are those of the eigenvalues."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.errors import ArgumentError
from symbptt.stability.proofs import quadratic_metric as quadratic
from symbptt.stability.runs.linear import linearize
from symbptt.zoo import CELLS, lru, s4d
from tests.test_stability_theorems import drawn, limits, of_role, parameters, shape

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used", "ignore:.*encountered in")


def hold(cell: Any, params: Any, size: float = 1.0, count: int = 60, seed: int = 0) -> Any:
    """Certify a cell in a quadratic metric, and try Jacobians of its box, at corners and inside."""
    box = {a.name: limits(a, size) for a in cell.arguments if a.role in ("input", "state")}
    found = sb.certified_rate(cell, params, box, metric="quadratic")
    if not np.isfinite(found.rate):
        return found
    random = np.random.default_rng(seed)
    ends = {a.name: [np.clip(end, -1e3, 1e3) for end in found.box[a.name]] for a in of_role(cell, "state")}
    state = {}
    for name, (lo, hi) in ends.items():
        at = np.where(
            random.random((count, *lo.shape)) < 0.5,
            random.random((count, *lo.shape)),
            random.random((count, *lo.shape)) < 0.5,
        )
        state[name] = lo + at * (hi - lo)
    inputs = drawn(cell, "input", size, random, (1, count))
    run = linearize(cell, params, inputs, state, steps=None if inputs else 1)
    p, vectors = found.matrix, np.linalg.eigh(found.matrix)
    root = np.sqrt(vectors[0])[:, None] * vectors[1].T
    for jacobian in run.jacobians[0]:
        if np.isfinite(jacobian).all():
            assert np.linalg.norm(root @ jacobian @ np.linalg.inv(root), 2) <= found.rate * (1 + 1e-9) + 1e-12
    assert found.constant >= np.sqrt(np.linalg.cond(p)) * (1 - 1e-9)
    return found


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.thinned(1, 2)
def test_diagonal_state_spaces_have_the_modulus_of_their_eigenvalues(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = 3 if seed == 2 else 5  # Jacobians are drawn at sizes of 3
    params = lru.init({"m": 2, "n": n, "k": 2}, seed=seed)
    params |= {"nu": random.normal(-1, 1, n), "theta": random.normal(0, 1, n)}
    found = hold(lru, params) if seed == 2 else sb.certified_rate(lru, params, {"x": (-1, 1)}, metric="quadratic")
    assert found.rate == pytest.approx(np.exp(-np.exp(params["nu"])).max(), rel=1e-12)
    assert found.constant == pytest.approx(1, rel=1e-9)
    assert found.contracts and found.norm == "quadratic"
    params = s4d.init({"m": 2, "n": 3}, seed=seed) | {
        "omega": random.normal(0, 3, (2, 3)),
        "decay": random.normal(size=(2, 3)),
    }
    found = sb.certified_rate(s4d, params, {"x": (-1, 1)}, metric="quadratic")
    expected = np.exp(-np.exp(params["log_dt"])[:, None] * np.exp(params["decay"])).max()
    assert found.rate == pytest.approx(expected, rel=1e-12)


@sb.cell
def givens(h: State["2"], a: Param):
    return np.stack([np.cos(a) * h[0] - np.sin(a) * h[1], np.sin(a) * h[0] + np.cos(a) * h[1]])


@sb.cell
def reflected(x: Input["n"], h: State["n"], v: Param["n"]):
    return h - 2 * np.outer(v, v) @ h / (v @ v) + x


@sb.cell
def linear(h: State["n"], A: Param["n n"]):
    return A @ h


@sb.cell
def oscillator(x: Input["n"], q: State["n"], p: State["n"], w: Param["n"]):
    """Damped oscillators, whose positions and velocities have other units."""
    p_new = 0.95 * p - 0.1 * w * q + x
    return q + 0.1 * p_new, p_new


@sb.cell
def selective(x: Input["n"], h: State["n"], a: Param["n"]):
    return np.exp(-np.exp(a) * sb.softplus(x)) * h + x


@pytest.mark.long
def test_isometries_have_the_rate_one() -> None:
    random = np.random.default_rng(0)
    for cell, params in [
        (givens, {"a": np.array(0.7)}),
        (reflected, {"v": random.normal(size=3)}),
        (linear, {"A": np.linalg.qr(random.normal(size=(3, 3)))[0]}),
        (CELLS["householder"], parameters(CELLS["householder"], 1.0)),
    ]:
        found = hold(cell, params)
        assert 1 <= found.rate <= 1 + 1e-11, cell.name
        assert found.constant == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_constant_jacobian_has_the_rate_of_its_eigenvalues(seed: int) -> None:
    A = np.random.default_rng(seed).normal(size=(3, 3)) / 3
    found = hold(linear, {"A": A})
    assert found.rate == pytest.approx(np.abs(np.linalg.eigvals(A)).max(), rel=1e-9)


def test_jordan_block_has_a_rate_next_to_its_eigenvalue() -> None:
    block = {"A": np.array([[0.9, 1.0, 0.0], [0.0, 0.9, 0.0], [0.0, 0.0, 0.5]])}
    assert 0.9 <= hold(linear, block).rate <= 0.9 * 1.02
    assert sb.certified_rate(linear, block, {}).rate > 1


def test_oscillators_are_certified_in_their_energy() -> None:
    params = {"w": np.array([0.5, 1.0, 4.0])}
    found = hold(oscillator, params)
    blocks = [np.array([[1 - 0.01 * w, 0.095], [-0.1 * w, 0.95]]) for w in params["w"]]
    assert found.rate == pytest.approx(max(np.abs(np.linalg.eigvals(b)).max() for b in blocks), rel=1e-9)
    assert found.contracts and not sb.certified_rate(oscillator, params, {"x": (-1, 1)}).contracts


def test_input_sets_the_decay_of_a_selective_cell() -> None:
    params = {"a": np.array([-1.0, 0.5, 0.0])}
    found = hold(selective, params, 2.0)
    assert found.rate == pytest.approx(np.exp(-np.exp(-1) * np.log1p(np.exp(-2))), rel=1e-9)


@pytest.mark.parametrize(
    "name",
    ["rnn", *(pytest.param(x, marks=pytest.mark.long) for x in ("gru", "lstm", "antisymmetric", "cornn", "mgu"))],
)
@pytest.mark.thinned(1, 5)
def test_metric_is_no_worse_than_weights_of_the_states(name: str) -> None:
    params = parameters(CELLS[name], 0.5 if name == "rnn" else 0.3)
    found = hold(CELLS[name], params)
    box = {a.name: limits(a, 1.0) for a in CELLS[name].arguments if a.role in ("input", "state")}
    plain = sb.certified_rate(CELLS[name], params, box)
    assert plain.norm == "max" or found.rate <= plain.rate * (1 + 1e-12)


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 17)
def test_quadratic_metrics_hold_on_the_zoo(name: str) -> None:
    if sum(int(np.prod(shape(a))) for a in of_role(CELLS[name], "state")) > 40:
        pytest.skip("a large state")
    for seed, (scale, size) in enumerate([(0.1, 1.0), (0.5, 0.3), (1.5, 1.0)]):
        hold(CELLS[name], parameters(CELLS[name], scale, seed), size, seed=seed)


def test_sizes_of_one_and_float32_parameters() -> None:
    assert sb.certified_rate(linear, {"A": np.array([[-0.5]])}, {}, metric="quadratic").rate == pytest.approx(0.5)
    A = np.array([[0.5, 0.2], [0.0, 0.25]], np.float32)
    assert sb.certified_rate(linear, {"A": A}, {}, metric="quadratic").rate == pytest.approx(0.5)
    assert sb.certified_rate(linear, {"A": np.zeros((3, 3))}, {}, metric="quadratic").rate == 0


def test_unbounded_derivative_has_no_rate() -> None:
    @sb.cell
    def cubic(h: State["n"], A: Param["n n"]):
        return (A @ h) ** 3 + h

    assert sb.certified_rate(cubic, {"A": np.eye(2)}, {"h": (-1, 1)}, metric="quadratic").rate == np.inf


def test_text_names_the_metric() -> None:
    text = sb.certified_rate(linear, {"A": np.array([[0.9, 1.0], [0.0, 0.8]])}, {}, metric="quadratic").text()
    assert "JᵀPJ ≤ η²P" in text and " · 0.9" in text and "in the 2-norm" in text


@pytest.mark.parametrize(
    ("sizes", "metric", "message"),
    [(2, "cubic", "the metric is 'cubic'"), (600, "quadratic", "at most 512 elements, these have 600")],
)
def test_bad_metric_is_reported(sizes: int, metric: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sb.certified_rate(linear, {"A": np.eye(sizes)}, {}, metric=metric)


@pytest.mark.long
def test_largest_gain_is_that_of_the_eigenvalues() -> None:
    A = np.array([[0.5, 2.0], [0.0, 0.25]])
    found = sb.certified_rate(linear, {"A": A}, {}, metric="quadratic")
    assert found.largest_gain == pytest.approx(2, rel=2e-2)


def test_norm_is_bounded_where_numbers_round() -> None:
    """Against 60 digits: the bound on a 2-norm is no less than it."""
    import mpmath

    random = np.random.default_rng(0)
    for n in (2, 3, 6):
        a = random.normal(size=(n, n)) * 10.0 ** random.integers(-8, 8)
        with mpmath.workdps(60):
            size = mpmath.svd_r(mpmath.matrix(a.tolist()), compute_uv=False)[0]
            found = quadratic._norm_of(a)
            assert mpmath.mpf(found) >= size and found <= float(size) * (1 + 1e-11)


@sb.cell
def gated(x: Input["n"], h: State["n"], A: Param["n n"]):
    return sb.sigmoid(x) * (A @ h)


def test_planted_metric_that_forgets_what_varies_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"A": np.eye(3) + 0.1}
    assert hold(gated, params, 3.0).rate == pytest.approx(1.3 / (1 + np.exp(-3)), rel=1e-9)
    monkeypatch.setattr(quadratic, "norm_of", lambda m: quadratic._norm_of(m.lo / 2 + m.hi / 2))
    with pytest.raises(AssertionError):
        hold(gated, params, 3.0)
