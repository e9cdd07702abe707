"""The floor of a cell: the bare matrix products that its two sweeps cannot do without.

The products are read from the derived step, not from the generated module, and packed as well as they can be: those
that share an operand are one product, those whose results are added are one product, and what no state needs runs
over all steps at once. Nothing else is computed, and every product writes into an array that is there already.

Example, an LSTM with T steps, B samples, m inputs and n units. Its four products U h share h and are packed as one of
(B, n) · (n, 4n), T times, since h depends on the step before. Its four products W x do not read a state: one product of
(T·B, m) · (m, 4n). Each has an adjoint of the same size (that of x only if x needs a gradient), and one product over all
steps for the gradient, (4n, T·B) · (T·B, n) or m.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import sympy as sp

from symbptt.autodiff.bptt import Recursion, derive, per_sample
from symbptt.ir.graph import Graph
from symbptt.ir.node import Node
from symbptt.ir.shape import Size, named_size
from symbptt.language.cell import Cell


@dataclass(frozen=True)
class Product:
    """`times` products of (batch, rows, inner) and (batch, inner, columns), one after the other."""

    what: str
    times: int
    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Multiplications and additions of all of them."""
        return 2 * self.times * self.batch * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Weighting:
    """Products of parameters with one value: the value, the sizes of the packed product, its place."""

    value: int
    batch: int
    columns: int
    inner: int
    outer: int
    looped: bool


def floor_products(cell: Cell, T: int, B: int, sizes: Mapping[str, int]) -> tuple[Product, ...]:
    """Return the products of T steps of B samples, forward and backward with every gradient.

    Shapes: `sizes` gives a number for each named size of the cell.
    """
    recursion = derive(cell.step)
    weights = _weightings(recursion, sizes)
    return (*_packed(recursion, weights, T, B), *_between_values(recursion, T, B, sizes))


def _packed(recursion: Recursion, weights: Iterable[Weighting], T: int, B: int) -> Iterable[Product]:
    """Yield a packed product forward, its adjoint towards the value, and the gradient of the parameters."""
    wanted = recursion.adjoint
    for w in weights:
        times, samples = (T, B) if w.looped else (1, T * B)
        rows = samples * w.columns
        yield Product("forward", times, w.batch, rows, w.inner, w.outer)
        if w.value in wanted:
            yield Product("adjoint", times, w.batch, rows, w.outer, w.inner)
        # Σ_t da_t h_tᵀ is one product over the joined axis of steps and samples, once all adjoints are known.
        yield Product("gradient", 1, w.batch, w.outer, T * B * w.columns, w.inner)


def _weightings(recursion: Recursion, sizes: Mapping[str, int]) -> list[Weighting]:
    g = recursion.graph
    forward = g.ancestors(recursion.forward_roots)
    varying, moving = per_sample(g, forward), g.descendants(_leaves(recursion))
    needed = set(g.ancestors(recursion.step.next.values()))
    found: dict[tuple[Any, ...], Weighting] = {}
    for node in _contracts(g, forward):
        sides = sorted(_sides(node), key=lambda side: side[0] not in varying)
        # One operand per sample, one shared: the product of a weight. All other products are counted below.
        if [side[0] in varying for side in sides] != [True, False]:
            continue
        (value, mine), (_, other) = sides
        kinds = tuple((label in other, label in node.attrs.out) for label in mine)
        for part, size in _parts(g, value, mine, _label_sizes(g, node, sizes), sizes):
            batch, columns, inner, outer = _split(mine, other, node.attrs.out, size)
            # In the loop only if it depends on a state and a next state depends on it; else it runs over all steps at once.
            looped = part in moving and node.id in needed
            # Products with the same operand and roles of its axes are one product with their rows stacked.
            key = (part, kinds, looped)
            before = found[key].outer if key in found else 0
            found[key] = Weighting(part, batch, columns, inner, before + outer, looped)
    return list(found.values())


