"""Arrays that a function allocates and fills hold what a check computes with: complex numbers, elements of a field, 50 digits."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State, Target
from symbptt.codegen.kernel import Kernel
from symbptt.language import indexing
from symbptt.verification.checks import rows
from symbptt.verification.proof.cases import Cases
from symbptt.verification.proof.prove import line_of
from symbptt.verification.proof.subjects import subjects_of
from symbptt.verification.proof.symbolic import symbolic
from symbptt.verification.regimes import REGIMES
from symbptt.verification.requests import NOTHING
from symbptt.verification.rounding.measure import rounding_of


@sb.cell
def shifted(x: Input["n"], h: State["n"], w: Param["n"]):
    z = np.zeros(h.shape)
    z[1:] = h[:-1] * w[1:]
    z[0] = x[0]
    return np.tanh(z + x)


def started(h: Any, w: Any) -> Any:
    z = np.full(h.shape, 0.5)
    z += h * w
    return z


@sb.cell
def by_a_helper(x: Input["n"], h: State["n"], w: Param["n"], c: Const = 0.5):
    A = np.eye(h.shape[0])
    A[0] = np.tanh(h)
    out = sb.zeros(h.shape)
    out[...] = A @ started(h, w)
    return np.maximum(c * out, x)


@sb.cell
def inside_a_gradient(x: Input["n"], h: State["n"], w: Param["n"]):
    def potential(v):
        z = np.zeros(v.shape)
        z[1:] = v[:-1]
        return np.sum(np.cos(z * w))

    return h - 0.1 * sb.grad(potential)(h) + x


@sb.cell
def of_known_shape(x: Input["2"], h: State["2"], w: Param["3"]):
    """Numbers stand in its arrays until values do, and lists of values are arrays."""
    A = np.zeros((2, 2))
    A[0, 1] = w[0]
    A -= A.T
    turned = np.array([[np.cos(w[1]), -np.sin(w[1])], [np.sin(w[1]), np.cos(w[1])]]) @ h
    return np.tanh(A @ turned) + np.asarray([np.maximum(x[0], w[2]), 0.5]).max() * x


@sb.loss
def squares(h: State["n"], y: Target["n"]):
    e = np.zeros(h.shape)
    e[...] = h - y
    return np.sum(e * e) / 2


TARGETS = {
    "a loss": sb.model(shifted, squares),
    "shifted": shifted,
    "a helper": by_a_helper,
    "a gradient": inside_a_gradient,
    "known shape": of_known_shape,
}


def wrong_of(kernel: Kernel) -> list[bool]:
    """Whether the numbers, the field and the 50 digits find a kernel wrong, of which each says something."""
    numeric = list(rows(kernel, 0))
    assert all(row.method != "central differences" for row in numeric)
    subject, settings = next(iter(subjects_of(kernel)))
    line = line_of(subject, settings[1], Cases(0, NOTHING))
    rounding = rounding_of(kernel, 0, steps=3, regimes=REGIMES[:1])
    assert line.blocks or line.wrong, line.note
    assert all(one.blocks for one in rounding.lines), str(rounding)
    return [any(not row.passed for row in numeric), bool(line.wrong), bool(rounding.wrong)]


@pytest.mark.thinned(11, 2)
@pytest.mark.parametrize("name", TARGETS)
def test_a_right_module_passes_every_level(name: str) -> None:
    assert wrong_of(sb.compile(TARGETS[name])) == [False] * 3


def test_arrays_that_a_body_fills_hold_polynomials() -> None:
    found = symbolic(of_known_shape, NOTHING, 5)
    assert found.zero and not found.other and not found.note, str(found)


@sb.cell
def of_numbers_alone(x: Input["2"], h: State["3"]):
    """A number of Python's that gets axes, a sum of numbers that are repeated, and rows that begin with none."""
    y = np.zeros((3, 3))
    np.fill_diagonal(y[:2, :2], h[:2])
    y.T[2, 0] = x[0]
    rows = np.vstack([np.empty((0, 3)), y @ h])
    return np.tanh(rows[0] + np.broadcast_to(np.zeros((2, 3)), (3, 2, 3)).sum((0, 1)))


def test_numbers_have_axes_in_a_module() -> None:
    x, h = np.array([[0.5, 1.0], [2.0, -1.0]]), np.array([0.3, -0.4, 0.7])
    run = sb.compile(of_numbers_alone).forward({}, {"x": x}, {"h": h})
    first = of_numbers_alone(x[0], h)
    np.testing.assert_allclose(run.states["h"], [first, of_numbers_alone(x[1], first)], rtol=1e-14)


def test_a_wrong_module_passes_none() -> None:
    """The planted mistake: what the filled part hands to the state is lost."""
    kernel = sb.compile(shifted)
    assert '"w": dw' in kernel.source
    assert wrong_of(Kernel(shifted, kernel.program, kernel.source.replace('"w": dw', '"w": 0 * dw'))) == [True] * 3


def test_names_of_numpy_are_put_back() -> None:
    wrong_of(sb.compile(shifted))
    assert shifted.function.__globals__["np"] is np and type(np.zeros(2)) is np.ndarray


@sb.cell
def spread_by_full(x: sb.Input["n"], h: sb.State["n"], a: sb.Param["n"]):
    """A value of the cell in all places of a new array."""
    return np.tanh(np.full(h.shape, (a * h).sum()) + x)


@pytest.mark.proof
@pytest.mark.long
def test_an_array_full_of_a_value_carries_its_digits() -> None:
    """The measure of rounding called the right module wrong: np.full dropped what its numbers carry."""
    assert sb.verify(spread_by_full).passed


def in_turn(step: int) -> sb.Cell:
    """A cell that writes every second or third entry of arrays of a named size, in one axis and in two."""

    @sb.cell
    def filled(x: Input["6*n"], h: State["6*n"], W: Param["6*n 6*n"]):
        y = np.zeros(h.shape)
        y[::step] = (W @ x)[::step]
        y[step - 1 :: step] += np.sin(h)[::step]
        Z = np.ones((h.shape[0], h.shape[0]))
        Z[1::2, ::step] = W[::2, step - 1 :: step]
        Z[0] = 0.5
        return np.tanh(y + Z @ h)

    return filled


def off_by(cell: sb.Cell, n: int) -> float:
    """How far a step and its slope along a random direction are from those of the function, by central differences."""
    params, random = cell.init({"n": n}, seed=0), np.random.default_rng(0)
    x, h, dh, v = random.standard_normal((4, 6 * n))
    kernel = sb.compile(cell)
    run = kernel.forward(params, {"x": x[None]}, {"h": h})
    grads = kernel.backward(run, {"h": dh[None]})
    one, two = (dh @ cell(x, h, params["W"] + change * np.outer(v, v)) for change in (1e-6, -1e-6))
    slope = (one - two) / 2e-6
    value = np.max(np.abs(run.states["h"][0] - cell(x, h, **params)))
    return float(max(value, abs(v @ grads.params["W"] @ v - slope)))


@pytest.mark.parametrize(("step", "n"), [(2, 1), pytest.param(3, 2, marks=pytest.mark.long)])
def test_entries_of_a_named_size_are_written_in_turn(step: int, n: int, monkeypatch: Any) -> None:
    assert off_by(in_turn(step), n) < 1e-7
    right = indexing._interleaved

    def shifted_by_one(g: Any, whole: int, axis: int, span: Any, new: int) -> int:
        start, length, step = span
        return right(g, whole, axis, ((start + 1) % step, length, step), new)

    monkeypatch.setattr(indexing, "_interleaved", shifted_by_one)
    assert off_by(in_turn(step), n) > 1e-3
