"""Mean-field theory of a vanilla recurrent network, h' = φ(W h + b) with Gaussian W and b, of infinite width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.stability.activations.elementwise import composed
from symbptt.stability.algebra.scalar_functions import body_of, derivative_of, kinks_of, on_arrays

REACH = 38.0
"""The Gaussian density underflows beyond this many standard deviations."""
LARGE, SMALL = 1e24, 1e-24
"""Variances beyond which a fixed point is taken to be infinite, or zero."""
POLE = 1e9
"""A mean square for a variance of 1 beyond this is that of a function with a pole."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True)
class MeanField:
    """The fixed point of the variance of the preactivations, and the growth of perturbations there.

    `variance` is q with q = σ_w² ⟨φ(√q z)²⟩ + σ_b², zero or infinite where the variance goes there; `chi` is σ_w² ⟨φ'(√q z)²⟩, the
    factor by which the squared norm of a perturbation or a gradient grows per step, at q = 0 the limit σ_w² (φ'(0+)² + φ'(0−)²)/2;
    `lyapunov` is ½ ln χ, nats per step; `depth_scale` is 1 / |ln χ|, the steps in which that squared norm changes by a factor e.

    Weights are the same at every step in a recurrent network; the theory holds for them as for fresh ones at each step in
    vanilla cells without inputs, in the limit of infinite width.
    """

    variance: float
    chi: float
    lyapunov: float
    depth_scale: float


Activation = str | Callable[[Any], Any]


def mean_field(activation: Activation, *, sigma_w: float, sigma_b: float = 0.0) -> MeanField:
    """Return the mean field of h' = φ(W h + b), W of variance σ_w² / N, b of variance σ_b².

    `activation` is the name of a function of the table, or an elementwise function of one value as a cell would have it, such as one of
    `sb.function` or `lambda v: np.maximum(v, 0.1 * v)`; a declared derivative counts as the slope. The fixed point is the one that a
    variance of 1 goes to.

    Raises: ArgumentError for an unknown activation, a function that is not elementwise, or a negative or infinite sigma.

    Source: Sompolinsky, Crisanti, Sommers 1988, "Chaos in random neural networks"; in discrete time: Molgedey, Schuchhardt,
    Schuster 1992; Poole et al. 2016, equations 3 and 5; Schoenholz et al. 2017.
    """
    _check_sigmas(sigma_w, sigma_b)
    return _mean_field(_Moments.of(activation), sigma_w, sigma_b)


def critical_line(activation: Activation, *, sigma_b: Any) -> Any:
    """Return σ_w for each σ_b where χ is 1, the edge of chaos: the smallest one from 0.01 to 100, nan where there is none.

    `activation` is as for `sb.mean_field`.

    Shapes: those of sigma_b.

    Raises: ArgumentError for an unknown activation, or a negative or infinite sigma.

    Source: Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos", figure 1.
    """
    _check_sigmas(*np.ravel(np.array(sigma_b)))
    given = np.asarray(sigma_b, np.float64)
    moments = _Moments.of(activation)
    return np.array([_critical(moments, float(b)) for b in given.ravel()]).reshape(given.shape)[()]


def _check_sigmas(*sigmas: float) -> None:
    for sigma in sigmas:
        if not (isinstance(sigma, int | float | np.number) and np.isfinite(sigma) and sigma >= 0):
            raise ArgumentError(
                three_lines(f"a standard deviation is a number from 0, got {sigma!r}", "in the mean field")
            )


@dataclass(frozen=True)
class _Moments:
    """The mean squares of φ and φ' under a Gaussian of variance q."""

    value: Callable[[float], float]
    slope: Callable[[float], float]

    @staticmethod
    def of(activation: Activation) -> _Moments:
        body = composed(activation) if callable(activation) else body_of(activation)
        kinks = () if callable(activation) else kinks_of(activation)  # panels are halved until they meet the others
        functions = on_arrays(body), on_arrays(derivative_of(body))
        found = _Moments(*(lambda q, f=f: gaussian_mean(lambda u: f(u) ** 2, q, kinks) for f in functions))
        if not max(found.value(1.0), found.slope(1.0)) < POLE:
            raise ArgumentError(three_lines(f"{activation!r} or its slope has no mean square for normal preactivations",
                                            "in the mean field", "the theory needs a function of all real numbers"))  # fmt: skip
        return found


