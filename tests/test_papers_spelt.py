"""Cells as papers spell them: what their pages and modules got wrong."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, zoo
from symbptt.stability.runs.default_sizes import elements, sizes_for
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
    assert "(I ⊙ W) x_t" in page and "dc = -⟨I, Σ_t da_t h_{t-1}ᵀ⟩" in page and "I_" not in page


def test_a_number_is_written_to_a_diagonal_where_a_slope_is_computed_again() -> None:
    groups = oracle.draw(many_identities, 3, 2, {"n": 2}, seed=3)
    groups[1]["x"][...] *= 30  # so that tanh has no digits left of its slope
    cotangents = oracle.cotangents_of(many_identities, groups, 3)
    kernel = sb.compile(many_identities)
    got = oracle.flat(kernel.backward(kernel.forward(*groups), cotangents))
    oracle.assert_blocks_close(got, oracle.gradients(many_identities, *groups, cotangents, 3), 1e-7)


@sb.cell
def learning(x: Input["m"], M: State["d m"], v: Input["d"]):
    return M - 0.1 * sb.grad(lambda M: np.linalg.norm(M @ x - v) ** 2)(M)


def test_the_square_of_a_norm_is_a_sum_of_squares() -> None:
    text = sb.derive(learning).text()
    assert "∇_M ℓ(M_{t-1}; x_t, v_t)" in text and "[" not in text.split("Functions")[0], text
    assert "ℓ(M; x, v) = ‖M x - v‖²" in text
    for scale in (1.0, 0.0):  # the slope of a square is zero where the norm is
        params, inputs, state = oracle.draw(learning, 2, 1, {"m": 2, "d": 1})
        inputs, state = ({k: scale * v for k, v in group.items()} for group in (inputs, state))
        kernel = sb.compile(learning)
        run = kernel.forward(params, inputs, state)
        M, wanted = state["M"][0], []
        for x, v in zip(inputs["x"][:, 0], inputs["v"][:, 0], strict=True):
            M = M - 0.2 * np.outer(M @ x - v, x)
            wanted.append(M)
        np.testing.assert_allclose(run.states["M"][:, 0], wanted, rtol=1e-14)
        assert np.all(np.isfinite(kernel.backward(run, {"M": np.ones((1, 1, 2))}).inputs["x"]))


@sb.cell
def diffusing(x: Input["n"], h: State["n"], W: Param["n n"]):
    inner = h[2:] - 2 * h[1:-1] + h[:-2] + np.tanh(W @ h)[2:]
    return np.concatenate([x[:1], inner, x[-1:]]) + h[-2:].sum()


def test_slices_of_a_named_size_leave_a_length_that_is_a_condition() -> None:
    for n in (2, 3, 5):
        groups = oracle.draw(diffusing, 2, 2, {"n": n})
        cotangents = oracle.cotangents_of(diffusing, groups, 2)
        kernel = sb.compile(diffusing)
        got = oracle.flat(kernel.backward(kernel.forward(*groups), cotangents))
        oracle.assert_blocks_close(got, oracle.gradients(diffusing, *groups, cotangents, 2))
    with pytest.raises(sb.ArgumentError, match="n >= 2 is expected, got n = 1"):
        kernel.forward(*oracle.draw(diffusing, 2, 2, {"n": 1}))
    assert "n - 2 >= 0" in sb.c_source(diffusing).source


def test_slices_whose_length_grows_with_no_size_are_refused() -> None:
    for part in (lambda h, x: h[h.shape[0] : 3], lambda h, x: h[x.shape[0] : h.shape[0]]):

        @sb.cell
        def refused(x: Input["m"], h: State["n"]):
            return h + np.sum(part(h, x))  # noqa: B023

        with pytest.raises(sb.SymbpttError, match="no certain"):
            sb.derive(refused)


def test_an_analysis_of_matrices_chooses_sizes_that_it_can_end_with() -> None:
    for cell in (zoo.titans, zoo.mesa_net, zoo.kalman):
        assert elements(cell.arguments, sizes_for(cell, {})) <= 96, cell.name


def test_values_written_at_computed_places_have_a_cure_that_works() -> None:
    @sb.cell
    def allocated(x: Input["n"], h: State["n"]):
        order = np.argsort(h)
        a = np.zeros_like(h)
        a[order] = x[order] * h
        return a

    with pytest.raises(sb.CellError, match=r"y = v\[np\.argsort\(places\)\]"):
        sb.derive(allocated)

    @sb.cell
    def cured(x: Input["n"], h: State["n"]):
        order = np.argsort(h)
        return (x[order] * h)[np.argsort(order)]

    groups = oracle.draw(cured, 1, 1, {"n": 4})
    x, h = groups[1]["x"][0, 0], groups[2]["h"][0]
    wanted = np.zeros(4)
    wanted[np.argsort(h)] = x[np.argsort(h)] * h
    np.testing.assert_allclose(sb.compile(cured).forward(*groups).states["h"][0, 0], wanted, rtol=1e-14)
