"""Roles of a cell's arguments, and the small language of their dimensions."""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, get_origin

from symbptt.errors import CellError
from symbptt.ir.shape import Shape, Size, named_size, rounded_quotient, size
from symbptt.syntax import expression

LARGEST = 10**9
LONGEST = 200


@dataclass(frozen=True)
class Annotation:
    """A role with its dimensions as the user wrote them; `limit` is the number of values of an Index, `complex` tells whether the entries
    are complex numbers."""

    role: str
    dims: str
    limit: str = ""
    complex: bool = False


class Role:
    """Base of the roles: `Role["n m"]` annotates an array, the bare `Role` a scalar, `Role["n m", complex]` an array of
    complex numbers, `Role[complex]` one of them.

    The cotangent of a complex z is dz = ∂L/∂Re z + i ∂L/∂Im z, as in torch, so that a step of -η dz descends; JAX returns its
    conjugate.
    """

    role = ""
    may_be_complex = True

    def __new__(cls, *dims: object, **options: object) -> Role:
        inside = dims[0] if len(dims) == 1 and isinstance(dims[0], str) else "n m"
        raise CellError(
            f"{cls.__name__}(...) is no annotation: dimensions stand in square brackets\n"
            f'  write {cls.__name__}["{inside}"], or {cls.__name__} alone for a scalar'
        )

    def __class_getitem__(cls, dims: object) -> Annotation:
        text, kind = (
            dims if isinstance(dims, tuple) and len(dims) == 2 else ("", complex) if dims is complex else (dims, None)
        )
        if kind is complex and not cls.may_be_complex:
            raise CellError(f"{cls.__name__}[{dims!r}]: an index is an integer\n  write {cls.__name__}[{text!r}]")
        if isinstance(text, str) and kind in (bool, int):
            one = f'{cls.__name__}["{text}"]'
            raise CellError(
                f"{cls.__name__}[{text!r}, {kind.__name__}]: arguments are numbers, of which a call takes floats\n"
                f"  write {one}, in the step np.where(mask > 0, a, b), and give 0. and 1."
            )
        if not isinstance(text, str) or kind not in (None, complex):
            raise CellError(
                f"{cls.__name__}[...] takes its dimensions as one string, and `complex` behind it for complex numbers\n"
                f'  got {dims!r}\n  write for example {cls.__name__}["n m"], or {cls.__name__}["n m", complex]'
            )
        return Annotation(cls.role, text, complex=kind is complex)


class Input(Role):
    """An argument that a step is given from outside."""

    role = "input"


class State(Role):
    """An argument that one step carries to the next; in a loss, the state after the step."""

    role = "state"


class Context(Role):
    """An argument that a sequence is given once and each step reads: (B, ...), or one without a batch axis for all samples."""

    role = "context"


class Param(Role):
    """An argument that is trained and shared by all steps."""

    role = "param"


class Const(Role):
    """An argument that is shared by all steps and not trained."""

    role = "const"


class Index(Role):
    """An integer in [0, v), given from outside, `Index["v"]`, or an array of them, `Index["v", "k"]`."""

    role = "index"
    may_be_complex = False

    def __class_getitem__(cls, dims: object) -> Annotation:
        given = dims if isinstance(dims, tuple) else (dims,)
        if len(given) > 2 or not all(isinstance(item, str) for item in given):
            raise CellError(
                "Index[...] takes the number of values, and the dimensions where it is an array, as strings\n"
                f'  got {dims!r}\n  write Index["v"], or Index["v", "k"] for k integers a step'
            )
        return Annotation(cls.role, " ".join(given[1:]), given[0])


class Output(Role):
    """In a loss, what the cell returned beside its states."""

    role = "output"


class Target(Role):
    """In a loss, what the step should have given."""

    role = "target"


ROLES: dict[str, type[Role]] = {
    cls.__name__: cls for cls in (Input, State, Param, Const, Index, Context, Output, Target)
}


def annotation_of(text_or_object: Any, scope: dict[str, Any]) -> Annotation | None:
    """Return what an annotation says, or None where it is no role; strings are parsed, never evaluated."""
    found = _parse(text_or_object, scope) if isinstance(text_or_object, str) else text_or_object
    found = _told(found.__metadata__) if get_origin(found) is Annotated else found
    if isinstance(found, type) and issubclass(found, Role):
        return Annotation(found.role, "")
    return found if isinstance(found, Annotation) else None


def _told(notes: tuple[Any, ...]) -> Any:
    """Return what the notes behind the type of an Annotated say: a role with its dimensions, or one that strings behind it give them."""
    for place, note in enumerate(notes):
        if isinstance(note, Annotation):
            return note
        if isinstance(note, type) and issubclass(note, Role):
            rest = takewhile(lambda item: isinstance(item, str) or item is complex, notes[place + 1 :])
            dims = tuple(rest)
            return note.__class_getitem__(dims[0] if len(dims) == 1 else dims) if dims else note
    return None


