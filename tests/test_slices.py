"""Slices that a size may be too small for: NumPy's end at the end, and a derivation does not know where that is."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Input, Output, Param, State, Target, zoo
from symbptt.codegen.targets.python import header as tables
from symbptt.verification.regimes import REGIMES, Size, point
from tests.kernels import kernel_of


@sb.cell
def middle(x: Input["n"], h: State["n"]):
    return np.tanh(x * h + h[1:3].sum())


@sb.cell
def entry(x: Input["n"], h: State["n"]):
    return np.tanh(x * h + h[3])


@sb.cell
def from_the_end(x: Input["n"], h: State["n"]):
    return np.tanh(x * h + h[-2])


@sb.cell
def taken(x: Input["n"], h: State["n"]):
    return np.tanh(x * h + np.take(h, 2))


@sb.cell
def pieces(x: Input["n"], h: State["n"]):
    return np.tanh(x * h + np.stack([h[0:4:2], h[3:1:-1]]).sum())


@sb.cell
def matrix(x: Input["n"], h: State["n"], W: Param["n m"]):
    return np.tanh(x * h + W[:3, 2].sum())


@sb.cell
def sums(x: Input["m+1"], h: State["n"], W: Param["n m"]):
    return np.tanh(h + x[:4].sum() + W @ x[1:])


@sb.cell
def output(x: Input["n"], h: State["n"]):
    y = np.tanh(x + h)
    return {"h": y, "y": y[:12]}


@sb.cell
def unread(x: Input["n"], h: State["n"]):
    h[3]
    return np.tanh(x + h)


@sb.loss
def first_three(h: State["n"], y: Target["n"]):
    return np.sum((h - y)[:3] ** 2)


@sb.loss
def of_output(y: Output["12"], z: Target["k"]):
    return np.sum((y * z[4]) ** 2)


@sb.cell
def plain(x: Input["n"], h: State["n"]):
    return np.tanh(x + h / 2)


MODELS = {"model": sb.model(plain, first_three), "of an output": sb.model(output, of_output)}
CASES: dict[str, tuple[Any, list[str]]] = {
    "middle": (middle, ["n >= 3"]),
    "entry": (entry, ["n >= 4"]),
    "from_the_end": (from_the_end, ["n >= 2"]),
    "taken": (taken, ["n >= 3"]),
    "pieces": (pieces, ["n >= 4"]),
    "matrix": (matrix, ["n >= 3", "m >= 3"]),
    "sums": (sums, ["m >= 3"]),
    "output": (output, ["n >= 12"]),
    "unread": (unread, ["n >= 4"]),
    "model": (MODELS["model"], ["n >= 3"]),
    "of an output": (MODELS["of an output"], ["n >= 12", "k >= 5"]),
    "stack": (sb.stack(plain, middle), ["n >= 3"]),
}


def refused(wanted: str) -> Any:
    name, _, least = wanted.partition(" >= ")
    return pytest.raises(
        sb.ArgumentError, match=re.escape(f"sizes: {wanted} is expected, got {name} = {int(least) - 1}")
    )


@pytest.mark.parametrize("name", CASES)
def test_needs_are_those_at_which_numpy_reads_other_entries(name: str) -> None:
    target, wanted = CASES[name]
    assert [need.wanted for need in target.needs] == wanted


@pytest.mark.parametrize("name", ["middle", "matrix", "output", "model"])
@pytest.mark.thinned(7)
def test_verify_chooses_sizes_that_fit(name: str) -> None:
    assert sb.verify(CASES[name][0]).passed


def test_sizes_that_verify_chooses_differ() -> None:
    for size in (Size(3, 2), Size(5, 2, other=True)):
        found = point(matrix, REGIMES[0], size, 0)
        n, m = found.params["W"].shape
        assert n != m and min(n, m) >= 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_kernel_has_the_value_and_gradient_of_numpy_or_refuses(n: int, dtype: Any) -> None:
    kernel, x, h = kernel_of(middle), np.full((1, 1, n), 0.3, dtype), np.linspace(0.1, 0.5, n, dtype=dtype)[None]
    if n < 3:
        with pytest.raises(
            sb.ArgumentError, match=f"n >= 3 is expected, got n = {n}; entries 1 to 2 of h are read in test_slices"
        ):
            kernel.forward({}, {"x": x}, {"h": h})
        return
    run = kernel.forward({}, {"x": x}, {"h": h})
    found = kernel.backward(run, {"h": np.ones((1, n), dtype)}).state["h"][0]
    step = h[0].astype(complex) + 1e-30j * np.eye(n)
    wanted = [np.sum(middle.function(x[0, 0], row)).imag / 1e-30 for row in step]
    assert np.allclose(run.states["h"][0, 0], middle.function(x[0, 0], h[0]), rtol=1e-6)
    assert np.allclose(found, wanted, rtol=1e-5)


def test_all_that_binds_sizes_refuses_those_too_small() -> None:
    x, h = np.ones((2, 1, 2)), np.ones(2)
    every: list[Callable[[], Any]] = [
        lambda: sb.verify(middle, inputs={"x": x}),
        lambda: sb.analyze(middle, inputs={"x": x}),
        lambda: middle.init({"n": 2}),
        lambda: MODELS["model"].init({"n": 2}),
        lambda: sb.compile(MODELS["model"]).value_and_grad({}, {"x": x}, {"y": x}),
        lambda: sb.derive(middle).jacobian("h", "h").evaluate({}, {"x": h}, {"h": h}),
        lambda: sb.compile(middle, truncation=sb.Window(2)).forward({}, {"x": x}),
    ]
    for call in every:
        with refused("n >= 3"):
            call()
    with refused("m >= 3"):
        sums.init({"n": 2, "m": 2})
    with refused("n >= 3"):
        matrix.init({"n": 2, "m": 3})


def test_refusal_tells_what_to_write() -> None:
    with pytest.raises(
        sb.ArgumentError, match=r"(?s)W are read along axis 0 in test_slices\.py:\d+\n.*write \[:\], else"
    ):
        matrix.init({"n": 2, "m": 3})
    with pytest.raises(sb.ArgumentError, match=r"(?s)entry 2 of .* is read along axis 1.*\n  give larger arrays"):
        matrix.init({"n": 3, "m": 2})


def test_saved_module_refuses_too(tmp_path: Any) -> None:
    path = tmp_path / "saved.py"
    sb.compile(middle).save(path)
    scope: dict[str, Any] = {"__name__": "saved"}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    with pytest.raises(scope["ArgumentError"], match="n >= 3 is expected, got n = 2"):
        scope["forward"]({}, {"x": np.ones((2, 1, 2))})


def test_constants_that_are_arrays_tell_sizes_while_traced() -> None:
    @sb.cell
    def fixed(h: State["n"], c: Const["n"] = np.ones(2)):
        return h * c + h[1:3].sum()

    with pytest.raises(sb.ShapeError, match=r"n >= 3 is expected, got n = 2\n.*test_slices\.py:\d+\n"):
        sb.compile(fixed)


def test_analysis_chooses_sizes_that_fit_and_plans_are_read() -> None:
    assert sb.analyze(output, steps=20).text()
    assert sb.compile(middle).plan


def test_slices_that_always_fit_need_nothing() -> None:
    @sb.cell
    def whole(x: Input["2*n"], h: State["n"]):
        return np.roll(h, 2) + x[: h.shape[0]] + x[-1] + np.sum(h[1:]) + h[::-1] + np.sum(x[1:2])

    assert whole.needs == () and zoo.lstm.needs == ()


@pytest.mark.parametrize("part", [slice(-3, 1), slice(3, 1)])
def test_slices_of_no_certain_length_are_refused_with_a_cure(part: slice) -> None:
    @sb.cell
    def open_end(x: Input["n"], h: State["n"]):
        return x + h + h[part].sum()

    with pytest.raises(sb.ShapeError, match=r"(?s)test_slices\.py:\d+.*\[1:3\].*give the axis a number"):
        sb.compile(open_end)


def test_missing_check_of_a_module_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_need_lines", lambda need: [])
    kernel = sb.compile(middle)
    # Without the check two of the three entries are summed, and nobody is told.
    with pytest.raises(pytest.fail.Exception), pytest.raises(sb.ArgumentError):
        kernel.forward({}, {"x": np.ones((2, 1, 2))})


# Slices that go down, and steps along axes of named sizes.

DOWN = (
    "[:0:-1]",
    "[-2::-1]",
    "[-1:0:-1]",
    "[:1:-1]",
    "[::-2]",
    "[1::2]",
    "[::2]",
    "[-2::-2]",
    "[:-1:2]",
    "[3:1:-1]",
    "[5::-1]",
    "[:-2:-1]",
    "[::-1]",
)
OF_SLICES = (
    "[::2][: h.shape[0] // 2 - 1]",
    "[::-1][: h.shape[0] // 2 + 1]",
    "[::-2][: h.shape[0] // 2 - 1]",
    "[::-1][h.shape[0] // 2 - 1 :]",
    "[::2][::-1][: h.shape[0] // 2]",
)
"""Slices of slices, of which some have no entry at the least size, or reach the first one at that alone."""


def cut(key: str, dims: str) -> sb.Cell:
    def step(x: Any, h: Any) -> Any:
        part = eval(f"(x * h){key}")
        return {"h": np.tanh(h + part.sum()), "y": part}

    step.__annotations__ = {"x": Input[dims], "h": State[dims]}
    return sb.cell(step)


@pytest.mark.parametrize("key", OF_SLICES)
def test_slice_of_a_slice_has_the_entries_of_numpy_at_the_least_size_too(key: str) -> None:
    assert_as_numpy(cut(key, "2*n"), "2*n")


@pytest.mark.parametrize("key", DOWN)
@pytest.mark.parametrize("dims", ["2*n", "n+1", "4*n+2"])
@pytest.mark.thinned(7, 2)
def test_length_of_a_slice_is_that_of_numpy_for_every_size_or_it_is_refused(key: str, dims: str) -> None:
    try:
        cell = cut(key, dims)
        cell.step  # noqa: B018
    except sb.ShapeError as error:
        # Of n + 1 entries the second from the end may be the first.
        assert dims == "n+1" and "2" in key, error
        return
    assert_as_numpy(cell, dims)


def assert_as_numpy(cell: sb.Cell, dims: str) -> None:
    kernel = kernel_of(cell)
    for n in (1, 2, 3, 6):
        length = eval(dims, {"n": n})
        h = np.linspace(0.1, 0.5, length)
        if not all(need.is_met({"n": n}) for need in cell.needs):
            continue
        run = kernel.forward({}, {"x": np.full((1, 1, length), 0.3)}, {"h": h[None]})
        wanted = cell.function(np.full(length, 0.3), h)
        assert (
            np.allclose(run.outputs["y"][0, 0], wanted["y"], rtol=1e-14)
            and run.outputs["y"].shape[2:] == wanted["y"].shape
        )
        found = kernel.backward(run, {"h": np.ones((1, length)), "y": np.ones((1, 1, *wanted["y"].shape))}).state["h"][
            0
        ]
        moved = [cell.function(np.full(length, 0.3), h + 1e-30j * row) for row in np.eye(length)]
        assert np.allclose(found, [(np.sum(m["h"]) + np.sum(m["y"])).imag / 1e-30 for m in moved], rtol=1e-12)


@pytest.mark.parametrize("least", [np.max, np.min, lambda v: sb.sum(sb.softmax(v))], ids=["max", "min", "softmax"])
def test_the_greatest_of_no_entry_is_refused_by_the_size(least: Any) -> None:
    @sb.cell
    def step(h: State["n"]):
        return h * least(h[3:])

    kernel = sb.compile(step)
    with pytest.raises(sb.ArgumentError, match="n >= 4 is expected, got n = 3"):
        kernel.forward({}, {}, {"h": np.ones((1, 3))}, steps=1)
    assert kernel.forward({}, {}, {"h": np.ones((1, 4))}, steps=1).states["h"].shape == (1, 1, 4)
