"""Complex numbers: gradients are those of the user's function on pairs of real numbers, and of torch and JAX."""

from __future__ import annotations

import tracemalloc
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.autodiff import vjp
from symbptt.equations.notation import signs
from symbptt.ir.shape import names_in
from tests.brute import Data
from tests.complex_cells import CELLS, SIZES
from tests.readback import STEPS, as_latex, as_latex_textbook, assert_read

Arrays = dict[str, Any]
EVERY_CELL = pytest.mark.parametrize("name", CELLS)


def drawn(random: np.random.Generator, shape: tuple[int, ...], is_complex: bool) -> Any:
    found = random.normal(size=shape)
    return found + 1j * random.normal(size=shape) if is_complex else found


def case(
    cell: Any, T: int, B: int, sizes: Mapping[str, int] = SIZES, seed: int = 0
) -> tuple[Arrays, Arrays, Arrays, np.random.Generator]:
    """Return random parameters, inputs and initial states."""
    random = np.random.default_rng(seed)
    lead = {"param": (), "input": (T, B), "state": (B,)}
    found: dict[str, Arrays] = {role: {} for role in lead}
    for a in cell.arguments:
        shape = tuple(n if isinstance(n, int) else sizes[str(n)] for n in a.shape)
        found[a.role][a.name] = 0.5 * drawn(random, (*lead[a.role], *shape), a.complex)
    return found["param"], found["input"], found["state"], random


def by_hand(cell: Any, params: Arrays, inputs: Arrays, state: Arrays, B: int, T: int) -> dict[str, list[Any]]:
    """Return the states and outputs of the user's function by step and sample."""
    found: dict[str, list[Any]] = {}
    current = [{k: v[b] for k, v in state.items()} for b in range(B)]
    for t in range(T):
        results = []
        for b in range(B):
            made = cell(**params, **{k: v[t, b] for k, v in inputs.items()}, **current[b])
            made = made if isinstance(made, dict) else {next(iter(state)): made}
            current[b] = {k: made[k] for k in state}
            results.append(made)
        for k in results[0] if results else ():
            found.setdefault(k, []).append([np.asarray(r[k]) for r in results])
    return found


def paired(a: Any, b: Any) -> float:
    """Return the real inner product, of complex numbers as pairs."""
    return float(np.sum(np.real(np.conj(a) * b)))


def checked(
    cell: Any, T: int, B: int, sizes: Mapping[str, int] = SIZES, tolerance: float = 1e-7, **options: Any
) -> None:
    """Compare a kernel's values with the user's function, and its gradients with differences along random directions."""
    params, inputs, state, random = case(cell, T, B, sizes)
    kernel = sb.compile(cell, **options)
    run = kernel.forward(params, inputs, state, steps=T)
    wanted = by_hand(cell, params, inputs, state, B, T)
    for k, v in wanted.items():
        np.testing.assert_allclose((run.states | run.outputs)[k], np.array(v), rtol=1e-12, atol=1e-12)
    cotangents = {k: drawn(random, v.shape, np.iscomplexobj(v)) for k, v in (run.states | run.outputs).items()}
    grads = kernel.backward(run, cotangents)

    def value(p: Arrays, i: Arrays, s: Arrays) -> float:
        found = by_hand(cell, p, i, s, B, T)
        return sum(paired(cotangents[k], np.array(v)) for k, v in found.items())

    given = [params, inputs, state]
    for at, (group, found) in enumerate(zip(given, (grads.params, grads.inputs, grads.state), strict=True)):
        for k, v in group.items():
            assert found[k].dtype == v.dtype and found[k].shape == v.shape
            parts = [1, 1j] if np.iscomplexobj(v) else [1]
            for unit in parts:  # the real and the imaginary part on their own
                way, h = unit * random.normal(size=v.shape), 1e-5
                moved = [
                    [g if j != at else g | {k: v + sign * h * way} for j, g in enumerate(given)] for sign in (1, -1)
                ]
                difference = (value(*moved[0]) - value(*moved[1])) / (2 * h)
                scale = np.linalg.norm(found[k]) * np.linalg.norm(way) + 1e-3
                assert abs(paired(found[k], way) - difference) <= tolerance * scale, (k, unit)


