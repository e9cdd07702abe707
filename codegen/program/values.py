"""The values of a placed program that have a place of their own, and how long that place lasts.

All others are part of the formulas of their readers. This is a function of the program alone: names and languages come
later.

Example: of a = W x + U h; h' = tanh(a), with y = h' * h' as output, W x is computed for the steps of a block, a and h' have
a place in the loop, h' and y are stored for all steps, and so is a where the backward sweep reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import sympy as sp

from symbptt.codegen.program.program import Program
from symbptt.codegen.program.regions import AFTER, LOOP, NEAR, TAIL, is_near
from symbptt.codegen.program.remainders import arguments_again
from symbptt.ir.build import is_index
from symbptt.ir.node import WITHOUT_COPY, Node, placeholder
from symbptt.ir.shape import Size, names_in, size
from symbptt.ir.step import Argument

LONGEST = 100
"""The number of operations of a formula beyond which a value has a place of its own; each argument counts as often as it
is read."""


@dataclass(frozen=True)
class Part:
    """The place of a value inside that of another one: so many entries along the first own axis of `whole`, from `start`
    on; of a point that axis is dropped."""

    whole: int
    start: Size
    length: Size
    is_point: bool = False


@dataclass(frozen=True)
class Values:
    """The values that have a place of their own, `own`, and how long it lasts.

    `stored` values are there for all steps, `held` ones for those of a block. `collected` are the carries that are read
    after the loop: their arrays have all steps, those of the others a block. `static` values are numbers that are known
    before any array; `varying` ones differ between samples or steps, `timed` ones between steps. `parts` lie in another value.
    """

    program: Program
    own: frozenset[int]
    stored: frozenset[int]
    held: frozenset[int]
    collected: frozenset[int]
    static: frozenset[int]
    varying: frozenset[int]
    timed: frozenset[int]
    parts: Mapping[int, Part]

    def place(self, id: int) -> str:
        """Return the sweep and the region in which a value is computed."""
        return self.program.places.get(id, "")

    def whole(self, id: int) -> int:
        """Return the value in whose place a value lies."""
        while id in self.parts:
            id = self.parts[id].whole
        return id

    def computed(self, sweep: str, region: str) -> list[int]:
        """Return the values of a region that have a place, in the order of the graph."""
        graph = self.program.graph
        return [id for id in sorted(self.own) if self.place(id) == f"{sweep} {region}" and graph[id].family != "leaf"]


def values_of(p: Program) -> Values:
    """Return the values of a placed program that have a place of their own."""
    own = {*p.leaves.values(), *p.carry.values(), *p.cotangent.values(), *gradient_sums(p).values(), *chosen(p)}
    # How long a place lasts follows from who reads it: a reader in another block, or in the other sweep, needs all
    # steps; one in the epilogue of the same block needs those of the block; one in the same step needs one.
    stored = {id for id in own if is_stored(p, id)}
    # A buffer of all steps serves the steps of a block too.
    held = {id for id in own if is_held(p, id) or id in p.joined} - stored
    parts = _parts(p, own, stored, held)
    return Values(
        p,
        frozenset(own),
        frozenset(stored),
        frozenset(held - stored),
        frozenset(leaf for leaf in p.carry.values() if _is_read_after(p, leaf)),
        frozenset(_static(p)),
        frozenset(p.varying),
        frozenset(p.timed),
        parts,
    )


def size_names(p: Program) -> list[str]:
    """Return the named sizes of a program's arguments."""
    return sorted({name for a in p.arguments for name in names_in(a.shape)})


def is_baked(a: Argument) -> bool:
    """Answer whether an argument is a constant whose value is part of the program."""
    return a.role == "const" and a.default is not None


def gradient_sums(p: Program) -> dict[str, int]:
    """Return the gradients that are sums over steps without a name, which are accumulated block by block, by argument."""
    every = [*p.params.items(), *p.inputs.items()]
    return {name: id for name, id in every if p.places.get(id, "").endswith(TAIL) and id not in p.labels}


def chosen(p: Program) -> list[int]:
    """Return the values that have a place because they are named, read twice, read in another region, or results."""
    ids = sorted(p.places)
    inline = arguments_again(p)
    ids = [id for id in ids if id not in inline]
    readers = p.graph.consumers(ids)
    sent = [id for id in p.inputs.values() if p.places.get(id, "").endswith((LOOP, TAIL))]
    sums = [id for id in ids if p.graph[id].family == "total" and p.places[id].endswith(TAIL)]
    roots = {*p.forward_roots, *sent, *sums, *(arg for id in p.joined for arg in p.graph[id].args), *_kept(p, inline)}
    found, length = list[int](), dict[int, int]()
    for id in ids:
        node, label = p.graph[id], p.labels.get(id)
        # The length counts repetitions: a formula that is read twice inside another one is written twice there, and
        # computed twice.
        length[id] = 1 + sum(_reads(node, i) * length.get(arg, 1) for i, arg in enumerate(node.args))
        if node.family == "leaf" or (node.family == "number" and not node.shape):
            continue
        if node.family == "view" and node.attrs.kind == "slice" and node.args[0] in p.joined:
            continue  # a part of a buffer, wherever it is read
        if node.family == "view" and is_index(p.graph, id):
            continue  # integers stay integers where they lie
        named = label is not None and (label.given or label.adjoint)
        # A value that another region reads must outlive its own, also where only the argument of a remainder reads it.
        across = any(p.places[reader] != p.places[id] for reader in readers_of(p, id))
        # A view copies no element, so that it may be taken twice.
        cheap = node.family == "view" and node.attrs.kind in WITHOUT_COPY and not across
        long = length[id] > LONGEST and node.family != "view"
        if (
            named
            or across
            or long
            or id in roots
            or (len(readers[id]) > 1 and not cheap)
            or node.family in ("number", "rounds", "settled")
        ):
            # From here on the value counts as one operation in the formulas of its readers.
            found.append(id)
            length[id] = 1
    return found


