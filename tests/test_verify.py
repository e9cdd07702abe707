"""Verification: what is right passes, what is planted is caught, and the wrong block is named."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Const, Index, Input, Param, State, Target, ops
from symbptt.autodiff import partials as scalar
from symbptt.autodiff import vjp as adjoint
from symbptt.codegen.kernel import Kernel
from symbptt.ir import build
from symbptt.ir.node import placeholder
from symbptt.verification import oracle, screen
from symbptt.verification.checks import Verification
from symbptt.verification.comparison import FAIR, with_noise
from symbptt.verification.objective import slopes_of_samples, value_of
from symbptt.verification.regimes import REGIMES, Size
from symbptt.verification.regimes import point as draw
from symbptt.verification.report import Row
from symbptt.zoo import cornn, gru, rnn, sru
from tests.cells import odd
from tests.kernels import kernel_of


@sb.cell
def tiny(x: Input["n"], h: State["n"], w: Param["n"], v: Param["n"]):
    """Two gates, and little to differentiate: quick to verify."""
    z = sb.sigmoid(w * x)
    return z * h + (1 - z) * np.tanh(v * x)


REGIME_NAMES = ("healthy", "contractive", "expansive", "padded", "exact", "saturated", "zero state", "extreme inputs")


@pytest.mark.parametrize(
    "cell",
    [rnn, *(pytest.param(cell, marks=pytest.mark.long) for cell in (gru, cornn, sru, odd))],
    ids=lambda cell: cell.name,
)
@pytest.mark.thinned(1, 2)
def test_right_cell_passes_in_every_regime(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed and report.wrong == () and f"{cell.name}: passed" in str(report)
    assert tuple(regime.name for regime in REGIMES) == REGIME_NAMES
    assert {row.regime for row in report.rows if not row.note} == set(REGIME_NAMES)


def test_every_block_is_compared_and_each_step_of_the_inputs() -> None:
    report = sb.verify(rnn)
    blocks = {row.block for row in report.rows if row.size == "T=3 B=2"}
    assert blocks == {"h", "dW", "dU", "db", "dh_0", "dx[t=0]", "dx[t=1]", "dx[t=2]"}
    assert {row.size for row in report.rows} == {
        "T=3 B=2",
        "T=3 B=2 ties",
        "T=3 B=2 gates -12",
        "T=3 B=2 gates -40",
        "T=1 B=1",
        "T=1 B=1 shut",
        "T=1 B=1 shut gates -18",
        "T=1 B=1 gates 18 in turn",
        "T=1 B=1 gates -18 in turn",
        "T=2 B=1 sizes 1",
        "T=0 B=2",
        "T=25 B=1",
        "T=5 B=4 no lengths",
        "T=5 B=4 no resets",
        "T=5 B=4 last no resets",
        "T=5 B=2 blocks of 2",
        "T=5 B=6 blocks of 2",
        "T=7 B=1 last blocks of 4",
        "T=13 B=2 blocks of 11",
    }
    assert {row.tolerance for row in report.rows if row.method == "complex step"} == {1e-10}
    assert report.worst in report.rows


@sb.loss
def distance(h: State["n"], target: Target["n"]):
    return np.sum((h - target) ** 2)


EACH, LAST = sb.model(rnn, distance, at="every"), sb.model(rnn, distance, at="last", reduction="mean")


@pytest.mark.parametrize(
    ("target", "T", "truncation"),
    [(rnn, 3, None), (rnn, 0, None), (rnn, 3, sb.Chunked(2, 3)), (EACH, 3, sb.Window(2)), (LAST, 3, None)],
)
def test_one_step_in_all_samples_tells_the_slope_of_each(target: sb.Cell | sb.Model, T: int, truncation: Any) -> None:
    at = draw(target, REGIMES[3], Size(T, 2), 1)
    assert at is not None
    sent = oracle.cotangents(rnn, at, 2) if isinstance(target, sb.Cell) else {}
    value, slopes = (of(target, sent, at, truncation=truncation) for of in (value_of, slopes_of_samples))
    for block in [("state", "h", ...), *(("inputs", "x", t) for t in range(T))]:
        wanted = oracle.complex_step(value, at, block)
        found = oracle.steps_of_samples(slopes, at, block)
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)
        # What samples have of their own is told apart: the slope of the sum for each would be another.
        assert not np.any(wanted) or not np.allclose(found, np.broadcast_to(wanted.sum(0), found.shape))


def test_further_directions_see_a_fault_in_one_element() -> None:
    at = draw(rnn, REGIMES[0], Size(2, 1), 1)
    assert at is not None
    sent = oracle.cotangents(rnn, at, 2)
    value = value_of(rnn, sent, at)
    right = {("params", k): oracle.complex_step(value, at, ("params", k, ...)) for k in ("U", "b")}

    def is_within(found: Any) -> bool:
        return screen.all_within(FAIR * 1e-10, value, at, found, 0.0, np.random.default_rng(0), 1)

    assert is_within(right) and is_within({})
    for place, gradient in right.items():
        wrong = gradient.copy()
        wrong.flat[-1] += 1e-10 * np.max(np.abs(gradient))
        assert not is_within({**right, place: wrong})


@pytest.mark.parametrize(("noise", "looks"), [(1.0, 1), (1e-12, 1), (2e-9, 4)])
def test_error_is_looked_at_again_only_where_more_noise_would_explain_it(noise: float, looks: int) -> None:
    """An error of 1e-7 of a block of one; moves only add to the noise, and 1e3 times what was seen is beyond any of them."""
    wanted, given, asked = np.ones(2), np.ones(2) + 1e-7, []

    def moved(names: list[str], seed: int) -> list[Any]:
        asked.append(seed)
        return [dict.fromkeys(names, (wanted + noise, given))]

    found = with_noise({"dU": (wanted, given)}, {"dU": 1.0}, "complex step", moved, {"dU": 0.0})
    assert asked == [*range(looks)] and found["dU"].noise == pytest.approx(noise, rel=1e-3)


@pytest.mark.long
def test_same_seed_gives_the_same_report() -> None:
    assert sb.verify(tiny, seed=3).rows == sb.verify(tiny, seed=3).rows
    assert sb.verify(tiny, seed=3).rows != sb.verify(tiny, seed=4).rows


def test_kernel_is_verified_as_it_was_compiled() -> None:
    @sb.cell
    def leaky(x: Input["n"], h: State["n"], dt: Const = 0.1):
        return h + dt * (np.tanh(x) - h)

    assert sb.verify(sb.compile(leaky, consts={"dt": 0.9})).passed


def test_cell_with_kinks_passes() -> None:
    @sb.cell
    def step(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
        a = sb.relu(W @ x) - np.abs(U @ h)
        return 0.3 * np.where(a > 0.1, np.maximum(a, h), np.clip(a * h, -0.5, 0.5))

    assert sb.verify(step).passed


def real_cell() -> sb.Cell:
    """Numbers made floats are themselves on real arrays, and lose what a complex step carries."""

    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.tanh(w * x + h / (2 + np.sin(h).astype(float)))

    return step


def test_function_without_a_complex_version_is_compared_by_central_differences() -> None:
    report = sb.verify(real_cell())
    methods = {
        row.method for row in report.rows if row.regime == "healthy" and row.block != "h" and "T=0" not in row.size
    }
    assert methods == {"central differences"}
    assert {row.tolerance for row in report.rows if row.method == "central differences"} == {1e-6}
    assert "dh_0" not in {row.block for row in report.rows if row.regime == "healthy" and not row.passed}


def test_function_without_a_complex_version_passes_and_the_report_says_how() -> None:
    report = sb.verify(real_cell())
    assert report.passed and "central differences" in str(report)


def test_cell_that_is_never_finite_does_not_pass() -> None:
    @sb.cell
    def step(h: State["n"]):
        return np.log(-1 - h * h)

    report = sb.verify(step)
    assert "not finite here" in str(report)
    assert not report.passed


# Backward passes by hand.


def rnn_backward(params: Any, inputs: Any, state: Any, cotangents: Any, wrong: str = "") -> dict[str, Any]:
    """The vanilla network's, with one mistake or none."""
    W, U, b, x = params["W"], params["U"], params["b"], inputs["x"]
    T = len(x)
    h = np.empty((T + 1, *state["h"].shape))
    h[0] = state["h"]
    for t in range(T):
        h[t + 1] = np.tanh(x[t] @ W.T + h[t] @ U.T + b)
    dh, da = np.zeros_like(h[0]), np.zeros((T, *state["h"].shape))
    for t in reversed(range(T)):
        dh = dh + cotangents["h"][t]
        sign = 1 if wrong == "sign of the derivative" else -1
        da[t] = dh * (1 + sign * h[t + 1] ** 2)
        dh = da[t] @ (U.T if wrong == "U transposed" else U)
        if wrong == "no carry" or (wrong == "five steps" and T - t >= 5):
            dh = np.zeros_like(dh)
    before = h[1:] if wrong == "h_t for h_{t-1}" else h[:-1]
    grads = {"W": np.einsum("tbi,tbj->ij", da, x), "U": np.einsum("tbi,tbj->ij", da, before), "b": da.sum((0, 1)),
             "x": da @ W, "h": dh}  # fmt: skip
    match wrong:
        case "dh_0 forgotten":
            grads["h"] = np.zeros_like(dh)
        case "dx_1 forgotten":
            grads["x"][:1] = 0
        case "sign of db":
            grads["b"] = -grads["b"]
        case "mean over samples":
            grads["W"] = grads["W"] / max(x.shape[1], 1)
        case "first sample only":
            grads["U"] = np.einsum("ti,tj->ij", da[:, 0], h[:-1, 0])
        case "a factor of 1 + 1e-8":
            grads["U"] = grads["U"] * (1 + 1e-8)
        case "dW of another shape":
            grads["W"] = grads["W"].T
        case "not a number":
            grads["b"] = grads["b"] * np.nan
    return grads


