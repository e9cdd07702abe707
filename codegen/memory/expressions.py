"""The memory of statements outside of loops, which NumPy computes as expressions: the arrays of their parts live until the
operator above has read them.

Example: of `1 / (1 + exp(-x))` the array of -x and that of its exponential live at once; 1 + ... is a new array, for NumPy
writes the result of an operator into an operand only where that is large and the other operand no plain number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.codegen.loop_ir.joins import is_opposite
from symbptt.codegen.loop_ir.nodes import (
    Algebra,
    Buffer,
    Contract,
    Cumulate,
    Extent,
    Gather,
    Map,
    Operand,
    Reduce,
    Statement,
    View,
    reads,
    writes,
)
from symbptt.codegen.loop_ir.operators import AS_NUMBER, Op, Operator, operators
from symbptt.codegen.loop_ir.order import is_turned, ordered, without_repeated
from symbptt.codegen.loop_ir.views import is_whole
from symbptt.codegen.memory.account import Account, Scale, Sum
from symbptt.codegen.memory.calls import buffers, is_one_row, sums
from symbptt.ir.scalar import Num, Ref
from symbptt.ir.shape import Shape

EASY = (-1, 0.5, 1, 2)
"""The exponents of powers whose result NumPy writes into the base where nothing else reads that."""
PLACES = {"negative": 1, "add": 2, "subtract": 1, "multiply": 2, "divide": 1}
"""The number of operands, from the first one on, into which NumPy may write the result of an operator; others have none."""


@dataclass(frozen=True)
class Value:
    """A part of an expression: the axes along which it moves, the bytes of its array where nothing else reads that, and
    whether it is a number. A `free` array may be written over: it is no view of another one. NumPy steps evenly through
    what is `even`."""

    axes: frozenset[int]
    own: Sum | None = None
    is_number: bool = False
    is_free: bool = True
    is_even: bool = True


@dataclass(frozen=True)
class Folded:
    """A statement whose expression stands where what it writes is read, and those that stand in it."""

    statement: Statement
    inner: Mapping[Buffer, Folded]


@dataclass(frozen=True)
class Expressions:
    """The account in which expressions are counted, the sizes, and the statements whose expressions stand where what they
    write is read, by what they write."""

    account: Account
    scale: Scale
    folded: Mapping[Buffer, Folded]

    def made(self, s: Statement) -> Sum:
        """Count what a statement takes, and return the bytes of its result, which live on."""
        out = writes(s)[0]
        whole = self.scale.bytes(out.buffer.shape, out.buffer.dtype)
        match s:
            case Map():
                value = self.value(s)
                if value.own is None or value.own != whole:
                    # A copy, or a value that is spread over axes along which it does not move.
                    self.account.take(whole)
                    self.drop(value)
                return whole
            case Contract() | Reduce() | Gather() | Cumulate() | Algebra():
                parts = [self.operand(view) for view in reads(s) if view != out]
                self.account.take(whole)
                for part in parts:
                    self.drop(part)
                return whole
        raise AssertionError(s)

    def drop(self, value: Value) -> None:
        """Free the array of a part that was read."""
        if value.own is not None:
            self.account.free(value.own)

    def operand(self, operand: Operand) -> Value:
        """Return an operand: a buffer, or the expression that stands in its place."""
        if isinstance(operand, Extent):
            return Value(frozenset(), is_number=True)
        axes = frozenset(i for i, axis in enumerate(operand.axes) if axis.of)
        if operand.buffer in self.folded:
            part = self.folded[operand.buffer]
            # A sum of products over several axes of samples is one of rows, of which the value is a view.
            s = part.statement
            is_rows = isinstance(s, Contract) and len(s.out.axes) > 2 and sums(s)
            # So is a part of it, and all of it with its axes exchanged: NumPy writes into no view of a temporary.
            is_all = is_whole(without_repeated(operand))
            is_even = is_all or self._is_even(operand)
            own = replace(self, folded=part.inner).made(s)
            return Value(axes, own, is_free=is_all and not is_rows, is_even=is_even)
        is_number = not operand.buffer.shape and operand.buffer.space in ("scalar", "constant")
        return Value(axes, is_number=is_number, is_even=self._is_even(operand))

    def part(self, s: Map, source: View) -> Value:
        """Return what is copied as a part of an array that others are put together in, or its opposite."""
        value = self.operand(source)
        return self.over([value], source.shape, PLACES["negative"]) if is_opposite(s) else value

    def _is_even(self, view: View) -> bool:
        """Answer whether NumPy steps evenly through a view when it steps through the result in its order."""
        return is_one_row(self.scale, view) and not is_turned(view)

    def value(self, s: Map) -> Value:
        """Return the value of the body of a map, whose axes are in the order in which what it writes lies in memory."""
        s = ordered(s)

        def is_variable(i: int) -> bool:
            arg = s.args[i]
            return isinstance(arg, Extent) or arg.buffer not in self.folded

        return self.operator(operators(s.body, is_variable), s.args, s.out.shape)

    def operator(self, x: Operator, args: Sequence[Operand], shape: Shape) -> Value:
        """Return the value of an operator."""
        match x:
            case Num():
                return Value(frozenset(), is_number=True)
            case Ref(index):
                return self.operand(args[index])
            case Op(name, parts):
                # An operator that gives truths the type of the data makes no array that is counted.
                values = [self.operator(part, args, shape) for part in parts]
                is_easy = name == "power" and isinstance(parts[1], Num) and parts[1].value in EASY
                count = 1 if is_easy else PLACES.get(name, 0)
                return values[0] if name == AS_NUMBER else self.over(values, shape, count, is_easy)
        raise AssertionError(x)

    def over(self, parts: Sequence[Value], shape: Shape, count: int, is_easy: bool = False) -> Value:
        """Return the result of an operator, which NumPy may write into one of its first `count` operands."""
        axes = frozenset[int]().union(*(part.axes for part in parts))
        if all(part.is_number for part in parts):
            return Value(axes, is_number=True)
        new = self.scale.bytes(tuple(n for i, n in enumerate(shape) if i in axes))
        # A plain number counts as one in double precision, which does not go into an array of single precision.
        # NumPy elides a temporary under conditions that its source tells: the operand is a temporary of the same
        # shape and type that nothing else holds, it is large, and the operator may write there. That is what is asked
        # here.
        fits = is_easy or self.scale.sizes.is_double or not any(part.is_number for part in parts)
        alike = all(part.axes == axes or not part.axes for part in parts)
        free = (part for part in parts[:count] if part.own == new and part.is_free)
        place = next(free, None) if fits and alike else None
        if place is not None:
            self.account.note()
        self.account.take(new)
        if place is not None:
            # Where the operand is small both arrays live at once.
            self.account.note(sp.sympify(sum(product * factor for product, factor in new.items())))
        lengths = tuple(n for i, n in enumerate(shape) if i in axes)
        uneven = sum(bool(part.axes) and (part.axes != axes or not part.is_even) for part in parts)
        self.account.briefly(*buffers(self.scale, lengths, uneven))
        for part in parts:
            self.drop(part)
        return Value(axes, new)
