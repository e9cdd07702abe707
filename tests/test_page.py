"""The printed page, read back: every line evaluates to what the kernel computes."""

import numpy as np
import pytest

import symbptt as sb
from symbptt import Index, Input, Output, Param, State, Target, zoo
from symbptt.derive.labels import NEXT
from symbptt.errors import ArgumentError
from symbptt.render.notation import TEXT
from symbptt.render.writing import write
from tests import unseen
from tests.page import constants_of, families_of, sections_of
from tests.properties.wild import case_of, functions_of
from tests.readback import assert_model_read, assert_read, sizes_of


@sb.loss
def read_out(h: State["n"], target: Target["k"], Vout: Param["k n"], cout: Param["k"]):
    return -np.sum(target * sb.log_softmax(np.tanh(Vout @ h + cout)))


@sb.loss
def of_output(y: Output["m"], target: Target["m"]):
    return np.sum((y - target) ** 2) / 2


CELLS = {**zoo.CELLS, **unseen.CELLS}


LOOPED = ["lstm", "mlstm", "clockwork", "embedding_cell", "wkv"]
"""Cells whose page in the style of the loop the default run reads."""


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(3)
def test_page_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]))


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in LOOPED else pytest.mark.long) for x in CELLS])
def test_loop_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]), style="loop")


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "attention", "selective_ssm"])
@pytest.mark.thinned(3)
def test_page_of_a_model_reads_as_the_kernel_computes(name: str, at: str, reduction: str, style: str) -> None:
    cell = zoo.CELLS[name]
    assert_model_read(
        sb.model(cell, read_out if "y" not in cell.step.outputs else of_output, at=at, reduction=reduction),
        sizes_of(cell) | {"k": 2},
        style,
    )


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", range(20))
def test_page_of_a_random_cell_reads_as_the_kernel_computes(seed: int) -> None:
    assert_random_read(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("first", range(20, 320, 50))
def test_pages_of_many_random_cells_read_as_the_kernel_computes(first: int) -> None:
    for seed in range(first, first + 50):
        assert_random_read(seed)


def assert_random_read(seed: int) -> None:
    cell, loss = functions_of(case_of(seed))
    at, reduction = ("every", "last")[seed % 2], ("sum", "mean")[seed // 2 % 2]
    model = sb.model(cell, loss, at=at, reduction=reduction)
    with np.errstate(all="ignore"):
        style = ("textbook", "textbook", "loop")[seed % 3]
        assert_read(cell, sizes_of(cell), style)
        assert_model_read(model, sizes_of(model), style)


# What was wrong on pages, each as its shortest cell.


@sb.cell
def summed(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"], c: Param):
    s = np.sum(W @ x + U @ h + c)
    return np.tanh(s * h)


@sb.cell
def repeated(x: Input["m"], h: State["n"], W: Param["n m"], c: Param):
    return np.tanh(W @ x + h + np.sum(c * np.ones_like(h)))


@sb.cell
def rows(x: Input["m"], H: State["k n"], U: Param["n n"], W: Param["k m"], b: Param["k"]):
    return np.tanh(H @ U.T + (W @ x)[:, None] + b[:, None])


@sb.cell
def flattened(x: Input["m"], H: State["k n"], A: Param["n k"], g: Param["n"]):
    return H * (x @ x) + (A * g[:, None]).reshape(-1).reshape(H.shape) + A.T * g


@sb.cell
def constants(x: Input["3"], h: State["3"]):
    return np.array([[1.0, 2.0, 0.9999999], [0.1, np.pi, 0.3], [1 / 3, 2 * np.pi / 3, 1e-7]]) @ h + x


@pytest.mark.parametrize("cell", [summed, repeated, rows, flattened, constants], ids=lambda cell: cell.name)
def test_shapes_and_numbers_stand_on_the_page(cell: sb.Cell) -> None:
    assert_read(cell, sizes_of(cell))


@sb.cell
def chosen_by_numbers(x: Input["n"], h: State["n"], S: State["2 n n"], W: Param["n n"]):
    due = h > 0
    return np.where(x, np.tanh(W @ h), h) + np.where(due, x, 0), np.where(S, np.where(due, S, W), 0) + x


def test_what_chooses_by_not_being_zero_stands_as_a_condition() -> None:
    assert "[x_t ≠ 0]" in sb.derive(chosen_by_numbers).text() and "[due_t" not in sb.derive(chosen_by_numbers).text()
    assert_read(chosen_by_numbers, sizes_of(chosen_by_numbers))


def test_lines_are_as_they_are_written() -> None:
    page = sb.derive(summed).text(style="loop")
    assert "dW = Σ_t ds_t 1_n x_tᵀ" in page and "dc = Σ_t n ds_t" in page and "dx_t = ds_t Wᵀ 1_n" in page


def test_reader_catches_a_line_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style: text(self, style).replace("Σ_t n ds_t", "Σ_t ds_t"))
    with pytest.raises(AssertionError, match="gradient of c"):
        assert_read(summed, sizes_of(summed))


def test_axes_and_orders_make_different_pages() -> None:
    @sb.cell
    def down(x: Input["n"], H: State["n n"]):
        return np.cumsum(H, axis=0)

    @sb.cell
    def across(x: Input["n"], H: State["n n"]):
        return np.cumsum(H, axis=1)

    assert sb.derive(down).text() != sb.derive(across).text()


def test_names_that_latex_writes_alike_stand_as_they_are_spelt() -> None:
    @sb.cell
    def alike(x: Input["n"], h: State["n"], Wf: Param["n"], W_f: Param["n"]):
        return np.tanh(Wf * h + W_f * x)

    left = [line.latex.partition("=")[0] for line in sb.derive(alike).gradients]
    assert len(set(left)) == len(left) == 2


def test_greek_letters_are_letters_in_latex() -> None:
    @sb.cell
    def greek(x: Input["n"], h: State["n"], α: Param["n"], Gamma: Param["n"]):
        return np.tanh(α * h + Gamma * x)

    latex = sb.derive(greek).latex()
    assert latex.isascii() and r"\alpha" in latex and r"\Gamma" in latex


# The style of a textbook.

NEVER = ("None", "axis=", "einsum", "pad(", "scatter(", "[:, None]", "where(", "stop(", "expm1", "*", "+=")
"""What no page has."""


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("name", CELLS)
def test_page_speaks_no_numpy(name: str, style: str) -> None:
    text = sb.derive(CELLS[name]).text(style=style)
    assert not [word for word in NEVER if word in text and (style == "textbook" or word != "+=")]


def lines_of(text: str, *titles: str) -> list[str]:
    return [line.strip() for title, lines in sections_of(text).items() if title.startswith(titles) for line in lines]


def test_lstm_with_peepholes_takes_as_few_lines_as_in_the_papers() -> None:
    text = sb.derive(zoo.lstm_peephole).text()
    assert len(lines_of(text, "Backward", "Gradients")) <= 16
    assert "dW_j = Σ_t da_{j,t} x_tᵀ,  j ∈ {i, f, g, o}" in text
    assert "dp_k = Σ_t da_{k,t} ⊙ c_{t-1},  k ∈ {i, f}" in text


def test_adjoints_of_states_have_all_that_they_are_made_of() -> None:
    text = sb.derive(zoo.lstm).text()
    assert lines_of(text, "Backward")[:3] == [
        "dh_t     = dL/dh_t + Σ_k U_kᵀ da_{k,t+1}",
        "dc_t     = dL/dc_t + dc_{t+1} ⊙ f_{t+1} + dh_t ⊙ o_t ⊙ (1 - tanh(c_t)²)",
        "da_{o,t} = dh_t ⊙ tanh(c_t) ⊙ o_t ⊙ (1 - o_t)",
    ]
    assert lines_of(text, "Gradients of the initial state") == ["dh_0 = Σ_k U_kᵀ da_{k,1}", "dc_0 = dc_1 ⊙ f_1"]


@sb.cell
def gates_by_other_names(
    x: Input["m"], h: State["n"], W_in: Param["n m"], W_out: Param["n m"], b_in: Param["n"], b_out: Param["n"]
):
    return sb.sigmoid(W_in @ x + b_in) * h + np.tanh(W_out @ x + b_out)


@sb.cell
def no_family(x: Input["m"], h: State["n"], Wa: Param["n m"], Vb: Param["n m"]):
    return sb.sigmoid(Wa @ x) * h + np.tanh(Vb @ x)


def test_families_are_found_by_what_lines_have_in_common() -> None:
    """Not by names: the letters of a family are whatever the user wrote behind what the names share."""
    text = sb.derive(no_family).text()
    assert "∈" not in text
    assert_read(gates_by_other_names, sizes_of(gates_by_other_names))


@sb.cell
def quadratic(x: Input["n"], h: State["n"], Q: Param["n n"], a: Param, key: Param["n"]):
    return np.tanh((Q @ h) @ h * x + (key * a) @ h * key + (Q @ Q.T) @ h)


@sb.cell
def second(x: Input["n"], h: State["n"], A: Param["n n n"]):
    return np.tanh(np.einsum("ijk,j,k->i", A, h, h) + x)


@sb.cell
def table(i: Index["v"], h: State["n"], E: Param["v n"], F: Param["v n"]):
    return np.tanh(E[i] * h) + np.where(h > 0, np.tanh(F * 2)[i], h)


@sb.cell
def competing(x: Input["n"], h: State["n"], w: Param["n"]):
    return np.maximum(w * h, x) + np.where(x > 0, w * x, 0)


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize(
    "cell", [quadratic, second, table, competing, gates_by_other_names], ids=lambda cell: cell.name
)
def test_forms_of_a_textbook_read_as_the_kernel_computes(cell: sb.Cell, style: str) -> None:
    assert_read(cell, sizes_of(cell), style)


@pytest.mark.parametrize(
    "cell, line",
    [
        (quadratic, "(h_{t-1}ᵀ Q h_{t-1}) x_t"),
        (second, "dA_{ijk} = Σ_t (da_t)_i (h_{t-1})_j (h_{t-1})_k"),
        (table, "dE_j = Σ_{t: i_t = j} "),
        (table, "E_{i_t}"),
        (competing, "[a_{h,t} > x_t]"),
        (competing, "[x_t > 0] ⊙"),
    ],
)
def test_lines_have_the_forms_of_a_textbook(cell: sb.Cell, line: str) -> None:
    assert line in sb.derive(cell).text()


def test_reader_catches_a_boundary_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style: text(self, style).replace("dc_1 ⊙ f_1", "dc_1"))
    with pytest.raises(AssertionError, match="gradient of c at the start"):
        assert_read(zoo.lstm, sizes_of(zoo.lstm))


def test_reader_catches_a_family_with_a_member_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(
        sb.Derivation, "text", lambda self, style: text(self, style).replace("{i, f, g, o}", "{i, f, g}")
    )
    with pytest.raises((AssertionError, KeyError)):
        assert_read(zoo.lstm, sizes_of(zoo.lstm))


def test_style_that_is_not_known_is_refused() -> None:
    with pytest.raises(ArgumentError, match="textbook"):
        sb.derive(zoo.rnn).text(style="book")


def members(name: str, families: dict[str, list[str]]) -> set[str]:
    """What a name with the letter of a family stands for."""
    stem, _, letter = name.rpartition("_")
    return {f"{stem}{joint}{value}" for value in families.get(letter, ()) for joint in ("", "_")} or {name}


@pytest.mark.parametrize("name", CELLS)
def test_every_symbol_on_the_right_is_defined_above_or_in_the_legend(name: str) -> None:
    cell, page = CELLS[name], sb.derive(CELLS[name]).page()
    text = sb.derive(cell).text()
    families, known = families_of(text), {(a.name, False) for a in cell.arguments}
    known |= {(constant, False) for constant in constants_of(text)}
    for section in (section for section in page.sections if section.title != "Functions"):
        labels = [next(iter(line.left.labels)) for line in section.lines]
        own = {(member, label.adjoint) for label in labels for member in members(label.name, families)}
        for line, label in zip(section.lines, labels, strict=True):
            for read in line.right.labels:
                of_next = own if read.time == NEXT and read.adjoint else set()
                wanted = {(member, read.adjoint) for member in members(read.name, families)}
                assert wanted & (known | of_next), f"{read} in {line}"
            known |= {(member, label.adjoint) for member in members(label.name, families)}
    ends = {"Gradients of the initial state"}
    lines = [line for section in page.sections if section.title not in ends for line in section.lines]
    lefts = [write(line.left, TEXT) for line in lines]  # TEXT has the names as they are spelt
    assert len(set(lefts)) == len(lefts), "left sides are pairwise different"


def test_constants_join_a_vector_as_numbers() -> None:
    """A bias unit, [1; h], is how many write a bias; its page, and with it its module, once raised an IndexError."""

    @sb.cell
    def biased(h: State["n"], W: Param["n n+3"]):
        return np.tanh(W @ np.concatenate([np.ones_like(h[:1]), h, np.full_like(h[:1], 0.5), np.full_like(h[:1], 2.0)]))

    assert "W [1; h_{t-1}; 0.5; 2]" in sb.derive(biased).text()
    assert "dW = Σ_t da_t [1; h_{t-1}; 0.5; 2]ᵀ" in sb.derive(biased).text()
    assert sb.compile(biased).forward({"W": np.zeros((2, 5))}, steps=1).states["h"].shape == (1, 1, 2)
