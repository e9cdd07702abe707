"""Three-address form: in loops each map becomes maps of one operation each, as NumPy's functions are, over temporaries.

Example: `c = f*c_prev + i*g` becomes `s = f*c_prev`, `s_1 = i*g`, `c = s + s_1`. What adds a product or a sum to something
becomes two statements. A part that is the same in all rounds of the loop is computed before it; a part of Python's
numbers alone, such as `1 - alpha`, stays a number. Maps outside of loops stay whole: they are printed as expressions.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import sympy as sp

from symbptt.codegen.loop_ir.nodes import (
    Axis,
    Buffer,
    Contract,
    Extent,
    Function,
    If,
    Loop,
    Map,
    Operand,
    Reduce,
    Scan,
    Statement,
    View,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.operators import is_condition, logistic
from symbptt.codegen.loop_ir.types import type_of
from symbptt.codegen.loop_ir.views import symbols_of
from symbptt.codegen.lower.bodies import PLUS, number, replaced
from symbptt.codegen.targets.numpy.passes.temporaries import Temporaries
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_python, indices, whole_power
from symbptt.ir.shape import symbols

TRUTHS = frozenset(("logical_and", "logical_or", "logical_not"))
"""Functions of truth values."""


def three_address(f: Function) -> Function:
    """Return a function in whose loops each map has one operation."""
    # An expression of NumPy allocates an array for each operator. In a loop that is as many allocations in each step;
    # a call with `out=` writes into an array that was made before the loop, and which is still in the cache.
    made, found = Temporaries(f), list[Statement]()
    for s in f.body:
        if isinstance(s, Loop):
            around = _Around.of(made, s)
            loop = replace(s, body=around.body(s.body))
            found += [*around.before, loop]
        else:
            found.append(s)
    return replace(f, body=tuple(found), buffers=made.all)


@dataclass
class _Around:
    """An outermost loop: the buffers that it writes, the symbols that it binds, and the statements that move before it; the truth
    values of numbers, `fresh` ones of this statement."""

    made: Temporaries
    written: frozenset[Buffer]
    bound: frozenset[sp.Symbol]
    before: list[Statement] = field(default_factory=list)
    known: dict[tuple[Tree, tuple[Operand, ...], str], View] = field(default_factory=dict)
    conditions: dict[View, View] = field(default_factory=dict)
    fresh: set[View] = field(default_factory=set)

    @staticmethod
    def of(made: Temporaries, loop: Loop) -> _Around:
        inside = [loop, *walk(loop.body)]
        # Scalars are numbers that no step changes: their statements move before the loop.
        written = frozenset(view.buffer for s in inside for view in writes(s) if not _is_scalar(view))
        bound = {symbol for s in inside if isinstance(s, Loop) for symbol in (s.index, s.count) if symbol is not None}
        return _Around(made, written, frozenset(bound))

    def body(self, body: Sequence[Statement]) -> tuple[Statement, ...]:
        """Return the statements of a body; a condition of values that were not written since is found once."""
        # A choice by a value that is a number asks whether it is zero. Both sides of a gradient of `where` ask it of
        # the same value, and what nothing has written since has the same answer.
        outer, self.conditions = self.conditions, {}
        found: list[Statement] = []
        for s in body:
            new = self.statement(s)
            changed = {view.buffer for x in walk(new) for view in writes(x)}
            kept = {k: v for k, v in self.conditions.items() if k not in self.fresh and k.buffer not in changed}
            self.conditions = kept | {k: v for k, v in self.conditions.items() if k in self.fresh}
            self.fresh.clear()
            found += new
        self.conditions = outer
        return tuple(found)

    def statement(self, s: Statement) -> Sequence[Statement]:
        match s:
            case Loop() | Scan():
                return [replace(s, body=self.body(s.body))]
            case If():
                return [replace(s, body=self.body(s.body), orelse=self.body(s.orelse))]
            case Contract() | Reduce() if s.add:
                # NumPy's products and sums overwrite `out`: to add to what is there takes a temporary and an
                # addition.
                part = self.made.like(s.out, dtype=s.out.buffer.dtype)
                return [replace(s, out=part, add=False, origin=()), Map(s.out, PLUS, (s.out, part), s.origin)]
            case Map() if _is_scalar(s.out):
                self.before.append(s)
                return []
            case Map():
                return _Split(self, s).statements()
        return [s]

    def is_fixed(self, operand: Operand) -> bool:
        """Answer whether an operand is the same in all rounds."""
        if isinstance(operand, Extent):
            return not symbols(operand.size) & self.bound
        return operand.buffer not in self.written and not symbols_of(operand) & self.bound

    def ahead(self, tree: Tree, args: tuple[Operand, ...], like: View, dtype: str) -> View:
        """Return a part that is the same in all rounds, computed once before the loop."""
        # What does not change in the loop is computed once, before it. The same part may stand in several lines, with
        # other lengths of axes along which it repeats.
        key = (tree, tuple(map(_bare, args)), dtype)
        moving = [i for i in range(len(like.axes)) if any(isinstance(a, View) and a.axes[i].of for a in args)]
        if key not in self.known:
            buffer = self.made.buffer(tuple(like.axes[i].length for i in moving), dtype)
            own = tuple(_kept(a, moving) if isinstance(a, View) else a for a in args)
            out = View(buffer, (0,) * len(moving), tuple(Axis(n, (i,)) for i, n in enumerate(buffer.shape)))
            self.before.append(Map(out, tree, own))
            self.known[key] = out
        axes = [Axis(axis.length) for axis in like.axes]
        for place, i in enumerate(moving):
            axes[i] = replace(axes[i], of=(place,))
        return replace(self.known[key], axes=tuple(axes))


def _is_scalar(view: View) -> bool:
    return view.buffer.space == "scalar" and view.buffer.dtype != "bool"


def _bare(operand: Operand) -> Operand:
    """Return an operand without the lengths of axes that repeat, which differ between places."""
    if isinstance(operand, Extent):
        return operand
    return replace(operand, axes=tuple(axis if axis.of else Axis(1) for axis in operand.axes))


def _kept(view: View, moving: Sequence[int]) -> View:
    return replace(view, axes=tuple(view.axes[i] for i in moving))


def is_number(operand: Operand) -> bool:
    """Answer whether an operand is a number of Python when the module runs."""
    return isinstance(operand, Extent) or (operand.buffer.space in ("scalar", "constant") and not operand.buffer.shape)


Part = tuple[Tree, tuple[Operand, ...]]
"""An operand of an operation: a tree over views and numbers, a formula only where it is one of numbers."""
HERE: Tree = Ref(0)


@dataclass
class _Split:
    """A map that is split: each part of its body goes into a temporary of its own, the whole where the map writes."""

    around: _Around
    s: Map
    found: list[Statement] = field(default_factory=list)

    def statements(self) -> list[Statement]:
        if self._is_plain(self.s.body):
            return [self.s]
        self._write(self.s.body, self.s.out)
        self.found[-1] = replace(self.found[-1], origin=self.s.origin)
        return self.found

    def _args(self, tree: Tree) -> tuple[Operand, ...]:
        return tuple(self.s.args[i] for i in dict.fromkeys(indices(tree)))

    def _own(self, tree: Tree) -> Part:
        """Return a tree over the operands that it reads."""
        read = list(dict.fromkeys(indices(tree)))
        return replaced(tree, lambda i: Ref(read.index(i))), self._args(tree)

    def _is_plain(self, tree: Tree) -> bool:
        return isinstance(tree, Ref) or all(map(is_number, self._args(tree)))

    def _moving(self, *parts: Part) -> set[int]:
        """Return the axes along which one of some parts does not repeat."""
        found = [arg for _, args in parts for arg in args if isinstance(arg, View)]
        return {i for view in found for i, axis in enumerate(view.axes) if axis.of}

    def _part(self, tree: Tree, dtype: str = "float") -> Part:
        """Return a part of the body: an operand or a formula of numbers as it is, all else as a temporary."""
        if self._is_plain(tree):
            return self._own(tree)
        own = self._own(tree)
        dtype = type_of(*own) if dtype == "float" else dtype
        if all(map(self.around.is_fixed, own[1])):
            return HERE, (self.around.ahead(*own, self.s.out, dtype),)
        out = self.around.made.like(self.s.out, self._moving(own), dtype)
        self._write(tree, out)
        return HERE, (out,)

    def _like(self, out: View, parts: Sequence[Part]) -> View:
        """Return a temporary for a sum, a product or a quotient of some parts, the last of which is written where the whole is."""
        kind = "complex" if "complex" in [type_of(*part) for part in parts] else "float"
        return self.around.made.like(out, self._moving(*parts), kind)

    def _add(self, make: Callable[..., Tree], parts: Sequence[Part], out: View) -> Part:
        """Add one operation on some parts; return its result as a part."""
        args: list[Operand] = []
        trees = []
        for tree, operands in parts:
            args += [operand for operand in operands if operand not in args]
            at = [args.index(operand) for operand in operands]
            trees.append(replaced(tree, lambda i, at=at: Ref(at[i])))  # type: ignore[misc]
        self.found.append(Map(*_on_axes(out, make(*trees), args)))
        return HERE, (out,)

    def _write(self, tree: Tree, out: View) -> None:
        match tree:
            case Sum(((sign, first), *rest)):
                part = self._part(first)
                if sign < 0:
                    part = self._add(_minus, [part], self._like(out, [part]) if rest else out)
                makes = [partial(_plus, sign) for sign, _ in rest]
                self._chain(part, makes, [term for _, term in rest], out)
            case Prod((first, *rest), divisors):
                over = [_over(divisor) for divisor in divisors]
                steps = [*((_times, factor) for factor in rest), *over]
                self._chain(self._part(first), [make for make, _ in steps], [other for _, other in steps], out)
            case Power(base, exponent):
                self._power(tree, self._part(base), exponent, out)
            case Call("sigmoid", (arg,)):
                self._write(logistic(arg), out)
            case Call("where", (condition, *values)):
                parts = [self._condition(condition), *map(self._part, values)]
                self._add(lambda *trees: Call("where", trees), parts, out)
            case Call(name, args):
                parts = [self._condition(arg) if name in TRUTHS else self._part(arg) for arg in args]
                self._add(lambda *trees: Call(name, trees), parts, out)
            case _:
                self._add(lambda a: a, [self._part(tree)], out)

    def _chain(self, part: Part, makes: Sequence[Callable[..., Tree]], others: Sequence[Tree], out: View) -> None:
        """Write one operation after the other on what there is so far."""
        for i, (make, other) in enumerate(zip(makes, others, strict=True)):
            next_one = self._part(other)
            if i < len(others) - 1 and all(is_number(arg) for _, args in (part, next_one) for arg in args):
                part = _joined(make, part, next_one)  # two numbers are one
                continue
            place = out if i == len(others) - 1 else self._like(out, [part, next_one])
            part = self._add(make, [part, next_one], place)

    def _condition(self, tree: Tree) -> Part:
        """Return a condition as a view of truth values."""
        if is_condition(tree):
            return self._part(tree, "bool")
        if isinstance(tree, Ref) and isinstance(view := self.s.args[tree.index], View) and view.buffer.dtype == "bool":
            return self._own(tree)
        part = self._part(tree)
        test = Call("not_equal", (Ref(0), Num(sp.S.Zero)))
        # What is read tells, not the part: a temporary that this statement makes is written in each round.
        if all(map(self.around.is_fixed, self._args(tree))):
            tree = replaced(test, lambda _: part[0])
            return HERE, (self.around.ahead(tree, part[1], self.s.out, "bool"),)
        (numbers,) = part[1]
        assert isinstance(numbers, View)
        if numbers not in self.around.conditions:
            out = self.around.made.like(self.s.out, self._moving(part), "bool")
            self.around.conditions[numbers] = out
            self.around.fresh.add(numbers)
            self._add(lambda a: Call("not_equal", (a, Num(sp.S.Zero))), [part], out)
        return HERE, (self.around.conditions[numbers],)

    def _power(self, tree: Tree, base: Part, exponent: Tree, out: View) -> None:
        """Write a power: a whole one by squares and products, for NumPy's `power` takes as long as many of them."""
        count = whole_power(tree)
        if not count:
            self._add(lambda a, b: Power(a, b), [base, self._part(exponent)], out)
            return
        # Square and multiply from the second highest bit on: x**5 (101) is square, square, multiply.
        squares = [is_square for bit in bin(count)[3:] for is_square in (True, False)[: 1 + int(bit)]]
        part = base
        for i, is_square in enumerate(squares):
            place = out if i == len(squares) - 1 else self._like(out, [base])
            part = self._add(_square, [part], place) if is_square else self._add(_times, [part, base], place)


