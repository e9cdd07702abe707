"""Changes of a page by truncation, lengths and resets: each takes a page and returns one of the same form.

Example: with sb.Window(2) the loss of step s reaches steps s and s - 1 only. The adjoints then depend on the window, and every
line is marked with it: dh_t^(s) = [t = s] ∂L/∂h_t + Wᵀ da_{t+1}^(s). Gradients read sums over the windows that hold step t:
dh_t = Σ_{s: s - 2 < t ≤ s} dh_t^(s). Since the recursion is linear in the adjoints, all other lines keep their form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.autodiff.bptt import Recursion
from symbptt.autodiff.labels import FIRST, LAST, NEXT, START, Label
from symbptt.equations.algebra.expressions import (
    ONE,
    ZERO,
    Call,
    Expr,
    Index,
    Number,
    Outside,
    Over,
    OverFamily,
    OverWindows,
    Raised,
    Sum,
    SumOver,
    Symbol,
    Times,
    Total,
    Word,
    normal,
    plus,
)  # fmt: skip
from symbptt.equations.algebra.traversal import mapped, walk, with_parts
from symbptt.equations.page.families import members
from symbptt.equations.page.lines import BACKWARD, FORWARD, ONCE, Line, Loss, Note, Page, Section
from symbptt.ir.naming import free_letters
from symbptt.ir.shape import names_in
from symbptt.language.truncation import Chunked, Window

T, STEP = Word("T"), Word("t")
BATCH = "T'"
"""The steps of a batch, where T are those of a sample."""
GRADIENTS = ("Gradients of the parameters", "Gradients of the inputs", "Gradients of the initial state")


@dataclass(frozen=True)
class Setting:
    """The setting of a page: full or truncated gradients, samples with lengths of their own, states that are reset."""

    truncation: Window | Chunked | None = None
    lengths: bool = False
    reset: bool = False

    @property
    def is_plain(self) -> bool:
        """Answer whether nothing differs from one whole sequence."""
        return self == PLAIN

    @property
    def counted(self) -> Expr | None:
        """The condition under which the loss of a step contributes to gradients; None where all do."""
        cut, end = self.truncation, self.end_of_chunk
        # With k2 >= k1 every loss of a chunk lies within reach of its end.
        if not isinstance(cut, Chunked) or end is None or cut.k2 >= cut.k1:
            return None
        return Call("greater", (STEP, _added(end, -cut.k2)))

    @property
    def end_of_chunk(self) -> Expr | None:
        """The last step of the chunk that has the loss of step t; None where there are no chunks."""
        cut = self.truncation
        if not isinstance(cut, Chunked):
            return None
        return Call("minimum", (_times(cut.k1, _floor(_added(STEP, cut.k1 - 1), cut.k1)), self.steps))

    def acts(self, t: int, k: int, T: int) -> bool:
        """Answer whether the loss of step t acts on step k, of T steps."""
        cut = self.truncation
        if cut is None:
            return k <= t
        # -(-t // k1) * k1 rounds t up to the next multiple of k1, the end of its chunk.
        last, count = (t, cut.k) if isinstance(cut, Window) else (min(-(-t // cut.k1) * cut.k1, T), cut.k2)
        return last - count < k <= t

    @property
    def steps(self) -> Expr:
        """The steps of all samples together."""
        return Word(BATCH) if self.lengths else T


PLAIN = Setting()
"""One whole sequence."""


@dataclass(frozen=True)
class Names:
    """Letters that nothing else on a page has: of a window's last step, and of what says that a state is reset."""

    window: str
    reset: str


def as_set(page: Page, setting: Setting, r: Recursion, loss: Loss | None) -> Page:
    """Return a page, of whatever style, with what a setting changes."""
    names, is_model = letters(page, setting, [r] if loss is None else [r, loss.recursion]), loss is not None
    mark = next((x.mark for s in page.sections for line in s.lines for x in line.left.labels if x.adjoint), "d")
    sections = [section for section in page.sections if section.lines or section.remarks]
    if setting.reset:
        sections = _reset(sections, r, names.reset)
    if setting.lengths:
        sections = _ended(sections, r, is_model)
    if setting.truncation is not None:
        sections = _windowed(sections, setting, r, mark, names.window, is_model)
    if setting.lengths:
        sections.append(_behind_the_end(r, mark))
    return replace(page, sections=tuple(sections), legend=(*page.legend, *_legend(setting, names)))


