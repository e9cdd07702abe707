"""The normal form of expressions: the same value as a textbook writes it.

Signs stand in front, then numbers, then arrays; one Σ a sum; transposes stand at what they turn; `aᵀ b` for sums of products;
no function that only computers need. Each rule is a function of one expression whose parts are in normal form already.

Example: ((-x) ⊙ (2 y))ᵀ. The parts come first: -x is a sign and x, 2 y stays. `_times` sets the sign in front, then numbers, then
arrays: -2 x ⊙ y. `_transposed` leaves the sign outside and turns the product as a whole: -(2 x ⊙ y)ᵀ.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from math import gcd
from typing import TypeGuard

import sympy as sp

from symbptt.autodiff.partials import in_decimals
from symbptt.equations.algebra.between_zeros import with_joined
from symbptt.equations.algebra.conjugates import conjugate_of, joined, part_of
from symbptt.equations.algebra.entries import LETTERS
from symbptt.equations.algebra.entries import count as size_of
from symbptt.equations.algebra.expressions import (
    IMAGINARY,
    ONE,
    ZERO,
    Along,
    Blocks,
    Call,
    Cases,
    Count,
    Diagonal,
    Entries,
    Entry,
    Expr,
    Index,
    Inverse,
    Matmul,
    Number,
    Ones,
    Over,
    Power,
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
    is_identity,
    is_one,
    is_zero,
    keep,
    matmul,
    plus,
    times,
    transposed,
)  # fmt: skip
from symbptt.equations.algebra.numbers import product
from symbptt.equations.algebra.traversal import every, has, mapped_where, with_parts
from symbptt.ir.shape import size as sized

HALF = sp.Rational(1, 2)
OPPOSITE = {
    "greater": "less_equal", "greater_equal": "less", "less": "greater_equal", "less_equal": "greater", "equal": "not_equal",
    "not_equal": "equal",
}  # fmt: skip
"""Conditions by those that hold where they do not."""


def in_normal_form(e: Expr) -> Expr:
    """Return an expression of the same value as a textbook writes it."""
    if e.is_normal:
        return e
    found = e.normal_form
    if found is None:
        new: list[Expr] | None = None
        for i, part in enumerate(e.parts):
            own = part if part.is_normal else in_normal_form(part)
            # `is` instead of ==: unchanged parts are the same objects, and deep comparison would be quadratic.
            if own is not part:
                new = new or [*e.parts]
                new[i] = own
        found = e if new is None else with_parts(e, new)
        rule = _RULES.get(type(found))
        found = found if rule is None else rule(found)
        if found is not e:
            keep(e, "normal_form", found)
        # A mark, not the object itself: one that refers to itself is freed by the garbage collector alone.
        if not found.is_normal:
            keep(found, "is_normal", True)
    return found


def _rule(e: Expr) -> Expr:
    rule = _RULES.get(type(e))
    return e if rule is None else rule(e)


def signed(e: Expr) -> tuple[int, Expr]:
    """Return the sign of an expression and the expression without it: that of -a - b is minus, and it is a + b without."""
    if not isinstance(e, Sum):
        return 1, e
    if len(e.terms) == 1:
        return e.terms[0]
    if e.terms[0][0] < 0 and all(sign < 0 for sign, _ in e.terms):
        return -1, Sum(tuple((1, term) for _, term in e.terms))
    return 1, e


def with_sign(sign: int, e: Expr) -> Expr:
    """Return an expression with a sign before it."""
    return e if sign > 0 else plus([(-1, e)])


def _without_signs(parts: Iterable[Expr]) -> tuple[int, list[Expr]]:
    sign, found = 1, []
    for part in parts:
        own, rest = signed(part)
        sign *= own
        found.append(rest)
    return sign, found


def _times(e: Times) -> Expr:
    """Order a product: the sign first, numbers, other values without axes, arrays; one quotient."""
    sign, flat = _without_signs(e.factors)
    above: list[Expr] = []
    below: list[Expr] = []
    for factor in flat:
        if isinstance(factor, Over):
            above.append(factor.above)
            below.append(factor.below)
        else:
            above.append(factor)
    inner, above = _without_signs(_flat(above))
    # i · i = -1.
    units = above.count(IMAGINARY) if has(e, Call) else 0
    if units > 1:
        above = [*[IMAGINARY] * (units % 2), *[f for f in above if f != IMAGINARY]]
        inner *= (-1) ** (units // 2)
    sums = (
        [f for f in above if isinstance(f, SumOver) and f.kind == "sum" and not f.condition] if has(e, SumOver) else []
    )
    # a Σ_j b_j = Σ_j a b_j: numbers move into the sum, where they meet their like terms.
    if sums and all(not f.shape for f in above):
        whole = [f.inner if f is sums[0] else f for f in above]
        product = _summed(SumOver(sums[0].indices, _times(Times(tuple(whole)))))
    else:
        product = times(_ordered(above))
    if sign * inner < 0 and isinstance(product, Times) and not below:
        product, inner = _turned_round(product, inner)
    if not below:
        return with_sign(sign * inner, e if product == e else product)  # the same one keeps what is known of it
    return with_sign(sign * inner, _over(Over(product, times(_ordered(_flat(below))))))


def _turned_round(product: Times, sign: int) -> tuple[Expr, int]:
    """Return a product whose minus goes into a difference, if it has one: -a (b - c) is a (c - b).

    Not into 1 - z: readers know the slope σ (1 - σ) and the gate 1 - z by their form.
    """
    for i, factor in enumerate(product.factors):
        is_difference = (
            isinstance(factor, Sum) and len(factor.terms) == 2 and factor.terms[0][0] > 0 > factor.terms[1][0]
        )
        if isinstance(factor, Sum) and is_difference and not isinstance(factor.terms[0][1], Number):
            turned_round = Sum(((1, factor.terms[1][1]), (-1, factor.terms[0][1])))
            return times([*product.factors[:i], turned_round, *product.factors[i + 1 :]]), -sign
    return product, sign


def _flat(factors: Iterable[Expr]) -> list[Expr]:
    return [part for factor in factors for part in (factor.factors if isinstance(factor, Times) else (factor,))]


def _is_idle(factor: Expr, factors: Sequence[Expr]) -> bool:
    """Answer whether a factor says that others among them are not zero: a product with a factor of zero is zero; or that what
    is positive is."""
    if isinstance(factor, Call) and _is_sure(factor):
        return True
    if not (isinstance(factor, Call) and factor.name == "not_equal" and is_zero(factor.args[1])):
        return False
    _, tested = signed(factor.args[0])
    known = [*factors, *_inside(factors)]
    return all(part in known for part in _flat((tested.above if isinstance(tested, Over) else tested,)))


def _inside(factors: Sequence[Expr]) -> list[Expr]:
    """Return the factors inside of conjugates, and of real and imaginary parts: these are zero where one of them is."""
    found: list[Expr] = []
    for factor in factors:
        if isinstance(factor, Call) and factor.name in ("conj", "real", "imag"):
            inner = factor.args[0].above if isinstance(factor.args[0], Over) else factor.args[0]
            found += _flat((inner,))
    return found + (_inside(found) if found else [])


def _ordered(factors: Sequence[Expr]) -> list[Expr]:
    numbers: list[sp.Expr] = []
    counts: list[Expr] = []
    others: list[Expr] = []
    arrays: list[Expr] = []
    for factor in factors:
        # [x ≠ 0] x = x.
        if _is_idle(factor, factors):
            continue
        # 1_n ⊙ x = x.
        if isinstance(factor, Ones) and any(
            other.shape == factor.shape and not isinstance(other, Ones) for other in factors
        ):
            continue
        if isinstance(factor, Number):
            numbers.append(factor.value)
        else:
            if isinstance(factor, Call) and factor.name in OPPOSITE and factor in (*others, *arrays):
                continue  # a condition that holds twice
            is_count = isinstance(factor, Count | Word) and not is_identity(factor)
            (counts if is_count else arrays if factor.shape else others).append(factor)
    # (xᵀ x) I, never I xᵀ x, which would be read as a product of matrices.
    others.sort(key=is_identity)
    rest = _sum_last(_as_powers([*counts, *others, *arrays]))
    own = [found for x in product(numbers) if not is_one(found := Number(x))]
    return [*own, *rest] or [ONE]


def _sum_last(factors: list[Expr]) -> list[Expr]:
    """Return factors with the only sum over steps behind all others, where it needs no brackets: c ⊙ Σ_t u for (Σ_t u) ⊙ c. One
    that is a number stays before arrays."""
    sums = [x for x in factors if isinstance(x, Total)]
    if len(sums) != 1 or (not sums[0].shape and any(x.shape for x in factors)):
        return factors
    return [*(x for x in factors if x is not sums[0]), *sums]


def _as_powers(factors: list[Expr]) -> list[Expr]:
    """Return factors of which none stands twice or is the base of a whole power of another: u² for u u, u³ for u² u."""
    twice = None if _differ(factors) else next((x for i, x in enumerate(factors) if x in factors[:i]), None)
    if twice is not None:
        whole = _power(Power(twice, Number(sp.Integer(factors.count(twice)))))
        first = factors.index(twice)
        return _as_powers([whole if i == first else x for i, x in enumerate(factors) if i == first or x != twice])
    for i, factor in enumerate(factors):
        if isinstance(factor, Power) and isinstance(factor.exponent, Number) and factor.exponent.value.is_Integer:
            base, rest = factor.base, [x for k, x in enumerate(factors) if k != i]
            alike = rest.count(base)
            if alike:
                whole = Power(base, Number(factor.exponent.value + alike))
                return _as_powers([whole if x is factor else x for x in factors if x != base])
    return factors


def _over(e: Over) -> Expr:
    """Move the sign before the quotient, and join a quotient in the numerator with the denominator."""
    e = _without_modulus(e)
    (sign, above), (other, below) = signed(e.above), signed(e.below)
    above, below = _rows_divided(above, below)
    # (a / b) / c = a / (b c).
    if isinstance(above, Over):
        quotient = above
        above, below = quotient.above, _times(Times((quotient.below, below)))
    above, below = _cancelled(*_of_one_base(above, below))
    if is_one(below):
        return with_sign(sign * other, above)
    if isinstance(above, Total) and isinstance(_base(below), Symbol) and _is_fixed(_base(below)):
        return with_sign(sign * other, _total(Total(_over(Over(above.inner, below)), above.at)))
    return with_sign(sign * other, Over(above, below))


POSITIVE = ("sigmoid", "exp", "softplus", "cosh")
"""Functions that are positive everywhere."""


def is_positive(e: Expr, known: Container[str] = ()) -> bool:
    """Answer whether an expression is positive whatever it reads, as σ(a) is, and a power of it; `known`: the names of values
    that are."""
    match e:
        case Number():
            return bool(e.value.is_positive)
        case Symbol():
            return not e.label.adjoint and e.label.name in known
        case Call():
            return e.name in POSITIVE or (e.name == "sqrt" and is_positive(e.args[0], known))
        case Power():
            return is_positive(e.base, known)
        case Times() | Over():
            return all(is_positive(part, known) for part in e.parts)
    return False


def without_tests(e: Expr, known: Container[str]) -> Expr:
    """Return an expression without tests of what is positive, and with quotients of its powers as one power."""

    def shorter(x: Expr) -> Expr:
        if isinstance(x, Over):
            above, below = _of_one_base(x.above, x.below, known)
            return x if above is x.above else Over(above, below)
        return ONE if isinstance(x, Call) and _is_sure(x, known) else x

    found = mapped_where(e, shorter, Over, Call)
    return e if found is e else in_normal_form(found)


def _is_sure(e: Call, known: Container[str] = ()) -> bool:
    return e.name == "greater" and is_zero(e.args[1]) and is_positive(e.args[0], known)


def _of_one_base(above: Expr, below: Expr, known: Container[str] = ()) -> tuple[Expr, Expr]:
    """Return a quotient without roots and broken powers of a positive value that is above, too: σ^0.25 for σ / σ^0.75."""
    parts, kept = _flat((above,)), list[Expr]()
    for factor in _flat((below,)):
        base, exponent = _root(factor) or (factor, None)
        if exponent is None or base not in parts or not is_positive(base, known):
            kept.append(factor)
            continue
        rest = 1 - exponent.value
        left = Call("sqrt", (base,)) if rest == HALF else Power(base, Number(in_decimals(rest)))
        i = parts.index(base)
        parts = [*parts[:i], left, *parts[i + 1 :]]
    return (above, below) if len(kept) == len(_flat((below,))) else (times(parts), times(kept) if kept else ONE)


def _root(e: Expr) -> tuple[Expr, Number] | None:
    """Return the base and the exponent, between zero and one, of a root."""
    if isinstance(e, Call) and e.name == "sqrt":
        return e.args[0], Number(HALF)
    if isinstance(e, Power) and isinstance(e.exponent, Number) and 0 < e.exponent.value < 1:
        return e.base, e.exponent
    return None


def _without_modulus(e: Over) -> Over:
    """Return |z| z / |z|, of which the divisor counts as 1 where it is 0, as z."""
    parts, below = _flat((e.above,)), _flat((e.below,))
    for divisor in below:
        if not isinstance(divisor, Cases) or divisor.then != ONE:
            continue
        size = divisor.other
        is_apart = divisor.condition == Call("equal", (size, ZERO)) and isinstance(size, Call) and size.name == "abs"
        if is_apart and size in parts and size.parts[0] in parts:
            rest = [x for x in below if x is not divisor]
            return Over(times([x for x in parts if x != size]), times(rest) if rest else ONE)
    return e


def _rows_divided(whole: Expr, below: Expr) -> tuple[Expr, Expr]:
    """Return diag(v) A over u 1ᵀ, rows that are multiplied and divided by numbers, as diag(v / u) A over one."""
    numbers, above = _numbers_apart(whole)
    if not (isinstance(above, Matmul) and isinstance(above.factors[0], Diagonal) and isinstance(below, Matmul)):
        return whole, below
    column, *row = below.factors
    is_column = (
        len(column.shape) == 1 and len(row) == 1 and isinstance(row[0], Transposed) and isinstance(row[0].inner, Ones)
    )
    if not is_column:
        return whole, below
    first, *rest = above.factors
    assert isinstance(first, Diagonal)
    return times([*numbers, matmul([Diagonal(_over(Over(first.inner, column))), *rest])]), ONE


def _cancelled(above: Expr, below: Expr) -> tuple[Expr, Expr]:
    """Return a quotient without what is above and below: a whole number, a parameter that is a number, an exponential."""
    above, below = _without_shared(above, below)
    (a, x), (b, y) = _coefficient(above), _coefficient(below)
    # Integers cancel exactly; decimal numbers are left to `product`.
    common = gcd(a, b)
    if common < 2:
        return above, below
    return (_scaled(a // common, x) if a != common else x, _scaled(b // common, y) if b != common else y)


def _without_shared(above: Expr, below: Expr) -> tuple[Expr, Expr]:
    """Return a quotient without factors by which no page divides in vain: β ... / β², exp(τ) / exp(τ)²; also before a sum over steps
    of what is divided by them."""
    parts, under = _flat((above,)), _flat((below,))
    for factor in [x for x in parts if _may_cancel(x)]:
        at = next((i for i, x in enumerate(under) if _base(x) == factor), None)
        if at is not None:
            parts.remove(factor)
            under[at] = _less_one(under[at])
    if len(parts) == len(_flat((above,))):
        return above, below
    return times(parts) if parts else ONE, times([x for x in under if x != ONE]) if any(
        x != ONE for x in under
    ) else ONE


def _may_cancel(e: Expr) -> bool:
    is_number = isinstance(e, Symbol) and not e.shape and e.label.time is None and not e.label.adjoint
    return is_number or (isinstance(e, Call) and e.name == "exp")


def _base(e: Expr) -> Expr:
    is_whole = isinstance(e, Power) and isinstance(e.exponent, Number) and e.exponent.value.is_Integer
    return e.base if is_whole and isinstance(e, Power) else e


def _less_one(e: Expr) -> Expr:
    """Return a whole power of a base with the exponent one less."""
    if not isinstance(e, Power) or not isinstance(e.exponent, Number):
        return ONE
    left = e.exponent.value - 1
    return e.base if left == 1 else Power(e.base, Number(left))


def _diagonal(e: Diagonal) -> Expr:
    """Move signs and numbers before the diagonal matrix."""
    sign, inner = signed(e.inner)
    numbers = [f for f in inner.factors if not f.shape] if isinstance(inner, Times) else []
    if not numbers or not isinstance(inner, Times):
        return with_sign(sign, Diagonal(inner))
    return with_sign(sign, times([*numbers, Diagonal(times(f for f in inner.factors if f.shape))]))


def _power(e: Power) -> Expr:
    _, base = signed(e.base)
    even = isinstance(e.exponent, Number) and e.exponent.value.is_Integer and int(e.exponent.value) % 2 == 0
    if (
        isinstance(base, Call)
        and base.name == "sqrt"
        and isinstance(base.args[0], Symbol | Count)
        and e.exponent == Number(sp.S(2))
    ):
        # (√u)² = u where the root exists.
        return base.args[0]
    # (-a)² = a².
    return Power(base, e.exponent) if even else e


def _matmul(e: Matmul) -> Expr:
    """Move signs, numbers and divisors before the product of matrices."""
    sign, factors = _without_signs(e.factors)
    divided = _divided_behind(factors)
    if divided is not None:
        return with_sign(sign, divided)
    numbers: list[Expr] = []
    below: list[Expr] = []
    kept: list[Expr] = []
    for factor in factors:
        if isinstance(factor, Over) and not factor.below.shape:
            below.append(factor.below)
            factor = factor.above
        if not factor.shape:
            # Numbers commute with matrices and may leave the product.
            numbers.append(factor)
        else:
            own, rest = _numbers_apart(factor)
            numbers += own
            kept += rest.factors if isinstance(rest, Matmul) else (rest,)  # of -(A B) behind its sign
    kept = _inside_sum(_as_number(_quadratic_form(_without_diagonals(_without_identities(kept)))))
    if kept and matmul(kept).shape:  # I A is A, but I xᵀ x is no number
        parts = [x for number in numbers for x in (number.factors if isinstance(number, Times) else (number,))]
        numbers = [x for x in parts if not is_identity(x)] if any(map(is_identity, parts)) else numbers
    if not numbers and not below:
        return with_sign(sign, e if e.factors == tuple(kept) else matmul(kept))
    whole = Times((*numbers, *([matmul(kept)] if kept else []), *(Over(ONE, b) for b in below)))
    return with_sign(sign, _times(whole))


def _divided_behind(factors: Sequence[Expr]) -> Expr | None:
    """Return the sums of the rows of a matrix whose rows are divided by numbers, (A / (v 1ᵀ)) 1, as A 1 / v; beside 1ᵀ as
    A 1 1ᵀ / (v 1ᵀ). None of another product."""
    if not 2 <= len(factors) <= 3 or not isinstance(factors[0], Over) or not isinstance(factors[1], Ones):
        return None
    whole, row = factors[0], factors[-1]
    if not _is_of_ones(whole.below) or (len(factors) == 3 and row != whole.below.factors[-1]):
        return None
    below = whole.below if len(factors) == 3 else matmul(whole.below.factors[:-1])
    return _over(Over(_matmul_of([whole.above, *factors[1:]]), below))


def _is_of_ones(e: Expr) -> TypeGuard[Matmul]:
    """Answer whether a matrix has equal columns, as v 1ᵀ."""
    return isinstance(e, Matmul) and isinstance(e.factors[-1], Transposed) and isinstance(e.factors[-1].inner, Ones)


def _inside_sum(factors: list[Expr]) -> list[Expr]:
    """Return a product of matrices with the only sum over steps around it: Σ_t u vᵀ A for (Σ_t u vᵀ) A."""
    sums = [i for i, factor in enumerate(factors) if isinstance(factor, Total)]
    if len(sums) != 1 or len(factors) < 2:
        return factors
    (at,) = sums
    total = factors[at]
    assert isinstance(total, Total)
    return [Total(_matmul_of([*factors[:at], total.inner, *factors[at + 1 :]]), total.at)]


def _matmul_of(factors: Sequence[Expr]) -> Expr:
    """Return a product of matrices in normal form."""
    found = matmul(factors)
    return _matmul(found) if isinstance(found, Matmul) else found


def _without_identities(factors: list[Expr]) -> list[Expr]:
    """Return a product of matrices without identities, where something else is left: A B for A I B."""
    return [x for x in factors if not is_identity(x)] or factors[:1]


def _without_diagonals(factors: list[Expr]) -> list[Expr]:
    """Return a product of matrices without diag(v) 1, which is v, and 1ᵀ diag(v), which is vᵀ."""
    found: list[Expr] = []
    for factor in factors:
        before = found[-1] if found else None
        if isinstance(before, Diagonal) and isinstance(factor, Ones):
            found[-1] = before.inner
        elif isinstance(before, Transposed) and isinstance(before.inner, Ones) and isinstance(factor, Diagonal):
            found[-1] = turned(factor.inner)
        else:
            found.append(factor)
    return found


def _as_number(factors: list[Expr]) -> list[Expr]:
    """Return (a - b)ᵀ (a - b) as ‖a - b‖², of a name aᵀ a is as short; and vᵀ e_i as the entry of v that it is."""
    if len(factors) != 2:
        return factors
    row, column = factors
    # vᵀ e_i = v_i.
    if isinstance(row, Transposed) and isinstance(column, Unit) and len(row.inner.shape) == 1:
        return [Rows(row.inner, column.row, 0, ())]
    if not isinstance(column, Sum) or len(column.shape) != 1 or turned(column) != row:
        return factors
    return [Power(Call("norm", (column,), ()), Number(sp.S(2)))]


def _transposed(e: Transposed) -> Expr:
    return turned(e.inner)


def _inverse(e: Inverse) -> Expr:
    """Move the sign and numbers before an inverse, and a transpose behind it."""
    sign, inner = signed(e.inner)
    if isinstance(inner, Times) and sum(bool(f.shape) for f in inner.factors) == 1:
        numbers = times(f for f in inner.factors if not f.shape)
        array = next(f for f in inner.factors if f.shape)
        return with_sign(sign, Over(_inverse(Inverse(array)), numbers))
    if isinstance(inner, Transposed):
        return with_sign(sign, transposed(Inverse(inner.inner)))
    if isinstance(inner, Inverse):
        return with_sign(sign, inner.inner)
    # (C Sᵀ Cᵀ + R Rᵀ)⁻¹ = (C S Cᵀ + R Rᵀ)⁻ᵀ: a matrix and its transpose have one inverse on a page.
    other = turned(inner) if isinstance(inner, Sum | Matmul) else inner
    if _transposes(other) < _transposes(inner):
        return with_sign(sign, transposed(Inverse(other)))
    return with_sign(sign, e if inner is e.inner else Inverse(inner))


def _transposes(e: Expr) -> int:
    return sum(1 for _ in every(e, Transposed)) if e.kinds & Transposed.bit else 0


def renamed(e: Expr) -> Expr:
    """Return an expression with the named indices of its arrays in the order in which they are written."""
    if not e.kinds & Entries.bit:
        return e
    if isinstance(e, Entries):
        return _renamed(e)
    return with_parts(e, [renamed(part) for part in e.parts])


def _renamed(e: Entries) -> Expr:
    order = list(dict.fromkeys(x.name for x in (*e.indices, *_indices(e.inner)) if isinstance(x, Index)))
    # Rules may have reordered factors: the first index that a reader meets is to be i, the next j.
    names = dict(zip(order, sorted(order, key=_place), strict=True))
    return _with_names(e, names)


def _place(name: str) -> int:
    return LETTERS.index(name) if name in LETTERS else len(LETTERS) + int(name.partition("_")[2])


def _indices(e: Expr) -> Iterator[Expr]:
    """Yield the indices of an expression in the order in which entries have them, those of sums behind them."""
    yield from every(e, Index)
    sums: Iterable[SumOver | Along] = every(e, SumOver, Along)
    for x in sums:
        yield from x.indices


def _with_names(e: Expr, names: Mapping[str, str]) -> Expr:
    if isinstance(e, Index):
        return Index(names[e.name], e.of_size)
    new = [_with_names(part, names) for part in e.parts]
    if isinstance(e, SumOver):
        own = sorted((Index(names[i.name], i.of_size) for i in e.indices), key=lambda i: _place(i.name))
        return SumOver(tuple(own), new[0], e.kind, tuple(new[1:]))
    if isinstance(e, Along):
        along = tuple(Index(names[i.name], i.of_size) for i in e.indices)
        return Along(e.name, along, tuple(new[: len(e.args)]), tuple(new[len(e.args) :]))
    if isinstance(e, Entries):
        return Entries(tuple(_with_names(i, names) for i in e.indices), new[0], e.of)
    if isinstance(e, Times):
        new = sorted(new, key=_order)
    return with_parts(e, new) if new else e


def _order(e: Expr) -> tuple[int, ...]:
    """Return the sort key of a factor: entries by their indices, behind all else."""
    return tuple(1 + _place(i.name) for i in e.indices if isinstance(i, Index)) or (99,) if isinstance(e, Entry) else ()


def turned(e: Expr) -> Expr:
    """Return the transpose of an expression in normal form, in normal form."""
    match e:
        case _ if not e.shape or isinstance(e, Diagonal):
            return e
        case Matmul():
            return matmul([turned(f) for f in e.factors[::-1]])
        case Inverse() if turned(e.inner) == e.inner:  # as of I + W Wᵀ
            return e
        case Sum() if len(e.terms) == 1 or _reads_better_turned(e):
            return plus((sign, turned(term)) for sign, term in e.terms)
        case Times() if sum([bool(f.shape) for f in e.factors]) == 1:
            return times(turned(f) for f in e.factors)
        case Over() if not e.below.shape:
            return Over(turned(e.above), e.below)
        case Total() if not e.at:
            return Total(turned(e.inner))
        case SumOver() if _is_over_rounds(e):
            return SumOver((), turned(e.inner), e.kind, e.condition)
        case Blocks() if e.axis == 1 or all(isinstance(p, Transposed) for p in e.blocks):
            return (
                Blocks(tuple(map(turned, e.blocks)), 1 - e.axis, e.shape[::-1]) if len(e.shape) == 2 else transposed(e)
            )
    return transposed(e)


def _reads_better_turned(e: Sum) -> bool:
    """Answer whether the terms of a sum are turned one by one: those of a matrix that has products or transposes in it, and of a
    vector that has a transpose; else the sum stands in brackets, (v - S k)ᵀ."""
    kinds = Transposed | Total if len(e.shape) == 1 else Transposed | Matmul | Total
    return any(isinstance(_numbers_apart(term)[1], kinds) for _, term in e.terms)


def _total(e: Total) -> Expr:
    """Move the sign and a number before the sum over steps."""
    sign, inner = signed(e.inner)
    if isinstance(inner, Times):
        fixed = [f for f in inner.factors if _is_fixed(f)]
        rest = [f for f in inner.factors if f not in fixed]
        if fixed and rest:
            return with_sign(sign, times([*fixed, Total(times(rest), e.at)]))
    if isinstance(inner, Over):
        factors = _flat((inner.above,))
        fixed = [f for f in factors if _is_fixed(f)]
        rest = [f for f in factors if f not in fixed]
        if fixed and rest:
            return with_sign(sign, times([*fixed, Total(Over(times(rest), inner.below), e.at)]))
    return with_sign(sign, e if inner is e.inner else Total(inner, e.at))


def _is_fixed(e: Expr) -> bool:
    """Answer whether a factor is a number that is the same at all steps."""
    if e == IMAGINARY or isinstance(e, Count):
        return True
    if not isinstance(e, Symbol | Number) or e.shape:
        return False
    return not isinstance(e, Symbol) or (e.label.time is None and not e.label.round)


def _is_still(e: Expr) -> bool:
    """Answer whether a factor is the same at all steps."""
    return _is_fixed(e) or not any(x.time is not None or x.round for x in e.labels)


def _as_total(e: Expr) -> Total | None:
    """Return a sum over steps, numbers and arrays that are the same at all steps and stand before it inside."""
    if isinstance(e, Times) and isinstance(e.factors[-1], Total) and all(map(_is_still, e.factors[:-1])):
        whole = e.factors[-1]
        return Total(_times(Times((*e.factors[:-1], whole.inner))), whole.at)
    return e if isinstance(e, Total) else None


def _quadratic_form(factors: list[Expr]) -> list[Expr]:
    """Return a product that is a number, or its transpose, the same number, where that has fewer transposes: hᵀ Q h for hᵀ Qᵀ h."""
    if len(factors) < 3 or matmul(factors).shape:
        return factors
    # A number is its own transpose: hᵀ Qᵀ h = (hᵀ Qᵀ h)ᵀ = hᵀ Q h.
    other = [turned(f) for f in factors[::-1]]
    return (
        other
        if sum(isinstance(f, Transposed) for f in other) < sum(isinstance(f, Transposed) for f in factors)
        else factors
    )


def _numbers_apart(e: Expr) -> tuple[list[Expr], Expr]:
    """Return the factors of an array that are numbers, and the array without them."""
    if isinstance(e, Times) and any(not f.shape for f in e.factors):
        return [f for f in e.factors if not f.shape], times(f for f in e.factors if f.shape)
    if isinstance(e, Over) and e.above.shape:
        numbers, rest = _numbers_apart(e.above)
        return numbers, Over(rest, e.below)
    if isinstance(e, Transposed):
        numbers, rest = _numbers_apart(e.inner)
        return (numbers, turned(rest)) if numbers else ([], e)
    return [], e


def _summed(e: SumOver) -> Expr:
    """Move the sign before the sum, and join a sum of a sum into one."""
    sign, inner = signed(e.inner)
    if e.kind != "sum":
        return e
    # Σ_i (Σ_j a_ij) / b_i = Σ_ij a_ij / b_i: each index has a letter of its own.
    part = inner.above if isinstance(inner, Over) else inner
    if isinstance(inner, Over) and isinstance(part, SumOver) and _is_plain(part) and not e.condition:
        return with_sign(sign, SumOver((*e.indices, *part.indices), Over(part.inner, inner.below)))
    plain = isinstance(inner, SumOver) and _is_plain(inner) and not e.condition
    found = SumOver((*e.indices, *inner.indices), inner.inner) if plain and isinstance(inner, SumOver) else None
    return with_sign(sign, found or SumOver(e.indices, inner, e.kind, e.condition))


def _is_over_rounds(e: Expr) -> TypeGuard[SumOver]:
    """Answer whether an expression is a sum over the rounds of a loop inside a step."""
    return isinstance(e, SumOver) and e.kind == "sum" and not e.indices and bool(e.condition)


def _with_one_sum_of_rounds(terms: Sequence[tuple[int, Expr]]) -> list[tuple[int, Expr]]:
    """Return terms with sums over the same rounds as one: Σ_{k < K} (a_k - b_k) for Σ_{k < K} a_k - Σ_{k < K} b_k."""
    found: list[tuple[int, Expr]] = []
    at: dict[tuple[Expr, ...], int] = {}
    for sign, term in terms:
        place = at.get(term.condition) if _is_over_rounds(term) else None
        if place is not None and isinstance(term, SumOver):
            own, first = found[place]
            assert isinstance(first, SumOver)
            inner = _sum_of([(own, first.inner), (sign, term.inner)])
            found[place] = signed(_summed(SumOver((), inner, "sum", term.condition)))
            continue
        if _is_over_rounds(term):
            at[term.condition] = len(found)
        found.append((sign, term))
    return found


def _is_plain(e: SumOver) -> bool:
    return e.kind == "sum" and not e.condition


def _sum(e: Sum) -> Expr:
    """Collect like terms, numbers, and sums over steps; 1/2 ± sign(a - b) / 2 becomes a bracket."""
    terms = [(sign * own, rest) for sign, term in e.terms for own, rest in [signed(term)]]
    ahead = _ahead(terms)
    if ahead is not None:
        return ahead
    if len(terms) == 1 and isinstance(terms[0][1], Times):
        product, sign = _turned_round(terms[0][1], terms[0][0]) if terms[0][0] < 0 else (terms[0][1], 1)
        return with_sign(sign, product)
    terms = _like(joined(terms) if has(e, Call) else terms)
    terms = [(s * own, x) for s, t in with_joined(terms) for own, x in [signed(_rule(t))]] if has(e, Blocks) else terms
    # Sums under a condition (`at`) run over other steps each, and stay apart.
    whole_terms = terms if has(e, Total) else []
    totals = [(pair, total) for pair in whole_terms if (total := _as_total(pair[1])) is not None and not total.at]
    # Σ_t a + Σ_t b = Σ_t (a + b).
    if len(totals) > 1:
        whole = _total(Total(_sum_of((sign, total.inner) for (sign, _), total in totals)))
        gone = [pair for pair, _ in totals]
        first = terms.index(gone[0])
        rest = [pair for pair in terms if pair not in gone]
        terms = [*rest[:first], signed(whole), *rest[first:]]
    terms = _with_ones(terms) if has(e, Ones) else terms
    terms = _with_one_sum_of_rounds(terms) if has(e, SumOver) else terms
    first = next((i for i, (sign, _) in enumerate(terms) if sign > 0), 0)
    found = plus([terms[first], *terms[:first], *terms[first + 1 :]]) if terms else ZERO
    content, less = _content(found)
    if content is not None:
        return _times(Times((content, less)))
    # A positive term leads, so that a line does not begin with a minus if it can be avoided.
    is_whole = found != e and found.shape == e.shape  # of an array that cancels, its shape would be lost
    return found if is_whole else e


def _content(e: Expr) -> tuple[Number | None, Expr]:
    """Return the number before all terms of a sum, or the greatest whole one in theirs, and the sum without it: 2 a - 2 b is
    2 (a - b).

    SymPy has no 2 (a - b) of two numbers or names: it multiplies them out.
    """
    if not isinstance(e, Sum) or len(e.terms) < 2:
        return None, e
    first, _ = _number_before(e.terms[0][1])
    if first is None:
        return None, e
    parts = [_number_before(term) for _, term in e.terms]
    if any(number is None for number, _ in parts):
        return None, e
    if all(number == first for number, _ in parts):
        return first, Sum(tuple((sign, rest) for (sign, _), (_, rest) in zip(e.terms, parts, strict=True)))
    whole = gcd(*(_coefficient(term)[0] for _, term in e.terms))
    if whole < 2:
        return None, e
    less = [(sign, *_coefficient(term)) for sign, term in e.terms]
    rest = [(sign, rest if size == whole else _without_factor(size // whole, rest)) for sign, size, rest in less]
    return Number(sp.Integer(whole)), Sum(tuple(rest))


def _number_before(term: Expr) -> tuple[Number | None, Expr]:
    """Return the number before a product, and the product without it; a number alone is one times itself."""
    if isinstance(term, Number):
        return term, ONE
    if isinstance(term, Times) and isinstance(term.factors[0], Number):
        return term.factors[0], times(term.factors[1:])
    return None, term


def _without_factor(size: int, rest: Expr) -> Expr:
    return Number(sp.Integer(size)) if rest == ONE else _scaled(size, rest)


def _with_ones(terms: Sequence[tuple[int, Expr]]) -> list[tuple[int, Expr]]:
    """Return terms that are sums over rows as one: A 1 + B 1 is (A + B) 1."""
    groups: dict[Expr, list[tuple[int, Expr]]] = {}
    for sign, term in terms:
        if isinstance(term, Matmul) and len(term.factors) == 2 and isinstance(term.factors[1], Ones):
            groups.setdefault(term.factors[1], []).append((sign, term))
    found = list(terms)
    for ones, group in groups.items():
        if len(group) > 1:
            inner = _sum_of((sign, term.factors[0]) for sign, term in group if isinstance(term, Matmul))
            first = found.index(group[0])
            found[first] = signed(_matmul(Matmul((inner, ones))))
            found = [pair for i, pair in enumerate(found) if i == first or pair not in group]
    return found


def _sum_of(terms: Iterable[tuple[int, Expr]]) -> Expr:
    found = plus(terms)
    return _sum(found) if isinstance(found, Sum) else found


def _like(terms: Sequence[tuple[int, Expr]]) -> list[tuple[int, Expr]]:
    """Return terms with whole coefficients added up, in the order in which they come first."""
    parted = [(sign, term, *_coefficient(term)) for sign, term in terms]
    if _differ([rest for *_, rest in parted]) and all(factor > 0 for *_, factor, _ in parted):
        return [(sign, term) for sign, term, _, rest in parted if not is_zero(rest)]
    count: dict[Expr, int] = {}
    for sign, _, factor, rest in parted:
        count[rest] = count.get(rest, 0) + sign * factor
    found = []
    for rest, factor in count.items():
        if factor and not is_zero(rest):
            size = abs(factor)
            term = rest if size == 1 else Number(sp.Integer(size)) if rest == ONE else _scaled(size, rest)
            found.append((1 if factor > 0 else -1, term))
    return found


def _differ(expressions: Sequence[Expr]) -> bool:
    """Answer whether no two expressions are equal for what they are made of: then none is to be compared, or hashed, as a whole."""
    return len({(e.kinds, e.size, e.labels) for e in expressions}) == len(expressions)


def _coefficient(term: Expr) -> tuple[int, Expr]:
    if isinstance(term, Number) and term.value.is_Integer:
        return int(term.value), ONE
    if isinstance(term, Times) and isinstance(term.factors[0], Number) and term.factors[0].value.is_Integer:
        return int(term.factors[0].value), times(term.factors[1:])
    return 1, term


def _scaled(size: int, rest: Expr) -> Expr:
    return _times(Times((Number(sp.Integer(size)), rest)))


def _ahead(terms: Sequence[tuple[int, Expr]]) -> Expr | None:
    """Return 1/2 ± sign(a - b) / 2 as a bracket: one where a is ahead of b, one half where they tie."""
    if len(terms) != 2:
        return None
    sign, half = terms[1]
    if (
        not isinstance(half, Over)
        or terms[0] != (1, Number(HALF))
        or half.below != Number(sp.S(2))
        or not isinstance(half.above, Call)
    ):
        return None
    if half.above.name != "sign" or not isinstance(half.above.args[0], Sum):
        return None
    difference = half.above.args[0].terms
    if len(difference) != 2 or difference[0][0] < 0 or difference[1][0] > 0:
        return None
    return Call("ahead" if sign > 0 else "behind", (difference[0][1], difference[1][1]))


def _of_outer_product(e: Call) -> Expr:
    """Rewrite ⟨A, u vᵀ⟩ as uᵀ A v, with signs and numbers before it."""
    sign, parts = _without_signs(e.args)
    for whole, outer in (parts, parts[::-1]):
        column, row = outer.factors if isinstance(outer, Matmul) and len(outer.factors) == 2 else (ONE, ONE)
        if len(column.shape) == 1 and isinstance(row, Transposed) and len(row.inner.shape) == 1:
            return with_sign(sign, _matmul(Matmul((turned(column), whole, row.inner))))
    return with_sign(sign, Call(e.name, tuple(parts), e.of))


def _of_multiple(e: Call) -> Expr:
    """Move signs and numbers before a function that has them outside, too: a roll, a running sum."""
    sign, inner = signed(e.args[0])
    numbers, rest = _numbers_apart(inner)
    found: Expr = Call(e.name, (rest, *e.args[1:]), e.of)
    return with_sign(sign, _times(Times((*numbers, found))) if numbers else found)


def _call(e: Call) -> Expr:
    match e.name:
        case "expm1":
            return _sum_of([(1, _call(Call("exp", e.args))), (-1, ONE)])
        case "exp":
            return _of_softplus(e)
        case "log1p":
            # log1p and expm1 are for floating-point accuracy; in exact arithmetic a textbook writes log(1 + x) and exp(x) - 1.
            return Call("log", (_sum_of([(1, ONE), (1, e.args[0])]),))
        case "sum" if e.of == ():
            return _inner_product(e)
        case "inner":
            return _of_outer_product(e)
        case "conj":
            return _rule(found) if (found := conjugate_of(e.args[0])) != e else e
        case "real" | "imag":
            return _of_part(e)
        case "roll" | "roll_rows" | "roll_columns" | "cumsum" | "reverse_cumsum" | "tril":
            return _of_multiple(e)
    return e


def _of_part(e: Call) -> Expr:
    """Move signs, numbers and the imaginary unit before a real or an imaginary part."""
    sign, inner = signed(e.args[0])
    other, found = part_of(e.name, inner)
    return with_sign(sign * other, found)


def _of_softplus(e: Call) -> Expr:
    """Return exp(-softplus(x)), as which a slope is computed, as 1 - σ(x)."""
    sign, inner = signed(e.args[0])
    if sign < 0 and isinstance(inner, Call) and inner.name == "softplus":
        return plus([(1, ONE), (-1, Call("sigmoid", inner.args))])
    return e


def _inner_product(e: Call) -> Expr:
    """Return the sum of a product as aᵀ b; signs and numbers before it."""
    sign, inner = signed(e.args[0])
    # A number under the sum leaves it: Σ (x_i / c) = (Σ x_i) / c.
    if isinstance(inner, Over) and not inner.below.shape:
        return with_sign(sign, _rule(Over(_rule(Call("sum", (inner.above,), ())), inner.below)))
    numbers: list[Expr] = []
    if isinstance(inner, Times):
        numbers = [f for f in inner.factors if not f.shape]
        arrays = [f for f in inner.factors if f.shape]
    elif isinstance(inner, Power) and inner.exponent == Number(sp.S(2)):
        # Σ x_i² = xᵀ x.
        arrays = [inner.base, inner.base] if inner.base.shape else []
    elif isinstance(inner, Over) and isinstance(inner.above, Times):
        numbers = [f for f in inner.above.factors if not f.shape]
        above = [f for f in inner.above.factors if f.shape] or [ONE]
        arrays = [above[0], Over(times(above[1:]), inner.below)] if len(above) > 1 else [Over(above[0], inner.below)]
    else:
        arrays = [inner]
    if not arrays:  # one number is its own sum
        return with_sign(sign, inner)
    own = arrays[0].shape
    found: Expr
    if len(arrays) == 1 and isinstance(arrays[0], Ones):
        found = size_of(arrays[0].count)
    elif len(arrays) < 2 or len(own) > 2 or any(f.shape != own for f in arrays):
        found = Call("sum", (times(arrays),), ())
    elif len(own) == 1:
        found = _rule(matmul((turned(arrays[0]), times(arrays[1:]))))
    else:
        # ⟨A, B⟩ = Σ A_ij B_ij: of matrices aᵀ b would be a matrix.
        found = _of_outer_product(Call("inner", (arrays[0], times(arrays[1:])), ()))
    return with_sign(sign, _rule(times([*numbers, found])) if numbers else found)


def _blocks(e: Blocks) -> Expr:
    """Join sums over steps side by side into one sum: [Σ_t a; -Σ_t b] is Σ_t [a; -b]."""
    parts = [signed(part) for part in e.blocks]
    totals = [part for _, part in parts if isinstance(part, Total) and not part.at]
    if len(totals) < len(parts):
        return e
    inner = tuple(with_sign(sign, total.inner) for (sign, _), total in zip(parts, totals, strict=True))
    return _total(Total(Blocks(inner, e.axis, e.of)))


def _slice(e: Slice) -> Expr:
    """Return a part of a part as a part of the whole: (K[0, :]ᵀ)[1] is K[0, 1]; signs and numbers stand before it."""
    sign, inner = signed(e.inner)
    if isinstance(inner, Over) and not inner.below.shape:
        return with_sign(sign, _over(Over(_slice(Slice(inner.above, e.spans, e.of)), inner.below)))
    numbers, array = _numbers_apart(inner)
    if sign < 0 or numbers:
        part = _slice(Slice(array, e.spans, e.of))
        return with_sign(sign, _times(Times((*numbers, part))) if numbers else part)
    is_of_row = isinstance(e.inner, Transposed) and len(e.spans) == 1
    part = e.inner.inner if isinstance(e.inner, Transposed) and is_of_row else e.inner
    if not isinstance(part, Slice) or any(span.step != 1 for span in (*part.spans, *e.spans)):
        return e
    rest = iter(e.spans)
    if sum(not span.alone for span in part.spans) != len(e.spans):
        return e
    spans = tuple(span if span.alone else _within(span, next(rest)) for span in part.spans)
    lengths = tuple(span.length for span in spans if not span.alone)
    # What is left of a matrix is a row where its row has a number; of a larger array a column, as all vectors.
    shape = (1, *lengths) if len(spans) == 2 and len(lengths) == 1 and spans[0].alone else lengths
    found = Slice(part.inner, spans, shape)
    return next((x for x in (found, transposed(found)) if x.shape == e.shape), e)


def _within(outer: Span, inner: Span) -> Span:
    return Span(sized(outer.start + inner.start), inner.length, 1, outer.size, inner.alone)


def _cases(e: Cases) -> Expr:
    """Return a choice between a value and zero as the value times a condition; of a value with ∞, which is no number times 0, as it is."""
    if e.infinite:
        return e
    if is_zero(e.other):
        # A bracket [condition] is 1 or 0, so that "x if c else 0" is [c] x, the form of textbooks.
        return _rule(times((e.condition, e.then))) if not is_one(e.then) else e.condition
    if is_zero(e.then):
        return _rule(times((negated(e.condition), e.other))) if not is_one(e.other) else negated(e.condition)
    return _as_one_total(e) or e


def _as_one_total(e: Cases) -> Expr | None:
    """Return a choice by an index between two sums over steps as one sum; None of another."""
    (sign, then), (other_sign, other) = ((own, _as_total(x)) for own, x in map(signed, (e.then, e.other)))
    if then is None or other is None or then.at or other.at or e.condition.labels:
        return None
    # The rows of one brace: of a choice by another index, in the last of them, it would not be told to which rows it belongs.
    if isinstance(other.inner, Cases) and other.inner.condition.parts[:1] != e.condition.parts[:1]:
        return None
    return _total(Total(_cases(Cases(e.condition, with_sign(sign, then.inner), with_sign(other_sign, other.inner)))))


def negated(e: Expr) -> Expr:
    """Return the condition that holds where another does not."""
    if isinstance(e, Call) and e.name in OPPOSITE:
        return Call(OPPOSITE[e.name], e.args, e.of)
    # A condition is 1 or 0: its opposite is 1 minus it.
    return plus([(1, ONE), (-1, e)])


_RULES: dict[type, Callable[..., Expr]] = {
    Times: _times, Over: _over, Power: _power, Matmul: _matmul, Transposed: _transposed, Total: _total, SumOver: _summed,
    Sum: _sum, Call: _call, Cases: _cases, Blocks: _blocks, Diagonal: _diagonal, Inverse: _inverse, Slice: _slice,
}  # fmt: skip
