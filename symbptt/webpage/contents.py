"""What the page about a cell or a model shows, found by deriving, compiling, verifying and a run on random inputs."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sympy

from symbptt.codegen.kernel import Kernel
from symbptt.codegen.kernel import compile as compile_cell
from symbptt.data.random_data import random_inputs
from symbptt.derivations.derivation import Derivation, derive
from symbptt.drawing.unrolled import Unrolled, unroll
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.notation.signs import TEXT, Notation
from symbptt.equations.notation.writing import write
from symbptt.equations.page.equations import equation
from symbptt.equations.page.layout import line_in_mathml
from symbptt.equations.page.lines import ONCE, Line, Section
from symbptt.errors import ArgumentError, TargetError
from symbptt.ir.shape import names_in, show
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.stability.gradients.flow import GradientFlow, gradient_flow
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.verification.checks import Verification, verify
from symbptt.version import VERSION
from symbptt.webpage.links import links_of
from symbptt.webpage.page import Contents, Formula, write_page

STEPS, SIZE = 100, 8
"""The run on which the stability of the page is measured: short, so that a page takes a few seconds."""
MOST_BLOCKS = 16


def write_report(
    target: Cell | Model, path: Path, command: str, *, seed: int = 0, tell: Callable[[str], None] = lambda stage: None
) -> Verification:
    """Write the page about a target, and return its verification; `command` is the one that writes it again.

    Raises: TargetError where the file cannot be written, or its name does not end with .html.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise TargetError(f"the report is one HTML page, got the name {path.name!r}\n  -o report.html")
    tell("deriving")
    derivation = derive(target)
    tell("generating the module")
    kernel = compile_cell(target)
    tell("verifying")
    report = verify(kernel, seed=seed)
    tell("measuring stability")
    cell = target.cell if isinstance(target, Model) else target
    write_page(contents(target, derivation, kernel, report, stability_of(cell, seed), repeat(command, seed)), path)
    return report


def contents(
    target: Cell | Model, derivation: Derivation, kernel: Kernel, report: Verification,
    stability: Sequence[tuple[str, str]], again: Sequence[tuple[str, str]],
) -> Contents:  # fmt: skip
    """Return what the page about a target shows, from what was found before."""
    graph, n = unroll(target, 1, backward=True), mathml_of(derivation.names)
    cell = target.cell if isinstance(target, Model) else target
    return Contents(
        name=target.name,
        words=inspect.getdoc(cell.function) or "",
        symbols=_symbols(derivation, n),
        sections=[(s.title, _formulas(derivation, s, n)) for s in derivation.page("loop").sections if s.lines],
        links=links_of(graph),
        drawing=_drawing(graph),
        jacobian=_jacobian(derivation, cell, n),
        plan=str(kernel.plan),
        verification=_table(report),
        passed=report.passed,
        verdict=_verdict(report),
        stability=stability,
        source=kernel.source,
        repeat=again,
    )


def repeat(command: str, seed: int) -> list[tuple[str, str]]:
    """Return how to write a page again, and with what."""
    with_what = f"Python {platform.python_version()}, NumPy {np.__version__}, SymPy {sympy.__version__}"
    return [("command", command), ("seed", str(seed)), ("version", f"symbptt {VERSION}; {with_what}")]


def _symbols(d: Derivation, n: Notation) -> list[tuple[str, str, str, str]]:
    symbols = {named.name: f"<math>{n.symbol(named.label)}</math>" for named in d.symbols}
    return [(a.name, symbols[a.name], a.role, show(a.shape) if a.shape else "scalar") for a in d.target.arguments]


def _formulas(d: Derivation, section: Section, n: Notation) -> list[Formula]:
    """Lines, whose left sides are as the user spelt them, as in the graph and in the module."""
    lines = [(line, str(equation(line, d.in_text, d.in_latex))) for line in section.lines]
    return [Formula(write(line.left, TEXT), line_in_mathml(line, n), text) for line, text in lines]


def _drawing(graph: Unrolled) -> str:
    """The SVG without its XML declaration, as an element of the page."""
    return graph.svg().partition("\n")[2]


