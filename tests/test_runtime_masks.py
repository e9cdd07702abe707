"""Samples that end and states that are reset, and norms: each function of the runtime by itself."""

from typing import Any

import numpy as np
import pytest

from symbptt.codegen.runtime import masks, norms
from symbptt.codegen.runtime.alone import _enter, _leave
from symbptt.codegen.runtime.masks import (
    _adjoints,
    _after_end,
    _buffers,
    _final,
    _held,
    _kept,
    _sent,
    _stopped,
    _wait,
)
from symbptt.codegen.runtime.norms import _clip, _norm, _norms
from symbptt.codegen.runtime.watch import _watch

ACTIVE = np.arange(4)[:, None] < np.array([4, 2, 0])
X = np.arange(24.0).reshape(4, 3, 2)


def test_what_is_not_chosen_is_zero_also_where_it_is_no_number() -> None:
    x = np.where(ACTIVE[..., None], X, np.nan)
    assert np.array_equal(_kept(ACTIVE, x), np.where(ACTIVE[..., None], X, 0)) and _kept(None, x) is x


def test_data_behind_the_end_repeat_the_last_step() -> None:
    found = _held(X, np.array([4, 2, 0]))
    np.testing.assert_array_equal(found[:, 0], X[:, 0])
    np.testing.assert_array_equal(found[:, 1], X[[0, 1, 1, 1], 1])
    np.testing.assert_array_equal(found[:, 2], X[[0] * 4, 0])  # an empty sample: the first step of the longest
    assert not _held(X, np.zeros(3, int)).any()


def test_cotangents_behind_the_end_are_added_up() -> None:
    np.testing.assert_array_equal(_after_end(ACTIVE, X), [[0, 0], X[2:, 1].sum(0), X[:, 2].sum(0)])


def test_states_stop_where_samples_end_and_start_where_they_are_reset() -> None:
    initial, reset = np.full((3, 2), -1.0), np.zeros((4, 3), bool)
    reset[1, 0] = True
    buffer, before, after = _buffers(initial, 4, True)
    for t in range(4):
        _enter(t, ((initial, buffer, before),), ACTIVE, reset)
        after[t] = X[t]
    np.testing.assert_array_equal(before[1, 0], [-1, -1])
    np.testing.assert_array_equal(before[2:, 0], X[1:3, 0])
    np.testing.assert_array_equal(before[1:, 1], [X[0, 1]] * 3)  # it repeats its last step
    stopped = _stopped({"h": X.copy()}, {"h": initial}, ACTIVE)["h"]
    np.testing.assert_array_equal(stopped[:, 1], X[[0, 1, 1, 1], 1])
    np.testing.assert_array_equal(stopped[:, 2], initial[[2] * 4])
    np.testing.assert_array_equal(_final({"h": X}, {"h": initial}, ACTIVE)["h"], [X[3, 0], X[1, 1], initial[2]])
    np.testing.assert_array_equal(_final({"h": X[:0]}, {"h": initial}, None)["h"], initial)
    assert _buffers(initial, 4, False)[1].base is not None  # without masks states before and after share one array


def test_adjoint_waits_behind_the_end_and_goes_to_the_start_at_a_reset() -> None:
    last = {"h": np.ones((3, 2))}
    (d,), (total,), (aside,) = _adjoints(last, {"n": 2}, 3, np.float64)
    assert d is not last["h"]
    _wait(ACTIVE[2], [d], [aside])
    assert d[:, 0].tolist() == [1, 0, 0] and aside[:, 0].tolist() == [0, 1, 1]
    d *= 5
    _leave(2, [d], [aside], [total], ACTIVE, np.array([[0, 0, 0]] * 2 + [[1, 0, 0]], bool))
    assert d[:, 0].tolist() == [0, 1, 1] and total[:, 0].tolist() == [5, 0, 0]


def test_cotangents_that_are_not_given_are_not_added() -> None:
    assert _sent({"h": None}, [X[0]], None) == []
    ((adjoint, given),) = _sent({"h": X}, [X[0]], ACTIVE)
    assert adjoint is not None and not given[2:, 1].any()


def test_flow_is_the_norm_of_all_entries() -> None:
    flow = {"h": np.zeros(4)}
    _watch(flow, 2, [np.array([[3.0, 0.0], [0.0, 4.0]])])
    assert flow["h"].tolist() == [0, 0, 5, 0]


def test_planted_mistake_is_caught(monkeypatch: Any) -> None:
    """Adjoints that go on behind the end of a sample."""
    monkeypatch.setattr(masks, "_kept", lambda mask, x: x)
    with pytest.raises(AssertionError):
        test_adjoint_waits_behind_the_end_and_goes_to_the_start_at_a_reset()


# Norms.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_norm_neither_overflows_nor_vanishes(size: float, dtype: Any) -> None:
    x = np.array([3, 4], dtype) * dtype(size)
    np.testing.assert_allclose(_norm(x), 5 * dtype(size), rtol=4 * np.finfo(dtype).eps)
    number, power = _norms([x[None], x[None]])
    np.testing.assert_allclose(np.ldexp(number, power), 5 * np.sqrt(2) * dtype(size), rtol=4 * np.finfo(dtype).eps)
    assert _norm(np.zeros((2, 0), dtype)) == 0 and _norms([x[None]])[0].dtype == dtype


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e300])
def test_clipped_adjoints_have_the_limit_as_their_joint_norm(size: float) -> None:
    a, b = np.array([[3.0], [0.1]]) * size, np.array([[4.0], [0.1]]) * size
    kept = a[1].copy()
    _clip([a, b], 0.5 * size)
    np.testing.assert_allclose([a[0], b[0]], [[0.3 * size], [0.4 * size]], rtol=1e-14)
    assert np.array_equal(a[1], kept)  # what is under the limit stays as it is


def test_planted_norm_is_caught(monkeypatch: Any) -> None:
    monkeypatch.setattr(
        norms, "_norms", lambda arrays: (np.sqrt(sum((a * a).sum(1) for a in arrays)), np.zeros(2, int))
    )
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        test_clipped_adjoints_have_the_limit_as_their_joint_norm(1e300)
