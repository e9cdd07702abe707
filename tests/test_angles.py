"""hypot, arctan2, and remainders: NumPy's values, the documented slopes, and what holds for both in bounds."""

import itertools

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State, ops
from symbptt.stability.algebra import interval
from symbptt.stability.algebra.interval import Interval

pytestmark = pytest.mark.filterwarnings("ignore:the state .h. of step is never used")

NUMPY = {"hypot": np.hypot, "arctan2": np.arctan2, "mod": np.mod, "fmod": np.fmod, "floor_divide": np.floor_divide}
NAMES = pytest.mark.parametrize("name", NUMPY)
SIGNED = [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 0.3, -0.3, 1e-30, 7e18, -7e18]
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def cell_of(function):
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param[""]):
        return 0.4 * h + 0.1 * function(h + x, w + 0.5 * x) + 0.05 * function(x, 0.7)

    return step


def alone(function):
    @sb.cell
    def step(x: Input["n"], y: Input["n"], h: State["n"]):
        return {"h": function(x, y)}

    return step


def slopes_at(function, x, y, dtype=np.float64):
    kernel = sb.compile(alone(function))
    x, y = (np.atleast_1d(np.asarray(v, dtype)) for v in (x, y))
    run = kernel.forward({}, {"x": x[None], "y": y[None]})
    grads = kernel.backward(run, {"h": np.ones((1, len(x)), dtype)}).inputs
    return grads["x"][0], grads["y"][0]


@NAMES
@FLOATS
def test_values_are_numpys_at_all_signs_and_zeros(name, dtype):
    pairs = np.array(list(itertools.product(SIGNED, SIGNED)), dtype).T
    kernel = sb.compile(alone(NUMPY[name]))
    with np.errstate(all="ignore"):
        found = kernel.forward({}, {"x": pairs[None, 0], "y": pairs[None, 1]}).states["h"]
        wanted = NUMPY[name](*pairs)
    found = np.asarray(found).reshape(-1)[-len(wanted) :]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)
    assert np.array_equal(np.signbit(found) | np.isnan(found), np.signbit(wanted) | np.isnan(wanted))


