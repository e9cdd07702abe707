"""How mathematics is written, in plain text and in LaTeX: two tables of the same signs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy as sp

from symbptt import ops
from symbptt.derive.labels import Label
from symbptt.ir.scalar import as_python


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
    outside: Callable[[Label], str]
    index: Callable[[str, Sequence[str]], str]
    join: Callable[[Sequence[str]], str]
    plus: str = " + "
    minus: str = " - "
    ellipsis: str = "…"


def _text_symbol(label: Label) -> str:
    name = label.full
    if label.time is None:
        return name
    time = "t" if label.time == 0 else "t-1"
    head, _, rest = name.partition("_")
    if rest and head:
        return f"{head}_{{{rest},{time}}}"
    return f"{name}_t" if time == "t" else f"{name}_{{t-1}}"


def _text_number(value: sp.Expr) -> str:
    if value.is_Float:
        return f"{float(value):.6g}"
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
    "logical_not": "¬{0}", "floor": "⌊{0}⌋", "stop_gradient": "stop({0})",
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
    outside=lambda label: f"dL/d{_text_symbol(label)}",
    index=lambda a, parts: f"{a}[{', '.join(parts)}]",
    join=lambda parts: f"[{'; '.join(parts)}]",
)

_GREEK = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda",
    "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
]  # fmt: skip


def latex_name(name: str) -> tuple[str, list[str]]:
    """Return a Python name as a LaTeX letter and its subscripts: Wz is W with z, tau_m is τ with m, gate is upright."""
    parts = [part for part in name.split("_") if part]
    head = parts[0] if parts else "x"
    match = re.fullmatch(r"([A-Z])([a-z0-9]+)|([a-z])([0-9]+|[a-z])", head)
    if match and head.lower() not in ("mu", "nu", "xi", "pi", "dt"):
        letter, small = match[1] or match[3], match[2] or match[4]
        return letter, [small if len(small) == 1 else rf"\mathrm{{{small}}}", *map(_latex_word, parts[1:])]
    return _latex_word(head), [_latex_word(part) for part in parts[1:]]


def _latex_word(word: str) -> str:
    if word in _GREEK:
        return "\\" + word
    return word if len(word) == 1 or word.isdigit() else rf"\mathrm{{{word}}}"


def _latex_symbol(label: Label) -> str:
    letter, subscripts = latex_name(label.name)
    time = [] if label.time is None else ["t" if label.time == 0 else "t-1"]
    lower = ",".join([*subscripts, *time])
    mark = {"d": r"\mathrm{d}", "δ": r"\delta "}[label.mark] if label.adjoint else ""
    return mark + letter + (f"_{{{lower}}}" if lower else "")


def _latex_number(value: sp.Expr) -> str:
    if not value.is_Float:
        return str(sp.latex(value))
    digits, _, exponent = f"{as_python(value):.6g}".partition("e")
    if not exponent:
        return digits
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(digits, rf"{digits} \cdot {power}")


def _latex_call(name: str, args: Sequence[str]) -> str:
    op = ops.BY_NAME.get(name)
    if op is not None and op.latex:
        return op.latex.format(*args)
    return rf"\operatorname{{{name.replace('_', ' ')}}}({', '.join(args)})"


LATEX = Notation(
    ellipsis=r"\ldots",
    symbol=_latex_symbol,
    number=_latex_number,
    brackets=lambda inside: rf"\left({inside}\right)",
    hadamard=r" \odot ",
    scalar=r"\, ",
    matrix=" ",
    quotient=lambda a, b: rf"\frac{{{a}}}{{{b}}}",
    power=lambda a, b: f"{a}^{{{b}}}",
    call=_latex_call,
    transpose=lambda a: rf"{a}^{{\top}}",
    sum_over_time=r"\sum_{t} ",
    outside=lambda label: rf"\frac{{\partial L}}{{\partial {_latex_symbol(label)}}}",
    index=lambda a, parts: rf"{a}\left[{', '.join(parts)}\right]",
    join=lambda parts: rf"\left[{'; '.join(parts)}\right]",
)
