"""The reference interpreter: a function of the loop IR on arrays with elements of any kind.

It is slow and plain on purpose: every target is compared with it, and a proof runs it over fractions, SymPy's numbers
or elements of a finite field. An `Arithmetic` defines the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any

import numpy as np
import sympy as sp
from numpy.lib.stride_tricks import as_strided

from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
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
    Operand,
    Reduce,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    View,
)
from symbptt.dense import of_matrices
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, as_sympy, whole_power
from symbptt.ir.shape import Shape, Size
from symbptt.settling import ROUNDING, has_settled, largest

Env = Mapping[sp.Symbol, int]


@dataclass(frozen=True)
class Arithmetic:
    """The elements of float buffers.

    `dtype` is that of their arrays ("object" for elements that NumPy does not know), `number` makes an element of a
    SymPy number, `functions` has the elementwise functions by name, of arrays. A remainder under `least` is computed
    again, by `again`, from the argument of the function. `runtime` are the functions of a runtime, of the arrays that
    they write and those that they read. `array` makes an array of floats one of the class that computes with the elements.
    `settled` writes new values of a fixed point over old ones and answers whether they have settled, given the number of the round, the
    greatest one, whether the body is affine, and how many axes of steps and samples come first; without it floats are compared.
    """

    dtype: Any
    number: Callable[[sp.Expr], Any]
    functions: Mapping[str, Callable[..., Any]]
    least: float = 0.0
    again: Mapping[str, Callable[[Any], Any]] | None = None
    runtime: Mapping[str, Callable[..., None]] = field(default_factory=dict)
    array: Callable[[Any], Any] = lambda x: x
    settled: Callable[[Sequence[tuple[Any, Any]], int, int, bool, int], bool] | None = None


def run(
    function: Function,
    given: Mapping[tuple[str, str], Any],
    sizes: Mapping[str, int],
    steps: int,
    samples: int,
    arithmetic: Arithmetic,
    block: int = 1,
) -> dict[tuple[str, str], Any]:
    """Return the results of a function, and its residuals, by group and name.

    `given` are its arguments likewise, with all axes that they have in the function; `block` is the number of steps of
    a block.
    """
    env: dict[sp.Symbol, int] = {symbol: sizes[symbol.name] for symbol in function.sizes}
    # Sizes are numbers here and symbols everywhere else: what an index does wrong for one size in a hundred is found
    # by running several, and by the check of each view against its array.
    machine = _Machine(arithmetic, env | {STEPS: steps, BATCH: samples, BLOCK: block})
    for port in function.arguments:
        machine.take(port.view.buffer, given[port.group, port.name])
    for constant in function.constants:
        values = np.vectorize(lambda v: arithmetic.number(as_sympy(v)), otypes=[arithmetic.dtype])(constant.values)
        machine.take(constant.buffer, np.broadcast_to(values, machine.shape(constant.buffer.shape)))
    for buffer in function.buffers:
        machine.make(buffer)
    machine.run(function.body)
    found = {(port.group, port.name): machine.read(port.view) for port in function.results}
    kept = {("residual", b.name): machine.arrays[b.name] for b in function.buffers if b.space == "residual"}
    return found | kept


class _Machine:
    """The arrays of a run by the names of their buffers, and the values of sizes and indices."""

    def __init__(self, arithmetic: Arithmetic, env: Env) -> None:
        self.arithmetic, self.env, self.sizes = arithmetic, dict(env), frozenset(env)
        self.still: dict[View, Any] = {}
        """The elements of views that no index of a loop moves."""
        self.arrays: dict[str, Any] = {}
        self.settled = False

    def take(self, buffer: Buffer, value: Any) -> None:
        """Store an argument as a contiguous array of its buffer's type."""
        # `ascontiguousarray` makes an array of one element of a number, which the reshape undoes.
        array = np.ascontiguousarray(value, dtype=self._dtype(buffer)).reshape(np.shape(value))
        shape = self.shape(buffer.shape)
        assert array.shape == shape, f"{buffer.name}: {shape} is expected, got {array.shape}"
        self.arrays[buffer.name] = array

    def make(self, buffer: Buffer) -> None:
        """Allocate a buffer with elements that spoil every result which reads them."""
        array = np.empty(self.shape(buffer.shape), self._dtype(buffer))
        # A read before a write shows as nan, or as an error of arithmetic with None.
        array.fill(None if array.dtype == object else np.nan if array.dtype.kind in "fc" else 0)
        self.arrays[buffer.name] = array

    def _dtype(self, buffer: Buffer) -> Any:
        return {"float": self.arithmetic.dtype, "index": np.intp, "bool": bool}[buffer.dtype]

    def size(self, value: Size) -> int:
        return evaluated(value, self.env)

    def shape(self, value: Shape) -> tuple[int, ...]:
        return tuple(self.size(item) for item in value)

    def read(self, view: View) -> Any:
        """Return the elements of a view, as an array that shares their memory."""
        if view in self.still:
            return self.still[view]
        found = strided(self.arrays[view.buffer.name], *self.place(view))
        found = self.arithmetic.array(found) if view.buffer.dtype == "float" else found
        if view.symbols <= self.sizes:
            self.still[view] = found
        return found

    def place(self, view: View) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[tuple[int, ...], int]]]:
        """Return the start of a view, its shape, and the axes and the step along which each of its axes moves."""
        moves = [(axis.of, self.size(axis.step)) for axis in view.axes]
        return self.shape(view.start), self.shape(view.shape), moves

    def run(self, statements: Sequence[Statement]) -> None:
        for s in statements:
            self.step(s)

    def step(self, s: Statement) -> None:
        match s:
            case Map():
                self._map(s)
            case Contract():
                self._write(s.out, self._contract(s), s.add)
            case Reduce():
                x = self.read(s.x)
                self._write(s.out, self._sum(x, s.axes) if s.kind == "sum" else np.maximum.reduce(x, s.axes), s.add)
            case Gather():
                # `take_along_axis` wants an index with as many axes as the table.
                index = np.expand_dims(self.read(s.index), s.axis)
                self._write(s.out, np.take_along_axis(self.read(s.table), index, s.axis).squeeze(s.axis), False)
            case Scatter():
                out, x, index = self.read(s.out), self.read(s.x), self.read(s.index)
                # One element after the other: fancy indexing would add equal indices only once.
                for i in np.ndindex(x.shape):
                    at = (*i[: s.axis], int(index[i]), *i[s.axis :])
                    out[at] = out[at] + x[i]
            case Cumulate():
                x = np.flip(self.read(s.x), s.axis) if s.reverse else self.read(s.x)
                found = np.add.accumulate(x, s.axis)
                self._write(s.out, np.flip(found, s.axis) if s.reverse else found, False)
            case Algebra():
                self._write(s.out, of_matrices(s.name, *map(self.read, s.args)), False)
            case Sharpen():
                self._sharpen(s)
            case Loop():
                self._loop(s)
            case Settle():
                self._settle(s)
            case Scan():
                self._scan(s)
            case If():
                self.run(s.body if self.read(s.flag)[()] else s.orelse)
            case Runtime():
                self.arithmetic.runtime[s.name]([*map(self.read, s.out)], [*map(self.operand, s.args)])

    def _write(self, view: View, value: Any, add: bool) -> None:
        out = self.read(view)
        out[...] = np.add(out, value) if add else value

    def operand(self, operand: Operand) -> Any:
        """Return the elements of an operand; a size is an element of the arithmetic."""
        if isinstance(operand, Extent):
            return self.arithmetic.number(sp.Integer(self.size(operand.size)))
        return self.read(operand)

    def _map(self, s: Map) -> None:
        value = tree_value(s.body, [self.operand(arg) for arg in s.args], self.arithmetic)
        # Comparisons of objects give Python's bools, which are no elements.
        if self.arithmetic.dtype == object and s.out.buffer.dtype == "float":
            value = _as_elements(value, self.arithmetic)
        self._write(s.out, value, False)

    def _contract(self, s: Contract) -> Any:
        a, b = self.read(s.a), self.read(s.b)
        # Objects are spread and summed, from a zero of their own arithmetic.
        if self.arithmetic.dtype != object:
            return np.einsum(a, list(s.labels.a), b, list(s.labels.b), list(s.labels.out))
        order = [*s.labels.out, *(x for x in dict.fromkeys(s.labels.a + s.labels.b) if x not in s.labels.out)]
        product = np.multiply(_spread(a, s.labels.a, order), _spread(b, s.labels.b, order))
        return self._sum(product, tuple(range(len(s.labels.out), len(order))))

    def _sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        # An empty sum must be a zero of the arithmetic, not the int 0.
        zero = self.arithmetic.number(sp.S.Zero)
        return np.add.reduce(x, axis=axes, initial=zero) if axes else x

    def _sharpen(self, s: Sharpen) -> None:
        out = self.read(s.out)
        # The least element of an array with nan is nan, so that such an array is left as it is.
        if self.arithmetic.again is None or not out.size or not np.min(np.real(out)) < self.arithmetic.least:
            return
        self.run(s.body)
        tiny = np.real(out) < self.arithmetic.least
        out[tiny] = self.arithmetic.again[s.function](self.read(s.argument)[tiny])

    def _settle(self, s: Settle) -> None:
        if self.arithmetic.settled is not None:
            pairs = [(self.read(a), self.read(b)) for a, b in zip(s.out, s.new, strict=True)]
            self.settled = self.arithmetic.settled(pairs, self.size(s.round.size), s.most, s.relative, s.lead)
            return
        out, new = [self.read(view) for view in s.out], [np.array(self.read(view)) for view in s.new]
        change, top = largest([np.subtract(b, a) for a, b in zip(out, new, strict=True)]), largest(new)
        for a, b in zip(out, new, strict=True):
            a[...] = b
        limit = s.tolerance * top if s.relative else s.tolerance
        self.settled = has_settled(change, limit, ROUNDING * np.finfo(np.float64).eps * top)
        assert self.settled or self.size(s.round.size) + 1 < s.most, f"rounds that do not settle: {s}"

    def _scan(self, s: Scan) -> None:
        if any(self.read(flag)[()] for flag in s.unless):
            self.run(s.body)
            return
        # Copies, for a carry may lie in the array that is written.
        carry, out = [np.array(self.read(view)) for view in s.carry], [self.read(view) for view in s.out]
        rows = [[None if c is None else self.read(c) for c in row] for row in s.coefficients]
        free = [None if view is None else self.read(view) for view in s.free]
        given = [[self.read(g.view) for g in group if g.flag is None or self.read(g.flag)[()]] for group in s.given]
        count = self.size(s.out[0].shape[0])
        for t in range(count)[:: -1 if s.reverse else 1]:
            if s.reverse:
                carry = [reduce(np.add, (x[t] for x in terms), c) for c, terms in zip(carry, given, strict=True)]
                for x, value in zip(out, carry, strict=True):
                    x[t] = value
            carry = [
                self._combined([(c[t], x) for c, x in zip(row, carry, strict=True) if c is not None], own, t)
                for row, own in zip(rows, free, strict=True)
            ]
            if not s.reverse:
                for x, value in zip(out, carry, strict=True):
                    x[t] = value
        if s.reverse:
            for view, value in zip(s.carry, carry, strict=True):
                self.read(view)[...] = value

    def _combined(self, terms: Sequence[tuple[Any, Any]], free: Any, t: int) -> Any:
        """Return the sum of products and of the free part at a step."""
        zero = self.arithmetic.number(sp.S.Zero)
        products = [np.multiply(c, x) for c, x in terms]
        return reduce(np.add, [*products, *([] if free is None else [free[t]])] or [zero])

    def _loop(self, s: Loop) -> None:
        start, stop, strip = self.size(s.start), self.size(s.stop), self.size(s.strip)
        for index, count in rounds(start, stop, strip, s.reverse):
            self.env[s.index] = index
            if s.count is not None:
                self.env[s.count] = count
            self.run(s.body)
            if s.body and isinstance(s.body[-1], Settle) and self.settled:
                return


