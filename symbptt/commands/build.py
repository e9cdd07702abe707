"""The folder that `symbptt build` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.commands.stability_files import json_of, text_of
from symbptt.data.csv_table import STEPS_WITHOUT_DATA, Table, bind, hidden_sizes
from symbptt.data.random_data import random_inputs
from symbptt.derivations.derivation import Derivation, derive
from symbptt.derivations.files import equations_markdown, latex_document
from symbptt.drawing.figures import need_matplotlib, new_figure, save
from symbptt.drawing.graph import draw_unrolled, norm_figure
from symbptt.drawing.unrolled import unroll
from symbptt.equations.notation.markdown import plain
from symbptt.errors import ArgumentError, TargetError
from symbptt.files import check_own, write_text
from symbptt.language.cell import Cell
from symbptt.language.held import contexts_of
from symbptt.stability.report.analysis import report_of
from symbptt.stability.runs.default_sizes import elements
from symbptt.stability.runs.setting import setting
from symbptt.verification.checks import Verification, verify
from symbptt.version import VERSION
from symbptt.webpage.contents import Run, analysed, contents, measured, repeat
from symbptt.webpage.page import write_page

LARGE = 512
"""Elements of a state beyond which its stability is analysed for smaller sizes, with parameters drawn for them."""
MARK = "symbptt"
"""The word by which `origin` knows the files of an earlier build."""


@dataclass(frozen=True)
class Flow:
    """The norms of the adjoints (T,) by state, for a cotangent of ones on the last step of `of`."""

    of: str
    norms: dict[str, Any]
    finite: bool

    @property
    def caption(self) -> str:
        return (
            f"Norm of the adjoint of each state against time, for a loss whose gradient is 1 in every element of "
            f"{self.of} after the last step and 0 elsewhere."
        )


@dataclass(frozen=True)
class Summary:
    """The findings of a build and the files it wrote."""

    rows: tuple[tuple[str, str], ...]
    passed: bool
    files: tuple[Path, ...]


def build(
    cell: Cell,
    table: Table | None,
    folder: str | Path,
    *,
    hidden: int = 32,
    seed: int = 0,
    force: bool = False,
    tell: Callable[[str], None] = lambda stage: None,
    command: str = "",
) -> Summary:
    """Write equations, module, verification and drawings of a cell into a folder, and return the summary.

    Inputs are the columns of the table, standardised; without one, 100 steps of standard normal numbers. Sizes that the
    data do not say are `hidden`; `command` is the one that builds the same again. Files of an earlier build are replaced, all
    others in the folder stay as they are.

    Raises: ArgumentError where data and cell do not go together; TargetError where the folder cannot be written, or
    holds a file of another origin under one of the names (`force` replaces it).
    """
    need_matplotlib()
    folder = Path(folder)
    names = {kind: folder / name for kind, name in _names(cell).items()}
    inputs, dims, words = _inputs(cell, table, hidden, seed)
    # Refused before minutes of computation, not after.
    _check_folder(folder, names.values(), force)
    found = _found(cell, inputs, dims, seed, tell)
    _make_folder(folder)
    tell("drawing")
    command = command or f"symbptt.commands.build.build({cell.name}, ..., hidden={hidden}, seed={seed})"
    rows = (*_rows(found, table, words, dims), ("stability", found.stability.line), ("repeat", command))
    _write(found, table, names, repeat(command, seed), measured(analysed(cell), seed, contexts_of(cell))[0])
    write_text(names["summary"], summary_markdown(cell, rows, found.flow, names))
    written = ("files", f"{folder}/: {', '.join(path.name for path in names.values())}")
    return Summary((*rows, written), found.report.passed, tuple(names.values()))


def _names(cell: Cell) -> dict[str, str]:
    """Return the files of a build; where the rounds of a body have a named size as their number, there are no steps to draw."""
    drawn = {"unrolled": "unrolled.svg"} if cell.has_counted_rounds else {}
    return {
        "summary": "summary.md",
        "page": "report.html",
        "equations": "equations.md",
        "equations in LaTeX": "equations.tex",
        "module": f"{cell.name}_bptt.py",
        "verification": "verification.txt",
        "certificate": "certificate.json",
        **drawn,
        "norms": "adjoint_norm.svg",
        "stability": "stability.txt",
        "stability numbers": "stability.json",
        "stability figure": "stability.svg",
    }


@dataclass(frozen=True)
class _Found:
    """The findings of a build before it writes."""

    cell: Cell
    derivation: Derivation
    kernel: Kernel
    report: Verification
    params: Mapping[str, Any]
    flow: Flow
    stability: _Stability


def _found(
    cell: Cell, inputs: Mapping[str, Any], dims: dict[str, int], seed: int, tell: Callable[[str], None]
) -> _Found:
    tell("deriving")
    derivation = derive(cell)
    tell("generating the module")
    kernel = compile_cell(cell)
    tell("verifying")
    report = verify(kernel)
    tell("running forward and backward")
    params = cell.init(dims, seed=seed)
    flow = adjoint_flow(kernel, params, inputs)
    # Lyapunov exponents need a QR factorisation of an N x N matrix at every step, which grows as N³.
    fits = elements(cell.arguments, dims) <= LARGE
    stability = _stability(cell, params if fits else None, inputs, dims if fits else {}, seed, tell)
    return _Found(cell, derivation, kernel, report, params, flow, stability)


def _write(
    found: _Found, table: Table | None, names: Mapping[str, Path], again: list[tuple[str, str]], run: Run | None
) -> None:
    """Write all files but the summary."""
    cell, stability = found.cell, found.stability
    write_text(names["equations"], equations_markdown(found.derivation))
    write_text(names["equations in LaTeX"], latex_document(found.derivation))
    found.kernel.save(names["module"], certificate=found.report.certificate)
    write_text(names["certificate"], found.report.to_json())
    write_text(names["verification"], f"{MARK} {VERSION}: verification of {cell.name}\n\n{found.report}\n")
    if "unrolled" in names:
        draw_unrolled(unroll(cell, steps=2, backward=True), names["unrolled"])
    save(_norm_figure(cell, found.flow, table), names["norms"])
    write_text(names["stability"], stability.text)
    write_text(names["stability numbers"], stability.numbers)
    save(stability.figure, names["stability figure"])
    lines = [*_paragraphs(stability.text), ("more", f"{names['stability'].name}, {names['stability figure'].name}")]
    write_page(contents(cell, found.derivation, found.kernel, found.report, lines, again, run), names["page"])


def _paragraphs(text: str) -> list[tuple[str, str]]:
    """Return the paragraphs of a stability report under its first line, each with its first words as a title."""
    # The first paragraph is the report's title line.
    parts = [" ".join(part.split()) for part in text.split("\n\n")[1:]]
    pairs = [part.partition(" " if part.startswith("Advice") else ": ") for part in parts]
    return [(title, rest) if len(title) < 40 else ("", f"{title}: {rest}") for title, _, rest in pairs if rest]


@dataclass(frozen=True)
class _Stability:
    """The stability of a build: one line, the contents of its two texts, its figure."""

    line: str
    text: str
    numbers: str
    figure: Any


def _stability(
    cell: Cell, params: Mapping[str, Any] | None, inputs: Mapping[str, Any], dims: dict[str, int], seed: int,
    tell: Callable[[str], None],
) -> _Stability:  # fmt: skip
    """Return the report on the data of the build; where the state leaves the range at once, what is wrong in its
    place."""
    try:
        found = report_of(setting(cell, params, inputs or None, None, None, None, seed, dims), None, seed, tell)
    except ArgumentError as error:  # a cell without stable numbers has equations and a module all the same
        text = f"{MARK}: no stability of {cell.name}\n\n{error}\n"
        return _Stability(f"not analysed: {error}", text, json.dumps({"written_by": MARK, "error": str(error)}) + "\n",
                          new_figure(1, 1))  # fmt: skip
    v = found.verdict
    advice = "; ".join(f"{a.about}: {a.text.rstrip('.')}" for a in found.advice[:2])
    line = f"{v.kind}, λ₁ = {v.exponent:.3g} ± {v.error:.2g} per step; {advice}"
    line = f"{v.kind}, λ₁ = −∞: {v.reason}" if np.isneginf(v.exponent) else line
    return _Stability(line, text_of(found), json_of(found), found.plot())


def _check_folder(folder: Path, files: Iterable[Path], force: bool) -> None:
    """Refuse a folder that cannot be made or written, before anything is computed; nothing is made yet."""
    # The nearest folder that exists decides whether the rest can be made.
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "Permission denied" if there.is_dir() else f"{there} is no folder"
        raise TargetError(f"cannot write into {folder}: {what}")
    check_own(files, force)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"cannot write into {folder}: {error.strerror or error}") from None


def _inputs(cell: Cell, table: Table | None, hidden: int, seed: int) -> tuple[dict[str, Any], dict[str, int], str]:
    if hidden < 1:
        raise ArgumentError(f"the hidden size must be at least 1, got {hidden}")
    if table is not None:
        bound = bind(cell, table)
        return bound.inputs, hidden_sizes(cell, bound.dims, hidden), "; ".join(bound.words)
    dims = hidden_sizes(cell, {}, hidden)
    inputs = random_inputs(cell.arguments, dims, (STEPS_WITHOUT_DATA,), seed)
    return inputs, dims, f"none; standard normal numbers, {STEPS_WITHOUT_DATA} steps"


def adjoint_flow(kernel: Kernel, params: Mapping[str, Any], inputs: Mapping[str, Any]) -> Flow:
    """Return the norms of the adjoints at every step, for a cotangent of ones on the last step of the first state."""
    with np.errstate(all="ignore"):
        run = kernel.forward(params, inputs, steps=None if inputs else STEPS_WITHOUT_DATA)
        first = next(iter(run.states))
        # A cotangent of ones on one state gives every cell a flow to show, without a loss.
        norms = kernel.backward(run, {first: np.ones_like(run.states[first][-1])}, monitor=True).flow
    return Flow(first, norms, all(np.all(np.isfinite(v)) for v in (*run.states.values(), *norms.values())))


def _norm_figure(cell: Cell, flow: Flow, table: Table | None) -> Any:
    where = f"{table.path.name}, {table.rows} steps" if table else f"{STEPS_WITHOUT_DATA} steps of random input"
    title = f"{cell.name} on {where}\nThe gradient is 1 in every element of {flow.of} after the last step"
    times, label = (table.index, table.index_name) if table and table.index else (None, "step t")
    return norm_figure(flow.norms, title, times, label)


def _rows(found: _Found, table: Table | None, words: str, dims: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    flow, derivation = found.flow, found.derivation
    steps = len(next(iter(flow.norms.values())))
    trained = [a.name for a in found.cell.arguments if a.role == "param"]
    count = sum(int(np.size(found.params[name])) for name in trained)
    counts = len(derivation.forward), len(derivation.backward), len(derivation.gradients)
    rows = [
        ("cell", found.cell.name),
        ("data", f"{table.path.name}: {words}, standardised (mean 0, sd 1)" if table else words),
        (
            "steps",
            f"{steps}"
            + (f", {table.index_name} {table.index[0]} to {table.index[-1]}" if table and table.index else ""),
        ),
        ("sizes", ", ".join(f"{name} = {value}" for name, value in dims.items()) or "scalars"),
        ("parameters", f"{count:,} numbers in {len(trained)} arrays"),
        ("equations", "{} forward, {} backward, {} of gradients".format(*counts)),
        ("verification", verdict(found.report)),
    ]
    return tuple(
        rows
        + [(f"adjoint of {name}", decay(norms)) for name, norms in flow.norms.items()]
        + [("warning", "states or adjoints are not finite on these data")] * (not flow.finite)
    )


def verdict(report: Verification) -> str:
    """Return one line on a verification."""
    worst = report.worst
    most = f"; worst {worst.block}: {worst.error:.1e}, allowed {worst.tolerance:.0e}" if worst else ""
    wrong = f", wrong: {', '.join(report.wrong)}" if report.wrong else ""
    return f"{report.verdict}{wrong}, {len(report.rows)} comparisons{most}"


def decay(norms: Any) -> str:
    """Return in words how the norm of an adjoint changes from the last step back to the first.

    Shapes: norms (T,).
    """
    norms = np.asarray(norms, dtype=float)
    if not np.all(np.isfinite(norms)):
        return "not finite"
    if not np.any(norms):
        return "0 everywhere"
    # Exact zeros have no logarithm: the ends are the first and last steps that a gradient reaches.
    alive = np.flatnonzero(norms)
    last, first = alive[-1], alive[0]
    text = f"{norms[last]:.2g} at step {last + 1}"
    if first < last:
        text += f", {norms[first]:.2g} at step {first + 1}"
    # Steps per factor of ten follow from a straight line through the two ends in the logarithm.
    decades = np.log10(norms[last] / norms[first])
    if last - first >= 10 and abs(decades) > 0.5:
        text += f": {'falls' if decades > 0 else 'grows'} tenfold in {(last - first) / abs(decades):.3g} steps back"
    return text + (f", 0 before step {first + 1}" if first else "")


def summary_markdown(cell: Cell, rows: Iterable[tuple[str, str]], flow: Flow, names: Mapping[str, Path]) -> str:
    """Return the summary of a build as Markdown."""
    table = "\n".join(["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows)])
    files = "\n".join(
        [
            f"* [{names['page'].name}]({names['page'].name}): all of it on one page, for a browser",
            f"* [{names['equations'].name}]({names['equations'].name}): the equations, and as LaTeX in"
            f" [{names['equations in LaTeX'].name}]({names['equations in LaTeX'].name})",
            f"* [{names['module'].name}]({names['module'].name}): forward and backward pass, needs NumPy alone",
            f"* [{names['verification'].name}]({names['verification'].name}): the module against the cell itself; as data in"
            f" [{names['certificate'].name}]({names['certificate'].name})",
        ]
    )
    parts = [f"# {cell.name}", f"Built by symbptt {VERSION}.", table, files]
    if "unrolled" in names:
        parts += ["## Two steps with their adjoints", f"![two unrolled steps of {cell.name}]({names['unrolled'].name})"]
    parts += ["## Stability", f"![stability of {cell.name}]({names['stability figure'].name})", _stability_links(names)]
    parts += ["## The adjoint against time", f"![norm of the adjoint]({names['norms'].name})", flow.caption]
    return "\n\n".join(parts) + "\n"


def _stability_links(names: Mapping[str, Path]) -> str:
    text, numbers = names["stability"].name, names["stability numbers"].name
    return f"Verdict, reasons and advice: [{text}]({text}); the numbers: [{numbers}]({numbers})."


def _cell(text: str) -> str:
    """Return text of others as one cell of a table."""
    return plain(" ".join(text.split()))