def letters(page: Page, setting: Setting, recursions: Iterable[Recursion]) -> Names:
    """Return the letters of a setting on a page."""
    return _names(setting, _taken(page, recursions))


def _taken(page: Page, recursions: Iterable[Recursion]) -> set[str]:
    """Return the names that stand on a page, and the parts of names that stand in subscripts."""
    found = {n for r in recursions for a in r.step.arguments for n in (a.name, *names_in(a.shape))}
    for line in (line for section in page.sections for line in section.lines):
        found |= {line.family[0], *line.family[1]} if line.family is not None else set()
        for x in (x for side in (line.left, line.right) for x in walk(side)):
            found |= {x.label.name, x.label.full, x.label.name.partition("_")[0]} if isinstance(x, Symbol) else set()
            found |= {x.name} if isinstance(x, Index) else set()
            found |= {x.letter} if isinstance(x, OverFamily) else set()
    return found


def _names(setting: Setting, taken: set[str]) -> Names:
    first = "s" if isinstance(setting.truncation, Window) else "e"
    # v is any value in the legend, v^{(s)}, and comes last.
    window = next(free_letters((first, *"spquwzabcdefghijklmnov"), taken))
    return Names(window, next(free_letters("rqpzwuabcdefghijklmnov", taken | {window})))


def _legend(setting: Setting, names: Names) -> Iterator[Note]:
    if setting.lengths:
        yield T, ": the steps of this sample, its length; ", Word(BATCH), ": those of the batch"
    if setting.reset:
        yield from notes_on_resets(names.reset)
    if setting.truncation is not None:
        part = Raised(Word("v"), names.window)
        yield part, ": the part of an adjoint that the losses of one window give; zero at steps that it does not have"


def notes_on_resets(letter: str) -> Iterator[Note]:
    """Yield what the signs of resets mean."""
    now, first = (_flag(letter, time) for time in (0, FIRST))
    yield now, ": 1 where the sample begins again with step t, else 0; ", first, " = 1"
    yield Raised(Word("v"), letter), ": the state that enters a step"


# Sums.


def _terms(e: Expr) -> tuple[tuple[int, Expr], ...]:
    return e.terms if isinstance(e, Sum) else () if e == ZERO else ((1, e),)


def _whole(terms: Iterable[tuple[int, Expr]]) -> Expr:
    found = list(terms)
    return plus(found) if found else ZERO


def _scaled(factor: Expr, e: Expr) -> Expr:
    return ZERO if e == ZERO else Times((factor, e))


def _added(e: Expr, n: int) -> Expr:
    return e if n == 0 else plus([(1, e), (1 if n > 0 else -1, Number(sp.Integer(abs(n))))])


def _times(n: int, e: Expr) -> Expr:
    return e if n == 1 else Times((Number(sp.Integer(n)), e))


def _floor(e: Expr, n: int) -> Expr:
    return e if n == 1 else Call("floor", (Over(e, Number(sp.Integer(n))),))


def _is_backward(section: Section) -> bool:
    return section.title.startswith("Backward, ")


def _label(e: Expr) -> Label:
    return e.labels[0]


# Resets.


def _reset(sections: list[Section], r: Recursion, letter: str) -> list[Section]:
    """Return sections in which a reset step reads the initial state, and its outgoing cotangent goes to the initial state."""
    found = []
    sent: dict[str, tuple[Line, Expr]] = {}
    for section in sections:
        lines = []
        for line in section.lines:
            if _is_backward(section):
                line, back = _kept(line, letter)
                if back is not None:
                    sent[_label(line.left).name] = line, entering(back, r, letter)
            elif section.title == GRADIENTS[2]:
                line = line._replace(right=_to_the_start(line.right, r, letter))
            lines.append(line._replace(right=entering(line.right, r, letter)))
        found.append(replace(section, lines=tuple(lines)))
    found[0] = replace(found[0], lines=(*_entered(r, letter), *found[0].lines))
    # r_t sends the cotangent of a reset step to the initial state, 1 - r_t to the step before.
    start = tuple(
        Line(_at(line.left, START), Total(_scaled(_flag(letter, 0), back)), ONCE, "+=") for line, back in sent.values()
    )
    return [*found, Section(GRADIENTS[2], start)] if start else found


