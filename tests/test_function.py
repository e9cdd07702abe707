"""sb.function: elementwise functions of one's own, and spiking cells, whose derivative is the declared one."""

import ast
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.language import custom_function as declare
from symbptt.verification import checks as verification
from symbptt.zoo.spiking import alif, lif
from tests import oracle
from tests.stepped import Stepped

squash = sb.function("squash", lambda v: v / sp.sqrt(1 + v**2))
bump = sb.function("bump", lambda v, width: sp.exp(-((v / width) ** 2)))
blend = sb.function("blend", lambda a, b, c: a * sp.tanh(b) + sp.sin(c) * b)
spike = sb.function("spike", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 10 * sp.Abs(v)) ** 2)
straight = sb.function("straight", lambda v: sp.floor(v), derivative=lambda v: 1)
gated = sb.function(
    "gated", lambda a, b: sp.Heaviside(a) * b, derivative=lambda a, b: (b / (1 + a**2), sp.Heaviside(a))
)


@sb.cell
def own(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], width: Param["n"] = 1.5):
    drive = W @ x + U @ h
    return squash(drive) + bump(h, width) * blend(drive, h, 0.3)


@sb.cell
def spiking(x: Input["m"], v: State["n"], s: State["n"], W: Param["n m"], U: Param["n n"], threshold: Param["n"] = 0.5):
    v_new = 0.8 * v + W @ x + U @ s - threshold * s
    return {"v": v_new, "s": spike(v_new - threshold), "rounded": straight(3 * v_new)}


SIZES = {"m": 2, "n": 3}


@pytest.fixture
def one_regime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification in the healthy regime alone: enough to see a planted mistake."""
    monkeypatch.setattr(verification, "REGIMES", (replace(verification.REGIMES[0], long=False),))


@pytest.fixture
def two_regimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification in the healthy regime and from the zero state."""
    healthy, *_, zero, _ = verification.REGIMES
    monkeypatch.setattr(verification, "REGIMES", (replace(healthy, long=False), zero))


# Without a derivative of its own.


def test_function_is_its_expression_on_arrays() -> None:
    v = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(squash(v), v / np.sqrt(1 + v**2), rtol=1e-15)
    np.testing.assert_allclose(bump(v, 2.0), np.exp(-((v / 2) ** 2)), rtol=1e-15)
    np.testing.assert_allclose(
        blend(v, v[:, None], 0.3), v * np.tanh(v[:, None]) + np.sin(0.3) * v[:, None], rtol=1e-14
    )
    assert squash(np.float32([1.0])).dtype == np.float32 and squash(1.0) == pytest.approx(0.5**0.5)


def test_function_has_a_complex_version() -> None:
    v = np.linspace(-2, 2, 5)
    np.testing.assert_allclose(np.imag(squash(v + 1e-30j)) / 1e-30, (1 + v**2) ** -1.5, rtol=1e-13)


def test_function_on_sympy_symbols_is_its_expression() -> None:
    a = sp.Symbol("a", real=True)
    assert sp.simplify(squash(a) - a / sp.sqrt(1 + a**2)) == 0


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cell_of_own_functions_has_the_gradient_of_the_plain_function(steps: int) -> None:
    groups = oracle.draw(own, steps, 2, SIZES)
    kernel = sb.compile(own)
    run = kernel.forward(*groups)
    cotangents = {"h": np.random.default_rng(0).standard_normal((steps, 2, 3))}
    if steps:
        oracle.assert_blocks_close(run.states, oracle.run(own, *groups, steps), 1e-13)
    wanted = oracle.gradients(own, *groups, cotangents, steps)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents)), wanted, 1e-11)


@pytest.mark.usefixtures("two_regimes")
def test_cell_of_own_functions_is_verified() -> None:
    report = sb.verify(own)
    assert report.passed, str(report)


@pytest.mark.usefixtures("two_regimes")
def test_own_function_in_a_loss() -> None:
    @sb.loss
    def loss(h: State["n"]):
        return sb.sum(squash(h))

    report = sb.verify(sb.model(own, loss))
    assert report.passed, str(report)


