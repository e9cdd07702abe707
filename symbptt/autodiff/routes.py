"""The routes by which a state acts on a later one: which values lie on them, how many there are, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from symbptt.autodiff.chain import Stop
from symbptt.autodiff.entrywise import Calculus
from symbptt.ir.node import Node
from symbptt.ir.rounds import loops_of, next_values
from symbptt.ir.step import Step


@dataclass(frozen=True)
class Network:
    """The values of one step that routes are told by, each with those that it reads by way of values without a name.

    `reads` is in the order in which values are read; `begin` are the nodes of states before the step, `end` those after it.
    """

    reads: Mapping[int, tuple[int, ...]]
    begin: Mapping[str, int]
    end: Mapping[str, int]


def network(calculus: Calculus, step: Step, names: Collection[int]) -> Network:
    """Return the values of a step that routes are told by: `names`, what enters it and what it returns."""
    g = calculus.graph
    end = step.next | step.outputs
    stops = set(names) | set(step.leaves.values()) | set(end.values())
    # What goes through the rounds of a loop, or is a fixed point, stands in its own equation under a leaf.
    own = {leaf for node in loops_of(g, "repeat", "point") for leaf, _ in next_values(node)}
    near: dict[int, tuple[int, ...]] = {}
    # Ascending ids: the values that an unnamed value passes on are known before a reader asks for them.
    for id in g.ancestors(end.values()):
        if g[id].family in ("repeat", "point"):
            near[id] = _read_by_a_loop(g[id], near, stops)
        elif id in calculus.kept:
            read = [inner.id for term in calculus.local(id) if (inner := term.inner) is not None]
            through = ((arg,) if arg in stops or arg in own else near[arg] for arg in read)
            near[id] = tuple(dict.fromkeys(w for values in through for w in values))
    return Network({id: near[id] for id in near if id in stops}, step.leaves, end)


def _read_by_a_loop(node: Node, near: Mapping[int, tuple[int, ...]], stops: Collection[int]) -> tuple[int, ...]:
    """Return the values that routes are told by which a value of a loop depends on: by way of its rounds, and of its start."""
    pairs, starts = list(next_values(node)), node.args[: node.attrs.carried]
    # A fixed point does not depend on where its rounds begin.
    rounds = {leaf: (new, start) if node.family == "repeat" else (new,)
              for (leaf, new), start in zip(pairs, starts, strict=True)}  # fmt: skip
    found: dict[int, None] = {}
    first = pairs[node.attrs.out][0]
    seen, open_ = {first}, [first]
    while open_:
        for arg in (arg for id in rounds[open_.pop(0)] for arg in ((id,) if id in stops else near[id])):
            if arg not in rounds:
                found[arg] = None
            elif arg not in seen:
                seen.add(arg)
                open_.append(arg)
    return tuple(found)


@dataclass(frozen=True)
class Routes:
    """The routes from an argument `of`, as it enters the first of some steps, to a value `to` after the last.

    A state that a step reads is the value that the step before returned: a route has both.
    """

    network: Network
    states: frozenset[str]
    to: str
    of: str
    steps: int

    @cached_property
    def first(self) -> Stop:
        return self.network.begin[self.of], self.steps - 1

    @cached_property
    def last(self) -> Stop:
        return self.network.end[self.to], 0

    @cached_property
    def _leaves(self) -> dict[int, str]:
        return {leaf: name for name, leaf in self.network.begin.items() if name in self.states}

    def _before(self, stop: Stop) -> list[Stop]:
        id, back = stop
        if id in self._leaves:
            # At the first step a state has no value before it: a route that has not begun there leads nowhere.
            return [(self.network.end[self._leaves[id]], back + 1)] if back < self.steps - 1 else []
        return [(read, back) for read in self.network.reads.get(id, ())]

    @cached_property
    def counts(self) -> dict[Stop, int]:
        """Return the number of routes to each value: found from the first step to the last, without making them."""
        found: dict[Stop, int] = {self.first: 1}
        for back in reversed(range(self.steps)):
            # Paths in an acyclic graph: the count of a value is the sum over the values before it, linear in edges, not in routes.
            for id in sorted({*self.network.reads, *self.network.begin.values()}):
                if (id, back) not in found:
                    found[id, back] = sum(found.get(stop, 0) for stop in self._before((id, back)))
        return found

    def __iter__(self) -> Iterator[tuple[Stop, ...]]:
        """Yield each route, from the first value on."""
        open_: list[tuple[Stop, ...]] = [(self.last,)]
        while open_:
            route = open_.pop()
            if route[0] == self.first:
                yield route
                continue
            # A stop that no route reaches is skipped, so that every branch of the search ends in a route.
            before = [stop for stop in self._before(route[0]) if self.counts.get(stop)]
            open_ += [(stop, *route) for stop in reversed(before)]
