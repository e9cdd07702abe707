"""The writing of names on a page: a Python name as a letter with accents and subscripts, no two names alike.

Example: a cell has Wz, W_z and tau_m. `spelling` reads Wz as W with the subscript z, W_z likewise, tau_m as τ with m. Two names
are alike then: `_settled` moves both to their next candidate, the plain names Wz and W_z in sans serif. τ_m stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

from symbptt.autodiff.labels import Label, without_time
from symbptt.ir.naming import beside

T = TypeVar("T")

_LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "varepsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "vartheta": "ϑ", "iota": "ι", "kappa": "κ", "lambda": "λ", "lamda": "λ", "lam": "λ", "mu": "μ", "nu": "ν",
    "xi": "ξ", "pi": "π", "varpi": "ϖ", "rho": "ρ", "varrho": "ϱ", "sigma": "σ", "varsigma": "ς", "tau": "τ",
    "upsilon": "υ", "phi": "ϕ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "ell": "ℓ", "hbar": "ℏ",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Upsilon": "Υ",
    "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
"""Words that are a letter of mathematics; `alpha` is α."""

LATEX_LETTERS = {letter: "\\" + word for word, letter in _LETTERS.items() if word not in ("lam", "lamda")}
"""The LaTeX of letters that are no ASCII."""

_IN_TEXT = {"ϵ": "ε", "ϕ": "φ"}
"""Letters that text has in their usual form."""

ACCENTS = {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304", "dot": "\u0307", "ddot": "\u0308", "prime": "′"}
"""Accents by their words in Python names, and how they stand behind a letter in text."""

MARKS = {
    **{mark: word for word, mark in ACCENTS.items() if word != "prime"},
    "\u0301": "acute", "\u0300": "grave", "\u030c": "check", "\u0306": "breve", "\u030a": "mathring",
}  # fmt: skip
"""The accents that mathematics sets over a letter, by LaTeX's name of each. Those beside `ACCENTS` are accents only on a letter
that has one: W_é has an accent, W_check is W with a word."""

_ACCENT_WORDS = frozenset(
    [*ACCENTS, "acute", "grave", "caron", "breve", "ring", "cedilla", "ogonek", "dotbelow", "doubleacute"]
)
"""The words of accents in ASCII."""
_WHOLE = "\u034f"
"""The mark between a word and an accent that stands over all of it."""

_FUNCTIONS = frozenset(
    ["abs", "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cumsum", "det", "diag", "erf", "exp", "expm", "inf", "lim",
     "log", "logsumexp", "lse", "max", "mean", "min", "mod", "norm", "prod", "relu", "roll", "sign", "silu", "sin", "sinh", "softmax",
     "softplus", "sqrt", "sum", "sup", "tan", "tanh", "trace", "transpose", "var", "vec", "where"]
)  # fmt: skip
"""Words that a page reads as functions: with a subscript, log_f would be a logarithm to a base."""

_PAIRS = frozenset(
    ["at", "by", "do", "dx", "go", "hi", "id", "im", "in", "is", "it", "lo", "lr", "my", "no", "of", "ok", "on", "op", "or", "re",
     "so", "to", "up"]
)  # fmt: skip
"""Words of two letters, which are no letter with a subscript unless others of their kind are."""

_SUBSCRIPTS = frozenset(
    ["ah", "att", "bias", "cell", "cin", "ctx", "dec", "down", "emb", "enc", "fast", "forget", "gate", "head", "hh", "hid",
     "hidden", "high", "ho", "hx", "hy", "ih", "im", "in", "inp", "input", "key", "left", "low", "max", "mem", "min", "out",
     "output", "proj", "query", "re", "read", "rec", "rep", "res", "reset", "right", "self", "skip", "slow", "state", "up",
     "update", "value", "write", "xh", "xx"]
)  # fmt: skip
"""Words that stand below a capital letter: Wout is W with out."""

_WORDS = frozenset(
    ["unit", "units", "update", "updates", "value", "values", "variance", "vector", "velocity", "wave", "weight", "weights",
     "window", "write"]
)  # fmt: skip
"""Words that begin with a letter of matrices, W, U or V."""

TIMES_OF_PAGE = ("t", "T")
PAGE = frozenset(["t", "T", "L", "N", "I", "π"])
"""The names that a page uses itself: the step, their number, the loss, the number of losses, the identity, and π."""
NO_SIZE = PAGE - {"N", "L"}
"""Those that no size is called: the number of losses has a letter that no size has, and L stands for a number on pages of models alone."""


@dataclass(frozen=True)
class Spelling:
    """A written name: a letter or a word, and its subscripts; an accent stands behind its letter, as Unicode has it. A
    `plain` one is the whole Python name, underscores and all, in a typeface that nothing else on the page has."""

    head: str
    subscripts: tuple[str, ...] = ()
    plain: bool = False


def spelling(name: str, siblings: Collection[str] = ()) -> Spelling:
    """Return a Python name as mathematics has it: Wz is W with z, tau_m is τ with m, h_hat has a hat, gate is a word.

    `siblings` are the other names of the page, which decide what a name of two letters is: beside p_f, pi is p with i.
    """
    # The field Wq of the group block is W with q and block.
    name = "_".join(name.split(".")[::-1])
    parts = [part for part in _parted(name, MARKS.__contains__).split("_") if part]
    if not parts:
        return Spelling(name, plain=True)
    # max_x as "max" with a subscript would read as a maximum over x.
    if parts[0] in _FUNCTIONS and len(parts) > 1:
        return Spelling("_".join(parts))
    if _is_difference_of_time(parts):
        return Spelling(f"{_letter(parts[0])}t")
    first, *rest = _with_accents(parts)
    head, *lower = _head(first, _leads(name, siblings))
    if rest and _ends_as_others(name, siblings):
        *middle, last = rest
        return Spelling(head, (*lower, *(x for part in middle for x in _below(part)), *last))
    return Spelling(head, (*lower, *(x for part in rest for x in _below(part))))


def _is_difference_of_time(parts: Sequence[str]) -> bool:
    return len(parts) == 2 and _letter(parts[0]) in ("Δ", "δ") and parts[1] == "t"


def _below(part: str) -> list[str]:
    """Return the subscripts that a part of a name gives: a letter or a word and a number are two, as in a name of their own."""
    if is_accented(part):
        return _head(part, False)[:1]
    numbered = re.fullmatch(rf"({_LETTER}+)([0-9]+)", part)
    return [_letter(part)] if numbered is None else [_letter(numbered[1]), numbered[2]]


def _with_accents(parts: Sequence[str]) -> list[str]:
    """Return the parts of a name; an accent's word is the accent of the letter before it."""
    found: list[str] = []
    for part in parts:
        if found and part in ACCENTS and not is_accented(found[-1]):
            found[-1] = _accented(found[-1], part)
        else:
            found.append(part)
    return found


