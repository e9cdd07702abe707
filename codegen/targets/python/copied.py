"""Definitions of files that modules carry, copied as they stand, without types: what each is called, its text, and what it reads."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from textwrap import wrap

from symbptt.syntax import statements

FILE = "<a module that is written>"
WIDTH = 120
TYPES = {"Array": "np.ndarray", "Arrays": "dict[str, np.ndarray]", "Number": "np.floating"}
"""What the types of the runtime are called in modules, which define none; Any is left out."""
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
        return not self.text.startswith(("def ", "class ", "@"))


@dataclass(frozen=True)
class Source:
    """The text of a file in bytes, as `ast` counts columns, where its lines begin, and the statement that defines each name."""

    data: bytes
    starts: tuple[int, ...]
    nodes: dict[str, ast.stmt]

    def start(self, node: ast.expr | ast.stmt | ast.arg) -> int:
        """Return the position of the first byte of a node; a decorator is a part of what it stands before."""
        first = min([node, *getattr(node, "decorator_list", ())], key=lambda part: part.lineno)
        return self.starts[first.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Return the position behind the last byte of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset


def needed(names: Iterable[str], definition: Callable[[str], Definition | None]) -> dict[str, Definition]:
    """Return the definitions of names, and of what these read in turn, by name; a name without a definition is passed over."""
    found, todo = dict[str, Definition](), [*names]
    while todo:
        name = todo.pop()
        if name not in found and (d := definition(name)) is not None:
            found[name] = d
            todo += sorted(d.reads)
    return found


def joined(found: Iterable[Definition]) -> str:
    """Return one text, with two empty lines between definitions, none between constants."""
    text, before = "", None
    for d in found:
        gap = "" if before is None else "\n" if d.is_constant and before.is_constant else "\n\n\n"
        text, before = f"{text}{gap}{d.text}", d
    return f"{text}\n" if text else ""


def parsed(text: str) -> Source:
    """Return the text of a file with the places of its definitions."""
    data, starts = text.encode(), [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return Source(data, tuple(starts), {name: node for node in statements(text) for name in names_defined(node)})


def names_defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines for a module."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
    return []


def plain(source: Source, name: str, absent: frozenset[str] = frozenset(), hinted: bool = False) -> str:
    """Return the text of a definition, to the end of its last line, without types, comments for tools and statements that call an absent
    function; each function's parameters stand on one line where they fit. What is `hinted` keeps the types of parameters and values."""
    node = source.nodes[name]
    edits = _edits(node, source, absent, hinted)
    first = source.start(node)
    assert node.end_lineno is not None
    data = source.data[: source.starts[node.end_lineno]].rstrip(b"\n")
    # From the end to the start, so that the positions of earlier edits stay valid.
    for start, end, new in sorted(edits, reverse=True):
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


def _edits(node: ast.stmt, source: Source, absent: frozenset[str], hinted: bool) -> Iterator[tuple[int, int, str]]:
    """Yield the parts of a definition to be replaced: the first and the last byte, and the new text."""
    for inner in _statements(node):
        match inner:
            case ast.FunctionDef() if hinted:
                yield from _hints(source, inner)
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


def _hints(source: Source, node: ast.FunctionDef) -> Iterator[tuple[int, int, str]]:
    """Yield the types of a function's parameters and value as modules have them: without Any, and without the runtime's own names."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults, *given.kw_defaults]
    for a, default in zip([*positional, *given.kwonlyargs], defaults, strict=True):
        if a.annotation is None:
            continue
        start, text = source.start(a) + len(a.arg.encode()), _hint(a.annotation)
        if text:
            yield start, source.end(a.annotation), f": {text}"
        else:  # without a type no spaces stand around the sign before a default
            yield start, source.start(default) if default else source.end(a.annotation), "=" * (default is not None)
    if node.returns is not None:
        text = _hint(node.returns)
        # The sign before the type of the value, and what is around it, is no node of the tree.
        before = source.data.rindex(b")", 0, source.start(node.returns)) + 1
        yield before, source.end(node.returns), f" -> {text}" if text else ""


def _hint(annotation: ast.expr) -> str:
    """Return a type as modules write it; nothing for Any."""
    renamed = {node: TYPES[node.id] for node in ast.walk(annotation) if isinstance(node, ast.Name) and node.id in TYPES}
    for node, text in renamed.items():
        assert isinstance(node, ast.Name)
        node.id = text
    return "" if ast.unparse(annotation) == "Any" else ast.unparse(annotation)


def _header(source: Source, node: ast.FunctionDef) -> str:
    """Return the first line of a function without types; where it is too long its parameters stand on lines of their
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
    if len(indent + line) <= WIDTH:
        return line
    rows = "\n".join(wrap(parameters, WIDTH, initial_indent=f"{indent}    ", subsequent_indent=f"{indent}    "))
    return f"def {node.name}(\n{rows}\n{indent}):"
