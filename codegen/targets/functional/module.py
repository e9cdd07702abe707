"""A native module: the head, the tables of the cell, its sweeps, and the parts that each module of a framework carries."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from symbptt.codegen.load import names_read
from symbptt.codegen.program.names import named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked, size_names
from symbptt.codegen.targets.functional.sweeps import Sweeps, backward, forward, kept
from symbptt.codegen.targets.functional.tables import Table
from symbptt.codegen.targets.python.copied import FILE, Definition, Source, joined, needed, parsed, plain
from symbptt.codegen.targets.python.first import first_table
from symbptt.codegen.targets.python.header import docstring, tables
from symbptt.codegen.targets.python.text import dict_text, name_tuple, shape_text
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.ir.shape import names_in

FRAMEWORKS = "symbptt.codegen.frameworks"
ROOTS = ("run", "Net")
"""What a caller of a module uses."""
OF_KERNELS = ("_parted", "_length")
"""What a kernel uses of a module without sweeps."""
OWN = {"params", "inputs", "state", "before", "after", "outputs", "kept", "cotangents", "carry", "given", "step", "scan", "first", "like",
       "T", "B", "torch", "jax", "jnp", "math", "partial", "shape", "_", "_forward", "_kept", "_backward", "_sizes", "_shapes",
       "PARAMS", "INPUTS", "STATES", "OUTPUTS", "LEAD", "SHAPES", "INDICES", "STARTS", "CONSTS", "FIRST", "SIZES"}  # fmt: skip
"""Names that the sweeps of a module, and its tables, use themselves."""


def source(p: Program, table: Table, version: str, equations: str) -> str:
    """Return the text of the module of a placed program for one framework."""
    parts = _files(table)
    taken = {name for file in parts for name in names_of(file)}
    sweeps = Sweeps(named(p, {*OWN, *taken, *keyword.kwlist, *keyword.softkwlist, *dir(builtins)}), table)
    # What the cell has of its own comes first, for that is what a reader looks for.
    own = "\n\n\n".join(function(sweeps).text for function in (forward, kept, backward))
    imports = [*["import math"] * ("math" in names_read(own, "sweeps")), *table.imports]
    head = "\n".join([docstring(p, version, equations, None), "", *imports, "", tables(p, None, {}, ("STARTS",))])
    more = "\n".join(line for text in _tables(p) for line in wrapped(text))
    return "\n\n\n".join([f"{head}\n\n\n{more}", own, _carried(parts, f"{own}\n{head}")])


def interface(p: Program, table: Table, version: str, equations: str) -> str:
    """Return the text of a module without sweeps: who loads it gives it `_Recurrence`, or `_recurrence`, a function of all steps."""
    head = "\n".join([docstring(p, version, equations, None), "", *table.imports, "", tables(p, None, {}, ("STARTS",))])
    own = "\n".join([*(line for text in _tables(p) for line in wrapped(text)), "", "", *_outputs(p)])
    carried = _carried(_files(table), "\n".join([own, head, *OF_KERNELS]), table.recurrence)
    return "\n\n\n".join([f"{head}\n\n\n{own}", carried])


def _files(table: Table) -> tuple[str, ...]:
    """Return the files of what modules of a framework carry, from callers to callees."""
    return *table.files, "arguments.py"


def _outputs(p: Program) -> list[str]:
    """Return the function that tells the shapes of outputs of one sample and step."""
    names = sorted({name for a in p.arguments if not is_baked(a) for name in names_in(a.shape)})
    shapes = dict_text({name: shape_text((), p.graph.shape(id)) for name, id in p.outputs.items()})
    return [
        f"def _outputs({', '.join(names)}):",
        '    """Return the shape of every output of one sample and step."""',
        f"    return {shapes}",
    ]


def _tables(p: Program) -> list[str]:
    """Return the tables that a native module has beside those of a NumPy module."""
    given = [a for a in p.of_role("param", "const") if not is_baked(a)]
    return [
        f"SIZES = {name_tuple(size_names(p))}",
        f"OUTPUTS = {name_tuple(p.outputs)}",
        f"CONSTS = {name_tuple(a.name for a in given if a.role == 'const')}",
        first_table(given, p.of_role("state")),
    ]


def _carried(files: Sequence[str], text: str, absent: str = "") -> str:
    """Return the definitions that a text reads, those that a caller uses, and what these read in turn, in the order of the files. Of a
    name in several files the first one counts, and one name may be `absent`."""
    places = {name: file for file in reversed(files) for name in names_of(file) if name != absent}

    def told(name: str) -> Definition | None:
        return definition(places[name], name) if name in places else None

    found = needed([*ROOTS, *sorted(names_read(text, FILE))], told)
    order = [(file, name) for file in files for name in names_of(file)]
    return joined(sorted(found.values(), key=lambda d: order.index((d.file, d.name))))


def names_of(file: str) -> tuple[str, ...]:
    """Return the names that a file which modules carry defines, in their order."""
    return tuple(_source(file).nodes)


@cache
def definition(file: str, name: str) -> Definition:
    """Return what a file that modules carry defines under a name."""
    text = plain(_source(file), name)
    return Definition(file, name, text, frozenset(names_read(text, FILE) - {name}))


@cache
def _source(file: str) -> Source:
    # As text, not as a module: the framework may not be there.
    return parsed((files(FRAMEWORKS) / file).read_text(encoding="utf-8"))
