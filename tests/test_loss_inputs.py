"""A loss that reads inputs of its cell, as a reconstruction does: their gradients have its part."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.verification.saved import kernel_of as saved_kernel
from symbptt.verification.saved import read_module
from tests.kernels import kernel_of

STEP = 1e-30


@sb.cell
def reads(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h)


@sb.loss
def rebuilt(h: State["n"], x: Input["m"], V: Param["m n"]):
    e = V @ h - x
    return {"loss": sb.sum(e * e) / 2, "guess": V @ h}


MODELS = [sb.model(reads, rebuilt, at=at, reduction="mean") for at in ("every", "last")]  # type: ignore[arg-type]
OPTIONS: list[Any] = [{}, {"memory": "sqrt"}, {"truncation": sb.Chunked(2, 9)}, {"truncation": sb.Window(9)}]


def _data(T: int) -> tuple[dict[str, Any], Any, Any]:
    random = np.random.default_rng(T)
    params = {k: random.standard_normal(v.shape) for k, v in MODELS[0].init({"m": 2, "n": 3}).items()}
    return params, random.standard_normal((T, 3, 2)), np.array([T, 0, T // 2])


def _loss(at: str, params: dict[str, Any], x: Any, lengths: Any) -> Any:
    values: list[Any] = []
    for b, length in enumerate(lengths):
        h = np.zeros(3)
        for t in range(length):
            h = np.tanh(params["W"] @ x[t, b] + params["U"] @ h)
            if at == "every" or t == length - 1:
                values.append(np.sum((params["V"] @ h - x[t, b]) ** 2) / 2)
    return sum(values) / max(len(values), 1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.at)
def test_inputs_have_the_gradient_of_the_loss_too(model: sb.Model, options: Any) -> None:
    for T in (0, 1, 4):
        params, x, lengths = _data(T)
        loss, grads = kernel_of(model, **options).value_and_grad(params, {"x": x}, {}, lengths=lengths)
        assert loss == pytest.approx(_loss(model.at, params, x, lengths), rel=1e-13, abs=1e-15)
        for name, value in {**grads.params, **grads.inputs}.items():
            along = np.random.default_rng(1).standard_normal(value.shape)
            moved, data = dict(params), x
            if name == "x":
                data = x + 1j * STEP * along
            else:
                moved[name] = params[name] + 1j * STEP * along
            slope = np.imag(_loss(model.at, moved, data, lengths)) / STEP
            assert np.sum(value * along) == pytest.approx(slope, rel=1e-11, abs=1e-14), name


@pytest.mark.long
def test_verify_compares_a_saved_file(tmp_path: Path) -> None:
    path = tmp_path / "rebuilt.py"
    kernel_of(MODELS[0]).save(path)
    assert sb.verify(MODELS[0], module=path).passed


def test_saved_files_pickles_and_pages(tmp_path: Path) -> None:
    model = MODELS[0]
    kernel = kernel_of(model)
    path = tmp_path / "rebuilt.py"
    kernel.save(path)
    again = pickle.loads(pickle.dumps(kernel))
    params, x, _ = _data(4)
    assert again.value(params, {"x": x}, {}) == kernel.value(params, {"x": x}, {})
    assert saved_kernel(read_module(path), model).source == kernel.source
    for style in ("textbook", "loop"):
        text = sb.derive(model).text(style=style)  # type: ignore[arg-type]
        assert text.count("\n  dx_t = dL/dx_t + Wᵀ da_t") == 1 and text.count("\n  dx_t") == 1


def test_tangents_of_inputs_are_those_of_the_loss() -> None:
    params, x, _ = _data(4)
    along = np.random.default_rng(2).standard_normal(x.shape)
    kernel = kernel_of(MODELS[0])
    _, slope = kernel.jvp(params, {"x": x}, tangents={"x": along}, targets={})
    assert slope == pytest.approx(np.sum(kernel.value_and_grad(params, {"x": x}, {})[1].inputs["x"] * along), rel=1e-12)


def test_what_is_no_input_of_the_cell_is_refused() -> None:
    @sb.loss
    def other(h: State["n"], z: Input["m"]):
        return sb.sum(h) * sb.sum(z)

    with pytest.raises(sb.CellError, match=r"reads has no input 'z'[\s\S]*in the loss other"):
        sb.model(reads, other)

    @sb.loss
    def wide(h: State["n"], x: Input["n"]):
        return sb.sum(h * x)

    with pytest.raises(sb.ShapeError, match=r"'x' of reads has shape \(m,\), the loss says \(n,\)"):
        sb.model(reads, wide)


@pytest.mark.peers
def test_torch_and_jax_have_the_same_gradients() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    params, x, _ = _data(4)
    loss, grads = kernel_of(MODELS[0]).value_and_grad(params, {"x": x}, {})
    net = sb.torch(MODELS[0], {"m": 2, "n": 3}).double()
    for name, p in net.named_parameters():
        p.data = torch.tensor(params[name])
    given = torch.tensor(x, requires_grad=True)
    found = net({"x": given}, {})
    found = found[0] if isinstance(found, tuple) else found
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(given.grad.numpy(), grads.inputs["x"], rtol=1e-11, atol=1e-13)
    f = sb.jax(MODELS[0])

    def of(x: Any) -> Any:
        found = f(params, {"x": x}, {})
        return found[0] if isinstance(found, tuple) else found

    np.testing.assert_allclose(jax.grad(of)(x), grads.inputs["x"], rtol=1e-11, atol=1e-13)
