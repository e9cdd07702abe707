"""A native module: the head, the tables of the cell, its sweeps, and the parts that each module of a framework carries."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from symbptt.codegen.load import names_read
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.names import named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked, size_names
from symbptt.codegen.targets.functional.sweeps import (
    CHUNKS,
    Sweeps,
    backward,
    forward,
    kept,
    loss,
    loss_back,
    predicted,
)
from symbptt.codegen.targets.functional.tables import Table
from symbptt.codegen.targets.python.copied import FILE, Definition, Source, joined, needed, parsed, plain
from symbptt.codegen.targets.python.first import first_table
from symbptt.codegen.targets.python.header import arguments_of, docstring, tables
from symbptt.codegen.targets.python.text import dict_text, name_tuple, shape_text
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.ir.shape import names_in
from symbptt.language.truncation import Chunked, Window

FRAMEWORKS = "symbptt.codegen.frameworks"
ROOTS = ("run", "value", "predict", "Net")
"""What a caller of a module uses."""
OF_KERNELS = ("_parted", "_length", "_given")
"""What a kernel uses of a module without sweeps."""
OWN = {"params", "inputs", "state", "before", "after", "outputs", "kept", "cotangents", "carry", "given", "step", "scan", "first", "like",
       "direct", "T", "B", "torch", "jax", "jnp", "math", "partial", "reduce", "Any", "shape", "_", "_forward", "_kept", "_backward",
       "_loss", "_loss_back", "_sizes", "_shapes",
       "PARAMS", "INPUTS", "STATES", "OUTPUTS", "LEAD", "SHAPES", "INDICES", "STARTS", "CONSTS", "FIRST", "SIZES", "TARGETS", "ARGUMENTS",
       "LOSS_PARAMS", "LOSS_INPUTS", "REDUCTION", "CHUNK", "REACH", "CONTEXTS", "NEEDED",
       "PREDICTED", "PREDICT_PARAMS", "PREDICT_INPUTS", "_predicted"}  # fmt: skip
"""Names that the sweeps of a module, and its tables, use themselves."""


@dataclass(frozen=True)
class Asked:
    """What a module is written of: a placed program, the framework, the equations, and for a model its loss; how far gradients flow
    back, and the `limit` of the norm of adjoints."""

    program: Program
    table: Table
    version: str
    equations: str
    head: Head | None = None
    truncation: Window | Chunked | None = None
    limit: float | None = None

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The files of what the module carries, from callers to callees."""
        truncated = (f"{self.table.name}_truncated.py",) if self.truncation is not None else ()
        affine = ("affine.py",) if self.sweeps(()).scans is not None else ()
        foretold = ("predict.py",) if self.head is not None and self.head.predicted is not None else ("untold.py",)
        of_target = self.table.of_cell if self.head is None else (*self.table.of_model, *foretold, f"{self.head.at}.py")
        return *truncated, *affine, *of_target, "steps.py", "heard.py", "clip.py", "masks.py", "arguments.py"

    @property
    def absent(self) -> frozenset[str]:
        """The functions that have nothing to do in the module, whose calls are left out: all losses of a chunk flow back, or nothing is
        given once a sequence."""
        leaves_out = isinstance(self.truncation, Chunked) and self.truncation.k2 < self.truncation.k1
        idle = {"_hear": not leaves_out, "_share": not self.program.of_role("context")}
        return frozenset(name for name, is_idle in idle.items() if is_idle)

    def sweeps(self, taken: Collection[str]) -> Sweeps:
        """Return the cell with names, none of them taken."""
        return Sweeps(named(self.program, taken), self.table, self.truncation is not None, self.limit)

    @cached_property
    def taken(self) -> set[str]:
        """The names that no value of the module may have."""
        carried = {name for file in self.files for name in names_of(file)}
        chunks = [CHUNKS] * (self.truncation is not None)
        return {*OWN, *chunks, *carried, *keyword.kwlist, *keyword.softkwlist, *dir(builtins)}


def source(a: Asked) -> str:
    """Return the text of the module of a cell or a model for one framework."""
    # What the cell has of its own comes first, for that is what a reader looks for.
    return _module(a, [function(a.sweeps(a.taken)).text for function in (forward, kept, backward)])


def interface(a: Asked) -> str:
    """Return the text of a module without sweeps of its cell: who loads it gives it `_Recurrence`, or `_recurrence`, a function of
    all steps."""
    return _module(a, ["\n".join(_outputs(a.program))], OF_KERNELS, a.table.recurrence)