def _accented(word: str, accent: str) -> str:
    letter = _letter(word)
    is_word = accent != "prime" and len(letters_of(letter)) > 1
    return letter + _WHOLE * is_word + ACCENTS[accent]


def is_accented(word: str) -> bool:
    """Answer whether a letter has an accent, or a word has one over all of it."""
    return _WHOLE in word or word[-1] == ACCENTS["prime"] or (len(word) > 1 and len(letters_of(word)) == 1)


def without_accent(word: str) -> str:
    """Return what the last accent of a letter or a word stands over."""
    return word[:-1].removesuffix(_WHOLE)


_LETTER = r"(?:[^\W\d_]|[\u0300-\u036f])"
"""A letter, or an accent on the letter before it."""


def letters_of(word: str) -> list[str]:
    """Return the letters of a word, each with the accents on it."""
    found: list[str] = []
    for letter in word:
        if found and unicodedata.combining(letter):
            found[-1] += letter
        else:
            found.append(letter)
    return found


def _letter(word: str) -> str:
    return _LETTERS.get(word, word)


def _text_letter(word: str) -> str:
    letter = _letter(word)
    return _IN_TEXT.get(letter, letter)


def _head(word: str, leads: bool) -> list[str]:
    """Return the letter of a word with its accent, and what is written below it."""
    if word == "dt":
        return ["Δt"]
    if is_accented(word) or (word in _LETTERS and not (leads and len(word) == 2)):
        return [_letter(word)]
    accented = re.fullmatch(rf"(.+?)({'|'.join(ACCENTS)})", word)
    # One letter before the accent, or the name of one, as in zbar and alphahat: what is longer is a word.
    if accented and (len(accented[1]) == 1 or accented[1] in _LETTERS):
        return [_accented(accented[1], accented[2])]
    numbered = re.fullmatch(rf"(.*?{_LETTER})([0-9]+)", word)
    if numbered:
        return [*_head(numbered[1], leads), numbered[2]]
    first, *rest = letters_of(word)
    last = "".join(rest)
    # Wz, bf: a second small letter is a subscript, unless the two are a common word such as "in" or "lr", or one letter twice.
    if len(rest) == 1 and last[0].isalpha() and last.islower() and (leads or (word not in _PAIRS and first != last)):
        return [first, last]
    if first[0].isascii() and first[0].isupper() and (last in _SUBSCRIPTS or (last.islower() and _is_of_matrix(word))):
        return [first, _letter(last)]
    return [word]


