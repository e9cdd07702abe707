"""Named sizes: told by arrays, constants and sums together, and the same for forward, verify, init and analyze."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Param, State
from symbptt.ir.shape import named_size
from symbptt.ir.sizes import axes_of, completed, solved
from symbptt.ir.step import Argument
from tests import oracle
from tests.kernels import kernel_of


@sb.cell
def masked(h: State["n"], b: Param["n"], mask: Const["n"] = np.array([1.0, 0.0, 1.0])):
    return h * b * mask


@sb.cell
def mixed(h: State["n"], b: Param["n"], A: Const["n n"] = np.eye(3)):
    return np.tanh(A @ h) + b


@sb.cell
def halves(x: Input["m+n"], h: State["m"], g: State["m-n"], u: Param["m+n"], v: Param["m-n"]):
    k = h.shape[0]
    return h + x[:k] * u[:k], g * v


@sb.cell
def triangle(h: State["a+b"], g: State["b+c"], k: State["a+c"], u: Param["a+b"], v: Param["b+c"], w: Param["a+c"]):
    return h * u, g * v, k * w


@sb.cell
def allocation(x: Input["m"], u: State["n"], W: Param["n m"], L: Param["m n"]):
    """Of a memory with n places the free ones, in order: a product of all entries before, and one of all."""
    used = sb.sigmoid(W @ x + u)
    before = np.concatenate([np.ones(1), np.cumprod(used)[:-1]])
    return (1 - used) * before + np.prod(np.cos(L), axis=1) @ x


CONSTANT = [(masked, "mask"), (mixed, "A")]


@pytest.mark.parametrize(("cell", "name"), CONSTANT, ids=["vector", "matrix"])
@pytest.mark.thinned(2)
def test_array_as_constant_binds_its_sizes_everywhere(cell: sb.Cell, name: str) -> None:
    assert sb.verify(cell).passed
    assert (
        {k: v.shape for k, v in cell.init({}).items()}
        == {"b": (3,)}
        == {k: v.shape for k, v in cell.init({"n": 3}).items()}
    )
    assert sb.analyze(cell, steps=4).states == {"h": (3,)}
    run = sb.compile(cell).forward({"b": np.ones(3)}, steps=2)  # without a state
    assert run.states["h"].shape == (2, 1, 3)


@pytest.mark.parametrize(("cell", "name"), CONSTANT, ids=["vector", "matrix"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_array_of_another_size_is_refused_by_name(cell: sb.Cell, name: str, n: int) -> None:
    where = rf"{name}: the constant has the shape \(3,.*\) = \({n},.*\) is expected"
    with pytest.raises(sb.ArgumentError, match=where):
        sb.compile(cell).forward({"b": np.ones(n)}, {}, {"h": np.ones((2, n))}, steps=2)
    with pytest.raises(sb.ArgumentError, match=where):
        sb.analyze(cell, {"b": np.ones(n)}, steps=3)
    with pytest.raises(
        sb.ArgumentError, match=f"the default of '{name}' of {cell.name} has 3 along axis 0, where n = {n} is due"
    ):
        cell.init({"n": n})


@pytest.mark.parametrize(("cell", "name"), CONSTANT, ids=["vector", "matrix"])
def test_array_of_one_element_is_no_number_for_all(cell: sb.Cell, name: str) -> None:
    small = cell.with_consts({name: np.ones((1,) * (1 + (cell is mixed)))})
    with pytest.raises(sb.ArgumentError, match=f"{name}: the constant has the shape"):
        sb.compile(small).forward({"b": np.ones(3)}, {}, {"h": np.ones((2, 3))}, steps=2)
    assert sb.compile(small).forward({"b": np.ones(1)}, steps=2).states["h"].shape == (2, 1, 1)
    assert small.init({})["b"].shape == (1,) and sb.analyze(small, steps=3).states == {"h": (1,)}


def test_one_number_as_constant_fills_its_annotation() -> None:
    for filled in (mixed.with_consts({"A": 0.5}), masked.with_consts({"mask": 2})):
        assert sb.verify(filled).passed
        assert sb.compile(filled).forward({"b": np.ones(4)}, steps=2).states["h"].shape == (2, 1, 4)


def test_array_that_contradicts_its_annotation_is_refused_at_once() -> None:
    with pytest.raises(sb.ShapeError, match="the default of 'A' has 2 along axis 1"):
        mixed.with_consts({"A": np.ones((3, 2))})

    def two(h: State["n"], g: Param["n"] = np.ones(3), k: Const["n n"] = np.ones((2, 2))):
        return h * g

    with pytest.raises(sb.ShapeError, match=r"the default of 'k' has 2(.|\n)*test_named_sizes\.py"):
        sb.cell(two)


def test_default_of_a_parameter_is_its_first_value_and_binds_sizes_alike() -> None:
    @sb.cell
    def scaled(h: State["n"], g: Param["n"] = np.array([1.0, 2.0, 3.0])):
        return 0.5 * h * g

    np.testing.assert_array_equal(scaled.init({})["g"], [1, 2, 3])
    assert sb.verify(scaled).passed and sb.analyze(scaled, steps=3).states == {"h": (3,)}
    with pytest.raises(sb.ArgumentError, match="the default of 'g' of scaled has 3"):
        scaled.init({"n": 4})
    assert scaled.init({"n": 4}, g=2.0)["g"].shape == (4,)
    assert sb.compile(scaled).forward({"g": np.ones(5)}, steps=2).states["h"].shape == (2, 1, 5)


def wrong_input(h: State["n"], x: Input["n"] = 1.0):
    return h + x


def wrong_index(h: State["n"], i: Index["v"] = 3):
    return h + i


@pytest.mark.parametrize(("function", "name"), [(wrong_input, "x"), (wrong_index, "i")])
def test_default_that_nothing_would_use_is_refused_at_decoration(function: Any, name: str) -> None:
    with pytest.raises(
        sb.CellError, match=rf"'{name}' has a default, and only Param, Const and State may(.|\n)*test_named_sizes\.py"
    ):
        sb.cell(function)


@pytest.mark.long
def test_sizes_that_several_arguments_tell_together() -> None:
    params = halves.init({"m": 3, "n": 2})
    run = sb.compile(halves).forward(params, {"x": np.ones((4, 2, 5))})
    assert run.states["h"].shape == (4, 2, 3) and run.states["g"].shape == (4, 2, 1)
    assert sb.verify(halves).passed
    assert sb.analyze(halves, params, steps=4).states == {"h": (3,), "g": (1,)}
    with pytest.raises(sb.ArgumentError, match="x: .*is expected, got"):
        sb.compile(halves).forward(params, {"x": np.ones((4, 2, 6))})

    params = triangle.init({"a": 1, "b": 2, "c": 3})
    assert sb.compile(triangle).forward(params, steps=2).states["g"].shape == (2, 1, 5)
    assert sb.analyze(triangle, params, steps=3).states == {"h": (3,), "g": (5,), "k": (4,)}
    assert sb.verify(triangle).passed
    with pytest.raises(sb.ArgumentError, match="is expected, got"):
        sb.compile(triangle).forward(params | {"w": np.ones(5)}, steps=2)


def test_equations_between_sizes_are_solved_in_integers() -> None:
    a, b, n = map(named_size, "abn")
    arguments = [
        Argument("param", "p", (a + b,)),
        Argument("param", "q", (a - b, 2 * n)),
        Argument("param", "r", (a * n,)),
    ]

    def of(**shapes: tuple[int, ...]) -> dict[str, int]:
        return solved(axes_of(arguments, shapes))

    assert of(p=(7,), q=(3, 8)) == {"a": 5, "b": 2, "n": 4}
    assert of(p=(7,)) == {}
    assert of(q=(3, 8), r=(20,)) == {"n": 4, "a": 5, "b": 2}  # first n, then a from the product
    assert "n" not in of(q=(3, 7))  # half a row
    assert completed(axes_of(arguments, {"p": (7,)}), ["a", "b", "n"], dict.fromkeys("abn", 3)) == {
        "a": 4,
        "b": 3,
        "n": 3,
    }


def test_elements_of_modern_blocks_with_sums_of_sizes_are_analysed() -> None:
    @sb.cell
    def block(x: Input["d"], S: State["e k"], W: Param["2*e+2*k d"], V: Param["d e"], a: Param):
        e, k = S.shape
        z = W @ x
        v, gate, b, c = z[:e], z[e : 2 * e], z[2 * e : 2 * e + k], z[2 * e + k :]
        new = sb.sigmoid(a) * S + np.outer(v, b)
        return {"S": new, "y": V @ (new @ c * sb.silu(gate))}

    params = block.init({"d": 3, "e": 4, "k": 2})
    assert sb.analyze(block, params, steps=4).states == {"S": (4, 2)}
    assert sb.analyze(block, params, {"x": np.ones((5, 3))}).states == {"S": (4, 2)}
    assert sb.compile(block).forward(params, {"x": np.ones((5, 1, 3))}).states["S"].shape == (5, 1, 4, 2)


def test_planted_loss_of_an_equation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbptt.ir.sizes._joint", lambda axes, known: None)
    a, b = map(named_size, "ab")
    arguments = [Argument("param", "p", (a + b,)), Argument("param", "q", (a - b,))]
    assert solved(axes_of(arguments, {"p": (7,), "q": (3,)})) == {}


def test_size_that_only_a_number_for_a_whole_array_has_is_refused() -> None:
    """One number fills an axis of any length, so that it tells none."""

    @sb.cell
    def filled(h: State["n"], i: Index["v"], c: Const["v n"] = 0.4):
        return np.tanh(h + c[i])

    with pytest.raises(sb.CellError, match="the size 'v' of filled .* no argument tells it"):
        sb.compile(filled)

    @sb.cell
    def told(h: State["n"], i: Index["v"], E: Param["v"], c: Const["v n"] = 0.4):
        return np.tanh(h * E[i] + c[i])

    assert sb.verify(told, proof=False).passed


def test_sizes_that_only_zeros_in_place_of_cotangents_have_are_read() -> None:
    @sb.cell
    def apart(h: State["n"], s: State["k n"], p: Param["n"]):
        new = np.tanh(s)
        return {"h": p * h, "s": new, "y": (new + s) / 2}

    kernel = sb.compile(apart, truncation=sb.Window(2))
    run = kernel.forward({"p": np.ones(3)}, {}, {"h": np.ones((1, 3)), "s": np.ones((1, 2, 3))}, steps=2)
    found = kernel.backward(run, {"h": np.ones((2, 1, 3))})
    assert np.array_equal(found.params["p"], np.full(3, 3.0)) and not found.state["s"].any()


@pytest.mark.parametrize(("n", "steps"), [(3, 2), (1, 1), (2, 0)])
def test_products_along_an_axis_of_named_size_have_the_gradients_of_numpy(n: int, steps: int) -> None:
    groups = oracle.draw(allocation, steps, 2, {"m": 2, "n": n})
    run = kernel_of(allocation).forward(*groups)
    sent = {"u": np.random.default_rng(1).standard_normal((steps, 2, n))}
    wanted = oracle.gradients(allocation, *groups, sent, steps)
    oracle.assert_blocks_close(oracle.flat(kernel_of(allocation).backward(run, sent)), wanted)
