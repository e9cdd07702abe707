"""The theorem of Newton and Kantorovich at one point: a fixed point is near, and no other one within some radius.

For example F(s) − s = s² − 2 at s = 1.5: A = 3, β = 1/3, η = 0.25/3, K = 2, h = β η K = 0.056 ≤ 1/2. There is a root within
2 η / (1 + √(1 − 2h)) = 0.086 of 1.5, √2 at a distance of 0.0858, and no other within (1 + √(1 − 2h)) / (β K) = 2.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbptt.errors import ArgumentError, three_lines
from symbptt.language.cell import Cell
from symbptt.stability.dynamics.curvature import Curvature, curvature
from symbptt.stability.dynamics.fixed_points import ConstantStep, check_named

Arrays = Mapping[str, Any]
EPS = float(np.finfo(np.float64).eps)
NEAR = 0.1
"""The radius within which a Lipschitz constant is measured where none can be derived."""
LARGEST, HALVINGS, NEARER = 2.0**6, 26, 6
"""Radii that are tried: infinity, then this many times 1 + the size of the point, halved so often; between two, halved again."""


@dataclass(frozen=True)
class Certificate:
    """The theorem of Newton and Kantorovich at one point: where it holds, there is a fixed point within `existence` of it and no
    other within `uniqueness`.

    β ≥ ‖A⁻¹‖₂, η ≥ ‖A⁻¹ (F(s) − s)‖₂, A = J − 1, and K is a Lipschitz constant of J within `radius` of the point. `source` says
    where K is from: "derived" from the symbolic second derivative by intervals, "given", or "measured": twice the largest that
    was seen, strong evidence and no proof. `proven` is that it is not measured; β and η then enclose their rounding, functions of
    NumPy being right to 8 units in the last place. Nothing is said beyond `radius`: a piecewise linear step has K = 0 within
    its piece.
    """

    beta: float
    eta: float
    lipschitz: float
    h: float
    existence: float
    uniqueness: float
    source: str
    radius: float

    @property
    def holds(self) -> bool:
        """Answer whether h = β η K ≤ 1/2 and the ball of the fixed point lies where K is known."""
        return self.h <= 0.5 and self.existence <= self.radius

    @property
    def proven(self) -> bool:
        """Answer whether K was given or derived, not measured."""
        return self.source != "measured"

    def text(self) -> str:
        """Return the certificate in words."""
        known = f"K = {self.lipschitz:.4g} {self.source} within {self.radius:.4g}"
        if not self.holds:
            return f"no certificate: h = βηK = {self.h:.4g} ({known}); h ≤ 1/2 and a fixed point within the radius are needed"
        how = "It is proven" if self.proven else "K is measured, so that it is no proof"
        return (
            f"one fixed point within {self.existence:.4g}, and no other within {self.uniqueness:.4g} "
            f"(h = βηK = {self.h:.4g}, {known}). {how}."
        )


def kantorovich(
    cell: Cell, params: Arrays, inputs: Arrays | None = None, states: Any = None, *, lipschitz: float | None = None,
    radius: float | None = None, seed: int = 0,
) -> Certificate:  # fmt: skip
    """Return the certificate of one point: `states` by name, or a whole state, as a row of `fixed_points(...).points.states`.

    K is derived for the radius that certifies the most, or for `radius`. It is not where a state passes a function with a
    declared derivative, as a surrogate, where a condition on a state changes within every radius, as at a kink, and for over
    160 elements of state; there K is measured within `radius`, 0.1 unless told. `lipschitz` gives a K that holds within
    `radius`, everywhere without one.

    Shapes: inputs as annotated; states as annotated, or (N,).

    Raises: ArgumentError for a point of another shape, for a constant or a radius that is negative, and as `fixed_points` does.

    Source: Ortega 1968, "The Newton-Kantorovich theorem"; Gragg, Tapia 1974 for the radii.
    """
    at, point = _at(cell, params, {} if inputs is None else inputs, states)
    _check_radius(cell, lipschitz, radius)
    found = curvature(
        cell, at.linear.params, {k: v[0, 0] for k, v in at.inputs.items()}, at.linear.sizes, at.linear.shapes
    )
    if lipschitz is not None:
        return _certificate(_linear(at, found, point), float(lipschitz), "given", np.inf if radius is None else radius)
    derived = None if found is None else _derived(_linear(at, found, point), found, point, radius)
    if derived is not None:
        return derived
    near = NEAR if radius is None else radius
    return _certificate(_linear(at, None, point), _measured(at.jacobian, point, near, seed), "measured", near)


def _at(cell: Cell, params: Arrays, inputs: Arrays, states: Any) -> tuple[ConstantStep, Any]:
    """The step, and the point as a whole state (N,)."""
    named = {k: np.asarray(v)[None] for k, v in states.items()} if isinstance(states, Mapping) else None
    at = ConstantStep.of(cell, params, inputs, named)
    check_named(at.linear, named)
    point = np.asarray(states if named is None else at.linear.flat(named)[0])
    if point.shape != (at.linear.dimension,) or point.dtype.kind not in "biuf" or not np.isfinite(point).all():
        what = f"the point has shape {point.shape}, the whole state {(at.linear.dimension,)}, finite numbers by state or in a row"
        raise ArgumentError(
            three_lines(what, f"in the certificate of {cell.name}", "give a row of fixed_points(...).points.states")
        )
    return at, point.astype(np.float64)


def _check_radius(cell: Cell, lipschitz: Any, radius: Any) -> None:
    for name, value in (("lipschitz", lipschitz), ("radius", radius)):
        if value is not None and not (isinstance(value, int | float | np.number) and value >= 0):
            raise ArgumentError(
                three_lines(f"{name}={value!r}", f"in the certificate of {cell.name}", "give a number from 0")
            )


def _linear(at: ConstantStep, found: Curvature | None, point: Any) -> tuple[float, float]:
    """β and η, larger by what rounding may hide where the step can be enclosed."""
    size = len(point)
    if found is None:
        a, radii, residual = (
            at.jacobian(point[None])[0],
            np.zeros((size, size)),
            float(np.linalg.norm(at(point[None])[0] - point)),
        )
    else:
        (a, radii), residual = found.jacobian(point), found.residual(point)
    a = a - np.eye(size)
    # Without a finite Jacobian the least singular value counts as 0 and β is infinite.
    values = np.linalg.svd(a, compute_uv=False) if np.isfinite(a).all() else np.zeros(1)
    # Weyl: a singular value moves by at most the norm of the perturbation, here the radii of the entries and the
    # rounding of the SVD.
    least = values[-1] - np.linalg.norm(radii) - 8 * size * EPS * (1 + values[0])
    beta = 1 / least if least > 0 else np.inf
    # A residual of exactly zero proves the point itself, also where A is singular and β infinite: ∞ · 0 would be NaN.
    return float(beta), float(beta * residual) if residual else 0.0


def _certificate(linear: tuple[float, float], lipschitz: float, source: str, radius: float) -> Certificate:
    beta, eta = linear
    # An affine piece has no curvature, whatever β is: ∞ · 0 would be NaN.
    bend = 0.0 if lipschitz == 0 else beta * lipschitz
    h = 0.0 if eta == 0 and np.isfinite(bend) else eta * bend if np.isfinite(eta) else np.inf
    h = np.inf if np.isnan(h) or not np.isfinite(beta) else h
    root = np.sqrt(max(1 - 2 * h, 0.0))
    unique = min((1 + root) / bend if bend else np.inf, radius) if h <= 0.5 else 0.0
    # The smaller root of β K r²/2 − r + η = 0, in the form without cancellation.
    existence = 2 * eta / (1 + root) if h <= 0.5 else np.inf
    return Certificate(beta, eta, lipschitz, float(h), float(existence), float(unique), source, float(radius))


def _derived(linear: tuple[float, float], found: Curvature, point: Any, radius: float | None) -> Certificate | None:
    """The certificate with the largest radius of uniqueness; None where K is known within no radius."""

    def within(r: float) -> Certificate:
        return _certificate(linear, found.lipschitz(point, r), "derived", r)

    if radius is not None:
        known = within(radius)
        return known if np.isfinite(known.lipschitz) else None
    best, failed, last = None, np.inf, None
    for r in _radii(point):
        here = within(r)
        if np.isfinite(here.lipschitz) and (last is None or last.h > 0.5):
            last = here
        if here.holds and (best is None or here.uniqueness > best.uniqueness):
            best, failed = here, failed if best is None else best.radius
        elif best is None:
            failed = r
        # Smaller radii only cut the ball of uniqueness further, though their K is smaller.
        if best is not None and r <= best.uniqueness:
            break
    return last if best is None else _wider(within, best, failed)


def _radii(point: Any) -> Iterator[float]:
    yield np.inf
    yield from LARGEST * (1 + float(np.linalg.norm(point))) * 0.5 ** np.arange(HALVINGS)


def _wider(within: Callable[[float], Certificate], best: Certificate, beyond: float) -> Certificate:
    """A certificate at a radius between the best and one beyond it, where that says more."""
    low, high = best.radius, beyond
    for _ in range(NEARER if np.isfinite(beyond) else 0):
        middle = (low + high) / 2
        here = within(middle)
        if here.holds and here.uniqueness > best.uniqueness:
            best, low = here, middle
        else:
            high = middle
    return best


def _measured(jacobian: Callable[[Any], Any], point: Any, radius: float, seed: int) -> float:
    """Twice the largest ‖J(x) − J(y)‖ / ‖x − y‖ over 64 random pairs in a ball."""
    random = np.random.default_rng(seed)
    x, y = (point + radius * _in_ball(random, 64, len(point)) for _ in range(2))
    change, apart = np.linalg.norm(jacobian(x) - jacobian(y), 2, (-2, -1)), np.linalg.norm(x - y, axis=-1)
    return float(2 * np.max(change[apart > 0] / apart[apart > 0], initial=0.0))


def _in_ball(random: np.random.Generator, count: int, size: int) -> Any:
    x = random.standard_normal((count, size))
    # The volume within a radius r grows as r^N: the N-th root of a uniform number is the radius of a uniform point.
    return x / np.linalg.norm(x, axis=-1, keepdims=True) * random.random((count, 1)) ** (1 / size)
