"""Suprema of functions of one value, of any composition, and of softmax: no value exceeds them, and they are sharp."""

from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Input, Param, State, ops
from symbptt.stability.activations.suprema import sup_derivative
from symbptt.stability.algebra import interval
from symbptt.stability.algebra import ranges as reach
from symbptt.stability.algebra.scalar_functions import X, body_of, derivative_of, on_arrays
from tests.test_stability_theorems import check_certificate, check_theorem

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")
U = np.array([[0.6, -0.8], [0.8, 0.6]])
"""A rotation: its 2-norm is 1, its max-norm 1.4."""


def peak(f: Any, near: float) -> float:
    """|f'| at the stationary point of f' next to a place, by mpmath."""
    return abs(float(mpmath.diff(f, mpmath.findroot(lambda x: mpmath.diff(f, x, 2), near))))


def sigma(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


FUNCTIONS = {
    "x exp(-x²)": (X * sp.exp(-(X**2)), 1.0),
    "x σ(x)": (X * ops.sigmoid(X), peak(lambda x: x * sigma(x), 2.4)),
    "tanh(σ(x))": (sp.tanh(ops.sigmoid(X)), peak(lambda x: mpmath.tanh(sigma(x)), -0.4)),
    "x tanh(x)": (X * sp.tanh(X), peak(lambda x: x * mpmath.tanh(x), 1.2)),
    "log(1 + x²)": (sp.log(1 + X**2), 1.0),
    "x / (1 + x²)": (X / (1 + X**2), 1.0),
    "tanh(x)⁵": (sp.tanh(X) ** 5, peak(lambda x: mpmath.tanh(x) ** 5, 1.2)),
    "silu(silu(x))": ((s := X * ops.sigmoid(X)) * ops.sigmoid(s), peak(lambda x: (y := x * sigma(x)) * sigma(y), 3.0)),
    "elu by a choice": (ops.where(ops.greater(X, 0), X, sp.exp(X) - 1), 1.0),
    "a hat": (ops.maximum(0, 1 - 3 * ops.absolute(X)), 3.0),
    "x log(1 + |x|)": (X * sp.log(1 + ops.absolute(X)), np.inf),
    "x³": (X**3, np.inf),
    "√|x|": (sp.sqrt(ops.absolute(X)), np.inf),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.thinned(3)
def test_supremum_of_a_composed_slope_is_that_of_mpmath(name: str) -> None:
    expr, expected = FUNCTIONS[name]
    lo, hi = reach.whole(derivative_of(expr))
    assert max(-lo, hi) >= expected * (1 - 1e-15)
    assert max(-lo, hi) == pytest.approx(expected, rel=1e-10)


def test_table_of_slopes_is_bounded_by_intervals() -> None:
    for op in ops.OPS:
        size = sup_derivative(op.name) if op.arity == 1 else np.inf
        if np.isfinite(size):
            lo, hi = reach.whole(derivative_of(body_of(op.name)))
            assert size * (1 - 1e-12) <= max(-lo, hi) <= size * (1 + 1e-9) + 1e-12, op.name


@given(st.sampled_from(sorted(FUNCTIONS)), st.floats(-40, 40), st.floats(0, 30), st.floats(0, 1))
def test_no_value_leaves_the_range_over_an_interval(name: str, lo: float, width: float, at: float) -> None:
    slope = derivative_of(FUNCTIONS[name][0])
    value = float(on_arrays(slope)(np.clip(lo + at * width, lo, lo + width)))
    found = reach.reach(slope, interval.between(lo, lo + width))
    slack = 1e-12 * (1 + abs(value))  # 1 - tanh² has no more digits
    assert np.isnan(value) or found.lo - slack <= value <= found.hi + slack


def test_range_over_a_short_interval_is_sharp() -> None:
    found = reach.reach(X * sp.exp(-(X**2)), interval.Interval(np.array([0.5, 2.0]), np.array([1.0, 2.1])))
    assert found.hi[0] == pytest.approx(np.sqrt(0.5) * np.exp(-0.5), abs=1e-4)
    assert found.lo[1] == pytest.approx(2.1 * np.exp(-(2.1**2)), abs=1e-2)


bump = sb.function("bump_of_one_value", lambda v: v * sp.exp(-(v**2)))
surrogate = sb.function("step_with_a_bell", lambda v: sp.sign(v), lambda v: (1 + v**2) * sp.exp(-(v**2)))


@sb.cell
def bumps(x: Input["n"], h: State["n"], U: Param["n n"]):
    return bump(U @ h + x)


@sb.cell
def bumps_spelled(x: Input["n"], h: State["n"], U: Param["n n"]):
    z = U @ h + x
    return z * np.exp(-z * z)


@sb.cell
def bells(x: Input["n"], h: State["n"], U: Param["n n"]):
    return surrogate(U @ h + x)


@sb.cell
def quotient(x: Input["n"], h: State["n"], U: Param["n n"]):
    z = U @ h + x
    return z / (1 + z * z)


@sb.cell
def chosen(x: Input["n"], h: State["n"], U: Param["n n"]):
    z = U @ h + x
    return np.where(z > 0, np.sin(z) * np.exp(-z), z * sb.sigmoid(-np.abs(z)))


@sb.cell
def own_gate(x: Input["n"], h: State["n"], U: Param["n n"]):
    z = U @ h + x
    return 0.5 * h + sb.sigmoid(z) * np.tanh(z)


COMPOSED = [bumps, bumps_spelled, bells, quotient, chosen, own_gate]


@pytest.mark.parametrize("cell", COMPOSED, ids=lambda c: c.name)
@pytest.mark.thinned(3)
def test_cells_of_composed_functions_have_finite_theorems_that_hold(cell: Any) -> None:
    for scale, size, seed in ((0.5, 1.0, 0), (1.0, 30.0, 1)):
        check_theorem(cell, scale, size, seed)
        check_certificate(cell, scale, size, seed)


@pytest.mark.parametrize("cell", [c for c in COMPOSED if c is not own_gate], ids=lambda c: c.name)
@pytest.mark.thinned(2)
def test_slope_of_one_counts_once_in_either_norm(cell: Any) -> None:
    assert sb.vanishing_condition(cell, norm="2").rate({"U": U}) == pytest.approx(1.0, rel=1e-11)
    assert sb.vanishing_condition(cell, norm="max").rate({"U": U}) == pytest.approx(1.4, rel=1e-11)
    assert "η = σ_max(U)" in sb.vanishing_condition(cell, norm="2").text()


def test_planted_range_of_midpoints_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range that is that of the middles of pieces, not of the pieces, is exceeded."""

    def middles(body: Any) -> Any:
        return lambda x: interval.exactly(on_arrays(body)(np.clip((x.lo + x.hi) / 2, -1e9, 1e9)))

    monkeypatch.setattr(reach, "_pieces_of", middles)
    slope = derivative_of(sp.tanh(ops.sigmoid(1.37 * X + 0.001)))
    largest = np.abs(on_arrays(slope)(np.linspace(-2, 2, 400_001))).max()
    assert reach.whole(slope)[1] < largest


# Softmax.


@sb.cell
def shares(h: State["n"], U: Param["n n"]):
    return sb.softmax(U @ h)


@sb.cell
def shares_spelled(h: State["n"], U: Param["n n"]):
    v = U @ h
    e = np.exp(v - v.max())
    return e / e.sum()


@sb.cell
def shares_of_rows(h: State["n n"], U: Param["n n"]):
    v = h @ U
    return np.exp(v) / np.sum(np.exp(v), axis=-1, keepdims=True)


@sb.cell
def shares_of_columns(h: State["n n"], U: Param["n n"]):
    return sb.softmax(U @ h, axis=0)


@sb.cell
def shares_by_reciprocal(h: State["n"], U: Param["n n"]):
    e = np.exp(U @ h)
    return e * (1 / np.sum(e))


SHARES = [shares, shares_spelled, shares_of_rows, shares_of_columns, shares_by_reciprocal]


@pytest.mark.parametrize("cell", SHARES, ids=lambda c: c.name)
@pytest.mark.thinned(5)
def test_softmax_is_bounded_by_a_half_in_either_norm(cell: Any) -> None:
    assert sb.vanishing_condition(cell, norm="2").rate({"U": U}) == pytest.approx(0.5)
    assert sb.vanishing_condition(cell, norm="max").rate({"U": U}) == pytest.approx(0.7)
    assert sb.certified_rate(cell, {"U": U}, {"h": (-1, 1)}).rate == pytest.approx(0.5, rel=1e-8)
    assert "½ σ_max(U)" in sb.vanishing_condition(cell, norm="2").text()
    for scale, seed in ((1.0, 0), (10.0, 1)):
        check_theorem(cell, scale, 1.0, seed)
        check_certificate(cell, scale, 1.0, seed)


def test_half_of_softmax_is_attained_where_two_shares_are_equal() -> None:
    """U h = (30, 30, -30): shares (½, ½, 0), whose Jacobian has the 2-norm ½ and the max-norm ½."""
    y = np.array([0.5, 0.5, 0.0])
    jacobian = np.diag(y) - np.outer(y, y)
    assert np.linalg.norm(jacobian, 2) == pytest.approx(0.5) and np.abs(jacobian).sum(1).max() == pytest.approx(0.5)


def test_factor_inside_softmax_counts() -> None:
    @sb.cell
    def warm(h: State["n"], U: Param["n n"]):
        return sb.softmax(3 * (U @ np.tanh(h)))

    assert sb.vanishing_condition(warm, norm="2").rate({"U": U}) == pytest.approx(1.5)


def test_quotient_by_the_sum_of_another_axis_is_no_softmax() -> None:
    """Sums over rows that stand beside columns: the half does not hold, and is not claimed."""

    @sb.cell
    def crossed(h: State["n n"], U: Param["n n"]):
        e = np.exp(U @ h)
        return e / np.sum(e, axis=1)

    assert sb.vanishing_condition(crossed, norm="2").rate({"U": U}, {"h": (-1, 1)}) > 1
    check_certificate(crossed, 1.0, 1.0, 0)
