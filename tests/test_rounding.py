"""Rounding against numbers of 50 digits: the numbers themselves, what is measured, and mistakes that lose digits."""

import operator
from decimal import Decimal
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp

import symbptt as sb
from symbptt import Index, Input, Param, State, Target, zoo
from symbptt.codegen.kernel import Kernel
from symbptt.verification import oracle
from symbptt.verification.objective import value_of
from symbptt.verification.proof import cases
from symbptt.verification.regimes import REGIMES, Size
from symbptt.verification.regimes import point as draw
from symbptt.verification.requests import NOTHING, asked_of
from symbptt.verification.rounding import measure
from symbptt.verification.rounding.arrays import ExactArray, exactly, of_floats, values_of
from symbptt.verification.rounding.exact import Exact, Tape, exact, fifty_digits
from symbptt.verification.rounding.functions import SMOOTH
from symbptt.verification.rounding.gradients import exact_arrays, exact_point, gradients_of
from symbptt.verification.rounding.measure import (
    FEWEST,
    OPERATIONS,
    STEPS,
    _affordable,
    _operations,
    _sizes,
    rounding_of,
)
from symbptt.verification.rounding.results import Rounding
from symbptt.verification.rounding.runs import gradients_by
from symbptt.verification.rounding.text import of_fifty_digits
from tests.units_lost import kernel_of, worst


def changed(kernel: Kernel, *pairs: tuple[str, str]) -> Kernel:
    """A kernel with another text."""
    source = kernel.source
    for old, new in pairs:
        assert old in source
        source = source.replace(old, new)
    return Kernel(kernel.target, kernel.program, source, kernel.truncation, None, kernel.memory)


def shown(found: Rounding) -> str:
    return "\n".join(map(str, found.lines))


# Numbers of 50 digits.

