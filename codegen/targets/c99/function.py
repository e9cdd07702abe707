"""One sweep as a function of C: its loops, and before them the checks, sizes and arrays that they use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.loop_ir.nodes import BLOCK, Buffer, Constant, Extent, Function, Port, writes
from symbptt.codegen.loop_ir.nodes import walk as walk_statements
from symbptt.codegen.loop_ir.views import whole
from symbptt.codegen.targets.c99.functions import is_known
from symbptt.codegen.targets.c99.fuse import Numbers, fused, numbers_of
from symbptt.codegen.targets.c99.interface import Field, Interface, elements, local_buffers
from symbptt.codegen.targets.c99.loops import (
    PANELS,
    Assign,
    Element,
    For,
    IfTiny,
    Invoke,
    Line,
    Loops,
    Where,
    accesses,
    loops,
)
from symbptt.codegen.targets.c99.names import RESERVED, header_names, named
from symbptt.codegen.targets.c99.printer import Printer, broken, kept_axes, lines_of
from symbptt.codegen.targets.c99.scalar import functions_of, number
from symbptt.codegen.targets.c99.sizes import BLOCK_NAME, Names, size_code, with_block
from symbptt.errors import CellError
from symbptt.ir.scalar import as_sympy
from symbptt.ir.shape import Size, prod, sign_of, size, symbols

TYPES = {"float": "real", "index": "size_t", "bool": "unsigned char"}
"""The types of elements."""

ABSENT = ("state", "cotangent", "direct")
"""The groups of arguments whose pointers may be NULL, which no product takes."""


MOVING = ("input", "index", "state")
"""The groups of what each step is given."""
Told = Callable[[Any, Loops], Sequence[Line]] | None
"""The lines of statements that may have no value, or none where nobody listens."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as fused loops, and which of its buffers became numbers."""

    function: Function
    lines: tuple[Line, ...]
    numbers: Numbers

    @cached_property
    def arrays(self) -> tuple[Buffer, ...]:
        """The buffers that stay arrays, in the order in which they are declared."""
        # In the order of declarations, so that the same cell gives the same bytes; those of the target itself come
        # last.
        used = dict.fromkeys(x.buffer for x, _ in accesses(self.lines) if x.buffer not in self.numbers.buffers)
        order = {buffer: i for i, buffer in enumerate(self.function.declared)}
        return tuple(sorted(used, key=lambda buffer: order.get(buffer, len(order))))

    @cached_property
    def written(self) -> frozenset[Buffer]:
        """The buffers that the sweep writes."""
        return frozenset(x.buffer for x, is_written in accesses(self.lines) if is_written)

    @cached_property
    def functions(self) -> frozenset[str]:
        """The functions that it calls."""
        return frozenset(
            name for line in walk(self.lines) if isinstance(line, Assign) for name in functions_of(line.body)
        )

    @cached_property
    def calls(self) -> frozenset[str]:
        """The functions of whole matrices that it calls."""
        found = {line.function for line in walk(self.lines) if isinstance(line, Invoke)}
        asks = any(isinstance(line, Where) and line.count is not None for line in walk(self.lines))
        return frozenset(found | ({"any_below"} if asks else set()))


def sweep_of(
    name: str, function: Function, told: Told = None, *, absent: Collection[str] = ABSENT, is_plain: bool = False
) -> Sweep:
    """Return a function of the cell called `name` as fused loops; arguments of the groups `absent` may be NULL, and where all
    `is_plain`, products are loops as all else; `told` has the lines of statements that may have no value.

    Raises: CellError for a statement or a function that C does not have.
    """
    optional = {port.view.buffer for port in function.arguments if port.group in absent}
    return _known(name, _sweep(function, loops(name, function.body, optional, (), told, is_plain=is_plain)))


def stepping_of(name: str, once: Function, step: Function, told: Sequence[Told] = (None, None)) -> tuple[Sweep, Sweep]:
    """Return what one step of the cell called `name` needs of the parameters alone, and that step, as fused loops: the first packs the
    weights of the second.

    Raises: CellError as `sweep_of` does.
    """
    written = {view.buffer for s in walk_statements(step.body) for view in writes(s)}
    lasting = [x.view.buffer for x in step.arguments if x.group not in MOVING and x.view.buffer not in written]
    lines = loops(name, step.body, (), lasting, told[1])
    packs = [x for x in lines if isinstance(x, Invoke) and x.function == "pack" and x.panel.space == "residual"]
    panels = tuple(Port("residual", x.panel.name, whole(x.panel)) for x in packs)
    first = replace(once, results=(*once.results, *panels), buffers=(*once.buffers, *(x.panel for x in packs)))
    then = replace(step, arguments=(*step.arguments, *panels))
    begin = (*loops(name, once.body, (), (), told[0]), *packs)
    return _known(name, _sweep(first, begin)), _known(name, _sweep(then, [x for x in lines if x not in packs]))