@FLOATS
def test_slopes_are_those_of_the_documentation(dtype):
    first, second = slopes_at(np.hypot, [3.0, -3.0, 0.0, 0.0, -0.0], [4.0, 4.0, 2.0, 0.0, -0.0], dtype)
    np.testing.assert_allclose(first, [0.6, -0.6, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [0.8, 0.8, 1, 0, 0], rtol=1e-6)
    first, second = slopes_at(np.arctan2, [1.0, 1.0, 0.0, -0.0, 0.0], [1.0, -2.0, -2.0, -2.0, 0.0], dtype)
    np.testing.assert_allclose(first, [0.5, -0.4, -0.5, -0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(second, [-0.5, -0.2, 0, 0, 0], rtol=1e-6)
    first, second = slopes_at(np.mod, [5.5, -5.5, 5.5, 4.0], [2.0, 2.0, -2.0, 2.0], dtype)
    np.testing.assert_allclose([first, second], [[1, 1, 1, 1], [-2, 3, 3, -2]])
    first, second = slopes_at(np.fmod, [5.5, -5.5, 5.5, 4.0], [2.0, 2.0, -2.0, 2.0], dtype)
    np.testing.assert_allclose([first, second], [[1, 1, 1, 1], [-2, 2, 2, -2]], rtol=1e-6)
    assert not np.any(slopes_at(np.floor_divide, [5.5, -5.5], [2.0, 2.0], dtype))


@NAMES
@pytest.mark.parametrize("T, B, n", [(0, 2, 3), (1, 1, 1), (2, 3, 4), (9, 2, 3)])
@pytest.mark.thinned(79, 7)
def test_gradients_are_verified(name, T, B, n):
    cell, random = cell_of(NUMPY[name]), np.random.default_rng(1)
    assert sb.verify(cell).passed
    kernel = sb.compile(cell)
    w, x, h = np.array(1.3), random.standard_normal((T, B, n)), random.standard_normal((B, n))
    run = kernel.forward({"w": w}, {"x": x}, {"h": h})
    sent = random.standard_normal((T, B, n))
    grads = kernel.backward(run, {"h": sent})

    def stepped(a, b):
        return ops.BY_NAME[name].evaluate(a, b)

    plain = cell_of(stepped).function

    def complex_loss(w):
        now, total = h + 0j, 0.0
        for t in range(T):
            now = plain(x=x[t], h=now, w=w)
            total = total + (now * sent[t]).sum()
        return total

    wanted = np.imag(complex_loss(1.3 + 1e-30j)) / 1e-30 if T else 0.0
    np.testing.assert_allclose(grads.params["w"], wanted, rtol=1e-10, atol=1e-12)


@NAMES
@pytest.mark.thinned(7)
def test_they_are_written_derived_planned_and_analysed(name):
    cell = cell_of(NUMPY[name])
    derivation = sb.derive(cell)
    assert derivation.text() and derivation.latex() and derivation.jacobian("h", "h").text()
    assert str(sb.compile(cell).plan) and f"np.{name}(" in sb.compile(cell).source
    assert sb.vanishing_condition(cell).text() and sb.vanishing_condition(cell).latex()
    assert sb.analyze(cell, steps=50).text()
    x, h, w = np.array([0.3, -0.2]), np.array([0.5, 1.5]), np.array(1.3)
    found = derivation.jacobian("h", "h").evaluate({"w": w}, {"x": x}, {"h": h})
    step = [(cell.function(x=x, h=h + e, w=w) - cell.function(x=x, h=h - e, w=w)) / 2e-7 for e in 1e-7 * np.eye(2)]
    np.testing.assert_allclose(found, np.array(step).T, atol=1e-6)


@NAMES
@pytest.mark.thinned(5)
def test_certified_rates_hold_for_what_is_measured(name):
    cell, random = cell_of(NUMPY[name]), np.random.default_rng(2)
    params = {"w": np.array(2.0)}
    box = {"x": (np.full(3, 0.2), np.full(3, 1.0)), "h": (np.full(3, 0.1), np.full(3, 1.0))}
    found = sb.certified_rate(cell, params, box)
    jacobian = sb.derive(cell).jacobian("h", "h")
    assert np.isfinite(found.rate)
    for _ in range(50):
        h = np.array([random.uniform(lo, hi) for lo, hi in zip(*found.box["h"], strict=True)])
        J = jacobian.evaluate(params, {"x": random.uniform(0.2, 1, 3)}, {"h": h})
        assert np.linalg.norm(J, 2) <= found.rate


@NAMES
@pytest.mark.parametrize("seed", range(4))
def test_intervals_hold_all_values(name, seed):
    random = np.random.default_rng(seed)
    ends = np.sort(random.choice([-3, -1, -0.5, 0, 0.25, 1, 2.7, np.pi], (2, 400, 2)), -1)
    ends += np.sort(random.standard_normal(ends.shape), -1) * random.choice([0, 0, 1.0], (2, 400, 1))
    ends = np.sort(ends, -1)
    a, b = (Interval(e[:, 0], e[:, 1]) for e in ends)
    found = interval.FUNCTIONS[name](a, b)
    for t, u in itertools.product(np.linspace(0, 1, 9), repeat=2):
        x, y = a.lo + t * (a.hi - a.lo), b.lo + u * (b.hi - b.lo)
        with np.errstate(all="ignore"):
            value = NUMPY[name](np.clip(x, a.lo, a.hi), np.clip(y, b.lo, b.hi))
        number = ~np.isnan(value)
        assert np.all((found.lo <= value) | ~number) and np.all((value <= found.hi) | ~number)


def test_sharp_intervals_are_sharp():
    one = interval.FUNCTIONS["mod"](interval.between(5.0, 5.5), interval.exactly(2.0))
    np.testing.assert_allclose([one.lo, one.hi], [1.0, 1.5])
    whole = interval.FUNCTIONS["mod"](interval.between(5.0, 7.0), interval.exactly(2.0))
    assert whole.lo == 0 and whole.hi == 2
    angle = interval.FUNCTIONS["arctan2"](interval.between(-1.0, 1.0), interval.between(1.0, 2.0))
    np.testing.assert_allclose([angle.lo, angle.hi], [-np.pi / 4, np.pi / 4])


def test_integers_are_divided_by_numbers_that_are_not_zero():
    @sb.cell
    def clock(k: Index["4"], h: State["n"]):
        return 0.5 * h + (k % 3) + k // 2

    run = sb.compile(clock).forward({}, {"k": np.array([3, 1, 2])}, {"h": np.zeros(2)})
    h = 0.0
    for k in (3, 1, 2):
        h = 0.5 * h + k % 3 + k // 2
    np.testing.assert_allclose(np.asarray(run.states["h"]).reshape(-1, 2)[-1], h)


@pytest.mark.parametrize("function, words", [
    (lambda k, h: h + k % k, "an integer that may be 0"),
    (lambda k, h: h % 0, "a division by zero"),
    (lambda k, h: h // 0.0, "a division by zero"),
    (lambda k, h: np.hypot(h > 0, h < 1) + h, "truth values"),
])  # fmt: skip
def test_what_numpy_refuses_or_does_otherwise_is_refused(function, words):
    @sb.cell
    def step(k: Index["4"], h: State["n"]):
        return function(k, h)

    with pytest.raises(sb.CellError, match=words):
        _ = step.step
