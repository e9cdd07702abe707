"""Cells as papers spell them: what their pages and modules got wrong."""

import numpy as np

import symbptt as sb
from symbptt import Input, Param, State
from tests import oracle


@sb.cell
def relaxing(y: Input["m"], mu: State["n"], Wr: Param["n n"], Wo: Param["m n"]):
    prior = Wr @ np.tanh(mu)

    def relax(z):
        return z - 0.1 * ((z - prior) - (1 - np.tanh(z) ** 2) * (Wo.T @ (y - Wo @ np.tanh(z))))

    return sb.repeat(relax, prior, 10)


@sb.cell
def retrieving(x: Input["n"], h: State["n"], X: Param["p n"]):
    return sb.repeat(lambda z: X.T @ sb.softmax(X @ z), x + h, 4)


def test_what_a_round_repeats_has_a_name_of_that_round() -> None:
    text = sb.derive(relaxing).text()
    assert "u_{t,k}   = Woᵀ (y_t - Wo tanh(z_{t,k})) for k < 10\n" in text
    assert not any(f" {name}_t " in text for name in "uwr")
    assert "u_{t,k}   = softmax(a_{t,k}) for k < 4\n" in sb.derive(retrieving).text()
    assert r"u_{t,k} &= W_{o}^{\top}" in sb.derive(relaxing).latex()


@sb.cell
def cayley(x: Input["n"], h: State["n"], B: Param["n n"]):
    eye = np.eye(h.shape[0])
    return np.tanh(np.linalg.inv(eye + B - B.T) @ (eye - B + B.T) @ h + x)


@sb.cell
def many_identities(x: Input["n"], h: State["n"], W: Param["n n"], c: Param):
    I = np.eye(h.shape[0])
    return np.tanh((2 * I - c * I + W) @ h + I @ x + I[0] + (I * W) @ x + (I + 1) @ x)


def test_an_identity_is_called_so_whatever_its_name() -> None:
    text = sb.derive(cayley).text()
    assert "(I - (B - Bᵀ))" in text or "(I - B + Bᵀ)" in text
    assert "eye" not in text and "I_" not in text and "Iᵀ" not in text
    page = sb.derive(many_identities).text()
    assert "(I ⊙ W) x_t" in page and "dc = -⟨Σ_t da_t h_{t-1}ᵀ, I⟩" in page and "I_" not in page


def test_a_number_is_written_to_a_diagonal_where_a_slope_is_computed_again() -> None:
    groups = oracle.draw(many_identities, 3, 2, {"n": 2}, seed=3)
    groups[1]["x"][...] *= 30  # so that tanh has no digits left of its slope
    cotangents = oracle.cotangents_of(many_identities, groups, 3)
    kernel = sb.compile(many_identities)
    got = oracle.flat(kernel.backward(kernel.forward(*groups), cotangents))
    oracle.assert_blocks_close(got, oracle.gradients(many_identities, *groups, cotangents, 3), 1e-7)
