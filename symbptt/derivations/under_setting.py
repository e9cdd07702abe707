"""Effects of truncation, lengths and resets on what is derived from a page: Jacobians, routes, closed form, chain rule.

A step that is reset reads the initial state in the place of the state before it: derivatives in the state that enters are those
of the cell, and those in the state before are 1 - r_t times as large.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from symbptt.autodiff.labels import Label
from symbptt.equations.algebra.expressions import (
    EYE,
    ZERO,
    Call,
    Expr,
    Symbol,
    Times,
    Word,
    plus,
    times,
)
from symbptt.equations.notation.writing import condition
from symbptt.equations.page import masks
from symbptt.equations.page.chains import Definition
from symbptt.equations.page.equations import Equations
from symbptt.equations.page.lines import Note
from symbptt.equations.page.masks import BATCH
from symbptt.ir.naming import free_letters
from symbptt.language.truncation import Chunked, Window

STEP = Word("t")


def kept(page: Equations, time: int) -> Expr:
    """Return 1 - r_t, which is zero where a step is reset; `time` is 0 for step t, -1 for the step before."""
    return masks.not_reset(page.letters.reset, time)


def entering(e: Expr, page: Equations, times: Collection[int] = (-1,)) -> Expr:
    """Return an expression with the states of some times as they enter the step behind them."""
    return masks.entering(e, page.recursion, page.letters.reset, times)


def of_a_step(lines: Sequence[Definition], page: Equations, of: str) -> tuple[Definition, ...]:
    """Return the lines of a derivative of one step where states may be reset: in a state, 1 - r_t times that in what enters."""
    if not page.setting.reset:
        return tuple(lines)
    found = [replace(x, left=entering(x.left, page), right=entering(x.right, page)) for x in lines]
    if of not in page.recursion.step.next or lines[0].right == ZERO:
        return tuple(found)
    # ∂h_t/∂h_{t-1} = (1 - r_t) ∂h_t/∂h_{t-1}^(r): where r_t = 1 the step reads the initial state, and the derivative is 0.
    return (Definition(lines[0].left, Times((kept(page, 0), found[0].left))), *found)


def along_a_route(
    lines: Sequence[Definition], page: Equations, of: str, steps: int, by_parts: bool
) -> tuple[Definition, ...]:
    """Return the lines of a derivative along a route where states may be reset: it is zero where one on the way is."""
    if not page.setting.reset:
        return tuple(lines)
    first, *rest = (Definition(x.left, entering(x.right, page, (-steps,))) for x in lines)
    # Lines of the parts hold at every step, and read what enters that step.
    if by_parts:
        rest = [Definition(entering(x.left, page), entering(x.right, page)) for x in rest]
    crossed = range(steps if of in page.recursion.step.next else steps - 1)
    # One factor for each crossing from step to step: a single reset on the way makes the product zero.
    factors = [kept(page, -back) for back in crossed]
    return (replace(first, right=times([*factors, first.right])) if factors else first, *rest)


def of_resets(page: Equations) -> Note:
    """Return what the signs of resets mean."""
    flag, entered = masks.notes_on_resets(page.letters.reset)
    return (*flag, "; ", *entered)


def said_of_a_step(page: Equations, derivatives: Iterable[tuple[Expr, str, str]] = ()) -> Iterator[Note]:
    """Yield what is to be said beside derivatives of one step, each given with the names of the value and of what it is
    derived by."""
    setting, states = page.setting, page.recursion.step.next
    if setting.reset:
        yield of_resets(page)
    if setting.lengths:
        ends: list[str | Expr] = []
        for e, to, of in derivatives:
            ends += [*([", "] if ends else []), e, " = ", EYE if to == of and to in states else ZERO]
        yield (
            "behind the end of a sample, at t = T + 1, …, ",
            Word(BATCH),
            ": ",
            *(ends or ["the derivative of the states is ", EYE]),
        )
    if setting.truncation is not None:
        yield (
            f"{called(setting.truncation)} does not change the derivatives of a step; the closed form has the terms that it keeps",
        )


def said_of_routes(page: Equations, of: str, steps: int) -> Iterator[Note]:
    """Yield what is to be said beside routes over some steps: which of them the gradients of a truncated run have."""
    setting = page.setting
    if setting.reset:
        yield of_resets(page)
    if setting.lengths:
        yield (
            "t is a step of the sample itself, at most T; the steps behind its end, up to ",
            Word(BATCH),
            ", hand on its states",
        )
    if setting.truncation is None:
        return
    back = steps if of in page.recursion.step.next else steps - 1
    there = plus([(1, STEP), (-1, _number(back))]) if back else STEP
    yield (f"{called(setting.truncation)}: ", *reach(page), "; these routes lead to step ", there, _is_kept(page, back))


def _number(value: int) -> Expr:
    return Word(str(value))


def reach(page: Equations) -> Note:
    """Return how far back a loss of step t acts."""
    step = Word(next(free_letters("kjirpmn", {*page.all_names.bases, *page.all_names.sizes})))
    told: Note = ("a loss of step t acts on the steps ", partial(condition, within(page, step)))
    return told if isinstance(page.setting.truncation, Window) else (*told, ", where ", *end_of_chunk(page))


def within(page: Equations, step: Expr) -> Expr:
    """Return the condition that a loss of step t acts on a step."""
    cut = page.setting.truncation
    assert cut is not None
    last, count = (STEP, cut.k) if isinstance(cut, Window) else (Symbol(Label(page.letters.window, 0)), cut.k2)
    return Call("greater", (step, plus([(1, last), (-1, _number(count))])))


def end_of_chunk(page: Equations) -> Note:
    """Return the last step of the chunk that has the loss of step t."""
    end = page.setting.end_of_chunk
    assert end is not None
    return Symbol(Label(page.letters.window, 0)), " = ", end


def _is_kept(page: Equations, back: int) -> str:
    """Return what gradients have of the routes that lead back over so many steps; nothing for chunks, where it depends on t."""
    cut = page.setting.truncation
    if isinstance(cut, Chunked):
        return ""
    assert isinstance(cut, Window)
    if back < cut.k:
        return " and are kept"
    # A window detaches the state k applications back, unless that is the initial state.
    return " and are cut, but for those to the initial state" if back == cut.k else " and are cut"


def said_of_the_rule(page: Equations) -> Iterator[Note]:
    """Yield what is to be said behind the chain rule of one step."""
    setting = page.setting
    cut, letter = setting.truncation, page.letters.window
    if cut is not None:
        count = cut.k if isinstance(cut, Window) else cut.k2
        first = f"max({letter} - {count - 1}, 1)" if count > 1 else letter
        at = f"at t = {letter}, …, {first}" if count > 1 else f"at t = {letter}"
        yield (
            f"{called(cut)}: the adjoints are those of {_losses(page)} alone, {at}; gradients are the sums of what all such give",
        )
    if setting.lengths:
        yield ("t = 1, …, T are the steps of the sample itself; behind its end, up to ", Word(BATCH), ", the states are those of "
               "step T, and what a loss gives to them is given to step T")  # fmt: skip
    if setting.reset:
        yield of_resets(page)


def _losses(page: Equations) -> str:
    """Return the losses whose adjoints stand together."""
    cut, letter = page.setting.truncation, page.letters.window
    if isinstance(cut, Chunked):
        last = BATCH if page.setting.lengths else "T"
        return f"the losses of one chunk, which ends at a step {letter} = {cut.k1}, {2 * cut.k1}, … or {last},"
    return f"the loss of one step {letter}"


def called(cut: Window | Chunked | None) -> str:
    """Return a truncation as a user writes it."""
    if isinstance(cut, Chunked):
        return f"sb.Chunked({cut.k1}, {cut.k2})"
    assert isinstance(cut, Window)
    return f"sb.Window({cut.k})"
