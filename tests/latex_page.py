"""A reader of LaTeX pages: it turns them, token by token, into the plain notation that `tests/page.py` evaluates.

It knows LaTeX and nothing of what printed it: an unknown command, a bracket that does not close, a symbol with two subscripts
are errors. `names` says how the page writes the names of the user, as its table of symbols does; symbols that the page makes
itself get names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

TOKEN = re.compile(r"\s*(?P<token>\\text\{[^{}]*\}|\\[a-zA-Z]+|\\.|\d+\.\d*|\d+|[^\s])", re.DOTALL)
LETTERS = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho varrho sigma"
    " varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar"
)
GREEK = {"\\" + word for word in LETTERS.split()}
ACCENTS = {"\\hat", "\\tilde", "\\bar", "\\dot", "\\ddot", "\\widehat", "\\widetilde", "\\acute", "\\grave", "\\check",
           "\\breve", "\\mathring"}  # fmt: skip
FONTS = {"\\mathrm", "\\mathsf"}
SIGNS = {
    "+": "+", "-": "-", "=": "=", "<": "<", ">": ">", "\\geq": "≥", "\\ge": "≥", "\\leq": "≤", "\\le": "≤", "\\neq": "≠", "\\ne": "≠",
    "\\odot": "⊙", "\\cdot": "·", "\\,": "·", "\\wedge": "∧", "\\land": "∧", "\\vee": "∨", "\\lor": "∨", ",": ",", ";": ";",
    ":": ":", "\\colon": ":", "\\times": "×", "\\in": "∈", "/": "/",
}  # fmt: skip
FUNCTIONS = {
    "\\sigma": "σ", "\\tanh": "tanh", "\\exp": "exp", "\\log": "log", "\\sin": "sin", "\\cos": "cos", "\\tan": "tan",
    "\\sinh": "sinh", "\\cosh": "cosh", "\\arctan": "arctan", "\\arcsin": "arcsin", "\\arccos": "arccos", "\\max": "max",
    "\\min": "min", "\\ell": "ℓ", "\\log_2": "log2", "\\Phi": "Φ", "\\varphi": "φ",
    "\\arg": "arg", "\\det": "det",
}  # fmt: skip
BRACKETS = {
    "(": ")",
    "[": "]",
    "\\lfloor": "\\rfloor",
    "\\lceil": "\\rceil",
    "\\Vert": "\\Vert",
    "|": "|",
    "\\langle": "\\rangle",
}
SHOWN = {
    "\\lfloor": "⌊",
    "\\rfloor": "⌋",
    "\\Vert": "‖",
    "\\langle": "⟨",
    "\\rangle": "⟩",
}
ENDS = ("+", "-", "&", "=", ";", "\\right", "\\bigr", "\\Bigr", "\\biggr")
GROWING = ("\\left", "\\bigl", "\\Bigl", "\\biggl")
NO_MARK = ("_", "\\,", "\\odot", "+", "-", ")", "")
TIMES = ("t", "t-1", "t+1", "T", "T+1", "0", "1")


def tokens_of(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        assert match is not None
        found.append(match["token"])
        at = match.end()
    return found


@dataclass(frozen=True)
class Stem:
    """A letter with what is below it, without its time."""

    letter: str
    below: tuple[str, ...] = ()
    prime: bool = False


@dataclass
class Names:
    """The names of a page's symbols: those of the user, and numbers for all others in the order in which they are met."""

    given: dict[Stem, str]
    mark: str = "d"
    made: dict[Stem, str] = field(default_factory=dict)
    known: set[Stem] = field(default_factory=set)
    timed: set[Stem] = field(default_factory=set)
    rounded: set[Stem] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.known |= set(self.given)

    def of(self, stem: Stem, timed: bool) -> str:
        if stem in self.given:
            return self.given[stem]
        if not timed and stem in (Stem("\\pi"), Stem("\\varepsilon")):
            return {"\\pi": "π", "\\varepsilon": "ε"}[stem.letter]
        if not timed and len(stem.letter) == 1 and not stem.below:
            return stem.letter  # a size, an index, or a sign of the page
        return self.made.setdefault(stem, f"made{len(self.made)}")


