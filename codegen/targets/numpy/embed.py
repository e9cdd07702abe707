"""The part of the runtime that a generated module contains: the definitions that it calls, and what these call in turn.

A definition is copied as it stands, without its types: the modules are plain Python. Names that several files of the
runtime define are choices (`forward` by pieces or whole); the module says from which file each is taken.
"""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from symbptt import ops, special
from symbptt.codegen.load import names_read
from symbptt.codegen.runtime import (
    algebra,
    arguments,
    call,
    cell,
    checked_loss,
    checked_reach,
    checkpoints,
    chunked,
    driver,
    errors,
    evaluation,
    every,
    full,
    gather,
    last,
    limit,
    located,
    losses,
    masks,
    norms,
    part,
    parts,
    pieces,
    quiet,
    reach,
    results,
    root,
    saturation,
    scan,
    selfcheck,
    settling,
    sweeps,
    told_every,
    told_last,
    types,
    watch,
    watch_chunk,
    whole,
    window,
    workspace,
)
from symbptt.syntax import statements

RUNTIME: tuple[ModuleType, ...] = (
    driver, whole, pieces, reach, evaluation, root, limit, chunked, window, told_every, told_last, every, last, losses, parts, part,
    located, call, checkpoints, gather, algebra, settling, scan, quiet, saturation, special, masks, watch, watch_chunk, norms, arguments,
    types, results, workspace, errors, full, selfcheck,
    checked_loss, checked_reach,
)  # fmt: skip
"""The files of the runtime in the order in which a module contains them, from callers to callees."""
OWN = (cell, sweeps)
"""The files that declare what each module defines itself under these names."""
FILE = "<a module that is written>"
WIDTH = 120
TOOLS = ("# fmt:", "# type:", "# noqa")
"""Comments for tools that modules do not need."""


@dataclass(frozen=True)
class Definition:
    """A top-level definition of a file: a function, a class or a constant, its text, and the names that it reads."""

    file: str
    name: str
    text: str
    reads: frozenset[str]

    @property
    def is_constant(self) -> bool:
        """True if it is neither a function nor a class."""
        return not self.text.startswith(("def ", "class "))


def embedded(
    text: str, roots: Iterable[str] = (), files: Mapping[str, ModuleType] | None = None
) -> tuple[str, set[str]]:
    """Return the definitions that a module contains: those that its text reads and `roots`, in the order of the files;
    and the names among these that the module itself must define. `files` tells the files of names that are choices."""
    # A module carries what it calls and nothing else: a cell without masks or checkpoints needs none of their
    # functions, and its reader does not have to pass over them.
    known, todo = {**_first(), **(files or {})}, [*roots, *sorted(names_read(text, FILE))]
    found, own = dict[str, Definition](), set[str]()
    while todo:
        name = todo.pop()
        if name in _own_names():
            own.add(name)
        elif name in known and name not in found:
            found[name] = _definition(known[name], name)
            todo += sorted(found[name].reads)
    return _joined(sorted(found.values(), key=lambda d: _places()[d.file, d.name])), own


def defined() -> set[str]:
    """Return all names that modules may define for the runtime, or contain of it."""
    return {name for file in (*RUNTIME, *OWN) for name in _names(file)} | _remaining().keys()


@cache
def _own_names() -> frozenset[str]:
    return frozenset(name for file in OWN for name in _names(file))


@cache
def _names(file: ModuleType) -> tuple[str, ...]:
    """Return the names that a file defines: quickly, for a module needs the text of few of them."""
    return tuple(name for node in statements(inspect.getsource(file)) for name in _defined(node))


@cache
def _first() -> dict[str, ModuleType]:
    """Return the first file that defines each name; those written from records belong to the file of their caller."""
    found = {name: file for file in RUNTIME[::-1] for name in _names(file)}
    return found | dict.fromkeys(_remaining(), saturation)


def _definition(file: ModuleType, name: str) -> Definition:
    return _remaining().get(name) or next(d for d in definitions(file) if d.name == name)


@cache
def _remaining() -> dict[str, Definition]:
    """Return the remainders of functions near one where they saturate, each written from its record."""
    found = {}
    for name, remainder in ops.REMAINING.items():
        words = f"Return {remainder.text} of a large a, by e = exp(-|a|)."
        lines = [f"def _{name}(e):", f'    """{words}"""', f"    return {remainder.code}"]
        found[f"_{name}"] = Definition(saturation.__name__, f"_{name}", "\n".join(lines), frozenset())
    return found


@cache
def _places() -> dict[tuple[str, str], int]:
    """Return the position of each definition, by file and line; those written from records come after their caller."""
    order = [
        (file.__name__, name)
        for file in RUNTIME
        for name in (*_names(file), *(_remaining() if file is saturation else ()))
    ]
    return {place: i for i, place in enumerate(order)}