@EVERY_CELL
def test_gradients_are_those_of_pairs_of_real_numbers(name: str) -> None:
    checked(CELLS[name], 3, 2)


@pytest.mark.parametrize(("T", "B", "size"), [(1, 1, 1), (2, 1, 3)])
def test_sizes_of_one(T: int, B: int, size: int) -> None:
    checked(CELLS["lru"], T, B, dict.fromkeys(SIZES, size))


def test_no_step_has_zero_gradients_of_the_types_of_arguments() -> None:
    params, inputs, state, _ = case(CELLS["parts"], 0, 2)
    kernel = sb.compile(CELLS["parts"])
    run = kernel.forward(params, inputs, state)
    grads = kernel.backward(run, {"h": np.ones((2, 4), complex)})
    assert all(v.dtype == params[k].dtype and not v.any() for k, v in grads.params.items())
    np.testing.assert_array_equal(grads.state["h"], np.ones((2, 4)))


@EVERY_CELL
def test_single_precision_stays_single(name: str) -> None:
    cell, kernel = CELLS[name], sb.compile(CELLS[name])
    given = case(cell, 4, 2)[:3]
    small = [
        {k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in group.items()} for group in given
    ]
    found = []
    for arrays in (given, small):
        run = kernel.forward(*arrays)
        found.append((run, kernel.backward(run, {k: np.ones_like(v) for k, v in run.states.items()})))
    for k, v in found[1][0].states.items():
        assert v.dtype == (np.complex64 if np.iscomplexobj(found[0][0].states[k]) else np.float32)
    for k, v in found[1][1].params.items():
        assert v.dtype == small[0][k].dtype
        np.testing.assert_allclose(v, found[0][1].params[k], rtol=2e-3, atol=2e-3 * np.abs(v).max())


def test_types_that_do_not_go_together_are_refused() -> None:
    params, inputs, state, _ = case(CELLS["lru"], 2, 1)
    kernel = sb.compile(CELLS["lru"])
    with pytest.raises(sb.ArgumentError, match="nu: float32 or float64 is expected, got complex128"):
        kernel.forward(params | {"nu": params["nu"] + 0j}, inputs, state)
    with pytest.raises(sb.ArgumentError, match=r"B: complex64 or complex128 is expected, got float64; write .astype"):
        kernel.forward(params | {"B": params["B"].real}, inputs, state)
    with pytest.raises(sb.ArgumentError, match="complex64 among arrays of float64"):
        kernel.forward(params | {"B": params["B"].astype(np.complex64)}, inputs, state)


def test_several_blocks_of_steps_and_the_scan_agree_with_single_steps() -> None:
    # 700 steps are two blocks; with lengths the steps go one by one, without them they are joined by a scan.
    cell, kernel = CELLS["lru"], sb.compile(CELLS["lru"])
    params, inputs, state, random = case(cell, 700, 1)
    cotangents = {"y": random.normal(size=(700, 1, 2)), "h": drawn(random, (700, 1, 4), True)}
    plain, single = (kernel.forward(params, inputs, state, lengths=lengths) for lengths in (None, np.array([700])))
    assert "scanned = _scan(" in kernel.source
    np.testing.assert_allclose(plain.states["h"], single.states["h"], rtol=1e-9, atol=1e-12)
    one, other = kernel.backward(plain, cotangents), kernel.backward(single, cotangents)
    for k in params:
        np.testing.assert_allclose(one.params[k], other.params[k], rtol=1e-9, atol=1e-9)


def test_masks_freeze_and_reset_complex_states() -> None:
    cell, kernel = CELLS["parts"], sb.compile(CELLS["parts"])
    params, inputs, state, random = case(cell, 4, 2)
    lengths, reset = np.array([2, 4]), np.zeros((4, 2), bool)
    reset[3, 1] = True
    run = kernel.forward(params, inputs, state, lengths=lengths, reset=reset)
    np.testing.assert_array_equal(run.states["h"][3, 0], run.states["h"][1, 0])
    last = kernel.forward(params, {"x": inputs["x"][3:]}, state)
    np.testing.assert_allclose(run.states["h"][3, 1], last.states["h"][0, 1], rtol=1e-13)
    grads = kernel.backward(run, {"h": drawn(random, (2, 4), True)})
    assert not grads.inputs["x"][2, 1].any() and grads.inputs["x"][3, 1].all()  # no gradient crosses it
    assert not grads.inputs["x"][2:, 0].any() and grads.inputs["x"][1, 0].all()


