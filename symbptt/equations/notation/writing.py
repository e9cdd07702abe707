"""Expressions written in a notation: the only place that sets brackets.

Example: (a + b) ⊙ c. `_sum` returns ("a + b", SUM), since a sum binds weakest. `_times` asks for each factor at a place that
binds at least as POWER (`at`): "a + b" binds less and gets brackets, "c" is an ATOM and gets none: "(a + b) ⊙ c". In LaTeX a
quotient is stacked, binds as POWER, and needs no brackets where text writes (a / b) ⊙ c.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import groupby, pairwise
from typing import Any

import sympy as sp

from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.expressions import (
    Along,
    Applied,
    Array,
    Blocks,
    Call,
    Cases,
    Count,
    Derivative,
    Diagonal,
    Ellipsis,
    Entries,
    Entry,
    Expr,
    Gradient,
    Index,
    Inverse,
    Matmul,
    Number,
    Ones,
    Outside,
    Over,
    OverFamily,
    OverWindows,
    Power,
    Raised,
    Rows,
    Slice,
    Span,
    Sum,
    SumOver,
    Symbol,
    Times,
    Total,
    Transposed,
    Unit,
    Word,
    Zeros,
)  # fmt: skip
from symbptt.equations.algebra.traversal import every
from symbptt.equations.algebra.wholes import CONVOLUTIONS
from symbptt.equations.notation.signs import Notation, digits, is_root
from symbptt.ir.shape import Size, sign_of, size_text
from symbptt.ir.shape import size as sized

SUM, PRODUCT, MATRIX, POWER, ATOM = range(1, 6)
Written = tuple[str, int]
"""A text and how tightly it binds."""
RELATIONS = (
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "equal",
    "not_equal",
    "logical_and",
    "logical_or",
    "logical_not",
)


def write(e: Expr, notation: Notation) -> str:
    """Return an expression as text in a notation."""
    return _WRITERS[type(e)](e, notation)[0]


def written(e: Expr, n: Notation) -> Written:
    """Return an expression in a notation, and how tightly its text binds."""
    return _WRITERS[type(e)](e, n)


def size_shown(size: Size, n: Notation) -> str:
    """Return a size as a page shows it: factors side by side."""
    text = ""
    for is_negative, shown, divisor in _terms_of(size):
        text += (n.minus if is_negative else n.plus * bool(text)).strip() + n.matrix.join(map(n.size, shown))
        text += f"{n.slash}{n.word(str(divisor))}" if divisor != 1 else ""
    return text


@cache
def _terms_of(size: Size) -> tuple[tuple[bool, tuple[str, ...], int], ...]:
    """Return the terms of a size: whether each is negative, its factors, and what it is divided by."""
    found = []
    for term in sp.sympify(size).as_ordered_terms():
        number, factors = term.as_coeff_mul()
        names = [name for factor in sorted(factors, key=str) for name in _repeated(factor)]
        above = abs(number).p
        found.append((bool(number < 0), (*([] if above == 1 and names else [str(above)]), *names), int(number.q)))
    return tuple(found)


def _repeated(factor: sp.Expr) -> list[str]:
    base, exponent = factor.as_base_exp()
    return [str(base)] * int(exponent) if exponent.is_Integer and exponent > 0 else [str(factor)]


def at(e: Expr, n: Notation, least: int) -> str:
    """Return an expression for a place that binds at least so tightly."""
    text, level = _WRITERS[type(e)](e, n)
    # The only brackets that depend on precedence are set here.
    return text if level >= least else n.brackets(text)


def _symbol(e: Symbol, n: Notation) -> Written:
    return n.symbol(e.label), ATOM


def _outside(e: Outside, n: Notation) -> Written:
    return n.outside(n.symbol(e.symbol.label)), ATOM


def _derivative(e: Derivative, n: Notation) -> Written:
    return n.derivative(write(e.over, n), write(e.under, n)), POWER


def _number(e: Number, n: Notation) -> Written:
    """Return a number; one with a power of ten, as 2.5 · 10^{10}, is in brackets where it is a base, not where it
    is a factor."""
    shown, text = n.number(e.value), digits(e.value)
    if "10^" in shown or (shown != text and "e" in text):
        return shown, MATRIX if " · " in shown else POWER
    if "/" in text or "π" in text:  # a fraction, or some times π
        return shown, POWER if n.is_stacked else PRODUCT if "/" in text else MATRIX
    is_one_sign = e.value.is_Integer or e.value.is_Float or e.value.is_Function or e.value == sp.oo or is_root(e.value)
    return shown, ATOM if is_one_sign else PRODUCT


def _count(e: Count, n: Notation) -> Written:
    shown, text = size_shown(e.size_of, n), size_text(e.size_of).replace("*", " ")
    if text.isidentifier() or text.isdigit():
        return shown, ATOM
    return shown, _level_of_size(text)


def _word(e: Word, n: Notation) -> Written:
    if not e.is_formula:
        return n.word(e.text), ATOM
    return _formula_of_size(e.text, n), _level_of_size(e.text)


def _level_of_size(text: str) -> int:
    # Beside a factor a quotient has brackets: (p/2) j, for p/2 j would be read in two ways.
    return SUM if set(text) & set("+-") else PRODUCT if "/" in text else MATRIX


def _formula_of_size(text: str, n: Notation) -> str:
    """Return a size that is a leaf of the graph, written out as Python has it: 2*n, m+n, n//2."""
    # What a size is divided by it is a multiple of, as the legend says.
    signs = {"*": n.matrix, "**": "^", "//": n.slash, "+": n.plus.strip(), "-": n.minus.strip()}
    runs = ("".join(run) for _, run in groupby(text, lambda letter: letter.isalnum() or letter == "_"))
    return "".join(n.size(run) if run.isidentifier() or run.isdigit() else signs.get(run.strip(), run) for run in runs)


