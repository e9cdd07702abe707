"""Traces of functions of `sb.grad` that are kept while a cell is checked: of alike calls one trace, of all others one each."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.language import gradient, kept_traces
from symbptt.language.kept_traces import traces_kept

SCALE = 2.0
TABLE = np.array([1.0, 2.0, 3.0])
HELD = types.SimpleNamespace(rate=2.0)


def weighed(z: Any, w: Any) -> Any:
    return sb.sum(SCALE * np.sin(z) * w * TABLE)


def by_closure(w: Any, power: int) -> Callable[..., Any]:
    return lambda z: sb.sum(w * z**power)


def by_helper(w: Any, power: int) -> Callable[..., Any]:
    return lambda z: weighed(z, w) + power * sb.sum(z)


def by_branch(w: Any, power: int) -> Callable[..., Any]:
    def energy(z: Any) -> Any:
        return sb.sum(w * np.tanh(z)) if power > 2 else sb.sum(np.cos(z) * w)

    return energy


def made_inside(w: Any, power: int) -> Callable[..., Any]:
    return lambda z: sb.sum((power * w) * np.exp(z))


def of_object(w: Any, power: int) -> Callable[..., Any]:
    return lambda z: HELD.rate * sb.sum(w * z * z)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions that are traced, one for each trace."""
    found: list[Any] = []
    anew = gradient._traced_anew

    def counted(what: str, function: Any, *rest: Any) -> Any:
        found.append(function)
        return anew(what, function, *rest)

    monkeypatch.setattr(gradient, "_traced_anew", counted)
    return found


def calls(make: Callable[..., Any]) -> list[Any]:
    """Gradients of calls that differ in arrays, in their kind and shape, in one array under two names, and in a number."""
    random = np.random.default_rng(0)
    w, z, short = random.standard_normal((3, 3))
    given = [
        (w, z, 2),
        (short, z, 2),
        (w + 1e-3j, z, 2),
        (w, w, 2),
        (w, z, 3),
        (w, z[:1], 2),
        (w, z.astype(np.float32), 3),
    ]
    return [sb.grad(make(w, power))(z) for w, z, power in given]


@pytest.mark.parametrize(
    ("make", "most"), [(by_closure, 6), (by_helper, 6), (by_branch, 6), (made_inside, 7), (of_object, 7)]
)
def test_kept_traces_give_the_gradients_of_new_ones(make: Any, most: int, traces: list[Any]) -> None:
    wanted = calls(make)
    traces.clear()
    with traces_kept():
        for found, gradient_ in zip(calls(make), wanted, strict=True):
            np.testing.assert_array_equal(found, gradient_)
        assert len(traces) == most
        assert len(calls(make)) == 7 and len(traces) == (most if most < 7 else 14)


def test_a_trace_that_forgets_numbers_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: numbers that a function reads are left out of what tells calls apart."""
    wanted = calls(by_branch)
    read = kept_traces._read
    monkeypatch.setattr(kept_traces, "_read", lambda v, found: int if isinstance(v, int) else read(v, found))
    with traces_kept():
        same = [np.array_equal(a, b) for a, b in zip(calls(by_branch), wanted, strict=True)]
    assert not all(same)


def test_global_numbers_and_objects_are_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    w, z = np.ones(3), np.full(3, 0.5)
    with traces_kept():
        for make, place, name in ((by_helper, globals(), "SCALE"), (of_object, vars(HELD), "rate")):
            first = sb.grad(make(w, 0))(z)
            monkeypatch.setitem(place, name, 4.0)
            np.testing.assert_allclose(sb.grad(make(w, 0))(z), 2 * first)


def test_nothing_is_kept_outside_of_a_check(traces: list[Any]) -> None:
    calls(by_closure)
    with traces_kept():
        calls(by_closure)
    calls(by_closure)
    assert len(traces) == 7 + 6 + 7


@sb.cell
def inferred(x: sb.Input["m"], h: sb.State["n"], W: sb.Param["m n"]):
    def energy(z):
        return sb.sum((x - W @ np.tanh(z)) ** 2)

    for _ in range(3):
        h = h - 0.1 * sb.grad(energy)(h)
    return h


def test_all_rounds_of_all_calls_have_one_trace(traces: list[Any]) -> None:
    with traces_kept():
        for scale in (1.0, 2.0, 3.0):
            inferred(scale * np.ones(2), np.zeros(3), np.ones((2, 3)))
    assert len(traces) == 1


@pytest.mark.long
def test_verify_traces_for_each_kind_of_numbers_once(traces: list[Any]) -> None:
    assert sb.verify(inferred, proof=False).passed
    assert len(traces) < 100
