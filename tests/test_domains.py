"""Domains, values that are given, and regimes: what a check draws, in every regime and size, and what it says of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State, Target, zoo
from symbptt.codegen.kernel import Kernel
from symbptt.commands.main import run
from symbptt.verification import checks, regimes
from symbptt.verification.checks import rows
from symbptt.verification.comparison import Case, _moved
from symbptt.verification.domains import NAMED, into
from symbptt.verification.gates import gate_biases, saturating_biases
from symbptt.verification.oracle import Point
from symbptt.verification.regimes import GIVEN, REGIMES, TIES, Size, size_given, sizes_of
from symbptt.verification.regimes import point as draw
from symbptt.verification.requests import asked_of
from symbptt.verification.rounding import runs
from symbptt.verification.rounding.measure import rounding_of
from symbptt.zoo import rnn
from tests.kernels import kernel_of


def rnn_backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> dict[str, Any]:
    """A backward pass by the kernel, which tests change."""
    kernel = kernel_of(rnn)
    found = kernel.backward(kernel.forward(params, inputs, state), cotangents)
    return {**found.params, **{k: np.array(v) for k, v in found.inputs.items()}, **found.state}


HOLD: dict[Any, Any] = {
    "positive": lambda x: np.all(x > 0),
    "nonnegative": lambda x: np.all(x >= 0),
    "probability": lambda x: np.all((x >= 0) & (x <= 1)),
    "simplex": lambda x: np.all(x >= 0) and np.allclose(np.sum(x, -1), 1, rtol=1e-12),
    "binary": lambda x: {*np.unique(x)} <= {0.0, 1.0},
    "integer": lambda x: np.all(x == np.floor(x)),
    (-3, 2.5): lambda x: np.all((x >= -3) & (x <= 2.5)),
    (1e-3, 2e-3): lambda x: np.all((x >= 1e-3) & (x <= 2e-3)),
}
"""What each domain is, said apart from the code."""


@sb.cell
def all_roles(x: Input["n"], h: State["n"], p: Param["n"], q: Param["n n"], b: Param["n"]):
    return sb.sigmoid(b + q @ h) * p + x


@sb.loss
def distance(h: State["n"], target: Target["n"]):
    return np.sum((h - target) ** 2)


def points(target: Any, **given: Any) -> Iterator[tuple[str, Point]]:
    """Every point at which a target is compared, and the same moved by a few units of rounding."""
    asked = asked_of(target, given.get("inputs"), given.get("params"), given.get("domain"))
    for case in checks._cases(target, 0, asked):
        yield f"{case.regime.name} {case.size.label}", case.point
        yield f"{case.regime.name} {case.size.label} moved", _moved(case, np.random.default_rng(0), 1)[0]


def arrays(point: Point) -> dict[str, Any]:
    return {**point.params, **point.inputs, **point.state, **point.targets}


@pytest.mark.parametrize("where", HOLD, ids=str)
def test_every_draw_of_every_role_lies_in_its_domain(where: Any) -> None:
    seen: dict[str, set[float]] = {}
    for target, names in ((all_roles, ("x", "h", "p", "q", "b")), (sb.model(all_roles, distance), ("target",))):
        found = list(points(target, domain=dict.fromkeys(names, where)))
        assert {place.split(" T=")[0] for place, _ in found} == {regime.name for regime in REGIMES}
        for place, point in found:
            for name in names:
                assert HOLD[where](arrays(point)[name]), (place, name)
                seen.setdefault(name, set()).update(np.ravel(arrays(point)[name]).tolist())
    assert all(len(values) > (1 if where == "binary" else 3) for values in seen.values())


def test_numbers_of_float32_lie_in_their_domain_too() -> None:
    asked = asked_of(all_roles, None, None, dict.fromkeys(("x", "h", "p", "q", "b"), (1e-3, 2e-3)))
    for regime in REGIMES:
        point = regimes.point(all_roles, regime, Size(4, 2), 0, asked)
        if point is not None:
            for name, array in arrays(runs.single(point, asked)).items():
                assert array.dtype == np.float32 and HOLD[1e-3, 2e-3](np.float64(array)), (regime, name)
    assert np.float64(np.float32(2e-3)) > 2e-3


def test_a_regime_that_ignores_a_domain_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: extreme inputs are drawn as if there were no domain."""
    assert sb.verify(rooted, domain={"x": "probability", "p": "positive"}).passed
    monkeypatch.setattr(
        regimes, "into", lambda domain, z, factor: factor * z if factor == 100.0 else into(domain, z, factor)
    )
    with pytest.raises(AssertionError, match="extreme inputs"):
        test_every_draw_of_every_role_lies_in_its_domain("probability")
    report = sb.verify(rooted, domain={"x": "probability", "p": "positive"})
    assert "not compared: extreme inputs: the user's function is not finite here" in str(report)