@pytest.mark.parametrize("options", [
    {"memory": "sqrt"}, {"truncation": sb.Chunked(2, 3)}, {"truncation": sb.Window(2)}, {"clip_adjoint": 1e9},
], ids=str)  # fmt: skip
@pytest.mark.thinned(7)
def test_options_that_change_nothing_give_the_same_gradients(options: dict[str, Any]) -> None:
    cell = CELLS["parts"]
    T = 2
    params, inputs, state, random = case(cell, T, 2)
    cotangents = {
        "h": drawn(random, (T, 2, 4), True),
        "r": random.normal(size=(T, 2, 4)),
        "y": drawn(random, (T, 2), True),
    }
    found = []
    for kernel in (sb.compile(cell), sb.compile(cell, **options)):
        found.append(kernel.backward(kernel.forward(params, inputs, state), cotangents, monitor=True))
    for k in params:
        np.testing.assert_allclose(found[1].params[k], found[0].params[k], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[1].inputs["x"], found[0].inputs["x"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found[1].flow["h"], found[0].flow["h"], rtol=1e-10)
    assert found[1].flow["h"].dtype == float


def test_the_cotangent_is_that_along_which_a_loss_grows() -> None:
    @sb.cell
    def own(h: State["n", complex], z: Param["n", complex]):
        return {"h": h * 0.5 + z, "L": np.sum(np.abs(z) ** 2)}

    @sb.loss
    def loss(L: sb.Output):
        return L

    z = np.array([1 + 2j, -3j])
    kernel = sb.compile(sb.model(own, loss))
    value, grads = kernel.value_and_grad({"z": z}, steps=1)
    np.testing.assert_allclose(grads.params["z"], 2 * z)  # ∂(x² + y²)/∂x + i ∂(x² + y²)/∂y
    less, _ = kernel.value_and_grad({"z": z - 0.1 * grads.params["z"]}, steps=1)
    assert less < value


def test_at_zero_slopes_are_zero_as_torch_has_them() -> None:
    @sb.cell
    def own(h: State["n"], z: Input["n", complex]):
        return h + np.abs(z) + np.angle(z)

    kernel = sb.compile(own)
    run = kernel.forward({}, {"z": np.zeros((1, 1, 2), complex)}, {"h": np.zeros((1, 2))})
    assert not kernel.backward(run, {"h": np.ones((1, 1, 2))}).inputs["z"].any()


def test_a_missing_conjugate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vjp, "conjugate", lambda g, x: x)
    with pytest.raises(AssertionError):
        checked(sb.cell(CELLS["lru"].function), 2, 1)


def test_a_missing_real_part_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vjp, "like", lambda g, given, value: given)
    with pytest.raises(AssertionError):
        checked(sb.cell(CELLS["lru"].function), 2, 1)


