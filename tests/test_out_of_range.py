"""Numbers that leave the range: a module warns where NumPy would, tools of analysis and proof never do."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target, zoo
from symbptt.codegen.load import load
from symbptt.derivations import paths
from symbptt.ir.shape import names_in
from symbptt.stability.dynamics import fixed_points as fixed

STEPS = 14


@sb.cell
def explodes(x: Input["n"], h: State["n"], W: Param["n n"]):
    return np.exp(W @ h) + x


@sb.cell
def squares(x: Input["n"], h: State["n"], W: Param["n n"]):
    return W @ (h * h) + x


@sb.cell
def grows(x: Input["n"], h: State["n"], W: Param["n n"]):
    return 20 * np.exp(W[0]) * h + x


@sb.cell
def divides(x: Input["n"], h: State["n"], W: Param["n n"]):
    return W @ x / h


@sb.cell
def chooses(x: Input["n"], h: State["n"], W: Param["n n"]):
    """Branches that are not taken leave the range."""
    safe = np.where(x > 9, np.exp(x * x), W @ h) + np.where(x > 0, np.sqrt(x), x / (1 + np.exp(-1e3 * x)))
    return 0.5 * safe + np.where(x < 9, np.log(np.abs(h) + 1), np.exp(x * x) / x)


@sb.loss
def squared(h: State["n"], y: Target["n"]):
    return sb.sum((h - y) ** 2)


CELLS = (explodes, squares, grows, divides, chooses)


def draw(cell: sb.Cell, steps: int = STEPS) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return {"W": random.standard_normal((3, 3)) + 0.7}, {"x": random.standard_normal((steps, 1, 3))}


def one(inputs: Any) -> Any:
    return {"x": inputs["x"][0, 0]}


HUGE = {"h": np.full(3, 1e300)}
TOOLS: dict[str, Callable[[sb.Cell, Any, Any], Any]] = {
    "analyze": lambda c, p, x: sb.analyze(c, p, x).text(),
    "analyze large parameters": lambda c, p, x: sb.analyze(c, {"W": 1e200 * p["W"]}, x).text(),
    "lyapunov_spectrum": lambda c, p, x: sb.lyapunov_spectrum(c, p, x),
    "product_spectrum": lambda c, p, x: sb.product_spectrum(c, p, x),
    "gradient_flow": lambda c, p, x: sb.gradient_flow(c, p, x),
    "gradient_flow of a model": lambda c, p, x: sb.gradient_flow(
        sb.model(c, squared), p, x, {"y": np.ones_like(x["x"])}
    ),
    "fixed_points": lambda c, p, x: sb.fixed_points(c, p, one(x)),
    "sweep": lambda c, p, x: sb.sweep(c, p, ("W", 0, 0), [-1, 1, 1e300], one(x), settle=50),
    "covariant_vectors": lambda c, p, x: sb.covariant_vectors(c, p, x),
    "transient_growth": lambda c, p, x: sb.transient_growth(c, p, x),
    "exponent_gradient": lambda c, p, x: sb.exponent_gradient(c, p, x),
    "init_for_horizon": lambda c, p, x: sb.init_for_horizon(c, 20, sizes={"n": 3}),
    "Watch": lambda c, p, x: sb.Watch(c, x, every=1)(p),
    "a Jacobian": lambda c, p, x: sb.derive(c).jacobian("h", "h").evaluate(p, one(x), HUGE),
    "all Jacobians": lambda c, p, x: sb.derive(c).jacobian().evaluate(p, one(x), HUGE),
    "paths": lambda c, p, x: sb.derive(c).paths("h", "h", steps=2).evaluate(p, {"x": x["x"][:, 0]}, HUGE),
    "verify": lambda c, p, x: sb.verify(c, params={"W": 1e150 * p["W"]}),
    "check_backward": lambda c, p, x: sb.check_backward(c, lambda *a: returned(c, *a), params={"W": 1e150 * p["W"]}),
}


def returned(cell: sb.Cell, params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
    with np.errstate(all="ignore"):
        kernel = sb.compile(cell)
        found = kernel.backward(kernel.forward(params, inputs, state), cotangents)
    return {**found.params, **found.inputs, **found.state}


def is_quiet(tool: str, cell: sb.Cell) -> bool:
    """Whether a tool gives a result, or an error in words, without a warning."""
    params, inputs = draw(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            TOOLS[tool](cell, params, inputs)
        except sb.ArgumentError as error:
            return len(str(error).splitlines()) > 1
        except RuntimeWarning:
            return False
    return True


SLOW = ("init_for_horizon",)


@pytest.mark.parametrize(("cell", "tool"), [
    pytest.param(c, tool, id=f"{c.name}-{tool}", marks=[pytest.mark.long] * (c is not explodes or tool in SLOW))
    for c in CELLS for tool in TOOLS
])  # fmt: skip
@pytest.mark.thinned(5, 3)
def test_tools_of_analysis_and_proof_do_not_warn(cell: sb.Cell, tool: str) -> None:
    assert is_quiet(tool, cell)


def test_a_planted_tool_that_warns_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb, "fixed_points", fixed.fixed_points.__wrapped__)  # type: ignore[attr-defined]
    assert not is_quiet("fixed_points", squares)


@pytest.mark.parametrize(("name", "factor"), [
    ("rnn", 1e160),
    *(pytest.param(name, factor, marks=pytest.mark.long) for factor in (1e160, 1e300, 1e308)
      for name in ("gru", "lstm", "cornn", "antisymmetric", "second_order", "lif", "householder")),
])  # fmt: skip
@pytest.mark.thinned(1, 5)
def test_parameters_near_the_end_of_the_range_are_analysed_or_told_in_words(name: str, factor: float) -> None:
    """The squares of their bounds have left it: LAPACK takes no infinities, Python's ** raises an error."""
    cell = zoo.CELLS[name]
    params = cell.init({k: 4 for a in cell.arguments for k in names_in(a.shape)}, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert sb.analyze(cell, {k: factor * v for k, v in params.items()}).text()
        except sb.ArgumentError as error:
            assert "not finite" in str(error)


def test_norm_of_a_route_that_left_the_range_is_infinite() -> None:
    params, inputs = draw(squares)
    found = sb.derive(squares).paths("h", "h", steps=2).evaluate(params, {"x": inputs["x"][:, 0]}, HUGE)
    assert np.isinf(found.norms).any()
    found = paths._norm(np.stack([np.diag([3.0, 4.0]), np.full((2, 2), np.nan), np.diag([np.inf, 1.0])]))
    np.testing.assert_array_equal(found, [4.0, np.inf, np.inf])


def warned(run: Callable[[], Any]) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return any(issubclass(w.category, RuntimeWarning) for w in caught)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_module_warns_where_the_function_does(cell: sb.Cell, dtype: Any) -> None:
    """But not of branches that are not taken, and not in a backward pass of finite states."""
    params, inputs = draw(cell)
    kernel, W, x = sb.compile(cell), params["W"].astype(dtype), inputs["x"].astype(dtype)

    def plain() -> Any:
        h = np.full(3, 0.5, dtype)
        for t in range(STEPS):
            h = cell(x=x[t, 0], h=h, W=W)
        return h

    def whole() -> Any:
        return kernel.forward({"W": W}, {"x": x}, {"h": np.full((1, 3), 0.5, dtype)})

    assert warned(whole) == (warned(plain) and cell is not chooses)
    short = kernel.forward({"W": W}, {"x": x[:2]}, {"h": np.full((1, 3), 0.5, dtype)})
    assert np.isfinite(short.states["h"]).all()
    assert not warned(lambda: kernel.backward(short, {"h": np.ones((1, 3), dtype)}))


FLAGS: dict[str, Any] = dict.fromkeys(("divide", "over", "invalid"), "raise")
LOST: dict[str, tuple[Callable[..., Any], float, float]] = {
    "none by a rate": (lambda x, h: x / (1 - np.exp(-h)), 0, 0),
    "infinite by a rate": (lambda x, h: x / (1 - np.exp(-h)), 1, 0),
    "a rate of a product": (lambda x, h: 0.1 * (x * (h + 40)) / (1 - np.exp(-(h + 40) / 10)), 1, -40),
    "a pole below tanh": (lambda x, h: np.tanh(x / (1 - np.exp(-h))), 1, 0),
    "a product beside a gate": (lambda x, h: sb.sigmoid(x) * h * h, 1, 1e200),
    "an exponential beside a gate": (lambda x, h: sb.sigmoid(-x) * np.exp(x) + h, 1000, 0),
    "a sum beside a gate": (lambda x, h: sb.sigmoid(x) * h + h, 1000, 1.7e308),
    "a logarithm beside a branch": (lambda x, h: np.where(x > 0, x, np.log(h)) + np.log(h), 1, 0),
    "a branch that is taken": (lambda x, h: np.where(x > 0, np.log(h), x), 1, 0),
    "a maximum": (lambda x, h: np.maximum(x / h, 1), 1, 0),
    "entries of a quotient": (lambda x, h: np.concatenate([(x / h)[1:], h[:1]]), 1, 0),
    "a sigmoid by hand": (lambda x, h: x / (1 + np.exp(-h)) / (h + 1000), 1, -1000),
}
"""Cells with an input and a state at which a step is infinite or no number, though some modules expect errors of that kind."""
SAFE: dict[str, tuple[Callable[..., Any], float, float]] = {
    "a saturated exponential": (lambda x, h: np.tanh(np.exp(x)) * h, 1000, 1),
    "a sigmoid by hand": (lambda x, h: h / (1 + np.exp(-x)), -1000, 1),
    "a branch that is not taken": (lambda x, h: np.where(x > 0, x, np.log(h)), 1, 0),
    "a maximum": (lambda x, h: np.maximum(np.log(h), x), 1, 0),
    "entries of a quotient": (lambda x, h: np.concatenate([(x / h)[1:], h[:1]]), 1, 0),
}


def step_of(function: Callable[..., Any], x: float, h: float) -> tuple[sb.Cell, Any, Any]:
    """A cell, its inputs over three steps and two samples, its state."""

    @sb.cell
    def cell(x: Input["n"], h: State["n"]):
        return function(x, h)

    state = {"h": np.full((2, 2), float(h))}
    if function is SAFE["entries of a quotient"][0]:
        state["h"][:, 1] = 1.0
    return cell, {"x": np.full((3, 2, 2), float(x))}, state


def ran(cell: sb.Cell, inputs: Any, state: Any, options: Any) -> Any:
    return sb.compile(cell, **options).forward({}, inputs, state)


def trained(cell: sb.Cell, inputs: Any, state: Any, options: Any) -> Any:
    kernel = sb.compile(sb.model(cell, squared), **options)
    return kernel.value_and_grad({}, inputs, {"y": np.zeros_like(inputs["x"])}, state)


RUNS = [(ran, {}), (ran, {"memory": "sqrt"}), (trained, {}), (trained, {"memory": "sqrt"}),
        (trained, {"truncation": sb.Chunked(1, 2)}), (trained, {"truncation": sb.Window(2)})]  # fmt: skip


@pytest.mark.parametrize(("run", "options"), RUNS, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.parametrize("name", LOST)
@pytest.mark.thinned(29, 7)
def test_what_is_no_finite_number_is_never_silent(name: str, run: Callable[..., Any], options: Any) -> None:
    cell, inputs, state = step_of(*LOST[name])
    with np.errstate(**FLAGS):
        with pytest.raises(FloatingPointError):
            cell(inputs["x"][0, 0], state["h"][0])
        with pytest.raises(FloatingPointError):
            run(cell, inputs, state, options)
    assert warned(lambda: run(cell, inputs, state, options))
    with np.errstate(all="ignore"):
        assert not warned(lambda: run(cell, inputs, state, options))


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}], ids=str)
@pytest.mark.parametrize("name", SAFE)
def test_errors_that_come_to_nothing_are_no_news(name: str, options: Any) -> None:
    cell, inputs, state = step_of(*SAFE[name])
    with np.errstate(**FLAGS):
        with pytest.raises(FloatingPointError):
            cell(inputs["x"][0, 0], state["h"][0])
        one_step = {"x": inputs["x"][:1]}
        found = ran(cell, one_step, state, options).states["h"]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found[0, 0], cell(inputs["x"][0, 0], state["h"][0]))


