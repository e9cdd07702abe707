"""First values of parameters: the documented rules, the same for a seed, and overridden by name."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.zoo import lstm


@sb.cell
def step(x: Input["m"], i: Index["v"], h: State["n"], W: Param["n m"], U: Param["n n"], K: Param["2 n n"],
         S: Param["m m"], E: Param["v n"], b: Param["n"], a: Param, R: Const["n n"], g: Param["n"] = 0.5, dt: Const = 0.1):  # fmt: skip
    return h + dt * (W @ (S @ x) + U @ h + K[0] @ h + K[1] @ h + R @ h + E[i] + b + a * g)


SIZES = {"m": 30, "n": 40, "v": 50}


def test_input_weights_are_glorot_uniform() -> None:
    found = step.init(SIZES, seed=1)
    for name, fans in {"W": 70, "S": 60, "E": 90}.items():
        limit = np.sqrt(6 / fans)
        assert np.max(np.abs(found[name])) <= limit
        assert np.max(np.abs(found[name])) > 0.98 * limit
        assert abs(np.mean(found[name])) < 0.1 * limit


def test_square_recurrent_weights_are_orthogonal() -> None:
    found = step.init(SIZES, seed=1)
    for matrix in (found["U"], found["R"], *found["K"]):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(40), atol=1e-12)


def test_vectors_and_scalars_are_zero_but_for_their_defaults() -> None:
    found = step.init(SIZES)
    assert not found["b"].any() and found["a"].shape == () and found["a"] == 0
    np.testing.assert_array_equal(found["g"], np.full(40, 0.5))
    assert set(found) == {"W", "U", "K", "S", "E", "b", "a", "g", "R"}, "constants with a default are not asked for"


def test_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    one, two, other = step.init(SIZES, seed=7), step.init(SIZES, seed=7), step.init(SIZES, seed=8)
    assert all(one[k].tobytes() == two[k].tobytes() for k in one)
    assert not np.array_equal(one["W"], other["W"]) and not np.array_equal(one["U"], other["U"])


def test_override_by_name_leaves_the_others_as_they_are() -> None:
    plain = lstm.init({"m": 2, "n": 3}, seed=0)
    changed = lstm.init({"m": 2, "n": 3}, seed=0, bf=1.0, Wi=np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(changed["bf"], np.ones(3))
    np.testing.assert_array_equal(changed["Wi"], np.arange(6.0).reshape(3, 2))
    for name in set(plain) - {"bf", "Wi"}:
        np.testing.assert_array_equal(changed[name], plain[name])


def test_values_may_be_written_to_and_are_of_the_type_asked_for() -> None:
    for dtype in (np.float32, np.float64):
        for value in step.init(SIZES, dtype=dtype).values():
            assert value.dtype == dtype and value.flags.writeable and value.flags.c_contiguous


@pytest.mark.parametrize(("dims", "override", "words"), [
    ({"m": 2}, {}, "needs the size 'n'"),
    ({"m": 2, "n": 3, "v": 4, "k": 5}, {}, "no size 'k'"),
    ({"m": 0, "n": 3, "v": 4}, {}, "'m' must be a positive integer, got 0"),
    ({"m": -1, "n": 3, "v": 4}, {}, "'m' must be a positive integer"),
    ({"m": 2.0, "n": 3, "v": 4}, {}, "'m' must be a positive integer"),
    ({"m": True, "n": 3, "v": 4}, {}, "'m' must be a positive integer"),
    ({"m": 2, "n": 3, "v": 4}, {"Q": 1.0}, "'Q' is no parameter of step"),
    ({"m": 2, "n": 3, "v": 4}, {"dt": 1.0}, "'dt' is no parameter of step"),
    ({"m": 2, "n": 3, "v": 4}, {"W": np.ones((2, 3))}, r"'W' of step has shape \(3, 2\), got \(2, 3\)"),
])  # fmt: skip
def test_wrong_size_or_override_is_refused_by_name(dims: dict[str, Any], override: dict[str, Any], words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        step.init(dims, **override)


def test_shape_that_would_not_be_positive_is_refused() -> None:
    @sb.cell
    def shrinking(h: State["n"], W: Param["n n-1"]):
        return h + np.sum(W, axis=1)

    with pytest.raises(sb.ArgumentError, match=r"\(n, n-1\) would be \(1, 0\)"):
        shrinking.init({"n": 1})
