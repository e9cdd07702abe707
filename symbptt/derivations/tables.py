"""Lines and tables of a page in text."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.equations.notation.signs import TEXT, Notation
from symbptt.equations.notation.writing import ranges, write
from symbptt.equations.page.chains import Definition


def equation(line: Definition, notation: Notation) -> str:
    """Return a line in a notation."""
    return f"{write(line.left, notation)} = {write(line.right, notation)}{ranges(line.left, line.right, notation)}"


def with_lines(first: str, rest: Sequence[str]) -> str:
    """Return a line and behind it those that explain what it reads."""
    return "\n".join([first, *(["with"] if rest else []), *(f"  {line}" for line in rest)])


def gathered(lines: Sequence[str]) -> str:
    """Return lines of LaTeX under each other; one alone is itself."""
    return lines[0] if len(lines) == 1 else "\\begin{gathered}\n  " + " \\\\\n  ".join(lines) + "\n\\end{gathered}"


def text_lines(lines: Sequence[Definition]) -> str:
    """Return a line with those that it needs as text."""
    first, *rest = [equation(line, TEXT) for line in lines]
    return with_lines(first, rest)


def table(head: str, rows: Sequence[tuple[str, ...]], last: str, shared: Sequence[str]) -> str:
    """Return rows of text in columns under a head, the name of the last column at its end; lines that explain them below."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    body = ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    top = f"{head:<{2 + sum(widths[:-1]) + 2 * (len(widths) - 1)}}{last}".rstrip()
    return "\n".join([top, *body, *(["with"] if shared else []), *(f"  {line}" for line in shared)])