def _is_of_matrix(word: str) -> bool:
    return word[0] in "WUV" and word.lower() not in _WORDS


def _leads(name: str, siblings: Iterable[str]) -> bool:
    """Answer whether other names are the first letter of a name of two letters with one more letter."""
    others = (other.replace("_", "") for other in siblings if other != name)
    # Beside pf and po, pi is a peephole weight of the gate i, not the number π.
    return len(name) == 2 and any(len(o) == 2 and o[0] == name[0] and o[1] != "t" and o[1].isalpha() for o in others)


def _ends_as_others(name: str, siblings: Iterable[str]) -> bool:
    """Answer whether a name ends with two small letters of which another name has the first and not the second; not where one of them
    would be read as the step, W_{t,a}."""
    *_, last = name.split("_")
    if "t" in last:
        return False
    # Beside W_xf and W_xo, W_xi is the weight from x of the gate i: it has no ξ, and W_{x,k} stands for all of them.
    if len(last) != 2 or last == name or not (last.isascii() and last.isalpha() and last.islower()):
        return False
    return any(len(o) == len(name) and o[:-1] == name[:-1] and o != name and o[-1].islower() for o in siblings)


@cache
def in_ascii(name: str) -> str:
    """Return a Python name without letters that are no ASCII: α is alpha, Wσ is W_sigma, ĥ is h_hat, é is e_acute."""
    text = ""
    # NFD takes ĥ apart into h and a combining hat, whose word then follows the letter.
    for letter in unicodedata.normalize("NFD", name):
        word = _ascii(letter)
        parts_before = text and not text.endswith("_") and (len(word) > 1 or _ends_with_word(text))
        text += ("_" if parts_before and not letter.isascii() else "") + word
        text += "_" if len(word) > 1 and not letter.isascii() and word not in ("Delta", "delta") else ""
    return re.sub(r"([Dd])elta(?=[a-zA-Z](_|$))", r"\1elta_", re.sub("__+", "_", text)).strip("_") or text


def _ends_with_word(text: str) -> bool:
    return text.rpartition("_")[2] in _LETTERS


