"""Rows of a page in LaTeX: lines that are too wide for a column are broken at their signs, from the outside inwards.

Example: dh = a + U (b + c) is too wide. `pieces` breaks the outermost sum: "dh = a" and "+ U (b + c)". Only if the second piece
alone is still wider than the column, its inner sum is broken too: "+ U (b" and "+ c)". `packed` then fills rows greedily.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby, pairwise, takewhile
from typing import Any

from symbptt.equations.algebra.expressions import (
    Blocks,
    Call,
    Diagonal,
    Entries,
    Expr,
    Inverse,
    Matmul,
    Over,
    OverFamily,
    Power,
    Slice,
    Sum,
    SumOver,
    Times,
    Total,
    Transposed,
)
from symbptt.equations.notation.measure import width
from symbptt.equations.notation.signs import Notation
from symbptt.equations.notation.writing import (
    ATOM,
    MATRIX,
    POWER,
    PRODUCT,
    SUM,
    UNLIKE_CALLS,
    at,
    beside,
    ranges,
    signed_factors,
    write,
    written,
)
from symbptt.equations.page.lines import Line, Note, Page, Section

WIDTHS = {"single": 252.0, "double": 345.0}
"""The columns of documents, in points: one of two columns, and an article's of 10 pt."""
NUMBER = 30.0
"""Points that the number of a line takes with its room."""
INDENT = r"\quad {}"
"""The beginning of a row that continues a line: its sign is spaced as between two terms."""
RELATIONS = {"=": "=", "+=": r"\mathrel{+}=", "is replaced by": r"\text{ is replaced by }"}
"""Relations in LaTeX."""
CONTINUED = 24.0
"""Points before the formula of a row that continues a line: its indent, and its sign with its room."""
_HERE = "\0"


@dataclass(frozen=True)
class Piece:
    """A part of a formula that stays in one row, the sign that joins it to the part before, and in how many expressions that
    sign stands: in a + f(b + c) the first plus in none, the second in one."""

    sign: str
    text: str
    depth: int = 0


@dataclass(frozen=True)
class Row:
    """One row of a display: left and right of the place where relations lie under each other; `first`: a line begins here."""

    left: str
    right: str
    first: bool = True


def document(page: Page, n: Notation, numbered: bool, wide: float) -> str:
    """Return a page as an `align` of amsmath, which may break over pages, its rows in a column `wide` points wide."""
    # Relations stand under each other, so that the widest left side takes room from every line.
    room = (wide - NUMBER if numbered else wide) - page_left(page, n)
    parts, name = [], "align" if numbered else "align*"
    for section in (section for section in page.sections if section.lines):
        shown = [_in_align(row, numbered) for row in section_rows(section, n, room)]
        parts.append(f"\\intertext{{{_in_text(section.title, wide)}}}\n" + " \\\\\n".join(shown))
    body = " \\\\\n".join(parts)
    display = f"\\allowdisplaybreaks\n\\begin{{{name}}}\n{body}\n\\end{{{name}}}\n"
    notes = "".join(f"\\par\\noindent {note}\n" for note in notes_in_latex(page, n))
    ragged = f"\\raggedright\n{notes}\\par\n" if notes else ""
    return f"\\begingroup\n{display}{ragged}\\endgroup"


def notes_in_latex(page: Page, n: Notation) -> list[str]:
    """Return what explains the lines of a page, as sentences of LaTeX with formulas in them."""
    # TeX breaks inline formulas at relations and signs, not at commas.
    breakable = replace(n, listed=r", \allowbreak ", join=lambda parts: n.join(parts).replace("; ", r"; \allowbreak "))
    return [noted(note, breakable, "${}$".format) for note in notes_of(page)]


def notes_in_html(page: Page, n: Notation) -> list[str]:
    """Return what explains the lines of a page, as sentences of HTML with formulas in them."""
    return [noted(note, n, "<math>{}</math>".format, escape) for note in notes_of(page)]


def notes_of(page: Page) -> list[Note]:
    """Return what explains the lines of a page: what is said in words, then its legend."""
    return [*((remark,) for remark in page.remarks), *page.legend]