def _joined(found: Iterable[Definition]) -> str:
    """Return one text, with two empty lines between definitions, none between constants."""
    text, before = "", None
    for d in found:
        gap = "" if before is None else "\n" if d.is_constant and before.is_constant else "\n\n\n"
        text, before = f"{text}{gap}{d.text}", d
    return f"{text}\n" if text else ""


@cache
def definitions(file: ModuleType) -> tuple[Definition, ...]:
    """Return the definitions of a file, without imports, types and the strings that describe constants."""
    text = _plain(inspect.getsource(file))
    lines = text.splitlines()
    found = []
    for node in statements(text):
        for name in _defined(node):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            body = "\n".join(lines[first - 1 : node.end_lineno])
            found.append(Definition(file.__name__, name, body, frozenset(_read(node) - {name})))
    return tuple(found)


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines for a module."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
            return [name] if ast.unparse(kind) != "TypeAlias" else []
        case ast.Assign(targets=[target]):
            return [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
    return []


def _read(node: ast.AST) -> set[str]:
    """Return the names that a definition takes from outside: what it binds itself is its own, whatever else has that name."""
    found, own, todo = set[str](), set[str](), [node]
    while todo:
        piece = todo.pop()
        if isinstance(piece, ast.Name):
            (found if isinstance(piece.ctx, ast.Load) else own).add(piece.id)
        elif isinstance(piece, ast.arg):
            own.add(piece.arg)
        # The parts as they lie in a node: `ast.walk` looks each of them up by its name, which takes three times as long.
        for value in vars(piece).values():
            todo += [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, ast.AST)]
    return found - own


def _plain(text: str) -> str:
    """Return a program without types and comments for tools; each function's parameters stand on one line where they
    fit."""
    data, starts = text.encode(), [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    # From the end to the start, so that the positions of earlier edits stay valid; in bytes, as `ast` counts columns.
    for start, end, new in sorted(_edits(text, data, starts), reverse=True):
        data = data[:start] + new.encode() + data[end:]
    return data.decode()


def _statements(nodes: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements and those inside them. Types stand in statements alone: a walk of the expressions too would take ten times
    as long."""
    for node in nodes:
        yield node
        for block in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(block, field, ()))


def _edits(text: str, data: bytes, starts: list[int]) -> Iterator[tuple[int, int, str]]:
    """Yield the parts of a program to be replaced: the first and the last byte, and the new text."""
    for node in _statements(statements(text)):
        match node:
            case ast.FunctionDef(body=[first, *_]):
                end = starts[first.lineno - 1]
                yield _start(node, starts), end - 1, _header(data, starts, node)
            case ast.AnnAssign(target=target, value=None):
                raise AssertionError(f"{ast.unparse(target)} is declared and has no value")
            case ast.AnnAssign(annotation=ast.Name("TypeAlias")):
                yield _start(node, starts), _end(node, starts), ""
            case ast.AnnAssign(target=target, value=value):
                assert value is not None
                yield _end(target, starts), _start(value, starts), " = "
    commented = text if any(words in text for words in TOOLS) else ""  # tokens take long
    for token in tokenize.generate_tokens(io.StringIO(commented).readline):
        if token.type == tokenize.COMMENT and token.string.startswith(TOOLS):
            code = token.line[: token.start[1]].rstrip()
            yield starts[token.start[0] - 1] + len(code.encode()), starts[token.start[0]] - 1, ""


def _start(node: ast.expr | ast.stmt, starts: list[int]) -> int:
    return starts[node.lineno - 1] + node.col_offset


def _end(node: ast.expr | ast.stmt, starts: list[int]) -> int:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return starts[node.end_lineno - 1] + node.end_col_offset


def _header(data: bytes, starts: list[int], node: ast.FunctionDef) -> str:
    """Return the first line of a function without types; where it is too long its parameters stand on a line of their
    own."""
    arguments = node.args
    for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if a is not None:
            a.annotation = None

    def as_spelt(default: ast.expr) -> ast.expr:
        # A default as it stands: 2**28, not 2 ** 28.
        return ast.Name(data[_start(default, starts) : _end(default, starts)].decode())

    arguments.defaults = [as_spelt(d) for d in arguments.defaults]
    arguments.kw_defaults = [None if d is None else as_spelt(d) for d in arguments.kw_defaults]
    parameters = ast.unparse(arguments)
    line = f"def {node.name}({parameters}):"
    indent = " " * node.col_offset
    return line if len(indent + line) <= WIDTH else f"def {node.name}(\n{indent}    {parameters}\n{indent}):"
