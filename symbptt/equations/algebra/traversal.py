"""Walks over expressions: the parts in them, and others made of them. They skip parts in which there is nothing to find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import is_
from typing import Any, TypeVar, cast

from symbptt.equations.algebra.expressions import (
    OWN,
    Along,
    Blocks,
    Call,
    Cases,
    Derivative,
    Diagonal,
    Entries,
    Entry,
    Expr,
    Inverse,
    Matmul,
    Outside,
    Over,
    OverFamily,
    OverWindows,
    Power,
    Raised,
    Rows,
    Slice,
    Sum,
    SumOver,
    Symbol,
    Times,
    Total,
    Transposed,
    Unit,
    matmul,
    plus,
    times,
    transposed,
)  # fmt: skip

E = TypeVar("E", bound=Expr)


def with_parts(e: Expr, new: Sequence[Expr]) -> Expr:
    """Return an expression with others in the place of its parts, as flat as before."""
    return _WITH_PARTS[type(e)](e, new)


def mapped(e: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """Return an expression with `f` applied to each part of it, innermost first."""
    old = e.parts
    if not old:
        return f(e)
    new = [mapped(part, f) for part in old]
    return f(e if all(map(is_, old, new)) else with_parts(e, new))


def _kinds_of(*classes: type[Expr]) -> int:
    found = 0
    for cls in classes:
        found |= cls.bit
    return found


# Types of arguments are lost in a cache.
kinds_of: Callable[..., int] = cache(cast(Any, _kinds_of))
"""The bits of some classes."""


def has(e: Expr, *classes: type[Expr]) -> bool:
    """Answer whether an expression, or one that it is made of, is of some classes."""
    return bool(e.kinds & kinds_of(*classes))


def mapped_where(e: Expr, f: Callable[[Any], Expr], *classes: type[Expr]) -> Expr:
    """Return an expression with `f` applied to what is of some classes in it, innermost first."""
    kinds = kinds_of(*classes)
    return _mapped_where(e, f, kinds) if e.kinds & kinds else e


def _mapped_where(e: Expr, f: Callable[[Any], Expr], kinds: int) -> Expr:
    new: list[Expr] | None = None
    for i, part in enumerate(e.parts):
        # `kinds` covers all that is inside: without a common bit nothing there can change.
        if part.kinds & kinds:
            found = _mapped_where(part, f, kinds)
            if found is not part:
                new = new or [*e.parts]
                new[i] = found
    whole = e if new is None else with_parts(e, new)
    return f(whole) if whole.bit & kinds else whole


def replaced(expressions: Iterable[Expr], table: Mapping[Expr, Expr]) -> list[Expr]:
    """Return expressions with others in the place of those of a table, innermost first."""
    least, kinds = min([x.size for x in table], default=0), {x.kinds for x in table}
    return (
        [_replaced(e, table, least, kinds) if e.size >= least else e for e in expressions] if table else [*expressions]
    )


def _replaced(e: Expr, table: Mapping[Expr, Expr], least: int, kinds: set[int]) -> Expr:
    new: list[Expr] | None = None
    for i, part in enumerate(e.parts):
        # An expression cannot contain a larger one: whole subtrees are skipped.
        if part.size >= least:  # else all that it is made of is smaller, too
            found = _replaced(part, table, least, kinds)
            if found is not part:
                new = new or [*e.parts]
                new[i] = found
    whole = e if new is None else with_parts(e, new)
    return table.get(whole, whole) if whole.kinds in kinds else whole


def relabelled(e: Expr, f: Callable[[Symbol], Expr]) -> Expr:
    """Return an expression with `f` applied to its symbols."""
    if isinstance(e, Symbol):
        return f(e)
    new: list[Expr] | None = None
    for i, part in enumerate(e.parts):
        if part.labels:
            found = relabelled(part, f)
            if found is not part:
                new = new or [*e.parts]
                new[i] = found
    return e if new is None else with_parts(e, new)


def walk(e: Expr) -> Iterator[Expr]:
    """Yield an expression and all that it is made of, in the order in which they are written."""
    open_ = [e]
    while open_:
        e = open_.pop()
        yield e
        open_ += e.parts[::-1]


def every(e: Expr, *classes: type[E]) -> Iterable[E]:
    """Return what is of some classes in an expression, in the order in which it is written."""
    kinds = kinds_of(*classes)
    return _every(e, kinds) if e.kinds & kinds else ()


def _every(e: Expr, kinds: int) -> Iterator[Any]:
    open_: list[Any] = [e]
    while open_:
        found = open_.pop()
        if found.kinds & kinds:
            if found.bit & kinds:
                yield found
            open_ += found.parts[::-1]


def differ_in_names(a: Expr, b: Expr) -> bool:
    """Answer whether two expressions are equal but for the names in them."""
    if a is b:
        return True
    kind, own = type(a), OWN.get(type(a))
    if kind is not type(b) or len(a.parts) != len(b.parts) or (own is not None and own(a) != own(b)):
        return False
    return all(map(differ_in_names, a.parts, b.parts))


def _of_inner(e: Any, new: Sequence[Expr]) -> Expr:
    return cast(Expr, replace(e, inner=new[0]))


def _of_all(e: Expr, new: Sequence[Expr]) -> Expr:
    return cast(Expr, cast(Any, type(e))(*new))


_WITH_PARTS: dict[type, Callable[[Any, Sequence[Expr]], Expr]] = {
    Outside: lambda e, new: Outside(new[0]) if isinstance(new[0], Symbol) else e, Derivative: _of_all,
    Sum: lambda e, new: plus([(sign, part) for (sign, _), part in zip(e.terms, new, strict=True)]),
    Times: lambda e, new: times(new), Matmul: lambda e, new: matmul(new), Over: _of_all, Power: _of_all,
    Transposed: lambda e, new: transposed(new[0]), Inverse: _of_inner, Diagonal: _of_inner, Slice: _of_inner, Entries: _of_inner,
    OverFamily: _of_inner, Total: lambda e, new: Total(new[0], tuple(new[1:])),
    SumOver: lambda e, new: SumOver(e.indices, new[0], e.kind, tuple(new[1:])), Call: lambda e, new: Call(e.name, tuple(new), e.of),
    Cases: lambda e, new: Cases(new[0], new[1], new[2], e.infinite),
    Blocks: lambda e, new: Blocks(tuple(new), e.axis, e.of), Rows: lambda e, new: Rows(new[0], new[1], e.axis, e.of),
    Unit: lambda e, new: Unit(new[0], e.count), Entry: lambda e, new: Entry(new[0], tuple(new[1:])),
    Along: lambda e, new: Along(e.name, e.indices, tuple(new[: len(e.args)]), tuple(new[len(e.args) :])),
    Raised: _of_inner, OverWindows: _of_inner,
}  # fmt: skip
"""The parts of each class that are expressions."""