def noted(note: Note, n: Notation, formula: Callable[[str], str] = str, words: Callable[[str], str] = str) -> str:
    """Return a line of words and formulas, each as it is to stand in the other."""
    parts = []
    for is_words, run in groupby(note, lambda part: isinstance(part, str)):
        if is_words:
            parts.append(words("".join(map(str, run))))
        else:
            parts += [formula(_shown(part, n)) for part in run]
    return "".join(parts)


def _shown(part: Any, n: Notation) -> str:
    """Return a formula of a note."""
    return str(part(n)) if callable(part) else write(part, n)


def page_left(page: Page, n: Notation) -> float:
    """Return the points that the left sides of a page take."""
    return widest_left([line for section in page.sections for line in section.lines], n)


def _in_align(row: Row, numbered: bool) -> str:
    return f"  {row.left}{' ' * bool(row.left)}&{row.right}" + (r" \notag" if numbered and not row.first else "")


def display(page: Page, n: Notation) -> str:
    """Return a page as one display of a notebook, relations under each other from the first section to the last, and behind
    it a list of what explains the lines: Markdown, and paragraphs of LaTeX too."""
    lines, room = [], WIDTHS["double"] - page_left(page, n)
    for section in (section for section in page.sections if section.lines):
        lines.append(rf"&\rlap{{{heading(section.title)}}}")
        lines += [f"&{row.left} &&{row.right}" for row in section_rows(section, n, room)]
    notes = "".join(f"\n\n- {note}" for note in notes_in_latex(page, n))
    return "$$\n\\begin{alignedat}{2}\n" + " \\\\\n".join(lines) + "\n\\end{alignedat}\n$$" + notes


def aligned(lines: Iterable[Line], n: Notation, wide: float) -> str:
    """Return lines as one display of Markdown."""
    section = Section("", tuple(lines))
    shown = [f"{row.left} &{row.right}" for row in section_rows(section, n, wide - widest_left(section.lines, n))]
    return "$$\n\\begin{aligned}\n" + " \\\\\n".join(shown) + "\n\\end{aligned}\n$$"


def steps_of(title: str) -> tuple[str, str, str]:
    """Return the words of a section's title, its steps in LaTeX, and the words behind them; each may be empty."""
    words, found, rest = title.partition(", t = ")
    steps, _, more = rest.partition("; ")
    return words, f"t = {steps.replace('…', chr(92) + 'ldots')}" if found else "", more


def heading(title: str) -> str:
    """Return the title of a section in LaTeX: words, and the steps as mathematics."""
    words, steps, more = steps_of(title)
    behind = rf"\text{{; {more}}}".replace("T + 1", r"} T + 1 \text{") if more else ""
    return rf"\text{{{words}, }} {steps}{behind}" if steps else rf"\text{{{_with_formulas(words)}}}"


def _with_formulas(title: str) -> str:
    """Return a title with the formulas among its words between dollar signs: loss, $s = 1, \\ldots, T$; $t = s$."""
    return "; ".join(" ".join(_formulas_of(part)) for part in title.split("; "))


def _formulas_of(words: str) -> Iterator[str]:
    for is_formula, run in groupby(words.split(" "), _is_formula):
        text = " ".join(run)
        inner = text.rstrip(",")
        # TeX breaks a formula in a text at relations and signs, not at commas.
        formula = inner.replace("…", r"\ldots").replace("max(", r"\max(").replace("min(", r"\min(")
        formula = formula.replace(", ", r", \allowbreak ")
        yield f"${formula}${text[len(inner) :]}" if is_formula else text


def _is_formula(word: str) -> bool:
    """Answer whether a word of a title is a part of a formula: a letter, a number, a sign, a function of these."""
    inner = word.rstrip(",").replace("max(", "").replace("min(", "").rstrip(")'")
    return len(inner) == 1 or inner.isdecimal()


def _in_text(title: str, wide: float) -> str:
    """Return the title of a section between the rows of an `align`; words that a column of `wide` points has no room for are no
    formula, in which TeX cannot break them."""
    shown = heading(title)
    return f"${shown}$" if steps_of(title)[1] or width(shown) <= wide else _with_formulas(title)


