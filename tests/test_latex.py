"""LaTeX pages: read back to what the kernel computes, and set by TeX with amsmath alone."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

import symbptt as sb
from symbptt import ArgumentError, Const, Input, Param, State, zoo
from symbptt.equations.notation.measure import width
from tests import test_page, tex, unseen
from tests.readback import (
    Read,
    as_latex,
    as_latex_textbook,
    assert_model_read,
    assert_read,
    random_targets,
    read_latex,
    sizes_of,
)
from tests.test_names_on_pages import as_people_write
from tests.test_page import constants, flattened, of_output, read_out, repeated, rows, summed

CELLS = {**zoo.CELLS, **unseen.CELLS}
OWN = {cell.name: cell for cell in (as_people_write, constants, flattened, repeated, rows, summed)}
TEN = [
    (name, at, reduction)
    for i, name in enumerate(["rnn", "lstm", "gru", "attention", "selective_ssm"])
    for at, reduction in ((("every", "sum"), ("last", "mean")) if i % 2 else (("every", "mean"), ("last", "sum")))
]
"""Ten models: both places of the loss, both reductions."""


def model_of(name: str, at: str, reduction: str) -> sb.Model:
    cell = zoo.CELLS[name]
    return sb.model(cell, read_out if "y" not in cell.step.outputs else of_output, at=at, reduction=reduction)


def narrow(d: sb.Derivation) -> Read:
    return read_latex(d, d.latex("loop", width="single", numbered=True))


def narrow_textbook(d: sb.Derivation) -> Read:
    return read_latex(d, d.latex("textbook", width="single", numbered=True))


PAGES = (as_latex, narrow, as_latex_textbook, narrow_textbook)


@pytest.mark.parametrize("name", [*OWN, "lstm", "gru", "mlstm", "clockwork", "second_order"])
@pytest.mark.thinned(7)
def test_latex_of_a_cell_reads_as_the_kernel_computes(name: str) -> None:
    cell = {**OWN, **CELLS}[name]
    for page in (as_latex, narrow_textbook):
        assert_read(cell, sizes_of(cell), printed=page)


@pytest.mark.long
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.thinned(1, 17)
def test_latex_of_every_cell_reads_as_the_kernel_computes(name: str) -> None:
    for page in PAGES:
        assert_read(CELLS[name], sizes_of(CELLS[name]), printed=page)


@pytest.mark.parametrize("name, at, reduction", [TEN[2], pytest.param(*TEN[0], marks=pytest.mark.long)] + [
    pytest.param(*ten, marks=pytest.mark.long) for ten in (TEN[1], *TEN[3:])])  # fmt: skip
@pytest.mark.thinned(1, 3)
def test_latex_of_a_model_reads_as_the_kernel_computes(name: str, at: str, reduction: str) -> None:
    model = model_of(name, at, reduction)
    for page in PAGES:
        assert_model_read(model, sizes_of(model), printed=page)


def assert_random_read(seed: int) -> None:
    """In one style the cell's page, in the other the narrow one of its model."""
    cell, model = random_targets(seed)
    pages = ((as_latex, narrow_textbook), (as_latex_textbook, narrow))[seed // 4 % 2]
    with np.errstate(all="ignore"):
        assert_read(cell, sizes_of(cell), printed=pages[0])
        assert_model_read(model, sizes_of(model), printed=pages[1])


@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("seed", [3, 94, 142, 159])
@pytest.mark.thinned(7)
def test_latex_of_a_random_cell_reads_as_the_kernel_computes(seed: int) -> None:
    assert_random_read(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is never used")
@pytest.mark.parametrize("first", range(20, 320, 30))
def test_text_and_latex_of_many_random_cells_read_as_the_kernel_computes(first: int) -> None:
    for seed in range(first, first + 30):
        test_page.assert_random_read(seed)
        assert_random_read(seed)


@pytest.mark.parametrize(
    "right, wrong, error",
    [
        (r"U^{\top}", "U", "gradient of W"),
        (r"h_{t-1}^{\top}", r"h_{t}^{\top}", "gradient of U"),
        (r"\tanh(W x_{t}", r"\tanh(- W x_{t}", "h at 1"),
        (r"\sum_{t} \mathrm{d}a_{t} \\", r"\sum_{t} \mathrm{d}h_{t} \\", "gradient of b"),
    ],
)
def test_reader_catches_a_line_that_is_wrong(monkeypatch, right: str, wrong: str, error: str) -> None:
    latex = sb.Derivation.latex
    assert right in latex(sb.derive(zoo.rnn), "loop")
    monkeypatch.setattr(sb.Derivation, "latex", lambda self, *style: latex(self, *style).replace(right, wrong))
    with pytest.raises((AssertionError, ValueError), match=f"{error}|shapes|matmul"):
        assert_read(zoo.rnn, sizes_of(zoo.rnn), printed=as_latex)


@pytest.mark.parametrize(
    "name, right, wrong",
    [
        ("lstm", r"\{i, f, g, o\}", r"\{i, f, g\}"),
        ("lstm", r"\sum_{k} U_{k}^{\top}", r"U_{i}^{\top}"),
        ("lstm", r"\mathrm{d}c_{1} \odot f_{1}", r"\mathrm{d}c_{1} \odot i_{1}"),
        ("clockwork", "1; \\allowbreak 0, ", "1; \\allowbreak 1, "),
        pytest.param(
            "gru_layer_norm", r"\mathrm{var}(a) + \epsilon", r"\mathrm{var}(a) - \epsilon", marks=pytest.mark.long
        ),
        pytest.param("liquid", r"\in", r"\ni", marks=pytest.mark.long),
    ],
)
def test_reader_catches_a_page_of_a_textbook_that_is_wrong(monkeypatch, name: str, right: str, wrong: str) -> None:
    latex = sb.Derivation.latex
    assert right in latex(sb.derive(CELLS[name]))
    monkeypatch.setattr(sb.Derivation, "latex", lambda self, *style: latex(self, *style).replace(right, wrong))
    with pytest.raises((AssertionError, ValueError, KeyError)):
        assert_read(CELLS[name], sizes_of(CELLS[name]), printed=as_latex_textbook)


@pytest.mark.parametrize("wrong", [r"\operatorname{tanh}", r"\foo", r"\tanh\left(", "h_{t}_{t}"])
def test_reader_refuses_what_it_does_not_know(monkeypatch, wrong: str) -> None:
    latex = sb.Derivation.latex
    monkeypatch.setattr(sb.Derivation, "latex", lambda self, *style: latex(self, *style).replace(r"\tanh(", wrong, 1))
    with pytest.raises((ValueError, KeyError)):
        assert_read(zoo.rnn, sizes_of(zoo.rnn), printed=as_latex)


def pages(latex, every: bool = True) -> dict[str, str]:
    cells = {**zoo.CELLS, **OWN}
    derived = {name: sb.derive(cells[name]) for name in (cells if every else ("lstm", "mlstm", "clockwork", *OWN))}
    derived |= {" ".join(("model", *ten)): sb.derive(model_of(*ten)) for ten in (TEN if every else TEN[:1])}
    return {name.replace(" ", "-"): latex(d) for name, d in derived.items()}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_pages_are_ascii_and_have_no_command_that_github_refuses(every: bool) -> None:
    for name, page in pages(lambda d: d.latex(), every).items():
        assert page.isascii() and r"\operatorname" not in page, name
        assert not re.search(r"\\frac\{\((?:[^()]|\([^()]*\))*\)\}", page), (
            f"{name}: brackets around all of a fraction's part"
        )
        for environment in ("gathered", "aligned"):
            assert environment not in page


needs_tex = pytest.mark.skipif(
    tex.PDFLATEX is None, reason="pdflatex is not installed: the reader of LaTeX reads the pages"
)
GATES = [
    "rnn",
    "lstm",
    "gru",
    "lstm_peephole",
    "cifg",
    "mgu",
    "mgu2",
    "ugrnn",
    "min_gru",
    "minimal_rnn",
    "indrnn",
    "zoneout",
    "scrn",
]


@needs_tex
@pytest.mark.long
def test_every_page_compiles_and_fits_an_article(tmp_path: Path) -> None:
    for style in ("loop", "textbook"):
        found = tex.compiled(pages(lambda d, style=style: d.latex(style)), tmp_path, 345)
        assert not found.errors and not found.wide and not found.high and found.sheets > 10, style


@needs_tex
@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.thinned(2)
def test_cells_of_gates_fit_a_column(tmp_path: Path, numbered: bool) -> None:
    gates = {
        f"{name}-{style}": sb.derive(zoo.CELLS[name]).latex(style, width="single", numbered=numbered)
        for name in GATES
        for style in ("loop", "textbook")
    }
    found = tex.compiled(gates, tmp_path, 252)
    assert not found.errors and not found.wide and not found.high


@needs_tex
def test_compiling_catches_what_is_wrong(tmp_path: Path) -> None:
    plain = sb.derive(zoo.lstm).latex("loop")
    assert tex.compiled({"unicode": plain.replace(r"\sigma", "σ")}, tmp_path).errors
    assert tex.compiled({"unknown": plain.replace(r"\odot", r"\hadamard")}, tmp_path).errors
    assert tex.compiled({"narrow": plain}, tmp_path, 150).wide
    assert tex.compiled(
        {"high": r"\[" + sb.derive(zoo.gru_layer_norm)._repr_latex_().replace("$$", "") + r"\]"}, tmp_path
    ).high


@needs_tex
def test_widths_are_what_tex_makes_them(tmp_path: Path) -> None:
    lines = [
        line.latex for name in ("lstm", "gru", "mlstm", "retnet", "lru") for line in sb.derive(zoo.CELLS[name]).backward
    ]
    boxes = "".join(rf"\setbox0\hbox{{$\displaystyle {line}$}}\typeout{{PAGE \the\wd0}}" for line in lines)
    source = tmp_path / "w.tex"
    source.write_text(rf"\documentclass{{article}}\usepackage{{amsmath}}\begin{{document}}{boxes}\end{{document}}")
    shown = subprocess.run(
        [str(tex.PDFLATEX), "-interaction=batchmode", source.name], cwd=tmp_path, capture_output=True, check=False
    )
    assert shown.returncode == 0
    found = [float(x) for x in re.findall(r"PAGE ([\d.]+)pt", (tmp_path / "w.log").read_text("latin-1"))]
    assert len(found) == len(lines)
    for line, true in zip(lines, found, strict=True):
        assert 0.98 * true <= width(line) <= 1.25 * true, line


def test_a_long_line_is_broken_at_its_signs() -> None:
    lines = sb.derive(zoo.gru).latex("loop", width="single").splitlines()
    begun = next(i for i, line in enumerate(lines) if r"\mathrm{d}h_{t-1} &=" in line)
    assert lines[begun + 1].startswith(r"  &\quad {} + ")
    assert all(width(line.replace("&", "")) <= 262 for line in lines if "=" in line)


def test_numbers_stand_on_first_rows_only() -> None:
    latex = sb.derive(zoo.gru).latex("loop", numbered=True, width="single")
    assert r"\begin{align}" in latex
    for line in latex.splitlines():
        assert (r"\notag" in line) == line.startswith("  &")


def test_a_width_that_is_none_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'single', 'double'"):
        sb.derive(zoo.rnn).latex(width="narrow")


def test_brackets_grow_with_what_is_in_them() -> None:
    @sb.cell
    def tall(x: Input["n"], h: State["n"], tau: Param["n"], d_model: Const = 2.0):
        return np.tanh(h / (1 + x / tau)) * np.exp(-x) * d_model

    latex = sb.derive(tall).latex("loop")
    assert r"\tanh\left(\frac{h_{t-1}}{1 + \frac{x_{t}}{\tau}}\right)" in latex and r"\exp(-x_{t})" in latex


def test_names_of_sizes_are_names() -> None:
    @sb.cell
    def sized(x: Input["d_model"], h: State["d_model"], c: Param):
        return h * np.sum(x) + c

    assert r"\mathbf{1}_{d_{\mathrm{model}}}" in sb.derive(sized).latex()


def test_a_legend_has_what_no_line_says() -> None:
    """The set of a sum's letter, of which no line is, and a remark on ties."""
    pages = (sb.derive(CELLS["liquid"]).latex(), sb.derive(CELLS["liquid"]).text())
    assert [r"$\sum_{k}$: over $k \in \{" in pages[0], "Σ_k: over k ∈ {" in pages[1]] == ["Σ_k: over" in pages[1]] * 2
    assert r"a bracket with the index 1/2 is one half where both sides are equal" in sb.derive(zoo.mlstm).latex()
    assert r"\text{ is replaced by }" in sb.derive(zoo.lif).latex()


def test_a_notebook_shows_what_mathjax_sets() -> None:
    bundle = sb.derive(zoo.lstm)._repr_mimebundle_()
    latex = bundle["text/latex"]
    display, _, legend = latex.partition("\n\\end{alignedat}\n$$\n\n")
    assert display.startswith("$$\n\\begin{alignedat}{2}\n") and legend.startswith("- Shapes: $x$ ($m$); $h$, $c$, ")
    assert legend.count("$") % 2 == 0 and legend.endswith("vectors are columns")
    assert latex.isascii() and not re.search(r"\\(intertext|allowdisplaybreaks|operatorname|begin\{align\*?\})", latex)
    body = display.split("\n")[2:]
    assert all(line.startswith("&") for line in body)
    assert all(line.count("&&") == 1 or r"\rlap{\text{" in line for line in body)
    assert bundle["text/plain"] == sb.derive(zoo.lstm).text()
    assert bundle["text/markdown"] == latex


@pytest.mark.parametrize("name", ["mlstm", "attention", "lif", "selective_ssm"])
def test_a_notebook_shows_the_legend_as_a_list(name: str) -> None:
    """As Markdown has it: one item for each line of the legend, none in another paragraph."""
    d = sb.derive(zoo.CELLS[name])
    tokens = MarkdownIt().parse(d._repr_mimebundle_()["text/markdown"])
    count = len(d.page().legend) + len(d.page().remarks)
    assert count > 1 and sum(token.type == "list_item_open" for token in tokens) == count
    assert sum(token.type == "bullet_list_open" for token in tokens) == 1
    assert sum(token.type == "paragraph_open" for token in tokens) == count + 1


@pytest.mark.skipif(tex.PDFLATEX is None, reason="pdflatex is not installed")
def test_titles_of_truncated_pages_fit_a_column(tmp_path: Path) -> None:
    settings = {"window": sb.Window(4), "chunks": sb.Chunked(3, 5)}
    pages = {
        name: sb.derive(zoo.rnn, truncation=truncation, lengths=True, reset=True).latex(width="single")
        for name, truncation in settings.items()
    }
    found = tex.compiled(pages, tmp_path, 252)
    assert not found.errors and not found.wide
    # Words inside \text are one box, which TeX cannot break.
    words = [
        (name, line) for name, page in pages.items() for line in page.splitlines() if "intertext{Backward from" in line
    ]
    shown = [line.replace(r", \allowbreak", ",") for _, line in words]
    assert len(words) == 2 and "each loss, $s = 1, \\ldots, T$; $t = s, \\ldots, \\max(s - 3, 1)$; terms" in shown[0]
    planted = {
        name: page.replace(r"\intertext{Backward from", r"\intertext{\mbox{Backward from")
        for name, page in pages.items()
    }
    planted = {name: page.replace("are zero}", "are zero}}") for name, page in planted.items()}
    assert {name for name, _ in tex.compiled(planted, tmp_path, 252).wide} == set(settings)
