"""Numbers on pages: those that are multiplied are one, and none loses its digits."""

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbptt as sb
from symbptt import Const, Input, Param, State, zoo
from symbptt.autodiff import entrywise, partials, subexpressions
from symbptt.equations.algebra.expressions import Number
from symbptt.equations.algebra.numbers import product
from symbptt.equations.notation import writing
from symbptt.equations.notation.signs import TEXT
from tests.jacobian_page import assert_jacobians_read
from tests.readback import as_latex, as_latex_textbook, assert_read, sizes_of


@sb.cell
def numbers(x: Input["n"], h: State["n"], P: Param["n n"]):
    a = 0.01 * (P @ h) ** 2 + 0.1 * (3 * x)
    return np.tanh(a) + 2 * (np.pi * h) + (0.1 + 0.2) * np.sin(x) + 0.5 * (2 * x) + h**3 / 3 * 0.1


@pytest.mark.parametrize("style", ["textbook", "loop"])
def test_numbers_that_are_multiplied_are_one(style: str) -> None:
    text = sb.derive(numbers).text(style)
    assert "0.01 (P h_{t-1})² + 0.3 x_t" in text
    assert "2 π h_{t-1} + 0.30000000000000004 sin(x_t) + x_t" in text
    assert "0.02 Pᵀ" in text and "2 · 0.01" not in text
    assert re.search(r"\d · \d", text) is None
    assert r"0.02\, P^{\top}" in sb.derive(numbers).latex(style)
    assert "<mn>0.02</mn>" in sb.derive(numbers).mathml(style)


@pytest.mark.parametrize("form", [None, as_latex, as_latex_textbook], ids=["text", "latex loop", "latex"])
def test_pages_with_products_of_numbers_read_back(form: Any) -> None:
    assert_read(numbers, sizes_of(numbers), printed=form)


FACTORS = [
    ((2, 0.01), "0.02"),
    ((3, 0.1), "0.3"),
    ((0.1, 0.2), "0.02"),
    ((4, 0.25), ""),
    ((2, math.pi), "2 π"),
    ((1.1, 1.1, 1.1), "1.331"),
    ((sp.Rational(1, 3), 0.7), "7/30"),
    ((sp.Rational(1, 3), 3), ""),
    ((6, 0.1 + 0.2), "1.8000000000000003"),
    ((1e200, 1e200), "10²⁰⁰ · 10²⁰⁰"),
    ((1e-300, 1e-300), "10⁻³⁰⁰ · 10⁻³⁰⁰"),
    ((1e300, 1e-300), ""),
    ((2, sp.sqrt(sp.pi), 0.5), "√π"),
    ((math.inf, 2), "2 · ∞"),
    ((0.0, 2), "0"),
]


@pytest.mark.parametrize("factors, shown", FACTORS, ids=str)
def test_a_product_of_numbers_is_that_of_the_decimal_numbers_of_the_page(factors: tuple[Any, ...], shown: str) -> None:
    found = product([sp.sympify(x) for x in factors])
    assert " · ".join(TEXT.number(x) for x in found) == shown


@given(
    st.lists(
        st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: x or 1.0) | st.integers(1, 99), min_size=2, max_size=4
    )
)
def test_a_product_of_numbers_keeps_its_digits(factors: list[float]) -> None:
    wanted = math.prod((Fraction(repr(x)) for x in factors), start=Fraction(1))
    found = math.prod((Fraction(repr(float(x))) if x.is_Float else Fraction(int(x.p), int(x.q))
                       for x in product([sp.sympify(x) for x in factors])), start=Fraction(1))  # fmt: skip
    assert abs(found - wanted) <= abs(wanted) * Fraction(2, 10**16)


