"""A reader of MathML pages: it turns the elements of each line into the plain notation that `tests/page.py` evaluates.

It knows the elements of presentation MathML and nothing of what wrote them: an element, an operator or a number of children
that it does not know is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

from tests.latex_page import Names, Stem, lower, timed

SPACE = "{http://www.w3.org/1998/Math/MathML}"
SIGNS = {"⊙": "⊙", "+": "+", "−": "-", "=": "=", "+=": "+=", "<": "<", ">": ">", "≥": "≥", "≤": "≤", "≠": "≠", "·": "·", "∧": "∧", "∨": "∨",
         "∗": "∗", "⋆": "⋆", "×": "×", "/": "/", ",": ",", ":": ":", ";": ";", "∈": "∈"}  # fmt: skip
CLOSED = {"(": ")", "[": "]", "|": "|", "⌊": "⌋", "⟨": "⟩", "‖": "‖"}
ACCENTS = {"^": "\u0302", "~": "\u0303", "¯": "\u0304", "˙": "\u0307", "¨": "\u0308", "´": "\u0301", "`": "\u0300", "ˇ": "\u030c",
           "˘": "\u0306", "˚": "\u030a"}  # fmt: skip
TIMES = ("t", "t-1", "t+1", "T", "T+1")
APPLY, INVISIBLE = "\u2061", "\u2062"


Families = dict[str, list[ElementTree.Element]]
"""Letters that stand for others, each with the elements of what it stands for."""


def kind(e: ElementTree.Element) -> str:
    return e.tag.removeprefix(SPACE)


def is_mo(e: ElementTree.Element, text: str) -> bool:
    return kind(e) == "mo" and (e.text or "").strip() == text


class Reader:
    def __init__(self, names: Names, families: Families | None = None) -> None:
        self.names, self.families = names, families or {}
        self.out: list[str] = []
        self.after_atom = False

    def atom(self, text: str) -> None:
        """Write what stands alone; behind another, a bar begins an absolute value."""
        self.out.append(" " * self.after_atom + "· " * (self.after_atom and text.startswith("|")) + text)
        self.after_atom = True

    def sign(self, text: str) -> None:
        self.out.append(f" {text} ")
        self.after_atom = False

    def inner(self, *elements: ElementTree.Element) -> str:
        reader = Reader(self.names, self.families)
        reader.row(list(elements))
        return "".join(reader.out)

    def row(self, elements: list[ElementTree.Element]) -> None:
        at = 0
        while at < len(elements):
            at += self.item(elements, at)

    def item(self, elements: list[ElementTree.Element], at: int) -> int:
        """Read an element, and say how many it took."""
        e, rest = elements[at], elements[at + 1 :]
        if rest and is_mo(rest[0], APPLY):
            below = ""
            called = e
            if kind(e) in ("msup", "msubsup"):
                called, *_, prime = e
                assert self.raw(prime) == "′"
                below = "'" + (f"_{self.raw(e[1])}" if kind(e) == "msubsup" else "")
            if kind(e) == "msub":
                called, sub = e
                below = f"_{self.raw(sub)}" if kind(sub) == "mtext" else f"_{{{self.below(sub)}}}"
            self.out.append(" " * self.after_atom + (called.text or "") + below)
            self.after_atom = False
            self.bracket(list(rest[1]))
            return 3
        mark = (e.text or "").strip() if kind(e) == "mi" else ""
        is_mark = (mark == "d" and e.get("mathvariant") == "normal") or (mark == "δ" == self.names.mark and at == 0)
        if is_mark and rest and kind(rest[0]) in ("mi", "msub", "msubsup", "msup", "mover"):
            self.symbol(rest[0], self.names.mark)
            return 2
        match kind(e):
            case "mspace":
                pass
            case "mo":
                self.operator((e.text or "").strip())
            case "mn":
                self.atom((e.text or "").replace("−", "-"))
            case "mrow":
                self.bracket(list(e)) if self.is_bracket(list(e)) else self.row(list(e))
            case "mfrac":
                above, below = (list(part) if kind(part) == "mrow" else [part] for part in e)
                if is_mo(above[0], "∂"):
                    self.atom("dL/d" + self.inner(*below[1:]))
                else:
                    self.atom(f"(({self.inner(*above)}) / ({self.inner(*below)}))")
            case "msqrt":
                self.atom(f"sqrt({self.inner(*e)})")
            case "munder":
                total, sub = e
                below = self.below(sub)
                if below in self.families:
                    return self.over_family(below, rest)
                word = (total.text or "").strip().replace("∑", "Σ")
                self.atom(("Σ_t" if word == "Σ" and below == "t" else f"{word}_{{{below}}}") + " ")
                self.after_atom = False
            case "msub" if is_mo(e[0], "∇"):
                below = self.inner(*(list(e[1]) if kind(e[1]) == "mrow" else [e[1]]))
                self.atom(f"∇_{below} " if len(below) == 1 else f"∇_{{{below}}} ")
                self.after_atom = False
            case "msub" | "msup" | "msubsup" if kind(e[0]) == "mo" and self.raw(e[0]) in ("∗", "⋆"):
                number = f"_{self.raw(e[1])}" if kind(e) != "msup" else ""
                self.sign(self.raw(e[0]) + number + "ᵀ" * (kind(e) != "msub"))
            case "mi" | "msub" | "msup" | "msubsup" | "mover":
                self.symbol(e, "")
            case "mtext":
                note = (e.text or "").replace("\xa0", " ")
                self.out.append(f" {note.strip()} ")
            case _:
                raise ValueError(f"the element {kind(e)} is not known")
        return 1

    def over_family(self, letter: str, rest: list[ElementTree.Element]) -> int:
        """A sum over the members of a family, written out; say how many elements it took."""
        end = next(
            (i for i, e in enumerate(rest) if i and kind(e) == "mo" and self.raw(e) in ("+", "−", ",")), len(rest)
        )
        terms = [self.inner(*(of_member(e, letter, member) for e in rest[:end])) for member in self.families[letter]]
        self.atom(f"({' + '.join(terms)})")
        return 1 + end

    def operator(self, text: str) -> None:
        if text == INVISIBLE:
            return
        if text == "¬":
            self.atom("¬")
            self.after_atom = False
        elif text == "…":
            self.atom("…")
        elif text in SIGNS:
            self.sign(SIGNS[text])
        else:
            raise ValueError(f"the operator {text!r} is not known")

    def is_bracket(self, parts: list[ElementTree.Element]) -> bool:
        return bool(parts) and kind(parts[0]) == "mo" and (parts[0].text or "").strip() in (*CLOSED, "{")

    def bracket(self, parts: list[ElementTree.Element]) -> None:
        opening = (parts[0].text or "").strip()
        if opening == "{":
            self.atom(self.cases(parts[1]))
            return
        if not is_mo(parts[-1], CLOSED[opening]):
            raise ValueError(f"{opening} is not closed")
        tables = [part for part in parts[1:-1] if kind(part) == "mtable"]
        inside = (
            "; ".join(self.inner(*cell) for row in tables[0] for cell in row) if tables else self.inner(*parts[1:-1])
        )
        text = f"{opening}{inside}{CLOSED[opening]}"
        if opening == "[" and self.after_atom and re.fullmatch(r"\[[a-zA-Z0-9_ :,+·-]*\]", text):
            self.out.append(text)
        else:
            self.atom(text)

    def cases(self, table: ElementTree.Element) -> str:
        rows = [" ".join(self.inner(*cell) for cell in row) for row in table]
        return "{" + "; ".join(rows) + "}"

    def below(self, e: ElementTree.Element) -> str:
        text = re.sub(r"\s*([-+×<,])\s*", r"\1", self.inner(*(list(e) if kind(e) == "mrow" else [e]))).replace(
            " :", ":"
        )
        return text.replace(" ", "") if re.fullmatch(r"[a-z]( [a-z])*", text) else text

    def symbol(self, e: ElementTree.Element, mark: str) -> None:
        above = ""
        if kind(e) in ("msup", "msubsup"):
            *_, sup = e
            above = self.above(sup)
        base = e[0] if kind(e) in ("msub", "msup", "msubsup") else e
        sub = e[1] if kind(e) in ("msub", "msubsup") else None
        if kind(base) not in ("mi", "mover", "mn"):
            while kind(base) == "mrow" and len(base) == 1:
                base = base[0]
            inner = Reader(self.names, self.families)
            inner.row([base])
            text = "".join(inner.out)
            if sub is not None:
                below = self.below(sub)
                text += f"_{below}" if len(below) == 1 else f"_{{{below}}}"
            self.atom(text + above)
            return
        if (
            kind(base) == "mover" and kind(base[0]) == "mrow"
        ):  # a bar above what is written, not above the letter of a name
            self.atom(f"conj({self.inner(*base[0])}){above}")
            return
        if kind(base) == "mn":  # a vector of ones or zeros, or the power of a number
            below = "" if sub is None else self.below(sub)
            text = (base.text or "") + ("" if sub is None else f"_{below}" if len(below) == 1 else f"_{{{below}}}")
            self.atom(text + above)
            return
        stem, time = self.stem(base, sub, above == "'")
        bare = Stem(stem.letter)
        above = "" if above == "'" else above
        if stem.below and not time and stem not in self.names.known and bare in self.names.known:
            below = self.below(sub)
            text = mark + self.names.of(bare, bool(mark)) + lower(below)
            self.atom(text + above)
            return
        self.names.known.add(stem)
        self.names.timed |= {stem} if time else set()
        if stem in (Stem("π"), Stem("∞"), Stem("√π")) and stem not in self.names.given:
            self.atom(stem.letter + above)
            return
        self.atom(timed(mark + self.names.of(stem, bool(time) or bool(mark)), time) + above)

    def above(self, e: ElementTree.Element) -> str:
        text = self.raw(e)
        if text in ("⊤", "′", "H"):
            return {"⊤": "ᵀ", "′": "'", "H": "ᴴ"}[text]
        if text in ("−1", "−⊤"):
            return {"−1": "⁻¹", "−⊤": "⁻ᵀ"}[text]
        inner = self.inner(*(list(e) if kind(e) == "mrow" else [e]))
        return {"2": "²", "3": "³"}.get(inner, f"^{inner}" if inner.isdigit() else f"^({inner})")

    def raw(self, e: ElementTree.Element) -> str:
        return "".join(e.itertext()).strip()

    def letter(self, e: ElementTree.Element) -> str:
        if kind(e) == "mover":
            inside, accent = e
            return self.letter(inside) + ACCENTS[self.raw(accent)]
        font = e.get("style", "")
        return (e.text or "") + ("*" if "sans-serif" in font else "")

    def stem(self, base: ElementTree.Element, sub: ElementTree.Element | None, prime: bool) -> tuple[Stem, str]:
        parts: list[str] = [""]
        for part in [] if sub is None else list(sub) if kind(sub) == "mrow" else [sub]:
            if is_mo(part, ","):
                parts.append("")
            else:
                # A size that is written apart, as the number of a round, is L_ in text.
                parts[-1] += self.raw(part).replace("−", "-") + "_" * ("sans-serif" in part.get("style", ""))
        below = [part for part in parts if part]
        stem = Stem(self.letter(base), tuple(below), prime)
        shorter, carrier = (Stem(stem.letter, stem.below[:-n], prime) for n in (1, 2))
        at = below[-2] if len(below) > 1 and stem not in self.names.given else ""
        if at in TIMES[:4] or (
            at in ("0", "1") and carrier in self.names.rounded
        ):  # of a round of a loop inside the step
            self.names.rounded.add(carrier)
            return carrier, ",".join(below[-2:])
        is_state = shorter in self.names.given or shorter in self.names.timed
        if below and (below[-1] in TIMES or (below[-1] in "01" and stem not in self.names.given and is_state)):
            return shorter, below[-1]
        return stem, ""


def names_of(symbols: Mapping[str, str], mark: str) -> Names:
    """The names of the user, by how the page writes them."""
    found: dict[Stem, str] = {}
    for name, text in symbols.items():
        e = ElementTree.fromstring(f"<math>{text}</math>")[0]
        subs = e[1] if kind(e) in ("msub", "msubsup") else None
        base = e[0] if kind(e) in ("msub", "msubsup", "msup") else e
        reader = Reader(Names({}))
        stem, _ = reader.stem(base, subs, kind(e) in ("msup", "msubsup"))
        if stem in found:
            raise ValueError(f"{name} and {found[stem]} are written alike")
        found[stem] = name
    return Names(found, mark)


def families_of(elements: list[ElementTree.Element]) -> Families:
    """The families whose members stand in a cell: k ∈ {i, f}."""
    found: Families = {}
    for before, sign, members in zip(elements, elements[1:], elements[2:], strict=False):
        if is_mo(sign, "∈"):
            found["".join(before.itertext())] = [e for e in members if kind(e) != "mo"]
    return found


def of_member(e: ElementTree.Element, letter: str, member: ElementTree.Element) -> ElementTree.Element:
    """An element of one member of a family: the letter stands below others."""
    new = ElementTree.Element(e.tag, e.attrib)
    new.text = e.text
    for i, child in enumerate(e):
        is_below = (kind(e) in ("msub", "msubsup") and i == 1) or (kind(e) == "mover" and i == 0)
        new.append(below_of_member(child, letter, member) if is_below else of_member(child, letter, member))
    return new


def below_of_member(e: ElementTree.Element, letter: str, member: ElementTree.Element) -> ElementTree.Element:
    if kind(e) == "mi" and (e.text or "") == letter:
        return member
    new = ElementTree.Element(e.tag, e.attrib)
    new.text = e.text
    for child in e:
        new.append(below_of_member(child, letter, member))
    return new


def rows_of(page: str) -> list[list[ElementTree.Element]]:
    (table,) = ElementTree.fromstring(page)
    return [list(row) for row in table]


def is_title(cells: list[ElementTree.Element]) -> bool:
    return len(cells) == 1 and "padding-top" in cells[0].get("style", "")


def constants_of(page: str) -> dict[str, Any]:
    """The arrays that the notes show, by how their letters are written."""
    found = {}
    for cells in rows_of(page):
        parts = list(cells[0][0]) if len(cells) == 1 and not is_title(cells) else []
        if len(parts) < 3 or kind(parts[1]) != "mtext" or (parts[1].text or "").strip(" \xa0") != "=":
            continue
        if {"∗", "⋆"} & {*"".join(parts[0].itertext())}:
            continue  # what a sign says, which is no constant
        words = "".join(x for part in parts[3:] for x in part.itertext()).replace("\xa0", " ")
        rows = [[number(x) for x in row] for row in numbers_of(parts[2])]
        value = np.array(rows if len(rows[0]) > 1 else [x for (x,) in rows])
        shape = words.partition("shape (")[2].partition(")")[0]
        found[ElementTree.tostring(parts[0], encoding="unicode")] = (
            value.reshape([int(n) for n in shape.split(",")]) if shape else value
        )
    return found


def numbers_of(bracket: ElementTree.Element) -> list[list[list[ElementTree.Element]]]:
    """The rows of an array, each number with its elements."""
    tables = [e for e in bracket if kind(e) == "mtable"]
    rows = [list(cell) for row in tables[0] for cell in row] if tables else [list(bracket)[1:-1]]
    found = []
    for row in rows:
        numbers: list[list[ElementTree.Element]] = [[]]
        for e in row:
            numbers.append([]) if is_mo(e, ",") else numbers[-1].append(e)
        found.append(numbers)
    return found


def number(elements: list[ElementTree.Element]) -> float:
    """A number as MathML has it: a fraction, some times π, or with a power of ten."""
    value = 1.0
    for e in elements:
        text = (e.text or "").strip().replace("−", "-")
        match kind(e):
            case "mn" | "mi":
                value *= np.pi if text == "π" else float(text)
            case "mo":
                value *= -1.0 if text == "-" else 1.0
            case "mfrac":
                value *= number([e[0]]) / number([e[1]])
            case "msup":
                value *= number([e[0]]) ** number([e[1]])
            case "mrow":
                value *= number(list(e))
            case _:
                raise ValueError(f"{kind(e)} in a number")
    return value


def sections_of(page: str, names: Names) -> dict[str, list[str]]:
    """The lines of a page by their headings, as plain text; of a family, that of each member."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    rows, families = rows_of(page), Families()
    for cells in rows[::-1]:
        families |= families_of(list(cells[-1] if len(cells) > 1 else cells[0][0]))
    for cells in rows:
        if is_title(cells):
            title = " ".join(
                "".join(cells[0].itertext()).replace("\xa0", " ").replace(",", ", ").replace("=", " = ").split()
            )
            lines = found.setdefault(title.replace(" ,", ","), [])
        elif len(cells) == 3 and not len(cells[0]):  # a row without a left side goes on with the line before
            lines[-1] += joined(cells, names, families)
        elif len(cells) == 3:
            lines += lines_of(cells, names, families)
    return {title: [tidy(x) for x in texts] for title, texts in found.items()}


def lines_of(cells: list[ElementTree.Element], names: Names, families: Families) -> list[str]:
    own = families_of(list(cells[2]))
    families = families | own
    if not own:
        return [joined(cells, names, families)]
    ((letter, members),) = own.items()
    at = next(i for i, e in enumerate(cells[2]) if is_mo(e, "∈")) - 3
    right = ElementTree.Element(cells[2].tag)
    right.extend(list(cells[2])[:at])
    return [
        joined([of_member(e, letter, member) for e in (cells[0], cells[1], right)], names, families)
        for member in members
    ]


def joined(cells: list[ElementTree.Element], names: Names, families: Families) -> str:
    left, relation, right = (line(cell, names, families) for cell in cells)
    return f"{left} {relation.strip()} {right}".replace("  ", " ")


def line(cells: Iterable[ElementTree.Element], names: Names, families: Families) -> str:
    reader = Reader(names, families)
    reader.row(list(cells))
    return "".join(reader.out)


def tidy(text: str) -> str:
    text = re.sub(r" , +(\w) < ", r",  \1 < ", re.sub(r"\s+for (\w < [^,;]+?)\s*$", r" for \1", text))
    return text.replace(" , ", ", ")
