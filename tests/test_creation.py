"""Arrays made of sizes alone, np.eye(n) and its siblings: NumPy's own numbers in the module, for any sizes."""

import threading
from itertools import accumulate
from math import sqrt
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Param, State
from tests.kernels import kernel_of

NUMPY = np
"""NumPy by another name."""


def made(n: Any, m: Any, h: Any, U: Any, k: Any) -> dict[str, Any]:
    """Arrays of the sizes n and m in the spellings of cells; `k` is a constant, 2."""
    i = np.arange(n)
    return {
        "eye": np.eye(n),
        "wide": np.eye(n, m),
        "above": np.eye(n, k=1),
        "below": np.eye(m, n, -2),
        "truths": np.where(np.eye(n, dtype=bool), 2.0, 3.0),
        "identity": np.identity(n) @ h,
        "zeros": np.zeros((n, 3)),
        "empty": np.zeros((n + m,)) + np.ones(n + m),
        "ones": np.ones(h.shape),
        "integers": np.ones(n, int) / 2,
        "full": np.full((n, m), 0.25),
        "less": np.exp(-n) * (-n * m) * np.ones(2),
        "rows": np.full((m, n), h),
        "arange": i,
        "powers": 0.9**i,
        "roots": np.sqrt(2 * i + 1),
        "from_one": np.arange(1, n + 1),
        "down": np.arange(n - 1, -1, -1),
        "floats": np.arange(n, dtype=float) / n,
        "by_three": np.arange(0, 3 * m, 3) + np.arange(0, 6 * m, 2 * 3),
        "constant": np.arange(k) + np.ones(k) + np.arange(2),
        "distances": np.abs(i[:, None] - np.arange(m)[None, :]),
        "order": np.where(i[:, None] > np.arange(m), 1.0, -1.0),
        "linspace": np.linspace(0.1, 0.9, n),
        "open": np.linspace(-1, 1, m, endpoint=False),
        "between": np.linspace(0, h, m),
        "tri": np.tri(n, m),
        "tril": np.tril(U),
        "tril_k": np.tril(U, -1) + np.tril(U, 2),
        "triu": np.triu(U),
        "triu_k": np.triu(U @ U.T, 1),
        "mask": np.where(np.tril(np.ones((n, n), dtype=bool)), 1.0, -1e9),
        "strictly": np.triu(np.ones((n, m)), 1),
        "broadcast": np.broadcast_to(0.5, (m, n)) + np.broadcast_to(h, (m, n)),
    }


@sb.cell
def many(x: Input["m"], h: State["n"], U: Param["n m"], k: Const = 2):
    return {"h": h + np.sum(x), **{name: 1.0 * value for name, value in made(h.shape[0], x.shape[0], h, U, k).items()}}


def _run(n: int, m: int, dtype: Any = float) -> tuple[Any, dict[str, Any]]:
    random = np.random.default_rng(n + 10 * m)
    params = many.init({"n": n, "m": m}, seed=1, dtype=dtype)
    x, h = random.standard_normal((2, 3, m)).astype(dtype), random.standard_normal((3, n)).astype(dtype)
    return kernel_of(many).forward(params, {"x": x}, {"h": h}), made(
        n, m, h[1].astype(float), params["U"].astype(float), 2
    )


@pytest.mark.parametrize(("n", "m"), [(4, 3), (2, 5), (1, 1), (1, 2)])
def test_arrays_of_named_sizes_are_those_of_numpy(n: int, m: int) -> None:
    run, wanted = _run(n, m)
    for name, value in wanted.items():
        np.testing.assert_allclose(run.outputs[name][0, 1], value, rtol=1e-14, atol=1e-15, err_msg=name)


