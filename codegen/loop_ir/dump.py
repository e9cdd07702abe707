"""A function of the loop IR as text, one line for each statement."""

from __future__ import annotations

from collections.abc import Sequence

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
    Operand,
    Port,
    Reduce,
    Runtime,
    Scan,
    Scatter,
    Settle,
    Sharpen,
    Statement,
    View,
)
from symbptt.codegen.loop_ir.views import is_whole
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree
from symbptt.ir.shape import Size, size, size_text
from symbptt.ir.shape import show as show_shape

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = {"greater": ">", "greater_equal": "≥", "less": "<", "less_equal": "≤", "equal": "=", "not_equal": "≠"}


def dump(f: Function) -> str:
    """Return a function as text: its arguments and results, its buffers, its statements."""
    head = [f"function {f.name}", *(f"  given {_port(port)}" for port in f.arguments)]
    head += [f"  number {_buffer(c.buffer)} = {c.values}" for c in f.constants]
    head += [f"  {b.space} {_buffer(b)}" for b in f.buffers]
    ends = [f"  gives {_port(port)}" for port in f.results]
    return "\n".join([*head, *_lines(f.body, 1), *ends])


def _port(port: Port) -> str:
    text = _buffer(port.view.buffer) if is_whole(port.view) else view_text(port.view)
    return f"{port.group} {port.name}: {text}"


def _buffer(b: Buffer) -> str:
    return f"{b.name}{show_shape(b.shape)}{'' if b.dtype == 'float' else ' ' + b.dtype}"


def _lines(statements: Sequence[Statement], depth: int) -> list[str]:
    return [f"{'  ' * depth}{line}" for s in statements for line in _statement(s)]


def _statement(s: Statement) -> list[str]:
    match s:
        case Map():
            return [f"map {view_text(s.out)} = {tree_text(s.body, [operand_text(arg) for arg in s.args])}"]
        case Contract():
            spec = f"{_labels(s.labels.a)},{_labels(s.labels.b)}->{_labels(s.labels.out)}"
            return [f'contract {view_text(s.out)} {_sign(s.add)} {view_text(s.a)} · {view_text(s.b)}  "{spec}"']
        case Reduce():
            return [f"reduce {view_text(s.out)} {_sign(s.add)} {s.kind} of {view_text(s.x)} along {_numbers(s.axes)}"]
        case Gather():
            return [f"gather {view_text(s.out)} = {view_text(s.table)} at {view_text(s.index)} along {s.axis}"]
        case Scatter():
            return [f"scatter {view_text(s.out)} at {view_text(s.index)} along {s.axis} += {view_text(s.x)}"]
        case Cumulate():
            way = " from the back" if s.reverse else ""
            return [f"cumulate {view_text(s.out)} = {view_text(s.x)} along {s.axis}{way}"]
        case Algebra():
            return [f"{s.name} {view_text(s.out)} = {s.name}({', '.join(map(view_text, s.args))})"]
        case Sharpen():
            head = f"sharpen {view_text(s.out)} = {s.function} of {view_text(s.argument)}, where it is tiny"
            return [f"{head}:" if s.body else head, *_lines(s.body, 1)]
        case Loop():
            steps = f" by {_size(s.strip)}, each {s.count} steps" if s.count is not None else ""
            way = " backward" if s.reverse else ""
            return [f"loop {s.index} in {_size(s.start)}:{_size(s.stop)}{steps}{way}:", *_lines(s.body, 1)]
        case Settle():
            pairs = ", ".join(f"{view_text(a)} = {view_text(b)}" for a, b in zip(s.out, s.new, strict=True))
            return [f"settle {pairs}, to a change of {s.tolerance:g}{' of the largest' if s.relative else ''}"]
        case Scan():
            return _scan(s)
        case If():
            other = ["else:", *_lines(s.orelse, 1)] if s.orelse else []
            return [f"if {view_text(s.flag)}:", *_lines(s.body, 1), *other]
        case Runtime():
            out = ", ".join(map(view_text, s.out))
            return [f"runtime {out} = {s.name}({', '.join(map(operand_text, s.args))})"]


