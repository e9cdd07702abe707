"""Lines and tables of what is derived from a page, written as the page is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from symbptt.equations.notation.pen import Pen
from symbptt.equations.notation.signs import columns, padded
from symbptt.equations.notation.writing import ranges
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.layout import noted
from symbptt.equations.page.lines import Note


def equation(line: Definition, pen: Pen) -> str:
    """Return a line in the notation of a pen."""
    behind = pen.words(ranges(line.left, line.right, pen.notation))
    return f"{pen.expression(line.left)} = {pen.expression(line.right)}{behind}"


def with_lines(first: str, rest: Sequence[str]) -> str:
    """Return a line and behind it those that explain what it reads."""
    return "\n".join([first, *(["with"] if rest else []), *(f"  {line}" for line in rest)])


def gathered(lines: Sequence[str]) -> str:
    """Return lines of LaTeX under each other; one alone is itself."""
    return lines[0] if len(lines) == 1 else "\\begin{gathered}\n  " + " \\\\\n  ".join(lines) + "\n\\end{gathered}"


def said(notes: Iterable[Note], pen: Pen) -> list[str]:
    """Return lines of words and formulas as text."""
    return [pen.words(noted(note, pen.notation)) for note in notes]


def said_in_latex(notes: Iterable[Note], pen: Pen) -> list[str]:
    """Return lines of words and formulas as rows of LaTeX."""
    return [rf"\text{{{noted(note, pen.notation, '${}$'.format, _words)}}}" for note in notes]


def _words(text: str) -> str:
    return text.replace("…", r"$\ldots$").replace("_", r"\_")


def text_lines(lines: Sequence[Definition], pen: Pen) -> str:
    """Return a line with those that it needs as text."""
    first, *rest = [equation(line, pen) for line in lines]
    return with_lines(first, rest)


def table(head: str, rows: Sequence[tuple[str, ...]], last: str, shared: Sequence[str]) -> str:
    """Return rows of text in columns under a head, the name of the last column at its end; lines that explain them below."""
    # `columns` instead of len: combining accents take no column.
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]
    body = ["  " + "  ".join(padded(cell, w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    top = f"{padded(head, 2 + sum(widths[:-1]) + 2 * (len(widths) - 1))}{last}".rstrip()
    return "\n".join([top, *body, *(["with"] if shared else []), *(f"  {line}" for line in shared)])
