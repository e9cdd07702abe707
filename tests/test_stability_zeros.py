"""Parameters that are zero at the start and silence a cell are named."""

from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.commands.build import build, decay
from symbptt.stability.gradients.silent_parameters import silent
from symbptt.zoo import gru, lstm, rnn


@sb.cell
def muted(x: Input["n"], h: State["n"], U: Param["n n"], g: Param["n"], b: Param["n"]):
    return np.tanh(sb.layer_norm(U @ h + x) * g + b)


@sb.cell
def heard(x: Input["n"], h: State["n"], U: Param["n n"], b: Param["n"], g: Param["n"] = 1.0):
    return np.tanh(sb.layer_norm(U @ h + x) * g + b)


@sb.cell
def chained(x: Input["n"], h: State["n"], c: State["n"], a: Param["n"], g: Param["n"]):
    return np.tanh(g * c + x), a * h


CURE = "g is zero: write = 1.0 behind the annotation, or init(..., g=1.0)"


@pytest.mark.long
def test_report_names_the_parameter_that_silences_the_cell() -> None:
    found = sb.analyze(muted, muted.init({"n": 4}), steps=30)
    assert found.verdict.exponent == -np.inf
    assert CURE in " ".join(found.text().split()) and CURE in found.numbers()["verdict"]["reason"]
    assert CURE not in sb.analyze(heard, heard.init({"n": 4}), steps=30).text()


def test_initialisation_names_it_too() -> None:
    with pytest.raises(sb.ArgumentError, match="g is zero"):
        sb.init_for_horizon(muted, 10, sizes={"n": 4})


@pytest.mark.long
def test_build_says_it_in_its_summary(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    rows = dict(build(muted, None, tmp_path, hidden=3).rows)
    assert rows["stability"] == f"vanishing, λ₁ = −∞: nothing of the state passes a step; {CURE}"
    assert (
        rows["adjoint of h"].endswith(" at step 100, 0 before step 100") and rows["adjoint of h"].count("at step") == 1
    )


def test_only_zeros_that_silence_are_named() -> None:
    for cell in (rnn, gru, lstm, heard):
        params = cell.init({"m": 2, "n": 3} if cell is not heard else {"n": 3})
        x = np.ones((4, 1, 2 if cell is not heard else 3))
        assert (
            silent(cell, params, {"x": x}, {a.name: np.zeros((1, 3)) for a in cell.arguments if a.role == "state"})
            == ()
        )


def test_two_zeros_in_a_row_have_no_single_cause() -> None:
    start = {"h": np.ones((1, 2)), "c": np.ones((1, 2))}
    params = chained.init({"n": 2})
    given = {"x": np.ones((3, 1, 2))}
    assert silent(chained, params, given, start) == ()
    assert silent(chained, {**params, "a": np.ones(2)}, given, start) == ("g",)


@pytest.mark.parametrize("norms, text", [([0, 0, 3.0], "3 at step 3, 0 before step 3"), ([2.0], "2 at step 1")])
def test_one_step_alone_is_told_once(norms: list[float], text: str) -> None:
    assert decay(norms) == text
