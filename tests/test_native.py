"""Modules for torch and JAX: their text, and in the frameworks the values and gradients of the NumPy kernel."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Param, State
from symbptt.codegen.load import load
from symbptt.commands.main import run as run_command
from tests.kernels import kernel_of
from tests.native_cells import CELLS, arguments, gated, masks, plain, tables

SOURCES = {"torch": sb.torch_source, "jax": sb.jax_source}
SHAPES = ((5, 3, False), (5, 3, True), (1, 1, True), (2, 1, False), (0, 2, False))
CASES = [(cell, *shape) for cell in CELLS for shape in SHAPES]


@pytest.mark.parametrize("framework", SOURCES)
def test_text_of_plain_cell(framework: str) -> None:
    text = SOURCES[framework](plain)
    assert ast.parse(text)
    name = {"torch": "torch", "jax": "jnp"}[framework]
    for line in (
        "    a_in = x @ W.T + b  # W x_t + b",
        f"        h = {name}.tanh(a_in + h_prev @ U.T)  # h_t = tanh(W x_t + b + U h_{{t-1}})",
        "    da_dh = 1 - h ** 2  # da_{dh,t} = 1 - h_t²",
        "        da = dh * da_dh  # da_t = dh_t ⊙ (1 - h_t²)",
        "        dh_prev = da @ U  # dh_{t-1} = Uᵀ da_t",
        "    dU = da.reshape(T * B, n).T @ h_prev.reshape(T * B, n)  # dU = Σ_t da_t h_{t-1}ᵀ",
        "    dx = da @ W  # dx_t = Wᵀ da_t",
    ):
        assert line in text.splitlines(), line
    modules = {part for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)
               for part in [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name]}  # fmt: skip
    assert modules == {framework, "functools"} | ({"jax.numpy"} if framework == "jax" else set())


@pytest.mark.parametrize("framework", SOURCES)
def test_text_is_the_same_twice_and_holds_only_what_it_needs(framework: str) -> None:
    assert SOURCES[framework](gated) == SOURCES[framework](gated)
    assert "def _gathered" not in SOURCES[framework](plain) and "def _collected" in SOURCES[framework](tables)


def test_command_writes_a_module(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "rnn_torch.py"
    assert run_command(["generate", "rnn", "--target", "torch", "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == sb.torch_source(sb.zoo.rnn)
    assert run_command(["generate", "rnn", "--target", "jax"]) == 0
    assert capsys.readouterr().out == sb.jax_source(sb.zoo.rnn)


def test_what_lacks_is_refused_by_name() -> None:
    @sb.cell
    def named_rounds(h: State["n"], w: Param["k n"]):
        return sb.repeat(lambda z: np.tanh(z), h, h.shape[0]) + w.sum(0)

    with pytest.raises(sb.CellError, match="times"):
        sb.torch_source(named_rounds)
    with pytest.raises(sb.ArgumentError, match="torch_source takes a cell, got int"):
        sb.torch_source(3)

    @sb.loss
    def squared(h: State["n"]):
        return sb.sum(h * h)

    with pytest.raises(sb.ArgumentError, match="is a model, jax_source takes cells"):
        sb.jax_source(sb.model(plain, squared))


def expected(cell: Any, T: int, B: int, masked: bool) -> Any:
    """Arguments, options, cotangents, and the values and gradients of the kernel."""
    params, inputs, state, options = arguments(cell, T, B)
    options |= masks(T, B) if masked else {}
    kernel = kernel_of(cell)
    run = kernel.forward(params, inputs, state, **options)
    values = {**run.states, **run.outputs}
    random = np.random.default_rng(2)
    cotangents = {name: random.standard_normal(value.shape) for name, value in values.items()}
    grads = kernel.backward(run, cotangents)
    return (params, inputs, state), options, cotangents, values, (grads.params, grads.inputs, grads.state)


def assert_close(found: Any, wanted: Any, name: str) -> None:
    size = max(1.0, np.abs(wanted).max(initial=0))
    assert np.shape(found) == np.shape(wanted), name
    assert np.abs(np.asarray(found) - wanted).max(initial=0) <= 1e-10 * size, name


def module_of(framework: str, cell: Any, change: tuple[str, str] = ("", "")) -> Any:
    text = SOURCES[framework](cell)
    assert change[0] in text
    return load(text.replace(*change) if change[0] else text, f"<{framework} {cell.name}>")


def compare_torch(cell: Any, T: int, B: int, masked: bool, change: tuple[str, str] = ("", "")) -> None:
    torch = pytest.importorskip("torch")
    given, options, cotangents, values, grads = expected(cell, T, B, masked)
    tensors = [{k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in group.items()} for group in given]
    options = {k: v if k == "steps" else torch.tensor(v) for k, v in options.items()}
    states, outputs, final = module_of("torch", cell, change).run(*tensors, **options)
    found = {**states, **outputs}
    for name, value in values.items():
        assert_close(found[name].detach().numpy(), value, name)
    for name, value in final.items():
        assert_close(value.detach().numpy(), values[name][-1] if T else given[2][name], name)
    sum((found[k] * torch.tensor(v)).sum() for k, v in cotangents.items()).backward()
    for mine, theirs in zip(tensors, grads, strict=True):
        for name, value in theirs.items():
            grad = mine[name].grad
            assert_close(np.zeros_like(value) if grad is None else grad.numpy(), value, f"d{name}")


def compare_jax(cell: Any, T: int, B: int, masked: bool, change: tuple[str, str] = ("", "")) -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        given, options, cotangents, values, grads = expected(cell, T, B, masked)
        module = module_of("jax", cell, change)
        floats = [{k: v for k, v in group.items() if v.dtype.kind == "f"} for group in given]

        def value(params: Any, inputs: Any, state: Any) -> Any:
            states, outputs = module.run(params, {**given[1], **inputs}, state, **options)
            found = {**states, **outputs}
            return sum((found[k] * v).sum() for k, v in cotangents.items()), found

        derived, found = jax.jit(jax.grad(value, (0, 1, 2), has_aux=True))(*floats)
        for name in values:
            assert_close(found[name], values[name], name)
        for mine, theirs in zip(derived, grads, strict=True):
            for name, wanted in theirs.items():
                assert_close(mine[name], wanted, f"d{name}")


@pytest.mark.peers
@pytest.mark.parametrize(("cell", "T", "B", "masked"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_torch_equals_the_kernel(cell: Any, T: int, B: int, masked: bool) -> None:
    compare_torch(cell, T, B, masked)


@pytest.mark.peers
@pytest.mark.parametrize(("cell", "T", "B", "masked"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_jax_equals_the_kernel(cell: Any, T: int, B: int, masked: bool) -> None:
    compare_jax(cell, T, B, masked)


@pytest.mark.peers
@pytest.mark.parametrize("compare", [compare_torch, compare_jax])
def test_a_planted_mistake_is_seen(compare: Any) -> None:
    with pytest.raises(AssertionError, match="dW|dU|dx"):
        compare(plain, 5, 3, False, ("da_dh = 1 - h ** 2", "da_dh = 1 - h"))
    with pytest.raises(AssertionError, match="dW|dU|dx|dh"):
        compare(plain, 5, 3, False, ("dh_prev = da @ U", "dh_prev = 0.9 * da @ U"))