def _jacobian(d: Derivation, cell: Cell, n: Notation) -> list[tuple[Formula, str]]:
    """The blocks of the states by the states, without those that are zero."""
    states = [a.name for a in cell.arguments if a.role == "state"]
    found: list[tuple[Formula, str]] = []
    for to in states:
        for of in states:
            block = d.jacobian(to, of) if len(found) < MOST_BLOCKS else None
            if block is not None and block.structure != "zero":
                lines = "<br>".join(line_in_mathml(Line(x.left, x.right, ONCE), n) for x in block.definitions)
                found.append((Formula("", lines, block.text()), f"{to} by {of}: {block.structure}"))
    return found


def _table(report: Verification) -> list[list[str]]:
    """The largest error of each block in each regime, and what is allowed."""
    regimes = list(dict.fromkeys(row.regime for row in report.rows))
    table = [["block", *regimes, "allowed"]]
    for block in dict.fromkeys(row.name for row in report.rows):
        rows = [row for row in report.rows if row.name == block]
        errors = [[row.error for row in rows if row.regime == regime and not row.note] for regime in regimes]
        allowed = max((row.tolerance for row in rows if row.tolerance == row.tolerance), default=np.nan)
        table.append([block, *(f"{max(found):.0e}" if found else "–" for found in errors), f"{allowed:.0e}"])
    return table


def _verdict(report: Verification) -> str:
    wrong = "" if report.passed else f"; wrong: {', '.join(report.wrong)}"
    worst = f"; worst {report.worst.block}: {report.worst.error:.1e}" if report.worst else ""
    word = "passed" if report.passed else "FAILED"
    return f"{word}: {len(report.rows)} comparisons of the module with the function as written{worst}{wrong}"


def stability_of(cell: Cell, seed: int) -> list[tuple[str, str]]:
    """Return the Lyapunov exponents and the decay of gradients of a short run on random inputs, with `init`'s parameters."""
    names = dict.fromkeys(name for a in cell.arguments for name in names_in(a.shape))
    dims = dict.fromkeys(names, SIZE)
    where = f"{STEPS} steps of standard normal inputs, sizes {', '.join(f'{n} = {SIZE}' for n in names) or 'scalar'}, seed {seed}"
    try:
        params = cell.init(dims, seed=seed)
        inputs = random_inputs(cell.arguments, dims, (STEPS,), seed)
        spectrum = lyapunov_spectrum(cell, params, inputs)
        flow = gradient_flow(cell, params, inputs)
    except ArgumentError as error:  # a cell without stable numbers has equations and a module all the same
        return [("run", where), ("not measured", " ".join(str(error).split()))]
    first, spread = float(spectrum.exponents[0]), float(spectrum.error[0])
    rows = [
        ("run", where),
        ("largest exponent", f"λ₁ = {first:.3g} ± {spread:.2g} nats per step: {_in_words(first, spread)}"),
    ]
    rows += [("others", ", ".join(f"{x:.3g}" for x in spectrum.exponents[1:6]))] if len(spectrum.exponents) > 1 else []
    rows += [("gradient of the last state", _decay(flow))]
    return [*rows, ("the whole report", f"symbptt analyze {cell.name}")]


def _in_words(exponent: float, error: float) -> str:
    if np.isneginf(exponent):
        return "nothing is passed on"
    if abs(exponent) <= error:
        return "neither grows nor shrinks within the error"
    return f"gradients {'grow' if exponent > 0 else 'shrink'} by {abs(np.expm1(exponent)):.0%} a step"


def _decay(flow: GradientFlow) -> str:
    norms = np.asarray(flow.norms, float)
    start = norms[0] if len(norms) and norms[0] > 0 else 1.0
    words = []
    for name, part in (("1/e", np.exp(-1)), ("1/1000", 1e-3)):
        under = np.flatnonzero(norms < part * start)
        words.append(f"to {name} at lag {under[0]}" if len(under) else f"never to {name} in this run")
    return f"falls {', '.join(words)}"
