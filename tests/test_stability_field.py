"""Mean fields, critical lines and suprema: published values, exact forms, and what Gauss-Hermite gets wrong."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import ops
from symbptt.errors import ArgumentError
from symbptt.stability.activations.mean_field import critical_line, gaussian_mean, mean_field
from symbptt.stability.activations.suprema import slope_bound, sup_derivative
from symbptt.stability.algebra.scalar_functions import body_of, derivative_of, on_arrays

UNARY = [op for op in ops.OPS if op.arity == 1]


@pytest.mark.parametrize("gain, expected", [(1.2, 0.016476), (1.5, 0.065217), (2.0, 0.154724), (3.0, 0.310249)])
def test_tanh_network_has_the_published_exponent(gain: float, expected: float) -> None:
    assert abs(mean_field("tanh", sigma_w=gain).lyapunov - expected) <= 1e-5


@pytest.mark.parametrize("sigma_b, expected", [(0.1, 1.193401), (0.3, 1.395584), (1.0, 1.855589)])
@pytest.mark.thinned(11)
def test_critical_line_of_tanh_is_the_published_one(sigma_b: float, expected: float) -> None:
    assert abs(critical_line("tanh", sigma_b=sigma_b) - expected) <= 1e-5


def test_large_variances_are_integrated() -> None:
    """201 Gauss-Hermite nodes give 1.78 here."""
    assert abs(mean_field("tanh", sigma_w=20.0).lyapunov - 1.1924126) <= 1e-6


def test_mean_field_of_relu_is_closed() -> None:
    found = mean_field("relu", sigma_w=1.0, sigma_b=0.3)
    assert found.variance == pytest.approx(0.18) and found.chi == pytest.approx(0.5)
    assert found.lyapunov == pytest.approx(math.log(0.5) / 2)
    assert found.depth_scale == pytest.approx(1 / math.log(2))
    assert mean_field("relu", sigma_w=2.0, sigma_b=0.3).variance == math.inf
    assert mean_field("relu", sigma_w=2.0, sigma_b=0.3).chi == pytest.approx(2.0)
    assert critical_line("relu", sigma_b=0.3) == pytest.approx(math.sqrt(2), abs=1e-6)


def test_mean_field_of_erf_is_closed() -> None:
    """⟨erf(√q z)²⟩ = (2/π) asin(2q / (1 + 2q)), Williams 1998; ⟨erf'²⟩ = (4/π) / √(1 + 4q)."""
    found = mean_field("erf", sigma_w=1.5, sigma_b=0.2)
    q = found.variance
    assert q == pytest.approx(2.25 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + 0.04, rel=1e-10)
    assert found.chi == pytest.approx(2.25 * 4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-10)


