"""The legend of a page: the shapes of what is given to a cell, and the signs that stand on the page."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.labels import START, TIMES, Label, without_time
from symbptt.equations.algebra.entries import affine, array_of, count
from symbptt.equations.algebra.expressions import (
    IMAGINARY,
    Along,
    Array,
    Call,
    Count,
    Derivative,
    Diagonal,
    Entries,
    Entry,
    Expr,
    Index,
    Matmul,
    Number,
    Outside,
    OverFamily,
    Power,
    Slice,
    Span,
    SumOver,
    Symbol,
    Times,
    Transposed,
    Unit,
    Word,
    normal,
    number,
    plus,
    times,
)  # fmt: skip
from symbptt.equations.algebra.traversal import every, mapped_where
from symbptt.equations.algebra.wholes import ALONG, CONVOLUTIONS, sign_of_convolution
from symbptt.equations.notation.signs import Notation
from symbptt.equations.notation.writing import condition, write
from symbptt.equations.page.lines import Line, Lines, Loss, LossLines, Note, Page, Section, with_right
from symbptt.equations.page.zeros import reasons
from symbptt.ir.naming import free_letters
from symbptt.ir.needs import strongest
from symbptt.ir.node import Convolution
from symbptt.ir.rounds import loops_of
from symbptt.ir.shape import Shape, names_in
from symbptt.ir.shape import size as sized
from symbptt.ir.step import Step

SMALL = 4
"""Numbers of a constant vector that stands where it is read; others have names."""

SHAPES, COLUMNS = "Shapes: ", "vectors are columns"
"""How the note on shapes begins and ends."""

LETTERS = {
    "A": "AMQRS",
    "B": "BCPQG",
    "C": "CGEHJZ",
    "v": "vwzuy",
    "k": "kpqrs",
    "n": "nmlpq",
    "a": "abcde",
    "b": "bcdeg",
    "i": "ijlpq",
    "f": "fgFGs",
}
"""The letters of a legend, and those that stand for them where a name or a size of the page is one of them."""


@dataclass(frozen=True)
class Letters:
    """The letters in which a legend explains signs, none of them a name or a size of its page."""

    A: Symbol
    B: Symbol
    C: Symbol
    v: Word
    k: Word
    n: Word
    a: Word
    b: Word
    i: Word
    f: Word
    taken: frozenset[str] = frozenset()


def letters(taken: Iterable[str]) -> Letters:
    """Return the letters of a legend, none of which is taken."""
    used, found = set(taken), dict[str, str]()
    page = frozenset({*used, "t", "T", "L", "e", "d"})
    for name, preferred in LETTERS.items():
        found[name] = next(free_letters(preferred, used))
        used.add(found[name])
    A, B, C = (Symbol(Label(found.pop(name), None), (sp.Symbol("m"), sp.Symbol("n"))) for name in "ABC")
    words = {name: Word(letter) for name, letter in found.items()}
    return Letters(A, B, C, **words, taken=page | {x.label.name for x in (A, B, C)})


def signs(x: Letters) -> dict[str, Note]:
    """Return the definitions of functions that a textbook does not have; a remark covers ties, in both styles."""
    return {
        "vec": (Call("vec", (x.A,)), ": the rows of ", x.A, " one under the other"),
        "mat": (Call("mat", (x.k, x.n, x.v)), ": ", x.k, " rows of ", x.n, " numbers, one under the other"),
        "inner": (Call("inner", (x.A, x.B)), ": the sum of ", Times((x.A, x.B))),
        "stop_gradient": (Call("stop_gradient", (x.v,)), ": ", x.v, ", and nothing flows back through it"),
        "cumsum": (Call("cumsum", (x.v,)), ": the sums of ", x.v, " up to each of its elements"),
        "reverse_cumsum": (Call("reverse_cumsum", (x.v,)), ": the sums of ", x.v, " from each of its elements on"),
        "roll": (Call("roll", (x.v, x.k)), ": the entries of ", x.v, " moved on by ", x.k, " places, the last ones to the front"),
        "imaginary": (IMAGINARY, ": the imaginary unit; the cotangent of a complex ", x.v, " is ", _partial("real", x.v),
                      " + ", IMAGINARY, " ", _partial("imag", x.v)),
        "conj": (partial(_conjugates, x.v), ": the complex conjugate; ", Transposed(Call("conj", (x.A,))),
                 ": the conjugate transpose"),
        "diag": (Call("diag", (x.v,)), ": the diagonal matrix of ", x.v),
        "diagonal": (Call("diagonal", (x.A,)), ": the vector of the diagonal of ", x.A),
        "tr": (Call("tr", (x.A,), ()), ": the sum of the diagonal of ", x.A),
        "tril": (Call("tril", (x.A,)), ": ", x.A, " with zeros above its diagonal"),
        "low": (Call("low", (x.A,)), ": ", x.A, " with half its diagonal, and zeros above it"),
        "chol": (Call("chol", (x.A,)), ": the lower triangular ", x.B, " with a positive diagonal, ",
                 Matmul((x.B, Transposed(x.B))), " = ", x.A),
        "expm": (Call("expm", (x.A,)), ": the exponential of the matrix, the sum of its powers ",
                 Power(x.A, x.k), ", each over ", x.k, "!"),
    }  # fmt: skip


def _partial(part: str, v: Word) -> Derivative:
    """Return the derivative of L by the real or the imaginary part of a number."""
    return Derivative(Word("L"), Call(part, (v,), ()))


def _conjugates(v: Word, n: Notation) -> str:
    """Return the forms that conjugates have in a notation: of a letter with a bar over it, and of all else."""
    forms = (write(Call("conj", (x,)), n) for x in (Symbol(Label(v.text, None)), v))
    return n.listed.join(dict.fromkeys(forms))


EXPLAINED = frozenset(signs(letters(())))
"""The functions that a legend defines."""
FEW = 16
"""Numbers of a constant that the legend shows whole."""


TOLD: tuple[type[Expr], ...] = (Call, Diagonal, Unit, Entry, Entries, SumOver, Index, Slice, OverFamily, Along)
"""Of what expressions a legend tells the meaning."""
WITH_INDICES = (Entry, Entries, SumOver, Index, Slice)


def legend(lines: Lines, loss: LossLines | None, sections: Iterable[Section]) -> tuple[Note, ...]:
    """Return the lines of a legend."""
    sections = list(sections)
    all_lines = [line for section in sections for line in section.lines]
    found = [x for line in all_lines for side in (line.left, line.right) for x in every(side, *TOLD)]
    own = cache(lambda: letters(_taken(lines, loss, all_lines)))  # most pages need none
    return (
        _shapes(lines, loss),
        *needed([lines.recursion.step, *([] if loss is None else [loss.lines.recursion.step])]),
        *_given(lines, loss),
        *mean_of(loss.of if loss is not None else None),
        *_signs(found, own),
        *_complex_norms(lines, loss, found, own),
        *_convolutions(lines, loss, found, own),
        *settling(lines),
        *_families(all_lines),
        *_of_parts(found, own),
        *contexts(lines),
        *unread(lines, loss, sections),
        *reasons(lines, all_lines),
    )


def contexts(lines: Lines) -> Iterable[Note]:
    """Yield which arguments are the same at all steps, and differ from sample to sample."""
    names = [a.name for a in lines.recursion.step.arguments if a.role == "context"]
    if names:
        is_one = len(names) == 1
        words = " is a context: given once a sequence" if is_one else " are contexts: given once a sequence"
        yield (*_listed([Symbol(Label(name, None)) for name in names]), words, ", the same at all its steps")


def _complex_norms(
    lines: Lines, loss: LossLines | None, found: Iterable[Expr], own: Callable[[], Letters]
) -> Iterable[Note]:
    """Yield what a norm is on a page of complex numbers."""
    graphs = [lines.recursion.graph, *([] if loss is None else [loss.lines.recursion.graph])]
    is_complex = any(g.is_complex(node.id) for g in graphs for node in g)
    if is_complex and any(isinstance(x, Call) and x.name == "norm" for x in found):
        v = own().v
        yield Power(Call("norm", (v,), ()), Number(sp.S(2))), " = ", Matmul((Transposed(Call("conj", (v,))), v))


def _taken(lines: Lines, loss: LossLines | None, all_lines: Iterable[Line]) -> set[str]:
    """Return the names and the sizes of a page."""
    found = {x.name for line in all_lines for side in (line.left, line.right) for x in side.labels}
    for recursion in [lines.recursion] + ([loss.lines.recursion] if loss is not None else []):
        for a in recursion.step.arguments:
            found |= {a.name, *names_in(a.shape)}
    return found | {without_time(name, role) for name in found for role in TIMES}


def needed(steps: Iterable[Step]) -> Iterable[Note]:
    """Yield what sizes must be, for the slices of a cell and of its loss to lie inside their axes."""
    found: list[Any] = []
    for need in strongest(need for step in steps for need in step.needs):
        left, sign, right = need.sides
        test = Call("greater_equal" if sign == ">=" else "less_equal", (Count(left), Count(right)))
        if need.by:
            test = Call("equal", (Call("mod", (Count(need.spare), Count(need.by))), Count(0)))
        found += [*([", "] if found else []), partial(condition, test)]
    if found:
        yield ("Sizes: ", *found)


def settling(lines: Lines) -> Iterable[Note]:
    """Yield how the equations of fixed points, and of their adjoints, are solved."""
    g, labels = lines.recursion.graph, lines.labels
    for node in loops_of(g, "point"):
        starts, leaves, following = node.attrs.parts(node.args)
        values = [_symbol_of(lines, leaf) for leaf in leaves]
        begun = [lines.inside(start) for start in starts]
        adjoint = lines.recursion.adjoint
        back = [adjoint[new] for new in following if adjoint.get(new) in labels]
        ends = (" end at a change of ", number(node.attrs.tolerance), f", {node.attrs.most} at most")
        if values[1:]:
            words, adjoints = " are the fixed points of their equations: rounds from ", "; so are "
        else:
            words, adjoints = " is the fixed point of its equation: rounds from ", "; so is "
        told = [adjoints, *_listed([_symbol_of(lines, bar) for bar in back])] if back else []
        yield (*_listed(values), words, *_listed(begun), *ends, *told)


def _symbol_of(lines: Lines, id: int) -> Symbol:
    return Symbol(lines.labels[id], normal(lines.recursion.graph.shape(id)))


def mean_of(loss: Loss | None) -> tuple[Note, ...]:
    """Return what N is, over which L is a mean."""
    if loss is None or loss.reduction == "sum":
        return ()
    what = "steps of all samples" if loss.at == "every" else "samples that have a last step"
    words = f": how many {what} there are; "
    return ((Word(loss.count), words, Word("L"), " and gradients of parameters are sums over the samples"),)


def _shapes(lines: Lines, loss: LossLines | None) -> Note:
    shapes: dict[Shape, list[str]] = {}
    roles: dict[str, str] = {}
    sizes: set[str] = set()
    for recursion in [lines.recursion] + ([loss.lines.recursion] if loss is not None else []):
        for a in recursion.step.arguments:
            names = shapes.setdefault(a.shape, [])
            names += [a.name] if a.name not in names and (a.role != "index" or a.shape) else []
            roles.setdefault(a.name, a.role)
            sizes |= set(names_in(a.shape))
    # Arguments of one shape stand together, in the order of the first.
    groups: list[Note] = [
        (*_listed([_told(name, roles[name], sizes) for name in names]), " ", *_shape(shape))
        for shape, names in shapes.items()
        if names
    ]
    return (SHAPES, *(part for group in groups for part in (*group, "; ")), COLUMNS)


def beside_a_table(page: Page) -> Page:
    """Return a page without the shapes of its arguments, which a table beside it has."""
    return replace(page, legend=tuple((COLUMNS,) if note[0] == SHAPES else note for note in page.legend))


def _told(name: str, role: str, sizes: Container[str]) -> Symbol:
    """Return a name in a list of shapes; with its time where a size has the same, as n_t of the shape n."""
    is_timed = role in TIMES or role == "target"
    return Symbol(Label(name, 0 if is_timed and without_time(name, role) in sizes else None))


def _listed(parts: Sequence[Expr]) -> Note:
    return (*parts[:1], *[x for part in parts[1:] for x in (", ", part)])


def _shape(shape: Shape) -> Note:
    return ("(", *_listed([Count(size) for size in shape]), ")") if shape else ("a number",)


def _signs(found: list[Expr], own: Callable[[], Letters]) -> Iterable[Note]:
    names = {"diag" if isinstance(x, Diagonal) else x.name for x in found if isinstance(x, (Call, Diagonal))}
    names |= {name.removesuffix(f"_{over}") for name in names for over in ALONG.values()}
    if names & EXPLAINED:
        yield from dict.fromkeys(text for name, text in signs(own()).items() if name in names)
    if any(isinstance(x, Unit) for x in found):
        yield (Unit(own().i, sp.Symbol("n")), ": the unit vector that has its one at ", own().i)
    if any(isinstance(x, Slice) and not all(span.alone for span in x.spans) for x in found):
        a, b = sp.Symbol(own().a.text), sp.Symbol(own().b.text)
        part = Slice(own().v, (Span(a, sized(b - a), 1, sp.Symbol("n")),), (sized(b - a),))
        yield ("indices begin at 0; ", part, " is from ", own().a, " up to, and without, ", own().b)
        steps = {span.step for x in found if isinstance(x, Slice) for span in x.spans}
        if steps - {1, -1}:
            words = (", from its end backwards where ", own().k, " is negative") if min(steps) < 0 else ()
            yield (partial(_in_steps, own(), own().k), ": each ", own().k, "-th entry of ", own().v, *words)
        elif -1 in steps:
            yield (partial(_in_steps, own(), Word("-1")), ": the entries of ", own().v, " from the last to the first")
    elif any(isinstance(x, WITH_INDICES) for x in found) or any(
        name.startswith(tuple(CONVOLUTIONS.values())) for name in names
    ):
        yield ("indices begin at 0",)


def _convolutions(
    lines: Lines, loss: LossLines | None, found: list[Expr], own: Callable[[], Letters]
) -> Iterable[Note]:
    """Yield what the signs of convolutions say, entry by entry, with the steps and the zeros of each."""
    shown = {x.name for x in found if isinstance(x, Call)}
    graphs = [lines.recursion.graph] + ([] if loss is None else [loss.lines.recursion.graph])
    nodes = {node.attrs: node for g in graphs for node in g if node.family == "convolution"}
    for of in sorted(nodes, key=lambda of: (of.number, "zxw".index(of.result))):
        if sign_of_convolution(of) in shown:
            yield _of_convolution(of, own())


def _of_convolution(of: Convolution, x: Letters) -> Note:
    """Return the entries of one of the three functions of a sum over windows: A are its filters, B is what they are applied to, and
    C has the shape of the result."""
    names = (Index(name, 0) for name in free_letters("ocijklpqruvwsgxyzb", x.taken))
    o, c, *places = islice(names, 2 + of.rank)
    inside, here = [*islice(names, of.rank)], [*islice(names, of.rank)]
    # The shapes of the three do not matter here: an index runs as far as its axis does.
    A, B, C = (replace(array, of=(0,) * 9) for array in (x.A, x.B, x.C))
    out, into = ((o,), (c,)) if of.has_channels else ((), ())
    before = [low for low, _ in of.pads]
    # Where window i has its entry k in B: step · i + spread · k - zeros in front.
    read = [_place(step, i, spread, k, -low)
            for step, i, spread, k, low in zip(of.steps, places, of.spreads, inside, before, strict=True)]  # fmt: skip
    filters, above = Entry(A, (*out, *into, *inside)), Entry(C, (*out, *places))
    at: tuple[Expr, ...]
    over: tuple[Index, ...]
    factors: list[Expr]
    match of.result:
        case "z":
            pair, at, over, factors = (A, B), (*out, *places), (*into, *inside), [filters, Entry(B, (*into, *read))]
        case "w":
            pair, at, over = (C, B), (*out, *into, *inside), tuple(places)
            factors = [above, Entry(B, (*into, *read))]
        case _ if set(of.steps) == {1}:
            pair, at, over = (A, C), (*into, *places), (*out, *inside)
            back = [_place(1, i, -spread, k, low)
                    for i, spread, k, low in zip(places, of.spreads, inside, before, strict=True)]  # fmt: skip
            factors = [filters, Entry(C, (*out, *back))]
        case _:
            # Between the windows' first places lie others: a condition says which window has read an entry.
            pair, at, over = (A, C), (*into, *here), (*out, *places, *inside)
            factors = [*(Call("equal", sides) for sides in zip(here, read, strict=True)), filters, above]
    sign = Call(sign_of_convolution(of), pair, (0,) * 9)
    return (Entry(sign, at), " = ", SumOver(over, times(factors)), *_zeros(of, A, B, C, places))


def _zeros(of: Convolution, A: Symbol, B: Symbol, C: Symbol, places: Sequence[Index]) -> Note:
    """Return what stands around the array that is read: how many zeros around B, and zeros wherever C has no entry."""
    if of.result == "x":
        around = (", with zeros around ", C) if set(of.steps) == {1} else ()
        return (*around, ", of the shape of ", B)
    # The last entries of B may lie in no window: sizes of the others do not tell how many entries the filters have.
    found: list[str | Expr] = [", of the shape of ", A] if of.result == "w" and set(of.steps) != {1} else []
    if set(of.pads) != {(0, 0)}:
        found += [", zeros around ", B, " (before, behind):"]
        for k, ((before, behind), place) in enumerate(zip(of.pads, places, strict=True)):
            found += [f"{',' if k else ''} ({before}, {behind}) along ", place]
    return tuple(found)


def _place(step: int, i: Expr, spread: int, k: Expr, start: int) -> Expr:
    """Return step · i + spread · k + start."""
    parts = [(1 if n > 0 else -1, affine(abs(n), x, 0)) for n, x in ((step, i), (spread, k))]
    return plus([*parts, *([(1 if start > 0 else -1, count(abs(start)))] if start else [])])


def _in_steps(x: Letters, step: Word, n: Notation) -> str:
    return n.index(write(x.v, n), [n.word(":") + n.word(":") + write(step, n)])


def _families(lines: list[Line]) -> Iterable[Note]:
    """Yield the members of families over which a line sums before another tells of them, or none does."""
    told: set[tuple[str, tuple[str, ...]]] = set()
    for line in lines:
        told |= {line.family} if line.family is not None else set()
        for x in every(line.right, OverFamily):
            if (x.letter, x.values) not in told:
                told.add((x.letter, x.values))
                yield (partial(_sum_sign, x.letter), ": over ", partial(_members, x.letter, x.values))


def _sum_sign(letter: str, n: Notation) -> str:
    return n.sum_over("sum", n.word(letter)).strip()


def _members(letter: str, values: tuple[str, ...], n: Notation) -> str:
    return n.among(letter, ", ".join(values))


def _given(lines: Lines, loss: LossLines | None) -> Iterable[Note]:
    """Yield the values of constants, whole where they are few numbers, and from where to where indices run."""
    for recursion in [lines.recursion] + ([loss.lines.recursion] if loss is not None else []):
        for a in recursion.step.arguments:
            symbol = Symbol(Label(a.name, None), a.shape)
            if a.role == "const" and a.default is not None:
                value = np.asarray(a.default)
                shown = _constant(symbol, array_of(value.reshape(-1).tolist(), value.shape, FEW))
                yield (*shown, " in each entry") if a.shape and not value.shape else shown
            elif isinstance(a.start, str):
                first = Symbol(Label(a.name, START), a.shape)
                own = Symbol(Label(a.start, None), a.shape)
                shared = Symbol(Label(a.start, None, adjoint=True, mark=lines.mark), a.shape)
                yield (first, " = ", own, " for every sample where no start is given; where one is, ", shared, " = 0")
            elif a.start is not None:
                value = np.asarray(a.start, float)
                first = Symbol(Label(a.name, START), a.shape)
                yield (
                    *_constant(first, array_of(value.reshape(-1).tolist(), value.shape, FEW)),
                    " where no start is given",
                )
            elif a.limit is not None:
                yield (symbol, ": whole numbers from 0 up to, and without, ", Count(a.limit))


def _of_parts(found: list[Expr], own: Callable[[], Letters]) -> Iterable[Note]:
    """Yield the meaning of functions of a part of an array."""
    split = {tuple(x.name.rsplit("_", 1)) for x in found if isinstance(x, Call) and x.of is not None and "_" in x.name}
    pairs = {pair for pair in split if pair[-1] in ALONG.values()}
    along = {x.name for x in found if isinstance(x, Along)}
    for part in ALONG.values():
        if any(over == part for _, over in pairs):
            row = part.removesuffix("s")
            whole = Call(f"{own().f.text}_{part}", (own().A,), own().A.shape)
            f = own().f.text  # a letter that is a function is upright, as words are
            yield (whole, f", of a function {f}: {f} of each {row} of ", own().A)
    if along:
        f, i = own().f.text, own().i
        whole = Call(f"{f}_{i.text}", (own().v,), ())
        yield (whole, f", of a function {f} and an index ", i, f": {f} of the numbers ", own().v, " that ", i, " gives")
    if "norm" in along | {name for name, _ in pairs}:
        yield ("norm(", own().v, ") = ", Call("norm", (own().v,), ()), ", the root of the sum of squares")


def received(lines: Lines, sections: Iterable[Section]) -> tuple[Note, ...]:
    """Return what the adjoints of outputs are that lines read and none defines: they come from outside."""
    all_lines = [line for section in sections for line in section.lines]
    found = [(x, " = ", Outside(Symbol(Label(x.label.name, 0), x.of))) for x in _received(lines, all_lines)]
    return (("From outside: ", *_enumerated(found)),) if found else ()


def _received(lines: Lines, all_lines: Sequence[Line]) -> list[Symbol]:
    labels = [Label(name, 0, adjoint=True, mark=lines.mark) for name in lines.recursion.cotangent]
    read = {x.label: x for line in all_lines for x in every(line.right, Symbol)}
    defined = {label for line in all_lines for label in line.left.labels}
    return [read[label] for label in labels if label in read and label not in defined]


def _enumerated(notes: Sequence[Note]) -> Note:
    return tuple(part for i, note in enumerate(notes) for part in ((", ", *note) if i else note))


def unread(lines: Lines, loss: LossLines | None, sections: Iterable[Section]) -> Iterable[Note]:
    """Yield notes on states and outputs that the loss does not read."""
    if loss is None:
        return
    all_lines = [line for section in sections for line in section.lines]
    given = {x.symbol.label.name for line in all_lines for x in every(line.left, Outside)}
    direct = {x.symbol: None for line in all_lines for x in every(line.right, Outside)}
    direct |= {Symbol(Label(x.label.name, 0), x.of): None for x in _received(lines, all_lines)}
    for symbol in direct:
        if symbol.label.name not in given:
            yield (Outside(symbol), " = 0: the loss does not read ", Symbol(Label(symbol.label.name, None)))


def named_constants(sections: Sequence[Section], names: Iterable[str]) -> tuple[list[Section], tuple[Note, ...]]:
    """Return sections with constant arrays by name, and the lines of the legend that show them."""
    free, known = iter(names), dict[Expr, Symbol]()

    def named(e: Array) -> Expr:
        if len(e.values) <= SMALL and len(e.of) < 2 and not e.rest:
            return e
        if e not in known:
            known[e] = Symbol(Label(next(free), None), e.shape)
        return known[e]

    found = [
        replace(s, lines=tuple(with_right(line, mapped_where(line.right, named, Array)) for line in s.lines))
        for s in sections
    ]
    return found, tuple(_constant(symbol, array) for array, symbol in known.items() if isinstance(array, Array))


def _constant(symbol: Symbol, array: Array) -> Note:
    if not array.of:
        return (symbol, " = ", array.values[0])
    flat = len(array.of) > 2
    shown = replace(array, of=(len(array.values),)) if flat or array.rest else array
    if array.rest:
        return (
            symbol,
            " = ",
            shown,
            ", shape ",
            *_shape(array.of),
            f", row by row; SHA-256 of them as 64-bit floats: {array.rest}…",
        )
    behind: Note = (", shape ", *_shape(array.of), ", row by row") if flat else ()
    return (symbol, " = ", shown, *behind)