@pytest.mark.usefixtures("two_regimes")
def test_function_broadcasts_and_takes_numbers() -> None:
    @sb.cell
    def step(x: Input["n"], H: State["n n"], a: Param):
        return 0.3 * bump(H, 2 + a * a) + blend(x, x[:, None], 0.5) + squash(1.0)

    report = sb.verify(step)
    assert report.passed, str(report)


def test_constants_of_an_expression_stay_float32() -> None:
    scaled = sb.function("scaled", lambda v: sp.sqrt(2) * v + sp.pi * sp.Rational(1, 3) * v**3 + sp.Float("0.1"))

    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return scaled(0.5 * h + x)

    kernel = sb.compile(step)
    run = kernel.forward({}, {"x": np.ones((3, 2, 2), np.float32)})
    grads = kernel.backward(run, {"h": np.ones((3, 2, 2), np.float32)})
    assert {a.dtype for a in (run.states["h"], grads.inputs["x"], grads.state["h"])} == {np.dtype(np.float32)}


# With one: a surrogate.


def test_declared_derivative_is_the_gradient_whatever_the_function_is() -> None:
    @sb.cell
    def step(x: Input["n"], h: State["n"]):
        return {"h": h, "y": spike(x), "z": straight(x), "q": gated(x, x - 1)}

    kernel, x = sb.compile(step), np.array([[-0.5, 0.0, 0.25, 2.0]])
    run = kernel.forward({}, {"x": x})
    np.testing.assert_array_equal(run.outputs["z"], np.floor(x))
    assert set(np.unique(run.outputs["y"][x != 0])) == {0.0, 1.0}
    slopes = {k: kernel.backward(run, {k: np.ones((1, 4))}).inputs["x"] for k in ("y", "z", "q")}
    np.testing.assert_allclose(slopes["y"], 1 / (1 + 10 * np.abs(x)) ** 2, rtol=1e-14)
    np.testing.assert_array_equal(slopes["z"], np.ones((1, 4)))
    off = x != 0
    np.testing.assert_allclose(slopes["q"][off], ((x - 1) / (1 + x**2) + (x > 0))[off], rtol=1e-14)


def test_plain_call_carries_the_declared_tangent_in_its_imaginary_part() -> None:
    v = np.array([-0.5, 0.5])
    np.testing.assert_array_equal(spike(v), [0.0, 1.0])
    np.testing.assert_allclose(np.imag(spike(v + 1e-30j)) / 1e-30, 1 / (1 + 10 * np.abs(v)) ** 2, rtol=1e-14)
    np.testing.assert_array_equal(np.real(spike(v + 1e-30j)), [0.0, 1.0])


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("cell", [spiking, lif, alif], ids=lambda cell: cell.name)
def test_spiking_cell_has_the_gradient_of_the_declared_pair(cell: sb.Cell, steps: int) -> None:
    groups = oracle.draw(cell, steps, 2, SIZES, seed=5, scale=1.0)
    kernel = sb.compile(cell)
    run = kernel.forward(*groups)
    oracle.assert_blocks_close({**run.states, **run.outputs}, oracle.run(cell, *groups, steps), 1e-13)
    assert 0 < run.states["s"].mean() < 1
    cotangents = oracle.cotangents_of(cell, groups, steps)
    wanted = oracle.gradients(cell, *groups, cotangents, steps)
    oracle.assert_blocks_close(oracle.flat(kernel.backward(run, cotangents)), wanted, 1e-11)


@pytest.mark.parametrize("cell", [spiking, lif, pytest.param(alif, marks=pytest.mark.long)], ids=lambda cell: cell.name)
@pytest.mark.thinned(2)
def test_spiking_cell_is_verified_on_the_declared_pair(cell: sb.Cell) -> None:
    report = sb.verify(cell)
    assert report.passed, str(report)
    assert {row.method for row in report.rows} <= {"forward", "complex step", ""}, (
        "never by differences of a step function"
    )


