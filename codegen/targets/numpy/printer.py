"""Prints a function of the loop IR, behind the passes, as lines of NumPy.

Outside of loops a statement is an expression whose result gets a name; in loops it is one call that writes into a buffer.
Views are taken where they stay the same for longest: before the loop, at the head of a block, or, where they move with the
step, as arrays that the loop goes through.

While lines are written a view stands in them as a mark, for how it is taken depends on how often it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import TypeAlias, TypeGuard

import sympy as sp

from symbptt import ops
from symbptt.codegen.loop_ir.nodes import (
    BATCH,
    BLOCK,
    STEPS,
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
    Sharpen,
    Statement,
    View,
    body_of,
    views,
    walk,
    writes,
)
from symbptt.codegen.loop_ir.views import is_whole, permuted, span, whole
from symbptt.codegen.loop_ir.work import tree_operations
from symbptt.codegen.lower.frame import COUNT
from symbptt.codegen.targets.numpy.grouping import Allocated
from symbptt.codegen.targets.numpy.index import Groups, Names, Shown, in_order, merges, view_text
from symbptt.codegen.targets.numpy.passes.three_address import is_number
from symbptt.codegen.targets.numpy.product import call_of
from symbptt.codegen.targets.numpy.scalar_text import body_text
from symbptt.codegen.targets.numpy.text import ATOM, PRODUCT, Written, bracket
from symbptt.codegen.targets.numpy.views import Scope, Views
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, indices
from symbptt.ir.shape import Size, size

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")


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

    `calls` writes the calls of the runtime; `names` are those of sizes. `ready` are expressions that take the place of
    temporaries which one statement reads, those in `folded`; `begun` are the buffers that have a name by now, `rooms` those
    from the workspace, if there is one. `around` are the lines around a loop whose blocks are scanned; `is_late` is true
    inside an expression that is evaluated only if it is needed.
    """

    function: Function
    names: Names
    views: Views
    calls: Callable[[Printer, Scope, Runtime | Scan], list[Item]]
    ready: dict[Buffer, Written] = field(default_factory=dict)
    begun: set[Buffer] = field(default_factory=set)
    folded: frozenset[Buffer] = frozenset()
    rooms: list[Buffer] = field(default_factory=list)
    around: tuple[str, str] | None = None
    is_late: bool = False
    has_workspace: bool = True

    @cached_property
    def written(self) -> Counter[Buffer]:
        """How many statements write each buffer."""
        return Counter(view.buffer for s in walk(self.function.body) for view in writes(s))

    @cached_property
    def used(self) -> Counter[Buffer]:
        """How often statements read or write each buffer, and what is returned once more."""
        given = (port.view.buffer for port in self.function.results)
        return Counter(view.buffer for s in walk(self.function.body) for view in views(s)) + Counter(given)

    # Operands.

    def text(self, scope: Scope, view: View, groups: Groups | None = None) -> str:
        """Return the mark of a view, or its expression, where its buffer is one."""
        written = self.ready.get(view.buffer)
        if written is not None:
            return view_text(Shown(_as_long(view), groups), self.names, bracket(written, ATOM))
        return self.views.mark(scope, Shown(view, groups), self.is_late)

    def part(self, scope: Scope, operand: Operand) -> Written:
        """Return an operand of a map."""
        if isinstance(operand, Extent):
            return self.names.written(operand.size)
        written = self.ready.get(operand.buffer)
        if written is not None and is_whole(_as_long(operand)):
            return written
        return self.text(scope, operand), ATOM

    def number(self, scope: Scope, tree: Tree, args: Sequence[Operand]) -> str:
        """Return a formula of numbers; in the loop over steps as an array without axes, which calls take faster."""
        text = body_text(tree, [self.part(scope.top, arg) for arg in args])[0]
        return self.views.constant(scope, text) if scope.is_step else text

    # Statements.

    def body(self, scope: Scope, body: Sequence[Statement], depth: int) -> list[Item]:
        found, i = list[Item](), 0
        while i < len(body):
            parts = self.joined(body, i) if scope.is_top else []
            if parts:
                found.append(replace(self.join(scope, parts), depth=depth))
            elif i + 1 < len(body) and _is_filled(body[i], body[i + 1]):
                found.append(replace(self.scattered(scope, body[i + 1]), depth=depth))
                i += 1
            else:
                found += self.lines(scope, body[i], depth)
            i += len(parts) or 1
        return found

    def lines(self, scope: Scope, s: Statement, depth: int) -> list[Item]:
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
        if scope.is_top:
            return [replace(line, depth=depth) for line in self.defined(scope, s)]
        return [Line(code, depth, _origin(s)) for code in self.call(scope, s)]

    def condition(self, scope: Scope, s: If, depth: int) -> list[Item]:
        flag = s.flag.buffer.name
        inside = Counter(view.buffer for x in walk([s]) for view in views(x))
        written = dict.fromkeys(view.buffer for x in walk([s]) for view in writes(x))
        # What only one branch makes would have no name behind it.
        shared = [b for b in written if b not in self.begun and b.space != "scalar" and self.used[b] > inside[b]]
        parts = [(f"if {flag}:", s.body), (f"if not {flag}:" if not s.body else "else:", s.orelse)]
        found: list[Item] = []
        if scope.is_top and shared:
            found.append(Allocation(tuple(map(self.allocated, shared)), depth))
            self.begun.update(shared)
        before = frozenset(self.begun)
        for head, body in parts:
            if body:
                found += [Line(head, depth), *self.body(scope, body, depth + 1)]
                self.begun = {*before}  # nor would it have one in the other branch
        return found

    def sharpen(self, scope: Scope, s: Sharpen) -> list[Item]:
        """Return the call that computes tiny remainders again, by an expression that is evaluated only then."""
        outer, self.is_late = self.ready, True
        self.ready = dict(outer)
        outs = [writes(inner)[0] for inner in s.body]
        if all(_covers(_as_long(out)) or len(out.axes) > len(out.buffer.shape) for out in outs):
            lines = list[Item]()
            for inner, out in zip(s.body, outs, strict=True):
                self.ready[out.buffer] = self._as_buffer(out, self.expression(scope, inner))
            argument = f"lambda: {self.text(scope, s.argument)}"
        else:
            argument = self.views.name("argument")
            lines = [Line(f"def {argument}():"), *self.late(scope, s)]
        self.ready, self.is_late = outer, False
        return [*lines, Line(f"_sharpened({self.text(scope, s.out)}, _{s.function}, {argument})", origin=_origin(s))]

    def late(self, scope: Scope, s: Sharpen) -> list[Item]:
        """Return the body of a function that returns the argument of a remainder, in arrays of its own."""
        lines: list[Item] = []
        for buffer in dict.fromkeys(writes(inner)[0].buffer for inner in s.body):
            # The array is as long as the block, and has no name outside.
            self.ready[buffer] = buffer.name, ATOM
            shape = _as_long(whole(buffer)).buffer.shape
            lines.append(Line(f"{buffer.name} = np.empty({self.names.shape(shape)}, {kind(buffer)})", 1))
        for inner in s.body:
            text = self.expression(scope, inner)[0]
            out = writes(inner)[0]
            target = self.text(scope, permuted(out, in_order(out)))
            lines.append(Line(f"{target} = {text}" if target.endswith("]") else f"{target}[...] = {text}", 1))
        return [*lines, Line(f"return {self.text(scope, s.argument)}", 1)]

    # Outside of loops: expressions.

    def defined(self, scope: Scope, s: Statement) -> list[Item]:
        """Return the lines of a statement outside of loops."""
        out = writes(s)[0]
        if out.buffer.space == "scalar":
            assert isinstance(s, Map)
            text = body_text(s.body, [self.part(scope, arg) for arg in s.args])[0]
            return [Line(f"{out.buffer.name} = {_float(s.body, text)}", origin=_origin(s))]
        if _is_zero(s) and _covers(out) and out.buffer not in self.begun:
            self.begun.add(out.buffer)
            shape = self.names.shape(out.buffer.shape)
            return [Allocation((Allocated(out.buffer.name, "np.zeros", shape, kind(out.buffer)),))]
        if out.buffer in self.begun or not self.may_define(s):
            made = [] if out.buffer in self.begun else [Allocation((self.allocated(out.buffer),))]
            self.begun.add(out.buffer)
            return [*made, *self.assigned(scope, s)]
        written = self.expression(scope, s)
        if out.buffer in self.folded:
            self.ready[out.buffer] = written
            return []
        self.begun.add(out.buffer)
        return [Line(f"{out.buffer.name} = {self.own(s, written)}", origin=_origin(s))]

    def may_define(self, s: Statement) -> bool:
        """Answer whether the result of a statement is the whole of a buffer, as NumPy makes it."""
        out = writes(s)[0]
        if (
            not isinstance(s, Map | Contract | Reduce | Gather | Cumulate)
            or not _covers(out)
            or getattr(s, "add", False)
        ):
            return False
        if not out.buffer.shape and self._is_written_again(out.buffer):
            return False  # NumPy's numbers cannot be written into
        if isinstance(s, Map):
            moving = {i for arg in s.args if isinstance(arg, View) for i, axis in enumerate(arg.axes) if axis.of}
            return isinstance(s.body, Num) or moving == {*range(len(s.out.axes))}
        return not (isinstance(s, Contract) and call_of(s).function == "einsum")

    def own(self, s: Statement, written: Written) -> str:
        """Return the expression of a new array, in the order of its buffer: a copy where it would be another's memory."""
        text = written[0]
        sources = (
            [arg for arg in getattr(_in_order(s), "args", ()) if isinstance(arg, View)] if isinstance(s, Map) else []
        )
        turned = any(_is_turned(view) for view in sources)
        if isinstance(s, Map) and s.body == Ref(0) and sources:
            # The memory of an argument, which nothing writes, may be shared by a temporary.
            given = sources[0].buffer in {port.view.buffer for port in self.function.arguments}
            if s.out.buffer.space == "temporary" and given and turned and not self._is_written_again(s.out.buffer):
                return f"np.ascontiguousarray({text})"
            return f'np.array({text}, order="C")' if turned else f"np.array({text})"
        return f"np.ascontiguousarray({text})" if turned else text

    def _is_written_again(self, buffer: Buffer) -> bool:
        return self.written[buffer] > 1

    def assigned(self, scope: Scope, s: Statement) -> list[Item]:
        """Return the lines of a statement that writes a part of a buffer, or once more."""
        if isinstance(s, Map) and not self._is_call(s):
            s = _in_order(s)
            text = body_text(s.body, [self.part(scope, arg) for arg in s.args])[0]
            target = self.text(scope, s.out)
            return [
                Line(f"{target} = {text}" if target.endswith("]") else f"{target}[...] = {text}", origin=_origin(s))
            ]
        return [Line(code, origin=_origin(s)) for code in self.call(scope, s)]

    def _is_call(self, s: Map) -> bool:
        """Answer whether a map outside of loops is one operation that can be written as a call."""
        is_choice = isinstance(s.body, Call) and (s.body.name == "where" or _is_condition(s.body))
        return (
            tree_operations(s.body) == 1 and bool(s.out.axes) and not is_choice and not self.is_number(s.body, s.args)
        )

    def expression(self, scope: Scope, s: Statement) -> Written:
        """Return the value of a statement as an expression, in the order of the axes of its buffer."""
        match s:
            case Map():
                s = _in_order(s)
                if not s.args:
                    value = body_text(s.body, [])[0]
                    shape = self.names.shape(s.out.buffer.shape)
                    made = f"np.zeros({shape}, {kind(s.out.buffer)})"
                    return made if value == "0" else f"np.full({shape}, {value}, dtype)", ATOM
                written = body_text(s.body, [self.part(scope, arg) for arg in s.args])
                if _is_condition(s.body) and s.out.buffer.dtype == "float":
                    # NumPy would compute with truth values in another type.
                    return f"np.asarray({written[0]}, dtype)", ATOM
                return written
            case Contract():
                return self.product(scope, s)
            case Reduce():
                x, axes = _plain_ordered(s)
                function = "add" if s.kind == "sum" else "maximum"
                return f"np.{function}.reduce({self.text(scope, x.view, x.groups)}, axis={axes})", ATOM
            case Gather():
                return self.gather(scope, s), ATOM
            case Cumulate():
                return self.running(scope, s), ATOM
        raise AssertionError(s)

    def _as_buffer(self, out: View, written: Written) -> Written:
        """Return the value of a view that sees one axis of its buffer as several, in the shape of the buffer."""
        if len(out.axes) == len(out.buffer.shape):
            return written
        shape = _as_long(out).buffer.shape
        return f"{bracket(written, ATOM)}.reshape({', '.join(map(self.names.size, shape))})", ATOM

    def product(self, scope: Scope, s: Contract) -> Written:
        """Return a product as an expression."""
        call = call_of(s)
        first, second = (self.text(scope, x.view, x.groups) for x in call.operands)
        if call.function == "einsum":
            order = in_order(s.out)
            spec = call.first[:-1].partition("->")
            out = "".join(spec[2][i] for i in order)
            return f'np.ascontiguousarray(np.einsum({spec[0]}->{out}", {first}, {second}))', ATOM
        if call.function == "multiply":
            return f"{bracket((first, ATOM), PRODUCT)} * {second}", PRODUCT
        if call.function == "vecdot":
            return f"np.vecdot({first}, {second})", ATOM
        text = f"{first} @ {second}"
        groups = call.out.groups
        assert groups is not None
        if all(len(group) == 1 for group in groups):
            return text, PRODUCT
        lengths = [call.out.view.axes[i].length for i in range(len(call.out.view.axes))]
        return f"({text}).reshape({', '.join(map(self.names.size, lengths))})", ATOM

    def joined(self, body: Sequence[Statement], i: int) -> list[Map]:
        """Return the copies from position i on that fill a new buffer part by part along one axis, if there are several."""
        first = body[i]
        if not _is_copy(first) or first.out.buffer in self.begun:
            return []
        alike = takewhile(lambda s: _is_copy(s) and s.out.buffer == first.out.buffer, body[i:])
        maps = [s for s in alike if isinstance(s, Map)]
        return maps if len(maps) > 1 and _joining_axis(maps) is not None else []

    def join(self, scope: Scope, parts: Sequence[Map]) -> Line:
        """Return the line that stacks or concatenates copies."""
        buffer, axis = parts[0].out.buffer, _joining_axis(parts)
        assert axis is not None
        sources = [_source(_in_order(s)) for s in parts]
        texts = [self._materialised(scope, x) for x in sources]
        is_stack = not any(axis in a.of for a in parts[0].out.axes)
        inside = f"[{', '.join(texts)}]" + (f", {axis}" if axis else "")
        call = f"np.{'stack' if is_stack else 'concatenate'}({inside})"
        # NumPy puts transposed weights together into an array that lies transposed, too.
        is_turned = any(map(_is_turned, sources))
        self.begun.add(buffer)
        return Line(
            f"{buffer.name} = np.ascontiguousarray({call})" if is_turned else f"{buffer.name} = {call}",
            0,
            _origin(parts[-1]),
        )

    def _materialised(self, scope: Scope, x: View) -> str:
        # Elsewhere NumPy adds axes of one element in front by itself; what is joined needs all of its axes.
        is_short = any(not axis.of or axis.length == 1 for axis in x.axes)
        return self.text(scope, x, tuple((i,) for i in range(len(x.axes))) if is_short else None)

    # In loops: calls.

    def call(self, scope: Scope, s: Statement) -> list[str]:
        """Return the calls of a statement, which write into its output."""
        match s:
            case Map():
                return self.map(scope, _in_order(s))
            case Contract():
                call = call_of(s)
                operands = ", ".join(self.text(scope, x.view, x.groups) for x in call.operands)
                first = f"{call.first}, " * bool(call.first)
                out = self.text(scope, call.out.view, call.out.groups)
                return [f"np.{call.function}({first}{operands}, out={out})"]
            case Reduce():
                x, axes = _plain_ordered(s)
                function = "add" if s.kind == "sum" else "maximum"
                plain = tuple((i,) for i in range(len(s.out.axes)))
                out = self.text(scope, permuted(s.out, in_order(s.out)), plain)
                return [f"np.{function}.reduce({self.text(scope, x.view, x.groups)}, axis={axes}, out={out})"]
            case Gather():
                return self.gather_call(scope, s)
            case Scatter():
                return self.scatter(scope, s)
            case Cumulate():
                return [self.running_call(scope, s)]
        raise AssertionError(s)

    def map(self, scope: Scope, s: Map) -> list[str]:
        """Return one operation as a call, or an expression that is copied."""
        out = self.text(scope, s.out)

        def text(*trees: Tree) -> str:
            return ", ".join(self.argument(scope, tree, s.args) for tree in trees)

        match s.body:
            case Sum(((-1, a),)) if not self.is_number(s.body, s.args):
                return [f"np.negative({text(a)}, out={out})"]
            case Sum(((1, a), (sign, b))) if not self.is_number(s.body, s.args):
                return [f"np.{'add' if sign > 0 else 'subtract'}({text(a, b)}, out={out})"]
            case Prod((a, b), ()) if not self.is_number(s.body, s.args):
                return [f"np.multiply({text(a, b)}, out={out})"]
            case Prod((a,), (b,)) if not self.is_number(s.body, s.args):
                return [f"np.divide({text(a, b)}, out={out})"]
            case Power(a, Num(value)) if value == 2:
                return [f"np.square({text(a)}, out={out})"]
            case Power(a, b):
                return [f"np.power({text(a, b)}, out={out})"]
            case Call("where", (condition, a, b)):
                return self.where(scope, s, out, text(condition), a, b)
            case Call(name, args):
                found = _ufunc(name)
                if found is not None:
                    function, more = found
                    return [f"np.{function}({', '.join([text(*args), *more])}, out={out})"]
                code = ops.BY_NAME[name].code.format(*(text(arg) for arg in args))
                return [f"np.copyto({out}, {code})"]
        return [f"np.copyto({out}, {text(s.body)})"]

    def argument(self, scope: Scope, tree: Tree, args: Sequence[Operand]) -> str:
        """Return an operand of a call."""
        if self.is_number(tree, args):
            return self.number(scope, tree, args)
        assert isinstance(tree, Ref), tree
        return self.part(scope, args[tree.index])[0]

    def is_number(self, tree: Tree, args: Sequence[Operand]) -> bool:
        """Answer whether a tree is a formula of numbers of Python."""
        return all(is_number(args[i]) for i in indices(tree))

    def where(self, scope: Scope, s: Map, out: str, condition: str, a: Tree, b: Tree) -> list[str]:
        """Return the lines of a choice: one side is copied, and the other one where the condition holds."""
        first, second = (self.argument(scope, tree, s.args) for tree in (a, b))
        if first == out:
            return [f"np.copyto({out}, {second}, where=~{condition})"]
        copied = [] if second == out else [f"np.copyto({out}, {second})"]
        return [*copied, f"np.copyto({out}, {first}, where={condition})"]

    def running(self, scope: Scope, s: Cumulate) -> str:
        """Return a running sum as an expression."""
        order = in_order(s.out)
        view, axis = permuted(s.x, order), order.index(s.axis)
        text = self.text(scope, view, tuple((i,) for i in range(len(view.axes))))
        if s.reverse:
            return f"np.flip(np.cumsum(np.flip({text}, {axis}), {axis}), {axis})"
        return f"np.cumsum({text}, {axis})"

    def running_call(self, scope: Scope, s: Cumulate) -> str:
        """Return the call that writes a running sum."""
        order = in_order(s.out)
        view, out, axis = permuted(s.x, order), permuted(s.out, order), order.index(s.axis)
        if s.reverse:
            # A view with a negative step is written from its end, so that no reversed copy is needed.
            view, out = _flipped(view, axis), _flipped(out, axis)
        plain = tuple((i,) for i in range(len(order)))  # of both all axes, those of one element too
        source, target = self.text(scope, view, plain), self.text(scope, out, plain)
        return f"np.cumsum({source}, axis={axis - len(order)}, out={target})"

    # Tables.

    def gather(self, scope: Scope, s: Gather) -> str:
        """Return rows of a table as an expression."""
        lead, index = _index_of(s)
        if index is None:
            plain = tuple((i,) for i in range(len(s.table.axes)))
            table, at = self.text(scope, s.table, plain), self.text(scope, s.index, plain[:-1])
            return f"np.take_along_axis({table}, np.expand_dims({at}, {s.axis}), {s.axis}).squeeze({s.axis})"
        if all(not axis.of for axis in s.table.axes[:lead]):
            own = replace(s.table, axes=s.table.axes[lead:])
            axis = s.axis - lead
            own = permuted(own, [axis, *(i for i in range(len(own.axes)) if i != axis)])
            return f"{self.text(scope, own, tuple((i,) for i in range(len(own.axes))))}[{self.text(scope, index)}]"
        plain = tuple((i,) for i in range(len(s.table.axes)))
        return f"_gathered({self.text(scope, s.table, plain)}, {self.text(scope, index)}, {s.axis - lead}, True)"

    def gather_call(self, scope: Scope, s: Gather) -> list[str]:
        lead, index = _index_of(s)
        out = self.text(scope, s.out)
        if (
            index is None
            or any(axis.of for axis in s.table.axes[:lead])
            or in_order(s.out) != list(range(len(s.out.axes)))
        ):
            return [f"np.copyto({out}, {self.gather(scope, s)})"]
        own = replace(s.table, axes=s.table.axes[lead:])
        axis = s.axis - lead
        own = permuted(own, [axis, *(i for i in range(len(own.axes)) if i != axis)])
        table = self.text(scope, own, tuple((i,) for i in range(len(own.axes))))
        # With mode "raise" NumPy would write into `out` by way of a buffer.
        return [f'np.take({table}, {self.text(scope, index)}, axis=0, out={out}, mode="clip")']

    def scatter(self, scope: Scope, s: Scatter) -> list[str]:
        """Return the call that adds elements at indices."""
        out = self.text(scope, _without_repeated(s.out))
        return [f"np.add({out}, {self.elements(scope, s)}, out={out})"]

    def scattered(self, scope: Scope, s: Statement) -> Line:
        """Return the line that writes zeros with elements added at indices."""
        assert isinstance(s, Scatter)
        out = _without_repeated(s.out)
        if scope.is_top and _covers(out) and out.buffer not in self.begun:
            self.begun.add(out.buffer)
            return Line(f"{out.buffer.name} = {self.elements(scope, s)}", origin=_origin(s))
        return Line(f"np.copyto({self.text(scope, out)}, {self.elements(scope, s)})", origin=_origin(s))

    def elements(self, scope: Scope, s: Scatter) -> str:
        """Return zeros with elements added at indices; along axes that repeat all go to the same places."""
        lead = 0
        while lead < len(s.index.axes) and s.index.axes[lead].of:
            lead += 1
        assert not any(axis.of for axis in s.index.axes[lead:]), s
        index = self.text(scope, replace(s.index, axes=s.index.axes[:lead]))
        plain = tuple((i,) for i in range(len(s.x.axes)))
        x, axis = self.text(scope, s.x, plain), s.axis - lead
        if lead and not any(axis.of for axis in s.out.axes[:lead]):
            return f"_collected({x}, {index}, {axis}, {self.names.shape(s.out.shape[lead:])})"
        return f"_scattered({x}, {index}, {axis}, {self.names.shape(s.out.shape)})"

    # Loops.

    def loop(self, scope: Scope, s: Loop, depth: int) -> list[Item]:
        inner = self.views.inside(scope, s)
        body = self.body(inner, s.body, depth + 1)
        found: list[Item] = []
        if scope.is_top:
            found = [*self.measure(s, depth), self.allocations(s, depth), Head(inner, "before", depth)]
            if self.around is not None:
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
        call = f"K = _steps(T, B, {self.names.size(numbers)}{more})"
        return [Line(f"{call:<58}  # steps in a block: what it computes stays in the cache", depth)]

    def allocations(self, s: Loop, depth: int) -> Allocation:
        """Return the allocations of the arrays that a loop uses first."""
        used = dict.fromkeys(
            view.buffer for x in walked([s]) for view in (writes(x) if isinstance(x, Sharpen) else views(x))
        )
        new = [b for b in self.function.buffers if b in used and b not in self.begun and b.space != "scalar"]
        self.begun.update(new)
        return Allocation(tuple(map(self.allocated, new)), depth)

    def allocated(self, buffer: Buffer) -> Allocated:
        made = maker(buffer) if self.has_workspace else "np.empty"
        if made == "ws.room":
            self.rooms.append(buffer)
        return Allocated(buffer.name, made, self.names.shape(buffer.shape), kind(buffer))