MISTAKES: dict[str, set[str]] = {
    "U transposed": {"dW", "dU", "db", "dx", "dh_0"},
    "no carry": {"dW", "dU", "db", "dx", "dh_0"},
    "five steps": {"dW", "dU", "db", "dx", "dh_0"},
    "sign of the derivative": {"dW", "dU", "db", "dx", "dh_0"},
    "h_t for h_{t-1}": {"dU"},
    "dh_0 forgotten": {"dh_0"},
    "dx_1 forgotten": {"dx"},
    "sign of db": {"db"},
    "mean over samples": {"dW"},
    "first sample only": {"dU"},
    "a factor of 1 + 1e-8": {"dU"},
    "dW of another shape": {"dW"},
    "not a number": {"db"},
}


def test_right_backward_pass_is_accepted() -> None:
    report = sb.check_backward(rnn, rnn_backward)
    assert report.passed and report.wrong == () and "rnn: passed" in str(report)


QUICK = ("U transposed", "five steps", "dh_0 forgotten", "h_t for h_{t-1}", "mean over samples", "a factor of 1 + 1e-8")


def some_now(names: Iterable[str], now: tuple[str, ...]) -> list[Any]:
    """Parameters, of which those that are not for now are marked long: what is wrong takes longer to report."""
    return [name if name in now else pytest.param(name, marks=pytest.mark.long) for name in names]


