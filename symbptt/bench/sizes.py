"""Sizes of measured cases as users write them: `T,B,n; T,B,m=8,n=64; ...`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from symbptt.errors import ArgumentError
from symbptt.ir.shape import names_in
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.syntax import as_read

HINT = 'write T,B,n as in "50,32,64; 100,1,16", or each size by name as in "50,32,m=8,n=64"'


@dataclass(frozen=True)
class Sizes:
    """T steps, B samples, a number for each named size of a cell; `text` is how it was asked for."""

    T: int
    B: int
    dims: Mapping[str, int]
    text: str


def sizes_of(text: str, cell: Cell | Model) -> tuple[Sizes, ...]:
    """Return the sizes that a text lists; a bare number stands for all named sizes of the cell.

    Raises: ArgumentError where the text lists none, or where one is no positive integer or no size of the cell.
    """
    found = tuple(_one(part, cell) for part in text.split(";") if part.strip())
    if not found:
        raise ArgumentError(f"no sizes in {text!r}\n  {HINT}")
    return found


def named_sizes(cell: Cell | Model) -> tuple[str, ...]:
    """Return the names of a cell's sizes."""
    shapes = [(*a.shape, *(() if a.limit is None else (a.limit,))) for a in cell.arguments]
    return tuple(sorted({name for shape in shapes for name in names_in(shape)}))


def _one(text: str, cell: Cell | Model) -> Sizes:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) < 2 or any("=" in part for part in parts[:2]):
        raise ArgumentError(f"sizes begin with T and B, got {text.strip()!r}\n  {HINT}")
    T, B = (_positive(part, text) for part in parts[:2])
    known = named_sizes(cell)
    if len(parts) == 3 and "=" not in parts[2]:
        dims = dict.fromkeys(known, _positive(parts[2], text))
    else:
        dims = _by_name(parts[2:], text, known, cell.name)
    return Sizes(T, B, dims, ", ".join(parts))


def _by_name(parts: list[str], text: str, known: tuple[str, ...], cell: str) -> dict[str, int]:
    dims: dict[str, int] = {}
    for part in parts:
        name, equals, number = (piece.strip() for piece in part.partition("="))
        name = as_read(name)
        if not equals:
            raise ArgumentError(f"after T and B come one number or name=number pairs, got {text.strip()!r}\n  {HINT}")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            cure = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ArgumentError(f"{cell} has no size {name!r}\n  {cure}")
        if name in dims:
            raise ArgumentError(f"the size {name!r} is given twice in {text.strip()!r}\n  {HINT}")
        dims[name] = _positive(number, text)
    missing = [name for name in known if name not in dims]
    if missing:
        raise ArgumentError(f"{text.strip()!r} does not say the size {missing[0]!r} of {cell}\n  {HINT}")
    return {name: dims[name] for name in known}


def _positive(text: str, whole: str) -> int:
    # str.isdigit holds for other scripts and superscripts too, which int refuses or reads unexpectedly.
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ArgumentError(f"sizes are positive integers, got {text!r} in {whole.strip()!r}\n  {HINT}")
    return int(text)