def _sweep(function: Function, lines: Sequence[Line]) -> Sweep:
    # Fused first: what one iteration alone needs is known only when the loops around it are.
    found = fused(lines)
    return Sweep(function, found, numbers_of(found))


def _known(name: str, sweep: Sweep) -> Sweep:
    """Return a sweep whose functions C has."""
    for unknown in sorted(f for f in sweep.functions if not is_known(f)):
        raise CellError(
            f"{name} has the function {unknown}, which the C target does not have yet\n  write sb.compile with target='numpy'"
        )
    return sweep


def walk(lines: tuple[Line, ...]) -> Iterator[Line]:
    """Return all lines, each before those inside it."""
    for line in lines:
        yield line
        if isinstance(line, For | IfTiny | Where):
            yield from walk(line.body)


def workspace(sweep: Sweep, interface: Interface) -> tuple[Buffer, ...]:
    """Return the buffers that lie in the workspace."""
    return local_buffers(sweep.function, interface, sweep.arrays)


def body(sweep: Sweep, i: Interface, equation: Callable[[tuple[int, ...]], str]) -> list[str]:
    """Return the lines of the function: checks, sizes, arrays, loops."""
    p = printer_of(sweep, with_block(i.sizes), {*RESERVED, *header_names(i.name)}, i.optional, equation)
    arrays = [line for b in sweep.arrays for line in declaration(b, sweep, p, _source(b, sweep, i))]
    loops = lines_of(sweep.lines, p)
    # A size that nothing reads would be a warning of the compiler.
    used = used_sizes(sweep, i)
    names = [f"{name} = sizes->{name}" for symbol, name in i.sizes.items() if symbol in used]
    sizes = ", ".join([*names, *[f"{BLOCK_NAME} = block_of(sizes)"] * (BLOCK in used)])
    head = [*checks(sweep, i), *(broken(f"    const size_t {sizes};") if sizes else []), *_starts(sweep, i), *arrays]
    return [*head, "", *loops, f"    return {i.macro}_DONE;"]


def _starts(sweep: Sweep, i: Interface) -> list[str]:
    """Return the lines that say where tape and workspace begin: at multiples of 64 bytes, as do rows of 16 numbers then."""
    has_tape = any(buffer in i.tape for buffer in sweep.arrays)
    return [
        *["    real *tape = aligned(run->tape);"] * has_tape,
        *["    workspace = aligned(workspace);"] * bool(workspace(sweep, i)),
    ]


def printer_of(
    sweep: Sweep,
    sizes: Names,
    taken: Collection[str],
    optional: frozenset[Buffer],
    equation: Callable[[tuple[int, ...]], str],
) -> Printer:
    """Return the printer of a sweep whose sizes have names, in which no buffer has a name that is `taken`."""
    buffers = tuple(dict.fromkeys((*sweep.function.declared, *(x.buffer for x, _ in accesses(sweep.lines)))))
    names = named((b.name for b in buffers), {*taken, *sizes.values()})
    constants = {c.buffer: np.shape(c.values) for c in sweep.function.constants}
    return Printer({b: names[b.name] for b in buffers}, sizes, sweep.numbers, optional, constants, equation)


def unused(sweep: Sweep, i: Interface) -> list[str]:
    """Return the parameters of the function that it does not read."""
    found = [
        name
        for name, fields in _structs(sweep, i)
        if not (name == "run" and i.tape)
        and all(x.buffer in i.optional and x.buffer not in sweep.arrays for x in fields)
    ]
    return found + ["workspace"] * (not workspace(sweep, i))


def _structs(sweep: Sweep, i: Interface) -> list[tuple[str, Sequence[Field]]]:
    """Return the structs that a function is given."""
    structs = list(i.structs())
    return structs if sweep.function is i.sweeps.backward else structs[:2]


def checks(sweep: Sweep, i: Interface) -> list[str]:
    """Return the lines that refuse sizes, arrays and indices with which nothing can be computed."""
    needed = [f"{name}->{x.name}" for name, fields in _structs(sweep, i) for x in fields if x.buffer not in i.optional]
    needed += ["run->tape"] * bool(i.tape) + ["workspace"] * bool(workspace(sweep, i))
    missing = " || ".join(f"!{x}" for x in needed)
    return [
        f"    if (!fits(sizes)) return {i.macro}_WRONG_SIZES;",
        *(_if(missing, f"return {i.macro}_MISSING_ARRAY;") if needed else []),
        *(line for x in i.given if x.limit is not None for line in _index_check(x, i)),
    ]


def _if(condition: str, then: str) -> list[str]:
    lines = broken(f"    if ({condition})")
    return [f"{lines[0]} {then}"] if len(lines) == 1 and len(lines[0]) < 80 else [*lines, f"        {then}"]