def _ascii(letter: str) -> str:
    if letter.isascii():
        return letter
    accent = next((word for word, mark in ACCENTS.items() if mark == letter), "")
    if accent:
        return accent
    words = unicodedata.name(letter, f"u{ord(letter):04x}").replace("-", "").lower().split()
    if words[0] == "combining":
        return "".join(word for word in words[1:] if word not in ("accent", "above"))
    if letter.lower() in _WORDS_OF_LETTERS:
        own = [_WORDS_OF_LETTERS[letter.lower()]]
    else:  # what stands before "letter" is the script: "greek small letter tau", "cyrillic small letter hard sign"
        own = words[words.index("letter") + 1 :] if "letter" in words else words[-1:]
    base, _, more = " ".join(own).replace("lamda", "lambda").partition(" with ")
    word = "_".join(part.replace(" ", "") for part in (base, more) if part)
    return word.capitalize() if letter.isupper() else word


_WORDS_OF_LETTERS = {
    **{letter: word for word, letter in _LETTERS.items() if letter in "ϵϕϑϖϱςℓ"},
    "ħ": "hbar", "ℏ": "hbar", "ß": "eszett", "æ": "ash", "œ": "ethel",
}  # fmt: skip
"""Letters whose Unicode names say something else, "greek small letter final sigma", or have two letters, which would read as one
with a subscript."""


def _parted(name: str, stays: Callable[[str], bool]) -> str:
    """Return a name with Greek letters as letters of their own, Wσ as W_σ; of others those that are no ASCII stay or are words."""
    text = ""
    for letter in unicodedata.normalize("NFD", name):
        if letter.isascii() or (stays(letter) and not unicodedata.combining(letter)):
            text += letter
        elif stays(letter):  # an accent: it belongs to the letter, which may stand apart already
            text = text.rstrip("_") + letter + "_" * text.endswith("_")
        else:
            word = _ascii(letter)
            is_apart = len(word) > 1
            text += "_" * is_apart + _LETTERS.get(word, word) + "_" * is_apart
    return text


def latex_of_spelling(s: Spelling) -> tuple[str, list[str], str]:
    """Return the letter of a spelling in LaTeX, its subscripts, and the prime that stands behind them."""
    if s.plain:
        return r"\mathsf{" + s.head.replace("_", r"\_") + "}", [], ""
    prime = "'" if s.head.endswith(ACCENTS["prime"]) else ""
    return _latex_word(s.head.removesuffix(ACCENTS["prime"])), [*map(_latex_word, s.subscripts)], prime


def _latex_word(word: str) -> str:
    if word in LATEX_LETTERS:
        return LATEX_LETTERS[word]
    if word[-1] == ACCENTS["prime"]:
        return _latex_word(word[:-1]) + "'"
    if _WHOLE in word:
        base, _, mark = word.partition(_WHOLE)
        # \hat is as wide as one letter.
        return rf"\{'wide' * (MARKS[mark] in ('hat', 'tilde'))}{MARKS[mark]}{{{_latex_word(base)}}}"
    if len(word) == 2 and word[0] in LATEX_LETTERS and word[1].isalpha():
        return f"{LATEX_LETTERS[word[0]]} {word[1]}"
    shown = [_latex_letter(letter) for letter in letters_of(word)]
    return "".join(shown) if len(shown) == 1 or word.isdigit() else r"\mathrm{" + "".join(shown) + "}"


def _latex_letter(letter: str) -> str:
    """Return a letter with its accents, the first of them the innermost."""
    shown = r"\_" if letter == "_" else LATEX_LETTERS.get(letter[0], letter[0])
    for mark in letter[1:]:
        shown = rf"\{MARKS[mark]}{{{shown}}}"
    return shown


@cache
def text_of_name(name: str) -> str:
    """Return a Python name for a page of text: as it is spelt, with Greek letters and accents."""
    parts = [part for part in _parted(name, _is_of_text).split("_") if part]
    if not parts:
        return name
    if parts[0] in _FUNCTIONS:
        return "".join(parts)
    if parts == ["dt"]:
        return "Δt"
    if _is_difference_of_time(parts):
        return f"{_letter(parts[0])}t"
    return unicodedata.normalize("NFC", "_".join(map(_text_word, _with_accents(parts))))