def _on_axes(out: View, body: Tree, args: Sequence[Operand]) -> tuple[View, Tree, tuple[Operand, ...]]:
    """Return a map into a temporary that repeats along some axes, without these axes: it is computed once along them."""
    moving = [i for i, axis in enumerate(out.axes) if axis.of]
    if len(moving) == len(out.axes):
        return out, body, tuple(args)
    return _kept(out, moving), body, tuple(_kept(arg, moving) if isinstance(arg, View) else arg for arg in args)


def _joined(make: Callable[..., Tree], a: Part, b: Part) -> Part:
    args = [*dict.fromkeys((*a[1], *b[1]))]
    trees = [replaced(tree, lambda i, own=own: Ref(args.index(own[i]))) for tree, own in (a, b)]  # type: ignore[misc]
    tree = make(*trees)
    value = None if args else _value(tree)
    return (tree, tuple(args)) if value is None or not cmath.isfinite(value) else (number(value), ())


def _value(tree: Tree) -> complex | None:
    """Return the value of an operation on literals; nothing for a division by zero, which is left to the module."""
    match tree:
        case Num(value):
            return as_python(value)
        case Sum(terms):
            found = [(sign, _value(term)) for sign, term in terms]
            return None if any(x is None for _, x in found) else sum(sign * x for sign, x in found if x is not None)
        case Prod(factors, divisors):
            above, below = ([_value(x) for x in part] for part in (factors, divisors))
            if None in above or None in below or 0 in below:
                return None
            over = math.prod(x for x in below if x is not None)
            product = math.prod(x for x in above if x is not None)
            return product / over if below else product
    return None


def _over(divisor: Tree) -> tuple[Callable[..., Tree], Tree]:
    """Return the operation that divides: by a power of two it is a multiplication, which is faster and exact."""
    if isinstance(divisor, Num) and divisor.value.is_Integer and int(divisor.value).bit_count() == 1:
        return _times, Num(sp.Float(1 / int(divisor.value)))
    return _divided, divisor


def _minus(a: Tree) -> Tree:
    return Sum(((-1, a),))


def _square(a: Tree) -> Tree:
    return Power(a, Num(sp.Integer(2)))


def _plus(sign: int, a: Tree, b: Tree) -> Tree:
    return Sum(((1, a), (sign, b)))


def _times(a: Tree, b: Tree) -> Tree:
    return Prod((a, b))


def _divided(a: Tree, b: Tree) -> Tree:
    return Prod((a,), (b,))
