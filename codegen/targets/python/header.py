"""The head of a module: its docstring, its tables of arguments, and the functions of its sizes and shapes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import sympy as sp

from symbptt.codegen.origin import BEGIN
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked
from symbptt.codegen.runtime.selfcheck import CERTIFICATE, _digest
from symbptt.codegen.targets.python.first import first_table
from symbptt.codegen.targets.python.text import dict_text, name_tuple, nested_text, number_text, shape_text, size_text
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.errors import CellError
from symbptt.ir.naming import unique
from symbptt.ir.needs import Need
from symbptt.ir.shape import names_in
from symbptt.ir.sizes import Told, axes_of, told
from symbptt.ir.step import Argument

UNVERIFIED = f"{CERTIFICATE} not verified: symbptt verify FILE compares this file with its cell, python FILE --selfcheck with itself"
"""The line in the head of a module that nothing has verified."""
TABLES = {
    "PARAMS": ("param", "const"),
    "INPUTS": ("input", "index"),
    "CONTEXTS": ("context",),
    "STATES": ("state",),
    "TARGETS": ("target",),
}
RANK = {"param": 0, "const": 0, "input": 1, "index": 1, "context": 1, "target": 2, "state": 4}
"""The order in which the roles are asked for a size."""
BAKED = 3
"""The rank of constants of the module: their shapes tell sizes that otherwise only a state would."""


def digest_of_module(text: str) -> str:
    """Return 32 hexadecimal digits of the text of a module without the lines of its certificate."""
    return _digest(_lines(text), hashlib.sha256)


def certified(text: str, lines: Sequence[str]) -> str:
    """Return the text of a module with the lines of another certificate in the place of its own."""
    kept = _lines(text)
    at = next(i for i, line in enumerate(kept) if line.startswith(CERTIFICATE))
    rest = [line for line in kept[at:] if not line.startswith(CERTIFICATE)]
    return "".join([*kept[:at], *(f"{CERTIFICATE} {line}\n" for line in lines), *rest])


def _lines(text: str) -> list[str]:
    # As a file is read: other characters than the newline end no line of a comment.
    return io.StringIO(text).readlines()


def docstring(p: Program, version: str, equations: str, head: Head | None) -> str:
    """Return the docstring of the module: the cell, its shapes, its equations."""
    shapes = "\n".join(f"  {a.name:<8} {a.role:<6} {_annotation(a)}" for a in arguments_of(p, head))
    name = p.name if head is None else f"{p.name} with the loss {head.program.name} at {head.at} step, {head.reduction}"
    title = f"Backpropagation through time for the cell {name}, written by symbptt {version}."
    text = "\n\n".join([title, *[p.doc] * bool(p.doc), f"Shapes\n{shapes}", equations])
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text.expandtabs())
    # A backslash or three quotes of the user's doc would end the literal or change its text.
    clean = plain.replace("\\", "\\\\").replace('"""', "'''")
    for mark in (CERTIFICATE, BEGIN):  # of the user's doc, which is no head
        clean = clean.replace(f"\n{mark}", f"\n {mark}")
    return f'"""{clean}\n"""'


def arguments_of(p: Program, head: Head | None) -> tuple[Argument, ...]:
    """Return the arguments of a cell, and those that its loss adds."""
    return p.arguments if head is None else p.arguments + head.added


def _annotation(a: Argument) -> str:
    if a.limit is not None:
        return f"integer in [0, {size_text(a.limit)})"
    default = f" = {a.default!r}" if is_baked(a) and not a.shape else ""
    return shape_text((), a.shape) + " complex" * a.complex + default


def tables(p: Program, head: Head | None, constants: Mapping[str, float], read: Container[str]) -> str:
    """Return the tables of arguments by name, constants by variable, and the functions `_sizes` and `_shapes`; of complex arguments and
    of what states begin with there is one where it is read.

    Raises: CellError where no argument tells a size.
    """
    every = [a for a in arguments_of(p, head) if not is_baked(a)]
    baked = [a for a in arguments_of(p, head) if is_baked(a)]
    # The numbers of sample axes: 2 for steps and samples, 1 for samples.
    lead = {"input": 2, "index": 2, "context": 1, "state": 1, "target": 2 if head is None or head.at == "every" else 1}
    limits = {a.name: f'"{a.name} limit"' if _is_limited(every, a) else "None" for a in every if a.limit is not None}
    lines = [
        f"{table} = {name_tuple(a.name for a in every if a.role in roles)}"
        for table, roles in TABLES.items()
        if table != "CONTEXTS" or table in read
    ]
    lines += [
        f"ARGUMENTS = {name_tuple(a.name for a in p.arguments if not is_baked(a))}",
        f"LEAD = {dict_text({a.name: str(lead[a.role]) for a in every if a.role in lead})}",
        f"SHAPES = {dict_text({a.name: _dims(a) for a in every})}",
        f"INDICES = {dict_text(limits)}",
    ]
    begun = {a.name: _start_text(a.start) for a in every if a.start is not None}
    lines += [f"COMPLEX = {name_tuple(a.name for a in every if a.complex)}"] * ("COMPLEX" in read)
    lines += [f"STARTS = {dict_text(begun)}"] * ("STARTS" in read)
    given = [a for a in every if a.role in TABLES["PARAMS"]]
    lines += [first_table(given, p.of_role("state"))] * ("FIRST" in read)
    lines += [f"{variable} = {number_text(value)}" for variable, value in constants.items()]
    short = [piece for line in lines for piece in wrapped(line)]
    needs = p.needs if head is None else p.needs + head.program.needs
    fixed = [a for a in baked if np.ndim(a.default)]
    return "\n".join(
        [*short, "", "", *_sizes_function(p.name, every, baked, needs), "", "", *_shapes_function(every, fixed)]
    )


