"""The laws of the loop IR, which tests check after every construction.

`check` looks at the statements. `check_run` follows a run at given sizes element by element, without computing: so it
finds what only holds for elements, such as reading an element before it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.loop_ir.interpret import evaluated, rounds, strided
from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    DTYPES,
    SPACES,
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
    Reduce,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    View,
    body_of,
    reads,
    views,
    walk,
    writes,
)
from symbptt.ir.algebra import RECORDS
from symbptt.ir.scalar import indices
from symbptt.ir.shape import Shape, Size, symbols, without

GIVEN = (
    "param", "context", "input", "index", "const", "state", "output", "target", "cotangent", "residual", "flag", "mask", "held", "carry",
    "start", "given", "rows", "after", "before", "direct", "waiting", "resets", "watched", "begun", "own",
)  # fmt: skip
GIVES = ("states", "outputs", "params", "inputs", "state", "residual", "flow", "carry", "final", "resets")


def check(f: Function) -> None:
    """Raise AssertionError, with the statement, where a law is broken."""
    names = [b.name for b in f.declared]
    assert len(set(names)) == len(names), f"a name of two buffers: {sorted(n for n in names if names.count(n) > 1)}"
    scope = frozenset({*f.sizes, STEPS, BATCH, BLOCK})
    for buffer in f.declared:
        assert buffer.space in SPACES, f"a space that is not known: {buffer}"
        assert buffer.dtype in DTYPES, f"a type that is not known: {buffer}"
        assert symbols(*buffer.shape) <= scope, f"a size that is not known: {buffer}"
    for port in f.arguments:
        assert port.group in GIVEN, f"a group that is not known: {port}"
    for port in f.results:
        assert port.group in GIVES, f"a group that is not known: {port}"
        _view(f, port.view, scope)
    by_blocks = any(isinstance(s, Loop) and s.strip == BLOCK for s in walk(f.body))
    assert by_blocks == (f.block is not None), "blocks without a measure, or a measure without blocks"
    _body(f, f.body, scope)


def _body(f: Function, body: Sequence[Statement], scope: frozenset[sp.Symbol], in_loop: bool = False) -> None:
    for i, s in enumerate(body):
        assert not isinstance(s, Settle) or (in_loop and i == len(body) - 1), f"a loop ends in its middle: {s}"
        for view in views(s):
            _view(f, view, scope)
        given = (port.view.buffer for port in f.arguments if port.view.buffer.space != "shared")
        fixed = {*given, *(c.buffer for c in f.constants)}
        for view in writes(s):
            assert view.buffer not in fixed, f"an argument or a constant that is written: {s}"
        LAWS.get(type(s), lambda s: None)(s)
        inner = scope
        if isinstance(s, Loop):
            assert symbols(s.start, s.stop, s.strip) <= scope, f"a bound that is not known: {s}"
            new = {s.index} if s.count is None else {s.index, s.count}
            assert not new & scope, f"an index that is taken: {s}"
            inner = scope | new
        _body(f, body_of(s), inner, isinstance(s, Loop) and s.count is None)


def _view(f: Function, view: View, scope: frozenset[sp.Symbol]) -> None:
    assert view.buffer in f.declared, f"a buffer that is not declared: {view}"
    rank = len(view.buffer.shape)
    assert len(view.start) == rank, f"a start for each axis of the buffer is due: {view}"
    assert all(0 <= i < rank for axis in view.axes for i in axis.of), f"an axis that the buffer lacks: {view}"
    used = symbols(*view.start, *view.shape, *(axis.step for axis in view.axes))
    assert used <= scope, f"an index or a size that is not known here: {sorted(map(str, used - scope))} in {view}"


def _map(s: Map) -> None:
    for arg in s.args:
        assert isinstance(arg, Extent) or arg.shape == s.out.shape, f"an operand of another shape: {s}"
    assert set(indices(s.body)) == set(range(len(s.args))), f"operands that are not those of the body: {s}"


def _contract(s: Contract) -> None:
    sizes: dict[int, Size] = {}
    for view, labels in ((s.a, s.labels.a), (s.b, s.labels.b), (s.out, s.labels.out)):
        assert len(labels) == len(view.axes), f"a label for each axis is due: {s}"
        # A diagonal is a view, not a label that occurs twice.
        assert len(set(labels)) == len(labels), f"a label twice in one operand: {s}"
        for label, length in zip(labels, view.shape, strict=True):
            assert sizes.setdefault(label, length) == length, f"a label of two sizes: {s}"
    for mine, other in ((s.labels.a, s.labels.b), (s.labels.b, s.labels.a)):
        # An axis that only one operand has must be summed by a Reduce before the product.
        assert set(mine) <= set(other) | set(s.labels.out), f"an axis summed in one operand alone: {s}"
    assert set(s.labels.out) <= {*s.labels.a, *s.labels.b}, f"an axis of the result from nowhere: {s}"


def _reduce(s: Reduce) -> None:
    # Sums add up over blocks; maxima do not.
    assert s.kind == "sum" or (s.kind == "max" and not s.add), f"a reduction that is not known: {s}"
    assert s.axes and s.out.shape == without(s.x.shape, s.axes), f"a shape that does not follow: {s}"


def _gather(s: Gather) -> None:
    assert s.out.shape == without(s.table.shape, (s.axis,)) == s.index.shape, f"a shape that does not follow: {s}"
    assert s.index.buffer.dtype == "index", f"an index that is no integer: {s}"


def _scatter(s: Scatter) -> None:
    assert s.x.shape == without(s.out.shape, (s.axis,)) == s.index.shape, f"a shape that does not follow: {s}"
    assert s.index.buffer.dtype == "index", f"an index that is no integer: {s}"


def _cumulate(s: Cumulate) -> None:
    assert s.out.shape == s.x.shape and 0 <= s.axis < len(s.x.axes), f"a shape that does not follow: {s}"


def _algebra(s: Algebra) -> None:
    shapes = [arg.shape for arg in s.args]
    if s.name == "solve":  # a side that is the same for all steps or samples has fewer stacked axes
        lead = s.out.shape[:-2]
        assert all(shape[:-2] == lead[len(lead) - len(shape) + 2 :] for shape in shapes), f"stacks that do not fit: {s}"
        shapes = [(*lead, *shape[-2:]) for shape in shapes]
    assert s.out.shape == RECORDS[s.name].shape(*shapes), f"a shape that does not follow: {s}"


def _sharpen(s: Sharpen) -> None:
    assert s.argument.shape == s.out.shape, f"an operand of another shape: {s}"


def _scan(s: Scan) -> None:
    count = len(s.out)
    assert count == len(s.carry) == len(s.coefficients) == len(s.free), f"a number of states for each part: {s}"
    assert len(s.given) == (count if s.reverse else 0), f"direct cotangents belong to a scan backward: {s}"
    for i, out in enumerate(s.out):
        assert s.carry[i].shape == out.shape[1:], f"a carry of another shape: {s}"
        values = [*s.coefficients[i], s.free[i], *(g.view for g in (s.given[i] if s.reverse else ()))]
        assert len(s.coefficients[i]) == count, f"a coefficient for each state is due: {s}"
        assert all(v is None or v.shape == out.shape for v in values), f"an operand of another shape: {s}"


def _loop(s: Loop) -> None:
    assert (s.strip == 1) == (s.count is None), f"steps of a round without a count, or a count of single steps: {s}"


def _settle(s: Settle) -> None:
    assert s.out and [view.shape for view in s.out] == [view.shape for view in s.new], f"values that do not fit: {s}"
    assert not {view.buffer for view in s.out} & {view.buffer for view in s.new}, f"values in one buffer: {s}"


def _if(s: If) -> None:
    assert not s.flag.axes and s.flag.buffer.dtype == "bool", f"a flag that is not one truth: {s}"


LAWS: dict[type, Any] = {
    Map: _map,
    Contract: _contract,
    Reduce: _reduce,
    Gather: _gather,
    Scatter: _scatter,
    Cumulate: _cumulate,
    Algebra: _algebra,
    Sharpen: _sharpen,
    Loop: _loop,
    Settle: _settle,
    Scan: _scan,
    If: _if,
}


def check_run(
    f: Function, sizes: Mapping[str, int], steps: int, samples: int, block: int = 1, flags: bool = True
) -> None:
    """Raise AssertionError, with the statement, where a run at these sizes breaks a law of elements.

    Laws are: an element is written before it is read, a statement writes it once, reads it where it writes only element
    for element, stays inside its buffer, and every result is written wholly. `flags` is the truth value of all
    conditions.
    """
    env = {symbol: sizes[symbol.name] for symbol in f.sizes} | {STEPS: steps, BATCH: samples, BLOCK: block}
    follower = _Follower(env, flags)
    for buffer in f.declared:
        follower.make(buffer, buffer not in f.buffers)
    follower.run(f.body)
    for port in f.results:
        follower.read(port.view, port)


class _Follower:
    """The written elements of each buffer in a run that computes nothing."""

    def __init__(self, env: Mapping[sp.Symbol, int], flags: bool) -> None:
        self.env, self.flags = dict(env), flags
        self.places: dict[Buffer, Any] = {}
        self.written: dict[Buffer, Any] = {}

    def make(self, buffer: Buffer, written: bool) -> None:
        shape = self.shape(buffer.shape)
        self.written[buffer] = np.full(int(np.prod(shape)), written)
        # Every element has its own number, so that overlap of views is equality of numbers.
        self.places[buffer] = np.arange(self.written[buffer].size).reshape(shape)

    def shape(self, shape: Shape) -> tuple[int, ...]:
        return tuple(evaluated(size, self.env) for size in shape)

    def elements(self, view: View) -> Any:
        """Return the elements of a view, each as its number in the buffer."""
        moves = [(axis.of, evaluated(axis.step, self.env)) for axis in view.axes]
        return strided(self.places[view.buffer], self.shape(view.start), self.shape(view.shape), moves)

    def read(self, view: View, where: object) -> Any:
        found = self.elements(view)
        assert self.written[view.buffer][found].all(), f"{view.buffer.name} is read before it is written: {where}"
        return found

    def forget_block(self) -> None:
        """Count the buffers of a block as unwritten: a block must not read the values of another one."""
        for buffer, written in self.written.items():
            if buffer.space == "block":
                written[...] = False

    def run(self, body: Sequence[Statement]) -> None:
        for s in body:
            self.step(s)

    def step(self, s: Statement) -> None:
        if isinstance(s, Loop):
            start, stop, strip = self.shape((s.start, s.stop, s.strip))
            if s.body and isinstance(s.body[-1], Settle):
                stop = min(stop, 2)  # a round, and another that reads what the first one wrote
            for index, count in rounds(start, stop, strip, s.reverse):
                self.env |= {s.index: index} if s.count is None else {s.index: index, s.count: count}
                if s.count is not None:
                    self.forget_block()
                self.run(s.body)
            return
        if isinstance(s, Scan) and s.unless and self.flags:
            self.run(s.body)
            return
        if isinstance(s, Sharpen):  # it reads what its body wrote
            self.run(s.body)
        read = [(view, self.read(view, s)) for view in reads(s)]
        if isinstance(s, If):
            self.run(s.body if self.flags else s.orelse)
        for view in writes(s):
            out = self.elements(view)
            # Repeated axes of an output would let the order of writing decide; only a scatter adds there.
            assert isinstance(s, Scatter) or len(np.unique(out)) == out.size, f"an element written twice: {s}"
            for other, found in read:
                # In a map element i of the output depends on element i of an operand alone, so that both may be one
                # view.
                same = isinstance(s, Map | Sharpen | Scan | Runtime) or other == view
                apart = other.buffer != view.buffer or not np.isin(found, out).any()
                assert apart or (same and np.array_equal(found, out)), (
                    f"{other.buffer.name} is read where it is written: {s}"
                )
            self.written[view.buffer][out] = True
