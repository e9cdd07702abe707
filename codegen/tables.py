"""What a module says of itself: its docstring, its tables of arguments, and the functions of its sizes and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from symbptt.codegen.program import Program
from symbptt.codegen.text import dict_text, name_tuple, number_text, shape_text, size_text
from symbptt.codegen.training import Head
from symbptt.codegen.variables import is_baked
from symbptt.codegen.wrap import wrapped
from symbptt.errors import CellError
from symbptt.ir.naming import unique
from symbptt.ir.shape import named_size, names_in
from symbptt.ir.step import Argument

TABLES = {"PARAMS": ("param", "const"), "INPUTS": ("input", "index"), "STATES": ("state",), "TARGETS": ("target",)}
RANK = {"param": 0, "const": 0, "input": 1, "index": 1, "target": 2, "state": 3}
"""Where a size is read first."""


def docstring(p: Program, version: str, equations: str, head: Head | None) -> str:
    """Return the docstring of the module: the cell, its shapes, its equations."""
    shapes = "\n".join(f"  {a.name:<8} {a.role:<6} {_annotation(a)}" for a in _arguments(p, head))
    name = p.name if head is None else f"{p.name} with the loss {head.program.name} at {head.at} step, {head.reduction}"
    title = f"Backpropagation through time for the cell {name}, written by symbptt {version}."
    text = "\n\n".join([title, *[p.doc] * bool(p.doc), f"Shapes\n{shapes}", equations])
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text.expandtabs())
    clean = plain.replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{clean}\n"""'


def _arguments(p: Program, head: Head | None) -> tuple[Argument, ...]:
    return p.arguments if head is None else p.arguments + head.added


def _annotation(a: Argument) -> str:
    if a.limit is not None:
        return f"integer in [0, {size_text(a.limit)})"
    default = f" = {a.default!r}" if is_baked(a) and not a.shape else ""
    return shape_text((), a.shape) + default


def tables(p: Program, head: Head | None, constants: Mapping[str, float]) -> str:
    """Return the tables of arguments by name, constants by variable, and the functions `_sizes` and `_shapes`.

    Raises: CellError where no argument tells a size.
    """
    every = [a for a in _arguments(p, head) if not is_baked(a)]
    lead = {"input": 2, "index": 2, "state": 1, "target": 2 if head is None or head.at == "every" else 1}
    limits = {a.name: f'"{a.name} limit"' if _is_limited(every, a) else "None" for a in every if a.limit is not None}
    lines = [f"{table} = {name_tuple(a.name for a in every if a.role in roles)}" for table, roles in TABLES.items()]
    lines += [
        f"ARGUMENTS = {name_tuple(a.name for a in p.arguments if not is_baked(a))}",
        f"LEAD = {dict_text({a.name: str(lead[a.role]) for a in every if a.role in lead})}",
        f"SHAPES = {dict_text({a.name: _dims(a) for a in every})}",
        f"INDICES = {dict_text(limits)}",
    ]
    lines += [f"{variable} = {number_text(value)}" for variable, value in constants.items()]
    short = [piece for line in lines for piece in wrapped(line)]
    return "\n".join([*short, "", "", *_sizes_function(p.name, every), "", "", *_shapes_function(every)])


def _dims(a: Argument) -> str:
    return f'"{" ".join(map(size_text, a.shape))}"'


def _is_limited(every: Sequence[Argument], a: Argument) -> bool:
    """Whether the number of values of an index follows from the sizes of the arguments."""
    return a.limit is not None and set(names_in((a.limit,))) <= set(_names_of(every))


def _names_of(arguments: Iterable[Argument]) -> list[str]:
    return sorted({name for a in arguments for name in names_in(a.shape)})


def _sizes_function(name: str, every: Sequence[Argument]) -> list[str]:
    """Each size from the first argument that tells it: alone on an axis, or in a sum with sizes that are known."""
    known: dict[str, str] = {}
    of = unique("of", _names_of(every))
    order = sorted(every, key=lambda a: RANK[a.role])
    names = _names_of(every)
    while len(known) < len(names):
        found = next((hit for a in order for hit in [_solved(a, known, of)] if hit), None)
        if found is None:
            lack = next(name for name in names if name not in known)
            raise CellError(
                f"the size {lack!r} of {name} stands alone on no axis, so that no argument tells it\n"
                f"  use it alone in one dimension"
            )
        known[found[0]] = found[1]
    return [
        f"def _sizes({of}):",
        '    """Return the named sizes, each read from an argument and an axis."""',
        *(f"    {name} = {text}" for name, text in known.items()),
        f"    return {dict_text({name: name for name in sorted(known)})}",
    ]


def _solved(a: Argument, known: Iterable[str], of: str) -> tuple[str, str] | None:
    """The first size that an argument tells, and its text."""
    for axis, item in enumerate(a.shape):
        unknown = [name for name in names_in((item,)) if name not in known]
        if len(unknown) != 1 or sp.degree(item, named_size(unknown[0])) != 1:
            continue
        symbol = named_size(unknown[0])
        factor = sp.expand(item).coeff(symbol)
        rest = sp.expand(item - factor * symbol)
        text = f'{of}("{a.name}", {axis})'
        text = f"({text} - ({size_text(rest)}))" if rest != 0 else text
        return unknown[0], text + (f" // ({size_text(factor)})" if factor != 1 else "")
    return None


def _shapes_function(every: Sequence[Argument]) -> list[str]:
    entries = {a.name: shape_text((), a.shape) for a in every}
    entries |= {f"{a.name} limit": f"({size_text(a.limit)},)" for a in every if _is_limited(every, a)}
    return [
        f"def _shapes({', '.join(_names_of(every))}):",
        '    """Return the shape of every argument of one sample and step."""',
        *wrapped(f"    return {dict_text(entries)}"),
    ]
