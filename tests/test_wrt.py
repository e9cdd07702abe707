"""Gradients of some arguments alone: those of the kernel with all of them, by fewer calls."""

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Output, Param, State, Target
from symbptt.codegen import kernel as kernels
from symbptt.codegen.wanted import restricted
from tests.kernels import kernel_of


@sb.cell
def two(
    x: Input["m"],
    z: Input["n"],
    h: State["n"] = Param,
    W: Param["n m"] = None,
    U: Param["n n"] = None,
    V: Param["k n"] = None,
):  # type: ignore[assignment]
    h = np.tanh(W @ x + U @ h + z)
    return {"h": h, "y": V @ h}


@sb.loss
def error(y: Output["k"], h: State["n"], goal: Target["k"], V: Param["k n"], d: Param["k"]):
    return sb.sum((y + d - goal) ** 2) + sb.sum((V @ h) ** 2)


OPTIONS: list[dict[str, Any]] = [
    {}, {"memory": "sqrt"}, {"memory": 10**6}, {"truncation": sb.Window(2)}, {"truncation": sb.Chunked(2, 3)}, {"clip_adjoint": 0.1},
]  # fmt: skip
MODELS = {at: sb.model(two, error, at=at, reduction="mean") for at in ("every", "last")}


def drawn(T: int, B: int, dtype: Any = np.float64, at: str = "every") -> Any:
    r = np.random.default_rng(T + B)
    params = {k: r.standard_normal(v.shape).astype(dtype) for k, v in MODELS[at].init({"m": 2, "n": 3, "k": 4}).items()}
    inputs = {"x": r.standard_normal((T, B, 2)).astype(dtype), "z": r.standard_normal((T, B, 3)).astype(dtype)}
    return params, inputs, {"goal": r.standard_normal((T, B, 4) if at == "every" else (B, 4)).astype(dtype)}


@pytest.mark.thinned(37, 11)
@pytest.mark.parametrize("at", MODELS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("wrt", ["params", ("U", "x"), ("V",), ("h0", "z"), ("d", "h"), ()], ids=str)
def test_some_gradients_are_those_of_all(wrt: Any, options: Any, at: str) -> None:
    kernel = kernel_of(MODELS[at], **options)
    for T, B, dtype in ((5, 3, np.float64), (1, 1, np.float32), (0, 2, np.float64)):
        assert_some_of_all(kernel, wrt, drawn(T, B, dtype, at))


def assert_some_of_all(kernel: sb.Kernel, wrt: Any, groups: Any) -> None:
    T, dtype = len(groups[1]["x"]), groups[1]["x"].dtype
    names = {"W", "U", "V", "h0", "d"} if wrt == "params" else {*wrt}
    masks = {"lengths": np.array([5, 2, 0]), "reset": np.arange(15).reshape(5, 3) % 4 == 3} if T == 5 else {}
    loss, every = kernel.value_and_grad(*groups, monitor=True, **masks)
    found, some = kernel.value_and_grad(*groups, monitor=True, wrt=wrt, **masks)
    assert found == loss and found.dtype == dtype
    assert {*some.params, *some.inputs} == names - {"h"} and some.state.keys() == {"h"}
    pairs = [
        (every.params, some.params),
        (every.inputs, some.inputs),
        (every.state, some.state),
        (every.flow, some.flow),
    ]
    for wanted, came in [*pairs, (every.final, some.final)]:
        for k, v in came.items():
            assert v.dtype == dtype
            np.testing.assert_allclose(v, wanted[k], 1e-5 if dtype == np.float32 else 1e-12, err_msg=k)


@pytest.mark.long
def test_planted_mistake_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = sb.compile(MODELS["every"])
    monkeypatch.setattr(kernels, "restricted", lambda p, names: replace(restricted(p, names), params={}))
    with pytest.raises(AssertionError):
        assert_some_of_all(kernel, ("U",), drawn(2, 1))


def test_products_of_no_use_are_not_called_and_the_plan_tells() -> None:
    every, data = (kernel_of(MODELS["every"], wrt=wrt) for wrt in (None, ("x", "z")))
    assert "Wᵀ da_t" in str(every.plan) and "Wᵀ da_t" in str(data.plan)
    assert "Σ_t da_t x_tᵀ" in str(every.plan) and "Σ_t" not in str(data.plan)
    assert data.plan.bytes(9, 2, m=2, n=3, k=4) <= every.plan.bytes(9, 2, m=2, n=3, k=4)


@pytest.mark.long
def test_a_saved_module_has_them_checks_itself_and_is_pickled(tmp_path: Any) -> None:
    kernel, groups = kernel_of(MODELS["every"], wrt=("U", "x")), drawn(3, 2)
    kernel.save(tmp_path / "some.py")
    done = subprocess.run(
        [sys.executable, tmp_path / "some.py", "--selfcheck"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "dU " in done.stdout and "dW " not in done.stdout
    again = pickle.loads(pickle.dumps(kernel))
    assert again.source == kernel.source and again.value_and_grad(*groups)[1].params.keys() == {"U"}
    with pytest.raises(sb.ArgumentError, match="trace the kernel without wrt"):
        sb.trace_gradient(kernel, kernel.forward(groups[0], groups[1]), {})
    for target in (kernel, MODELS["every"]):
        with pytest.raises(sb.ArgumentError, match=r"a kernel with wrt= computes some gradients alone"):
            sb.verify(target, module=None if target is kernel else tmp_path / "some.py")


@pytest.mark.parametrize(
    ("wrt", "words"),
    [
        ("U", r"wrt is \"params\" or a tuple of names, got 'U'\n  write wrt=\('U',\)"),
        (3, r"wrt is \"params\" or a tuple of names, got 3\n  write wrt=\"params\" or wrt=\('x', 'z'\)"),
        ("inputs", r"got 'inputs'\n  write wrt=\"params\" or wrt=\('x', 'z'\)"),
        (("goal",), r"wrt: 'goal' has no gradient; two_error has gradients of x, z, h, W, U, V, h0, d"),
        (("Q",), "wrt: 'Q' is not known"),
    ],
)
def test_what_is_no_name_of_a_gradient_is_refused(wrt: Any, words: str) -> None:
    with pytest.raises(sb.ArgumentError, match=words):
        sb.compile(MODELS["every"], wrt=wrt)
    with pytest.raises(sb.ArgumentError, match=words):
        kernel_of(MODELS["every"]).value_and_grad(*drawn(2, 1), wrt=wrt)