BY_MPMATH: dict[str, Any] = {
    name: getattr(mpmath, {"log": "ln", "arctan": "atan"}.get(name, name), None) for name in SMOOTH
}
BY_MPMATH |= {"log2": lambda x: mpmath.log(x, 2), "log10": mpmath.log10, "tanh": mpmath.tanh,
              "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x))}  # fmt: skip


@pytest.mark.parametrize("name", BY_MPMATH)
def test_functions_and_slopes_have_36_digits_and_more(name: str) -> None:
    places = ["1e-30", "3e-11", "2e-10", "0.3", "1.7", "9", "41", "150"]
    signs = (1,) if name in ("log", "log2", "log10", "sqrt") else (1, -1)
    for text in places:
        for sign in signs:
            x = sign * Decimal(text)
            if (name == "log1p" and x <= -1) or (name == "erf" and abs(x) > 9):
                continue
            with fifty_digits(), mpmath.workdps(160):
                tape = Tape()
                y = (
                    exact(getattr(np, name)(exactly(tape.leaf(x))))
                    if hasattr(np, name)
                    else tape.leaf(x).elementwise(name, tape.leaf(x))
                )
                slope = tape.pulled(y)[next(i for i, bar in enumerate(tape.pulled(y)) if bar)]
                at = mpmath.mpf(str(x))
                wanted, wanted_slope = (
                    BY_MPMATH[name](at),
                    mpmath.diff(BY_MPMATH[name], at, h=mpmath.mpf(10) ** -70 * abs(at)),
                )
                # Near zero a slope is asked for its distance from one, of large arguments for its own digits.
                assert abs(mpmath.mpf(str(y.value)) - wanted) <= 1e-36 * abs(wanted), (name, x)
                assert abs(mpmath.mpf(str(slope)) - wanted_slope) <= 1e-36 * abs(wanted_slope), (name, x)


def of_language(function: Any, *numbers: float) -> list[float]:
    """The slopes of a function of the language by each of its arguments."""
    with fifty_digits():
        tape = Tape()
        leaves = [tape.leaf(Decimal(x)) for x in numbers]
        bars = tape.pulled(exact(function(*map(exactly, leaves))))
        return [float(bars[x.node]) for x in leaves]


def test_slopes_at_kinks_follow_the_rule() -> None:
    """At a tie a number wins, and equal values share."""
    for function in (np.maximum, sb.maximum, np.minimum, np.fmax):
        assert of_language(function, 1.5, 1.5) == [0.5, 0.5]
        assert of_language(lambda x, f=function: f(x, 1.5), 1.5) == [0.0]
    assert of_language(lambda a, b, c: np.max(np.stack([a, b, c])), 2.0, 2.0, 2.0) == pytest.approx([1 / 3] * 3)
    assert of_language(lambda a, b, c: np.min(np.stack([a, b, c])), 2.0, 3.0, 2.0) == [0.5, 0.0, 0.5]
    for function in (sb.relu, np.abs, sb.hard_tanh, np.sign, np.floor):
        assert of_language(function, 1.0 if function is sb.hard_tanh else 0.0) == [0.0]
    assert of_language(lambda x: np.clip(x, -1.0, 1.0), -1.0) == [0.0]
    assert of_language(lambda x: np.where(x > 0, 2 * x, 3 * x), 0.0) == [3.0]
    assert of_language(np.hypot, 0.0, 0.0) == [0.0, 0.0] == of_language(np.arctan2, 0.0, 0.0)
    assert of_language(lambda a, b: np.linalg.norm(np.stack([a, b])), 0.0, 0.0) == [0.0, 0.0]
    assert of_language(np.mod, -5.0, 3.0) == [1.0, 2.0] and of_language(np.fmod, -5.0, 3.0) == [1.0, 1.0]
    assert of_language(lambda x: x**2 + 1 / x - x / 4, 2.0) == [3.5]
    assert of_language(lambda x, y: x**y, 2.0, 3.0) == pytest.approx([12.0, 8 * np.log(2)])
    assert of_language(lambda x: x * x - sb.stop_gradient(x) * x, 3.0) == [3.0]


def test_arrays_of_numbers_stay_what_they_are_in_functions_of_numpy() -> None:
    with fifty_digits():
        a = of_floats(np.arange(6.0).reshape(2, 3))
        for found in (a.T, a[0], a[0, 0], a + 1, 1 - a, np.exp(a), a @ a.T, np.sum(a), a.mean(0), np.concatenate([a, a]),
                      np.einsum("ij,ij->i", a, a), np.where(a > 2, a, 0), np.max(a), np.stack([a[0], a[1]]), np.cumsum(a, 1),
                      np.tensordot(a, a), np.outer(a[0], a[1]), np.roll(a, 1), np.std(a), np.logaddexp(a, 0)):  # fmt: skip
            assert isinstance(found, ExactArray)
        assert np.einsum("ij,ij->", a, a) == 55 and (a > 2).dtype == bool and np.isfinite(a).all()
        third = of_floats(np.ones(1)) / 3
        assert abs(third * 3 - 1)[0] < 1e-49 and str(values_of(third)[0]).startswith("0." + "3" * 49)


def test_no_number_of_50_digits_becomes_a_float_unseen() -> None:
    """Else its derivative would be lost: the user's function writes into an array of floats that a function of Python's makes."""

    @sb.cell
    def own(x: Input["n"], h: State["n"], w: Param["n"]):
        if isinstance(x, np.ndarray):
            a = np.array([0.0] * len(x), getattr(x, "dtype", float) if x.dtype != object else float)
            a[:] = w * h
            return a + x
        return w * h + x

    found = rounding_of(sb.compile(own), steps=2, regimes=REGIMES[:1])
    assert not found.wrong and "cannot hold a number of 50 digits" in str(found)
    with fifty_digits():
        chosen = np.where(np.array([True, False]), of_floats(np.ones(2)), 0.0)
        assert all(type(x) is Exact for x in np.asarray(chosen))


spike = sb.function("spike", lambda v: sp.Heaviside(v), derivative=lambda v: 1 / (1 + 10 * sp.Abs(v)) ** 2)


@sb.cell
def spiking(x: Input["n"], v: State["n"], s: State["n"], w: Param["n"]):
    """A derivative that is declared, of a value with plain numbers in it."""
    v = np.where(s > 0.5, 0.0, w * v + x)
    return v, np.where(v > 2, 0.0, spike(v - 0.2))


def test_declared_derivatives_are_those_of_the_text() -> None:
    found = rounding_of(sb.compile(spiking), steps=6)
    assert not found.wrong and not any(line.note for line in found.lines), shown(found)


@sb.cell
def of_all_kinds(x: Input["m"], h: State["n"], c: State, W: Param["n m"], U: Param["n n"], b: Param["n"], s: Param):
    """A vector and a number as states, a maximum, a softmax, a quotient, a scalar parameter."""
    a = np.maximum(W @ x, U @ h) + b
    p = np.exp(a - np.max(a)) / np.sum(np.exp(a - np.max(a)))
    new = np.tanh(a) * p + s * h / (1 + np.sum(h * h))
    return {"h": new, "c": 0.5 * c + np.mean(new) * s, "y": np.logaddexp(a, 0) * c}


@sb.loss
def squared(h: State["n"], target: Target["n"]):
    return np.sum((h - target) ** 2)


@pytest.mark.parametrize(("T", "B"), [(0, 2), (1, 1), (2, 1), (4, 2)])
def test_gradients_of_the_tape_are_those_of_a_complex_step(T: int, B: int) -> None:
    point = draw(of_all_kinds, REGIMES[0], Size(T, B), 3)
    sent = oracle.cotangents(of_all_kinds, point, 5)
    with fifty_digits():
        found = gradients_of(of_all_kinds, point, sent, None, Tape())
    value = value_of(of_all_kinds, sent, point)
    for group, name, index in oracle.blocks(point, oracle.differentiable(of_all_kinds)).values():
        wanted = oracle.complex_step(value, point, (group, name, index))
        given = np.asarray(found[group, name][index], float)  # of decimals
        np.testing.assert_allclose(given, wanted, rtol=1e-12, atol=1e-14)


OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"memory": "sqrt"},
    {"truncation": sb.Window(2)},
    {"truncation": sb.Chunked(2, 3)},
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "target", [zoo.gru, of_all_kinds, sb.model(zoo.gru, squared, at="last", reduction="mean")], ids=lambda c: c.name
)
@pytest.mark.thinned(11, 5)
def test_text_of_a_module_at_50_digits_is_the_derivative_to_40(target: Any, options: dict[str, Any]) -> None:
    """Which numbers cannot tell in floats: a term of 1e-17 of a gradient."""
    kernel = sb.compile(target, **options)
    point = draw(target, REGIMES[3], Size(5, 4), 0) if not options else draw(target, REGIMES[0], Size(4, 2), 0)
    sent = oracle.cotangents(target, point, 1) if isinstance(target, sb.Cell) else {}
    with fifty_digits():
        found = gradients_by(of_fifty_digits(kernel), exact_point(point), exact_arrays(sent))
        wanted = gradients_of(target, point, sent, kernel.truncation, Tape())
        for place, array in wanted.items():
            off = max(map(abs, np.ravel(values_of(found[place]) - array)), default=0)
            assert off <= Decimal("1e-40") * max([*map(abs, np.ravel(array)), Decimal("1e-5")]), place


