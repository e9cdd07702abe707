"""Functions stand whole on the page, however they were spelled, and what the page says of them is what the kernel computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target, zoo
from symbptt.autodiff import whole
from symbptt.codegen.targets.numpy.pointwise import evaluator
from symbptt.ir import build
from symbptt.ir.build import map_, reduce
from symbptt.ir.graph import Graph
from symbptt.ir.laws import check
from symbptt.ir.node import placeholder
from symbptt.ir.step import Argument, Step
from symbptt.language.folding import ARRAYS, expanded, folded
from tests import brute, unseen
from tests.kernels import kernel_of
from tests.properties.cases import case_of, functions_of
from tests.readback import assert_model_read, assert_read, sizes_of

CELLS = {**zoo.CELLS, **unseen.CELLS}


def mostly_long(names: Any, short: Callable[[str], bool]) -> list[Any]:
    """Cases of which most are for the long run."""
    return [name if short(name) else pytest.param(name, marks=pytest.mark.long) for name in names]


WHOLE = (
    "attention",
    "delta_rule",
    "retnet",
    "mlstm",
    "linear_attention",
    "gru_layer_norm",
    "neural_turing_machine",
    "lif",
)


# Whole functions and what they are made of are the same numbers.


def values_of(step: Step, cell: sb.Cell, data: brute.Data, sizes: dict[str, int]) -> dict[str, Any]:
    given = {**data.params, **data.inputs, **{k: v[None] for k, v in data.state.items()}}
    given |= {a.name: np.asarray(a.default) for a in cell.arguments if a.role == "const" and a.default is not None}
    return evaluator(step, {**step.next, **step.outputs})(given, sizes, 1, 1, np.dtype(float))


def assert_same_numbers(cell: sb.Cell) -> None:
    sizes = sizes_of(cell)
    data, step = brute.data_of(cell, 1, 1, sizes), folded(cell.step)
    check(step.graph)
    again = expanded(step)
    check(again.graph)
    assert not any(node.family == "whole" for node in again.graph)
    with np.errstate(all="ignore"):
        one, other = (values_of(each, cell, data, sizes) for each in (cell.step, again))
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-13, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("name", mostly_long(CELLS, lambda name: name in WHOLE))
@pytest.mark.thinned(1, 2)
def test_written_out_again_a_step_computes_the_same_numbers(name: str) -> None:
    assert_same_numbers(CELLS[name])


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", range(10))
def test_written_out_again_a_random_step_computes_the_same_numbers(seed: int) -> None:
    assert_same_numbers(functions_of(case_of(seed))[0])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("first", range(10, 310, 50))
@pytest.mark.thinned(1, 5)
def test_written_out_again_many_random_steps_compute_the_same_numbers(first: int) -> None:
    for seed in range(first, first + 50):
        assert_same_numbers(functions_of(case_of(seed))[0])


def test_a_step_without_such_functions_stays_as_it_is() -> None:
    for name in ("rnn", "lstm", "gru"):
        step = CELLS[name].step
        live = step.graph.ancestors([*step.leaves.values(), *step.next.values(), *step.outputs.values()])
        assert len(folded(step).graph) == len(live)


# Spellings of users.

Body = Callable[[Any], Any]


def shifted(a: Any) -> Any:
    return np.exp(a - a.max())


def by_hand(a: Any, eps: float = 1e-3) -> Any:
    mu = np.sum(a) / a.shape[0]
    centred = a - mu
    return centred / np.sqrt(np.sum(centred**2) / a.shape[0] + eps)


def over_norm(a: Any) -> Any:
    return a / np.linalg.norm(a)


VECTORS: dict[str, tuple[str, Body]] = {
    "softmax": ("softmax(a_t)", sb.softmax),
    "softmax naive": ("softmax(a_t)", lambda a: np.exp(a) / np.sum(np.exp(a))),
    "softmax shifted": ("softmax(a_t)", lambda a: shifted(a) / shifted(a).sum()),
    "softmax reciprocal": ("softmax(a_t)", lambda a: shifted(a) * (1 / np.sum(shifted(a)))),
    "softmax kept": ("softmax(a_t)", lambda a: shifted(a) / np.sum(shifted(a), axis=0, keepdims=True)),
    "softmax of logs": ("softmax(a_t)", lambda a: np.exp(sb.log_softmax(a))),
    "log-softmax": ("logsoftmax(a_t)", sb.log_softmax),
    "log-softmax naive": ("logsoftmax(a_t)", lambda a: a - np.log(np.sum(np.exp(a)))),
    "log-softmax of softmax": ("logsoftmax(a_t)", lambda a: np.log(sb.softmax(a))),
    "logsumexp": ("lse(a_t)", lambda a: a * sb.logsumexp(a)),
    "logsumexp naive": ("lse(a_t)", lambda a: a * np.log(np.exp(a).sum())),
    "logsumexp shifted": ("lse(a_t)", lambda a: a * (a.max() + np.log(shifted(a).sum()))),
    "layer norm": ("LN(a_t, 10⁻⁵)", sb.layer_norm),
    "layer norm by hand": ("LN(a_t, 0.001)", by_hand),
    "layer norm of var": ("LN(a_t, 0.01)", lambda a: (a - a.mean()) / (a.var() + 0.01) ** 0.5),
    "layer norm of a power": ("LN(a_t, 0.01)", lambda a: (a - np.mean(a)) * (np.var(a) + 0.01) ** -0.5),
    "rms norm": ("RN(a_t, 10⁻⁶)", lambda a: a / np.sqrt(np.mean(a**2) + 1e-6)),
    "rms norm by product": ("RN(a_t, 10⁻⁶)", lambda a: a / np.sqrt(a @ a / a.shape[0] + 1e-6)),
    "norm": ("‖a_t‖", lambda a: a * np.linalg.norm(a)),
    "norm of a product": ("‖a_t‖", lambda a: a * np.sqrt(a @ a)),
    "norm of squares": ("‖a_t‖", lambda a: a * (a**2).sum() ** 0.5),
    "norm of einsum": ("‖a_t‖", lambda a: a * np.sqrt(np.einsum("i,i->", a, a))),
    "norm with a number": ("‖² + 10⁻⁶", lambda a: a / np.sqrt(np.sum(a * a) + 1e-6)),
    "unit": (" / ‖a_t‖", over_norm),
    "mean": ("mean(a_t)", lambda a: a * np.mean(a)),
    "mean of a sum": ("mean(a_t)", lambda a: a * (np.sum(a) / a.shape[0])),
    "var": ("var(a_t)", lambda a: a * np.var(a)),
    "std": ("std(a_t)", lambda a: a * np.std(a)),
    "max": ("max(a_t)", lambda a: a * np.max(a)),
    "min": ("min(a_t)", lambda a: a * np.min(a)),
    "silu": ("silu(a_t)", sb.silu),
    "silu naive": ("silu(a_t)", lambda a: a / (1 + np.exp(-a))),
    "mish": ("mish(a_t)", lambda a: a * np.tanh(np.log(1 + np.exp(a)))),
    "gelu": ("gelu(a_t)", lambda a: 0.5 * a * (1 + sb.erf(a / np.sqrt(2)))),
    "gelu otherwise": ("gelu(a_t)", lambda a: a * (0.5 * (sb.erf(a * 0.5**0.5) + 1))),
    "elu": ("elu(a_t)", sb.elu),
    "elu by hand": ("elu(a_t)", lambda a: np.where(a > 0, a, np.exp(a) - 1)),
    "elu otherwise": ("elu(a_t)", lambda a: np.where(a < 0, np.expm1(np.minimum(a, 0)), a)),
    "elu with a number": ("elu(a_t, 0.3)", lambda a: np.where(a > 0, a, 0.3 * np.expm1(a))),
    "selu": ("selu(a_t)", sb.selu),
    "leaky relu": ("leaky_relu(a_t)", sb.leaky_relu),
    "leaky relu by hand": ("leaky_relu(a_t, 0.2)", lambda a: np.where(a > 0, a, 0.2 * a)),
    "softsign": ("softsign(a_t)", lambda a: a / (1 + np.abs(a))),
    "hard sigmoid": ("hard_sigmoid(a_t)", sb.hard_sigmoid),
    "clip": ("clip(a_t, -0.5, 0.7)", lambda a: np.clip(a, -0.5, 0.7)),
    "clip by hand": ("clip(a_t, -0.5, 0.7)", lambda a: np.minimum(np.maximum(a, -0.5), 0.7)),
}


def assert_shown(shown: str, page: str) -> None:
    """The name and the numbers of a function stand on the page, whatever its argument is called there."""
    name, _, rest = shown.partition("(a_t") if "(a_t" in shown else shown.partition("a_t")
    assert (f"{name}(" if "(a_t" in shown else name) in page and rest in page, page


def of_vector(body: Body) -> sb.Cell:
    @sb.cell
    def spelled(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], g: Param["n"]):
        return g * body(W @ x + U @ h)

    return spelled


@pytest.mark.parametrize(
    "name", mostly_long(VECTORS, lambda name: " " not in name or name.endswith(("naive", "by hand", "of squares")))
)
@pytest.mark.thinned(11, 3)
def test_spelling_of_a_vector_is_seen(name: str) -> None:
    shown, body = VECTORS[name]
    cell = of_vector(body)
    page, _, _ = sb.derive(cell).text().partition("Functions")
    assert_shown(shown, page)
    for part in (" if ", "sg(", "expm1", "log(", "axis", "sum(a_t ⊙"):
        assert part not in page, page
    assert_read(cell, sizes_of(cell))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", ["softmax", "layer norm by hand", "norm", "max", "std", "log-softmax naive", "mean"])
@pytest.mark.thinned(3)
def test_functions_of_short_vectors(name: str, n: int) -> None:
    cell = of_vector(VECTORS[name][1])
    assert_read(cell, {"m": 3, "n": n})


def rows_of(a: Any) -> Any:
    return (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(axis=1)[:, None] + 1e-3)


def columns_of(a: Any) -> Any:
    return (a - a.mean(0)) / np.sqrt(np.sum((a - a.mean(axis=0)) ** 2, 0) / a.shape[0] + 1e-3)


MATRICES: dict[str, tuple[str, Body]] = {
    "softmax of rows": ("softmax_rows(a_t)", sb.softmax),
    "softmax of columns": ("softmax_columns(a_t)", lambda a: np.exp(a) / np.exp(a).sum(0)),
    "softmax of all": ("softmax(a_t)", lambda a: np.exp(a) / np.exp(a).sum()),
    "log-softmax of rows": ("logsoftmax_rows(a_t)", lambda a: a - sb.logsumexp(a, 1)[:, None]),
    "logsumexp of rows": ("lse_rows(a_t)", lambda a: a * sb.logsumexp(a, axis=1, keepdims=True)),
    "layer norm of rows": ("LN_rows(a_t, 0.001)", rows_of),
    "layer norm of columns": ("LN_columns(a_t, 0.001)", columns_of),
    "norm of rows": ("norm_rows(a_t)", lambda a: a * np.linalg.norm(a, axis=1)[:, None]),
    "norm of all": ("‖a_t‖", lambda a: a * np.linalg.norm(a)),
    "rows of length one": ("unit_rows(a_t)", lambda a: a / np.sqrt(np.einsum("ij,ij->i", a, a))[:, None]),
    "columns of length one": ("unit_columns(a_t)", lambda a: a / np.sqrt((a * a).sum(axis=0))),
    "max of rows": ("max_rows(a_t)", lambda a: a * a.max(axis=1)[:, None]),
    "min of columns": ("min_columns(a_t)", lambda a: a * a.min(axis=0)),
    "std of columns": ("std_columns(a_t)", lambda a: a * np.std(a, axis=0)),
    "mean of all": ("mean(a_t)", lambda a: a * a.mean()),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.thinned(5, 2)
def test_spelling_of_a_matrix_is_seen(name: str) -> None:
    shown, body = MATRICES[name]

    @sb.cell
    def spelled(x: Input["m"], H: State["k n"], W: Param["k m"], U: Param["n n"], g: Param["k n"]):
        return g * body(H @ U + (W @ x)[:, None])

    page = sb.derive(spelled).text()
    assert_shown(shown, page)
    assert_read(spelled, sizes_of(spelled))


def test_functions_of_arrays_of_three_axes() -> None:
    @sb.cell
    def heads(x: Input["m"], S: State["2 d n"], W: Param["2 d m"]):
        a = S + (W @ x)[:, :, None]
        return sb.softmax(a) + sb.layer_norm(a, axis=1) * np.linalg.norm(a, axis=0) + sb.softmax(a, axis=(1, 2))

    assert_read(heads, sizes_of(heads))


def test_axes_of_one_entry() -> None:
    @sb.cell
    def row(x: Input["1"], H: State["1 n"], W: Param["n n"]):
        a = H @ W + x
        return sb.softmax(a) + sb.layer_norm(a, axis=0) + np.linalg.norm(a, axis=0) * a.max(0)

    @sb.cell
    def column(x: Input["n"], H: State["n 1"], W: Param["n n"]):
        a = W @ H + x[:, None]
        return sb.softmax(a) + sb.softmax(a, axis=0) * np.linalg.norm(a) + a / np.sqrt(np.sum(a * a, axis=0) + 1e-3)

    for cell in (row, column):
        assert_read(cell, sizes_of(cell))
        assert_same_numbers(cell)


def test_numbers_may_be_constants_but_no_parameters() -> None:
    @sb.cell
    def constant(x: Input["n"], h: State["n"], eps: Const = 0.01):
        a = x + h
        return (a - a.mean()) / np.sqrt(a.var() + eps)

    @sb.cell
    def learned(x: Input["n"], h: State["n"], eps: Param = 0.01):
        a = x + h
        return (a - a.mean()) / np.sqrt(a.var() + eps)

    assert "LN(x_t + h_{t-1}, eps)" in sb.derive(constant).text().replace("a_t", "x_t + h_{t-1}")
    assert "deps" in sb.derive(learned).text()
    for cell in (constant, learned):
        assert_read(cell, sizes_of(cell))


# What only looks like one.

ALIKE: dict[str, tuple[str, Body]] = {
    "mean along the other axis": ("LN", lambda a: (a - a.mean(1)) / np.sqrt(a.var(1, keepdims=True) + 1e-3)),
    "maximum of others": ("softmax", lambda a: np.exp(a - a.max(1)) / np.exp(a - a.max(1)).sum(1, keepdims=True)),
    "sum along the other axis": ("softmax", lambda a: np.exp(a) / np.exp(a).sum(1)),
    "one too few": ("LN", lambda a: (a - a.mean()) / np.sqrt(np.sum((a - a.mean()) ** 2) / (a.size - 1) + 1e-3)),
    "mean of a part": ("mean", lambda a: a * (np.sum(a[0]) / a.size)),
    "held": ("softmax", lambda a: np.exp(a) / sb.stop_gradient(np.exp(a).sum())),
    "maximum held": ("max", lambda a: a * sb.stop_gradient(np.max(a, 1, keepdims=True))),
    "norm of two": ("norm", lambda a: a * np.sqrt(np.sum(a * a * (a + 1) ** 2))),
    "slope to the right": ("elu", lambda a: np.where(a >= 0, a, 0.3 * np.expm1(a))),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_only_looks_like_a_function_is_none(name: str) -> None:
    shown, body = ALIKE[name]

    @sb.cell
    def spelled(x: Input["n"], H: State["n n"], U: Param["n n"], g: Param["n n"]):
        return g * body(H @ U + x)

    assert f"{shown}(" not in sb.derive(spelled).text().partition("Functions")[0].replace("sg(max_", "")
    assert_read(spelled, sizes_of(spelled))


def test_values_that_are_read_elsewhere_stay() -> None:
    @sb.cell
    def both(x: Input["n"], h: State["n"]):
        e = np.exp(x + h - np.max(x + h))
        p = e / e.sum()
        mu = np.mean(h)
        return p * e + (h - mu) / np.sqrt(np.var(h) + 1e-5) * mu

    page = sb.derive(both).text()
    assert "softmax(" in page and "exp(" in page and "LN(" in page and "mean(" in page
    assert_read(both, sizes_of(both))


# Losses.


@sb.loss
def by_label(h: State["n"], y: Index["k"], V: Param["k n"], c: Param["k"]):
    return -sb.log_softmax(V @ h + c)[y]


@sb.loss
def by_label_naive(h: State["n"], y: Index["k"], V: Param["k n"], c: Param["k"]):
    z = V @ h + c
    return np.log(np.sum(np.exp(z))) - z[y]


@sb.loss
def by_vector(h: State["n"], y: Target["k"], V: Param["k n"], c: Param["k"]):
    return -np.sum(y * sb.log_softmax(V @ h + c))


@sb.loss
def smoothed(h: State["n"], y: Index["k"], V: Param["k n"], c: Param["k"]):
    logp = sb.log_softmax(V @ h + c)
    return -0.9 * logp[y] - 0.1 * np.mean(logp)


LOSSES = [by_label, by_label_naive, by_vector, smoothed]


@pytest.mark.parametrize("at, reduction", [("every", "sum"), ("last", "mean")])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.thinned(3)
def test_cross_entropy_on_the_page_is_what_the_kernel_computes(loss: sb.Loss, at: str, reduction: str) -> None:
    model = sb.model(zoo.CELLS["rnn"], loss, at=at, reduction=reduction)
    assert_model_read(model, sizes_of(model))


def lines_of(loss: sb.Loss) -> str:
    return sb.derive(sb.model(zoo.CELLS["rnn"], loss)).text()


def test_cross_entropy_sends_back_softmax_less_the_target() -> None:
    assert "du_t = softmax(u_t) - e_{y_t}" in " ".join(lines_of(by_label).split())
    assert "dz_t = softmax(z_t) - e_{y_t}" in " ".join(lines_of(by_label_naive).split())
    assert "sum(y_t) softmax(u_t)" in lines_of(by_vector) and "- y_t" in lines_of(by_vector)


# Functions of the user's own.

squash = sb.function("squash", lambda v: v / sp.sqrt(1 + v**2))
bump = sb.function("bump", lambda v, width: sp.exp(-((v / width) ** 2)))
fires = sb.function("fires", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + sp.Abs(v)) ** 2)
steps = sb.function("steps", lambda v: sp.floor(v), derivative=lambda v: 1)
swish = sb.function("swish", lambda v: v / (1 + sp.exp(-v)))


@sb.cell
def with_own(x: Input["m"], h: State["n"], W: Param["n m"], w: Param["n"]):
    a = W @ x + w * h
    return squash(a) + bump(h, w) * fires(a) + 0.1 * steps(3 * a) + swish(a)


def test_functions_of_the_user_stand_by_their_names() -> None:
    page = " ".join(sb.derive(with_own).text().split())
    for line in (
        "h_t = squash(a_t)",
        "⊙ fires(a_t)",
        "bump(h_{t-1}, w)",
        "swish(a_t)",
        "bump'_2(h_{t-1}, w)",
        "fires'(a_t)",
    ):
        assert line in page, page
    for line in ("squash(b)", "swish'(b)", "fires'(b) is replaced by 1 / (1 + |b|)²", "steps'(b) is replaced by 1"):
        assert line in page, page
    assert "fires'(b) =" not in page
    assert r"\mathrm{bump}'_{2}" in sb.derive(with_own).latex()
    assert_read(with_own, sizes_of(with_own))
    assert_same_numbers(with_own)


def test_function_of_the_user_does_not_take_a_name_of_the_page() -> None:
    norm = sb.function("norm", lambda v: sp.Abs(v) + v**2)
    mean = sb.function("mean", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + v**2))

    @sb.cell
    def cell(x: Input["n"], h: State["n"]):
        return norm(h) + mean(x) + np.linalg.norm(h)

    page = sb.derive(cell).text()
    assert page.count("‖h_{t-1}‖") == 1 and "own_mean(x_t)" in page and "|h_{t-1}|" in page
    assert_read(cell, sizes_of(cell))


def test_functions_of_the_user_survive_a_second_trace_and_a_stack() -> None:
    deep = sb.stack(with_own, with_own)
    assert_read(deep, sizes_of(deep), "loop")
    assert "squash(a_" in sb.derive(deep).text()


# Where functions saturate.


@pytest.mark.parametrize(
    "name", ["softmax", "log-softmax naive", "logsumexp", "silu", "mish", "gelu", "elu", "selu", "layer norm"]
)
@pytest.mark.parametrize("scale", [40.0, 300.0])
@pytest.mark.thinned(11, 2)
def test_page_keeps_its_digits_where_functions_saturate(name: str, scale: float) -> None:
    body = VECTORS[name][1]
    assert_read(of_vector(lambda a: np.tanh(body(scale * a) / scale)), {"m": 3, "n": 5})


# The graph shows functions whole too.


def test_unrolled_graph_has_whole_functions() -> None:
    graph = sb.unroll(zoo.CELLS["attention"], steps=2, backward=True)
    assert not {"shifted", "e"} & {name for name, _ in graph}
    assert "softmax(" in graph.nodes["weights", 1]["expression"]


# Faults that these tests must catch.


def _without_product(g: Any, node: Any, bar: int) -> int:
    a, b = placeholder(0), placeholder(1)
    return map_(g, a * b, (node.id, bar))


def _without_mean(g: Any, node: Any, bar: int) -> int:
    return map_(
        g, placeholder(0) - placeholder(1), (bar, whole.beside(g, reduce(g, "sum", bar, node.attrs.axes), node))
    )


@pytest.mark.parametrize("name, fault", [("softmax", _without_product), ("layer_norm", _without_mean)])
def test_wrong_adjoint_is_caught(name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whole.ADJOINTS, name, fault)
    cell = of_vector(sb.softmax if name == "softmax" else sb.layer_norm)
    kernel_of.cache_clear()
    with pytest.raises(AssertionError, match="gradient"):
        assert_read(cell, sizes_of(cell))


def test_tangent_of_a_function_is_the_transpose_of_its_adjoint() -> None:
    """Of y = f(x): the sum of dy ⊙ (what a change v makes of y) is that of (what dy gives x) ⊙ v."""
    random = np.random.default_rng(0)
    given = dict(zip(("x", "v", "dy"), random.standard_normal((3, 1, 1, 4)), strict=True))
    written = [
        record for record in ARRAYS if record.name not in ("std", "norm", "max", "min")
    ]  # others are for pages alone
    for record in written:
        g = Graph()
        x, v = (build.leaf(g, "input", name, (4,)) for name in ("x", "v"))
        numbers = [build.number(g, 0.3)] * record.numbers
        y = build.whole(g, record.name, (x, *numbers), (0,), record.stays)
        dy = build.leaf(g, "input", "dy", g.shape(y))
        roots = {"tangent": whole.tangent_of_value(g, g[y], v), "adjoint": whole.adjoint_of_argument(g, g[y], dy)}
        arguments = tuple(Argument("input", name, g.shape(id)) for name, id in (("x", x), ("v", v), ("dy", dy)))
        step = expanded(Step("f", "", g, arguments, {"x": x, "v": v, "dy": dy}, {}, roots))
        values = evaluator(step, step.outputs)(
            {**given, "dy": given["dy"] if record.stays else given["dy"][..., 0]}, {}, 1, 1, np.dtype(float)
        )
        left = np.sum(values["tangent"] * (given["dy"] if record.stays else given["dy"][..., 0]))
        np.testing.assert_allclose(left, np.sum(values["adjoint"] * given["v"]), rtol=1e-10, err_msg=record.name)


def test_every_function_has_an_adjoint() -> None:
    assert {record.name for record in ARRAYS} == set(whole.ADJOINTS)


def test_norms_along_more_than_two_axes_stand_by_their_name() -> None:
    @sb.cell
    def all_axes(h: State["n"], M: Param["2 3 n"]):
        return h + np.linalg.norm(M)

    @sb.cell
    def by_root(h: State["n"], M: Param["2 3 n"]):
        return h + np.sqrt(np.sum(M * M))

    @sb.cell
    def some_axes(h: State["n"], M: Param["2 3 n 4"]):
        return h + np.sqrt(np.sum(M * M, axis=(0, 1, 3)))

    for one in (all_axes, by_root, some_axes):
        line = next(line for line in sb.derive(one).text().splitlines() if "h_t" in line)
        assert "norm" in line and "√" not in line


@sb.cell
def crowded(h: State["n"], a: Param, b: Param, c: Param, u: Param, v: Param, w: Param, z: Param):
    return np.clip(h * (a + b + c + u + v + w + z), -3, 3)


def test_definitions_have_letters_where_a_cell_has_taken_all() -> None:
    """Such a cell once had no page, and with it no module."""
    page = " ".join(sb.derive(crowded).text().split())
    assert "clip(a_1, a_2, a_3) = min(max(a_1, a_2), a_3)" in page  # of all letters some stand on the page
