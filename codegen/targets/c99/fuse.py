"""Fuses loops over the same numbers of elements, and makes numbers of arrays that one iteration alone needs.

Example: `for j: s[j] = ...`, `for j: i[j] = sigmoid(s[j] + b[j])` become one loop, in which `s[j]` is a number.

A loop may join one before it where no iteration needs what a later one writes: of two accesses of a buffer, one of them
writing, an index must differ by a number whatever the iteration is (`h[t + 1]`, `h[t]`), or tell the iteration (`s[j]`,
`s[j]`). It may pass those in between where they share nothing that is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from symbptt.codegen.loop_ir.nodes import Buffer
from symbptt.codegen.targets.c99.loops import (
    CHOSEN,
    Assign,
    Element,
    For,
    IfTiny,
    Invoke,
    Line,
    Where,
    accesses,
    elements_of,
    renamed,
)
from symbptt.ir.shape import Size, sign_of, size, symbols

LOCAL = ("temporary", "block", "scalar")
"""Spaces of buffers that nobody sees outside the function."""


@dataclass
class _Part:
    """A line with what it accesses, by buffer, and the indices of its loops; lines that join it are added to its body."""

    line: Line
    body: list[Line] = field(default_factory=list)
    elements: dict[Buffer, dict[Element, bool]] = field(default_factory=dict)
    inner: set[sp.Symbol] = field(default_factory=set)

    def add(self, line: Line, body: Sequence[Line]) -> None:
        """Let the body of a loop over the same index join this one; an element is True where it is written."""
        self.body += body
        self.inner.update(_indices(line))
        for x, is_written in accesses([line]):
            found = self.elements.setdefault(x.buffer, {})
            found[x] = found.get(x, False) or is_written


def _part(line: Line) -> _Part:
    found = _Part(line)
    found.add(line, line.body if isinstance(line, For | IfTiny | Where) else ())
    return found


def fused(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return lines with each loop joined to the first one before it that it may join; numbers are set before, and calls and
    questions stand as early as they may."""
    found: list[_Part] = []
    # A zero between two loops would keep them apart; in front of both it keeps nothing.
    for part in _set_first(lines):
        if isinstance(part.line, Invoke | Where):
            found.insert(_place(found, part), part)
        elif not _joins(found, part):
            found.append(part)
    return tuple(_whole(part) for part in found)


def _whole(part: _Part) -> Line:
    return replace(part.line, body=fused(part.body)) if isinstance(part.line, For | IfTiny | Where) else part.line


def _place(found: Sequence[_Part], part: _Part) -> int:
    """Return the first place of a call or a question behind all with which it is in conflict, and behind those of its kind."""
    at = len(found)
    if isinstance(part.line, Invoke) and part.line.ends:
        return at
    while at and not _in_conflict(found[at - 1], part):
        at -= 1
    while at < len(found) and isinstance(found[at].line, Invoke | Where):
        at += 1
    return at


def _set_first(lines: Sequence[Line]) -> list[_Part]:
    """Return lines with those that write a number, such as the 0 with which a sum begins, as far in front as they may stand."""
    found: list[_Part] = []
    for part in map(_part, lines):
        at = len(found)
        if _is_set(part):
            # Past all that does not touch it, and then behind those of its kind, which keep their order.
            while at and not _in_conflict(found[at - 1], part):
                at -= 1
            while at < len(found) and _is_set(found[at]):
                at += 1
        found.insert(at, part)
    return found


def _is_set(part: _Part) -> bool:
    return isinstance(part.line, Assign) and not part.line.args


def _joins(before: Sequence[_Part], part: _Part) -> bool:
    """Let a loop join the first one before it that it may join, and answer whether there was one; it may not pass a line with
    which it is in conflict."""
    line, found = part.line, None
    # Loops over steps carry values from one to the next: to join two of them would change the order of steps.
    if not isinstance(line, For) or line.in_time:
        return False
    # The first one: what questions and calls need stands before them then, and the others behind them in one loop.
    for other in reversed(before):
        first = other.line
        if isinstance(first, For) and not first.in_time and first.stop == line.stop:
            # Two indices over the same range are one: names are no obstacle.
            moved = renamed(line, line.index, first.index)
            assert isinstance(moved, For)
            if not _in_conflict(other, _part(moved), first):
                found = other, moved
        if _in_conflict(other, part):
            break
    if found is None:
        return False
    other, moved = found
    other.add(moved, moved.body)
    return True


def _in_conflict(first: _Part, second: _Part, loop: For | None = None) -> bool:
    """Answer whether the order of two lines matters; with a loop, of two loops over its index, that of all iterations of the
    first and all of the second, not that within one iteration."""

    def is_inner(x: sp.Symbol) -> bool:
        return x == CHOSEN or x in first.inner or x in second.inner

    for buffer, elements in second.elements.items():
        for x, is_written in first.elements.get(buffer, {}).items():
            for y, other_written in elements.items():
                if (is_written or other_written) and not _is_safe(x, y, is_inner, loop):
                    return True
    return False