def _index(e: Index, n: Notation) -> Written:
    return n.word(e.name), ATOM


def _ellipsis(e: Ellipsis, n: Notation) -> Written:
    return n.ellipsis, ATOM


def _sum(e: Sum, n: Notation) -> Written:
    text = ""
    for i, (sign, term) in enumerate(e.terms):
        joint = (n.minus if sign < 0 else n.plus) if i else (n.negative if sign < 0 else "")
        text += joint + at(term, n, PRODUCT)
    return text, SUM


def _times(e: Times, n: Notation) -> Written:
    """Numbers side by side before arrays; ⊙ between two arrays. Behind numbers, a product of matrices needs no brackets."""
    text = "".join([sign + at(factor, n, least) for sign, factor, least in signed_factors(e, n)])
    arrays = sum([bool(factor.shape) for factor in e.factors])
    # Inside a product of matrices it would not be told where 2 aᵀ b ends.
    is_open = _is_open(e.factors[-1]) or (not arrays and isinstance(e.factors[-1], Matmul))
    return text, PRODUCT if is_open or arrays > 1 else MATRIX


def _is_open(e: Expr) -> bool:
    """Answer whether an expression is a sum whose end no bracket shows."""
    return isinstance(e, Total) or (isinstance(e, SumOver) and e.kind == "sum")


def signed_factors(e: Times, n: Notation) -> list[tuple[str, Expr, int]]:
    """Return the factors of a product, each with the sign before it and how tightly it is to bind."""
    arrays = sum([bool(factor.shape) for factor in e.factors])
    found: list[tuple[str, Expr, int]] = []
    for i, factor in enumerate(e.factors):
        last = i == len(e.factors) - 1 and arrays < 2
        # A product of matrices at the end, behind numbers: 2 W h and 2 aᵀ b need no brackets, W h ⊙ x would be ambiguous.
        least = MATRIX if last or isinstance(factor, Number | Count | Word) else POWER
        if i and i == len(e.factors) - 1 and _is_open(factor):
            least = PRODUCT  # at the end a Σ has no end that a bracket would have to show
        both = factor.shape and i and e.factors[i - 1].shape
        is_plain = isinstance(factor, Number) or _begins_plainly(factor, n, least)
        found.append(((n.hadamard if both else n.scalar if is_plain else n.thin) if i else "", factor, least))
    return found


def _begins_plainly(e: Expr, n: Notation, least: int) -> bool:
    """Answer whether an expression begins with an absolute value or a digit at a place that binds at least so tightly, so that
    it would join the number before it: 3 · 2^h. What is in brackets there is not written to be seen: it would be written twice
    at each level, so that deep formulas would take for ever."""
    match e:
        case Sum() | Over():
            return False
        case Call():
            return e.name == "abs" and n.call(e.name, [""]).startswith("|")
        case Number():
            return at(e, n, least)[:1].isdigit()
        case Power():
            return _begins_plainly(e.base, n, ATOM)
        case Matmul():
            return least <= MATRIX and _begins_plainly(e.factors[0], n, MATRIX)
    return at(e, n, least).startswith("|")


