"""The width of a LaTeX formula when it is set, in points at 10 pt, from the widths of Knuth's Computer Modern letters.

Source: D. E. Knuth, The TeXbook, 1984, chapters 17 and 18 for spaces and scripts; the letters are those of cmmi10, cmr10, cmsy10.
"""

from __future__ import annotations

from collections.abc import Iterator

from symbptt.equations.notation.names import MARKS

_ITALIC = {
    "a": 5.3, "b": 4.3, "c": 4.4, "d": 5.3, "e": 4.7, "f": 6.0, "g": 5.2, "h": 5.8, "i": 3.5, "j": 4.7, "k": 5.6, "l": 3.2,
    "m": 8.8, "n": 6.0, "o": 4.9, "p": 5.1, "q": 4.9, "r": 4.8, "s": 4.7, "t": 3.7, "u": 5.8, "v": 5.3, "w": 7.5, "x": 5.8,
    "y": 5.3, "z": 5.1, "A": 7.5, "B": 8.1, "C": 7.9, "D": 8.4, "E": 8.0, "F": 7.9, "G": 7.9, "H": 9.2, "I": 5.2, "J": 6.6,
    "K": 9.3, "L": 6.9, "M": 10.8, "N": 9.2, "O": 7.8, "P": 7.9, "Q": 8.0, "R": 7.7, "S": 6.8, "T": 7.3, "U": 8.0, "V": 8.1,
    "W": 11.0, "X": 9.1, "Y": 8.1, "Z": 7.6,
}  # fmt: skip
_UPRIGHT = {"m": 8.4, "w": 7.3, "i": 2.8, "l": 2.8, "j": 3.1, "f": 3.1, "r": 4.0, "s": 4.0, "t": 3.9, " ": 3.4}
_SIGNS = {"(": 3.9, ")": 3.9, "[": 2.8, "]": 2.8, "|": 2.8, ",": 4.5, ";": 4.5, ".": 2.8, ":": 2.8, "'": 2.8}
_BINARY = frozenset(["+", "-", r"\odot", r"\wedge", r"\vee", r"\times"])
_RELATIONS = frozenset(
    ["=", "<", ">", r"\le", r"\ge", r"\ne", r"\leq", r"\geq", r"\neq", r"\in", r"\to", r"\mapsto", r"\supseteq"]
)
_SPACES = {
    r"\,": 1.7, r"\:": 2.3, r"\;": 2.8, r"\quad": 10.0, r"\qquad": 20.0, r"\ ": 3.4, r"\cdot": 7.3, r"\ldots": 11.7, r"\top": 7.8,
    r"\partial": 5.9, r"\sum": 16.1, r"\prod": 11.2, r"\Vert": 5.0, r"\lfloor": 4.5,
    r"\rfloor": 4.5, r"\infty": 10.0, r"\neg": 6.7, r"\colon": 4.5, r"\bmod": 22.0, r"\\": 0.0, "&": 11.0, r"\mathrel": 5.6,
}  # fmt: skip
_FUNCTIONS = frozenset(
    [r"\exp", r"\log", r"\sin", r"\cos", r"\tan", r"\sinh", r"\cosh", r"\tanh", r"\arctan", r"\arcsin", r"\arccos", r"\max",
     r"\min"]
)  # fmt: skip
_ACCENTS = frozenset(MARKS.values())
_FONTS = frozenset([r"\mathrm", r"\mathsf", r"\text", r"\mathbf", r"\mathbb"])
_GROWING = {r"\left": 2.5, r"\right": 2.5, r"\bigl": 1.0, r"\bigr": 1.0, r"\langle": 3.9, r"\rangle": 3.9}
SCRIPT = 0.72
GREEK = 6.3


def width(latex: str) -> float:
    """Return the width of a formula in points; it is at least what TeX makes it, and at most a tenth more.

    Source: the tables of this module.
    """
    # The widths are rounded, kerning is left out: the factor keeps the estimate on the safe side.
    return 1.04 * _row(iter(_tokens(latex)), 1.0)


def _tokens(latex: str) -> Iterator[str]:
    at = 0
    while at < len(latex):
        end = at + 1
        if latex[at] == "\\":
            end += 1
            while latex[at + 1 : end].isalpha() and end < len(latex) and latex[end].isalpha():
                end += 1
        if not latex[at].isspace():
            yield latex[at:end]
        at = end


def _row(tokens: Iterator[str], scale: float, closing: str = "") -> float:
    """Return the width of what comes until a closing token; of rows that lie under each other, that of the widest."""
    total = widest = script = 0.0
    for token in tokens:
        if token == closing:
            break
        if token in ("_", "^"):  # what is below a letter and what is above it take the same room
            own = _argument(tokens, scale * SCRIPT) + 0.5
            # Sub- and superscript stand above each other: only what the second has beyond the first adds to the width.
            total += max(0.0, own - script)
            script = max(script, own)
            continue
        script = 0.0
        if token == r"\\":
            total, widest = 0.0, max(widest, total)
        else:
            total += _item(token, tokens, scale)
    return max(total, widest)


def _item(token: str, tokens: Iterator[str], scale: float) -> float:
    if token == "{":
        return _row(tokens, scale, "}")
    # A fraction is as wide as its wider side.
    if token == r"\frac":
        return max(_argument(tokens, scale), _argument(tokens, scale)) + 2.4
    if token == r"\sqrt":
        return _argument(tokens, scale) + 10.0 * scale
    if token in _FONTS:
        return scale * sum(_UPRIGHT.get(letter, 7.4 if letter.isupper() else 5.5) for letter in _word(tokens))
    if token in (r"\begin", r"\end"):
        _word(tokens)
        return 10.0
    if token in _FUNCTIONS:
        return scale * (sum(_UPRIGHT.get(letter, 5.2) for letter in token[1:]) + 1.7)
    if token in _BINARY:
        return (12.3 if scale == 1.0 else 7.8) * scale
    if token in _RELATIONS:
        return (13.4 if scale == 1.0 else 7.8) * scale
    known = _ITALIC.get(token) or _SIGNS.get(token) or _SPACES.get(token) or _GROWING.get(token)
    if known is not None:
        return known * scale
    return scale * (5.0 if token.isdigit() else GREEK if token.startswith("\\") else 5.5)


def _argument(tokens: Iterator[str], scale: float) -> float:
    token = next(tokens, "")
    return _row(tokens, scale, "}") if token == "{" else _item(token, tokens, scale)


def _word(tokens: Iterator[str]) -> str:
    """Return the letters between braces."""
    depth, text = 0, ""
    for token in tokens:
        depth += (token == "{") - (token == "}")
        if not depth:
            break
        text += "" if token[1:] in _ACCENTS else token.removeprefix("{").removeprefix("\\")
    return text