@pytest.mark.parametrize("wrong", some_now(MISTAKES, QUICK))
@pytest.mark.thinned(3, 2)
def test_wrong_backward_pass_is_caught_and_the_blocks_are_named(wrong: str) -> None:
    report = sb.check_backward(rnn, lambda *arguments: rnn_backward(*arguments, wrong=wrong))
    assert not report.passed
    assert set(report.wrong) == MISTAKES[wrong]
    text = str(report)
    assert "rnn: FAILED" in text and f"wrong: {', '.join(report.wrong)}" in text and "✗" in text


@pytest.mark.long
def test_error_that_shows_at_many_steps_only_is_caught() -> None:
    report = sb.check_backward(rnn, lambda *arguments: rnn_backward(*arguments, wrong="five steps"))
    assert {row.size for row in report.rows if not row.passed} == {"T=25 B=1"}


def test_swapped_gates_are_named() -> None:
    kernel = sb.compile(tiny)

    def swapped(params: Any, inputs: Any, state: Any, cotangents: Any) -> dict[str, Any]:
        grads = kernel.backward(kernel.forward(params, inputs, state), cotangents)
        return {"w": grads.params["v"], "v": grads.params["w"], **grads.inputs, **grads.state}

    assert set(sb.check_backward(tiny, swapped).wrong) == {"dw", "dv"}


