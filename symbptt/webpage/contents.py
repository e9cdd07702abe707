"""The contents of the page about a cell or model, found by deriving, compiling, verifying and a run on random inputs."""

from __future__ import annotations

import inspect
import platform
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sympy

from symbptt.autodiff.labels import Label
from symbptt.codegen.kernel import Kernel, kernel_of
from symbptt.data.random_data import random_inputs
from symbptt.derivations.derivation import Derivation, derive
from symbptt.derivations.tables import equation as line_of
from symbptt.drawing.unrolled import Unrolled, unroll
from symbptt.equations.algebra.expressions import Expr
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.notation.signs import TEXT, Notation
from symbptt.equations.notation.writing import write
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.equations import equation
from symbptt.equations.page.families import members
from symbptt.equations.page.layout import line_in_mathml, notes_in_html
from symbptt.equations.page.legend import beside_a_table
from symbptt.equations.page.lines import ONCE, Line, Page, Section
from symbptt.errors import ArgumentError, TargetError
from symbptt.ir.shape import names_in, show
from symbptt.language.cell import Cell
from symbptt.language.each_step import with_inputs
from symbptt.language.held import contexts_of
from symbptt.language.model import Model
from symbptt.language.pairs import real_pairs
from symbptt.stability.gradients.flow import GradientFlow, gradient_flow
from symbptt.stability.spectra.lyapunov import lyapunov_spectrum
from symbptt.verification.checks import Verification, verify
from symbptt.version import VERSION
from symbptt.webpage.links import Links, links_of, links_of_lines
from symbptt.webpage.page import Block, Contents, Formula, Route, write_page

STEPS, SIZE = 100, 8
"""The run on which the stability of the page is measured: short, so that a page takes a few seconds."""
MOST_BLOCKS, MOST_ROUTES = 16, 16
IN_PARTS = "Of the cell in real numbers, sb.real_pairs: the first axis of what is complex has the real and the imaginary parts."


