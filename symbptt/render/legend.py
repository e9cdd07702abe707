"""The legend of a page: the shapes of what is given to a cell, and the signs that stand on the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from symbptt.derive.labels import Label
from symbptt.ir.shape import Shape
from symbptt.render.algebra import (
    Array,
    Call,
    Entries,
    Entry,
    Expr,
    Index,
    OverFamily,
    Slice,
    SumOver,
    Symbol,
    Unit,
    mapped,
    walk,
)  # fmt: skip
from symbptt.render.lines import Line, Lines, Loss, LossLines, Section
from symbptt.render.notation import TEXT
from symbptt.render.writing import size_shown, write

SMALL = 4
"""Numbers of a constant vector that stands where it is read; others have names."""

SIGNS: dict[str, str] = {
    "vec": "vec(A): the rows of A one under the other",
    "mat": "mat_{k×n}(v): k rows of n numbers, one under the other",
    "inner": "⟨A, B⟩: the sum of A ⊙ B",
    "stop_gradient": "sg(v): v, and nothing flows back through it",
    "ahead": "[a > b] and [a < b] where two values compete: one half each where they are equal",
    "behind": "[a > b] and [a < b] where two values compete: one half each where they are equal",
    "cumsum": "cumsum(v): the sums of v up to each of its elements",
    "reverse_cumsum": "reverse_cumsum(v): the sums of v from each of its elements on",
    "diag": "diag(v): the diagonal matrix of v",
}
"""What functions mean that a textbook does not have."""


def legend(lines: Lines, loss: LossLines | None, sections: Iterable[Section]) -> tuple[str, ...]:
    """Return the lines of a legend."""
    all_lines = [line for section in sections for line in section.lines]
    found = [x for line in all_lines for side in (line.left, line.right) for x in walk(side)]
    return (
        _shapes(lines, loss),
        *mean_of(loss.of if loss is not None else None),
        *_signs(found),
        *_families(all_lines, found),
    )


def mean_of(loss: Loss | None) -> tuple[str, ...]:
    """Return what N is, over which L is a mean."""
    if loss is None or loss.reduction == "sum":
        return ()
    what = "steps of all samples" if loss.at == "every" else "samples that have a last step"
    return (f"{loss.count}: how many {what} there are; L and gradients of parameters are sums over the samples",)


def _shapes(lines: Lines, loss: LossLines | None) -> str:
    shapes: dict[Shape, list[str]] = {}
    for recursion in [lines.recursion] + ([loss.lines.recursion] if loss is not None else []):
        for a in recursion.step.arguments:
            names = shapes.setdefault(a.shape, [])
            names += [a.name] if a.name not in names and a.role != "index" else []
    texts = [f"{', '.join(names)} {_shape(shape)}" for shape, names in shapes.items() if names]
    return f"Shapes: {'; '.join(texts)}; vectors are columns"


def _shape(shape: Shape) -> str:
    return f"({', '.join(map(size_shown, shape))})" if shape else "a number"


def _signs(found: list[Expr]) -> Iterable[str]:
    names = {x.name for x in found if isinstance(x, Call)}
    yield from dict.fromkeys(text for name, text in SIGNS.items() if name in names)
    if any(isinstance(x, Unit) for x in found):
        yield "e_i: the unit vector that has its one at i"
    if any(isinstance(x, Entry | Entries | SumOver | Index | Slice) for x in found):
        yield "indices begin at 0; v[a:b] is from a up to, and without, b"


def _families(lines: list[Line], found: list[Expr]) -> Iterable[str]:
    shown = {line.family for line in lines if line.family is not None}
    hidden = dict.fromkeys((x.letter, x.values) for x in found if isinstance(x, OverFamily))
    for letter, values in hidden:
        if (letter, values) not in shown:
            yield f"Σ_{letter}: over {letter} ∈ {{{', '.join(values)}}}"


def named_constants(sections: Sequence[Section], names: Iterable[str]) -> tuple[list[Section], tuple[str, ...]]:
    """Return sections with constant arrays by name, and the lines of the legend that show them."""
    free, known = iter(names), dict[Expr, Symbol]()

    def named(e: Expr) -> Expr:
        if not isinstance(e, Array) or (len(e.values) <= SMALL and len(e.of) < 2):
            return e
        if e not in known:
            known[e] = Symbol(Label(next(free), None), e.shape)
        return known[e]

    found = [
        Section(s.title, tuple(replace(line, right=mapped(line.right, named)) for line in s.lines)) for s in sections
    ]
    return found, tuple(_constant(symbol, array) for array, symbol in known.items() if isinstance(array, Array))


def _constant(symbol: Symbol, array: Array) -> str:
    flat = len(array.of) > 2
    shown = replace(array, of=(len(array.values),)) if flat else array
    behind = f", shape {_shape(array.of)}, row by row" if flat else ""
    return f"{symbol.label.name} = {write(shown, TEXT)}{behind}"