def test_missing_gradient_is_refused_by_name() -> None:
    def lacking(*arguments: Any) -> dict[str, Any]:
        return {k: v for k, v in rnn_backward(*arguments).items() if k not in ("U", "h")}

    with pytest.raises(sb.ArgumentError, match="no gradient of h, U|no gradient of U, h"):
        sb.check_backward(rnn, lacking)


@pytest.mark.parametrize("result", [None, 3.0, [np.zeros(3)]])
def test_what_is_no_dict_of_gradients_is_refused(result: Any) -> None:
    with pytest.raises(sb.ArgumentError, match="dict"):
        sb.check_backward(rnn, lambda *arguments: result)


def test_constants_and_indices_need_no_gradient() -> None:
    @sb.cell
    def step(i: Index["v"], h: State["n"], E: Param["v n"], U: Const["n n"], dt: Const = 0.5):
        return h + dt * np.tanh(E[i] + U @ h)

    kernel = sb.compile(step)

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> dict[str, Any]:
        grads = kernel.backward(kernel.forward(params, inputs, state), cotangents)
        return {**grads.params, **grads.state}

    report = sb.check_backward(step, backward)
    assert report.passed and {row.block for row in report.rows} == {"dE", "dh_0"}


# What a backward pass of the user's may do, and what is refused.


@sb.cell
def read_out(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], V: Param["k n"]):
    h = np.tanh(W @ x + U @ h)
    return {"h": h, "y": V @ h}


def read_out_backward(params: Any, inputs: Any, state: Any, cotangents: Any, reads: str = "hy") -> dict[str, Any]:
    """The gradients, of the cotangents of some values only."""
    kernel = kernel_of(read_out)
    grads = kernel.backward(kernel.forward(params, inputs, state), {k: cotangents[k] for k in reads})
    return {**grads.params, **grads.inputs, **grads.state}


