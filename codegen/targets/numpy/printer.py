"""Prints a function of the loop IR, behind the passes, as lines of NumPy.

Outside of loops a statement is an expression whose result gets a name; in loops it is one call that writes into a buffer.
Views are taken where they stay the same for longest: before the loop, at the head of a block, or, where they move with the
step, as arrays that the loop goes through.

While lines are written a view stands in them as a mark, for how it is taken depends on how often it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from symbptt.codegen.loop_ir.folding import is_one_expression
from symbptt.codegen.loop_ir.nodes import (
    Buffer,
    Function,
    If,
    Loop,
    Map,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    used,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.order import in_order, ordered, without_repeated
from symbptt.codegen.loop_ir.views import permuted, whole
from symbptt.codegen.memory import forms
from symbptt.codegen.memory.forms import Form
from symbptt.codegen.memory.sweeps import is_room
from symbptt.codegen.targets.numpy.calls import call
from symbptt.codegen.targets.numpy.expressions import as_buffer, expression, join
from symbptt.codegen.targets.numpy.forms import Forms, is_number
from symbptt.codegen.targets.numpy.grouping import Allocated, kind
from symbptt.codegen.targets.numpy.operands import Operands, as_long
from symbptt.codegen.targets.numpy.scalar_text import body_text
from symbptt.codegen.targets.numpy.settling import settling
from symbptt.codegen.targets.numpy.tables import elements
from symbptt.codegen.targets.numpy.views import Scope
from symbptt.codegen.targets.python.text import ATOM


@dataclass(frozen=True)
class Line:
    """A line of code inside a function, its depth, and the value whose equation stands beside it."""

    code: str
    depth: int = 0
    origin: int | None = None


@dataclass(frozen=True)
class Head:
    """Lines of a loop that are known when all others are written: those "before" it, its "opening" and its "stepping"."""

    scope: Scope
    what: str
    depth: int


@dataclass(frozen=True)
class Allocation:
    """Arrays that are allocated at one place."""

    arrays: tuple[Allocated, ...]
    depth: int = 0


Item: TypeAlias = Line | Head | Allocation


@dataclass
class Printer:
    """A function that is being printed.

    `calls` writes the calls of the runtime. `begun` are the buffers that have a name by now, `rooms` those from the workspace,
    if there is one. `around` are the lines around a loop whose blocks are scanned.
    """

    function: Function
    operands: Operands
    calls: Callable[[Printer, Scope, Runtime | Scan], list[Item]]
    begun: set[Buffer] = field(default_factory=set)
    rooms: list[Buffer] = field(default_factory=list)
    around: tuple[str, str] | None = None
    has_workspace: bool = True
    forms: Forms = field(init=False)

    def __post_init__(self) -> None:
        self.forms = Forms(self.function)

    def body(self, scope: Scope, body: Sequence[Statement], depth: int) -> list[Item]:
        found = list[Item]()
        for i, form in self.forms.of(body, self.begun, scope.is_top):
            found += self.lines(scope, body[i], form, depth)
        return found

    def lines(self, scope: Scope, s: Statement, form: Form, depth: int) -> list[Item]:
        match s:
            case Loop():
                return self.loop(scope, s, depth)
            case If():
                return self.condition(scope, s, depth)
            case Runtime():
                return [replace(line, depth=line.depth + depth) for line in self.calls(self, scope, s)]
            case Scan():
                called = [replace(line, depth=line.depth + depth) for line in self.calls(self, scope, s)]
                return [*called, Line("if not scanned:", depth), *self.body(scope, s.body, depth + 1)]
            case Sharpen():
                return [replace(line, depth=line.depth + depth) for line in self.sharpen(scope, s)]
            case Settle():
                return [Line(f"if {settling(self.operands, scope, s)}:", depth, _origin(s)), Line("break", depth + 1)]
        return [replace(line, depth=depth) for line in self.written(scope, s, form)]

    def condition(self, scope: Scope, s: If, depth: int) -> list[Item]:
        flag = s.flag.buffer.name
        inside = Counter(view.buffer for x in walk([s]) for view in views(x))
        written = dict.fromkeys(view.buffer for x in walk([s]) for view in writes(x))
        # What only one branch makes would have no name behind it.
        shared = [b for b in written if b not in self.begun and b.space != "scalar" and self.forms.used[b] > inside[b]]
        parts = [(f"if {flag}:", s.body), (f"if not {flag}:" if not s.body else "else:", s.orelse)]
        found: list[Item] = []
        if scope.is_top and shared:
            found.append(Allocation(tuple(map(self.allocated, shared)), depth))
            self.begun.update(shared)
        before = frozenset(self.begun)
        for head, body in parts:
            if body:
                found += [Line(head, depth), *self.body(scope, body, depth + 1)]
                self.begun.intersection_update(before)  # nor would it have one in the other branch
        return found

    def sharpen(self, scope: Scope, s: Sharpen) -> list[Item]:
        """Return the call that computes tiny remainders again, by an expression that is evaluated only then."""
        # The argument is an expression inside of a lambda, which the runtime calls only where some element is tiny; where none
        # is, nothing of it is computed.
        outer, self.operands.is_late = self.operands.ready, True
        self.operands.ready = dict(outer)
        if is_one_expression(s):
            lines = list[Item]()
            for inner in s.body:
                out = writes(inner)[0]
                self.operands.ready[out.buffer] = as_buffer(self.operands, out, expression(self.operands, scope, inner))
            argument = f"lambda: {self.operands.text(scope, s.argument)}"
        else:
            argument = self.operands.views.name("argument")
            lines = [Line(f"def {argument}():"), *self.late(scope, s)]
        self.operands.ready, self.operands.is_late = outer, False
        return [
            *lines,
            Line(f"_sharpened({self.operands.text(scope, s.out)}, _{s.function}, {argument})", origin=_origin(s)),
        ]

    def late(self, scope: Scope, s: Sharpen) -> list[Item]:
        """Return the body of a function that returns the argument of a remainder, in arrays of its own."""
        lines: list[Item] = []
        for buffer in dict.fromkeys(writes(inner)[0].buffer for inner in s.body):
            # The array is as long as the block, and has no name outside.
            self.operands.ready[buffer] = buffer.name, ATOM
            shape = as_long(whole(buffer)).buffer.shape
            lines.append(Line(f"{buffer.name} = np.empty({self.operands.names.shape(shape)}, {kind(buffer)})", 1))
        for inner in s.body:
            if isinstance(inner, Scatter):
                lines += [Line(text, 1) for text in call(self.operands, scope, inner)]
                continue
            text = expression(self.operands, scope, inner)[0]
            out = writes(inner)[0]
            target = self.operands.text(scope, permuted(out, in_order(out)))
            lines.append(Line(_assigned(target, text), 1))
        return [*lines, Line(f"return {self.operands.text(scope, s.argument)}", 1)]

    def written(self, scope: Scope, s: Statement, form: Form) -> list[Item]:
        """Return the lines of a statement that computes something, in its form."""
        buffer, o = writes(s)[0].buffer, self.operands
        is_made = form.is_new and form.kind in (forms.ASSIGN, forms.CALL)
        made: list[Item] = [Allocation((self.allocated(buffer),))] if is_made else []
        match form.kind:
            case forms.JOIN:
                return [self.named(s, join(o, scope, form.parts))]
            case forms.SCATTER:
                assert isinstance(s, Scatter)
                text = elements(o, scope, s)
                target = o.text(scope, without_repeated(s.out)) if not form.is_new else ""
                return [Line(f"np.copyto({target}, {text})", origin=_origin(s)) if target else self.named(s, text)]
            case forms.SCALAR:
                assert isinstance(s, Map)
                text = body_text(s.body, [o.part(scope, arg) for arg in s.args])[0]
                return [self.named(s, _number(s, text) if "np." in text else text)]
            case forms.ZEROS:
                return [Allocation((Allocated(buffer.name, "np.zeros", o.names.shape(buffer.shape), kind(buffer)),))]
            case forms.FOLD:
                o.ready[buffer] = expression(o, scope, s)
                return []
            case forms.DEFINE:
                text = self.forms.copied(s).format(expression(o, scope, s)[0])
                return [self.named(s, _number(s, text) if is_number(s) else text)]
            case forms.ASSIGN:
                assert isinstance(s, Map)
                s = ordered(s)
                text = body_text(s.body, [o.part(scope, arg) for arg in s.args])[0]
                return [*made, Line(_assigned(o.text(scope, s.out), text), origin=_origin(s))]
        return [*made, *(Line(code, origin=_origin(s)) for code in call(o, scope, s))]

    def named(self, s: Statement, text: str) -> Line:
        """Return the line that gives the result of a statement its name."""
        return Line(f"{writes(s)[0].buffer.name} = {text}", origin=_origin(s))

    def loop(self, scope: Scope, s: Loop, depth: int) -> list[Item]:
        inner = self.operands.views.inside(scope, s)
        body = self.body(inner, s.body, depth + 1)
        found: list[Item] = []
        if scope.is_top:
            found = [*self.measure(s, depth), self.allocations(s, depth), Head(inner, "before", depth)]
            if self.around is not None and not inner.is_rounds:
                found.insert(0, Line(self.around[0], depth))
                body.append(Line(self.around[1], depth))
        if inner.is_step:
            return [*found, Head(inner, "stepping", depth), *body]
        if s.reverse:
            # Blocks are counted from the end, so that the short one is the first in time.
            head, bounds = "for hi in range(T, 0, -K):", "lo = max(hi - K, 0)"
        else:
            head, bounds = "for lo in range(0, T, K):", "hi = min(lo + K, T)"
        inside: list[Item] = [
            Line(bounds, depth + 1),
            Line("K = hi - lo", depth + 1),
            Head(inner, "opening", depth + 1),
        ]
        return [*found, Line(head, depth), *inside, *body]

    def measure(self, s: Loop, depth: int) -> list[Item]:
        """Return the line that chooses the number of steps of a block."""
        if s.count is None:
            return []
        assert self.function.block is not None
        numbers, rows = self.function.block
        more = f", {rows}" * (rows > 0)
        call = f"K = _steps(T, B, {self.operands.names.size(numbers)}{more})"
        return [Line(f"{call:<58}  # steps in a block: what it computes stays in the cache", depth)]

    def allocations(self, s: Loop, depth: int) -> Allocation:
        """Return the allocations of the arrays that a loop uses first."""
        needed = used([s])
        new = [b for b in self.function.buffers if b in needed and b not in self.begun and b.space != "scalar"]
        self.begun.update(new)
        return Allocation(tuple(map(self.allocated, new)), depth)

    def allocated(self, buffer: Buffer) -> Allocated:
        from_workspace = self.has_workspace and is_room(buffer)
        if from_workspace:
            self.rooms.append(buffer)
        made = "ws.room" if from_workspace else "np.empty"
        return Allocated(buffer.name, made, self.operands.names.shape(buffer.shape), kind(buffer))


def _origin(s: Statement) -> int | None:
    is_fill = isinstance(s, Map) and not s.args
    return s.origin[0] if s.origin and not is_fill else None


def _number(s: Statement, text: str) -> str:
    """Return an expression as a number of Python: one of NumPy would make float64 of float32."""
    (out,) = writes(s)
    return f"{'complex' if out.buffer.dtype == 'complex' else 'float'}({text})"


def _assigned(target: str, text: str) -> str:
    """Return the statement that writes an expression into an array."""
    return f"{target} = {text}" if target.endswith("]") else f"{target}[...] = {text}"