def test_quiet_network_below_the_critical_gain_is_silent() -> None:
    found = mean_field("tanh", sigma_w=0.9)
    assert found.variance == 0 and found.chi == pytest.approx(0.81)
    assert critical_line("tanh", sigma_b=0.0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softsign", "hard_tanh", "selu"])
def test_fixed_variance_is_one(name: str) -> None:
    f = on_arrays(body_of(name))
    found = mean_field(name, sigma_w=0.9, sigma_b=0.4)
    again = 0.81 * gaussian_mean(lambda u: f(u) ** 2, found.variance, ops.BY_NAME[name].kinks) + 0.16
    assert again == pytest.approx(found.variance, rel=1e-10)


@pytest.mark.parametrize("variance", [1e-6, 1.0, 1e4, 1e12])
@pytest.mark.thinned(17)
def test_gaussian_means_agree_with_mpmath(variance: float) -> None:
    root = mpmath.sqrt(variance)
    cuts = sorted({0.0, *(s * min(20.0, 10**k / float(root)) for s in (-1, 1) for k in (-1, 0, 1, 2)), -20.0, 20.0})
    expected = mpmath.quad(lambda z: mpmath.tanh(root * z) ** 2 * mpmath.npdf(z), cuts)
    assert gaussian_mean(lambda u: np.tanh(u) ** 2, variance) == pytest.approx(float(expected), rel=1e-10)


def test_critical_line_keeps_the_shape_of_its_argument() -> None:
    assert critical_line("relu", sigma_b=[[0.1], [0.2]]).shape == (2, 1)
    assert np.ndim(critical_line("relu", sigma_b=0.1)) == 0
    assert math.isnan(critical_line("sign", sigma_b=0.1))


# ---- suprema ------------------------------------------------------------------------------------------------------

SUPREMA = {
    "tanh": 1.0, "sigmoid": 0.25, "gelu": 1.12890415, "silu": 1.09983932, "mish": 1.08849816, "erf": 1.12837917,
    "relu": 1.0, "softplus": 1.0, "softsign": 1.0, "hard_sigmoid": 1 / 6, "hard_tanh": 1.0, "sin": 1.0, "arctan": 1.0,
    "selu": 1.7580993408, "elu": 1.0, "leaky_relu": 1.0, "exp": math.inf, "square": math.inf, "log": math.inf,
    "sign": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name, expected", SUPREMA.items())
def test_suprema_of_derivatives(name: str, expected: float) -> None:
    assert sup_derivative(name) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.name)
@pytest.mark.thinned(5)
def test_no_slope_exceeds_its_supremum(op: Any) -> None:
    x = np.concatenate(
        [np.random.default_rng(0).uniform(-30, 30, 20_000), np.random.default_rng(1).normal(size=20_000)]
    )
    size = np.abs(on_arrays(derivative_of(body_of(op.name)))(x))
    assert np.nanmax(size) <= sup_derivative(op.name) * (1 + 1e-12)


@pytest.mark.parametrize(
    "name, exact",
    [
        ("tanh", sp.S.One), ("sigmoid", sp.Rational(1, 4)), ("erf", 2 / sp.sqrt(sp.pi)), ("hard_sigmoid", sp.Rational(1, 6)),
        ("gelu", sp.Rational(1, 2) + sp.erf(1) / 2 + sp.exp(-1) / sp.sqrt(sp.pi)),
    ],
)  # fmt: skip
def test_suprema_are_exact_where_they_can_be(name: str, exact: sp.Expr) -> None:
    assert sp.simplify(slope_bound(name).exact - exact) == 0


# ---- bad input ----------------------------------------------------------------------------------------------------


def test_unknown_activations_are_refused_with_the_known_ones() -> None:
    for call in (lambda n: mean_field(n, sigma_w=1.0), sup_derivative, lambda n: critical_line(n, sigma_b=0.1)):
        with pytest.raises(ArgumentError, match="'tahn' is no activation"):
            call("tahn")
    with pytest.raises(ArgumentError, match="'maximum' is no activation of one argument"):
        sup_derivative("maximum")


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_sigmas_are_from_zero(sigma: float) -> None:
    with pytest.raises(ArgumentError, match="a number from 0"):
        mean_field("tanh", sigma_w=sigma)
    with pytest.raises(ArgumentError, match="a number from 0"):
        critical_line("tanh", sigma_b=sigma)


@pytest.mark.parametrize(
    "activation, sigma_w, chi",
    [("relu", 1.0, 0.5), ("relu", 1.2, 0.72), ("leaky_relu", 1.0, (1 + 0.01**2) / 2), ("abs", 0.9, 0.81)],
)
def test_zero_variance_counts_both_slopes_of_a_kink(activation: str, sigma_w: float, chi: float) -> None:
    found = mean_field(activation, sigma_w=sigma_w)
    assert found.variance == 0 and found.chi == pytest.approx(chi, rel=1e-9)


SELU = 1.0507009873554805, 1.6732632423543772


@pytest.mark.parametrize(
    "activation, squares",
    [("relu", (1, 0)), ("leaky_relu", (1, 1e-4)), ("abs", (1, 1)), ("hard_tanh", (1, 1)), ("softsign", (1, 1)),
     ("selu", (SELU[0] ** 2, (SELU[0] * SELU[1]) ** 2)), ("elu", (1, 1))],
)  # fmt: skip
def test_critical_line_begins_where_the_two_slopes_at_zero_say(activation: str, squares: Any) -> None:
    """Without a bias the variance goes to zero below it: χ = σ_w² (slope₊² + slope₋²)/2 = 1."""
    assert critical_line(activation, sigma_b=0.0) == pytest.approx(math.sqrt(2 / sum(squares)), rel=1e-6)


def exact_moments(value, slope, variance, breaks):
    """⟨φ²⟩ and ⟨φ'²⟩ under a Gaussian, by mpmath between the breaks."""
    q = mpmath.sqrt(mpmath.mpf(variance))
    ends = [-mpmath.inf, *(mpmath.mpf(b) / q for b in breaks), mpmath.inf]
    weight = mpmath.npdf
    return [float(mpmath.quad(lambda z, f=f: f(q * z) ** 2 * weight(z), ends)) for f in (value, slope)]


def tilted(v):
    return np.where(v > 0.37, np.tanh(v), 0.5 * v)


@pytest.mark.parametrize("sigma_b", [0.1, 0.7])
@pytest.mark.thinned(2)
def test_mean_field_of_any_elementwise_function_is_the_integral_between_its_kinks(sigma_b):
    found = sb.mean_field(tilted, sigma_w=1.4, sigma_b=sigma_b)
    value, slope = exact_moments(
        lambda u: mpmath.tanh(u) if u > 0.37 else u / 2,
        lambda u: mpmath.sech(u) ** 2 if u > 0.37 else mpmath.mpf(1) / 2,
        found.variance, [0, 0.37],
    )  # fmt: skip
    assert found.variance == pytest.approx(1.96 * value + sigma_b**2, rel=1e-9)
    assert found.chi == pytest.approx(1.96 * slope, rel=1e-9)


def test_mean_field_of_a_leak_is_known_by_hand():
    found = sb.mean_field(lambda v: np.maximum(v, 0.1 * v), sigma_w=1.3, sigma_b=0.2)
    half = 1.69 * (1 + 0.01) / 2
    assert (found.chi, found.variance) == pytest.approx((half, 0.04 / (1 - half)), rel=1e-12)
    assert sb.critical_line(lambda v: np.maximum(v, 0.1 * v), sigma_b=0.0) == pytest.approx(np.sqrt(2 / 1.01), rel=1e-6)


def test_functions_of_the_table_and_declared_ones_go_by_value_too():
    assert sb.mean_field(np.tanh, sigma_w=2) == sb.mean_field("tanh", sigma_w=2)
    spike = sb.function("spiking", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + v**2))
    found = sb.mean_field(spike, sigma_w=1.0, sigma_b=0.5)
    (slope, _) = exact_moments(lambda u: 1 / (1 + u**2), lambda u: 0, found.variance, [0])
    assert found.variance == pytest.approx(0.5 + 0.25, rel=1e-9) and found.chi == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("wrong", [lambda v: v - np.mean(v), lambda v: np.cumsum(v), 3, None])
def test_what_is_no_elementwise_function_is_an_error(wrong):
    with pytest.raises(sb.ArgumentError, match="elementwise|no activation"):
        sb.mean_field(wrong, sigma_w=1.0)
