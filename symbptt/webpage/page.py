"""The page as HTML, from what was found about a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from symbptt.files import write_text
from symbptt.webpage.font import font_face
from symbptt.webpage.links import Links, code_groups
from symbptt.webpage.style import SHEET, group_rules

MARK = "<!DOCTYPE html>\n<!-- written by symbptt -->"


@dataclass(frozen=True)
class Formula:
    """One line of mathematics, or several under each other: the names of what it is of, the whole in MathML and as text, and
    the names of what it reads, which say to what a line belongs that has a name for itself."""

    names: tuple[str, ...]
    mathml: str
    text: str
    read: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """A route of a Jacobian: its values in MathML, its derivative, and the norm of that on data, where it was measured."""

    values: str
    derivative: Formula
    norm: str


@dataclass(frozen=True)
class Block:
    """A block of a Jacobian, words about it, its routes where there are several, and what the lines of these read."""

    formula: Formula
    words: str
    routes: Sequence[Route] = ()
    shared: Sequence[Formula] = ()


@dataclass(frozen=True)
class Contents:
    """The contents of a page: titles with formulas, and the same as the module computes them; notes to these in HTML; names
    with symbol, role and shape; a drawing; texts by title, as they are printed; how often what was compared; the module;
    pairs that say how to repeat it; and what is said of the drawing, the Jacobian and the stability where they are of another cell."""

    name: str
    words: str
    symbols: Sequence[tuple[str, str, str, str]]
    sections: Sequence[tuple[str, Sequence[Formula]]]
    loop: Sequence[tuple[str, Sequence[Formula]]]
    notes: Sequence[str]
    links: Links
    drawing: str
    jacobian: Sequence[Block]
    plan: str
    verification: Sequence[Sequence[str]]
    passed: bool
    verdict: str
    stability: Sequence[tuple[str, str]]
    source: str
    repeat: Sequence[tuple[str, str]]
    parts: str = ""


def page_of(c: Contents) -> str:
    """Return the page as one HTML file that needs nothing else."""
    parts = f'<p class="dim">{escape(c.parts)}</p>' if c.parts else ""
    drawing = f'{parts}<figure class="scroll">{c.drawing}</figure>' if c.drawing else ""
    sections = [
        ("equations", "Equations", _equations(c)),
        ("graph", "One step and its adjoints", drawing),
        ("jacobian", "Jacobian of one step", parts + _jacobian(c) if c.jacobian else ""),
        ("plan", "Plan and memory", f'<pre class="plan">{escape(c.plan)}</pre>'),
        ("verification", "Verification", _verification(c)),
        ("stability", "Stability", parts + _pairs(c.stability)),
        ("code", "The generated module", _code(c)),
        ("repeat", "How to repeat", _pairs(c.repeat)),
    ]
    # Where all blocks are zero there is no Jacobian to show, and of rounds that nobody knows no drawing: empty sections are left out.
    sections = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{id}">{escape(title)}</a>' for id, title, _ in sections)
    body = "\n".join(
        f'<section id="{id}"><h2>{escape(title)}</h2>\n{inner}\n</section>' for id, title, inner in sections
    )
    return f"""{MARK}
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(c.name)}: backpropagation through time</title><link rel="icon" href="data:,">
<style>{font_face()}{SHEET}{group_rules(len(c.links.groups))}</style></head>
<body><header><h1>{escape(c.name)}</h1>{_paragraphs(c.words)}<nav>{links}</nav></header>
<main>
<section id="symbols"><h2>Symbols and shapes</h2>{_symbols(c)}</section>
{body}
</main><footer><p class="dim">Written by symbptt. ⊙ multiplies elementwise.</p></footer></body></html>
"""


def _paragraphs(words: str) -> str:
    return "".join(f"<p>{escape(' '.join(part.split()))}</p>" for part in words.split("\n\n") if part.strip())


def _symbols(c: Contents) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{symbol}</td><td>{escape(role)}</td><td>{escape(shape)}</td></tr>"
        for name, symbol, role, shape in c.symbols
    )
    return f'<div class="scroll"><table><tr><th>name</th><th>symbol</th><th>role</th><th>shape</th></tr>{rows}</table></div>'


def _classes(c: Contents, groups: Iterable[str]) -> str:
    return " ".join(f"k{c.links.groups.index(group)}" for group in groups)


def _formula(c: Contents, f: Formula) -> str:
    of, read = (dict.fromkeys(g for name in names for g in c.links.of_line(name)) for names in (f.names, f.read))
    groups = of or read
    classes = " ".join(filter(None, ["eq", _classes(c, groups)]))
    return f'<span class="{classes}" tabindex="0" title="{escape(f.text)}">{f.mathml}</span>'


def _equations(c: Contents) -> str:
    """Return the equations as a textbook has them, and folded those that the module computes line by line."""
    return (
        '<p class="dim screen">Point at a line, or move to it with the tab key: what belongs to it is marked, in the equations '
        "and in the module below.</p>"
        + _columns(c, c.sections)
        + "".join(f'<p class="dim">{note}.</p>' for note in c.notes)
        + f"<details><summary>Line by line, as the module computes them</summary>{_columns(c, c.loop)}</details>"
    )


def _columns(c: Contents, sections: Sequence[tuple[str, Sequence[Formula]]]) -> str:
    """Return the forward pass on the left, the backward pass on the right."""
    (first, forward), *others = (_section(c, title, lines) for title, lines in sections)
    return f'<div class="columns"><div>{first}{forward}</div><div>{"".join(a + b for a, b in others)}</div></div>'


def _section(c: Contents, title: str, lines: Sequence[Formula]) -> tuple[str, str]:
    return f"<h3>{escape(title)}</h3>", "".join(_formula(c, f) for f in lines)


def _jacobian(c: Contents) -> str:
    return "".join(f'{_plain(b.formula)}<p class="dim">{escape(b.words)}</p>{_routes(b)}' for b in c.jacobian)


def _plain(f: Formula) -> str:
    return f'<span class="eq" title="{escape(f.text)}">{f.mathml}</span>'


def _routes(b: Block) -> str:
    """Return the routes of a block as a table, each with its derivative and norm."""
    if not b.routes:
        return ""
    measured = any(route.norm for route in b.routes)
    head = "<th>route</th><th>derivative along it</th>" + "<th>mean norm</th>" * measured
    rows = "".join(
        f'<tr><td>{r.values}</td><td title="{escape(r.derivative.text)}">{r.derivative.mathml}</td>'
        + (f"<td class=n>{escape(r.norm)}</td>" if measured else "") + "</tr>"
        for r in b.routes
    )  # fmt: skip
    table = f'<div class="scroll"><table class="routes"><tr>{head}</tr>{rows}</table></div>'
    return table + "".join(map(_plain, b.shared))


def _verification(c: Contents) -> str:
    mark = "ok" if c.passed else "bad"
    head, *rows = c.verification
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i else ''}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<p class="{mark}">{escape(c.verdict)}</p><div class="scroll"><table><tr>{cells}</tr>{body}</table></div>'


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in pairs)
    return f'<div class="scroll"><table class="pairs">{rows}</table></div>'


def _code(c: Contents) -> str:
    lines = c.source.splitlines()
    rows = []
    for line, groups in zip(lines, code_groups(c.source, c.links), strict=True):
        classes = f' class="{_classes(c, groups)}"' if groups else ""
        rows.append(f"<i{classes}>{escape(line, quote=False)}</i>")
    # A scrollable region must be reachable by keyboard, hence the tabindex.
    return f'<pre class="code" tabindex="0">{"".join(rows)}</pre>'


def write_page(contents: Contents, path: Path) -> None:
    """Write the page.

    Raises: TargetError where the file cannot be written.
    """
    write_text(path, page_of(contents))
