"""Whole files of equations: each ending, cells and models, and what `build` writes."""

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import symbptt as sb
from symbptt import ArgumentError, Const, Input, Param, State, zoo
from symbptt.commands.main import run
from symbptt.derivations.files import page_as
from symbptt.files import is_ours
from tests import tex
from tests.test_latex import model_of

ENDINGS = [".tex", ".md", ".html", ".mathml"]
MODEL = """
import numpy as np
import symbptt as sb
from symbptt import Param, State, Target
from symbptt.zoo import rnn


@sb.loss
def squared(h: State["n"], y: Target["n"]):
    return np.sum((h - y) ** 2)


model = sb.model(rnn, squared, at="last", reduction="mean")
"""


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("target", ["cell", "model"])
def test_derive_writes_a_whole_file(tmp_path: Path, capsys, ending: str, target: str) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    name = "rnn" if target == "cell" else f"{tmp_path / 'mine.py'}:model"
    path = tmp_path / f"page{ending}"
    assert run(["derive", name, "-o", str(path)]) == 0
    content = path.read_bytes()
    assert is_ours(content) and content.endswith(b"\n") and capsys.readouterr().out == ""
    assert run(["derive", name, "-o", str(path)]) == 0  # what symbptt wrote is replaced
    path.write_text("mine")
    assert run(["derive", name, "-o", str(path)]) == 1 or path.read_text() == "mine"
    assert path.read_text() == "mine" and "--force" in capsys.readouterr().err
    assert run(["derive", name, "-o", str(path), "--force"]) == 0 and path.read_bytes() == content


@pytest.mark.parametrize("name", ["page.pdf", "page", "page.txt", "page.docx"])
def test_other_endings_are_refused_in_words(tmp_path: Path, capsys, name: str) -> None:
    assert run(["derive", "rnn", "-o", str(tmp_path / name)]) != 0
    error = capsys.readouterr().err
    assert name in error and ".tex, .md, .html, .mathml" in error
    assert not list(tmp_path.iterdir())
    with pytest.raises(ArgumentError, match="endings"):
        page_as(sb.derive(zoo.rnn), tmp_path / name)


@pytest.mark.long
@pytest.mark.skipif(tex.PDFLATEX is None, reason="pdflatex is not installed")
def test_a_document_compiles_whatever_its_names_are(tmp_path: Path) -> None:
    @sb.cell
    def ж_and_α(x_t: Input["d_model"], h_prev: State["n"], α: Param["n d_model"], ж: Param["n"], dt: Const = 0.1):
        """Costs 100 % & more_or_less {nothing} #1 $."""
        return np.tanh(α @ x_t + ж * h_prev * dt)

    for number, d in enumerate([sb.derive(ж_and_α), sb.derive(model_of("lstm", "last", "mean"))]):
        source = tmp_path / f"page{number}.tex"
        source.write_text(page_as(d, source), "utf-8")
        command = [str(tex.PDFLATEX), "-interaction=nonstopmode", source.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()[-1000:]
        assert b"Missing character" not in done.stdout and b"Overfull" not in done.stdout


def test_html_is_by_itself_and_well_formed() -> None:
    page = page_as(sb.derive(zoo.lstm), Path("page.html"))
    assert not re.search(r"<script|src=|href=|@import|url\(", page)
    assert len(page.encode()) < 100_000
    body = re.sub(r"<meta[^>]*>", "", page.removeprefix("<!doctype html>\n"))
    root = ElementTree.fromstring(body.partition("-->\n")[2])
    assert len(root.findall(".//h2")) == 2 + len(sb.derive(zoo.lstm).page().sections)


def test_documentation_of_others_makes_no_markup() -> None:
    @sb.cell
    def loud(x: Input["n"], h: State["n"]):
        """<script>alert(1)</script> & more"""
        return np.tanh(h + x)

    page = page_as(sb.derive(loud), Path("page.html"))
    assert "<script" not in page and "&lt;script&gt;" in page


def test_text_in_ascii_has_the_same_lines() -> None:
    for cell in (zoo.lstm, zoo.lru, zoo.clockwork, zoo.mlstm, zoo.second_order, zoo.delta_rule):
        d = sb.derive(cell)
        for style in ("loop", "textbook"):
            plain = d.text(style, ascii=True)
            assert plain.isascii()
            assert len(plain.splitlines()) == len(d.text(style).splitlines())
    text = sb.derive(zoo.rnn).text("loop", ascii=True)
    assert text.startswith("Forward, t = 1, ..., T\n  h_t = tanh(W x_t + U h_{t-1} + b)")
    assert "dh_{t-1} = dL/dh_{t-1} + U^T da_t" in text and "dU = sum_t da_t h_{t-1}^T" in text
    assert "da_t     = dh_t (.) (1 - h_t^2)" in text


@pytest.mark.parametrize("target", [zoo.lstm, model_of("gru", "last", "mean")], ids=["cell", "model"])
def test_shapes_stand_once_beside_a_table(target: sb.Cell | sb.Model) -> None:
    d = sb.derive(target)
    assert "Shapes: " in d.text() and "Shapes: " in d.latex()
    for ending in (".tex", ".md", ".html"):
        page = page_as(d, Path(f"page{ending}"))
        assert "Shapes: " not in page and page.count("vectors are columns") == 1
        assert all(a.name.replace("_", r"\_" if ending == ".tex" else "_") in page for a in target.arguments)
