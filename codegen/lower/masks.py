"""Masks as statements: ended samples keep their last state and pass no adjoint on, resets begin anew.

Forward, before each step: a sample that is reset begins with its initial state. One that has ended repeats its last
step, so that only values are computed that were finite before, and keeps the state that it had at its end. Backward,
the adjoint of an ended sample waits in a buffer of its own, and the cotangent that would go to the step before a reset
goes to the initial state.

Example: of samples of lengths 3 and 1 the second runs step 0 again at t = 1 and 2. Its state after step 0 is the result
at t = 1 and 2 too, and backward the adjoint of its end passes by t = 2 and 1 to step 0.
"""

from __future__ import annotations

from symbptt.codegen.loop_ir.nodes import STEPS, If, Loop, Map, Port, Statement, View
from symbptt.codegen.loop_ir.views import point, repeated, whole, with_new
from symbptt.codegen.lower.bodies import PLUS, ZERO
from symbptt.codegen.lower.frame import T
from symbptt.codegen.lower.storage import Masks, Storage
from symbptt.ir.scalar import Call, Ref, Sum
from symbptt.ir.shape import size

WHERE = Call("where", (Ref(0), Ref(1), Ref(2)))
# A selection and no product with the mask: 0 * inf and 0 * nan are nan in IEEE arithmetic.
KEPT, GONE = Call("where", (Ref(0), Ref(1), ZERO)), Call("where", (Ref(0), ZERO, Ref(1)))
"""A value where a mask is true, else zero, and the complement."""


def ports(masks: Masks) -> list[Port]:
    """Return the mask arguments of a function, without the states of ended samples."""
    flags = [Port("flag", "lengths", whole(masks.lengths)), Port("flag", "reset", whole(masks.resets_there))]
    return [*flags, Port("mask", "active", whole(masks.active)), Port("mask", "reset", whole(masks.reset))]


def spread(mask: View, like: View) -> View:
    """Return a mask with the axes that it lacks, repeated along them."""
    for _ in range(len(like.axes) - len(mask.axes)):
        mask = with_new(mask, len(mask.axes))
    return repeated(mask, like.shape)


def _chosen(out: View, mask: View, a: View, b: View) -> Statement:
    return Map(out, WHERE, (spread(mask, out), a, b))


def enter(storage: Storage, masks: Masks) -> list[Statement]:
    """Return the statements before those of a step: they choose the state with which it begins."""
    # The state with which a step begins is chosen and written down, not the result of a step corrected: backward
    # reads what the step has read, whatever lengths and resets are.
    found: list[Statement] = []
    reset, active = point(whole(masks.reset), 0, T), point(whole(masks.active), 0, T)
    for name, before in masks.before.items():
        out, was = point(whole(before), 0, size(T + 1)), point(whole(before), 0, T)
        after, initial = point(whole(storage.states[name]), 0, T), whole(storage.initial[name])
        copied = Map(out, Ref(0), (after,))
        found.append(If(whole(masks.resets_there), (_chosen(out, reset, initial, after),), (copied,)))
        # Last: the end of a sample prevails over a reset after it.
        found.append(If(whole(masks.lengths), (_chosen(out, active, out, was),)))
    return found


def stop(storage: Storage, masks: Masks) -> list[Statement]:
    """Return the statements behind the loop that write the states a caller gets, of ended samples those at their end.

    They have buffers of their own: what the backward sweep reads of a step must be what that step computed.
    """
    active, rounds, copies = point(whole(masks.active), 0, T), list[Statement](), list[Statement]()
    for name, buffer in masks.stopped.items():
        out, x = whole(buffer), whole(storage.states[name])
        copies.append(Map(out, Ref(0), (x,)))
        rounds.append(_chosen(point(out, 0, size(T + 1)), active, point(x, 0, size(T + 1)), point(out, 0, T)))
    inside: list[Statement] = [
        Map(point(whole(b), 0, 0), Ref(0), (whole(storage.start[name]),)) for name, b in masks.stopped.items()
    ]
    # One step after the other, for an ended sample copies the state of the step before.
    inside.append(Loop(T, 0, STEPS, tuple(rounds)))
    return [If(whole(masks.lengths), tuple(inside), tuple(copies))] * bool(copies)


def silence(masks: Masks, view: View) -> Statement:
    """Return the statement that sets outputs of ended samples to zero."""
    return If(whole(masks.lengths), (Map(view, KEPT, (spread(whole(masks.active), view), view)),))


def kept_cotangents(storage: Storage, masks: Masks | None) -> list[Statement]:
    """Return the statements before the loop that copy the cotangents of outputs, zero for samples that have ended, and
    where none are given."""
    found: list[Statement] = []
    for name, kept in storage.kept.items():
        out, given = whole(kept), whole(storage.cotangents[name])
        copied: Statement = Map(out, Ref(0), (given,))
        if masks is not None:
            active = spread(whole(masks.active), out)
            copied = If(whole(masks.lengths), (Map(out, KEPT, (active, given)),), (copied,))
        if name in storage.there:
            copied = If(whole(storage.there[name]), (copied,), (Map(out, ZERO, ()),))
        found.append(copied)
    return found


def no_resets(masks: Masks) -> list[Statement]:
    """Return the statements before the backward loop that set the gradients from resets to zero."""
    return [Map(whole(x), ZERO, ()) for x in masks.resets.values()]


def wait(masks: Masks, arrived: dict[str, View]) -> list[Statement]:
    """Return the statements before those of a step backward that put the adjoints of ended samples aside."""
    active = point(whole(masks.active), 0, T)
    body: list[Statement] = []
    for name, view in arrived.items():
        mask = spread(active, view)
        # With a zero adjoint every product of the step is zero for an ended sample, whose residuals are finite.
        body += [Map(whole(masks.waiting[name]), GONE, (mask, view)), Map(view, KEPT, (mask, view))]
    return [If(whole(masks.lengths), tuple(body))] * bool(body)


def leave(storage: Storage, masks: Masks) -> list[Statement]:
    """Return the statements behind those of a step backward that add these adjoints to the carry again, and move the
    adjoints of reset states to the initial ones."""
    reset = point(whole(masks.reset), 0, T)
    back, away = list[Statement](), list[Statement]()
    for name, carry in storage.carries.items():
        out, total = whole(carry), whole(masks.resets[name])
        # The sum is a selection: for each sample one of the two is zero.
        back.append(Map(out, PLUS, (out, whole(masks.waiting[name]))))
        mask = spread(reset, out)
        away.append(Map(total, Sum(((1, Ref(0)), (1, Call("where", (Ref(1), Ref(2), ZERO))))), (total, mask, out)))
        away.append(Map(out, GONE, (mask, out)))
    there: list[Statement] = [If(whole(masks.lengths), tuple(back)), If(whole(masks.resets_there), tuple(away))]
    return there if back else []


def add_resets(storage: Storage, masks: Masks) -> list[Statement]:
    """Return the statements that add to the gradients of the initial states what resets moved there."""
    pairs = ((whole(carry), whole(masks.resets[name])) for name, carry in storage.carries.items())
    return [Map(out, PLUS, (out, x)) for out, x in pairs]