def walked(body: Sequence[Statement]) -> Iterator[Statement]:
    """Return all statements but those that compute tiny remainders again, which are expressions."""
    for s in body:
        yield s
        if not isinstance(s, Sharpen):
            yield from walked(body_of(s))


def _is_zero(s: Statement) -> bool:
    return isinstance(s, Map) and s.body == Num(sp.S.Zero)


def _is_filled(s: Statement, then: Statement) -> bool:
    """Answer whether a statement fills with zeros what the next one scatters into."""
    return _is_zero(s) and isinstance(then, Scatter) and writes(s)[0] == _without_repeated(then.out)


def _is_turned(view: View) -> bool:
    """Answer whether the axes of a view, but for those that repeat, are not in the order in which they lie in memory."""
    own = _without_repeated(view)
    return in_order(own) != list(range(len(own.axes)))


def _without_repeated(view: View) -> View:
    return replace(view, axes=tuple(axis for axis in view.axes if axis.of))


def _is_copy(s: Statement) -> TypeGuard[Map]:
    return isinstance(s, Map) and s.body == Ref(0) and isinstance(s.args[0], View) and s.out.buffer.space != "scalar"


def _source(s: Map) -> View:
    """Return what is copied, without the axes of one element that the copy does not have."""
    (x,) = s.args
    assert isinstance(x, View)
    return replace(x, axes=tuple(axis for axis, to in zip(x.axes, s.out.axes, strict=True) if to.of))