def _over(e: Over, n: Notation) -> Written:
    # The bar of a fraction groups like brackets.
    if n.is_stacked:
        return n.quotient(write(e.above, n), write(e.below, n)), POWER
    return n.quotient(at(e.above, n, PRODUCT), at(e.below, n, POWER)), PRODUCT


def _power(e: Power, n: Notation) -> Written:
    # Without a raised line the powers of 10⁻⁵ in x^(10⁻⁵) would stand beside each other.
    least = POWER if n.is_stacked or not isinstance(e.exponent, Number) else ATOM
    return n.power(at(e.base, n, ATOM), at(e.exponent, n, least)), POWER


def _matmul(e: Matmul, n: Notation) -> Written:
    texts = [at(factor, n, MATRIX) for factor in e.factors]
    return texts[0] + "".join(beside(before, text, n) + text for before, text in pairwise(texts)), MATRIX


def beside(before: str, text: str, n: Notation) -> str:
    """Return what stands between two factors of a product of matrices."""
    return n.before_word if n.is_word(text) or n.runs_together(before, text) else n.matrix


def _inverse(e: Inverse, n: Notation) -> Written:
    return n.inverse(at(e.inner, n, ATOM)), POWER


def _transposed(e: Transposed, n: Notation) -> Written:
    if isinstance(e.inner, Inverse):
        return n.inverse_transpose(at(e.inner.inner, n, ATOM)), POWER
    if isinstance(e.inner, Call) and e.inner.name == "conj":
        return n.adjoint(at(e.inner.args[0], n, ATOM)), POWER
    return n.transpose(at(e.inner, n, ATOM)), POWER


def _diagonal(e: Diagonal, n: Notation) -> Written:
    return n.call("diag", [write(e.inner, n)]), ATOM


def _ones(e: Ones, n: Notation) -> Written:
    return n.ones(size_shown(e.count, n)), ATOM


def _zeros(e: Zeros, n: Notation) -> Written:
    return n.zeros(n.by.join(size_shown(size, n) for size in e.of)), ATOM


def _unit(e: Unit, n: Notation) -> Written:
    return n.unit(write(e.row, n)), ATOM


def _array(e: Array, n: Notation) -> Written:
    texts = [write(value, n) for value in e.values] + [n.ellipsis] * bool(e.rest)
    if len(e.of) == 2 and not e.rest:
        width = int(e.of[1])
        return n.join([n.listed.join(texts[i : i + width]) for i in range(0, len(texts), width)]), ATOM
    return n.join(texts), ATOM


UNLIKE_CALLS = ("mat", "delta", "floor_divide", "sqrt")
"""Functions that are not written as a name with arguments in brackets."""


CONVOLVED = tuple(CONVOLUTIONS.values())


def _call(e: Call, n: Notation) -> Written:
    if e.name == "mat":
        rows, columns, inner = e.args
        return n.mat(f"{write(rows, n)}{n.by}{write(columns, n)}", write(inner, n)), ATOM
    if e.name == "delta":
        return n.entry(n.symbol(Label("δ", None)), subscript(e.args, n)), ATOM
    if e.name == "floor_divide":
        return n.call("floor", [write(Over(*e.args), n)]), ATOM
    if e.name.startswith(CONVOLVED):
        # Written as ⊙ is: brackets say what it goes over wherever a product stands beside it.
        sign = e.name.rstrip("0123456789")
        a, b = (at(arg, n, POWER) for arg in e.args)
        return a + n.convolution(sign, e.name.removeprefix(sign)) + b, PRODUCT
    if e.name == "sqrt":
        return n.root(write(e.args[0], n), isinstance(e.args[0], Symbol | Number | Count | Word)), POWER
    if e.name == "conj":
        return n.conjugate(write(e.args[0], n), _is_one_letter(e.args[0], n)), ATOM
    if e.name == "imaginary":
        return n.imaginary, ATOM
    return n.call(e.name, [write(arg, n) for arg in e.args]), ATOM


def _is_one_letter(e: Expr, n: Notation) -> bool:
    """Answer whether a value is a letter, with or without indices, and no adjoint, so that a bar over it is one over all."""
    text = write(e, n)
    return isinstance(e, Symbol) and not e.label.adjoint and text[:1].isalpha() and text[1:2] in ("", "_")