@pytest.mark.usefixtures("two_regimes")
def test_surrogate_in_a_loss_is_verified_on_the_declared_pair() -> None:
    @sb.loss
    def rate(s: State["n"], w: Param["n"]):
        return sb.sum(w * spike(s - 0.5))

    report = sb.verify(sb.model(lif, rate))
    assert report.passed, str(report)
    assert "central differences" not in {row.method for row in report.rows}


def planted(kernel: sb.Kernel, old: str, new: str) -> sb.Kernel:
    """A kernel whose source has something changed in its backward sweep, wherever it stands there."""
    before, between, after = kernel.source.partition("\ndef _backward(")
    assert old in after
    return sb.Kernel(kernel.target, kernel.program, before + between + after.replace(old, new))


@pytest.mark.parametrize(("cell", "factor"), [(lif, "5"), (alif, "11")], ids=["lif-5", "alif-11"])
@pytest.mark.usefixtures("one_regime")
@pytest.mark.thinned(2)
def test_wrong_surrogate_in_the_module_is_caught(cell: sb.Cell, factor: str) -> None:
    kernel = sb.compile(cell)
    assert sb.verify(kernel).passed
    wrong = sb.verify(planted(kernel, "np.multiply(10, ", f"np.multiply({factor}, "))
    assert not wrong.passed and {"dW", "dU", "dx"} <= set(wrong.wrong)


@pytest.mark.usefixtures("one_regime")
def test_derivative_that_is_not_passed_on_is_caught() -> None:
    report = sb.check_backward(lif, lambda params, inputs, state, cotangents: {
        **{k: np.zeros_like(v) for group in (params, inputs, state) for k, v in group.items()}})  # fmt: skip
    assert not report.passed and {"dW", "dU", "dx", "dv_0", "ds_0"} <= set(report.wrong)


def test_module_of_a_spiking_cell_imports_numpy_only() -> None:
    tree = ast.parse(sb.compile(alif).source)
    imported = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imported] == ["from __future__ import annotations", "import numpy as np"]


def test_equations_name_the_function_and_its_declared_derivative() -> None:
    text = sb.derive(lif).text(style="loop")
    assert "spike(" in text and "10" in text


# Textbook spellings, far out.

v = sp.Symbol("v", real=True)
TEXTBOOK: dict[str, Any] = {
    "sigmoid": lambda v: 1 / (1 + sp.exp(-v)),
    "sigmoid by exp(v)": lambda v: sp.exp(v) / (1 + sp.exp(v)),
    "softplus": lambda v: sp.log(1 + sp.exp(v)),
    "log of sigmoid": lambda v: -sp.log(1 + sp.exp(-v)),
    "swish": lambda v: v / (1 + sp.exp(-sp.Rational(3, 2) * v)),
    "mish": lambda v: v * sp.tanh(sp.log(1 + sp.exp(v))),
    "tanh": lambda v: (sp.exp(v) - sp.exp(-v)) / (sp.exp(v) + sp.exp(-v)),
    "tanh by exp(2 v)": lambda v: (sp.exp(2 * v) - 1) / (sp.exp(2 * v) + 1),
    "tanh by a sigmoid": lambda v: 2 / (1 + sp.exp(-2 * v)) - 1,
    "square of sigmoid": lambda v: 1 / (1 + sp.exp(-v)) ** 2,
    "logistic at slope 25": lambda v: 25 * sp.exp(-25 * v) / (1 + sp.exp(-25 * v)) ** 2,
    "logistic by exp(25 v)": lambda v: 25 * sp.exp(25 * v) / (1 + sp.exp(25 * v)) ** 2,
    "logistic by two factors": lambda v: 25 / ((1 + sp.exp(-25 * v)) * (1 + sp.exp(25 * v))),
    "ELU": lambda v: sp.Piecewise((v, v > 0), (sp.exp(v) - 1, True)),
    "sech": lambda v: 1 / sp.cosh(v),
    "Gauss": lambda v: sp.exp(-(v**2)),
    "root of a square": lambda v: sp.sqrt((v + 1) * (v + 1) + 0 * v),
}
FAR = [-1000.0, -40.0, -1.5, -0.05, 0.5, 1.0, 40.0, 1000.0]


