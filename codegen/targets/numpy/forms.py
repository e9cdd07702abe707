"""The form in which each statement is written: a new name for an expression, a part of a later expression, a call that writes
into an array. The printer writes these forms and the plan counts them, so that they cannot differ.

Example: of `s = W · x; map a = s + b; map y[0] = a; map y[1] = b` outside of loops s is folded into the expression of a, which
is defined, and both copies are one join, `y = np.stack([a, b])`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from symbptt.codegen.loop_ir.folding import foldable, moves_along_all
from symbptt.codegen.loop_ir.joins import joined
from symbptt.codegen.loop_ir.nodes import (
    Algebra,
    Buffer,
    Contract,
    Cumulate,
    Extent,
    Function,
    Gather,
    If,
    Loop,
    Map,
    Reduce,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    View,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.operators import is_condition, tree_operations
from symbptt.codegen.loop_ir.order import covers, is_turned, ordered, without_repeated
from symbptt.codegen.memory.forms import ASSIGN, CALL, DEFINE, FOLD, JOIN, SCALAR, SCATTER, ZEROS, Form
from symbptt.codegen.targets.numpy.operands import of_numbers
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.ir.scalar import Call, Num, Ref

PLAIN = "{}"
"""The text around an expression that needs no copy."""
OTHERS = (Loop, If, Runtime, Settle, Sharpen, Scan)
"""Statements whose form does not depend on the place."""


@dataclass(frozen=True)
class Forms:
    """The forms of the statements of a function."""

    function: Function

    @cached_property
    def folded(self) -> frozenset[Buffer]:
        """The temporaries whose expression stands where they are read."""
        return foldable(self.function)

    @cached_property
    def written(self) -> Counter[Buffer]:
        """How many statements write each buffer."""
        return Counter(view.buffer for s in walk(self.function.body) for view in writes(s))

    @cached_property
    def used(self) -> Counter[Buffer]:
        """How often statements read or write each buffer, and what is returned once more."""
        given = (port.view.buffer for port in self.function.results)
        return Counter(view.buffer for s in walk(self.function.body) for view in views(s)) + Counter(given)

    def of(self, body: Sequence[Statement], begun: set[Buffer], is_top: bool) -> Iterator[tuple[int, Form]]:
        """Yield the places of the statements that are written, each with its form; `is_top`: outside of loops. The buffers that
        have a name by now are `begun`, to which those are added that a form makes."""
        i = 0
        while i < len(body):
            parts = joined(body[i:], begun) if is_top else ()
            if parts:
                form, at, i = Form(JOIN, parts), i + len(parts) - 1, i + len(parts)
            elif i + 1 < len(body) and _is_filled(body[i], body[i + 1]):
                out = without_repeated(writes(body[i + 1])[0])
                is_new = is_top and covers(out) and out.buffer not in begun
                form, at, i = Form(SCATTER, is_new=is_new), i + 1, i + 2
            else:
                is_plain = is_top and not isinstance(body[i], OTHERS)
                form, at, i = self._form(body[i], begun) if is_plain else Form(CALL), i, i + 1
            if form.kind in (JOIN, ZEROS, DEFINE) or form.is_new:
                begun.add(writes(body[at])[0].buffer)
            yield at, form

    def _form(self, s: Statement, begun: set[Buffer]) -> Form:
        """Return the form of a statement outside of loops."""
        out = writes(s)[0]
        if out.buffer.space == "scalar":
            return Form(SCALAR)
        if _is_zero(s) and covers(out) and out.buffer not in begun:
            return Form(ZEROS)
        if out.buffer in begun or not self._may_define(s):
            is_expression = isinstance(s, Map) and not _is_call(s)
            return Form(ASSIGN if is_expression else CALL, is_new=out.buffer not in begun)
        return Form(FOLD if out.buffer in self.folded else DEFINE)

    def _may_define(self, s: Statement) -> bool:
        """Answer whether the result of a statement is the whole of a buffer, as NumPy makes it."""
        out = writes(s)[0]
        if (
            not isinstance(s, Map | Contract | Reduce | Gather | Cumulate | Algebra)
            or not covers(out)
            or getattr(s, "add", False)
        ):
            return False
        if not out.buffer.shape and self.written[out.buffer] > 1:
            return False  # NumPy's numbers cannot be written into
        if isinstance(s, Map):
            # Where an expression is smaller than the buffer, that is allocated and filled by broadcasting.
            return isinstance(s.body, Num) or moves_along_all(s)
        return not isinstance(s, Contract) or (call_of(s).function != "einsum" and _moves(s))

    def copied(self, s: Statement) -> str:
        """Return the text around the expression of a new array, which copies what would be another's memory, or lies in another
        order than the buffer; without a copy that of the expression alone."""
        if not isinstance(s, Map):
            return PLAIN
        sources = [arg for arg in ordered(s).args if isinstance(arg, View)]
        turned = any(map(is_turned, sources))
        if s.body != Ref(0) or not sources:
            return "np.ascontiguousarray({})" if turned else PLAIN
        # The memory of an argument, which nothing writes, may be shared by a temporary.
        given = sources[0].buffer in {port.view.buffer for port in self.function.arguments}
        is_shared = s.out.buffer.space == "temporary" and given and self.written[s.out.buffer] == 1
        if turned:
            return "np.ascontiguousarray({})" if is_shared else 'np.array({}, order="C")'
        return "np.array({})"


def is_number(s: Statement) -> bool:
    """Answer whether a statement computes one number from sizes and numbers alone, which a backward sweep may read as a residual."""
    return (
        isinstance(s, Map)
        and not s.out.buffer.shape
        and s.out.buffer.space == "residual"
        and all(isinstance(x, Extent) or (x.buffer.space == "scalar" and not x.buffer.shape) for x in s.args)
        and bool(s.args)
    )


def _is_zero(s: Statement) -> bool:
    return isinstance(s, Map) and s.body == Num(sp.S.Zero)


def _is_filled(s: Statement, then: Statement) -> bool:
    """Answer whether a statement fills with zeros what the next one scatters into."""
    return _is_zero(s) and isinstance(then, Scatter) and writes(s)[0] == without_repeated(then.out)


def _is_call(s: Map) -> bool:
    """Answer whether a map outside of loops is one operation that can be written as a call."""
    is_choice = is_condition(s.body) or (isinstance(s.body, Call) and s.body.name == "where")
    return tree_operations(s.body) == 1 and bool(s.out.axes) and not is_choice and not of_numbers(s.body, s.args)


def _moves(s: Contract) -> bool:
    """Answer whether an operand of a product moves along every axis of its result: NumPy's function alone makes no axis along which
    both repeat."""
    sides = ((s.a, s.labels.a), (s.b, s.labels.b))
    moving = {label for view, labels in sides for axis, label in zip(view.axes, labels, strict=True) if axis.of}
    return {*s.labels.out} <= moving