@sb.cell
def scaled(x: Input["m"], h: State["n"], c: State["n"], W: Param["n m"]):
    a = W @ x + 1e-12
    b = np.tanh(a / (np.sqrt(a @ a) + 1e-6)) * 2.5e-7 - 1e-5 * h * h + 3e-9 * np.maximum(h, -1e-7)
    p = np.exp(c) ** 1e-5 + np.exp(c) ** 2.5e-7 + 3 * 2.5e-8 ** np.tanh(h) + b / 2.5e-7 + 3 * 2 ** np.tanh(c)
    return {"h": 1e7 * np.sin(1e-8 * b) + 2.5e20 * np.sin(c * 1e-20), "c": p / (4e-8 + p * 3e-5) * 1e-6 + W @ x * 1e-9}


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("form", [None, as_latex_textbook], ids=["text", "latex"])
@pytest.mark.thinned(17)
def test_powers_of_ten_are_raised(style: str, form: Any) -> None:
    d = sb.derive(scaled)
    text, comments = d.text(style), sb.compile(scaled).source.partition('"""')[2].partition('"""')[0]
    for one in (text, comments):
        assert re.search(r"\de[-+]?\d", one) is None, one
    for shown in ("10⁻¹²", "‖ + 10⁻⁶)", "2.5 · 10⁻⁷ tanh", "- 10⁻⁵ h", "-10⁻⁷)", "^(10⁻⁵)", "^(2.5 · 10⁻⁷)", "(2.5 · 10⁻⁸)^",
                  "2.5 · 10²⁰ sin", "10⁻²⁰ c", "(4 · 10⁻⁸ + 3 · 10⁻⁵ p_t)", "10⁻⁹ W"):  # fmt: skip
        assert shown in text, (shown, text)
    assert "2.5e-07 tanh" in d.text(style, ascii=True) and "2.5e-08^tanh" in d.text(style, ascii=True)
    assert "<mfenced" not in d.mathml(style) and r"10^{-6}" in d.latex(style)
    assert_read(scaled, {"m": 2, "n": 3}, printed=form, **({} if form else {"style": style}))


@sb.cell
def bases(x: Input["n"], h: State["n"]):
    return 0.3 * 2**h + 0.5 * x


def test_a_number_before_the_power_of_a_number_is_told_from_it() -> None:
    d = sb.derive(bases)
    assert "h_t = 0.3 · 2^h_{t-1} + 0.5 x_t" in d.text() and "+ 0.3 · log(2) dh_{t+1} ⊙ 2^h_t" in d.text()
    assert "0.3 . 2^h_{t-1}" in d.text(ascii=True) and r"0.3 \cdot 2^{h_{t-1}}" in d.latex()
    for form in (None, as_latex, as_latex_textbook):
        assert_read(bases, {"n": 3}, printed=form)


def test_a_power_of_ten_without_its_brackets_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writing._WRITERS, Number, lambda e, n: (n.number(e.value), writing.ATOM))
    with pytest.raises((AssertionError, ValueError, KeyError)):
        assert_read(scaled, {"m": 2, "n": 3})


def decimals() -> sb.Cell:
    @sb.cell
    def decimal(x: Input["n"], h: State["n"], c: State["n"], W: Param["n n"], k: Const = 0.07):
        a = sb.sigmoid(0.1 * h + 0.7 * x)
        b = np.exp(0.1 * h) * (0.2 * h + 0.3 * x)
        d = (0.1 * h + 0.2 * c) ** 2 + 0.7 * np.sin(0.1 * h) * 0.1
        e = 0.07 * np.exp(-(h + 65) / 20) * (1 - c) + 0.1 * (h + 40) / (1 - np.exp(-(h + 40) / 10))
        return e + 0.3 * (0.1 * (W @ (0.7 * h))) + b, 1.2 * d + 0.7 * a * 0.1 + k * a / 20 + 0.1 * h + 0.2 * h

    return decimal


def assert_short(cell: sb.Cell) -> None:
    d = sb.derive(cell)
    said = {style: d.text(style) + d.latex(style) for style in ("textbook", "loop")}
    for to in "hc":
        said |= {f"{to} by {of}": (j := d.jacobian(to, of)).text() + j.latex() for of in "hcxW"}
        said |= {f"paths of {to} and {of}": d.paths(to, of).text() for of in "hc"}
    said |= {"whole": d.jacobian().text(), "unrolled": d.unrolled().text(), "compare": sb.compare(zoo.rnn, cell).text()}
    for part, text in said.items():
        assert re.search(r"\d\.\d{12}", text) is None, f"{part}: {text}"


@pytest.mark.long
def test_no_derivative_shows_the_roundings_of_its_numbers() -> None:
    assert_short(decimals())
    assert_jacobians_read(decimals(), {"n": 3})


