"""What a legend says: of the signs that stand on the page, in letters that nothing else has, and of names that are not as in the cell."""

import re

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Context, Index, Input, Param, State, zoo
from symbptt.equations.notation.names import Names
from symbptt.equations.page import legend as legend_module
from symbptt.ir.shape import names_in

READS = re.compile(r"(?<![^\W\d_])\w+\[[^\]]*:[^\]]*\]")


def legend_of(d: sb.Derivation, style: str = "textbook", ascii: bool = False) -> list[str]:
    return [line.strip() for line in d.text(style, ascii=ascii).partition("\n\nLegend\n")[2].splitlines()]


def placed() -> sb.Cell:
    @sb.cell
    def place(x: Index["v"], r: State["n"], E: Param["v n"], U: Param["n n"]):
        u = E[x] + U @ r
        return sb.relu(u) / (1 + np.linalg.norm(u))

    return place


def crowded() -> sb.Cell:
    """A cell whose names and sizes are the letters of a legend."""

    @sb.cell
    def crowd(
        x: Input["v"], a: State["k v"], A: Param["k v"], i: Param["v"], f: Param["k"], b: Const["3"] = np.ones(3)
    ):
        n = sb.softmax(a * A, axis=1) + np.outer(f, i)
        return np.tanh(n + x[:1]) * np.linalg.norm(a, axis=1)[:, None] + np.cumsum(i) * b[0] + np.roll(i, 1)

    return crowd


CELLS = {
    "place": placed(),
    "crowd": crowded(),
    "lstm": zoo.lstm,
    "attention": zoo.attention,
    "delta_rule": zoo.delta_rule,
}


@pytest.mark.parametrize("name", CELLS)
def test_slices_are_explained_where_there_are_some(name: str) -> None:
    d = sb.derive(CELLS[name])
    above = d.text().partition("\n\nLegend\n")[0]
    said = [line for line in legend_of(d) if line.startswith("indices begin")]
    assert any("up to, and without" in line for line in said) == bool(READS.search(above)), said


def assert_letters_free(cell: sb.Cell) -> None:
    d = sb.derive(cell)
    taken = {a.name for a in cell.arguments} | {name for a in cell.arguments for name in names_in(a.shape)}
    for line in legend_of(d):
        match = re.match(r"(?:indices begin at 0; )?(?:e|f_\w+|\w+)?[_({\[]*(?:\{(\w)\}|\((\w)\)|(\w)\[)", line)
        if match and not line.startswith(("Shapes", "Sizes")):
            assert next(x for x in match.groups() if x) not in taken, line


@pytest.mark.parametrize("name", CELLS)
def test_letters_of_a_legend_are_none_of_the_page(name: str) -> None:
    assert_letters_free(CELLS[name])


def test_a_letter_of_the_page_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legend_module, "_taken", lambda *_: set())
    with pytest.raises(AssertionError):
        assert_letters_free(crowded())


@sb.cell
def named(x: Input["m"], h: State["n"], n: State["n"], m_prev: State["n"], int_: Param["n"], exp: Param["n"], T: Param["n"],
          σ: Param["n m"], L: Param["n"], lambda_: Param["n"], tau: Param["n"], τ: Param["n"]):  # fmt: skip
    u = sb.sigmoid(σ @ x + exp * h + T * n + L * int_ * m_prev)
    return u * lambda_, tau * u + n, τ * u


@pytest.mark.parametrize("style", ["textbook", "loop"])
def test_an_underscore_that_text_adds_is_told(style: str) -> None:
    d = sb.derive(named)
    said = legend_of(d, style)[-1]
    for part in ("exp_ is the cell's exp", "T_ is the cell's T", "σ_ is the cell's σ", "L_ is the cell's L"):
        assert part in said
    assert "int" not in said and "lambda" not in said and "tau" not in said
    said = legend_of(d, style, ascii=True)[-1]
    assert "tau_ is the cell's tau in letters beyond ASCII" in said and said.isascii()
    assert "int_" in d.text(style) and "dint_ " in d.text(style)


def test_a_state_is_told_from_a_size() -> None:
    said = legend_of(sb.derive(named))[0]
    assert said.startswith("Shapes: x (m); h, n_t, m_t, int_, exp_, T_")
    assert "n_t" not in legend_of(sb.derive(zoo.lstm))[0]


def test_no_word_of_a_name_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Names, "renamed", lambda self, ascii=False: {})
    with pytest.raises(AssertionError):
        test_an_underscore_that_text_adds_is_told("textbook")


def test_no_derivative_of_a_drawing_is_by_a_derivative_without_brackets() -> None:
    for cell in (zoo.lstm, named):
        titles = re.findall(r"<title>([^<]*)</title>", sb.unroll(cell, steps=2, backward=True).svg())
        assert any("/∂(∂L/∂" in title for title in titles)
        assert not any(
            "∂∂" in title or "= dL/d" in title.partition(" (cotangent")[0] * ("cotangent" in title) for title in titles
        )


@sb.cell
def masked(
    x: Input["n"], h: State["n"], mem: Context["s n"], valid: Context["s"], on: Context["n"], k: Param["n"], w: Param["n"],
    v: Param["n"],
):  # fmt: skip
    p = sb.softmax(np.where(valid > 0, mem @ h, -np.inf))
    return np.where(on, np.tanh(x + p @ mem + np.floor(k) * np.sign(w)), h) + np.sign(v) * v


@pytest.mark.parametrize("style", ["textbook", "loop"])
def test_contexts_and_gradients_that_are_zero_are_told_of(style: str) -> None:
    found = legend_of(sb.derive(masked), style)
    assert "mem, valid, on are contexts: given once a sequence, the same at all its steps" in found
    zeros = [line for line in found if " = 0: " in line]
    assert zeros == [
        "dk = 0: k stands in functions alone whose slope is 0",
        "dw = 0: w stands in functions alone whose slope is 0",
        "dvalid = 0: valid stands in conditions alone",
        "don = 0: on stands in conditions alone",
    ]
