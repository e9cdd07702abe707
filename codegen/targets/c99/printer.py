"""Loops as lines of C, each assignment with its equation beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS, Buffer, Extent
from symbptt.codegen.targets.c99.fuse import Numbers, is_independent
from symbptt.codegen.targets.c99.loops import CHOSEN, ZERO, Assign, Element, For, IfTiny, Invoke, Line, Where
from symbptt.codegen.targets.c99.scalar import expression
from symbptt.codegen.targets.c99.sizes import Names, size_code
from symbptt.ir.naming import free_letters, unique
from symbptt.ir.scalar import Ref, Sum, Tree
from symbptt.ir.shape import Size

WIDTH = 120
COMMENT = 68
"""The column where comments begin that stand behind short lines."""
LETTERS = "ijklpqruvwz"
"""Names of indices of loops over the axes of one sample."""


@dataclass(frozen=True)
class Printer:
    """The data that lines need as text: the names of buffers and of sizes, the buffers that are numbers, those that may be
    absent and count as zero then, the elements that broadcast constants have, and the equation of a value."""

    buffers: Mapping[Buffer, str]
    sizes: Names
    numbers: Numbers
    optional: frozenset[Buffer]
    constants: Mapping[Buffer, tuple[int, ...]]
    equation: Callable[[tuple[int, ...]], str]
    indices: Names = field(default_factory=dict)

    @cached_property
    def names(self) -> Names:
        """The names of all symbols."""
        return {**self.sizes, **self.indices}

    def inside(self, line: For) -> Printer:
        """Return the printer for the body of a loop, which has a name for its index."""
        taken = {*self.buffers.values(), *self.names.values()}
        if line.count is not None:
            names = {line.index: unique("from", taken), line.count: unique("steps", taken)}
            return replace(self, indices={**self.indices, **names})
        is_of_steps = line.in_time or line.stop == STEPS or line.start != 0
        letters = "t" if is_of_steps else "bqr" if line.stop == BATCH else LETTERS
        name = next(free_letters(letters, taken))
        return replace(self, indices={**self.indices, line.index: name})


def lines_of(lines: Sequence[Line], p: Printer, depth: int = 1) -> list[str]:
    """Return lines as text, in a block of some depth."""
    groups = groupby(lines, lambda line: _zeroed(line, p))
    return [text for kind, group in groups for text in _group(kind, [*group], p, depth)]


def _zeroed(line: Line, p: Printer) -> str:
    """Return "number" or "array" for a line that only writes a zero, by its place, and "" for other lines, among them those that
    declare a number which stays zero."""
    if not isinstance(line, Assign) or line.body != ZERO or line.add:
        return ""
    if line not in p.numbers.at:
        return "array"
    # One that stays zero is a constant.
    return "" if line.out.buffer in p.numbers.once else "number"


def _group(kind: str, lines: Sequence[Line], p: Printer, depth: int) -> list[str]:
    """Return lines of one kind as text; zeros are written together."""
    if not kind:
        return [text for line in lines for text in _line(line, p, depth)]
    names = [_element(line.out, p) for line in lines if isinstance(line, Assign)]
    text = f"real {', '.join(f'{name} = 0' for name in names)};" if kind == "number" else f"{' = '.join(names)} = 0;"
    return broken(f"{'    ' * depth}{text}")


def _line(line: Line, p: Printer, depth: int) -> list[str]:
    match line:
        case Assign():
            return commented(f"{'    ' * depth}{_assignment(line, p)}", _comment(line, p))
        case Invoke():
            return commented(f"{'    ' * depth}{_call(line, p)}", p.equation(line.origin) if line.origin else "")
        case Where(first, None, body):
            return _block(f"if ({p.buffers[first.buffer]})", body, p, depth)
        case Where(first, length, body):
            question = f"any_below({size_code(length, p.names)}, {_address(first, p)}, TINY)"
            return _block(f"if ({question})", body, p, depth)
        case IfTiny(out, body):
            return _block(f"if ({_element(out, p)} < TINY)", body, p, depth)
    inside = p.inside(line)
    if line.count is not None:
        return _strips(line, line.count, inside, depth)
    head = _head(line, inside)
    # Compilers answer by a check at each call, or not at all, whether the order of iterations matters.
    says = is_independent(line, p.numbers) and any(isinstance(x, Assign) and x.args for x in line.body)
    return _block(f"INDEPENDENT {head}" if says else head, line.body, inside, depth)


def _block(head: str, body: Sequence[Line], p: Printer, depth: int) -> list[str]:
    """Return a statement with a body as text, in braces where that has more than one statement."""
    start = "    " * depth
    inside = lines_of(body, p, depth + 1)
    if len(inside) == 1 and len(body) > 1:  # zeros that are written together
        return [f"{start}{head} {inside[0].strip()}"]
    if len(body) > 1:
        return [f"{start}{head} {{", *inside, f"{start}}}"]
    (only,) = body
    if isinstance(only, Assign):
        code = f"{start}{head} {_assignment(only, p)}"
        if len(code) <= WIDTH:
            return commented(code, _comment(only, p))
    return [f"{start}{head}", *inside]


def _head(line: For, inside: Printer) -> str:
    name, start, stop = (
        inside.indices[line.index],
        size_code(line.start, inside.names),
        size_code(line.stop, inside.names),
    )
    if line.reverse:
        return f"for (size_t {name} = {stop}; {name}-- > {start};)"
    return f"for (size_t {name} = {start}; {name} < {stop}; {name}++)"


def _strips(line: For, count: sp.Symbol, inside: Printer, depth: int) -> list[str]:
    """Return a loop by strips, which begins with how many steps its round has: the short one is the last of the order."""
    indent = "    " * depth
    name, steps = inside.indices[line.index], inside.indices[count]
    stop, strip = (size_code(x, inside.names) for x in (line.stop, line.strip))
    if line.reverse:
        head = f"for (size_t {name} = {stop}, {steps}; {name} > 0;) {{"
        first = [f"{steps} = {name} < {strip} ? {name} : {strip};", f"{name} -= {steps};"]
    else:
        head = f"for (size_t {name} = 0; {name} < {stop}; {name} += {strip}) {{"
        first = [f"const size_t {steps} = {stop} - {name} < {strip} ? {stop} - {name} : {strip};"]
    body = lines_of(line.body, inside, depth + 1)
    return [f"{indent}{head}", *(f"{indent}    {text}" for text in first), *body, f"{indent}}}"]


def _call(line: Invoke, p: Printer) -> str:
    args = [_argument(x, p) for x in line.args]
    text = f"{line.function}({', '.join(args)})"
    return f"if ({text}) break;" if line.ends else f"{text};"


def _argument(x: Element | Size | str, p: Printer) -> str:
    return x if isinstance(x, str) else _address(x, p) if isinstance(x, Element) else size_code(x, p.names)


def _address(x: Element, p: Printer) -> str:
    """Return the address of an element; that of the first one of a row is the row."""
    text = _element(x, p)
    if x.buffer in p.numbers.buffers:
        return f"&{text}"
    return text.removesuffix("[0]") if text.endswith("[0]") else f"&{text}"


def _assignment(line: Assign, p: Printer) -> str:
    body, args, add = line.body, line.args, line.add
    if not add and (rest := _added(line)) is not None:
        body, add = rest, True
    parts = [_read(x, p) for x in args]
    start = ""
    if line in p.numbers.at:
        start = "const real " if line.out.buffer in p.numbers.once else "real "
    return f"{start}{_element(line.out, p)} {'+=' if add else '='} {expression(body, parts)};"


def _read(x: Element | Extent, p: Printer) -> str:
    """Return the text of a number that is read; whole numbers become numbers with a point, whose quotients are none."""
    if isinstance(x, Extent):
        return f"(real)({size_code(x.size, p.names)})"
    return f"(real){_element(x, p)}" if x.buffer.dtype == "index" else _element(x, p)


def _added(line: Assign) -> Tree | None:
    """Return the term that an assignment adds to what is there, None where it does more."""
    match line.body:
        case Sum(((1, Ref(i)), (1, term))) if line.args[i] == line.out:
            return term
    return None


def _element(x: Element, p: Printer) -> str:
    """Return the text of an element; one of an array that is absent is zero."""
    name = p.buffers[x.buffer]
    if x.buffer in p.numbers.buffers:
        return name
    text = f"{name}{_index(x, p)}"
    return f"({name} ? {text} : 0)" if x.buffer in p.optional and not x.is_there else text


def _index(x: Element, p: Printer) -> str:
    names = p.names if x.chosen is None else {**p.names, CHOSEN: _element(x.chosen, p)}
    index = x.index
    if x.buffer in p.constants:  # an axis along which its numbers repeat has one element
        shape = p.constants[x.buffer]
        own = index[len(index) - len(shape) :]
        return "".join(f"[{0 if n == 1 else size_code(i, names)}]" for i, n in zip(own, shape, strict=True))
    kept = kept_axes(x.buffer)
    return "".join(f"[{size_code(index[axis], names)}]" for axis in kept) or "[0]"


def kept_axes(buffer: Buffer) -> tuple[int, ...]:
    """Return the axes of an array that C has: those of the caller's all, of others those of more than one element."""
    shown = buffer.space in ("argument", "result", "constant")
    return tuple(i for i, n in enumerate(buffer.shape) if shown or n != 1)