def test_a_jacobian_has_the_digits_of_its_page() -> None:
    """1 / √3 has sixteen digits, and 0.2 / 3 is 1 / 15: neither is what rounding has left of a shorter number."""

    @sb.cell
    def scaled_down(x: Input["n"], h: State["n"], c: State["n"], W: Param["n n"]):
        return x * (W @ h) / np.sqrt(3.0), 0.2 * c / 3 + x

    d = sb.derive(scaled_down)
    assert "0.5773502691896258 diag(x_t) W" in d.jacobian("h", "h").text()
    assert "dc_{t+1}" in d.text() and "(1 / 15) dc" in d.text() and d.jacobian("c", "c").text().endswith("(1 / 15) I")


@pytest.mark.parametrize("where", [entrywise, partials, subexpressions], ids=lambda module: module.__name__[18:])
@pytest.mark.thinned(11)
def test_a_rounding_that_shows_is_seen(monkeypatch: pytest.MonkeyPatch, where: Any) -> None:
    monkeypatch.setattr(where, "in_decimals", lambda e, given=(): e)
    partials.partials.cache_clear()
    with pytest.raises(AssertionError):
        assert_short(decimals())
    partials.partials.cache_clear()


@pytest.mark.parametrize("value", [0.30000000000000004, 1 / 3, 1.2345678901234567, 0.1 + 1e-15, math.pi, 1e-300, 1e300])
def test_a_number_of_the_user_keeps_its_digits(value: float) -> None:
    @sb.cell
    def exact(x: Input["n"], h: State["n"], W: Param["n n"]):
        return np.tanh(W @ h + value * x) * value

    run = sb.compile(exact)
    params, x = exact.init({"n": 3}, seed=0), np.full((1, 1, 3), 0.1)
    grads = run.backward(run.forward(params, {"x": x}, {"h": np.ones((1, 3))}), {"h": np.ones((1, 1, 3))})
    slope = 1 - np.tanh(params["W"] @ np.ones(3) + value * 0.1) ** 2
    assert np.allclose(grads.params["W"], value * slope[:, None] * np.ones((3, 3)), rtol=1e-15, atol=0)


@sb.cell
def masked(x: Input["n"], h: State["n"], valid: Input["n"]):
    mask = np.where(valid > 0, 0, -np.inf)
    other = np.where(valid > 1, 0, np.where(valid < 0, 5, np.inf))
    rest = np.where(valid > 0, x, 0)
    return h + rest + np.exp(mask - other)


@sb.cell
def attended(x: Input["n"], h: State["n"], M: Param["s n"], valid: Input["s"]):
    p = sb.softmax(np.where(valid > 0, M @ h, -np.inf))
    return np.tanh(x + p @ M)


def test_function_of_infinity_stands_beside_a_bracket_as_other_numbers_do() -> None:
    assert "[valid_t > 0] ⊙ p_t ⊙ (M da_{h,t} - p_tᵀ M da_{h,t})" in sb.derive(attended).text()


def test_infinity_stands_in_a_brace_and_not_beside_a_bracket_that_may_be_zero() -> None:
    """0 · ∞ is no number, and the value is 0 there."""
    for text in (sb.derive(masked).text(), sb.derive(masked).text(style="loop")):
        assert "mask_t  = {0 if valid_t > 0; -∞ otherwise}" in text
        assert "other_t = {0 if valid_t > 1; 5 if valid_t < 0; ∞ otherwise}" in text
        assert "rest_t  = x_t ⊙ [valid_t > 0]" in text or "rest_t  = [valid_t > 0] ⊙ x_t" in text


@sb.cell
def masked_by_name(x: Input["n"], v: State["n"], w: State["n"]):
    mask = np.where(v > 0, 0, -np.inf)
    both = np.where(w > 0, mask, 0)
    part = np.where(v > 0, np.concatenate([x, [-np.inf]])[1:], 0)
    rest = np.where(w > 0, sb.softmax(mask + x), 0)
    return sb.sigmoid(both + part) + rest, w + x


def test_infinity_with_a_name_or_in_a_part_of_an_array_stands_in_a_brace_too() -> None:
    for style in ("textbook", "loop"):
        text = re.sub(" +", " ", sb.derive(masked_by_name).text(style=style))
        assert "both_t = {mask_t if w_{t-1} > 0; 0 otherwise}" in text
        assert "{[x_t; [-∞]][1:n+1] if v_{t-1} > 0; 0 otherwise}" in text
        assert "rest_t = [w_{t-1} > 0] ⊙ " in text  # a function of ∞ is a number
