"""The equations of a cell or a model as whole files: Markdown, LaTeX, MathML, HTML."""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np

from symbptt.derivations.derivation import Derivation
from symbptt.equations.notation.markdown import plain
from symbptt.equations.notation.mathml import mathml_of
from symbptt.equations.notation.names import LATEX_LETTERS, MARKS, latex_of_spelling, letters_of, spelling
from symbptt.equations.notation.names import in_ascii as name_in_ascii
from symbptt.equations.page.layout import (
    WIDTHS,
    aligned,
    document,
    heading_of_mathml,
    mathml_of_lines,
    notes_in_html,
    notes_in_latex,
    steps_of,
)
from symbptt.equations.page.legend import beside_a_table
from symbptt.errors import ArgumentError, three_lines
from symbptt.ir.shape import show
from symbptt.version import VERSION

NOTATION = r"""$\odot$ multiplies elementwise. $\mathrm{d}v_{t}$ is the adjoint of $v_{t}$: the derivative of the loss by it
through all that follows. $\partial L / \partial v_{t}$ is what the loss itself gives. $a_{f}$ is the argument of the function
that leads to $f$; more on the way to $f$ are numbered in the order of computation, $a_{f,1}$."""


def page_as(d: Derivation, path: Path) -> str:
    """Return the whole file of equations that the ending of a path asks for.

    Raises: ArgumentError for an ending that no page has.
    """
    check_ending(path)
    return _PAGES[path.suffix.lower()](d)


def check_ending(path: Path) -> None:
    """Refuse an ending that no page has.

    Raises: ArgumentError with the endings that pages have.
    """
    if path.suffix.lower() not in _PAGES:
        raise ArgumentError(
            three_lines(f"no page of equations can be written as {path.name!r}", cure=f"endings: {', '.join(_PAGES)}")
        )


def equations_markdown(d: Derivation) -> str:
    """Return the equations as Markdown with LaTeX."""
    parts = [f"# {_title(d)}", f"Derived by symbptt {VERSION}.", plain(_words(d)), "## Symbols", _symbols(d)]
    page = beside_a_table(d.page())
    for section in (section for section in page.sections if section.lines):
        title, steps, more = steps_of(section.title)
        shown = (f"{title}, ${steps}$" if steps else title) + (f"; {more}" if more else "")
        parts += [f"## {shown}", aligned(section.lines, d.in_latex, WIDTHS["double"])]
    notes = "\n".join(f"* {note}" for note in notes_in_latex(page, d.in_latex))
    return "\n\n".join(part for part in [*parts, "## Legend", notes, NOTATION] if part) + "\n"


def latex_document(d: Derivation) -> str:
    """Return the equations as a document that LaTeX sets with amsmath alone."""
    rows = [
        rf"\texttt{{{_tex(name)}}} & ${symbol}$ & {_tex(role)} & {_tex(shape)} \\"
        for name, symbol, role, shape in _table(d)
    ]
    return "\n".join(
        [
            f"% written by symbptt {VERSION}",
            r"\documentclass[10pt]{article}",
            r"\usepackage{amsmath}",
            r"\begin{document}",
            rf"\section*{{{_tex(_title(d))}}}",
            r"\noindent\begin{tabular}{llll}",
            r"name & symbol & role & shape \\ \hline",
            *rows,
            r"\end{tabular}",
            "",
            r"\bigskip\noindent " + NOTATION,
            document(beside_a_table(d.page()), d.in_latex, numbered=False, wide=WIDTHS["double"]),
            r"\end{document}",
            "",
        ]
    )