def _parts(
    g: Graph, value: int, labels: tuple[int, ...], size: dict[int, int], sizes: Mapping[str, int]
) -> list[tuple[int, dict[int, int]]]:
    """Return the vectors that a concatenated operand is made of: those that no state needs leave the loop."""
    node = g[value]
    if node.family != "view" or node.attrs.kind != "concatenate" or len(labels) != 1:
        return [(value, size)]
    lengths = [_number(g.shape(part)[0], sizes) for part in node.args]
    return [(part, size | {labels[0]: length}) for part, length in zip(node.args, lengths, strict=True)]


def _between_values(recursion: Recursion, T: int, B: int, sizes: Mapping[str, int]) -> Iterable[Product]:
    """Yield products of two values of a sample, such as the reading of a matrix memory."""
    g = recursion.graph
    forward = g.ancestors(recursion.forward_roots)
    everything = g.ancestors([*recursion.forward_roots, *recursion.backward_roots])
    backward = [id for id in everything if id not in set(forward)]
    consumers = g.consumers(everything)
    sweeps = (
        (forward, _leaves(recursion), recursion.step.next),
        (backward, recursion.carry.values(), recursion.recurrent),
    )
    varying = per_sample(g, everything)
    for ids, carried, roots in sweeps:
        moving, needed = g.descendants(carried), set(g.ancestors(roots.values()))
        for node in _contracts(g, ids):
            summed = consumers[node.id] and all(g[c].family == "total" for c in consumers[node.id])
            if summed or not all(arg in varying for arg in node.args):
                continue
            looped = node.id in moving and node.id in needed
            (_, mine), (_, other) = _sides(node)
            batch, rows, inner, columns = _split(mine, other, node.attrs.out, _label_sizes(g, node, sizes))
            # Without a summed label it is an outer product, elementwise work rather than a gemm.
            if inner > 1:
                times, samples = (T, B) if looped else (1, T * B)
                yield Product("values", times, samples * batch, rows, inner, columns)


def _leaves(recursion: Recursion) -> list[int]:
    return [recursion.step.leaves[a.name] for a in recursion.step.of_role("state")]


def _contracts(g: Graph, ids: Iterable[int]) -> Iterable[Node]:
    return (g[id] for id in ids if g[id].family == "contract")


def _sides(node: Node) -> list[tuple[int, tuple[int, ...]]]:
    return list(zip(node.args, (node.attrs.a, node.attrs.b), strict=True))


def _label_sizes(g: Graph, node: Node, sizes: Mapping[str, int]) -> dict[int, int]:
    pairs = (pair for arg, labels in _sides(node) for pair in zip(labels, g.shape(arg), strict=True))
    return {label: _number(size, sizes) for label, size in pairs}


def _number(size: Size, sizes: Mapping[str, int]) -> int:
    return int(sp.sympify(size).subs({named_size(name): value for name, value in sizes.items()}))


def _split(
    mine: tuple[int, ...], other: tuple[int, ...], out: tuple[int, ...], size: Mapping[int, int]
) -> tuple[int, int, int, int]:
    """Return the sizes of a product as matrices: batch, rows of the first operand, inner, columns of the second."""
    shared = [x for x in mine if x in other]
    batch = prod(size[x] for x in shared if x in out)
    inner = prod(size[x] for x in shared if x not in out)
    return batch, prod(size[x] for x in mine if x not in other), inner, prod(size[x] for x in other if x not in mine)


def floor_run(products: Iterable[Product], dtype: Any) -> Callable[[], None]:
    """Return a function that computes the products, on arrays made now."""
    rng = np.random.default_rng(0)
    calls = [(product.times, *_operands(product, rng, dtype)) for product in products]

    def run() -> None:
        matmul = np.matmul
        for times, a, b, out in calls:
            for _ in range(times):
                matmul(a, b, out=out)

    return run


def _operands(product: Product, rng: np.random.Generator, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two operands and the result; gradients read their first operand transposed, as it is stored by
    steps."""
    batch = (product.batch,) if product.batch > 1 else ()
    turned = product.what == "gradient"
    first = (product.inner, product.rows) if turned else (product.rows, product.inner)
    a = rng.standard_normal((*batch, *first)).astype(dtype)
    b = rng.standard_normal((*batch, product.inner, product.columns)).astype(dtype)
    out = np.empty((*batch, product.rows, product.columns), dtype)
    return (a.swapaxes(-1, -2) if turned else a), b, out