def _joining_axis(parts: Sequence[Map]) -> int | None:
    """Return the axis of a buffer along which copies follow each other from its begin to its end, or None."""
    buffer = parts[0].out.buffer
    for axis, length in enumerate(buffer.shape):
        at: Size = 0
        for s in parts:
            if size(s.out.start[axis] - at) != 0 or not _is_slab(s.out, axis):
                break
            at = size(at + next((a.length for a in s.out.axes if axis in a.of), 1))
        else:
            kinds = {any(axis in a.of for a in s.out.axes) for s in parts}
            if size(at - length) == 0 and len(kinds) == 1:
                return axis
    return None


def _is_slab(view: View, axis: int) -> bool:
    """Answer whether a view is a span of a buffer along one axis, or one point of it, and all of it along the others."""
    for i, length in enumerate(view.buffer.shape):
        own = [a for a in view.axes if i in a.of]
        if i == axis:
            if len(own) > 1 or any(a.step != 1 or len(a.of) != 1 for a in own):
                return False
        elif view.start[i] != 0 or [(a.length, a.step, a.of) for a in own] != [(length, 1, (i,))]:
            return False
    return True


def _origin(s: Statement) -> int | None:
    is_fill = isinstance(s, Map) and not s.args
    return s.origin[0] if s.origin and not is_fill else None