def _index_check(x: Field, i: Interface) -> list[str]:
    names = {s: f"sizes->{text}" for s, text in i.sizes.items()}
    return [
        f"    for (size_t e = 0; e < {size_code(prod(x.buffer.shape), names)}; e++)",
        f"        if (given->{x.name}[e] >= {size_code(x.limit, names)}) return {i.macro}_WRONG_INDEX;",
    ]


def declaration(buffer: Buffer, sweep: Sweep, p: Printer, source: str, types: Mapping[str, str] = TYPES) -> list[str]:
    """Return the lines that declare an array, which begins at a pointer `source`, as a pointer to its rows, so that elements have an
    index for each axis."""
    constant = next((c for c in sweep.function.constants if c.buffer == buffer), None)
    if constant is not None:
        return broken(f"    static const real {_constant(constant, p)};")
    # `restrict` tells the compiler that no two arrays overlap, without which it would read each value again after
    # every store.
    const = "" if buffer in sweep.written else "const "
    kind = types[buffer.dtype]
    rows = "".join(f"[{_row(n, p.sizes)}]" for n in _rows(buffer))
    name = p.buffers[buffer]
    if buffer.space == PANELS:
        source = f"aligned({source})"
    # A pointer to rows, so that C computes the offset of [t][b][j] and the text stays readable.
    if rows:
        return broken(f"    {const}{kind} (*restrict {name}){rows} = (void *){source};")
    return broken(f"    {const}{kind} *restrict {name} = {source};")


def _rows(buffer: Buffer) -> tuple[Size, ...]:
    """Return the lengths of the axes of an array that its type has: all but the first."""
    return tuple(buffer.shape[axis] for axis in kept_axes(buffer)[1:])


def rows_of(sweep: Sweep) -> Iterator[Size]:
    """Return the lengths of the axes that types of a sweep have."""
    return (n for buffer in sweep.arrays for n in _rows(buffer))


def may_be_empty(n: Size) -> bool:
    """Answer whether an axis has no element at some sizes."""
    return sign_of(size(n - 1)) not in (0, 1)


def _row(n: Size, sizes: Names) -> str:
    """Return the length of an axis in a type, where it may not be 0."""
    text = size_code(n, sizes)
    # A row of no elements has no type in C; its loops run not at all, so that the type may be of one.
    return f"OR_1({text})" if may_be_empty(n) else text


def _constant(c: Constant, p: Printer) -> str:
    shape = np.shape(c.values)
    return f"{p.buffers[c.buffer]}{''.join(f'[{n}]' for n in shape)} = {_literal(c.values)}"


def _literal(values: Any) -> str:
    if np.ndim(values):
        return f"{{{', '.join(_literal(x) for x in values)}}}"
    # Exact digits of a decimal, as the user wrote them: a float would print its rounded neighbours.
    value = as_sympy(values)
    # A minus in front, for C has no negative literals: what is read is a negation of one.
    return f"-{number(-value).text}" if value.is_negative else number(value).text


def _source(buffer: Buffer, sweep: Sweep, i: Interface) -> str:
    """Return the pointer at which an array begins; a constant has none."""
    if buffer.space == "constant":
        return ""
    for name, fields in i.structs():
        for field in fields:
            if field.buffer == buffer:
                return f"{name}->{field.name}"
    start, group = ("tape", i.tape) if buffer in i.tape else ("workspace", workspace(sweep, i))
    # Arrays lie one behind the other in one block, so that a caller has one pointer to allocate.
    offset = elements(group[: group.index(buffer)])
    text = start if offset == 0 else f"{start} + {size_code(offset, with_block(i.sizes))}"
    return text if offset == 0 or len(kept_axes(buffer)) < 2 else f"({text})"


def used_sizes(sweep: Sweep, i: Interface) -> frozenset[sp.Symbol]:
    """Return the sizes that a function reads: in offsets, and where any does."""
    found: list[Size] = []
    for group in (i.tape, workspace(sweep, i)):
        ends = [at for at, buffer in enumerate(group) if buffer in sweep.arrays]
        found.append(elements(group[: max(ends, default=0)]))
    return symbols(*found) | symbols_of(sweep)


def symbols_of(sweep: Sweep) -> frozenset[sp.Symbol]:
    """Return the sizes that the lines of a sweep read: in types, bounds, indices, and as numbers."""
    # The first axis of an array is no part of its type, and needs no size.
    found: list[Size] = [n for buffer in sweep.arrays for n in buffer.shape[1:]]
    for line in walk(sweep.lines):
        if isinstance(line, For):
            found += [line.start, line.stop, line.strip]
        elif isinstance(line, Assign):
            found += [x.size for x in line.args if isinstance(x, Extent)]
        elif isinstance(line, Where) and line.count is not None:
            found += [line.count, *line.first.index]
        elif isinstance(line, Invoke):
            found += [x for x in line.args if not isinstance(x, Element | str)]
    found += [n for x, _ in accesses(sweep.lines) for n in x.index]
    return symbols(*found)
