"""Functions of the loop IR as C functions that take two arrays: their sizes, and pointers to what they read and write.

A caller that is no C has one way to call them all, whatever cell they belong to.

Example: `void lstm_forward(const size_t *sizes, void *const *arrays)` begins with `const size_t T = sizes[0], B = sizes[1];` and
`real (*restrict h)[B][n] = arrays[3];`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, BLOCK, STEPS, Buffer, Function
from symbptt.codegen.loop_ir.step_by_step import without_scans
from symbptt.codegen.targets.c99.function import Sweep, declaration, printer_of, stepping_of, sweep_of, symbols_of
from symbptt.codegen.targets.c99.matrices import Fault, Telling, telling
from symbptt.codegen.targets.c99.module import ROWS, blocked, prologue
from symbptt.codegen.targets.c99.names import RESERVED, c_name, named
from symbptt.codegen.targets.c99.printer import broken, lines_of, safe
from symbptt.codegen.targets.c99.sizes import Names

DOUBLE = "SYMBPTT_DOUBLE"
"""The macro with which functions are those of double."""
OWN = ("sizes", "arrays")
CALL: Names = {STEPS: "T", BATCH: "B", BLOCK: "K"}
"""The sizes of a call: steps, samples, and the steps of a block, which its caller chooses."""
OPTIONAL = ("cotangent", "direct")
"""The groups of arguments that count as zero where their pointer is NULL."""

Equation = Callable[[tuple[int, ...]], str]


@dataclass(frozen=True)
class Flat:
    """A function by its name in C, with blocks of one step: the symbols of its sizes, and the buffers to which it takes pointers, both
    in their order; and what of it may have no value."""

    name: str
    function: Function
    sizes: tuple[sp.Symbol, ...]
    arrays: tuple[Buffer, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Flats:
    """The text of a C source without a header, and its functions by the names that a caller gave them."""

    text: str
    functions: Mapping[str, Flat]


def flats_of(cell: str, about: str, functions: Mapping[str, tuple[Function, Equation]]) -> Flats:
    """Return functions of the loop IR of the cell called `cell` as one source, each with the equations of its values.

    Raises: CellError for what C does not have.
    """
    sweeps = dict[str, tuple[Sweep, Equation, Telling | None]]()
    for key, (f, equation) in functions.items():
        f, told = telling(blocked(without_scans(f)))
        sweeps[key] = sweep_of(cell, f, told), equation, told
    return _flats(cell, about, sweeps)


def flat_stepping(cell: str, about: str, once: Function, step: Function, equation: Equation) -> Flats:
    """Return what one step needs of the parameters alone, "once", and that step, "step", as one source.

    Raises: CellError for what C does not have.
    """
    (once, a), (step, b) = (telling(without_scans(f)) for f in (once, step))
    first, then = stepping_of(cell, once, step, (a, b))
    return _flats(cell, about, {"once": (first, equation, a), "step": (then, equation, b)})


def _flats(cell: str, about: str, sweeps: Mapping[str, tuple[Sweep, Equation, Telling | None]]) -> Flats:
    found, texts = dict[str, Flat](), list[str]()
    for key, (sweep, equation, told) in sweeps.items():
        flat = _flat(f"{c_name(cell)}_{key}", sweep)
        found[key] = flat = flat if told is None else replace(flat, faults=tuple(told.faults))
        texts.append("\n".join(_lines(flat, sweep, _optional(sweep.function), equation)))
    # One source for both types: which one is told when it is compiled.
    head = f"/* {safe(about)}\n */"
    return Flats("\n\n".join([head, prologue(DOUBLE, [sweep for sweep, *_ in sweeps.values()]), *texts]) + "\n", found)


def block_of(T: int, B: int) -> int:
    """Return the steps of a block: results do not depend on it."""
    return max(min(T, ROWS // max(B, 1)), 1)


def _flat(name: str, sweep: Sweep) -> Flat:
    used = symbols_of(sweep)
    sizes = tuple(symbol for symbol in (STEPS, BATCH, BLOCK, *sweep.function.sizes) if symbol in used)
    constants = {c.buffer for c in sweep.function.constants}
    return Flat(name, sweep.function, sizes, tuple(b for b in sweep.arrays if b not in constants))


def _optional(f: Function) -> frozenset[Buffer]:
    return frozenset(port.view.buffer for port in f.arguments if port.group in OPTIONAL)


def _lines(flat: Flat, sweep: Sweep, optional: frozenset[Buffer], equation: Equation) -> Sequence[str]:
    """Return a function as text."""
    taken = {*RESERVED, *OWN, flat.name}
    p = printer_of(sweep, _names(flat.sizes, taken), taken, optional, equation)
    sizes = ", ".join(f"{p.sizes[symbol]} = sizes[{at}]" for at, symbol in enumerate(flat.sizes))
    at = {buffer: i for i, buffer in enumerate(flat.arrays)}
    arrays = [line for b in sweep.arrays for line in declaration(b, sweep, p, f"arrays[{at.get(b)}]")]
    return [
        f"void {flat.name}(const size_t *sizes, void *const *arrays) {{",
        *(broken(f"    const size_t {sizes};") if sizes else ["    (void)sizes;"]),
        *([] if flat.arrays else ["    (void)arrays;"]),
        *arrays,
        "",
        *lines_of(sweep.lines, p),
        "}",
    ]


def _names(sizes: Sequence[sp.Symbol], taken: set[str]) -> Names:
    own = [symbol for symbol in sizes if symbol not in CALL]
    names = named((symbol.name for symbol in own), {*taken, *CALL.values()})
    return {**CALL, **{symbol: names[symbol.name] for symbol in own}}