def _module(a: Asked, own: Sequence[str], roots: Iterable[str] = (), absent: str = "") -> str:
    """Return the text of a module from the functions that are written for its cell; the loss has functions of its own."""
    if a.head is not None:
        of_head = {loss: a.head.program, loss_back: a.head.program, predicted: a.head.predicted}
        parts = [(function, p) for function, p in of_head.items() if p is not None]
        own = [*own, *(function(Sweeps(named(p, a.taken), a.table)).text for function, p in parts)]
    text = "\n\n\n".join(own)
    imports = [*["import math"] * ("math" in names_read(text, "sweeps")), *a.table.imports]
    head = docstring(a.program, a.version, a.equations, a.head)
    first = "\n".join([head, "", *imports, "", tables(a.program, a.head, {}, ("STARTS", "CONTEXTS"))])
    constants = "\n".join(line for text in _tables(a) for line in wrapped(text))
    carried = _carried(a.files, "\n".join([text, first, *roots]), absent, a.absent)
    return "\n\n\n".join([first, constants, text, carried])


def _outputs(p: Program) -> list[str]:
    """Return the function that tells the shapes of outputs of one sample and step."""
    names = sorted({name for a in p.arguments if not is_baked(a) for name in names_in(a.shape)})
    shapes = dict_text({name: shape_text((), p.graph.shape(id)) for name, id in p.outputs.items()})
    return [
        f"def _outputs({', '.join(names)}):",
        '    """Return the shape of every output of one sample and step."""',
        f"    return {shapes}",
    ]


def _tables(a: Asked) -> list[str]:
    """Return the tables that a native module has beside those of a NumPy module."""
    p, head = a.program, a.head
    given = [b for b in arguments_of(p, head) if b.role in ("param", "const") and not is_baked(b)]
    sizes = dict.fromkeys([*size_names(p), *(size_names(head.program) if head else ())])
    lines = [
        f"SIZES = {name_tuple(sizes)}",
        f"NEEDED = {name_tuple(name for name in sizes if any(name in names_in(b.shape) for b in given))}",
        f"OUTPUTS = {name_tuple(p.outputs)}",
        f"CONSTS = {name_tuple(b.name for b in given if b.role == 'const')}",
        first_table(given, p.of_role("state")),
    ]
    if head is not None:
        read = [b for b in head.program.arguments if not is_baked(b)]
        lines += [
            f"LOSS_PARAMS = {name_tuple(b.name for b in read if b.role in ('param', 'const'))}",
            f"LOSS_INPUTS = {name_tuple(b.name for b in read if b.role not in ('param', 'const'))}",
            f'REDUCTION = "{head.reduction}"',
        ]
    if head is not None and head.predicted is not None:
        read = [b for b in head.predicted.arguments if not is_baked(b)]
        lines += [
            f"PREDICTED = {name_tuple(head.predicted.outputs)}",
            f"PREDICT_PARAMS = {name_tuple(b.name for b in read if b.role in ('param', 'const'))}",
            f"PREDICT_INPUTS = {name_tuple(b.name for b in read if b.role not in ('param', 'const'))}",
        ]
    match a.truncation:
        case Window(k):
            lines += ["CHUNK = 1", f"REACH = {k}"]
        case Chunked(k1, k2):
            lines += [f"CHUNK = {k1}", f"REACH = {k2}"]
    return lines


def _carried(files: Sequence[str], text: str, absent: str = "", idle: frozenset[str] = frozenset()) -> str:
    """Return the definitions that a text reads, those that a caller uses, and what these read in turn, in the order of the files. Of a
    name in several files the first one counts, and one name may be `absent`; statements that call an `idle` function are left out."""
    places = {name: file for file in reversed(files) for name in names_of(file) if name != absent}

    def told(name: str) -> Definition | None:
        return definition(places[name], name, idle) if name in places else None

    found = needed([*ROOTS, *sorted(names_read(text, FILE))], told)
    order = [(file, name) for file in files for name in names_of(file)]
    return joined(sorted(found.values(), key=lambda d: order.index((d.file, d.name))))


def names_of(file: str) -> tuple[str, ...]:
    """Return the names that a file which modules carry defines, in their order."""
    return tuple(_source(file).nodes)


@cache
def definition(file: str, name: str, idle: frozenset[str] = frozenset()) -> Definition:
    """Return what a file that modules carry defines under a name, without statements that call an `idle` function."""
    text = plain(_source(file), name, idle)
    return Definition(file, name, text, frozenset(names_read(text, FILE) - {name}))


@cache
def _source(file: str) -> Source:
    # As text, not as a module: the framework may not be there.
    return parsed((files(FRAMEWORKS) / file).read_text(encoding="utf-8"))
