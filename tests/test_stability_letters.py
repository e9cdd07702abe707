"""Theorems on cells whose own names are the usual letters of theorems."""

import re

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.stability.algebra import letters


@sb.cell
def clocked(x: Input["n"], h: State["n"], t: State, U: Param["n n"]):
    g = 0.5 + 0.5 * np.cos(t)
    return g * h + (1 - g) * np.tanh(U @ h + x), t + 0.1


@sb.cell
def crowded(tau: Input["k"], s: State["k"], t: Param["k"], y: State["k"]):
    return sb.sigmoid(t) * np.tanh(s) + tau, 0.5 * y + 0.1 * s


@sb.cell
def usual(x: Input["n"], h: State["n"], c: State["n"]):
    return 0.5 * np.tanh(h + c), 0.5 * c + x


def words(cell: sb.Cell) -> str:
    sizes = {str(s) for a in cell.arguments for s in a.shape}
    params = cell.init(dict.fromkeys(sizes, 3), seed=0)
    box = {a.name: (-np.ones(3), np.ones(3)) for a in cell.arguments if a.role == "input"}
    theorem = sb.vanishing_condition(cell)
    run = sb.analyze(cell, params, {name: np.zeros((60, 1, 3)) for name in box}).text()
    proven = " ".join(next(part for part in run.split("\n\n") if part.startswith("Proven")).split())
    return "\n".join([theorem.text(), theorem.latex(), sb.certified_rate(cell, params, box).text(), proven])


def check(cell: sb.Cell, time: str, state: str, start: str) -> str:
    text = words(cell)
    assert f"all {time} ≥ {start}:" in text and f"‖∂{state}_{time}/∂{state}_{start}‖" in text
    assert len(re.findall(rf"\^\({time}−{start}\)", text)) >= 3
    assert time == "t" or not re.search(r"(?<!η)_t\b|\^\(t−|t-1|all t\b", text)
    return text


@pytest.mark.long
def test_time_has_a_letter_that_no_name_of_the_cell_is() -> None:
    text = check(clocked, "τ", "s", "k")
    assert r"\eta^{\tau-k} \quad (\tau \geq k)" in text and "cos(t_{τ-1})" in text


@pytest.mark.long
def test_time_has_its_usual_letter_where_it_can_and_a_later_one_where_it_must() -> None:
    check(usual, "t", "s", "k")
    check(crowded, "υ", "x", "j")


@sb.cell
def full(s: State["n"], y: State["n"], x: Param["n"], k: Param["n"], j: Param["n"], lr: Param["l"], r: Param["n"]):
    return np.tanh(s + k + j), np.tanh(y + x + r) + np.sum(lr)


@sb.cell
def fuller(s: State["n"], y: State["n"], x: State["n"], p: State["k_0 w"], q: State["n"], r: Param["n"]):
    z, u, v = np.tanh(s), np.tanh(y), np.tanh(x)
    k, j = np.tanh(q), np.tanh(r)
    state = np.tanh(p)
    return u + v, z + v, z + u, state * np.sum(j), k


def test_whole_state_and_earlier_time_have_two_letters() -> None:
    assert letters.letters_of(full.step) == letters.Letters("q", "t", "p", states=("s", "y"))


def test_letters_do_not_end() -> None:
    assert letters.letters_of(fuller.step) == letters.Letters("s_1", "t", "l", states=("s", "y", "x", "p", "q"))


def test_planted_usual_letters_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "TIMES", {"t": ("t", ())})
    with pytest.raises(AssertionError):
        test_time_has_a_letter_that_no_name_of_the_cell_is()


@sb.cell
def joined(x: Input["n"], M: State["n n"], ω: State["n"]):
    return {"M": 0.5 * M + np.outer(x, np.tanh(ω)), "ω": 0.9 * np.tanh(ω)}


@sb.cell
def alone(x: Input["n"], M: State["n"], s: Param["n"]):
    return 0.5 * np.tanh(M * s + x)


@pytest.mark.long
def test_letter_of_the_state_is_defined_where_it_stands() -> None:
    """In theorem, certificate and report: the name of one state, and what the letter of several stands for."""
    x = {"x": np.random.default_rng(0).uniform(-1, 1, (20, 2, 3))}
    for cell, letter, meaning in ((joined, "s", "s = (M, ω)"), (alone, "M", "")):
        p = {"s": np.full(3, 0.5)} if cell is alone else {}
        box = {"x": (-np.ones(3), np.ones(3))}
        texts = [
            sb.vanishing_condition(cell).text(), sb.certified_rate(cell, p, box).text(),
            " ".join(sb.analyze(cell, p, x).text().split()),
        ]  # fmt: skip
        for text in texts:
            assert f"∂{letter}_t/∂{letter}_k" in text and meaning in text, text


def test_planted_letter_that_nothing_defines_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters.Letters, "meaning", property(lambda self: ""))
    with pytest.raises(AssertionError):
        test_letter_of_the_state_is_defined_where_it_stands()
