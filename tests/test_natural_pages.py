"""Pages of cells and models in natural spelling: every line reads as the kernel computes, left sides differ, names are defined."""

import numpy as np
import pytest

import symbptt as sb
from tests import brute
from tests.natural_cells import CELLS, MODELS
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
from tests.test_mathml import as_mathml, as_mathml_textbook
from tests.test_page import assert_defined

FORMS: dict[str, tuple[Printed, ...]] = {
    "textbook": (as_text("textbook"), as_latex_textbook, as_mathml_textbook),
    "loop": (as_text("loop"), as_latex, as_mathml),
}
FEW = ("alif", "heads_memory")
pytestmark = pytest.mark.filterwarnings("ignore:.*is never used")


def data_of(cell: sb.Cell) -> brute.Data:
    data = brute.data_of(cell, STEPS, 1, sizes_of(cell))
    complexified(cell, data)
    if "P" in data.state:  # a covariance
        data.state["P"] = np.eye(5) + 0.1 * data.state["P"] @ np.swapaxes(data.state["P"], 1, 2)
    if "w" in data.state:  # a weight of each row
        data.state["w"] = np.abs(data.state["w"])
    return data


@pytest.mark.parametrize("style", FORMS)
@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in FEW else pytest.mark.long) for x in CELLS])
@pytest.mark.thinned(1, 11)
def test_page_of_a_natural_cell_reads_as_the_kernel_computes(name: str, style: str) -> None:
    cell = CELLS[name]
    for form in FORMS[style]:
        assert_read(cell, sizes_of(cell), style, form, data_of(cell))


@pytest.mark.long
@pytest.mark.parametrize("style", FORMS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.thinned(1, 5)
def test_page_of_a_natural_model_reads_as_the_kernel_computes(name: str, style: str) -> None:
    for form in FORMS[style]:
        assert_model_read(MODELS[name], sizes_of(MODELS[name]), style, form)


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=() if x in FEW else pytest.mark.long) for x in (*CELLS, *MODELS)]
)
@pytest.mark.thinned(1, 5)
def test_names_on_pages_of_natural_cells_are_defined(name: str) -> None:
    assert_defined(CELLS[name] if name in CELLS else MODELS[name])


def test_a_mask_of_weights_is_an_elementwise_factor() -> None:
    """(1 - I) R would be a product of matrices; a size that a size divides is written as a quotient."""
    text, latex = sb.derive(CELLS["alif"]).text(), sb.derive(CELLS["alif"]).latex()
    assert "R0      = R ⊙ (1 - I)" in text and "dR = (1 - I) ⊙ Σ_t du_t z_{t-1}ᵀ" in text
    assert r"R \odot (1 - I)" in latex
    text, latex = sb.derive(CELLS["heads_memory"]).text(), sb.derive(CELLS["heads_memory"]).latex()
    assert "√(p/2)" in text and r"\sqrt{p/2}" in latex and "//" not in text + latex
