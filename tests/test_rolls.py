"""A roll is one function on a page, however it is spelled, and its adjoint rolls back."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.autodiff.bptt import derive
from symbptt.language.folding import expanded, folded
from tests.jacobian_page import assert_jacobians_read
from tests.readback import as_latex, as_latex_textbook, assert_read
from tests.test_mathml import as_mathml


@sb.cell
def rolling(x: Input["n"], h: State["n"], S: State["n m"], g: State["5"], U: Param["n n"], w: Param["m"]):
    a = np.roll(h, 2) + np.roll(U @ x, -1)
    A = np.roll(S, 1, axis=1) + np.roll(S, -3, axis=0) * 0.5
    b = np.tanh(np.roll(g, 7) + g)
    return np.tanh(a) + A @ w, np.tanh(A), b * np.concatenate([g[-1:], g[:-1]])


@sb.cell
def by_a_size(x: Input["n"], h: State["m+n"], K: Param["k n n"], u: Param["m"]):
    part = np.roll(h, u.shape[0]) * h + np.roll(np.roll(h, 1), -3)
    turned = np.roll(K, 1, axis=2) @ x
    return np.tanh(part) + np.concatenate([u, turned[0] + np.roll(np.outer(x, x), (1, -2), (0, 1)) @ x])


@sb.cell
def spelled(x: Input["n"], h: State["n"]):
    last, front = h[-1:], h[:-1]
    return np.tanh(np.concatenate([last, front]) + x) + np.concatenate([h[1:], h[:1]])


FORMS = {"text": None, "latex": as_latex, "latex textbook": as_latex_textbook, "mathml": as_mathml}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "sizes", [{"n": 4, "m": 3, "k": 2}, {"n": 3, "m": 5, "k": 3}, {"n": 7, "m": 2, "k": 1}], ids=str
)
@pytest.mark.parametrize("cell", [rolling, by_a_size, spelled], ids=lambda cell: cell.name)
@pytest.mark.thinned(11, 3)
def test_pages_with_rolls_read_back(cell: sb.Cell, sizes: dict[str, int], form: str) -> None:
    own = {name for a in cell.arguments for name in ("n", "m", "k") if name in str(a.shape)}
    assert_read(cell, {name: size for name, size in sizes.items() if name in own}, printed=FORMS[form])


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_roll_by_more_than_the_size_begins_again(n: int) -> None:
    @sb.cell
    def far(x: Input["n"], h: State["n"], U: Param["n n"]):
        return np.tanh(np.roll(U @ h, 3) + x) * np.roll(h, -4)

    assert_read(far, {"n": n})
    assert_jacobians_read(far, {"n": n + 1})


@pytest.mark.parametrize("cell", [pytest.param(rolling, marks=pytest.mark.long), spelled], ids=lambda cell: cell.name)
def test_jacobians_of_rolls_are_what_the_function_does(cell: sb.Cell) -> None:
    sizes = {"n": 4, "m": 3} if cell is rolling else {"n": 4}
    assert_jacobians_read(cell, sizes, ("state", "input"))


@sb.cell
def behind_weights(x: Input["n"], h: State["n"], r: State["3"], W: Param["n n"], V: Param["n n"], w: Param["n"]):
    moved = W @ np.roll(h, 2) + V @ (w * np.roll(h, -3)) + np.roll(V @ h, 2)
    return np.tanh(moved + x * np.roll(W @ h, 1)), np.tanh(np.roll(r, 2) + r[::-1])


@sb.cell
def turned_round(x: Input["n"], h: State["n"], S: State["n m"], W: Param["n n"], V: Param["m m"], w: Param["n"]):
    ends = W @ h[::-1] + w * h[::-1] + (W @ h)[::-1]
    A = S[::-1] @ V + 0.5 * S[:, ::-1] + np.outer(h[::-1], S[0])
    return np.tanh(ends + x), np.tanh(A)


@sb.cell
def along_axes(x: Input["n"], S: State["k n"], W: Param["k k"], V: Param["n n"], w: Param["n"]):
    A = w * np.roll(S, 2, axis=0) + W @ np.roll(S, -2, axis=1) + np.roll(S, (1, -2), (0, 1)) @ V
    return np.tanh(A + x + np.concatenate([S[1:], S[:1]]) + np.concatenate([S[:, -1:], S[:, :-1]], axis=1))


@sb.cell
def read_twice(x: Input["n"], h: State["n"], W: Param["n n"], V: Param["n n"], w: Param["n"]):
    a = np.tanh(W @ np.roll(h, 2) + x)
    b = np.roll(a, -1) * np.roll(np.roll(h, 1)[::-1], 2)
    return V @ np.roll(a, 2) + w * np.roll(b, 2) * a + np.sum(np.roll(b, 1) * a) * h


@pytest.mark.parametrize("n", [5, 2, 3])
@pytest.mark.parametrize("cell", [behind_weights, turned_round, along_axes, read_twice], ids=lambda cell: cell.name)
@pytest.mark.thinned(17, 2)
def test_jacobians_of_rolls_by_any_number_read_back(cell: sb.Cell, n: int) -> None:
    sizes = {"n": n, "m": 4, "k": 3}
    named = {name for name in sizes if any(name in map(str, a.shape) for a in cell.arguments)}
    assert_jacobians_read(cell, {name: sizes[name] for name in named}, ("state", "input", "param"))


def jacobian(body: Any, **shapes: Any) -> str:
    @sb.cell
    def one(x: Input["n"], h: State["n"], W: Param["n n"], w: Param["n"]):
        return np.tanh(body(h, W, w) + x)

    return str(sb.derive(one).jacobian("h", "h"))


def test_the_jacobian_of_a_roll_is_no_sum_of_pieces() -> None:
    for k in (1, 2, -2, 4):
        assert jacobian(lambda h, W, w, k=k: W @ np.roll(h, k)).endswith(f"diag(1 - h_t²) roll_rows(W, {-k})")
    moved = jacobian(lambda h, W, w: w * np.roll(h, -4))
    assert moved == "∂(h_t)_i/∂(h_{t-1})_j = δ_{mod(i + 4, n),j} (1 - (h_t)_i²) w_i"
    assert jacobian(lambda h, W, w: W @ h[::-1]).endswith("= (1 - (h_t)_i²) W_{i,(n-1) - j}")
    assert jacobian(lambda h, W, w: np.roll(np.roll(h, 2), -2)) == "∂h_t/∂h_{t-1} = diag(1 - h_t²)"


def test_a_roll_is_one_function() -> None:
    text = sb.derive(rolling).text()
    assert "a_t = roll(h_{t-1}, 2) + roll(U x_t, -1)" in text.replace("  =", " =")
    assert "roll_rows(S_{t-1}, 1) + 0.5 roll_columns(S_{t-1}, -3)" in text
    assert (
        "dL/dh_t + roll(da_{t+1}, -2)" in text and "+ roll_rows(dA_{t+1}, -1) + 0.5 roll_columns(dA_{t+1}, 3)" in text
    )
    assert "roll(v, k): the entries of v moved on by k places, the last ones to the front" in text
    assert "tanh(roll(h_{t-1}, 1) + x_t) + roll(h_{t-1}, -1)" in sb.derive(spelled).text("loop")
    sized = sb.derive(by_a_size).text()
    assert "roll(h_{t-1}, m)" in sized and "roll(h_{t-1}, -2)" in sized and "roll_columns(" in sized
    for cell in (rolling, spelled):
        lines = sb.derive(cell).text().partition("Legend")[0]
        assert "[0:" not in lines and ":n]" not in lines and "0_{" not in lines
    assert "a roll: the adjoint is rolled back" in sb.derive(rolling).explain().text()


def test_what_is_joined_otherwise_is_no_roll() -> None:
    @sb.cell
    def other(x: Input["n"], h: State["n"], g: State["n"]):
        a = np.concatenate([h[-1:], g[:-1]]) + np.concatenate([h[1:], h[-1:]])
        return np.tanh(a + x), np.concatenate([g[:1], g[1:]]) + np.concatenate([h[-1:], x[1:]])

    assert "roll" not in sb.derive(other).text()
    assert_read(other, {"n": 4})


@pytest.mark.parametrize("cell", [rolling, by_a_size, spelled], ids=lambda cell: cell.name)
def test_folding_is_undone(cell: sb.Cell) -> None:
    step = folded(cell.step)
    kinds = [node.attrs.kind for node in step.graph if node.family == "view"]
    assert "roll" in kinds
    again = expanded(step)
    assert "roll" not in [node.attrs.kind for node in again.graph if node.family == "view"]
    assert derive(folded(again)).step.graph is not None and folded(again).next.keys() == step.next.keys()


def test_a_roll_that_is_not_rolled_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from symbptt.ir import build

    roll = build.roll

    def planted(g: Any, x: int, axis: int, shift: Any) -> int:
        is_adjoint = any(node.family == "leaf" and node.attrs.role == "adjoint" for node in g)
        return roll(g, x, axis, -shift if is_adjoint else shift)

    monkeypatch.setattr(build, "roll", planted)
    with pytest.raises(AssertionError):
        assert_read(spelled, {"n": 4})
