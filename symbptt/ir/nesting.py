"""Length and depth of the formula of a value, where values without a name stand inside the formulas that read them."""

from __future__ import annotations

from collections.abc import Container, Iterator

from symbptt.ir.graph import Graph

DEEP, LONG = 16, 60
"""The greatest depth and number of operations of a formula before a part of it gets a name of its own."""


class Nesting:
    """The operations and the depth of formulas, found from arguments to values: a value with a name counts as one."""

    def __init__(self, graph: Graph, named: Container[int]) -> None:
        self.graph, self.named = graph, named
        self.size: dict[int, int] = {}
        self.depth: dict[int, int] = {}

    def of(self, id: int) -> tuple[int, int]:
        """Return the operations and the depth of the formula of a value itself, named or not."""
        for each in self._unknown(id):
            self._add(each)
        return self._whole(id)

    def _unknown(self, id: int) -> Iterator[int]:
        return (each for each in self.graph.ancestors([id]) if each not in self.size)

    def _whole(self, id: int) -> tuple[int, int]:
        args = self.graph[id].args
        # An argument that is read twice counts twice, as it stands twice in the formula.
        return 1 + sum(self.size[arg] for arg in args), 1 + max((self.depth[arg] for arg in args), default=0)

    def _add(self, id: int) -> None:
        self.size[id], self.depth[id] = (1, 1) if id in self.named else self._whole(id)

    def too_long(self) -> Iterator[int]:
        """Yield the values whose formulas are too deep or too long, to be named before the next one is asked for."""
        for node in self.graph:
            # Asked before the node is added: the caller names it meanwhile, and `_add` then counts it as one.
            size, depth = self._whole(node.id)
            if node.id not in self.named and (size > LONG or depth > DEEP):
                yield node.id
            self._add(node.id)