REFUSED: dict[str, tuple[Any, str]] = {
    "a comparison": (lambda z: np.where(z > 0, z, 0), "greater of complex numbers, which have no order"),
    "a maximum": (lambda z: np.maximum(z, 0), "maximum of complex numbers"),
    "the largest": (lambda z: z / np.max(z), "the greatest of complex numbers"),
    "relu": (lambda z: sb.relu(z), "no rule for its derivative is proved"),
    "sign": (lambda z: np.sign(z), "sign of complex numbers"),
    "a root": (lambda z: np.sqrt(z), "sqrt of complex numbers"),
    "a broken power": (lambda z: z**0.5, "power that is no integer"),
    "a norm": (lambda z: z / np.linalg.norm(z), "a norm of complex numbers"),
    "a variance": (lambda z: z * np.var(z), "a variance of complex numbers"),
    "softmax": (lambda z: sb.softmax(z), "np.abs"),
    "a solve": (lambda z: np.linalg.solve(np.outer(z, z), z), "a function of complex matrices"),
    "rounds of two kinds": (
        lambda z: sb.repeat(lambda v: np.abs(v), z, 3),
        "makes real numbers of z, which is complex",
    ),
    "a fixed point": (lambda z: sb.fixed_point(lambda v: v * 0.5 + z, z), "a fixed point of complex numbers"),
    "a condition": (lambda z: np.where(z, z, 0), "a complex number as a condition"),
    "a sort": (lambda z: np.sort(z), "complex"),
    "a floor": (lambda z: np.floor(z), "floor of complex numbers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_rule_is_refused_with_a_cure(what: str) -> None:
    body, words = REFUSED[what]

    @sb.cell
    def own(h: State["n", complex]):
        return body(h)

    with pytest.raises(sb.CellError, match=words) as found:
        assert own.step
    assert len(str(found.value).splitlines()) == 3


def test_results_of_another_kind_are_refused() -> None:
    @sb.cell
    def own(h: State["n"], z: Param["n", complex]):
        return h * z

    with pytest.raises(
        sb.CellError, match=r'complex, the state is real\n.*\n.*State\["n", complex\], or return its .real'
    ):
        assert own.step

    @sb.cell
    def good(h: State["n", complex]):
        return h * 1j

    @sb.loss
    def loss(h: State["n", complex]):
        return np.sum(h)

    with pytest.raises(sb.CellError, match=r"real"):
        assert sb.model(good, loss).loss.step


def test_a_real_value_may_be_the_next_of_a_complex_state() -> None:
    @sb.cell
    def own(h: State["n", complex], w: Param["n"]):
        return w * np.abs(h)

    checked(own, 2, 1)


def test_spellings_of_numpy() -> None:
    @sb.cell
    def own(z: Input["n", complex], h: State["n", complex]):
        a = np.conj(z) + z.conjugate() + np.real(z) * 1j - np.imag(z) + (2 - 3j) * h
        b = (
            np.vdot(z, h)
            + np.vecdot(z, 1j * h)
            + np.vecmat(z, np.outer(z, h)).sum()
            + np.zeros(z.shape, complex).sum()
            + np.angle(z, deg=True).mean()
        )
        return a * 0.1 + b * (1 + 0j) / 50 + np.reciprocal(1.5j + np.square(np.abs(h)))

    checked(own, 2, 1, {"n": 3})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "number", [lambda n: np.exp(1j * n), lambda n: np.conj(2j * n), lambda n: np.sqrt(n) * (1 + 0j)]
)
def test_a_number_of_sizes_may_be_complex(number: Any) -> None:
    @sb.cell
    def own(z: Input["n", complex], h: State["n", complex]):
        return 0.1 * h + np.vdot(z, h) * number(h.shape[0]) / 50

    checked(own, 2, 1, {"n": 3})


def test_parameters_start_complex() -> None:
    first = CELLS["urnn"].init({"m": 3, "k": 2}, seed=1, dtype=np.float32)
    assert first["V"].dtype == np.complex64 and first["U"].dtype == np.float32 and first["V"].imag.any()
    square = CELLS["parts"].init({"n": 5})["W"]
    np.testing.assert_allclose(square.conj().T @ square, np.eye(5), atol=1e-12)


def test_a_page_is_in_complex_form() -> None:
    text = sb.derive(CELLS["lru"]).text()
    for line in (
        "i θ - exp(ν)", "Cᴴ dy_t", "dC = Σ_t dy_t h_tᴴ", "Re(C h_t) + D x_t",
        "dθ = Im(da_λ)", "dν = -Re(", "i: the imaginary unit; the cotangent of a complex v is ∂L/∂Re(v) + i ∂L/∂Im(v)",
    ):  # fmt: skip
        assert line in text, line
    assert r"C^{\mathsf{H}}" in sb.derive(CELLS["lru"]).latex()


def swapped(function: Any, namespace: Any, own: Any) -> Any:
    """Return a user's function that calls another library in the place of NumPy."""
    names = {
        k: swapped(v, namespace, own) if isinstance(v, types.FunctionType) else v for k, v in function.__globals__.items()
        if k in function.__code__.co_names
    }  # fmt: skip
    return types.FunctionType(function.__code__, {**names, "np": namespace, "sb": own}, closure=function.__closure__)


@pytest.mark.peers
@EVERY_CELL
@pytest.mark.thinned(1, 2)
def test_gradients_are_the_conjugates_of_those_of_jax(name: str) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    cell, T, B = CELLS[name], 4, 2
    params, inputs, state, random = case(cell, T, B)
    kernel = sb.compile(cell)
    run = kernel.forward(params, inputs, state)
    cotangents = {k: drawn(random, v.shape, np.iscomplexobj(v)) for k, v in (run.states | run.outputs).items()}
    grads = kernel.backward(run, cotangents)
    step = swapped(cell.function, jnp, types.SimpleNamespace(relu=jax.nn.relu))

    def loss(p: Arrays, i: Arrays, s: Arrays) -> Any:
        total: Any = 0.0
        for b in range(B):
            now = {k: v[b] for k, v in s.items()}
            for t in range(T):
                made = step(**p, **{k: v[t, b] for k, v in i.items()}, **now)
                now = {k: made[k] for k in s}
                total = total + sum(jnp.sum(jnp.real(jnp.conj(cotangents[k][t, b]) * made[k])) for k in cotangents)
        return total

    wanted = jax.grad(loss, (0, 1, 2))(params, inputs, state)
    for mine, other in zip((grads.params, grads.inputs, grads.state), wanted, strict=True):
        for k, v in other.items():
            scale = np.abs(v).max()
            np.testing.assert_allclose(mine[k], np.conj(v), rtol=1e-9, atol=1e-11 * scale, err_msg=k)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["lru", "s4d", "s5"])
