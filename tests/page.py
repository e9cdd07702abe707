"""A reader of printed equations: it evaluates `.text()` line by line, and shares nothing with what printed them.

Vectors are columns; what is written side by side is a matrix product; ⊙, + and / are elementwise, of equal shapes or with a
number. Arrays of rank three and more are read as NumPy reads them. A line that cannot be read is an error.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product as product_of
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import linalg, special

from tests.loops_page import Item, Rounds, Run, items_of, settle, starts_of

TOKEN = re.compile(
    r"""\s*(?P<token>
      ⁻[¹ᵀ] | 1i\b | Σ_t(?![\w:]) | (?:Σ|max|min)_(?:\{(?:[^{}]|\{[^{}]*\})*\}|[a-z]\d*(?=\ )) | √π | mat_\{[^}]*\}
    | (?<=[)\]])_(?:\{(?:[^{}]|\{[^{}]*\})*\}|[a-z0-9½])
    | [∗⋆](?:_\d+)?ᵀ?
    | dL/d(?=[^\W\d]) | einsum\('[^']*' | [01]_\{[^}]*\} | [01]_(?:(?![ᵀᴴ²³])\w)+
    | 10⁻?[⁰¹²³⁴-⁹]+ | \d+\.\d*(?:e[+-]?\d+)? | \d+e[+-]?\d+ | \d+
    | (?![ᵀᴴ²³])[^\W\d](?:(?![ᵀᴴ²³Σ])[\w\u0300-\u036f′])*(?:_?\{(?:[^{}]|\{[^{}]*\})*\}|'(?:_\d+)?(?=\())?
    | [-+·⊙/^²³ᵀᴴ()\[\]{}|‖⌊⌋⟨⟩><≥≤=≠∧∨¬;,:*…∞√]
    )""",
    re.VERBOSE,
)
UNIT = ("e", "unit")
"""The words for a unit vector: the second where a value is called e."""
NUMBERS = {"1i": 1j, "π": np.pi, "∞": np.inf, "√π": np.sqrt(np.pi)}


def tokens_of(line: str) -> list[tuple[str, bool]]:
    """The tokens of a formula, each with whether a space stands before it."""
    found, at = [], 0
    while at < len(line.rstrip()):
        match = TOKEN.match(line, at)
        if match is None:
            raise ValueError(f"cannot be read from here: {line[at:]!r} in {line!r}")
        found.append((match["token"], match.start("token") > at))
        at = match.end()
    return found


def plain_number(token: str) -> str:
    """A number as Python has it: 1e-6 for 10⁻⁶. What 2.5 · 10⁻⁷ is follows from its product."""
    raised = token[2:].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    return f"1e{raised}" if token != token[:2] + raised else token


LAST, NEXT, FIRST, START = 11, 12, 13, 14
TIMES = {"t": 0, "t-1": -1, "T": LAST, "t+1": NEXT, "1": FIRST, "0": START}


@dataclass(frozen=True)
class Symbol:
    """A name and the step it belongs to: 0 for t, -1 for t - 1, LAST for T, or None."""

    name: str
    time: int | None


def symbol_of(text: str) -> Symbol:
    end = re.fullmatch(r"(.*_)_(\{[^{}]*\}|[tT01])", text)
    if end is not None:  # a name that ends with an underscore
        return Symbol(end[1], TIMES[end[2].strip("{}")])
    head, sub = re.fullmatch(r"([^_]*(?:_(?:hat|tilde|bar|dot|ddot|prime))*)(?:_(.*))?", text).groups("")
    parts = sub.strip("{}").split(",") if sub else []
    if parts and parts[-1] in TIMES:
        return Symbol("_".join([head, *parts[:-1]]), TIMES[parts[-1]])
    return Symbol(text.replace("{", "").replace("}", ""), None)


def letters_of(sub: str) -> list[str]:
    """The indices of a subscript: letters side by side, or with commas."""
    return (
        [part.strip() for part in _split(sub)] if "," in sub else [*sub] if sub.isalpha() and "_" not in sub else [sub]
    )


def bare(sub: str) -> str:
    """A subscript without its braces."""
    return sub[1:-1] if sub.startswith("{") else sub


def _split(sub: str) -> list[str]:
    depth, parts = 0, [""]
    for sign in sub:
        depth += (sign in "({[") - (sign in ")}]")
        parts[-1] += sign if sign != "," or depth else ""
        parts += [""] * (sign == "," and not depth)
    return parts


def _sized(letters: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, int]]:
    rest = iter(sizes)
    return [(letter, 1 if letter == "0" else next(rest)) for letter in letters]


Value = np.ndarray[Any, Any]


def is_number(x: Value) -> bool:
    return x.size == 1


def column(x: Value) -> Value:
    """An n by 1 matrix is a vector."""
    return x[:, 0] if x.ndim == 2 and x.shape[1] == 1 and x.shape[0] != 1 else x


def number(x: Value) -> Value:
    return x.reshape(()) if is_number(x) else x


def elementwise(f: Callable[..., Any], *args: Value) -> Value:
    args = tuple(number(column(x)) for x in args)
    shapes = {x.shape for x in args if x.ndim}
    if len(shapes) > 1 and max(len(s) for s in shapes) < 3:
        raise ValueError(f"shapes {shapes} do not go together elementwise")
    return np.asarray(f(*args))


def product(a: Value, b: Value) -> Value:
    """What stands side by side."""
    a, b = column(a), column(b)
    if is_number(a) or is_number(b):
        return multiplied(number(a), number(b))
    if a.ndim > 2 or b.ndim > 2:
        raise ValueError(f"a product of {a.shape} and {b.shape}")
    left = a[:, None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    return column(left @ right)


def multiplied(a: Value, b: Value) -> Value:
    """A product with a factor of zero is zero, whatever the other is."""
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, a * b)


def quotient(a: Value, b: Value) -> Value:
    """What is divided by a norm counts as 0 where the norm is, as the legend says."""
    return np.where((b == 0) & (a == 0), 0.0, a / np.where((b == 0) & (a == 0), 1.0, b))


def turned(x: Value) -> Value:
    x = column(x)
    return x if x.ndim == 0 else x[None, :] if x.ndim == 1 else column(x.T)


def as_matrix(x: Value) -> Value:
    """A matrix; one of one entry is a number on a page."""
    return np.reshape(x, (1, 1)) if np.size(x) == 1 else np.asarray(x)


def _of_matrix(function: Callable[[Value], Any]) -> Callable[..., Any]:
    def of(x: Value, axes: Any) -> Any:
        if np.ndim(x) < 3:
            return function(as_matrix(x))
        rest = np.shape(x)[2:]  # of other indices, for each of which there is a matrix
        # The last index of a formula stands first.
        found = np.stack([np.transpose(function(x[(..., *at)].T)) for at in np.ndindex(*rest)], -1)
        return found.reshape(*found.shape[:-1], *rest)

    return of


def _inverse(a: Any) -> Any:
    """Return an inverse, zero where all is zero: at step T + 1, whose terms the page says are zero."""
    return np.linalg.inv(a) if a.any() else np.zeros_like(a)


def _erf_inverse(x: Any) -> Any:
    return special.erfinv(x)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "σ": special.expit, "tanh": np.tanh, "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "sqrt": np.sqrt, "expm1": np.expm1, "log1p": np.log1p, "sign": np.sign, "sg": lambda x: x, "sinh": np.sinh, "cosh": np.cosh,
    "arctan": np.arctan, "arcsin": np.arcsin, "arccos": np.arccos, "erf": special.erf, "stop": lambda x: x,
    "softplus": lambda x: np.logaddexp(x, 0), "relu": lambda x: np.maximum(x, 0), "arctan2": np.arctan2,
    "where": lambda c, a, b: np.where(c != 0, a, b), "maximum": np.maximum, "hypot": np.hypot,
    "mod": np.mod, "logaddexp": np.logaddexp, "floor": np.floor,
    "silu": lambda x: x * special.expit(x), "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "gelu": lambda x: x * special.ndtr(x), "elu": lambda x, a=1.0: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x), "softsign": lambda x: x / (1 + abs(x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1), "clip": np.clip,
    "Φ": special.ndtr, "φ": lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    "Re": np.real, "Im": np.imag, "arg": np.angle, "conj": np.conj,
    "arcsinh": np.arcsinh, "arctanh": np.arctanh, "arccosh": np.arccosh, "exp2": np.exp2, "rint": np.rint,
}  # fmt: skip


def _mean(x: Value, axes: Any) -> Value:
    return np.mean(x, axes, keepdims=True)


def _softmax(x: Value, axes: Any) -> Value:
    return np.exp(_log_softmax(x, axes))


def _log_softmax(x: Value, axes: Any) -> Value:
    return x - special.logsumexp(x, axes, keepdims=True)


def _normalized(x: Value, axes: Any, eps: Value) -> Value:
    return (x - _mean(x, axes)) / np.sqrt(np.var(x, axes, keepdims=True) + eps)


def _shared(is_one: Value, axes: Any) -> Value:
    """Entries that are equally the largest share what it is given."""
    return is_one / np.sum(is_one, axes, keepdims=True)


OF_ARRAYS: dict[str, Callable[..., Any]] = {
    "softmax": _softmax,
    "logsoftmax": _log_softmax,
    "lse": special.logsumexp,
    "LN": _normalized,
    "RN": lambda x, axes, eps: x / np.sqrt(np.mean(x**2, axes, keepdims=True) + eps),
    "unit": lambda x, axes: x / np.sqrt(np.sum(x**2, axes, keepdims=True)),
    "is_max": lambda x, axes: _shared(x == np.max(x, axes, keepdims=True), axes),
    "is_min": lambda x, axes: _shared(x == np.min(x, axes, keepdims=True), axes),
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "norm": lambda x, axes: np.sqrt(np.sum(x**2, axes)),
    "max": np.max,
    "min": np.min,
    "inv": _of_matrix(_inverse),
    "det": _of_matrix(np.linalg.det),
    "chol": _of_matrix(np.linalg.cholesky),
    "expm": _of_matrix(linalg.expm),
    "tril": _of_matrix(np.tril),
    "low": _of_matrix(lambda x: np.tril(x) - np.diag(np.diag(x)) / 2),
    "diagonal": _of_matrix(np.diag),
    "tr": _of_matrix(np.trace),
    "cumsum": lambda x, axes: np.cumsum(x, max(axes)) if axes else x,
    "reverse_cumsum": lambda x, axes: np.flip(np.cumsum(np.flip(x, max(axes)), max(axes)), max(axes)),
    "roll": lambda x, axes, k: np.roll(x, int(k), max(axes) if len(axes) == 1 else None),
}
"""Functions of arrays by what they mean: over all of the array, over each row or column, over numbered axes."""


def of_array(name: str, x: Value, *numbers: Value) -> Value:
    name, over = split(name)
    axes = {"": tuple(range(x.ndim)), "rows": (1,), "columns": (0,)}[over]
    return column(np.asarray(OF_ARRAYS[name](x, axes, *numbers)))


def split(name: str) -> tuple[str, str]:
    """The name of a function and what it goes over; a name may have an underscore itself."""
    if name in OF_ARRAYS:
        return name, ""
    base = next((own for own in sorted(OF_ARRAYS, key=len, reverse=True) if name.startswith(f"{own}_")), None)
    if base is not None:
        return base, name.removeprefix(f"{base}_")
    base, _, over = name.rpartition("_")
    return base, over


@dataclass
class Reader:
    """Reads formulas with values by name; `lookup` gives that of a symbol."""

    lookup: Callable[[Symbol], Value]
    sizes: Mapping[str, int]
    steps: int = 0
    at: int = 0
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    tokens: list[tuple[str, bool]] = field(default_factory=list)
    pos: int = 0
    line: str = ""
    scope: dict[str, Value] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    family: dict[str, str] = field(default_factory=dict)
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)
    convolutions: Mapping[str, Callable[..., Value]] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)
    shape: tuple[int, ...] | None = None
    eye: int = 0

    def read(self, line: str) -> Value:
        self.tokens, self.pos, self.line = tokens_of(line), 0, line
        if ("I" in {token for token, _ in self.tokens}) and not self.eye and not self.is_known("I"):
            return self.with_identity(line)
        value = self.sum()
        if self.pos < len(self.tokens):
            raise ValueError(f"{self.tokens[self.pos][0]!r} is left over in {line!r}")
        return value

    def with_identity(self, line: str) -> Value:
        """A line with an identity of the one size that fits: no two sizes are equal."""
        found = []
        for size in sorted({*self.sizes.values()}):
            self.eye = size
            with contextlib.suppress(ValueError):
                found.append(self.read(line))
        self.eye = 0
        if len(found) != 1:
            raise ValueError(f"{len(found)} sizes of an identity fit in {line!r}")
        return found[0]

    def peek(self) -> str:
        return self.tokens[self.pos][0] if self.pos < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if not token or wanted not in (None, token):
            raise ValueError(f"{wanted!r} is expected at {token!r} ({self.pos}) in {self.line!r}")
        self.pos += 1
        return token

    def each(self, f: Callable[..., Any], *args: Value) -> Value:
        """A function element by element; of entries, whose indices are axes, as NumPy broadcasts."""
        return np.asarray(f(*args)) if self.scope else elementwise(f, *args)

    def sum(self) -> Value:
        if self.peek() == "-":
            self.take()
            value = self.each(np.negative, self.term())
        else:
            value = self.term()
        while self.peek() in ("+", "-"):
            value = self.each(np.add if self.take() == "+" else np.subtract, value, self.term())
        return value

    def term(self) -> Value:
        """A term; one of step T + 1 is zero, as the page says."""
        start, at = self.pos, self.at
        try:
            value = self.product_of_term()
        except KeyError:  # what the page defines for the steps backward has no value behind the last one
            self.pos, self.at, value = self.end_of_term(start), at, np.asarray(0.0)
            if not self.is_behind(start):
                raise
        return 0 * value if self.is_behind(start) else value

    def is_behind(self, start: int) -> bool:
        """Whether what stands from a token up to here reads step T + 1."""
        return 0 < self.steps == self.at and any("t+1" in token for token, _ in self.tokens[start : self.pos])

    def end_of_term(self, start: int) -> int:
        depth = 0
        for i in range(start, len(self.tokens)):
            token = self.tokens[i][0]
            depth += (token in "([{") - (token in ")]}")
            if depth < 0 or (depth == 0 and token in ("+", "-", ",", ";")):
                return i
        return len(self.tokens)

    def product_of_term(self) -> Value:
        token = self.peek()
        if token == "Σ_t" or token.startswith("Σ_{t: "):
            return self.over_time(self.take())
        is_function = self.tokens[self.pos + 1 : self.pos + 2] == [("(", False)]
        if token.startswith(("Σ_", "max_", "min_")) and not token.endswith("_") and not is_function:
            return self.over_indices(self.take())
        value = self.matrix()
        while self.peek() in ("⊙", "·", "/") or self.peek() in self.convolutions:
            if self.peek() in self.convolutions:
                value = self.convolutions[self.take()](value, self.matrix(), self.shape)
                continue
            f = quotient if self.take() == "/" else multiplied
            value = self.each(f, value, self.term() if self.is_sum() else self.matrix())
        return value

    def is_sum(self) -> bool:
        """Whether a sum begins here."""
        return self.peek().startswith("Σ_")

    def over_time(self, token: str) -> Value:
        start, total, now = self.pos, None, self.at
        for step in range(1, self.steps + 1):
            self.pos, self.at = start, step
            value = self.term()
            if ":" in token:
                value = self.each(np.multiply, self.inner(token[len("Σ_{t: ") : -1]), value)
            total = value if total is None else self.each(np.add, total, value)
        self.at = now
        assert total is not None
        return total

    def inner(self, text: str) -> Value:
        """A condition or an index that stands in a subscript."""
        kept = self.tokens, self.pos, self.line
        self.tokens, self.pos, self.line = tokens_of(text), 0, text
        value = self.relation()
        if self.pos < len(self.tokens):
            raise ValueError(f"{self.tokens[self.pos][0]!r} is left over in {text!r}")
        self.tokens, self.pos, self.line = kept
        return value

    def bound(self, letters: Sequence[str], sizes: Mapping[str, int], whole: bool = False) -> None:
        """Take letters as indices, of a term or of the whole formula: each is an axis, before those that are taken already."""
        for letter in letters:
            size = sizes[letter] if letter in sizes else self.size_of(letter, whole)
            self.scope[letter] = np.arange(size).reshape((size, *(1,) * len(self.scope)))

    def over_family(self, letter: str) -> Value:
        start, total, before = self.pos, None, self.family
        for value in self.families[letter]:
            self.pos, self.family = start, before | {letter: value}
            term = self.term()
            total = term if total is None else self.each(np.add, total, term)
        self.family = before
        assert total is not None
        return total

    def over_indices(self, token: str) -> Value:
        kind, _, below = token.partition("_")
        below = below.strip("{}")
        if below in self.families:
            return self.over_family(below)
        parts = re.split(r"\s*([<≤≥])\s*", below) if kind == "Σ" and any(c in below for c in "≤≥") else []
        letters, sizes = letters_of(below), {}
        if ": " in below:  # l: (z_t)_l = i
            letter, below = below.split(": ")
            parts, letters = [letter], [letter]
            sizes = {letter: self.run_in(letter, below)}
        elif len(parts) == 5:  # i ≤ l < n
            letters, sizes, below = [parts[2]], {parts[2]: self.size(parts[4])}, f"{parts[0]} ≤ {parts[2]}"
        elif parts:
            letters = [parts[0]]
            if parts[1] == "≤":  # from 0 up to what is said
                sizes = {parts[0]: int(self.inner(parts[2]).max()) + 1}
        elif "<" in below:
            pairs = [part.split("<") for part in below.split(",")]
            letters = [letter.strip() for letter, _ in pairs]
            sizes = {letter.strip(): self.size(size) for letter, size in pairs}
        if len(letters) == 1 and letters[0] in sizes and self.is_of_rounds(letters[0]):
            return self.over_rounds(letters[0], sizes[letters[0]])
        self.bound(letters, sizes)
        value = self.term()
        if parts:
            value = np.multiply(self.inner(below), value)
        for letter in letters[::-1]:
            size, depth = self.scope.pop(letter).shape[0], len(self.scope)
            inner = (*(1,) * (depth - value.ndim), *value.shape[max(value.ndim - depth, 0) :])
            value = np.broadcast_to(value, (size, *inner))
            value = (np.sum if kind == "Σ" else np.max if kind == "max" else np.min)(value, axis=0)
        return value

    def is_of_rounds(self, letter: str) -> bool:
        """Whether a letter numbers rounds in the term that follows."""
        term = self.tokens[self.pos : self.end_of_term(self.pos)]
        return self.rounds.are_read((token for token, _ in term), letter)

    def over_rounds(self, letter: str, most: int) -> Value:
        start, total = self.pos, None
        for k in range(most):
            self.pos, self.rounds.now[letter] = start, k
            value = self.term()
            total = value if total is None else self.each(np.add, total, value)
        self.rounds.now.pop(letter, None)
        assert total is not None, "a loop without a round has no line"
        return total

    def along(self, name: str, below: str) -> Value:
        """A function of what an expression gives as indices run; behind it, an entry of what that is."""
        pairs = [part.partition("<") for part in letters_of(below)]
        letters = [letter.strip() for letter, _, _ in pairs]
        self.bound(letters, {letter.strip(): self.size(size) for letter, sign, size in pairs if sign})
        self.take("(")
        x, *numbers = self.arguments()
        self.take(")")
        x = np.broadcast_to(x, tuple(i.size for i in reversed(self.scope.values())))
        for letter in letters:
            self.scope.pop(letter)
        value = np.asarray(OF_ARRAYS[name](x, tuple(range(len(letters))), *numbers))
        if not self.peek().startswith("_") or self.tokens[self.pos][1]:
            return value
        at = letters_of(bare(self.take()[1:]))[::-1]
        rest = np.ogrid[tuple(slice(n) for n in value.shape[len(letters) :])]
        chosen = [np.asarray(self.scope[i] if i in self.scope else self.inner(i)).astype(int) for i in at]
        return np.asarray(value[(*chosen, *rest)])

    def size_of(self, letter: str, whole: bool = False) -> int:
        """How far an index runs: the axis of an array whose index it is."""
        now, self.at = self.at, max(self.at, 1)
        rounds, self.rounds.now = self.rounds.now, dict.fromkeys(self.rounds.letters, 0) | self.rounds.now
        try:
            return self.axis_with(letter, whole)
        finally:
            self.at, self.rounds.now = now, rounds

    def axis_with(self, letter: str, whole: bool = False) -> int:
        for i in self.places(whole):
            token = self.tokens[i][0]
            with contextlib.suppress(ValueError):
                return self.run_in(letter, token)
            head, _, sub = token.partition("_")
            if head == "" and sub and letter in letters_of(sub.strip("{}")):
                start = self.opened(i - 1)
                if start and not self.tokens[start][1] and split(self.tokens[start - 1][0])[0] in OF_ARRAYS:
                    own = letters_of(bare(split(self.tokens[start - 1][0])[1]))  # an entry of what a function gives
                    return self.run_of(own[letters_of(bare(sub)).index(letter)])
                return int(self.apart(start, i).shape[letters_of(sub.strip("{}")).index(letter)])
            is_called = self.tokens[i + 1 : i + 2] == [("(", False)]
            if head and sub and not is_called and letter in letters_of(sub.strip("{}")) and not self.is_known(token):
                return int(self.lookup(Symbol(head, None)).shape[letters_of(sub.strip("{}")).index(letter)])
        raise ValueError(f"nothing says how far {letter} runs in {self.line!r}")

    def run_in(self, letter: str, text: str) -> int:
        """How far an index runs that chooses an element of an array of indices in a text, as j in E_{(z_t)_j}."""
        match = re.search(rf"\((\w+)\)_{letter}\b", text)
        if match is None:
            raise ValueError(f"{letter} chooses nothing in {text!r}")
        return int(np.shape(self.lookup(symbol_of(match[1])))[0])

    def places(self, whole: bool) -> list[int]:
        """Where to look for an index: in its term before what follows, and outside braces, in which it may run less far."""
        found, depth, braces, is_term = [], 0, 0, True
        for i in range(self.pos, len(self.tokens)):
            token = self.tokens[i][0]
            depth += (token in ("(", "[", "{")) - (token in (")", "]", "}"))
            braces += (token == "{") - (token == "}")
            is_term = is_term and depth >= 0 and (whole or depth > 0 or token not in ("+", "-"))
            found.append((not is_term, braces > 0, i))
        return [i for *_, i in sorted(found)]

    def run_of(self, index: str) -> int:
        """How far an index of a function runs: as it says itself, or as an axis does."""
        letter, sign, size = index.partition("<")
        return self.size(size) if sign else self.axis_with(letter.strip())

    def is_known(self, token: str) -> bool:
        try:
            self.lookup(symbol_of(token))
        except KeyError:
            return False
        return True

    def opened(self, closing: int) -> int:
        depth = 0
        for i in range(closing, -1, -1):
            depth += (self.tokens[i][0] in (")", "]")) - (self.tokens[i][0] in ("(", "["))
            if depth == 0:
                return i
        raise ValueError(f"nothing opens the bracket in {self.line!r}")

    def apart(self, start: int, end: int) -> Value:
        """The array between two tokens, read without indices."""
        kept = self.tokens, self.pos, self.scope
        self.tokens, self.pos, self.scope = self.tokens[start:end], 0, {}
        value = self.power()
        self.tokens, self.pos, self.scope = kept
        return value

    def matrix(self) -> Value:
        value = self.power()
        while self.peek() and self.tokens[self.pos][1] and self._begins() and not self.is_sum():
            other = self.power()
            value = np.asarray(value * other) if self.scope else product(value, other)
        if self.is_sum() and self.tokens[self.pos][1]:  # numbers before a sum
            if value.size != 1 and not self.scope:
                raise ValueError(f"an array stands before a sum in {self.line!r}")
            return self.each(np.multiply, value, self.term())
        return value

    def _begins(self) -> bool:
        token = self.peek()
        if token in ("if", "otherwise"):
            return False
        if token == "|":  # behind a space, an absolute value begins where no space follows
            return self.tokens[self.pos + 1 : self.pos + 2] != [] and not self.tokens[self.pos + 1][1]
        return token in "‖([{¬⌊√⟨" or token[0].isalnum() or (token.startswith("Σ") is False and token in NUMBERS)

    def power(self) -> Value:
        entries = None
        if self.peek() in ("(", "["):
            entries = self.entries()
        value = self.atom() if entries is None else entries
        while self.pos < len(self.tokens) and not self.tokens[self.pos][1]:
            match self.peek():
                case "²" | "³" as sign:
                    self.take()
                    value = self.each(lambda x, n=2 if sign == "²" else 3: x**n, value)
                case "^":
                    self.take()
                    value = self.each(np.power, value, self.power())
                case "ᵀ":
                    self.take()
                    value = turned(value)
                case "ᴴ":
                    self.take()
                    value = np.conj(turned(value))
                case "⁻¹" | "⁻ᵀ" as sign:
                    self.take()
                    back = column(_inverse(as_matrix(value)))
                    value = back if sign == "⁻¹" else turned(back)
                case "[":
                    value = self.indexed(value)
                case _:
                    break
        return value

    def entries(self) -> Value | None:
        """Brackets with indices behind them: an entry of an array, or, of indices that are new, the array with these entries."""
        start = self.pos
        depth, end = 0, self.pos
        while end < len(self.tokens):
            depth += (self.tokens[end][0] in ("(", "[", "{")) - (self.tokens[end][0] in (")", "]", "}"))
            if depth == 0:
                break
            end += 1
        if end + 1 >= len(self.tokens) or not self.tokens[end + 1][0].startswith("_"):
            return None
        if self.tokens[end + 1][0] == "_½":
            self.pos = start + 1
            return self.halved(end)
        sub = bare(self.tokens[end + 1][0][1:])
        pairs = [part.partition("<") for part in letters_of(sub)]
        letters = [letter.strip() for letter, _, _ in pairs]
        sizes = {letter.strip(): self.size(size) for letter, sign, size in pairs if sign}
        if (
            self.scope
            or not all(x == "0" or re.fullmatch(r"[a-z](_\d+)?", x) for x in letters)
            or any(x in self.rounds.now or self.is_known(x) for x in letters)
        ):
            value = self.apart(start, end + 1)
            self.pos = end + 2
            return self.entry(value, sub)
        self.pos = start + 1
        value = self.of_entries(letters, self.relation, sizes)
        if self.pos != end:
            raise ValueError(f"{self.peek()!r} is left over in {self.line!r}")
        self.pos = end + 2
        return value

    def halved(self, end: int) -> Value:
        """A condition that is one half where both sides are equal."""
        left, sign, right = self.sum(), self.take(), self.sum()
        if self.pos != end or sign not in ("<", ">"):
            raise ValueError(f"the index ½ is not behind [a > b] in {self.line!r}")
        self.pos = end + 2
        ahead, behind = (left, right) if sign == ">" else (right, left)
        return self.each(lambda a, b: np.heaviside(a - b, 0.5), ahead, behind)

    def of_entries(
        self, letters: Sequence[str], read: Callable[[], Value], sizes: Mapping[str, int] = MappingProxyType({})
    ) -> Value:
        """The array whose entries a formula says."""
        names = [letter for letter in letters if letter != "0"]
        self.bound(names[::-1], sizes, whole=True)
        value, shape = read(), tuple(self.scope[letter].shape[0] for letter in names)
        self.scope = {}
        shape = tuple(1 if letter == "0" else self_size for letter, self_size in _sized(letters, shape))
        return np.broadcast_to(value, tuple(s for s, x in zip(shape, letters, strict=True) if x != "0")).reshape(shape)

    def entry(self, value: Value, sub: str) -> Value:
        value = column(value)
        if value.ndim == 0 and value == 0 and 0 < self.steps == self.at:
            return value  # of a step behind the last one
        if not self.scope:  # rows of a table
            return column(
                np.asarray(value[tuple(slice(None) if x == ":" else int(self.inner(x)) for x in letters_of(sub))])
            )
        at = [self.scope[x] if x in self.scope else self.inner(x) for x in letters_of(sub)]
        clipped = [np.clip(np.asarray(i).astype(int), 0, n - 1) for i, n in zip(at, value.shape, strict=True)]
        return np.asarray(value[tuple(clipped)])

    def atom(self) -> Value:
        token = self.take()
        match token:
            case "(":
                value = self.relation()
                self.take(")")
                return value
            case "{":
                return self.cases()
            case "⟨":
                value = self.sum()
                self.take(",")
                value = np.sum(elementwise(np.multiply, value, self.sum()))
                self.take("⟩")
                return np.asarray(value)
            case "√":
                return self.each(np.sqrt, self.atom())
            case "‖":
                value = np.sqrt(np.sum(np.abs(self.sum()) ** 2))
                self.take("‖")
                return np.asarray(value)
            case "|":
                value = self.each(np.abs, self.sum())
                self.take("|")
                return value
            case "⌊":
                value = self.each(np.floor, self.sum())
                self.take("⌋")
                return value
            case "¬":
                return self.each(lambda x: (x == 0) * 1.0, self.atom())
            case "[":
                return self.bracket()
            case "dL/d":
                symbol = symbol_of(self.take())
                return self.lookup(Symbol("dL/d" + symbol.name, symbol.time))
            case _ if token in NUMBERS:
                return np.asarray(NUMBERS[token])
            case _ if token.startswith(("0_", "1_")):
                return np.full([self.size(part) for part in token[2:].strip("{}").split("×")], float(token[0]))
            case _ if token[0].isdigit():
                return np.asarray(float(plain_number(token)))
            case _ if token.startswith("einsum("):
                return self.einsum(token[len("einsum('") : -1])
            case "I" if self.eye:
                return np.eye(self.eye)
        if self.peek() == "(" and not self.tokens[self.pos][1]:
            base, over = split(token)
            if base in OF_ARRAYS and over not in ("", "rows", "columns"):
                return self.along(base, bare(over))
            return self.call(token)
        return self.symbol(token)

    def cases(self) -> Value:
        """What holds under conditions, and what else."""
        value = self.relation()
        if self.take() == "otherwise":
            self.take("}")
            return value
        test = self.relation()
        self.take(";")
        return self.each(lambda c, a, b: np.where(c != 0, a, b), test, value, self.cases())

    def symbol(self, token: str) -> Value:
        if token in self.scope:
            return self.scope[token]
        if token in self.rounds.now:
            return np.asarray(float(self.rounds.now[token]))
        if token in self.sizes:
            return np.asarray(float(self.sizes[token]))
        if token == "i" and not self.is_known(token):
            return np.asarray(1j)
        plain = token.replace("\u0304", "", 1)
        if plain != token and not self.is_known(token) and self.is_known(plain):
            return np.conj(self.symbol(plain))
        head, _, sub = token.partition("_")
        if head in UNIT and sub.startswith("{") and symbol_of(sub[1:-1]).time is not None:
            return self.unit(sub[1:-1])
        if head in UNIT and sub.strip("{}") in self.rounds.now and not self.is_known(token):
            if not self.shape:
                raise ValueError(f"nothing says how long {token} is in {self.line!r}")
            return np.eye(self.shape[0])[self.rounds.now[sub.strip("{}")]]
        symbol = symbol_of(token)
        is_of_step = symbol.time in (0, -1, NEXT) or self.rounds.split(symbol.name) is not None
        if sub and not is_of_step and not self.is_known(token) and self.is_known(head):
            return self.entry(self.lookup(Symbol(head, None)), sub[1:-1] if sub.startswith("{") else sub)
        return np.asarray(self.lookup(symbol))

    def unit(self, row: str) -> Value:
        return np.eye(self.limits[symbol_of(row).name])[int(self.inner(row))]

    def relation(self) -> Value:
        value = self.sum()
        while self.peek() in RELATIONS:
            value = self.each(RELATIONS[self.take()], value, self.sum())
        return value

    def bracket(self) -> Value:
        """A condition, a matrix of numbers, or parts one under the other (;) or beside each other (,)."""
        rows, sign = [[self.relation()]], ""
        while self.peek() in (";", ","):
            sign = self.take()
            rows.append([self.relation()]) if sign == ";" else rows[-1].append(self.relation())
        self.take("]")
        if len(rows) == 1 and len(rows[0]) == 1:
            return rows[0][0]
        beside = [np.concatenate([x[:, None] if x.ndim == 1 else np.atleast_2d(x) for x in row], 1) if len(row) > 1
                  else row[0] for row in rows]  # fmt: skip
        if len(rows) == 1:
            return beside[0]
        flat = [np.atleast_1d(x) for x in beside]
        rank = max(x.ndim for x in flat)
        return column(np.concatenate([x if x.ndim == rank else x[:, None] for x in flat]))

    def arguments(self) -> list[Value]:
        found = [self.relation()]
        while self.peek() == ",":
            self.take()
            if self.tokens[self.pos][0] in ("axis",) or (self.peek() == "(" and self._is_tuple()):
                self.pos -= 1
                break
            found.append(self.relation())
        return found

    def _is_tuple(self) -> bool:
        """Whether a bracket holds sizes with a comma between them, as a shape does."""
        depth = 0
        for token, _ in self.tokens[self.pos :]:
            depth += (token in "([") - (token in ")]")
            if depth == 1 and token == ",":
                return True
            if depth == 0:
                return False
        return False

    def words(self) -> str:
        """The tokens up to the bracket that closes, as text."""
        depth, text = 0, ""
        while depth or self.peek() != ")":
            token = self.take()
            depth += (token in "([") - (token in ")]")
            text += " " * self.tokens[self.pos - 1][1] + token
        return text

    def call(self, name: str) -> Value:
        self.take("(")
        args = self.arguments()
        options = ""
        if self.peek() == ",":
            self.take()
            options = self.words()
        self.take(")")
        return np.asarray(self.called(name, args, options))

    def called(self, name: str, args: list[Value], options: str) -> Any:
        base, over = split(name)
        if base in OF_ARRAYS and (over or base not in ("max", "min") or len(args) == 1) and not options:
            return of_array(name, *args)
        x = args[0]
        axis = self.axis_of(options)
        match name:
            case "sum":
                return np.sum(x, axis)
            case "max" | "min":
                return self.each(np.maximum if name == "max" else np.minimum, *args)
            case "diag":
                return np.diag(np.atleast_1d(x)) if x.ndim < 2 else np.diag(x)
            case "vec":
                return x.reshape(-1)
            case "transpose":
                return np.transpose(x, self.shape_of(options))
            case "reshape":
                return column(x.reshape(self.shape_of(options)))
            case "expand":
                return np.broadcast_to(x, self.shape_of(options))
            case "join":
                return np.concatenate(args, axis)
            case "pad":
                shape, _, place = options.partition("),")
                whole = np.zeros(self.shape_of(shape + ")"))
                view = whole[self.spans(place)]
                view[...] = x.reshape(view.shape)
                return column(whole)
            case "scatter":
                index, rows = int(args[1]), int(args[2])
                at = self.axis_of(options) or 0
                whole = np.zeros((*x.shape[:at], rows, *x.shape[at:]))
                np.moveaxis(whole, at, 0)[index] = x
                return column(whole)
        if name.startswith("mat_"):
            return column(x.reshape([self.size(part) for part in name[5:-1].split("×")]))
        f = self.functions.get(name) or FUNCTIONS.get(name)
        if f is None:
            raise ValueError(f"the function {name} is not known, in {self.line!r}")
        return self.each(f, *args)

    def einsum(self, spec: str) -> Value:
        self.take(",")
        args = self.arguments()
        self.take(")")
        parts = spec.split("->")[0].split(",")
        args = [x.reshape(x.shape + (1,) * (len(p) - x.ndim)) for x, p in zip(args, parts, strict=True)]
        return column(np.einsum(spec, *args))

    def axis_of(self, options: str) -> Any:
        _, found, text = options.partition("axis=")
        if not found:
            return None
        numbers = tuple(map(int, re.findall(r"\d+", text)))
        return numbers if "(" in text else numbers[0]

    def shape_of(self, text: str) -> tuple[int, ...]:
        return tuple(self.size(part) for part in text.strip().strip("()").split(",") if part)

    def size(self, text: str) -> int:
        return int(Reader(self.lookup, self.sizes).read(text))

    def spans(self, text: str) -> tuple[slice, ...]:
        """Slices; a number alone keeps its axis."""
        found = []
        for part in text.strip().removeprefix("[").removesuffix("]").split(","):
            bounds = part.split(":")
            if len(bounds) == 1:
                start = self.size(bounds[0])
                found.append(slice(start, start + 1))
            else:
                found.append(slice(*(self.size(b) if b.strip() else None for b in bounds)))
        return tuple(found)

    def indexed(self, value: Value) -> Value:
        self.take("[")
        depth = 1
        parts: list[list[str]] = [[]]
        while depth:
            token = self.take()
            depth += (token == "[") - (token == "]")
            if depth and token == "," and depth == 1:
                parts.append([])
            elif depth:
                parts[-1].append(" " * self.tokens[self.pos - 1][1] + token)
        if len(parts[-1]) == 1 and symbol_of(parts[-1][0].strip()).time in (0, LAST):  # a row of a table
            index = int(self.symbol(parts[-1][0].strip()))
            return np.take(value, index, len(parts) - 1)
        texts = ["".join(part).strip() for part in parts]
        if any(text == "None" for text in texts):
            return value[tuple(None if text == "None" else slice(None) for text in texts)]
        value = np.atleast_1d(value)
        drops = value.ndim > 2
        keys = [self.spans(text)[0] if ":" in text or not drops else self.size(text) for text in texts]
        keys += [slice(None)] * (value.ndim - len(keys))
        return column(value[tuple(keys[: value.ndim])])


RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    ">": lambda a, b: (a > b) * 1.0, "<": lambda a, b: (a < b) * 1.0, "≥": lambda a, b: (a >= b) * 1.0,
    "≤": lambda a, b: (a <= b) * 1.0, "=": lambda a, b: (a == b) * 1.0, "≠": lambda a, b: (a != b) * 1.0,
    "∧": lambda a, b: ((a != 0) & (b != 0)) * 1.0, "∨": lambda a, b: ((a != 0) | (b != 0)) * 1.0,
}  # fmt: skip


Series = dict[int, Value]


@dataclass
class Page:
    """A page as it is worked through: values that do not depend on time, and those of each step."""

    sizes: Mapping[str, int]
    steps: int
    once: dict[str, Value] = field(default_factory=dict)
    timed: dict[str, Series] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    of_page: set[str] = field(default_factory=set)
    definitions: dict[str, tuple[list[str], str]] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reader = Reader(self.value, self.sizes, self.steps, functions=self.functions, limits=self.limits)

    def define(self, lines: list[str]) -> None:
        """Take functions as the page defines them, and see that those of a known name are what they are called."""
        defined = [re.split(r"\s+(?:=|is replaced by)\s+", line.strip(), maxsplit=1) for line in lines]
        own = {pair[0]: pair[1] for pair in defined if len(pair) == 2}
        for left, right in own.items():
            name, _, args = left.removesuffix(")").partition("(")
            name = name.strip()
            if name not in self.of_page:
                self.reader.functions = {**self.reader.functions, name: self._function(args.split(", "), right)}
            else:
                self.definitions[name] = re.split(r" ?[;,] ?", args), right
            if name in FUNCTIONS or name in OF_ARRAYS:
                given = [
                    np.array([0.3, -0.7, 2.0, -1.5]),
                    *([np.array(0.25), np.array(1.5)][: len(args.split(", ")) - 1]),
                ]
                known = FUNCTIONS[name](*given) if name in FUNCTIONS else OF_ARRAYS[name](given[0], (0,), *given[1:])
                np.testing.assert_allclose(self.reader.functions[name](*given), known, rtol=1e-12, err_msg=left)
                self.reader.functions = {k: v for k, v in self.reader.functions.items() if k != name}

    def _function(self, args: list[str], right: str, *, whole: bool = False) -> Callable[..., Value]:
        def f(*values: Value) -> Value:
            given = dict(zip(map(symbol_of, args), map(np.asarray, values), strict=True))
            inner = Reader(lambda symbol: given[symbol], self.sizes, functions=self.reader.functions)
            return inner.read(right)

        signs = [f"{name}(" for name in (*OF_ARRAYS, "sum") if name not in ("max", "min")]
        of_array = whole or any(sign in right for sign in (*signs, "‖"))
        return f if of_array else lambda *values: np.vectorize(f, otypes=[float])(*values)

    def begin(self, sections: Mapping[str, list[str]]) -> None:
        """Take the functions of a page, of those whose gradients stand on it the definitions alone."""
        lines = [line for lines in sections.values() for line in lines]
        self.of_page = set(re.findall(r"∇_(?:\{.*?\}|\w) *(\w+) ?\(", "\n".join(lines)))
        self.define(sections.get("Functions", []))
        self.reader.rounds.see([self.plain(line) for line in lines], self.members)
        self.starts = {symbol_of(name).name: start for name, start in starts_of(sections.get("Legend", [])).items()}

    def plain(self, text: str) -> str:
        """A line as it is read."""
        return text

    def members(self, name: str, line: str) -> list[str]:
        """The names that the name of a line's family stands for."""
        found = []
        for letter, values in families_of(line).items():
            for value in values:
                self.reader.family = {letter: value}
                found += self.names(Symbol(name, None))
        self.reader.family = {}
        return found

    def see_gradient(self, text: str, value: Value) -> None:
        """See that a value is the gradient of the function that the page defines, by differences of that."""
        parts = re.fullmatch(r"∇_(\{.*?\}|\w) *(\w+) ?\((.*)\)", text.strip())
        assert parts is not None, f"{text!r} is no gradient"
        under, name, inside = bare(parts[1]).replace(" ", ""), parts[2], parts[3]
        args, body = self.definitions[name]
        given = [
            np.array(self.reader.read(x), float) for side in re.split(r" ?; ?", inside) for x in _split_arguments(side)
        ]
        f, k = self._function(args, body, whole=True), [x.replace(" ", "") for x in args].index(under)
        found = np.zeros_like(given[k])
        for at in np.ndindex(*found.shape):
            unit = np.zeros_like(found)
            unit[at] = 1e-5
            ends = [float(np.squeeze(f(*given[:k], given[k] + sign * unit, *given[k + 1 :]))) for sign in (1, -1)]
            found[at] = (ends[0] - ends[1]) / 2e-5
        size = max(1.0, float(np.abs(found).max(initial=0)))
        np.testing.assert_allclose(np.reshape(value, found.shape), found, rtol=0, atol=1e-6 * size, err_msg=text)

    def value(self, symbol: Symbol) -> Value:
        symbol, which = self.of_round(symbol)
        for name in (name + which for name in self.names(symbol)):
            if symbol.time is None and name in self.once:
                return self.once[name]
            if symbol.time is not None and (name in self.timed or self.is_behind(name, symbol.time)):
                return self.timed_value(name, symbol.time)
        if symbol.time in (FIRST, START):  # a name that ends with a digit
            return self.once[f"{symbol.name}_{'1' if symbol.time == FIRST else '0'}"]
        raise KeyError(Symbol(symbol.name + which, symbol.time))

    def of_round(self, symbol: Symbol) -> tuple[Symbol, str]:
        """A symbol with the time that it has, and of a value of a loop inside the step the round behind its name."""
        if not self.reader.rounds.names:
            return symbol, ""
        digit = {FIRST: ",1", START: ",0", None: ""}.get(symbol.time)
        found = None if digit is None else self.reader.rounds.split(symbol.name + digit)
        if found is None or found[1] not in TIMES:
            return symbol, ""
        inner = Reader(self.value, self.sizes, rounds=self.reader.rounds)
        return Symbol(found[0], TIMES[found[1]]), f"[{int(inner.read(found[2]))}]"

    def is_behind(self, name: str, time: int) -> bool:
        """Whether an adjoint is that of step T + 1."""
        return time == NEXT and self.reader.at == self.steps and self.is_primal(name)

    def timed_value(self, name: str, time: int) -> Value:
        at = {LAST: self.steps, FIRST: 1, START: 0, NEXT: self.reader.at + 1}.get(time, self.reader.at + time)
        if time == NEXT and at > self.steps:  # adjoints of step T + 1 are zero, and what they multiply is any number
            is_adjoint = name[0] in "dδ" and name[1:] in self.timed
            return 0 * self.timed[name[1:]][self.steps] if is_adjoint else self.timed[name][self.steps]
        if at not in self.timed[name]:
            raise KeyError(Symbol(name, time))
        return self.timed[name][at]

    def printed(self, name: str) -> Value:
        """A value of the page, of the first step or of all."""
        return self.timed[name][1] if name in self.timed else self.once[name]

    def names(self, symbol: Symbol) -> list[str]:
        """The names that a symbol may be: that of a family's member has the letter of the member."""
        below = re.fullmatch(r"(.*)(.)([\u0302-\u0308′])", unicodedata.normalize("NFD", symbol.name))
        if below is not None and below[2] in self.reader.family:
            value = self.reader.family[below[2]]
            words = {
                "\u0302": "hat",
                "\u0303": "tilde",
                "\u0304": "bar",
                "\u0307": "dot",
                "\u0308": "ddot",
                "′": "prime",
            }
            short = unicodedata.normalize("NFC", f"{below[1]}{value}{below[3]}")
            return [short, f"{below[1]}{value}_{words[below[3]]}"]
        spelt = re.fullmatch(r"(.*)(.)_(hat|tilde|bar|dot|ddot|prime)", symbol.name)
        if spelt is not None and spelt[2] in self.reader.family:  # a page whose accents are words
            return [f"{spelt[1]}{self.reader.family[spelt[2]]}_{spelt[3]}"]
        stem, _, letter = symbol.name.rpartition("_")
        value = self.reader.family.get(letter)
        if value is None or not stem:
            return [symbol.name]
        low = value.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
        return [f"{stem}{value}", f"{stem}{low}", f"{stem}_{value}"]

    def line(self, text: str, at: int) -> None:
        text, _, among = text.partition(" ∈ ")
        if among:
            text, _, letter = text.rpartition(",  ")
            for value in among.strip().strip("{}").split(", "):
                self.reader.family = {letter: value}
                self.one_line(text, at)
            self.reader.family = {}
        else:
            self.one_line(text, at)

    def one_line(self, text: str, at: int) -> None:
        text, _, condition = text.partition(" for ")
        if condition and not (condition == "t < T" and at < self.steps):
            return
        left, relation, right = re.split(r"\s+(\+?=)\s+", text.strip(), maxsplit=1)
        self.reader.at, self.others = at, []
        symbol, letters = self.left(left)
        if len(letters) == 1 and letters[0] in self.reader.rounds.now:
            self.row_of_round(symbol.name, self.reader.rounds.now[letters[0]], right)
            return
        slope, is_slope, rest = right.partition(" = ") if right.lstrip("(").startswith("∇_") else ("", "", right)
        try:
            value = self.right(symbol, letters, rest)
            if is_slope:
                self.see_gradient(slope, value)
        except Exception as error:
            error.add_note(text.strip())
            raise
        if symbol.time is None:
            before = self.once.get(symbol.name)
            self.once[symbol.name] = (
                elementwise(np.add, before, value) if relation == "+=" and before is not None else value
            )
            self.once |= dict.fromkeys(self.others, self.once[symbol.name])
            return
        series = self.timed.setdefault(symbol.name, {})
        when = self.steps if symbol.time == LAST else 0 if symbol.time == START else at + symbol.time
        series[when] = elementwise(np.add, series[when], value) if relation == "+=" else value
        for name in self.others:
            self.timed[name] = series

    def row_of_round(self, name: str, row: int, text: str) -> None:
        """The row of a gradient that a round of a loop has read: dU_k = … for k < K."""
        whole = column(self.once[name[1:]])
        self.reader.shape = whole.shape[1:]
        rows = self.once.setdefault(name, np.full_like(whole, np.nan))
        rows[row] = np.reshape(self.reader.read(text), whole.shape[1:])

    def left(self, text: str) -> tuple[Symbol, list[str]]:
        """The symbol on the left of a line, and the indices of its entries."""
        match = re.fullmatch(r"\((.*)\)_(\{.*\}|.)", text)
        if match is not None:
            return self.defined(match[1]), letters_of(match[2].strip("{}"))
        symbol = self.defined(text)
        if symbol != symbol_of(text) or symbol.time == START:
            return symbol, []
        symbol, (head, _, sub) = symbol_of(text), text.partition("_")
        one = (
            len(sub) == 1 and not self.is_primal(symbol.name) and not self.is_primal("d" + sub) and self.is_primal(head)
        )
        is_entry = sub and symbol.time is None and (sub.startswith("{") or one)
        return (Symbol(head, None), letters_of(sub.strip("{}"))) if is_entry else (symbol, [])

    def defined(self, text: str) -> Symbol:
        """The symbol that a line defines; one that ends with a digit may be the value of a step."""
        symbol, which = self.of_round(symbol_of(text))
        if which:
            return self.member(symbol, which)
        symbol = self.member(symbol)
        if symbol.time == FIRST or (symbol.time == START and symbol.name[1:] not in self.timed):
            return Symbol(text, None)
        return symbol

    def member(self, symbol: Symbol, which: str = "") -> Symbol:
        """The member of a family that a line defines: the name whose value stands on the page, or one with an underscore."""
        names = [name + which for name in self.names(symbol)]
        known = [name for name in names if self.is_primal(name) or name in self.timed]
        self.others = [] if known else names
        return Symbol((known or names[-1:])[0], symbol.time)

    def is_primal(self, name: str) -> bool:
        return name[:1] in "dδ" and (name[1:] in self.once or name[1:] in self.timed)

    def right(self, symbol: Symbol, letters: list[str], text: str) -> Value:
        shapes = [
            column(x).shape
            for x in (self.once.get(symbol.name[1:]), *self.timed.get(symbol.name[1:], {}).values())
            if x is not None
        ]
        shape = shapes[0] if shapes else None
        self.reader.shape = None if letters else shape
        if not letters:
            return self.reader.read(text)
        factor, sign, of_rows = text.partition("Σ_{t: ")
        if sign and len(letters) == 1 and not re.search(r"[=\[(]", factor):
            number = self.reader.read(f"{factor} 1" if factor.strip(" -") else f"{factor}1")
            return number * self.rows(shape, sign + of_rows)
        text, *ranges = re.split(r",  (?=\w+ < )", text)
        reader = self.reader
        reader.tokens, reader.pos, reader.line = tokens_of(text), 0, text
        sizes = dict(zip(letters, shape, strict=True)) if shape is not None and len(shape) == len(letters) else {}
        sizes |= {letter: reader.size(size) for letter, size in (part.split(" < ") for part in ranges)}
        value = reader.of_entries(letters, reader.sum, sizes)
        if reader.pos < len(reader.tokens):
            raise ValueError(f"{reader.peek()!r} is left over in {text!r}")
        return value

    def rows(self, shape: tuple[int, ...], text: str) -> Value:
        """The rows of the gradient of a table: of each, the steps that have read it."""
        head, _, body = text.partition("} ")
        index = head.removeprefix("Σ_{t: ").split(" = ")[0]
        found, now = np.zeros(shape), self.reader.at
        for at in range(1, self.steps + 1):
            self.reader.at = at
            # The row of a table of one axis is a number.
            found[int(self.reader.read(index))] += np.reshape(self.reader.read(body), shape[1:])
        self.reader.at = now
        return found

    def section(self, lines: list[str], steps: range) -> None:
        items = items_of(lines)
        for at in steps:
            self.work(items, at)

    def work(self, items: Sequence[Item], at: int) -> None:
        """Work through lines in their order; from one that reads what a later one defines, these together until they settle."""
        done = 0
        while done < len(items):
            try:
                self.item(items[done], at)
                done += 1
            except KeyError as error:
                done = self.settled(items, done, [error.args[0]], at)

    def item(self, item: Item, at: int) -> None:
        if not isinstance(item, Run):
            self.line(item, at)
            return
        inner, rounds = items_of(item.lines), range(self.reader.size(item.limit))
        for k in rounds if item.goes_up else reversed(rounds):
            self.reader.rounds.now[item.letter] = k
            self.work(inner, at)
        self.reader.rounds.now.pop(item.letter, None)

    def behind_definition(self, items: Sequence[Item], first: int, missing: Any) -> int:
        """Where the lines end that define a value which one of them reads before."""
        for i in range(first, len(items)):
            item = items[i]
            for line in [item] if isinstance(item, str) else item.lines:
                left = re.sub(r"^\((.*)\)_.*$", r"\1", self.plain(line).partition(" = ")[0].strip())
                symbol, which = self.of_round(symbol_of(left))
                if isinstance(missing, Symbol) and Symbol(symbol.name + which, symbol.time) == missing:
                    return i + 1
        raise KeyError(missing)

    def settled(self, items: Sequence[Item], first: int, missing: list[Symbol], at: int) -> int:
        """Settle lines that define each other, from what the legend says or from zeros of the shapes that fit; where they end."""
        end = max(self.behind_definition(items, first, symbol) for symbol in missing)

        def once_more() -> None:
            for item in items[first:end]:
                self.item(item, at)

        for starts in product_of(*(self.guesses(symbol, at) for symbol in missing)):
            for symbol, start in zip(missing, starts, strict=True):
                self.put(symbol, start, at)
            try:
                settle(once_more, lambda: [self.value(symbol) for symbol in missing])
            except ValueError:
                continue
            except KeyError as error:
                return self.settled(items, first, [*missing, error.args[0]], at)
            return end
        raise ValueError(f"nothing that {missing} may begin with settles")

    def put(self, symbol: Symbol, value: Value, at: int) -> None:
        if symbol.time is None:
            self.once[symbol.name] = value
        else:
            self.timed.setdefault(symbol.name, {})[at + symbol.time] = value

    def guesses(self, symbol: Symbol, at: int) -> list[Value]:
        self.reader.at = at
        start = self.starts.get(symbol.name, "0")
        given = [] if start == "0" else [self.reader.read(start)]
        known = [x for series in self.timed.values() for x in [*series.values()][:1]]
        shapes = dict.fromkeys(
            [*(np.shape(x) for x in (*known, *self.once.values())), *((n,) for n in self.sizes.values())]
        )
        if self.is_primal(symbol.name):
            shapes = dict.fromkeys([np.shape(self.printed(symbol.name[1:]))])
        return [*given, *map(np.zeros, shapes)]


