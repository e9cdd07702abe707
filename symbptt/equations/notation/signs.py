"""The signs of mathematics, in plain text and in LaTeX: two tables with the same keys."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from itertools import groupby
from types import MappingProxyType

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.autodiff.labels import FIRST, LAST, NEXT, START, Label
from symbptt.equations.notation.names import (
    ACCENTS,
    ALONE,
    Names,
    Spelling,
    latex_of_spelling,
    parted_text,
    spelling,
    text_of_name,
)
from symbptt.ir.naming import free_letters


@dataclass(frozen=True)
class Notation:
    """The signs of one way of writing."""

    symbol: Callable[..., str]
    number: Callable[[sp.Expr], str]
    brackets: Callable[[str], str]
    hadamard: str
    scalar: str
    matrix: str
    quotient: Callable[[str, str], str]
    power: Callable[[str, str], str]
    call: Callable[[str, Sequence[str]], str]
    transpose: Callable[[str], str]
    inverse: Callable[[str], str]
    inverse_transpose: Callable[[str], str]
    adjoint: Callable[[str], str]
    conjugate: Callable[[str, bool], str]
    imaginary: str
    sum_over_time: str
    outside: Callable[[str], str]
    derivative: Callable[[str, str], str]
    index: Callable[[str, Sequence[str]], str]
    join: Callable[[Sequence[str]], str]
    beside: Callable[[Sequence[str]], str]
    ones: Callable[[str], str]
    zeros: Callable[[str], str]
    entry: Callable[[str, str], str]
    unit: Callable[[str], str]
    mat: Callable[[str, str], str]
    root: Callable[[str, bool], str]
    cases: Callable[[Sequence[tuple[str, str]], str], str]
    sum_over: Callable[[str, str], str]
    along: Callable[[str, str, Sequence[str]], str]
    such_that: Callable[[str, str], str]
    below: Callable[[str, str], str]
    range: Callable[[str, str], str]
    among: Callable[[str, str], str]
    when: Callable[[str], str]
    raised: Callable[[str, str], str]
    windows: Callable[[str, int, bool], str]
    nabla: Callable[[str], str]
    convolution: Callable[[str, str], str]
    is_word: Callable[[str], bool] = lambda text: False
    before_word: str = " "
    runs_together: Callable[[str, str], bool] = lambda before, text: False
    word: Callable[[str], str] = str
    size: Callable[[str], str] = str
    bare: Callable[[str], str] = lambda condition: condition[1:-1]
    is_stacked: bool = False
    comma: str = ","
    apart: str = ",  "
    listed: str = ", "
    semicolon: str = "; "
    thin: str = " "
    plus: str = " + "
    minus: str = " - "
    slash: str = "/"
    negative: str = "-"
    ellipsis: str = "…"
    by: str = "×"
    made: Container[str] = frozenset()
    """The names of what is computed once: an entry of s reads (s)_i, since no legend says that s is an array."""


TIMES = {0: "t", -1: "t-1", NEXT: "t+1", LAST: "T", FIRST: "1", START: "0"}


def time_of(time: int, letter: str = "t") -> str:
    """Return how a step is written: t, t-1, t-2, ..., or T; `letter` is that of the time."""
    return (TIMES.get(time) or f"t{time}").replace("t", letter)


def when_of(label: Label, letter: str = "t") -> str:
    """Return how the step of a value is written, and in which round of a loop inside of it the value is."""
    assert label.time is not None
    return time_of(label.time, letter) + (f",{label.round}" if label.round else "")


def condition_with_sizes(condition: str, size: Callable[[str], str]) -> str:
    """Return where a line holds, with the sizes in it as a page has them: k < T of the rounds of a loop, not t < T of steps."""
    letter, less, most = condition.partition(" < ")
    return condition if letter == "t" else letter + less + with_sizes(most, size)


def with_sizes(text: str, size: Callable[[str], str]) -> str:
    """Return the number of rounds of a loop with the sizes in it as a page has them."""
    runs = ("".join(run) for _, run in groupby(text, lambda letter: letter.isalnum() or letter == "_"))
    return "".join(size(run) if run.isidentifier() else run for run in runs)


def _of_rounds(symbol: Callable[..., str], size: Callable[[str], str], label: Label, **clock: str) -> str:
    return symbol(label._replace(round=with_sizes(label.round, size)) if label.round else label, **clock)


def with_time(notation: Notation, letter: str) -> Notation:
    """Return a notation in which the time has another letter, as where a value is called t."""
    return notation if letter == "t" else replace(notation, symbol=partial(notation.symbol, clock=letter))


def _text_symbol(
    label: Label,
    names: Mapping[str, str] = MappingProxyType({}),
    other: Callable[[str], str] = str,
    clock: str = "t",
) -> str:
    own = names[label.name] if label.name in names else other(label.name)
    name = (label.mark if label.adjoint else "") + own
    if label.time is None:
        return name
    time = when_of(label, clock)
    # The time joins the subscripts: a_f at step t is a_{f,t}. An accent is none: c_hat at step t is c_hat_t.
    head, rest = parted_text(name)
    if rest and head:
        return f"{head}_{{{rest},{time}}}"
    return f"{name}_{time}" if len(time) == 1 else f"{name}_{{{time}}}"


LARGE = 1000
"""Numerators up to which a number is shown as a fraction, or as some times π: of a larger one the digits say more."""


def _exactly(value: float) -> tuple[Fraction, str] | None:
    """Return a number as a small fraction, of π or of one, where that is the number to the last digit and shorter
    than its digits."""
    # π first: 3.14159... is also near the fraction 22/7, but only π reproduces the float to the last digit.
    for unit, sign in ((math.pi, "π"), (1.0, "")) if math.isfinite(value) else ():
        # limit_denominator finds the nearest fraction with a denominator of at most 64 by continued fractions.
        part = Fraction(value / unit).limit_denominator(64)
        is_short = abs(part.numerator) <= LARGE and (sign or (part.denominator > 1 and len(repr(value)) > 12))
        if part and is_short and float(part) * unit == value:
            return part, sign
    return None


def _digits(value: float) -> str:
    """Return the shortest digits that read as the number, with a power of ten where it is large or small."""
    size = abs(value)
    if size == math.inf:
        return "∞" if value > 0 else "-∞"
    if np.isfinite(value) and value and not 1e-4 <= size < 1e6:
        return np.format_float_scientific(value, trim="-")
    return repr(float(value)).removesuffix(".0")


def digits(value: sp.Expr, root: str = "√{}") -> str:
    """Return a number as Python writes it, a small fraction or some times π as such."""
    if value.is_Float:
        exact = _exactly(float(value))
        if exact is None:
            return _digits(float(value))
        part, sign = exact
        above = " ".join([str(part.numerator)] * (part.numerator != 1 or not sign) + [sign] * bool(sign))
        return above if part.denominator == 1 else f"{above} / {part.denominator}"
    if value.is_Integer:
        return str(int(value))
    text = str(value)
    for x in value.atoms(sp.Pow):
        if is_root(x):
            text = text.replace(f"sqrt({x.base})", root.format(x.base))
    return text.replace("pi", "π").replace("oo", "∞").replace("**", "^").replace("*", " ")


def is_root(value: sp.Expr) -> bool:
    """Answer whether a number is the root of one that has a sign or digits alone, as √2 and √π."""
    return bool(value.is_Pow and value.exp == sp.Rational(1, 2) and (value.base.is_Integer or value.base == sp.pi))


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _text_number(value: sp.Expr) -> str:
    """Return a number with a power of ten where it is large or small: 2.5 · 10⁻⁷."""
    text = digits(value)
    head, found, exponent = text.partition("e")
    if not found or not exponent.lstrip("+-").isdigit():
        return text
    power = f"10{str(int(exponent)).translate(_RAISED)}"
    return {"1": power, "-1": f"-{power}"}.get(head, f"{head} · {power}")


def _text_power(base: str, exponent: str) -> str:
    superscript = {"2": "²", "3": "³"}
    return base + superscript[exponent] if exponent in superscript else f"{base}^{exponent}"


_TEXT_CALLS = {
    "sigmoid": "σ({0})", "abs": "|{0}|", "greater": "[{0} > {1}]", "greater_equal": "[{0} ≥ {1}]",
    "less": "[{0} < {1}]", "less_equal": "[{0} ≤ {1}]", "equal": "[{0} = {1}]", "not_equal": "[{0} ≠ {1}]",
    "maximum": "max({0}, {1})", "minimum": "min({0}, {1})", "logical_and": "({0} ∧ {1})", "logical_or": "({0} ∨ {1})",
    "logical_not": "¬{0}", "floor": "⌊{0}⌋", "mod": "mod({0}, {1})", "stop_gradient": "sg({0})",
    "ahead": "[{0} > {1}]_½", "behind": "[{0} < {1}]_½", "inner": "⟨{0}, {1}⟩",
    "real": "Re({0})", "imag": "Im({0})", "angle": "arg({0})",
    "norm": "‖{0}‖", "normal_share": "Φ({0})", "normal_density": "φ({0})",
}  # fmt: skip


def _text_call(name: str, args: Sequence[str]) -> str:
    return _TEXT_CALLS[name].format(*args) if name in _TEXT_CALLS else f"{name}({', '.join(args)})"


def _text_conjugate(inside: str, is_letter: bool) -> str:
    """Return a conjugate: a letter, with or without indices, under a bar, all else by name."""
    return f"{inside[0]}\u0304{inside[1:]}" if is_letter else f"conj({inside})"


TEXT = Notation(
    symbol=_text_symbol,
    number=_text_number,
    brackets=lambda inside: f"({inside})",
    hadamard=" ⊙ ",
    scalar=" · ",
    matrix=" ",
    quotient=lambda a, b: f"{a} / {b}",
    power=_text_power,
    call=_text_call,
    transpose=lambda a: f"{a}ᵀ",
    inverse=lambda a: f"{a}⁻¹",
    inverse_transpose=lambda a: f"{a}⁻ᵀ",
    adjoint=lambda a: f"{a}ᴴ",
    conjugate=_text_conjugate,
    imaginary="i",
    sum_over_time="Σ_t ",
    outside=lambda symbol: f"dL/d{symbol}",
    derivative=lambda over, under: f"∂{over}/∂{under}",
    index=lambda a, parts: f"{a}[{', '.join(parts)}]",
    join=lambda parts: f"[{'; '.join(parts)}]",
    beside=lambda parts: f"[{', '.join(parts)}]",
    ones=lambda size: f"1_{size}" if len(size) == 1 else f"1_{{{size}}}",
    zeros=lambda size: f"0_{size}" if len(size) == 1 else f"0_{{{size}}}",
    entry=lambda base, indices: f"{base}_{indices}" if len(indices) == 1 else f"{base}_{{{indices}}}",
    unit=lambda row: f"e_{{{row}}}",
    mat=lambda size, inner: f"mat_{{{size}}}({inner})",
    root=lambda inner, is_atom: f"√{inner}" if is_atom and inner.isidentifier() else f"√({inner})",
    cases=lambda cases, other: "{" + "; ".join([*(f"{a} if {c}" for a, c in cases), f"{other} otherwise"]) + "}",
    sum_over=lambda kind, below: f"{'Σ' if kind == 'sum' else kind}_{below if len(below) == 1 else f'{{{below}}}'} ",
    along=lambda name, below, args: f"{name}_{below if len(below) == 1 else f'{{{below}}}'}({', '.join(args)})",
    such_that=lambda letter, condition: f"{letter}: {condition}",
    below=lambda index, size: f"{index}<{size}",
    range=lambda index, size: f",  {index} < {size}",
    among=lambda index, values: f"{index} ∈ {{{', '.join(map(text_of_name, values.split(', ')))}}}",
    when=lambda condition: f" for {condition}",
    raised=lambda inner, sign: f"{inner}^{{({sign})}}",
    windows=lambda end, k, start: f"{end}: {end} ≤ {k}" if start else f"{end}: {end} - {k} < t ≤ {end}",
    nabla=lambda under: f"∇_{under if len(under) == 1 else f'{{{under}}}'} ",
    convolution=lambda sign, number: f" {sign[0]}{f'_{number}' if number else ''}{sign[1:]} ",
)


def _latex_symbol(label: Label, names: Names = ALONE, clock: str = "t") -> str:
    letter, subscripts, prime = latex_of_spelling(names.spelling.get(label.name) or spelling(label.name))
    lower = ",".join([*subscripts, *([] if label.time is None else [when_of(label, clock)])])
    mark = {"d": r"\mathrm{d}", "δ": r"\delta "}[label.mark] if label.adjoint else ""
    return mark + letter + (f"_{{{lower}}}" if lower else "") + prime


def _latex_word(text: str, sizes: Mapping[str, Spelling] = MappingProxyType({})) -> str:
    """Return a size, an index, a sign of the page."""
    if not text.isidentifier() or (len(text) == 1 and text.isascii() and text not in sizes):
        return text
    letter, subscripts, prime = latex_of_spelling(sizes.get(text) or spelling(text))
    return letter + (f"_{{{','.join(subscripts)}}}" if subscripts else "") + prime


def _latex_number(value: sp.Expr) -> str:
    if value.is_Integer:
        return str(int(value))
    if value.is_Function:
        return _latex_call(str(value.func.__name__), [_latex_number(arg) for arg in value.args])
    if not value.is_Float:
        return str(sp.latex(value))
    exact = _exactly(float(value))
    if exact is not None:
        above = (str(exact[0].numerator) if exact[0].numerator != 1 or not exact[1] else "") + r"\pi" * bool(exact[1])
        return above if exact[0].denominator == 1 else rf"\frac{{{above}}}{{{exact[0].denominator}}}"
    # Fractions are printed as such; all other numbers by their shortest digits.
    digits, _, exponent = _digits(float(value)).replace("∞", r"\infty").partition("e")
    if not exponent:
        return digits
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(digits, rf"{digits} \cdot {power}")


# The signs of the LaTeX of functions are those that matplotlib knows too; `\lVert` is none of them.
_LATEX_CALLS = {
    "det": r"\det({0})",
    "ahead": "[{0} > {1}]_{{1/2}}", "behind": "[{0} < {1}]_{{1/2}}", "inner": r"\langle {0}, {1} \rangle",
    "stop_gradient": r"\mathrm{{sg}}({0})",
    "norm": r"\left\Vert {0} \right\Vert", "normal_share": r"\Phi({0})", "normal_density": r"\varphi({0})",
}  # fmt: skip


def _latex_call(name: str, args: Sequence[str]) -> str:
    if name in _LATEX_CALLS:
        return grown(_LATEX_CALLS[name].format(*args))
    op = ops.BY_NAME.get(name)
    if op is not None and op.latex:
        return grown(op.latex.format(*args))
    return grown(f"{_latex_function(name)}({', '.join(args)})")


def _latex_function(name: str) -> str:
    """Return the name of a function; of a derivative, and of a function of rows or columns, with its mark."""
    if "'" in name:  # a derivative, of several by the number of its argument
        function, _, argument = name.partition("'")
        number = f"_{{{argument.strip('_')}}}" if argument else ""
        return f"{_upright(function)}'{number}"
    base, _, over = name.rpartition("_")
    if over in ("rows", "columns"):
        return rf"{_upright(base)}_{{\text{{{over}}}}}"
    return _upright(name)


def _upright(name: str) -> str:
    """Return a word in upright letters; GitHub refuses the names of operators that amsmath sets. Letters that LaTeX does not know
    are those of names: Θ is \\Theta."""
    if not name.isascii():
        letter, subscripts, prime = latex_of_spelling(spelling(name))
        return letter + (f"_{{{','.join(subscripts)}}}" if subscripts else "") + prime
    return r"\mathrm{" + name.replace("_", r"\_") + "}"


TALL = (r"\frac", r"\sum", r"\begin", r"\sqrt", r"\left")
"""The constructions that need larger brackets."""


def grown(text: str) -> str:
    """Return what ends with a bracket with that bracket as high as what is in it."""
    for opening, closing in (("(", ")"), ("[", "]"), (r"\lfloor ", r"\rfloor")):
        head, found, rest = text.partition(opening)
        # \left and \right make brackets as tall as their contents; around a line of letters they would only add space.
        if found and rest.endswith(closing) and "\\left" not in head and any(sign in rest for sign in TALL):
            return rf"{head}\left{opening}{rest.removesuffix(closing)}\right{closing}"
    return text


def _is_word(text: str) -> bool:
    """Answer whether a text begins with a word in upright letters, which runs into what stands before it."""
    letters = text.removeprefix(r"\mathrm{d}").removeprefix(r"\widehat{").removeprefix(r"\mathrm{")
    return r"\mathrm{" in text[: len(text) - len(letters)].removeprefix(r"\mathrm{d}") and letters[:2].isalpha()


def _runs_together(before: str, text: str) -> bool:
    """Answer whether a word and a bracket behind it would look like a function and its argument, or a word and a letter like
    one word."""
    name = before.removeprefix(r"\mathrm{d}").removeprefix(r"\delta ")
    if any(sign in name for sign in "([^"):
        return False
    if text.startswith(("(", r"\left(")):
        return name.startswith((r"\mathrm{", r"\mathsf{", r"\sigma", r"\Phi", r"\varphi"))
    # Letters below a word part it from what stands behind it.
    return name.startswith(r"\mathrm{") and name.endswith("}") and "_{" not in name


def _latex_convolution(sign: str, number: str) -> str:
    below, above = f"_{{{number}}}" if number else "", r"^{\top}" if sign.endswith("ᵀ") else ""
    return f" {_LATEX_SIGNS[sign[0]]}{below}{above} "


_LATEX_SIGNS = {"∗": r"\ast", "⋆": r"\star"}

LATEX = Notation(
    is_word=_is_word,
    runs_together=_runs_together,
    before_word=r"\: ",
    ellipsis=r"\ldots",
    by=r" \times ",
    symbol=_latex_symbol,
    number=_latex_number,
    brackets=lambda inside: grown(f"({inside})"),
    hadamard=r" \odot ",
    scalar=r" \cdot ",
    matrix=" ",
    quotient=lambda a, b: rf"\frac{{{a}}}{{{b}}}",
    power=lambda a, b: f"{a}^{{{b}}}",
    call=_latex_call,
    transpose=lambda a: rf"{a}^{{\top}}",
    inverse=lambda a: f"{a}^{{-1}}",
    inverse_transpose=lambda a: rf"{a}^{{-\top}}",
    adjoint=lambda a: rf"{a}^{{\mathsf{{H}}}}",
    conjugate=lambda inside, is_letter: rf"\overline{{{inside}}}",
    imaginary=r"\mathrm{i}",
    sum_over_time=r"\sum_{t} ",
    outside=lambda symbol: rf"\frac{{\partial L}}{{\partial {symbol}}}",
    derivative=lambda over, under: rf"\frac{{\partial {over}}}{{\partial {under}}}",
    index=lambda a, parts: rf"{a}\left[{', '.join(parts)}\right]",
    join=lambda parts: grown(f"[{'; '.join(parts)}]"),
    beside=lambda parts: grown(f"[{', '.join(parts)}]"),
    ones=lambda size: rf"\mathbf{{1}}_{{{size}}}",
    zeros=lambda size: rf"\mathbf{{0}}_{{{size}}}",
    entry=lambda base, indices: f"{base}_{{{indices}}}",
    unit=lambda row: rf"\mathbf{{e}}_{{{row}}}",
    mat=lambda size, inner: grown(rf"\mathrm{{mat}}_{{{size}}}({inner})"),
    root=lambda inner, is_atom: rf"\sqrt{{{inner}}}",
    cases=lambda cases, other: (
        r"\begin{cases} "
        + r" \\ ".join([*(rf"{a} & \text{{if }} {c}" for a, c in cases), rf"{other} & \text{{otherwise}}"])
        + r" \end{cases}"
    ),
    sum_over=lambda kind, below: (r"\sum" if kind == "sum" else rf"\{kind}") + f"_{{{below}}} ",
    along=lambda name, below, args: grown(f"{_upright(name)}_{{{below}}}({', '.join(args)})"),
    such_that=lambda letter, condition: rf"{letter}\colon {condition}",
    below=lambda index, size: f"{index}<{size}",
    range=lambda index, size: rf",\quad {index} < {size}",
    among=lambda index, values: rf"{index} \in \{{{', '.join(map(_latex_word, values.split(', ')))}\}}",
    when=lambda condition: rf" \quad ({condition})",
    raised=lambda inner, sign: f"{inner}^{{({sign})}}",
    windows=lambda end, k, start: (
        rf"{end}\colon {end} \leq {k}" if start else rf"{end}\colon {end} - {k} < t \leq {end}"
    ),
    nabla=lambda under: rf"\nabla_{{{under}}} ",
    convolution=_latex_convolution,
    is_stacked=True,
    apart=r",\quad ",
    thin=r"\, ",
    word=_latex_word,
    size=_latex_word,
    bare=lambda condition: condition.removeprefix(r"\left").removesuffix("]").removesuffix(r"\right")[1:],
)


def latex_of(names: Names) -> Notation:
    """Return LaTeX for a page with these names."""
    size = partial(_latex_word, sizes=names.sizes_spelt)
    conjugate = _latex_conjugate_by_name if has_bar(names.text.values()) else LATEX.conjugate
    symbol = cache(partial(_of_rounds, partial(_latex_symbol, names=names), size))
    when = LATEX.when
    return replace(
        LATEX,
        symbol=symbol,
        size=size,
        made=names.made,
        conjugate=conjugate,
        when=lambda condition: when(condition_with_sizes(condition, size)),
    )


def has_bar(names: Iterable[str]) -> bool:
    """Answer whether a name has a bar over a letter, which is then no sign of a conjugate."""
    return any(ACCENTS["bar"] in unicodedata.normalize("NFD", name) for name in names)


def _latex_conjugate_by_name(inside: str, is_letter: bool) -> str:
    # The table of functions has a bar for it.
    return grown(rf"\mathrm{{conj}}({inside})")


def conjugate_by_name(n: Notation) -> Callable[[str, bool], str]:
    """Return how a notation writes a conjugate as a function."""
    return lambda inside, is_letter: n.call("conj", [inside])


def text_of(
    names: Mapping[str, str],
    other: Callable[[str], str] = text_of_name,
    made: Container[str] = frozenset(),
    sizes: Mapping[str, str] = MappingProxyType({}),
) -> Notation:
    """Return text for a page with these names and sizes; `other` writes those that are made with letters of the page, as of families."""
    taken = {*names, *names.values()}
    # Where a value is called i the imaginary unit is 1i; where one is called e, of step k_t it would be the unit vector e_{k_t}.
    imaginary, vector = "1i" if "i" in taken else "i", next(free_letters(("e", "unit"), taken))
    conjugate = conjugate_by_name(TEXT) if has_bar(names.values()) else TEXT.conjugate
    when = TEXT.when

    def size(name: str) -> str:
        return sizes.get(name, name)

    return replace(
        TEXT,
        symbol=cache(partial(_of_rounds, partial(_text_symbol, names=names, other=other), size)),
        made=made,
        size=size,
        when=lambda condition: when(condition_with_sizes(condition, size)),
        imaginary=imaginary,
        unit=lambda row: f"{vector}_{{{row}}}",
        conjugate=conjugate,
    )


def columns(text: str) -> int:
    """Return how many columns a text takes: an accent stands over its letter."""
    return len(text) - sum(map(bool, map(unicodedata.combining, text)))


def padded(text: str, wide: int) -> str:
    """Return a text with blanks behind it to so many columns."""
    return text + " " * (wide - columns(text))
