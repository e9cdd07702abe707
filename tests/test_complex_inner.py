"""Rounds of complex numbers inside a step, and gradients by complex arrays: beside differences, pairs of real numbers and JAX."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt.autodiff import vjp
from symbptt.codegen.targets.numpy.passes.temporaries import Temporaries
from tests.test_complex import case, checked, drawn, swapped

SIZES = {"m": 2, "n": 3, "L": 2}


@sb.cell
def relaxed(x: sb.Input["n"], h: sb.State["n", complex], U: sb.Param["L n n", complex], a: sb.Param["n"]) -> Any:
    """Rounds of two carried arrays, a real one that becomes complex and a complex one, as often as a named size says."""

    def turned(pair: Any, k: Any) -> Any:
        r, z = pair
        z = np.tanh(U[k] @ z) * np.exp(1j * a) + x
        return 0.5 * r + z, z

    r, z = sb.repeat(turned, (np.zeros_like(x), h), U.shape[0])
    return {"h": z, "y": np.abs(r) ** 2}


@sb.cell
def descended(
    x: sb.Input["m"], h: sb.State["n", complex], A: sb.Param["m n", complex], q: sb.Param["n"], rate: sb.Param
) -> Any:
    """Two steps down an energy of a complex and of a real array, with the complex array closed over also."""

    def energy(z: Any, q: Any) -> Any:
        e = A @ (q * z) - x
        return np.sum((e * np.conj(e)).real) + np.sum(np.cos(z.imag)) + np.sum((h * np.conj(h)).real * q)

    z = h
    for _ in range(2):
        of_z, of_q = sb.grad(energy, argnums=(0, 1))(z, q)
        z = z - 0.1 * rate * of_z * (1 + 0.1 * of_q)
    return {"h": z, "e": energy(z, q)}


@sb.cell
def in_rounds(x: sb.Input["m"], h: sb.State["n", complex], A: sb.Param["m n", complex], rate: sb.Param) -> Any:
    """Gradients by complex arrays inside rounds of them."""

    def energy(z: Any) -> Any:
        return sb.sum(np.tanh((A @ z - x).real) ** 2) + 0.1 * sb.sum(z.imag**2)

    return sb.repeat(lambda z: z - 0.2 * rate * sb.grad(energy)(z), h, 2)


CELLS = {cell.name: cell for cell in (relaxed, descended, in_rounds)}
EVERY = pytest.mark.parametrize("name", CELLS)


@EVERY
def test_values_and_gradients_are_those_of_the_function_on_complex_numbers(name: str) -> None:
    checked(CELLS[name], 3, 2, SIZES)


@pytest.mark.parametrize(("T", "B", "size"), [(0, 2, 2), (1, 1, 1), (2, 1, 2)])
@EVERY
@pytest.mark.thinned(5)
def test_edge_sizes(name: str, T: int, B: int, size: int) -> None:
    checked(CELLS[name], T, B, dict.fromkeys(SIZES, size))


def test_single_precision_stays_single() -> None:
    params, inputs, state, _ = case(relaxed, 2, 1, SIZES)
    single = [{k: v.astype(np.complex64 if np.iscomplexobj(v) else np.float32) for k, v in g.items()}
              for g in (params, inputs, state)]  # fmt: skip
    kernel = sb.compile(relaxed)
    run = kernel.forward(*single)
    grads = kernel.backward(run, {"h": run.states["h"]})
    assert run.states["h"].dtype == np.complex64 and run.outputs["y"].dtype == np.float32
    assert {k: v.dtype for k, v in grads.params.items()} == {"U": np.complex64, "a": np.float32}


@sb.cell
def rounds(x: sb.Input["n"], h: sb.State["n", complex], A: sb.Param["n n", complex]) -> Any:
    return sb.repeat(lambda z: np.tanh(A @ z) + x, h, 3)


@sb.cell
def nearest(x: sb.Input["n"], h: sb.State["n", complex], A: sb.Param["n n", complex]) -> Any:
    return h - 0.1 * sb.grad(lambda z: np.sum(np.abs(A @ z - x) ** 2))(h)


@sb.cell
def scaled(x: sb.Input["n"], h: sb.State["n", complex], A: sb.Param["n n", complex], r: sb.Param["n"]) -> Any:
    return h * (1 - 0.1 * sb.grad(lambda q: np.sum(np.abs(A @ (q * h) - x) ** 2))(r))


@pytest.mark.proof
@pytest.mark.long
@pytest.mark.thinned(1, 7)
@pytest.mark.parametrize("cell", [rounds, nearest, scaled], ids=lambda cell: cell.name)
def test_verify_proves_them(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed and report.proof is not None and not report.proof.unproved, str(report)


def test_a_copy_that_drops_the_imaginary_part_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake is the one that was there: copies for products of a block were real."""
    like = Temporaries.like
    monkeypatch.setattr(Temporaries, "like", lambda self, out, moving=None, dtype="float": like(self, out, moving))
    with pytest.raises(TypeError, match="complex128"):
        checked(sb.cell(relaxed.function), 2, 2, SIZES)


def test_a_missing_real_part_of_an_inner_gradient_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vjp, "like", lambda g, given, value: given)
    with pytest.raises((AssertionError, sb.CellError)):
        checked(sb.cell(descended.function), 2, 1, SIZES)


def test_a_gradient_of_a_complex_number_is_refused() -> None:
    @sb.cell
    def own(h: sb.State["n", complex]) -> Any:
        return sb.grad(lambda v: np.sum(v * v))(h)

    with pytest.raises(sb.CellError, match=r"whose value is a real number(.*\n)*.*return its \.real"):
        assert own.step


@pytest.mark.peers
@EVERY
@pytest.mark.thinned(1, 2)
def test_gradients_are_the_conjugates_of_those_of_jax(name: str) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    cell, T = CELLS[name], 3
    params, inputs, state, random = case(cell, T, 1, SIZES)
    kernel = sb.compile(cell)
    run = kernel.forward(params, inputs, state)
    cotangents = {k: drawn(random, v.shape, np.iscomplexobj(v)) for k, v in (run.states | run.outputs).items()}
    grads = kernel.backward(run, cotangents)

    def repeat(step: Any, z: Any, times: Any) -> Any:
        for k in range(int(times)):
            z = step(z, k) if isinstance(z, tuple) else step(z)
        return z

    def grad(f: Any, argnums: Any = 0) -> Any:
        # JAX has the conjugate of the cotangent of a complex number.
        return lambda *z: jax.tree_util.tree_map(jnp.conj, jax.grad(f, argnums)(*z))

    step = swapped(cell.function, jnp, types.SimpleNamespace(repeat=repeat, grad=grad, sum=jnp.sum))

    def loss(p: Any, i: Any, s: Any) -> Any:
        total: Any = 0.0
        now = {k: v[0] for k, v in s.items()}
        for t in range(T):
            made = step(**p, **{k: v[t, 0] for k, v in i.items()}, **now)
            made = made if isinstance(made, dict) else {"h": made}
            now = {k: made[k] for k in s}
            total = total + sum(jnp.sum(jnp.real(jnp.conj(cotangents[k][t, 0]) * made[k])) for k in cotangents)
        return total

    wanted = jax.grad(loss, (0, 1, 2))(params, inputs, state)
    for mine, other in zip((grads.params, grads.inputs, grads.state), wanted, strict=True):
        for k, v in other.items():
            np.testing.assert_allclose(mine[k], np.conj(v), rtol=1e-9, atol=1e-11 * np.abs(v).max(), err_msg=k)