def test_gradient_that_leaves_the_range_beside_a_branch_is_not_silent() -> None:
    @sb.cell
    def steep(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.where(x > 0, 1e120 * w * h, np.log(x)) + 0 * x

    kernel = sb.compile(steep)
    assert '_backward = _quiet(_backward, "divide", "over", "invalid")' in kernel.source
    run = kernel.forward({"w": np.ones(2)}, {"x": np.ones((3, 1, 2))})
    assert not warned(lambda: kernel.backward(run, {"h": np.full((1, 2), 1e-100)}))
    with np.errstate(**FLAGS), pytest.raises(FloatingPointError):
        kernel.backward(run, {"h": np.ones((1, 2))})


def test_a_function_of_the_caller_is_told_of_what_is_not_hidden() -> None:
    cell, inputs, state = step_of(lambda x, h: sb.sigmoid(-x) / h, 1000, 0)
    told: list[str] = []
    with np.errstate(all="call", under="ignore", call=lambda error, flag: told.append(error)):
        ran(cell, inputs, state, {})
    assert "invalid value" in told
    told.clear()
    with np.errstate(all="call", under="ignore", call=lambda error, flag: told.append(error)):
        ran(*step_of(*LOST["infinite by a rate"]), {})
    assert told == ["divide by zero"]


def test_planted_silence_is_caught() -> None:
    cell, inputs, state = step_of(*LOST["a product beside a gate"])
    text = sb.compile(cell).source
    for right, wrong in (("not _are_finite(found)", "False"), ("if v is not None and not", "if v is None and not")):
        assert right in text
        module = load(text.replace(right, wrong), "planted")
        with np.errstate(**FLAGS):
            assert not np.isfinite(module.forward({}, inputs, state).states["h"]).all()


@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}], ids=str)
@pytest.mark.parametrize(("dtype", "steps"), [(np.float32, 128), (np.float64, 1024)])
def test_growth_over_many_blocks_is_told_beside_gates_that_saturate(dtype: Any, steps: int, options: Any) -> None:
    """A state doubles to the end of the range; a sample beside it has a sigmoid that overflows at each step."""

    @sb.cell
    def doubling(x: Input["n"], h: State["n"]):
        return 2 * sb.sigmoid(x) * h

    x = np.full((steps + 1, 2, 40), 1000.0, dtype)
    x[:, 1] = -1000.0
    kernel, state = sb.compile(doubling, **options), {"h": np.ones((2, 40), dtype)}
    with np.errstate(**FLAGS):
        below = kernel.forward({}, {"x": x[: steps - 1]}, state).states["h"]
        assert below[-1, 0, 0] == dtype(2) ** (steps - 1) and not below[:, 1].any()
        with pytest.raises(FloatingPointError, match="overflow"):
            kernel.forward({}, {"x": x}, state)
        with pytest.raises(FloatingPointError, match="overflow"):
            kernel.forward({}, {"x": x}, state)
    assert warned(lambda: kernel.forward({}, {"x": x}, state))