def rounds(start: int, stop: int, strip: int, reverse: bool) -> list[tuple[int, int]]:
    """Return the index and the number of steps of each round of a loop."""
    if reverse:
        # Cut off from the end, so that the short round comes last here and first in time.
        ends = range(stop, start, -strip)
        return [(max(end - strip, start), min(strip, end - start)) for end in ends]
    return [(index, min(strip, stop - index)) for index in range(start, stop, strip)]


@cache
def _terms(value: sp.Expr) -> tuple[tuple[int, tuple[tuple[sp.Symbol, int], ...]], ...]:
    """Return a polynomial as terms: a factor and powers of symbols."""
    symbols = sorted(value.free_symbols, key=str)
    rows = sp.Poly(value, *symbols).terms()
    # Parts of sizes are whole numbers, each of them alone may have a fraction: n*m/2.
    return tuple(
        (int(c) if c.is_Integer else c, tuple((x, n) for x, n in zip(symbols, powers, strict=True) if n))
        for powers, c in rows
    )


def evaluated(value: Size, env: Env) -> int:
    """Return a size as a number."""
    if isinstance(value, int):
        return value
    found = 0
    for factor, powers in _terms(value):
        for symbol, power in powers:
            factor *= env[symbol] ** power
        found += factor
    return int(found)