def write_report(
    target: Cell | Model, path: Path, typed: str, *, seed: int = 0, tell: Callable[[str], None] = lambda stage: None
) -> Verification:
    """Write the page about a target, and return its verification; `typed` is what names the target on the command line.

    Raises: TargetError where the file cannot be written, or its name does not end with .html.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise TargetError(f"the report is one HTML page, got the name {path.name!r}\n  -o report.html")
    tell("deriving")
    derivation = derive(target)
    tell("generating the module")
    kernel = kernel_of(target)
    tell("verifying")
    # The proof and the measured rounding take longer than all else of the page together; the page says where they are.
    report = verify(kernel, seed=seed, proof=False)
    tell("measuring stability")
    run, stability = measured(analysed(target), seed, contexts_of(target))
    stability.append(("the whole report", shlex.join(["symbptt", "analyze", typed])))
    again = repeat(shlex.join(["symbptt", "report", typed, "-o", str(path), "--seed", str(seed)]), seed)
    write_page(contents(target, derivation, kernel, report, stability, again, run), path)
    return report


def contents(
    target: Cell | Model, derivation: Derivation, kernel: Kernel, report: Verification,
    stability: Sequence[tuple[str, str]], again: Sequence[tuple[str, str]], run: Run | None = None,
) -> Contents:  # fmt: skip
    """Return what the page about a target shows, from what was found before; with a run, norms of routes on it."""
    n, page, loop = mathml_of(derivation.names), derivation.page(), derivation.page("loop")
    cell = target.cell if isinstance(target, Model) else target
    real = analysed(target)
    of_jacobians = derivation if real is cell else derive(real)
    # One step shows every line once; links need no more.
    graph = unroll(target if real is cell else real, 1, backward=True) if cell.has_counted_rounds else None
    return Contents(
        name=target.name,
        words=inspect.getdoc(cell.function) or "",
        symbols=_symbols(derivation, n),
        sections=[(s.title, _formulas(derivation, s, n)) for s in page.sections if s.lines],
        loop=[(s.title, _formulas(derivation, s, n)) for s in loop.sections if s.lines],
        notes=notes_in_html(beside_a_table(page), n),
        links=links_of(graph) if graph is not None and real is cell else _links(loop),
        drawing=_drawing(graph) if graph is not None else "",
        jacobian=_jacobian(of_jacobians, real, mathml_of(of_jacobians.names), run),
        parts=" ".join(_said_ofanalysed(cell)),
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
    return [(a.name, symbols[a.name], a.role, (show(a.shape) if a.shape else "scalar") + ", complex" * a.complex)
            for a in d.target.arguments]  # fmt: skip


def _formulas(d: Derivation, section: Section, n: Notation) -> list[Formula]:
    """Lines, with the names of what they belong to as the user spelt them, as in the graph and in the module."""
    lines = [(line, str(equation(line, d.in_text, d.in_latex))) for line in section.lines]
    return [Formula(tuple(_names(line)), line_in_mathml(line, n), text, tuple(_read(line))) for line, text in lines]


def _names(line: Line) -> Iterator[str]:
    """Yield the name of what a line is of, without its time; of a family those of all members."""
    for label in line.left.labels:
        yield from map(TEXT.symbol, _members(label.at(None), line.family))


def _read(line: Line) -> Iterator[str]:
    """Yield the names of what a line reads, of that of an adjoint the adjoints."""
    is_adjoint = any(label.adjoint for label in (*line.left.labels, *line.right.labels))
    yield from (TEXT.symbol(label.at(None)) for label in line.right.labels if label.adjoint == is_adjoint)


def _members(label: Label, family: tuple[str, tuple[str, ...]] | None) -> Iterator[Label]:
    found = [label._replace(name=name) for name in members(label.name, *family)] if family else []
    yield from found or [label]


def _links(loop: Page) -> Links:
    """Return the links of a page whose cell has no graph: nobody knows its rounds before it runs."""
    forward, *others = loop.sections
    return links_of_lines(forward.lines, [line for section in others for line in section.lines])


def analysed(target: Cell | Model) -> Cell:
    """Return the cell that has a graph, Jacobians and stability: in the place of contexts inputs, and of complex numbers their parts."""
    cell = target.cell if isinstance(target, Model) else target
    return real_pairs(cell) if _is_complex(cell) else with_inputs(cell)


def _is_complex(cell: Cell) -> bool:
    g = cell.looped.graph
    return any(g.is_complex(node.id) for node in g)


def _said_ofanalysed(cell: Cell) -> Iterator[str]:
    """Yield what is to be said of a graph, Jacobians and stability that are of another cell."""
    if contexts := contexts_of(cell):
        yield f"Of the cell that is given {', '.join(contexts)} at each step, the same at all."
    if _is_complex(cell):
        yield IN_PARTS


def _drawing(graph: Unrolled) -> str:
    """Return the SVG without its XML declaration, as an element of the page."""
    # An XML declaration is an error inside HTML.
    return graph.svg().partition("\n")[2]


def _jacobian(d: Derivation, cell: Cell, n: Notation, run: Run | None) -> list[Block]:
    """Return the blocks of the states by the states, without those that are zero."""
    states = [a.name for a in cell.arguments if a.role == "state"]
    found: list[Block] = []
    for to in states:
        for of in states:
            block = d.jacobian(to, of) if len(found) < MOST_BLOCKS else None
            if block is not None and block.structure != "zero":
                lines = "".join(f'<span class="row">{_line_of(x, n)}</span>' for x in block.definitions)
                words, routes, shared = _routes(d, to, of, n, run)
                found.append(
                    Block(Formula((), lines, block.text()), f"{to} by {of}: {block.structure}{words}", routes, shared)
                )
    return found


def _line_of(x: Definition, n: Notation) -> str:
    return line_in_mathml(Line(x.left, x.right, ONCE, note=x.note), n)


def _routes(d: Derivation, to: str, of: str, n: Notation, run: Run | None) -> tuple[str, list[Route], list[Formula]]:
    """Return words about the routes of a block, the routes where there are several, and what they read."""
    try:
        paths = d.paths(to, of, most=MOST_ROUTES)
    except ArgumentError as error:  # more than can be looked at: how many there are is said
        return f"; {str(error).partition(chr(10))[0]}", [], []
    norms = None if run is None else paths.evaluate(run.params, run.inputs)
    mean = [""] * len(paths) if norms is None else [f"{x:.2g}" for x in np.mean(norms.norms, 0)]
    whole = "" if norms is None else f"; its norm is {np.mean(norms.whole):.2g} on average in the run"
    if len(paths) < 2:
        return whole, [], []
    head = paths[0].definitions[0].left
    routes = [
        Route(
            f"<math>{_arrows(path.names, n)}</math>",
            Formula((), _derivative(path.definitions[0], head, n), path.text().partition("\n")[0]),
            norm,
        )
        for path, norm in zip(paths, mean, strict=True)
    ]
    shared = dict.fromkeys(x for path in paths for x in path.definitions[1:])
    return whole, routes, [Formula((), _line_of(x, n), line_of(x, d.pen())) for x in shared]


def _derivative(x: Definition, head: Expr, n: Notation) -> str:
    """Return the formula of a derivative; the whole line where it is not that of the head."""
    return f"<math>{write(x.right, n)}</math>" if x.left == head else _line_of(x, n)


def _arrows(names: Sequence[str], n: Notation) -> str:
    return "<mo>→</mo>".join(n.symbol(Label(name, None)) for name in names)


def _table(report: Verification) -> list[list[str]]:
    """Return the largest error of each block in each regime, and what is allowed."""
    regimes = list(dict.fromkeys(row.regime for row in report.rows))
    table = [["block", *regimes, "allowed"]]
    for block in dict.fromkeys(row.name for row in report.rows):
        rows = [row for row in report.rows if row.name == block]
        errors = [[row.error for row in rows if row.regime == regime and not row.note] for regime in regimes]
        # x == x is False for nan alone.
        allowed = max((row.tolerance for row in rows if row.tolerance == row.tolerance), default=np.nan)
        table.append([block, *(f"{max(found):.0e}" if found else "–" for found in errors), f"{allowed:.0e}"])
    return table


def _verdict(report: Verification) -> str:
    wrong = f"; wrong: {', '.join(report.wrong)}" if report.wrong else ""
    worst = f"; worst {report.worst.block}: {report.worst.error:.1e}" if report.worst else ""
    proved = "" if report.proof else "; symbptt verify proves it over a field, too"
    return f"{report.verdict}: {len(report.rows)} comparisons of the module with the function as written{worst}{wrong}{proved}"


@dataclass(frozen=True)
class Run:
    """A short run: parameters, and inputs of its steps."""

    params: Mapping[str, Any]
    inputs: Mapping[str, Any]


def measured(cell: Cell, seed: int, still: Sequence[str] = ()) -> tuple[Run | None, list[tuple[str, str]]]:
    """Return a short run of a cell on random inputs, those named `still` the same at all steps, with `init`'s parameters, and the
    Lyapunov exponents and the decay of gradients on it; no run where it has no stable numbers."""
    names = dict.fromkeys(name for a in cell.arguments for name in names_in(a.shape))
    dims = dict.fromkeys(names, SIZE)
    where = f"{STEPS} steps of standard normal inputs, sizes {', '.join(f'{n} = {SIZE}' for n in names) or 'scalar'}, seed {seed}"
    try:
        inputs = random_inputs(cell.arguments, dims, (STEPS,), seed)
        inputs |= {name: np.repeat(inputs[name][:1], STEPS, 0) for name in still}
        run = Run(cell.init(dims, seed=seed), inputs)
        return run, [("run", where), *_numbers(cell, run)]
    except ArgumentError as error:  # a cell without stable numbers has equations and a module all the same
        return None, [("run", where), ("not measured", " ".join(str(error).split()))]


def _numbers(cell: Cell, run: Run) -> list[tuple[str, str]]:
    """Return the exponents and the decay of gradients on a run."""
    spectrum = lyapunov_spectrum(cell, run.params, run.inputs)
    flow = gradient_flow(cell, run.params, run.inputs)
    first, spread = float(spectrum.exponents[0]), float(spectrum.error[0])
    rows = [("largest exponent", f"λ₁ = {first:.3g} ± {spread:.2g} nats per step: {_in_words(first, spread)}")]
    rows += [("others", ", ".join(f"{x:.3g}" for x in spectrum.exponents[1:6]))] if len(spectrum.exponents) > 1 else []
    return [*rows, ("gradient of the last state", _decay(flow))]


def _in_words(exponent: float, error: float) -> str:
    if np.isneginf(exponent):
        return "nothing is passed on"
    if abs(exponent) <= error:
        return "neither grows nor shrinks within the error"
    # exp(λ) is the mean factor a step, and exp(λ) - 1 its relative change.
    return f"gradients {'grow' if exponent > 0 else 'shrink'} by {abs(np.expm1(exponent)):.0%} a step"


def _decay(flow: GradientFlow) -> str:
    norms = np.asarray(flow.norms, float)
    # Without a gradient at lag 0 there is nothing to be relative to.
    start = norms[0] if len(norms) and norms[0] > 0 else 1.0
    words = []
    for name, part in (("1/e", np.exp(-1)), ("1/1000", 1e-3)):
        under = np.flatnonzero(norms < part * start)
        words.append(f"to {name} at lag {under[0]}" if len(under) else f"never to {name} in this run")
    return f"falls {', '.join(words)}"