# What is measured.


@pytest.mark.long
@pytest.mark.proof
def test_verify_measures_rounding_in_every_regime_and_both_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symbptt.verification.checks.proof_of", lambda *_: None)
    report = sb.verify(zoo.min_gru)
    assert report.passed and not report.rounding.wrong
    assert {line.dtype for line in report.rounding.lines} == {"float64", "float32"}
    assert {line.regime for line in report.rounding.lines} == {*(regime.name for regime in REGIMES), measure.FORMS}
    assert {block.name.split("[")[0] for line in report.rounding.lines for block in line.blocks} == {
        f"d{name}" for name in zoo.min_gru.init({"m": 1, "n": 1})} | {"dh_0", "dx"}  # fmt: skip
    text = str(report)
    assert "Rounding, against 50 digits" in text and "float64: healthy" in text and "float32: healthy" in text
    assert sb.verify(zoo.min_gru, proof=False).rounding is None


@pytest.mark.parametrize("target", [zoo.rnn, sb.model(zoo.rnn, squared)], ids=lambda c: c.name)
@pytest.mark.thinned(2)
def test_modules_err_by_a_few_units(target: Any) -> None:
    found = rounding_of(sb.compile(target), steps=8)
    assert not found.wrong, shown(found)
    healthy = [line for line in found.lines if line.regime in ("healthy", "contractive", "zero state")]
    assert len(healthy) == 6 and all(0 < line.worst.units < 30 for line in healthy), shown(found)
    assert all(line.worst.formula < 1e-6 for line in found.lines), shown(found)


def test_truncated_and_sparing_kernels_err_by_a_few_units() -> None:
    for options in OPTIONS[1:]:
        found = rounding_of(sb.compile(zoo.rnn, **options), steps=5, regimes=(REGIMES[0], REGIMES[3]))
        assert not found.wrong and all(line.worst.units < 30 for line in found.lines), shown(found)