def _indices(line: Line) -> Iterator[sp.Symbol]:
    """Return the indices of a loop and of those in it, and those of a call."""
    if isinstance(line, Invoke):
        yield from line.inner
    if isinstance(line, For):
        yield from (line.index, *([] if line.count is None else [line.count]))
    if isinstance(line, For | IfTiny | Where):
        for x in line.body:
            yield from _indices(x)


def _is_safe(x: Element, y: Element, is_inner: Callable[[sp.Symbol], bool], loop: For | None) -> bool:
    """Answer whether two accesses never meet, or meet in one iteration alone."""
    for a, b in zip(x.index, y.index, strict=True):
        varying = {symbol for symbol in symbols(a, b) if is_inner(symbol)}
        # Indices that differ by a number never meet: h[t + 1] and h[t].
        if not varying and a != b and isinstance(size(a - b), int):
            return True
        # Equal, and telling the iteration: what one writes no other iteration reads.
        if loop is not None and varying == {loop.index} and (a == b or _is_beyond(a, b, loop)):
            return True
    return False


def _is_beyond(a: Size, b: Size, loop: For) -> bool:
    """Answer whether two indices differ in any two iterations: j and n + j, for j below n."""
    if any(loop.index in symbols(size(x - loop.index)) for x in (a, b)):
        return False
    return any(sign_of(size(x - loop.stop)) in (0, 1) for x in (size(a - b), size(b - a)))


@dataclass(frozen=True)
class Numbers:
    """Buffers that became numbers: those that are declared at an assignment, by it; which of them are written once."""

    at: Mapping[Assign, Buffer]
    once: frozenset[Buffer]

    @cached_property
    def buffers(self) -> frozenset[Buffer]:
        return frozenset(self.at.values())


def numbers_of(lines: Sequence[Line]) -> Numbers:
    """Return the buffers of which each iteration of a loop writes one element, before it reads that and no other one."""
    # More than one element of it is accessed: it must stay an array, for one iteration reads what another wrote.
    single = {buffer for buffer, elements in elements_of(lines).items() if buffer.space in LOCAL and len(elements) == 1}
    declared = dict(_declared(lines, single))
    writes = Counter(x.buffer for x, is_written in accesses(lines) if is_written)
    return Numbers(declared, frozenset(b for b in declared.values() if writes[b] == 1))


def is_independent(line: For, numbers: Numbers) -> bool:
    """Answer whether the iterations of an innermost loop may run in any order: none reads or writes what another one writes."""
    if not all(isinstance(x, Assign) for x in line.body):
        return False
    own = {numbers.at[x] for x in line.body if isinstance(x, Assign) and x in numbers.at}
    return all(
        buffer in own or all(_is_apart(x, y, line) for x, is_written in found.items() if is_written for y in found)
        for buffer, found in _part(line).elements.items()
    )


def _is_apart(x: Element, y: Element, line: For) -> bool:
    """Answer whether what one iteration writes at x no other one accesses at y."""
    return x.chosen is None and y.chosen is None and _is_safe(x, y, lambda symbol: symbol == line.index, line)


def _declared(lines: Sequence[Line], buffers: Collection[Buffer]) -> Iterator[tuple[Assign, Buffer]]:
    """Yield the assignments at which buffers are declared, all of whose accesses lie in these lines."""
    lying: dict[Buffer, list[int]] = {}
    for i, line in enumerate(lines):
        for buffer in {x.buffer for x, _ in accesses([line])} & set(buffers):
            lying.setdefault(buffer, []).append(i)
    inside: dict[int, set[Buffer]] = {}
    for buffer, where in lying.items():
        first = lines[where[0]]
        # All accesses lie inside of one loop: it is declared there, as far inside as they all are.
        if len(where) == 1 and isinstance(first, For | IfTiny | Where) and not _is_condition(first, buffer):
            inside.setdefault(where[0], set()).add(buffer)
        # The first access writes it: nothing of an earlier iteration can be seen.
        elif isinstance(first, Assign) and _starts(first, buffer):
            yield first, buffer
    for i, found in inside.items():
        line = lines[i]
        assert isinstance(line, For | IfTiny | Where)
        yield from _declared(line.body, found)


def _is_condition(line: Line, buffer: Buffer) -> bool:
    return isinstance(line, IfTiny) and line.out.buffer == buffer


def _starts(line: Assign, buffer: Buffer) -> bool:
    """Answer whether an assignment writes a buffer that it does not read."""
    read = {x.buffer for x in line.args if isinstance(x, Element)}
    return line.out.buffer == buffer and not line.add and buffer not in read
