"""The memory of calls of NumPy in loops, which write into buffers: what NumPy passes through buffers of its own.

An operand whose elements do not lie in one row, in the order of the result, is read through a buffer; so is one of another
type. Example: of `np.add(b, x, out=y)` with b of (n,) and x, y of (B, n) the first is read through a buffer, for its rows
repeat.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BLOCK, Contract, Map, View
from symbptt.codegen.loop_ir.views import stride
from symbptt.codegen.memory.account import ITEM, Scale, Sum, terms
from symbptt.ir.scalar import Call, Num, Ref
from symbptt.ir.shape import Shape, Size, prod, size

MANY = 10**3
"""The value of all sizes by which strides are compared."""


def passed(scale: Scale, s: Map) -> tuple[Sum, ...]:
    """Return the buffers through which NumPy passes operands and the result of a call."""
    if isinstance(s.body, Num | Ref) or (isinstance(s.body, Call) and s.body.name in ("where", "stop_gradient")):
        return ()  # a fill, a copy and a choice are no ufuncs
    uneven = sum(_is_uneven(scale, s, arg) for arg in s.args if isinstance(arg, View))
    uneven += _is_uneven(scale, s, s.out)
    return buffers(scale, s.out.shape, uneven)


def passed_by_product(scale: Scale, s: Contract) -> tuple[Sum, ...]:
    """Return the buffers of a product that sums over nothing, which is a ufunc with operands that repeat."""
    if sums(s):
        return ()
    sides = ((s.a, s.labels.a), (s.b, s.labels.b))
    uneven = sum(bool(labels) and (set(labels) != set(s.labels.out) or not is_one_row(scale, x)) for x, labels in sides)
    return buffers(scale, s.out.shape, uneven + (not is_one_row(scale, s.out)))


def sums(s: Contract) -> bool:
    """Answer whether a product sums over something, and is more than one element by element."""
    return any(label not in s.labels.out for label in s.labels.a)


def buffers(scale: Scale, shape: Shape, count: int) -> tuple[Sum, ...]:
    """Return the bytes of so many buffers for a call on a shape."""
    if not count:
        return ()
    return (terms(scale.sizes.of(scale.sizes.buffer(scale.size(prod(shape))) * ITEM)),) * count


def _is_uneven(scale: Scale, s: Map, view: View) -> bool:
    if not view.buffer.shape:
        return False
    return view.buffer.dtype != s.out.buffer.dtype or not is_one_row(scale, view)


def is_one_row(scale: Scale, view: View) -> bool:
    """Answer whether NumPy steps evenly through a view, whatever the order of its axes is."""
    return _is_one_row(view, scale.counts)


@lru_cache(2**12)
def _is_one_row(view: View, counts: frozenset[sp.Symbol]) -> bool:
    # A short block counts as a whole one.
    whole = dict.fromkeys(counts, BLOCK)
    # NumPy sorts and joins axes before it runs a loop over elements. Where the longest step is that of the next axis
    # times its length, and so on, all are one row and need no buffer.
    moves = [(axis.length, stride(view, axis)) for axis in view.axes if axis.length != 1]
    moves.sort(key=lambda move: -_value(move[1]))
    same = (size(sp.sympify(a - n * b).xreplace(whole)) == 0 for (_, a), (n, b) in pairwise(moves))
    return all(same)


def _value(stride: Size) -> int:
    if isinstance(stride, int):
        return stride
    return int(stride.xreplace(dict.fromkeys(stride.free_symbols, sp.Integer(MANY))))
