"""Lines of Jacobians of cells whose derivatives are long: no line is wide, and each is what the user's function does."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from symbptt.equations.page import derivative_lines
from symbptt.zoo import gru
from tests.jacobian_page import assert_jacobians_read


@sb.cell
def highway(
    x: Input["m"],
    s: State["n"],
    W: Param["n m"],
    RH: Param["4 n n"],
    bH: Param["4 n"],
    RT: Param["4 n n"],
    bT: Param["4 n"],
):
    """A recurrent highway network of depth 4 (Zilly et al. 2017), with the weights of all depths in one array."""
    for layer in range(4):
        h = np.tanh((W @ x if layer == 0 else 0.0) + RH[layer] @ s + bH[layer])
        t = sb.sigmoid(RT[layer] @ s + bT[layer])
        s = h * t + s * (1 - t)
    return s


@sb.cell
def relational(x: Input["d"], M: State["s d"], Wq: Param["d k"], Wk: Param["d k"], Wv: Param["d d"], W1: Param["d d"], W2: Param["d d"],
               Wf: Param["d d"], Uf: Param["d d"], bf: Param["d"], Ui: Param["d d"], bi: Param["d"]):  # fmt: skip
    """A relational memory core (Santoro et al. 2018): rows attend to each other and to the input."""
    full = np.concatenate([M, x[None, :]], axis=0)
    q, k, v = M @ Wq, full @ Wk, full @ Wv
    weights = sb.softmax(q @ k.T / np.sqrt(Wk.shape[1]), axis=-1)
    A = sb.layer_norm(M + weights @ v)
    new = sb.layer_norm(A + sb.relu(A @ W1) @ W2)
    f = sb.sigmoid(np.tanh(M) @ Uf + x @ Wf + bf)
    i = sb.sigmoid(np.tanh(M) @ Ui + bi)
    return f * M + i * np.tanh(new)


@sb.cell
def settling(x: Input["m"], h: State["n"], W: Param["m n"], U: Param["n n"], lr: Const = 0.1):
    """Predictive coding: so many rounds that nobody reads them one by one."""
    prior = U @ np.tanh(h)

    def infer(z):
        e = x - W @ np.tanh(z)
        return z + lr * ((1 - np.tanh(z) ** 2) * (W.T @ e) - (z - prior))

    return sb.repeat(infer, prior, 30)


def widest(cell: sb.Cell) -> int:
    return max(map(len, sb.derive(cell).jacobian().text().splitlines()))


def test_matrices_of_a_stack_stand_as_matrices() -> None:
    text = sb.derive(highway).jacobian().text()
    assert "diag(t_{1,t} ⊙ (1 - h_{1,t}²)) RH[0, :, :] + " in text and "∂(" not in text
    assert widest(highway) <= 200


@pytest.mark.long
def test_many_rounds_have_one_line() -> None:
    d = sb.derive(settling)
    first, head, *rest = d.jacobian().text().splitlines()
    assert (first, head, len(rest)) == ("∂h_t/∂h_{t-1} = ∂z_{t,30}/∂h_{t-1}", "with", 4)
    assert "  u_{1,t,k} = tanh(z_{t,k}) for k < 30" in rest and widest(settling) <= 200
    assert "J_t = ∂h_t/∂h_{t-1} = ∂z_{t,30}/∂h_{t-1}" in d.unrolled().text()


def test_lines_of_a_stack_are_what_the_function_does() -> None:
    assert_jacobians_read(highway, {"m": 1, "n": 2}, ("state",))


@pytest.mark.long
def test_long_lines_are_parted_and_are_what_the_function_does() -> None:
    assert widest(relational) <= 200
    assert_jacobians_read(relational, {"d": 3, "s": 2, "k": 4}, ("state",))


@pytest.mark.long
def test_a_derivative_that_makes_a_line_long_has_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(J_" in sb.derive(relational).jacobian().text()
    monkeypatch.setattr(derivative_lines, "_read_often", lambda *_: None)
    assert widest(relational) > 200


@pytest.mark.long
def test_rows_of_routes_are_short() -> None:
    text = sb.derive(gru).paths("h", "h", steps=3).text()
    assert max(map(len, text.splitlines())) <= 200
    # The longest route is told by the derivatives that it is a product of.
    row = next(x for x in text.splitlines() if "h → r → n → h → r → n → h → r → n → h " in x)
    assert row.partition("  ∂")[2].startswith("h_t/∂n_t ∂n_t/∂r_t ∂r_t/∂h_{t-1} ∂h_{t-1}/∂n_{t-1}"), row