def _applied(e: Applied, n: Notation) -> Written:
    args, closed = (n.listed.join([write(x, n) for x in of]) for of in (e.args, e.closed))
    return n.call(e.name, [args + n.semicolon + closed if closed else args]), ATOM


def _gradient(e: Gradient, n: Notation) -> Written:
    return n.nabla(write(e.under, n)) + write(e.of, n), MATRIX


def _along(e: Along, n: Notation) -> Written:
    below = subscript(e.indices, n)
    if any(not is_bare(i, part) for i in e.indices for part in e.args[:1]):
        below = n.comma.join(n.below(n.word(i.name), size_shown(i.of_size, n)) for i in e.indices)
    text = n.along(e.name, below, [write(arg, n) for arg in e.args])
    return (n.entry(text, subscript(e.at, n)) if e.at else text), ATOM


def _cases(e: Cases, n: Notation) -> Written:
    # Nested choices in the "else" become further rows of one brace.
    found: list[tuple[str, str]] = []
    rest: Expr = e
    while isinstance(rest, Cases):
        found.append((write(rest.then, n), condition(rest.condition, n)))
        rest = rest.other
    return n.cases(found, write(rest, n)), ATOM


def condition(e: Expr, n: Notation) -> str:
    """Return a condition without the brackets that make it a number."""
    return n.bare(write(e, n)) if isinstance(e, Call) and e.name in RELATIONS[:6] else write(e, n)


def _slice(e: Slice, n: Notation) -> Written:
    return n.index(at(e.inner, n, ATOM), [_span(span, n) for span in e.spans]), ATOM


def _span(s: Span, n: Notation) -> str:
    """Return a slice as NumPy reads it: at the ends of the axis, where a stop of -1 would mean the last, bounds are
    left out."""
    colon = n.word(":")
    if (s.start, s.length, s.step) == (0, s.size, 1):
        return colon
    # NumPy's stop is exclusive; -1 as a stop would mean the last entry, not the place before the first.
    stop = sized(s.start + s.length * s.step)
    first, last = size_shown(s.start, n), size_shown(stop, n)
    if s.length == 1:
        return first if s.alone else f"{first}{colon}{size_shown(sized(s.start + 1), n)}"
    if s.step == 1:
        return f"{first}{colon}{last}"
    step = f"{colon}{n.word(str(s.step))}"
    if s.step > 0:
        return f"{first}{colon}{'' if sign_of(sized(stop - s.size)) in (0, 1) else last}{step}"
    return f"{'' if s.start == sized(s.size - 1) else first}{colon}{'' if sign_of(stop) == -1 else last}{step}"


def _rows(e: Rows, n: Notation) -> Written:
    return n.entry(_base(e.table, n), n.comma.join([n.word(":")] * e.axis + [write(e.row, n)])), ATOM


def _base(e: Expr, n: Notation) -> str:
    """Return an array with indices behind it: in brackets, but for a letter."""
    text = write(e, n)
    return text if isinstance(e, Array | Word) or _is_letter(e, n) else n.brackets(text)


def _is_letter(e: Expr, n: Notation) -> bool:
    """Answer whether an array is a single letter without a time, or its adjoint, of which the legend says that it is an array."""
    if not isinstance(e, Symbol) or e.label.time is not None or not e.label.given or e.label.name in n.made:
        return False
    shown = n.symbol(e.label._replace(adjoint=False))
    if shown.startswith("<mi"):
        shown = shown.removesuffix("</mi>").rpartition(">")[2]
    # The letter of alpha is α, in LaTeX \alpha.
    return shown.isalpha() if len(shown) == 1 else shown[0] == "\\" and shown[1:].isalpha()


def _entry(e: Entry, n: Notation) -> Written:
    return n.entry(_base(e.array, n), subscript(e.indices, n)), ATOM


def subscript(indices: tuple[Expr, ...], n: Notation) -> str:
    """Return indices side by side, with commas where one of them is more than a letter."""
    # A_ij for single letters, A_{i+1,j} with a comma.
    plain = all(isinstance(i, Index) and len(i.name) == 1 for i in indices)
    return ("" if plain else n.comma).join(write(i, n) for i in indices)