def test_gradients_are_those_of_torch(name: str) -> None:
    import torch

    cell, T = CELLS[name], 4
    params, inputs, state, random = case(cell, T, 1)
    kernel = sb.compile(cell)
    run = kernel.forward(params, inputs, state)
    cotangents = {k: drawn(random, v.shape, np.iscomplexobj(v)) for k, v in (run.states | run.outputs).items()}
    grads = kernel.backward(run, cotangents)
    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in (params | state).items()}
    # torch refuses products of real and complex matrices, which NumPy and a cell know.
    inputs = {k: torch.tensor(v + 0j) for k, v in inputs.items()}
    own = types.SimpleNamespace(exp=torch.exp, abs=torch.abs, sqrt=torch.sqrt, sum=lambda x, axis: torch.sum(x, axis))
    step, now, total = swapped(cell.function, own, None), {k: leaves[k][0] for k in state}, 0.0
    weights = {k: leaves[k] + (0j if k == "D" and leaves[k].ndim == 2 else 0) for k in params}
    for t in range(T):
        made = step(**weights, **{k: v[t, 0] for k, v in inputs.items()}, **now)
        now = {k: made[k] for k in state}
        for k, c in cotangents.items():
            total = total + torch.sum(torch.real(torch.tensor(c[t, 0]).conj() * made[k]))
    total.backward()
    for k in params:
        np.testing.assert_allclose(grads.params[k], leaves[k].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=k)
    for k in state:
        np.testing.assert_allclose(grads.state[k], leaves[k].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=k)


@sb.cell
def small(x: Input["m", complex], h: State["n", complex], A: Param["n n", complex], a: Param["n"]):
    return {"h": A @ np.tanh(h) * np.exp(1j * a) + x.sum(), "y": np.abs(h) ** 2}


@pytest.mark.long
def test_verify_compares_with_the_function_on_pairs_of_real_numbers() -> None:
    report = sb.verify(small, proof=False)
    assert report.passed and all(row.method != "central differences" for row in report.rows)
    assert {"dA", "da", "dx", "dh_0"} <= {row.name for row in report.rows}


@pytest.mark.long
def test_verify_says_what_is_not_proved() -> None:
    report = sb.verify(small)
    assert report.passed and "not verified: the loops behind each pass" in str(report)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_verify_catches_a_missing_conjugate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vjp, "conjugate", lambda g, x: x)
    report = sb.verify(sb.cell(small.function), proof=False)
    assert not report.passed and "dA" in report.wrong


