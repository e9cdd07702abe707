"""Repetitions of one body, and the same step with each round written out.

A traced step has a repetition as nodes of the family "repeat", and its body once, over leaves that stand for what goes from round
to round. Example of z = repeat(lambda z: tanh(U z + x), h, 3):

    c = leaf of what is carried;  a = U c + x;  n = tanh(a);  z = repeat(h, c, k, n)  with 3 rounds

`written_out` puts a = U h + x, n = tanh(a), a_1 = U n + x, n_1 = ... in its place.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import dataclass, field, replace

from symbptt.errors import CellError
from symbptt.ir import build
from symbptt.ir.graph import Graph
from symbptt.ir.naming import unique
from symbptt.ir.node import Node, Repeat
from symbptt.ir.rewrite import copy_node
from symbptt.ir.shape import size_text
from symbptt.ir.step import Step

MOST_VALUES = 10_000
"""Values of a step that has each round written out, beyond which nobody would wait for what is derived of it."""


def has_rounds(g: Graph) -> bool:
    """Answer whether a graph has a repetition."""
    return any(node.family == "repeat" for node in g)


def leaves_of(node: Node) -> frozenset[int]:
    """Return the leaves that stand in the body of a repetition for what changes from round to round."""
    _, carried, number, _ = node.attrs.parts(node.args)
    return frozenset({*carried, number})


def changing(g: Graph, ids: Iterable[int]) -> dict[int, frozenset[int]]:
    """Return of nodes, given with all that they are computed from, those leaves of bodies on which each depends."""
    found: dict[int, frozenset[int]] = {}
    for id in sorted(ids):
        node = g[id]
        if node.family == "leaf":
            found[id] = frozenset({id}) if node.attrs.role in ("carried", "round") else frozenset()
        else:
            found[id] = frozenset().union(*(found[arg] for arg in node.args))
        if node.family == "repeat":
            # After the last round nothing of its own body changes any more.
            found[id] -= leaves_of(node)
    return found


def written_out(step: Step) -> Step:
    """Return a step without repetitions: each round of each stands there.

    Raises: CellError where the number of rounds is a named size, or the step would have more than MOST_VALUES values.
    """
    if not has_rounds(step.graph):
        return step
    roots = [*step.leaves.values(), *step.next.values(), *step.outputs.values()]
    old = step.graph
    ids = old.ancestors(roots)
    writing = _Writing(step.name, old, Graph(), changing(old, ids), set(old.names.values()) | set(step.leaves))
    new: dict[int, int] = {}
    writing.write([id for id in ids if not writing.depends[id]], new)
    leaves, following, outputs = (
        {name: new[id] for name, id in found.items()} for found in (step.leaves, step.next, step.outputs)
    )
    return replace(step, graph=writing.new, leaves=leaves, next=following, outputs=outputs)


@dataclass
class _Writing:
    """A step whose rounds are written out into another graph; `used` are the names that values have there."""

    name: str
    old: Graph
    new: Graph
    depends: dict[int, frozenset[int]]
    used: set[str]
    ends: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    def write(self, ids: Iterable[int], known: MutableMapping[int, int]) -> None:
        """Write values, arguments first; `known` are the new values of old ones, to which these are added."""
        ends: dict[tuple[int, ...], tuple[int, ...]] = {}
        for id in ids:
            if id in known:
                continue
            node = self.old[id]
            self.new.locate = lambda place=node.place: place  # type: ignore[misc]
            if node.family == "repeat":
                # Values that go through the rounds together have the same arguments.
                if node.args not in ends:
                    ends[node.args] = self._last(node, known)
                known[id] = ends[node.args][node.attrs.out]
            else:
                known[id] = self._copied(node, tuple(known[arg] for arg in node.args))
            self._name(id, known)
        self.new.locate = lambda: ""

    def _copied(self, node: Node, args: tuple[int, ...]) -> int:
        if node.family == "gather" and self.new[args[1]].family == "number":
            # An array is read at the number of a round: that is known now, and a slice.
            at, shape = self.new[args[1]].attrs.value, self.new.shape(args[0])
            spans = [(at, 1, 1) if i == node.attrs.axis else (0, n, 1) for i, n in enumerate(shape)]
            return build.reshape(self.new, build.cut(self.new, args[0], spans), node.shape)
        return copy_node(self.new, node, args)

    def _name(self, id: int, known: MutableMapping[int, int]) -> None:
        value, name, mark = known[id], self.old.names.get(id), self.old.marks.get(id)
        if name is not None and value not in self.new.names:
            taken = name in self.new.names.values()
            self.new.names[value] = unique(name, self.used) if taken else name
            self.used.add(self.new.names[value])
        if mark is not None:
            self.new.marks.setdefault(value, replace(mark, args=tuple(known[arg] for arg in mark.args)))

    def _last(self, node: Node, known: MutableMapping[int, int]) -> tuple[int, ...]:
        """Return what is carried, after the last round."""
        repeat: Repeat = node.attrs
        starts, carried, number, following = repeat.parts(node.args)
        if not isinstance(repeat.count, int):
            raise CellError(
                f"{self.name} repeats a body {size_text(repeat.count)} times, a size without a number{_line(node)}\n"
                "  that many rounds cannot be written out one by one: give the size a number, or times= an integer"
            )
        body = self._body(following, known, leaves_of(node))
        values = tuple(known[id] for id in starts)
        for k in range(repeat.count):
            inside: ChainMap[int, int] = ChainMap({}, known) if not isinstance(known, ChainMap) else known.new_child({})
            inside.update(zip(carried, values, strict=True))
            inside[number] = build.number(self.new, k)
            self.write(body, inside)
            if len(self.new) > MOST_VALUES:
                raise CellError(
                    f"{self.name} has more than {MOST_VALUES:,} values with each of {repeat.count:,} rounds written out"
                    f"{_line(node)}\n  give fewer rounds"
                )
            values = tuple(inside[id] for id in following)
        return values

    def _body(self, following: Iterable[int], known: Collection[int], own: frozenset[int]) -> list[int]:
        """Return what is computed in each round: not what is known outside, nor what rounds inside of these compute."""
        outside = {leaf for id in known for leaf in self.depends.get(id, ())}
        inside = self.old.ancestors(following)
        return [id for id in inside if id not in known and self.depends[id] <= own | outside]


def _line(node: Node) -> str:
    return f"\n  at line {node.place}" if node.place else ""
