"""Sweeps over a range of steps for a driver, which owns the states between ranges and says which samples are active.

The driver hands over, by group and name of a port: "rows", the states of a range from the one before it on; "after" and "before",
the states after each step and before it, for the sweep backward; "carry", the adjoints of the states behind the range, which a
sweep replaces by those before it; "direct", the cotangents of states. A masked sweep has beside these "mask", who is "active" and
who is "reset" at each step, "before", the states before each step, with those of samples that have ended in front, and "waiting"
and "resets", the adjoints that are put aside and those that go to the initial states. Where rows are "turning" to other samples,
"before" has the states with which these begin, there where a row is reset, and "begun" gets the adjoints of the states before each
step. A monitored sweep writes the adjoints of each step into "watched". What comes before and behind a range is the driver's:
states behind the end of a sample, zeros for cotangents that are not given, norms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    STEPS,
    Buffer,
    Function,
    If,
    Map,
    Port,
    Reduce,
    Runtime,
    Statement,
    View,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.rewrite import with_buffers
from symbptt.codegen.loop_ir.step_by_step import without_unread
from symbptt.codegen.loop_ir.views import point, span, whole
from symbptt.codegen.lower import watching
from symbptt.codegen.lower.backward import backward
from symbptt.codegen.lower.bodies import ONE, PLUS, ZERO
from symbptt.codegen.lower.edges import Edges, arrived
from symbptt.codegen.lower.forward import forward
from symbptt.codegen.lower.frame import SYMBOLS, Stored, T
from symbptt.codegen.lower.masks import GONE, KEPT, WHERE, spread
from symbptt.codegen.lower.pull import SEND, pull
from symbptt.codegen.lower.storage import Storage, storage_of
from symbptt.codegen.lower.sweep import Sweep
from symbptt.codegen.program.names import Named, named
from symbptt.codegen.program.program import Program
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum
from symbptt.ir.shape import size

ABS, SQRT = Call("abs", (Ref(0),)), Call("sqrt", (Ref(0),))
GREATER = Call("maximum", (Ref(0), Ref(1)))


@dataclass
class Driven(Edges):
    """The edges of sweeps that a driver calls; `ports` are what they have of it beside the arguments of a cell."""

    limit: float | None = None
    monitored: bool = False
    masked: bool = False
    turning: bool = False
    ports: list[Port] = field(default_factory=list)

    @property
    def flags(self) -> list[View]:
        """No flag: a target that scans does so in sweeps that neither watch nor have masks."""
        return []

    @property
    def given(self) -> list[Port]:
        """What the driver hands over is added to functions when they are done."""
        return []

    @property
    def results(self) -> list[Port]:
        """None: the driver reads what it handed over."""
        return []

    def port(self, w: Sweep, group: str, name: str, buffer: Buffer) -> View:
        """Return all of a buffer of the driver, and note it."""
        self.ports.append(Port(group, name, whole(buffer)))
        return whole(buffer)

    def begin(self, w: Sweep) -> None:
        for name, buffer in w.storage.states.items():
            self.port(w, "rows", name, buffer)

    def enter(self, w: Sweep) -> None:
        if not self.masked:
            return
        active, reset = (point(x, 0, T) for x in self._masks(w))
        for name, initial in w.storage.initial.items():
            leaf = w.storage.stored[w.module.program.leaves[name]].view.buffer
            rows = self.port(w, "before", name, leaf)
            out, was, after = (
                point(rows, 0, size(T + 1)),
                point(rows, 0, T),
                point(whole(w.storage.states[name]), 0, T),
            )
            begun = out if self.turning else whole(initial)
            w.builder.add(Map(out, WHERE, (spread(reset, out), begun, after)))
            # Last: the end of a sample prevails over a reset after it.
            w.builder.add(Map(out, WHERE, (spread(active, out), out, was)))

    def start(self, w: Sweep) -> None:
        for name, buffer in w.storage.carries.items():
            self.port(w, "carry", name, buffer)
            self.port(w, "direct", name, w.storage.direct[name])

    def arrive(self, w: Sweep) -> None:
        found = arrived(w)
        if self.limit is not None:
            w.builder.statements += clip(w, found, self.limit)
        # Nothing is sent to the steps behind the end of a row, and nothing is carried into them.
        if not self.masked or self.turning:
            return
        active, _ = self._masks(w)
        for name, view in found.items():
            aside = self._like_carry(w, "waiting", name)
            mask = spread(point(active, 0, T), view)
            w.builder.statements += [Map(aside, GONE, (mask, view)), Map(view, KEPT, (mask, view))]

    def watch(self, w: Sweep) -> None:
        if not self.monitored:
            return
        for name, carry in w.storage.carries.items():
            view = watching.total(w, name) or whole(carry)
            w.builder.copy(point(self._of_steps(w, "watched", name), 0, T), view)

    def leave(self, w: Sweep) -> None:
        if not self.masked:
            return
        reset = point(self._masks(w)[1] if self.turning else self._known("mask", "reset"), 0, T)
        for name, carry in w.storage.carries.items():
            out, mask = whole(carry), spread(reset, whole(carry))
            if self.turning:
                w.builder.copy(point(self._of_steps(w, "begun", name), 0, T), out)
            else:
                aside, total = self._known("waiting", name), self._like_carry(w, "resets", name)
                sent = Sum(((1, Ref(0)), (1, Call("where", (Ref(1), Ref(2), ZERO)))))
                w.builder.statements += [Map(out, PLUS, (out, aside)), Map(total, sent, (total, mask, out))]
            w.builder.add(Map(out, GONE, (mask, out)))

    def _masks(self, w: Sweep) -> tuple[View, View]:
        active, reset = (Buffer(w.builder.name(x), (STEPS, BATCH), "argument", "bool") for x in ("active", "reset"))
        return self.port(w, "mask", "active", active), self.port(w, "mask", "reset", reset)

    def _known(self, group: str, name: str) -> View:
        return next(x.view for x in self.ports if (x.group, x.name) == (group, name))

    def _of_steps(self, w: Sweep, group: str, name: str) -> View:
        """Return a buffer of the driver that has the adjoint of a state at each step."""
        carry = w.storage.carries[name]
        name_of = w.builder.name(f"{carry.name}_{group}")
        return self.port(w, group, name, Buffer(name_of, (STEPS, *carry.shape), "result", carry.dtype))

    def _like_carry(self, w: Sweep, group: str, name: str) -> View:
        """Return a buffer of the driver that is like the adjoint of a state, written and read in the same step."""
        carry = w.storage.carries[name]
        return self.port(w, group, name, replace(carry, name=w.builder.name(f"{carry.name}_{group}")))


def clip(w: Sweep, found: Mapping[str, View], limit: float) -> list[Statement]:
    """Return the statements that scale adjoints so that their joint norm is at most a limit for each sample.

    The greatest magnitude is divided out before anything is squared, so that no square overflows or vanishes.
    """
    views = [*found.values()]
    if not views:
        return []
    greatest, total = (w.builder.temporary(name, (BATCH,)) for name in ("greatest", "total"))
    body: list[Statement] = [Map(greatest, ZERO, ()), Map(total, ZERO, ())]
    parts = [(view, w.builder.temporary("part", view.shape)) for view in views]
    for view, part in parts:
        most = w.builder.temporary("most", (BATCH,))
        body += [
            Map(part, ABS, (view,)),
            Reduce(most, "max", part, _own(part)),
            Map(greatest, GREATER, (greatest, most)),
        ]
    body.append(Map(greatest, Call("where", (Call("greater", (Ref(0), ZERO)), Ref(0), ONE)), (greatest,)))
    for view, part in parts:
        square = Power(Prod((Ref(0),), (Ref(1),)), Num(sp.Integer(2)))
        body += [Map(part, square, (view, spread(greatest, view))), Reduce(total, "sum", part, _own(part), True)]
    body.append(Map(total, SQRT, (total,)))
    most = whole(w.builder.constant("clip_limit", (), limit))
    over = Call("greater", (Prod((Ref(1), Ref(2))), Ref(3)))
    scaled = Prod((Prod((Ref(0),), (Ref(1),)), Prod((Ref(3),), (Ref(2),))))
    for view in views:
        args = (view, spread(greatest, view), spread(total, view), spread(most, view))
        body.append(Map(view, Call("where", (over, scaled, Ref(0))), args))
    return body


def _own(view: View) -> tuple[int, ...]:
    """Return the axes of a view behind that of samples."""
    return tuple(range(1, len(view.axes)))


def with_apart_states(n: Named, found: Storage) -> Storage:
    """Return a storage whose states have two buffers of all steps, in the place of one that has a step more: after each step, and
    before each."""
    for a in n.program.of_role("state"):
        leaf, old = n.program.leaves[a.name], found.states[a.name]
        shape = (STEPS, *old.shape[1:])
        after, before = (
            Buffer(name, shape, space, old.dtype)
            for name, space in ((old.name, "result"), (n.previous[leaf], "residual"))
        )
        for id, stored in found.stored.items():
            if stored.view.buffer == old:
                found.stored[id] = Stored(whole(before if id == leaf else after), "all")
        found.states[a.name] = after
        at = found.forward.index(old)
        found.forward[at : at + 1] = [after, before]
    return found


def _with_chosen_states(n: Named) -> Storage:
    """Return the storage of a masked sweep forward: what a step begins with has a buffer of its own, whose first row is that of samples
    that have ended."""
    found = storage_of(n)
    for a in n.program.of_role("state"):
        leaf, rows = n.program.leaves[a.name], found.states[a.name]
        before = Buffer(n.previous[leaf], rows.shape, "residual", rows.dtype)
        found.stored[leaf] = Stored(span(whole(before), 0, 1, STEPS), "all")
        found.forward.append(before)
    return found


@dataclass(frozen=True)
class Pair:
    """A sweep forward, and the one backward that reads what it wrote."""

    forward: Function
    backward: Function


def driven(
    p: Program, limit: float | None = None, masked: bool = False, monitored: bool = False, turning: bool = False
) -> Pair:
    """Return both sweeps of a placed program for a driver; `limit` is the greatest joint norm of the adjoints at each step. With
    `turning`, which goes with masks, rows are reset to other samples."""
    n = named(p, SYMBOLS)
    back, ahead = Driven(limit, monitored, masked, turning), Driven(None, False, masked, turning)
    storage = with_apart_states(n, storage_of(n))
    second, read = backward(n, storage, back)
    own = {port.view.buffer for port in _apart(n, storage)}
    first = forward(n, _with_chosen_states(n) if masked else storage_of(n), [b for b in read if b not in own], ahead)
    return Pair(_with(first, ahead.ports), _with(second, [*_apart(n, storage), *back.ports]))


def pulled(p: Program) -> tuple[Function, Function]:
    """Return one step back for the adjoints of all steps at once, which windows repeat: without the sums, whose results are the
    adjoints before each step, and with them."""
    n = named(p, SYMBOLS)
    storage = with_apart_states(n, storage_of(n, pulled=True))
    f = _with(pull(n, storage)[0], _apart(n, storage))
    at = next(i for i, s in enumerate(f.body) if isinstance(s, If))
    branch = f.body[at]
    assert isinstance(branch, If)
    *inside, send = branch.orelse
    assert isinstance(send, Runtime) and send.name == SEND
    passed = tuple(
        Port("carry", name, view) for name, view in zip(p.carry, send.args, strict=True) if isinstance(view, View)
    )
    alone = replace(f, body=(*f.body[:at], *inside), results=passed)
    whole_sums = replace(f, body=(*f.body[:at], *f.body[at + 1 :]))
    return without_unread(alone), without_unread(whole_sums)


def _apart(n: Named, storage: Storage) -> list[Port]:
    """Return the ports of the states after each step and before it, which a sweep backward reads."""
    before = {a.name: storage.stored[n.program.leaves[a.name]].view for a in n.program.of_role("state")}
    after = [Port("after", name, whole(buffer)) for name, buffer in storage.states.items()]
    return [*after, *(Port("before", name, view) for name, view in before.items())]


def _with(f: Function, ports: list[Port]) -> Function:
    """Return a function with these arguments, in the place of those of the same buffers; what it writes of them it shares with the
    driver."""
    own = {port.view.buffer for port in ports}
    shared = {b: replace(b, space="shared") for s in walk(f.body) for b in (x.buffer for x in writes(s)) if b in own}
    f = with_buffers(replace(f, buffers=tuple(b for b in f.buffers if b not in own)), shared)
    given = [Port(x.group, x.name, whole(shared.get(x.view.buffer, x.view.buffer))) for x in ports]
    return replace(f, arguments=(*(x for x in f.arguments if x.view.buffer not in own), *given))