def test_arrays_of_named_sizes_are_of_the_type_of_the_data() -> None:
    run, wanted = _run(3, 4, np.float32)
    for name, value in wanted.items():
        assert run.outputs[name].dtype == np.float32, name
        np.testing.assert_allclose(run.outputs[name][0, 1], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_comparison_sees_a_diagonal_in_another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from symbptt.language import creation

    monkeypatch.setattr(creation, "_offset", lambda name, k: int(k) + 1)
    kernel = sb.compile(sb.Cell(many.function))
    run = kernel.forward(many.init({"n": 4, "m": 3}), {"x": np.ones((1, 1, 3))}, {"h": np.ones((1, 4))})
    assert not np.allclose(run.outputs["eye"][0, 0], np.eye(4))


@sb.cell
def skewed(x: Input["n"], h: State["n"], U: Param["n n"], s: Param):
    n = h.shape[0]
    A = np.tril(U, -1) - np.tril(U, -1).T - 0.1 * np.eye(n)
    decay = np.exp(-s * np.abs(np.arange(n)[:, None] - np.arange(n)))
    return np.tanh((A * decay) @ h + x * np.linspace(0.5, 1, n))


def test_a_cell_with_arrays_of_sizes_is_proved() -> None:
    report = sb.verify(skewed)
    assert report.passed, str(report)


def test_pages_write_the_identity_counters_and_triangles() -> None:
    @sb.cell
    def page(x: Input["n"], h: State["n"], U: Param["n n"], V: Param["n n"]):
        i = np.arange(h.shape[0])
        return np.tanh((V - 0.1 * np.eye(h.shape[0])) @ h + np.triu(U) @ h + 0.9**i * x)

    text = sb.derive(page).text()
    for line in ("(i)_j = j,  j < n", "(V - 0.1 I) h_{t-1}", "u     = tril(Uᵀ)"):
        assert line in text, text


def test_names_mean_what_they_meant_after_a_trace_that_raised_and_numbers_meanwhile() -> None:
    seen = []

    @sb.cell
    def fails(h: State["n"]):
        seen.append((np.eye(2), np.zeros(3, np.float32).dtype, np.arange(2, 8, 3), np is NUMPY))
        raise RuntimeError("stop")

    with pytest.raises(sb.CellError, match="stop"):
        assert fails.step
    assert seen[0][0].tolist() == [[1, 0], [0, 1]] and seen[0][1] == np.float32 and seen[0][2].tolist() == [2, 5]
    assert np is NUMPY and type(np) is type(threading) and NUMPY.eye(2).shape == (2, 2)


def test_threads_trace_at_the_same_time() -> None:
    failed = []

    def trace() -> None:
        for _ in range(5):
            if sb.Cell(skewed.function).step.needs:
                failed.append(1)

    threads = [threading.Thread(target=trace) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and np is NUMPY


@pytest.mark.parametrize("own", [
    lambda n: sb.eye(n), lambda n: sb.eye(n, 2, k=1), lambda n: sb.zeros((n, 2)), lambda n: sb.ones(n), lambda n: sb.full(n, 2.5),
    lambda n: sb.arange(n), lambda n: sb.arange(1, n), lambda n: sb.linspace(0, 1, n), lambda n: sb.tril(np.ones((n, n))),
    lambda n: sb.triu(np.ones((n, n)), 1),
])  # fmt: skip
def test_our_functions_of_numbers_are_those_of_numpy(own: Any) -> None:
    assert isinstance(own(3), np.ndarray) and own(3).shape[0] == 3 - (own(3).shape == (2,))


BAD = {
    "a size that is no integer": (lambda h: np.zeros((h.shape[0], 2.5)), "a size must be an integer"),
    "complex numbers": (lambda h: np.zeros(h.shape, complex) + h, "is complex, the state is real"),
    "a length that is not certain": (lambda h: np.arange(3, h.shape[0]), "no certain length"),
    "a step that is no integer": (lambda h: np.arange(0, h.shape[0], 0.5), "integers and sizes"),
    "a diagonal that is no integer": (lambda h: np.tril(np.outer(h, h), 0.5), "an integer as its diagonal"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_meaning_is_refused_with_a_cure(name: str) -> None:
    body, words = BAD[name]

    @sb.cell
    def bad(h: State["n"]):
        return np.sum(body(h)) * h

    with pytest.raises(sb.CellError, match=words):
        assert bad.step


RNG = np.random.default_rng(0)
NOISY: dict[str, Any] = {
    "np.random.normal": lambda h: h + np.random.normal(size=3),
    "a generator of the file": lambda h: h * (RNG.random(3) > 0.5),
    "a seeded generator": lambda h: h + np.random.default_rng(0).normal(size=3),
    "np.random.seed": lambda h: (np.random.seed(0), h)[1],
    "a function of the file": lambda h: _noisy(h),
}


def _noisy(h: Any) -> Any:
    return h + RNG.standard_normal(3)


@pytest.mark.parametrize("name", NOISY)
def test_what_draws_at_random_is_refused_with_the_way_out(name: str) -> None:
    body = NOISY[name]

    @sb.cell
    def noisy(h: State["3"]):
        return body(h)

    with pytest.raises(sb.CellError, match=r"draws at random(.|\n)*an Input(.|\n)*sb.dropout_mask"):
        assert noisy.step
    assert type(RNG) is np.random.Generator


def test_names_that_random_has_for_itself_draw_nothing() -> None:
    @sb.cell
    def summed(h: State["3"]):
        return np.stack(list(accumulate(h))) / sqrt(3)

    np.testing.assert_allclose(
        sb.compile(summed).forward({}, {}, {"h": np.ones(3)}, steps=1).states["h"][0] * sqrt(3), [1, 2, 3]
    )


def test_constants_are_sizes_where_a_body_reshapes_by_them() -> None:
    @sb.cell
    def heads(x: Input["m"], h: State["6"], W: Param["6 m"], count: Const = 2):
        z = (W @ x + h).reshape(count, -1)
        return np.tanh(z / np.sqrt(1 + np.sum(z * z, axis=1, keepdims=True))).reshape(-1) + np.zeros(3 * count)[0]

    params, x, h = heads.init({"m": 2}, seed=0), np.ones((1, 1, 2)), np.ones((1, 6))
    for value in (2, 3, 6):
        run = sb.compile(heads, consts={"count": value}).forward(params, {"x": x}, {"h": h})
        wanted = (
            heads.function(x[0, 0], h[0], params["W"], value)
            if value == 2
            else _headed(x[0, 0], h[0], params["W"], value)
        )
        np.testing.assert_allclose(run.states["h"][0, 0], wanted, rtol=1e-14)


def _headed(x: Any, h: Any, W: Any, count: int) -> Any:
    z = (W @ x + h).reshape(count, -1)
    return np.tanh(z / np.sqrt(1 + np.sum(z * z, axis=1, keepdims=True))).reshape(-1)


def test_masks_of_dropout_have_the_mean_one() -> None:
    mask = sb.dropout_mask(np.random.default_rng(1), (2000, 5), 0.2, np.float32)
    assert mask.dtype == np.float32 and set(np.unique(mask)) == {0, np.float32(1.25)} and abs(mask.mean() - 1) < 0.02
    for wrong in (1, -0.1, "a"):
        with pytest.raises(sb.ArgumentError, match="rate of dropout"):
            sb.dropout_mask(np.random.default_rng(1), 3, wrong)
