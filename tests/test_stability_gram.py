"""Rotations and mirrors that inputs and states set have the rate 1: JᵀJ is the identity, whatever the angle."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.stability.algebra.exact_polynomials import Identity, Polynomial, identity, number, reduced, variable
from symbptt.stability.proofs import gram
from symbptt.stability.runs.linear import linearize
from tests.guarded import is_held

pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")


@sb.cell
def turned(x: Input["n"], re: State["n"], im: State["n"], w: Param["n"]):
    a = w * x
    return np.cos(a) * re - np.sin(a) * im + x, np.sin(a) * re + np.cos(a) * im


@sb.cell
def in_pairs(x: Input["n"], h: State["n 2"], w: Param["n"]):
    c, s = np.cos(w * x), np.sin(w * x)
    return np.stack([c * h[:, 0] - s * h[:, 1], s * h[:, 0] + c * h[:, 1]], -1)


@sb.cell
def givens(x: Input["3"], h: State["3"]):
    a, b = x[0], x[1] * x[2]
    h = np.stack([np.cos(a) * h[0] - np.sin(a) * h[1], np.sin(a) * h[0] + np.cos(a) * h[1], h[2]])
    return np.stack([h[0], np.cos(b) * h[1] - np.sin(b) * h[2], np.sin(b) * h[1] + np.cos(b) * h[2]])


@sb.cell
def as_matrix(x: Input, h: State["2"]):
    c, s = np.cos(x), np.sin(x)
    return np.tanh(np.stack([np.stack([c, -s]), np.stack([s, c])]) @ h + x)


@sb.cell
def by_its_own_state(x: Input["2"], h: State["2"]):
    a = sb.stop_gradient(h[0] + x[0])
    return np.stack([np.cos(a) * h[0] - np.sin(a) * h[1], np.sin(a) * h[0] + np.cos(a) * h[1]])


@sb.cell
def cayley(x: Input, h: State["2"]):
    """(I + A)⁻¹ (I − A) of A = [[0, x], [−x, 0]]."""
    return np.stack([(1 - x * x) * h[0] - 2 * x * h[1], 2 * x * h[0] + (1 - x * x) * h[1]]) / (1 + x * x)


@sb.cell
def mirrored(x: Input["m"], h: State["n"], V: Param["n m"]):
    v = V @ x
    return h - 2 * v * (v @ h) / (v @ v)


@sb.cell
def nearly_mirrored(x: Input["n"], h: State["n"]):
    u = x / np.sqrt(np.sum(x * x) + 1e-6)
    return np.tanh(h - 2 * np.outer(u, u) @ h)


@sb.cell
def normed(x: Input["n"], h: State["n"]):
    u = x / np.linalg.norm(x)
    return h - 2 * u * np.sum(u * h)


@sb.cell
def fading(x: Input["n"], re: State["n"], im: State["n"]):
    r = np.exp(-sb.softplus(x))
    return r * (np.cos(x) * re - np.sin(x) * im) + x, r * (np.sin(x) * re + np.cos(x) * im)


V = np.random.default_rng(0).standard_normal((4, 2))
W = {"w": np.array([0.3, -2.0, 5.0])}
CASES = [
    (turned, W, (3,), 1.0), (in_pairs, W, (3,), 1.0), (givens, {}, (3,), 1.0), (as_matrix, {}, (), 1.0),
    (by_its_own_state, {}, (2,), 1.0), (cayley, {}, (), 1.0), (mirrored, {"V": V}, (2,), 1.0),
    (nearly_mirrored, {}, (4,), 1.0), (normed, {}, (4,), 1.0), (fading, {}, (3,), 1 / (1 + np.exp(-1.5))),
]  # fmt: skip


def certified(cell: Any, params: Any, shape: Any, metric: str) -> Any:
    box = {"x": (np.full(shape, -1.5), np.full(shape, 1.5))}
    return sb.certified_rate(cell, params, box, metric=metric)


@pytest.mark.parametrize("metric", ["diagonal", "quadratic"])
@pytest.mark.parametrize(("cell", "params", "shape", "rate"), CASES, ids=[c[0].name for c in CASES])
@pytest.mark.thinned(3, 3)
def test_what_inputs_turn_has_the_rate_of_its_modulus(
    cell: Any, params: Any, shape: Any, rate: float, metric: str
) -> None:
    found = certified(cell, params, shape, metric)
    assert rate * (1 - 1e-12) <= found.rate <= rate * (1 + 1e-11) and found.constant == 1


@pytest.mark.parametrize(("cell", "params", "shape", "rate"), CASES, ids=[c[0].name for c in CASES])
@pytest.mark.thinned(17, 3)
def test_jacobians_keep_to_the_rate(cell: Any, params: Any, shape: Any, rate: float) -> None:
    """Of the generated code, at random places of the box; and the guard of reports finds nothing."""
    random = np.random.default_rng(1)
    x = {"x": random.uniform(-1.5, 1.5, (10, 2, *shape))}
    run = linearize(cell, params, x, None)
    norms = np.linalg.norm(run.jacobians, 2, (2, 3))
    assert norms.max() <= certified(cell, params, shape, "diagonal").rate * (1 + 1e-12)
    assert is_held(cell, params, x, None)


@sb.cell
def angle_is_a_state(x: Input["n"], t: State["n"], re: State["n"], im: State["n"]):
    return 0.5 * t + x, 0.45 * (np.cos(t) * re - np.sin(t) * im), 0.45 * (np.sin(t) * re + np.cos(t) * im)


def test_angle_that_is_a_state_enters_with_a_weight() -> None:
    """The Jacobian is triangular by groups: the rate is near the larger of theirs, 0.5, with a constant for the way between."""
    ends = np.ones(2)
    box = dict.fromkeys(("x", "t", "re", "im"), (-ends, ends))
    found = sb.certified_rate(angle_is_a_state, {}, box, metric="quadratic")
    assert 0.5 <= found.rate <= 0.55 and found.constant > 1
    random = np.random.default_rng(0)
    data = {name: random.uniform(-1, 1, (50, 2)) for name in ("t", "re", "im")}
    run = linearize(angle_is_a_state, {}, {"x": random.uniform(-1, 1, (20, 50, 2))}, data)
    product = np.eye(6)
    for lag, step in enumerate(run.jacobians, 1):
        product = step @ product
        assert np.linalg.norm(product, 2, (1, 2)).max() <= found.constant * found.rate**lag * (1 + 1e-12)


@sb.cell
def no_turn(x: Input["n"], re: State["n"], im: State["n"]):
    return np.cos(x) * re + np.sin(x) * im, np.sin(x) * re + np.cos(x) * im


@sb.cell
def of_two_angles(x: Input["n"], re: State["n"], im: State["n"]):
    return np.cos(x) * re - np.sin(2 * x) * im, np.sin(2 * x) * re + np.cos(x) * im


@sb.cell
def passed_over(x: Input["n"], h: State["n"]):
    """x / x is chosen only where x is not zero; at zero the factor of h is 2."""
    return h * (2 - np.where(x > 0, x / x, 0.0))


def test_what_does_not_turn_has_no_rate_of_one() -> None:
    """√2 at an angle of 45 degrees, and so on: no identity is used that does not hold."""
    for cell in (no_turn, of_two_angles):
        found = certified(cell, {}, (2,), "diagonal")
        run = linearize(cell, {}, {"x": np.full((1, 1, 2), np.pi / 4)}, None)
        assert found.rate >= np.linalg.norm(run.jacobians[0, 0], 2) > 1.2
    with np.errstate(all="ignore"):
        assert certified(passed_over, {}, (2,), "diagonal").rate >= 2


def test_planted_identity_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "identity", lambda zero: identity(zero + number(0.25)))
    with pytest.raises(AssertionError):
        test_jacobians_keep_to_the_rate(turned, W, (3,), 1.0)


def test_polynomials_add_multiply_and_reduce() -> None:
    x, y = variable(0), variable(1)
    square = (x + y) * (x + y)
    assert square.terms == {(0, 0): 1, (0, 1): 2, (1, 1): 1} and (x + number(-1) * x).terms == {}
    assert identity(x * x + y * y + number(-1)).monomial == (1, 1)
    found, count = reduced(square, {1: (Identity((1, 1), number(1) + number(-1) * x * x),)}, 100)
    assert found == Polynomial({(0, 1): Fraction(2), (): Fraction(1)}) and count > 3
    assert reduced(square, {}, 2)[0] is None


@sb.cell
def concatenated(h: State["n"], K: Param["n 2*n"]):
    return K @ np.concatenate([h, h])


@sb.cell
def tiled(h: State["n"], K: Param["n 2*n"]):
    return K @ np.reshape(np.stack([h, h]), -1)


@sb.cell
def repeated(h: State["n"], K: Param["n 2*n"]):
    return K @ np.reshape(np.stack([h, h], -1), -1)


@sb.cell
def both_ways(h: State["n"], K: Param["n 2*n"]):
    return K @ np.concatenate([h, np.flip(h)])


@pytest.mark.parametrize("cell", [concatenated, tiled, repeated, both_ways], ids=lambda c: c.name)
@pytest.mark.thinned(3)
def test_copies_of_a_state_count_as_often_as_they_stand(cell: Any) -> None:
    """K with equal entries adds up what the copies carry: the norm of two is √2 times that of one."""
    K = np.full((3, 6), 0.2)
    true = np.linalg.norm(linearize(cell, {"K": K}, None, {"h": np.zeros((1, 3))}, steps=1).jacobians[0, 0], 2)
    assert true == pytest.approx(1.2)
    for rate in (
        sb.vanishing_condition(cell, norm="2").rate({"K": K}),
        sb.certified_rate(cell, {"K": K}, {}).rate,
        sb.certified_rate(cell, {"K": K}, {}, metric="quadratic").rate,
    ):
        assert true * (1 - 1e-12) <= rate <= true * 1.2
    assert is_held(cell, {"K": np.random.default_rng(0).standard_normal((3, 6))}, None, {"h": np.ones(3)})


def test_rational_numbers_beyond_the_range_have_an_infinite_end():
    largest = Fraction(float(np.finfo(np.float64).max))
    for value, ends in (
        (3 * largest, (largest, np.inf)),
        (-(largest**2), (-np.inf, -largest)),
        (largest, (largest, largest)),
    ):
        found = gram.constant(value)
        assert (float(found.lo), float(found.hi)) == tuple(map(float, ends))
    third = gram.constant(Fraction(1, 3))
    assert Fraction(float(third.lo)) < Fraction(1, 3) < Fraction(float(third.hi))