def _as_long(view: View) -> View:
    """Return a view of a temporary that is an expression: that is as long as the block."""
    shape = tuple(COUNT if n == BLOCK else n for n in view.buffer.shape)
    return replace(view, buffer=replace(view.buffer, shape=shape))


def _covers(view: View) -> bool:
    """Answer whether a view is all elements of its buffer, in any order."""
    return is_whole(permuted(view, in_order(view))) if all(axis.of for axis in view.axes) else False


def _in_order(s: Map) -> Map:
    """Return a map whose axes are in the order in which its result lies in memory, so that no view transposes it, without
    those of one element that the buffer lacks."""
    order = [i for i in in_order(s.out) if s.out.axes[i].of]
    args = tuple(permuted(arg, order) if isinstance(arg, View) else arg for arg in s.args)
    return replace(s, out=permuted(s.out, order), args=args)


def _plain_ordered(s: Reduce) -> tuple[Shown, str]:
    """Return the operand of a reduction, its kept axes in the order of the result and those that go merged where they are
    one axis in memory, and the axes that go, as text."""
    kept = [i for i in range(len(s.x.axes)) if i not in s.axes]
    order = list(range(len(s.x.axes)))
    for place, i in zip(kept, (kept[k] for k in in_order(s.out)), strict=True):
        order[place] = i
    x, groups = permuted(s.x, order), list[tuple[int, ...]]()
    for i in range(len(order)):
        before = groups[-1] if groups else ()
        if before and i in s.axes and before[-1] in s.axes and merges(x, (before[-1], i)):
            groups[-1] = (*before, i)
        else:
            groups.append((i,))
    axes = [k for k, group in enumerate(groups) if group[0] in s.axes]
    return Shown(x, tuple(groups)), str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def _flipped(view: View, axis: int) -> View:
    length = view.axes[axis].length
    return span(view, axis, size(length - 1), length, -1)