def _flag(letter: str, time: int) -> Expr:
    return Symbol(Label(letter, time))


def not_reset(letter: str, time: int) -> Expr:
    """Return 1 - r_t, which is zero where a step is reset; `time` is 0 for step t, -1 for the step before."""
    return plus([(1, ONE), (-1, _flag(letter, time))])


def _entered(r: Recursion, letter: str) -> Iterator[Line]:
    for name in r.step.next:
        shape = normal(r.graph.shape(r.step.leaves[name]))
        before, start = (Symbol(Label(name, time), shape) for time in (-1, START))
        kept = Times((not_reset(letter, 0), before))
        yield Line(Raised(before, letter), plus([(1, Times((_flag(letter, 0), start))), (1, kept)]), FORWARD)


def entering(e: Expr, r: Recursion, letter: str, times: Collection[int] = (-1,)) -> Expr:
    """Return an expression with the states of some times as they enter the step behind them."""
    states = set(r.step.next)

    def entered(x: Expr) -> Expr:
        is_before = isinstance(x, Symbol) and x.label.time in times and not x.label.adjoint and x.label.name in states
        return Raised(x, letter) if is_before else x

    return _mapped_inside(e, entered)


def _mapped_inside(e: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """Apply a function as `mapped` does, except inside the direct cotangents of the loss."""
    if isinstance(e, Outside):
        return e
    return f(with_parts(e, [_mapped_inside(part, f) for part in e.parts]) if e.parts else e)


def _kept(line: Line, letter: str) -> tuple[Line, Expr | None]:
    """Return the line of the adjoint of a state, with the cotangent from the next step under the condition that it was
    not reset; in the style of the loop also the outgoing cotangent for the step before."""
    before = _label(line.left).time == -1
    time = 0 if before else NEXT

    def is_sent(e: Expr) -> bool:
        if before:
            return not isinstance(e, Outside)
        # An adjoint, what solves for one, or a name for what lines read of several: no value of a step alone is of the next.
        return any(x.time == NEXT for x in e.labels)

    back = [(sign, e) for sign, e in _terms(line.right) if is_sent(e)]
    if not back:
        return line, None
    kept = _scaled(not_reset(letter, time), _whole(back))
    terms = [(sign, kept if (sign, e) == back[0] else e) for sign, e in _terms(line.right) if (sign, e) not in back[1:]]
    terms = [(1 if e is kept else sign, e) for sign, e in terms]
    return line._replace(right=_whole(terms)), _whole(back) if before else None


def _to_the_start(e: Expr, r: Recursion, letter: str) -> Expr:
    """Return the cotangent of an initial state as a sum over all steps that begin with it, in place of that of step 1."""

    def any_step(x: Expr) -> Expr:
        return _at(x, 0) if isinstance(x, Symbol) and x.label.time == FIRST else x

    return ZERO if e == ZERO else Total(_scaled(_flag(letter, 0), mapped(e, any_step)))


def _at(e: Expr, time: int) -> Expr:
    return mapped(e, lambda x: Symbol(x.label.at(time), x.of) if isinstance(x, Symbol) else x)


# Lengths.


def _ended(sections: list[Section], r: Recursion, is_model: bool) -> list[Section]:
    """Return sections in which cotangents of states behind the end are added at the last step, which may be the start."""
    if is_model:
        return sections
    at = next(i for i, section in enumerate(sections) if _is_backward(section))
    given = tuple(_from_behind(name, r) for name in r.carry)
    found = [*sections[:at], Section("Cotangents, which behind the end belong to the last step", given), *sections[at:]]
    return [
        section
        if section.title != GRADIENTS[2]
        else replace(
            section, lines=tuple(line if line.relation == "+=" else _with_start(line) for line in section.lines)
        )
        for section in found
    ]


def _from_behind(name: str, r: Recursion) -> Line:
    # States behind the end repeat the last one, so that their cotangents add up at step T.
    last, now = (Outside(Symbol(Label(name, time), normal(r.graph.shape(r.carry[name])))) for time in (LAST, 0))
    return Line(last, SumOver((), now, "sum", (Call("greater", (STEP, T)),)), ONCE, "+=")


def _with_start(line: Line) -> Line:
    """Return the line of an initial state with its direct cotangent, which is not zero where a sample has no step."""
    given = _given_at_start(line.left)
    return line._replace(right=_whole([(1, given), *_terms(line.right)]))


def _given_at_start(e: Expr) -> Expr:
    """Return the direct cotangent of an initial state, in the form in which its adjoint stands on the left of a line."""
    return mapped(e, lambda x: Outside(Symbol(Label(x.label.name, START), x.of)) if isinstance(x, Symbol) else x)


def _behind_the_end(r: Recursion, mark: str) -> Section:
    g = r.graph
    lines = []
    for name, id in r.step.next.items():
        now, last = (Symbol(Label(name, time), normal(g.shape(id))) for time in (0, LAST))
        lines.append(Line(now, last, FORWARD))
    lines += [Line(Symbol(Label(name, 0), normal(g.shape(id))), ZERO, FORWARD) for name, id in r.step.outputs.items()]
    lines += [
        Line(Symbol(Label(a.name, 0, adjoint=True, mark=mark), normal(a.shape)), ZERO, BACKWARD)
        for a in r.step.of_role("input")
    ]
    return Section(f"Behind the end, t = T + 1, …, {BATCH}", tuple(lines))


# Truncation.


def _windowed(
    sections: list[Section], setting: Setting, r: Recursion, mark: str, letter: str, is_model: bool
) -> list[Section]:
    """Return sections with adjoints for each window, and their sums, which the gradients read."""
    at = next(i for i, section in enumerate(sections) if _is_backward(section))
    backward = sections[at]
    # Values that the backward section defines, adjoints and names for parts of them, depend on the window; all others do not.
    names = {name for line in backward.lines for name in _defined(line)} | {f"{mark}{name}" for name in r.cotangent}
    loop = any(_label(line.left).time == -1 for line in backward.lines)
    lines = [_of_window(line, setting, letter, names) for line in backward.lines]
    if loop:
        lines = [*_begun(setting, r, mark, letter), *lines]
    later = sections[at + 1 :]
    rounds = {_label(line.left).full: line.note for line in backward.lines if _label(line.left).round and line.note}
    totals = list(_totals(later, setting, letter, names, rounds))
    if loop:
        totals += _started(setting, r, mark, letter, is_model)
    words = "; terms of step " + (f"min({letter}, T)" if _ends_early(setting) else letter) + " + 1 are zero"
    whole = Section(_title(setting, letter) + ("" if loop else words), tuple(lines))
    return [*sections[:at], whole, Section("Sums over the windows", tuple(totals)), *later]


def _ends_early(setting: Setting) -> bool:
    """Answer whether a window may end behind the end of a sample."""
    return setting.lengths and isinstance(setting.truncation, Chunked)


def _k(setting: Setting) -> int:
    cut = setting.truncation
    return cut.k if isinstance(cut, Window) else cut.k2 if cut is not None else 0


def _title(setting: Setting, e: str) -> str:
    cut, k = setting.truncation, _k(setting)
    first = f"max({e} - {k - 1}, 1)" if k > 1 else e
    if isinstance(cut, Window):
        steps = f"t = {e}, …, {first}" if k > 1 else f"t = {e}"
        return f"Backward from each loss, {e} = 1, …, T; {steps}"
    assert isinstance(cut, Chunked)
    last = BATCH if setting.lengths else "T"
    ends = f"{e} = {cut.k1}, {2 * cut.k1}, … and {last}"
    begin = f"min({e}, T)" if setting.lengths else e
    return f"Backward from each chunk, which ends at {ends}; t = {begin}, …, {first}"


def _defined(line: Line) -> Iterator[str]:
    """Yield the names of the values that a line defines."""
    label = _label(line.left)
    yield label.full
    if line.family is not None:
        yield from _members(label, *line.family)


def _of_window(line: Line, setting: Setting, letter: str, names: set[str]) -> Line:
    right = _whole((sign, new) for sign, e in _terms(line.right) if (new := _weighted(e, setting, letter)) != ZERO)
    return line._replace(left=_raised(line.left, letter, names), right=_raised(right, letter, names))


def _raised(e: Expr, letter: str, names: set[str]) -> Expr:
    def above(x: Expr) -> Expr:
        of_window = isinstance(x, Symbol) and x.label.time is not None and (x.label.adjoint or x.label.full in names)
        return Raised(x, letter) if of_window else x

    return _mapped_inside(e, above)


def _weighted(e: Expr, setting: Setting, letter: str) -> Expr:
    """Return the direct cotangents of a step under the condition that the window has the loss of the step."""

    def given(x: Expr) -> Expr:
        if not isinstance(x, Outside):
            return x
        before = x.symbol.label.time == -1
        # A window has the loss of its own last step alone, which is never a step before another of its steps.
        return ZERO if before and isinstance(setting.truncation, Window) else Times((_has(setting, letter, before), x))

    return mapped(e, given)


def _has(setting: Setting, letter: str, before: bool = False) -> Expr:
    """Return the condition that a window has the loss of a step, or of the step before."""
    cut, step, end = setting.truncation, _added(STEP, -1) if before else STEP, Word(letter)
    if isinstance(cut, Chunked):
        return Call("greater", (step, _times(cut.k1, _floor(_added(end, -1), cut.k1))))
    return Call("equal", (step, end))


def _begun(setting: Setting, r: Recursion, mark: str, letter: str) -> Iterator[Line]:
    """Yield, in the style of the loop, the adjoints of states at the last step of a window, and of outputs at each."""
    end = f"min({letter}, T)" if _ends_early(setting) else letter
    for name, id in (r.carry | r.cotangent).items():
        shape, note = normal(r.graph.shape(id)), f"t = {end}" if name in r.carry else ""
        left = Raised(Symbol(Label(name, 0, adjoint=True, mark=mark), shape), letter)
        yield Line(left, Times((_has(setting, letter), Outside(Symbol(Label(name, 0), shape)))), BACKWARD, note=note)


def _totals(
    sections: Iterable[Section], setting: Setting, letter: str, names: set[str], rounds: Mapping[str, str]
) -> Iterator[Line]:
    """Yield the sums over windows of all that the gradients read and a window has; what a loss has itself is whole. `rounds`:
    those in which the line of a value holds, by its name."""
    found: dict[Expr, tuple[str, tuple[str, ...]] | None] = {}
    for line in (line for section in sections for line in section.lines):
        inner = [*walk(line.right)]
        families = [line.family] if line.family is not None else []
        families += [(x.letter, x.values) for x in inner if isinstance(x, OverFamily)]
        for x in inner:
            if isinstance(x, Symbol) and x.label.time in (0, FIRST):
                own = next((family for family in families if [*_members(x.label, *family)]), None)
                if names & {x.label.full, *(_members(x.label, *own) if own is not None else ())}:
                    found.setdefault(_at(x, 0), own)
    for x, family in found.items():
        note = rounds.get(_label(x).full, "")
        of_each = note and _label(x).round.startswith(note.partition(" < ")[0])
        total = OverWindows(letter, _k(setting), Raised(x, letter))
        yield Line(x, total, BACKWARD, family=family, note=note if of_each else "")


def _members(label: Label, letter: str, values: Iterable[str]) -> Iterator[str]:
    """Yield the names that members of a family may have, with the sign of an adjoint."""
    return (label._replace(name=name).full for name in members(label.name, letter, values))


def _started(setting: Setting, r: Recursion, mark: str, letter: str, is_model: bool) -> Iterator[Line]:
    """Yield, in the style of the loop, the sums over windows of what reaches the initial states."""
    for name, id in r.carry.items():
        x = Symbol(Label(name, START, adjoint=True, mark=mark), normal(r.graph.shape(id)))
        given = [(1, _given_at_start(x))] if setting.lengths and not is_model else []
        yield Line(x, plus([(1, OverWindows(letter, _k(setting), Raised(x, letter), True)), *given]), ONCE)