def _parse(text: str, scope: dict[str, Any]) -> Any:
    try:
        node = expression(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    # Annotations are strings under `from __future__ import annotations`; they are parsed, since eval would run any code.
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a quoted annotation, quoted once more
        return _parse(node.value, scope)
    return _meant(node, scope)


def _meant(node: ast.expr, scope: dict[str, Any]) -> Any:
    """Return the role, with its dimensions where it has some, that stands in an annotation; None where it is none."""
    if not isinstance(node, ast.Subscript):
        return _resolve(node, scope)
    role = _resolve(node.value, scope)
    if role is Annotated and isinstance(node.slice, ast.Tuple):
        return _told(tuple(_note(part, scope) for part in node.slice.elts[1:]))
    return (
        role.__class_getitem__(_inside(node.slice, scope))
        if isinstance(role, type) and issubclass(role, Role)
        else None
    )


def _note(node: ast.expr, scope: dict[str, Any]) -> Any:
    """Return a note of an Annotated: a text, the name `complex`, or a role."""
    inside = _inside(node, scope) if isinstance(node, ast.Constant | ast.Name) else node
    return inside if isinstance(node, ast.Constant) or inside is complex else _meant(node, scope)


def _inside(node: ast.expr, scope: dict[str, Any]) -> Any:
    """Return what stands in the brackets of an annotation: a text, the name `complex`, or both."""
    if isinstance(node, ast.Tuple):
        return tuple(_inside(part, scope) for part in node.elts)
    if isinstance(node, ast.Name) and node.id == "complex" and scope.get("complex", complex) is complex:
        return complex
    return node.value if isinstance(node, ast.Constant) else ast.unparse(node)


def _resolve(node: ast.expr, scope: dict[str, Any]) -> Any:
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(node.value, scope), node.attr, ROLES.get(node.attr))
    if isinstance(node, ast.Name):
        return scope.get(node.id, ROLES.get(node.id))
    return None


_TOKEN = re.compile(r"\d+|[^\W\d][\w\u0300-\u036f]*|//|.", re.DOTALL)


def parse_dims(text: str, where: Callable[[str], str] = lambda message: message) -> Shape:
    """Return the shape that a string of dimensions means: names or integers with + - * and // of an integer, separated by spaces.

    Raises: CellError, its message passed through `where`, for what is no dimension.
    """
    if len(text) > LONGEST:
        raise CellError(where(f"a string of dimensions of {len(text)} characters; {LONGEST} are allowed"))
    return tuple(_Parser(word, text, where).parse() for word in text.split())


class _Parser:
    """Recursive descent over one dimension: sum of products of names, integers and brackets."""

    def __init__(self, word: str, whole: str, where: Callable[[str], str]) -> None:
        # As Python does with identifiers, so that a size matches a variable spelled with compatibility characters.
        self.tokens = _TOKEN.findall(unicodedata.normalize("NFKC", word))
        self.word, self.whole, self.where = word, whole, where

    def fail(self, why: str) -> CellError:
        return CellError(
            self.where(
                f"the dimension {self.word!r} in {self.whole!r} {why}\n  write names or integers with "
                f'+ - * and no space inside one dimension, for example "2*n m+1"'
            )
        )

    def parse(self) -> Size:
        value = self.sum()
        if self.tokens:
            raise self.fail(f"cannot be read from {self.tokens[0]!r} on")
        if isinstance(value, int) and not 1 <= value <= LARGEST:
            raise self.fail(f"is {value}; sizes are from 1 to {LARGEST}")
        return value

    def sum(self) -> Size:
        value = self.product()
        while self.tokens and self.tokens[0] in "+-":
            sign = 1 if self.tokens.pop(0) == "+" else -1
            value = size(value + sign * self.product())
        return value

    def product(self) -> Size:
        value = self.atom()
        while self.tokens and self.tokens[0] in ("*", "//"):
            sign, other = self.tokens.pop(0), self.atom()
            if sign == "//" and (not isinstance(other, int) or not 1 <= other <= LARGEST):
                raise self.fail("divides by what is no positive integer")
            value = size(value * other) if sign == "*" else rounded_quotient(value, int(other))
        return value

    def atom(self) -> Size:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "(":
            value = self.sum()
            if not self.tokens or self.tokens.pop(0) != ")":
                raise self.fail("lacks a closing bracket")
            return value
        if token.isdecimal():
            # More than ten digits exceed LARGEST, and `int` refuses texts of more than 4,300.
            if len(token) > 10:
                raise self.fail(f"has too large a number; sizes are from 1 to {LARGEST}")
            return int(token)
        if token.isidentifier() and not keyword.iskeyword(token):
            return named_size(token)
        raise self.fail(f"has {token!r} where a name or an integer is due" if token else "ends too early")
