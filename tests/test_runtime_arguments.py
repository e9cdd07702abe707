"""What a module makes of its arguments, and what it says of wrong ones; of the cell by hand, which takes w (n,), v (), x (T, B, n),
h (B, n) and goal (T, B, n)."""

from typing import Any

import numpy as np
import pytest

from symbptt.codegen.runtime import arguments
from symbptt.codegen.runtime.arguments import _arguments, _check_data, _cotangents, _masks, _place, _shown
from symbptt.codegen.runtime.errors import ArgumentError
from symbptt.codegen.runtime.results import Run
from symbptt.codegen.runtime.workspace import Workspace

W, X = np.ones(2), np.ones((3, 4, 2))


def given(**changed: Any) -> Any:
    """Arguments, some of them others; those that are None are left out."""
    groups = {"params": ("w", "v"), "inputs": ("x",), "state": ("h",), "targets": ("goal",)}
    values = {"w": W, "v": 1.0, "x": X, "h": np.ones((4, 2)), "goal": X} | changed
    found = {k: {n: values[n] for n in names if values[n] is not None} for k, names in groups.items()}
    return _arguments(found["params"], found["inputs"], found["state"], changed.get("steps"), found["targets"])


def test_arguments_are_arrays_of_one_type_with_their_sizes() -> None:
    arrays, sizes, T, B, dtype, batched = given()
    assert (sizes, T, B, dtype, batched) == ({"n": 2}, 3, 4, np.float64, True)
    assert {k: v.shape for k, v in arrays.items()} == {
        "w": (2,),
        "v": (),
        "x": (3, 4, 2),
        "h": (4, 2),
        "goal": (3, 4, 2),
    }


def test_number_takes_the_type_of_the_arrays() -> None:
    few = {k: v.astype(np.float32) for k, v in {"w": W, "x": X, "goal": X}.items()}
    arrays, _, _, _, dtype, _ = given(**few, h=None)
    assert dtype == np.float32 and {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}


def test_state_that_is_left_out_is_zero_and_a_batch_axis_is_added() -> None:
    arrays, _, T, B, _, batched = given(x=X[:, 0], goal=X[:, 0], h=None)
    assert (T, B, batched) == (3, 1, False) and not arrays["h"].any() and arrays["h"].shape == (1, 2)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"w": None}, "parameter 'w' is missing"),
        ({"w": np.ones(3)}, r"x: \(T, B, n\) = \(3, 4, 3\) is expected, got \(3, 4, 2\)"),
        ({"w": np.ones((2, 2))}, r"w: \(n\) is expected, got shape \(2, 2\)"),
        ({"w": np.ones(2, int)}, r"w: float32 or float64 is expected, got int64; write .astype\(np.float64\)"),
        ({"w": "a"}, "w: float32 or float64 is expected, got str"),
        ({"w": [[1.0], [1.0, 2.0]]}, "w: not an array of numbers"),
        ({"w": np.ma.masked_array([1.0, 2.0])}, "w: a plain array is expected, got MaskedArray"),
        ({"w": np.ones(2, np.float32)}, r"x: float64 among arrays of float32 \(w\); convert one of them"),
        ({"x": np.ones((4, 3, 2)), "goal": np.ones((4, 3, 2))}, r"h: \(B, n\) = \(3, 2\) is expected, got \(4, 2\)"),
        ({"goal": np.ones((4, 3, 2))}, r"goal: .* got \(4, 3, 2\); time comes first"),
        ({"h": np.ones(2)}, r"h: shape \(2,\) does not go with x: a batch axis is on one only"),
        ({"w": np.ones(0), "x": X[..., :0], "h": None, "goal": X[..., :0]}, "sizes are positive, got {'n': 0}"),
        ({"steps": 2}, "steps: 2 is given, the inputs have T = 3"),
        ({"steps": True}, "steps: a number of steps is expected, got True"),
    ],
)
def test_wrong_argument_is_refused_in_words(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        given(**changed)


def test_order_of_axes_is_not_blamed_where_there_are_as_many_steps_as_samples() -> None:
    x = X[:, :3]
    for changed in ({"goal": np.ones((3, 3, 5))}, {"h": np.ones((3, 5))}):
        with pytest.raises(ArgumentError, match=r"is expected, got \(3,( 3,)? 5\)$"):
            given(**{"x": x, "goal": x, "h": np.ones((3, 2))} | changed)
    with pytest.raises(ArgumentError, match=r"integers from 0 to 3 are expected, got \[9, 1, 1\]$"):
        _masks([9, 1, 1], None, 3, 3)


@pytest.mark.parametrize("value", [None, 3, dict, [1]])
def test_group_that_is_no_dict_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match="params: a dict by name is expected|parameter"):
        _arguments(value, {"x": X}, {}, None, {"goal": X})