def exactly(expr: Any) -> Any:
    """The numbers of an expression in v, in 60 digits."""
    return np.array([float(sp.re(sp.N(expr.subs(v, sp.Rational(at)), 60, maxn=5000))) for at in FAR])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.thinned(19, 5)
def test_textbook_spelling_is_stable_in_body_and_derivative(name: str, dtype: Any) -> None:
    expression = TEXTBOOK[name]
    body = sb.function("body", expression)
    declared = sb.function("declared", lambda v: sp.Heaviside(v), derivative=expression)

    @sb.cell
    def of_body(x: Input["n"], h: State["n"]):
        return 0.5 * h + body(x)

    @sb.cell
    def of_derivative(x: Input["n"], h: State["n"]):
        return 0.5 * h + declared(x + 0 * h)

    value, slope = exactly(expression(v)), exactly(sp.diff(expression(v), v))
    x, close = np.array([[FAR]], dtype), {"rtol": 1e-12 if dtype == np.float64 else 1e-4, "atol": 1e-6}
    kernel = sb.compile(of_body)
    run = kernel.forward({}, {"x": x})
    np.testing.assert_allclose(run.states["h"][0, 0], value, **close)
    np.testing.assert_allclose(kernel.backward(run, {"h": np.ones_like(x)}).inputs["x"][0, 0], slope, **close)
    kernel = sb.compile(of_derivative)
    found = kernel.backward(kernel.forward({}, {"x": x}), {"h": np.ones_like(x)}).inputs["x"][0, 0]
    np.testing.assert_allclose(found, value, **close)


def test_expression_that_is_not_made_stable_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declare, "stable_expression", lambda expr: expr)
    with np.errstate(all="ignore"), pytest.raises((AssertionError, RuntimeWarning)):
        test_textbook_spelling_is_stable_in_body_and_derivative("logistic at slope 25", np.float64)


def test_function_keeps_the_expression_that_it_was_given() -> None:
    swish = sb.function("swish", TEXTBOOK["swish"])
    assert swish(v) == TEXTBOOK["swish"](v)
    with np.errstate(all="ignore"):
        assert swish(np.array(-1000.0)) == 0  # on arrays it is the plain expression


# What is refused.

