"""The memory of one function as NumPy runs it: what is allocated before its loops, in a step, and outside of them.

Names live until the function ends. Buffers of loops are allocated before the outermost loop that uses them; those of a block,
and residuals, come from the workspace, which keeps those that are given back.

Example of a forward sweep: the states of all steps are allocated, then residuals and buffers of a block, then in each step
what a call of the runtime needs; when it ends all but states, outputs and residuals is freed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from symbptt.codegen.loop_ir.folding import is_one_expression
from symbptt.codegen.loop_ir.joins import source_of
from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
    Algebra,
    Buffer,
    Contract,
    Function,
    Gather,
    If,
    Loop,
    Map,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    reads,
    used,
    walk,
    walked,
    writes,
)
from symbptt.codegen.loop_ir.order import is_turned, ordered
from symbptt.codegen.memory import forms
from symbptt.codegen.memory.account import LARGE, Account, Scale, Sum, terms
from symbptt.codegen.memory.calls import passed, passed_by_product
from symbptt.codegen.memory.expressions import Expressions, Folded, Value
from symbptt.codegen.memory.forms import Chosen, Form
from symbptt.ir.shape import exact_quotient, prod, size

Kept: TypeAlias = dict[Buffer, Sum]
"""The bytes of buffers that outlive a function."""
Key: TypeAlias = frozenset
"""A shape in bytes, by which the workspace finds an array again."""


@dataclass
class Pool:
    """The arrays that the workspace keeps between sweeps of a call, by their bytes; none where `keeps` is false."""

    account: Account
    keeps: bool
    free: Counter[Key] = field(default_factory=Counter)

    def take(self, amount: Sum) -> Sum:
        """Take an array: one that was given back, or a new one."""
        # `room` of the runtime finds an array by its shape and type. One of another shape is made anew beside it, and
        # the one that was given back stays with the workspace.
        key = frozenset(amount.items())
        if self.free[key]:
            self.free[key] -= 1
            return amount
        return self.account.take(amount)

    def give(self, amount: Sum) -> None:
        """Give an array back."""
        if self.keeps:
            self.free[frozenset(amount.items())] += 1
        else:
            self.account.free(amount)


REMAINDERS = {"tanh_rest": (3, 2), "sigmoid_rest": (2, 2)}
"""The number of arrays that live at once while the formula of a remainder is computed: of single precision or few elements,
and of double precision and many, where NumPy writes results into operands."""
Calls: TypeAlias = Mapping[str, Callable[["Sweep", Runtime], None]]
"""What calls of the runtime allocate, by their names."""


@dataclass
class Sweep:
    """A function while its memory is counted: what it allocated so far, and what stands in the place of one reader."""

    account: Account
    pool: Pool
    scale: Scale
    function: Function
    forms: Chosen
    calls: Calls
    scan: Callable[[Sweep, Scan], None] | None = None
    live: dict[Buffer, Sum] = field(default_factory=dict)
    rooms: set[Buffer] = field(default_factory=set)
    more: list[Sum] = field(default_factory=list)
    borrowed: list[Sum] = field(default_factory=list)
    folded: dict[Buffer, Folded] = field(default_factory=dict)

    def run(self) -> Kept:
        """Count all, and return the bytes of results and residuals."""
        f = self.function
        begun = {port.view.buffer for port in f.arguments}
        for i, form in self.forms.of(f.body, begun, True):
            self.statement(f.body[i], form)
            if isinstance(f.body[i], Loop | If | Runtime):
                begun.update(view.buffer for s in walk([f.body[i]]) for view in writes(s))
        for port in f.results:
            self.allocate(port.view.buffer)
        # Locals of Python live until their function returns, so that all that a sweep has named counts until its end,
        # though it may have read it long before.
        # Residuals go back to the workspace when the backward sweep has read them.
        lasting = {port.view.buffer for port in f.results} | {b for b in self.rooms if b.space == "residual"}
        for amount in (*self.borrowed, *(self.live[buffer] for buffer in self.rooms - lasting)):
            self.pool.give(amount)
        self.account.free(*(x for b, x in self.live.items() if b not in lasting | self.rooms), *self.more)
        return {buffer: amount for buffer, amount in self.live.items() if buffer in lasting}

    def allocate(self, buffer: Buffer) -> None:
        """Allocate a buffer of the function, unless it is there."""
        if buffer in self.live or buffer not in self.function.buffers or buffer.space == "scalar":
            return
        amount = self.scale.bytes(buffer.shape, buffer.dtype)
        if not is_room(buffer):
            self.live[buffer] = self.account.take(amount)
            return
        self.live[buffer] = self.pool.take(amount)
        self.rooms.add(buffer)

    def borrow(self, amount: Sum) -> None:
        """Count an array of the workspace that a call takes until the function ends."""
        self.pool.take(amount)
        self.borrowed.append(amount)

    def hold(self, amount: Sum) -> None:
        """Count an array of a call that lives until the function ends."""
        self.more.append(self.account.take(amount))

    def statement(self, s: Statement, form: Form) -> None:
        """Count a statement outside of loops in its form."""
        if isinstance(s, Loop | If):
            # The printer allocates what a loop uses in front of it, in one place: all of these live from there on, also
            # those that the last block alone reads.
            for buffer in used([s]):
                self.allocate(buffer)
            for x in walked([s]):
                self.step(x)
            return
        if isinstance(s, Runtime | Scan | Settle | Sharpen):
            self.step(s)
            return
        out = writes(s)[0].buffer
        match form.kind:
            case forms.JOIN:
                self._joined(form.parts)
            case forms.FOLD:
                self.folded[out] = Folded(s, dict(self.folded))
            case forms.DEFINE:
                self.live[out] = self._expressions().made(s)
            case forms.ZEROS:
                self.live[out] = self.account.take(self.scale.bytes(out.shape, out.dtype))
            case forms.SCATTER | forms.ASSIGN | forms.CALL:
                self.allocate(out)
                self._written(s, form)

    def _joined(self, copies: Sequence[Map]) -> None:
        """Count an array that others are put together in: it is made where they are, and is no array of the workspace."""
        e, out = self._expressions(), copies[0].out.buffer
        sources = [source_of(ordered(s)) for s in copies]
        values = [e.part(s, x) for s, x in zip(copies, sources, strict=True)]
        whole = self.live[out] = self.account.take(self.scale.bytes(out.shape, out.dtype))
        if any(map(is_turned, sources)):
            self.account.briefly(whole)  # it would lie transposed, and is copied
        for value in values:
            e.drop(value)

    def _written(self, s: Statement, form: Form) -> None:
        """Count a statement that writes into a buffer which is there."""
        e = self._expressions()
        if form.kind == forms.ASSIGN:
            assert isinstance(s, Map)
            e.drop(e.value(s))
            return
        parts = [e.operand(view) for view in reads(s) if view.buffer in self.folded]
        self.step(s)
        for part in parts:
            e.drop(part)

    def _expressions(self) -> Expressions:
        return Expressions(self.account, self.scale, self.folded)

    def step(self, s: Statement) -> None:
        """Count what a statement inside of loops takes for a moment."""
        match s:
            case Runtime():
                self.calls[s.name](self, s)
            case Scan():
                assert self.scan is not None
                self.scan(self, s)
            case Sharpen():
                self._sharpened(s)
            case Map():
                self.account.briefly(*passed(self.scale, s))
            case Contract():
                self.account.briefly(*passed_by_product(self.scale, s))
            case Algebra():
                self.account.briefly(self.scale.bytes(s.out.shape))
            case Scatter():
                self.account.briefly(*self._scattered(s))
            case Gather() if any(axis.of for axis in s.index.axes[-1:]):
                self.account.briefly(self.scale.bytes(s.out.shape), self.scale.bytes(s.out.shape, "index"))

    def _scattered(self, s: Scatter) -> tuple[Sum, ...]:
        """Return the arrays of a table in which rows are added up: the table, and where steps and samples add to one
        table, sums of some of its columns in double precision, and of a block of steps what is added and where."""
        own = tuple(axis.length for axis in s.out.axes if axis.of)
        table = self.scale.bytes(own)
        if len(own) == len(s.out.axes):
            return (table, self.scale.bytes(s.index.shape, "index"))
        if any(axis.of for axis in s.out.axes[: s.axis]):  # several integers of each sample: where each element goes
            return (table, self.scale.bytes(s.x.shape, "index"))
        rows = s.out.axes[s.axis].length
        count = exact_quotient(size(prod(own)), rows)
        sizes = self.scale.sizes
        some = sizes.block(count, rows, 1, 8 * rows)
        steps = sizes.block(self.scale.steps, BATCH, 4 * some, 0)
        sums = terms(sizes.of(8 * (rows * some + some)))
        return (table, sums, terms(sizes.of(16 * BATCH * some * steps)))

    def _sharpened(self, s: Sharpen) -> None:
        """Count a second computation where all elements are tiny: a mask, the argument, and arrays of the tiny ones."""
        e = self._expressions()
        # The worst case is counted, in which every element is tiny: which are is known when a module runs, and a
        # budget must hold for all data.
        tiny = self.account.take(self.scale.bytes(s.out.shape, "bool"))
        argument = self._argument(s)
        some = self.account.take(self.scale.bytes(s.out.shape))
        e.drop(argument)
        one = self.scale.bytes(s.out.shape)
        is_large = self.scale.sizes.is_double and sum(one.values()) >= LARGE
        self.account.briefly(*[one] * REMAINDERS[s.function][is_large])
        self.account.free(some, tiny)

    def _argument(self, s: Sharpen) -> Value:
        """Count the argument of a Sharpen: one expression, or arrays of a function that live until it ends."""
        folded = dict(self.folded)
        if is_one_expression(s):
            for x in s.body:
                folded[writes(x)[0].buffer] = Folded(x, dict(folded))
            return Expressions(self.account, self.scale, folded).operand(s.argument)
        e, own = self._expressions(), dict.fromkeys(writes(x)[0].buffer for x in s.body)
        arrays = {b: self.account.take(self.scale.bytes(b.shape, b.dtype)) for b in own}
        for x in s.body:
            if isinstance(x, Scatter):
                self.account.briefly(*self._scattered(x))
                continue
            e.drop(e.value(x) if isinstance(x, Map) else Value(frozenset(), e.made(x)))
        found = arrays.pop(s.argument.buffer, None)
        self.account.free(*arrays.values())
        return Value(frozenset(), found)


def is_room(buffer: Buffer) -> bool:
    """Answer whether a buffer of a loop comes from the workspace. Results must not, for later calls use it again; what one step
    needs of all samples is small."""
    is_small = BATCH in buffer.shape and not {STEPS, BLOCK} & {*buffer.shape}
    return buffer.space != "result" and not is_small and buffer.dtype in ("float", "complex")
