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
from types import FunctionType, ModuleType

from symbptt import ops, special
from symbptt.codegen.load import names_of_code, names_read
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
    real_types,
    results,
    root,
    saturation,
    scan,
    selfcheck,
    settling,
    starts,
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
    starts, types, real_types, results, workspace, errors, full, selfcheck,
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


@dataclass(frozen=True)
class Source:
    """The text of a file in bytes, as `ast` counts columns, where its lines begin, and the statement that defines each name."""

    data: bytes
    starts: tuple[int, ...]
    nodes: dict[str, ast.stmt]

    def start(self, node: ast.expr | ast.stmt) -> int:
        """Return the position of the first byte of a node; a decorator is a part of what it stands before."""
        first = min([node, *getattr(node, "decorator_list", ())], key=lambda part: part.lineno)
        return self.starts[first.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Return the position behind the last byte of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset


def embedded(
    text: str,
    roots: Iterable[str] = (),
    files: Mapping[str, ModuleType] | None = None,
    absent: frozenset[str] = frozenset(),
) -> tuple[str, set[str]]:
    """Return the definitions that a module contains: those that its text reads and `roots`, in the order of the files;
    and the names among these that the module itself must define. `files` tells the files of names that are choices; a statement that
    calls an `absent` function, which has nothing to do in this module, is left out."""
    # A module carries what it calls and nothing else: a cell without masks or checkpoints needs none of their
    # functions, and its reader does not have to pass over them.
    known, todo = {**_first(), **(files or {})}, [*roots, *sorted(names_read(text, FILE))]
    found, own = dict[str, Definition](), set[str]()
    while todo:
        name = todo.pop()
        if name in _own_names():
            own.add(name)
        elif name in known and name not in found:
            found[name] = definition(known[name], name, absent)
            todo += sorted(found[name].reads)
    return _joined(sorted(found.values(), key=lambda d: _places()[d.file, d.name])), own


def defined() -> set[str]:
    """Return all names that modules may define for the runtime, or contain of it."""
    return {name for file in (*RUNTIME, *OWN) for name in names_of(file)} | _remaining().keys()


@cache
def _own_names() -> frozenset[str]:
    return frozenset(name for file in OWN for name in names_of(file))


def names_of(file: ModuleType) -> tuple[str, ...]:
    """Return the names that a file defines, in their order: functions, classes, and constants, which are annotated.

    The loaded file tells them: to parse all files would take longer than to write a module.
    """
    noted = {name for name in file.__annotations__ if name.isupper()}
    return tuple(
        name for name, value in vars(file).items() if name in noted or getattr(value, "__module__", "") == file.__name__
    )


@cache
def _first() -> dict[str, ModuleType]:
    """Return the first file that defines each name; those written from records belong to the file of their caller."""
    found = {name: file for file in RUNTIME[::-1] for name in names_of(file)}
    return found | dict.fromkeys(_remaining(), saturation)


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
        for name in (*names_of(file), *(_remaining() if file is saturation else ()))
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
def definition(file: ModuleType, name: str, absent: frozenset[str] = frozenset()) -> Definition:
    """Return what a file defines under a name, without types and without statements that call an absent function."""
    if name in _remaining():
        return _remaining()[name]
    text, value = plain(_source(file), name, absent), vars(file)[name]
    # The code of a function is there already; of its defaults and decorators none reads a name.
    read = names_of_code(value.__code__) if isinstance(value, FunctionType) else names_read(text, FILE)
    return Definition(file.__name__, name, text, frozenset(read - {name} - absent))


@cache
def _source(file: ModuleType) -> Source:
    return parsed(inspect.getsource(file))


def parsed(text: str) -> Source:
    """Return the text of a file with the places of its definitions."""
    data, starts = text.encode(), [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return Source(data, tuple(starts), {name: node for node in statements(text) for name in _defined(node)})


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines for a module."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
    return []


def plain(source: Source, name: str, absent: frozenset[str] = frozenset()) -> str:
    """Return the text of a definition, to the end of its last line, without types, comments for tools and statements that call an absent
    function; each function's parameters stand on one line where they fit."""
    node = source.nodes[name]
    first = source.start(node)
    assert node.end_lineno is not None
    data = source.data[: source.starts[node.end_lineno]].rstrip(b"\n")
    # From the end to the start, so that the positions of earlier edits stay valid.
    for start, end, new in sorted(_edits(node, source, absent), reverse=True):
        data = data[:start] + new.encode() + data[end:]
    return _without_tools(data[first:].decode())


def _without_tools(text: str) -> str:
    """Return a text without the comments for tools."""
    if not any(words in text for words in TOOLS):  # tokens take long
        return text
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.string.startswith(TOOLS):
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(lines)


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield a statement and those inside it. Types stand in statements alone: a walk of the expressions too would take ten times
    as long."""
    if isinstance(node, ast.stmt):
        yield node
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, ()):
            yield from _statements(inner)


def _edits(node: ast.stmt, source: Source, absent: frozenset[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the parts of a definition to be replaced: the first and the last byte, and the new text."""
    for inner in _statements(node):
        match inner:
            case ast.FunctionDef(body=[first, *_]):
                header = source.starts[inner.lineno - 1] + inner.col_offset
                yield header, source.starts[first.lineno - 1] - 1, _header(source, inner)
            case ast.AnnAssign(target=target, value=None):
                raise AssertionError(f"{ast.unparse(target)} is declared and has no value")
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield source.end(target), source.start(value), " = "
            case ast.Expr(ast.Call(ast.Name(called))) if called in absent:
                assert inner.end_lineno is not None
                yield source.starts[inner.lineno - 1], source.starts[inner.end_lineno], ""


def _header(source: Source, node: ast.FunctionDef) -> str:
    """Return the first line of a function without types; where it is too long its parameters stand on a line of their
    own."""

    def as_spelt(default: ast.expr | None) -> ast.expr | None:
        # A default as it stands: 2**28, not 2 ** 28.
        return default and ast.Name(source.data[source.start(default) : source.end(default)].decode())

    given = node.args
    names = [[ast.arg(a.arg) for a in group] for group in (given.posonlyargs, given.args, given.kwonlyargs)]
    rest = [a and ast.arg(a.arg) for a in (given.vararg, given.kwarg)]
    defaults = [[as_spelt(d) for d in group] for group in (given.kw_defaults, given.defaults)]
    parameters = ast.unparse(ast.arguments(names[0], names[1], rest[0], names[2], defaults[0], rest[1], defaults[1]))  # type: ignore[arg-type]
    line = f"def {node.name}({parameters}):"
    indent = " " * node.col_offset
    return line if len(indent + line) <= WIDTH else f"def {node.name}(\n{indent}    {parameters}\n{indent}):"
