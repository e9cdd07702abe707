"""How mathematics is written, in plain text and in LaTeX: two tables of the same signs."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import numpy as np
import sympy as sp

from symbptt import ops
from symbptt.derive.labels import FIRST, LAST, NEXT, START, Label


@dataclass(frozen=True)
class Notation:
    """The signs of one way of writing."""

    symbol: Callable[[Label], str]
    number: Callable[[sp.Expr], str]
    brackets: Callable[[str], str]
    hadamard: str
    scalar: str
    matrix: str
    quotient: Callable[[str, str], str]
    power: Callable[[str, str], str]
    call: Callable[[str, Sequence[str]], str]
    transpose: Callable[[str], str]
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
    at_steps: Callable[[str, str], str]
    below: Callable[[str, str], str]
    range: Callable[[str, str], str]
    among: Callable[[str, str], str]
    when: Callable[[str], str]
    raised: Callable[[str, str], str]
    windows: Callable[[str, int, bool], str]
    is_stacked: bool = False
    comma: str = ","
    thin: str = " "
    plus: str = " + "
    minus: str = " - "
    ellipsis: str = "…"
    by: str = "×"


TIMES = {0: "t", -1: "t-1", NEXT: "t+1", LAST: "T", FIRST: "1", START: "0"}


def time_of(time: int) -> str:
    """Return how a step is written: t, t-1, t-2, ..., or T."""
    return TIMES.get(time) or f"t{time}"


def _text_symbol(label: Label) -> str:
    name = label.full
    if label.time is None:
        return name
    time = time_of(label.time)
    head, _, rest = name.partition("_")
    if rest and head:
        return f"{head}_{{{rest},{time}}}"
    return f"{name}_{time}" if len(time) == 1 else f"{name}_{{{time}}}"


def _exactly(value: float) -> tuple[Fraction, str] | None:
    """A number as a small fraction, of π or of one, where that is the number to the last digit and shorter than its digits."""
    for unit, sign in ((math.pi, "π"), (1.0, "")) if math.isfinite(value) else ():
        part = Fraction(value / unit).limit_denominator(64)
        if part and float(part) * unit == value and (sign or (part.denominator > 1 and len(repr(value)) > 12)):
            return part, sign
    return None


def _digits(value: float) -> str:
    """The shortest digits that read as the number, with a power of ten where it is large or small."""
    size = abs(value)
    if np.isfinite(value) and value and not 1e-4 <= size < 1e6:
        return np.format_float_scientific(value, trim="-")
    return repr(float(value)).removesuffix(".0")


def _text_number(value: sp.Expr) -> str:
    if value.is_Float:
        exact = _exactly(float(value))
        if exact is None:
            return _digits(float(value))
        part, sign = exact
        above = " ".join([str(part.numerator)] * (part.numerator != 1 or not sign) + [sign] * bool(sign))
        return above if part.denominator == 1 else f"{above} / {part.denominator}"
    return (
        str(value).replace("sqrt(pi)", "√π").replace("pi", "π").replace("oo", "∞").replace("**", "^").replace("*", " ")
    )


def _text_power(base: str, exponent: str) -> str:
    superscript = {"2": "²", "3": "³"}
    return base + superscript[exponent] if exponent in superscript else f"{base}^{exponent}"


_TEXT_CALLS = {
    "sigmoid": "σ({0})", "abs": "|{0}|", "greater": "[{0} > {1}]", "greater_equal": "[{0} ≥ {1}]",
    "less": "[{0} < {1}]", "less_equal": "[{0} ≤ {1}]", "equal": "[{0} = {1}]", "not_equal": "[{0} ≠ {1}]",
    "maximum": "max({0}, {1})", "minimum": "min({0}, {1})", "logical_and": "({0} ∧ {1})", "logical_or": "({0} ∨ {1})",
    "logical_not": "¬{0}", "floor": "⌊{0}⌋", "mod": "mod({0}, {1})", "floor_divide": "⌊({0}) / ({1})⌋", "stop_gradient": "sg({0})",
    "ahead": "[{0} > {1}]", "behind": "[{0} < {1}]", "inner": "⟨{0}, {1}⟩",
    "norm": "‖{0}‖", "normal_share": "Φ({0})", "normal_density": "φ({0})",
}  # fmt: skip


def _text_call(name: str, args: Sequence[str]) -> str:
    return _TEXT_CALLS[name].format(*args) if name in _TEXT_CALLS else f"{name}({', '.join(args)})"


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
    at_steps=lambda index, row: f"t: {index} = {row}",
    below=lambda index, size: f"{index}<{size}",
    range=lambda index, size: f",  {index} < {size}",
    among=lambda index, values: f",  {index} ∈ {{{values}}}",
    when=lambda condition: f" for {condition}",
    raised=lambda inner, sign: f"{inner}^{{({sign})}}",
    windows=lambda end, k, start: f"{end}: {end} ≤ {k}" if start else f"{end}: {end} - {k} < t ≤ {end}",
)

_GREEK = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda",
    "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
]  # fmt: skip


def _without_greek(name: str) -> str:
    """A name with Greek letters, which Python allows, spelt out: LaTeX has no others."""
    text = ""
    for letter in name:
        words = [] if letter.isascii() else unicodedata.name(letter, "").split()
        spelt = words[:1] == ["GREEK"] and words[-1].lower() in _GREEK
        text += (words[-1].capitalize() if letter.isupper() else words[-1].lower()) if spelt else letter
    return text


def latex_name(name: str) -> tuple[str, list[str]]:
    """Return a Python name as a LaTeX letter and its subscripts: Wz is W with z, tau_m is τ with m, gate is upright."""
    parts = [part for part in _without_greek(name).split("_") if part]
    head = parts[0] if parts else "x"
    if head in _GREEK:
        return "\\" + head, [_latex_word(part) for part in parts[1:]]
    match = re.fullmatch(r"([A-Z])([a-z0-9]+)|([a-z])([0-9]+|[a-z])", head)
    if match and head.lower() not in ("mu", "nu", "xi", "pi", "dt"):
        letter, small = match[1] or match[3], match[2] or match[4]
        return letter, [small if len(small) == 1 else rf"\mathrm{{{small}}}", *map(_latex_word, parts[1:])]
    return _latex_word(head), [_latex_word(part) for part in parts[1:]]


def _latex_word(word: str) -> str:
    if word in _GREEK:
        return "\\" + word
    return word if len(word) == 1 or word.isdigit() else rf"\mathrm{{{word}}}"


def _latex_symbol(label: Label, alike: Collection[str] = ()) -> str:
    letter, subscripts = latex_name(label.name)
    if label.name in alike:
        letter, subscripts = rf"\mathrm{{{label.name.replace('_', chr(92) + '_')}}}", []
    time = [] if label.time is None else [time_of(label.time)]
    lower = ",".join([*subscripts, *time])
    mark = {"d": r"\mathrm{d}", "δ": r"\delta "}[label.mark] if label.adjoint else ""
    return mark + letter + (f"_{{{lower}}}" if lower else "")


def _latex_number(value: sp.Expr) -> str:
    if not value.is_Float:
        return str(sp.latex(value))
    exact = _exactly(float(value))
    if exact is not None:
        above = (str(exact[0].numerator) if exact[0].numerator != 1 or not exact[1] else "") + r"\pi" * bool(exact[1])
        return above if exact[0].denominator == 1 else rf"\frac{{{above}}}{{{exact[0].denominator}}}"
    digits, _, exponent = _digits(float(value)).partition("e")
    if not exponent:
        return digits
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(digits, rf"{digits} \cdot {power}")


_LATEX_CALLS = {
    "ahead": "[{0} > {1}]", "behind": "[{0} < {1}]", "inner": r"\langle {0}, {1} \rangle",
    "stop_gradient": r"\mathrm{{sg}}({0})",
    "norm": r"\lVert {0}\rVert", "normal_share": r"\Phi({0})", "normal_density": r"\varphi({0})",
}  # fmt: skip


def _latex_call(name: str, args: Sequence[str]) -> str:
    if name in _LATEX_CALLS:
        return _LATEX_CALLS[name].format(*args)
    op = ops.BY_NAME.get(name)
    if op is not None and op.latex:
        return op.latex.format(*args)
    if name in _LATEX_CALLS:
        return _LATEX_CALLS[name].format(*args)
    if "'" in name:  # a derivative, of several by the number of its argument
        function, _, argument = name.partition("'")
        number = f"_{{{argument.strip('_')}}}" if argument else ""
        return rf"\operatorname{{{function.replace('_', ' ')}}}'{number}({', '.join(args)})"
    base, _, over = name.rpartition("_")
    if over in ("rows", "columns"):
        return rf"\operatorname{{{base}}}_{{\text{{{over}}}}}({', '.join(args)})"
    return rf"\operatorname{{{name.replace('_', ' ')}}}({', '.join(args)})"


LATEX = Notation(
    ellipsis=r"\ldots",
    by=r" \times ",
    symbol=_latex_symbol,
    number=_latex_number,
    brackets=lambda inside: rf"\left({inside}\right)",
    hadamard=r" \odot ",
    scalar=r" \cdot ",
    matrix=" ",
    quotient=lambda a, b: rf"\frac{{{a}}}{{{b}}}",
    power=lambda a, b: f"{a}^{{{b}}}",
    call=_latex_call,
    transpose=lambda a: rf"{a}^{{\top}}",
    sum_over_time=r"\sum_{t} ",
    outside=lambda symbol: rf"\frac{{\partial L}}{{\partial {symbol}}}",
    derivative=lambda over, under: rf"\frac{{\partial {over}}}{{\partial {under}}}",
    index=lambda a, parts: rf"{a}\left[{', '.join(parts)}\right]",
    join=lambda parts: rf"\left[{'; '.join(parts)}\right]",
    beside=lambda parts: rf"\left[{', '.join(parts)}\right]",
    ones=lambda size: rf"\mathbf{{1}}_{{{size}}}",
    zeros=lambda size: rf"\mathbf{{0}}_{{{size}}}",
    entry=lambda base, indices: f"{base}_{{{indices}}}",
    unit=lambda row: rf"\mathbf{{e}}_{{{row}}}",
    mat=lambda size, inner: rf"\mathrm{{mat}}_{{{size}}}\left({inner}\right)",
    root=lambda inner, is_atom: rf"\sqrt{{{inner}}}",
    cases=lambda cases, other: (
        r"\begin{cases} "
        + r" \\ ".join([*(rf"{a} & \text{{if }} {c}" for a, c in cases), rf"{other} & \text{{otherwise}}"])
        + r" \end{cases}"
    ),
    sum_over=lambda kind, below: (r"\sum" if kind == "sum" else rf"\{kind}") + f"_{{{below}}} ",
    along=lambda name, below, args: rf"\operatorname{{{name.replace('_', ' ')}}}_{{{below}}}({', '.join(args)})",
    at_steps=lambda index, row: rf"t\colon {index} = {row}",
    below=lambda index, size: f"{index}<{size}",
    range=lambda index, size: rf",\quad {index} < {size}",
    among=lambda index, values: rf",\quad {index} \in \{{{values}\}}",
    when=lambda condition: rf" \quad ({condition})",
    raised=lambda inner, sign: f"{inner}^{{({sign})}}",
    windows=lambda end, k, start: (
        rf"{end}\colon {end} \leq {k}" if start else rf"{end}\colon {end} - {k} < t \leq {end}"
    ),
    is_stacked=True,
    thin=r"\, ",
)


def latex_of(names: Collection[str]) -> Notation:
    """Return LaTeX for a page with some names: those that would be written alike, as Wf and W_f, stand as they are spelt."""
    written = {name: repr(latex_name(name)) for name in sorted(names)}
    count = Counter(written.values())
    alike = {name for name, text in written.items() if count[text] > 1}
    return replace(LATEX, symbol=partial(_latex_symbol, alike=alike)) if alike else LATEX
