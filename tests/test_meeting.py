"""Where gradients inside a step, repetitions, linear algebra, indices, choices and losses meet: modules beside complex steps."""

import re
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Index, Input, Param, State, Target
from symbptt.ir.rounds import written_out
from tests import oracle
from tests.kernels import kernel_of


@sb.cell
def energy_of_rounds(x: Input["n"], h: State["n"], U: Param["n n"], w: Param["3 n"]):
    def energy(z):
        y = sb.repeat(lambda y, k: np.tanh(U @ y + w[k] * z + 0.1 * k), z, 3)
        return sb.sum(y * x)

    return np.tanh(h - 0.1 * sb.grad(energy)(h))


@sb.cell
def nested_rounds(x: Input["n"], h: State["n"], U: Param["n n"]):
    def energy(z):
        y = sb.repeat(lambda y, k: sb.repeat(lambda v: np.tanh(U @ v + k * x), y, 2) + z, z, 2)
        return sb.sum(y * y) / 2

    return sb.repeat(lambda z: z - 0.1 * sb.grad(energy)(z), h, 2)


@sb.cell
def beside_rounds(x: Input["n"], h: State["n"], U: Param["n n"]):
    def step(z):
        w = sb.repeat(lambda y: np.tanh(U @ y + x), z, 2)
        return z - 0.1 * sb.grad(lambda q: sb.sum(np.tanh(U @ q) * w))(z)

    return sb.repeat(step, h, 2)


@sb.cell
def beside_named_rounds(x: Input["n"], h: State["n"], U: Param["L n n"]):
    w = sb.repeat(lambda y, k: np.tanh(U[k] @ y + x), h, U.shape[0])
    return np.tanh(h - 0.1 * sb.grad(lambda z: sb.sum(np.tanh(z * x) * w))(h))


@sb.cell
def second_derivative(x: Input["n"], h: State["n"], U: Param["n n"]):
    def inner(z):
        y = sb.repeat(lambda y: np.tanh(U @ y + x), z, 2)
        return sb.sum(y * y) / 2

    return np.tanh(h - 0.1 * sb.grad(lambda z: sb.sum(sb.grad(inner)(z) * x))(h))


@sb.cell
def by_a_table(x: Input["n"], h: State["n"], U: Param["3 n"]):
    def step(z, k):
        g = sb.grad(lambda V: sb.sum(np.tanh(V[k] * z) * x) + sb.sum(V * V))(U)
        return z - 0.1 * g[k] + 0.1 * np.sum(g, axis=0)

    return sb.repeat(step, h, 3)


@sb.cell
def by_a_linear_table(x: Input["n"], h: State["n"], U: Param["3 n"]):
    def step(z, k):
        return np.tanh(z + 0.1 * np.sum(sb.grad(lambda V: sb.sum(V[k] * x))(U) * U, axis=0))

    return sb.repeat(step, h, 3)


@sb.cell
def embedded(i: Index["v"], h: State["n"], E: Param["v n"]):
    g = sb.grad(lambda E: sb.sum(np.tanh(E[i] * h)) + sb.logsumexp(E @ h))(E)
    return np.tanh(h + g[i] - 0.1 * np.sum(g, axis=0))


@sb.cell
def of_matrices(x: Input["n"], h: State["n"], A: Param["n n"]):
    def energy(B):
        M = np.eye(x.shape[0]) + B @ B.T
        low = sb.cholesky(M)
        return sb.sum(np.linalg.inv(M) @ x * h) + np.linalg.slogdet(M)[1] + sb.sum(low @ x) + h @ sb.expm(B - B.T) @ x

    return np.tanh(h + 0.1 * sb.grad(energy)(A) @ x)


@sb.cell
def matrices_in_rounds(x: Input["n"], h: State["n"], A: Param["n n"]):
    def step(z, k):
        y = sb.expm(0.3 * (A - A.T) * k) @ z
        return np.tanh(np.linalg.solve(A @ A.T + np.eye(x.shape[0]) + np.outer(y, y), y + x))

    return sb.repeat(step, h, 3)


