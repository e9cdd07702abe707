"""Truncation, lengths and resets on the page: what is printed is what the kernel computes, read back line by line."""

import pickle
from typing import Any

import numpy as np
import pytest

import symbptt as sb
from symbptt import Chunked, Input, Output, Param, State, Target, Window, zoo
from symbptt.errors import ArgumentError
from tests import unseen
from tests.masked import assert_masked
from tests.properties.cases import case_of, functions_of
from tests.readback import sizes_of

CELLS = {**zoo.CELLS, **unseen.CELLS}
TRUNCATIONS = [Window(1), Window(2), Window(3), Window(20), Chunked(2, 3), Chunked(3, 2), Chunked(4, 4), Chunked(3, 1), Chunked(1, 2),
               Chunked(20, 4)]  # fmt: skip
RESET = np.array([[0, 1], [1, 0], [0, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 0], [0, 1]], bool)
STYLES = pytest.mark.parametrize("style", ["textbook", "loop"])


@sb.loss
def read_out(h: State["n"], target: Target["k"], Vout: Param["k n"], cout: Param["k"]):
    e = np.tanh(Vout @ h + cout) - target
    return e @ e / 2


@STYLES
@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=repr)
@pytest.mark.thinned(37, 2)
def test_truncated_page_of_a_cell_reads_as_the_kernel_computes(truncation: Any, style: str) -> None:
    assert_masked(zoo.lstm, sizes_of(zoo.lstm), truncation, style=style, steps=9)


MASKS: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": [5, 2, 0, 1]},
    "resets": {"reset": np.concatenate([RESET[:5], RESET[2:7]], axis=1)},
    "both": {"lengths": [5, 2, 0, 4], "reset": np.concatenate([RESET[:5], RESET[2:7]], axis=1)},
}
SHORT = [None, Window(2), Chunked(2, 3), Chunked(3, 2)]


@STYLES
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("truncation", SHORT, ids=repr)
@pytest.mark.thinned(23, 2)
def test_page_with_lengths_and_resets_reads_as_the_kernel_computes(truncation: Any, masks: str, style: str) -> None:
    assert_masked(zoo.lstm, sizes_of(zoo.lstm), truncation, style=style, **MASKS[masks])


@STYLES
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("masks", ["none", "both"])
@pytest.mark.parametrize("truncation", SHORT, ids=repr)
@pytest.mark.thinned(13, 5)
def test_page_of_a_model_reads_as_the_kernel_computes(
    truncation: Any, masks: str, at: str, reduction: str, style: str
) -> None:
    model = sb.model(zoo.rnn, read_out, at=at, reduction=reduction)
    assert_masked(model, sizes_of(model), truncation, style=style, **MASKS.get(masks, {}))


SHOWN = ["second_order", "delay_rnn"]


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in SHOWN else pytest.mark.long) for x in CELLS])
@pytest.mark.thinned(1, 31)
def test_masked_page_of_any_cell_reads_as_the_kernel_computes(name: str) -> None:
    sizes = sizes_of(CELLS[name])
    for i, style in enumerate(("textbook", "loop")):
        for truncation in (None, Window(2), Chunked(3, 2)):
            assert_masked(CELLS[name], sizes, truncation, style=style, **MASKS[("both", "lengths")[i]])
            assert_masked(CELLS[name], sizes, truncation, style=style, **MASKS["resets"])


@sb.cell
def named(r: Input["m"], s: State["n"], e_t: State["n"], W: Param["n m"], U: Param["n n"], N: Param["n"]):
    """Letters that a page of windows and resets would take are names here."""
    s = np.tanh(W @ r + U @ e_t + N * s)
    e_t = 0.5 * e_t + s
    return {"s": s, "e_t": e_t, "y": s * r[0]}


@sb.loss
def with_shared(s: State["n"], y: Output["n"], goal: Target["n"], U: Param["n n"]):
    return np.sum((U @ s - goal) ** 2) / 2 + np.sum(np.sin(y))


@sb.cell
def gated(x: Input["m"], h_old: State["n"], C: State["n n"], W: Param["n m"], U: Param["n n"]):
    h = np.tanh(W @ x + U @ h_old + C @ h_old)
    return {"h_old": h, "C": 0.5 * C + np.outer(h, h_old), "y": h * h}


@STYLES
@pytest.mark.parametrize("truncation", SHORT, ids=repr)
@pytest.mark.thinned(17, 3)
def test_letters_that_are_names_and_parameters_that_are_shared_are_no_exception(truncation: Any, style: str) -> None:
    for cell in (named, gated):
        assert_masked(cell, sizes_of(cell), truncation, style=style, **MASKS["both"])
    for at in ("every", "last"):
        model = sb.model(named, with_shared, at=at, reduction="mean")
        assert_masked(model, sizes_of(model), truncation, style=style, **MASKS["both"])


@sb.cell
def of_sizes(x: Input["T"], h: State["t"], c: State["L"], E: Param["t T"], V: Param["L t"], k: Param["t"]):
    a = np.tanh(E @ x + h) * k
    return {"h": a - a.mean(), "c": V @ h + c[::-1] + c.sum() / c.shape[0]}


@sb.loss
def of_its_mean(h: State["t"], c: State["L"], y: Target["L"]):
    return sb.mean((c - y) ** 2) + h @ h