def _is_of_text(letter: str) -> bool:
    """Answer whether text has a letter as it is: Latin ones with their accents, and those that no word says."""
    kind = unicodedata.name(letter, "").split("-")
    return bool(unicodedata.combining(letter)) or kind[0].startswith("LATIN ") or kind[0] == "CJK UNIFIED IDEOGRAPH"


def _text_word(word: str) -> str:
    """Return a word of a name; of a Greek letter with a number, the letter with a number below it."""
    numbered = re.fullmatch(r"([^\W\d_]+)([0-9]+)", word)
    if numbered and numbered[1] in _LETTERS:
        return f"{_text_letter(numbered[1])}_{numbered[2]}"
    if _WHOLE in word:
        base, _, mark = word.partition(_WHOLE)
        return f"{base}_{MARKS[mark]}"
    if word[-1] == ACCENTS["prime"] and len(letters_of(word)) > 2:
        return f"{word[:-1]}_prime"
    if is_accented(word):
        return _text_letter(word[0]) + word[1:]
    accented = re.fullmatch(rf"(.+?)({'|'.join(ACCENTS)})", word)
    if accented and word not in _LETTERS and len(_letter(accented[1])) == 1:
        return _text_letter(accented[1]) + ACCENTS[accented[2]]
    return _text_letter(word)


def parted_text(text: str) -> tuple[str, str]:
    """Return the letter or the word of a written name, with the words of its accents, and its subscripts."""
    head, *rest = text.split("_")
    while rest and head and rest[0] in _ACCENT_WORDS:
        head += f"_{rest.pop(0)}"
    return head, "_".join(rest)


@dataclass(frozen=True)
class Named:
    """A name of the user, and how it is written in text and in LaTeX."""

    name: str
    label: Label
    text: str
    latex: str


@dataclass(frozen=True)
class Used:
    """A name of a page: whether it has a time, whether that is of an argument before the step ("state"), of another argument
    ("input"), or of what a step computes ("value"); what has none is an argument ("once"), computed once ("made"), or an "identity"."""

    name: str
    role: str

    @property
    def has_time(self) -> bool:
        return self.role not in ("once", "made", "identity")


