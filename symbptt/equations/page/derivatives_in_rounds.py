"""Lines of derivatives in the rounds of a loop inside a step, and of a fixed point.

Example, of z = repeat(tanh(U z + x), h, K), and of z = fixed_point(tanh(U z + V h)):

    ∂h_t/∂h_{t-1} = ∂z_{t,K}/∂h_{t-1}
    ∂z_{t,0}/∂h_{t-1} = I
    ∂z_{t,k+1}/∂h_{t-1} = diag(1 - z_{t,k+1}²) U ∂z_{t,k}/∂h_{t-1} for k < K

    ∂z_t/∂h_{t-1} = (I - diag(1 - z_t²) U)⁻¹ diag(1 - z_t²) V
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from symbptt.autodiff.entrywise import Calculus, behind
from symbptt.autodiff.labels import Label, letter_of_rounds, of_what_rounds_make
from symbptt.equations.algebra.expressions import (
    EYE,
    ONE,
    Derivative,
    Expr,
    Inverse,
    Matmul,
    Over,
    Sum,
    Symbol,
    Times,
    is_identity,
    matmul,
    plus,
    times,
)
from symbptt.equations.algebra.normal import in_normal_form
from symbptt.equations.algebra.traversal import every
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.lines import Note
from symbptt.ir.graph import Graph
from symbptt.ir.rounds import changing, leaves_of, loops_of, next_values
from symbptt.ir.shape import size_text
from symbptt.ir.step import Step


def calculus_of(step: Step, labels: Mapping[int, Label]) -> tuple[dict[int, Label], Calculus]:
    """Return the names of the values of a step on a page, those of its loops among them, and their local derivatives."""
    # A copy: derivatives are written into the graph, which the page still reads.
    g = step.graph.copy()
    g.locate = lambda: ""
    named = {id: x for id, x in labels.items() if not x.adjoint}
    named |= in_last_round(g, named) | of_what_rounds_make(g, named)
    results = (step.next | step.outputs).values()
    # A fixed point reads the equations of all values that settle with it.
    roots = dict.fromkeys((*(line_of(g, id, named) for id in results), *results))
    return named, Calculus(g, tuple(roots), frozenset(named) | frozenset(step.leaves.values()))


def line_of(g: Graph, id: int, labels: Mapping[int, Label]) -> int:
    """Return the value whose derivative has the line of a value: of a fixed point what a round makes of it, its equation."""
    node = g[id]
    # All but a fixed point are defined by what they are computed from.
    if node.family != "point":
        return id
    leaf, new = list(next_values(node))[node.attrs.out]
    return _line_of(g, leaf, new, labels)


def _line_of(g: Graph, leaf: int, new: int, labels: Mapping[int, Label]) -> int:
    """Return the value whose derivative has the line of a next value: what this one is a second name of, where it has no other name."""
    value = g[new].args[0]
    return value if labels.get(value) == labels.get(new, labels[leaf]) else new


def in_last_round(g: Graph, labels: Mapping[int, Label]) -> dict[int, Label]:
    """Return leaves for what loops carry behind their last rounds, and how these values are named."""
    return {
        behind(g, leaf): labels[leaf]._replace(round=size_text(node.attrs.count))
        for node in loops_of(g, "repeat")
        for leaf in node.attrs.parts(node.args)[1]
        if leaf in labels
    }


def of_rounds(
    g: Graph, told: Set[int], labels: Mapping[int, Label], targets: Set[int], without: Collection[int] = ()
) -> dict[int, Label]:
    """Return the values whose derivatives tell those of the leaves `told`, and their names: where rounds begin, what a round makes, and
    what the equations of fixed points say; what targets read by way of the values `without` alone is left out."""
    starts = (zip(*node.attrs.parts(node.args)[1::-1], strict=True) for node in loops_of(g, "repeat"))
    lines_ = [(leaf, start, labels[start]) for pairs in starts for leaf, start in pairs if leaf in told]
    lines_ += [
        (leaf, _line_of(g, leaf, new, labels), labels.get(new, labels[leaf]))
        for node in loops_of(g, "repeat", "point")
        for leaf, new in next_values(node)
        if leaf in told
    ]
    ends, count = {*targets}, -1
    # The equation of one value may read another one, of the same fixed point or of one before.
    while len(ends) != count:
        count, read = len(ends), {*g.ancestors(ends, without)}
        ends |= {id for leaf, id, _ in lines_ if leaf in read}
    return {id: label for leaf, id, label in lines_ if leaf in read and id not in targets}


@dataclass(frozen=True)
class RoundNotes:
    """The letter of the number of a round on a page, and in which rounds each value of a loop has a value, by its name."""

    letter: str
    by_name: Mapping[str, str]

    @staticmethod
    def of(g: Graph, labels: Mapping[int, Label]) -> RoundNotes:
        loops = loops_of(g, "repeat")
        if not loops:
            return RoundNotes("", {})
        letter = letter_of_rounds(g)
        counts = {leaf: size_text(node.attrs.count) for node in loops for leaf in leaves_of(node)}
        inside = changing(g, range(len(g)))
        return RoundNotes(
            letter, {labels[id].name: f"{letter} < {counts[min(x)]}" for id, x in inside.items() if x and id in labels}
        )

    def told(self, line: Definition) -> Definition:
        """Return a line with the rounds in which it holds."""
        rounds = (self.letter, f"{self.letter}+1")
        read = [x for x in (*line.left.labels, *line.right.labels) if self.letter and x.round in rounds]
        # A line holds for as many rounds as any of the values in it.
        note = next((self.by_name[x.name] for x in read if x.name in self.by_name), "")
        return replace(line, note=note)


def solved(line: Definition) -> Definition:
    """Return D = A D + B, the equation of the derivative of a fixed point, as D = (I - A)⁻¹ B, of a number as D = B / (1 - A); an
    equation of another form, as that of entries, as it is."""
    left, right = line.left, line.right
    if not reads(right, left) or (left.shape and len(left.shape) != 2):
        return line
    # A sum in brackets before D must be multiplied out, for A to be what stands before D.
    terms = _expanded(right, left)
    rest = [(sign, term) for sign, term in terms if not reads(term, left)]
    factors = [(sign, _factor(term, left)) for sign, term in terms if reads(term, left)]
    moving = [(-sign, factor) for sign, factor in factors if factor is not None]
    if not rest or len(moving) < len(factors):
        return line
    # Of a number D = a D + b is solved by a division.
    if not left.shape:
        return replace(line, right=in_normal_form(Over(plus(rest), plus([(1, ONE), *moving]))))
    free = plus(rest)
    return replace(
        line, right=in_normal_form(matmul([Inverse(plus([(1, EYE), *moving])), *([] if is_identity(free) else [free])]))
    )


def said_of_equations(lines: Sequence[Definition]) -> Iterator[Note]:
    """Yield what is to be said of lines that read each other, as those of the derivatives of a fixed point of several values."""
    read = {_key(x.left): {_key(e) for e in every(x.right, Derivative, Symbol)} for x in lines if not x.note}
    behind_ = {key: _closure(read, key) for key in read}
    # A line that reads itself by way of others defines nothing: it is an equation.
    open_ = [x.left for x in lines if not x.note and _key(x.left) in behind_[_key(x.left)]]
    if open_:
        listed = [part for e in open_ for part in (", ", e)][1:]
        yield (*listed, " solves its equation" if len(open_) == 1 else " solve these equations together")


def _key(e: Expr) -> tuple[Label, ...]:
    return tuple(e.labels)


def _closure(
    read: Mapping[tuple[Label, ...], Set[tuple[Label, ...]]], start: tuple[Label, ...]
) -> Set[tuple[Label, ...]]:
    """Return all that a line reads, by way of other lines too."""
    found, open_ = set[tuple[Label, ...]](), [start]
    while open_:
        new = read.get(open_.pop(), set()) - found
        found |= new
        open_ += new
    return found


def reads(e: Expr, of: Expr) -> bool:
    """Answer whether one expression stands in another one."""
    return any(part == of for part in every(e, type(of)))


def _expanded(e: Expr, of: Expr) -> list[tuple[int, Expr]]:
    """Return an expression as signed terms, the sums written out in which a derivative stands behind a product."""
    if reads(e, of) and isinstance(e, Sum):
        return [(sign * s, x) for sign, term in e.terms for s, x in _expanded(term, of)]
    if isinstance(e, Matmul) and reads(e.factors[-1], of):
        return [
            (s, matmul([*e.factors[:-1], *([] if is_identity(x) else [x])])) for s, x in _expanded(e.factors[-1], of)
        ]
    if isinstance(e, Times) and reads(e, of):
        at = next(i for i, factor in enumerate(e.factors) if reads(factor, of))
        return [(s, times([*e.factors[:at], x, *e.factors[at + 1 :]])) for s, x in _expanded(e.factors[at], of)]
    return [(1, e)]


def _factor(term: Expr, of: Expr) -> Expr | None:
    """Return what stands before a derivative in a term; None where it stands elsewhere than at the end of a product."""
    if term == of:
        return EYE if of.shape else ONE
    if isinstance(term, Matmul) and not any(reads(x, of) for x in term.factors[:-1]):
        last = _factor(term.factors[-1], of)
        return None if last is None else matmul([*term.factors[:-1], *([] if is_identity(last) else [last])])
    if isinstance(term, Times):
        inner, others = [x for x in term.factors if reads(x, of)], [x for x in term.factors if not reads(x, of)]
        last = _factor(inner[0], of) if len(inner) == 1 else None
        return None if last is None else times([*others, *([] if is_identity(last) or last == ONE else [last])])
    return None