def test_exact_numbers_and_ties_are_those_of_the_domain() -> None:
    asked = asked_of(all_roles, None, None, {"x": (0.25, 4), "h": "simplex", "p": "integer"})
    exact = next(regime for regime in REGIMES if regime.exact)
    ties = next(size for size in sizes_of(exact) if size.ties)
    point = regimes.point(all_roles, exact, ties, 0, asked)
    assert {*np.unique(point.inputs["x"])} == {0.25, 4.0} and {*np.unique(point.state["h"])} == {0.0, 1.0}
    assert {*np.unique(point.params["p"])} <= {-1.0, 0.0, 1.0} and {*np.unique(point.params["q"])} <= {-1.0, 0.0, 1.0}


def test_arguments_of_functions_tie_at_their_kinks() -> None:
    """Where numbers are 0, 1 and -1, sums of products are whole, so that some are zero."""
    exact = next(regime for regime in REGIMES if regime.exact)
    ties = next(size for size in sizes_of(exact) if size.ties)
    point = regimes.point(rnn, exact, ties, 0)
    a = point.inputs["x"] @ point.params["W"].T + point.params["b"]
    assert np.any(a == 0) and np.all(a == np.round(a))


@sb.cell
def rectified(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], b: Param["n"]):
    return np.maximum(W @ x + U @ h + b, 0)


def test_wrong_rule_at_a_kink_is_caught_by_ties() -> None:
    """The planted mistake: the slope of relu at 0 is 1."""
    kernel = sb.compile(rectified)
    old = "np.greater(a_[lo:hi], 0"
    assert old in kernel.source
    wrong = Kernel(rectified, kernel.program, kernel.source.replace(old, "np.greater_equal(a_[lo:hi], 0"))
    exact = (next(regime for regime in REGIMES if regime.exact),)
    assert not rounding_of(kernel, steps=3, regimes=exact).wrong
    found = rounding_of(wrong, steps=3, regimes=exact)
    assert found.wrong and all(line.size.endswith("ties") for line in found.lines if line.wrong), str(found)
    assert "the formula, not rounding" in str(found)


# Gates, told by structure.


@sb.cell
def spelled_out(
    x: Input["m"], h: State["n"], A: Param["2*n m"], k: Param["2*n"], q: Param["n"], u: Param["n"], s: Param["n"]
):
    """A bias of two gates in one array, one that is subtracted, one that is a weight too, one that is scaled."""
    n = h.shape[0]
    a = A @ x + k
    one, two = 1 / (1 + np.exp(-a[:n])), 1 / (1 + np.exp(-(a[n:] - q)))
    return one * h + two * np.tanh(u + s * h) * u


def test_biases_of_gates_are_told_by_what_they_are_added_to() -> None:
    assert gate_biases(spelled_out.step) == {"k": 1.0, "q": -1.0}
    assert gate_biases(zoo.lstm.step) == {"bi": 1.0, "bf": 1.0, "bo": 1.0}
    assert gate_biases(rnn.step) == {} and saturating_biases(rnn.step) == {"b": 1.0}
    assert saturating_biases(rectified.step) == {}


@pytest.mark.parametrize("number", [-12.0, -40.0])
def test_gates_are_shut_at_minus_12_and_minus_40(number: float) -> None:
    saturated = next(regime for regime in REGIMES if regime.name == "saturated")
    size = next(size for size in sizes_of(saturated) if size.gates == number)
    point = regimes.point(spelled_out, saturated, size, 0)
    assert np.all(np.abs(point.params["k"] - number) < 2) and np.all(np.abs(point.params["q"] + number) < 2)
    assert np.all(np.abs(point.params["u"]) < 12)
    domain = asked_of(spelled_out, None, {"k": np.ones(2)}, {"q": (0, 1)})
    assert regimes.point(spelled_out, saturated, size, 0, domain) is None
    assert regimes.point(rectified, saturated, size, 0) is None
    assert (
        "none, no parameter that may be moved"
        in regimes.settings_of(rectified, asked_of(rectified, None, None, None))[-1]
    )


def test_wrong_gate_that_shows_where_gates_are_shut_alone_is_caught() -> None:
    """The planted mistake: a gradient that loses a gate's tail, σ below 1e-5 counted as zero."""
    kernel = sb.compile(zoo.mgu)

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        found = kernel.backward(kernel.forward(params, inputs, state), cotangents)
        lost = np.all(params["bf"] < -10)
        return {**{k: v * (1 - lost * (k == "Wf")) for k, v in found.params.items()}, **found.inputs, **found.state}

    report = sb.check_backward(zoo.mgu, backward)
    assert report.wrong == ("dWf",)
    shown = {row.size for row in report.rows if not row.passed}
    assert shown <= {"T=3 B=2 gates -12", "T=3 B=2 gates -40", "T=1 B=1 shut gates -18", "T=1 B=1 gates -18 in turn"}


