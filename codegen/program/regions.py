"""The region of each sweep in which a value is computed, by what the value depends on.

Example: of a = W x + U h; h' = tanh(a), with the coefficient c = 1 - h'² and da = c * dh, the weights' transposes are
in "once", W x in "forward block", U h, a and h' in "forward loop", c in "backward block", da in "backward loop", and
the gradients Σ da hᵀ, which no later step reads, in "backward tail".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from symbptt.codegen.program.program import Program
from symbptt.ir.graph import Graph
from symbptt.ir.rounds import loop_of

ONCE, ALL, BLOCK, LOOP, TAIL, AFTER = "once", "all", "block", "loop", "tail", "after"
"""Regions: before the loop and the same at all steps; before it over all steps (backward only); in the prologue of each block
of steps; in the loop; in the epilogue of each block; after the loop."""
ORDER = tuple((sweep, region) for sweep in ("forward", "backward") for region in (ONCE, ALL, BLOCK, LOOP, TAIL, AFTER))
"""Sweeps and their regions in the order in which they are run."""
NEAR = (BLOCK, LOOP, TAIL)
"""Regions of a block of steps, whose values need not be stored for other blocks."""


def place(p: Program) -> Program:
    """Return the program with a place for each value it needs, such as `forward loop` or `backward after`."""
    g, timed = p.graph, p.timed
    states = [p.leaves[a.name] for a in p.of_role("state")]
    forward = g.ancestors(p.forward_roots)
    places = _regions(g, forward, "forward", timed, states, list(p.next.values()))
    places |= _of_loops(g, places)
    backward = [id for id in g.ancestors(p.backward_roots) if id not in places]
    # Both sweeps obey one rule: what reads a value that goes on from step to step is in the loop, what such a value
    # needs is before it, and the rest after it. Forward these values are states, backward they are the carries of
    # adjoints.
    places |= _regions(g, backward, "backward", timed, list(p.carry.values()), list(p.recurrent.values()))
    laid = dict.fromkeys(p.joined, f"backward {LOOP}")  # its parts are written in it
    places |= _in_tails(p, places, timed)
    places |= _in_blocks(p, places) | laid
    places |= _of_loops(g, places)
    return replace(p, places=places, front=frozenset(id for id in p.front if not _is_kept_apart(p, places, id)))


def _of_loops(g: Graph, places: Mapping[int, str]) -> dict[int, str]:
    """Return the places of the values of loops inside a step: those of one loop are computed together, by the first sweep and in
    the first region that needs one of them."""
    loops: dict[Any, list[int]] = {}
    for node in g:
        if node.family in ("rounds", "settled"):
            loops.setdefault(loop_of(node), []).append(node.id)
    found: dict[int, str] = {}
    for ids in loops.values():
        there = {places[id] for id in ids if id in places}
        if there:
            found |= dict.fromkeys(ids, min(there, key=lambda where: ORDER.index(tuple(where.split()))))
    return found


def _is_kept_apart(p: Program, places: dict[int, str], id: int) -> bool:
    """Answer whether a value of a block prologue is stored for all steps, whose axis then comes first."""
    if places.get(id) != f"forward {BLOCK}":
        return False
    readers = [reader for reader in p.graph.readers(id) if reader in places]
    return id in p.forward_roots or any(not is_near(places, "forward", r) for r in readers)


def is_near(places: Mapping[int, str], sweep: str, id: int) -> bool:
    """Answer whether a value is computed with a block of steps of a sweep."""
    return places[id] in {f"{sweep} {region}" for region in NEAR}


def _in_tails(p: Program, places: Mapping[int, str], timed: set[int]) -> dict[int, str]:
    """Return the places of values that no later step needs and that move into the epilogue of each block.

    There what they read is still in the cache, and sums over steps are accumulated block by block. A table that is
    scattered into by index is collected after the loop, for it is large, unless something else reads the table of each
    sample.
    """
    g = p.graph
    # Without states there is no loop over steps, and everything is computed for all steps at once.
    # Σ_t da_t hᵀ over a block is one product with as many rows as the block has steps times samples; the sums of all
    # blocks are added up, so that no array of all steps is needed for da.
    late = [id for id, where in places.items() if where.endswith(AFTER)] if p.next else []
    readers = {id: set(g.readers(id)) & places.keys() for id in late}
    scattered = [id for id in late if g[id].family == "gather" and g[id].attrs.kind == "scatter"]
    tables = [id for id in scattered if id not in p.inputs.values() and _is_summed(g, readers[id])]
    apart = {*tables, *(reader for id in tables for reader in readers[id])}
    return {
        id: f"{places[id].split()[0]} {TAIL}"
        for id in late
        if id not in apart and (id in timed or (g[id].family == "total" and g[id].args[0] in timed))
    }


def _is_summed(g: Graph, readers: Iterable[int]) -> bool:
    """Answer whether all readers of a value sum it over steps and samples."""
    return {g[reader].family for reader in readers} == {"total"}


def _in_blocks(p: Program, places: Mapping[int, str]) -> dict[int, str]:
    """Return the places of the coefficients, which move into the prologue of each block.

    Only the backward sweep reads them, so that they are still in the cache when the loop comes to them.
    """
    # For all steps at once a coefficient would be written to memory and read back from there: a block is chosen so
    # short that it stays in the cache in between.
    readers, block = p.graph.consumers(places), f"backward {BLOCK}"
    roots = {*p.backward_roots, *p.whole.values()}
    found: dict[int, str] = {}
    # Readers have larger ids than their arguments, so that all readers are decided before a value is.
    for id in sorted((id for id, where in places.items() if where == f"backward {ALL}"), reverse=True):
        near = all(reader in found or is_near(places, "backward", reader) for reader in readers[id])
        if id not in roots and readers[id] and near and p.graph[id].family != "leaf":
            found[id] = block
    return found


def _regions(
    g: Graph, ids: Iterable[int], sweep: str, timed: set[int], carry: list[int], roots: list[int]
) -> dict[int, str]:
    ids = list(ids)
    moving = g.descendants(carry)
    needed = set(g.ancestors(roots))  # by the loop
    totals = [id for id in ids if g[id].family == "total"]  # they need all steps
    # A value after the loop drags along what reads it, though that itself may need no state.
    late = g.descendants([*(id for id in ids if id in timed and id not in needed), *moving, *totals])

    def region(id: int) -> str:
        if id in needed:
            return LOOP if id in moving else (BLOCK if sweep == "forward" else ALL) if id in timed else ONCE
        return AFTER if id in late or id in timed or g[id].family == "total" else ONCE

    return {id: f"{sweep} {region(id)}" for id in ids}
