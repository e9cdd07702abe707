"""Lines and tables of what is derived from a page, written as the page is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from symbptt.equations.algebra.expressions import Array, Expr, Symbol
from symbptt.equations.algebra.traversal import every, mapped_where
from symbptt.equations.notation.pen import Pen
from symbptt.equations.notation.signs import columns, padded
from symbptt.equations.notation.writing import ranges
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.equations import Equations
from symbptt.equations.page.layout import noted
from symbptt.equations.page.lines import Note

MOST = 190
"""Characters of the first two columns of a table at the most."""


def by_name(e: Expr, page: Equations) -> Expr:
    """Return an expression with the constant arrays that the page shows in its legend by their names there."""
    if not any(every(e, Array)):
        return e
    known = {key: note[0] for key, note in _constants(page).items() if isinstance(note[0], Symbol)}
    return mapped_where(e, lambda x: known.get(_key(x), x), Array)


def lines_by_name(lines: Iterable[Definition], page: Equations) -> tuple[Definition, ...]:
    """Return lines with constant arrays by their names on the page."""
    return tuple(replace(line, right=by_name(line.right, page)) for line in lines)


def said_of_constants(lines: Iterable[Definition], page: Equations) -> Iterator[Note]:
    """Yield what the legend of the page says of the constant arrays that stand by name in some lines."""
    read = {x for line in lines for x in every(line.right, Symbol) if x.label.time is None}
    yield from (note for note in constants_of(page) if note[0] in read)


def constants_of(page: Equations) -> Iterator[Note]:
    """Yield what the legend of the page says of its constant arrays."""
    if any(node.family == "number" and node.shape for node in page.recursion.graph):
        yield from _constants(page).values()


def _constants(page: Equations) -> Mapping[object, Note]:
    """Return the notes of the page's legend that show constant arrays: `M = [1, 2; 3, 4]`."""
    found: dict[object, Note] = {}
    for note in page.page().legend:
        if len(note) > 2 and isinstance(note[0], Symbol) and isinstance(note[2], Array):
            found[note[2].values, note[2].rest, note[0].shape] = note
    return found


def _key(e: Expr) -> object:
    assert isinstance(e, Array)
    return e.values, e.rest, e.shape


def equation(line: Definition, pen: Pen) -> str:
    """Return a line in the notation of a pen."""
    note = pen.notation.when(line.note) if line.note else ""
    behind = pen.words(ranges(line.left, line.right, pen.notation) + note)
    return f"{pen.expression(line.left)} = {pen.expression(line.right)}{behind}"


def with_lines(first: str, rest: Sequence[str]) -> str:
    """Return a line and behind it those that explain what it reads."""
    return "\n".join([first, *(["with"] if rest else []), *(f"  {line}" for line in rest)])


_BEGIN, _NEXT, _END = "\\begin{aligned}\n  ", " \\\\\n  ", "\n\\end{aligned}"


def gathered(lines: Sequence[str]) -> str:
    """Return lines of LaTeX with their relations under each other, words beginning there; one alone is itself."""
    return lines[0] if len(lines) == 1 else _BEGIN + _NEXT.join(map(_marked, lines)) + _END


def _marked(line: str) -> str:
    """Return a row with the mark of what stands under each other."""
    left, relation, right = line.partition(" = ")
    # Of the derivative along a route, which has no left side, a sign inside of brackets is none of the row.
    is_equation = relation and not any(sign in left for sign in ("[", r"\text{"))
    return f"{left} &= {right}" if is_equation else f"&{line}"


def ungathered(latex: str) -> list[str]:
    """Return the lines that `gathered` has put under each other."""
    if not latex.startswith(_BEGIN):
        return [latex]
    # Marks of a matrix stand behind that of the row.
    rows = latex.removeprefix(_BEGIN).removesuffix(_END).split(_NEXT)
    return [row.replace("&", "", 1) for row in rows]


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


def _in_lines(row: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return a row of a table, or two where it is long: what is to be said in the second column, under the first."""
    first, second, *rest = row
    if columns(first) + columns(second) <= MOST:
        return [row]
    return [(first, "", *rest), (f"  {second}", "", *("" for _ in rest))]


def table(head: str, rows: Sequence[tuple[str, ...]], last: str, shared: Sequence[str]) -> str:
    """Return rows of text in columns under a head, the name of the last column at its end; lines that explain them below. Of a row
    that would be longer than MOST characters the second column stands in a line of its own."""
    rows = [part for row in rows for part in _in_lines(row)]
    # `columns` instead of len: combining accents take no column.
    # A second column on a line of its own may be wider than the first of all others.
    widths = [max([columns(row[i]) for row in rows if any(row[1:])], default=0) for i in range(len(rows[0]))]
    body = ["  " + "  ".join(padded(cell, w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    top = f"{padded(head, 2 + sum(widths[:-1]) + 2 * (len(widths) - 1))}{last}".rstrip()
    return "\n".join([top, *body, *(["with"] if shared else []), *(f"  {line}" for line in shared)])
