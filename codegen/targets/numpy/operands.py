"""The operands of statements as text: a view as its mark or, where its buffer is a part of an expression, as that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from symbptt.codegen.loop_ir.nodes import BLOCK, Buffer, Extent, Operand, View
from symbptt.codegen.loop_ir.types import type_of
from symbptt.codegen.loop_ir.views import is_whole
from symbptt.codegen.lower.frame import COUNT
from symbptt.codegen.targets.numpy.index import Groups, Names, Shown, view_text
from symbptt.codegen.targets.numpy.passes.three_address import is_number
from symbptt.codegen.targets.numpy.scalar_text import body_text
from symbptt.codegen.targets.numpy.views import Scope, Views
from symbptt.codegen.targets.python.text import ATOM, Written, bracket
from symbptt.ir.scalar import Ref, Tree, indices


@dataclass
class Operands:
    """The names of sizes, the views of a function, and the expressions that are `ready`: they take the place of temporaries which
    one statement reads. `is_late` is true inside an expression that is evaluated only if it is needed."""

    names: Names
    views: Views
    ready: dict[Buffer, Written] = field(default_factory=dict)
    is_late: bool = False

    def text(self, scope: Scope, view: View, groups: Groups | None = None) -> str:
        """Return the mark of a view, or its expression, where its buffer is one."""
        written = self.ready.get(view.buffer)
        if written is not None:
            return view_text(Shown(as_long(view), groups), self.names, bracket(written, ATOM))
        return self.views.mark(scope, Shown(view, groups), self.is_late)

    def part(self, scope: Scope, operand: Operand) -> Written:
        """Return an operand of a map."""
        if isinstance(operand, Extent):
            return self.names.written(operand.size)
        written = self.ready.get(operand.buffer)
        if written is not None and is_whole(as_long(operand)):
            return written
        return self.text(scope, operand), ATOM

    def number(self, scope: Scope, tree: Tree, args: Sequence[Operand]) -> str:
        """Return a formula of numbers; in the loop over steps as an array without axes, which calls take faster."""
        text = body_text(tree, [self.part(scope.top, arg) for arg in args])[0]
        return self.views.constant(scope, text, type_of(tree, args)) if scope.is_step else text

    def argument(self, scope: Scope, tree: Tree, args: Sequence[Operand]) -> str:
        """Return an operand of a call."""
        if of_numbers(tree, args):
            return self.number(scope, tree, args)
        assert isinstance(tree, Ref), tree
        return self.part(scope, args[tree.index])[0]


def of_numbers(tree: Tree, args: Sequence[Operand]) -> bool:
    """Answer whether a tree is a formula of numbers of Python."""
    return all(is_number(args[i]) for i in indices(tree))


def as_long(view: View) -> View:
    """Return a view of a temporary that is an expression: that is as long as the block."""
    shape = tuple(COUNT if n == BLOCK else n for n in view.buffer.shape)
    return replace(view, buffer=replace(view.buffer, shape=shape))
