"""A step graph: hash-consed nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any

from symbptt.ir.complex_values import is_complex_node
from symbptt.ir.node import Mark, Node, Slope, Windowed
from symbptt.ir.shape import Shape, Size


def nowhere() -> str:
    """Return the place of a value that no line of the user's makes."""
    return ""


class Graph:
    """Nodes that are made once: the same family, arguments, shape and attributes give the same id.

    Ids grow from arguments to values, so that ascending ids are a topological order. `names` holds the users' names,
    `marks` the values that functions of the users' own gave, `parts` the sizes that are a part of another one, with their lines,
    `slopes` the values that are gradients of such functions; `moved` tells where a value of a function that was traced on an argument
    of its own stands for the argument that it was called with.
    """

    def __init__(self, locate: Callable[[], str] = nowhere) -> None:
        self.names: dict[int, str] = {}
        self.marks: dict[int, Mark | Windowed] = {}
        self.parts: list[tuple[Size, str]] = []
        self.slopes: dict[int, Slope] = {}
        self.moved: dict[int, int] = {}
        self.locate = locate
        self._ids: dict[tuple[str, tuple[int, ...], Shape, Hashable, type], int] = {}
        self._nodes: list[Node] = []
        self._complex: set[int] = set()
        self._readers: defaultdict[int, dict[int, None]] = defaultdict(dict)

    def add(self, family: str, args: tuple[int, ...], shape: Shape, attrs: Hashable) -> int:
        """Return the id of the node with these parts, made now or before."""
        # 1 == 1.0 == True == 1 + 0j in Python, but not in NumPy's promotion: the type keeps such literals apart.
        value = getattr(attrs, "value", None)
        key = (family, args, shape, attrs, type(value[0] if isinstance(value, tuple) and value else value))
        if key not in self._ids:
            node = Node(len(self._nodes), family, args, shape, attrs, self.locate())
            self._ids[key] = node.id
            self._nodes.append(node)
            if is_complex_node(node, self._complex):
                self._complex.add(node.id)
            # A dictionary as an ordered set: a value that reads an argument twice is one reader.
            for arg in args:
                self._readers[arg][node.id] = None
        return self._ids[key]

    def __getstate__(self) -> dict[str, Any]:
        """Return all but `locate`, which looks at the user's frames while a cell is traced."""
        return {**vars(self), "locate": nowhere}

    def copy(self) -> Graph:
        """Return a graph of its own with the same nodes under the same ids."""
        other = Graph(self.locate)
        other.names, other.marks, other.slopes = dict(self.names), dict(self.marks), dict(self.slopes)
        other.parts = [*self.parts]
        other._ids, other._nodes, other._complex = dict(self._ids), list(self._nodes), set(self._complex)
        other._readers.update((id, dict(readers)) for id, readers in self._readers.items())
        return other

    def __getitem__(self, id: int) -> Node:
        return self._nodes[id]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def shape(self, id: int) -> Shape:
        """Return the shape of a node."""
        return self._nodes[id].shape

    def is_complex(self, id: int) -> bool:
        """Answer whether the entries of a value are complex numbers."""
        return id in self._complex

    def ancestors(self, roots: Iterable[int], without: Collection[int] = ()) -> list[int]:
        """Return the ids of the roots and of all they are computed from, arguments first; other than by way of some values alone."""
        roots = list(roots)
        seen, stack = set(), [*roots]
        while stack:
            id = stack.pop()
            if id not in seen:
                seen.add(id)
                if not without or id not in without or id in roots:
                    stack.extend(self._nodes[id].args)
        # Ascending ids are a topological order.
        return sorted(seen)

    def descendants(self, roots: Iterable[int], without: Collection[int] = ()) -> set[int]:
        """Return the ids of the roots and of all that is computed from them, other than by way of some values alone."""
        found = set(roots)
        # One pass is enough: arguments come before values.
        for node in self._nodes:
            if node.id not in without and not found.isdisjoint(node.args):
                found.add(node.id)
        return found

    def readers(self, id: int) -> Iterable[int]:
        """Return the nodes that read a node, each once, in the order of their making."""
        return self._readers.get(id, ())

    def consumers(self, among: Iterable[int]) -> dict[int, list[int]]:
        """Return for each node of `among` the nodes of `among` that read it, once for each time that they do."""
        ids = list(among)
        found: dict[int, list[int]] = {id: [] for id in ids}
        for id in ids:
            for arg in self._nodes[id].args:
                if arg in found:
                    found[arg].append(id)
        return found

    def leaves(self, *roles: str) -> list[Node]:
        """Return the leaves of some roles, in the order of their making."""
        return [node for node in self._nodes if node.family == "leaf" and node.attrs.role in roles]
