"""The smaller files of the runtime by themselves: workspaces, results, tables, saturation, weights of losses, scans, limits."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from symbptt.codegen.runtime import checkpoints, gather, losses
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.gather import _collected, _gathered, _padded, _scattered
from symbptt.codegen.runtime.losses import _added, _weights
from symbptt.codegen.runtime.results import Grads, Run, _frozen, _grads
from symbptt.codegen.runtime.saturation import _sharpened
from symbptt.codegen.runtime.scan import _Rooms, _scan, _window
from symbptt.codegen.runtime.workspace import WORKSPACE, Workspace, _steps, _workspace


def test_workspace_hands_out_what_was_given_back() -> None:
    ws = Workspace(limit=100)
    room = ws.room((2, 3), np.dtype(np.float64))
    ws.give((room,))
    assert ws.nbytes == 48 and repr(ws) == "<workspace: 48 of 100 bytes>"
    again, new = (ws.room((3, 2), np.dtype(np.float64)) for _ in range(2))
    assert np.shares_memory(again, room) and not np.shares_memory(new, room)
    ws.give([np.ones(20)])
    assert ws.nbytes == 0  # more than it may hold
    assert pickle.loads(pickle.dumps(ws)).limit == 100


@pytest.mark.parametrize("limit", ["1", True, -1, None, np.nan])
def test_limit_that_is_no_number_of_bytes_is_refused(limit: Any) -> None:
    with pytest.raises(ArgumentError, match="limit: a number of bytes is expected"):
        Workspace(limit)


def test_workspace_of_a_call_is_the_given_one_or_that_of_the_module() -> None:
    own = Workspace()
    assert _workspace(own) is own and _workspace(None) is WORKSPACE
    for wrong, words in ((Workspace, "got the class Workspace"), ({}, "got dict")):
        with pytest.raises(ArgumentError, match=words):
            _workspace(wrong)


@pytest.mark.parametrize(
    ("T", "B", "size", "rows"), [(0, 1, 1, 0), (1, 1, 2**20, 0), (100, 4, 2**10, 0), (100, 4, 2**10, 64)]
)
def test_block_has_a_step_at_least_and_fits_in_the_cache(T: int, B: int, size: int, rows: int) -> None:
    steps = _steps(T, B, size, rows)
    assert 1 <= steps <= max(T, 1) and (steps * B * size <= 2**15 or steps in (1, rows // B))


def test_run_gives_its_rooms_back_once() -> None:
    ws = Workspace()
    run = Run({"h": np.zeros((2, 1))}, {}, (), True, np.float64, ws, (np.ones(3),))
    assert repr(run) == "<run: states h (2, 1)>" and copy.copy(run) is run and run.__getstate__()["rooms"] == ()
    del run
    assert ws.nbytes == 24


def test_gradients_of_no_steps_are_zero_and_resets_go_to_the_start() -> None:
    nan = {"w": np.full(2, np.nan)}
    grads = _grads(
        nan, {"x": np.zeros((0, 1, 2))}, {"h": np.ones((1, 2))}, {"h": 2.0}, None, False, {"h": np.ones((1, 2))}, True
    )
    assert not grads.params["w"].any() and grads.state["h"].tolist() == [3, 3] and grads.inputs["x"].shape == (0, 2)
    assert "params w (2,)" in repr(grads) and isinstance(grads, Grads) and grads.final["h"].shape == (2,)


def test_results_cannot_be_written() -> None:
    own = np.zeros((2, 1, 3))
    frozen = _frozen({"h": own}, False)["h"]
    with pytest.raises(ValueError, match="read-only"):
        frozen[0] = 1
    own[0] = 1  # the caller's own array stays as it was
    assert frozen.shape == (2, 3)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_weights_add_up(reduction: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(losses, "REDUCTION", reduction)
    counted = np.array([[True, False], [True, True]])
    assert _weights(counted, np.float32).sum() == pytest.approx(3 if reduction == "sum" else 1)
    assert _weights(counted & False, np.float32).sum() == 0
    assert _added({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": 1, "b": 5, "c": 4}


# Tables.


def test_rows_are_read_and_their_gradients_put_back() -> None:
    r = np.random.default_rng(0)
    table, index = r.standard_normal((5, 3)), r.integers(0, 5, (4, 2))
    np.testing.assert_array_equal(_gathered(table, index, 0, False), table[index])
    np.testing.assert_array_equal(_gathered(table, index % 3, 1, False), np.moveaxis(table, 1, 0)[index % 3])
    tables, x = r.standard_normal((4, 2, 5, 3)), r.standard_normal((4, 2, 3))
    wanted = [[tables[t, b, index[t, b]] for b in range(2)] for t in range(4)]
    np.testing.assert_array_equal(_gathered(tables, index, 0, True), wanted)
    scattered = _scattered(x, index, 0, tables.shape)
    np.testing.assert_array_equal(_gathered(scattered, index, 0, True), x)
    assert np.count_nonzero(scattered) == x.size
    np.testing.assert_allclose(_collected(x, index, 0, (5, 3)), scattered.sum((0, 1)), rtol=1e-14)
    assert _padded(x, (6, 2, 3), slice(1, 5)).sum() == pytest.approx(x.sum())


def test_planted_sum_is_caught(monkeypatch: Any) -> None:
    """Rows that are read twice count once."""

    class Once:
        def __getattr__(self, name: str) -> Any:
            return self if name == "add" else getattr(np, name)

        def at(self, sums: Any, where: Any, x: Any) -> None:
            sums[where] += x

    monkeypatch.setattr(gather, "np", Once())
    index = np.zeros((2, 1), int)
    assert _collected(np.ones((2, 1, 1)), index, 0, (1, 1)) != [[2]]
    monkeypatch.undo()
    assert _collected(np.ones((2, 1, 1)), index, 0, (1, 1)) == [[2]]


# Saturation, scans, schedules.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_saturates_is_computed_from_its_argument(dtype: Any) -> None:
    a = np.array([-60, -3, 0, 3, 60], dtype)
    rest = 1 - np.tanh(a) ** 2
    found = _sharpened(rest, lambda e: 4 * e * e, lambda: a.copy())
    np.testing.assert_allclose(found[[0, -1]], 4 * np.exp(dtype(-120)), rtol=1e-5)
    np.testing.assert_array_equal(found[1:-1], (1 - np.tanh(a) ** 2)[1:-1])


@pytest.mark.parametrize("T", [2, 3, 16, 37])
@pytest.mark.parametrize("back", [False, True])
def test_scan_is_the_recursion(T: int, back: bool) -> None:
    r = np.random.default_rng(T)
    a, b, x = r.uniform(-1, 1, (T, 2, 3)), r.standard_normal((T, 2, 3)), np.zeros((T + 1, 2, 3))
    wanted, end = x.copy(), -1 if back else 0
    wanted[end] = x[end] = 1
    for t in range(T)[::-1] if back else range(T):
        wanted[t if back else t + 1] = a[t] * wanted[t + 1 if back else t] + b[t]
    assert _scan({0: _Rooms(Workspace())}, [[a]], [b], [x], 4, back=back)
    np.testing.assert_allclose(x, wanted, rtol=1e-12, atol=1e-12)


def test_scan_of_large_products_is_left_to_the_loop() -> None:
    a, x = np.full((8, 1, 1), 3.0), np.ones((9, 1, 1))
    assert not _scan({0: _Rooms(Workspace())}, [[a]], [None], [x], 4)
    assert _window(100, [np.ones((1, 2**14))], 4) == 0 and _window(100, [np.ones((1, 1))], 4) == 64


def test_pieces_follow_each_other() -> None:
    assert checkpoints._spanned(7, 3) == [(0, 1), (1, 4), (4, 7)] and checkpoints._spanned(0, 3) == [(0, 0)]
    todo = list(checkpoints._schedule(7, 3, 1))
    assert [(lo, hi) for lo, hi, is_last in todo if is_last] == [(4, 7), (1, 4), (0, 1)]