@dataclass(frozen=True)
class Names:
    """The written names of one page, in text, as ASCII, and as mathematics, no two alike; other names as if they were
    alone. `reserved` are signs of this page that a name without a time could be mistaken for, as are its `sizes`, which are
    told apart by themselves: text has them as they are spelt."""

    roles: Mapping[str, Used]
    reserved: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()

    @cached_property
    def made(self) -> frozenset[str]:
        """The names of what is computed once."""
        return frozenset(name for name, u in self.roles.items() if u.role == "made")

    @cached_property
    def bases(self) -> Mapping[str, str]:
        """The names without what says their time."""
        return _without_times(self.roles)

    @cached_property
    def text(self) -> Mapping[str, str]:
        """The names as text has them, with Greek letters and accents."""
        siblings = set(self.bases.values())

        def candidates(base: str, has_time: bool) -> Sequence[str]:
            stem, _, last = base.rpartition("_")
            first, *more = _texts(base, has_time)
            # As in mathematics: W_xi beside W_xf, and pi beside pf, have no Greek letter.
            if stem and last in _LETTERS and _ends_as_others(base, siblings):
                first = f"{text_of_name(stem)}_{last}"
            return more if base in _LETTERS and _leads(base, siblings) else (first, *more)

        found = self._settled_texts(candidates, str, self.sizes_in_text, lambda name, text: text == self.bases[name])
        return {name: text if self.roles[name].has_time else _with_low_number(text) for name, text in found.items()}

    @cached_property
    def ascii(self) -> Mapping[str, str]:
        """The names in letters of ASCII."""

        def claim(name: str, text: str) -> int:
            # An underscore would stand before that of the time: tau_t is τ at a step, and tau is tau_.
            return 2 * self.roles[name].has_time + (text == self.bases[name])

        return self._settled_texts(_ascii_texts, in_ascii, self.sizes_in_ascii, claim)

    def _is_no_size(self, letter: str) -> bool:
        return letter in NO_SIZE or (letter == "L" and letter in self.reserved)

    @cached_property
    def sizes_in_text(self) -> Mapping[str, str]:
        """The sizes as they are spelt; those that the page has for something else with an underscore, t_ beside the step t."""
        found = {name: (name, *_with_marks(name)) for name in sorted(self.sizes)}
        return _settled(found, lambda name, text: self._is_no_size(text), lambda name, text: text == name)

    @cached_property
    def sizes_in_ascii(self) -> Mapping[str, str]:
        """The sizes in letters of ASCII: of ν and nu, the second has its own letters."""
        found = {name: _ascii_texts(name, False) for name in sorted(self.sizes)}
        return _settled(found, lambda name, text: self._is_no_size(text), lambda name, text: text == name)

    @cached_property
    def sizes_spelt(self) -> Mapping[str, Spelling]:
        """The sizes as mathematics has them, the first claim to a letter being that of its own name; π is the number, and t the step."""
        found = {name: _spellings(name) for name in sorted(self.sizes)}
        return _settled(found, lambda name, s: not s.plain and self._is_no_size(s.head), lambda name, s: s.head == name)

    def renamed(self, ascii: bool = False) -> Mapping[str, str]:
        """Return the names to which text has added an underscore or more, and what each is in the cell."""
        found: dict[str, str] = {}
        shown = [(self.bases[name], written) for name, written in (self.ascii if ascii else self.text).items()]
        for base, written in (*shown, *(self.sizes_in_ascii if ascii else self.sizes_in_text).items()):
            if written.endswith("_") and not base.endswith("_"):
                far = ascii and not base.isascii()
                found[written] = f"{in_ascii(base)} in letters beyond ASCII" if far else base
        return found

    def _settled_texts(self, candidates: Callable[[str, bool], Sequence[str]], sign: Callable[[str], str],
                       sizes: Mapping[str, str], claim: Callable[[str, str], int]) -> dict[str, str]:  # fmt: skip
        """Return the names as a kind of text has them, `sign` being a sign of the page there, and `sizes` those of the sizes
        that are not as they are spelt."""
        timed = {x for name, u in self.roles.items() if u.has_time for x in candidates(self.bases[name], True)[:2]}
        refused = {sign(x) for x in PAGE | self.reserved | self.sizes} | {"Σ", *sizes.values()} | _FUNCTIONS

        def is_of_text(name: str, text: str) -> bool:
            if self.roles[name].has_time or (self.roles[name].role == "identity" and text == "I"):
                return False
            head, _, last = text.rpartition("_")
            return text in refused or (bool(head) and (last in TIMES_OF_PAGE or (last.isdigit() and head in timed)))

        found = {name: candidates(base, self.roles[name].has_time) for name, base in self.bases.items()}
        return _settled(found, is_of_text, claim)

    @cached_property
    def spelling(self) -> Mapping[str, Spelling]:
        """The names as mathematics has them."""
        reserved = self.reserved | self.sizes
        siblings, signs = set(self.bases.values()), map(spelling, reserved)
        own = PAGE | reserved | {s.head for s in signs if not s.subscripts}
        sizes = set(self.sizes_spelt.values())
        spelt = {name: _spellings(base, siblings) for name, base in self.bases.items()}
        forms = {(s.head, s.subscripts) for name, (s, *_) in spelt.items() if self.roles[name].has_time}

        def is_of_page(name: str, s: Spelling) -> bool:
            written = s.head if not s.subscripts and not s.plain else ""
            is_identity = self.roles[name].role == "identity" and written == "I"
            return (
                not self.roles[name].has_time
                and not is_identity
                and (written in own or s in sizes or _is_time(s, forms))
            )

        def claim(name: str, s: Spelling) -> int:
            # Of τ and tau, both τ, it is the first that has the letter itself; in sans serif the second has its own letters.
            return s.head == self.bases[name] if s.plain else not self.bases[name].isascii()

        return _settled(spelt, is_of_page, claim)


