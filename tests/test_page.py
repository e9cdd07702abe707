"""The printed page, read back: every line evaluates to what the kernel computes."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest

import symbptt as sb
from symbptt import Const, Index, Input, Output, Param, State, Target, zoo
from symbptt.autodiff.labels import NEXT
from symbptt.equations.algebra import expressions as algebra
from symbptt.equations.algebra import lower
from symbptt.equations.algebra.expressions import Outside
from symbptt.equations.algebra.traversal import walk
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.notation.writing import write
from symbptt.equations.page.equations import Equations
from symbptt.equations.page.layout import noted
from symbptt.equations.page.legend import LETTERS
from symbptt.equations.page.lines import Page
from symbptt.errors import ArgumentError
from tests import brute, unseen
from tests.page import constants_of, families_of, sections_of
from tests.readback import STEPS, as_latex_textbook, assert_model_read, assert_read, random_targets, sizes_of


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
@pytest.mark.thinned(13, 3)
def test_page_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]))


@pytest.mark.parametrize("name", [pytest.param(x, marks=() if x in LOOPED else pytest.mark.long) for x in CELLS])
@pytest.mark.thinned(1, 7)
def test_loop_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    assert_read(CELLS[name], sizes_of(CELLS[name]), style="loop")


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "attention", "selective_ssm"])
@pytest.mark.thinned(13, 3)
def test_page_of_a_model_reads_as_the_kernel_computes(name: str, at: str, reduction: str, style: str) -> None:
    cell = zoo.CELLS[name]
    assert_model_read(
        sb.model(cell, read_out if "y" not in cell.step.outputs else of_output, at=at, reduction=reduction),
        sizes_of(cell) | {"k": 2},
        style,
    )


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", [*range(20), 81, 111, 142])  # the last ones had wrong pages
@pytest.mark.thinned(37, 5)
def test_page_of_a_random_cell_reads_as_the_kernel_computes(seed: int) -> None:
    assert_random_read(seed)


def assert_random_read(seed: int) -> None:
    """Pages of three hundred random cells are read together with their LaTeX, in `test_latex.py`."""
    cell, model = random_targets(seed)
    with np.errstate(all="ignore"):
        style = ("textbook", "textbook", "loop")[seed % 3]
        assert_read(cell, sizes_of(cell), style)
        assert_model_read(model, sizes_of(model), style)


SPECS = """ij,ij->ij ij,ji->ij ij,ij->ji ij,ji->ji ij,j->ij ij,i->ij ij,j->ji ij,i->ji i,ij->ij j,ij->ji ij,ij->i ij,ij->j ij,ji->i
ij,ji->j ij,ij-> ij,ji-> i,i->i i,i-> ij,j->j ij,i->i ij,->ij ij,->ji ,ij->ji ,ij->i i,j->ji ij,j->i ij,i->j""".split()
"""Products over two labels at most, as einsum writes them."""


@pytest.mark.parametrize("one", ["", "i", "j"])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.thinned(17, 7)
def test_products_of_two_labels_read_as_the_kernel_computes(spec: str, one: str) -> None:
    """Entries side by side, scaled rows and columns, transposes beside numbers; an axis may have one element."""

    def product(x, h, A, B, w):
        return np.tanh(h * x + w * np.sum(np.sin(np.einsum(spec, A * h[0], B + x[0]))))

    first, second = (
        " ".join({"i": "m", "j": "k", one: "1"}[x] for x in part) for part in spec.split("->")[0].split(",")
    )
    roles = {"x": Input["n"], "h": State["n"], "A": Param[first], "B": Param[second], "w": Param["n"]}
    product.__annotations__ = roles
    cell = sb.cell(product)
    assert_read(cell, sizes_of(cell))


def test_a_lost_transpose_beside_a_number_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower.Lowering, "side", lambda w, id, turn: w.value(id))

    @sb.cell
    def traces(x: Input["n"], h: State["n"], A: Param["m k"], B: Param["k m"]):
        return np.tanh(x + np.tensordot(A, B, axes=([0, 1], [1, 0])) * h)

    with pytest.raises((AssertionError, ValueError)):
        assert_read(traces, sizes_of(traces))


@sb.cell
def crossed(s0: State["n"], s2: State["n"]):
    """The gate of s0 reads s2 in a place where that of s2 reads itself."""
    return (1 - sb.sigmoid(s0)) * s0 + sb.sigmoid(s0) * np.tanh(s2), (1 - sb.sigmoid(s2)) * s2 + sb.sigmoid(
        s2
    ) * np.tanh(s2)


def test_a_letter_of_a_family_stands_for_no_name_of_another_place() -> None:
    assert_read(crossed, sizes_of(crossed))
    assert "(tanh(s2_t) - s0_t)" in sb.derive(crossed).text()


def test_the_legend_tells_of_a_family_that_a_line_sums_over_before_another_defines_it() -> None:
    pages = [sb.derive(zoo.CELLS[name]).text() for name in ("lstm_peephole", "lstm")]
    assert "Σ_j: over j ∈ {i, f, g, o}" in pages[0] and ": over " not in pages[1]


@pytest.mark.filterwarnings("ignore:.*is never used")
def test_numbers_of_names_stay_whole_in_families() -> None:
    @sb.cell
    def numbered(h: State["n"], p1: Param["n"], p13: Param["n"], p12: Param["n"], p11: Param["n"]):
        return p1 * h

    assert "dp_k = 0,  k ∈ {11, 12, 13}" in sb.derive(numbered).text()


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


@sb.cell
def numbers_over_arrays(x: Input["n"], h: State["n"], a: Param, b: Param):
    return h * 0.5 + np.sum(a * b / (2 + x * x)) + np.sum(a / (3 + h * h))


@sb.cell
def of_size_one(x: Input["1"], h: State["1"], a: Param, b: Param):
    return h * 0.5 + np.sum((a * x) ** 2) + np.sum(a * b / (2 + x * x)) + np.sum(a * x)


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("cell", [numbers_over_arrays, of_size_one], ids=lambda cell: cell.name)
def test_sums_of_numbers_stand_on_the_page(cell: sb.Cell, style: str) -> None:
    assert_read(cell, sizes_of(cell), style)


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


@sb.cell
def read_beside_what_overflows(x: Input["m"], h: State["k"], W: Param["k m"], V: Param["d m"]):
    C = np.outer(V @ x, np.exp(h))
    return np.tanh(h + W @ x) + np.sum(C @ (W @ x) / np.maximum(np.abs(h @ h), 1))


def test_a_product_by_zero_is_zero_and_no_test_says_so() -> None:
    text = sb.derive(read_beside_what_overflows).text()
    assert "a product with a factor of zero is zero" in text and "≠ 0" not in text
    assert_read(read_beside_what_overflows, sizes_of(read_beside_what_overflows))


def test_lines_are_as_they_are_written() -> None:
    page = sb.derive(summed).text(style="loop")
    assert "dW = Σ_t ds_t 1_n x_tᵀ" in page and "dc = n Σ_t ds_t" in page and "dx_t = ds_t Wᵀ 1_n" in page


def test_reader_catches_a_line_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style: text(self, style).replace("n Σ_t ds_t", "Σ_t ds_t"))
    with pytest.raises(AssertionError, match="gradient of c"):
        assert_read(summed, sizes_of(summed))


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

NEVER = ("None", "axis=", "einsum", "pad(", "scatter(", "[:, None]", "where(", "stop(", "expm1", "*", "//", "+=")
"""What no page has."""


@pytest.mark.parametrize("style", ["textbook", "loop"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(13, 3)
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
@pytest.mark.thinned(3)
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
    found = {f"{stem}{joint}{value}" for value in families.get(letter, ()) for joint in ("", "_")}
    # An accent stands above the letter of the members themselves: j̃ for q̃ and k̃.
    return found or {f"{value}_{letter}" for value in families.get(stem, ())} or {name}


COMMON = {
    *("σ", "tanh", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "arctan", "arcsin", "arccos", "arctan2", "erf", "sign"),
    *("mod", "max", "min", "sum", "mean", "log2", "arcsinh", "Φ", "det", "Re", "Im"),
}  # fmt: skip
"""Functions that need no definition."""


def assert_defined(target: sb.Cell | sb.Model) -> None:
    """Each symbol on the right of a line is defined above or in the legend, each function in a textbook or on the page."""
    page, text = sb.derive(target).page(), sb.derive(target).as_spelt("textbook")
    families, known = families_of(text), {(a.name, False) for a in target.arguments}
    known |= {(constant, False) for constant in constants_of(text)}
    *sections, last = page.sections
    sections += [] if last.title == "Functions" else [last]
    given = {
        f"dL/d{name}"
        for name in ([] if isinstance(target, sb.Model) else [*target.looped.next, *target.looped.outputs])
    }
    given |= {line.partition(" = ")[0].partition("_")[0] for line in legend_of(text)}
    for section in sections:
        labels = [next(iter(line.left.labels), None) for line in section.lines]  # None: of L, the loss
        lefts = [label for label in labels if label is not None]
        own = {(member, label.adjoint) for label in lefts for member in members(label.name, families)}
        for line, label in zip(section.lines, labels, strict=True):
            for part in walk(line.right):
                if isinstance(part, Outside):
                    assert write(part, TEXT).rpartition("_")[0] in given, f"{part} in {line}"
            for read in line.right.labels:
                # What lines of the next step have defined: adjoints, and parts of them that have a name.
                of_next = own if read.time == NEXT else set()
                wanted = {(member, read.adjoint) for member in members(read.name, families)}
                assert wanted & (known | of_next), f"{read} in {line}"
            if label is not None:
                known |= {(member, label.adjoint) for member in members(label.name, families)}
            given |= {write(part, TEXT).rpartition("_")[0] for part in walk(line.left) if isinstance(part, Outside)}
    ends = {"Gradients of the initial state"}
    lines = [line for section in sections if section.title not in ends for line in section.lines if line.note == ""]
    lefts = [write(line.left, TEXT) for line in lines]
    assert len(set(lefts)) == len(lefts), "left sides are pairwise different"
    assert_functions_defined(text)


def legend_of(text: str) -> list[str]:
    return [line.strip() for line in text.partition("\n\nLegend\n")[2].splitlines()]


def assert_functions_defined(text: str) -> None:
    above, _, legend = text.partition("\n\nLegend\n")
    lines = [line for block in sections_of(above).values() for line in block]
    defined = {line.split("(")[0].strip() for line in [*sections_of(above).get("Functions", []), *legend.splitlines()]}
    for name in {name for line in lines for name in re.findall(r"([^\W\d]\w*'*(?:_\{[^{}]*\})?)\(", line)}:
        matrix = next((known for known in defined if known.startswith("mat_{")), name)
        name = matrix if name.startswith("mat_{") else name
        base, _, over = name.rpartition("_")
        parts = {
            f"{f}_{part}" for f in LETTERS["f"] for part in ([over] if over in ("rows", "columns") else LETTERS["i"])
        }
        assert name in COMMON | defined or (base in COMMON | defined and parts & defined), name
    if re.search(r"\bN\b", above):
        assert "\n  N: " in text


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(13, 3)
def test_every_symbol_on_the_right_is_defined_above_or_in_the_legend(name: str) -> None:
    assert_defined(CELLS[name])


@sb.cell
def by_parts(
    S: State["k n"], c: State["k"], i: Index["v"], x: Input["n"], E: Param["v n"], K: Const["2"] = np.array([0.5, 1.0])
):  # fmt: skip
    y = sb.softmax(S, axis=1) + S.max(axis=0) + np.log(np.sum(np.exp(S), axis=1))[:, None] + sb.layer_norm(S, axis=0)
    top = np.max(S, axis=1) + np.sqrt(np.sum(S * S, axis=1)) + K.sum()
    return {"S": y + E[i] * x, "c": 0.5 * c + top, "y": np.tanh(y)}


@sb.loss
def of_output_rows(y: Output["k n"]):
    return np.sum(y * y)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("at", ["every", "last"])
@pytest.mark.thinned(4)
def test_what_a_loss_leaves_out_and_functions_of_parts_are_defined(at: str, reduction: str) -> None:
    model = sb.model(by_parts, of_output_rows, at=at, reduction=reduction)
    assert_defined(model)
    legend = legend_of(sb.derive(model).text())
    for line in (
        "dL/dc_t = 0: the loss does not read c",
        "K = [0.5; 1]",
        "i: whole numbers from 0 up to, and without, v",
    ):
        assert line in legend
    assert any(line.startswith("N: ") for line in legend) == (reduction == "mean")
    assert_model_read(model, sizes_of(model))


@pytest.mark.parametrize("word", ["f_rows(A)", "f_columns(A)", "lse(a)", "is_max(a)", "norm(z)", "N: ", "dL/dc_t = 0"])
def test_missing_definition_is_caught(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, page = sb.model(by_parts, of_output_rows, reduction="mean"), Equations.page

    def shorter(self: Equations, style: str = "textbook") -> Page:
        whole = page(self, style)
        sections = [
            replace(s, lines=tuple(line for line in s.lines if not write(line.left, TEXT).startswith(word)))
            for s in whole.sections
        ]
        return Page(tuple(sections), tuple(note for note in whole.legend if not noted(note, TEXT).startswith(word)))

    monkeypatch.setattr(Equations, "page", shorter)
    with pytest.raises(AssertionError):
        assert_defined(model)


# Values that are equal: a condition is false or true, a share of two that compete is one half.


@sb.cell
def chosen_and_competing(x: Input["n"], h: State["n"], p: Param["n"], q: Param["n"], S: Param["k n"]):
    larger = np.maximum(p, q) + np.minimum(p, 2 * q) + np.where(p < q, p * q, 7 * q)
    return np.where(p > q, 3 * p, 5 * q) + larger + 0.5 * h + x * S.max(axis=0) + S.max() * x


@pytest.mark.parametrize("style", ["textbook", "loop"])
def test_conditions_and_shares_are_apart_where_values_are_equal(style: str) -> None:
    text = sb.derive(chosen_and_competing).text(style=style)
    assert "[p > q] ⊙" in text and "[p > q]_½" in text and "index 1/2" in text
    latex = sb.derive(chosen_and_competing).latex(style=style)
    assert "[p > q]_{1/2}" in latex and "index 1/2" in latex and latex.isascii()
    assert_read_at_ties(style)


def assert_read_at_ties(style: str) -> None:
    data = brute.data_of(chosen_and_competing, STEPS, 1, {"n": 5, "k": 2})
    data.params["q"] = data.params["p"] * [1.0, 1.0, 0.5, -1.0, 1.0]
    data.params["S"] = np.array([[1.0, 2.0, 3.0, 3.0, 0.0], [1.0, 2.0, 1.0, 3.0, 0.0]])
    assert_read(chosen_and_competing, {"n": 5, "k": 2}, style, given=data)


def test_reader_catches_a_share_that_is_printed_as_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sb.Derivation.text
    monkeypatch.setattr(sb.Derivation, "text", lambda self, style="textbook": text(self, style).replace("_½", ""))
    with pytest.raises(AssertionError, match="gradient of p"):
        assert_read_at_ties("textbook")


def test_constants_join_a_vector_as_numbers() -> None:
    """A bias unit, [1; h], is how many write a bias; its page, and with it its module, once raised an IndexError."""

    @sb.cell
    def biased(h: State["n"], W: Param["n n+3"]):
        return np.tanh(W @ np.concatenate([np.ones_like(h[:1]), h, np.full_like(h[:1], 0.5), np.full_like(h[:1], 2.0)]))

    assert "W [1; h_{t-1}; 0.5; 2]" in sb.derive(biased).text()
    assert "dW = Σ_t da_t [1; h_{t-1}; 0.5; 2]ᵀ" in sb.derive(biased).text()
    assert sb.compile(biased).forward({"W": np.zeros((2, 5))}, steps=1).states["h"].shape == (1, 1, 2)


def test_every_expression_tells_its_parts() -> None:
    """What is no part is not moved in time, not read and not renamed: a class with inner expressions says which."""
    bound = {
        "SumOver": {"indices"},
        "Along": {"indices"},
        "Entries": {"indices"},
        "Array": {"values"},
    }  # nothing is read there
    classes, open_ = list[type](), list[type]([algebra.Expr])
    while open_:
        classes.append(open_.pop())
        open_ += classes[-1].__subclasses__()
    for cls in classes:
        inner = {f.name for f in fields(cls) if re.search(r"(?<!\.)\b(Expr|Symbol|Index)\b", str(f.type))}
        assert not inner - bound.get(cls.__name__, set()) or cls in algebra._PARTS, cls


@sb.cell
def recalled(x: Input["m"], h: State["n"], K: Param["k n"], V: Param["n k"], W: Param["n m"]):
    p = sb.softmax(K @ h)
    return V @ p + W @ x


@sb.cell
def mixed_by_shares(x: Input["m"], h: State["n"], K: Param["k n"], A: Param["n d"], B: Param["d k"], W: Param["n m"]):
    p = sb.softmax(K @ h)
    return A @ (B @ p) + W @ x


@sb.cell
def of_unit_length(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    k = W @ x + U @ h
    return k / np.sqrt(k @ k + 0.5)


def test_short_adjoint_that_one_line_reads_twice_has_no_line() -> None:
    text = sb.derive(recalled).text()
    assert "(Vᵀ dh_t - dh_tᵀ V p_t)" in text and "dp_t" not in text
    assert_read(recalled, sizes_of(recalled))


def test_long_adjoint_that_one_line_reads_twice_keeps_its_line() -> None:
    assert "  dp_t" in sb.derive(mixed_by_shares).text()
    assert_read(mixed_by_shares, sizes_of(mixed_by_shares))


def test_powers_of_one_base_are_one_power() -> None:
    text = sb.derive(of_unit_length).text()
    assert "u_t³" in text and "u_t²" not in text
    assert_read(of_unit_length, sizes_of(of_unit_length))


@sb.cell
def picking(x: Input["m"], h: State["n"], W: Param["n m"], U: Param["n n"]):
    return np.tanh(W @ x + U @ h) * h[2] + h[:1] + sb.sum(x[1:4])


@sb.loss
def of_a_part(h: State["n"], y: Target["k"]):
    return sb.sum((h[1:6] - y[:1]) ** 2)


@pytest.mark.parametrize("style", ["textbook", "loop"])
def test_the_legend_says_what_sizes_must_be(style: str) -> None:
    d, model = sb.derive(picking), sb.derive(sb.model(picking, of_a_part))
    assert "  Sizes: n ≥ 3, m ≥ 4" in d.text(style).splitlines()
    assert "  Sizes: n >= 3, m >= 4" in d.text(style, ascii=True).splitlines()
    assert r"Sizes: $n \ge 3$, $m \ge 4$" in d.latex(style)
    assert "<mi>n</mi><mo>≥</mo><mn>3</mn>" in d.mathml(style).partition("Sizes:")[2]
    assert "  Sizes: m ≥ 4, n ≥ 6" in model.text(style)
    assert "Sizes" not in sb.derive(zoo.lstm).text(style)
    assert "Sizes: n ≥ 3, m ≥ 4" in sb.derive(picking, reset=True).text(style)


def test_a_condition_on_several_sizes_has_a_size_on_each_side() -> None:
    @sb.cell
    def far(x: Input["m"], h: State["n"], W: Param["n m"]):
        return np.tanh(W @ x) + sb.sum(np.concatenate([x, h])[5:8])

    assert "  Sizes: m + n ≥ 8" in sb.derive(far).text().replace("m+n", "m + n").splitlines()
    with pytest.raises(sb.ArgumentError, match=r"m\+n >= 8 is expected"):
        far.init({"m": 3, "n": 4}, seed=0)


def test_entries_of_what_is_computed_once_read_as_entries() -> None:
    @sb.cell
    def cell(x: Input["m"], h: State["n"], A: Param["n k p"], b: Param["k"], W: Param["n m"]):
        s = np.einsum("nkp,k->np", A, b)
        return np.tanh(W @ x + sb.sum(s, axis=1) * h)

    d = sb.derive(cell)
    # s_{ij} would be a name; of b the legend says that it is an array.
    assert "(s)_{ij} = Σ_l A_{ilj} b_l" in d.text() and "dA_{ijl} = (ds)_{il} b_j" in d.text()
    assert r"\left(s\right)_{ij}" in d.latex() or "(s)_{ij}" in d.latex()


def test_a_constant_matrix_stands_once_in_the_style_loop() -> None:
    swap = np.eye(3)[::-1].copy()

    @sb.cell
    def cell(x: Input["3"], h: State["3"], U: Param["3 3"]):
        return np.tanh(U @ h + swap @ x) + 0.1 * (swap @ h)

    for text in (sb.derive(cell).text("loop"), sb.derive(cell).text()):
        assert text.count("[0, 0, 1; 0, 1, 0; 1, 0, 0]") == 1 and "  M = [0, 0, 1; 0, 1, 0; 1, 0, 0]" in text


def test_what_is_written_by_its_entries_has_a_name_where_it_is_printed_twice() -> None:
    @sb.cell
    def cell(x: Input["m"], h: State["n"], B: Param["n n m"], V: Param["n n"]):
        s = np.tanh(V @ h)
        r = np.einsum("ijk,j,k->i", B, np.tanh(s * h + x[0]), x)
        q = np.einsum("ijk,j,k->i", B, np.exp(-h) * s, x)
        return np.tanh(r) + q

    text = sb.derive(cell).text()
    # Entries of one array: tanh of what a_{r,t} is would be printed at j, at i and at p.
    assert text.count("tanh((") == 0 and "(u_t)_j" in text
    assert_read(cell, sizes_of(cell))
    assert_read(cell, sizes_of(cell), printed=as_latex_textbook)


def test_a_sum_over_named_indices_has_a_name_where_it_is_printed_twice() -> None:
    @sb.cell
    def cell(x: Input["m"], h: State["n"], K: Param["n n m"]):
        a = np.einsum("ijk,j,k->i", K, h, x)
        # Twice the same sum, which has no name in the function.
        wave = np.tanh(np.einsum("ijk,j,k->i", K, np.cos(h), x)) * np.cos(np.einsum("ijk,j,k->i", K, np.cos(h), x))
        return np.tanh(a) + 0.1 * h * wave

    d = sb.derive(cell)
    rights = [line.partition(" = ")[2] for line in d.text().splitlines()]
    sums = [right[right.index("Σ_{") :] for right in rights if "Σ_{" in right]
    assert len(sums) == len(set(sums)), d.text()
    for style in ("textbook", "loop"):
        assert_read(cell, sizes_of(cell), style)


def test_a_long_function_of_one_value_has_a_name_where_it_is_printed_twice() -> None:
    @sb.cell
    def cell(x: Input["n"], h: State["n"], W: Param["n n"]):
        scores = W @ h
        g = np.tanh(x)
        return sb.softmax(scores) * h + g * sb.softmax(scores) + np.tanh(h) * g

    text = sb.derive(cell).text()
    assert text.count("softmax(scores_t)") == 1 and text.count("tanh(h_{t-1})") == 2