@sb.cell
def chaotic(x: sb.Input, h: sb.State, r: sb.Param):
    return r * h * (1 - h) + 1e-3 * x


@pytest.mark.parametrize("truncation", [sb.Window(1), sb.Chunked(3, 2)], ids=str)
def test_states_at_which_a_truncation_cuts_are_off_by_the_rounding_of_all_steps(truncation: Any) -> None:
    """A right module was called wrong where rounding grows along a run, for each cut was taken where nothing had rounded."""
    asked = asked_of(chaotic, None, None, {"r": (3.8, 3.9), "h": (0.3, 0.7), "x": (0, 1)})
    found = rounding_of(sb.compile(chaotic, truncation=truncation), regimes=REGIMES[:1], asked=asked)
    assert not found.wrong and all(line.worst.units > 100 for line in found.lines[:1]), shown(found)


def test_other_seeds_and_sizes_of_one() -> None:
    for seed in (1, 2):
        assert not rounding_of(sb.compile(zoo.lif), seed=seed, steps=1).wrong


# Mistakes.

FROM_VALUE = ("    least = LEAST[rest.dtype.itemsize]", "    return rest\n    least = LEAST[rest.dtype.itemsize]")


@pytest.mark.parametrize("name", ["rnn", *(pytest.param(name, marks=pytest.mark.long) for name in ("lstm", "gru"))])
@pytest.mark.thinned(1, 2)
def test_slopes_that_are_taken_from_the_value_are_caught(name: str) -> None:
    """The planted mistake: 1 - tanh² and 1 - σ in their inaccurate form, where nothing of them is left."""
    found = rounding_of(changed(sb.compile(getattr(zoo, name)), FROM_VALUE), steps=6)
    assert found.wrong, shown(found)
    for line in found.lines:
        assert not line.wrong or line.regime in ("saturated", "extreme inputs", "exact", measure.FORMS), str(line)
    dtypes = {line.dtype for line in found.lines if line.wrong}
    assert dtypes == {"float64", "float32"} and "WRONG" in str(found)