def _start_text(start: Any) -> str:
    """Return what a state begins with as Python text."""
    return (
        repr(start)
        if isinstance(start, str)
        else nested_text(np.asarray(start, complex if np.iscomplexobj(start) else float).tolist())
    )


def _dims(a: Argument) -> str:
    return f'"{" ".join(map(size_text, a.shape))}"'


def _is_limited(every: Sequence[Argument], a: Argument) -> bool:
    """Answer whether the number of values of an index follows from the sizes of the arguments."""
    return a.limit is not None and set(names_in((a.limit,))) <= set(_names_of(every))


def _names_of(arguments: Iterable[Argument]) -> list[str]:
    return sorted({name for a in arguments for name in names_in(a.shape)})


def _sizes_function(
    name: str, every: Sequence[Argument], baked: Sequence[Argument], needs: Sequence[Need]
) -> list[str]:
    """Return the function that reads each size from the first argument that tells it.

    A size stands alone on an axis, in a sum with sizes that are known, or in several sums together. The shapes of
    constants in the module must agree with the sizes, and slices need some of them. A constant that is one number for a whole array
    tells no size.
    """
    fixed = [a for a in baked if np.ndim(a.default)]
    # States come last, for a call may omit them.
    order = sorted([*every, *fixed], key=lambda a: BAKED if a in fixed else RANK[a.role])
    of = unique("of", _names_of(order))
    first, last = (
        axes_of([a for a in order if (a.role == "state") is late], fixed=("const",)) for late in (False, True)
    )
    known = {step.name: _size_line(step, of) for step in told(first, last)}
    for lack in _names_of([*order, *baked]):
        if lack not in known:
            raise CellError(
                f"the size {lack!r} of {name} stands alone on no axis, so that no argument tells it\n"
                f"  use it alone in one dimension"
            )
    return [
        f"def _sizes({of}):",
        '    """Return the named sizes, each read from an argument and an axis."""',
        *(f"    {name} = {text}" for name, text in known.items()),
        *chain.from_iterable(map(_fixed_lines, fixed)),
        *chain.from_iterable(map(_need_lines, needs)),
        f"    return {dict_text({name: name for name in sorted(known)})}",
    ]


def _size_line(step: Told, of: str) -> str:
    """Return the text of a size, with the terms without a factor first."""
    terms = [
        f'{"" if factor == 1 else f"{factor} * "}{of}("{axis.argument}", {axis.number})'
        for factor, axis in step.lengths
    ]
    if not terms:
        text = f"({size_text(sp.expand(-step.rest))})"
    elif step.rest != 0:
        text = f"({' + '.join(terms)} - ({size_text(step.rest)}))"
    else:
        text = terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"
    return text + (f" // ({size_text(step.divisor)})" if step.divisor != 1 else "")


def _fixed_lines(a: Argument) -> list[str]:
    """Return the check of a constant's shape, which runs where sizes are numbers."""
    shape, names = shape_text((), tuple(map(int, np.shape(a.default)))), names_in(a.shape)
    if not names:
        return []
    message = f"{a.name}: the constant has the shape {shape}, {shape_text((), a.shape)} = {{{shape_text((), a.shape)}}} is expected"
    return [
        *wrapped(f"    if isinstance({' + '.join(names)}, int) and {shape_text((), a.shape)} != {shape}:"),
        *wrapped(f"        raise ArgumentError(f{message!r})"),
    ]


def _need_lines(need: Need) -> list[str]:
    """Return the check of the sizes that a slice needs, which runs where sizes are numbers."""
    parts = need.parts({name: f"\0{name}\1" for name in need.names})
    # \0 and \1 mark the names that become fields of the f-string, so that the user's own braces can be doubled.
    message = "; ".join(parts).translate({ord("{"): "{{", ord("}"): "}}", 0: "{", 1: "}"})
    return [
        *wrapped(f"    if isinstance({' + '.join(need.names)}, int) and {need.broken}:"),
        *wrapped(f"        raise ArgumentError(f{message!r})"),
    ]


def _shapes_function(every: Sequence[Argument], fixed: Sequence[Argument]) -> list[str]:
    """Return the function of all sizes that returns shapes; a size that constants alone have is one of its parameters too."""
    entries = {a.name: shape_text((), a.shape) for a in every}
    entries |= {f"{a.name} limit": f"({size_text(a.limit)},)" for a in every if _is_limited(every, a)}
    return [
        f"def _shapes({', '.join(_names_of([*every, *fixed]))}):",
        '    """Return the shape of every argument of one sample and step."""',
        *wrapped(f"    return {dict_text(entries)}"),
    ]
