"""Pages of cells with loops and fixed points inside a step, read back: their rounds, their own reverse loops, implicit gradients."""

import pytest

import symbptt as sb
from symbptt.ir.rounds import has_rounds
from tests import brute, test_fixed_point, test_repeat
from tests.inner_loops import CELLS, MODELS
from tests.readback import (
    STEPS,
    Printed,
    as_latex,
    as_latex_textbook,
    as_text,
    assert_model_read,
    assert_read,
    sizes_of,
)

FORMS: dict[str, tuple[Printed, ...]] = {
    "textbook": (as_text("textbook"), as_latex_textbook),
    "loop": (as_text("loop"), as_latex),
}
FEW = (("stacked", "textbook"), ("settled", "loop"))
"""Cells and styles that the default run reads."""
OTHERS = {**test_repeat.SIBLINGS, "begin_alike": test_repeat.begin_alike, **test_fixed_point.CELLS}


def assert_all_read(cell: sb.Cell, style: str, scale: float = 1.0) -> None:
    given = brute.data_of(cell, STEPS, 1, sizes_of(cell))
    is_complex = {a.name for a in cell.arguments if a.complex}
    given.params.update({k: scale * v for k, v in given.params.items()})
    for arrays in (given.params, given.inputs, given.state):
        arrays.update({k: v + 0.6j * v[::-1] for k, v in arrays.items() if k in is_complex})
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
def test_pages_of_other_loops_read_as_the_kernel_computes(name: str, style: str) -> None:
    assert_all_read(OTHERS[name], style, 0.3)


@pytest.mark.long
@pytest.mark.parametrize("style", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_page_of_a_model_of_loops_reads_as_the_kernel_computes(name: str, style: str) -> None:
    for form in FORMS[style]:
        assert_model_read(MODELS[name], sizes_of(MODELS[name]), style, form)


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
