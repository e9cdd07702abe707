"""Names in LaTeX as runs of letters, which any font can set: what is slanted, what is raised or lowered."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

ACCENTS = {
    "hat": "\u0302", "widehat": "\u0302", "tilde": "\u0303", "widetilde": "\u0303", "bar": "\u0304",
    "overline": "\u0304", "dot": "\u0307", "ddot": "\u0308", "check": "\u030c", "vec": "\u20d7", "acute": "\u0301",
    "grave": "\u0300", "breve": "\u0306", "mathring": "\u030a",
}  # fmt: skip
SIGNS = {
    "partial": "∂", "ell": "ℓ", "hbar": "ħ", "prime": "′", "ldots": "…", "varepsilon": "ε", "vartheta": "ϑ", "varphi": "φ",
    "varrho": "ϱ", "varsigma": "ς", "varpi": "ϖ", "lambda": "λ", "Lambda": "Λ", "imath": "ı", "jmath": "ȷ", "top": "ᵀ",
    "cdot": "·", "odot": "⊙", "infty": "∞",
}  # fmt: skip
UPRIGHT = ("mathrm", "text", "operatorname", "mathbf", "mathsf", "mathtt", "textrm")
SPACES = ("left", "right", "displaystyle", "mathit", "mathnormal")
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """Letters of one kind: slanted or not, on the line (0), lowered (-1) or raised (1)."""

    text: str
    slanted: bool = False
    level: int = 0


def runs_of(latex: str) -> tuple[Run, ...]:
    """Return a name in LaTeX as runs of letters; a fraction has a slash."""
    tokens = [token for token in TOKEN.findall(latex) if not token.isspace()]
    return tuple(_joined(_read(tokens, [0], len(tokens), True, 0)))


def plain_name(latex: str) -> str:
    """Return a name in LaTeX as one line of text: `W_i`, `da_{o,1}`."""
    text, inner = "", ""
    for run in (*runs_of(latex), Run("")):
        if run.level < 0:
            inner += run.text
            continue
        text += (f"_{inner}" if len(inner) == 1 else f"_{{{inner}}}") if inner else ""
        text, inner = text + run.text, ""
    return text


def _read(tokens: list[str], at: list[int], end: int, slanted: bool, level: int) -> Iterator[Run]:
    """Yield the runs of tokens up to a closing bracket; `at` holds where the reading is."""
    while at[0] < end:
        token = tokens[at[0]]
        at[0] += 1
        if token == "}":
            return
        if token in ("_", "^"):
            yield from _argument(tokens, at, end, slanted, -1 if token == "_" else 1)
        elif token == "{":
            yield from _read(tokens, at, end, slanted, level)
        elif token.startswith("\\"):
            yield from _command(token[1:], tokens, at, end, slanted, level)
        else:
            yield Run(token, slanted and token.isalpha(), level)


def _argument(tokens: list[str], at: list[int], end: int, slanted: bool, level: int) -> Iterator[Run]:
    """Yield the runs of what follows: a group, or one sign."""
    if at[0] < end and tokens[at[0]] == "{":
        at[0] += 1
        yield from _read(tokens, at, end, slanted, level)
    elif at[0] < end and tokens[at[0]].startswith("\\"):
        at[0] += 1
        yield from _command(tokens[at[0] - 1][1:], tokens, at, end, slanted, level)
    elif at[0] < end:
        at[0] += 1
        yield Run(tokens[at[0] - 1], slanted and tokens[at[0] - 1].isalpha(), level)


def _command(name: str, tokens: list[str], at: list[int], end: int, slanted: bool, level: int) -> Iterator[Run]:
    if name in UPRIGHT:
        yield from _argument(tokens, at, end, False, level)
    elif name in ("frac", "dfrac", "tfrac"):
        yield from _argument(tokens, at, end, slanted, level)
        yield Run("/", False, level)
        yield from _argument(tokens, at, end, slanted, level)
    elif name in ACCENTS:
        first, *rest = [*_argument(tokens, at, end, slanted, level), Run("")][:-1] or [Run("")]
        # NFC joins letter and accent into one glyph where Unicode has one: fonts place those better than combining marks.
        yield Run(unicodedata.normalize("NFC", first.text + ACCENTS[name]), first.slanted, first.level)
        yield from rest
    elif name in SIGNS:
        yield Run(SIGNS[name], slanted and SIGNS[name].isalpha(), level)
    elif len(name) == 1 and not name.isalpha():
        yield Run("" if name in ",;:! " else name, False, level)
    elif name not in SPACES:
        yield Run(*greek(name), level)


def greek(name: str) -> tuple[str, bool]:
    """Return a Greek letter by its name, and whether it is slanted, as the small ones are; another word as it is."""
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {name.upper()}"), size == "SMALL"
    except KeyError:
        return name, False


def _joined(runs: Iterator[Run]) -> Iterator[Run]:
    """Yield runs of the same kind side by side as one."""
    last = Run("")
    for run in runs:
        if (run.slanted, run.level) == (last.slanted, last.level):
            last = Run(last.text + run.text, run.slanted, run.level)
            continue
        if last.text:
            yield last
        last = run
    if last.text:
        yield last