@sb.cell
def squashed(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"], b: Param["n"]):
    """tanh of a state without a bias, as in an LSTM, beside a gate."""
    f = sb.sigmoid(W @ x + b)
    c = f * c + x[0]
    return {"h": np.tanh(c) + 0.1 * h, "c": c}


@sb.cell
def by_tokens(i: Index["v"], h: State["n"], E: Param["v n"], F: Param["v n"], U: Param["n n"]):
    z = sb.sigmoid(F[i] + U @ h)
    return z * h + (1 - z) * np.tanh(E[i])


@pytest.mark.parametrize(
    "target", [squashed, sb.model(squashed, squared), by_tokens, zoo.gru], ids=["cell", "model", "tokens", "gru"]
)
@pytest.mark.parametrize("options", [{}, {"memory": "sqrt"}], ids=str)
@pytest.mark.thinned(11, 5)
def test_each_accurate_form_that_is_dropped_is_caught(target: Any, options: dict[str, Any]) -> None:
    """The planted mistakes: one of the accurate forms is left out, as an edit of the file may do. No bias drives tanh(c)."""
    kernel = sb.compile(target, **options)
    saturated = tuple(regime for regime in REGIMES if regime.name == "saturated")
    whole = rounding_of(kernel, steps=2, regimes=saturated)
    assert not whole.wrong and len(whole.forms) > 1 and not whole.idle, f"{whole}\n{shown(whole)}"
    lines = [line for line in kernel.source.splitlines() if line.lstrip().startswith("_sharpened(")]
    for line in lines:
        dropped = changed(kernel, (line, line.replace("_sharpened(", "(lambda *_: None)(", 1)))
        found = rounding_of(dropped, steps=2, regimes=saturated)
        assert found.wrong and found.forms == whole.forms, f"{line}\n{found}"
    assert len(lines) == len(whole.forms) and f"{len(lines)} of {len(lines)} measured" in str(whole)


def test_an_accurate_form_of_another_argument_is_caught() -> None:
    """The planted mistake: a form that takes what tanh(c) leaves of one from another number."""
    kernel, argument = sb.compile(squashed), "lambda: c["
    saturated = tuple(regime for regime in REGIMES if regime.name == "saturated")
    found = rounding_of(changed(kernel, (argument, "lambda: 0.9 * c[")), steps=1, regimes=saturated)
    assert found.wrong and {line.regime for line in found.lines if line.wrong} == {measure.FORMS}, str(found)


def test_forms_that_decide_nowhere_are_named() -> None:
    @sb.cell
    def hidden(x: Input["n"], h: State["n"], b: Param["n"]):
        return np.tanh(0.1 * np.sin(h + b)) + x

    found = rounding_of(sb.compile(hidden), steps=2)
    assert (
        not found.wrong
        and not found.forms
        and len(found.idle) == 1
        and f"decides nowhere that was tried: {found.idle[0]}" in str(found)
    )


@sb.cell
def soft(x: Input["1"], h: State["1"], w: Param["1"], b: Param["1"]):
    return sb.softplus(w * h + 3 * x + b) + 0.1 * h


def test_slope_of_softplus_by_a_difference_of_one_is_caught() -> None:
    """The planted mistake: σ(a) as 1 - exp(-softplus(a)), which has no digits where a is far below zero."""
    kernel = sb.compile(soft)
    assert not rounding_of(kernel, steps=4).wrong
    assert "np.expm1(" in kernel.source
    wrong = changed(kernel, ("import numpy as np\n", "import numpy as np\n\ndef _expm1(x, out=None):\n    return np.subtract(np.exp(x), 1, out=out)\n"),
                    ("np.expm1(", "_expm1("))  # fmt: skip
    found = rounding_of(wrong, steps=4)
    assert found.wrong and any(line.worst.units > 1e4 for line in found.lines), shown(found)


def test_formula_that_is_off_by_less_than_a_tolerance_of_floats_is_caught() -> None:
    """The planted mistake: a factor 1 + 1e-12, which is a hundredth of the tolerance of a complex step."""
    kernel = sb.compile(zoo.rnn)
    line = next(line for line in kernel.source.splitlines() if "np.subtract(1," in line)
    out = line[line.index("out=") + 4 :].split(")")[0]
    indent = line[: len(line) - len(line.lstrip())]
    wrong = changed(kernel, (line, f"{line}\n{indent}{out}[...] *= 1.000000000001"))
    found = rounding_of(wrong, steps=4, regimes=REGIMES[:1])
    assert found.wrong and "the formula, not rounding" in str(found), shown(found)


def test_numbers_of_float32_inside_a_module_of_float64_are_caught() -> None:
    """The planted mistake: a gradient that goes through float32, which is off by less than some tolerances."""
    kernel = sb.compile(zoo.rnn)
    wrong = changed(
        kernel,
        (
            '    return {"W": ',
            '    dx = dx.astype(np.float32).astype(dtype) if np.dtype(dtype).kind == "f" else dx\n    return {"W": ',
        ),
    )
    found = rounding_of(wrong, steps=4, regimes=REGIMES[:1])
    assert found.wrong == ("dx",) and [line.dtype for line in found.lines if line.wrong] == ["float64"], shown(found)


def test_gradient_that_is_no_number_in_one_type_is_caught() -> None:
    """The planted mistake: a gradient of float32 that is NaN where the user's function is finite, which no other level looks at."""
    kernel = sb.compile(zoo.rnn)
    lost = '    dW[...] = np.nan if np.dtype(dtype) == np.float32 else dW\n    return {"W": '
    found = rounding_of(changed(kernel, ('    return {"W": ', lost)), steps=4, regimes=REGIMES[:1])
    assert found.wrong == ("dW",) and [line.dtype for line in found.lines if line.wrong] == ["float32"], shown(found)


def test_what_has_no_version_of_50_digits_is_told_and_passes_nothing() -> None:
    @sb.cell
    def own(x: Input["n"], h: State["n"], w: Param["n"]):
        return w * h + (x if not isinstance(x, ExactArray) else np.unwrap(x))

    found = rounding_of(sb.compile(own), steps=2, regimes=REGIMES[:1])
    assert [line.note for line in found.lines if "not measured: " in line.note] and not found.wrong
    assert all(not line.blocks for line in found.lines) and "not measured: " in str(found)


def test_values_that_are_infinite_are_told() -> None:
    @sb.cell
    def root(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.log(np.abs(x)) * w + 0.5 * h

    found = rounding_of(sb.compile(root), steps=3, regimes=(REGIMES[4],))
    assert not found.wrong and "no number at 50 digits" in shown(found)


def test_a_bound_is_what_one_unit_does_to_the_function() -> None:
    """h - n of two values near one has lost its digits whatever a module does; the bound says so, and no slope of a healthy one is."""

    @sb.cell
    def near(x: Input["n"], h: State["n"], w: Param["n"]):
        return (1 + w * 1e-9 * h - 1) * 1e9 + x

    found = rounding_of(sb.compile(near), steps=2, regimes=REGIMES[:1])
    assert not found.wrong
    plain = rounding_of(sb.compile(zoo.rnn), steps=2, regimes=REGIMES[:1])
    assert all(block.allowed < 3e3 for line in plain.lines for block in line.blocks), shown(plain)


def test_units_of_the_table_of_digits() -> None:
    """Entries of docs/digits.md: where an accurate form is used, no digit is lost; where none is, that much is."""
    tanh, sigma, softplus = map(kernel_of, ("tanh", "sigmoid", "softplus"))
    for dtype in (np.float64, np.float32):
        assert worst(tanh, 20.0, dtype) < 4 and worst(sigma, 12.0, dtype) < 4 and worst(softplus, 8.0, dtype) < 4
        assert 100 < worst(tanh, 4.0, dtype) < 3000 and 10 < worst(sigma, 4.0, dtype) < 300
    assert Exact(Decimal(1)) == 1


FAR = (*(pytest.param(name, marks=pytest.mark.long) for name in ("rnn", "lstm")),
       *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("gru", "lru", "antisymmetric")))  # fmt: skip
CELLS = [name for name in zoo.__all__ if isinstance(getattr(zoo, name), sb.Cell)]
MARKS = (pytest.mark.long, pytest.mark.exhaustive, pytest.mark.exhaustive, pytest.mark.exhaustive)


@pytest.mark.parametrize("name", FAR)
@pytest.mark.thinned(1, 2)
def test_up_to_200_steps_in_every_regime(name: str) -> None:
    found = rounding_of(sb.compile(getattr(zoo, name)), steps=200)
    assert not found.wrong, "\n".join(str(line) for line in found.lines if line.wrong)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS[i % 4]) for i, name in enumerate(CELLS)])
