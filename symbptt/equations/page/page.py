"""The page of a cell or a model in the style "textbook": all transformations, in their order, and the legend."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace

from symbptt.autodiff.labels import TIMES, Label, letter_of_rounds, without_time
from symbptt.equations.algebra.conjugates import as_complex
from symbptt.equations.algebra.expressions import Symbol, plus
from symbptt.equations.algebra.normal import in_normal_form, without_tests
from symbptt.equations.algebra.traversal import walk
from symbptt.equations.page.legend import legend, named_constants
from symbptt.equations.page.lines import Line, Lines, LossLines, Page, Section, with_right
from symbptt.equations.page.quotients import by_quotients, moved, quotients_of
from symbptt.equations.page.textbook import (
    as_families,
    as_written,
    at_the_first,
    at_the_next,
    collected,
    folded,
    inlined,
    ordered_as,
    positive,
    recursion_of,
    shared,
    without_short_names,
)
from symbptt.ir.naming import free_letters
from symbptt.ir.rounds import has_rounds
from symbptt.ir.shape import names_in

NAMES = "uwrpqsvzgk"
"""Names of what is printed twice, in the order in which they are taken; then with numbers."""
CONSTANTS = "MKCQRD"
"""Names of constant arrays."""


def textbook(lines: Lines, loss: LossLines | None) -> Page:
    """Return the page of a recursion, with its loss where there is one."""
    r = lines.recursion
    forward = list(lines.forward())
    backward, start = recursion_of(lines)
    gradients, inputs = list(lines.gradients()), list(lines.input_gradients())
    value, back, own = ([*loss.value()], [*loss.back()], [*loss.gradients()]) if loss is not None else ([], [], [])
    # A parameter of both cell and loss has one gradient, and one line.
    gradients, own = _merged(gradients, own)
    every = [*backward, *gradients, *inputs, *start]
    kept = _kept(lines, loss, every)
    backward, gradients, inputs, start = _split(folded(every, kept), backward, gradients, inputs, start)
    if loss is not None:
        shared_with = {label for line in gradients for label in line.right.labels}  # of gradients that have both parts
        back, own = map(collected, _split(folded([*back, *own], kept | shared_with), back, own))
    known = positive(forward)
    backward, gradients, inputs, start = (
        [with_right(line, without_tests(line.right, known)) for line in x] for x in (backward, gradients, inputs, start)
    )
    taken = _taken(lines, loss)
    names = free_letters(NAMES, taken)
    backward, gradients, inputs = (collected(x) for x in (backward, gradients, inputs))
    # SymPy sorts sums; a reader expects (1 - z) backward as it stands forward.
    ordered = ordered_as([backward, gradients, inputs, start], forward)
    values = [*quotients_of(forward)]
    found, later = [*values, *(moved(q, at_the_first) for q in values)], [moved(q, at_the_next) for q in values]
    shown = [forward, *(collected(by_quotients(x, found, later)) for x in ordered)]
    sections = shared(without_short_names(shown), names)
    sections[0] = as_written(inlined(sections), lines.spelt())
    put_in = _own_labels(forward) - _own_labels(sections[0])
    # What is computed once from parameters has an adjoint, but is none.
    once, own_gradients = _parted(sections[2], {f"{lines.mark}{a.name}" for a in r.step.of_role("param", "context")})
    sections[2:3] = [once, own_gradients]
    titles = ["Forward, t = 1, …, T", BACKWARD, "Gradients of what is computed once", lines.gradients_title,
              "Gradients of the inputs", "Gradients of the initial state"]  # fmt: skip
    named = as_families(
        [(title, x, title in titles[:2]) for title, x in zip(titles, sections, strict=True)],
        taken | {"t", "T", "L", "d"},
    )
    done = [Section(title, tuple(x)) for title, x in named]
    if loss is not None:
        value, back, own = shared(without_short_names([value, back, own]), names)
        value = inlined([value, back, own])
        done[1:1] = [
            Section(f"Loss, t = {'1, …, T' if loss.of.at == 'every' else 'T'}", tuple(value)),
            Section("Backward from the loss", tuple(back)),
            Section("Gradients of the loss's parameters", tuple(own)),
        ]
    if lines.is_complex or (loss is not None and loss.lines.is_complex):
        done = [in_complex_form(section) for section in done]
    done, constants = named_constants([section for section in done if section.lines], names_of_constants(lines, loss))
    return Page(tuple(done), (*legend(lines, loss, done), *constants), put_in)


def _own_labels(lines: Iterable[Line]) -> frozenset[Label]:
    """Return the names of the values that have a line."""
    return frozenset(line.left.label for line in lines if isinstance(line.left, Symbol))


def in_complex_form(section: Section) -> Section:
    """Return a section of a page that has complex numbers."""
    return replace(section, lines=tuple(with_right(line, as_complex(line.right)) for line in section.lines))


def _kept(lines: Lines, loss: LossLines | None, every: Iterable[Line]) -> set[Label]:
    """Return the adjoints and gradients that have a line of their own, whoever reads them."""
    r = lines.recursion
    of_loss = loss.lines.recursion.params if loss is not None else ()
    kept = {Label(name, 0, True, mark=lines.mark) for name in (*r.carry, *r.cotangent, *r.inputs)}
    kept |= {Label(name, None, True, mark=lines.mark) for name in (*r.params, *of_loss)}
    # What is carried from round to round has one name in all of them.
    carried = {label.name for id, label in lines.labels.items() if getattr(r.graph[id].attrs, "role", "") == "carried"}
    left = (line.left.labels[0] for line in every)
    return kept | {label for label in left if label.round and label.name in carried}


def names_of_constants(lines: Lines, loss: LossLines | None) -> Iterator[str]:
    """Yield the names of constant arrays on a page."""
    return free_letters(CONSTANTS, _taken(lines, loss))


BACKWARD = "Backward, t = T, …, 1; terms of step T + 1 are zero"


def _parted(gradients: Sequence[Line], params: Container[str]) -> tuple[list[Line], list[Line]]:
    """Return the lines of gradients of values that are no parameters, and of parameters; values that only the latter read stay
    before them."""
    own = [line for line in gradients if line.left.labels[0].full in params]
    others = [line for line in gradients if line not in own]
    once = others if any(line.left.labels[0].adjoint for line in others) else []
    return once, [line for line in gradients if line not in once]


def _merged(gradients: list[Line], own: list[Line]) -> tuple[list[Line], list[Line]]:
    """Return gradients of parameters that cell and loss share as one line, which has both parts."""
    found, gone = [], set()
    for line in gradients:
        other = next((x for x in own if x.left == line.left), None) if line.relation == "+=" else None
        if other is not None:
            gone.add(other.left)
            whole = in_normal_form(plus([(1, other.right), (1, line.right)]))
            line = line._replace(right=whole, relation="=")
        found.append(line)
    return found, [line for line in own if line.left not in gone]


def _split(whole: list[Line], *before: list[Line]) -> list[list[Line]]:
    """Return lines by the sections in which they were."""
    place = {line.left: i for i, lines in enumerate(before) for line in lines}
    found: list[list[Line]] = [[] for _ in before]
    for line in whole:
        # A line written by its entries has the array inside its left side.
        left = line.left if line.left in place else next(x for x in walk(line.left) if x in place)
        found[place[left]].append(line)
    return found


def _taken(lines: Lines, loss: LossLines | None) -> set[str]:
    """Return the names that stand on the page."""
    found = {label.name for label in lines.labels.values()} | {label.full for label in lines.labels.values()}
    recursions = [lines.recursion] + ([loss.lines.recursion] if loss is not None else [])
    for r in recursions:
        found |= {letter_of_rounds(r.graph)} if has_rounds(r.graph) else set()
        found |= {a.name for a in r.step.arguments} | {n for a in r.step.arguments for n in names_in(a.shape)}
    found |= {without_time(name, role) for name in found for role in TIMES}
    if loss is not None:
        found |= {label.name for label in loss.lines.labels.values()} | {loss.of.count, "loss"}
    # Beside z_{1,t} and u_{g,t} other values are not called z and u.
    made = {
        label.name
        for x in (lines, *([] if loss is None else [loss.lines]))
        for label in x.labels.values()
        if not label.given
    }
    parts = {name for r in recursions for name in r.step.parts}
    # p at step 1 would be the parameter p1 in LaTeX, which sets both as p with a 1 below.
    stems = {name.rstrip("0123456789").rstrip("_") for name in found}
    return found | stems | {name.partition("_")[0] for name in made | parts}