# Values that are given.


def test_inputs_that_are_given_are_used_as_they_are() -> None:
    x, W = np.random.default_rng(0).standard_normal((7, 3, 2)), np.full((4, 2), 0.5)
    seen: list[Any] = []

    def backward(params: Any, inputs: Any, state: Any, cotangents: Any) -> Any:
        seen.append((params["W"], inputs["x"]))
        return rnn_backward(params, inputs, state, cotangents)

    report = sb.check_backward(rnn, backward, inputs={"x": x}, params={"W": W})
    assert report.passed and any(np.array_equal(given, x) and np.array_equal(w, W) for w, given in seen)
    assert any(row.regime == "given" and row.size == "T=7 B=3" for row in report.rows)
    text = str(sb.verify(rnn, inputs={"x": x}, params={"W": W}))
    assert (
        "given: x; 7 steps of 3 samples as they are in the regime given" in text
        and "given: W, as they are in all" in text
    )


@pytest.mark.long
def test_mistake_that_shows_at_given_values_alone_is_caught() -> None:
    """The planted mistake: a gradient that is wrong from step 30 on, which no size that is drawn has."""
    end = '    return {"W": dW'
    kernel = kernel_of(rnn)
    assert end in kernel.source
    wrong = Kernel(rnn, kernel.program, kernel.source.replace(end, f"    dx[30:] *= 1.001\n{end}"))
    x = np.random.default_rng(0).standard_normal((33, 1, 2))
    assert sb.verify(wrong).passed
    assert sb.verify(wrong, inputs={"x": x}).wrong == ("dx",)


def test_long_inputs_are_cut_and_that_is_said() -> None:
    asked = asked_of(rnn, {"x": np.zeros((5000, 2, 2))}, None, None)
    assert size_given(asked) == Size(2048, 2)
    assert regimes.point(rnn, GIVEN, Size(2048, 2), 0, asked).inputs["x"].shape == (2048, 2, 2)
    assert "the first 2048 steps of 2 samples" in regimes.settings_of(rnn, asked)[0]


# What needs a domain.


@sb.cell
def rooted(x: Input["n"], h: State["n"], p: Param["n"]):
    return np.log(p) * h + np.sqrt(x * (1 - x) + 0.1)