def strided(
    array: Any, start: tuple[int, ...], shape: tuple[int, ...], moves: Sequence[tuple[tuple[int, ...], int]]
) -> Any:
    """Return a view of an array, once its first and last element are known to lie in it."""
    # An empty view has no first element that would lie in the array.
    if 0 in shape:
        return np.empty(shape, array.dtype)
    # `as_strided` looks at no bounds: a wrong view would read whatever lies in memory, and a test might pass.
    for i, length in enumerate(array.shape):
        # Moves are monotone, so that the extreme elements of an axis are those of all negative and of all positive
        # moves.
        far = [step * (n - 1) for (of, step), n in zip(moves, shape, strict=True) if i in of]
        low, high = (start[i] + sum(f for f in far if f * sign > 0) for sign in (-1, 1))
        assert low >= 0 and high < length, f"elements {low} to {high} of an axis of {length}"
    strides = [step * sum(array.strides[i] for i in of) for of, step in moves]
    # The slice moves the origin; a stride may then be zero or negative.
    return as_strided(array[(*(slice(s, None) for s in start), ...)], shape, strides)


def _spread(x: Any, labels: Sequence[int], order: Sequence[int]) -> Any:
    """Return an array with its axes in an order of labels, and axes of size 1 for those that it lacks."""
    own = [label for label in order if label in labels]
    x = x.transpose([list(labels).index(label) for label in own])
    return x[tuple(slice(None) if label in labels else None for label in order)]


