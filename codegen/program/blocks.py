"""The measure of a block of steps: by what its length is chosen."""

from __future__ import annotations

from collections.abc import Sequence

from symbptt.codegen.program.remainders import arguments_again
from symbptt.codegen.program.values import Values
from symbptt.ir.shape import Size, prod, size

BLOCK_ROWS = 2**9
"""The least number of rows of the products of a block, so that these are as fast as products of all steps."""


def numbers_of_step(v: Values, ids: Sequence[int]) -> Size:
    """Return the numbers for each sample and step by which a block of these values is measured: one value of each size."""
    found = [prod(v.program.graph.shape(id)) for id in ids if id in v.varying]
    found = found or [prod(v.program.graph.shape(leaf)) for leaf in v.program.carry.values()]
    return size(sum(dict.fromkeys(found), start=size(0)))


def least_rows(v: Values, ids: Sequence[int]) -> int:
    """Return how many rows the products of a block have at the least, 0 where it computes none."""
    g, here = v.program.graph, {v.place(id) for id in ids}
    inline = arguments_again(v.program)
    here_too = (id for id in g.ancestors(ids) if v.place(id) in here and id not in inline)
    # Small products do not use BLAS well: a block with a product has at least BLOCK_ROWS rows of steps and samples.
    return BLOCK_ROWS if any(g[id].family == "contract" for id in here_too) else 0
