"""What generated C calls: the paragraphs of sbrt.h, of which a source has a copy of those that it needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SIGNS = {"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="}
LOGIC = {"logical_and": "&&", "logical_or": "||"}
WRITTEN = {*SIGNS, *LOGIC, "logical_not", "where", "stop_gradient"}
"""Functions that are signs of C, or nothing."""
ALWAYS = "real"
"""What every source has, beside the lines that include the headers of C."""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of sbrt.h: its text, the names that it defines, and all words of its code."""

    text: str
    names: frozenset[str]
    words: frozenset[str]


def header_text() -> str:
    """Return sbrt.h as it stands."""
    return files(__package__).joinpath("sbrt.h").read_text(encoding="utf-8")


def driver_text() -> str:
    """Return what the driver of kernels in C calls beside the functions of cells, behind all of sbrt.h: a compiler that takes it takes
    the text of any cell."""
    return header_text() + files(__package__).joinpath("finite.c").read_text(encoding="utf-8")


@cache
def paragraphs() -> tuple[Paragraph, ...]:
    """Return the paragraphs of sbrt.h, without the comment at its head and the guard against a second inclusion."""
    _, *parts, _ = header_text().split("\n\n")
    return tuple(_paragraph(part.strip("\n")) for part in parts)


def _paragraph(text: str) -> Paragraph:
    code = [line.split("//")[0] for line in text.splitlines()]
    names = {name for line in code if (name := _defined(line))}
    return Paragraph(text, frozenset(names), frozenset(word for line in code for word in _words(line)))


def _defined(line: str) -> str:
    """Return the name that a line defines, or nothing."""
    if line.startswith("#define "):
        return _words(line)[1]
    if line.startswith("typedef "):
        return _words(line.split("__attribute__")[0])[-1]
    return _words(line.split("(")[0])[-1] if line.startswith("static ") else ""


def _words(code: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in code).split()


@cache
def defined() -> Mapping[str, Paragraph]:
    """Return the paragraph that defines each name."""
    return {name: paragraph for paragraph in paragraphs() for name in paragraph.names}


def macros() -> frozenset[str]:
    """Return the names that are macros: no field of a struct may have one of them."""
    return frozenset(
        name
        for paragraph in paragraphs()
        for line in paragraph.text.splitlines()
        if line.startswith("#define ") and (name := _defined(line))
    )


def is_known(name: str) -> bool:
    """Answer whether C has a function of the table of ops."""
    return name in WRITTEN or macro(name) in defined()


def macro(name: str) -> str:
    """Return the name under which generated C calls a function."""
    return name.upper()


def definitions(names: Collection[str]) -> list[str]:
    """Return the lines of the paragraphs that define names, with all that these need, in the order of sbrt.h."""
    table, found, queue = defined(), set[Paragraph](), [ALWAYS, *sorted(names)]
    while queue:
        paragraph = table[queue.pop()]
        if paragraph not in found:
            found.add(paragraph)
            queue += sorted(word for word in paragraph.words if word in table)
    lines: list[str] = []
    for paragraph in paragraphs():
        if paragraph in found or not paragraph.names:
            text = paragraph.text.splitlines()
            lines += [*([""] if lines and not (len(text) == 1 and lines[-1].startswith("#define")) else []), *text]
    return lines
