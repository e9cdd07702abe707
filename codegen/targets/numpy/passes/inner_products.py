"""Sums of elementwise products over last axes as products of rows, which need no array for the elementwise product.

Example: `s = a * b; r = sum of s along its last axis` becomes `contract r = a · b "ab,ab->a"`, which is one call of
`np.vecdot`. Of three factors the first two are multiplied before; of a square both operands are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    Buffer,
    Contract,
    Function,
    Loop,
    Map,
    Operand,
    Reduce,
    Statement,
    View,
    views,
    walk,
)
from symbptt.codegen.loop_ir.rewrite import with_parts
from symbptt.codegen.lower.bodies import replaced
from symbptt.codegen.targets.numpy.passes.temporaries import Temporaries
from symbptt.ir.node import Product
from symbptt.ir.scalar import Num, Power, Prod, Ref, Tree, indices


def inner_products(f: Function) -> Function:
    """Return a function in whose loops sums of products over last axes are products."""
    pass_ = _Pass(Temporaries(f), Counter(view.buffer for s in walk(f.body) for view in views(s)))
    body = tuple(
        with_parts(s, lambda x: x, lambda inner: pass_.body(inner)) if isinstance(s, Loop) else s for s in f.body
    )
    return replace(f, body=body, buffers=pass_.made.all)


@dataclass
class _Pass:
    """The temporaries of the function, and how often statements name each buffer."""

    made: Temporaries
    uses: Counter[Buffer]

    def body(self, body: Sequence[Statement]) -> tuple[Statement, ...]:
        found, waiting = list[Statement](), [with_parts(s, lambda x: x, self.body) for s in body]
        while waiting:
            s = waiting.pop(0)
            pair = self._pair(s, waiting[0]) if waiting else None
            if pair is None:
                found.append(s)
            else:
                found += self._product(s, waiting.pop(0), pair)  # type: ignore[arg-type]
        return tuple(found)

    def _pair(self, s: Statement, then: Statement) -> tuple[Tree, Tree] | None:
        """Return the two factors of a map whose sum over its last axes the next statement is, else None."""
        if not (isinstance(s, Map) and isinstance(then, Reduce)):
            return None
        # The elementwise product is as large as its operands, written and read once for the sake of a sum. Products
        # of rows add up as they multiply.
        is_read = then.x == s.out and s.out.buffer.space in ("temporary", "block") and self.uses[s.out.buffer] == 2
        last = tuple(range(len(s.out.axes) - len(then.axes), len(s.out.axes)))
        pair = _factors(s.body) if is_read and then.kind == "sum" and tuple(sorted(then.axes)) == last else None
        # A factor that repeats along an axis would be summed there once too often to be worth an array of its own.
        return pair if pair is not None and all(_is_full(s, tree) for tree in pair) else None

    def _product(self, s: Map, then: Reduce, pair: tuple[Tree, Tree]) -> list[Statement]:
        found: list[Statement] = []
        sides = [self._side(s, tree, found) for tree in dict.fromkeys(pair)]
        labels = tuple(range(len(s.out.axes)))
        product = Product(labels, labels, labels[: len(labels) - len(then.axes)])
        return [*found, Contract(then.out, sides[0], sides[-1], product, then.add, then.origin)]

    def _side(self, s: Map, tree: Tree, found: list[Statement]) -> View:
        """Return a factor as a view: an operand, or a temporary into which it is written."""
        if isinstance(tree, Ref):
            operand = s.args[tree.index]
            assert isinstance(operand, View)
            return operand
        read = list(dict.fromkeys(indices(tree)))
        out = self.made.like(s.out, dtype=s.out.buffer.dtype)
        args: tuple[Operand, ...] = tuple(s.args[i] for i in read)
        found.append(Map(out, replaced(tree, lambda i: Ref(read.index(i))), args))
        return out


def _factors(tree: Tree) -> tuple[Tree, Tree] | None:
    match tree:
        case Power(base, Num(value)) if value == sp.Integer(2):
            return base, base
        case Prod((first, second), ()):
            return first, second
        case Prod((*rest, final), ()) if rest:
            return Prod(tuple(rest), ()), final
    return None


def _is_full(s: Map, tree: Tree) -> bool:
    """Answer whether a factor has all axes of the map, so that the product of rows needs no repetition."""
    args = [s.args[i] for i in indices(tree)]
    moving = [{i for i, axis in enumerate(arg.axes) if axis.of} for arg in args if isinstance(arg, View)]
    full = {i for i, n in enumerate(s.out.shape) if n != 1}
    # Truth values would be multiplied as such.
    return full <= set().union(*moving) and all(isinstance(arg, View) and arg.buffer.dtype == "float" for arg in args)
