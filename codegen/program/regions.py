"""Says for every value in which region of which sweep it is computed: one classification by what it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from symbptt.codegen.program.program import Program
from symbptt.ir.graph import Graph

ONCE, ALL, BLOCK, LOOP, TAIL, AFTER = "once", "all", "block", "loop", "tail", "after"
"""Regions: before the loop and free of samples; before it over all steps (backward only); before each block of steps of
the loop; in the loop; behind the steps of each block; after the loop."""
NEAR = (BLOCK, LOOP, TAIL)
"""Regions of a block of steps, whose values need not be kept for other blocks."""


def place(p: Program) -> Program:
    """Return the program with a place for each value it needs, such as `forward loop` or `backward after`."""
    g = p.graph
    states = [p.leaves[a.name] for a in p.of_role("state")]
    forward = g.ancestors(p.forward_roots)
    places = _regions(g, forward, "forward", p.varying, states, list(p.next.values()))
    backward = [id for id in g.ancestors(p.backward_roots) if id not in places]
    places |= _regions(g, backward, "backward", p.varying, list(p.carry.values()), list(p.recurrent.values()))
    laid = dict.fromkeys(p.joined, f"backward {LOOP}")  # its parts are written there
    places |= _in_tails(p, places)
    places |= _in_blocks(p, places) | laid
    return replace(p, places=places, front=frozenset(id for id in p.front if not _is_kept_apart(p, places, id)))


def _is_kept_apart(p: Program, places: dict[int, str], id: int) -> bool:
    """Whether a value of a block of steps is stored for all steps, which come first in what is stored."""
    if places.get(id) != f"forward {BLOCK}":
        return False
    readers = [reader for reader in p.graph.readers(id) if reader in places]
    return id in p.forward_roots or any(not is_near(places, "forward", r) for r in readers)


def is_near(places: Mapping[int, str], sweep: str, id: int) -> bool:
    """Answer whether a value is computed with a block of steps of a sweep."""
    return places[id] in {f"{sweep} {region}" for region in NEAR}


def _in_tails(p: Program, places: Mapping[int, str]) -> dict[int, str]:
    """What no later step needs is computed behind the steps of each block, while what it reads is in the cache; sums over
    steps are added up there. What goes into one table by index is collected after the loop, the table being large, unless
    something else reads the table of each sample."""
    g, varying = p.graph, p.varying
    late = [id for id, where in places.items() if where.endswith(AFTER)] if p.next else []
    readers = {id: set(g.readers(id)) & places.keys() for id in late}
    scattered = [id for id in late if g[id].family == "gather" and g[id].attrs.kind == "scatter"]
    tables = [id for id in scattered if id not in p.inputs.values() and _is_summed(g, readers[id])]
    apart = {*tables, *(reader for id in tables for reader in readers[id])}
    return {
        id: f"{places[id].split()[0]} {TAIL}"
        for id in late
        if id not in apart and (id in varying or (g[id].family == "total" and g[id].args[0] in varying))
    }


def _is_summed(g: Graph, readers: Iterable[int]) -> bool:
    """Whether all that reads a value sums it over steps and samples."""
    return {g[reader].family for reader in readers} == {"total"}


def _in_blocks(p: Program, places: Mapping[int, str]) -> dict[int, str]:
    """The coefficients: what the backward sweep alone reads is computed for a block of steps at once, so that it is
    still in the cache when the loop comes to it."""
    readers, block = p.graph.consumers(places), f"backward {BLOCK}"
    roots = {*p.backward_roots, *p.whole.values()}
    found: dict[int, str] = {}
    for id in sorted((id for id, where in places.items() if where == f"backward {ALL}"), reverse=True):
        near = all(reader in found or is_near(places, "backward", reader) for reader in readers[id])
        if id not in roots and readers[id] and near and p.graph[id].family != "leaf":
            found[id] = block
    return found


def _regions(
    g: Graph, ids: Iterable[int], sweep: str, varying: set[int], carry: list[int], roots: list[int]
) -> dict[int, str]:
    ids = list(ids)
    moving = g.descendants(carry)
    needed = set(g.ancestors(roots))  # by the loop
    totals = [id for id in ids if g[id].family == "total"]  # they need all steps
    late = g.descendants([*(id for id in ids if id in varying and id not in needed), *moving, *totals])

    def region(id: int) -> str:
        if id in needed:
            return LOOP if id in moving else (BLOCK if sweep == "forward" else ALL) if id in varying else ONCE
        return AFTER if id in late or id in varying or g[id].family == "total" else ONCE

    return {id: f"{sweep} {region(id)}" for id in ids}