def _mean_field(moments: _Moments, sigma_w: float, sigma_b: float) -> MeanField:
    q = fixed_variance(lambda q: sigma_w**2 * moments.value(q) + sigma_b**2)
    # At zero variance the slopes on both sides of a kink at 0 count half each, which is what a tiny variance sees.
    chi = sigma_w**2 * moments.slope(float(np.clip(q, SMALL, LARGE)))
    with np.errstate(divide="ignore"):
        log = float(np.log(chi))
    return MeanField(float(q), float(chi), log / 2, float(np.inf if log == 0 else 1 / abs(log)))


def fixed_variance(step: Callable[[float], float]) -> float:
    """Return the fixed point that the map of variances takes 1 to, for a map that grows with q; 0 or inf where it ends there."""
    # The map of variances grows with q, so that the orbit from 1 is monotone and cannot pass a fixed point: the first
    # one in its direction is its limit.
    q = 1.0
    gap = step(q) - q
    if abs(gap) <= 1e-13:
        return q
    up, factor = gap > 0, 1.2
    while True:
        factor *= 1.25
        beyond = q * factor if up else q / factor
        if not SMALL <= beyond <= LARGE:
            return np.inf if up else 0.0
        if (step(beyond) > beyond) != up:
            return float(
                # The root is that of the ratio step(q)/q − 1 over ln q, which is of one size for tiny and for huge
                # variances.
                np.exp(root(lambda x: step(np.exp(x)) * np.exp(-x) - 1, np.log(min(q, beyond)), np.log(max(q, beyond))))
            )
        q = beyond


def root(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-14) -> float:
    """Return the root of a function that changes sign once between two points, by regula falsi with bisection (Illinois)."""
    a, b = function(low), function(high)
    for _ in range(200):
        if high - low <= tolerance * max(1.0, abs(low)) or a == 0 or b == 0:
            break
        middle = (low * b - high * a) / (b - a) if np.isfinite(a - b) else (low + high) / 2
        middle = middle if low < middle < high else (low + high) / 2
        value = function(middle)
        if (value > 0) == (a > 0):
            # Illinois: halving the value at the end that stays put keeps false position from creeping up on a root
            # from one side.
            low, a, b = middle, value, b / 2
        else:
            high, b, a = middle, value, a / 2
    return low if abs(a) <= abs(b) else high


def _critical(moments: _Moments, sigma_b: float) -> float:
    def log_chi(x: float) -> float:
        return 2 * _mean_field(moments, float(np.exp(x)), sigma_b).lyapunov

    grid = np.log(10.0) * np.linspace(-2, 2, 25)
    low, value = float(grid[0]), log_chi(float(grid[0]))
    for x in map(float, grid[1:]):
        now = log_chi(x)
        if value < 0 <= now:
            return float(np.exp(root(log_chi, low, x, 1e-9)))
        low, value = x, now
    return float(np.nan)


def gaussian_mean(function: Callable[[Any], Any], variance: float, kinks: tuple[float, ...] = ()) -> float:
    """Return ⟨f(√q z)⟩ over a standard normal z, to about 1e-12 of ⟨|f|⟩; inf where it diverges.

    Adaptive Gauss–Legendre panels, with edges at the kinks and on the scale of 0.1 to 100 where activations bend:
    Gauss–Hermite quadrature fails silently where f saturates and the variance is large.
    """
    scale = np.sqrt(variance)
    bends = np.concatenate([kinks, np.geomspace(0.1, 100, 10), -np.geomspace(0.1, 100, 10)]) / max(scale, 1e-30)
    edges = np.unique(np.concatenate([np.linspace(-REACH, REACH, 77), bends[np.abs(bends) < REACH]]))
    low, high = edges[:-1], edges[1:]

    def panels(low: Any, high: Any) -> Any:
        half = (high - low)[:, None] / 2
        z = (low + high)[:, None] / 2 + half * NODES
        with np.errstate(over="ignore", invalid="ignore"):
            values = function(scale * z) * np.exp(-z * z / 2)
        return (values * WEIGHTS * half).sum(1) / np.sqrt(2 * np.pi)

    whole, total = panels(low, high), 0.0
    for _ in range(60):
        middle = (low + high) / 2
        left, right = panels(low, middle), panels(middle, high)
        size = abs(total) + np.abs(whole).sum()
        if not np.isfinite(size):
            return float(np.inf)
        # A panel is done when halving it changes nothing: the error of the halves is far below that of the whole.
        rough = np.abs(whole - left - right) > 1e-14 * size
        total += float((left + right)[~rough].sum())
        if not rough.any():
            break
        low, high = np.concatenate([low[rough], middle[rough]]), np.concatenate([middle[rough], high[rough]])
        whole = np.concatenate([left[rough], right[rough]])
    else:
        total += float(whole.sum())
    return total