ALONE = Names({})
"""Names that are written as each is by itself."""


def names_of_page(used: Iterable[Used], reserved: Collection[str] = (), sizes: Collection[str] = ()) -> Names:
    """Return how the names and the `sizes` of a page are written, none like what the page writes itself; `reserved` are signs of this
    page."""
    return Names({u.name: u for u in sorted(used, key=lambda u: u.name)}, frozenset(reserved), frozenset(sizes))


@dataclass(frozen=True)
class WithOthers(Names):
    """The names of a page, and those of `others`, values that it does not show: these are written like none of the page."""

    page: Names = ALONE
    others: tuple[Used, ...] = ()

    @cached_property
    def text(self) -> Mapping[str, str]:
        return _extended(self.page.text, self._own(lambda base: _texts(base, True)))

    @cached_property
    def ascii(self) -> Mapping[str, str]:
        return _extended(self.page.ascii, self._own(lambda base: _ascii_texts(base, True)))

    @cached_property
    def spelling(self) -> Mapping[str, Spelling]:
        return _extended(self.page.spelling, self._own(_spellings))

    def _own(self, candidates: Callable[[str], Sequence[T]]) -> dict[str, Sequence[T]]:
        """Return the ways to write each other name, by its letters without what says its time."""
        return {u.name: candidates(without_time(u.name, u.role)) for u in self.others}


def with_others(names: Names, others: Iterable[Used]) -> Names:
    """Return the names of a page with those of values that it does not show, which are written like none of the page."""
    unseen = sorted((u for u in others if u.name not in names.roles), key=lambda u: u.name)
    return WithOthers(names.roles, names.reserved, names.sizes, names, tuple(unseen))


def _extended(shown: Mapping[str, T], others: Mapping[str, Sequence[T]]) -> dict[str, T]:
    """Return the shown names, and for each other name the first of its candidates that is free."""
    found = dict(shown)
    for name, candidates in others.items():
        # One after the other: each name also avoids those that were written just before.
        found[name] = _first_free(found, *candidates)
    return found


def _first_free(taken: Mapping[str, T], *candidates: T) -> T:
    return next((x for x in candidates if x not in taken.values()), candidates[-1])


def _with_low_number(text: str) -> str:
    """Return a name without a time whose number stands below it: as `_1` that would be the value at step 1."""
    head, _, last = text.rpartition("_")
    return head + last.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")) if head and last.isdecimal() else text


MOST_ALIKE = 9
"""Names of one page that are told apart by underscores behind them."""


def _with_marks(base: str) -> tuple[str, ...]:
    return tuple(base.rstrip("_") + "_" * n for n in range(1, MOST_ALIKE + 1))


@cache
def _texts(base: str, has_time: bool) -> tuple[str, ...]:
    """Return the ways in which text may have a name."""
    return (text_of_name(base) + _end(base, has_time), base, base.replace("_", ""), *_with_marks(base))


@cache
def _ascii_texts(base: str, has_time: bool) -> tuple[str, ...]:
    """Return the ways in which ASCII may have a name."""
    whole = in_ascii(base)
    # Δt at a step is Deltat_t: Delta_{t,t} would be Δ at two.
    whole = f"{whole.removesuffix('_t')}t" if has_time and whole.endswith("_t") else whole
    own = (base,) if base.isascii() else ()
    # A word of an accent in the middle of a word would no longer be read as one.
    is_plain = not any(map(unicodedata.combining, unicodedata.normalize("NFD", base)))
    return (whole + _end(base, has_time), *own, *[whole.replace("_", "")] * is_plain, *_with_marks(whole))