@sb.cell
def powered(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.tanh(w * h) + x**1.5


@sb.cell
def hopeless(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.sqrt(-1 - w * w) + x + h


@sb.loss
def entropy(h: State["n"], target: Target["n"]):
    return -np.sum(target * np.log(target))


@pytest.mark.parametrize(("target", "domain", "words"), [
    (rooted, {"p": "positive", "x": "probability"}, "NaN on usual data, first in step 1"),
    (powered, {"x": "positive"}, "powered: x**"),
    (sb.model(rnn, entropy), {"target": "positive"}, "the loss entropy is NaN"),
], ids=["rooted", "powered", "loss"])  # fmt: skip
@pytest.mark.thinned(11)
def test_what_is_no_number_on_usual_data_is_named_with_its_domain(
    target: Any, domain: dict[str, str], words: str
) -> None:
    report = sb.verify(target)
    assert not report.passed and "forward" in report.wrong
    cure = f"write domain={{{', '.join(f'{k!r}: {v!r}' for k, v in domain.items())}}}"
    assert words in str(report) and cure in str(report)
    first = (target.loss if isinstance(target, sb.Model) else target).function.__code__.co_firstlineno
    line = int(str(report).split("test_domains.py:")[1].split(",")[0].split("\n")[0])
    assert first <= line <= first + 3
    assert sb.verify(target, domain=domain).passed


def test_backward_pass_of_a_cell_that_is_no_number_is_not_passed() -> None:
    report = sb.check_backward(powered, lambda p, x, s, c: {k: 0 * v for k, v in {**p, **x, **s}.items()})
    assert not report.passed and "write domain={'x': 'positive'}" in str(report)


def test_cells_that_are_numbers_nowhere_are_told_so() -> None:
    text = str(sb.verify(hopeless))
    assert "no domain of w was found in which it is a number" in text and "hopeless: FAILED" in text


def test_finite_cells_are_asked_for_no_domain() -> None:
    report = sb.verify(rnn)
    assert report.passed and "domain" not in str(report)


# Errors.


@pytest.mark.parametrize(("domain", "message"), [
    ({"s": "simplex"}, "'s' is one number, a simplex has shares along an axis(?s:.)*\"probability\""),
    ({"d": "positive"}, r"the default of 'd', -1.0, does not lie in 'positive'(?s:.)*params="),
    ({"x": (0, np.inf)}, 'without an end, "positive" or "nonnegative"'),
    ({"x": (2, 2)}, "lowest, greatest"),
    ({"x": (1, 2, 3)}, "lowest, greatest"),
    ({"x": ("0", "1")}, "lowest, greatest"),
    ({"x": (True, 2)}, "lowest, greatest"),
    ({"x": None}, "lowest, greatest"),
    ({"y": "binary"}, "draws no 'y' there"),
    ([("x", "binary")], "a dict by name"),
])  # fmt: skip
def test_what_is_no_domain_is_refused_in_words(domain: Any, message: str) -> None:
    @sb.cell
    def small(x: Input["n"], h: State["n"], s: Param, d: Param = -1.0):  # type: ignore[assignment]
        return s * h + d * x

    for call in (sb.verify, lambda cell, **given: sb.check_backward(cell, lambda p, x, s, c: {}, **given)):
        with pytest.raises(sb.ArgumentError, match=message):
            call(small, domain=domain)


# The command line.

CELL = """
import numpy as np
import symbptt as sb
from symbptt import Input, Param, State

@sb.cell
def logarithmic(x: Input["n"], keep: Input["n"], h: State["n"], p: Param["n"]):
    return keep * h * np.log(p) + np.sqrt(x * (1 - x))
"""
BACKWARD = """
def zeros(params, inputs, state, cotangents):
    return {k: 0 * v for k, v in {**params, **inputs, **state}.items()}
"""


@pytest.mark.long
@pytest.mark.parametrize("words", [
    ["--domain", "x=0..1", "keep=binary", "p=positive"],
    pytest.param(["--domain", "x=0..1 keep=binary p=positive"], marks=pytest.mark.long),
    pytest.param(["--domain", "x=probability", "--domain", "keep=0,1", "p=0.1..4"], marks=pytest.mark.long),
], ids=str)  # fmt: skip
@pytest.mark.thinned(1, 2)
def test_domains_on_the_command_line(capsys: Any, tmp_path: Any, words: list[str]) -> None:
    (tmp_path / "cells.py").write_text(CELL)
    (tmp_path / "mine.py").write_text(BACKWARD)
    assert run(["verify", f"{tmp_path}/cells.py:logarithmic", *words]) == 0
    text = capsys.readouterr().out
    assert "logarithmic: passed" in text and "domains: x " in text and "not finite" not in text
    assert run(["check", f"{tmp_path}/cells.py:logarithmic", f"{tmp_path}/mine.py:zeros", *words]) == 1
    text = capsys.readouterr().out
    assert "logarithmic: FAILED" in text and "domains: x " in text and "not finite" not in text


def test_named_domains_are_those_of_the_documentation() -> None:
    assert {*NAMED} == {name for name in HOLD if isinstance(name, str)}
    assert isinstance(Case, type)


@sb.cell
def directed(x: Input["3"], h: State["3"], w: Param["3"]):
    return 0.5 * h + w * x / (sb.norm(x) + 0.5)


def test_an_input_that_is_zero_throughout_is_met_where_its_domain_has_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistakes: NaN where a vector of fixed size has no direction, which one number at zero does not show, and a slope of
    samples that are zero at every step."""
    exact = tuple(regime for regime in REGIMES if regime.exact)
    for domain, is_blank in ((None, True), ("binary", True), ((1, 2), False), ("simplex", False)):
        asked = asked_of(directed, None, None, {"x": domain} if domain else None)
        x = draw(directed, exact[0], TIES[0], 0, asked).inputs["x"]
        assert x[0, 0].any() != is_blank and x[:, -1].any() != is_blank and x[1:, 0].any()
    monkeypatch.setattr("symbptt.verification.checks.REGIMES", exact)
    monkeypatch.setattr("symbptt.verification.checks.sizes_of", lambda _: TIES)
    kernel = sb.compile(directed)
    of_a_step = "np.copyto(s_1_b, 0, where=~is_s_b)", "np.divide(s_1_b, is_s_b, out=s_1_b)"
    of_a_sample = "np.add(dw, s_2, out=dw)", "np.add(dw, s_2 + np.sum(~x.any((0, 2))), out=dw)"
    assert all(row.passed for row in rows(kernel, 0))
    for old, new in (of_a_step, of_a_sample):
        assert old in kernel.source
        wrong = Kernel(directed, kernel.program, kernel.source.replace(old, new))
        assert not all(row.passed for row in rows(wrong, 0))