@STYLES
@pytest.mark.parametrize("truncation", [Window(2), Chunked(2, 3)], ids=repr)
@pytest.mark.thinned(7)
def test_a_size_that_is_called_as_a_step_is_told_from_it(truncation: Any, style: str) -> None:
    sizes = {"T": 3, "t": 5, "L": 4}
    assert_masked(of_sizes, sizes, truncation, style=style, **MASKS["both"])
    assert_masked(sb.model(of_sizes, of_its_mean), sizes, truncation, style=style, **MASKS["both"])
    assert "sum(dh_t^{(" in sb.derive(of_sizes, truncation=truncation).text()
    assert " / t_" in sb.derive(of_sizes).text() and r"{\mathsf{t}}" in sb.derive(of_sizes).latex()
    assert 'sans-serif">t</mi>' in sb.derive(of_sizes).mathml()
    routes = sb.derive(of_sizes, truncation=Window(2)).paths("h", "h").text()
    assert "a loss of step t acts on the steps j > t - 2" in routes


@STYLES
@pytest.mark.parametrize("truncation", SHORT, ids=repr)
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.thinned(17, 2)
def test_short_sequences_and_sizes_of_one_are_no_exception(steps: int, truncation: Any, style: str) -> None:
    masks: dict[str, Any] = {"lengths": [steps, 0], "reset": RESET[:steps]}
    assert_masked(zoo.lstm, {"m": 1, "n": 1}, truncation, style=style, steps=steps, **masks)
    assert_masked(gated, {"m": 3, "n": 5}, truncation, style=style, steps=steps, **masks)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("max(e - 1, 1)", "e"),
        ("e - 2 < t ≤ e", "e - 1 < t ≤ e"),
        ("[t > 3 ⌊(e - 1) / 3⌋]", "[t > 2 ⌊(e - 1) / 2⌋]"),
        ("(1 - r_{t+1}) ", ""),
        ("Σ_t r_t ", "Σ_t "),
        ("+= Σ_{t > T} dL/dh_t", "+= Σ_{t > T} 2 dL/dh_t"),
        ("U h_{t-1}^{(r)}", "U h_{t-1}"),
        ("h_t  = h_T", "h_t  = 0"),
        ("min(e, T), …", "e, …"),
    ],
)
def test_reader_catches_a_line_that_is_wrong(right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    assert_masked(zoo.rnn, sizes_of(zoo.rnn), Chunked(3, 2), **MASKS["both"])

    def planted(self: sb.Derivation, style: str) -> str:
        page = text(self, style)
        assert right in page, page
        return page.replace(right, wrong)

    monkeypatch.setattr(sb.Derivation, "text", planted)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        assert_masked(zoo.rnn, sizes_of(zoo.rnn), Chunked(3, 2), **MASKS["both"])


def test_losses_that_a_chunk_drops_have_no_weight() -> None:
    page = sb.derive(sb.model(zoo.rnn, read_out, at="every"), truncation=Chunked(3, 2)).text("loop")
    assert "dloss_t = [t > min(3 ⌊(t + 2) / 3⌋, T) - 2]" in page
    assert "dloss_t" not in sb.derive(sb.model(zoo.rnn, read_out, at="every"), truncation=Chunked(2, 3)).text("loop")


def test_page_without_options_is_that_of_one_whole_sequence() -> None:
    assert sb.derive(zoo.lstm, truncation=None, lengths=False, reset=False).text() == sb.derive(zoo.lstm).text()
    assert "^{" not in sb.derive(zoo.lstm).text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": 3}, r"truncation is sb.Window\(k\) or sb.Chunked\(k1, k2\), got 3"),
        ({"truncation": Window}, r"truncation is sb.Window\(k\)"),
        ({"lengths": np.array([3, 2])}, "lengths is True or False, got ndarray"),
        ({"reset": 1}, "reset is True or False, got int"),
    ],
)
def test_options_that_are_none_are_refused_in_words(options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        sb.derive(zoo.lstm, **options)


def test_equations_by_section_are_those_of_the_page() -> None:
    d = sb.derive(zoo.rnn, truncation=Window(2), reset=True)
    assert str(d.forward[0]) == "h_{t-1}^{(r)} = r_t h_0 + (1 - r_t) h_{t-1}"
    assert all("^{(s)}" in line.lhs for line in d.backward) and len(d.gradients) == 3
    assert pickle.loads(pickle.dumps(d)).text() == d.text()


def test_latex_of_a_masked_page_has_the_same_signs() -> None:
    latex = sb.derive(zoo.lstm, truncation=Window(3), lengths=True, reset=True).latex()
    assert r"\mathrm{d}h_{t}^{(s)} &= [t = s]\, \frac{\partial L}{\partial h_{t}}" in latex
    assert r"\sum_{s\colon s - 3 < t \leq s} " in latex and latex.isascii()


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", [pytest.param(x, marks=() if x < 4 else pytest.mark.long) for x in range(40)])
@pytest.mark.thinned(1, 7)
def test_masked_page_of_a_random_cell_reads_as_the_kernel_computes(seed: int) -> None:
    cell, loss = functions_of(case_of(seed))
    model = sb.model(cell, loss, at=("every", "last")[seed % 2], reduction=("sum", "mean")[seed // 2 % 2])
    with np.errstate(all="ignore"):
        for target in (cell, model):
            style = ("textbook", "loop")[seed // 3 % 2]
            assert_masked(target, sizes_of(target), SHORT[seed % 4], style=style, **MASKS["both"])