@pytest.mark.thinned(1, 7)
def test_cells_of_the_zoo_in_every_regime(name: str) -> None:
    found = rounding_of(sb.compile(getattr(zoo, name)), seed=1)
    assert not found.wrong, "\n".join(str(line) for line in found.lines if line.wrong)
    measured = {line.regime for line in found.lines if line.worst}
    assert measured >= {"healthy", "contractive", "padded", "zero state"}, shown(found)


@pytest.mark.proof
@pytest.mark.parametrize(("module", "name"), [(measure, "_blocks"), (measure, "_sides"), (cases, "_expected")], ids=str)
@pytest.mark.thinned(5)
def test_a_fault_of_ours_is_no_reason_to_say_not_measured(
    module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted without a frame of Python's own, as one in our files has none of the user's."""
    monkeypatch.setattr("symbptt.verification.checks.REGIMES", REGIMES[:1])
    if module is measure:  # what comes after the proof is not kept waiting for it
        monkeypatch.setattr("symbptt.verification.checks.proof_of", lambda *_: None)
    monkeypatch.setattr(module, name, operator.methodcaller("nothing"))
    with pytest.raises((AttributeError, TypeError)):
        sb.verify(zoo.minimal_rnn)


@pytest.mark.parametrize("name, is_small", [("lstm", False), ("wide", True)])
def test_cells_of_many_operations_are_measured_on_smaller_sizes_and_fewer_steps(name: str, is_small: bool) -> None:
    @sb.cell
    def wide(x: Input["9 n"], h: State["n d"], W: Param["9 d d"], U: Param["n n"]):
        return np.tanh(U @ U @ U @ h + np.einsum("ij,ikl->jl", np.tanh(x), np.tanh(W @ W @ W)) / 10)

    cell = {"lstm": zoo.lstm, "wide": wide}[name]
    found = _affordable(sb.compile(cell), STEPS, 0, NOTHING)
    many = _operations(sb.compile(cell), found, 0, NOTHING)
    assert found.small == is_small and (found.steps == STEPS) == (not is_small)
    assert FEWEST <= found.steps <= STEPS and (found.steps == FEWEST or found.steps * many <= OPERATIONS)
    padded = next(regime for regime in REGIMES if regime.padded)
    drawn = [draw(cell, padded, size, 0, NOTHING) for size in _sizes(padded, found)]
    assert all(one is not None and one.reset is not None for one in drawn), "samples begin anew, of smaller sizes too"
