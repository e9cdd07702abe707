"""The signs of presentation MathML: each piece of writing is one element, or several in a row.

Source: W3C, MathML Core, 2025: what browsers set without help. What it lacks, as columns and typefaces, is said by styles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from types import MappingProxyType
from unicodedata import normalize

import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.equations.notation.names import ACCENTS, MARKS, Names, Spelling, is_accented, spelling, without_accent
from symbptt.equations.notation.signs import Notation, condition_with_sizes, conjugate_by_name, digits, has_bar, when_of

_SHOWN = {"hat": "^", "tilde": "~", "bar": "¯", "dot": "˙", "ddot": "¨", "acute": "´", "grave": "`", "check": "ˇ", "breve": "˘",
          "mathring": "˚"}  # fmt: skip
_THIN = '<mspace width="0.17em"/>'
# U+2062 is the invisible times, which screen readers speak and browsers do not show.
_TIMES = "<mo>&#x2062;</mo>"
_COMMA = '<mo separator="true">,</mo>'
_SIGNS = {
    "greater": "&gt;", "greater_equal": "≥", "less": "&lt;", "less_equal": "≤", "equal": "=", "not_equal": "≠", "logical_and": "∧",
    "logical_or": "∨", "ahead": "&gt;", "behind": "&lt;",
}  # fmt: skip
_WORDS = {
    "sigmoid": "σ",
    "maximum": "max",
    "minimum": "min",
    "stop_gradient": "sg",
    "normal_share": "Φ",
    "real": "Re",
    "imag": "Im",
    "angle": "arg",
    "normal_density": "φ",
}
_MARKS = {"d": '<mi mathvariant="normal">d</mi>', "δ": "<mi>δ</mi>"}
"""The signs of an adjoint."""
_BRACKETS = {"abs": "||", "floor": "⌊⌋", "norm": "‖‖"}


def mathml_of(names: Names) -> Notation:
    """Return MathML for a page with these names."""
    found = _mathml_of(names)
    return replace(found, conjugate=conjugate_by_name(found)) if has_bar(names.text.values()) else found


def _mathml_of(names: Names) -> Notation:
    return Notation(
        made=names.made,
        symbol=lambda label: _symbol(label, names),
        number=_number,
        word=_word,
        size=partial(_word, sizes=names.sizes_spelt),
        brackets=lambda inside: _fenced("(", inside, ")"),
        hadamard=_sign("⊙"),
        scalar=_sign("·"),
        matrix=_TIMES + _THIN,
        quotient=lambda a, b: f"<mfrac>{_row(a)}{_row(b)}</mfrac>",
        power=_above,
        call=_call,
        transpose=lambda a: _above(a, "<mo>⊤</mo>"),
        inverse=lambda a: _above(a, '<mo form="prefix">−</mo><mn>1</mn>'),
        inverse_transpose=lambda a: _above(a, '<mo form="prefix">−</mo><mo>⊤</mo>'),
        adjoint=lambda a: _above(a, '<mi mathvariant="normal">H</mi>'),
        conjugate=_conjugate,
        imaginary='<mi mathvariant="normal">i</mi>',
        sum_over_time=_sum_below("∑", "<mi>t</mi>"),
        derivative=lambda over, under: f"<mfrac><mrow><mo>∂</mo>{over}</mrow><mrow><mo>∂</mo>{under}</mrow></mfrac>",
        outside=lambda symbol: f"<mfrac><mrow><mo>∂</mo><mi>L</mi></mrow><mrow><mo>∂</mo>{symbol}</mrow></mfrac>",
        index=lambda a, parts: _row(a) + _fenced("[", _COMMA.join(parts), "]"),
        join=lambda parts: _fenced("[", _table([[part] for part in parts]), "]"),
        beside=lambda parts: _fenced("[", _COMMA.join(parts), "]"),
        ones=lambda size: f"<msub>{_bold('1')}{_row(size)}</msub>",
        zeros=lambda size: f"<msub>{_bold('0')}{_row(size)}</msub>",
        entry=lambda base, indices: f"<msub>{_row(base)}{_row(indices)}</msub>",
        unit=lambda row: f"<msub>{_bold('e')}{_row(row)}</msub>",
        mat=lambda size, inner: f"<msub><mi>mat</mi>{_row(size)}</msub><mo>&#x2061;</mo>" + _fenced("(", inner, ")"),
        root=lambda inner, is_atom: f"<msqrt>{inner}</msqrt>",
        cases=_cases,
        sum_over=lambda kind, below: _sum_below({"sum": "∑", "prod": "∏"}.get(kind, kind), below),
        along=lambda name, below, args: f"<msub>{_function(name)}{_row(below)}</msub>{_applied(args)}",
        such_that=lambda letter, condition: f"{letter}<mo>:</mo>{condition}",
        below=lambda index, size: f"{index}<mo>&lt;</mo>{size}",
        range=lambda index, size: f'<mo>,</mo><mspace width="1em"/>{index}<mo>&lt;</mo>{size}',
        among=lambda index, values: f"{_word(index)}<mo>∈</mo>{_fenced('{', _values(values), '}')}",
        when=lambda condition: (
            f'<mspace width="1em"/><mtext>for {escape(condition_with_sizes(condition, _in_text(names)))}</mtext>'
        ),
        raised=lambda inner, sign: _above(inner, _fenced("(", _word(sign), ")")),
        windows=_windows,
        convolution=_convolution,
        nabla=lambda under: f"<msub><mo>∇</mo>{_row(under)}</msub>",
        is_stacked=True,
        bare=_bare,
        thin=_TIMES + _THIN,
        comma=_COMMA,
        apart='<mo>,</mo><mspace width="1em"/>',
        listed=_COMMA,
        semicolon='<mo separator="true">;</mo>',
        plus="<mo>+</mo>",
        minus="<mo>−</mo>",
        slash="<mo>/</mo>",
        negative='<mo form="prefix">−</mo>',
        ellipsis="<mo>…</mo>",
        by="<mo>×</mo>",
    )


def _convolution(sign: str, number: str) -> str:
    own, below, above = _sign(sign[0]), f"<mn>{number}</mn>", "<mo>⊤</mo>"
    if not sign.endswith("ᵀ"):
        return f"<msub>{own}{below}</msub>" if number else own
    return f"<msubsup>{own}{below}{above}</msubsup>" if number else f"<msup>{own}{above}</msup>"


def _windows(end: str, k: int, start: bool) -> str:
    """Return the windows of k steps that hold a step, by their last one; at the start those that hold the first step."""
    last = _word(end)
    if start:
        return f"{last}<mo>:</mo>{last}<mo>≤</mo><mn>{k}</mn>"
    return f"{last}<mo>:</mo>{last}<mo>−</mo><mn>{k}</mn><mo>&lt;</mo><mi>t</mi><mo>≤</mo>{last}"


def _bare(condition: str) -> str:
    """Return a condition without the brackets that make it a number."""
    # The fence was written by `_fenced`: its opening and closing elements are known.
    return condition.partition("[</mo>")[2].rpartition("<mo stretchy=")[0]


def _row(inner: str) -> str:
    return f"<mrow>{inner}</mrow>"


def _sign(sign: str) -> str:
    return f'<mo lspace="0.22em" rspace="0.22em">{sign}</mo>'


def _bold(letter: str) -> str:
    return f'<mn style="font-weight: bold">{letter}</mn>'


def _conjugate(inside: str, is_letter: bool) -> str:
    """Return what stands under a bar; of a letter with indices the letter alone does, for no font stretches the bar over these."""
    letter, end, indices = inside.removeprefix("<msub>").partition("</mi>")
    if is_letter and inside.startswith("<msub><mi"):
        return f'<msub><mover accent="true">{letter}{end}<mo stretchy="false">¯</mo></mover>{indices}'
    return f'<mover accent="true">{_row(inside)}<mo stretchy="true">¯</mo></mover>'


def _above(base: str, above: str) -> str:
    """Return a power or a transpose; what is below a letter and what is above it stand under each other."""
    # One msubsup sets both scripts above each other; msup around msub would set the exponent behind the subscript.
    marked = next((mark for mark in _MARKS.values() if base.startswith(f"<mrow>{mark}<msub>")), "")
    if marked and base.endswith("</msub></mrow>") and base.count("<msub>") == 1:
        inner = base.removeprefix(f"<mrow>{marked}").removesuffix("</mrow>")
        return _row(marked + _above(inner, above))
    if base.startswith("<msub>") and base.endswith("</msub>") and base.count("<msub>") == 1:
        return f"<msubsup>{base.removeprefix('<msub>').removesuffix('</msub>')}{_row(above)}</msubsup>"
    return f"<msup>{_row(base)}{_row(above)}</msup>"


_TALL = ("<mfrac>", "<munder>", "<mtable>", "<msqrt>")


def _fenced(opening: str, inner: str, closing: str) -> str:
    """Return an expression in brackets, which are as high as it is."""
    # Browsers stretch brackets around superscripts too, which makes lines uneven: only tall contents may do so.
    grows = "true" if any(sign in inner for sign in _TALL) else "false"
    return f'<mrow><mo stretchy="{grows}">{opening}</mo>{inner}<mo stretchy="{grows}">{closing}</mo></mrow>'


def _sum_below(sign: str, below: str) -> str:
    return f'<munder><mo movablelimits="false">{sign}</mo>{_row(below)}</munder>'


def _table(rows: Sequence[Sequence[str]]) -> str:
    cells = ("".join(f'<mtd style="text-align: left">{cell}</mtd>' for cell in row) for row in rows)
    return "<mtable>" + "".join(f"<mtr>{row}</mtr>" for row in cells) + "</mtable>"


def _cases(cases: Sequence[tuple[str, str]], other: str) -> str:
    rows = [[a, f"<mtext>if&#xa0;</mtext>{c}"] for a, c in cases] + [[other, "<mtext>otherwise</mtext>"]]
    return f'<mrow><mo stretchy="true">{{</mo>{_table(rows)}</mrow>'


def _word(text: str, sizes: Mapping[str, Spelling] = MappingProxyType({})) -> str:
    """Return a letter, a word or a number that is no name of a value: a size, an index, a sign of the page."""
    if text.isdigit():
        return f"<mn>{text}</mn>"
    return _spelt(sizes.get(text) or spelling(text)) if text.isidentifier() else f"<mtext>{escape(text)}</mtext>"


def _number(value: sp.Expr) -> str:
    if value.is_Function:
        return _call(value.func.__name__, [_number(arg) for arg in value.args])
    text = digits(value)
    if " / " in text:
        above, below = text.split(" / ")
        return f"<mfrac>{_digits(above)}{_digits(below)}</mfrac>"
    return _digits(text)


def _digits(text: str) -> str:
    head, found, exponent = text.partition("e")
    if found and exponent.lstrip("+-").isdigit():
        # A true minus sign (U+2212), as wide as a plus; the hyphen is short.
        power = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>".replace("<mn>-", "<mn>−")
        return power if head == "1" else _row(f"<mn>{head}</mn><mo>·</mo>{power}")
    return _row("".join(map(_sign_or_digits, text.split())))


def _sign_or_digits(text: str) -> str:
    if text.startswith("√"):
        return f"<msqrt>{_sign_or_digits(text[1:])}</msqrt>"
    return f"<mi>{text}</mi>" if text in "π∞" else f"<mn>{escape(text)}</mn>"


def _call(name: str, args: Sequence[str]) -> str:
    if name in _SIGNS:
        opening, closing = "()" if name.startswith("logical") else "[]"
        whole = _fenced(opening, f"<mo>{_SIGNS[name]}</mo>".join(args), closing)
        return f"<msub>{_row(whole)}<mn>½</mn></msub>" if name in ("ahead", "behind") else whole
    if name in _BRACKETS:
        return _fenced(_BRACKETS[name][0], args[0], _BRACKETS[name][1])
    if name == "inner":
        return _fenced("⟨", _COMMA.join(args), "⟩")
    if name == "logical_not":
        return f"<mo>¬</mo>{args[0]}"
    if name == "floor_divide":
        return _fenced("⌊", f"<mfrac>{_row(args[0])}{_row(args[1])}</mfrac>", "⌋")
    return _function(name) + _applied(args)


def _applied(args: Sequence[str]) -> str:
    """Return arguments behind a function, with the sign that says so."""
    return "<mo>&#x2061;</mo>" + _fenced("(", _COMMA.join(args), ")")


def _function(name: str) -> str:
    """Return the name of a function; of a derivative, and of a function of rows or columns, with its mark."""
    function, found, argument = name.partition("'")
    if found:  # a derivative, of several by the number of its argument
        number = argument.strip("_")
        marked = f"<msubsup>{_function(function)}<mn>{number}</mn><mo>′</mo></msubsup>"
        return marked if number else f"<msup>{_function(function)}<mo>′</mo></msup>"
    base, _, over = name.rpartition("_")
    if over in ("rows", "columns"):
        return f"<msub>{_function(base)}<mtext>{over}</mtext></msub>"
    return f"<mi>{escape(_WORDS.get(name, name))}</mi>"


def _in_text(names: Names) -> Callable[[str], str]:
    return lambda name: names.sizes_in_text.get(name, name)


def _symbol(label: Label, names: Names) -> str:
    of = names.spelling.get(label.name) or spelling(label.name)
    sizes = names.sizes_spelt
    parts = [] if label.time is None else when_of(label).split(",")
    time = _COMMA.join(_word(x, sizes) if x in sizes and x == label.round else _time(x) for x in parts)
    mark = _MARKS[label.mark] if label.adjoint else ""
    symbol = _spelt(of, time)
    return _row(mark + symbol) if mark else symbol


def _values(text: str) -> str:
    return _COMMA.join(map(_word, text.split(", ")))


def _time(text: str) -> str:
    """Return the number of a step: t, T, or one of them and a number."""
    letter, number = text[0], text[1:]
    return f"<mi>{letter}</mi>" + (f"<mo>{number[0].replace('-', '−')}</mo><mn>{number[1:]}</mn>" if number else "")


def _spelt(of: Spelling, time: str = "") -> str:
    if of.plain:
        head = f'<mi mathvariant="normal" style="font-family: sans-serif">{of.head}</mi>'
        return f"<msub>{head}{time}</msub>" if time else head
    # A prime stands above the subscript, h'_t, and is no accent over the letter.
    prime = ACCENTS["prime"]
    below = _COMMA.join([*map(_letter, of.subscripts), *([time] if time else [])])
    head = _letter(of.head.removesuffix(prime))
    if of.head.endswith(prime):
        return f"<msubsup>{head}{_row(below)}<mo>′</mo></msubsup>" if below else f"<msup>{head}<mo>′</mo></msup>"
    return f"<msub>{head}{_row(below)}</msub>" if below else head


def _letter(word: str) -> str:
    if word.isdigit():
        return f"<mn>{word}</mn>"
    if is_accented(word):
        return _over(_letter(without_accent(word)), word[-1])
    return f"<mi>{normalize('NFC', word)}</mi>"


def _over(letter: str, mark: str) -> str:
    return f'<mover accent="true">{letter}<mo stretchy="false">{_SHOWN.get(MARKS.get(mark, ""), mark)}</mo></mover>'
