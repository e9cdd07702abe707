"""Gradients inside a step: `sb.grad` on arrays, in cells, in equations, in modules; jax and complex steps as oracles."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Index, Input, Param, State, ops
from symbptt.ir import build
from symbptt.ir.node import placeholder
from symbptt.language import gradient
from symbptt.language.functions import ELEMENTWISE
from symbptt.verification.complex_step import analytic
from symbptt.verification.inner_gradients import inner_rows
from symbptt.verification.requests import NOTHING
from tests import oracle
from tests.kernels import kernel_of
from tests.readback import as_latex, as_latex_textbook, as_text, assert_read
from tests.test_mathml import as_mathml, as_mathml_textbook

SIZES = {"m": 3, "n": 4, "v": 5, "d": 3}
spike = sb.function("spike", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 10 * sp.Abs(v)) ** 2)
swishy = sb.function("swishy", lambda v: v / (1 + sp.exp(-v)))
OURS = SimpleNamespace(
    grad=sb.grad, tanh=np.tanh, sum=sb.sum, sigmoid=sb.sigmoid, softmax=sb.softmax, logsumexp=sb.logsumexp, silu=sb.silu
)


# Cells of papers. Each body is written once, over a namespace: ours, or that of jax.


def titans_of(f: Any, x, M, S, Wk, Wv, Wq, wa, we, wt):
    k, v, q = Wk @ x, Wv @ x, Wq @ x
    alpha, eta, theta = f.sigmoid(wa @ x), f.sigmoid(we @ x), f.sigmoid(wt @ x)
    S_new = eta * S - theta * f.grad(lambda M: f.sum((M @ k - v) ** 2))(M)
    M_new = (1 - alpha) * M + S_new
    return {"M": M_new, "S": S_new, "y": M_new @ q}


@sb.cell
def titans(x: Input["m"], M: State["n n"], S: State["n n"], Wk: Param["n m"], Wv: Param["n m"], Wq: Param["n m"],
           wa: Param["m"], we: Param["m"], wt: Param["m"]):  # fmt: skip
    """Source: Behrouz, Zhong, Mirrokni 2024, "Titans: learning to memorize at test time", equations 11 to 15."""
    return titans_of(OURS, x, M, S, Wk, Wv, Wq, wa, we, wt)


def ttt_mlp_of(f: Any, x, W1, W2, Wk, Wv, Wq, eta):
    k, v, q = Wk @ x, Wv @ x, Wq @ x

    def model(W, z):
        return z + W[1] @ f.silu(W[0] @ z)

    def loss(W):
        return f.sum((model(W, k) - v) ** 2)

    G = f.grad(loss)((W1, W2))
    W = (W1 - 0.02 * eta * G[0], W2 - 0.02 * eta * G[1])
    return {"W1": W[0], "W2": W[1], "y": model(W, q)}


@sb.cell
def ttt_mlp(x: Input["m"], W1: State["2*n n"], W2: State["n 2*n"], Wk: Param["n m"], Wv: Param["n m"],
            Wq: Param["n m"], eta: Param):  # fmt: skip
    """Source: Sun et al. 2024, "Learning to (learn at test time)", section 2.4, two layers with silu, without normalisation."""
    return ttt_mlp_of(OURS, x, W1, W2, Wk, Wv, Wq, eta)


def predictive_of(f: Any, x, mu, W, U, lr):
    prior = f.tanh(U @ mu)

    def F(z):
        return (f.sum((x - W @ f.tanh(z)) ** 2) + f.sum((z - prior) ** 2)) / 2

    z = prior
    for _ in range(3):
        z = z - lr * f.grad(F)(z)
    return {"mu": z}


@sb.cell
def predictive(x: Input["m"], mu: State["n"], W: Param["m n"], U: Param["n n"], lr: Param):
    """Source: Rao, Ballard 1999, "Predictive coding in the visual cortex", a prior from the past; three steps of inference."""
    return predictive_of(OURS, x, mu, W, U, lr)


def energy_of(f: Any, x, h, W, M, beta):
    def E(h):
        return f.sum(h * h) / 2 - f.logsumexp(beta * (M @ h)) / beta - f.sum(f.tanh(W @ x) * h)

    return {"h": h - 0.3 * f.grad(E)(h)}


@sb.cell
def energy(x: Input["m"], h: State["n"], W: Param["n m"], M: Param["d n"], beta: Param):
    """Source: Ramsauer et al. 2021, "Hopfield networks is all you need", equation 2, a step down the energy."""
    return energy_of(OURS, x, h, W, M, beta)


def meta_of(f: Any, x, W, V, eta):
    def inner(W):
        return f.sum((W @ x - f.tanh(V @ x)) ** 2)

    def outer(W, lr):
        return f.sum(f.tanh(W - lr * f.grad(inner)(W)) * V)

    g, ge = f.grad(outer, (0, 1))(W, eta)
    return {"W": f.tanh(W - 0.1 * g) + ge * V}


@sb.cell
def meta(x: Input["n"], W: State["n n"], V: Param["n n"], eta: Param):
    """A loss after a step of learning, differentiated through that step: a gradient in a gradient."""
    return meta_of(OURS, x, W, V, eta)


def hvp_of(f: Any, x, h, U, w):
    def value(h):
        return f.sum(f.tanh(U @ h + x) ** 2 * w)

    return {"h": f.tanh(f.grad(lambda h: f.sum(f.grad(value)(h) * x))(h))}


@sb.cell
def hvp(x: Input["n"], h: State["n"], U: Param["n n"], w: Param["n"]):
    """A product of the Hessian of a function with a vector."""
    return hvp_of(OURS, x, h, U, w)


PAPERS: dict[str, tuple[sb.Cell, Callable[..., Any]]] = {
    "titans": (titans, titans_of), "ttt_mlp": (ttt_mlp, ttt_mlp_of), "predictive": (predictive, predictive_of),
    "energy": (energy, energy_of), "meta": (meta, meta_of), "hvp": (hvp, hvp_of),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", ["hvp", *(pytest.param(n, marks=pytest.mark.long) for n in PAPERS if n != "hvp")])
@pytest.mark.thinned(1, 5)
def test_gradients_match_double_backward_of_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    theirs = SimpleNamespace(
        grad=jax.grad, tanh=jnp.tanh, sum=jnp.sum, sigmoid=jax.nn.sigmoid, softmax=jax.nn.softmax,
        logsumexp=jax.scipy.special.logsumexp, silu=jax.nn.silu,
    )  # fmt: skip
    cell, body = PAPERS[name]
    params, inputs, state = oracle.draw(cell, 3, 1, SIZES)
    kernel = kernel_of(cell)
    run = kernel.forward(params, inputs, state)
    sent = oracle.cotangents_of(cell, (params, inputs, state), 3)
    grads = kernel.backward(run, sent)
    order = [a.name for a in cell.arguments]

    def objective(params, inputs, state):
        total, now = 0.0, {k: v[0] for k, v in state.items()}
        for t in range(3):
            given = {**params, **{k: v[t, 0] for k, v in inputs.items()}, **now}
            found = body(theirs, *(given[k] for k in order))
            total += sum(jnp.sum(sent[k][t, 0] * v) for k, v in found.items())
            now = {k: found[k] for k in now}
        return total

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        wanted = jax.grad(objective, (0, 1, 2))(params, inputs, state)
    flat = {k: np.asarray(v) for group in wanted for k, v in group.items()}
    oracle.assert_blocks_close(oracle.flat(grads), flat, 1e-9)


# Families of nodes whose adjoints a function may have, and what is declared, at the sizes at which they end.


@sb.cell
def slices(x: Input["n"], h: State["n"], W: Param["n n"]):
    def E(h):
        d = h[1:] - h[:-1]
        return sb.sum(np.sqrt(1 + d * d)) + sb.sum(np.cumsum(np.sin(h)) ** 2) + sb.dot(np.tanh(W @ x), h)

    return h - 0.1 * sb.grad(E)(h)


@sb.cell
def rows(i: Index["v"], y: Input["n"], H: State["v n"], W: Param["n n"], eta: Param):
    G = sb.grad(lambda H: sb.sum((W @ np.tanh(H[i]) - y) ** 2) + np.sum(H[1] * H[0]))(H)
    return H - eta * G


@sb.cell
def kinks(x: Input["n"], h: State["n"], W: Param["n n"]):
    def ell(h):
        return (
            sb.max(W @ h + x) * sb.sum(sb.relu(h)) + sb.sum(sb.abs(h - x)) + sb.norm(h) + np.sum(np.maximum(h, x) ** 2)
        )

    return np.tanh(h - 0.1 * sb.grad(ell)(h))


@sb.cell
def declared(x: Input["n"], h: State["n"], W: Param["n n"]):
    def ell(h):
        return sb.sum(spike(W @ h - x) * h) + sb.sum(swishy(h)) + sb.sum(sb.stop_gradient(h) * h * x)

    return np.tanh(h - 0.1 * sb.grad(ell)(h))


@sb.cell
def label(i: Index["v"], x: Input["n"], W: State["v n"], eta: Param):
    loss, G = sb.value_and_grad(lambda W: -sb.log_softmax(W @ np.tanh(x))[i])(W)
    return {"W": W - eta * G, "loss": loss}


@sb.cell
def structured(x: Input["n"], h: State["n"], c: State["n"], U: Param["n n"], w: Param["n"]):
    def f(p, s):
        return sb.sum(sb.softmax(U @ p["a"] + p["b"][0]) * s) + sb.sum(p["a"] * p["b"][0] ** 2)

    g, gs = sb.grad(f, argnums=(0, 1))({"a": h, "b": [c]}, w * h)
    return np.tanh(g["a"] + gs), g["b"][0] + x


@sb.cell
def normed(x: Input["n"], h: State["n"], U: Param["n n"], W: Param["2 n n"], a: Param["n"]):
    def ell(z):
        joined = np.einsum("kij,kj->ki", W, np.concatenate([z[None], np.tanh(z)[None]]))
        return sb.sum(joined**2) + a @ sb.layer_norm(U @ z) + sb.sum(np.where(z > 0, z * z, np.stack([z, x])[0]))

    return np.tanh(sb.grad(ell)(h) + x)


SIBLINGS = {c.name: c for c in (slices, rows, kinks, declared, label, structured, normed)}
FEW = [n if n in ("slices", "label", "declared") else pytest.param(n, marks=pytest.mark.long) for n in SIBLINGS]


@pytest.mark.parametrize("steps, batch, size", [(3, 2, 4), (1, 1, 2)])
@pytest.mark.parametrize("name", FEW)
@pytest.mark.thinned(23, 3)
def test_module_matches_complex_steps_through_the_plain_function(name: str, steps: int, batch: int, size: int) -> None:
    cell = SIBLINGS[name]
    sizes = SIZES | {"n": size, "v": max(2, size)}
    params, inputs, state = oracle.draw(cell, steps, batch, sizes)
    kernel = kernel_of(cell)
    sent = oracle.cotangents_of(cell, (params, inputs, state), steps)
    grads = kernel.backward(kernel.forward(params, inputs, state), sent)
    # A declared derivative is carried by the complex step itself, and kinks by arrays that know them.
    wanted = oracle.gradients(cell, *({k: _own(v) for k, v in g.items()} for g in (params, inputs, state)), sent, steps)
    oracle.assert_blocks_close(oracle.flat(grads), {k: np.real(v) for k, v in wanted.items()}, 1e-9)


def _own(value: Any) -> Any:
    return value if np.asarray(value).dtype.kind in "iu" else analytic(np.asarray(value, complex))


@pytest.mark.long
@pytest.mark.parametrize(
    "op", [op for op in ops.OPS if not op.name.startswith("logical") and op.name != "where"], ids=lambda op: op.name
)
@pytest.mark.thinned(1, 2)
def test_every_elementwise_function_has_two_derivatives(op: ops.Op) -> None:
    f = ELEMENTWISE[op.name]

    @sb.cell
    def cell(x: Input["n"], h: State["n"], w: Param["n"]):
        return h / 2 + sb.grad(lambda z: sb.sum(f(*[z, x, x + 1][: op.arity]) * z * w))(h) / 10

    low, high = op.domain if np.isfinite(op.domain).all() else (1.0, 2.0)
    random = np.random.default_rng(1)
    params, inputs, state = {"w": random.standard_normal(3)}, {}, {}
    inputs["x"], state["h"] = (low + (high - low) * (0.15 + 0.7 * random.random(s)) for s in ((1, 1, 3), (1, 3)))
    sent = {"h": random.standard_normal((1, 1, 3))}
    kernel = sb.compile(cell)
    found = kernel.backward(kernel.forward(params, inputs, state), sent)
    wanted = oracle.gradients(cell, *({k: _own(v) for k, v in g.items()} for g in (params, inputs, state)), sent, 1)
    oracle.assert_blocks_close(oracle.flat(found), {k: np.real(v) for k, v in wanted.items()}, 1e-8)


@pytest.mark.parametrize("T", [0, 1, 2, 5])
@pytest.mark.thinned(7)
def test_float32_masks_and_blocks(T: int) -> None:
    params, inputs, state = oracle.draw(titans, T, 3, SIZES)
    lengths = np.array([T, max(T - 1, 0), T // 2])
    kernel = sb.compile(titans, memory="sqrt")
    sent = {k: v * 1.0 for k, v in oracle.cotangents_of(titans, (params, inputs, state), T).items()} if T else {}
    low = [{k: np.asarray(v, np.float32) for k, v in g.items()} for g in (params, inputs, state)]
    run = kernel.forward(*low, lengths=lengths)
    assert run.states["M"].dtype == np.float32 and run.states["M"].shape == (T, 3, 4, 4)
    if T:
        grads = kernel.backward(kernel.forward(params, inputs, state, lengths=lengths), sent)
        wanted = oracle.gradients(titans, params, inputs, state, sent, T, lengths=lengths)
        oracle.assert_blocks_close(oracle.flat(grads), wanted, 1e-9)
        single = kernel.backward(run, {k: np.asarray(v, np.float32) for k, v in sent.items()})
        oracle.assert_blocks_close(oracle.flat(single), oracle.flat(grads), 2e-4)


# On arrays.


def test_gradient_on_arrays_is_that_of_the_formula() -> None:
    random = np.random.default_rng(0)
    M, k, v = random.standard_normal((3, 4)), random.standard_normal(4), random.standard_normal(3)

    def loss(M):
        return np.sum((M @ k - v) ** 2)

    np.testing.assert_allclose(sb.grad(loss)(M), 2 * np.outer(M @ k - v, k), rtol=1e-13)
    value, G = sb.value_and_grad(loss)(M)
    assert value == pytest.approx(loss(M)) and G.shape == (3, 4)
    low = sb.grad(loss)(M.astype(np.float32))
    assert low.dtype == np.float32
    # Numbers that carry a tangent go through, in the argument and in what the function closes over.
    d, step = random.standard_normal((3, 4)), 1e-30
    np.testing.assert_allclose(sb.grad(loss)(M + 1j * step * d).imag / step, 2 * np.outer(d @ k, k), rtol=1e-12)
    v = v + 1j * step
    np.testing.assert_allclose(sb.grad(loss)(M).imag / step, -2 * np.outer(np.ones(3), k), rtol=1e-12)


def test_gradient_has_the_structure_of_its_argument() -> None:
    z = np.arange(3.0)
    found = sb.grad(lambda p, s: s * np.sum(p["a"] * p["b"][0]), argnums=(1, 0))({"a": z, "b": (z + 1, [])}, 2.0)
    assert found[0] == z @ (z + 1)
    np.testing.assert_array_equal(found[1]["a"], 2 * (z + 1))
    assert found[1]["b"][1] == [] and isinstance(found[1]["b"], tuple)
    np.testing.assert_array_equal(sb.grad(lambda x: 5.0)(z), np.zeros(3))
    assert (
        sb.grad(lambda x: sb.grad(lambda y: y**3 * x)(x))(2.0) == 3 * 3 * 2.0**2
    )  # d/dx of 3 x² x, x held in the inner one
    with_table = sb.grad(lambda t: np.sum(t[np.array(1)] ** 2) + t[::2].sum())(np.ones((3, 2)))
    np.testing.assert_array_equal(with_table, [[1, 1], [2, 2], [1, 1]])


def test_only_the_argument_is_differentiated_not_what_is_closed_over() -> None:
    @sb.cell
    def twice(h: State["n"], w: Param["n"]):
        return np.tanh(sb.grad(lambda z: sb.sum(z * z * h) * sb.sum(w))(h))

    h, w = np.array([0.3, -0.2]), np.array([0.5, 0.25])
    np.testing.assert_allclose(twice(h, w), np.tanh(2 * h * h * w.sum()), rtol=1e-14)
    run = kernel_of(twice).forward({"w": w}, {}, {"h": h[None]}, steps=1)
    np.testing.assert_allclose(run.states["h"][0, 0], np.tanh(2 * h * h * w.sum()), rtol=1e-14)


def test_spellings_that_overflow_do_not_inside_a_function_either() -> None:
    @sb.cell
    def gate(h: State["n"], w: Param["n"]):
        return sb.grad(lambda z: sb.sum(w / (1 + np.exp(-z))) + np.log(np.sum(np.exp(z))))(h)

    h = np.array([-1000.0, 3.0, 800.0])
    run = kernel_of(gate).forward({"w": np.ones(3)}, {}, {"h": h[None]}, steps=1)
    s = 1 / (1 + np.exp(-3.0))
    np.testing.assert_allclose(run.states["h"][0, 0], [0, s * (1 - s), 1], atol=1e-300)
    grads = kernel_of(gate).backward(run, {"h": np.ones((1, 1, 3))})
    assert np.isfinite(grads.state["h"]).all() and np.isfinite(grads.params["w"]).all()


# On pages.

FORMS = {"text": as_text("textbook"), "loop": as_text("loop"), "latex": as_latex, "latex textbook": as_latex_textbook,
         "mathml": as_mathml, "mathml textbook": as_mathml_textbook}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name", ["energy", *(pytest.param(n, marks=pytest.mark.long) for n in PAPERS if n != "energy")]
)
@pytest.mark.thinned(1, 2)
def test_pages_say_of_what_function_a_value_is_the_gradient(name: str, form: str) -> None:
    """The reader takes the function as the page defines it, and its gradient by differences, beside the value below."""
    cell = PAPERS[name][0]
    sizes = {k: v for k, v in {"m": 3, "n": 5, "d": 7}.items() if k in str([a.shape for a in cell.arguments])}
    assert_read(cell, sizes, printed=FORMS[form])


def test_pages_read_as_the_papers_do() -> None:
    text = sb.derive(sb.zoo.ttt).text()
    for line in ("  G_t = ∇_W ℓ(W_{t-1}; k_t, v_t)\n      = 2 (W_{t-1} k_t - v_t) k_tᵀ\n  W_t = W_{t-1} - η G_t\n",
                 "  ℓ(W; k, v) = ‖W k - v‖²\n"):  # fmt: skip
        assert line in text
    titans = sb.derive(sb.zoo.titans)
    assert "  S_t     = η_t S_{t-1} - θ_t G_t\n  M_t     = (1 - α_t) M_{t-1} + S_t\n" in titans.text()
    assert "= grad_M l(M_{t-1}; k_t, v_t)\n" in titans.text(ascii=True)
    assert r"G_{t} &= \nabla_{M} \ell(M_{t-1}; k_{t}, v_{t}) \\" in titans.latex()
    # Names of local variables of the function are names of the page; the function has its own.
    named = sb.derive(PAPERS["predictive"][0]).text()
    assert "g_t     = ∇_z F(prior_t; x_t, W, prior_t)\n" in named and "F(z; x, W, prior) = " in named


@pytest.mark.parametrize("right, wrong", [("2 (W_{t-1} k_t", "3 (W_{t-1} k_t"), ("‖W k - v‖²", "‖W k + v‖²"),
                                          ("ℓ(W_{t-1}; k_t, v_t)\n", "ℓ(W_{t-1}; v_t, k_t)\n")])  # fmt: skip
def test_reader_catches_a_gradient_that_is_not_that_of_its_function(right: str, wrong: str) -> None:
    d = sb.derive(sb.zoo.ttt)
    text = d.text()
    assert right in text

    class Page:
        symbols, mark = d.symbols, d.mark

        def text(self, style: str) -> str:
            return text.replace(right, wrong)

    with pytest.raises(AssertionError):
        assert_read(sb.zoo.ttt, {"m": 3, "d": 5}, printed=lambda _: as_text("textbook")(Page()))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["rows", "slices", "label", "structured"])
@pytest.mark.thinned(17)
def test_jacobian_matches_complex_steps(name: str) -> None:
    cell = SIBLINGS[name]
    params, inputs, state = oracle.draw(cell, 1, 1, SIZES)
    params, inputs, state = params, {k: v[0, 0] for k, v in inputs.items()}, {k: v[0] for k, v in state.items()}
    d = sb.derive(cell)
    for of, value in state.items():
        for to in cell.step.next:
            found = d.jacobian(to, of).evaluate(params, inputs, state)
            for at in np.ndindex(*value.shape):
                unit = np.zeros(value.shape)
                unit[at] = 1e-30
                moved = oracle.one_step(cell, {**params, **inputs, **state, of: analytic(value + 1j * unit)})[to]
                np.testing.assert_allclose(found[(..., *at)], np.imag(moved) / 1e-30, atol=1e-12)
            assert d.jacobian(to, of).text() and d.paths(to, of) is not None


# Errors.


@pytest.mark.parametrize("call, what", [
    (lambda h, i: sb.grad(lambda z: 2 * z)(h), "returns shape (n,)"),
    (lambda h, i: sb.grad(lambda z: (sb.sum(z), z))(h), "returns a tuple"),
    (lambda h, i: sb.grad(lambda z: {"a": z})(h), "returns a dict"),
    (lambda h, i: sb.grad(lambda z: None)(h), "returns None"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z > 0))(h), "an integer or a truth value"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z * h))(i), "integers or truth values"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z * h))(3), "int64 3"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z * h))(h.shape[0]), "the size n"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z))("h"), "str 'h'"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z), argnums=1)(h), "has no argument 1: the call has 1"),
    (lambda h, i: sb.grad(lambda z: sb.sum(z) if sb.sum(z) > 0 else z[0])(h), "a branch on a value"),
    (lambda h, i: sb.grad(lambda z: sb.sum(sb.grad(lambda y: y * y)(z)))(h), "returns shape (n,)"),
])  # fmt: skip
def test_what_has_no_gradient_is_told_with_its_line(call: Callable[..., Any], what: str) -> None:
    @sb.cell
    def cell(i: Index["v"], h: State["n"], w: Param["n"]):
        return w * call(h, i)

    with pytest.raises(sb.CellError) as caught:
        sb.derive(cell)
    assert what in str(caught.value) and "test_inner_gradients.py" in str(caught.value)
    assert len(str(caught.value).splitlines()) in (3, 4)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(sb.ArgumentError, match=r"takes a function, got ndarray"):
        sb.grad(np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(sb.ArgumentError, match="argnums of sb.grad"):
        sb.grad(np.sum, argnums="z")  # type: ignore[arg-type]
    with pytest.raises(sb.ShapeError, match=r"returns shape \(3,\)"):
        sb.grad(lambda z: 2 * z)(np.ones(3))


# What a checker sees.


@pytest.mark.long
@pytest.mark.parametrize("name", ["rows", "label", "slices"])
@pytest.mark.thinned(1, 2)
def test_cells_with_gradients_are_proved(name: str) -> None:
    report = sb.verify(SIBLINGS[name])
    assert report.passed, str(report)


def test_a_module_with_a_wrong_second_derivative_is_caught() -> None:
    kernel = sb.compile(titans)
    right = "np.multiply(2, dG_k_b"  # of dv_t = -2 dG_t k_t, which goes through the gradient inside the step
    assert kernel.source.count(right) == 1
    wrong = sb.Kernel(kernel.target, kernel.program, kernel.source.replace(right, "np.multiply(2.02, dG_k_b"))
    params, inputs, state = oracle.draw(titans, 2, 1, SIZES)
    sent = oracle.cotangents_of(titans, (params, inputs, state), 2)
    found = wrong.backward(wrong.forward(params, inputs, state), sent)
    with pytest.raises(AssertionError):
        wanted = oracle.gradients(titans, params, inputs, state, sent, 2)
        oracle.assert_blocks_close(oracle.flat(found), wanted, 1e-9)


def test_gradients_of_the_users_function_are_compared_with_what_they_are_gradients_of(monkeypatch) -> None:
    """The module and the function that it is compared with take an inner gradient by the same rules: only these rows know."""
    for cell in (titans, label, declared):
        rows_of_cell = list(inner_rows(cell, 0, NOTHING))
        assert len(rows_of_cell) >= 7 and all(row.passed for row in rows_of_cell), (cell.name, rows_of_cell)
        assert any(not row.note for row in rows_of_cell)
    right = gradient.gradient_of

    def wrong(g, value, leaves):
        return {k: build.map_(g, sp.Float(1.001) * placeholder(0), (id,)) for k, id in right(g, value, leaves).items()}

    monkeypatch.setattr(gradient, "gradient_of", wrong)
    gradient._derived.cache_clear()
    found = list(inner_rows(titans, 0, NOTHING))
    gradient._derived.cache_clear()
    assert found and not any(row.passed for row in found if not row.note)
    assert {row.name for row in found} == {"∇ℓ"}


def test_cells_with_gradients_go_to_c() -> None:
    """An index that is read at a step has its place there also where blocks have one step each."""
    assert sb.c_source(rows)