def widest_left(lines: Iterable[Line], n: Notation) -> float:
    """Return the points that left sides take, whose relations stand under each other."""
    return max((width(write(line.left, n)) for line in lines), default=0.0)


def section_rows(section: Section, n: Notation, room: float) -> list[Row]:
    """Return the lines of a section as rows whose right sides, with their relations, have so many points."""
    lefts = [write(line.left, n) for line in section.lines]
    found: list[Row] = []
    for line, left in zip(section.lines, lefts, strict=True):
        found += rows(line, left, behind(line, n), n, room)
    return found


def mathml_page(page: Page, n: Notation) -> str:
    """Return a page as one element of MathML, an XML document by itself."""
    body = ""
    for section in (section for section in page.sections if section.lines):
        title = f'<mtd columnspan="3" style="text-align: left; padding-top: 1em">{_mathml_title(section.title)}</mtd>'
        body += f"<mtr>{title}</mtr>\n{_mathml_rows(section.lines, n)}"
    words = "<mtext>{}</mtext>".format
    for note in notes_of(page):
        shown = noted(note, n, words=lambda text: words(escape(text.replace(" ", "\xa0"))))
        body += f'<mtr><mtd columnspan="3" style="text-align: left"><mrow>{shown}</mrow></mtd></mtr>\n'
    return _table_of_mathml(body)


def mathml_of_lines(lines: Iterable[Line], n: Notation) -> str:
    """Return lines as one element of MathML, relations under each other."""
    return _table_of_mathml(_mathml_rows(lines, n))


def line_in_mathml(line: Line, n: Notation) -> str:
    """Return one line as an element of MathML that stands by itself."""
    right = write(line.right, n) + behind(line, n)
    if line.above is not None:
        right = write(line.above, n) + _mathml_relation(line.relation) + right
    return f'<math displaystyle="true">{write(line.left, n)}{_mathml_relation(line.relation)}{right}</math>'


def heading_of_mathml(title: str) -> str:
    """Return the title of a section for HTML: words, and the steps as mathematics."""
    words, steps, more = steps_of(title)
    behind = f"; {escape(more)}" if more else ""
    return f"{escape(words)}, <math>{_mathml_steps(title)}</math>{behind}" if steps else escape(words)


def _table_of_mathml(rows: str) -> str:
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"><mtable displaystyle="true">\n{rows}</mtable></math>\n'


def _mathml_title(title: str) -> str:
    words, steps, more = steps_of(title)
    if not steps:
        return f"<mtext>{escape(words)}</mtext>"
    behind = f"<mtext>; {escape(more)}</mtext>" if more else ""
    return f"<mrow><mtext>{escape(words)},&#xa0;</mtext>{_mathml_steps(title)}{behind}</mrow>"


def _mathml_steps(title: str) -> str:
    """Return the steps of a title: t = 1, …, T."""
    kinds = {"…": "mo", "1": "mn"}
    steps = title.partition(", t = ")[2].partition("; ")[0].split(", ")
    shown = '<mo separator="true">,</mo>'.join(f"<{kinds.get(s, 'mi')}>{s}</{kinds.get(s, 'mi')}>" for s in steps)
    return f"<mi>t</mi><mo>=</mo>{shown}"


def _mathml_rows(lines: Iterable[Line], n: Notation) -> str:
    """Return rows of a table: left side, relation, right side."""
    found = ""
    for line in lines:
        left, right = write(line.left, n), write(line.right, n) + behind(line, n)
        if line.above is not None:
            found += _mathml_row(left, line.relation, write(line.above, n))
        found += _mathml_row(left if line.above is None else "", line.relation, right)
    return found


def _mathml_row(left: str, relation: str, right: str) -> str:
    cells = (("right", left), ("center", _mathml_relation(relation)), ("left", right))
    # Chromium moves the boxes of mathematics only by the second; what does not know it keeps the first.
    row = "".join(f'<mtd style="text-align: {side}; text-align: -webkit-{side}">{text}</mtd>' for side, text in cells)
    return f"<mtr>{row}</mtr>\n"


def _mathml_relation(relation: str) -> str:
    return f"<mo>{relation}</mo>" if "=" in relation else f"<mtext>&#xa0;{relation}&#xa0;</mtext>"