def _entries(e: Entries, n: Notation) -> Written:
    # An index that stands only inside i + 1 or mod(i, n) does not show its range: the range is written.
    hidden = [isinstance(i, Index) and not is_bare(i, e.inner) for i in e.indices]
    texts = [n.below(n.word(i.name), size_shown(i.of_size, n)) if isinstance(i, Index) and h else write(i, n)
             for i, h in zip(e.indices, hidden, strict=True)]  # fmt: skip
    below = n.comma.join(texts) if any(hidden) else subscript(e.indices, n)
    return n.entry(n.brackets(write(e.inner, n)), below), ATOM


def _total(e: Total, n: Notation) -> Written:
    head = (
        n.sum_over_time if not e.at else n.sum_over("sum", n.such_that(n.word("t"), condition(Call("equal", e.at), n)))
    )
    return head + at(e.inner, n, PRODUCT), PRODUCT


def _over_family(e: OverFamily, n: Notation) -> Written:
    return n.sum_over("sum", n.word(e.letter)) + at(e.inner, n, PRODUCT), PRODUCT


def _raised(e: Raised, n: Notation) -> Written:
    return n.raised(write(e.inner, n), e.sign), POWER


def _over_windows(e: OverWindows, n: Notation) -> Written:
    return n.sum_over("sum", n.windows(e.letter, e.k, e.start)) + at(e.inner, n, PRODUCT), PRODUCT


def _sum_over(e: SumOver, n: Notation) -> Written:
    below = subscript(e.indices, n)
    if e.condition:
        below = _under(e.condition[0], e.inner, n)
        if isinstance(e.condition[0], Call) and e.condition[0].name == "equal":
            below = n.such_that(subscript(e.indices, n), below)
    elif any(not is_bare(i, e.inner) for i in e.indices):
        below = n.comma.join(n.below(n.word(i.name), size_shown(i.of_size, n)) for i in e.indices)
    return n.sum_over(e.kind, below) + at(e.inner, n, PRODUCT), PRODUCT


def _under(test: Expr, inner: Expr, n: Notation) -> str:
    """Return the condition of a sum; one from some index on says how far it goes where nothing else does."""
    if isinstance(test, Call) and test.name == "greater_equal":
        index, first = test.args
        if isinstance(index, Index) and not is_bare(index, inner):
            return n.below(condition(Call("less_equal", (first, index)), n), size_shown(index.of_size, n))
    return condition(test, n)


def ranges(left: Expr, right: Expr, n: Notation) -> str:
    """Return how far indices on the left run that do not stand alone on the right, or on axes of several sizes."""
    free = left.indices if isinstance(left, Entry) else ()
    # An index that also stands alone on a longer axis, of which a part is read, runs over the shorter one.
    hidden = [i for i in free if isinstance(i, Index) and not is_bare(i, right)]
    return "".join(n.range(n.word(i.name), size_shown(i.of_size, n)) for i in hidden)


def is_bare(index: Index, e: Expr) -> bool:
    """Answer whether an index stands alone as that of an axis, so that a reader sees how far it runs: in a join of two arrays,
    the axis of the first is shorter."""
    return _axes_of(index, e) == {index.of_size}


def _axes_of(index: Index, e: Expr) -> set[Size]:
    """Return how long the axes are whose index an index is."""
    found = set()
    for part in every(e, Entry):
        shape = part.array.shape
        # Where the page leaves out axes of length one, an index is that of its own axis.
        sizes = shape if len(shape) == len(part.indices) else [index.of_size] * len(part.indices)
        found |= {size for i, size in zip(part.indices, sizes, strict=True) if i == index}
    return found


def _blocks(e: Blocks, n: Notation) -> Written:
    texts = [write(part, n) for part in e.blocks]
    return (n.join(texts) if e.axis == 0 else n.beside(texts)), ATOM


_WRITERS: dict[type, Callable[[Any, Notation], Written]] = {
    Symbol: _symbol, Outside: _outside, Derivative: _derivative, Number: _number, Count: _count, Word: _word, Index: _index,
    Ellipsis: _ellipsis, Sum: _sum,
    Times: _times, Over: _over, Power: _power, Matmul: _matmul, Transposed: _transposed, Inverse: _inverse, Diagonal: _diagonal,
    Ones: _ones, Zeros: _zeros, Unit: _unit, Array: _array, Call: _call, Along: _along, Cases: _cases, Slice: _slice, Rows: _rows,
    Blocks: _blocks,
    Entry: _entry, Entries: _entries, Total: _total, SumOver: _sum_over, OverFamily: _over_family,
    Raised: _raised, OverWindows: _over_windows, Applied: _applied, Gradient: _gradient,
}  # fmt: skip
