"""The entrance of the target: a cell as a C source with its header."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from symbptt.autodiff.bptt import derive
from symbptt.checks import check_path
from symbptt.codegen.lower.cell import lower
from symbptt.codegen.options import check_absent
from symbptt.codegen.passes import NEUTRAL
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.codegen.program.program import program_of
from symbptt.codegen.targets.c99.module import Parts, parts_of
from symbptt.equations.derived import equations_of, looped_equations_of
from symbptt.errors import ArgumentError, CellError, TargetError, instead_of_cell, three_lines
from symbptt.files import check_own, write_text
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.notebook import folded
from symbptt.version import VERSION

ENDING = ".c"


class Texts(Protocol):
    """The texts of a header and of a source, and the name in C that both begin with."""

    @property
    def name(self) -> str: ...

    @property
    def header(self) -> str: ...

    @property
    def comment(self) -> str: ...

    @property
    def code(self) -> str: ...


@dataclass(frozen=True, repr=False)
class Written:
    """Functions as C99: `source` includes `header`, which says what each array is."""

    name: str
    parts: Texts

    def __repr__(self) -> str:
        return f"<C source of {self.name}: {len(self.source.splitlines())} lines>"

    def _repr_html_(self) -> str:
        return folded(repr(self), self.source)

    @property
    def header(self) -> str:
        """The text of the header: the structs of arrays, each with its shape, and the functions."""
        return self.parts.header

    @property
    def source(self) -> str:
        """The text of the source, which includes the header as NAME.h, NAME being that of the cell."""
        return self._source(f'#include "{self.parts.name}.h"')

    @property
    def single(self) -> str:
        """Header and source as one text, which includes no file of its own."""
        return self._source(self.header.rstrip("\n"))

    def _source(self, header: str) -> str:
        return f"{self.parts.comment}\n{header}\n{self.parts.code}"

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the source to a file that ends with .c, and the header beside it with .h. Files that symbptt wrote are
        replaced, others with `force`.

        Raises: ArgumentError where `path` is none; TargetError where it does not end with .c, where a file cannot be
        written, its folder is not there, or symbptt did not write a file that is there.
        """
        check_path(path, "cell.c")
        source = Path(path)
        header = header_beside(source)
        check_own([source, header], force, "replace them with force=True, or choose another path")
        write_text(header, self.header)
        write_text(source, self._source(f'#include "{header.name}"'))


@dataclass(frozen=True, repr=False)
class CSource(Written):
    """The forward and the backward pass of a cell as C99: `source` includes `header`, which says what each array is."""

    parts: Parts


def header_beside(path: Path) -> Path:
    """Return the path of the header of a source.

    Raises: TargetError where the source does not end with .c, or no line of C can include the header by its name.
    """
    if path.suffix != ENDING or not path.stem:
        raise TargetError(
            three_lines(f"{path} does not end with {ENDING}", cure=f"write a name such as {path.stem or 'cell'}.c")
        )
    if any(x in '"\\' or not x.isprintable() for x in path.name):
        raise TargetError(
            three_lines(f"no #include can name {path.stem!r}.h", cure="choose a name of letters and digits")
        )
    return path.with_suffix(".h")


def c_source(
    cell: Cell | Model,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: None = None,
    clip_adjoint: None = None,
    memory: Literal["all"] = "all",
) -> CSource:
    """Return the forward and the backward pass of a cell as C99, `consts` in the place of values of its constants.

    The functions run all steps and keep what the backward pass reads: without masks, truncation, checkpoints or a loss. The
    other options of `compile` are taken to be refused by their names.

    Example::

        c = sb.c_source(lstm)
        c.save("lstm.c")  # and lstm.h, which says what each array is

    Raises: ArgumentError where `cell` is none, and for an option that C does not have yet; CellError for other things that
    it does not have, by their names.
    """
    if isinstance(cell, Model):
        raise ArgumentError(
            f"{cell.name} is a model, the C target has cells alone\n"
            f"  write the cell {cell.cell.name}, and hand the derivatives of the loss to its backward function"
        )
    if not isinstance(cell, Cell):
        raise ArgumentError(f"c_source takes a cell, got {type(cell).__name__}\n  {instead_of_cell(cell)}")
    check_for_c(cell)
    check_absent("C", cell.name, truncation, clip_adjoint, memory)
    cell = cell if consts is None else cell.with_consts(consts)
    program = program_of(derive(in_loops(cell.looped)))
    for step in NEUTRAL:
        program = step(program)
    return CSource(
        cell.name,
        parts_of(program, lower(program), VERSION, (looped_equations_of(cell) or equations_of(cell)).as_spelt()),
    )


def check_for_c(cell: Cell) -> None:
    """Raises: CellError for what the arguments of a cell have and C, which knows no defaults of states, does not."""
    cell.check_contexts()
    cell.check_real()
    begun = next((a.name for a in cell.arguments if a.start is not None), None)
    if begun is not None:
        raise CellError(
            f"the state {begun!r} of {cell.name} begins with what its default says, and in C a state that is not given is zero\n"
            "  leave the default out, and hand the states before the first step over"
        )
