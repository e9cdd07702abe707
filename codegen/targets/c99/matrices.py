"""Functions of whole matrices and rounds that settle, as loops and calls of sbrt.h: where one has no value, a function of C tells it.

Each matrix is copied into rows of its own, factored there, and what is found is copied out: n² copies beside n³ products, for which views
may lie in memory as they like.

Example of x = solve(A, y) for each sample b: F = A[b]; factor(n, F, pivots, failed, 1, t, b); x = y[b]; solve(n, 1, F, pivots, x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from symbptt.codegen.loop_ir.nodes import Algebra, Buffer, Function, Port, Settle, View, walk
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.targets.c99.loops import (
    GREATER,
    ZERO,
    Assign,
    Element,
    Invoke,
    Line,
    Loops,
    element,
    nest,
)
from symbptt.ir.naming import unique
from symbptt.ir.scalar import Call, Ref, Sum
from symbptt.ir.shape import Shape, Size, size

SINGULAR, INDEFINITE = "is singular", "is not positive definite"
SAMPLES = 2
"""The axes of steps and samples that a message tells."""
MOVED = Call("abs", (Sum(((1, Ref(0)), (-1, Ref(1)))),))
SIZE = Call("abs", (Ref(0),))
TRIANGLES = {"tril": "lower", "halved": "lower_halved"}
"""The functions of sbrt.h that leave a triangle of a matrix."""


@dataclass(frozen=True)
class Fault:
    """A statement that may have no value: what is wrong then, in words; whether a step and a sample are known. Of rounds that do not
    settle also how many they are, the tolerance, and whether that is a part of the largest entry."""

    words: str
    is_placed: bool
    rounds: tuple[int, float, bool] | None = None


@dataclass
class Telling:
    """The lines of such statements of a function: `failed` is the array that tells the first of them that has no value, by its
    place among `faults` from 1 on, its step, its sample and by how much it changed."""

    failed: Buffer
    faults: list[Fault] = field(default_factory=list)

    def __call__(self, s: Algebra | Settle, made: Loops) -> Sequence[Line]:
        """Return a statement as lines."""
        return _settled(s, self, made) if isinstance(s, Settle) else FUNCTIONS[s.name](s, self, made)

    def tells(self, fault: Fault, first_step: Size, lead: Shape) -> list[Element | Size | str]:
        """Return the arguments by which a call tells a fault, at an index of the axes of steps and samples."""
        return [*self.noted(fault), *(_place(first_step, lead) if fault.is_placed else (0, 0))]

    def noted(self, fault: Fault) -> list[Element | Size | str]:
        """Return the array in which a call tells a fault, and its number there."""
        self.faults.append(fault)
        return [Element(self.failed, (0,)), len(self.faults)]

    @property
    def access(self) -> tuple[Element, bool]:
        """What a call that tells a fault writes."""
        return Element(self.failed, (0,)), True


def _place(first_step: Size, lead: Shape) -> tuple[Size, Size]:
    """Return the step and the sample at an index of the axes in front, of which the first one of two or more is that of steps."""
    step, sample = lead[:SAMPLES] if len(lead) >= SAMPLES else (0, *lead, 0)[:SAMPLES]
    return size(first_step + step), sample


def may_fail(f: Function) -> bool:
    """Answer whether a function has statements that may have no value."""
    return any(isinstance(s, Algebra | Settle) for s in walk(f.body))


def telling(f: Function) -> tuple[Function, Telling | None]:
    """Return a function with the array in which it tells what has no value, and the lines of the statements that may have none; of
    others the function, and none."""
    if not may_fail(f):
        return f, None
    failed = Buffer(unique("failed", {b.name for b in f.declared}), (4,), "shared")
    arguments = (*f.arguments, Port("failed", failed.name, whole(failed)))
    return replace(f, arguments=arguments), Telling(failed)


# Matrices as rows of their own.


def _own(made: Loops, name: str, *shape: Size) -> Buffer:
    """Return a new array for a moment."""
    name = unique(name, made.names)
    made.names.add(name)
    return Buffer(name, shape, "temporary")


def _copied(to: View, lead: Shape, source: View, of: Shape, made: Loops) -> Sequence[Line]:
    """Return the lines that copy the last axes of a view at an index of its first ones."""
    shape = to.shape[len(lead) :]
    return nest(shape, lambda i: [Assign(element(to, (*lead, *i)), Ref(0), (element(source, (*of, *i)),))], made)


def _tail(view: View, lead: Shape, own: int) -> Shape:
    """Return the index of the stacked matrices of a view that may have fewer of them than its result."""
    axes = view.axes[: len(view.axes) - own]
    return tuple(0 if axis.length == 1 else i for axis, i in zip(axes, lead[len(lead) - len(axes) :], strict=True))


def _all_of(buffer: Buffer, made: Loops) -> Element:
    """Return an element of a buffer with indices of a call's own."""
    return Element(buffer, tuple(made.index() for _ in buffer.shape))