def names_of(symbols: Mapping[str, str], mark: str = "d") -> Names:
    """The names of the user, by how the page writes them in LaTeX: with their time, where they have one."""
    found: dict[Stem, str] = {}
    for name, latex in symbols.items():
        stem, _ = Reader(tokens_of(latex), Names({})).stem()
        if stem in found:
            raise ValueError(f"{name} and {found[stem]} are both written {latex}")
        found[stem] = name
    return Names(found, mark)


def lower(below: str) -> str:
    """What stands below a symbol as plain text has it; the tenth of some letters as the first, i_10 as i_1."""
    return f"_{below}" if len(below) == 1 or below.isdigit() else f"_{{{below}}}"


def timed(name: str, time: str) -> str:
    """A name with its time as plain text has it."""
    if not time:
        return name
    head, _, rest = name.partition("_")
    if head and rest:
        return f"{head}_{{{rest},{time}}}"
    return f"{name}_{time}" if len(time) == 1 else f"{name}_{{{time}}}"


@dataclass
class Reader:
    """Reads one formula."""

    tokens: list[str]
    names: Names
    pos: int = 0
    out: list[str] = field(default_factory=list)
    after_atom: bool = False

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.pos + ahead] if self.pos + ahead < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise ValueError(f"{wanted or 'more'!r} is expected at {token!r} in {' '.join(self.tokens)}")
        self.pos += 1
        return token

    def group(self) -> list[str]:
        """The tokens between braces, or one token."""
        if self.peek() != "{":
            return [self.take()]
        self.take("{")
        depth, found = 1, []
        while depth:
            token = self.take()
            depth += (token == "{") - (token == "}")
            found.append(token)
        return found[:-1]

    def inner(self, tokens: list[str]) -> str:
        return Reader(tokens, self.names).read()

    def read(self) -> str:
        while self.pos < len(self.tokens):
            self.item()
        return "".join(self.out)

    def atom(self, text: str) -> None:
        self.out.append(" " * self.after_atom + text)
        self.after_atom = True

    def sign(self, text: str) -> None:
        self.out.append(f" {text} ")
        self.after_atom = False

    def postfix(self, text: str) -> None:
        if not self.after_atom:
            raise ValueError(f"{text!r} stands behind nothing in {' '.join(self.tokens)}")
        self.out.append(text)

    def item(self) -> None:
        token = self.peek()
        match token:
            case "&" | "{}" | "\\quad" | "\\qquad" | "\\:":
                self.take()
            case "\\mathrel":
                self.take()
                if self.group() != ["+"]:
                    raise ValueError(f"a relation in {' '.join(self.tokens)}")
                self.take("=")
                self.sign("+=")
            case "\\frac":
                self.take()
                self.fraction(self.group(), self.group())
            case "\\sqrt":
                self.take()
                self.atom(f"sqrt({self.inner(self.group())})")
            case _ if token.startswith("\\text{"):
                self.sign(word(self.take()))
            case "\\sum":
                self.take()
                self.take("_")
                below = self.group()
                self.atom(("Σ_t" if below == ["t"] else f"Σ_{{{self.below(below)}}}") + " ")
                self.after_atom = False
            case "\\overline":
                self.take()
                self.atom(f"conj({self.inner(self.group())})")
            case "\\mathrm" if self.tokens[self.pos : self.pos + 4] == ["\\mathrm", "{", "i", "}"]:
                self.pos += 4
                self.atom("1i")
            case "\\nabla":
                self.take()
                self.take("_")
                below = self.inner(self.group())
                self.atom(f"∇_{below} " if len(below) == 1 else f"∇_{{{below}}} ")
                self.after_atom = False
            case "^":
                self.take()
                self.power(self.group())
            case "\\mathbf":
                self.take()
                self.bold("".join(self.group()))
            case "\\begin":
                self.cases()
            case "\\left":
                self.take()
                self.bracket(True)
            case "\\bigl" | "\\Bigl" | "\\biggl":
                self.bracket(False, self.take().replace("l", "r"))
            case "{":
                self.entry()
            case "\\bmod":
                self.take()
                self.sign("mod")
            case "\\neg" | "\\lnot":
                self.take()
                self.atom("¬")
                self.after_atom = False
            case "\\ast" | "\\star":
                self.convolution({"\\ast": "∗", "\\star": "⋆"}[self.take()])
            case "\\infty" | "\\ldots":
                self.atom({"\\infty": "∞", "\\ldots": "…"}[self.take()])
            case _ if token in BRACKETS:
                self.bracket(False)
            case _ if token in SIGNS:
                self.sign(SIGNS[self.take()])
            case _ if token[0].isdigit():
                self.atom(self.take())
            case _:
                self.symbol_or_call()

    def fraction(self, above: list[str], below: list[str]) -> None:
        if above[:1] == ["\\partial"]:
            if above != ["\\partial", "L"] or below[:1] != ["\\partial"]:
                raise ValueError(f"a derivative of {above} by {below}")
            self.atom(f"dL/d{self.inner(below[1:])}")
        else:
            self.atom(f"(({self.inner(above)}) / ({self.inner(below)}))")

    def power(self, exponent: list[str]) -> None:
        if exponent == ["\\top"]:
            self.postfix("ᵀ")
        elif exponent == ["\\mathsf", "{", "H", "}"]:
            self.postfix("ᴴ")
        elif exponent in (["-", "1"], ["-", "\\top"]):
            self.postfix("⁻¹" if exponent[1] == "1" else "⁻ᵀ")
        elif exponent in (["2"], ["3"]):
            self.postfix({"2": "²", "3": "³"}[exponent[0]])
        else:
            text = self.inner(exponent)
            self.postfix(f"^{text}" if text.isdigit() else f"^({text})")

    def bold(self, letter: str) -> None:
        self.take("_")
        below = self.below(self.group())
        if letter not in ("0", "1", "e"):
            raise ValueError(f"a bold {letter}")
        self.atom(f"{letter}_{below}" if len(below) == 1 and letter != "e" else f"{letter}_{{{below}}}")

    def below(self, tokens: list[str]) -> str:
        """What stands below a sign: sizes and indices, without spaces."""
        text = re.sub(r"\s*([-+×<,])\s*", r"\1", self.inner(tokens)).replace(" :", ":")
        return text.replace(" ", "") if re.fullmatch(r"[a-z]( [a-z])*", text) else text

    def bracket(self, is_growing: bool, sized: str = "") -> None:
        opening = self.take()
        closing, found, depth = BRACKETS[opening], [], 1
        while depth:
            token = self.take()
            if opening != closing:
                depth += (token == opening) - (token == closing)
            else:
                depth -= token == closing
            found.append(token)
        found.pop()
        if is_growing or sized:
            if found[-1:] != [sized or "\\right"]:
                raise ValueError(f"\\left without \\right in {' '.join(self.tokens)}")
            found.pop()
        pairs = ("{}", "()")
        signs = [i for i, x in enumerate(found) if x == "\\bmod"]
        at = next((i for i in signs if all(found[:i].count(a) == found[:i].count(b) for a, b in pairs)), 0)
        if at:
            self.atom(f"mod({self.inner(found[:at])}, {self.inner(found[at + 1 :])})")
            return
        text = f"{SHOWN.get(opening, opening)}{self.inner(found)}{SHOWN.get(closing, closing)}"
        if (
            (is_growing or ":" in found or found[0].isdigit())
            and self.after_atom
            and re.fullmatch(r"\[[a-zA-Z0-9_ :,+·-]*\]", text)
        ):
            self.postfix(text)
        else:
            self.atom(text)
        if self.peek() == "_":
            self.indices()

    def convolution(self, sign: str) -> None:
        """The sign of a convolution, with its number below and ⊤ above."""
        if self.peek() == "_":
            self.take()
            sign += f"_{''.join(self.group())}"
        if self.peek() == "^":
            self.take()
            if self.group() != ["\\top"]:
                raise ValueError(f"a power of {sign} in {' '.join(self.tokens)}")
            sign += "ᵀ"
        self.sign(sign)

    def entry(self) -> None:
        """A group with indices: an entry of an array."""
        base = self.inner(self.group())
        if self.peek() != "_":
            self.atom(base)
            return
        self.take("_")
        below = self.below(self.group())
        self.atom(f"{base}_{below}" if len(below) == 1 else f"{base}_{{{below}}}")

    def cases(self) -> None:
        self.take()
        if self.group() != list("cases"):
            raise ValueError(f"an environment in {' '.join(self.tokens)}")
        rows: list[list[str]] = [[]]
        depth = 0
        while depth or self.peek() != "\\end":
            token = self.take()
            depth += (token == "\\begin") - (token == "\\end")
            rows.append([]) if token == "\\\\" and not depth else rows[-1].append(token)
        self.take()
        self.group()
        texts = []
        for row in rows:
            at = outer(row, "&")
            condition = self.inner(row[at + 2 :])
            texts.append(f"{self.inner(row[:at])} {word(row[at + 1])}{' ' * bool(condition)}{condition}")
        self.atom("{" + "; ".join(texts) + "}")

    def symbol_or_call(self) -> None:
        token = self.peek()
        if token in ("\\operatorname", *FONTS) or token in FUNCTIONS:
            start = self.pos
            name = FUNCTIONS.get(self.take(), "") or "".join(self.group()).replace("\\_", "_").replace("\\", "")
            below = ""
            if self.peek() == "'":
                name += self.take()
            if self.peek() == "_" and (name == "mat" or self.is_function(name)):
                self.take()
                over = self.group()
                below = f"_{word(over[0])}" if over[0].startswith("\\text") else f"_{{{self.below(over)}}}"
                below = below if name[-1] != "'" else f"_{over[0]}"
            if name in ("max", "min") and self.peek() == "_" and not below:
                self.take()
                below = self.below(self.group())
                self.atom(f"{name}_{below if len(below) == 1 else f'{{{below}}}'} ")
                self.after_atom = False
                return
            is_call = self.peek() == "(" or (self.peek() in GROWING and self.peek(1) == "(")
            letter = f"{token}{{{self.raw(start)}}}" if token in FONTS else token
            if is_call and (below or not self.is_name(letter)):
                grows = self.take() if self.peek() in GROWING else ""
                self.out.append(" " * self.after_atom + name.replace(" ", "_") + below)
                self.after_atom = False
                self.bracket(grows == "\\left", grows.replace("l", "r") if "big" in grows.lower() else "")
                return
            if name == "vec" or token == "\\operatorname":
                raise ValueError(f"{name} without arguments in {' '.join(self.tokens)}")
            self.pos = start
        self.symbol()

    def is_function(self, name: str) -> bool:
        """Whether what is below a word is followed by arguments."""
        after = self.pos + 1
        depth = 0
        for at in range(after, len(self.tokens)):
            depth += (self.tokens[at] == "{") - (self.tokens[at] == "}")
            if not depth:
                following = self.tokens[at + 1 : at + 3]
                is_over_words = self.tokens[after].startswith("\\text") or self.tokens[after + 1].startswith("\\text")
                return (is_over_words or name not in ("max", "min")) and (
                    following[:1] == ["("] or (following[1:] == ["("] and following[0] in GROWING)
                )
        return False

    def raw(self, start: int) -> str:
        return "".join(self.tokens[start + 2 : self.tokens.index("}", start)])

    def is_name(self, letter: str) -> bool:
        """Whether a word is a value's, and what stands in brackets behind it a factor."""
        return any(stem.letter == letter for stem in (*self.names.given, *self.names.made))

    def symbol(self) -> None:
        is_adjoint = False
        if self.tokens[self.pos : self.pos + 4] == ["\\mathrm", "{", "d", "}"]:
            is_adjoint, self.pos = True, self.pos + 4
        elif self.names.mark == "δ" and self.peek() == "\\delta" and self.peek(1) not in NO_MARK:
            is_adjoint, self.pos = True, self.pos + 1
        mark = self.names.mark if is_adjoint else ""
        start = self.pos
        stem, time = self.stem()
        bare = Stem(stem.letter)
        is_entry = stem.below and not time and stem not in self.names.known and bare in self.names.known
        if is_entry and bare not in self.names.timed:  # of an array that is the same at all steps
            self.pos = start
            self.letter()
            self.atom(mark + self.names.of(bare, is_adjoint))
            self.take("_")
            self.postfix(lower(self.below(self.group())))
            return
        self.names.known.add(stem)
        self.names.timed |= {stem} if time else set()
        self.atom(timed(mark + self.names.of(stem, bool(time) or is_adjoint), time))

    def indices(self) -> None:
        self.take("_")
        below = self.below(self.group())
        self.postfix(f"_{below}" if len(below) == 1 else f"_{{{below}}}")

    def stem(self) -> tuple[Stem, str]:
        letter = self.letter()
        below: list[str] = []
        time = ""
        if self.peek() == "_":
            self.take()
            below = "".join(t + " " * (t.startswith("\\") and t[1:].isalpha()) for t in self.group()).split(",")
            prime = self.peek() == "'"
            whole = Stem(letter, tuple(below), prime) in self.names.given
            if not whole and self.is_of_round(letter, below):
                self.names.rounded.add(Stem(letter, tuple(below[:-2])))
                time, below = ",".join(below[-2:]).replace("\\,", " "), below[:-2]
            elif below[-1] in TIMES[:5] or (
                below[-1] in TIMES and not whole and self.is_state(letter, below[:-1], prime)
            ):
                time = below.pop()
        if self.peek() == "_":
            raise ValueError(f"two subscripts in {' '.join(self.tokens)}")
        prime = self.peek() == "'"
        if prime:
            self.take()
        return Stem(letter, tuple(below), prime), time

    def is_of_round(self, letter: str, below: list[str]) -> bool:
        """Whether a symbol is of a round of a loop inside a step, whose number stands behind the time: behind 1 where it is known."""
        at = below[-2] if len(below) > 1 else ""
        return at in ("t", "t-1", "t+1", "T") or (
            at in ("1", "0") and Stem(letter, tuple(below[:-2])) in self.names.rounded
        )

    def is_state(self, letter: str, below: list[str], prime: bool) -> bool:
        """Whether a symbol with a number below it is one of a step, as it is elsewhere; a name of the user is none."""
        stem = Stem(letter, tuple(below), prime)
        return stem in self.names.given or stem in self.names.timed

    def letter(self) -> str:
        token = self.take()
        if token in ("\\Delta", "\\delta") and self.peek() in ("t", "x", "h"):
            return f"{token} {self.take()}"
        if token in FONTS or token in ACCENTS:
            return f"{token}{{{''.join(self.group())}}}"
        if token in GREEK or (len(token) == 1 and token.isalpha() and token.isascii()):
            return token
        raise ValueError(f"{token!r} is no symbol, in {' '.join(self.tokens)}")


