"""Conjugates, real and imaginary parts as a textbook writes them: a conjugate stands at what it is of, numbers stand in front.

Example: conj(-i Uᴴ dz). The conjugate of a product is the product of the conjugates, that of -i is i, and that of Uᴴ is Uᵀ: i Uᵀ conj(dz).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import pairwise

from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.expressions import (
    IMAGINARY,
    Array,
    Blocks,
    Call,
    Cases,
    Count,
    Diagonal,
    Entries,
    Expr,
    Index,
    Matmul,
    Number,
    Ones,
    Over,
    Power,
    Rows,
    Slice,
    Sum,
    SumOver,
    Times,
    Total,
    Transposed,
    Unit,
    Word,
    Zeros,
    matmul,
    plus,
    times,
    transposed,
)  # fmt: skip
from symbptt.equations.algebra.traversal import every, has, mapped_where, with_parts

REAL_CALLS = ("real", "imag", "abs", "angle", "norm")
"""Functions whose values are real, whatever they are of."""
Value = tuple[str, bool]
"""A name, and whether it is that of an adjoint."""


def value_of(label: Label) -> Value:
    """Return the value that a label names, at whatever step."""
    return label.name, label.adjoint


def with_conjugates(e: Expr, real: Container[Value]) -> Expr:
    """Return an expression whose conjugates stand at complex symbols and functions: conj(a b) is conj(a) b where b is real."""
    return mapped_where(e, lambda x: conjugate_of(x.parts[0], real) if x.name == "conj" else x, Call)


def conjugate_of(e: Expr, real: Container[Value] = ()) -> Expr:
    """Return the conjugate of an expression; `real`: the values that are their own conjugates."""
    match e:
        case Number() | Count() | Ones() | Zeros() | Index() | Word() | Unit():
            return e
        case Call("imaginary"):
            return plus([(-1, e)])
        case Call("conj"):
            return e.parts[0]
        case Call(name) if name in REAL_CALLS:
            return e
        case _ if _is_real(e, real):
            return e
        case Array() if not e.rest and all(_is_real(value, ()) for value in e.values):
            return e
        case Sum() | Times() | Matmul() | Over() | Transposed() | Diagonal() | Blocks() | Slice() | Entries():
            return with_parts(e, [conjugate_of(part, real) for part in e.parts])
        case Total() | SumOver() | Rows() if not isinstance(e, SumOver) or e.kind == "sum":
            return with_parts(e, [conjugate_of(e.parts[0], real), *e.parts[1:]])
        case Power() if _is_real(e.exponent, ()):
            return with_parts(e, [conjugate_of(e.base, real), e.exponent])
        case Cases():
            return Cases(e.condition, conjugate_of(e.then, real), conjugate_of(e.other, real), e.infinite)
    return Call("conj", (e,))


def _is_real(e: Expr, real: Container[Value]) -> bool:
    """Answer whether an expression is made of real values alone."""
    calls: Iterable[Call] = every(e, Call)
    is_complex = has(e, Array) or any(x.name in ("imaginary", "conj") for x in calls)
    return not is_complex and all(value_of(label) in real for label in e.labels)


def as_complex(e: Expr) -> Expr:
    """Return an expression of complex numbers with vᵀ v for what is ‖v‖² of real ones, and vᴴ v for |v|ᵀ |v|."""
    return mapped_where(e, _as_complex, Power, Matmul, Call)


def _as_complex(e: Expr) -> Expr:
    match e:
        case Power(Call("norm", (v,)), Number(value)) if value == 2:
            return _as_complex(matmul((transposed(v), v)))
        case Call("norm", (Call("abs", (v,)),)):
            return Call("norm", (v,), e.of)
        case Matmul():
            return _of_moduli(e)
    return e


def _of_moduli(e: Matmul) -> Expr:
    factors = list(e.factors)
    for i, (row, column) in enumerate(pairwise(e.factors)):
        if isinstance(column, Call) and column.name == "abs" and row == transposed(column):
            factors[i : i + 2] = [transposed(conjugate_of(column.args[0])), column.args[0]]
    return matmul(factors)


def part_of(name: str, e: Expr) -> tuple[int, Expr]:
    """Return the real or the imaginary part, by its name, of what has no sign before it: its sign, and the part without: real
    numbers stand in front, Re(i z) is -Im(z) and Im(i z) is Re(z)."""
    above, below = (e.above, e.below) if isinstance(e, Over) else (e, None)
    if isinstance(above, Call) and above.name == "conj" and below is None:
        return (1 if name == "real" else -1), Call(name, above.args)
    factors = above.factors if isinstance(above, Times) else (above,)
    numbers = [f for f in factors if isinstance(f, Number | Count)]
    units = [f for f in factors if f == IMAGINARY]
    rest = [f for f in factors if f not in numbers and f != IMAGINARY]
    outside = below if isinstance(below, Number | Count) else None
    if not (numbers or units or outside) or not rest:
        return 1, Call(name, (e,))
    sign, other = (-1, "imag") if name == "real" else (1, "real")
    inner: Expr = times(rest) if below is None or outside is not None else Over(times(rest), below)
    found = Call(other if len(units) % 2 else name, (inner,))
    whole = times([*numbers, found])
    return (sign if len(units) % 2 else 1), whole if outside is None else Over(whole, outside)


def joined(terms: Sequence[tuple[int, Expr]]) -> list[tuple[int, Expr]]:
    """Return the terms of a sum with z in the place of Re(z) + i Im(z), which both are of one sign and have the same factors."""
    found = list(terms)
    for sign, term in terms:
        other = _with_imaginary(term)
        if other is not None and (sign, other) in found and (sign, term) in found:
            found[found.index((sign, term))] = (sign, _without_part(term))
            found.remove((sign, other))
    return found


def _with_imaginary(term: Expr) -> Expr | None:
    """Return what i times the imaginary part is beside a product with one real part; None of another term."""
    factors = term.factors if isinstance(term, Times) else (term,)
    places = [i for i, f in enumerate(factors) if isinstance(f, Call) and f.name == "real"]
    if len(places) != 1:
        return None
    at = places[0]
    numbers = [f for i, f in enumerate(factors) if i != at and not f.shape]
    arrays = [Call("imag", f.parts) if i == at else f for i, f in enumerate(factors) if f.shape or i == at]
    return times([*numbers, IMAGINARY, *arrays])


def _without_part(term: Expr) -> Expr:
    factors = term.factors if isinstance(term, Times) else (term,)
    return times([f.parts[0] if isinstance(f, Call) and f.name == "real" else f for f in factors])