REFUSED: dict[str, tuple[Any, str]] = {
    "a name that is no identifier": (lambda: sb.function("my spike", lambda v: v), "'my spike' cannot name a function"),
    "a name of the table": (lambda: sb.function("tanh", lambda v: v), "'tanh' cannot name a function"),
    "a keyword": (lambda: sb.function("lambda", lambda v: v), "'lambda' cannot name a function"),
    "a body that is no expression": (lambda: sb.function("f", lambda v: "no"), "f"),
    "a body that is text, which is never evaluated": (lambda: sb.function("f", lambda v: "_0 * 2"), "f' gives no SymPy expression"),
    "text with a call in it": (lambda: sb.function("f", lambda v: "__import__('os').abort()"), "text is never evaluated"),
    "a truth value": (lambda: sb.function("f", lambda v: True), "gives no SymPy expression"),
    "a constant truth value": (lambda: sb.function("f", lambda v: sp.true), "gives no SymPy expression"),
    "an imaginary number": (lambda: sb.function("f", lambda v: 1j * v), "a number that is no float: I\n"),
    "a root that is imaginary": (lambda: sb.function("f", lambda v: v * sp.sqrt(-2)), "a number that is no float: I\n"),
    "an infinite number": (lambda: sb.function("f", lambda v: sp.oo * v), "a number that is no float: oo\n"),
    "a pole": (lambda: sb.function("f", lambda v: v + sp.zoo), "a number that is no float: zoo\n"),
    "no number": (lambda: sb.function("f", lambda v: sp.Piecewise((v, v > 0), (sp.nan, True))), "no float: nan\n"),
    "a number beyond the range": (lambda: sb.function("f", lambda v: sp.Integer(10) ** 400 * v), "no float: 1000"),
    "a derivative of infinite numbers": (lambda: sb.function("f", lambda v: v, lambda v: sp.oo * v), "the derivative of 'f' has"),
    "an integral": (lambda: sb.function("f", lambda v: sp.Integral(v, v)), "Integral is not in the table"),
    "a sum over a name": (lambda: sb.function("f", lambda v: sp.Sum(v, (sp.Symbol("i"), 0, 3))), "Sum is not in the table"),
    "a derivative of SymPy": (lambda: sb.function("f", lambda v: sp.Derivative(sp.sin(v), v)), "Derivative is not in the table"),
    "exclusive or": (lambda: sb.function("f", lambda v: sp.Xor(v > 0, v > 1)), "Xor is not in the table"),
    "a list": (lambda: sb.function("f", lambda v: ["v"]), "gives no SymPy expression"),
    "a derivative that is text": (lambda: sb.function("f", lambda v: v, derivative=lambda v: "_0"), "derivative"),
    "derivatives that are text": (lambda: sb.function("f", lambda a, b: a, derivative=lambda a, b: ("1", "exit()")), "text is never"),
    "a derivative that is one text of two letters": (lambda: sb.function("f", lambda a, b: a, derivative=lambda a, b: "ab"), "text is never"),
    "a body of NumPy": (lambda: sb.function("f", lambda v: np.tanh(v)), "SymPy's functions"),
    "a body that gives None": (lambda: sb.function("f", lambda v: None), "the body of 'f' gives no SymPy expression"),
    "a free symbol": (lambda: sb.function("f", lambda v: v * sp.Symbol("k")), "symbols k beside its arguments"),
    "a function that is not in the table": (lambda: sb.function("f", lambda v: sp.zeta(v)), "zeta"),
    "an argument too few": (lambda: squash(), "takes 1 arguments, got 0"),
    "an argument too many": (lambda: bump(1.0, 2.0, 3.0), "takes 2 arguments, got 3"),
    "too few derivatives": (lambda: sb.function("f", lambda a, b: a * b, derivative=lambda a, b: a),
                            "2 arguments and 1 derivatives"),
    "too many derivatives": (lambda: sb.function("f", lambda a: a, derivative=lambda a: (a, a)),
                             "1 arguments and 2 derivatives"),
    "a derivative with a free symbol": (lambda: sb.function("f", lambda a: a, derivative=lambda a: a * sp.Symbol("k")), "k"),
    "a derivative that is no expression": (lambda: sb.function("f", lambda a: a, derivative=lambda a: None), "derivative"),
    "a name that is no text": (lambda: sb.function(3, lambda v: v), "name"),  # type: ignore[arg-type]
    "a body that is no function": (lambda: sb.function("f", sp.Symbol("v")), "lambda"),
}  # fmt: skip


@pytest.mark.parametrize("name", [
    *REFUSED
])  # fmt: skip
def test_wrong_declaration_is_refused_with_its_name(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(sb.SymbpttError, match=words):
        call()


def test_wrong_use_in_a_cell_says_where() -> None:
    @sb.cell
    def step(h: State["n"]):
        return bump(h)

    with pytest.raises(sb.SymbpttError, match=r"bump takes 2 arguments, got 1(.|\n)*at .*test_function\.py:\d+"):
        assert step.step


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.thinned(2)
def test_condition_on_what_a_function_gives_is_one_of_its_value(declared: bool) -> None:
    """A complex step at zero is no reason for a spike: verify once called such cells wrong."""
    slope = (lambda v: 1 / (1 + sp.Abs(v)) ** 2) if declared else None
    step = sb.function("step", lambda v: sp.Max(v, 0) * 2, derivative=slope)

    @sb.cell
    def waits(x: Input["n"], v: State["n"], wait: State["n"]):
        s = step(0.9 * v + x)
        return {"v": 0.9 * v + np.where(s > 0, x, 3 * x), "wait": np.where(s > 0, 2.0 * x, wait), "s": s}

    report = sb.verify(waits)
    assert report.passed, str(report)
    stepped = step(np.array([-1.0 + 1e-40j]).view(Stepped))
    assert isinstance(stepped, Stepped) and not (stepped > 0)