def _kept(p: Program, inline: set[int]) -> set[int]:
    """Return the values from which arguments are computed again: a formula in their place would read what no sweep stores."""
    nodes = [p.graph[id] for id in inline]
    return {
        node.args[0] for node in nodes if node.family == "view" and node.attrs.kind == "reshape" and node.attrs.again
    }


def is_stored(p: Program, id: int) -> bool:
    """Answer whether a value of each step is stored for all steps: it is a result, or something outside its block reads
    it."""
    sweep, _, region = p.places.get(id, "").partition(" ")
    # Leaves are the caller's arrays, and a total has no axis of steps.
    if p.graph[id].family in ("leaf", "total") or region not in NEAR:
        return False
    if any(id in results.values() for results in (p.next, p.inputs, p.outputs)):
        return True
    return not all(is_near(p.places, sweep, reader) for reader in readers_of(p, id))


def is_held(p: Program, id: int) -> bool:
    """Answer whether a value of a loop is stored for a block of steps, because the block epilogue reads it."""
    sweep, _, region = p.places.get(id, "").partition(" ")
    if region != LOOP or p.graph[id].family == "leaf":
        return False
    return any(p.places[reader] == f"{sweep} {TAIL}" for reader in readers_of(p, id))


def readers_of(p: Program, id: int) -> Iterable[int]:
    """Return the values that read a value and are computed."""
    return (reader for reader in p.graph.readers(id) if reader in p.places)


def _is_read_after(p: Program, id: int) -> bool:
    """Answer whether a value is read after the loop of the backward sweep."""
    return any(p.places[reader] == f"backward {AFTER}" for reader in readers_of(p, id))


def _static(p: Program) -> set[int]:
    """Return the values that are known before any array: literals, sizes, constants, and what follows from them."""
    found = {p.leaves[a.name] for a in p.arguments if is_baked(a) and not a.shape}
    for node in p.graph:
        literal = (node.family == "number" and not node.shape) or (node.family == "leaf" and node.attrs.role == "size")
        derived = node.family == "map" and not node.shape and all(arg in found for arg in node.args)
        if literal or derived:
            found.add(node.id)
    return found


def _reads(node: Node, argument: int) -> int:
    """Return how often the formula of a value has that of one of its arguments."""
    return _occurrences(node.attrs.expr, argument) if node.family == "map" else 1


@cache
def _occurrences(expr: sp.Expr, argument: int) -> int:
    return sum(part == placeholder(argument) for part in sp.preorder_traversal(expr))


def _parts(p: Program, own: Collection[int], stored: set[int], held: set[int]) -> dict[int, Part]:
    """Return the values that lie in the place of another one, and add them to `stored` and `held`: a value with a stored
    part is stored, and so are all its parts; likewise for those of a block."""
    # A gate is a slice of the packed sums, and an adjoint a slice of the stacked ones. Their places are one array, so
    # that they must last equally long: the longest wish wins for the whole.
    parts = {id: found for id in own for found in [_gate(p, own, id)] if found is not None}
    parts |= _of_joined(p, own)
    for kept in (stored, held):
        for id in sorted(parts, reverse=True):
            if id in kept:
                kept.add(parts[id].whole)
        for id in sorted(parts):
            if parts[id].whole in kept:
                kept.add(id)
        held -= stored
    return {id: part for id, part in parts.items() if id in stored or id in held}


def _of_joined(p: Program, own: Collection[int]) -> dict[int, Part]:
    """Return the parts of joined values."""
    found = {}
    for id in p.joined:
        start: Size = 0
        for arg in p.graph[id].args:
            length = p.graph.shape(arg)[0]
            if id in own and arg in own:
                found[arg] = Part(id, start, length)
            start = size(start + length)
    return found


def _gate(p: Program, own: Collection[int], id: int) -> Part | None:
    """Return a value as the part of a gate-major value, one gate or several, if it is one."""
    node, part = p.graph[id], Part(id, 0, 1, True)
    while node.id not in own or node.id == id:
        if node.family != "view" or node.attrs.kind not in ("slice", "reshape"):
            return None
        if node.attrs.kind == "slice":
            (start, length, _), *_ = node.attrs.data
            # What reshapes a slice drops the axis of gates.
            part = Part(id, start, length, node.id != id)
        node = p.graph[node.args[0]]
    return replace(part, whole=node.id) if node.id in p.front else None


def parts_of_number(programs: Iterable[Program]) -> int:
    """Return how many real numbers a number is: two where a value of some programs is complex."""
    return 1 + any(p.graph.is_complex(node.id) for p in programs for node in p.graph)