def _split_arguments(text: str) -> list[str]:
    return [part.strip() for part in _split_at_commas(text)]


def _split_at_commas(text: str) -> list[str]:
    depth, parts = 0, [""]
    for sign in text:
        depth += (sign in "({[⟨") - (sign in ")}]⟩")
        parts = [*parts, ""] if sign == "," and not depth else [*parts[:-1], parts[-1] + sign]
    return parts


def families_of(text: str) -> dict[str, list[str]]:
    """What the letters of families stand for, on the lines or in the legend."""
    return {letter: values.split(", ") for letter, values in re.findall(r"(\w) ∈ \{([^}]*)\}", text)}


def no_value(symbol: Symbol) -> Value:
    raise KeyError(symbol.name)


def real(x: Value) -> complex:
    """A number, a real one as a float."""
    return complex(x) if np.iscomplexobj(x) and complex(x).imag else float(np.real(x))


def constants_of(text: str) -> dict[str, Value]:
    """The constant arrays of the legend."""
    found = {}
    legend = text.partition("\nLegend\n")[2]
    for name, numbers, shape in re.findall(
        r"^  (\w+) = \[(.*)\](?:, shape \((.*)\), row by row)?$", legend, re.MULTILINE
    ):
        reader = Reader(no_value, {})
        rows = [[real(reader.read(x)) for x in row.split(", ")] for row in numbers.split("; ")]
        value = np.array(rows[0] if len(rows) == 1 and not shape else rows)
        found[name] = value.reshape([int(n) for n in shape.split(", ")]) if shape else column(value)
    return found


def sections_of(text: str) -> dict[str, list[str]]:
    """The lines of a page by their headings."""
    found = {}
    for block in text.split("\n\n"):
        head, *rows = block.splitlines()
        lines: list[str] = []
        for row in rows:
            # A row without a left side goes on with the line before.
            lines = [*lines[:-1], f"{lines[-1]} {row.strip()}"] if row.strip().startswith("= ") else [*lines, row]
        found[head] = lines
    return found