def mathml_document(d: Derivation) -> str:
    """Return the equations as one element of MathML, an XML document."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!-- written by symbptt {VERSION} -->\n{d.mathml()}'


def html_page(d: Derivation) -> str:
    """Return the equations as an HTML page by itself, whose mathematics is MathML: no script, nothing from elsewhere."""
    n, page = mathml_of(d.names), beside_a_table(d.page())
    symbols = {named.name: n.symbol(named.label) for named in d.symbols}
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td><math>{symbols[name]}</math></td><td>{escape(role)}</td><td>{escape(shape)}</td></tr>\n"
        for name, _, role, shape in _table(d)
    )
    words = "".join(f"<p>{escape(part)}</p>\n" for part in _words(d).split("\n\n") if part.strip())
    sections = "".join(
        f'<h2>{heading_of_mathml(section.title)}</h2>\n<div class="page">{mathml_of_lines(section.lines, n)}</div>\n'
        for section in page.sections
        if section.lines
    )
    notes = "".join(f"<li>{note}</li>\n" for note in notes_in_html(page, n))
    sections += f"<h2>Legend</h2>\n<ul>\n{notes}</ul>\n"
    return _HTML.format(title=escape(_title(d)), version=VERSION, words=words, rows=rows, sections=sections)


_HTML = """<!doctype html>
<!-- written by symbptt {version} -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
.page {{ overflow-x: auto; }}
td, th {{ text-align: left; padding: 0 1rem 0 0; }}
h2 {{ font-size: 1.1rem; margin: 1.5rem 0 0.25rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>Derived by symbptt {version}.</p>
{words}<h2>Symbols</h2>
<div class="page"><table>
<tr><th>name</th><th>symbol</th><th>role</th><th>shape</th></tr>
{rows}</table></div>
{sections}</body>
</html>
"""


def _title(d: Derivation) -> str:
    return f"{d.target.name}: equations"


def _words(d: Derivation) -> str:
    return inspect.getdoc(d.cell.function) or ""


def _table(d: Derivation) -> list[tuple[str, str, str, str]]:
    """Return the names of the user, how they are written, what they are, and their shapes."""
    symbols = {named.name: named.latex for named in d.symbols}
    found = []
    for a in d.target.arguments:
        given = "" if a.default is None else f", {a.default}" if np.ndim(a.default) == 0 else ", given"
        found.append((a.name, symbols[a.name], f"{a.role}{given}", show(a.shape) if a.shape else "scalar"))
    return found


def _symbols(d: Derivation) -> str:
    lines = ["| name | symbol | role | shape |", "|---|---|---|---|"]
    lines += [f"| `{name}` | ${symbol}$ | {role} | {shape} |" for name, symbol, role, shape in _table(d)]
    return "\n".join(lines)


_SPECIAL = {"\\": r"\textbackslash{}", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "^": r"\^{}",
            "~": r"\~{}"}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u0308": '"', "\u030a": "r",
    "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c", "\u0331": "b",
}  # fmt: skip
"""The accents that LaTeX sets in any font, by the combining marks of Unicode."""
_LETTERS = {"ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ł": r"\l{}",
            "Ł": r"\L{}", "ı": r"\i{}", "×": r"$\times$"}  # fmt: skip


def _tex(text: str) -> str:
    """Return text of others in a document of LaTeX that any font can set: Latin letters with their accents, Greek ones as mathematics
    has them, others by their names."""
    return "".join(map(_tex_letter, letters_of(unicodedata.normalize("NFD", text))))


def _tex_letter(letter: str) -> str:
    first, marks = letter[0], letter[1:]
    if first in LATEX_LETTERS and set(marks) <= set(MARKS):
        return f"${latex_of_spelling(spelling(letter))[0]}$"
    known = {x: x for x in (first,) if x.isascii()} | _SPECIAL | _LETTERS
    if first not in known or not set(marks) <= set(_ACCENTS):
        return _tex(name_in_ascii(letter))
    shown = known[first]
    for mark in marks:
        shown = rf"\{_ACCENTS[mark]}{{{shown}}}"
    return shown


_PAGES: dict[str, Callable[[Derivation], str]] = {
    ".tex": latex_document,
    ".md": equations_markdown,
    ".html": html_page,
    ".mathml": mathml_document,
}
