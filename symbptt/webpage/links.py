"""Links between lines: a value of the forward pass, its adjoints, the gradients they give, and their lines of code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import networkx as nx

from symbptt.autodiff.labels import Label
from symbptt.autodiff.unroll import Key
from symbptt.drawing.names import plain_name
from symbptt.equations.notation.signs import TEXT
from symbptt.equations.page.lines import Line

TIMES = ("t", "t-1", "T")


@dataclass(frozen=True)
class Links:
    """The groups of each name as it is printed, without its time; the groups in the order of computation."""

    groups: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]

    def of_line(self, lhs: str) -> tuple[str, ...]:
        """Return the groups of a line by its left side."""
        return self.of.get(bare(lhs), ())


def bare(lhs: str) -> str:
    """Return a printed name without its time and signs, `daf` of `da_{f,t}`, `h` of `h_t`, `dh` of `dh_{t-1}`."""
    # All separators become commas: what stands last is the time, if it is one.
    head, *parts = plain_name(lhs.strip()).replace("{", "").replace("}", "").replace("_", ",").split(",")
    return "".join([head, *(parts[:-1] if parts and parts[-1] in TIMES else parts)])


def links_of(graph: nx.DiGraph) -> Links:
    """Return the groups of a graph of one step with its adjoints: one for each value that is computed."""
    last = graph.graph["steps"]
    values = [name for name, t in graph if t == last and graph.nodes[name, t]["role"] in ("value", "state", "output")]
    of: dict[str, tuple[str, ...]] = {bare(name): (name,) for name in values}
    for node, data in graph.nodes(data=True):
        if data["role"] in ("adjoint", "gradient"):
            key = bare(node[0])
            of[key] = tuple(dict.fromkeys([*of.get(key, ()), *_groups(graph, node, values)]))
            if data["role"] == "adjoint":
                of.setdefault(bare(data["of"]), of[key])  # an argument of a function, which has no node of its own
    return Links(tuple(values), of)


def links_of_lines(forward: Iterable[Line], backward: Iterable[Line]) -> Links:
    """Return the groups of the lines of a page, of a cell that has no graph: whose rounds nobody knows before it runs."""
    values = [_name_of(label) for line in forward for label in line.left.labels]
    read = {_name_of(label): line.right.labels for line in backward for label in line.left.labels}

    def groups(name: str, labels: Iterable[Label], open_: frozenset[str]) -> Iterator[str]:
        own = [bare(TEXT.symbol(x._replace(adjoint=False, time=None))) for x in labels if _name_of(x) == name]
        if own and own[0] in values:
            yield own[0]
            return
        for x in read.get(name, ()):
            inner = _name_of(x)
            if inner in read and inner not in open_:
                yield from groups(inner, [x], open_ | {inner})

    of = {name: tuple(dict.fromkeys(groups(name, line.left.labels, frozenset({name}))))
          for line in backward for name in map(_name_of, line.left.labels)}  # fmt: skip
    return Links(tuple(dict.fromkeys(values)), {**{name: (name,) for name in values}, **of})


def _name_of(label: Label) -> str:
    return bare(TEXT.symbol(label.at(None)))


def _groups(graph: nx.DiGraph, node: Key, values: Iterable[str]) -> Iterable[str]:
    """Return the values to which an adjoint or a gradient belongs: its own, or those of the adjoints that it reads."""
    own = graph.nodes[node].get("of", "")
    # A value of the forward pass is its own group; gradients of parameters belong to the values whose adjoints they sum.
    if own in values:
        return [own]
    near = [a for a in graph.predecessors(node) if graph.nodes[a]["role"] == "adjoint" and a != node]
    return [group for a in near for group in _groups(graph, a, values)]


def code_groups(source: str, links: Links) -> list[tuple[str, ...]]:
    """Return the groups of each line of a module, by the equations that the comments name: those of the line itself, and
    for the line of a comment alone those of what stands under it up to the next."""
    found: list[tuple[str, ...]] = []
    for line in source.splitlines():
        code, _, comment = line.partition("#")
        names = [part.partition("=")[0] for part in comment.split(";") if "=" in part] if comment else []
        groups = tuple(dict.fromkeys(group for name in names for group in links.of_line(name)))
        if not groups and comment and not code.strip() and found:
            groups = found[-1] if line.strip().startswith("#   ") else ()
        found.append(groups)
    return found
