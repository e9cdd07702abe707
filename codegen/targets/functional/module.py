"""A native module: the head, the tables of the cell, its sweeps, and the parts that each module of a framework carries."""

from __future__ import annotations

import ast
import builtins
import keyword
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import sympy as sp

from symbptt.codegen.load import names_read
from symbptt.codegen.program.names import named
from symbptt.codegen.program.program import Program
from symbptt.codegen.program.values import is_baked, size_names
from symbptt.codegen.targets.functional.sweeps import Sweeps, backward, forward, kept
from symbptt.codegen.targets.functional.tables import Table
from symbptt.codegen.targets.python.header import docstring, tables
from symbptt.codegen.targets.python.text import dict_text, name_tuple, nested_text, shape_text
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.ir.shape import Size, names_in
from symbptt.ir.step import Argument
from symbptt.syntax import statements

FRAMEWORKS = "symbptt.codegen.frameworks"
ROOTS = ("run", "Net")
"""What a caller of a module uses."""
OF_KERNELS = ("_parted", "_length")
"""What a kernel uses of a module without sweeps."""
OWN = {"params", "inputs", "state", "before", "after", "outputs", "kept", "cotangents", "carry", "given", "step", "scan", "first", "like",
       "T", "B", "torch", "jax", "jnp", "math", "partial", "shape", "_", "_forward", "_kept", "_backward", "_sizes", "_shapes",
       "PARAMS", "INPUTS", "STATES", "OUTPUTS", "LEAD", "SHAPES", "INDICES", "STARTS", "CONSTS", "FIRST", "SIZES"}  # fmt: skip
"""Names that the sweeps of a module, and its tables, use themselves."""


@dataclass(frozen=True)
class Definition:
    """A statement of a file that modules carry: the names that it defines, none of a call, and its text."""

    names: tuple[str, ...]
    text: str


def source(p: Program, table: Table, version: str, equations: str) -> str:
    """Return the text of the module of a placed program for one framework."""
    parts = _parts(table)
    taken = {name for part in parts for name in part.names}
    sweeps = Sweeps(named(p, {*OWN, *taken, *keyword.kwlist, *keyword.softkwlist, *dir(builtins)}), table)
    # What the cell has of its own comes first, for that is what a reader looks for.
    own = "\n\n\n".join(function(sweeps).text for function in (forward, kept, backward))
    imports = [*["import math"] * ("math" in names_read(own, "sweeps")), *table.imports]
    head = "\n".join([docstring(p, version, equations, None), "", *imports, "", tables(p, None, {}, ("STARTS",))])
    more = "\n".join(line for text in _tables(p) for line in wrapped(text))
    carried = [part.text for part in _carried(parts, f"{own}\n{head}")]
    return "\n\n\n".join([f"{head}\n\n\n{more}", own, *carried]) + "\n"


def interface(p: Program, table: Table, version: str, equations: str) -> str:
    """Return the text of a module without sweeps: who loads it gives it `_Recurrence`, or `_recurrence`, a function of all steps."""
    parts = [part for part in _parts(table) if part.names and part.names[0].lower() != "_recurrence"]
    head = "\n".join([docstring(p, version, equations, None), "", *table.imports, "", tables(p, None, {}, ("STARTS",))])
    own = "\n".join([*(line for text in _tables(p) for line in wrapped(text)), "", "", *_outputs(p)])
    carried = [part.text for part in _carried(parts, f"{own}\n{head}", OF_KERNELS)]
    return "\n\n\n".join([f"{head}\n\n\n{own}", *carried]) + "\n"


def _parts(table: Table) -> tuple[Definition, ...]:
    """Return the definitions that modules of a framework carry; a statement that calls comes behind all that it reads."""
    return (*definitions("arguments.py"), *definitions(f"{table.name}_parts.py"))


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
    states = {size for a in p.of_role("state") for size in a.shape}
    return [
        f"SIZES = {name_tuple(size_names(p))}",
        f"OUTPUTS = {name_tuple(p.outputs)}",
        f"CONSTS = {name_tuple(a.name for a in given if a.role == 'const')}",
        f"FIRST = {dict_text({a.name: _first(a, states, p) for a in given})}",
    ]


def _first(a: Argument, states: Iterable[Size], p: Program) -> str:
    """Return the first value of a parameter: the rules of `Cell.init`."""
    begins = any(b.start == a.name for b in p.of_role("state") if isinstance(b.start, str))
    if a.default is not None and not begins:
        return nested_text(np.asarray(a.default, float).tolist())
    if len(a.shape) < 2 or begins:
        return "0.0"
    # Orthogonal recurrent weights keep norms.
    is_recurrent = sp.sympify(a.shape[-1] - a.shape[-2]) == 0 and a.shape[-1] in states
    return '"orthogonal"' if is_recurrent else '"uniform"'


def _carried(parts: Iterable[Definition], text: str, roots: tuple[str, ...] = ()) -> list[Definition]:
    """Return the definitions that a text reads, those that a caller uses, and what these read in turn, in their order."""
    parts = list(parts)
    known = {name: part for part in parts for name in part.names}
    calls = "\n".join(part.text for part in parts if not part.names)
    found, queue = set[str](), [*ROOTS, *roots, *names_read(f"{text}\n{calls}", "a native module")]
    while queue:
        name = queue.pop()
        if name in known and name not in found:
            found.add(name)
            queue += names_read(known[name].text, name)
    return [part for part in parts if not part.names or not found.isdisjoint(part.names)]


@cache
def definitions(file: str) -> tuple[Definition, ...]:
    """Return the definitions of a file that modules carry, each as it stands there, without imports and the file's docstring."""
    text = (files(FRAMEWORKS) / file).read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for node in statements(text, file):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        names = (node.name,) if isinstance(node, ast.FunctionDef | ast.ClassDef) else ()
        found.append(Definition(names, "\n".join(lines[first - 1 : node.end_lineno])))
    return tuple(found)
