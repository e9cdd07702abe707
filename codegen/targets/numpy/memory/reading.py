"""The calls of a module, read by running its text on arrays that have a shape and no elements.

Loops of the sweeps run once: calls inside count as often as the loop would run. Where sizes are symbols, steps that are
taken in blocks count as a block of `length` steps, and all blocks together as all steps; where they are numbers, the
first block runs, the second for all that are alike, and a last one that is short. Conditions on elements count as true.

Example: of `for t in range(T): np.matmul(h, W, out=s)` with h of (B, n) and W of (n, n) the body runs once, and is
recorded as T calls, with T B n² multiply-adds in all.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any

import sympy as sp

from symbptt.codegen.load import code_of
from symbptt.codegen.targets.numpy.memory.bare import Bare
from symbptt.codegen.targets.numpy.memory.extent import Extent, Length, expression, largest, smallest
from symbptt.codegen.targets.numpy.memory.namespace import Namespace
from symbptt.codegen.targets.numpy.memory.operators import fresh
from symbptt.codegen.targets.numpy.memory.reader import FILE, SWEEPS, Loop, Reader, frames, running
from symbptt.syntax import statements


class Steps:
    """A `range` in a loop over steps."""

    def __init__(self, reader: Reader, *borders: Any) -> None:
        self.reader = reader
        self.start, self.stop, self.step = (0, borders[0], 1) if len(borders) == 1 else (*borders, 1)[:3]

    def rounds(self) -> list[tuple[Loop, Any]]:
        """Return how often the loop is to run for each value of its variable that stands for others."""
        if all(isinstance(x, int) for x in (self.start, self.stop, self.step)):
            return self._known()
        r, at, sign = self.reader, self.reader.size("t"), 1 if self.step > 0 else -1
        length, steps = expression(sign * self.step), expression(sign * (self.stop - self.start))
        count = steps / length
        # A known number of blocks: each of them runs.
        if length != 1 and count.is_Integer:
            return [(Loop(1, True), self.start + i * self.step) for i in builtins.range(int(count))]
        if length == 1:
            return [(Loop(steps), at)]
        r.blocks.lengths[at.expr] = length, r.size("length").expr
        return [(Loop(sp.ceiling(steps / _letter(r, length)), True, r.blocks.lengths[at.expr][1], steps), at)]

    def _known(self) -> list[tuple[Loop, Any]]:
        values = [*map(Length, builtins.range(self.start, self.stop, self.step))]
        if abs(self.step) == 1:
            return [(Loop(len(values)), values[0])] if values else []
        whole = [at for at in values if abs(self.stop - at) >= abs(self.step)]
        first = [(Loop(1, True), at) for at in whole[:1]]
        alike = [(Loop(len(whole) - 1, True), at) for at in whole[1:2]]
        return [*first, *alike, *[(Loop(1, True), at) for at in values[len(whole) :]]]

    def __iter__(self) -> Iterator[Any]:
        for loop, at in self.rounds():
            yield from running(self.reader, loop, at)


def _letter(r: Reader, size: sp.Expr) -> sp.Symbol:
    """Return the letter that stands for the length of a block in formulas."""
    known = next((letter for letter, old in r.letters.items() if old == size), None)
    if known is None:
        known = sp.Symbol("K" + "'" * len(r.letters), integer=True, nonnegative=True)
        r.letters[known] = size
    return known


def _zipped(r: Reader, *parts: Any, strict: bool = False) -> Any:
    steps = next((part for part in parts if isinstance(part, Steps)), None)
    return builtins.zip(*parts, strict=strict) if steps is None else _stepping(r, steps, parts)


def _stepping(r: Reader, steps: Steps, parts: Sequence[Any]) -> Iterator[Any]:
    for loop, at in steps.rounds():
        yield from running(r, loop, tuple(at if part is steps else part[at] for part in parts))


def _ranged(r: Reader, *borders: Any) -> Any:
    """Return a range that runs as it is, unless it is one over steps in a sweep."""
    # Generators and comprehensions have frames of their own, such as <genexpr>.
    caller = next(f.f_code.co_name for f in frames() if f.f_code.co_filename == FILE and "<" not in f.f_code.co_name)
    if any(isinstance(x, Length | Extent) for x in borders) and caller in SWEEPS:
        return Steps(r, *borders)
    return builtins.range(*borders) if all(isinstance(x, int) for x in borders) else Steps(r, *borders)


class Rooms:
    """A workspace without memory."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def room(self, shape: Sequence[Any], dtype: Any) -> Bare:
        """Return an array."""
        return Bare(self.reader, shape)

    def give(self, rooms: Any) -> None:
        """Take arrays back."""


def definitions(text: str) -> dict[str, Any]:
    """Return the definitions of a module, as they are."""
    names: dict[str, Any] = {"__name__": "run"}
    exec(code_of(text, FILE), names)
    return names


def _with_marks(body: list[ast.stmt]) -> ast.Module:
    """Return a module whose operands of operators are marked that are no names: NumPy may write results into temporaries
    that nothing else reads."""
    tree = ast.Module(body, [])
    for node in ast.walk(tree):  # not by visitors, which recurse as deep as a long sum is nested
        match node:
            case ast.BinOp():
                node.left, node.right = _marked(node.left), _marked(node.right)
            case ast.UnaryOp():
                node.operand = _marked(node.operand)
    return tree


def _marked(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Name | ast.Constant):
        return node
    return ast.copy_location(ast.Call(ast.copy_location(ast.Name("_fresh", ast.Load()), node), [node], []), node)


@lru_cache(16)
def _code(text: str) -> CodeType:
    return compile(_with_marks(statements(text)), FILE, "exec")


def functions_of(text: str, reader: Reader) -> dict[str, Any]:
    """Return the definitions of a module, made to run on arrays without elements."""
    names: dict[str, Any] = {"__name__": "read", "_fresh": fresh}
    exec(_code(text), names)
    names |= {
        "np": Namespace(reader),
        "range": lambda *borders: _ranged(reader, *borders),
        "zip": lambda *parts, **kinds: _zipped(reader, *parts, **kinds),
        "len": lambda x: x.shape[0] if isinstance(x, Bare) else builtins.len(x),
        "min": smallest,
        "max": lambda *values, **kinds: builtins.max(*values, **kinds) if kinds else largest(*values),
        "_sharpened": lambda rest, of, argument: _sharpened(reader, rest, of, argument),
    }
    return names


def _sharpened(r: Reader, rest: Bare, of: Callable[[Bare], Bare], argument: Callable[[], Any]) -> Bare:
    """Return a remainder that was computed again.

    Its calls are those where no element saturates, one look at them all; its memory is that where all of them do.
    """
    r.call("minimum", rest.size)
    if r.heap is not None:
        # Arrays are made and deleted in the order of the runtime, on which the maximum depends.
        tiny = Bare(r, rest.shape, bool)
        whole = argument()
        e = Bare(r, rest.shape)
        del whole
        of(e)
        del tiny, e
    return rest


def names_of(text: str, reader: Reader) -> dict[str, Any]:
    """Return the functions of a module, made to run on arrays without elements; a scan does the same work as the loop
    that is read, and a table that is collected counts as one call."""
    names = functions_of(text, reader)
    names |= {"_window": lambda *_: 0, "_scan": lambda *_, **__: False, "_scan_back": lambda *_, **__: False}
    names["_collected"] = lambda *given: _collected(reader, *given)
    return names


def _collected(r: Reader, x: Bare, index: Bare, axis: int, shape: Sequence[Any]) -> Bare:
    r.call("add.at", x.size)
    return Bare(r, shape)
