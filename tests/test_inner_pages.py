"""Pages of cells with loops and fixed points inside a step, read back: their rounds, their own reverse loops, implicit gradients."""

import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Param, State, Window
from symbptt.derivations.explanation import Explanation
from symbptt.ir.rounds import has_rounds
from tests import brute, complex_cells, test_fixed_point, test_repeat
from tests.inner_loops import CELLS, MODELS
from tests.kernels import kernel_of
from tests.masked import assert_masked
from tests.page import Page
from tests.readback import (
    STEPS,
    Printed,
    as_latex,
    as_latex_textbook,
    as_text,
    assert_gradients,
    assert_model_read,
    assert_read,
    begun,
    complexified,
    sizes_of,
)
from tests.test_inner_gradients import ttt_mlp
from tests.test_masks import MASKS
from tests.test_mathml import as_mathml, as_mathml_textbook


@sb.cell
def filters(x: Input["m l"], h: State["n l"], W: Param["n m 3"], U: Param["n n 3"], b: Param["n"]):
    return np.tanh(sb.conv(x, W, padding=1) + sb.conv(h, U, padding=1) + b[:, None])


FORMS: dict[str, tuple[Printed, ...]] = {
    "textbook": (as_text("textbook"), as_latex_textbook, as_mathml_textbook),
    "loop": (as_text("loop"), as_latex, as_mathml),
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


@sb.cell
def crossing(x: Input["n"], h: State["n"], q: State["n"], w: Param["n"]):
    def step(both):
        q, z = both
        return q * w + np.tanh(w * z + x) * z, np.tanh(w * z + x)

    last, z = sb.repeat(step, (q, h), 4)
    return {"h": z, "q": last}


def test_derivatives_in_rounds_are_written_in_saved_values() -> None:
    """What a round makes without a name has that of the next value, and a line before those that read it."""
    d = sb.derive(crossing)
    for text in (d.text("loop"), d.text(), str(d.explain())):
        assert "⊙ (1 - z̃_{t,k+1}²) for k < 4" in text
        assert 0 < text.index("z̃_{t,k+1} = tanh(") < text.index("q̃_{t,k+1} = q̃_{t,k} ⊙ w + z̃_{t,k+1} ⊙ z̃_{t,k}")
    assert_all_read(crossing, "loop")


@sb.cell
def gated(x: Input["n"], h: State["n"], c: State, U: Param["n n"], w: Param["n"]):
    z, q = sb.fixed_point(lambda zq: (np.tanh(U @ zq[0] + h + zq[1] * x), 0.2 * (w @ zq[0]) + c), (h, c))
    return {"h": sb.sigmoid(z) * x, "c": 0.5 * q}


@pytest.mark.parametrize("style", FORMS)
@pytest.mark.thinned(2)
def test_what_comes_to_a_fixed_point_from_outside_is_said(style: str) -> None:
    assert_all_read(gated, style, 0.1)


def _case(name: str, style: str) -> object:
    return pytest.param(name, style, marks=() if (name, style) in FEW else pytest.mark.long)


@pytest.mark.parametrize("name, style", [_case(name, style) for name in CELLS for style in FORMS])
@pytest.mark.thinned(1, 3)
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
@pytest.mark.thinned(1, 2)
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
        assert (",k}" in left or ",k+1}" in left or left.strip().endswith("_k")) == (" for k < " in line), line


# The chain rule in steps.


@sb.cell
def residual(x: Input["n"], h: State["n"], U: Param["n n"], w: Param["n"]):
    z = np.tanh(U @ h + x)
    z = z + np.sin(w * z)
    return z * x


EXPLAINED = {"residual": residual} | {name: CELLS[name] for name in ("newton", "stacked", "two_carried")}


def steps_of(d: sb.Derivation, page: Page) -> tuple[list[str], list[str]]:
    """The lines of an explanation, of a step in the order in which they are worked through, and those with a sum over time in them;
    what gains something first begins with it."""
    found = [x for reason in d.explain().reasons for x in reason.given]
    rounds = [x for x in found if x.rounds]
    first = next((i for i, x in enumerate(found) if x.rounds), len(found))
    ordered = [*found[:first], *rounds, *(x for x in found[first:] if not x.rounds)]
    carried = [x for x in ordered[:first] if "t,0}" in x.formula]  # it reads what the rounds give
    met: set[str] = set()
    lines: list[str] = []
    for x in [*(x for x in ordered if x not in carried), *carried]:
        begins = f"dL/{x.target} + " if "t-1" in x.target else ""
        relation = "+=" if x.target in met or "_" not in x.target else "="
        lines.append(
            f"{x.target} {relation} {begins if relation == '=' else ''}{x.formula}"
            + f" for {x.rounds}" * bool(x.rounds)
        )
        met.add(x.target)
    return [x for x in lines if "Σ_t" not in x], [x for x in lines if "Σ_t" in x]


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x == "newton" else pytest.mark.long) for x in EXPLAINED])
def test_what_an_explanation_gives_adds_up_to_the_gradients(name: str) -> None:
    assert_explained(EXPLAINED[name])


