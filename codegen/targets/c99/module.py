"""The source of a cell in C99: its equations, the functions that it calls, its sizes, and the two sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from symbptt.codegen.loop_ir.arithmetics import LEAST
from symbptt.codegen.loop_ir.nodes import BLOCK, STEPS, Buffer, Function
from symbptt.codegen.loop_ir.step_by_step import without_scans
from symbptt.codegen.lower.cell import Sweeps
from symbptt.codegen.lower.equations import equation, handed, writer_of
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import values_of
from symbptt.codegen.targets.c99.blocks import has_products, with_steps_together
from symbptt.codegen.targets.c99.function import (
    Sweep,
    body,
    may_be_empty,
    rows_of,
    sweep_of,
    unused,
    used_sizes,
    walk,
    workspace,
)
from symbptt.codegen.targets.c99.functions import WRITTEN, definitions, macro
from symbptt.codegen.targets.c99.header import header
from symbptt.codegen.targets.c99.interface import Interface, elements, interface_of
from symbptt.codegen.targets.c99.loops import LANES, IfTiny
from symbptt.codegen.targets.c99.printer import broken, joined, safe
from symbptt.codegen.targets.c99.single import with_single_steps
from symbptt.codegen.targets.c99.sizes import BLOCK_NAME, factor_code, size_code, with_block
from symbptt.ir.shape import sign_of, size, symbols

ROWS = 256
"""The rows of products of blocks: from 256 to 768 all do as well."""


@dataclass(frozen=True)
class Parts:
    """The text of a header, and that of a source behind its comment and the line that includes the header."""

    interface: Interface
    header: str
    comment: str
    code: str

    @property
    def name(self) -> str:
        """The name of the cell in C."""
        return self.interface.name


def parts_of(p: Program, sweeps: Sweeps, version: str, equations: str) -> Parts:
    """Return the texts for the two sweeps of a program.

    Raises: CellError for what C does not have.
    """
    single = Sweeps(*(blocked(without_scans(f)) for f in (sweeps.forward, sweeps.backward)))
    i = interface_of(p, single)
    forward, backward = sweep_of(p.name, single.forward), sweep_of(p.name, single.backward)
    title = f"Backpropagation through time for the cell {p.name}, written by symbptt {version}."
    about = "\n\n".join([title, *[p.doc] * bool(p.doc), equations])
    has_room = any(space for sweep in (forward, backward) for space in (workspace(sweep, i), i.tape))
    texts = [
        prologue(f"{i.macro}_DOUBLE", (forward, backward), ["aligned"] * has_room),
        _sizes(p, i, (forward, backward)),
        _function(i, "forward", forward, equations_of(p)),
        _function(i, "backward", backward, equations_of(p)),
    ]
    return Parts(i, header(i, title), f"/* {safe(about)}\n */", "\n\n".join(texts) + "\n")


def blocked(f: Function) -> Function:
    """Return a function whose blocks have the steps that its products want: one where it has none of whole blocks."""
    return with_steps_together(f) if has_products(f) else with_single_steps(f)


def equations_of(p: Program) -> Callable[[tuple[int, ...]], str]:
    """Return the function that tells the equation of the value which a statement computes, as beside the lines of a NumPy
    module."""
    v, writer = values_of(p), writer_of(p)
    recurrent = {id: name for name, id in p.recurrent.items()}
    carried = {id: name for name, id in p.carry.items()}

    def text(origin: tuple[int, ...]) -> str:
        id = origin[0]
        if id in recurrent:
            return handed(v, writer, recurrent[id])
        if id in carried:
            return f"+ dL/d{carried[id]}_t"
        return "" if p.graph[id].family == "leaf" else equation(v, writer, id)

    return text


def prologue(double: str, sweeps: Sequence[Sweep], more: Sequence[str] = ()) -> str:
    """Return the lines before functions: what they include, the type of their numbers, and the functions that they call, those of `more`
    among them, for double where the macro of that name is defined."""
    functions = {macro(name) for s in sweeps for name in s.functions if name not in WRITTEN}
    lines = definitions(functions.union(*(s.calls for s in sweeps), ["INDEPENDENT", *more]))
    if any(isinstance(line, IfTiny) for s in sweeps for line in walk(s.lines)):
        lines += ["", "// Under it what is left of 1, from a value near 1, has lost its digits: it is computed from the argument.",
                  f'#define TINY (sizeof(real) == sizeof(float) ? (real){LEAST["float"]} : (real){LEAST["double"]})']  # fmt: skip
    if any(may_be_empty(n) for s in sweeps for n in rows_of(s)):
        lines += ["#define OR_1(n) ((n) > 0 ? (n) : 1)  // C has no types of arrays without elements"]
    return "\n".join([f"#ifdef {double}", "#define SBRT_DOUBLE", "#endif", *lines])


def _sizes(p: Program, i: Interface, sweeps: Sequence[Sweep]) -> str:
    """Return the functions of sizes; products are compared with what memory can hold in double, which does not wrap around."""
    spaces = [workspace(sweep, i) for sweep in sweeps]
    arrays = [*i.arrays, *i.tape, *(buffer for space in spaces for buffer in space)]
    conditions = [
        *_conditions(p, i, arrays),
        f"{size_code(size(elements(arrays) + 2 * LANES), with_block(i.sizes))} < (double)(PTRDIFF_MAX/8)",
    ]
    used = symbols(*(n for buffer in arrays for n in buffer.shape))
    block = _block(i) if any(BLOCK in used_sizes(sweep, i) for sweep in sweeps) else []
    named = [f"{name} = (double)sizes->{name}" for name in i.sizes.values()]
    named += [f"{BLOCK_NAME} = (double)block_of(sizes)"] * (BLOCK in used)
    return "\n".join([
        *block,
        "// Whether a call with these sizes can compute anything.",
        f"static int fits(const {i.name}_sizes *sizes) {{",
        *broken(f"    const double {', '.join(named)};"),
        *broken(f"    return {' && '.join(conditions)};"),
        "}", "",
        *_bytes(i, "tape", [i.tape]), "",
        *_bytes(i, "workspace", spaces),
    ])  # fmt: skip


def _block(i: Interface) -> list[str]:
    """Return the function that chooses the steps of a block: results do not depend on it."""
    return [
        f"// The steps of a block: its products have about {ROWS} rows.",
        f"static size_t block_of(const {i.name}_sizes *sizes) {{",
        f"    const size_t wanted = sizes->B > 0 && sizes->B < {ROWS} ? {ROWS}/sizes->B : 1;",
        "    return wanted < sizes->T ? wanted : sizes->T > 0 ? sizes->T : 1;",
        "}", "",
    ]  # fmt: skip


def _conditions(p: Program, i: Interface, arrays: Iterable[Buffer]) -> Iterator[str]:
    """Yield the conditions on sizes: they are 1 or more, no axis is negative, slices lie in their axes, constants fit."""
    yield from (f"{name} >= 1" for symbol, name in i.sizes.items() if symbol != STEPS)
    lengths = dict.fromkeys(n for buffer in arrays for n in buffer.shape if sign_of(n) not in (0, 1))
    spare = dict.fromkeys((*lengths, *(need.spare for need in p.needs if not need.by)))
    yield from (f"{size_code(n, i.sizes)} >= 0" for n in spare)
    yield from (f"fmod({size_code(need.spare, i.sizes)}, {need.by}) == 0" for need in p.needs if need.by)
    for f in (i.sweeps.forward, i.sweeps.backward):
        for c in f.constants:
            own = np.shape(c.values)
            for n, length in zip(c.buffer.shape[len(c.buffer.shape) - len(own) :], own, strict=True):
                if length not in (1, n):
                    yield f"{size_code(n, i.sizes)} == {length}"


def _bytes(i: Interface, name: str, groups: Iterable[tuple[Buffer, ...]]) -> list[str]:
    """Return the function that tells the bytes of the larger one of two groups of arrays, or of one."""
    counts = [size(n + LANES - 1) for n in dict.fromkeys(elements(group) for group in groups) if n != 0] or [0]
    used = symbols(*counts)
    names = [f"{text} = sizes->{text}" for symbol, text in i.sizes.items() if symbol in used]
    sizes = ", ".join([*names, *[f"{BLOCK_NAME} = block_of(sizes)"] * (BLOCK in used)])
    first, *others = (factor_code(n, with_block(i.sizes)) for n in counts)
    lines = [f"const size_t {sizes};"] * bool(sizes)
    if others:
        lines.append(f"const size_t forward = {first}, backward = {others[0]};")
        first = "forward > backward ? forward : backward"
    return [
        f"size_t {i.name}_{name}_bytes(const {i.name}_sizes *sizes) {{",
        "    if (!fits(sizes)) return SIZE_MAX;",
        *(part for line in lines for part in broken(f"    {line}")),
        *broken(f"    return ({first})*sizeof(real);" if others else f"    return {first}*sizeof(real);"),
        "}",
    ]


def _function(i: Interface, name: str, sweep: Sweep, equation: Callable[[tuple[int, ...]], str]) -> str:
    """Return a sweep as a function."""
    structs = ["given", "run"] + ["cotangents", "gradients"] * (name == "backward")
    parameters = [f"const {i.name}_{x} *{x}" for x in ("sizes", *structs)]
    head = joined(f"int {i.name}_{name}(", [*parameters, "real *workspace"], ") {")
    silent = [f"    (void){parameter};" for parameter in unused(sweep, i)]
    return "\n".join([*head, *silent, *body(sweep, i, equation), "}"])