@pytest.mark.long
def test_a_backward_pass_of_complex_numbers_is_checked() -> None:
    @sb.cell
    def plain(h: State["n", complex], a: Param["n", complex], x: Input["n"]):
        return a * h + x

    def backward(params, inputs, state, sent):
        h, dh, da = [state["h"]], 0 * state["h"], 0 * params["a"]
        for x in inputs["x"]:
            h.append(params["a"] * h[-1] + x)
        dx = np.zeros(inputs["x"].shape)
        for t in reversed(range(len(inputs["x"]))):
            dh = dh + sent["h"][t]
            dx[t], da = dh.real, da + np.sum(dh * h[t].conj(), 0)
            dh = params["a"].conj() * dh
        return {"a": da, "x": dx, "h": dh}

    assert sb.check_backward(plain, backward).passed
    wrong = sb.check_backward(plain, lambda *given: backward(*given) | {"a": backward(*given)["a"].conj()})
    assert wrong.wrong == ("da",)


@sb.loss
def distance(h: State["n", complex], goal: sb.Target["n", complex]):
    return np.sum(np.abs(h - goal) ** 2) / 2


@pytest.mark.long
def test_a_model_of_complex_numbers_is_verified() -> None:
    assert sb.verify(sb.model(small, distance, reduction="mean"), proof=False).passed


def test_a_loss_says_of_which_kind_its_arguments_are() -> None:
    @sb.loss
    def other(h: State["n"]):
        return np.sum(h)

    with pytest.raises(sb.CellError, match=r"is complex, the loss says real\n(.*\n)*.*State\[\"n\", complex\]"):
        sb.model(small, other)


REAL_ALONE: dict[str, Any] = {
    "a Jacobian": lambda cell: sb.derive(cell).jacobian("h", "h").text(),
    "routes": lambda cell: sb.derive(cell).paths("h", "h"),
    "SymPy": lambda cell: sb.derive(cell).to_sympy(),
    "an explanation": lambda cell: sb.derive(cell).explain(),
    "a drawing": lambda cell: sb.unroll(cell, steps=2),
    "C": sb.c_source,
    "an analysis": lambda cell: sb.analyze(cell, *case(cell, 6, 2)[:3]),
    "a theorem": lambda cell: sb.vanishing_condition(cell),
    "a trace of cotangents": lambda cell: sb.trace_gradient(sb.compile(cell), None, {}),
    "a watch": lambda cell: sb.Watch(cell),
    "a horizon": lambda cell: sb.init_for_horizon(cell, 10, case(cell, 6, 2)[0], case(cell, 6, 2)[1]),
    "torch": lambda cell: sb.torch_source(cell),
    "JAX": lambda cell: sb.jax_source(cell),
    "fixed points": lambda cell: sb.fixed_points(cell, case(cell, 1, 1)[0], {"x": np.zeros(3)}),
}


@pytest.mark.parametrize("what", REAL_ALONE)
def test_what_is_known_of_real_numbers_alone_says_so(what: str) -> None:
    with pytest.raises(sb.CellError, match=r"has complex numbers(.*\n)*.*give it sb.real_pairs\(lru\)"):
        REAL_ALONE[what](CELLS["lru"])


def test_pairs_of_real_numbers_have_jacobians() -> None:
    pairs = sb.real_pairs(CELLS["lru"])
    params, inputs, state, _ = case(CELLS["lru"], 1, 1)
    own = {k: np.stack([v.real, v.imag]) if np.iscomplexobj(v) else v for k, v in params.items()}
    h = np.stack([state["h"][0].real, state["h"][0].imag])
    found = sb.derive(pairs).jacobian("h", "h").evaluate(own, {"x": inputs["x"][0, 0]}, {"h": h}).reshape(8, 8)
    lam = np.exp(-np.exp(params["nu"]) + 1j * params["theta"])
    wanted = np.block([[np.diag(lam.real), -np.diag(lam.imag)], [np.diag(lam.imag), np.diag(lam.real)]])
    np.testing.assert_allclose(found, wanted, atol=1e-14)