@pytest.mark.long
def test_a_contribution_that_is_not_said_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What z + sin(w z) gives to z itself once stood nowhere."""
    explain = sb.Derivation.explain

    def without_one(self: sb.Derivation) -> Explanation:
        whole = explain(self)
        reasons = [replace(r, given=tuple(x for x in r.given if str(x) != "dz̃_t gains dz_t")) for r in whole.reasons]
        assert reasons != list(whole.reasons)
        return replace(whole, reasons=tuple(reasons))

    monkeypatch.setattr(sb.Derivation, "explain", without_one)
    with pytest.raises(AssertionError, match="gradient of"):
        assert_explained(residual)


def assert_explained(cell: sb.Cell) -> None:
    """Worked through line by line, with the values of the page: all contributions are there, each once."""
    sizes, d, kernel = sizes_of(cell), sb.derive(cell), kernel_of(cell)
    data = brute.data_of(cell, STEPS, 1, sizes)
    run = kernel.forward(data.params, data.inputs, data.state)
    sent = {k: np.cos(np.arange(v.size)).reshape(v.shape) for k, v in run.states.items()}
    sections, names, _, _ = as_text("loop")(d)
    page = begun(cell, data, sizes, names)
    page.begin(sections)
    page.section(sections["Forward, t = 1, …, T"], range(1, STEPS + 1))
    for k, v in sent.items():
        page.timed[f"dL/d{k}"] = {0: 0 * v[0, 0]} | {t + 1: v[t, 0] for t in range(STEPS)}
        page.timed[f"d{k}"] = {STEPS: v[-1, 0]}
    lines, sums = steps_of(d, page)
    page.section(lines, range(STEPS, 0, -1))
    page.section(sums, range(1))
    assert_gradients(page, d.mark, kernel.backward(run, sent), names)


@pytest.mark.parametrize("name", ["newton", "stacked", "predictive"])
def test_an_explanation_defines_the_names_that_it_uses(name: str) -> None:
    """Of each adjoint that something is given, what it is the adjoint of stands in the user's line, in a definition, or is an argument."""
    found = sb.derive(CELLS[name]).explain()
    # What a user spells beta is β on the page.
    words = {w for r in found.reasons for w in re.findall(r"\w+", r.source)} | {a.name for a in CELLS[name].arguments}
    told = {x.name for r in found.reasons for x in r.named}
    for target in (x.target for r in found.reasons for x in r.given):
        stem = target.removeprefix("d")
        plain = unicodedata.normalize("NFD", stem.partition("_")[0])
        at_each = {stem, re.sub(r",k}$", ",0}", stem), re.sub(r",(\d|L)}$", ",0}", stem)}
        assert at_each & told or plain in words | {"η"}, target
    assert len(str(found).splitlines()) < 40 and found.latex().isascii()