def test_number_that_is_none_is_told_where_it_is() -> None:
    arrays = {"w": W.copy(), "x": X.copy()}
    _check_data(arrays, None, {"n": 2})
    arrays["x"][2, 1, 0] = np.nan
    with pytest.raises(ArgumentError, match=r"x: nan at step 7, sample 1 \(index \(7, 1, 0\)\)"):
        _check_data(arrays, None, {"n": 2}, 5)
    active = np.arange(3)[:, None] < np.array([3, 2, 3, 3])
    _check_data(arrays, active, {"n": 2})  # it is behind the end of its sample
    assert np.isfinite(arrays["x"]).all()
    arrays["w"][1] = -np.inf
    with pytest.raises(ArgumentError, match="w: -inf at index"):
        _check_data(arrays, active, {"n": 2})


def test_index_out_of_range_is_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(arguments, "INDICES", {"i": "i limit", "j": None})
    monkeypatch.setattr(arguments, "LEAD", {"i": 2, "j": 2})
    monkeypatch.setattr(arguments, "_shapes", lambda n: {"i limit": (n,), "i": (), "j": ()})
    i = np.array([[0, 1], [1, 2]])
    _check_data({"i": i, "j": i * 100}, None, {"n": 3})
    for wrong, words in (
        ({"i": i}, "i: integers from 0 to 1 are expected, got 2 at step 1, sample 1"),
        ({"j": -i}, "j: integers"),
    ):
        with pytest.raises(ArgumentError, match=words):
            _check_data(wrong, None, {"n": 2})


def test_masks_say_who_is_active_and_who_is_reset() -> None:
    active, reset = _masks([2, 0], np.ones((3, 2), bool), 3, 2)
    assert active.tolist() == [[True, False], [True, False], [False, False]]
    np.testing.assert_array_equal(reset, active)
    assert _masks(None, None, 3, 2) == (None, None)
    assert _masks(None, [True, False], 2, 1)[1].tolist() == [[True], [False]]


@pytest.mark.parametrize("lengths", [[1], [1, 4], [-1, 0], [1.0, 2.0], 3])
def test_wrong_lengths_are_refused(lengths: Any) -> None:
    with pytest.raises(ArgumentError, match=r"lengths: \(2,\) integers from 0 to 3 are expected, got"):
        _masks(lengths, None, 3, 2)


def test_few_numbers_are_shown_others_by_their_shape() -> None:
    assert _shown(np.arange(3)) == "[0, 1, 2]" and _shown(np.ones((2, 9))) == "float64 of shape (2, 9)"
    assert _place((np.int64(3), 1), 2, 4) == " at step 7, sample 1 (index (7, 1))" and _place((), 0) == ""


def run(active: Any = None) -> Run:
    """A run of three steps of two samples."""
    values = {"h": np.zeros((3, 2, 1))}
    return Run(
        values, {"y": np.zeros((3, 2, 1))}, ((), {}, 3, 2, np.float64, active, None), True, np.float64, Workspace()
    )


def test_cotangents_behind_the_end_of_a_sample_go_to_its_last_state() -> None:
    active = np.arange(3)[:, None] < np.array([3, 1])
    full, last = _cotangents(run(active), {"h": np.ones((3, 2, 1))})
    assert full["y"] is None and last["h"].ravel().tolist() == [0, 2]
    full, last = _cotangents(run(), {"y": np.full((2, 1), 3.0)})
    assert full["y"].sum((1, 2)).tolist() == [0, 0, 6] and last["h"] is None


def test_run_of_another_module_is_refused() -> None:
    other = run()
    other.mark = "another"
    for wrong, words in ((other, "got the run of another module"), (object(), "got object")):
        with pytest.raises(ArgumentError, match=words):
            _cotangents(wrong, {})


def test_planted_mistake_is_caught(monkeypatch: Any) -> None:
    """A check that looks at the sum alone takes two infinities for a number."""
    monkeypatch.setattr(arguments, "_check_finite", lambda name, array, lead, first=0: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_number_that_is_none_is_told_where_it_is()