@sb.cell
def squares(x: Input["n", complex], h: State["n", complex], z_bar: State["n"], U: Param["n n", complex]) -> Any:
    """A square without a conjugate and one with it, and a name that has a bar."""
    e = h - U @ x.conj()
    N = np.sqrt(np.sum(np.abs(e) ** 2))
    return {"h": 1j * (U @ h.conj()) / (1 + N) + z_bar, "z_bar": np.tanh(np.imag(e)), "s": ((h - x) @ (h - x)).real}


@pytest.mark.long
@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("name", ["squares", *CELLS])
def test_pages_read_as_the_kernel_computes(name: str, style: str) -> None:
    cell = squares if name == "squares" else CELLS[name]
    own = {size for a in cell.arguments for size in names_in(a.shape)}
    sizes = {size: value for size, value in {"m": 3, "n": 5, "k": 2, "p": 6}.items() if size in own}
    params, inputs, state, _ = case(cell, STEPS, 1, sizes)
    data = Data(params, inputs, state, STEPS, 1)
    assert_read(cell, sizes, style, given=data)
    assert_read(cell, sizes, style, as_latex_textbook if style == "textbook" else as_latex, data)


def test_a_bar_is_a_conjugate_where_no_name_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.derive(squares).text()
    assert "conj(h_{t-1})" in text and "(h_{t-1} - x_t)ᵀ (h_{t-1} - x_t)" in text and "‖v‖² = vᴴ v" in text
    assert "‖h" not in text and "h̄" in sb.derive(CELLS["lru"]).text()
    monkeypatch.setattr(signs, "has_bar", lambda names: False)
    assert "conj(h_{t-1})" not in sb.derive(sb.cell(squares.function)).text()


@sb.loss
def tells(h: State["n", complex], y: sb.Target["k"], V: Param["k n", complex]):
    z = V @ h
    return {"loss": np.sum(np.abs(z - y) ** 2), "z": z, "p": np.abs(z)}


@pytest.mark.long
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(1, 2)
def test_a_model_of_complex_numbers_is_verified_with_what_it_predicts(at: str) -> None:
    report = sb.verify(sb.model(CELLS["lru"], tells, at=at), proof=False)
    assert report.passed and {"value", "z", "p"} <= {row.name for row in report.rows}


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")  # memory is measured, whatever the numbers
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "lru" else pytest.mark.long) for name in CELLS]
)
@pytest.mark.thinned(1, 2)
def test_no_call_takes_more_than_is_planned(name: str) -> None:
    """Real numbers beside complex ones count as such, so that the plan is no less than what lives."""
    cell = CELLS[name]
    kernel, sizes = sb.compile(cell), dict.fromkeys(sorted({n for a in cell.arguments for n in names_in(a.shape)}), 24)
    params, inputs, state, _ = case(cell, 800, 6, sizes)
    run = kernel.forward(params, inputs, state)
    sent = {k: np.ones_like(v) for k, v in (run.states | run.outputs).items()}
    del run
    peaks = []
    for _ in range(2):
        kernel.workspace.rooms.clear()
        tracemalloc.start()
        begun = tracemalloc.get_traced_memory()[0]
        kernel.backward(kernel.forward(params, inputs, state), sent)
        peaks.append(tracemalloc.get_traced_memory()[1] - begun)
        tracemalloc.stop()
    planned = kernel.plan.peak(800, 6, **sizes)
    assert 0.45 * planned < peaks[-1] <= 1.01 * planned  # 1.97 times as much where a complex number was counted as one


def test_a_budget_in_bytes_is_kept() -> None:
    @sb.cell
    def own(x: Input["n", complex], h: State["n", complex], a: Param["n", complex]):
        return a * np.abs(h) + x

    model, sizes = sb.model(own, tells), {"n": 16, "k": 2}
    kernel = sb.compile(model, memory=3_000_000)
    random = np.random.default_rng(0)
    params, x = model.init(sizes), {"x": random.standard_normal((2000, 4, 16)) + 0j}
    y = {"y": random.standard_normal((2000, 4, 2))}
    for _ in range(2):  # the first call makes objects that stay
        tracemalloc.start()
        begun = tracemalloc.get_traced_memory()[0]
        kernel.value_and_grad(params, x, y)
        peak = tracemalloc.get_traced_memory()[1] - begun
        tracemalloc.stop()
    assert 1_500_000 < peak <= 3_000_000