@sb.cell
def energy_of_a_solve(x: Input["n"], h: State["n"], A: Param["n n"]):
    def energy(z):
        return z @ np.linalg.solve(A @ A.T + 2 * np.eye(x.shape[0]), z) / 2 - z @ x

    return sb.repeat(lambda z: z - 0.1 * sb.grad(energy)(z), h, 3)


@sb.cell
def places(x: Input["n"], h: State["n"], U: Param["n n"]):
    def step(z):
        y = U @ z + x
        return np.tanh(y + np.take_along_axis(z, np.argsort(y), 0) + y[np.argmax(y)])

    return sb.repeat(step, h, 3)


@sb.cell
def sorted_energy(x: Input["n"], h: State["n"], U: Param["n n"]):
    def energy(z):
        s = np.sort(U @ z)
        return s @ x + s[np.argmax(z)]

    return np.tanh(h - 0.1 * sb.grad(energy)(h))


@sb.cell
def halves(x: Input["n"], h: State["n"], U: Param["n//2 n//2"]):
    def step(z):
        n = z.shape[0]
        a, b = z[::2], z[1::2]
        g = sb.grad(lambda a: a @ U @ b + sb.sum(a * x[: n // 2]))(a)
        y = np.concatenate([a - 0.1 * g, b + 0.3 * np.tanh(a)])
        y[0] = z[1] * 0.5
        return y

    return sb.repeat(step, h, 2)


CELLS = {c.name: c for c in (
    energy_of_rounds, nested_rounds, beside_rounds, beside_named_rounds, second_derivative, by_a_table, by_a_linear_table, embedded,
    of_matrices, matrices_in_rounds, energy_of_a_solve, places, sorted_energy, halves,
)}  # fmt: skip
SIZES = {"n": 4, "L": 2, "v": 5}
SHORT = ("energy_of_rounds", "beside_rounds", "by_a_table", "matrices_in_rounds", "places")


@pytest.mark.parametrize("name", [pytest.param(k, marks=() if k in SHORT else pytest.mark.long) for k in CELLS])
@pytest.mark.thinned(47, 3)
def test_a_module_has_the_complex_steps_of_the_function(name: str) -> None:
    cell, kernel, steps = CELLS[name], kernel_of(CELLS[name]), 3
    groups = oracle.draw(cell, steps, 2, SIZES)
    lengths, reset = np.array([3, 2]), np.array([[False, False], [False, True], [True, False]])
    run = kernel.forward(*groups, lengths=lengths, reset=reset)
    sent = {k: np.random.default_rng(1).standard_normal(v.shape) for k, v in run.states.items()}
    got = oracle.flat(kernel.backward(run, sent))
    oracle.assert_blocks_close(
        got, {k: v for k, v in oracle.gradients(cell, *groups, sent, steps, lengths, reset).items() if k in got}
    )
    values = oracle.run(cell, *groups, steps, lengths, reset)
    assert all(np.allclose(v, run.states[k], rtol=1e-12, atol=1e-12) for k, v in values.items())


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 2)
def test_in_pieces_and_in_single_precision_it_is_the_same(name: str) -> None:
    cell = CELLS[name]
    groups = oracle.draw(cell, 3, 2, SIZES)
    sent = oracle.cotangents_of(cell, groups, 3)

    def gradients(kernel: sb.Kernel, kind: Any) -> Any:
        own = [{k: v.astype(kind) if v.dtype.kind == "f" else v for k, v in group.items()} for group in groups]
        return oracle.flat(kernel.backward(kernel.forward(*own), {k: v.astype(kind) for k, v in sent.items()}))

    wanted = gradients(kernel_of(cell), np.float64)
    oracle.assert_blocks_close(gradients(kernel_of(cell, memory="sqrt"), np.float64), wanted, 1e-11)
    found = gradients(kernel_of(cell), np.float32)
    assert all(v.dtype == np.float32 for v in found.values())
    oracle.assert_blocks_close(found, wanted, 3e-4)
    for steps in (0, 1):
        own = oracle.draw(cell, steps, 1, SIZES)
        run = kernel_of(cell).forward(*own)
        kernel_of(cell).backward(run, {k: np.ones(v.shape) for k, v in run.states.items()})


BODIES: dict[str, Any] = {
    "exp": lambda z, u: np.exp(z) + u,
    "log": lambda z, u: np.log(z - 1) + u,
    "quotient": lambda z, u: 1 / (z - 1) + u,
    "root": lambda z, u: np.sqrt(z - 2) + u,
    "mixed": lambda z, u: np.sinh(z + np.sum(z)) * u,
    "chosen inside": lambda z, u: np.where(z > 50, np.exp(z * z) + u, np.exp(z)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=() if k in ("log", "mixed") else pytest.mark.long) for k in BODIES]
)
def test_rounds_that_overflow_where_they_are_not_chosen_give_nothing(name: str) -> None:
    """By hand: the state is tanh(U h + x) alone, whatever the rounds make; as with a loop of Python."""

    @sb.cell
    def around(x: Input["n"], h: State["n"], U: Param["n n"]):
        u = U @ h
        z = sb.repeat(lambda z: BODIES[name](z, u), 2.0 + x * x, 6)
        return np.where(x > 100.0, z, np.tanh(u + x))

    U, x, h = np.array([[0.3, 0.1], [-0.2, 0.4]]), np.array([[[0.0, 1.0]]]), np.array([[0.5, -1.0]])
    kernel = kernel_of(around)
    with np.errstate(all="ignore"):
        run = kernel.forward({"U": U}, {"x": x}, {"h": h})
        grads = kernel.backward(run, {"h": np.ones((1, 1, 2))})
    da = 1 - np.tanh(U @ h[0] + x[0, 0]) ** 2
    assert np.allclose(grads.params["U"], np.outer(da, h[0]), rtol=1e-12)
    assert np.allclose(grads.inputs["x"][0, 0], da, rtol=1e-12)
    assert np.allclose(grads.state["h"][0], U.T @ da, rtol=1e-12)


def test_a_sigmoid_in_rounds_overflows_in_silence() -> None:
    @sb.cell
    def far(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.repeat(lambda z: sb.sigmoid(U @ z + x), h, 2)

    with np.errstate(all="raise", under="ignore"):
        run = kernel_of(far).forward({"U": np.eye(2)}, {"x": np.full((1, 1, 2), -1000.0)})
    assert not run.states["h"].any()


@sb.cell
def singular(x: Input["2"], h: State["2"], A: Param["2 2"]):
    return sb.repeat(lambda z: np.linalg.solve(A * x[0], z + x), h, 2)


@pytest.mark.parametrize("memory", ["all", "sqrt"])
def test_a_singular_matrix_in_a_round_tells_the_step_of_the_run(memory: str) -> None:
    x = np.ones((9, 3, 2))
    x[6, 1, 0] = 0.0
    kernel = kernel_of(singular, memory=memory)
    with pytest.raises(sb.SymbpttError, match="^a matrix is singular at step 6 of sample 1") as error:
        run = kernel.forward({"A": np.eye(2)}, {"x": x}, {"h": np.ones((3, 2))})
        kernel.backward(run, {"h": np.ones((9, 3, 2))})
    assert "param0" not in str(error.value) and "param1" not in str(error.value)


def test_a_matrix_in_a_round_has_the_name_that_the_user_gave_it() -> None:
    @sb.cell
    def direct(x: Input["2"], h: State["2"], A: Param["2 2"]):
        return sb.repeat(lambda z: np.linalg.solve(A, z + x), h, 2)

    with pytest.raises(sb.SymbpttError, match="^A is singular"):
        kernel_of(direct).forward({"A": np.zeros((2, 2))}, {"x": np.ones((1, 1, 2))})


step_function = sb.function("step_of", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 4 * v**2))


def test_a_module_tells_of_declared_derivatives_in_rounds() -> None:
    @sb.cell
    def spiking(x: Input["n"], h: State["n"], U: Param["n n"]):
        return sb.repeat(lambda z: 0.8 * z + U @ step_function(z - 0.1) + x, h, 3)

    source = kernel_of(spiking).source
    assert re.search(r'^DECLARED = \("step_of",\)', source, re.M)
    assert re.search(r"^SHOWN = \(\)", source, re.M)


@sb.loss
def solved_loss(h: State["2"], y: Target["2"], V: Param["2 2"]):
    z = sb.repeat(lambda z: z - 0.1 * sb.grad(lambda q: sb.sum(np.tanh(V @ q - y) ** 2))(z), h, 2)
    return z @ np.linalg.solve(V @ V.T + np.eye(2), z)


@sb.cell
def plain(x: Input["2"], h: State["2"], A: Param["2 2"]):
    return np.tanh(A @ h + x)


@pytest.mark.parametrize("at", ["every", "last"])
def test_a_loss_may_have_them(at: str) -> None:
    rng, (T, B) = np.random.default_rng(0), (3, 2)
    x, h, params = rng.standard_normal((T, B, 2)), rng.standard_normal((B, 2)), {
        k: rng.standard_normal((2, 2)) for k in "AV"
    }  # fmt: skip
    y = rng.standard_normal((T, B, 2) if at == "every" else (B, 2))
    loss, grads = kernel_of(sb.model(plain, solved_loss, at=at)).value_and_grad(params, {"x": x}, {"y": y}, {"h": h})

    def by_hand(V: Any) -> Any:
        total = 0.0
        for b in range(B):
            z = h[b]
            for t in range(T):
                z = plain(x[t, b], z, params["A"])
                if at == "every" or t == T - 1:
                    total = total + solved_loss(z, y[t, b] if at == "every" else y[b], V)
        return total

    assert np.isclose(loss, by_hand(params["V"]), rtol=1e-12)
    for place in np.ndindex(2, 2):
        V = params["V"].astype(complex)
        V[place] += 1e-30j
        assert np.isclose(by_hand(V).imag / 1e-30, grads.params["V"][place], rtol=1e-9, atol=1e-12)


def test_a_gradient_of_a_named_number_of_rounds_is_refused() -> None:
    @sb.cell
    def named(x: Input["n"], h: State["n"], U: Param["L n n"]):
        return h - sb.grad(lambda z: sb.sum(sb.repeat(lambda y, k: np.tanh(U[k] @ y), z, U.shape[0])))(h)

    with pytest.raises(
        sb.CellError, match="of which a gradient is taken repeats a body L times, a size without a number"
    ):
        sb.derive(named)


def test_adding_at_places_of_a_plain_array_is_refused() -> None:
    out = np.zeros(4)

    @sb.cell
    def filled(x: Input["4"], h: State["4"]):
        np.add.at(out, [0, 1, 2, 0], h)
        return out + x

    with pytest.raises(sb.CellError, match=r"np\.zeros_like\(h\)"):
        sb.derive(filled)


def test_sympy_refuses_what_is_written_at_an_index() -> None:
    with pytest.raises(sb.SymbpttError, match="zeros with a value at an index"):
        sb.derive(embedded).to_sympy()


def test_sizes_with_terms_of_both_signs_are_written_in_c() -> None:
    @sb.cell
    def cut(x: Input["n"], h: State["n"]):
        return np.tanh(h + x + np.sum(sb.grad(lambda z: sb.sum(z[:3] * z[1:4] ** 2))(h)))

    assert re.search(r"\bn - 4 >= 0", sb.c_source(cut).source)


def test_rounds_that_write_at_their_number_are_padded() -> None:
    """∂(V[k] x)/∂V is x in row k: the values of the step, written out, are those of the function."""
    step = written_out(by_a_linear_table.looped)
    kinds = [n.attrs.kind for n in step.graph if n.family in ("gather", "view")]
    assert "scatter" not in kinds and "pad" in kinds


@pytest.mark.long
def test_a_step_that_writes_at_an_index_is_analysed() -> None:
    @sb.cell
    def written(i: Index["n"], h: State["n"], U: Param["n n"]):
        return 0.5 * np.tanh(U @ h) - 0.1 * sb.grad(lambda z: np.tanh(z[i]) * sb.sum(np.tanh(z)))(h)

    params, inputs, state = oracle.draw(written, 6, 2, SIZES, scale=0.4)
    assert sb.analyze(written, params, inputs, state).text()