def behind(line: Line, n: Notation) -> str:
    """Return what stands behind the right side of a line: how far indices run, and where the line holds."""
    among = n.apart + n.among(line.family[0], ", ".join(line.family[1])) if line.family else ""
    note = n.when(line.note) if line.note else ""
    return ranges(line.left, line.right, n) + among + note


def rows(line: Line, left: str, behind: str, n: Notation, room: float) -> list[Row]:
    """Return a line as rows whose right sides take at most `room` points, where signs allow that; `behind` ends the last."""
    relation = RELATIONS[line.relation] + " "
    if line.above is not None:
        first = rows(line._replace(right=line.above, above=None), left, "", n, room)
        second = rows(line._replace(above=None), "", behind, n, room)
        return [*first, *(replace(row, first=False) for row in second)]
    texts = packed(pieces(line.right, n, room - CONTINUED), room - width(relation), room)
    if width(texts[-1] + behind) > room and behind:
        texts.append(behind.strip())
    else:
        texts[-1] += behind
    return [Row(left, relation + texts[0]), *(Row("", text, first=False) for text in texts[1:])]


def packed(parts: Sequence[Piece], first: float, rest: float) -> list[str]:
    """Return pieces in rows; what one row can hold is not broken inside, and a piece that is wider than its row stands alone."""
    found: list[str] = []
    row = ""
    for i, part in enumerate(parts):
        whole = _term(parts, i)
        # A term that no row can hold begins where there is room for its first part.
        kept = whole if width(INDENT + whole) <= rest else part.sign + part.text
        # The first row has the relation in front and less room than the others.
        if row and width(row + kept) > (rest if found else first):
            found.append(row)
            row = INDENT
        row += part.sign + part.text
    return [*found, row]


def _term(parts: Sequence[Piece], at: int) -> str:
    """Return a piece with those behind it up to the next sign that stands in no more expressions than its own."""
    inside = takewhile(lambda part: part.depth > parts[at].depth, parts[at + 1 :])
    return "".join(part.sign + part.text for part in (parts[at], *inside))


def pieces(e: Expr, n: Notation, room: float, least: int = SUM) -> list[Piece]:
    """Return an expression for a place that binds at least so tightly, in pieces where it is wider than `room`."""
    text = at(e, n, least)
    inner = _inside(e, n, room) if width(text) > room else []
    if not inner:
        return [Piece("", text)]
    level = PRODUCT if isinstance(e, Over) else written(e, n)[1]  # a fraction stands in one line then
    # \left and \right cannot span rows of an align, \bigl and \bigr can.
    return _between(r"\bigl(", inner, r"\bigr)") if level < least else inner


def _inside(e: Expr, n: Notation, room: float) -> list[Piece]:
    match e:
        case Sum():
            signs = [n.minus if sign < 0 else n.plus for sign, _ in e.terms]
            found = _joined(signs, (pieces(term, n, room, PRODUCT) for _, term in e.terms))
            return _between(n.negative, found, "") if e.terms[0][0] < 0 else found
        case Times():
            factors = signed_factors(e, n)
            parts = (pieces(factor, n, room, least) for _, factor, least in factors)
            return _joined([sign for sign, _, _ in factors], parts)
        case Matmul():
            texts = [at(factor, n, MATRIX) for factor in e.factors]
            signs = ["", *(beside(before, text, n) for before, text in pairwise(texts))]
            return _joined(signs, (pieces(factor, n, room, MATRIX) for factor in e.factors))
        case Total() | SumOver() | OverFamily():
            head = write(e, n).removesuffix(at(e.inner, n, PRODUCT))
            return _between(head, pieces(e.inner, n, room - width(head), PRODUCT), "")
        case Over():
            return _joined(["", " / "], (pieces(e.above, n, room, PRODUCT), pieces(e.below, n, room, POWER)))
        case Call(name="mat", args=(_, _, inner)):
            return _around(write(e, n).replace(write(inner, n), _HERE, 1), [inner], n, room)
        # A root, a fraction in brackets and indices stand in one row: their signs cannot span several.
        case Call() if e.name not in (*UNLIKE_CALLS, "conj", "imaginary"):
            return _around(n.call(e.name, [_HERE] * len(e.args)), e.args, n, room)
        case Diagonal():
            return _around(n.call("diag", [_HERE]), [e.inner], n, room)
        case Blocks():
            return _around((n.join if e.axis == 0 else n.beside)([_HERE] * len(e.blocks)), e.blocks, n, room)
        case Inverse():
            return _around(n.inverse(_HERE), [e.inner], n, room, ATOM)
        case Transposed() if isinstance(e.inner, Inverse):
            return _around(n.inverse_transpose(_HERE), [e.inner.inner], n, room, ATOM)
        case Transposed() if isinstance(e.inner, Call) and e.inner.name == "conj":
            return _around(n.adjoint(_HERE), [e.inner.args[0]], n, room, ATOM)
        case Transposed():
            return _around(n.transpose(_HERE), [e.inner], n, room, ATOM)
        case Power():
            return _around(n.power(_HERE, at(e.exponent, n, POWER)), [e.base], n, room, ATOM)
        case Slice():
            return _around(write(e, n).replace(at(e.inner, n, ATOM), _HERE, 1), [e.inner], n, room, ATOM)
        case Entries():
            return _around(write(e, n).replace(write(e.inner, n), _HERE, 1), [e.inner], n, room)
    return []