def outer(tokens: list[str], wanted: str) -> int:
    """Where a token stands that is in no environment of its own."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token == "\\begin") - (token == "\\end")
        if token == wanted and not depth:
            return i
    raise ValueError(f"no {wanted} in {' '.join(tokens)}")


def word(token: str) -> str:
    """The words of a text."""
    return token.removeprefix("\\text{").removesuffix("}").strip()


Families = dict[str, list[list[str]]]
"""Letters that stand for others, each with the tokens of what it stands for."""


def families_of(tokens: list[str]) -> Families:
    """The families whose members stand on a line or in a note: k ∈ {i, f}."""
    found: Families = {}
    for at, token in enumerate(tokens):
        if token == "\\in":
            members = tokens[at + 2 : tokens.index("\\}", at)]
            commas = [-1, *(i for i, x in enumerate(members) if x == ","), len(members)]
            found[tokens[at - 1]] = [members[a + 1 : b] for a, b in pairwise(commas)]
    return found


def of_member(tokens: list[str], letter: str, member: list[str]) -> list[str]:
    """A line of one member of a family: the letter stands below others, or below an accent, which is wide above a word."""
    found: list[str] = []
    depths: list[bool] = []
    for at, token in enumerate(tokens):
        depths += [bool(at and tokens[at - 1] == "_") or any(depths)] if token == "{" else []
        accent = "".join(tokens[max(at - 2, 0) : at])
        if token == letter and accent in ("\\bar{", "\\hat{", "\\tilde{", "\\dot{", "\\ddot{"):
            if len(member) > 1 and accent in ("\\hat{", "\\tilde{"):
                found[-2] = "\\wide" + found[-2][1:]
            found += member
            continue
        found += member if token == letter and (any(depths) or tokens[at - 1] == "_") else [token]
        depths = depths[:-1] if token == "}" else depths
    return found


def written_out(tokens: list[str], families: Families) -> list[str]:
    """A line whose sums over families are sums of their members."""
    for at, token in enumerate(tokens):
        if (
            token == "\\sum"
            and tokens[at + 1 : at + 3] == ["_", "{"]
            and tokens[at + 3] in families
            and tokens[at + 4] == "}"
        ):
            depth, end = 0, at + 5
            while end < len(tokens):
                depth += (tokens[end] in "({[") - (tokens[end] in ")}]")
                if depth < 0 or (depth == 0 and tokens[end] in ENDS and end > at + 5):
                    break
                end += 1
            term, letter = tokens[at + 5 : end], tokens[at + 3]
            whole = ["("]
            for member in families[letter]:
                whole += ["+"] * (len(whole) > 1) + of_member(term, letter, member)
            return written_out([*tokens[:at], *whole, ")", *tokens[end:]], families)
    return tokens


def formulas(latex: str, names: Names, families: Families) -> list[str]:
    """One line as plain text; of a family, that of each member."""
    tokens = tokens_of(latex)
    own = families_of(tokens)
    families = families | own
    if not own:
        return [formula(written_out(tokens, families), names)]
    ((letter, members),) = own.items()
    line = tokens[: tokens.index("\\in") - 3]
    return [formula(written_out(of_member(line, letter, member), families), names) for member in members]


def formula(tokens: list[str], names: Names) -> str:
    """One line as plain text."""
    text = Reader(tokens, names).read().strip().replace("]_{1 / 2}", "]_½")
    text = re.sub(r" \((\w < [^()]+)\)$", r" for \1", text)
    text = re.sub(r" , +(\w) < ", r",  \1 < ", re.sub(r"(\+?=) +- Σ", r"\1 -Σ", text))
    return re.sub(r"  is replaced by  ", " is replaced by ", text.replace(" , ", ", "))


def notes_of(latex: str) -> list[str]:
    """The lines behind the display, which explain it."""
    return [
        note.strip()
        for note in latex.partition(r"\raggedright")[2].partition(r"\endgroup")[0].split(r"\par\noindent")[1:]
    ]


def constants_of(latex: str) -> dict[str, Any]:
    """The arrays that the notes show, by how their letters are written."""
    found = {}
    for note in notes_of(latex):
        shown = re.fullmatch(
            r"\$([A-Z](?:_\{\d+\})?|w_\{\d+\})\$ = \$(?:\\left)?\[(.*?)(?:\\right)?\]\$(?:, shape \((.*)\), row by row)?(?:\s*\\par)?",
            note,
            re.DOTALL,
        )
        if shown:
            rows = [
                [number(x) for x in row.split(",")]
                for row in shown[2].replace(r"\allowbreak", "").replace(r"\,", " ").split(";")
            ]
            value = np.array([x for row in rows for x in row])
            shape = (
                [int(n.strip().strip("$")) for n in shown[3].split(",")]
                if shown[3]
                else [len(rows), len(rows[0])]
                if len(rows[0]) > 1
                else [len(rows)]
            )
            found[shown[1]] = value.reshape(shape)
    return found


def number(latex: str) -> complex:
    """A number as LaTeX has it; a complex one has its imaginary part, in front of an upright i, last."""
    whole = latex.strip()
    if not whole.endswith(IMAGINARY):
        return real_number(whole)
    *above, last = re.split(r" (?=[+-](?: |$))", whole.removesuffix(IMAGINARY).rstrip("\\, "))
    part = last.replace(" ", "", 1) if above else last
    of_one = {"": 1.0, "+": 1.0, "-": -1.0}
    imaginary = of_one[part] if part in of_one else real_number(part)
    return complex(real_number(above[0]) if above else 0.0, imaginary)


IMAGINARY = r"\mathrm{i}"


def real_number(latex: str) -> float:
    """A real number as LaTeX has it."""
    text = re.sub(r"\\frac\{(.*)\}\{(.*)\}", r"(\1) / \2", latex.strip()).replace(r"\pi", "π")
    text = re.sub(r"\s*\\cdot\s*10\^\{(-?\d+)\}", r"e\1", text)
    text = re.sub(r"10\^\{(-?\d+)\}", r"1e\1", text)
    head, found, below = text.partition(" / ")
    factor = np.pi if "π" in head else 1.0
    top = head.replace("π", "").strip("() ")
    value = (float(top) if top not in ("", "-") else float(top + "1")) * factor
    return value / float(below) if found else value


def sections_of(latex: str, names: Names) -> dict[str, list[str]]:
    """The lines of a page by their headings, as plain text; a line that is continued in the next row is one."""
    families: Families = {}
    for note in notes_of(latex):
        families |= families_of(tokens_of(note.replace("$", " "))) if r"\in " in note else {}
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for row in rows_of(latex.partition(r"\raggedright")[0]):
        heading = re.fullmatch(r"\\(?:intertext|text)\{(.*)\}", row, re.DOTALL)
        if heading:
            lines = found.setdefault(plain_heading(heading[1]), [])
        elif row.startswith("&"):
            lines[-1] += " " + row
        else:
            lines.append(row)
    for all_lines in found.values():
        for line in all_lines:
            own = families_of(tokens_of(line))
            families |= {letter: members for letter, members in own.items() if letter not in families}
    return {head: [x for line in lines for x in formulas(line, names, families)] for head, lines in found.items()}


def rows_of(latex: str) -> list[str]:
    """The rows of a page, and its headings."""
    text = re.sub(r"\\(begin|end)\{(gathered|aligned|align|align\*|alignedat|alignat)\}(\{\d\})?", r"\\\\", latex)
    text = re.sub(r"\\intertext\{((?:[^{}]|\{[^{}]*\})*)\}", r"\\intertext{\1}\\\\", text)
    text = re.sub(r"\\allowdisplaybreaks|\\(begin|end)group|\\notag|\\nonumber", "", text)
    rows, depth, row = [], 0, ""
    for token in re.findall(r"\\begin\{cases\}|\\end\{cases\}|\\\\(?:\[[^\]]*\])?|.", text, re.DOTALL):
        depth += {r"\begin{cases}": 1, r"\end{cases}": -1}.get(token, 0)
        if token.startswith("\\\\") and not depth:
            rows.append(row)
            row = ""
        else:
            row += token
    return [r.strip() for r in [*rows, row] if r.strip()]


def plain_heading(text: str) -> str:
    return " ".join(text.replace(r"\ldots", "…").replace("$", "").replace(r"\text{", "").replace("}", "").split())