def _index_of(s: Gather) -> tuple[int, View | None]:
    """Return the number of axes of samples of a gather, and its index with these axes alone; None where rows of one sample
    have indices of their own."""
    lead = 0
    while lead < len(s.index.axes) and s.index.axes[lead].of:
        lead += 1
    own = s.index.axes[lead:]
    if any(axis.of for axis in own) or s.axis < lead:
        return lead, None
    return lead, replace(s.index, axes=s.index.axes[:lead])


def _ufunc(name: str) -> tuple[str, list[str]] | None:
    """Return the function of NumPy that an operation is, and further arguments that are numbers."""
    if name in COMPARISONS:
        return name, []
    code = ops.BY_NAME[name].code
    if not code.startswith("np.") or not code.endswith(")"):
        return None
    function, _, inside = code[len("np.") : -1].partition("(")
    args = inside.split(", ")
    arity = ops.BY_NAME[name].arity
    more = args[arity:]
    plain = args[:arity] == [f"{{{i}}}" for i in range(arity)]
    return (function, more) if plain and all(arg.isdigit() for arg in more) and "." not in function else None


def _is_condition(tree: Tree) -> bool:
    return isinstance(tree, Call) and bool(getattr(ops.BY_NAME[tree.name].body, "boolean", False))


def _float(tree: Tree, text: str) -> str:
    """Return a number that is computed before the loop as a float of Python: one of NumPy would make float64 of float32."""
    return f"float({text})" if "np." in text else text


def maker(buffer: Buffer) -> str:
    """Return the function that allocates a buffer: results must not come from the workspace, which later calls use."""
    is_small = BATCH in buffer.shape and not {STEPS, BLOCK} & {*buffer.shape}
    return "np.empty" if buffer.space == "result" or is_small or buffer.dtype != "float" else "ws.room"


def kind(buffer: Buffer) -> str:
    return {"float": "dtype", "index": "np.intp", "bool": "bool"}[buffer.dtype]