def _invoke(
    function: str, args: Sequence[Any], read: Sequence[Buffer], written: Sequence[Buffer], made: Loops, *more: Any
) -> Invoke:
    """Return a call that reads and writes whole arrays."""
    found = [(_all_of(b, made), False) for b in read] + [(_all_of(b, made), True) for b in written]
    inner = tuple(i for x, _ in found for i in x.index)
    return Invoke(function, tuple(args), (*found, *more), inner)


def _start(buffer: Buffer) -> Element:
    return Element(buffer, (0,) * len(buffer.shape))


@dataclass(frozen=True)
class _Factors:
    """The factors of a matrix, with the rows that changed places, and the lines that compute them."""

    rows: Buffer
    pivots: Buffer
    lines: tuple[Line, ...]


def _factors(a: View, lead: Shape, told: Sequence[Any], access: Any, made: Loops) -> _Factors:
    n = a.shape[-1]
    rows, pivots = _own(made, "factors", n, n), _own(made, "pivots", n)
    call = _invoke("factor", [n, _start(rows), _start(pivots), *told], [rows], [rows, pivots], made, *access)
    return _Factors(rows, pivots, (*_copied(whole(rows), (), a, _tail(a, lead, 2), made), call))


def _solve(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    a, b = s.args
    n, columns = s.out.shape[-2:]
    is_shared = len(a.axes) == 2
    fault = Fault(f"{s.subject} {SINGULAR}", not is_shared and s.first.size != -1)

    def factors(lead: Shape) -> _Factors:
        return _factors(a, lead, telling.tells(fault, s.first.size, lead), [telling.access], made)

    # Where all share the matrix it is factored once.
    shared = factors(()) if is_shared else None

    def one(lead: Shape) -> Sequence[Line]:
        own = shared or factors(lead)
        x = _own(made, "found", n, columns)
        args = [n, columns, _start(own.rows), _start(own.pivots), _start(x)]
        call = _invoke("solve", args, [own.rows, own.pivots, x], [x], made)
        return [
            *(() if shared else own.lines),
            *_copied(whole(x), (), b, _tail(b, lead, 2), made),
            call,
            *_out(s, lead, x, made),
        ]

    return [*(shared.lines if shared else ()), *nest(s.out.shape[:-2], one, made)]


def _out(s: Algebra, lead: Shape, x: Buffer, made: Loops) -> Sequence[Line]:
    """Return the lines that copy what was found to its place."""
    return [
        Assign(line.out, line.body, line.args, False, s.origin) if isinstance(line, Assign) else line
        for line in _copied(s.out, lead, whole(x), (), made)
    ]


def _cholesky(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    (a,) = s.args
    fault = Fault(f"{s.subject} {INDEFINITE}", len(a.axes) > 2 and s.first.size != -1)
    n = a.shape[-1]

    def one(lead: Shape) -> Sequence[Line]:
        x = _own(made, "found", n, n)
        told = telling.tells(fault, s.first.size, lead)
        call = _invoke("cholesky", [n, _start(x), *told], [x], [x], made, telling.access)
        return [*_copied(whole(x), (), a, _tail(a, lead, 2), made), call, *_out(s, lead, x, made)]

    return nest(s.out.shape[:-2], one, made)


def _determinant(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    (a,) = s.args
    n = a.shape[-1]

    def one(lead: Shape) -> Sequence[Line]:
        own, x = _factors(a, lead, ["NULL", 0, 0, 0], [], made), _own(made, "found", 1)
        args = [n, _start(own.rows), _start(own.pivots), _start(x)]
        call = _invoke(DETERMINANTS[s.name], args, [own.rows, own.pivots], [x], made)
        return [*own.lines, call, Assign(element(s.out, lead), Ref(0), (Element(x, (0,)),), False, s.origin)]

    return nest(s.out.shape, one, made)


DETERMINANTS = {"det": "determinant", "logdet": "log_determinant", "detsign": "sign_of_determinant"}


def _exponential(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    (a,) = s.args
    n = a.shape[-1]

    def one(lead: Shape) -> Sequence[Line]:
        x, room = _own(made, "found", n, n), _own(made, "room", size(n * (6 * n + 1)))
        call = _invoke("exponential", [n, _start(x), _start(room)], [x], [x, room], made)
        return [*_copied(whole(x), (), a, _tail(a, lead, 2), made), call, *_out(s, lead, x, made)]

    return nest(s.out.shape[:-2], one, made)


def _triangle(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    (a,) = s.args
    n = a.shape[-1]

    def one(lead: Shape) -> Sequence[Line]:
        x = _own(made, "found", n, n)
        call = _invoke(TRIANGLES[s.name], [n, _start(x)], [x], [x], made)
        return [*_copied(whole(x), (), a, _tail(a, lead, 2), made), call, *_out(s, lead, x, made)]

    return nest(s.out.shape[:-2], one, made)


def _diag(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    (a,) = s.args
    lead = s.out.shape[:-2]
    zeros = nest(s.out.shape, lambda i: [Assign(element(s.out, i), ZERO)], made)
    return [
        *zeros,
        *nest(
            (*lead, a.shape[-1]),
            lambda i: [
                Assign(element(s.out, (*i, i[-1])), Ref(0), (element(a, _tail(a, i, 0)),), False, s.origin)
            ],
            made,
        ),
    ]  # fmt: skip


def _diagonal(s: Algebra, telling: Telling, made: Loops) -> Sequence[Line]:
    (a,) = s.args

    def one(i: Shape) -> Sequence[Line]:
        at = _tail(a, i[:-1], 2)
        return [Assign(element(s.out, i), Ref(0), (element(a, (*at, i[-1], i[-1])),), False, s.origin)]

    return nest(s.out.shape, one, made)


FUNCTIONS: dict[str, Callable[[Algebra, Telling, Loops], Sequence[Line]]] = {
    "solve": _solve,
    "cholesky": _cholesky,
    "expm": _exponential,
    **dict.fromkeys(DETERMINANTS, _determinant),
    **dict.fromkeys(TRIANGLES, _triangle),
    "diag": _diag,
    "diagonal": _diagonal,
}
"""The lines of each function of matrices."""


# Rounds.


def _settled(s: Settle, telling: Telling, made: Loops) -> Sequence[Line]:
    """Return the lines that write new values over old ones, and leave the loop where they have settled: the largest change, the largest
    new value, and the place of the change."""
    change, extent = (Element(_own(made, name, 1), (0,)) for name in ("change", "extent"))
    place = _own(made, "place", 2)
    fault = Fault(s.subject, s.lead > 0 and s.first.size != -1, (s.most, s.tolerance, s.relative))
    lines: list[Line] = [Assign(change, ZERO), Assign(extent, ZERO)]
    for old, new in zip(s.out, s.new, strict=True):
        lines += nest(old.shape[: s.lead], partial(_moved, s, old, new, change, extent, place, made), made)
    told = telling.noted(fault)
    args = [change, extent, f"(real){s.tolerance!r}", int(s.relative), s.round.size, s.most, _start(place), *told]
    read = [(change, False), (extent, False), (_all_of(place, made), False)]
    inner = tuple(i for x, _ in read for i in x.index if not isinstance(i, int))
    lines.append(Invoke("settled", tuple(args), (*read, telling.access), inner, ends=True))
    return lines


def _moved(
    s: Settle, old: View, new: View, change: Element, extent: Element, place: Buffer, made: Loops, lead: Shape
) -> Sequence[Line]:
    """Return the lines that write the new values of one sample over the old ones, and note by how much they move."""
    own = Element(_own(made, "moved", 1), (0,))

    def entry(i: Shape) -> Sequence[Line]:
        x, y = (element(view, (*lead, *i)) for view in (old, new))
        moved = Element(_own(made, "step", 1), (0,))
        return [
            Assign(moved, MOVED, (y, x)),
            Assign(own, GREATER, (own, moved)),
            Assign(moved, SIZE, (y,)),
            Assign(extent, GREATER, (extent, moved)),
            Assign(x, Ref(0), (y,)),
        ]

    step, sample = (0, 0) if s.first.size == -1 else _place(s.first.size, lead)
    where = _all_of(place, made)
    found = ((own, False), (change, False), (change, True), (where, True))
    note = Invoke("note_change", (own, step, sample, change, _start(place)), found, tuple(where.index))
    return [Assign(own, ZERO), *nest(old.shape[s.lead :], entry, made), note]
