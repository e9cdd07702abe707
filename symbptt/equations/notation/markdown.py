"""Text of others, as docstrings, file names and headers of columns, in Markdown and the HTML that comes of it."""

from __future__ import annotations

MARKS = "\\`*_[]|$~"
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
BEGINNINGS = "#-+="


def plain(text: str) -> str:
    """Return text that Markdown shows as it is: no tags, links, tables, headings, lists or formulas come of it."""
    return "\n".join(map(_line, text.splitlines()))


def _line(line: str) -> str:
    escaped = "".join(ENTITIES.get(letter, f"\\{letter}" if letter in MARKS else letter) for letter in line.strip())
    # These letters begin a heading, a list or a rule only at the start of a line.
    return f"\\{escaped}" if escaped[:1] and escaped[0] in BEGINNINGS else escaped
