"""Data for derivatives of one sample: what does not fit is told in words, in the axes that the caller gives."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Param, State
from symbptt.derivations import one_sample
from symbptt.zoo import lstm


@sb.cell
def place(x: Index["v"], s: Input[""], r: State["n"], E: Param["v n"], U: Param["n n"]):
    return s * np.tanh(E[x] + U @ r)


@sb.cell
def alone(r: State["n"], M: State["k n"], U: Param["n n"]):
    return {"r": np.tanh(U @ r), "M": M + np.outer(M @ r, r)}


RANDOM = np.random.default_rng(0)
P = lstm.init({"m": 2, "n": 3}, seed=0)
Q = place.init({"v": 5, "n": 3}, seed=0)
U = alone.init({"n": 3, "k": 2}, seed=0)
X = RANDOM.standard_normal((6, 4, 2))
H, V = {"h": np.zeros((4, 3)), "c": np.zeros((4, 3))}, np.zeros(3)
CELL = {"c": lstm, "r": place, "M": alone}
WRONG: dict[str, tuple[str, Any, Any, Any, str]] = {
    "a batch of one step": ("c", P, {"x": X[0]}, H, r"x: one sample at one step .* \(m,\), got shape \(4, 2\).*write x\[0\]"),
    "a batch of states": ("c", P, {"x": X[0, 0]}, H, r"h: one sample .* \(n,\), got shape \(4, 3\).*write h\[0\]"),
    "time and batch": ("c", P, {"x": X}, None, r"x: one sample .* got shape \(6, 4, 2\).*write x\[0, 0\]"),
    "a length": ("c", P, {"x": np.ones(3)}, None, r"x: \(m,\) = \(2,\) is expected, got \(3,\)"),
    "a length of a state": ("c", P, {"x": X[0, 0]}, {"c": np.ones(2)}, r"c: \(n,\) = \(3,\) is expected, got \(2,\)"),
    "a number": ("c", P, {"x": 1.0}, None, r"x: one sample at one step is expected, \(m,\), got shape \(\)"),
    "a list that is ragged": ("c", P, {"x": [[1.0], 2.0]}, None, "x: not an array of numbers"),
    "a parameter": ("c", {**P, "Uf": P["Uf"][:1]}, {"x": X[0, 0]}, None, r"Uf: \(n, n\) = \(3, 3\) is expected, got \(1, 3\)"),
    "none at all": ("c", P, {}, None, "input 'x' is missing"),
    "a name": ("c", P, {"x": X[0, 0]}, {"k": V}, "state 'k' is not known; expected h, c"),
    "no dict of states": ("c", P, {"x": X[0, 0]}, V, "state: a dict by name is expected"),
    "none that is a number": ("c", P, {"x": X[0, 0] * np.nan}, None, r"x: finite numbers are expected, got nan at index \(0,\)"),
    "a mixed type": ("c", P, {"x": X[0, 0].astype(np.float32)}, None, "float64 among arrays of float32|float32 among"),
    "no index": ("r", Q, {"x": 5, "s": 1.0}, {"r": V}, "x: integers from 0 to 4 are expected, got 5\n"),
    "an index below zero": ("r", Q, {"x": -1, "s": 1.0}, {"r": V}, "x: integers from 0 to 4 are expected, got -1\n"),
    "a fraction as an index": ("r", Q, {"x": 1.5, "s": 1.0}, {"r": V}, "x: integers are expected, got float64"),
    "indices": ("r", Q, {"x": np.arange(4), "s": 1.0}, {"r": V}, r"x: one sample at one step is expected, a number, got shape \(4,\)"),
    "a matrix of samples": ("M", U, {}, {"M": np.zeros((4, 2, 3)), "r": V}, r"M: one sample .* \(k, n\), got shape \(4, 2, 3\)"),
    "no size": ("M", U, {}, {"r": V}, "tells the size 'k'"),
}  # fmt: skip


def refusal(run: Callable[[], Any]) -> str:
    with pytest.raises(sb.ArgumentError) as error:
        run()
    return str(error.value)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.thinned(5)
def test_what_does_not_fit_a_jacobian_is_told(name: str) -> None:
    to, params, inputs, state, words = WRONG[name]
    d = sb.derive(CELL[to])
    for block in (d.jacobian(to, to), d.jacobian()):
        said = refusal(lambda block=block: block.evaluate(params, inputs, state))
        assert re.search(f"(?s){words}", said), said
        assert "kernel" not in said and "T, B" not in said and "time comes first" not in said


@pytest.mark.parametrize(("inputs", "state", "words"), [
    ({"x": X}, None, "(T, m), got shape (6, 4, 2)"),
    ({"x": X[:, 0]}, H, "h: one sample at one step is expected, (n,), got shape (4, 3)"),
    ({"x": X[:2]}, {"h": V, "c": V}, "write x[:, 0]"),
    ({"x": X[:, 0, :1]}, None, "x: (m,) = (2,) is expected, got (1,)"),
    ({"x": [[1.0], [2.0, 3.0]]}, None, "x: not an array of numbers"),
    ({"x": np.where(X[:, 0] == X[3, 0], np.inf, X[:, 0])}, None, "got inf at index (3, 0)"),
])  # fmt: skip
def test_what_does_not_fit_routes_is_told(inputs: Any, state: Any, words: str) -> None:
    said = refusal(lambda: sb.derive(lstm).paths("c", "c", steps=2).evaluate(P, inputs, state))
    assert words in said and "kernel" not in said


def test_index_of_a_step_of_routes_is_told() -> None:
    routes = sb.derive(place).paths("r", "r", steps=2)
    said = refusal(lambda: routes.evaluate(Q, {"x": np.array([1, 9, 0]), "s": np.ones(3)}))
    assert "x: integers from 0 to 4 are expected, got 9 at index (1,)" in said


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_sample_has_the_jacobian_of_the_function(dtype: Any) -> None:
    """By complex steps through the plain function."""
    params = {k: v.astype(dtype) for k, v in Q.items()}
    r = np.array([0.3, -0.2, 0.1], dtype)
    found = sb.derive(place).jacobian("r", "r").evaluate(params, {"x": 3, "s": dtype(0.5)}, {"r": r})
    steps = np.eye(3) * 1e-30j
    wanted = [np.imag(place(x=3, s=0.5, r=r + step, **params)) / 1e-30 for step in steps]
    np.testing.assert_allclose(found, np.transpose(wanted), rtol=1e-5 if dtype == np.float32 else 1e-13)
    assert found.dtype == dtype
    zero = sb.derive(place).jacobian("r", "r").evaluate(params, {"x": 3, "s": dtype(0.5)})
    given = sb.derive(place).jacobian("r", "r").evaluate(params, {"x": 3, "s": dtype(0.5)}, {"r": 0 * r})
    np.testing.assert_array_equal(zero, given)


def test_missing_check_of_axes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_sample, "_check_axes", lambda *_: None)
    to, params, inputs, state, _ = WRONG["a batch of states"]
    with pytest.raises((ValueError, IndexError)) as error:
        sb.derive(lstm).jacobian(to, to).evaluate(params, inputs, state)
    assert not isinstance(error.value, sb.ArgumentError) or "one sample at one step" not in str(error.value)