def tree_value(tree: Tree, parts: Sequence[Any], arithmetic: Arithmetic) -> Any:
    """Return the value of an elementwise body; `parts` stand for its references.

    All is computed by NumPy's functions, for an operator would ask an element of another kind before it asked an array.
    """

    def of(part: Tree) -> Any:
        return _as_numbers(tree_value(part, parts, arithmetic), arithmetic)

    match tree:
        case Ref(index):
            return parts[index]
        case Num(value):
            return arithmetic.number(value)
        case Sum(terms):
            signed = [of(term) if sign > 0 else np.negative(of(term)) for sign, term in terms]
            return reduce(np.add, signed)
        case Prod(factors, divisors):
            return reduce(np.divide, map(of, divisors), reduce(np.multiply, map(of, factors)))
        case Power(base, exponent):
            # A whole exponent as an int keeps fractions exact.
            count = whole_power(tree)
            return np.power(of(base), count or of(exponent))
        case Call(name, args):
            return arithmetic.functions[name](*(tree_value(arg, parts, arithmetic) for arg in args))
    raise AssertionError(tree)


def _as_numbers(value: Any, arithmetic: Arithmetic) -> Any:
    """Return truth values inside arithmetic as 0 or 1."""
    if isinstance(value, bool) or np.asarray(value).dtype.kind == "b":
        return _as_elements(value, arithmetic)
    return value


def _as_elements(value: Any, arithmetic: Arithmetic) -> Any:
    """Return truth values as elements of the arithmetic."""
    one, zero = arithmetic.number(sp.S.One), arithmetic.number(sp.S.Zero)

    def element(x: Any) -> Any:
        return (one if x else zero) if isinstance(x, bool | np.bool_) else x

    return np.vectorize(element, otypes=[arithmetic.dtype])(value) if np.size(value) else value