def _comment(line: Assign, p: Printer) -> str:
    """Return the equation beside an assignment; where a sum begins at zero it stands beside what is added."""
    return "" if line.body == ZERO or not line.origin else p.equation(line.origin)


def commented(code: str, comment: str) -> list[str]:
    """Return code with a comment behind it, or before it where there is no place; long lines are broken."""
    comment = safe(comment)
    start = code[: len(code) - len(code.lstrip())]
    if comment and max(COMMENT, len(code) + 2) + len(comment) + 3 <= WIDTH:
        return [f"{code:<{COMMENT - 2}}  // {comment}"]
    above = textwrap.wrap(comment, WIDTH - len(start) - 5, break_long_words=False, break_on_hyphens=False)
    return [*(f"{start}// {'  ' * (i > 0)}{part}" for i, part in enumerate(above)), *broken(code)]


def joined(start: str, parts: Sequence[str], end: str) -> list[str]:
    """Return parts with commas between them as lines that are not long, broken between parts."""
    solid = ", ".join(part.replace(" ", "\xa0") for part in parts)
    return [line.replace("\xa0", " ") for line in broken(start.replace(" ", "\xa0") + solid + end.replace(" ", "\xa0"))]


def broken(code: str) -> list[str]:
    """Return a line of code as lines that are not long, broken at spaces."""
    start = code[: len(code) - len(code.lstrip())]
    return textwrap.wrap(code.strip(), WIDTH, initial_indent=start, subsequent_indent=f"{start}    ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def safe(text: str) -> str:
    """Return text that a comment of C can hold: it neither ends the comment nor runs on into the next line."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text.expandtabs())
    for sign, instead in (("*/", "* /"), ("/*", "/ *"), ("\\", "⧵"), ("??", "? ?")):
        plain = plain.replace(sign, instead)
    return plain