def _end(base: str, has_time: bool) -> str:
    """Return the underscore at the end of a name, which int_ keeps, since it is no int; λ needs none, and at a step in_ is in_t."""
    text = text_of_name(base)
    return "_" if base.endswith("_") and not has_time and text.isascii() and not text.endswith("_") else ""


def _spellings(base: str, siblings: Collection[str] = ()) -> tuple[Spelling, ...]:
    """Return the ways in which mathematics may have a name."""
    inner = base.strip("_")
    whole = base.replace(inner, in_ascii(inner)) if inner else base
    return spelling(base, siblings), *(Spelling(x, plain=True) for x in (whole, *_with_marks(whole)))


def _is_time(s: Spelling, forms: Collection[tuple[str, tuple[str, ...]]]) -> bool:
    """Answer whether a name without a time would be read as a value at a step."""
    if s.plain or not s.subscripts:
        return False
    *before, last = s.subscripts
    return last in TIMES_OF_PAGE or (last.isdigit() and (s.head, tuple(before)) in forms)


def _without_times(roles: Mapping[str, Used]) -> dict[str, str]:
    """Return the names without what says their time; with it where two would be alike."""
    bases = {name: "I" if u.role == "identity" else without_time(name, u.role) for name, u in roles.items()}
    count = Counter(bases.values())
    # h_prev and h_new would both be h: then both keep what tells them apart.
    found = {
        name: base if base == name or (count[base] == 1 and base not in roles) else name for name, base in bases.items()
    }
    for name, base in bases.items():
        if base != name == found[name] == f"{base}_t":
            found |= _apart_from_time(name, base, roles, {*roles, *found.values()})
    return found


def _apart_from_time(name: str, base: str, roles: Mapping[str, Used], taken: Collection[str]) -> dict[str, str]:
    """Return what y_t is called where another name is y, as y_{t,t} would be y at two steps: of both that which a step computes has
    a tilde; an output y, or an argument x_t, which a caller knows by its name, has none."""
    if base not in taken:
        return {name: base}
    tilde = beside(base, taken)
    if not tilde.endswith("_tilde") and "_tilde_" not in tilde:
        return {}
    is_of_caller = roles[name].role != "value" and base in roles and roles[base].role == "value"
    return {name: base, base: tilde} if is_of_caller else {name: tilde}


def _settled(candidates: Mapping[str, Sequence[T]], refused: Callable[[str, T], bool],
             claim: Callable[[str, T], int]) -> dict[str, T]:  # fmt: skip
    """Return the first candidate of each name that is not refused; of names with the same, the next of each but of the one that
    has the greatest claim to it."""
    at = dict.fromkeys(candidates, 0)
    # All names that clash move on together, so that the result does not depend on their order; each step raises an index, so it ends.
    while True:
        written = {name: candidates[name][i] for name, i in at.items()}
        alike: dict[T, list[str]] = {}
        for name, w in written.items():
            alike.setdefault(w, []).append(name)
        clash = [name for w, names in alike.items() if len(names) > 1
                 for name in names if name != _keeper(names, w, claim, lambda n: candidates[n][at[n] :])]  # fmt: skip
        moving = {*clash, *(name for name, w in written.items() if refused(name, w))}
        moving = {name for name in moving if at[name] + 1 < len(candidates[name])}
        if not moving:
            return written
        for name in moving:
            at[name] += 1


def _keeper(names: Sequence[str], written: T, claim: Callable[[str, T], int],
            rest: Callable[[str], Sequence[T]]) -> str | None:  # fmt: skip
    """Return which of the names with one candidate keeps it, if any: the one with the greatest claim; where all have the same
    candidates from here on, the first."""
    claims = [claim(name, written) for name in names]
    if claims.count(max(claims)) == 1:
        return names[claims.index(max(claims))]
    return names[0] if all(rest(name) == rest(names[0]) for name in names) else None
