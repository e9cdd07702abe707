"""Pages of cells with loops and fixed points inside a step, read back: their rounds, their own reverse loops, implicit gradients."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Param, State, Window
from symbptt.ir.rounds import has_rounds
from tests import brute, complex_cells, test_fixed_point, test_repeat
from tests.inner_loops import CELLS, MODELS
from tests.masked import assert_masked
from tests.readback import (
    STEPS,
    Printed,
    as_latex,
    as_latex_textbook,
    as_text,
    assert_model_read,
    assert_read,
    complexified,
    sizes_of,
)
from tests.test_inner_gradients import ttt_mlp
from tests.test_masks import MASKS


@sb.cell
def filters(x: Input["m l"], h: State["n l"], W: Param["n m 3"], U: Param["n n 3"], b: Param["n"]):
    return np.tanh(sb.conv(x, W, padding=1) + sb.conv(h, U, padding=1) + b[:, None])


FORMS: dict[str, tuple[Printed, ...]] = {
    "textbook": (as_text("textbook"), as_latex_textbook),
    "loop": (as_text("loop"), as_latex),
}
FEW = (("stacked", "textbook"), ("settled", "loop"))
"""Cells and styles that the default run reads."""
OTHERS = {**test_repeat.SIBLINGS, "begin_alike": test_repeat.begin_alike, **test_fixed_point.CELLS}


def assert_all_read(cell: sb.Cell, style: str, scale: float = 1.0) -> None:
    given = brute.data_of(cell, STEPS, 1, sizes_of(cell))
    complexified(cell, given)
    given.params.update({k: scale * v for k, v in given.params.items()})
    for form in FORMS[style]:
        assert_read(cell, sizes_of(cell), style, form, given)


def _case(name: str, style: str) -> object:
    return pytest.param(name, style, marks=() if (name, style) in FEW else pytest.mark.long)


@pytest.mark.parametrize("name, style", [_case(name, style) for name in CELLS for style in FORMS])
def test_page_of_a_loop_inside_a_step_reads_as_the_kernel_computes(name: str, style: str) -> None:
    assert_all_read(CELLS[name], style)


@pytest.mark.long
@pytest.mark.parametrize("style", FORMS)
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.thinned(1, 5)
def test_pages_of_other_loops_read_as_the_kernel_computes(name: str, style: str) -> None:
    assert_all_read(OTHERS[name], style, 0.3)


@pytest.mark.long
@pytest.mark.parametrize("name, style", [("rk4", "textbook"), ("stacked", "loop")])
def test_page_of_a_model_of_loops_reads_as_the_kernel_computes(name: str, style: str) -> None:
    for form in FORMS[style]:
        assert_model_read(MODELS[name], sizes_of(MODELS[name]), style, form)


FAMILIES = {"settled": CELLS["settled"], **CELLS, "lru": complex_cells.lru, "filters": filters, "ttt_mlp": ttt_mlp}
TRUNCATIONS = (None, Window(2), Chunked(3, 2))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "settled" else pytest.mark.long) for name in FAMILIES]
)
def test_page_with_masks_and_truncation_of_each_family_reads_as_the_kernel_computes(name: str) -> None:
    cell, at = FAMILIES[name], [*FAMILIES].index(name)
    style, masks = ("loop", "both") if at % 2 else ("textbook", "resets")
    assert_masked(cell, sizes_of(cell), TRUNCATIONS[at % 3], style=style, **MASKS[masks])


def test_reader_catches_what_a_reset_step_sends_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What solves for an adjoint, λ, is of the next step too: its term once stood without the condition."""
    text = sb.Derivation.text
    right, wrong = "(1 - r_{t+1}) · 0.2 λ_{t+1}", "0.2 λ_{t+1}"
    assert right in sb.derive(CELLS["settled"], reset=True).text()
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style: text(self, style).replace(right, wrong))
    with pytest.raises(AssertionError, match="gradient of"):
        assert_masked(CELLS["settled"], sizes_of(CELLS["settled"]), **MASKS["resets"])


@pytest.mark.parametrize(
    "name, right, wrong",
    [
        ("newton", "dy_{t,k+1} / r_{t,k}", "dy_{t,k} / r_{t,k}"),  # a round too early
        pytest.param(
            "newton", "Σ_{k < 3} dy_{t,k+1} ⊙", "Σ_{k < 2} dy_{t,k+1} ⊙", marks=pytest.mark.long
        ),  # a round too few
        ("settled", "+ 0.3 (Uᵀ da_{g,t} + U da_{h,t})", "+ 0.3 U da_{h,t}"),  # what a round gives back, in part
    ],
)
def test_reader_catches_a_wrong_round(name: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    assert right in sb.derive(CELLS[name]).text()
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style: text(self, style).replace(right, wrong))
    with pytest.raises(AssertionError, match="gradient of"):
        assert_read(CELLS[name], sizes_of(CELLS[name]))


@pytest.mark.parametrize("name", [name for name in CELLS if has_rounds(CELLS[name].looped.graph)])
def test_each_line_of_rounds_says_which_they_are(name: str) -> None:
    """In the style of the loop the adjoint of what has no name of its own is one of a round too."""
    for line in sb.derive(CELLS[name]).text("loop").splitlines():
        left = line.partition(" = ")[0]
        assert (",k}" in left or ",k+1}" in left) == (" for k < " in line), line
