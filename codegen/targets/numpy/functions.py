"""The functions of a NumPy module, as lines: what they take, what they compute, what they give back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, groupby
from typing import Any

from symbptt.autodiff.labels import Label
from symbptt.codegen.loop_ir.nodes import (
    Buffer,
    Function,
    Runtime,
    Scan,
    View,
    indices,
    walk,
)
from symbptt.codegen.lower.pull import SEND
from symbptt.codegen.targets.numpy import sweeps
from symbptt.codegen.targets.numpy.grouping import allocated_lines
from symbptt.codegen.targets.numpy.grouping import kind as type_text
from symbptt.codegen.targets.numpy.index import Names
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.operands import Operands
from symbptt.codegen.targets.numpy.printer import Allocation, Head, Item, Line, Printer
from symbptt.codegen.targets.numpy.views import Scope, Views
from symbptt.codegen.targets.python.text import (
    dict_text,
    nested_text,
    number_text,
    tuple_text,
    unpack,
)
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.equations.notation.signs import TEXT
from symbptt.ir.scalar import Ref

Wishes = Mapping[tuple[Buffer, tuple[str, ...]], str]
FREE = "active is None and reset is None and flow is None"


@dataclass(frozen=True)
class Text:
    """What a function needs as text: the variables of sizes, the equations of values, names for parts of buffers, the names
    of the states, the limit of adjoints, and the numbers that the head of the module has."""

    names: Names
    equation: Callable[[int], str]
    wishes: Wishes
    states: tuple[str, ...] = ()
    limit: float | None = None
    numbers: frozenset[str] = frozenset()


def function_text(
    head: str,
    f: Function,
    text: Text,
    first: Sequence[str],
    last: Callable[[Printer], Sequence[str]],
    around: tuple[str, str] | None = None,
) -> str:
    """Return a function: its head, the lines `first`, its body, and the lines that `last` writes behind it; `around` are the
    lines around a loop whose blocks are scanned."""
    taken = {*RESERVED, *(b.name for b in f.declared), *map(str, f.sizes), *indices(f.body)}
    taken |= {new for _, new in text.names.renamed}
    operands = Operands(text.names, Views(text.names, taken, text.wishes))
    begun = {port.view.buffer for port in f.arguments}
    printer = Printer(f, operands, _Calls(text).lines, begun, around=around, has_workspace="ws" in head)
    top = Scope()
    items = printer.body(top, f.body, 0)
    operands.views.resolve([item.code for item in items if isinstance(item, Line)])
    body = list(_lines(items, operands.views, text.equation))
    end = last(printer)
    behind = [*first[1:], *_constants(f, text), *body, *end]
    every = [*first[:1], *_sizes(text.names, f, behind), *behind]
    return "\n".join([head, *(short for line in every for short in wrapped(f"    {line}"))])


def _sizes(names: Names, f: Function, lines: Sequence[str]) -> list[str]:
    """Return the line that takes the sizes that are read."""
    renamed = dict(names.renamed)
    used = [x.name for x in f.sizes if _is_read(renamed.get(x.name, x.name), lines)]
    return unpack([renamed.get(name, name) for name in used], used, "sizes")


def _is_read(name: str, lines: Sequence[str]) -> bool:
    return any(name in line.partition("  # ")[0] for line in lines if not line.startswith("#"))


def _constants(f: Function, text: Text) -> list[str]:
    """Return the lines of constants that are arrays, and of numbers that the head of the module lacks."""
    found = []
    for c in f.constants:
        if not c.buffer.shape and c.buffer.name not in text.numbers:
            found.append(f"{c.buffer.name} = {number_text(c.values)}")
        if c.buffer.shape:
            values = c.values.tolist() if hasattr(c.values, "tolist") else _as_list(c.values)
            array = f"np.array({nested_text(values)}, {type_text(c.buffer)})"
            found.append(f"{c.buffer.name} = np.broadcast_to({array}, {text.names.shape(c.buffer.shape)})")
    return found


def _as_list(values: object) -> object:
    return [_as_list(x) for x in values] if isinstance(values, tuple) else values


def _lines(items: Sequence[Item], views: Views, equation: Callable[[int], str]) -> Iterable[str]:
    """Yield the lines of a body; the last line of a value has its equation, and neighbours that allocate are one."""
    last = {item.origin: i for i, item in enumerate(items) if isinstance(item, Line) and item.origin is not None}
    for kind, run in groupby(enumerate(items), lambda pair: isinstance(pair[1], Allocation)):
        found = list(run)
        if kind:
            arrays = [a for _, item in found if isinstance(item, Allocation) for a in item.arrays]
            depth = "    " * found[0][1].depth
            yield from (f"{depth}{line}" for line in allocated_lines(arrays))
            continue
        for i, item in found:
            indent = "    " * item.depth
            if isinstance(item, Head):
                lines = {"before": views.before, "opening": views.opening}
                texts = [views.stepping(item.scope)] if item.what == "stepping" else lines[item.what](item.scope)
                yield from (f"{indent}{line}" for line in texts)
            elif isinstance(item, Line):
                code = indent + views.text(item.code)
                comment = equation(item.origin) if item.origin is not None and last[item.origin] == i else ""
                yield f"{code:<58}  # {comment}" if comment else code


@dataclass(frozen=True)
class _Calls:
    """Writes the calls of the runtime."""

    text: Text

    def lines(self, printer: Printer, scope: Scope, s: Runtime | Scan) -> list[Item]:
        write: Any = _scan if isinstance(s, Scan) else _CALLS[s.name]
        return [Line(code, depth) for depth, code in write(self.text, printer, scope, s)]


Coded = Iterable[tuple[int, str]]


def _begin(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    states = [_state(printer, name) for name in text.states]
    for after, before, _ in states:
        printer.begun.update((after, before))
    names = [f"{after.name}_buffer, {before.name}, {after.name}" for after, before, _ in states]
    yield 0, "masked = active is not None or reset is not None"
    if len(states) == 1:
        yield 0, f'{names[0]} = _buffers(start["{text.states[0]}"], T, masked)'
    elif states:
        yield 0, f"({'), ('.join(names)}) = (_buffers(start[k], T, masked) for k in STATES)"


def _state(printer: Printer, name: str) -> tuple[Buffer, Buffer, Buffer]:
    """Return the buffers of a state after and before each step, and of the initial one."""
    f = printer.function
    after = next(p.view.buffer for p in f.results if (p.group, p.name) == ("states", name))
    initial = next(p.view.buffer for p in f.arguments if (p.group, p.name) == ("state", name))
    enter = next(x for x in walk(f.body) if isinstance(x, Runtime) and x.name == sweeps.ENTER)
    index = [p.name for p in f.arguments if p.group == "state"].index(name)
    return after, enter.out[index].buffer, initial


def _enter(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    states = [_state(printer, name) for name in text.states]
    known = tuple_text(f"({initial.name}, {after.name}_buffer, {before.name})" for after, before, initial in states)
    yield 0, "if masked:"
    yield 1, f"_enter(t, {known}, active, reset)"


def _start(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    names = [view.buffer.name for view in s.out]
    printer.begun.update(view.buffer for view in s.out)
    yield 0, "adjoints, resets, waiting = _adjoints(last, sizes, B, dtype)"
    if names:
        yield 0, f"{', '.join(names) if len(names) > 1 else tuple_text(names)} = adjoints"
    yield 0, "sent = _sent(full, adjoints, active)"


def _arrive(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    # The direct cotangent is added to the one received from step t+1.
    yield 0, "for adjoint, given in sent:"
    given = "; ".join(f"+ {TEXT.outside(TEXT.symbol(Label(name, 0)))}" for name in text.states)
    yield 1, f"np.add(adjoint, given[t], out=adjoint)  # {given}"


def _clip(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    assert text.limit is not None
    yield 0, f"_clip(adjoints, {float(text.limit)!r})"


def _wait(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    yield 0, "if active is not None:"
    yield 1, "_wait(active[t], adjoints, waiting)"


def _watch(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    watched = [printer.operands.text(scope, arg) for arg in s.args if isinstance(arg, View)]
    yield 0, "if flow is not None:"
    yield 1, f"_watch(flow, t, {tuple_text(watched)})"


def _leave(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    yield 0, "if active is not None or reset is not None:"
    yield 1, "_leave(t, adjoints, waiting, resets, active, reset)"


def _send(text: Text, printer: Printer, scope: Scope, s: Runtime) -> Coded:
    names = zip(text.states, s.args, strict=True)
    yield (
        0,
        f"return {dict_text({name: printer.operands.text(scope, arg) for name, arg in names if isinstance(arg, View)})}, None, None",
    )


def _scan(text: Text, printer: Printer, scope: Scope, s: Scan) -> Coded:
    """Yield the call that scans the steps of a block, or says that its loop must run.

    Example of h_t = a_t h_{t-1} + u_t: `scanned = _scan(plans, ((a,),), (u,), (h_buffer[lo : hi + 1],), window)` stands before
    the loop over the steps of the block, which runs `if not scanned`.
    """

    def shown(arg: View | None, is_fixed: bool = False) -> str:
        return "None" if arg is None else _scanned(printer, scope, arg, is_fixed)

    rows = tuple_text([tuple_text([shown(arg, s.is_fixed) for arg in row]) for row in s.coefficients])
    free = tuple_text([shown(arg) for arg in s.free])
    fixed = ", True" * s.is_fixed
    if not s.reverse:
        # Row lo of a buffer is the state before the block, from which the scan goes on.
        x = tuple_text(f"{view.buffer.name}_buffer[lo : hi + 1]" for view in s.out)
        yield 0, f"scanned = _scan(plans, {rows}, {free}, {x}, window{fixed})"
        return
    # The cotangents that a caller gives of states stand in `full`; others that are added are values of the program.
    own = [f'None if full["{name}"] is None else full["{name}"][lo:hi]' for name in text.states]
    extra = [[shown(term.view) for term in terms[1:]] for terms in s.given]
    given = tuple_text([tuple_text([a, *more]) for a, more in zip(own, extra, strict=True)])
    arrays = tuple_text([printer.operands.text(scope, view) for view in s.out])
    carries = tuple_text([printer.operands.text(scope, view) for view in s.carry])
    yield 0, f"scanned = _scan_back(plans, {rows}, {free}, {given}, {carries}, {arrays}, window{fixed})"


def _scanned(printer: Printer, scope: Scope, arg: View, is_fixed: bool) -> str:
    """Return an operand of a scan. One that is the same at all steps is broadcast to these, but for coefficients that all are."""
    if is_fixed:
        arg = replace(arg, axes=tuple(dropwhile(lambda axis: not axis.of, arg.axes)))
    number = arg.buffer.space in ("constant", "scalar") and not arg.buffer.shape
    if is_fixed or any(axis.of for axis in arg.axes[:2]):
        return printer.operands.part(scope, arg)[0]
    text = printer.operands.number(scope.outermost, Ref(0), (arg,)) if number else printer.operands.text(scope, arg)
    return f"np.broadcast_to(np.asarray({text}, {type_text(arg.buffer)}), {printer.operands.names.shape(arg.shape)})"


_CALLS = {
    sweeps.BEGIN: _begin, sweeps.ENTER: _enter, sweeps.START: _start, sweeps.ARRIVE: _arrive, sweeps.CLIP: _clip,
    sweeps.WAIT: _wait, sweeps.WATCH: _watch, sweeps.LEAVE: _leave, SEND: _send,
}  # fmt: skip