def _around(text: str, parts: Sequence[Expr], n: Notation, room: float, least: int = SUM) -> list[Piece]:
    """Return pieces of expressions with what stands around and between the places for them in a text. Brackets over several
    rows have one size; a comma or a semicolon ends its row, a relation begins one."""
    head, *between, tail = text.split(_HERE)
    found: list[Piece] = []
    for joint, part in zip(["", *between], parts, strict=True):
        first, *rest = pieces(part, n, room - width(head), least)
        is_end = joint[:1] in (",", ";")
        found = (
            [*_between("", found, joint.rstrip()), replace(first, sign=" ", depth=0)]
            if is_end
            else [*found, replace(first, sign=joint, depth=0)]
        )
        found += _deeper(rest)
    return _between(_of_one_size(head), found, _of_one_size(tail))


def _of_one_size(text: str) -> str:
    """Return a text with the bracket at its end that another row closes, or at its beginning that one opened, of one size: \\left
    and \\right cannot span rows of an align, \\bigl and \\bigr can. Pairs inside of the text stay as they are."""
    text = _without_lone_signs(text)
    head = text.rstrip()
    if head.endswith(("(", "[")):
        return rf"{head[:-1]}\bigl{head[-1]}"
    return rf"\bigr{text}" if text.startswith((")", "]")) else text


def _without_lone_signs(text: str) -> str:
    """Return a text without each \\left that has no \\right behind it, and each \\right that has no \\left before it."""
    before, *parts = re.split(r"(\\left|\\right)(?![a-zA-Z])", text)
    signs, rests = parts[::2], parts[1::2]
    opened, lone = list[int](), set(range(len(signs)))
    for i, sign in enumerate(signs):
        if sign == r"\left":
            opened.append(i)
        elif opened:
            lone -= {i, opened.pop()}
    shown = ("" if i in lone else sign for i, sign in enumerate(signs))
    return before + "".join(sign + rest for sign, rest in zip(shown, rests, strict=True))


def _joined(signs: Sequence[str], parts: Iterable[list[Piece]]) -> list[Piece]:
    """Return pieces of several expressions one after another, each with its sign before it, the first without."""
    found: list[Piece] = []
    for sign, (first, *rest) in zip(signs, parts, strict=True):
        found += [replace(first, sign=sign if found else "", depth=0), *_deeper(rest)]
    return found


def _deeper(parts: Sequence[Piece]) -> list[Piece]:
    """Return pieces of an expression as a part of another one."""
    return [replace(part, depth=part.depth + 1) for part in parts]


def _between(before: str, parts: list[Piece], behind: str) -> list[Piece]:
    first = replace(parts[0], text=before + parts[0].text)
    whole = [first, *parts[1:]]
    return [*whole[:-1], replace(whole[-1], text=whole[-1].text + behind)]