def _scan(s: Scan) -> list[str]:
    """Return a scan as one line for each array that it writes, above the loop that does the same."""
    found = []
    for i, (out, row, free) in enumerate(zip(s.out, s.coefficients, s.free, strict=True)):
        products = zip(row, s.carry, strict=True)
        terms = [f"{view_text(c)}*{view_text(x)}" for c, x in products if c is not None]
        terms += [] if free is None else [view_text(free)]
        terms += [
            view_text(g.view) + ("" if g.flag is None else f" if {view_text(g.flag)}")
            for g in (s.given or [()] * len(s.out))[i]
        ]
        found.append(f"scan {view_text(out)}{' backward' if s.reverse else ''}: {' + '.join(terms) or '0'}")
    other = f", or with {', '.join(map(view_text, s.unless))}" if s.unless else ", or"
    return [*found[:-1], f"{found[-1]}{other} step by step:", *_lines(s.body, 1)]


def _size(value: Size) -> str:
    """Return a size as text, with subtracted terms at the end."""
    terms = [] if isinstance(value, int) else value.as_ordered_terms()
    if not any(term.could_extract_minus_sign() for term in terms):
        return size_text(value)
    plus = [size_text(term) for term in terms if not term.could_extract_minus_sign()]
    minus = [size_text(-term) for term in terms if term.could_extract_minus_sign()]
    return "+".join(plus) + "".join(f"-{text}" for text in minus)


def _sign(add: bool) -> str:
    return "+=" if add else "="


def _numbers(axes: Sequence[int]) -> str:
    return ", ".join(map(str, axes))


def _labels(labels: Sequence[int]) -> str:
    return "".join(LETTERS[x] for x in labels)


def operand_text(operand: Operand) -> str:
    """Return an operand as text."""
    return _size(operand.size) if isinstance(operand, Extent) else view_text(operand)


def view_text(view: View) -> str:
    """Return a view as text: an index for each axis of its buffer, and then the order of its axes where that is not the
    buffer's, `+` for one that repeats: `U[:, :]{1, 0}`, `b[:]{+, 0}`.

    An axis of the buffer along which two axes of the view move is written with the lengths of both, `q[(4 n)]`.
    """
    index = ", ".join(_index(view, i) for i in range(len(view.buffer.shape)))
    text = f"{view.buffer.name}[{index}]" if index else view.buffer.name
    # Axes in the order of the buffer, each along one of its axes, need no mark.
    order = [axis.of for axis in view.axes]
    if order == sorted(order) and all(len(of) == 1 for of in order):
        return text
    return f"{text}{{{', '.join('+' if not of else '='.join(map(str, of)) for of in order)}}}"


def _index(view: View, i: int) -> str:
    start, axes = view.start[i], [axis for axis in view.axes if i in axis.of]
    if not axes:
        return _size(start)
    if len(axes) > 1:
        lengths = " ".join(_size(axis.length) for axis in axes)
        return f"({lengths})" if start == 0 else f"{_size(start)}:({lengths})"
    (axis,) = axes
    if (start, axis.length, axis.step) == (0, view.buffer.shape[i], 1):
        return ":"
    stop = size(start + axis.length * axis.step)
    step = "" if axis.step == 1 else f":{_size(axis.step)}"
    return f"{_size(start)}:{_size(stop)}{step}"


def tree_text(tree: Tree, parts: Sequence[str], binds: int = 0) -> str:
    """Return an elementwise body as text, in brackets where it binds less tightly than `binds`."""
    level, text = _tree(tree, parts)
    return f"({text})" if level < binds else text


def _tree(tree: Tree, parts: Sequence[str]) -> tuple[int, str]:
    match tree:
        case Ref(index):
            return 4, parts[index]
        case Num(value):
            return 4, str(value) if value.is_Integer or not value.is_number else str(float(value))
        case Sum(terms):
            # A sum after a minus needs brackets: a - (b + c).
            signed = [(" - " if sign < 0 else " + ") + tree_text(t, parts, 1 + (sign < 0)) for sign, t in terms]
            text = "".join(signed)
            return 1, text[3:] if text.startswith(" + ") else "-" + text[3:]
        case Prod(factors, divisors):
            above = "*".join(tree_text(f, parts, 2) for f in factors)
            # A divisor needs brackets around products too: a/(b*c).
            return 2, above + "".join(f"/{tree_text(d, parts, 3)}" for d in divisors)
        case Power(base, exponent):
            return 3, f"{tree_text(base, parts, 4)}**{tree_text(exponent, parts, 4)}"
        case Call(name, (a, b)) if name in SIGNS:
            return 4, f"[{tree_text(a, parts)} {SIGNS[name]} {tree_text(b, parts)}]"
        case Call(name, args):
            return 4, f"{name}({', '.join(tree_text(arg, parts) for arg in args)})"
    raise AssertionError(tree)