def changed(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Callable[..., Any]:
    """The right pass, whose gradients are changed; the change sees the arguments."""

    def backward(*arguments: Any) -> Any:
        grads = rnn_backward(*arguments)
        return change(grads, dict(zip(("params", "inputs", "state", "cotangents"), arguments, strict=True))) or grads

    return backward


@pytest.mark.long
def test_changes_to_what_is_handed_out_do_not_reach_the_oracle() -> None:
    def decays(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        params["W"] *= 0.99
        return rnn_backward(params, inputs, state, cotangents)

    def centres(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        inputs["x"] -= inputs["x"].mean() if inputs["x"].size else 0.0
        return rnn_backward(params, inputs, state, cotangents)

    def scales(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        cotangents["h"] *= 0.5
        return rnn_backward(params, inputs, state, cotangents)

    for wrong in (decays, centres, scales):
        report = sb.check_backward(rnn, wrong)
        assert not report.passed and report.wrong


def test_change_behind_the_gradients_is_allowed() -> None:
    def cleans(grads: Any, given: Any) -> None:
        given["params"]["W"][:] = 0
        given["inputs"]["x"][:] = 0

    assert sb.check_backward(rnn, changed(cleans)).passed


def test_noise_on_a_gradient_is_caught() -> None:
    random = np.random.default_rng(0)
    for size in (1e-2, 1e-9):
        noisy = changed(lambda g, _: {**g, "U": g["U"] * (1 + size * random.standard_normal(g["U"].shape))})  # noqa: B023
        report = sb.check_backward(rnn, noisy)
        assert report.wrong == ("dU",) and "a second call with the same arguments returns another value" in str(report)


def test_list_with_an_array_for_each_step_is_taken() -> None:
    assert sb.check_backward(rnn, changed(lambda g, _: {**g, "x": list(g["x"])})).passed


def test_other_layouts_are_wrong_in_words() -> None:
    report = sb.check_backward(rnn, changed(lambda g, _: {**g, "x": g["x"].swapaxes(0, 1)}))
    assert report.wrong == ("dx",) and "time comes first: (T, B, ...)" in str(report)


@pytest.mark.parametrize(("change", "message"), [
    (lambda g, _: {**g, "x": None}, "no gradient of x"),
    (lambda g, _: {k: v for k, v in g.items() if k != "h"}, "no gradient of h"),
    (lambda g, _: {f"d{k}": v for k, v in g.items()}, "but dW, dU, db, dx, dh"),
    (lambda g, _: {**g, "U": g["U"].astype(np.float32)}, "float32, the arguments are float64"),
    (lambda g, _: {**g, "U": g["U"] + 1j}, "complex128"),
    (lambda g, _: {**g, "U": [np.ones(3), np.ones(2)]}, "different shapes"),
    (lambda g, _: {**g, "U": "text"}, "no array of real numbers"),
    (lambda g, given: given["cotangents"]["y"], "raised KeyError"),
])  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_words(change: Any, message: str) -> None:
    with pytest.raises(sb.ArgumentError, match=message):
        sb.check_backward(rnn, changed(change))


def test_no_step_has_cotangents_of_no_step() -> None:
    shapes = set()
    changed_ = changed(lambda g, given: shapes.add((given["cotangents"]["h"].shape, given["inputs"]["x"].shape)))
    assert sb.check_backward(rnn, changed_).passed
    assert any(of_h[0] == 0 and len(of_h) == 3 and of_h[:2] == of_x[:2] for of_h, of_x in shapes)


@pytest.mark.long
def test_pass_that_reads_outputs_only_is_told_so() -> None:
    assert sb.check_backward(read_out, read_out_backward).passed
    report = sb.check_backward(read_out, lambda *arguments: read_out_backward(*arguments, reads="y"))
    assert not report.passed and "right where only cotangents of outputs are not zero" in str(report)
    report = sb.check_backward(read_out, lambda *arguments: read_out_backward(*arguments, reads="h"))
    assert not report.passed and "right where only cotangents of states are not zero" in str(report)


def test_pass_of_a_model_gets_its_targets() -> None:
    @sb.loss
    def squared(h: State["n"], y: Target["n"], v: Param["n"]):
        return np.sum((v * h - y) ** 2)

    model = sb.model(rnn, squared, reduction="mean")

    def backward(params: Any, inputs: Any, state: Any, targets: Any, factor: float = 1.0) -> dict[str, Any]:
        _, grads = kernel_of(model).value_and_grad(params, inputs, targets, state)
        return {**grads.params, **grads.inputs, **grads.state, "v": factor * grads.params["v"]}

    assert sb.check_backward(model, backward).passed
    assert sb.check_backward(model, lambda *arguments: backward(*arguments, factor=1.001)).wrong == ("dv",)


@pytest.mark.long
def test_what_a_wrong_pass_does_right_is_told_of_where_it_is_wrong() -> None:
    """Back through 20 steps only, a pass is right on three, whatever their cotangents are."""

    def cut(last: bool) -> Callable[..., Any]:
        def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
            dh = (
                cotangents["h"] * (np.arange(len(inputs["x"])) == len(inputs["x"]) - 1)[:, None, None]
                if last
                else cotangents["h"]
            )
            kernel = kernel_of(rnn)
            grads = kernel.backward(kernel.forward(params, inputs, state), {"h": dh})
            early = grads.inputs["x"] * (np.arange(len(dh)) >= (0 if last else len(dh) - 20))[:, None, None]
            return {**grads.params, "x": early, **grads.state}

        return backward

    told = "right where only cotangents of the last step are not zero"
    assert told in str(sb.check_backward(rnn, cut(True)))
    report = sb.check_backward(rnn, cut(False))
    assert report.wrong == ("dx",) and told not in str(report)


def test_pass_may_be_any_object_that_can_be_called() -> None:
    class Pass:
        def __call__(self, params: Any, inputs: Any, state: Any, cotangents: Any, factor: float = 1.0) -> Any:
            kernel = kernel_of(rnn)
            grads = kernel.backward(kernel.forward(params, inputs, state), cotangents)
            return {**grads.params, **grads.inputs, "h": factor * grads.state["h"]}

    assert sb.check_backward(rnn, Pass()).passed
    assert sb.check_backward(rnn, functools.partial(Pass(), factor=2.0)).wrong == ("dh_0",)
    with pytest.raises(sb.ArgumentError, match="takes a function, got object"):
        sb.check_backward(rnn, object())  # type: ignore[arg-type]


def test_domain_and_values_are_those_that_a_pass_gets() -> None:
    seen: list[Any] = []
    backward = changed(lambda g, given: seen.append((given["inputs"]["x"], given["params"]["W"])))
    W = np.full((3, 2), 0.5)
    assert sb.check_backward(rnn, backward, params={"W": W}, domain={"x": "binary"}).passed
    assert all({*np.unique(x)} <= {0.0, 1.0} and np.array_equal(w, W) for x, w in seen)


# Faults planted in the library.


@pytest.fixture
def fresh_derivatives() -> Iterator[None]:
    """No derivative is remembered from before, or after."""
    for _ in range(2):
        scalar.partials.cache_clear()
        sp.core.cache.clear_cache()
        if not _:
            yield


@sb.cell
def every_family(x: Input["m"], i: Index["v"], h: State["n"], W: Param["n m"], E: Param["v n"], b: Param["2*n"]):
    """Uses each family of nodes, so that a wrong rule of any shows."""
    a = np.concatenate([W @ x, E[i]]) + b
    c = np.tanh(np.cumsum(a[: h.shape[0]]) + np.linalg.solve(np.diag(1 + h * h), h))
    return c * sb.sigmoid(a[h.shape[0] :]) + np.sum(np.sin(c)) * 0.1 + np.max(c) * 0.2


IN_CODE = tuple(family for family in adjoint.RULES if family not in ("whole", "convolution"))
"""Families that code is made of; functions that are shown whole, and convolutions, stand on pages alone."""


def test_cell_of_every_family_passes() -> None:
    assert {node.family for node in every_family.step.graph} >= set(IN_CODE)
    assert sb.verify(every_family).passed


@pytest.mark.parametrize("family", some_now(IN_CODE, ("contract",)))
@pytest.mark.thinned(1, 2)
def test_wrong_adjoint_rule_is_caught(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = adjoint.RULES[family]

    def doubled(context: adjoint.Context, node: Any, bar: int) -> adjoint.Contributions:
        g = context.graph
        return [(arg, build.map_(g, 2 * placeholder(0), (given,))) for arg, given in right(context, node, bar)]

    monkeypatch.setitem(adjoint.RULES, family, doubled)
    assert not sb.verify(every_family).passed


@pytest.mark.parametrize(("function", "derivative", "use"), [
    (ops.sigmoid, lambda y: y * (1 + y), sb.sigmoid),
    (ops.softplus, lambda y: 1 - y, sb.softplus),
    (ops.expm1, lambda y: y, np.expm1),
])  # fmt: skip
@pytest.mark.thinned(5)
def test_wrong_derivative_of_a_function_is_caught(
    function: Any, derivative: Any, use: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, fresh_derivatives: None
) -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"], w: Param["n"]):
        return 0.5 * h + use(np.sin(w * x + h))

    monkeypatch.setattr(function, "fdiff", lambda self, argindex=1: derivative(self))
    report = sb.verify(step)
    assert set(report.wrong) >= {"dw", "dh_0"}
    assert not {"h"} & set(report.wrong)


def test_wrong_text_of_a_function_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ops.BY_NAME, "tanh", dataclasses.replace(ops.BY_NAME["tanh"], code="np.sinh({0})"))
    assert "h" in sb.verify(tiny).wrong


def mutants(text: str) -> list[str]:
    """The module with one sign or one product changed in the body of _backward, once for each place."""
    start, end = text.index("def _backward"), text.index("\ndef init(")
    body = text[start:end]
    changed = []
    changes = ((" + ", " - "), (" - ", " + "), (" * ", " + "), ("h_prev", "h"), (" @ ", " @ -"))
    for old, new in (*changes, ("np.add(", "np.subtract("), ("np.subtract(", "np.add("), ("np.multiply(", "np.add(")):
        at = body.find(old)
        while at >= 0:
            line = body[body.rfind("\n", 0, at) + 1 : at]
            rest = line + body[at : body.find("\n", at)]
            if "#" not in line and not any(
                word in rest for word in ("range", "np.empty", "ws.room", "tape", "K =", "hi - lo")
            ):
                changed.append(text[:start] + body[:at] + new + body[at + len(old) :] + text[end:])
            at = body.find(old, at + 1)
    return changed


@pytest.mark.long
def test_no_mutant_of_a_backward_pass_survives() -> None:
    """But for those that change nothing without masks and monitors."""
    kernel = sb.compile(tiny)
    survivors, killed = [], 0
    for text in mutants(kernel.source):
        try:
            passed = sb.verify(Kernel(tiny, kernel.program, text)).passed
        except Exception:
            passed = False
        killed += not passed
        if passed:
            difference = [line for line in text.splitlines() if line not in kernel.source.splitlines()]
            survivors += [line for line in difference if "flow" not in line]
    assert killed > 10
    assert not survivors


def row(block: str, error: float, tolerance: float) -> Row:
    return Row("healthy", "T=3 B=2", block, error, tolerance, "complex step")


@pytest.mark.parametrize(("rows", "said"), [
    ([row("a", 9e-15, 1e-10), row("b", 2e-16, 1e-12)], "2 comparisons; nearest to its tolerance: b at 2.0e-16 of 1e-12 (healthy"),
    ([row("a", 9e-15, 1e-11), row("b", 2e-16, 1e-12)], "2 comparisons; nearest to its tolerance: a at 9.0e-15 of 1e-11 (healthy"),
    ([row("a", 3e-9, 1e-10), row("b", 2e-9, 1e-12)], "2 comparisons; farthest over its tolerance: b at 2.0e-09 of 1e-12 (healthy"),
    ([row("a", np.nan, 1e-10), row("b", 2e-9, 1e-12)], "2 comparisons; farthest over its tolerance: a at nan of 1e-10 (healthy"),
])  # fmt: skip
def test_summary_says_what_a_comparison_is_ranked_by(rows: list[Row], said: str) -> None:
    assert said in str(Verification("cell", tuple(rows)))
